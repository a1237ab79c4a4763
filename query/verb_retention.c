/* query/verb_retention.c - the retention verb: scans, kernel, cells, table.
 *
 * A task keeps, per group and cohort, a row of counts: | size | users of period 0 | ... | of period
 * N |, allocated when the first member comes. Rows of all tasks are added up by (group, cohort).
 *
 * `first_ever unfiltered` needs to see the start's event names without any filter, `where`
 * included. So its scan has no `where`: the start and return selectors carry it inside, and a third
 * selector has the bare names.
 */
#include "query/answer.h"
#include "query/cell_taker.h"
#include "query/journey.h"
#include "query/retention_int.h"
#include "storage/base/size.h"

_Static_assert(RETENTION_START == 1u << WANT_START && RETENTION_RETURN == 1u << WANT_RETURN &&
                   RETENTION_NAME == 1u << WANT_NAME,
               "selector numbers are the kernel's bits");

enum { COL_PERIOD, COL_SIZE, COL_USERS, COL_RATE, COL_COMPLETE, COLS_AFTER_KEYS };

/* ---- plan ---- */

static enum err_code pred_and(struct arena *arena, const struct pred *a, const struct pred *b,
                              const struct pred **ret, struct err *err)
{
    if (a == NULL || b == NULL) {
        *ret = a == NULL ? b : a;
        return ERR_OK;
    }
    struct pred *both = NULL;
    const struct pred **kids = NULL;
    ERR_TRY(ARENA_NEW(arena, 1, &both, err));
    ERR_TRY(ARENA_NEW(arena, 2, &kids, err));
    kids[0] = a;
    kids[1] = b;
    *both = (struct pred){.kind = PRED_AND, .kids = kids, .kid_count = 2};
    *ret = both;
    return ERR_OK;
}

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

static enum err_code plan_selectors(const struct bound_query *query, struct arena *arena,
                                    struct retention_plan *plan, struct err *err)
{
    const struct selector *start = &query->selectors[query->retention.start_selector];
    const struct selector *back = &query->selectors[query->retention.return_selector];
    struct selector *selectors = NULL;

    ERR_TRY(ARENA_NEW(arena, WANT_COUNT, &selectors, err));
    selectors[WANT_START] = *start;
    selectors[WANT_RETURN] = *back;
    plan->want_count = 2;
    plan->scan_query = *query;
    if (query->retention.start == RETENTION_FIRST_EVER_UNFILTERED) {
        const struct pred *where = query->where;
        ERR_TRY(selector_with(arena, start, where, false, &selectors[WANT_START], err));
        ERR_TRY(selector_with(arena, back, where, false, &selectors[WANT_RETURN], err));
        ERR_TRY(selector_with(arena, start, NULL, true, &selectors[WANT_NAME], err));
        plan->scan_query.where = NULL;
        plan->want_count = 3;
    }
    plan->scan_query.selectors = selectors;
    plan->scan_query.selector_count = plan->want_count;
    return ERR_OK;
}

/* *ret NULL where no period can have a member: no data, or an empty range. */
static enum err_code plan_make(struct query_run_ctx *run, struct retention_plan **ret,
                               struct err *err)
{
    const struct bound_query *query = run->query;
    const struct retention *retention = &query->retention;
    const struct snapshot *snapshot = run->snapshot;
    bool has_data = snapshot->time_min_ms <= snapshot->time_max_ms;
    bool is_unbounded = retention->mode == RETENTION_UNBOUNDED;
    int64_t from_ms = query->from_ms;
    int64_t to_ms = query->to_ms;
    struct retention_plan *plan = NULL;

    *ret = NULL;
    if (!has_data && (from_ms == INT64_MIN || to_ms == INT64_MAX)) {
        return ERR_OK;
    }
    /* Ends that the query leaves open are those of the data. */
    if (from_ms == INT64_MIN) {
        from_ms = snapshot->time_min_ms;
    }
    if (to_ms == INT64_MAX) {
        to_ms = snapshot->time_max_ms < INT64_MAX ? snapshot->time_max_ms + 1 : INT64_MAX;
    }
    ERR_TRY(ARENA_NEW(run->arena, 1, &plan, err));
    ERR_TRY(civil_grid_init(query->zone, retention->unit, retention->unit_count,
                            (enum civil_weekday)query->week_start, &plan->grid, err));
    ERR_TRY(retention_calendar_make(&plan->grid, from_ms, to_ms, retention->period_count - 1,
                                    is_unbounded && has_data ? snapshot->time_max_ms : INT64_MIN,
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
        .from_ms = from_ms,
        .to_ms = to_ms,
    };
    ERR_TRY(plan_selectors(query, run->arena, plan, err));
    bool is_ever = retention->start == RETENTION_FIRST_EVER ||
                   retention->start == RETENTION_FIRST_EVER_UNFILTERED;
    plan->wants[WANT_START] = (struct scan_want){WANT_START, is_ever ? INT64_MIN : from_ms, to_ms};
    plan->wants[WANT_RETURN] = (struct scan_want){WANT_RETURN, calendar->begins[0],
                                                  calendar->begins[calendar->slot_count]};
    if (plan->spec.rolling_ms > 0) { /* from the last start on, in the subject's own time */
        __int128 end_ms =
            (__int128)to_ms + (__int128)plan->spec.rolling_ms * retention->period_count;
        bool is_all = is_unbounded || end_ms > INT64_MAX;
        plan->wants[WANT_RETURN] =
            (struct scan_want){WANT_RETURN, from_ms, is_all ? INT64_MAX : (int64_t)end_ms};
    }
    plan->wants[WANT_NAME] = (struct scan_want){WANT_NAME, INT64_MIN, to_ms};
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
        ERR_TRY(ARENA_NEW(arena, (size_t)spec->column_count + 1, row, err));
    }
    *ret = *row;
    return ERR_OK;
}

/* The group of the start event; of several that could be it, the one with the smallest key. */
static uint32_t start_group(const struct groups *groups, const struct journey *journey,
                            const struct retention_member *member)
{
    uint32_t best = UINT32_MAX;

    for (size_t i = member->tie_begin; i < member->tie_end; i++) {
        uint32_t group = journey->groups[i];
        if (retention_is_start(member, journey->masks[i]) && group != best &&
            (best == UINT32_MAX || groups_cmp(groups, group, best) < 0)) {
            best = group;
        }
    }
    ASSERT(best != UINT32_MAX);
    return best;
}

/* A member as a taker sees it: counted on rows of its own, one cell after the other. */
struct member_watch {
    struct cell_taker *taker;
    uint64_t *row; /* column_count + 1 */
};

static enum err_code take_member(const struct query_run_ctx *run, const struct retention_plan *plan,
                                 const struct member_watch *watch, const struct groups *groups,
                                 uint32_t subject, uint32_t slot, uint32_t group, struct err *err)
{
    const struct bound_cell *cell = run->query->cell;
    bool is_wanted = false;
    if ((cell->has_time && plan->calendar.begins[slot] != cell->time_ms) ||
        (cell->has_period && watch->row[1 + cell->period] == 0)) {
        return ERR_OK;
    }
    ERR_TRY(cell_taker_wants(watch->taker, groups, group, &is_wanted, err));
    return is_wanted ? cell_take(watch->taker, subject, err) : ERR_OK;
}

static enum err_code retention_task(struct query_run_ctx *run, const struct run_task *task,
                                    struct arena *arena, struct io *io, void *slot, struct err *err)
{
    const struct retention_plan *plan = run->verb_plan;
    const struct retention_spec *spec = &plan->spec;
    struct retention_part *part = slot;
    struct retention_scratch scratch = {0};
    uint8_t *back = NULL;
    struct member_watch watch = {0};
    CLEANUP(journeys_closep) struct journeys *journeys = NULL;
    struct journey journey;
    bool has_more = false;

    ERR_TRY(groups_create(run->query, arena, &part->groups, err));
    ERR_TRY(ARENA_NEW(arena, spec->cohort_count, &scratch.members, err));
    ERR_TRY(ARENA_NEW(arena, spec->slot_count, &scratch.actives, err));
    if (spec->rolling_ms > 0 || spec->mode == RETENTION_STREAK || spec->mode == RETENTION_BRACKET) {
        ERR_TRY(ARENA_NEW(arena, spec->period_count, &back, err));
    }
    ERR_TRY(cell_taker_open(run, task->shard, &watch.taker, err));
    ERR_TRY(ARENA_NEW(arena, (size_t)spec->column_count + 1, &watch.row, err));
    struct journeys_spec journeys_spec = {
        .query = &plan->scan_query,
        .wants = plan->wants,
        .want_count = plan->want_count,
        .groups = run->query->key_count > 0 ? part->groups : NULL,
    };
    ERR_TRY(journeys_open(run, task, &journeys_spec, arena, io, &journeys, err));
    ERR_TRY(journeys_next(journeys, &journey, &has_more, err));
    while (has_more) {
        kernel_retention(spec, journey.times, journey.masks, journey.count, &scratch);
        for (uint32_t m = 0; m < scratch.member_count; m++) {
            const struct retention_member *member = &scratch.members[m];
            uint32_t group =
                journey.groups == NULL ? 0 : start_group(part->groups, &journey, member);
            uint64_t *row = NULL;
            ERR_TRY(retention_row(part, spec, group, member->slot, arena, &row, err));
            if (watch.taker != NULL) { /* what is counted in the row is of this member alone */
                row = watch.row;
                memset(row, 0, ((size_t)spec->column_count + 1) * sizeof(*row));
            }
            row[0]++;
            if (back == NULL) {
                kernel_retention_add(spec, &scratch, member, row + 1);
            } else {
                kernel_retention_add_vector(spec, &scratch, member, journey.times, journey.masks,
                                            journey.count, back, row + 1);
            }
            if (watch.taker != NULL) {
                ERR_TRY(take_member(run, plan, &watch, part->groups, journey.subject, member->slot,
                                    group, err));
            }
        }
        ERR_TRY(journeys_next(journeys, &journey, &has_more, err));
    }
    return ERR_OK;
}

static void row_add(const struct retention_spec *spec, const uint64_t *from, uint64_t *into)
{
    for (uint32_t i = 0; i <= spec->column_count; i++) {
        into[i] += from[i];
    }
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
            row_add(spec, from->rows[g][c], row);
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

/* ---- the table ---- */

/* What is shown: lines of the table are (cohort, line), lines are groups. */
struct retention_lines {
    struct retention_part part; /* [line][cohort] */
    struct answer_group *groups;
    uint32_t count;
    bool has_other; /* the last one is of the groups that are not shown */
    uint32_t cohort_begin, cohort_end;
    uint64_t size; /* of all groups */
};

static bool is_cohort(const struct retention_calendar *calendar, uint32_t slot)
{
    return calendar->begins[slot] < calendar->begins[slot + 1]; /* a period that really was */
}

static enum err_code make_lines(struct query_run_ctx *run, const struct retention_plan *plan,
                                const struct retention_part *sum, struct retention_lines *lines,
                                uint64_t *ret_left_out, struct err *err)
{
    const struct bound_query *query = run->query;
    const struct retention_spec *spec = &plan->spec;
    uint32_t count = groups_count(sum->groups);
    uint32_t first = spec->cohort_count;
    uint32_t last = 0;

    ERR_TRY(ARENA_NEW(run->arena, count, &lines->groups, err));
    for (uint32_t g = 0; g < count; g++) {
        lines->groups[g].number = g;
        for (uint32_t c = 0; g < sum->group_cap && c < spec->cohort_count; c++) {
            const uint64_t *row = sum->rows[g] == NULL ? NULL : sum->rows[g][c];
            if (row != NULL) {
                lines->groups[g].weight += row[0];
                first = MIN_OF(first, c);
                last = MAX_OF(last, c);
            }
        }
        lines->size += lines->groups[g].weight;
    }
    /* Every period of an explicit range; else from the first to the last that has members. */
    bool is_explicit = query->from_ms != INT64_MIN && query->to_ms != INT64_MAX;
    lines->cohort_begin = is_explicit ? 0 : first;
    lines->cohort_end = is_explicit ? spec->cohort_count : MAX_OF(last + 1, first);

    uint32_t shown = answer_pick_groups(query, sum->groups, lines->groups, count);
    lines->has_other = query->has_other && shown < count;
    lines->count = shown + (lines->has_other ? 1 : 0);
    *ret_left_out = lines->has_other ? 0 : count - shown;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t g = lines->groups[i].number;
        uint32_t line = MIN_OF(i, shown);
        if (line < lines->count && g < sum->group_cap && sum->rows[g] != NULL) {
            ERR_TRY(group_add(spec, sum, g, &lines->part, line, run->arena, err));
        }
    }
    return ERR_OK;
}

static enum err_code make_columns(const struct bound_query *query, bool has_other,
                                  struct result *result, struct err *err)
{
    static const struct result_col fixed[COLS_AFTER_KEYS] = {
        [COL_PERIOD] = {STR("period"), RESULT_INT64},    [COL_SIZE] = {STR("size"), RESULT_INT64},
        [COL_USERS] = {STR("users"), RESULT_INT64},      [COL_RATE] = {STR("rate"), RESULT_NUMBER},
        [COL_COMPLETE] = {STR("complete"), RESULT_BOOL},
    };
    struct result_col *cols = NULL;

    ERR_TRY(ARENA_NEW(result->arena, 1 + query->key_count + COLS_AFTER_KEYS, &cols, err));
    cols[0] = (struct result_col){STR("cohort"),
                                  query->retention.unit >= CIVIL_DAY ? RESULT_DATE : RESULT_TIME};
    for (uint32_t k = 0; k < query->key_count; k++) {
        ERR_TRY(answer_key_col(query, k, has_other, result->arena, &cols[1 + k], err));
    }
    memcpy(cols + 1 + query->key_count, fixed, sizeof(fixed));
    if (query->retention.mode == RETENTION_BRACKET) {
        cols[1 + query->key_count + COL_PERIOD].type = RESULT_STRING;
    }
    result->cols = cols;
    result->col_count = 1 + query->key_count + COLS_AFTER_KEYS;
    return ERR_OK;
}

static struct cell cell_count(uint64_t count)
{
    return (struct cell){.kind = CELL_I64, .i64 = (int64_t)count};
}

/* Whether the column's last period is over for everybody in the cohort. */
static bool is_complete(const struct query_run_ctx *run, const struct retention_plan *plan,
                        uint32_t cohort, uint32_t column)
{
    const struct retention_spec *spec = &plan->spec;
    uint32_t last = spec->mode == RETENTION_BRACKET ? spec->brackets[column].last : column;
    if (spec->rolling_ms == 0) {
        return spec->begins[cohort + last + 1] <= run->query->now_ms;
    }
    __int128 end_ms = (__int128)spec->begins[cohort + 1] + (__int128)spec->rolling_ms * (last + 1);
    return end_ms <= run->query->now_ms;
}

/* What the column `period` says: the period's number, or the bracket. */
static enum err_code make_labels(const struct retention_spec *spec, struct arena *arena,
                                 struct cell **ret, struct err *err)
{
    ERR_TRY(ARENA_NEW(arena, spec->column_count, ret, err));
    for (uint32_t n = 0; n < spec->column_count; n++) {
        struct cell *label = &(*ret)[n];
        if (spec->mode != RETENTION_BRACKET) {
            *label = cell_count(n);
            continue;
        }
        struct retention_bracket bracket = spec->brackets[n];
        label->kind = CELL_STRING;
        if (bracket.first == bracket.last) {
            ERR_TRY(arena_printf(arena, &label->string, err, "%u", bracket.first));
        } else {
            ERR_TRY(arena_printf(arena, &label->string, err, "%u-%u", bracket.first, bracket.last));
        }
    }
    return ERR_OK;
}

/* The rows of one (cohort, line): a row per period; the first column and the keys are given. */
static struct cell *period_rows(const struct query_run_ctx *run, const struct retention_plan *plan,
                                uint32_t cohort, const uint64_t *counts, const struct cell *head,
                                const struct cell *labels, struct cell *out)
{
    uint32_t head_count = 1 + run->query->key_count;
    uint64_t size = counts == NULL ? 0 : counts[0];

    for (uint32_t n = 0; n < plan->spec.column_count; n++) {
        uint64_t users = counts == NULL ? 0 : counts[1 + n];
        struct cell *cells = out + head_count;
        memcpy(out, head, head_count * sizeof(*out));
        cells[COL_PERIOD] = labels[n];
        cells[COL_SIZE] = cell_count(size);
        cells[COL_USERS] = cell_count(users);
        cells[COL_RATE] = answer_ratio(users, size);
        cells[COL_COMPLETE] =
            (struct cell){.kind = CELL_BOOL, .boolean = is_complete(run, plan, cohort, n)};
        out = cells + COLS_AFTER_KEYS;
    }
    return out;
}

static enum err_code cohort_cell(const struct query_run_ctx *run, int64_t begin_ms,
                                 struct arena *arena, struct cell *ret, struct err *err)
{
    const struct bound_query *query = run->query;
    char text[CIVIL_TEXT_BYTES];
    struct str name = query->retention.unit >= CIVIL_DAY
                          ? civil_format_date(query->zone, begin_ms, text)
                          : civil_format_instant(query->zone, begin_ms, text);

    ret->kind = CELL_STRING;
    return arena_str(arena, name, &ret->string, err);
}

static enum err_code make_rows(struct query_run_ctx *run, const struct retention_plan *plan,
                               const struct groups *groups, const struct retention_lines *lines,
                               struct result *result, struct err *err)
{
    const struct bound_query *query = run->query;
    struct arena *arena = result->arena;
    uint32_t cohorts = 0;
    struct cell *labels = NULL;
    struct cell *heads = NULL; /* per line: room for the cohort, then its keys */
    size_t head_count = 1 + (size_t)query->key_count;

    for (uint32_t c = lines->cohort_begin; c < lines->cohort_end; c++) {
        cohorts += is_cohort(&plan->calendar, c) ? 1 : 0;
    }
    uint64_t row_count = (uint64_t)cohorts * plan->spec.column_count;
    if (__builtin_mul_overflow(row_count, (uint64_t)lines->count, &row_count)) {
        return err_set(err, ERR_LIMIT, "too many rows: %u cohorts of %u groups", cohorts,
                       lines->count);
    }
    struct cell *out = NULL;
    ERR_TRY(make_labels(&plan->spec, arena, &labels, err));
    ERR_TRY(run_result_rows(run, result, row_count, &out, err));
    ERR_TRY(ARENA_NEW(arena, (size_t)lines->count * head_count, &heads, err));
    for (uint32_t i = 0; i < lines->count; i++) {
        bool is_other = lines->has_other && i + 1 == lines->count;
        ERR_TRY(answer_key_cells(groups, query->key_count, lines->groups[i].number, is_other, arena,
                                 heads + i * head_count + 1, err));
    }
    for (uint32_t c = lines->cohort_begin; c < lines->cohort_end; c++) {
        struct cell cohort = {0};
        if (!is_cohort(&plan->calendar, c)) {
            continue;
        }
        ERR_TRY(run_check(run, err));
        ERR_TRY(cohort_cell(run, plan->calendar.begins[c], arena, &cohort, err));
        for (uint32_t i = 0; i < lines->count; i++) {
            bool has_rows = i < lines->part.group_cap && lines->part.rows[i] != NULL;
            heads[i * head_count] = cohort;
            out = period_rows(run, plan, c, has_rows ? lines->part.rows[i][c] : NULL,
                              heads + i * head_count, labels, out);
        }
    }
    return ERR_OK;
}

static enum err_code make_totals(const struct bound_query *query, uint64_t size,
                                 struct result *result, struct err *err)
{
    ERR_TRY(ARENA_NEW(result->arena, result->col_count, &result->totals, err)); /* all null */
    result->totals[1 + query->key_count + COL_SIZE] = cell_count(size);
    return ERR_OK;
}

static enum err_code make_answer(struct query_run_ctx *run, const struct retention_plan *plan,
                                 const struct run_tasks *tasks, struct result *result,
                                 struct err *err)
{
    const struct bound_query *query = run->query;
    struct retention_part sum = {0};
    struct retention_lines lines = {0};
    uint64_t left_out = 0;

    ERR_TRY(groups_create(query, run->arena, &sum.groups, err));
    ERR_TRY(merge_parts(&plan->spec, tasks, run->arena, &sum, err));
    ERR_TRY(make_lines(run, plan, &sum, &lines, &left_out, err));
    ERR_TRY(make_columns(query, lines.has_other, result, err));
    ERR_TRY(make_rows(run, plan, sum.groups, &lines, result, err));
    if (lines.count > 0) {
        answer_left_out(result, left_out * (result->row_count / lines.count));
    }
    return make_totals(query, lines.size, result, err);
}

enum err_code verb_retention(struct query_run_ctx *run, struct result *result, struct err *err)
{
    CLEANUP(run_tasks_free) struct run_tasks tasks = {0};
    const struct bound_query *query = run->query;
    struct retention_plan *plan = NULL;

    ASSERT(query->retention.period_count >= 1 &&
           query->retention.period_count <= QUERY_PERIODS_MAX + 1);
    ERR_TRY(plan_make(run, &plan, err));
    if (plan == NULL && query->cell != NULL) {
        return ERR_OK; /* nobody */
    }
    if (plan == NULL) {
        ERR_TRY(make_columns(query, false, result, err));
        return make_totals(query, 0, result, err);
    }
    run->verb_plan = plan;
    bool is_indexed = query->cell == NULL && retention_index_serves(run, plan);
    run_task_fn task = is_indexed ? retention_index_task : retention_task;
    ERR_TRY(run_all_tasks(run, task, sizeof(struct retention_part), &tasks, err));
    return query->cell != NULL ? ERR_OK : make_answer(run, plan, &tasks, result, err);
}
