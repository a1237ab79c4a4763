/* tests/unit/query/test_metrics.c - metrics in queries: what they become, and what they cannot be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/bind.h"
#include "query/parse.h"
#include "storage/base/arena.h"
#include "storage/base/buf.h"
#include "storage/base/size.h"
#include "tests/support/lang_fixture.h"

static int setup(void **state)
{
    static struct lang_fixture fixture;
    lang_fixture_open(&fixture, false);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    lang_fixture_close(*state);
    return 0;
}

/* ---- a catalogue ---- */

static const struct {
    const char *name;
    uint32_t version;
    const char *definition;
} catalogue[] = {
    {"gmv", 1, "sum(amount of pay_success)"},
    {"gmv", 2, "sum(amount of pay_success) - sum(amount of refund)"},
    {"users", 1, "users(any)"},
    {"arpu", 1, "metric(\"gmv\") / metric(\"users\")"},
    {"old_arpu", 1, "metric(\"gmv\", 1) / metric(\"users\")"},
    {"wau", 1, "rolling 7d users(any)"},
    {"weekly", 1, "metric(\"wau\")"},
    {"d7", 1, "retention register -> any each day for 7 where channel = \"ad\" last 30d"},
    {"buy", 1, "funnel page_view -> pay_success[amount > 1] within 1d by bucket(amount, 0, 10)"},
    {"latency", 1, "trend p50(amount), p99(amount) as tail order by p50(amount) desc limit 3"},
    {"either", 1, "trend count(any) where channel = \"a\" or channel = \"b\""},
    {"clean", 1, "trend count(any) exclude cohort \"bots\" top 3 by channel"},
    {"then", 1, "trend users(any) identity event_time"},
    {"circle", 1, "metric(\"lap\") + 1"},
    {"lap", 1, "metric(\"circle\") * 2"},
    {"wrong", 1, "sum(channel)"},
    {"broken", 1, "sum(\namount off x)"},
    {"bent", 1, "sum(\"open"},
    {"asking", 1, "count(any[channel = :who])"},
    {"way", 1, "funnel page_view -> pay_success within 1d where channel = \"a\""},
    {"orders", 1, "count(pay_success)"},
    {"speed", 1, "p95(amount of any)"},
};

static enum err_code find(void *arg, struct str name, uint32_t version, struct arena *arena,
                          struct str *ret, struct err *err)
{
    bool is_found = false;
    (void)arg;
    (void)arena;
    for (size_t i = 0; i < COUNT_OF(catalogue); i++) {
        if (str_eq(name, str_of(catalogue[i].name)) &&
            (version == 0 || version == catalogue[i].version)) {
            *ret = str_of(catalogue[i].definition);
            is_found = true;
        }
    }
    return is_found ? ERR_OK : err_set(err, ERR_NOT_FOUND, "there is none");
}
static const struct metric_finder finder = {find, NULL};

/* "code 1:7: message", or the query in canonical words. */
static void outcome(struct lang_fixture *fixture, const char *text, bool is_bound, struct buf *out)
{
    const struct query_request request = {
        .text = str_of(text), .now_ms = LANG_NOW_MS, .metrics = &finder};
    const struct ast_query *ast = NULL;
    const struct bound_query *query = NULL;
    struct err err = {0};
    enum err_code code = query_parse(&request, fixture->arena, &ast, &err);
    if (code == ERR_OK) {
        ast_print(ast, out);
        assert_int_equal(ast->has_metrics, strstr(text, "metric(") != NULL);
    }
    if (code == ERR_OK && is_bound) {
        code = query_bind(&request, &fixture->snapshot, NULL, fixture->arena, &query, &err);
        if (code == ERR_OK) {
            assert_true(str_eq(query->expansion, buf_as_str(out)));
        }
        query_unbind(query);
    }
    if (code != ERR_OK) {
        buf_clear(out);
        buf_printf(out, "%s %u:%u: %s", err_code_name(code), err.line, err.column, err.message);
    }
    buf_u8(out, 0);
}

static void expect(void **state, const char *text, const char *want)
{
    CLEANUP(buf_freep) struct buf got = {0};
    outcome(*state, text, false, &got);
    assert_string_equal((const char *)got.ptr, want);
}

static void expect_bound(void **state, const char *text, const char *want)
{
    CLEANUP(buf_freep) struct buf got = {0};
    outcome(*state, text, true, &got);
    assert_string_equal((const char *)got.ptr, want);
}

/* ---- measures ---- */

static void a_measure_is_its_definition(void **state)
{
    expect(state, "trend metric(\"gmv\", 1) as gmv each day by channel",
           "trend sum(amount of pay_success) as gmv by channel each day");
    expect(state, "trend metric(\"gmv\") * 2",
           "trend (sum(amount of pay_success) - sum(amount of refund)) * 2");
    expect(state, "trend 1 - metric(\"gmv\"), users(any)",
           "trend 1 - (sum(amount of pay_success) - sum(amount of refund)), users(any)");
}

static void metrics_are_made_of_metrics(void **state)
{
    expect(state, "trend metric(\"arpu\")",
           "trend (sum(amount of pay_success) - sum(amount of refund)) / users(any)");
    expect(state, "trend metric(\"old_arpu\")", "trend sum(amount of pay_success) / users(any)");
}

static void a_measure_alone_is_a_trend_of_it(void **state)
{
    expect(state, "metric(\"users\") last 30d by channel", "trend users(any) by channel last 30d");
    expect(state, "explain metric(\"arpu\") where amount > 1",
           "explain trend (sum(amount of pay_success) - sum(amount of refund)) / users(any) "
           "where amount > 1");
}

static void a_metric_that_looks_back_is_a_whole_measure(void **state)
{
    expect(state, "trend metric(\"weekly\") as wau each day",
           "trend rolling 7d users(any) as wau each day");
    expect(state, "trend metric(\"wau\") + 1 each day",
           "invalid 1:7: the metric looks back by itself (\"rolling\"): it is a measure alone, and "
           "no part of one");
    expect(state, "trend rolling 1d metric(\"wau\") each day",
           "invalid 1:18: the metric looks back by itself (\"rolling\"): it is a measure alone, "
           "and no part of one");
}

/* ---- conditions on people ---- */

static void a_measure_stands_in_conditions_on_people(void **state)
{
    expect_bound(state, "segment metric(\"gmv\", 1) >= 100",
                 "segment sum(amount of pay_success) >= 100");
    expect_bound(state, "segment metric(\"orders\") last 7d >= 2 and not did(refund) last 30d",
                 "segment count(pay_success last 7d) >= 2 and not did(refund) last 30d");
    expect_bound(state, "segment metric(\"gmv\") rolling 7d between 1 and 2 list users",
                 "segment sum(amount of pay_success rolling 7d) - sum(amount of refund rolling 7d) "
                 "between 1 and 2 list users");
    expect_bound(state,
                 "segment (metric(\"gmv\") on 2025-05-01 + 1) * 2 > 3 or metric(\"orders\") = 0",
                 "segment (sum(amount of pay_success on 2025-05-01) - sum(amount of refund on "
                 "2025-05-01) + 1) * 2 > 3 or count(pay_success) = 0");
    expect_bound(state, "segment not metric(\"gmv\") / metric(\"orders\") last 7d > 3 per channel",
                 "segment not (sum(amount of pay_success) - sum(amount of refund)) / "
                 "count(pay_success last 7d) > 3 per channel");
    expect_bound(
        state, "segment reached(metric(\"way\") last 7d, 2)",
        "segment reached(funnel page_view -> pay_success within 1d where channel = \"a\" last "
        "7d, 2)");
}

static void a_condition_says_which_metric_does_not_fit(void **state)
{
    expect(state, "segment metric(\"arpu\") > 1",
           "invalid 1:9: \"users\" counts people, and a condition is about one of them: did(...)");
    expect(state, "segment did(any) and metric(\"speed\") > 1",
           "invalid 1:22: a condition compares count, unique, sum, avg, min and max; no other "
           "measure");
    expect(
        state, "segment metric(\"wau\") > 1",
        "invalid 1:9: the metric looks back by itself (\"rolling\"); in a condition the range says "
        "how far: metric(\"...\") rolling 7d");
    expect(
        state, "segment metric(\"d7\") > 1",
        "invalid 1:9: metric \"d7\" is a question of its own (retention), and a condition compares "
        "a "
        "measure; a funnel may stand in reached(metric(\"...\"), 2), people that are saved in \"in "
        "cohort\"");
    expect(state, "segment reached(metric(\"d7\"), 2)",
           "invalid 1:17: the metric is no funnel, and \"reached\" asks for one");
    expect(state, "segment reached(metric(\"orders\"), 1)",
           "invalid 1:17: the metric is no funnel, and \"reached\" asks for one");
    expect(state, "segment reached(metric(\"buy\"), 1)",
           "invalid 1:9: the funnel of \"reached\" takes steps, its own clauses, \"where\" and a "
           "range; "
           "what shapes an answer has no place in it");
    expect(state, "segment metric(\"nothing\") > 1", "not_found 1:9: there is none");
    expect(
        state, "segment metric(\"gmv\") last 7d",
        "invalid 1:30: expected a comparison with a number (=, !=, <, <=, >, >=, between), found "
        "the end of the query");
    expect_bound(state, "segment metric(\"wrong\") > 1",
                 "invalid 1:9: a sum, mean, smallest or largest value needs a number, and property "
                 "\"channel\" is a string");
}

/* ---- questions ---- */

static void a_question_takes_the_askers_clauses(void **state)
{
    expect(state, "metric(\"d7\")",
           "retention register -> any each day for 7 where channel = \"ad\" last 30d");
    expect(state,
           "metric(\"d7\") by platform from 2025-01-01 to 2025-02-01 where amount = 1 tz \"UTC\"",
           "retention register -> any each day for 7 where channel = \"ad\" and amount = 1 "
           "by platform from 2025-01-01 to 2025-02-01 tz \"UTC\"");
    expect(state, "metric(\"d7\") each week including today",
           "retention register -> any each week for 7 where channel = \"ad\" last 30d including "
           "today");
    expect(state, "metric(\"either\") where amount = 1",
           "trend count(any) where (channel = \"a\" or channel = \"b\") and amount = 1");
    expect(state, "metric(\"clean\") exclude cohort \"staff\" top 2 with other",
           "trend count(any) by channel top 2 with other exclude cohort \"bots\", \"staff\"");
    expect(state, "metric(\"then\")", "trend users(any) identity event_time");
    expect(state, "metric(\"then\") identity now each day", "trend users(any) each day");
    expect(state, "metric(\"clean\") identity event_time",
           "trend count(any) by channel top 3 identity event_time exclude cohort \"bots\"");
    expect(state, "users of (period = 1) in metric(\"d7\")",
           "users of (period = 1) in retention register -> any each day for 7 where channel = "
           "\"ad\" last 30d");
}

static void a_question_keeps_what_is_its_own(void **state)
{
    expect(
        state, "metric(\"d7\") for 3",
        "invalid 1:14: \"for\" is for the metric's definition to say; a metric takes the clauses "
        "that all verbs share (where, by, each, last, top, ...)");
    expect(state, "metric(\"buy\") last 1d last 2d",
           "invalid 1:23: a query has one range: \"last\" comes on top of another");
    expect(state, "metric(\"d7\") top 3", "invalid 1:18: \"top\" needs a breakdown: \"by KEY\"");
    expect(state, "trend metric(\"d7\")",
           "invalid 1:7: metric \"d7\" is a question of its own (retention), and no measure: it "
           "stands alone, as in metric(\"d7\") last 30d");
}

static void columns_of_a_definition_have_canonical_names(void **state)
{
    struct lang_fixture *fixture = *state;
    const struct bound_query *query = NULL;
    struct err err = {0};
    struct query_request request = {
        .text = STR("metric(\"latency\")"), .now_ms = LANG_NOW_MS, .metrics = &finder};
    assert_int_equal(query_bind(&request, &fixture->snapshot, NULL, fixture->arena, &query, &err),
                     ERR_OK);
    assert_true(str_eq(query->measures[0].name, STR("p50(amount)")));
    assert_true(str_eq(query->measures[1].name, STR("tail")));
    assert_true(query->has_order && query->order.column == 0);
    query_unbind(query);
    request.text = STR("metric(\"buy\") last 30d");
    assert_int_equal(query_bind(&request, &fixture->snapshot, NULL, fixture->arena, &query, &err),
                     ERR_OK);
    assert_true(str_eq(query->keys[0].name, STR("bucket(amount, 0, 10)")));
    assert_true(str_eq(query->funnel.steps[1].label, STR("pay_success[amount > 1]")));
    query_unbind(query);
    request.text = STR("trend  metric( \"users\" ) + 1");
    assert_int_equal(query_bind(&request, &fixture->snapshot, NULL, fixture->arena, &query, &err),
                     ERR_OK);
    assert_true(str_eq(query->measures[0].name, STR("metric( \"users\" ) + 1")));
    query_unbind(query);
}

/* ---- mistakes ---- */

static void mistakes_are_told_at_the_name(void **state)
{
    expect(state, "trend count(any),\n  metric(\"none\")", "not_found 2:3: there is none");
    expect(state, "trend metric(\"gmv\", 3)", "not_found 1:7: there is none");
    expect(state, "trend metric(\"circle\")",
           "invalid 1:7: metric \"circle\": metric \"lap\": metric \"circle\" would be made of "
           "itself");
    expect(state, "trend metric(\"broken\")",
           "invalid 1:7: metric \"broken\": expected \"of\" or \")\", found \"off\"");
    expect(state, "trend metric(\"asking\")",
           "invalid 1:7: metric \"asking\": parameter \":who\" has no value");
    expect_bound(state, "trend users(any), metric(\"wrong\")",
                 "invalid 1:19: sum needs a number, and property \"channel\" is a string");
    expect_bound(state, "trend metric(\"gmv\", 1)", "trend sum(amount of pay_success)");
}

static void a_text_that_is_no_text_is_told_at_the_name(void **state)
{
    CLEANUP(buf_freep) struct buf got = {0};
    outcome(*state, "trend metric(\"bent\")", false, &got);
    assert_non_null(strstr((const char *)got.ptr, "invalid 1:7: metric \"bent\": "));
}

/* Operators count over all definitions together: names do not make a long measure short. */
static enum err_code find_doubled(void *arg, struct str name, uint32_t version, struct arena *arena,
                                  struct str *ret, struct err *err)
{
    (void)arg;
    (void)version;
    int level = name.ptr[0] - 'a';
    if (level == 15) {
        *ret = STR("count(any)");
        return ERR_OK;
    }
    return arena_printf(arena, ret, err, "metric(\"%c\") + metric(\"%c\")", 'b' + level,
                        'b' + level);
}

static void doubling_definitions_end_at_the_limit(void **state)
{
    struct lang_fixture *fixture = *state;
    const struct metric_finder doubling = {find_doubled, NULL};
    const struct query_request request = {
        .text = STR("trend metric(\"a\")"), .now_ms = LANG_NOW_MS, .metrics = &doubling};
    const struct ast_query *ast = NULL;
    struct err err = {0};
    assert_int_equal(query_parse(&request, fixture->arena, &ast, &err), ERR_LIMIT);
    assert_non_null(strstr(err.message, "more than 200 operators in one measure"));
}

/* ---- definitions ---- */

static void expect_definition(void **state, const char *name, const char *text, const char *want)
{
    struct lang_fixture *fixture = *state;
    const struct query_request request = {.text = str_of(text), .metrics = &finder};
    struct err err = {0};
    char got[1024] = "";
    enum err_code code = query_parse_metric(&request, str_of(name), fixture->arena, &err);
    if (code != ERR_OK) {
        snprintf(got, sizeof(got), "%s %u:%u: %s", err_code_name(code), err.line, err.column,
                 err.message);
    }
    assert_string_equal(got, want);
}

static void a_definition_is_a_measure_or_a_question(void **state)
{
    expect_definition(state, "m", "count(any)", "");
    expect_definition(state, "m", "rolling 28d users(any)", "");
    expect_definition(state, "m", "metric(\"arpu\") * 2", "");
    expect_definition(state, "m", "churn 14d of any", "");
    expect_definition(state, "m", "trend metric(\"gmv\"), metric(\"users\") as u by channel", "");
    expect_definition(state, "m", "",
                      "invalid 1:1: expected a measure (count, users, unique, sum, "
                      "avg, min, max, first, last, median, p95), found the end of "
                      "the query");
    expect_definition(state, "m", "count(any) as n",
                      "invalid 1:12: expected an operator or the end of the metric, found \"as\"");
    expect_definition(state, "m", "show events",
                      "invalid 1:1: \"show\" is no question that makes a metric");
    expect_definition(state, "m", "segment did(any) save cohort \"x\"",
                      "invalid 1:30: a metric is asked, and saves no cohort");
    expect_definition(state, "m", "retention a -> b each day",
                      "invalid 1:1: retention needs the number of periods: \"for 30\" is periods 0 "
                      "to 30");
    expect_definition(state, "m", "1 + metric(\"m\")",
                      "invalid 1:5: metric \"m\" would be made of itself");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_measure_is_its_definition, setup, teardown),
        cmocka_unit_test_setup_teardown(metrics_are_made_of_metrics, setup, teardown),
        cmocka_unit_test_setup_teardown(a_measure_alone_is_a_trend_of_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_measure_stands_in_conditions_on_people, setup, teardown),
        cmocka_unit_test_setup_teardown(a_condition_says_which_metric_does_not_fit, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_metric_that_looks_back_is_a_whole_measure, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_question_takes_the_askers_clauses, setup, teardown),
        cmocka_unit_test_setup_teardown(a_question_keeps_what_is_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(columns_of_a_definition_have_canonical_names, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(mistakes_are_told_at_the_name, setup, teardown),
        cmocka_unit_test_setup_teardown(a_text_that_is_no_text_is_told_at_the_name, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(doubling_definitions_end_at_the_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(a_definition_is_a_measure_or_a_question, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
