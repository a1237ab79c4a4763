/* query/key_runs.h - rows dealt out by their KEY, as runs: what follows one another in a block of one KEY and one subject.
 *
 *     run      head | times | masks | lane 0 .. | rows in the block | padding to 8
 *     log      chunks of runs, one log for each part of the KEYs, appended to by one task and then read in order
 *
 * A KEY mostly stays the same for some rows (a session's, a device's), so that it is kept and looked up once for them. Rows
 * of a run are in the order of their source: by time, and at one time by event_id.
 *
 * Thread: the task that appends; later the one that has the part.
 */
#pragma once

#include "query/journey.h"
#include "storage/base/hash.h"

#define KEY_LANES (JOURNEY_LANES_MAX - 1)

struct key_run {
    struct hash128 key;
    uint32_t task; /* whose: not known before all have ended */
    uint32_t source, block;
    uint32_t subject;
    uint32_t count; /* of rows */
    uint32_t lane_count;
};
static inline int64_t *key_run_times(const struct key_run *run)
{
    return (int64_t *)(uintptr_t)(run + 1);
}
static inline uint64_t *key_run_masks(const struct key_run *run)
{
    return (uint64_t *)(key_run_times(run) + run->count);
}
static inline uint32_t *key_run_lane(const struct key_run *run, uint32_t lane)
{
    return (uint32_t *)(key_run_masks(run) + run->count) + (size_t)lane * run->count;
}
static inline uint16_t *key_run_rows(const struct key_run *run)
{
    return (uint16_t *)key_run_lane(run, run->lane_count);
}

struct run_chunk {
    struct run_chunk *next;
    size_t used, cap;
    uint64_t bytes[]; /* runs */
};
struct run_log {
    struct run_chunk *first, *last;
    uint64_t run_count, row_count;
};

/* Append a run of rows [begin, end) of the block. */
struct key_run_at {
    struct hash128 key;
    uint32_t source;
    const struct scan_block *block;
    const uint32_t *const *lanes; /* of the block's rows */
    uint32_t lane_count;
    uint32_t begin, end;
};
enum err_code run_log_append(struct run_log *log, const struct key_run_at *at, struct arena *arena,
                             struct err *err) ERR_MUST_CHECK;

/* Walks over a log; {0} is before its first run. */
struct run_log_cursor {
    struct run_chunk *chunk;
    size_t at;
};
/* The next run, NULL at the end. */
struct key_run *run_log_next(const struct run_log *log, struct run_log_cursor *cursor);

/* Whether both are of one subject of one source, whose rows are in order. */
static inline bool key_run_is_beside(const struct key_run *a, const struct key_run *b)
{
    return a->task == b->task && a->source == b->source && a->subject == b->subject;
}
