/* storage/codec_bits.c - see codec_bits.h. */
#include "storage/codec_bits.h"

#include "storage/base/buf.h"

#include <string.h>

/* clang-format off */
/* One `case` per width, each with the width as a constant. */
#define WIDTHS_1_TO_32(CASE)                                                                       \
    CASE(1)                                                                                        \
    CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)     \
        CASE(13) CASE(14) CASE(15) CASE(16) CASE(17) CASE(18) CASE(19) CASE(20) CASE(21) CASE(22)  \
            CASE(23) CASE(24) CASE(25) CASE(26) CASE(27) CASE(28) CASE(29) CASE(30) CASE(31)       \
                CASE(32)
#define WIDTHS_33_TO_56(CASE)                                                                      \
    CASE(33)                                                                                       \
    CASE(34) CASE(35) CASE(36) CASE(37) CASE(38) CASE(39) CASE(40) CASE(41) CASE(42) CASE(43)      \
        CASE(44) CASE(45) CASE(46) CASE(47) CASE(48) CASE(49) CASE(50) CASE(51) CASE(52) CASE(53)  \
            CASE(54) CASE(55) CASE(56)

/* clang-format on */

unsigned bits_width(uint64_t max)
{
    if (max == 0) {
        return 0;
    }
    unsigned width = 64u - (unsigned)__builtin_clzll(max);
    return width > 56 ? 64 : width;
}

void bits_pack(const uint64_t *values, size_t count, unsigned width, uint8_t *out)
{
    memset(out, 0, bits_bytes(count, width) + BITS_SLACK);
    if (width == 0) {
        return;
    }
    if (width == 64) {
        for (size_t i = 0; i < count; i++) {
            wr_u64(out + 8 * i, values[i]);
        }
        return;
    }
    for (size_t i = 0; i < count; i++) {
        size_t bit = i * width;
        uint8_t *at = out + bit / 8;
        wr_u64(at, bits_load64(at) | values[i] << (bit & 7));
    }
}

static inline __attribute__((always_inline)) void unpack64_width(const uint8_t *restrict in,
                                                                 size_t count, const unsigned width,
                                                                 uint64_t *restrict out)
{
    const uint64_t mask = (UINT64_C(1) << width) - 1;
    size_t i = 0;
    for (; i + 8 <= count; i += 8, in += width) {
#pragma GCC unroll 8
        for (unsigned k = 0; k < 8; k++) {
            out[i + k] = (bits_load64(in + (k * width >> 3)) >> (k * width & 7)) & mask;
        }
    }
    for (unsigned k = 0; i < count; k++, i++) {
        out[i] = (bits_load64(in + (k * width >> 3)) >> (k * width & 7)) & mask;
    }
}

static inline __attribute__((always_inline)) void unpack32_width(const uint8_t *restrict in,
                                                                 size_t count, const unsigned width,
                                                                 uint32_t *restrict out)
{
    const uint64_t mask = (UINT64_C(1) << width) - 1;
    size_t i = 0;
    for (; i + 8 <= count; i += 8, in += width) {
#pragma GCC unroll 8
        for (unsigned k = 0; k < 8; k++) {
            out[i + k] = (uint32_t)((bits_load64(in + (k * width >> 3)) >> (k * width & 7)) & mask);
        }
    }
    for (unsigned k = 0; i < count; k++, i++) {
        out[i] = (uint32_t)((bits_load64(in + (k * width >> 3)) >> (k * width & 7)) & mask);
    }
}

void bits_unpack64(const uint8_t *in, size_t count, unsigned width, uint64_t *out)
{
    switch (width) {
#define CASE(w)                                                                                    \
    case w: unpack64_width(in, count, w, out); return;
        WIDTHS_1_TO_32(CASE)
        WIDTHS_33_TO_56(CASE)
#undef CASE
    case 64:
        for (size_t i = 0; i < count; i++) {
            out[i] = bits_load64(in + 8 * i);
        }
        return;
    default: memset(out, 0, count * sizeof(*out)); return;
    }
}

void bits_unpack32(const uint8_t *in, size_t count, unsigned width, uint32_t *out)
{
    switch (width) {
#define CASE(w)                                                                                    \
    case w: unpack32_width(in, count, w, out); return;
        WIDTHS_1_TO_32(CASE)
#undef CASE
    default: memset(out, 0, count * sizeof(*out)); return;
    }
}
