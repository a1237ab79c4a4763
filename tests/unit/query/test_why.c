/* tests/unit/query/test_why.c - `why`: golden cases of funnels, retentions and segments, row by row.
 *
 * A row is told as: item number holds event@time#id (note); what is null is not told. Times are of 2025-05-01, or have their
 * date. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/civil.h"
#include "storage/base/buf.h"
#include "storage/base/size.h"
#include "tests/support/live_events.h"
#include "tests/support/shop.h"

#include <inttypes.h>
#include <stdio.h>

#define HOUR_MS INT64_C(3600000)
#define MIN_MS  INT64_C(60000)
#define DAY_0   INT64_C(1746057600000) /* 2025-05-01 */
#define NOW_MS  (DAY_0 + 20 * SHOP_DAY_MS)

enum { A, B, C, D, X }; /* view, add, order, pay, rare */
enum { ADS, MAIL, ORGANIC, NO_CHANNEL };

struct did {
    uint32_t what;
    int64_t at_ms; /* since the 1st of May */
    uint32_t channel;
};

/* ---- a store of one user's events ---- */

struct world {
    struct live_store live;
    uint32_t dataset_count;
};
static struct world world;

static int world_open(void **state)
{
    (void)state;
    struct err err = {0};
    assert_int_equal(live_store_make(&world.live, &err), ERR_OK);
    assert_int_equal(live_store_open(&world.live, &err), ERR_OK);
    return 0;
}

static int world_close(void **state)
{
    (void)state;
    live_store_end(&world.live);
    return 0;
}

static struct dataset *put(const struct did *dids, uint32_t count)
{
    struct err err = {0};
    struct shop_event events[32];
    struct dataset *dataset = NULL;
    char name[16];
    (void)snprintf(name, sizeof(name), "d%u", world.dataset_count++ % 10000);
    assert_int_equal(store_dataset(world.live.store, str_of(name), true, &dataset, &err), ERR_OK);
    assert_true(count <= COUNT_OF(events));
    for (uint32_t i = 0; i < count; i++) {
        events[i] = (struct shop_event){
            i, DAY_0 + dids[i].at_ms, 1, dids[i].what, dids[i].channel, 100 * (int64_t)i};
    }
    if (shop_put(dataset, events, count, NOW_MS, world.live.io, &err) != ERR_OK) {
        fail_msg("%s", err.message);
    }
    return dataset;
}

/* ---- rows as text ---- */

static const struct cell *cell_of(const struct result *result, uint64_t row, const char *name)
{
    static const struct cell null = {.kind = CELL_NULL};
    for (uint32_t c = 0; c < result->col_count; c++) {
        if (str_eq(result->cols[c].name, str_of(name))) {
            return &result->cells[row * result->col_count + c];
        }
    }
    return &null;
}

/* "2025-05-01T00:30:00Z" without what goes without saying. */
static void tell_time(struct str time, struct buf *out)
{
    static const struct str day = {"2025-05-01T", 11};
    struct str rest = str_starts(time, day) ? (struct str){time.ptr + 11, time.len - 11} : time;
    buf_str(out, rest);
}

static void tell_row(const struct result *result, uint64_t row, struct buf *out)
{
    const struct cell *number = cell_of(result, row, "number");
    const struct cell *holds = cell_of(result, row, "holds");
    const struct cell *event = cell_of(result, row, "event");
    const struct cell *time = cell_of(result, row, "event_time");
    const struct cell *note = cell_of(result, row, "note");
    const struct cell *series = cell_of(result, row, "series");
    if (series->kind == CELL_STRING && !str_eq(series->string, STR("current"))) {
        buf_str(out, series->string);
        buf_z(out, ": ");
    }
    buf_str(out, cell_of(result, row, "item")->string);
    if (number->kind == CELL_I64) {
        buf_printf(out, " %" PRId64, number->i64);
    } else if (number->kind == CELL_DECIMAL) {
        buf_u8(out, ' ');
        num_total_format(number->decimal, out);
    }
    if (holds->kind == CELL_BOOL) {
        buf_z(out, holds->boolean ? " yes" : " no");
    }
    if (time->kind != CELL_NULL) {
        buf_u8(out, ' ');
        buf_str(out, event->kind == CELL_NULL ? STR("") : event->string);
        buf_u8(out, '@');
        tell_time(time->string, out);
    }
    if (event->kind != CELL_NULL) {
        buf_u8(out, '#');
        buf_str(out, cell_of(result, row, "event_id")->string);
    }
    if (note->kind != CELL_NULL) {
        buf_z(out, " (");
        buf_str(out, note->string);
        buf_u8(out, ')');
    }
    buf_u8(out, '\n');
}

/* On both paths, from a memtable and from a segment: the same rows. */
static void expect_of(struct dataset *dataset, const char *text, const char *want)
{
    for (uint32_t layout = 0; layout < 4; layout++) {
        struct err err = {0};
        CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
        CLEANUP(result_freep) struct result *result = NULL;
        CLEANUP(buf_freep) struct buf got = {0};
        const struct query_request request = {
            .text = str_of(text), .now_ms = NOW_MS, .is_reference_path = layout % 2 == 1};
        if (layout == 2) {
            assert_int_equal(dataset_flush(dataset, &err), ERR_OK);
        }
        assert_int_equal(dataset_snapshot(dataset, &snapshot, &err), ERR_OK);
        if (query_run(snapshot, NULL, world.live.io, &request, &result, &err) != ERR_OK) {
            fail_msg("%s: %s", text, err.message);
        }
        assert_true(str_eq(result->meta.verb, STR("why")));
        for (uint64_t r = 0; r < result->row_count; r++) {
            tell_row(result, r, &got);
        }
        buf_u8(&got, 0);
        if (strcmp((const char *)got.ptr, want) != 0) {
            fail_msg("%s\n%s\nexpected\n%s", text, (const char *)got.ptr, want);
        }
    }
}
#define EXPECT(dids, text, want) expect_of(put((dids), COUNT_OF(dids)), (text), (want))

/* ---- funnels: golden cases 1 to 10 ---- */

static void the_second_start_gets_all_the_way(void **state)
{
    (void)state;
    static const struct did dids[] = {{A, 0, NO_CHANNEL},
                                      {A, 30 * MIN_MS, NO_CHANNEL},
                                      {B, 45 * MIN_MS, NO_CHANNEL},
                                      {C, 75 * MIN_MS, NO_CHANNEL}};
    EXPECT(dids, "why \"u1\" in funnel view -> add -> order within 1h",
           "verdict 3 yes (converted)\n"
           "step 1 yes view@00:30:00Z#event-1 (view)\n"
           "step 2 yes add@00:45:00Z#event-2 (add)\n"
           "step 3 yes order@01:15:00Z#event-3 (order)\n");
    EXPECT(dids, "why \"u1\" in funnel view -> add -> order within 1h entry first",
           "verdict 2 no (stopped)\n"
           "step 1 yes view@00:00:00Z#event-0 (view)\n"
           "step 2 yes add@00:45:00Z#event-2 (add)\n"
           "step 3 no (order)\n"
           "ended 3 order@01:15:00Z#event-3 (window)\n"
           "ended 3 order@01:15:00Z#event-3 (entry first)\n");
}

static void what_is_done_before_the_start_does_not_count(void **state)
{
    (void)state;
    static const struct did first[] = {{B, 0, NO_CHANNEL}, {A, 1, NO_CHANNEL}, {B, 2, NO_CHANNEL}};
    static const struct did only[] = {{B, 0, NO_CHANNEL}, {A, 1, NO_CHANNEL}};
    EXPECT(first, "why \"u1\" in funnel view -> add within 1h",
           "verdict 2 yes (converted)\n"
           "step 1 yes view@00:00:00.001Z#event-1 (view)\n"
           "step 2 yes add@00:00:00.002Z#event-2 (add)\n");
    EXPECT(only, "why \"u1\" in funnel view -> add within 1h",
           "verdict 1 no (stopped)\n"
           "step 1 yes view@00:00:00.001Z#event-1 (view)\n"
           "step 2 no (add)\n"
           "ended 2 view@00:00:00.001Z#event-1 (order)\n");
}

static void ties_may_be_strict(void **state)
{
    (void)state;
    static const struct did dids[] = {{B, 0, NO_CHANNEL}, {A, 0, NO_CHANNEL}};
    EXPECT(dids, "why \"u1\" in funnel view -> add within 1h",
           "verdict 2 yes (converted)\n"
           "step 1 yes view@00:00:00Z#event-1 (view)\n"
           "step 2 yes add@00:00:00Z#event-0 (add)\n");
    EXPECT(dids, "why \"u1\" in funnel view -> add within 1h ties strict",
           "verdict 1 no (stopped)\n"
           "step 1 yes view@00:00:00Z#event-1 (view)\n"
           "step 2 no (add)\n"
           "ended 2 add@00:00:00Z#event-0 (ties)\n");
}

static void one_event_fills_one_step(void **state)
{
    (void)state;
    static const struct did dids[] = {{A, 0, NO_CHANNEL}};
    EXPECT(dids, "why \"u1\" in funnel view -> view within 1h",
           "verdict 1 no (stopped)\n"
           "step 1 yes view@00:00:00Z#event-0 (view)\n"
           "step 2 no (view)\n"
           "ended 2 view@00:00:00Z#event-0 (reuse)\n");
}

static void the_window_has_its_last_millisecond(void **state)
{
    (void)state;
    static const struct did in[] = {{A, 0, NO_CHANNEL}, {B, HOUR_MS, NO_CHANNEL}};
    static const struct did out[] = {{A, 0, NO_CHANNEL}, {B, HOUR_MS + 1, NO_CHANNEL}};
    EXPECT(in, "why \"u1\" in funnel view -> add within 1h",
           "verdict 2 yes (converted)\n"
           "step 1 yes view@00:00:00Z#event-0 (view)\n"
           "step 2 yes add@01:00:00Z#event-1 (add)\n");
    EXPECT(out, "why \"u1\" in funnel view -> add within 1h",
           "verdict 1 no (stopped)\n"
           "step 1 yes view@00:00:00Z#event-0 (view)\n"
           "step 2 no (add)\n"
           "ended 2 add@01:00:00.001Z#event-1 (window)\n");
}

static void an_exclusion_ends_the_attempt(void **state)
{
    (void)state;
    static const struct did hit[] = {{A, 0, NO_CHANNEL}, {X, 1, NO_CHANNEL}, {B, 2, NO_CHANNEL}};
    static const struct did again[] = {
        {A, 0, NO_CHANNEL}, {X, 1, NO_CHANNEL}, {A, 2, NO_CHANNEL}, {B, 3, NO_CHANNEL}};
    EXPECT(hit, "why \"u1\" in funnel view -> add within 1h without rare",
           "verdict 1 no (stopped)\n"
           "step 1 yes view@00:00:00Z#event-0 (view)\n"
           "step 2 no (add)\n"
           "ended 2 rare@00:00:00.001Z#event-1 (without)\n");
    EXPECT(again, "why \"u1\" in funnel view -> add within 1h without rare",
           "verdict 2 yes (converted)\n"
           "step 1 yes view@00:00:00.002Z#event-2 (view)\n"
           "step 2 yes add@00:00:00.003Z#event-3 (add)\n");
    EXPECT(hit, "why \"u1\" in funnel view -> add within 1h dropping users with rare",
           "verdict 0 no (not entered)\n"
           "step 1 no (view)\n"
           "step 2 no (add)\n"
           "ended 1 rare@00:00:00.001Z#event-1 (dropping)\n");
    EXPECT(hit, "why \"u1\" in funnel view -> add within 1h order strict",
           "verdict 1 no (stopped)\n"
           "step 1 yes view@00:00:00Z#event-0 (view)\n"
           "step 2 no (add)\n"
           "ended 2 rare@00:00:00.001Z#event-1 (strict order)\n");
}

static void a_late_entry_is_one_and_its_window_may_be_open(void **state)
{
    (void)state;
    static const struct did over[] = {{A, SHOP_DAY_MS - 1, NO_CHANNEL},
                                      {B, SHOP_DAY_MS + 5, NO_CHANNEL}};
    static const struct did open[] = {{A, SHOP_DAY_MS - 1, NO_CHANNEL}};
    EXPECT(over, "why \"u1\" in funnel view -> add within 1h on 2025-05-01",
           "verdict 2 yes (converted)\n"
           "step 1 yes view@23:59:59.999Z#event-0 (view)\n"
           "step 2 yes add@2025-05-02T00:00:00.005Z#event-1 (add)\n");
    EXPECT(over, "why \"u1\" in funnel view -> add within 1h closed on 2025-05-01",
           "verdict 1 no (stopped)\n"
           "step 1 yes view@23:59:59.999Z#event-0 (view)\n"
           "step 2 no (add)\n"
           "ended 2 add@2025-05-02T00:00:00.005Z#event-1 (closed)\n");
    EXPECT(open, "why \"u1\" in funnel view -> add within 30d on 2025-05-01",
           "verdict 1 no (stopped)\n"
           "step 1 yes view@23:59:59.999Z#event-0 (view)\n"
           "step 2 no (add)\n"
           "open 2 @2025-05-31T23:59:59.999Z (window)\n"
           "ended 2 (no event)\n");
    EXPECT(over, "why \"u1\" in funnel view -> add within 1h on 2025-05-02",
           "verdict 0 no (not entered)\n"
           "step 1 no (view)\n"
           "step 2 no (add)\n"
           "ended 1 add@2025-05-02T00:00:00.005Z#event-1 (order)\n"
           "ended 1 view@23:59:59.999Z#event-0 (range)\n");
}

static void a_step_that_was_skipped_ends_it(void **state)
{
    (void)state;
    static const struct did skipped[] = {{A, 0, NO_CHANNEL}, {C, 1, NO_CHANNEL}};
    static const struct did no_start[] = {{C, 1, NO_CHANNEL}};
    EXPECT(skipped, "why \"u1\" in funnel view -> add -> order within 1h reuse order strict",
           "verdict 1 no (stopped)\n"
           "step 1 yes view@00:00:00Z#event-0 (view)\n"
           "step 2 no (add)\n"
           "step 3 no (order)\n"
           "ended 2 (no event)\n");
    EXPECT(skipped, "why \"u1\" in funnel view -> add? -> order within 1h",
           "verdict 3 yes (converted)\n"
           "step 1 yes view@00:00:00Z#event-0 (view)\n"
           "step 2 no (add)\n"
           "step 3 yes order@00:00:00.001Z#event-1 (order)\n");
    EXPECT(no_start, "why \"u1\" in funnel view -> add within 1h",
           "verdict 0 no (not entered)\n"
           "step 1 no (view)\n"
           "step 2 no (add)\n"
           "ended 1 (no event)\n");
}

static void a_step_has_its_own_limit(void **state)
{
    (void)state;
    static const struct did dids[] = {
        {A, 0, NO_CHANNEL}, {B, 5 * MIN_MS, NO_CHANNEL}, {C, 16 * MIN_MS, NO_CHANNEL}};
    EXPECT(dids, "why \"u1\" in funnel view -> add (10m) -> order (10m) within 1h",
           "verdict 2 no (stopped)\n"
           "step 1 yes view@00:00:00Z#event-0 (view)\n"
           "step 2 yes add@00:05:00Z#event-1 (add)\n"
           "step 3 no (order)\n"
           "ended 3 order@00:16:00Z#event-2 (limit)\n");
}

static void what_is_held_is_the_same(void **state)
{
    (void)state;
    static const struct did dids[] = {{A, 0, ADS}, {A, 1, MAIL}, {B, 2, ADS}, {C, 3, MAIL}};
    EXPECT(dids, "why \"u1\" in funnel view -> add -> order within 1h holding channel by channel",
           "verdict 2 no (stopped)\n"
           "step 1 yes view@00:00:00Z#event-0 (view)\n"
           "step 2 yes add@00:00:00.002Z#event-2 (add)\n"
           "step 3 no (order)\n"
           "ended 3 order@00:00:00.003Z#event-3 (holding)\n");
}

static void each_bucket_has_a_verdict(void **state)
{
    (void)state;
    static const struct did dids[] = {
        {A, 0, NO_CHANNEL}, {B, 1, NO_CHANNEL}, {A, SHOP_DAY_MS, NO_CHANNEL}};
    EXPECT(dids, "why \"u1\" in funnel view -> add within 1h each day",
           "verdict 2 yes (converted)\n"
           "step 1 yes view@00:00:00Z#event-0 (view)\n"
           "step 2 yes add@00:00:00.001Z#event-1 (add)\n"
           "verdict 1 no (stopped)\n"
           "step 1 yes view@2025-05-02T00:00:00Z#event-2 (view)\n"
           "step 2 no (add)\n"
           "ended 2 (no event)\n");
}

static void the_one_attempt_of_a_single_trend_is_told(void **state)
{
    (void)state;
    static const struct did dids[] = {{A, 0, NO_CHANNEL},
                                      {A, SHOP_DAY_MS, NO_CHANNEL},
                                      {B, SHOP_DAY_MS + 1, NO_CHANNEL},
                                      {C, SHOP_DAY_MS + 90 * MIN_MS, NO_CHANNEL},
                                      {A, 2 * SHOP_DAY_MS, NO_CHANNEL}};
    EXPECT(dids, "why \"u1\" in funnel view -> add within 1h each day trend single",
           "verdict 2 yes (converted)\n"
           "step 1 yes view@2025-05-02T00:00:00Z#event-1 (view)\n"
           "step 2 yes add@2025-05-02T00:00:00.001Z#event-2 (add)\n");
    EXPECT(dids, "why \"u1\" in funnel view -> add -> order within 1h each day trend single",
           "verdict 2 no (stopped)\n"
           "step 1 yes view@2025-05-02T00:00:00Z#event-1 (view)\n"
           "step 2 yes add@2025-05-02T00:00:00.001Z#event-2 (add)\n"
           "step 3 no (order)\n"
           "ended 3 order@2025-05-02T01:30:00Z#event-3 (window)\n");
}

/* What would have got further began on another day. */
static void a_rule_is_to_blame_whatever_the_bucket_of_the_other_attempt(void **state)
{
    (void)state;
    static const struct did dids[] = {
        {A, 0, NO_CHANNEL}, {B, 2 * HOUR_MS, NO_CHANNEL}, {A, SHOP_DAY_MS, NO_CHANNEL}};
    EXPECT(dids, "why \"u1\" in funnel view -> add within 1h attempt latest each day trend single",
           "verdict 1 no (stopped)\n"
           "step 1 yes view@2025-05-02T00:00:00Z#event-2 (view)\n"
           "step 2 no (add)\n"
           "ended 2 add@02:00:00Z#event-1 (window)\n");
}

/* By the lines of the answer: a day's attempts, and what ended those of that day. */
static void attempts_of_a_single_trend_are_told_by_buckets(void **state)
{
    (void)state;
    static const struct did dids[] = {{A, 0, NO_CHANNEL},
                                      {B, 2 * HOUR_MS, NO_CHANNEL},
                                      {A, SHOP_DAY_MS, NO_CHANNEL},
                                      {B, SHOP_DAY_MS + 1, NO_CHANNEL}};
    EXPECT(dids, "why \"u1\" in funnel view -> add within 1h count totals each day trend single",
           "verdict 1 no (stopped)\n"
           "attempt 1 no view@00:00:00Z#event-0 (stopped)\n"
           "step 1 yes view@00:00:00Z#event-0 (view)\n"
           "step 2 no (add)\n"
           "ended 2 add@02:00:00Z#event-1 (window)\n"
           "verdict 2 yes (converted)\n"
           "attempt 2 yes view@2025-05-02T00:00:00Z#event-2 (converted)\n"
           "step 1 yes view@2025-05-02T00:00:00Z#event-2 (view)\n"
           "step 2 yes add@2025-05-02T00:00:00.001Z#event-3 (add)\n");
}

/* Of a bucket that is asked about by itself: the one attempt of the user is another one. */
static void what_an_attempt_of_another_bucket_has_taken_is_said(void **state)
{
    (void)state;
    static const struct did dids[] = {{A, 0, NO_CHANNEL},
                                      {B, SHOP_DAY_MS + HOUR_MS, NO_CHANNEL},
                                      {A, SHOP_DAY_MS + HOUR_MS, NO_CHANNEL}};
    EXPECT(
        dids,
        "why \"u1\" in funnel view -> add within 2d attempt earliest count totals each day trend "
        "single",
        "verdict 2 yes (converted)\n"
        "attempt 2 yes view@00:00:00Z#event-0 (converted)\n"
        "step 1 yes view@00:00:00Z#event-0 (view)\n"
        "step 2 yes add@2025-05-02T01:00:00Z#event-1 (add)\n"
        "verdict 1 no (stopped)\n"
        "attempt 1 no view@2025-05-02T01:00:00Z#event-2 (stopped)\n"
        "step 1 yes view@2025-05-02T01:00:00Z#event-2 (view)\n"
        "step 2 no (add)\n"
        "ended 2 add@2025-05-02T01:00:00Z#event-1 (totals)\n");
}

static void each_attempt_that_is_counted_is_told(void **state)
{
    (void)state;
    static const struct did dids[] = {{A, 0, ADS},
                                      {B, 10 * MIN_MS, NO_CHANNEL},
                                      {A, 30 * MIN_MS, MAIL},
                                      {A, 65 * MIN_MS, MAIL},
                                      {B, 85 * MIN_MS, NO_CHANNEL}};
    EXPECT(dids, "why \"u1\" in funnel view -> add -> order within 1h count totals by channel",
           "verdict 2 no (stopped)\n"
           "attempt 2 no view@00:00:00Z#event-0 (stopped)\n"
           "step 1 yes view@00:00:00Z#event-0 (view)\n"
           "step 2 yes add@00:10:00Z#event-1 (add)\n"
           "step 3 no (order)\n"
           "ended 3 (no event)\n"
           "attempt 2 no view@01:05:00Z#event-3 (stopped)\n"
           "step 1 yes view@01:05:00Z#event-3 (view)\n"
           "step 2 yes add@01:25:00Z#event-4 (add)\n"
           "step 3 no (order)\n");
    EXPECT(dids, "why \"u1\" in funnel view -> view -> add within 1h count totals",
           "verdict 2 no (stopped)\n"
           "attempt 2 no view@00:00:00Z#event-0 (stopped)\n"
           "step 1 yes view@00:00:00Z#event-0 (view)\n"
           "step 2 yes view@00:30:00Z#event-2 (view)\n"
           "step 3 no (add)\n"
           "ended 3 add@01:25:00Z#event-4 (window)\n"
           "ended 3 view@00:30:00Z#event-2 (order)\n"
           "ended 3 add@00:10:00Z#event-1 (reuse)\n"
           "ended 3 add@01:25:00Z#event-4 (totals)\n"
           "attempt 1 no view@01:05:00Z#event-3 (stopped)\n"
           "step 1 yes view@01:05:00Z#event-3 (view)\n"
           "step 2 no (view)\n"
           "step 3 no (add)\n");
    EXPECT(dids, "why \"u1\" in funnel view -> add within 1h count totals on 2025-05-02",
           "verdict 0 no (not entered)\n"
           "step 1 no (view)\n"
           "step 2 no (add)\n"
           "ended 1 view@00:00:00Z#event-0 (range)\n");
}

static void what_another_attempt_has_taken_is_said(void **state)
{
    (void)state;
    static const struct did dids[] = {{A, 0, NO_CHANNEL},
                                      {A, 30 * MIN_MS, NO_CHANNEL},
                                      {B, 75 * MIN_MS, NO_CHANNEL},
                                      {C, 140 * MIN_MS, NO_CHANNEL}};
    EXPECT(dids, "why \"u1\" in funnel view -> add -> order count sessions",
           "verdict 1 no (stopped)\n"
           "session 1 no view@00:00:00Z#event-0 (stopped)\n"
           "step 1 yes view@00:00:00Z#event-0 (view)\n"
           "step 2 no (add)\n"
           "step 3 no (order)\n"
           "ended 2 add@01:15:00Z#event-2 (sessions)\n");
}

static void a_value_of_a_key_has_a_verdict(void **state)
{
    (void)state;
    static const struct did dids[] = {
        {A, 0, ADS}, {B, 1, MAIL}, {A, 2, MAIL}, {B, 3, ADS}, {B, 4, NO_CHANNEL}};
    EXPECT(dids, "why \"ads\" in funnel view -> add within 1h per channel",
           "verdict 2 yes (converted)\n"
           "step 1 yes view@00:00:00Z#event-0 (view)\n"
           "step 2 yes add@00:00:00.003Z#event-3 (add)\n");
    EXPECT(dids, "why \"mail\" in funnel view -> add within 1h per channel",
           "verdict 1 no (stopped)\n"
           "step 1 yes view@00:00:00.002Z#event-2 (view)\n"
           "step 2 no (add)\n"
           "ended 2 view@00:00:00.002Z#event-2 (order)\n");
    EXPECT(dids, "why \"u1\" in funnel view -> add within 1h per channel",
           "verdict no (unknown value)\n");
    EXPECT(dids, "why \"mail\" in funnel view -> add within 1h per channel on 2025-05-03",
           "verdict 0 no (not entered)\n"
           "step 1 no (view)\n"
           "step 2 no (add)\n"
           "ended 1 view@00:00:00.002Z#event-2 (range)\n");
    EXPECT(dids, "why \"3\" in funnel add -> view within 1h per amount",
           "verdict 1 no (stopped)\n"
           "step 1 yes add@00:00:00.003Z#event-3 (add)\n"
           "step 2 no (view)\n"
           "ended 2 (no event)\n");
    EXPECT(dids, "why \"false\" in retention view -> add each day for 0 per vip",
           "verdict 1 yes (member)\n"
           "start yes view@00:00:00Z#event-0\n"
           "period 0 yes add@00:00:00.001Z#event-1 (3 returns)\n");
}

static void both_series_have_a_verdict(void **state)
{
    (void)state;
    static const struct did dids[] = {
        {A, 0, NO_CHANNEL}, {A, SHOP_DAY_MS, NO_CHANNEL}, {B, SHOP_DAY_MS + 1, NO_CHANNEL}};
    EXPECT(dids, "why \"u1\" in funnel view -> add within 1h on 2025-05-02 compare previous period",
           "verdict 2 yes (converted)\n"
           "step 1 yes view@2025-05-02T00:00:00Z#event-1 (view)\n"
           "step 2 yes add@2025-05-02T00:00:00.001Z#event-2 (add)\n"
           "previous period: verdict 1 no (stopped)\n"
           "previous period: step 1 yes view@00:00:00Z#event-0 (view)\n"
           "previous period: step 2 no (add)\n"
           "previous period: ended 2 add@2025-05-02T00:00:00.001Z#event-2 (window)\n");
}

/* ---- retention: golden cases 11 and 12 ---- */

static void a_return_just_behind_midnight_is_of_the_next_day(void **state)
{
    (void)state;
    static const struct did dids[] = {{A, SHOP_DAY_MS - 1, NO_CHANNEL},
                                      {B, SHOP_DAY_MS, NO_CHANNEL}};
    EXPECT(dids, "why \"u1\" in retention view -> add each day for 1 on 2025-05-01",
           "verdict 1 yes (member)\n"
           "start yes view@23:59:59.999Z#event-0\n"
           "period 0 no (0 returns)\n"
           "period 1 yes add@2025-05-02T00:00:00Z#event-1 (1 return)\n");
    EXPECT(dids, "why \"u1\" in retention view -> add rolling each day for 1 on 2025-05-01",
           "verdict 1 yes (member)\n"
           "start yes view@23:59:59.999Z#event-0\n"
           "period 0 yes add@2025-05-02T00:00:00Z#event-1 (1 return)\n"
           "period 1 no (0 returns)\n");
    EXPECT(dids,
           "why \"u1\" in retention view -> add each day for 30 bracket (0, 1-2, 25) "
           "on 2025-05-01",
           "verdict 1 yes (member)\n"
           "start yes view@23:59:59.999Z#event-0\n"
           "bracket 0 no (0 returns)\n"
           "bracket 1 yes add@2025-05-02T00:00:00Z#event-1 (1 return)\n"
           "bracket 2 no (not over)\n");
}

static void days_of_a_zone_have_their_own_length(void **state)
{
    (void)state;
    static const struct did dids[] = {{A, 14 * HOUR_MS, NO_CHANNEL},
                                      {A, 16 * HOUR_MS, NO_CHANNEL},
                                      {B, 39 * HOUR_MS, NO_CHANNEL}};
    EXPECT(dids,
           "why \"u1\" in retention view -> any recurring each day for 1 tz \"Asia/Shanghai\"",
           "verdict 2 yes (member)\n"
           "start yes view@22:00:00+08:00#event-0\n"
           "period 0 no (0 returns)\n"
           "period 1 yes view@2025-05-02T00:00:00+08:00#event-1 (2 returns)\n"
           "start yes view@2025-05-02T00:00:00+08:00#event-1\n"
           "period 0 yes add@2025-05-02T23:00:00+08:00#event-2 (1 return)\n"
           "period 1 no (0 returns)\n");
}

static void an_average_counts_what_is_over_for_the_whole_cohort(void **state)
{
    (void)state;
    static const struct did dids[] = {{A, 19 * SHOP_DAY_MS, NO_CHANNEL},
                                      {B, 19 * SHOP_DAY_MS + 1, NO_CHANNEL},
                                      {B, 20 * SHOP_DAY_MS, NO_CHANNEL}};
    EXPECT(dids, "why \"u1\" in retention view -> add each day for 1",
           "verdict 1 yes (member)\n"
           "start yes view@2025-05-20T00:00:00Z#event-0\n"
           "period 0 yes add@2025-05-20T00:00:00.001Z#event-1 (1 return)\n"
           "period 1 yes add@2025-05-21T00:00:00Z#event-2 (1 return)\n");
    EXPECT(dids, "why \"u1\" in retention view -> add each day for 1 average",
           "verdict 1 yes (member)\n"
           "start yes view@2025-05-20T00:00:00Z#event-0\n"
           "period 0 yes add@2025-05-20T00:00:00.001Z#event-1 (1 return)\n"
           "period 1 no add@2025-05-21T00:00:00Z#event-2 (not over)\n");
}

static void who_is_no_member_is_told_the_rule(void **state)
{
    (void)state;
    static const struct did dids[] = {{A, 0, NO_CHANNEL}, {A, SHOP_DAY_MS, ADS}};
    EXPECT(dids, "why \"u1\" in retention view -> any each day for 1 on 2025-05-02",
           "verdict 0 no (no member)\n"
           "ended view@2025-05-02T00:00:00Z#event-1 (first)\n"
           "ended view@00:00:00Z#event-0 (range)\n");
    EXPECT(dids,
           "why \"u1\" in retention view[channel = \"ads\"] -> any first_ever unfiltered each "
           "day for 1",
           "verdict 0 no (no member)\n"
           "ended view@2025-05-02T00:00:00Z#event-1 (first)\n");
    EXPECT(dids, "why \"u1\" in retention order -> any each day for 1",
           "verdict 0 no (no member)\n"
           "ended (no event)\n");
}

/* ---- segments ---- */

static void each_condition_has_its_events(void **state)
{
    (void)state;
    static const struct did dids[] = {{A, 0, NO_CHANNEL}, {B, 1, ADS}, {B, 2, MAIL}};
    EXPECT(dids,
           "why \"u1\" in segment count(add) >= 2 and not did(order) and sum(amount of any) > 5",
           "verdict no (not in)\n"
           "condition no (count(add) >= 2 and not did(order) and sum(amount of any) > 5)\n"
           "condition 2 yes (count(add) >= 2)\n"
           "event add@00:00:00.001Z#event-1\n"
           "event add@00:00:00.002Z#event-2\n"
           "condition yes (not did(order))\n"
           "condition 0 no (did(order))\n"
           "condition 3 no (sum(amount of any) > 5)\n"
           "event view@00:00:00Z#event-0\n"
           "event add@00:00:00.001Z#event-1\n"
           "event add@00:00:00.002Z#event-2\n");
    EXPECT(dids, "why \"u1\" in segment did(add) on 2025-05-02",
           "verdict no (no event)\n"
           "condition 0 no (did(add))\n");
    EXPECT(dids,
           "why \"u1\" in segment reached(funnel view -> add within 1h, 2) or "
           "user in (\"u2\")",
           "verdict yes (in)\n"
           "condition yes (reached(funnel view -> add within 1h, 2) or user in (\"u2\"))\n"
           "condition yes (reached(funnel view -> add within 1h, 2))\n"
           "verdict 2 yes (converted)\n"
           "step 1 yes view@00:00:00Z#event-0 (view)\n"
           "step 2 yes add@00:00:00.001Z#event-1 (add)\n"
           "condition no (user in (\"u2\"))\n");
}

static void a_long_list_of_events_is_cut_and_says_so(void **state)
{
    (void)state;
    static struct did dids[13];
    for (uint32_t i = 0; i < COUNT_OF(dids); i++) {
        dids[i] = (struct did){A, i, NO_CHANNEL};
    }
    EXPECT(dids, "why \"u1\" in segment did(view[amount >= 1])",
           "verdict yes (in)\n"
           "condition 12 yes (did(view[amount >= 1]))\n"
           "event view@00:00:00.001Z#event-1\nevent view@00:00:00.002Z#event-2\n"
           "event view@00:00:00.003Z#event-3\nevent view@00:00:00.004Z#event-4\n"
           "event view@00:00:00.005Z#event-5\nevent view@00:00:00.006Z#event-6\n"
           "event view@00:00:00.007Z#event-7\nevent view@00:00:00.008Z#event-8\n"
           "event view@00:00:00.009Z#event-9\nevent view@00:00:00.010Z#event-10\n"
           "more 2\n");
}

/* ---- who it is ---- */

static void an_unknown_user_and_an_excluded_one_are_said_to_be(void **state)
{
    (void)state;
    static const struct did dids[] = {{A, 0, NO_CHANNEL}};
    struct dataset *dataset = put(dids, COUNT_OF(dids));
    struct err err = {0};
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    CLEANUP(snapshot_unpinp) struct snapshot *later = NULL;
    CLEANUP(buf_freep) struct buf out = {0};
    expect_of(dataset, "why \"nobody\" in funnel view -> add", "verdict no (unknown user)\n");
    assert_int_equal(dataset_snapshot(dataset, &snapshot, &err), ERR_OK);
    const char *saved = shop_ask(snapshot, "segment did(view) save cohort \"staff\"", NOW_MS, false,
                                 NULL, world.live.io, &out);
    assert_non_null(strstr(saved, "[[1]]"));
    expect_of(dataset, "why \"u1\" in funnel view -> add exclude cohort \"staff\"",
              "verdict no (excluded)\n");
    expect_of(dataset, "why \"u1\" in segment in cohort \"staff\"",
              "verdict yes (in)\ncondition yes (in cohort \"staff\")\n");
    expect_of(dataset, "why \"u1\" in segment did(view) list users limit 1",
              "verdict yes (in)\ncondition 1 yes (did(view))\nevent view@00:00:00Z#event-0\n");
    assert_int_equal(dataset_snapshot(dataset, &later, &err), ERR_OK);
    saved = shop_ask(later, "segment did(add) save cohort \"nobody\" static", NOW_MS, false, NULL,
                     world.live.io, &out);
    assert_non_null(strstr(saved, "[[0]]"));
    expect_of(dataset, "why \"u1\" in funnel view by channel compare cohort \"nobody\"",
              "verdict 1 yes (converted)\nstep 1 yes view@00:00:00Z#event-0 (view)\n"
              "nobody: verdict no (not in cohort)\n");
}

static void what_it_cannot_be_asked_of_is_an_error(void **state)
{
    (void)state;
    static const struct did dids[] = {{A, 0, NO_CHANNEL}};
    static const char *const wrong[][2] = {
        {"why \"u1\" in funnel view -> add order by users", "order by"},
        {"why \"u1\" in segment did(view) save cohort \"x\"", "save cohort"},
        {"why \"u1\" in funnel view -> add correlate events", "correlate"},
        {"why \"u1\" in funnel view -> add per amount", "by its number"},
        {"why \"u1\" in funnel view -> add per vip", "\"true\" or \"false\""},
        {"why \"u1\" in trend users(any)", "goes with funnel, retention and segment"},
    };
    struct dataset *dataset = put(dids, COUNT_OF(dids));
    struct err err = {0};
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    CLEANUP(buf_freep) struct buf out = {0};
    assert_int_equal(dataset_snapshot(dataset, &snapshot, &err), ERR_OK);
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        const char *got = shop_ask(snapshot, wrong[i][0], NOW_MS, false, NULL, world.live.io, &out);
        if (strstr(got, wrong[i][1]) == NULL) {
            fail_msg("%s: %s", wrong[i][0], got);
        }
    }
}

static void explain_and_profile_are_said_of_it_as_well(void **state)
{
    (void)state;
    static const struct did dids[] = {{A, 0, NO_CHANNEL}};
    struct dataset *dataset = put(dids, COUNT_OF(dids));
    struct err err = {0};
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    CLEANUP(buf_freep) struct buf out = {0};
    assert_int_equal(dataset_snapshot(dataset, &snapshot, &err), ERR_OK);
    const char *plan = shop_ask(snapshot, "explain why \"u1\" in funnel view -> add", NOW_MS, false,
                                NULL, world.live.io, &out);
    assert_non_null(strstr(plan, "[\"why\",\"one user's rows\"]"));
    assert_non_null(strstr(plan, "[\"tasks\",\"1\"]"));
    plan = shop_ask(snapshot, "explain why \"u2\" in segment did(view)", NOW_MS, false, NULL,
                    world.live.io, &out);
    assert_non_null(strstr(plan, "[\"why\",\"unknown user\"]"));
    assert_non_null(strstr(plan, "[\"sources to read\",\"0\"]"));
    const char *figures = shop_ask(snapshot, "profile why \"u1\" in segment did(view)", NOW_MS,
                                   false, NULL, world.live.io, &out);
    assert_non_null(strstr(figures, "\"scan\""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_second_start_gets_all_the_way),
        cmocka_unit_test(what_is_done_before_the_start_does_not_count),
        cmocka_unit_test(ties_may_be_strict),
        cmocka_unit_test(one_event_fills_one_step),
        cmocka_unit_test(the_window_has_its_last_millisecond),
        cmocka_unit_test(an_exclusion_ends_the_attempt),
        cmocka_unit_test(a_late_entry_is_one_and_its_window_may_be_open),
        cmocka_unit_test(a_step_that_was_skipped_ends_it),
        cmocka_unit_test(a_step_has_its_own_limit),
        cmocka_unit_test(what_is_held_is_the_same),
        cmocka_unit_test(each_bucket_has_a_verdict),
        cmocka_unit_test(the_one_attempt_of_a_single_trend_is_told),
        cmocka_unit_test(a_rule_is_to_blame_whatever_the_bucket_of_the_other_attempt),
        cmocka_unit_test(attempts_of_a_single_trend_are_told_by_buckets),
        cmocka_unit_test(what_an_attempt_of_another_bucket_has_taken_is_said),
        cmocka_unit_test(each_attempt_that_is_counted_is_told),
        cmocka_unit_test(what_another_attempt_has_taken_is_said),
        cmocka_unit_test(a_value_of_a_key_has_a_verdict),
        cmocka_unit_test(both_series_have_a_verdict),
        cmocka_unit_test(an_average_counts_what_is_over_for_the_whole_cohort),
        cmocka_unit_test(what_it_cannot_be_asked_of_is_an_error),
        cmocka_unit_test(a_return_just_behind_midnight_is_of_the_next_day),
        cmocka_unit_test(days_of_a_zone_have_their_own_length),
        cmocka_unit_test(who_is_no_member_is_told_the_rule),
        cmocka_unit_test(each_condition_has_its_events),
        cmocka_unit_test(a_long_list_of_events_is_cut_and_says_so),
        cmocka_unit_test(explain_and_profile_are_said_of_it_as_well),
        cmocka_unit_test(an_unknown_user_and_an_excluded_one_are_said_to_be),
    };
    return cmocka_run_group_tests(tests, world_open, world_close);
}
