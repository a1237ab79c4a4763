/* client/term.c - see term.h. */
#include "client/term.h"

#include "storage/base/size.h"

#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* One character at the front of `text`: its bytes, 0 where it is no UTF-8 (RFC 3629). */
static size_t utf8_get(struct str text, uint32_t *ret)
{
    const unsigned char *at = (const unsigned char *)text.ptr;
    size_t len = at[0] < 0x80 ? 1 : at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    static const uint32_t SMALLEST[] = {0, 0, 0x80, 0x800,
                                        0x10000}; /* no longer form than needed */
    if (len == 1) {
        *ret = at[0];
        return 1;
    }
    if (at[0] < 0xc2 || at[0] > 0xf4 || len > text.len) {
        return 0;
    }
    uint32_t c = at[0] & (0xffu >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
        c = (c << 6) | (at[i] & 0x3f);
    }
    if (c < SMALLEST[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) {
        return 0;
    }
    *ret = c;
    return len;
}

struct range {
    uint32_t first, last;
};

static bool is_in(const struct range *ranges, size_t count, uint32_t c)
{
    for (size_t i = 0; i < count; i++) {
        if (c >= ranges[i].first && c <= ranges[i].last) {
            return true;
        }
    }
    return false;
}

/* What changes the meaning of the text around it: C0, DEL and C1 controls, line separators, direction marks
 * and overrides, invisible tags, the byte-order mark. */
static bool is_harmful(uint32_t c)
{
    static const struct range HARMFUL[] = {{0x00, 0x1f},     {0x7f, 0x9f},     {0x061c, 0x061c},
                                           {0x200e, 0x200f}, {0x2028, 0x202e}, {0x2060, 0x206f},
                                           {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe0fff}};
    return is_in(HARMFUL, COUNT_OF(HARMFUL), c);
}

void term_text(struct str text, bool keeps_lines, struct buf *out)
{
    while (text.len > 0) {
        uint32_t c = 0;
        size_t len = utf8_get(text, &c);
        if (len == 0) {
            buf_printf(out, "\\x%02x", (unsigned char)text.ptr[0]);
            len = 1;
        } else if (keeps_lines && (c == '\n' || c == '\t')) {
            buf_u8(out, (uint8_t)c);
        } else if (!is_harmful(c)) {
            buf_append(out, text.ptr, len);
        } else if (c == '\n' || c == '\t' || c == '\r') {
            buf_z(out, c == '\n' ? "\\n" : c == '\t' ? "\\t" : "\\r");
        } else {
            buf_printf(out, c < 0x80 ? "\\x%02x" : "\\u%04x", c);
        }
        text = (struct str){text.ptr + len, text.len - len};
    }
}

/* A subset of UAX #11 that holds for what people put into events; exactness here only aligns columns. */
static size_t width_of(uint32_t c)
{
    static const struct range ZERO[] = {
        {0x0300, 0x036f}, {0x0483, 0x0489}, {0x0591, 0x05bd}, {0x064b, 0x065f}, {0x0e31, 0x0e31},
        {0x0e34, 0x0e3a}, {0x0e47, 0x0e4e}, {0x1ab0, 0x1aff}, {0x1dc0, 0x1dff}, {0x200b, 0x200d},
        {0x20d0, 0x20ff}, {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}};
    static const struct range WIDE[] = {{0x1100, 0x115f},   {0x2e80, 0x303e},   {0x3041, 0x33ff},
                                        {0x3400, 0x4dbf},   {0x4e00, 0x9fff},   {0xa000, 0xa4cf},
                                        {0xac00, 0xd7a3},   {0xf900, 0xfaff},   {0xfe30, 0xfe6f},
                                        {0xff00, 0xff60},   {0xffe0, 0xffe6},   {0x1f300, 0x1f64f},
                                        {0x1f680, 0x1f6ff}, {0x1f900, 0x1f9ff}, {0x20000, 0x3fffd}};
    if (c < 0x300) {
        return 1;
    }
    return is_in(ZERO, COUNT_OF(ZERO), c) ? 0 : is_in(WIDE, COUNT_OF(WIDE), c) ? 2 : 1;
}

/* Bytes of `text` that fit in `columns`, and the columns they take. */
static size_t fit(struct str text, size_t columns, size_t *ret_width)
{
    size_t at = 0;
    size_t width = 0;
    while (at < text.len) {
        uint32_t c = 0;
        size_t len = utf8_get((struct str){text.ptr + at, text.len - at}, &c);
        size_t more = len == 0 ? 1 : width_of(c);
        if (width + more > columns) {
            break;
        }
        width += more;
        at += len == 0 ? 1 : len;
    }
    *ret_width = width;
    return at;
}

size_t term_width(struct str text)
{
    size_t width = 0;
    fit(text, SIZE_MAX - 2, &width);
    return width;
}

static void spaces(size_t count, struct buf *out)
{
    for (size_t i = 0; i < count; i++) {
        buf_u8(out, ' ');
    }
}

void term_pad(struct str text, size_t width, bool is_right, struct buf *out)
{
    size_t taken = 0;
    size_t len = fit(text, width, &taken);
    bool is_cut = len < text.len && width > 0;
    if (is_cut) {
        len = fit(text, width - 1, &taken);
        taken++;
    }
    if (is_right) {
        spaces(width - taken, out);
    }
    buf_append(out, text.ptr, len);
    buf_z(out, is_cut ? "…" : "");
    if (!is_right) {
        spaces(width - taken, out);
    }
}

bool term_has_colour(int fd)
{
    const char *no_color = getenv("NO_COLOR"); /* no-color.org: set and not empty */
    const char *term = getenv("TERM");
    return isatty(fd) && (no_color == NULL || no_color[0] == '\0') &&
           (term == NULL || strcmp(term, "dumb") != 0);
}

size_t term_columns(int fd)
{
    struct winsize size = {0};
    return isatty(fd) && ioctl(fd, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}
