/* query/funnel_task.c
 *
 *     subject -> stretches (sessions, or one) -> buckets of entries (`each`, or one) -> parts (values of `by` at
 *             all steps, of `holding`) -> attempts (the shown one; with `count totals` one after the other)
 *             -> funnel_part_count
 *
 * What is counted for a line of the answer and what is counted for all of it are the same attempts, unless each bucket is
 * a funnel of its own or `by` is read at all steps: then a subject may be in several lines, and the attempt that counts
 * for all is looked for apart, over all entries and values. With `trend single` there are no buckets to be followed in:
 * an attempt is counted in that of its entry.
 */
#include "query/funnel_task.h"

#include "query/data_span.h"
#include "query/funnel_correlate.h"
#include "query/funnel_desk.h"
#include "query/funnel_list.h"
#include "query/funnel_outcome.h"
#include "query/funnel_table.h"
#include "query/session_cut.h"
#include "query/why_notes.h"
#include "storage/base/size.h"

/* What all tasks share; immutable while they run. */
struct rules_plan {
    struct walk_spec walk;
    struct scan_want wants[QUERY_SELECTORS_MAX];
    struct first_ask firsts;
    uint64_t beside_firsts
        [QUERY_SELECTORS_MAX]; /* an expired first event fills the steps that ask for it, and is nothing else */
    struct by_key subject_keys[2]; /* or those that name events, of `why` */
    struct outcomes_plan *outcomes;
    struct funnel_spec plain;
    struct funnel_rules rules;
    struct funnel_rules undropped;
    struct answer_buckets buckets;
    struct funnel_entries entries;
    uint32_t by_lane, hold_lane, key_lane;
    bool are_buckets_apart; /* each is a funnel of its own */
    bool is_all_apart;
};

/* A task's slot. */
struct rules_slot {
    struct funnel_part part;
    struct funnel_list list;
    struct funnel_correlation correlation;
};

/* ---- plan ---- */

int64_t funnel_end_ms(const struct bound_query *query)
{
    uint64_t room = (uint64_t)INT64_MAX - (uint64_t)query->to_ms;
    if (query->funnel.is_closed) {
        return query->to_ms;
    }
    return query->funnel.window_ms > room
               ? INT64_MAX
               : (int64_t)((uint64_t)query->to_ms + query->funnel.window_ms);
}

static void add_want(struct rules_plan *plan, uint32_t selector, int64_t begin_ms, int64_t end_ms)
{
    plan->wants[plan->walk.want_count++] =
        (struct scan_want){.selector = selector, .begin_ms = begin_ms, .end_ms = end_ms};
}

static void plan_wants(const struct bound_query *query, struct rules_plan *plan)
{
    const struct funnel *funnel = &query->funnel;
    int64_t end_ms = funnel_end_ms(query);
    for (uint32_t i = 0; i < funnel->step_count; i++) {
        bool is_entry_only = i == 0 && funnel->order != FUNNEL_ANY;
        add_want(plan, i, query->from_ms, is_entry_only ? query->to_ms : end_ms);
        if (funnel->steps[i].first_selector != SELECTOR_NONE) {
            add_want(plan, funnel->steps[i].first_selector, INT64_MIN, end_ms);
        }
    }
    for (uint32_t b = 0; b < funnel->ban_count; b++) {
        add_want(plan, funnel->bans[b].selector, query->from_ms, end_ms);
    }
    if (funnel->considering != SELECTOR_NONE) {
        add_want(plan, funnel->considering, query->from_ms, end_ms);
    }
    if (funnel->session != SELECTOR_NONE) { /* where the first session begins, older events say */
        add_want(plan, funnel->session, INT64_MIN, end_ms);
    }
    if (funnel->correlate_any != SELECTOR_NONE) {
        add_want(plan, funnel->correlate_any, query->from_ms, end_ms);
    }
}

static void plan_firsts(const struct bound_query *query, struct rules_plan *plan)
{
    const struct funnel *funnel = &query->funnel;
    plan->firsts = (struct first_ask){.query = query,
                                      .wants = plan->wants,
                                      .want_count = plan->walk.want_count,
                                      .beside = plan->beside_firsts};
    for (uint32_t i = 0; i < funnel->step_count; i++) {
        uint32_t first = funnel->steps[i].first_selector;
        if (first != SELECTOR_NONE) {
            plan->firsts.firsts |= UINT64_C(1) << first;
            plan->beside_firsts[first] |= UINT64_C(1) << i;
        }
    }
    if (plan->firsts.firsts != 0 && query->per == NULL) {
        plan->walk.firsts = &plan->firsts;
    }
}

static uint32_t add_lane(struct rules_plan *plan, struct walk_lane lane)
{
    if (lane.key_count == 0) {
        return FUNNEL_LANE_NONE;
    }
    plan->walk.lanes[plan->walk.lane_count] = lane;
    return plan->walk.lane_count++;
}

static void plan_lanes(const struct query_run_ctx *run, struct rules_plan *plan)
{
    const struct bound_query *query = run->query;
    const struct funnel *funnel = &query->funnel;
    struct walk_lane none = {0};
    plan->by_lane =
        add_lane(plan, (struct walk_lane){.keys = query->keys, .key_count = query->key_count});
    plan->hold_lane = add_lane(
        plan, (struct walk_lane){.keys = funnel->holding, .key_count = funnel->holding_count});
    struct walk_lane key = none;
    if (run->notes != NULL) {
        key = why_lane(plan->subject_keys);
        plan->walk.is_ordered = true;
    } else if (funnel->table == FUNNEL_LIST) {
        key = answer_subject_lane(query, plan->subject_keys);
    } else if (funnel->table == FUNNEL_CORRELATION) {
        key = (struct walk_lane){.keys = funnel->correlate, .key_count = 1};
    }
    plan->key_lane = add_lane(plan, key);
}

static enum err_code plan_rules(const struct funnel *funnel, struct rules_plan *plan,
                                struct arena *arena, struct err *err)
{
    struct funnel_ban *undropped = NULL;
    struct funnel_rules *rules = &plan->rules;
    *rules = (struct funnel_rules){
        .step_count = funnel->step_count,
        .window_ms = funnel->window_ms,
        .is_strict_ties = funnel->is_strict_ties,
        .has_reuse = funnel->has_reuse,
        .is_strict = funnel->order == FUNNEL_STRICT,
        .stops_on_repeat = funnel->stops_on_repeat,
        .stops_on_foreign = funnel->stops_on_foreign,
        .considered = funnel->considering == SELECTOR_NONE ? 0 : UINT64_C(1) << funnel->considering,
        .bans = funnel->bans,
        .ban_count = funnel->ban_count,
    };
    for (uint32_t i = 0; i < funnel->step_count; i++) {
        const struct funnel_step *step = &funnel->steps[i];
        rules->limits_ms[i] = i > 0 && step->has_limit ? step->limit_ms : FUNNEL_NO_LIMIT;
        rules->optional |= (uint64_t)step->is_optional << i;
        rules->anchored |= (uint64_t)step->is_anchored << i;
    }
    plan->undropped = *rules;
    plan->undropped.ban_count = 0;
    ERR_TRY(ARENA_NEW(arena, funnel->ban_count, &undropped, err));
    for (uint32_t b = 0; b < funnel->ban_count; b++) {
        uint64_t bit = UINT64_C(1) << funnel->bans[b].selector;
        rules->ban_bits |= bit;
        if (funnel->bans[b].is_dropping) {
            rules->drop_bits |= bit;
        } else {
            undropped[plan->undropped.ban_count++] = funnel->bans[b];
            plan->undropped.ban_bits |= bit;
        }
    }
    plan->undropped.bans = undropped;
    return ERR_OK;
}

/* Without a range, entries are those of the data: a first event that is expired lies before them. */
static enum err_code plan_entries(struct query_run_ctx *run, struct rules_plan *plan,
                                  struct err *err)
{
    const struct bound_query *query = run->query;
    struct data_span span = {0};
    plan->entries.first_ms = query->from_ms;
    if (query->from_ms == INT64_MIN && plan->walk.firsts != NULL) {
        ERR_TRY(data_span(run, &span, err));
        plan->entries.first_ms = span.has_data ? span.first_ms : INT64_MAX;
    }
    plan->entries.last_ms = query->to_ms == INT64_MIN ? INT64_MIN : query->to_ms - 1;
    if (query->to_ms == INT64_MAX) {
        plan->entries.last_ms = INT64_MAX;
    }
    return ERR_OK;
}

static enum err_code plan_make(struct query_run_ctx *run, struct rules_plan **ret, struct err *err)
{
    const struct bound_query *query = run->query;
    struct rules_plan *plan = NULL;

    ERR_TRY(ARENA_NEW(run->arena, 1, &plan, err));
    plan->walk = (struct walk_spec){.query = query, .wants = plan->wants, .subject = query->per};
    plan_wants(query, plan);
    plan_firsts(query, plan);
    plan_lanes(run, plan);
    plan->plain = funnel_plain_spec(&query->funnel);
    ERR_TRY(plan_rules(&query->funnel, plan, run->arena, err));
    ERR_TRY(answer_buckets(run, &plan->buckets, err));
    ERR_TRY(plan_entries(run, plan, err));
    bool is_of_all_time = plan->walk.firsts != NULL || query->funnel.session != SELECTOR_NONE;
    ERR_TRY(funnel_outcomes_plan_make(run, plan->entries.first_ms,
                                      is_of_all_time ? INT64_MIN : query->from_ms,
                                      plan->walk.firsts != NULL, &plan->outcomes, err));
    plan->walk.outcomes = plan->outcomes;
    plan->are_buckets_apart = query->has_each && !query->funnel.is_trend_single;
    plan->is_all_apart = plan->are_buckets_apart || query->funnel.at == FUNNEL_AT_ALL_STEPS;
    *ret = plan;
    return ERR_OK;
}

/* ---- a task ---- */

struct rules_task {
    struct query_run_ctx *run;
    const struct bound_query *query;
    const struct rules_plan *plan;
    struct arena *arena;
    struct rules_slot *slot;
    struct funnel_desk desk;
    struct funnel_follower follower;
};

/* An attempt, and whose. */
struct found {
    struct funnel_shown shown; /* events: of the desk */
    uint32_t by;               /* with `at all steps` */
};

/* Events of the view that can be of attempts that start in `entries`. */
static struct funnel_view view_within(const struct funnel_view *view, struct funnel_entries entries,
                                      uint64_t window_ms, size_t *ret_begin)
{
    uint64_t room = (uint64_t)INT64_MAX - (uint64_t)entries.last_ms;
    int64_t last_ms =
        window_ms >= room ? INT64_MAX : (int64_t)((uint64_t)entries.last_ms + window_ms);
    size_t begin = funnel_view_at(view, entries.first_ms);
    size_t end = last_ms == INT64_MAX ? view->count : funnel_view_at(view, last_ms + 1);
    *ret_begin = begin;
    return (struct funnel_view){view->times + begin, view->masks + begin,
                                end > begin ? end - begin : 0};
}

/* The kernels number events from where the view begins; from here on they are the desk's. */
static void shown_events(const struct funnel_part_view *part, size_t view_begin,
                         struct funnel_shown *shown)
{
    for (uint64_t bits = shown->level == 0 ? 0 : shown->filled; bits != 0; bits &= bits - 1) {
        uint32_t step = (uint32_t)__builtin_ctzll(bits);
        size_t at = shown->events[step] + view_begin;
        shown->events[step] = part->events != NULL ? part->events[at] : part->begin + at;
    }
}

/* < 0: `a` stands before `b`, of two attempts at one level with one start and one end. A step is rather done than skipped,
 * and early; of attempts with the same times those with the smallest keys come first, of the entry before other steps. */
static int steps_cmp(const struct funnel_desk *desk, const struct funnel_shown *a,
                     const struct funnel_shown *b)
{
    int order = 0;
    for (uint64_t bits = a->filled | b->filled; bits != 0; bits &= bits - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(bits);
        uint64_t bit = UINT64_C(1) << i;
        if ((a->filled & b->filled & bit) == 0) {
            return (a->filled & bit) != 0 ? -1 : 1;
        }
        if (a->times[i] != b->times[i]) {
            return a->times[i] < b->times[i] ? -1 : 1;
        }
    }
    for (uint64_t bits = desk->by == NULL ? 0 : a->filled; bits != 0 && order == 0;
         bits &= bits - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(bits);
        order = groups_cmp(desk->by_groups, desk->by[a->events[i]], desk->by[b->events[i]]);
    }
    return order;
}

/* Is `a` to be shown rather than `b`? Values that are held, and those of `by` for all of the answer, compete. */
static bool is_rather(const struct rules_task *task, const struct funnel_shown *a,
                      const struct funnel_shown *b)
{
    if (a->level != b->level) {
        return a->level > b->level;
    }
    if (a->level == 0) {
        return false;
    }
    enum funnel_show show = task->query->funnel.show;
    int64_t a_end_ms = a->times[a->level - 1];
    int64_t b_end_ms = b->times[b->level - 1];
    if (show == FUNNEL_SHOW_FIRST && a_end_ms != b_end_ms) {
        return a_end_ms < b_end_ms;
    }
    if (a->times[0] != b->times[0]) {
        return (a->times[0] > b->times[0]) == (show != FUNNEL_SHOW_EARLIEST);
    }
    if (a_end_ms != b_end_ms) {
        return a_end_ms < b_end_ms;
    }
    return steps_cmp(&task->desk, a, b) < 0; /* else the first in the order of values stays */
}

/* ---- counting ---- */

/* The value of `by` that the attempt counts under. */
static uint32_t group_of(const struct rules_task *task, const struct found *found)
{
    const struct funnel *funnel = &task->query->funnel;
    const struct funnel_desk *desk = &task->desk;
    const struct funnel_shown *shown = &found->shown;

    if (desk->by == NULL) {
        return 0;
    }
    switch (funnel->at) {
    case FUNNEL_AT_ALL_STEPS: return found->by;
    case FUNNEL_AT_STEP:
        return (shown->filled >> funnel->at_step & 1) != 0
                   ? desk->by[shown->events[funnel->at_step]]
                   : FUNNEL_GROUP_NULL;
    case FUNNEL_AT_FIRST_SET:
    case FUNNEL_AT_LAST_SET: break;
    }
    uint32_t group = FUNNEL_GROUP_NULL;
    for (uint64_t bits = shown->filled; bits != 0; bits &= bits - 1) {
        uint32_t by = desk->by[shown->events[__builtin_ctzll(bits)]];
        bool is_set = false;
        for (uint32_t k = 0; k < task->query->key_count; k++) {
            is_set = is_set || groups_cell(desk->by_groups, by, k).kind != CELL_NULL;
        }
        if (is_set && (group == FUNNEL_GROUP_NULL || funnel->at == FUNNEL_AT_LAST_SET)) {
            group = by;
        }
    }
    return group;
}

/* That of its entry. */
static uint32_t bucket_of(const struct rules_task *task, const struct found *found)
{
    return answer_bucket_of(&task->plan->buckets, found->shown.times[0]);
}

/* What is counted for a line, for `why`. */
static enum err_code note_found(struct rules_task *task, uint32_t counts, const struct found *found,
                                struct err *err)
{
    const struct funnel_shown *shown = &found->shown;
    struct why_notes *notes = task->run->notes;
    uint32_t *events = NULL;
    if ((counts & FUNNEL_COUNTS_LINE) == 0) {
        return ERR_OK;
    }
    ERR_TRY(ARENA_NEW(notes->arena, QUERY_STEPS_MAX, &events, err));
    for (uint64_t bits = shown->filled; bits != 0; bits &= bits - 1) {
        uint32_t step = (uint32_t)__builtin_ctzll(bits);
        events[step] = (uint32_t)shown->events[step]; /* why_note_journey has bounded them */
    }
    const struct why_line line = {
        .begin_ms = task->plan->buckets.begins[bucket_of(task, found)],
        .level = 64 - (uint32_t)__builtin_clzll(shown->filled),
        .filled = shown->filled,
        .events = events,
    };
    return why_note_line(notes, line, task->desk.by_groups, group_of(task, found), err);
}

static enum err_code count_found(struct rules_task *task, uint32_t counts,
                                 const struct found *found, struct err *err)
{
    const struct funnel_shown *shown = &found->shown;
    struct rules_slot *slot = task->slot;
    uint32_t cell = 0;

    if (shown->level == 0) {
        return ERR_OK;
    }
    if (task->run->notes != NULL) {
        return note_found(task, counts, found, err);
    }
    switch (task->query->funnel.table) {
    case FUNNEL_LIST:
        return funnel_list_add(&slot->list, task->desk.key, task->desk.count, shown->level,
                               task->arena, err);
    case FUNNEL_CORRELATION:
        return funnel_correlation_add(&slot->correlation, task->query, &task->desk, shown,
                                      task->arena, err);
    case FUNNEL_STEPS:
    case FUNNEL_TIMES: break;
    }
    if ((counts & FUNNEL_COUNTS_LINE) != 0) {
        ERR_TRY(funnel_part_cell(&slot->part, bucket_of(task, found), group_of(task, found), &cell,
                                 err));
    }
    struct funnel_counted counted = {64 - (uint32_t)__builtin_clzll(shown->filled), shown->filled,
                                     shown->times};
    return funnel_part_count(&slot->part, task->query, task->arena, cell, counts, &counted, err);
}

/* ---- attempts ---- */

/* Attempts one after the other: the next starts when the one before is over, with events that it has not
 * taken. */
static enum err_code count_totals(struct rules_task *task, const struct funnel_part_view *part,
                                  struct funnel_entries entries, uint32_t counts, struct err *err)
{
    struct funnel_view view = part->view;
    uint64_t steps = ~UINT64_C(0) >> (64 - task->query->funnel.step_count);
    uint64_t *masks = task->desk.part_masks; /* the view's own masks, to be changed */
    uint32_t rounds = 0;

    if (view.masks != masks) {
        memcpy(masks, view.masks, view.count * sizeof(*masks));
        view.masks = masks;
    }
    while (entries.first_ms <= entries.last_ms) {
        struct found found = {.by = part->by};
        size_t begin = 0;
        int64_t over_ms = 0;
        struct funnel_view rest = view_within(&view, entries, UINT64_MAX, &begin);
        ERR_TRY(++rounds % 64 == 0 ? run_check(task->run, err) : ERR_OK);
        ERR_TRY(funnel_follow_first(&task->follower, &rest, entries, &found.shown, &over_ms, err));
        for (uint64_t bits = found.shown.level == 0 ? 0 : found.shown.filled; bits != 0;
             bits &= bits - 1) {
            masks[begin + found.shown.events[__builtin_ctzll(bits)]] &= ~steps;
        }
        shown_events(part, begin, &found.shown);
        ERR_TRY(count_found(task, counts, &found, err));
        if (over_ms == INT64_MAX) {
            break;
        }
        entries.first_ms = over_ms;
    }
    return ERR_OK;
}

/* The best attempt so far of the parts that compete: a subject that got furthest only by attempts that were dropped
 * has none. */
struct contest {
    struct found best;
    uint32_t furthest;
};

static enum err_code contest_end(struct rules_task *task, struct contest *contest, uint32_t counts,
                                 struct err *err)
{
    struct contest done = *contest;
    *contest = (struct contest){0};
    return done.best.shown.level < done.furthest ? ERR_OK
                                                 : count_found(task, counts, &done.best, err);
}

/* The attempts that start in `entries`, among events [begin, end) of the desk. */
static enum err_code count_entries(struct rules_task *task, size_t begin, size_t end,
                                   struct funnel_entries entries, uint32_t counts, struct err *err)
{
    bool splits_by = task->query->funnel.at == FUNNEL_AT_ALL_STEPS && task->desk.by != NULL;
    bool has_lines = (counts & FUNNEL_COUNTS_LINE) != 0;
    struct funnel_parts parts;
    struct funnel_part_view part;
    struct contest contest = {0};
    uint32_t by = 0; /* of the contest at hand */

    funnel_parts_open(&task->desk, begin, end, splits_by, &parts);
    while (funnel_parts_next(&task->desk, &parts, &part)) {
        struct found found = {.by = part.by};
        size_t view_begin = 0;
        ERR_TRY(run_check(task->run, err));
        if (task->query->funnel.count == FUNNEL_TOTALS) {
            ERR_TRY(count_totals(task, &part, entries, counts, err));
            continue;
        }
        struct funnel_view view =
            view_within(&part.view, entries, task->plan->rules.window_ms, &view_begin);
        ERR_TRY(funnel_follow(&task->follower, &view, entries, &found.shown, err));
        shown_events(&part, view_begin, &found.shown);
        if (has_lines && splits_by && by != part.by) { /* each value is a contest of its own */
            ERR_TRY(contest_end(task, &contest, counts, err));
            by = part.by;
        }
        contest.furthest = MAX_OF(contest.furthest, task->follower.furthest);
        contest.best = is_rather(task, &found.shown, &contest.best.shown) ? found : contest.best;
    }
    return contest_end(task, &contest, counts, err);
}

/* The attempts of events [begin, end) of the desk: of each bucket of entries apart, where they are, and of all. */
static enum err_code count_stretch(struct rules_task *task, size_t begin, size_t end,
                                   struct err *err)
{
    const struct rules_plan *plan = task->plan;
    const struct funnel_desk *desk = &task->desk;
    uint64_t steps = ~UINT64_C(0) >> (64 - task->query->funnel.step_count);
    uint32_t both = FUNNEL_COUNTS_LINE | FUNNEL_COUNTS_ALL;

    if (!plan->is_all_apart) {
        return count_entries(task, begin, end, plan->entries, both, err);
    }
    ERR_TRY(count_entries(task, begin, end, plan->entries, FUNNEL_COUNTS_ALL, err));
    if (!plan->are_buckets_apart) {
        return count_entries(task, begin, end, plan->entries, FUNNEL_COUNTS_LINE, err);
    }
    for (size_t i = begin; i < end;) {
        int64_t t = desk->times[i];
        if ((desk->masks[i] & steps) == 0 || t < plan->entries.first_ms) {
            i++;
            continue;
        }
        if (t > plan->entries.last_ms) {
            break;
        }
        int64_t bucket_last_ms = plan->buckets.begins[answer_bucket_of(&plan->buckets, t) + 1] - 1;
        struct funnel_entries entries = {t, MIN_OF(plan->entries.last_ms, bucket_last_ms)};
        ERR_TRY(count_entries(task, begin, end, entries, FUNNEL_COUNTS_LINE, err));
        while (i < end && desk->times[i] <= bucket_last_ms) {
            i++;
        }
    }
    return ERR_OK;
}

static enum err_code count_subject(struct rules_task *task, const struct journey *journey,
                                   struct err *err)
{
    struct session_rule rule = session_rule_default();
    bool has_sessions = task->query->funnel.count == FUNNEL_SESSIONS;

    ERR_TRY(funnel_desk_load(&task->desk, journey, err));
    task->follower.scratch = task->desk.scratch; /* it may have grown */
    if (task->run->notes != NULL) {
        ERR_TRY(why_note_journey(task->run->notes, task->desk.times, task->desk.masks,
                                 task->desk.key, task->desk.count, task->slot->list.groups, err));
    }
    for (size_t begin = 0; begin < journey->count;) {
        size_t end = has_sessions ? session_end(&rule, task->desk.times, journey->count, begin)
                                  : journey->count;
        ERR_TRY(count_stretch(task, begin, end, err));
        begin = end;
    }
    return ERR_OK;
}

static const struct groups *lane_groups(const struct walk *walk, uint32_t lane)
{
    return lane == FUNNEL_LANE_NONE ? NULL : walk_groups(walk, lane);
}

static enum err_code task_open(struct rules_task *task, struct walk *walk, struct err *err)
{
    const struct rules_plan *plan = task->plan;
    const struct funnel *funnel = &task->query->funnel;
    struct groups *by_groups =
        plan->by_lane == FUNNEL_LANE_NONE ? NULL : walk_groups(walk, plan->by_lane);

    task->desk = (struct funnel_desk){
        .query = task->query,
        .arena = task->arena,
        .by_groups = by_groups,
        .hold_groups = lane_groups(walk, plan->hold_lane),
        .by_lane = plan->by_lane,
        .hold_lane = plan->hold_lane,
        .key_lane = plan->key_lane,
        .considered = plan->rules.considered,
        .is_ordered = plan->walk.is_ordered,
    };
    task->follower = (struct funnel_follower){
        .run = task->run,
        .rules = plan->rules,
        .undropped = plan->undropped,
        .plain = funnel->is_plain ? &plan->plain : NULL,
        .is_any = funnel->order == FUNNEL_ANY,
        .is_entry_first = funnel->is_entry_first,
        .show = funnel->show,
    };
    task->slot->list.groups = lane_groups(walk, plan->key_lane);
    task->slot->correlation.groups = lane_groups(walk, plan->key_lane);
    ERR_TRY(funnel_part_init(&task->slot->part, task->query, by_groups, true, plan->is_all_apart,
                             task->arena, err));
    return funnel_part_watch(&task->slot->part, task->run, walk_shard(walk), &plan->buckets, err);
}

static enum err_code rules_task_run(struct query_run_ctx *run, struct walk *walk,
                                    struct arena *arena, void *slot, struct err *err)
{
    struct rules_task task = {
        .run = run, .query = run->query, .plan = run->verb_plan, .arena = arena, .slot = slot};
    struct journey journey;
    bool has_more = false;

    ERR_TRY(task_open(&task, walk, err));
    struct funnel_part *part = &task.slot->part;
    ERR_TRY(funnel_outcomes_count(walk_outcomes(walk), part, run->query, &task.plan->buckets, arena,
                                  err));
    part->outcomes = walk_outcomes(walk);
    ERR_TRY(walk_next(walk, &journey, &has_more, err));
    while (has_more) {
        task.slot->part.subject = journey.subject;
        ERR_TRY(count_subject(&task, &journey, err));
        ERR_TRY(walk_next(walk, &journey, &has_more, err));
    }
    part->outcomes = NULL;
    funnel_outcomes_keep(walk_outcomes(walk), part, run->query);
    return ERR_OK;
}

/* ---- the answer ---- */

enum err_code funnel_with_rules(struct query_run_ctx *run, struct result *result, struct err *err)
{
    CLEANUP(run_tasks_free) struct run_tasks tasks = {0};
    struct rules_plan *plan = NULL;
    struct funnel_merge merge;

    ERR_TRY(plan_make(run, &plan, err));
    run->verb_plan = plan;
    ERR_TRY(walk_all(run, &plan->walk, rules_task_run, sizeof(struct rules_slot), &tasks, err));
    if (run->query->cell != NULL || run->notes != NULL) {
        return ERR_OK; /* who was counted is asked for, or why, not a table */
    }
    switch (run->query->funnel.table) {
    case FUNNEL_LIST:
        return funnel_list_table(run, &tasks, offsetof(struct rules_slot, list), result, err);
    case FUNNEL_CORRELATION:
        return funnel_correlation_table(run, &tasks, offsetof(struct rules_slot, correlation),
                                        result, err);
    case FUNNEL_STEPS:
    case FUNNEL_TIMES: break;
    }
    ERR_TRY(
        funnel_merge(run, &tasks, offsetof(struct rules_slot, part), &plan->buckets, &merge, err));
    return funnel_table(run, &merge, result, err);
}
