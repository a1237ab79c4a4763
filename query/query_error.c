/* query/query_error.c - a mistake shown in the line where it is.
 *
 * Long lines are cut to what stands around the place; control characters become spaces, so that the
 * caret stays under the character it points at; characters that terminals draw two cells wide get
 * two. */
#include "query/lex.h"

#include "query/query.h"
#include "storage/base/buf.h"

#define SHOW_BEFORE 60u /* characters shown on either side of the place */
#define SHOW_AFTER  40u
#define SHOW_INDENT "    "

struct shown_char {
    uint32_t code; /* 0xfffd where the bytes are no UTF-8 */
    size_t bytes;
};

static struct shown_char char_at(const char *at, size_t left)
{
    uint8_t lead = (uint8_t)at[0];
    size_t bytes = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    if (lead < 0x80) {
        return (struct shown_char){lead, 1};
    }
    if (bytes == 1 || bytes > left) {
        return (struct shown_char){0xfffd, 1};
    }
    uint32_t code = lead & (0x7fu >> bytes);
    for (size_t i = 1; i < bytes; i++) {
        if (((uint8_t)at[i] & 0xc0) != 0x80) {
            return (struct shown_char){0xfffd, 1};
        }
        code = code << 6 | ((uint8_t)at[i] & 0x3fu);
    }
    return (struct shown_char){code, bytes};
}

/* East Asian wide and full-width blocks, and emoji. */
static uint32_t char_cells(uint32_t code)
{
    bool is_wide = (code >= 0x1100 && code <= 0x115f) || (code >= 0x2e80 && code <= 0xa4cf) ||
                   (code >= 0xac00 && code <= 0xd7a3) || (code >= 0xf900 && code <= 0xfaff) ||
                   (code >= 0xfe30 && code <= 0xfe6f) || (code >= 0xff00 && code <= 0xff60) ||
                   (code >= 0x1f300 && code <= 0x1faff) || (code >= 0x20000 && code <= 0x3fffd);
    return is_wide ? 2 : 1;
}

static struct str find_line(struct str text, uint32_t line)
{
    size_t begin = 0;
    for (uint32_t i = 1; i < line; i++) {
        const char *end =
            begin < text.len ? memchr(text.ptr + begin, '\n', text.len - begin) : NULL;
        begin = end == NULL ? text.len : (size_t)(end - text.ptr) + 1;
    }
    size_t end = begin;
    while (end < text.len && text.ptr[end] != '\n') {
        end++;
    }
    return (struct str){text.ptr + begin, end - begin};
}

void query_error_show(struct str text, const struct err *err, struct buf *out)
{
    if (err->line == 0 || err->column == 0) {
        return;
    }
    struct str line = find_line(text, err->line);
    uint32_t first = err->column > SHOW_BEFORE ? err->column - SHOW_BEFORE : 1;
    uint32_t cells = 0; /* before the place */
    uint32_t column = 1;
    size_t off = 0;
    buf_z(out, SHOW_INDENT);
    if (first > 1) {
        buf_z(out, "...");
        cells = 3;
    }
    while (off < line.len && column < err->column + SHOW_AFTER) {
        struct shown_char c = char_at(line.ptr + off, line.len - off);
        if (column >= first) {
            if (c.code == 0xfffd && c.bytes == 1) {
                buf_u8(out, '?');
            } else if (c.code < 0x20 || c.code == 0x7f) {
                buf_u8(out, ' ');
            } else {
                buf_append(out, line.ptr + off, c.bytes);
            }
            cells += column < err->column ? char_cells(c.code) : 0;
        }
        off += c.bytes;
        column++;
    }
    buf_z(out, off < line.len ? "...\n" SHOW_INDENT : "\n" SHOW_INDENT);
    for (uint32_t i = 0; i < cells; i++) {
        buf_u8(out, ' ');
    }
    buf_z(out, "^\n");
}
