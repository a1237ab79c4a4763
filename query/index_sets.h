/* query/index_sets.h - who did an event in which span of time, from the stored sets of subjects.
 *
 * Time is cut at `edges` into atoms. Where a stored set lies within one atom, its members are taken as they are; sets that
 * cross a border, and sources that keep none (memtables), have their rows read. So every event of the selector in
 * [edges[0], edges[atom_count]) is seen exactly once, as a member or as a row.
 *
 * Thread: one task.
 */
#pragma once

#include "query/run.h"

struct index_ask {
    const struct bound_query *query;
    uint32_t selector;    /* of the query; index_serves said yes */
    const int64_t *edges; /* atom_count + 1, each after the one before */
    uint32_t atom_count;
};
/* Subjects that did it in an atom, according to one source: ascending, each once, within the task's range or not.
 * One atom may be given several times. Deleted subjects are among them. */
typedef enum err_code (*index_take_fn)(void *arg, const struct source *source, uint32_t atom,
                                       const uint32_t *subjects, uint32_t count, struct err *err);

/* Whether stored sets say who did it: events without conditions, and no `where`; never on the reference path. */
bool index_serves(const struct query_run_ctx *run, const struct selector *selector);
enum err_code index_walk(struct query_run_ctx *run, const struct run_task *task,
                         const struct index_ask *ask, index_take_fn take, void *arg,
                         struct arena *arena, struct io *io, struct err *err) ERR_MUST_CHECK;
