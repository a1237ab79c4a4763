/* tests/prop/prop_outcomes.c - funnels and retentions that stand on kept outcomes, against fresh ones.
 *
 * Goal: a question that comes again after a change has the bytes that it has without the cache, of whom it read rows anew
 * and of whom it did not. Method: many users, most of whom rest, so that few are live: new and late events of some, users
 * merged and parted, erased, flushes, merges of segments and a clock that moves; after each change questions with all the
 * rules of funnels and retentions are asked with the cache and without. */
#include "tests/support/claims.h"

#include "query/answer_cache.h"
#include "storage/base/size.h"
#include "tests/support/live_events.h"
#include "tests/support/shop.h"

#define USERS      600u
#define EVENTS_MAX 12000u
#define SPAN_DAYS  40
#define NOW_MS     (19100 * SHOP_DAY_MS + 47000000)

static const char *const questions[] = {
    "funnel view -> pay within 1d",
    "funnel view -> add -> order within 2d from %s to %s",
    "funnel rare -> pay within 9d from %s to %s",
    "funnel view -> add (6h) -> pay within 3d by channel",
    "funnel view -> (add | order) -> pay within 7d where channel = \"ads\" by vip from %s to %s",
    "funnel view[amount > 300] -> pay within 3d each week by channel from %s to %s",
    "funnel view -> add -> pay within 3d count totals each day",
    "funnel view -> add -> pay within 3d count totals each day trend single",
    "funnel view[amount > 300] -> pay within 3d each week trend single by channel from %s to %s",
    "funnel view -> pay within 4d each day trend single by channel at all steps from %s to %s",
    "funnel first view -> pay within 9d each 3d trend single",
    "funnel view -> pay within 3d count sessions from %s to %s",
    "funnel view -> add -> order within 5d order any by channel at step 2 from %s to %s",
    "funnel view -> add -> order within 5d order any each 2d by vip",
    "funnel view -> add -> pay within 5d order strict",
    "funnel view -> add? -> pay within 5d by channel at last set from %s to %s",
    "funnel view -> order within 5d without rare between 1 and 2 by channel at first set",
    "funnel view -> add -> order within 5d dropping users with rare between 1 and 2",
    "funnel view -> pay within 2d holding channel from %s to %s",
    "funnel view -> pay within 4d by channel, vip at all steps top 2 with other",
    "funnel first view -> pay within 9d",
    "funnel first matching view[channel = \"ads\"] -> pay within 9d from %s to %s",
    "funnel view -> view -> view within 1d ties strict entry first",
    "funnel view -> view within 2d reuse attempt latest closed from %s to %s",
    "funnel view -> pay within 2d times each week from %s to %s",
    "funnel view -> pay within 2d list users",
    "funnel view -> pay within 2d correlate events from %s to %s",
    "funnel view -> pay within 2d compare previous period from %s to %s",
    "funnel view -> pay within 2d per channel",
    "funnel view -> pay within 1d last 20d",
    "retention view[channel = \"ads\"] -> any each day for 7",
    "retention view -> pay each day for 5 by channel from %s to %s",
    "retention view -> pay each week for 3 by vip top 1 with other recurring unbounded",
    "retention view -> add first each day for 4 by channel from %s to %s",
    "retention rare -> any first_ever unfiltered each week for 3 by channel",
    "retention view -> add each day for 9 rolling from %s to %s",
    "retention view -> add each day for 9 rolling recurring by channel from %s to %s",
    "retention view -> any each day for 6 streak by channel from %s to %s",
    "retention view -> any each day bracket (1, 2-4, 5-9) recurring from %s to %s",
    "retention view -> any each day for 8 at least 2 where channel != \"ads\" from %s to %s",
    "retention view -> any each day for 3 value sum(amount of pay) by channel",
    "ltv view value sum(amount of pay) each week for 3",
};

struct life {
    struct live_store live;
    struct answer_cache *answers;
    struct pool *pool;
    struct rng rng;
    struct shop_event events[EVENTS_MAX];
    uint32_t event_count;
    uint64_t seed;
    int64_t now_ms;
    uint64_t kept; /* answers that stood on outcomes */
};

/* ---- changes ---- */

static void put_of(struct life *life, uint32_t count, uint32_t user_first, uint32_t user_count)
{
    struct err err = {0};
    struct shop_event *events = life->events + life->event_count;
    int64_t days = rng_below(&life->rng, 2) == 0 ? SPAN_DAYS : 2; /* late ones, or of now */
    if (life->event_count + count > EVENTS_MAX) {
        return;
    }
    shop_random(&life->rng, life->event_count, count, life->now_ms - days * SHOP_DAY_MS,
                life->now_ms, events);
    for (uint32_t i = 0; i < count; i++) {
        events[i].user = user_first + (uint32_t)rng_below(&life->rng, user_count);
    }
    assert_ok(shop_put(life->live.dataset, events, count, life->now_ms, life->live.io, &err));
    life->event_count += count;
}

static void user_name(struct life *life, char out[16])
{
    snprintf(out, 16, "u%u", (unsigned)rng_below(&life->rng, USERS));
}

static void delete_somebody(struct life *life)
{
    struct err err = {0};
    char user[16];
    uint32_t shard = 0;
    uint32_t subject = 0;
    user_name(life, user);
    if (dataset_find_subject(life->live.dataset, str_of(user), STR(""), &shard, &subject)) {
        assert_ok(dataset_delete_subject(life->live.dataset, shard, subject, &err));
    }
}

/* It may be refused: a user that has been merged already, an unknown one. */
static void merge_somebody(struct life *life)
{
    struct err err = {0};
    char user[16];
    char into[16];
    user_name(life, user);
    user_name(life, into);
    if (dataset_merge_user(life->live.dataset, str_of(user), str_of(into), &err) == ERR_OK &&
        rng_below(&life->rng, 2) == 0) {
        assert_ok(dataset_unmerge_user(life->live.dataset, str_of(user), &err));
    }
}

static void change(struct life *life)
{
    struct err err = {0};
    struct dataset *dataset = life->live.dataset;
    switch (rng_below(&life->rng, 12)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
        put_of(life, 1 + (uint32_t)rng_below(&life->rng, 20),
               (uint32_t)rng_below(&life->rng, USERS + 30 - 12), 12);
        break;
    case 5:
    case 6:
    case 7: assert_ok(dataset_flush(dataset, &err)); break;
    case 8: merge_somebody(life); break;
    case 9: delete_somebody(life); break;
    case 10:
        if (rng_below(&life->rng, 3) == 0) {
            assert_ok(dataset_compact(dataset, NULL, &err));
        }
        break;
    default:
        life->now_ms += rng_below(&life->rng, 2) == 0
                            ? 1
                            : (int64_t)rng_below(&life->rng, 4) * SHOP_DAY_MS / 4;
        break;
    }
    assert_string_equal(dataset_stats(dataset).last_error, "");
}

/* ---- asking ---- */

static void question_of(struct life *life, char out[512])
{
    char from[16];
    char to[16];
    int64_t from_ms = NOW_MS / SHOP_DAY_MS * SHOP_DAY_MS - 30 * SHOP_DAY_MS +
                      (int64_t)rng_below(&life->rng, 2) * 7 * SHOP_DAY_MS;
    shop_date(from_ms, from);
    shop_date(from_ms + (int64_t)(1 + rng_below(&life->rng, 2) * 40) * 7 * SHOP_DAY_MS / 4, to);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-extra-args"
    snprintf(out, 512, questions[rng_below(&life->rng, COUNT_OF(questions))], from, to);
#pragma GCC diagnostic pop
}

/* All but what is about the asking: how long it took, and what was read. */
static const char *ask(struct life *life, struct snapshot *snapshot, const char *question,
                       bool is_cache_off, struct buf *out, uint64_t *ret_cached)
{
    struct err err = {0};
    CLEANUP(result_freep) struct result *result = NULL;
    const struct query_request request = {.text = str_of(question),
                                          .now_ms = life->now_ms,
                                          .answers = life->answers,
                                          .is_cache_off = is_cache_off};
    struct pool *pool = rng_below(&life->rng, 2) == 0 ? life->pool : NULL;
    buf_clear(out);
    assert_ok(query_run(snapshot, pool, life->live.io, &request, &result, &err));
    struct result_meta *meta = &result->meta;
    *ret_cached = meta->cached;
    meta->elapsed_us = 0;
    meta->cached = 0;
    meta->blocks_loaded = 0;
    meta->bytes_read = 0;
    meta->rows_read = 0;
    meta->segments_pruned = 0;
    assert_ok(result_write(result, RESULT_JSON, out, &err));
    buf_u8(out, 0);
    return (const char *)out->ptr;
}

static void compare(struct life *life, uint32_t count)
{
    struct err err = {0};
    CLEANUP(buf_freep) struct buf fresh = {0};
    CLEANUP(buf_freep) struct buf kept = {0};
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    assert_ok(dataset_snapshot(life->live.dataset, &snapshot, &err));
    for (uint32_t i = 0; i < count; i++) {
        char question[512];
        uint64_t cached = 0;
        uint64_t none = 0;
        question_of(life, question);
        const char *got = ask(life, snapshot, question, false, &kept, &cached);
        const char *want = ask(life, snapshot, question, true, &fresh, &none);
        assert_int_equal(none, 0);
        life->kept += cached > 1; /* 1: the answer as a whole */
        if (strcmp(got, want) != 0) {
            fail_msg("seed %" PRIu64 ": %s\n  fresh %s\n  kept  %s", life->seed, question, want,
                     got);
        }
    }
}

static struct life *life_begin(uint64_t seed, size_t cache_bytes)
{
    struct err err = {0};
    struct life *life = calloc(1, sizeof(*life));
    life->seed = seed;
    life->rng = rng_init(seed);
    life->now_ms = NOW_MS;
    assert_ok(live_store_make(&life->live, &err));
    assert_ok(live_store_open(&life->live, &err));
    assert_ok(pool_create(2, IO_POSIX, "test", &life->pool, &err));
    assert_ok(answer_cache_create(cache_bytes, &life->answers, &err));
    for (uint32_t i = 0; i < 3; i++) {
        put_of(life, 1500, 0, USERS);
        assert_ok(dataset_flush(life->live.dataset, &err));
    }
    return life;
}

static void life_end(struct life *life)
{
    pool_free(life->pool);
    answer_cache_free(life->answers);
    live_store_end(&life->live);
    free(life);
}

static void a_question_that_comes_again_has_the_fresh_answer(void **state)
{
    (void)state;
    uint64_t kept = 0;
    for (uint64_t trial = 0; trial < 6; trial++) {
        /* one with so little room that outcomes leave all the time */
        struct life *life =
            life_begin(test_seed() + trial, trial == 5 ? (size_t)512 << 10 : (size_t)64 << 20);
        for (uint32_t step = 0; step < 60; step++) {
            change(life);
            compare(life, 12);
        }
        kept += life->kept;
        life_end(life);
    }
    print_message("%" PRIu64 " answers stood on kept outcomes\n", kept);
    assert_true(kept > 300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_question_that_comes_again_has_the_fresh_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
