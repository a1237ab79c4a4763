/* tests/unit/query/test_trend_large.c - quantiles and unions in parts, beside sorting all that the cells hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/trend_large.h"
#include "storage/base/rng.h"
#include "storage/base/size.h"

#include <math.h>
#include <stdlib.h>

#define CELLS_MAX  40u
#define VALUES_MAX 4000u

/* A query that has nothing but memory, and maybe threads. */
static void run_begin(struct query_run_ctx *run, struct pool *pool)
{
    *run = (struct query_run_ctx){.pool = pool};
    budget_init(&run->budget, (size_t)64 << 20, "query memory");
    run->arena = arena_create(&run->budget);
}

static void run_end(struct query_run_ctx *run)
{
    arena_free(run->arena);
    budget_end(&run->budget);
}

struct made {
    union acc_cell cells[CELLS_MAX];
    union acc_cell *filled[CELLS_MAX]; /* that have some */
    size_t filled_count;
    int64_t values[VALUES_MAX];
    uint32_t count;
};

static int compare_whole(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void fill_list(struct made *made)
{
    made->filled_count = 0;
    for (uint32_t c = 0; c < CELLS_MAX; c++) {
        if (made->cells[c].count != 0) {
            made->filled[made->filled_count++] = &made->cells[c];
        }
    }
}

/* Values of one scale, close together or far apart, at the ends of what 64 bits hold as well; some cells have most. */
static void make_values(struct made *made, struct arena *arena, struct rng *rng)
{
    static const uint64_t spreads[] = {0,         1, 300, 16383, 16384, 1u << 20, UINT64_C(1) << 45,
                                       UINT64_MAX};
    struct acc_pool pool;
    struct err err = {0};
    uint64_t spread = spreads[rng_below(rng, COUNT_OF(spreads))];
    int64_t base = rng_below(rng, 2) == 0 ? -7 : INT64_MIN;
    uint32_t cells = 1 + (uint32_t)rng_below(rng, CELLS_MAX);
    *made = (struct made){.count = 1 + (uint32_t)rng_below(rng, VALUES_MAX)};
    acc_pool_init(&pool, arena);
    for (uint32_t i = 0; i < made->count; i++) {
        uint64_t off = spread == UINT64_MAX ? rng_next(rng) : rng_below(rng, spread + 1);
        uint64_t cell = rng_below(rng, 1 + rng_below(rng, cells));
        made->values[i] = (int64_t)((uint64_t)base + off);
        assert_int_equal(acc_add_decimal(&pool, &made->cells[cell], made->values[i], 2, &err),
                         ERR_OK);
    }
    fill_list(made);
    qsort(made->values, made->count, sizeof(made->values[0]), compare_whole);
    acc_pool_done(&pool);
}

static struct num expected(const struct made *made, double quantile)
{
    double position = quantile * (double)(made->count - 1);
    uint32_t rank = (uint32_t)floor(position);
    struct num low = num_decimal(made->values[rank], 2);
    struct num high = num_decimal(made->values[MIN_OF(rank + 1, made->count - 1)], 2);
    struct num between = {0};
    assert_true(acc_between(low, high, position - (double)rank, &between));
    return between;
}

static void check_quantiles(struct pool *pool, uint64_t seed)
{
    static const double quantiles[] = {0.0, 0.001, 0.25, 0.5, 0.95, 0.999, 1.0};
    static struct made made;
    struct rng rng = rng_init(seed);
    struct query_run_ctx run;
    run_begin(&run, pool);
    make_values(&made, run.arena, &rng);
    for (uint32_t q = 0; q < COUNT_OF(quantiles); q++) {
        struct err err = {0};
        struct num got = {0};
        bool is_there = false;
        assert_true(acc_are_whole(made.filled, made.filled_count));
        assert_int_equal(trend_large_quantile(&run, made.filled, made.filled_count, quantiles[q],
                                              &is_there, &got, &err),
                         ERR_OK);
        assert_true(is_there);
        struct num want = expected(&made, quantiles[q]);
        if (num_cmp(got, want) != 0 || got.scale != want.scale) {
            fail_msg("seed %llu: quantile %g of %u values in %zu cells", (unsigned long long)seed,
                     quantiles[q], made.count, made.filled_count);
        }
    }
    run_end(&run);
}

static void quantiles_in_parts_are_those_of_the_sorted_values(void **state)
{
    (void)state;
    struct pool *pool = NULL;
    struct err err = {0};
    assert_int_equal(pool_create(3, IO_POSIX, "test", &pool, &err), ERR_OK);
    for (uint64_t seed = 1; seed <= 400; seed++) {
        check_quantiles(seed % 4 == 0 ? pool : NULL, seed);
    }
    pool_free(pool);
}

static struct hash128 some_hash(struct rng *rng, uint64_t different)
{
    uint64_t n = rng_below(rng, different);
    /* the value that marks a free place as well, and hashes that only one of the halves tells apart */
    return (struct hash128){.lo = n % 3 == 0 ? n : hash_mix(n / 3),
                            .hi = n % 5 == 0 ? 0 : hash_mix(n)};
}

static int compare_hashes(const void *a, const void *b)
{
    const struct hash128 *x = a;
    const struct hash128 *y = b;
    return x->lo != y->lo ? (x->lo < y->lo ? -1 : 1) : (x->hi > y->hi) - (x->hi < y->hi);
}

static uint64_t count_different(struct hash128 *hashes, uint32_t count)
{
    uint64_t different = 0;
    qsort(hashes, count, sizeof(*hashes), compare_hashes);
    for (uint32_t i = 0; i < count; i++) {
        different += i == 0 || compare_hashes(&hashes[i - 1], &hashes[i]) != 0;
    }
    return different;
}

static void check_union(struct pool *pool, uint64_t seed)
{
    static struct made made;
    static struct hash128 hashes[VALUES_MAX];
    struct rng rng = rng_init(seed);
    struct query_run_ctx run;
    struct acc_pool cells;
    struct err err = {0};
    uint64_t alone = 0;
    uint64_t in_parts = 0;
    uint64_t different = 1 + rng_below(&rng, 1 + rng_below(&rng, VALUES_MAX));
    uint32_t count = 1 + (uint32_t)rng_below(&rng, VALUES_MAX);
    uint64_t cell_count = 1 + rng_below(&rng, CELLS_MAX);
    run_begin(&run, pool);
    made = (struct made){0};
    acc_pool_init(&cells, run.arena);
    for (uint32_t i = 0; i < count; i++) {
        hashes[i] = some_hash(&rng, different);
        assert_int_equal(
            acc_add_hash(&cells, &made.cells[rng_below(&rng, cell_count)], hashes[i], &err),
            ERR_OK);
        hashes[i].lo += hashes[i].lo == 0 && hashes[i].hi == 0; /* as it is kept */
    }
    fill_list(&made);
    uint64_t want = count_different(hashes, count);
    assert_int_equal(acc_count_unique(made.filled, made.filled_count, run.arena, &alone, &err),
                     ERR_OK);
    assert_int_equal(trend_large_union(&run, made.filled, made.filled_count, &in_parts, &err),
                     ERR_OK);
    if (alone != want || in_parts != want) {
        fail_msg("seed %llu: %llu different, alone %llu, in parts %llu", (unsigned long long)seed,
                 (unsigned long long)want, (unsigned long long)alone, (unsigned long long)in_parts);
    }
    acc_pool_done(&cells);
    run_end(&run);
}

static void unions_in_parts_count_what_is_different(void **state)
{
    (void)state;
    struct pool *pool = NULL;
    struct err err = {0};
    assert_int_equal(pool_create(3, IO_POSIX, "test", &pool, &err), ERR_OK);
    for (uint64_t seed = 1; seed <= 400; seed++) {
        check_union(seed % 4 == 0 ? pool : NULL, seed);
    }
    pool_free(pool);
}

static void a_spent_budget_is_a_limit_error(void **state)
{
    (void)state;
    static struct made made;
    struct rng rng = rng_init(5);
    struct query_run_ctx run;
    struct err err = {0};
    struct num got = {0};
    bool is_there = false;
    run_begin(&run, NULL);
    do {
        make_values(&made, run.arena, &rng);
    } while (made.values[made.count - 1] - made.values[0] < 10000);
    run.budget.max_bytes = atomic_load(&run.budget.used_bytes) + 1024;
    assert_int_equal(
        trend_large_quantile(&run, made.filled, made.filled_count, 0.5, &is_there, &got, &err),
        ERR_LIMIT);
    run_end(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles_in_parts_are_those_of_the_sorted_values),
        cmocka_unit_test(unions_in_parts_count_what_is_different),
        cmocka_unit_test(a_spent_budget_is_a_limit_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
