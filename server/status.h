/* server/status.h - the one table from error codes to HTTP, and the JSON body of an error:
 *
 *     {"error":{"code":"invalid","message":"…","line":1,"column":8,"excerpt":"funnel a -> b withn
 * 1h\n              ^"}}
 *
 * line, column and excerpt stand there only where the mistake has a place.
 *
 *     code          query   events   backup   the client should
 *     invalid         400      400      400   fix the request
 *     not_found       404      404      404   name something that exists
 *     limit           422      413      507   ask for less; send smaller bodies; make room on the disk
 *     busy            429      429      409   come back after Retry-After seconds; name a free place
 *     timeout         504      408      504   ask for less, or allow more time
 *     cancelled       499      499      499   (it has hung up)
 *     corrupt         500      500      500   look at the server's log
 *     unsupported     501      501      501   use a newer server
 *     io, nomem       503      503      503   come back after Retry-After seconds
 *
 * Refusals that have no error code of their own are 404, 405, 413 and 415 with code "invalid",
 * "not_found" or "limit". The Connect doors map codes by that protocol's table (rpc.h).
 */
#pragma once

#include "storage/base/buf.h"
#include "storage/base/err.h"

enum door_kind { DOOR_QUERY, DOOR_EVENTS, DOOR_ADMIN, DOOR_BACKUP, DOOR_RPC };

int status_of(enum err_code code, enum door_kind kind); /* DOOR_ADMIN: as DOOR_QUERY */
const char *status_reason(int status);                  /* "Not Found" */
bool status_is_retryable(int status);                   /* answered with Retry-After */

/* Append the body. `excerpt` may be empty. */
void status_error_json(const struct err *err, struct str excerpt, struct buf *out);
/* Append `s` as a JSON string, quotes included. Bytes that are not UTF-8 become U+FFFD. */
void json_quote(struct str s, struct buf *out);
