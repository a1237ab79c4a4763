/* query/retention_table.c - the answers of retention and ltv, out of counts per (line, cohort).
 *
 *     table      a row per (cohort, line, column)
 *     average    a row per (line, column): the cohorts whose cell is complete, added up, so that each weighs as many as it has
 *                members
 *
 * ltv(t) is the sum over ages up to t of ARPU * survival: (revenue / active) * (active / size), which is revenue / size.
 * Where size is the same for all ages, as in a cohort, that sum is taken of the revenue, exactly, and divided once;
 * a discount, and an average, whose ages stand for different cohorts, divide term by term.
 */
#include "query/answer_journeys.h"
#include "query/retention_value.h"
#include "storage/base/size.h"

#include <inttypes.h>

/* What one row of the answer says. */
struct table_cell {
    uint64_t cohorts; /* of an average */
    uint64_t size, users;
    union acc_cell sum;
    bool is_complete;
};

/* The ages of one curve so far. */
struct ltv_curve {
    union acc_cell revenue;
    double discounted; /* sum of the terms */
    double factor;     /* (1 + d)^age */
};

/* ---- columns ---- */

static uint32_t head_count(const struct bound_query *query)
{
    return query->key_count + (query->retention.is_average ? 0 : 1);
}

static void add_col(struct result_col *cols, uint32_t *count, const char *name,
                    enum result_type type)
{
    cols[(*count)++] = (struct result_col){str_of(name), type};
}

static void add_measures(const struct bound_query *query, struct result_col *cols, uint32_t *count)
{
    const struct retention *retention = &query->retention;
    bool is_average = retention->is_average;
    add_col(cols, count, "period",
            retention->mode == RETENTION_BRACKET ? RESULT_STRING : RESULT_INT64);
    if (is_average) {
        add_col(cols, count, "cohorts", RESULT_INT64);
    }
    add_col(cols, count, "size", RESULT_INT64);
    if (query->verb == VERB_LTV) {
        add_col(cols, count, "active", RESULT_INT64);
        add_col(cols, count, "revenue", RESULT_NUMBER);
        add_col(cols, count, "arpu", RESULT_NUMBER);
        add_col(cols, count, "survival", RESULT_NUMBER);
        add_col(cols, count, "ltv", RESULT_NUMBER);
    } else {
        add_col(cols, count, "users", RESULT_INT64);
        add_col(cols, count, "rate", RESULT_NUMBER);
    }
    if (!is_average) {
        add_col(cols, count, "complete", RESULT_BOOL);
    }
    if (query->verb != VERB_LTV && retention->value != RETENTION_NO_VALUE) {
        add_col(cols, count, "value", RESULT_NUMBER);
    }
}

enum err_code retention_columns(const struct bound_query *query, bool has_other,
                                struct result *result, struct err *err)
{
    struct result_col *cols = NULL;
    uint32_t count = 0;

    ERR_TRY(ARENA_NEW(result->arena, query->key_count + 16, &cols, err));
    if (!query->retention.is_average) {
        add_col(cols, &count, "cohort",
                query->retention.unit >= CIVIL_DAY ? RESULT_DATE : RESULT_TIME);
    }
    for (uint32_t k = 0; k < query->key_count; k++) {
        ERR_TRY(answer_key_col(query, k, has_other, result->arena, &cols[count++], err));
    }
    add_measures(query, cols, &count);
    result->cols = cols;
    result->col_count = count;
    return ERR_OK;
}

enum err_code retention_totals(const struct bound_query *query, uint64_t size,
                               struct result *result, struct err *err)
{
    uint32_t size_col = head_count(query) + (query->retention.is_average ? 2 : 1);
    ERR_TRY(ARENA_NEW(result->arena, result->col_count, &result->totals, err)); /* all null */
    result->totals[size_col] = answer_count_cell(size);
    return ERR_OK;
}

/* ---- cells ---- */

bool retention_is_complete(const struct query_run_ctx *run, const struct retention_plan *plan,
                           uint32_t cohort, uint32_t column)
{
    const struct retention_spec *spec = &plan->spec;
    uint32_t last = spec->mode == RETENTION_BRACKET ? spec->brackets[column].last : column;
    if (spec->rolling_ms == 0) {
        return spec->begins[cohort + last + 1] <= run->query->now_ms;
    }
    __int128 end_ms =
        (__int128)spec->begins[cohort + 1] + (__int128)spec->rolling_ms * ((uint64_t)last + 1);
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
            *label = answer_count_cell(n);
            continue;
        }
        label->kind = CELL_STRING;
        ERR_TRY(retention_bracket_text(&spec->brackets[n], arena, &label->string, err));
    }
    return ERR_OK;
}

/* a / b; null where b is 0. */
static struct cell divide(const struct expr_value *a, uint64_t b)
{
    if (b == 0 || a->kind == VALUE_MISSING) {
        return (struct cell){.kind = CELL_NULL};
    }
    struct expr_value quotient = expr_double(expr_to_double(a) / (double)b);
    return expr_cell(&quotient);
}

/* active | revenue | arpu | survival | ltv */
static enum err_code ltv_cells(const struct bound_query *query, const struct table_cell *in,
                               struct acc_pool *pool, struct ltv_curve *curve, struct cell *out,
                               struct err *err)
{
    const struct retention *retention = &query->retention;
    struct expr_value revenue = retention_value_sum(in->sum);

    ERR_TRY(acc_merge(pool, ACC_SUM, &curve->revenue, &in->sum, err));
    if (in->size > 0) {
        curve->discounted += expr_to_double(&revenue) / (double)in->size / curve->factor;
    }
    curve->factor *= 1 + retention->discount;
    out[0] = answer_count_cell(in->users);
    out[1] = expr_cell(&revenue);
    out[2] = divide(&revenue, in->users);
    out[3] = answer_ratio(in->users, in->size);
    if (retention->is_average || retention->discount > 0) {
        struct expr_value total = expr_double(curve->discounted);
        out[4] = in->size == 0 ? (struct cell){.kind = CELL_NULL} : expr_cell(&total);
    } else {
        struct expr_value total = retention_value_sum(curve->revenue);
        out[4] = divide(&total, in->size);
    }
    return ERR_OK;
}

static struct cell value_cell(const struct retention *retention, union acc_cell sum)
{
    if (retention->value == RETENTION_MEAN) {
        return retention_value_mean(sum);
    }
    struct expr_value total = retention_value_sum(sum);
    return expr_cell(&total);
}

/* The cells behind cohort and keys. */
static enum err_code fill_cells(const struct bound_query *query, const struct table_cell *in,
                                struct cell label, struct acc_pool *pool, struct ltv_curve *curve,
                                struct cell *out, struct err *err)
{
    const struct retention *retention = &query->retention;
    *out++ = label;
    if (retention->is_average) {
        *out++ = answer_count_cell(in->cohorts);
    }
    *out++ = answer_count_cell(in->size);
    if (query->verb == VERB_LTV) {
        ERR_TRY(ltv_cells(query, in, pool, curve, out, err));
        out += 5;
    } else {
        *out++ = answer_count_cell(in->users);
        *out++ = answer_ratio(in->users, in->size);
    }
    if (!retention->is_average) {
        *out++ = (struct cell){.kind = CELL_BOOL, .boolean = in->is_complete};
    }
    if (query->verb != VERB_LTV && retention->value != RETENTION_NO_VALUE) {
        *out++ = value_cell(retention, in->sum);
    }
    return ERR_OK;
}

/* ---- rows ---- */

struct table {
    struct query_run_ctx *run;
    const struct retention_plan *plan;
    struct retention_lines *lines;
    struct result *result;
    const struct cell *labels;
    struct cell *heads; /* per line: room for the cohort, then its keys */
    struct cell *out;   /* the next row */
};

static uint64_t *line_row(const struct table *t, uint32_t line, uint32_t cohort)
{
    const struct retention_part *part = &t->lines->part;
    return line < part->group_cap && part->rows[line] != NULL ? part->rows[line][cohort] : NULL;
}

/* One curve: a row per column. */
static enum err_code fill_curve(struct table *t, uint32_t line, const struct table_cell *cells,
                                struct err *err)
{
    const struct bound_query *query = t->run->query;
    uint32_t heads = head_count(query);
    struct ltv_curve curve = {.factor = 1};
    const struct cell *head = t->heads + (size_t)line * (1 + query->key_count);

    for (uint32_t n = 0; n < t->plan->spec.column_count; n++, t->out += t->result->col_count) {
        memcpy(t->out, head + (query->retention.is_average ? 1 : 0), heads * sizeof(*t->out));
        ERR_TRY(fill_cells(query, &cells[n], t->labels[n], &t->lines->part.pool, &curve,
                           t->out + heads, err));
    }
    return ERR_OK;
}

static void cohort_cells(const struct table *t, uint32_t line, uint32_t cohort,
                         struct table_cell *cells)
{
    const struct retention_spec *spec = &t->plan->spec;
    uint64_t *row = line_row(t, line, cohort);
    for (uint32_t n = 0; n < spec->column_count; n++) {
        cells[n] =
            (struct table_cell){.is_complete = retention_is_complete(t->run, t->plan, cohort, n)};
        if (row != NULL) {
            cells[n].size = row[0];
            cells[n].users = row[1 + n];
            cells[n].sum = spec->has_value ? retention_values(spec, row)[n] : (union acc_cell){0};
        }
    }
}

static bool is_cohort(const struct retention_calendar *calendar, uint32_t slot)
{
    return calendar->begins[slot] < calendar->begins[slot + 1]; /* a period that really was */
}

/* Complete cells of all cohorts, added up. */
static enum err_code average_cells(const struct table *t, uint32_t line, struct table_cell *cells,
                                   struct err *err)
{
    const struct retention_spec *spec = &t->plan->spec;
    struct acc_pool *pool = &t->lines->part.pool;
    memset(cells, 0, spec->column_count * sizeof(*cells));
    for (uint32_t c = t->lines->cohort_begin; c < t->lines->cohort_end; c++) {
        uint64_t *row = line_row(t, line, c);
        for (uint32_t n = 0; row != NULL && n < spec->column_count; n++) {
            if (!retention_is_complete(t->run, t->plan, c, n)) {
                continue;
            }
            cells[n].cohorts++;
            cells[n].size += row[0];
            cells[n].users += row[1 + n];
            if (spec->has_value) {
                ERR_TRY(
                    acc_merge(pool, ACC_SUM, &cells[n].sum, &retention_values(spec, row)[n], err));
            }
        }
    }
    return ERR_OK;
}

static enum err_code cohort_head(const struct query_run_ctx *run, int64_t begin_ms,
                                 struct arena *arena, struct cell *ret, struct err *err)
{
    struct bound_query named = *run->query; /* cohorts are named as buckets are */
    named.each_unit = run->query->retention.unit;
    return answer_bucket_cell(&named, begin_ms, arena, ret, err);
}

static enum err_code fill_cohorts(struct table *t, struct table_cell *cells, struct err *err)
{
    size_t head_cells = 1 + (size_t)t->run->query->key_count;
    for (uint32_t c = t->lines->cohort_begin; c < t->lines->cohort_end; c++) {
        struct cell cohort = {0};
        if (!is_cohort(&t->plan->calendar, c)) {
            continue;
        }
        ERR_TRY(run_check(t->run, err));
        ERR_TRY(cohort_head(t->run, t->plan->calendar.begins[c], t->result->arena, &cohort, err));
        for (uint32_t i = 0; i < t->lines->count; i++) {
            t->heads[i * head_cells] = cohort;
            cohort_cells(t, i, c, cells);
            ERR_TRY(fill_curve(t, i, cells, err));
        }
    }
    return ERR_OK;
}

static enum err_code fill_averages(struct table *t, struct table_cell *cells, struct err *err)
{
    for (uint32_t i = 0; i < t->lines->count; i++) {
        ERR_TRY(run_check(t->run, err));
        ERR_TRY(average_cells(t, i, cells, err));
        ERR_TRY(fill_curve(t, i, cells, err));
    }
    return ERR_OK;
}

/* What the mode says of other columns' sums, for every row. */
static enum err_code finish_values(struct table *t, struct err *err)
{
    const struct retention_spec *spec = &t->plan->spec;
    for (uint32_t i = 0; spec->has_value && i < t->lines->count; i++) {
        for (uint32_t c = 0; c < spec->cohort_count; c++) {
            uint64_t *row = line_row(t, i, c);
            if (row != NULL) {
                ERR_TRY(retention_value_finish(spec, &t->lines->part.pool,
                                               retention_values(spec, row), err));
            }
        }
    }
    return ERR_OK;
}

static enum err_code make_heads(struct table *t, const struct groups *groups, struct err *err)
{
    uint32_t key_count = t->run->query->key_count;
    size_t head_cells = 1 + (size_t)key_count;
    ERR_TRY(ARENA_NEW(t->result->arena, t->lines->count * head_cells, &t->heads, err));
    for (uint32_t i = 0; i < t->lines->count; i++) {
        bool is_other = t->lines->has_other && i + 1 == t->lines->count;
        ERR_TRY(answer_key_cells(groups, key_count, t->lines->groups[i].number, is_other,
                                 t->result->arena, t->heads + i * head_cells + 1, err));
    }
    return ERR_OK;
}

enum err_code retention_table(struct query_run_ctx *run, const struct retention_plan *plan,
                              const struct groups *groups, struct retention_lines *lines,
                              struct result *result, struct err *err)
{
    struct table t = {.run = run, .plan = plan, .lines = lines, .result = result};
    bool is_average = run->query->retention.is_average;
    struct cell *labels = NULL;
    struct table_cell *cells = NULL;
    uint64_t curves = is_average ? 1 : 0;

    for (uint32_t c = lines->cohort_begin; !is_average && c < lines->cohort_end; c++) {
        curves += is_cohort(&plan->calendar, c) ? 1 : 0;
    }
    uint64_t row_count = curves * plan->spec.column_count;
    if (__builtin_mul_overflow(row_count, (uint64_t)lines->count, &row_count)) {
        return err_set(err, ERR_LIMIT, "too many rows: %" PRIu64 " cohorts of %u groups", curves,
                       lines->count);
    }
    ERR_TRY(make_labels(&plan->spec, result->arena, &labels, err));
    t.labels = labels;
    ERR_TRY(run_result_rows(run, result, row_count, &t.out, err));
    ERR_TRY(make_heads(&t, groups, err));
    ERR_TRY(ARENA_NEW(run->arena, plan->spec.column_count, &cells, err));
    ERR_TRY(finish_values(&t, err));
    return is_average ? fill_averages(&t, cells, err) : fill_cohorts(&t, cells, err);
}
