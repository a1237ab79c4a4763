/* server/job.c - see job.h. */
#include "server/job.h"

#include "query/query.h"
#include "server/gzip.h"
#include "server/json_tokens.h"
#include "server/log.h"
#include "server/rpc.h"
#include "storage/base/clock.h"

#define GZIP_ANSWER_BYTES_MIN 1024u /* below it a packet is a packet */

void job_finish(struct job *job)
{
    job->finish(job);
}

/* Into the log and the counters. */
static void job_note_failure(struct job *job, const struct err *err)
{
    if (err->code == ERR_CORRUPT || err->code == ERR_IO || err->code == ERR_NOMEM) {
        log_err(LOG_ERROR, "a request failed",
                err); /* what the operator must know, not only the client */
        metrics_add(job->server->metrics, COUNTER_SERVER_ERRORS, 1);
    } else if (err->code == ERR_CANCELLED) {
        metrics_add(job->server->metrics, COUNTER_CANCELLED, 1);
    } else if (err->code == ERR_TIMEOUT) {
        metrics_add(job->server->metrics, COUNTER_TIMEOUTS, 1);
    }
}

void job_stream_cut(struct job *job, const struct err *err)
{
    job_note_failure(job, err);
    buf_clear(&job->response.body);
    job->is_stream_cut = true;
}

static void job_fail_with(struct job *job, int status, struct str text, const struct err *err)
{
    buf_clear(&job->response.body);
    job->response.is_gzip = false;
    job->response.status = status;
    job->response.content_type = "application/json";
    job_note_failure(job, err);
    if (job->route != NULL && job->route->kind == DOOR_RPC) {
        rpc_encode_error(err, &job->response.body);
        return;
    }
    CLEANUP(buf_freep) struct buf excerpt = {0};
    if (text.len != 0 && err->line != 0) {
        query_error_show(text, err, &excerpt);
    }
    struct str shown = buf_as_str(&excerpt);
    while (shown.len > 0 && shown.ptr[shown.len - 1] == '\n') {
        shown.len--;
    }
    status_error_json(err, shown, &job->response.body);
}

void job_fail_status(struct job *job, int status, const struct err *err)
{
    job_fail_with(job, status, (struct str){"", 0}, err);
}

void job_fail_at(struct job *job, struct str text, const struct err *err)
{
    enum door_kind kind = job->route == NULL ? DOOR_ADMIN : job->route->kind;
    int status = kind == DOOR_RPC ? rpc_http_status(err->code) : status_of(err->code, kind);
    job_fail_with(job, status, text, err);
}

void job_fail(struct job *job, const struct err *err)
{
    job_fail_at(job, (struct str){"", 0}, err);
}

/* Deflate the answer where that pays; without memory for it the answer goes as it is. */
static void job_deflate(struct job *job)
{
    struct job_response *response = &job->response;
    if (response->body.len < GZIP_ANSWER_BYTES_MIN ||
        accept_quality(job->request.headers[HEADER_ACCEPT_ENCODING], STR("gzip")) == 0) {
        return;
    }
    CLEANUP(buf_freep) struct buf small = {0};
    struct err err;
    if (gzip_deflate(buf_as_str(&response->body), &small, &err) == ERR_OK &&
        small.len < response->body.len) {
        buf_done(&response->body);
        response->body = small;
        small = (struct buf){0};
        response->is_gzip = true;
    }
}

void job_answer(struct job *job, const char *content_type)
{
    struct err err;
    if (buf_check(&job->response.body, &err) != ERR_OK) {
        buf_done(&job->response.body);
        job->response.body = (struct buf){0};
        job_fail(job, &err);
        return;
    }
    job->response.status = 200;
    job->response.content_type = content_type;
    job_deflate(job);
}

enum err_code job_check(const struct job *job, struct err *err)
{
    if (atomic_load_explicit(&job->is_cancelled, memory_order_relaxed)) {
        return err_set(err, ERR_CANCELLED, "the client hung up");
    }
    if (job->deadline_us != 0 && clock_mono_us() >= job->deadline_us) {
        return err_set(err, ERR_TIMEOUT, "the request waited %llu ms for its turn",
                       (unsigned long long)(clock_mono_us() - job->begin_us) / 1000);
    }
    return ERR_OK;
}

static enum err_code job_inflate(struct job *job, struct err *err)
{
    struct str encoding = job->request.headers[HEADER_CONTENT_ENCODING];
    if (encoding.len == 0 || str_eq_nocase(encoding, STR("identity"))) {
        return ERR_OK;
    }
    if (!str_eq_nocase(encoding, STR("gzip")) && !str_eq_nocase(encoding, STR("x-gzip"))) {
        return err_set(err, ERR_UNSUPPORTED,
                       "content-encoding \"" STR_FMT "\"; this server takes gzip and identity",
                       STR_ARG(encoding));
    }
    CLEANUP(buf_freep) struct buf plain = {0};
    ERR_TRY(gzip_inflate(job_body(job), (size_t)job->server->config.body_bytes_max, &plain, err));
    buf_done(&job->request.body);
    job->request.body = plain;
    plain = (struct buf){0};
    return ERR_OK;
}

static enum err_code job_read_params(struct job *job, const char *const *names, size_t count,
                                     struct err *err)
{
    ERR_TRY(job_check(job, err));
    ERR_TRY(url_params_parse(job->request.query, job->arena, &job->params, err));
    return names == NULL ? ERR_OK : url_params_check(&job->params, names, count, err);
}

bool job_open(struct job *job, const char *const *param_names, size_t param_count)
{
    struct err err;
    if (job_read_params(job, param_names, param_count, &err) != ERR_OK) {
        job_fail(job, &err);
        return false;
    }
    enum err_code code = job_inflate(job, &err);
    if (code == ERR_OK) {
        return true;
    }
    if (job->route->kind == DOOR_RPC || code == ERR_INVALID) {
        job_fail(job, &err);
    } else {
        job_fail_status(job, code == ERR_UNSUPPORTED ? 415 : code == ERR_LIMIT ? 413 : 503, &err);
    }
    return false;
}

enum err_code job_json(const struct job *job, struct json_parser **ret_parser,
                       const struct json_token **ret_tokens, struct err *err)
{
    uint32_t count = 0;
    ERR_TRY(json_parser_create(ret_parser, err));
    return json_parse(*ret_parser, job_body(job), ret_tokens, &count, err) == ERR_OK
               ? ERR_OK
               : err_context(err, "request body");
}

struct str job_dataset_name(const struct job *job)
{
    const struct str *name = url_param(&job->params, "dataset");
    return name == NULL || name->len == 0 ? STR("default") : *name;
}
