/* storage/base/err.c - filling struct err.
 *
 * A message is put together in a buffer beside the struct, so that an argument may point into the
 * message it replaces. What does not fit is cut, at a character's boundary: messages travel as
 * JSON, and half a UTF-8 sequence would make the whole answer invalid. */
#include "storage/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The length of `text` without a UTF-8 sequence that its end cuts in two. */
static size_t err_whole_chars(const char *text, size_t len)
{
    size_t back = 0;
    while (back < 3 && back < len && ((uint8_t)text[len - 1 - back] & 0xc0) == 0x80) {
        back++;
    }
    if (back == len) {
        return len; /* nothing but continuation bytes: not UTF-8, so nothing to keep whole */
    }
    uint8_t lead = (uint8_t)text[len - 1 - back];
    size_t follow = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : 0;
    return follow > back ? len - 1 - back : len;
}

/* vsnprintf into `out`, cut at a character; returns the length. */
__attribute__((format(printf, 3, 0))) static size_t err_format(char *out, size_t cap,
                                                               const char *format, va_list args)
{
    int wanted = vsnprintf(out, cap, format, args);
    if (wanted < 0) {
        out[0] = '\0';
        return 0;
    }
    size_t len = (size_t)wanted;
    if (len >= cap) {
        len = err_whole_chars(out, cap - 1);
        out[len] = '\0';
    }
    return len;
}

static enum err_code err_store(struct err *err, enum err_code code, uint32_t line, uint32_t column,
                               const char *text, size_t len)
{
    err->code = code;
    err->line = line;
    err->column = column;
    memcpy(err->message, text, len + 1);
    return code;
}

enum err_code err_set(struct err *err, enum err_code code, const char *format, ...)
{
    char text[ERR_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    size_t len = err_format(text, sizeof(text), format, args);
    va_end(args);
    return err_store(err, code, 0, 0, text, len);
}

enum err_code err_set_at(struct err *err, enum err_code code, uint32_t line, uint32_t column,
                         const char *format, ...)
{
    char text[ERR_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    size_t len = err_format(text, sizeof(text), format, args);
    va_end(args);
    return err_store(err, code, line, column, text, len);
}

enum err_code err_set_newer(struct err *err, uint64_t version, uint64_t known)
{
    return err_set(err, ERR_UNSUPPORTED,
                   "format version %llu, and this program knows version %llu: use the program that "
                   "wrote it, or a newer one",
                   (unsigned long long)version, (unsigned long long)known);
}

enum err_code err_set_errno(struct err *err, int errnum, const char *format, ...)
{
    /* The reason is worth more than the end of a long path: it gets its room first. */
    char room[128];
    const char *reason = strerror_r(errnum, room, sizeof(room));
    size_t reason_len = strnlen(reason, sizeof(room) - 1);

    char text[ERR_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    size_t len = err_format(text, sizeof(text) - reason_len - 2, format, args);
    va_end(args);
    memcpy(text + len, ": ", 2);
    memcpy(text + len + 2, reason, reason_len);
    text[len + 2 + reason_len] = '\0';

    enum err_code code = errnum == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    return err_store(err, code, 0, 0, text, len + 2 + reason_len);
}

enum err_code err_context(struct err *err, const char *format, ...)
{
    char text[ERR_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    size_t len = err_format(text, sizeof(text), format, args);
    va_end(args);

    int wanted = snprintf(text + len, sizeof(text) - len, ": %s", err->message);
    size_t total = len + (size_t)(wanted < 0 ? 0 : wanted);
    if (total >= sizeof(text)) {
        total = err_whole_chars(text, sizeof(text) - 1);
        text[total] = '\0';
    }
    return err_store(err, err->code, err->line, err->column, text, total);
}

const char *err_code_name(enum err_code code)
{
    switch (code) {
    case ERR_OK: return "ok";
    case ERR_INVALID: return "invalid";
    case ERR_NOT_FOUND: return "not_found";
    case ERR_LIMIT: return "limit";
    case ERR_BUSY: return "busy";
    case ERR_TIMEOUT: return "timeout";
    case ERR_CANCELLED: return "cancelled";
    case ERR_CORRUPT: return "corrupt";
    case ERR_UNSUPPORTED: return "unsupported";
    case ERR_IO: return "io";
    case ERR_NOMEM: return "nomem";
    }
    return "unknown";
}

_Noreturn void err_assert_failed(const char *cond, const char *file, int line)
{
    /* The one place below server/ that prints: the process ends here and nobody can report it. */
    fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, cond);
    abort();
}
