/* tests/e2e/server_process.c - see server_process.h. */
#include "tests/e2e/server_process.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGS_MAX        24
#define SERVE_SECONDS   240u
#define RUN_SECONDS     10u
#define REQUEST_SECONDS 60L
#define LINE_BYTES_MAX  256

static const char *program;

void server_program(const char *path)
{
    program = path;
}

/* Fork and execute; stdout goes to `out_fd`, stderr to `err_fd`. */
static pid_t spawn(const char *const *args, int out_fd, int err_fd, unsigned limit_seconds)
{
    char *argv[ARGS_MAX + 1] = {strdup(program)};
    int argc = 1;
    for (; *args != NULL; args++) {
        assert_true(argc < ARGS_MAX);
        argv[argc++] = strdup(*args);
    }
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves nobody behind */
        alarm(limit_seconds);             /* outlives execv; 0 = no limit */
        dup2(out_fd, STDOUT_FILENO);
        dup2(err_fd, STDERR_FILENO);
        execv(program, argv);
        _exit(127);
    }
    for (int i = 0; i < argc; i++) {
        free(argv[i]);
    }
    return pid;
}

static int wait_for(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0) {
        assert_int_equal(errno, EINTR);
    }
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* The first line of the server's stdout, which is closed when it could not start. */
static void read_address(struct server_process *server, int fd)
{
    static const char prefix[] = "listening on ";
    char line[LINE_BYTES_MAX] = "";
    size_t len = 0;
    while (len + 1 < sizeof(line) && memchr(line, '\n', len) == NULL) {
        ssize_t got = read(fd, line + len, sizeof(line) - 1 - len);
        if (got <= 0) {
            break;
        }
        len += (size_t)got;
    }
    line[strcspn(line, "\n")] = '\0';
    if (strncmp(line, prefix, sizeof(prefix) - 1) != 0) {
        fail_msg("the server did not start; its log is %s", server->log_path);
    }
    const char *address = line + sizeof(prefix) - 1;
    assert_true(strlen(address) < sizeof(server->address));
    memcpy(server->address, address, strlen(address) + 1);
}

void server_restart(struct server_process *server, const char *const *args)
{
    const char *all[ARGS_MAX] = {"--data", server->data, "--listen", "127.0.0.1:0"};
    int count = 4;
    for (; args != NULL && *args != NULL; args++) {
        all[count++] = *args;
    }
    int pipe_fds[2];
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    snprintf(server->log_path, sizeof(server->log_path), "%s.log", server->data);
    int log_fd = open(server->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(log_fd >= 0);
    server->pid = spawn(all, pipe_fds[1], log_fd, SERVE_SECONDS);
    close(pipe_fds[1]);
    close(log_fd);
    read_address(server, pipe_fds[0]);
    close(pipe_fds[0]);
}

void server_start(struct server_process *server, const char *const *args)
{
    snprintf(server->data, sizeof(server->data), "/tmp/trackway-e2e-XXXXXX");
    assert_non_null(mkdtemp(server->data));
    server_restart(server, args);
}

int server_stop(struct server_process *server, int signal_number)
{
    assert_int_equal(kill(server->pid, signal_number), 0);
    int status = wait_for(server->pid);
    server->pid = 0;
    return status;
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *at)
{
    (void)info;
    (void)type;
    (void)at;
    return remove(path);
}

void server_remove(struct server_process *server)
{
    nftw(server->data, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    unlink(server->log_path);
}

int server_run(const char *const *args, struct buf *out)
{
    int pipe_fds[2];
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    pid_t pid = spawn(args, pipe_fds[1], pipe_fds[1], RUN_SECONDS);
    close(pipe_fds[1]);
    char chunk[4096];
    for (;;) {
        ssize_t got = read(pipe_fds[0], chunk, sizeof(chunk));
        if (got <= 0) {
            break;
        }
        buf_append(out, chunk, (size_t)got);
    }
    close(pipe_fds[0]);
    buf_u8(out, '\0');
    return wait_for(pid);
}

void reply_done(struct reply *reply)
{
    buf_done(&reply->headers);
    buf_done(&reply->body);
}

static size_t keep(char *bytes, size_t size, size_t count, void *into)
{
    buf_append(into, bytes, size * count);
    return size * count;
}

void server_call(const struct server_process *server, const struct call *call, struct reply *ret)
{
    char url[2048];
    struct curl_slist *headers = NULL;
    CURL *curl = curl_easy_init();
    assert_non_null(curl);
    *ret = (struct reply){0};
    snprintf(url, sizeof(url), "http://%s%s", server->address, call->path);
    for (size_t i = 0; i < COUNT_OF(call->headers) && call->headers[i] != NULL; i++) {
        headers = curl_slist_append(headers, call->headers[i]);
    }
    headers = curl_slist_append(headers, "Expect:");
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, REQUEST_SECONDS);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION,
                     call->is_http2 ? (long)CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE
                                    : (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, keep);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &ret->body);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, keep);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, &ret->headers);
    if (call->body != NULL) {
        size_t len = call->body_len != 0 ? call->body_len : strlen(call->body);
        curl_easy_setopt(curl, CURLOPT_POST, 1L);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, call->body);
    }
    if (call->method != NULL) {
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, call->method);
        if (strcmp(call->method, "HEAD") == 0) {
            curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
        }
    }
    CURLcode code = curl_easy_perform(curl);
    if (code != CURLE_OK) {
        fail_msg("%s: %s; the log is %s", url, curl_easy_strerror(code), server->log_path);
    }
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &ret->status);
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    buf_u8(&ret->headers, '\0');
    buf_u8(&ret->body, '\0');
    assert_false(ret->body.is_bad || ret->headers.is_bad);
    ret->body.len--;
}

const char *reply_header(const struct reply *reply, const char *name)
{
    static char value[LINE_BYTES_MAX];
    size_t name_len = strlen(name);
    value[0] = '\0';
    for (const char *line = (const char *)reply->headers.ptr; *line != '\0';) {
        size_t len = strcspn(line, "\r\n");
        if (len > name_len && strncasecmp(line, name, name_len) == 0 && line[name_len] == ':') {
            const char *begin = line + name_len + 1 + strspn(line + name_len + 1, " ");
            snprintf(value, sizeof(value), "%.*s", (int)(line + len - begin), begin);
        }
        line += len;
        line += strspn(line, "\r\n");
    }
    return value;
}

long long server_metric(const struct server_process *server, const char *name)
{
    struct reply reply;
    char start[LINE_BYTES_MAX];
    long long value = 0;
    server_call(server, &(struct call){.path = "/metrics"}, &reply);
    assert_int_equal(reply.status, 200);
    snprintf(start, sizeof(start), "\n%s ", name);
    const char *line = strstr((const char *)reply.body.ptr, start);
    if (line != NULL) {
        value = strtoll(line + strlen(start), NULL, 10);
    }
    reply_done(&reply);
    return value;
}

int server_connect(const struct server_process *server)
{
    const char *port = strrchr(server->address, ':') + 1;
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}
