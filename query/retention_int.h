/* query/retention_int.h - a retention between its two halves: what tasks count, and what is made of it.
 *
 * A task counts from journeys (verb_retention.c) or from stored sets of subjects (retention_index.c); the counts are
 * the same. */
#pragma once

#include "query/keys.h"
#include "query/retention_calendar.h"
#include "query/run.h"

enum { WANT_START, WANT_RETURN, WANT_NAME, WANT_COUNT };

/* What all tasks share; immutable while they run. */
struct retention_plan {
    struct bound_query scan_query;
    struct scan_want wants[WANT_COUNT];
    uint32_t want_count;
    struct civil_grid grid;
    struct retention_calendar calendar;
    struct retention_spec spec;
};

/* In the run's arena; *ret NULL where no period has passed. */
enum err_code retention_plan_make(struct query_run_ctx *run, struct retention_plan **ret,
                                  struct err *err) ERR_MUST_CHECK;

/* Counts of one task, and of all. */
struct retention_part {
    struct groups *groups;
    uint64_t **
        *rows; /* [group][cohort], NULL where nobody is in: size, then users of each period */
    uint32_t group_cap;
};

/* The row of (group, cohort), made when it is not there yet. */
enum err_code retention_row(struct retention_part *part, const struct retention_spec *spec,
                            uint32_t group, uint32_t cohort, struct arena *arena, uint64_t **ret,
                            struct err *err) ERR_MUST_CHECK;

/* Whether stored sets answer the question; and the run_task_fn that has them do it. */
bool retention_index_serves(const struct query_run_ctx *run, const struct retention_plan *plan);
enum err_code retention_index_task(struct query_run_ctx *run, const struct run_task *task,
                                   struct arena *arena, struct io *io, void *slot,
                                   struct err *err) ERR_MUST_CHECK;
