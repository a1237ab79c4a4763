/* tests/unit/storage/test_dataset.c - tests of storage/dataset*.c: receipts, exactly once, snapshots, and
 * a random history against a counter per event. */
#include "tests/support/claims.h"

#include "storage/base/rng.h"
#include "storage/dataset_int.h"
#include "tests/support/live_events.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

static void open_store(struct live_store *b)
{
    struct err err = {0};
    assert_ok(live_store_open(b, &err));
}

static int setup(void **state)
{
    struct err err = {0};
    struct live_store *b = calloc(1, sizeof(*b));
    assert_ok(live_store_make(b, &err));
    b->opts.fresh.dedup_window_ms = 0; /* arrivals are of long ago */
    open_store(b);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct live_store *b = *state;
    live_store_end(b);
    free(b);
    return 0;
}

static void expect(struct live_store *b, const uint8_t *counts, uint32_t k_count)
{
    struct err err = {0};
    assert_ok(live_check_dataset(b->dataset, counts, k_count, b->io, &err));
}

static void an_empty_data_set_has_an_empty_snapshot(void **state)
{
    struct live_store *b = *state;
    struct err err = {0};
    struct snapshot *snapshot = NULL;
    assert_ok(dataset_snapshot(b->dataset, &snapshot, &err));
    assert_int_equal(snapshot->source_count, 0);
    assert_int_equal(snapshot->row_count, 0);
    assert_true(snapshot->time_min_ms > snapshot->time_max_ms);
    assert_true(snapshot->watermark_ms == INT64_MIN);
    snapshot_unpin(snapshot);
    assert_ok(dataset_flush(b->dataset, &err));
    assert_ok(dataset_compact(b->dataset, NULL, &err));
    assert_int_equal(dataset_stats(b->dataset).segments, 0);
}

static void retries_are_duplicates_whatever_else_they_say(void **state)
{
    struct live_store *b = *state;
    struct err err = {0};
    uint8_t counts[200];
    memset(counts, 1, sizeof(counts));
    assert_ok(live_ingest(b->dataset, 0, 200, b->io, &err));
    for (uint32_t round = 0; round < 3; round++) {
        struct batch_builder builder;
        assert_ok(batch_begin(NULL, LIVE_ARRIVAL_MS, &builder, &err));
        for (uint32_t k = 0; k < 200; k++) {
            assert_ok(live_add(&builder, k, true, &err));
        }
        assert_ok(dataset_ingest(b->dataset, builder.batch, b->io, &err));
        for (uint32_t k = 0; k < 200; k++) {
            assert_int_equal(builder.batch->events[k].status, RECEIPT_DUPLICATE);
        }
        event_batch_free(builder.batch);
        expect(b, counts, 200);
        if (round == 0) {
            assert_ok(dataset_flush(b->dataset, &err));
        } else {
            store_abandon(TAKE(b->store));
            open_store(b);
        }
    }
}

/* Goal: a group is told apart from the one that is being synced while it is gathered. Method: batches
 * that overlap by half, all in the queue at once, twice over, by both ways of file access. */
static void batches_that_are_in_flight_are_known(void **state)
{
    struct live_store *b = *state;
    struct err err = {0};
    enum { EACH = 100 };
    uint8_t counts[LIVE_BURST_MAX * EACH + EACH];
    memset(counts, 1, sizeof(counts));
    for (uint32_t round = 0; round < 2; round++) {
        struct event_batch *batches[LIVE_BURST_MAX];
        enum err_code codes[LIVE_BURST_MAX];
        struct err errs[LIVE_BURST_MAX];
        uint64_t commits = dataset_stats(b->dataset).commits;
        for (uint32_t i = 0; i < LIVE_BURST_MAX; i++) {
            assert_ok(live_batch(i * EACH, 2 * EACH, &batches[i], &err));
        }
        live_burst(b->dataset, batches, LIVE_BURST_MAX, b->io, codes, errs);
        for (uint32_t i = 0; i < LIVE_BURST_MAX; i++) {
            assert_int_equal(codes[i], ERR_OK);
            for (uint32_t k = 0; k < 2 * EACH; k++) {
                bool is_known = round > 0 || (i > 0 && k < EACH);
                assert_int_equal(batches[i]->events[k].status,
                                 is_known ? RECEIPT_DUPLICATE : RECEIPT_ACCEPTED);
            }
            event_batch_free(batches[i]);
        }
        assert_true(dataset_stats(b->dataset).commits > commits + 1); /* no single group */
        expect(b, counts, LIVE_BURST_MAX * EACH + EACH);
    }
    store_abandon(TAKE(b->store));
    open_store(b);
    expect(b, counts, LIVE_BURST_MAX * EACH + EACH);
}

static void a_batch_repeats_itself_only_once(void **state)
{
    struct live_store *b = *state;
    struct err err = {0};
    struct batch_builder builder;
    uint8_t counts[1] = {1};
    assert_ok(batch_begin(NULL, LIVE_ARRIVAL_MS, &builder, &err));
    for (uint32_t i = 0; i < 3; i++) {
        assert_ok(live_add(&builder, 0, false, &err));
    }
    assert_ok(dataset_ingest(b->dataset, builder.batch, b->io, &err));
    assert_int_equal(builder.batch->events[0].status, RECEIPT_ACCEPTED);
    assert_int_equal(builder.batch->events[1].status, RECEIPT_DUPLICATE);
    assert_int_equal(builder.batch->events[2].status, RECEIPT_DUPLICATE);
    event_batch_free(builder.batch);
    expect(b, counts, 1);
    struct dataset_stats stats = dataset_stats(b->dataset);
    assert_int_equal(stats.accepted, 1);
    assert_int_equal(stats.duplicates, 2);
}

static void an_event_without_an_id_gets_a_fresh_uuid(void **state)
{
    struct live_store *b = *state;
    struct err err = {0};
    struct batch_builder builder;
    assert_ok(batch_begin(NULL, LIVE_ARRIVAL_MS, &builder, &err));
    for (uint32_t i = 0; i < 2; i++) {
        struct event *event = NULL;
        assert_ok(batch_event(&builder, &event, &err));
        event->name = STR("x");
        event->user_id = STR("u");
        event->time_ms = LIVE_ARRIVAL_MS;
        batch_check_event(&builder, LIVE_ARRIVAL_MS);
    }
    assert_ok(dataset_ingest(b->dataset, builder.batch, b->io, &err));
    struct str first = builder.batch->events[0].event_id;
    struct str second = builder.batch->events[1].event_id;
    assert_int_equal(builder.batch->events[1].status, RECEIPT_ACCEPTED);
    assert_int_equal(first.len, 36);
    assert_int_equal(first.ptr[14], '4');
    assert_non_null(strchr("89ab", first.ptr[19]));
    assert_false(str_eq(first, second));
    event_batch_free(builder.batch);
}

static void one_bad_event_rejects_itself_and_no_other(void **state)
{
    struct live_store *b = *state;
    struct err err = {0};
    struct batch_builder builder;
    struct event *event = NULL;
    uint8_t counts[2] = {1, 1};
    assert_ok(batch_begin(NULL, LIVE_ARRIVAL_MS, &builder, &err));
    assert_ok(live_add(&builder, 0, false, &err));
    assert_ok(batch_event(&builder, &event, &err));
    event->name = STR("x");
    batch_check_event(&builder, LIVE_ARRIVAL_MS);
    assert_ok(live_add(&builder, 1, false, &err));
    assert_ok(dataset_ingest(b->dataset, builder.batch, b->io, &err));
    assert_int_equal(builder.batch->events[0].status, RECEIPT_ACCEPTED);
    assert_int_equal(builder.batch->events[1].status, RECEIPT_REJECTED);
    assert_true(str_eq(builder.batch->events[1].reason, STR("needs user_id or anonymous_id")));
    assert_int_equal(builder.batch->events[2].status, RECEIPT_ACCEPTED);
    event_batch_free(builder.batch);
    expect(b, counts, 2);
    assert_int_equal(dataset_stats(b->dataset).rejected, 1);
}

static void columns_beyond_the_limit_reject_their_events(void **state)
{
    struct live_store *b = *state;
    struct err err = {0};
    struct batch_builder builder;
    assert_ok(batch_begin(NULL, LIVE_ARRIVAL_MS, &builder, &err));
    for (uint32_t i = 0; i < SCHEMA_COLUMNS_MAX + 2; i++) {
        struct event *event = NULL;
        char name[32];
        struct prop prop = {.type = COL_BOOL};
        assert_ok(batch_event(&builder, &event, &err));
        event->name = STR("x");
        event->user_id = STR("u");
        event->time_ms = LIVE_ARRIVAL_MS;
        snprintf(name, sizeof(name), "p%u", i);
        assert_ok(batch_name(&builder, str_of(name), &prop.name_idx, &err));
        assert_ok(batch_prop(&builder, &prop, &err));
    }
    assert_ok(dataset_ingest(b->dataset, builder.batch, b->io, &err));
    assert_int_equal(builder.batch->events[SCHEMA_COLUMNS_MAX - 1].status, RECEIPT_ACCEPTED);
    assert_int_equal(builder.batch->events[SCHEMA_COLUMNS_MAX].status, RECEIPT_REJECTED);
    assert_int_equal(dataset_stats(b->dataset).rejected, 2);
    event_batch_free(builder.batch);
    store_abandon(TAKE(b->store));
    open_store(b);
    assert_int_equal(dataset_stats(b->dataset).rows, SCHEMA_COLUMNS_MAX);
}

static void a_snapshot_stays_as_it_was(void **state)
{
    struct live_store *b = *state;
    struct err err = {0};
    uint8_t counts[900];
    struct snapshot *old[3];
    memset(counts, 1, sizeof(counts));
    for (uint32_t i = 0; i < 3; i++) {
        assert_ok(live_ingest(b->dataset, i * 300, 300, b->io, &err));
        assert_ok(dataset_snapshot(b->dataset, &old[i], &err));
        if (i < 2) {
            assert_ok(dataset_flush(b->dataset, &err));
        }
    }
    assert_ok(dataset_compact(b->dataset, NULL, &err));
    for (uint32_t i = 0; i < 3; i++) {
        memset(counts, 0, sizeof(counts));
        memset(counts, 1, (i + 1) * 300);
        assert_int_equal(old[i]->row_count, (i + 1) * 300);
        assert_ok(live_check(old[i], counts, 900, b->io, &err));
        snapshot_unpin(old[i]);
    }
    expect(b, counts, 900);
}

static void a_deleted_subject_is_in_no_answer_and_its_rows_go(void **state)
{
    struct live_store *b = *state;
    struct err err = {0};
    uint8_t counts[500];
    char gone[32];
    char user[32];
    char anonymous[32];
    uint32_t shard = 0;
    uint32_t subject = 0;
    uint32_t kept = 0;
    assert_ok(live_ingest(b->dataset, 0, 500, b->io, &err));
    assert_ok(dataset_flush(b->dataset, &err));
    live_user(1, gone, anonymous);
    bool is_user = gone[0] != '\0';
    assert_true(dataset_find_subject(
        b->dataset, str_of(gone), is_user ? (struct str){0} : str_of(anonymous), &shard, &subject));
    assert_ok(dataset_delete_subject(b->dataset, shard, subject, &err));
    for (uint32_t k = 0; k < 500; k++) {
        live_user(k, user, anonymous);
        counts[k] = strcmp(user, gone) != 0;
        kept += counts[k];
    }
    assert_true(kept < 500);
    expect(b, counts, 500);
    assert_int_equal(dataset_stats(b->dataset).rows, 500);
    assert_ok(dataset_compact(b->dataset, NULL, &err));
    assert_int_equal(dataset_stats(b->dataset).rows, kept);
    expect(b, counts, 500);
    store_abandon(TAKE(b->store));
    open_store(b);
    expect(b, counts, 500);
    assert_fails(dataset_delete_subject(b->dataset, shard, 1000000, &err), ERR_NOT_FOUND,
                 "subject 1000000");
}

/* Goal: exactly once, whatever happens in between. Method: random batches with retries, flushes,
 * compactions with small limits, clean and unclean reopening, subjects' numbers checked throughout. */
static void a_random_history_equals_its_list_of_events(void **state)
{
    struct live_store *b = *state;
    struct err err = {0};
    enum { K = 30000 };
    uint64_t seed = test_seed();
    struct rng rng = rng_init(seed);
    uint8_t *counts = calloc(K, 1);
    uint32_t next = 0;
    b->dataset->limits.block_rows = 32;
    for (uint32_t step = 0; step < 120; step++) {
        uint64_t what = rng_below(&rng, 20);
        if (what < 12) {
            struct batch_builder builder;
            uint32_t fresh = (uint32_t)rng_below(&rng, 200);
            assert_ok(batch_begin(NULL, LIVE_ARRIVAL_MS, &builder, &err));
            for (uint32_t i = 0; i < fresh && next < K; i++) {
                bool is_retry = next > 0 && rng_below(&rng, 5) == 0;
                uint32_t k = is_retry ? (uint32_t)rng_below(&rng, next) : next++;
                assert_ok(live_add(&builder, k, is_retry, &err));
            }
            assert_ok(dataset_ingest(b->dataset, builder.batch, b->io, &err));
            for (uint32_t i = 0; i < builder.batch->event_count; i++) {
                uint32_t k = 0;
                assert_true(live_number(builder.batch->events[i].event_id, &k));
                enum receipt_status want = counts[k] ? RECEIPT_DUPLICATE : RECEIPT_ACCEPTED;
                assert_int_equal(builder.batch->events[i].status, want);
                counts[k] = 1;
            }
            event_batch_free(builder.batch);
        } else if (what < 15) {
            assert_ok(dataset_flush(b->dataset, &err));
        } else if (what < 17) {
            bool did = false;
            for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
                assert_ok(compaction_step(b->dataset, shard, false, b->io, &did, &err));
            }
        } else if (what == 17) {
            assert_ok(dataset_compact(b->dataset, NULL, &err));
        } else if (what == 18) {
            store_abandon(TAKE(b->store));
            open_store(b);
            b->dataset->limits.block_rows = 32;
        } else {
            struct store *store = TAKE(b->store);
            assert_ok(store_close(store, &err));
            open_store(b);
            b->dataset->limits.block_rows = 32;
        }
        if (live_check_dataset(b->dataset, counts, next, b->io, &err) != ERR_OK) {
            fail_msg("seed %" PRIu64 ", step %u: %s", seed, step, err.message);
        }
    }
    free(counts);
}

/* Many threads submit, one reads, one flushes: run under the thread sanitizer as well. */
struct crowd {
    struct live_store *b;
    uint32_t first, batches;
    _Atomic bool *stop;
    char why[256]; /* what went wrong; empty: nothing */
};

static void *ingest_many(void *arg)
{
    struct crowd *crowd = arg;
    struct err err = {0};
    struct io *io = NULL;
    if (io_create(IO_POSIX, &io, &err) != ERR_OK) {
        snprintf(crowd->why, sizeof(crowd->why), "no io");
        return NULL;
    }
    for (uint32_t i = 0; i < crowd->batches && crowd->why[0] == '\0'; i++) {
        if (live_ingest(crowd->b->dataset, crowd->first + i * 20, 20, io, &err) != ERR_OK) {
            snprintf(crowd->why, sizeof(crowd->why), "%.200s", err.message);
        }
    }
    io_free(io);
    return NULL;
}

static void *read_many(void *arg)
{
    struct crowd *crowd = arg;
    struct err err = {0};
    uint64_t rows = 0;
    while (!atomic_load(crowd->stop)) {
        struct snapshot *snapshot = NULL;
        if (dataset_snapshot(crowd->b->dataset, &snapshot, &err) != ERR_OK) {
            snprintf(crowd->why, sizeof(crowd->why), "no snapshot: %.200s", err.message);
            return NULL;
        }
        /* Batches of 20 become visible as a whole, and nothing vanishes. */
        bool is_wrong = snapshot->row_count % 20 != 0 || snapshot->row_count < rows;
        uint64_t now = snapshot->row_count;
        snapshot_unpin(snapshot);
        if (is_wrong) {
            snprintf(crowd->why, sizeof(crowd->why), "rows went from %" PRIu64 " to %" PRIu64, rows,
                     now);
            return NULL;
        }
        rows = now;
    }
    return NULL;
}

static void writers_readers_and_flushes_run_together(void **state)
{
    struct live_store *b = *state;
    struct err err = {0};
    enum { WRITERS = 4, BATCHES = 40 };
    _Atomic bool stop = false;
    pthread_t threads[WRITERS + 1];
    struct crowd crowds[WRITERS + 1];
    for (uint32_t i = 0; i <= WRITERS; i++) {
        crowds[i] = (struct crowd){b, i * BATCHES * 20, BATCHES, &stop, ""};
        pthread_create(&threads[i], NULL, i < WRITERS ? ingest_many : read_many, &crowds[i]);
    }
    for (uint32_t i = 0; i < 5; i++) {
        assert_ok(dataset_flush(b->dataset, &err));
        assert_ok(dataset_compact(b->dataset, NULL, &err));
        usleep(5000);
    }
    for (uint32_t i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
        assert_string_equal(crowds[i].why, "");
    }
    atomic_store(&stop, true);
    pthread_join(threads[WRITERS], NULL);
    assert_string_equal(crowds[WRITERS].why, "");
    uint8_t counts[WRITERS * BATCHES * 20];
    memset(counts, 1, sizeof(counts));
    expect(b, counts, sizeof(counts));
}

/* The linker sends fdatasync here: see meson.build. */
static _Atomic int syncs_to_fail;
int __wrap_fdatasync(int fd);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
    if (atomic_load(&syncs_to_fail) > 0) {
        atomic_fetch_sub(&syncs_to_fail, 1);
        errno = EIO;
        return -1;
    }
    return __real_fdatasync(fd);
}

static void a_failed_commit_acknowledges_nothing_and_stops_the_writer(void **state)
{
    struct live_store *b = *state;
    struct err err = {0};
    uint8_t counts[200] = {0};
    memset(counts, 1, 100);
    assert_ok(live_ingest(b->dataset, 0, 100, b->io, &err));
    atomic_store(&syncs_to_fail, 1);
    assert_int_equal(live_ingest(b->dataset, 100, 100, b->io, &err), ERR_IO);
    assert_fails(live_ingest(b->dataset, 100, 100, b->io, &err), ERR_IO, "takes no events");
    assert_fails(dataset_flush(b->dataset, &err), ERR_IO, "takes no events");
    assert_fails(store_health(b->store, &err), ERR_IO, "takes no events");
    expect(b, counts, 200);
    store_abandon(TAKE(b->store));
    open_store(b);
    /* The record may have reached the file: then it is there whole, and a retry is a duplicate. */
    uint64_t rows = dataset_stats(b->dataset).rows;
    assert_true(rows == 100 || rows == 200);
    struct event_batch *batch = NULL;
    assert_ok(live_batch(100, 100, &batch, &err));
    assert_ok(dataset_ingest(b->dataset, batch, b->io, &err));
    event_batch_free(batch);
    memset(counts, 1, 200);
    expect(b, counts, 200);
}

static void move_shards(const struct live_store *b, const char *from, const char *to)
{
    for (unsigned shard = 0; shard < SHARD_COUNT; shard++) {
        char path[128];
        char moved[128];
        snprintf(path, sizeof(path), "%s/shop/%s-%02u", b->dir, from, shard);
        snprintf(moved, sizeof(moved), "%s/shop/%s-%02u", b->dir, to, shard);
        assert_int_equal(rename(path, moved), 0);
    }
}

static void a_failed_flush_keeps_the_rows_and_is_retried(void **state)
{
    struct live_store *b = *state;
    struct err err = {0};
    uint8_t counts[300];
    memset(counts, 1, sizeof(counts));
    assert_ok(live_ingest(b->dataset, 0, 200, b->io, &err));
    /* The folders are away, of every shard: which of them has rows is up to the random seed. */
    move_shards(b, "shard", "away");
    assert_int_not_equal(dataset_flush(b->dataset, &err), ERR_OK);
    assert_non_null(strstr(err.message, "shard-"));
    assert_int_not_equal(store_health(b->store, &err), ERR_OK);
    expect(b, counts, 200);
    assert_ok(live_ingest(b->dataset, 200, 100, b->io, &err));
    expect(b, counts, 300);
    move_shards(b, "away", "shard");
    assert_ok(dataset_flush(b->dataset, &err));
    assert_ok(store_health(b->store, &err));
    assert_int_equal(dataset_stats(b->dataset).memtable_rows, 0);
    expect(b, counts, 300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_empty_data_set_has_an_empty_snapshot, setup, teardown),
        cmocka_unit_test_setup_teardown(retries_are_duplicates_whatever_else_they_say, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(batches_that_are_in_flight_are_known, setup, teardown),
        cmocka_unit_test_setup_teardown(a_batch_repeats_itself_only_once, setup, teardown),
        cmocka_unit_test_setup_teardown(an_event_without_an_id_gets_a_fresh_uuid, setup, teardown),
        cmocka_unit_test_setup_teardown(one_bad_event_rejects_itself_and_no_other, setup, teardown),
        cmocka_unit_test_setup_teardown(columns_beyond_the_limit_reject_their_events, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_snapshot_stays_as_it_was, setup, teardown),
        cmocka_unit_test_setup_teardown(a_deleted_subject_is_in_no_answer_and_its_rows_go, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_random_history_equals_its_list_of_events, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(writers_readers_and_flushes_run_together, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failed_commit_acknowledges_nothing_and_stops_the_writer,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_failed_flush_keeps_the_rows_and_is_retried, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
