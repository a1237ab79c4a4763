/* tests/prop/prop_why.c - Goal: a user's verdict is the number's. Method: random journeys with many ties; of every user each
 * question is asked with `why`, and the rows are held against the references, which look at one journey and try
 * everything; against the references without one rule, which say which rules are to blame; and, cell by cell, against the
 * list of the people behind the number. What counts a subject more than once, or values of a KEY, or two series, adds up
 * over all subjects to the answer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/base/size.h"
#include "tests/support/live_events.h"
#include "tests/support/ref_funnel_modes.h"
#include "tests/support/ref_retention.h"
#include "tests/support/shop.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define DAY_MS      SHOP_DAY_MS
#define NOW_MS      (INT64_C(1750000000000) / DAY_MS * DAY_MS + DAY_MS / 2) /* noon */
#define BEGIN_MS    (NOW_MS - DAY_MS / 2 - 10 * DAY_MS)
#define USERS       7u
#define USER_EVENTS 9u
#define EVENTS_MAX  (USERS * USER_EVENTS)
#define TEXT_BYTES  512u
#define NO_CHANNEL  3u

enum { VIEW, ADD, ORDER, PAY, RARE };
static const char *const names[] = {"view", "add", "order", "pay", "rare"};

static uint64_t seed_of_run(void)
{
    const char *text = getenv("TEST_SEED");
    return text != NULL ? strtoull(text, NULL, 0) : 4711;
}

static bool one_in(struct rng *rng, uint64_t n)
{
    return rng_below(rng, n) == 0;
}

/* ---- a store, and data sets in it ---- */

struct world {
    struct live_store live;
    struct snapshot *snapshot; /* of the events at hand */
    struct shop_event events[EVENTS_MAX];
    uint32_t count;
    uint32_t dataset_count;
};
static struct world world;

static int world_open(void **state)
{
    (void)state;
    struct err err = {0};
    assert_int_equal(live_store_make(&world.live, &err), ERR_OK);
    assert_int_equal(live_store_open(&world.live, &err), ERR_OK);
    return 0;
}

static int world_close(void **state)
{
    (void)state;
    live_store_end(&world.live);
    return 0;
}

/* Every user's events, `step_ms` or less apart; their order in the data set is another one. */
static void events_make(struct rng *rng, uint64_t step_ms)
{
    world.count = 0;
    for (uint32_t u = 0; u < USERS; u++) {
        int64_t at = BEGIN_MS - (int64_t)step_ms;
        for (uint64_t n = rng_below(rng, USER_EVENTS + 1); n > 0; n--) {
            at += one_in(rng, 3) ? 0 : (int64_t)rng_below(rng, step_ms + 1);
            world.events[world.count++] = (struct shop_event){
                .time_ms = at,
                .user = u,
                .name = (uint32_t)rng_below(rng, COUNT_OF(names)),
                .channel = (uint32_t)rng_below(rng, 3) + 1, /* mail, organic, none */
                .cents = 100,
            };
        }
    }
    for (uint32_t i = world.count; i > 1; i--) {
        uint32_t k = (uint32_t)rng_below(rng, i);
        struct shop_event swap = world.events[k];
        world.events[k] = world.events[i - 1];
        world.events[i - 1] = swap;
    }
    for (uint32_t i = 0; i < world.count; i++) {
        world.events[i].number = i;
    }
}

/* Some in segments, some in memory. */
static void world_make(struct rng *rng, uint64_t step_ms)
{
    struct err err = {0};
    struct dataset *dataset = NULL;
    char name[16];
    (void)snprintf(name, sizeof(name), "d%u", world.dataset_count++ % 100000);
    events_make(rng, step_ms);
    assert_int_equal(store_dataset(world.live.store, str_of(name), true, &dataset, &err), ERR_OK);
    uint32_t half = (uint32_t)rng_below(rng, world.count + 1);
    if (half > 0) {
        assert_int_equal(shop_put(dataset, world.events, half, NOW_MS, world.live.io, &err),
                         ERR_OK);
        assert_int_equal(dataset_flush(dataset, &err), ERR_OK);
    }
    if (half < world.count) {
        assert_int_equal(
            shop_put(dataset, world.events + half, world.count - half, NOW_MS, world.live.io, &err),
            ERR_OK);
    }
    assert_int_equal(dataset_snapshot(dataset, &world.snapshot, &err), ERR_OK);
}

static void world_done(void)
{
    snapshot_unpin(world.snapshot);
    world.snapshot = NULL;
}

static struct result *run_text(const char *text, bool is_reference)
{
    struct err err = {0};
    struct result *result = NULL;
    const struct query_request request = {
        .text = str_of(text), .now_ms = NOW_MS, .is_reference_path = is_reference};
    if (query_run(world.snapshot, NULL, world.live.io, &request, &result, &err) != ERR_OK) {
        fail_msg("%s\n%s", text, err.message);
    }
    return result;
}

static bool is_seen(uint32_t user)
{
    for (uint32_t i = 0; i < world.count; i++) {
        if (world.events[i].user == user) {
            return true;
        }
    }
    return false;
}

/* ---- rows of why ---- */

static const struct cell *cell_of(const struct result *result, uint64_t row, const char *name)
{
    for (uint32_t c = 0; c < result->col_count; c++) {
        if (str_eq(result->cols[c].name, str_of(name))) {
            return &result->cells[row * result->col_count + c];
        }
    }
    fail_msg("no column %s", name);
    return NULL;
}

static bool is_item(const struct result *result, uint64_t row, const char *item)
{
    return str_eq(cell_of(result, row, "item")->string, str_of(item));
}

static bool holds(const struct result *result, uint64_t row)
{
    const struct cell *cell = cell_of(result, row, "holds");
    return cell->kind == CELL_BOOL && cell->boolean;
}

/* The event that a row is about. */
static const struct shop_event *event_of(const struct result *result, uint64_t row)
{
    const struct cell *id = cell_of(result, row, "event_id");
    char text[32];
    assert_int_equal(id->kind, CELL_STRING);
    (void)snprintf(text, sizeof(text), STR_FMT, STR_ARG(id->string));
    uint32_t number = (uint32_t)strtoul(text + strlen("event-"), NULL, 10);
    assert_true(number < world.count);
    const struct shop_event *event = &world.events[number];
    assert_true(str_eq(cell_of(result, row, "event")->string, str_of(names[event->name])));
    return event;
}

/* Whether a rule is blamed. */
static bool is_blamed(const struct result *result, const char *rule)
{
    for (uint64_t r = 0; r < result->row_count; r++) {
        if (is_item(result, r, "ended") &&
            str_eq(cell_of(result, r, "note")->string, str_of(rule))) {
            return true;
        }
    }
    return false;
}

/* ---- funnels ---- */

struct asked {
    char text[TEXT_BYTES];
    uint32_t steps[3];
    struct ref_modes_query query;
};

static void ask_funnel(struct asked *asked, struct rng *rng)
{
    static const uint32_t steps[][3] = {
        {VIEW, ADD, ORDER}, {VIEW, VIEW, ADD}, {VIEW, ADD, ADD}, {ADD, VIEW, ADD}};
    static const char *const orders[] = {"", " order strict", " order any"};
    static const char *const shows[] = {"", " attempt earliest", " attempt latest"};
    struct ref_modes_query *q = &asked->query;
    int64_t to_ms = BEGIN_MS + (int64_t)rng_below(rng, 40);
    char date[16];

    memcpy(asked->steps, steps[rng_below(rng, COUNT_OF(steps))], sizeof(asked->steps));
    *q = (struct ref_modes_query){
        .step_count = 3,
        .order = (enum ref_order)rng_below(rng, 3),
        .has_window = true,
        .window_ms = rng_below(rng, 25),
        .is_strict_ties = one_in(rng, 4),
        .has_reuse = one_in(rng, 5),
        .entry_first_ms = BEGIN_MS,
        .entry_last_ms = to_ms - 1,
        .show = (enum ref_show)rng_below(rng, 3),
    };
    q->is_optional[1] = q->order != REF_ANY && one_in(rng, 3);
    q->ban_count = one_in(rng, 2) ? 1 : 0;
    q->bans[0] =
        (struct ref_modes_ban){q->order != REF_ANY && one_in(rng, 2) ? 1 : 0, 2, one_in(rng, 2)};
    shop_date(BEGIN_MS, date);
    int len = snprintf(asked->text, sizeof(asked->text),
                       "funnel %s -> %s%s -> %s within %" PRIu64
                       "ms%s%s%s%s from %s to %sT00:00:00.%03dZ",
                       names[asked->steps[0]], names[asked->steps[1]], q->is_optional[1] ? "?" : "",
                       names[asked->steps[2]], q->window_ms, orders[q->order],
                       q->is_strict_ties ? " ties strict" : "", q->has_reuse ? " reuse" : "",
                       shows[q->show], date, date, (int)(to_ms - BEGIN_MS) % 1000);
    if (q->ban_count > 0) {
        (void)snprintf(asked->text + len, sizeof(asked->text) - (size_t)len,
                       " %s rare between %d and %d",
                       q->bans[0].is_dropping ? "dropping users with" : "without",
                       q->bans[0].begin + 1, q->bans[0].end + 1);
    }
}

static int compare_times(const void *a, const void *b)
{
    const struct ref_modes_event *x = a;
    const struct ref_modes_event *y = b;
    return (x->time_ms > y->time_ms) - (x->time_ms < y->time_ms);
}

static int journey_of(const struct asked *asked, uint32_t user, struct ref_modes_event *out)
{
    int count = 0;
    for (uint32_t i = 0; i < world.count; i++) {
        const struct shop_event *event = &world.events[i];
        if (event->user != user || event->time_ms < BEGIN_MS) {
            continue;
        }
        out[count] = (struct ref_modes_event){
            .time_ms = event->time_ms, .is_ban = {event->name == RARE}, .is_considered = true};
        for (int s = 0; s < asked->query.step_count; s++) {
            out[count].fits[s] = event->name == asked->steps[s];
        }
        count++;
    }
    qsort(out, (size_t)count, sizeof(*out), compare_times);
    return count;
}

static void check_steps(const struct asked *asked, const struct result *why,
                        const struct ref_modes_answer *want, const char *text, uint64_t seed)
{
    const struct shop_event *taken[3] = {NULL};
    assert_true(is_item(why, 0, "verdict"));
    if (cell_of(why, 0, "number")->i64 != want->level || holds(why, 0) != (want->level == 3)) {
        fail_msg("seed %" PRIu64 ": %s\nlevel %" PRId64 ", by definition %d", seed, text,
                 cell_of(why, 0, "number")->i64, want->level);
    }
    for (uint32_t s = 0; s < 3; s++) {
        uint64_t row = 1 + s;
        bool is_done = (int)s < want->level && want->is_filled[s];
        assert_true(is_item(why, row, "step"));
        assert_int_equal(cell_of(why, row, "number")->i64, s + 1);
        if (holds(why, row) != is_done) {
            fail_msg("seed %" PRIu64 ": %s\nstep %u %s", seed, text, s + 1,
                     is_done ? "was done" : "was not done");
        }
        if (!is_done) {
            assert_int_equal(cell_of(why, row, "event_id")->kind, CELL_NULL);
            continue;
        }
        taken[s] = event_of(why, row);
        bool is_right = asked->query.order == REF_ANY || taken[s]->name == asked->steps[s];
        if (!is_right || taken[s]->time_ms != want->times[s]) {
            fail_msg("seed %" PRIu64 ": %s\nstep %u has another event", seed, text, s + 1);
        }
        for (uint32_t k = 0; k < s && !asked->query.has_reuse; k++) {
            assert_true(taken[k] != taken[s]);
        }
    }
}

/* The level without one rule. */
static int level_without(const struct asked *asked, const char *rule,
                         const struct ref_modes_event *events, int count)
{
    struct ref_modes_query q = asked->query;
    if (strcmp(rule, "window") == 0) {
        q.has_window = false;
    } else if (strcmp(rule, "ties") == 0) {
        q.is_strict_ties = false;
    } else if (strcmp(rule, "reuse") == 0) {
        q.has_reuse = true;
    } else if (strcmp(rule, "strict order") == 0) {
        q.order = q.order == REF_STRICT ? REF_ORDERED : q.order;
    } else if (q.bans[0].is_dropping == (strcmp(rule, "dropping") == 0)) {
        q.ban_count = 0;
    }
    return ref_funnel_modes(&q, events, count).level;
}

/* Just those rules are blamed without which, alone, the user gets further. */
static uint32_t check_rules(const struct asked *asked, const struct result *why,
                            const struct ref_modes_event *events, int count, int level,
                            const char *text, uint64_t seed)
{
    static const char *const rules[] = {"window",       "ties",    "reuse",
                                        "strict order", "without", "dropping"};
    uint32_t blamed = 0;
    for (size_t i = 0; i < COUNT_OF(rules); i++) {
        bool is_to_blame = level < 3 && level_without(asked, rules[i], events, count) > level;
        if (is_blamed(why, rules[i]) != is_to_blame) {
            fail_msg("seed %" PRIu64 ": %s\n%s is %s to blame", seed, text, rules[i],
                     is_to_blame ? "" : "not");
        }
        blamed |= is_to_blame ? 1u << i : 0;
    }
    return blamed;
}

static void funnel_verdicts_equal_their_definition(void **state)
{
    (void)state;
    uint64_t seed = seed_of_run();
    uint32_t blamed = 0;
    uint32_t levels[4] = {0};

    for (uint64_t trial = 0; trial < 60; trial++) {
        struct rng rng = rng_init(seed + trial);
        world_make(&rng, 1 + rng_below(&rng, 9));
        for (uint32_t n = 0; n < 12; n++) {
            struct asked asked;
            ask_funnel(&asked, &rng);
            for (uint32_t u = 0; u < USERS; u++) {
                struct ref_modes_event events[USER_EVENTS];
                char text[TEXT_BYTES + 32];
                (void)snprintf(text, sizeof(text), "why \"u%u\" in %s", u, asked.text);
                int count = journey_of(&asked, u, events);
                if (!is_seen(u)) {
                    continue;
                }
                CLEANUP(result_freep) struct result *why = run_text(text, one_in(&rng, 2));
                struct ref_modes_answer want = ref_funnel_modes(&asked.query, events, count);
                check_steps(&asked, why, &want, text, seed + trial);
                blamed |= check_rules(&asked, why, events, count, want.level, text, seed + trial);
                levels[want.level]++;
            }
        }
        world_done();
    }
    assert_int_equal(blamed, 63); /* each rule was to blame for something */
    for (uint32_t level = 0; level < COUNT_OF(levels); level++) {
        assert_true(levels[level] > 50);
    }
}

/* ---- retentions ---- */

struct asked_retention {
    char text[TEXT_BYTES];
    bool has_filter; /* of the start */
    bool is_any;     /* any event is a return; else only adds */
    struct ref_retention_query query;
};

static void ask_retention(struct asked_retention *asked, struct rng *rng)
{
    static const char *const starts[] = {"", " first_ever unfiltered", " first", " recurring"};
    struct ref_retention_query *q = &asked->query;
    char from[16];
    char to[16];
    asked->has_filter = one_in(rng, 2);
    asked->is_any = one_in(rng, 2);
    *q = (struct ref_retention_query){
        .start = (enum ref_retention_start)rng_below(rng, 4),
        .is_unbounded = one_in(rng, 3),
        .at_least = one_in(rng, 3) ? 2 : 1,
        .period_count = 1 + (int)rng_below(rng, 5),
        .from_ms = BEGIN_MS + (int64_t)rng_below(rng, 3) * DAY_MS,
    };
    q->to_ms = q->from_ms + (1 + (int64_t)rng_below(rng, 5)) * DAY_MS;
    shop_date(q->from_ms, from);
    shop_date(q->to_ms, to);
    (void)snprintf(asked->text, sizeof(asked->text),
                   "retention view%s -> %s each day for %d%s%s at least %d from %s to %s",
                   asked->has_filter ? "[channel = \"mail\"]" : "", asked->is_any ? "any" : "add",
                   q->period_count - 1, starts[q->start], q->is_unbounded ? " unbounded" : "",
                   q->at_least, from, to);
}

static int retention_journey(const struct asked_retention *asked, uint32_t user,
                             struct ref_retention_event *out, uint32_t *numbers)
{
    int count = 0;
    for (uint32_t i = 0; i < world.count; i++) {
        const struct shop_event *event = &world.events[i];
        if (event->user != user) {
            continue;
        }
        bool is_view = event->name == VIEW;
        numbers[count] = i;
        out[count++] = (struct ref_retention_event){
            .time_ms = event->time_ms,
            .period = event->time_ms / DAY_MS,
            .is_name = is_view,
            .is_start = is_view && (!asked->has_filter || event->channel == 1),
            .is_return = asked->is_any || event->name == ADD,
        };
    }
    return count;
}

static const struct ref_retention_member *member_of(const struct ref_retention_answer *want,
                                                    struct str cohort)
{
    for (int m = 0; m < want->member_count; m++) {
        char date[16];
        shop_date(want->members[m].cohort * DAY_MS, date);
        if (str_eq(cohort, str_of(date))) {
            return &want->members[m];
        }
    }
    return NULL;
}

static void check_retention(const struct asked_retention *asked, uint32_t user,
                            const struct result *why, const char *text, uint64_t seed)
{
    struct ref_retention_event events[REF_RETENTION_EVENTS_MAX];
    uint32_t numbers[REF_RETENTION_EVENTS_MAX];
    int count = retention_journey(asked, user, events, numbers);
    struct ref_retention_answer want = ref_retention(&asked->query, events, count);
    int members = 0;

    assert_true(is_item(why, 0, "verdict"));
    for (uint64_t r = 1; r < why->row_count && want.member_count > 0; r++) {
        const struct ref_retention_member *member =
            member_of(&want, cell_of(why, r, "cohort")->string);
        if (member == NULL) {
            fail_msg("seed %" PRIu64 ": %s\nno member of that cohort", seed, text);
        }
        if (is_item(why, r, "start")) {
            const struct shop_event *start = event_of(why, r);
            int e = 0;
            while (e < count && numbers[e] != start->number) {
                e++;
            }
            assert_true(e < count && member->can_start[e]);
            members++;
            continue;
        }
        int64_t n = cell_of(why, r, "number")->i64;
        if (holds(why, r) != member->is_back[n]) {
            fail_msg("seed %" PRIu64 ": %s\nperiod %" PRId64 " is told wrongly", seed, text, n);
        }
        if (holds(why, r)) {
            const struct shop_event *back = event_of(why, r);
            int64_t period = back->time_ms / DAY_MS - member->cohort;
            assert_true(asked->is_any || back->name == ADD);
            assert_true(asked->query.is_unbounded ? period >= n : period == n);
        }
    }
    if (members != want.member_count || cell_of(why, 0, "number")->i64 != members) {
        fail_msg("seed %" PRIu64 ": %s\nin %d cohorts, by definition in %d", seed, text, members,
                 want.member_count);
    }
    struct asked_retention other = *asked;
    other.query.from_ms = INT64_MIN;
    other.query.to_ms = INT64_MAX;
    bool is_of_range = members == 0 && ref_retention(&other.query, events, count).member_count > 0;
    if (is_blamed(why, "range") != is_of_range) {
        fail_msg("seed %" PRIu64 ": %s\nthe range is %s to blame", seed, text,
                 is_of_range ? "" : "not");
    }
}

static void retention_verdicts_equal_their_definition(void **state)
{
    (void)state;
    uint64_t seed = seed_of_run() + 1000;
    for (uint64_t trial = 0; trial < 60; trial++) {
        struct rng rng = rng_init(seed + trial);
        world_make(&rng, (1 + rng_below(&rng, 40)) * DAY_MS / 20);
        for (uint32_t n = 0; n < 12; n++) {
            struct asked_retention asked;
            ask_retention(&asked, &rng);
            for (uint32_t u = 0; u < USERS; u++) {
                char text[TEXT_BYTES + 32];
                (void)snprintf(text, sizeof(text), "why \"u%u\" in %s", u, asked.text);
                if (!is_seen(u)) {
                    continue;
                }
                CLEANUP(result_freep) struct result *why = run_text(text, one_in(&rng, 2));
                check_retention(&asked, u, why, text, seed + trial);
            }
        }
        world_done();
    }
}

/* ---- the people behind the number ---- */

/* Questions whose cells are named by these columns; the last is that of the step or the period. */
static const struct {
    const char *text;
    const char *columns[4];
} cells[] = {
    {"funnel view -> add -> order within 2d", {"step"}},
    {"funnel view -> (add | order) (1d) -> pay within 4d by channel", {"channel", "step"}},
    {"funnel view -> add within 2d each day by channel", {"time", "channel", "step"}},
    {"funnel view -> add? -> order within 3d each 2d", {"time", "step"}},
    {"funnel view -> add -> order within 3d each day trend single", {"time", "step"}},
    {"funnel view -> add within 5d each 2d trend single by channel at all steps",
     {"time", "channel", "step"}},
    {"funnel view -> add -> order order any within 3d by channel at step 2", {"channel", "step"}},
    {"funnel view -> add -> order order strict within 9d", {"step"}},
    {"funnel view -> add -> order within 5d without rare by channel at last set",
     {"channel", "step"}},
    {"funnel view -> add within 5d dropping users with rare", {"step"}},
    {"funnel view -> add -> order within 5d holding channel by vip", {"vip", "step"}},
    {"funnel view -> add within 5d by channel at all steps", {"channel", "step"}},
    {"funnel first view -> add within 5d ties strict entry first", {"step"}},
    {"retention view -> any each day for 3", {"cohort", "period"}},
    {"retention view -> add each day for 4 recurring by channel", {"cohort", "channel", "period"}},
    {"retention view -> any rolling each day for 3", {"cohort", "period"}},
    {"retention view -> any each day for 3 streak", {"cohort", "period"}},
    {"retention view -> add each 2d for 3 until", {"cohort", "period"}},
};

static void put_cell(const struct cell *cell, const char *name, char *out, size_t size)
{
    size_t len = strlen(out);
    const char *comma = len > 0 && out[len - 1] != '(' ? ", " : "";
    switch (cell->kind) {
    case CELL_NULL: (void)snprintf(out + len, size - len, "%s%s is not set", comma, name); return;
    case CELL_BOOL:
        (void)snprintf(out + len, size - len, "%s%s = %s", comma, name,
                       cell->boolean ? "true" : "false");
        return;
    case CELL_I64:
        (void)snprintf(out + len, size - len, "%s%s = %" PRId64, comma, name, cell->i64);
        return;
    case CELL_STRING:
        (void)snprintf(out + len, size - len, "%s%s = \"" STR_FMT "\"", comma, name,
                       STR_ARG(cell->string));
        return;
    default: fail_msg("a coordinate of another kind");
    }
}

/* Whether the rows of `why` say that the user is in the cell of the table's row. */
static bool is_told_in(const struct result *why, const struct result *table, uint64_t row,
                       const char *const columns[4])
{
    for (uint64_t r = 0; r < why->row_count; r++) {
        bool is_step = is_item(why, r, "step") || is_item(why, r, "period");
        for (uint32_t i = 0; is_step && i < 4 && columns[i] != NULL; i++) {
            bool is_last = i == 3 || columns[i + 1] == NULL;
            is_step = cell_cmp(cell_of(table, row, columns[i]),
                               cell_of(why, r, is_last ? "number" : columns[i])) == 0;
        }
        if (is_step && holds(why, r)) {
            return true;
        }
    }
    return false;
}

static bool is_listed(const struct result *list, uint32_t user)
{
    char id[8];
    (void)snprintf(id, sizeof(id), "u%u", user % 100);
    for (uint64_t r = 0; r < list->row_count; r++) {
        if (str_eq(list->cells[r].string, str_of(id))) {
            return true;
        }
    }
    return false;
}

static uint32_t check_cells(size_t q, uint64_t seed)
{
    uint32_t found = 0;
    CLEANUP(result_freep) struct result *table = run_text(cells[q].text, false);
    struct result *whys[USERS] = {NULL};
    for (uint32_t u = 0; u < USERS; u++) {
        char text[TEXT_BYTES];
        (void)snprintf(text, sizeof(text), "why \"u%u\" in %s", u, cells[q].text);
        whys[u] = run_text(text, u % 2 == 1);
    }
    for (uint64_t r = 0; r < table->row_count; r++) {
        char text[2 * TEXT_BYTES] = "users of (";
        for (uint32_t i = 0; i < 4 && cells[q].columns[i] != NULL; i++) {
            put_cell(cell_of(table, r, cells[q].columns[i]), cells[q].columns[i], text,
                     sizeof(text));
        }
        size_t len = strlen(text);
        (void)snprintf(text + len, sizeof(text) - len, ") in %s list users", cells[q].text);
        CLEANUP(result_freep) struct result *list = run_text(text, r % 2 == 0);
        assert_int_equal(list->row_count, cell_of(table, r, "users")->i64);
        for (uint32_t u = 0; u < USERS; u++) {
            bool is_in = is_listed(list, u);
            if (is_told_in(whys[u], table, r, cells[q].columns) != is_in) {
                fail_msg("seed %" PRIu64 ": %s\nu%u is %s", seed, text, u,
                         is_in ? "in it, and why says no" : "not in it, and why says yes");
            }
            found += is_in ? 1 : 0;
        }
    }
    for (uint32_t u = 0; u < USERS; u++) {
        result_free(whys[u]);
    }
    return found;
}

static void verdicts_are_those_of_the_people_behind_the_cells(void **state)
{
    (void)state;
    uint64_t seed = seed_of_run() + 2000;
    uint32_t found = 0;
    for (uint64_t trial = 0; trial < 15; trial++) {
        struct rng rng = rng_init(seed + trial);
        world_make(&rng, DAY_MS);
        for (size_t q = 0; q < COUNT_OF(cells); q++) {
            found += check_cells(q, seed + trial);
        }
        world_done();
    }
    assert_true(found > 1000);
}

/* ---- what all subjects together add up to ---- */

/* Questions that count a subject more than once, or other subjects than users; `per`: channels. */
static const struct {
    const char *text;
    const char *columns[4];
    bool is_per;
} sums[] = {
    {"funnel view -> add -> order within 40m count totals", {"step"}, false},
    {"funnel view -> view -> add within 2h count totals by channel", {"channel", "step"}, false},
    {"funnel view -> add? -> order within 1h count totals by channel at step 2",
     {"channel", "step"},
     false},
    {"funnel view -> add -> order order any within 1h count totals", {"step"}, false},
    {"funnel view -> add -> order order strict within 2h count totals each hour",
     {"time", "step"},
     false},
    {"funnel view -> add -> order within 2h count totals each hour trend single by channel",
     {"time", "channel", "step"},
     false},
    {"funnel view -> add -> order count sessions each hour trend single", {"time", "step"}, false},
    {"funnel view -> add -> order within 1h each hour trend single from %1$sT01:00Z to %1$sT02:00Z "
     "compare previous period",
     {"series", "time", "step"},
     false},
    {"funnel view -> add within 2h each hour trend single per channel", {"time", "step"}, true},
    {"funnel view -> add within 2h count totals holding channel by vip", {"vip", "step"}, false},
    {"funnel view -> add within 2h count totals without rare by channel at all steps",
     {"channel", "step"},
     false},
    {"funnel view -> add within 2h count totals dropping users with rare", {"step"}, false},
    {"funnel view -> add -> order count sessions", {"step"}, false},
    {"funnel view -> add within 10m count sessions by channel", {"channel", "step"}, false},
    {"funnel view -> add -> order order any count sessions each hour", {"time", "step"}, false},
    {"funnel view -> add count sessions each hour by channel at all steps",
     {"time", "channel", "step"},
     false},
    {"funnel view -> add -> order within 1h per channel", {"step"}, true},
    {"funnel view -> add -> order within 1h count totals per channel by vip",
     {"vip", "step"},
     true},
    {"funnel view -> add count sessions per channel each hour", {"time", "step"}, true},
    {"funnel first view -> add within 2h per channel where vip = true", {"step"}, true},
    {"funnel view -> add within 2h by channel top 1 times", {NULL}, false},
    {"retention view -> add each hour for 3 per channel", {"cohort", "period"}, true},
    {"retention view[vip = true] -> any each hour for 3 per channel first_ever unfiltered",
     {"cohort", "period"},
     true},
    {"retention view -> add each hour for 3 recurring average", {"period"}, false},
    {"retention view -> any each hour for 2 per channel by vip average", {"vip", "period"}, true},
    {"funnel view -> add -> order within 1h from %1$sT00:00Z to %1$sT01:00Z compare previous "
     "period",
     {"series", "step"},
     false},
    {"funnel view -> add within 2h count totals from %1$sT02:00Z to %1$sT03:00Z compare previous "
     "period by channel",
     {"series", "channel", "step"},
     false},
    {"funnel view -> add within 2h per channel from %1$sT01:00Z to %1$sT03:00Z compare previous "
     "period",
     {"series", "step"},
     true},
    {"retention view -> add each hour for 2 recurring from %1$sT01:00Z to %1$sT03:00Z compare "
     "previous period",
     {"series", "cohort", "period"},
     false},
};

static int64_t told_in(const struct result *why, const struct result *table, uint64_t row,
                       const char *const columns[4])
{
    int64_t count = 0;
    for (uint64_t r = 0; r < why->row_count; r++) {
        bool is_one = is_item(why, r, "step") || is_item(why, r, "period");
        for (uint32_t i = 0; is_one && i < 4 && columns[i] != NULL; i++) {
            bool is_last = i == 3 || columns[i + 1] == NULL;
            is_one = cell_cmp(cell_of(table, row, columns[i]),
                              cell_of(why, r, is_last ? "number" : columns[i])) == 0;
        }
        count += is_one && holds(why, r) ? 1 : 0;
    }
    return count;
}

/* Attempts are told in order of time within their line, each with its steps, and the verdict is the first of the furthest. */
static void check_attempts(const struct result *why, const char *text, uint64_t seed)
{
    int64_t furthest = 0;
    int64_t told = 0;
    for (uint64_t r = 0; r < why->row_count; r++) {
        bool is_attempt = is_item(why, r, "attempt") || is_item(why, r, "session");
        if (is_item(why, r, "verdict")) {
            assert_true(r == 0 || told == furthest);
            furthest = cell_of(why, r, "number")->i64;
            bool has_attempts = r + 1 < why->row_count &&
                                (is_item(why, r + 1, "attempt") || is_item(why, r + 1, "session"));
            told = has_attempts ? 0 : furthest;
        } else if (is_attempt) {
            told = MAX_OF(told, cell_of(why, r, "number")->i64);
            const struct shop_event *start = event_of(why, r);
            if (r + 1 >= why->row_count || !is_item(why, r + 1, "step") ||
                event_of(why, r + 1) != start) {
                fail_msg("seed %" PRIu64 ": %s\nan attempt without its first step", seed, text);
            }
        }
    }
    assert_true(told == furthest);
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static void put_dates(const char *text, char out[TEXT_BYTES])
{
    char date[16];
    shop_date(BEGIN_MS, date);
    (void)snprintf(out, TEXT_BYTES, text, date);
}
#pragma GCC diagnostic pop

static int64_t check_sum(size_t q, uint64_t seed)
{
    static const char *const channels[] = {"ads", "mail", "organic"};
    char question[TEXT_BYTES];
    int64_t found = 0;
    uint32_t subjects = sums[q].is_per ? COUNT_OF(channels) : USERS;
    struct result *whys[USERS] = {NULL};
    put_dates(sums[q].text, question);
    CLEANUP(result_freep) struct result *table = run_text(question, false);
    for (uint32_t u = 0; u < subjects; u++) {
        char text[2 * TEXT_BYTES];
        char id[16];
        (void)snprintf(id, sizeof(id), "u%u", u % 100);
        (void)snprintf(text, sizeof(text), "why \"%s\" in %s", sums[q].is_per ? channels[u] : id,
                       question);
        whys[u] = run_text(text, u % 2 == 1);
        check_attempts(whys[u], text, seed);
    }
    for (uint64_t r = 0; r < table->row_count && sums[q].columns[0] != NULL; r++) {
        int64_t told = 0;
        for (uint32_t u = 0; u < subjects; u++) {
            told += told_in(whys[u], table, r, sums[q].columns);
        }
        if (told != cell_of(table, r, "users")->i64) {
            fail_msg("seed %" PRIu64 ": %s\nrow %" PRIu64 ": %" PRId64 ", and by why %" PRId64,
                     seed, question, r, cell_of(table, r, "users")->i64, told);
        }
        found += told;
    }
    for (uint32_t u = 0; u < subjects; u++) {
        result_free(whys[u]);
    }
    return found;
}

static void verdicts_of_all_add_up_to_the_answer(void **state)
{
    (void)state;
    uint64_t seed = seed_of_run() + 3000;
    int64_t found[COUNT_OF(sums)] = {0};
    for (uint64_t trial = 0; trial < 25; trial++) {
        struct rng rng = rng_init(seed + trial);
        world_make(&rng, (1 + rng_below(&rng, 12)) * UINT64_C(300000));
        for (size_t q = 0; q < COUNT_OF(sums); q++) {
            found[q] += check_sum(q, seed + trial);
        }
        world_done();
    }
    for (size_t q = 0; q < COUNT_OF(sums); q++) {
        if (sums[q].columns[0] != NULL && found[q] < 3) {
            fail_msg("%s: only %" PRId64 " found", sums[q].text, found[q]);
        }
    }
}

/* ---- one funnel in buckets ---- */

static const char *const singles[] = {
    "funnel view -> add -> order within 1d",
    "funnel view -> view -> add within 9h attempt latest ties strict",
    "funnel view -> add? -> order (5h) within 2d without rare by channel at step 2",
    "funnel view -> add -> order order any within 1d by channel at last set",
    "funnel view -> add -> order order strict within 2d attempt earliest",
    "funnel view -> add -> pay within 2d holding channel dropping users with rare by vip",
    "funnel first view -> add within 1d entry first closed where vip = true",
    "funnel view -> add within 1d by channel at all steps",
};

/* The same rows, but that they say in which bucket the attempt is: that of its first step. */
static void check_single(const struct result *whole, const struct result *each, const char *text,
                         uint64_t seed)
{
    bool is_same = each->row_count == whole->row_count;
    for (uint64_t r = 0; is_same && r < whole->row_count; r++) {
        for (uint32_t c = 0; is_same && c < whole->col_count; c++) {
            const struct cell *cell = &whole->cells[r * whole->col_count + c];
            is_same = cell_cmp(cell, &each->cells[r * each->col_count + c + 1]) == 0;
        }
        const struct cell *time = cell_of(each, r, "time");
        if (is_same && is_item(each, r, "step") && cell_of(each, r, "number")->i64 == 1) {
            const struct cell *entry = cell_of(each, r, "event_time");
            is_same = entry->kind == CELL_NULL ? time->kind == CELL_NULL
                                               : str_starts(entry->string, time->string);
        }
    }
    if (!is_same) {
        fail_msg("seed %" PRIu64 ": %s\nis another verdict than without buckets", seed, text);
    }
}

static void the_verdict_of_a_single_trend_is_that_of_the_whole_funnel(void **state)
{
    (void)state;
    uint64_t seed = seed_of_run() + 4000;
    for (uint64_t trial = 0; trial < 15; trial++) {
        struct rng rng = rng_init(seed + trial);
        world_make(&rng, (1 + rng_below(&rng, 8)) * DAY_MS / 4);
        for (uint32_t n = 0; n < COUNT_OF(singles) * USERS; n++) {
            char text[TEXT_BYTES];
            (void)snprintf(text, sizeof(text), "why \"u%u\" in %s", n % USERS, singles[n / USERS]);
            CLEANUP(result_freep) struct result *whole = run_text(text, false);
            size_t len = strlen(text);
            (void)snprintf(text + len, sizeof(text) - len, " each day trend single");
            CLEANUP(result_freep) struct result *each = run_text(text, one_in(&rng, 2));
            check_single(whole, each, text, seed + trial);
        }
        world_done();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(funnel_verdicts_equal_their_definition),
        cmocka_unit_test(retention_verdicts_equal_their_definition),
        cmocka_unit_test(verdicts_are_those_of_the_people_behind_the_cells),
        cmocka_unit_test(verdicts_of_all_add_up_to_the_answer),
        cmocka_unit_test(the_verdict_of_a_single_trend_is_that_of_the_whole_funnel),
    };
    return cmocka_run_group_tests(tests, world_open, world_close);
}
