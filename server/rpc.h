/* server/rpc.h - the Connect protocol's messages (unary): what a call asks, and its answer as
 * bytes.
 *
 * Source: connectrpc.com, "Connect Protocol Reference" (unary requests, error end-points);
 * protobuf's JSON mapping (protobuf.dev, "ProtoJSON Format"). The routes and headers are
 * rpc_doors.c's business.
 *
 * Thread: pure functions over their arguments.
 */
#pragma once

#include "query/query.h"
#include "server/ingest_parse.h"

enum rpc_encoding { RPC_PROTO, RPC_JSON };
enum rpc_method { RPC_QUERY, RPC_INGEST, RPC_METHOD_COUNT };

/* "/trackway.v1.QueryService/Query", "/trackway.v1.IngestService/Ingest". */
bool rpc_find(struct str path, enum rpc_method *ret);

/* What the query call asks; strings live in `arena`. The rest of *ret is left as it is. */
enum err_code rpc_decode_query(enum rpc_encoding encoding, struct str body, struct arena *arena,
                               struct str *ret_dataset, struct query_request *ret,
                               struct err *err) ERR_MUST_CHECK;
enum err_code rpc_encode_result(enum rpc_encoding encoding, const struct result *result,
                                struct buf *out, struct err *err) ERR_MUST_CHECK;
/* The events of an ingest call; the data set's name lives in the batch's arena. */
enum err_code rpc_decode_ingest(enum rpc_encoding encoding, struct str body,
                                const struct ingest_opts *opts, struct str *ret_dataset,
                                struct event_batch **ret, struct err *err) ERR_MUST_CHECK;
enum err_code rpc_encode_receipts(enum rpc_encoding encoding, const struct event_batch *batch,
                                  struct buf *out, struct err *err) ERR_MUST_CHECK;

/* Connect's word and HTTP status for an error, and its JSON:
 * {"code":"invalid_argument","message":"..."}. */
const char *rpc_code_name(enum err_code code);
int rpc_http_status(enum err_code code);
void rpc_encode_error(const struct err *err, struct buf *out);
