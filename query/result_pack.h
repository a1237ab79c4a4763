/* query/result_pack.h - a finished answer as bytes, and back, for the cache of answers: never leaves the process. */
#pragma once

#include "query/result.h"

/* Append the answer, but for `elapsed_us`, `blocks_loaded` and `cached`, which are of the asking. False where it is longer than
 * `bytes_max` or memory ran out; what was appended is then of no use. */
bool result_pack(const struct result *result, size_t bytes_max, struct buf *out);
/* What result_pack made, in the arena of `ret`. */
enum err_code result_unpack(struct str bytes, struct result *ret, struct err *err) ERR_MUST_CHECK;
