/* query/kernel_retention.c
 *
 * A journey is walked once, slot by slot. A slot's returns are counted; a slot that holds a start
 * becomes a member: with `recurring` every such slot, else only the one of the subject's first
 * start. What comes out is short (slots with activity, not events), and the cells are differences
 * of slot numbers.
 *
 * Which of several events of one instant is "the" start event must not hang on ids or arrival: it
 * is one that leaves most returns, as ties in funnels go the way that reaches furthest.
 */
#include "query/kernel_retention.h"

/* Slots are periods of nearly equal length, so a guess by proportion is off by one or two at most. */
struct slot_finder {
    const int64_t *begins;
    uint32_t slot_count;
    double slots_per_ms; /* on average */
};

static struct slot_finder slot_finder_init(const struct retention_spec *spec)
{
    uint64_t span_ms = (uint64_t)spec->begins[spec->slot_count] - (uint64_t)spec->begins[0];
    return (struct slot_finder){
        .begins = spec->begins,
        .slot_count = spec->slot_count,
        .slots_per_ms = span_ms == 0 ? 0 : (double)spec->slot_count / (double)span_ms,
    };
}

/* The slot that holds t, given that slot `from` begins at or before t and that t is before the end
 * of the last slot. */
static inline uint32_t slot_find(const struct slot_finder *f, uint32_t from, int64_t t)
{
    uint64_t ahead_ms = (uint64_t)t - (uint64_t)f->begins[from];
    double guess = (double)from + (double)ahead_ms * f->slots_per_ms;
    uint32_t slot = guess < (double)(f->slot_count - 1) ? (uint32_t)guess : f->slot_count - 1;
    while (f->begins[slot] > t) {
        slot--;
    }
    while (f->begins[slot + 1] <= t) { /* over slots without length as well */
        slot++;
    }
    return slot;
}

static size_t lower_bound(const int64_t *times, size_t count, int64_t t)
{
    size_t begin = 0;
    while (count > 0) {
        size_t half = count / 2;
        bool is_before = times[begin + half] < t;
        begin = is_before ? begin + half + 1 : begin;
        count = is_before ? count - half - 1 : half;
    }
    return begin;
}

/* The start at the instant of event i: events of that instant before i are no starts. False where
 * those after it are none either. */
static bool start_at(const int64_t *restrict times, const uint64_t *restrict masks, size_t count,
                     size_t i, struct retention_member *ret)
{
    bool is_start = false;
    bool is_start_return = true;
    size_t end = i;

    for (; end < count && times[end] == times[i]; end++) {
        if ((masks[end] & RETENTION_START) != 0) {
            is_start = true;
            is_start_return = is_start_return && (masks[end] & RETENTION_RETURN) != 0;
        }
    }
    ret->tie_begin = i;
    ret->tie_end = end;
    ret->is_start_return = is_start_return;
    return is_start;
}

/* Walk slot `slot`, whose events begin at i: count returns, note activity, finish `member` (NULL:
 * the slot has none). Returns the first event after the slot. */
static size_t walk_slot(const struct retention_spec *spec, const int64_t *restrict times,
                        const uint64_t *restrict masks, size_t count, size_t i, uint32_t slot,
                        struct retention_scratch *scratch, struct retention_member *member)
{
    int64_t end_ms = spec->begins[slot + 1];
    uint64_t returns = 0;

    for (; i < count && times[i] < end_ms; i++) {
        returns += masks[i] >> 1 & 1;
    }
    if (returns >= spec->at_least) {
        scratch->actives[scratch->active_count++] = slot;
    }
    if (member != NULL) {
        member->slot = slot;
        member->is_active =
            returns - (member->is_start_return && !spec->counts_start ? 1 : 0) >= spec->at_least;
        member->later = scratch->active_count;
        scratch->member_count++;
    }
    return i;
}

static void retention_first(const struct retention_spec *spec, const int64_t *restrict times,
                            const uint64_t *restrict masks, size_t count,
                            struct retention_scratch *scratch)
{
    uint64_t wanted =
        spec->start == RETENTION_FIRST_EVER_UNFILTERED ? RETENTION_NAME : RETENTION_START;
    int64_t since_ms = spec->start == RETENTION_FIRST ? spec->from_ms : INT64_MIN;
    struct retention_member *member = &scratch->members[0];
    struct slot_finder finder = slot_finder_init(spec);
    size_t i = 0;

    while (i < count && ((masks[i] & wanted) == 0 || times[i] < since_ms)) {
        i++;
    }
    if (i == count || times[i] < spec->from_ms || times[i] >= spec->to_ms) {
        return;
    }
    if (!start_at(times, masks, count, i, member)) {
        return;
    }
    uint32_t slot = slot_find(&finder, 0, times[i]);
    ASSERT_DEBUG(slot < spec->cohort_count);
    i = lower_bound(times, i,
                    spec->begins[slot]); /* returns before the start count in its period */
    i = walk_slot(spec, times, masks, count, i, slot, scratch, member);
    while (i < count && times[i] < spec->begins[spec->slot_count]) {
        slot = slot_find(&finder, slot, times[i]);
        i = walk_slot(spec, times, masks, count, i, slot, scratch, NULL);
    }
}

static void retention_recurring(const struct retention_spec *spec, const int64_t *restrict times,
                                const uint64_t *restrict masks, size_t count,
                                struct retention_scratch *scratch)
{
    struct slot_finder finder = slot_finder_init(spec);
    uint32_t slot = 0;
    size_t i = lower_bound(times, count, spec->begins[0]);

    while (i < count && times[i] < spec->begins[spec->slot_count]) {
        struct retention_member *member = NULL;
        slot = slot_find(&finder, slot, times[i]);
        if (slot < spec->cohort_count) {
            size_t s = i;
            while (s < count && times[s] < spec->begins[slot + 1] &&
                   ((masks[s] & RETENTION_START) == 0 || times[s] < spec->from_ms ||
                    times[s] >= spec->to_ms)) {
                s++;
            }
            if (s < count && times[s] < spec->begins[slot + 1]) {
                member = &scratch->members[scratch->member_count];
                (void)start_at(times, masks, count, s, member);
            }
        }
        i = walk_slot(spec, times, masks, count, i, slot, scratch, member);
    }
}

void kernel_retention(const struct retention_spec *spec, const int64_t *restrict times,
                      const uint64_t *restrict masks, size_t count,
                      struct retention_scratch *scratch)
{
    scratch->member_count = 0;
    scratch->active_count = 0;
    if (spec->start == RETENTION_RECURRING) {
        retention_recurring(spec, times, masks, count, scratch);
    } else {
        retention_first(spec, times, masks, count, scratch);
    }
}

void kernel_retention_add(const struct retention_spec *spec,
                          const struct retention_scratch *scratch,
                          const struct retention_member *member, uint64_t *restrict users)
{
    uint32_t slot = member->slot;

    if (spec->mode == RETENTION_UNBOUNDED) {
        /* Back in period n or later: all periods up to the last active one. */
        uint32_t upto = member->is_active ? 1 : 0;
        if (scratch->active_count > member->later) {
            upto = scratch->actives[scratch->active_count - 1] - slot + 1;
        }
        upto = upto < spec->period_count ? upto : spec->period_count;
        for (uint32_t n = 0; n < upto; n++) {
            users[n]++;
        }
        return;
    }
    users[0] += member->is_active ? 1 : 0;
    for (uint32_t a = member->later; a < scratch->active_count; a++) {
        uint32_t n = scratch->actives[a] - slot;
        if (n >= spec->period_count) {
            break;
        }
        users[n]++;
    }
}

/* Periods of rolling_ms from the member's start, the start event left out; *ret_beyond: back after the last of them. */
static void rolling_vector(const struct retention_spec *spec, const struct retention_member *member,
                           const int64_t *restrict times, const uint64_t *restrict masks,
                           size_t count, uint8_t *restrict back, bool *ret_beyond)
{
    int64_t start_ms = times[member->tie_begin];
    bool is_start_left = member->is_start_return &&
                         !spec->counts_start; /* one return of that instant is the start */
    uint64_t period = UINT64_MAX;
    uint32_t found = 0;
    size_t i = member->tie_begin;
    while (i > 0 && times[i - 1] == start_ms) { /* returns of that instant may stand before it */
        i--;
    }
    for (; i < count; i++) {
        if ((masks[i] & RETENTION_RETURN) == 0) {
            continue;
        }
        if (is_start_left) {
            is_start_left = false;
            continue;
        }
        uint64_t n = ((uint64_t)times[i] - (uint64_t)start_ms) / spec->rolling_ms;
        if (n >= spec->period_count && spec->mode != RETENTION_UNBOUNDED) {
            return;
        }
        found = n == period ? found + 1 : 1;
        period = n;
        if (found == spec->at_least && n < spec->period_count) {
            back[n] = 1;
        } else if (found == spec->at_least) {
            *ret_beyond = true;
        }
    }
}

/* Civil periods; *ret_beyond as above. */
static void calendar_vector(const struct retention_spec *spec,
                            const struct retention_scratch *scratch,
                            const struct retention_member *member, uint8_t *restrict back,
                            bool *ret_beyond)
{
    back[0] = member->is_active;
    for (uint32_t a = member->later; a < scratch->active_count; a++) {
        uint32_t n = scratch->actives[a] - member->slot;
        if (n < spec->period_count) {
            back[n] = 1;
        } else {
            *ret_beyond = true;
        }
    }
}

uint32_t kernel_retention_streak(const struct retention_spec *spec,
                                 const struct retention_member *member, const uint8_t *back)
{
    uint32_t n = 1;
    for (; n < spec->period_count; n++) {
        bool is_period = spec->rolling_ms > 0 ||
                         spec->begins[member->slot + n] < spec->begins[member->slot + n + 1];
        if (back[n] == 0 && is_period) {
            break;
        }
    }
    return n - 1;
}

static void add_by_mode(const struct retention_spec *spec, const struct retention_member *member,
                        const uint8_t *restrict back, bool is_beyond, uint64_t *restrict users)
{
    uint32_t streak = 0;
    bool is_back = is_beyond;
    switch (spec->mode) {
    case RETENTION_EXACT:
        for (uint32_t n = 0; n < spec->period_count; n++) {
            users[n] += back[n];
        }
        return;
    case RETENTION_UNBOUNDED:
        for (uint32_t n = spec->period_count; n-- > 0;) {
            is_back = is_back || back[n] != 0;
            users[n] += is_back;
        }
        return;
    case RETENTION_STREAK: /* in every period from 1 on */
        users[0] += back[0];
        streak = kernel_retention_streak(spec, member, back);
        for (uint32_t n = 1; n <= streak; n++) {
            users[n]++;
        }
        return;
    case RETENTION_UNTIL:
        is_back = false;
        for (uint32_t n = 0; n < spec->period_count; n++) {
            is_back = is_back || back[n] != 0;
            users[n] += is_back;
        }
        return;
    case RETENTION_BRACKET:
        for (uint32_t b = 0; b < spec->column_count; b++) {
            bool is_in = false;
            for (uint32_t n = spec->brackets[b].first; n <= spec->brackets[b].last; n++) {
                is_in = is_in || back[n] != 0;
            }
            users[b] += is_in;
        }
        return;
    }
}

void kernel_retention_add_vector(const struct retention_spec *spec,
                                 const struct retention_scratch *scratch,
                                 const struct retention_member *member,
                                 const int64_t *restrict times, const uint64_t *restrict masks,
                                 size_t count, uint8_t *restrict back, uint64_t *restrict users)
{
    bool is_beyond = false;
    memset(back, 0, spec->period_count);
    if (spec->rolling_ms > 0) {
        rolling_vector(spec, member, times, masks, count, back, &is_beyond);
    } else {
        calendar_vector(spec, scratch, member, back, &is_beyond);
    }
    add_by_mode(spec, member, back, is_beyond, users);
}
