/* query/verb_churn.c - the churn verb: who fell silent.
 *
 *     churn 14d of SEL last 30d
 *         | the 14 days before | day 1 | day 2 | ...                  | day 30 |
 *           active here: base            [14 days in a row of none: churned]
 *
 *     churn 14d of SEL last_seen last 90d
 *         base: active in the range (all data where there is none); churned: last seen 14 civil days ago, or earlier
 *
 *     churn 14d of SEL each month last 6mo
 *         every month is a window by itself, with the 14 days before it
 *
 * Days are civil, and a day that still runs is not silent yet. Counts come from stored sets where they say enough
 * (habit_bits.h), else from journeys, which `by` cuts by its values (habit_split.h); `list users` reads journeys.
 */
#include "query/answer_journeys.h"
#include "query/cell_taker.h"
#include "query/grow.h"
#include "query/habit_bits.h"
#include "query/habit_split.h"
#include "query/subject_bits.h"
#include "storage/base/size.h"

#include <stdlib.h>

/* The base was active in atoms [base, first), and the days that count are the `days` atoms from `first` on. */
struct churn_window {
    int64_t begin_ms; /* of its bucket */
    uint32_t base, first, days;
    uint32_t over; /* of the days */
};

/* Spans of time between neighbouring edges, in which a subject is seen or not. */
struct churn_plan {
    int64_t *edges; /* atom_count + 1: of days, but what is before the only window is one atom */
    uint32_t atom_count;
    struct churn_window *windows; /* of last_seen: one, of no days */
    uint32_t window_count;
    uint32_t silence; /* so many days in a row make churn */
};

struct churn_line {
    uint32_t subject; /* number in the task's groups */
    int64_t last_ms;
};

/* Numbers of a group: [window * CHURN_KINDS + kind]. */
struct churn_part {
    struct habit_rows rows;
    struct cell_taker *taker; /* NULL: numbers are asked for */
    struct groups *subject_groups;
    struct churn_line *lines;
    uint32_t line_count, line_cap;
};

/* ---- one subject in a window ---- */

struct silence {
    uint32_t last; /* day of the last activity; 0: before the window */
    bool is_churned;
};

/* The days behind the last activity up to day `last` were silent, as far as they are over. */
static void silence_until(struct silence *s, const struct churn_plan *plan,
                          const struct churn_window *window, uint32_t last)
{
    uint32_t over = MIN_OF(last, window->over);
    s->is_churned = s->is_churned || (over >= s->last && over - s->last >= plan->silence);
}

static void silence_active(struct silence *s, const struct churn_plan *plan,
                           const struct churn_window *window, uint32_t day)
{
    silence_until(s, plan, window, day - 1);
    s->last = day;
}

/* ---- plan ---- */

/* Days of the window that are over at `now`. */
static void window_end(const struct query_run_ctx *run, const struct churn_plan *plan,
                       struct churn_window *window)
{
    while (window->over < window->days &&
           plan->edges[window->first + window->over + 1] <= run->query->now_ms) {
        window->over++;
    }
}

/* The begins of the days in [from_ms, to), and its end. */
static enum err_code plan_days(struct query_run_ctx *run, int64_t from_ms, int64_t **ret,
                               uint32_t *ret_count, struct err *err)
{
    struct civil_grid day;
    ERR_TRY(civil_grid_init(run->query->zone, CIVIL_DAY, 1, CIVIL_MONDAY, &day, err));
    return civil_buckets(&day, from_ms, run->query->to_ms, QUERY_BUCKETS_MAX, run->arena, ret,
                         ret_count, err);
}

static enum err_code plan_window(struct query_run_ctx *run, struct churn_plan *plan,
                                 struct err *err)
{
    const struct bound_query *query = run->query;
    int64_t *begins = NULL;
    uint32_t count = 0;

    ERR_TRY(plan_days(run, query->from_ms, &begins, &count, err));
    ERR_TRY(ARENA_NEW(run->arena, (size_t)count + 2, &plan->edges, err));
    plan->edges[0] = query->churn.base_begin_ms;
    memcpy(plan->edges + 1, begins, ((size_t)count + 1) * sizeof(*begins));
    plan->atom_count = count + 1;
    plan->windows[0] =
        (struct churn_window){.begin_ms = query->from_ms, .base = 0, .first = 1, .days = count};
    window_end(run, plan, &plan->windows[0]);
    return ERR_OK;
}

/* A window for each bucket; what is before the first is told by days as well. */
static enum err_code plan_windows(struct query_run_ctx *run, struct churn_plan *plan,
                                  struct err *err)
{
    const struct bound_query *query = run->query;
    struct answer_buckets buckets = {0};

    ERR_TRY(answer_buckets(run, &buckets, err));
    ERR_TRY(plan_days(run, query->churn.base_begin_ms, &plan->edges, &plan->atom_count, err));
    ERR_TRY(ARENA_NEW(run->arena, buckets.count, &plan->windows, err));
    plan->window_count = buckets.count;
    uint32_t atom = 0;
    for (uint32_t w = 0; w < buckets.count; w++) {
        struct churn_window *window = &plan->windows[w];
        window->begin_ms = buckets.begins[w];
        while (plan->edges[atom] < MAX_OF(buckets.begins[w], query->from_ms)) {
            atom++;
        }
        window->first = atom;
        window->base = atom - query->churn.days;
        while (atom < plan->atom_count && plan->edges[atom] < buckets.begins[w + 1]) {
            atom++;
        }
        window->days = atom - window->first;
        window_end(run, plan, window);
    }
    return ERR_OK;
}

static int compare_i64(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* The data's time, cut where the range begins and ends and where "long ago" does. No data: no atoms. */
static enum err_code plan_last_seen(struct query_run_ctx *run, struct churn_plan *plan,
                                    struct err *err)
{
    const struct bound_query *query = run->query;
    int64_t begin_ms = run->snapshot->time_min_ms;
    int64_t end_ms = run->snapshot->time_max_ms;
    const int64_t cuts[] = {query->from_ms, query->to_ms, query->churn.seen_before_ms};
    uint32_t count = 0;

    if (begin_ms > end_ms) {
        return ERR_OK;
    }
    end_ms = end_ms < INT64_MAX ? end_ms + 1 : end_ms;
    ERR_TRY(ARENA_NEW(run->arena, COUNT_OF(cuts) + 2, &plan->edges, err));
    plan->edges[count++] = begin_ms;
    plan->edges[count++] = end_ms;
    for (uint32_t i = 0; i < COUNT_OF(cuts); i++) {
        if (cuts[i] > begin_ms && cuts[i] < end_ms) {
            plan->edges[count++] = cuts[i];
        }
    }
    qsort(plan->edges, count, sizeof(*plan->edges), compare_i64);
    uint32_t kept = 1;
    for (uint32_t i = 1; i < count; i++) {
        if (plan->edges[i] != plan->edges[kept - 1]) {
            plan->edges[kept++] = plan->edges[i];
        }
    }
    plan->atom_count = kept - 1;
    return ERR_OK;
}

static bool is_in_range(const struct bound_query *query, int64_t ts_ms)
{
    return ts_ms >= query->from_ms && ts_ms < query->to_ms;
}

/* ---- from stored sets ---- */

/* Both sets, of the same words: who is looked at, and who of these churned. */
struct churn_sets {
    uint64_t *base, *churned;
};

static enum err_code window_sets(const struct churn_plan *plan, const struct habit_bits *bits,
                                 struct arena *arena, struct churn_sets *sets, struct err *err)
{
    const struct churn_window *window = &plan->windows[0];
    const uint64_t *base = habit_bits_of(bits, 0);
    struct silence *silences = NULL;

    ERR_TRY(ARENA_NEW(arena, bits->word_count * 64, &silences, err));
    for (uint32_t day = 1; day < plan->atom_count; day++) {
        const uint64_t *words = habit_bits_of(bits, day);
        for (size_t w = 0; w < bits->word_count; w++) {
            for (uint64_t rest = words[w] & base[w]; rest != 0; rest &= rest - 1) {
                silence_active(&silences[w * 64 + (uint32_t)__builtin_ctzll(rest)], plan, window,
                               day);
            }
        }
    }
    for (size_t w = 0; w < bits->word_count; w++) {
        sets->base[w] = base[w];
        for (uint64_t rest = base[w]; rest != 0; rest &= rest - 1) {
            uint32_t bit = (uint32_t)__builtin_ctzll(rest);
            struct silence *s = &silences[w * 64 + bit];
            silence_until(s, plan, window, window->days);
            sets->churned[w] |= (uint64_t)s->is_churned << bit;
        }
    }
    return ERR_OK;
}

static void last_seen_sets(const struct bound_query *query, const struct churn_plan *plan,
                           const struct habit_bits *bits, uint64_t *alive, struct churn_sets *sets)
{
    size_t words = bits->word_count;

    for (uint32_t a = 0; a < plan->atom_count; a++) {
        if (is_in_range(query, plan->edges[a])) {
            bits_or(sets->base, habit_bits_of(bits, a), words);
        }
        if (plan->edges[a] >= query->churn.seen_before_ms) {
            bits_or(alive, habit_bits_of(bits, a), words);
        }
    }
    memcpy(sets->churned, sets->base, words * sizeof(*sets->churned));
    bits_andnot(sets->churned, alive, words);
}

static enum err_code bits_task(struct query_run_ctx *run, const struct run_task *task,
                               struct arena *arena, struct io *io, void *slot, struct err *err)
{
    const struct bound_query *query = run->query;
    const struct churn_plan *plan = run->verb_plan;
    struct churn_part *part = slot;
    struct habit_bits bits;
    uint64_t *row = NULL;

    struct cell_taker *taker = NULL;
    struct churn_sets sets = {0};
    uint64_t *alive = NULL;

    part->rows.len = CHURN_KINDS;
    ERR_TRY(cell_taker_open(run, task->shard, &taker, err));
    ERR_TRY(habit_bits_make(run, task, query->churn.selector, plan->edges, plan->atom_count, arena,
                            io, &bits, err));
    ERR_TRY(ARENA_NEW(arena, bits.word_count, &sets.base, err));
    ERR_TRY(ARENA_NEW(arena, bits.word_count, &sets.churned, err));
    ERR_TRY(ARENA_NEW(arena, bits.word_count, &alive, err));
    if (query->churn.is_last_seen) {
        last_seen_sets(query, plan, &bits, alive, &sets);
    } else {
        ERR_TRY(window_sets(plan, &bits, arena, &sets, err));
    }
    if (taker != NULL) {
        bool is_churned = query->cell->has_measure && query->cell->measure == CHURN_CHURNED;
        return cell_take_bits(taker, is_churned ? sets.churned : sets.base, bits.word_count,
                              bits.base, err);
    }
    ERR_TRY(habit_rows_of(&part->rows, 0, arena, &row, err));
    row[CHURN_BASE] = bits_count(sets.base, bits.word_count);
    row[CHURN_CHURNED] = bits_count(sets.churned, bits.word_count);
    return ERR_OK;
}

/* ---- from journeys ---- */

/* *ret_base: is the subject looked at; returns whether it churned. */
static bool last_seen_churned(const struct bound_query *query, const struct journey *journey,
                              bool *ret_base)
{
    *ret_base = false;
    for (size_t i = 0; i < journey->count && !*ret_base; i++) {
        *ret_base = is_in_range(query, journey->times[i]);
    }
    return journey->times[journey->count - 1] < query->churn.seen_before_ms;
}

/* The same of one window; `*first` is the first event that is not before its base, and of the next one the first not before. */
static bool window_churned(const struct churn_plan *plan, const struct churn_window *window,
                           const struct journey *journey, size_t *first, bool *ret_base)
{
    struct silence silence = {0};
    int64_t end_ms = plan->edges[window->first + window->days];

    *ret_base = false;
    while (*first < journey->count && journey->times[*first] < plan->edges[window->base]) {
        *first += 1;
    }
    for (size_t i = *first; i < journey->count && journey->times[i] < end_ms; i++) {
        uint32_t atom = civil_bucket_idx(plan->edges, plan->atom_count, journey->times[i]);
        if (atom < window->first) {
            *ret_base = true;
        } else if (atom - window->first + 1 != silence.last) {
            silence_active(&silence, plan, window, atom - window->first + 1);
        }
    }
    silence_until(&silence, plan, window, window->days);
    return silence.is_churned;
}

static bool cell_takes(const struct bound_cell *cell, const struct churn_window *window,
                       bool is_churned)
{
    return (!cell->has_time || cell->time_ms == window->begin_ms) &&
           (is_churned || !cell->has_measure || cell->measure == CHURN_BASE);
}

/* Where a part of a journey is in the base of a window. */
static enum err_code count_window(const struct query_run_ctx *run, uint32_t w, bool is_churned,
                                  const struct journey *own, uint32_t group,
                                  struct churn_part *part, struct arena *arena, struct err *err)
{
    const struct churn_plan *plan = run->verb_plan;
    const struct bound_cell *cell = run->query->cell;
    uint64_t *row = NULL;
    if (part->taker != NULL) {
        return !cell_takes(cell, &plan->windows[w], is_churned)
                   ? ERR_OK
                   : cell_take_part(part->taker, part->rows.groups, group, own->subject, err);
    }
    ERR_TRY(habit_rows_of(&part->rows, group, arena, &row, err));
    row[(size_t)w * CHURN_KINDS + CHURN_BASE]++;
    row[(size_t)w * CHURN_KINDS + CHURN_CHURNED] += is_churned;
    return ERR_OK;
}

static enum err_code list_churned(const struct journey *journey, struct churn_part *part,
                                  struct arena *arena, struct err *err)
{
    ERR_TRY(GROW(arena, &part->lines, part->line_count, &part->line_cap, err));
    part->lines[part->line_count++] =
        (struct churn_line){journey->lanes[0][0], journey->times[journey->count - 1]};
    return ERR_OK;
}

/* `own`: the journey, or a part of it. */
static enum err_code count_part(const struct query_run_ctx *run, const struct journey *journey,
                                const struct journey *own, uint32_t group, struct churn_part *part,
                                struct arena *arena, struct err *err)
{
    const struct bound_query *query = run->query;
    const struct churn_plan *plan = run->verb_plan;
    size_t first = 0;
    for (uint32_t w = 0; w < plan->window_count; w++) {
        bool is_base = false;
        bool is_churned = query->churn.is_last_seen
                              ? last_seen_churned(query, own, &is_base)
                              : window_churned(plan, &plan->windows[w], own, &first, &is_base);
        if (!is_base) {
            continue;
        }
        if (!answer_is_list(query)) {
            ERR_TRY(count_window(run, w, is_churned, own, group, part, arena, err));
        } else if (is_churned) {
            ERR_TRY(list_churned(journey, part, arena, err));
        }
    }
    return ERR_OK;
}

static enum err_code walk_task(struct query_run_ctx *run, struct walk *walk, struct arena *arena,
                               void *slot, struct err *err)
{
    const struct bound_query *query = run->query;
    const struct churn_plan *plan = run->verb_plan;
    struct churn_part *part = slot;
    struct habit_split split = {.lane = HABIT_LANE_NONE, .arena = arena};
    struct journey journey;
    bool has_more = false;

    part->rows.len = (size_t)plan->window_count * CHURN_KINDS;
    part->subject_groups = answer_is_list(query) ? walk_groups(walk, 0) : NULL;
    if (query->cell != NULL) {
        ERR_TRY(cell_taker_open(run, walk_shard(walk), &part->taker, err));
    }
    if (query->key_count > 0) {
        split.lane = 0;
        part->rows.groups = walk_groups(walk, 0);
    }
    ERR_TRY(walk_next(walk, &journey, &has_more, err));
    while (has_more) {
        struct journey own;
        uint32_t group = 0;
        ERR_TRY(habit_split_load(&split, &journey, err));
        while (habit_split_next(&split, &group, &own)) {
            ERR_TRY(count_part(run, &journey, &own, group, part, arena, err));
        }
        ERR_TRY(walk_next(walk, &journey, &has_more, err));
    }
    return ERR_OK;
}

/* ---- the answer ---- */

static enum err_code make_columns(const struct bound_query *query, struct result *result,
                                  struct err *err)
{
    struct result_col *cols = NULL;
    uint32_t count = 0;
    ERR_TRY(ARENA_NEW(result->arena, (size_t)query->key_count + 4, &cols, err));
    if (query->has_each) {
        cols[count++] = answer_bucket_col(query);
    }
    ERR_TRY(habit_key_cols(query, result->arena, cols, &count, err));
    cols[count++] = (struct result_col){STR("base"), RESULT_INT64};
    cols[count++] = (struct result_col){STR("churned"), RESULT_INT64};
    cols[count++] = (struct result_col){STR("rate"), RESULT_NUMBER};
    result->cols = cols;
    result->col_count = count;
    return ERR_OK;
}

/* The first measure, over all windows. */
static uint64_t base_people(const uint64_t *row, size_t len)
{
    uint64_t sum = 0;
    for (size_t i = CHURN_BASE; i < len; i += CHURN_KINDS) {
        sum += row[i];
    }
    return sum;
}

static enum err_code put_row(const struct bound_query *query, const struct churn_window *window,
                             const uint64_t *counts, const struct habit_rows *rows, uint32_t group,
                             struct arena *arena, struct cell *out, struct err *err)
{
    if (query->has_each) {
        ERR_TRY(answer_bucket_cell(query, window->begin_ms, arena, out++, err));
    }
    ERR_TRY(habit_key_cells(rows, query->key_count, group, arena, out, err));
    out += query->key_count;
    out[0] = answer_count_cell(counts[CHURN_BASE]);
    out[1] = answer_count_cell(counts[CHURN_CHURNED]);
    out[2] = answer_ratio(counts[CHURN_CHURNED], counts[CHURN_BASE]);
    return ERR_OK;
}

static enum err_code answer_counts(struct query_run_ctx *run, const struct churn_plan *plan,
                                   const struct run_tasks *tasks, struct result *result,
                                   struct err *err)
{
    const struct bound_query *query = run->query;
    struct habit_rows rows = {.len = (size_t)plan->window_count * CHURN_KINDS};
    struct answer_group *groups = NULL;
    struct cell *cells = NULL;
    uint32_t count = 0;
    uint32_t left_out = 0;

    ERR_TRY(make_columns(query, result, err));
    ERR_TRY(habit_rows_merge(run, tasks, offsetof(struct churn_part, rows), &rows, err));
    ERR_TRY(habit_rows_pick(run, &rows, base_people, &groups, &count, &left_out, err));
    ERR_TRY(run_result_rows(run, result, (uint64_t)plan->window_count * count, &cells, err));
    for (uint32_t w = 0; w < plan->window_count; w++) {
        ERR_TRY(run_check(run, err));
        for (uint32_t i = 0; i < count; i++, cells += result->col_count) {
            const uint64_t *counts = habit_row(&rows, groups[i].number) + (size_t)w * CHURN_KINDS;
            ERR_TRY(put_row(query, &plan->windows[w], counts, &rows, groups[i].number,
                            result->arena, cells, err));
        }
    }
    if (left_out > 0) {
        answer_left_out(result, (uint64_t)plan->window_count * left_out);
    }
    return ERR_OK;
}

static uint32_t count_lines(const void *slot)
{
    return ((const struct churn_part *)slot)->line_count;
}

static enum err_code put_line(struct query_run_ctx *run, const void *slot, uint32_t line,
                              struct arena *arena, struct cell *out, struct err *err)
{
    const struct churn_part *part = slot;
    const struct churn_line *churned = &part->lines[line];
    ERR_TRY(answer_subject_cell(part->subject_groups, churned->subject, arena, &out[0], err));
    return answer_instant_cell(run->query, churned->last_ms, arena, &out[1], err);
}

static enum err_code answer_churned(struct query_run_ctx *run, const struct run_tasks *tasks,
                                    struct result *result, struct err *err)
{
    static const struct answer_lines lines = {count_lines, put_line};
    struct result_col cols[2] = {{STR("user_id"), RESULT_STRING}, {STR("last_seen"), RESULT_TIME}};
    ERR_TRY(answer_subject_col(run->query, result->arena, &cols[0], err));
    ERR_TRY(answer_cols(result, cols, COUNT_OF(cols), err));
    return answer_put_lines(run, tasks, &lines, result, err);
}

static enum err_code run_plan(struct query_run_ctx *run, const struct churn_plan *plan,
                              struct run_tasks *tasks, struct err *err)
{
    const struct bound_query *query = run->query;
    const struct scan_want want = {query->churn.selector, plan->edges[0],
                                   plan->edges[plan->atom_count]};
    struct walk_spec spec = {
        .query = query, .wants = &want, .want_count = 1, .subject = query->per};
    struct by_key subject_keys[2];

    run->verb_plan = plan;
    if (churn_bits_serve(run)) {
        return run_all_tasks(run, bits_task, sizeof(struct churn_part), tasks, err);
    }
    if (answer_is_list(query)) {
        spec.lanes[spec.lane_count++] = answer_subject_lane(query, subject_keys);
    } else if (query->key_count > 0) {
        spec.lanes[spec.lane_count++] = (struct walk_lane){query->keys, query->key_count};
    }
    return walk_all(run, &spec, walk_task, sizeof(struct churn_part), tasks, err);
}

enum err_code verb_churn(struct query_run_ctx *run, struct result *result, struct err *err)
{
    CLEANUP(run_tasks_free) struct run_tasks tasks = {0};
    const struct bound_query *query = run->query;
    struct churn_window only = {0};
    struct churn_plan plan = {.windows = &only, .window_count = 1, .silence = query->churn.days};

    ERR_TRY(query->churn.is_last_seen ? plan_last_seen(run, &plan, err)
            : query->has_each         ? plan_windows(run, &plan, err)
                                      : plan_window(run, &plan, err));
    if (plan.atom_count > 0) {
        ERR_TRY(run_plan(run, &plan, &tasks, err));
    }
    if (query->cell != NULL) {
        return ERR_OK;
    }
    return answer_is_list(query) ? answer_churned(run, &tasks, result, err)
                                 : answer_counts(run, &plan, &tasks, result, err);
}
