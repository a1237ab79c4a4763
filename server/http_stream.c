/* server/http_stream.c - answers in pieces, with flow control.
 *
 *      pool                                loop                              h2o
 *      door: first piece  -- message -->   start the answer, h2o_send  -->   writes
 *      next piece         <-- submit --    proceed                     <--   has written it
 *      next piece         -- message -->   h2o_send                    -->   ...
 *      close              <-- submit --    last piece, or the request is gone
 *      (closed)           -- message -->   free the job
 *
 * At any time one side has the job: the pool while `is_in_work`, else the loop. There is one piece at a time, so a client that
 * reads slowly holds one piece and what the stream's own state is. Of a client that takes no piece for `request-timeout-ms`
 * and what the piece's length allows, or is not through at the job's deadline, the connection is shut (http.c).
 *
 * A stream is closed on the pool, for giving back what it holds may take its time. A place in the pool's queue was given to
 * the request when it came; its pieces do not ask again.
 */
#include "server/http_int.h"
#include "storage/base/clock.h"

static struct buf buf_take(struct buf *from)
{
    struct buf taken = *from;
    *from = (struct buf){0};
    return taken;
}

static void run_next(void *arg, struct io *io)
{
    struct http_job *made = arg;
    struct job *job = &made->job;
    struct err err;
    bool has_more = false;
    buf_clear(&job->response.body);
    if (job->stream->next(job, io, &has_more, &err) != ERR_OK) {
        job_stream_cut(job, &err);
    }
    made->is_last = !has_more;
    job_finish(job);
}

static void run_close(void *arg, struct io *io)
{
    struct http_job *made = arg;
    (void)io;
    made->job.stream->close(&made->job);
    job_finish(&made->job);
}

/* Have the pool run `fn` for the job; without memory for that it is run here. */
static void stream_submit(struct http_job *made, void (*fn)(void *, struct io *))
{
    struct err err;
    made->is_in_work = true;
    if (pool_submit(made->job.server->asker_pool, fn, made, UINT32_MAX, &err) == ERR_OK) {
        return;
    }
    if (fn == run_close) {
        fn(made, NULL);
        return;
    }
    made->is_in_work = false;
    job_stream_cut(&made->job, &err);
    http_stream_piece(made);
}

static void stream_close(struct http_job *made)
{
    made->is_closing = true;
    stream_submit(made, run_close);
}

void http_stream_gone(struct http_job *made)
{
    metrics_add(made->job.server->metrics, COUNTER_EXPORTS_CUT, 1);
    if (!made->is_in_work) {
        stream_close(made);
    }
}

/* h2o has taken the piece. */
static void on_proceed(h2o_generator_t *generator, h2o_req_t *req)
{
    struct http_request *request =
        H2O_STRUCT_FROM_MEMBER(struct http_request, generator, generator);
    struct http_job *made = request->job;
    (void)req;
    if (made == NULL) {
        return; /* that was the last one */
    }
    request->write_deadline_us = 0; /* the client waits for us */
    made->job.response.body = buf_take(&request->body);
    stream_submit(made, run_next); /* a buffer that has been filled is filled again */
}

/* No end of the answer is sent: HTTP/1 closes the connection without the last chunk, HTTP/2 resets the stream. */
static void stream_break(struct http_job *made)
{
    struct http_request *request = made->request;
    metrics_add(made->job.server->metrics, COUNTER_EXPORTS_CUT, 1);
    request->job = NULL;
    made->request = NULL;
    h2o_send(request->req, NULL, 0, H2O_SEND_STATE_ERROR);
    stream_close(made);
}

static void stream_send(struct http_job *made)
{
    struct http_request *request = made->request;
    struct server *server = made->job.server;
    bool is_last = made->is_last;
    request->body = buf_take(&made->job.response.body);
    request->write_deadline_us = http_write_deadline(server, request->body.len);
    if (made->job.deadline_us != 0 && made->job.deadline_us < request->write_deadline_us) {
        request->write_deadline_us = made->job.deadline_us;
    }
    metrics_add(server->metrics, COUNTER_RESPONSE_BYTES, request->body.len);
    h2o_iovec_t bytes = h2o_iovec_init(request->body.ptr, request->body.len);
    if (!is_last) {
        h2o_send(request->req, &bytes, 1, H2O_SEND_STATE_IN_PROGRESS);
        return;
    }
    request->job = NULL;
    made->request = NULL;
    h2o_send(request->req, &bytes, 1, H2O_SEND_STATE_FINAL);
    stream_close(made);
}

static void stream_start(struct http_job *made)
{
    struct http_request *request = made->request;
    made->is_started = true;
    request->generator = (h2o_generator_t){on_proceed, NULL};
    http_start_answer(request, &made->job, SIZE_MAX);
    h2o_start_response(request->req, &request->generator);
}

bool http_stream_piece(struct http_job *made)
{
    made->is_in_work = false;
    if (made->is_closing) {
        return false;
    }
    if (made->request == NULL) {
        stream_close(made);
        return true;
    }
    if (made->job.is_stream_cut) {
        stream_break(made);
        return true;
    }
    if (!made->is_started) {
        stream_start(made);
    }
    stream_send(made);
    return true;
}
