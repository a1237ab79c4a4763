/* tests/prop/prop_segment.c - what is written into a segment is what is read from it.
 *
 * Goal: any rows, of any number of sources, come back in (subject, event_time, event_id) order with every value,
 * index and zone right, and the file verifies. Method: random rows against the rows themselves.
 */
#include "tests/unit/segment/segment_test.h"

#include "storage/base/size.h"

#define SOURCES_MAX 5u

static const struct random_shape shapes[] = {
    {.row_count = 1, .subjects = 1, .span_ms = 1, .events = 1, .has_props = true},
    {.row_count = 40, .subjects = 5, .span_ms = 3, .events = 3, .has_props = true},
    {.row_count = 129, .subjects = 400, .span_ms = 100000000, .events = 2},
    {.row_count = 3001, .subjects = 200, .span_ms = 90000000, .events = 5, .has_props = true},
    {.row_count = 3000,
     .subjects = 9,
     .subject_step = 40000,
     .span_ms = 4000000000,
     .events = 40,
     .has_props = true},
    {.row_count = 66000,
     .subjects = 3000,
     .subject_step = 61,
     .span_ms = 400000000,
     .events = 12,
     .has_props = true},
};

/* Write rows split over `source_count` sources at random; open; compare. */
static void check_round_trip(const struct random_shape *shape, uint32_t source_count, uint64_t seed)
{
    struct seg_table t;
    struct err err = {0};
    table_open(&t);
    struct rng rng = rng_init(seed);
    struct mem_row *rows = NULL;
    assert_ok(random_rows(t.arena, &rng, shape, &rows, &err));

    struct mem_source *mems[SOURCES_MAX] = {0};
    const struct source *sources[SOURCES_MAX] = {0};
    uint32_t used = 0;
    uint32_t begin = 0;
    for (uint32_t i = 0; i < source_count && begin < shape->row_count; i++) {
        uint32_t left = shape->row_count - begin;
        uint32_t count = i + 1 == source_count ? left : (uint32_t)rng_below(&rng, left) + 1;
        mems[used] = mem_source_create(rows + begin, count, t.schema, 3);
        sources[used] = mem_source_of(mems[used]);
        used++;
        begin += count;
    }
    struct segment_write_opts opts = {.shard = 3, .identity_version = seed};
    struct segment_stats stats = {0};
    assert_ok(segment_write(t.io, t.path, t.schema, sources, used, INT64_MIN, INT64_MAX, NULL,
                            &opts, &stats, &err));
    assert_int_equal(stats.row_count, shape->row_count);

    struct block_cache *cache = NULL;
    struct segment *segment = NULL;
    assert_ok(block_cache_create(64u << rng_below(&rng, 20), &cache, &err));
    assert_ok(segment_open(t.io, t.path, t.schema, cache, 17, &segment, &err));
    const struct mem_row **sorted = calloc(shape->row_count, sizeof(*sorted));
    assert_non_null(sorted);
    for (uint32_t i = 0; i < shape->row_count; i++) {
        sorted[i] = &rows[i];
    }
    qsort(sorted, shape->row_count, sizeof(*sorted), mem_row_cmp);
    for (int pass = 0; pass < 2; pass++) { /* cold, then from the cache */
        if (source_equals_rows(segment_source(segment), t.schema, &t.ctx, sorted, shape->row_count,
                               &err) != ERR_OK) {
            fail_msg("TEST_SEED=%" PRIu64 ": %u rows: %s", seed, shape->row_count, err.message);
        }
    }
    assert_int_equal(segment_source(segment)->identity_version, seed);
    if (segment_verify(segment, t.io, &err) != ERR_OK) {
        fail_msg("TEST_SEED=%" PRIu64 ": %u rows: %s", seed, shape->row_count, err.message);
    }
    free(sorted);
    segment_close(segment);
    block_cache_free(cache);
    for (uint32_t i = 0; i < used; i++) {
        mem_source_free(mems[i]);
    }
    table_close(&t);
}

static void a_segment_gives_back_the_rows_of_one_source(void **state)
{
    uint64_t seed = test_seed();
    for (uint32_t i = 0; i < COUNT_OF(shapes); i++) {
        check_round_trip(&shapes[i], 1, seed + i);
    }
}

static void a_merge_of_sources_equals_sorting_all_their_rows(void **state)
{
    uint64_t seed = test_seed();
    for (uint32_t i = 0; i < COUNT_OF(shapes); i++) {
        check_round_trip(&shapes[i], 2 + i % (SOURCES_MAX - 1), seed + 100 + i);
    }
}

static void small_segments_of_every_size_round_trip(void **state)
{
    uint64_t seed = test_seed();
    for (uint32_t i = 0; i < 60; i++) {
        struct rng rng = rng_init(seed + 1000 + i);
        struct random_shape shape = {
            .row_count = (uint32_t)rng_below(&rng, 300) + 1,
            .subjects = (uint32_t)rng_below(&rng, 50) + 1,
            .subject_step = (uint32_t)rng_below(&rng, 30000) + 1,
            .span_ms = UINT64_C(1) << rng_below(&rng, 40),
            .events = (uint32_t)rng_below(&rng, 6) + 1,
            .has_props = rng_below(&rng, 4) != 0,
        };
        check_round_trip(&shape, 1 + i % SOURCES_MAX, seed + 1000 + i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_segment_gives_back_the_rows_of_one_source),
        cmocka_unit_test(a_merge_of_sources_equals_sorting_all_their_rows),
        cmocka_unit_test(small_segments_of_every_size_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
