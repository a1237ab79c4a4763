/* query/segment_per_key.c - a segment `per KEY`: the values of KEY whose events meet the condition.
 *
 *     segment count(play) >= 3 and not did(error) per table_id list users
 *
 * A value is what a person is without `per`: all events that carry it. Each is looked at by itself, in its journey (walk.h), and
 * its tests are answered one after the other. The properties that tests measure are carried along as one lane, of tuples.
 *
 * Thread: one task, then the calling thread.
 */
#include "query/answer_journeys.h"
#include "query/grow.h"
#include "query/run_people.h"
#include "query/segment_cond.h"
#include "query/verb_segment.h"
#include "query/why_notes.h"
#include "storage/base/size.h"

#define NO_KEY UINT32_MAX

/* What all tasks share. */
struct value_plan {
    const struct people_segment *segment;
    uint32_t *fields;    /* by leaf: which key of the lane of values it measures */
    struct by_key *keys; /* of that lane */
    uint32_t key_count;
    uint32_t subject_lane, value_lane;
    int64_t from_ms, to_ms; /* of the universe */
};

struct value_part {
    uint64_t count;
    struct groups *subjects;
    uint32_t *lines; /* numbers of subjects, of a list */
    uint32_t line_count, line_cap;
};

/* A task's work on the value at hand. */
struct value_work {
    struct query_run_ctx *run;
    const struct value_plan *plan;
    const struct journey *journey;
    const struct groups *values;
    struct arena *scratch;
    struct acc_pool pool; /* of the scratch */
};

/* ---- tests ---- */

static bool is_about(const struct cond *cond, const struct journey *journey, size_t event)
{
    return (journey->masks[event] >> cond->selector & 1) != 0 &&
           journey->times[event] >= cond->begin_ms && journey->times[event] < cond->end_ms;
}

static bool did(const struct cond *cond, const struct journey *journey)
{
    for (size_t i = 0; i < journey->count; i++) {
        if (is_about(cond, journey, i)) {
            return true;
        }
    }
    return false;
}

/* Equal values have one literal: they are numbered by value. */
static struct hash128 literal_hash(const struct literal *value)
{
    if (value->type == COL_STRING) {
        return hash128(value->string.ptr, value->string.len, 0);
    }
    const int64_t words[2] = {
        value->type == COL_NUMBER ? value->number.m
        : value->type == COL_BOOL ? value->boolean
                                  : value->ts_ms,
        value->type == COL_NUMBER ? value->number.scale : 0,
    };
    return hash128(words, sizeof(words), 0);
}

static enum err_code add_event(struct value_work *work, const struct cond *cond, size_t event,
                               union acc_cell *cell, struct err *err)
{
    const struct value_plan *plan = work->plan;
    struct literal value;
    if (cond->agg == AGG_COUNT) {
        cell->count++;
        return ERR_OK;
    }
    uint32_t number = work->journey->lanes[plan->value_lane][event];
    if (!groups_literal(work->values, number, plan->fields[cond->leaf], &value)) {
        return ERR_OK;
    }
    return cond->agg == AGG_UNIQUE ? acc_add_hash(&work->pool, cell, literal_hash(&value), err)
                                   : cond_add_number(cond, &work->pool, cell, value.number, err);
}

static enum err_code measure(struct value_work *work, const struct cond *cond, struct cell *ret,
                             struct err *err)
{
    union acc_cell cell = {0};
    for (size_t i = 0; i < work->journey->count; i++) {
        if (is_about(cond, work->journey, i)) {
            ERR_TRY(add_event(work, cond, i, &cell, err));
        }
    }
    *ret = cell.count == 0 ? cond_value_of_nothing(cond) : cond_value(cond, &cell);
    return ERR_OK;
}

static enum err_code formula(struct value_work *work, const struct cond *cond, struct cell *ret,
                             struct err *err)
{
    struct cell kids[QUERY_FORMULA_MAX];
    for (uint32_t k = 0; k < cond->kid_count; k++) {
        ERR_TRY(measure(work, cond->kids[k], &kids[k], err));
    }
    *ret = cond_formula_value(cond, kids);
    return ERR_OK;
}

/* ---- the tree ---- */

static enum err_code holds(struct value_work *work, const struct cond *cond, bool *ret,
                           struct err *err);

/* All kids are asked where `why` wants to know of each. */
static enum err_code kids_hold(struct value_work *work, const struct cond *cond, bool *ret,
                               struct err *err)
{
    bool is_and = cond->kind == COND_AND;
    *ret = is_and;
    for (uint32_t k = 0; k < cond->kid_count && (*ret == is_and || work->run->notes != NULL); k++) {
        bool kid = false;
        ERR_TRY(holds(work, cond->kids[k], &kid, err));
        *ret = is_and ? *ret && kid : *ret || kid;
    }
    return ERR_OK;
}

static enum err_code holds(struct value_work *work, const struct cond *cond, bool *ret,
                           struct err *err)
{
    struct why_part part = {.cond = cond};
    bool kid = false;
    switch (cond->kind) {
    case COND_AND:
    case COND_OR: ERR_TRY(kids_hold(work, cond, ret, err)); break;
    case COND_NOT:
        ERR_TRY(holds(work, cond->kids[0], &kid, err));
        *ret = !kid;
        break;
    case COND_DID: *ret = did(cond, work->journey); break;
    case COND_MEASURE:
    case COND_FORMULA:
        ERR_TRY(cond->kind == COND_MEASURE ? measure(work, cond, &part.value, err)
                                           : formula(work, cond, &part.value, err));
        *ret = cond_number_holds(cond, &part.value);
        break;
    case COND_PEOPLE:
    case COND_IDS:
        ASSERT(false); /* the binder lets none through */
        break;
    }
    part.is_met = *ret;
    return work->run->notes == NULL ? ERR_OK : why_note_part(work->run->notes, part, err);
}

static bool is_in_universe(const struct value_work *work)
{
    const struct people_segment *segment = work->plan->segment;
    const struct cond universe = {.selector = segment->universe_selector,
                                  .begin_ms = work->plan->from_ms,
                                  .end_ms = work->plan->to_ms};
    return !segment->has_universe || did(&universe, work->journey);
}

/* Outside of the universe no part holds. */
static enum err_code is_met(struct value_work *work, bool *ret, struct err *err)
{
    struct arena_mark mark = arena_mark(work->scratch);
    bool is_seen = is_in_universe(work);
    *ret = false;
    if (work->run->notes != NULL) {
        work->run->notes->is_in_universe = is_seen;
    }
    if (!is_seen) {
        return ERR_OK;
    }
    acc_pool_init(&work->pool, work->scratch);
    enum err_code code = holds(work, work->plan->segment->cond, ret, err);
    acc_pool_done(&work->pool);
    arena_rewind(work->scratch, mark);
    return code;
}

/* ---- tasks ---- */

static enum err_code values_task(struct query_run_ctx *run, struct walk *walk, struct arena *arena,
                                 void *slot, struct err *err)
{
    CLEANUP(arena_freep) struct arena *scratch = arena_create(&run->budget);
    const struct value_plan *plan = run->verb_plan;
    struct value_part *part = slot;
    struct journey journey;
    bool has_more = false;
    struct value_work work = {
        .run = run,
        .plan = plan,
        .journey = &journey,
        .values = plan->value_lane == NO_KEY ? NULL : walk_groups(walk, plan->value_lane),
        .scratch = scratch};
    bool is_list = plan->subject_lane != NO_KEY;
    part->subjects = is_list ? walk_groups(walk, plan->subject_lane) : NULL;
    ERR_TRY(walk_next(walk, &journey, &has_more, err));
    while (has_more) {
        bool is_one = false;
        ERR_TRY(is_met(&work, &is_one, err));
        part->count += is_one;
        if (is_one && is_list) {
            ERR_TRY(GROW(arena, &part->lines, part->line_count, &part->line_cap, err));
            part->lines[part->line_count++] = journey.lanes[plan->subject_lane][0];
        }
        ERR_TRY(walk_next(walk, &journey, &has_more, err));
    }
    return ERR_OK;
}

/* ---- plan ---- */

/* Which key of the lane a test measures; one that no other has measured is added. */
static enum err_code plan_field(struct value_plan *plan, const struct cond *cond, struct err *err)
{
    uint32_t k = 0;
    while (k < plan->key_count && (plan->keys[k].field.kind != cond->field.kind ||
                                   plan->keys[k].field.col != cond->field.col)) {
        k++;
    }
    if (k == QUERY_KEYS_MAX) {
        return err_set(err, ERR_LIMIT, "a segment per KEY measures at most %u properties",
                       QUERY_KEYS_MAX);
    }
    if (k == plan->key_count) {
        plan->keys[plan->key_count++] =
            (struct by_key){.name = cond->field.name, .field = cond->field};
    }
    plan->fields[cond->leaf] = k;
    return ERR_OK;
}

/* One want per selector, over all the time that tests look at. */
static void plan_want(struct walk_spec *spec, struct scan_want *wants, struct scan_want more)
{
    uint32_t w = 0;
    if (more.begin_ms >= more.end_ms) {
        return;
    }
    while (w < spec->want_count && wants[w].selector != more.selector) {
        w++;
    }
    if (w == spec->want_count) {
        wants[spec->want_count++] = more;
    }
    wants[w].begin_ms = MIN_OF(wants[w].begin_ms, more.begin_ms);
    wants[w].end_ms = MAX_OF(wants[w].end_ms, more.end_ms);
}

static enum err_code plan_tests(struct value_plan *plan, const struct cond *cond,
                                struct walk_spec *spec, struct scan_want *wants, struct err *err)
{
    for (uint32_t k = 0; k < cond->kid_count; k++) {
        ERR_TRY(plan_tests(plan, cond->kids[k], spec, wants, err));
    }
    if (cond->kind != COND_DID && cond->kind != COND_MEASURE) {
        return ERR_OK;
    }
    plan_want(spec, wants, (struct scan_want){cond->selector, cond->begin_ms, cond->end_ms});
    return cond->kind == COND_MEASURE && cond->agg != AGG_COUNT ? plan_field(plan, cond, err)
                                                                : ERR_OK;
}

static void plan_lanes(const struct bound_query *query, struct value_plan *plan,
                       struct walk_spec *spec, struct by_key subject_keys[2])
{
    plan->subject_lane = NO_KEY;
    plan->value_lane = NO_KEY;
    if (query->is_list) {
        plan->subject_lane = spec->lane_count;
        spec->lanes[spec->lane_count++] = answer_subject_lane(query, subject_keys);
    }
    if (plan->key_count > 0) {
        plan->value_lane = spec->lane_count;
        spec->lanes[spec->lane_count++] = (struct walk_lane){plan->keys, plan->key_count};
    }
}

static enum err_code run_values(struct query_run_ctx *run, struct run_tasks *tasks, struct err *err)
{
    const struct bound_query *query = run->query;
    const struct people_segment *segment = &query->segment;
    struct scan_want *wants = NULL;
    struct by_key subject_keys[2];
    struct value_plan plan = {.segment = segment, .from_ms = query->from_ms, .to_ms = query->to_ms};
    ERR_TRY(ARENA_NEW(run->arena, QUERY_SELECTORS_MAX, &wants, err));
    ERR_TRY(ARENA_NEW(run->arena, segment->leaf_count, &plan.fields, err));
    ERR_TRY(ARENA_NEW(run->arena, QUERY_KEYS_MAX, &plan.keys, err));
    struct walk_spec spec = {.query = query, .wants = wants, .subject = query->per};
    ERR_TRY(plan_tests(&plan, segment->cond, &spec, wants, err));
    if (segment->has_universe) {
        plan_want(&spec, wants,
                  (struct scan_want){segment->universe_selector, query->from_ms, query->to_ms});
    }
    plan_lanes(query, &plan, &spec, subject_keys);
    run->verb_plan = &plan;
    return spec.want_count == 0
               ? ERR_OK
               : walk_all(run, &spec, values_task, sizeof(struct value_part), tasks, err);
}

/* ---- the answer ---- */

static uint32_t count_lines(const void *slot)
{
    return ((const struct value_part *)slot)->line_count;
}

static enum err_code put_line(struct query_run_ctx *run, const void *slot, uint32_t line,
                              struct arena *arena, struct cell *out, struct err *err)
{
    const struct value_part *part = slot;
    (void)run;
    return answer_subject_cell(part->subjects, part->lines[line], arena, out, err);
}

static enum err_code answer_list(struct query_run_ctx *run, const struct run_tasks *tasks,
                                 struct result *result, struct err *err)
{
    static const struct answer_lines lines = {count_lines, put_line};
    struct result_col col = {0};
    ERR_TRY(answer_subject_col(run->query, result->arena, &col, err));
    ERR_TRY(answer_cols(result, &col, 1, err));
    return answer_put_lines(run, tasks, &lines, result, err);
}

static enum err_code answer_count(struct query_run_ctx *run, const struct run_tasks *tasks,
                                  struct result *result, struct err *err)
{
    static const struct result_col cols[] = {{{"users", 5}, RESULT_INT64}};
    const struct value_part *parts = tasks->slots;
    struct cell *cells = NULL;
    uint64_t count = 0;
    for (uint32_t t = 0; t < tasks->count; t++) {
        count += parts[t].count;
    }
    ERR_TRY(answer_cols(result, cols, COUNT_OF(cols), err));
    ERR_TRY(run_result_rows(run, result, 1, &cells, err));
    cells[0] = answer_count_cell(count);
    return ERR_OK;
}

enum err_code segment_per_key(struct query_run_ctx *run, struct result *result, struct err *err)
{
    CLEANUP(run_tasks_free) struct run_tasks tasks = {0};
    ERR_TRY(run_values(run, &tasks, err));
    return run->query->is_list ? answer_list(run, &tasks, result, err)
                               : answer_count(run, &tasks, result, err);
}
