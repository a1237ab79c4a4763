/* tests/support/ref_retention.c */
#include "tests/support/ref_retention.h"

/* Return events of one period, the start event left out. */
static int returns_in(const struct ref_retention_event *events, int count, int start_event,
                      int64_t period)
{
    int returns = 0;
    for (int e = 0; e < count; e++) {
        if (e != start_event && events[e].is_return && events[e].period == period) {
            returns++;
        }
    }
    return returns;
}

static bool is_back(const struct ref_retention_query *q, const struct ref_retention_event *events,
                    int count, int start_event, int n)
{
    int64_t period = events[start_event].period + n;

    if (returns_in(events, count, start_event, period) >= q->at_least) {
        return true;
    }
    for (int e = 0; q->is_unbounded && e < count; e++) { /* or in the period of any later event */
        if (events[e].period > period &&
            returns_in(events, count, start_event, events[e].period) >= q->at_least) {
            return true;
        }
    }
    return false;
}

/* A membership with this start event; ties of start events go the way that leaves most returns. */
static void add_start(const struct ref_retention_query *q, const struct ref_retention_event *events,
                      int count, int start_event, struct ref_retention_answer *answer)
{
    struct ref_retention_member *m = &answer->members[0];
    int64_t cohort = events[start_event].period;
    while (m < answer->members + answer->member_count && m->cohort != cohort) {
        m++;
    }
    if (m == answer->members + answer->member_count) {
        answer->member_count++;
        *m = (struct ref_retention_member){.cohort = cohort};
    } else {
        int other = 0;
        while (!m->can_start[other]) {
            other++;
        }
        int mine = returns_in(events, count, start_event, cohort);
        int theirs = returns_in(events, count, other, cohort);
        if (mine < theirs) {
            return;
        }
        if (mine > theirs) {
            *m = (struct ref_retention_member){.cohort = cohort};
        }
    }
    m->can_start[start_event] = true;
    for (int n = 0; n < q->period_count; n++) {
        m->is_back[n] = is_back(q, events, count, start_event, n);
    }
}

/* Does event e come before all others of its kind, by time? */
static bool is_first(const struct ref_retention_query *q, const struct ref_retention_event *events,
                     int count, int e)
{
    for (int o = 0; o < count; o++) {
        bool counts = false;
        switch (q->start) {
        case REF_FIRST_EVER: counts = events[o].is_start; break;
        case REF_FIRST_EVER_UNFILTERED: counts = events[o].is_name; break;
        case REF_FIRST:
            counts = events[o].is_start && events[o].time_ms >= q->from_ms &&
                     events[o].time_ms < q->to_ms;
            break;
        case REF_RECURRING: /* the first in range of each period */
            counts = events[o].is_start && events[o].time_ms >= q->from_ms &&
                     events[o].time_ms < q->to_ms && events[o].period == events[e].period;
            break;
        }
        if (counts && events[o].time_ms < events[e].time_ms) {
            return false;
        }
    }
    return true;
}

struct ref_retention_answer ref_retention(const struct ref_retention_query *query,
                                          const struct ref_retention_event *events, int count)
{
    struct ref_retention_answer answer = {0};

    for (int e = 0; e < count; e++) {
        if (events[e].is_start && events[e].time_ms >= query->from_ms &&
            events[e].time_ms < query->to_ms && is_first(query, events, count, e)) {
            add_start(query, events, count, e, &answer);
        }
    }
    return answer;
}
