/* query/session_walk.h - walks over sessions that begin in the query's range.
 *
 * Where a session begins depends on what was before it, and how long it is on what comes after the range. So the
 * walk reads from some time before the range (the cap and one pause) to the cap behind it. A subject that made no
 * pause in all that time may still hide where its sessions begin: then all is walked again from much earlier, in
 * the end from the first event, so that a session never depends on the range that is asked about.
 *
 * Thread: as walk.h.
 */
#pragma once

#include "query/session_cut.h"
#include "query/walk.h"

/* What the slots of session_walk_all begin with. */
struct session_slot {
    bool is_unsettled; /* set by session_journey: the slot is of no use */
};

struct session_walk {
    const struct session_rule *rule;
    int64_t seen_ms; /* rows are read from here on */
    int64_t from_ms; /* of the query */
};

/* As walk_all; the wants of `spec` are made here, one per selector of the query. `walk` is what tasks pass to
 * session_journey, the caller's, filled here. Slots begin with a struct session_slot. */
enum err_code session_walk_all(struct query_run_ctx *run, struct walk_spec *spec,
                               const struct session_rule *rule, struct session_walk *walk,
                               walk_fn fn, size_t slot_bytes, struct run_tasks *ret,
                               struct err *err) ERR_MUST_CHECK;

/* To be asked of every journey before its sessions are counted: false where the task must end at once. `times` are
 * those of the events that count for sessions. */
static inline bool session_journey(const struct session_walk *walk, const int64_t *times,
                                   size_t count, struct session_slot *slot)
{
    slot->is_unsettled =
        !session_is_settled(walk->rule, times, count, walk->seen_ms, walk->from_ms);
    return !slot->is_unsettled;
}

/* The rule of a bound query; `day` is storage for what it needs. */
enum err_code session_rule_of(const struct bound_query *query, const struct session_spec *spec,
                              struct civil_grid *day, struct session_rule *ret,
                              struct err *err) ERR_MUST_CHECK;
