/* tests/unit/base/test_rng.c - storage/base/rng.c, clock.c and hash.c: values that must never
 * change, because stored bytes and seeds in bug reports depend on them. */
#include "tests/support/claims.h"

#include "storage/base/clock.h"
#include "storage/base/hash.h"
#include "storage/base/rng.h"

#include <time.h>

/* The state {1, 2, 3, 4}: the first outputs of the authors' xoshiro256starstar.c. */
static void xoshiro_gives_its_reference_outputs(void **state)
{
    struct rng rng = {{1, 2, 3, 4}};
    const uint64_t want[] = {11520u, 0u, 1509978240u, 1215971899390074240u};
    for (size_t i = 0; i < COUNT_OF(want); i++) {
        assert_true(rng_next(&rng) == want[i]);
    }
}

/* splitmix64 from seed 0: published first outputs. */
static void the_seed_is_spread_by_splitmix(void **state)
{
    struct rng rng = rng_init(0);
    assert_true(rng.s[0] == 0xe220a8397b1dcdafULL);
    assert_true(rng.s[1] == 0x6e789e6aa1b965f4ULL);
    assert_true(rng.s[2] == 0x06c45d188009454fULL);
    assert_true(rng.s[3] == 0xf88bb8a8724c81ecULL);
}

static void below_stays_below_and_is_even(void **state)
{
    struct rng rng = rng_init(test_seed());
    assert_int_equal(rng_below(&rng, 1), 0);
    uint32_t hits[10] = {0};
    for (int i = 0; i < 100000; i++) {
        hits[rng_below(&rng, 10)]++;
    }
    for (int i = 0; i < 10; i++) { /* 6 standard deviations of 95 */
        assert_in_range(hits[i], 10000 - 570, 10000 + 570);
    }
    /* Four draws for three values: without drawing again, every third value came twice as often. */
    uint64_t bound = UINT64_C(3) << 62;
    uint32_t thirds = 0;
    for (int i = 0; i < 30000; i++) {
        uint64_t v = rng_below(&rng, bound);
        assert_true(v < bound);
        thirds += v % 3 == 0;
    }
    assert_in_range(thirds, 10000 - 490, 10000 + 490);
}

static void unit_is_in_its_half_open_range(void **state)
{
    struct rng rng = rng_init(test_seed());
    double sum = 0;
    for (int i = 0; i < 100000; i++) {
        double v = rng_unit(&rng);
        assert_true(v >= 0 && v < 1);
        sum += v;
    }
    assert_true(sum > 49400 && sum < 50600);
}

static void the_kernel_gives_different_bytes_each_time(void **state)
{
    struct err err;
    uint8_t a[1000] = {0};
    uint8_t b[1000] = {0};
    assert_ok(rng_system(a, sizeof(a), &err));
    assert_ok(rng_system(b, sizeof(b), &err));
    assert_memory_not_equal(a, b, sizeof(a));
    assert_memory_not_equal(a + 900, b + 900, 100);
    assert_ok(rng_system(a, 0, &err));
}

/* From the specification of XXH3: the empty input, unseeded. */
static void xxh3_gives_its_published_values(void **state)
{
    assert_true(hash64(NULL, 0, 0) == 0x2d06800538d394c2ULL);
    struct hash128 empty = hash128(NULL, 0, 0);
    assert_true(empty.hi == 0x99aa06d3014798d8ULL && empty.lo == 0x6001c324468d497fULL);
    assert_true(checksum64("abc", 3) == hash64("abc", 3, 0));
    assert_true(hash_str(STR("abc"), 7) == hash64("abc", 3, 7));
    assert_true(hash64("abc", 3, 0) == 0x78af5f94892f3950ULL);
    assert_true(hash64("abc", 3, 0) != hash64("abc", 3, 1));
}

static void hash_mix_is_splitmix_s_finaliser(void **state)
{
    assert_true(hash_mix(0) == 0);
    assert_true(hash_mix(0x9e3779b97f4a7c15ULL) == 0xe220a8397b1dcdafULL);
}

static void clocks_tell_this_century_and_go_on(void **state)
{
    int64_t wall = clock_wall_ms();
    assert_true(wall > 1700000000000 && wall < 4102444800000);
    assert_true(llabs(wall / 1000 - (int64_t)time(NULL)) <= 2);
    uint64_t begin = clock_mono_us();
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    uint64_t passed = clock_mono_us() - begin;
    assert_true(passed >= 20000 && passed < 60000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(xoshiro_gives_its_reference_outputs),
        cmocka_unit_test(the_seed_is_spread_by_splitmix),
        cmocka_unit_test(below_stays_below_and_is_even),
        cmocka_unit_test(unit_is_in_its_half_open_range),
        cmocka_unit_test(the_kernel_gives_different_bytes_each_time),
        cmocka_unit_test(xxh3_gives_its_published_values),
        cmocka_unit_test(hash_mix_is_splitmix_s_finaliser),
        cmocka_unit_test(clocks_tell_this_century_and_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
