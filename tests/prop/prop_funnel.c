/* tests/prop/prop_funnel.c - Goal: the streaming funnel, and the attempt it shows, equal their
 * definition. Method: short journeys, few event types, many ties in time, windows around the
 * journey's length; ref_funnel tries every choice of events. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/funnel_attempt.h"
#include "storage/base/rng.h"
#include "tests/support/ref_funnel.h"
#include "tests/support/snap_query.h"
#include "tests/support/verb_run.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define TRIALS 40000u

struct trial {
    uint64_t seed;
    struct ref_funnel_query query;
    struct ref_funnel_event events[REF_FUNNEL_EVENTS_MAX];
    int event_count;
    struct funnel_spec spec;
    int64_t times[REF_FUNNEL_EVENTS_MAX];
    uint64_t masks[REF_FUNNEL_EVENTS_MAX];
};

static uint64_t seed_of_run(void)
{
    const char *text = getenv("TEST_SEED");
    return text != NULL ? strtoull(text, NULL, 0) : 20251;
}

/* Steps name one event type each, or two (alternatives), possibly the same as another step; so an
 * event fits any number of steps. */
static void trial_make(struct trial *t, uint64_t seed)
{
    struct rng rng = rng_init(seed);
    uint64_t types = 1 + rng_below(&rng, 4);
    uint64_t span = 1 + rng_below(&rng, 20);
    uint64_t alternatives = rng_below(&rng, 3);
    int64_t base = rng_below(&rng, 4) == 0 ? INT64_MIN : (int64_t)rng_below(&rng, 3) * 1000 - 10;
    uint64_t type_of_step[REF_FUNNEL_STEPS_MAX]; /* bits */

    *t = (struct trial){.seed = seed};
    t->query.step_count = (int)(1 + rng_below(&rng, 5));
    t->query.has_window = rng_below(&rng, 4) != 0;
    t->query.window_ms = rng_below(&rng, span + 4);
    t->query.is_strict_ties = rng_below(&rng, 4) == 0;
    bool has_limits = rng_below(&rng, 2) == 0;
    for (int i = 0; i < t->query.step_count; i++) {
        type_of_step[i] = UINT64_C(1) << rng_below(&rng, types);
        if (alternatives > 0 && rng_below(&rng, 2) == 0) {
            type_of_step[i] |= UINT64_C(1) << rng_below(&rng, types);
        }
        t->query.has_limit[i] = i > 0 && has_limits && rng_below(&rng, 3) != 0;
        t->query.limit_ms[i] = rng_below(&rng, span / 2 + 2);
    }
    t->event_count = (int)rng_below(&rng, 11);
    int64_t from = base + (int64_t)rng_below(&rng, 3);
    int64_t to = base + (int64_t)(rng_below(&rng, 2) == 0 ? span + 1 : rng_below(&rng, span + 1));
    for (int e = 0; e < t->event_count; e++) {
        uint64_t type = rng_below(&rng, types);
        t->events[e].time_ms = base + (int64_t)rng_below(&rng, span);
        for (int i = 0; i < t->query.step_count; i++) {
            t->events[e].fits[i] = (type_of_step[i] >> type & 1) != 0;
        }
        if (t->events[e].time_ms < from || t->events[e].time_ms >= to) {
            t->events[e].fits[0] = false;
        }
    }
    /* The journey is in order of time; the reference's list as well, so that indexes mean the same.
     */
    for (int a = 0; a < t->event_count; a++) {
        for (int b = a + 1; b < t->event_count; b++) {
            if (t->events[b].time_ms < t->events[a].time_ms) {
                struct ref_funnel_event swap = t->events[a];
                t->events[a] = t->events[b];
                t->events[b] = swap;
            }
        }
    }
    t->spec = (struct funnel_spec){
        .step_count = (uint32_t)t->query.step_count,
        .window_ms = t->query.has_window ? t->query.window_ms : UINT64_MAX,
        .is_strict_ties = t->query.is_strict_ties,
    };
    for (int i = 0; i < t->query.step_count; i++) {
        t->spec.limits_ms[i] = t->query.has_limit[i] ? t->query.limit_ms[i] : FUNNEL_NO_LIMIT;
        t->spec.has_limits = t->spec.has_limits || t->query.has_limit[i];
    }
    for (int e = 0; e < t->event_count; e++) {
        t->times[e] = t->events[e].time_ms;
        for (int i = 0; i < t->query.step_count; i++) {
            t->masks[e] |= (uint64_t)t->events[e].fits[i] << i;
        }
    }
}

static void check(const struct trial *t)
{
    uint64_t scratch[REF_FUNNEL_EVENTS_MAX];
    int64_t steps_ms[QUERY_STEPS_MAX];
    struct funnel_journey journey = {t->times, t->masks, (size_t)t->event_count};
    struct ref_funnel_answer want = ref_funnel(&t->query, t->events, t->event_count);
    struct funnel_reach got = kernel_funnel(&t->spec, t->times, t->masks, (size_t)t->event_count);

    if ((int)got.level != want.level) {
        fail_msg("seed %" PRIu64 ": level %u, by definition %d", t->seed, got.level, want.level);
    }
    if (got.level == 0) {
        return;
    }
    if (got.start_ms != want.times[0] || got.end_ms != want.times[want.level - 1]) {
        fail_msg("seed %" PRIu64 ": attempt %" PRId64 " .. %" PRId64 ", by definition %" PRId64
                 " .. %" PRId64,
                 t->seed, got.start_ms, got.end_ms, want.times[0], want.times[want.level - 1]);
    }
    size_t begin = funnel_attempt_start(&journey, got.start_ms);
    struct funnel_instant start = funnel_instant_from(&journey, begin);
    uint32_t first_steps = funnel_attempt(&t->spec, &journey, &got, begin, scratch, steps_ms);
    uint32_t want_first = 0;
    for (int i = 0; i < want.level; i++) {
        want_first += want.times[i] == want.times[0] ? 1 : 0;
        if (steps_ms[i] != want.times[i]) {
            fail_msg("seed %" PRIu64 ": step %d at %" PRId64 ", by definition %" PRId64, t->seed,
                     i + 1, steps_ms[i], want.times[i]);
        }
    }
    assert_int_equal(first_steps, want_first);
    for (size_t e = start.begin; e < start.end; e++) {
        if (funnel_attempt_is_entry(&journey, start, first_steps, e) != want.can_enter[e]) {
            fail_msg("seed %" PRIu64 ": event %zu as the entry: not as defined", t->seed, e);
        }
    }
}

static void funnel_equals_its_definition_on_random_journeys(void **state)
{
    (void)state;
    uint64_t seed = seed_of_run();
    uint32_t levels[6] = {0};

    for (uint64_t i = 0; i < TRIALS; i++) {
        struct trial t;
        trial_make(&t, seed + i);
        check(&t);
        levels[kernel_funnel(&t.spec, t.times, t.masks, (size_t)t.event_count).level]++;
    }
    for (uint32_t level = 0; level <= 5; level++) {
        assert_true(levels[level] > TRIALS / 200); /* the trials are not trivial */
    }
}

static void order_inside_one_instant_does_not_matter(void **state)
{
    (void)state;
    uint64_t seed = seed_of_run() + 1000000;

    for (uint64_t i = 0; i < TRIALS / 4; i++) {
        struct trial t;
        trial_make(&t, seed + i);
        struct funnel_reach want = kernel_funnel(&t.spec, t.times, t.masks, (size_t)t.event_count);
        for (int e = 0; e + 1 < t.event_count; e++) { /* reverse every group of equal times */
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
        struct funnel_reach got = kernel_funnel(&t.spec, t.times, t.masks, (size_t)t.event_count);
        if (got.level != want.level || got.start_ms != want.start_ms || got.end_ms != want.end_ms) {
            fail_msg("seed %" PRIu64 ": another answer for another order of equal times", t.seed);
        }
    }
}

/* A step more never brings a user further on the steps before it. */
static void users_never_grow_from_step_to_step(void **state)
{
    (void)state;
    uint64_t seed = seed_of_run() + 2000000;

    for (uint64_t i = 0; i < TRIALS / 4; i++) {
        struct trial t;
        trial_make(&t, seed + i);
        uint32_t whole = kernel_funnel(&t.spec, t.times, t.masks, (size_t)t.event_count).level;
        for (uint32_t k = 1; k <= (uint32_t)t.query.step_count; k++) {
            t.spec.step_count = k;
            uint32_t part = kernel_funnel(&t.spec, t.times, t.masks, (size_t)t.event_count).level;
            if (part != (whole < k ? whole : k)) {
                fail_msg("seed %" PRIu64 ": level %u of %u steps, %u of all", t.seed, part, k,
                         whole);
            }
        }
    }
}

/* ---- the whole verb ---- */

#define USERS      12u
#define USER_STEPS 3
#define CHANNELS   3u /* none, "p", "q": in canonical order */

struct world {
    struct snap_event events[USERS * 10];
    uint32_t event_count;
    char ids[USERS * 10][12];
    char users[USERS][8];
};
static const char *const step_names[USER_STEPS] = {"a", "b", "c"};
static const struct snap_prop channels[] = {
    {.name = "channel", .type = COL_STRING, .text = "p"},
    {.name = "channel", .type = COL_STRING, .text = "q"},
};

static void world_make(struct world *w, struct rng *rng)
{
    w->event_count = 0;
    for (uint32_t u = 0; u < USERS; u++) {
        (void)snprintf(w->users[u], sizeof(w->users[u]), "u%u", u % 100);
        for (uint64_t n = rng_below(rng, 10); n > 0; n--) {
            uint32_t i = w->event_count++;
            uint64_t channel = rng_below(rng, CHANNELS);
            (void)snprintf(w->ids[i], sizeof(w->ids[i]), "%u", i);
            w->events[i] = (struct snap_event){
                .event_id = w->ids[i],
                .name = rng_below(rng, 8) == 0 ? "x" : step_names[rng_below(rng, USER_STEPS)],
                .user = w->users[u],
                .time_ms = 1000 + (int64_t)rng_below(rng, 30),
                .props = channel == 0 ? NULL : &channels[channel - 1],
                .prop_count = channel == 0 ? 0 : 1,
            };
        }
    }
}

/* Users per channel and step, by the reference; steps c and b may be the same. */
static void world_expect(const struct world *w, const struct ref_funnel_query *query,
                         const char *names, uint64_t users[CHANNELS][USER_STEPS])
{
    for (uint32_t u = 0; u < USERS; u++) {
        struct ref_funnel_event events[REF_FUNNEL_EVENTS_MAX];
        uint32_t channel_of[REF_FUNNEL_EVENTS_MAX];
        int count = 0;
        for (uint32_t i = 0; i < w->event_count; i++) {
            const struct snap_event *event = &w->events[i];
            if (event->user != w->users[u]) {
                continue;
            }
            events[count] = (struct ref_funnel_event){.time_ms = event->time_ms};
            for (int step = 0; step < query->step_count; step++) {
                events[count].fits[step] =
                    event->name[0] == names[step] && (step > 0 || event->time_ms < 1020);
            }
            channel_of[count] = event->props == NULL ? 0 : event->props == &channels[0] ? 1 : 2;
            count++;
        }
        struct ref_funnel_answer answer = ref_funnel(query, events, count);
        uint32_t channel = CHANNELS;
        for (int e = 0; e < count; e++) {
            if (answer.can_enter[e] && channel_of[e] < channel) {
                channel = channel_of[e];
            }
        }
        for (int step = 0; step < answer.level; step++) {
            users[channel][step]++;
        }
    }
}

/* The first columns of the answer: "channel|step|event|users". */
static void check_world(const char *got, const char *names, uint64_t users[CHANNELS][USER_STEPS],
                        uint64_t seed)
{
    static const char *const labels[CHANNELS] = {"-", "p", "q"};
    for (uint32_t c = 0; c < CHANNELS; c++) {
        for (uint32_t step = 0; step < USER_STEPS && users[c][0] > 0; step++) {
            char want[64];
            (void)snprintf(want, sizeof(want), "%s|%u|%c|%" PRIu64 "|", labels[c], step + 1,
                           names[step], users[c][step]);
            char row[sizeof(want)] = "";
            strncat(row, got, strlen(want));
            if (strcmp(row, want) != 0) {
                fail_msg("seed %" PRIu64 ": row \"%s\", by definition \"%s\"", seed, row, want);
            }
            got += strcspn(got, "\n") + 1;
        }
    }
    if (strncmp(got, "= ", 2) != 0) {
        fail_msg("seed %" PRIu64 ": more rows than by definition", seed);
    }
}

static void answers_do_not_depend_on_layout_or_indexes(void **state)
{
    (void)state;
    uint64_t seed = seed_of_run() + 3000000;

    for (uint64_t i = 0; i < 120; i++) {
        struct rng rng = rng_init(seed + i);
        struct world world;
        CLEANUP(buf_freep) struct buf first = {0};
        CLEANUP(buf_freep) struct buf again = {0};
        char text[200];
        const char *names = rng_below(&rng, 4) == 0 ? "aac" : "abc";
        struct ref_funnel_query query = {
            .step_count = USER_STEPS,
            .has_window = true,
            .window_ms = rng_below(&rng, 30),
            .has_limit = {false, true, false},
            .limit_ms = {0, rng_below(&rng, 12), 0},
            .is_strict_ties = rng_below(&rng, 3) == 0,
        };
        uint64_t users[CHANNELS][USER_STEPS] = {0};
        world_make(&world, &rng);
        world_expect(&world, &query, names, users);
        (void)snprintf(text, sizeof(text),
                       "funnel %c -> %c (%" PRIu64 "ms) -> %c within %" PRIu64 "ms%s by channel "
                       "from 1970-01-01T00:00:01Z to 1970-01-01T00:00:01.020Z",
                       names[0], names[1], query.limit_ms[1], names[2], query.window_ms,
                       query.is_strict_ties ? " ties strict" : "");
        for (uint32_t sources = 1; sources <= 5; sources++) {
            struct snap_opts opts = {.source_count = sources,
                                     .memory_count = (uint32_t)rng_below(&rng, sources + 1),
                                     .shard_count = (uint32_t)rng_below(&rng, 4),
                                     .seed = seed + i};
            struct buf *out = sources == 1 ? &first : &again;
            CLEANUP(snap_freep)
            struct snap *snap = snap_build(world.events, world.event_count, &opts);
            (void)verb_run(snap, text, 0, VERB_RUN_INDEXED, out);
            assert_string_equal((const char *)out->ptr, (const char *)first.ptr);
            (void)verb_run(snap, text, 0, VERB_RUN_REFERENCE, &again);
            assert_string_equal((const char *)again.ptr, (const char *)first.ptr);
        }
        check_world((const char *)first.ptr, names, users, seed + i);
    }
}

/* ---- subjects that sets tell enough of ---- */

#define MANY_USERS  60u
#define MANY_EVENTS 240u
#define SPAN_HOURS  144u /* before now: some of it mature, some not, and days that are cut */
#define HOUR_MS     INT64_C(3600000)

struct crowd {
    struct snap_event events[MANY_EVENTS];
    char ids[MANY_EVENTS][8];
    char users[MANY_USERS][8];
};

/* Later steps are rarer: most users do the first and no more. */
static void crowd_make(struct crowd *crowd, struct rng *rng)
{
    static const char *const names[] = {"a", "a", "a", "a", "b", "b", "c", "x"};
    for (uint32_t u = 0; u < MANY_USERS; u++) {
        (void)snprintf(crowd->users[u], sizeof(crowd->users[u]), "u%u", u % 1000);
    }
    for (uint32_t i = 0; i < MANY_EVENTS; i++) {
        (void)snprintf(crowd->ids[i], sizeof(crowd->ids[i]), "%u", i % 100000);
        crowd->events[i] = (struct snap_event){
            .event_id = crowd->ids[i],
            .name = names[rng_below(rng, COUNT_OF(names))],
            .user = crowd->users[rng_below(rng, MANY_USERS)],
            .time_ms = SNAP_NOW_MS - (int64_t)rng_below(rng, SPAN_HOURS * 60) * (HOUR_MS / 60),
        };
    }
}

static void crowd_ask(struct rng *rng, char *out, size_t size)
{
    static const char *const steps[] = {
        "a -> b",       "a -> b -> c",      "a -> b -> a",  "a -> a",
        "(a | x) -> b", "b -> c -> a -> b", "a -> nothing", "a"};
    static const char *const ranges[] = {"", " from 2025-05-11 to 2025-05-14",
                                         " from 2025-05-10T07:00 to 2025-05-13T19:30", " last 48h",
                                         " from 2025-05-14T20:00 to 2025-05-16"};
    char window[32] = "";
    if (rng_below(rng, 5) > 0) {
        (void)snprintf(window, sizeof(window), " within %uh", 1 + (unsigned)rng_below(rng, 96));
    }
    (void)snprintf(out, size, "funnel %s%s%s", steps[rng_below(rng, COUNT_OF(steps))], window,
                   ranges[rng_below(rng, COUNT_OF(ranges))]);
}

static void leaving_out_rows_of_whom_sets_say_enough_changes_nothing(void **state)
{
    (void)state;
    uint64_t seed = seed_of_run() + 4000000;
    uint64_t with_mature = 0;

    for (uint64_t i = 0; i < 400; i++) {
        struct rng rng = rng_init(seed + i);
        struct crowd crowd;
        char text[160];
        struct result_meta metas[2];
        char *answers[2] = {NULL};
        struct snap_opts opts = {.source_count = 1 + (uint32_t)rng_below(&rng, 5),
                                 .shard_count = (uint32_t)rng_below(&rng, 4),
                                 .seed = seed + i};
        opts.memory_count = (uint32_t)rng_below(&rng, opts.source_count + 1);
        crowd_make(&crowd, &rng);
        CLEANUP(snap_freep) struct snap *snap = snap_build(crowd.events, MANY_EVENTS, &opts);
        for (uint64_t k = rng_below(&rng, 8); k > 0; k--) { /* some are erased, or left out */
            snap_delete(snap, crowd.events[rng_below(&rng, MANY_EVENTS)].user);
        }
        crowd_ask(&rng, text, sizeof(text));
        for (int path = 0; path < 2; path++) {
            const struct snap_query_opts how = {.is_reference_path = path == 1};
            CLEANUP(result_freep) struct result *result = NULL;
            struct err err = {0};
            assert_int_equal(snap_query(snap, text, &how, &result, &err), ERR_OK);
            metas[path] = result->meta;
            answers[path] = snap_query_json(snap, text, &how);
        }
        if (strcmp(answers[0], answers[1]) != 0 || metas[0].entered != metas[1].entered ||
            metas[0].mature != metas[1].mature) {
            fail_msg("seed %" PRIu64 ", %s: %s, %" PRIu64 " mature; by rows %s, %" PRIu64, seed + i,
                     text, answers[0], metas[0].mature, answers[1], metas[1].mature);
        }
        with_mature += metas[0].mature > 0 && metas[0].mature < metas[0].entered;
        free(answers[0]);
        free(answers[1]);
    }
    assert_true(with_mature > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(funnel_equals_its_definition_on_random_journeys),
        cmocka_unit_test(order_inside_one_instant_does_not_matter),
        cmocka_unit_test(users_never_grow_from_step_to_step),
        cmocka_unit_test(answers_do_not_depend_on_layout_or_indexes),
        cmocka_unit_test(leaving_out_rows_of_whom_sets_say_enough_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
