/* storage/base/buf.c - the growing buffer: capacity doubles, failure sticks. */
#include "storage/base/buf.h"

#include "storage/base/size.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define BUF_CAP_MIN 64

void buf_done(struct buf *buf)
{
    free(buf->ptr);
    *buf = (struct buf){0};
}

void buf_clear(struct buf *buf)
{
    buf->len = 0;
    buf->is_bad = false; /* what failed to fit is no longer part of the contents */
}

uint8_t *buf_reserve(struct buf *buf, size_t more)
{
    if (buf->is_bad) {
        return NULL;
    }
    size_t need = 0;
    if (!size_add(buf->len, more, &need) || need > PTRDIFF_MAX) {
        buf->is_bad = true;
        return NULL;
    }
    if (need > buf->cap || buf->ptr == NULL) {
        /* Doubling keeps a long run of appends linear; need <= PTRDIFF_MAX, so it cannot overflow.
         */
        size_t cap = MAX_OF(MAX_OF(need, buf->cap * 2), (size_t)BUF_CAP_MIN);
        uint8_t *ptr = realloc(buf->ptr, cap);
        if (ptr == NULL) {
            buf->is_bad = true;
            return NULL;
        }
        buf->ptr = ptr;
        buf->cap = cap;
    }
    return buf->ptr + buf->len;
}

void buf_append(struct buf *buf, const void *bytes, size_t len)
{
    uint8_t *at = buf_reserve(buf, len);
    if (at != NULL && len > 0) {
        memcpy(at, bytes, len);
        buf->len += len;
    }
}

void buf_str(struct buf *buf, struct str s)
{
    buf_append(buf, s.ptr, s.len);
}

void buf_z(struct buf *buf, const char *z)
{
    buf_append(buf, z, strlen(z));
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int wanted = vsnprintf(NULL, 0, format, args);
    va_end(args);
    uint8_t *at = wanted < 0 ? NULL : buf_reserve(buf, (size_t)wanted + 1); /* and the NUL */
    if (at == NULL) {
        buf->is_bad = true;
        return;
    }
    va_start(args, format);
    vsnprintf((char *)at, (size_t)wanted + 1, format, args);
    va_end(args);
    buf->len += (size_t)wanted;
}

void buf_int(struct buf *buf, int64_t v)
{
    char text[20]; /* as long as INT64_MIN, sign and all */
    char *at = text + sizeof(text);
    uint64_t left = v < 0 ? -(uint64_t)v : (uint64_t)v;
    do {
        *--at = (char)('0' + left % 10);
        left /= 10;
    } while (left != 0);
    if (v < 0) {
        *--at = '-';
    }
    buf_append(buf, at, (size_t)(text + sizeof(text) - at));
}

void buf_u8(struct buf *buf, uint8_t v)
{
    uint8_t *at = buf_reserve(buf, 1);
    if (at != NULL) {
        at[0] = v;
        buf->len += 1;
    }
}

void buf_u16(struct buf *buf, uint16_t v)
{
    uint8_t *at = buf_reserve(buf, 2);
    if (at != NULL) {
        wr_u16(at, v);
        buf->len += 2;
    }
}

void buf_u32(struct buf *buf, uint32_t v)
{
    uint8_t *at = buf_reserve(buf, 4);
    if (at != NULL) {
        wr_u32(at, v);
        buf->len += 4;
    }
}

void buf_u64(struct buf *buf, uint64_t v)
{
    uint8_t *at = buf_reserve(buf, 8);
    if (at != NULL) {
        wr_u64(at, v);
        buf->len += 8;
    }
}

void buf_i64(struct buf *buf, int64_t v)
{
    buf_u64(buf, (uint64_t)v);
}

void buf_varint(struct buf *buf, uint64_t v)
{
    uint8_t bytes[10];
    size_t len = 0;
    for (; v >= 0x80; v >>= 7) {
        bytes[len++] = (uint8_t)(v | 0x80);
    }
    bytes[len++] = (uint8_t)v;
    buf_append(buf, bytes, len);
}

void buf_zigzag(struct buf *buf, int64_t v)
{
    uint64_t bits = (uint64_t)v;
    buf_varint(buf, (bits << 1) ^ (0 - (bits >> 63)));
}

void buf_blob(struct buf *buf, struct str s)
{
    buf_varint(buf, s.len);
    buf_str(buf, s);
}

void buf_align(struct buf *buf, size_t align)
{
    ASSERT(align >= 1);
    size_t over = buf->len % align;
    size_t padding = over == 0 ? 0 : align - over;
    uint8_t *at = buf_reserve(buf, padding);
    if (at != NULL) {
        memset(at, 0, padding);
        buf->len += padding;
    }
}

enum err_code buf_check(const struct buf *buf, struct err *err)
{
    if (buf->is_bad) {
        return err_set(err, ERR_NOMEM, "out of memory: a buffer of %zu bytes could not grow",
                       buf->len);
    }
    return ERR_OK;
}

void wr_u16(uint8_t *at, uint16_t v)
{
    at[0] = (uint8_t)v;
    at[1] = (uint8_t)(v >> 8);
}

void wr_u32(uint8_t *at, uint32_t v)
{
    wr_u16(at, (uint16_t)v);
    wr_u16(at + 2, (uint16_t)(v >> 16));
}

void wr_u64(uint8_t *at, uint64_t v)
{
    wr_u32(at, (uint32_t)v);
    wr_u32(at + 4, (uint32_t)(v >> 32));
}
