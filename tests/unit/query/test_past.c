/* tests/unit/query/test_past.c - `as of`, `identity event_time`, `diff` and `restatements` by example: what is shown, left out,
 * said. Random lives are prop_past's, prop_identity's and prop_first_times'. */
#include "tests/support/claims.h"

#include "query/query.h"
#include "storage/base/size.h"
#include "storage/dataset_int.h"
#include "storage/expiry.h"
#include "tests/support/live_events.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define T0 INT64_C(1747008000000) /* 2025-05-12T00:00Z */

struct bench {
    struct live_store live;
    uint32_t event_count;
    struct buf out;
};

static int64_t clock_ms;

static int64_t test_clock(void)
{
    return clock_ms;
}

static int setup(void **state)
{
    struct err err = {0};
    struct bench *b = calloc(1, sizeof(*b));
    assert_ok(live_store_make(&b->live, &err));
    b->live.opts.wall_ms = test_clock;
    assert_ok(live_store_open(&b->live, &err));
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    live_store_end(&b->live);
    buf_done(&b->out);
    free(b);
    return 0;
}

/* An event of `time`, which comes at `arrival`: seconds after T0. */
static void put(struct bench *b, int64_t arrival, int64_t time, const char *name, const char *user,
                const char *device)
{
    struct err err = {0};
    struct batch_builder builder;
    struct event *event = NULL;
    char id[32];
    clock_ms = T0 + arrival * 1000;
    assert_ok(batch_begin(NULL, clock_ms, &builder, &err));
    assert_ok(batch_event(&builder, &event, &err));
    snprintf(id, sizeof(id), "e%" PRIu32, b->event_count++);
    assert_ok(arena_str(builder.batch->arena, str_of(id), &event->event_id, &err));
    event->name = str_of(name);
    event->user_id = str_of(user);
    event->anonymous_id = str_of(device);
    event->time_ms = T0 + time * 1000;
    assert_ok(dataset_ingest(b->live.dataset, builder.batch, b->live.io, &err));
    assert_int_equal(event->status, RECEIPT_ACCEPTED);
    event_batch_free(builder.batch);
}

/* The answer as lines of cells between bars, "! " and a warning, or "error: " and why. %d in the text are seconds after T0. */
static const char *ask(struct bench *b, const char *text, int first, int second)
{
    struct err err = {0};
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    CLEANUP(result_freep) struct result *result = NULL;
    char full[512];
    char epochs[2][32];
    snprintf(epochs[0], sizeof(epochs[0]), "%" PRId64, T0 + first * INT64_C(1000));
    snprintf(epochs[1], sizeof(epochs[1]), "%" PRId64, T0 + second * INT64_C(1000));
    uint32_t used = 0;
    size_t len = 0;
    for (const char *at = text; *at != '\0' && len < sizeof(full) - 40; at++) {
        if (at[0] == '@') {
            len += (size_t)snprintf(full + len, 40, "%s", epochs[used++]);
        } else {
            full[len++] = *at;
        }
    }
    full[len] = '\0';
    const struct query_request request = {.text = str_of(full), .now_ms = T0 + 100000000};
    buf_clear(&b->out);
    assert_ok(dataset_snapshot(b->live.dataset, &snapshot, &err));
    if (query_run(snapshot, NULL, b->live.io, &request, &result, &err) != ERR_OK) {
        buf_printf(&b->out, "error %u:%u: %s", err.line, err.column, err.message);
    } else {
        for (uint64_t i = 0; i < result->row_count * result->col_count; i++) {
            const struct cell *cell = &result->cells[i];
            buf_z(&b->out, i == 0 ? "" : i % result->col_count == 0 ? "\n" : "|");
            if (cell->kind == CELL_STRING) {
                buf_str(&b->out, cell->string);
            } else if (cell->kind == CELL_I64) {
                buf_printf(&b->out, "%" PRId64, cell->i64);
            } else {
                buf_z(&b->out, "-");
            }
        }
        for (uint32_t w = 0; w < result->meta.warning_count; w++) {
            buf_z(&b->out, "\n! ");
            buf_str(&b->out, result->meta.warnings[w]);
        }
    }
    buf_u8(&b->out, 0);
    return (const char *)b->out.ptr;
}

static void what_came_later_is_not_there(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    put(b, 10, 10, "view", "u", "");
    put(b, 20, 20, "view", "v", "");
    assert_ok(dataset_flush(b->live.dataset, &err));
    put(b, 30, 5, "view", "w", ""); /* late */
    assert_string_equal(ask(b, "trend count(any), users(any)", 0, 0), "3|3");
    assert_string_equal(ask(b, "trend count(any), users(any) as of @", 30, 0), "3|3");
    assert_string_equal(ask(b, "trend count(any), users(any) as of @", 29, 0), "2|2");
    assert_string_equal(ask(b, "trend count(any), users(any) as of @", 10, 0), "1|1");
    assert_string_equal(ask(b, "trend count(any), users(any) as of @", 9, 0), "0|0");
    assert_string_equal(ask(b, "trend count(any) as of 2025-05-12T00:00:20Z", 0, 0), "2");
    assert_string_equal(
        ask(b, "trend count(any) as of 2025-05-12T02:00:20 tz \"Europe/Paris\"", 0, 0), "2");
    assert_string_equal(ask(b, "trend count(any) last 15s as of @", 20, 0),
                        "1"); /* half open: up to 20 */
}

static void an_epoch_that_has_not_come_is_named(void **state)
{
    struct bench *b = *state;
    put(b, 10, 10, "view", "u", "");
    assert_string_equal(ask(b, "trend count(any) as of @", 11, 0),
                        "error 1:24: epoch 1747008011000 has not come: the data set is at epoch "
                        "1747008010000");
    assert_string_equal(ask(b, "diff @, @ in trend count(any)", 10, 11),
                        "error 1:21: epoch 1747008011000 has not come: the data set is at epoch "
                        "1747008010000");
    assert_string_equal(ask(b, "diff @, @ in trend count(any)", 10, 9),
                        "error 1:21: the later epoch stands behind the earlier one");
}

static void who_was_who_is_as_of_then(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    put(b, 10, 10, "view", "", "phone");
    put(b, 20, 20, "view", "u", "");
    put(b, 30, 30, "pay", "u", "phone"); /* a login */
    put(b, 40, 40, "view", "v", "");
    clock_ms = T0 + 50000;
    assert_ok(dataset_merge_user(b->live.dataset, STR("v"), STR("u"), &err));
    clock_ms = T0 + 60000;
    assert_ok(dataset_unmerge_user(b->live.dataset, STR("v"), &err));
    const int epochs[] = {20, 30, 40, 50, 60};
    const char *const people[] = {"2", "1", "2", "1", "2"};
    for (size_t i = 0; i < COUNT_OF(epochs); i++) {
        assert_string_equal(ask(b, "trend users(any) as of @", epochs[i], 0), people[i]);
        assert_string_equal(ask(b, "segment did(any) as of @", epochs[i], 0), people[i]);
    }
    assert_string_equal(ask(b, "segment did(any) list users as of @", 20, 0), "phone\nu");
    assert_string_equal(ask(b, "segment did(any) list users as of @", 50, 0), "u");
}

static void what_is_erased_is_erased_in_every_epoch(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    uint32_t shard = 0;
    uint32_t subject = 0;
    put(b, 10, 10, "view", "u", "");
    put(b, 20, 20, "view", "v", "");
    clock_ms = T0 + 30000;
    assert_true(dataset_find_stored(b->live.dataset, STR("u"), &shard, &subject));
    assert_ok(dataset_delete_subject(b->live.dataset, shard, subject, &err));
    put(b, 40, 40, "view", "w", "");
    assert_string_equal(
        ask(b, "trend count(any) as of @", 20, 0),
        "1\n! 1 ids were erased after epoch 1747008020000: what is erased is left out "
        "as of every epoch");
    assert_string_equal(ask(b, "trend count(any) as of @", 30, 0), "1");
    assert_string_equal(
        ask(b, "diff @, @ in trend count(any)", 20, 40),
        "count(any)|1|2|1|0|1|0\n! 1 ids were erased after epoch 1747008020000: what "
        "is erased is left out as of every epoch");
}

static void what_is_expired_is_so_in_every_epoch(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    const struct settings_change change = {.has_expire_after = true,
                                           .to = {.expire_after_ms = 30 * SETTINGS_DAY_MS}};
    put(b, 10, 10, "view", "u", "");
    put(b, 20, 20, "view", "v", "");
    put(b, 40 * 86400, 40 * 86400, "view", "w", "");
    assert_string_equal(ask(b, "trend count(any) as of @", 20, 0), "2");
    assert_ok(dataset_configure(b->live.dataset, &change, &err));
    assert_string_equal(
        ask(b, "trend count(any) as of @", 20, 0),
        "0\n! events from before 2025-05-22T00:00:00Z are expired: they are left out "
        "as of every epoch");
}

static void a_difference_says_what_moved_the_number(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    put(b, 10, 10, "view", "u", "");
    put(b, 20, 20, "view", "v", "");
    put(b, 30, 15, "view", "w", ""); /* late */
    put(b, 40, 5, "pay", "u", "");   /* late */
    put(b, 50, 45, "view", "x", ""); /* new */
    assert_ok(dataset_flush(b->live.dataset, &err));
    clock_ms = T0 + 60000;
    assert_ok(dataset_merge_user(b->live.dataset, STR("v"), STR("u"), &err));
    assert_ok(dataset_compact(b->live.dataset, NULL, &err));
    assert_string_equal(ask(b, "diff @, @ in trend count(any), users(any)", 20, 60),
                        "count(any)|2|5|3|2|1|0\n"
                        "users(any)|2|3|1|1|1|-1");
    assert_string_equal(ask(b, "diff @, @ in trend count(any) by event_name", 20, 60),
                        "pay|count(any)|-|1|1|1|0|0\n"
                        "view|count(any)|2|4|2|1|1|0");
    assert_string_equal(ask(b, "diff @, @ in segment did(view)", 20, 60), "users|2|3|1|1|1|-1");
    assert_string_equal(
        ask(b, "diff @, @ in users of (step = 1) in funnel view -> pay within 1d", 20, 60),
        "users|2|3|1|1|1|-1");
    assert_string_equal(ask(b, "diff @, @ in trend users(any)", 60, 60), "users(any)|3|3|0|0|0|0");
    assert_string_equal(ask(b, "diff @, now in trend users(any)", 60, 60),
                        "error 1:21: epoch 1747108000000 has not come: the data set is at epoch "
                        "1747008060000");
}

static void restatements_tell_each_act(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    put(b, 10, 10, "view", "", "phone");
    put(b, 20, 20, "view", "u", "");
    put(b, 30, 30, "pay", "u", "phone");  /* a login */
    put(b, 35, 35, "pay", "w", "tablet"); /* one that has nothing to move */
    put(b, 40, 40, "view", "v", "");
    clock_ms = T0 + 50000;
    assert_ok(dataset_merge_user(b->live.dataset, STR("v"), STR("u"), &err));
    assert_ok(dataset_flush(b->live.dataset, &err));
    clock_ms = T0 + 60000;
    assert_ok(dataset_unmerge_user(b->live.dataset, STR("v"), &err));
    assert_string_equal(ask(b, "restatements of trend users(any)", 0, 0),
                        "1747008030000|2025-05-12T00:00:30Z|login|phone -> u|users(any)|2|1|-1\n"
                        "1747008050000|2025-05-12T00:00:50Z|merge|v -> u|users(any)|3|2|-1\n"
                        "1747008060000|2025-05-12T00:01:00Z|unmerge|v -> u|users(any)|2|3|1");
    assert_string_equal(
        ask(b, "restatements from @ to @", 30, 50),
        "1747008050000|2025-05-12T00:00:50Z|merge|v -> u|2025-05-12|distinct|3|2|-1");
    assert_string_equal(ask(b, "restatements from @ to @ with events of trend users(any)", 10, 55),
                        "1747008030000|2025-05-12T00:00:30Z|events|-|users(any)|1|2|1\n"
                        "1747008030000|2025-05-12T00:00:30Z|login|phone -> u|users(any)|2|1|-1\n"
                        "1747008050000|2025-05-12T00:00:50Z|events|-|users(any)|1|3|2\n"
                        "1747008050000|2025-05-12T00:00:50Z|merge|v -> u|users(any)|3|2|-1");
    assert_string_equal(ask(b, "restatements from @ to @ of trend count(any)", 0, 60), "");
    assert_string_equal(ask(b, "restatements from @ to @ of segment did(view)", 40, 50),
                        "1747008050000|2025-05-12T00:00:50Z|merge|v -> u|users|2|1|-1");
    assert_string_equal(
        ask(b, "restatements from 2025-05-12T00:00:45Z to now", 0, 0),
        "1747008050000|2025-05-12T00:00:50Z|merge|v -> u|2025-05-12|distinct|3|2|-1\n"
        "1747008060000|2025-05-12T00:01:00Z|unmerge|v -> u|2025-05-12|distinct|2|3|1");
}

static void restatements_have_their_limits(void **state)
{
    static const char *const wrong[][2] = {
        {"restatements of trend users(any) as of @", "say which before \"of\""},
        {"explain restatements", "many questions"},
        {"restatements of segment did(view) list users", "without the list"},
        {"restatements of why \"u\" in segment did(view)", "without the list"},
        {"restatements of events view", "gives none"},
        {"restatements of trend users(any) by event_name top 2", "whole answers"},
        {"restatements from @ to 2025-05-12", "stands behind the earlier one"},
        {"restatements with trend users(any)", "\"events\""},
        {"restatements trend users(any)", "\"of\""},
        {"restatements", "more than 100 commits"},
    };
    struct bench *b = *state;
    struct err err = {0};
    put(b, 10, 10, "view", "u", "");
    put(b, 20, 20, "view", "v", "");
    for (uint32_t i = 0; i < 51; i++) {
        clock_ms = T0 + (30 + 2 * (int64_t)i) * 1000;
        assert_ok(dataset_merge_user(b->live.dataset, STR("v"), STR("u"), &err));
        clock_ms += 1000;
        assert_ok(dataset_unmerge_user(b->live.dataset, STR("v"), &err));
    }
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        const char *got = ask(b, wrong[i][0], 20, 20);
        if (strncmp(got, "error", 5) != 0 || strstr(got, wrong[i][1]) == NULL) {
            fail_msg("%s: %s", wrong[i][0], got);
        }
    }
    assert_string_equal(ask(b, "restatements from @ to @ of trend users(any)", 20, 31),
                        "1747008030000|2025-05-12T00:00:30Z|merge|v -> u|users(any)|2|1|-1\n"
                        "1747008031000|2025-05-12T00:00:31Z|unmerge|v -> u|users(any)|1|2|1");
}

/* Each form of answer has its own keys: what is of one line stays together. */
static void every_form_of_answer_can_be_compared(void **state)
{
    static const char *const questions[] = {
        "distinct user of any each day by event_name",
        "funnel view -> pay within 1d each day by event_name",
        "funnel view -> pay within 1d times (1s, 2m)",
        "funnel view -> pay within 1d correlate events",
        "retention view -> any each day for 2 by event_name average",
        "retention view -> any each day for 2",
        "ltv view value sum(amount of pay) each day for 2",
        "churn 1d of any from 2025-05-10 to 2025-05-14",
        "lifecycle of any each day by event_name from 2025-05-12 to 2025-05-14",
        "stickiness of any each day over week from 2025-05-12 to 2025-05-19",
        "stickiness of any each day from 2025-05-12 to 2025-05-19",
        "stickiness dau_mau of any from 2025-05-12 to 2025-05-19",
        "stickiness dau_mau of any rolling 3d from 2025-05-12 to 2025-05-19",
        "conditions view, pay",
        "sessions count, users each day idle 30m",
        "paths starting at view depth 3 times loops",
        "paths exactly 2",
        "paths variants",
        "sequence \"(?1)(?2)\" over view, pay",
        "sequence \"(?1)(?2)\" over view, pay match",
        "sequence \"(?1)\" over view next event_name forward",
        "attribution of pay by event_name model linear lookback 2d",
        "absence view -> pay within 1h",
        "absence view gap 10s",
        "intervals view -> pay measure utilisation, peak each day from 2025-05-12 to 2025-05-14",
        "segment did(view)",
    };
    struct bench *b = *state;
    put(b, 10, 10, "view", "u", "");
    put(b, 20, 20, "pay", "u", "");
    put(b, 30, 15, "view", "v", "");
    put(b, 40, 35, "pay", "v", "");
    for (size_t i = 0; i < COUNT_OF(questions); i++) {
        char text[300];
        snprintf(text, sizeof(text), "diff @, @ in %s", questions[i]);
        const char *got = ask(b, text, 20, 40);
        if (strncmp(got, "error", 5) == 0) {
            fail_msg("%s: %s", text, got);
        }
    }
}

static void explain_says_what_is_left_out(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    put(b, 10, 10, "view", "u", "");
    assert_ok(dataset_flush(b->live.dataset, &err));
    put(b, 20, 20, "view", "u", "");
    put(b, 30, 30, "view", "u", "");
    assert_ok(dataset_flush(b->live.dataset, &err));
    put(b, 40, 40, "view", "u", "");
    const char *text = ask(b, "explain trend count(any) as of @", 20, 0);
    assert_non_null(strstr(text, "as of epoch|1747008020000\n"));
    assert_non_null(strstr(text, "sources pruned by arrival|1\n"));
    assert_non_null(strstr(text, "sources filtered by arrival|1\n"));
    assert_null(strstr(ask(b, "explain trend count(any)", 0, 0), "arrival"));
}

static void explain_and_profile_say_what_is_read_of_first_times(void **state)
{
    static const char *const asking[] = {
        "retention view -> any each day for 1 from 2025-06-10 to 2025-06-25",
        "lifecycle of view each day from 2025-06-10 to 2025-06-25",
        "funnel first view -> pay within 1d from 2025-06-10 to 2025-06-25",
        "segment first(view) from 2025-06-10 to 2025-06-25",
    };
    static const char *const others[] = {
        "retention view -> any first each day for 1 from 2025-06-10 to 2025-06-25",
        "retention view -> any each day for 1 from 2025-06-10 to 2025-06-25 where event_id is set",
        "funnel view -> pay within 1d from 2025-06-10 to 2025-06-25",
        "lifecycle of view[event_id is set] each day from 2025-06-10 to 2025-06-25",
        "segment did(view) from 2025-06-10 to 2025-06-25",
    };
    struct bench *b = *state;
    struct err err = {0};
    bool did = false;
    char text[200];
    const struct settings_change change = {.has_expire_after = true,
                                           .to = {.expire_after_ms = 30 * SETTINGS_DAY_MS}};
    put(b, 10, 10, "view", "u", "");
    put(b, 20, 20, "view", "v", "");
    put(b, 40 * 86400, 40 * 86400, "view", "u", "");
    snprintf(text, sizeof(text), "explain %s", asking[0]);
    assert_null(strstr(ask(b, text, 0, 0), "first times"));
    assert_ok(dataset_configure(b->live.dataset, &change, &err));
    assert_ok(dataset_flush(b->live.dataset, &err));
    assert_ok(expiry_step(b->live.dataset, true, b->live.io, &did, &err));
    assert_int_equal(dataset_stats(b->live.dataset).first_times, 2);
    for (size_t i = 0; i < COUNT_OF(asking); i++) {
        snprintf(text, sizeof(text), "explain %s", asking[i]);
        assert_non_null(strstr(ask(b, text, 0, 0), "first times|of 2 in "));
        snprintf(text, sizeof(text), "profile %s", asking[i]);
        assert_non_null(strstr(ask(b, text, 0, 0), "\nfirst times|"));
    }
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        snprintf(text, sizeof(text), "explain %s", others[i]);
        assert_null(strstr(ask(b, text, 0, 0), "first times"));
        snprintf(text, sizeof(text), "profile %s", others[i]);
        assert_null(strstr(ask(b, text, 0, 0), "first times"));
    }
}

static void an_id_that_came_later_is_nobodys(void **state)
{
    struct bench *b = *state;
    put(b, 10, 10, "view", "u", "");
    put(b, 20, 20, "view", "", "x"); /* a device */
    put(b, 30, 30, "pay", "x", "");  /* a user of the same id */
    assert_string_equal(ask(b, "why \"x\" in segment did(pay) as of @", 10, 0),
                        "verdict|-|-|-|-|-|unknown user");
    assert_string_equal(ask(b, "segment user in (\"x\") as of @", 20, 0), "1");
    assert_string_equal(ask(b, "segment user in (\"x\") list users as of @", 30, 0), "x");
}

static void a_static_cohort_is_who_was_saved(void **state)
{
    struct bench *b = *state;
    put(b, 10, 10, "view", "u", "");
    put(b, 20, 20, "view", "v", "");
    put(b, 30, 30, "pay", "v", "");
    assert_string_equal(ask(b, "segment did(any) as of @ save cohort \"then\" static", 10, 0), "1");
    assert_string_equal(ask(b, "segment did(pay) save cohort \"payers\"", 0, 0), "1");
    assert_string_equal(ask(b, "trend users(any) where in cohort \"then\"", 0, 0), "1");
    assert_string_equal(ask(b, "trend users(any) where in cohort \"payers\"", 0, 0), "1");
    assert_string_equal(ask(b, "trend users(any) where in cohort \"payers\" as of @", 20, 0), "0");
}

/* phone at 10, u logs in on it at 20, and goes on without saying who at 30; then v is merged into u. */
static void live_on_a_phone(struct bench *b)
{
    struct err err = {0};
    put(b, 10, 10, "view", "", "phone");
    put(b, 20, 20, "pay", "u", "phone");
    put(b, 30, 30, "view", "", "phone");
    put(b, 40, 40, "view", "v", "");
    clock_ms = T0 + 50000;
    assert_ok(dataset_merge_user(b->live.dataset, STR("v"), STR("u"), &err));
    put(b, 60, 60, "pay", "v", "");
}

static void an_event_is_whose_it_was_when_it_came(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    live_on_a_phone(b);
    for (uint32_t pass = 0; pass < 2; pass++) {
        assert_string_equal(ask(b, "trend users(any)", 0, 0), "1");
        assert_string_equal(ask(b, "trend count(any), users(any) identity event_time", 0, 0),
                            "5|3");
        assert_string_equal(ask(b, "segment did(any) list users identity event_time", 0, 0),
                            "phone\nu\nv");
        assert_string_equal(ask(b, "segment count(any) >= 2 list users identity event_time", 0, 0),
                            "u");
        assert_string_equal(
            ask(b, "segment did(pay) list users identity event_time as of @", 40, 0), "u");
        assert_string_equal(ask(b, "trend users(any) identity event_time as of @", 10, 0), "1");
        assert_string_equal(ask(b,
                                "users of (step = 2) in funnel view -> pay within 1d list users "
                                "identity event_time",
                                0, 0),
                            "u");
        assert_ok(dataset_flush(b->live.dataset, &err));
        assert_ok(dataset_compact(b->live.dataset, NULL, &err));
    }
}

static void an_id_is_asked_by_what_was_its_own(void **state)
{
    struct bench *b = *state;
    live_on_a_phone(b);
    assert_non_null(strstr(
        ask(b, "why \"phone\" in segment count(any) >= 1 identity event_time", 0, 0), "|in"));
    assert_null(strstr(ask(b, "why \"phone\" in segment count(any) >= 2 identity event_time", 0, 0),
                       "|in"));
    assert_string_equal(
        ask(b, "segment user in (\"phone\", \"v\") list users identity event_time", 0, 0),
        "phone\nv");
    assert_string_equal(ask(b, "segment user in (\"phone\", \"v\") list users", 0, 0), "u");
    put(b, 70, 70, "view", "w", "tablet"); /* all that the tablet ever did was somebody's */
    put(b, 80, 80, "view", "", "tablet");
    assert_string_equal(ask(b, "segment user in (\"tablet\") list users identity event_time", 0, 0),
                        "w");
}

static void cohorts_are_of_the_questions_identity(void **state)
{
    struct bench *b = *state;
    live_on_a_phone(b);
    assert_string_equal(
        ask(b, "segment did(view) identity event_time save cohort \"then\" static", 0, 0), "3");
    assert_string_equal(ask(b, "segment did(view) save cohort \"viewers\"", 0, 0), "1");
    assert_string_equal(ask(b, "trend users(any) where in cohort \"then\"", 0, 0), "1");
    assert_string_equal(
        ask(b, "trend users(any) where in cohort \"then\" identity event_time", 0, 0), "3");
    assert_string_equal(
        ask(b, "trend users(any) where in cohort \"viewers\" identity event_time", 0, 0), "3");
    assert_string_equal(
        ask(b, "trend count(any) exclude cohort \"viewers\" identity event_time", 0, 0), "0");
    assert_string_equal(ask(b, "segment did(pay) save cohort \"payers\" static", 0, 0), "1");
    assert_string_equal(
        ask(b, "segment did(any) list users exclude cohort \"payers\" identity event_time", 0, 0),
        "phone\nv");
    assert_string_equal(
        ask(b, "trend users(any) compare cohort \"payers\" identity event_time", 0, 0),
        "current|3\npayers|1");
}

static void what_facts_did_to_rows_of_before_is_no_difference(void **state)
{
    struct bench *b = *state;
    live_on_a_phone(b);
    assert_string_equal(ask(b, "diff @, @ in trend users(any) identity event_time", 40, 60),
                        "users(any)|3|3|0|0|0|0");
    assert_string_equal(ask(b, "diff @, @ in trend users(any)", 40, 60),
                        "users(any)|2|1|-1|0|0|-1");
    assert_string_equal(ask(b, "restatements of trend users(any) identity event_time", 0, 0), "");
    assert_non_null(strstr(ask(b, "explain trend users(any) identity event_time", 0, 0),
                           "identity|event_time: 4 events of ids"));
    assert_null(strstr(ask(b, "explain trend users(any)", 0, 0), "identity|"));
}

static void without_facts_nothing_is_made(void **state)
{
    struct bench *b = *state;
    put(b, 10, 10, "view", "u", "");
    put(b, 20, 20, "view", "", "phone");
    assert_string_equal(ask(b, "trend users(any) identity event_time", 0, 0), "2");
    assert_non_null(strstr(ask(b, "explain trend users(any) identity event_time", 0, 0),
                           "identity|event_time: no id was ever bound"));
}

static void who_is_erased_is_so_by_arrival(void **state)
{
    struct bench *b = *state;
    struct err err = {0};
    uint32_t shard = 0;
    uint32_t subject = 0;
    live_on_a_phone(b);
    assert_true(dataset_find_stored(b->live.dataset, STR("u"), &shard, &subject));
    clock_ms = T0 + 70000;
    assert_ok(dataset_delete_subject(b->live.dataset, shard, subject, &err));
    assert_string_equal(ask(b, "segment did(any) list users identity event_time", 0, 0),
                        "phone\nv");
    assert_string_equal(ask(b, "restatements from @ to @ of trend users(any)", 50, 70),
                        "1747008070000|2025-05-12T00:01:10Z|erased|1 id|-|-|-|-");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_came_later_is_not_there, setup, teardown),
        cmocka_unit_test_setup_teardown(an_epoch_that_has_not_come_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(who_was_who_is_as_of_then, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_erased_is_erased_in_every_epoch, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_expired_is_so_in_every_epoch, setup, teardown),
        cmocka_unit_test_setup_teardown(a_difference_says_what_moved_the_number, setup, teardown),
        cmocka_unit_test_setup_teardown(restatements_tell_each_act, setup, teardown),
        cmocka_unit_test_setup_teardown(restatements_have_their_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(every_form_of_answer_can_be_compared, setup, teardown),
        cmocka_unit_test_setup_teardown(explain_says_what_is_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(explain_and_profile_say_what_is_read_of_first_times, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_id_that_came_later_is_nobodys, setup, teardown),
        cmocka_unit_test_setup_teardown(a_static_cohort_is_who_was_saved, setup, teardown),
        cmocka_unit_test_setup_teardown(an_event_is_whose_it_was_when_it_came, setup, teardown),
        cmocka_unit_test_setup_teardown(an_id_is_asked_by_what_was_its_own, setup, teardown),
        cmocka_unit_test_setup_teardown(cohorts_are_of_the_questions_identity, setup, teardown),
        cmocka_unit_test_setup_teardown(what_facts_did_to_rows_of_before_is_no_difference, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(without_facts_nothing_is_made, setup, teardown),
        cmocka_unit_test_setup_teardown(who_is_erased_is_so_by_arrival, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
