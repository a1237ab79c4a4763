/* client/http_client.h - one kept-alive HTTP connection (libcurl).
 *
 * Only what a server answers is an answer, whatever its status. No answer at all is an error:
 * ERR_IO (cannot reach, connection lost), ERR_TIMEOUT, ERR_LIMIT (answer too large), ERR_INVALID (no URL), ERR_CANCELLED.
 * Redirects are not followed; only http and https are spoken.
 *
 * Thread: one owner per client. http_client_setup once per process, before other threads start.
 */
#pragma once

#include "storage/base/buf.h"
#include "storage/base/err.h"

#define HTTP_ANSWER_BYTES_MAX (UINT64_C(1) << 30)

struct http_client;
struct http_request {
    const char *method; /* "GET", "POST" */
    const char *url;
    struct str body;
    const char *content_type; /* NULL: none */
    const char *accept;       /* NULL: any */
    uint64_t timeout_ms;      /* 0: wait as long as it takes */
    /* NULL, or who takes the body of an answer with a status of 2xx as it comes, instead of answer.body, so that it may be of
     * any length. False gives up: ERR_CANCELLED. */
    bool (*take)(void *arg, const char *bytes, size_t len);
    void *take_arg;
};
struct http_answer {
    int status;
    struct buf body;
    bool has_retry_after;
    uint32_t retry_after_s;
};

enum err_code http_client_setup(struct err *err) ERR_MUST_CHECK;
enum err_code http_client_create(struct http_client **ret, struct err *err) ERR_MUST_CHECK;
void http_client_free(struct http_client *client);
static inline void http_client_freep(struct http_client **client)
{
    http_client_free(*client);
}
/* `answer` starts zeroed or from an earlier call (its memory is used again); http_answer_done ends it. */
enum err_code http_client_send(struct http_client *client, const struct http_request *request,
                               struct http_answer *answer, struct err *err) ERR_MUST_CHECK;
void http_answer_done(struct http_answer *answer);
