/* tests/unit/query/test_verb_funnel.c - whole funnels: ranges, breakdowns, times, totals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/durations.h"
#include "storage/base/rng.h"
#include "tests/support/verb_run.h"

#include <stdlib.h>

#define MINUTE INT64_C(60000)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define NOW    (100 * DAY)

static const struct snap_prop channel_ad = {.name = "channel", .type = COL_STRING, .text = "ad"};
static const struct snap_prop channel_web = {.name = "channel", .type = COL_STRING, .text = "web"};
#define AD    &channel_ad, 1
#define WEB   &channel_web, 1
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

static const struct snap_event shop[] = {
    {"1", "a", "ann", 0, AD},  {"2", "b", "ann", 10, PLAIN}, {"3", "c", "ann", 30, PLAIN},
    {"4", "a", "bob", 5, WEB}, {"5", "b", "bob", 25, PLAIN}, {"6", "a", "cat", 7, PLAIN},
    {"7", "b", "dan", 9, AD},  {"8", "a", "eve", 50, AD},
};

static void steps_count_users_rates_losses_and_times(void **state)
{
    (void)state;
    EXPECT(shop, "funnel a -> b -> c within 1h",
           "1|a|4|1|-|0|-|-|-\n"
           "2|b|2|0.5|0.5|2|15|15|19\n"
           "3|c|1|0.25|0.5|1|30|30|30\n"
           "= -|-|1|0.25|-|3|30|30|30\n");
}

static void one_step_is_a_funnel(void **state)
{
    (void)state;
    EXPECT(shop, "funnel a within 1h", "1|a|4|1|-|0|-|-|-\n= -|-|4|1|-|0|-|-|-\n");
}

static void a_breakdown_takes_the_value_of_the_entry(void **state)
{
    (void)state;
    EXPECT(shop, "funnel a -> b within 1h by channel",
           "-|1|a|1|1|-|0|-|-|-\n"
           "-|2|b|0|0|0|1|-|-|-\n"
           "ad|1|a|2|1|-|0|-|-|-\n"
           "ad|2|b|1|0.5|0.5|1|10|10|10\n"
           "web|1|a|1|1|-|0|-|-|-\n"
           "web|2|b|1|1|1|0|20|20|20\n"
           "= -|-|-|2|0.5|-|2|15|15|19\n");
}

static void top_shows_the_largest_and_other_the_rest(void **state)
{
    (void)state;
    EXPECT(shop, "funnel a -> b within 1h by channel top 1",
           "ad|1|a|2|1|-|0|-|-|-\n"
           "ad|2|b|1|0.5|0.5|1|10|10|10\n"
           "= -|-|-|2|0.5|-|2|15|15|19\n");
    EXPECT(shop, "funnel a -> b within 1h by channel top 1 with other",
           "ad|1|a|2|1|-|0|-|-|-\n"
           "ad|2|b|1|0.5|0.5|1|10|10|10\n"
           "other|1|a|2|1|-|0|-|-|-\n"
           "other|2|b|1|0.5|0.5|1|20|20|20\n"
           "= -|-|-|2|0.5|-|2|15|15|19\n");
}

static void order_and_limit_cut_rows_but_not_totals(void **state)
{
    (void)state;
    EXPECT(shop, "funnel a -> b within 1h order by users limit 1",
           "2|b|2|0.5|0.5|2|15|15|19\n= -|-|2|0.5|-|2|15|15|19\n");
}

static void nobody_entered_gives_zeros_or_no_groups(void **state)
{
    (void)state;
    EXPECT(shop, "funnel c -> a within 1h from 1980-01-01 to 1980-01-02",
           "1|c|0|-|-|0|-|-|-\n2|a|0|-|-|0|-|-|-\n= -|-|0|-|-|0|-|-|-\n");
    EXPECT(shop, "funnel c -> a within 1h by channel from 1980-01-01 to 1980-01-02",
           "= -|-|-|0|-|-|0|-|-|-\n");
}

static void where_applies_to_every_step(void **state)
{
    (void)state;
    EXPECT(shop, "funnel a -> b within 1h where channel = \"ad\"",
           "1|a|2|1|-|0|-|-|-\n2|b|0|0|0|2|-|-|-\n= -|-|0|0|-|2|-|-|-\n");
}

static void later_steps_may_lie_beyond_the_range_unless_closed(void **state)
{
    (void)state;
    static const struct snap_event events[] = {
        {"1", "a", "ann", DAY - 1, PLAIN}, {"2", "b", "ann", DAY - 1 + HOUR, PLAIN},
        {"3", "a", "bob", DAY, PLAIN},     {"4", "b", "bob", DAY + 1, PLAIN},
        {"5", "a", "cat", DAY - 1, PLAIN}, {"6", "b", "cat", DAY + HOUR, PLAIN},
        {"7", "a", "dan", DAY - 2, PLAIN}, {"8", "b", "dan", DAY - 1, PLAIN},
    };
    EXPECT(events, "funnel a -> b within 1h on 1970-01-01",
           "1|a|3|1|-|0|-|-|-\n2|b|2|0.66666666666666663|0.66666666666666663|1|1800000.5|1800000.5|"
           "3240000.1000000001\n= -|-|2|0.66666666666666663|-|1|1800000.5|1800000.5|"
           "3240000.1000000001\n");
    EXPECT(events, "funnel a -> b within 1h closed on 1970-01-01",
           "1|a|3|1|-|0|-|-|-\n2|b|1|0.33333333333333331|0.33333333333333331|2|1|1|1\n"
           "= -|-|1|0.33333333333333331|-|2|1|1|1\n");
}

static void two_equal_steps_need_two_events(void **state)
{
    (void)state;
    static const struct snap_event events[] = {
        {"1", "a", "ann", 0, PLAIN},
        {"2", "a", "ann", 0, PLAIN},
        {"3", "a", "bob", 0, PLAIN},
    };
    EXPECT(events, "funnel a -> a within 1h",
           "1|a|2|1|-|0|-|-|-\n2|a|1|0.5|0.5|1|0|0|0\n= -|-|1|0.5|-|1|0|0|0\n");
    EXPECT(events, "funnel a -> a within 1h ties strict",
           "1|a|2|1|-|0|-|-|-\n2|a|0|0|0|2|-|-|-\n= -|-|0|0|-|2|-|-|-\n");
}

static void of_several_entries_in_one_instant_the_smallest_key_counts(void **state)
{
    (void)state;
    static const struct snap_event events[] = {
        /* Both could enter: "ad" is smaller. */
        {"1", "a", "ann", 5, WEB},
        {"2", "a", "ann", 5, AD},
        {"3", "b", "ann", 6, PLAIN},
        /* The one of "ad" is needed as the second step in the same instant. */
        {"4", "a", "bob", 5, WEB},
        {"5", "x", "bob", 5, AD},
    };
    EXPECT(events, "funnel (a | x) -> (b | x) within 0ms by channel",
           "ad|1|(a | x)|1|1|-|0|-|-|-\n"
           "ad|2|(b | x)|0|0|0|1|-|-|-\n"
           "web|1|(a | x)|1|1|-|0|-|-|-\n"
           "web|2|(b | x)|1|1|1|0|0|0|0\n"
           "= -|-|-|1|0.5|-|1|0|0|0\n");
}

static void deleted_subjects_are_left_out(void **state)
{
    (void)state;
    CLEANUP(buf_freep) struct buf out = {0};
    struct snap_opts opts = {.source_count = 2, .memory_count = 1};
    CLEANUP(snap_freep) struct snap *snap = snap_build(shop, COUNT_OF(shop), &opts);
    snap_delete(snap, "ann");
    assert_string_equal(verb_run(snap, "funnel a -> b within 1h", NOW, VERB_RUN_INDEXED, &out),
                        "1|a|3|1|-|0|-|-|-\n2|b|1|0.33333333333333331|0.33333333333333331|2|"
                        "20|20|20\n= -|-|1|0.33333333333333331|-|2|20|20|20\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_count_users_rates_losses_and_times),
        cmocka_unit_test(one_step_is_a_funnel),
        cmocka_unit_test(a_breakdown_takes_the_value_of_the_entry),
        cmocka_unit_test(top_shows_the_largest_and_other_the_rest),
        cmocka_unit_test(order_and_limit_cut_rows_but_not_totals),
        cmocka_unit_test(nobody_entered_gives_zeros_or_no_groups),
        cmocka_unit_test(where_applies_to_every_step),
        cmocka_unit_test(later_steps_may_lie_beyond_the_range_unless_closed),
        cmocka_unit_test(two_equal_steps_need_two_events),
        cmocka_unit_test(of_several_entries_in_one_instant_the_smallest_key_counts),
        cmocka_unit_test(deleted_subjects_are_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
