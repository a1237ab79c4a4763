/* storage/uuid.h - canonical UUIDs (lower case, dashes) as 16 bytes and back, byte for byte.
 *
 * Byte order of the packed form is byte order of the text. Eight digits are done at once, in the bytes of a word.
 *
 * Thread: any; nothing is kept.
 */
#pragma once

#include "storage/base/str.h"

#include <string.h>

#define UUID_TEXT_BYTES   36u
#define UUID_PACKED_BYTES 16u

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first digit is the lowest byte");

/* The byte eight times. */
#define UUID_EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* 39 in each byte whose value, 15 at most, is a letter's. */
static inline uint64_t uuid_letters(uint64_t values)
{
    return ((values + UUID_EACH(6)) >> 4 & UUID_EACH(1)) * 39;
}

static inline uint64_t uuid_load(const char *low, const char *high)
{
    uint64_t digits = 0;
    memcpy(&digits, low, 4);
    memcpy((char *)&digits + 4, high, 4);
    return digits;
}

/* Eight digits' values, one in each byte; bits of *bad are set where one is no lower-case hexadecimal digit. */
static inline uint64_t uuid_values(uint64_t digits, uint64_t *bad)
{
    uint64_t values = (digits & UUID_EACH(0x0f)) + (digits >> 6 & UUID_EACH(3)) * 9;
    /* A byte is good if its value is one digit's and writing it gives the byte again; no sum leaves its byte. */
    *bad |= values & UUID_EACH(0xf0);
    *bad |= (values + UUID_EACH('0') + uuid_letters(values)) ^ digits;
    return values;
}

/* Four bytes of eight values. */
static inline void uuid_put_packed(uint64_t values, uint8_t *out)
{
    uint64_t pairs = (values << 4 | values >> 8) & UINT64_C(0x00ff00ff00ff00ff);
    pairs = (pairs | pairs >> 8) & UINT64_C(0x0000ffff0000ffff);
    uint32_t packed = (uint32_t)(pairs | pairs >> 16);
    memcpy(out, &packed, sizeof(packed));
}

/* Eight digits of four bytes. */
static inline uint64_t uuid_digits(const uint8_t *packed)
{
    uint32_t bytes = 0;
    memcpy(&bytes, packed, sizeof(bytes));
    uint64_t values = bytes;
    values = (values | values << 16) & UINT64_C(0x0000ffff0000ffff);
    values = (values | values << 8) & UINT64_C(0x00ff00ff00ff00ff);
    values = (values >> 4 | values << 8) & UUID_EACH(0x0f);
    return values + UUID_EACH('0') + uuid_letters(values);
}

/* False, and `out` undefined, where the text is not in just this form. */
static inline bool uuid_text_pack(struct str text, uint8_t out[UUID_PACKED_BYTES])
{
    const char *at = text.ptr;
    if (text.len != UUID_TEXT_BYTES || at[8] != '-' || at[13] != '-' || at[18] != '-' ||
        at[23] != '-') {
        return false;
    }
    uint64_t bad = 0;
    uuid_put_packed(uuid_values(uuid_load(at, at + 4), &bad), out);
    uuid_put_packed(uuid_values(uuid_load(at + 9, at + 14), &bad), out + 4);
    uuid_put_packed(uuid_values(uuid_load(at + 19, at + 24), &bad), out + 8);
    uuid_put_packed(uuid_values(uuid_load(at + 28, at + 32), &bad), out + 12);
    return bad == 0;
}

static inline void uuid_text_unpack(const uint8_t packed[UUID_PACKED_BYTES],
                                    char out[UUID_TEXT_BYTES])
{
    uint64_t digits[4] = {uuid_digits(packed), uuid_digits(packed + 4), uuid_digits(packed + 8),
                          uuid_digits(packed + 12)};
    memcpy(out, &digits[0], 8);
    memcpy(out + 9, &digits[1], 4);
    memcpy(out + 14, (const char *)&digits[1] + 4, 4);
    memcpy(out + 19, &digits[2], 4);
    memcpy(out + 24, (const char *)&digits[2] + 4, 4);
    memcpy(out + 28, &digits[3], 8);
    out[8] = out[13] = out[18] = out[23] = '-';
}
