/* tests/support/ref_cohorts.h - retention in all its modes, its values, churn, and conditions, of one subject, by SEMANTICS.md 2.
 *
 * Periods are of one length and begin at its multiples, or with `is_rolling` at the subject's start. (How civil periods of
 * other lengths are numbered is ref_retention's part.) */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define REF_COHORT_COLUMNS_MAX 16
#define REF_COHORTS_MAX        64

struct ref_cohort_event {
    int64_t time_ms;
    bool is_start, is_return;
    bool has_value;
    int64_t cents;
};

enum ref_cohort_mode {
    REF_MODE_EXACT,
    REF_MODE_UNBOUNDED,
    REF_MODE_STREAK,
    REF_MODE_UNTIL,
    REF_MODE_BRACKET
};
struct ref_cohort_query {
    enum ref_cohort_mode mode;
    bool is_recurring; /* else the first start ever */
    bool is_rolling;
    bool
        counts_start; /* the start event is a return too, and only who is active counts with its value: ltv */
    int64_t length_ms;      /* of a period */
    int64_t from_ms, to_ms; /* of starts */
    int at_least;
    int columns;                             /* periods 0 .. columns - 1, or brackets */
    int brackets[REF_COHORT_COLUMNS_MAX][2]; /* first, last */
};
struct ref_cohort_member {
    int64_t cohort; /* period number */
    bool is_back[REF_COHORT_COLUMNS_MAX];
    int64_t cents[REF_COHORT_COLUMNS_MAX];
    int values[REF_COHORT_COLUMNS_MAX]; /* how many are summed up */
};
/* The cohorts that the subject is in, ascending; events in order of time. Returns how many. */
int ref_cohorts(const struct ref_cohort_query *query, const struct ref_cohort_event *events,
                int count, struct ref_cohort_member *out);

/* Days of the subject's activity, any order; the window is days [first, last], of which days up to `over` are over.
 * *ret_base: was it active in the `silence` days before? Returns whether it then was silent for so many days in a row. */
bool ref_churned(const int64_t *days, int count, int64_t first, int64_t last, int64_t over,
                 int silence, bool *ret_base);

/* Conditions: bit k of events[i] says that event i meets condition k + 1. Which of them the subject has met; none without the
 * first. */
uint64_t ref_conditions(const uint64_t *events, int count);
