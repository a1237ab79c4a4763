/* tests/prop/prop_sessions.c - Goal: sessions equal their definition, whatever range is asked about. Method: random
 * journeys full of pauses of about half an hour, with ranges that begin inside of sessions; ref_sessions cuts the whole
 * journeys and the test counts those that begin in the range. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/civil.h"
#include "storage/base/size.h"
#include "tests/support/ref_sessions.h"
#include "tests/support/walkers.h"

#include <inttypes.h>
#include <stdlib.h>

#define TRIALS  400u
#define HOUR_MS (60 * MINUTE_MS)

struct sums {
    uint64_t count, users, events, bounces, total_ms, max_ms;
    uint32_t whose; /* a bit for each of the users */
    uint64_t durations[REF_SESSIONS_MAX * WALKER_USERS];
};

struct trial {
    struct ref_session_rule rule;
    bool is_device, has_channel, has_each;
    int64_t from_ms, to_ms;
    const char *selector;
};

static bool is_selected(const struct trial *trial, const struct walker_event *event)
{
    return trial->selector[0] == '\0' || event->name == 0 || event->page == 3;
}

static void add(struct sums *sums, int64_t ms, int events)
{
    sums->durations[sums->count++] = (uint64_t)ms;
    sums->events += (uint64_t)events;
    sums->bounces += events == 1;
    sums->total_ms += (uint64_t)ms;
    sums->max_ms = MAX_OF(sums->max_ms, (uint64_t)ms);
}

static int u64_cmp(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void print_ratio(uint64_t a, uint64_t b, struct buf *out)
{
    if (b == 0) {
        buf_z(out, "-");
    } else {
        buf_printf(out, "%.9g", (double)a / (double)b);
    }
}

/* count|users|events|avg|median|max|bounce_rate|events_per_session */
static void print_sums(struct sums *sums, struct buf *out)
{
    qsort(sums->durations, sums->count, sizeof(uint64_t), u64_cmp);
    buf_printf(out, "%" PRIu64 "|%" PRIu64 "|%" PRIu64 "|", sums->count, sums->users, sums->events);
    print_ratio(sums->total_ms, sums->count, out);
    buf_z(out, "|");
    if (sums->count == 0) {
        buf_z(out, "-|-|");
    } else {
        uint64_t low = sums->durations[(sums->count - 1) / 2];
        uint64_t high = sums->durations[sums->count / 2];
        buf_printf(out, "%.9g|%" PRIu64 "|", ((double)low + (double)high) / 2, sums->max_ms);
    }
    print_ratio(sums->bounces, sums->count, out);
    buf_z(out, "|");
    print_ratio(sums->events, sums->count, out);
    buf_z(out, "\n");
}

/* Sessions of bucket [begin, end) and channel; -2: of any. */
static void count_all(const struct walkers *walkers, const struct trial *trial, int64_t begin_ms,
                      int64_t end_ms, int channel, struct sums *sums)
{
    *sums = (struct sums){0};
    for (int s = 0; s < walkers_subjects(trial->is_device); s++) {
        struct walker_event all[WALKER_EVENTS_MAX];
        struct walker_event events[WALKER_EVENTS_MAX];
        struct ref_session sessions[REF_SESSIONS_MAX];
        int64_t times[WALKER_EVENTS_MAX];
        int all_count = walkers_of(walkers, trial->is_device, s, all);
        int count = 0;
        uint64_t before = sums->count;
        for (int i = 0; i < all_count; i++) {
            if (is_selected(trial, &all[i])) {
                times[count] = all[i].time_ms;
                events[count++] = all[i];
            }
        }
        int found = ref_sessions(&trial->rule, times, count, sessions);
        for (int k = 0; k < found; k++) {
            int first = sessions[k].begin;
            int64_t start_ms = times[first];
            if (start_ms >= trial->from_ms && start_ms < trial->to_ms && start_ms >= begin_ms &&
                start_ms < end_ms && (channel == -2 || events[first].channel == channel)) {
                add(sums, times[sessions[k].end - 1] - start_ms, sessions[k].end - first);
            }
        }
        sums->users += sums->count > before;
        sums->whose |= sums->count > before ? 1u << s : 0;
    }
}

static void print_rows(const struct walkers *walkers, const struct trial *trial, int64_t begin_ms,
                       int64_t end_ms, const char *time, struct buf *want)
{
    struct sums sums;
    if (!trial->has_channel) {
        count_all(walkers, trial, begin_ms, end_ms, -2, &sums);
        buf_z(want, time);
        print_sums(&sums, want);
        return;
    }
    for (int channel = -1; channel < WALKER_CHANNELS; channel++) {
        count_all(walkers, trial, INT64_MIN, INT64_MAX, channel, &sums);
        if (sums.count == 0) {
            continue; /* no such group at all */
        }
        count_all(walkers, trial, begin_ms, end_ms, channel, &sums);
        buf_printf(want, "%s%s|", time, channel < 0 ? "-" : walker_channels[channel]);
        print_sums(&sums, want);
    }
}

/* Who had a session in an hour and a channel, or in either, or at all. */
static void check_cell(const struct walkers *walkers, const struct trial *trial, const char *query,
                       struct rng *rng, uint64_t seed)
{
    CLEANUP(buf_freep) struct buf text = {0};
    struct sums sums;
    int64_t begin_ms = INT64_MIN;
    int64_t end_ms = INT64_MAX;
    int channel = -2;
    buf_z(&text, "users of (");
    if (trial->has_each && rng_below(rng, 3) != 0) {
        char time[CIVIL_TEXT_BYTES];
        uint64_t hours = (uint64_t)(trial->to_ms - trial->from_ms) / HOUR_MS + 1;
        begin_ms = (trial->from_ms / HOUR_MS + (int64_t)rng_below(rng, hours)) * HOUR_MS;
        end_ms = begin_ms + HOUR_MS;
        (void)civil_format_instant(zone_utc(), begin_ms, time);
        buf_printf(&text, "time = \"%s\"", time);
    }
    if (trial->has_channel && rng_below(rng, 3) != 0) {
        channel = (int)rng_below(rng, WALKER_CHANNELS + 1) - 1;
        buf_printf(&text, "%schannel %s%s%s", begin_ms > INT64_MIN ? ", " : "",
                   channel < 0 ? "is not set" : "= \"", channel < 0 ? "" : walker_channels[channel],
                   channel < 0 ? "" : "\"");
    }
    buf_printf(&text, ") in %s", query);
    buf_u8(&text, 0);
    count_all(walkers, trial, begin_ms, end_ms, channel, &sums);
    walkers_check_users(walkers, (const char *)text.ptr, rng, seed, sums.whose);
}

static void check(const struct walkers *walkers, struct trial *trial, struct rng *rng,
                  uint64_t seed)
{
    CLEANUP(buf_freep) struct buf query = {0};
    CLEANUP(buf_freep) struct buf want = {0};
    char from[CIVIL_TEXT_BYTES];
    char to[CIVIL_TEXT_BYTES];
    struct sums sums;

    buf_printf(
        &query,
        "sessions count, users, events, avg_duration_ms, median_duration_ms, max_duration_ms, "
        "bounce_rate, events_per_session%s%s%s%s idle %" PRId64 "ms",
        trial->selector, trial->is_device ? " per device" : "",
        trial->has_channel ? " by channel" : "", trial->has_each ? " each hour" : "",
        trial->rule.idle_ms);
    if (trial->rule.cap_ms < 0) {
        buf_z(&query, " cap none");
    } else {
        buf_printf(&query, " cap %" PRId64 "ms", trial->rule.cap_ms);
    }
    buf_z(&query, trial->rule.is_cut_at_midnight ? " cut midnight" : "");
    (void)civil_format_instant(zone_utc(), trial->from_ms, from);
    (void)civil_format_instant(zone_utc(), trial->to_ms, to);
    buf_printf(&query, " from %s to %s", from, to);
    buf_u8(&query, 0);
    if (!trial->is_device) {
        check_cell(walkers, trial, (const char *)query.ptr, rng, seed);
    }

    if (!trial->has_each) {
        print_rows(walkers, trial, INT64_MIN, INT64_MAX, "", &want);
    }
    int64_t begin_ms = trial->from_ms / HOUR_MS * HOUR_MS;
    for (; trial->has_each && begin_ms < trial->to_ms; begin_ms += HOUR_MS) {
        char time[CIVIL_TEXT_BYTES + 1];
        struct str text = civil_format_instant(zone_utc(), begin_ms, time);
        time[text.len] = '|';
        time[text.len + 1] = '\0';
        print_rows(walkers, trial, begin_ms, begin_ms + HOUR_MS, time, &want);
    }
    count_all(walkers, trial, INT64_MIN, INT64_MAX, -2, &sums);
    buf_printf(&want, "= %s%s", trial->has_each ? "-|" : "", trial->has_channel ? "-|" : "");
    print_sums(&sums, &want);
    walkers_check(walkers, (const char *)query.ptr, rng, seed, &want);
}

static void sessions_equal_their_definition(void **state)
{
    (void)state;
    uint64_t first_seed = walkers_seed(77);
    for (uint64_t seed = first_seed; seed < first_seed + TRIALS; seed++) {
        struct rng rng = rng_init(seed);
        struct walkers walkers = walkers_random(&rng);
        struct trial trial = {
            .rule = {.idle_ms = 30 * MINUTE_MS,
                     .cap_ms = rng_below(&rng, 3) == 0
                                   ? -1
                                   : (int64_t)rng_below(&rng, 5) * 40 * MINUTE_MS,
                     .is_cut_at_midnight = rng_below(&rng, 4) == 0},
            .is_device = rng_below(&rng, 4) == 0,
            .has_channel = rng_below(&rng, 3) == 0,
            .has_each = rng_below(&rng, 3) == 0,
            .selector = rng_below(&rng, 3) == 0 ? " of (a | any[page = \"/q\"])" : "",
        };
        trial.from_ms = SNAP_NOW_MS - (int64_t)rng_below(&rng, 30 * 60) * MINUTE_MS;
        trial.to_ms = trial.from_ms + (int64_t)(1 + rng_below(&rng, 30 * 60)) * MINUTE_MS;
        check(&walkers, &trial, &rng, seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions_equal_their_definition),
    };
    return cmocka_run_group_tests_name("prop/sessions", tests, NULL, NULL);
}
