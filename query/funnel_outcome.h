/* query/funnel_outcome.h - an attempt of a funnel as bytes, and the attempts that were kept counted again (outcomes.h).
 *
 * A subject has one for each time that it was counted: in its line, in all, or both. Groups are those of the task's numbering,
 * whose values are kept beside them. The bucket of `each` is not kept: it is that of the first step's time.
 *
 * Thread: one task.
 */
#pragma once

#include "query/funnel_count.h"
#include "query/outcomes.h"

/* *ret NULL where they do not say all that the funnel's table is made of, or nothing is kept (outcomes_plan_make). */
enum err_code funnel_outcomes_plan_make(struct query_run_ctx *run, int64_t from_ms,
                                        int64_t rows_from_ms, bool has_firsts,
                                   struct outcomes_plan **ret, struct err *err) ERR_MUST_CHECK;
/* `group`: of the attempt's line, where `counts` has one. */
void funnel_outcome_put(struct outcomes *outcomes, const struct bound_query *query,
                        uint32_t subject, uint32_t group, uint32_t counts,
                        const struct funnel_counted *attempt);
/* Count all that are kept. `buckets`: of `each`, where cells of the part have places. */
enum err_code funnel_outcomes_count(struct outcomes *outcomes, struct funnel_part *part,
                                    const struct bound_query *query,
                                    const struct answer_buckets *buckets, struct arena *arena,
                                    struct err *err) ERR_MUST_CHECK;
/* At the end of a task that read all rows. */
void funnel_outcomes_keep(struct outcomes *outcomes, const struct funnel_part *part,
                          const struct bound_query *query);
