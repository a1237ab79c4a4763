/* tests/prop/prop_funnel_modes.c - Goal: funnels with rules (strict and any order, optional steps, exclusions, reuse,
 * the modes of ClickHouse) equal their definitions. Method: short journeys, few event types, many ties in time,
 * windows around the journey's length, rules at random; ref_funnel_modes tries every choice of events. Then whole queries over
 * random users, in many layouts: the same bytes in all of them, and each user's level by the reference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/funnel_follow.h"
#include "storage/base/rng.h"
#include "tests/support/ref_funnel_modes.h"
#include "tests/support/verb_run.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define TRIALS       60000u
#define STEPS_MAX    4u
#define EVENTS_MAX   8u
#define FIRST_BAN    40u /* bits of the masks, as selectors would have them */
#define CONSIDER_BIT (UINT64_C(1) << 50)

struct trial {
    uint64_t seed;
    struct ref_modes_query query;
    struct ref_modes_event events[REF_MODES_EVENTS_MAX];
    int event_count;
    struct funnel_ban bans[REF_MODES_BANS_MAX], kept[REF_MODES_BANS_MAX];
    struct funnel_follower follower;
    int64_t times[REF_MODES_EVENTS_MAX];
    uint64_t masks[REF_MODES_EVENTS_MAX];
    uint64_t levels[REF_MODES_EVENTS_MAX], spare[REF_MODES_EVENTS_MAX];
};

static uint64_t seed_of_run(void)
{
    const char *text = getenv("TEST_SEED");
    return text != NULL ? strtoull(text, NULL, 0) : 20253;
}

static bool one_in(struct rng *rng, uint64_t n)
{
    return rng_below(rng, n) == 0;
}

/* ---- a trial ---- */

static void make_rules(struct trial *t, struct rng *rng, uint64_t span)
{
    struct ref_modes_query *q = &t->query;

    q->step_count = (int)(1 + rng_below(rng, STEPS_MAX));
    q->order = (enum ref_order)rng_below(rng, 3);
    q->has_window = !one_in(rng, 4);
    q->window_ms = rng_below(rng, span + 4);
    q->is_strict_ties = one_in(rng, 4);
    q->has_reuse = one_in(rng, 4);
    q->show = one_in(rng, 2) ? REF_SHOW_FIRST : (enum ref_show)rng_below(rng, 3);
    bool has_stops = q->order != REF_ANY && one_in(rng, 5);
    q->stops_on_repeat = has_stops && one_in(rng, 2);
    q->stops_on_foreign = has_stops && (!q->stops_on_repeat || one_in(rng, 2));
    q->ban_count = has_stops || q->step_count < 2 || one_in(rng, 2)
                       ? 0
                       : (int)(1 + rng_below(rng, REF_MODES_BANS_MAX));
    bool has_limits = q->order != REF_ANY && one_in(rng, 2);
    for (int i = 0; i < q->step_count; i++) {
        q->has_limit[i] = i > 0 && has_limits && !one_in(rng, 3);
        q->limit_ms[i] = rng_below(rng, span / 2 + 2);
        q->is_optional[i] = i > 0 && q->order != REF_ANY && !has_stops && one_in(rng, 4);
        q->is_anchored[i] = q->order == REF_ANY && one_in(rng, 4);
    }
    for (int b = 0; b < q->ban_count; b++) {
        int begin = (int)rng_below(rng, (uint64_t)q->step_count - 1);
        int end = begin + 1 + (int)rng_below(rng, (uint64_t)(q->step_count - 1 - begin));
        q->bans[b] = (struct ref_modes_ban){begin, end, one_in(rng, 2)};
        if (q->order == REF_ANY) {
            q->bans[b].begin = 0;
            q->bans[b].end = q->step_count - 1;
        }
    }
}

/* Event types: the steps name one or two of them each; exclusions have types of their own, mostly. */
static void make_events(struct trial *t, struct rng *rng, uint64_t span)
{
    struct ref_modes_query *q = &t->query;
    uint64_t types = 1 + rng_below(rng, 5);
    uint64_t ban_type = rng_below(rng, types + 1);
    uint64_t unseen = rng_below(rng, types + 2); /* what strict order does not look at */
    int64_t base = one_in(rng, 4) ? -7 : 1000;
    uint64_t type_of_step[REF_MODES_STEPS_MAX];

    for (int i = 0; i < q->step_count; i++) {
        type_of_step[i] = UINT64_C(1) << rng_below(rng, types);
        if (one_in(rng, 4)) {
            type_of_step[i] |= UINT64_C(1) << rng_below(rng, types);
        }
    }
    q->entry_first_ms = base + (int64_t)rng_below(rng, 3);
    q->entry_last_ms = base + (int64_t)(one_in(rng, 2) ? span : rng_below(rng, span + 1));
    t->event_count = (int)rng_below(rng, EVENTS_MAX + 1);
    int64_t at = base;
    for (int e = 0; e < t->event_count; e++) {
        struct ref_modes_event *event = &t->events[e];
        uint64_t type = rng_below(rng, types);
        at += one_in(rng, 3) ? 0 : (int64_t)rng_below(rng, 2 * span / (EVENTS_MAX) + 2);
        event->time_ms = at;
        event->is_considered = type != unseen;
        for (int b = 0; b < q->ban_count; b++) {
            event->is_ban[b] = type == (ban_type + (uint64_t)b) % (types + 1) && !one_in(rng, 5);
        }
        for (int i = 0; i < q->step_count; i++) {
            event->fits[i] = (type_of_step[i] >> type & 1) != 0 &&
                             (q->order != REF_STRICT || event->is_considered);
        }
    }
}

static void make_follower(struct trial *t)
{
    const struct ref_modes_query *q = &t->query;
    struct funnel_follower *f = &t->follower;
    struct funnel_rules *r = &f->rules;

    f->is_any = q->order == REF_ANY;
    f->show = (enum funnel_show)q->show;
    f->scratch = (struct funnel_scratch){t->levels, t->spare};
    *r = (struct funnel_rules){
        .step_count = (uint32_t)q->step_count,
        .window_ms = q->has_window ? q->window_ms : UINT64_MAX,
        .is_strict_ties = q->is_strict_ties,
        .has_reuse = q->has_reuse,
        .is_strict = q->order == REF_STRICT,
        .stops_on_repeat = q->stops_on_repeat,
        .stops_on_foreign = q->stops_on_foreign,
        .considered = q->order == REF_STRICT || q->stops_on_foreign ? CONSIDER_BIT : 0,
        .bans = t->bans,
        .ban_count = (uint32_t)q->ban_count,
    };
    for (int i = 0; i < q->step_count; i++) {
        r->limits_ms[i] = q->has_limit[i] ? q->limit_ms[i] : FUNNEL_NO_LIMIT;
        r->optional |= (uint64_t)q->is_optional[i] << i;
        r->anchored |= (uint64_t)q->is_anchored[i] << i;
    }
    f->undropped = *r;
    f->undropped.bans = t->kept;
    f->undropped.ban_count = 0;
    for (int b = 0; b < q->ban_count; b++) {
        t->bans[b] = (struct funnel_ban){FIRST_BAN + (uint32_t)b, (uint32_t)q->bans[b].begin + 1,
                                         (uint32_t)q->bans[b].end + 1, q->bans[b].is_dropping};
        uint64_t bit = UINT64_C(1) << t->bans[b].selector;
        r->ban_bits |= bit;
        if (q->bans[b].is_dropping) {
            r->drop_bits |= bit;
        } else {
            t->kept[f->undropped.ban_count++] = t->bans[b];
            f->undropped.ban_bits |= bit;
        }
    }
    for (int e = 0; e < t->event_count; e++) {
        const struct ref_modes_event *event = &t->events[e];
        t->times[e] = event->time_ms;
        t->masks[e] = event->is_considered ? CONSIDER_BIT : 0;
        for (int i = 0; i < q->step_count; i++) {
            t->masks[e] |= (uint64_t)event->fits[i] << i;
        }
        for (int b = 0; b < q->ban_count; b++) {
            t->masks[e] |= (uint64_t)event->is_ban[b] << (FIRST_BAN + (uint32_t)b);
        }
    }
}

static void trial_make(struct trial *t, uint64_t seed)
{
    struct rng rng = rng_init(seed);
    uint64_t span = 1 + rng_below(&rng, 20);

    *t = (struct trial){.seed = seed};
    make_rules(t, &rng, span);
    make_events(t, &rng, span);
    make_follower(t);
}

static struct funnel_shown follow(struct trial *t)
{
    struct funnel_shown shown = {0};
    struct err err = {0};
    struct funnel_view view = {t->times, t->masks, (size_t)t->event_count};
    struct funnel_entries entries = {t->query.entry_first_ms, t->query.entry_last_ms};

    assert_int_equal(funnel_follow(&t->follower, &view, entries, &shown, &err), ERR_OK);
    return shown;
}

/* ---- checks ---- */

static void check_events(const struct trial *t, const struct funnel_shown *got,
                         const struct ref_modes_answer *want)
{
    for (uint32_t i = 0; i < got->level; i++) {
        if ((got->filled >> i & 1) == 0) {
            continue;
        }
        size_t event = got->events[i];
        if (event >= (size_t)t->event_count || t->times[event] != got->times[i] ||
            (t->query.order != REF_ANY && (t->masks[event] >> i & 1) == 0)) {
            fail_msg("seed %" PRIu64 ": event %zu cannot be step %u", t->seed, event, i + 1);
        }
        for (uint32_t k = 0; k < i; k++) {
            if ((got->filled >> k & 1) != 0 && got->events[k] == event && !t->query.has_reuse) {
                fail_msg("seed %" PRIu64 ": event %zu fills two steps", t->seed, event);
            }
        }
    }
    if (!want->can_enter[got->events[0]]) {
        fail_msg("seed %" PRIu64 ": event %zu is no entry", t->seed, got->events[0]);
    }
    bool is_first_taken =
        t->query.order != REF_ANY || (t->follower.rules.anchored == 0 && !t->query.is_strict_ties);
    if (is_first_taken) {
        for (size_t e = 0; e < got->events[0]; e++) { /* the first that can be it */
            if (want->can_enter[e]) {
                fail_msg("seed %" PRIu64 ": event %zu is an entry, and before %zu", t->seed, e,
                         got->events[0]);
            }
        }
    }
}

static void check(struct trial *t)
{
    struct ref_modes_answer want = ref_funnel_modes(&t->query, t->events, t->event_count);
    struct funnel_shown got = follow(t);

    if ((int)got.level != want.level) {
        fail_msg("seed %" PRIu64 ": level %u, by definition %d", t->seed, got.level, want.level);
    }
    for (int i = 0; i < want.level; i++) {
        bool is_filled = (got.filled >> i & 1) != 0;
        if (is_filled != want.is_filled[i]) {
            fail_msg("seed %" PRIu64 ": step %d %s", t->seed, i + 1,
                     is_filled ? "is filled" : "is not filled");
        }
        if (is_filled && got.times[i] != want.times[i]) {
            fail_msg("seed %" PRIu64 ": step %d at %" PRId64 ", by definition %" PRId64, t->seed,
                     i + 1, got.times[i], want.times[i]);
        }
    }
    if (got.level > 0) {
        check_events(t, &got, &want);
    }
}

static void funnels_equal_their_definitions_on_random_journeys(void **state)
{
    (void)state;
    uint64_t seed = seed_of_run();
    uint32_t levels[3][STEPS_MAX + 1] = {0};

    for (uint64_t i = 0; i < TRIALS; i++) {
        struct trial t;
        trial_make(&t, seed + i);
        check(&t);
        levels[t.query.order][follow(&t).level]++;
    }
    for (uint32_t order = 0; order < 3; order++) {
        for (uint32_t level = 0; level <= STEPS_MAX; level++) {
            assert_true(levels[order][level] > TRIALS / 500); /* the trials are not trivial */
        }
    }
}

static void order_inside_one_instant_does_not_matter(void **state)
{
    (void)state;
    uint64_t seed = seed_of_run() + 1000000;

    for (uint64_t i = 0; i < TRIALS / 4; i++) {
        struct trial t;
        trial_make(&t, seed + i);
        struct funnel_shown want = follow(&t);
        for (int e = 0; e < t.event_count; e++) { /* reverse every group of equal times */
            int end = e;
            while (end + 1 < t.event_count && t.times[end + 1] == t.times[e]) {
                end++;
            }
            for (int a = e, b = end; a < b; a++, b--) {
                uint64_t swap = t.masks[a];
                t.masks[a] = t.masks[b];
                t.masks[b] = swap;
            }
            e = end;
        }
        struct funnel_shown got = follow(&t);
        bool is_same = got.level == want.level && got.filled == want.filled;
        for (uint32_t s = 0; is_same && s < got.level; s++) {
            is_same = (got.filled >> s & 1) == 0 || got.times[s] == want.times[s];
        }
        if (!is_same) {
            fail_msg("seed %" PRIu64 ": another answer for another order of equal times", t.seed);
        }
    }
}

/* ---- the whole verb ---- */

#define USERS       8u
#define USER_EVENTS 7u
#define CHANNELS    3u /* none, "p", "q": in canonical order */
#define PLANS       3u /* none, "k", "l" */
#define FROM_MS     INT64_C(1000)
#define TO_MS       INT64_C(1020)
#define RANGE       "from 1970-01-01T00:00:01Z to 1970-01-01T00:00:01.020Z"
#define BUCKETS     4u /* of 5 ms in it */

struct world {
    struct snap_event events[USERS * USER_EVENTS];
    uint8_t channels[USERS * USER_EVENTS], plans[USERS * USER_EVENTS];
    uint32_t event_count;
    char ids[USERS * USER_EVENTS][12];
    char users[USERS][8];
};
static const char *const names[] = {"a", "b", "c", "x"};
static const char *const plans[PLANS] = {"-", "k", "l"}; /* as answers have them */
#define CHANNEL(value)                                                                             \
    {                                                                                              \
        .name = "channel", .type = COL_STRING, .text = (value)                                     \
    }
#define PLAN(value)                                                                                \
    {                                                                                              \
        .name = "plan", .type = COL_STRING, .text = (value)                                        \
    }
/* Channel and plan, the one that is none last. */
static const struct snap_prop props_of[CHANNELS][PLANS][2] = {
    {{{0}}, {PLAN("k")}, {PLAN("l")}},
    {{CHANNEL("p")}, {PLAN("k"), CHANNEL("p")}, {PLAN("l"), CHANNEL("p")}},
    {{CHANNEL("q")}, {PLAN("k"), CHANNEL("q")}, {PLAN("l"), CHANNEL("q")}},
};

/* `is_apart`: no two events of a user share an instant. */
static void world_make(struct world *w, struct rng *rng, bool is_apart)
{
    w->event_count = 0;
    for (uint32_t u = 0; u < USERS; u++) {
        int64_t at = FROM_MS - 5;
        (void)snprintf(w->users[u], sizeof(w->users[u]), "u%u", u % 100);
        for (uint64_t n = rng_below(rng, USER_EVENTS + 1); n > 0; n--) {
            uint32_t i = w->event_count++;
            uint64_t channel = rng_below(rng, CHANNELS);
            uint64_t plan = rng_below(rng, PLANS);
            at += (int64_t)rng_below(rng, 7) + (is_apart ? 1 : 0);
            (void)snprintf(w->ids[i], sizeof(w->ids[i]), "%u", i);
            w->events[i] = (struct snap_event){
                .event_id = w->ids[i],
                .name = names[rng_below(rng, COUNT_OF(names))],
                .user = w->users[u],
                .time_ms = at,
                .props = props_of[channel][plan],
                .prop_count = (channel != 0 ? 1u : 0u) + (plan != 0 ? 1u : 0u),
            };
            w->channels[i] = (uint8_t)channel;
            w->plans[i] = (uint8_t)plan;
        }
    }
}

/* A user's journey as the reference takes it, of the funnel a -> b -> c. */
static int world_journey(const struct world *w, uint32_t user, const struct ref_modes_query *q,
                         const char *steps, struct ref_modes_event *events)
{
    int count = 0;
    for (uint32_t i = 0; i < w->event_count; i++) {
        const struct snap_event *event = &w->events[i];
        if (event->user != w->users[user] || event->time_ms < FROM_MS) {
            continue;
        }
        events[count] = (struct ref_modes_event){
            .time_ms = event->time_ms,
            .is_ban = {event->name[0] == 'x', event->name[0] == 'x'},
            .is_considered = true,
        };
        for (int s = 0; s < q->step_count; s++) {
            events[count].fits[s] = event->name[0] == steps[s];
        }
        count++;
    }
    return count;
}

/* A funnel as text and as the reference has it. */
struct asked {
    char text[400];
    char steps[4];
    struct ref_modes_query query;
};

static void ask(struct asked *asked, struct rng *rng)
{
    static const char *const step_texts[] = {"abc", "aac", "aab", "abb"};
    static const char *const orders[] = {"", " order strict", " order any"};
    struct ref_modes_query *q = &asked->query;

    *q = (struct ref_modes_query){
        .step_count = 3,
        .order = (enum ref_order)rng_below(rng, 3),
        .has_window = true,
        .window_ms = rng_below(rng, 25),
        .is_strict_ties = one_in(rng, 4),
        .has_reuse = one_in(rng, 5),
        .entry_first_ms = FROM_MS,
        .entry_last_ms = TO_MS - 1,
        .show = (enum ref_show)rng_below(rng, 3),
    };
    q->is_optional[1] = q->order != REF_ANY && one_in(rng, 3);
    q->ban_count = one_in(rng, 2) ? 1 : 0;
    q->bans[0] = (struct ref_modes_ban){0, 2, one_in(rng, 2)};
    if (q->order != REF_ANY && one_in(rng, 2)) {
        q->bans[0].begin = 1;
    }
    (void)snprintf(asked->steps, sizeof(asked->steps), "%s", step_texts[rng_below(rng, 4)]);
    const char *s = asked->steps;
    int len = snprintf(asked->text, sizeof(asked->text),
                       "funnel %c -> %c%s -> %c within %" PRIu64 "ms%s%s%s%s " RANGE, s[0], s[1],
                       q->is_optional[1] ? "?" : "", s[2], q->window_ms, orders[q->order],
                       q->is_strict_ties ? " ties strict" : "", q->has_reuse ? " reuse" : "",
                       q->show == REF_SHOW_EARLIEST ? " attempt earliest"
                       : q->show == REF_SHOW_LATEST ? " attempt latest"
                                                    : "");
    if (q->ban_count > 0) {
        (void)snprintf(asked->text + len, sizeof(asked->text) - (size_t)len,
                       " %s x between %d and %d",
                       q->bans[0].is_dropping ? "dropping users with" : "without",
                       q->bans[0].begin + 1, q->bans[0].end + 1);
    }
}

/* The answer, which must be the same in every layout and without indexes. */
static void answer(const struct world *w, const char *text, uint64_t seed, struct buf *out)
{
    CLEANUP(buf_freep) struct buf again = {0};
    struct rng rng = rng_init(seed);
    for (uint32_t sources = 1; sources <= 4; sources++) {
        struct snap_opts opts = {.source_count = sources,
                                 .memory_count = (uint32_t)rng_below(&rng, sources + 1),
                                 .shard_count = (uint32_t)rng_below(&rng, 4),
                                 .seed = seed + sources};
        CLEANUP(snap_freep) struct snap *snap = snap_build(w->events, w->event_count, &opts);
        (void)verb_run(snap, text, 0, VERB_RUN_INDEXED, sources == 1 ? out : &again);
        (void)verb_run(snap, text, 0, VERB_RUN_REFERENCE, &again);
        if (strcmp((const char *)again.ptr, (const char *)out->ptr) != 0) {
            fail_msg("seed %" PRIu64 ": \"%s\": \"%s\" and \"%s\"", seed, text, again.ptr,
                     out->ptr);
        }
    }
}

/* Column `col` of row `row`, of the rows in front of the totals; 0 where it is no number. */
static uint64_t number_at(const struct buf *table, uint32_t row, uint32_t col)
{
    const char *at = (const char *)table->ptr;
    for (uint32_t r = 0; r < row; r++) {
        at += strcspn(at, "\n") + 1;
    }
    for (uint32_t c = 0; c < col; c++) {
        at += strcspn(at, "|") + 1;
    }
    return strtoull(at, NULL, 10);
}

static uint32_t row_count(const struct buf *table)
{
    uint32_t rows = 0;
    for (const char *at = (const char *)table->ptr; at[0] != '=' && at[0] != 0; rows++) {
        at += strcspn(at, "\n") + 1;
    }
    return rows;
}

static void check_list(const struct world *w, const struct asked *asked, uint64_t seed)
{
    CLEANUP(buf_freep) struct buf list = {0};
    CLEANUP(buf_freep) struct buf want = {0};
    char text[500];

    (void)snprintf(text, sizeof(text), "%s list users", asked->text);
    answer(w, text, seed, &list);
    for (uint32_t u = 0; u < USERS; u++) {
        struct ref_modes_event events[REF_MODES_EVENTS_MAX];
        int count = world_journey(w, u, &asked->query, asked->steps, events);
        int level = ref_funnel_modes(&asked->query, events, count).level;
        if (level > 0) {
            buf_printf(&want, "%s|%d\n", w->users[u], level);
        }
    }
    buf_z(&want, "= -|-\n");
    buf_u8(&want, 0);
    if (strcmp((const char *)list.ptr, (const char *)want.ptr) != 0) {
        fail_msg("seed %" PRIu64 ": \"%s\": \"%s\", by definition \"%s\"", seed, text, list.ptr,
                 want.ptr);
    }
}

/* users(j) never grows along steps that have to be done; and the parts of a breakdown add up. */
static void check_parts(const struct world *w, const struct asked *asked, const char *at,
                        uint64_t seed)
{
    CLEANUP(buf_freep) struct buf whole = {0};
    CLEANUP(buf_freep) struct buf parts = {0};
    char text[500];
    uint64_t sums[3] = {0};

    answer(w, asked->text, seed, &whole);
    (void)snprintf(text, sizeof(text), "%s by channel%s", asked->text, at);
    answer(w, text, seed, &parts);
    for (uint32_t row = 0; row < row_count(&parts); row++) {
        sums[row % 3] += number_at(&parts, row, 3);
    }
    for (uint32_t step = 0; step < 3; step++) {
        if (sums[step] != number_at(&whole, step, 2)) {
            fail_msg("seed %" PRIu64 ": \"%s\": step %u: parts %" PRIu64 ", whole %" PRIu64, seed,
                     text, step + 1, sums[step], number_at(&whole, step, 2));
        }
    }
    assert_true(sums[1] <= sums[0] && sums[2] <= sums[0]);
    assert_true(sums[2] <= sums[1] || asked->query.is_optional[1]);
}

/* In a table of buckets with a row for each step: as many did it, of whom enters there. */
static void check_bucket_rows(const struct buf *each, const uint64_t users[BUCKETS][3],
                              const char *text, uint64_t seed)
{
    assert_int_equal(row_count(each), 3 * BUCKETS);
    for (uint32_t row = 0; row < 3 * BUCKETS; row++) {
        uint64_t want = users[row / 3][row % 3];
        if (number_at(each, row, 3) != want) {
            fail_msg("seed %" PRIu64 ": \"%s\": bucket %u, step %u: not %" PRIu64 ":\n%s", seed,
                     text, row / 3, row % 3 + 1, want, each->ptr);
        }
    }
}

/* Each bucket of 5 ms is a funnel of its own entries, or the one funnel's attempts that start there; the totals are those
 * of the whole. */
static void check_buckets(const struct world *w, const struct asked *asked, bool is_single,
                          uint64_t seed)
{
    CLEANUP(buf_freep) struct buf each = {0};
    CLEANUP(buf_freep) struct buf whole = {0};
    const struct ref_modes_buckets buckets = {5, BUCKETS, is_single};
    uint64_t users[BUCKETS][3] = {{0}};
    char text[500];

    answer(w, asked->text, seed, &whole);
    (void)snprintf(text, sizeof(text), "%s each 5ms%s", asked->text,
                   is_single ? " trend single" : "");
    answer(w, text, seed, &each);
    for (uint32_t u = 0; u < USERS; u++) {
        struct ref_modes_event events[REF_MODES_EVENTS_MAX];
        struct ref_modes_answer answers[BUCKETS];
        int count = world_journey(w, u, &asked->query, asked->steps, events);
        ref_funnel_modes_each(&asked->query, events, count, &buckets, answers);
        for (uint32_t b = 0; b < BUCKETS; b++) {
            for (int s = 0; s < answers[b].level; s++) {
                users[b][s] += answers[b].is_filled[s] ? 1 : 0;
            }
        }
    }
    check_bucket_rows(&each, users, text, seed);
    const char *totals = strstr((const char *)each.ptr, "= -|");
    assert_non_null(totals);
    assert_string_equal(totals + 4, strstr((const char *)whole.ptr, "= ") + 2);
}

/* Attempts one after the other, by following each with the reference; ordered, without exclusions, no ties. In buckets they
 * are the same ones. */
static void check_totals(const struct world *w, struct asked *asked, uint64_t seed)
{
    CLEANUP(buf_freep) struct buf table = {0};
    CLEANUP(buf_freep) struct buf each = {0};
    uint64_t attempts[3] = {0};
    uint64_t starts[BUCKETS][3] = {{0}};
    char text[500];
    struct ref_modes_query q = {.step_count = 3, .has_window = true};

    q.window_ms = asked->query.window_ms;
    (void)snprintf(asked->text, sizeof(asked->text),
                   "funnel %c -> %c -> %c within %" PRIu64 "ms count totals " RANGE,
                   asked->steps[0], asked->steps[1], asked->steps[2], q.window_ms);
    answer(w, asked->text, seed, &table);
    for (uint32_t u = 0; u < USERS; u++) {
        struct ref_modes_event events[REF_MODES_EVENTS_MAX];
        int count = world_journey(w, u, &q, asked->steps, events);
        int64_t over_ms = FROM_MS;
        for (int e = 0; e < count; e++) {
            if (!events[e].fits[0] || events[e].time_ms < over_ms || events[e].time_ms >= TO_MS) {
                continue;
            }
            q.entry_first_ms = q.entry_last_ms = events[e].time_ms;
            struct ref_modes_answer a = ref_funnel_modes(&q, events, count);
            for (int s = 0; s < a.level; s++) {
                attempts[s]++;
                starts[(events[e].time_ms - FROM_MS) / 5][s]++;
            }
            over_ms = a.level == 3 ? a.times[2] + 1 : events[e].time_ms + (int64_t)q.window_ms + 1;
        }
    }
    for (uint32_t step = 0; step < 3; step++) {
        if (number_at(&table, step, 2) != attempts[step]) {
            fail_msg("seed %" PRIu64 ": \"%s\": step %u: not %" PRIu64, seed, asked->text, step + 1,
                     attempts[step]);
        }
    }
    (void)snprintf(text, sizeof(text), "%s each 5ms trend single", asked->text);
    answer(w, text, seed, &each);
    check_bucket_rows(&each, starts, text, seed);
}

/* ---- held values, and keys ---- */

/* The event of the world that is event `at` of the user's journey. */
static uint32_t world_event(const struct world *w, uint32_t user, int at)
{
    uint32_t i = 0;
    for (int seen = 0;; i++) {
        assert_true(i < w->event_count);
        if (w->events[i].user == w->users[user] && w->events[i].time_ms >= FROM_MS &&
            seen++ == at) {
            return i;
        }
    }
}

/* Which of two shown attempts, of two held values, is shown: by the times alone, as within one value. +1: a, 0: they have the
 * same times, -1: b. */
static int rather(const struct ref_modes_query *q, const struct ref_modes_answer *a,
                  const struct ref_modes_answer *b)
{
    if (a->level != b->level || a->level == 0) {
        return (a->level > b->level) - (a->level < b->level);
    }
    int last = a->level - 1;
    int by_end = (a->times[last] < b->times[last]) - (a->times[last] > b->times[last]);
    int by_start = (a->times[0] > b->times[0]) - (a->times[0] < b->times[0]);
    by_start = q->show == REF_SHOW_EARLIEST ? -by_start : by_start;
    int order = q->show == REF_SHOW_FIRST && by_end != 0 ? by_end : by_start;
    order = order != 0 ? order : by_end;
    for (int i = 1; i < a->level && order == 0; i++) {
        order = a->is_filled[i] - b->is_filled[i];
        if (order == 0 && a->is_filled[i]) {
            order = (a->times[i] < b->times[i]) - (a->times[i] > b->times[i]);
        }
    }
    return order;
}

/* The user's shown attempt with one channel held, and the smallest plan among the events that it may start with. */
static struct ref_modes_answer held_attempt(const struct world *w, uint32_t user,
                                            const struct asked *asked, uint8_t channel,
                                            uint32_t *ret_plan)
{
    struct ref_modes_event events[REF_MODES_EVENTS_MAX];
    int count = world_journey(w, user, &asked->query, asked->steps, events);
    for (int e = 0; e < count; e++) {
        bool is_held = w->channels[world_event(w, user, e)] == channel;
        for (int s = 0; s < asked->query.step_count; s++) {
            events[e].fits[s] = events[e].fits[s] && is_held;
        }
    }
    struct ref_modes_answer answer = ref_funnel_modes(&asked->query, events, count);
    *ret_plan = PLANS;
    for (int e = 0; answer.level > 0 && e < count; e++) {
        uint8_t plan = w->plans[world_event(w, user, e)];
        *ret_plan = answer.can_enter[e] && plan < *ret_plan ? plan : *ret_plan;
    }
    return answer;
}

/* Of the attempts of all held values one is shown: its steps are counted under the smallest key that it may have. */
static void check_held(const struct world *w, const struct asked *asked, uint64_t seed)
{
    CLEANUP(buf_freep) struct buf table = {0};
    char text[500];
    uint64_t users[PLANS][3] = {{0}};
    uint32_t row = 0;
    for (uint32_t u = 0; u < USERS; u++) {
        struct ref_modes_answer best = {0};
        uint32_t best_plan = PLANS;
        for (uint8_t channel = 1; channel < CHANNELS; channel++) {
            uint32_t plan = PLANS;
            struct ref_modes_answer tried = held_attempt(w, u, asked, channel, &plan);
            int order = rather(&asked->query, &tried, &best);
            best_plan = order > 0 || (order == 0 && plan < best_plan) ? plan : best_plan;
            best = order > 0 ? tried : best;
        }
        for (int s = 0; s < best.level; s++) {
            users[best_plan][s] += best.is_filled[s] ? 1 : 0;
        }
    }
    (void)snprintf(text, sizeof(text), "%s holding channel by plan", asked->text);
    answer(w, text, seed, &table);
    for (uint32_t plan = 0; plan < PLANS; plan++) {
        for (uint32_t step = 0; users[plan][0] > 0 && step < 3; step++, row++) {
            const char *at = (const char *)table.ptr;
            for (uint32_t r = 0; r < row; r++) {
                at += strcspn(at, "\n") + 1;
            }
            if (at[0] != plans[plan][0] || number_at(&table, row, 3) != users[plan][step]) {
                fail_msg("seed %" PRIu64 ": \"%s\": plan %s, step %u: not %" PRIu64 ":\n%s", seed,
                         text, plans[plan], step + 1, users[plan][step], table.ptr);
            }
        }
    }
    assert_int_equal(row, row_count(&table));
}

/* The entry of an attempt in any order is told for sure where nothing else says which event it is; who is dropped is another
 * matter than which attempt is shown. */
static bool says_its_entry(const struct asked *asked)
{
    const struct ref_modes_query *q = &asked->query;
    return (q->order != REF_ANY || !q->is_strict_ties) &&
           (q->ban_count == 0 || !q->bans[0].is_dropping);
}

static void held_values_compete_by_times_and_then_by_keys(void **state)
{
    (void)state;
    uint64_t seed = seed_of_run() + 7000000;
    uint32_t checked = 0;
    for (uint64_t i = 0; i < 200; i++) {
        struct rng rng = rng_init(seed + i);
        struct world world;
        struct asked asked;
        world_make(&world, &rng, false);
        for (uint32_t e = 0; e < world.event_count; e++) { /* many ties */
            world.events[e].time_ms -= world.events[e].time_ms % 4;
        }
        ask(&asked, &rng);
        if (says_its_entry(&asked)) {
            check_held(&world, &asked, seed + i);
            checked++;
        }
    }
    assert_true(checked > 50);
}

/* ---- at all steps ---- */

/* The rows in front of the totals, each behind `prefix`. */
static void rows_behind(const struct buf *table, const char *prefix, struct buf *out)
{
    const char *at = (const char *)table->ptr;
    for (uint32_t row = row_count(table); row > 0; row--) {
        size_t len = strcspn(at, "\n") + 1;
        buf_z(out, prefix);
        buf_append(out, at, len);
        at += len;
    }
}

/* The line of a value is the funnel over the events that carry it. */
static void check_lines(const struct world *w, const char *funnel, uint64_t seed)
{
    static const char *const wheres[CHANNELS] = {"channel is not set", "channel = \"p\"",
                                                 "channel = \"q\""};
    static const char *const prefixes[CHANNELS] = {"-|", "p|", "q|"};
    CLEANUP(buf_freep) struct buf lines = {0};
    CLEANUP(buf_freep) struct buf got = {0};
    CLEANUP(buf_freep) struct buf want = {0};
    char text[700];
    (void)snprintf(text, sizeof(text), "%s by channel at all steps", funnel);
    answer(w, text, seed, &lines);
    rows_behind(&lines, "", &got);
    for (uint32_t c = 0; c < CHANNELS; c++) {
        CLEANUP(buf_freep) struct buf line = {0};
        (void)snprintf(text, sizeof(text), "%s where %s", funnel, wheres[c]);
        answer(w, text, seed, &line);
        if (number_at(&line, 0, 2) > 0) { /* who enters nowhere has no line */
            rows_behind(&line, prefixes[c], &want);
        }
    }
    buf_u8(&got, 0);
    buf_u8(&want, 0);
    if (strcmp((const char *)got.ptr, (const char *)want.ptr) != 0) {
        fail_msg("seed %" PRIu64 ": \"%s\" at all steps:\n%sof each value:\n%s", seed, funnel,
                 got.ptr, want.ptr);
    }
}

static void lines_at_all_steps_are_funnels_of_what_carries_the_value(void **state)
{
    (void)state;
    uint64_t seed = seed_of_run() + 8000000;
    for (uint64_t i = 0; i < 200; i++) {
        struct rng rng = rng_init(seed + i);
        struct world world;
        struct asked asked;
        char text[600];
        world_make(&world, &rng, false);
        ask(&asked, &rng);
        (void)snprintf(text, sizeof(text), "funnel%s%s%s", one_in(&rng, 3) ? " first" : "",
                       asked.text + strlen("funnel"), one_in(&rng, 4) ? " holding plan" : "");
        check_lines(&world, text, seed + i);
    }
}

/* ---- one funnel in buckets ---- */

/* The cells of row `row` from column `col` on, up to the end of column `end`. */
static struct str cells_at(const struct buf *table, uint32_t row, uint32_t col, uint32_t end)
{
    const char *at = (const char *)table->ptr;
    for (uint32_t r = 0; r < row; r++) {
        at += strcspn(at, "\n") + 1;
    }
    for (uint32_t c = 0; c < col; c++) {
        at += strcspn(at, "|") + 1;
    }
    const char *to = at;
    for (uint32_t c = col; c < end; c++) {
        to += strcspn(to, "|") + 1;
    }
    return (struct str){at, (size_t)(to - at)};
}

/* The buckets of every row of the whole add up to it, whatever stands in front of `users`; and there are no other rows. */
static uint64_t check_sums(const struct buf *whole, const struct buf *each, uint32_t users,
                           const char *text, uint64_t seed)
{
    uint32_t matched = 0;
    uint64_t found = 0;
    for (uint32_t row = 0; row < row_count(whole); row++) {
        struct str lead = cells_at(whole, row, 0, users);
        uint64_t sum = 0;
        for (uint32_t part = 0; part < row_count(each); part++) {
            bool is_part = str_eq(cells_at(each, part, 1, users + 1), lead);
            matched += is_part ? 1 : 0;
            sum += is_part ? number_at(each, part, users + 1) : 0;
        }
        if (sum != number_at(whole, row, users)) {
            fail_msg("seed %" PRIu64 ": \"%s\": the buckets of " STR_FMT " add up to %" PRIu64
                     ":\n%sof\n%s",
                     seed, text, STR_ARG(lead), sum, each->ptr, whole->ptr);
        }
        found += sum;
    }
    assert_int_equal(matched, row_count(each));
    const char *totals = strstr((const char *)each->ptr, "= -|");
    assert_non_null(totals);
    assert_string_equal(totals + 4, strstr((const char *)whole->ptr, "= ") + 2);
    return found;
}

/* A funnel with any of its words; *ret_has_key: it is broken down. */
static void ask_more(char *text, size_t size, struct rng *rng, bool *ret_has_key)
{
    static const char *const bys[] = {"",
                                      " by channel",
                                      " by channel at step 2",
                                      " by plan at first set",
                                      " by channel at last set",
                                      " by channel at all steps",
                                      " by plan at all steps top 1",
                                      " by channel top 1 with other"};
    static const char *const counts[] = {"", "", " count totals", " count sessions"};
    static const char *const subjects[] = {"", "", "", " per plan"};
    struct asked asked;
    uint64_t by = rng_below(rng, COUNT_OF(bys));
    const char *count = counts[rng_below(rng, COUNT_OF(counts))];
    const char *entry = one_in(rng, 5) && strcmp(count, " count totals") != 0 ? " entry first" : "";
    ask(&asked, rng);
    char *range = strstr(asked.text, RANGE);
    assert_non_null(range);
    if (one_in(rng, 4)) { /* all of the data */
        memmove(range, range + strlen(RANGE), strlen(range + strlen(RANGE)) + 1);
    }
    (void)snprintf(text, size, "funnel%s%s%s%s%s%s%s", one_in(rng, 4) ? " first" : "",
                   asked.text + strlen("funnel"), count, entry,
                   one_in(rng, 4) ? " holding channel" : "",
                   subjects[rng_below(rng, COUNT_OF(subjects))], bys[by]);
    *ret_has_key = by > 0;
}

static void buckets_of_one_funnel_add_up_to_it(void **state)
{
    (void)state;
    uint64_t seed = seed_of_run() + 9000000;
    uint64_t found = 0;
    for (uint64_t i = 0; i < 400; i++) {
        CLEANUP(buf_freep) struct buf whole = {0};
        CLEANUP(buf_freep) struct buf each = {0};
        struct rng rng = rng_init(seed + i);
        struct world world;
        char text[600];
        char trend[700];
        bool has_key = false;
        bool has_times = one_in(&rng, 3);
        world_make(&world, &rng, one_in(&rng, 2));
        ask_more(text, sizeof(text), &rng, &has_key);
        size_t len = strlen(text);
        if (has_times) { /* to the millisecond: then all durations are the same */
            for (uint32_t ms = 1; ms < 30; ms++, len = strlen(text)) {
                (void)snprintf(text + len, sizeof(text) - len, "%s%ums",
                               ms == 1 ? " times (" : ", ", ms);
            }
            (void)snprintf(text + len, sizeof(text) - len, ")");
        }
        (void)snprintf(trend, sizeof(trend), "%s each %ums trend single", text,
                       1 + (uint32_t)rng_below(&rng, 9));
        answer(&world, text, seed + i, &whole);
        answer(&world, trend, seed + i, &each);
        assert_null(strstr((const char *)each.ptr, "error"));
        found += check_sums(&whole, &each, (has_key ? 1u : 0u) + 2, trend, seed + i);
    }
    assert_true(found > 1000);
}

/* ---- all ---- */

static void whole_answers_equal_their_definitions_in_every_layout(void **state)
{
    (void)state;
    static const char *const ats[] = {"", " at step 2", " at first set", " at last set"};
    uint64_t seed = seed_of_run() + 5000000;

    for (uint64_t i = 0; i < 100; i++) {
        struct rng rng = rng_init(seed + i);
        struct world world;
        struct asked asked;
        world_make(&world, &rng, false);
        ask(&asked, &rng);
        check_list(&world, &asked, seed + i);
        check_parts(&world, &asked, ats[i % COUNT_OF(ats)], seed + i);
        check_buckets(&world, &asked, one_in(&rng, 2), seed + i);
        world_make(&world, &rng, true);
        check_totals(&world, &asked, seed + i);
    }
}

/* What is held, read at all steps, per another subject, cut into sessions, correlated: the same bytes. */
static void answers_do_not_depend_on_layout_or_indexes(void **state)
{
    (void)state;
    static const char *const words[] = {
        "holding channel",
        "by channel at all steps",
        "holding channel by channel",
        "count totals by channel",
        "count sessions",
        "per channel",
        "correlate events",
        "correlate channel",
        "times by channel",
        "order any by channel",
        "order strict by channel at last set",
        "holding channel count totals each 5ms",
        "by channel at all steps each 5ms top 1 with other",
        "by channel at last set each 5ms trend single",
        "count totals per channel each 5ms trend single by plan top 1",
    };
    uint64_t seed = seed_of_run() + 6000000;

    for (uint64_t i = 0; i < 10 * COUNT_OF(words); i++) {
        struct rng rng = rng_init(seed + i);
        CLEANUP(buf_freep) struct buf out = {0};
        struct world world;
        char text[300];
        world_make(&world, &rng, false);
        (void)snprintf(text, sizeof(text), "funnel a -> b -> c within %" PRIu64 "ms %s " RANGE,
                       rng_below(&rng, 25), words[i % COUNT_OF(words)]);
        answer(&world, text, seed + i, &out);
        assert_null(strstr((const char *)out.ptr, "error"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(funnels_equal_their_definitions_on_random_journeys),
        cmocka_unit_test(order_inside_one_instant_does_not_matter),
        cmocka_unit_test(whole_answers_equal_their_definitions_in_every_layout),
        cmocka_unit_test(answers_do_not_depend_on_layout_or_indexes),
        cmocka_unit_test(held_values_compete_by_times_and_then_by_keys),
        cmocka_unit_test(lines_at_all_steps_are_funnels_of_what_carries_the_value),
        cmocka_unit_test(buckets_of_one_funnel_add_up_to_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
