/* tests/support/ref_sequence.c */
#include "tests/support/ref_sequence.h"

#include <string.h>

struct search {
    const struct ref_sequence *sequence;
    const int64_t *times;
    const uint64_t *masks;
    int count;
    int chosen[REF_SEQUENCE_ELEMENTS_MAX];
    int best[REF_SEQUENCE_ELEMENTS_MAX];
    bool has_best;
};

/* Earlier end first; of one end, earlier events from the front on. */
static bool is_better(const struct search *s)
{
    int last = s->sequence->count - 1;
    if (!s->has_best || s->chosen[last] != s->best[last]) {
        return !s->has_best || s->chosen[last] < s->best[last];
    }
    for (int k = 0; k < last; k++) {
        if (s->chosen[k] != s->best[k]) {
            return s->chosen[k] < s->best[k];
        }
    }
    return false;
}

static void try_element(struct search *s, int k, int event)
{
    if ((s->masks[event] & s->sequence->elements[k].take) == 0) {
        return;
    }
    s->chosen[k] = event;
    if (k + 1 == s->sequence->count) {
        if (is_better(s)) {
            memcpy(s->best, s->chosen, sizeof(s->best));
            s->has_best = true;
        }
        return;
    }
    const struct ref_sequence_element *next = &s->sequence->elements[k + 1];
    for (int i = event + 1; i < s->count; i++) {
        uint64_t ms = (uint64_t)(s->times[i] - s->times[event]);
        if (next->is_free ? ms >= next->min_ms && ms <= next->max_ms : i == event + 1) {
            try_element(s, k + 1, i);
        }
    }
}

bool ref_sequence_at(const struct ref_sequence *sequence, const int64_t *times,
                     const uint64_t *masks, int count, int start, int *out_events)
{
    struct search s = {.sequence = sequence, .times = times, .masks = masks, .count = count};
    try_element(&s, 0, start);
    if (s.has_best) {
        memcpy(out_events, s.best, sizeof(int) * (size_t)sequence->count);
    }
    return s.has_best;
}

int ref_sequence_matches(const struct ref_sequence *sequence, const int64_t *times,
                         const uint64_t *masks, int count, int *out_events, int *out_starts)
{
    int matches = 0;
    for (int start = 0; start < count;) {
        int events[REF_SEQUENCE_ELEMENTS_MAX];
        if (!ref_sequence_at(sequence, times, masks, count, start, events)) {
            start++;
            continue;
        }
        if (matches == 0) {
            memcpy(out_events, events, sizeof(events));
        }
        out_starts[matches++] = start;
        start = events[sequence->count - 1] + 1;
    }
    return matches;
}
