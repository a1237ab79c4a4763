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
#include "storage/read_held.h"

struct index_ask {
    const struct bound_query *query;
    uint32_t selector;    /* of the query; index_serves said yes */
    const int64_t *edges; /* atom_count + 1, each after the one before */
    uint32_t atom_count;
};
/* Subjects that did it in an atom, according to one source, within the task's range or not.
 * One atom may be given several times. Deleted subjects are among them. */
typedef enum err_code (*index_take_fn)(void *arg, const struct source *source, uint32_t atom,
                                       const struct subject_members *members, struct err *err);
struct index_taker {
    void *arg;
    index_take_fn take;
    /* Before a source's sets: whether they are wanted; if not, `rows` is asked to read all. NULL: always. */
    enum err_code (*begin)(void *arg, const struct source *source, bool *ret_wants_sets,
                           struct err *err);
    /* Rows of the source in these spans. is_taken: their sets were given to `take`, for those of whom sets do not say
     * enough. NULL: rows go to `take`, and no question comes after the sets. */
    enum err_code (*rows)(void *arg, const struct source *source, const struct scan_want *wants,
                          uint32_t want_count, bool is_taken, struct err *err);
};
/* Whether stored sets say who did it: events without conditions, and no `where`; never on the reference path. */
bool index_serves(const struct query_run_ctx *run, const struct selector *selector);
/* The same but for `where`: events without conditions of their own. */
bool index_has_sets(const struct query_run_ctx *run, const struct selector *selector);
enum err_code index_walk(struct query_run_ctx *run, const struct run_task *task,
                         const struct index_ask *ask, const struct index_taker *taker,
                         struct arena *arena, struct io *io, struct err *err) ERR_MUST_CHECK;

/* ---- all of it at once ---- */

struct index_members {
    struct index_members *next;
    struct subject_members members;
    bool is_united; /* `united` has them */
};
/* By atom, what index_walk would give to `take`: chains of sets, which may have members in common, in no order. */
struct index_gathered {
    struct index_members **atoms; /* NULL where there is nobody */
    struct index_members *united; /* sources' sets of all atoms, where these are kept */
    uint64_t member_count;        /* of all sets */
    struct arena *arena;          /* of the sets that lie nowhere else, and of the chains */
    struct read_held held;
    bool is_united; /* of the sets at hand */
};
/* Filled after a failure as well, as far as it came: index_gathered_done in any case, after the last look at a set. */
enum err_code index_gather(struct query_run_ctx *run, const struct run_task *task,
                           const struct index_ask *ask, struct io *io, struct index_gathered *ret,
                           struct arena *arena, struct err *err) ERR_MUST_CHECK;
void index_gathered_done(struct index_gathered *gathered);
