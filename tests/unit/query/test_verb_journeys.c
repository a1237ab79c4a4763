/* tests/unit/query/test_verb_journeys.c - golden cases of sessions, paths, sequences, attribution, absence and
 * intervals; and what holds of all of them: flow is kept, budgets hold, neither workers nor layouts show. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/base/size.h"
#include "tests/support/snap_query.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define MINUTE INT64_C(60000)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
/* 2025-05-14T00:00Z: the day before the queries' now */
#define T0 INT64_C(1747180800000)

struct at {
    const char *user;
    const char *name;
    int64_t ms;      /* since T0 */
    const char *key; /* property key, NULL = none */
    int64_t amount;  /* property amount, 0 = none */
};

#define EVENTS_MAX 400
static struct snap *open_events(const struct at *events, uint32_t count, uint32_t sources)
{
    static char ids[EVENTS_MAX][12];
    static struct snap_prop props[EVENTS_MAX][2];
    static struct snap_event snap_events[EVENTS_MAX];
    ASSERT(count <= EVENTS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t n = 0;
        (void)snprintf(ids[i], sizeof(ids[i]), "e%06u", i);
        if (events[i].key != NULL) {
            props[i][n++] =
                (struct snap_prop){.name = "key", .type = COL_STRING, .text = events[i].key};
        }
        if (events[i].amount != 0) {
            props[i][n++] = (struct snap_prop){
                .name = "amount", .type = COL_NUMBER, .number = num_int(events[i].amount)};
        }
        snap_events[i] = (struct snap_event){.event_id = ids[i],
                                             .name = events[i].name,
                                             .user = events[i].user,
                                             .time_ms = T0 + events[i].ms,
                                             .props = props[i],
                                             .prop_count = n};
    }
    struct snap_opts opts = {
        .source_count = sources, .memory_count = sources / 2, .shard_count = 2, .seed = 7};
    return snap_build(snap_events, count, &opts);
}

/* Rows and totals as JSON, in two layouts and on both paths. */
static void check(const struct at *events, uint32_t count, const char *text, const char *want)
{
    for (uint32_t i = 0; i < 4; i++) {
        struct snap *snap = open_events(events, count, i < 2 ? 1 : 4);
        struct snap_query_opts opts = {.is_reference_path = i % 2 == 1};
        char *got = snap_query_json(snap, text, &opts);
        const char *rows = strstr(got, "\"rows\":");
        if (rows == NULL || strcmp(rows, want) != 0) {
            print_error("%s\n%s\n", text, got);
        }
        assert_non_null(rows);
        assert_string_equal(rows, want);
        free(got);
        snap_free(snap);
    }
}
#define CHECK(events, text, want) check((events), COUNT_OF(events), (text), (want))

/* ---- sessions ---- */

static void a_late_event_joins_two_sessions(void **state)
{
    (void)state;
    static const struct at apart[] = {{"u", "a", 0, NULL, 0}, {"u", "a", 30 * MINUTE + 1, NULL, 0}};
    static const struct at joined[] = {
        {"u", "a", 0, NULL, 0}, {"u", "a", 30 * MINUTE + 1, NULL, 0}, {"u", "a", MINUTE, NULL, 0}};
    CHECK(apart, "sessions count, avg_duration_ms, bounce_rate",
          "\"rows\":[[2,0,1]],\"totals\":[2,0,1]");
    CHECK(joined, "sessions count, avg_duration_ms, bounce_rate",
          "\"rows\":[[1,1800001,0]],\"totals\":[1,1800001,0]");
}

static void a_session_is_of_the_day_that_it_begins_on(void **state)
{
    (void)state;
    static const struct at events[] = {{"u", "a", DAY - MINUTE, NULL, 0},
                                       {"u", "b", DAY + MINUTE, NULL, 0},
                                       {"u", "b", DAY + 2 * HOUR, NULL, 0}};
    CHECK(events, "sessions count, events each day from 2025-05-14 to 2025-05-16",
          "\"rows\":[[\"2025-05-14\",1,2],[\"2025-05-15\",1,1]],\"totals\":[null,2,3]");
    /* its part of the second day is no session there */
    CHECK(events, "sessions count, events from 2025-05-15 to 2025-05-16",
          "\"rows\":[[1,1]],\"totals\":[1,1]");
    CHECK(events, "sessions count, events cut midnight from 2025-05-15 to 2025-05-16",
          "\"rows\":[[2,2]],\"totals\":[2,2]");
    /* Shanghai's midnight is at 16:00 */
    CHECK(events, "sessions count each day from 2025-05-15 to 2025-05-16 tz \"Asia/Shanghai\"",
          "\"rows\":[[\"2025-05-15\",2]],\"totals\":[null,2]");
}

/* Four days without a pause: where the cap cuts inside of the range is known only from their begin. */
static void a_session_does_not_depend_on_the_range_that_is_asked_about(void **state)
{
    (void)state;
    struct at events[4 * 48 + 1];
    for (uint32_t i = 0; i < COUNT_OF(events); i++) {
        events[i] = (struct at){"u", "beat", (int64_t)i * 30 * MINUTE - 3 * DAY, NULL, 0};
    }
    CHECK(events, "sessions count, max_duration_ms",
          "\"rows\":[[4,86400000]],\"totals\":[4,86400000]");
    CHECK(events, "sessions count each day from 2025-05-14 to 2025-05-15",
          "\"rows\":[[\"2025-05-14\",1]],\"totals\":[null,1]");
    CHECK(
        events, "sessions count each hour from 2025-05-14T01:00 to 2025-05-14T03:00",
        "\"rows\":[[\"2025-05-14T01:00:00Z\",1],[\"2025-05-14T02:00:00Z\",0]],\"totals\":[null,1]");
}

/* ---- paths ---- */

/* However few nodes are shown, no edge is lost: each column has as many as without `top`, and into a node of a column go
 * at least as many as come out of it. */
static void flow_is_kept_where_top_cuts(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "b", "c", "d", "e", "f"};
    static const char *const users[] = {"u0", "u1", "u2", "u3", "u4", "u5", "u6"};
    struct at events[300];
    for (uint32_t i = 0; i < COUNT_OF(events); i++) {
        events[i] = (struct at){users[i % 7], names[(i * i / 3 + i / 7) % 6],
                                (int64_t)i * 3 * MINUTE + (int64_t)(i / 60) * HOUR, NULL, 0};
    }
    struct snap *snap = open_events(events, COUNT_OF(events), 3);
    struct err err = {0};
    int64_t all[5] = {0};
    for (int top = 7; top >= 1; top--) { /* there are six nodes: the first is all */
        CLEANUP(result_freep) struct result *result = NULL;
        char text[64];
        int64_t edges[5] = {0};
        (void)snprintf(text, sizeof(text), "paths depth 4 top %d", top);
        assert_int_equal(snap_query(snap, text, NULL, &result, &err), ERR_OK);
        for (uint64_t r = 0; r < result->row_count; r++) {
            const struct cell *row = result->cells + r * result->col_count;
            int64_t in = 0;
            int64_t out = 0;
            edges[row[0].i64] += row[3].i64;
            for (uint64_t k = 0; k < result->row_count; k++) {
                const struct cell *other = result->cells + k * result->col_count;
                bool is_before = other[0].i64 == row[0].i64 - 1;
                in += is_before && cell_cmp(&other[2], &row[1]) == 0 ? other[3].i64 : 0;
                bool is_beside = other[0].i64 == row[0].i64;
                out += is_beside && cell_cmp(&other[1], &row[1]) == 0 ? other[3].i64 : 0;
            }
            assert_true(row[0].i64 == 1 || out <= in);
        }
        for (int p = 1; p <= 3; p++) {
            assert_true(edges[p] > 0);
            assert_true(top == 7 || edges[p] == all[p]);
            all[p] = edges[p];
        }
        assert_int_equal(all[1] + all[2] + all[3], result->totals[3].i64);
    }
    snap_free(snap);
}

static const struct at shop[] = {
    {"u1", "view", 0, "/", 0},
    {"u1", "view", MINUTE, "/p/1", 0},
    {"u1", "view", 2 * MINUTE, "/p/2/", 0},
    {"u1", "pay", 3 * MINUTE, "/done", 0},
    {"u2", "view", 0, "/", 0},
    {"u2", "view", MINUTE, "/", 0},
    {"u2", "view", 2 * MINUTE, "/help", 0},
    {"u2", "note", 3 * MINUTE, NULL, 0},
};

static void paths_go_over_keys_groups_and_anchors(void **state)
{
    (void)state;
    CHECK(shop, "paths over key ignore trailing slash",
          "\"rows\":[[1,\"/\",\"/help\",1,1],[1,\"/\",\"/p/1\",1,1],[2,\"/p/1\",\"/p/2\",1,1],"
          "[3,\"/p/2\",\"/done\",1,1]],\"totals\":[null,null,null,4,2]");
    CHECK(shop, "paths over key group \"/p/*\" as \"product\" times",
          "\"rows\":[[1,\"/\",\"/help\",1,1,60000],[1,\"/\",\"product\",1,1,120000],"
          "[2,\"product\",\"/done\",1,1,60000]],\"totals\":[null,null,null,3,2,null]");
    CHECK(shop, "paths ending at pay depth 3 over key",
          "\"rows\":[[1,\"/p/1\",\"/p/2/\",1,1],[2,\"/p/2/\",\"/done\",1,1]],"
          "\"totals\":[null,null,null,2,1]");
    CHECK(shop, "paths between view and pay over key depth 2",
          "\"rows\":[[1,\"/\",\"/p/1\",1,1]],\"totals\":[null,null,null,1,1]");
    CHECK(shop, "paths exactly 2 top 1",
          "\"rows\":[[[\"view\",\"view\"],4,2]],\"totals\":[null,6,2]");
    CHECK(
        shop, "paths variants ignore note",
        "\"rows\":[[[\"view\",\"view\",\"view\"],1,1],[[\"view\",\"view\",\"view\",\"pay\"],1,1]],"
        "\"totals\":[null,2,2]");
    CHECK(
        shop, "paths over key top 1",
        "\"rows\":[[1,\"/\",\"/help\",1,1],[1,\"/\",\"(other)\",1,1],[2,\"(other)\",\"/p/2/\",1,1],"
        "[3,\"/p/2/\",\"/done\",1,1]],\"totals\":[null,null,null,4,2]");
}

/* ---- sequences ---- */

static void sequences_are_counted_listed_and_followed(void **state)
{
    (void)state;
    CHECK(shop, "sequence \"(?1)(?t<=60)(?2)\" over view, pay",
          "\"rows\":[[1,1,0.5]],\"totals\":null");
    CHECK(shop, "sequence \"(?1)(?t<60)(?2)\" over view, pay match",
          "\"rows\":[[0,0]],\"totals\":null");
    CHECK(
        shop, "sequence \"(?1).*(?2)\" over view, pay list users",
        "\"rows\":[[\"u1\",1,[\"2025-05-14T00:00:00Z\",\"2025-05-14T00:03:00Z\"]],[\"u2\",0,null]],"
        "\"totals\":null");
    CHECK(shop, "sequence \"(?1)\" over view[key = \"/\"] next key",
          "\"rows\":[[\"/\",1],[\"/p/1\",1]],\"totals\":[null,2]");
    CHECK(shop, "sequence \"(?1)\" over any[key is not set] next key",
          "\"rows\":[[null,1]],\"totals\":[null,1]");
    CHECK(shop, "sequence \"\" over view", "\"rows\":[[2,6,1]],\"totals\":null");
}

/* ---- attribution ---- */

static void credit_goes_to_touches_before_the_conversion(void **state)
{
    (void)state;
    static const struct at events[] = {
        {"u1", "visit", 0, "ad", 0},
        {"u1", "visit", 2 * HOUR, "mail", 0},
        {"u1", "visit", 4 * HOUR, "direct", 0},
        {"u1", "pay", 5 * HOUR, NULL, 100},
        {"u2", "pay", HOUR, NULL, 7},
        {"u1", "visit", 6 * HOUR, "late", 0},
    };
    CHECK(events, "attribution of pay by key value sum(amount)",
          "\"rows\":[[\"ad\",0,0,1,0],[\"direct\",1,0.5,1,100],[\"mail\",0,0,1,0],"
          "[\"(none)\",1,0.5,0,7]],\"totals\":[null,2,1,1,107]");
    CHECK(
        events, "attribution of pay by key model linear value sum(amount)",
        "\"rows\":[[\"ad\",0.333333,0.1666665,1,33.3333],[\"direct\",0.333334,0.166667,1,33.3334],"
        "[\"mail\",0.333333,0.1666665,1,33.3333],[\"(none)\",1,0.5,0,7]],"
        "\"totals\":[null,2,1,1,107]");
    CHECK(events, "attribution of pay by key model last_non_direct lookback 4h",
          "\"rows\":[[\"direct\",0,0,1],[\"mail\",1,0.5,1],[\"(none)\",1,0.5,0]],"
          "\"totals\":[null,2,1,1]");
    CHECK(events, "attribution of pay by key model position top 1 with other",
          "\"rows\":[[\"ad\",0.4,0.2,1],[\"other\",0.6,0.3,null],[\"(none)\",1,0.5,0]],"
          "\"totals\":[null,2,1,1]");
}

/* ---- absence: golden case 21; intervals: golden case 20 ---- */

static void a_confirmation_is_in_time_or_it_is_absent(void **state)
{
    (void)state;
    static const struct at events[] = {
        {"u", "paid", 0, "p1", 0},
        {"u", "billed", 5 * MINUTE, "p1", 0},
        {"u", "paid", 0, "p2", 0},
        {"u", "billed", 5 * MINUTE + 1, "p2", 0},
        {"u", "paid", 36 * HOUR - MINUTE, "p3", 0}, /* now is at 36 h: five minutes are not over */
    };
    CHECK(events, "absence paid -> billed within 5m per key",
          "\"rows\":[[3,1,1,1,1,0.5]],\"totals\":[3,1,1,1,1,0.5]");
    CHECK(events, "absence paid -> billed within 5m per key list users",
          "\"rows\":[[\"p2\",\"2025-05-14T00:00:00Z\"]],\"totals\":null");
}

static void silences_are_pauses_and_what_has_not_come(void **state)
{
    (void)state;
    static const struct at events[] = {
        {"u", "beat", 0, "d1", 0},
        {"u", "beat", 10 * MINUTE, "d1", 0},
        {"u", "beat", 21 * MINUTE, "d1", 0},
        {"u", "beat", 25 * MINUTE, "d2", 0},
    };
    CHECK(events, "absence beat gap 10m per key list users from 2025-05-14 to 2025-05-14T00:32",
          "\"rows\":[[\"d1\",\"2025-05-14T00:10:00Z\",\"2025-05-14T00:21:00Z\",660000],"
          "[\"d1\",\"2025-05-14T00:21:00Z\",null,660000]],\"totals\":null");
    CHECK(events, "absence beat gap 10m per key from 2025-05-14 to 2025-05-14T00:32",
          "\"rows\":[[2,1,2,1,660000,1320000]],\"totals\":[2,1,2,1,660000,1320000]");
}

static void overlapping_plays_and_a_play_across_midnight(void **state)
{
    (void)state;
    static const struct at events[] = {
        {"p1", "start", 22 * HOUR, "t1", 0},
        {"p2", "start", 22 * HOUR + 30 * MINUTE, "t1", 0},
        {"p1", "end", 23 * HOUR, "t1", 0},
        {"p2", "end", 23 * HOUR + 30 * MINUTE, "t1", 0},
        {"p3", "start", 23 * HOUR + 45 * MINUTE, "t1", 0},
        {"p3", "end", 24 * HOUR + 15 * MINUTE, "t1", 0},
        {"p4", "start", 23 * HOUR, "t2", 0},
        {"p4", "end", 24 * HOUR, "t2", 0},
    };
    CHECK(events,
          "intervals start -> end per key measure utilisation, peak, online_ms, users, intervals "
          "each "
          "hour from 2025-05-14T22:00 to 2025-05-15T01:00",
          "\"rows\":[[\"2025-05-14T22:00:00Z\",0.5,1,3600000,1,2],"
          "[\"2025-05-14T23:00:00Z\",0.875,2,6300000,2,2],"
          "[\"2025-05-15T00:00:00Z\",0.125,1,900000,1,0]],"
          "\"totals\":[null,0.5,2,10800000,2,4]");
    CHECK(events, "intervals start -> end per key measure online_ms each day",
          "\"rows\":[[\"2025-05-14\",9900000],[\"2025-05-15\",900000]],\"totals\":[null,10800000]");
}

/* Starts that are open together: which one an end closes hangs on the first of them, however long before the range. */
static void an_end_closes_the_oldest_start_wherever_the_range_begins(void **state)
{
    (void)state;
    static const struct at chain[] = {
        {"u1", "start", 8 * HOUR, "t1", 0},  {"u1", "start", 30 * HOUR, "t1", 0},
        {"u1", "end", 31 * HOUR, "t1", 0},   {"u1", "start", 53 * HOUR, "t1", 0},
        {"u1", "end", 53 * HOUR, "t1", 0},   {"u1", "end", 76 * HOUR, "t1", 0},
        {"u2", "start", 30 * HOUR, "t2", 0}, {"u2", "end", 31 * HOUR, "t2", 0},
    };
    CHECK(chain,
          "intervals start -> end measure online_ms, users, intervals each day from 2025-05-14 to "
          "2025-05-18",
          "\"rows\":[[\"2025-05-14\",57600000,1,1],[\"2025-05-15\",90000000,2,2],"
          "[\"2025-05-16\",86400000,1,1],[\"2025-05-17\",14400000,1,0]],"
          "\"totals\":[null,248400000,2,4]");
    CHECK(chain,
          "intervals start -> end measure online_ms, users from 2025-05-16T08:00 to 2025-05-18",
          "\"rows\":[[72000000,1]],\"totals\":[72000000,1]");
    CHECK(chain,
          "intervals start -> end per key measure online_ms, users from 2025-05-16T08:00 to "
          "2025-05-18",
          "\"rows\":[[72000000,1]],\"totals\":[72000000,1]");
    CHECK(chain,
          "intervals start -> end by key measure online_ms, users from "
          "2025-05-16T08:00 to 2025-05-16T18:00",
          "\"rows\":[[\"t1\",36000000,1]],\"totals\":[null,36000000,1]");
    CHECK(chain,
          "users of () in intervals start -> end by key from 2025-05-16T08:00 to 2025-05-18",
          "\"rows\":[[1]],\"totals\":null");
}

/* ---- by, each, and who is behind a cell ---- */

static const struct at teams[] = {
    {"u1", "view", 0, "ios", 0},
    {"u1", "pay", MINUTE, "web", 5},
    {"u2", "view", 0, "web", 0},
    {"u2", "note", MINUTE, "ios", 0},
    {"u3", "view", 2 * MINUTE, NULL, 0},
    {"u3", "pay", 3 * MINUTE, "ios", 7},
    {"u3", "view", DAY, "ios", 0},
    {"u3", "pay", DAY + MINUTE, "ios", 8},
};

static void a_subject_is_in_the_group_of_its_first_event_in_sight(void **state)
{
    (void)state;
    CHECK(teams, "sequence \"(?1)(?2)\" over view, pay by key",
          "\"rows\":[[null,1,2,1],[\"ios\",1,1,1],[\"web\",0,0,0]],"
          "\"totals\":[null,2,3,0.6666666666666666]");
    CHECK(teams, "sequence \"(?1)(?2)\" over view, pay by key top 1 with other",
          "\"rows\":[[null,1,2,1],[\"other\",1,1,0.5]],"
          "\"totals\":[null,2,3,0.6666666666666666]");
    /* u2's view is out of sight: its first event is the note */
    CHECK(teams, "sequence \"(?1)\" over (note | pay) match by key",
          "\"rows\":[[\"ios\",2,1],[\"web\",1,1]],\"totals\":[null,3,1]");
    CHECK(teams, "sequence \"(?1)(?2)\" over view, pay by key each day from 2025-05-14 to 2025-05-16",
          "\"rows\":[[\"2025-05-14\",null,1,1,1],[\"2025-05-14\",\"ios\",1,1,1],"
          "[\"2025-05-14\",\"web\",0,0,0],[\"2025-05-15\",null,1,1,1],"
          "[\"2025-05-15\",\"ios\",0,0,null],[\"2025-05-15\",\"web\",0,0,null]],"
          "\"totals\":[null,null,2,3,0.6666666666666666]");
    CHECK(teams, "sequence \"(?1)\" over view next event_name by key top 1",
          "\"rows\":[[null,\"pay\",1],[\"ios\",\"pay\",1],[\"web\",\"note\",1]],"
          "\"totals\":[null,null,3]");
    CHECK(teams, "users of (key is not set) in sequence \"(?1)(?2)\" over view, pay by key",
          "\"rows\":[[1]],\"totals\":null");
    CHECK(teams, "users of (next = \"pay\") in sequence \"(?1)\" over view next event_name by key",
          "\"rows\":[[2]],\"totals\":null");
}

static void a_path_is_in_the_group_of_its_units_first_event(void **state)
{
    (void)state;
    CHECK(teams, "paths by key",
          "\"rows\":[[null,1,\"view\",\"pay\",1,1],[\"ios\",1,\"view\",\"pay\",2,2],"
          "[\"web\",1,\"view\",\"note\",1,1]],\"totals\":[null,null,null,null,4,3]");
    /* the path begins at the pay, its unit before */
    CHECK(teams, "paths starting at pay per user by key",
          "\"rows\":[[null,1,\"pay\",\"view\",1,1],[null,2,\"view\",\"pay\",1,1]],"
          "\"totals\":[null,null,null,null,2,1]");
    CHECK(teams, "paths exactly 2 per user by key top 1",
          "\"rows\":[[null,[\"view\",\"pay\"],2,1],[\"ios\",[\"view\",\"pay\"],1,1],"
          "[\"web\",[\"view\",\"note\"],1,1]],\"totals\":[null,null,5,3]");
    CHECK(teams, "paths each day",
          "\"rows\":[[\"2025-05-14\",1,\"view\",\"note\",1,1],"
          "[\"2025-05-14\",1,\"view\",\"pay\",2,2],[\"2025-05-15\",1,\"view\",\"pay\",1,1]],"
          "\"totals\":[null,null,null,null,4,3]");
    CHECK(teams, "users of (position = 1, from = \"view\", to = \"pay\") in paths",
          "\"rows\":[[2]],\"totals\":null");
    CHECK(teams, "users of (to = \"(other)\") in paths top 1", "\"rows\":[[1]],\"totals\":null");
    CHECK(teams, "users of (path = (\"view\", \"pay\"), key = \"ios\") in paths variants by key",
          "\"rows\":[[1]],\"totals\":null");
}

static void an_interval_is_in_the_group_of_its_start(void **state)
{
    (void)state;
    static const struct at events[] = {
        {"t1", "start", 0, "chess", 0},        {"t1", "end", HOUR, "go", 0},
        {"t1", "start", 30 * MINUTE, "go", 0}, {"t1", "end", 2 * HOUR, NULL, 0},
        {"t2", "start", HOUR, "chess", 0},     {"t2", "end", 90 * MINUTE, NULL, 0},
    };
    CHECK(events,
          "intervals start -> end by key measure peak, online_ms, users, intervals, utilisation each "
          "hour from 2025-05-14 to 2025-05-14T02:00",
          "\"rows\":[[\"2025-05-14T00:00:00Z\",\"chess\",1,3600000,1,1,0.5],"
          "[\"2025-05-14T00:00:00Z\",\"go\",1,1800000,1,1,0.5],"
          "[\"2025-05-14T01:00:00Z\",\"chess\",1,1800000,1,1,0.25],"
          "[\"2025-05-14T01:00:00Z\",\"go\",1,3600000,1,0,1]],"
          "\"totals\":[null,null,2,9000000,2,3,0.625]");
    CHECK(events, "intervals start -> end by key measure intervals top 1",
          "\"rows\":[[\"chess\",2]],\"totals\":[null,3]");
    CHECK(events, "users of (key = \"go\") in intervals start -> end by key",
          "\"rows\":[[1]],\"totals\":null");
}

static void a_conversion_is_in_its_own_bucket(void **state)
{
    (void)state;
    CHECK(teams, "attribution of pay by key each day value sum(amount)",
          "\"rows\":[[\"2025-05-14\",\"ios\",1,0.5,1,5],[\"2025-05-14\",\"(none)\",1,0.5,0,7],"
          "[\"2025-05-15\",\"ios\",1,1,1,8],[\"2025-05-15\",\"(none)\",0,0,0,0]],"
          "\"totals\":[null,null,3,1,2,20]");
    CHECK(teams, "users of (key = \"(none)\") in attribution of pay by key each day",
          "\"rows\":[[1]],\"totals\":null");
    CHECK(teams, "users of (key = \"ios\", time = 2025-05-15) in attribution of pay by key each day",
          "\"rows\":[[1]],\"totals\":null");
}

/* ---- what holds of all of them ---- */

static const char *const questions[] = {
    "sequence \"(?1).*(?2)\" over view, pay",
    "sequence \"(?1)\" over view next key list users",
    "sessions count, users, p95_duration_ms by key each hour",
    "paths over key times top 2",
    "paths exactly 2 per session",
    "paths variants over event_name, key",
    "attribution of pay by key model time_decay value sum(amount)",
    "absence view -> pay within 1m by key each hour",
    "absence view gap 1m per key list users",
    "intervals view -> pay measure utilisation, peak, online_ms, users, intervals each hour",
    "paths per key",
    "sessions per key",
    "sequence \"(?1)(?1)\" over view per key list users",
    "sequence \"(?1)(?2)\" over view, pay by key each hour top 1 with other",
    "sequence \"(?1)\" over view next event_name by key each hour top 1 with other",
    "paths over event_name, key by key each hour times loops top 2",
    "paths exactly 2 per key by event_name each 5m top 2",
    "attribution of pay by key model linear each 1m value sum(amount) top 1 with other",
    "intervals view -> pay by key measure utilisation, peak, online_ms, users, intervals each hour top 2",
    "users of (position = 1) in paths by key",
    "users of () in paths variants",
    "users of () in attribution of pay by key",
    "users of () in intervals view -> pay by key each hour",
    "users of () in sequence \"(?1)\" over view next key",
};

static void neither_workers_nor_emptiness_show(void **state)
{
    (void)state;
    struct snap *snap = open_events(shop, COUNT_OF(shop), 3);
    struct snap *empty = open_events(shop, 1, 1);
    struct pool *pool = NULL;
    struct err err = {0};
    assert_int_equal(pool_create(3, IO_POSIX, "test", &pool, &err), ERR_OK);
    const struct snap_query_opts opts = {.pool = pool};
    for (size_t q = 0; q < COUNT_OF(questions); q++) {
        char *alone = snap_query_json(snap, questions[q], NULL);
        char explain[160];
        assert_non_null(strstr(alone, "\"rows\""));
        for (int i = 0; i < 10; i++) {
            char *together = snap_query_json(snap, questions[q], &opts);
            assert_string_equal(together, alone);
            free(together);
        }
        free(alone);
        /* a range in which nothing is */
        char nothing[160];
        (void)snprintf(nothing, sizeof(nothing), "%s from 2020-01-01 to 2020-01-02", questions[q]);
        alone = snap_query_json(empty, nothing, NULL);
        assert_non_null(strstr(alone, "\"rows\""));
        free(alone);
        (void)snprintf(explain, sizeof(explain), "explain %s", questions[q]);
        alone = snap_query_json(snap, explain, NULL);
        assert_non_null(strstr(alone, "\"verb\""));
        free(alone);
    }
    pool_free(pool);
    snap_free(snap);
    snap_free(empty);
}

static void a_spent_budget_is_a_limit_error(void **state)
{
    (void)state;
    struct snap *snap = open_events(shop, COUNT_OF(shop), 2);
    for (size_t q = 0; q < COUNT_OF(questions); q++) {
        bool is_answered = false;
        for (size_t bytes = 1024; !is_answered; bytes += bytes / 4) {
            struct err err = {0};
            CLEANUP(result_freep) struct result *result = NULL;
            const struct snap_query_opts opts = {.memory_bytes_max = bytes};
            enum err_code code = snap_query(snap, questions[q], &opts, &result, &err);
            assert_true(code == ERR_OK || code == ERR_LIMIT);
            is_answered = code == ERR_OK;
        }
    }
    snap_free(snap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_late_event_joins_two_sessions),
        cmocka_unit_test(a_session_is_of_the_day_that_it_begins_on),
        cmocka_unit_test(a_session_does_not_depend_on_the_range_that_is_asked_about),
        cmocka_unit_test(flow_is_kept_where_top_cuts),
        cmocka_unit_test(paths_go_over_keys_groups_and_anchors),
        cmocka_unit_test(sequences_are_counted_listed_and_followed),
        cmocka_unit_test(credit_goes_to_touches_before_the_conversion),
        cmocka_unit_test(a_confirmation_is_in_time_or_it_is_absent),
        cmocka_unit_test(silences_are_pauses_and_what_has_not_come),
        cmocka_unit_test(overlapping_plays_and_a_play_across_midnight),
        cmocka_unit_test(a_subject_is_in_the_group_of_its_first_event_in_sight),
        cmocka_unit_test(a_path_is_in_the_group_of_its_units_first_event),
        cmocka_unit_test(an_end_closes_the_oldest_start_wherever_the_range_begins),
        cmocka_unit_test(an_interval_is_in_the_group_of_its_start),
        cmocka_unit_test(a_conversion_is_in_its_own_bucket),
        cmocka_unit_test(neither_workers_nor_emptiness_show),
        cmocka_unit_test(a_spent_budget_is_a_limit_error),
    };
    return cmocka_run_group_tests_name("query/verb_journeys", tests, NULL, NULL);
}
