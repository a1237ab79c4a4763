/* query/funnel_attempt.h - the shown attempt of a subject, step by step.
 *
 * kernel_funnel says where the attempt starts and ends. Of all attempts with that start that reach
 * the level, the shown one has the earliest second step, of those the earliest third, and so on.
 *
 * Thread: pure functions; no allocation, no errors.
 */
#pragma once

#include "query/kernel_funnel.h"

/* A journey as the kernel saw it. */
struct funnel_journey {
    const int64_t *times;
    const uint64_t *masks;
    size_t count;
};

/* Events [begin, end) of a journey, all of one instant. */
struct funnel_instant {
    size_t begin, end;
};
/* The first event of the attempt's first instant, and that instant. */
size_t funnel_attempt_start(const struct funnel_journey *journey, int64_t start_ms);
struct funnel_instant funnel_instant_from(const struct funnel_journey *journey, size_t begin);

/* out_times[i] = when step i + 1 was filled; reach->level entries, level >= 1; `start` as above. `scratch` has
 * journey->count entries; it may be NULL when the spec has no limits. Returns how many
 * of the steps were filled in the first instant. Cost: two passes over the attempt. */
uint32_t funnel_attempt(const struct funnel_spec *spec, const struct funnel_journey *journey,
                        const struct funnel_reach *reach, size_t start, uint64_t *scratch,
                        int64_t *out_times);

/* Whether event `idx` of the first instant can be the entry of the attempt that fills
 * `first_steps` steps in that instant. */
bool funnel_attempt_is_entry(const struct funnel_journey *journey, struct funnel_instant start,
                             uint32_t first_steps, size_t idx);
