/* tests/unit/storage/test_event.c - tests of storage/event.c: building a batch, and what is rejected. */
#include "tests/support/claims.h"

#include "storage/event.h"

#define NOW_MS INT64_C(1750000000000)

static struct event *good_event(struct batch_builder *builder)
{
    struct err err = {0};
    struct event *event = NULL;
    assert_ok(batch_event(builder, &event, &err));
    event->name = STR("page_view");
    event->user_id = STR("u1");
    event->time_ms = NOW_MS;
    return event;
}

static void begin(struct batch_builder *builder)
{
    struct err err = {0};
    assert_ok(batch_begin(NULL, NOW_MS, builder, &err));
    assert_int_equal(builder->batch->arrival_ms, NOW_MS);
}

static void expect_reason(struct batch_builder *builder, const struct event *event,
                          const char *reason)
{
    batch_check_event(builder, NOW_MS);
    assert_int_equal(event->status, reason == NULL ? RECEIPT_PENDING : RECEIPT_REJECTED);
    if (reason != NULL && !str_eq(event->reason, str_of(reason))) {
        fail_msg("reason: %.*s", (int)event->reason.len, event->reason.ptr);
    }
}

static void names_are_interned_and_the_last_value_of_a_name_wins(void **state)
{
    (void)state;
    struct err err = {0};
    struct batch_builder builder;
    begin(&builder);
    for (uint32_t round = 0; round < 3; round++) {
        good_event(&builder);
        for (uint32_t i = 0; i < 1500; i++) {
            char name[32];
            struct prop prop = {.type = COL_TIME, .ts_ms = i};
            snprintf(name, sizeof(name), "p%u", i % 1000);
            assert_ok(batch_name(&builder, str_of(name), &prop.name_idx, &err));
            assert_int_equal(prop.name_idx, i % 1000);
            assert_ok(batch_prop(&builder, &prop, &err));
        }
    }
    assert_int_equal(builder.batch->name_count, 1000);
    assert_int_equal(builder.batch->prop_count, 3000);
    assert_int_equal(builder.batch->props[2000].ts_ms, 1000);
    assert_int_equal(builder.batch->props[2999].ts_ms, 999);
    event_batch_free(builder.batch);
}

static void an_event_needs_a_name_and_somebody(void **state)
{
    (void)state;
    struct batch_builder builder;
    begin(&builder);
    struct event *event = good_event(&builder);
    expect_reason(&builder, event, NULL);
    event = good_event(&builder);
    event->name = (struct str){0};
    expect_reason(&builder, event, "needs event_name");
    event = good_event(&builder);
    event->name = (struct str){"a\0b", 3};
    expect_reason(&builder, event, "event_name contains a zero byte");
    const char *nobody[] = {"", "null", "undefined", "00000000-0000-0000-0000-000000000000"};
    for (size_t i = 0; i < COUNT_OF(nobody); i++) {
        event = good_event(&builder);
        event->user_id = str_of(nobody[i]);
        event->anonymous_id = str_of(nobody[(i + 1) % COUNT_OF(nobody)]);
        expect_reason(&builder, event, "needs user_id or anonymous_id");
        event = good_event(&builder);
        event->user_id = str_of(nobody[i]);
        event->anonymous_id = STR("a1");
        expect_reason(&builder, event, NULL);
        assert_int_equal(event->user_id.len, 0); /* absent, not kept */
    }
    event_batch_free(builder.batch);
}

static void times_from_1900_to_ten_minutes_ahead_are_taken(void **state)
{
    (void)state;
    struct batch_builder builder;
    begin(&builder);
    const int64_t good[] = {0, -1, INT64_C(-2208988800000), NOW_MS + 600000};
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        struct event *event = good_event(&builder);
        event->time_ms = good[i];
        expect_reason(&builder, event, NULL);
    }
    struct event *event = good_event(&builder);
    event->time_ms = NOW_MS + 600001;
    expect_reason(&builder, event,
                  "event_time 1750000600001 ms lies 600 s in the future, at most 600");
    event = good_event(&builder);
    event->time_ms = INT64_C(-2208988800001);
    expect_reason(&builder, event, "event_time -2208988800001 ms lies before the year 1900");
    event = good_event(&builder);
    event->time_ms = INT64_MAX;
    batch_check_event(&builder, INT64_C(-2208988800000));
    assert_int_equal(event->status, RECEIPT_REJECTED);
    event_batch_free(builder.batch);
}

static void lengths_are_bounded_and_the_bound_is_told(void **state)
{
    (void)state;
    struct err err = {0};
    struct batch_builder builder;
    static char longest[EVENT_ID_BYTES_MAX + 1];
    memset(longest, 'x', sizeof(longest));
    struct str fits = {longest, EVENT_ID_BYTES_MAX};
    struct str over = {longest, EVENT_ID_BYTES_MAX + 1};
    begin(&builder);
    struct event *event = good_event(&builder);
    event->event_id = event->user_id = event->anonymous_id = event->name = fits;
    expect_reason(&builder, event, NULL);
    event = good_event(&builder);
    event->event_id = over;
    expect_reason(&builder, event, "event_id has 513 bytes, at most 512");
    event = good_event(&builder);
    event->anonymous_id = over;
    expect_reason(&builder, event, "anonymous_id has 513 bytes, at most 512");
    struct prop prop = {.type = COL_BOOL};
    event = good_event(&builder);
    assert_ok(batch_name(&builder, over, &prop.name_idx, &err));
    assert_ok(batch_prop(&builder, &prop, &err));
    expect_reason(&builder, event, "property name has 513 bytes, at most 512");
    event = good_event(&builder);
    assert_ok(batch_name(&builder, (struct str){"a\0", 2}, &prop.name_idx, &err));
    assert_ok(batch_prop(&builder, &prop, &err));
    expect_reason(&builder, event, "property name contains a zero byte");
    event = good_event(&builder);
    expect_reason(&builder, event, NULL); /* another event's bad name is not its own */
    event_batch_free(builder.batch);
}

static void too_many_properties_reject_the_event(void **state)
{
    (void)state;
    struct err err = {0};
    struct batch_builder builder;
    begin(&builder);
    struct event *event = good_event(&builder);
    for (uint32_t i = 0; i <= PROPS_PER_EVENT_MAX; i++) {
        char name[32];
        struct prop prop = {.type = COL_BOOL};
        assert_int_equal(event->status, RECEIPT_PENDING);
        snprintf(name, sizeof(name), "p%u", i);
        assert_ok(batch_name(&builder, str_of(name), &prop.name_idx, &err));
        assert_ok(batch_prop(&builder, &prop, &err));
    }
    expect_reason(&builder, event, "more than 2000 properties");
    event_batch_free(builder.batch);
}

static void a_spent_budget_is_an_error_not_a_crash(void **state)
{
    (void)state;
    struct err err = {0};
    struct budget budget;
    struct batch_builder builder;
    enum err_code code = ERR_OK;
    budget_init(&budget, 300000, "batch memory");
    assert_ok(batch_begin(&budget, NOW_MS, &builder, &err));
    for (uint32_t i = 0; i < 100000 && code == ERR_OK; i++) {
        struct event *event = NULL;
        code = batch_event(&builder, &event, &err);
    }
    assert_int_equal(code, ERR_LIMIT);
    event_batch_free(builder.batch);
    assert_int_equal(budget.used_bytes, 0);
}

/* Room made ahead changes no event; what comes beyond it still finds room. */
static void expecting_events_keeps_those_that_are_there(void **state)
{
    (void)state;
    struct err err = {0};
    struct batch_builder builder;
    begin(&builder);
    assert_ok(batch_expect(&builder, 1000, &err)); /* nothing seen yet: nothing to tell from */
    assert_false(builder.is_expected);
    for (uint32_t i = 0; i < 5000; i++) {
        struct prop prop = {.type = COL_TIME, .ts_ms = i};
        good_event(&builder)->line = i;
        assert_ok(batch_name(&builder, STR("p"), &prop.name_idx, &err));
        assert_ok(batch_prop(&builder, &prop, &err));
        if (i == 70) {
            assert_ok(batch_expect(&builder, 2000, &err));
            assert_true(builder.event_cap >= 2000 && builder.prop_cap >= 2000);
            assert_ok(batch_expect(&builder, UINT32_MAX, &err)); /* only the first call counts */
            assert_true(builder.event_cap < 4000);
        }
    }
    for (uint32_t i = 0; i < 5000; i++) {
        assert_int_equal(builder.batch->events[i].line, i);
        assert_int_equal(builder.batch->props[builder.batch->events[i].prop_first].ts_ms, i);
    }
    event_batch_free(builder.batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_interned_and_the_last_value_of_a_name_wins),
        cmocka_unit_test(an_event_needs_a_name_and_somebody),
        cmocka_unit_test(times_from_1900_to_ten_minutes_ahead_are_taken),
        cmocka_unit_test(lengths_are_bounded_and_the_bound_is_told),
        cmocka_unit_test(too_many_properties_reject_the_event),
        cmocka_unit_test(expecting_events_keeps_those_that_are_there),
        cmocka_unit_test(a_spent_budget_is_an_error_not_a_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
