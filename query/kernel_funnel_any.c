/* query/kernel_funnel_any.c
 *
 * Events in order of time, each tried in turn: it is taken if the steps can be shared out anew so that one more of
 * them is filled (an augmenting path). The sets of events that can be given different steps are a matroid, so taking
 * each event that can be taken makes the i-th one taken as early as any attempt could have it, for every i at
 * once; and a block is complete as early as can be. When it is, the next one is open to the events of that instant
 * and of later ones. An event of that very instant may fill a step of either block.
 */
#include "query/kernel_funnel_any.h"

#define NOBODY UINT8_MAX

struct sharing {
    uint32_t count;                  /* events taken */
    uint64_t may[QUERY_STEPS_MAX];   /* steps that each of them may fill */
    uint8_t holder[QUERY_STEPS_MAX]; /* of a step: which of them; NOBODY = free */
    size_t instant[QUERY_STEPS_MAX]; /* where its instant begins */
    uint64_t filled;
};

static uint64_t all_steps(const struct funnel_rules *rules)
{
    return ~UINT64_C(0) >> (64 - rules->step_count);
}

/* The block that begins with the lowest of the steps `rest`. */
static uint64_t next_block(const struct funnel_rules *rules, uint64_t rest)
{
    uint64_t low = rest & -rest;
    uint64_t anchors = rules->anchored & rest;
    if ((anchors & low) != 0) {
        return low;
    }
    return anchors == 0 ? rest : rest & ((anchors & -anchors) - 1);
}

uint64_t funnel_any_entries(const struct funnel_rules *rules)
{
    return next_block(rules, all_steps(rules));
}

/* Find event `e` a step, moving others where needed. */
static bool share(struct sharing *s, uint32_t e, uint64_t *visited)
{
    for (uint64_t bits = s->may[e] & ~*visited; bits != 0; bits &= bits - 1) {
        uint32_t step = (uint32_t)__builtin_ctzll(bits);
        if ((*visited >> step & 1) != 0) {
            continue;
        }
        *visited |= UINT64_C(1) << step;
        if (s->holder[step] == NOBODY || share(s, s->holder[step], visited)) {
            s->holder[step] = (uint8_t)e;
            s->filled |= UINT64_C(1) << step;
            return true;
        }
    }
    return false;
}

static bool is_taken(const struct sharing *s, const struct funnel_shown *shown, size_t event)
{
    for (uint32_t i = s->count; i-- > 0;) {
        if (shown->events[i] == event) {
            return true;
        }
    }
    return false;
}

/* Take the event, if that fills one more step. */
static void take(struct sharing *s, size_t event, size_t instant, int64_t t, uint64_t may,
                 struct funnel_shown *shown)
{
    uint64_t visited = 0;
    if (may == 0 || s->count == QUERY_STEPS_MAX) {
        return;
    }
    s->may[s->count] = may;
    if (share(s, s->count, &visited)) {
        s->instant[s->count] = instant;
        shown->times[s->count] = t;
        shown->events[s->count] = event;
        s->count++;
    }
}

/* One event for all steps that it can fill. */
static void take_all_of(struct sharing *s, size_t event, size_t instant, int64_t t, uint64_t may,
                        struct funnel_shown *shown)
{
    for (uint64_t bits = may & ~s->filled; bits != 0; bits &= bits - 1) {
        take(s, event, instant, t, bits & -bits, shown);
    }
}

/* The events of an instant, for the steps of `open`; blocks that become complete open the next. */
static void take_instant(const struct funnel_rules *rules, const struct funnel_instant *in,
                         size_t begin, uint64_t *open_block, uint64_t *rest, struct sharing *s,
                         struct funnel_shown *shown)
{
    uint64_t open = *open_block;
    for (;;) {
        if (rules->is_strict_ties) { /* one step in an instant: which event is told at the end */
            take(s, begin, begin, in->t, in->steps & open, shown);
        }
        for (size_t i = 0; !rules->is_strict_ties && i < in->count; i++) {
            if (rules->has_reuse) {
                take_all_of(s, begin + i, begin, in->t, in->masks[i] & open, shown);
            } else if (!is_taken(s, shown, begin + i)) {
                take(s, begin + i, begin, in->t, in->masks[i] & open, shown);
            }
        }
        if ((*open_block & ~s->filled) != 0 || *rest == 0) {
            return;
        }
        *open_block = next_block(rules, *rest);
        *rest &= ~*open_block;
        if (rules->is_strict_ties) {
            return;
        }
        open |= *open_block;
        for (uint32_t e = s->count; !rules->has_reuse && e-- > 0 && s->instant[e] == begin;) {
            s->may[e] = in->masks[shown->events[e] - begin] & open;
        }
    }
}

/* Events of one instant in the order of the blocks whose steps they have got in the end. */
static void order_blocks(const struct funnel_rules *rules, const struct sharing *s,
                         struct funnel_shown *shown)
{
    uint8_t place[QUERY_STEPS_MAX]; /* of the block that an event's step is in */
    uint32_t number = 0;
    if (rules->anchored == 0 || rules->has_reuse) {
        return;
    }
    for (uint64_t rest = all_steps(rules); rest != 0; number++) {
        uint64_t block = next_block(rules, rest);
        rest &= ~block;
        for (uint64_t bits = block & s->filled; bits != 0; bits &= bits - 1) {
            place[s->holder[__builtin_ctzll(bits)]] = (uint8_t)number;
        }
    }
    for (uint32_t i = 1; i < s->count; i++) {
        for (uint32_t k = i;
             k > 0 && shown->times[k - 1] == shown->times[k] && place[k - 1] > place[k]; k--) {
            size_t event = shown->events[k];
            uint8_t number_k = place[k];
            shown->events[k] = shown->events[k - 1];
            place[k] = place[k - 1];
            shown->events[k - 1] = event;
            place[k - 1] = number_k;
        }
    }
}

/* Under strict ties an instant stands for its first event that can fill the step it got. */
static void find_events(const struct funnel_view *view, const struct sharing *s,
                        struct funnel_shown *shown)
{
    for (uint64_t bits = s->filled; bits != 0; bits &= bits - 1) {
        uint32_t step = (uint32_t)__builtin_ctzll(bits);
        uint32_t e = s->holder[step];
        size_t i = s->instant[e];
        while ((view->masks[i] >> step & 1) == 0) {
            i++;
        }
        shown->events[e] = i;
    }
}

/* An attempt that is not complete is erased by an exclusion after its start and in its window. */
static bool is_erased(const struct funnel_rules *rules, const struct funnel_view *view,
                      size_t begin)
{
    int64_t start_ms = view->times[begin];
    for (size_t i = begin; rules->drop_bits != 0 && i < view->count; i++) {
        if ((uint64_t)view->times[i] - (uint64_t)start_ms > rules->window_ms) {
            break;
        }
        if (view->times[i] > start_ms && (view->masks[i] & rules->drop_bits) != 0) {
            return true;
        }
    }
    return false;
}

void kernel_funnel_any(const struct funnel_rules *rules, const struct funnel_view *view,
                       size_t begin, struct funnel_shown *ret, int64_t *ret_over_ms)
{
    uint64_t rest = all_steps(rules);
    uint64_t open = next_block(rules, rest);
    int64_t start_ms = view->times[begin];
    struct sharing s;

    s.count = 0;
    s.filled = 0;
    memset(s.holder, NOBODY, sizeof(s.holder));
    rest &= ~open;
    *ret_over_ms = INT64_MAX;
    for (size_t i = begin; i < view->count && s.count < rules->step_count;) {
        struct funnel_instant in = funnel_instant_at(rules, view, i);
        if ((uint64_t)in.t - (uint64_t)start_ms > rules->window_ms) {
            break;
        }
        take_instant(rules, &in, i, &open, &rest, &s, ret);
        if (s.count == 0) {
            break; /* nothing starts here */
        }
        i += in.count;
        if (s.count == rules->step_count || (in.t > start_ms && in.bans != 0)) {
            *ret_over_ms = in.t;
            break;
        }
    }
    if (rules->is_strict_ties) {
        find_events(view, &s, ret);
    }
    order_blocks(rules, &s, ret);
    ret->level = s.count;
    ret->filled = s.count == 0 ? 0 : ~UINT64_C(0) >> (64 - s.count);
    if (s.count > 0 && s.count < rules->step_count && is_erased(rules, view, begin)) {
        ret->level = 0;
        ret->filled = 0;
    }
}
