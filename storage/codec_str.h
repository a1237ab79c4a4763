/* storage/codec_str.h - runs of byte strings: dictionaries, and string blocks without one.
 *
 *    offset  bytes  field         rule
 *         0      1  kind          enum strs_kind
 *         1      1  is_lz4        1: the payload is one LZ4 block
 *         2      2  zero          0
 *         4      4  total_bytes   of all strings when decoded
 *         8      4  raw_bytes     of the payload before LZ4
 *        12      4  stored_bytes  of the payload as it lies here
 *        16      -  PLAIN: lengths (integer stream); payload: the strings
 *                   UUID:  payload: 16 bytes each, for canonical lower-case UUIDs (never LZ4: random)
 *                   FRONT: lengths shared with the string before, lengths of the rest (integer streams);
 *                          payload: the rests. For sorted strings: dictionaries.
 *                   NUMBER: u8 radix (10 or 16), u8 digits, u16 prefix_bytes, the prefix, then
 *                          integer streams. Radix 16: each string is the prefix and `digits` lower-case
 *                          hexadecimal digits (1 .. 64), 16 of them in each stream, the last takes the
 *                          rest; radix 10: the prefix and a number without leading zeroes (digits 0),
 *                          or of so many digits (1 .. 18), one stream. No payload.
 *
 * Of what fits the strings, the smallest is taken. LZ4 is kept where it saves at least 5 %. Integer streams are never put through it: they would
 * lose their random access, and what packing leaves rarely shrinks further.
 *
 * Thread: pure functions.
 */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/buf.h"
#include "storage/base/rd.h"

enum strs_kind { STRS_PLAIN = 1, STRS_UUID, STRS_FRONT, STRS_NUMBER };

/* The payload codec alone. Encode: appends to `out`; true where LZ4 was kept. */
bool lz_encode(struct str raw, struct buf *out);
/* Reads `stored_bytes` from `rd`. *ret points into `rd` or, after LZ4, into the arena; BITS_SLACK
 * bytes behind it are readable. */
enum err_code lz_decode(struct rd *rd, bool is_lz4, uint32_t raw_bytes, uint32_t stored_bytes,
                        struct arena *arena, struct str *ret, struct err *err) ERR_MUST_CHECK;

/* Append the strings: `bytes` one after another, `lens` their lengths (room for `count`; as 64-bit
 * integers, for they become a stream). FRONT only where `is_sorted`. ERR_LIMIT above 1 GiB. */
enum err_code strs_encode(struct str bytes, const uint64_t *lens, uint32_t count, bool is_sorted,
                          struct buf *out, enum strs_kind *ret_kind, bool *ret_is_lz4,
                          struct err *err) ERR_MUST_CHECK;

#define STRS_BYTES_MAX (UINT32_C(1) << 30)
/* Read `count` strings into the arena: count + 1 offsets and the bytes. The bytes of `rd` are
 * followed by BITS_SLACK readable ones. ERR_CORRUPT for anything that strs_encode could not have
 * written. */
enum err_code strs_decode(struct rd *rd, uint32_t count, struct arena *arena,
                          const uint32_t **ret_offs, const char **ret_bytes,
                          struct err *err) ERR_MUST_CHECK;
/* The kind and LZ4 flag of what starts here, without moving; 0 where there is nothing. */
enum strs_kind strs_peek(const struct rd *rd, bool *ret_is_lz4);
