/* query/answer_journeys.c */
#include "query/answer_journeys.h"

#include "query/data_span.h"
#include "storage/base/size.h"

/* ---- who ---- */

struct walk_lane answer_subject_lane(const struct bound_query *query, struct by_key storage[2])
{
    if (query->per != NULL) {
        storage[0] = (struct by_key){.name = query->per->name, .field = *query->per};
        return (struct walk_lane){.keys = storage, .key_count = 1};
    }
    storage[0] = (struct by_key){
        .name = STR("user_id"),
        .field = {FIELD_OWNER_ID, STR("user_id"), COL_STRING, COL_USER_ID},
    };
    storage[1] = (struct by_key){
        .name = STR("anonymous_id"),
        .field = {FIELD_ANONYMOUS_ID, STR("anonymous_id"), COL_STRING, COL_ANONYMOUS_ID},
    };
    return (struct walk_lane){.keys = storage, .key_count = 2};
}

static enum err_code cell_copy(struct cell cell, struct arena *arena, struct cell *ret,
                               struct err *err)
{
    if (cell.kind == CELL_STRING) {
        ERR_TRY(arena_str(arena, cell.string, &cell.string, err));
    }
    *ret = cell;
    return ERR_OK;
}

enum err_code answer_subject_cell(const struct groups *groups, uint32_t number, struct arena *arena,
                                  struct cell *ret, struct err *err)
{
    struct cell cell = groups_cell(groups, number, 0);
    if (cell.kind == CELL_NULL && groups_query(groups)->key_count > 1) {
        cell = groups_cell(groups, number, 1);
    }
    return cell_copy(cell, arena, ret, err);
}

enum err_code answer_subject_col(const struct bound_query *query, struct arena *arena,
                                 struct result_col *ret, struct err *err)
{
    struct by_key keys[2];
    struct bound_query lane_query = *query;
    struct walk_lane lane = answer_subject_lane(query, keys);
    lane_query.keys = lane.keys;
    lane_query.key_count = lane.key_count;
    return answer_key_col(&lane_query, 0, false, arena, ret, err);
}

/* ---- when ---- */

enum err_code answer_buckets(struct query_run_ctx *run, struct answer_buckets *ret, struct err *err)
{
    const struct bound_query *query = run->query;
    struct data_span span = {0};
    int64_t from_ms = query->from_ms;
    int64_t to_ms = query->to_ms;
    int64_t *begins = NULL;
    struct civil_grid grid;

    ret->has_from = from_ms != INT64_MIN;
    ret->has_to = to_ms != INT64_MAX;
    if (!query->has_each) {
        ERR_TRY(ARENA_NEW(run->arena, 2, &begins, err));
        begins[0] = from_ms;
        begins[1] = to_ms;
        ret->begins = begins;
        ret->count = 1;
        return ERR_OK;
    }
    if (!ret->has_from || !ret->has_to) {
        ERR_TRY(data_span(run, &span, err));
    }
    if (!ret->has_from) {
        from_ms = span.has_data ? span.first_ms : 0;
    }
    if (!ret->has_to) {
        to_ms = span.has_data && span.last_ms < INT64_MAX ? span.last_ms + 1 : 0;
    }
    if (to_ms <= from_ms) {
        to_ms = from_ms; /* nothing */
    }
    ERR_TRY(civil_grid_init(query->zone, query->each_unit, query->each_count,
                            (enum civil_weekday)query->week_start, &grid, err));
    ERR_TRY(civil_buckets(&grid, from_ms, to_ms, QUERY_BUCKETS_MAX, run->arena, &begins,
                          &ret->count, err));
    ret->begins = begins;
    return ERR_OK;
}

struct result_col answer_bucket_col(const struct bound_query *query)
{
    return (struct result_col){STR("time"),
                               query->each_unit >= CIVIL_DAY ? RESULT_DATE : RESULT_TIME};
}

enum err_code answer_bucket_cell(const struct bound_query *query, int64_t begin_ms,
                                 struct arena *arena, struct cell *ret, struct err *err)
{
    char text[CIVIL_TEXT_BYTES];
    if (query->each_unit < CIVIL_DAY) {
        return answer_instant_cell(query, begin_ms, arena, ret, err);
    }
    ret->kind = CELL_STRING;
    return arena_str(arena, civil_format_date(query->zone, begin_ms, text), &ret->string, err);
}

enum err_code answer_instant_cell(const struct bound_query *query, int64_t ts_ms,
                                  struct arena *arena, struct cell *ret, struct err *err)
{
    char text[CIVIL_TEXT_BYTES];
    ret->kind = CELL_STRING;
    return arena_str(arena, civil_format_instant(query->zone, ts_ms, text), &ret->string, err);
}

/* ---- columns, numbers ---- */

enum err_code answer_cols(struct result *result, const struct result_col *cols, uint32_t count,
                          struct err *err)
{
    struct result_col *own = NULL;
    ERR_TRY(ARENA_NEW(result->arena, count, &own, err));
    memcpy(own, cols, count * sizeof(*own));
    result->cols = own;
    result->col_count = count;
    return ERR_OK;
}

struct cell answer_count_cell(uint64_t count)
{
    return (struct cell){.kind = CELL_I64, .i64 = (int64_t)count};
}

struct cell answer_sum_cell(unsigned __int128 sum)
{
    if (sum <= INT64_MAX) {
        return answer_count_cell((uint64_t)sum);
    }
    struct num_total total = {.is_decimal = true, .m = (__int128)sum, .approx = (double)sum};
    return cell_of_total(total);
}

struct cell answer_mean_cell(unsigned __int128 sum, uint64_t count)
{
    if (count == 0) {
        return (struct cell){.kind = CELL_NULL};
    }
    if (sum % count == 0 && sum / count <= INT64_MAX) {
        return answer_count_cell((uint64_t)(sum / count));
    }
    return (struct cell){.kind = CELL_F64, .f64 = (double)sum / (double)count};
}

int answer_rows_cmp(const void *a, const void *b, void *ctx)
{
    const struct cell *x = a;
    const struct cell *y = b;
    const uint32_t *cols = ctx;
    int order = 0;
    for (uint32_t c = 0; c < *cols && order == 0; c++) {
        order = cell_cmp(&x[c], &y[c]);
    }
    return order;
}

enum err_code answer_put_lines(struct query_run_ctx *run, const struct run_tasks *tasks,
                               const struct answer_lines *lines, struct result *result,
                               struct err *err)
{
    uint32_t all_cols = result->col_count; /* a user and a device may have the same id */
    uint64_t row_count = 0;
    struct cell *cells = NULL;
    for (uint32_t t = 0; t < tasks->count; t++) {
        row_count += lines->count(run_slot(tasks, t));
    }
    ERR_TRY(run_result_rows(run, result, row_count, &cells, err));
    struct cell *row = cells;
    for (uint32_t t = 0; t < tasks->count; t++) {
        const void *slot = run_slot(tasks, t);
        ERR_TRY(run_check(run, err));
        for (uint32_t i = 0; i < lines->count(slot); i++, row += result->col_count) {
            ERR_TRY(lines->put(run, slot, i, result->arena, row, err));
        }
    }
    qsort_r(cells, row_count, result->col_count * sizeof(*cells), answer_rows_cmp, &all_cols);
    return ERR_OK;
}
