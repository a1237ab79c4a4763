/* tests/prop/prop_attribution.c - Goal: attribution equals its definition, by hour as well, credits sum to conversions and
 * values exactly, and the people behind a cell are those who converted with credit there. Method: random journeys and questions; the test finds each conversion's touches by looking at all events,
 * ref_attribution deals out the credit. Half-lives are so long that rounding is the same however it is computed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/attribution_credit.h"
#include "query/civil.h"
#include "storage/base/size.h"
#include "tests/support/ref_attribution.h"
#include "tests/support/walkers.h"

#include <inttypes.h>

#define TRIALS  700u
#define HOUR_MS (60 * MINUTE_MS)
#define NONE    WALKER_CHANNELS /* the row of conversions without a touch */

struct trial {
    enum ref_model model;
    bool is_device, keeps_repeats, is_consuming, has_touches, has_value_selector, has_each;
    int64_t lookback_ms, half_life_ms, from_ms, to_ms;
};
struct sums {
    int64_t units, touched, value; /* value: hundredths of a millionth */
    uint32_t whose;                /* who has some of the units, a bit each */
};
/* All channels, and conversions without a touch, of an hour or of all time. */
struct bucket {
    struct sums sums[WALKER_CHANNELS + 1];
    struct sums all;
};

static bool is_conversion(const struct trial *trial, const struct walker_event *event)
{
    return event->name == 2 && event->time_ms >= trial->from_ms && event->time_ms < trial->to_ms;
}

/* Events of the subject are seen from the lookback before the range on. */
static int touches_of(const struct trial *trial, const struct walker_event *events, int at,
                      struct ref_touch *out)
{
    int count = 0;
    int session = 0;
    for (int i = 0; i < at; i++) {
        const struct walker_event *event = &events[i];
        session += i > 0 && event->time_ms - events[i - 1].time_ms > 30 * MINUTE_MS;
        if (trial->is_consuming && is_conversion(trial, event)) {
            /* this event, and what was before it, is gone; the conversion itself may be a touch */
            count = 0;
        }
        if (event->channel >= 0 && (!trial->has_touches || event->name != 3) &&
            events[at].time_ms - event->time_ms <= trial->lookback_ms) {
            out[count++] = (struct ref_touch){.channel = event->channel,
                                              .is_direct = event->channel == 1,
                                              .time_ms = event->time_ms,
                                              .session = session};
        }
    }
    return count;
}

static void add_conversion(const struct trial *trial, const struct walker_event *events, int at,
                           int subject, struct sums *sums)
{
    struct ref_touch touches[WALKER_EVENTS_MAX];
    int64_t units[WALKER_EVENTS_MAX];
    bool has_value = events[at].has_amount && (!trial->has_value_selector || events[at].page == 3);
    int64_t cents = has_value ? events[at].cents : 0;
    int count = touches_of(trial, events, at, touches);

    if (count == 0) {
        sums[NONE].units += ATTRIBUTION_UNIT;
        sums[NONE].value += cents * ATTRIBUTION_UNIT;
        sums[NONE].whose |= 1u << subject;
        return;
    }
    ref_attribution(trial->model, trial->keeps_repeats, trial->half_life_ms, events[at].time_ms,
                    touches, count, units);
    for (int channel = 0; channel < WALKER_CHANNELS; channel++) {
        bool is_touched = false;
        for (int i = 0; i < count; i++) {
            if (touches[i].channel == channel) {
                is_touched = true;
                sums[channel].units += units[i];
                sums[channel].value += cents * units[i];
                sums[channel].whose |= units[i] > 0 ? 1u << subject : 0;
            }
        }
        sums[channel].touched += is_touched;
    }
}

static void print_decimal(int64_t m, uint8_t scale, struct buf *out)
{
    struct num n = num_decimal(m, scale);
    num_format(n, out);
}

static void print_sums(const struct sums *sums, int64_t all_units, struct buf *want)
{
    print_decimal(sums->units, 6, want);
    if (all_units == 0) {
        buf_z(want, "|-|");
    } else {
        buf_printf(want, "|%.9g|", (double)sums->units / (double)all_units);
    }
    buf_printf(want, "%" PRId64 "|", sums->touched);
    print_decimal(sums->value, 8, want);
    buf_z(want, "\n");
}

/* Conversions of [begin, end). */
static void count_bucket(const struct walkers *walkers, const struct trial *trial, int64_t begin_ms,
                         int64_t end_ms, struct bucket *bucket)
{
    *bucket = (struct bucket){0};
    for (int s = 0; s < walkers_subjects(trial->is_device); s++) {
        struct walker_event events[WALKER_EVENTS_MAX];
        int count = walkers_of(walkers, trial->is_device, s, events);
        for (int i = 0; i < count; i++) {
            if (is_conversion(trial, &events[i]) && events[i].time_ms >= begin_ms &&
                events[i].time_ms < end_ms) {
                struct sums before = bucket->sums[NONE];
                add_conversion(trial, events, i, s, bucket->sums);
                bucket->all.units += ATTRIBUTION_UNIT;
                bucket->all.touched += bucket->sums[NONE].units == before.units;
            }
        }
    }
    for (int channel = 0; channel <= NONE; channel++) {
        bucket->all.value += bucket->sums[channel].value;
    }
}

/* Rows of a bucket: of every channel that some conversion of all was touched by. */
static void print_rows(const struct bucket *all, const struct bucket *bucket, const char *time,
                       struct buf *want)
{
    for (int channel = 0; channel < WALKER_CHANNELS; channel++) {
        if (all->sums[channel].touched > 0) {
            buf_printf(want, "%s%s|", time, walker_channels[channel]);
            print_sums(&bucket->sums[channel], bucket->all.units, want);
        }
    }
    if (all->sums[NONE].units > 0) {
        buf_printf(want, "%s(none)|", time);
        print_sums(&bucket->sums[NONE], bucket->all.units, want);
    }
}

/* The hours that have rows: of the range, or from the first conversion to the last. */
static void hours_of(const struct walkers *walkers, const struct trial *trial, int64_t *begin_ms,
                     int64_t *end_ms)
{
    bool has_range = trial->from_ms != INT64_MIN;
    *begin_ms = has_range ? trial->from_ms / HOUR_MS * HOUR_MS : INT64_MAX;
    *end_ms = has_range ? trial->to_ms : INT64_MIN;
    for (int i = 0; i < walkers->count && !has_range; i++) {
        const struct walker_event *event = &walkers->events[i];
        if (is_conversion(trial, event) && (!trial->is_device || event->device >= 0)) {
            *begin_ms = MIN_OF(*begin_ms, event->time_ms / HOUR_MS * HOUR_MS);
            *end_ms = MAX_OF(*end_ms, event->time_ms + 1);
        }
    }
}

static void expect(const struct walkers *walkers, const struct trial *trial, struct buf *want)
{
    struct bucket all;
    struct sums added = {0};
    int64_t begin_ms = 0;
    int64_t end_ms = 0;
    count_bucket(walkers, trial, INT64_MIN, INT64_MAX, &all);
    if (!trial->has_each) {
        print_rows(&all, &all, "", want);
    } else {
        hours_of(walkers, trial, &begin_ms, &end_ms);
    }
    for (; begin_ms < end_ms; begin_ms += HOUR_MS) {
        char time[CIVIL_TEXT_BYTES + 1];
        struct bucket bucket;
        struct str text = civil_format_instant(zone_utc(), begin_ms, time);
        time[text.len] = '|';
        time[text.len + 1] = '\0';
        count_bucket(walkers, trial, begin_ms, begin_ms + HOUR_MS, &bucket);
        print_rows(&all, &bucket, time, want);
        added.units += bucket.all.units;
        added.touched += bucket.all.touched;
        added.value += bucket.all.value;
    }
    assert_true(!trial->has_each || (added.units == all.all.units && added.value == all.all.value &&
                                     added.touched == all.all.touched));
    buf_z(want, trial->has_each ? "= -|-|" : "= -|");
    print_sums(&all.all, all.all.units, want);
}

/* Who converted with credit for a channel, or for any, in an hour of a random user's, or in any. */
static void check_cell(const struct walkers *walkers, const struct trial *trial, const char *query,
                       struct rng *rng, uint64_t seed)
{
    CLEANUP(buf_freep) struct buf text = {0};
    struct bucket bucket;
    int64_t begin_ms = INT64_MIN;
    int64_t end_ms = INT64_MAX;
    uint32_t users = 0;
    int channel = (int)rng_below(rng, WALKER_CHANNELS + 2); /* the last: any */
    const char *comma = "";
    buf_z(&text, "users of (");
    if (trial->has_each && walkers->count > 0 && rng_below(rng, 3) != 0) {
        char time[CIVIL_TEXT_BYTES];
        const struct walker_event *some =
            &walkers->events[rng_below(rng, (uint64_t)walkers->count)];
        begin_ms = some->time_ms / HOUR_MS * HOUR_MS;
        end_ms = begin_ms + HOUR_MS;
        (void)civil_format_instant(zone_utc(), begin_ms, time);
        buf_printf(&text, "time = %s", time);
        comma = ", ";
    }
    if (channel <= NONE) {
        buf_printf(&text, "%schannel = \"%s\"", comma,
                   channel == NONE ? "(none)" : walker_channels[channel]);
    }
    buf_printf(&text, ") in %s", query);
    buf_u8(&text, 0);
    count_bucket(walkers, trial, begin_ms, end_ms, &bucket);
    for (int c = 0; c <= NONE; c++) {
        users |= channel > NONE || channel == c ? bucket.sums[c].whose : 0;
    }
    walkers_check_users(walkers, (const char *)text.ptr, rng, seed, users);
}

static void print_query(const struct trial *trial, struct buf *query)
{
    static const char *const models[] = {"first_touch", "last_touch", "last_non_direct",
                                         "linear",      "time_decay", "position"};
    char from[CIVIL_TEXT_BYTES];
    char to[CIVIL_TEXT_BYTES];
    buf_printf(query, "attribution of c by channel model %s lookback %" PRId64 "ms%s%s%s%s",
               models[trial->model], trial->lookback_ms, trial->is_consuming ? " consume" : "",
               trial->keeps_repeats ? " keep repeats" : "",
               trial->has_touches ? " touches (a | b | c)" : "",
               trial->is_device ? " per device" : "");
    if (trial->model == REF_TIME_DECAY) {
        buf_printf(query, " half_life %" PRId64 "ms", trial->half_life_ms);
    }
    buf_printf(query, " value sum(amount%s)",
               trial->has_value_selector ? " of any[page = \"/q\"]" : "");
    if (trial->from_ms != INT64_MIN) {
        (void)civil_format_instant(zone_utc(), trial->from_ms, from);
        (void)civil_format_instant(zone_utc(), trial->to_ms, to);
        buf_printf(query, " from %s to %s", from, to);
    }
    buf_z(query, trial->has_each ? " each hour" : "");
    buf_u8(query, 0);
}

static void attribution_equals_its_definition(void **state)
{
    (void)state;
    uint64_t first_seed = walkers_seed(1234);
    for (uint64_t seed = first_seed; seed < first_seed + TRIALS; seed++) {
        CLEANUP(buf_freep) struct buf query = {0};
        CLEANUP(buf_freep) struct buf want = {0};
        struct rng rng = rng_init(seed);
        struct walkers walkers = walkers_random(&rng);
        struct trial trial = {
            .model = (enum ref_model)rng_below(&rng, REF_MODELS),
            .is_device = rng_below(&rng, 4) == 0,
            .keeps_repeats = rng_below(&rng, 3) == 0,
            .is_consuming = rng_below(&rng, 3) == 0,
            .has_touches = rng_below(&rng, 3) == 0,
            .has_value_selector = rng_below(&rng, 3) == 0,
            .has_each = rng_below(&rng, 2) == 0,
            .lookback_ms = (int64_t)rng_below(&rng, 10 * 60) * MINUTE_MS,
            .half_life_ms = (int64_t)(1 + rng_below(&rng, 10 * 60)) * MINUTE_MS,
            .from_ms = INT64_MIN,
            .to_ms = INT64_MAX,
        };
        if (rng_below(&rng, 2) == 0) {
            trial.from_ms = SNAP_NOW_MS - (int64_t)rng_below(&rng, 30 * 60) * MINUTE_MS;
            trial.to_ms = trial.from_ms + (int64_t)(1 + rng_below(&rng, 30 * 60)) * MINUTE_MS;
        }
        print_query(&trial, &query);
        expect(&walkers, &trial, &want);
        if (!trial.is_device) {
            check_cell(&walkers, &trial, (const char *)query.ptr, &rng, seed);
        }
        walkers_check(&walkers, (const char *)query.ptr, &rng, seed, &want);
    }
}

static void credits_sum_to_the_conversion(void **state)
{
    (void)state;
    static const enum attribution_model models[] = {MODEL_FIRST,           MODEL_LAST,
                                                    MODEL_LAST_NON_DIRECT, MODEL_LINEAR,
                                                    MODEL_TIME_DECAY,      MODEL_POSITION};
    static int64_t times[3000];
    static uint32_t units[3000];
    struct rng rng = rng_init(walkers_seed(5));
    for (int trial = 0; trial < 2000; trial++) {
        size_t count = 1 + (size_t)rng_below(&rng, trial % 50 == 0 ? 3000 : 12);
        int64_t at = (int64_t)rng_below(&rng, 1000);
        for (size_t i = 0; i < count; i++) {
            at += (int64_t)rng_below(&rng, 2) *
                  (int64_t)rng_below(&rng, UINT64_C(1) << rng_below(&rng, 45));
            times[i] = at;
        }
        for (size_t m = 0; m < COUNT_OF(models); m++) {
            uint64_t sum = 0;
            attribution_credits(models[m], 1 + rng_below(&rng, UINT64_C(1) << 40), times, count,
                                units);
            for (size_t i = 0; i < count; i++) {
                assert_true(units[i] <= ATTRIBUTION_UNIT);
                sum += units[i];
            }
            assert_int_equal(sum, ATTRIBUTION_UNIT);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attribution_equals_its_definition),
        cmocka_unit_test(credits_sum_to_the_conversion),
    };
    return cmocka_run_group_tests_name("prop/attribution", tests, NULL, NULL);
}
