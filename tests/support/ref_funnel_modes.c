/* tests/support/ref_funnel_modes.c */
#include "tests/support/ref_funnel_modes.h"

#include <stdlib.h>
#include <string.h>

#define SKIPPED (-1)

struct search {
    const struct ref_modes_query *query;
    const struct ref_modes_event *events;
    int event_count;
    bool may[REF_MODES_EVENTS_MAX][REF_MODES_STEPS_MAX]; /* as far as the search has got */
    int chosen[REF_MODES_STEPS_MAX];                     /* the event of each step, or SKIPPED */
    int depth;                                           /* steps decided on */
    bool ignores_drops;
    int furthest; /* with ignores_drops: the level to hold attempts against */
    bool reached[REF_MODES_STEPS_MAX];
    struct ref_modes_answer best;
};

/* 128 bits, so that no difference of two timestamps overflows. */
static __int128 gap_ms(int64_t from, int64_t to)
{
    return (__int128)to - (__int128)from;
}

static int64_t time_of(const struct search *s, int step)
{
    return s->events[s->chosen[step]].time_ms;
}

/* The first step from `step` on that was done, or -1. */
static int first_done(const struct search *s, int step)
{
    for (int i = step; i < s->depth; i++) {
        if (s->chosen[i] != SKIPPED) {
            return i;
        }
    }
    return -1;
}

static int last_done(const struct search *s)
{
    for (int i = s->depth - 1; i >= 0; i--) {
        if (s->chosen[i] != SKIPPED) {
            return i;
        }
    }
    return -1;
}

static bool is_chosen(const struct search *s, int event)
{
    for (int i = 0; i < s->depth; i++) {
        if (s->chosen[i] == event) {
            return true;
        }
    }
    return false;
}

/* Is a ban's event in time (after, before)? */
static bool has_ban_between(const struct search *s, int ban, int64_t after, int64_t before)
{
    for (int e = 0; e < s->event_count; e++) {
        if (s->events[e].is_ban[ban] && s->events[e].time_ms > after &&
            s->events[e].time_ms < before) {
            return true;
        }
    }
    return false;
}

static bool has_ban_in_window(const struct search *s, int ban, int64_t start, int64_t after)
{
    for (int e = 0; e < s->event_count; e++) {
        if (s->events[e].is_ban[ban] && s->events[e].time_ms > after &&
            (!s->query->has_window ||
             gap_ms(start, s->events[e].time_ms) <= (__int128)s->query->window_ms)) {
            return true;
        }
    }
    return false;
}

/* ---- in order ---- */

/* Neighbours in the stream: everything in sight between the first and the last event belongs to the attempt. */
static bool is_adjacent(const struct search *s)
{
    int64_t begin = time_of(s, 0);
    int64_t end = time_of(s, last_done(s));
    for (int e = 0; e < s->event_count; e++) {
        int64_t t = s->events[e].time_ms;
        if (s->events[e].is_considered && t > begin && t < end && !is_chosen(s, e)) {
            return false;
        }
    }
    return true;
}

/* Exclusions that end attempts: none between its steps begin and end, as far as it got. */
static bool is_unbanned(const struct search *s)
{
    for (int b = 0; b < s->query->ban_count; b++) {
        const struct ref_modes_ban *ban = &s->query->bans[b];
        int begin = first_done(s, ban->begin);
        int end = first_done(s, ban->end);
        if (ban->is_dropping || begin < 0) {
            continue;
        }
        end = end < 0 ? last_done(s) : end;
        if (has_ban_between(s, b, time_of(s, begin), time_of(s, end))) {
            return false;
        }
    }
    return true;
}

/* Exclusions that drop the subject. */
static bool is_clean(const struct search *s)
{
    for (int b = 0; b < s->query->ban_count; b++) {
        const struct ref_modes_ban *ban = &s->query->bans[b];
        int begin = first_done(s, ban->begin);
        int end = first_done(s, ban->end);
        if (!ban->is_dropping || begin < 0) {
            continue;
        }
        if (end >= 0 ? has_ban_between(s, b, time_of(s, begin), time_of(s, end))
                     : has_ban_in_window(s, b, time_of(s, 0), time_of(s, begin))) {
            return false;
        }
    }
    return true;
}

/* +1: the attempt is to be shown rather than the best so far, 0: it has the same times, -1: not. */
static int is_better(const struct search *s, const struct ref_modes_answer *a)
{
    const struct ref_modes_answer *best = &s->best;
    if (a->level != best->level) {
        return a->level > best->level ? 1 : -1;
    }
    int last = a->level - 1;
    int64_t start = a->times[0];
    int64_t best_start = best->times[0];
    bool by_end = s->query->show == REF_SHOW_FIRST;
    if (by_end && a->times[last] != best->times[last]) {
        return a->times[last] < best->times[last] ? 1 : -1;
    }
    if (start != best_start) {
        return (start > best_start) == (s->query->show != REF_SHOW_EARLIEST) ? 1 : -1;
    }
    if (a->times[last] != best->times[last]) {
        return a->times[last] < best->times[last] ? 1 : -1;
    }
    for (int i = 1; i < a->level; i++) { /* the earliest event for each later step */
        if (a->is_filled[i] != best->is_filled[i]) {
            return a->is_filled[i] ? 1 : -1;
        }
        if (a->is_filled[i] && a->times[i] != best->times[i]) {
            return a->times[i] < best->times[i] ? 1 : -1;
        }
    }
    return 0;
}

static void consider(struct search *s, const struct ref_modes_answer *answer, int entry)
{
    int better = is_better(s, answer);
    if (better > 0) {
        s->best = *answer;
    }
    if (better >= 0) {
        s->best.can_enter[entry] = true;
    }
}

static void consider_in_order(struct search *s)
{
    struct ref_modes_answer answer = {.level = s->depth};

    if (s->chosen[s->depth - 1] == SKIPPED || !is_unbanned(s) ||
        (s->query->order == REF_STRICT && !is_adjacent(s))) {
        return;
    }
    s->reached[s->depth - 1] = true;
    if (s->ignores_drops) {
        s->furthest = s->depth > s->furthest ? s->depth : s->furthest;
        return;
    }
    if (s->depth != s->furthest || !is_clean(s)) {
        return;
    }
    for (int i = 0; i < s->depth; i++) {
        answer.is_filled[i] = s->chosen[i] != SKIPPED;
        answer.times[i] = answer.is_filled[i] ? time_of(s, i) : 0;
    }
    consider(s, &answer, s->chosen[0]);
}

static bool may_follow(const struct search *s, int step, int event)
{
    const struct ref_modes_query *q = s->query;
    int64_t t = s->events[event].time_ms;
    int last = last_done(s);

    if (!s->may[event][step] || (!q->has_reuse && is_chosen(s, event))) {
        return false;
    }
    if (step == 0) {
        return t >= q->entry_first_ms && t <= q->entry_last_ms;
    }
    if (gap_ms(time_of(s, last), t) < (q->is_strict_ties ? 1 : 0)) {
        return false;
    }
    if (q->has_window && gap_ms(time_of(s, 0), t) > (__int128)q->window_ms) {
        return false;
    }
    return !q->has_limit[step] || gap_ms(time_of(s, last), t) <= (__int128)q->limit_ms[step];
}

static void extend(struct search *s)
{
    if (s->depth > 0) {
        consider_in_order(s);
    }
    if (s->depth == s->query->step_count) {
        return;
    }
    int step = s->depth;
    for (int e = 0; e < s->event_count; e++) {
        if (may_follow(s, step, e)) {
            s->chosen[step] = e;
            s->depth++;
            extend(s);
            s->depth--;
        }
    }
    if (s->query->is_optional[step]) {
        s->chosen[step] = SKIPPED;
        s->depth++;
        extend(s);
        s->depth--;
    }
}

/* ---- in any order ---- */

static int block_of(const struct ref_modes_query *q, int step)
{
    int block = 0;
    for (int i = 1; i <= step; i++) {
        block += q->is_anchored[i] || q->is_anchored[i - 1] ? 1 : 0;
    }
    return block;
}

/* A block is begun when the ones before it are complete. */
static bool keeps_places(const struct search *s)
{
    for (int i = 0; i < s->query->step_count; i++) {
        for (int j = 0; s->chosen[i] != SKIPPED && j < s->query->step_count; j++) {
            if (block_of(s->query, j) < block_of(s->query, i) &&
                (s->chosen[j] == SKIPPED || time_of(s, j) > time_of(s, i))) {
                return false;
            }
        }
    }
    return true;
}

static int by_time(const void *a, const void *b)
{
    const int64_t *x = a;
    const int64_t *y = b;
    return (*x > *y) - (*x < *y);
}

/* Times of the attempt in order; false where it is none. */
static bool any_times(const struct search *s, struct ref_modes_answer *answer)
{
    const struct ref_modes_query *q = s->query;
    for (int i = 0; i < q->step_count; i++) {
        if (s->chosen[i] != SKIPPED) {
            answer->times[answer->level] = time_of(s, i);
            answer->is_filled[answer->level] = true;
            answer->level++;
        }
    }
    if (answer->level == 0) {
        return false;
    }
    qsort(answer->times, (size_t)answer->level, sizeof(*answer->times), by_time);
    for (int i = 1; q->is_strict_ties && i < answer->level; i++) {
        if (answer->times[i] == answer->times[i - 1]) {
            return false;
        }
    }
    int64_t start = answer->times[0];
    int64_t end = answer->times[answer->level - 1];
    return start >= q->entry_first_ms && start <= q->entry_last_ms &&
           (!q->has_window || gap_ms(start, end) <= (__int128)q->window_ms);
}

static void consider_any(struct search *s)
{
    struct ref_modes_answer answer = {0};

    if (!keeps_places(s) || !any_times(s, &answer)) {
        return;
    }
    int64_t start = answer.times[0];
    int64_t end = answer.times[answer.level - 1];
    for (int b = 0; b < s->query->ban_count; b++) {
        bool is_erased = s->query->bans[b].is_dropping && answer.level < s->query->step_count &&
                         has_ban_in_window(s, b, start, start);
        if (is_erased || has_ban_between(s, b, start, end)) {
            return;
        }
    }
    for (int i = 0; i < s->query->step_count; i++) {
        if (s->chosen[i] != SKIPPED && time_of(s, i) == start && block_of(s->query, i) == 0) {
            consider(s, &answer, s->chosen[i]);
        }
    }
}

static void extend_any(struct search *s)
{
    if (s->depth == s->query->step_count) {
        consider_any(s);
        return;
    }
    int step = s->depth;
    for (int e = SKIPPED; e < s->event_count; e++) {
        if (e != SKIPPED && (!s->may[e][step] || (!s->query->has_reuse && is_chosen(s, e)))) {
            continue;
        }
        s->chosen[step] = e;
        s->depth++;
        extend_any(s);
        s->depth--;
    }
}

/* ---- where the search ends ---- */

static void reach(struct search *s)
{
    memset(s->reached, 0, sizeof(s->reached));
    s->ignores_drops = true;
    s->depth = 0;
    extend(s);
    s->ignores_drops = false;
}

/* Let in the events of one instant for one step; false where the search ends, before them or with them. */
static bool let_in(struct search *s, int64_t t, int step)
{
    int count = 0;
    for (int e = 0; e < s->event_count; e++) {
        count += s->events[e].time_ms == t && s->events[e].fits[step] ? 1 : 0;
    }
    bool is_repeat = s->query->stops_on_repeat && step > 0 && s->reached[step];
    bool is_foreign =
        s->query->stops_on_foreign && step > 0 && s->reached[0] && !s->reached[step - 1];
    if (count == 0) {
        return true;
    }
    if (is_repeat || is_foreign) {
        return false;
    }
    for (int e = 0; e < s->event_count; e++) {
        s->may[e][step] = s->may[e][step] || (s->events[e].time_ms == t && s->events[e].fits[step]);
    }
    reach(s);
    return !(s->query->stops_on_repeat && step > 0 && s->reached[step] && count > 1);
}

static bool has_foreign(const struct search *s, int64_t t)
{
    for (int e = 0; e < s->event_count; e++) {
        bool is_step = false;
        for (int i = 0; i < s->query->step_count; i++) {
            is_step = is_step || s->events[e].fits[i];
        }
        if (s->events[e].time_ms == t && s->events[e].is_considered && !is_step) {
            return true;
        }
    }
    return false;
}

static void let_in_until_end(struct search *s)
{
    for (int e = 0; e < s->event_count; e++) {
        int64_t t = s->events[e].time_ms;
        if (e > 0 && s->events[e - 1].time_ms == t) {
            continue;
        }
        if (t < s->query->entry_first_ms) {
            continue; /* the search begins with the first entry that may be one */
        }
        if (s->query->stops_on_foreign && s->reached[0] && has_foreign(s, t)) {
            return;
        }
        for (int i = 0; i < s->query->step_count; i++) {
            if (!let_in(s, t, i)) {
                return;
            }
        }
    }
}

struct ref_modes_answer ref_funnel_modes(const struct ref_modes_query *query,
                                         const struct ref_modes_event *events, int event_count)
{
    struct search s = {.query = query, .events = events, .event_count = event_count};

    if (query->stops_on_repeat || query->stops_on_foreign) {
        let_in_until_end(&s);
    } else {
        for (int e = 0; e < event_count; e++) {
            memcpy(s.may[e], events[e].fits, sizeof(s.may[e]));
        }
    }
    if (query->order == REF_ANY) {
        extend_any(&s);
        return s.best;
    }
    s.furthest = 0;
    reach(&s);
    extend(&s);
    return s.best;
}

void ref_funnel_modes_each(const struct ref_modes_query *query,
                           const struct ref_modes_event *events, int event_count,
                           const struct ref_modes_buckets *buckets, struct ref_modes_answer *ret)
{
    struct ref_modes_answer whole = ref_funnel_modes(query, events, event_count);
    for (int b = 0; b < buckets->count; b++) {
        struct ref_modes_query own = *query;
        own.entry_first_ms = query->entry_first_ms + b * buckets->width_ms;
        own.entry_last_ms = own.entry_first_ms + buckets->width_ms - 1;
        if (own.entry_last_ms > query->entry_last_ms) {
            own.entry_last_ms = query->entry_last_ms;
        }
        bool is_here = whole.level > 0 && whole.times[0] >= own.entry_first_ms &&
                       whole.times[0] <= own.entry_last_ms;
        if (!buckets->is_single) {
            ret[b] = ref_funnel_modes(&own, events, event_count);
        } else {
            ret[b] = is_here ? whole : (struct ref_modes_answer){0};
        }
    }
}
