/* query/answer_key.h - the name of a whole answer: everything that its bytes depend on.
 *
 *     question    the text but for line breaks, spaces in a row and comments; the parameters; the binder's warnings; the range and
 *                 the zone as they were resolved; of now, the civil units it lies in, or where it matters now itself
 *     data        the data set as it was opened, the last commit, every source, what masks rows (deleted subjects, expiry), the
 *                 known columns, the watermark, how far the data reach back
 *
 * An answer is a pure function of these, so one name has one answer; it is the whole table with its meta.
 */
#pragma once

#include "query/run.h"
#include "storage/base/hash.h"

/* Whether such an answer may be kept. Not `explain`, which is about the moment; nor what looks beyond the
 * snapshot: `show` (counters that move on), `timeline` (the directory of ids). */
bool answer_has_key(const struct query_run_ctx *run);
/* Append the key to `out`. ERR_NOMEM, ERR_LIMIT. */
enum err_code answer_key(const struct query_run_ctx *run, struct buf *out,
                         struct err *err) ERR_MUST_CHECK;

/* Append what the question says, of whatever time and data: text, parameters, warnings, zone. ERR_NOMEM, ERR_LIMIT. */
enum err_code answer_question(const struct query_run_ctx *run, struct buf *out,
                              struct err *err) ERR_MUST_CHECK;

/* Fingerprint of the subjects of a shard that are left out of answers; 0 where there are none. `scratch` is bad
 * afterwards where memory ran out: then there is no key. */
struct hash128 answer_mask_hash(const struct snapshot *snapshot, uint32_t shard, uint64_t seed,
                                struct buf *scratch);
