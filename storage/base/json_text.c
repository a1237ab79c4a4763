/* storage/base/json_text.c - JSON output: one escaper and one double for the whole server. */
#include "storage/base/json_text.h"

#include "storage/base/double_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Length of the UTF-8 sequence at p (RFC 3629), or 0 where there is none. */
static size_t sequence_bytes(const unsigned char *p, size_t left)
{
    static const struct {
        unsigned char first, last, second_min, second_max, bytes;
    } RULES[] = {{0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
                 {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3},
                 {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
                 {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};
    for (size_t r = 0; r < sizeof(RULES) / sizeof(RULES[0]); r++) {
        if (p[0] < RULES[r].first || p[0] > RULES[r].last) {
            continue;
        }
        if (left < RULES[r].bytes || p[1] < RULES[r].second_min || p[1] > RULES[r].second_max) {
            return 0;
        }
        for (size_t i = 2; i < RULES[r].bytes; i++) {
            if ((p[i] & 0xc0) != 0x80) {
                return 0;
            }
        }
        return RULES[r].bytes;
    }
    return 0;
}

void json_text(struct str text, struct buf *out)
{
    const unsigned char *p = (const unsigned char *)text.ptr;
    size_t plain = 0; /* bytes since the last one that needed care */
    buf_u8(out, '"');
    for (size_t i = 0; i < text.len;) {
        unsigned char c = p[i];
        if (c >= 0x20 && c < 0x80 && c != '"' && c != '\\') {
            i++;
            continue;
        }
        size_t bytes = c >= 0x80 ? sequence_bytes(p + i, text.len - i) : 0;
        if (bytes > 0) {
            i += bytes;
            continue;
        }
        buf_append(out, p + plain, i - plain);
        switch (c) {
        case '"': buf_z(out, "\\\""); break;
        case '\\': buf_z(out, "\\\\"); break;
        case '\n': buf_z(out, "\\n"); break;
        case '\r': buf_z(out, "\\r"); break;
        case '\t': buf_z(out, "\\t"); break;
        default:
            if (c < 0x20) {
                buf_printf(out, "\\u%04x", c);
            } else {
                buf_z(out, "\xef\xbf\xbd");
            }
        }
        plain = ++i;
    }
    buf_append(out, p + plain, text.len - plain);
    buf_u8(out, '"');
}

void json_double(double v, struct buf *out)
{
    if (!isfinite(v)) {
        buf_z(out, "null");
        return;
    }
    char text[DOUBLE_TEXT_BYTES];
    buf_append(out, text, double_text(v, text));
}
