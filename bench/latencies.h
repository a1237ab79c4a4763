/* bench/latencies.h - how long things took: every sample kept, percentiles exact (nearest rank).
 *
 * Eight bytes per request: a histogram would save memory that no run of ours needs, and round.
 *
 * Thread: one owner; merge at the end.
 */
#pragma once

#include "storage/base/err.h"

struct latencies {
    uint64_t *us;
    size_t count, cap;
    bool is_bad; /* out of memory: samples are missing */
};
void latencies_add(struct latencies *latencies, uint64_t us);
void latencies_merge(struct latencies *into, const struct latencies *from);
void latencies_sort(struct latencies *latencies); /* before the next two */
/* The smallest sample with at least `percent` % of all at or below it; 0 without samples. */
uint64_t latencies_percentile(const struct latencies *latencies, double percent);
void latencies_done(struct latencies *latencies);
