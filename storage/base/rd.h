/* storage/base/rd.h - bounded reading of foreign bytes.
 *
 * Sticky: after an overrun every read gives 0 and `is_bad` stays true, so a decoder reads its fields
 * in a straight line and looks once. Nothing is read outside [ptr, ptr + len), whatever the bytes say.
 */
#pragma once

#include "storage/base/str.h"

struct rd {
    const uint8_t *ptr;
    size_t len;
    size_t off;
    bool is_bad;
};

static inline struct rd rd_init(struct str bytes)
{
    return (struct rd){(const uint8_t *)bytes.ptr, bytes.len, 0, false};
}
static inline size_t rd_left(const struct rd *rd)
{
    return rd->is_bad ? 0 : rd->len - rd->off;
}
uint8_t rd_u8(struct rd *rd);
uint16_t rd_u16(struct rd *rd);
uint32_t rd_u32(struct rd *rd);
uint64_t rd_u64(struct rd *rd);
int64_t rd_i64(struct rd *rd);
uint64_t rd_varint(struct rd *rd); /* LEB128 of at most 10 bytes; longer or overflowing is bad */
int64_t rd_zigzag(struct rd *rd);
struct str rd_bytes(struct rd *rd, size_t len); /* borrowed; empty when bad */
struct str rd_blob(struct rd *rd);              /* varint length, then bytes */
void rd_skip(struct rd *rd, size_t len);
void rd_align(struct rd *rd, size_t align); /* skip to a multiple of `align`; non-zero padding is bad */
static inline bool rd_at_end(const struct rd *rd)
{
    return !rd->is_bad && rd->off == rd->len;
}
