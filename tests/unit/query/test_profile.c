/* Tests of `profile` (query/profile.c, verb_profile.c) and of what explain says of the way (query/way.c): the figures
 * are those of the run itself, add up over operators and threads, and exist for every verb. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "storage/base/pool.h"
#include "tests/support/snap_query.h"

#include <stdlib.h>
#include <string.h>

#define MAY_1    INT64_C(1746057600000) /* 2025-05-01T00:00Z */
#define HOUR_MS  INT64_C(3600000)
#define USERS    40u
#define OF_USER  6u
#define EVENTS   (USERS * OF_USER)
#define ID_BYTES 8u

static const struct snap_prop seo[] = {{.name = "channel", .type = COL_STRING, .text = "seo"}};
static const struct snap_prop ad[] = {{.name = "channel", .type = COL_STRING, .text = "ad"},
                                      {.name = "amount", .type = COL_NUMBER, .number = {.m = 7}}};

static struct snap *build(uint32_t source_count, uint32_t memory_count)
{
    static const char *const names[OF_USER] = {"open", "view", "view", "cart", "pay", "open"};
    static char ids[EVENTS][ID_BYTES];
    static char users[USERS][ID_BYTES];
    struct snap_event events[EVENTS];
    for (uint32_t u = 0; u < USERS; u++) {
        (void)snprintf(users[u], ID_BYTES, "u%u", u);
        for (uint32_t k = 0; k < OF_USER; k++) {
            uint32_t i = u * OF_USER + k;
            (void)snprintf(ids[i], ID_BYTES, "e%u", i);
            events[i] = (struct snap_event){ids[i],
                                            names[k],
                                            users[u],
                                            MAY_1 + (int64_t)i * HOUR_MS / 4,
                                            k == 4 ? ad : seo,
                                            k == 4 ? 2 : 1};
        }
    }
    const struct snap_opts opts = {
        .source_count = source_count, .memory_count = memory_count, .seed = 3};
    return snap_build(events, EVENTS, &opts);
}

static struct result *ask(struct snap *snap, const char *text, const struct snap_query_opts *opts)
{
    struct err err = {0};
    struct result *result = NULL;
    if (snap_query(snap, text, opts, &result, &err) != ERR_OK) {
        print_error("query: %s\nerror: %s\n", text, err.message);
        fail();
    }
    return result;
}

/* The first line of the operator whose detail begins with `detail`; NULL where there is none. */
static const struct cell *line(const struct result *result, const char *name, const char *detail)
{
    for (uint64_t r = 0; r < result->row_count; r++) {
        const struct cell *cells = result->cells + r * result->col_count;
        if (str_eq(cells[0].string, str_of(name)) && str_starts(cells[1].string, str_of(detail))) {
            return cells;
        }
    }
    return NULL;
}

enum { TIMES = 2, ROWS_IN, ROWS_OUT, BLOCKS, LOADED, BYTES, TIME_US };

static int64_t figure(const struct result *result, const char *name, const char *detail, int col)
{
    const struct cell *cells = line(result, name, detail);
    if (cells == NULL || cells[col].kind != CELL_I64) {
        print_error("no figure %d of \"%s\": \"%s\"\n", col, name, detail);
        fail();
    }
    return cells[col].i64;
}

static int64_t sum(const struct result *result, const char *name, int col)
{
    int64_t total = 0;
    for (uint64_t r = 0; r < result->row_count; r++) {
        const struct cell *cells = result->cells + r * result->col_count;
        total += str_eq(cells[0].string, str_of(name)) && cells[col].kind == CELL_I64
                     ? cells[col].i64
                     : 0;
    }
    return total;
}

static const char *const questions[] = {
    "trend count(view), users(any) each day",
    "trend sum(amount of pay) by channel",
    "distinct user of any each day",
    "distinct user of view where channel = \"seo\"",
    "funnel open -> view -> pay within 7d",
    "funnel open -> cart -> pay order any within 7d by channel",
    "retention open -> any each day for 3",
    "retention open -> pay each day for 3 by channel",
    "lifecycle of any each week",
    "stickiness of any each day over month",
    "conditions open, view, pay",
    "segment did(pay last 60d)",
    "sessions count each day",
    "paths starting at open depth 3 top 5",
    "attribution of pay by channel model last_touch lookback 7d",
    "absence view -> pay within 1h",
    "sequence \"(?1)(?2)\" over view, pay",
    "intervals open -> pay",
    "events pay limit 3",
    "show events",
    "show values of channel",
};

/* Goal: the figures of `profile` are those of the question itself. Method: every verb, on segments, memtables and both;
 * what the answer's meta says it read is what the line "all" says, and the parts sum up to it. (Bytes
 * depend on what is in the block cache, so they are held against the same run.) */
static void the_figures_of_every_verb_are_those_of_the_run(void **state)
{
    (void)state;
    static const uint32_t layouts[][2] = {{1, 0}, {1, 1}, {3, 1}};
    for (size_t l = 0; l < COUNT_OF(layouts); l++) {
        struct snap *snap = build(layouts[l][0], layouts[l][1]);
        for (size_t q = 0; q < COUNT_OF(questions); q++) {
            char text[256];
            (void)snprintf(text, sizeof(text), "profile %s", questions[q]);
            struct result *plain = ask(snap, questions[q], NULL);
            struct result *result = ask(snap, text, NULL);
            assert_true(str_eq(result->meta.verb, STR("profile")));
            assert_int_equal(figure(result, "all", "", ROWS_IN), plain->meta.rows_read);
            assert_int_equal(figure(result, "all", "", BYTES), result->meta.bytes_read);
            assert_int_equal(figure(result, "all", "", ROWS_OUT), plain->row_count);
            assert_int_equal(sum(result, "scan", ROWS_IN), plain->meta.rows_read);
            assert_int_equal(sum(result, "scan", BYTES) + sum(result, "stored sets", BYTES) +
                                 sum(result, "read", BYTES),
                             result->meta.bytes_read);
            assert_int_equal(sum(result, "scan by", TIMES),
                             line(result, "scan", "row blocks with candidates") == NULL
                                 ? 0
                                 : figure(result, "scan", "row blocks with candidates", TIMES));
            assert_int_equal(sum(result, "thread", TIMES), sum(result, "tasks", TIMES));
            result_free(plain);
            result_free(result);
        }
        snap_free(snap);
    }
}

static void what_was_left_out_has_its_reason(void **state)
{
    (void)state;
    struct snap *snap = build(1, 0);
    struct result *result = ask(snap, "profile trend count(pay) on 2024-01-01", NULL);
    assert_int_equal(figure(result, "scan", "scans of a source left out by time", TIMES),
                     figure(result, "scan", "rows of sources", TIMES));
    assert_null(line(result, "sources", "segments read"));
    result_free(result);
    result = ask(snap, "profile trend count(no_such)", NULL);
    assert_int_equal(figure(result, "scan", "scans of a source left out by event name", TIMES),
                     figure(result, "scan", "rows of sources", TIMES));
    assert_int_equal(figure(result, "scan", "rows of sources", ROWS_IN), 0);
    result_free(result);
    snap_free(snap);
}

static void the_way_is_said_by_explain_and_profile_alike(void **state)
{
    (void)state;
    static const struct {
        const char *text, *way;
    } ways[] = {
        {"distinct user of any each day", "stored sets"},
        {"trend count(view), users(any) each day", "stored sets for 1 of 2 measures, rows"},
        {"trend count(view)", "rows"},
        {"funnel open -> pay within 1d", "journeys, the plain funnel"},
        {"funnel open -> pay order any within 1d", "journeys, the funnel with rules"},
        {"retention open -> any each day for 3", "stored sets"},
        {"retention open -> any each day for 3 by channel", "journeys"},
        {"lifecycle of any each week", "stored sets"},
        {"segment did(pay last 60d) and count(view last 60d) > 1", "stored sets for 1 of 2 tests"},
        {"paths starting at open depth 3", "journeys"},
        {"show events", "catalogue"},
    };
    struct snap *snap = build(2, 0);
    for (size_t i = 0; i < COUNT_OF(ways); i++) {
        char text[256];
        (void)snprintf(text, sizeof(text), "explain %s", ways[i].text);
        struct result *explained = ask(snap, text, NULL);
        (void)snprintf(text, sizeof(text), "profile %s", ways[i].text);
        struct result *profiled = ask(snap, text, NULL);
        if (line(explained, "way", ways[i].way) == NULL ||
            line(profiled, "way", ways[i].way) == NULL) {
            print_error("%s: not %s\n", ways[i].text, ways[i].way);
            fail();
        }
        result_free(explained);
        result_free(profiled);
    }
    snap_free(snap);
}

static void blocks_say_how_their_rows_were_found(void **state)
{
    (void)state;
    static const struct {
        const char *text, *path;
        bool is_reference;
    } paths[] = {
        {"trend count(any)", "all rows", false},
        {"trend count(any)", "all rows, names as text", true},
        {"trend count(any) where channel = \"ad\"", "rows by terms of where", false},
    };
    struct snap *snap = build(1, 0);
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        const struct snap_query_opts opts = {.is_reference_path = paths[i].is_reference};
        char text[256];
        (void)snprintf(text, sizeof(text), "profile %s", paths[i].text);
        struct result *result = ask(snap, text, &opts);
        assert_int_equal(figure(result, "scan by", paths[i].path, TIMES),
                         figure(result, "scan", "row blocks with candidates", TIMES));
        result_free(result);
        (void)snprintf(text, sizeof(text), "explain %s", paths[i].text);
        result = ask(snap, text, &opts);
        const struct cell *found = line(result, "rows found by", paths[i].path);
        assert_non_null(found);
        result_free(result);
    }
    snap_free(snap);
}

static void threads_of_a_pool_are_told_apart(void **state)
{
    (void)state;
    struct err err = {0};
    struct pool *pool = NULL;
    struct snap *snap = build(3, 1);
    assert_int_equal(pool_create(3, IO_POSIX, "test", &pool, &err), ERR_OK);
    const struct snap_query_opts opts = {.pool = pool};
    struct result *result = ask(snap, "profile funnel open -> view -> pay within 7d", &opts);
    assert_true(figure(result, "tasks", "round 1", TIMES) > 1);
    assert_int_equal(sum(result, "thread", TIMES), sum(result, "tasks", TIMES));
    assert_true(sum(result, "thread", TIME_US) >= figure(result, "compute", "", TIME_US));
    result_free(result);
    pool_free(pool);
    snap_free(snap);
}

static void order_and_limit_are_an_operator(void **state)
{
    (void)state;
    struct snap *snap = build(1, 0);
    struct result *result =
        ask(snap, "profile trend count(any) by channel order by channel desc limit 1", NULL);
    assert_int_equal(figure(result, "order", "", ROWS_IN), 2);
    assert_int_equal(figure(result, "order", "", ROWS_OUT), 1);
    assert_int_equal(figure(result, "merge", "", ROWS_OUT), 2);
    result_free(result);
    snap_free(snap);
}

static void a_spent_budget_fails_as_it_does_without_profile(void **state)
{
    (void)state;
    struct err err = {0};
    struct result *result = NULL;
    struct snap *snap = build(1, 0);
    const struct snap_query_opts opts = {.memory_bytes_max = 30000};
    assert_int_equal(snap_query(snap, "profile trend count(any) by channel", &opts, &result, &err),
                     ERR_LIMIT);
    assert_null(result);
    snap_free(snap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_figures_of_every_verb_are_those_of_the_run),
        cmocka_unit_test(what_was_left_out_has_its_reason),
        cmocka_unit_test(the_way_is_said_by_explain_and_profile_alike),
        cmocka_unit_test(blocks_say_how_their_rows_were_found),
        cmocka_unit_test(threads_of_a_pool_are_told_apart),
        cmocka_unit_test(order_and_limit_are_an_operator),
        cmocka_unit_test(a_spent_budget_fails_as_it_does_without_profile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
