/* tests/unit/query/test_export.c - exports: the list in pieces and pages of any size, from memory, segments and both, is the list
 * that the question gives. */
#include "tests/support/claims.h"

#include "query/export.h"
#include "storage/base/size.h"
#include "tests/support/live_events.h"
#include "tests/support/shop.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define DAY_0  INT64_C(1746057600000) /* 2025-05-01 */
#define NOW_MS (DAY_0 + 20 * SHOP_DAY_MS)
#define EVENTS 400u

struct world {
    struct live_store live;
    struct dataset *dataset;
    struct shop_event events[EVENTS];
};
static struct world world;

static int world_open(void **state)
{
    (void)state;
    struct err err = {0};
    struct rng rng = rng_init(77);
    assert_ok(live_store_make(&world.live, &err));
    assert_ok(live_store_open(&world.live, &err));
    assert_ok(store_dataset(world.live.store, STR("shop"), true, &world.dataset, &err));
    /* twenty instants, so that ties run over pages */
    shop_random(&rng, 0, EVENTS, DAY_0, DAY_0 + SHOP_DAY_MS, world.events);
    for (uint32_t i = 0; i < EVENTS; i++) {
        world.events[i].time_ms = DAY_0 + world.events[i].time_ms % 20 * 3600000;
    }
    assert_ok(shop_put(world.dataset, world.events, EVENTS / 2, NOW_MS, world.live.io, &err));
    return 0;
}

static int world_close(void **state)
{
    (void)state;
    live_store_end(&world.live);
    return 0;
}

static enum err_code export_all(const char *text, enum result_format format, uint32_t page_rows,
                                size_t piece_bytes, struct buf *out, struct err *err)
{
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    CLEANUP(export_freep) struct query_export *export = NULL;
    const struct query_request request = {.text = str_of(text), .now_ms = NOW_MS};
    bool has_more = true;
    buf_clear(out);
    ERR_TRY(dataset_snapshot(world.dataset, &snapshot, err));
    ERR_TRY(export_open(&snapshot, NULL, world.live.io, &request, format, page_rows, &export, err));
    assert_null(snapshot);
    while (has_more) {
        size_t before = out->len;
        ERR_TRY(export_next(export, piece_bytes, world.live.io, out, &has_more, err));
        assert_true(out->len > before);
    }
    buf_u8(out, 0);
    return ERR_OK;
}

/* Head, rows of the answer of `query`, trailer. */
static void want_list(const char *query, struct buf *out)
{
    struct err err = {0};
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    CLEANUP(result_freep) struct result *result = NULL;
    CLEANUP(buf_freep) struct buf text = {0};
    const struct query_request request = {.text = str_of(query), .now_ms = NOW_MS};
    assert_ok(dataset_snapshot(world.dataset, &snapshot, &err));
    assert_ok(query_run(snapshot, NULL, world.live.io, &request, &result, &err));
    assert_ok(result_write(result, RESULT_JSON, &text, &err));
    buf_u8(&text, 0);
    char *json = (char *)text.ptr;
    char *rows = strstr(json, ",\"rows\":[");
    buf_clear(out);
    buf_append(out, json, (size_t)(rows - json));
    buf_printf(out, ",\"dataset\":\"shop\",\"epoch\":%" PRIu64 ",\"warnings\":[]}\n",
               result->meta.epoch);
    rows += strlen(",\"rows\":[");
    char *end = strstr(rows, "],\"totals\"");
    *end = 0;
    for (char *row = rows; row < end;) { /* [..],[..] to lines; values have no brackets */
        char *close = strchr(row, ']') + 1;
        buf_append(out, row, (size_t)(close - row));
        buf_u8(out, '\n');
        row = close + 1;
    }
    buf_printf(out, "{\"rows\":%" PRIu64 ",\"epoch\":%" PRIu64 "}\n", result->row_count,
               result->meta.epoch);
    buf_u8(out, 0);
}

static const struct {
    const char *asked, *listed;
} lists[] = {
    {"events any columns (event_time, event_id, user_id, amount, vip)",
     "events any columns (event_time, event_id, user_id, amount, vip) limit 1000"},
    {"events (pay | order[channel = \"ads\"]) columns (event_id) from 2025-05-01T03:00Z to "
     "2025-05-01T09:00Z",
     "events (pay | order[channel = \"ads\"]) columns (event_id) from 2025-05-01T03:00Z to "
     "2025-05-01T09:00Z limit 1000"},
    {"events view columns (channel, event_time) where vip = true limit 37",
     "events view columns (channel, event_time) where vip = true limit 37"},
    {"events rare columns (event_time) on 2024-01-01",
     "events rare columns (event_time) on 2024-01-01"},
    {"events any", "events any limit 1000"},
    {"events any where channel is not set", "events any where channel is not set limit 1000"},
    {"events (pay | rare) where channel is not set limit 9",
     "events (pay | rare) where channel is not set limit 9"},
    {"events add on 2024-01-01", "events add on 2024-01-01"},
    {"users of (measure = \"new\") in lifecycle of any each day",
     "users of (measure = \"new\") in lifecycle of any each day list users"},
    {"users of (condition = 2, vip = true) in conditions view, pay by vip limit 4",
     "users of (condition = 2, vip = true) in conditions view, pay by vip limit 4 list users"},
    {"segment did(pay)", "segment did(pay) list users"},
    {"segment count(any) > 5 list users limit 3", "segment count(any) > 5 list users limit 3"},
    {"users of (step = 2) in funnel view -> pay",
     "users of (step = 2) in funnel view -> pay list users"},
    {"segment did(rare) and not did(any)", "segment did(rare) and not did(any) list users"},
};

static void a_list_in_pieces_is_the_list(void **state)
{
    (void)state;
    static const uint32_t pages[] = {1, 2, 3, 7, 50, EXPORT_PAGE_ROWS};
    struct err err = {0};
    CLEANUP(buf_freep) struct buf want = {0};
    CLEANUP(buf_freep) struct buf got = {0};
    for (uint32_t layout = 0; layout < 4; layout++) {
        if (layout == 1) {
            assert_ok(dataset_flush(world.dataset, &err));
        } else if (layout == 2) {
            assert_ok(shop_put(world.dataset, world.events + EVENTS / 2, EVENTS / 2, NOW_MS,
                               world.live.io, &err));
        } else if (layout == 3) {
            assert_ok(dataset_flush(world.dataset, &err));
        }
        for (size_t i = 0; i < COUNT_OF(lists); i++) {
            want_list(lists[i].listed, &want);
            for (size_t p = 0; p < COUNT_OF(pages); p++) {
                size_t piece = p % 2 == 0 ? 1 : 1000;
                assert_ok(export_all(lists[i].asked, RESULT_NDJSON, pages[p], piece, &got, &err));
                if (strcmp((char *)got.ptr, (char *)want.ptr) != 0) {
                    fail_msg("%s, pages of %u: \n%s\nexpected\n%s", lists[i].asked, pages[p],
                             (char *)got.ptr, (char *)want.ptr);
                }
            }
        }
    }
}

static void csv_ends_with_a_comment(void **state)
{
    (void)state;
    struct err err = {0};
    CLEANUP(buf_freep) struct buf got = {0};
    assert_ok(export_all("segment user in (\"u4\", \"u1\", \"#\")", RESULT_CSV, 1, 1, &got, &err));
    const char *text = (const char *)got.ptr;
    const char *rows = "user_id\r\nu1\r\nu4\r\n# rows=2 epoch=";
    assert_memory_equal(text, rows, strlen(rows));
    assert_string_equal(text + strlen(text) - 2, "\r\n");
}

static void what_is_no_list_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        {"trend users(any)", "list of people"},
        {"segment did(view) save cohort \"x\"", "save cohort"},
        {"explain segment did(view)", "explain"},
        {"why \"u1\" in segment did(view)", "why"},
        {"funnel view -> pay list users", "list users"},
        {"conditions view, pay list users", "users of (...) in"},
        {"churn 1d of any last_seen list users", "list users"},
        {"segment did(view) per channel list users", "list users"},
        {"segment did(view) per channel", "list of people"},
        {"events view columns (event_id) order by amount", "order by"},
        {"timeline \"u1\"", "list of people"},
        {"segment did(", "expected"},
    };
    CLEANUP(buf_freep) struct buf got = {0};
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        struct err err = {0};
        assert_int_equal(export_all(wrong[i][0], RESULT_CSV, 9, 9, &got, &err), ERR_INVALID);
        if (strstr(err.message, wrong[i][1]) == NULL) {
            fail_msg("%s: %s", wrong[i][0], err.message);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_in_pieces_is_the_list),
        cmocka_unit_test(csv_ends_with_a_comment),
        cmocka_unit_test(what_is_no_list_is_refused),
    };
    return cmocka_run_group_tests(tests, world_open, world_close);
}
