/* query/durations.h - mean and percentiles of durations, exact.
 *
 * Percentiles interpolate linearly between closest ranks. Results are int64 cells where they are
 * whole, else doubles; null where there are no durations.
 */
#pragma once

#include "query/result.h"

/* The quantile numerator / denominator, 0 .. 1 (1 / 2 = median). */
struct durations_quantile {
    uint32_t numerator, denominator;
};

struct cell durations_mean(const uint64_t *ms, size_t count);
/* `quantile_count` of them into out[]; `ms` is reordered. Cost: one pass over the durations and one for each quantile. */
void durations_quantiles(uint64_t *ms, size_t count, const struct durations_quantile *quantiles,
                         uint32_t quantile_count, struct cell *out);
