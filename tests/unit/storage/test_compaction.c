/* tests/unit/storage/test_compaction.c - tests of storage/compaction.c: the plan by its rules, and that a
 * merge changes no answer. */
#include "tests/support/claims.h"

#include "storage/base/rng.h"
#include "storage/base/size.h"
#include "storage/dataset_int.h"
#include "tests/support/live_events.h"

static const struct compact_limits small = {
    .block_rows = 16, .blocks_max = 64, .part_blocks_min = 4, .tier_count = 4, .inputs_max = 64};
/* A segment of 64 rows or more (4 blocks) is settled where nothing overlaps it; 1024 rows are the most. */

static void nothing_merges_with_nothing(void **state)
{
    (void)state;
    uint32_t idx[4];
    struct compact_seg one = {10, 0, 5};
    assert_int_equal(compact_plan(NULL, 0, &small, true, idx), 0);
    assert_int_equal(compact_plan(&one, 1, &small, true, idx), 0);
    assert_int_equal(compact_plan(&one, 1, &small, false, idx), 0);
}

static void on_request_small_neighbours_become_one(void **state)
{
    (void)state;
    uint32_t idx[4];
    struct compact_seg segs[] = {{10, 0, 5}, {20, 6, 9}, {1000, 7, 20}, {10, 30, 40}};
    assert_int_equal(compact_plan(segs, 4, &small, true, idx), 2); /* the third is too much */
    assert_int_equal(idx[0], 0);
    assert_int_equal(idx[1], 1);
}

static void settled_segments_that_do_not_overlap_are_left(void **state)
{
    (void)state;
    uint32_t idx[4];
    struct compact_seg apart[] = {{64, 0, 5}, {64, 6, 9}, {200, 10, 20}};
    assert_int_equal(compact_plan(apart, 3, &small, true, idx), 0);
    struct compact_seg touching[] = {{64, 0, 6}, {64, 6, 9}};
    assert_int_equal(compact_plan(touching, 2, &small, true, idx), 2);
}

static void in_the_background_four_alike_merge_and_three_wait(void **state)
{
    (void)state;
    uint32_t idx[8];
    struct compact_seg segs[] = {{8, 0, 9}, {9, 0, 9}, {900, 0, 9}, {10, 0, 9}, {11, 3, 4}};
    assert_int_equal(compact_plan(segs, 4, &small, false, idx), 0);
    assert_int_equal(compact_plan(segs, 5, &small, false, idx), 4);
    assert_int_equal(idx[2], 3); /* not the big one */
}

static void cuts_are_whole_days_of_at_least_four_blocks(void **state)
{
    (void)state;
    uint32_t ends[8];
    const uint32_t busy[] = {64, 64, 64};
    assert_int_equal(compact_cuts(busy, 3, &small, ends), 3);
    const uint32_t rest[] = {64, 63, 64, 63};
    assert_int_equal(compact_cuts(rest, 4, &small, ends), 2);
    assert_int_equal(ends[0], 1);
    assert_int_equal(ends[1], 4);
    const uint32_t quiet[] = {63, 0, 0, 64};
    assert_int_equal(compact_cuts(quiet, 4, &small, ends), 1);
    assert_int_equal(ends[0], 4);
}

/* Goal: compacting on request ends, nothing exceeds 64 blocks, and a second time does nothing. Method:
 * random lists of segments, merges simulated with rows spread evenly over their days. */
static void merging_ends_and_a_second_time_does_nothing(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    for (uint64_t trial = 0; trial < 2000; trial++) {
        struct rng rng = rng_init(seed + trial);
        struct compact_seg segs[64];
        uint32_t count = 1 + (uint32_t)rng_below(&rng, 40);
        for (uint32_t i = 0; i < count; i++) {
            int64_t begin = (int64_t)rng_below(&rng, 30);
            segs[i] = (struct compact_seg){1 + rng_below(&rng, rng_below(&rng, 2) ? 30 : 900),
                                           begin, begin + (int64_t)rng_below(&rng, 5)};
        }
        uint32_t steps = 0;
        for (;; steps++) {
            uint32_t idx[64];
            for (uint32_t i = 1; i < count; i++) { /* by time_min */
                for (uint32_t k = i; k > 0 && segs[k - 1].time_min_ms > segs[k].time_min_ms; k--) {
                    struct compact_seg swap = segs[k];
                    segs[k] = segs[k - 1];
                    segs[k - 1] = swap;
                }
            }
            uint32_t chosen = compact_plan(segs, count, &small, true, idx);
            if (chosen == 0) {
                break;
            }
            struct compact_seg merged = segs[idx[0]];
            for (uint32_t i = 1; i < chosen; i++) {
                merged.rows += segs[idx[i]].rows;
                merged.time_max_ms = MAX_OF(merged.time_max_ms, segs[idx[i]].time_max_ms);
            }
            assert_true(merged.rows <= 1024);
            for (uint32_t i = chosen; i-- > 0;) {
                memmove(&segs[idx[i]], &segs[idx[i] + 1], (--count - idx[i]) * sizeof(segs[0]));
            }
            uint32_t by_day[40];
            uint32_t ends[40];
            uint32_t days = (uint32_t)(merged.time_max_ms - merged.time_min_ms) + 1;
            for (uint32_t day = 0; day < days; day++) {
                by_day[day] = (uint32_t)(merged.rows * (day + 1) / days - merged.rows * day / days);
            }
            uint32_t parts = compact_cuts(by_day, days, &small, ends);
            for (uint32_t part = 0, begin = 0; part < parts; begin = ends[part++]) {
                struct compact_seg out = {0, merged.time_min_ms + begin,
                                          merged.time_min_ms + ends[part] - 1};
                for (uint32_t day = begin; day < ends[part]; day++) {
                    out.rows += by_day[day];
                }
                segs[count++] = out;
            }
            if (steps > 500) {
                fail_msg("seed %" PRIu64 ": no end", seed + trial);
            }
        }
    }
}

static void a_merge_changes_no_answer_and_leaves_no_file(void **state)
{
    (void)state;
    struct err err = {0};
    struct store_opts opts;
    struct store *store = NULL;
    struct dataset *dataset = NULL;
    struct io *io = NULL;
    struct recovery_report report;
    char dir[64];
    enum { K = 8000 };
    static uint8_t counts[K];
    memset(counts, 1, sizeof(counts));
    live_dir_make(dir);
    store_opts_default(&opts);
    opts.fresh.dedup_window_ms = 0; /* arrivals are of long ago */
    opts.io_kind = IO_POSIX;
    opts.block_cache_bytes = 16u << 20;
    opts.compact_in_background = false;
    assert_ok(io_create(IO_POSIX, &io, &err));
    assert_ok(store_open(dir, &opts, &store, &report, &err));
    assert_ok(store_dataset(store, STR("shop"), true, &dataset, &err));
    for (uint32_t k = 0; k < K; k += 500) {
        assert_ok(live_ingest(dataset, k, 500, io, &err));
        assert_ok(dataset_flush(dataset, &err));
    }
    uint64_t before = dataset_stats(dataset).segments;
    dataset->limits.block_rows = 20;
    assert_ok(live_check_dataset(dataset, counts, K, io, &err));
    assert_ok(dataset_compact(dataset, NULL, &err));
    struct dataset_stats stats = dataset_stats(dataset);
    assert_true(stats.segments < before / 2);
    assert_true(stats.segments > SHARD_COUNT); /* cut by time as well */
    assert_int_equal(stats.rows, K);
    assert_ok(live_check_dataset(dataset, counts, K, io, &err));
    uint64_t done = stats.compactions;
    assert_ok(dataset_compact(dataset, NULL, &err));
    assert_int_equal(dataset_stats(dataset).compactions, done);
    const _Atomic bool cancel = true;
    dataset->limits.block_rows = BLOCK_ROWS;
    assert_fails(dataset_compact(dataset, &cancel, &err), ERR_CANCELLED, "cancelled");
    assert_ok(dataset_compact(dataset, NULL, &err));
    assert_true(dataset_stats(dataset).segments <= SHARD_COUNT); /* a shard may hold nobody */
    assert_ok(store_close(store, &err));
    assert_ok(store_open(dir, &opts, &store, &report, &err));
    assert_int_equal(report.orphan_files, 0);
    assert_ok(store_dataset(store, STR("shop"), false, &dataset, &err));
    assert_ok(live_check_dataset(dataset, counts, K, io, &err));
    store_abandon(store);
    io_free(io);
    live_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_merges_with_nothing),
        cmocka_unit_test(on_request_small_neighbours_become_one),
        cmocka_unit_test(settled_segments_that_do_not_overlap_are_left),
        cmocka_unit_test(in_the_background_four_alike_merge_and_three_wait),
        cmocka_unit_test(cuts_are_whole_days_of_at_least_four_blocks),
        cmocka_unit_test(merging_ends_and_a_second_time_does_nothing),
        cmocka_unit_test(a_merge_changes_no_answer_and_leaves_no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
