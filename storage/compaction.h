/* storage/compaction.h - which segments to merge, and where to cut the result.
 *
 * The rule of size: merge up to 64 blocks, cut by time only where each part has at least 4. So a
 * busy data set ends up with a segment per shard and day, a small one with a segment per shard and
 * month or more, and a shuffled history of decades never makes thousands of files. A segment of 4
 * blocks or more whose time no other overlaps is settled: nothing merges it again, so compacting is
 * idempotent and time still prunes.
 *
 * In the background only like is merged with like (at least 4 segments of one size class, powers of
 * four), so a row is rewritten once per class. On request everything is merged that the rule allows.
 *
 * The planning functions are pure; tests call them with small limits.
 */
#pragma once

#include "storage/base/err.h"
#include "storage/base/io.h"

struct dataset;

struct compact_limits {
    uint32_t block_rows;      /* BLOCK_ROWS */
    uint32_t blocks_max;      /* of a merge: SEG_BLOCKS_MAX */
    uint32_t part_blocks_min; /* 4 */
    uint32_t tier_count;      /* 4 */
    uint32_t inputs_max;      /* segments read at once: 64 */
};
struct compact_limits compact_limits_default(void);

struct compact_seg {
    uint64_t rows;
    int64_t time_min_ms, time_max_ms;
};

/* Choose segments of one shard (given by (time_min, number)) to merge: their places in `out_idx`, which has
 * room for `count`. Returns how many: 0, or at least 2. */
uint32_t compact_plan(const struct compact_seg *segs, uint32_t count,
                      const struct compact_limits *limits, bool is_full, uint32_t *out_idx);

/* Cut rows counted by day into parts of whole days, each of at least part_blocks_min blocks. `out_ends`
 * (room for day_count) gets the day after the last of each part; the last is day_count. Returns the parts. */
uint32_t compact_cuts(const uint32_t *rows_by_day, uint32_t day_count,
                      const struct compact_limits *limits, uint32_t *out_ends);

/* Do one merge where the plan has one. *ret_did false: nothing to do. */
enum err_code compaction_step(struct dataset *dataset, uint32_t shard, bool is_full, struct io *io,
                              bool *ret_did, struct err *err) ERR_MUST_CHECK;
struct version;
struct seg_ref;
/* Merge these segments of one shard of the version (held by the caller, as is compact_lock) without deleted
 * and expired rows: one catalog transaction, then their files go. */
enum err_code compaction_merge(struct dataset *dataset, const struct version *version,
                               struct seg_ref **inputs, uint32_t input_count, struct io *io,
                               struct err *err) ERR_MUST_CHECK;
/* For the background thread: some work on each shard, failures noted and paused. */
void compaction_if_due(struct dataset *dataset, struct io *io);
