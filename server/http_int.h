/* server/http_int.h - what http.c (loops, connections, shutdown) and http_respond.c (requests,
 * jobs, answers) share. Everything here belongs to the loop's thread, but for what a message
 * carries. */
#pragma once

#include "server/h2o_api.h"
#include "server/http.h"
#include "server/job.h"

#include <pthread.h>
#include <semaphore.h>

struct http_loop;

/* A connection. Lives until it is closed and its last job has come back. */
struct http_conn {
    struct http_loop *loop;
    struct http_conn *next, *prev; /* of the loop, while open */
    int fd;
    uint32_t job_count;      /* of its requests, alive or not */
    uint32_t answered_count; /* requests that lived to see their answer */
    uint32_t reset_count;    /* requests that did not */
    bool is_open;
    bool is_shut; /* shutdown(fd) was called; h2o will close it */
};

/* A request of h2o, in its own pool: the pool's end, which is the request's, calls
 * http_request_gone. */
struct http_request {
    h2o_req_t *req;
    struct http_conn *conn;
    struct http_request *next, *prev; /* of the loop */
    struct http_job *job;             /* until it is answered; of a stream, until its last piece */
    h2o_generator_t generator;        /* of a stream */
    bool is_hung_up;                  /* counted */
    uint64_t
        write_deadline_us; /* once it is answered; of a stream, of the piece that h2o has; 0: none */
    struct buf body;       /* what h2o is sending */
};

struct http_job {
    struct job job;
    h2o_multithread_message_t message; /* back to the loop; linked once */
    struct http_conn *conn;
    struct http_request *request; /* NULL once the request is gone. The loop's alone */

    /* Of a stream (http_stream.c). */
    bool is_started; /* the answer */
    bool is_in_work; /* the pool has it; only the loop looks */
    bool is_last;    /* the piece at hand */
    bool is_closing;
};

struct http_loop {
    h2o_context_t ctx; /* first: a request leads here */
    struct http *http;
    struct server *server;
    h2o_accept_ctx_t accept_ctx;
    h2o_socket_t *listener; /* NULL once draining */
    bool is_accepting;
    h2o_multithread_receiver_t finished_receiver; /* of http_job messages */
    h2o_multithread_receiver_t drain_receiver;
    h2o_multithread_message_t drain_message;
    h2o_timeout_entry_t tick; /* each 100 ms */
    struct http_conn *conns;
    struct http_request *requests;
    uint32_t conn_count, conn_max;
    uint32_t job_count; /* given out and not back */
    bool is_draining;
    bool is_done;
    uint64_t drain_end_us;
    pthread_t thread;
    sem_t started; /* posted once `code` is set */
    sem_t done;    /* posted when the loop has drained */
    enum err_code code;
    struct err err;
};

/* ---- http_respond.c ---- */
int http_on_request(h2o_handler_t *handler, h2o_req_t *req);
/* Status and headers of the job's answer. `length`: of its body; SIZE_MAX: not known. */
void http_start_answer(struct http_request *request, struct job *job, size_t length);
/* When a client that was given so many bytes now must have taken them. */
uint64_t http_write_deadline(const struct server *server, size_t bytes);

/* ---- http_stream.c ---- */
/* A message about a job with a stream: send the piece. False when the stream is closed, and the job to be freed. */
bool http_stream_piece(struct http_job *made);
/* The request of a stream is gone. */
void http_stream_gone(struct http_job *made);

/* ---- http.c ---- */
void http_on_finished(h2o_multithread_receiver_t *receiver, h2o_linklist_t *messages);
void http_conn_release(struct http_conn *conn); /* free it where nothing refers to it any more */
/* End both directions; h2o then notices, closes, and disposes of its requests. */
void http_conn_shut(struct http_conn *conn);
