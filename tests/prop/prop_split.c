/* tests/prop/prop_split.c - people by conditions and a key that hardly change, told of without their rows.
 *
 * Goal: what values of subjects and of their days say (query/trend_split.c) is what rows say. Method: users who mostly keep to
 * one platform, one channel and one plan, over a few days, in random layouts; random questions about users, each by its
 * indexes and by the reference path, which reads all rows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/base/rng.h"
#include "tests/support/snap_query.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USERS       50u
#define USERS_MAX   2500u /* of so many, a shard has several words of bits */
#define EVENTS_MAX  5000u /* of many, segments keep sets of each event by day */
#define COLUMNS     3u
#define VALUES      3u
#define DAY_MINUTE  (24 * 60)
#define SPAN_MINUTE (6 * DAY_MINUTE)
#define FEW_LATER   40u
#define ROUNDS      300u

struct crowd {
    struct snap_event events[EVENTS_MAX];
    uint32_t event_count;
    struct snap_prop props[EVENTS_MAX][COLUMNS];
    char ids[EVENTS_MAX][8];
    uint32_t user_count;
    bool has_outsider; /* user 0 has channels that nobody else has, and is erased */
    char users[USERS_MAX][8];
    uint32_t homes[USERS_MAX][COLUMNS]; /* the value that a user keeps to; VALUES: none */
    uint32_t keeping;               /* but for one event in so many */
};

static uint64_t seed_of_run(void)
{
    const char *text = getenv("TEST_SEED");
    return text == NULL ? 1 : strtoull(text, NULL, 10);
}

static void event_make(struct crowd *crowd, uint32_t i, struct rng *rng)
{
    static const char *const columns[COLUMNS] = {"platform", "channel", "plan"};
    static const char *const values[COLUMNS][VALUES] = {
        {"ios", "android", "web"}, {"ads", "mail", "seo"}, {"free", "pro", "team"}};
    static const char *const outside[] = {"tv", "radio"};
    uint32_t user = i == 0 ? 0 : (uint32_t)rng_below(rng, crowd->user_count);
    uint64_t minute = rng_below(rng, SPAN_MINUTE);
    uint32_t count = 0;
    if (crowd->user_count == USERS_MAX && i >= FEW_LATER) { /* all of them on the first day, and few later */
        minute = SPAN_MINUTE - rng_below(rng, DAY_MINUTE);
    }
    for (uint32_t c = 0; c < COLUMNS; c++) {
        uint64_t value =
            rng_below(rng, crowd->keeping) == 0 ? rng_below(rng, VALUES + 1) : crowd->homes[user][c];
        if (value < VALUES) {
            bool is_outside = crowd->has_outsider && user == 0 && c == 1;
            crowd->props[i][count++] = (struct snap_prop){
                .name = columns[c],
                .type = COL_STRING,
                .text = is_outside ? outside[rng_below(rng, 2)] : values[c][value]};
        }
    }
    (void)snprintf(crowd->ids[i], sizeof(crowd->ids[i]), "%u", i % 100000);
    crowd->events[i] = (struct snap_event){
        .event_id = crowd->ids[i],
        .name = rng_below(rng, 3) == 0 ? "pay" : "view",
        .user = crowd->users[user],
        .time_ms = SNAP_NOW_MS - (int64_t)minute * 60000,
        .props = crowd->props[i],
        .prop_count = count,
    };
}

static void crowd_make(struct crowd *crowd, struct rng *rng)
{
    static const uint32_t keepings[] = {5, 40, 150};
    crowd->keeping = keepings[rng_below(rng, 3)];
    crowd->has_outsider = rng_below(rng, 4) == 0;
    crowd->event_count = rng_below(rng, 8) == 0 ? EVENTS_MAX : 400;
    crowd->user_count = crowd->event_count == EVENTS_MAX && rng_below(rng, 2) == 0 ? USERS_MAX : USERS;
    for (uint32_t u = 0; u < crowd->user_count; u++) {
        (void)snprintf(crowd->users[u], sizeof(crowd->users[u]), "u%u", u % 10000);
        for (uint32_t c = 0; c < COLUMNS; c++) {
            crowd->homes[u][c] = (uint32_t)rng_below(rng, VALUES + 1);
        }
    }
    for (uint32_t i = 0; i < crowd->event_count; i++) {
        event_make(crowd, i, rng);
    }
}

static const char *one_of(struct rng *rng, const char *const *items, size_t count)
{
    return items[rng_below(rng, count)];
}
#define ONE_OF(rng, items) one_of(rng, items, sizeof(items) / sizeof((items)[0]))

static void question_make(struct rng *rng, char *out, size_t size)
{
    static const char *const people[] = {
        "users(any)",           "users(any)", "users(any)", "users(view)", "rolling 3d users(any)",
        "rolling 2d users(any)"};
    static const char *const buckets[] = {"", "", " each day", " each week", " each hour"};
    static const char *const wheres[] = {
        "",
        "",
        "",
        " where platform = \"ios\"",
        " where platform != \"web\"",
        " where channel in (\"ads\", \"seo\")",
        " where platform = \"ios\" and channel = \"ads\"",
        " where platform != \"web\" and channel in (\"ads\", \"seo\") and plan = \"pro\"",
        " where plan is not set and channel = \"mail\"",
        " where (platform = \"ios\" or platform = \"web\") and plan is set"};
    static const char *const keys[] = {"", "", " by platform", " by channel",
                                       " by plan top 2 with other"};
    static const char *const ranges[] = {"", " from 2025-05-11 to 2025-05-14", " last 3d",
                                         " from 2025-05-10T07:00 to 2025-05-13T19:30",
                                         " from 2025-05-14 to 2025-05-14T12:00"};
    static const char *const zones[] = {"", "", " tz \"Asia/Shanghai\""};
    static const char *const starts[] = {"view", "pay", "any", "(view | pay)"};
    static const char *const backs[] = {"any", "any", "pay", "view"};
    static const char *const forms[] = {"",          "",        " first",          " recurring",
                                        " unbounded", " recurring unbounded"};
    static const char *const periods[] = {" each day for 4", " each day for 2", " each week for 2",
                                          " each 2d for 3"};
    const char *where = ONE_OF(rng, wheres);
    const char *range = ONE_OF(rng, ranges);
    const char *zone = ONE_OF(rng, zones);
    if (rng_below(rng, 2) == 0) {
        (void)snprintf(out, size, "retention %s -> %s%s%s%s%s%s", ONE_OF(rng, starts),
                       ONE_OF(rng, backs), ONE_OF(rng, periods), ONE_OF(rng, forms), where, range,
                       zone);
        return;
    }
    const char *what = ONE_OF(rng, people);
    bool is_rolling = strncmp(what, "rolling", 7) == 0;
    (void)snprintf(out, size, "trend %s%s%s%s%s%s", what,
                   is_rolling ? " each day" : ONE_OF(rng, buckets), ONE_OF(rng, keys), where, range,
                   zone);
}

static void values_and_days_say_what_rows_say(void **state)
{
    (void)state;
    uint64_t seed = seed_of_run();
    for (uint64_t i = 0; i < ROUNDS; i++) {
        struct rng rng = rng_init(seed + i);
        static struct crowd crowd;
        struct snap_opts opts = {.source_count = 1 + (uint32_t)rng_below(&rng, 4),
                                 .shard_count = 1 + (uint32_t)rng_below(&rng, 3),
                                 .seed = seed + i};
        opts.memory_count = rng_below(&rng, 3) == 0 ? 1 : 0;
        crowd_make(&crowd, &rng);
        CLEANUP(snap_freep) struct snap *snap = snap_build(crowd.events, crowd.event_count, &opts);
        for (uint64_t k = rng_below(&rng, 8); k > 0; k--) { /* some are erased, or left out */
            snap_delete(snap, crowd.events[rng_below(&rng, crowd.event_count)].user);
        }
        if (crowd.has_outsider) {
            snap_delete(snap, crowd.users[0]);
        }
        for (uint32_t k = 0; k < 6; k++) {
            const struct snap_query_opts by_rows = {.is_reference_path = true};
            const struct snap_query_opts by_sets = {0};
            char text[300];
            question_make(&rng, text, sizeof(text));
            char *want = snap_query_json(snap, text, &by_rows);
            char *got = snap_query_json(snap, text, &by_sets);
            if (strcmp(got, want) != 0) {
                fail_msg("seed %" PRIu64 ", %s: %s, by rows %s", seed + i, text, got, want);
            }
            free(got);
            free(want);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(values_and_days_say_what_rows_say)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
