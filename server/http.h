/* server/http.h - the network side: sockets, event loops, requests in and answers out.
 *
 * Thread: http_drain from any thread, the rest from the main one. */
#pragma once

#include "server/server.h"

struct http;

/* Bind and listen; nothing is accepted yet. ERR_IO names the address and what is wrong with it. */
enum err_code http_listen(const struct config *config, struct http **ret,
                          struct err *err) ERR_MUST_CHECK;
/* "127.0.0.1:43211": where it listens, with the real port. */
const char *http_address(const struct http *http);
/* Start the loop threads. `server` must be complete and outlive http_join. */
enum err_code http_start(struct http *http, struct server *server, struct err *err) ERR_MUST_CHECK;
/* Stop accepting, finish what is in work, within config.drain_timeout_ms; then cancel and close. */
void http_drain(struct http *http);
/* Wait until every loop has drained: no job of theirs is left anywhere. The loops' memory stays,
 * for a pool's thread may still be on its way out of waking one; the process ends soon after. */
void http_join(struct http *http);
