/* query/session_cut.h - where a subject's journey is cut into sessions (SEMANTICS.md 7).
 *
 *     times      0    10m      41m    ...  24h01m         idle 30m, cap 24h
 *     sessions   [0 .. 10m]    [41m ...        ] [ ...    the pause is too long; the session is
 *
 * A new session begins where the pause since the event before is longer than `idle_ms`, where the
 * session would become longer than `cap_ms` (both stay inside when they are met exactly), and, only
 * with `day`, at midnight. Sessions follow each other without holes: the next begins at the end of
 * the one before.
 *
 * Thread: pure functions.
 */
#pragma once

#include "query/civil.h"

#include <stddef.h>

#define SESSION_IDLE_MS UINT64_C(1800000)
#define SESSION_CAP_MS  UINT64_C(86400000)
#define SESSION_NO_CAP  UINT64_MAX

struct session_rule {
    uint64_t idle_ms;
    uint64_t cap_ms; /* from the first event to the last; SESSION_NO_CAP = no bound */
    const struct civil_grid
        *day; /* cut at the ends of these buckets; NULL = midnight cuts nothing */
};

/* The rule where a query says nothing else. */
static inline struct session_rule session_rule_default(void)
{
    return (struct session_rule){.idle_ms = SESSION_IDLE_MS, .cap_ms = SESSION_CAP_MS};
}

/* Where the session that begins with event `begin` ends: [begin, the answer), at least one event.
 * `times` ascends; begin < count. */
static inline size_t session_end(const struct session_rule *rule, const int64_t *times,
                                 size_t count, size_t begin)
{
    int64_t day_end_ms = rule->day == NULL ? INT64_MAX : civil_next(rule->day, times[begin]);
    size_t end = begin + 1;
    while (end < count && (uint64_t)times[end] - (uint64_t)times[end - 1] <= rule->idle_ms &&
           (uint64_t)times[end] - (uint64_t)times[begin] <= rule->cap_ms &&
           times[end] < day_end_ms) {
        end++;
    }
    return end;
}

/* A query of a range [from, to) counts the sessions that begin in it, and so must read some time before it
 * to know where they begin. Is that known, of a journey read from `seen_ms` on, at least idle_ms before
 * from_ms? True where a pause or a cut at midnight lies between, for then it does not matter what was before;
 * where there is neither, only events from before `seen_ms` tell where the cap cuts. */
static inline bool session_is_settled(const struct session_rule *rule, const int64_t *times,
                                      size_t count, int64_t seen_ms, int64_t from_ms)
{
    if (count == 0 || times[0] >= from_ms || seen_ms == INT64_MIN ||
        rule->cap_ms == SESSION_NO_CAP || (uint64_t)times[0] - (uint64_t)seen_ms > rule->idle_ms ||
        (rule->day != NULL && civil_next(rule->day, times[0]) <= from_ms)) {
        return true;
    }
    for (size_t i = 1; i < count && times[i - 1] < from_ms; i++) {
        if ((uint64_t)times[i] - (uint64_t)times[i - 1] > rule->idle_ms) {
            return true;
        }
    }
    return times[count - 1] < from_ms;
}
