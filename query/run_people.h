/* query/run_people.h - sets of people around a query: those it hangs on, those it leaves out, and those that it asks
 * for.
 *
 *     uses     before the verb: cohorts and the funnels of conditions, each a query of its own -> struct people;
 *              and conditions on profiles as of now (traits.h)
 *     exclude  a snapshot of the query's own, in which the excluded are masked like the deleted, and whom a term of
 *              `where` about people does not hold of: every verb, and every index, leaves them out without knowing
 *     answer   of a segment, or of the cell that `users of` names: their number, their ids, or a saved cohort
 *
 * Thread: the calling thread's.
 */
#pragma once

#include "query/people.h"
#include "query/run.h"

/* Load what the query asks of profiles, and fill query->uses. What they hold lives until run_uses_done, which frees also what an error left. */
enum err_code run_uses(struct query_run_ctx *run, struct err *err) ERR_MUST_CHECK;
void run_uses_done(struct query_run_ctx *run);
/* Put a snapshot without the excluded people, and whom terms of `where` leave out, in the place of run->snapshot. After
 * run_uses. */
enum err_code run_exclude(struct query_run_ctx *run, struct err *err) ERR_MUST_CHECK;

/* Put all subjects of the shard but those of `people` into `ret`. */
enum err_code run_others(const struct query_run_ctx *run, const struct people *people,
                         uint32_t shard, struct people *ret, struct err *err) ERR_MUST_CHECK;

/* True where the query asks for people, not for a table of its verb. A segment `per KEY` asks for values. */
bool run_asks_people(const struct bound_query *query);
/* Put the people that the query asks for into `ret`, which is the caller's and empty. */
enum err_code run_people(struct query_run_ctx *run, struct people *ret,
                         struct err *err) ERR_MUST_CHECK;
/* Their number, or their ids in byte order; and they become a cohort where the query says so. */
enum err_code verb_people(struct query_run_ctx *run, struct result *result,
                          struct err *err) ERR_MUST_CHECK;

/* Their ids in byte order; the array is the arena's, the ids are readable as long as the data set. */
enum err_code run_people_ids(struct query_run_ctx *run, const struct people *people,
                             struct arena *arena, const struct str **ret, uint64_t *ret_count,
                             struct err *err) ERR_MUST_CHECK;

/* The subject of a user's id, or else of a device's. */
bool run_find_subject(const struct query_run_ctx *run, struct str id, uint32_t *ret_shard,
                      uint32_t *ret_subject);

/* ---- run_compare.c ---- */
/* The table that `fn` makes (of the verb, or of `why`), and behind it that of the second series; a first column says
 * which. */
typedef enum err_code (*run_table_fn)(struct query_run_ctx *run, struct result *result,
                                      struct err *err);
enum err_code run_compared(struct query_run_ctx *run, run_table_fn fn, struct result *result,
                           struct err *err) ERR_MUST_CHECK;

/* ---- verb_cohorts.c ---- */
/* The people become a cohort, as the query says. */
enum err_code cohort_save(struct query_run_ctx *run, const struct people *people, struct err *err) ERR_MUST_CHECK;
enum err_code verb_show_cohorts(struct query_run_ctx *run, struct result *result, struct err *err) ERR_MUST_CHECK;
enum err_code verb_drop_cohort(struct query_run_ctx *run, struct result *result, struct err *err) ERR_MUST_CHECK;

/* ---- verb_segment.c ---- */
enum err_code segment_people(struct query_run_ctx *run, struct people *ret,
                             struct err *err) ERR_MUST_CHECK;

/* ---- segment_per_key.c ---- */
/* Of a segment `per KEY`: how many values, or which. */
enum err_code segment_per_key(struct query_run_ctx *run, struct result *result,
                             struct err *err) ERR_MUST_CHECK;
