/* storage/codec_int.h - streams of 64-bit integers: times, codes, subject numbers, mantissas,
 * lengths.
 *
 * A stream does not store how many values it has: whoever reads it knows. All arithmetic is modulo
 * 2^64, so the extremes need no special case. The writer computes the size of each kind and takes
 * the smallest, leaning towards those with random access.
 *
 *    offset  bytes  field        rule
 *         0      1  kind         enum ints_kind
 *         1      1  width        of BITS: 0 .. 56 or 64; else 0
 *         2      2  zero         0
 *         4      4  body_bytes   bytes that follow
 *         8      -  body:
 *
 *    CONST   u64 value
 *    BITS    u64 base; count x width bits d             value = base + d
 *    FOR     u64 origin; u64 unit; bases: stream of CONST or BITS, one per mini-block;
 *            widths: u8 per mini-block; the mini-blocks' bits, each from a fresh byte
 *                                                       value = origin + unit * (base + d)
 *    DELTA   firsts, steps: streams of CONST or BITS, one per mini-block; widths: u8 per mini-block;
 *            bits of all but each mini-block's first      value = value before it + step + d
 *    RLE     u32 run_count; u32 zero; run values: stream, not RLE; run lengths less one: stream, not RLE
 *    PATCH   firsts: stream of CONST or BITS, one per mini-block; for each mini-block u8 width, u8
 *            patch_count, u8 high_width; then for each mini-block, each run from a fresh byte: low
 *            bits of all its steps (all values but the first), patch_count x 7 bits place p,
 *            ascending, patch_count x high_width bits h
 *                                                       value = value before it + low + (high << width)
 *                                                       high = h unzigzagged at step p, else 0
 *
 * A mini-block is 128 values (the last one shorter), with its own base and width: any mini-block
 * can be decoded without the others. `unit` is the greatest common divisor of the distances from
 * the smallest value: times in whole seconds, prices in steps of 5 cents.
 *
 * PATCH is patched frame of reference over steps (Zukowski et al., "Super-scalar RAM-CPU cache
 * compression", 2006), made for the event times of journeys: seconds within a visit, days between
 * visits, and back to the beginning at the next subject. Each mini-block takes the width that makes
 * low bits and patches smallest. Mini-blocks that restart where the subject changes were considered
 * and not taken: with the usual handful of events per subject and segment, a patch at each change
 * costs less than the bases would.
 *
 * Thread: pure functions.
 */
#pragma once

#include "storage/base/buf.h"
#include "storage/base/err.h"
#include "storage/base/rd.h"

#define INTS_MINI 128u

enum ints_kind { INTS_CONST = 1, INTS_BITS, INTS_FOR, INTS_DELTA, INTS_RLE, INTS_PATCH };
#define INTS_KIND_LAST INTS_PATCH

/* Append the stream of `values` (in the smallest kind) to `out`; returns the kind. */
enum ints_kind ints_encode(const uint64_t *values, uint32_t count, struct buf *out);
/* As this kind, whatever it costs: for tests. CONST wants equal values. */
void ints_encode_kind(enum ints_kind kind, const uint64_t *values, uint32_t count, struct buf *out);

/* Read a stream of `count` values. The bytes of `rd` are followed by BITS_SLACK readable ones.
 * ERR_CORRUPT for anything that ints_encode could not have written; `out` is then undefined. */
enum err_code ints_decode64(struct rd *rd, uint32_t count, uint64_t *out,
                            struct err *err) ERR_MUST_CHECK;
/* Each value must be below `limit` (at most 2^32). */
enum err_code ints_decode32(struct rd *rd, uint32_t count, uint64_t limit, uint32_t *out,
                            struct err *err) ERR_MUST_CHECK;
/* The kind of the stream that starts here, without moving; 0 where there is none. */
enum ints_kind ints_peek(const struct rd *rd);
