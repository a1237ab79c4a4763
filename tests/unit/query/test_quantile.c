/* tests/unit/query/test_quantile.c - quantiles of values that lie in many cells, beside sorting all of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/agg.h"
#include "storage/base/rng.h"
#include "storage/base/size.h"

#include <math.h>
#include <stdlib.h>

#define CELLS_MAX  8u
#define VALUES_MAX 3000u

static int compare_numbers(const void *a, const void *b)
{
    return num_cmp(*(const struct num *)a, *(const struct num *)b);
}

/* Numbers in several cells, and all of them in a row. */
struct made {
    struct arena *arena;
    union acc_cell cells[CELLS_MAX];
    union acc_cell *filled[CELLS_MAX]; /* that have some */
    size_t filled_count;
    struct num sorted[VALUES_MAX];
    uint32_t count;
};

/* Around `middle`, at most `spread` away from it. */
static int64_t some_value(struct rng *rng, int64_t middle, uint64_t spread)
{
    uint64_t off = spread == UINT64_MAX ? rng_next(rng) : rng_below(rng, spread + 1);
    return (int64_t)((uint64_t)middle + off);
}

static void make(struct made *made, struct rng *rng)
{
    static const uint64_t spreads[] = {0, 1, 30, 1000, 1u << 20, UINT64_C(1) << 40, UINT64_MAX};
    struct err err = {0};
    struct acc_pool pool;
    uint64_t spread = spreads[rng_below(rng, COUNT_OF(spreads))];
    uint32_t count = (uint32_t)rng_below(rng, rng_below(rng, 3) == 0 ? 20 : VALUES_MAX) + 1;
    bool has_scales = rng_below(rng, 4) == 0 && spread < UINT64_C(1) << 40;
    bool has_doubles = rng_below(rng, 6) == 0;
    *made = (struct made){.arena = arena_create(NULL)};
    acc_pool_init(&pool, made->arena);
    for (uint32_t i = 0; i < count; i++) {
        union acc_cell *cell = &made->cells[rng_below(rng, CELLS_MAX)];
        struct num n =
            num_decimal(some_value(rng, -5, spread), has_scales ? (uint8_t)rng_below(rng, 4) : 2);
        if (has_doubles && rng_below(rng, 5) == 0) {
            assert_true(num_double(1.0 / (double)(1 + rng_below(rng, 9)), &n));
        }
        assert_int_equal(acc_add_number(&pool, cell, n, &err), ERR_OK);
        made->sorted[made->count++] = n;
    }
    for (uint32_t c = 0; c < CELLS_MAX; c++) {
        if (made->cells[c].values != NULL) {
            made->filled[made->filled_count++] = &made->cells[c];
        }
    }
    qsort(made->sorted, made->count, sizeof(made->sorted[0]), compare_numbers);
    acc_pool_done(&pool);
}

/* As agg.h defines it. */
static struct num expected(const struct made *made, double quantile)
{
    double position = quantile * (double)(made->count - 1);
    uint32_t rank = (uint32_t)floor(position);
    double part = position - (double)rank;
    struct num low = made->sorted[rank];
    struct num high = made->sorted[MIN_OF(rank + 1, made->count - 1)];
    struct num between = low;
    if (part > 0.0 && num_cmp(low, high) != 0) {
        double a = num_to_double(low);
        assert_true(num_double(a + (num_to_double(high) - a) * part, &between));
    }
    return between;
}

static void quantiles_are_those_of_the_sorted_values(void **state)
{
    (void)state;
    static const double quantiles[] = {0.0, 0.001, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0};
    struct rng rng = rng_init(21);
    for (uint32_t i = 0; i < 1500; i++) {
        struct made made;
        make(&made, &rng);
        for (uint32_t q = 0; q < COUNT_OF(quantiles); q++) {
            struct err err = {0};
            struct num got = {0};
            bool is_there = false;
            assert_int_equal(acc_quantile(made.filled, made.filled_count, quantiles[q], made.arena,
                                          &is_there, &got, &err),
                             ERR_OK);
            assert_true(is_there);
            if (num_cmp(got, expected(&made, quantiles[q])) != 0) {
                fail_msg("round %u: quantile %g of %u values in %zu cells", i, quantiles[q],
                         made.count, made.filled_count);
            }
        }
        arena_free(made.arena);
    }
}

static void no_values_have_no_quantile(void **state)
{
    (void)state;
    struct err err = {0};
    struct num got = {0};
    bool is_there = true;
    assert_int_equal(acc_quantile(NULL, 0, 0.5, NULL, &is_there, &got, &err), ERR_OK);
    assert_false(is_there);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles_are_those_of_the_sorted_values),
        cmocka_unit_test(no_values_have_no_quantile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
