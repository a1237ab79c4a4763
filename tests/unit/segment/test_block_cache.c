/* tests/unit/segment/test_block_cache.c - tests storage/block_cache.c: what is kept when there is more than room, and
 * the bound, also for many threads at once.
 */
#include "tests/unit/segment/segment_test.h"

#include "storage/segment_int.h"

#include <pthread.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

/* Sizes as sections have them: 1 to 16 KiB, the same for one place always. */
static uint32_t len_of(uint64_t uid, uint64_t off)
{
    struct rng rng = rng_init(uid * 1000003 + off);
    return (uint32_t)(KIB + rng_below(&rng, 15 * KIB));
}

/* As a reader does: pin, or load and offer. True where it was there. */
static bool touch(struct block_cache *cache, uint64_t uid, uint64_t off, bool is_use)
{
    struct err err = {0};
    struct cache_block *block = block_cache_pin(cache, uid, off, is_use);
    bool was_there = block != NULL;
    if (block == NULL) {
        assert_ok(cache_block_create(uid, off, len_of(uid, off), &block, &err));
        memset(block->data, (int)(off & 0xff), block->len);
        block_cache_offer(cache, block);
    }
    cache_block_unpin(block);
    return was_there;
}

static uint32_t count_there(struct block_cache *cache, uint64_t uid, uint32_t count)
{
    uint32_t there = 0;
    for (uint64_t off = 0; off < count; off++) {
        struct cache_block *block = block_cache_pin(cache, uid, off, false);
        there += block != NULL;
        cache_block_unpin(block);
    }
    return there;
}

/* Goal: what is read again and again stays while something of four times the cache's size is read
 * once. Method: a working set of about four tenths of the cache, read a few times; then blocks that
 * nobody asks for twice, with a hot one asked for now and then, or not at all. */
static void a_scan_does_not_push_out_the_working_set(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    for (uint64_t trial = 0; trial < 6; trial++) {
        struct err err = {0};
        struct block_cache *cache = NULL;
        struct rng rng = rng_init(seed + trial);
        uint32_t hot = 400;
        assert_ok(block_cache_create(8 * MIB, &cache, &err)); /* of 8.5 KiB each: about 960 */
        for (uint32_t pass = 0; pass < 4; pass++) {
            for (uint64_t off = 0; off < hot; off++) {
                (void)touch(cache, 1, off, true);
            }
        }
        uint32_t before = count_there(cache, 1, hot);
        for (uint64_t off = 0; off < 4000; off++) {
            (void)touch(cache, 2, off, true);
            if (trial % 2 == 0 && rng_below(&rng, 4) == 0) {
                (void)touch(cache, 1, rng_below(&rng, hot), true);
            }
            assert_true(block_cache_stats(cache).bytes <= 8 * MIB);
        }
        uint32_t after = count_there(cache, 1, hot);
        uint32_t scanned = count_there(cache, 2, 4000);
        if (before != hot || after * 100 < hot * 97 || scanned > 620) {
            fail_msg("TEST_SEED=%" PRIu64 ": of %u hot blocks %u before and %u after, %u scanned",
                     seed + trial, hot, before, after, scanned);
        }
        block_cache_free(cache);
    }
}

static void what_comes_back_soon_after_it_left_is_kept(void **state)
{
    (void)state;
    struct err err = {0};
    struct block_cache *cache = NULL;
    assert_ok(block_cache_create(8 * MIB, &cache, &err));
    for (uint64_t off = 0; off < 2000; off++) {
        (void)touch(cache, 1, off, true);
    }
    /* Those that went last come back, and then a scan passes. */
    uint32_t back = 0;
    for (uint64_t off = 800; off < 1000; off++) {
        back += !touch(cache, 2, off, true);
    }
    assert_int_equal(back, 200);
    for (uint64_t off = 3000; off < 4300; off++) {
        (void)touch(cache, 3, off, true);
    }
    assert_int_equal(count_there(cache, 2, 1000), 0); /* read once: gone */
    for (uint64_t off = 800; off < 1000; off++) {
        (void)touch(cache, 2, off, true); /* as ghosts */
    }
    for (uint64_t off = 5000; off < 8000; off++) {
        (void)touch(cache, 4, off, true);
    }
    assert_true(count_there(cache, 2, 1000) >= 150);
    block_cache_free(cache);
}

/* Uses are what makes a block stay; a merge's reading is none. */
static void reading_once_is_no_use(void **state)
{
    (void)state;
    for (uint32_t is_use = 0; is_use < 2; is_use++) {
        struct err err = {0};
        struct block_cache *cache = NULL;
        assert_ok(block_cache_create(8 * MIB, &cache, &err));
        for (uint32_t pass = 0; pass < 5; pass++) {
            for (uint64_t off = 0; off < 100; off++) {
                (void)touch(cache, 1, off, is_use != 0);
            }
        }
        for (uint64_t off = 0; off < 4000; off++) {
            (void)touch(cache, 2, off, true);
        }
        uint32_t there = count_there(cache, 1, 100);
        assert_true(is_use != 0 ? there >= 97 : there <= 3);
        block_cache_free(cache);
    }
}

static void hits_misses_and_evictions_are_counted(void **state)
{
    (void)state;
    struct err err = {0};
    struct block_cache *cache = NULL;
    assert_ok(block_cache_create(MIB, &cache, &err));
    uint64_t hits = 0;
    struct rng rng = rng_init(test_seed());
    for (uint32_t i = 0; i < 3000; i++) {
        hits += touch(cache, 1, rng_below(&rng, 300), true);
    }
    struct block_cache_stats stats = block_cache_stats(cache);
    assert_int_equal(stats.hits, hits);
    assert_int_equal(stats.misses, 3000 - hits);
    uint32_t there = count_there(cache, 1, 300);
    assert_int_equal(stats.evictions, 3000 - hits - there);
    assert_int_equal(stats.bytes_max, MIB);
    block_cache_free(cache);
}

/* Blocks larger than a tenth, and than all, of a stripe. */
static void large_blocks_are_kept_or_refused_within_the_bound(void **state)
{
    (void)state;
    struct err err = {0};
    struct block_cache *cache = NULL;
    assert_ok(block_cache_create(MIB, &cache, &err)); /* 64 KiB a stripe */
    struct rng rng = rng_init(test_seed());
    for (uint64_t off = 0; off < 500; off++) {
        struct cache_block *block = NULL;
        uint32_t len = (uint32_t)(rng_below(&rng, 100 * KIB) + 1);
        assert_ok(cache_block_create(1, off, len, &block, &err));
        memset(block->data, 1, len);
        block_cache_offer(cache, block);
        assert_true(block->is_cached || len > 0);
        assert_false(block->is_cached && len > 64 * KIB);
        assert_true(block_cache_stats(cache).bytes <= MIB);
        cache_block_unpin(block);
    }
    assert_true(block_cache_stats(cache).bytes > MIB / 4);
    block_cache_free(cache);
}

/* ---- threads ---- */

struct worker {
    struct block_cache *cache;
    uint64_t seed;
    _Atomic bool *is_over; /* the bound was passed, or a block was another one */
};

static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    struct rng rng = rng_init(worker->seed);
    struct cache_block *held[8] = {0};
    for (uint32_t i = 0; i < 20000; i++) {
        uint64_t off = rng_below(&rng, 4) == 0 ? rng_below(&rng, 50) : rng_below(&rng, 2000);
        struct cache_block **slot = &held[rng_below(&rng, COUNT_OF(held))];
        cache_block_unpin(TAKE(*slot));
        *slot = block_cache_pin(worker->cache, 1, off, rng_below(&rng, 2) == 0);
        if (*slot == NULL) {
            struct err err = {0};
            if (cache_block_create(1, off, len_of(1, off), slot, &err) != ERR_OK) {
                break;
            }
            memset((*slot)->data, (int)(off & 0xff), (*slot)->len);
            block_cache_offer(worker->cache, *slot);
        }
        struct cache_block *block = *slot;
        bool is_good = block->off == off && block->len == len_of(1, off) &&
                       block->data[0] == (off & 0xff) &&
                       block->data[block->len - 1] == (off & 0xff);
        if (!is_good || block_cache_stats(worker->cache).bytes > MIB) {
            atomic_store(worker->is_over, true);
        }
    }
    for (uint32_t i = 0; i < COUNT_OF(held); i++) {
        cache_block_unpin(held[i]);
    }
    return NULL;
}

static void the_bound_holds_for_many_threads_at_once(void **state)
{
    (void)state;
    enum { WORKERS = 4 };
    struct err err = {0};
    struct block_cache *cache = NULL;
    _Atomic bool is_over = false;
    struct worker workers[WORKERS];
    pthread_t threads[WORKERS];
    assert_ok(block_cache_create(MIB, &cache, &err));
    for (uint32_t i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){cache, test_seed() + i, &is_over};
        assert_int_equal(pthread_create(&threads[i], NULL, worker_main, &workers[i]), 0);
    }
    for (uint32_t i = 0; i < WORKERS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_false(is_over);
    assert_true(block_cache_stats(cache).evictions > 1000);
    block_cache_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_scan_does_not_push_out_the_working_set),
        cmocka_unit_test(what_comes_back_soon_after_it_left_is_kept),
        cmocka_unit_test(reading_once_is_no_use),
        cmocka_unit_test(hits_misses_and_evictions_are_counted),
        cmocka_unit_test(large_blocks_are_kept_or_refused_within_the_bound),
        cmocka_unit_test(the_bound_holds_for_many_threads_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
