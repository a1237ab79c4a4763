/* Tests of query/verb_trend.c and what is under it: measures, buckets, breakdowns, totals, over
 * memtables and segments, by index and by rows. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "storage/base/rng.h"
#include "tests/support/snap_query.h"

#include <stdio.h>
#include <stdlib.h>

#define DAY_MS  INT64_C(86400000)
#define HOUR_MS INT64_C(3600000)
#define MAY_1   INT64_C(1746057600000) /* 2025-05-01T00:00Z */
#define RANGE   " from 2025-05-01 to 2025-05-04"

#define TEXT(key, value)                                                                           \
    {                                                                                              \
        .name = key, .type = COL_STRING, .text = value                                             \
    }
#define NUMBER(key, mantissa, digits)                                                              \
    {                                                                                              \
        .name = key, .type = COL_NUMBER, .number = {.m = mantissa, .scale = digits }               \
    }

static const struct snap_prop ad_10[] = {TEXT("channel", "ad"), NUMBER("amount", 10, 0)};
static const struct snap_prop ad_250[] = {TEXT("channel", "ad"), NUMBER("amount", 25, 1)};
static const struct snap_prop seo_1[] = {TEXT("channel", "seo"), NUMBER("amount", 1, 0)};
static const struct snap_prop empty_7[] = {TEXT("channel", ""), NUMBER("amount", 7, 0)};
static const struct snap_prop no_channel[] = {NUMBER("amount", 4, 0)};
static const struct snap_prop tags[] = {{.name = "tags", .type = COL_LIST, .text = "x|y"},
                                        TEXT("channel", "ad")};

static const struct snap_event events[] = {
    {"e01", "pay", "ann", MAY_1 + HOUR_MS, ad_10, 2},
    {"e02", "pay", "ann", MAY_1 + 2 * HOUR_MS, ad_250, 2},
    {"e03", "view", "bob", MAY_1 + 3 * HOUR_MS, NULL, 0},
    {"e04", "pay", "bob", MAY_1 + DAY_MS, seo_1, 2},
    {"e05", "pay", "cat", MAY_1 + DAY_MS + 1, empty_7, 2},
    {"e06", "pay", "cat", MAY_1 + 3 * DAY_MS - 1, no_channel, 1},
    {"e07", "view", "ann", MAY_1 + 3 * DAY_MS, NULL, 0}, /* the range's end: not in it */
    {"e08", "view", "dan", MAY_1 - 1, NULL, 0},          /* before it */
    {"e09", "tag", "dan", MAY_1 + HOUR_MS / 2, tags, 2},
};

static struct snap *open_layout(uint32_t source_count, uint32_t memory_count)
{
    const struct snap_opts opts = {
        .source_count = source_count, .memory_count = memory_count, .seed = 7};
    return snap_build(events, COUNT_OF(events), &opts);
}

/* The answer must be `want` in every layout and on both paths. */
static void check(const char *text, const char *want)
{
    static const uint32_t layouts[][2] = {{1, 0}, {1, 1}, {3, 1}};
    for (size_t i = 0; i < COUNT_OF(layouts); i++) {
        struct snap *snap = open_layout(layouts[i][0], layouts[i][1]);
        for (int reference = 0; reference < 2; reference++) {
            const struct snap_query_opts opts = {.is_reference_path = reference != 0};
            char *got = snap_query_json(snap, text, &opts);
            if (strstr(got, want) == NULL) {
                print_error("query: %s\nlayout %zu, reference %d\n", text, i, reference);
                print_error("want: %s\ngot:  %s\n", want, got);
                fail();
            }
            free(got);
        }
        snap_free(snap);
    }
}

static void counts_and_users_by_day_are_zero_filled_over_the_range(void **state)
{
    (void)state;
    check("trend count(pay), users(any) each day" RANGE,
          "{\"columns\":[{\"name\":\"time\",\"type\":\"date\"},{\"name\":\"count(pay)\",\"type\":"
          "\"int64\"},{\"name\":\"users(any)\",\"type\":\"int64\"}],\"rows\":[[\"2025-05-01\",2,3]"
          ",[\"2025-05-02\",2,2],[\"2025-05-03\",1,1]],\"totals\":[null,5,4]");
}

static void sums_are_exact_and_averages_skip_missing_values(void **state)
{
    (void)state;
    check("trend sum(amount of any), avg(amount of any)" RANGE,
          "\"rows\":[[24.5,4.9]],\"totals\":[24.5,4.9]");
}

static void nothing_sums_to_zero_and_averages_to_null(void **state)
{
    (void)state;
    check("trend sum(amount of view), avg(amount of view), min(amount of view), median(amount of "
          "view), last(amount of view), unique(channel of view), count(view) / count(pay[amount > "
          "1000])" RANGE,
          "\"rows\":[[0,null,null,null,null,0,null]]");
}

static void quantiles_interpolate_between_closest_ranks(void **state)
{
    (void)state;
    check("trend median(amount of pay), p75(amount of pay), p95(amount of pay)" RANGE,
          "\"rows\":[[4,7,9.399999999999999]]");
}

static void first_and_last_stand_at_time_and_event_id(void **state)
{
    (void)state;
    check("trend first(amount of any), last(amount of any), min(amount of any), max(amount of any)"
          " each day" RANGE,
          "\"rows\":[[\"2025-05-01\",10,2.5,2.5,10],[\"2025-05-02\",1,7,1,7],[\"2025-05-03\",4,4,4,"
          "4]],\"totals\":[null,10,4,1,10]");
}

static void null_and_the_empty_string_are_groups_of_their_own(void **state)
{
    (void)state;
    check("trend count(pay), users(pay) by channel" RANGE,
          "\"rows\":[[null,1,1],[\"\",1,1],[\"ad\",2,1],[\"seo\",1,1]],\"totals\":[null,5,3]");
}

static void top_folds_the_rest_into_other_with_a_union_of_its_own(void **state)
{
    (void)state;
    check("trend users(pay), sum(amount of pay) by channel top 1 with other" RANGE,
          "\"rows\":[[null,1,4],[\"other\",3,20.5]],\"totals\":[null,3,24.5]");
    check("trend sum(amount of pay) by channel top 2" RANGE,
          "\"rows\":[[\"\",7],[\"ad\",12.5]],\"totals\":[null,24.5]");
}

static void order_by_and_limit_cut_after_sorting(void **state)
{
    (void)state;
    check("trend sum(amount of pay) as total by channel order by total desc limit 2" RANGE,
          "\"rows\":[[\"ad\",12.5],[\"\",7]]");
}

static void buckets_of_numbers_are_named_by_their_edges(void **state)
{
    (void)state;
    check("trend count(pay) by bucket(amount, 2, 5, 10)" RANGE,
          "\"rows\":[[\"(-inf, 2)\",1],[\"[2, 5)\",2],[\"[5, 10)\",1],[\"[10, inf)\",1]]");
}

static void an_open_range_ends_with_the_data(void **state)
{
    (void)state;
    check("trend count(pay) as n each day from 2025-05-02",
          "\"rows\":[[\"2025-05-02\",2],[\"2025-05-03\",1]]");
    check("trend count(pay) as n each day to 2025-05-04",
          "\"rows\":[[\"2025-05-01\",2],[\"2025-05-02\",2],[\"2025-05-03\",1]]");
    check("trend count(pay) as n each day from 2030-01-01", "\"rows\":[]");
    check("trend count(pay) as n from 2025-05-02", "\"rows\":[[3]]");
}

/* The data's last event must not cut the last bucket short: others' events would move the answer. */
static void rolling_buckets_look_back_from_their_own_end(void **state)
{
    (void)state;
    check("trend rolling 1h count(tag) as n each day", "\"rows\":[[\"2025-05-01\",0]]");
    check("trend rolling 24h count(tag) as n each day", "\"rows\":[[\"2025-05-01\",1]]");
}

static void rolling_measures_look_back_before_the_range(void **state)
{
    (void)state;
    check("trend rolling 2d users(any) as u, rolling 2d count(pay) as c each day" RANGE,
          "\"rows\":[[\"2025-05-01\",3,2],[\"2025-05-02\",4,4],[\"2025-05-03\",2,3]]");
    check("trend rolling 2d users(view) as u each day" RANGE,
          "\"rows\":[[\"2025-05-01\",2],[\"2025-05-02\",1],[\"2025-05-03\",0]]");
}

static void predicates_follow_two_valued_logic(void **state)
{
    (void)state;
    check("trend count(pay) where channel != \"ad\"" RANGE, "\"rows\":[[2]]");
    check("trend count(pay) where not (channel = \"ad\")" RANGE, "\"rows\":[[3]]");
    check("trend count(pay) where channel is not set" RANGE, "\"rows\":[[1]]");
    check("trend count(pay[amount between 2.5 and 7])" RANGE, "\"rows\":[[3]]");
    check("trend count(any) where tags = \"y\"" RANGE, "\"rows\":[[1]]");
    check("trend count(any) where channel matches \"^s.o$\"" RANGE, "\"rows\":[[1]]");
    check("trend count(any) where user_id in (\"ann\", \"dan\")" RANGE, "\"rows\":[[3]]");
}

static void alternatives_are_a_union(void **state)
{
    (void)state;
    check("trend count((view | pay[amount >= 7])), users((view | tag))" RANGE, "\"rows\":[[3,2]]");
}

static void without_a_range_the_data_say_where_buckets_begin_and_end(void **state)
{
    (void)state;
    check("trend users(pay) each day",
          "\"rows\":[[\"2025-05-01\",1],[\"2025-05-02\",2],[\"2025-05-03\",1]]");
    check("trend count(pay) each day",
          "\"rows\":[[\"2025-05-01\",2],[\"2025-05-02\",2],[\"2025-05-03\",1]]");
    check("trend count(nothing_such) each day", "\"rows\":[]");
    check("trend count(any), users(any)", "\"rows\":[[9,4]],\"totals\":[9,4]");
}

static void days_are_those_of_the_zone(void **state)
{
    (void)state;
    check("trend users(any) each day from 2025-05-01 to 2025-05-03 tz \"Asia/Shanghai\"",
          "\"rows\":[[\"2025-05-01\",3],[\"2025-05-02\",2]],\"totals\":[null,4]");
    check("trend users(any) each 12h from 2025-05-01 to 2025-05-02 tz \"Asia/Shanghai\"",
          "\"rows\":[[\"2025-05-01T00:00:00+08:00\",3],[\"2025-05-01T12:00:00+08:00\",0]]");
}

static void distinct_counts_users_and_values(void **state)
{
    (void)state;
    check(
        "distinct user of any each day" RANGE,
        "\"rows\":[[\"2025-05-01\",3],[\"2025-05-02\",2],[\"2025-05-03\",1]],\"totals\":[null,4]");
    check("distinct channel of any" RANGE, "\"rows\":[[3]]");
    check("distinct amount of pay" RANGE, "\"rows\":[[5]]");
}

/* Enough rows of one shard that sets by the day are worth their bytes. */
static struct snap *open_many(struct snap_event **ret_events)
{
    enum { USERS = 200, EACH = 100 };
    struct snap_event *many = calloc(USERS * EACH, sizeof(*many));
    char(*ids)[16] = calloc(USERS * EACH, sizeof(*ids));
    char(*users)[16] = calloc(USERS, sizeof(*users));
    assert_true(many != NULL && ids != NULL && users != NULL);
    for (uint32_t i = 0; i < USERS * EACH; i++) {
        uint32_t user = i / EACH;
        snprintf(ids[i], sizeof(ids[i]), "id%u", i);
        snprintf(users[user], sizeof(users[user]), "u%u", user);
        many[i] = (struct snap_event){
            ids[i],      i % 3 == 0 ? "pay" : "view",
            users[user], MAY_1 + (int64_t)(i % 3) * DAY_MS + (int64_t)(i % 20000) * 3000,
            NULL,        0};
    }
    const struct snap_opts opts = {.source_count = 1, .shard_count = 1};
    struct snap *snap = snap_build(many, USERS * EACH, &opts);
    free(ids);
    free(users);
    *ret_events = many;
    return snap;
}

static void users_of_whole_events_read_no_row(void **state)
{
    (void)state;
    struct snap_event *many = NULL;
    struct snap *snap = open_many(&many);
    const char *text = "trend users(pay), users(any), rolling 2d users(any) as two each day" RANGE;
    struct err err = {0};
    struct result *result = NULL;
    assert_int_equal(snap_query(snap, text, NULL, &result, &err), ERR_OK);
    assert_int_equal(result->meta.rows_read, 0);
    assert_int_equal(result->row_count, 3);
    result_free(result);

    const struct snap_query_opts reference = {.is_reference_path = true};
    assert_int_equal(snap_query(snap, text, &reference, &result, &err), ERR_OK);
    assert_int_equal(result->meta.rows_read, 20000);
    result_free(result);

    char *by_index = snap_query_json(snap, text, NULL);
    char *by_rows = snap_query_json(snap, text, &reference);
    assert_string_equal(by_index, by_rows);
    free(by_index);
    free(by_rows);
    snap_free(snap);
    free(many);
}

static void deleted_subjects_are_in_no_answer(void **state)
{
    (void)state;
    struct snap *snap = open_layout(3, 1);
    snap_delete(snap, "ann");
    for (int reference = 0; reference < 2; reference++) {
        const struct snap_query_opts opts = {.is_reference_path = reference != 0};
        char *got = snap_query_json(
            snap, "trend users(any), count(any), users(pay) by channel" RANGE, &opts);
        assert_non_null(strstr(got, "\"totals\":[null,3,5,2]"));
        free(got);
        got = snap_query_json(snap, "trend users(any)" RANGE, &opts);
        assert_non_null(strstr(got, "\"rows\":[[3]]"));
        free(got);
    }
    snap_free(snap);
}

static void the_answer_does_not_depend_on_workers(void **state)
{
    (void)state;
    const char *text = "trend count(any), users(any), sum(amount of any), median(amount of any), "
                       "unique(channel of any) by channel each day" RANGE;
    struct snap *snap = open_layout(3, 1);
    struct pool *pool = NULL;
    struct err err = {0};
    assert_int_equal(pool_create(3, IO_POSIX, "test", &pool, &err), ERR_OK);
    const struct snap_query_opts opts = {.pool = pool};
    char *alone = snap_query_json(snap, text, NULL);
    assert_non_null(strstr(alone, "\"rows\""));
    for (int i = 0; i < 50; i++) {
        char *together = snap_query_json(snap, text, &opts);
        assert_string_equal(together, alone);
        free(together);
    }
    free(alone);
    pool_free(pool);
    snap_free(snap);
}

static void a_spent_budget_is_a_limit_error(void **state)
{
    (void)state;
    struct snap *snap = open_layout(1, 0);
    struct err err = {0};
    struct result *result = NULL;
    const struct snap_query_opts opts = {.memory_bytes_max = 64 << 10};
    assert_int_equal(
        snap_query(snap, "trend count(pay) by channel each minute last 30d", &opts, &result, &err),
        ERR_LIMIT);
    assert_null(result);
    assert_non_null(strstr(err.message, "query memory"));
    snap_free(snap);
}

/* More values than a table of codes holds, and groups than are put together one by one: the same first ones on every path. */
static void the_first_of_many_groups_are_found(void **state)
{
    (void)state;
    enum { ROWS = 45000, VALUES = 20000 };
    struct snap_event *many = calloc(ROWS, sizeof(*many));
    struct snap_prop *props = calloc(ROWS, sizeof(*props));
    char(*texts)[2][12] = calloc(ROWS, sizeof(*texts));
    assert_true(many != NULL && props != NULL && texts != NULL);
    for (uint32_t i = 0; i < ROWS; i++) {
        uint32_t value = i < 2 * VALUES ? i % VALUES : i % 2 == 0 ? i % 17 * 1000 : i % 3;
        snprintf(texts[i][0], sizeof(texts[i][0]), "e%06u", i);
        snprintf(texts[i][1], sizeof(texts[i][1]), "v%05u", value);
        props[i] = (struct snap_prop){.name = "value", .type = COL_STRING, .text = texts[i][1]};
        many[i] = (struct snap_event){texts[i][0], "view",    i % 5 == 0 ? "ann" : "bob",
                                      MAY_1 + i,   &props[i], 1};
    }
    for (uint32_t sources = 1; sources <= 3; sources += 2) {
        const struct snap_opts opts = {.source_count = sources, .seed = 7};
        struct snap *snap = snap_build(many, ROWS, &opts);
        char *answers[3];
        const struct snap_query_opts plain = {0};
        const struct snap_query_opts reference = {.is_reference_path = true};
        answers[0] = snap_query_json(snap, "trend count(any) by value top 25", &plain);
        answers[1] = snap_query_json(snap, "trend count(any) by value top 25", &reference);
        answers[2] = snap_query_json(snap, "trend count(any) by value top 25", &plain);
        assert_non_null(strstr(answers[0], "[\"v00000\","));
        assert_string_equal(answers[0], answers[1]);
        assert_string_equal(answers[2], answers[1]);
        for (int i = 0; i < 3; i++) {
            free(answers[i]);
        }
        snap_free(snap);
    }
    free(texts);
    free(props);
    free(many);
}

/* ---- many groups and many values: every way to the same bytes ---- */

#define MANY_ROWS 45000u

struct many {
    struct snap_event events[MANY_ROWS];
    struct snap_prop props[MANY_ROWS][4];
    char texts[MANY_ROWS][2][12]; /* event_id, value */
    char users[MANY_ROWS][8];
};

/* Values of many groups and few channels; money, whole numbers that lie close together, and here and there a double. */
static void make_many(struct many *many, struct rng *rng, uint32_t values)
{
    static const char *const channels[] = {"ad",  "seo", "push", "mail", "sms",
                                           "web", "app", "tv",   "fax"};
    for (uint32_t i = 0; i < MANY_ROWS; i++) {
        struct snap_prop *props = many->props[i];
        uint32_t count = 0;
        uint64_t value = rng_below(rng, 3) == 0 ? rng_below(rng, 40) : rng_below(rng, values);
        snprintf(many->texts[i][0], sizeof(many->texts[i][0]), "e%06u", i);
        snprintf(many->texts[i][1], sizeof(many->texts[i][1]), "v%06u", (uint32_t)value);
        snprintf(many->users[i], sizeof(many->users[i]), "u%03u", (uint32_t)rng_below(rng, 200));
        if (rng_below(rng, 50) != 0) {
            props[count++] =
                (struct snap_prop){.name = "value", .type = COL_STRING, .text = many->texts[i][1]};
        }
        props[count++] = (struct snap_prop){.name = "channel",
                                            .type = COL_STRING,
                                            .text = channels[rng_below(rng, COUNT_OF(channels))]};
        props[count++] =
            (struct snap_prop){.name = "ms",
                               .type = COL_NUMBER,
                               .number = num_decimal((int64_t)rng_below(rng, 4000) - 20, 0)};
        struct num amount =
            num_decimal((int64_t)rng_below(rng, 100000) - 20000, (uint8_t)rng_below(rng, 3));
        if (rng_below(rng, 5000) == 0) {
            assert_true(num_double(1.0 / (double)(3 + rng_below(rng, 9)), &amount));
        }
        props[count++] = (struct snap_prop){.name = "amount", .type = COL_NUMBER, .number = amount};
        many->events[i] = (struct snap_event){many->texts[i][0],
                                              rng_below(rng, 9) == 0 ? "pay" : "view",
                                              many->users[i],
                                              MAY_1 + (int64_t)rng_below(rng, 3 * DAY_MS),
                                              props,
                                              count};
    }
}

static void check_many(struct snap *snap, struct pool *pool, uint64_t seed)
{
    static const char *const questions[] = {
        "trend sum(amount of any) by value top 20",
        "trend avg(amount of any), count(any) by value top 7",
        "trend sum(amount of any) / count(any) by value top 20",
        "trend max(amount of pay), first(ms of any) by value top 11",
        "trend last(amount of any) by value top 5",
        "trend users(any) by value top 9",
        "trend median(ms of any) by value top 13",
        "trend unique(channel of any), sum(amount of pay) by value, channel top 8",
        "trend sum(amount of any) by value top 20 with other",
        "trend p90(ms of any), count(any) by channel",
        "trend p90(ms of any), median(amount of any) by channel top 3",
        "trend p99.9(ms of view), unique(value of any) by channel top 3 with other",
        "trend p50(ms of any), unique(value of any), first(amount of any) each hour",
        "trend unique(value of any), median(ms of any)",
        "distinct value of any each day",
        "distinct value of any each day by channel",
    };
    for (size_t q = 0; q < COUNT_OF(questions); q++) {
        char *answers[3];
        const struct snap_query_opts reference = {.is_reference_path = true};
        const struct snap_query_opts threads = {.pool = pool};
        answers[0] = snap_query_json(snap, questions[q], &reference);
        answers[1] = snap_query_json(snap, questions[q], NULL);
        answers[2] = snap_query_json(snap, questions[q], &threads);
        if (strstr(answers[0], "\"rows\":[[") == NULL) {
            fail_msg("%s: %.300s", questions[q], answers[0]);
        }
        if (strcmp(answers[0], answers[1]) != 0 || strcmp(answers[0], answers[2]) != 0) {
            fail_msg("seed %llu: %s\nslow:    %.600s\nalone:   %.600s\nthreads: %.600s",
                     (unsigned long long)seed, questions[q], answers[0], answers[1], answers[2]);
        }
        for (int i = 0; i < 3; i++) {
            free(answers[i]);
        }
    }
}

static void many_groups_and_values_have_one_answer_on_every_path(void **state)
{
    (void)state;
    struct many *many = malloc(sizeof(*many));
    struct pool *pool = NULL;
    struct err err = {0};
    assert_non_null(many);
    assert_int_equal(pool_create(3, IO_POSIX, "test", &pool, &err), ERR_OK);
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct rng rng = rng_init(seed);
        const struct snap_opts opts = {.source_count = (uint32_t)seed,
                                       .memory_count = seed == 3 ? 1 : 0,
                                       .shard_count = seed == 2 ? 1 : 0,
                                       .seed = seed};
        make_many(many, &rng, seed == 2 ? 30000 : 12000);
        struct snap *snap = snap_build(many->events, MANY_ROWS, &opts);
        check_many(snap, pool, seed);
        snap_free(snap);
    }
    pool_free(pool);
    free(many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_and_users_by_day_are_zero_filled_over_the_range),
        cmocka_unit_test(sums_are_exact_and_averages_skip_missing_values),
        cmocka_unit_test(nothing_sums_to_zero_and_averages_to_null),
        cmocka_unit_test(quantiles_interpolate_between_closest_ranks),
        cmocka_unit_test(first_and_last_stand_at_time_and_event_id),
        cmocka_unit_test(null_and_the_empty_string_are_groups_of_their_own),
        cmocka_unit_test(top_folds_the_rest_into_other_with_a_union_of_its_own),
        cmocka_unit_test(order_by_and_limit_cut_after_sorting),
        cmocka_unit_test(buckets_of_numbers_are_named_by_their_edges),
        cmocka_unit_test(an_open_range_ends_with_the_data),
        cmocka_unit_test(rolling_buckets_look_back_from_their_own_end),
        cmocka_unit_test(rolling_measures_look_back_before_the_range),
        cmocka_unit_test(predicates_follow_two_valued_logic),
        cmocka_unit_test(alternatives_are_a_union),
        cmocka_unit_test(without_a_range_the_data_say_where_buckets_begin_and_end),
        cmocka_unit_test(days_are_those_of_the_zone),
        cmocka_unit_test(distinct_counts_users_and_values),
        cmocka_unit_test(users_of_whole_events_read_no_row),
        cmocka_unit_test(deleted_subjects_are_in_no_answer),
        cmocka_unit_test(the_answer_does_not_depend_on_workers),
        cmocka_unit_test(a_spent_budget_is_a_limit_error),
        cmocka_unit_test(the_first_of_many_groups_are_found),
        cmocka_unit_test(many_groups_and_values_have_one_answer_on_every_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
