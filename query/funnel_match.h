/* query/funnel_match.h - matching the steps of a funnel with the events of one instant.
 *
 * Events of one instant have no order, and each fills at most one step. So whether a set of steps can be
 * filled in an instant is a bipartite matching: augmenting paths (H. W. Kuhn, 1955). A step never needs more than
 * k candidates of the k steps asked about (the others take at most k - 1 of them), so k * k events are enough,
 * however many share the instant, and the scratch has a fixed size.
 *
 * masks[i]: bit s where event i can fill step s + 1. Sets of steps are bits likewise.
 *
 * Thread: pure functions; no allocation.
 */
#pragma once

#include "query/bound.h"

#define FUNNEL_MATCHING_EVENTS_MAX (QUERY_STEPS_MAX * QUERY_STEPS_MAX)
#define FUNNEL_NOBODY              0xffu

struct funnel_matching {
    uint32_t event_count;
    uint64_t events[FUNNEL_MATCHING_EVENTS_MAX];
    uint8_t step_of[FUNNEL_MATCHING_EVENTS_MAX]; /* which step an event fills, or FUNNEL_NOBODY */
};

/* Take in the events that can matter, but not event `skip` (SIZE_MAX = none); `steps` are those
 * asked about. */
void funnel_matching_init(struct funnel_matching *m, const uint64_t *masks, size_t count,
                          size_t skip, uint64_t steps);
/* Find `step` an event, moving other steps to other events where needed. */
bool funnel_matching_add(struct funnel_matching *m, uint32_t step);
void funnel_matching_drop(struct funnel_matching *m, uint32_t step);

/* Whether distinct events, `skip` left out, can fill each of `steps`. */
bool funnel_match(const uint64_t *masks, size_t count, size_t skip, uint64_t steps);
/* Whether every event that has a bit of `which` can be given a step of its own out of `steps`. */
bool funnel_match_all_events(const uint64_t *masks, size_t count, uint64_t which, uint64_t steps);
