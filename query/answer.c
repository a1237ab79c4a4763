/* query/answer.c */
#include "query/answer.h"

#include <stdlib.h>

enum result_type answer_key_type(const struct by_key *key)
{
    if (key->edges != NULL) {
        return RESULT_STRING;
    }
    switch (key->field.kind) {
    case FIELD_UNKNOWN: return RESULT_ANY;
    case FIELD_EVENT_TIME:
    case FIELD_RECEIVED_AT: return RESULT_TIME;
    case FIELD_PROP: break;
    default: return RESULT_STRING;
    }
    switch (key->field.type) {
    case COL_STRING: return RESULT_STRING;
    case COL_NUMBER: return RESULT_NUMBER;
    case COL_BOOL: return RESULT_BOOL;
    case COL_TIME: return RESULT_TIME;
    case COL_LIST: return RESULT_LIST;
    }
    return RESULT_ANY;
}

/* ---- groups ---- */

static int by_number_order(const void *a, const void *b, void *groups)
{
    const struct answer_group *x = a;
    const struct answer_group *y = b;
    return groups_cmp(groups, x->number, y->number);
}

static int by_weight(const void *a, const void *b, void *groups)
{
    const struct answer_group *x = a;
    const struct answer_group *y = b;
    if (x->weight != y->weight) {
        return x->weight > y->weight ? -1 : 1;
    }
    return groups_cmp(groups, x->number, y->number);
}

uint32_t answer_pick_groups(const struct bound_query *query, const struct groups *groups,
                            struct answer_group *picked, uint32_t count)
{
    /* qsort_r wants a pointer without const; the orders above do not write through it. */
    union {
        const struct groups *in;
        void *out;
    } arg = {.in = groups};
    uint32_t shown = query->has_top && query->top < count ? query->top : count;

    if (shown < count) {
        qsort_r(picked, count, sizeof(*picked), by_weight, arg.out);
    }
    if (shown > 1) {
        qsort_r(picked, shown, sizeof(*picked), by_number_order, arg.out);
    }
    return shown;
}

/* ---- cells ---- */

static enum err_code cell_copy(struct arena *arena, struct cell cell, struct cell *ret,
                               struct err *err)
{
    if (cell.kind == CELL_STRING) {
        ERR_TRY(arena_str(arena, cell.string, &cell.string, err));
    }
    ASSERT(cell.kind != CELL_LIST); /* no breakdown by lists */
    *ret = cell;
    return ERR_OK;
}

enum err_code answer_key_cells(const struct groups *groups, uint32_t key_count, uint32_t number,
                               bool is_other, struct arena *arena, struct cell *out,
                               struct err *err)
{
    for (uint32_t k = 0; k < key_count; k++) {
        struct cell cell = {.kind = CELL_STRING, .string = STR("other")};
        if (!is_other) {
            cell = groups_cell(groups, number, k);
        }
        ERR_TRY(cell_copy(arena, cell, &out[k], err));
    }
    return ERR_OK;
}

struct cell answer_ratio(uint64_t a, uint64_t b)
{
    if (b == 0) {
        return (struct cell){.kind = CELL_NULL};
    }
    return (struct cell){.kind = CELL_F64, .f64 = (double)a / (double)b};
}

/* ---- order ---- */

static int cell_rank(const struct cell *cell)
{
    switch (cell->kind) {
    case CELL_NULL: return 0;
    case CELL_BOOL: return 1;
    case CELL_I64:
    case CELL_F64:
    case CELL_DECIMAL: return 2;
    case CELL_STRING: return 3;
    case CELL_LIST: return 4;
    }
    return 5;
}

/* The number of a cell; decimals beyond 64 bits as the nearest double. */
static struct num cell_num(const struct cell *cell)
{
    struct num n = {0};
    if (cell->kind == CELL_I64) {
        return num_int(cell->i64);
    }
    if (cell->kind == CELL_DECIMAL && cell->decimal.is_decimal && cell->decimal.m >= INT64_MIN &&
        cell->decimal.m <= INT64_MAX) {
        return num_decimal((int64_t)cell->decimal.m, cell->decimal.scale);
    }
    double approx = cell->kind == CELL_F64 ? cell->f64 : cell->decimal.approx;
    bool is_finite = num_double(approx, &n);
    ASSERT(is_finite);
    return n;
}

static int list_cmp(const struct cell *a, const struct cell *b)
{
    uint32_t shared = a->list.count < b->list.count ? a->list.count : b->list.count;
    for (uint32_t i = 0; i < shared; i++) {
        int order = str_cmp(a->list.items[i], b->list.items[i]);
        if (order != 0) {
            return order;
        }
    }
    return (a->list.count > b->list.count) - (a->list.count < b->list.count);
}

int cell_cmp(const struct cell *a, const struct cell *b)
{
    int rank = cell_rank(a);
    int other = cell_rank(b);
    if (rank != other) {
        return rank < other ? -1 : 1;
    }
    switch (a->kind) {
    case CELL_NULL: return 0;
    case CELL_BOOL: return (int)a->boolean - (int)b->boolean;
    case CELL_I64:
    case CELL_F64:
    case CELL_DECIMAL: return num_cmp(cell_num(a), cell_num(b));
    case CELL_STRING: return str_cmp(a->string, b->string);
    case CELL_LIST: return list_cmp(a, b);
    }
    return 0;
}

struct row_order {
    const struct cell *cells;
    uint32_t col_count;
    struct order_by by;
};

static int row_cmp(const void *a, const void *b, void *arg)
{
    const struct row_order *order = arg;
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    int cmp = cell_cmp(&order->cells[x * order->col_count + order->by.column],
                       &order->cells[y * order->col_count + order->by.column]);
    if (cmp != 0) {
        return order->by.is_descending ? -cmp : cmp;
    }
    return x < y ? -1 : x > y;
}

static enum err_code order_rows(const struct bound_query *query, struct result *result,
                                struct arena *scratch, struct err *err)
{
    struct row_order order = {result->cells, result->col_count, query->order};
    uint64_t *rows = NULL;
    struct cell *sorted = NULL;

    ASSERT(query->order.column < result->col_count);
    ERR_TRY(ARENA_NEW(scratch, result->row_count, &rows, err));
    ERR_TRY(ARENA_NEW(result->arena, result->row_count * result->col_count, &sorted, err));
    for (uint64_t r = 0; r < result->row_count; r++) {
        rows[r] = r;
    }
    qsort_r(rows, result->row_count, sizeof(*rows), row_cmp, &order);
    for (uint64_t r = 0; r < result->row_count; r++) {
        memcpy(sorted + r * result->col_count, result->cells + rows[r] * result->col_count,
               result->col_count * sizeof(*sorted));
    }
    result->cells = sorted;
    return ERR_OK;
}

enum err_code answer_finish(const struct bound_query *query, struct result *result,
                            struct arena *scratch, struct err *err)
{
    if (query->has_order && result->row_count > 1) {
        ERR_TRY(order_rows(query, result, scratch, err));
    }
    result->meta.rows_total += result->row_count;
    if (query->has_limit && query->limit < result->row_count) {
        result->meta.rows_left_out += result->row_count - query->limit;
        result->row_count = query->limit;
    }
    return ERR_OK;
}
