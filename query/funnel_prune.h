/* query/funnel_prune.h - whose rows a plain funnel need not read.
 *
 * Where the stored sets say who did which step's event, a subject that did the first and never the second is counted without a
 * row of its own, and of one that never did step j no row of a later step is of use. What is left for the scan:
 *
 *     steps 1 and 2    who did both
 *     step j           who did steps 1 .. j
 *
 * A subject counted here has entered once and for good, but whether its entry is old enough to be mature (SEMANTICS.md 1.2)
 * hangs on the first one: those that entered on the day that maturity ends in, or later, keep their rows.
 *
 * Thread: one task.
 */
#pragma once

#include "query/run.h"

struct funnel_prune {
    struct scan_keep *keep; /* for the scan; NULL: every row is to be read */
    const uint64_t *counted; /* those subjects, from the task's first on; NULL: none */
    uint64_t entered;       /* subjects that got to step 1 and have no rows, */
    uint64_t mature;        /* and how many of them are mature */
};

/* The entries that end before it are mature, whenever on the day of `now` the query is asked. */
int64_t funnel_mature_before(const struct bound_query *query);
/* Whether sets say all that it takes: unfiltered steps of named events, users, no breakdown, nobody asking who. */
bool funnel_prune_serves(const struct query_run_ctx *run);
/* `ret->keep` lives in `arena`. */
enum err_code funnel_prune(struct query_run_ctx *run, const struct run_task *task,
                           struct arena *arena, struct io *io, struct funnel_prune *ret,
                           struct err *err) ERR_MUST_CHECK;
