/* query/trend_value.h - what a measure is worth for a group, a bucket: the union of cells that tasks have left.
 *
 * Uniques of a row, of `other` and of the totals are unions of their own, never sums: except over
 * shards, whose subjects are different by construction.
 *
 * Thread: a reader belongs to one thread. What it reads does not change while there are readers, so that there may be one
 * on each thread.
 */
#pragma once

#include "query/trend_int.h"

/* One row's worth of groups. */
enum group_reach {
    GROUP_ONE,
    GROUP_OTHERS, /* all that have no row of their own */
    GROUP_ALL,    /* the totals */
};
struct trend_group {
    enum group_reach reach;
    uint32_t group; /* of GROUP_ONE */
    struct cell *keys;
};

/* A group as one task numbered it. */
struct group_part {
    uint32_t task, local;
};

#define TREND_WHOLE_RANGE UINT32_MAX /* in the place of a bucket */

struct trend_values {
    struct query_run_ctx *
        run; /* measures over very many values are made on all threads (trend_large.h); NULL: by itself */
    const struct trend_plan *plan;
    const struct run_tasks *tasks;
    const uint32_t
        *part_begins; /* parts of group g: parts[part_begins[g] .. part_begins[g + 1]), by task */
    const struct group_part *parts;
    uint32_t *const *global; /* for GROUP_OTHERS: [task][number in the task]: the group, */
    const uint8_t *is_shown; /* which has a row of its own */
    struct arena *strings;   /* of values that are text */
    struct arena *arena;     /* lives as long as the reader */
    struct arena *scratch;
    union acc_cell **sets; /* scratch of a union */
    size_t set_cap;
};

/* Measure m of a group over bucket b. What it takes of `scratch` is the caller's to rewind. */
enum err_code trend_measure(struct trend_values *values, uint32_t m,
                            const struct trend_group *group, uint32_t b, struct expr_value *ret,
                            struct err *err) ERR_MUST_CHECK;
/* All measures of a group over bucket b, as cells. */
enum err_code trend_measures(struct trend_values *values, const struct trend_group *group,
                             uint32_t b, struct cell *out, struct err *err) ERR_MUST_CHECK;
/* How many rows a lane that counts has of a group over the whole range. */
uint64_t trend_rows(const struct trend_values *values, uint32_t lane,
                    const struct trend_group *group);

/* Walks over the cells of a row's groups, task by task. */
struct trend_walk {
    const struct trend_values *values;
    const struct trend_group *group;
    uint32_t lane;
    uint32_t next; /* a place among the parts, or the number of a group in the task */
    uint32_t task;
};
struct trend_walk trend_walk_begin(const struct trend_values *values, uint32_t lane,
                                   const struct trend_group *group);
/* The next cells, by atom; NULL at the end. walk->task is their task. */
union acc_cell *trend_walk_next(struct trend_walk *walk);
