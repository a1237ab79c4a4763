/* query/funnel_shown.c
 *
 *     backward   which levels can be completed after each instant, when their last step lies in it
 *     forward    step by step, the earliest instant that leaves the rest completable
 *     events     in each instant, the events of its steps, lower steps first
 *
 * Backward, floors[a] is the earliest time that level a must have been reached at, to go on in some
 * later instant: the smallest over them of (its time - the limit of the step that it fills first). Exclusions, and
 * events in sight under strict order, put it back to "never" for what lies before them.
 */
#include "query/funnel_shown.h"

#include "query/funnel_match.h"

#define NEVER INT64_MAX

struct look {
    const struct funnel_rules *rules;
    const struct funnel_view *view;
    const struct funnel_way *way;
    enum funnel_lead last_lead; /* of the last instant */
    size_t begin, last;         /* the first events of the attempt's first and last instants */
    size_t end;                 /* behind its last event */
    uint64_t *levels;           /* at the first event of an instant: levels that can be completed */
};

static uint64_t bit_of(uint32_t level)
{
    return UINT64_C(1) << (level - 1);
}

static struct funnel_instant instant_of(const struct look *look, size_t begin)
{
    struct funnel_instant in = funnel_instant_at(look->rules, look->view, begin);
    if (begin == look->last) {
        in.steps &= look->way->end_steps;
    }
    return in;
}

static enum funnel_lead lead_of(const struct look *look, size_t begin)
{
    return begin == look->last ? look->last_lead : FUNNEL_LEAD_ON;
}

static void look_find(struct look *look)
{
    const struct funnel_view *view = look->view;
    size_t i = funnel_view_at(view, look->way->reach.start_ms);
    look->begin = i;
    while (i < view->count && view->times[i] <= look->way->reach.end_ms) {
        look->last = i == look->begin || view->times[i] != view->times[i - 1] ? i : look->last;
        i++;
    }
    look->end = i;
    ASSERT(look->begin < look->end);
}

/* ---- backward ---- */

/* Whether some level of `levels` can be reached from `from` with `first` as the first step. */
static bool leads_to_any(const struct look *look, const struct funnel_instant *in, uint32_t from,
                         uint32_t first, uint64_t levels, uint64_t keep, enum funnel_lead lead)
{
    uint64_t last_kept = keep == 0 ? bit_of(first) : UINT64_C(1) << (63 - __builtin_clzll(keep));
    for (uint64_t bits = levels & in->steps & ~(last_kept - 1); bits != 0; bits &= bits - 1) {
        uint32_t to = (uint32_t)__builtin_ctzll(bits) + 1;
        if (funnel_leads(look->rules, in, from, first, to, keep, lead)) {
            return true;
        }
    }
    return false;
}

static void floors_lower(const struct look *look, size_t begin, const struct funnel_instant *in,
                         uint64_t levels, int64_t *floors)
{
    const struct funnel_rules *rules = look->rules;
    for (uint64_t bits = in->steps & ~UINT64_C(1); bits != 0; bits &= bits - 1) {
        uint32_t first = (uint32_t)__builtin_ctzll(bits) + 1;
        uint64_t limit_ms = rules->limits_ms[first - 1];
        int64_t floor = limit_ms > (uint64_t)in->t - (uint64_t)INT64_MIN
                            ? INT64_MIN
                            : (int64_t)((uint64_t)in->t - limit_ms);
        for (uint32_t from = first - 1; from > 0; from--) {
            if (floor < floors[from] &&
                leads_to_any(look, in, from, first, levels, 0, lead_of(look, begin))) {
                floors[from] = floor;
            }
            if ((rules->optional & bit_of(from)) == 0) {
                break;
            }
        }
    }
}

static void look_back(struct look *look)
{
    int64_t floors[QUERY_STEPS_MAX + 1];

    for (uint32_t level = 0; level <= QUERY_STEPS_MAX; level++) {
        floors[level] = NEVER;
    }
    for (size_t stop = look->end; stop > look->begin;) {
        size_t begin = stop - 1;
        while (begin > look->begin && look->view->times[begin - 1] == look->view->times[begin]) {
            begin--;
        }
        struct funnel_instant in = instant_of(look, begin);
        uint64_t levels = begin == look->last ? bit_of(look->way->reach.level) : 0;
        uint64_t ended = funnel_banned_levels(look->rules, in.bans);
        bool ends_all = look->rules->is_strict && in.considered > 0;
        for (uint32_t level = 1; level <= look->way->reach.level; level++) {
            if (floors[level] <= in.t && floors[level] != NEVER) {
                levels |= bit_of(level);
            }
            if (ends_all || (ended & bit_of(level)) != 0) {
                floors[level] = NEVER;
            }
        }
        look->levels[begin] = levels;
        floors_lower(look, begin, &in, levels, floors);
        stop = begin;
    }
}

/* ---- forward ---- */

/* The attempt as far as it is put together. */
struct stand {
    size_t begin;  /* the instant at hand */
    uint32_t from; /* the level before it */
    uint32_t top;  /* the last step filled; 0 = none yet */
    uint64_t here; /* steps filled in this instant */
};

/* Can `step` be filled in the instant at hand as well? */
static bool fits_here(const struct look *look, const struct stand *stand, uint32_t step)
{
    struct funnel_instant in = instant_of(look, stand->begin);
    uint32_t first = stand->here == 0 ? step : (uint32_t)__builtin_ctzll(stand->here) + 1;
    return funnel_skips(look->rules, stand->here == 0 ? stand->from : stand->top, step) &&
           leads_to_any(look, &in, stand->from, first, look->levels[stand->begin],
                        stand->here | bit_of(step), lead_of(look, stand->begin));
}

/* The earliest later instant that `step` can be filled in; false where there is none. */
static bool fits_later(const struct look *look, const struct stand *stand, uint32_t step,
                       size_t *ret_begin)
{
    const struct funnel_view *view = look->view;
    int64_t last_ms = view->times[stand->begin];
    size_t i = stand->begin;

    if ((look->levels[stand->begin] & bit_of(stand->top)) == 0 ||
        !funnel_skips(look->rules, stand->top, step)) {
        return false;
    }
    while (i < look->end && view->times[i] == last_ms) {
        i++;
    }
    while (i < look->end) {
        struct funnel_instant in = instant_of(look, i);
        if ((uint64_t)in.t - (uint64_t)last_ms > look->rules->limits_ms[step - 1]) {
            return false;
        }
        if (leads_to_any(look, &in, stand->top, step, look->levels[i], bit_of(step),
                         lead_of(look, i))) {
            *ret_begin = i;
            return true;
        }
        if ((look->rules->is_strict && in.considered > 0) ||
            (funnel_banned_levels(look->rules, in.bans) & bit_of(stand->top)) != 0) {
            return false;
        }
        i += in.count;
    }
    return false;
}

/* ---- events ---- */

/* Give the steps that were filled in one instant their events. `masks`: of the instant, ours to change. */
static void look_events(const struct look *look, size_t begin, uint64_t steps, uint64_t *masks,
                        struct funnel_shown *ret)
{
    size_t count = 0;
    while (begin + count < look->end &&
           look->view->times[begin + count] == look->view->times[begin]) {
        masks[count] = look->view->masks[begin + count];
        count++;
    }
    for (uint64_t rest = steps; rest != 0;) {
        uint32_t step = (uint32_t)__builtin_ctzll(rest);
        rest &= rest - 1;
        size_t i = 0;
        while (i < count && ((masks[i] >> step & 1) == 0 ||
                             (!look->rules->has_reuse && !funnel_match(masks, count, i, rest)))) {
            i++;
        }
        ASSERT(i < count);
        ret->events[step] = begin + i;
        masks[i] = look->rules->has_reuse ? masks[i] : 0;
    }
}

void funnel_show(const struct funnel_rules *rules, const struct funnel_view *view,
                 const struct funnel_way *way, bool is_clean, struct funnel_scratch *scratch,
                 struct funnel_shown *ret)
{
    struct look look = {
        .rules = rules,
        .view = view,
        .way = way,
        .last_lead = is_clean ? FUNNEL_LEAD_CLEAN : FUNNEL_LEAD_REACH,
        .levels = scratch->levels,
    };

    look_find(&look);
    look_back(&look);
    struct stand stand = {.begin = look.begin};
    ret->level = way->reach.level;
    ret->filled = 0;
    for (uint32_t step = 1; step <= way->reach.level; step++) {
        size_t begin = 0;
        if (!fits_here(&look, &stand, step)) {
            if (!fits_later(&look, &stand, step, &begin)) {
                continue; /* an optional step that is skipped */
            }
            look_events(&look, stand.begin, stand.here, scratch->masks, ret);
            stand = (struct stand){.begin = begin, .from = stand.top};
        }
        stand.here |= bit_of(step);
        stand.top = step;
        ret->filled |= bit_of(step);
        ret->times[step - 1] = view->times[stand.begin];
    }
    look_events(&look, stand.begin, stand.here, scratch->masks, ret);
    ASSERT(stand.top == way->reach.level);
}
