/* server/query_doors.c - questions: /v1/query.
 *
 *     POST text/plain             the body is the query
 *     POST application/json       {"query": "...", "params": {"name": "text" | 1.5 | true}, "now":
 * ms or ISO 8601} GET  ?q=...                 the same by URL; &param.NAME=VALUE are text
 * parameters
 *
 * The answer's form is the URL's `format` (json, csv, ndjson, proto), else the best of Accept.
 */
#include "server/query_doors.h"
#include "query/query.h"
#include "server/json_tokens.h"
#include "server/rpc.h"
#include "storage/base/clock.h"
#include "storage/base/iso8601.h"
#include "storage/base/size.h"

#include <string.h>

#include <stdlib.h>

#define QUERY_PARAMS_MAX 256u
#define QUERY_NOW_MS_MAX INT64_C(253402300799999) /* the last of year 9999 */

enum answer_form { ANSWER_JSON, ANSWER_CSV, ANSWER_NDJSON, ANSWER_PROTO, ANSWER_FORMS };
static const struct {
    const char *name;
    const char *media_type;   /* in Accept */
    const char *content_type; /* of the answer */
} answer_forms[ANSWER_FORMS] = {
    [ANSWER_JSON] = {"json", "application/json", "application/json"},
    [ANSWER_CSV] = {"csv", "text/csv", "text/csv; charset=utf-8"},
    [ANSWER_NDJSON] = {"ndjson", "application/x-ndjson", "application/x-ndjson"},
    [ANSWER_PROTO] = {"proto", "application/proto", "application/proto"},
};

enum err_code query_job_run(struct job *job, struct str dataset_name, struct query_request *request,
                            struct io *io, struct result **ret, struct err *err)
{
    struct server *server = job->server;
    struct dataset *dataset = NULL;
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    ERR_TRY(query_job_prepare(job, request, err));
    ERR_TRY(store_dataset(server->store, dataset_name, false, &dataset, err));
    ERR_TRY(job_check(job, err));
    ERR_TRY(dataset_snapshot(dataset, &snapshot, err));
    ERR_TRY(query_run(snapshot, server->query_pool, io, request, ret, err));
    const struct result_meta *meta = &(*ret)->meta;
    metrics_add(server->metrics, COUNTER_QUERY_ROWS_READ, meta->rows_read - meta->rows_cached);
    metrics_add(server->metrics, COUNTER_QUERY_BYTES_READ, meta->bytes_read - meta->bytes_cached);
    return ERR_OK;
}

enum err_code query_job_prepare(struct job *job, struct query_request *request, struct err *err)
{
    struct server *server = job->server;
    if (request->text.len > QUERY_TEXT_BYTES_MAX) {
        return err_set(err, ERR_LIMIT, "query of %zu bytes, the limit is %u", request->text.len,
                       QUERY_TEXT_BYTES_MAX);
    }
    if (request->now_ms == 0) {
        request->now_ms = clock_wall_ms();
    }
    request->memory_bytes_max =
        (size_t)MIN_OF(server->config.query_memory_max, server->config.queries_memory_max);
    request->memory = &server->queries;
    request->deadline_us = job->deadline_us;
    request->cancel = &job->is_cancelled;
    request->answers = server->answers;
    request->is_read_only = !str_eq(job->request.method, STR("POST")); /* links and pages only ask */
    return ERR_OK;
}

void query_job_shorten(struct job *job, uint64_t timeout_ms)
{
    uint64_t deadline_us = job->begin_us + timeout_ms * 1000;
    if (job->deadline_us == 0 || deadline_us < job->deadline_us) {
        job->deadline_us = deadline_us;
    }
}

/* A value of "params": text, number or truth. */
static enum err_code param_from_token(const struct json_token *token, struct arena *arena,
                                      struct query_param *ret, struct err *err)
{
    ERR_TRY(arena_str(arena, token->key, &ret->name, err));
    switch (token->kind) {
    case JSON_STRING:
        ret->kind = PARAM_STRING;
        return arena_str(arena, token->text, &ret->string, err);
    case JSON_NUMBER:
        ret->kind = PARAM_NUMBER;
        if (!num_parse(token->text, &ret->number)) {
            return err_set(err, ERR_INVALID, "parameter \"" STR_FMT "\": number out of range",
                           STR_ARG(token->key));
        }
        return ERR_OK;
    case JSON_TRUE:
    case JSON_FALSE:
        ret->kind = PARAM_BOOL;
        ret->boolean = token->kind == JSON_TRUE;
        return ERR_OK;
    case JSON_OBJECT:
    case JSON_OBJECT_END:
    case JSON_ARRAY:
    case JSON_ARRAY_END:
    case JSON_NULL: break;
    }
    return err_set(err, ERR_INVALID,
                   "parameter \"" STR_FMT "\" is neither a string nor a number nor true or false",
                   STR_ARG(token->key));
}

static enum err_code params_from_tokens(const struct json_token *tokens, uint32_t begin,
                                        struct arena *arena, struct query_request *request,
                                        struct err *err)
{
    struct query_param *params = NULL;
    if (tokens[begin].kind != JSON_OBJECT) {
        return err_set(err, ERR_INVALID, "\"params\" is not an object");
    }
    ERR_TRY(ARENA_NEW(arena, QUERY_PARAMS_MAX, &params, err));
    request->param_count = 0;
    for (uint32_t i = begin + 1; i < tokens[begin].end_idx; i++) {
        if (request->param_count == QUERY_PARAMS_MAX) {
            return err_set(err, ERR_INVALID, "more than %u parameters", QUERY_PARAMS_MAX);
        }
        ERR_TRY(param_from_token(&tokens[i], arena, &params[request->param_count], err));
        request->param_count++;
    }
    request->params = params;
    return ERR_OK;
}

/* "now": milliseconds as a whole number, or an instant in ISO 8601. */
static enum err_code now_parse(struct str text, bool is_number, int64_t *ret_ms, struct err *err)
{
    struct num number;
    int64_t now_ms = 0;
    bool is_valid = false;
    if (!is_number && iso8601_parse(text, &now_ms)) {
        is_valid = true;
    } else if (num_parse(text, &number) && number.scale == 0) {
        now_ms = number.m;
        is_valid = true;
    }
    if (!is_valid || now_ms < 1 || now_ms > QUERY_NOW_MS_MAX) {
        return err_set(err, ERR_INVALID,
                       "\"now\": \"" STR_FMT "\" is neither milliseconds nor an ISO 8601 instant",
                       STR_ARG(text));
    }
    *ret_ms = now_ms;
    return ERR_OK;
}

static enum err_code query_from_json(struct job *job, struct query_request *request,
                                     struct err *err)
{
    CLEANUP(json_parser_freep) struct json_parser *parser = NULL;
    const struct json_token *tokens = NULL;
    uint32_t count = 0;
    ERR_TRY(json_parser_create(&parser, err));
    if (json_parse(parser, job_body(job), &tokens, &count, err) != ERR_OK) {
        return err_context(err, "request body");
    }
    if (tokens[0].kind != JSON_OBJECT) {
        return err_set(err, ERR_INVALID, "the body is not a JSON object: {\"query\": \"...\"}");
    }
    bool has_query = false;
    for (uint32_t i = 1; i < tokens[0].end_idx; i++) {
        const struct json_token *token = &tokens[i];
        if (str_eq(token->key, STR("query")) && token->kind == JSON_STRING) {
            ERR_TRY(arena_str(job->arena, token->text, &request->text, err));
            has_query = true;
        } else if (str_eq(token->key, STR("params"))) {
            ERR_TRY(params_from_tokens(tokens, i, job->arena, request, err));
        } else if (str_eq(token->key, STR("now")) &&
                   (token->kind == JSON_NUMBER || token->kind == JSON_STRING)) {
            ERR_TRY(now_parse(token->text, token->kind == JSON_NUMBER, &request->now_ms, err));
        } else {
            return err_set(err, ERR_INVALID,
                           "\"" STR_FMT "\" in the body: known are \"query\" (a string), "
                           "\"params\" (an object) and \"now\"",
                           STR_ARG(token->key));
        }
        if (token->kind == JSON_OBJECT || token->kind == JSON_ARRAY) {
            i = token->end_idx;
        }
    }
    return has_query ? ERR_OK : err_set(err, ERR_INVALID, "the body has no \"query\"");
}

/* ?q=...&now=...&param.NAME=VALUE */
static enum err_code query_from_url(struct job *job, struct query_request *request, struct err *err)
{
    struct query_param *params = NULL;
    const struct str *text = url_param(&job->params, "q");
    if (text == NULL) {
        return err_set(err, ERR_INVALID, "no query: GET takes it as parameter \"q\"");
    }
    request->text = *text;
    ERR_TRY(ARENA_NEW(job->arena, URL_PARAMS_MAX, &params, err));
    for (uint32_t i = 0; i < job->params.count; i++) {
        struct str name = job->params.params[i].name;
        if (str_starts(name, STR("param."))) {
            params[request->param_count++] = (struct query_param){
                .name = {name.ptr + 6, name.len - 6},
                .kind = PARAM_STRING,
                .string = job->params.params[i].value,
            };
        }
    }
    request->params = params;
    return ERR_OK;
}

/* As url_params_check, but "param.NAME" is open. */
static enum err_code check_url_params(const struct job *job, bool is_get, struct err *err)
{
    static const char *const names[] = {"dataset", "format", "cache", "timeout_ms", "now", "q"};
    struct url_params named = {0};
    for (uint32_t i = 0; i < job->params.count; i++) {
        if (!is_get || !str_starts(job->params.params[i].name, STR("param."))) {
            named.params[named.count++] = job->params.params[i];
        }
    }
    return url_params_check(&named, names, COUNT_OF(names) - (is_get ? 0 : 1), err);
}

static enum err_code answer_form_of(const struct job *job, enum answer_form *ret, struct err *err)
{
    const struct str *format = url_param(&job->params, "format");
    for (unsigned i = 0; format != NULL && i < ANSWER_FORMS; i++) {
        if (str_eq(*format, str_of(answer_forms[i].name))) {
            *ret = (enum answer_form)i;
            return ERR_OK;
        }
    }
    if (format != NULL) {
        return err_set(err, ERR_INVALID,
                       "format \"" STR_FMT "\": there are json, csv, ndjson and proto",
                       STR_ARG(*format));
    }
    struct str accept = job->request.headers[HEADER_ACCEPT];
    uint32_t best = 0;
    *ret = ANSWER_JSON; /* where Accept has nothing we know, JSON is better than a refusal */
    for (unsigned i = 0; i < ANSWER_FORMS; i++) {
        uint32_t quality = accept_quality(accept, str_of(answer_forms[i].media_type));
        if (quality > best) {
            best = quality;
            *ret = (enum answer_form)i;
        }
    }
    return ERR_OK;
}

static enum err_code answer_write(const struct result *result, enum answer_form form,
                                  struct buf *out, struct err *err)
{
    switch (form) {
    case ANSWER_CSV: return result_write(result, RESULT_CSV, out, err);
    case ANSWER_NDJSON: return result_write(result, RESULT_NDJSON, out, err);
    case ANSWER_PROTO: return rpc_encode_result(RPC_PROTO, result, out, err);
    case ANSWER_JSON:
    case ANSWER_FORMS: break;
    }
    return result_write(result, RESULT_JSON, out, err);
}

enum err_code query_request_read(struct job *job, struct query_request *request,
                                 struct query_read *ret, struct err *err)
{
    bool is_get = !str_eq(job->request.method, STR("POST"));
    uint64_t timeout_ms = 0;
    *ret = (struct query_read){0};
    ERR_TRY(url_param_uint(&job->params, "timeout_ms", 24 * 3600 * 1000,
                           job->server->config.query_timeout_ms, &timeout_ms, err));
    query_job_shorten(job, timeout_ms);
    const struct str *cache = url_param(&job->params, "cache");
    if (cache != NULL && !str_eq(*cache, STR("on")) && !str_eq(*cache, STR("off"))) {
        return err_set(err, ERR_INVALID,
                       "parameter \"cache\": \"" STR_FMT "\" is neither on nor off",
                       STR_ARG(*cache));
    }
    request->is_cache_off = cache != NULL && str_eq(*cache, STR("off"));
    const struct str *now = url_param(&job->params, "now");
    if (now != NULL) {
        ERR_TRY(now_parse(*now, false, &request->now_ms, err));
    }
    struct str type = media_type(job->request.headers[HEADER_CONTENT_TYPE]);
    if (is_get) {
        return query_from_url(job, request, err);
    }
    if (str_eq_nocase(type, STR("application/json"))) {
        return query_from_json(job, request, err);
    }
    if (type.len == 0 || str_eq_nocase(type, STR("text/plain")) ||
        str_eq_nocase(type, STR("application/x-www-form-urlencoded"))) { /* what curl -d says */
        struct str body = job_body(job);
        size_t space = 0;
        while (space < body.len && strchr(" \t\r\n", body.ptr[space]) != NULL) {
            space++;
        }
        if (space < body.len && body.ptr[space] == '{') { /* no query text starts like that */
            return query_from_json(job, request, err);
        }
        request->text = body;
        return ERR_OK;
    }
    ret->is_unknown_type = true;
    return err_set(err, ERR_INVALID,
                   "content-type \"" STR_FMT "\"; a query comes as text/plain or application/json",
                   STR_ARG(type));
}

void query_read_fail(struct job *job, const struct query_read *read, const struct err *err)
{
    if (read->is_unknown_type) {
        job->response.accept_post = "text/plain, application/json";
        job_fail_status(job, 415, err);
    } else {
        job_fail(job, err);
    }
}

static enum err_code query_read(struct job *job, struct query_request *request,
                                enum answer_form *ret_form, struct query_read *ret, struct err *err)
{
    ERR_TRY(check_url_params(job, !str_eq(job->request.method, STR("POST")), err));
    ERR_TRY(answer_form_of(job, ret_form, err));
    return query_request_read(job, request, ret, err);
}

void door_query(struct job *job, struct io *io)
{
    struct err err;
    struct query_request request = {0};
    enum answer_form form = ANSWER_JSON;
    struct query_read read = {0};
    CLEANUP(result_freep) struct result *result = NULL;
    if (!job_open(job, NULL, 0)) {
        job_finish(job);
        return;
    }
    if (query_read(job, &request, &form, &read, &err) != ERR_OK) {
        query_read_fail(job, &read, &err);
    } else if (query_job_run(job, job_dataset_name(job), &request, io, &result, &err) != ERR_OK) {
        job_fail_at(job, request.text, &err);
    } else if (answer_write(result, form, &job->response.body, &err) != ERR_OK) {
        job_fail(job, &err);
    } else {
        job_answer(job, answer_forms[form].content_type);
    }
    job_finish(job);
}
