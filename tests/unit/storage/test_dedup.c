/* tests/unit/storage/test_dedup.c - tests of storage/dedup.c against a plain array of flags. */
#include "tests/support/claims.h"

#include "storage/base/rng.h"
#include "storage/dedup.h"

static struct hash128 hash_of(const struct dedup *dedup, uint32_t k)
{
    char id[32];
    snprintf(id, sizeof(id), "event-%u", k);
    return dedup_hash(dedup, str_of(id));
}

static void what_was_added_is_known_and_nothing_else(void **state)
{
    (void)state;
    struct err err = {0};
    struct dedup *dedup = NULL;
    bool is_new = false;
    assert_ok(dedup_create(7, &dedup, &err));
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t k = 0; k < 100000; k++) {
            assert_ok(dedup_add(dedup, hash_of(dedup, k), &is_new, &err));
            assert_int_equal(is_new, round == 0);
        }
    }
    assert_int_equal(dedup_count(dedup), 100000);
    dedup_free(dedup);
}

/* Goal: removal by shifting back loses nothing and leaves nothing. Method: random adds and removes of
 * few keys whose hashes are forced into few places, against flags. */
static void adds_and_removes_equal_a_set(void **state)
{
    (void)state;
    struct err err = {0};
    struct dedup *dedup = NULL;
    uint64_t seed = test_seed();
    struct rng rng = rng_init(seed);
    enum { KEYS = 200 };
    bool held[KEYS] = {false};
    uint64_t count = 0;
    assert_ok(dedup_create(7, &dedup, &err));
    for (uint32_t step = 0; step < 200000; step++) {
        uint32_t k = (uint32_t)rng_below(&rng, KEYS);
        struct hash128 hash = {.lo = 250 + k % 20, .hi = 1 + k}; /* one part, long runs that wrap */
        bool is_new = false;
        if (rng_below(&rng, 2) == 0) {
            assert_ok(dedup_add(dedup, hash, &is_new, &err));
            if (is_new == held[k]) {
                fail_msg("seed %" PRIu64 ", step %u: key %u", seed, step, k);
            }
            count += is_new;
            held[k] = true;
        } else {
            dedup_remove(dedup, hash);
            count -= held[k];
            held[k] = false;
        }
        assert_int_equal(dedup_count(dedup), count);
    }
    dedup_free(dedup);
}

static void another_seed_gives_other_hashes(void **state)
{
    (void)state;
    struct err err = {0};
    struct dedup *one = NULL;
    struct dedup *two = NULL;
    assert_ok(dedup_create(1, &one, &err));
    assert_ok(dedup_create(2, &two, &err));
    struct hash128 a = hash_of(one, 1);
    struct hash128 b = hash_of(two, 1);
    assert_true(a.lo != b.lo && a.hi != b.hi);
    dedup_free(one);
    dedup_free(two);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_added_is_known_and_nothing_else),
        cmocka_unit_test(adds_and_removes_equal_a_set),
        cmocka_unit_test(another_seed_gives_other_hashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
