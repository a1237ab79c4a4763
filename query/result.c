#include "query/result.h"

#include "query/result_int.h"

#include <math.h>

static const char *const TYPE_NAMES[] = {
    [RESULT_INT64] = "int64", [RESULT_NUMBER] = "number",  [RESULT_STRING] = "string",
    [RESULT_BOOL] = "bool",   [RESULT_TIME] = "timestamp", [RESULT_DATE] = "date",
    [RESULT_LIST] = "list",   [RESULT_ANY] = "any",
};

const char *result_type_name(enum result_type type)
{
    ASSERT((size_t)type < COUNT_OF(TYPE_NAMES));
    return TYPE_NAMES[type];
}

struct cell cell_of_total(struct num_total total)
{
    if (!total.is_decimal) {
        if (!isfinite(total.approx)) {
            return (struct cell){.kind = CELL_NULL}; /* past the largest double */
        }
        return (struct cell){.kind = CELL_F64, .f64 = total.approx};
    }
    int64_t narrow = (int64_t)total.m;
    if (narrow == total.m) { /* mostly, and divided for a tenth */
        for (; total.scale > 0 && narrow % 10 == 0; total.scale--) {
            narrow /= 10;
        }
        total.m = narrow;
    }
    while (total.scale > 0 && total.m % 10 == 0) { /* one value, one text */
        total.m /= 10;
        total.scale--;
    }
    if (total.scale == 0 && total.m >= INT64_MIN && total.m <= INT64_MAX) {
        return (struct cell){.kind = CELL_I64, .i64 = (int64_t)total.m};
    }
    return (struct cell){.kind = CELL_DECIMAL, .decimal = total};
}

struct cell cell_of_num(struct num n)
{
    struct num_total total = {
        .is_decimal = n.scale != NUM_DOUBLE,
        .m = n.scale != NUM_DOUBLE ? n.m : 0,
        .scale = n.scale != NUM_DOUBLE ? n.scale : 0,
        .approx = num_to_double(n),
    };
    return cell_of_total(total);
}

static int cell_rank(enum cell_kind kind)
{
    switch (kind) {
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

static struct num_total cell_total(const struct cell *cell)
{
    if (cell->kind == CELL_I64) {
        return (struct num_total){.is_decimal = true, .m = cell->i64, .approx = (double)cell->i64};
    }
    if (cell->kind == CELL_F64) {
        return (struct num_total){.approx = cell->f64};
    }
    return cell->decimal;
}

/* Of numbers with one nearest double: two decimals are compared exactly. */
static int total_cmp(struct num_total a, struct num_total b)
{
    if (!a.is_decimal || !b.is_decimal) {
        return 0;
    }
    while (a.scale != b.scale) {
        struct num_total *lower = a.scale < b.scale ? &a : &b;
        if (__builtin_mul_overflow(lower->m, 10, &lower->m)) {
            return 0; /* equal to 17 digits */
        }
        lower->scale++;
    }
    return (a.m > b.m) - (a.m < b.m);
}

static int list_cmp(const struct cell *a, const struct cell *b)
{
    for (uint32_t i = 0; i < a->list.count && i < b->list.count; i++) {
        int order = str_cmp(a->list.items[i], b->list.items[i]);
        if (order != 0) {
            return order;
        }
    }
    return (a->list.count > b->list.count) - (a->list.count < b->list.count);
}

/* The nearest double of a number. */
static double cell_approx(const struct cell *cell)
{
    return cell->kind == CELL_DECIMAL ? cell->decimal.approx
           : cell->kind == CELL_F64   ? cell->f64
                                      : (double)cell->i64;
}

int cell_cmp(const struct cell *a, const struct cell *b)
{
    int rank = cell_rank(a->kind) - cell_rank(b->kind);
    if (rank != 0) {
        return rank;
    }
    switch (a->kind) {
    case CELL_NULL: return 0;
    case CELL_BOOL: return (int)a->boolean - (int)b->boolean;
    case CELL_STRING: return str_cmp(a->string, b->string);
    case CELL_LIST: return list_cmp(a, b);
    default: break;
    }
    double x = cell_approx(a);
    double y = cell_approx(b);
    return x != y ? (x > y) - (x < y) : total_cmp(cell_total(a), cell_total(b));
}

void result_free(struct result *result)
{
    if (result != NULL) {
        arena_free(result->arena); /* and the result with it */
    }
}

enum err_code result_write(const struct result *result, enum result_format format, struct buf *out,
                           struct err *err)
{
    switch (format) {
    case RESULT_JSON: result_write_json(result, out); break;
    case RESULT_CSV: result_write_csv(result, out); break;
    case RESULT_NDJSON: result_write_ndjson(result, out); break;
    }
    return buf_check(out, err);
}
