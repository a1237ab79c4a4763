/* query/journey.h - the journeys of a task's subjects: their matching events in order of time.
 *
 * A task has several sources (segments and memtables of a shard), each sorted by (subject, time).
 * One scan runs over each; subjects come out in ascending order, every one once, with the events of
 * all sources merged by time. Events of one instant come in no particular order, or, where that is
 * asked for, by event_id: ids are then read from the sources that overlap others in time, and only
 * from those, for one source has its rows in this order.
 *
 * Events carry values along in lanes: each lane numbers the values of its keys (keys.h). Groups may be late: then an event
 * carries where it came from, and is numbered when it is asked for.
 *
 * A subject that lies in one source and one block is not copied, where the block's rows are listed (scan.h). Memory: a block per
 * source and the longest journey, with late groups a number for each of a source's values, out of the query's budget.
 *
 * Thread: one worker.
 */
#pragma once

#include "query/first_ever.h"
#include "query/keys.h"
#include "query/run.h"

#define JOURNEY_LANES_MAX 4u

struct journey {
    uint32_t subject;
    size_t count; /* at least 1 */
    const int64_t *times;
    const uint64_t *masks;
    const uint32_t *groups; /* of each event; NULL when journeys were opened without groups. Late groups: journey_group */
    uint32_t place;         /* late groups, `groups` NULL: of the first event */
    const uint32_t *lanes[JOURNEY_LANES_MAX]; /* numbers of each event, lane by lane */
};

/* Of a source, the rows that are wanted. */
struct journey_rows {
    bool is_all;
    const struct scan_range *ranges; /* else these, ascending */
    uint32_t count;
};

/* The rows of subjects, ascending, in a source, neighbours as one range. In the arena. Cost: a search from one subject to the next in the
 * blocks of subjects that have some. */
enum err_code journey_rows_of(struct query_run_ctx *run, const struct source *source,
                              const uint32_t *subjects, uint32_t count, struct arena *arena,
                              struct io *io, struct journey_rows *ret,
                              struct err *err) ERR_MUST_CHECK;
/* The same of subjects as bits: bit i of `words` is subject base + i. */
enum err_code journey_rows_of_bits(struct query_run_ctx *run, const struct source *source,
                                   uint32_t base, const uint64_t *words, size_t word_count,
                                   struct arena *arena, struct io *io, struct journey_rows *ret,
                                   struct err *err) ERR_MUST_CHECK;

struct journeys_spec {
    const struct bound_query *query; /* whose selectors the wants number */
    const struct scan_want *wants;
    uint32_t want_count;
    struct groups *groups; /* numbers the events' keys; NULL = none wanted */
    bool has_late_groups;  /* few events are asked for theirs: by journey_group */
    struct groups *lanes[JOURNEY_LANES_MAX - 1];
    uint32_t lane_count;
    bool is_ordered; /* events of one instant by event_id */
    const struct scan_keep *keep; /* of whom which rows are wanted; NULL = all. Must live as long as the journeys */
    const struct journey_rows *rows; /* by source of the task; NULL: all rows. Must live as long as the journeys */
    const struct first_ask *firsts; /* first events ever that are expired are there as well, of no value in every lane;
                                       NULL: none are asked for */
};

struct journeys;
/* `spec->wants` must live as long as the journeys. Arena, io and groups are the task's. */
enum err_code journeys_open(struct query_run_ctx *run, const struct run_task *task,
                            const struct journeys_spec *spec, struct arena *arena, struct io *io,
                            struct journeys **ret, struct err *err) ERR_MUST_CHECK;
/* The next subject's journey, readable until the next call; *ret_more false after the last. */
enum err_code journeys_next(struct journeys *journeys, struct journey *ret, bool *ret_more,
                            struct err *err) ERR_MUST_CHECK;
/* With has_late_groups: the group of event i of the journey at hand. */
enum err_code journey_group(struct journeys *journeys, const struct journey *journey, size_t i,
                            uint32_t *ret, struct err *err) ERR_MUST_CHECK;
void journeys_close(struct journeys *journeys);
static inline void journeys_closep(struct journeys **journeys)
{
    if (*journeys != NULL) {
        journeys_close(*journeys);
    }
}
