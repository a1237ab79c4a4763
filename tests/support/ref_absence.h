/* tests/support/ref_absence.h - what did not follow, and what was online, by looking at all pairs and all ticks.
 *
 * ref_follow looks every later event through for each A. ref_online walks time in ticks: a subject is online at a tick
 * when one of its intervals covers it. All times must be multiples of the tick.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum ref_follow { REF_FOLLOWED, REF_ABSENT, REF_PENDING };
struct ref_follow_event {
    int64_t time_ms;
    bool is_first, is_second;
};
/* What becomes of event `at`, an A. */
enum ref_follow ref_follow(const struct ref_follow_event *events, int count, int at,
                           int64_t within_ms, int64_t now_ms);

#define REF_INTERVALS_MAX 64
struct ref_interval {
    int64_t begin_ms, end_ms;
};
/* Each end closes the oldest start that is open and not older than longest_ms; starts still open at now run until
 * then. Events ascend in time; is_first: a start, is_second: an end. Returns how many there are, and of each which event
 * is its start. */
int ref_intervals(const struct ref_follow_event *events, int count, int64_t longest_ms,
                  int64_t now_ms, struct ref_interval *out, int *out_starts);
bool ref_is_online(const struct ref_interval *intervals, int count, int64_t tick_ms);
