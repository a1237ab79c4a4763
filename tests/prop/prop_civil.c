/* tests/prop/prop_civil.c - civil time against libc's localtime_r and against its own definition.
 *
 * libc reads the same zone files by other code. From its local times alone the model finds the
 * begin of a bucket the slow way, minute by minute. TZ is set in this process, which has one
 * thread. */
#include "query/civil_int.h"
#include "storage/base/arena.h"
#include "storage/base/buf.h"
#include "storage/base/iso8601.h"
#include "storage/base/rng.h"
#include "storage/base/size.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "tests/support/claims.h"

static const char *const zone_names[] = {
    "UTC",
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/Havana",
    "America/New_York",
    "America/Nuuk",
    "America/Santiago",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Antarctica/Troll",
    "Asia/Gaza",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Asia/Pyongyang",
    "Asia/Shanghai",
    "Asia/Tehran",
    "Australia/Lord_Howe",
    "Australia/Sydney",
    "Europe/Dublin",
    "Europe/London",
    "Europe/Paris",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Pacific/Kiritimati",
    "Pacific/Kwajalein",
};

/* The zone, and libc set to it. */
static const struct zone *zone_use(const char *name)
{
    const struct zone *zone = NULL;
    struct err err = {0};
    if (zone_find(str_of(name), &zone, &err) != ERR_OK) {
        fail_msg("%s", err.message);
    }
    setenv("TZ", name, 1);
    tzset();
    return zone;
}

static int64_t random_between(struct rng *rng, int64_t begin_ms, int64_t end_ms)
{
    return begin_ms + (int64_t)rng_below(rng, (uint64_t)(end_ms - begin_ms));
}

/* Anywhere between the years, or, every other time, within three days of a change of the offset. */
static int64_t random_instant(struct rng *rng, const struct zone *zone, int64_t year_begin,
                              int64_t year_end)
{
    int64_t begin_ms = iso8601_days(year_begin, 1, 1) * CIVIL_DAY_MS;
    int64_t end_ms = iso8601_days(year_end, 1, 1) * CIVIL_DAY_MS;
    int64_t ts_ms = random_between(rng, begin_ms, end_ms);
    if (rng_below(rng, 2) == 0) {
        struct zone_span span = zone_span_of(zone, ts_ms);
        int64_t reach_ms = rng_below(rng, 2) == 0 ? 2 * CIVIL_SECOND_MS : 3 * CIVIL_DAY_MS;
        if (span.begin_ms > begin_ms + reach_ms) {
            ts_ms = random_between(rng, span.begin_ms - reach_ms, span.begin_ms + reach_ms);
        }
    }
    return ts_ms;
}

static void local_time_is_that_of_libc(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    for (size_t z = 0; z < COUNT_OF(zone_names); z++) {
        const struct zone *zone = zone_use(zone_names[z]);
        struct rng rng = rng_init(seed + z);
        for (int trial = 0; trial < 5000; trial++) {
            int64_t ts_ms = trial % 4 == 0 ? random_instant(&rng, zone, 1800, 9999)
                                           : random_instant(&rng, zone, 1900, 2100);
            time_t seconds = civil_div(ts_ms, 1000);
            struct tm tm = {0};
            assert_non_null(localtime_r(&seconds, &tm));
            struct civil c = civil_from_ms(zone, ts_ms);
            if (c.year != tm.tm_year + 1900 || c.month != tm.tm_mon + 1 || c.day != tm.tm_mday ||
                c.hour != tm.tm_hour || c.minute != tm.tm_min || c.second != tm.tm_sec ||
                c.ms != ts_ms - seconds * 1000 || c.offset_ms != tm.tm_gmtoff * 1000) {
                fail_msg("seed %" PRIu64 ": %s: %" PRId64 ": offset %d ms, libc %ld s", seed,
                         zone_names[z], ts_ms, c.offset_ms, tm.tm_gmtoff);
            }
        }
    }
}

static void spans_tile_and_their_offsets_hold(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    for (size_t z = 0; z < COUNT_OF(zone_names); z++) {
        const struct zone *zone = zone_use(zone_names[z]);
        struct rng rng = rng_init(seed + z);
        for (int trial = 0; trial < 500; trial++) {
            int64_t ts_ms = random_instant(&rng, zone, 1800, 9999);
            struct zone_span span = zone_span_of(zone, ts_ms);
            assert_true(span.begin_ms <= ts_ms);
            assert_true(ts_ms < span.end_ms);
            assert_int_equal(zone_offset_ms(zone, ts_ms), span.offset_ms);
            if (span.end_ms < CIVIL_TS_MAX) {
                struct zone_span next = zone_span_of(zone, span.end_ms);
                assert_true(next.begin_ms == span.end_ms);
                assert_true(next.offset_ms != span.offset_ms);
                assert_true(zone_offset_ms(zone, span.end_ms - 1) == span.offset_ms);
            }
        }
    }
}

/* -- buckets against their definition
 * --------------------------------------------------------------- */

static struct tm tm_at(int64_t minute)
{
    time_t seconds = minute * 60;
    struct tm tm = {0};
    assert_non_null(localtime_r(&seconds, &tm));
    return tm;
}

static int64_t day_of(const struct tm *tm)
{
    return iso8601_days(tm->tm_year + 1900, tm->tm_mon + 1, tm->tm_mday);
}

/* The first minute whose local date is `day` or later; offsets are whole minutes since 1972. */
static int64_t model_day_begin(int64_t day)
{
    int64_t minute = day * 1440 - 27 * 60;
    for (struct tm tm = tm_at(minute); day_of(&tm) < day; tm = tm_at(++minute)) {
    }
    return minute;
}

static bool model_is_first_day(int64_t day, enum civil_unit unit, enum civil_weekday week_start)
{
    struct civil date = civil_from_days(day);
    switch (unit) {
    case CIVIL_DAY: return true;
    case CIVIL_WEEK: return (day + 3) % 7 == (int64_t)week_start; /* 1970-01-05 was a Monday */
    case CIVIL_MONTH: return date.day == 1;
    case CIVIL_QUARTER: return date.day == 1 && (date.month - 1) % 3 == 0;
    default: return date.day == 1 && date.month == 1;
    }
}

static int64_t model_floor_date(int64_t minute, enum civil_unit unit, enum civil_weekday week_start)
{
    struct tm tm = tm_at(minute);
    int64_t day = day_of(&tm);
    while (model_day_begin(day + 1) <= minute) {
        day++;
    }
    while (!model_is_first_day(day, unit, week_start)) {
        day--;
    }
    return model_day_begin(day);
}

static int64_t model_floor_hour(int64_t minute)
{
    struct tm tm = tm_at(minute);
    for (;;) {
        struct tm before = tm_at(minute - 1);
        if (before.tm_hour != tm.tm_hour || before.tm_gmtoff != tm.tm_gmtoff) {
            return minute;
        }
        minute--;
    }
}

static void buckets_begin_where_the_definition_says(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    for (size_t z = 0; z < COUNT_OF(zone_names); z++) {
        const struct zone *zone = zone_use(zone_names[z]);
        struct rng rng = rng_init(seed + z);
        for (int trial = 0; trial < 60; trial++) {
            struct civil_grid grid = {
                .zone = zone,
                .n = 1,
                .unit = CIVIL_HOUR + (enum civil_unit)rng_below(&rng, 6),
                .week_start = (enum civil_weekday)rng_below(&rng, 7),
            };
            int64_t ts_ms = random_instant(&rng, zone, 1973, 2060);
            int64_t minute = civil_div(ts_ms, CIVIL_MINUTE_MS);
            int64_t want = grid.unit == CIVIL_HOUR
                               ? model_floor_hour(minute)
                               : model_floor_date(minute, grid.unit, grid.week_start);
            int64_t got_ms = civil_floor(&grid, ts_ms);
            if (got_ms != want * CIVIL_MINUTE_MS) {
                fail_msg("seed %" PRIu64 ": %s: %s of %" PRId64 " begins at %" PRId64
                         ", by definition %" PRId64,
                         seed, zone_names[z], civil_unit_name(grid.unit), ts_ms, got_ms,
                         want * CIVIL_MINUTE_MS);
            }
        }
    }
}

/* -- buckets among themselves
 * -------------------------------------------------------------------------- */

static struct civil_grid random_grid(struct rng *rng, const struct zone *zone)
{
    static const uint32_t n_max[CIVIL_UNITS] = {1000000, 7200, 1440, 24, 40, 20, 30, 9, 12};
    enum civil_unit unit = (enum civil_unit)rng_below(rng, CIVIL_UNITS);
    struct civil_grid grid = {0};
    struct err err = {0};
    int64_t n = rng_below(rng, 2) == 0 ? 1 : 1 + (int64_t)rng_below(rng, n_max[unit]);
    assert_int_equal(
        civil_grid_init(zone, unit, n, (enum civil_weekday)rng_below(rng, 7), &grid, &err), ERR_OK);
    return grid;
}

static void every_instant_is_in_exactly_one_bucket(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    for (size_t z = 0; z < COUNT_OF(zone_names); z++) {
        const struct zone *zone = zone_use(zone_names[z]);
        for (uint64_t trial = 0; trial < 4000; trial++) {
            struct rng rng = rng_init(seed + 10000 * z + trial);
            struct civil_grid grid = random_grid(&rng, zone);
            int64_t ts_ms = random_instant(&rng, zone, -500, 9500);
            int64_t begin_ms = civil_floor(&grid, ts_ms);
            int64_t end_ms = civil_next(&grid, ts_ms);
            int64_t number = civil_number(&grid, ts_ms);
            bool is_sound =
                begin_ms <= ts_ms && ts_ms < end_ms && civil_floor(&grid, begin_ms) == begin_ms &&
                civil_floor(&grid, end_ms - 1) == begin_ms &&
                civil_floor(&grid, end_ms) == end_ms && civil_next(&grid, begin_ms) == end_ms;
            /* Numbers of short slots count elapsed time; the others are constant in a bucket. */
            bool is_elapsed = grid.unit <= CIVIL_MINUTE || (grid.unit == CIVIL_HOUR && grid.n > 1);
            bool is_numbered = is_elapsed || (civil_number(&grid, begin_ms) == number &&
                                              civil_number(&grid, end_ms - 1) == number &&
                                              civil_number(&grid, end_ms) > number);
            if (grid.unit == CIVIL_HOUR && grid.n == 1) {
                is_numbered = is_numbered && civil_number(&grid, end_ms) == number + 1;
            }
            if (!is_sound || !is_numbered) {
                fail_msg("seed %" PRIu64 ": %s: %" PRId64 " in %" PRId64 " %ss [%" PRId64
                         ", %" PRId64 "): sound %d, numbered %d",
                         seed + 10000 * z + trial, zone_names[z], ts_ms, grid.n,
                         civil_unit_name(grid.unit), begin_ms, end_ms, is_sound, is_numbered);
            }
        }
    }
}

static void list_cursor_and_search_agree_with_floor(void **state)
{
    (void)state;
    enum { BUCKETS_MAX = 300 };
    uint64_t seed = test_seed();
    for (size_t z = 0; z < COUNT_OF(zone_names); z++) {
        const struct zone *zone = zone_use(zone_names[z]);
        for (uint64_t trial = 0; trial < 40; trial++) {
            CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
            struct rng rng = rng_init(seed + 1000 * z + trial);
            struct civil_grid grid = random_grid(&rng, zone);
            struct civil_cursor cursor = civil_cursor_init(&grid);
            int64_t from_ms = random_instant(&rng, zone, 1950, 2050);
            int64_t to_ms = from_ms;
            int64_t steps = (int64_t)rng_below(&rng, BUCKETS_MAX - 1);
            for (int64_t i = 0; i < steps; i++) {
                to_ms = civil_next(&grid, to_ms);
            }
            to_ms += steps > 0 ? (int64_t)rng_below(&rng, 2) : 0; /* one more bucket, or not */

            int64_t *begins = NULL;
            uint32_t count = 0;
            struct err err = {0};
            assert_int_equal(
                civil_buckets(&grid, from_ms, to_ms, BUCKETS_MAX, arena, &begins, &count, &err),
                ERR_OK);
            assert_true(begins[0] == civil_floor(&grid, from_ms));
            for (uint32_t i = 0; i < count; i++) {
                assert_true(begins[i + 1] == civil_next(&grid, begins[i]));
                assert_true(begins[i] < to_ms);
            }
            assert_true(from_ms == to_ms || begins[count] >= to_ms);
            for (int i = 0; i < 50 && count > 0; i++) {
                int64_t ts_ms = random_between(&rng, begins[0], begins[count]);
                int64_t begin_ms = civil_floor(&grid, ts_ms);
                if (begins[civil_bucket_idx(begins, count, ts_ms)] != begin_ms ||
                    civil_cursor_floor(&cursor, ts_ms) != begin_ms) {
                    fail_msg("seed %" PRIu64 ": %s: %" PRId64, seed + 1000 * z + trial,
                             zone_names[z], ts_ms);
                }
            }
        }
    }
}

static void instants_read_back_from_their_text(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    char out[CIVIL_TEXT_BYTES];
    for (size_t z = 0; z < COUNT_OF(zone_names); z++) {
        const struct zone *zone = zone_use(zone_names[z]);
        struct rng rng = rng_init(seed + z);
        for (int trial = 0; trial < 2000; trial++) {
            int64_t ts_ms = random_instant(&rng, zone, 1, 9999);
            int64_t back_ms = 0;
            struct civil c = civil_from_ms(zone, ts_ms);
            struct str text = civil_format_instant(zone, ts_ms, out);
            if (!iso8601_parse(text, &back_ms) || back_ms != ts_ms) {
                fail_msg("seed %" PRIu64 ": %s: %s", seed, zone_names[z], out);
            }
            /* The clock reading stands for the first instant that shows it or more. */
            int64_t local_ms = ts_ms + c.offset_ms;
            assert_true(civil_to_ms(zone, c, &back_ms));
            if (back_ms > ts_ms || back_ms + zone_offset_ms(zone, back_ms) < local_ms ||
                back_ms - 1 + zone_offset_ms(zone, back_ms - 1) >= local_ms) {
                fail_msg("seed %" PRIu64 ": %s: %" PRId64 " is shown first at %" PRId64, seed,
                         zone_names[z], ts_ms, back_ms);
            }
        }
    }
}

/* -- hostile bytes
 * --------------------------------------------------------------------------------------- */

static void read_zone_file(const char *name, struct buf *out)
{
    char path[200];
    snprintf(path, sizeof(path), "/usr/share/zoneinfo/%s", name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    uint8_t *at = buf_reserve(out, 1 << 16);
    assert_non_null(at);
    out->len = fread(at, 1, 1 << 16, file);
    fclose(file);
}

static void damaged_zone_files_do_no_harm(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    uint32_t taken = 0;
    for (uint64_t trial = 0; trial < 6000; trial++) {
        CLEANUP(buf_freep) struct buf file = {0};
        CLEANUP(zone_freep) struct zone *zone = NULL;
        struct rng rng = rng_init(seed + trial);
        struct err err = {0};
        read_zone_file(zone_names[rng_below(&rng, COUNT_OF(zone_names))], &file);
        for (uint64_t flips = rng_below(&rng, 6); flips > 0; flips--) {
            uint64_t near_end = rng_below(&rng, 3) == 0 ? MIN_OF(file.len, (size_t)40) : file.len;
            size_t at = file.len - 1 - rng_below(&rng, near_end);
            file.ptr[at] = rng_below(&rng, 2) == 0
                               ? (uint8_t)rng_next(&rng)
                               : (uint8_t) "0123456789,./MJ-+<>"[rng_below(&rng, 19)];
        }
        size_t len = rng_below(&rng, 4) == 0 ? rng_below(&rng, file.len + 1) : file.len;
        /* An exact copy, so that the sanitizer sees one byte too many. */
        char *exact = malloc(len + (len == 0));
        assert_non_null(exact);
        memcpy(exact, file.ptr, len);
        enum err_code code = zone_decode(STR("Test"), (struct str){exact, len}, &zone, &err);
        free(exact);
        if (code != ERR_OK) {
            assert_true(code == ERR_CORRUPT || code == ERR_UNSUPPORTED);
            assert_null(zone);
            continue;
        }
        taken++;
        for (int i = 0; i < 20; i++) {
            struct civil_grid grid = random_grid(&rng, zone);
            int64_t ts_ms = random_instant(&rng, zone, -9000, 9999);
            char out[CIVIL_TEXT_BYTES];
            assert_true(civil_floor(&grid, ts_ms) <= ts_ms);
            assert_true(civil_next(&grid, ts_ms) > ts_ms);
            civil_number(&grid, ts_ms);
            civil_add(zone, grid.unit, -grid.n, ts_ms);
            civil_format_instant(zone, ts_ms, out);
        }
    }
    assert_in_range(taken, 100, 5900); /* both outcomes were tried */
}

static void damaged_times_do_no_harm(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    for (uint64_t trial = 0; trial < 200000; trial++) {
        struct rng rng = rng_init(seed + trial);
        char good[] = "2025-05-01T08:00:30.123+08:00";
        size_t len = rng_below(&rng, sizeof(good));
        for (uint64_t flips = rng_below(&rng, 4); flips > 0; flips--) {
            good[rng_below(&rng, sizeof(good) - 1)] = "0123456789:-+TZ ., "[rng_below(&rng, 19)];
        }
        char *exact = malloc(len + (len == 0));
        assert_non_null(exact);
        memcpy(exact, good, len);
        int64_t ts_ms = 0;
        char out[CIVIL_TEXT_BYTES];
        int64_t back_ms = 0;
        if (iso8601_parse((struct str){exact, len}, &ts_ms)) {
            /* What is taken is an instant of the years named, and has one text of ours. Offsets
             * may lead a day out of them, and a year before 0000 has a sign. */
            assert_true(ts_ms >= (iso8601_days(0, 1, 1) - 1) * CIVIL_DAY_MS);
            assert_true(ts_ms <= CIVIL_TS_MAX + CIVIL_DAY_MS);
            struct str text = civil_format_instant(zone_utc(), ts_ms, out);
            if (out[0] != '-' && ts_ms <= CIVIL_TS_MAX) {
                assert_true(iso8601_parse(text, &back_ms));
                assert_true(back_ms == ts_ms);
            }
        }
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(local_time_is_that_of_libc),
        cmocka_unit_test(spans_tile_and_their_offsets_hold),
        cmocka_unit_test(buckets_begin_where_the_definition_says),
        cmocka_unit_test(every_instant_is_in_exactly_one_bucket),
        cmocka_unit_test(list_cursor_and_search_agree_with_floor),
        cmocka_unit_test(instants_read_back_from_their_text),
        cmocka_unit_test(damaged_zone_files_do_no_harm),
        cmocka_unit_test(damaged_times_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
