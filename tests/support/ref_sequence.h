/* tests/support/ref_sequence.h - sequences by trying every choice of events.
 *
 * A match takes an event for each element, in order; between two of them other events may lie only where the
 * second is free, and then the time between them is bounded. Of all matches the leftmost start wins, of those the
 * earliest end, of those the earliest events. The next match begins behind the end of the last.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define REF_SEQUENCE_ELEMENTS_MAX 5

struct ref_sequence_element {
    uint64_t take;
    bool is_free;
    uint64_t min_ms, max_ms; /* both included */
};
struct ref_sequence {
    struct ref_sequence_element elements[REF_SEQUENCE_ELEMENTS_MAX];
    int count; /* at least 1 */
};

/* Whether there is a match that starts at event `start`; if so, the best one's events. */
bool ref_sequence_at(const struct ref_sequence *sequence, const int64_t *times,
                     const uint64_t *masks, int count, int start, int *out_events);
/* How many matches; the events of the first into out_events, where there is one, and into out_starts, which has room for
 * `count`, the first event of each. */
int ref_sequence_matches(const struct ref_sequence *sequence, const int64_t *times,
                         const uint64_t *masks, int count, int *out_events, int *out_starts);
