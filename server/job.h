/* server/job.h - one request on its way through the server, free of any HTTP library.
 *
 *      loop thread                       worker, writer                     loop thread
 *     read, copy, admit  -- pool -->  run: parse, submit or query  -- message -->  send, free
 *
 * A job owns copies of all it needs of the request, because the request may be gone (the client
 * hung up, the stream was reset) while the job still runs. It has one owner at a time: the loop,
 * then the thread that runs it, perhaps the data set's writer, then the loop again. Whoever has it
 * last on the worker's side calls job_finish exactly once and does not touch the job afterwards.
 *
 * Only `is_cancelled` may be set while another thread owns the job.
 */
#pragma once

#include "server/metrics.h"
#include "server/server.h"
#include "server/status.h"
#include "server/url.h"
#include "storage/base/arena.h"
#include "storage/base/io.h"

struct job;
struct event_batch;
struct dataset;

/* Which threads run a route. */
enum route_pool {
    ROUTE_INLINE, /* the loop itself: for what neither waits nor takes long */
    ROUTE_QUERY_POOL,
    ROUTE_INGEST_POOL,
    ROUTE_ADMIN_POOL,
};
struct route {
    const char *path;  /* compared as it stands in the request, without decoding */
    const char *label; /* in the metrics */
    const char *allow; /* methods, as the Allow header lists them */
    enum door_kind kind;
    enum route_pool pool;
    /* Runs the job and sees to it that job_finish is called, now or later. Inline routes do not
     * call it. */
    void (*run)(struct job *job, struct io *io);
};

/* The request headers that doors look at; empty where absent. */
enum job_header {
    HEADER_CONTENT_TYPE,
    HEADER_CONTENT_ENCODING,
    HEADER_ACCEPT,
    HEADER_ACCEPT_ENCODING,
    HEADER_CONNECT_VERSION,
    HEADER_CONNECT_TIMEOUT,
    HEADER_COUNT,
};
struct job_request {
    struct str method;
    struct str path;  /* before "?" */
    struct str query; /* after "?" */
    struct str headers[HEADER_COUNT];
    struct buf body; /* BODY_PADDING_BYTES zero bytes stand after it, uncounted */
};
struct job_response {
    int status;
    const char *content_type; /* static */
    const char *accept_post;  /* static; NULL = no such header */
    bool is_gzip;
    struct buf body;
};

#define STREAM_PIECE_BYTES 65536u
/* An answer in pieces (http_stream.c). Both functions run on a pool's thread, one at a time. */
struct job_stream {
    /* Put the next piece, at least a byte, into response.body; *ret_more false with the last one. */
    enum err_code (*next)(struct job *job, struct io *io, bool *ret_more, struct err *err);
    /* Give back what the stream holds: once, after the last piece or when nobody waits for more. */
    void (*close)(struct job *job);
};

struct job {
    struct server *server;
    const struct route *route;
    struct arena *arena; /* strings of the request and what decoding it allocates */
    struct job_request request;
    struct job_response response;
    struct url_params params; /* of request.query, once job_open has run */
    uint64_t begin_us;        /* clock_mono_us when the request was complete */
    uint64_t deadline_us;     /* 0 = none */
    _Atomic bool is_cancelled;
    size_t bodies_bytes; /* taken from server.bodies */

    /* An ingest job between submit and receipts. */
    struct event_batch *batch;
    struct dataset *dataset;         /* it goes to */
    struct budget batch_budget;      /* of the batch and of the dead letters of it */
    int shape;                       /* enum ingest_shape, or enum rpc_encoding at the RPC doors */
    int receipts;                    /* enum receipt_list */
    void (*render)(struct job *job); /* from batch to answer */

    /* Set by a door whose answer has more pieces than the first, which is in the response. */
    const struct job_stream *stream;
    void *stream_state;
    bool is_stream_cut; /* it ends here, without its end */

    void (*finish)(struct job *job); /* set by the loop that made the job */
};

/* Give the job back to its loop. Any thread. */
void job_finish(struct job *job);
/* Answer with an error: status by the route's door, body as JSON (Connect's JSON for RPC doors). */
void job_fail(struct job *job, const struct err *err);
/* The same with another status than the table's: 415, 405. */
void job_fail_status(struct job *job, int status, const struct err *err);
/* As job_fail, with the place in `text` shown. */
void job_fail_at(struct job *job, struct str text, const struct err *err);
/* Answer 200 with what is in response.body. Compresses it where the client takes gzip and it pays.
 */
void job_answer(struct job *job, const char *content_type);

/* A stream that has begun cannot answer with an error: it is cut, and the operator told. */
void job_stream_cut(struct job *job, const struct err *err);

/* What every door does first on its worker: refuse what was cancelled or is late, split the URL's
 * parameters and check their names (none checked where `param_names` is NULL), inflate the body.
 * Where it returns false the answer is written: 400, 408, 413, 415, 499, 504. */
bool job_open(struct job *job, const char *const *param_names, size_t param_count);
/* ERR_CANCELLED or ERR_TIMEOUT where nobody waits for the answer any more. */
enum err_code job_check(const struct job *job, struct err *err) ERR_MUST_CHECK;
/* The parameter `dataset`, or "default". */
struct str job_dataset_name(const struct job *job);
struct json_parser;
struct json_token;
/* The body as JSON. Its texts live in the parser, which is the caller's. */
enum err_code job_json(const struct job *job, struct json_parser **ret_parser,
                       const struct json_token **ret_tokens, struct err *err) ERR_MUST_CHECK;
static inline struct str job_body(const struct job *job)
{
    return buf_as_str(&job->request.body);
}
