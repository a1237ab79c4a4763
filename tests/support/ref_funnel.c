/* tests/support/ref_funnel.c */
#include "tests/support/ref_funnel.h"

#include <string.h>

struct search {
    const struct ref_funnel_query *query;
    const struct ref_funnel_event *events;
    int event_count;
    bool is_used[REF_FUNNEL_EVENTS_MAX];
    int chosen[REF_FUNNEL_STEPS_MAX];
    struct ref_funnel_answer best;
};

/* 128 bits, so that no difference of two timestamps overflows. */
static __int128 gap_ms(int64_t from, int64_t to)
{
    return (__int128)to - (__int128)from;
}

static bool may_follow(const struct search *s, int filled, int event)
{
    const struct ref_funnel_query *q = s->query;
    const struct ref_funnel_event *first = &s->events[s->chosen[0]];
    const struct ref_funnel_event *last = &s->events[s->chosen[filled - 1]];
    const struct ref_funnel_event *next = &s->events[event];

    if (gap_ms(last->time_ms, next->time_ms) < (q->is_strict_ties ? 1 : 0)) {
        return false;
    }
    if (q->has_window && gap_ms(first->time_ms, next->time_ms) > (__int128)q->window_ms) {
        return false;
    }
    return !q->has_limit[filled] ||
           gap_ms(last->time_ms, next->time_ms) <= (__int128)q->limit_ms[filled];
}

/* Is the attempt at hand to be shown rather than the best so far? +1 yes, 0 the same times, -1 no.
 */
static int is_better(const struct search *s, int filled)
{
    const struct ref_funnel_answer *best = &s->best;
    int64_t times[REF_FUNNEL_STEPS_MAX];

    for (int i = 0; i < filled; i++) {
        times[i] = s->events[s->chosen[i]].time_ms;
    }
    if (filled != best->level) {
        return filled > best->level ? 1 : -1;
    }
    if (times[filled - 1] != best->times[filled - 1]) {
        return times[filled - 1] < best->times[filled - 1] ? 1 : -1; /* first to get there */
    }
    if (times[0] != best->times[0]) {
        return times[0] > best->times[0] ? 1 : -1; /* latest start */
    }
    for (int i = 1; i < filled; i++) { /* the earliest event for each later step */
        if (times[i] != best->times[i]) {
            return times[i] < best->times[i] ? 1 : -1;
        }
    }
    return 0;
}

static void consider(struct search *s, int filled)
{
    int better = is_better(s, filled);

    if (better < 0) {
        return;
    }
    if (better > 0) {
        memset(&s->best, 0, sizeof(s->best));
        s->best.level = filled;
        for (int i = 0; i < filled; i++) {
            s->best.times[i] = s->events[s->chosen[i]].time_ms;
        }
    }
    s->best.can_enter[s->chosen[0]] = true;
}

static void extend(struct search *s, int filled)
{
    if (filled > 0) {
        consider(s, filled);
    }
    if (filled == s->query->step_count) {
        return;
    }
    for (int e = 0; e < s->event_count; e++) {
        if (s->is_used[e] || !s->events[e].fits[filled] ||
            (filled > 0 && !may_follow(s, filled, e))) {
            continue;
        }
        s->is_used[e] = true;
        s->chosen[filled] = e;
        extend(s, filled + 1);
        s->is_used[e] = false;
    }
}

struct ref_funnel_answer ref_funnel(const struct ref_funnel_query *query,
                                    const struct ref_funnel_event *events, int event_count)
{
    struct search s = {.query = query, .events = events, .event_count = event_count};

    extend(&s, 0);
    return s.best;
}
