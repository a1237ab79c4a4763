/* tests/unit/storage/test_clock.c - the commit clock: what storage/dataset_int.h says of dataset_next_clock. */
#include "tests/support/claims.h"

#include "storage/dataset_int.h"
#include "tests/support/live_events.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static int64_t wall_now_ms;

static int64_t wall_ms(void)
{
    return wall_now_ms;
}

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
    b->opts.wall_ms = wall_ms;
    wall_now_ms = LIVE_ARRIVAL_MS + 5000;
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

static int64_t clock_of(struct live_store *b)
{
    return dataset_stats(b->dataset).commit_ms;
}

static void put(struct live_store *b, int64_t arrival_ms, const char *id, const char *user,
                enum receipt_status want)
{
    struct err err = {0};
    struct batch_builder builder;
    struct event *event = NULL;
    assert_ok(batch_begin(NULL, arrival_ms, &builder, &err));
    assert_ok(batch_event(&builder, &event, &err));
    event->event_id = str_of(id);
    event->name = STR("view");
    event->user_id = str_of(user);
    event->time_ms = LIVE_ARRIVAL_MS - 100000;
    assert_ok(dataset_ingest(b->dataset, builder.batch, b->io, &err));
    assert_int_equal(event->status, want);
    event_batch_free(builder.batch);
}

/* The arrivals of all rows, ascending, as "1 2 5". */
static void assert_arrivals(struct live_store *b, const char *want)
{
    struct err err = {0};
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    struct read_ctx ctx = {.arena = arena, .io = b->io};
    struct snapshot *snapshot = NULL;
    bool has[100] = {false};
    char got[512] = "";
    assert_ok(dataset_snapshot(b->dataset, &snapshot, &err));
    for (uint32_t i = 0; i < snapshot->source_count; i++) {
        struct vec vec = {0};
        assert_ok(source_read(snapshot->sources[i], &ctx, COL_ARRIVAL, 0, &vec, &err));
        for (uint32_t row = 0; row < vec.rows; row++) {
            assert_in_range(vec.i64[row] - LIVE_ARRIVAL_MS, 0, COUNT_OF(has) - 1);
            assert_false(has[vec.i64[row] - LIVE_ARRIVAL_MS]);
            has[vec.i64[row] - LIVE_ARRIVAL_MS] = true;
        }
    }
    for (size_t at = 0, len = 0; at < COUNT_OF(has); at++) {
        if (has[at]) {
            len += (size_t)snprintf(got + len, sizeof(got) - len, "%s%zu", len > 0 ? " " : "", at);
        }
    }
    snapshot_unpin(snapshot);
    assert_string_equal(got, want);
}

static void every_commit_has_a_clock_of_its_own(void **state)
{
    struct live_store *b = *state;
    assert_int_equal(clock_of(b), 0);
    put(b, LIVE_ARRIVAL_MS + 10, "a", "u", RECEIPT_ACCEPTED);
    assert_int_equal(clock_of(b), LIVE_ARRIVAL_MS + 10); /* when it came to the door */
    put(b, LIVE_ARRIVAL_MS + 10, "b", "u", RECEIPT_ACCEPTED);
    put(b, LIVE_ARRIVAL_MS + 3, "c", "u", RECEIPT_ACCEPTED); /* a clock that was put back */
    put(b, LIVE_ARRIVAL_MS + 20, "d", "u", RECEIPT_ACCEPTED);
    assert_int_equal(clock_of(b), LIVE_ARRIVAL_MS + 20);
    assert_arrivals(b, "10 11 12 20");
}

static void retries_move_nothing(void **state)
{
    struct live_store *b = *state;
    put(b, LIVE_ARRIVAL_MS + 10, "a", "u", RECEIPT_ACCEPTED);
    put(b, LIVE_ARRIVAL_MS + 30, "a", "u", RECEIPT_DUPLICATE);
    assert_int_equal(clock_of(b), LIVE_ARRIVAL_MS + 10);
}

static void groups_that_fly_one_after_another_have_their_own(void **state)
{
    struct live_store *b = *state;
    struct err err = {0};
    struct event_batch *batches[LIVE_BURST_MAX];
    enum err_code codes[LIVE_BURST_MAX];
    struct err errs[LIVE_BURST_MAX];
    for (uint32_t i = 0; i < LIVE_BURST_MAX; i++) {
        assert_ok(live_batch(i, 1, &batches[i], &err));
    }
    live_burst(b->dataset, batches, LIVE_BURST_MAX, b->io, codes, errs);
    for (uint32_t i = 0; i < LIVE_BURST_MAX; i++) {
        assert_ok(codes[i]);
        event_batch_free(batches[i]);
    }
    uint64_t commits = dataset_stats(b->dataset).commits;
    assert_true(commits > 1);
    assert_int_equal(clock_of(b), LIVE_ARRIVAL_MS + (int64_t)commits - 1);
}

static void a_crash_keeps_clock_and_arrivals(void **state)
{
    struct live_store *b = *state;
    struct err err = {0};
    put(b, LIVE_ARRIVAL_MS + 10, "a", "u", RECEIPT_ACCEPTED);
    put(b, LIVE_ARRIVAL_MS + 10, "b", "v", RECEIPT_ACCEPTED);
    store_abandon(TAKE(b->store));
    open_store(b);
    assert_int_equal(clock_of(b), LIVE_ARRIVAL_MS + 11);
    assert_arrivals(b, "10 11");
    put(b, LIVE_ARRIVAL_MS, "c", "u", RECEIPT_ACCEPTED);
    assert_ok(dataset_flush(b->dataset, &err));
    store_abandon(TAKE(b->store));
    open_store(b); /* nothing is left in the log */
    assert_int_equal(clock_of(b), LIVE_ARRIVAL_MS + 12);
    assert_arrivals(b, "10 11 12");
}

static void acts_and_deletions_are_commits(void **state)
{
    struct live_store *b = *state;
    struct err err = {0};
    uint32_t shard = 0;
    uint32_t subject = 0;
    put(b, LIVE_ARRIVAL_MS, "a", "u", RECEIPT_ACCEPTED);
    put(b, LIVE_ARRIVAL_MS, "b", "v", RECEIPT_ACCEPTED);
    assert_ok(dataset_merge_user(b->dataset, STR("v"), STR("u"), &err));
    assert_int_equal(clock_of(b), LIVE_ARRIVAL_MS + 5000); /* of the wall */
    assert_true(dataset_find_stored(b->dataset, STR("v"), &shard, &subject));
    assert_ok(dataset_delete_subject(b->dataset, shard, subject, &err));
    assert_int_equal(clock_of(b), LIVE_ARRIVAL_MS + 5001);
    store_abandon(TAKE(b->store));
    open_store(b);
    assert_int_equal(clock_of(b), LIVE_ARRIVAL_MS + 5001);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_commit_has_a_clock_of_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(retries_move_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(groups_that_fly_one_after_another_have_their_own, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_crash_keeps_clock_and_arrivals, setup, teardown),
        cmocka_unit_test_setup_teardown(acts_and_deletions_are_commits, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
