/* query/kernel_funnel.c
 *
 * One pass over the journey, O(steps) state. For each level j the state keeps one attempt that has
 * filled steps 1..j: the one whose last step is latest, and of those the one that started latest.
 * That one dominates all others under the window and the per-step limits together. For let C end
 * later at level j than C', and C' have started later: follow both through time, and at the instant
 * where C' overtakes C (in steps filled) change from C' to C. The steps of C' before and in that
 * instant, and of C after it, are distinct, in order, and inside all limits; they end where C ends
 * and start where C' starts.
 *
 * It follows that start[1] >= start[2] >= ..., so within one instant the best way to level j is the
 * one from the LOWEST level that leads there, level 0 (an entry at this very instant) included.
 * Levels are taken from the top down, so that an update never sees one made in the same instant,
 * and an event never fills two steps of an attempt.
 *
 * An instant with several events is a bipartite matching of consecutive steps with events. Where
 * every event can fill one step only, it is a run of set bits. Else augmenting paths (H. W. Kuhn,
 * 1955) over a window of steps [i, hi) that slides down: going from i + 1 to i adds one step and,
 * while that has no augmenting path, drops the top one; so all intervals together cost 2k
 * augmentations. A step never needs more than k candidates (the other k - 1 steps take at most k -
 * 1 of them), so k * k events are enough, and the scratch has a fixed size.
 */
#include "query/kernel_funnel.h"

#include "query/funnel_match.h"

_Static_assert(QUERY_STEPS_MAX == 64, "steps are bits of a uint64_t, levels fit a uint8_t");

static uint64_t steps_mask(uint32_t step_count)
{
    return step_count == 64 ? ~UINT64_C(0) : (UINT64_C(1) << step_count) - 1;
}

/* out_far where some event can fill several steps. */
static void group_far_matched(const uint64_t *masks, size_t count, uint32_t step_count,
                              uint64_t all, uint8_t *out_far)
{
    struct funnel_matching m;
    uint32_t hi = step_count; /* steps [i, hi) are matched */

    funnel_matching_init(&m, masks, count, SIZE_MAX, steps_mask(step_count));
    for (uint32_t i = step_count; i-- > 0;) {
        if ((all >> i & 1) == 0) {
            while (hi > i) {
                hi--;
                funnel_matching_drop(&m, hi);
            }
        } else {
            while (!funnel_matching_add(&m, i)) {
                hi--;
                funnel_matching_drop(&m, hi);
            }
        }
        out_far[i] = (uint8_t)hi;
    }
}

void funnel_group_far(const uint64_t *masks, size_t count, uint32_t step_count, bool is_strict_ties,
                      uint8_t *out_far)
{
    uint64_t all = 0;
    uint64_t several = 0; /* not 0: some event can fill more than one step */
    uint64_t steps = steps_mask(step_count);

    for (size_t i = 0; i < count; i++) {
        uint64_t mask = masks[i] & steps;
        all |= mask;
        several |= mask & (mask - 1);
    }
    if (is_strict_ties || count == 1) {
        for (uint32_t i = 0; i < step_count; i++) {
            out_far[i] = (uint8_t)(i + (all >> i & 1));
        }
    } else if (several == 0) {
        uint32_t hi = step_count;
        for (uint32_t i = step_count; i-- > 0;) {
            hi = (all >> i & 1) != 0 ? hi : i;
            out_far[i] = (uint8_t)hi;
        }
    } else {
        group_far_matched(masks, count, step_count, all, out_far);
    }
}

bool funnel_group_fills(const uint64_t *masks, size_t count, size_t skip, uint32_t begin,
                        uint32_t end)
{
    struct funnel_matching m;

    ASSERT(begin <= end && end <= QUERY_STEPS_MAX);
    if (begin == end) {
        return true;
    }
    funnel_matching_init(&m, masks, count, skip, steps_mask(end) & ~steps_mask(begin));
    for (uint32_t step = begin; step < end; step++) {
        if (!funnel_matching_add(&m, step)) {
            return false;
        }
    }
    return true;
}

/* The attempts in progress: start[j] and last[j] are valid for levels 1 .. top; level 0 is an
 * attempt that has not begun, and is given the time of the current instant. */
struct progress {
    uint32_t top;
    int64_t start[QUERY_STEPS_MAX + 1];
    int64_t last[QUERY_STEPS_MAX + 1];
};

static inline uint64_t ms_between(int64_t earlier, int64_t later)
{
    return (uint64_t)later - (uint64_t)earlier; /* exact for every ordered pair of int64_t */
}

static inline bool can_step(const struct funnel_spec *spec, const struct progress *p,
                            uint32_t level, int64_t t)
{
    return ms_between(p->start[level], t) <= spec->window_ms &&
           (!spec->has_limits || ms_between(p->last[level], t) <= spec->limits_ms[level]);
}

/* One event, or in strict mode all events of an instant at once: every attempt gains at most a
 * step. */
static inline void advance_one(const struct funnel_spec *spec, struct progress *p, int64_t t,
                               uint64_t mask)
{
    uint32_t top = p->top;
    for (uint64_t bits = mask & (~UINT64_C(0) >> (63 - top)); bits != 0;) {
        uint32_t level = 63 - (uint32_t)__builtin_clzll(bits);
        bits ^= UINT64_C(1) << level;
        if (level == 0) {
            p->start[1] = t;
            p->last[1] = t;
        } else if (can_step(spec, p, level, t)) {
            p->start[level + 1] = p->start[level];
            p->last[level + 1] = t;
        } else {
            continue;
        }
        p->top = p->top > level ? p->top : level + 1;
    }
}

static void advance_group(const struct funnel_spec *spec, struct progress *p, int64_t t,
                          const uint64_t *masks, size_t count)
{
    uint8_t far[QUERY_STEPS_MAX];
    uint32_t top = p->top;

    funnel_group_far(masks, count, spec->step_count, false, far);
    p->start[0] = t;
    for (uint32_t level = top + 1; level-- > 0;) {
        if (far[level] == level || (level > 0 && !can_step(spec, p, level, t))) {
            continue;
        }
        /* Overwrites what higher levels led to: from here the start is later, or the same. */
        for (uint32_t j = level + 1; j <= far[level]; j++) {
            p->start[j] = p->start[level];
            p->last[j] = t;
        }
        p->top = p->top > far[level] ? p->top : far[level];
    }
}

/* Levels that were not reached yet are given a start from which no window leads to an event of the journey: after its end.
 * False where there is no such time. */
static bool progress_init(const struct funnel_spec *spec, struct progress *p, int64_t first_ms,
                          int64_t last_ms)
{
    p->top = 0;
    if (last_ms == INT64_MAX || ms_between(first_ms, last_ms) >= INT64_MAX ||
        spec->window_ms > INT64_MAX) {
        return false;
    }
    for (uint32_t level = 1; level <= spec->step_count; level++) {
        p->start[level] = last_ms + 1;
    }
    for (uint32_t level = 1; spec->has_limits && level <= spec->step_count; level++) {
        p->last[level] = last_ms + 1;
    }
    return true;
}

/* One event that can fill step level + 1 alone; returns the level that it leads to, or 0. Whether it does is as good as
 * chance, so there is no branch. */
static inline uint32_t advance_single(const struct funnel_spec *spec, struct progress *p, int64_t t,
                                      uint32_t level, bool has_limits)
{
    p->start[0] = t;
    p->last[0] = t;
    int64_t start = p->start[level];
    bool is_in = ms_between(start, t) <= spec->window_ms;
    if (has_limits) {
        is_in &= ms_between(p->last[level], t) <= spec->limits_ms[level];
    }
    int64_t yes = -(int64_t)is_in;
    p->start[level + 1] = (start & yes) | (p->start[level + 1] & ~yes);
    if (has_limits) {
        p->last[level + 1] = (t & yes) | (p->last[level + 1] & ~yes);
    }
    return (level + 1) & (uint32_t)yes;
}

/* The events at `*at` that each have an instant of their own and fill one step; leaves `*at` at the first other one. */
static inline void advance_singles(const struct funnel_spec *spec, struct progress *p,
                                   const int64_t *times, const uint64_t *masks, size_t count,
                                   size_t *at, struct funnel_reach *reach, bool has_limits)
{
    uint64_t steps = steps_mask(spec->step_count);
    size_t i = *at;
    for (; i < count && (i + 1 == count || times[i + 1] != times[i]); i++) {
        uint64_t mask = masks[i] & steps;
        if (mask == 0 || (mask & (mask - 1)) != 0) {
            break;
        }
        uint32_t level =
            advance_single(spec, p, times[i], (uint32_t)__builtin_ctzll(mask), has_limits);
        if (level > p->top) {
            p->top = level;
            *reach = (struct funnel_reach){level, p->start[level], times[i]};
            if (level == spec->step_count) {
                break;
            }
        }
    }
    *at = i;
}

struct funnel_reach kernel_funnel(const struct funnel_spec *spec, const int64_t *restrict times,
                                  const uint64_t *restrict masks, size_t count)
{
    struct funnel_reach reach = {0};
    struct progress p;
    uint64_t steps = steps_mask(spec->step_count);
    size_t i = 0;

    ASSERT_DEBUG(spec->step_count >= 1 && spec->step_count <= QUERY_STEPS_MAX);
    while (i < count && (masks[i] & 1) == 0) { /* nothing before the first instant with an entry */
        i++;
    }
    while (i > 0 && i < count && times[i - 1] == times[i]) {
        i--;
    }
    if (i == count) {
        return reach;
    }
    bool has_singles = progress_init(spec, &p, times[0], times[count - 1]);
    while (i < count) {
        if (has_singles) {
            if (spec->has_limits) {
                advance_singles(spec, &p, times, masks, count, &i, &reach, true);
            } else {
                advance_singles(spec, &p, times, masks, count, &i, &reach, false);
            }
            if (i == count || p.top == spec->step_count) {
                break;
            }
        }
        /* Of entries that follow each other only the last can lead further than the first did; but where times must
         * increase, an event of its instant needs the one before. */
        while (p.top > 0 && !spec->is_strict_ties && i + 1 < count && (masks[i] & steps) == 1 &&
               (masks[i + 1] & steps) == 1) {
            i++;
        }
        int64_t t = times[i];
        size_t n = 1;
        if (__builtin_expect(i + 1 == count || times[i + 1] != t, 1)) {
            advance_one(spec, &p, t, masks[i] & steps);
        } else {
            uint64_t all = masks[i];
            for (; i + n < count && times[i + n] == t; n++) {
                all |= masks[i + n];
            }
            if (spec->is_strict_ties) {
                advance_one(spec, &p, t, all & steps);
            } else if ((all & steps & (~UINT64_C(0) >> (63 - p.top))) != 0) {
                advance_group(spec, &p, t, masks + i, n);
            }
        }
        i += n;
        if (p.top > reach.level) {
            reach = (struct funnel_reach){p.top, p.start[p.top], t};
            if (p.top == spec->step_count) {
                break;
            }
        }
    }
    return reach;
}
