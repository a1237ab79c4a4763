/* query/answer.c */
#include "query/answer.h"

#include <stdlib.h>

static enum result_type key_type(const struct by_key *key, bool has_other)
{
    if (key->edges != NULL || key->field.kind == FIELD_UNKNOWN) {
        return RESULT_STRING;
    }
    switch (key->field.type) {
    case COL_NUMBER: return has_other ? RESULT_ANY : RESULT_NUMBER;
    case COL_BOOL: return has_other ? RESULT_ANY : RESULT_BOOL;
    case COL_TIME: return has_other ? RESULT_ANY : RESULT_TIME;
    default: return RESULT_STRING;
    }
}

enum err_code answer_key_col(const struct bound_query *query, uint32_t k, bool has_other,
                             struct arena *arena, struct result_col *ret, struct err *err)
{
    const struct by_key *key = &query->keys[k];

    ret->type = key_type(key, has_other && k == 0);
    return arena_str(arena, key->name, &ret->name, err);
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
        struct cell cell = {.kind = CELL_NULL};
        if (is_other && k == 0) {
            cell = (struct cell){.kind = CELL_STRING, .string = STR("other")};
        } else if (!is_other) {
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

void answer_left_out(struct result *result, uint64_t left_out)
{
    result->meta.rows_total = result->row_count + left_out;
    result->meta.rows_left_out = left_out;
}
