/* tests/prop/prop_retention.c - Goal: the retention kernel over its calendar of slots equals the
 * definition. Method: random journeys around changes of the clock in several zones; the period of
 * each event comes from the C library's localtime_r, not from our calendar; ref_retention counts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/retention_calendar.h"
#include "storage/base/rng.h"
#include "tests/support/ref_retention.h"
#include "tests/support/verb_run.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TRIALS_PER_ZONE 3000u
#define DAY_MS          INT64_C(86400000)

struct place {
    const char *zone;
    int64_t around_ms; /* something happens to the clock here */
};
static const struct place places[] = {
    {"UTC", 0},
    {"Europe/Paris", INT64_C(1743296400000)},      /* 2025-03-30: 23 hours */
    {"America/New_York", INT64_C(1762063200000)},  /* 2025-11-02: 25 hours */
    {"America/Sao_Paulo", INT64_C(1541300400000)}, /* 2018-11-04 has no midnight */
    {"Asia/Shanghai", INT64_C(1746057600000)},
    {"Pacific/Apia", INT64_C(1325239200000)}, /* 2011-12-30 never was */
    {"Asia/Kathmandu", INT64_C(1746057600000)},
};

static uint64_t seed_of_run(void)
{
    const char *text = getenv("TEST_SEED");
    return text != NULL ? strtoull(text, NULL, 0) : 4711;
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0 ? 1 : 0);
}

/* By the C library. */
static int64_t period_of(enum civil_unit unit, int64_t n, uint32_t week_start, int64_t ts_ms)
{
    time_t seconds = (time_t)floor_div(ts_ms, 1000);
    struct tm local;
    assert_non_null(localtime_r(&seconds, &local));
    int64_t months = (int64_t)local.tm_year * 12 + local.tm_mon - 70 * 12;
    struct tm date = {.tm_year = local.tm_year, .tm_mon = local.tm_mon, .tm_mday = local.tm_mday};
    int64_t days = (int64_t)timegm(&date) / 86400;
    switch (unit) {
    case CIVIL_DAY: return floor_div(days, n);
    case CIVIL_WEEK: {
        /* Day 0 was a Thursday: weekday 3 from Monday. Week 0 is that which has day 0. */
        int64_t since = (3 - (int64_t)week_start + 7) % 7;
        return floor_div(floor_div(days + since, 7), n);
    }
    case CIVIL_MONTH: return floor_div(months, n);
    case CIVIL_QUARTER: return floor_div(floor_div(months, 3), n);
    case CIVIL_YEAR: return floor_div(local.tm_year - 70, n);
    default: fail_msg("unit %d", (int)unit); return 0;
    }
}

struct trial {
    uint64_t seed;
    enum civil_unit unit;
    int64_t unit_count;
    uint32_t week_start;
    struct ref_retention_query query;
    struct ref_retention_event events[REF_RETENTION_EVENTS_MAX];
    int event_count;
    int64_t times[REF_RETENTION_EVENTS_MAX];
    uint64_t masks[REF_RETENTION_EVENTS_MAX];
};

static void trial_make(struct trial *t, uint64_t seed, const struct place *place)
{
    static const enum civil_unit units[] = {CIVIL_DAY,   CIVIL_DAY,     CIVIL_DAY, CIVIL_WEEK,
                                            CIVIL_MONTH, CIVIL_QUARTER, CIVIL_YEAR};
    static const int64_t unit_days[CIVIL_UNITS] = {0, 0, 0, 0, 1, 7, 30, 91, 365};
    struct rng rng = rng_init(seed);

    *t = (struct trial){.seed = seed};
    t->unit = units[rng_below(&rng, COUNT_OF(units))];
    t->unit_count = rng_below(&rng, 3) == 0 ? 2 : 1;
    t->week_start = (uint32_t)rng_below(&rng, 7);
    int64_t period_ms = unit_days[t->unit] * t->unit_count * DAY_MS;
    int64_t begin_ms = place->around_ms - 4 * period_ms;
    t->query = (struct ref_retention_query){
        .start = (enum ref_retention_start)rng_below(&rng, 4),
        .is_unbounded = rng_below(&rng, 3) == 0,
        .at_least = rng_below(&rng, 3) == 0 ? 2 : 1,
        .period_count = 1 + (int)rng_below(&rng, 8),
        .from_ms = begin_ms + (int64_t)rng_below(&rng, (uint64_t)(4 * period_ms)),
    };
    t->query.to_ms = t->query.from_ms + 1 + (int64_t)rng_below(&rng, (uint64_t)(5 * period_ms));
    t->event_count = (int)rng_below(&rng, 25);
    for (int e = 0; e < t->event_count; e++) {
        struct ref_retention_event *event = &t->events[e];
        if (e > 0 && rng_below(&rng, 3) == 0) {
            event->time_ms = t->events[e - 1].time_ms; /* a tie */
        } else {
            event->time_ms = begin_ms + (int64_t)rng_below(&rng, (uint64_t)(9 * period_ms));
            if (rng_below(&rng, 4) == 0) { /* just at, or just before, a full hour */
                event->time_ms =
                    floor_div(event->time_ms, 3600000) * 3600000 - (int64_t)rng_below(&rng, 2);
            }
        }
        event->is_name = rng_below(&rng, 3) == 0;
        event->is_start = event->is_name && rng_below(&rng, 3) != 0;
        event->is_return = rng_below(&rng, 2) == 0;
        event->period = period_of(t->unit, t->unit_count, t->week_start, event->time_ms);
    }
    for (int a = 0; a < t->event_count; a++) {
        for (int b = a + 1; b < t->event_count; b++) {
            if (t->events[b].time_ms < t->events[a].time_ms) {
                struct ref_retention_event swap = t->events[a];
                t->events[a] = t->events[b];
                t->events[b] = swap;
            }
        }
    }
    for (int e = 0; e < t->event_count; e++) {
        t->times[e] = t->events[e].time_ms;
        t->masks[e] = (t->events[e].is_start ? RETENTION_START : 0) |
                      (t->events[e].is_return ? RETENTION_RETURN : 0) |
                      (t->events[e].is_name ? RETENTION_NAME : 0);
    }
}

static void check_member(const struct trial *t, const struct retention_spec *spec,
                         const struct retention_scratch *scratch,
                         const struct retention_member *got,
                         const struct ref_retention_member *want)
{
    uint64_t users[REF_RETENTION_PERIODS_MAX] = {0};

    kernel_retention_add(spec, scratch, got, users);
    for (int n = 0; n < t->query.period_count; n++) {
        if (users[n] != (want->is_back[n] ? 1u : 0u)) {
            fail_msg("seed %" PRIu64 ": period %d: %" PRIu64 ", not as defined", t->seed, n,
                     users[n]);
        }
    }
    for (size_t e = 0; e < (size_t)t->event_count; e++) {
        bool can_start =
            e >= got->tie_begin && e < got->tie_end && retention_is_start(got, t->masks[e]);
        if (can_start != want->can_start[e]) {
            fail_msg("seed %" PRIu64 ": event %zu as the start: not as defined", t->seed, e);
        }
    }
}

static uint64_t check(const struct trial *t, const struct zone *zone, struct arena *arena)
{
    struct err err = {0};
    struct civil_grid grid = {0};
    struct retention_calendar calendar = {0};
    struct retention_scratch scratch = {0};
    int64_t horizon_ms =
        t->query.is_unbounded && t->event_count > 0 ? t->times[t->event_count - 1] : INT64_MIN;
    uint32_t last_period = (uint32_t)t->query.period_count - 1;

    assert_int_equal(civil_grid_init(zone, t->unit, t->unit_count,
                                     (enum civil_weekday)t->week_start, &grid, &err),
                     ERR_OK);
    assert_int_equal(retention_calendar_make(&grid, t->query.from_ms, t->query.to_ms, last_period,
                                             horizon_ms, arena, &calendar, &err),
                     ERR_OK);
    struct retention_spec spec = {
        .begins = calendar.begins,
        .slot_count = calendar.slot_count,
        .cohort_count = calendar.cohort_count,
        .period_count = (uint32_t)t->query.period_count,
        .at_least = (uint32_t)t->query.at_least,
        .start = (enum retention_start)t->query.start,
        .mode = t->query.is_unbounded ? RETENTION_UNBOUNDED : RETENTION_EXACT,
        .from_ms = t->query.from_ms,
        .to_ms = t->query.to_ms,
    };
    assert_int_equal(ARENA_NEW(arena, calendar.cohort_count, &scratch.members, &err), ERR_OK);
    assert_int_equal(ARENA_NEW(arena, calendar.slot_count, &scratch.actives, &err), ERR_OK);
    kernel_retention(&spec, t->times, t->masks, (size_t)t->event_count, &scratch);

    struct ref_retention_answer want = ref_retention(&t->query, t->events, t->event_count);
    if ((int)scratch.member_count != want.member_count) {
        fail_msg("seed %" PRIu64 ": in %u cohorts, by definition %d", t->seed, scratch.member_count,
                 want.member_count);
    }
    int64_t origin = period_of(t->unit, t->unit_count, t->week_start, calendar.begins[0]);
    for (uint32_t m = 0; m < scratch.member_count; m++) { /* both ascend */
        int64_t cohort = origin + scratch.members[m].slot;
        if (cohort != want.members[m].cohort) {
            fail_msg("seed %" PRIu64 ": cohort %" PRId64 ", by definition %" PRId64, t->seed,
                     cohort, want.members[m].cohort);
        }
        check_member(t, &spec, &scratch, &scratch.members[m], &want.members[m]);
    }
    return scratch.member_count;
}

static void retention_equals_its_definition_on_random_journeys(void **state)
{
    (void)state;
    uint64_t seed = seed_of_run();
    uint64_t members = 0;

    for (size_t p = 0; p < COUNT_OF(places); p++) {
        const struct zone *zone = NULL;
        struct err err = {0};
        assert_int_equal(zone_find(str_of(places[p].zone), &zone, &err), ERR_OK);
        setenv("TZ", places[p].zone, 1);
        tzset();
        for (uint64_t i = 0; i < TRIALS_PER_ZONE; i++) {
            CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
            struct trial t;
            trial_make(&t, seed + p * TRIALS_PER_ZONE + i, &places[p]);
            members += check(&t, zone, arena);
        }
    }
    assert_true(members > COUNT_OF(places) * TRIALS_PER_ZONE / 4); /* the trials are not trivial */
}

/* ---- the whole verb ---- */

#define USERS     10u
#define WORLD_MAX (USERS * 10)
#define DAYS      12

struct world {
    struct snap_event events[WORLD_MAX];
    uint32_t event_count;
    char ids[WORLD_MAX][12];
    char users[USERS][8];
};
static const struct snap_prop is_paid = {.name = "paid", .type = COL_BOOL, .boolean = true};

static void world_make(struct world *w, struct rng *rng)
{
    w->event_count = 0;
    for (uint32_t u = 0; u < USERS; u++) {
        (void)snprintf(w->users[u], sizeof(w->users[u]), "u%u", u % 100);
        for (uint64_t n = rng_below(rng, 10); n > 0; n--) {
            uint32_t i = w->event_count++;
            bool has_prop = rng_below(rng, 2) == 0;
            (void)snprintf(w->ids[i], sizeof(w->ids[i]), "%u", i);
            /* Days 0 .. 11; the range of starts is days 2 .. 6. A third of the times are alike. */
            int64_t in_day = rng_below(rng, 3) == 0 ? 0 : (int64_t)rng_below(rng, (uint64_t)DAY_MS);
            w->events[i] = (struct snap_event){
                .event_id = w->ids[i],
                .name = rng_below(rng, 2) == 0 ? "s" : "r",
                .user = w->users[u],
                .time_ms = (int64_t)rng_below(rng, DAYS) * DAY_MS + in_day,
                .props = has_prop ? &is_paid : NULL,
                .prop_count = has_prop ? 1 : 0,
            };
        }
    }
}

/* What starts and what returns. Without conditions the answer comes from the stored sets. */
enum start_kind { START_PAID, START_NAMED, START_ANY };
enum return_kind { RETURN_ANY, RETURN_OTHER, RETURN_SAME };
static const char *const start_texts[] = {"s[paid = true]", "s", "any"};
static const char *const return_texts[] = {"any", "r", "s"};

/* The answer of "retention START -> RETURN ..." as verb_run prints it. */
static void world_expect(const struct world *w, const struct ref_retention_query *query,
                         enum start_kind start, enum return_kind back, const char *deleted,
                         struct buf *out)
{
    uint64_t sizes[DAYS] = {0};
    uint64_t users[DAYS][REF_RETENTION_PERIODS_MAX] = {{0}};
    uint64_t total = 0;

    for (uint32_t u = 0; u < USERS; u++) {
        struct ref_retention_event events[REF_RETENTION_EVENTS_MAX];
        int count = 0;
        for (uint32_t i = 0; i < w->event_count; i++) {
            const struct snap_event *event = &w->events[i];
            if (event->user != w->users[u] ||
                (deleted != NULL && strcmp(event->user, deleted) == 0)) {
                continue;
            }
            bool is_s = event->name[0] == 's';
            bool is_name = start == START_ANY || is_s;
            events[count++] = (struct ref_retention_event){
                .time_ms = event->time_ms,
                .period = event->time_ms / DAY_MS,
                .is_name = is_name,
                .is_start = is_name && (start != START_PAID || event->prop_count > 0),
                .is_return = back == RETURN_ANY || (back == RETURN_SAME) == is_s,
            };
        }
        struct ref_retention_answer answer = ref_retention(query, events, count);
        for (int m = 0; m < answer.member_count; m++) {
            int64_t cohort = answer.members[m].cohort;
            sizes[cohort]++;
            total++;
            for (int n = 0; n < query->period_count; n++) {
                users[cohort][n] += answer.members[m].is_back[n] ? 1 : 0;
            }
        }
    }
    int last = (int)((query->to_ms - 1) / DAY_MS);
    for (int cohort = 2; cohort <= last; cohort++) {
        for (int n = 0; n < query->period_count; n++) {
            buf_printf(out, "1970-01-%02d|%d|%" PRIu64 "|%" PRIu64 "|", cohort + 1, n,
                       sizes[cohort], users[cohort][n]);
            if (sizes[cohort] == 0) {
                buf_z(out, "-");
            } else {
                buf_printf(out, "%.17g", (double)users[cohort][n] / (double)sizes[cohort]);
            }
            buf_z(out, cohort + n < 10 ? "|true\n" : "|false\n");
        }
    }
    buf_printf(out, "= -|-|%" PRIu64 "|-|-|-\n", total);
    buf_u8(out, 0);
}

static void the_verb_equals_its_definition_in_every_layout(void **state)
{
    (void)state;
    static const char *const starts[] = {"first_ever", "first_ever unfiltered", "first",
                                         "recurring"};
    uint64_t seed = seed_of_run() + 3000000;

    for (uint64_t i = 0; i < 160; i++) {
        struct rng rng = rng_init(seed + i);
        struct world world;
        CLEANUP(buf_freep) struct buf want = {0};
        CLEANUP(buf_freep) struct buf got = {0};
        char text[200];
        enum start_kind start = (enum start_kind)rng_below(&rng, 3);
        enum return_kind back = (enum return_kind)rng_below(&rng, 3);
        int from_hour = rng_below(&rng, 2) == 0 ? 0 : (int)rng_below(&rng, 24);
        int to_hour = rng_below(&rng, 2) == 0 ? 0 : (int)rng_below(&rng, 24);
        struct ref_retention_query query = {
            .start = (enum ref_retention_start)(i % 4),
            .is_unbounded = rng_below(&rng, 2) == 0,
            .at_least = 1 + (int)(rng_below(&rng, 4) == 0),
            .period_count = 1 + (int)rng_below(&rng, 5),
            .from_ms = 2 * DAY_MS + from_hour * (DAY_MS / 24),
            .to_ms = 7 * DAY_MS + to_hour * (DAY_MS / 24),
        };
        world_make(&world, &rng);
        const char *deleted = rng_below(&rng, 3) == 0 && world.event_count > 0
                                  ? world.events[rng_below(&rng, world.event_count)].user
                                  : NULL;
        world_expect(&world, &query, start, back, deleted, &want);
        (void)snprintf(text, sizeof(text),
                       "retention %s -> %s each day for %d %s %s at least %d "
                       "from 1970-01-03T%02d:00 to 1970-01-08T%02d:00",
                       start_texts[start], return_texts[back], query.period_count - 1,
                       starts[i % 4], query.is_unbounded ? "unbounded" : "exact", query.at_least,
                       from_hour, to_hour);
        for (uint32_t sources = 1; sources <= 5; sources++) {
            struct snap_opts opts = {.source_count = sources,
                                     .memory_count = (uint32_t)rng_below(&rng, sources + 1),
                                     .shard_count = (uint32_t)rng_below(&rng, 4),
                                     .seed = seed + i};
            CLEANUP(snap_freep)
            struct snap *snap = snap_build(world.events, world.event_count, &opts);
            if (deleted != NULL) {
                snap_delete(snap, deleted);
            }
            for (int path = 0; path < 2; path++) {
                (void)verb_run(snap, text, 10 * DAY_MS,
                               path == 0 ? VERB_RUN_INDEXED : VERB_RUN_REFERENCE, &got);
                if (strcmp((const char *)got.ptr, (const char *)want.ptr) != 0) {
                    fail_msg("seed %" PRIu64 ": %s\n%s\nby definition\n%s", seed + i, text,
                             (const char *)got.ptr, (const char *)want.ptr);
                }
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(retention_equals_its_definition_on_random_journeys),
        cmocka_unit_test(the_verb_equals_its_definition_in_every_layout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
