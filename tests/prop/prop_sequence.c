/* tests/prop/prop_sequence.c - Goal: sequences equal their definition. Method: random patterns over random
 * journeys, in several layouts; ref_sequence tries every choice of events. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "query/civil.h"
#include "storage/base/size.h"
#include "tests/support/ref_sequence.h"
#include "tests/support/walkers.h"

#include <inttypes.h>
#include <stdlib.h>

#define TRIALS     500u
#define CONDITIONS 3

/* The conditions of every query here, and what they say of an event. */
static const char over[] = "a, (b | c), any[page = \"/q\"]";

static uint64_t mask_of(const struct walker_event *event)
{
    return (event->name == 0 ? 1u : 0u) | (event->name == 1 || event->name == 2 ? 2u : 0u) |
           (event->page == 3 ? 4u : 0u);
}

struct trial {
    struct ref_sequence sequence;
    struct buf text; /* of the pattern */
    bool is_device;
    int64_t from_ms, to_ms;
};

static void random_gap(struct rng *rng, struct ref_sequence_element *element, struct buf *text)
{
    static const char *const ops[] = {"<", "<=", "=", "==", ">=", ">"};
    uint64_t op = rng_below(rng, COUNT_OF(ops));
    uint64_t minutes = rng_below(rng, 3) == 0 ? 30 : rng_below(rng, 60);
    uint64_t ms = minutes * MINUTE_MS;
    if (rng_below(rng, 2) == 0) { /* seconds have no unit */
        buf_printf(text, "(?t%s%" PRIu64 ")", ops[op], minutes * 60);
    } else {
        buf_printf(text, "(?t%s%" PRIu64 "m)", ops[op], minutes);
    }
    uint64_t min_ms = op == 5 ? ms + 1 : op >= 2 ? ms : 0;
    uint64_t max_ms = op == 0 ? ms - 1 : op <= 3 ? ms : UINT64_MAX;
    if (op == 0 && ms == 0) {
        min_ms = UINT64_MAX;
        max_ms = 0;
    }
    element->is_free = true;
    element->min_ms = MAX_OF(element->min_ms, min_ms);
    element->max_ms = MIN_OF(element->max_ms, max_ms);
}

static void random_pattern(struct rng *rng, struct trial *trial)
{
    struct ref_sequence *sequence = &trial->sequence;
    sequence->count = 1 + (int)rng_below(rng, 4);
    buf_z(&trial->text, rng_below(rng, 6) == 0 ? ".*" : "");
    for (int k = 0; k < sequence->count; k++) {
        struct ref_sequence_element *element = &sequence->elements[k];
        *element = (struct ref_sequence_element){.max_ms = UINT64_MAX};
        for (uint64_t gaps = k == 0 ? 0 : rng_below(rng, 3); gaps > 0; gaps--) {
            if (rng_below(rng, 3) == 0) {
                element->is_free = true;
                buf_z(&trial->text, ".*");
            } else {
                random_gap(rng, element, &trial->text);
            }
        }
        uint64_t condition = rng_below(rng, CONDITIONS + 1);
        element->take = condition == 0 ? UINT64_MAX : UINT64_C(1) << (condition - 1);
        if (condition == 0) {
            buf_z(&trial->text, ".");
        } else {
            buf_printf(&trial->text, "(?%" PRIu64 ")", condition);
        }
    }
    buf_z(&trial->text, rng_below(rng, 6) == 0 ? ".*" : "");
}

static void random_range(struct rng *rng, struct trial *trial, struct buf *text)
{
    trial->from_ms = INT64_MIN;
    trial->to_ms = INT64_MAX;
    if (rng_below(rng, 3) == 0) {
        char from[CIVIL_TEXT_BYTES];
        char to[CIVIL_TEXT_BYTES];
        trial->from_ms = SNAP_NOW_MS - (int64_t)(10 + rng_below(rng, 20)) * 60 * MINUTE_MS;
        trial->to_ms = trial->from_ms + (int64_t)rng_below(rng, 20) * 60 * MINUTE_MS;
        (void)civil_format_instant(zone_utc(), trial->from_ms, from);
        (void)civil_format_instant(zone_utc(), trial->to_ms, to);
        buf_printf(text, " from %s to %s", from, to);
    }
}

/* A subject's events of the range that are seen, in arrays. */
static int load(const struct walkers *walkers, const struct trial *trial, int subject,
                bool sees_all, struct walker_event *events, int64_t *times, uint64_t *masks)
{
    struct walker_event all[WALKER_EVENTS_MAX];
    int count = walkers_of(walkers, trial->is_device, subject, all);
    int seen = 0;
    for (int i = 0; i < count; i++) {
        uint64_t mask = mask_of(&all[i]);
        if (all[i].time_ms >= trial->from_ms && all[i].time_ms < trial->to_ms &&
            (sees_all || mask != 0)) {
            events[seen] = all[i];
            times[seen] = all[i].time_ms;
            masks[seen++] = mask | 8;
        }
    }
    return seen;
}

static void print_first(const struct ref_sequence *sequence, const int64_t *times,
                        const int *events, struct buf *want)
{
    bool is_first = true;
    buf_z(want, "[");
    for (int k = 0; k < sequence->count; k++) {
        char text[CIVIL_TEXT_BYTES];
        if (sequence->elements[k].take != UINT64_MAX) {
            (void)civil_format_instant(zone_utc(), times[events[k]], text);
            buf_printf(want, "%s%s", is_first ? "" : " ", text);
            is_first = false;
        }
    }
    buf_z(want, "]");
}

static void check_counts(const struct walkers *walkers, struct trial *trial, struct rng *rng,
                         uint64_t seed)
{
    CLEANUP(buf_freep) struct buf query = {0};
    CLEANUP(buf_freep) struct buf want = {0};
    CLEANUP(buf_freep) struct buf list = {0};
    uint64_t subjects = 0;
    uint64_t users = 0;
    uint64_t matches = 0;

    buf_printf(&query, "sequence \"%.*s\" over %s%s", (int)trial->text.len,
               (const char *)trial->text.ptr, over, trial->is_device ? " per device" : "");
    random_range(rng, trial, &query);
    for (int s = 0; s < walkers_subjects(trial->is_device); s++) {
        struct walker_event events[WALKER_EVENTS_MAX];
        int64_t times[WALKER_EVENTS_MAX];
        uint64_t masks[WALKER_EVENTS_MAX];
        int first[REF_SEQUENCE_ELEMENTS_MAX];
        int count = load(walkers, trial, s, false, events, times, masks);
        if (count == 0) {
            continue;
        }
        int found = ref_sequence_matches(&trial->sequence, times, masks, count, first);
        subjects++;
        users += found > 0;
        matches += (uint64_t)found;
        buf_printf(&list, "%s%d|%d|", trial->is_device ? "d" : "u", s, found);
        if (found > 0) {
            print_first(&trial->sequence, times, first, &list);
        } else {
            buf_z(&list, "-");
        }
        buf_z(&list, "\n");
    }
    buf_u8(&query, 0);
    buf_printf(&want, "%" PRIu64 "|%" PRIu64 "|", users, matches);
    if (subjects == 0) {
        buf_z(&want, "-\n");
    } else {
        buf_printf(&want, "%.9g\n", (double)users / (double)subjects);
    }
    walkers_check(walkers, (const char *)query.ptr, rng, seed, &want);
    query.len--;
    buf_z(&query, " list users");
    buf_u8(&query, 0);
    walkers_check(walkers, (const char *)query.ptr, rng, seed, &list);
}

/* The event behind the one match of `next`: -1 without a match, `count` where nothing follows. */
static int next_of(const struct trial *trial, const char *anchor, bool is_backward,
                   const int64_t *times, const uint64_t *masks, int count)
{
    int64_t turned_times[WALKER_EVENTS_MAX];
    uint64_t turned_masks[WALKER_EVENTS_MAX];
    int events[REF_SEQUENCE_ELEMENTS_MAX];
    int start = -1;
    for (int i = 0; i < count; i++) {
        int from = is_backward ? count - 1 - i : i;
        turned_times[i] = is_backward ? -times[from] : times[from];
        turned_masks[i] = masks[from];
    }
    uint64_t take = trial->sequence.elements[0].take;
    for (int i = 0; i < count; i++) { /* in order of time */
        int at = is_backward ? count - 1 - i : i;
        bool is_taken = (masks[i] & take) != 0;
        if (strcmp(anchor, "edge") == 0 ? at == 0 && is_taken
                                        : is_taken && (start < 0 || anchor[0] == 'l')) {
            start = at;
        }
    }
    if (start < 0 ||
        !ref_sequence_at(&trial->sequence, turned_times, turned_masks, count, start, events)) {
        return -1;
    }
    int next = events[trial->sequence.count - 1] + 1;
    return next == count ? count : is_backward ? count - 1 - next : next;
}

static void check_next(const struct walkers *walkers, struct trial *trial, struct rng *rng,
                       uint64_t seed)
{
    static const char *const anchors[] = {"first_match", "last_match", "edge"};
    CLEANUP(buf_freep) struct buf query = {0};
    CLEANUP(buf_freep) struct buf want = {0};
    const char *anchor = anchors[rng_below(rng, COUNT_OF(anchors))];
    bool is_backward = rng_below(rng, 2) == 0;
    uint64_t users[WALKER_PAGES + 1] = {0}; /* the last: null */
    uint64_t all = 0;

    buf_printf(&query, "sequence \"%.*s\" over %s next page %s anchor %s%s", (int)trial->text.len,
               (const char *)trial->text.ptr, over, is_backward ? "backward" : "forward", anchor,
               trial->is_device ? " per device" : "");
    random_range(rng, trial, &query);
    for (int s = 0; s < walkers_subjects(trial->is_device); s++) {
        struct walker_event events[WALKER_EVENTS_MAX];
        int64_t times[WALKER_EVENTS_MAX];
        uint64_t masks[WALKER_EVENTS_MAX];
        int count = load(walkers, trial, s, true, events, times, masks);
        int next = count == 0 ? -1 : next_of(trial, anchor, is_backward, times, masks, count);
        if (next >= 0) {
            bool is_null = next == count || events[next].page < 0;
            users[is_null ? WALKER_PAGES : events[next].page]++;
            all++;
        }
    }
    if (users[WALKER_PAGES] > 0) {
        buf_printf(&want, "-|%" PRIu64 "\n", users[WALKER_PAGES]);
    }
    for (int p = 0; p < WALKER_PAGES; p++) {
        if (users[p] > 0) {
            buf_printf(&want, "%s|%" PRIu64 "\n", walker_pages[p], users[p]);
        }
    }
    buf_printf(&want, "= -|%" PRIu64 "\n", all);
    buf_u8(&query, 0);
    walkers_check(walkers, (const char *)query.ptr, rng, seed, &want);
}

static void sequences_equal_their_definition(void **state)
{
    (void)state;
    uint64_t first_seed = walkers_seed(31337);
    for (uint64_t seed = first_seed; seed < first_seed + TRIALS; seed++) {
        struct rng rng = rng_init(seed);
        struct walkers walkers = walkers_random(&rng);
        struct trial trial = {.is_device = rng_below(&rng, 3) == 0};
        random_pattern(&rng, &trial);
        if (rng_below(&rng, 2) == 0) {
            check_counts(&walkers, &trial, &rng, seed);
        } else {
            check_next(&walkers, &trial, &rng, seed);
        }
        buf_freep(&trial.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequences_equal_their_definition),
    };
    return cmocka_run_group_tests_name("prop/sequence", tests, NULL, NULL);
}
