/* Tests of query/verb_events.c, verb_show.c, verb_explain.c: rows as they are, and the catalogue. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "tests/support/snap_query.h"

#include <stdlib.h>

#define MAY_1 INT64_C(1746057600000) /* 2025-05-01T00:00Z */

static const struct snap_prop ad[] = {
    {.name = "channel", .type = COL_STRING, .text = "ad"},
    {.name = "amount", .type = COL_NUMBER, .number = {.m = 1250, .scale = 3}},
};
static const struct snap_prop seo[] = {{.name = "channel", .type = COL_STRING, .text = "seo"}};
static const struct snap_prop list[] = {{.name = "tags", .type = COL_LIST, .text = "x|y"}};
static const struct snap_prop number_7[] = {
    {.name = "channel", .type = COL_NUMBER, .number = {.m = 7}}};

static const struct snap_event events[] = {
    {"e3", "pay", "ann", MAY_1 + 5, ad, 2},   {"e1", "pay", "bob", MAY_1 + 5, seo, 1},
    {"e2", "view", "ann", MAY_1, NULL, 0},    {"e5", "view", "cat", MAY_1 + 9, seo, 1},
    {"e4", "tag", "bob", MAY_1 + 7, list, 1},
};

static void check(const char *text, const char *want)
{
    static const uint32_t layouts[][2] = {{1, 0}, {1, 1}, {3, 1}};
    for (size_t i = 0; i < COUNT_OF(layouts); i++) {
        const struct snap_opts opts = {
            .source_count = layouts[i][0], .memory_count = layouts[i][1], .seed = 3};
        struct snap *snap = snap_build(events, COUNT_OF(events), &opts);
        char *got = snap_query_json(snap, text, NULL);
        if (strstr(got, want) == NULL) {
            print_error("query: %s, layout %zu\nwant: %s\ngot:  %s\n", text, i, want, got);
            fail();
        }
        free(got);
        snap_free(snap);
    }
}

static void events_come_by_time_and_event_id_with_the_properties_that_occur(void **state)
{
    (void)state;
    check("events any",
          "{\"columns\":[{\"name\":\"event_time\",\"type\":\"timestamp\"},{\"name\":\"event_name\","
          "\"type\":\"string\"},{\"name\":\"user_id\",\"type\":\"string\"},{\"name\":"
          "\"anonymous_id\",\"type\":\"string\"},{\"name\":\"event_id\",\"type\":\"string\"},{"
          "\"name\":\"amount\",\"type\":\"number\"},{\"name\":\"channel\",\"type\":\"string\"},{"
          "\"name\":\"tags\",\"type\":\"list\"}],\"rows\":["
          "[\"2025-05-01T00:00:00Z\",\"view\",\"ann\",null,\"e2\",null,null,null],"
          "[\"2025-05-01T00:00:00.005Z\",\"pay\",\"bob\",null,\"e1\",null,\"seo\",null],"
          "[\"2025-05-01T00:00:00.005Z\",\"pay\",\"ann\",null,\"e3\",1.25,\"ad\",null],"
          "[\"2025-05-01T00:00:00.007Z\",\"tag\",\"bob\",null,\"e4\",null,null,[\"x\",\"y\"]],"
          "[\"2025-05-01T00:00:00.009Z\",\"view\",\"cat\",null,\"e5\",null,\"seo\",null]]");
}

static void events_keep_to_selector_columns_order_and_limit(void **state)
{
    (void)state;
    check("events pay columns (event_id, amount)",
          "\"rows\":[[\"e1\",null],[\"e3\",1.25]],\"totals\":null");
    check("events any columns (event_time, event_id) order by event_time desc limit 3",
          "\"rows\":[[\"2025-05-01T00:00:00.009Z\",\"e5\"],[\"2025-05-01T00:00:00.007Z\",\"e4\"],"
          "[\"2025-05-01T00:00:00.005Z\",\"e1\"]]");
    check("events any where channel = \"seo\" columns (event_id) limit 1", "\"rows\":[[\"e1\"]]");
}

static void what_the_limit_left_out_is_said(void **state)
{
    (void)state;
    const struct snap_opts opts = {.source_count = 2};
    struct snap *snap = snap_build(events, COUNT_OF(events), &opts);
    struct result *result = NULL;
    struct err err = {0};
    assert_int_equal(snap_query(snap, "events any limit 2", NULL, &result, &err), ERR_OK);
    assert_int_equal(result->row_count, 2);
    assert_int_equal(result->meta.rows_total, 5);
    assert_int_equal(result->meta.rows_left_out, 3);
    result_free(result);
    snap_free(snap);
}

static void a_name_of_two_types_is_one_column(void **state)
{
    (void)state;
    const struct snap_event mixed[] = {{"e1", "a", "ann", MAY_1, seo, 1},
                                       {"e2", "a", "ann", MAY_1 + 1, number_7, 1}};
    const struct snap_opts opts = {.source_count = 1};
    struct snap *snap = snap_build(mixed, COUNT_OF(mixed), &opts);
    char *got = snap_query_json(snap, "events any", NULL);
    assert_non_null(strstr(got, "{\"name\":\"channel\",\"type\":\"any\"}]"));
    assert_non_null(strstr(got, "\"e1\",\"seo\"]"));
    assert_non_null(strstr(got, "\"e2\",7]"));
    free(got);
    snap_free(snap);
}

static void show_events_counts_and_dates_each_event(void **state)
{
    (void)state;
    check("show events", "\"rows\":["
                         "[\"pay\",2,2,\"2025-05-01T00:00:00.005Z\",\"2025-05-01T00:00:00.005Z\"],"
                         "[\"tag\",1,1,\"2025-05-01T00:00:00.007Z\",\"2025-05-01T00:00:00.007Z\"],"
                         "[\"view\",2,2,\"2025-05-01T00:00:00Z\",\"2025-05-01T00:00:00.009Z\"]]");
}

static void show_properties_counts_values_and_their_share(void **state)
{
    (void)state;
    check("show properties",
          "{\"columns\":[{\"name\":\"property\",\"type\":\"string\"},{\"name\":\"type\",\"type\":"
          "\"string\"},{\"name\":\"count\",\"type\":\"int64\"},{\"name\":\"share\",\"type\":"
          "\"number\"}],\"rows\":[[\"amount\",\"number\",1,0.2],[\"channel\",\"string\",3,0.6],"
          "[\"tags\",\"list\",1,0.2]]");
    check("show properties of pay",
          "\"rows\":[[\"amount\",\"number\",1,0.5],[\"channel\",\"string\",2,1]]");
}

static void show_values_puts_the_most_frequent_first(void **state)
{
    (void)state;
    check("show values of channel", "\"rows\":[[\"seo\",2,2],[\"ad\",1,1]]");
    check("show values of channel limit 1", "\"rows\":[[\"seo\",2,2]]");
    check("show values of user_id", "\"rows\":[[\"ann\",2,1],[\"bob\",2,1],[\"cat\",1,1]]");
}

static void show_segments_tells_segments_from_memtables(void **state)
{
    (void)state;
    const struct snap_opts opts = {
        .source_count = 2, .memory_count = 1, .shard_count = 1, .seed = 1};
    struct snap *snap = snap_build(events, COUNT_OF(events), &opts);
    char *got = snap_query_json(snap, "show segments", NULL);
    assert_non_null(strstr(got, "[0,1,\"segment\","));
    assert_non_null(strstr(got, "[0,null,\"memtable\","));
    free(got);
    snap_free(snap);
}

static void explain_says_what_is_pruned_and_which_index_answers(void **state)
{
    (void)state;
    check("explain trend users(any)", "[\"index\",\"subject sets");
    check("explain trend count(pay)", "[\"index\",\"posting lists of the named events\"]");
    check("explain trend count(pay)", "[\"estimated rows\",\"2\"]");
    check("explain trend count(no_such)", "[\"sources to read\",\"0\"]");
    check("explain trend count(any)", "[\"way\",\"rows\"]");
    check("explain trend count(any)", "[\"rows found by\",\"all rows, in ");
    check("explain trend sum(amount of pay) by channel",
          "[\"columns\",\"subject, event_time, channel, amount\"]");
    check("explain funnel pay -> view within 1h", "[\"verb\",\"funnel\"]");
    check("explain trend count(pay) from 2024-01-01 to 2024-02-01", "[\"estimated rows\",\"0\"]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_come_by_time_and_event_id_with_the_properties_that_occur),
        cmocka_unit_test(events_keep_to_selector_columns_order_and_limit),
        cmocka_unit_test(what_the_limit_left_out_is_said),
        cmocka_unit_test(a_name_of_two_types_is_one_column),
        cmocka_unit_test(show_events_counts_and_dates_each_event),
        cmocka_unit_test(show_properties_counts_values_and_their_share),
        cmocka_unit_test(show_values_puts_the_most_frequent_first),
        cmocka_unit_test(show_segments_tells_segments_from_memtables),
        cmocka_unit_test(explain_says_what_is_pruned_and_which_index_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
