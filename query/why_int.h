/* query/why_int.h - `why`: the door (verb_why.c), and a file for each verb that it is said of.
 *
 * Thread: the calling thread's.
 */
#pragma once

#include "query/why_notes.h"

enum why_holds { WHY_UNSAID, WHY_NO, WHY_YES };
/* A row of the answer. What is absent is null. */
struct why_row {
    bool has_begin; /* of a bucket or a cohort */
    int64_t begin_ms;
    const struct cell *keys;
    const char *item;
    struct cell number;
    enum why_holds holds;
    const struct why_event *event;
    bool has_time; /* a time without an event */
    int64_t time_ms;
    struct str note;
};

struct why {
    struct query_run_ctx *run; /* its arena keeps the rows, and whatever they point to */
    uint32_t shard, subject;
    struct why_row *rows;
    uint32_t row_count, row_cap;
};
enum err_code why_add(struct why *why, struct why_row row, struct err *err) ERR_MUST_CHECK;
/* A row of nothing but an item, whether it holds, and a note. */
enum err_code why_say(struct why *why, const char *item, bool holds, const char *note,
                      struct err *err) ERR_MUST_CHECK;

/* A copy of an event, in the run's arena; NULL stays NULL. */
enum err_code why_keep_event(struct why *why, const struct why_event *event,
                             const struct why_event **ret, struct err *err) ERR_MUST_CHECK;

/* Run `fn`, a verb or what stands for one, over the subject alone, with `query` in the place of the run's own. The sets that
 * `query` hangs on are there already. `notes` is the caller's, to be filled: with an arena, and empty but for it. */
typedef enum err_code (*why_fn)(struct query_run_ctx *run, struct err *err);
enum err_code why_run(struct why *why, const struct bound_query *query, why_fn fn,
                      struct why_notes *notes, struct err *err) ERR_MUST_CHECK;

/* The rows of each verb; `query` is the run's own, or that of a part of it. */
enum err_code why_funnel(struct why *why, const struct bound_query *query,
                         struct err *err) ERR_MUST_CHECK;
enum err_code why_retention(struct why *why, const struct bound_query *query,
                            struct err *err) ERR_MUST_CHECK;
enum err_code why_segment(struct why *why, const struct bound_query *query,
                          struct err *err) ERR_MUST_CHECK;
