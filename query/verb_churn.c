/* query/verb_churn.c - the churn verb: who fell silent.
 *
 *     churn 14d of SEL last 30d
 *         | the 14 days before | day 1 | day 2 | ...                  | day 30 |
 *           active here: base            [14 days in a row of none: churned]
 *
 *     churn 14d of SEL last_seen last 90d
 *         base: active in the range (all data where there is none); churned: last seen 14 civil days ago, or earlier
 *
 * Days are civil, and a day that still runs is not silent yet. Counts come from stored sets where they say enough
 * (habit_bits.h), else from journeys; `list users` reads journeys.
 */
#include "query/answer_journeys.h"
#include "query/grow.h"
#include "query/habit_bits.h"
#include "query/index_sets.h"
#include "query/subject_bits.h"
#include "storage/base/size.h"

#include <stdlib.h>

/* Spans of time between neighbouring edges, in which a subject is seen or not. */
struct churn_plan {
    int64_t *edges; /* atom_count + 1; with a window: atom 0 is that of the base, atom d is day d */
    uint32_t atom_count;
    uint32_t day_count; /* days of the window that are over */
    uint32_t silence;   /* so many of them in a row make churn */
};

struct churn_line {
    uint32_t subject; /* number in the task's groups */
    int64_t last_ms;
};

struct churn_part {
    uint64_t base, churned;
    struct groups *subject_groups;
    struct churn_line *lines;
    uint32_t line_count, line_cap;
};

/* ---- one subject in a window ---- */

struct silence {
    uint32_t last; /* day of the last activity; 0: before the window */
    bool is_churned;
};

static void silence_active(struct silence *s, const struct churn_plan *plan, uint32_t day)
{
    s->is_churned = s->is_churned || day > s->last + plan->silence;
    s->last = day;
}

static void silence_end(struct silence *s, const struct churn_plan *plan)
{
    s->is_churned =
        s->is_churned || (plan->day_count >= s->last && plan->day_count - s->last >= plan->silence);
}

/* ---- plan ---- */

static enum err_code plan_window(struct query_run_ctx *run, struct churn_plan *plan,
                                 struct err *err)
{
    const struct bound_query *query = run->query;
    struct civil_grid day;
    int64_t *begins = NULL;
    uint32_t count = 0;

    ERR_TRY(civil_grid_init(query->zone, CIVIL_DAY, 1, CIVIL_MONDAY, &day, err));
    ERR_TRY(civil_buckets(&day, query->from_ms, query->to_ms, QUERY_BUCKETS_MAX, run->arena,
                          &begins, &count, err));
    ERR_TRY(ARENA_NEW(run->arena, (size_t)count + 2, &plan->edges, err));
    plan->edges[0] = query->churn.base_begin_ms;
    memcpy(plan->edges + 1, begins, ((size_t)count + 1) * sizeof(*begins));
    plan->atom_count = count + 1;
    plan->silence = query->churn.days;
    while (plan->day_count < count && begins[plan->day_count + 1] <= query->now_ms) {
        plan->day_count++;
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

static enum err_code count_window_bits(const struct churn_plan *plan, const struct habit_bits *bits,
                                       struct arena *arena, struct churn_part *part,
                                       struct err *err)
{
    const uint64_t *base = habit_bits_of(bits, 0);
    struct silence *silences = NULL;

    ERR_TRY(ARENA_NEW(arena, bits->word_count * 64, &silences, err));
    for (uint32_t day = 1; day < plan->atom_count; day++) {
        const uint64_t *words = habit_bits_of(bits, day);
        for (size_t w = 0; w < bits->word_count; w++) {
            for (uint64_t rest = words[w] & base[w]; rest != 0; rest &= rest - 1) {
                silence_active(&silences[w * 64 + (uint32_t)__builtin_ctzll(rest)], plan, day);
            }
        }
    }
    for (size_t w = 0; w < bits->word_count; w++) {
        for (uint64_t rest = base[w]; rest != 0; rest &= rest - 1) {
            struct silence *s = &silences[w * 64 + (uint32_t)__builtin_ctzll(rest)];
            silence_end(s, plan);
            part->base++;
            part->churned += s->is_churned;
        }
    }
    return ERR_OK;
}

static enum err_code count_last_seen_bits(const struct bound_query *query,
                                          const struct churn_plan *plan,
                                          const struct habit_bits *bits, struct arena *arena,
                                          struct churn_part *part, struct err *err)
{
    size_t words = bits->word_count;
    uint64_t *base = NULL;
    uint64_t *alive = NULL;

    ERR_TRY(ARENA_NEW(arena, words, &base, err));
    ERR_TRY(ARENA_NEW(arena, words, &alive, err));
    for (uint32_t a = 0; a < plan->atom_count; a++) {
        if (is_in_range(query, plan->edges[a])) {
            bits_or(base, habit_bits_of(bits, a), words);
        }
        if (plan->edges[a] >= query->churn.seen_before_ms) {
            bits_or(alive, habit_bits_of(bits, a), words);
        }
    }
    part->base = bits_count(base, words);
    part->churned = part->base - bits_and_count(base, alive, words);
    return ERR_OK;
}

static enum err_code bits_task(struct query_run_ctx *run, const struct run_task *task,
                               struct arena *arena, struct io *io, void *slot, struct err *err)
{
    const struct bound_query *query = run->query;
    const struct churn_plan *plan = run->verb_plan;
    struct habit_bits bits;

    ERR_TRY(habit_bits_make(run, task, query->churn.selector, plan->edges, plan->atom_count, arena,
                            io, &bits, err));
    return query->churn.is_last_seen ? count_last_seen_bits(query, plan, &bits, arena, slot, err)
                                     : count_window_bits(plan, &bits, arena, slot, err);
}

/* ---- from journeys ---- */

/* *ret_base: is the subject looked at; returns whether it churned. */
static bool journey_churned(const struct bound_query *query, const struct churn_plan *plan,
                            const struct journey *journey, bool *ret_base)
{
    struct silence silence = {0};

    *ret_base = false;
    if (query->churn.is_last_seen) {
        for (size_t i = 0; i < journey->count && !*ret_base; i++) {
            *ret_base = is_in_range(query, journey->times[i]);
        }
        return journey->times[journey->count - 1] < query->churn.seen_before_ms;
    }
    for (size_t i = 0; i < journey->count; i++) {
        uint32_t atom = civil_bucket_idx(plan->edges, plan->atom_count, journey->times[i]);
        if (atom == 0) {
            *ret_base = true;
        } else if (atom != silence.last) {
            silence_active(&silence, plan, atom);
        }
    }
    silence_end(&silence, plan);
    return silence.is_churned;
}

static enum err_code walk_task(struct query_run_ctx *run, struct walk *walk, struct arena *arena,
                               void *slot, struct err *err)
{
    const struct bound_query *query = run->query;
    const struct churn_plan *plan = run->verb_plan;
    struct churn_part *part = slot;
    struct journey journey;
    bool has_more = false;

    part->subject_groups = query->is_list ? walk_groups(walk, 0) : NULL;
    ERR_TRY(walk_next(walk, &journey, &has_more, err));
    while (has_more) {
        bool is_base = false;
        bool is_churned = journey_churned(query, plan, &journey, &is_base);
        part->base += is_base;
        part->churned += is_base && is_churned;
        if (query->is_list && is_base && is_churned) {
            ERR_TRY(GROW(arena, &part->lines, part->line_count, &part->line_cap, err));
            part->lines[part->line_count++] =
                (struct churn_line){journey.lanes[0][0], journey.times[journey.count - 1]};
        }
        ERR_TRY(walk_next(walk, &journey, &has_more, err));
    }
    return ERR_OK;
}

/* ---- the answer ---- */

static enum err_code answer_counts(struct query_run_ctx *run, const struct run_tasks *tasks,
                                   struct result *result, struct err *err)
{
    static const struct result_col cols[] = {
        {STR("base"), RESULT_INT64}, {STR("churned"), RESULT_INT64}, {STR("rate"), RESULT_NUMBER}};
    const struct churn_part *parts = tasks->slots;
    uint64_t base = 0;
    uint64_t churned = 0;
    struct cell *cells = NULL;

    for (uint32_t t = 0; t < tasks->count; t++) {
        base += parts[t].base;
        churned += parts[t].churned;
    }
    ERR_TRY(answer_cols(result, cols, COUNT_OF(cols), err));
    ERR_TRY(run_result_rows(run, result, 1, &cells, err));
    cells[0] = answer_count_cell(base);
    cells[1] = answer_count_cell(churned);
    cells[2] = answer_ratio(churned, base);
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
    if (!query->is_list && query->per == NULL &&
        index_serves(run, &query->selectors[query->churn.selector])) {
        return run_all_tasks(run, bits_task, sizeof(struct churn_part), tasks, err);
    }
    if (query->is_list) {
        spec.lanes[spec.lane_count++] = answer_subject_lane(query, subject_keys);
    }
    return walk_all(run, &spec, walk_task, sizeof(struct churn_part), tasks, err);
}

enum err_code verb_churn(struct query_run_ctx *run, struct result *result, struct err *err)
{
    CLEANUP(run_tasks_free) struct run_tasks tasks = {0};
    const struct bound_query *query = run->query;
    struct churn_plan plan = {0};

    ERR_TRY(query->churn.is_last_seen ? plan_last_seen(run, &plan, err)
                                      : plan_window(run, &plan, err));
    if (plan.atom_count > 0) {
        ERR_TRY(run_plan(run, &plan, &tasks, err));
    }
    return query->is_list ? answer_churned(run, &tasks, result, err)
                          : answer_counts(run, &tasks, result, err);
}
