/* tests/unit/query/test_civil.c - civil time where it is not what one expects.
 *
 * The transitions tested are facts of the IANA database that are long past or stated by its rules.
 */
#include "query/civil_int.h"
#include "storage/base/arena.h"
#include "storage/base/buf.h"
#include "storage/base/iso8601.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct zone *zone_of(const char *name)
{
    const struct zone *zone = NULL;
    struct err err = {0};
    if (zone_find(str_of(name), &zone, &err) != ERR_OK) {
        fail_msg("%s", err.message);
    }
    return zone;
}

static int64_t at(const char *text)
{
    int64_t ts_ms = 0;
    if (!iso8601_parse(str_of(text), &ts_ms)) {
        fail_msg("\"%s\" is no instant", text);
    }
    return ts_ms;
}

static struct civil_grid grid_of(const char *zone, enum civil_unit unit, int64_t n)
{
    struct civil_grid grid = {0};
    struct err err = {0};
    if (civil_grid_init(zone_of(zone), unit, n, CIVIL_MONDAY, &grid, &err) != ERR_OK) {
        fail_msg("%s", err.message);
    }
    return grid;
}

static void assert_instant(const struct zone *zone, int64_t got_ms, const char *want)
{
    char out[CIVIL_TEXT_BYTES];
    civil_format_instant(zone, got_ms, out);
    assert_string_equal(out, want);
}

/* The bucket that holds `ts` is [begin, end). */
static void assert_bucket(const struct civil_grid *grid, const char *ts, const char *begin,
                          const char *end)
{
    assert_instant(grid->zone, civil_floor(grid, at(ts)), begin);
    assert_instant(grid->zone, civil_next(grid, at(ts)), end);
}

static void day_of_a_clock_change_has_23_or_25_hours(void **state)
{
    (void)state;
    struct civil_grid paris = grid_of("Europe/Paris", CIVIL_DAY, 1);
    struct civil_grid york = grid_of("America/New_York", CIVIL_DAY, 1);

    assert_bucket(&paris, "2025-03-30T12:00Z", "2025-03-30T00:00:00+01:00",
                  "2025-03-31T00:00:00+02:00");
    assert_int_equal(civil_next(&paris, at("2025-03-30T12:00Z")) -
                         civil_floor(&paris, at("2025-03-30T12:00Z")),
                     23 * CIVIL_HOUR_MS);
    assert_int_equal(civil_next(&paris, at("2025-10-26T12:00Z")) -
                         civil_floor(&paris, at("2025-10-26T12:00Z")),
                     25 * CIVIL_HOUR_MS);
    assert_bucket(&york, "2024-03-10T07:00Z", "2024-03-10T00:00:00-05:00",
                  "2024-03-11T00:00:00-04:00");
    assert_bucket(&york, "2024-11-03T07:00Z", "2024-11-03T00:00:00-04:00",
                  "2024-11-04T00:00:00-05:00");
}

static void day_without_midnight_starts_at_its_first_instant(void **state)
{
    (void)state;
    struct civil_grid grid = grid_of("America/Sao_Paulo", CIVIL_DAY, 1);

    assert_bucket(&grid, "2017-10-15T12:00Z", "2017-10-15T01:00:00-02:00",
                  "2017-10-16T00:00:00-02:00");
    assert_bucket(&grid, "2017-10-15T02:59:59.999Z", "2017-10-14T00:00:00-03:00",
                  "2017-10-15T01:00:00-02:00");

    char out[CIVIL_TEXT_BYTES];
    civil_format_date(grid.zone, civil_floor(&grid, at("2017-10-15T12:00Z")), out);
    assert_string_equal(out, "2017-10-15");
    /* Moving from begin to begin stays on begins, into the odd day and out of it. */
    int64_t odd_ms = civil_floor(&grid, at("2017-10-15T12:00Z"));
    assert_instant(grid.zone, civil_add(grid.zone, CIVIL_DAY, 1, odd_ms),
                   "2017-10-16T00:00:00-02:00");
    assert_int_equal(civil_add(grid.zone, CIVIL_DAY, 1, at("2017-10-14T03:00Z")), odd_ms);
    assert_int_equal(civil_add(grid.zone, CIVIL_MONTH, -1, at("2017-11-15T02:00Z")), odd_ms);
}

static void day_that_never_was_is_no_bucket(void **state)
{
    (void)state;
    struct civil_grid grid = grid_of("Pacific/Apia", CIVIL_DAY, 1);
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    struct err err = {0};
    int64_t *begins = NULL;
    uint32_t count = 0;

    assert_int_equal(civil_buckets(&grid, at("2011-12-29T12:00-10:00"),
                                   at("2012-01-01T00:00+14:00"), 100, arena, &begins, &count, &err),
                     ERR_OK);
    assert_int_equal(count, 2);
    assert_instant(grid.zone, begins[0], "2011-12-29T00:00:00-10:00");
    assert_instant(grid.zone, begins[1], "2011-12-31T00:00:00+14:00");
    assert_instant(grid.zone, begins[2], "2012-01-01T00:00:00+14:00");
    /* The calendar still counts it: two days from the 29th to the 31st. */
    assert_int_equal(civil_number(&grid, begins[1]) - civil_number(&grid, begins[0]), 2);
}

static void fold_over_midnight_stays_in_the_day_that_has_begun(void **state)
{
    (void)state;
    /* Newfoundland went back from 00:01 to 23:01 on 2006-10-29. */
    struct civil_grid grid = grid_of("America/St_Johns", CIVIL_DAY, 1);

    assert_bucket(&grid, "2006-10-29T03:00Z", "2006-10-29T00:00:00-02:30",
                  "2006-10-30T00:00:00-03:30");
    assert_instant(grid.zone, at("2006-10-29T03:00Z"), "2006-10-28T23:30:00-03:30");
    char out[CIVIL_TEXT_BYTES];
    civil_format_date(grid.zone, at("2006-10-29T03:00Z"), out);
    assert_string_equal(out, "2006-10-29");
    assert_int_equal(civil_number(&grid, at("2006-10-29T03:00Z")),
                     civil_number(&grid, at("2006-10-29T12:00Z")));
}

static void repeated_hour_is_two_buckets_and_missing_hour_none(void **state)
{
    (void)state;
    struct civil_grid grid = grid_of("Europe/Paris", CIVIL_HOUR, 1);

    assert_bucket(&grid, "2025-10-26T00:30Z", "2025-10-26T02:00:00+02:00",
                  "2025-10-26T02:00:00+01:00");
    assert_bucket(&grid, "2025-10-26T01:30Z", "2025-10-26T02:00:00+01:00",
                  "2025-10-26T03:00:00+01:00");
    assert_bucket(&grid, "2025-03-30T00:30Z", "2025-03-30T01:00:00+01:00",
                  "2025-03-30T03:00:00+02:00");
    assert_int_equal(civil_number(&grid, at("2025-10-26T01:30Z")) -
                         civil_number(&grid, at("2025-10-26T00:30Z")),
                     1);
    assert_int_equal(civil_number(&grid, 0), 0);
}

static void hours_follow_zones_of_half_hours(void **state)
{
    (void)state;
    struct civil_grid kolkata = grid_of("Asia/Kolkata", CIVIL_HOUR, 1);
    struct civil_grid howe = grid_of("Australia/Lord_Howe", CIVIL_HOUR, 1);

    assert_bucket(&kolkata, "2025-05-01T00:00Z", "2025-05-01T05:00:00+05:30",
                  "2025-05-01T06:00:00+05:30");
    /* Back by half an hour at 02:00+11:00, forward by half an hour at 02:00+10:30. */
    assert_bucket(&howe, "2025-04-05T14:59Z", "2025-04-06T01:00:00+11:00",
                  "2025-04-06T01:30:00+10:30");
    assert_bucket(&howe, "2025-04-05T15:00Z", "2025-04-06T01:30:00+10:30",
                  "2025-04-06T02:00:00+10:30");
    assert_bucket(&howe, "2025-10-04T15:30Z", "2025-10-05T02:30:00+11:00",
                  "2025-10-05T03:00:00+11:00");
    assert_int_equal(civil_number(&howe, at("2025-04-05T15:00Z")) -
                         civil_number(&howe, at("2025-04-05T14:59Z")),
                     1);
    assert_int_equal(civil_number(&howe, at("2025-04-05T15:30Z")) -
                         civil_number(&howe, at("2025-04-05T15:00Z")),
                     1);
}

static void slots_longer_than_an_hour_are_parts_of_the_civil_day(void **state)
{
    (void)state;
    struct civil_grid grid = grid_of("America/New_York", CIVIL_HOUR, 6);
    assert_bucket(&grid, "2024-03-10T06:30Z", "2024-03-10T00:00:00-05:00",
                  "2024-03-10T06:00:00-04:00"); /* five hours */
    assert_bucket(&grid, "2024-11-03T06:30Z", "2024-11-03T00:00:00-04:00",
                  "2024-11-03T06:00:00-05:00"); /* seven hours */

    struct civil_grid seven = grid_of("UTC", CIVIL_HOUR, 7);
    assert_bucket(&seven, "2024-11-03T22:30Z", "2024-11-03T21:00:00Z", "2024-11-04T00:00:00Z");
    struct civil_grid minutes = grid_of("Asia/Kolkata", CIVIL_MINUTE, 5);
    assert_bucket(&minutes, "2024-11-03T22:33:20Z", "2024-11-04T04:00:00+05:30",
                  "2024-11-04T04:05:00+05:30");
}

static void week_starts_on_the_day_asked_for(void **state)
{
    (void)state;
    static const char *const begins[] = {
        "2025-04-28T00:00:00+08:00", "2025-04-29T00:00:00+08:00", "2025-04-30T00:00:00+08:00",
        "2025-05-01T00:00:00+08:00", "2025-04-25T00:00:00+08:00", "2025-04-26T00:00:00+08:00",
        "2025-04-27T00:00:00+08:00",
    };
    const struct zone *zone = zone_of("Asia/Shanghai");
    for (enum civil_weekday day = CIVIL_MONDAY; day <= CIVIL_SUNDAY; day++) {
        struct civil_grid grid = {.zone = zone, .n = 1, .unit = CIVIL_WEEK, .week_start = day};
        assert_instant(zone, civil_floor(&grid, at("2025-05-01T12:00+08:00")), begins[day]);
        assert_int_equal(civil_number(&grid, at("1970-01-01T12:00+08:00")), 0);
        struct civil_grid two = {.zone = zone, .n = 2, .unit = CIVIL_WEEK, .week_start = day};
        assert_int_equal(civil_floor(&two, at("1970-01-01T12:00+08:00")),
                         civil_floor(&grid, at("1970-01-01T12:00+08:00")));
    }
}

static void months_quarters_and_years_count_from_1970(void **state)
{
    (void)state;
    struct civil_grid month = grid_of("Europe/Paris", CIVIL_MONTH, 1);
    struct civil_grid quarter = grid_of("Europe/Paris", CIVIL_QUARTER, 1);
    struct civil_grid year = grid_of("Europe/Paris", CIVIL_YEAR, 1);
    struct civil_grid decade = grid_of("Europe/Paris", CIVIL_YEAR, 10);

    assert_bucket(&month, "2024-02-29T23:30Z", "2024-03-01T00:00:00+01:00",
                  "2024-04-01T00:00:00+02:00");
    assert_bucket(&quarter, "2024-05-29T23:30Z", "2024-04-01T00:00:00+02:00",
                  "2024-07-01T00:00:00+02:00");
    assert_bucket(&year, "2024-05-29T23:30Z", "2024-01-01T00:00:00+01:00",
                  "2025-01-01T00:00:00+01:00");
    assert_bucket(&decade, "2024-05-29T23:30Z", "2020-01-01T00:00:00+01:00",
                  "2030-01-01T00:00:00+01:00");
    assert_int_equal(civil_number(&month, at("2024-02-29T23:30Z")), 54 * 12 + 2);
    assert_int_equal(civil_number(&quarter, at("1969-12-31T22:59Z")), -1);
    assert_int_equal(civil_number(&year, at("1969-12-31T23:00Z")), 0);
}

static void times_before_the_epoch_round_down(void **state)
{
    (void)state;
    struct civil_grid grid = grid_of("UTC", CIVIL_DAY, 1);
    assert_bucket(&grid, "1969-12-31T23:59:59.999Z", "1969-12-31T00:00:00Z",
                  "1970-01-01T00:00:00Z");
    assert_int_equal(civil_number(&grid, -1), -1);
    assert_instant(grid.zone, -1, "1969-12-31T23:59:59.999Z");
    assert_instant(grid.zone, INT64_MIN, "-9999-01-01T00:00:00Z");
    assert_instant(grid.zone, INT64_MAX, "9999-12-31T23:59:59.999Z");
    assert_instant(zone_of("Asia/Shanghai"), at("1900-01-01T00:00+08:05:43"),
                   "1900-01-01T00:00:00+08:05:43");
}

static void footer_rule_holds_for_years_beyond_the_table(void **state)
{
    (void)state;
    const struct zone *paris = zone_of("Europe/Paris");
    assert_int_equal(zone_offset_ms(paris, at("2100-03-28T00:59:59Z")), 1 * CIVIL_HOUR_MS);
    assert_int_equal(zone_offset_ms(paris, at("2100-03-28T01:00:00Z")), 2 * CIVIL_HOUR_MS);
    assert_int_equal(zone_offset_ms(paris, at("2100-10-31T00:59:59Z")), 2 * CIVIL_HOUR_MS);
    assert_int_equal(zone_offset_ms(paris, at("2100-10-31T01:00:00Z")), 1 * CIVIL_HOUR_MS);
    /* Beyond the expanded 400 years, too: 2025's calendar is 9625's. */
    assert_int_equal(zone_offset_ms(paris, at("9625-03-30T00:59:59Z")), 1 * CIVIL_HOUR_MS);
    assert_int_equal(zone_offset_ms(paris, at("9625-03-30T01:00:00Z")), 2 * CIVIL_HOUR_MS);
    struct civil_grid day = grid_of("Europe/Paris", CIVIL_DAY, 1);
    assert_int_equal(civil_next(&day, at("9625-03-30T12:00Z")) -
                         civil_floor(&day, at("9625-03-30T12:00Z")),
                     23 * CIVIL_HOUR_MS);
    struct civil_grid millennium = grid_of("Europe/Paris", CIVIL_YEAR, 1000);
    assert_true(civil_next(&millennium, INT64_MAX) > CIVIL_TS_MAX);
    /* A southern rule, whose summer crosses the new year. */
    const struct zone *sydney = zone_of("Australia/Sydney");
    assert_int_equal(zone_offset_ms(sydney, at("2100-01-01T00:00:00Z")), 11 * CIVIL_HOUR_MS);
    assert_int_equal(zone_offset_ms(sydney, at("2100-07-01T00:00:00Z")), 10 * CIVIL_HOUR_MS);
}

static void local_time_becomes_the_first_instant_that_shows_it_or_more(void **state)
{
    (void)state;
    const struct zone *paris = zone_of("Europe/Paris");
    int64_t ts_ms = 0;
    struct civil gap = {.year = 2025, .month = 3, .day = 30, .hour = 2, .minute = 30};
    assert_true(civil_to_ms(paris, gap, &ts_ms));
    assert_instant(paris, ts_ms, "2025-03-30T03:00:00+02:00");
    struct civil fold = {.year = 2025, .month = 10, .day = 26, .hour = 2, .minute = 30};
    assert_true(civil_to_ms(paris, fold, &ts_ms));
    assert_instant(paris, ts_ms, "2025-10-26T02:30:00+02:00");
    struct civil leap = {.year = 2025, .month = 2, .day = 29};
    assert_false(civil_to_ms(paris, leap, &ts_ms));
    int64_t days = 0;
    assert_false(civil_days(10000, 1, 1, &days));
    assert_false(civil_days(-10000, 12, 31, &days));
    assert_true(civil_days(-9999, 1, 1, &days));
    assert_int_equal(days * CIVIL_DAY_MS, CIVIL_TS_MIN);
    assert_true(civil_days(9999, 12, 31, &days));
    assert_int_equal((days + 1) * CIVIL_DAY_MS - 1, CIVIL_TS_MAX);
}

static void adding_months_cuts_the_day_to_the_month(void **state)
{
    (void)state;
    const struct zone *paris = zone_of("Europe/Paris");
    int64_t from_ms = at("2024-01-31T10:30+01:00");
    assert_instant(paris, civil_add(paris, CIVIL_MONTH, 1, from_ms), "2024-02-29T10:30:00+01:00");
    assert_instant(paris, civil_add(paris, CIVIL_QUARTER, 1, from_ms), "2024-04-30T10:30:00+02:00");
    assert_instant(paris, civil_add(paris, CIVIL_YEAR, -1, from_ms), "2023-01-31T10:30:00+01:00");
    assert_instant(paris, civil_add(paris, CIVIL_WEEK, 9, from_ms), "2024-04-03T10:30:00+02:00");
    assert_instant(paris, civil_add(paris, CIVIL_HOUR, 24, from_ms), "2024-02-01T10:30:00+01:00");
    assert_int_equal(civil_add(paris, CIVIL_YEAR, INT64_MAX, from_ms), CIVIL_TS_MAX);
    assert_int_equal(civil_add(paris, CIVIL_HOUR, INT64_MIN, from_ms), CIVIL_TS_MIN);
}

static void buckets_cover_the_range_and_end_it(void **state)
{
    (void)state;
    struct civil_grid grid = grid_of("Asia/Shanghai", CIVIL_MONTH, 1);
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    struct err err = {0};
    int64_t *begins = NULL;
    uint32_t count = 9;

    assert_int_equal(civil_buckets(&grid, at("2025-01-15"), at("2025-04-01T00:00+08:00"), 3, arena,
                                   &begins, &count, &err),
                     ERR_OK);
    assert_int_equal(count, 3);
    assert_instant(grid.zone, begins[0], "2025-01-01T00:00:00+08:00");
    assert_instant(grid.zone, begins[3], "2025-04-01T00:00:00+08:00");
    assert_int_equal(civil_bucket_idx(begins, count, at("2025-02-28")), 1);
    assert_int_equal(civil_bucket_idx(begins, count, begins[2]), 2);
    assert_int_equal(civil_bucket_idx(begins, count, begins[3] - 1), 2);

    assert_int_equal(civil_buckets(&grid, at("2025-01-15"), at("2025-04-01T00:00:00.001+08:00"), 3,
                                   arena, &begins, &count, &err),
                     ERR_LIMIT);
    assert_non_null(strstr(err.message, "more than 3 buckets"));
    assert_int_equal(
        civil_buckets(&grid, at("2025-01-15"), at("2025-01-15"), 0, arena, &begins, &count, &err),
        ERR_OK);
    assert_int_equal(count, 0);
    assert_instant(grid.zone, begins[0], "2025-01-01T00:00:00+08:00");
}

static void grid_refuses_what_it_cannot_tile(void **state)
{
    (void)state;
    struct civil_grid grid = {0};
    struct err err = {0};
    assert_int_equal(civil_grid_init(zone_utc(), CIVIL_HOUR, 25, CIVIL_MONDAY, &grid, &err),
                     ERR_INVALID);
    assert_string_equal(err.message, "a time bucket of 25 hours: expected 1 .. 24 (from a day on, "
                                     "count in days)");
    assert_int_equal(civil_grid_init(zone_utc(), CIVIL_DAY, 0, CIVIL_MONDAY, &grid, &err),
                     ERR_INVALID);
    assert_int_equal(civil_grid_init(zone_utc(), CIVIL_YEAR, 1001, CIVIL_MONDAY, &grid, &err),
                     ERR_INVALID);
}

static void unknown_zone_names_the_nearest_known_one(void **state)
{
    (void)state;
    static const struct {
        const char *name, *message;
    } cases[] = {
        {"Asia/Shangai", "unknown time zone \"Asia/Shangai\"; did you mean \"Asia/Shanghai\"?"},
        {"shanghai", "unknown time zone \"shanghai\"; did you mean \"Asia/Shanghai\"?"},
        {"europe/pairs", "unknown time zone \"europe/pairs\"; did you mean \"Europe/Paris\"?"},
        {"utc", "unknown time zone \"utc\"; did you mean \"UTC\"?"},
        {"qqqqqqqqqqqqqqq", "unknown time zone \"qqqqqqqqqqqqqqq\""},
    };
    const struct zone *zone = NULL;
    struct err err = {0};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_int_equal(zone_find(str_of(cases[i].name), &zone, &err), ERR_NOT_FOUND);
        assert_string_equal(err.message, cases[i].message);
    }
}

static void zone_names_never_leave_the_folder(void **state)
{
    (void)state;
    static const char *const names[] = {
        "",
        "/etc/passwd",
        "../../../etc/passwd",
        "Asia/../Asia/Tokyo",
        "Asia//Tokyo",
        "/",
        "Asia/",
        "Asia",
        "tzdata.zi",
        "leapseconds",
        "right/UTC",
        "posix/UTC",
        "localtime",
        "posixrules",
        "Asia/Tokyo\n",
        "UTC/x",
        "Asia/Tok yo",
        "Europe\\Paris",
    };
    const struct zone *zone = NULL;
    struct err err = {0};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        assert_int_equal(zone_find(str_of(names[i]), &zone, &err), ERR_NOT_FOUND);
    }
    assert_int_equal(zone_find((struct str){"UTC\0", 4}, &zone, &err), ERR_NOT_FOUND);
    char longest[1000];
    memset(longest, 'a', sizeof(longest));
    assert_int_equal(zone_find((struct str){longest, sizeof(longest)}, &zone, &err), ERR_NOT_FOUND);
    assert_null(zone);
}

static void zone_is_read_once(void **state)
{
    (void)state;
    assert_ptr_equal(zone_of("Asia/Tokyo"), zone_of("Asia/Tokyo"));
    assert_ptr_equal(zone_of("UTC"), zone_utc());
    assert_true(strlen(zone_db_version()) > 0);
    assert_true(str_eq(zone_name(zone_of("Asia/Tokyo")), STR("Asia/Tokyo")));
}

static void civil_text_reads_as_the_language_writes_it(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
        enum civil_precision precision;
    } cases[] = {
        {"2025-05-01", "2025-05-01T00:00:00+08:00", CIVIL_PRECISION_DATE},
        {"2025-05-01T08:00", "2025-05-01T08:00:00+08:00", CIVIL_PRECISION_MINUTE},
        {"2025-05-01T08:00:30", "2025-05-01T08:00:30+08:00", CIVIL_PRECISION_SECOND},
        {"2025-05-01T08:00:30.123", "2025-05-01T08:00:30.123+08:00", CIVIL_PRECISION_MS},
        {"2025-05-01T08:00Z", "2025-05-01T16:00:00+08:00", CIVIL_PRECISION_MINUTE},
        {"2025-05-01T08:00+0100", "2025-05-01T15:00:00+08:00", CIVIL_PRECISION_MINUTE},
        {"2025-05-01T08:00:00-10:00", "2025-05-02T02:00:00+08:00", CIVIL_PRECISION_SECOND},
    };
    const struct zone *zone = zone_of("Asia/Shanghai");
    struct err err = {0};
    int64_t ts_ms = 0;
    enum civil_precision precision = CIVIL_PRECISION_DATE;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_int_equal(civil_parse(str_of(cases[i].text), zone, &ts_ms, &precision, &err),
                         ERR_OK);
        assert_instant(zone, ts_ms, cases[i].want);
        assert_int_equal(precision, cases[i].precision);
    }
    assert_int_equal(civil_parse(STR("2025-02-30"), zone, &ts_ms, &precision, &err), ERR_INVALID);
    assert_string_equal(err.message,
                        "\"2025-02-30\" is no date or time: the month has no such day");
}

static void event_time_parser_is_strict(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } good[] = {
        {"2025-05-01", "2025-05-01T00:00:00Z"},
        {"2025-05-01 08:00:30", "2025-05-01T08:00:30Z"},
        {"2025-05-01t08:00:30z", "2025-05-01T08:00:30Z"},
        {"2025-05-01T08:00:30.1234567890Z", "2025-05-01T08:00:30.123Z"},
        {"2025-05-01T08:00:30,9999", "2025-05-01T08:00:30.999Z"},
        {"2025-05-01T08:00:30.5+05:30", "2025-05-01T02:30:30.500Z"},
        {"2025-05-01 08:00:30 +0530", "2025-05-01T02:30:30Z"},
        {"2025-05-01 08:00:30-08", "2025-05-01T16:00:30Z"},
        {"2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999Z"},
        {"2000-02-29T00:00:00Z", "2000-02-29T00:00:00Z"},
        {"1969-12-31T23:59:59.9999Z", "1969-12-31T23:59:59.999Z"},
        {"0000-01-01T00:00Z", "0000-01-01T00:00:00Z"},
    };
    static const char *const bad[] = {
        "",
        "2025",
        "2025-5-1",
        "2025-13-01",
        "2025-00-01",
        "2025-02-30",
        "1900-02-29",
        "2025-05-01T",
        "2025-05-01T25:00",
        "2025-05-01T24:00",
        "2025-05-01T08",
        "2025-05-01T08:60",
        "2025-05-01T08:00:61",
        "2025-05-01T08:00:",
        "2025-05-01T08:00:00.",
        "2025-05-01T08:00:00Zx",
        "2025-05-01T08:00:00 ",
        "2025-05-01T08:00:00+",
        "2025-05-01T08:00:00+8",
        "2025-05-01T08:00:00+24:00",
        "2025-05-01T08:00:00+08:",
        "2025-05-01T08:00:00+080",
        "2025-05-01Z",
        " 2025-05-01",
        "+2025-05-01",
        "20250501T080000Z",
    };
    int64_t ts_ms = 0;
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        if (!iso8601_parse(str_of(good[i].text), &ts_ms)) {
            fail_msg("\"%s\" is refused", good[i].text);
        }
        assert_instant(zone_utc(), ts_ms, good[i].want);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        if (iso8601_parse(str_of(bad[i]), &ts_ms)) {
            fail_msg("\"%s\" is taken", bad[i]);
        }
    }
}

/* -- bytes of a TZif file -------------------------------------------------------------------------
 */

static void put_be(struct buf *out, uint64_t v, int bytes)
{
    for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
        buf_u8(out, (uint8_t)(v >> shift));
    }
}

static void put_zeroes(struct buf *out, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        buf_u8(out, 0);
    }
}

/* A version 2 file: one type of each offset, transitions to type 1, 0, 1, 0 ... in turn. */
static void put_tzif(struct buf *out, const int64_t *times, uint32_t time_count, int32_t offset_0_s,
                     int32_t offset_1_s, uint32_t leap_count, const char *footer)
{
    for (int version = 1; version <= 2; version++) {
        bool is_old = version == 1;
        buf_z(out, "TZif2");
        put_zeroes(out, 15 + 4 + 4);
        put_be(out, is_old ? 0 : leap_count, 4);
        put_be(out, is_old ? 0 : time_count, 4);
        put_be(out, 2, 4);
        put_be(out, 1, 4);
        for (uint32_t i = 0; !is_old && i < time_count; i++) {
            put_be(out, (uint64_t)times[i], 8);
        }
        for (uint32_t i = 0; !is_old && i < time_count; i++) {
            buf_u8(out, (i + 1) % 2);
        }
        put_be(out, (uint32_t)offset_0_s, 4);
        put_be(out, 0, 2);
        put_be(out, (uint32_t)offset_1_s, 4);
        put_be(out, 0, 2);
        buf_u8(out, 0);
        put_zeroes(out, is_old ? 0 : 12 * leap_count);
    }
    buf_z(out, "\n");
    buf_z(out, footer);
    buf_z(out, "\n");
}

static enum err_code decode_tzif(const int64_t *times, uint32_t time_count, int32_t offset_1_s,
                                 uint32_t leap_count, const char *footer, struct zone **ret,
                                 struct err *err)
{
    CLEANUP(buf_freep) struct buf file = {0};
    put_tzif(&file, times, time_count, 0, offset_1_s, leap_count, footer);
    return zone_decode(STR("Test/Zone"), buf_as_str(&file), ret, err);
}

static void damaged_zone_files_are_corrupt(void **state)
{
    (void)state;
    struct err err = {0};
    struct zone *zone = NULL;
    static const int64_t up[] = {1000, 2000};
    static const int64_t down[] = {2000, 1000};

    assert_int_equal(decode_tzif(down, 2, 3600, 0, "", &zone, &err), ERR_CORRUPT);
    assert_string_equal(err.message, "time zone \"Test/Zone\": transition 1: out of order, or of "
                                     "type 0 of 2");
    assert_int_equal(decode_tzif(up, 2, 27 * 3600, 0, "", &zone, &err), ERR_CORRUPT);
    assert_int_equal(decode_tzif(up, 2, INT32_MIN, 0, "", &zone, &err), ERR_CORRUPT);
    assert_int_equal(decode_tzif(up, 2, 3600, 1, "", &zone, &err), ERR_UNSUPPORTED);
    static const char *const footers[] = {
        "X0",
        "UTC",
        "UTC25",
        "UTC0x",
        "UTC0DST",
        "UTC0DST,",
        "UTC0DST,M1",
        "UTC0DST,J0,J1",
        "<UTC0",
        "UTC0DST,M13.1.0,M1.1.0",
        "UTC0DST,0,366",
        "UTC0DST,0/168,1",
        "UTC0DST,0,1,2",
        "UTC999999999999",
        "UTC0:60",
    };
    for (size_t i = 0; i < COUNT_OF(footers); i++) {
        assert_int_equal(decode_tzif(up, 2, 3600, 0, footers[i], &zone, &err), ERR_CORRUPT);
    }
    assert_int_equal(zone_decode(STR("Test/Zone"), STR("TZif"), &zone, &err), ERR_CORRUPT);
    assert_int_equal(zone_decode(STR("Test/Zone"), STR(""), &zone, &err), ERR_CORRUPT);
    assert_null(zone);
}

static void footer_takes_every_form_of_rule(void **state)
{
    (void)state;
    struct err err = {0};
    /* Each of these changes to summer time on March 1 (a leap year or not) and back on October 1;
     * 2023 has no February 29, 2024 has one. */
    CLEANUP(zone_freep) struct zone *julian = NULL;
    CLEANUP(zone_freep) struct zone *day = NULL;
    CLEANUP(zone_freep) struct zone *always = NULL;
    assert_int_equal(decode_tzif(NULL, 0, 0, 0, "UTC0<+02>-2,J60/0,J274/-1:30", &julian, &err),
                     ERR_OK);
    assert_int_equal(zone_offset_ms(julian, at("2024-02-29T23:59:59Z")), 0);
    assert_int_equal(zone_offset_ms(julian, at("2024-03-01T00:00:00Z")), 2 * CIVIL_HOUR_MS);
    assert_int_equal(zone_offset_ms(julian, at("2023-03-01T00:00:00Z")), 2 * CIVIL_HOUR_MS);
    assert_int_equal(zone_offset_ms(julian, at("2024-09-30T20:29:59Z")), 2 * CIVIL_HOUR_MS);
    assert_int_equal(zone_offset_ms(julian, at("2024-09-30T20:30:00Z")), 0);
    assert_int_equal(decode_tzif(NULL, 0, 0, 0, "UTC0SUM,59/0,273/0", &day, &err), ERR_OK);
    assert_int_equal(zone_offset_ms(day, at("2024-02-28T23:59:59Z")), 0);
    assert_int_equal(zone_offset_ms(day, at("2024-02-29T00:00:00Z")), CIVIL_HOUR_MS);
    assert_int_equal(zone_offset_ms(day, at("2023-03-01T00:00:00Z")), CIVIL_HOUR_MS);
    assert_int_equal(zone_offset_ms(day, at("2023-02-28T23:59:59Z")), 0);
    /* Summer time all year, RFC 8536 section 3.3.1. */
    assert_int_equal(decode_tzif(NULL, 0, 0, 0, "EST5EDT,0/0,J365/25", &always, &err), ERR_OK);
    assert_int_equal(zone_offset_ms(always, at("2024-01-01T05:00:00Z")), -4 * CIVIL_HOUR_MS);
    assert_int_equal(zone_offset_ms(always, at("2023-12-31T23:00:00Z")), -4 * CIVIL_HOUR_MS);
    assert_int_equal(zone_offset_ms(always, at("9023-12-31T23:00:00Z")), -4 * CIVIL_HOUR_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(day_of_a_clock_change_has_23_or_25_hours),
        cmocka_unit_test(day_without_midnight_starts_at_its_first_instant),
        cmocka_unit_test(day_that_never_was_is_no_bucket),
        cmocka_unit_test(fold_over_midnight_stays_in_the_day_that_has_begun),
        cmocka_unit_test(repeated_hour_is_two_buckets_and_missing_hour_none),
        cmocka_unit_test(hours_follow_zones_of_half_hours),
        cmocka_unit_test(slots_longer_than_an_hour_are_parts_of_the_civil_day),
        cmocka_unit_test(week_starts_on_the_day_asked_for),
        cmocka_unit_test(months_quarters_and_years_count_from_1970),
        cmocka_unit_test(times_before_the_epoch_round_down),
        cmocka_unit_test(footer_rule_holds_for_years_beyond_the_table),
        cmocka_unit_test(local_time_becomes_the_first_instant_that_shows_it_or_more),
        cmocka_unit_test(adding_months_cuts_the_day_to_the_month),
        cmocka_unit_test(buckets_cover_the_range_and_end_it),
        cmocka_unit_test(grid_refuses_what_it_cannot_tile),
        cmocka_unit_test(unknown_zone_names_the_nearest_known_one),
        cmocka_unit_test(zone_names_never_leave_the_folder),
        cmocka_unit_test(zone_is_read_once),
        cmocka_unit_test(civil_text_reads_as_the_language_writes_it),
        cmocka_unit_test(event_time_parser_is_strict),
        cmocka_unit_test(damaged_zone_files_are_corrupt),
        cmocka_unit_test(footer_takes_every_form_of_rule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
