/* tests/support/ref_cohorts.c */
#include "tests/support/ref_cohorts.h"

struct member {
    const struct ref_cohort_query *query;
    const struct ref_cohort_event *events;
    int count;
    int start; /* the start event */
};

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0 ? 1 : 0);
}

/* The member's period that an event lies in; negative: before the first. */
static int64_t period_of(const struct member *m, int64_t time_ms)
{
    int64_t start_ms = m->events[m->start].time_ms;
    int64_t length_ms = m->query->length_ms;
    return m->query->is_rolling ? floor_div(time_ms - start_ms, length_ms)
                                : time_ms / length_ms - start_ms / length_ms;
}

static bool is_active(const struct member *m, int64_t period)
{
    int returns = 0;
    for (int e = 0; e < m->count; e++) {
        bool counts = e != m->start || m->query->counts_start;
        returns += counts && m->events[e].is_return && period_of(m, m->events[e].time_ms) == period;
    }
    return returns >= m->query->at_least;
}

static bool is_streak(const struct member *m, int64_t period)
{
    for (int64_t n = 1; n <= period; n++) {
        if (!is_active(m, n)) {
            return false;
        }
    }
    return true;
}

/* Whether what happened in `period` belongs to the column. */
static bool is_in_column(const struct member *m, int64_t period, int column)
{
    if (period < 0) {
        return false;
    }
    switch (m->query->mode) {
    case REF_MODE_EXACT: return period == column;
    case REF_MODE_UNBOUNDED: return period >= column;
    case REF_MODE_UNTIL: return period <= column;
    case REF_MODE_STREAK: return period == column && is_streak(m, period);
    case REF_MODE_BRACKET:
        return period >= m->query->brackets[column][0] && period <= m->query->brackets[column][1];
    }
    return false;
}

static bool is_back(const struct member *m, int column)
{
    if (m->query->mode == REF_MODE_STREAK && column > 0) {
        return is_streak(m, column);
    }
    for (int e = 0; e < m->count; e++) {
        int64_t period = period_of(m, m->events[e].time_ms);
        if (is_in_column(m, period, column) && is_active(m, period)) {
            return true;
        }
    }
    return false;
}

static void fill_member(const struct member *m, struct ref_cohort_member *out)
{
    *out = (struct ref_cohort_member){.cohort = m->events[m->start].time_ms / m->query->length_ms};
    for (int column = 0; column < m->query->columns; column++) {
        out->is_back[column] = is_back(m, column);
        for (int e = 0; e < m->count; e++) {
            int64_t period = period_of(m, m->events[e].time_ms);
            if (m->events[e].has_value && is_in_column(m, period, column) &&
                (!m->query->counts_start || is_active(m, period))) {
                out->cents[column] += m->events[e].cents;
                out->values[column]++;
            }
        }
    }
}

/* Of the starts of one instant, one that is no return, if there is such. */
static int best_start(const struct ref_cohort_event *events, int count, int first)
{
    for (int e = first; e < count && events[e].time_ms == events[first].time_ms; e++) {
        if (events[e].is_start && !events[e].is_return) {
            return e;
        }
    }
    return first;
}

int ref_cohorts(const struct ref_cohort_query *query, const struct ref_cohort_event *events,
                int count, struct ref_cohort_member *out)
{
    int members = 0;

    for (int e = 0; e < count; e++) {
        bool is_first = events[e].is_start;
        bool is_in_range = events[e].time_ms >= query->from_ms && events[e].time_ms < query->to_ms;
        for (int o = 0; o < e; o++) {
            bool rivals = events[o].is_start &&
                          (!query->is_recurring || (events[o].time_ms >= query->from_ms &&
                                                    events[o].time_ms / query->length_ms ==
                                                        events[e].time_ms / query->length_ms));
            is_first = is_first && !rivals;
        }
        if (is_first && is_in_range) {
            struct member member = {query, events, count, best_start(events, count, e)};
            fill_member(&member, &out[members++]);
        }
    }
    return members;
}

/* ---- churn ---- */

static bool is_day(const int64_t *days, int count, int64_t day)
{
    for (int i = 0; i < count; i++) {
        if (days[i] == day) {
            return true;
        }
    }
    return false;
}

bool ref_churned(const int64_t *days, int count, int64_t first, int64_t last, int64_t over,
                 int silence, bool *ret_base)
{
    *ret_base = false;
    for (int64_t day = first - silence; day < first; day++) {
        *ret_base = *ret_base || is_day(days, count, day);
    }
    for (int64_t begin = first; begin + silence - 1 <= last && begin + silence - 1 <= over;
         begin++) {
        bool is_silent = true;
        for (int64_t day = begin; day < begin + silence; day++) {
            is_silent = is_silent && !is_day(days, count, day);
        }
        if (is_silent) {
            return true;
        }
    }
    return false;
}

/* ---- conditions ---- */

uint64_t ref_conditions(const uint64_t *events, int count)
{
    uint64_t met = 0;
    for (int k = 0; k < 64; k++) {
        bool is_met = false;
        bool is_first_met = false;
        for (int i = 0; i < count; i++) {
            is_met = is_met || (events[i] >> k & 1) != 0;
            is_first_met = is_first_met || (events[i] & 1) != 0;
        }
        met |= is_met && is_first_met ? UINT64_C(1) << k : 0;
    }
    return met;
}
