/* tests/support/ref_absence.c */
#include "tests/support/ref_absence.h"

enum ref_follow ref_follow(const struct ref_follow_event *events, int count, int at,
                           int64_t within_ms, int64_t now_ms)
{
    int64_t due_ms = events[at].time_ms + within_ms;
    for (int i = 0; i < count; i++) {
        if (i != at && events[i].is_second && events[i].time_ms >= events[at].time_ms &&
            events[i].time_ms <= due_ms) {
            return REF_FOLLOWED;
        }
    }
    return now_ms > due_ms ? REF_ABSENT : REF_PENDING;
}

/* Of one instant: all starts, then all ends. */
static int64_t order_of(const struct ref_follow_event *event, bool is_end)
{
    return event->time_ms * 2 + (is_end ? 1 : 0);
}

int ref_intervals(const struct ref_follow_event *events, int count, int64_t longest_ms,
                  int64_t now_ms, struct ref_interval *out, int *out_starts)
{
    bool is_closed[REF_INTERVALS_MAX] = {false}; /* of each event that is a start */
    int found = 0;

    for (int e = 0; e < count; e++) {
        if (!events[e].is_second) {
            continue;
        }
        for (int s = 0; s < count; s++) {
            bool is_open = events[s].is_first && !is_closed[s] &&
                           order_of(&events[s], false) < order_of(&events[e], true);
            if (is_open && events[e].time_ms - events[s].time_ms <= longest_ms) {
                out_starts[found] = s;
                out[found++] = (struct ref_interval){events[s].time_ms, events[e].time_ms};
                is_closed[s] = true;
                break;
            }
        }
    }
    for (int s = 0; s < count; s++) {
        if (events[s].is_first && !is_closed[s] && events[s].time_ms < now_ms &&
            now_ms - events[s].time_ms <= longest_ms) {
            out_starts[found] = s;
            out[found++] = (struct ref_interval){events[s].time_ms, now_ms};
        }
    }
    return found;
}

bool ref_is_online(const struct ref_interval *intervals, int count, int64_t tick_ms)
{
    for (int i = 0; i < count; i++) {
        if (intervals[i].begin_ms <= tick_ms && tick_ms < intervals[i].end_ms) {
            return true;
        }
    }
    return false;
}
