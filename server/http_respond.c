/* server/http_respond.c - a request becomes a job, a finished job becomes an answer.
 *
 * h2o 2.2.5 frees a request's memory the moment an HTTP/2 stream is reset, whoever reads it. So a
 * worker never sees an h2o_req_t: the job has copies, and a handle in the request's pool tells when
 * the request is gone. A client that resets stream after stream (CVE-2023-44487) must not fill the
 * queues: jobs are bounded per connection, in each pool's queue, and by the bytes of their bodies.
 */
#include "server/gzip.h"
#include "server/http_int.h"
#include "server/routes.h"
#include "storage/base/clock.h"

#include <stdlib.h>

#define CONN_JOBS_MAX      128u /* HTTP/2 allows 100 streams at once; the rest are resets */
#define CONN_RESETS_MIN    200u /* so many resets, and more of them than answers: abuse */
#define WRITE_BYTES_PER_MS 32u  /* a client slower than this over a whole answer is cut off */
#define HEADER_BYTES_MAX   8192u

static struct http_loop *loop_of(h2o_req_t *req)
{
    _Static_assert(offsetof(struct http_loop, ctx) == 0, "the context leads to its loop");
    return (struct http_loop *)req->conn->ctx;
}

static void job_free(struct http_job *made)
{
    buf_done(&made->job.request.body);
    buf_done(&made->job.response.body);
    budget_give(&made->job.server->bodies, made->job.bodies_bytes);
    arena_free(made->job.arena);
    free(made);
}

static void job_freep(struct http_job **made)
{
    if (*made != NULL) {
        job_free(*made);
    }
}

/* Runs on the thread that ends the job. */
static void send_to_loop(struct job *job)
{
    struct http_job *made = (struct http_job *)((char *)job - offsetof(struct http_job, job));
    h2o_multithread_send_message(&made->conn->loop->finished_receiver, &made->message);
}

/* Called by h2o when the request's pool is freed: answered, reset, or its connection closed. */
static void request_gone(void *at)
{
    struct http_request *request = at;
    struct http_conn *conn = request->conn;
    struct http_loop *loop = conn->loop;
    if (request->prev == NULL) {
        loop->requests = request->next;
    } else {
        request->prev->next = request->next;
    }
    if (request->next != NULL) {
        request->next->prev = request->prev;
    }
    buf_done(&request->body);
    if (request->job == NULL) {
        return;
    }
    /* The job learns of it at its next look; its answer will find no request. */
    request->job->request = NULL;
    atomic_store_explicit(&request->job->job.is_cancelled, true, memory_order_relaxed);
    if (request->job->is_started) {
        http_stream_gone(request->job);
    }
    if (!request->is_hung_up) {
        metrics_add(loop->server->metrics, COUNTER_HANGUPS, 1);
    }
    conn->reset_count++;
    if (conn->reset_count >= CONN_RESETS_MIN && conn->reset_count > conn->answered_count &&
        conn->is_open && !conn->is_shut) {
        metrics_add(loop->server->metrics, COUNTER_ABUSE_CLOSED, 1);
        http_conn_shut(conn);
    }
}

static struct http_request *request_create(struct http_loop *loop, h2o_req_t *req)
{
    h2o_socket_t *sock = req->conn->callbacks->get_socket(req->conn);
    struct http_request *request = h2o_mem_alloc_shared(&req->pool, sizeof(*request), request_gone);
    *request =
        (struct http_request){.req = req, .conn = sock->on_close.data, .next = loop->requests};
    if (loop->requests != NULL) {
        loop->requests->prev = request;
    }
    loop->requests = request;
    return request;
}

/* One of the headers, copied; empty where absent. Of several fields with one name the first. */
static enum err_code header_copy(h2o_req_t *req, const char *name, struct arena *arena,
                                 struct str *ret, struct err *err)
{
    ssize_t at = h2o_find_header_by_str(&req->headers, name, strlen(name), -1);
    if (at == -1) {
        *ret = (struct str){"", 0};
        return ERR_OK;
    }
    h2o_iovec_t value = req->headers.entries[at].value;
    if (value.len > HEADER_BYTES_MAX) {
        return err_set(err, ERR_INVALID, "header \"%s\" of %zu bytes, the limit is %u", name,
                       value.len, HEADER_BYTES_MAX);
    }
    return arena_str(arena, (struct str){value.base, value.len}, ret, err);
}

static enum err_code request_copy(h2o_req_t *req, struct job *job, struct err *err)
{
    static const char *const names[HEADER_COUNT] = {
        [HEADER_CONTENT_TYPE] = "content-type",
        [HEADER_CONTENT_ENCODING] = "content-encoding",
        [HEADER_ACCEPT] = "accept",
        [HEADER_ACCEPT_ENCODING] = "accept-encoding",
        [HEADER_CONNECT_VERSION] = "connect-protocol-version",
        [HEADER_CONNECT_TIMEOUT] = "connect-timeout-ms",
    };
    struct job_request *into = &job->request;
    size_t path_len = req->query_at == SIZE_MAX ? req->path.len : req->query_at;
    struct str path = {req->path.base, path_len};
    struct str query = {"", 0};
    if (path_len < req->path.len) {
        query = (struct str){req->path.base + path_len + 1, req->path.len - path_len - 1};
    }
    ERR_TRY(
        arena_str(job->arena, (struct str){req->method.base, req->method.len}, &into->method, err));
    ERR_TRY(arena_str(job->arena, path, &into->path, err));
    ERR_TRY(arena_str(job->arena, query, &into->query, err));
    for (size_t i = 0; i < HEADER_COUNT; i++) {
        ERR_TRY(header_copy(req, names[i], job->arena, &into->headers[i], err));
    }
    return ERR_OK;
}

/* The body, owned by the job and padded. Its bytes count against what all requests may hold. */
static enum err_code body_copy(h2o_req_t *req, struct job *job, struct err *err)
{
    size_t len = req->entity.base == NULL ? 0 : req->entity.len;
    if (budget_take(&job->server->bodies, len, err) != ERR_OK) {
        return err_set(err, ERR_BUSY, "the bodies of other requests fill the server; try again");
    }
    job->bodies_bytes = len;
    if (buf_reserve(&job->request.body, len + BODY_PADDING_BYTES) != NULL) {
        buf_append(&job->request.body, req->entity.base, len);
        memset(job->request.body.ptr + len, 0, BODY_PADDING_BYTES);
    }
    return buf_check(&job->request.body, err);
}

static uint64_t route_timeout_ms(const struct server *server, const struct route *route)
{
    switch (route->pool) {
    case ROUTE_QUERY_POOL: return server->config.query_timeout_ms;
    case ROUTE_INGEST_POOL: return server->config.ingest_timeout_ms;
    case ROUTE_INLINE:
    case ROUTE_ADMIN_POOL: break;
    }
    return 0;
}

/* Whether the request may become work; the refusal is in the job's answer where it may not. */
static bool request_admit(struct http_request *request, struct job *job)
{
    struct server *server = job->server;
    const struct route *route = job->route;
    struct err err;
    if (request_copy(request->req, job, &err) != ERR_OK) {
        job_fail_status(job, err.code == ERR_INVALID ? 400 : 503, &err);
        return false;
    }
    if (route == NULL) {
        err_set(&err, ERR_NOT_FOUND, "there is nothing at \"" STR_FMT "\"",
                STR_ARG(job->request.path));
        job_fail_status(job, 404, &err);
        return false;
    }
    if (!route_allows(route, job->request.method)) {
        err_set(&err, ERR_INVALID, "method \"" STR_FMT "\" at \"%s\", which takes %s",
                STR_ARG(job->request.method), route->path, route->allow);
        job_fail_status(job, 405, &err);
        return false;
    }
    if (request->req->entity.base != NULL &&
        request->req->entity.len > server->config.body_bytes_max) {
        err_set(&err, ERR_LIMIT, "body of %zu bytes, the limit is %llu", request->req->entity.len,
                (unsigned long long)server->config.body_bytes_max);
        if (route->kind == DOOR_RPC) {
            job_fail(job, &err); /* resource_exhausted */
        } else {
            job_fail_status(job, 413, &err);
        }
        return false;
    }
    if (route->pool == ROUTE_INLINE) {
        return true;
    }
    if (request->conn->loop->is_draining) {
        err_set(&err, ERR_BUSY, "the server is shutting down");
        job_fail_status(job, 503, &err);
        return false;
    }
    enum err_code code = ERR_OK;
    if (request->conn->job_count >= CONN_JOBS_MAX) {
        code =
            err_set(&err, ERR_BUSY, "%u requests of this connection are in work, the limit is %u",
                    request->conn->job_count, CONN_JOBS_MAX);
    }
    if (code == ERR_OK) {
        code = body_copy(request->req, job, &err);
    }
    if (code != ERR_OK) {
        job_fail(job, &err);
    }
    return code == ERR_OK;
}

static void run_on_pool(void *arg, struct io *io)
{
    struct job *job = arg;
    job->route->run(job, io);
}

static enum err_code job_start(struct http_job *made, struct err *err)
{
    struct server *server = made->job.server;
    struct pool *pool = made->job.route->pool == ROUTE_QUERY_POOL    ? server->asker_pool
                        : made->job.route->pool == ROUTE_INGEST_POOL ? server->ingest_pool
                                                                     : server->admin_pool;
    struct http_conn *conn = made->conn;
    /* Counted before the pool has it: it may be back before pool_submit returns. */
    conn->job_count++;
    conn->loop->job_count++;
    metrics_gauge(server->metrics, GAUGE_JOBS, 1);
    enum err_code code =
        pool_submit(pool, run_on_pool, &made->job, (uint32_t)server->config.queue_max, err);
    if (code != ERR_OK) {
        conn->job_count--;
        conn->loop->job_count--;
        metrics_gauge(server->metrics, GAUGE_JOBS, -1);
    }
    return code;
}

uint64_t http_write_deadline(const struct server *server, size_t bytes)
{
    return clock_mono_us() +
           (server->config.request_timeout_ms + bytes / WRITE_BYTES_PER_MS) * 1000;
}

static h2o_generator_t whole_body = {NULL, NULL}; /* all bytes go with one h2o_send */

static void add_header(h2o_req_t *req, const char *name, const char *value)
{
    h2o_add_header_by_str(&req->pool, &req->res.headers, name, strlen(name), 1, NULL, value,
                          strlen(value));
}

void http_start_answer(struct http_request *request, struct job *job, size_t length)
{
    h2o_req_t *req = request->req;
    const struct job_response *response = &job->response;
    struct server *server = job->server;
    req->res.status = response->status;
    req->res.reason = status_reason(response->status);
    req->res.content_length = length;
    add_header(req, "content-type", response->content_type);
    if (response->is_gzip) {
        add_header(req, "content-encoding", "gzip");
    }
    add_header(req, "vary", "accept, accept-encoding");
    if (status_is_retryable(response->status)) {
        add_header(req, "retry-after", "1");
    }
    if (response->status == 405) {
        add_header(req, "allow", job->route->allow);
    }
    if (response->accept_post != NULL) {
        add_header(req, "accept-post", response->accept_post);
    }
    if (request->conn->loop->is_draining) {
        req->http1_is_persistent = 0;
    }
    request->conn->answered_count++;
    metrics_request(server->metrics, route_idx(job->route), response->status,
                    clock_mono_us() - job->begin_us);
    if (response->status == 429) {
        metrics_add(server->metrics, COUNTER_BUSY, 1);
    }
}

/* Send the job's answer. The bytes move to the handle, which lives as long as h2o sends. */
static void request_answer(struct http_request *request, struct job *job)
{
    h2o_req_t *req = request->req;
    struct server *server = job->server;
    bool is_head = str_eq((struct str){req->method.base, req->method.len}, STR("HEAD"));
    http_start_answer(request, job, job->response.body.len);
    request->body = job->response.body;
    job->response.body = (struct buf){0};
    request->write_deadline_us = http_write_deadline(server, request->body.len);
    request->job = NULL;
    metrics_add(server->metrics, COUNTER_RESPONSE_BYTES, is_head ? 0 : request->body.len);
    h2o_iovec_t bytes = h2o_iovec_init(request->body.ptr, request->body.len);
    size_t count = is_head || bytes.len == 0 ? 0 : 1;
    /* h2o may be done with the request, and free the handle, before h2o_send returns. */
    h2o_start_response(req, &whole_body);
    h2o_send(req, &bytes, count, H2O_SEND_STATE_FINAL);
}

int http_on_request(h2o_handler_t *handler, h2o_req_t *req)
{
    (void)handler;
    struct http_loop *loop = loop_of(req);
    struct http_request *request = request_create(loop, req);
    CLEANUP(job_freep) struct http_job *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        h2o_send_error_503(req, "Service Unavailable", "out of memory\n", 0);
        return 0;
    }
    size_t path_len = req->query_at == SIZE_MAX ? req->path.len : req->query_at;
    struct job *job = &made->job;
    job->server = loop->server;
    job->route = route_find((struct str){req->path.base, path_len});
    job->arena = arena_create(NULL);
    job->begin_us = clock_mono_us();
    job->finish = send_to_loop;
    job->response.status = 500; /* until someone answers */
    made->conn = request->conn;
    made->request = request;
    request->job = made;
    metrics_add(loop->server->metrics, COUNTER_REQUEST_BYTES,
                req->entity.base == NULL ? 0 : req->entity.len);

    if (!request_admit(request, job)) {
        request_answer(request, job);
        return 0;
    }
    uint64_t timeout_ms = route_timeout_ms(loop->server, job->route);
    job->deadline_us = timeout_ms == 0 ? 0 : job->begin_us + timeout_ms * 1000;
    if (job->route->pool == ROUTE_INLINE) {
        job->route->run(job, NULL);
        request_answer(request, job);
        return 0;
    }
    struct err err;
    if (job_start(made, &err) != ERR_OK) {
        job_fail(job, &err);
        request_answer(request, job);
        return 0;
    }
    (void)TAKE(made); /* the pool's, until its message comes back */
    return 0;
}

void http_on_finished(h2o_multithread_receiver_t *receiver, h2o_linklist_t *messages)
{
    (void)receiver;
    while (!h2o_linklist_is_empty(messages)) {
        h2o_multithread_message_t *message =
            H2O_STRUCT_FROM_MEMBER(h2o_multithread_message_t, link, messages->next);
        struct http_job *made = H2O_STRUCT_FROM_MEMBER(struct http_job, message, message);
        h2o_linklist_unlink(&message->link);
        struct http_conn *conn = made->conn;
        struct server *server = made->job.server;
        if (made->job.stream != NULL && http_stream_piece(made)) {
            continue;
        }
        if (made->request != NULL) {
            request_answer(made->request, &made->job);
        } else if (!made->is_started) {
            metrics_request(server->metrics, route_idx(made->job.route), 499,
                            clock_mono_us() - made->job.begin_us);
        }
        job_free(made);
        metrics_gauge(server->metrics, GAUGE_JOBS, -1);
        conn->loop->job_count--;
        conn->job_count--;
        http_conn_release(conn);
    }
}
