/* tests/support/ref_retention.h - retention of one subject by SEMANTICS.md section 2, word by word.
 *
 * Events carry the number of their civil period, which the caller finds out in its own way. The
 * answer names the cohorts that the subject is in, and for each period whether it came back. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define REF_RETENTION_EVENTS_MAX  64
#define REF_RETENTION_PERIODS_MAX 32

struct ref_retention_event {
    int64_t time_ms;
    int64_t period;
    bool is_start;  /* matches the start selector */
    bool is_name;   /* has its event name */
    bool is_return; /* matches the return selector */
};

enum ref_retention_start { REF_FIRST_EVER, REF_FIRST_EVER_UNFILTERED, REF_FIRST, REF_RECURRING };

struct ref_retention_query {
    enum ref_retention_start start;
    bool is_unbounded;
    int at_least;
    int period_count; /* periods 0 .. period_count - 1 */
    int64_t from_ms, to_ms;
};

struct ref_retention_member {
    int64_t cohort; /* period number */
    bool is_back[REF_RETENTION_PERIODS_MAX];
    bool can_start[REF_RETENTION_EVENTS_MAX]; /* events that may be the start event */
};

struct ref_retention_answer {
    int member_count;
    struct ref_retention_member members[REF_RETENTION_EVENTS_MAX];
};

/* Events in any order. */
struct ref_retention_answer ref_retention(const struct ref_retention_query *query,
                                          const struct ref_retention_event *events, int count);
