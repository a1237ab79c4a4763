/* query/funnel_desk.c */
#include "query/funnel_desk.h"

#include "storage/base/size.h"

#include <stdlib.h>

/* ---- arrays ---- */

static enum err_code desk_fit(struct funnel_desk *desk, size_t count, struct err *err)
{
    struct arena *arena = desk->arena;
    if (desk->cap >= count) {
        return ERR_OK;
    }
    size_t cap = MAX_OF(count, 2 * desk->cap);
    ERR_TRY(ARENA_NEW(arena, cap, &desk->masks, err));
    ERR_TRY(ARENA_NEW(arena, cap, &desk->order, err));
    ERR_TRY(ARENA_NEW(arena, cap, &desk->part_times, err));
    ERR_TRY(ARENA_NEW(arena, cap, &desk->part_masks, err));
    ERR_TRY(ARENA_NEW(arena, cap, &desk->part_events, err));
    ERR_TRY(ARENA_NEW(arena, cap, &desk->by_value, err));
    ERR_TRY(ARENA_NEW(arena, cap, &desk->scratch.levels, err));
    ERR_TRY(ARENA_NEW(arena, cap, &desk->scratch.masks, err));
    if (desk->by_lane != FUNNEL_LANE_NONE) {
        ERR_TRY(ARENA_NEW(arena, cap, &desk->by, err));
    }
    if (desk->hold_lane != FUNNEL_LANE_NONE) {
        ERR_TRY(ARENA_NEW(arena, cap, &desk->hold, err));
    }
    if (desk->key_lane != FUNNEL_LANE_NONE) {
        ERR_TRY(ARENA_NEW(arena, cap, &desk->key, err));
    }
    desk->cap = cap;
    return ERR_OK;
}

/* ---- canonical order ---- */

struct ordering {
    const struct funnel_desk *desk;
    const struct journey *journey;
};

static int number_cmp(const struct groups *groups, uint32_t a, uint32_t b)
{
    return a == b ? 0 : groups_cmp(groups, a, b);
}

static int event_cmp(const void *a, const void *b, void *ctx)
{
    const struct ordering *o = ctx;
    size_t x = *(const size_t *)a;
    size_t y = *(const size_t *)b;
    int order = 0;
    if (o->desk->by_lane != FUNNEL_LANE_NONE) {
        const uint32_t *by = o->journey->lanes[o->desk->by_lane];
        order = number_cmp(o->desk->by_groups, by[x], by[y]);
    }
    if (order == 0 && o->desk->hold_lane != FUNNEL_LANE_NONE) {
        const uint32_t *hold = o->journey->lanes[o->desk->hold_lane];
        order = number_cmp(o->desk->hold_groups, hold[x], hold[y]);
    }
    if (order == 0) {
        uint64_t mask_x = o->journey->masks[x];
        uint64_t mask_y = o->journey->masks[y];
        order = (mask_x > mask_y) - (mask_x < mask_y);
    }
    if (order == 0 && o->desk->is_ordered) {
        order = (x > y) - (x < y);
    }
    return order; /* events that are still equal are alike in all that counts */
}

static void desk_order(struct funnel_desk *desk, const struct journey *journey)
{
    struct ordering ordering = {desk, journey};
    for (size_t i = 0; i < journey->count; i++) {
        desk->order[i] = i;
    }
    for (size_t begin = 0; begin < journey->count;) {
        size_t end = begin + 1;
        while (end < journey->count && journey->times[end] == journey->times[begin]) {
            end++;
        }
        if (end - begin > 1) {
            qsort_r(desk->order + begin, end - begin, sizeof(*desk->order), event_cmp, &ordering);
        }
        begin = end;
    }
}

static void copy_lane(const struct funnel_desk *desk, const struct journey *journey, uint32_t lane,
                      uint32_t *to)
{
    for (size_t i = 0; lane != FUNNEL_LANE_NONE && i < journey->count; i++) {
        to[i] = journey->lanes[lane][desk->order[i]];
    }
}

/* ---- bits that events lose ---- */

/* With `by` at all steps each value has a funnel of its own, of the events that carry it; else there is one, of all. */
static bool has_own_funnels(const struct funnel_desk *desk)
{
    return desk->query->funnel.at == FUNNEL_AT_ALL_STEPS && desk->by_lane != FUNNEL_LANE_NONE;
}

/* Where a step's event must be the first of its funnel, only events of that instant fill it. `by`: whose funnel, where values
 * have their own. `masks`: of the events at `times`, to be changed. */
static void keep_firsts(const struct funnel_desk *desk, uint32_t by, const int64_t *times,
                        uint64_t *masks, size_t count)
{
    const struct funnel *funnel = &desk->query->funnel;
    bool is_of_value = has_own_funnels(desk);
    for (uint32_t step = 0; step < funnel->step_count; step++) {
        uint64_t first_bit = UINT64_C(1) << (funnel->steps[step].first_selector % 64);
        size_t first = 0;
        if (funnel->steps[step].first_selector == SELECTOR_NONE) {
            continue;
        }
        while (first < desk->count &&
               ((desk->masks[first] & first_bit) == 0 || (is_of_value && desk->by[first] != by))) {
            first++;
        }
        for (size_t i = 0; i < count; i++) {
            bool is_first = first < desk->count && times[i] == desk->times[first] &&
                            (masks[i] & first_bit) != 0;
            masks[i] &= is_first ? ~UINT64_C(0) : ~(UINT64_C(1) << step);
        }
    }
}

static void drop_bits(struct funnel_desk *desk)
{
    const struct funnel *funnel = &desk->query->funnel;
    uint64_t steps = ~UINT64_C(0) >> (64 - funnel->step_count);
    if (!has_own_funnels(desk)) { /* else part by part */
        keep_firsts(desk, 0, desk->times, desk->masks, desk->count);
    }
    for (size_t i = 0; funnel->order == FUNNEL_STRICT && i < desk->count; i++) {
        if ((desk->masks[i] & desk->considered) == 0) {
            desk->masks[i] &= ~steps;
        }
    }
}

enum err_code funnel_desk_load(struct funnel_desk *desk, const struct journey *journey,
                               struct err *err)
{
    ERR_TRY(desk_fit(desk, journey->count, err));
    desk->count = journey->count;
    desk->times = journey->times;
    desk_order(desk, journey);
    for (size_t i = 0; i < journey->count; i++) {
        desk->masks[i] = journey->masks[desk->order[i]];
    }
    copy_lane(desk, journey, desk->by_lane, desk->by);
    copy_lane(desk, journey, desk->hold_lane, desk->hold);
    copy_lane(desk, journey, desk->key_lane, desk->key);
    drop_bits(desk);
    return ERR_OK;
}

/* ---- parts ---- */

static bool splits_hold(const struct funnel_desk *desk)
{
    return desk->hold_lane != FUNNEL_LANE_NONE;
}

static int value_cmp(const void *a, const void *b, void *ctx)
{
    const struct funnel_desk *desk = ctx;
    size_t x = *(const size_t *)a;
    size_t y = *(const size_t *)b;
    int order = 0;
    if (desk->by != NULL) {
        order = number_cmp(desk->by_groups, desk->by[x], desk->by[y]);
    }
    if (order == 0 && splits_hold(desk)) {
        order = number_cmp(desk->hold_groups, desk->hold[x], desk->hold[y]);
    }
    return order != 0 ? order : (x > y) - (x < y);
}

static int hold_cmp(const void *a, const void *b, void *ctx)
{
    const struct funnel_desk *desk = ctx;
    size_t x = *(const size_t *)a;
    size_t y = *(const size_t *)b;
    int order = number_cmp(desk->hold_groups, desk->hold[x], desk->hold[y]);
    return order != 0 ? order : (x > y) - (x < y);
}

static bool has_missing(const struct groups *groups, uint32_t number)
{
    for (uint32_t k = 0; k < groups_query(groups)->key_count; k++) {
        if (groups_cell(groups, number, k).kind == CELL_NULL) {
            return true;
        }
    }
    return false;
}

void funnel_parts_open(struct funnel_desk *desk, size_t begin, size_t end, bool splits_by,
                       struct funnel_parts *ret)
{
    uint64_t steps = ~UINT64_C(0) >> (64 - desk->query->funnel.step_count);
    *ret = (struct funnel_parts){.begin = begin, .end = end, .splits_by = splits_by};
    if (!splits_by && !splits_hold(desk)) {
        ret->count = 1; /* all of it */
        return;
    }
    for (size_t i = begin; i < end; i++) {
        /* what is held must have a value */
        if ((desk->masks[i] & steps) != 0 &&
            (!splits_hold(desk) || !has_missing(desk->hold_groups, desk->hold[i]))) {
            desk->by_value[ret->count++] = i;
        }
    }
    qsort_r(desk->by_value, ret->count, sizeof(*desk->by_value), splits_by ? value_cmp : hold_cmp,
            desk);
}

static bool is_same_part(const struct funnel_desk *desk, const struct funnel_parts *parts, size_t a,
                         size_t b)
{
    return (!parts->splits_by || desk->by[a] == desk->by[b]) &&
           (!splits_hold(desk) || desk->hold[a] == desk->hold[b]);
}

/* The part's own events in order of time, and between them the events of others that end attempts,
 * without their bits of steps: those that carry other held values, but none of another funnel. */
static size_t copy_part(struct funnel_desk *desk, const struct funnel_parts *parts, size_t from,
                        size_t to)
{
    uint64_t steps = ~UINT64_C(0) >> (64 - desk->query->funnel.step_count);
    uint32_t by = parts->splits_by ? desk->by[desk->by_value[from]] : 0;
    bool has_others = desk->considered != 0 || desk->query->funnel.ban_count > 0;
    size_t count = 0;
    for (size_t i = has_others ? parts->begin : desk->by_value[from];
         has_others ? i < parts->end : from < to;) {
        bool is_own = from < to && desk->by_value[from] == i;
        uint64_t mask = desk->masks[i] & (is_own ? ~UINT64_C(0) : ~steps);
        if (mask != 0 && (!parts->splits_by || desk->by[i] == by)) {
            desk->part_times[count] = desk->times[i];
            desk->part_masks[count] = mask;
            desk->part_events[count] = i;
            count++;
        }
        from += is_own ? 1 : 0;
        i = has_others ? i + 1 : from < to ? desk->by_value[from] : i;
    }
    if (parts->splits_by) {
        keep_firsts(desk, by, desk->part_times, desk->part_masks, count);
    }
    return count;
}

bool funnel_parts_next(struct funnel_desk *desk, struct funnel_parts *parts,
                       struct funnel_part_view *ret)
{
    if (parts->next >= parts->count) {
        return false;
    }
    if (!parts->splits_by && !splits_hold(desk)) {
        size_t begin = parts->begin;
        parts->next = parts->count;
        *ret = (struct funnel_part_view){
            .view = {desk->times + begin, desk->masks + begin, parts->end - begin},
            .begin = begin,
        };
        return true;
    }
    size_t from = parts->next;
    size_t to = from + 1;
    while (to < parts->count &&
           is_same_part(desk, parts, desk->by_value[from], desk->by_value[to])) {
        to++;
    }
    parts->next = to;
    size_t count = copy_part(desk, parts, from, to);
    *ret = (struct funnel_part_view){
        .view = {desk->part_times, desk->part_masks, count},
        .events = desk->part_events,
        .by = parts->splits_by ? desk->by[desk->by_value[from]] : 0,
    };
    return true;
}
