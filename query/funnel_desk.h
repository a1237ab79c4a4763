/* query/funnel_desk.h - one subject's events, made ready for the kernels.
 *
 *     journey     events by time                     as the walk has it
 *     events      in canonical order: within an instant by the keys of `by`, of `holding`, then by mask, so
 *                 that no choice of a kernel hangs on ids or on who came first. What is no first event of its
 *                 name where it must be, or is not looked at by strict order, has lost its bits of steps
 *     stretch     the events of a session, or all
 *     part        a stretch's events of one value of `by`, of `holding`, or of both; with those of other held values, as far
 *                 as they end attempts
 *
 * Thread: one task.  Ownership: arrays live in the task's arena and are used again for the next subject.
 */
#pragma once

#include "query/funnel_follow.h"
#include "query/journey.h"

#define FUNNEL_LANE_NONE UINT32_MAX

struct funnel_desk {
    const struct bound_query *query;
    struct arena *arena;
    const struct groups *by_groups; /* NULL without keys */
    const struct groups *hold_groups;
    uint32_t by_lane, hold_lane, key_lane; /* of the journey; FUNNEL_LANE_NONE */
    uint64_t considered;
    bool is_ordered; /* journeys come with events of one instant by event_id: events that are alike stay so */

    size_t cap;
    size_t count;
    const int64_t *times; /* of the journey */
    uint64_t *masks;
    uint32_t *by, *hold, *key; /* numbers in the lanes' groups; NULL where there is none */
    size_t *order;

    int64_t *part_times; /* of the part at hand, copied */
    uint64_t *part_masks;
    size_t *part_events; /* which events they are */
    size_t *by_value;    /* events that can fill a step, by the values that parts are made of */
    struct funnel_scratch scratch;
};

/* Take in the journey. */
enum err_code funnel_desk_load(struct funnel_desk *desk, const struct journey *journey,
                               struct err *err) ERR_MUST_CHECK;

/* The parts of events [begin, end), one after the other: by their values of `by`, where `splits_by`,
 * and of `holding`, where there is any. */
struct funnel_parts {
    size_t begin, end;
    bool splits_by;
    size_t next, count; /* in desk->by_value */
};
struct funnel_part_view {
    struct funnel_view view;
    const size_t *events; /* of the desk, by event of the view; NULL: begin + i */
    size_t begin;
    uint32_t by; /* with splits_by */
};
void funnel_parts_open(struct funnel_desk *desk, size_t begin, size_t end, bool splits_by,
                       struct funnel_parts *ret);
/* False after the last. */
bool funnel_parts_next(struct funnel_desk *desk, struct funnel_parts *parts,
                       struct funnel_part_view *ret);
