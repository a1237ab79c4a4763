/* tests/unit/storage/test_compaction.c - tests of storage/compaction.c: the plan by its rules, and that a
 * merge changes no answer. */
#include "tests/support/claims.h"

#include "storage/base/rng.h"
#include "storage/base/size.h"
#include "storage/dataset_int.h"
#include "tests/support/live_events.h"

#include <unistd.h>

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

static void a_wide_segment_of_late_events_leaves_the_days_below_it(void **state)
{
    (void)state;
    uint32_t idx[16];
    struct compact_seg segs[11] = {{70, 0, 99}}; /* late events of all days */
    for (uint32_t day = 0; day < 10; day++) {
        segs[1 + day] = (struct compact_seg){80, day * 10, day * 10 + 9};
    }
    assert_int_equal(compact_plan(segs, 11, &small, false, idx), 0);
    assert_int_equal(compact_waiting(segs, 11, &small), 0);
}

static void only_what_is_as_wide_and_lies_over_one_moment_is_a_heap(void **state)
{
    (void)state;
    uint32_t idx[16];
    struct compact_seg segs[] = {{70, 0, 99},  {70, 0, 49},   {80, 10, 19}, {80, 20, 29},
                                 {70, 25, 99}, {900, 28, 90}, {70, 30, 60}, {70, 50, 99}};
    assert_int_equal(compact_plan(segs, 8, &small, false, idx), 4);
    assert_int_equal(idx[0], 0); /* over 30: not the days, nor the one of another class */
    assert_int_equal(idx[1], 1);
    assert_int_equal(idx[2], 4);
    assert_int_equal(idx[3], 6);
    assert_int_equal(compact_waiting(segs, 8, &small), 2); /* the fourth over 30, and over 50 */
}

/* The segments by time_min, as a shard lists them. */
static void sort_segs(struct compact_seg *segs, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        for (uint32_t k = i; k > 0 && segs[k - 1].time_min_ms > segs[k].time_min_ms; k--) {
            struct compact_seg swap = segs[k];
            segs[k] = segs[k - 1];
            segs[k - 1] = swap;
        }
    }
}

/* What a merge would make of them, a day being a millisecond and rows spread evenly over it. Returns the count. */
static uint32_t merge_segs(struct compact_seg *segs, uint32_t count, const uint32_t *idx,
                           uint32_t chosen)
{
    struct compact_seg merged = segs[idx[0]];
    for (uint32_t i = 1; i < chosen; i++) {
        merged.rows += segs[idx[i]].rows;
        merged.time_max_ms = MAX_OF(merged.time_max_ms, segs[idx[i]].time_max_ms);
    }
    assert_true(merged.rows <= 1024);
    for (uint32_t i = chosen; i-- > 0;) {
        memmove(&segs[idx[i]], &segs[idx[i] + 1], (--count - idx[i]) * sizeof(segs[0]));
    }
    uint32_t by_day[100];
    uint32_t ends[100];
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
    return count;
}

/* Goal: compacting ends, nothing exceeds 64 blocks, and a second time does nothing: on request, in the background,
 * and in the background after it was done on request. Method: random lists of segments, merges simulated. */
static void merging_ends_and_a_second_time_does_nothing(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    for (uint64_t trial = 0; trial < 4000; trial++) {
        struct rng rng = rng_init(seed + trial);
        static struct compact_seg segs[1024];
        uint32_t count = 1 + (uint32_t)rng_below(&rng, 40);
        for (uint32_t i = 0; i < count; i++) {
            int64_t begin = (int64_t)rng_below(&rng, 30);
            segs[i] =
                (struct compact_seg){1 + rng_below(&rng, rng_below(&rng, 2) ? 30 : 900), begin,
                                     begin + (int64_t)rng_below(&rng, trial % 2 ? 5 : 60)};
        }
        const bool is_full[] = {trial % 3 == 0, trial % 3 != 0, false};
        for (uint32_t round = 0; round < COUNT_OF(is_full); round++) {
            uint32_t idx[1024];
            for (uint32_t steps = 0;; steps++) {
                sort_segs(segs, count);
                uint32_t chosen = compact_plan(segs, count, &small, is_full[round], idx);
                if (chosen == 0) {
                    break;
                }
                assert_true(is_full[round] || chosen >= 4);
                count = merge_segs(segs, count, idx, chosen);
                if (steps > 500) {
                    fail_msg("seed %" PRIu64 ", round %u: no end", seed + trial, round);
                }
            }
            if (!is_full
                    [round]) { /* three of each class of small sizes, and no heap but what is too large */
                assert_true(compact_waiting(segs, count, &small) <= 4 * 3 + count / 4);
            }
        }
    }
}

/* A segment by its rows of each day. */
#define DAYS 90u
struct day_seg {
    uint32_t rows[DAYS];
};

static struct compact_seg seg_of(const struct day_seg *days)
{
    struct compact_seg seg = {0, INT64_MAX, INT64_MIN};
    for (uint32_t day = 0; day < DAYS; day++) {
        if (days->rows[day] > 0) {
            seg.rows += days->rows[day];
            seg.time_min_ms = MIN_OF(seg.time_min_ms, (int64_t)day);
            seg.time_max_ms = day;
        }
    }
    return seg;
}

static int by_begin(const void *a, const void *b)
{
    int64_t x = seg_of(a).time_min_ms;
    int64_t y = seg_of(b).time_min_ms;
    return (x > y) - (x < y);
}

static struct day_seg days_of(const struct day_seg *from, uint32_t begin, uint32_t end)
{
    struct day_seg out = {0};
    memcpy(out.rows + begin, from->rows + begin, (end - begin) * sizeof(out.rows[0]));
    return out;
}

/* One merge of the background, as compaction does it; returns its rows, 0 where none is due. */
static uint64_t merge_days(struct day_seg *days, uint32_t *count)
{
    struct compact_seg segs[400];
    uint32_t idx[400];
    uint32_t ends[DAYS];
    assert_true(*count < COUNT_OF(segs));
    qsort(days, *count, sizeof(*days), by_begin);
    for (uint32_t i = 0; i < *count; i++) {
        segs[i] = seg_of(&days[i]);
    }
    uint32_t chosen = compact_plan(segs, *count, &small, false, idx);
    struct day_seg sum = {0};
    for (uint32_t i = chosen; i-- > 0;) {
        for (uint32_t day = 0; day < DAYS; day++) {
            sum.rows[day] += days[idx[i]].rows[day];
        }
        memmove(&days[idx[i]], &days[idx[i] + 1], (--*count - idx[i]) * sizeof(*days));
    }
    struct compact_seg all = seg_of(&sum);
    if (all.rows == 0) {
        return 0;
    }
    uint32_t first = (uint32_t)all.time_min_ms;
    uint32_t span = (uint32_t)all.time_max_ms + 1 - first;
    uint32_t late = compact_late_days(sum.rows + first, span, &small);
    if (late > 0) {
        days[(*count)++] = days_of(&sum, first, first + late);
    }
    first += late;
    uint32_t parts = compact_cuts(sum.rows + first, span - late, &small, ends);
    for (uint32_t part = 0, begin = first; part < parts; begin = first + ends[part++]) {
        days[(*count)++] = days_of(&sum, begin, first + ends[part]);
    }
    return all.rows;
}

/* Goal: late events anywhere in time are cheap: what the background writes is a small multiple of what arrives, and
 * few segments lie over one moment. Method: a quarter of a year of arrival, simulated; one row of 25 belongs
 * to any day before. */
static void late_events_cost_a_small_multiple(void **state)
{
    (void)state;
    struct rng rng = rng_init(test_seed());
    static struct day_seg days[400];
    uint32_t count = 0;
    uint64_t arrived = 0;
    uint64_t written = 0;
    uint32_t deepest = 0;
    for (uint32_t today = 0; today < DAYS; today++) {
        for (uint32_t flush = 0; flush < 16; flush++) {
            memset(&days[count], 0, sizeof(days[0]));
            for (uint32_t row = 0; row < 12; row++) {
                bool is_late = rng_below(&rng, 25) == 0;
                days[count].rows[is_late ? rng_below(&rng, today + 1) : today]++;
            }
            count++;
            arrived += 12;
            for (uint64_t rows = 1; rows > 0; written += rows) {
                rows = merge_days(days, &count);
            }
        }
        uint32_t depth = 0;
        for (uint32_t i = 0; i < count; i++) {
            struct compact_seg seg = seg_of(&days[i]);
            depth += seg.time_min_ms <= today / 2 && seg.time_max_ms >= today / 2;
        }
        deepest = MAX_OF(deepest, depth);
    }
    double amplification = (double)(arrived + written) / (double)arrived;
    print_message(
        "%.2f bytes written for one that arrives, %u segments, at most %u over one moment\n",
        amplification, count, deepest);
    assert_true(amplification < 4);
    assert_true(deepest <= 20);
}

/* Goal: segments that wait to be merged are bounded, for whoever sends is told to wait. Method: the compaction
 * thread is held up by its lock. */
static void who_sends_waits_where_compaction_is_behind(void **state)
{
    (void)state;
    struct err err = {0};
    struct store_opts opts;
    struct store *store = NULL;
    struct dataset *dataset = NULL;
    struct io *io = NULL;
    struct recovery_report report;
    char dir[64];
    live_dir_make(dir);
    store_opts_default(&opts);
    assert_int_equal(opts.backlog_max, 512);
    opts.io_kind = IO_POSIX;
    opts.backlog_max = 5;
    assert_ok(io_create(IO_POSIX, &io, &err));
    assert_ok(store_open(dir, &opts, &store, &report, &err));
    assert_ok(store_dataset(store, STR("shop"), true, &dataset, &err));
    pthread_mutex_lock(&dataset->compact_lock);
    uint32_t k = 0;
    for (; k < 6 * 500; k += 500) {
        assert_ok(live_ingest(dataset, k, 500, io, &err));
        assert_ok(dataset_flush(dataset, &err));
    }
    assert_int_equal(dataset_stats(dataset).waiting_segments, 6);
    assert_fails(live_ingest(dataset, k, 500, io, &err), ERR_BUSY,
                 "compaction is behind: 6 segments of one shard wait to be merged, at most 5");
    assert_int_equal(dataset_stats(dataset).behind, 1);
    assert_ok(store_health(store, &err)); /* it is a matter of time */
    pthread_mutex_unlock(&dataset->compact_lock);
    enum err_code code = ERR_BUSY;
    for (uint32_t wait = 0; code == ERR_BUSY && wait < 10000; wait++) {
        code = live_ingest(dataset, k, 500, io, &err);
        usleep(1000);
    }
    assert_int_equal(code, ERR_OK);
    assert_true(dataset_stats(dataset).waiting_segments <= 5);
    assert_ok(store_close(store, &err));
    opts.compact_in_background = false; /* then there is nothing to wait for */
    opts.backlog_max = 0;
    assert_ok(store_open(dir, &opts, &store, &report, &err));
    assert_ok(store_dataset(store, STR("shop"), false, &dataset, &err));
    assert_true(dataset_stats(dataset).waiting_segments > 0);
    assert_ok(live_ingest(dataset, k + 500, 10, io, &err));
    store_abandon(store);
    io_free(io);
    live_dir_remove(dir);
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
    assert_true(stats.flushed_bytes > 0 && stats.rewritten_bytes > 0);
    /* Each was merged once, but for a shard that chance makes uneven. */
    assert_true(stats.rewritten_bytes >= stats.segment_bytes &&
                stats.rewritten_bytes < stats.segment_bytes * 3 / 2);
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
        cmocka_unit_test(a_wide_segment_of_late_events_leaves_the_days_below_it),
        cmocka_unit_test(only_what_is_as_wide_and_lies_over_one_moment_is_a_heap),
        cmocka_unit_test(late_events_cost_a_small_multiple),
        cmocka_unit_test(who_sends_waits_where_compaction_is_behind),
        cmocka_unit_test(merging_ends_and_a_second_time_does_nothing),
        cmocka_unit_test(a_merge_changes_no_answer_and_leaves_no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
