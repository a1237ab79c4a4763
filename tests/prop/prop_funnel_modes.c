/* tests/prop/prop_funnel_modes.c - Goal: funnels with rules (strict and any order, optional steps, exclusions, reuse,
 * the modes of ClickHouse) equal their definitions. Method: short journeys, few event types, many ties in time,
 * windows around the journey's length, rules at random; ref_funnel_modes tries every choice of events. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/funnel_follow.h"
#include "storage/base/rng.h"
#include "tests/support/ref_funnel_modes.h"

#include <inttypes.h>
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
    bool is_first_taken = t->query.order != REF_ANY ||
                          (t->follower.rules.anchored == 0 && !t->query.is_strict_ties);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(funnels_equal_their_definitions_on_random_journeys),
        cmocka_unit_test(order_inside_one_instant_does_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
