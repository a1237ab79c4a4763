/* query/stickiness_ratio.c - dau_mau: people per day over people per month.
 *
 *     by month        mean of users(SEL) each day of the month  /  users(SEL) of the month
 *     rolling 28d     mean of users(SEL) of the last 28 days    /  users(SEL) of the last 28 * 24 hours
 *
 * Both are measures of trends, so two trends are run and their columns divided; the people behind a cell are those of the
 * second trend's (`mau` stands for its only measure). Months are whole, whatever the range cuts,
 * but days that have not begun yet are left out of the mean. Days are civil; what rolls is elapsed time, as everywhere.
 */
#include "query/answer_journeys.h"
#include "query/data_span.h"
#include "query/stickiness_int.h"
#include "storage/base/size.h"

#define DAY_MS UINT64_C(86400000)

/* The query's range; an end that it leaves open is that of the data. Empty: *ret_from = *ret_to. */
static enum err_code range_of(struct query_run_ctx *run, int64_t *ret_from, int64_t *ret_to,
                              struct err *err)
{
    const struct bound_query *query = run->query;
    struct data_span span = {0};
    *ret_from = query->from_ms;
    *ret_to = query->to_ms;
    if (*ret_from == INT64_MIN || *ret_to == INT64_MAX) {
        ERR_TRY(data_span(run, &span, err));
    }
    if (*ret_from == INT64_MIN) {
        *ret_from = span.has_data ? span.first_ms : 0;
    }
    if (*ret_to == INT64_MAX) {
        *ret_to = span.has_data && span.last_ms < INT64_MAX ? span.last_ms + 1 : 0;
    }
    *ret_to = MAX_OF(*ret_from, *ret_to);
    return ERR_OK;
}

/* users(SEL) for each of the `count` buckets of [from_ms, to_ms). */
static enum err_code users_each(struct query_run_ctx *run, enum civil_unit unit, int64_t from_ms,
                                int64_t to_ms, uint64_t rolling_ms, uint64_t count,
                                uint64_t **ret_users, struct err *err)
{
    static const struct expr users_expr = {.kind = EXPR_AGG, .agg = 0};
    static const struct agg users_agg = {.kind = AGG_USERS, .selector = 0};
    const struct bound_query *query = run->query;
    struct measure measure = {.name = STR("users"), .expr = &users_expr, .rolling_ms = rolling_ms};
    struct bound_query trend = *query;
    struct result result = {.arena = run->arena};

    trend.verb = VERB_TREND;
    trend.has_range = true;
    trend.from_ms = from_ms;
    trend.to_ms = to_ms;
    trend.has_each = true;
    trend.each_unit = unit;
    trend.each_count = 1;
    trend.aggs = &users_agg;
    trend.agg_count = 1;
    trend.measures = &measure;
    trend.measure_count = 1;
    run->query = &trend;
    enum err_code code = verb_trend(run, &result, err);
    run->query = query;
    ERR_TRY(code);
    if (query->cell != NULL) {
        return ERR_OK; /* the trend has taken who is behind it */
    }
    ASSERT(result.col_count == 2);
    if (result.row_count != count) {
        return err_set(err, ERR_INVALID, "the range touches the calendar's end");
    }
    ERR_TRY(ARENA_NEW(run->arena, result.row_count, ret_users, err));
    for (uint64_t i = 0; i < result.row_count; i++) {
        (*ret_users)[i] = (uint64_t)result.cells[2 * i + 1].i64;
    }
    return ERR_OK;
}

/* (sum / days) / users */
static struct cell ratio_cell(uint64_t sum, uint64_t days, uint64_t users)
{
    return users == 0 || days == 0
               ? (struct cell){.kind = CELL_NULL}
               : (struct cell){.kind = CELL_F64,
                               .f64 = (double)sum / ((double)days * (double)users)};
}

static enum err_code grid_of(const struct bound_query *query, enum civil_unit unit,
                             struct civil_grid *ret, struct err *err)
{
    return civil_grid_init(query->zone, unit, 1, (enum civil_weekday)query->week_start, ret, err);
}

/* ---- civil months ---- */

struct month {
    uint64_t days, sum; /* days that have begun, and their users one by one */
};

static enum err_code months(struct query_run_ctx *run, int64_t from_ms, int64_t to_ms,
                            struct result *result, struct err *err)
{
    const struct bound_query *query = run->query;
    struct civil_grid month_grid;
    struct civil_grid day_grid;
    int64_t *month_begins = NULL;
    int64_t *day_begins = NULL;
    uint64_t *mau = NULL;
    uint64_t *dau = NULL;
    uint32_t month_count = 0;
    uint32_t day_count = 0;
    struct cell *cells = NULL;

    ERR_TRY(grid_of(query, CIVIL_MONTH, &month_grid, err));
    ERR_TRY(grid_of(query, CIVIL_DAY, &day_grid, err));
    ERR_TRY(civil_buckets(&month_grid, from_ms, to_ms, QUERY_BUCKETS_MAX, run->arena, &month_begins,
                          &month_count, err));
    int64_t begin_ms = month_begins[0];
    int64_t end_ms = month_begins[month_count];
    ERR_TRY(civil_buckets(&day_grid, begin_ms, end_ms, QUERY_BUCKETS_MAX, run->arena, &day_begins,
                          &day_count, err));
    ERR_TRY(users_each(run, CIVIL_MONTH, begin_ms, end_ms, 0, month_count, &mau, err));
    if (query->cell != NULL) {
        return ERR_OK;
    }
    ERR_TRY(users_each(run, CIVIL_DAY, begin_ms, end_ms, 0, day_count, &dau, err));
    ERR_TRY(run_result_rows(run, result, month_count, &cells, err));
    uint32_t d = 0;
    for (uint32_t m = 0; m < month_count; m++, cells += result->col_count) {
        struct month month = {0};
        for (; d < day_count && day_begins[d] < month_begins[m + 1]; d++) {
            bool has_begun = day_begins[d] <= query->now_ms;
            month.days += has_begun;
            month.sum += has_begun ? dau[d] : 0;
        }
        ERR_TRY(answer_bucket_cell(query, month_begins[m], result->arena, &cells[0], err));
        cells[1] = answer_count_cell(month.days);
        cells[2] = answer_mean_cell(month.sum, month.days);
        cells[3] = answer_count_cell(mau[m]);
        cells[4] = ratio_cell(month.sum, month.days, mau[m]);
    }
    return ERR_OK;
}

/* ---- the last n days ---- */

static enum err_code trailing(struct query_run_ctx *run, int64_t from_ms, int64_t to_ms,
                              struct result *result, struct err *err)
{
    const struct bound_query *query = run->query;
    uint32_t days = query->habits.rolling_days;
    struct civil_grid grid;
    int64_t *begins = NULL;
    uint64_t *mau = NULL;
    uint64_t *dau = NULL;
    uint32_t count = 0;
    struct cell *cells = NULL;

    ERR_TRY(grid_of(query, CIVIL_DAY, &grid, err));
    ERR_TRY(
        civil_buckets(&grid, from_ms, to_ms, QUERY_BUCKETS_MAX, run->arena, &begins, &count, err));
    int64_t begin_ms = begins[0]; /* the range in whole days, and n - 1 days before it */
    int64_t end_ms = begins[count];
    int64_t back_ms = begin_ms;
    for (uint32_t i = 1; i < days; i++) {
        back_ms = civil_floor(&grid, back_ms - 1);
    }
    ERR_TRY(users_each(run, CIVIL_DAY, begin_ms, end_ms, days * DAY_MS, count, &mau, err));
    if (query->cell != NULL) {
        return ERR_OK;
    }
    ERR_TRY(users_each(run, CIVIL_DAY, back_ms, end_ms, 0, (uint64_t)count + days - 1, &dau, err));
    ERR_TRY(run_result_rows(run, result, count, &cells, err));
    uint64_t sum = 0; /* of dau[d .. d + days) */
    for (uint32_t i = 0; i + 1 < days; i++) {
        sum += dau[i];
    }
    for (uint32_t d = 0; d < count; d++, cells += result->col_count) {
        sum += dau[d + days - 1];
        ERR_TRY(answer_bucket_cell(query, begins[d], result->arena, &cells[0], err));
        cells[1] = answer_mean_cell(sum, days);
        cells[2] = answer_count_cell(mau[d]);
        cells[3] = ratio_cell(sum, days, mau[d]);
        sum -= dau[d];
    }
    return ERR_OK;
}

static enum err_code make_columns(const struct bound_query *query, struct result *result,
                                  struct err *err)
{
    uint32_t days = query->habits.rolling_days;
    struct result_col cols[] = {{STR("time"), RESULT_DATE},
                                {STR("days"), RESULT_INT64},
                                {STR("mean_dau"), RESULT_NUMBER},
                                {STR("mau"), RESULT_INT64},
                                {STR("dau_mau"), RESULT_NUMBER}};
    if (days == 0) {
        return answer_cols(result, cols, COUNT_OF(cols), err);
    }
    for (size_t i = 2; i < COUNT_OF(cols); i++) {
        ERR_TRY(arena_printf(result->arena, &cols[i].name, err, STR_FMT "_%ud",
                             STR_ARG(cols[i].name), days));
    }
    cols[1] = cols[0]; /* the number of days is in the names */
    return answer_cols(result, cols + 1, COUNT_OF(cols) - 1, err);
}

enum err_code stickiness_ratio(struct query_run_ctx *run, struct result *result, struct err *err)
{
    int64_t from_ms = 0;
    int64_t to_ms = 0;

    ERR_TRY(make_columns(run->query, result, err));
    ERR_TRY(ARENA_NEW(result->arena, result->col_count, &result->totals, err)); /* all null */
    ERR_TRY(range_of(run, &from_ms, &to_ms, err));
    if (from_ms == to_ms) {
        return ERR_OK;
    }
    return run->query->habits.rolling_days == 0 ? months(run, from_ms, to_ms, result, err)
                                                : trailing(run, from_ms, to_ms, result, err);
}
