/* tests/prop/prop_upkeep.c - answers while a data set is being looked after.
 *
 * Goal: the same question has the same bytes before, during and after flushes, merges, cuts by time, rewrites and moves
 * to the cold directory: for every verb, with and without indexes. Method: random events in memory and in small
 * segments; the answers are noted; then threads ask on and on while another one flushes, merges everything,
 * cuts it up again, and moves it, in random order, hundreds of times. */
#include "tests/support/claims.h"

#include "storage/base/size.h"
#include "storage/dataset_int.h"
#include "storage/expiry.h"
#include "storage/tiers.h"
#include "tests/support/live_events.h"
#include "tests/support/shop.h"

#include <pthread.h>

#define EVENTS    3000u
#define QUESTIONS 64u
#define ASKERS    3u
#define ROUNDS    4u
#define STEPS     120u

static int64_t clock_ms;

static int64_t test_clock(void)
{
    return clock_ms;
}

struct shared {
    struct dataset *dataset;
    char questions[QUESTIONS][512];
    struct buf wanted[QUESTIONS];
    uint32_t question_count;
    _Atomic bool is_over;
    _Atomic bool has_failed; /* the one who sets it writes `wrong` */
    _Atomic uint64_t asked;
    char wrong[4096];
};

static void check_one(struct shared *shared, uint32_t question, bool is_reference, struct io *io,
                      struct buf *got)
{
    struct err err = {0};
    struct snapshot *snapshot = NULL;
    const char *found = "no snapshot";
    if (dataset_snapshot(shared->dataset, &snapshot, &err) == ERR_OK) {
        found =
            shop_ask(snapshot, shared->questions[question], clock_ms, is_reference, NULL, io, got);
        snapshot_unpin(snapshot);
    }
    const char *wanted = (const char *)shared->wanted[question].ptr;
    if (strcmp(found, wanted) != 0 && !atomic_exchange(&shared->has_failed, true)) {
        snprintf(shared->wrong, sizeof(shared->wrong),
                 "%s (%s path)\n  before %.1500s\n  now    %.1500s", shared->questions[question],
                 is_reference ? "reference" : "index", wanted, found);
    }
    atomic_fetch_add(&shared->asked, 1);
}

struct asker {
    struct shared *shared;
    uint64_t seed;
    pthread_t thread;
};

static void *ask_on(void *arg)
{
    struct asker *asker = arg;
    struct shared *shared = asker->shared;
    struct rng rng = rng_init(asker->seed);
    struct err err;
    struct io *io = NULL;
    CLEANUP(buf_freep) struct buf got = {0};
    if (io_create(IO_POSIX, &io, &err) != ERR_OK) {
        abort();
    }
    while (!atomic_load(&shared->is_over) && !atomic_load(&shared->has_failed)) {
        check_one(shared, (uint32_t)rng_below(&rng, shared->question_count),
                  rng_below(&rng, 4) == 0, io, &got);
    }
    io_free(io);
    return NULL;
}

static void note_answers(struct shared *shared, struct rng *rng, struct io *io)
{
    struct err err = {0};
    struct snapshot *snapshot = NULL;
    assert_ok(dataset_snapshot(shared->dataset, &snapshot, &err));
    shared->question_count = shop_question_count();
    assert_true(shared->question_count <= QUESTIONS);
    for (uint32_t q = 0; q < shared->question_count; q++) {
        char from[16];
        char to[16];
        int64_t from_ms = clock_ms - (int64_t)(5 + rng_below(rng, 35)) * SHOP_DAY_MS;
        shop_date(from_ms, from);
        shop_date(from_ms + (int64_t)(1 + rng_below(rng, 30)) * SHOP_DAY_MS, to);
        shop_question(q, from, to, shared->questions[q]);
        const char *answer =
            shop_ask(snapshot, shared->questions[q], clock_ms, true, NULL, io, &shared->wanted[q]);
        assert_int_not_equal(strncmp(answer, "error", 5), 0);
    }
    snapshot_unpin(snapshot);
}

/* All segments of a random shard again, cut as the limits say. */
static void rewrite_shard(struct dataset *dataset, struct rng *rng, struct io *io)
{
    struct err err = {0};
    struct seg_ref *inputs[SEG_BLOCKS_MAX];
    uint32_t count = 0;
    pthread_mutex_lock(&dataset->compact_lock);
    struct version *version = version_pin(dataset);
    struct seg_ref *const *segs =
        version_shard(version, (uint32_t)rng_below(rng, SHARD_COUNT), &count);
    count = MIN_OF(count, SEG_BLOCKS_MAX);
    if (count > 0) {
        memcpy(inputs, segs, count * sizeof(struct seg_ref *));
        assert_ok(
            compaction_merge(dataset, version, inputs, count, rng_below(rng, 2) == 0, io, &err));
    }
    version_unref(version);
    pthread_mutex_unlock(&dataset->compact_lock);
}

static void upkeep(struct dataset *dataset, struct rng *rng, struct io *io)
{
    struct err err = {0};
    bool did = false;
    dataset->limits.block_rows =
        rng_below(rng, 3) == 0 ? BLOCK_ROWS : 4 + (uint32_t)rng_below(rng, 30);
    switch (rng_below(rng, 8)) {
    case 0: assert_ok(dataset_flush(dataset, &err)); break;
    case 1: compaction_if_due(dataset, io); break;
    case 2: assert_ok(tier_step(dataset, io, &did, &err)); break;
    case 3: expiry_if_due(dataset, io); break;
    case 4: assert_ok(dataset_compact(dataset, NULL, &err)); break;
    default: rewrite_shard(dataset, rng, io); break;
    }
    assert_string_equal(dataset_stats(dataset).last_error, "");
}

static void put_events(struct dataset *dataset, struct rng *rng, struct io *io)
{
    struct err err = {0};
    static struct shop_event events[EVENTS];
    shop_random(rng, 0, EVENTS, clock_ms - 40 * SHOP_DAY_MS, clock_ms, events);
    for (uint32_t first = 0; first < EVENTS; first += 250) {
        assert_ok(shop_put(dataset, events + first, 250, clock_ms, io, &err));
        if (rng_below(rng, 2) == 0 && first < EVENTS / 2) {
            assert_ok(dataset_flush(dataset, &err));
        }
    }
}

/* Settings under which everything happens and nothing that is asked about changes: all is cold, and an expiry whose
 * border lies just before the first event. */
static void configure(struct dataset *dataset)
{
    struct err err = {0};
    const struct settings_change change = {
        .has_cold_after = true,
        .has_expire_after = true,
        .to = {.cold_after_ms = SETTINGS_DAY_MS, .expire_after_ms = 41 * SETTINGS_DAY_MS}};
    assert_ok(dataset_configure(dataset, &change, &err));
}

static void one_round(uint64_t seed, uint64_t *ret_asked, uint64_t *ret_moved)
{
    struct err err = {0};
    struct store_opts opts;
    struct store *store = NULL;
    struct recovery_report report;
    struct io *io = NULL;
    struct asker askers[ASKERS];
    char dir[64];
    char cold[64];
    struct rng rng = rng_init(seed);
    struct shared *shared = calloc(1, sizeof(*shared));
    clock_ms = INT64_C(19500) * SHOP_DAY_MS + (int64_t)rng_below(&rng, 86400000);
    live_dir_make(dir);
    live_dir_make(cold);
    store_opts_default(&opts);
    opts.io_kind = IO_POSIX;
    opts.block_cache_bytes = 2u << 20; /* so that blocks come from the files again and again */
    opts.compact_in_background = false;
    opts.wall_ms = test_clock;
    opts.cold_dir = cold;
    assert_ok(io_create(IO_POSIX, &io, &err));
    assert_ok(store_open(dir, &opts, &store, &report, &err));
    assert_ok(store_dataset(store, STR("shop"), true, &shared->dataset, &err));
    configure(shared->dataset);
    put_events(shared->dataset, &rng, io);
    note_answers(shared, &rng, io);
    for (uint32_t i = 0; i < ASKERS; i++) {
        askers[i] = (struct asker){.shared = shared, .seed = seed * 100 + i};
        assert_int_equal(pthread_create(&askers[i].thread, NULL, ask_on, &askers[i]), 0);
    }
    for (uint32_t step = 0; step < STEPS && !atomic_load(&shared->has_failed); step++) {
        upkeep(shared->dataset, &rng, io);
    }
    atomic_store(&shared->is_over, true);
    for (uint32_t i = 0; i < ASKERS; i++) {
        pthread_join(askers[i].thread, NULL);
    }
    CLEANUP(buf_freep) struct buf got = {0};
    for (uint32_t q = 0; q < shared->question_count; q++) { /* and after it */
        check_one(shared, q, false, io, &got);
        check_one(shared, q, true, io, &got);
    }
    if (atomic_load(&shared->has_failed)) {
        fail_msg("seed %" PRIu64 ": %s", seed, shared->wrong);
    }
    *ret_asked += shared->asked;
    *ret_moved += dataset_stats(shared->dataset).moved_segments;
    for (uint32_t q = 0; q < shared->question_count; q++) {
        buf_done(&shared->wanted[q]);
    }
    store_abandon(store);
    io_free(io);
    live_dir_remove(dir);
    live_dir_remove(cold);
    free(shared);
}

static void answers_do_not_change_while_a_data_set_is_looked_after(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    uint64_t asked = 0;
    uint64_t moved = 0;
    for (uint64_t round = 0; round < ROUNDS; round++) {
        one_round(seed + round, &asked, &moved);
    }
    print_message("%" PRIu64 " questions asked meanwhile, %" PRIu64 " segments moved\n", asked,
                  moved);
    assert_true(asked > 500 && moved > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_do_not_change_while_a_data_set_is_looked_after),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
