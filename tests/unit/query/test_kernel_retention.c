/* tests/unit/query/test_kernel_retention.c - the golden cases of retention, and the kernel's edges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/retention_calendar.h"

#include <stdio.h>

#define HOUR INT64_C(3600000)
#define DAY  (24 * HOUR)

#define S RETENTION_START
#define R RETENTION_RETURN
#define N RETENTION_NAME

#define SLOTS_MAX 16

/* Ten days of UTC, the first four can be cohorts, periods 0 .. 5. */
static const int64_t days[] = {0,       DAY,     2 * DAY, 3 * DAY, 4 * DAY, 5 * DAY,
                               6 * DAY, 7 * DAY, 8 * DAY, 9 * DAY, 10 * DAY};

static struct retention_spec spec_of(enum retention_start start)
{
    return (struct retention_spec){
        .begins = days,
        .slot_count = 10,
        .cohort_count = 4,
        .period_count = 6,
        .at_least = 1,
        .start = start,
        .mode = RETENTION_EXACT,
        .from_ms = 0,
        .to_ms = 4 * DAY,
    };
}

struct at {
    int64_t ms;
    uint64_t mask;
};

/* "cohort: periods in which it came back; ..." as text, so that a test reads as its answer. */
static void check(const struct retention_spec *spec, const struct at *events, size_t count,
                  const char *want)
{
    int64_t times[64];
    uint64_t masks[64];
    struct retention_member members[SLOTS_MAX];
    uint32_t actives[SLOTS_MAX];
    struct retention_scratch scratch = {.members = members, .actives = actives};
    char got[256] = "";
    size_t len = 0;

    for (size_t i = 0; i < count; i++) {
        times[i] = events[i].ms;
        masks[i] = events[i].mask;
    }
    kernel_retention(spec, times, masks, count, &scratch);
    for (uint32_t m = 0; m < scratch.member_count; m++) {
        uint64_t users[SLOTS_MAX] = {0};
        kernel_retention_add(spec, &scratch, &members[m], users);
        len += (size_t)snprintf(got + len, sizeof(got) - len, "%s%u:", m > 0 ? " " : "",
                                members[m].slot);
        for (uint32_t n = 0; n < spec->period_count; n++) {
            if (users[n] != 0) {
                len += (size_t)snprintf(got + len, sizeof(got) - len, "%u", n);
            }
        }
    }
    assert_string_equal(got, want);
}
#define CHECK(spec, want, ...)                                                                     \
    check((spec), (const struct at[]){__VA_ARGS__},                                                \
          sizeof((const struct at[]){__VA_ARGS__}) / sizeof(struct at), (want))

static void a_return_just_after_midnight_is_on_day_1(void **state)
{
    (void)state;
    struct retention_spec spec = spec_of(RETENTION_FIRST_EVER);
    CHECK(&spec, "0:1", {DAY - 1, S}, {DAY, R});
    CHECK(&spec, "0:0", {DAY - 2, S}, {DAY - 1, R});
}

static void the_start_event_itself_is_no_return(void **state)
{
    (void)state;
    struct retention_spec spec = spec_of(RETENTION_FIRST_EVER);
    CHECK(&spec, "0:", {5, S | R});
    CHECK(&spec, "0:0", {5, S | R}, {6, S | R});
    CHECK(&spec, "0:0", {5, S | R}, {5, S | R}); /* one of the two is the start */
    CHECK(&spec, "0:0", {5, S}, {5, S | R});     /* ties leave most returns */
    CHECK(&spec, "0:0", {5, R}, {6, S});         /* in period 0, before the start */
    CHECK(&spec, "0:12", {5, S | R}, {DAY, R}, {2 * DAY, R});
}

static void first_ever_looks_before_the_range_and_first_does_not(void **state)
{
    (void)state;
    struct retention_spec spec = spec_of(RETENTION_FIRST_EVER);
    CHECK(&spec, "", {-1, S}, {5, S}, {DAY, R});
    CHECK(&spec, "3:", {4 * DAY - 1, S});
    CHECK(&spec, "", {4 * DAY, S});
    spec.start = RETENTION_FIRST;
    CHECK(&spec, "0:1", {-1, S}, {5, S}, {DAY, R});
    spec.from_ms = DAY + 5;
    CHECK(&spec, "1:1", {DAY, S}, {DAY + 5, S}, {2 * DAY, R});
}

static void unfiltered_wants_the_first_event_of_the_name_to_match(void **state)
{
    (void)state;
    struct retention_spec spec = spec_of(RETENTION_FIRST_EVER_UNFILTERED);
    CHECK(&spec, "", {5, N}, {6, N | S}, {DAY, R});
    CHECK(&spec, "0:1", {5, N | S}, {6, N}, {DAY, R});
    CHECK(&spec, "0:1", {5, N}, {5, N | S}, {DAY, R}); /* a tie goes the way that counts */
    CHECK(&spec, "", {-5, N}, {5, N | S}, {DAY, R});
}

static void recurring_makes_every_period_with_a_start_a_cohort(void **state)
{
    (void)state;
    struct retention_spec spec = spec_of(RETENTION_RECURRING);
    CHECK(&spec, "0:12 1:1 2:", {1, S | R}, {DAY, S | R}, {2 * DAY, S | R});
    CHECK(&spec, "0:013 1:02 3:0", {1, S | R}, {2, S | R}, {DAY, S | R}, {DAY + 1, S | R},
          {3 * DAY, S | R}, {3 * DAY, S | R}, {4 * DAY, S});
    CHECK(&spec, "2:0", {1, R}, {2 * DAY, S}, {2 * DAY + 7, R});
}

static void returns_after_the_last_period_do_not_count(void **state)
{
    (void)state;
    struct retention_spec spec = spec_of(RETENTION_FIRST_EVER);
    CHECK(&spec, "0:5", {1, S}, {6 * DAY - 1, R}, {6 * DAY, R});
    CHECK(&spec, "3:", {3 * DAY, S}, {10 * DAY, R});
}

static void unbounded_counts_every_period_up_to_the_last_return(void **state)
{
    (void)state;
    struct retention_spec spec = spec_of(RETENTION_FIRST_EVER);
    spec.mode = RETENTION_UNBOUNDED;
    CHECK(&spec, "0:0123", {1, S}, {3 * DAY, R});
    CHECK(&spec, "0:012345", {1, S}, {9 * DAY, R});
    CHECK(&spec, "0:0", {1, S | R}, {2, R});
    CHECK(&spec, "0:", {1, S | R});
}

static void at_least_counts_the_events_of_one_period(void **state)
{
    (void)state;
    struct retention_spec spec = spec_of(RETENTION_FIRST_EVER);
    spec.at_least = 2;
    CHECK(&spec, "0:2", {1, S | R}, {2, R}, {DAY, R}, {2 * DAY, R}, {2 * DAY, R});
    CHECK(&spec, "0:0", {1, S | R}, {2, R}, {3, R});
}

static void a_day_that_never_was_is_a_slot_without_length(void **state)
{
    (void)state;
    struct err err = {0};
    const struct zone *zone = NULL;
    struct civil_grid grid;
    struct retention_calendar calendar;
    int64_t from_ms = 0;
    int64_t to_ms = 0;
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);

    assert_int_equal(zone_find(STR("Pacific/Apia"), &zone, &err), ERR_OK);
    assert_true(civil_to_ms(zone, (struct civil){.year = 2011, .month = 12, .day = 29}, &from_ms));
    assert_true(civil_to_ms(zone, (struct civil){.year = 2011, .month = 12, .day = 31}, &to_ms));
    assert_int_equal(civil_grid_init(zone, CIVIL_DAY, 1, CIVIL_MONDAY, &grid, &err), ERR_OK);
    assert_int_equal(
        retention_calendar_make(&grid, from_ms, to_ms + 1, 1, INT64_MIN, arena, &calendar, &err),
        ERR_OK);
    assert_int_equal(calendar.cohort_count, 3); /* 29th, 30th, 31st */
    assert_int_equal(calendar.slot_count, 4);
    assert_true(calendar.begins[0] == from_ms);
    assert_true(calendar.begins[1] == to_ms && calendar.begins[2] == to_ms);
    assert_true(calendar.begins[3] == to_ms + DAY && calendar.begins[4] == to_ms + 2 * DAY);

    struct retention_spec spec = spec_of(RETENTION_FIRST_EVER);
    spec.begins = calendar.begins;
    spec.slot_count = calendar.slot_count;
    spec.cohort_count = calendar.cohort_count;
    spec.from_ms = from_ms;
    spec.to_ms = to_ms + 1;
    CHECK(&spec, "0:23", {from_ms, S}, {to_ms, R}, {to_ms + DAY, R});
}

static void calendars_have_bounds(void **state)
{
    (void)state;
    struct err err = {0};
    struct civil_grid grid;
    struct retention_calendar calendar;
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);

    assert_int_equal(civil_grid_init(zone_utc(), CIVIL_DAY, 1, CIVIL_MONDAY, &grid, &err), ERR_OK);
    assert_int_equal(retention_calendar_make(&grid, 5, 5, 3, INT64_MIN, arena, &calendar, &err),
                     ERR_OK);
    assert_int_equal(calendar.cohort_count, 0);
    assert_int_equal(retention_calendar_make(&grid, 0, DAY * (QUERY_BUCKETS_MAX + 1), 3, INT64_MIN,
                                             arena, &calendar, &err),
                     ERR_LIMIT);
    assert_int_equal(retention_calendar_make(&grid, 0, DAY, 2 * QUERY_BUCKETS_MAX, INT64_MIN, arena,
                                             &calendar, &err),
                     ERR_LIMIT);
    /* The last days of the calendar: what lies beyond is slots without length. */
    assert_int_equal(retention_calendar_make(&grid, CIVIL_TS_MAX - DAY, INT64_MAX, 30, INT64_MAX,
                                             arena, &calendar, &err),
                     ERR_OK);
    assert_int_equal(calendar.cohort_count, 2);
    for (uint32_t i = 0; i < calendar.slot_count; i++) {
        assert_true(calendar.begins[i] <= calendar.begins[i + 1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_return_just_after_midnight_is_on_day_1),
        cmocka_unit_test(the_start_event_itself_is_no_return),
        cmocka_unit_test(first_ever_looks_before_the_range_and_first_does_not),
        cmocka_unit_test(unfiltered_wants_the_first_event_of_the_name_to_match),
        cmocka_unit_test(recurring_makes_every_period_with_a_start_a_cohort),
        cmocka_unit_test(returns_after_the_last_period_do_not_count),
        cmocka_unit_test(unbounded_counts_every_period_up_to_the_last_return),
        cmocka_unit_test(at_least_counts_the_events_of_one_period),
        cmocka_unit_test(a_day_that_never_was_is_a_slot_without_length),
        cmocka_unit_test(calendars_have_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
