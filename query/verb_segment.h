/* query/verb_segment.h - a segment between its two halves: what tasks are given, and what they leave. */
#pragma once

#include "query/agg.h"
#include "query/people.h"
#include "query/result.h"
#include "query/run.h"

/* What all tasks share; immutable while they run. */
struct segment_plan {
    const struct cond *root;
    const struct cond *
        *leaves; /* by number; NULL where no event is looked at. The last is the universe, if any */
    uint32_t leaf_count;
    const struct cond *universe; /* a DID; NULL = none */
    struct people *ids;          /* by leaf: of IDS */
    uint32_t *cols;              /* that measures read */
    uint32_t col_count;
    uint64_t hash_seed;
};

struct segment_part {
    uint32_t shard;
    struct people_pool pool;
    struct people_set *set; /* the task's subjects that meet the condition */
};

/* A run_task_fn; the plan is found through `run->verb_plan`. */
enum err_code segment_task(struct query_run_ctx *run, const struct run_task *task,
                           struct arena *arena, struct io *io, void *slot,
                           struct err *err) ERR_MUST_CHECK;

/* Add a row's number to what a MEASURE knows of a subject (not of COUNT and UNIQUE). */
enum err_code cond_add_number(const struct cond *cond, struct acc_pool *pool, union acc_cell *cell,
                              struct num number, struct err *err) ERR_MUST_CHECK;
/* What the cell says; null where it says nothing. */
struct cell cond_value(const struct cond *cond, const union acc_cell *cell);
