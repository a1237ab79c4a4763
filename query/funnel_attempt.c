/* query/funnel_attempt.c
 *
 * Taking the earliest event for each step is wrong once a step has its own limit: a -> b -> c (10m)
 * over a 0:00, b 0:10, b 0:30, c 0:35 needs the second b. So a backward sweep marks first, for each
 * instant, the levels from which the rest can still be completed when their last step is filled in
 * this instant; then the forward sweep takes as many steps as it can in each instant without
 * leaving the marked levels. Filling more in an earlier instant is always lexicographically
 * earlier.
 *
 * Backward, for each level c it is enough to know the nearest later instant in which the next step
 * can be taken with success: if that is too late for the limit, so are all the others.
 */
#include "query/funnel_attempt.h"

/* Levels as bits: level d is bit d - 1. */
static uint64_t levels_between(uint32_t above, uint32_t last)
{
    uint64_t upto = last == 0 ? 0 : ~UINT64_C(0) >> (64 - last);
    uint64_t below = above == 0 ? 0 : ~UINT64_C(0) >> (64 - above);
    return upto & ~below;
}

static size_t instant_end(const struct funnel_journey *j, size_t begin, size_t end)
{
    size_t i = begin + 1;
    while (i < end && j->times[i] == j->times[begin]) {
        i++;
    }
    return i;
}

/* scratch[first event of an instant] = levels that can be completed after it. */
static void mark_completable(const struct funnel_spec *spec, const struct funnel_journey *j,
                             size_t begin, size_t end, uint32_t level, uint64_t *scratch)
{
    int64_t next_ms[QUERY_STEPS_MAX + 1];
    uint64_t has_next = 0; /* bit c - 1: next_ms[c] is known */
    uint8_t far[QUERY_STEPS_MAX];

    for (size_t stop = end; stop > begin;) {
        size_t first = stop - 1;
        while (first > begin && j->times[first - 1] == j->times[first]) {
            first--;
        }
        int64_t t = j->times[first];
        uint64_t completable = levels_between(level - 1, level);
        for (uint64_t bits = has_next; bits != 0; bits &= bits - 1) {
            uint32_t c = (uint32_t)__builtin_ctzll(bits) + 1;
            if ((uint64_t)next_ms[c] - (uint64_t)t <= spec->limits_ms[c]) {
                completable |= UINT64_C(1) << (c - 1);
            }
        }
        scratch[first] = completable;
        funnel_group_far(j->masks + first, stop - first, level, spec->is_strict_ties, far);
        for (uint32_t c = 1; c < level; c++) {
            if ((completable & levels_between(c, far[c])) != 0) {
                next_ms[c] = t;
                has_next |= UINT64_C(1) << (c - 1);
            }
        }
        stop = first;
    }
}

size_t funnel_attempt_start(const struct funnel_journey *journey, int64_t start_ms)
{
    size_t begin = 0;
    size_t len = journey->count;
    while (len > 1) { /* lower bound, which lies in [begin, begin + len); a branch would be a guess */
        size_t half = len / 2;
        begin += half & -(size_t)(journey->times[begin + half - 1] < start_ms);
        len -= half;
    }
    ASSERT(begin < journey->count && journey->times[begin] == start_ms);
    return begin;
}

struct funnel_instant funnel_instant_from(const struct funnel_journey *journey, size_t begin)
{
    return (struct funnel_instant){begin, instant_end(journey, begin, journey->count)};
}

/* The furthest level that the events [begin, end) of an instant lead to from `level`. */
static uint32_t instant_far(const struct funnel_spec *spec, const struct funnel_journey *j,
                            size_t begin, size_t end, uint32_t step_count, uint32_t level)
{
    uint8_t far[QUERY_STEPS_MAX];
    if (end - begin == 1) {
        return level + (uint32_t)(j->masks[begin] >> level & 1);
    }
    funnel_group_far(j->masks + begin, end - begin, step_count, spec->is_strict_ties, far);
    return far[level];
}

uint32_t funnel_attempt(const struct funnel_spec *spec, const struct funnel_journey *journey,
                        const struct funnel_reach *reach, size_t start,
                        uint64_t *scratch, int64_t *out_times)
{
    size_t begin = start;
    size_t end = start + 1;
    uint32_t filled = 0;
    uint32_t first_steps = 0;

    ASSERT(reach->level >= 1 && reach->level <= spec->step_count);
    while (end < journey->count && journey->times[end] <= reach->end_ms) {
        end++;
    }
    if (spec->has_limits) {
        mark_completable(spec, journey, begin, end, reach->level, scratch);
    }
    for (size_t i = begin; i < end && filled < reach->level;) {
        size_t stop = instant_end(journey, i, end);
        uint32_t far = instant_far(spec, journey, i, stop, reach->level, filled);
        uint64_t levels = levels_between(filled, far);
        if (spec->has_limits) {
            levels &= scratch[i];
        }
        if (levels != 0) {
            uint32_t reached = 64 - (uint32_t)__builtin_clzll(levels);
            while (filled < reached) {
                out_times[filled++] = journey->times[i];
            }
        }
        if (i == begin) {
            first_steps = filled;
        }
        i = stop;
    }
    ASSERT(filled == reach->level && first_steps >= 1);
    return first_steps;
}

bool funnel_attempt_is_entry(const struct funnel_journey *journey, struct funnel_instant start,
                             uint32_t first_steps, size_t idx)
{
    return (journey->masks[idx] & 1) != 0 &&
           funnel_group_fills(journey->masks + start.begin, start.end - start.begin,
                              idx - start.begin, 1, first_steps);
}
