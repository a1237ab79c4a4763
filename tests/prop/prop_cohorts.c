/* tests/prop/prop_cohorts.c - Goal: retention in every mode, rolling and in civil hours, with values and averages, ltv,
 * churn and conditions equal their definitions. Method: random journeys; ref_cohorts tries every event against every period; numbers are
 * added up as integers here. And ltv keeps its identity: the sum of ARPU * survival is revenue per member. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/civil.h"
#include "storage/base/size.h"
#include "tests/support/ref_cohorts.h"
#include "tests/support/walkers.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRIALS   400u
#define HOUR_MS  (60 * MINUTE_MS)
#define DAY_MS   (24 * HOUR_MS)
#define ROWS_MAX 64

struct selector {
    const char *text;
    int name; /* -1: any */
    int page; /* -1: whatever */
};
static const struct selector selectors[] = {
    {"any", -1, -1}, {"a", 0, -1}, {"b", 1, -1}, {"c[page = \"/q\"]", 2, 3}};

static bool is_selected(const struct selector *selector, const struct walker_event *event)
{
    return (selector->name < 0 || event->name == selector->name) &&
           (selector->page < 0 || event->page == selector->page);
}

struct trial {
    struct ref_cohort_query query;
    const struct selector *start, *back, *value; /* value NULL: none */
    bool is_mean, is_average, is_device, is_ltv;
    int percent; /* discount */
};

struct sums {
    int64_t size, users, cents, values;
};

/* ---- the questions ---- */

static struct trial trial_random(struct rng *rng, bool is_ltv)
{
    struct trial trial = {
        .query = {.mode = is_ltv ? REF_MODE_EXACT : (enum ref_cohort_mode)rng_below(rng, 5),
                  .is_recurring = rng_below(rng, 2) == 0,
                  .is_rolling = rng_below(rng, 2) == 0,
                  .counts_start = is_ltv,
                  .length_ms = HOUR_MS,
                  .at_least = is_ltv || rng_below(rng, 3) != 0 ? 1 : 2,
                  .columns = 1 + (int)rng_below(rng, 8)},
        .start = &selectors[rng_below(rng, COUNT_OF(selectors))],
        .back = &selectors[rng_below(rng, COUNT_OF(selectors))],
        .is_average = rng_below(rng, 4) == 0,
        .is_device = rng_below(rng, 4) == 0,
        .is_ltv = is_ltv,
    };
    if (is_ltv || rng_below(rng, 2) == 0) {
        trial.value = &selectors[rng_below(rng, COUNT_OF(selectors))];
        trial.is_mean = !is_ltv && rng_below(rng, 2) == 0;
    }
    trial.percent = is_ltv && rng_below(rng, 2) == 0 ? (int)rng_below(rng, 100) : 0;
    for (int b = 0; trial.query.mode == REF_MODE_BRACKET && b < trial.query.columns; b++) {
        trial.query.brackets[b][0] = (int)rng_below(rng, 6);
        trial.query.brackets[b][1] = trial.query.brackets[b][0] + (int)rng_below(rng, 4);
    }
    int64_t from = SNAP_NOW_MS - (int64_t)rng_below(rng, 30) * HOUR_MS;
    trial.query.from_ms =
        from + (rng_below(rng, 2) == 0 ? 0 : (int64_t)rng_below(rng, 60) * MINUTE_MS);
    trial.query.to_ms = trial.query.from_ms + (int64_t)(1 + rng_below(rng, 20 * 60)) * MINUTE_MS;
    return trial;
}

static void print_query(const struct trial *trial, struct buf *query)
{
    static const char *const modes[] = {"exact", "unbounded", "streak", "until", ""};
    const struct ref_cohort_query *q = &trial->query;
    char from[CIVIL_TEXT_BYTES];
    char to[CIVIL_TEXT_BYTES];

    buf_printf(query, "%s %s -> %s each hour", trial->is_ltv ? "ltv" : "retention",
               trial->start->text, trial->back->text);
    if (q->mode == REF_MODE_BRACKET) {
        for (int b = 0; b < q->columns; b++) {
            buf_printf(query, "%s%d-%d", b == 0 ? " bracket (" : ", ", q->brackets[b][0],
                       q->brackets[b][1]);
        }
        buf_z(query, ")");
    } else {
        buf_printf(query, " for %d %s", q->columns - 1, trial->is_ltv ? "" : modes[q->mode]);
    }
    if (trial->value != NULL) {
        buf_printf(query, " value %s(amount of %s)", trial->is_mean ? "avg" : "sum",
                   trial->value->text);
    }
    buf_z(query, q->at_least > 1 ? " at least 2" : "");
    buf_printf(query, "%s%s%s%s", q->is_recurring ? " recurring" : "",
               q->is_rolling ? " rolling" : "", trial->is_average ? " average" : "",
               trial->is_device ? " per device" : "");
    if (trial->percent > 0) {
        buf_printf(query, " discount 0.%02d", trial->percent);
    }
    (void)civil_format_instant(zone_utc(), q->from_ms, from);
    (void)civil_format_instant(zone_utc(), q->to_ms, to);
    buf_printf(query, " from %s to %s", from, to);
    buf_u8(query, 0);
}

/* ---- the answers ---- */

static int64_t first_cohort(const struct trial *trial)
{
    return trial->query.from_ms / HOUR_MS;
}

static int cohort_count(const struct trial *trial)
{
    return (int)((trial->query.to_ms + HOUR_MS - 1) / HOUR_MS - first_cohort(trial));
}

static int64_t count_all(const struct walkers *walkers, const struct trial *trial,
                         struct sums sums[ROWS_MAX][REF_COHORT_COLUMNS_MAX])
{
    int64_t total = 0;
    memset(sums, 0, sizeof(struct sums) * ROWS_MAX * REF_COHORT_COLUMNS_MAX);
    for (int s = 0; s < walkers_subjects(trial->is_device); s++) {
        struct walker_event all[WALKER_EVENTS_MAX];
        struct ref_cohort_event events[WALKER_EVENTS_MAX];
        struct ref_cohort_member members[REF_COHORTS_MAX];
        int count = walkers_of(walkers, trial->is_device, s, all);
        for (int i = 0; i < count; i++) {
            events[i] = (struct ref_cohort_event){
                .time_ms = all[i].time_ms,
                .is_start = is_selected(trial->start, &all[i]),
                .is_return = is_selected(trial->back, &all[i]),
                .has_value =
                    trial->value != NULL && is_selected(trial->value, &all[i]) && all[i].has_amount,
                .cents = all[i].cents,
            };
        }
        int found = ref_cohorts(&trial->query, events, count, members);
        total += found;
        for (int m = 0; m < found; m++) {
            struct sums *row = sums[members[m].cohort - first_cohort(trial)];
            for (int n = 0; n < trial->query.columns; n++) {
                row[n].size++;
                row[n].users += members[m].is_back[n];
                row[n].cents += members[m].cents[n];
                row[n].values += members[m].values[n];
            }
        }
    }
    return total;
}

static bool is_complete(const struct trial *trial, int cohort, int column)
{
    const struct ref_cohort_query *q = &trial->query;
    int last = q->mode == REF_MODE_BRACKET ? q->brackets[column][1] : column;
    /* rolling: the last start lies just before the cohort's end, and its period `last` ends last + 1 lengths later */
    int64_t end = first_cohort(trial) + cohort + last + (q->is_rolling ? 2 : 1);
    return end * HOUR_MS <= SNAP_NOW_MS;
}

static void print_ratio(int64_t a, int64_t b, struct buf *out)
{
    if (b == 0) {
        buf_z(out, "-");
    } else {
        buf_printf(out, "%.9g", (double)a / (double)b);
    }
}

static void print_money(int64_t cents, struct buf *out)
{
    num_format(num_decimal(cents, 2), out);
}

static void print_mean(int64_t cents, int64_t count, struct buf *out)
{
    if (count == 0) {
        buf_z(out, "-");
    } else {
        buf_printf(out, "%.9g", (double)cents / 100 / (double)count);
    }
}

/* Six digits behind the point. */
static void print_six(double value, struct buf *out)
{
    buf_printf(out, "%.6f", fabs(value) < 5e-7 ? 0.0 : value);
}

/* The curve so far: all revenue, and the terms one by one. */
struct curve {
    int64_t cents;
    double terms, factor;
};

static void print_ltv(const struct trial *trial, const struct sums *sums, struct curve *curve,
                      struct buf *out)
{
    if (sums->size > 0 && sums->users > 0) { /* ARPU * survival, as the definition has it */
        double arpu = (double)sums->cents / 100 / (double)sums->users;
        double survival = (double)sums->users / (double)sums->size;
        curve->terms += arpu * survival / curve->factor;
    }
    curve->factor *= 1 + trial->percent / 100.0;
    curve->cents += sums->cents;
    if (trial->percent == 0 && !trial->is_average && sums->size > 0) {
        double per_member = (double)curve->cents / 100 / (double)sums->size;
        assert_true(fabs(per_member - curve->terms) <= 1e-9 * (1 + fabs(per_member)));
    }
    buf_printf(out, "%" PRId64 "|", sums->users);
    print_money(sums->cents, out);
    buf_u8(out, '|');
    print_mean(sums->cents, sums->users, out);
    buf_u8(out, '|');
    print_ratio(sums->users, sums->size, out);
    buf_u8(out, '|');
    if (sums->size == 0) {
        buf_z(out, "-");
    } else {
        /* terms of floats cancel to nearly nothing, where money adds up to nothing */
        print_six(curve->terms, out);
    }
}

static void print_cells(const struct trial *trial, const struct sums *sums, int cohorts, int column,
                        bool is_over, struct curve *curve, struct buf *out)
{
    const struct ref_cohort_query *q = &trial->query;
    if (q->mode != REF_MODE_BRACKET) {
        buf_printf(out, "%d|", column);
    } else if (q->brackets[column][0] == q->brackets[column][1]) {
        buf_printf(out, "%d|", q->brackets[column][0]);
    } else {
        buf_printf(out, "%d-%d|", q->brackets[column][0], q->brackets[column][1]);
    }
    if (trial->is_average) {
        buf_printf(out, "%d|", cohorts);
    }
    buf_printf(out, "%" PRId64 "|", sums->size);
    if (trial->is_ltv) {
        print_ltv(trial, sums, curve, out);
    } else {
        buf_printf(out, "%" PRId64 "|", sums->users);
        print_ratio(sums->users, sums->size, out);
    }
    if (!trial->is_average) {
        buf_z(out, is_over ? "|true" : "|false");
    }
    if (!trial->is_ltv && trial->value != NULL) {
        buf_u8(out, '|');
        if (trial->is_mean) {
            print_mean(sums->cents, sums->values, out);
        } else {
            print_money(sums->cents, out);
        }
    }
    buf_u8(out, '\n');
}

static void print_average(const struct trial *trial,
                          struct sums sums[ROWS_MAX][REF_COHORT_COLUMNS_MAX], struct buf *want)
{
    struct curve curve = {.factor = 1};
    for (int n = 0; n < trial->query.columns; n++) {
        struct sums all = {0};
        int cohorts = 0;
        for (int c = 0; c < cohort_count(trial); c++) {
            if (is_complete(trial, c, n) && sums[c][n].size > 0) {
                cohorts++;
                all.size += sums[c][n].size;
                all.users += sums[c][n].users;
                all.cents += sums[c][n].cents;
                all.values += sums[c][n].values;
            }
        }
        print_cells(trial, &all, cohorts, n, true, &curve, want);
    }
}

static void expect(const struct walkers *walkers, const struct trial *trial, struct buf *want)
{
    static struct sums sums[ROWS_MAX][REF_COHORT_COLUMNS_MAX];
    int64_t total = count_all(walkers, trial, sums);

    if (trial->is_average) {
        print_average(trial, sums, want);
    }
    for (int c = 0; !trial->is_average && c < cohort_count(trial); c++) {
        struct curve curve = {.factor = 1};
        for (int n = 0; n < trial->query.columns; n++) {
            char time[CIVIL_TEXT_BYTES];
            buf_str(want,
                    civil_format_instant(zone_utc(), (first_cohort(trial) + c) * HOUR_MS, time));
            buf_u8(want, '|');
            print_cells(trial, &sums[c][n], 0, n, is_complete(trial, c, n), &curve, want);
        }
    }
    /* totals: the members of all cohorts */
    int columns = trial->is_ltv ? 8 : 5 + (trial->value != NULL ? 1 : 0);
    columns += trial->is_average ? 0 : 1;
    for (int i = 0; i < columns; i++) {
        buf_z(want, i == 0 ? "= " : "|");
        if (i == 2) {
            buf_printf(want, "%" PRId64, total);
        } else {
            buf_u8(want, '-');
        }
    }
    buf_u8(want, '\n');
}

/* Numbers of a column with six digits behind the point, as the reference prints ltv. */
static void round_ltv(struct buf *got)
{
    CLEANUP(buf_freep) struct buf rounded = {0};
    int ltv_col = 7; /* of an average as well: `cohorts` stands there in the place of `cohort` */
    char *line = (char *)got->ptr;
    while (*line != '\0') {
        char *end = strchr(line, '\n');
        int col = 0;
        assert_non_null(end);
        *end = '\0';
        for (char *cell = line; cell != NULL; col++) {
            char *bar = strchr(cell, '|');
            if (bar != NULL) {
                *bar = '\0';
            }
            bool is_ltv = col == ltv_col && strcmp(cell, "-") != 0;
            double value = is_ltv ? strtod(cell, NULL) : 0;
            buf_z(&rounded, col > 0 ? "|" : "");
            if (is_ltv) {
                print_six(value, &rounded);
            } else {
                buf_z(&rounded, cell);
            }
            cell = bar == NULL ? NULL : bar + 1;
        }
        buf_u8(&rounded, '\n');
        line = end + 1;
    }
    buf_u8(&rounded, 0);
    buf_clear(got);
    buf_append(got, rounded.ptr, rounded.len);
}

/* The same text, but for numbers that differ in the sixth digit by one: floats add up in different orders on both sides,
 * and what lies between two digits to the last bit may fall to either. */
static bool is_same_ltv(const char *a, const char *b)
{
    while (*a != '\0' && *b != '\0') {
        size_t a_len = strcspn(a, "|\n");
        size_t b_len = strcspn(b, "|\n");
        bool is_same = a_len == b_len && memcmp(a, b, a_len) == 0;
        bool is_number = memchr(a, '.', a_len) != NULL && memchr(b, '.', b_len) != NULL;
        if (a[a_len] != b[b_len] ||
            (!is_same && (!is_number || fabs(strtod(a, NULL) - strtod(b, NULL)) > 1.5e-6))) {
            return false;
        }
        a += a_len + (a[a_len] != '\0');
        b += b_len + (b[b_len] != '\0');
    }
    return *a == *b;
}

static void check(const struct walkers *walkers, const struct trial *trial, struct rng *rng,
                  uint64_t seed)
{
    CLEANUP(buf_freep) struct buf query = {0};
    CLEANUP(buf_freep) struct buf want = {0};
    CLEANUP(buf_freep) struct buf got = {0};

    print_query(trial, &query);
    expect(walkers, trial, &want);
    buf_u8(&want, 0);
    walkers_ask(walkers, (const char *)query.ptr, rng, &got);
    if (trial->is_ltv && strncmp((const char *)got.ptr, "error", 5) != 0) {
        round_ltv(&got);
    }
    const char *found = (const char *)got.ptr;
    const char *wanted = (const char *)want.ptr;
    if (trial->is_ltv ? !is_same_ltv(found, wanted) : strcmp(found, wanted) != 0) {
        fprintf(stderr, "%s\nanswer:\n%s\nby definition:\n%s\n", (const char *)query.ptr,
                (const char *)got.ptr, (const char *)want.ptr);
        fail_msg("seed %" PRIu64, seed);
    }
}

static void retention_equals_its_definition_in_every_mode(void **state)
{
    (void)state;
    uint64_t first_seed = walkers_seed(515151);
    for (uint64_t seed = first_seed; seed < first_seed + TRIALS; seed++) {
        struct rng rng = rng_init(seed);
        struct walkers walkers = walkers_random(&rng);
        struct trial trial = trial_random(&rng, false);
        check(&walkers, &trial, &rng, seed);
    }
}

static void ltv_is_revenue_per_member(void **state)
{
    (void)state;
    uint64_t first_seed = walkers_seed(616161);
    for (uint64_t seed = first_seed; seed < first_seed + TRIALS; seed++) {
        struct rng rng = rng_init(seed);
        struct walkers walkers = walkers_random(&rng);
        struct trial trial = trial_random(&rng, true);
        check(&walkers, &trial, &rng, seed);
    }
}

/* ---- lines of channels ---- */

#define ALL_CHANNELS (-2)

/* Channels in the order of lines: none, then by their bytes; or all events as one. */
static int channels_in_order(bool is_by, int out[WALKER_CHANNELS + 1])
{
    int count = 1;
    out[0] = is_by ? -1 : ALL_CHANNELS;
    for (int c = 0; is_by && c < WALKER_CHANNELS; c++) {
        int at = count++;
        for (; at > 1 && strcmp(walker_channels[out[at - 1]], walker_channels[c]) > 0; at--) {
            out[at] = out[at - 1];
        }
        out[at] = c;
    }
    return count;
}

static void print_channel(int channel, struct buf *want)
{
    if (channel != ALL_CHANNELS) {
        buf_printf(want, "%s|", channel < 0 ? "-" : walker_channels[channel]);
    }
}

static bool is_of(int channel, const struct walker_event *event)
{
    return channel == ALL_CHANNELS || event->channel == channel;
}

/* ---- churn ---- */

struct churn_trial {
    const struct selector *selector;
    bool is_device, is_last_seen, is_by;
    int silence;
    int64_t today, first, last;
    int64_t each; /* days of a window, at multiples of it since 1970; 0: one window */
};

static int days_of(const struct walkers *walkers, const struct churn_trial *trial, int subject,
                   int channel, int64_t *out, int64_t *ret_last_ms)
{
    struct walker_event events[WALKER_EVENTS_MAX];
    int all = walkers_of(walkers, trial->is_device, subject, events);
    int count = 0;
    *ret_last_ms = INT64_MIN;
    for (int i = 0; i < all; i++) {
        if (is_selected(trial->selector, &events[i]) && is_of(channel, &events[i])) {
            out[count++] = events[i].time_ms / DAY_MS;
            *ret_last_ms = MAX_OF(*ret_last_ms, events[i].time_ms);
        }
    }
    return count;
}

struct churn_numbers {
    int base, churned;
};

/* Of the window of days [first, last]. */
static struct churn_numbers churn_of(const struct walkers *walkers, const struct churn_trial *trial,
                                     int channel, int64_t first, int64_t last)
{
    struct churn_numbers sum = {0};
    for (int s = 0; s < walkers_subjects(trial->is_device); s++) {
        int64_t days[WALKER_EVENTS_MAX];
        int64_t last_ms = 0;
        bool is_base = false;
        int count = days_of(walkers, trial, s, channel, days, &last_ms);
        bool is_churned =
            ref_churned(days, count, first, last, trial->today - 1, trial->silence, &is_base);
        if (trial->is_last_seen) {
            is_base = false;
            for (int i = 0; i < count; i++) {
                is_base = is_base || (days[i] >= first && days[i] <= last);
            }
            is_churned = count > 0 && trial->today - last_ms / DAY_MS >= trial->silence;
        }
        sum.base += is_base;
        sum.churned += is_base && is_churned;
    }
    return sum;
}

static struct churn_trial churn_random(struct rng *rng)
{
    struct churn_trial trial = {
        .selector = &selectors[rng_below(rng, COUNT_OF(selectors))],
        .is_device = rng_below(rng, 4) == 0,
        .is_last_seen = rng_below(rng, 3) == 0,
        .is_by = rng_below(rng, 2) == 0,
        .silence = 1 + (int)rng_below(rng, 5),
        .today = SNAP_NOW_MS / DAY_MS,
    };
    trial.first = trial.today - (int64_t)rng_below(rng, 18);
    trial.last = trial.first + trial.silence - 1 + (int64_t)rng_below(rng, 8);
    if (!trial.is_last_seen &&
        rng_below(rng, 3) == 0) { /* whole windows, the first is cut where it can be */
        trial.each = trial.silence + (int64_t)rng_below(rng, 3);
        trial.first = trial.first / trial.each * trial.each;
        trial.last = trial.first + trial.each * (1 + (int64_t)rng_below(rng, 4)) - 1;
        trial.first += (int64_t)rng_below(rng, (uint64_t)(trial.each - trial.silence + 1));
    }
    return trial;
}

/* Days of buckets of the window that day `first` lies in; *ret_first is the day that names it. */
static int64_t window_last(const struct churn_trial *trial, int64_t first, int64_t *ret_first)
{
    *ret_first = trial->each == 0 ? first : first / trial->each * trial->each;
    return trial->each == 0 ? trial->last : *ret_first + trial->each - 1;
}

static void expect_churn(const struct walkers *walkers, const struct churn_trial *trial,
                         struct buf *want)
{
    int channels[WALKER_CHANNELS + 1];
    int channel_count = channels_in_order(trial->is_by, channels);
    bool has_line[WALKER_CHANNELS + 1] = {false};
    int64_t name = 0;
    for (int pass = 0; pass < 2; pass++) { /* a line is shown where some window of it has people */
        int64_t last = 0;
        for (int64_t day = trial->first; day <= trial->last; day = last + 1) {
            last = window_last(trial, day, &name);
            for (int c = 0; c < channel_count; c++) {
                struct churn_numbers sum = churn_of(walkers, trial, channels[c], day, last);
                has_line[c] = has_line[c] || sum.base > 0 || !trial->is_by;
                if (pass == 0 || !has_line[c]) {
                    continue;
                }
                if (trial->each > 0) {
                    char date[CIVIL_TEXT_BYTES];
                    buf_str(want, civil_format_date(zone_utc(), name * DAY_MS, date));
                    buf_u8(want, '|');
                }
                print_channel(channels[c], want);
                buf_printf(want, "%d|%d|", sum.base, sum.churned);
                print_ratio(sum.churned, sum.base, want);
                buf_u8(want, '\n');
            }
        }
    }
}

static void churn_equals_its_definition(void **state)
{
    (void)state;
    uint64_t first_seed = walkers_seed(717171);
    for (uint64_t seed = first_seed; seed < first_seed + TRIALS; seed++) {
        struct rng rng = rng_init(seed);
        struct walkers walkers = walkers_random(&rng);
        CLEANUP(buf_freep) struct buf query = {0};
        CLEANUP(buf_freep) struct buf want = {0};
        struct churn_trial trial = churn_random(&rng);
        int64_t stretch = 1 + (int64_t)rng_below(&rng, 12);
        for (int i = 0; i < walkers.count; i++) { /* hours become days */
            walkers.events[i].time_ms =
                SNAP_NOW_MS - (SNAP_NOW_MS - walkers.events[i].time_ms) * stretch;
        }
        char from[CIVIL_TEXT_BYTES];
        char to[CIVIL_TEXT_BYTES];
        (void)civil_format_date(zone_utc(), trial.first * DAY_MS, from);
        (void)civil_format_date(zone_utc(), (trial.last + 1) * DAY_MS, to);
        buf_printf(&query, "churn %dd of %s%s from %s to %s%s%s", trial.silence,
                   trial.selector->text, trial.is_last_seen ? " last_seen" : "", from, to,
                   trial.is_device ? " per device" : "", trial.is_by ? " by channel" : "");
        if (trial.each > 0) {
            buf_printf(&query, " each %" PRId64 "d", trial.each);
        }
        buf_u8(&query, 0);
        expect_churn(&walkers, &trial, &want);
        walkers_check(&walkers, (const char *)query.ptr, &rng, seed, &want);
    }
}

/* ---- conditions ---- */

static uint64_t met_of(const struct walkers *walkers, const struct selector *const *asked, int asks,
                       bool is_device, int subject, int channel)
{
    struct walker_event events[WALKER_EVENTS_MAX];
    uint64_t masks[WALKER_EVENTS_MAX];
    int all = walkers_of(walkers, is_device, subject, events);
    int count = 0;
    for (int i = 0; i < all; i++) {
        if (!is_of(channel, &events[i])) {
            continue;
        }
        masks[count] = 0;
        for (int k = 0; k < asks; k++) {
            masks[count] |= is_selected(asked[k], &events[i]) ? UINT64_C(1) << k : 0;
        }
        count++;
    }
    return ref_conditions(masks, count);
}

static void conditions_equal_their_definition(void **state)
{
    (void)state;
    uint64_t first_seed = walkers_seed(818181);
    for (uint64_t seed = first_seed; seed < first_seed + TRIALS; seed++) {
        struct rng rng = rng_init(seed);
        struct walkers walkers = walkers_random(&rng);
        CLEANUP(buf_freep) struct buf query = {0};
        CLEANUP(buf_freep) struct buf want = {0};
        const struct selector *asked[4];
        int asks = 1 + (int)rng_below(&rng, 4);
        bool is_device = rng_below(&rng, 4) == 0;
        bool is_by = rng_below(&rng, 2) == 0;
        int channels[WALKER_CHANNELS + 1];
        int channel_count = channels_in_order(is_by, channels);
        buf_z(&query, "conditions ");
        for (int k = 0; k < asks; k++) {
            asked[k] = &selectors[rng_below(&rng, COUNT_OF(selectors))];
            buf_printf(&query, "%s%s", k == 0 ? "" : ", ", asked[k]->text);
        }
        buf_printf(&query, "%s%s", is_device ? " per device" : "", is_by ? " by channel" : "");
        buf_u8(&query, 0);
        for (int c = 0; c < channel_count; c++) {
            int users[4] = {0};
            for (int s = 0; s < walkers_subjects(is_device); s++) {
                uint64_t met = met_of(&walkers, asked, asks, is_device, s, channels[c]);
                for (int k = 0; k < asks; k++) {
                    users[k] += (int)(met >> k & 1);
                }
            }
            for (int k = 0; k < asks && (users[0] > 0 || !is_by); k++) {
                print_channel(channels[c], &want);
                buf_printf(&want, "%d|%s|%d|", k + 1, asked[k]->text, users[k]);
                print_ratio(users[k], users[0], &want);
                buf_u8(&want, '\n');
            }
        }
        walkers_check(&walkers, (const char *)query.ptr, &rng, seed, &want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(retention_equals_its_definition_in_every_mode),
        cmocka_unit_test(ltv_is_revenue_per_member),
        cmocka_unit_test(churn_equals_its_definition),
        cmocka_unit_test(conditions_equal_their_definition),
    };
    return cmocka_run_group_tests_name("prop/cohorts", tests, NULL, NULL);
}
