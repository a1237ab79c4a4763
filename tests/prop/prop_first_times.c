/* tests/prop/prop_first_times.c - first events ever, of a data set that expires events, against one that keeps them.
 *
 * Goal: who is new is told as if nothing had ever expired: for ranges that the data reach back to, every question about first
 * events has the bytes of a data set that has all events ever accepted, under whom they belong to, and never expires any.
 * Method: random events of few users and devices, late ones among them, under a clock of the test; borders that move on and
 * back; users merged, unmerged and erased; flushes, merges, expiry, crashes and reopening between. Questions are asked with and
 * without indexes, of now and as of an epoch before, by who is who and by who was who when each event came. And for ranges that reach before the border the answer is the same
 * before and after all upkeep has run: it cannot depend on what the background has done. */
#include "tests/support/claims.h"

#include "storage/base/size.h"
#include "storage/dataset_int.h"
#include "storage/expiry.h"
#include "tests/support/live_events.h"
#include "tests/support/ref_identity.h"
#include "tests/support/shop.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define TRIALS     24u
#define STEPS      60u
#define EVENTS_MAX 400
#define EPOCHS_MAX 16u
#define SPAN_DAYS  6 /* events come up to so many days late */
#define ERASABLE   5 /* a user without devices, whom nobody is merged with */

static const char *const users[REF_IDENTITY_USERS] = {"a", "b", "c", "d", "e", "f"};
static const char *const devices[REF_IDENTITY_DEVICES] = {"a", "phone", "tablet", "tv", "web", "x"};
static const char *const names[] = {"view", "add", "pay"};

/* FROM and TO stand for the range's dates, NEXT for the day behind FROM. */
static const char *const questions[] = {
    "retention view -> any each day for 4 from FROM to TO",
    "retention view -> pay each day for 3 from FROM to TO",
    "retention any -> any each day for 3 from FROM to TO",
    "retention (view | add) -> any unbounded each day for 3 from FROM to TO",
    "retention add -> any rolling bracket (1, 2-3) each day from FROM to TO",
    "retention pay -> pay streak each day for 3 from FROM to TO",
    "retention view -> any each day for 2 by channel from FROM to TO",
    "retention view[amount > 50] -> any first_ever unfiltered each day for 3 from FROM to TO",
    "retention view -> any first_ever unfiltered each day for 3 from FROM to TO",
    "retention view -> any value sum(amount of any) each day for 2 from FROM to TO",
    "ltv add value sum(amount of pay) each day for 3 from FROM to TO",
    "lifecycle of any each day from NEXT to TO",
    "lifecycle of (view | pay) each day from NEXT to TO",
    "funnel first view -> add within 1d from FROM to TO",
    "funnel first matching view -> pay -> add within 2d by channel from FROM to TO",
    "funnel view -> first pay within 2d from FROM to TO",
    "funnel first any -> pay within 1d from FROM to TO list users",
    "funnel first view[amount > 50] -> add within 1d from FROM to TO",
    "funnel first view -> first pay within 3d order any from FROM to TO",
    "segment first(view) list users from FROM to TO",
    "segment first((add | pay) from FROM to TO) or not first(any) list users from FROM to TO",
    "users of (period = 1) in retention view -> any each day for 2 from FROM to TO list users",
    /* What is before the border is no return any more, and no data: asked about upkeep alone. */
    "retention view -> any each week for 2 from FROM to TO",
    "retention view -> any unbounded each week for 2 from FROM to TO",
    "retention view -> any each day for 3",
    "trend users(any) each day",
    "stickiness of any each day",
    "stickiness of view each 2d over month",
    "stickiness dau_mau of any rolling 3d",
    "stickiness dau_mau of any",
    "lifecycle of any each day",
    "funnel first view -> add within 1d",
    "funnel first view -> add within 1d each day",
    "funnel first view -> add within 1d each day trend single",
    "funnel view -> first pay within 2d each day",
    "sessions count each day idle 6h",
};
#define OF_KEPT_EVENTS 14u /* of them, the last */

struct put {
    struct ref_identity_event who;
    uint32_t number;
    int name, channel;
    int64_t cents;
    /* As of its own commit: */
    int batch_end; /* how many events there were */
    int merged_into[REF_IDENTITY_USERS];
};

/* What had been said by an epoch. */
struct epoch {
    int64_t commit_ms;
    int count;
    int merged_into[REF_IDENTITY_USERS];
};

struct life {
    char dir[64], plain_dir[64];
    struct store_opts opts;
    struct store *store, *plain;
    struct dataset *dataset;
    struct io *io;
    struct rng rng;
    uint64_t seed;
    struct put events[EVENTS_MAX];
    int count;
    int merged_into[REF_IDENTITY_USERS];
    bool is_erased, has_expiry;
    struct epoch epochs[EPOCHS_MAX];
    uint32_t epoch_count, plain_count, compared;
};

static int64_t clock_ms;

static int64_t test_clock(void)
{
    return clock_ms;
}

static void open_store(struct life *life)
{
    struct err err = {0};
    struct recovery_report report;
    assert_ok(store_open(life->dir, &life->opts, &life->store, &report, &err));
    assert_int_equal(report.refused, 0);
    assert_ok(store_dataset(life->store, STR("shop"), true, &life->dataset, &err));
    life->dataset->limits.block_rows = 16; /* a few hundred rows make several segments, */
    life->dataset->first_rows_max =
        12; /* and several files of first times, each of its own subjects */
}

/* ---- events ---- */

static struct put random_event(struct life *life, int64_t begin_ms)
{
    static const int64_t grains[] = {1, 600000, 3600000, SHOP_DAY_MS};
    struct rng *rng = &life->rng;
    int64_t grain = grains[rng_below(rng, COUNT_OF(grains))];
    int64_t time_ms = begin_ms + (int64_t)rng_below(rng, (uint64_t)(clock_ms - begin_ms));
    struct put put = {
        .who = {.time_ms = MAX_OF(time_ms / grain * grain, begin_ms),
                .user = (int)rng_below(rng, REF_IDENTITY_USERS),
                .device = (int)rng_below(rng, REF_IDENTITY_DEVICES)},
        .number = (uint32_t)life->count,
        .name = (int)rng_below(rng, COUNT_OF(names)),
        .channel = (int)rng_below(rng, 3),
        .cents = (int64_t)rng_below(rng, 10000),
    };
    switch (rng_below(rng, 8)) {
    case 0: break; /* with both: a login */
    case 1:
    case 2:
    case 3: put.who.device = -1; break;
    default: put.who.user = -1; break;
    }
    if (put.who.user == ERASABLE) {
        put.who.device = -1;
    }
    return put;
}

static void add_event(struct batch_builder *builder, const struct put *put, const char *user,
                      const char *device)
{
    static const char *const channels[] = {"ads", "mail"};
    struct err err = {0};
    struct event *event = NULL;
    struct prop prop = {.type = COL_STRING};
    char id[32];
    assert_ok(batch_event(builder, &event, &err));
    snprintf(id, sizeof(id), "e%" PRIu32, put->number);
    assert_ok(arena_str(builder->batch->arena, str_of(id), &event->event_id, &err));
    event->name = str_of(names[put->name]);
    event->user_id = str_of(user);
    event->anonymous_id = str_of(device);
    event->time_ms = put->who.time_ms;
    if (put->channel < 2) {
        prop.string = str_of(channels[put->channel]);
        assert_ok(batch_name(builder, STR("channel"), &prop.name_idx, &err));
        assert_ok(batch_prop(builder, &prop, &err));
    }
    prop = (struct prop){.type = COL_NUMBER, .number = num_decimal(put->cents, 2)};
    assert_ok(batch_name(builder, STR("amount"), &prop.name_idx, &err));
    assert_ok(batch_prop(builder, &prop, &err));
}

static void put_batch(struct life *life)
{
    struct err err = {0};
    struct batch_builder builder;
    int count = 1 + (int)rng_below(&life->rng, 16);
    int first = life->count;
    int64_t begin_ms = clock_ms - SPAN_DAYS * SHOP_DAY_MS;
    if (life->has_expiry) {
        begin_ms = MAX_OF(begin_ms, dataset_expired_before(life->dataset));
    }
    assert_ok(batch_begin(NULL, clock_ms, &builder, &err));
    for (int i = 0; i < count && life->count < EVENTS_MAX; i++) {
        struct put *put = &life->events[life->count];
        *put = random_event(life, begin_ms);
        life->count++;
        memcpy(put->merged_into, life->merged_into, sizeof(put->merged_into));
        add_event(&builder, put, put->who.user < 0 ? "" : users[put->who.user],
                  put->who.device < 0 ? "" : devices[put->who.device]);
    }
    for (int i = first; i < life->count; i++) {
        life->events[i].batch_end = life->count;
    }
    assert_ok(live_ingest_batch(life->dataset, builder.batch, life->io, &err));
}

/* ---- acts ---- */

static bool is_known(const struct life *life, int user)
{
    bool is_there = false;
    for (int i = 0; i < life->count; i++) {
        is_there = is_there || life->events[i].who.user == user;
    }
    return is_there;
}

static int root_of(const struct life *life, int user)
{
    return life->merged_into[user] < 0 ? user : root_of(life, life->merged_into[user]);
}

static void merge_some(struct life *life)
{
    struct err err = {0};
    int from = (int)rng_below(&life->rng, ERASABLE);
    int into = (int)rng_below(&life->rng, ERASABLE);
    if (life->merged_into[from] >= 0) {
        assert_ok(dataset_unmerge_user(life->dataset, str_of(users[from]), &err));
        life->merged_into[from] = -1;
    } else if (is_known(life, from) && is_known(life, into) && root_of(life, into) != from) {
        assert_ok(
            dataset_merge_user(life->dataset, str_of(users[from]), str_of(users[into]), &err));
        life->merged_into[from] = into;
    }
}

static void erase(struct life *life)
{
    struct err err = {0};
    uint32_t shard = 0;
    uint32_t subject = 0;
    if (dataset_find_stored(life->dataset, str_of(users[ERASABLE]), &shard, &subject)) {
        assert_ok(dataset_delete_subject(life->dataset, shard, subject, &err));
        life->is_erased = true;
    }
}

static void set_expiry(struct life *life)
{
    struct err err = {0};
    uint64_t days = 2 + rng_below(&life->rng, 8);
    const struct settings_change change = {.has_expire_after = true,
                                           .to = {.expire_after_ms = days * SETTINGS_DAY_MS}};
    assert_ok(dataset_configure(life->dataset, &change, &err));
    life->has_expiry = true;
}

static void note_epoch(struct life *life)
{
    int64_t commit_ms = dataset_stats(life->dataset).commit_ms;
    if (life->epoch_count == EPOCHS_MAX || commit_ms == 0) {
        return;
    }
    struct epoch *epoch = &life->epochs[life->epoch_count++];
    *epoch = (struct epoch){.commit_ms = commit_ms, .count = life->count};
    memcpy(epoch->merged_into, life->merged_into, sizeof(epoch->merged_into));
}

static void upkeep(struct life *life)
{
    struct err err = {0};
    bool did = false;
    switch (rng_below(&life->rng, 7)) {
    case 0:
    case 1: assert_ok(dataset_flush(life->dataset, &err)); break;
    case 2: assert_ok(dataset_compact(life->dataset, NULL, &err)); break;
    case 3: expiry_if_due(life->dataset, life->io); break;
    case 4: assert_ok(expiry_step(life->dataset, true, life->io, &did, &err)); break;
    case 5: compaction_if_due(life->dataset, life->io); break;
    default:
        if (rng_below(&life->rng, 2) == 0) {
            store_abandon(life->store);
        } else {
            assert_ok(store_close(life->store, &err));
        }
        open_store(life);
        break;
    }
    assert_string_equal(dataset_stats(life->dataset).last_error, "");
}

/* ---- comparing ---- */

/* All events of then, under whom they belonged to then, or when each of them came; erased is who is erased now. */
static struct dataset *plain_dataset(struct life *life, const struct epoch *then,
                                     bool is_by_arrival)
{
    struct err err = {0};
    struct ref_identity_event all[EVENTS_MAX];
    struct batch_builder builder;
    struct dataset *plain = NULL;
    char name[32];
    snprintf(name, sizeof(name), "plain-%" PRIu32, life->plain_count++);
    assert_ok(store_dataset(life->plain, str_of(name), true, &plain, &err));
    for (int i = 0; i < then->count; i++) {
        all[i] = life->events[i].who;
    }
    assert_ok(batch_begin(NULL, clock_ms, &builder, &err));
    for (int i = 0; i < then->count; i++) {
        const struct put *put = &life->events[i];
        struct ref_identity_owner owner =
            ref_identity_owner(all, is_by_arrival ? put->batch_end : then->count,
                               is_by_arrival ? put->merged_into : then->merged_into, &all[i]);
        if (!owner.is_user || owner.id != ERASABLE || !life->is_erased) {
            add_event(&builder, &life->events[i], owner.is_user ? users[owner.id] : "",
                      owner.is_user ? "" : devices[owner.id]);
        }
    }
    builder.batch->bytes = 1000;
    if (builder.batch->event_count > 0) {
        assert_ok(dataset_ingest(plain, builder.batch, life->io, &err));
    }
    event_batch_free(builder.batch);
    return plain;
}

static void put_dates(const char *pattern, int64_t from_ms, int64_t to_ms, char out[512])
{
    char dates[3][16];
    size_t len = 0;
    shop_date(from_ms, dates[0]);
    shop_date(to_ms, dates[1]);
    shop_date(from_ms + SHOP_DAY_MS, dates[2]);
    while (*pattern != '\0') {
        static const char *const words[] = {"FROM", "TO", "NEXT"};
        uint32_t w = 0;
        while (w < COUNT_OF(words) && strncmp(pattern, words[w], strlen(words[w])) != 0) {
            w++;
        }
        if (w < COUNT_OF(words)) {
            len += (size_t)snprintf(out + len, 512 - len, "%s", dates[w]);
            pattern += strlen(words[w]);
        } else {
            out[len++] = *pattern++;
        }
        assert_true(len < 480);
    }
    out[len] = '\0';
}

static void compare_one(struct life *life, struct snapshot *plain, struct snapshot *snapshot,
                        const char *pattern, const struct epoch *then, bool is_past,
                        bool is_by_arrival)
{
    CLEANUP(buf_freep) struct buf got = {0};
    CLEANUP(buf_freep) struct buf want = {0};
    char question[512];
    int64_t from_ms = snapshot->history_from_ms == INT64_MIN
                          ? clock_ms / SHOP_DAY_MS * SHOP_DAY_MS - 8 * SHOP_DAY_MS
                          : snapshot->history_from_ms;
    from_ms += (int64_t)rng_below(&life->rng, 3) * SHOP_DAY_MS;
    put_dates(pattern, from_ms, from_ms + (int64_t)(2 + rng_below(&life->rng, 6)) * SHOP_DAY_MS,
              question);
    int64_t now_ms = is_past ? then->commit_ms : clock_ms;
    const char *wanted = shop_ask(plain, question, now_ms, false, NULL, life->io, &want);
    if (strncmp(wanted, "error", 5) == 0) {
        fail_msg("%s: %s", question, wanted);
    }
    if (is_past) {
        size_t len = strlen(question);
        snprintf(question + len, sizeof(question) - len, " as of %" PRId64, then->commit_ms);
    }
    if (is_by_arrival) {
        strcat(question, " identity event_time");
    }
    for (uint32_t path = 0; path < 2; path++) {
        const char *found = shop_ask(snapshot, question, clock_ms, path == 1, NULL, life->io, &got);
        if (strcmp(wanted, found) != 0) {
            fail_msg("seed %" PRIu64 ", comparison %" PRIu32
                     ", %s path: %s\n  of all events %.1500s\n  found         %.1500s",
                     life->seed, life->compared, path == 1 ? "reference" : "index", question,
                     wanted, found);
        }
    }
}

static void compare(struct life *life)
{
    struct err err = {0};
    struct epoch then = {.commit_ms = clock_ms, .count = life->count};
    memcpy(then.merged_into, life->merged_into, sizeof(then.merged_into));
    bool is_past = life->epoch_count > 0 && rng_below(&life->rng, 3) == 0;
    if (is_past) {
        then = life->epochs[rng_below(&life->rng, life->epoch_count)];
    }
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    CLEANUP(snapshot_unpinp) struct snapshot *plain = NULL;
    bool is_by_arrival = rng_below(&life->rng, 2) == 0;
    assert_ok(dataset_snapshot(plain_dataset(life, &then, is_by_arrival), &plain, &err));
    assert_ok(dataset_snapshot(life->dataset, &snapshot, &err));
    for (uint32_t q = 0; q < COUNT_OF(questions) - OF_KEPT_EVENTS; q++) {
        compare_one(life, plain, snapshot, questions[q], &then, is_past, is_by_arrival);
    }
    life->compared++;
}

/* Ranges from before the border: the same before and after all of what the background might do, and opening again. */
static void compare_upkeep(struct life *life)
{
    struct err err = {0};
    char asked[COUNT_OF(questions)][512];
    struct buf before[COUNT_OF(questions)] = {{0}};
    CLEANUP(buf_freep) struct buf after = {0};
    int64_t day_ms = clock_ms / SHOP_DAY_MS * SHOP_DAY_MS;
    for (uint32_t pass = 0; pass < 3; pass++) {
        struct snapshot *snapshot = NULL;
        assert_ok(dataset_snapshot(life->dataset, &snapshot, &err));
        for (uint32_t q = 0; q < COUNT_OF(questions); q++) {
            if (pass == 0) {
                int64_t from_ms = day_ms - (int64_t)(1 + rng_below(&life->rng, 20)) * SHOP_DAY_MS;
                put_dates(questions[q], from_ms, from_ms + 9 * SHOP_DAY_MS, asked[q]);
                (void)shop_ask(snapshot, asked[q], clock_ms, false, NULL, life->io, &before[q]);
            }
            const char *found =
                shop_ask(snapshot, asked[q], clock_ms, pass == 0, NULL, life->io, &after);
            if (strcmp((const char *)before[q].ptr, found) != 0) {
                fail_msg("seed %" PRIu64 ", comparison %" PRIu32 ", pass %" PRIu32
                         ": %s\n  before %.1500s\n  then   %.1500s",
                         life->seed, life->compared, pass, asked[q], (const char *)before[q].ptr,
                         found);
            }
        }
        snapshot_unpin(snapshot);
        if (pass == 0) {
            assert_ok(dataset_compact(life->dataset, NULL, &err));
        } else if (pass == 1) {
            assert_ok(store_close(life->store, &err));
            open_store(life);
        }
    }
    for (uint32_t q = 0; q < COUNT_OF(questions); q++) {
        buf_done(&before[q]);
    }
}

/* ---- a life ---- */

static void step(struct life *life)
{
    switch (rng_below(&life->rng, 16)) {
    case 0: merge_some(life); break;
    case 1:
        if (rng_below(&life->rng, 6) == 0) {
            erase(life);
        }
        break;
    case 2:
        if (!life->has_expiry || rng_below(&life->rng, 3) == 0) {
            set_expiry(life);
        }
        break;
    case 3: note_epoch(life); break;
    case 4:
    case 5: clock_ms += (int64_t)rng_below(&life->rng, 4) * SHOP_DAY_MS / 2; break;
    case 6:
    case 7:
    case 8: upkeep(life); break;
    case 9: compare(life); break;
    case 10:
        if (rng_below(&life->rng, 4) == 0) {
            compare_upkeep(life);
        }
        break;
    default: put_batch(life); break;
    }
}

static void one_life(struct life *life, uint64_t *firsts)
{
    struct err err = {0};
    struct recovery_report report;
    struct store_opts plain_opts;
    memset(life->merged_into, 0xff, sizeof(life->merged_into));
    clock_ms = 20000 * SHOP_DAY_MS + (int64_t)rng_below(&life->rng, 86400000);
    store_opts_default(&life->opts);
    life->opts.io_kind = IO_POSIX;
    life->opts.block_cache_bytes = 16u << 20;
    life->opts.compact_in_background = false;
    life->opts.wall_ms = test_clock;
    plain_opts = life->opts;
    live_dir_make(life->dir);
    live_dir_make(life->plain_dir);
    assert_ok(io_create(IO_POSIX, &life->io, &err));
    open_store(life);
    assert_ok(store_open(life->plain_dir, &plain_opts, &life->plain, &report, &err));
    put_batch(life);
    for (uint32_t i = 0; i < STEPS; i++) {
        step(life);
    }
    compare(life);
    compare_upkeep(life);
    compare(life);
    *firsts += dataset_stats(life->dataset).first_times;
    store_abandon(life->store);
    store_abandon(life->plain);
    io_free(life->io);
    live_dir_remove(life->dir);
    live_dir_remove(life->plain_dir);
}

static void who_is_new_is_told_as_if_nothing_had_ever_expired(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    uint64_t firsts = 0;
    struct life *life = malloc(sizeof(*life));
    for (uint64_t trial = 0; trial < TRIALS; trial++) {
        *life = (struct life){.seed = seed + trial, .rng = rng_init(seed + trial)};
        one_life(life, &firsts);
    }
    free(life);
    assert_true(firsts > 0); /* or nothing was tried */
    print_message("%" PRIu64 " first times\n", firsts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_new_is_told_as_if_nothing_had_ever_expired),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
