/* tests/prop/prop_habits.c - Goal: lifecycle and stickiness equal their definition. Method: random journeys within some
 * hours, so periods are hours; per subject and hour the test counts events one by one. Selectors without conditions are
 * answered from stored sets, the others from journeys; every layout and the reference path must agree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/civil.h"
#include "storage/base/size.h"
#include "tests/support/walkers.h"

#include <inttypes.h>

#define TRIALS    300u
#define HOUR_MS   (60 * MINUTE_MS)
#define HOURS_MAX 64

struct trial {
    int64_t from_ms, to_ms; /* whole hours, at most HOURS_MAX / 2 */
    int at_least;
    bool is_device;
    int selector; /* 0: any, 1: a, 2: (a | b), 3: any on page "/" */
};
static const char *const selectors[] = {"any", "a", "(a | b)", "any[page = \"/\"]"};

static bool is_selected(const struct trial *t, const struct walker_event *event)
{
    switch (t->selector) {
    case 0: return true;
    case 1: return event->name == 0;
    case 2: return event->name <= 1;
    default: return event->page == 0;
    }
}

/* Events of the subject in [begin, end). */
static int count_in(const struct walkers *walkers, const struct trial *t, int subject,
                    int64_t begin, int64_t end)
{
    struct walker_event events[WALKER_EVENTS_MAX];
    int count = walkers_of(walkers, t->is_device, subject, events);
    int found = 0;
    for (int i = 0; i < count; i++) {
        found +=
            is_selected(t, &events[i]) && events[i].time_ms >= begin && events[i].time_ms < end;
    }
    return found;
}

static bool is_active(const struct walkers *walkers, const struct trial *t, int subject,
                      int64_t hour_ms)
{
    return count_in(walkers, t, subject, hour_ms, hour_ms + HOUR_MS) >= t->at_least;
}

static bool is_active_before(const struct walkers *walkers, const struct trial *t, int subject,
                             int64_t hour_ms)
{
    int64_t before = t->from_ms - HOUR_MS; /* earlier than that, one event is enough */
    for (int64_t h = before; h < hour_ms; h += HOUR_MS) {
        if (is_active(walkers, t, subject, h)) {
            return true;
        }
    }
    return count_in(walkers, t, subject, INT64_MIN, before) > 0;
}

static void print_query(const struct trial *t, const char *verb, struct buf *out)
{
    char from[CIVIL_TEXT_BYTES];
    char to[CIVIL_TEXT_BYTES];
    struct str from_text = civil_format_instant(zone_utc(), t->from_ms, from);
    struct str to_text = civil_format_instant(zone_utc(), t->to_ms, to);
    buf_printf(out, "%s of %s each hour", verb, selectors[t->selector]);
    if (t->at_least > 1) {
        buf_printf(out, " at least %d", t->at_least);
    }
    buf_printf(out, " from " STR_FMT " to " STR_FMT "%s", STR_ARG(from_text), STR_ARG(to_text),
               t->is_device ? " per device" : "");
    buf_u8(out, 0);
}

static void check_lifecycle(const struct walkers *walkers, const struct trial *t, struct rng *rng,
                            uint64_t seed)
{
    CLEANUP(buf_freep) struct buf query = {0};
    CLEANUP(buf_freep) struct buf want = {0};
    print_query(t, "lifecycle", &query);
    for (int64_t h = t->from_ms; h < t->to_ms; h += HOUR_MS) {
        int counts[4] = {0};
        char time[CIVIL_TEXT_BYTES];
        for (int s = 0; s < walkers_subjects(t->is_device); s++) {
            bool now = is_active(walkers, t, s, h);
            bool before = is_active(walkers, t, s, h - HOUR_MS);
            bool ever = is_active_before(walkers, t, s, h);
            counts[0] += now && !ever;
            counts[1] += now && before;
            counts[2] += now && !before && ever;
            counts[3] += !now && before;
        }
        struct str text = civil_format_instant(zone_utc(), h, time);
        buf_printf(&want, STR_FMT "|%d|%d|%d|%d\n", STR_ARG(text), counts[0], counts[1], counts[2],
                   counts[3]);
    }
    buf_z(&want, "= -|-|-|-|-\n");
    walkers_check(walkers, (const char *)query.ptr, rng, seed, &want);
}

static void check_stickiness(const struct walkers *walkers, const struct trial *t,
                             bool is_cumulative, struct rng *rng, uint64_t seed)
{
    CLEANUP(buf_freep) struct buf query = {0};
    CLEANUP(buf_freep) struct buf want = {0};
    int hours = (int)((t->to_ms - t->from_ms) / HOUR_MS);
    int histogram[HOURS_MAX] = {0};
    int users = 0;
    print_query(t, "stickiness", &query);
    query.len--; /* the NUL */
    buf_z(&query, is_cumulative ? " cumulative" : "");
    buf_u8(&query, 0);
    for (int s = 0; s < walkers_subjects(t->is_device); s++) {
        int active = 0;
        for (int64_t h = t->from_ms; h < t->to_ms; h += HOUR_MS) {
            active += is_active(walkers, t, s, h);
        }
        users += active > 0;
        for (int k = is_cumulative ? 1 : active; k >= 1 && k <= active; k++) {
            histogram[k]++;
        }
    }
    for (int k = 1; k <= hours; k++) {
        buf_printf(&want, "%d|%d\n", k, histogram[k]);
    }
    buf_printf(&want, "= -|%d\n", users);
    walkers_check(walkers, (const char *)query.ptr, rng, seed, &want);
}

static void habits_equal_their_definition(void **state)
{
    (void)state;
    uint64_t seed = walkers_seed(7100000);
    for (uint64_t i = 0; i < TRIALS; i++) {
        struct rng rng = rng_init(seed + i);
        struct walkers walkers = walkers_random(&rng);
        int64_t hour = SNAP_NOW_MS / HOUR_MS - (int64_t)rng_below(&rng, 30);
        struct trial trial = {
            .from_ms = hour * HOUR_MS,
            .to_ms = (hour + 1 + (int64_t)rng_below(&rng, 20)) * HOUR_MS,
            .at_least = rng_below(&rng, 3) == 0 ? 2 : 1,
            .is_device = rng_below(&rng, 4) == 0,
            .selector = (int)rng_below(&rng, COUNT_OF(selectors)),
        };
        check_lifecycle(&walkers, &trial, &rng, seed + i);
        check_stickiness(&walkers, &trial, rng_below(&rng, 2) == 0, &rng, seed + i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(habits_equal_their_definition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
