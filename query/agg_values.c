/* query/agg_values.c - all values of a cell, and quantiles of them.
 *
 * Columns of numbers mostly have few decimals: while one scale holds every value exactly, only 64-bit mantissas are kept,
 * and compared as integers. The first value that no such scale holds (a double, or too many digits) turns
 * them into numbers. */
#include "query/agg.h"

#include "storage/base/cpu.h"
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

/* ---- a quantile of several cells' values, where they lie ---- */

#define DIVISIONS  1024u
#define FEW_VALUES 256u

CPU_CLONES static void whole_bounds(const int64_t *whole, uint32_t count, int64_t *min,
                                    int64_t *max)
{
    int64_t least = *min;
    int64_t most = *max;
    for (uint32_t i = 0; i < count; i++) {
        least = MIN_OF(least, whole[i]);
        most = MAX_OF(most, whole[i]);
    }
    *min = least;
    *max = most;
}

void acc_bounds(union acc_cell *const *cells, size_t count, int64_t *ret_min, int64_t *ret_max)
{
    int64_t min = INT64_MAX;
    int64_t max = INT64_MIN;
    for (size_t c = 0; c < count; c++) {
        whole_bounds(cells[c]->values->whole, cells[c]->values->count, &min, &max);
    }
    *ret_min = min;
    *ret_max = max;
}

void acc_tally(union acc_cell *const *cells, size_t count, int64_t min, uint64_t span,
               uint32_t shift, uint64_t *counts)
{
    for (size_t c = 0; c < count; c++) {
        const struct acc_values *values = cells[c]->values;
        for (uint32_t i = 0; i < values->count; i++) {
            uint64_t off = (uint64_t)values->whole[i] - (uint64_t)min;
            if (off <= span) { /* what is below the minimum is far beyond */
                counts[off >> shift]++;
            }
        }
    }
}

/* Whole numbers of one scale, as those that lie in [min, max]. */
struct parts {
    union acc_cell *const *cells;
    size_t count;
    int64_t min, max;
    uint64_t within; /* how many */
};

/* Keep the division of [min, max] that has the value at *rank, which becomes a rank within it. */
static void parts_narrow(struct parts *parts, uint64_t *rank)
{
    uint64_t span = (uint64_t)parts->max - (uint64_t)parts->min;
    uint32_t shift = 0;
    uint64_t counts[DIVISIONS] = {0};
    while (span >> shift >= DIVISIONS) {
        shift++;
    }
    acc_tally(parts->cells, parts->count, parts->min, span, shift, counts);
    uint32_t d = 0;
    while (*rank >= counts[d]) {
        *rank -= counts[d++];
    }
    uint64_t begin = (uint64_t)parts->min + ((uint64_t)d << shift);
    uint64_t last = MIN_OF(((uint64_t)d << shift) + ((UINT64_C(1) << shift) - 1), span);
    parts->max = (int64_t)((uint64_t)parts->min + last);
    parts->min = (int64_t)begin;
    parts->within = counts[d];
}

/* The values within, which are few, and the next one above them: itself where there is none. */
static uint32_t parts_gather(const struct parts *parts, int64_t *out, int64_t *ret_next)
{
    uint32_t count = 0;
    *ret_next = INT64_MAX;
    for (size_t c = 0; c < parts->count; c++) {
        const struct acc_values *values = parts->cells[c]->values;
        for (uint32_t i = 0; i < values->count; i++) {
            int64_t value = values->whole[i];
            if (value > parts->max) {
                *ret_next = MIN_OF(*ret_next, value);
            } else if (value >= parts->min && count < FEW_VALUES) {
                out[count++] = value;
            }
        }
    }
    return count;
}

/* The values at the rank and behind it. */
static void parts_select(struct parts *parts, uint64_t rank, bool has_next, int64_t *ret_low,
                         int64_t *ret_high)
{
    int64_t few[FEW_VALUES];
    int64_t next = 0;
    while (parts->within > FEW_VALUES && parts->min < parts->max) {
        parts_narrow(parts, &rank);
    }
    uint32_t count = parts_gather(parts, few, &next);
    if (parts->min == parts->max) {
        *ret_low = parts->min;
        *ret_high = rank + 1 < parts->within || !has_next ? parts->min : next;
        return;
    }
    select_whole(few, count, rank);
    *ret_low = few[rank];
    *ret_high = has_next ? next : few[rank];
    for (uint32_t i = (uint32_t)rank + 1; i < count; i++) {
        *ret_high = i == rank + 1 ? few[i] : MIN_OF(*ret_high, few[i]);
    }
}

bool acc_are_whole(union acc_cell *const *cells, size_t count)
{
    for (size_t c = 0; c < count; c++) {
        if (cells[c]->values->items != NULL || cells[c]->values->scale != cells[0]->values->scale) {
            return false;
        }
    }
    return true;
}

bool acc_between(struct num low, struct num high, double part, struct num *ret)
{
    if (part == 0.0 || num_cmp(low, high) == 0) {
        *ret = low;
        return true;
    }
    double a = num_to_double(low);
    double b = num_to_double(high);
    return num_double(a + (b - a) * part, ret);
}

/* Where scales differ, or there are numbers that no scale holds. */
static enum err_code merged_pair(union acc_cell *const *cells, size_t count, size_t rank,
                                 struct arena *scratch, struct num *ret_low, struct num *ret_high,
                                 struct err *err)
{
    struct acc_pool pool = {.arena = scratch};
    union acc_cell all = {0};
    for (size_t c = 0; c < count; c++) {
        ERR_TRY(acc_merge_values(&pool, &all, cells[c]->values, err));
    }
    select_pair(all.values, rank, ret_low, ret_high);
    return ERR_OK;
}

enum err_code acc_quantile(union acc_cell *const *cells, size_t count, double quantile,
                           struct arena *scratch, bool *ret_is_there, struct num *ret,
                           struct err *err)
{
    uint64_t total = 0;
    struct num low = {0};
    struct num high = {0};
    for (size_t c = 0; c < count; c++) {
        total += cells[c]->values->count;
    }
    *ret_is_there = total > 0;
    if (total == 0) {
        return ERR_OK;
    }
    double position = quantile * (double)(total - 1);
    size_t rank = (size_t)floor(position);
    if (acc_are_whole(cells, count)) {
        struct parts parts = {.cells = cells, .count = count, .within = total};
        int64_t pair[2];
        acc_bounds(cells, count, &parts.min, &parts.max);
        parts_select(&parts, rank, rank + 1 < total, &pair[0], &pair[1]);
        low = num_decimal(pair[0], cells[0]->values->scale);
        high = num_decimal(pair[1], cells[0]->values->scale);
    } else {
        ERR_TRY(merged_pair(cells, count, rank, scratch, &low, &high, err));
    }
    *ret_is_there = acc_between(low, high, position - (double)rank, ret);
    return ERR_OK;
}
