/* query/verb_lifecycle.c - the lifecycle verb.
 *
 *     periods    before ... | the one before | 1 | 2 | ... | n |     whole civil periods that the range touches
 *     new            active, and never before                        returning      active, and in the period before
 *     resurrecting   active, not in the period before, but earlier   dormant        not active, but in the period before
 *
 * new + returning + resurrecting = active. From stored sets where they say enough (habit_bits.h): differences and
 * intersections of sets; else from journeys, which `by` cuts by its values (habit_split.h).
 */
#include "query/answer_journeys.h"
#include "query/cell_taker.h"
#include "query/habit_bits.h"
#include "query/habit_split.h"
#include "query/subject_bits.h"
#include "storage/base/size.h"

struct lifecycle_plan {
    const int64_t *begins; /* of the period before, of the n periods, and the end of the last */
    uint32_t count;        /* n */
    bool has_from, has_to; /* the range says so: rows up to there */
    int64_t data_begin_ms;
    int64_t now_ms;
    const struct bound_cell *cell; /* whose people are asked for; NULL: all numbers are */
};

/* Numbers of a group: [period * LIFE_KINDS + kind]. */
struct lifecycle_part {
    struct habit_rows rows;
    struct cell_taker *taker; /* NULL: numbers are asked for */
};

static size_t row_len(const struct lifecycle_plan *plan)
{
    return (size_t)plan->count * LIFE_KINDS;
}

/* ---- plan ---- */

/* *ret_any false where there is nothing to count: no data, or an empty range. */
static enum err_code plan_make(struct query_run_ctx *run, struct lifecycle_plan *ret, bool *ret_any,
                               struct err *err)
{
    const struct bound_query *query = run->query;
    struct answer_buckets buckets = {0};
    struct civil_grid grid;
    int64_t *begins = NULL;
    uint32_t count = 0;
    ERR_TRY(answer_buckets(run, &buckets, err));
    *ret_any = buckets.count > 0 && buckets.begins[0] > CIVIL_TS_MIN;
    if (!*ret_any) {
        return ERR_OK;
    }
    ERR_TRY(civil_grid_init(query->zone, query->each_unit, query->each_count,
                            (enum civil_weekday)query->week_start, &grid, err));
    ERR_TRY(civil_buckets(&grid, buckets.begins[0] - 1, buckets.begins[buckets.count],
                          QUERY_BUCKETS_MAX + 1, run->arena, &begins, &count, err));
    *ret = (struct lifecycle_plan){
        .begins = begins,
        .count = count - 1,
        .has_from = buckets.has_from,
        .has_to = buckets.has_to,
        .data_begin_ms = run->snapshot->time_min_ms,
        .now_ms = query->now_ms,
        .cell = query->cell,
    };
    return ERR_OK;
}

/* Whether the number of a kind in a period, from 0 of those that are shown, is asked for, or the people behind it. Who is
 * dormant in a period that has not begun nobody can tell yet. */
static bool is_asked(const struct lifecycle_plan *plan, int64_t period, uint32_t kind)
{
    const struct bound_cell *cell = plan->cell;
    int64_t begin_ms = plan->begins[period + 1];
    if (kind == LIFE_DORMANT && begin_ms > plan->now_ms) {
        return false;
    }
    return cell == NULL || ((!cell->has_time || cell->time_ms == begin_ms) &&
                            (!cell->has_measure || cell->measure == kind));
}

/* ---- from stored sets ---- */

/* Who is of this kind in the period behind `before`; `seen`: who was active until then, `before` included. */
static void kind_bits(uint32_t kind, const uint64_t *before, const uint64_t *now,
                      const uint64_t *seen, uint64_t *restrict out, size_t words)
{
    switch (kind) {
    case LIFE_NEW:
        memcpy(out, now, words * sizeof(*out));
        bits_andnot(out, seen, words);
        break;
    case LIFE_RETURNING:
        memcpy(out, now, words * sizeof(*out));
        bits_and(out, before, words);
        break;
    case LIFE_RESURRECTING:
        memcpy(out, now, words * sizeof(*out));
        bits_and(out, seen, words);
        bits_andnot(out, before, words);
        break;
    default: /* dormant */
        memcpy(out, before, words * sizeof(*out));
        bits_andnot(out, now, words);
        break;
    }
}

/* `first`: the atom of the period before the first. `seen` is spent. */
static enum err_code count_bits(const struct lifecycle_plan *plan, const struct habit_bits *bits,
                                uint32_t first, uint64_t *seen, struct lifecycle_part *part,
                                struct arena *arena, struct err *err)
{
    size_t words = bits->word_count;
    uint64_t *set = NULL;
    uint64_t *counts = NULL;
    ERR_TRY(ARENA_NEW(arena, words, &set, err));
    ERR_TRY(habit_rows_of(&part->rows, 0, arena, &counts, err));
    for (uint32_t p = 0; p < plan->count; p++) {
        const uint64_t *before = habit_bits_of(bits, first + p);
        const uint64_t *now = habit_bits_of(bits, first + p + 1);
        bits_or(seen, before, words);
        for (uint32_t kind = 0; kind < LIFE_KINDS; kind++) {
            if (!is_asked(plan, p, kind)) {
                continue;
            }
            kind_bits(kind, before, now, seen, set, words);
            counts[(size_t)p * LIFE_KINDS + kind] = bits_count(set, words);
            if (part->taker != NULL) {
                ERR_TRY(cell_take_bits(part->taker, set, words, bits->base, err));
            }
        }
    }
    return ERR_OK;
}

/* First events that are expired: before the periods, or active in one. */
static enum err_code add_firsts(struct query_run_ctx *run, const struct run_task *task,
                                const struct habit_bits *bits, uint32_t first_atom, uint64_t *seen,
                                struct arena *arena, struct io *io, struct err *err)
{
    const struct lifecycle_plan *plan = run->verb_plan;
    const struct scan_want want = {run->query->habits.selector, INT64_MIN,
                                   plan->begins[plan->count + 1]};
    const struct first_ask ask = {.query = run->query,
                                  .wants = &want,
                                  .want_count = 1,
                                  .firsts = UINT64_C(1) << want.selector};
    struct first_events firsts;
    ERR_TRY(first_ever_gather(run, task, &ask, arena, io, &firsts, err));
    for (uint32_t i = 0; i < firsts.count; i++) {
        uint32_t bit = firsts.subjects[i] - bits->base;
        uint64_t *set = seen;
        if (firsts.times[i] >= plan->begins[0]) {
            uint32_t period =
                civil_bucket_idx(plan->begins, plan->count + 1, firsts.times[i]);
            set = habit_bits_of(bits, first_atom + period);
        }
        set[bit / 64] |= UINT64_C(1) << (bit % 64);
    }
    return ERR_OK;
}

static enum err_code bits_task(struct query_run_ctx *run, const struct run_task *task,
                               struct arena *arena, struct io *io, void *slot, struct err *err)
{
    const struct lifecycle_plan *plan = run->verb_plan;
    struct lifecycle_part *part = slot;
    struct habit_bits bits;
    bool has_before = plan->data_begin_ms < plan->begins[0];
    int64_t *edges = NULL;
    uint64_t *seen = NULL;
    uint32_t atoms = plan->count + 1 + (has_before ? 1 : 0);
    ERR_TRY(ARENA_NEW(arena, (size_t)atoms + 1, &edges, err));
    edges[0] = plan->data_begin_ms;
    memcpy(edges + (has_before ? 1 : 0), plan->begins, ((size_t)plan->count + 2) * sizeof(*edges));
    ERR_TRY(habit_bits_make(run, task, run->query->habits.selector, edges, atoms, arena, io, &bits,
                            err));
    part->rows.len = row_len(plan);
    ERR_TRY(cell_taker_open(run, task->shard, &part->taker, err));
    ERR_TRY(ARENA_NEW(arena, bits.word_count, &seen, err));
    if (has_before) {
        bits_or(seen, habit_bits_of(&bits, 0), bits.word_count);
    }
    ERR_TRY(add_firsts(run, task, &bits, has_before ? 1 : 0, seen, arena, io, err));
    return count_bits(plan, &bits, has_before ? 1 : 0, seen, part, arena, err);
}

/* ---- from journeys ---- */

/* Period 0 is the one before the first; LONG_AGO lies before that. */
#define LONG_AGO (-1)

struct life {
    bool is_seen;
    int64_t last; /* period that was active last, or LONG_AGO */
};

/* Where a part of a journey is counted. */
struct life_count {
    const struct lifecycle_plan *plan;
    uint64_t *counts; /* of its group, where numbers are asked for; */
    bool is_met;      /* where people are: it is counted in their cell */
};

static void count_one(struct life_count *count, int64_t period, uint32_t kind)
{
    if (!is_asked(count->plan, period, kind)) {
        return;
    }
    if (count->counts != NULL) {
        count->counts[period * LIFE_KINDS + kind]++;
    }
    count->is_met = true;
}

static void count_active(struct life *life, int64_t period, struct life_count *count)
{
    if (life->is_seen && life->last >= 0 && life->last + 1 < period) {
        count_one(count, life->last, LIFE_DORMANT); /* the period behind its last */
    }
    if (period >= 1) {
        uint32_t kind = !life->is_seen             ? LIFE_NEW
                        : life->last == period - 1 ? LIFE_RETURNING
                                                   : LIFE_RESURRECTING;
        count_one(count, period - 1, kind);
    }
    *life = (struct life){true, period};
}

static void count_journey(const struct journey *journey, struct life_count *count)
{
    const struct lifecycle_plan *plan = count->plan;
    struct life life = {false, LONG_AGO};
    for (size_t i = 0; i < journey->count;) {
        int64_t ts = journey->times[i];
        if (ts < plan->begins[0]) {
            life = (struct life){true, LONG_AGO};
            i++;
            continue;
        }
        uint32_t period = civil_bucket_idx(plan->begins, plan->count + 1, ts);
        size_t end = i;
        while (end < journey->count && journey->times[end] < plan->begins[period + 1]) {
            end++;
        }
        count_active(&life, period, count);
        i = end;
    }
    if (life.is_seen && life.last >= 0 && life.last < plan->count) {
        count_one(count, life.last, LIFE_DORMANT);
    }
}

static enum err_code count_part(const struct lifecycle_plan *plan, const struct journey *own,
                                uint32_t group, struct lifecycle_part *part, struct arena *arena,
                                struct err *err)
{
    struct life_count count = {.plan = plan};
    if (part->taker == NULL) {
        ERR_TRY(habit_rows_of(&part->rows, group, arena, &count.counts, err));
    }
    count_journey(own, &count);
    return part->taker != NULL && count.is_met
               ? cell_take_part(part->taker, part->rows.groups, group, own->subject, err)
               : ERR_OK;
}

static enum err_code walk_task(struct query_run_ctx *run, struct walk *walk, struct arena *arena,
                               void *slot, struct err *err)
{
    const struct lifecycle_plan *plan = run->verb_plan;
    struct lifecycle_part *part = slot;
    struct habit_split split = {.lane = HABIT_LANE_NONE, .arena = arena};
    struct journey journey;
    bool has_more = false;
    if (plan->cell != NULL) {
        ERR_TRY(cell_taker_open(run, walk_shard(walk), &part->taker, err));
    }
    part->rows.len = row_len(plan);
    if (run->query->key_count > 0) {
        split.lane = 0;
        part->rows.groups = walk_groups(walk, 0);
    }
    ERR_TRY(walk_next(walk, &journey, &has_more, err));
    while (has_more) {
        struct journey own;
        uint32_t group = 0;
        ERR_TRY(habit_split_load(&split, &journey, err));
        while (habit_split_next(&split, &group, &own)) {
            ERR_TRY(count_part(plan, &own, group, part, arena, err));
        }
        ERR_TRY(walk_next(walk, &journey, &has_more, err));
    }
    return ERR_OK;
}

/* ---- the answer ---- */

static enum err_code make_columns(const struct bound_query *query, struct result *result,
                                  struct err *err)
{
    static const char *const kinds[LIFE_KINDS] = {"new", "returning", "resurrecting", "dormant"};
    struct result_col *cols = NULL;
    uint32_t count = 0;
    ERR_TRY(ARENA_NEW(result->arena, 1 + (size_t)query->key_count + LIFE_KINDS, &cols, err));
    cols[count++] = answer_bucket_col(query);
    ERR_TRY(habit_key_cols(query, result->arena, cols, &count, err));
    for (uint32_t k = 0; k < LIFE_KINDS; k++) {
        cols[count++] = (struct result_col){str_of(kinds[k]), RESULT_INT64};
    }
    result->cols = cols;
    result->col_count = count;
    return ERR_OK;
}

/* Lines of the answer: groups, and the periods that it shows. */
struct lifecycle_lines {
    struct habit_rows rows;
    struct answer_group *groups;
    uint32_t count, left_out;
    uint32_t begin, end;
};

static bool is_empty(const struct lifecycle_lines *lines, uint32_t period)
{
    uint64_t all = 0;
    for (uint32_t i = 0; i < lines->count; i++) {
        const uint64_t *row = habit_row(&lines->rows, lines->groups[i].number);
        for (uint32_t k = 0; k < LIFE_KINDS; k++) {
            all |= row[(size_t)period * LIFE_KINDS + k];
        }
    }
    return all == 0;
}

/* The first measure, over all periods. */
static uint64_t new_people(const uint64_t *row, size_t len)
{
    uint64_t sum = 0;
    for (size_t i = LIFE_NEW; i < len; i += LIFE_KINDS) {
        sum += row[i];
    }
    return sum;
}

/* Over all of a range that was asked for; else from the first to the last period that has something. */
static void cut_periods(const struct lifecycle_plan *plan, struct lifecycle_lines *lines)
{
    lines->begin = 0;
    lines->end = plan->count;
    while (!plan->has_from && lines->begin < lines->end && is_empty(lines, lines->begin)) {
        lines->begin++;
    }
    while (!plan->has_to && lines->end > lines->begin && is_empty(lines, lines->end - 1)) {
        lines->end--;
    }
}

static enum err_code put_row(struct query_run_ctx *run, const struct lifecycle_plan *plan,
                             const struct lifecycle_lines *lines, uint32_t period, uint32_t line,
                             struct result *result, struct cell *cells, struct err *err)
{
    uint32_t key_count = run->query->key_count;
    uint32_t group = lines->groups[line].number;
    const uint64_t *counts = habit_row(&lines->rows, group) + (size_t)period * LIFE_KINDS;
    ERR_TRY(
        answer_bucket_cell(run->query, plan->begins[period + 1], result->arena, &cells[0], err));
    ERR_TRY(habit_key_cells(&lines->rows, key_count, group, result->arena, &cells[1], err));
    for (uint32_t k = 0; k < LIFE_KINDS; k++) {
        cells[1 + key_count + k] = answer_count_cell(counts[k]);
    }
    return ERR_OK;
}

static enum err_code make_rows(struct query_run_ctx *run, const struct lifecycle_plan *plan,
                               const struct lifecycle_lines *lines, struct result *result,
                               struct err *err)
{
    uint64_t periods = lines->end - lines->begin;
    struct cell *cells = NULL;
    ERR_TRY(run_result_rows(run, result, periods * lines->count, &cells, err));
    for (uint32_t p = lines->begin; p < lines->end; p++) {
        ERR_TRY(run_check(run, err));
        for (uint32_t line = 0; line < lines->count; line++, cells += result->col_count) {
            ERR_TRY(put_row(run, plan, lines, p, line, result, cells, err));
        }
    }
    if (lines->left_out > 0) {
        answer_left_out(result, periods * lines->left_out);
    }
    return ERR_OK;
}

static enum err_code make_answer(struct query_run_ctx *run, const struct lifecycle_plan *plan,
                                 const struct run_tasks *tasks, struct result *result,
                                 struct err *err)
{
    struct lifecycle_lines lines = {.rows = {.len = row_len(plan)}};
    ERR_TRY(habit_rows_merge(run, tasks, offsetof(struct lifecycle_part, rows), &lines.rows, err));
    ERR_TRY(habit_rows_pick(run, &lines.rows, new_people, &lines.groups, &lines.count,
                            &lines.left_out, err));
    cut_periods(plan, &lines);
    return make_rows(run, plan, &lines, result, err);
}

enum err_code verb_lifecycle(struct query_run_ctx *run, struct result *result, struct err *err)
{
    CLEANUP(run_tasks_free) struct run_tasks tasks = {0};
    const struct bound_query *query = run->query;
    struct lifecycle_plan plan = {0};
    bool has_any = false;
    ERR_TRY(make_columns(query, result, err));
    ERR_TRY(ARENA_NEW(result->arena, result->col_count, &result->totals, err)); /* all null */
    ERR_TRY(plan_make(run, &plan, &has_any, err));
    if (!has_any) {
        return ERR_OK;
    }
    run->verb_plan = &plan;
    ERR_TRY(habit_run(run, INT64_MIN, plan.begins[plan.count + 1], true, bits_task, walk_task,
                      sizeof(struct lifecycle_part), &tasks, err));
    return query->cell != NULL ? ERR_OK : make_answer(run, &plan, &tasks, result, err);
}
