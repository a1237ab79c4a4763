/* query/retention_value.h - sums of a property per cohort and period, behind the counts of retention's rows.
 *
 *     row    | size | users of column 0 | ... | sum of column 0 | sum of column 1 | ...
 *
 * A member's events of the value selector count in the period that they lie in, the start event among them; what they mean
 * for other columns (n or later, on or before n) is added up at the end, for sums are exact in any order.
 *
 * Thread: a row is its task's.
 */
#pragma once

#include "query/agg.h"
#include "query/agg_expr.h"
#include "query/journey.h"
#include "query/retention_int.h"

/* The sums of a row: column_count of them. */
static inline union acc_cell *retention_values(const struct retention_spec *spec, uint64_t *row)
{
    return (union acc_cell *)(row + 1 + spec->column_count);
}

/* Add the member's values. `back` as kernel_retention_add_vector left it; `numbers` are the events' in `values`. */
enum err_code retention_value_add(const struct retention_spec *spec,
                                  const struct retention_member *member,
                                  const struct journey *journey, const uint8_t *back,
                                  const struct groups *values, const uint32_t *numbers,
                                  struct acc_pool *pool, union acc_cell *sums,
                                  struct err *err) ERR_MUST_CHECK;
/* Once per row, after all is added: what the mode says of other periods. */
enum err_code retention_value_finish(const struct retention_spec *spec, struct acc_pool *pool,
                                     union acc_cell *sums, struct err *err) ERR_MUST_CHECK;
/* The sum as it stands: a sum of nothing is 0. */
struct expr_value retention_value_sum(union acc_cell sum);
/* The mean; null where there is nothing. */
struct cell retention_value_mean(union acc_cell sum);
