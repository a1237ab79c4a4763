/* tests/unit/query/test_traits.c - profiles (query/traits.h): which identify call counts, when, and of whom; and what is asked
 * with them. */
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

#define HOUR_MS INT64_C(3600000)
#define NOW_MS  (INT64_C(1750000000000) / SHOP_DAY_MS * SHOP_DAY_MS + SHOP_DAY_MS / 2)

struct fixture {
    struct live_store live;
    uint32_t next;
    struct buf got;
};

static int fixture_open(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct err err = {0};
    assert_non_null(f);
    assert_int_equal(live_store_make(&f->live, &err), ERR_OK);
    assert_int_equal(live_store_open(&f->live, &err), ERR_OK);
    *state = f;
    return 0;
}

static int fixture_close(void **state)
{
    struct fixture *f = *state;
    live_store_end(&f->live);
    buf_done(&f->got);
    free(f);
    return 0;
}

/* An event: whose ("u1", or "~phone" of a device, or "u1~phone" of both), what, when; its id ascends unless it is given. */
struct said {
    const char *who, *event;
    int64_t hours_ago;
    const char *id;
    struct named {
        const char *name;
        struct prop prop;
    } props[3];
};
#define TEXT(n, v)                                                                                 \
    {                                                                                              \
        (n),                                                                                       \
        {                                                                                          \
            .type = COL_STRING, .string = {(v), sizeof(v) - 1 }                                    \
        }                                                                                          \
    }
#define NUMBER(n, v)                                                                               \
    {                                                                                              \
        (n),                                                                                       \
        {                                                                                          \
            .type = COL_NUMBER, .number = {.m = (v) }                                              \
        }                                                                                          \
    }
#define BOOL(n, v)                                                                                 \
    {                                                                                              \
        (n),                                                                                       \
        {                                                                                          \
            .type = COL_BOOL, .boolean = (v)                                                       \
        }                                                                                          \
    }

static void say(struct fixture *f, const struct said *said)
{
    struct err err = {0};
    struct batch_builder builder;
    struct event *event = NULL;
    char id[16];
    const char *device = strchr(said->who, '~');
    size_t user_len = device == NULL ? strlen(said->who) : (size_t)(device - said->who);
    assert_int_equal(batch_begin(NULL, NOW_MS + 2 * HOUR_MS, &builder, &err), ERR_OK);
    assert_int_equal(batch_event(&builder, &event, &err), ERR_OK);
    (void)snprintf(id, sizeof(id), "e%04u", f->next++);
    assert_int_equal(arena_str(builder.batch->arena, str_of(said->id == NULL ? id : said->id),
                               &event->event_id, &err),
                     ERR_OK);
    event->user_id = (struct str){said->who, user_len};
    event->anonymous_id = str_of(device == NULL ? "" : device + 1);
    event->name = str_of(said->event);
    event->time_ms = NOW_MS - said->hours_ago * HOUR_MS;
    for (size_t i = 0; i < COUNT_OF(said->props) && said->props[i].name != NULL; i++) {
        struct prop prop = said->props[i].prop;
        assert_int_equal(batch_name(&builder, str_of(said->props[i].name), &prop.name_idx, &err),
                         ERR_OK);
        assert_int_equal(batch_prop(&builder, &prop, &err), ERR_OK);
    }
    builder.batch->bytes = 100;
    assert_int_equal(dataset_ingest(f->live.dataset, builder.batch, f->live.io, &err), ERR_OK);
    assert_int_equal(builder.batch->events[0].status, RECEIPT_ACCEPTED);
    event_batch_free(builder.batch);
}
#define SAY(f, w, e, h, ...)                                                                       \
    say((f), &(const struct said){.who = (w), .event = (e), .hours_ago = (h), __VA_ARGS__})

static const char *ask_at(struct fixture *f, int64_t now_ms, const char *text)
{
    return shop_rows(f->live.dataset, text, now_ms, f->live.io, &f->got);
}

static const char *ask(struct fixture *f, const char *text)
{
    return ask_at(f, NOW_MS, text);
}

static void flush(struct fixture *f)
{
    struct err err = {0};
    assert_int_equal(dataset_flush(f->live.dataset, &err), ERR_OK);
}

/* u1 was free and became pro, u2 is free, u3 has never said anything. */
static void three_people(struct fixture *f)
{
    SAY(f, "u1", "$identify", 50, .props = {TEXT("plan", "free"), NUMBER("level", 1)});
    SAY(f, "u1", "view", 40, );
    SAY(f, "u2", "$identify", 30, .props = {TEXT("plan", "free"), BOOL("is_staff", true)});
    SAY(f, "u1", "$identify", 20, .props = {TEXT("plan", "pro")});
    SAY(f, "u1", "view", 10, );
    SAY(f, "u2", "view", 10, );
    SAY(f, "u3", "view", 10, );
}

static void the_last_call_counts_as_of_now_and_the_one_before_as_of_event(void **state)
{
    struct fixture *f = *state;
    three_people(f);
    for (int round = 0; round < 2; round++) {
        assert_string_equal(ask(f, "trend count(view) by profile.plan"),
                            "[[null,1],[\"free\",1],[\"pro\",2]]");
        assert_string_equal(ask(f, "trend count(view) by profile.plan as of event"),
                            "[[null,1],[\"free\",2],[\"pro\",1]]");
        assert_string_equal(ask(f, "trend users(view[profile.plan = \"free\"]) as n"), "[[1]]");
        assert_string_equal(ask(f, "trend users(view[profile.plan as of event = \"free\"]) as n"),
                            "[[2]]");
        assert_string_equal(
            ask(f, "trend count(view) by profile.plan as of event, profile.plan, profile.level"),
            "[[null,null,null,1],[\"free\",\"free\",null,1],[\"free\",\"pro\",1,1],"
            "[\"pro\",\"pro\",1,1]]");
        assert_string_equal(ask(f, "trend count(any) by profile.plan as of event"),
                            "[[null,1],[\"free\",4],[\"pro\",2]]"); /* calls are events as well */
        flush(f);
    }
}

static void every_operator_asks_a_profile_as_it_asks_an_event(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *where, *rows;
    } wheres[] = {
        {"profile.plan = \"pro\"", "[[2]]"},
        {"profile.plan != \"pro\"", "[[1]]"},
        {"not (profile.plan = \"pro\")", "[[2]]"},
        {"profile.plan in (\"pro\", \"free\")", "[[3]]"},
        {"profile.plan not in (\"pro\")", "[[1]]"},
        {"profile.plan contains \"RE\"", "[[1]]"},
        {"profile.plan starts with \"p\" or profile.plan ends with \"e\"", "[[3]]"},
        {"profile.plan matches \"^p.o$\"", "[[2]]"},
        {"profile.plan < \"g\"", "[[1]]"},
        {"profile.plan between \"a\" and \"z\"", "[[3]]"},
        {"profile.plan is set", "[[3]]"},
        {"profile.plan is not set", "[[1]]"},
        {"profile.level >= 1 and profile.level <= 1.5", "[[2]]"},
        {"profile.is_staff = true", "[[1]]"},
        {"profile.is_staff is not set", "[[3]]"},
        {"profile.no_such = \"x\"", "[[0]]"},
        {"profile.no_such is not set", "[[4]]"},
    };
    three_people(f);
    for (size_t i = 0; i < COUNT_OF(wheres); i++) {
        char text[256];
        (void)snprintf(text, sizeof(text), "trend count(view) as n where %s", wheres[i].where);
        assert_string_equal(ask(f, text), wheres[i].rows);
    }
}

static void late_and_equal_times_are_settled_by_time_and_id(void **state)
{
    struct fixture *f = *state;
    SAY(f, "u1", "$identify", 20, .id = "b", .props = {TEXT("plan", "b")});
    SAY(f, "u1", "view", 20, .id = "c");
    flush(f);
    SAY(f, "u1", "$identify", 20, .id = "a", .props = {TEXT("plan", "a")});
    assert_string_equal(ask(f, "events view columns (event_id) where profile.plan = \"b\""),
                        "[[\"c\"]]");
    SAY(f, "u1", "$identify", 20, .id = "d",
        .props = {TEXT("plan", "d")}); /* behind the view, in its instant */
    assert_string_equal(ask(f, "trend count(view) by profile.plan as of event"), "[[\"d\",1]]");
    SAY(f, "u1", "$identify", 30, .id = "z", .props = {TEXT("plan", "z")}); /* late, and older */
    assert_string_equal(ask(f, "trend count(view) by profile.plan"), "[[\"d\",1]]");
    SAY(f, "u1", "$identify", 10, .props = {NUMBER("level", 3)}); /* says nothing of the plan */
    assert_string_equal(ask(f, "trend count(view) by profile.plan, profile.level"),
                        "[[\"d\",3,1]]");
    SAY(f, "u1", "view", 5, .props = {TEXT("plan", "x")}); /* no call */
    assert_string_equal(ask(f, "trend count(view) by profile.plan"), "[[\"d\",2]]");
}

static void the_last_value_stands_whatever_its_type(void **state)
{
    struct fixture *f = *state;
    SAY(f, "u1", "$identify", 20, .props = {TEXT("plan", "pro")});
    SAY(f, "u1", "view", 15, );
    SAY(f, "u1", "$identify", 10, .props = {NUMBER("plan", 7)});
    SAY(f, "u1", "view", 5, );
    assert_string_equal(ask(f, "trend count(view) as n where profile.plan = \"pro\""), "[[0]]");
    assert_string_equal(ask(f, "trend count(view) as n where profile.plan = 7"), "[[2]]");
    assert_string_equal(ask(f, "trend count(view) as n where profile.plan as of event = \"pro\""),
                        "[[1]]");
    assert_string_equal(ask(f, "trend count(view) as n where profile.plan is set"), "[[2]]");
}

static void calls_of_the_future_do_not_count_as_of_now(void **state)
{
    struct fixture *f = *state;
    SAY(f, "u1", "$identify", 20, .props = {TEXT("plan", "free")});
    SAY(f, "u1", "$identify", 1, .props = {TEXT("plan", "pro")});
    SAY(f, "u1", "view", 0, );
    assert_string_equal(ask(f, "trend count(view) by profile.plan"), "[[\"pro\",1]]");
    assert_string_equal(ask_at(f, NOW_MS - 2 * HOUR_MS, "trend count(view) by profile.plan"),
                        "[[\"free\",1]]");
    assert_string_equal(
        ask_at(f, NOW_MS - 2 * HOUR_MS, "trend count(view) by profile.plan as of event"),
        "[[\"pro\",1]]");
}

static void calls_as_segment_sends_them_count_as_well(void **state)
{
    struct fixture *f = *state;
    SAY(f, "u1", "identify", 20, .props = {TEXT("traits.plan", "free"), TEXT("plan", "no trait")});
    SAY(f, "u2", "$identify", 20, .props = {TEXT("plan", "pro"), TEXT("traits.plan", "another")});
    SAY(f, "u1", "view", 10, );
    SAY(f, "u2", "view", 10, );
    assert_string_equal(ask(f, "trend count(view) by profile.plan"), "[[\"free\",1],[\"pro\",1]]");
    assert_string_equal(ask(f, "trend count(view) by profile.`traits.plan`"),
                        "[[null,1],[\"another\",1]]");
    SAY(f, "u1", "$identify", 15, .props = {TEXT("plan", "pro")});
    assert_string_equal(ask(f, "trend count(view) by profile.plan"), "[[\"pro\",2]]");
}

static void a_bound_device_and_merged_users_have_one_profile(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    SAY(f, "~phone", "$identify", 30, .props = {TEXT("plan", "free")});
    SAY(f, "~phone", "view", 25, );
    SAY(f, "u1", "view", 20, );
    SAY(f, "u2", "$identify", 10, .props = {TEXT("plan", "pro")});
    SAY(f, "u2", "view", 5, );
    assert_string_equal(ask(f, "trend count(view) by profile.plan"),
                        "[[null,1],[\"free\",1],[\"pro\",1]]");
    SAY(f, "u1~phone", "login", 22, );
    assert_string_equal(ask(f, "trend count(view) by profile.plan"), "[[\"free\",2],[\"pro\",1]]");
    assert_int_equal(dataset_merge_user(f->live.dataset, STR("u1"), STR("u2"), &err), ERR_OK);
    assert_string_equal(ask(f, "trend count(view) by profile.plan"), "[[\"pro\",3]]");
    assert_string_equal(ask(f, "trend count(view) by profile.plan as of event"),
                        "[[\"free\",2],[\"pro\",1]]");
    flush(f);
    assert_int_equal(dataset_compact(f->live.dataset, NULL, &err), ERR_OK);
    assert_int_equal(dataset_unmerge_user(f->live.dataset, STR("u1"), &err), ERR_OK);
    assert_string_equal(ask(f, "trend count(view) by profile.plan"), "[[\"free\",2],[\"pro\",1]]");
}

static void one_user_and_conditions_on_people_go_together(void **state)
{
    struct fixture *f = *state;
    three_people(f);
    flush(f);
    assert_string_equal(
        ask(f, "trend count(any) as n where user_id = \"u1\" and profile.plan = \"pro\""), "[[4]]");
    assert_string_equal(
        ask(f, "trend count(any) as n where user_id = \"u2\" and profile.plan = \"pro\""), "[[0]]");
    assert_string_equal(
        ask(f, "trend count(any) by profile.plan as of event where user_id = \"u1\""),
        "[[\"free\",2],[\"pro\",2]]");
    assert_string_equal(ask(f, "timeline \"u2\" where profile.plan = \"pro\""), "[]");
    assert_string_equal(ask(f, "trend users(any) as n where not (profile.plan = \"pro\" or "
                               "profile.is_staff = true)"),
                        "[[1]]");
    assert_string_equal(ask(f,
                            "users of (`profile.plan as of event` = \"pro\") in trend users(view) "
                            "by profile.plan as of event where profile.level = 1 list users"),
                        "[[\"u1\"]]");
}

static void a_segment_asks_the_profile_of_its_people(void **state)
{
    struct fixture *f = *state;
    three_people(f);
    assert_string_equal(ask(f, "segment profile.plan = \"pro\" list users"), "[[\"u1\"]]");
    assert_string_equal(ask(f, "segment profile.plan is not set list users"), "[[\"u3\"]]");
    assert_string_equal(ask(f, "segment not profile.plan = \"pro\" list users"),
                        "[[\"u2\"],[\"u3\"]]");
    assert_string_equal(
        ask(f, "segment profile.plan in (\"pro\", \"free\") and count(view) >= 2 list users"),
        "[[\"u1\"]]");
    assert_string_equal(
        ask(f, "segment profile.level between 0 and 2 or did(any[profile.plan as of event = "
               "\"free\" and profile.is_staff = true]) list users"),
        "[[\"u1\"],[\"u2\"]]");
    assert_string_equal(ask(f, "segment profile.plan = \"pro\" save cohort \"pros\""), "[[1]]");
    assert_string_equal(ask(f, "trend count(view) as n where in cohort \"pros\""), "[[2]]");
    SAY(f, "u2", "$identify", 1, .props = {TEXT("plan", "pro")});
    assert_string_equal(ask(f, "trend count(view) as n exclude cohort \"pros\""), "[[1]]");
    assert_non_null(strstr(ask(f, "show cohorts"), "segment profile.plan = \\\"pro\\\""));
    assert_string_equal(
        ask(f, "segment reached(funnel view[profile.plan = \"pro\"] -> view within 2d, 2) and "
               "profile.level = 1 list users"),
        "[[\"u1\"]]");
}

static void why_and_users_of_know_profiles(void **state)
{
    struct fixture *f = *state;
    three_people(f);
    assert_string_equal(ask(f, "users of (profile.plan = \"pro\", step = 2) in funnel view -> view "
                               "by profile.plan list users"),
                        "[[\"u1\"]]");
    assert_non_null(
        strstr(ask(f, "why \"u1\" in segment profile.plan = \"pro\" and did(view)"),
               "[\"condition\",null,true,null,null,null,\"profile.plan = \\\"pro\\\"\"]"));
    assert_non_null(strstr(ask(f, "why \"u2\" in segment profile.plan = \"pro\" and did(view)"),
                           "[\"condition\",null,false,null,null,null,\"profile.plan = "
                           "\\\"pro\\\"\"]"));
    assert_non_null(
        strstr(ask(f, "why \"u1\" in funnel view[profile.plan as of event = \"free\"] -> "
                      "view[profile.plan = \"pro\"] by profile.plan"),
               "[\"pro\",\"verdict\",2,true,"));
    assert_non_null(strstr(ask(f, "why \"u2\" in funnel view -> view where profile.plan = \"pro\""),
                           "\"where\"]"));
}

static void other_subjects_ask_the_profile_of_each_events_user(void **state)
{
    struct fixture *f = *state;
    three_people(f);
    SAY(f, "u1", "play", 9, .props = {TEXT("table_id", "t1")});
    SAY(f, "u2", "play", 8, .props = {TEXT("table_id", "t1")});
    SAY(f, "u3", "play", 7, .props = {TEXT("table_id", "t2")});
    assert_string_equal(ask(f, "sequence \"(?1)(?2)\" over play[profile.plan = \"pro\"], "
                               "play[profile.plan = \"free\"] per table_id list users"),
                        "[[\"t1\",1,[\"2025-06-15T03:00:00Z\",\"2025-06-15T04:00:00Z\"]]]");
    assert_string_equal(ask(f, "sessions count per table_id by profile.plan"),
                        "[[null,1],[\"free\",1],[\"pro\",1]]");
}

static void a_long_value_breaks_only_what_would_show_it(void **state)
{
    struct fixture *f = *state;
    static char text[100001];
    memset(text, 'x', sizeof(text) - 1);
    SAY(f, "u1", "$identify", 20,
        .props = {{"plan", {.type = COL_STRING, .string = str_of(text)}}});
    SAY(f, "u1", "view", 10, );
    SAY(f, "u2", "$identify", 20, .props = {TEXT("plan", "pro")});
    SAY(f, "u2", "view", 10, );
    assert_string_equal(ask(f, "trend count(view) as n where profile.plan = \"pro\""), "[[1]]");
    assert_string_equal(ask(f, "trend count(view) as n where profile.plan as of event != \"pro\""),
                        "[[1]]");
    assert_non_null(strstr(ask(f, "trend count(view) by profile.plan"),
                           "error: limit: a value of \"profile.plan\" has 100000 bytes"));
}

static void profiles_stay_within_the_memory_of_a_query(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    struct query_request request = {.text =
                                        STR("trend count(view) as n where profile.plan = \"pro\" "
                                            "and profile.plan as of event is set"),
                                    .now_ms = NOW_MS};
    bool has_answered = false;
    three_people(f);
    assert_int_equal(dataset_snapshot(f->live.dataset, &snapshot, &err), ERR_OK);
    for (size_t bytes = 20000; !has_answered; bytes += 20000) {
        CLEANUP(result_freep) struct result *result = NULL;
        request.memory_bytes_max = bytes;
        enum err_code code = query_run(snapshot, NULL, f->live.io, &request, &result, &err);
        has_answered = code == ERR_OK;
        assert_true(has_answered || code == ERR_LIMIT);
    }
}

static void what_there_is_is_shown(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(ask(f, "show profiles"), "[]");
    three_people(f);
    SAY(f, "u3", "identify", 3, .props = {TEXT("traits.plan", "free"), TEXT("other", "x")});
    for (int round = 0; round < 2; round++) {
        assert_string_equal(ask(f, "show profiles"), "[[\"is_staff\",\"bool\",1,0.25],"
                                                     "[\"level\",\"number\",1,0.25],"
                                                     "[\"plan\",\"string\",4,1]]");
        assert_string_equal(ask(f, "show values of profile.plan"),
                            "[[\"free\",4,2],[\"pro\",4,1]]");
        flush(f);
    }
}

static void explain_names_what_is_read_of_profiles(void **state)
{
    struct fixture *f = *state;
    three_people(f);
    assert_non_null(strstr(ask(f, "explain trend count(view) by profile.plan as of event where "
                                  "profile.level = 1"),
                           "[\"profiles\",\"level as of now, plan as of event: all identify events "
                           "are read first\"]"));
    assert_null(strstr(ask(f, "explain trend count(view)"), "profiles"));
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, fixture_open, fixture_close)
    const struct CMUnitTest tests[] = {
        TEST(the_last_call_counts_as_of_now_and_the_one_before_as_of_event),
        TEST(every_operator_asks_a_profile_as_it_asks_an_event),
        TEST(late_and_equal_times_are_settled_by_time_and_id),
        TEST(the_last_value_stands_whatever_its_type),
        TEST(calls_of_the_future_do_not_count_as_of_now),
        TEST(calls_as_segment_sends_them_count_as_well),
        TEST(a_bound_device_and_merged_users_have_one_profile),
        TEST(one_user_and_conditions_on_people_go_together),
        TEST(a_segment_asks_the_profile_of_its_people),
        TEST(why_and_users_of_know_profiles),
        TEST(other_subjects_ask_the_profile_of_each_events_user),
        TEST(a_long_value_breaks_only_what_would_show_it),
        TEST(profiles_stay_within_the_memory_of_a_query),
        TEST(what_there_is_is_shown),
        TEST(explain_names_what_is_read_of_profiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
