/* tests/support/ref_funnel.h - the funnel of SEMANTICS.md section 1, by trying everything.
 *
 * An attempt is a choice of distinct events, one for each of the first j steps. All of them are
 * built and held against the definition; the cost is exponential and the code is plain.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REF_FUNNEL_STEPS_MAX  8
#define REF_FUNNEL_EVENTS_MAX 16

struct ref_funnel_event {
    int64_t time_ms;
    bool fits[REF_FUNNEL_STEPS_MAX]; /* which steps it may fill; fits[0]: it may be an entry */
};

struct ref_funnel_query {
    int step_count;
    bool has_window;
    uint64_t window_ms;
    bool has_limit[REF_FUNNEL_STEPS_MAX]; /* of a step, since the one before */
    uint64_t limit_ms[REF_FUNNEL_STEPS_MAX];
    bool is_strict_ties;
};

struct ref_funnel_answer {
    int level;
    int64_t times[REF_FUNNEL_STEPS_MAX];   /* of the shown attempt: level of them */
    bool can_enter[REF_FUNNEL_EVENTS_MAX]; /* events that may be the entry of an attempt with these
                                              times */
};

/* Events in any order. */
struct ref_funnel_answer ref_funnel(const struct ref_funnel_query *query,
                                    const struct ref_funnel_event *events, int event_count);
