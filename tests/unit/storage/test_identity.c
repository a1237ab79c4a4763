/* tests/unit/storage/test_identity.c - tests of storage/identity*.c and dataset_identity.c: whose events are, by example.
 * Random histories are prop_identity's. */
#include "tests/support/claims.h"

#include "storage/base/size.h"
#include "storage/dataset_int.h"
#include "tests/support/live_events.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static uint32_t next_event;

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
    next_event = 0;
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

static void put(struct live_store *b, int64_t time_ms, const char *user, const char *anonymous)
{
    struct err err = {0};
    struct batch_builder builder;
    struct event *event = NULL;
    char id[32];
    assert_ok(batch_begin(NULL, LIVE_ARRIVAL_MS, &builder, &err));
    assert_ok(batch_event(&builder, &event, &err));
    snprintf(id, sizeof(id), "e%" PRIu32, next_event++);
    assert_ok(arena_str(builder.batch->arena, str_of(id), &event->event_id, &err));
    event->name = STR("view");
    event->user_id = str_of(user);
    event->anonymous_id = str_of(anonymous);
    event->time_ms = LIVE_ARRIVAL_MS - 100000 + time_ms;
    assert_ok(dataset_ingest(b->dataset, builder.batch, b->io, &err));
    assert_int_equal(event->status, RECEIPT_ACCEPTED);
    event_batch_free(builder.batch);
}

/* The visible rows of whoever has the id; UINT64_MAX where nobody does. */
static uint64_t rows_of(struct live_store *b, const char *user, const char *anonymous)
{
    struct err err = {0};
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    struct read_ctx ctx = {.arena = arena, .io = b->io};
    struct snapshot *snapshot = NULL;
    uint32_t shard = 0;
    uint32_t subject = 0;
    uint64_t rows = 0;
    assert_ok(dataset_snapshot(b->dataset, &snapshot, &err));
    if (!dataset_find_subject(b->dataset, str_of(user), str_of(anonymous), &shard, &subject)) {
        snapshot_unpin(snapshot);
        return UINT64_MAX;
    }
    const roaring_bitmap_t *masked = snapshot->deleted[shard];
    for (uint32_t i = snapshot->shard_begin[shard]; i < snapshot->shard_begin[shard + 1]; i++) {
        uint32_t begin = 0;
        uint32_t end = 0;
        assert_ok(source_subject_row(snapshot->sources[i], &ctx, subject, &begin, &err));
        assert_ok(source_subject_row(snapshot->sources[i], &ctx, subject + 1, &end, &err));
        rows += end - begin;
    }
    if (masked != NULL && roaring_bitmap_contains(masked, subject)) {
        rows = 0;
    }
    snapshot_unpin(snapshot);
    return rows;
}

static void without_facts_nothing_is_kept(void **state)
{
    struct live_store *b = *state;
    put(b, 1, "u", "");
    put(b, 2, "", "w");
    assert_int_equal(rows_of(b, "u", ""), 1);
    assert_int_equal(rows_of(b, "", "w"), 1);
    assert_null(b->dataset->identity);
}

static void what_came_before_the_two_met_is_the_users_wherever_it_lies(void **state)
{
    struct live_store *b = *state;
    struct err err = {0};
    put(b, 1, "", "w");
    assert_ok(dataset_flush(b->dataset, &err));
    put(b, 2, "", "w");
    put(b, 3, "u", "w");
    assert_int_equal(rows_of(b, "u", ""), 3);
    assert_int_equal(rows_of(b, "", "w"), 3); /* by either id */
    put(b, 4, "", "w");
    assert_ok(dataset_flush(b->dataset, &err)); /* nobody has asked in between */
    put(b, 5, "", "w");
    assert_int_equal(rows_of(b, "u", ""), 5);
    store_abandon(TAKE(b->store));
    open_store(b);
    assert_int_equal(rows_of(b, "u", ""), 5);
    assert_ok(dataset_compact(b->dataset, NULL, &err));
    assert_ok(store_close(TAKE(b->store), &err));
    open_store(b);
    assert_int_equal(rows_of(b, "u", ""), 5);
}

static void a_shared_tablet_is_divided_by_login(void **state)
{
    struct live_store *b = *state;
    put(b, 50, "b", "tablet"); /* arrives first, was second */
    put(b, 10, "a", "tablet");
    put(b, 5, "", "tablet");  /* before the first login: a's */
    put(b, 49, "", "tablet"); /* a's */
    put(b, 50, "", "tablet"); /* b's, in the very instant */
    put(b, 99, "", "tablet"); /* b's */
    assert_int_equal(rows_of(b, "a", ""), 3);
    assert_int_equal(rows_of(b, "b", ""), 3);
    put(b, 70, "a", "tablet"); /* and again */
    assert_int_equal(rows_of(b, "a", ""), 5);
    assert_int_equal(rows_of(b, "b", ""), 2);
}

static void a_merge_that_is_undone_leaves_nothing(void **state)
{
    struct live_store *b = *state;
    struct err err = {0};
    put(b, 1, "a", "");
    put(b, 2, "b", "w");
    put(b, 3, "", "w");
    assert_ok(dataset_merge_user(b->dataset, STR("b"), STR("a"), &err));
    assert_int_equal(rows_of(b, "a", ""), 3);
    assert_int_equal(rows_of(b, "b", ""), 3);
    store_abandon(TAKE(b->store)); /* durable at once */
    open_store(b);
    assert_int_equal(rows_of(b, "a", ""), 3);
    assert_int_equal(dataset_merge_user(b->dataset, STR("a"), STR("b"), &err), ERR_INVALID);
    assert_int_equal(dataset_merge_user(b->dataset, STR("a"), STR("x"), &err), ERR_NOT_FOUND);
    assert_ok(dataset_unmerge_user(b->dataset, STR("b"), &err));
    assert_int_equal(rows_of(b, "a", ""), 1);
    assert_int_equal(rows_of(b, "b", ""), 2);
    assert_int_equal(dataset_unmerge_user(b->dataset, STR("b"), &err), ERR_INVALID);
    assert_int_equal(dataset_identity_stats(b->dataset).refused, 3);
}

static void a_user_id_of_nobody_counts_by_device(void **state)
{
    struct live_store *b = *state;
    struct err err = {0};
    put(b, 1, "-1", "w1");
    put(b, 2, "-1", "w2");
    put(b, 3, "-1", "");
    put(b, 4, "u", "w2");
    assert_ok(dataset_declare_nobody(b->dataset, STR("-1"), true, &err));
    assert_int_equal(rows_of(b, "", "w1"), 1);
    assert_int_equal(rows_of(b, "u", ""), 2);
    assert_int_equal(rows_of(b, "-1", ""), 0);
    put(b, 5, "-1", "w2");
    assert_int_equal(rows_of(b, "u", ""), 3);
    assert_ok(dataset_declare_nobody(b->dataset, STR("-1"), false, &err));
    assert_int_equal(rows_of(b, "-1", ""), 4);
    assert_int_equal(rows_of(b, "u", ""), 1);
}

static void who_is_deleted_does_not_come_back_by_a_binding(void **state)
{
    struct live_store *b = *state;
    struct err err = {0};
    uint32_t shard = 0;
    uint32_t subject = 0;
    put(b, 1, "", "w");
    assert_true(dataset_find_subject(b->dataset, STR(""), STR("w"), &shard, &subject));
    assert_ok(dataset_delete_subject(b->dataset, shard, subject, &err));
    put(b, 2, "u", "w");
    assert_int_equal(rows_of(b, "u", ""), 1);
    put(b, 3, "v", "x");
    put(b, 4, "", "x");
    assert_int_equal(rows_of(b, "v", ""), 2);
    assert_true(ids_find(b->dataset->ids, ID_ANONYMOUS, STR("x"), &shard, &subject));
    assert_ok(dataset_delete_subject(b->dataset, shard, subject, &err)); /* after it was shown */
    assert_int_equal(rows_of(b, "v", ""), 1);
}

static void rows_beyond_the_limit_are_an_error_and_never_a_wrong_answer(void **state)
{
    struct live_store *b = *state;
    struct err err = {0};
    struct snapshot *snapshot = NULL;
    b->store->opts.identity_bytes_max = 1;
    put(b, 1, "", "w");
    put(b, 2, "u", "w");
    assert_int_equal(dataset_snapshot(b->dataset, &snapshot, &err), ERR_LIMIT);
    assert_non_null(strstr(err.message, "bound ids"));
    assert_ok(dataset_flush(b->dataset, &err)); /* what is stored does not depend on it */
    identity_free(TAKE(b->dataset->identity));
    b->store->opts.identity_bytes_max = 1u << 20;
    assert_int_equal(rows_of(b, "u", ""), 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_facts_nothing_is_kept),
        TEST(what_came_before_the_two_met_is_the_users_wherever_it_lies),
        TEST(a_shared_tablet_is_divided_by_login),
        TEST(a_merge_that_is_undone_leaves_nothing),
        TEST(a_user_id_of_nobody_counts_by_device),
        TEST(who_is_deleted_does_not_come_back_by_a_binding),
        TEST(rows_beyond_the_limit_are_an_error_and_never_a_wrong_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
