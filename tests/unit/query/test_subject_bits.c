/* tests/unit/query/test_subject_bits.c - sets as words, beside one flag per subject. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/subject_bits.h"
#include "storage/base/rng.h"
#include "storage/base/size.h"

#include <string.h>

#define SUBJECTS 1000u /* numbers below this */
#define WORDS    ((SUBJECTS + 63) / 64 + 1)

static bool bit_of(const uint64_t *words, uint32_t bit)
{
    return (words[bit / 64] >> (bit % 64) & 1) != 0;
}

/* A set with each subject in one of `share`, listed or as words. */
struct set {
    bool has[SUBJECTS];
    uint32_t list[SUBJECTS];
    uint64_t words[WORDS];
    struct subject_members members;
};

static void set_make(struct set *set, struct rng *rng, uint32_t share, bool is_listed)
{
    uint32_t count = 0;
    *set = (struct set){0};
    for (uint32_t s = 0; s < SUBJECTS; s++) {
        set->has[s] = rng_below(rng, share) == 0;
        if (set->has[s]) {
            set->list[count++] = s;
        }
    }
    set->members = members_of_list(set->list, count);
    if (!is_listed && count > 0) {
        uint32_t base = 0;
        uint32_t words = members_words(set->list[0], set->list[count - 1], &base);
        members_to_words(set->list, count, base, set->words);
        set->members = (struct subject_members){
            .count = count, .words = set->words, .base = base, .word_count = words};
    }
}

static void members_are_added_within_their_range(void **state)
{
    (void)state;
    struct rng rng = rng_init(11);
    for (uint32_t i = 0; i < 4000; i++) {
        struct set set;
        uint64_t bits[WORDS] = {0};
        uint64_t twice[WORDS] = {0};
        uint64_t of[WORDS];
        bool before[SUBJECTS] = {0};
        uint32_t base = (uint32_t)rng_below(&rng, SUBJECTS);
        uint32_t end = base + (uint32_t)rng_below(&rng, SUBJECTS - base + 1);
        if (rng_below(&rng, 4) > 0) {
            base = base / 64 * 64;
        }
        set_make(&set, &rng, (uint32_t)rng_below(&rng, 40) + 1, rng_below(&rng, 2) == 0);
        for (uint32_t s = base; s < end; s++) {
            before[s] = rng_below(&rng, 3) == 0;
            bits[(s - base) / 64] |= (uint64_t)before[s] << ((s - base) % 64);
        }
        bool counts_twice = rng_below(&rng, 2) == 0;
        bool is_of = rng_below(&rng, 2) == 0;
        for (uint32_t w = 0; w < WORDS; w++) {
            of[w] = is_of ? rng_next(&rng) : UINT64_MAX;
        }
        if (is_of) {
            bits_add_members_of(bits, counts_twice ? twice : NULL, of, base, end, &set.members);
        } else if (counts_twice) {
            bits_add_members_twice(bits, twice, base, end, &set.members);
        } else {
            bits_add_members(bits, base, end, &set.members);
        }
        for (uint32_t s = base; s < SUBJECTS; s++) {
            bool is_in = s < end && set.has[s] && bit_of(of, s - base);
            assert_int_equal(bit_of(bits, s - base), is_in || before[s]);
            assert_int_equal(bit_of(twice, s - base), counts_twice && is_in && before[s]);
        }
    }
}

static void members_come_in_portions(void **state)
{
    (void)state;
    struct rng rng = rng_init(12);
    for (uint32_t i = 0; i < 500; i++) {
        struct set set;
        struct members_cursor cursor = {0};
        uint32_t buffer[128];
        const uint32_t *some = NULL;
        uint32_t count = 0;
        uint32_t next = 0;
        set_make(&set, &rng, (uint32_t)rng_below(&rng, 40) + 1, i % 2 == 0);
        while ((count = members_next(&set.members, &cursor, buffer, 128, &some)) > 0) {
            for (uint32_t k = 0; k < count; k++) {
                for (; next < some[k]; next++) {
                    assert_false(set.has[next]);
                }
                assert_true(set.has[next++]);
            }
        }
        for (; next < SUBJECTS; next++) {
            assert_false(set.has[next]);
        }
    }
}

static void planes_count_how_often(void **state)
{
    (void)state;
    struct rng rng = rng_init(13);
    for (uint32_t i = 0; i < 300; i++) {
        enum { PLANES_MAX = 6 };
        uint32_t planes = (uint32_t)rng_below(&rng, PLANES_MAX) + 1;
        uint32_t most = (uint32_t)rng_below(&rng, UINT64_C(1) << planes);
        uint64_t sets[PLANES_MAX * WORDS] = {0};
        uint64_t scratch[(2 * PLANES_MAX + 1) * WORDS];
        uint64_t counts[1 << PLANES_MAX] = {0};
        uint64_t want[1 << PLANES_MAX] = {0};
        uint32_t times[WORDS * 64] = {0};
        for (uint32_t n = 0; n < most; n++) {
            uint64_t bits[WORDS];
            uint32_t share = (uint32_t)rng_below(&rng, 6) + 1;
            memset(bits, 0, sizeof(bits));
            for (uint32_t s = 0; s < WORDS * 64; s++) {
                bool is_in = rng_below(&rng, share) == 0;
                bits[s / 64] |= (uint64_t)is_in << (s % 64);
                times[s] += is_in;
            }
            planes_add(sets, planes, bits, WORDS);
        }
        for (uint32_t s = 0; s < WORDS * 64; s++) {
            want[times[s]]++;
        }
        planes_tally(sets, planes, WORDS, scratch, counts, most);
        for (uint32_t n = 0; n <= most; n++) {
            assert_int_equal(counts[n], want[n]);
        }
    }
}

static void counts_are_of_both_and_either(void **state)
{
    (void)state;
    struct rng rng = rng_init(14);
    for (uint32_t i = 0; i < 500; i++) {
        uint64_t sets[3][WORDS];
        uint64_t both = 0;
        uint64_t either = 0;
        for (uint32_t w = 0; w < WORDS; w++) {
            for (uint32_t k = 0; k < 3; k++) {
                sets[k][w] = rng_next(&rng) & rng_next(&rng);
            }
            both += (uint64_t)__builtin_popcountll(sets[0][w] & sets[1][w]);
            either += (uint64_t)__builtin_popcountll(sets[0][w] | sets[1][w]);
        }
        assert_int_equal(bits_and_count(sets[0], sets[1], WORDS), both);
        assert_int_equal(bits_or_count(sets[0], sets[1], WORDS), either);
        uint64_t want = sets[2][0] | (sets[0][0] & sets[1][0]);
        bits_or_and(sets[2], sets[0], sets[1], WORDS);
        assert_true(sets[2][0] == want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_are_added_within_their_range),
        cmocka_unit_test(members_come_in_portions),
        cmocka_unit_test(planes_count_how_often),
        cmocka_unit_test(counts_are_of_both_and_either),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
