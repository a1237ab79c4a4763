/* storage/uuid.h - canonical UUIDs (lower case, dashes) as 16 bytes and back, byte for byte.
 *
 * Byte order of the packed form is byte order of the text.
 *
 * Thread: any; nothing is kept.
 */
#pragma once

#include "storage/base/str.h"

#define UUID_TEXT_BYTES   36u
#define UUID_PACKED_BYTES 16u

/* Where the bytes' digits lie: the dashes are at 8, 13, 18 and 23. */
static const uint8_t UUID_PLACES[UUID_PACKED_BYTES] = {0,  2,  4,  6,  9,  11, 14, 16,
                                                       19, 21, 24, 26, 28, 30, 32, 34};

/* Value + 1 of a lower-case hexadecimal digit; 0: it is none. */
static const uint8_t UUID_DIGITS[256] = {
    ['0'] = 1, ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
    ['8'] = 9, ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
};

/* False, and `out` undefined, where the text is not in just this form. */
static inline bool uuid_text_pack(struct str text, uint8_t out[UUID_PACKED_BYTES])
{
    if (text.len != UUID_TEXT_BYTES || text.ptr[8] != '-' || text.ptr[13] != '-' ||
        text.ptr[18] != '-' || text.ptr[23] != '-') {
        return false;
    }
    const uint8_t *at = (const uint8_t *)text.ptr;
    bool is_good = true;
    for (uint32_t i = 0; i < UUID_PACKED_BYTES; i++) {
        uint32_t high = UUID_DIGITS[at[UUID_PLACES[i]]];
        uint32_t low = UUID_DIGITS[at[UUID_PLACES[i] + 1]];
        is_good = is_good && high != 0 && low != 0;
        out[i] = (uint8_t)(((high - 1) << 4) | ((low - 1) & 15));
    }
    return is_good;
}

static inline void uuid_text_unpack(const uint8_t packed[UUID_PACKED_BYTES],
                                    char out[UUID_TEXT_BYTES])
{
    static const char hex[] = "0123456789abcdef";
    out[8] = out[13] = out[18] = out[23] = '-';
    for (uint32_t i = 0; i < UUID_PACKED_BYTES; i++) {
        out[UUID_PLACES[i]] = hex[packed[i] >> 4];
        out[UUID_PLACES[i] + 1] = hex[packed[i] & 15];
    }
}
