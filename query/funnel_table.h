/* query/funnel_table.h - the tables of a funnel: its steps, and how long the whole way takes.
 *
 * Thread: the calling thread's.
 */
#pragma once

#include "query/funnel_count.h"

/* Columns, rows and totals of `result`, and what its meta says of entries. Durations are reordered. */
enum err_code funnel_table(struct query_run_ctx *run, struct funnel_merge *merge,
                           struct result *result, struct err *err) ERR_MUST_CHECK;
