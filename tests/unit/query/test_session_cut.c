/* tests/unit/query/test_session_cut.c - where journeys are cut into sessions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/session_cut.h"

#define MINUTE INT64_C(60000)
#define HOUR   (60 * MINUTE)
#define IDLE   (30 * MINUTE)

static size_t session_count(const struct session_rule *rule, const int64_t *times, size_t count)
{
    size_t sessions = 0;
    for (size_t begin = 0; begin < count; begin = session_end(rule, times, count, begin)) {
        sessions++;
    }
    return sessions;
}

/* Golden case 13 of SEMANTICS.md: exactly 30 min is one session, 1 ms more are two; an event
 * between them, however late it came, joins them. */
static void a_pause_longer_than_idle_begins_a_session(void **state)
{
    (void)state;
    struct session_rule rule = session_rule_default();
    assert_int_equal(session_count(&rule, (int64_t[]){0, IDLE}, 2), 1);
    assert_int_equal(session_count(&rule, (int64_t[]){0, IDLE + 1}, 2), 2);
    assert_int_equal(session_count(&rule, (int64_t[]){0, MINUTE, IDLE + 1}, 3), 1);
    assert_int_equal(session_count(&rule, (int64_t[]){5, 5, 5}, 3), 1);
    assert_int_equal(session_count(&rule, (int64_t[]){INT64_MIN, INT64_MAX}, 2), 2);
}

static void a_session_is_not_longer_than_its_cap(void **state)
{
    (void)state;
    struct session_rule rule = session_rule_default();
    int64_t times[50];
    for (size_t i = 0; i < 50; i++) {
        times[i] = (int64_t)i * IDLE;
    }
    assert_int_equal(session_end(&rule, times, 50, 0), 49); /* 24 h exactly stay inside */
    rule.cap_ms = SESSION_NO_CAP;
    assert_int_equal(session_end(&rule, times, 50, 0), 50);
    rule.cap_ms = 0;
    assert_int_equal(session_end(&rule, times, 50, 0), 1);
}

static void midnight_cuts_only_where_it_is_asked_to(void **state)
{
    (void)state;
    struct err err = {0};
    struct civil_grid day;
    struct session_rule rule = session_rule_default();
    int64_t times[] = {24 * HOUR - 1, 24 * HOUR};
    assert_int_equal(civil_grid_init(zone_utc(), CIVIL_DAY, 1, CIVIL_MONDAY, &day, &err), ERR_OK);
    assert_int_equal(session_end(&rule, times, 2, 0), 2);
    rule.day = &day;
    assert_int_equal(session_end(&rule, times, 2, 0), 1);
}

static void a_session_is_settled_by_a_pause_before_the_range(void **state)
{
    (void)state;
    struct session_rule rule = session_rule_default();
    int64_t from = 100 * HOUR;
    int64_t seen = from - 10 * HOUR;
    int64_t chain[22]; /* from `seen` on, without a pause, into the range */
    for (size_t i = 0; i < 22; i++) {
        chain[i] = seen + (int64_t)i * IDLE;
    }
    assert_false(session_is_settled(&rule, chain, 22, seen, from));
    assert_true(session_is_settled(&rule, chain, 20, seen, from)); /* it ends before the range */
    assert_true(session_is_settled(&rule, chain, 22, seen - IDLE - 1, from)); /* a pause before */
    chain[10]++;
    assert_true(session_is_settled(&rule, chain, 22, seen, from));
    chain[10]--;
    assert_true(session_is_settled(&rule, chain, 22, INT64_MIN, from)); /* all was seen */
    rule.cap_ms = SESSION_NO_CAP;
    assert_true(session_is_settled(&rule, chain, 22, seen, from));
    assert_true(session_is_settled(&rule, &from, 1, seen, from));
    assert_true(session_is_settled(&rule, NULL, 0, seen, from));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pause_longer_than_idle_begins_a_session),
        cmocka_unit_test(a_session_is_not_longer_than_its_cap),
        cmocka_unit_test(midnight_cuts_only_where_it_is_asked_to),
        cmocka_unit_test(a_session_is_settled_by_a_pause_before_the_range),
    };
    return cmocka_run_group_tests_name("query/session_cut", tests, NULL, NULL);
}
