/* tests/unit/query/test_durations.c - percentiles of durations, beside the sorted list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/durations.h"
#include "storage/base/rng.h"
#include "storage/base/size.h"

#include <stdlib.h>

#define DURATIONS_MAX 3000u

static const struct durations_quantile quantiles[] = {{1, 2}, {9, 10},  {0, 1},
                                                      {1, 1}, {19, 20}, {99, 100}};
#define QUANTILES COUNT_OF(quantiles)

static int u64_cmp(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static long double quantile_of_sorted(const uint64_t *sorted, size_t count,
                                      struct durations_quantile q)
{
    size_t place = (count - 1) * q.numerator;
    size_t rank = place / q.denominator;
    size_t rest = place % q.denominator;
    uint64_t low = sorted[rank];
    uint64_t high = sorted[rest == 0 ? rank : rank + 1];
    return (long double)low +
           (long double)(high - low) * (long double)rest / (long double)q.denominator;
}

/* Spread evenly, around one value, in minutes more often than in days, or few different ones. */
static void make(struct rng *rng, uint64_t *ms, size_t count)
{
    uint32_t bits = (uint32_t)rng_below(rng, 64);
    uint32_t kind = (uint32_t)rng_below(rng, 4);
    uint64_t base = rng_next(rng) >> rng_below(rng, 64);
    for (size_t i = 0; i < count; i++) {
        uint64_t any = rng_next(rng);
        switch (kind) {
        case 0: ms[i] = any >> bits; break;
        case 1: ms[i] = base + any % 100; break;
        case 2: ms[i] = any >> (bits / 2 + rng_below(rng, 32)); break;
        default: ms[i] = base >> (any % 3); break;
        }
    }
}

static void check(const uint64_t *sorted, size_t count, const struct cell *cells)
{
    for (uint32_t q = 0; q < QUANTILES; q++) {
        long double want = quantile_of_sorted(sorted, count, quantiles[q]);
        bool is_whole = cells[q].kind == CELL_I64;
        long double is = is_whole ? (long double)cells[q].i64 : (long double)cells[q].f64;
        assert_true(is_whole || cells[q].kind == CELL_F64);
        assert_true(is >= want * (1 - 1e-12L) && is <= want * (1 + 1e-12L));
    }
}

static void percentiles_are_those_of_the_sorted_list(void **state)
{
    (void)state;
    static uint64_t values[DURATIONS_MAX];
    static uint64_t sorted[DURATIONS_MAX];
    static uint64_t after[DURATIONS_MAX];
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        struct rng rng = rng_init(seed);
        struct cell cells[QUANTILES];
        size_t count = 1 + rng_below(&rng, rng_below(&rng, 2) == 0 ? 20 : DURATIONS_MAX);
        make(&rng, values, count);
        memcpy(sorted, values, count * sizeof(*values));
        qsort(sorted, count, sizeof(*sorted), u64_cmp);
        durations_quantiles(values, count, quantiles, QUANTILES, cells);
        check(sorted, count, cells);
        memcpy(after, values, count * sizeof(*values));
        qsort(after, count, sizeof(*after), u64_cmp);
        assert_memory_equal(after, sorted, count * sizeof(*sorted)); /* reordered, and no more */
    }
}

static void the_ends_of_the_range_and_none_at_all(void **state)
{
    (void)state;
    struct cell cells[QUANTILES];
    uint64_t far[2] = {0, UINT64_MAX};
    durations_quantiles(far, 2, quantiles, 1, cells);
    assert_int_equal(cells[0].kind, CELL_F64);
    assert_true(cells[0].f64 == 9223372036854775807.5);
    durations_quantiles(far, 0, quantiles, QUANTILES, cells);
    for (uint32_t q = 0; q < QUANTILES; q++) {
        assert_int_equal(cells[q].kind, CELL_NULL);
    }
    assert_int_equal(durations_mean(far, 0).kind, CELL_NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(percentiles_are_those_of_the_sorted_list),
        cmocka_unit_test(the_ends_of_the_range_and_none_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
