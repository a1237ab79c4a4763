/* query/agg_values.c - all values of a cell, and quantiles of them.
 *
 * Columns of numbers mostly have few decimals: while one scale holds every value exactly, only 64-bit mantissas are kept,
 * and compared as integers. The first value that no such scale holds (a double, or too many digits) turns
 * them into numbers. */
#include "query/agg.h"

#include "storage/base/size.h"

#include <math.h>

/* ---- adding ---- */

/* m at a scale that is `more` decimals finer; false where it does not fit. */
static bool refine(int64_t m, uint32_t more, int64_t *ret)
{
    for (uint32_t i = 0; i < more; i++) {
        if (__builtin_mul_overflow(m, INT64_C(10), &m)) {
            return false;
        }
    }
    *ret = m;
    return true;
}

static enum err_code grow(struct acc_pool *pool, struct acc_values *values, uint32_t more,
                          struct err *err)
{
    uint64_t wanted = (uint64_t)values->count + more;
    if (wanted <= values->cap) {
        return ERR_OK;
    }
    uint64_t cap = MAX_OF(wanted, MAX_OF((uint64_t)values->cap * 2, UINT64_C(8)));
    size_t size = values->items != NULL ? sizeof(*values->items) : sizeof(*values->whole);
    void *grown = NULL;
    if (cap > UINT32_MAX) {
        return err_set(err, ERR_LIMIT, "more than %u values in one cell", UINT32_MAX);
    }
    ERR_TRY(arena_alloc_raw(pool->arena, (size_t)cap * size, &grown, err));
    if (values->count > 0) {
        const void *old = values->items != NULL ? (void *)values->items : (void *)values->whole;
        memcpy(grown, old, values->count * size);
    }
    if (values->items != NULL) {
        values->items = grown;
    } else {
        values->whole = grown;
    }
    values->cap = (uint32_t)cap;
    return ERR_OK;
}

static struct num number_at(const struct acc_values *values, uint32_t i)
{
    return values->items != NULL ? values->items[i] : num_decimal(values->whole[i], values->scale);
}

static enum err_code to_numbers(struct acc_pool *pool, struct acc_values *values, struct err *err)
{
    void *items = NULL;
    uint32_t cap = MAX_OF(values->cap, 8u);
    ERR_TRY(arena_alloc_raw(pool->arena, (size_t)cap * sizeof(struct num), &items, err));
    struct num *numbers = items;
    for (uint32_t i = 0; i < values->count; i++) {
        numbers[i] = number_at(values, i);
    }
    values->items = numbers;
    values->whole = NULL;
    values->cap = cap;
    return ERR_OK;
}

/* Bring `m` and what is there to one scale; false where none holds all. */
static bool align(struct acc_values *values, int64_t *m, uint8_t scale)
{
    if (scale == NUM_DOUBLE) {
        return false;
    }
    if (values->count == 0) {
        values->scale = scale;
    }
    if (scale <= values->scale) {
        return refine(*m, (uint32_t)values->scale - scale, m);
    }
    uint32_t more = (uint32_t)scale - values->scale;
    for (uint32_t i = 0; i < values->count; i++) { /* first whether all fit */
        int64_t finer = 0;
        if (!refine(values->whole[i], more, &finer)) {
            return false;
        }
    }
    for (uint32_t i = 0; i < values->count; i++) {
        (void)refine(values->whole[i], more, &values->whole[i]);
    }
    values->scale = scale;
    return true;
}

enum err_code acc_add_decimal(struct acc_pool *pool, union acc_cell *cell, int64_t m, uint8_t scale,
                              struct err *err)
{
    if (cell->values == NULL) {
        ERR_TRY(ARENA_NEW(pool->arena, 1, &cell->values, err));
    }
    struct acc_values *values = cell->values;
    if (values->items == NULL && (scale != values->scale || values->count == 0) &&
        !align(values, &m, scale)) {
        ERR_TRY(to_numbers(pool, values, err));
    }
    if (values->count == values->cap) {
        ERR_TRY(grow(pool, values, 1, err));
    }
    if (values->items == NULL) {
        values->whole[values->count++] = m;
        return ERR_OK;
    }
    values->items[values->count++] =
        scale == NUM_DOUBLE ? (struct num){m, NUM_DOUBLE} : num_decimal(m, scale);
    return ERR_OK;
}

enum err_code acc_add_number(struct acc_pool *pool, union acc_cell *cell, struct num number,
                             struct err *err)
{
    return acc_add_decimal(pool, cell, number.m, number.scale, err);
}

enum err_code acc_merge_values(struct acc_pool *pool, union acc_cell *into,
                               const struct acc_values *from, struct err *err)
{
    if (from->count == 0) {
        return ERR_OK;
    }
    ERR_TRY(acc_add_number(pool, into, number_at(from, 0), err));
    struct acc_values *values = into->values;
    ERR_TRY(grow(pool, values, from->count - 1, err));
    bool is_alike = from->items == NULL && values->items == NULL && values->scale == from->scale;
    if (is_alike && from->count > 1) {
        memcpy(values->whole + values->count, from->whole + 1,
               (from->count - 1) * sizeof(*values->whole));
        values->count += from->count - 1;
        return ERR_OK;
    }
    for (uint32_t i = 1; i < from->count; i++) {
        ERR_TRY(acc_add_number(pool, into, number_at(from, i), err));
    }
    return ERR_OK;
}

void acc_each_value(const struct acc_values *values, void (*fn)(void *arg, struct num number),
                    void *arg)
{
    for (uint32_t i = 0; i < values->count; i++) {
        fn(arg, number_at(values, i));
    }
}

/* ---- quantiles ---- */

/* C. A. R. Hoare's FIND, with a pivot of three: afterwards items[rank] is what sorting would put
 * there, nothing before it is larger and nothing behind it smaller. */
#define SELECT(name, type, IS_LESS)                                                                \
    static void name(type *items, size_t count, size_t rank)                                       \
    {                                                                                              \
        size_t low = 0;                                                                            \
        size_t high = count; /* rank lies in [low, high) */                                        \
        while (high - low > 1) {                                                                   \
            size_t mid = low + (high - low - 1) / 2;                                               \
            if (IS_LESS(items[mid], items[low])) {                                                 \
                SWAP(type, items[mid], items[low]);                                                \
            }                                                                                      \
            if (IS_LESS(items[high - 1], items[low])) {                                            \
                SWAP(type, items[high - 1], items[low]);                                           \
            }                                                                                      \
            if (IS_LESS(items[high - 1], items[mid])) {                                            \
                SWAP(type, items[high - 1], items[mid]);                                           \
            }                                                                                      \
            type pivot = items[mid];                                                               \
            size_t i = low;                                                                        \
            size_t j = high - 1;                                                                   \
            while (true) {                                                                         \
                while (IS_LESS(items[i], pivot)) {                                                 \
                    i++;                                                                           \
                }                                                                                  \
                while (IS_LESS(pivot, items[j])) {                                                 \
                    j--;                                                                           \
                }                                                                                  \
                if (i >= j) {                                                                      \
                    break;                                                                         \
                }                                                                                  \
                SWAP(type, items[i], items[j]);                                                    \
                i++;                                                                               \
                j--;                                                                               \
            }                                                                                      \
            /* [low, j] <= pivot <= [j + 1, high); both parts are shorter than before */           \
            if (rank <= j) {                                                                       \
                high = j + 1;                                                                      \
            } else {                                                                               \
                low = j + 1;                                                                       \
            }                                                                                      \
        }                                                                                          \
    }

#define SWAP(type, a, b)                                                                           \
    do {                                                                                           \
        type swapped = (a);                                                                        \
        (a) = (b);                                                                                 \
        (b) = swapped;                                                                             \
    } while (0)
#define WHOLE_IS_LESS(a, b)  ((a) < (b))
#define NUMBER_IS_LESS(a, b) (num_cmp((a), (b)) < 0)
SELECT(select_whole, int64_t, WHOLE_IS_LESS)
SELECT(select_numbers, struct num, NUMBER_IS_LESS)

/* The values at the rank and behind it, which is the same where there is none. */
static void select_pair(struct acc_values *values, size_t rank, struct num *ret_low,
                        struct num *ret_high)
{
    uint32_t high = (uint32_t)MIN_OF(rank + 1, (size_t)values->count - 1);
    if (values->items != NULL) {
        select_numbers(values->items, values->count, rank);
        for (uint32_t i = high + 1; i < values->count; i++) {
            high = num_cmp(values->items[i], values->items[high]) < 0 ? i : high;
        }
    } else {
        select_whole(values->whole, values->count, rank);
        for (uint32_t i = high + 1; i < values->count; i++) {
            high = values->whole[i] < values->whole[high] ? i : high;
        }
    }
    *ret_low = number_at(values, (uint32_t)rank);
    *ret_high = number_at(values, high);
}

bool acc_quantile(struct acc_values *values, double quantile, struct num *ret)
{
    if (values == NULL || values->count == 0) {
        return false;
    }
    double position = quantile * (double)(values->count - 1);
    size_t rank = (size_t)floor(position);
    double part = position - (double)rank;
    struct num low = {0};
    struct num high = {0};
    select_pair(values, rank, &low, &high);
    if (part == 0.0 || num_cmp(low, high) == 0) {
        *ret = low;
        return true;
    }
    double a = num_to_double(low);
    double b = num_to_double(high);
    return num_double(a + (b - a) * part, ret);
}
