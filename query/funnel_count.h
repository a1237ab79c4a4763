/* query/funnel_count.h - what a funnel counts, from the attempts of a task to the lines of the answer.
 *
 *     task    users[cell][step] += 1, or reached[cell][level] += 1 where no step was left out, and for every step but the first
 *             that an attempt did, its time since the first step behind log[cell][step]
 *     all     cells of tasks matched by value; users added; for each (line, step), in portions on all threads, the logs of its
 *             cells in one array, of which percentiles and the mean are taken
 *
 * A cell is a group of the breakdown or, with `each`, one in a bucket of time. A line is a cell that is shown, the groups
 * beyond `top` together, or all. What the lines count need not add up to all of it (people enter on several
 * days), so that is counted apart where it does not.
 *
 * Thread: a part is its task's; the merge is the calling thread's, what is taken of durations all threads'.
 */
#pragma once

#include "query/answer_journeys.h"
#include "query/interns.h"

#define FUNNEL_GROUP_NULL (UINT32_MAX - 1) /* the group whose keys are all missing */

struct funnel_log;

struct funnel_part {
    struct groups *groups;  /* NULL without keys: then all groups are 0 */
    struct interns *places; /* cell -> (bucket, group); NULL: a cell is the group's number */
    uint64_t *users;        /* [cell * step_count + step]: attempts that did it, of those that left some step out, */
    uint64_t *reached;      /* and [cell * step_count + level - 1]: that got there and no further, of the others */
    uint32_t cell_cap;
    uint64_t *all_users; /* per step, where all is counted apart; else NULL */
    struct outcomes *outcomes; /* what is counted is noted there for the next time; may be NULL */
    struct cell_taker *taker; /* NULL: nobody asks who is counted */
    uint32_t subject;         /* whose attempts are counted now; of `taker` */
    int64_t taken_begin_ms, taken_end_ms; /* entries of the bucket that `taker` wants */
    uint64_t mature;     /* attempts whose window was over when the query was asked */
    struct funnel_log *logs; /* as users: how long each step but the first took */
    struct funnel_log *all_log; /* how long the last one took, where all is counted apart; else NULL */
};

/* With `has_places` cells are numbered by funnel_part_cell; with `is_all_apart` an attempt counts for its line and
 * for all only where it is said. */
enum err_code funnel_part_init(struct funnel_part *part, const struct bound_query *query,
                               struct groups *groups, bool has_places, bool is_all_apart,
                               struct arena *arena, struct err *err) ERR_MUST_CHECK;
enum err_code funnel_part_cell(struct funnel_part *part, uint32_t bucket, uint32_t group,
                               uint32_t *ret_cell, struct err *err) ERR_MUST_CHECK;

enum funnel_counts { FUNNEL_COUNTS_LINE = 1, FUNNEL_COUNTS_ALL = 2 };
struct funnel_counted {
    uint32_t level;
    uint64_t filled;      /* bit i: step i + 1 was done; bit 0 is set */
    const int64_t *times; /* of the steps done */
};
/* Show the people who are counted for a cell to a taker of the task, where the query asks for them. */
enum err_code funnel_part_watch(struct funnel_part *part, struct query_run_ctx *run, uint32_t shard,
                                const struct answer_buckets *buckets,
                                struct err *err) ERR_MUST_CHECK;
struct outcomes;
/* Count an attempt; `counts` are bits of funnel_counts, and `cell` says nothing without LINE. */
enum err_code funnel_part_count(struct funnel_part *part, const struct bound_query *query,
                                struct arena *arena, uint32_t cell, uint32_t counts,
                                const struct funnel_counted *attempt,
                                struct err *err) ERR_MUST_CHECK;
/* The same of `count` attempts that got to step 1 and no further, in cell 0; `mature` of them are. */
enum err_code funnel_part_enter(struct funnel_part *part, const struct bound_query *query,
                                struct arena *arena, uint64_t count, uint64_t mature,
                                struct err *err) ERR_MUST_CHECK;

/* ---- all tasks together ---- */

/* How long a step took, for all that did it, since the first. */
struct funnel_durations {
    uint64_t *ms;
    size_t count;
    struct cell median, mean, p90; /* null where there are none */
};
struct funnel_line {
    uint32_t bucket;
    uint32_t group;
    bool is_other;
    uint64_t *users; /* per step */
    struct funnel_durations *steps; /* per step but the first; NULL: nobody entered */
};

struct funnel_merge {
    uint32_t step_count;
    struct groups *groups;
    struct answer_buckets buckets;
    struct funnel_line *lines; /* by bucket, then group */
    uint64_t line_count;
    uint64_t left_out; /* lines that `top` left out */
    bool has_other;
    struct funnel_line all; /* its durations are of the last step only */
    uint64_t mature;
};

/* `part_off`: of the funnel_part in a slot. */
enum err_code funnel_merge(struct query_run_ctx *run, const struct run_tasks *tasks,
                           size_t part_off, const struct answer_buckets *buckets,
                           struct funnel_merge *ret, struct err *err) ERR_MUST_CHECK;
