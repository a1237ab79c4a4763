/* query/verb_retention.c - the verbs retention and ltv: journeys, kernel, counts; retention_table.c makes the answer.
 *
 * A task keeps, per group and cohort, a row of counts: | size | users of period 0 | ... | of period
 * N |, and behind them sums (retention_value.h), allocated when the first member comes. Rows of all tasks are added
 * up by (group, cohort).
 *
 * `first_ever unfiltered` needs to see the start's event names without any filter, `where`
 * included. So its scan has no `where`: the start and return selectors carry it inside, and a third
 * selector has the bare names.
 */
#include "query/cell_taker.h"
#include "query/data_span.h"
#include "query/pred_eval.h"
#include "query/retention_value.h"
#include "query/saturating.h"
#include "query/walk_int.h"
#include "query/why_notes.h"
#include "storage/base/buf.h"
#include "storage/base/size.h"

_Static_assert(RETENTION_START == 1u << WANT_START && RETENTION_RETURN == 1u << WANT_RETURN &&
                   RETENTION_NAME == 1u << WANT_NAME && RETENTION_VALUE == 1u << WANT_VALUE,
               "selector numbers are the kernel's bits");

/* ---- plan ---- */

/* The selector with `where` inside its filters; or, bare, with no filters at all. */
static enum err_code selector_with(struct arena *arena, const struct selector *selector,
                                   const struct pred *where, bool is_bare, struct selector *ret,
                                   struct err *err)
{
    struct alt *alts = NULL;

    ERR_TRY(ARENA_NEW(arena, selector->alt_count, &alts, err));
    for (uint32_t i = 0; i < selector->alt_count; i++) {
        alts[i] = selector->alts[i];
        alts[i].pred = NULL;
        if (!is_bare) {
            ERR_TRY(pred_and(arena, where, selector->alts[i].pred, &alts[i].pred, err));
        }
    }
    *ret = *selector;
    ret->alts = alts;
    return ERR_OK;
}

/* Selectors by the kernel's bits. What a query does not ask about is not scanned, and its selector is of no event. */
static enum err_code plan_selectors(const struct bound_query *query, struct arena *arena,
                                    struct retention_plan *plan, struct err *err)
{
    const struct retention *retention = &query->retention;
    const struct selector *start = &query->selectors[retention->start_selector];
    bool is_unfiltered = retention->start == RETENTION_FIRST_EVER_UNFILTERED;
    const struct pred *where = is_unfiltered ? query->where : NULL;
    struct selector *selectors = NULL;

    ERR_TRY(ARENA_NEW(arena, WANT_COUNT, &selectors, err));
    ERR_TRY(selector_with(arena, start, where, false, &selectors[WANT_START], err));
    ERR_TRY(selector_with(arena, &query->selectors[retention->return_selector], where, false,
                          &selectors[WANT_RETURN], err));
    if (is_unfiltered) {
        ERR_TRY(selector_with(arena, start, NULL, true, &selectors[WANT_NAME], err));
    }
    if (retention->value != RETENTION_NO_VALUE) {
        ERR_TRY(selector_with(arena, &query->selectors[retention->value_selector], where, false,
                              &selectors[WANT_VALUE], err));
    }
    plan->scan_query = *query;
    plan->scan_query.where = is_unfiltered ? NULL : query->where;
    plan->scan_query.selectors = selectors;
    plan->scan_query.selector_count = WANT_COUNT;
    return ERR_OK;
}

static void plan_wants(const struct bound_query *query, struct retention_plan *plan)
{
    const struct retention_spec *spec = &plan->spec;
    bool is_unfiltered = spec->start == RETENTION_FIRST_EVER_UNFILTERED;
    bool is_ever = spec->start == RETENTION_FIRST_EVER || is_unfiltered;
    struct scan_want back = {WANT_RETURN, spec->begins[0], spec->begins[spec->slot_count]};
    if (spec->rolling_ms > 0) { /* from the last start on, in the subject's own time */
        uint64_t span_ms = 0;
        bool is_all =
            spec->mode == RETENTION_UNBOUNDED ||
            __builtin_mul_overflow(spec->rolling_ms, (uint64_t)spec->period_count, &span_ms);
        back.begin_ms = spec->from_ms;
        back.end_ms = is_all ? INT64_MAX : ms_add_saturating(spec->to_ms, span_ms);
    }
    plan->wants[plan->want_count++] =
        (struct scan_want){WANT_START, is_ever ? INT64_MIN : spec->from_ms, spec->to_ms};
    plan->wants[plan->want_count++] = back;
    if (is_unfiltered) {
        plan->wants[plan->want_count++] = (struct scan_want){WANT_NAME, INT64_MIN, spec->to_ms};
    }
    if (query->retention.value != RETENTION_NO_VALUE) {
        back.selector = WANT_VALUE;
        plan->wants[plan->want_count++] = back;
    }
    plan->firsts = (struct first_ask){
        .query = &plan->scan_query,
        .wants = plan->wants,
        .want_count = plan->want_count,
        .firsts = !is_ever || query->per != NULL ? 0
                  : is_unfiltered                ? RETENTION_NAME
                                                 : RETENTION_START,
    };
}

/* *ret NULL where no period can have a member: no data, or an empty range. */
enum err_code retention_plan_make(struct query_run_ctx *run, struct retention_plan **ret,
                                  struct err *err)
{
    const struct bound_query *query = run->query;
    const struct retention *retention = &query->retention;
    struct data_span span = {0};
    bool is_unbounded = retention->mode == RETENTION_UNBOUNDED;
    int64_t from_ms = query->from_ms;
    int64_t to_ms = query->to_ms;
    struct retention_plan *plan = NULL;

    *ret = NULL;
    if (from_ms == INT64_MIN || to_ms == INT64_MAX || is_unbounded) {
        ERR_TRY(data_span(run, &span, err));
    }
    if (!span.has_data && (from_ms == INT64_MIN || to_ms == INT64_MAX)) {
        return ERR_OK;
    }
    /* Ends that the query leaves open are those of the data. */
    if (from_ms == INT64_MIN) {
        from_ms = span.first_ms;
    }
    if (to_ms == INT64_MAX) {
        to_ms = span.last_ms < INT64_MAX ? span.last_ms + 1 : INT64_MAX;
    }
    ERR_TRY(ARENA_NEW(run->arena, 1, &plan, err));
    plan->lane_keys = UINT32_MAX;
    plan->lane_value = UINT32_MAX;
    plan->lane_events = UINT32_MAX;
    ERR_TRY(civil_grid_init(query->zone, retention->unit, retention->unit_count,
                            (enum civil_weekday)query->week_start, &plan->grid, err));
    ERR_TRY(retention_calendar_make(&plan->grid, from_ms, to_ms, retention->period_count - 1,
                                    is_unbounded && span.has_data ? span.last_ms : INT64_MIN,
                                    run->arena, &plan->calendar, err));
    const struct retention_calendar *calendar = &plan->calendar;
    if (calendar->cohort_count == 0) {
        return ERR_OK;
    }
    plan->spec = (struct retention_spec){
        .begins = calendar->begins,
        .slot_count = calendar->slot_count,
        .cohort_count = calendar->cohort_count,
        .period_count = retention->period_count,
        .column_count = retention->mode == RETENTION_BRACKET ? retention->bracket_count
                                                             : retention->period_count,
        .rolling_ms = retention->rolling_ms,
        .brackets = retention->brackets,
        .at_least = MAX_OF(retention->at_least, 1u),
        .start = retention->start,
        .mode = retention->mode,
        .counts_start = query->verb == VERB_LTV,
        .has_value = retention->value != RETENTION_NO_VALUE,
        .from_ms = from_ms,
        .to_ms = to_ms,
    };
    ERR_TRY(plan_selectors(query, run->arena, plan, err));
    plan_wants(query, plan);
    *ret = plan;
    return ERR_OK;
}

/* ---- counting ---- */

enum err_code retention_row(struct retention_part *part, const struct retention_spec *spec,
                            uint32_t group, uint32_t cohort, struct arena *arena, uint64_t **ret,
                            struct err *err)
{
    if (group >= part->group_cap) {
        size_t cap = MAX_OF(2 * (size_t)part->group_cap, (size_t)group + 1);
        uint64_t ***rows = NULL;
        if (cap > UINT32_MAX) {
            return err_set(err, ERR_LIMIT, "more than %u groups", part->group_cap);
        }
        ERR_TRY(ARENA_NEW(arena, cap, &rows, err));
        for (uint32_t g = 0; g < part->group_cap; g++) {
            rows[g] = part->rows[g];
        }
        part->rows = rows;
        part->group_cap = (uint32_t)cap;
    }
    if (part->rows[group] == NULL) {
        ERR_TRY(ARENA_NEW(arena, spec->cohort_count, &part->rows[group], err));
    }
    uint64_t **row = &part->rows[group][cohort];
    if (*row == NULL) {
        _Static_assert(sizeof(union acc_cell) == sizeof(uint64_t),
                       "a sum stands in a count's place");
        size_t sums = spec->has_value ? spec->column_count : 0;
        ERR_TRY(ARENA_NEW(arena, 1 + spec->column_count + sums, row, err));
    }
    *ret = *row;
    return ERR_OK;
}

/* The group of the start event; of several that could be it, the one with the smallest key. */
static uint32_t start_group(const struct groups *groups, const struct journey *journey,
                            const uint32_t *numbers, const struct retention_member *member)
{
    uint32_t best = UINT32_MAX;

    for (size_t i = member->tie_begin; i < member->tie_end; i++) {
        uint32_t group = numbers[i];
        if (retention_is_start(member, journey->masks[i]) && group != best &&
            (best == UINT32_MAX || groups_cmp(groups, group, best) < 0)) {
            best = group;
        }
    }
    ASSERT(best != UINT32_MAX);
    return best;
}

/* What a task needs beside its part. */
struct task_work {
    const struct retention_plan *plan;
    struct retention_part *part;
    struct retention_scratch scratch;
    uint8_t *back;               /* NULL where slots say all */
    const struct groups *values; /* numbers of the value lane; NULL: no value */
    struct cell_taker *taker;    /* NULL: a table is asked for */
    struct why_notes *notes;     /* NULL: nobody asks why */
    struct outcomes *outcomes;   /* what is counted is noted there for the next time; NULL: it is not */
    struct buf *outcome;         /* scratch of one */
    uint64_t *own_row;           /* what one member is counted in, for any of the three */
    struct arena *arena;
};

/* `row` counts this member alone. */
static enum err_code take_member(struct task_work *work, const struct bound_cell *cell,
                                 const uint64_t *row, const struct journey *journey, uint32_t slot,
                                 uint32_t group, struct err *err)
{
    bool is_wanted = false;
    if ((cell->has_time && work->plan->calendar.begins[slot] != cell->time_ms) ||
        (cell->has_period && row[1 + cell->period] == 0)) {
        return ERR_OK;
    }
    ERR_TRY(cell_taker_wants(work->taker, work->part->groups, group, &is_wanted, err));
    return is_wanted ? cell_take(work->taker, journey->subject, err) : ERR_OK;
}

/* The first event that can be the start, of the group that it counts under. */
static uint32_t start_event(const struct task_work *work, const struct journey *journey,
                            const struct retention_member *member, uint32_t group)
{
    uint32_t lane = work->plan->lane_keys;
    for (size_t i = member->tie_begin; i < member->tie_end; i++) {
        bool is_of_group = lane == UINT32_MAX || journey->lanes[lane][i] == group;
        if (is_of_group && retention_is_start(member, journey->masks[i])) {
            return (uint32_t)i; /* why_note_journey has bounded it */
        }
    }
    return WHY_NO_EVENT;
}

/* `row` counts this member alone. */
static enum err_code note_member(struct task_work *work, const uint64_t *row,
                                 const struct journey *journey,
                                 const struct retention_member *member, uint32_t group,
                                 struct err *err)
{
    const struct retention_spec *spec = &work->plan->spec;
    uint64_t *users = NULL;
    ERR_TRY(ARENA_NEW(work->notes->arena, spec->column_count, &users, err));
    memcpy(users, row + 1, spec->column_count * sizeof(*users));
    const struct why_line line = {
        .begin_ms = work->plan->calendar.begins[member->slot],
        .slot = member->slot,
        .start = start_event(work, journey, member, group),
        .is_start_return = member->is_start_return && !spec->counts_start,
        .users = users,
    };
    const struct groups *groups = work->plan->lane_keys == UINT32_MAX ? NULL : work->part->groups;
    return why_note_line(work->notes, line, groups, group, err);
}

/* The same of what is kept for the next time. */
static enum err_code keep_member(struct task_work *work, uint64_t *own_row, uint32_t subject,
                                 uint32_t slot, uint32_t group, struct err *err)
{
    const struct retention_spec *spec = &work->plan->spec;
    uint64_t *row = NULL;
    retention_outcome_put(work->outcomes, spec, subject, group, slot, own_row, work->outcome);
    ERR_TRY(retention_row(work->part, spec, group, slot, work->arena, &row, err));
    return retention_row_add(spec, own_row, row, &work->part->pool, err);
}

static enum err_code count_member(struct task_work *work, const struct bound_cell *cell,
                                  const struct journey *journey,
                                  const struct retention_member *member, struct err *err)
{
    const struct retention_plan *plan = work->plan;
    const struct retention_spec *spec = &plan->spec;
    struct retention_part *part = work->part;
    uint64_t *row = NULL;
    uint32_t group =
        plan->lane_keys == UINT32_MAX
            ? 0
            : start_group(part->groups, journey, journey->lanes[plan->lane_keys], member);

    if (work->own_row != NULL) {
        row = work->own_row;
        memset(row, 0, ((size_t)spec->column_count + 1) * sizeof(*row));
    } else {
        ERR_TRY(retention_row(part, spec, group, member->slot, work->arena, &row, err));
    }
    row[0]++;
    if (work->back == NULL) {
        kernel_retention_add(spec, &work->scratch, member, row + 1);
    } else {
        kernel_retention_add_vector(spec, &work->scratch, member, journey->times, journey->masks,
                                    journey->count, work->back, row + 1);
    }
    if (work->taker != NULL) {
        return take_member(work, cell, row, journey, member->slot, group, err);
    }
    if (work->notes != NULL) {
        return note_member(work, row, journey, member, group, err);
    }
    if (work->outcomes != NULL) {
        return keep_member(work, row, journey->subject, member->slot, group, err);
    }
    return work->values == NULL
               ? ERR_OK
               : retention_value_add(spec, member, journey, work->back, work->values,
                                     journey->lanes[plan->lane_value], &part->pool,
                                     retention_values(spec, row), err);
}

static enum err_code retention_walk(struct query_run_ctx *run, struct walk *walk,
                                    struct task_work *work, struct err *err)
{
    const struct retention_plan *plan = work->plan;
    const struct retention_spec *spec = &plan->spec;
    struct retention_part *part = work->part;
    struct arena *arena = work->arena;
    bool is_plain = spec->rolling_ms == 0 && !spec->has_value &&
                    (spec->mode == RETENTION_EXACT || spec->mode == RETENTION_UNBOUNDED);
    struct journey journey;
    bool has_more = false;

    acc_pool_init(&part->pool, arena);
    if (plan->lane_keys != UINT32_MAX) {
        part->groups = walk_groups(walk, plan->lane_keys);
    } else if (part->groups == NULL) {
        ERR_TRY(groups_create(run->query, arena, &part->groups, err));
    }
    work->values = spec->has_value ? walk_groups(walk, plan->lane_value) : NULL;
    ERR_TRY(ARENA_NEW(arena, spec->cohort_count, &work->scratch.members, err));
    ERR_TRY(ARENA_NEW(arena, spec->slot_count, &work->scratch.actives, err));
    if (!is_plain) {
        ERR_TRY(ARENA_NEW(arena, spec->period_count, &work->back, err));
    }
    if (run->query->cell != NULL || run->notes != NULL) {
        ERR_TRY(cell_taker_open(run, walk_shard(walk), &work->taker, err));
        work->notes = run->notes;
    }
    ERR_TRY(retention_outcomes_count(walk_outcomes(walk), plan, part, arena, err));
    bool is_kept = outcomes_are_kept(walk_outcomes(walk));
    work->outcomes = is_kept ? NULL : walk_outcomes(walk);
    if (work->taker != NULL || work->notes != NULL || work->outcomes != NULL) {
        ERR_TRY(ARENA_NEW(arena, (size_t)spec->column_count + 1, &work->own_row, err));
    }
    ERR_TRY(walk_next(walk, &journey, &has_more, err));
    while (has_more) {
        if (work->notes != NULL) {
            ERR_TRY(why_note_journey(work->notes, journey.times, journey.masks,
                                     journey.lanes[plan->lane_events], journey.count,
                                     walk_groups(walk, plan->lane_events), err));
        }
        kernel_retention(spec, journey.times, journey.masks, journey.count, &work->scratch);
        for (uint32_t m = 0; m < work->scratch.member_count; m++) {
            ERR_TRY(count_member(work, run->query->cell, &journey, &work->scratch.members[m], err));
        }
        ERR_TRY(walk_next(walk, &journey, &has_more, err));
    }
    return ERR_OK;
}

static enum err_code retention_task(struct query_run_ctx *run, struct walk *walk,
                                    struct arena *arena, void *slot, struct err *err)
{
    CLEANUP(buf_freep) struct buf outcome = {0};
    struct task_work work = {
        .plan = run->verb_plan, .part = slot, .arena = arena, .outcome = &outcome};
    ERR_TRY(retention_walk(run, walk, &work, err));
    retention_outcomes_keep(walk_outcomes(walk), work.plan, work.part);
    return ERR_OK;
}

enum err_code retention_read(struct query_run_ctx *run, const struct run_task *task,
                             const struct journey_rows *rows, struct retention_part *part,
                             struct arena *arena, struct io *io, struct err *err)
{
    const struct retention_plan *plan = run->verb_plan;
    const struct journeys_spec spec = {
        .query = &plan->scan_query,
        .wants = plan->wants,
        .want_count = plan->want_count,
        .rows = rows,
        .firsts = plan->firsts.firsts == 0 ? NULL : &plan->firsts,
    };
    CLEANUP(journeys_closep) struct journeys *journeys = NULL;
    ERR_TRY(journeys_open(run, task, &spec, arena, io, &journeys, err));
    struct walk walk = {.shard = task->shard, .journeys = journeys};
    struct task_work work = {.plan = plan, .part = part, .arena = arena};
    return retention_walk(run, &walk, &work, err);
}

/* Journeys with the lanes that are asked for. */
static enum err_code walk_journeys(struct query_run_ctx *run, struct retention_plan *plan,
                                   struct run_tasks *tasks, struct err *err)
{
    const struct bound_query *query = run->query;
    struct walk_spec spec = {.query = &plan->scan_query,
                             .wants = plan->wants,
                             .want_count = plan->want_count,
                             .firsts = plan->firsts.firsts == 0 ? NULL : &plan->firsts,
                             .subject = query->per};
    if (query->key_count > 0) {
        plan->lane_keys = spec.lane_count;
        spec.lanes[spec.lane_count++] =
            (struct walk_lane){.keys = query->keys, .key_count = query->key_count};
    }
    if (plan->spec.has_value) {
        plan->lane_value = spec.lane_count;
        spec.lanes[spec.lane_count++] =
            (struct walk_lane){.keys = &query->retention.value_key, .key_count = 1};
    }
    struct by_key event_keys[2];
    if (run->notes != NULL) {
        plan->lane_events = spec.lane_count;
        spec.lanes[spec.lane_count++] = why_lane(event_keys);
        spec.is_ordered = true;
    }
    ERR_TRY(retention_outcomes_plan_make(run, plan, err));
    spec.outcomes = plan->outcomes;
    return walk_all(run, &spec, retention_task, sizeof(struct retention_part), tasks, err);
}

/* ---- adding up ---- */

enum err_code retention_row_add(const struct retention_spec *spec, uint64_t *from, uint64_t *into,
                                struct acc_pool *pool, struct err *err)
{
    for (uint32_t i = 0; i <= spec->column_count; i++) {
        into[i] += from[i];
    }
    for (uint32_t i = 0; spec->has_value && i < spec->column_count; i++) {
        ERR_TRY(acc_merge(pool, ACC_SUM, &retention_values(spec, into)[i],
                          &retention_values(spec, from)[i], err));
    }
    return ERR_OK;
}

/* Add group `g` of one part to group `into_group` of another. */
static enum err_code group_add(const struct retention_spec *spec, const struct retention_part *from,
                               uint32_t g, struct retention_part *into, uint32_t into_group,
                               struct arena *arena, struct err *err)
{
    for (uint32_t c = 0; c < spec->cohort_count; c++) {
        if (from->rows[g][c] != NULL) {
            uint64_t *row = NULL;
            ERR_TRY(retention_row(into, spec, into_group, c, arena, &row, err));
            ERR_TRY(retention_row_add(spec, from->rows[g][c], row, &into->pool, err));
        }
    }
    return ERR_OK;
}

static enum err_code merge_parts(const struct retention_spec *spec, const struct run_tasks *tasks,
                                 struct arena *arena, struct retention_part *sum, struct err *err)
{
    const struct retention_part *parts = tasks->slots;

    for (uint32_t t = 0; t < tasks->count; t++) {
        for (uint32_t g = 0; g < parts[t].group_cap; g++) {
            uint32_t number = 0;
            if (parts[t].rows[g] != NULL) {
                ERR_TRY(groups_import(sum->groups, parts[t].groups, g, &number, err));
                ERR_TRY(group_add(spec, &parts[t], g, sum, number, arena, err));
            }
        }
    }
    return ERR_OK;
}

/* Sizes of all groups, and the cohorts that have members: [*ret_first, *ret_last]. */
static enum err_code weigh_groups(struct query_run_ctx *run, const struct retention_spec *spec,
                                  const struct retention_part *sum, struct retention_lines *lines,
                                  uint32_t *ret_first, uint32_t *ret_last, struct err *err)
{
    uint32_t count = groups_count(sum->groups);

    ERR_TRY(ARENA_NEW(run->arena, count, &lines->groups, err));
    *ret_first = spec->cohort_count;
    *ret_last = 0;
    for (uint32_t g = 0; g < count; g++) {
        lines->groups[g].number = g;
        for (uint32_t c = 0; g < sum->group_cap && c < spec->cohort_count; c++) {
            const uint64_t *row = sum->rows[g] == NULL ? NULL : sum->rows[g][c];
            if (row != NULL) {
                lines->groups[g].weight += row[0];
                *ret_first = MIN_OF(*ret_first, c);
                *ret_last = MAX_OF(*ret_last, c);
            }
        }
        lines->size += lines->groups[g].weight;
    }
    return ERR_OK;
}

static enum err_code make_lines(struct query_run_ctx *run, const struct retention_plan *plan,
                                const struct retention_part *sum, struct retention_lines *lines,
                                struct err *err)
{
    const struct bound_query *query = run->query;
    const struct retention_spec *spec = &plan->spec;
    uint32_t count = groups_count(sum->groups);
    uint32_t first = 0;
    uint32_t last = 0;

    acc_pool_init(&lines->part.pool, run->arena);
    ERR_TRY(weigh_groups(run, spec, sum, lines, &first, &last, err));
    /* Every period of an explicit range; else from the first to the last that has members. */
    bool is_explicit = query->from_ms != INT64_MIN && query->to_ms != INT64_MAX;
    lines->cohort_begin = is_explicit ? 0 : first;
    lines->cohort_end = is_explicit ? spec->cohort_count : MAX_OF(last + 1, first);

    uint32_t shown = answer_pick_groups(query, sum->groups, lines->groups, count);
    lines->has_other = query->has_other && shown < count;
    lines->count = shown + (lines->has_other ? 1 : 0);
    lines->left_out = lines->has_other ? 0 : count - shown;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t g = lines->groups[i].number;
        uint32_t line = MIN_OF(i, shown);
        if (line < lines->count && g < sum->group_cap && sum->rows[g] != NULL) {
            ERR_TRY(group_add(spec, sum, g, &lines->part, line, run->arena, err));
        }
    }
    return ERR_OK;
}

static enum err_code make_answer(struct query_run_ctx *run, const struct retention_plan *plan,
                                 const struct run_tasks *tasks, struct result *result,
                                 struct err *err)
{
    const struct bound_query *query = run->query;
    struct retention_part sum = {0};
    struct retention_lines lines = {0};

    acc_pool_init(&sum.pool, run->arena);
    ERR_TRY(groups_create(query, run->arena, &sum.groups, err));
    ERR_TRY(merge_parts(&plan->spec, tasks, run->arena, &sum, err));
    ERR_TRY(make_lines(run, plan, &sum, &lines, err));
    ERR_TRY(retention_columns(query, lines.has_other, result, err));
    ERR_TRY(retention_table(run, plan, sum.groups, &lines, result, err));
    if (lines.count > 0) {
        answer_left_out(result, lines.left_out * (result->row_count / lines.count));
    }
    return retention_totals(query, lines.size, result, err);
}

enum err_code verb_retention(struct query_run_ctx *run, struct result *result, struct err *err)
{
    CLEANUP(run_tasks_free) struct run_tasks tasks = {0};
    const struct bound_query *query = run->query;
    struct retention_plan *plan = NULL;

    ASSERT(query->retention.period_count >= 1 &&
           query->retention.period_count <= QUERY_PERIODS_MAX + 1);
    ERR_TRY(retention_plan_make(run, &plan, err));
    bool is_of_people = query->cell != NULL || run->notes != NULL;
    if (plan == NULL && is_of_people) {
        return ERR_OK; /* nobody */
    }
    if (plan == NULL) {
        ERR_TRY(retention_columns(query, false, result, err));
        return retention_totals(query, 0, result, err);
    }
    run->verb_plan = plan;
    if (!is_of_people && retention_index_serves(run, plan)) {
        ERR_TRY(
            run_all_tasks(run, retention_index_task, sizeof(struct retention_part), &tasks, err));
    } else {
        ERR_TRY(walk_journeys(run, plan, &tasks, err));
    }
    return is_of_people ? ERR_OK : make_answer(run, plan, &tasks, result, err);
}
