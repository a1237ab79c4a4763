/* tests/prop/prop_expiry.c - expiry against its definition.
 *
 * Goal: any question on a data set that expires events, but those about first events ever (prop_first_times.c), has the
 * answer of a data set into which the expired events were never put: for every verb, with and without indexes, in memtables, in segments that
 * straddle the border, after flushes, merges, the expiry's own work, and opening again. Method: random events
 * and random upkeep under a clock of the test; at random moments a fresh data set gets the events that are
 * not expired, in other batches, and all questions are asked of both. */
#include "tests/support/claims.h"

#include "storage/base/size.h"
#include "storage/dataset_int.h"
#include "storage/expiry.h"
#include "tests/support/live_events.h"
#include "tests/support/shop.h"

#define EVENTS_MAX 4000u
#define KNOWN_MAX  200u /* of them put_known may take */
#define SPAN_DAYS  40

static int64_t clock_ms;

static int64_t test_clock(void)
{
    return clock_ms;
}

struct life {
    char dir[64];
    struct store *store;
    struct dataset *shop;
    struct io *io;
    struct rng rng;
    struct shop_event events[EVENTS_MAX];
    uint32_t event_count;
    uint64_t seed;
    uint32_t compared;
    bool has_setting;
};

static void open_store(struct life *life)
{
    struct err err = {0};
    struct store_opts opts;
    struct recovery_report report;
    store_opts_default(&opts);
    opts.io_kind = IO_POSIX;
    opts.block_cache_bytes = 16u << 20;
    opts.compact_in_background = false;
    opts.wall_ms = test_clock;
    assert_ok(store_open(life->dir, &opts, &life->store, &report, &err));
    assert_int_equal(report.refused, 0);
    assert_ok(store_dataset(life->store, STR("shop"), true, &life->shop, &err));
    life->shop->limits.block_rows = 16; /* so that a few hundred rows make several segments */
}

/* An event of each name with each property, of now: both data sets know the same names. */
static void put_known(struct life *life)
{
    struct err err = {0};
    struct shop_event *known = life->events + life->event_count;
    for (uint32_t i = 0; i < 5; i++) {
        known[i] = (struct shop_event){.number = life->event_count + i,
                                       .time_ms = clock_ms - i,
                                       .user = 3 + i,
                                       .name = i,
                                       .channel = 1,
                                       .cents = 100};
    }
    assert_ok(shop_put(life->shop, known, 5, clock_ms, life->io, &err));
    life->event_count += 5;
}

static void put_some(struct life *life)
{
    struct err err = {0};
    uint32_t count = 1 + (uint32_t)rng_below(&life->rng, 200);
    int64_t begin_ms = clock_ms - SPAN_DAYS * SHOP_DAY_MS;
    if (life->event_count + count + KNOWN_MAX > EVENTS_MAX) {
        return;
    }
    if (life->has_setting) {
        begin_ms = MAX_OF(begin_ms, dataset_expired_before(life->shop));
    }
    if (rng_below(&life->rng, 2) == 0) { /* segments of few days, too */
        begin_ms = MAX_OF(begin_ms, clock_ms - 3 * SHOP_DAY_MS);
    }
    struct shop_event *events = life->events + life->event_count;
    shop_random(&life->rng, life->event_count, count, begin_ms, clock_ms, events);
    assert_ok(shop_put(life->shop, events, count, clock_ms, life->io, &err));
    life->event_count += count;
}

static void set_expiry(struct life *life, uint64_t days)
{
    struct err err = {0};
    const struct settings_change change = {.has_expire_after = true,
                                           .to = {.expire_after_ms = days * SETTINGS_DAY_MS}};
    assert_ok(dataset_configure(life->shop, &change, &err));
    life->has_setting = true;
}

static void upkeep(struct life *life)
{
    struct err err = {0};
    bool did = false;
    switch (rng_below(&life->rng, 7)) {
    case 0:
    case 1: assert_ok(dataset_flush(life->shop, &err)); break;
    case 2: assert_ok(dataset_compact(life->shop, NULL, &err)); break;
    case 3: expiry_if_due(life->shop, life->io); break;
    case 4: assert_ok(expiry_step(life->shop, false, life->io, &did, &err)); break;
    case 5: compaction_if_due(life->shop, life->io); break;
    default:
        if (rng_below(&life->rng, 2) == 0) {
            store_abandon(life->store);
        } else {
            assert_ok(store_close(life->store, &err));
        }
        open_store(life);
        break;
    }
    assert_string_equal(dataset_stats(life->shop).last_error, "");
}

static struct dataset *never_put(struct life *life, int64_t expired_before_ms)
{
    struct err err = {0};
    struct dataset *dataset = NULL;
    struct shop_event kept[100];
    char name[32];
    snprintf(name, sizeof(name), "want-%u", life->compared);
    assert_ok(store_dataset(life->store, str_of(name), true, &dataset, &err));
    uint32_t count = 0;
    for (uint32_t i = 0; i <= life->event_count; i++) {
        if (count == COUNT_OF(kept) || (i == life->event_count && count > 0)) {
            assert_ok(shop_put(dataset, kept, count, clock_ms, life->io, &err));
            count = 0;
        }
        if (i < life->event_count && life->events[i].time_ms >= expired_before_ms) {
            kept[count++] = life->events[i];
        }
    }
    return dataset;
}

/* Who is new is known of expired events, too, where no filter asks for their properties. */
static bool asks_first_ever(const char *question)
{
    bool has_filter = strchr(question, '[') != NULL && strstr(question, " unfiltered") == NULL;
    bool is_retention =
        strstr(question, "retention ") != NULL || strncmp(question, "ltv ", 4) == 0;
    bool has_start =
        strstr(question, " recurring") != NULL ||
        (strstr(question, " first ") != NULL && strstr(question, " first_ever") == NULL);
    return (is_retention && !has_start && !has_filter) || strstr(question, "lifecycle ") != NULL ||
           strstr(question, "funnel first ") != NULL || strstr(question, "-> first ") != NULL ||
           strstr(question, "first(") != NULL;
}

static void compare(struct life *life)
{
    struct err err = {0};
    CLEANUP(buf_freep) struct buf want = {0};
    CLEANUP(buf_freep) struct buf got = {0};
    CLEANUP(snapshot_unpinp) struct snapshot *has = NULL;
    CLEANUP(snapshot_unpinp) struct snapshot *never = NULL;
    put_known(life);
    struct dataset *other = never_put(life, dataset_expired_before(life->shop));
    assert_ok(dataset_snapshot(life->shop, &has, &err));
    assert_ok(dataset_snapshot(other, &never, &err));
    for (uint32_t q = 0; q < shop_question_count(); q++) {
        char question[512];
        char from[16];
        char to[16];
        int64_t from_ms = clock_ms - (int64_t)rng_below(&life->rng, SPAN_DAYS + 5) * SHOP_DAY_MS;
        shop_date(from_ms, from);
        shop_date(from_ms + (int64_t)(1 + rng_below(&life->rng, 30)) * SHOP_DAY_MS, to);
        shop_question(q, from, to, question);
        if (asks_first_ever(question)) {
            continue;
        }
        const char *wanted = shop_ask(never, question, clock_ms, false, NULL, life->io, &want);
        if (strncmp(wanted, "error", 5) == 0) {
            fail_msg("%s: %s", question, wanted);
        }
        for (uint32_t path = 0; path < 2; path++) {
            const char *found = shop_ask(has, question, clock_ms, path == 1, NULL, life->io, &got);
            if (strcmp(wanted, found) != 0) {
                fail_msg("seed %" PRIu64
                         ", comparison %u, %s path: %s\n  without them %s\n  with them %s",
                         life->seed, life->compared, path == 1 ? "reference" : "index", question,
                         wanted, found);
            }
        }
    }
    life->compared++;
}

static void a_question_never_sees_an_expired_event(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    uint64_t expired = 0, dropped = 0;
    struct life *life = malloc(sizeof(*life));
    for (uint64_t trial = 0; trial < 20; trial++) {
        struct err err = {0};
        *life = (struct life){.seed = seed + trial, .rng = rng_init(seed + trial)};
        clock_ms =
            (19000 + (int64_t)trial) * SHOP_DAY_MS + (int64_t)rng_below(&life->rng, 86400000);
        snprintf(life->dir, sizeof(life->dir), "/dev/shm/trackway-expiry-XXXXXX");
        if (mkdtemp(life->dir) == NULL) { /* memory, for nothing is synced anyway */
            live_dir_make(life->dir);
        }
        assert_ok(io_create(IO_POSIX, &life->io, &err));
        open_store(life);
        uint64_t days = 35;
        for (uint32_t step = 0; step < 24; step++) {
            put_some(life);
            if (rng_below(&life->rng, 3) > 0) {
                upkeep(life);
            }
            if (rng_below(&life->rng, 6) == 0) {
                days = 1 + rng_below(&life->rng, days);
                set_expiry(life, days);
            }
            if (rng_below(&life->rng, 4) == 0) {
                clock_ms += (int64_t)rng_below(&life->rng, 4) * SHOP_DAY_MS / 2;
            }
            if (rng_below(&life->rng, 8) == 0 || step == 23) {
                compare(life);
            }
        }
        struct dataset_stats stats = dataset_stats(life->shop);
        expired += stats.expired_rows;
        dropped += stats.expired_segments;
        store_abandon(life->store);
        io_free(life->io);
        live_dir_remove(life->dir);
    }
    free(life);
    assert_true(expired > 0); /* or nothing was tried */
    print_message("%" PRIu64 " rows had left the disk, %" PRIu64 " segments as wholes\n", expired,
                  dropped);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_question_never_sees_an_expired_event),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
