/* tests/unit/query/test_answer_cache.c - tests query/answer_cache.c and query/result_pack.c: a name has its own answer, the
 * bound, also for many threads at once, and that a packed answer comes back as it was.
 */
#include "tests/support/claims.h"

#include "query/answer_cache.h"
#include "query/result_pack.h"
#include "storage/base/rng.h"

#include <pthread.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

static struct str key_of(uint64_t number, char out[32])
{
    int len = snprintf(out, 32, "question %" PRIu64, number);
    return (struct str){out, (size_t)len};
}

/* The answer of a number: its length and every byte follow from it. */
static void fill_answer(uint64_t number, size_t len_max, struct buf *out)
{
    struct rng rng = rng_init(number);
    size_t len = (size_t)rng_below(&rng, len_max);
    buf_clear(out);
    for (size_t i = 0; i < len; i++) {
        buf_u8(out, (uint8_t)(number + i));
    }
}

static bool is_answer(uint64_t number, size_t len_max, struct str bytes)
{
    struct rng rng = rng_init(number);
    bool is_right = bytes.len == (size_t)rng_below(&rng, len_max);
    for (size_t i = 0; is_right && i < bytes.len; i++) {
        is_right = (uint8_t)bytes.ptr[i] == (uint8_t)(number + i);
    }
    return is_right;
}

static void a_name_finds_its_own_answer(void **state)
{
    (void)state;
    struct err err = {0};
    CLEANUP(answer_cache_freep) struct answer_cache *cache = NULL;
    struct answer_hit hit = {.block = NULL};
    assert_ok(answer_cache_create(MIB, &cache, &err));
    assert_false(answer_cache_find(cache, ANSWER_WHOLE, STR("a"), &hit));
    answer_cache_keep(cache, ANSWER_WHOLE, STR("a"), STR("one"));
    answer_cache_keep(cache, ANSWER_PARTIAL, STR("a"), STR("two"));
    answer_cache_keep(cache, ANSWER_WHOLE, STR("empty"), STR(""));
    assert_true(answer_cache_find(cache, ANSWER_WHOLE, STR("a"), &hit));
    assert_true(str_eq(hit.bytes, STR("one")));
    assert_int_equal((uintptr_t)hit.bytes.ptr % 16, 0);
    answer_hit_done(&hit);
    assert_true(answer_cache_find(cache, ANSWER_PARTIAL, STR("a"), &hit));
    assert_true(str_eq(hit.bytes, STR("two")));
    answer_hit_done(&hit);
    assert_true(answer_cache_find(cache, ANSWER_WHOLE, STR("empty"), &hit));
    assert_int_equal(hit.bytes.len, 0);
    answer_hit_done(&hit);
    assert_false(answer_cache_find(cache, ANSWER_WHOLE, STR("b"), &hit));
    struct answer_cache_stats stats = answer_cache_stats(cache);
    assert_int_equal(stats.hits[ANSWER_WHOLE], 2);
    assert_int_equal(stats.misses[ANSWER_WHOLE], 2);
    assert_int_equal(stats.hits[ANSWER_PARTIAL], 1);
    assert_int_equal(stats.misses[ANSWER_PARTIAL], 0);
}

static void of_a_name_that_comes_again_the_newest_is_found(void **state)
{
    (void)state;
    struct err err = {0};
    CLEANUP(answer_cache_freep) struct answer_cache *cache = NULL;
    struct answer_hit hit = {.block = NULL};
    assert_ok(answer_cache_create(MIB, &cache, &err));
    assert_false(answer_cache_find_newest(cache, ANSWER_OUTCOMES, STR("a"), &hit));
    answer_cache_keep_newest(cache, ANSWER_OUTCOMES, STR("a"), STR("old"));
    answer_cache_keep_newest(cache, ANSWER_OUTCOMES, STR("b"), STR("other"));
    assert_true(answer_cache_find_newest(cache, ANSWER_OUTCOMES, STR("a"), &hit));
    struct answer_hit held = hit; /* stays readable, whatever comes after it */
    answer_cache_keep_newest(cache, ANSWER_OUTCOMES, STR("a"), STR("newer"));
    assert_true(answer_cache_find_newest(cache, ANSWER_OUTCOMES, STR("a"), &hit));
    assert_true(str_eq(hit.bytes, STR("newer")));
    assert_true(str_eq(held.bytes, STR("old")));
    answer_hit_done(&hit);
    answer_hit_done(&held);
    assert_true(answer_cache_find_newest(cache, ANSWER_OUTCOMES, STR("b"), &hit));
    assert_true(str_eq(hit.bytes, STR("other")));
    answer_hit_done(&hit);
    assert_false(answer_cache_find(cache, ANSWER_OUTCOMES, STR("a"), &hit));
    struct answer_cache_stats stats = answer_cache_stats(cache);
    assert_int_equal(stats.hits[ANSWER_OUTCOMES], 3);
    assert_int_equal(stats.misses[ANSWER_OUTCOMES], 2);
}

static void what_is_too_long_is_not_kept(void **state)
{
    (void)state;
    struct err err = {0};
    CLEANUP(answer_cache_freep) struct answer_cache *cache = NULL;
    CLEANUP(buf_freep) struct buf bytes = {0};
    struct answer_hit hit = {.block = NULL};
    assert_ok(answer_cache_create(MIB, &cache, &err));
    size_t most = answer_cache_item_max(cache);
    assert_int_equal(most, MIB / 64);
    memset(buf_reserve(&bytes, most + 1), 7, most + 1);
    answer_cache_keep(cache, ANSWER_WHOLE, STR("long"), (struct str){(char *)bytes.ptr, most + 1});
    assert_false(answer_cache_find(cache, ANSWER_WHOLE, STR("long"), &hit));
    answer_cache_keep(cache, ANSWER_WHOLE, STR("fits"), (struct str){(char *)bytes.ptr, most - 64});
    assert_true(answer_cache_find(cache, ANSWER_WHOLE, STR("fits"), &hit));
    answer_hit_done(&hit);
}

struct asker {
    struct answer_cache *cache;
    uint64_t seed;
    uint64_t wrong, hits;
    pthread_t thread;
};

/* Ask for numbers, small ones more often; keep what is not there. */
static void *ask_on(void *arg)
{
    struct asker *asker = arg;
    struct rng rng = rng_init(asker->seed);
    CLEANUP(buf_freep) struct buf bytes = {0};
    for (uint32_t i = 0; i < 20000; i++) {
        char text[32];
        uint64_t number = rng_below(&rng, 1 + rng_below(&rng, 2000));
        struct str key = key_of(number, text);
        struct answer_hit hit = {.block = NULL};
        enum answer_kind kind = (enum answer_kind)(number % ANSWER_KINDS);
        if (answer_cache_find(asker->cache, kind, key, &hit)) {
            asker->hits++;
            asker->wrong += !is_answer(number, 6 * KIB, hit.bytes);
            answer_hit_done(&hit);
        } else {
            fill_answer(number, 6 * KIB, &bytes);
            answer_cache_keep(asker->cache, kind, key, buf_as_str(&bytes));
        }
        asker->wrong += answer_cache_stats(asker->cache).bytes > MIB;
    }
    return NULL;
}

/* Goal: never more than the bound, and never a wrong answer, whoever asks. Method: four threads over six times as much as
 * there is room for. */
static void many_threads_stay_within_the_bound(void **state)
{
    (void)state;
    struct err err = {0};
    struct asker askers[4];
    CLEANUP(answer_cache_freep) struct answer_cache *cache = NULL;
    assert_ok(answer_cache_create(MIB, &cache, &err));
    for (uint32_t i = 0; i < COUNT_OF(askers); i++) {
        askers[i] = (struct asker){.cache = cache, .seed = test_seed() * 10 + i};
        assert_int_equal(pthread_create(&askers[i].thread, NULL, ask_on, &askers[i]), 0);
    }
    for (uint32_t i = 0; i < COUNT_OF(askers); i++) {
        pthread_join(askers[i].thread, NULL);
        assert_int_equal(askers[i].wrong, 0);
        assert_true(askers[i].hits > 1000);
    }
    struct answer_cache_stats stats = answer_cache_stats(cache);
    assert_true(stats.evictions > 100);
    assert_true(stats.bytes <= stats.bytes_max);
    assert_true(stats.bytes > stats.bytes_max / 2);
}

/* ---- packing ---- */

static const struct str items[] = {{"x", 1}, {"", 0}, {"a\0b", 3}};

static struct result *make_result(void)
{
    struct err err = {0};
    struct arena *arena = arena_create(NULL);
    struct result *result = NULL;
    struct result_col *cols = NULL;
    assert_ok(ARENA_NEW(arena, 1, &result, &err));
    assert_ok(ARENA_NEW(arena, 2, &cols, &err));
    cols[0] = (struct result_col){STR("time"), RESULT_TIME};
    cols[1] = (struct result_col){STR("what \"it\" is"), RESULT_ANY};
    const struct num_total wide = {
        .is_decimal = true, .m = -((__int128)1 << 100), .scale = 3, .approx = -1.2676506e27};
    const struct cell cells[] = {
        {.kind = CELL_NULL},
        {.kind = CELL_I64, .i64 = INT64_MIN},
        {.kind = CELL_F64, .f64 = -0.1},
        {.kind = CELL_DECIMAL, .decimal = wide},
        {.kind = CELL_STRING, .string = STR("2025-05-01")},
        {.kind = CELL_BOOL, .boolean = true},
        {.kind = CELL_LIST, .list = {.items = items, .count = COUNT_OF(items)}},
        {.kind = CELL_I64, .i64 = 7},
    };
    *result = (struct result){
        .arena = arena,
        .cols = cols,
        .col_count = 2,
        .row_count = COUNT_OF(cells) / 2,
        .meta = {.dataset = STR("shop"),
                 .epoch = 8123,
                 .watermark = STR("2025-05-01T00:00:00Z"),
                 .exact = true,
                 .partial = true,
                 .time_zone = STR("Europe/Paris"),
                 .zone_version = STR("2025b"),
                 .verb = STR("trend"),
                 .rows_read = 5,
                 .bytes_read = 1u << 30,
                 .segments = 9,
                 .segments_pruned = 3,
                 .rows_total = 40,
                 .rows_left_out = 36,
                 .warnings = items,
                 .warning_count = COUNT_OF(items)},
    };
    assert_ok(ARENA_NEW(arena, COUNT_OF(cells), &result->cells, &err));
    memcpy(result->cells, cells, sizeof(cells));
    return result;
}

static void a_packed_answer_comes_back_as_it_was(void **state)
{
    (void)state;
    for (uint32_t has_totals = 0; has_totals < 2; has_totals++) {
        struct err err = {0};
        CLEANUP(buf_freep) struct buf packed = {0};
        CLEANUP(buf_freep) struct buf want = {0};
        CLEANUP(buf_freep) struct buf got = {0};
        CLEANUP(result_freep) struct result *result = make_result();
        struct arena *arena = arena_create(NULL);
        CLEANUP(result_freep) struct result *back = NULL;
        assert_ok(ARENA_NEW(arena, 1, &back, &err));
        back->arena = arena;
        result->totals = has_totals != 0 ? result->cells + 2 : NULL;
        assert_false(result_pack(result, 20, &packed));
        buf_clear(&packed);
        assert_true(result_pack(result, MIB, &packed));
        assert_ok(result_unpack(buf_as_str(&packed), back, &err));
        assert_int_equal(back->totals != NULL, has_totals);
        assert_ok(result_write(result, RESULT_JSON, &want, &err));
        assert_ok(result_write(back, RESULT_JSON, &got, &err));
        assert_true(str_eq(buf_as_str(&want), buf_as_str(&got)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_finds_its_own_answer),
        cmocka_unit_test(of_a_name_that_comes_again_the_newest_is_found),
        cmocka_unit_test(what_is_too_long_is_not_kept),
        cmocka_unit_test(many_threads_stay_within_the_bound),
        cmocka_unit_test(a_packed_answer_comes_back_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
