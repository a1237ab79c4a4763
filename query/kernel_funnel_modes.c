/* query/kernel_funnel_modes.c
 *
 * One pass, instant by instant, as kernel_funnel.c makes it: for each level the state keeps the one
 * attempt whose last step is latest, and of those the one that started latest. It dominates all others, also with
 * exclusions and optional steps. Let C and C' be at one level, C with the later end, C' with the later start. At
 * some instant C' overtakes C; C' up to there and C from there on are an attempt with both. It stays inside all
 * limits, for its last step before the change is not earlier than that of C; and no exclusion hits it that does not
 * hit C, for the steps of C' up to the change are not earlier than the same steps of C.
 *
 * An exclusion between steps i and j ends, at once, all attempts that have reached i and not j in an
 * earlier instant. Strict order ends all attempts at every instant with events in sight, but for those that took every one
 * of these events; an attempt that starts in the instant may have the others before it.
 *
 * Where the search may end inside an instant (the modes of ClickHouse), its events are taken step by
 * step, lower steps first, as ClickHouse sorts them.
 */
#include "query/kernel_funnel_modes.h"

#include "query/funnel_match.h"

/* The attempts in progress; level j is valid where bit j - 1 of `alive` is set. */
struct progress {
    uint64_t alive;
    uint64_t reached; /* levels that were ever reached */
    int64_t start[QUERY_STEPS_MAX + 1];
    int64_t last[QUERY_STEPS_MAX + 1];
};

/* What an instant leads to, for each kind of lead: levels as bits, and for each the best start. */
struct outcome {
    uint64_t levels[FUNNEL_LEAD_ON + 1];
    int64_t start[FUNNEL_LEAD_ON + 1][QUERY_STEPS_MAX + 1];
};

static uint64_t bit_of(uint32_t level)
{
    return UINT64_C(1) << (level - 1);
}

/* Bits of the steps first .. last. */
static uint64_t steps_from_to(uint32_t first, uint32_t last)
{
    return (~UINT64_C(0) >> (64 - last)) & ~(bit_of(first) - 1);
}

/* ---- instants ---- */

struct funnel_instant funnel_instant_at(const struct funnel_rules *rules,
                                        const struct funnel_view *view, size_t begin)
{
    uint64_t steps = steps_from_to(1, rules->step_count);
    struct funnel_instant in = {.t = view->times[begin], .masks = view->masks + begin};

    for (size_t i = begin; i < view->count && view->times[i] == in.t; i++) {
        uint64_t mask = view->masks[i];
        in.steps |= mask & steps;
        in.bans |= mask & rules->ban_bits;
        in.considered += (mask & rules->considered) != 0 ? 1 : 0;
        in.count++;
    }
    return in;
}

uint64_t funnel_banned_levels(const struct funnel_rules *rules, uint64_t bans)
{
    uint64_t levels = 0;
    for (uint32_t i = 0; bans != 0 && i < rules->ban_count; i++) {
        const struct funnel_ban *ban = &rules->bans[i];
        if ((bans >> ban->selector & 1) != 0) {
            levels |= steps_from_to(ban->begin, ban->end - 1);
        }
    }
    return levels;
}

/* An exclusion of `bans` in the very instant in which the attempt goes on from `from` to `to`: is it
 * between two of its steps, once the attempt goes on? */
static bool is_banned(const struct funnel_rules *rules, uint64_t bans, uint32_t from, uint32_t to)
{
    for (uint32_t i = 0; bans != 0 && i < rules->ban_count; i++) {
        const struct funnel_ban *ban = &rules->bans[i];
        if ((bans >> ban->selector & 1) != 0 && from >= ban->begin && to < ban->end) {
            return true;
        }
    }
    return false;
}

/* Strict order: does the attempt take every event in sight? `must` are steps it fills; those between `first` and
 * `to` that may be skipped can be filled as well. A matching that gives all events a step, and one that gives all
 * of `must` an event, make one that does both (N. S. Mendelsohn, A. L. Dulmage, 1958). */
static bool takes_all(const struct funnel_rules *rules, const struct funnel_instant *in,
                      uint32_t first, uint32_t to)
{
    uint64_t steps = steps_from_to(first, to);

    if (rules->is_strict_ties) {
        return in->considered == 1;
    }
    return in->considered <= (size_t)__builtin_popcountll(steps) &&
           funnel_match_all_events(in->masks, in->count, rules->considered, steps);
}

/* Can distinct events of the instant fill `first`, `to`, `keep` and all that cannot be skipped between them? */
static bool fills(const struct funnel_rules *rules, const struct funnel_instant *in, uint32_t first,
                  uint32_t to, uint64_t keep)
{
    uint64_t must =
        keep | bit_of(first) | (steps_from_to(first, to) & ~rules->optional) | bit_of(to);
    bool is_one = (must & (must - 1)) == 0;

    if ((must & ~in->steps) != 0 || (rules->is_strict_ties && !is_one)) {
        return false;
    }
    return is_one || rules->has_reuse ||
           (in->count > 1 && funnel_match(in->masks, in->count, SIZE_MAX, must));
}

/* What else the lead asks for. */
static bool allows(const struct funnel_rules *rules, const struct funnel_instant *in, uint32_t from,
                   uint32_t first, uint32_t to, enum funnel_lead lead)
{
    switch (lead) {
    case FUNNEL_LEAD_REACH: return true;
    case FUNNEL_LEAD_CLEAN: return !is_banned(rules, in->bans & rules->drop_bits, from, to);
    case FUNNEL_LEAD_ON: break;
    }
    return !is_banned(rules, in->bans, from, to) &&
           (!rules->is_strict || from == 0 || in->considered == 0 ||
            takes_all(rules, in, first, to));
}

bool funnel_leads(const struct funnel_rules *rules, const struct funnel_instant *in, uint32_t from,
                  uint32_t first, uint32_t to, uint64_t keep, enum funnel_lead lead)
{
    return fills(rules, in, first, to, keep) && allows(rules, in, from, first, to, lead);
}

/* ---- one instant ---- */

static bool is_improved(const struct outcome *out, uint32_t to, int64_t start)
{
    bool is_improved = false;
    for (uint32_t lead = FUNNEL_LEAD_REACH; lead <= FUNNEL_LEAD_ON; lead++) {
        is_improved =
            is_improved || (out->levels[lead] & bit_of(to)) == 0 || out->start[lead][to] < start;
    }
    return is_improved;
}

/* From level `from` with `first` as the next step: everything that it leads to. */
static void take_from(const struct funnel_rules *rules, const struct funnel_instant *in,
                      int64_t start, uint32_t from, uint32_t first, struct outcome *out)
{
    for (uint64_t bits = in->steps & ~(bit_of(first) - 1); bits != 0; bits &= bits - 1) {
        uint32_t to = (uint32_t)__builtin_ctzll(bits) + 1;
        if (!is_improved(out, to, start)) {
            continue;
        }
        if (!fills(rules, in, first, to, 0)) {
            if ((rules->optional & bit_of(to)) == 0) {
                break; /* what lies further has to fill it as well */
            }
            continue;
        }
        for (uint32_t lead = FUNNEL_LEAD_REACH; lead <= FUNNEL_LEAD_ON; lead++) {
            bool is_new = (out->levels[lead] & bit_of(to)) == 0 || out->start[lead][to] < start;
            if (is_new && allows(rules, in, from, first, to, (enum funnel_lead)lead)) {
                out->levels[lead] |= bit_of(to);
                out->start[lead][to] = start;
            }
        }
    }
}

static bool may_go_on(const struct funnel_rules *rules, const struct progress *p, uint32_t from,
                      uint32_t first, int64_t t)
{
    return (p->alive & bit_of(from)) != 0 &&
           (uint64_t)t - (uint64_t)p->start[from] <= rules->window_ms &&
           (uint64_t)t - (uint64_t)p->last[from] <= rules->limits_ms[first - 1];
}

static void instant_outcome(const struct funnel_rules *rules, const struct progress *p,
                            const struct funnel_instant *in, bool is_entry, struct outcome *out)
{
    memset(out->levels, 0, sizeof(out->levels));
    for (uint64_t bits = in->steps; bits != 0; bits &= bits - 1) {
        uint32_t first = (uint32_t)__builtin_ctzll(bits) + 1;
        for (uint32_t from = first - 1;; from--) {
            if (from == 0) {
                if (is_entry) {
                    take_from(rules, in, in->t, 0, first, out);
                }
                break;
            }
            if (may_go_on(rules, p, from, first, in->t)) {
                take_from(rules, in, p->start[from], from, first, out);
            }
            if ((rules->optional & bit_of(from)) == 0) {
                break; /* it cannot be skipped */
            }
        }
    }
}

static void instant_apply(const struct funnel_rules *rules, struct progress *p,
                          const struct funnel_instant *in, const struct outcome *out)
{
    p->reached |= out->levels[FUNNEL_LEAD_REACH];
    if (rules->is_strict && in->considered > 0) {
        p->alive = 0;
    }
    p->alive &= ~funnel_banned_levels(rules, in->bans);
    for (uint64_t bits = out->levels[FUNNEL_LEAD_ON]; bits != 0; bits &= bits - 1) {
        uint32_t level = (uint32_t)__builtin_ctzll(bits) + 1;
        p->alive |= bit_of(level);
        p->start[level] = out->start[FUNNEL_LEAD_ON][level];
        p->last[level] = in->t;
    }
}

/* ---- where the search ends ---- */

static uint32_t count_with(const struct funnel_instant *in, uint64_t step)
{
    uint32_t count = 0;
    for (size_t i = 0; i < in->count && count < 2; i++) {
        count += (in->masks[i] & step) != 0 ? 1 : 0;
    }
    return count;
}

/* The steps of the instant that are looked at before the search ends in it; *ret_ends where it does. */
static uint64_t steps_before_end(const struct funnel_rules *rules, const struct progress *p,
                                 const struct funnel_instant *in, bool is_entry, bool *ret_ends)
{
    uint64_t reached = p->reached;
    struct outcome out;

    *ret_ends = false;
    if (rules->stops_on_foreign && (reached & 1) != 0) {
        uint64_t steps = steps_from_to(1, rules->step_count);
        for (size_t i = 0; i < in->count; i++) {
            if ((in->masks[i] & rules->considered) != 0 && (in->masks[i] & steps) == 0) {
                *ret_ends = true; /* an event that is no step comes first */
                return 0;
            }
        }
    }
    for (uint64_t bits = in->steps; bits != 0; bits &= bits - 1) {
        uint64_t step = bits & -bits;
        bool is_repeat = rules->stops_on_repeat && step != 1 && (reached & step) != 0;
        bool is_foreign = rules->stops_on_foreign && step != 1 && (reached & 1) != 0 &&
                          (reached & step >> 1) == 0;
        if (is_repeat || is_foreign) {
            *ret_ends = true;
            return in->steps & (step - 1);
        }
        struct funnel_instant part = *in;
        part.steps &= step | (step - 1);
        instant_outcome(rules, p, &part, is_entry, &out);
        reached |= out.levels[FUNNEL_LEAD_REACH];
        if (rules->stops_on_repeat && step != 1 && (reached & step) != 0 &&
            count_with(in, step) > 1) {
            *ret_ends = true; /* the second of them */
            return part.steps;
        }
    }
    return in->steps;
}

/* ---- the pass ---- */

static void note_reach(const struct funnel_instant *in, const struct outcome *out,
                       enum funnel_goal goal, struct funnel_way *way)
{
    uint64_t levels = out->levels[FUNNEL_LEAD_REACH];
    if (levels == 0) {
        return;
    }
    uint32_t top = 64 - (uint32_t)__builtin_clzll(levels);
    int64_t start = out->start[FUNNEL_LEAD_REACH][top];
    if (top > way->reach.level ||
        (top == way->reach.level && goal == FUNNEL_GOAL_LATEST && start > way->reach.start_ms)) {
        way->reach = (struct funnel_reach){top, start, in->t};
        way->end_steps = in->steps;
    }
}

/* The attempt that has reached `level` is taken back by an exclusion before its window's end. */
static void note_clean(const struct funnel_rules *rules, const struct funnel_instant *in,
                       const struct outcome *out, uint32_t level, struct funnel_way *way)
{
    if ((funnel_banned_levels(rules, in->bans & rules->drop_bits) & bit_of(level)) != 0) {
        way->is_clean = false;
    }
    if (!way->is_clean && (out->levels[FUNNEL_LEAD_CLEAN] & bit_of(level)) != 0) {
        way->is_clean = true;
        way->reach = (struct funnel_reach){level, out->start[FUNNEL_LEAD_CLEAN][level], in->t};
        way->end_steps = in->steps;
    }
}

/* Attempts whose window is over are let go, so that it can be told when there are none. */
static void let_go(const struct funnel_rules *rules, struct progress *p, int64_t t)
{
    for (uint64_t bits = p->alive; bits != 0; bits &= bits - 1) {
        uint32_t level = (uint32_t)__builtin_ctzll(bits) + 1;
        if ((uint64_t)t - (uint64_t)p->start[level] > rules->window_ms) {
            p->alive ^= bit_of(level);
        }
    }
}

/* Nothing more can come of the search: no attempt goes on, and none may start. */
static bool is_over(const struct funnel_rules *rules, struct funnel_entries entries,
                    enum funnel_goal goal, int64_t t, struct progress *p,
                    const struct funnel_way *way)
{
    if (t <= entries.last_ms) {
        return false;
    }
    if (goal == FUNNEL_GOAL_CLEAN) {
        return (uint64_t)t - (uint64_t)entries.first_ms > rules->window_ms ||
               (p->alive == 0 && !way->is_clean);
    }
    let_go(rules, p, t);
    return p->alive == 0;
}

struct funnel_way kernel_funnel_modes(const struct funnel_rules *rules,
                                      const struct funnel_view *view, struct funnel_entries entries,
                                      enum funnel_goal goal, uint32_t level)
{
    struct funnel_way way = {.over_ms = INT64_MAX};
    struct progress p;
    struct outcome out;
    bool stops = rules->stops_on_repeat || rules->stops_on_foreign;
    bool has_ended = false;

    p.alive = 0;
    p.reached = 0;
    for (size_t i = funnel_view_at(view, entries.first_ms); i < view->count && !has_ended;) {
        struct funnel_instant in = funnel_instant_at(rules, view, i);
        bool is_entry = in.t <= entries.last_ms;
        i += in.count;
        if (is_over(rules, entries, goal, in.t, &p, &way)) {
            break;
        }
        if (stops) {
            in.steps = steps_before_end(rules, &p, &in, is_entry, &has_ended);
        }
        instant_outcome(rules, &p, &in, is_entry, &out);
        instant_apply(rules, &p, &in, &out);
        if (goal == FUNNEL_GOAL_CLEAN) {
            note_clean(rules, &in, &out, level, &way);
            continue;
        }
        note_reach(&in, &out, goal, &way);
        if (goal == FUNNEL_GOAL_FIRST && way.reach.level == rules->step_count) {
            way.over_ms = in.t;
            break;
        }
        if (!is_entry && p.alive == 0) {
            way.over_ms = in.t;
        }
    }
    return way;
}
