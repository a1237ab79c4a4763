/* tests/support/ref_presence.c */
#include "tests/support/ref_presence.h"

static int events_in(const int64_t *periods, int count, int64_t p)
{
    int events = 0;
    for (int i = 0; i < count; i++) {
        events += periods[i] == p;
    }
    return events;
}

static bool was_active_before(const int64_t *periods, int count, int64_t p)
{
    for (int i = 0; i < count; i++) {
        if (periods[i] < p) {
            return true;
        }
    }
    return false;
}

void ref_lifecycle_add(const int64_t *periods, int count, int64_t p, struct ref_lifecycle *out)
{
    bool is_active = events_in(periods, count, p) > 0;
    bool was_active = events_in(periods, count, p - 1) > 0;
    bool is_known = was_active_before(periods, count, p);

    out->new += is_active && !is_known;
    out->returning += is_active && was_active;
    out->resurrecting += is_active && !was_active && is_known;
    out->dormant += was_active && !is_active;
}

int ref_active_periods(const int64_t *periods, int count, int64_t first, int64_t last, int min,
                       int max)
{
    int active = 0;
    for (int64_t p = first; p <= last; p++) {
        int events = events_in(periods, count, p);
        active += events >= min && events <= max && events > 0;
    }
    return active;
}
