/* tests/unit/storage/test_expiry.c - tests of storage/settings.c and storage/expiry.c: what an owner may
 * decide, and what leaves when. Answers are compared in tests/prop/prop_expiry.c. */
#include "tests/support/claims.h"

#include "storage/base/size.h"
#include "storage/dataset_int.h"
#include "storage/expiry.h"
#include "tests/support/folder_bench.h"

#include <dirent.h>

#define DAY_MS INT64_C(86400000)
#define K      2000u

static void close_and_open(struct bench *b)
{
    bench_close(b);
    bench_open(b);
}

static int setup(void **state)
{
    bench_setup(state);
    struct bench *b = *state;
    bench_stop_clock(b);
    bench_open(b);
    return 0;
}

static enum err_code expire_after(struct bench *b, uint64_t days, struct err *err)
{
    const struct settings_change change = {.has_expire_after = true,
                                           .to = {.expire_after_ms = days * SETTINGS_DAY_MS}};
    return dataset_configure(b->dataset, &change, err);
}

/* Events [0, k_count) that are not older are there, and nothing else. */
static void expect_since(struct bench *b, uint32_t k_count, int64_t since_ms)
{
    for (uint32_t k = 0; k < k_count; k++) {
        b->counts[k] = live_time(k) >= since_ms;
    }
    bench_expect_counts(b, k_count);
}

static uint64_t count_before(uint32_t k_count, int64_t time_ms)
{
    uint64_t count = 0;
    for (uint32_t k = 0; k < k_count; k++) {
        count += live_time(k) < time_ms;
    }
    return count;
}

/* ---- settings ---- */

static void the_border_is_the_begin_of_a_utc_day(void **state)
{
    (void)state;
    assert_int_equal(settings_expired_before(0, 12345), INT64_MIN);
    assert_int_equal(settings_expired_before(DAY_MS, 3 * DAY_MS), 2 * DAY_MS);
    assert_int_equal(settings_expired_before(DAY_MS, 3 * DAY_MS - 1), DAY_MS);
    assert_int_equal(settings_expired_before(DAY_MS + 1, 3 * DAY_MS), DAY_MS);
    assert_int_equal(settings_expired_before(SETTINGS_SPAN_MS_MAX, DAY_MS - 1), -36500 * DAY_MS);
    assert_int_equal(settings_expired_before(2 * DAY_MS, DAY_MS + 5), -DAY_MS);
}

static void spans_are_said_in_their_largest_whole_unit(void **state)
{
    (void)state;
    char text[SETTINGS_TEXT_BYTES];
    const struct {
        uint64_t ms;
        const char *text;
    } cases[] = {{90 * SETTINGS_DAY_MS, "90 days"},
                 {SETTINGS_DAY_MS, "1 day"},
                 {36 * 3600000, "36 hours"},
                 {90000, "90 seconds"},
                 {120000, "2 minutes"},
                 {1500, "1500 ms"},
                 {0, "0 ms"},
                 {UINT64_MAX, "18446744073709551615 ms"}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        settings_span_text(cases[i].ms, text);
        assert_string_equal(text, cases[i].text);
    }
}

static void spans_that_nobody_can_mean_are_refused(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    assert_fails(expire_after(b, 36501, &err), ERR_INVALID,
                 "expire_after: 36501 days; it is off, or from 1 day to 36500 days");
    struct settings_change change = {.has_expire_after = true,
                                     .to = {.expire_after_ms = DAY_MS - 1}};
    assert_fails(dataset_configure(b->dataset, &change, &err), ERR_INVALID,
                 "expire_after: 86399999 ms");
    change = (struct settings_change){.has_dedup_window = true, .to = {.dedup_window_ms = 999}};
    assert_fails(dataset_configure(b->dataset, &change, &err), ERR_INVALID, "dedup_window: 999 ms");
    change = (struct settings_change){.has_cold_after = true, .to = {.cold_after_ms = DAY_MS}};
    assert_fails(dataset_configure(b->dataset, &change, &err), ERR_INVALID, "\"cold-dir\"");
    change = (struct settings_change){.has_cold_after = true,
                                      .has_expire_after = true,
                                      .to = {.cold_after_ms = DAY_MS, .expire_after_ms = DAY_MS}};
    assert_fails(dataset_configure(b->dataset, &change, &err), ERR_INVALID,
                 "cold_after: 1 day, but events expire after 1 day");
    assert_int_equal(dataset_settings(b->dataset).expire_after_ms, 0);
}

static void settings_last_and_a_change_leaves_the_others(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    assert_int_equal(dataset_settings(b->dataset).dedup_window_ms, DEDUP_WINDOW_MS_DEFAULT);
    assert_ok(expire_after(b, 90, &err));
    const struct settings_change change = {.has_dedup_window = true, .to = {.dedup_window_ms = 0}};
    assert_ok(dataset_configure(b->dataset, &change, &err));
    close_and_open(b);
    assert_int_equal(dataset_settings(b->dataset).dedup_window_ms, 0);
    assert_int_equal(dataset_settings(b->dataset).expire_after_ms, 90 * DAY_MS);
    assert_int_equal(dataset_settings(b->dataset).cold_after_ms, 0);
}

/* ---- expiry ---- */

static void what_arrives_too_old_is_rejected_with_the_reason(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    struct event_batch *batch = NULL;
    assert_ok(expire_after(b, 60, &err));
    int64_t since_ms = dataset_expired_before(b->dataset);
    assert_ok(live_batch(0, 300, &batch, &err));
    batch->events[7].event_id = (struct str){0}; /* the writer gives it one, and then rejects it */
    assert_ok(dataset_ingest(b->dataset, batch, b->io, &err));
    uint32_t rejected = 0;
    for (uint32_t k = 0; k < 300; k++) {
        bool is_old = live_time(k) < since_ms;
        assert_int_equal(batch->events[k].status, is_old ? RECEIPT_REJECTED : RECEIPT_ACCEPTED);
        if (is_old) {
            assert_true(str_eq(batch->events[k].reason,
                               STR("event_time is older than the data set keeps (60 days)")));
        }
        rejected += is_old;
    }
    event_batch_free(batch);
    assert_true(rejected > 0 && rejected < 300);
    assert_int_equal(dataset_stats(b->dataset).rejected, rejected);
}

static void segments_older_as_a_whole_are_dropped_and_their_files_go(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    bool did = false;
    assert_ok(live_ingest(b->dataset, 0, K, b->io, &err));
    assert_ok(dataset_flush(b->dataset, &err));
    uint32_t files = segment_files(b->data);
    assert_true(files > 8);
    assert_ok(expire_after(b, 90, &err));
    bench_clock_ms += 300 * DAY_MS;
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    assert_ok(dataset_snapshot(b->dataset, &snapshot, &err));
    assert_int_equal(snapshot->source_count, 0); /* masked before anything is done */
    assert_ok(expiry_step(b->dataset, false, b->io, &did, &err));
    assert_true(did);
    struct dataset_stats stats = dataset_stats(b->dataset);
    assert_int_equal(stats.segments, 0);
    assert_int_equal(stats.expired_segments, files);
    assert_int_equal(stats.expired_rows, K);
    assert_int_equal(segment_files(b->data), 0);
    assert_ok(expiry_step(b->dataset, false, b->io, &did, &err));
    assert_false(did);
    close_and_open(b);
    assert_int_equal(b->report.orphan_files, 0);
    assert_int_equal(b->report.segments, 0);
}

static void a_pinned_snapshot_keeps_what_is_dropped_after_it(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    bool did = false;
    assert_ok(live_ingest(b->dataset, 0, K, b->io, &err));
    assert_ok(dataset_flush(b->dataset, &err));
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    assert_ok(dataset_snapshot(b->dataset, &snapshot, &err));
    assert_ok(expire_after(b, 1, &err));
    assert_ok(expiry_step(b->dataset, false, b->io, &did, &err));
    assert_int_equal(segment_files(b->data), 0);
    memset(b->counts, 1, sizeof(b->counts));
    assert_ok(live_check(snapshot, b->counts, K, b->io, &err));
    expect_since(b, K, INT64_MAX);
}

static uint64_t rows_of_segments(struct bench *b, uint64_t first_number)
{
    uint64_t rows = 0;
    struct version *version = version_pin(b->dataset);
    for (uint32_t i = 0; i < version->seg_count; i++) {
        const struct catalog_segment *meta = &version->segs[i]->meta;
        rows += meta->number >= first_number ? meta->row_count : 0;
    }
    version_unref(version);
    return rows;
}

/* Goal: the work of a rewrite is bounded by what it frees. Method: the border moves a day at a time; a segment
 * is rewritten on days when a third of its rows is expired, and the rows written in all are few. */
static void a_third_must_be_expired_before_a_segment_is_rewritten(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    assert_ok(live_ingest(b->dataset, 0, K, b->io, &err));
    assert_ok(dataset_flush(b->dataset, &err));
    assert_ok(dataset_compact(b->dataset, NULL, &err));
    const struct dataset_stats begin = dataset_stats(b->dataset);
    assert_ok(expire_after(b, 90, &err));
    expiry_if_due(b->dataset, b->io);
    assert_int_equal(dataset_stats(b->dataset).compactions, begin.compactions); /* a tenth only */
    uint64_t written = 0;
    for (uint32_t day = 0; day < 60; day++) {
        uint64_t first_new = b->dataset->row.next_segment;
        bench_clock_ms += DAY_MS;
        expiry_if_due(b->dataset, b->io);
        written += rows_of_segments(b, first_new);
        expect_since(b, K, dataset_expired_before(b->dataset));
        struct dataset_stats stats = dataset_stats(b->dataset);
        assert_string_equal(stats.last_error, "");
        /* what is masked is less than a third of each segment */
        uint64_t kept = K - count_before(K, dataset_expired_before(b->dataset));
        assert_true(stats.rows * 2 <= kept * 3);
        assert_true(stats.rows + stats.expired_rows == K);
    }
    struct dataset_stats stats = dataset_stats(b->dataset);
    assert_int_equal(stats.rows, 0);
    assert_int_equal(stats.expired_rows, K);
    assert_true(stats.expired_segments > 0);
    print_message("%" PRIu64 " rewrites in 60 days wrote %.2f rows for each that left\n",
                  stats.compactions - begin.compactions, (double)written / K);
    assert_true(written <= 5 * K / 2);
}

static void what_was_logged_and_expired_since_is_replayed_and_then_left_out(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    assert_ok(expire_after(b, 110, &err));
    assert_ok(live_ingest(b->dataset, 0, 500, b->io, &err));
    store_abandon(b->store);
    bench_clock_ms += 40 * DAY_MS;
    bench_open(b);
    assert_int_equal(b->report.wal_events, 500);
    int64_t since_ms = dataset_expired_before(b->dataset);
    uint64_t expired = count_before(500, since_ms);
    assert_true(expired > 0 && expired < 500);
    expect_since(b, 500, since_ms);
    assert_ok(dataset_flush(b->dataset, &err));
    expect_since(b, 500, since_ms);
    assert_int_equal(dataset_stats(b->dataset).rows, 500 - expired);
    assert_int_equal(dataset_stats(b->dataset).expired_rows, expired);
    bench_clock_ms += 200 * DAY_MS;
    close_and_open(b); /* nothing is left to write, and that is no failure */
    expect_since(b, 500, INT64_MAX);
}

static void a_longer_expiry_brings_back_what_was_masked_and_not_what_is_gone(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    bool did = false;
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    assert_ok(live_ingest(b->dataset, 0, 1000, b->io, &err));
    assert_ok(dataset_flush(b->dataset, &err));
    /* Masked only: `expiry_if_due` might rewrite a shard that chance gave few rows, for users lie in other shards in each folder. */
    assert_ok(expire_after(b, 90, &err));
    expect_since(b, 1000, dataset_expired_before(b->dataset));
    assert_ok(expire_after(b, 200, &err));
    expect_since(b, 1000, INT64_MIN);
    assert_ok(expire_after(b, 80, &err));
    assert_ok(dataset_compact(b->dataset, NULL, &err)); /* on request all of it goes */
    int64_t gone_ms = dataset_expired_before(b->dataset);
    assert_int_equal(dataset_stats(b->dataset).expired_rows, count_before(1000, gone_ms));
    assert_ok(expire_after(b, 200, &err));
    expect_since(b, 1000, gone_ms);
    assert_ok(expiry_step(b->dataset, true, b->io, &did, &err));
    assert_false(did);
    assert_ok(expire_after(b, 0, &err));
    close_and_open(b); /* what is gone is said even so */
    assert_ok(dataset_snapshot(b->dataset, &snapshot, &err));
    assert_int_equal(snapshot->expired_before_ms, INT64_MIN);
    assert_int_equal(snapshot->history_from_ms, gone_ms);
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_border_is_the_begin_of_a_utc_day),
        cmocka_unit_test(spans_are_said_in_their_largest_whole_unit),
        CLAIM(spans_that_nobody_can_mean_are_refused),
        CLAIM(settings_last_and_a_change_leaves_the_others),
        CLAIM(what_arrives_too_old_is_rejected_with_the_reason),
        CLAIM(segments_older_as_a_whole_are_dropped_and_their_files_go),
        CLAIM(a_pinned_snapshot_keeps_what_is_dropped_after_it),
        CLAIM(a_third_must_be_expired_before_a_segment_is_rewritten),
        CLAIM(what_was_logged_and_expired_since_is_replayed_and_then_left_out),
        CLAIM(a_longer_expiry_brings_back_what_was_masked_and_not_what_is_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
