/* tests/prop/prop_answers.c - kept answers against fresh ones.
 *
 * Goal: with the cache of answers a question has the bytes that it has without, meta and all but for what is about the
 * asking itself, after every kind of change. Method: one data set lives through random events (late ones among them),
 * flushes, merges, rewrites, expiry settings and their work, deleted subjects, another cohort, reopening, and a clock that moves by a
 * millisecond or by days; between these, questions of all verbs with a few ranges, so that they come again, are asked with the cache and
 * without. Then the same by several threads at once while the data change. */
#include "tests/support/claims.h"

#include "query/answer_cache.h"
#include "storage/base/size.h"
#include "storage/dataset_int.h"
#include "storage/expiry.h"
#include "tests/support/live_events.h"
#include "tests/support/shop.h"

#include <pthread.h>

#define EVENTS_MAX 6000u
#define SPAN_DAYS  40
#define ASKERS     3u

/* Beside those of shop.h. */
static const char *const questions[] = {
    "trend count(any), users(any) by bucket(amount, 0, 100, 500) from %s to %s",
    "trend count(any), users(view), sum(amount of pay) each day by channel, vip from %s to %s",
    "trend users(any), users(pay) each day by channel where channel = \"ads\" from %s to %s",
    "trend users(any) where channel = \"mail\" and not (vip = true) from %s to %s",
    "trend p95(amount of any), median(amount of pay) each week from %s to %s",
    "trend first(amount of any) as f, last(channel of any) as l, min(channel of any) as m by vip",
    "trend unique(amount of any) as a, unique(channel of any) as c each day by vip from %s to %s",
    "trend rolling 7d unique(channel of any) as c, rolling 2d users(pay) as p each day from %s to "
    "%s",
    "trend count(view[channel matches \"^a\"]), count(view[channel in (\"mail\", \"ads\")]) each "
    "day",
    "trend sum(amount of any) / users(any) as arpu each day by event_name",
    "trend count(any[event_time >= now - 30d]), users(any) each day",
    "trend count(any) by user_id, event_time from %s to %s",
    "trend count(any), users(any) last 36h",
    "trend count(any), users(any) each day last 10d",
    "trend count(any), users(any) each day tz \"Asia/Kolkata\" from %s to %s",
    "trend count(nothing), users(any) each month where nowhere = 1",
    "distinct amount of any each week by channel",
    "funnel view -> pay within 1d last 20d",
    "funnel view -> pay within 1d",
    "retention view -> any each week for 3 last 5w",
    "sessions count, users, avg_duration_ms each day idle 5h from %s to %s",
    "sequence \"(?1)(?2)\" over view, pay",
    "paths depth 3 top 3 per session",
    "attribution of pay by channel model linear from %s to %s",
    "absence order -> pay within 2d from %s to %s",
    "intervals view -> pay measure peak, users each day from %s to %s",
    "intervals view -> pay by channel measure peak, users each day from %s to %s",
    "sequence \"(?1)(?2)\" over view, pay by channel each day from %s to %s",
    "paths depth 3 top 3 by channel each day from %s to %s",
    "attribution of pay by channel model linear each day from %s to %s",
    "trend count(any), users(pay) each day exclude cohort \"some\"",
    "trend users(any), sum(amount of pay) each week where in cohort \"some\"",
    "funnel view -> pay within 1d from %s to %s exclude cohort \"some\"",
    "conditions count(any) >= 3 and did(pay) from %s to %s",
    "retention view -> any each day for 5 rolling from %s to %s",
    "lifecycle of any each week from %s to %s",
    "stickiness of any each day from %s to %s",
    "churn 1d of any by channel each 2d from %s to %s",
    "conditions view, pay by channel, vip from %s to %s",
    "segment count(pay) / count(any) > 0.2 per channel list users from %s to %s",
    "users of (measure = \"dormant\") in lifecycle of any each day from %s to %s",
};

static _Atomic int64_t clock_ms;

static int64_t test_clock(void)
{
    return atomic_load(&clock_ms);
}

struct life {
    char dir[64];
    struct store *store;
    struct dataset *shop;
    struct answer_cache *answers;
    struct pool *pool;
    struct io *io;
    struct rng rng;
    struct shop_event events[EVENTS_MAX];
    uint32_t event_count;
    uint64_t seed;
    bool has_setting;
};

static void open_store(struct life *life)
{
    struct err err = {0};
    struct store_opts opts;
    struct recovery_report report;
    store_opts_default(&opts);
    opts.io_kind = IO_POSIX;
    opts.block_cache_bytes = 4u << 20;
    opts.compact_in_background = false;
    opts.wall_ms = test_clock;
    assert_ok(store_open(life->dir, &opts, &life->store, &report, &err));
    assert_ok(store_dataset(life->store, STR("shop"), true, &life->shop, &err));
    life->shop->limits.block_rows = 16; /* so that a few hundred rows make several segments */
}

/* ---- changes ---- */

static void put_some(struct life *life)
{
    struct err err = {0};
    uint32_t count = 1 + (uint32_t)rng_below(&life->rng, 150);
    int64_t end_ms = test_clock();
    int64_t days = rng_below(&life->rng, 2) == 0 ? SPAN_DAYS : 2; /* late ones, or of now */
    int64_t begin_ms = end_ms - days * SHOP_DAY_MS;
    if (life->event_count + count > EVENTS_MAX) {
        return;
    }
    if (life->has_setting) {
        begin_ms = MAX_OF(begin_ms, dataset_expired_before(life->shop));
    }
    struct shop_event *events = life->events + life->event_count;
    shop_random(&life->rng, life->event_count, count, begin_ms, end_ms, events);
    assert_ok(shop_put(life->shop, events, count, end_ms, life->io, &err));
    life->event_count += count;
}

static void set_expiry(struct life *life)
{
    struct err err = {0};
    const struct settings_change change = {
        .has_expire_after = true,
        .to = {.expire_after_ms =
                   rng_below(&life->rng, 4) == 0
                       ? 0
                       : (15 + rng_below(&life->rng, SPAN_DAYS)) * (uint64_t)SETTINGS_DAY_MS}};
    assert_ok(dataset_configure(life->shop, &change, &err));
    life->has_setting = change.to.expire_after_ms != 0;
}

static void delete_somebody(struct life *life)
{
    struct err err = {0};
    char user[16];
    uint32_t shard = 0;
    uint32_t subject = 0;
    snprintf(user, sizeof(user), "u%u", (unsigned)rng_below(&life->rng, 23));
    if (dataset_find_subject(life->shop, str_of(user), STR(""), &shard, &subject)) {
        assert_ok(dataset_delete_subject(life->shop, shard, subject, &err));
    }
}

/* "some" are other people from now on; nothing else changes. */
static void save_cohort(struct life *life)
{
    struct err err = {0};
    char text[128];
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    CLEANUP(result_freep) struct result *result = NULL;
    snprintf(text, sizeof(text), "segment did(pay[amount > %u]) save cohort \"some\"%s",
             (unsigned)rng_below(&life->rng, 900), rng_below(&life->rng, 2) == 0 ? " static" : "");
    const struct query_request request = {
        .text = str_of(text), .now_ms = test_clock(), .answers = life->answers};
    assert_ok(dataset_snapshot(life->shop, &snapshot, &err));
    assert_ok(query_run(snapshot, NULL, life->io, &request, &result, &err));
}

/* All segments of a random shard again, cut as the limits say. */
static void rewrite_shard(struct life *life)
{
    struct err err = {0};
    struct seg_ref *inputs[SEG_BLOCKS_MAX];
    uint32_t count = 0;
    pthread_mutex_lock(&life->shop->compact_lock);
    struct version *version = version_pin(life->shop);
    struct seg_ref *const *segs =
        version_shard(version, (uint32_t)rng_below(&life->rng, SHARD_COUNT), &count);
    count = MIN_OF(count, SEG_BLOCKS_MAX);
    if (count > 0) {
        memcpy(inputs, segs, count * sizeof(struct seg_ref *));
        assert_ok(compaction_merge(life->shop, version, inputs, count,
                                   rng_below(&life->rng, 2) == 0, life->io, &err));
    }
    version_unref(version);
    pthread_mutex_unlock(&life->shop->compact_lock);
}

/* Alone: nobody asks meanwhile, so what a snapshot does not pin may change, too. */
static void change(struct life *life, bool is_alone)
{
    struct err err = {0};
    bool did = false;
    switch (rng_below(&life->rng, 14)) {
    case 0:
    case 1:
    case 2:
    case 3: put_some(life); break;
    case 4:
    case 5: assert_ok(dataset_flush(life->shop, &err)); break;
    case 6: assert_ok(dataset_compact(life->shop, NULL, &err)); break;
    case 7: rewrite_shard(life); break;
    case 8: compaction_if_due(life->shop, life->io); break;
    case 9: assert_ok(expiry_step(life->shop, false, life->io, &did, &err)); break;
    case 10: set_expiry(life); break;
    case 11:
        if (rng_below(&life->rng, 3) == 0) {
            delete_somebody(life);
        } else if (is_alone) {
            save_cohort(life);
        }
        break;
    case 12:
        atomic_fetch_add(&clock_ms, rng_below(&life->rng, 2) == 0
                                        ? 1
                                        : (int64_t)rng_below(&life->rng, 6) * SHOP_DAY_MS / 4);
        break;
    default:
        if (is_alone && rng_below(&life->rng, 3) == 0) {
            store_abandon(life->store);
            open_store(life);
        }
        break;
    }
    assert_string_equal(dataset_stats(life->shop).last_error, "");
}

/* ---- asking ---- */

static const char *question_of(struct rng *rng, char out[512])
{
    uint32_t idx = (uint32_t)rng_below(rng, shop_question_count() + COUNT_OF(questions));
    char from[16];
    char to[16];
    int64_t from_ms = test_clock() / (7 * SHOP_DAY_MS) * (7 * SHOP_DAY_MS) -
                      (int64_t)rng_below(rng, 3) * 13 * SHOP_DAY_MS;
    shop_date(from_ms, from);
    shop_date(from_ms + (int64_t)(1 + rng_below(rng, 2) * 12) * SHOP_DAY_MS, to);
    if (idx < shop_question_count()) {
        return shop_question(idx, from, to, out);
    }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-extra-args"
    snprintf(out, 512, questions[idx - shop_question_count()], from, to);
#pragma GCC diagnostic pop
    return out;
}

/* Outcomes of subjects are kept for these: what was read anew is all that they say was read (prop_outcomes.c). */
static bool is_of_outcomes(const char *question)
{
    return strncmp(question, "funnel ", 7) == 0 || strncmp(question, "retention ", 10) == 0;
}

/* The whole answer but for what is about the asking: how long it took, what came from the disk or a cache. */
static const char *ask(struct life *life, struct snapshot *snapshot, const char *question,
                       struct pool *pool, struct io *io, bool is_cache_off, struct buf *out,
                       uint64_t *ret_cached)
{
    struct err err = {0};
    CLEANUP(result_freep) struct result *result = NULL;
    const struct query_request request = {.text = str_of(question),
                                          .now_ms = test_clock(),
                                          .answers = life->answers,
                                          .is_cache_off = is_cache_off};
    buf_clear(out);
    *ret_cached = 0;
    if (query_run(snapshot, pool, io, &request, &result, &err) != ERR_OK) {
        buf_printf(out, "error: %s: %s", err_code_name(err.code), err.message);
    } else {
        struct result_meta *meta = &result->meta;
        *ret_cached = meta->cached;
        meta->elapsed_us = 0;
        meta->cached = 0;
        meta->blocks_loaded = 0; /* these two hang on what the block cache holds */
        meta->bytes_read = 0;
        if (is_of_outcomes(question)) {
            meta->rows_read = 0;
            meta->segments_pruned = 0;
        }
        if (result_write(result, RESULT_JSON, out, &err) != ERR_OK) {
            return "out of memory";
        }
    }
    buf_u8(out, 0);
    return (const char *)out->ptr;
}

/* NULL where both are the same. */
static const char *compare_once(struct life *life, struct snapshot *snapshot, const char *question,
                                struct pool *pool, struct io *io, struct buf *fresh,
                                struct buf *kept, uint64_t *ret_cached)
{
    uint64_t none = 0;
    const char *got = ask(life, snapshot, question, pool, io, false, kept, ret_cached);
    const char *want = ask(life, snapshot, question, pool, io, true, fresh, &none);
    return none == 0 && strcmp(got, want) == 0 ? NULL : want;
}

static void compare(struct life *life, uint32_t count)
{
    struct err err = {0};
    CLEANUP(buf_freep) struct buf fresh = {0};
    CLEANUP(buf_freep) struct buf kept = {0};
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    assert_ok(dataset_snapshot(life->shop, &snapshot, &err));
    for (uint32_t i = 0; i < count; i++) {
        char question[512];
        question_of(&life->rng, question);
        for (uint32_t again = 0; again < 2; again++) {
            uint64_t cached = 0;
            struct pool *pool = rng_below(&life->rng, 2) == 0 ? life->pool : NULL;
            const char *want =
                compare_once(life, snapshot, question, pool, life->io, &fresh, &kept, &cached);
            if (want != NULL) {
                fail_msg("seed %" PRIu64 ": %s\n  fresh %s\n  kept  %s", life->seed, question, want,
                         (const char *)kept.ptr);
            }
        }
    }
}

static struct life *life_begin(uint64_t seed, size_t cache_bytes)
{
    struct err err = {0};
    struct life *life = calloc(1, sizeof(*life));
    life->seed = seed;
    life->rng = rng_init(seed);
    atomic_store(&clock_ms, (19000 + (int64_t)(seed % 50)) * SHOP_DAY_MS +
                                (int64_t)rng_below(&life->rng, 86400000));
    snprintf(life->dir, sizeof(life->dir), "/dev/shm/trackway-answers-XXXXXX");
    if (mkdtemp(life->dir) == NULL) { /* memory, for nothing is synced anyway */
        live_dir_make(life->dir);
    }
    assert_ok(io_create(IO_POSIX, &life->io, &err));
    assert_ok(pool_create(2, IO_POSIX, "test", &life->pool, &err));
    assert_ok(answer_cache_create(cache_bytes, &life->answers, &err));
    open_store(life);
    return life;
}

static void life_end(struct life *life)
{
    struct answer_cache_stats stats = answer_cache_stats(life->answers);
    assert_true(stats.bytes <= stats.bytes_max);
    store_abandon(life->store);
    pool_free(life->pool);
    io_free(life->io);
    answer_cache_free(life->answers);
    live_dir_remove(life->dir);
    free(life);
}

static void a_kept_answer_is_the_fresh_one_after_any_change(void **state)
{
    (void)state;
    uint64_t whole = 0;
    uint64_t partial = 0;
    for (uint64_t trial = 0; trial < 12; trial++) {
        /* some with so little room that answers leave all the time */
        struct life *life =
            life_begin(test_seed() + trial, trial % 3 == 2 ? (size_t)256 << 10 : (size_t)8 << 20);
        put_some(life);
        save_cohort(life);
        for (uint32_t step = 0; step < 60; step++) {
            change(life, true);
            compare(life, 10);
        }
        struct answer_cache_stats stats = answer_cache_stats(life->answers);
        whole += stats.hits[ANSWER_WHOLE];
        partial += stats.hits[ANSWER_PARTIAL];
        life_end(life);
    }
    print_message("%" PRIu64 " whole and %" PRIu64 " partial answers from the cache\n", whole,
                  partial);
    assert_true(whole > 1000);
    assert_true(partial > 1000);
}

/* ---- many threads ---- */

struct asker {
    struct life *life;
    uint64_t seed;
    _Atomic bool *is_over;
    uint64_t cached;
    char wrong[4096];
    pthread_t thread;
};

static void *ask_on(void *arg)
{
    struct asker *asker = arg;
    struct rng rng = rng_init(asker->seed);
    struct err err;
    struct io *io = NULL;
    CLEANUP(buf_freep) struct buf fresh = {0};
    CLEANUP(buf_freep) struct buf kept = {0};
    if (io_create(IO_POSIX, &io, &err) != ERR_OK) {
        abort();
    }
    while (!atomic_load(asker->is_over) && asker->wrong[0] == '\0') {
        struct snapshot *snapshot = NULL;
        char question[512];
        if (dataset_snapshot(asker->life->shop, &snapshot, &err) != ERR_OK) {
            abort();
        }
        question_of(&rng, question);
        for (uint32_t again = 0; again < 3; again++) {
            uint64_t cached = 0;
            struct pool *pool = rng_below(&rng, 2) == 0 ? asker->life->pool : NULL;
            const char *want =
                compare_once(asker->life, snapshot, question, pool, io, &fresh, &kept, &cached);
            asker->cached += cached;
            if (want != NULL) {
                snprintf(asker->wrong, sizeof(asker->wrong), "%s\n  fresh %.1700s\n  kept  %.1700s",
                         question, want, (const char *)kept.ptr);
            }
        }
        snapshot_unpin(snapshot);
    }
    io_free(io);
    return NULL;
}

/* The clock and the columns stand still: a question asked twice is the same question. */
static void change_for_many(struct life *life)
{
    int64_t now_ms = test_clock();
    change(life, false);
    atomic_store(&clock_ms, now_ms);
}

static void a_kept_answer_is_the_fresh_one_for_many_threads(void **state)
{
    (void)state;
    uint64_t cached = 0;
    for (uint64_t trial = 0; trial < 4; trial++) {
        struct life *life = life_begin(test_seed() + 100 + trial,
                                       trial % 2 == 1 ? (size_t)256 << 10 : (size_t)4 << 20);
        struct asker askers[ASKERS];
        _Atomic bool is_over = false;
        put_some(life);
        save_cohort(life);
        for (uint32_t i = 0; i < ASKERS; i++) {
            askers[i] =
                (struct asker){.life = life, .seed = life->seed * 100 + i, .is_over = &is_over};
            assert_int_equal(pthread_create(&askers[i].thread, NULL, ask_on, &askers[i]), 0);
        }
        for (uint32_t step = 0; step < 80; step++) {
            change_for_many(life);
        }
        atomic_store(&is_over, true);
        for (uint32_t i = 0; i < ASKERS; i++) {
            pthread_join(askers[i].thread, NULL);
            cached += askers[i].cached;
            if (askers[i].wrong[0] != '\0') {
                fail_msg("seed %" PRIu64 ": %s", life->seed, askers[i].wrong);
            }
        }
        life_end(life);
    }
    assert_true(cached > 100);
}

/* What `where` says of one user, and all of them otherwise. */
static const char *const user_questions[] = {
    "trend count(any), users(any), sum(amount of pay) each day where user_id = \"u%u\"",
    "trend count(any) by channel where user_id = \"u%u\" and not (channel = \"mail\")",
    "trend count(any) where user_id = \"u%u\" or channel = \"mail\"",
    "distinct user of any where not (user_id = \"u%u\")",
    "events any where user_id = \"u%u\" columns (event_id, event_time) limit 50",
    "funnel view -> pay within 1d where user_id = \"u%u\"",
    "retention view -> any each day for 5 where user_id = \"u%u\"",
    "segment not did(pay) where user_id = \"u%u\"",
    "sessions count, users each day idle 30m where user_id = \"u%u\"",
    "lifecycle of any each day where user_id = \"u%u\"",
    "timeline \"u%u\" limit 50",
};

/* The rows alone: how much was read differs. */
static void rows_of(struct life *life, struct snapshot *snapshot, const char *question,
                    bool is_reference, struct buf *out)
{
    struct err err = {0};
    CLEANUP(result_freep) struct result *result = NULL;
    const struct query_request request = {.text = str_of(question),
                                          .now_ms = test_clock(),
                                          .is_cache_off = true,
                                          .is_reference_path = is_reference};
    buf_clear(out);
    if (query_run(snapshot, life->pool, life->io, &request, &result, &err) != ERR_OK) {
        fail_msg("%s: %s", question, err.message);
    }
    assert_ok(result_write(result, RESULT_CSV, out, &err));
    buf_u8(out, 0);
}

static void one_user_is_asked_for_alone_or_among_all(void **state)
{
    (void)state;
    CLEANUP(buf_freep) struct buf alone = {0};
    CLEANUP(buf_freep) struct buf among_all = {0};
    struct life *life = life_begin(test_seed() + 200, (size_t)1 << 20);
    struct err err = {0};
    for (uint32_t step = 0; step < 60; step++) {
        CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
        change(life, true);
        assert_ok(dataset_snapshot(life->shop, &snapshot, &err));
        for (uint32_t q = 0; q < COUNT_OF(user_questions); q++) {
            char question[256];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            snprintf(question, sizeof(question), user_questions[q],
                     (unsigned)rng_below(&life->rng, 25)); /* two of them never were */
#pragma GCC diagnostic pop
            rows_of(life, snapshot, question, false, &alone);
            rows_of(life, snapshot, question, true, &among_all);
            if (strcmp((const char *)alone.ptr, (const char *)among_all.ptr) != 0) {
                fail_msg("seed %" PRIu64 ": %s\n  alone %s\n  among all %s", life->seed, question,
                         (const char *)alone.ptr, (const char *)among_all.ptr);
            }
        }
    }
    life_end(life);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_user_is_asked_for_alone_or_among_all),
        cmocka_unit_test(a_kept_answer_is_the_fresh_one_after_any_change),
        cmocka_unit_test(a_kept_answer_is_the_fresh_one_for_many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
