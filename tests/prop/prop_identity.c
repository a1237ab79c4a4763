/* tests/prop/prop_identity.c - bound ids and merged users in answers.
 *
 * Goal: whatever is asked, a data set whose events came under anonymous ids, user ids, or both, answers as one whose events
 * came under who they belong to from the start. Method: random events of few users and devices, with ties in time, put in
 * batches in an order of its own; users are merged, user ids declared to be nobody's, and that is undone; between two of these the data set is flushed,
 * compacted, closed or dropped as by a crash and opened again. Every now and then the reference says whose each event is, these go to a fresh
 * data set, and questions of all kinds must have the same bytes, with and without indexes. With `identity event_time` the
 * reference replays the commits: each event is whose it is by the events and acts until the commit that it came with, as of
 * now or of an epoch; and who was active on a day never gets fewer by what comes later. In some lives people are erased. And threads that ask while ids are
 * being bound, flushed and merged see each commit as a whole. */
#include "tests/support/claims.h"

#include "storage/base/size.h"
#include "storage/identity.h"
#include "tests/support/live_events.h"
#include "tests/support/ref_identity.h"
#include "tests/support/shop.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define TRIALS     30u
#define EVENTS_MAX 160
#define STEPS      24u
#define BEGIN_MS   INT64_C(1747008000000) /* 2025-05-12 */
#define NOW_MS     (BEGIN_MS + 6 * SHOP_DAY_MS)

static const char *const users[REF_IDENTITY_USERS] = {"a", "b", "c", "d", "e", "f"};
static const char *const devices[REF_IDENTITY_DEVICES] = {"a", "phone", "tablet", "tv", "web", "x"};
static const char *const names[] = {"view", "add", "pay"};

static const char *const questions[] = {
    "trend count(any), users(any)",
    "trend users(any) each day",
    "trend users(view) as v, users((add | pay)) as p each hour",
    "trend users(any), sum(amount of pay) as money each day by channel",
    "trend rolling 2d users(any) as r each day",
    "trend unique(channel of any) as c, last(amount of any) as l by channel",
    "distinct user of any each day",
    "funnel view -> add -> pay within 1d list users",
    "funnel view -> add within 2d by channel",
    "funnel view -> pay within 3d count totals",
    "retention view -> any each day for 4",
    "retention any -> pay recurring each day for 3",
    "retention view[amount > 50] -> any first_ever unfiltered each day for 4",
    "lifecycle of any each day from 2025-05-12 to 2025-05-18",
    "stickiness of any each day over week from 2025-05-12 to 2025-05-19",
    "sessions count, bounce_rate each day idle 30m",
    "paths starting at view depth 3 top 20",
    "attribution of pay by channel model last_touch lookback 2d",
    "segment did(view) and not did(pay) list users",
    "segment count(any) >= 2 list users",
    "timeline \"a\"",
    "timeline \"b\"",
    "timeline \"tablet\"",
    "events any columns (event_id, event_name, amount)",
    "churn 2d of any last 4d",
    "users of (step = 1) in funnel view -> add within 1d",
    "why \"a\" in funnel view -> add -> pay within 1d",
    "why \"b\" in retention view -> any each day for 2",
    "why \"a\" in segment count(view) >= 2 and did(pay)",
    "lifecycle of any each day by channel from 2025-05-12 to 2025-05-18",
};

/* What the acts have made of users. */
struct acts {
    int merged_into[REF_IDENTITY_USERS];
    int nobody; /* -1: every user id is somebody's */
};
/* After a commit. */
struct era {
    int64_t epoch_ms;
    int count; /* of events */
    struct acts acts;
};

struct put {
    struct ref_identity_event who;
    int era; /* that it came with */
    uint32_t number;
    int name, channel;
    int64_t cents;
};

struct bench {
    char dir[64];
    struct store_opts opts;
    struct store *store, *plain;
    struct dataset *dataset;
    struct io *io;
    uint64_t seed;
    struct put events[EVENTS_MAX];
    int count;
    struct acts acts;
    struct era eras[STEPS + 2];
    int era_count;
    bool erases; /* people, and then each device is one user's: logins go with who is erased */
    bool is_erased[REF_IDENTITY_USERS];
    char *days; /* the last answer to who was active when, by arrival */
    uint32_t plain_count;
};

static void open_store(struct bench *b)
{
    struct err err = {0};
    struct recovery_report report;
    assert_ok(store_open(b->dir, &b->opts, &b->store, &report, &err));
    assert_ok(store_dataset(b->store, STR("shop"), true, &b->dataset, &err));
}

/* ---- events ---- */

static struct put random_event(struct rng *rng, uint32_t number)
{
    static const int64_t grains[] = {1, 600000, 3600000, SHOP_DAY_MS};
    int64_t grain = grains[rng_below(rng, COUNT_OF(grains))];
    struct put put = {
        .who = {.time_ms = BEGIN_MS + (int64_t)rng_below(rng, 4 * SHOP_DAY_MS) / grain * grain,
                .user = (int)rng_below(rng, REF_IDENTITY_USERS),
                .device = (int)rng_below(rng, REF_IDENTITY_DEVICES)},
        .number = number,
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
    return put;
}

static void add_prop(struct batch_builder *builder, const char *name, struct prop prop)
{
    struct err err = {0};
    assert_ok(batch_name(builder, str_of(name), &prop.name_idx, &err));
    assert_ok(batch_prop(builder, &prop, &err));
}

static void add_event(struct batch_builder *builder, const struct put *put, const char *user,
                      const char *device)
{
    static const char *const channels[] = {"ads", "mail"};
    struct err err = {0};
    struct event *event = NULL;
    char id[32];
    assert_ok(batch_event(builder, &event, &err));
    snprintf(id, sizeof(id), "e%" PRIu32, put->number);
    assert_ok(arena_str(builder->batch->arena, str_of(id), &event->event_id, &err));
    event->name = str_of(names[put->name]);
    event->user_id = str_of(user);
    event->anonymous_id = str_of(device);
    event->time_ms = put->who.time_ms;
    if (put->channel < 2) {
        add_prop(builder, "channel",
                 (struct prop){.type = COL_STRING, .string = str_of(channels[put->channel])});
    }
    add_prop(builder, "amount",
             (struct prop){.type = COL_NUMBER, .number = num_decimal(put->cents, 2)});
    uint32_t first = 0;
    uint32_t second = 0;
    assert_ok(batch_list_item(builder, str_of(names[put->name]), &first, &err));
    assert_ok(batch_list_item(builder, STR("all"), &second, &err));
    add_prop(builder, "tags", (struct prop){.type = COL_LIST, .list = {first, 2}});
    add_prop(builder, "is_big", (struct prop){.type = COL_BOOL, .boolean = put->cents > 5000});
}

static void put_batch(struct bench *b, struct rng *rng)
{
    struct err err = {0};
    struct batch_builder builder;
    int count = 1 + (int)rng_below(rng, 12);
    assert_ok(batch_begin(NULL, NOW_MS, &builder, &err));
    for (int i = 0; i < count && b->count < EVENTS_MAX; i++) {
        struct put *put = &b->events[b->count];
        *put = random_event(rng, (uint32_t)b->count++);
        put->era = b->era_count;
        if (b->erases && put->who.user >= 0 && put->who.device >= 0) {
            put->who.device = put->who.user;
        }
        add_event(&builder, put, put->who.user < 0 ? "" : users[put->who.user],
                  put->who.device < 0 ? "" : devices[put->who.device]);
    }
    assert_ok(live_ingest_batch(b->dataset, builder.batch, b->io, &err));
}

/* ---- acts ---- */

static int root_of(const struct bench *b, int user)
{
    return b->acts.merged_into[user] < 0 ? user : root_of(b, b->acts.merged_into[user]);
}

static bool is_known(const struct bench *b, int user)
{
    bool is_there = false;
    for (int i = 0; i < b->count; i++) {
        is_there = is_there || b->events[i].who.user == user;
    }
    return is_there;
}

static void merge_some(struct bench *b, struct rng *rng)
{
    struct err err = {0};
    int from = (int)rng_below(rng, REF_IDENTITY_USERS);
    int into = (int)rng_below(rng, REF_IDENTITY_USERS);
    enum err_code code =
        dataset_merge_user(b->dataset, str_of(users[from]), str_of(users[into]), &err);
    if (!is_known(b, from) || !is_known(b, into)) {
        assert_int_equal(code, ERR_NOT_FOUND);
    } else if (b->acts.merged_into[from] >= 0 || root_of(b, into) == from ||
               from == b->acts.nobody || into == b->acts.nobody) {
        assert_int_equal(code, ERR_INVALID);
    } else {
        assert_ok(code);
        b->acts.merged_into[from] = into;
    }
}

static void unmerge_some(struct bench *b, struct rng *rng)
{
    struct err err = {0};
    int user = (int)rng_below(rng, REF_IDENTITY_USERS);
    enum err_code code = dataset_unmerge_user(b->dataset, str_of(users[user]), &err);
    assert_int_equal(code, b->acts.merged_into[user] >= 0 ? ERR_OK
                           : is_known(b, user)            ? ERR_INVALID
                                                          : ERR_NOT_FOUND);
    b->acts.merged_into[user] = -1;
}

/* One at a time; others may be merged into one who becomes nobody: they stay what they are, and so does their user. */
static void declare_some(struct bench *b, struct rng *rng)
{
    struct err err = {0};
    int user = (int)rng_below(rng, REF_IDENTITY_USERS);
    if (b->acts.nobody >= 0) {
        assert_ok(dataset_declare_nobody(b->dataset, str_of(users[b->acts.nobody]), false, &err));
        b->acts.nobody = -1;
        return;
    }
    for (int u = 0; u < REF_IDENTITY_USERS; u++) {
        if (b->acts.merged_into[u] == user) {
            return;
        }
    }
    enum err_code code = dataset_declare_nobody(b->dataset, str_of(users[user]), true, &err);
    assert_int_equal(code, !is_known(b, user)               ? ERR_NOT_FOUND
                           : b->acts.merged_into[user] >= 0 ? ERR_INVALID
                                                            : ERR_OK);
    b->acts.nobody = code == ERR_OK ? user : -1;
}

static void erase_some(struct bench *b, struct rng *rng)
{
    struct err err = {0};
    int user = (int)rng_below(rng, REF_IDENTITY_USERS);
    uint32_t shard = 0;
    uint32_t subject = 0;
    if (b->erases && dataset_find_stored(b->dataset, str_of(users[user]), &shard, &subject)) {
        assert_ok(dataset_delete_subject(b->dataset, shard, subject, &err));
        b->is_erased[user] = true;
        free(TAKE(b->days)); /* there are fewer now */
    }
}

static void note_era(struct bench *b)
{
    struct err err = {0};
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    assert_ok(dataset_snapshot(b->dataset, &snapshot, &err));
    b->eras[b->era_count++] =
        (struct era){.epoch_ms = snapshot->commit_ms, .count = b->count, .acts = b->acts};
}

static void step(struct bench *b, struct rng *rng)
{
    struct err err = {0};
    switch (rng_below(rng, 14)) {
    case 0: assert_ok(dataset_flush(b->dataset, &err)); break;
    case 1: assert_ok(dataset_compact(b->dataset, NULL, &err)); break;
    case 2:
        store_abandon(TAKE(b->store));
        open_store(b);
        break;
    case 3:
        assert_ok(store_close(TAKE(b->store), &err));
        open_store(b);
        break;
    case 4: merge_some(b, rng); break;
    case 5: unmerge_some(b, rng); break;
    case 6: declare_some(b, rng); break;
    case 7: erase_some(b, rng); break;
    default: put_batch(b, rng); break;
    }
}

/* ---- comparing ---- */

/* What is asked of: the events until an era, whose they are by now, or by the commit that they came with. */
struct look {
    const struct era *until;
    bool is_by_arrival;
};

/* False: the event is nobody's. */
static bool owner_of(const struct bench *b, const struct put *put, struct look look,
                     struct ref_identity_owner *ret)
{
    const struct era *era = look.is_by_arrival ? &b->eras[put->era] : look.until;
    struct ref_identity_event all[EVENTS_MAX];
    struct ref_identity_event own = put->who;
    for (int i = 0; i < era->count; i++) {
        all[i] = b->events[i].who;
        all[i].user = all[i].user == era->acts.nobody ? -1 : all[i].user;
    }
    own.user = own.user == era->acts.nobody ? -1 : own.user;
    if (own.user < 0 && own.device < 0) {
        return false;
    }
    *ret = ref_identity_owner(all, era->count, era->acts.merged_into, &own);
    return !(ret->is_user && b->is_erased[ret->id]) &&
           !(put->who.user >= 0 && b->is_erased[put->who.user]);
}

/* A data set of the same events, under whom they belong to; NULL: there are none. */
static struct dataset *plain_dataset(struct bench *b, struct look look)
{
    struct err err = {0};
    struct batch_builder builder;
    struct dataset *plain = NULL;
    char name[32];
    int count = 0;
    snprintf(name, sizeof(name), "plain-%" PRIu32, b->plain_count++);
    assert_ok(store_dataset(b->plain, str_of(name), true, &plain, &err));
    assert_ok(batch_begin(NULL, NOW_MS, &builder, &err));
    for (int i = 0; i < look.until->count; i++) {
        struct ref_identity_owner owner;
        if (!owner_of(b, &b->events[i], look, &owner)) {
            continue;
        }
        add_event(&builder, &b->events[i], owner.is_user ? users[owner.id] : "",
                  owner.is_user ? "" : devices[owner.id]);
        count++;
    }
    builder.batch->bytes = 1000;
    if (count > 0) {
        assert_ok(dataset_ingest(plain, builder.batch, b->io, &err));
    }
    event_batch_free(builder.batch);
    return count > 0 ? plain : NULL;
}

/* Whether some event is this user's own, or the device's. */
static bool has_own(const struct bench *b, struct look look, bool is_user, int id)
{
    bool has = false;
    for (int i = 0; i < look.until->count; i++) {
        struct ref_identity_owner owner;
        has = has || (owner_of(b, &b->events[i], look, &owner) && owner.is_user == is_user &&
                      owner.id == id);
    }
    return has;
}

/* In the plain data set nobody has an id that no event is under: by such one the other data set alone can be asked. */
static bool names_gone_id(const char *question, const struct bench *b, struct look look)
{
    bool is_asked =
        strncmp(question, "timeline \"", 10) == 0 || strncmp(question, "why \"", 5) == 0;
    if (!is_asked) {
        return false;
    }
    const char *id = strchr(question, '"') + 1;
    for (int u = 0; u < REF_IDENTITY_USERS; u++) {
        if (strncmp(id, users[u], strlen(users[u])) == 0 && id[strlen(users[u])] == '"') {
            return !has_own(b, look, true, u);
        }
    }
    for (int d = 0; d < REF_IDENTITY_DEVICES; d++) {
        if (strncmp(id, devices[d], strlen(devices[d])) == 0 && id[strlen(devices[d])] == '"') {
            return !has_own(b, look, false, d);
        }
    }
    return true;
}

static void compare_with(struct bench *b, struct rng *rng, struct look look)
{
    struct err err = {0};
    CLEANUP(buf_freep) struct buf got = {0};
    CLEANUP(buf_freep) struct buf want = {0};
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    CLEANUP(snapshot_unpinp) struct snapshot *plain = NULL;
    bool is_past = look.until != &b->eras[b->era_count - 1];
    int64_t now_ms = is_past ? look.until->epoch_ms : NOW_MS;
    struct dataset *plain_data = plain_dataset(b, look);
    if (plain_data == NULL) {
        return;
    }
    assert_ok(dataset_snapshot(plain_data, &plain, &err));
    assert_ok(dataset_snapshot(b->dataset, &snapshot, &err));
    for (uint32_t i = 0; i < COUNT_OF(questions); i++) {
        bool is_reference = rng_below(rng, 3) == 0;
        char text[400];
        char epoch[40] = "";
        if (names_gone_id(questions[i], b, look) || (is_past && rng_below(rng, 2) == 0)) {
            continue;
        }
        if (is_past) {
            snprintf(epoch, sizeof(epoch), " as of %" PRId64, look.until->epoch_ms);
        }
        snprintf(text, sizeof(text), "%s%s%s", questions[i], epoch,
                 look.is_by_arrival ? " identity event_time" : "");
        const char *wanted = shop_ask(plain, questions[i], now_ms, false, NULL, b->io, &want);
        if (strncmp(wanted, "error", 5) == 0 && strstr(wanted, "NOT_FOUND") == NULL) {
            fail_msg("%s: %s", questions[i], wanted);
        }
        const char *found = shop_ask(snapshot, text, now_ms, is_reference, NULL, b->io, &got);
        if (strcmp(wanted, found) != 0) {
            fail_msg("seed %" PRIu64
                     ", %d events: %s (%s path)\n  wanted %.1500s\n  found  %.1500s",
                     b->seed, b->count, text, is_reference ? "reference" : "index", wanted, found);
        }
    }
}

/* Who was active on a day, by whom events belonged to when they came: more may come, nobody goes. */
static void compare_days(struct bench *b)
{
    CLEANUP(buf_freep) struct buf out = {0};
    const char *days = shop_rows(
        b->dataset, "trend users(any) each day from 2025-05-12 to 2025-05-17 identity event_time",
        NOW_MS, b->io, &out);
    const char *was = b->days;
    for (const char *at = days; was != NULL && *at != '\0'; at++) {
        uint64_t before = 0;
        uint64_t now = 0;
        /* rows of ["2025-05-12",3] */
        if (sscanf(at, "\",%" SCNu64 "]", &now) == 1) {
            was = strstr(was, "\",");
            assert_non_null(was);
            assert_int_equal(sscanf(was, "\",%" SCNu64 "]", &before), 1);
            was++;
            if (now < before) {
                fail_msg("seed %" PRIu64 ": a day lost people: %s, and then %s", b->seed, b->days,
                         days);
            }
        }
    }
    free(b->days);
    b->days = strdup(days);
}

static void compare(struct bench *b, struct rng *rng)
{
    const struct era *now = &b->eras[b->era_count - 1];
    const struct era *then = &b->eras[rng_below(rng, (uint64_t)b->era_count)];
    compare_with(b, rng, (struct look){now, false});
    compare_with(b, rng, (struct look){now, true});
    compare_with(b, rng, (struct look){then, true});
}

static void answers_are_as_if_ids_had_been_known_from_the_start(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    for (uint64_t trial = 0; trial < TRIALS; trial++) {
        struct err err = {0};
        struct recovery_report report;
        struct bench *b = calloc(1, sizeof(*b));
        struct rng rng = rng_init(seed + trial);
        char plain_dir[64];
        b->seed = seed + trial;
        memset(b->acts.merged_into, 0xff, sizeof(b->acts.merged_into));
        b->erases = trial % 3 == 2;
        b->acts.nobody = -1;
        live_dir_make(b->dir);
        live_dir_make(plain_dir);
        store_opts_default(&b->opts);
        b->opts.io_kind = IO_POSIX;
        b->opts.block_cache_bytes = 16u << 20;
        b->opts.compact_in_background = false;
        assert_ok(io_create(IO_POSIX, &b->io, &err));
        assert_ok(store_open(plain_dir, &b->opts, &b->plain, &report, &err));
        open_store(b);
        for (uint32_t i = 0; i < STEPS; i++) {
            step(b, &rng);
            note_era(b);
            compare_days(b);
            if (rng_below(&rng, 4) == 0) {
                compare(b, &rng);
            }
        }
        compare(b, &rng);
        store_abandon(b->store);
        store_abandon(b->plain);
        io_free(b->io);
        live_dir_remove(b->dir);
        live_dir_remove(plain_dir);
        free(b->days);
        free(b);
    }
}

/* ---- where nothing was ever said of who is who ---- */

#define PLAIN_EVENTS 300u

static void without_facts_answers_by_arrival_are_those_of_now(void **state)
{
    (void)state;
    struct err err = {0};
    CLEANUP(buf_freep) struct buf now = {0};
    CLEANUP(buf_freep) struct buf then = {0};
    struct bench *b = calloc(1, sizeof(*b));
    struct shop_event *events = calloc(PLAIN_EVENTS, sizeof(*events));
    struct snapshot *snapshot = NULL;
    struct rng rng = rng_init(test_seed());
    live_dir_make(b->dir);
    store_opts_default(&b->opts);
    b->opts.io_kind = IO_POSIX;
    b->opts.block_cache_bytes = 16u << 20;
    b->opts.compact_in_background = false;
    assert_ok(io_create(IO_POSIX, &b->io, &err));
    open_store(b);
    shop_random(&rng, 0, PLAIN_EVENTS, BEGIN_MS, NOW_MS, events);
    assert_ok(shop_put(b->dataset, events, PLAIN_EVENTS / 2, NOW_MS, b->io, &err));
    assert_ok(dataset_flush(b->dataset, &err));
    assert_ok(
        shop_put(b->dataset, events + PLAIN_EVENTS / 2, PLAIN_EVENTS / 2, NOW_MS, b->io, &err));
    assert_ok(dataset_snapshot(b->dataset, &snapshot, &err));
    for (uint32_t i = 0; i < shop_question_count(); i++) {
        char question[512];
        char text[600];
        snprintf(text, sizeof(text), "%s identity event_time",
                 shop_question(i, "2025-05-12", "2025-05-18", question));
        assert_string_equal(shop_ask(snapshot, text, NOW_MS, false, NULL, b->io, &then),
                            shop_ask(snapshot, question, NOW_MS, false, NULL, b->io, &now));
    }
    snapshot_unpin(snapshot);
    store_abandon(b->store);
    io_free(b->io);
    live_dir_remove(b->dir);
    free(events);
    free(b);
}

/* ---- while ids are being bound ---- */

#define LOGINS 240u

struct asking {
    struct dataset *dataset;
    _Atomic bool is_over;
    _Atomic uint64_t asked;
    _Atomic uint64_t wrong; /* events * 1000000 + people of an answer that cannot be; 0: none */
};

/* After k commits there are 4 k events, of k users and of the device that the next one logs in on. */
static void *ask_on(void *arg)
{
    struct asking *asking = arg;
    struct err err = {0};
    CLEANUP(buf_freep) struct buf got = {0};
    struct io *io = NULL;
    if (io_create(IO_POSIX, &io, &err) != ERR_OK) {
        abort();
    }
    while (!atomic_load(&asking->is_over)) {
        struct snapshot *snapshot = NULL;
        if (dataset_snapshot(asking->dataset, &snapshot, &err) != ERR_OK) {
            abort();
        }
        const char *answer = shop_ask(snapshot, "trend count(any) as c, users(any) as n", NOW_MS,
                                      false, NULL, io, &got);
        const char *rows = strstr(answer, "\"rows\":[[");
        uint64_t events = 0;
        uint64_t people = 0;
        if (rows == NULL ||
            (sscanf(rows, "\"rows\":[[%" SCNu64 ",%" SCNu64 "]]", &events, &people) == 2 &&
             events > 0 && events != 4 * (people - 1))) {
            atomic_store(&asking->wrong, events * 1000000 + people);
        }
        snapshot_unpin(snapshot);
        atomic_fetch_add(&asking->asked, 1);
    }
    io_free(io);
    return NULL;
}

static void put_login(struct bench *b, uint32_t k)
{
    struct err err = {0};
    struct batch_builder builder;
    char user[32];
    char device[32];
    char next[32];
    snprintf(user, sizeof(user), "user-%" PRIu32, k);
    snprintf(device, sizeof(device), "device-%" PRIu32, k);
    snprintf(next, sizeof(next), "device-%" PRIu32, k + 1);
    assert_ok(batch_begin(NULL, NOW_MS, &builder, &err));
    for (uint32_t i = 0; i < 4; i++) {
        struct put put = {.who = {.time_ms = BEGIN_MS + k}, .number = k * 4 + i, .channel = 2};
        add_event(&builder, &put, i == 0 ? user : "", i == 0 ? device : next);
    }
    assert_ok(dataset_ingest(b->dataset, builder.batch, b->io, &err));
    event_batch_free(builder.batch);
}

static void questions_see_each_commit_whole_while_ids_are_bound(void **state)
{
    (void)state;
    struct err err = {0};
    struct bench *b = calloc(1, sizeof(*b));
    pthread_t threads[2];
    live_dir_make(b->dir);
    store_opts_default(&b->opts);
    b->opts.io_kind = IO_POSIX;
    b->opts.block_cache_bytes = 16u << 20;
    b->opts.compact_in_background = false;
    assert_ok(io_create(IO_POSIX, &b->io, &err));
    open_store(b);
    struct asking asking = {.dataset = b->dataset};
    for (uint32_t t = 0; t < COUNT_OF(threads); t++) {
        assert_int_equal(pthread_create(&threads[t], NULL, ask_on, &asking), 0);
    }
    for (uint32_t k = 0; k < LOGINS && atomic_load(&asking.wrong) == 0; k++) {
        put_login(b, k);
        if (k % 40 == 39) {
            assert_ok(k % 120 == 119 ? dataset_compact(b->dataset, NULL, &err)
                                     : dataset_flush(b->dataset, &err));
        }
    }
    atomic_store(&asking.is_over, true);
    for (uint32_t t = 0; t < COUNT_OF(threads); t++) {
        assert_int_equal(pthread_join(threads[t], NULL), 0);
    }
    if (atomic_load(&asking.wrong) != 0) {
        fail_msg("%" PRIu64 " events of %" PRIu64 " people", atomic_load(&asking.wrong) / 1000000,
                 atomic_load(&asking.wrong) % 1000000);
    }
    assert_true(atomic_load(&asking.asked) > 0);
    store_abandon(b->store);
    io_free(b->io);
    live_dir_remove(b->dir);
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_as_if_ids_had_been_known_from_the_start),
        cmocka_unit_test(without_facts_answers_by_arrival_are_those_of_now),
        cmocka_unit_test(questions_see_each_commit_whole_while_ids_are_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
