/* query/habit_split.h - lifecycle, stickiness, conditions and churn `by` a key: a journey cut by its events' values, and
 * numbers per value.
 *
 * A line is the question about the events of one value, as if there were no others: who has events of several values is in
 * several lines, and new where its first event with that value lies. Where the key is of the subject (`profile.plan`), each is in
 * one line, and lines add up; so `with other` goes with such keys alone.
 *
 * Thread: one task, then the calling thread.  Ownership: arenas, as each function says.
 */
#pragma once

#include "query/answer_journeys.h"

/* ---- a journey's parts ---- */

#define HABIT_LANE_NONE UINT32_MAX

struct habit_split {
    uint32_t lane; /* of the journeys; HABIT_LANE_NONE: they are not cut, and all of group 0 */
    struct arena *arena;
    size_t cap;
    size_t *order;  /* events by (group, time) */
    int64_t *times; /* of the part at hand */
    uint64_t *masks;
    const struct journey *journey;
    size_t next; /* in `order` */
};
/* Parts of this journey come next; it must live until the last of them. */
enum err_code habit_split_load(struct habit_split *split, const struct journey *journey,
                               struct err *err) ERR_MUST_CHECK;
/* False after the last. A part has its subject, times, masks and a count. */
bool habit_split_next(struct habit_split *split, uint32_t *ret_group, struct journey *ret);

/* ---- numbers per group ---- */

#define HABIT_OTHER UINT32_MAX /* the group of what `top` leaves out */

struct habit_rows {
    const struct groups *groups; /* NULL: one group, 0 */
    size_t len;                  /* numbers of a group */
    uint64_t **rows;             /* NULL where a group has none */
    uint32_t cap;
    uint64_t *other; /* of HABIT_OTHER, where it is shown */
};
/* The group's numbers, made when they are not there yet. */
enum err_code habit_rows_of(struct habit_rows *rows, uint32_t group, struct arena *arena,
                            uint64_t **ret, struct err *err) ERR_MUST_CHECK;
/* The sums over tasks: `rows_off` is where a slot has its rows, `ret->len` is given. Without keys there is a group always. */
enum err_code habit_rows_merge(struct query_run_ctx *run, const struct run_tasks *tasks,
                               size_t rows_off, struct habit_rows *ret,
                               struct err *err) ERR_MUST_CHECK;
/* Groups that are shown, in order, `*ret_count` of them, the others as the last one `with other`; `weigh` says what `top` ranks
 * by. */
enum err_code habit_rows_pick(struct query_run_ctx *run, struct habit_rows *rows,
                              uint64_t (*weigh)(const uint64_t *row, size_t len),
                              struct answer_group **ret, uint32_t *ret_count,
                              uint32_t *ret_left_out, struct err *err) ERR_MUST_CHECK;
/* Of a group that is shown: its numbers, and the cells of its keys. */
const uint64_t *habit_row(const struct habit_rows *rows, uint32_t group);
enum err_code habit_key_cells(const struct habit_rows *rows, uint32_t key_count, uint32_t group,
                              struct arena *arena, struct cell *out,
                              struct err *err) ERR_MUST_CHECK;
/* The columns of the keys, put behind `*count` others. */
enum err_code habit_key_cols(const struct bound_query *query, struct arena *arena,
                             struct result_col *cols, uint32_t *count,
                             struct err *err) ERR_MUST_CHECK;
