/* tests/unit/query/test_verb_cohorts.c - golden cases of the family of retention: borders of days, days of 23 and 25
 * hours, days without midnight and days that never were; values, averages, ltv, churn, dau_mau as a table each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/civil.h"
#include "storage/base/buf.h"
#include "storage/base/size.h"
#include "tests/support/snap_query.h"

#include <inttypes.h>
#include <stdio.h>

struct did {
    const char *user;
    const char *name;
    const char *at;
    int64_t amount; /* 0: none */
};

#define DIDS_MAX 40

static void print_cell(const struct cell *cell, struct buf *out)
{
    switch (cell->kind) {
    case CELL_NULL: buf_z(out, "-"); return;
    case CELL_I64: buf_printf(out, "%" PRId64, cell->i64); return;
    case CELL_F64: buf_printf(out, "%.6g", cell->f64); return;
    case CELL_DECIMAL: num_total_format(cell->decimal, out); return;
    case CELL_STRING: buf_str(out, cell->string); return;
    case CELL_BOOL: buf_z(out, cell->boolean ? "yes" : "no"); return;
    case CELL_LIST:
        for (uint32_t i = 0; i < cell->list.count; i++) {
            buf_z(out, i == 0 ? "" : "+");
            buf_str(out, cell->list.items[i]);
        }
        return;
    }
}

/* The rows as lines of cells, on both paths and in two layouts, which must agree. */
static void expect(const struct did *dids, uint32_t count, const char *text, const char *want)
{
    static char ids[DIDS_MAX][8];
    static struct snap_prop props[DIDS_MAX];
    static struct snap_event events[DIDS_MAX];
    struct err err = {0};
    ASSERT(count <= DIDS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        enum civil_precision precision = CIVIL_PRECISION_DATE;
        (void)snprintf(ids[i], sizeof(ids[i]), "e%03u", i % 1000);
        props[i] = (struct snap_prop){
            .name = "amount", .type = COL_NUMBER, .number = num_int(dids[i].amount)};
        events[i] = (struct snap_event){.event_id = ids[i],
                                        .name = dids[i].name,
                                        .user = dids[i].user,
                                        .props = &props[i],
                                        .prop_count = dids[i].amount != 0 ? 1 : 0};
        assert_int_equal(
            civil_parse(str_of(dids[i].at), zone_utc(), &events[i].time_ms, &precision, &err),
            ERR_OK);
    }
    for (uint32_t layout = 0; layout < 4; layout++) {
        CLEANUP(buf_freep) struct buf got = {0};
        CLEANUP(result_freep) struct result *result = NULL;
        struct snap_opts opts = {
            .source_count = 1 + layout, .memory_count = layout / 2, .shard_count = 2, .seed = 3};
        struct snap_query_opts how = {.is_reference_path = layout % 2 == 1};
        struct snap *snap = snap_build(events, count, &opts);
        if (snap_query(snap, text, &how, &result, &err) != ERR_OK) {
            fail_msg("%s: %s", text, err.message);
        }
        for (uint64_t i = 0; i < result->row_count * result->col_count; i++) {
            print_cell(&result->cells[i], &got);
            buf_z(&got, (i + 1) % result->col_count == 0 ? "\n" : "|");
        }
        buf_u8(&got, 0);
        assert_string_equal((const char *)got.ptr, want);
        snap_free(snap);
    }
}
#define EXPECT(dids, text, want) expect((dids), COUNT_OF(dids), (text), (want))

/* ---- golden case 11 ---- */

static void a_return_just_behind_midnight_is_day_1_by_the_calendar_and_day_0_rolling(void **state)
{
    (void)state;
    static const struct did dids[] = {{"ann", "reg", "2025-05-01T23:59:59.999Z", 0},
                                      {"ann", "open", "2025-05-02T00:00:00.000Z", 0}};
    EXPECT(dids, "retention reg -> open each day for 1 on 2025-05-01",
           "2025-05-01|0|1|0|0|yes\n2025-05-01|1|1|1|1|yes\n");
    EXPECT(dids, "retention reg -> open each day for 1 rolling on 2025-05-01",
           "2025-05-01|0|1|1|1|yes\n2025-05-01|1|1|0|0|yes\n");
    EXPECT(dids, "lifecycle of any each day from 2025-05-01 to 2025-05-04",
           "2025-05-01|1|0|0|0\n2025-05-02|0|1|0|0\n2025-05-03|0|0|0|1\n");
    EXPECT(dids, "stickiness of any each day from 2025-05-01 to 2025-05-03", "1|0\n2|1\n");
    EXPECT(dids, "stickiness of any each day from 2025-05-01 to 2025-05-02T00:00", "1|1\n");
}

static void a_return_after_exactly_a_period_is_of_the_next(void **state)
{
    (void)state;
    static const struct did dids[] = {{"ann", "reg", "2025-05-01T10:00:00.000Z", 0},
                                      {"ann", "open", "2025-05-02T09:59:59.999Z", 0},
                                      {"ann", "open", "2025-05-03T10:00:00.000Z", 0}};
    EXPECT(dids, "retention reg -> open each day for 2 rolling on 2025-05-01",
           "2025-05-01|0|1|1|1|yes\n2025-05-01|1|1|0|0|yes\n2025-05-01|2|1|1|1|yes\n");
    EXPECT(dids, "retention reg -> open each day bracket (0, 1-2) rolling on 2025-05-01",
           "2025-05-01|0|1|1|1|yes\n2025-05-01|1-2|1|1|1|yes\n");
}

/* ---- by a key ---- */

static void each_value_has_a_life_of_its_own(void **state)
{
    (void)state;
    static const struct did dids[] = {{"ann", "open", "2025-05-01T10:00:00.000Z", 1},
                                      {"ann", "open", "2025-05-02T10:00:00.000Z", 2},
                                      {"bob", "open", "2025-05-01T10:00:00.000Z", 2},
                                      {"cid", "open", "2025-05-02T10:00:00.000Z", 0}};
    EXPECT(dids, "lifecycle of any each day by amount from 2025-05-01 to 2025-05-03",
           "2025-05-01|-|0|0|0|0\n2025-05-01|1|1|0|0|0\n2025-05-01|2|1|0|0|0\n"
           "2025-05-02|-|1|0|0|0\n2025-05-02|1|0|0|0|1\n2025-05-02|2|1|0|0|1\n");
    EXPECT(dids, "lifecycle of any each day by amount top 1 from 2025-05-01 to 2025-05-03",
           "2025-05-01|2|1|0|0|0\n2025-05-02|2|1|0|0|1\n");
    EXPECT(dids, "stickiness of any each day by amount from 2025-05-01 to 2025-05-03",
           "-|1|1\n-|2|0\n1|1|1\n1|2|0\n2|1|2\n2|2|0\n");
    EXPECT(dids, "stickiness of any each day over month by amount top 1 cumulative "
                 "from 2025-05-01 to 2025-05-03",
           "2025-05-01|2|1|2\n2025-05-01|2|2|0\n");
}

/* ---- golden case 12 ---- */

static void days_of_23_and_25_hours_are_days(void **state)
{
    (void)state;
    /* Paris: 2024-03-31 has 23 hours, from 23:00Z to 22:00Z; 2024-10-27 has 25, from 22:00Z to 23:00Z */
    static const struct did dids[] = {
        {"ann", "reg", "2024-03-30T23:00:00.000Z", 0}, /* the first instant of the short day */
        {"ann", "open", "2024-03-31T22:00:00.000Z", 0},
        {"bob", "reg", "2024-10-26T22:00:00.000Z", 0}, /* of the long day */
        {"bob", "open", "2024-10-27T22:59:59.999Z", 0},
    };
    EXPECT(dids,
           "retention reg -> open each day for 1 from 2024-03-31 to 2024-04-01 tz \"Europe/Paris\"",
           "2024-03-31|0|1|0|0|yes\n2024-03-31|1|1|1|1|yes\n");
    EXPECT(dids,
           "retention reg -> open each day for 1 from 2024-10-27 to 2024-10-28 tz \"Europe/Paris\"",
           "2024-10-27|0|1|1|1|yes\n2024-10-27|1|1|0|0|yes\n");
    /* 23 hours are less than a rolling day, 24 hours and a bit are more */
    EXPECT(dids,
           "retention reg -> open each day for 1 rolling from 2024-03-31 to 2024-04-01 "
           "tz \"Europe/Paris\"",
           "2024-03-31|0|1|1|1|yes\n2024-03-31|1|1|0|0|yes\n");
    EXPECT(dids,
           "retention reg -> open each day for 1 rolling from 2024-10-27 to 2024-10-28 "
           "tz \"Europe/Paris\"",
           "2024-10-27|0|1|0|0|yes\n2024-10-27|1|1|1|1|yes\n");
    EXPECT(dids, "lifecycle of any each day from 2024-03-31 to 2024-04-02 tz \"Europe/Paris\"",
           "2024-03-31|1|0|0|0\n2024-04-01|0|1|0|0\n");
    EXPECT(dids, "lifecycle of any each day from 2024-10-27 to 2024-10-29 tz \"Europe/Paris\"",
           "2024-10-27|1|0|0|0\n2024-10-28|0|0|0|1\n");
    EXPECT(dids, "stickiness of any each day from 2024-10-27 to 2024-10-29 tz \"Europe/Paris\"",
           "1|1\n2|0\n");
}

static void shanghai_has_its_own_days(void **state)
{
    (void)state;
    static const struct did dids[] = {{"ann", "reg", "2025-05-01T15:59:59.999Z", 0},
                                      {"ann", "open", "2025-05-01T16:00:00.000Z", 0}};
    EXPECT(dids, "retention reg -> open each day for 1 on 2025-05-01 tz \"Asia/Shanghai\"",
           "2025-05-01|0|1|0|0|yes\n2025-05-01|1|1|1|1|yes\n");
    EXPECT(dids, "lifecycle of any each day from 2025-05-01 to 2025-05-03 tz \"Asia/Shanghai\"",
           "2025-05-01|1|0|0|0\n2025-05-02|0|1|0|0\n");
}

static void a_day_without_midnight_begins_where_it_begins(void **state)
{
    (void)state;
    /* Sao Paulo, 2018-11-04: the clock goes from 23:59:59 to 01:00, which is 03:00Z */
    static const struct did dids[] = {{"ann", "reg", "2018-11-04T02:59:59.999Z", 0},
                                      {"ann", "open", "2018-11-04T03:00:00.000Z", 0}};
    EXPECT(dids, "retention reg -> open each day for 1 on 2018-11-03 tz \"America/Sao_Paulo\"",
           "2018-11-03|0|1|0|0|yes\n2018-11-03|1|1|1|1|yes\n");
    EXPECT(dids, "lifecycle of any each day from 2018-11-03 to 2018-11-05 tz \"America/Sao_Paulo\"",
           "2018-11-03|1|0|0|0\n2018-11-04|0|1|0|0\n");
    EXPECT(dids,
           "stickiness of any each day from 2018-11-03 to 2018-11-05 tz \"America/Sao_Paulo\"",
           "1|0\n2|1\n");
    EXPECT(dids, "churn 1d of any from 2018-11-04 to 2018-11-05 tz \"America/Sao_Paulo\"",
           "1|0|0\n");
}

static void a_day_that_never_was_is_no_period(void **state)
{
    (void)state;
    /* Apia left out 2011-12-30: the 29th ends, and the 31st begins, at 10:00Z of the 30th */
    static const struct did dids[] = {{"ann", "reg", "2011-12-29T20:00:00.000Z", 0},
                                      {"ann", "open", "2011-12-30T12:00:00.000Z", 0},
                                      {"bob", "reg", "2011-12-29T20:00:00.000Z", 0}};
    /* civil dates: the return is on day 2, and day 1 is one on which nobody could come */
    EXPECT(dids, "retention reg -> open each day for 2 on 2011-12-29 tz \"Pacific/Apia\"",
           "2011-12-29|0|2|0|0|yes\n2011-12-29|1|2|0|0|yes\n2011-12-29|2|2|1|0.5|yes\n");
    /* which breaks no streak */
    EXPECT(dids, "retention reg -> open each day for 2 streak on 2011-12-29 tz \"Pacific/Apia\"",
           "2011-12-29|0|2|0|0|yes\n2011-12-29|1|2|2|1|yes\n2011-12-29|2|2|1|0.5|yes\n");
    /* the day before the 31st is the 29th */
    EXPECT(dids, "lifecycle of any each day from 2011-12-29 to 2012-01-01 tz \"Pacific/Apia\"",
           "2011-12-29|2|0|0|0\n2011-12-31|0|1|0|1\n");
    EXPECT(dids, "stickiness of any each day from 2011-12-29 to 2012-01-01 tz \"Pacific/Apia\"",
           "1|1\n2|1\n");
    EXPECT(dids, "churn 1d of any from 2011-12-31 to 2012-01-01 tz \"Pacific/Apia\"", "2|1|0.5\n");
}

/* ---- values, averages, ltv ---- */

static const struct did shop[] = {
    {"ann", "reg", "2025-01-10T10:00:00.000Z", 0},  {"ann", "pay", "2025-01-20T10:00:00.000Z", 30},
    {"ann", "pay", "2025-02-20T10:00:00.000Z", 10}, {"ann", "pay", "2025-03-20T10:00:00.000Z", 20},
    {"bob", "reg", "2025-01-11T10:00:00.000Z", 0},  {"bob", "open", "2025-03-01T10:00:00.000Z", 0},
    {"cat", "reg", "2025-02-12T10:00:00.000Z", 0},  {"cat", "pay", "2025-03-12T10:00:00.000Z", 7},
};

static void values_are_summed_by_mode(void **state)
{
    (void)state;
    EXPECT(shop,
           "retention reg -> pay each month for 2 value sum(amount of pay) "
           "from 2025-01-01 to 2025-02-01",
           "2025-01-01|0|2|1|0.5|yes|30\n2025-01-01|1|2|1|0.5|yes|10\n"
           "2025-01-01|2|2|1|0.5|yes|20\n");
    EXPECT(shop,
           "retention reg -> pay each month for 2 until value sum(amount) "
           "from 2025-01-01 to 2025-02-01",
           "2025-01-01|0|2|1|0.5|yes|30\n2025-01-01|1|2|1|0.5|yes|40\n"
           "2025-01-01|2|2|1|0.5|yes|60\n");
    EXPECT(shop,
           "retention reg -> pay each month for 1 unbounded value avg(amount) "
           "from 2025-01-01 to 2025-02-01",
           "2025-01-01|0|2|1|0.5|yes|20\n2025-01-01|1|2|1|0.5|yes|15\n");
}

static void an_average_weighs_cohorts_by_their_members_and_takes_complete_cells_only(void **state)
{
    (void)state;
    /* now is 2025-05-15: period 3 of February's cohort still runs */
    EXPECT(shop,
           "retention reg -> pay each month for 3 average value sum(amount) "
           "from 2025-01-01 to 2025-03-01",
           "0|2|3|1|0.333333|30\n1|2|3|2|0.666667|17\n2|2|3|1|0.333333|20\n3|1|2|0|0|0\n");
}

static void ltv_adds_up_arpu_times_survival(void **state)
{
    (void)state;
    EXPECT(shop, "ltv reg value sum(amount of pay) each month for 2 from 2025-01-01 to 2025-02-01",
           "2025-01-01|0|2|2|30|15|1|15|yes\n2025-01-01|1|2|1|10|10|0.5|20|yes\n"
           "2025-01-01|2|2|2|20|10|1|30|yes\n");
    /* who only opens is not active among those who pay */
    EXPECT(shop,
           "ltv reg -> pay value sum(amount) each month for 2 discount 1 "
           "from 2025-01-01 to 2025-02-01",
           "2025-01-01|0|2|1|30|30|0.5|15|yes\n2025-01-01|1|2|1|10|10|0.5|17.5|yes\n"
           "2025-01-01|2|2|1|20|20|0.5|20|yes\n");
}

/* ---- churn, dau_mau, conditions ---- */

static void churned_are_those_silent_for_long_enough_inside_of_the_window(void **state)
{
    (void)state;
    static const struct did dids[] = {
        {"ann", "open", "2025-04-30T10:00:00.000Z", 0}, /* base; silent from May 1 to 3 */
        {"ann", "open", "2025-05-04T10:00:00.000Z", 0},
        {"bob", "open", "2025-04-29T00:00:00.000Z", 0}, /* base; never three days of silence */
        {"bob", "open", "2025-05-03T10:00:00.000Z", 0},
        {"cat", "open", "2025-04-27T23:59:59.999Z", 0}, /* four days before: no base */
        {"dan", "open", "2025-05-03T10:00:00.000Z", 0}, /* new: no base */
    };
    EXPECT(dids, "churn 3d of any from 2025-05-01 to 2025-05-06", "2|1|0.5\n");
    EXPECT(dids, "churn 3d of any from 2025-05-01 to 2025-05-06 list users",
           "ann|2025-05-04T10:00:00Z\n");
    /* the end of the range is no silence */
    EXPECT(dids, "churn 3d of any from 2025-05-01 to 2025-05-04", "2|1|0.5\n");
    /* on May 15: ann was seen 11 days ago, bob and dan 12, cat 18 */
    EXPECT(dids, "churn 12d of any last_seen", "4|3|0.75\n");
    EXPECT(dids, "churn 12d of any last_seen from 2025-05-01 to 2025-05-10", "3|2|0.666667\n");
    EXPECT(dids, "churn 18d of any last_seen list users", "cat|2025-04-27T23:59:59.999Z\n");
}

static void every_bucket_is_a_window_of_churn_by_itself(void **state)
{
    (void)state;
    static const struct did dids[] = {
        {"ann", "open", "2025-04-29T10:00:00.000Z", 1}, /* base of May 1 and 2 */
        {"ann", "open", "2025-05-01T10:00:00.000Z", 2}, /* and of May 3 and 4, with another value */
        {"bob", "open", "2025-05-02T10:00:00.000Z", 1},
    };
    EXPECT(dids, "churn 2d of any each 2d from 2025-04-30 to 2025-05-06",
           "2025-04-30|1|0|0\n2025-05-02|1|1|1\n2025-05-04|1|1|1\n");
    EXPECT(dids, "churn 1d of any each day by amount from 2025-05-01 to 2025-05-04",
           "2025-05-01|1|0|0|-\n2025-05-01|2|0|0|-\n2025-05-02|1|0|0|-\n2025-05-02|2|1|1|1\n"
           "2025-05-03|1|1|1|1\n2025-05-03|2|0|0|-\n");
    EXPECT(dids, "churn 1d of any each day by amount top 1 from 2025-05-02 to 2025-05-04",
           "2025-05-02|1|0|0|-\n2025-05-03|1|1|1|1\n");
    /* a day that still runs is silent for nobody, even if a later one is known to be busy */
    static const struct did ahead[] = {
        {"ann", "open", "2025-05-13T10:00:00.000Z", 0},
        {"ann", "open", "2025-05-16T10:00:00.000Z", 0},
    };
    EXPECT(ahead, "churn 1d of any from 2025-05-14 to 2025-05-17", "1|1|1\n");
    EXPECT(ahead, "churn 1d of any from 2025-05-15 to 2025-05-17", "0|0|-\n");
    EXPECT(ahead, "churn 2d of any from 2025-05-14 to 2025-05-17", "1|0|0\n");
}

static void dau_mau_is_the_mean_day_over_the_month(void **state)
{
    (void)state;
    static const struct did dids[] = {
        {"ann", "open", "2025-04-01T10:00:00.000Z", 0},
        {"ann", "open", "2025-04-02T10:00:00.000Z", 0},
        {"bob", "open", "2025-04-02T10:00:00.000Z", 0},
        {"ann", "open", "2025-05-14T10:00:00.000Z", 0},
    };
    /* of May 15 days have begun */
    EXPECT(dids, "stickiness dau_mau of any from 2025-04-10 to 2025-05-11",
           "2025-04-01|30|0.1|2|0.05\n2025-05-01|15|0.0666667|1|0.0666667\n");
    EXPECT(dids, "stickiness dau_mau of any rolling 2d from 2025-04-02 to 2025-04-04",
           "2025-04-02|1.5|2|0.75\n2025-04-03|1|2|0.5\n");
}

static void conditions_say_who_met_the_first_and_which_others(void **state)
{
    (void)state;
    EXPECT(shop, "conditions reg, pay, open", "1|reg|3|1\n2|pay|2|0.666667\n3|open|1|0.333333\n");
    EXPECT(shop, "conditions pay, reg, open list users", "ann|1+2\nbob|\ncat|1+2\n");
    /* of the events of each value alone */
    EXPECT(shop, "conditions any, pay, open by amount",
           "-|1|any|3|1\n-|2|pay|0|0\n-|3|open|1|0.333333\n7|1|any|1|1\n7|2|pay|1|1\n7|3|open|0|0\n"
           "10|1|any|1|1\n10|2|pay|1|1\n10|3|open|0|0\n20|1|any|1|1\n20|2|pay|1|1\n20|3|open|0|0\n"
           "30|1|any|1|1\n30|2|pay|1|1\n30|3|open|0|0\n");
    EXPECT(shop, "conditions pay, reg by amount top 2",
           "7|1|pay|1|1\n7|2|reg|0|0\n10|1|pay|1|1\n"
           "10|2|reg|0|0\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_return_just_behind_midnight_is_day_1_by_the_calendar_and_day_0_rolling),
        cmocka_unit_test(a_return_after_exactly_a_period_is_of_the_next),
        cmocka_unit_test(each_value_has_a_life_of_its_own),
        cmocka_unit_test(days_of_23_and_25_hours_are_days),
        cmocka_unit_test(shanghai_has_its_own_days),
        cmocka_unit_test(a_day_without_midnight_begins_where_it_begins),
        cmocka_unit_test(a_day_that_never_was_is_no_period),
        cmocka_unit_test(values_are_summed_by_mode),
        cmocka_unit_test(an_average_weighs_cohorts_by_their_members_and_takes_complete_cells_only),
        cmocka_unit_test(ltv_adds_up_arpu_times_survival),
        cmocka_unit_test(churned_are_those_silent_for_long_enough_inside_of_the_window),
        cmocka_unit_test(every_bucket_is_a_window_of_churn_by_itself),
        cmocka_unit_test(dau_mau_is_the_mean_day_over_the_month),
        cmocka_unit_test(conditions_say_who_met_the_first_and_which_others),
    };
    return cmocka_run_group_tests_name("query/verb_cohorts", tests, NULL, NULL);
}
