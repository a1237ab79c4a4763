/* query/kernel_funnel.h - how far one subject gets through a funnel.
 *
 * A journey is a subject's matching events in time order: times[] and masks[], bit i of a mask set
 * where the event can fill step i + 1. Bit 0 is set only where the event may be an entry, so the
 * query's range is in the masks already. Events of one instant have no order: they are taken in
 * the order that gets furthest, each at most once.
 *
 * Thread: pure functions; no allocation, no errors.
 */
#pragma once

#include "query/bound.h"

#define FUNNEL_NO_LIMIT UINT64_MAX

struct funnel_spec {
    uint32_t step_count; /* 1 .. QUERY_STEPS_MAX */
    uint64_t window_ms;  /* last step - first step <= window_ms */
    uint64_t
        limits_ms[QUERY_STEPS_MAX]; /* [i]: of step i + 1 since step i, inclusive; [0] unused */
    bool has_limits;                /* some limit is not FUNNEL_NO_LIMIT */
    bool is_strict_ties;            /* times must increase from step to step */
};

/* How far the subject got, and the shown attempt: the first to get there, and of those that
 * get there at the same instant the one that started last. Level 0: no entry, times 0. */
struct funnel_reach {
    uint32_t level;
    int64_t start_ms;
    int64_t end_ms;
};

/* Cost: one pass, which stops at the event that completes the funnel. An instant of n events that
 * can fill several steps each costs n and a matching of at most QUERY_STEPS_MAX^2 of them. */
struct funnel_reach kernel_funnel(const struct funnel_spec *spec, const int64_t *restrict times,
                                  const uint64_t *restrict masks, size_t count);

/* Of events that share one instant: out_far[i] is the furthest level that distinct events of the
 * group lead to from level i (i where they fill not even step i + 1). out_far: step_count long. */
void funnel_group_far(const uint64_t *masks, size_t count, uint32_t step_count, bool is_strict_ties,
                      uint8_t *out_far);
/* Whether distinct events of the group, event `skip` left out, can fill steps begin + 1 .. end. */
bool funnel_group_fills(const uint64_t *masks, size_t count, size_t skip, uint32_t begin,
                        uint32_t end);
