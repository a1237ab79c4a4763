/* storage/codec_set.h - stored sets of 32-bit numbers: subjects.
 *
 * Whoever reads a set knows how many members it has, and between which numbers they lie.
 *
 *    offset  bytes  field      rule
 *         0      1  kind       enum set_kind
 *         1      1  low_width  of LOWS: 0 .. 31; else 0
 *         2      v  first      the smallest member (LEB128)
 *         -      -  LOWS: bits of member i (1 .. count - 1), e = member i - first - i:
 *                     low_width bits of each e, then from a fresh byte the rest of each in unary:
 *                     bit (e >> low_width) + i - 1 is set, all others are clear
 *                   RUNS: v length less one of the first run, then for each further run
 *                     v numbers left out before it less one, v its length less one
 *
 * LOWS is the representation of Elias and Fano: about 2 bits more for each member than the
 * logarithm of the mean distance, half of what roaring takes for the sets of a day, and still
 * decoded at some nanoseconds a member. RUNS is for sets of everybody.
 *
 * Thread: pure functions.
 */
#pragma once

#include "storage/base/buf.h"
#include "storage/base/err.h"
#include "storage/base/str.h"

#include <roaring/roaring.h>

enum set_kind { SET_LOWS = 1, SET_RUNS };

/* Append the set of `count` ascending members (1 or more), in the smaller kind. */
enum err_code set_encode(const uint32_t *members, uint32_t count, struct buf *out,
                         size_t *ret_bytes, struct err *err) ERR_MUST_CHECK;

/* A set of `count` members within [first, last]; roaring_bitmap_free it. The bytes are followed by
 * BITS_SLACK readable ones. ERR_CORRUPT for anything that set_encode could not have written. */
enum err_code set_decode(struct str bytes, uint32_t count, uint32_t first, uint32_t last,
                         roaring_bitmap_t **ret, struct err *err) ERR_MUST_CHECK;
