/* query/verb_stickiness.c - the stickiness verb: in how many periods people were active.
 *
 *     buckets    | 1 | 2 | 3 | 4 | 5 | ...        of `each`; several units in one are counted from the range's begin
 *     parents    |     1     |     2     |        of `over`, a bucket belongs to the one that it begins in; else all
 *
 * Per parent a histogram: how many subjects were active in exactly k of its buckets; `cumulative`: in k or more. `by` cuts
 * journeys by its values (habit_split.h), and has a histogram of each.
 */
#include "query/answer_journeys.h"
#include "query/cell_taker.h"
#include "query/habit_bits.h"
#include "query/habit_split.h"
#include "query/stickiness_int.h"
#include "query/subject_bits.h"
#include "storage/base/size.h"

struct parent {
    int64_t begin_ms;
    uint32_t first, count; /* buckets */
    size_t place;          /* of its histogram, count + 1 long */
};

struct stickiness_plan {
    const int64_t *edges; /* count + 1, ends cut to the range */
    uint32_t count;
    struct parent *parents;
    uint32_t parent_count;
    size_t place_count;
};

/* Numbers of a group: the histograms, and behind them how many were active at all. */
struct stickiness_part {
    struct habit_rows rows;
    uint64_t *whole; /* the same numbers of journeys before they are cut; NULL: they are not */
    uint64_t users;  /* active at all, in whatever group */
    struct cell_taker *taker; /* NULL: numbers are asked for */
};

static size_t row_len(const struct stickiness_plan *plan)
{
    return plan->place_count + 1;
}

/* ---- plan ---- */

/* `each 2d` goes by twos from the range's begin. */
static enum err_code plan_buckets(struct query_run_ctx *run, struct stickiness_plan *plan,
                                  struct err *err)
{
    const struct bound_query *query = run->query;
    struct bound_query single = *query;
    struct answer_buckets buckets = {0};
    int64_t *edges = NULL;
    uint32_t count = 0;
    single.each_count = 1;
    run->query = &single;
    enum err_code code = answer_buckets(run, &buckets, err);
    run->query = query;
    ERR_TRY(code);
    ERR_TRY(ARENA_NEW(run->arena, (size_t)buckets.count + 1, &edges, err));
    for (uint32_t b = 0; b < buckets.count; b += query->each_count) {
        edges[count++] = MAX_OF(buckets.begins[b], query->from_ms);
    }
    edges[count] = buckets.count == 0 ? 0 : MIN_OF(buckets.begins[buckets.count], query->to_ms);
    plan->edges = edges;
    plan->count = count;
    return ERR_OK;
}

static enum err_code plan_parents(struct query_run_ctx *run, struct stickiness_plan *plan,
                                  struct err *err)
{
    const struct bound_query *query = run->query;
    const struct habits *habits = &query->habits;
    struct civil_grid grid;
    int64_t *begins = NULL;
    uint32_t begin_count = 0;
    if (plan->count == 0) {
        return ERR_OK;
    }
    ERR_TRY(ARENA_NEW(run->arena, plan->count, &plan->parents, err));
    if (habits->has_over) {
        ERR_TRY(civil_grid_init(query->zone, habits->over_unit, habits->over_count,
                                (enum civil_weekday)query->week_start, &grid, err));
        ERR_TRY(civil_buckets(&grid, plan->edges[0], plan->edges[plan->count], QUERY_BUCKETS_MAX,
                              run->arena, &begins, &begin_count, err));
    }
    uint32_t last = UINT32_MAX;
    for (uint32_t b = 0; b < plan->count; b++) {
        uint32_t at = habits->has_over ? civil_bucket_idx(begins, begin_count, plan->edges[b]) : 0;
        if (at != last) {
            plan->parents[plan->parent_count++] = (struct parent){
                .begin_ms = habits->has_over ? begins[at] : plan->edges[0], .first = b};
            last = at;
        }
        plan->parents[plan->parent_count - 1].count++;
    }
    for (uint32_t p = 0; p < plan->parent_count; p++) {
        plan->parents[p].place = plan->place_count;
        plan->place_count += (size_t)plan->parents[p].count + 1;
    }
    return ERR_OK;
}

/* ---- from stored sets ---- */

/* Work on a task's sets. */
struct sets_work {
    const struct habit_bits *bits;
    uint64_t *planes, *scratch; /* numbers of active buckets (subject_bits.h) */
    uint64_t *spent;
    uint64_t *users; /* active at all */
};

static uint32_t planes_of(uint32_t most)
{
    uint32_t planes = 1;
    while (most >> planes != 0) {
        planes++;
    }
    return planes;
}

static enum err_code sets_work_make(const struct stickiness_plan *plan,
                                    const struct habit_bits *bits, struct arena *arena,
                                    struct sets_work *ret, struct err *err)
{
    uint32_t planes = 1;
    for (uint32_t p = 0; p < plan->parent_count; p++) {
        planes = MAX_OF(planes, planes_of(plan->parents[p].count));
    }
    *ret = (struct sets_work){.bits = bits};
    ERR_TRY(ARENA_NEW(arena, planes * bits->word_count, &ret->planes, err));
    ERR_TRY(ARENA_NEW(arena, (2 * (size_t)planes + 1) * bits->word_count, &ret->scratch, err));
    ERR_TRY(ARENA_NEW(arena, bits->word_count, &ret->spent, err));
    return ARENA_NEW(arena, bits->word_count, &ret->users, err);
}

/* Whether who was active in `times` buckets of the parent is in the cell that is asked for. */
static bool is_in_cell(const struct bound_query *query, const struct parent *parent, uint32_t times)
{
    const struct bound_cell *cell = query->cell;
    bool is_number = cell->number == 0             ? times > 0
                     : query->habits.is_cumulative ? times >= cell->number
                                                   : times == cell->number;
    return is_number && (!cell->has_time || cell->time_ms == parent->begin_ms);
}

/* The people behind the cell, of the parent whose numbers the planes have. */
static enum err_code take_parent(const struct bound_query *query, const struct sets_work *work,
                                 const struct parent *parent, struct cell_taker *taker,
                                 struct err *err)
{
    size_t words = work->bits->word_count;
    uint32_t planes = planes_of(parent->count);
    for (size_t i = 0; i < words * 64; i++) {
        uint32_t times = 0;
        for (uint32_t k = 0; k < planes; k++) {
            times |= (uint32_t)(work->planes[k * words + i / 64] >> i % 64 & 1) << k;
        }
        if (is_in_cell(query, parent, times)) {
            ERR_TRY(cell_take(taker, work->bits->base + (uint32_t)i, err));
        }
    }
    return ERR_OK;
}

/* How many subjects were active in how many buckets of the parent. */
static void count_parent(const struct sets_work *work, const struct parent *parent, uint64_t *row)
{
    size_t words = work->bits->word_count;
    uint32_t planes = planes_of(parent->count);
    memset(work->planes, 0, planes * words * sizeof(uint64_t));
    for (uint32_t b = parent->first; b < parent->first + parent->count; b++) {
        const uint64_t *active = habit_bits_of(work->bits, b);
        bits_or(work->users, active, words);
        memcpy(work->spent, active, words * sizeof(uint64_t));
        planes_add(work->planes, planes, work->spent, words);
    }
    planes_tally(work->planes, planes, words, work->scratch, row + parent->place, parent->count);
}

static enum err_code bits_task(struct query_run_ctx *run, const struct run_task *task,
                               struct arena *arena, struct io *io, void *slot, struct err *err)
{
    const struct stickiness_plan *plan = run->verb_plan;
    struct stickiness_part *part = slot;
    struct habit_bits bits;
    struct sets_work work;
    uint64_t *row = NULL;
    ERR_TRY(habit_bits_make(run, task, run->query->habits.selector, plan->edges, plan->count, arena,
                            io, &bits, err));
    part->rows.len = row_len(plan);
    ERR_TRY(cell_taker_open(run, task->shard, &part->taker, err));
    ERR_TRY(habit_rows_of(&part->rows, 0, arena, &row, err));
    ERR_TRY(sets_work_make(plan, &bits, arena, &work, err));
    for (uint32_t p = 0; p < plan->parent_count; p++) {
        ERR_TRY(run_check(run, err));
        count_parent(&work, &plan->parents[p], row);
        if (part->taker != NULL) {
            ERR_TRY(take_parent(run->query, &work, &plan->parents[p], part->taker, err));
        }
    }
    part->users = row[plan->place_count] = bits_count(work.users, bits.word_count);
    return ERR_OK;
}

/* ---- from journeys ---- */

/* Where a part of a journey is counted. */
struct stickiness_count {
    const struct stickiness_plan *plan;
    const struct bound_query *query;
    uint64_t *row; /* of its group, where numbers are asked for; */
    bool is_met;   /* where people are: it is counted in their cell */
};

/* Active in `times` buckets of the parent. Place 0 is of no active bucket: not shown. */
static void count_times(struct stickiness_count *count, const struct parent *parent, uint32_t times)
{
    if (count->query->cell == NULL) {
        count->row[parent->place + times]++;
        return;
    }
    count->is_met |= is_in_cell(count->query, parent, times);
}

static void count_journey(const struct journey *journey, struct stickiness_count *count)
{
    const struct stickiness_plan *plan = count->plan;
    const struct habits *habits = &count->query->habits;
    uint32_t p = 0;
    uint32_t times = 0;
    bool is_user = false;
    for (size_t i = 0; i < journey->count;) {
        uint32_t b = civil_bucket_idx(plan->edges, plan->count, journey->times[i]);
        size_t end = i;
        while (end < journey->count && journey->times[end] < plan->edges[b + 1]) {
            end++;
        }
        bool is_active = end - i >= habits->events_min && end - i <= habits->events_max;
        i = end;
        if (!is_active) {
            continue;
        }
        is_user = true;
        if (b >= plan->parents[p].first + plan->parents[p].count) {
            count_times(count, &plan->parents[p], times);
            times = 0;
            while (b >= plan->parents[p].first + plan->parents[p].count) {
                p++;
            }
        }
        times++;
    }
    count_times(count, &plan->parents[p], times);
    if (count->row != NULL) {
        count->row[plan->place_count] += is_user;
    }
}

/* Each part for its group, and the journey as one for the total. */
static enum err_code count_parts(const struct query_run_ctx *run, struct habit_split *split,
                                 const struct journey *journey, struct stickiness_part *part,
                                 struct arena *arena, struct err *err)
{
    struct stickiness_count count = {.plan = run->verb_plan, .query = run->query};
    struct journey own;
    uint32_t group = 0;
    ERR_TRY(habit_split_load(split, journey, err));
    while (habit_split_next(split, &group, &own)) {
        count.is_met = false;
        if (part->taker == NULL) {
            ERR_TRY(habit_rows_of(&part->rows, group, arena, &count.row, err));
        }
        count_journey(&own, &count);
        if (count.is_met) {
            ERR_TRY(cell_take_part(part->taker, part->rows.groups, group, own.subject, err));
        }
    }
    if (part->whole != NULL) {
        count.row = part->whole;
        count_journey(journey, &count);
    }
    return ERR_OK;
}

static enum err_code walk_task(struct query_run_ctx *run, struct walk *walk, struct arena *arena,
                               void *slot, struct err *err)
{
    const struct stickiness_plan *plan = run->verb_plan;
    struct stickiness_part *part = slot;
    struct habit_split split = {.lane = HABIT_LANE_NONE, .arena = arena};
    struct journey journey;
    bool has_more = false;
    part->rows.len = row_len(plan);
    if (run->query->cell != NULL) {
        ERR_TRY(cell_taker_open(run, walk_shard(walk), &part->taker, err));
    }
    if (run->query->key_count > 0) {
        split.lane = 0;
        part->rows.groups = walk_groups(walk, 0);
    }
    if (run->query->key_count > 0 && part->taker == NULL) {
        ERR_TRY(ARENA_NEW(arena, row_len(plan), &part->whole, err));
    }
    ERR_TRY(walk_next(walk, &journey, &has_more, err));
    while (has_more) {
        ERR_TRY(count_parts(run, &split, &journey, part, arena, err));
        ERR_TRY(walk_next(walk, &journey, &has_more, err));
    }
    if (part->taker != NULL) {
        return ERR_OK;
    }
    uint64_t *all = part->whole;
    ERR_TRY(all != NULL ? ERR_OK : habit_rows_of(&part->rows, 0, arena, &all, err));
    part->users = all[plan->place_count];
    return ERR_OK;
}

/* ---- the answer ---- */

static enum err_code make_columns(const struct bound_query *query, struct result *result,
                                  struct err *err)
{
    struct bound_query over = *query; /* the first column is the parent's */
    struct result_col *cols = NULL;
    uint32_t count = 0;
    over.each_unit = query->habits.over_unit;
    ERR_TRY(ARENA_NEW(result->arena, 3 + (size_t)query->key_count, &cols, err));
    if (query->habits.has_over) {
        cols[count++] = answer_bucket_col(&over);
    }
    ERR_TRY(habit_key_cols(query, result->arena, cols, &count, err));
    cols[count++] = (struct result_col){STR("periods"), RESULT_INT64};
    cols[count++] = (struct result_col){STR("users"), RESULT_INT64};
    result->cols = cols;
    result->col_count = count;
    return ERR_OK;
}

/* Rows of one parent and one group; `lead`: the cells before the number of periods. */
static void parent_rows(const struct bound_query *query, const struct parent *parent,
                        const uint64_t *histogram, const struct cell *lead, uint32_t lead_count,
                        struct cell *cells)
{
    uint64_t users = 0;
    for (uint32_t k = parent->count; k >= 1; k--) {
        struct cell *row = cells + (size_t)(k - 1) * (lead_count + 2);
        users = query->habits.is_cumulative ? users + histogram[k] : histogram[k];
        for (uint32_t i = 0; i < lead_count; i++) {
            row[i] = lead[i];
        }
        row[lead_count] = answer_count_cell(k);
        row[lead_count + 1] = answer_count_cell(users);
    }
}

static enum err_code lead_cells(const struct query_run_ctx *run, const struct parent *parent,
                                const struct habit_rows *rows, uint32_t group, struct arena *arena,
                                struct cell *out, struct err *err)
{
    const struct bound_query *query = run->query;
    struct bound_query over = *query;
    over.each_unit = query->habits.over_unit;
    if (query->habits.has_over) {
        ERR_TRY(answer_bucket_cell(&over, parent->begin_ms, arena, out++, err));
    }
    return habit_key_cells(rows, query->key_count, group, arena, out, err);
}

static uint64_t active_people(const uint64_t *row, size_t len)
{
    return row[len - 1];
}

static enum err_code make_rows(struct query_run_ctx *run, const struct stickiness_plan *plan,
                               const struct habit_rows *rows, const struct answer_group *groups,
                               uint32_t group_count, struct result *result, struct err *err)
{
    uint32_t lead_count = result->col_count - 2;
    struct cell *lead = NULL;
    struct cell *cells = NULL;
    ERR_TRY(ARENA_NEW(run->arena, lead_count, &lead, err));
    ERR_TRY(run_result_rows(run, result, (uint64_t)plan->count * group_count, &cells, err));
    for (uint32_t p = 0; p < plan->parent_count; p++) {
        const struct parent *parent = &plan->parents[p];
        ERR_TRY(run_check(run, err));
        for (uint32_t i = 0; i < group_count; i++) {
            const uint64_t *row = habit_row(rows, groups[i].number);
            ERR_TRY(lead_cells(run, parent, rows, groups[i].number, result->arena, lead, err));
            parent_rows(run->query, parent, row + parent->place, lead, lead_count, cells);
            cells += (size_t)parent->count * result->col_count;
        }
    }
    return ERR_OK;
}

static enum err_code make_answer(struct query_run_ctx *run, const struct stickiness_plan *plan,
                                 const struct run_tasks *tasks, struct result *result,
                                 struct err *err)
{
    const struct stickiness_part *parts = tasks->slots;
    struct habit_rows rows = {.len = row_len(plan)};
    struct answer_group *groups = NULL;
    uint32_t count = 0;
    uint32_t left_out = 0;
    uint64_t users = 0;
    for (uint32_t t = 0; t < tasks->count; t++) {
        users += parts[t].users;
    }
    result->totals[result->col_count - 1] = answer_count_cell(users);
    ERR_TRY(habit_rows_merge(run, tasks, offsetof(struct stickiness_part, rows), &rows, err));
    ERR_TRY(habit_rows_pick(run, &rows, active_people, &groups, &count, &left_out, err));
    ERR_TRY(make_rows(run, plan, &rows, groups, count, result, err));
    if (left_out > 0) {
        answer_left_out(result, (uint64_t)plan->count * left_out);
    }
    return ERR_OK;
}

enum err_code verb_stickiness(struct query_run_ctx *run, struct result *result, struct err *err)
{
    if (run->query->habits.is_dau_mau) {
        return stickiness_ratio(run, result, err);
    }
    CLEANUP(run_tasks_free) struct run_tasks tasks = {0};
    const struct bound_query *query = run->query;
    struct stickiness_plan plan = {0};
    ERR_TRY(make_columns(query, result, err));
    ERR_TRY(ARENA_NEW(result->arena, result->col_count, &result->totals, err)); /* all null */
    ERR_TRY(plan_buckets(run, &plan, err));
    ERR_TRY(plan_parents(run, &plan, err));
    if (plan.count == 0) {
        result->totals[result->col_count - 1] = answer_count_cell(0);
        return ERR_OK;
    }
    run->verb_plan = &plan;
    ERR_TRY(habit_run(run, plan.edges[0], plan.edges[plan.count], false, bits_task, walk_task,
                      sizeof(struct stickiness_part), &tasks, err));
    return query->cell != NULL ? ERR_OK : make_answer(run, &plan, &tasks, result, err);
}
