/* tests/prop/prop_sequence.c - Goal: sequences equal their definition, by key and by hour as well; groups add up to all;
 * the people behind a cell are those. Method: random patterns over random journeys, in several layouts; ref_sequence tries
 * every choice of events. */
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

#define TRIALS     700u
#define CONDITIONS 3
#define HOUR_MS    (60 * MINUTE_MS)
#define GROUPS     (WALKER_CHANNELS + 1) /* the last: null */

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
    bool is_device, has_channel, has_each;
    bool is_match; /* or counted */
    int top;       /* groups that are shown, and `other` */
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

/* ---- rows ---- */

/* A row's head: its hour, or 0 without `each`, and its group. */
static int64_t hour_of(const struct trial *trial, int64_t ts_ms)
{
    return trial->has_each ? ts_ms / HOUR_MS * HOUR_MS : 0;
}

static int group_of(const struct trial *trial, const struct walker_event *first)
{
    return !trial->has_channel ? 0 : first->channel < 0 ? WALKER_CHANNELS : first->channel;
}

/* In the order of the rows: null comes first. */
static int group_at(int i)
{
    return i == 0 ? WALKER_CHANNELS : i - 1;
}

static void print_head(const struct trial *trial, int64_t hour_ms, int group, struct buf *out)
{
    char text[CIVIL_TEXT_BYTES];
    if (trial->has_each) {
        buf_str(out, civil_format_instant(zone_utc(), hour_ms, text));
        buf_z(out, "|");
    }
    if (trial->has_channel) {
        buf_printf(out, "%s|", group == WALKER_CHANNELS ? "-" : walker_channels[group]);
    }
}

static void print_shape(const struct trial *trial, struct buf *query)
{
    buf_printf(query, "%s%s", trial->has_channel ? " by channel" : "",
               trial->has_each ? " each hour" : "");
}

/* `users of (cell) in`: a cell, with only some of what names it. */
static void print_cell(const struct trial *trial, struct rng *rng, int64_t *hour_ms, int *group,
                       struct buf *query)
{
    char text[CIVIL_TEXT_BYTES];
    const char *comma = "";
    buf_z(query, "users of (");
    if (trial->has_each && rng_below(rng, 4) != 0) {
        (void)civil_format_instant(zone_utc(), *hour_ms, text);
        buf_printf(query, "time = %s", text);
        comma = ", ";
    } else {
        *hour_ms = -1;
    }
    if (!trial->has_channel || rng_below(rng, 4) == 0) {
        *group = -1;
    } else if (*group == WALKER_CHANNELS) {
        buf_printf(query, "%schannel is not set", comma);
    } else {
        buf_printf(query, "%schannel = \"%s\"", comma, walker_channels[*group]);
    }
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

/* A subject with an event in sight. */
struct seen {
    int group;
    int count, matches;
    int64_t times[WALKER_EVENTS_MAX];  /* of what is in sight */
    int64_t starts[WALKER_EVENTS_MAX]; /* of the matches' first events */
};

struct sums {
    uint64_t subjects, users, matches;
};

/* Of a row; hour -1, group -1: of all of them. */
static struct sums sums_of(const struct trial *trial, const struct seen *seen, int64_t hour_ms,
                           int group)
{
    struct sums sums = {0};
    for (int s = 0; s < walkers_subjects(trial->is_device); s++) {
        bool is_seen = false;
        uint64_t before = sums.matches;
        if (group >= 0 && seen[s].group != group) {
            continue;
        }
        for (int i = 0; i < seen[s].count; i++) {
            is_seen |= hour_ms < 0 || hour_of(trial, seen[s].times[i]) == hour_ms;
        }
        for (int m = 0; m < seen[s].matches; m++) {
            sums.matches += hour_ms < 0 || hour_of(trial, seen[s].starts[m]) == hour_ms;
        }
        sums.subjects += is_seen;
        sums.users += sums.matches > before;
    }
    return sums;
}

static void print_sums(const struct trial *trial, struct sums sums, struct buf *want)
{
    buf_printf(want, "%" PRIu64 "|", sums.users);
    if (!trial->is_match) {
        buf_printf(want, "%" PRIu64 "|", sums.matches);
    }
    if (sums.subjects == 0) {
        buf_z(want, "-\n");
    } else {
        buf_printf(want, "%.9g\n", (double)sums.users / (double)sums.subjects);
    }
}

/* The hours that have rows: of the range, or from the first to the last with something in sight. */
static void hours_of(const struct trial *trial, const struct seen *seen, int64_t *begin_ms,
                     int64_t *end_ms)
{
    *begin_ms = 0;
    *end_ms = HOUR_MS;
    if (!trial->has_each) {
        return;
    }
    *begin_ms = INT64_MAX;
    *end_ms = INT64_MIN;
    if (trial->from_ms != INT64_MIN) {
        *begin_ms = hour_of(trial, trial->from_ms);
        *end_ms = trial->to_ms;
        return;
    }
    for (int s = 0; s < walkers_subjects(trial->is_device); s++) {
        for (int i = 0; i < seen[s].count; i++) {
            *begin_ms = MIN_OF(*begin_ms, hour_of(trial, seen[s].times[i]));
            *end_ms = MAX_OF(*end_ms, hour_of(trial, seen[s].times[i]) + HOUR_MS);
        }
    }
}

static void sums_add(struct sums *into, struct sums one)
{
    into->subjects += one.subjects;
    into->users += one.users;
    into->matches += one.matches;
}

/* Of the groups that there are, those with most users over the range are shown. */
static bool is_shown(const struct trial *trial, const struct seen *seen, int at)
{
    uint64_t users = sums_of(trial, seen, -1, group_at(at)).users;
    int before = 0;
    for (int i = 0; i < GROUPS; i++) {
        struct sums its = sums_of(trial, seen, -1, group_at(i));
        before += its.subjects > 0 && (its.users > users || (its.users == users && i < at));
    }
    return before < trial->top;
}

static void print_groups(const struct trial *trial, const struct seen *seen, int64_t hour_ms,
                         struct buf *want)
{
    struct sums other = {0};
    bool has_other = false;
    for (int i = 0; i < GROUPS; i++) {
        int group = group_at(i);
        if (sums_of(trial, seen, -1, group).subjects == 0) {
            continue; /* no such group at all */
        }
        if (!is_shown(trial, seen, i)) {
            sums_add(&other, sums_of(trial, seen, hour_ms, group));
            has_other = true;
            continue;
        }
        print_head(trial, hour_ms, group, want);
        print_sums(trial, sums_of(trial, seen, hour_ms, group), want);
    }
    if (has_other) {
        struct trial hour_alone = *trial;
        hour_alone.has_channel = false;
        print_head(&hour_alone, hour_ms, 0, want);
        buf_z(want, "other|");
        print_sums(trial, other, want);
    }
}

static void print_counts(const struct trial *trial, const struct seen *seen, struct buf *want)
{
    int64_t begin_ms = 0;
    int64_t end_ms = 0;
    hours_of(trial, seen, &begin_ms, &end_ms);
    for (; begin_ms < end_ms; begin_ms += HOUR_MS) {
        int64_t hour_ms = trial->has_each ? begin_ms : -1;
        if (trial->has_channel) {
            print_groups(trial, seen, hour_ms, want);
        } else {
            print_head(trial, hour_ms, 0, want);
            print_sums(trial, sums_of(trial, seen, hour_ms, -1), want);
        }
    }
    if (trial->has_channel || trial->has_each) {
        buf_printf(want, "= %s%s", trial->has_each ? "-|" : "", trial->has_channel ? "-|" : "");
        print_sums(trial, sums_of(trial, seen, -1, -1), want);
    }
}

/* Subjects are in one group each: their sums are those of all. */
static void check_that_groups_add_up(const struct trial *trial, const struct seen *seen)
{
    struct sums all = sums_of(trial, seen, -1, -1);
    struct sums sums = {0};
    for (int group = 0; group < GROUPS; group++) {
        sums_add(&sums, sums_of(trial, seen, -1, group));
    }
    assert_true(sums.subjects == all.subjects && sums.users == all.users &&
                sums.matches == all.matches);
}

static void check_cell(const struct walkers *walkers, const struct trial *trial,
                       const struct seen *seen, const struct buf *query, struct rng *rng,
                       uint64_t seed)
{
    CLEANUP(buf_freep) struct buf text = {0};
    uint32_t users = 0;
    const struct seen *some = &seen[rng_below(rng, WALKER_USERS)];
    int64_t hour_ms = SNAP_NOW_MS / HOUR_MS * HOUR_MS;
    int group = (int)rng_below(rng, GROUPS);
    if (some->matches > 0) { /* mostly a cell with somebody in it */
        hour_ms = hour_of(trial, some->starts[0]);
        group = some->group;
    }
    print_cell(trial, rng, &hour_ms, &group, &text);
    buf_printf(&text, ") in %.*s", (int)query->len, (const char *)query->ptr);
    buf_u8(&text, 0);
    for (int s = 0; s < WALKER_USERS; s++) {
        bool is_in = false;
        for (int m = 0; m < seen[s].matches; m++) {
            is_in |= (group < 0 || seen[s].group == group) &&
                     (hour_ms < 0 || hour_of(trial, seen[s].starts[m]) == hour_ms);
        }
        users |= is_in ? 1u << s : 0;
    }
    walkers_check_users(walkers, (const char *)text.ptr, rng, seed, users);
}

static void check_counts(const struct walkers *walkers, struct trial *trial, struct rng *rng,
                         uint64_t seed)
{
    CLEANUP(buf_freep) struct buf query = {0};
    CLEANUP(buf_freep) struct buf want = {0};
    CLEANUP(buf_freep) struct buf list = {0};
    static struct seen seen[WALKER_USERS];

    buf_printf(&query, "sequence \"%.*s\" over %s%s", (int)trial->text.len,
               (const char *)trial->text.ptr, over, trial->is_device ? " per device" : "");
    trial->is_match = rng_below(rng, 3) == 0;
    trial->top = rng_below(rng, 2) == 0 ? GROUPS : 1 + (int)rng_below(rng, 3);
    buf_z(&query, trial->is_match ? " match" : "");
    random_range(rng, trial, &query);
    memset(seen, 0, sizeof(seen));
    for (int s = 0; s < walkers_subjects(trial->is_device); s++) {
        struct walker_event events[WALKER_EVENTS_MAX];
        uint64_t masks[WALKER_EVENTS_MAX];
        int first[REF_SEQUENCE_ELEMENTS_MAX];
        int starts[WALKER_EVENTS_MAX];
        struct seen *own = &seen[s];
        own->count = load(walkers, trial, s, false, events, own->times, masks);
        if (own->count == 0) {
            continue;
        }
        own->group = group_of(trial, &events[0]);
        own->matches =
            ref_sequence_matches(&trial->sequence, own->times, masks, own->count, first, starts);
        for (int m = 0; m < own->matches; m++) {
            own->starts[m] = own->times[starts[m]];
        }
        buf_printf(&list, "%s%d|%d|", trial->is_device ? "d" : "u", s, own->matches);
        if (own->matches > 0) {
            print_first(&trial->sequence, own->times, first, &list);
        } else {
            buf_z(&list, "-");
        }
        buf_z(&list, "\n");
    }
    size_t plain = query.len;
    print_shape(trial, &query);
    if (!trial->is_device) {
        check_cell(walkers, trial, seen, &query, rng, seed);
    }
    check_that_groups_add_up(trial, seen);
    if (trial->has_channel && trial->top < GROUPS) {
        buf_printf(&query, " top %d with other", trial->top);
    }
    print_counts(trial, seen, &want);
    buf_u8(&query, 0);
    walkers_check(walkers, (const char *)query.ptr, rng, seed, &want);
    query.len = plain;
    buf_z(&query, " list users");
    buf_u8(&query, 0);
    walkers_check(walkers, (const char *)query.ptr, rng, seed, &list);
}

/* The event behind the one match of `next`: -1 without a match, `count` where nothing follows. *ret_start: the match's
 * first. */
static int next_of(const struct trial *trial, const char *anchor, bool is_backward,
                   const int64_t *times, const uint64_t *masks, int count, int *ret_start)
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
    *ret_start = is_backward ? count - 1 - start : start;
    return next == count ? count : is_backward ? count - 1 - next : next;
}

/* A subject's one match of `next`. */
struct next {
    bool is_match;
    int group;
    int64_t start_ms;
    int page; /* behind it; the last: null */
};

static bool next_is(const struct trial *trial, const struct next *next, int64_t hour_ms, int group,
                    int page)
{
    return next->is_match && (group < 0 || next->group == group) &&
           (hour_ms < 0 || hour_of(trial, next->start_ms) == hour_ms) &&
           (page < 0 || next->page == page);
}

static uint64_t next_users(const struct trial *trial, const struct next *nexts, int64_t hour_ms,
                           int group, int page)
{
    uint64_t users = 0;
    for (int s = 0; s < WALKER_USERS; s++) {
        users += next_is(trial, &nexts[s], hour_ms, group, page);
    }
    return users;
}

/* The rows of a head; with `top` the pages that most have behind their match, the others as one. */
static void print_pages(const struct trial *trial, const struct next *nexts, int64_t hour_ms,
                        int group, int top, struct buf *want)
{
    uint64_t other = 0;
    uint64_t nothing = next_users(trial, nexts, hour_ms, group, WALKER_PAGES);
    if (nothing > 0) {
        print_head(trial, hour_ms, group, want);
        buf_printf(want, "-|%" PRIu64 "\n", nothing);
    }
    for (int p = 0; p < WALKER_PAGES; p++) {
        uint64_t users = next_users(trial, nexts, hour_ms, group, p);
        int before = 0;
        for (int q = 0; q < WALKER_PAGES; q++) {
            uint64_t its = next_users(trial, nexts, hour_ms, group, q);
            before += its > users || (its == users && q < p);
        }
        if (users > 0 && before >= top) {
            other += users;
        } else if (users > 0) {
            print_head(trial, hour_ms, group, want);
            buf_printf(want, "%s|%" PRIu64 "\n", walker_pages[p], users);
        }
    }
    if (other > 0) {
        print_head(trial, hour_ms, group, want);
        buf_printf(want, "other|%" PRIu64 "\n", other);
    }
}

/* Heads without a match have no rows. */
static void print_nexts(const struct trial *trial, const struct next *nexts, int top,
                        struct buf *want)
{
    int64_t begin_ms = trial->has_each ? INT64_MAX : 0;
    int64_t end_ms = trial->has_each ? INT64_MIN : HOUR_MS;
    for (int s = 0; trial->has_each && s < WALKER_USERS; s++) {
        if (nexts[s].is_match) {
            begin_ms = MIN_OF(begin_ms, hour_of(trial, nexts[s].start_ms));
            end_ms = MAX_OF(end_ms, hour_of(trial, nexts[s].start_ms) + HOUR_MS);
        }
    }
    for (; begin_ms < end_ms; begin_ms += HOUR_MS) {
        for (int i = 0; i < (trial->has_channel ? GROUPS : 1); i++) {
            print_pages(trial, nexts, trial->has_each ? begin_ms : -1,
                        trial->has_channel ? group_at(i) : -1, top, want);
        }
    }
    buf_printf(want, "= %s%s-|%" PRIu64 "\n", trial->has_each ? "-|" : "",
               trial->has_channel ? "-|" : "", next_users(trial, nexts, -1, -1, -1));
}

static void check_next_cell(const struct walkers *walkers, const struct trial *trial,
                            const struct next *nexts, const struct buf *query, struct rng *rng,
                            uint64_t seed)
{
    CLEANUP(buf_freep) struct buf text = {0};
    uint32_t users = 0;
    const struct next *some = &nexts[rng_below(rng, WALKER_USERS)];
    int64_t hour_ms = hour_of(trial, some->is_match ? some->start_ms : SNAP_NOW_MS);
    int group = some->group;
    int page = rng_below(rng, 4) == 0 ? -1 : some->page;
    print_cell(trial, rng, &hour_ms, &group, &text);
    const char *comma = text.ptr[text.len - 1] == '(' ? "" : ", ";
    if (page == WALKER_PAGES) {
        buf_printf(&text, "%snext is not set", comma);
    } else if (page >= 0) {
        buf_printf(&text, "%snext = \"%s\"", comma, walker_pages[page]);
    }
    buf_printf(&text, ") in %.*s", (int)query->len, (const char *)query->ptr);
    buf_u8(&text, 0);
    for (int s = 0; s < WALKER_USERS; s++) {
        users |= next_is(trial, &nexts[s], hour_ms, group, page) ? 1u << s : 0;
    }
    walkers_check_users(walkers, (const char *)text.ptr, rng, seed, users);
}

static void check_next(const struct walkers *walkers, struct trial *trial, struct rng *rng,
                       uint64_t seed)
{
    static const char *const anchors[] = {"first_match", "last_match", "edge"};
    CLEANUP(buf_freep) struct buf query = {0};
    CLEANUP(buf_freep) struct buf want = {0};
    const char *anchor = anchors[rng_below(rng, COUNT_OF(anchors))];
    bool is_backward = rng_below(rng, 2) == 0;
    struct next nexts[WALKER_USERS] = {{0}};

    buf_printf(&query, "sequence \"%.*s\" over %s next page %s anchor %s%s", (int)trial->text.len,
               (const char *)trial->text.ptr, over, is_backward ? "backward" : "forward", anchor,
               trial->is_device ? " per device" : "");
    random_range(rng, trial, &query);
    print_shape(trial, &query);
    for (int s = 0; s < walkers_subjects(trial->is_device); s++) {
        struct walker_event events[WALKER_EVENTS_MAX];
        int64_t times[WALKER_EVENTS_MAX];
        uint64_t masks[WALKER_EVENTS_MAX];
        int start = 0;
        int count = load(walkers, trial, s, true, events, times, masks);
        int next =
            count == 0 ? -1 : next_of(trial, anchor, is_backward, times, masks, count, &start);
        if (next >= 0) {
            bool is_null = next == count || events[next].page < 0;
            nexts[s] = (struct next){.is_match = true,
                                     .group = group_of(trial, &events[0]),
                                     .start_ms = times[start],
                                     .page = is_null ? WALKER_PAGES : events[next].page};
        }
    }
    if (!trial->is_device) {
        check_next_cell(walkers, trial, nexts, &query, rng, seed);
    }
    int top = rng_below(rng, 2) == 0 ? WALKER_PAGES : 1 + (int)rng_below(rng, WALKER_PAGES - 1);
    if (top < WALKER_PAGES) {
        buf_printf(&query, " top %d with other", top);
    }
    print_nexts(trial, nexts, top, &want);
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
        struct trial trial = {.is_device = rng_below(&rng, 3) == 0,
                              .has_channel = rng_below(&rng, 2) == 0,
                              .has_each = rng_below(&rng, 3) == 0};
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
