/* tests/prop/prop_presence.c - Goal: lifecycle and stickiness equal their definitions, from stored sets as from journeys.
 * Method: random journeys, in hours and stretched to days, over ranges that begin and end anywhere; ref_presence looks
 * at one subject and one period at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/civil.h"
#include "storage/base/size.h"
#include "tests/support/ref_presence.h"
#include "tests/support/walkers.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRIALS  300u
#define HOUR_MS (60 * MINUTE_MS)
#define DAY_MS  (24 * HOUR_MS)

struct trial {
    bool is_device;
    bool is_day;       /* periods are days, else hours */
    const char *of;    /* the selector */
    int64_t length_ms; /* of a period */
    int64_t from_ms, to_ms;
    bool is_by;  /* by channel */
    int channel; /* of the line at hand; -1: none; ALL_CHANNELS: of all events */
};
#define ALL_CHANNELS (-2)

/* The period numbers of a subject's events, or with `is_in_range` of those in the range only. */
static int periods_of(const struct walkers *walkers, const struct trial *trial, int subject,
                      bool is_in_range, int64_t *out)
{
    struct walker_event events[WALKER_EVENTS_MAX];
    int all = walkers_of(walkers, trial->is_device, subject, events);
    int count = 0;
    for (int i = 0; i < all; i++) {
        bool is_b = events[i].name == 1 && events[i].page == 3;
        bool is_selected =
            strcmp(trial->of, "any") == 0 || events[i].name == 0 || (trial->of[0] == '(' && is_b);
        is_selected =
            is_selected && (trial->channel == ALL_CHANNELS || trial->channel == events[i].channel);
        bool is_within = events[i].time_ms >= trial->from_ms && events[i].time_ms < trial->to_ms;
        if (is_selected && (is_within || !is_in_range)) {
            out[count++] = events[i].time_ms / trial->length_ms;
        }
    }
    return count;
}

static struct trial trial_random(struct walkers *walkers, struct rng *rng)
{
    static const char *const selectors[] = {"any", "a", "(b[page = \"/q\"] | a)"};
    struct trial trial = {
        .is_device = rng_below(rng, 4) == 0,
        .is_day = rng_below(rng, 2) == 0,
        .of = selectors[rng_below(rng, 3)],
        .is_by = rng_below(rng, 2) == 0,
        .channel = ALL_CHANNELS,
    };
    int64_t stretch = trial.is_day ? 12 : 1;
    trial.length_ms = trial.is_day ? DAY_MS : HOUR_MS;
    for (int i = 0; i < walkers->count; i++) {
        struct walker_event *event = &walkers->events[i];
        event->time_ms = SNAP_NOW_MS - (SNAP_NOW_MS - event->time_ms) * stretch;
    }
    trial.from_ms = SNAP_NOW_MS - (int64_t)rng_below(rng, 30) * HOUR_MS * stretch;
    trial.to_ms = trial.from_ms + (int64_t)(1 + rng_below(rng, 20)) * HOUR_MS * stretch;
    if (rng_below(rng, 2) == 0) {
        trial.from_ms += (int64_t)rng_below(rng, 60) * MINUTE_MS;
    }
    return trial;
}

static void print_range(const struct trial *trial, struct buf *query)
{
    char from[CIVIL_TEXT_BYTES];
    char to[CIVIL_TEXT_BYTES];
    (void)civil_format_instant(zone_utc(), trial->from_ms, from);
    (void)civil_format_instant(zone_utc(), trial->to_ms, to);
    buf_printf(query, " from %s to %s%s%s", from, to, trial->is_device ? " per device" : "",
               trial->is_by ? " by channel" : "");
}

/* ---- lines ---- */

static int compare_channels(const void *a, const void *b)
{
    return strcmp(walker_channels[*(const int *)a], walker_channels[*(const int *)b]);
}

/* The channels that have a line, in the order of the answer: with an event before period `end`, or of the range. */
static int lines_of(const struct walkers *walkers, const struct trial *trial, bool is_in_range,
                    int64_t end, int out[WALKER_CHANNELS + 1])
{
    int count = 0;
    int order[WALKER_CHANNELS];
    if (!trial->is_by) {
        out[0] = ALL_CHANNELS;
        return 1;
    }
    for (int c = 0; c < WALKER_CHANNELS; c++) {
        order[c] = c;
    }
    qsort(order, WALKER_CHANNELS, sizeof(*order), compare_channels);
    for (int c = -1; c < WALKER_CHANNELS; c++) {
        struct trial line = *trial;
        bool has_any = false;
        line.channel = c < 0 ? -1 : order[c];
        for (int s = 0; s < walkers_subjects(trial->is_device); s++) {
            int64_t periods[WALKER_EVENTS_MAX];
            int n = periods_of(walkers, &line, s, is_in_range, periods);
            for (int i = 0; i < n; i++) {
                has_any = has_any || periods[i] < end;
            }
        }
        if (has_any) {
            out[count++] = line.channel;
        }
    }
    return count;
}

static const char *line_name(int channel)
{
    return channel == ALL_CHANNELS ? "" : channel < 0 ? "-|" : walker_channels[channel];
}

static void print_line(int channel, struct buf *want)
{
    buf_z(want, line_name(channel));
    buf_z(want, channel >= 0 ? "|" : "");
}

static void print_time(const struct trial *trial, int64_t begin_ms, struct buf *want)
{
    char text[CIVIL_TEXT_BYTES];
    buf_str(want, trial->is_day ? civil_format_date(zone_utc(), begin_ms, text)
                                : civil_format_instant(zone_utc(), begin_ms, text));
}

/* ---- lifecycle ---- */

static void print_life(const struct walkers *walkers, const struct trial *trial, int channel,
                       int64_t p, struct buf *want)
{
    struct ref_lifecycle sum = {0};
    struct trial line = *trial;
    line.channel = channel;
    for (int s = 0; s < walkers_subjects(trial->is_device); s++) {
        int64_t periods[WALKER_EVENTS_MAX];
        int count = periods_of(walkers, &line, s, false, periods);
        ref_lifecycle_add(periods, count, p, &sum);
    }
    print_time(trial, p * trial->length_ms, want);
    buf_u8(want, '|');
    print_line(channel, want);
    buf_printf(want, "%d|%d|%d|%d\n", sum.new, sum.returning, sum.resurrecting,
               p * trial->length_ms > SNAP_NOW_MS ? 0 : sum.dormant);
}

static void lifecycle_equals_its_definition(void **state)
{
    (void)state;
    uint64_t first_seed = walkers_seed(4242);
    for (uint64_t seed = first_seed; seed < first_seed + TRIALS; seed++) {
        struct rng rng = rng_init(seed);
        struct walkers walkers = walkers_random(&rng);
        struct trial trial = trial_random(&walkers, &rng);
        CLEANUP(buf_freep) struct buf query = {0};
        CLEANUP(buf_freep) struct buf want = {0};

        buf_printf(&query, "lifecycle of %s each %s", trial.of, trial.is_day ? "day" : "hour");
        print_range(&trial, &query);
        buf_u8(&query, 0);
        int64_t end = (trial.to_ms + trial.length_ms - 1) / trial.length_ms;
        int lines[WALKER_CHANNELS + 1];
        int line_count = lines_of(&walkers, &trial, false, end, lines);
        for (int64_t p = trial.from_ms / trial.length_ms; p < end; p++) {
            for (int line = 0; line < line_count; line++) {
                print_life(&walkers, &trial, lines[line], p, &want);
            }
        }
        buf_printf(&want, "= %s-|-|-|-|-\n", trial.is_by ? "-|" : "");
        walkers_check(&walkers, (const char *)query.ptr, &rng, seed, &want);
    }
}

/* ---- stickiness ---- */

struct criterion {
    const char *text;
    int min, max;
};
static const struct criterion criteria[] = {
    {"", 1, INT32_MAX},          {"", 1, INT32_MAX},          {" at least 2 events", 2, INT32_MAX},
    {" at most 2 events", 1, 2}, {" exactly 2 events", 2, 2},
};

/* Rows of one parent: the first period number, of units of length_ms, and how many units. */
static void print_group(const struct walkers *walkers, const struct trial *trial, int64_t first,
                        int64_t units, int64_t group, const struct criterion *criterion,
                        bool is_cumulative, const char *lead, struct buf *want)
{
    int64_t rows = (units + group - 1) / group;
    for (int64_t k = 1; k <= rows; k++) {
        int users = 0;
        for (int s = 0; s < walkers_subjects(trial->is_device); s++) {
            int64_t periods[WALKER_EVENTS_MAX];
            int64_t own[WALKER_EVENTS_MAX];
            int count = periods_of(walkers, trial, s, true, periods);
            int kept = 0;
            for (int i = 0; i < count; i++) {
                if (periods[i] >= first && periods[i] < first + units) {
                    own[kept++] = (periods[i] - first) / group;
                }
            }
            int active = ref_active_periods(own, kept, 0, rows - 1, criterion->min, criterion->max);
            users += is_cumulative ? active >= k : active == k;
        }
        buf_z(want, lead);
        print_line(trial->channel, want);
        buf_printf(want, "%" PRId64 "|%d\n", k, users);
    }
}

static void print_parent(const struct walkers *walkers, const struct trial *trial, int64_t first,
                         int64_t units, int64_t group, const struct criterion *criterion,
                         bool is_cumulative, const char *lead, struct buf *want)
{
    int lines[WALKER_CHANNELS + 1];
    int line_count = lines_of(walkers, trial, true, INT64_MAX, lines);
    for (int i = 0; i < line_count; i++) {
        struct trial line = *trial;
        line.channel = lines[i];
        print_group(walkers, &line, first, units, group, criterion, is_cumulative, lead, want);
    }
}

/* In how many active periods of any parent at all is somebody? `parent_units` 0: one parent. */
static int subjects_seen(const struct walkers *walkers, const struct trial *trial, int64_t group,
                         int64_t parent_units, const struct criterion *criterion)
{
    int64_t first = trial->from_ms / trial->length_ms;
    int seen = 0;
    for (int s = 0; s < walkers_subjects(trial->is_device); s++) {
        int64_t periods[WALKER_EVENTS_MAX];
        int64_t own[WALKER_EVENTS_MAX];
        int count = periods_of(walkers, trial, s, true, periods);
        for (int i = 0; i < count; i++) {
            int64_t base = first;
            if (parent_units > 0) {
                base = MAX_OF(periods[i] / parent_units * parent_units, first);
            }
            /* parents are far apart in the numbering, so that no two groups are one */
            own[i] = base * 1000 + (periods[i] - base) / group;
        }
        int active = 0;
        for (int i = 0; i < count && active == 0; i++) {
            active = ref_active_periods(own, count, own[i], own[i], criterion->min, criterion->max);
        }
        seen += active > 0;
    }
    return seen;
}

static void stickiness_equals_its_definition(void **state)
{
    (void)state;
    uint64_t first_seed = walkers_seed(4243);
    for (uint64_t seed = first_seed; seed < first_seed + TRIALS; seed++) {
        struct rng rng = rng_init(seed);
        struct walkers walkers = walkers_random(&rng);
        struct trial trial = trial_random(&walkers, &rng);
        const struct criterion *criterion = &criteria[rng_below(&rng, COUNT_OF(criteria))];
        bool is_cumulative = rng_below(&rng, 3) == 0;
        int64_t group = 1 + (int64_t)rng_below(&rng, 3);
        int64_t parent_units = trial.is_day || rng_below(&rng, 2) == 0 ? 0 : 24; /* over day */
        int64_t end = (trial.to_ms + trial.length_ms - 1) / trial.length_ms;
        group = parent_units > 0 ? 1 : group; /* a group is of the parent that it begins in */
        CLEANUP(buf_freep) struct buf query = {0};
        CLEANUP(buf_freep) struct buf want = {0};

        buf_printf(&query, "stickiness of %s each %" PRId64 "%s%s%s%s", trial.of, group,
                   trial.is_day ? "d" : "h", parent_units > 0 ? " over day" : "",
                   is_cumulative ? " cumulative" : "", criterion->text);
        print_range(&trial, &query);
        buf_u8(&query, 0);
        int64_t first = trial.from_ms / trial.length_ms;
        if (parent_units == 0) {
            print_parent(&walkers, &trial, first, end - first, group, criterion, is_cumulative, "",
                         &want);
        }
        while (parent_units > 0 && first < end) {
            char date[CIVIL_TEXT_BYTES];
            char lead[CIVIL_TEXT_BYTES + 2];
            int64_t next = MIN_OF(first / parent_units * parent_units + parent_units, end);
            struct str text = civil_format_date(zone_utc(), first * trial.length_ms, date);
            (void)snprintf(lead, sizeof(lead), "%.*s|", (int)text.len, text.ptr);
            print_parent(&walkers, &trial, first, next - first, group, criterion, is_cumulative,
                         lead, &want);
            first = next;
        }
        buf_printf(&want, "= %s%s-|%d\n", parent_units > 0 ? "-|" : "", trial.is_by ? "-|" : "",
                   subjects_seen(&walkers, &trial, group, parent_units, criterion));
        walkers_check(&walkers, (const char *)query.ptr, &rng, seed, &want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lifecycle_equals_its_definition),
        cmocka_unit_test(stickiness_equals_its_definition),
    };
    return cmocka_run_group_tests_name("prop/presence", tests, NULL, NULL);
}
