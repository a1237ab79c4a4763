/* server/rpc_doors.c - the Connect protocol, unary calls: https://connectrpc.com/docs/protocol
 *
 * POST with application/proto or application/json, answered in the same encoding; Query also by GET
 * (?connect=v1&encoding=json&message=...&base64=1&compression=gzip). Errors are always JSON.
 */
#include "server/gzip.h"
#include "server/ingest_parse.h"
#include "server/query_doors.h"
#include "server/rpc.h"

#define CONNECT_TIMEOUT_DIGITS_MAX 10u

static const char *encoding_type(enum rpc_encoding encoding)
{
    return encoding == RPC_PROTO ? "application/proto" : "application/json";
}

static enum err_code connect_headers(struct job *job, struct err *err)
{
    struct str version = job->request.headers[HEADER_CONNECT_VERSION];
    if (version.len != 0 && !str_eq(version, STR("1"))) {
        return err_set(err, ERR_INVALID,
                       "connect-protocol-version \"" STR_FMT "\"; this server speaks 1",
                       STR_ARG(version));
    }
    struct str timeout = job->request.headers[HEADER_CONNECT_TIMEOUT];
    if (timeout.len == 0) {
        return ERR_OK;
    }
    uint64_t timeout_ms = 0;
    for (size_t i = 0; i < timeout.len; i++) {
        if (timeout.len > CONNECT_TIMEOUT_DIGITS_MAX || timeout.ptr[i] < '0' ||
            timeout.ptr[i] > '9') {
            return err_set(err, ERR_INVALID,
                           "connect-timeout-ms \"" STR_FMT "\" is not 1 to %u digits",
                           STR_ARG(timeout), CONNECT_TIMEOUT_DIGITS_MAX);
        }
        timeout_ms = timeout_ms * 10 + (uint64_t)(timeout.ptr[i] - '0');
    }
    query_job_shorten(job, timeout_ms);
    return ERR_OK;
}

/* The message of a GET, out of the URL and into the body. */
static enum err_code message_from_url(struct job *job, enum rpc_encoding *ret_encoding,
                                      bool *ret_is_type_known, struct err *err)
{
    const struct str *encoding = url_param(&job->params, "encoding");
    const struct str *message = url_param(&job->params, "message");
    const struct str *compression = url_param(&job->params, "compression");
    bool is_base64 = false;
    *ret_is_type_known =
        encoding != NULL && (str_eq(*encoding, STR("proto")) || str_eq(*encoding, STR("json")));
    if (!*ret_is_type_known || message == NULL) {
        return err_set(err, ERR_INVALID,
                       "a GET needs the parameters \"encoding\" (proto or json) and \"message\"");
    }
    ERR_TRY(url_param_bool(&job->params, "base64", &is_base64, err));
    struct str bytes = *message;
    if (is_base64) {
        ERR_TRY(url_base64(*message, job->arena, &bytes, err));
    }
    struct buf *body = &job->request.body;
    buf_clear(body);
    if (compression != NULL && str_eq(*compression, STR("gzip"))) {
        ERR_TRY(gzip_inflate(bytes, (size_t)job->server->config.body_bytes_max, body, err));
    } else if (compression != NULL && !str_eq(*compression, STR("identity"))) {
        return err_set(err, ERR_UNSUPPORTED, "compression \"" STR_FMT "\"", STR_ARG(*compression));
    } else {
        buf_str(body, bytes);
        uint8_t *padding = buf_reserve(body, BODY_PADDING_BYTES);
        if (padding != NULL) {
            memset(padding, 0, BODY_PADDING_BYTES);
        }
        ERR_TRY(buf_check(body, err));
    }
    *ret_encoding = str_eq(*encoding, STR("proto")) ? RPC_PROTO : RPC_JSON;
    return ERR_OK;
}

static enum err_code message_read(struct job *job, enum rpc_encoding *ret_encoding,
                                  bool *ret_is_type_known, struct err *err)
{
    if (!str_eq(job->request.method, STR("POST"))) {
        return message_from_url(job, ret_encoding, ret_is_type_known, err);
    }
    struct str type = media_type(job->request.headers[HEADER_CONTENT_TYPE]);
    bool is_proto = str_eq_nocase(type, STR("application/proto"));
    *ret_is_type_known = is_proto || str_eq_nocase(type, STR("application/json"));
    if (!*ret_is_type_known) {
        return err_set(err, ERR_INVALID,
                       "content-type \"" STR_FMT "\"; calls are application/proto or "
                       "application/json",
                       STR_ARG(type));
    }
    *ret_encoding = is_proto ? RPC_PROTO : RPC_JSON;
    return ERR_OK;
}

static struct str dataset_or_default(struct str name)
{
    return name.len == 0 ? STR("default") : name;
}

static enum err_code rpc_query(struct job *job, enum rpc_encoding encoding, struct io *io,
                               struct err *err)
{
    struct str name = {0};
    struct query_request request = {0};
    CLEANUP(result_freep) struct result *result = NULL;
    ERR_TRY(rpc_decode_query(encoding, job_body(job), job->arena, &name, &request, err));
    ERR_TRY(query_job_run(job, dataset_or_default(name), &request, io, &result, err));
    ERR_TRY(rpc_encode_result(encoding, result, &job->response.body, err));
    job_answer(job, encoding_type(encoding));
    return ERR_OK;
}

static void rpc_render_receipts(struct job *job)
{
    struct err err;
    enum rpc_encoding encoding = (enum rpc_encoding)job->shape;
    if (rpc_encode_receipts(encoding, job->batch, &job->response.body, &err) != ERR_OK) {
        job_fail(job, &err);
    } else {
        job_answer(job, encoding_type(encoding));
    }
}

static enum err_code rpc_ingest(struct job *job, enum rpc_encoding encoding, struct io *io,
                                struct err *err)
{
    struct str name = {0};
    struct ingest_opts opts;
    ingest_opts_of(job, &opts);
    job->shape = (int)encoding;
    ERR_TRY(rpc_decode_ingest(encoding, job_body(job), &opts, &name, &job->batch, err));
    if (job_check(job, err) != ERR_OK) {
        event_batch_free(TAKE(job->batch));
        return err->code;
    }
    return ingest_submit(job, dataset_or_default(name), rpc_render_receipts, io, err);
}

void door_rpc(struct job *job, struct io *io)
{
    struct err err;
    enum rpc_encoding encoding = RPC_JSON;
    enum rpc_method method = RPC_QUERY;
    bool is_type_known = true;
    if (!job_open(job, NULL, 0)) {
        job_finish(job);
        return;
    }
    bool is_found = rpc_find(job->request.path, &method);
    ASSERT(is_found); /* the routes name the same paths */
    enum err_code code = connect_headers(job, &err);
    if (code == ERR_OK) {
        code = message_read(job, &encoding, &is_type_known, &err);
    }
    if (code == ERR_OK && method == RPC_INGEST) {
        code = rpc_ingest(job, encoding, io, &err);
        if (code == ERR_OK) {
            return; /* the batch's end answers */
        }
    } else if (code == ERR_OK) {
        code = rpc_query(job, encoding, io, &err);
    }
    if (code != ERR_OK && !is_type_known) {
        job->response.accept_post = "application/proto, application/json";
        job_fail_status(job, 415, &err);
    } else if (code != ERR_OK) {
        job_fail(job, &err);
    }
    job_finish(job);
}
