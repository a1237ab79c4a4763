/* query/trend_print.h - what a trend asks of each row, as bytes: equal bytes, equal cells from any source.
 *
 * Not what is made of the cells (measures' arithmetic, `top`, names), nor the range and its buckets, which each partial
 * answer is named by on its own. */
#pragma once

#include "query/trend_int.h"

/* Append it; false where a row's part in the answer depends on more than the row and the plan. */
bool trend_print(const struct trend_plan *plan, struct buf *out);
