/* query/run.h - one running query: what all its tasks share.
 *
 * Tasks are (shard, range of subjects). Each worker has an arena out of the query's one budget, and writes
 * only into its own slot of results, which are merged in task order, so that the answer does not depend on who ran what.
 *
 * Thread: the struct is shared by the query's workers; only the atomics change.
 */
#pragma once

#include "query/bound.h"
#include "query/people.h"
#include "query/query.h"
#include "query/scan.h"
#include "storage/base/pool.h"

struct diff;
struct query_profile;
struct restatements;
struct traits;
struct why_notes;

struct query_run_ctx {
    const struct bound_query *query;
    const struct query_request *request;
    struct snapshot *snapshot;
    const struct snapshot *unmasked; /* it before people were left out (run_exclude); NULL: none are */
    struct pool *pool;
    struct pool_account
        *account; /* what the query has had of the pool; NULL: each round by itself */
    struct query_profile
        *profile;  /* of `profile`: what is done is noted there (profile.h); else NULL */
    const struct diff *diff; /* of `diff` (diff.h); else NULL */
    const struct restatements *restatements; /* of `restatements` (restatements.h); else NULL */
    struct io *io; /* of the thread that called query_run */
    bool is_inner; /* a query within another (run_inner_begin): its text is the outer one's */
    bool has_only; /* tasks are of one subject alone: */
    uint32_t only_shard, only_subject;
    struct why_notes *
        notes; /* of `why`, and then of one task: what is counted is noted there (why_notes.h); else NULL */
    const void *verb_plan;                    /* what the verb made for its tasks */
    const void *walk_plan;                    /* the same of walk.c */
    _Atomic(struct cell_taker *) cell_takers; /* of tasks, for cell_taker.h */
    struct people *cell_people; /* where verbs that keep sets put those of query->cell */
    struct people uncompared;   /* masked in the second series of `compare cohort` */
    struct people excluded;     /* masked in `snapshot`, beside the deleted */
    struct traits *traits;      /* what profiles say, where the query asks (traits.h); then only read */
    struct budget budget;
    struct arena *arena; /* of the calling thread: plans, merged answers */
    _Atomic uint64_t rows_read, bytes_read, blocks_loaded;
    _Atomic uint64_t cached; /* partial answers taken from the cache, */
    _Atomic uint64_t rows_cached,
        bytes_cached;             /* and the rows and bytes read that they stand for */
    _Atomic bool *is_source_used; /* one per source of the snapshot, or NULL: some scan opened it */
    _Atomic bool is_failed;       /* some task failed: the others stop */
    struct err first_err;         /* guarded by the winner of is_failed */
};

/* Bind the request against the snapshot, or against what it says of the past, and call `fn` with the run, which ends
 * with it. Errors of the text, of binding, and of `fn`. */
typedef enum err_code (*query_ask_fn)(struct query_run_ctx *run, void *arg, struct err *err);
enum err_code query_ask(struct snapshot *snapshot, struct pool *pool, struct io *io,
                        const struct query_request *request, query_ask_fn fn, void *arg,
                        struct err *err) ERR_MUST_CHECK;

/* ERR_TIMEOUT, ERR_CANCELLED, or ERR_OK: cheap enough for once per block. Tasks of other queries may
 * run before it returns (pool_yield): hold no lock, and nothing that they wait for. */
enum err_code run_check(struct query_run_ctx *run, struct err *err) ERR_MUST_CHECK;

/* Note that rows or sets of this source are read; what is never noted was pruned. */
void run_mark_source(struct query_run_ctx *run, const struct source *source);
/* Add what a reader did to the query's counters. */
void run_count(struct query_run_ctx *run, uint64_t rows, const struct read_ctx *read);
/* The same of a scan that ends, and of a walk over stored sets. */
void run_count_scan(struct query_run_ctx *run, const struct scan_counters *counters,
                    const struct read_ctx *read);
void run_count_sets(struct query_run_ctx *run, uint64_t sets, uint64_t members, uint64_t time_us,
                    const struct read_ctx *read);

/* The cache of answers, or NULL: none, or this query is to leave it alone. */
struct answer_cache *run_answers(const struct query_run_ctx *run);

/* A task's share of the work. */
struct run_task {
    uint32_t shard;
    uint32_t subject_begin, subject_end;
    const struct source *const *sources; /* of that shard, in snapshot order */
    uint32_t source_count;
};
/* Subjects of a shard are numbered below this: those that the directory knows, and those that rows are of. */
uint64_t run_shard_subjects(const struct snapshot *snapshot, uint32_t shard);
/* The end of a task's subjects: no later than the shard's. May lie before task->subject_begin. */
uint32_t run_task_end(const struct query_run_ctx *run, const struct run_task *task);
/* `fn` runs once per task, in parallel; `slot` is the task's own result slot (slot_bytes each, zeroed), merged
 * by the caller in task order afterwards. The arena belongs to the task and lives until run_tasks_free. */
/* Run `query` beside the one at hand: same snapshot, same workers, what is left of its memory. run_inner_done frees what it
 * took, run_inner_count adds what it read to the outer one's figures. */
void run_inner_begin(const struct query_run_ctx *run, const struct bound_query *query,
                     struct query_run_ctx *ret);
void run_inner_count(struct query_run_ctx *run, const struct query_run_ctx *inner);
void run_inner_done(struct query_run_ctx *inner);

/* Whether indexes are left alone: tests compare both paths. */
static inline bool run_is_reference(const struct query_run_ctx *run)
{
    return run->request != NULL && run->request->is_reference_path;
}

typedef enum err_code (*run_task_fn)(struct query_run_ctx *run, const struct run_task *task,
                                     struct arena *arena, struct io *io, void *slot,
                                     struct err *err);
struct run_tasks {
    const struct run_task *tasks; /* of run_all_tasks: whose slots they are */
    void *slots;
    size_t slot_bytes;
    uint32_t count;
    struct arena **arenas;
};
/* *ret is filled after a failure as well, as far as it came: the caller frees it either way. */
static inline void *run_slot(const struct run_tasks *tasks, uint32_t task)
{
    return (char *)tasks->slots + (size_t)task * tasks->slot_bytes;
}
enum err_code run_all_tasks(struct query_run_ctx *run, run_task_fn fn, size_t slot_bytes,
                            struct run_tasks *ret, struct err *err) ERR_MUST_CHECK;
/* The same over parts that the caller has numbered from 0, for rounds after the first. */
typedef enum err_code (*run_part_fn)(struct query_run_ctx *run, uint32_t part, const void *arg,
                                     struct arena *arena, struct io *io, void *slot,
                                     struct err *err);
enum err_code run_all_parts(struct query_run_ctx *run, uint32_t count, run_part_fn fn,
                            const void *arg, size_t slot_bytes, struct run_tasks *ret,
                            struct err *err) ERR_MUST_CHECK;
/* How many tasks that would be (explain). */
enum err_code run_task_count(struct query_run_ctx *run, uint32_t *ret,
                             struct err *err) ERR_MUST_CHECK;
void run_tasks_free(struct run_tasks *tasks);

/* Room for `row_count` rows of the result's columns, paid for by the query's budget. Sets row_count and cells. */
enum err_code run_result_rows(struct query_run_ctx *run, struct result *result, uint64_t row_count,
                              struct cell **ret_cells, struct err *err) ERR_MUST_CHECK;
/* `order by` and `limit`, after the verb: sorts (stably) and cuts the rows, and says in meta what
 * was cut. query_run does it for every verb that has not cut its rows itself. */
enum err_code run_shape(struct query_run_ctx *run, struct result *result,
                        struct err *err) ERR_MUST_CHECK;

/* The verb of run->query, whichever it is, but for what asks for people (run_people.h). */
enum err_code run_table(struct query_run_ctx *run, struct result *result,
                        struct err *err) ERR_MUST_CHECK;
/* The verbs: each fills the columns, cells and totals of `result` (arena of the result). */
enum err_code verb_trend(struct query_run_ctx *run, struct result *result,
                         struct err *err) ERR_MUST_CHECK; /* and distinct */
enum err_code verb_funnel(struct query_run_ctx *run, struct result *result,
                          struct err *err) ERR_MUST_CHECK;
enum err_code verb_retention(struct query_run_ctx *run, struct result *result,
                             struct err *err) ERR_MUST_CHECK;
enum err_code verb_events(struct query_run_ctx *run, struct result *result,
                          struct err *err) ERR_MUST_CHECK; /* and timeline */
enum err_code verb_show(struct query_run_ctx *run, struct result *result,
                        struct err *err) ERR_MUST_CHECK;
enum err_code verb_sequence(struct query_run_ctx *run, struct result *result,
                            struct err *err) ERR_MUST_CHECK;
enum err_code verb_conditions(struct query_run_ctx *run, struct result *result,
                              struct err *err) ERR_MUST_CHECK;
enum err_code verb_lifecycle(struct query_run_ctx *run, struct result *result,
                             struct err *err) ERR_MUST_CHECK;
enum err_code verb_stickiness(struct query_run_ctx *run, struct result *result,
                              struct err *err) ERR_MUST_CHECK;
enum err_code verb_sessions(struct query_run_ctx *run, struct result *result,
                            struct err *err) ERR_MUST_CHECK;
enum err_code verb_paths(struct query_run_ctx *run, struct result *result,
                         struct err *err) ERR_MUST_CHECK;
enum err_code verb_attribution(struct query_run_ctx *run, struct result *result,
                               struct err *err) ERR_MUST_CHECK;
enum err_code verb_absence(struct query_run_ctx *run, struct result *result,
                           struct err *err) ERR_MUST_CHECK;
enum err_code verb_intervals(struct query_run_ctx *run, struct result *result,
                             struct err *err) ERR_MUST_CHECK;
enum err_code verb_profile(struct query_run_ctx *run, const struct result *answer,
                           struct result *result,
                           struct err *err) ERR_MUST_CHECK; /* after the verb has run */
/* `why "u_42" in`: in the place of the verb's own table. */
enum err_code verb_why(struct query_run_ctx *run, struct result *result,
                       struct err *err) ERR_MUST_CHECK;
enum err_code verb_churn(struct query_run_ctx *run, struct result *result,
                         struct err *err) ERR_MUST_CHECK;
enum err_code verb_show_metrics(struct query_run_ctx *run, struct result *result,
                                struct err *err) ERR_MUST_CHECK;
enum err_code verb_explain(struct query_run_ctx *run, struct result *result,
                           struct err *err) ERR_MUST_CHECK;
