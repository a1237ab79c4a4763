/* storage/base/buf.h - a growing run of bytes, and little-endian writing into it.
 *
 * Allocation failure is sticky: the buffer becomes bad, later appends do nothing, and buf_check
 * reports it once at the end. So encoders are straight lines without an error branch per field.
 *
 * Thread: one owner.  Ownership: the struct owns its memory; buf_done (or buf_freep) frees it.
 */
#pragma once

#include "storage/base/err.h"
#include "storage/base/str.h"

struct buf {
    uint8_t *ptr;
    size_t len;
    size_t cap;
    bool is_bad;
};

void buf_done(struct buf *buf);
static inline void buf_freep(struct buf *buf)
{
    buf_done(buf);
}
void buf_clear(struct buf *buf); /* length 0, memory kept */
/* Room for `more` further bytes; returns where they go (uninitialised), or NULL when bad. */
uint8_t *buf_reserve(struct buf *buf, size_t more);
void buf_append(struct buf *buf, const void *bytes, size_t len);
void buf_str(struct buf *buf, struct str s);
void buf_z(struct buf *buf, const char *z);
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_int(struct buf *buf, int64_t v); /* in decimal: for many of them, where buf_printf is slow */
void buf_u8(struct buf *buf, uint8_t v);
void buf_u16(struct buf *buf, uint16_t v);
void buf_u32(struct buf *buf, uint32_t v);
void buf_u64(struct buf *buf, uint64_t v);
void buf_i64(struct buf *buf, int64_t v);
void buf_varint(struct buf *buf, uint64_t v);  /* LEB128 */
void buf_zigzag(struct buf *buf, int64_t v);   /* zigzag, then LEB128 */
void buf_blob(struct buf *buf, struct str s);  /* varint length, then bytes */
void buf_align(struct buf *buf, size_t align); /* zeroes up to a multiple of `align` */
/* ERR_NOMEM when any append failed. */
enum err_code buf_check(const struct buf *buf, struct err *err) ERR_MUST_CHECK;
static inline struct str buf_as_str(const struct buf *buf)
{
    return (struct str){(const char *)buf->ptr, buf->len};
}

/* Little-endian at a fixed place. */
void wr_u16(uint8_t *at, uint16_t v);
void wr_u32(uint8_t *at, uint32_t v);
void wr_u64(uint8_t *at, uint64_t v);
