#include "query/trend_int.h"

#include "query/data_span.h"
#include "query/index_sets.h"
#include "query/pred_eval.h"
#include "storage/base/rng.h"
#include "storage/base/size.h"

#include <stdlib.h>

#define NONE UINT32_MAX

/* ---- time ---- */

static enum err_code plan_buckets(struct query_run_ctx *run, struct trend_plan *plan,
                                  struct err *err)
{
    const struct bound_query *query = run->query;
    struct data_span span = {0};
    if (query->from_ms == INT64_MIN || query->to_ms == INT64_MAX) {
        ERR_TRY(data_span(run, &span, err));
    }
    int64_t data_end_ms = span.has_data ? span.last_ms + 1 : 0;
    plan->is_from_open = query->from_ms == INT64_MIN;
    plan->is_to_open = query->to_ms == INT64_MAX;
    plan->from_ms = query->from_ms;
    plan->to_ms = query->to_ms;
    if (plan->is_to_open) {
        plan->to_ms = plan->is_from_open ? data_end_ms : MAX_OF(data_end_ms, plan->from_ms);
    }
    if (plan->is_from_open) {
        plan->from_ms = span.has_data ? MIN_OF(span.first_ms, plan->to_ms) : plan->to_ms;
    }
    if (!query->has_each) {
        ERR_TRY(ARENA_NEW(run->arena, 2, &plan->begins, err));
        plan->begins[0] = plan->from_ms;
        plan->begins[1] = plan->to_ms;
        plan->bucket_count = 1;
        return ERR_OK;
    }
    struct civil_grid grid = {0};
    ERR_TRY(civil_grid_init(query->zone, query->each_unit, query->each_count,
                            (enum civil_weekday)query->week_start, &grid, err));
    return civil_buckets(&grid, plan->from_ms, plan->to_ms, QUERY_BUCKETS_MAX, run->arena,
                         &plan->begins, &plan->bucket_count, err);
}

static int64_t ms_before(int64_t ts_ms, uint64_t span_ms)
{
    int64_t begin = 0;
    return span_ms > INT64_MAX || __builtin_sub_overflow(ts_ms, (int64_t)span_ms, &begin)
               ? INT64_MIN
               : begin;
}

/* The time that bucket b looks at. The first and the last are cut by the range; where the data end it and
 * not the query, the last one looks back from its own end all the same. */
static void plan_bucket_span(const struct trend_plan *plan, uint64_t rolling_ms, uint32_t b,
                             int64_t *ret_begin, int64_t *ret_end)
{
    bool is_whole = rolling_ms != 0 && plan->is_to_open;
    int64_t end = is_whole ? plan->begins[b + 1] : MIN_OF(plan->begins[b + 1], plan->to_ms);
    *ret_begin =
        rolling_ms != 0 ? ms_before(end, rolling_ms) : MAX_OF(plan->begins[b], plan->from_ms);
    *ret_end = end;
}

static int compare_i64(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static uint32_t edge_idx(const struct trend_grid *grid, int64_t ts_ms)
{
    const int64_t *at =
        bsearch(&ts_ms, grid->edges, (size_t)grid->atom_count + 1, sizeof(ts_ms), compare_i64);
    ASSERT(at != NULL);
    return (uint32_t)(at - grid->edges);
}

/* Cells of time, some for each atom, so that looking an atom up takes no search. */
static enum err_code plan_table(struct query_run_ctx *run, struct trend_grid *grid, struct err *err)
{
    uint64_t span = (uint64_t)grid->edges[grid->atom_count] - (uint64_t)grid->edges[0];
    uint64_t cells_max = MAX_OF(4 * (uint64_t)grid->atom_count, UINT64_C(1024));
    while (grid->table_shift < 63 && span >> grid->table_shift >= cells_max) {
        grid->table_shift++;
    }
    size_t count = (size_t)(span >> grid->table_shift) + 1;
    ERR_TRY(ARENA_NEW(run->arena, count, &grid->table, err));
    uint32_t atom = 0;
    for (size_t i = 0; i < count && grid->atom_count > 0; i++) {
        int64_t begin = (int64_t)((uint64_t)grid->edges[0] + ((uint64_t)i << grid->table_shift));
        while (atom + 1 < grid->atom_count && begin >= grid->edges[atom + 1]) {
            atom++;
        }
        grid->table[i] = atom;
    }
    return ERR_OK;
}

static enum err_code plan_grid(struct query_run_ctx *run, const struct trend_plan *plan,
                               uint64_t rolling_ms, struct trend_grid *ret, struct err *err)
{
    struct trend_grid grid = {.rolling_ms = rolling_ms};
    size_t edge_max = (size_t)plan->bucket_count * 2 + 2;
    ERR_TRY(ARENA_NEW(run->arena, edge_max, &grid.edges, err));
    ERR_TRY(ARENA_NEW(run->arena, plan->bucket_count, &grid.buckets, err));
    for (uint32_t b = 0; b < plan->bucket_count; b++) {
        plan_bucket_span(plan, rolling_ms, b, &grid.edges[2 * b], &grid.edges[2 * b + 1]);
    }
    grid.edges[edge_max - 2] = plan->from_ms;
    grid.edges[edge_max - 1] = MAX_OF(plan->from_ms, plan->to_ms);
    qsort(grid.edges, edge_max, sizeof(*grid.edges), compare_i64);
    uint32_t count = 0;
    for (size_t i = 0; i < edge_max; i++) {
        if (count == 0 || grid.edges[i] != grid.edges[count - 1]) {
            grid.edges[count++] = grid.edges[i];
        }
    }
    grid.atom_count = count - 1;
    for (uint32_t b = 0; b < plan->bucket_count; b++) {
        int64_t begin = 0;
        int64_t end = 0;
        plan_bucket_span(plan, rolling_ms, b, &begin, &end);
        grid.buckets[b] = (struct trend_bucket){edge_idx(&grid, begin), edge_idx(&grid, end)};
    }
    grid.total = (struct trend_bucket){edge_idx(&grid, plan->from_ms),
                                       edge_idx(&grid, MAX_OF(plan->from_ms, plan->to_ms))};
    ERR_TRY(plan_table(run, &grid, err));
    *ret = grid;
    return ERR_OK;
}

static enum err_code plan_grid_of(struct query_run_ctx *run, struct trend_plan *plan,
                                  uint64_t rolling_ms, uint32_t *ret_grid, struct err *err)
{
    uint32_t g = 0;
    while (g < plan->grid_count && plan->grids[g].rolling_ms != rolling_ms) {
        g++;
    }
    if (g == plan->grid_count) {
        ERR_TRY(plan_grid(run, plan, rolling_ms, &plan->grids[g], err));
        plan->grid_count++;
    }
    *ret_grid = g;
    return ERR_OK;
}

/* ---- lanes ---- */

/* Users of whole events: no predicate, no breakdown. */
static bool plan_is_indexed(const struct query_run_ctx *run, const struct agg *agg)
{
    return agg->kind == AGG_USERS && run->query->key_count == 0 &&
           index_serves(run, &run->query->selectors[agg->selector]);
}

/* Where nothing but users is asked for, conditions and a key that hold for subjects as a whole are no reason to read
 * rows. */
static void plan_split(const struct query_run_ctx *run, struct trend_plan *plan)
{
    for (uint32_t l = 0; l < plan->lane_count; l++) {
        const struct trend_lane *lane = &plan->lanes[l];
        if (lane->kind != ACC_USERS ||
            !index_has_sets(run, &run->query->selectors[lane->selector])) {
            return;
        }
    }
    for (uint32_t l = 0; trend_can_split(run->query) && l < plan->lane_count; l++) {
        plan->lanes[l].is_split = !plan->lanes[l].is_indexed;
        plan->lanes[l].is_indexed = true;
    }
}

static bool lane_has_field(enum acc_kind kind)
{
    return kind != ACC_COUNT && kind != ACC_USERS;
}

static enum err_code plan_lane_of(struct query_run_ctx *run, struct trend_plan *plan,
                                  const struct agg *agg, uint64_t rolling_ms, uint32_t *ret_lane,
                                  struct err *err)
{
    struct trend_lane lane = {
        .kind = acc_kind_of(agg->kind),
        .selector = agg->selector,
        .field = agg->field,
        .is_indexed = plan_is_indexed(run, agg),
    };
    ERR_TRY(plan_grid_of(run, plan, rolling_ms, &lane.grid, err));
    for (uint32_t i = 0; i < plan->lane_count; i++) {
        const struct trend_lane *other = &plan->lanes[i];
        if (other->kind == lane.kind && other->selector == lane.selector &&
            other->grid == lane.grid &&
            (!lane_has_field(lane.kind) ||
             (other->field.kind == lane.field.kind &&
              pred_field_col(&other->field) == pred_field_col(&lane.field)))) {
            *ret_lane = i;
            return ERR_OK;
        }
    }
    *ret_lane = plan->lane_count;
    plan->lanes[plan->lane_count++] = lane;
    return ERR_OK;
}

static enum err_code plan_expr(struct query_run_ctx *run, struct trend_plan *plan,
                               const struct expr *expr, const struct measure *measure,
                               uint32_t *lane_of, struct err *err)
{
    if (expr == NULL || expr->kind == EXPR_NUM) {
        return ERR_OK;
    }
    if (expr->kind == EXPR_AGG) {
        return plan_lane_of(run, plan, &plan->query->aggs[expr->agg], measure->rolling_ms,
                            &lane_of[expr->agg], err);
    }
    ERR_TRY(plan_expr(run, plan, expr->left, measure, lane_of, err));
    return plan_expr(run, plan, expr->right, measure, lane_of, err);
}

/* Counting takes less than a look at what segments' cells are kept as: but in a plan that keeps some, all lanes are kept. */
static enum err_code plan_counted(struct query_run_ctx *run, struct trend_plan *plan,
                                  struct err *err)
{
    uint32_t counted = 0;
    for (uint32_t l = 0; l < plan->lane_count; l++) {
        counted += trend_can_count(run, plan, l);
    }
    if (counted < plan->lane_count) {
        ERR_TRY(trend_plan_partials(run, plan, err));
    }
    for (uint32_t l = 0; l < plan->lane_count; l++) {
        plan->lanes[l].is_counted = plan->partials == NULL && trend_can_count(run, plan, l);
    }
    return ERR_OK;
}

static bool is_count_only(const struct trend_plan *plan)
{
    for (uint32_t l = 0; l < plan->lane_count; l++) {
        if (plan->lanes[l].kind != ACC_COUNT ||
            plan->lanes[l].selector != plan->lanes[0].selector) {
            return false;
        }
    }
    return plan->lane_count > 0 && plan->grid_count == 1 && plan->grids[0].atom_count == 1 &&
           !plan->query->has_each;
}

static uint32_t count_lane(const struct trend_plan *plan)
{
    const struct bound_query *query = plan->query;
    const struct expr *expr = query->measure_count > 0 ? query->measures[0].expr : NULL;
    uint32_t lane = expr != NULL && expr->kind == EXPR_AGG ? plan->lane_of[expr->agg] : UINT32_MAX;
    bool is_count = lane != UINT32_MAX && query->aggs[expr->agg].kind == AGG_COUNT &&
                    plan->lanes[lane].kind == ACC_COUNT;
    return is_count ? lane : UINT32_MAX;
}

/* Whether the first measure is of cells that are one number or value each. */
static bool is_rank_cheap(const struct trend_plan *plan)
{
    for (uint32_t a = 0; a < plan->query->agg_count; a++) {
        uint32_t lane = plan->lane_of[a];
        if (lane != UINT32_MAX &&
            (plan->lanes[lane].kind == ACC_USERS || plan->lanes[lane].kind == ACC_UNIQUE ||
             plan->lanes[lane].kind == ACC_VALUES)) {
            return false;
        }
    }
    return plan->count_lane == UINT32_MAX;
}

enum err_code trend_plan_make(struct query_run_ctx *run, struct trend_plan *ret, struct err *err)
{
    const struct bound_query *query = run->query;
    struct trend_plan plan = {.query = query};
    size_t pair_count = (size_t)query->measure_count * query->agg_count;
    ERR_TRY(rng_system(&plan.hash_seed, sizeof(plan.hash_seed), err));
    ERR_TRY(plan_buckets(run, &plan, err));
    ERR_TRY(ARENA_NEW(run->arena, query->measure_count, &plan.grids, err));
    ERR_TRY(ARENA_NEW(run->arena, pair_count, &plan.lanes, err));
    ERR_TRY(ARENA_NEW(run->arena, pair_count, &plan.lane_of, err));
    memset(plan.lane_of, 0xff, pair_count * sizeof(*plan.lane_of));
    for (uint32_t m = 0; m < query->measure_count; m++) {
        ERR_TRY(plan_expr(run, &plan, query->measures[m].expr, &query->measures[m],
                          plan.lane_of + (size_t)m * query->agg_count, err));
    }
    plan_split(run, &plan);
    plan.is_count_only = !run_is_reference(run) && is_count_only(&plan);
    plan.count_lane = count_lane(&plan);
    plan.is_ranked = !run_is_reference(run) && query->key_count > 0 && query->has_top &&
                     !query->has_other && query->cell == NULL;
    plan.has_task_totals = !run_is_reference(run) && query->key_count > 0;
    plan.is_rank_cheap = plan.is_ranked && is_rank_cheap(&plan);
    ERR_TRY(plan_counted(run, &plan, err));
    *ret = plan;
    return ERR_OK;
}
