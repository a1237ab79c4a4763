/* query/retention_int.h - a retention between its two halves: what tasks count, and what is made of it.
 *
 * Of ltv as well. A task counts from journeys (verb_retention.c) or from stored sets of subjects (retention_index.c); the counts are
 * the same. */
#pragma once

#include "query/agg.h"
#include "query/answer.h"
#include "query/first_ever.h"
#include "query/outcomes.h"
#include "query/retention_calendar.h"

enum { WANT_START, WANT_RETURN, WANT_NAME, WANT_VALUE, WANT_COUNT };

/* What all tasks share; immutable while they run. */
struct retention_plan {
    struct bound_query scan_query;
    struct first_ask firsts; /* of expired first events; its bits are 0 where none are asked for */
    struct scan_want wants[WANT_COUNT];
    uint32_t want_count;
    struct civil_grid grid;
    struct retention_calendar calendar;
    struct retention_spec spec;
    uint32_t lane_keys, lane_value, lane_events; /* of the walk; UINT32_MAX: none */
    struct outcomes_plan *outcomes;              /* of the walk; NULL: none are kept */
};

/* In the run's arena; *ret NULL where no period has passed. */
enum err_code retention_plan_make(struct query_run_ctx *run, struct retention_plan **ret,
                                  struct err *err) ERR_MUST_CHECK;

/* Counts of one task, and of all. */
struct retention_part {
    struct groups *groups;
    uint64_t ***
        rows; /* [group][cohort], NULL where nobody is in: size, then users of each column, then its sums */
    uint32_t group_cap;
    struct acc_pool pool; /* of the sums */
};

/* The row of (group, cohort), made when it is not there yet. */
enum err_code retention_row(struct retention_part *part, const struct retention_spec *spec,
                            uint32_t group, uint32_t cohort, struct arena *arena, uint64_t **ret,
                            struct err *err) ERR_MUST_CHECK;
/* Add a row, counts and sums, to another. */
enum err_code retention_row_add(const struct retention_spec *spec, uint64_t *from, uint64_t *into,
                                struct acc_pool *pool, struct err *err) ERR_MUST_CHECK;

/* ---- retention_table.c ---- */

/* What is shown: lines are groups. */
struct retention_lines {
    struct retention_part part; /* [line][cohort] */
    struct answer_group *groups;
    uint32_t count;
    bool has_other; /* the last one is of the groups that are not shown */
    uint32_t cohort_begin, cohort_end;
    uint64_t size; /* of all groups */
    uint64_t left_out;
};
enum err_code retention_columns(const struct bound_query *query, bool has_other,
                                struct result *result, struct err *err) ERR_MUST_CHECK;
/* Rows and totals. */
enum err_code retention_table(struct query_run_ctx *run, const struct retention_plan *plan,
                              const struct groups *groups, struct retention_lines *lines,
                              struct result *result, struct err *err) ERR_MUST_CHECK;
/* Whether the column's last period is over for everybody in the cohort. */
bool retention_is_complete(const struct query_run_ctx *run, const struct retention_plan *plan,
                           uint32_t cohort, uint32_t column);
enum err_code retention_totals(const struct bound_query *query, uint64_t size,
                               struct result *result, struct err *err) ERR_MUST_CHECK;

/* ---- retention_outcome.c: members that are kept (outcomes.h) ---- */

/* plan->outcomes; NULL where sums of values are asked for, which counts do not tell. */
enum err_code retention_outcomes_plan_make(struct query_run_ctx *run, struct retention_plan *plan,
                                      struct err *err) ERR_MUST_CHECK;
/* `row` counts one member alone. */
void retention_outcome_put(struct outcomes *outcomes, const struct retention_spec *spec,
                           uint32_t subject, uint32_t group, uint32_t slot, const uint64_t *row,
                           struct buf *scratch);
/* Count all that are kept. */
enum err_code retention_outcomes_count(struct outcomes *outcomes, const struct retention_plan *plan,
                                       struct retention_part *part, struct arena *arena,
                                       struct err *err) ERR_MUST_CHECK;
/* At the end of a task that read all rows. */
void retention_outcomes_keep(struct outcomes *outcomes, const struct retention_plan *plan,
                             const struct retention_part *part);

/* Count the task's journeys, or those that some of its rows make (by source; NULL: all), of a plan without lanes. */
enum err_code retention_read(struct query_run_ctx *run, const struct run_task *task,
                             const struct journey_rows *rows, struct retention_part *part,
                             struct arena *arena, struct io *io, struct err *err) ERR_MUST_CHECK;

/* Whether stored sets answer the question; and the run_task_fn that has them do it. */
bool retention_index_serves(const struct query_run_ctx *run, const struct retention_plan *plan);
enum err_code retention_index_task(struct query_run_ctx *run, const struct run_task *task,
                                   struct arena *arena, struct io *io, void *slot,
                                   struct err *err) ERR_MUST_CHECK;
