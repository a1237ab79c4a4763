/* server/http.c - event loops over h2o 2.2.5: one per thread, each with its own connections.
 *
 * All loops accept from one socket (each has a dup of it), so a loop at its bound leaves
 * connections to the others. What h2o does not do is done in a 100 ms tick:
 *
 *   - an HTTP/1 client that hangs up while its request is in work goes unnoticed: poll for it;
 *   - a client that does not read its answer holds the connection for ever: shut it down;
 *   - idle HTTP/1 connections outlive a graceful shutdown: shut them down;
 *   - with no file descriptors left accept fails and fails again: pause it until the next tick.
 *
 * Bodies stay in memory: h2o's files for large ones are switched off, a full disk should not break
 * reading and a crash should not leave them behind.
 */
#include "server/http_int.h"
#include "storage/base/clock.h"
#include "storage/base/size.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define LISTEN_BACKLOG   1024
#define ACCEPTS_PER_WAKE 16
#define POLLS_PER_CALL   64
#define LOOP_WAIT_MS_MAX 1000

struct http {
    h2o_globalconf_t conf;
    int fd; /* what the loops' listeners are dups of */
    char address[256];
    struct http_loop *loops;
    uint32_t loop_count;
};

static void fd_closep(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
}

static void addrinfo_freep(struct addrinfo **info)
{
    if (*info != NULL) {
        freeaddrinfo(*info);
    }
}

/* Split "host:port" or "[host]:port"; false where it is neither. */
static bool address_split(const char *text, char *host, size_t host_room, const char **ret_port)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon[1] == '\0') {
        return false;
    }
    struct str name = {text, (size_t)(colon - text)};
    if (name.len >= 2 && name.ptr[0] == '[' && name.ptr[name.len - 1] == ']') {
        name = (struct str){name.ptr + 1, name.len - 2};
    } else if (memchr(name.ptr, ':', name.len) != NULL) {
        return false; /* an IPv6 address without brackets could end anywhere */
    }
    if (name.len == 0 || name.len >= host_room) {
        return false;
    }
    memcpy(host, name.ptr, name.len);
    host[name.len] = '\0';
    *ret_port = colon + 1;
    return true;
}

/* The bound address with its real port, as text. */
static enum err_code address_of(int fd, char *out, size_t room, struct err *err)
{
    struct sockaddr_storage bound;
    socklen_t len = sizeof(bound);
    char host[128];
    char port[16];
    if (getsockname(fd, (struct sockaddr *)&bound, &len) != 0) {
        return err_set_errno(err, errno, "cannot read the address listened on");
    }
    if (getnameinfo((struct sockaddr *)&bound, len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return err_set(err, ERR_IO, "cannot print the address listened on");
    }
    bool is_v6 = bound.ss_family == AF_INET6;
    snprintf(out, room, "%s%s%s:%s", is_v6 ? "[" : "", host, is_v6 ? "]" : "", port);
    return ERR_OK;
}

static enum err_code listen_on(const char *text, int *ret_fd, struct err *err)
{
    char host[256];
    const char *port = NULL;
    CLEANUP(addrinfo_freep) struct addrinfo *info = NULL;
    CLEANUP(fd_closep) int fd = -1;
    if (!address_split(text, host, sizeof(host), &port)) {
        return err_set(err, ERR_INVALID,
                       "listen \"%s\" is not ADDRESS:PORT, as 127.0.0.1:7717 or [::1]:7717", text);
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    int failure = getaddrinfo(host, port, &hints, &info);
    if (failure != 0) {
        return err_set(err, ERR_INVALID, "listen \"%s\": %s", text, gai_strerror(failure));
    }
    fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return err_set_errno(err, errno, "cannot listen on %s", text);
    }
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)); /* best effort: a quick restart */
    if (bind(fd, info->ai_addr, info->ai_addrlen) != 0 || listen(fd, LISTEN_BACKLOG) != 0) {
        if (errno == EADDRINUSE) {
            return err_set(err, ERR_IO, "cannot listen on %s: another process has that port", text);
        }
        return err_set_errno(err, errno, "cannot listen on %s", text);
    }
    *ret_fd = fd;
    fd = -1;
    return ERR_OK;
}

enum err_code http_listen(const struct config *config, struct http **ret, struct err *err)
{
    struct http *http = calloc(1, sizeof(*http));
    if (http == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory: the listener");
    }
    if (listen_on(config->listen, &http->fd, err) != ERR_OK) {
        free(http);
        return err->code;
    }
    if (address_of(http->fd, http->address, sizeof(http->address), err) != ERR_OK) {
        close(http->fd);
        free(http);
        return err->code;
    }
    *ret = http;
    return ERR_OK;
}

const char *http_address(const struct http *http)
{
    return http->address;
}

void http_conn_shut(struct http_conn *conn)
{
    if (conn->is_open && !conn->is_shut) {
        conn->is_shut = true;
        shutdown(conn->fd, SHUT_RDWR);
    }
}

void http_conn_release(struct http_conn *conn)
{
    if (!conn->is_open && conn->job_count == 0) {
        free(conn);
    }
}

/* h2o closes the socket. Its requests are gone before, or will be in this same turn of the loop. */
static void conn_on_close(void *at)
{
    struct http_conn *conn = at;
    struct http_loop *loop = conn->loop;
    if (conn->prev == NULL) {
        loop->conns = conn->next;
    } else {
        conn->prev->next = conn->next;
    }
    if (conn->next != NULL) {
        conn->next->prev = conn->prev;
    }
    loop->conn_count--;
    metrics_gauge(loop->server->metrics, GAUGE_CONNECTIONS, -1);
    conn->is_open = false;
    http_conn_release(conn);
}

static void loop_pause_accept(struct http_loop *loop)
{
    if (loop->is_accepting) {
        loop->is_accepting = false;
        h2o_socket_read_stop(loop->listener);
    }
}

/* Take one connection; false when there is none to take now. */
static bool loop_accept(struct http_loop *loop)
{
    struct http_conn *conn = calloc(1, sizeof(*conn));
    if (conn == NULL) {
        loop_pause_accept(loop);
        return false;
    }
    h2o_socket_t *sock = h2o_evloop_socket_accept(loop->listener);
    if (sock == NULL) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            metrics_add(loop->server->metrics, COUNTER_ACCEPT_ERRORS, 1);
            loop_pause_accept(loop);
        }
        free(conn);
        return false;
    }
    *conn = (struct http_conn){
        .loop = loop, .next = loop->conns, .fd = h2o_socket_get_fd(sock), .is_open = true};
    if (loop->conns != NULL) {
        loop->conns->prev = conn;
    }
    loop->conns = conn;
    loop->conn_count++;
    metrics_add(loop->server->metrics, COUNTER_CONNECTIONS, 1);
    metrics_gauge(loop->server->metrics, GAUGE_CONNECTIONS, 1);
    sock->on_close.cb = conn_on_close;
    sock->on_close.data = conn;
    h2o_accept(&loop->accept_ctx, sock);
    return true;
}

static void loop_on_accept(h2o_socket_t *listener, const char *failure)
{
    struct http_loop *loop = listener->data;
    if (failure != NULL) {
        return;
    }
    for (int i = 0; i < ACCEPTS_PER_WAKE; i++) {
        if (loop->conn_count >= loop->conn_max) {
            loop_pause_accept(loop);
            return;
        }
        if (!loop_accept(loop)) {
            return;
        }
    }
}

/* Cancel jobs whose HTTP/1 client has hung up; HTTP/2 tells by itself. A client that only closed
 * its sending side counts as gone too: there is no telling the two apart without reading. */
static void loop_watch_hangups(struct http_loop *loop)
{
    struct http_request *next = loop->requests;
    while (next != NULL) {
        struct http_request *watched[POLLS_PER_CALL];
        struct pollfd polls[POLLS_PER_CALL];
        nfds_t count = 0;
        for (; next != NULL && count < POLLS_PER_CALL; next = next->next) {
            if (next->job != NULL && !next->is_hung_up && next->req->version < 0x200 &&
                next->conn->is_open) {
                watched[count] = next;
                polls[count] = (struct pollfd){.fd = next->conn->fd, .events = POLLRDHUP};
                count++;
            }
        }
        if (count == 0 || poll(polls, count, 0) <= 0) {
            continue;
        }
        for (nfds_t i = 0; i < count; i++) {
            if ((polls[i].revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0) {
                watched[i]->is_hung_up = true;
                metrics_add(loop->server->metrics, COUNTER_HANGUPS, 1);
                atomic_store_explicit(&watched[i]->job->job.is_cancelled, true,
                                      memory_order_relaxed);
                if (watched[i]->job->is_started) { /* a stream that waits would never know */
                    http_conn_shut(watched[i]->conn);
                }
            }
        }
    }
}

static void loop_watch_writes(struct http_loop *loop, uint64_t now_us)
{
    for (struct http_request *request = loop->requests; request != NULL; request = request->next) {
        if (request->write_deadline_us != 0 && now_us > request->write_deadline_us &&
            !request->conn->is_shut) {
            metrics_add(loop->server->metrics, COUNTER_WRITE_TIMEOUTS, 1);
            http_conn_shut(request->conn);
        }
    }
}

static int count_or_shut(h2o_req_t *req, void *arg)
{
    uint32_t *active_count = arg;
    if (req->version != 0) {
        (*active_count)++;
        return 0;
    }
    /* An HTTP/1 connection between requests. */
    h2o_socket_t *sock = req->conn->callbacks->get_socket(req->conn);
    http_conn_shut(sock->on_close.data);
    return 0;
}

/* One step of the way down; sets is_done at its end. */
static void loop_drain(struct http_loop *loop, uint64_t now_us)
{
    uint32_t active_count = 0;
    bool is_late = now_us >= loop->drain_end_us;
    loop->ctx.globalconf->http1.callbacks.foreach_request(&loop->ctx, count_or_shut, &active_count);
    loop->ctx.globalconf->http2.callbacks.foreach_request(&loop->ctx, count_or_shut, &active_count);
    if (is_late) {
        for (struct http_request *request = loop->requests; request != NULL;
             request = request->next) {
            if (request->job != NULL) {
                atomic_store_explicit(&request->job->job.is_cancelled, true, memory_order_relaxed);
                if (request->job->is_started) { /* it may wait for its client */
                    http_conn_shut(request->conn);
                }
            }
        }
    }
    if (loop->job_count > 0 || (!is_late && (active_count > 0 || loop->requests != NULL))) {
        return;
    }
    for (struct http_conn *conn = loop->conns; conn != NULL; conn = conn->next) {
        http_conn_shut(conn);
    }
    loop->is_done = true;
}

static void loop_on_tick(h2o_timeout_entry_t *entry)
{
    struct http_loop *loop = H2O_STRUCT_FROM_MEMBER(struct http_loop, tick, entry);
    uint64_t now_us = clock_mono_us();
    loop_watch_hangups(loop);
    loop_watch_writes(loop, now_us);
    if (loop->is_draining) {
        loop_drain(loop, now_us);
    } else if (!loop->is_accepting && loop->conn_count < loop->conn_max) {
        loop->is_accepting = true;
        h2o_socket_read_start(loop->listener, loop_on_accept);
    }
    h2o_timeout_link(loop->ctx.loop, &loop->ctx.hundred_ms_timeout, &loop->tick);
}

static void loop_on_drain(h2o_multithread_receiver_t *receiver, h2o_linklist_t *messages)
{
    struct http_loop *loop = H2O_STRUCT_FROM_MEMBER(struct http_loop, drain_receiver, receiver);
    while (!h2o_linklist_is_empty(messages)) {
        h2o_linklist_unlink(messages->next);
    }
    loop->is_draining = true;
    loop->drain_end_us = clock_mono_us() + loop->server->config.drain_timeout_ms * 1000;
    loop_pause_accept(loop);
    h2o_socket_close(TAKE(loop->listener));
    h2o_context_request_shutdown(&loop->ctx);
    loop_drain(loop, clock_mono_us());
}

static enum err_code loop_init(struct http_loop *loop, struct http *http, struct server *server,
                               struct err *err)
{
    CLEANUP(fd_closep) int fd = fcntl(http->fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) {
        return err_set_errno(err, errno, "cannot duplicate the listening socket");
    }
    h2o_context_init(&loop->ctx, h2o_evloop_create(), &http->conf);
    loop->accept_ctx = (h2o_accept_ctx_t){.ctx = &loop->ctx, .hosts = http->conf.hosts};
    loop->conn_max = (uint32_t)MAX_OF(server->config.connections_max / http->loop_count, 1);
    h2o_multithread_register_receiver(loop->ctx.queue, &loop->finished_receiver, http_on_finished);
    h2o_multithread_register_receiver(loop->ctx.queue, &loop->drain_receiver, loop_on_drain);
    loop->listener = h2o_evloop_socket_create(loop->ctx.loop, fd, H2O_SOCKET_FLAG_DONT_READ);
    fd = -1;
    loop->listener->data = loop;
    loop->is_accepting = true;
    h2o_socket_read_start(loop->listener, loop_on_accept);
    loop->tick.cb = loop_on_tick;
    h2o_timeout_link(loop->ctx.loop, &loop->ctx.hundred_ms_timeout, &loop->tick);
    return ERR_OK;
}

/* h2o keeps free lists per thread, so a loop is made by the thread that runs it. And the thread never
 * returns: its lists, and what another thread's last message still touches, stay until the process ends. */
static void *loop_main(void *arg)
{
    struct http_loop *loop = arg;
    loop->code = loop_init(loop, loop->http, loop->server, &loop->err);
    bool is_made = loop->code == ERR_OK;
    sem_post(&loop->started); /* from here on http_start reads the result */
    while (is_made && !loop->is_done) {
        if (h2o_evloop_run(loop->ctx.loop, LOOP_WAIT_MS_MAX) != 0 && errno != EINTR) {
            log_line(LOG_ERROR, "event loop failed", "errno=%d", errno);
            kill(getpid(), SIGTERM); /* in good order, as far as it goes */
            usleep(100 * 1000);
        }
    }
    sem_post(&loop->done);
    while (pause() != 0) { /* it never returns 0 */
    }
    return NULL;
}

static void sem_wait_for(sem_t *sem)
{
    while (sem_wait(sem) != 0) { /* interrupted */
    }
}

static void conf_init(struct http *http, const struct config *config)
{
    h2o_globalconf_t *conf = &http->conf;
    h2o_config_init(conf);
    conf->server_name = h2o_iovec_init(H2O_STRLIT("trackway/" TRACKWAY_VERSION));
    /* Above this h2o itself refuses: properly with 413 on HTTP/1, but on HTTP/2 by a reset that
     * invites a retry. So it is twice our limit, and we answer what lies between. */
    conf->max_request_entity_size = 2 * (size_t)config->body_bytes_max;
    conf->http1.req_timeout = config->request_timeout_ms;
    conf->http2.idle_timeout = config->request_timeout_ms;
    conf->http2.graceful_shutdown_timeout = config->drain_timeout_ms;
    h2o_socket_buffer_mmap_settings.threshold = SIZE_MAX;
    h2o_hostconf_t *host =
        h2o_config_register_host(conf, h2o_iovec_init(H2O_STRLIT("default")), 65535 /* any port */);
    h2o_pathconf_t *path = h2o_config_register_path(host, "/", 0);
    h2o_create_handler(path, sizeof(h2o_handler_t))->on_req = http_on_request;
}

enum err_code http_start(struct http *http, struct server *server, struct err *err)
{
    conf_init(http, &server->config);
    uint32_t count = (uint32_t)server->config.http_threads;
    http->loop_count = count;
    http->loops = calloc(count, sizeof(*http->loops));
    if (http->loops == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory: %u event loops", count);
    }
    for (uint32_t i = 0; i < count; i++) {
        struct http_loop *loop = &http->loops[i];
        loop->http = http;
        loop->server = server;
        sem_init(&loop->started, 0, 0);
        sem_init(&loop->done, 0, 0);
        int failure = pthread_create(&loop->thread, NULL, loop_main, loop);
        if (failure != 0) {
            return err_set_errno(err, failure, "cannot start event loop %u", i + 1);
        }
        (void)pthread_setname_np(loop->thread, "http");
        sem_wait_for(&loop->started);
        if (loop->code != ERR_OK) {
            *err = loop->err;
            return err->code;
        }
    }
    close(http->fd); /* the loops' copies remain, and go when they drain */
    http->fd = -1;
    return ERR_OK;
}

void http_drain(struct http *http)
{
    for (uint32_t i = 0; i < http->loop_count; i++) {
        h2o_multithread_send_message(&http->loops[i].drain_receiver, &http->loops[i].drain_message);
    }
}

void http_join(struct http *http)
{
    for (uint32_t i = 0; i < http->loop_count; i++) {
        sem_wait_for(&http->loops[i].done);
    }
}
