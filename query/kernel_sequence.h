/* query/kernel_sequence.h - finding a pattern in a journey.
 *
 * An element takes one event. Behind the event taken before it, its own is the very next one, or, where it is
 * free, any later one that is far enough away in time and not too far.
 *
 *     pattern   (?1)(?t<=10)(?2)(?3)          can[i] bit k: from element k at event i on, the
 *     events     1   1   2   2   3            pattern can be completed
 *     can       [0] [0]  -  [1] [2]
 *
 * One pass from the back per element fills `can`; a match is then read off it from the front: its start is the
 * first event with bit 0 from a place on, and each element takes the first event that can go on. That is the
 * leftmost match, and of those from its start the one that ends first: where a free element may take event j after
 * one of two events, it may take none earlier than j after the later of them. So no search ever turns back.
 *
 * Cost: events * elements, for all matches together.
 *
 * Thread: pure functions over the caller's arrays.
 */
#pragma once

#include "query/bound.h"

#define SEQUENCE_NONE SIZE_MAX

struct sequence_journey {
    const int64_t *times; /* ascending */
    const uint64_t *masks;
    size_t count;
    uint64_t *can;  /* count, to be filled */
    uint32_t *next; /* count + 1: scratch */
};

/* Fill `can`. At least one element, at most 64; count < UINT32_MAX. */
void kernel_sequence(const struct sequence_element *elements, uint32_t element_count,
                     const struct sequence_journey *journey);

/* The first start of a match at or behind `from`, or SEQUENCE_NONE. */
size_t kernel_sequence_start(const struct sequence_journey *journey, size_t from);

/* The events of the match that starts at `start`, one per element; returns the last of them. */
size_t kernel_sequence_events(const struct sequence_element *elements, uint32_t element_count,
                              const struct sequence_journey *journey, size_t start,
                              size_t *out_events);
