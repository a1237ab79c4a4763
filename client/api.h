/* client/api.h - the calls of a Trackway server, over one connection.
 *
 * A refusal by the server is an error like any other: its code is the server's word, its message
 * the server's message; where the server marked a place in the text, api_excerpt has the marked lines.
 *
 * Thread: one owner. Ownership: an answer lives in the struct api until the next call.
 */
#pragma once

#include "client/http_client.h"

struct api;
enum err_code api_create(const char *server_url, struct api **ret, struct err *err) ERR_MUST_CHECK;
void api_free(struct api *api);
static inline void api_freep(struct api **api)
{
    api_free(*api);
}

struct api_param {
    struct str name;
    struct str value;
    bool is_literal; /* a JSON number, true or false; else text */
};
struct api_query {
    const char *dataset;
    const char *format; /* json, csv, ndjson, proto */
    struct str text;
    const struct api_param *params;
    uint32_t param_count;
    const char *now; /* ISO 8601, or milliseconds; NULL: the server's clock */
    bool is_cache_off;
};
enum err_code api_query(struct api *api, const struct api_query *query, struct str *ret_body,
                        struct err *err) ERR_MUST_CHECK;

/* The list that the question gives, as it comes; `take` false gives up. That it came to its end is the caller's to see. */
typedef bool (*api_take_fn)(void *arg, const char *bytes, size_t len);
enum err_code api_export(struct api *api, const struct api_query *query, api_take_fn take,
                         void *arg, struct err *err) ERR_MUST_CHECK;

/* Events in one of the types that POST /v1/events takes. The answer lists rejections only.
 * ERR_BUSY: full; *ret_retry_after_s says when to come back. */
enum err_code api_ingest(struct api *api, const char *dataset, const char *content_type,
                         struct str body, struct str *ret_body, uint32_t *ret_retry_after_s,
                         struct err *err) ERR_MUST_CHECK;

/* Any other call: "GET", "/v1/datasets", NULL. */
enum err_code api_call(struct api *api, const char *method, const char *path, const char *dataset,
                       struct str *ret_body, struct err *err) ERR_MUST_CHECK;

/* The same with a JSON body, by POST. */
enum err_code api_post(struct api *api, const char *path, const char *dataset, struct str json,
                       struct str *ret_body, struct err *err) ERR_MUST_CHECK;

int api_status(const struct api *api);         /* of the last answer; 0: there was none */
struct str api_excerpt(const struct api *api); /* of the last refusal; often empty */
/* Append `text` as part of a URL: what is neither letter, digit nor -._~ becomes %XX. */
void api_url_escape(struct str text, struct buf *out);
