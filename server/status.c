/* server/status.c - see status.h. */
#include "server/status.h"

static const struct {
    int query, events, backup;
} statuses[] = {
    [ERR_OK] = {200, 200, 200},          [ERR_INVALID] = {400, 400, 400},
    [ERR_NOT_FOUND] = {404, 404, 404},   [ERR_LIMIT] = {422, 413, 507},
    [ERR_BUSY] = {429, 429, 409},        [ERR_TIMEOUT] = {504, 408, 504},
    [ERR_CANCELLED] = {499, 499, 499},   [ERR_CORRUPT] = {500, 500, 500},
    [ERR_UNSUPPORTED] = {501, 501, 501}, [ERR_IO] = {503, 503, 503},
    [ERR_NOMEM] = {503, 503, 503},
};

int status_of(enum err_code code, enum door_kind kind)
{
    ASSERT((size_t)code < COUNT_OF(statuses));
    return kind == DOOR_EVENTS   ? statuses[code].events
           : kind == DOOR_BACKUP ? statuses[code].backup
                                 : statuses[code].query;
}

const char *status_reason(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        {200, "OK"},
        {202, "Accepted"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {413, "Payload Too Large"},
        {415, "Unsupported Media Type"},
        {422, "Unprocessable Entity"},
        {429, "Too Many Requests"},
        {499, "Client Closed Request"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {507, "Insufficient Storage"},
    };
    for (size_t i = 0; i < COUNT_OF(reasons); i++) {
        if (reasons[i].status == status) {
            return reasons[i].reason;
        }
    }
    return "Unknown";
}

bool status_is_retryable(int status)
{
    return status == 429 || status == 503;
}

/* Length of the well-formed UTF-8 sequence at `at`, 0 where there is none (RFC 3629). */
static size_t utf8_sequence(const unsigned char *at, size_t left)
{
    unsigned char first = at[0];
    if (first < 0x80) {
        return 1;
    }
    size_t len = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || left < len) {
        return 0;
    }
    /* The second byte rules out overlong forms, surrogates and what is above U+10FFFF. */
    unsigned char low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned char high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (at[1] < low || at[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < len; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return len;
}

void json_quote(struct str s, struct buf *out)
{
    buf_u8(out, '"');
    for (size_t i = 0; i < s.len;) {
        const unsigned char *at = (const unsigned char *)s.ptr + i;
        size_t len = utf8_sequence(at, s.len - i);
        i += len == 0 ? 1 : len;
        if (len == 0) {
            buf_z(out, "\xef\xbf\xbd");
        } else if (len > 1) {
            buf_append(out, at, len);
        } else if (*at == '"' || *at == '\\') {
            buf_u8(out, '\\');
            buf_u8(out, *at);
        } else if (*at == '\n') {
            buf_z(out, "\\n");
        } else if (*at < 0x20) {
            buf_printf(out, "\\u%04x", *at);
        } else {
            buf_u8(out, *at);
        }
    }
    buf_u8(out, '"');
}

void status_error_json(const struct err *err, struct str excerpt, struct buf *out)
{
    buf_printf(out, "{\"error\":{\"code\":\"%s\",\"message\":", err_code_name(err->code));
    json_quote(str_of(err->message), out);
    if (err->line != 0) {
        buf_printf(out, ",\"line\":%u", err->line);
        if (err->column != 0) {
            buf_printf(out, ",\"column\":%u", err->column);
        }
    }
    if (excerpt.len != 0) {
        buf_z(out, ",\"excerpt\":");
        json_quote(excerpt, out);
    }
    buf_z(out, "}}\n");
}
