/* tests/prop/prop_people.c - Goal: a segment is those people, and its list just those ids. Method: random events (ties,
 * borders of days), random trees of conditions, and a computation that looks at one person and one event at a time.
 * Every question is asked of memtables, of segments, and of merged segments, by index and by rows. Of `per KEY` the same events
 * are told of values of a property, as if these were the people.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/base/size.h"
#include "tests/support/live_events.h"
#include "tests/support/ref_people.h"
#include "tests/support/shop.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define DAY_MS     SHOP_DAY_MS
#define NOW_MS     (INT64_C(1750000000000) / DAY_MS * DAY_MS + DAY_MS / 2) /* noon */
#define DAYS       12
#define EVENTS_MAX 160u
#define USERS      23u
#define TEXT_BYTES 4096u
#define CONDS_MAX  256u

static const char *const names[] = {"view", "add", "order", "pay", "rare"};
#define ALL_NAMES UINT32_MAX

static uint64_t seed_of_run(void)
{
    const char *text = getenv("TEST_SEED");
    return text != NULL ? strtoull(text, NULL, 0) : 4711;
}

struct world {
    struct shop_event shop[EVENTS_MAX];
    struct ref_people_event events[EVENTS_MAX];
    uint32_t count;
};

static void world_make(struct world *w, struct rng *rng)
{
    w->count = 1 + (uint32_t)rng_below(rng, EVENTS_MAX);
    shop_random(rng, 0, w->count, NOW_MS - DAYS * DAY_MS, NOW_MS, w->shop);
    for (uint32_t i = 0; i < w->count; i++) {
        const struct shop_event *e = &w->shop[i];
        w->events[i] =
            (struct ref_people_event){e->user, e->name, e->channel, e->time_ms, e->cents};
    }
}

/* ---- random conditions, and their text ---- */

struct ask {
    struct ref_cond conds[CONDS_MAX];
    uint32_t cond_count;
    const struct ref_cond *root;
    int64_t begin_ms, end_ms; /* of the query */
    char text[TEXT_BYTES];
    const struct ref_cond *cohorts[2]; /* saved ones: REF_COHORT, REF_LISTED; NULL = none yet */
    bool is_per;                       /* nothing about people */
};
static const char *const cohort_names[2] = {"live one", "fixed one"};

static void put(struct ask *ask, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct ask *ask, const char *format, ...)
{
    size_t len = strlen(ask->text);
    va_list args;
    va_start(args, format);
    int more = vsnprintf(ask->text + len, TEXT_BYTES - len, format, args);
    va_end(args);
    assert_true(more >= 0 && (size_t)more < TEXT_BYTES - len);
}

/* Days are civil days of UTC; now is noon. */
static void random_range(struct ask *ask, struct rng *rng, int64_t *begin, int64_t *end)
{
    int64_t today = NOW_MS / DAY_MS * DAY_MS;
    int64_t n = 1 + (int64_t)rng_below(rng, DAYS);
    char date[2][16];
    switch (rng_below(rng, 6)) {
    case 0: return; /* that of the query */
    case 1:
        put(ask, " last %dd", (int)n);
        *begin = today - n * DAY_MS;
        *end = today;
        return;
    case 2:
        put(ask, " rolling %dd", (int)n);
        *begin = NOW_MS - n * DAY_MS;
        *end = NOW_MS;
        return;
    case 3:
        put(ask, " last %dd including today", (int)n);
        *begin = today - n * DAY_MS;
        *end = today + DAY_MS;
        return;
    case 4:
        put(ask, " last %dh", (int)(n * 7));
        *begin = NOW_MS - n * 7 * 3600000;
        *end = NOW_MS;
        return;
    default:
        *end = today - (int64_t)rng_below(rng, DAYS) * DAY_MS;
        *begin = *end - n * DAY_MS;
        shop_date(*begin, date[0]);
        shop_date(*end, date[1]);
        put(ask, " from %s to %s", date[0], date[1]);
        return;
    }
}

static struct ref_select random_select(struct ask *ask, struct rng *rng)
{
    struct ref_select select = {.names = ALL_NAMES};
    uint32_t a = (uint32_t)rng_below(rng, 5);
    uint32_t b = (a + 1) % 5;
    switch (rng_below(rng, 4)) {
    case 0: put(ask, "any"); break;
    case 1:
        put(ask, "(%s | %s)", names[a], names[b]);
        select.names = 1u << a | 1u << b;
        break;
    case 2:
        select.cents_over = (int64_t)rng_below(rng, 80000);
        select.has_cents_over = true;
        select.names = 1u << a;
        put(ask, "%s[amount > %d.%02d]", names[a], (int)(select.cents_over / 100),
            (int)(select.cents_over % 100));
        break;
    default:
        put(ask, "%s", names[a]);
        select.names = 1u << a;
        break;
    }
    return select;
}

static void random_number(struct ask *ask, struct rng *rng, struct ref_cond *cond)
{
    static const char *const ops[] = {"=", "!=", "<", "<=", ">", ">="};
    bool is_formula = cond->kind == REF_MINUS || cond->kind == REF_RATIO;
    bool is_count = (is_formula && cond->kids[0]->kind == REF_COUNT) || cond->kind == REF_COUNT ||
                    cond->kind == REF_UNIQUE;
    uint64_t most = is_count ? 6 : cond->kind == REF_SUM ? 300000 : 100000;
    cond->op = (enum ref_op)rng_below(rng, 7);
    cond->values[0] = (int64_t)rng_below(rng, most);
    cond->values[1] = cond->values[0] + (int64_t)rng_below(rng, most);
    for (uint32_t v = 0; v < (cond->op == REF_BETWEEN ? 2 : 1); v++) {
        put(ask, v == 0 ? (cond->op == REF_BETWEEN ? " between " : " ") : " and ");
        if (v == 0 && cond->op != REF_BETWEEN) {
            put(ask, "%s ", ops[cond->op]);
        }
        if (is_count) {
            put(ask, "%d", (int)cond->values[v]);
        } else {
            put(ask, "%d.%02d", (int)(cond->values[v] / 100), (int)(cond->values[v] % 100));
        }
    }
}

/* Arithmetic of two counts or sums, each with a range of its own, in one of the ways to write it. */
static void random_formula(struct ask *ask, struct rng *rng, struct ref_cond *cond)
{
    bool is_sum = rng_below(rng, 2) == 0;
    bool has_parens = rng_below(rng, 2) == 0;
    cond->kind = is_sum || rng_below(rng, 2) == 0 ? REF_MINUS : REF_RATIO;
    cond->kid_count = 2;
    put(ask, has_parens ? "(" : "");
    for (uint32_t k = 0; k < 2; k++) {
        assert_true(ask->cond_count < CONDS_MAX);
        struct ref_cond *kid = &ask->conds[ask->cond_count++];
        *kid = (struct ref_cond){
            .kind = is_sum ? REF_SUM : REF_COUNT, .begin_ms = ask->begin_ms, .end_ms = ask->end_ms};
        cond->kids[k] = kid;
        put(ask, "%s%s",
            k == 0                    ? ""
            : cond->kind == REF_MINUS ? " - "
                                      : " / ",
            is_sum ? "sum(amount of " : "count(");
        kid->select = random_select(ask, rng);
        random_range(ask, rng, &kid->begin_ms, &kid->end_ms);
        put(ask, ")");
    }
    put(ask, has_parens ? ") * 1" : " + 0");
    random_number(ask, rng, cond);
}

static const struct ref_cond *random_cond(struct ask *ask, struct rng *rng, uint32_t depth)
{
    static const char *const words[] = {
        [REF_DID] = "did",     [REF_FIRST] = "first", [REF_LAST] = "last",
        [REF_COUNT] = "count", [REF_SUM] = "sum",     [REF_AVG] = "avg",
        [REF_MIN] = "min",     [REF_MAX] = "max",     [REF_UNIQUE] = "unique"};
    assert_true(ask->cond_count < CONDS_MAX);
    struct ref_cond *cond = &ask->conds[ask->cond_count++];
    if (ask->cohorts[0] != NULL && rng_below(rng, 8) == 0) {
        uint64_t which = rng_below(rng, 2);
        put(ask, "in cohort \"%s\"", cohort_names[which]);
        *cond = *ask->cohorts[which];
        return cond;
    }
    uint64_t kind = rng_below(rng, depth == 0 ? 10 : 20);
    *cond = (struct ref_cond){.begin_ms = ask->begin_ms, .end_ms = ask->end_ms};
    if (kind >= 10) { /* and, or, not */
        cond->kind = kind < 14 ? REF_AND : kind < 18 ? REF_OR : REF_NOT;
        cond->kid_count = cond->kind == REF_NOT ? 1 : 2 + (uint32_t)rng_below(rng, 2);
        put(ask, cond->kind == REF_NOT ? "not (" : "(");
        for (uint32_t k = 0; k < cond->kid_count; k++) {
            put(ask, "%s", k == 0 ? "" : cond->kind == REF_AND ? " and " : " or ");
            cond->kids[k] = random_cond(ask, rng, depth - 1);
        }
        put(ask, ")");
        return cond;
    }
    if (kind >= 10 && rng_below(rng, 5) == 0) {
        random_formula(ask, rng, cond);
        return cond;
    }
    if (kind == 0 && ask->is_per) {
        kind = 1;
    }
    if (kind == 0) {
        cond->kind = REF_LISTED;
        put(ask, "user in (\"nobody\"");
        for (uint32_t u = 0; u < USERS; u += 1 + (uint32_t)rng_below(rng, 6)) {
            cond->users |= 1u << u;
            put(ask, ", \"u%u\"", u);
        }
        put(ask, ")");
        return cond;
    }
    cond->kind = (enum ref_cond_kind)(REF_DID + kind - 1);
    put(ask, "%s(", words[cond->kind]);
    if (cond->kind >= REF_SUM) {
        put(ask, cond->kind == REF_UNIQUE ? "channel of " : "amount of ");
    }
    cond->select = random_select(ask, rng);
    bool is_edge = cond->kind == REF_FIRST || cond->kind == REF_LAST;
    size_t mark = strlen(ask->text);
    do { /* an edge has a range of its own */
        ask->text[mark] = '\0';
        random_range(ask, rng, &cond->begin_ms, &cond->end_ms);
    } while (is_edge && strlen(ask->text) == mark);
    put(ask, ")");
    if (cond->kind >= REF_COUNT) {
        random_number(ask, rng, cond);
    }
    return cond;
}

static void ask_random(struct ask *ask, struct rng *rng)
{
    ask->cond_count = 0;
    ask->text[0] = '\0';
    ask->begin_ms = INT64_MIN;
    ask->end_ms = INT64_MAX;
    /* The range stands behind the condition, and conditions take it over: it is made first. */
    char range[128] = "";
    if (rng_below(rng, 2) == 0) {
        random_range(ask, rng, &ask->begin_ms, &ask->end_ms);
        (void)snprintf(range, sizeof(range), "%.100s", ask->text);
        ask->text[0] = '\0';
    }
    put(ask, "segment ");
    ask->root = random_cond(ask, rng, 3);
    put(ask, "%s", range);
}

/* ---- asking ---- */

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The members' ids in byte order, as the answer's JSON has them. */
static uint32_t expect(const struct world *w, const struct ask *ask, struct buf *out)
{
    static char ids[USERS][8];
    const char *members[USERS];
    uint32_t count = 0;
    const struct ref_cond active = {.kind = REF_DID,
                                    .select = {.names = ALL_NAMES},
                                    .begin_ms = ask->begin_ms,
                                    .end_ms = ask->end_ms};
    for (uint32_t u = 0; u < USERS; u++) {
        if (ref_people_meets(&active, w->events, w->count, u) &&
            ref_people_meets(ask->root, w->events, w->count, u)) {
            (void)snprintf(ids[u], sizeof(ids[u]), "u%u", u % 100);
            members[count++] = ids[u];
        }
    }
    qsort(members, count, sizeof(*members), compare_text);
    buf_clear(out);
    buf_z(out, "\"rows\":[");
    for (uint32_t i = 0; i < count; i++) {
        buf_printf(out, "%s[\"%s\"]", i == 0 ? "" : ",", members[i]);
    }
    buf_z(out, "]");
    buf_u8(out, 0);
    return count;
}

/* One user's verdict is whether that user is in it. */
static void check_why(struct snapshot *snapshot, const struct world *w, const struct ask *ask,
                      uint32_t user, bool is_reference, struct io *io, uint64_t seed)
{
    CLEANUP(buf_freep) struct buf got = {0};
    char text[TEXT_BYTES + 32];
    char want[64];
    const struct ref_cond active = {.kind = REF_DID,
                                    .select = {.names = ALL_NAMES},
                                    .begin_ms = ask->begin_ms,
                                    .end_ms = ask->end_ms};
    bool is_in = ref_people_meets(&active, w->events, w->count, user) &&
                 ref_people_meets(ask->root, w->events, w->count, user);
    (void)snprintf(text, sizeof(text), "why \"u%u\" in %s", user, ask->text);
    (void)snprintf(want, sizeof(want), "\"rows\":[[\"verdict\",null,%s", is_in ? "true" : "false");
    const char *answer = shop_ask(snapshot, text, NOW_MS, is_reference, NULL, io, &got);
    if (strstr(answer, want) == NULL) {
        fail_msg("seed %" PRIu64 ": %s\n%s\nexpected %s", seed, text, answer, want);
    }
}

static void check(struct dataset *dataset, const struct world *w, const struct ask *ask,
                  struct io *io, uint64_t seed)
{
    struct err err = {0};
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    CLEANUP(buf_freep) struct buf want = {0};
    CLEANUP(buf_freep) struct buf got = {0};
    char list[TEXT_BYTES + 32];
    char number[64];
    uint32_t count = expect(w, ask, &want);
    (void)snprintf(list, sizeof(list), "%s list users", ask->text);
    (void)snprintf(number, sizeof(number), "\"rows\":[[%u]]", count);
    assert_int_equal(dataset_snapshot(dataset, &snapshot, &err), ERR_OK);
    for (int path = 0; path < 2; path++) {
        const char *answer = shop_ask(snapshot, ask->text, NOW_MS, path == 1, NULL, io, &got);
        if (strstr(answer, number) == NULL) {
            fail_msg("seed %" PRIu64 ": %s\n%s\nexpected %s", seed, ask->text, answer, number);
        }
        answer = shop_ask(snapshot, list, NOW_MS, path == 1, NULL, io, &got);
        if (strstr(answer, (const char *)want.ptr) == NULL) {
            fail_msg("seed %" PRIu64 ": %s\n%s\nexpected %s", seed, list, answer,
                     (const char *)want.ptr);
        }
        for (uint32_t u = (uint32_t)path; u < USERS; u += 5) {
            check_why(snapshot, w, ask, u, path == 1, io, seed);
        }
    }
}

static void ask_one(struct dataset *dataset, const char *text, struct io *io)
{
    struct err err = {0};
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    CLEANUP(buf_freep) struct buf got = {0};
    assert_int_equal(dataset_snapshot(dataset, &snapshot, &err), ERR_OK);
    const char *answer = shop_ask(snapshot, text, NOW_MS, false, NULL, io, &got);
    if (strncmp(answer, "error", 5) == 0) {
        fail_msg("%s\n%s", text, answer);
    }
}

/* A live cohort and a static one, of what is there now. The static one stays what it is whatever comes. */
static void save_cohorts(struct dataset *dataset, const struct world *w, uint32_t count,
                         struct rng *rng, struct ref_cond out[2], struct ask asks[2], struct io *io)
{
    for (uint32_t i = 0; i < 2; i++) {
        struct ask *ask = &asks[i];
        char text[TEXT_BYTES + 64];
        ask->cohorts[0] = NULL;
        ask_random(ask, rng);
        (void)snprintf(text, sizeof(text), "%s save cohort \"%s\"%s", ask->text, cohort_names[i],
                       i == 1 ? " static" : "");
        ask_one(dataset, text, io);
        out[i] = (struct ref_cond){.kind = REF_COHORT,
                                   .kids = {ask->root},
                                   .kid_count = 1,
                                   .begin_ms = ask->begin_ms,
                                   .end_ms = ask->end_ms};
    }
    struct ref_cond fixed = {.kind = REF_LISTED};
    for (uint32_t u = 0; u < USERS; u++) {
        fixed.users |= ref_people_meets(&out[1], w->events, count, u) ? 1u << u : 0;
    }
    out[1] = fixed;
}

static void segments_are_those_people(void **state)
{
    (void)state;
    uint64_t seed = seed_of_run();
    struct err err = {0};
    char dir[64];
    struct store_opts opts;
    struct store *store = NULL;
    struct recovery_report report;
    struct io *io = NULL;
    live_dir_make(dir);
    store_opts_default(&opts);
    opts.compact_in_background = false;
    assert_int_equal(store_open(dir, &opts, &store, &report, &err), ERR_OK);
    assert_int_equal(io_create(IO_POSIX, &io, &err), ERR_OK);
    for (uint64_t trial = 0; trial < 40; trial++) {
        struct rng rng = rng_init(seed + trial);
        static struct world w;
        static struct ask ask;
        static struct ask asks[2];
        struct ref_cond cohorts[2];
        struct dataset *dataset = NULL;
        char name[16];
        (void)snprintf(name, sizeof(name), "d%u", (unsigned)(trial % 1000));
        world_make(&w, &rng);
        assert_int_equal(store_dataset(store, str_of(name), true, &dataset, &err), ERR_OK);
        uint32_t half = (uint32_t)rng_below(&rng, w.count + 1);
        if (half > 0) {
            assert_int_equal(shop_put(dataset, w.shop, half, NOW_MS, io, &err), ERR_OK);
        }
        if (trial % 3 != 0) {
            assert_int_equal(dataset_flush(dataset, &err), ERR_OK);
        }
        save_cohorts(dataset, &w, half, &rng, cohorts, asks, io);
        ask.cohorts[0] = &cohorts[0];
        ask.cohorts[1] = &cohorts[1];
        if (half < w.count) {
            assert_int_equal(shop_put(dataset, w.shop + half, w.count - half, NOW_MS, io, &err),
                             ERR_OK);
        }
        if (trial % 3 == 2) {
            assert_int_equal(dataset_compact(dataset, NULL, &err), ERR_OK);
        }
        for (uint32_t i = 0; i < 40; i++) {
            ask_random(&ask, &rng);
            check(dataset, &w, &ask, io, seed + trial);
        }
    }
    io_free(io);
    assert_int_equal(store_close(store, &err), ERR_OK);
    live_dir_remove(dir);
}

/* ---- values of a property ---- */

#define AMOUNTS 14u

static int64_t amount_of(uint64_t number)
{
    return (int64_t)number * 2550 - 5000;
}

struct per {
    const char *key;
    uint32_t count;
    char names[AMOUNTS][16]; /* of subjects, as JSON, in the order of lists */
};

/* The subject of an event, or `count`: it has none. */
static uint32_t per_subject(const struct per *per, const struct shop_event *event)
{
    if (strcmp(per->key, "vip") == 0) {
        return event->user % 3 == 0;
    }
    if (strcmp(per->key, "channel") == 0) {
        return event->channel < 3 ? event->channel : per->count;
    }
    return (uint32_t)((event->cents + 5000) / 2550);
}

static struct per per_random(struct rng *rng)
{
    static const char *const fixed[2][3] = {{"\"ads\"", "\"mail\"", "\"organic\""},
                                            {"false", "true"}};
    uint64_t which = rng_below(rng, 3);
    struct per per = {.key = which == 0   ? "channel"
                             : which == 1 ? "vip"
                                          : "amount",
                      .count = which == 0   ? 3
                               : which == 1 ? 2
                                            : AMOUNTS};
    for (uint32_t s = 0; s < per.count; s++) {
        CLEANUP(buf_freep) struct buf number = {0};
        num_format(num_decimal(amount_of(s), 2), &number);
        (void)snprintf(per.names[s], sizeof(per.names[s]), "%.*s", (int)number.len,
                       (const char *)number.ptr);
        if (which < 2) {
            (void)snprintf(per.names[s], sizeof(per.names[s]), "%s", fixed[which][s]);
        }
    }
    return per;
}

/* The same events, of the values. */
static void per_events(const struct per *per, const struct world *w, struct world *out)
{
    out->count = 0;
    for (uint32_t i = 0; i < w->count; i++) {
        uint32_t subject = per_subject(per, &w->shop[i]);
        if (subject < per->count) {
            out->events[out->count] = w->events[i];
            out->events[out->count++].user = subject;
        }
    }
}

static void check_per(struct snapshot *snapshot, const struct per *per, const struct world *w,
                      const struct ask *ask, struct io *io, uint64_t seed)
{
    static struct world of_values;
    CLEANUP(buf_freep) struct buf want = {0};
    CLEANUP(buf_freep) struct buf got = {0};
    char text[TEXT_BYTES + 64];
    char part[64];
    uint32_t count = 0;
    const struct ref_cond active = {.kind = REF_DID,
                                    .select = {.names = ALL_NAMES},
                                    .begin_ms = ask->begin_ms,
                                    .end_ms = ask->end_ms};
    per_events(per, w, &of_values);
    buf_z(&want, "\"rows\":[");
    for (uint32_t s = 0; s < per->count; s++) {
        bool is_in = ref_people_meets(&active, of_values.events, of_values.count, s) &&
                     ref_people_meets(ask->root, of_values.events, of_values.count, s);
        if (is_in) {
            buf_printf(&want, "%s[%s]", count++ == 0 ? "" : ",", per->names[s]);
        }
        const char *name = per->names[s][0] == '"' ? per->names[s] + 1 : per->names[s];
        (void)snprintf(text, sizeof(text), "why \"%.*s\" in %s per %s", (int)strcspn(name, "\""),
                       name, ask->text, per->key);
        (void)snprintf(part, sizeof(part), "\"rows\":[[\"verdict\",null,%s",
                       is_in ? "true" : "false");
        const char *verdict = shop_ask(snapshot, text, NOW_MS, s % 2 == 0, NULL, io, &got);
        if (strstr(verdict, part) == NULL) {
            fail_msg("seed %" PRIu64 ": %s\n%s\nexpected %s", seed, text, verdict, part);
        }
    }
    buf_z(&want, "]");
    buf_u8(&want, 0);
    (void)snprintf(text, sizeof(text), "%s per %s", ask->text, per->key);
    (void)snprintf(part, sizeof(part), "\"rows\":[[%u]]", count);
    for (int path = 0; path < 2; path++) {
        const char *answer = shop_ask(snapshot, text, NOW_MS, path == 1, NULL, io, &got);
        if (strstr(answer, part) == NULL) {
            fail_msg("seed %" PRIu64 ": %s\n%s\nexpected %s", seed, text, answer, part);
        }
    }
    (void)snprintf(text, sizeof(text), "%s per %s list users", ask->text, per->key);
    const char *answer = shop_ask(snapshot, text, NOW_MS, seed % 2 == 0, NULL, io, &got);
    if (strstr(answer, (const char *)want.ptr) == NULL) {
        fail_msg("seed %" PRIu64 ": %s\n%s\nexpected %s", seed, text, answer,
                 (const char *)want.ptr);
    }
}

static void segments_per_key_are_those_values(void **state)
{
    (void)state;
    uint64_t seed = seed_of_run() + 9000;
    struct err err = {0};
    struct live_store live;
    assert_int_equal(live_store_make(&live, &err), ERR_OK);
    assert_int_equal(live_store_open(&live, &err), ERR_OK);
    for (uint64_t trial = 0; trial < 24; trial++) {
        struct rng rng = rng_init(seed + trial);
        static struct world w;
        static struct ask ask;
        struct dataset *dataset = NULL;
        CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
        char name[16];
        (void)snprintf(name, sizeof(name), "p%u", (unsigned)(trial % 1000));
        world_make(&w, &rng);
        for (uint32_t i = 0; i < w.count; i++) {
            w.shop[i].cents = amount_of(rng_below(&rng, AMOUNTS));
            w.events[i].cents = w.shop[i].cents;
        }
        uint32_t half = (uint32_t)rng_below(&rng, w.count + 1);
        assert_int_equal(store_dataset(live.store, str_of(name), true, &dataset, &err), ERR_OK);
        if (half > 0) {
            assert_int_equal(shop_put(dataset, w.shop, half, NOW_MS, live.io, &err), ERR_OK);
            assert_int_equal(dataset_flush(dataset, &err), ERR_OK);
        }
        if (half < w.count) {
            assert_int_equal(
                shop_put(dataset, w.shop + half, w.count - half, NOW_MS, live.io, &err), ERR_OK);
        }
        if (trial % 3 == 2) {
            assert_int_equal(dataset_flush(dataset, &err), ERR_OK);
        }
        assert_int_equal(dataset_snapshot(dataset, &snapshot, &err), ERR_OK);
        ask.is_per = true;
        for (uint32_t i = 0; i < 40; i++) {
            const struct per per = per_random(&rng);
            ask_random(&ask, &rng);
            check_per(snapshot, &per, &w, &ask, live.io, seed + trial);
        }
    }
    live_store_end(&live);
}

/* ---- the people behind cells ---- */

/* Questions whose every row names a cell: the columns before `number` that are coordinates, and the number of it. */
static const struct {
    const char *text;
    const char *coordinates[5];
    const char *number;
    const char *more; /* said of every cell of the question */
} cells[] = {
    {"trend users(any) as u", {NULL}, "u", ""},
    {"trend users(pay) as u, count(any) as n each day by channel last 9d including today",
     {"time", "channel"},
     "u",
     ""},
    {"trend users(view) as v, users((add | order)) as u each 2d by vip, channel",
     {"time", "vip", "channel"},
     "u",
     "measure = \"u\", "},
    {"trend rolling 3d users(any) as u each day last 6d", {"time"}, "u", ""},
    {"trend users(any[amount > 200]) as u by bucket(amount, 0, 300.5, 700) where vip = false",
     {"bucket(amount, 0, 300.5, 700)"},
     "u",
     ""},
    {"distinct user of any each day", {"time"}, "distinct", ""},
    {"distinct user of order by channel", {"channel"}, "distinct", ""},
    {"funnel view -> (add | order) (1d) -> pay within 4d", {"step"}, "users", ""},
    {"funnel view -> add -> pay within 4d by channel, vip",
     {"step", "channel", "vip"},
     "users",
     ""},
    {"funnel view -> add within 2d each day by channel", {"time", "step", "channel"}, "users", ""},
    {"funnel view -> add within 2d each day trend single by channel",
     {"time", "step", "channel"},
     "users",
     ""},
    {"funnel any -> pay order any within 3d by channel at step 2",
     {"step", "channel"},
     "users",
     ""},
    {"funnel view -> add? -> pay without order within 5d each 3d", {"time", "step"}, "users", ""},
    {"funnel view -> pay within 3d holding channel by vip", {"step", "vip"}, "users", ""},
    {"funnel view -> add -> pay within 3d", {"step"}, "dropped", "dropped = true, "},
    {"retention view -> any each day for 3", {"cohort"}, "size", ""},
    {"retention view -> any each day for 4 by channel",
     {"cohort", "period", "channel"},
     "users",
     ""},
    {"retention (add | pay) -> view[amount > 100] each 2d for 3 recurring unbounded",
     {"cohort", "period"},
     "users",
     ""},
    {"retention order -> any first_ever unfiltered each day for 3",
     {"cohort", "period"},
     "users",
     ""},
    {"retention view -> any rolling each day for 3", {"cohort", "period"}, "users", ""},
    {"sequence \"(?1)(?t<=2d)(?2)\" over view, (add | order)", {NULL}, "users", ""},
    {"sequence \"(?1)(?2)\" over view, any by channel, vip each 2d",
     {"time", "channel", "vip"},
     "users",
     ""},
    {"sequence \"(?1)\" over view match by bucket(amount, 0, 300.5, 700) each day last 9d",
     {"time", "bucket(amount, 0, 300.5, 700)"},
     "users",
     ""},
    {"sequence \"(?1).\" over view next channel by vip each 3d",
     {"time", "vip", "next"},
     "users",
     ""},
    {"sequence \"(?1)\" over (view | pay) next amount backward anchor last_match by channel top 2",
     {"channel", "next"},
     "users",
     ""},
    {"sessions users, count by channel each day idle 6h last 9d", {"time", "channel"}, "users", ""},
    {"sessions idle 2d cap 4d by vip, channel", {"vip", "channel"}, "users", ""},
    {"paths depth 3 gap 8h by channel each 3d",
     {"time", "channel", "position", "from", "to"},
     "users",
     ""},
    {"paths per user top 2 by vip", {"vip", "position", "from", "to"}, "users", ""},
    {"paths ending at pay per user depth 4 loops top 1", {"position", "from", "to"}, "users", ""},
    {"paths exactly 2 per user by channel each 2d", {"time", "channel", "path"}, "users", ""},
    {"paths variants gap 6h over event_name, channel", {"path"}, "users", ""},
    {"paths between view and pay shortest per user top 3 by vip", {"vip", "path"}, "users", ""},
    {"absence view -> pay within 1d by channel each day last 9d", {"time", "channel"}, "users", ""},
    {"absence view gap 1d by channel each 2d", {"time", "channel"}, "users", ""},
    {"absence any gap 1d by vip each 2d", {"time", "vip"}, "subjects", "measure = \"subjects\", "},
    {"intervals view -> pay longest 3d measure users, peak by channel each day last 9d",
     {"time", "channel"},
     "users",
     ""},
    {"intervals (view | add) -> order longest 2d measure peak, users, online_ms each 2d",
     {"time"},
     "users",
     ""},
    {"retention view -> any each day bracket (1, 2-3, 0-4) by vip",
     {"cohort", "period", "vip"},
     "users",
     ""},
    {"retention any -> (add | pay) each day for 4 until at least 2",
     {"cohort", "period"},
     "users",
     ""},
    {"ltv view value sum(amount of pay) each day for 3 by channel",
     {"cohort", "period", "channel"},
     "active",
     ""},
    {"ltv any -> pay value sum(amount) each 2d for 2 recurring", {"cohort"}, "size", ""},
    {"lifecycle of any each day", {"time"}, "new", "measure = \"new\", "},
    {"lifecycle of (view | pay) each 2d last 8d by channel",
     {"time", "channel"},
     "returning",
     "measure = \"returning\", "},
    {"lifecycle of view each day last 6d including today by vip, channel",
     {"time", "vip", "channel"},
     "resurrecting",
     "measure = \"resurrecting\", "},
    {"lifecycle of any each day last 7d including today by bucket(amount, 0, 500)",
     {"time", "bucket(amount, 0, 500)"},
     "dormant",
     "measure = \"dormant\", "},
    {"stickiness of any each day", {"periods"}, "users", ""},
    {"stickiness of any each day over week cumulative", {"time", "periods"}, "users", ""},
    {"stickiness of (add | pay) each 2d by channel at least 2 events last 9d",
     {"periods", "channel"},
     "users",
     ""},
    {"stickiness dau_mau of any", {"time"}, "mau", ""},
    {"stickiness dau_mau of view rolling 3d last 6d", {"time"}, "mau_3d", "measure = \"mau_3d\", "},
    {"conditions any, view, (add | pay), order[amount > 200]", {"condition"}, "users", ""},
    {"conditions view, pay by channel, vip last 9d", {"condition", "channel", "vip"}, "users", ""},
    {"churn 2d of any last 6d", {NULL}, "churned", "measure = \"churned\", "},
    {"churn 2d of view last 6d by channel", {"channel"}, "base", ""},
    {"churn 1d of any each 2d last 8d by vip",
     {"time", "vip"},
     "churned",
     "measure = \"churned\", "},
    {"churn 3d of (view | add) last_seen by channel",
     {"channel"},
     "churned",
     "measure = \"churned\", "},
    {"churn 3d of any last_seen last 9d", {NULL}, "base", "measure = \"base\", "},
};

static const char reached_funnel[] = "funnel view -> (add | order) (1d) -> pay within 4d";

static uint32_t column_of(const struct result *result, const char *name)
{
    for (uint32_t c = 0; c < result->col_count; c++) {
        if (str_eq(result->cols[c].name, str_of(name))) {
            return c;
        }
    }
    fail_msg("no column %s", name);
    return 0;
}

static void put_coordinate(struct ask *ask, const struct cell *cell, struct str name)
{
    CLEANUP(buf_freep) struct buf number = {0};
    put(ask, "`%.*s`", (int)name.len, name.ptr);
    switch (cell->kind) {
    case CELL_NULL: put(ask, " is not set"); return;
    case CELL_BOOL: put(ask, " = %s", cell->boolean ? "true" : "false"); return;
    case CELL_STRING: put(ask, " = \"%.*s\"", (int)cell->string.len, cell->string.ptr); return;
    case CELL_I64: put(ask, " = %" PRId64, cell->i64); return;
    case CELL_DECIMAL:
        num_total_format(cell->decimal, &number);
        put(ask, " = %.*s", (int)number.len, (const char *)number.ptr);
        return;
    case CELL_LIST:
        for (uint32_t i = 0; i < cell->list.count; i++) {
            const struct str *item = &cell->list.items[i];
            put(ask, "%s\"%.*s\"", i == 0 ? " = (" : ", ", (int)item->len, item->ptr);
        }
        put(ask, ")");
        return;
    default: fail_msg("a coordinate of another kind");
    }
}

static struct result *run_text(struct snapshot *snapshot, const char *text, bool is_reference,
                               struct io *io)
{
    struct err err = {0};
    struct result *result = NULL;
    const struct query_request request = {
        .text = str_of(text), .now_ms = NOW_MS, .is_reference_path = is_reference};
    if (query_run(snapshot, NULL, io, &request, &result, &err) != ERR_OK) {
        fail_msg("%s\n%s", text, err.message);
    }
    return result;
}

/* Every row's number is that of the people it stands for, whose list is as long. Returns the rows. */
static uint64_t check_cells(struct snapshot *snapshot, size_t q, struct io *io, uint64_t seed)
{
    CLEANUP(result_freep) struct result *table = run_text(snapshot, cells[q].text, false, io);
    uint32_t number_col = column_of(table, cells[q].number);
    for (uint64_t r = 0; r < table->row_count; r++) {
        static struct ask ask;
        const struct cell *row = table->cells + r * table->col_count;
        bool is_first_step = row[0].kind == CELL_I64 && row[0].i64 == 1;
        if (cells[q].more[0] == 'd' && is_first_step) {
            continue; /* nobody drops out of the first step */
        }
        ask.text[0] = '\0';
        put(&ask, "users of (%s", cells[q].more);
        for (uint32_t i = 0; i < 5 && cells[q].coordinates[i] != NULL; i++) {
            uint32_t c = column_of(table, cells[q].coordinates[i]);
            put(&ask, "%s", i == 0 ? "" : ", ");
            put_coordinate(&ask, &row[c], table->cols[c].name);
        }
        put(&ask, ") in %s", cells[q].text);
        CLEANUP(result_freep) struct result *count = run_text(snapshot, ask.text, r % 2 == 1, io);
        put(&ask, " list users");
        CLEANUP(result_freep) struct result *list = run_text(snapshot, ask.text, r % 2 == 0, io);
        int64_t want = row[number_col].i64;
        if (strcmp(cells[q].text, reached_funnel) == 0) {
            char text[TEXT_BYTES];
            (void)snprintf(text, sizeof(text), "segment reached(%s, %u)", reached_funnel,
                           (unsigned)(r + 1));
            CLEANUP(result_freep) struct result *reached = run_text(snapshot, text, false, io);
            assert_int_equal(reached->cells[0].i64, want);
        }
        if (count->cells[0].i64 != want || (int64_t)list->row_count != want) {
            fail_msg("seed %" PRIu64 ": %s\nthe table has %" PRId64 ", the number is %" PRId64
                     ", the list has %" PRIu64,
                     seed, ask.text, want, count->cells[0].i64, list->row_count);
        }
    }
    return table->row_count;
}

static void cells_are_the_people_behind_them(void **state)
{
    (void)state;
    uint64_t seed = seed_of_run() + 5000;
    uint64_t rows = 0;
    struct err err = {0};
    char dir[64];
    struct store_opts opts;
    struct recovery_report report;
    struct store *store = NULL;
    struct io *io = NULL;
    live_dir_make(dir);
    store_opts_default(&opts);
    opts.compact_in_background = false;
    assert_int_equal(store_open(dir, &opts, &store, &report, &err), ERR_OK);
    assert_int_equal(io_create(IO_POSIX, &io, &err), ERR_OK);
    for (uint64_t trial = 0; trial < 12; trial++) {
        struct rng rng = rng_init(seed + trial);
        static struct world w;
        struct dataset *dataset = NULL;
        struct snapshot *snapshot = NULL;
        char name[16];
        (void)snprintf(name, sizeof(name), "c%u", (unsigned)(trial % 1000));
        world_make(&w, &rng);
        assert_int_equal(store_dataset(store, str_of(name), true, &dataset, &err), ERR_OK);
        assert_int_equal(shop_put(dataset, w.shop, w.count, NOW_MS, io, &err), ERR_OK);
        if (trial % 2 == 1) {
            assert_int_equal(dataset_flush(dataset, &err), ERR_OK);
        }
        assert_int_equal(dataset_snapshot(dataset, &snapshot, &err), ERR_OK);
        for (size_t q = 0; q < COUNT_OF(cells); q++) {
            rows += check_cells(snapshot, q, io, seed + trial);
        }
        snapshot_unpin(snapshot);
    }
    assert_true(rows > 1000);
    io_free(io);
    assert_int_equal(store_close(store, &err), ERR_OK);
    live_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cells_are_the_people_behind_them),
        cmocka_unit_test(segments_are_those_people),
        cmocka_unit_test(segments_per_key_are_those_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
