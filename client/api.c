/* client/api.c - see api.h. */
#include "client/api.h"

#include "client/json_tree.h"
#include "storage/base/json_text.h"
#include "storage/base/size.h"

#include <inttypes.h>
#include <stdlib.h>

#define EXCERPT_BYTES_MAX 4096u

struct api {
    struct http_client *http;
    struct http_answer answer;
    struct buf url;
    struct buf body;
    struct buf excerpt;
    char *server_url; /* without a slash at the end */
};

enum err_code api_create(const char *server_url, struct api **ret, struct err *err)
{
    CLEANUP(api_freep) struct api *api = calloc(1, sizeof(*api));
    if (api == NULL || (api->server_url = strdup(server_url)) == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory: a connection");
    }
    size_t len = strlen(api->server_url);
    while (len > 0 && api->server_url[len - 1] == '/') {
        api->server_url[--len] = '\0';
    }
    ERR_TRY(http_client_create(&api->http, err));
    *ret = TAKE(api);
    return ERR_OK;
}

void api_free(struct api *api)
{
    if (api != NULL) {
        http_client_free(api->http);
        http_answer_done(&api->answer);
        buf_done(&api->url);
        buf_done(&api->body);
        buf_done(&api->excerpt);
        free(api->server_url);
        free(api);
    }
}

int api_status(const struct api *api)
{
    return api->answer.status;
}

struct str api_excerpt(const struct api *api)
{
    return buf_as_str(&api->excerpt);
}

void api_url_escape(struct str text, struct buf *out)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        bool is_plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                        (c >= 'A' && c <= 'Z') || (c != '\0' && strchr("-._~", c) != NULL);
        if (is_plain) {
            buf_u8(out, c);
        } else {
            buf_printf(out, "%%%02X", c);
        }
    }
}

/* Scheme and path; the query string is the caller's to add, from "?" on. */
static void url_begin(struct api *api, const char *path, const char *dataset)
{
    buf_clear(&api->url);
    /* "localhost:7717" is what people type. */
    if (strstr(api->server_url, "://") == NULL) {
        buf_z(&api->url, "http://");
    }
    buf_z(&api->url, api->server_url);
    buf_z(&api->url, path);
    if (dataset != NULL) {
        buf_z(&api->url, strchr(path, '?') != NULL ? "&dataset=" : "?dataset=");
        api_url_escape(str_of(dataset), &api->url);
    }
}

static enum err_code code_of(struct str name, int status)
{
    for (int code = ERR_INVALID; code <= ERR_NOMEM; code++) {
        if (str_eq(name, str_of(err_code_name((enum err_code)code)))) {
            return (enum err_code)code;
        }
    }
    return status == 404 ? ERR_NOT_FOUND : status >= 500 ? ERR_IO : ERR_INVALID;
}

/* What the server says is wrong, or what can be said about an answer that is not our server's. */
static enum err_code refusal(struct api *api, struct err *err)
{
    CLEANUP(json_tree_done) struct json_tree tree = {0};
    struct err ignored;
    struct str body = buf_as_str(&api->answer.body);
    uint32_t error = JSON_TREE_NONE;
    if (json_tree_parse(&tree, body, &ignored) == ERR_OK) {
        error = json_tree_member(&tree, 0, "error");
    }
    struct str message = json_tree_text(&tree, error, "message");
    if (message.len == 0) {
        return err_set(err, code_of(STR(""), api->answer.status),
                       "status %d from %s, which does not answer as trackwayd does",
                       api->answer.status, api->server_url);
    }
    struct str excerpt = json_tree_text(&tree, error, "excerpt");
    excerpt.len = MIN_OF(excerpt.len, EXCERPT_BYTES_MAX);
    buf_str(&api->excerpt, excerpt);
    err_set(err, code_of(json_tree_text(&tree, error, "code"), api->answer.status), "%.*s",
            (int)MIN_OF(message.len, (size_t)ERR_MESSAGE_BYTES), message.ptr);
    err->line = (uint32_t)MIN_OF(json_tree_count(&tree, error, "line", 0), UINT32_MAX);
    err->column = (uint32_t)MIN_OF(json_tree_count(&tree, error, "column", 0), UINT32_MAX);
    return err->code;
}

/* Send `request`, whose URL is the one made. */
static enum err_code api_send_request(struct api *api, struct http_request *request,
                                      struct str *ret_body, struct err *err)
{
    buf_clear(&api->excerpt);
    buf_u8(&api->url, '\0');
    ERR_TRY(buf_check(&api->url, err));
    request->url = (const char *)api->url.ptr;
    api->answer.status = 0;
    ERR_TRY(http_client_send(api->http, request, &api->answer, err));
    if (api->answer.status < 200 || api->answer.status > 299) {
        return refusal(api, err);
    }
    *ret_body = buf_as_str(&api->answer.body);
    return ERR_OK;
}

static enum err_code api_send(struct api *api, const char *method, const char *content_type,
                              struct str body, struct str *ret_body, struct err *err)
{
    struct http_request request = {.method = method, .body = body, .content_type = content_type};
    return api_send_request(api, &request, ret_body, err);
}

/* Into api->body. */
static enum err_code query_body(struct api *api, const struct api_query *query, struct err *err)
{
    buf_clear(&api->body);
    buf_z(&api->body, "{\"query\":");
    json_text(query->text, &api->body);
    for (uint32_t i = 0; i < query->param_count; i++) {
        buf_z(&api->body, i == 0 ? ",\"params\":{" : ",");
        json_text(query->params[i].name, &api->body);
        buf_u8(&api->body, ':');
        if (query->params[i].is_literal) {
            buf_str(&api->body, query->params[i].value);
        } else {
            json_text(query->params[i].value, &api->body);
        }
    }
    buf_z(&api->body, query->param_count > 0 ? "}" : "");
    if (query->now != NULL) {
        buf_z(&api->body, ",\"now\":");
        json_text(str_of(query->now), &api->body);
    }
    buf_u8(&api->body, '}');
    return buf_check(&api->body, err);
}

enum err_code api_query(struct api *api, const struct api_query *query, struct str *ret_body,
                        struct err *err)
{
    url_begin(api, "/v1/query", query->dataset);
    buf_printf(&api->url, "&format=%s%s", query->format, query->is_cache_off ? "&cache=off" : "");
    ERR_TRY(query_body(api, query, err));
    return api_send(api, "POST", "application/json", buf_as_str(&api->body), ret_body, err);
}

enum err_code api_export(struct api *api, const struct api_query *query, api_take_fn take,
                         void *arg, struct err *err)
{
    struct str none = {0};
    url_begin(api, "/v1/export", query->dataset);
    buf_printf(&api->url, "&format=%s", query->format);
    ERR_TRY(query_body(api, query, err));
    struct http_request request = {.method = "POST",
                                   .body = buf_as_str(&api->body),
                                   .content_type = "application/json",
                                   .take = take,
                                   .take_arg = arg};
    return api_send_request(api, &request, &none, err);
}

enum err_code api_ingest(struct api *api, const char *dataset, const char *content_type,
                         struct str body, struct str *ret_body, uint32_t *ret_retry_after_s,
                         struct err *err)
{
    url_begin(api, "/v1/events?receipts=rejected", dataset);
    enum err_code code = api_send(api, "POST", content_type, body, ret_body, err);
    *ret_retry_after_s =
        code != ERR_OK && api->answer.has_retry_after ? api->answer.retry_after_s : 0;
    return code;
}

enum err_code api_call(struct api *api, const char *method, const char *path, const char *dataset,
                       struct str *ret_body, struct err *err)
{
    url_begin(api, path, dataset);
    return api_send(api, method, NULL, (struct str){"", 0}, ret_body, err);
}

enum err_code api_post(struct api *api, const char *path, const char *dataset, struct str json,
                       struct str *ret_body, struct err *err)
{
    url_begin(api, path, dataset);
    return api_send(api, "POST", "application/json", json, ret_body, err);
}
