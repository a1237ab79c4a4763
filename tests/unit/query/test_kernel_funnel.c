/* tests/unit/query/test_kernel_funnel.c - the golden cases of funnels, and the edges of the kernel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/funnel_attempt.h"

#define MINUTE INT64_C(60000)
#define HOUR   (60 * MINUTE)

/* Bits of steps. */
#define A (UINT64_C(1) << 0)
#define B (UINT64_C(1) << 1)
#define C (UINT64_C(1) << 2)
#define D (UINT64_C(1) << 3)

static struct funnel_spec spec_of(uint32_t step_count, uint64_t window_ms)
{
    struct funnel_spec spec = {.step_count = step_count, .window_ms = window_ms};
    for (uint32_t i = 0; i < step_count; i++) {
        spec.limits_ms[i] = FUNNEL_NO_LIMIT;
    }
    return spec;
}

static struct funnel_spec with_limit(struct funnel_spec spec, uint32_t step, uint64_t limit_ms)
{
    spec.limits_ms[step - 1] = limit_ms;
    spec.has_limits = true;
    return spec;
}

struct at {
    int64_t ms;
    uint64_t mask;
};

#define EVENTS_MAX 300
struct flat {
    int64_t times[EVENTS_MAX];
    uint64_t masks[EVENTS_MAX];
    size_t count;
};

static struct flat flatten(const struct at *events, size_t count)
{
    struct flat flat = {.count = count};
    assert_true(count <= EVENTS_MAX);
    for (size_t i = 0; i < count; i++) {
        flat.times[i] = events[i].ms;
        flat.masks[i] = events[i].mask;
    }
    return flat;
}

static struct funnel_reach reach_of(const struct funnel_spec *spec, const struct at *events,
                                    size_t count)
{
    struct flat flat = flatten(events, count);
    return kernel_funnel(spec, flat.times, flat.masks, flat.count);
}

#define REACH(spec, ...)                                                                           \
    reach_of((spec), (const struct at[]){__VA_ARGS__},                                             \
             sizeof((const struct at[]){__VA_ARGS__}) / sizeof(struct at))
#define LEVEL(spec, ...) (REACH((spec), __VA_ARGS__).level)

static void a_later_entry_can_get_further_than_the_first(void **state)
{
    (void)state;
    struct funnel_spec spec = spec_of(3, (uint64_t)HOUR);
    struct funnel_reach reach =
        REACH(&spec, {0, A}, {30 * MINUTE, A}, {45 * MINUTE, B}, {75 * MINUTE, C});
    assert_int_equal(reach.level, 3);
    assert_int_equal(reach.start_ms, 30 * MINUTE);
    assert_int_equal(reach.end_ms, 75 * MINUTE);
}

static void steps_before_the_entry_do_not_count(void **state)
{
    (void)state;
    struct funnel_spec spec = spec_of(2, (uint64_t)HOUR);
    assert_int_equal(LEVEL(&spec, {0, B}, {1, A}, {2, B}), 2);
    assert_int_equal(LEVEL(&spec, {0, B}, {1, A}), 1);
}

static void equal_times_may_be_taken_in_either_order_but_not_in_strict_mode(void **state)
{
    (void)state;
    struct funnel_spec spec = spec_of(2, (uint64_t)HOUR);
    assert_int_equal(LEVEL(&spec, {5, A}, {5, B}), 2);
    assert_int_equal(LEVEL(&spec, {5, B}, {5, A}), 2);
    spec.is_strict_ties = true;
    assert_int_equal(LEVEL(&spec, {5, A}, {5, B}), 1);
    assert_int_equal(LEVEL(&spec, {5, B}, {5, A}), 1);
    assert_int_equal(LEVEL(&spec, {5, B}, {5, A}, {6, B}), 2);
}

static void two_equal_steps_need_two_events(void **state)
{
    (void)state;
    struct funnel_spec spec = spec_of(2, (uint64_t)HOUR);
    assert_int_equal(LEVEL(&spec, {0, A | B}), 1);
    assert_int_equal(LEVEL(&spec, {0, A | B}, {1, A | B}), 2);
    assert_int_equal(LEVEL(&spec, {0, A | B}, {0, A | B}), 2);
    spec = spec_of(3, (uint64_t)HOUR);
    assert_int_equal(LEVEL(&spec, {0, A | B | C}, {0, A | B | C}), 2);
}

static void the_window_is_inclusive(void **state)
{
    (void)state;
    struct funnel_spec spec = spec_of(2, (uint64_t)HOUR);
    assert_int_equal(LEVEL(&spec, {0, A}, {HOUR, B}), 2);
    assert_int_equal(LEVEL(&spec, {0, A}, {HOUR + 1, B}), 1);
    spec.window_ms = 0;
    assert_int_equal(LEVEL(&spec, {0, A}, {0, B}), 2);
    assert_int_equal(LEVEL(&spec, {0, A}, {1, B}), 1);
}

static void a_missing_step_stops_the_level_and_no_entry_is_level_0(void **state)
{
    (void)state;
    struct funnel_spec spec = spec_of(3, (uint64_t)HOUR);
    assert_int_equal(LEVEL(&spec, {0, A}, {1, C}), 1);
    assert_int_equal(LEVEL(&spec, {0, B}, {1, C}), 0);
    assert_int_equal(kernel_funnel(&spec, NULL, NULL, 0).level, 0);
}

static void an_entry_is_only_where_its_bit_is_set(void **state)
{
    (void)state;
    /* a -> a: the second one lies beyond the range, so it has the bit of step 2 only. */
    struct funnel_spec spec = spec_of(2, (uint64_t)HOUR);
    assert_int_equal(LEVEL(&spec, {-1, A | B}, {1, B}), 2);
    assert_int_equal(LEVEL(&spec, {0, B}, {1, B}), 0);
}

static void limits_and_window_choose_among_several_starts(void **state)
{
    (void)state;
    struct funnel_spec spec = with_limit(spec_of(3, (uint64_t)HOUR), 2, (uint64_t)(10 * MINUTE));
    /* The first start reaches b too late for the limit, the second in time. */
    assert_int_equal(LEVEL(&spec, {0, A}, {50 * MINUTE, A}, {55 * MINUTE, B}, {100 * MINUTE, C}),
                     3);
    assert_int_equal(LEVEL(&spec, {0, A}, {10 * MINUTE + 1, B}, {20 * MINUTE, C}), 1);
    assert_int_equal(LEVEL(&spec, {0, A}, {10 * MINUTE, B}, {60 * MINUTE, C}), 3);
    assert_int_equal(LEVEL(&spec, {0, A}, {10 * MINUTE, B}, {60 * MINUTE + 1, C}), 2);
}

static void the_shown_attempt_is_the_first_to_get_there_with_the_latest_start(void **state)
{
    (void)state;
    struct funnel_spec spec = spec_of(2, (uint64_t)HOUR);
    struct funnel_reach reach = REACH(&spec, {0, A}, {1, A}, {2, B}, {3, A}, {4, B});
    assert_int_equal(reach.start_ms, 1);
    assert_int_equal(reach.end_ms, 2);
    spec = spec_of(3, (uint64_t)HOUR);
    reach = REACH(&spec, {0, A}, {1, A}, {2, B}, {3, A}, {4, B});
    assert_int_equal(reach.level, 2);
    assert_int_equal(reach.start_ms, 1);
    assert_int_equal(reach.end_ms, 2);
    /* Inside one instant: a fresh start is later than the old one. */
    spec = spec_of(2, (uint64_t)HOUR);
    reach = REACH(&spec, {0, A}, {9, A}, {9, B});
    assert_int_equal(reach.start_ms, 9);
    assert_int_equal(reach.end_ms, 9);
}

static void an_instant_with_several_events_is_matched(void **state)
{
    (void)state;
    struct funnel_spec spec = spec_of(4, (uint64_t)HOUR);
    /* Greedy would give the only d to b, or the only b to c. */
    assert_int_equal(LEVEL(&spec, {0, A}, {5, B | C}, {5, B | D}, {5, B}), 4);
    assert_int_equal(LEVEL(&spec, {0, A}, {5, B | C}, {5, C | D}), 3);
    assert_int_equal(LEVEL(&spec, {5, A | B | C | D}, {5, A}, {5, A | B}, {5, B | C}), 4);
    assert_int_equal(LEVEL(&spec, {5, A | B}, {5, A | B}, {5, A | B}, {5, D}), 2);
    /* Level 2 from before is gone from the window, a fresh start is not. */
    spec.window_ms = 3;
    assert_int_equal(LEVEL(&spec, {0, A}, {1, B}, {5, A}, {5, B}, {5, C}, {5, C | D}), 4);
}

static void extreme_times_do_not_overflow(void **state)
{
    (void)state;
    struct funnel_spec spec = spec_of(2, UINT64_MAX);
    struct funnel_reach reach = REACH(&spec, {INT64_MIN, A}, {INT64_MAX, B});
    assert_int_equal(reach.level, 2);
    assert_true(reach.start_ms == INT64_MIN && reach.end_ms == INT64_MAX);
    spec.window_ms = UINT64_MAX - 1;
    assert_int_equal(LEVEL(&spec, {INT64_MIN, A}, {INT64_MAX, B}), 1);
    assert_int_equal(LEVEL(&spec, {INT64_MIN + 1, A}, {INT64_MAX, B}), 2);
}

static void sixty_four_steps_work_one_by_one_and_in_one_instant(void **state)
{
    (void)state;
    struct funnel_spec spec = spec_of(QUERY_STEPS_MAX, 1000);
    struct at events[EVENTS_MAX];
    for (uint32_t i = 0; i < 64; i++) {
        events[i] = (struct at){i, UINT64_C(1) << i};
    }
    assert_int_equal(reach_of(&spec, events, 64).level, 64);
    assert_int_equal(reach_of(&spec, events, 63).level, 63);
    for (uint32_t i = 0; i < 256; i++) { /* every event fits every step */
        events[i] = (struct at){7, ~UINT64_C(0)};
    }
    assert_int_equal(reach_of(&spec, events, 63).level, 63);
    assert_int_equal(reach_of(&spec, events, 256).level, 64);
    for (uint32_t i = 0; i < 64; i++) { /* event i fits steps 1 .. i + 1: only one way */
        events[i] = (struct at){7, ~UINT64_C(0) >> (63 - i)};
    }
    assert_int_equal(reach_of(&spec, events, 64).level, 64);
    struct at swap = events[63];
    events[63] = events[0];
    events[0] = swap;
    assert_int_equal(reach_of(&spec, events, 64).level, 64);
    assert_int_equal(reach_of(&spec, events, 62).level, 62);
    assert_int_equal(reach_of(&spec, events + 1, 62).level, 62); /* without the one that fits all */
    events[5].mask = 1;
    events[6].mask = 1; /* two events that fit step 1 only */
    assert_int_equal(reach_of(&spec, events + 1, 62).level, 61);
}

static void check_times(const struct funnel_spec *spec, const struct at *events, size_t count,
                        const int64_t *want, uint32_t level)
{
    struct flat flat = flatten(events, count);
    struct funnel_journey journey = {flat.times, flat.masks, flat.count};
    uint64_t scratch[EVENTS_MAX];
    int64_t times[QUERY_STEPS_MAX];
    struct funnel_reach reach = kernel_funnel(spec, flat.times, flat.masks, flat.count);
    assert_int_equal(reach.level, level);
    (void)funnel_attempt(spec, &journey, &reach, funnel_attempt_start(&journey, reach.start_ms),
                         scratch, times);
    for (uint32_t i = 0; i < level; i++) {
        assert_int_equal(times[i], want[i]);
    }
}

static void step_times_are_the_earliest_that_still_complete(void **state)
{
    (void)state;
    struct funnel_spec spec = spec_of(3, (uint64_t)HOUR);
    const struct at events[] = {{0, A}, {10, B}, {30, B}, {35, C}};
    check_times(&spec, events, 4, (const int64_t[]){0, 10, 35}, 3);
    spec = with_limit(spec, 3, 10); /* c at most 10 ms after b: the first b is a dead end */
    check_times(&spec, events, 4, (const int64_t[]){0, 30, 35}, 3);
    /* Both b and c in one instant, the spare c later. */
    const struct at tied[] = {{0, A}, {4, B | C}, {4, B}, {9, C}};
    spec = spec_of(3, (uint64_t)HOUR);
    check_times(&spec, tied, 4, (const int64_t[]){0, 4, 4}, 3);
}

static void an_entry_must_leave_the_other_steps_of_its_instant_fillable(void **state)
{
    (void)state;
    const struct at events[] = {{5, A | B}, {5, A}, {9, C}};
    struct flat flat = flatten(events, 3);
    struct funnel_journey journey = {flat.times, flat.masks, flat.count};
    struct funnel_instant start = funnel_instant_from(&journey, funnel_attempt_start(&journey, 5));
    assert_int_equal(start.begin, 0);
    assert_int_equal(start.end, 2);
    assert_false(funnel_attempt_is_entry(&journey, start, 2, 0)); /* it has to be b */
    assert_true(funnel_attempt_is_entry(&journey, start, 2, 1));
    assert_true(funnel_attempt_is_entry(&journey, start, 1, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_later_entry_can_get_further_than_the_first),
        cmocka_unit_test(steps_before_the_entry_do_not_count),
        cmocka_unit_test(equal_times_may_be_taken_in_either_order_but_not_in_strict_mode),
        cmocka_unit_test(two_equal_steps_need_two_events),
        cmocka_unit_test(the_window_is_inclusive),
        cmocka_unit_test(a_missing_step_stops_the_level_and_no_entry_is_level_0),
        cmocka_unit_test(an_entry_is_only_where_its_bit_is_set),
        cmocka_unit_test(limits_and_window_choose_among_several_starts),
        cmocka_unit_test(the_shown_attempt_is_the_first_to_get_there_with_the_latest_start),
        cmocka_unit_test(an_instant_with_several_events_is_matched),
        cmocka_unit_test(extreme_times_do_not_overflow),
        cmocka_unit_test(sixty_four_steps_work_one_by_one_and_in_one_instant),
        cmocka_unit_test(step_times_are_the_earliest_that_still_complete),
        cmocka_unit_test(an_entry_must_leave_the_other_steps_of_its_instant_fillable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
