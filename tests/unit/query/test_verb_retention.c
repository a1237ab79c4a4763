/* tests/unit/query/test_verb_retention.c - whole retention tables: cohorts, zones, breakdowns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support/verb_run.h"

#define HOUR INT64_C(3600000)
#define DAY  (24 * HOUR)
#define NOW  (3 * DAY)

static const struct snap_prop channel_ad = {.name = "channel", .type = COL_STRING, .text = "ad"};
static const struct snap_prop channel_web = {.name = "channel", .type = COL_STRING, .text = "web"};
#define AD    &channel_ad, 1
#define WEB   &channel_web, 1
#define PLAIN NULL, 0

static void expect_at(const struct snap_event *events, uint32_t count, const char *text,
                      int64_t now_ms, const char *want)
{
    CLEANUP(buf_freep) struct buf out = {0};
    for (uint32_t sources = 1; sources <= 3; sources++) {
        struct snap_opts opts = {.source_count = sources, .memory_count = 1, .seed = sources};
        CLEANUP(snap_freep) struct snap *snap = snap_build(events, count, &opts);
        assert_string_equal(verb_run(snap, text, now_ms, VERB_RUN_INDEXED, &out), want);
        assert_string_equal(verb_run(snap, text, now_ms, VERB_RUN_REFERENCE, &out), want);
    }
}
#define EXPECT(events, text, want) expect_at((events), COUNT_OF(events), (text), NOW, (want))

static const struct snap_event app[] = {
    {"1", "reg", "ann", 0, AD},
    {"2", "open", "ann", DAY, PLAIN},
    {"3", "reg", "bob", HOUR, WEB},
    {"4", "open", "bob", 2 * HOUR, PLAIN},
    {"5", "open", "bob", 2 * DAY, PLAIN},
    {"6", "reg", "cat", DAY + 5, AD},
    {"7", "open", "cat", 2 * DAY + 5, PLAIN},
    {"8", "open", "dan", DAY, PLAIN},
    {"9", "reg", "bob", DAY, AD},
};

static void cohorts_have_sizes_users_rates_and_say_what_is_complete(void **state)
{
    (void)state;
    EXPECT(app, "retention reg -> open each day for 2 from 1970-01-01 to 1970-01-04",
           "1970-01-01|0|2|1|0.5|true\n"
           "1970-01-01|1|2|1|0.5|true\n"
           "1970-01-01|2|2|1|0.5|true\n"
           "1970-01-02|0|1|0|0|true\n"
           "1970-01-02|1|1|1|1|true\n"
           "1970-01-02|2|1|0|0|false\n"
           "1970-01-03|0|0|0|-|true\n"
           "1970-01-03|1|0|0|-|false\n"
           "1970-01-03|2|0|0|-|false\n"
           "= -|-|3|-|-|-\n");
}

static void without_a_range_cohorts_run_from_the_first_to_the_last_with_members(void **state)
{
    (void)state;
    EXPECT(app, "retention reg -> open each day for 1",
           "1970-01-01|0|2|1|0.5|true\n"
           "1970-01-01|1|2|1|0.5|true\n"
           "1970-01-02|0|1|0|0|true\n"
           "1970-01-02|1|1|1|1|true\n"
           "= -|-|3|-|-|-\n");
}

static void a_breakdown_takes_the_value_of_the_start(void **state)
{
    (void)state;
    EXPECT(app, "retention reg -> open each day for 1 by channel",
           "1970-01-01|ad|0|1|0|0|true\n"
           "1970-01-01|ad|1|1|1|1|true\n"
           "1970-01-01|web|0|1|1|1|true\n"
           "1970-01-01|web|1|1|0|0|true\n"
           "1970-01-02|ad|0|1|0|0|true\n"
           "1970-01-02|ad|1|1|1|1|true\n"
           "1970-01-02|web|0|0|0|-|true\n"
           "1970-01-02|web|1|0|0|-|true\n"
           "= -|-|-|3|-|-|-\n");
    EXPECT(app, "retention reg -> open each day for 0 by channel top 1 with other",
           "1970-01-01|ad|0|1|0|0|true\n"
           "1970-01-01|other|0|1|1|1|true\n"
           "1970-01-02|ad|0|1|0|0|true\n"
           "1970-01-02|other|0|0|0|-|true\n"
           "= -|-|-|3|-|-|-\n");
}

static void recurring_counts_a_user_in_every_cohort(void **state)
{
    (void)state;
    EXPECT(app, "retention reg -> open each day for 1 recurring",
           "1970-01-01|0|2|1|0.5|true\n"
           "1970-01-01|1|2|1|0.5|true\n"
           "1970-01-02|0|2|0|0|true\n"
           "1970-01-02|1|2|2|1|true\n"
           "= -|-|4|-|-|-\n");
}

static void first_ever_knows_what_was_before_the_range_and_first_does_not(void **state)
{
    (void)state;
    EXPECT(app, "retention reg -> open each day for 1 from 1970-01-02 to 1970-01-03",
           "1970-01-02|0|1|0|0|true\n1970-01-02|1|1|1|1|true\n= -|-|1|-|-|-\n");
    EXPECT(app, "retention reg -> open each day for 1 first from 1970-01-02 to 1970-01-03",
           "1970-01-02|0|2|0|0|true\n1970-01-02|1|2|2|1|true\n= -|-|2|-|-|-\n");
}

static void unfiltered_asks_the_first_event_of_the_name(void **state)
{
    (void)state;
    EXPECT(app, "retention reg[channel = \"ad\"] -> open each day for 0",
           "1970-01-01|0|1|0|0|true\n1970-01-02|0|2|0|0|true\n= -|-|3|-|-|-\n");
    EXPECT(app, "retention reg[channel = \"ad\"] -> open each day for 0 first_ever unfiltered",
           "1970-01-01|0|1|0|0|true\n1970-01-02|0|1|0|0|true\n= -|-|2|-|-|-\n");
    /* `where` is one more filter, and does not hide the first event either. */
    EXPECT(app, "retention reg -> reg each day for 0 first_ever unfiltered where channel = \"ad\"",
           "1970-01-01|0|1|0|0|true\n1970-01-02|0|1|0|0|true\n= -|-|2|-|-|-\n");
}

static const struct snap_event late[] = {
    {"1", "open", "ann", 0, PLAIN},
    {"2", "open", "ann", 2 * DAY, PLAIN},
};

static void unbounded_counts_a_return_on_the_very_end_of_the_range(void **state)
{
    (void)state;
    EXPECT(late, "retention open -> open each day for 0 unbounded from 1970-01-01 to 1970-01-03",
           "1970-01-01|0|1|1|1|true\n"
           "1970-01-02|0|0|0|-|true\n"
           "= -|-|1|-|-|-\n");
}

static const struct snap_event years[] = {
    {"1", "reg", "ann", 0, PLAIN},
    {"2", "open", "ann", HOUR, PLAIN},
    {"3", "open", "ann", 900 * DAY, PLAIN},
};

/* Memory for each pair of hours would be gigabytes. */
static void hours_of_years_take_memory_by_the_hour(void **state)
{
    (void)state;
    EXPECT(years, "retention reg -> open each hour for 1",
           "1970-01-01T00:00:00Z|0|1|0|0|true\n"
           "1970-01-01T00:00:00Z|1|1|1|1|true\n"
           "= -|-|1|-|-|-\n");
}

static void unbounded_and_at_least_change_what_coming_back_means(void **state)
{
    (void)state;
    EXPECT(app, "retention reg -> open each day for 2 unbounded on 1970-01-01",
           "1970-01-01|0|2|2|1|true\n"
           "1970-01-01|1|2|2|1|true\n"
           "1970-01-01|2|2|1|0.5|true\n"
           "= -|-|2|-|-|-\n");
    /* Back after the last period is back in it or later, with sums beside it as well. */
    EXPECT(app, "retention reg -> open each day for 0 unbounded value sum(amount) on 1970-01-01",
           "1970-01-01|0|2|2|1|true|0\n= -|-|2|-|-|-|-\n");
    EXPECT(app, "retention reg -> any each day for 1 at least 2 on 1970-01-01",
           "1970-01-01|0|2|0|0|true\n1970-01-01|1|2|0|0|true\n= -|-|2|-|-|-\n");
}

static void days_are_those_of_the_zone(void **state)
{
    (void)state;
    static const struct snap_event events[] = {
        {"1", "reg", "ann", 15 * HOUR + 59 * 60000, PLAIN}, /* 23:59 in Shanghai */
        {"2", "open", "ann", 16 * HOUR, PLAIN},
    };
    EXPECT(events, "retention reg -> open each day for 1 tz \"Asia/Shanghai\"",
           "1970-01-01|0|1|0|0|true\n1970-01-01|1|1|1|1|true\n= -|-|1|-|-|-\n");
    EXPECT(events, "retention reg -> open each day for 1",
           "1970-01-01|0|1|1|1|true\n1970-01-01|1|1|0|0|true\n= -|-|1|-|-|-\n");
    EXPECT(events, "retention reg -> open each hour for 1",
           "1970-01-01T15:00:00Z|0|1|0|0|true\n1970-01-01T15:00:00Z|1|1|1|1|true\n"
           "= -|-|1|-|-|-\n");
    EXPECT(events, "retention reg -> open each week for 0 week starts sunday",
           "1969-12-28|0|1|1|1|true\n= -|-|1|-|-|-\n");
}

static void of_tied_starts_the_one_that_leaves_most_returns_then_the_smallest_key(void **state)
{
    (void)state;
    static const struct snap_event events[] = {
        {"1", "reg", "ann", 5, WEB},
        {"2", "reg", "ann", 5, AD},
        /* The event of "ad" is needed as the return. */
        {"3", "x", "bob", 5, AD},
        {"4", "reg", "bob", 5, WEB},
    };
    EXPECT(events, "retention (reg | x) -> x each day for 0 by channel",
           "1970-01-01|ad|0|1|0|0|true\n1970-01-01|web|0|1|1|1|true\n= -|-|-|2|-|-|-\n");
}

static void nobody_gives_zeros_in_an_explicit_range_and_nothing_without(void **state)
{
    (void)state;
    EXPECT(app, "retention open[channel = \"no\"] -> open each day for 0", "= -|-|0|-|-|-\n");
    EXPECT(app, "retention reg -> open each month for 0 from 1980-01-01 to 1980-02-01",
           "1980-01-01|0|0|0|-|false\n= -|-|0|-|-|-\n");
}

static void deleted_subjects_are_left_out(void **state)
{
    (void)state;
    CLEANUP(buf_freep) struct buf out = {0};
    struct snap_opts opts = {.source_count = 2, .memory_count = 1};
    CLEANUP(snap_freep) struct snap *snap = snap_build(app, COUNT_OF(app), &opts);
    snap_delete(snap, "bob");
    assert_string_equal(
        verb_run(snap, "retention reg -> open each day for 0", NOW, VERB_RUN_INDEXED, &out),
        "1970-01-01|0|1|0|0|true\n1970-01-02|0|1|0|0|true\n= -|-|2|-|-|-\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cohorts_have_sizes_users_rates_and_say_what_is_complete),
        cmocka_unit_test(without_a_range_cohorts_run_from_the_first_to_the_last_with_members),
        cmocka_unit_test(a_breakdown_takes_the_value_of_the_start),
        cmocka_unit_test(recurring_counts_a_user_in_every_cohort),
        cmocka_unit_test(first_ever_knows_what_was_before_the_range_and_first_does_not),
        cmocka_unit_test(unfiltered_asks_the_first_event_of_the_name),
        cmocka_unit_test(unbounded_counts_a_return_on_the_very_end_of_the_range),
        cmocka_unit_test(hours_of_years_take_memory_by_the_hour),
        cmocka_unit_test(unbounded_and_at_least_change_what_coming_back_means),
        cmocka_unit_test(days_are_those_of_the_zone),
        cmocka_unit_test(of_tied_starts_the_one_that_leaves_most_returns_then_the_smallest_key),
        cmocka_unit_test(nobody_gives_zeros_in_an_explicit_range_and_nothing_without),
        cmocka_unit_test(deleted_subjects_are_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
