/* storage/compaction.h - which segments to merge, and where to cut the result.
 *
 * The rule of size: merge up to 64 blocks, cut by time only where each part has at least 4. So a
 * busy data set ends up with a segment per shard and day, a small one with a segment per shard and
 * month or more, and a shuffled history of decades never makes thousands of files. A segment of 4
 * blocks or more whose time no other overlaps is settled: nothing merges it again, so compacting is
 * idempotent and time still prunes.
 *
 * In the background only like is merged with like (at least 4 segments of one size class, powers of
 * four), so a row is rewritten once per class. Late events lie anywhere in time: a merge that makes a settled
 * segment puts them into one of their own, which meets its like later. Settled sizes are merged again only where
 * at least 4 of a class, alike in width, lie over one moment: a segment of late events over a quarter of a year
 * waits for its like, and the days below it are not rewritten. On request everything is merged that the rule allows.
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

/* How many of a shard's segments are small, or lie in a heap that is to be merged. */
uint32_t compact_waiting(const struct compact_seg *segs, uint32_t count,
                         const struct compact_limits *limits);

/* Cut rows counted by day into parts of whole days, each of at least part_blocks_min blocks. `out_ends`
 * (room for day_count) gets the day after the last of each part; the last is day_count. Returns the parts. */
uint32_t compact_cuts(const uint32_t *rows_by_day, uint32_t day_count,
                      const struct compact_limits *limits, uint32_t *out_ends);

/* How many of the first days hold but a few late rows: at least half of the days, with at most a tenth of all
 * rows, all of them together a settled segment; else 0. A merge in the background makes a segment of its own of
 * them, which meets its like later, and what is settled stays narrow in time. */
uint32_t compact_late_days(const uint32_t *rows_by_day, uint32_t day_count,
                           const struct compact_limits *limits);

/* Do one merge where the plan has one. *ret_did false: nothing to do. */
enum err_code compaction_step(struct dataset *dataset, uint32_t shard, bool is_full, struct io *io,
                              bool *ret_did, struct err *err) ERR_MUST_CHECK;
struct version;
struct seg_ref;
struct mask_ref;
/* Whether the segment, or the file of first times, has rows of these subjects. */
enum err_code compaction_has_deleted(const struct seg_ref *ref, const struct mask_ref *mask,
                                     struct io *io, bool *ret, struct err *err) ERR_MUST_CHECK;
/* Merge these segments of one shard of the version (held by the caller, as is compact_lock) without deleted
 * and expired rows, `keeps_late_apart` in segments of their own: one catalog transaction, then their files go. */
enum err_code compaction_merge(struct dataset *dataset, const struct version *version,
                               struct seg_ref **inputs, uint32_t input_count,
                               bool keeps_late_apart, struct io *io,
                               struct err *err) ERR_MUST_CHECK;
/* The most segments that wait to be merged in one of the version's shards: what back-pressure goes by. */
uint32_t compaction_waiting(const struct version *version, const struct compact_limits *limits);
/* For the background thread: at most one merge in each shard, failures noted and paused. False: nothing was to
 * do, and until the segments change there is no use in asking again (which costs nothing then). */
bool compaction_if_due(struct dataset *dataset, struct io *io);
