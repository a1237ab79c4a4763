/* tests/support/ref_identity.c - see ref_identity.h. */
#include "tests/support/ref_identity.h"

static int root_of(const int merged_into[REF_IDENTITY_USERS], int user)
{
    return merged_into[user] < 0 ? user : root_of(merged_into, merged_into[user]);
}

static bool is_before(const struct ref_identity_event *a, const struct ref_identity_event *b)
{
    return a->time_ms != b->time_ms ? a->time_ms < b->time_ms : a->user < b->user;
}

/* The last login on the device at or before `until_ms`, else the first of all; NULL: none. */
static const struct ref_identity_event *login_on(const struct ref_identity_event *events, int count,
                                                 int device, int64_t until_ms)
{
    const struct ref_identity_event *last = 0;
    const struct ref_identity_event *first = 0;
    for (int i = 0; i < count; i++) {
        const struct ref_identity_event *login = &events[i];
        if (login->device != device || login->user < 0) {
            continue;
        }
        first = first == 0 || is_before(login, first) ? login : first;
        if (login->time_ms <= until_ms) {
            last = last == 0 || is_before(last, login) ? login : last;
        }
    }
    return last != 0 ? last : first;
}

struct ref_identity_owner ref_identity_owner(const struct ref_identity_event *events, int count,
                                             const int merged_into[REF_IDENTITY_USERS],
                                             const struct ref_identity_event *event)
{
    int user = event->user;
    if (user < 0) {
        const struct ref_identity_event *login =
            login_on(events, count, event->device, event->time_ms);
        if (login == 0) {
            return (struct ref_identity_owner){false, event->device};
        }
        user = login->user;
    }
    return (struct ref_identity_owner){true, root_of(merged_into, user)};
}
