/* tests/support/ref_attribution.h - one conversion's credit, model by model, as SEMANTICS.md 6 says it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum ref_model {
    REF_FIRST_TOUCH,
    REF_LAST_TOUCH,
    REF_LAST_NON_DIRECT,
    REF_LINEAR,
    REF_TIME_DECAY,
    REF_POSITION,
    REF_MODELS
};
struct ref_touch {
    int channel;
    bool is_direct;
    int64_t time_ms;
    int session; /* touches of one channel in one session count once, unless repeats are kept */
};
/* Millionths for each of `count` >= 1 touches, in order; they sum to a million. */
void ref_attribution(enum ref_model model, bool keeps_repeats, int64_t half_life_ms,
                     int64_t conversion_ms, const struct ref_touch *touches, int count,
                     int64_t *out);
