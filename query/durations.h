/* query/durations.h - mean and percentiles of durations, exact.
 *
 * Percentiles interpolate linearly between closest ranks. Results are int64 cells where they are
 * whole, else doubles; null where there are no durations.
 */
#pragma once

#include "query/result.h"

struct cell durations_mean(const uint64_t *ms, size_t count);
/* The quantile numerator / denominator, 0 .. 1 (1 / 2 = median); `ms` is reordered. Cost: a few
 * passes. */
struct cell durations_quantile(uint64_t *ms, size_t count, uint32_t numerator,
                               uint32_t denominator);
