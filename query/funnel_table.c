/* query/funnel_table.c
 *
 *     steps    a row per line and step
 *     times    a row per line and stretch of time [from_ms, to_ms): how many took so long from the first step to the
 *              last. The stretches are the query's, or multiples of the shortest round time that makes at most
 *              TIMES_MAX of them; then they are the same for all lines, from the shortest way to the longest.
 */
#include "query/funnel_table.h"

#include "storage/base/size.h"

#define STEP_COLS 9u /* after bucket and keys */
#define TIME_COLS 3u
#define TIMES_MAX 20u

/* ---- columns, bucket and keys ---- */

static uint32_t lead_cols(const struct bound_query *query)
{
    return (query->has_each ? 1 : 0) + query->key_count;
}

static enum err_code make_columns(const struct bound_query *query, bool has_other,
                                  const struct result_col *fixed, uint32_t fixed_count,
                                  struct result *result, struct err *err)
{
    struct result_col *cols = NULL;
    uint32_t at = 0;

    ERR_TRY(ARENA_NEW(result->arena, lead_cols(query) + fixed_count, &cols, err));
    if (query->has_each) {
        cols[at++] = answer_bucket_col(query);
    }
    for (uint32_t k = 0; k < query->key_count; k++) {
        ERR_TRY(answer_key_col(query, k, has_other, result->arena, &cols[at++], err));
    }
    memcpy(cols + at, fixed, fixed_count * sizeof(*fixed));
    result->cols = cols;
    result->col_count = at + fixed_count;
    return ERR_OK;
}

static enum err_code lead_cells(const struct bound_query *query, const struct funnel_merge *m,
                                const struct funnel_line *line, struct arena *arena,
                                struct cell *out, struct err *err)
{
    if (query->has_each) {
        ERR_TRY(answer_bucket_cell(query, m->buckets.begins[line->bucket], arena, out++, err));
    }
    return answer_key_cells(m->groups, query->key_count, line->group, line->is_other, arena, out,
                            err);
}

/* ---- steps ---- */

/* median, avg, p90 of the step. */
static void time_cells(const struct funnel_line *line, uint32_t step, struct cell *out)
{
    struct funnel_durations none = {0}; /* CELL_NULL = 0 */
    bool is_timed = step > 0 && line->steps != NULL;
    const struct funnel_durations *d = is_timed ? &line->steps[step] : &none;
    out[0] = d->median;
    out[1] = d->mean;
    out[2] = d->p90;
}

/* Rates and losses go from one step that has to be done to the next; an optional one stands beside
 * that line, and its loss are those who went on without it, or not at all. */
static enum err_code line_rows(const struct bound_query *query, const struct funnel_merge *m,
                               struct funnel_line *line, struct arena *arena, struct cell *out,
                               struct err *err)
{
    uint32_t col_count = lead_cols(query) + STEP_COLS;
    uint64_t before = line->users[0];

    for (uint32_t i = 0; i < m->step_count; i++, out += col_count) {
        const struct funnel_step *step = &query->funnel.steps[i];
        uint64_t users = line->users[i];
        struct cell *cells = out + lead_cols(query);
        struct str label = {0};
        ERR_TRY(lead_cells(query, m, line, arena, out, err));
        ERR_TRY(arena_str(arena, step->label, &label, err));
        cells[0] = answer_count_cell(i + 1);
        cells[1] = (struct cell){.kind = CELL_STRING, .string = label};
        cells[2] = answer_count_cell(users);
        cells[3] = answer_ratio(users, line->users[0]);
        cells[4] = i == 0 ? (struct cell){.kind = CELL_NULL} : answer_ratio(users, before);
        cells[5] = answer_count_cell(before - users);
        time_cells(line, i, &cells[6]);
        before = step->is_optional ? before : users;
    }
    return ERR_OK;
}

static enum err_code step_totals(const struct bound_query *query, struct funnel_merge *m,
                                 struct result *result, struct err *err)
{
    uint32_t last = m->step_count - 1;
    uint64_t entered = m->all.users[0];
    uint64_t converted = m->all.users[last];

    ERR_TRY(ARENA_NEW(result->arena, result->col_count, &result->totals, err)); /* CELL_NULL = 0 */
    struct cell *cells = result->totals + lead_cols(query);
    cells[2] = answer_count_cell(converted);
    cells[3] = answer_ratio(converted, entered);
    cells[5] = answer_count_cell(entered - converted);
    time_cells(&m->all, last, &cells[6]);
    return ERR_OK;
}

static enum err_code steps_table(struct query_run_ctx *run, struct funnel_merge *m,
                                 struct result *result, struct err *err)
{
    static const struct result_col fixed[STEP_COLS] = {
        {STR("step"), RESULT_INT64},           {STR("event"), RESULT_STRING},
        {STR("users"), RESULT_INT64},          {STR("from_first"), RESULT_NUMBER},
        {STR("from_previous"), RESULT_NUMBER}, {STR("dropped"), RESULT_INT64},
        {STR("median_ms"), RESULT_NUMBER},     {STR("avg_ms"), RESULT_NUMBER},
        {STR("p90_ms"), RESULT_NUMBER},
    };
    struct cell *cells = NULL;

    ERR_TRY(make_columns(run->query, m->has_other, fixed, STEP_COLS, result, err));
    ERR_TRY(run_result_rows(run, result, m->line_count * m->step_count, &cells, err));
    for (uint64_t i = 0; i < m->line_count; i++) {
        ERR_TRY(run_check(run, err));
        ERR_TRY(line_rows(run->query, m, &m->lines[i], result->arena, cells, err));
        cells += (size_t)m->step_count * result->col_count;
    }
    answer_left_out(result, m->left_out * m->step_count);
    return step_totals(run->query, m, result, err);
}

/* ---- times ---- */

/* Stretches [begins[i], begins[i + 1]); the last one is open where `is_open`. */
struct stretches {
    uint64_t *begins;
    uint32_t count;
    bool is_open;
};

static uint64_t round_up_ms(uint64_t min_ms, uint64_t max_ms)
{
    static const uint64_t round_ms[] = {
        1,        2,        5,        10,        20,        50,         100,     200,
        500,      1000,     2000,     5000,      10000,     15000,      30000,   60000,
        120000,   300000,   600000,   900000,    1800000,   3600000,    7200000, 10800000,
        21600000, 43200000, 86400000, 172800000, 604800000, 1209600000,
    };
    uint64_t width_ms = round_ms[0];
    for (uint32_t i = 0; max_ms / width_ms - min_ms / width_ms >= TIMES_MAX; i++) {
        width_ms = i + 1 < COUNT_OF(round_ms) ? round_ms[i + 1] : width_ms * 2;
    }
    return width_ms;
}

static enum err_code round_stretches(const struct funnel_line *all, uint32_t last,
                                     struct arena *arena, struct stretches *ret, struct err *err)
{
    const struct funnel_durations *d = &all->steps[last];
    uint64_t min_ms = UINT64_MAX;
    uint64_t max_ms = 0;

    for (size_t i = 0; i < d->count; i++) {
        min_ms = MIN_OF(min_ms, d->ms[i]);
        max_ms = MAX_OF(max_ms, d->ms[i]);
    }
    if (d->count == 0) {
        return ERR_OK; /* nobody went all the way: no stretches */
    }
    uint64_t width_ms = round_up_ms(min_ms, max_ms);
    uint64_t first = min_ms / width_ms;
    ret->count = (uint32_t)(max_ms / width_ms - first + 1);
    ERR_TRY(ARENA_NEW(arena, (size_t)ret->count + 1, &ret->begins, err));
    for (uint32_t i = 0; i <= ret->count; i++) {
        ret->begins[i] = (first + i) * width_ms;
    }
    return ERR_OK;
}

static enum err_code given_stretches(const struct funnel *funnel, struct arena *arena,
                                     struct stretches *ret, struct err *err)
{
    bool has_zero = funnel->edges_ms[0] == 0;
    ret->is_open = true;
    ret->count = funnel->edge_count + (has_zero ? 0 : 1);
    ERR_TRY(ARENA_NEW(arena, (size_t)ret->count + 1, &ret->begins, err));
    memcpy(ret->begins + (has_zero ? 0 : 1), funnel->edges_ms,
           funnel->edge_count * sizeof(*ret->begins));
    ret->begins[ret->count] = UINT64_MAX;
    return ERR_OK;
}

static void count_times(const struct funnel_line *line, uint32_t last, const struct stretches *s,
                        uint64_t *out)
{
    memset(out, 0, s->count * sizeof(*out));
    for (size_t i = 0; line->steps != NULL && i < line->steps[last].count; i++) {
        uint64_t ms = line->steps[last].ms[i];
        uint32_t low = 0;
        uint32_t high = s->count; /* the last begin that is not later */
        while (low + 1 < high) {
            uint32_t mid = low + (high - low) / 2;
            if (s->begins[mid] <= ms) {
                low = mid;
            } else {
                high = mid;
            }
        }
        out[low]++;
    }
}

static enum err_code times_rows(const struct bound_query *query, const struct funnel_merge *m,
                                const struct funnel_line *line, const struct stretches *s,
                                const uint64_t *counts, struct result *result, struct cell *out,
                                struct err *err)
{
    for (uint32_t i = 0; i < s->count; i++, out += result->col_count) {
        struct cell *cells = out + lead_cols(query);
        bool is_last = s->is_open && i + 1 == s->count;
        ERR_TRY(lead_cells(query, m, line, result->arena, out, err));
        cells[0] = answer_count_cell(s->begins[i]);
        cells[1] = is_last ? (struct cell){.kind = CELL_NULL} : answer_count_cell(s->begins[i + 1]);
        cells[2] = answer_count_cell(counts[i]);
    }
    return ERR_OK;
}

static enum err_code times_table(struct query_run_ctx *run, struct funnel_merge *m,
                                 struct result *result, struct err *err)
{
    static const struct result_col fixed[TIME_COLS] = {
        {STR("from_ms"), RESULT_INT64}, {STR("to_ms"), RESULT_INT64}, {STR("users"), RESULT_INT64}};
    const struct funnel *funnel = &run->query->funnel;
    uint32_t last = m->step_count - 1;
    struct stretches s = {0};
    struct cell *cells = NULL;
    uint64_t *counts = NULL;

    if (funnel->edge_count > 0) {
        ERR_TRY(given_stretches(funnel, run->arena, &s, err));
    } else {
        ERR_TRY(round_stretches(&m->all, last, run->arena, &s, err));
    }
    ERR_TRY(ARENA_NEW(run->arena, s.count, &counts, err));
    ERR_TRY(make_columns(run->query, m->has_other, fixed, TIME_COLS, result, err));
    ERR_TRY(run_result_rows(run, result, m->line_count * s.count, &cells, err));
    for (uint64_t i = 0; i < m->line_count; i++) {
        ERR_TRY(run_check(run, err));
        count_times(&m->lines[i], last, &s, counts);
        ERR_TRY(times_rows(run->query, m, &m->lines[i], &s, counts, result, cells, err));
        cells += (size_t)s.count * result->col_count;
    }
    answer_left_out(result, m->left_out * s.count);
    ERR_TRY(ARENA_NEW(result->arena, result->col_count, &result->totals, err));
    result->totals[result->col_count - 1] = answer_count_cell(m->all.steps[last].count);
    return ERR_OK;
}

/* ---- both ---- */

enum err_code funnel_table(struct query_run_ctx *run, struct funnel_merge *merge,
                           struct result *result, struct err *err)
{
    result->meta.has_entries = run->query->funnel.window_ms != UINT64_MAX;
    result->meta.entered = merge->all.users[0];
    result->meta.mature = merge->mature;
    return run->query->funnel.table == FUNNEL_TIMES ? times_table(run, merge, result, err)
                                                    : steps_table(run, merge, result, err);
}
