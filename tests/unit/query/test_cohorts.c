/* tests/unit/query/test_cohorts.c - saved cohorts: live and static, made of others, left out, kept over a restart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/base/size.h"
#include "tests/support/live_events.h"
#include "tests/support/shop.h"

#include <stdio.h>
#include <stdlib.h>

#define DAY_MS SHOP_DAY_MS
#define NOW_MS (INT64_C(1750000000000) / DAY_MS * DAY_MS + DAY_MS / 2)

/* view, add, order, pay, rare */
enum { VIEW, ADD, ORDER, PAY };

struct fixture {
    char dir[64];
    struct store *store;
    struct dataset *dataset;
    struct io *io;
    uint32_t next;
    struct buf got;
};

static void fixture_store(struct fixture *f)
{
    struct err err = {0};
    struct store_opts opts;
    struct recovery_report report;
    store_opts_default(&opts);
    opts.compact_in_background = false;
    assert_int_equal(store_open(f->dir, &opts, &f->store, &report, &err), ERR_OK);
    assert_int_equal(store_dataset(f->store, STR("shop"), true, &f->dataset, &err), ERR_OK);
}

static int fixture_open(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct err err = {0};
    assert_non_null(f);
    live_dir_make(f->dir);
    assert_int_equal(io_create(IO_POSIX, &f->io, &err), ERR_OK);
    fixture_store(f);
    *state = f;
    return 0;
}

static int fixture_close(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    assert_int_equal(store_close(f->store, &err), ERR_OK);
    io_free(f->io);
    buf_done(&f->got);
    live_dir_remove(f->dir);
    free(f);
    return 0;
}

static void put(struct fixture *f, uint32_t user, uint32_t name, int64_t hours_ago)
{
    struct err err = {0};
    const struct shop_event event = {
        .number = f->next++, .time_ms = NOW_MS - hours_ago * 3600000, .user = user, .name = name};
    assert_int_equal(shop_put(f->dataset, &event, 1, NOW_MS, f->io, &err), ERR_OK);
}

static const char *ask(struct fixture *f, const char *text)
{
    return shop_rows(f->dataset, text, NOW_MS, f->io, &f->got);
}

static void people_of_the_shop(struct fixture *f)
{
    put(f, 0, VIEW, 30);
    put(f, 0, PAY, 29);
    put(f, 1, VIEW, 30);
    put(f, 2, ADD, 30);
    put(f, 2, PAY, 3);
}

static void a_live_cohort_follows_the_events_and_a_static_one_does_not(void **state)
{
    struct fixture *f = *state;
    people_of_the_shop(f);
    assert_string_equal(ask(f, "segment did(pay) save cohort \"payers\""), "[[2]]");
    assert_string_equal(ask(f, "segment did(pay) save cohort \"then\" static"), "[[2]]");
    put(f, 1, PAY, 1);
    assert_string_equal(ask(f, "segment in cohort \"payers\" list users"),
                        "[[\"u0\"],[\"u1\"],[\"u2\"]]");
    assert_string_equal(ask(f, "segment in cohort \"then\" list users"), "[[\"u0\"],[\"u2\"]]");
    assert_string_equal(ask(f, "segment not in cohort \"then\" list users"), "[[\"u1\"]]");
    assert_string_equal(ask(f, "trend count(any) as n where in cohort \"then\""), "[[4]]");
    assert_string_equal(ask(f, "trend count(any[not in cohort \"then\"]) as n, users(any) as u"),
                        "[[2,3]]");
    assert_string_equal(ask(f, "funnel view -> pay[in cohort \"then\"]"),
                        "[[1,\"view\",2,1,null,0,null,null,null],"
                        "[2,\"pay[in cohort \\\"then\\\"]\",1,0.5,0.5,1,3600000,3600000,3600000]]");
}

static void a_cohort_outlives_a_restart_and_another_of_its_name_takes_its_place(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    people_of_the_shop(f);
    assert_string_equal(ask(f, "segment did(pay) save cohort \"a\" static"), "[[2]]");
    assert_string_equal(ask(f, "segment did(view last 2d including today) limit 1 list users save "
                               "cohort \"b\""),
                        "[[\"u0\"]]");
    assert_int_equal(store_close(f->store, &err), ERR_OK);
    fixture_store(f);
    assert_string_equal(ask(f, "segment in cohort \"a\" list users"), "[[\"u0\"],[\"u2\"]]");
    assert_string_equal(ask(f, "segment in cohort \"b\" list users"), "[[\"u0\"],[\"u1\"]]");
    store_abandon(f->store); /* as after a crash */
    fixture_store(f);
    assert_string_equal(ask(f, "segment in cohort \"a\" and in cohort \"b\" list users"),
                        "[[\"u0\"]]");
    assert_string_equal(ask(f, "segment did(add) save cohort \"a\""), "[[1]]");
    assert_string_equal(ask(f, "segment in cohort \"a\" list users"), "[[\"u2\"]]");
    assert_non_null(strstr(ask(f, "show cohorts"), "[[\"a\",\"live\",1,"));
    assert_non_null(strstr(ask(f, "show cohorts"), "\"segment did(add)\"],[\"b\",\"live\",2,"));
    assert_string_equal(ask(f, "drop cohort \"a\""), "[[\"a\"]]");
    assert_string_equal(ask(f, "drop cohort \"a\""), "error: not_found: no cohort \"a\" is saved");
    assert_string_equal(ask(f, "segment in cohort \"a\""),
                        "error: not_found: no cohort \"a\" is saved");
}

static void cohorts_are_made_of_others_but_in_no_circle(void **state)
{
    struct fixture *f = *state;
    people_of_the_shop(f);
    assert_string_equal(ask(f, "segment did(pay) save cohort \"a\""), "[[2]]");
    assert_string_equal(ask(f, "segment not in cohort \"a\" save cohort \"b\""), "[[1]]");
    assert_string_equal(ask(f, "segment in cohort \"b\" or did(add) save cohort \"c\""), "[[2]]");
    assert_string_equal(
        ask(f, "segment in cohort \"c\" save cohort \"a\""),
        "error: invalid: cohort \"c\": cohort \"b\": cohort \"a\" would be made of itself");
    assert_string_equal(ask(f, "segment in cohort \"a\" save cohort \"a\""),
                        "error: invalid: cohort \"a\" would be made of itself");
    /* a static copy may be made of what it takes the place of */
    assert_string_equal(ask(f, "segment in cohort \"a\" save cohort \"a\" static"), "[[2]]");
    assert_string_equal(ask(f, "segment in cohort \"c\" list users"), "[[\"u1\"],[\"u2\"]]");
    assert_string_equal(ask(f, "drop cohort \"b\""), "[[\"b\"]]");
    assert_string_equal(ask(f, "segment in cohort \"c\""),
                        "error: not_found: cohort \"c\": no cohort \"b\" is saved");
}

static void the_excluded_leave_every_verb(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    people_of_the_shop(f);
    assert_string_equal(ask(f, "segment did(add) save cohort \"bots\""), "[[1]]");
    assert_string_equal(ask(f, "segment user in (\"u1\") save cohort \"staff\" static"), "[[1]]");
    for (int flushed = 0; flushed < 2; flushed++) { /* rows, then stored sets */
        assert_string_equal(
            ask(f, "trend users(any) as u, count(any) as n exclude cohort \"bots\""), "[[2,3]]");
        assert_string_equal(ask(f, "trend users(any) as u exclude cohort \"bots\", \"staff\""),
                            "[[1]]");
        assert_string_equal(ask(f, "distinct user of pay exclude cohort \"bots\""), "[[1]]");
        assert_string_equal(ask(f, "events pay columns (user_id) exclude cohort \"bots\""),
                            "[[\"u0\"]]");
        assert_string_equal(ask(f, "segment not did(pay) exclude cohort \"bots\" list users"),
                            "[[\"u1\"]]");
        assert_string_equal(ask(f, "segment in cohort \"bots\" exclude cohort \"bots\""), "[[0]]");
        assert_string_equal(ask(f, "funnel view exclude cohort \"staff\""),
                            "[[1,\"view\",1,1,null,0,null,null,null]]");
        assert_int_equal(dataset_flush(f->dataset, &err), ERR_OK);
    }
    assert_string_equal(ask(f, "trend count(any) exclude cohort \"nobody\""),
                        "error: not_found: no cohort \"nobody\" is saved");
}

static void a_second_series_stands_behind_the_first(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    people_of_the_shop(f);
    put(f, 5, VIEW, 80);
    put(f, 6, VIEW, 365 * 24 + 30);
    assert_string_equal(ask(f, "segment did(pay) save cohort \"payers\""), "[[2]]");
    for (int flushed = 0; flushed < 2; flushed++) {
        assert_string_equal(ask(f, "trend count(any) as n last 2d compare previous period"),
                            "[[\"current\",4],[\"previous period\",1]]");
        assert_string_equal(ask(f, "trend users(any) as u last 2d compare previous year"),
                            "[[\"current\",3],[\"previous year\",1]]");
        assert_string_equal(
            ask(f, "trend users(any) as u last 30d including today compare cohort \"payers\" order "
                   "by u limit 1"),
            "[[\"payers\",2]]");
        assert_string_equal(ask(f, "funnel view -> pay last 2d compare cohort \"payers\""),
                            "[[\"current\",1,\"view\",2,1,null,0,null,null,null],"
                            "[\"current\",2,\"pay\",1,0.5,0.5,1,3600000,3600000,3600000],"
                            "[\"payers\",1,\"view\",1,1,null,0,null,null,null],"
                            "[\"payers\",2,\"pay\",1,1,1,0,3600000,3600000,3600000]]");
        assert_string_equal(ask(f, "retention view -> any each day for 0 last 2d compare previous "
                                   "period"),
                            "[[\"current\",\"2025-06-13\",0,0,0,null,true],"
                            "[\"current\",\"2025-06-14\",0,2,1,0.5,true],"
                            "[\"previous period\",\"2025-06-11\",0,0,0,null,true],"
                            "[\"previous period\",\"2025-06-12\",0,1,0,0,true]]");
        assert_int_equal(dataset_flush(f->dataset, &err), ERR_OK);
    }
    assert_string_equal(
        ask(f, "trend count(any) compare previous period"),
        "error: invalid: \"compare previous\" needs a range with a begin and an end");
}

static void a_deleted_person_leaves_static_cohorts_too(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    uint32_t shard = 0;
    uint32_t subject = 0;
    people_of_the_shop(f);
    assert_string_equal(ask(f, "segment did(pay) save cohort \"a\" static"), "[[2]]");
    assert_true(dataset_find_subject(f->dataset, STR("u0"), (struct str){0}, &shard, &subject));
    assert_int_equal(dataset_delete_subject(f->dataset, shard, subject, &err), ERR_OK);
    assert_string_equal(ask(f, "segment in cohort \"a\" list users"), "[[\"u2\"]]");
    assert_string_equal(ask(f, "segment user in (\"u0\", \"u1\") list users"), "[[\"u1\"]]");
}

static void a_get_changes_nothing(void **state)
{
    struct fixture *f = *state;
    static const char *const texts[] = {"segment did(pay) save cohort \"a\"", "drop cohort \"a\""};
    people_of_the_shop(f);
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        struct err err = {0};
        CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
        CLEANUP(result_freep) struct result *result = NULL;
        const struct query_request request = {
            .text = str_of(texts[i]), .now_ms = NOW_MS, .is_read_only = true};
        assert_int_equal(dataset_snapshot(f->dataset, &snapshot, &err), ERR_OK);
        assert_int_equal(query_run(snapshot, NULL, f->io, &request, &result, &err), ERR_INVALID);
        assert_non_null(strstr(err.message, "POST"));
    }
    assert_string_equal(ask(f, "show cohorts"), "[]");
}

int main(void)
{
#define CLAIM(name) cmocka_unit_test_setup_teardown(name, fixture_open, fixture_close)
    const struct CMUnitTest tests[] = {
        CLAIM(a_live_cohort_follows_the_events_and_a_static_one_does_not),
        CLAIM(a_cohort_outlives_a_restart_and_another_of_its_name_takes_its_place),
        CLAIM(cohorts_are_made_of_others_but_in_no_circle),
        CLAIM(the_excluded_leave_every_verb),
        CLAIM(a_second_series_stands_behind_the_first),
        CLAIM(a_deleted_person_leaves_static_cohorts_too),
        CLAIM(a_get_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
