/* tests/support/ref_identity.h - whose an event is, by the definition and slowly: for each event all others are looked at.
 *
 * Thread: any.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define REF_IDENTITY_USERS   6
#define REF_IDENTITY_DEVICES 6

struct ref_identity_event {
    int64_t time_ms;
    int user;   /* -1: without; users are in the order of their ids' bytes */
    int device; /* -1: without */
};
struct ref_identity_owner {
    bool is_user; /* else the device itself */
    int id;
};
/* merged_into[u]: -1, or the user whose events those of u are. No circles. */
struct ref_identity_owner ref_identity_owner(const struct ref_identity_event *events, int count,
                                             const int merged_into[REF_IDENTITY_USERS],
                                             const struct ref_identity_event *event);
