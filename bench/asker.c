/* bench/asker.c - asker PORT: one kept-alive HTTP/1.1 connection to 127.0.0.1, as thin as can be, and a clock beside it.
 *
 *     standard input    PATH LENGTH\n and LENGTH bytes: to be sent by POST, as JSON
 *     standard output   NANOSECONDS STATUS LENGTH\n and LENGTH bytes: the answer, and how long it took from before the request
 *                       was written until its last byte was here
 *
 * For comparisons with engines that are asked inside their own processes: where the answer is there after a tenth of a millisecond,
 * a driver in another language would be most of what is measured. Only for servers that send Content-Length. */
#include "storage/base/buf.h"
#include "storage/base/size.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PATH_BYTES   1024u
#define BODY_BYTES   (1u << 20)
#define ANSWER_BYTES ((size_t)1 << 28)
#define READ_BYTES   ((size_t)256 << 10)

static int fail(const char *what)
{
    fprintf(stderr, "asker: %s\n", what);
    return 1;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int connect_to(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0 ||
        connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        return -1;
    }
    return fd;
}

static bool write_all(int fd, struct str bytes)
{
    while (bytes.len > 0) {
        ssize_t n = send(fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
        if (n <= 0) {
            return false;
        }
        bytes = (struct str){bytes.ptr + n, bytes.len - (size_t)n};
    }
    return true;
}

/* The head's end and the answer's, once the head is here; false where it does not say how long the answer is. */
static bool find_ends(const char *bytes, size_t *ret_head, size_t *ret_end)
{
    const char *end = strstr(bytes, "\r\n\r\n");
    const char *length = strcasestr(bytes, "\r\ncontent-length:");
    if (end == NULL) {
        return true;
    }
    if (length == NULL || length > end) {
        return false;
    }
    *ret_head = (size_t)(end - bytes) + 4;
    *ret_end = *ret_head + strtoul(length + strlen("\r\ncontent-length:"), NULL, 10);
    return true;
}

/* The server closes connections that are idle for long. */
static bool is_closed(int fd)
{
    char byte = 0;
    ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK);
}

/* `answer` has room for READ_BYTES at first, and more as it is needed. */
static bool read_answer(int fd, char **answer, size_t *cap, size_t *ret_head, size_t *ret_end)
{
    size_t got = 0;
    *ret_head = 0;
    *ret_end = 0;
    while (*ret_end == 0 || got < *ret_end) {
        if (got + 1 >= *cap) {
            char *more = *cap >= ANSWER_BYTES ? NULL : realloc(*answer, *cap * 2);
            if (more == NULL) {
                return false;
            }
            *answer = more;
            *cap *= 2;
        }
        ssize_t n = read(fd, *answer + got, *cap - got - 1);
        if (n <= 0) {
            return false;
        }
        got += (size_t)n;
        (*answer)[got] = '\0';
        if (*ret_end == 0 && !find_ends(*answer, ret_head, ret_end)) {
            return false;
        }
    }
    return got == *ret_end;
}

int main(int argc, char **argv)
{
    static char path[PATH_BYTES];
    static char body[BODY_BYTES];
    struct buf request = {0};
    size_t cap = READ_BYTES;
    char *answer = malloc(cap);
    unsigned long length = 0;
    unsigned long port = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
    if (port == 0 || port > UINT16_MAX || answer == NULL) {
        return fail("usage: asker PORT");
    }
    int fd = connect_to((uint16_t)port);
    if (fd < 0) {
        return fail("cannot connect");
    }
    while (scanf("%1023s %lu", path, &length) == 2 && getchar() == '\n') {
        size_t head = 0;
        size_t end = 0;
        if (length > sizeof(body) || fread(body, 1, length, stdin) != length) {
            return fail("a request that is too long, or ends early");
        }
        buf_clear(&request);
        buf_printf(&request,
                   "POST %s HTTP/1.1\r\nhost: 127.0.0.1:%lu\r\ncontent-type: application/json\r\n"
                   "content-length: %lu\r\n\r\n",
                   path, port, length);
        buf_append(&request, body, length);
        if (is_closed(fd)) {
            close(fd);
            fd = connect_to((uint16_t)port);
        }
        if (fd < 0) {
            return fail("cannot connect again");
        }
        uint64_t begin_ns = now_ns();
        if (!write_all(fd, buf_as_str(&request)) || !read_answer(fd, &answer, &cap, &head, &end)) {
            return fail("no answer with a Content-Length");
        }
        uint64_t ns = now_ns() - begin_ns;
        printf("%" PRIu64 " %.3s %zu\n", ns, answer + strlen("HTTP/1.1 "), end - head);
        fwrite(answer + head, 1, end - head, stdout);
        fflush(stdout);
    }
    return 0;
}
