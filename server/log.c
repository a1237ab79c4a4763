/* server/log.c - see log.h. */
#include "server/log.h"

#include "storage/base/size.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_BYTES_MAX 2048

static _Atomic int log_level_min = LOG_INFO;

const char *log_level_name(enum log_level level)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    ASSERT((size_t)level < COUNT_OF(names));
    return names[level];
}

void log_level_set(enum log_level level)
{
    atomic_store_explicit(&log_level_min, (int)level, memory_order_relaxed);
}

/* The wall clock as ISO 8601 with milliseconds. Returns the length. */
static size_t log_stamp(char *out, size_t room)
{
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t len = strftime(out, room, "%Y-%m-%dT%H:%M:%S", &utc);
    int more = snprintf(out + len, room - len, ".%03ldZ", now.tv_nsec / 1000000);
    return len + (size_t)more;
}

void log_line(enum log_level level, const char *message, const char *pairs, ...)
{
    if ((int)level < atomic_load_explicit(&log_level_min, memory_order_relaxed)) {
        return;
    }
    char line[LOG_LINE_BYTES_MAX];
    size_t len = log_stamp(line, sizeof(line));
    size_t begin = len;
    /* One byte stays free for the line's end. */
    int wrote =
        snprintf(line + len, sizeof(line) - 1 - len, " %s %s", log_level_name(level), message);
    len = MIN_OF(len + (size_t)wrote, sizeof(line) - 2);
    if (pairs[0] != '\0' && len + 2 < sizeof(line)) {
        line[len++] = ' ';
        va_list args;
        va_start(args, pairs);
        wrote = vsnprintf(line + len, sizeof(line) - 1 - len, pairs, args);
        va_end(args);
        len = wrote < 0 ? len : MIN_OF(len + (size_t)wrote, sizeof(line) - 2);
    }
    for (size_t i = begin; i < len; i++) {
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f) {
            line[i] = '?';
        }
    }
    line[len++] = '\n';
    ssize_t written = write(STDERR_FILENO, line, len);
    (void)written; /* where stderr is gone there is nobody left to tell */
}

void log_err(enum log_level level, const char *message, const struct err *err)
{
    log_line(level, message, "code=%s error=\"%s\"", err_code_name(err->code), err->message);
}
