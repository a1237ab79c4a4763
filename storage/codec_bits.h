/* storage/codec_bits.h - packing unsigned integers into a fixed number of bits each.
 *
 * Value i takes bits [i * width, (i + 1) * width) of the stream, counted from the lowest bit of the
 * first byte. Widths are 0 .. 56 and 64: up to 56 bits a value lies in the 8 bytes that start at
 * its first byte, whatever its bit offset, so that one unaligned load, a shift and a mask fetch it.
 * Widths 57 .. 63 are rounded up to 64.
 *
 * Unpacking is one straight loop per width (the width is a constant there), eight values a turn.
 *
 * Thread: pure functions.
 */
#pragma once

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Bytes behind a packed stream that unpacking may load (and ignore): they must be readable. */
#define BITS_SLACK     8
#define BITS_WIDTH_MAX 64

/* Bits that hold every value up to `max`, rounded as said above. */
unsigned bits_width(uint64_t max);
static inline int bits_width_is_valid(unsigned width)
{
    return width <= 56 || width == 64;
}
/* count <= 2^32 keeps this within 64 bits. */
static inline size_t bits_bytes(size_t count, unsigned width)
{
    return (count * width + 7) / 8;
}
/* `out` has bits_bytes(count, width) + BITS_SLACK writable bytes; the slack is overwritten with
 * zeroes. */
void bits_pack(const uint64_t *values, size_t count, unsigned width, uint8_t *out);
/* `in` has bits_bytes(count, width) + BITS_SLACK readable bytes; the width is valid. */
void bits_unpack64(const uint8_t *in, size_t count, unsigned width, uint64_t *out);
/* Width at most 32. */
void bits_unpack32(const uint8_t *in, size_t count, unsigned width, uint32_t *out);
static inline uint64_t bits_load64(const uint8_t *at)
{
    uint64_t v = 0;
    memcpy(&v, at, sizeof(v));
    return le64toh(v);
}
/* One value. */
static inline uint64_t bits_at(const uint8_t *in, size_t idx, unsigned width)
{
    if (width == 64) {
        return bits_load64(in + 8 * idx);
    }
    size_t bit = idx * width;
    return (bits_load64(in + bit / 8) >> (bit & 7)) & ((UINT64_C(1) << width) - 1);
}
