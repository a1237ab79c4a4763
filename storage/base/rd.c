/* storage/base/rd.c - the bounded reader. Every byte goes through rd_take, the one bounds check. */
#include "storage/base/rd.h"

#include "storage/base/err.h"

/* The next `len` bytes, or NULL and bad. `off` never passes `len`, so the subtraction is safe. */
static const uint8_t *rd_take(struct rd *rd, size_t len)
{
    if (rd->is_bad || len > rd->len - rd->off) {
        rd->is_bad = true;
        return NULL;
    }
    const uint8_t *at = rd->ptr + rd->off;
    rd->off += len;
    return at;
}

uint8_t rd_u8(struct rd *rd)
{
    const uint8_t *at = rd_take(rd, 1);
    return at == NULL ? 0 : at[0];
}

uint16_t rd_u16(struct rd *rd)
{
    const uint8_t *at = rd_take(rd, 2);
    if (at == NULL) {
        return 0;
    }
    return (uint16_t)((uint32_t)at[0] | (uint32_t)at[1] << 8);
}

uint32_t rd_u32(struct rd *rd)
{
    const uint8_t *at = rd_take(rd, 4);
    if (at == NULL) {
        return 0;
    }
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

uint64_t rd_u64(struct rd *rd)
{
    const uint8_t *at = rd_take(rd, 8);
    if (at == NULL) {
        return 0;
    }
    return (uint64_t)at[0] | (uint64_t)at[1] << 8 | (uint64_t)at[2] << 16 | (uint64_t)at[3] << 24 |
           (uint64_t)at[4] << 32 | (uint64_t)at[5] << 40 | (uint64_t)at[6] << 48 |
           (uint64_t)at[7] << 56;
}

int64_t rd_i64(struct rd *rd)
{
    return (int64_t)rd_u64(rd);
}

uint64_t rd_varint(struct rd *rd)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = rd_u8(rd);
        if (rd->is_bad) {
            return 0;
        }
        if (shift == 63 && byte > 1) { /* the tenth byte has room for one bit, and is the last */
            break;
        }
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            return value;
        }
    }
    rd->is_bad = true;
    return 0;
}

int64_t rd_zigzag(struct rd *rd)
{
    uint64_t v = rd_varint(rd);
    return (int64_t)((v >> 1) ^ (0 - (v & 1)));
}

struct str rd_bytes(struct rd *rd, size_t len)
{
    const uint8_t *at = rd_take(rd, len);
    return at == NULL ? (struct str){"", 0} : (struct str){(const char *)at, len};
}

struct str rd_blob(struct rd *rd)
{
    uint64_t len = rd_varint(rd);
    if (len > SIZE_MAX) {
        rd->is_bad = true;
    }
    return rd_bytes(rd, (size_t)len);
}

void rd_skip(struct rd *rd, size_t len)
{
    (void)rd_take(rd, len);
}

void rd_align(struct rd *rd, size_t align)
{
    ASSERT(align >= 1);
    size_t over = rd->off % align;
    size_t padding = over == 0 ? 0 : align - over;
    const uint8_t *at = rd_take(rd, padding);
    for (size_t i = 0; at != NULL && i < padding; i++) {
        if (at[i] != 0) {
            rd->is_bad = true;
            return;
        }
    }
}
