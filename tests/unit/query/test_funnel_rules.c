/* tests/unit/query/test_funnel_rules.c - whole funnels with rules, from the text to the table. Each
 * test is one word of the language; SEMANTICS.md section 14 has some of the stories. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/verb_run.h"

#define MINUTE INT64_C(60000)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define NOW    (100 * DAY)

#define STRING_PROP(prop, value)                                                                   \
    {                                                                                              \
        .name = (prop), .type = COL_STRING, .text = (value)                                        \
    }
static const struct snap_prop item_1[] = {STRING_PROP("item", "1")};
static const struct snap_prop item_2[] = {STRING_PROP("item", "2")};
static const struct snap_prop ad[] = {STRING_PROP("channel", "ad")};
static const struct snap_prop web[] = {STRING_PROP("channel", "web")};
#define ONE   item_1, 1
#define TWO   item_2, 1
#define AD    ad, 1
#define WEB   web, 1
#define PLAIN NULL, 0

static void expect_of(const struct snap_event *events, uint32_t count, const char *text,
                      const char *want)
{
    CLEANUP(buf_freep) struct buf out = {0};
    for (uint32_t sources = 1; sources <= 3; sources++) {
        struct snap_opts opts = {.source_count = sources, .memory_count = 1, .seed = sources};
        CLEANUP(snap_freep) struct snap *snap = snap_build(events, count, &opts);
        assert_string_equal(verb_run(snap, text, NOW, VERB_RUN_INDEXED, &out), want);
        assert_string_equal(verb_run(snap, text, NOW, VERB_RUN_REFERENCE, &out), want);
    }
}
#define EXPECT(events, text, want) expect_of((events), COUNT_OF(events), (text), (want))

/* ---- how an attempt goes ---- */

static void strict_order_breaks_at_any_event_it_looks_at(void **state)
{
    (void)state;
    static const struct snap_event events[] = {
        {"1", "a", "ann", 0, PLAIN}, {"2", "x", "ann", 1, PLAIN}, {"3", "b", "ann", 2, PLAIN},
        {"4", "a", "bob", 0, PLAIN}, {"5", "x", "bob", 1, PLAIN}, {"6", "a", "bob", 2, PLAIN},
        {"7", "b", "bob", 3, PLAIN},
    };
    EXPECT(events, "funnel a -> b order strict list users", "ann|1\nbob|2\n= -|-\n");
    EXPECT(events, "funnel a -> b order strict considering (a | b) list users",
           "ann|2\nbob|2\n= -|-\n");
}

static void any_order_counts_steps_and_anchors_keep_their_place(void **state)
{
    (void)state;
    static const struct snap_event events[] = {
        {"1", "c", "ann", 0, PLAIN}, {"2", "b", "ann", 1, PLAIN}, {"3", "a", "ann", 2, PLAIN},
        {"4", "a", "bob", 0, PLAIN}, {"5", "c", "bob", 5, PLAIN}, {"6", "b", "bob", 9, PLAIN},
    };
    EXPECT(events, "funnel a -> b -> c within 9ms order any list users", "ann|3\nbob|3\n= -|-\n");
    EXPECT(events, "funnel a -> b -> c within 8ms order any list users", "ann|3\nbob|2\n= -|-\n");
    EXPECT(events, "funnel a! -> b -> c within 9ms order any list users", "ann|1\nbob|3\n= -|-\n");
    EXPECT(events, "funnel a -> b -> c within 9ms order any where user_id = \"bob\"",
           "1|a|1|1|-|0|-|-|-\n2|b|1|1|1|0|5|5|5\n3|c|1|1|1|0|9|9|9\n= -|-|1|1|-|0|9|9|9\n");
}

static void optional_steps_never_block_and_limits_count_from_the_last_step_done(void **state)
{
    (void)state;
    static const struct snap_event events[] = {
        {"1", "a", "ann", 0, PLAIN}, {"2", "b", "ann", 10, PLAIN}, {"3", "c", "ann", 15, PLAIN},
        {"4", "a", "bob", 0, PLAIN}, {"5", "c", "bob", 15, PLAIN}, {"6", "a", "cat", 0, PLAIN},
        {"7", "c", "cat", 5, PLAIN}, {"8", "a", "dan", 0, PLAIN},  {"9", "b", "dan", 1, PLAIN},
    };
    EXPECT(events, "funnel a -> b? -> c (5ms)",
           "1|a|4|1|-|0|-|-|-\n2|b|2|0.5|0.5|2|5.5|5.5|9.0999999999999996\n"
           "3|c|2|0.5|0.5|2|10|10|14\n= -|-|2|0.5|-|2|10|10|14\n");
    EXPECT(events, "funnel a -> b? -> c (5ms) list users", "ann|3\nbob|1\ncat|3\ndan|2\n= -|-\n");
}

static void exclusions_end_the_attempt_or_drop_the_user(void **state)
{
    (void)state;
    static const struct snap_event events[] = {
        {"1", "a", "ann", 0, PLAIN},  {"2", "x", "ann", 1, PLAIN}, {"3", "b", "ann", 2, PLAIN},
        {"4", "a", "bob", 0, PLAIN},  {"5", "x", "bob", 1, PLAIN}, {"6", "a", "bob", 2, PLAIN},
        {"7", "b", "bob", 3, PLAIN},  {"8", "a", "cat", 0, PLAIN}, {"9", "x", "cat", 0, PLAIN},
        {"10", "b", "cat", 5, PLAIN},
    };
    EXPECT(events, "funnel a -> b without x between 1 and 2 list users",
           "ann|1\nbob|2\ncat|2\n= -|-\n");
    EXPECT(events, "funnel a -> b dropping users with x between 1 and 2 list users",
           "bob|2\ncat|2\n= -|-\n");
    EXPECT(events, "funnel a -> b without x[item = \"1\"] list users",
           "ann|2\nbob|2\ncat|2\n= -|-\n");
}

static void holding_keeps_the_items_apart(void **state)
{
    (void)state;
    static const struct snap_event events[] = {
        {"1", "a", "ann", 0, ONE}, {"2", "a", "ann", 1, TWO},   {"3", "b", "ann", 2, ONE},
        {"4", "c", "ann", 3, TWO}, {"5", "b", "ann", 4, TWO},   {"6", "c", "ann", 5, TWO},
        {"7", "a", "bob", 0, ONE}, {"8", "b", "bob", 1, PLAIN}, {"9", "a", "cat", 0, PLAIN},
    };
    EXPECT(events, "funnel a -> b -> c holding item",
           "1|a|2|1|-|0|-|-|-\n2|b|1|0.5|0.5|1|3|3|3\n3|c|1|0.5|1|0|4|4|4\n"
           "= -|-|1|0.5|-|1|4|4|4\n");
    EXPECT(events, "funnel a -> b -> c holding item by item",
           "1|1|a|1|1|-|0|-|-|-\n1|2|b|0|0|0|1|-|-|-\n1|3|c|0|0|-|0|-|-|-\n"
           "2|1|a|1|1|-|0|-|-|-\n2|2|b|1|1|1|0|3|3|3\n2|3|c|1|1|1|0|4|4|4\n"
           "= -|-|-|1|0.5|-|1|4|4|4\n");
}

static void an_item_that_got_furthest_drops_the_user_with_the_others(void **state)
{
    (void)state;
    static const struct snap_event events[] = {
        {"1", "a", "ann", 0, ONE},   {"2", "x", "ann", 1, PLAIN}, {"3", "b", "ann", 2, ONE},
        {"4", "a", "ann", 5, TWO},   {"5", "a", "bob", 0, ONE},   {"6", "b", "bob", 1, ONE},
        {"7", "x", "bob", 2, PLAIN}, {"8", "a", "bob", 3, TWO},
    };
    EXPECT(events, "funnel a -> b holding item dropping users with x list users", "bob|2\n= -|-\n");
    EXPECT(events, "funnel a -> b dropping users with x by item at all steps",
           "1|1|a|2|1|-|0|-|-|-\n1|2|b|2|1|1|0|1.5|1.5|1.8999999999999999\n2|1|a|2|1|-|0|-|-|-\n2|2|b|0|0|0|2|-|-|-\n"
           "= -|-|-|2|1|-|0|1.5|1.5|1.8999999999999999\n"); /* the x carries no item: of neither funnel */
}

static void held_values_compete_by_the_steps_in_between(void **state)
{
    (void)state;
    static const struct snap_prop key_k[] = {STRING_PROP("item", "2"), STRING_PROP("channel", "ad")};
    static const struct snap_prop key_l[] = {STRING_PROP("item", "1"), STRING_PROP("channel", "web")};
    static const struct snap_event events[] = {
        {"1", "a", "ann", 0, key_k, 2}, {"2", "a", "ann", 0, key_l, 2}, {"3", "b", "ann", 1, ONE},
        {"4", "b", "ann", 2, TWO},      {"5", "c", "ann", 5, ONE},      {"6", "c", "ann", 5, TWO},
        {"7", "a", "bob", 0, key_l, 2}, {"8", "a", "bob", 0, key_k, 2},
    };
    EXPECT(events, "funnel a -> b -> c holding item by channel where user_id = \"ann\"",
           "web|1|a|1|1|-|0|-|-|-\nweb|2|b|1|1|1|0|1|1|1\nweb|3|c|1|1|1|0|5|5|5\n"
           "= -|-|-|1|1|-|0|5|5|5\n"); /* the earlier b */
    EXPECT(events, "funnel a -> b holding item by channel where user_id = \"bob\"",
           "ad|1|a|1|1|-|0|-|-|-\nad|2|b|0|0|0|1|-|-|-\n= -|-|-|0|0|-|1|-|-|-\n"); /* the smaller key */
}

static void first_asks_for_the_first_event_ever(void **state)
{
    (void)state;
    static const struct snap_event events[] = {
        {"1", "a", "ann", DAY - 1, ONE}, {"2", "a", "ann", DAY + 1, TWO},
        {"3", "a", "bob", DAY, TWO},     {"4", "a", "bob", DAY + 1, ONE},
        {"5", "a", "cat", DAY, ONE},
    };
    EXPECT(events, "funnel first a on 1970-01-02 list users", "bob|1\ncat|1\n= -|-\n");
    EXPECT(events, "funnel first a[item = \"1\"] on 1970-01-02 list users", "cat|1\n= -|-\n");
    EXPECT(events, "funnel first matching a[item = \"2\"] on 1970-01-02 list users",
           "ann|1\nbob|1\n= -|-\n");
}

static void reuse_and_the_modes_of_clickhouse(void **state)
{
    (void)state;
    static const struct snap_event events[] = {
        {"1", "a", "ann", 0, PLAIN}, {"2", "b", "ann", 1, PLAIN}, {"3", "b", "ann", 2, PLAIN},
        {"4", "c", "ann", 3, PLAIN}, {"5", "a", "bob", 0, PLAIN}, {"6", "x", "bob", 1, PLAIN},
        {"7", "b", "bob", 2, PLAIN}, {"8", "a", "bob", 3, PLAIN}, {"9", "b", "bob", 4, PLAIN},
    };
    EXPECT(events, "funnel a -> a -> a list users", "ann|1\nbob|2\n= -|-\n");
    EXPECT(events, "funnel a -> a -> a reuse list users", "ann|3\nbob|3\n= -|-\n");
    EXPECT(events, "funnel a -> b -> c reuse mode \"clickhouse:strict_deduplication\" list users",
           "ann|2\nbob|2\n= -|-\n");
    EXPECT(events, "funnel a -> b -> c reuse mode \"clickhouse:strict_order\" list users",
           "ann|3\nbob|1\n= -|-\n");
    EXPECT(events,
           "funnel a -> b -> c mode \"clickhouse:strict_order,strict_deduplication\" list users",
           "ann|2\nbob|1\n= -|-\n");
}

/* ---- which attempts ---- */

static const struct snap_event again[] = {
    {"1", "a", "ann", 0, AD},     {"2", "a", "ann", 30, WEB},   {"3", "b", "ann", 45, PLAIN},
    {"4", "c", "ann", 75, PLAIN}, {"5", "a", "ann", 80, PLAIN}, {"6", "b", "ann", 85, PLAIN},
    {"7", "c", "ann", 99, PLAIN},
};

static void entry_and_attempt_choose_among_the_entries(void **state)
{
    (void)state;
    EXPECT(again, "funnel a -> b -> c within 60ms list users", "ann|3\n= -|-\n");
    EXPECT(again, "funnel a -> b -> c within 60ms entry first list users", "ann|2\n= -|-\n");
    EXPECT(again, "funnel a -> b within 60ms attempt earliest by channel",
           "ad|1|a|1|1|-|0|-|-|-\nad|2|b|1|1|1|0|45|45|45\n= -|-|-|1|1|-|0|45|45|45\n");
    EXPECT(again, "funnel a -> b within 60ms by channel",
           "web|1|a|1|1|-|0|-|-|-\nweb|2|b|1|1|1|0|15|15|15\n= -|-|-|1|1|-|0|15|15|15\n");
    EXPECT(again, "funnel a -> b within 60ms attempt latest by channel",
           "-|1|a|1|1|-|0|-|-|-\n-|2|b|1|1|1|0|5|5|5\n= -|-|-|1|1|-|0|5|5|5\n");
}

static void totals_count_attempts_one_after_the_other(void **state)
{
    (void)state;
    EXPECT(again, "funnel a -> b within 60ms count totals",
           "1|a|2|1|-|0|-|-|-\n2|b|2|1|1|0|25|25|41\n= -|-|2|1|-|0|25|25|41\n");
    EXPECT(again, "funnel a -> b -> c within 60ms count totals",
           "1|a|2|1|-|0|-|-|-\n2|b|2|1|1|0|25|25|41\n3|c|1|0.5|0.5|1|19|19|19\n"
           "= -|-|1|0.5|-|1|19|19|19\n");
    static const struct snap_event ties[] = {
        {"1", "a", "ann", 0, PLAIN},
        {"2", "b", "ann", 5, PLAIN},
        {"3", "a", "ann", 5, PLAIN},
        {"4", "b", "ann", 9, PLAIN},
    };
    EXPECT(ties, "funnel a -> b count totals",
           "1|a|2|1|-|0|-|-|-\n2|b|2|1|1|0|4.5|4.5|4.9000000000000004\n"
           "= -|-|2|1|-|0|4.5|4.5|4.9000000000000004\n");
}

static void sessions_are_cut_at_pauses_of_more_than_half_an_hour(void **state)
{
    (void)state;
    static const struct snap_event events[] = {
        {"1", "a", "ann", 0, PLAIN},
        {"2", "x", "ann", 30 * MINUTE, PLAIN},
        {"3", "b", "ann", 60 * MINUTE, PLAIN},
        {"4", "a", "ann", 90 * MINUTE + 1, PLAIN},
        {"5", "b", "ann", 120 * MINUTE + 2, PLAIN},
    };
    EXPECT(events, "funnel a -> b count sessions",
           "1|a|2|1|-|0|-|-|-\n2|b|1|0.5|0.5|1|3600000|3600000|3600000\n"
           "= -|-|1|0.5|-|1|3600000|3600000|3600000\n");
}

/* ---- what is reported ---- */

static void buckets_are_funnels_of_their_own_entries(void **state)
{
    (void)state;
    static const struct snap_event events[] = {
        {"1", "a", "ann", 0, PLAIN},
        {"2", "a", "ann", DAY, PLAIN},
        {"3", "b", "ann", DAY + HOUR, PLAIN},
        {"4", "a", "bob", 2 * HOUR, PLAIN},
    };
    EXPECT(events, "funnel a -> b within 2d each day from 1970-01-01 to 1970-01-04",
           "1970-01-01|1|a|2|1|-|0|-|-|-\n1970-01-01|2|b|1|0.5|0.5|1|90000000|90000000|90000000\n"
           "1970-01-02|1|a|1|1|-|0|-|-|-\n1970-01-02|2|b|1|1|1|0|3600000|3600000|3600000\n"
           "1970-01-03|1|a|0|-|-|0|-|-|-\n1970-01-03|2|b|0|-|-|0|-|-|-\n"
           "= -|-|-|1|0.5|-|1|3600000|3600000|3600000\n");
    EXPECT(events, "funnel a -> b within 1h each day",
           "1970-01-01|1|a|2|1|-|0|-|-|-\n1970-01-01|2|b|0|0|0|2|-|-|-\n"
           "1970-01-02|1|a|1|1|-|0|-|-|-\n1970-01-02|2|b|1|1|1|0|3600000|3600000|3600000\n"
           "= -|-|-|1|0.5|-|1|3600000|3600000|3600000\n");
}

/* Who enters on many days is counted on one of them, or each attempt on its own. */
static void buckets_of_a_single_trend_share_the_one_funnel(void **state)
{
    (void)state;
    static const struct snap_event events[] = {
        {"1", "a", "ann", 0, AD},       {"2", "a", "ann", DAY, WEB},
        {"3", "b", "ann", DAY + HOUR, WEB}, {"4", "a", "bob", 2 * HOUR, AD},
        {"5", "a", "bob", 2 * DAY, WEB},
    };
    EXPECT(events, "funnel a -> b within 2d each day trend single from 1970-01-01 to 1970-01-04",
           "1970-01-01|1|a|1|1|-|0|-|-|-\n1970-01-01|2|b|0|0|0|1|-|-|-\n"
           "1970-01-02|1|a|1|1|-|0|-|-|-\n1970-01-02|2|b|1|1|1|0|3600000|3600000|3600000\n"
           "1970-01-03|1|a|0|-|-|0|-|-|-\n1970-01-03|2|b|0|-|-|0|-|-|-\n"
           "= -|-|-|1|0.5|-|1|3600000|3600000|3600000\n");
    EXPECT(events, "funnel a -> b within 2d attempt earliest each day trend single",
           "1970-01-01|1|a|2|1|-|0|-|-|-\n1970-01-01|2|b|1|0.5|0.5|1|90000000|90000000|90000000\n"
           "= -|-|-|1|0.5|-|1|90000000|90000000|90000000\n");
    EXPECT(events, "funnel a -> b within 2h count totals each day trend single",
           "1970-01-01|1|a|2|1|-|0|-|-|-\n1970-01-01|2|b|0|0|0|2|-|-|-\n"
           "1970-01-02|1|a|1|1|-|0|-|-|-\n1970-01-02|2|b|1|1|1|0|3600000|3600000|3600000\n"
           "1970-01-03|1|a|1|1|-|0|-|-|-\n1970-01-03|2|b|0|0|0|1|-|-|-\n"
           "= -|-|-|1|0.25|-|3|3600000|3600000|3600000\n");
    EXPECT(events, "funnel a -> b within 2d by channel at all steps each day trend single",
           "1970-01-01|ad|1|a|2|1|-|0|-|-|-\n1970-01-01|ad|2|b|0|0|0|2|-|-|-\n"
           "1970-01-01|web|1|a|0|-|-|0|-|-|-\n1970-01-01|web|2|b|0|-|-|0|-|-|-\n"
           "1970-01-02|ad|1|a|0|-|-|0|-|-|-\n1970-01-02|ad|2|b|0|-|-|0|-|-|-\n"
           "1970-01-02|web|1|a|1|1|-|0|-|-|-\n1970-01-02|web|2|b|1|1|1|0|3600000|3600000|3600000\n"
           "1970-01-03|ad|1|a|0|-|-|0|-|-|-\n1970-01-03|ad|2|b|0|-|-|0|-|-|-\n"
           "1970-01-03|web|1|a|1|1|-|0|-|-|-\n1970-01-03|web|2|b|0|0|0|1|-|-|-\n"
           "= -|-|-|-|1|0.5|-|1|3600000|3600000|3600000\n");
}

/* Two days' sessions: what lasts over midnight is counted where it began. */
static void sessions_of_a_single_trend_are_counted_where_they_begin(void **state)
{
    (void)state;
    static const struct snap_event events[] = {
        {"1", "a", "ann", DAY - MINUTE, PLAIN},
        {"2", "a", "ann", DAY + MINUTE, PLAIN},
        {"3", "b", "ann", DAY + 2 * MINUTE, PLAIN},
        {"4", "a", "ann", DAY + 2 * HOUR, PLAIN},
    };
    EXPECT(events, "funnel a -> b count sessions attempt earliest each day trend single",
           "1970-01-01|1|a|1|1|-|0|-|-|-\n1970-01-01|2|b|1|1|1|0|180000|180000|180000\n"
           "1970-01-02|1|a|1|1|-|0|-|-|-\n1970-01-02|2|b|0|0|0|1|-|-|-\n"
           "= -|-|-|1|0.5|-|1|180000|180000|180000\n");
}

static const struct snap_event touched[] = {
    {"1", "a", "ann", 0, PLAIN}, {"2", "b", "ann", 1, AD},  {"3", "c", "ann", 2, WEB},
    {"4", "a", "bob", 0, WEB},   {"5", "b", "bob", 1, WEB}, {"6", "a", "cat", 0, AD},
};

static void breakdowns_are_read_where_it_is_said(void **state)
{
    (void)state;
    EXPECT(
        touched, "funnel a -> b by channel at step 2",
        "-|1|a|1|1|-|0|-|-|-\n-|2|b|0|0|0|1|-|-|-\n"
        "ad|1|a|1|1|-|0|-|-|-\nad|2|b|1|1|1|0|1|1|1\n"
        "web|1|a|1|1|-|0|-|-|-\nweb|2|b|1|1|1|0|1|1|1\n= -|-|-|2|0.66666666666666663|-|1|1|1|1\n");
    EXPECT(touched, "funnel a -> b -> c by channel at first set where user_id = \"ann\"",
           "ad|1|a|1|1|-|0|-|-|-\nad|2|b|1|1|1|0|1|1|1\nad|3|c|1|1|1|0|2|2|2\n"
           "= -|-|-|1|1|-|0|2|2|2\n");
    EXPECT(touched, "funnel a -> b -> c by channel at last set where user_id = \"ann\"",
           "web|1|a|1|1|-|0|-|-|-\nweb|2|b|1|1|1|0|1|1|1\nweb|3|c|1|1|1|0|2|2|2\n"
           "= -|-|-|1|1|-|0|2|2|2\n");
    EXPECT(touched, "funnel a -> b by channel at all steps",
           "-|1|a|1|1|-|0|-|-|-\n-|2|b|0|0|0|1|-|-|-\n"
           "ad|1|a|1|1|-|0|-|-|-\nad|2|b|0|0|0|1|-|-|-\n"
           "web|1|a|1|1|-|0|-|-|-\nweb|2|b|1|1|1|0|1|1|1\n"
           "= -|-|-|1|0.33333333333333331|-|2|1|1|1\n");
}

static void times_are_a_histogram_of_the_whole_way(void **state)
{
    (void)state;
    static const struct snap_event events[] = {
        {"1", "a", "ann", 0, AD},    {"2", "b", "ann", 5, PLAIN}, {"3", "a", "bob", 0, WEB},
        {"4", "b", "bob", 7, PLAIN}, {"5", "a", "cat", 0, AD},    {"6", "b", "cat", 40, PLAIN},
    };
    EXPECT(events, "funnel a -> b times (6ms, 10ms)", "0|6|1\n6|10|1\n10|-|1\n= -|-|3\n");
    EXPECT(events, "funnel a -> b times (7ms) by channel",
           "ad|0|7|1\nad|7|-|1\nweb|0|7|0\nweb|7|-|1\n= -|-|-|3\n");
    EXPECT(events, "funnel a -> b times where user_id != \"cat\"",
           "5|6|1\n6|7|0\n7|8|1\n= -|-|2\n");
    EXPECT(events, "funnel a -> b times",
           "4|6|1\n6|8|1\n8|10|0\n10|12|0\n12|14|0\n14|16|0\n16|18|0\n18|20|0\n"
           "20|22|0\n22|24|0\n24|26|0\n26|28|0\n28|30|0\n30|32|0\n32|34|0\n"
           "34|36|0\n36|38|0\n38|40|0\n40|42|1\n= -|-|3\n");
    EXPECT(events, "funnel b -> a times", "= -|-|0\n");
}

static void correlation_counts_events_between_entry_and_conversion(void **state)
{
    (void)state;
    static const struct snap_event events[] = {
        {"1", "a", "ann", 0, AD},    {"2", "x", "ann", 1, PLAIN},  {"3", "x", "ann", 2, PLAIN},
        {"4", "b", "ann", 3, PLAIN}, {"5", "y", "ann", 4, PLAIN},  {"6", "a", "bob", 0, WEB},
        {"7", "y", "bob", 5, PLAIN}, {"8", "x", "bob", 99, PLAIN},
    };
    EXPECT(events, "funnel a -> b within 10ms correlate events",
           "x|1|0|0|1|-|fisher|1|1\ny|0|1|1|0|0|fisher|1|1\n= -|1|-|1|-|-|-|-|-\n");
    EXPECT(events, "funnel a -> b within 10ms correlate channel",
           "ad|1|0|0|1|-|fisher|1|1\nweb|0|1|1|0|0|fisher|1|1\n= -|1|-|1|-|-|-|-|-\n");
}

static void subjects_may_be_values_of_a_property(void **state)
{
    (void)state;
    static const struct snap_event events[] = {
        {"1", "a", "ann", 0, ONE}, {"2", "b", "bob", 1, ONE},   {"3", "a", "ann", 2, TWO},
        {"4", "b", "cat", 1, TWO}, {"5", "a", "dan", 0, PLAIN},
    };
    EXPECT(events, "funnel a -> b per item",
           "1|a|2|1|-|0|-|-|-\n2|b|1|0.5|0.5|1|1|1|1\n= -|-|1|0.5|-|1|1|1|1\n");
    EXPECT(events, "funnel a -> b per item list users", "1|2\n2|1\n= -|-\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strict_order_breaks_at_any_event_it_looks_at),
        cmocka_unit_test(any_order_counts_steps_and_anchors_keep_their_place),
        cmocka_unit_test(optional_steps_never_block_and_limits_count_from_the_last_step_done),
        cmocka_unit_test(exclusions_end_the_attempt_or_drop_the_user),
        cmocka_unit_test(holding_keeps_the_items_apart),
        cmocka_unit_test(held_values_compete_by_the_steps_in_between),
        cmocka_unit_test(an_item_that_got_furthest_drops_the_user_with_the_others),
        cmocka_unit_test(first_asks_for_the_first_event_ever),
        cmocka_unit_test(reuse_and_the_modes_of_clickhouse),
        cmocka_unit_test(entry_and_attempt_choose_among_the_entries),
        cmocka_unit_test(totals_count_attempts_one_after_the_other),
        cmocka_unit_test(sessions_are_cut_at_pauses_of_more_than_half_an_hour),
        cmocka_unit_test(buckets_are_funnels_of_their_own_entries),
        cmocka_unit_test(buckets_of_a_single_trend_share_the_one_funnel),
        cmocka_unit_test(sessions_of_a_single_trend_are_counted_where_they_begin),
        cmocka_unit_test(breakdowns_are_read_where_it_is_said),
        cmocka_unit_test(times_are_a_histogram_of_the_whole_way),
        cmocka_unit_test(correlation_counts_events_between_entry_and_conversion),
        cmocka_unit_test(subjects_may_be_values_of_a_property),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
