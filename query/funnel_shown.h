/* query/funnel_shown.h - the shown attempt of a funnel with rules: its steps, their times and their events.
 *
 * A kernel says where the attempt starts and ends. Of all attempts with that start and that end the shown one has the
 * earliest second step, of those the earliest third, and so on; an optional step is rather done than skipped. Where
 * events of one instant leave a choice, the first of them in the view is taken, for the entry before the others:
 * so a view in canonical order makes the choice depend on nothing else.
 *
 * Thread: pure functions; no allocation, no errors.
 */
#pragma once

#include "query/kernel_funnel_modes.h"

struct funnel_shown {
    uint32_t level; /* in any order: how many steps were done */
    uint64_t
        filled; /* bit i: the attempt has an event at step i + 1 (in any order: an i-th event) */
    int64_t times[QUERY_STEPS_MAX];
    size_t events[QUERY_STEPS_MAX]; /* of the view */
};

/* What the second look needs beside the view: each as long as the view. */
struct funnel_scratch {
    uint64_t *levels;
    uint64_t *masks;
};

/* `is_clean`: the attempt is one that no exclusion hits. Cost: two passes over the attempt. */
void funnel_show(const struct funnel_rules *rules, const struct funnel_view *view,
                 const struct funnel_way *way, bool is_clean, struct funnel_scratch *scratch,
                 struct funnel_shown *ret);
