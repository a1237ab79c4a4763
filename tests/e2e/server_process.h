/* tests/e2e/server_process.h - a trackwayd of the test's own, and requests to it. */
#pragma once

#include "storage/base/buf.h"

#include <sys/types.h>

struct server_process {
    pid_t pid;
    char data[64];      /* temporary folder */
    char address[64];   /* 127.0.0.1:PORT */
    char log_path[128]; /* its stderr */
};

/* The program to start: from the command line of the test. */
void server_program(const char *path);
/* Start on a free port over a new folder, with up to 12 further arguments, NULL at the end. The test fails where
 * it does not come up. */
void server_start(struct server_process *server, const char *const *args);
/* The same over the folder that is there. */
void server_restart(struct server_process *server, const char *const *args);
/* Send the signal and wait; the exit status, or 128 + the signal that ended it. */
int server_stop(struct server_process *server, int signal_number);
void server_remove(struct server_process *server); /* the folder */
/* Run the program to its end with these arguments; `out` gets stdout and stderr. */
int server_run(const char *const *args, struct buf *out);

struct reply {
    long status;
    struct buf headers; /* as received, NUL-terminated after the last */
    struct buf body;    /* NUL-terminated, the NUL not counted */
};
struct call {
    const char *method; /* NULL: POST with a body, else GET */
    const char *path;
    const char *headers[6];
    const char *body;
    size_t body_len; /* 0: strlen(body) */
    bool is_http2;
};
void reply_done(struct reply *reply);
/* Make the call; the test fails where no answer comes. */
void server_call(const struct server_process *server, const struct call *call, struct reply *ret);
/* Value of a response header, empty where absent; valid until the next call. */
const char *reply_header(const struct reply *reply, const char *name);
/* The value of a line of /metrics, 0 where there is none. */
long long server_metric(const struct server_process *server, const char *name);
/* A connected socket. */
int server_connect(const struct server_process *server);
