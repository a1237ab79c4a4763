/* tests/support/ref_traits.h - what a profile says, by the definition and slowly: for each question all calls are looked at.
 *
 * Thread: any.
 */
#pragma once

#include <stdint.h>

#define REF_TRAITS_KEYS 5

struct ref_traits_call {
    int owner; /* whose it is */
    int64_t time_ms;
    const char *id;              /* of the event */
    int values[REF_TRAITS_KEYS]; /* by key; -1: it says nothing of it */
};

/* The value of `key` by the last call of `owner` at or before `until_ms` that says something of it; -1: there is none. */
int ref_traits_value(const struct ref_traits_call *calls, int count, int owner, int key,
                     int64_t until_ms);
