/* tests/support/ref_funnel_modes.h - funnels with all rules of SEMANTICS.md section 1, by trying everything.
 *
 * An attempt is a choice of an event for each step that it does. All of them are built and held against the
 * definitions; the cost is exponential and the code is plain.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REF_MODES_STEPS_MAX  6
#define REF_MODES_EVENTS_MAX 12
#define REF_MODES_BANS_MAX   2

enum ref_order { REF_ORDERED, REF_STRICT, REF_ANY };
enum ref_show { REF_SHOW_FIRST, REF_SHOW_EARLIEST, REF_SHOW_LATEST };

struct ref_modes_event { /* in order of time */
    int64_t time_ms;
    bool fits[REF_MODES_STEPS_MAX]; /* which steps it may fill */
    bool is_ban[REF_MODES_BANS_MAX];
    bool is_considered; /* strict order and stops_on_foreign look at it */
};

struct ref_modes_ban { /* between two steps, counted from 0 */
    int begin, end;
    bool is_dropping;
};

struct ref_modes_query {
    int step_count;
    enum ref_order order;
    bool has_window;
    uint64_t window_ms;
    bool has_limit[REF_MODES_STEPS_MAX]; /* of a step, since the last one that was done */
    uint64_t limit_ms[REF_MODES_STEPS_MAX];
    bool is_optional[REF_MODES_STEPS_MAX];
    bool is_anchored[REF_MODES_STEPS_MAX];
    bool is_strict_ties, has_reuse, stops_on_repeat, stops_on_foreign;
    struct ref_modes_ban bans[REF_MODES_BANS_MAX];
    int ban_count;
    int64_t entry_first_ms, entry_last_ms; /* attempts start in between, both included */
    enum ref_show show;
};

struct ref_modes_answer {
    int level; /* the furthest step, from 1; in any order: how many; 0 = no attempt */
    bool is_filled[REF_MODES_STEPS_MAX];
    int64_t times
        [REF_MODES_STEPS_MAX]; /* of the shown attempt; in any order ascending, level of them */
    bool can_enter
        [REF_MODES_EVENTS_MAX]; /* events that an attempt with these times may start with */
};

struct ref_modes_answer ref_funnel_modes(const struct ref_modes_query *query,
                                         const struct ref_modes_event *events, int event_count);

/* Where in buckets of entries, each `width_ms` long and the first from entry_first_ms on, a subject is counted: with
 * `is_single` by its one attempt, in the bucket of its first step, else in each bucket as if its entries were all. */
struct ref_modes_buckets {
    int64_t width_ms;
    int count;
    bool is_single;
};
void ref_funnel_modes_each(const struct ref_modes_query *query,
                           const struct ref_modes_event *events, int event_count,
                           const struct ref_modes_buckets *buckets, struct ref_modes_answer *ret);
