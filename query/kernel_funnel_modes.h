/* query/kernel_funnel_modes.h - how far one subject gets through a funnel in order, with all rules.
 *
 * The plain funnel has a kernel of its own (kernel_funnel.h). This one knows of strict order, optional
 * steps, exclusions, events that fill several steps, and the modes of ClickHouse, in any combination; funnels in
 * any order are kernel_funnel_any.h's.
 *
 *     level       a step's number, from 1; an attempt at level j has filled step j last
 *     instant     the events of one millisecond: they have no order, and are taken in the one that gets furthest
 *     view        a journey, or a part of it: bit i of a mask where the event can fill step i + 1, and bits
 *                 of exclusions and of what strict order looks at. Under strict order, an event that is not looked
 *                 at has no bits of steps.
 *
 * Thread: pure functions; no allocation, no errors.
 */
#pragma once

#include "query/kernel_funnel.h"

struct funnel_rules {
    uint32_t step_count;
    uint64_t window_ms;
    uint64_t limits_ms[QUERY_STEPS_MAX]; /* as in funnel_spec */
    uint64_t optional;                   /* bit i: step i + 1 may be skipped; never the first */
    uint64_t anchored;                   /* of any order */
    bool is_strict_ties;
    bool has_reuse;
    bool is_strict;                         /* matched events are neighbours */
    bool stops_on_repeat, stops_on_foreign; /* the search ends there */
    uint64_t considered;           /* the bit of what strict order and stops_on_foreign look at */
    const struct funnel_ban *bans; /* selector: the bit's number */
    uint32_t ban_count;
    uint64_t ban_bits;  /* of them all */
    uint64_t drop_bits; /* of those that drop the subject */
};

struct funnel_view {
    const int64_t *times;
    const uint64_t *masks;
    size_t count;
};

/* The first event at or after t; the view's count where there is none. */
static inline size_t funnel_view_at(const struct funnel_view *view, int64_t t)
{
    size_t begin = 0;
    size_t len = view->count;
    while (len > 0) { /* lower bound */
        size_t half = len / 2;
        bool is_before = view->times[begin + half] < t;
        begin = is_before ? begin + half + 1 : begin;
        len = is_before ? len - half - 1 : half;
    }
    return begin;
}

/* Attempts start at events with a time in [first_ms, last_ms]. */
struct funnel_entries {
    int64_t first_ms;
    int64_t last_ms;
};

/* Where the attempt is in the journey. */
struct funnel_way {
    struct funnel_reach reach;
    uint64_t end_steps; /* that the last instant may fill: fewer where the search ended in it */
    bool is_clean;      /* of FUNNEL_GOAL_CLEAN: there is such an attempt */
    int64_t
        over_ms; /* when the last of the attempts ended: by completion, by exclusion, or (INT64_MAX)
                           with the window */
};

enum funnel_goal {
    FUNNEL_GOAL_FIRST, /* the first attempt to reach the highest level, of those the latest start */
    FUNNEL_GOAL_LATEST, /* the latest start that reaches it, and when it does first */
    FUNNEL_GOAL_CLEAN, /* of one instant's starts the first to reach `level`, if nothing drops the subject for
                           it before its window's end */
};

/* Cost: one pass, O(levels) per event; instants of several events cost matchings. */
struct funnel_way kernel_funnel_modes(const struct funnel_rules *rules,
                                      const struct funnel_view *view, struct funnel_entries entries,
                                      enum funnel_goal goal, uint32_t level);

/* ---- what its second look shares ---- */

struct funnel_instant {
    int64_t t;
    const uint64_t *masks;
    size_t count;
    uint64_t steps; /* that some event can fill */
    uint64_t bans;
    size_t considered; /* events that strict order looks at */
};
/* The instant that begins with event `begin`. */
struct funnel_instant funnel_instant_at(const struct funnel_rules *rules,
                                        const struct funnel_view *view, size_t begin);
enum funnel_lead {
    FUNNEL_LEAD_REACH, /* the attempt may end there */
    FUNNEL_LEAD_CLEAN, /* and no exclusion in this instant drops the subject for it */
    FUNNEL_LEAD_ON,    /* and it may go on in later instants */
};
/* Whether an attempt that has reached level `from` before this instant (0: it starts here) can fill step `first`
 * in it, go on to level `to`, and fill the steps of `keep` on the way. */
bool funnel_leads(const struct funnel_rules *rules, const struct funnel_instant *in, uint32_t from,
                  uint32_t first, uint32_t to, uint64_t keep, enum funnel_lead lead);
/* Whether all steps between level `from` and step `to` may be skipped. */
static inline bool funnel_skips(const struct funnel_rules *rules, uint32_t from, uint32_t to)
{
    uint64_t below_to = to <= 1 ? 0 : ~UINT64_C(0) >> (65 - to);
    uint64_t below_from = from == 0 ? 0 : ~UINT64_C(0) >> (64 - from);
    return (below_to & ~below_from & ~rules->optional) == 0;
}
/* Levels whose attempts an exclusion among `bans` of a later instant ends, as bits (level 1: bit 0). */
uint64_t funnel_banned_levels(const struct funnel_rules *rules, uint64_t bans);
