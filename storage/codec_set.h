/* storage/codec_set.h - stored sets of 32-bit numbers in roaring's portable format, read without
 * trust.
 *
 * CRoaring's own deserialiser accepts sets whose containers are unsorted or miscounted and may
 * crash on them later. So bytes are checksummed first, then looked through here from end to end,
 * and only then handed to CRoaring; sets of rows are not handed to it at all: a container is a
 * block's rows, and is expanded from the bytes.
 *
 * Format: https://github.com/RoaringBitmap/RoaringFormatSpec
 *
 * Thread: pure functions.
 */
#pragma once

#include "storage/base/buf.h"
#include "storage/base/err.h"
#include "storage/base/str.h"

#include <roaring/roaring.h>

/* Append the set (run_optimize is the caller's) and return its length in bytes. */
size_t set_encode(const roaring_bitmap_t *set, struct buf *out);

/* Check every container: keys ascending, contents ascending, counts true, nothing left over, no
 * member above `last`. *ret_count is the number of members. */
enum err_code set_check(struct str bytes, uint32_t last, uint64_t *ret_count,
                        struct err *err) ERR_MUST_CHECK;
/* Check, then deserialise; roaring_bitmap_free it. */
enum err_code set_decode(struct str bytes, uint32_t last, uint64_t *ret_count,
                         roaring_bitmap_t **ret, struct err *err) ERR_MUST_CHECK;
/* The members of container `key` (those in [key << 16, (key + 1) << 16)), less key << 16,
 * ascending, all below `limit`; `out` has room for 65,536. Checks what it reads. */
enum err_code set_container(struct str bytes, uint32_t key, uint32_t limit, uint16_t *out,
                            uint32_t *ret_count, struct err *err) ERR_MUST_CHECK;
