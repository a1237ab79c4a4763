/* query/funnel_list.h - `list users`: who entered, and the furthest step of each.
 *
 * Thread: a list is its task's; the table is the calling thread's.
 */
#pragma once

#include "query/run.h"

struct groups;

struct funnel_list_line {
    uint32_t subject; /* number in `groups`: who it is */
    uint32_t level;
};
struct funnel_list {
    const struct groups *groups;
    struct funnel_list_line *lines;
    uint32_t count, cap;
};

/* `keys` are the subject's name on each of its `count` events. */
enum err_code funnel_list_add(struct funnel_list *list, const uint32_t *keys, size_t count,
                              uint32_t level, struct arena *arena, struct err *err) ERR_MUST_CHECK;
/* Columns user_id (or the key of `per`) and level, in the order of the first. `list_off`: in a slot. */
enum err_code funnel_list_table(struct query_run_ctx *run, const struct run_tasks *tasks,
                                size_t list_off, struct result *result,
                                struct err *err) ERR_MUST_CHECK;
