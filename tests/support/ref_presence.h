/* tests/support/ref_presence.h - lifecycle and stickiness of one subject by SEMANTICS.md 2.9 and 2.10, word by word.
 *
 * A subject is a list of the period numbers of its events, in any order, one entry an event. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct ref_lifecycle {
    int new, returning, resurrecting, dormant;
};
/* Add what the subject is in period p. */
void ref_lifecycle_add(const int64_t *periods, int count, int64_t p, struct ref_lifecycle *out);

/* In how many of the periods [first, last] the subject has at least `min` and at most `max` events. */
int ref_active_periods(const int64_t *periods, int count, int64_t first, int64_t last, int min,
                       int max);
