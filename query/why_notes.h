/* query/why_notes.h - what a verb says of one subject while it counts it: what `why` is told from.
 *
 *     why "u_42" in funnel ...
 *
 * The verb runs as it always does, in one task of that subject alone (run.h), and where it counts the subject for a line
 * of its answer it notes the line and the events that stand for it. So the verdict and the number come from the same line
 * of code, as do the people behind a cell (cell_taker.h).
 *
 * Thread: notes are of one task at a time; the calling thread reads them after it.
 * Ownership: what is noted is copied into the notes' arena.
 */
#pragma once

#include "query/keys.h"
#include "query/result.h"
#include "query/walk.h"

#define WHY_NO_EVENT UINT32_MAX

/* An event of the journey that the verb looked at. */
struct why_event {
    int64_t time_ms;
    uint64_t mask; /* of selectors, as the verb used it */
    struct str id, name;
};

/* A line of the answer in which the subject is counted. */
struct why_line {
    int64_t begin_ms;        /* of its bucket or cohort */
    const struct cell *keys; /* of the breakdown; NULL: none, or all of them missing */

    uint32_t level;         /* of a funnel: the furthest step; in any order how many */
    uint64_t filled;        /* bit i: step i + 1 was done */
    const uint32_t *events; /* by step: numbers of the notes' events; where it was done */

    uint32_t slot;         /* of a retention: the cohort's, */
    uint32_t start;        /* the number of the start event, */
    bool is_start_return;  /* which is a return as well, and counts as none, */
    const uint64_t *users; /* and what the member adds to each column */
};

/* What a part of a segment's condition is for the subject. */
struct why_part {
    const struct cond *cond;
    bool is_met;
    struct cell value; /* of a MEASURE; null where it has none */
};

struct why_notes {
    struct arena *arena;
    struct why_event *
        events; /* in order of time; of one instant in an order that hangs on nothing but the events */
    uint32_t event_count;
    struct why_line *lines;
    uint32_t line_count, line_cap;
    struct why_part *parts;
    uint32_t part_count, part_cap;
    bool is_in_universe; /* of a segment */
    bool is_seen;        /* `per KEY`: there is such a subject */
};

/* The lane that names events: pass `is_ordered` with it. The keys live in `storage`. */
struct walk_lane why_lane(struct by_key storage[2]);

/* The journey, `numbers` being those of its events in the lane's groups. Once, before its lines. */
enum err_code why_note_journey(struct why_notes *notes, const int64_t *times, const uint64_t *masks,
                               const uint32_t *numbers, size_t count, const struct groups *groups,
                               struct err *err) ERR_MUST_CHECK;
/* A line, with the keys of a group, or (FUNNEL_GROUP_NULL, or no groups) without any. */
enum err_code why_note_line(struct why_notes *notes, struct why_line line,
                            const struct groups *groups, uint32_t group,
                            struct err *err) ERR_MUST_CHECK;
enum err_code why_note_part(struct why_notes *notes, struct why_part part,
                            struct err *err) ERR_MUST_CHECK;
