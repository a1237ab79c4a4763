/* tests/prop/prop_absence.c - Goal: absence and intervals equal their definitions. Method: random journeys in minutes;
 * ref_absence looks at all pairs of events, and at every minute of the range. Of a random cell it is told who is behind it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/civil.h"
#include "storage/base/size.h"
#include "tests/support/ref_absence.h"
#include "tests/support/walkers.h"

#include <inttypes.h>

#define TRIALS  400u
#define HOUR_MS (60 * MINUTE_MS)

struct trial {
    bool is_device, has_each, has_channel, is_intervals;
    int64_t span_ms, from_ms, to_ms; /* within, gap, or longest */
};

/* Whole minutes, so that ticks of a minute see everything. */
static struct walkers walkers_in_minutes(struct rng *rng)
{
    struct walkers walkers = walkers_random(rng);
    for (int i = 0; i < walkers.count; i++) {
        walkers.events[i].time_ms = walkers.events[i].time_ms / MINUTE_MS * MINUTE_MS;
    }
    return walkers;
}

static struct trial trial_random(struct rng *rng)
{
    struct trial trial = {
        .is_device = rng_below(rng, 2) == 0,
        .has_each = rng_below(rng, 2) == 0,
        .has_channel = rng_below(rng, 3) == 0,
        .span_ms = (int64_t)rng_below(rng, 4 * 60) * MINUTE_MS,
    };
    trial.from_ms = SNAP_NOW_MS - (int64_t)rng_below(rng, 30 * 60) * MINUTE_MS;
    trial.to_ms = trial.from_ms + (int64_t)(1 + rng_below(rng, 36 * 60)) * MINUTE_MS;
    return trial;
}

static void print_range(const struct trial *trial, struct buf *query)
{
    char from[CIVIL_TEXT_BYTES];
    char to[CIVIL_TEXT_BYTES];
    (void)civil_format_instant(zone_utc(), trial->from_ms, from);
    (void)civil_format_instant(zone_utc(), trial->to_ms, to);
    buf_printf(query, "%s%s%s from %s to %s", trial->is_device ? " per device" : "",
               trial->has_channel ? " by channel" : "", trial->has_each ? " each hour" : "", from,
               to);
    buf_u8(query, 0);
}

static bool is_in(const struct trial *trial, int64_t ts_ms)
{
    return ts_ms >= trial->from_ms && ts_ms < trial->to_ms;
}

/* Calls `row` for each bucket and channel that have a row, and for the totals. Returns who is counted as a user there, a bit
 * each. */
typedef uint32_t (*row_fn)(const struct walkers *walkers, const struct trial *trial,
                           int64_t begin_ms, int64_t end_ms, int channel, struct buf *want);

/* Some a of the channel is of the range; intervals know a start from before it as well. */
static bool has_channel(const struct walkers *walkers, const struct trial *trial, int channel)
{
    int64_t from_ms = trial->from_ms - (trial->is_intervals ? trial->span_ms : 0);
    for (int i = 0; i < walkers->count; i++) {
        const struct walker_event *event = &walkers->events[i];
        if (event->name == 0 && event->channel == channel && event->time_ms >= from_ms &&
            event->time_ms < trial->to_ms && (!trial->is_device || event->device >= 0)) {
            return true;
        }
    }
    return false;
}

static void print_rows(const struct walkers *walkers, const struct trial *trial, int64_t begin_ms,
                       int64_t end_ms, const char *time, row_fn row, struct buf *want)
{
    if (!trial->has_channel) {
        buf_z(want, time);
        (void)row(walkers, trial, begin_ms, end_ms, -2, want);
        return;
    }
    for (int channel = -1; channel < WALKER_CHANNELS; channel++) {
        if (has_channel(walkers, trial, channel)) {
            buf_printf(want, "%s%s|", time, channel < 0 ? "-" : walker_channels[channel]);
            (void)row(walkers, trial, begin_ms, end_ms, channel, want);
        }
    }
}

static void print_table(const struct walkers *walkers, const struct trial *trial, row_fn row,
                        struct buf *want)
{
    if (!trial->has_each) {
        print_rows(walkers, trial, INT64_MIN, INT64_MAX, "", row, want);
    }
    int64_t begin_ms = trial->from_ms / HOUR_MS * HOUR_MS;
    for (; trial->has_each && begin_ms < trial->to_ms; begin_ms += HOUR_MS) {
        char time[CIVIL_TEXT_BYTES + 1];
        struct str text = civil_format_instant(zone_utc(), begin_ms, time);
        time[text.len] = '|';
        time[text.len + 1] = '\0';
        print_rows(walkers, trial, begin_ms, begin_ms + HOUR_MS, time, row, want);
    }
    buf_printf(want, "= %s%s", trial->has_each ? "-|" : "", trial->has_channel ? "-|" : "");
    (void)row(walkers, trial, INT64_MIN, INT64_MAX, -2, want);
}

/* Who is behind an hour and a channel, or either, or all: the users that the row says. */
static void check_cell(const struct walkers *walkers, const struct trial *trial, const char *query,
                       row_fn row, struct rng *rng, uint64_t seed)
{
    CLEANUP(buf_freep) struct buf text = {0};
    CLEANUP(buf_freep) struct buf line = {0};
    int64_t begin_ms = INT64_MIN;
    int64_t end_ms = INT64_MAX;
    int channel = -2;
    const char *comma = "";
    if (trial->is_device) {
        return;
    }
    buf_z(&text, "users of (");
    if (trial->has_each && rng_below(rng, 3) != 0) {
        char time[CIVIL_TEXT_BYTES];
        uint64_t hours = (uint64_t)(trial->to_ms - trial->from_ms) / HOUR_MS + 1;
        begin_ms = (trial->from_ms / HOUR_MS + (int64_t)rng_below(rng, hours)) * HOUR_MS;
        end_ms = begin_ms + HOUR_MS;
        (void)civil_format_instant(zone_utc(), begin_ms, time);
        buf_printf(&text, "time = %s", time);
        comma = ", ";
    }
    if (trial->has_channel && rng_below(rng, 3) != 0) {
        channel = (int)rng_below(rng, WALKER_CHANNELS + 1) - 1;
        if (channel < 0) {
            buf_printf(&text, "%schannel is not set", comma);
        } else {
            buf_printf(&text, "%schannel = \"%s\"", comma, walker_channels[channel]);
        }
    }
    buf_printf(&text, ") in %s", query);
    buf_u8(&text, 0);
    walkers_check_users(walkers, (const char *)text.ptr, rng, seed,
                        row(walkers, trial, begin_ms, end_ms, channel, &line));
}

/* ---- A -> B ---- */

/* is_first: a of the range; is_second: page /q up to the span behind it. */
static int load_follow(const struct walkers *walkers, const struct trial *trial, int subject,
                       struct walker_event *events, struct ref_follow_event *out)
{
    int count = walkers_of(walkers, trial->is_device, subject, events);
    for (int i = 0; i < count; i++) {
        out[i] = (struct ref_follow_event){.time_ms = events[i].time_ms,
                                           .is_first = events[i].name == 0 &&
                                                       is_in(trial, events[i].time_ms),
                                           .is_second = events[i].page == 3};
    }
    return count;
}

static uint32_t follow_row(const struct walkers *walkers, const struct trial *trial,
                           int64_t begin_ms, int64_t end_ms, int channel, struct buf *want)
{
    uint64_t counts[3] = {0};
    uint64_t users = 0;
    uint32_t whose = 0;
    for (int s = 0; s < walkers_subjects(trial->is_device); s++) {
        struct walker_event events[WALKER_EVENTS_MAX];
        struct ref_follow_event follow[WALKER_EVENTS_MAX];
        int count = load_follow(walkers, trial, s, events, follow);
        uint64_t before = counts[REF_ABSENT];
        for (int i = 0; i < count; i++) {
            if (follow[i].is_first && events[i].time_ms >= begin_ms && events[i].time_ms < end_ms &&
                (channel == -2 || events[i].channel == channel)) {
                counts[ref_follow(follow, count, i, trial->span_ms, SNAP_NOW_MS)]++;
            }
        }
        users += counts[REF_ABSENT] > before;
        whose |= counts[REF_ABSENT] > before ? 1u << s : 0;
    }
    uint64_t decided = counts[REF_FOLLOWED] + counts[REF_ABSENT];
    buf_printf(want, "%" PRIu64 "|%" PRIu64 "|%" PRIu64 "|%" PRIu64 "|%" PRIu64 "|",
               decided + counts[REF_PENDING], counts[REF_FOLLOWED], counts[REF_ABSENT],
               counts[REF_PENDING], users);
    if (decided == 0) {
        buf_z(want, "-\n");
    } else {
        buf_printf(want, "%.9g\n", (double)counts[REF_ABSENT] / (double)decided);
    }
    return whose;
}

static void absence_equals_its_definition(void **state)
{
    (void)state;
    uint64_t first_seed = walkers_seed(500);
    for (uint64_t seed = first_seed; seed < first_seed + TRIALS; seed++) {
        CLEANUP(buf_freep) struct buf query = {0};
        CLEANUP(buf_freep) struct buf want = {0};
        struct rng rng = rng_init(seed);
        struct walkers walkers = walkers_in_minutes(&rng);
        struct trial trial = trial_random(&rng);
        buf_printf(&query, "absence a -> any[page = \"/q\"] within %" PRId64 "ms", trial.span_ms);
        print_range(&trial, &query);
        print_table(&walkers, &trial, follow_row, &want);
        check_cell(&walkers, &trial, (const char *)query.ptr, follow_row, &rng, seed);
        walkers_check(&walkers, (const char *)query.ptr, &rng, seed, &want);
    }
}

/* ---- silences ---- */

static uint32_t silence_row(const struct walkers *walkers, const struct trial *trial,
                            int64_t begin_ms, int64_t end_ms, int channel, struct buf *want)
{
    uint32_t whose = 0;
    uint64_t subjects = 0;
    uint64_t users = 0;
    uint64_t gaps = 0;
    uint64_t silent = 0;
    int64_t longest_ms = 0;
    int64_t total_ms = 0;
    int64_t known_ms = MIN_OF(trial->to_ms, SNAP_NOW_MS);
    for (int s = 0; s < walkers_subjects(trial->is_device); s++) {
        struct walker_event all[WALKER_EVENTS_MAX];
        struct walker_event beats[WALKER_EVENTS_MAX];
        int all_count = walkers_of(walkers, trial->is_device, s, all);
        int count = 0;
        bool is_seen = false;
        uint64_t before = gaps;
        for (int i = 0; i < all_count; i++) {
            if (all[i].name == 0 && is_in(trial, all[i].time_ms)) {
                beats[count++] = all[i];
            }
        }
        for (int i = 0; i < count; i++) {
            int64_t next_ms = i + 1 < count ? beats[i + 1].time_ms : known_ms;
            int64_t ms = next_ms - beats[i].time_ms;
            if (beats[i].time_ms < begin_ms || beats[i].time_ms >= end_ms ||
                (channel != -2 && beats[i].channel != channel)) {
                continue;
            }
            is_seen = true;
            if (ms > trial->span_ms) {
                gaps++;
                silent += i + 1 == count;
                longest_ms = MAX_OF(longest_ms, ms);
                total_ms += ms;
            }
        }
        subjects += is_seen;
        users += gaps > before;
        whose |= gaps > before ? 1u << s : 0;
    }
    buf_printf(want, "%" PRIu64 "|%" PRIu64 "|%" PRIu64 "|%" PRIu64 "|%" PRId64 "|%" PRId64 "\n",
               subjects, users, gaps, silent, longest_ms, total_ms);
    return whose;
}

static void silences_equal_their_definition(void **state)
{
    (void)state;
    uint64_t first_seed = walkers_seed(9000);
    for (uint64_t seed = first_seed; seed < first_seed + TRIALS; seed++) {
        CLEANUP(buf_freep) struct buf query = {0};
        CLEANUP(buf_freep) struct buf want = {0};
        struct rng rng = rng_init(seed);
        struct walkers walkers = walkers_in_minutes(&rng);
        struct trial trial = trial_random(&rng);
        buf_printf(&query, "absence a gap %" PRId64 "ms", trial.span_ms);
        print_range(&trial, &query);
        print_table(&walkers, &trial, silence_row, &want);
        check_cell(&walkers, &trial, (const char *)query.ptr, silence_row, &rng, seed);
        walkers_check(&walkers, (const char *)query.ptr, &rng, seed, &want);
    }
}

/* ---- intervals ---- */

/* The subject's intervals, over all that ever happened, and of each the channel of its start. *ret_seen: it has a start or
 * end, or, of one channel (-2: any), such a start, from the longest interval before the range to its end. */
static int load_intervals(const struct walkers *walkers, const struct trial *trial, int subject,
                          int channel, struct ref_interval *out, bool *ret_seen)
{
    struct walker_event all[WALKER_EVENTS_MAX];
    struct ref_follow_event events[WALKER_EVENTS_MAX];
    struct ref_interval any[REF_INTERVALS_MAX];
    int starts[REF_INTERVALS_MAX];
    int channels[WALKER_EVENTS_MAX];
    int all_count = walkers_of(walkers, trial->is_device, subject, all);
    int count = 0;
    int kept = 0;
    *ret_seen = false;
    for (int i = 0; i < all_count; i++) {
        int64_t ms = all[i].time_ms;
        if (all[i].name == 0 || all[i].page == 3) {
            bool is_start = all[i].name == 0;
            channels[count] = all[i].channel;
            events[count++] = (struct ref_follow_event){
                .time_ms = ms, .is_first = is_start, .is_second = all[i].page == 3};
            bool is_of_line = channel == -2 || (is_start && all[i].channel == channel);
            bool is_near = ms >= trial->from_ms - trial->span_ms && ms < trial->to_ms;
            *ret_seen = *ret_seen || (is_of_line && is_near);
        }
    }
    int found = ref_intervals(events, count, trial->span_ms, SNAP_NOW_MS, any, starts);
    for (int i = 0; i < found; i++) {
        if (channel == -2 || channels[starts[i]] == channel) {
            out[kept++] = any[i];
        }
    }
    return kept;
}

static uint32_t interval_row(const struct walkers *walkers, const struct trial *trial,
                             int64_t begin_ms, int64_t end_ms, int channel, struct buf *want)
{
    struct ref_interval intervals[WALKER_USERS][REF_INTERVALS_MAX];
    int counts[WALKER_USERS];
    int64_t first_ms = MAX_OF(begin_ms, trial->from_ms);
    int64_t last_ms = MIN_OF(end_ms, trial->to_ms);
    int64_t length_ms = MAX_OF(MIN_OF(last_ms, SNAP_NOW_MS) - first_ms, (int64_t)0);
    uint64_t subjects = 0;
    uint64_t begun = 0;
    int64_t online_ms = 0;
    uint64_t peak = 0;
    uint32_t whose = 0;

    for (int s = 0; s < walkers_subjects(trial->is_device); s++) {
        bool is_seen = false;
        counts[s] = load_intervals(walkers, trial, s, channel, intervals[s], &is_seen);
        subjects += is_seen;
        for (int i = 0; i < counts[s]; i++) {
            begun += intervals[s][i].begin_ms >= first_ms && intervals[s][i].begin_ms < last_ms;
        }
    }
    for (int64_t tick = first_ms; tick < last_ms; tick += MINUTE_MS) {
        uint64_t online = 0;
        for (int s = 0; s < walkers_subjects(trial->is_device); s++) {
            if (ref_is_online(intervals[s], counts[s], tick)) {
                online++;
                whose |= 1u << s;
            }
        }
        peak = MAX_OF(peak, online);
        online_ms += (int64_t)online * MINUTE_MS;
    }
    if (length_ms == 0 || subjects == 0) {
        buf_z(want, "-");
    } else {
        buf_printf(want, "%.9g", (double)online_ms / ((double)length_ms * (double)subjects));
    }
    buf_printf(want, "|%" PRIu64 "|%" PRId64 "|%d|%" PRIu64 "\n", peak, online_ms,
               __builtin_popcount(whose), begun);
    return whose;
}

static void print_intervals(const struct trial *trial, const char *measures, struct buf *query)
{
    buf_clear(query);
    buf_printf(query, "intervals a -> any[page = \"/q\"] measure %s longest %" PRId64 "ms",
               measures, trial->span_ms);
    print_range(trial, query);
}

static void check_intervals(const struct walkers *walkers, const struct trial *trial,
                            struct rng *rng, uint64_t seed)
{
    CLEANUP(buf_freep) struct buf query = {0};
    CLEANUP(buf_freep) struct buf want = {0};
    print_intervals(trial, "utilisation, peak, online_ms, users, intervals", &query);
    print_table(walkers, trial, interval_row, &want);
    check_cell(walkers, trial, (const char *)query.ptr, interval_row, rng, seed);
    walkers_check(walkers, (const char *)query.ptr, rng, seed, &want);
}

static void intervals_equal_their_definition(void **state)
{
    (void)state;
    uint64_t first_seed = walkers_seed(20000);
    for (uint64_t seed = first_seed; seed < first_seed + TRIALS; seed++) {
        struct rng rng = rng_init(seed);
        struct walkers walkers = walkers_in_minutes(&rng);
        struct trial trial = trial_random(&rng);
        trial.is_intervals = true;
        check_intervals(&walkers, &trial, &rng, seed);
    }
}

/* Events of few users that are starts, ends or both, mostly nearer to each other than the longest interval: starts that are
 * open together reach back through all of them. */
static struct walkers walkers_in_chains(struct rng *rng, int64_t longest_ms)
{
    struct walkers walkers = walkers_in_minutes(rng);
    uint64_t step_minutes = (uint64_t)(longest_ms / MINUTE_MS) / (1 + rng_below(rng, 4)) + 1;
    uint64_t users = 1 + rng_below(rng, 3);
    int64_t clocks[WALKER_USERS];
    for (int u = 0; u < WALKER_USERS; u++) {
        clocks[u] = SNAP_NOW_MS - (int64_t)rng_below(rng, 60 * 60) * MINUTE_MS;
    }
    for (int i = 0; i < walkers.count; i++) {
        struct walker_event *event = &walkers.events[i];
        event->user = (int)rng_below(rng, users);
        event->name = (int)rng_below(rng, 2);
        event->page = event->name == 1 || rng_below(rng, 8) == 0 ? 3 : 0;
        clocks[event->user] += (int64_t)rng_below(rng, step_minutes) * MINUTE_MS;
        event->time_ms = clocks[event->user];
    }
    return walkers;
}

/* The totals stand behind the rows, and are of the range. */
static void cut_totals(struct buf *answer)
{
    char *totals = strstr((char *)answer->ptr, "= ");
    ASSERT(totals != NULL);
    *totals = '\0';
}

/* Each of the lines is one of the others. */
static bool are_among(const struct buf *lines, const struct buf *others)
{
    for (const char *line = (const char *)lines->ptr; *line != '\0';) {
        size_t len = (size_t)(strchr(line, '\n') - line) + 1;
        const char *at = (const char *)others->ptr;
        while (*at != '\0' && strncmp(at, line, len) != 0) {
            at = strchr(at, '\n') + 1;
        }
        if (*at == '\0') {
            return false;
        }
        line += len;
    }
    return true;
}

/* Method: the same hours asked for in a range that begins with the first event of all, and in one that begins later. */
static void intervals_of_an_hour_are_the_same_wherever_the_range_begins(void **state)
{
    (void)state;
    uint64_t first_seed = walkers_seed(30000);
    for (uint64_t seed = first_seed; seed < first_seed + TRIALS; seed++) {
        CLEANUP(buf_freep) struct buf query = {0};
        CLEANUP(buf_freep) struct buf wide = {0};
        CLEANUP(buf_freep) struct buf narrow = {0};
        struct rng rng = rng_init(seed);
        struct trial trial = trial_random(&rng);
        trial.span_ms = (int64_t)(1 + rng_below(&rng, 6 * 60)) * MINUTE_MS;
        struct walkers walkers = walkers_in_chains(&rng, trial.span_ms);
        int64_t from_ms = trial.from_ms / HOUR_MS * HOUR_MS;
        trial.is_intervals = true;
        trial.has_each = true;
        trial.from_ms = SNAP_NOW_MS / HOUR_MS * HOUR_MS - 70 * HOUR_MS;
        trial.to_ms = MAX_OF(trial.to_ms, from_ms + HOUR_MS);
        print_intervals(&trial, "peak, online_ms, users, intervals", &query);
        walkers_ask(&walkers, (const char *)query.ptr, &rng, &wide);
        trial.from_ms = from_ms;
        print_intervals(&trial, "peak, online_ms, users, intervals", &query);
        walkers_ask(&walkers, (const char *)query.ptr, &rng, &narrow);
        cut_totals(&wide);
        cut_totals(&narrow);
        if (!are_among(&narrow, &wide)) {
            fail_msg("seed %" PRIu64 ": %s\nanswer:\n%s\nof all hours:\n%s", seed,
                     (const char *)query.ptr, (const char *)narrow.ptr, (const char *)wide.ptr);
        }
        check_intervals(&walkers, &trial, &rng, seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(absence_equals_its_definition),
        cmocka_unit_test(silences_equal_their_definition),
        cmocka_unit_test(intervals_equal_their_definition),
        cmocka_unit_test(intervals_of_an_hour_are_the_same_wherever_the_range_begins),
    };
    return cmocka_run_group_tests_name("prop/absence", tests, NULL, NULL);
}
