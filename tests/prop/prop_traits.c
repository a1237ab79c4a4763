/* tests/prop/prop_traits.c - profiles in answers.
 *
 * Goal: a question about `profile.x`, as of now or as of the event, is answered as if each event had carried the value as a
 * property of its own, of whatever verb, way and layout. Method: random events of few users and devices, a third of them
 * identify calls of both kinds, with many equal times, ids in no order, calls of the future and properties of other events with
 * the same names, put in batches in an order of their own; users are merged and unmerged; between two of these the data set
 * is flushed, compacted, closed or dropped as by a crash and opened again. Every now and then the reference says whose each
 * event is and what the profile says at it; a fresh data set gets the same events under whom they belong to, with these
 * values as the properties now_x and then_x, and the same questions about these must have the same bytes: with and without
 * indexes, and from the cache of answers. And numbers of people by what the profile says of them now add up to the number of all. */
#include "tests/support/claims.h"

#include "query/answer_cache.h"
#include "storage/base/size.h"
#include "tests/support/live_events.h"
#include "tests/support/ref_identity.h"
#include "tests/support/ref_traits.h"
#include "tests/support/shop.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define TRIALS     12u
#define EVENTS_MAX 200
#define STEPS      24u
#define BEGIN_MS   INT64_C(1747008000000) /* 2025-05-12 */
#define ARRIVAL_MS (BEGIN_MS + 6 * SHOP_DAY_MS)
#define NOW_MS     (BEGIN_MS + 3 * SHOP_DAY_MS + SHOP_DAY_MS / 4) /* later events are the future's */
#define TEXT_MAX   1024

/* The last two users and the last device are of the first events alone. */
#define BUSY_USERS   (REF_IDENTITY_USERS - 2)
#define BUSY_DEVICES (REF_IDENTITY_DEVICES - 1)
static const char *const users[REF_IDENTITY_USERS] = {"a", "b", "c", "d", "e", "f"};
static const char *const devices[REF_IDENTITY_DEVICES] = {"a", "phone", "tablet", "tv", "web", "x"};

enum { VIEW, ADD, PAY, CALL, SEGMENT_CALL, NAMES };
static const char *const names[NAMES] = {"view", "add", "pay", "$identify", "identify"};
static const char *const keys[REF_TRAITS_KEYS] = {"plan", "level", "mood", "vip", "since"};
#define VALUES 3

/* NOW.x and THEN.x stand for the two forms; `plain` is asked of the other data set where that says it in other words. */
static const struct question {
    const char *text, *plain;
} questions[] = {
    {"trend count(any), users(any) by NOW.plan", NULL},
    {"trend count(any), users(any) each day by THEN.plan", NULL},
    {"trend users(any) as u, count(any) as n by NOW.level, THEN.vip", NULL},
    {"trend count(any) by NOW.since, THEN.plan top 3 with other", NULL},
    {"trend users(view[NOW.plan = \"pro\"]) as n, count(any[THEN.level > 1]) as m each day", NULL},
    {"trend unique(channel of any[THEN.mood = 7]) as c where NOW.mood is set or THEN.plan is not "
     "set",
     NULL},
    {"trend sum(amount of any) as s, users(any) as u by bucket(THEN.level, 0, 2, 10)", NULL},
    {"trend users(any) as u where NOW.plan = \"pro\"", NULL},
    {"trend users(any) as u, users(view) as v each day where not (NOW.plan in (\"free\", "
     "\"team\")) "
     "and channel = \"ads\"",
     NULL},
    {"trend users(any) as u where NOW.mood is not set and THEN.vip != true", NULL},
    {"trend rolling 2d users(any) as r each day by NOW.plan", NULL},
    {"trend count(any) by THEN.plan last 2d compare previous period", NULL},
    {"distinct user of any each day where THEN.plan contains \"R\"", NULL},
    {"distinct channel of any by NOW.since", NULL},
    {"funnel view -> add[NOW.plan = \"pro\"] -> pay within 2d", NULL},
    {"funnel view -> pay within 2d by THEN.plan", NULL},
    {"funnel view[THEN.plan = \"free\"] -> any[THEN.plan = \"pro\"] within 3d by NOW.vip", NULL},
    {"funnel view -> add -> pay within 2d order any by THEN.plan at last set", NULL},
    {"funnel view -> pay within 3d count totals by NOW.plan", NULL},
    {"funnel first view -> pay within 3d list users where THEN.plan is not set", NULL},
    {"funnel view -> pay within 3d per channel by THEN.plan", NULL},
    {"retention view -> any each day for 3 by THEN.plan", NULL},
    {"retention view[NOW.level between 1 and 3] -> any recurring each day for 3", NULL},
    {"retention any -> pay recurring each day for 3 where NOW.plan != \"free\"", NULL},
    {"retention view -> any first each day for 2 per channel by NOW.plan", NULL},
    {"ltv view value sum(amount of pay) each day for 3 by NOW.plan", NULL},
    {"churn 1d of any last 2d where NOW.plan is set", NULL},
    {"churn 1d of any last 2d by NOW.plan top 2", NULL},
    {"churn 1d of view each day last 2d by THEN.plan, NOW.vip", NULL},
    {"conditions any, view, add[THEN.plan = \"pro\"] by THEN.level", NULL},
    {"users of (NOW.plan = \"pro\", condition = 2) in conditions any, pay by NOW.plan list users",
     NULL},
    {"lifecycle of any[THEN.vip = true] each day from 2025-05-12 to 2025-05-18", NULL},
    {"lifecycle of any each day by NOW.plan from 2025-05-12 to 2025-05-18", NULL},
    {"lifecycle of any each day where NOW.vip = true from 2025-05-12 to 2025-05-18", NULL},
    {"stickiness of any each day over week by THEN.plan from 2025-05-12 to 2025-05-19", NULL},
    {"stickiness of any each day over week where NOW.vip = true from 2025-05-12 to 2025-05-19",
     NULL},
    {"stickiness dau_mau of any rolling 28d last 3d where NOW.plan != \"pro\"", NULL},
    {"retention view -> any each day for 3 where NOW.vip = true", NULL},
    {"trend rolling 2d users(any) as r, users(view) as v each day where NOW.plan = \"pro\"", NULL},
    {"conditions view[NOW.plan = \"pro\"], add[THEN.plan = \"pro\"] list users", NULL},
    {"sequence \"(?1).*(?2)\" over any[THEN.plan = \"free\"], any[THEN.plan = \"pro\"]", NULL},
    {"sessions count, users, bounce_rate each day idle 30m by THEN.plan", NULL},
    {"sessions count per channel by NOW.plan where THEN.level < 2000000", NULL},
    {"paths starting at view depth 3 top 20 where NOW.vip = true", NULL},
    {"attribution of pay by THEN.plan model linear lookback 2d", NULL},
    {"absence view -> pay within 12h by NOW.plan", NULL},
    {"intervals view[NOW.plan = \"pro\"] -> pay measure utilisation, users", NULL},
    {"intervals view -> pay by THEN.plan measure utilisation, users, intervals", NULL},
    {"sequence \"(?1).*(?2)\" over view, pay by NOW.plan, THEN.plan each 2d", NULL},
    {"paths depth 3 by THEN.plan", NULL},
    {"events any where THEN.plan = \"pro\" and NOW.plan matches \"^(pro|free)$\" columns "
     "(event_id)",
     NULL},
    {"events any where THEN.since >= 2025-05-01 columns (event_id)", NULL},
    {"segment count(any[THEN.plan = \"pro\"]) >= 2 and did(view) list users", NULL},
    {"segment NOW.plan = \"pro\" list users", "segment did(any[NOW.plan = \"pro\"]) list users"},
    {"segment NOW.level > 1 and not NOW.plan = \"free\" and did(view) list users",
     "segment did(any[NOW.level > 1]) and not did(any[NOW.plan = \"free\"]) and did(view) list "
     "users"},
    {"segment NOW.mood is not set last 2d list users",
     "segment not did(any[NOW.mood is set]) last 2d list users"},
    {"segment NOW.mood = \"ok\" or NOW.mood = 7 or count(pay) > 1 where channel is set list users",
     "segment did(any[NOW.mood = \"ok\" or NOW.mood = 7]) or count(pay) > 1 where channel is set "
     "list users"},
    {"segment reached(funnel view[NOW.vip = true] -> any within 2d, 2) list users", NULL},
};

struct put {
    struct ref_identity_event who;
    char id[16];
    int name, channel;
    int64_t cents;
    int values[REF_TRAITS_KEYS];
    int decoys[REF_TRAITS_KEYS]; /* under names that say nothing of a profile */
};

struct bench {
    char dir[64];
    struct store_opts opts;
    struct store *store, *plain;
    struct dataset *dataset;
    struct answer_cache *answers;
    struct io *io;
    uint64_t seed;
    struct put events[EVENTS_MAX];
    int count;
    int merged_into[REF_IDENTITY_USERS];
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

static void random_values(struct rng *rng, int *values)
{
    for (int k = 0; k < REF_TRAITS_KEYS; k++) {
        values[k] = (int)rng_below(rng, 2 * VALUES) - VALUES;
        values[k] = values[k] < 0 ? -1 : values[k];
    }
}

static struct put random_event(struct rng *rng, int number)
{
    static const int64_t grains[] = {1, 600000, 3600000, SHOP_DAY_MS};
    int64_t grain = grains[rng_below(rng, COUNT_OF(grains))];
    struct put put = {
        .who = {.time_ms = BEGIN_MS + (int64_t)rng_below(rng, 4 * SHOP_DAY_MS) / grain * grain,
                .user = (int)rng_below(rng, BUSY_USERS),
                .device = (int)rng_below(rng, BUSY_DEVICES)},
        .name = (int)rng_below(rng, NAMES),
        .channel = (int)rng_below(rng, 3),
        .cents = (int64_t)rng_below(rng, 10000),
    };
    (void)snprintf(put.id, sizeof(put.id), "%c%d", (char)('a' + rng_below(rng, 26)), number);
    random_values(rng, put.values);
    random_values(rng, put.decoys);
    switch (rng_below(rng, 8)) {
    case 0: break; /* with both: a login */
    case 1:
    case 2:
    case 3: put.who.device = -1; break;
    default: put.who.user = -1; break;
    }
    return put;
}

/* Of somebody whom no other event is of, so that both data sets know all columns of all types. */
static struct put first_event(int number)
{
    static const int of_users[VALUES] = {BUSY_USERS, BUSY_USERS + 1, -1};
    static const int of_devices[VALUES] = {-1, -1, BUSY_DEVICES};
    struct put put = {
        .who = {.time_ms = BEGIN_MS, .user = of_users[number], .device = of_devices[number]},
        .name = CALL};
    (void)snprintf(put.id, sizeof(put.id), "%d", number);
    for (int k = 0; k < REF_TRAITS_KEYS; k++) {
        put.values[k] = number;
        put.decoys[k] = -1;
    }
    return put;
}

static bool is_call(const struct put *put)
{
    return put->name == CALL || put->name == SEGMENT_CALL;
}

static struct prop value_of(int key, int value)
{
    static const char *const plans[VALUES] = {"free", "pro", "team"};
    const struct num levels[VALUES] = {num_int(1), num_decimal(25, 1), num_int(1000000)};
    switch (key) {
    case 0: return (struct prop){.type = COL_STRING, .string = str_of(plans[value])};
    case 1: return (struct prop){.type = COL_NUMBER, .number = levels[value]};
    case 2:
        return value == 0   ? (struct prop){.type = COL_STRING, .string = STR("ok")}
               : value == 1 ? (struct prop){.type = COL_NUMBER, .number = num_int(7)}
                            : (struct prop){.type = COL_BOOL, .boolean = true};
    case 3: return (struct prop){.type = COL_BOOL, .boolean = value == 1};
    default: return (struct prop){.type = COL_TIME, .ts_ms = BEGIN_MS - value * SHOP_DAY_MS * 10};
    }
}

static void add_prop(struct batch_builder *builder, const char *prefix, const char *name,
                     struct prop prop)
{
    struct err err = {0};
    struct str full = {0};
    assert_ok(arena_printf(builder->batch->arena, &full, &err, "%s%s", prefix, name));
    assert_ok(batch_name(builder, full, &prop.name_idx, &err));
    assert_ok(batch_prop(builder, &prop, &err));
}

static void add_values(struct batch_builder *builder, const char *prefix, const int *values)
{
    for (int k = 0; k < REF_TRAITS_KEYS; k++) {
        if (values[k] >= 0) {
            add_prop(builder, prefix, keys[k], value_of(k, values[k]));
        }
    }
}

static void add_event(struct batch_builder *builder, const struct put *put, const char *user,
                      const char *device)
{
    static const char *const channels[] = {"ads", "mail"};
    struct err err = {0};
    struct event *event = NULL;
    assert_ok(batch_event(builder, &event, &err));
    event->event_id = str_of(put->id);
    event->name = str_of(names[put->name]);
    event->user_id = str_of(user);
    event->anonymous_id = str_of(device);
    event->time_ms = put->who.time_ms;
    if (put->channel < 2) {
        add_prop(builder, "", "channel",
                 (struct prop){.type = COL_STRING, .string = str_of(channels[put->channel])});
    }
    add_prop(builder, "", "amount",
             (struct prop){.type = COL_NUMBER, .number = num_decimal(put->cents, 2)});
    bool is_plain = put->name == CALL;
    add_values(builder, is_plain ? "" : "traits.", put->values);
    add_values(builder, is_plain ? "traits." : "", put->decoys);
}

static void put_events(struct bench *b, int first)
{
    struct err err = {0};
    struct batch_builder builder;
    assert_ok(batch_begin(NULL, ARRIVAL_MS, &builder, &err));
    for (int i = first; i < b->count; i++) {
        const struct put *put = &b->events[i];
        add_event(&builder, put, put->who.user < 0 ? "" : users[put->who.user],
                  put->who.device < 0 ? "" : devices[put->who.device]);
    }
    assert_ok(live_ingest_batch(b->dataset, builder.batch, b->io, &err));
}

static void put_batch(struct bench *b, struct rng *rng)
{
    int count = 1 + (int)rng_below(rng, 14);
    int first = b->count;
    for (int i = 0; i < count && b->count < EVENTS_MAX; i++) {
        b->events[b->count] = random_event(rng, b->count);
        b->count++;
    }
    put_events(b, first);
}

/* ---- acts ---- */

static int root_of(const struct bench *b, int user)
{
    return b->merged_into[user] < 0 ? user : root_of(b, b->merged_into[user]);
}

static void merge_some(struct bench *b, struct rng *rng)
{
    struct err err = {0};
    int from = (int)rng_below(rng, BUSY_USERS);
    int into = (int)rng_below(rng, BUSY_USERS);
    bool can = b->merged_into[from] < 0 && root_of(b, into) != from;
    if (can &&
        dataset_merge_user(b->dataset, str_of(users[from]), str_of(users[into]), &err) == ERR_OK) {
        b->merged_into[from] = into;
    }
}

static void unmerge_some(struct bench *b, struct rng *rng)
{
    struct err err = {0};
    int user = (int)rng_below(rng, BUSY_USERS);
    if (b->merged_into[user] >= 0) {
        assert_ok(dataset_unmerge_user(b->dataset, str_of(users[user]), &err));
        b->merged_into[user] = -1;
    }
}

static void step(struct bench *b, struct rng *rng)
{
    struct err err = {0};
    switch (rng_below(rng, 12)) {
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
    default: put_batch(b, rng); break;
    }
}

/* ---- the other data set ---- */

static int owner_number(struct ref_identity_owner owner)
{
    return owner.is_user ? owner.id : REF_IDENTITY_USERS + owner.id;
}

/* The event as it is, and what the profile says at it. */
static void add_told_event(struct batch_builder *builder, const struct put *put,
                           struct ref_identity_owner owner, const struct ref_traits_call *calls,
                           int call_count)
{
    int now[REF_TRAITS_KEYS];
    int then[REF_TRAITS_KEYS];
    int number = owner_number(owner);
    add_event(builder, put, owner.is_user ? users[owner.id] : "",
              owner.is_user ? "" : devices[owner.id]);
    for (int k = 0; k < REF_TRAITS_KEYS; k++) {
        now[k] = ref_traits_value(calls, call_count, number, k, NOW_MS);
        then[k] = ref_traits_value(calls, call_count, number, k, put->who.time_ms);
    }
    add_values(builder, "now_", now);
    add_values(builder, "then_", then);
}

static struct dataset *plain_dataset(struct bench *b)
{
    struct err err = {0};
    struct ref_identity_event all[EVENTS_MAX];
    struct ref_identity_owner owners[EVENTS_MAX];
    struct ref_traits_call calls[EVENTS_MAX];
    struct batch_builder builder;
    struct dataset *plain = NULL;
    char name[32];
    int call_count = 0;
    (void)snprintf(name, sizeof(name), "plain-%" PRIu32, b->plain_count++);
    assert_ok(store_dataset(b->plain, str_of(name), true, &plain, &err));
    for (int i = 0; i < b->count; i++) {
        all[i] = b->events[i].who;
    }
    for (int i = 0; i < b->count; i++) {
        const struct put *put = &b->events[i];
        owners[i] = ref_identity_owner(all, b->count, b->merged_into, &all[i]);
        if (is_call(put)) {
            struct ref_traits_call *call = &calls[call_count++];
            *call = (struct ref_traits_call){
                .owner = owner_number(owners[i]), .time_ms = put->who.time_ms, .id = put->id};
            memcpy(call->values, put->values, sizeof(call->values));
        }
    }
    assert_ok(batch_begin(NULL, ARRIVAL_MS, &builder, &err));
    for (int i = 0; i < b->count; i++) {
        add_told_event(&builder, &b->events[i], owners[i], calls, call_count);
    }
    builder.batch->bytes = 1000;
    assert_ok(dataset_ingest(plain, builder.batch, b->io, &err));
    event_batch_free(builder.batch);
    return plain;
}

/* ---- comparing ---- */

/* `from` with every OLD followed by a key of profiles and BEHIND turned into NEW, the key, and TAIL. */
static void replace(const char *from, const char *old, const char *behind, const char *fresh,
                    const char *tail, char *out, size_t cap)
{
    size_t len = 0;
    while (*from != '\0') {
        size_t key_len = 0;
        bool is_old = strncmp(from, old, strlen(old)) == 0;
        for (int k = 0; is_old && k < REF_TRAITS_KEYS; k++) {
            const char *key = from + strlen(old);
            size_t n = strlen(keys[k]);
            if (strncmp(key, keys[k], n) == 0 && strncmp(key + n, behind, strlen(behind)) == 0) {
                key_len = n;
            }
        }
        if (key_len > 0) {
            len += (size_t)snprintf(out + len, cap - len, "%s%.*s%s", fresh, (int)key_len,
                                    from + strlen(old), tail);
            from += strlen(old) + key_len + strlen(behind);
        } else {
            out[len++] = *from++;
        }
        assert_true(len < cap - 1);
    }
    out[len] = '\0';
}

static void profile_words(const char *text, char out[TEXT_MAX])
{
    char half[TEXT_MAX];
    replace(text, "NOW.", "", "profile.", "", half, sizeof(half));
    replace(half, "THEN.", "", "profile.", " as of event", out, TEXT_MAX);
}

static void plain_words(const char *text, char out[TEXT_MAX])
{
    char half[TEXT_MAX];
    replace(text, "NOW.", "", "now_", "", half, sizeof(half));
    replace(half, "THEN.", "", "then_", "", out, TEXT_MAX);
}

#define ANSWER_MAX (1u << 20)

/* An answer about profiles in the words of the other data set: columns are named by their keys. */
static const char *in_plain_words(const char *answer, char *half, char *out)
{
    replace(answer, "profile.", " as of event", "then_", "", half, ANSWER_MAX);
    replace(half, "profile.", "", "now_", "", out, ANSWER_MAX);
    return out;
}

static const char *ask_kept(struct bench *b, struct snapshot *snapshot, const char *text,
                            struct buf *out)
{
    struct err err = {0};
    CLEANUP(result_freep) struct result *result = NULL;
    const struct query_request request = {
        .text = str_of(text), .now_ms = NOW_MS, .answers = b->answers};
    buf_clear(out);
    assert_ok(query_run(snapshot, NULL, b->io, &request, &result, &err));
    assert_ok(result_write(result, RESULT_JSON, out, &err));
    buf_u8(out, 0);
    char *meta = strstr((char *)out->ptr, "\"meta\":");
    assert_non_null(meta);
    *meta = '\0';
    return (const char *)out->ptr;
}

struct texts {
    char half[ANSWER_MAX], answer[ANSWER_MAX];
};

static void compare_one(struct bench *b, struct rng *rng, const struct question *question,
                        struct snapshot *snapshot, struct snapshot *plain, struct texts *texts)
{
    static const char *const ways[] = {"index", "reference", "kept"};
    CLEANUP(buf_freep) struct buf got = {0};
    CLEANUP(buf_freep) struct buf want = {0};
    char text[TEXT_MAX];
    char plain_text[TEXT_MAX];
    uint64_t way = rng_below(rng, COUNT_OF(ways));
    profile_words(question->text, text);
    plain_words(question->plain == NULL ? question->text : question->plain, plain_text);
    const char *wanted = shop_ask(plain, plain_text, NOW_MS, false, NULL, b->io, &want);
    if (strncmp(wanted, "error", 5) == 0) {
        fail_msg("%s: %s", plain_text, wanted);
    }
    const char *found = way == 2 ? ask_kept(b, snapshot, text, &got)
                                 : shop_ask(snapshot, text, NOW_MS, way == 1, NULL, b->io, &got);
    found = in_plain_words(found, texts->half, texts->answer);
    if (strcmp(wanted, found) != 0) {
        fail_msg("seed %" PRIu64 ", %d events: %s (%s)\n  wanted %.1500s\n  found  %.1500s",
                 b->seed, b->count, text, ways[way], wanted, found);
    }
}

/* ---- adding up ---- */

static const struct {
    const char *text, *columns[4];
} sums[] = {
    {"lifecycle of any each day from 2025-05-12 to 2025-05-18",
     {"new", "returning", "resurrecting", "dormant"}},
    {"stickiness of (view | pay) each day over week from 2025-05-12 to 2025-05-19", {"users"}},
    {"stickiness of any each day cumulative at least 2 from 2025-05-12 to 2025-05-19", {"users"}},
    {"conditions any, view, pay[amount > 20]", {"users"}},
    {"conditions view, pay from 2025-05-12 to 2025-05-14", {"users"}},
    {"churn 1d of any from 2025-05-13 to 2025-05-16", {"base", "churned"}},
    {"churn 1d of any each day from 2025-05-13 to 2025-05-16", {"base", "churned"}},
    {"churn 2d of view last_seen", {"base", "churned"}},
};

/* Of all rows. */
static int64_t sum_of(struct bench *b, struct snapshot *snapshot, const char *text,
                      const char *column)
{
    struct err err = {0};
    CLEANUP(result_freep) struct result *result = NULL;
    const struct query_request request = {.text = str_of(text), .now_ms = NOW_MS};
    int64_t sum = 0;
    if (query_run(snapshot, NULL, b->io, &request, &result, &err) != ERR_OK) {
        fail_msg("%s: %s", text, err.message);
    }
    for (uint32_t c = 0; c < result->col_count; c++) {
        bool is_it = str_eq(result->cols[c].name, str_of(column));
        for (uint64_t r = 0; is_it && r < result->row_count; r++) {
            sum += result->cells[r * result->col_count + c].i64;
        }
    }
    return sum;
}

static void groups_of_people_add_up(struct bench *b, struct snapshot *snapshot)
{
    static const char *const keys_of_people[] = {"by profile.plan", "by profile.plan, profile.vip",
                                                 "by bucket(profile.level, 0, 2)"};
    static const char *const tops[] = {"", " top 1 with other", " top 2 with other"};
    char text[TEXT_MAX];
    for (uint32_t i = 0; i < COUNT_OF(sums); i++) {
        for (uint32_t c = 0; c < 4 && sums[i].columns[c] != NULL; c++) {
            int64_t all = sum_of(b, snapshot, sums[i].text, sums[i].columns[c]);
            for (uint32_t k = 0; k < 3; k++) {
                (void)snprintf(text, sizeof(text), "%s %s%s", sums[i].text, keys_of_people[k],
                               tops[(i + c + k) % 3]);
                int64_t sum = sum_of(b, snapshot, text, sums[i].columns[c]);
                if (sum != all) {
                    fail_msg("seed %" PRIu64 ": %s: %s of the groups %" PRId64 ", of all %" PRId64,
                             b->seed, text, sums[i].columns[c], sum, all);
                }
            }
        }
    }
}

static void compare(struct bench *b, struct rng *rng)
{
    struct err err = {0};
    struct texts *texts = malloc(sizeof(*texts));
    struct snapshot *snapshot = NULL;
    struct snapshot *plain = NULL;
    assert_non_null(texts);
    assert_ok(dataset_snapshot(plain_dataset(b), &plain, &err));
    assert_ok(dataset_snapshot(b->dataset, &snapshot, &err));
    for (uint32_t i = 0; i < COUNT_OF(questions); i++) {
        compare_one(b, rng, &questions[i], snapshot, plain, texts);
    }
    groups_of_people_add_up(b, snapshot);
    snapshot_unpin(plain);
    snapshot_unpin(snapshot);
    free(texts);
}

static void answers_are_as_if_events_carried_what_profiles_say(void **state)
{
    (void)state;
    uint64_t seed = test_seed();
    for (uint64_t trial = 0; trial < TRIALS; trial++) {
        struct err err = {0};
        struct recovery_report report;
        struct bench *b = calloc(1, sizeof(*b));
        struct rng rng = rng_init(seed + trial);
        char plain_dir[64];
        assert_non_null(b);
        b->seed = seed + trial;
        memset(b->merged_into, 0xff, sizeof(b->merged_into));
        live_dir_make(b->dir);
        live_dir_make(plain_dir);
        store_opts_default(&b->opts);
        b->opts.io_kind = IO_POSIX;
        b->opts.block_cache_bytes = 16u << 20;
        b->opts.compact_in_background = false;
        assert_ok(io_create(IO_POSIX, &b->io, &err));
        assert_ok(answer_cache_create(8u << 20, &b->answers, &err));
        assert_ok(store_open(plain_dir, &b->opts, &b->plain, &report, &err));
        open_store(b);
        for (; b->count < VALUES; b->count++) {
            b->events[b->count] = first_event(b->count);
        }
        put_events(b, 0);
        for (uint32_t i = 0; i < STEPS; i++) {
            step(b, &rng);
            if (rng_below(&rng, 4) == 0) {
                compare(b, &rng);
            }
        }
        compare(b, &rng);
        store_abandon(b->store);
        store_abandon(b->plain);
        answer_cache_free(b->answers);
        io_free(b->io);
        live_dir_remove(b->dir);
        live_dir_remove(plain_dir);
        free(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_as_if_events_carried_what_profiles_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
