/* query/funnel_task.h - funnels with rules: what is read, what becomes of each subject, and the answer.
 *
 * Thread: the calling thread's.
 */
#pragma once

#include "query/kernel_funnel.h"
#include "query/run.h"

/* Columns, rows and totals of `result`, of any of the funnel's tables. */
enum err_code funnel_with_rules(struct query_run_ctx *run, struct result *result,
                                struct err *err) ERR_MUST_CHECK;
/* A plain funnel as its kernel takes it. */
struct funnel_spec funnel_plain_spec(const struct funnel *funnel);
/* Where the events that may fill a step after the first end: exclusive. */
int64_t funnel_end_ms(const struct bound_query *query);
