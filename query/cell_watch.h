/* query/cell_watch.h - the taker (cell_taker.h) of a verb whose cells have a bucket of time and a group.
 *
 * A verb shows each subject that it counts for a cell, with the instant that says in which bucket, and the group; what else
 * names the cell (a path, a next value) the verb looks at itself. Where the query asks for a table a watch sees nothing.
 *
 * Thread: its task's.
 */
#pragma once

#include "query/answer_journeys.h"
#include "query/cell_taker.h"

struct cell_watch {
    struct cell_taker *taker;    /* NULL: a table is asked for */
    const struct groups *groups; /* of the task */
    int64_t begin_ms, end_ms;    /* the bucket that is asked about, or all time */
};

/* `groups` may be NULL where the query has no keys. Only of walks by user: cells of other subjects are no people. */
enum err_code cell_watch_open(struct query_run_ctx *run, uint32_t shard,
                              const struct answer_buckets *buckets, const struct groups *groups,
                              struct cell_watch *ret, struct err *err) ERR_MUST_CHECK;

/* The bucket that is asked about has something of [begin, end). */
static inline bool cell_watch_meets(const struct cell_watch *watch, int64_t begin_ms,
                                    int64_t end_ms)
{
    return watch->taker != NULL && begin_ms < watch->end_ms && end_ms > watch->begin_ms;
}
static inline bool cell_watch_has(const struct cell_watch *watch, int64_t ts_ms)
{
    return watch->taker != NULL && ts_ms >= watch->begin_ms && ts_ms < watch->end_ms;
}
/* The subject is counted in this group, in the bucket that is asked about. */
enum err_code cell_watch_take(struct cell_watch *watch, uint32_t group, uint32_t subject,
                              struct err *err) ERR_MUST_CHECK;
/* The subject is counted in this group, in the bucket of this instant. */
static inline enum err_code cell_watch_see(struct cell_watch *watch, int64_t ts_ms, uint32_t group,
                                           uint32_t subject, struct err *err)
{
    return cell_watch_has(watch, ts_ms) ? cell_watch_take(watch, group, subject, err) : ERR_OK;
}
