/* query/outcomes.h - what each subject gave to an answer, kept for when the question comes again.
 *
 * A verb that follows people from segment to segment has no answer of a segment alone. But what one person gives to the
 * answer (the attempt of a funnel, the periods of a retention) depends on that person's rows and nobody else's. So a task
 * keeps an *outcome* per subject, as the sealed segments of the moment have it, in the cache of answers:
 *
 *     then      | outcomes of the task's subjects | over segments 1 2 3 | subjects that were masked | left out: new rows |
 *     now       segments 1 2 3 are there still, beside them segment 4 and a memtable
 *     answer    = outcomes of who has no row in 4 or the memtable, and is masked as ever, or not, as then
 *               + what the verb makes of all rows of the others, the *live* subjects
 *
 * A segment never changes, so this is exact under late events (they come in other sources, and whose they are is live),
 * erasures and logins (who is masked now and was not, or was and is not, is live). A merge that takes in a segment of
 * then leaves nothing of it: all is read, and kept anew. So it is where many are live.
 *
 * Outcomes are the verb's own bytes, at most OUTCOME_BYTES_MAX of each. They are named by the question, its range (an end behind all sealed rows is no end:
 * it may move on), the data set as it was opened, and the task's subjects; of one name only the newest are found.
 *
 * Thread: a plan is immutable while tasks run; outcomes belong to their task.
 */
#pragma once

#include "query/journey.h"

#define OUTCOME_BYTES_MAX UINT16_MAX

struct outcomes_ask {
    int64_t rows_from_ms; /* no older row is looked at */
    int64_t from_ms,
        to_ms; /* the range; only rows before to_ms begin anything, whatever comes behind them */
    bool has_firsts; /* journeys have first events that are expired (first_ask) */
    uint32_t
        live_parts; /* all is read where more than one in so many subjects is live; at least 1 */
    int64_t more;   /* whatever else they depend on */
};
struct outcomes_plan;
/* *ret NULL where nothing is to be kept: no cache, or the question asks for more than rows of the subject itself
 * (saved cohorts, profiles, first times of what is expired, the past). */
enum err_code outcomes_plan_make(struct query_run_ctx *run, const struct outcomes_ask *ask,
                                 struct outcomes_plan **ret, struct err *err) ERR_MUST_CHECK;

struct outcomes;
/* Look for what was kept. *ret NULL where `plan` is, or the task is not worth it. */
enum err_code outcomes_open(struct query_run_ctx *run, const struct outcomes_plan *plan,
                            const struct run_task *task, struct arena *arena, struct io *io,
                            struct outcomes **ret, struct err *err) ERR_MUST_CHECK;
void outcomes_close(struct outcomes *outcomes); /* NULL is fine */
static inline void outcomes_closep(struct outcomes **outcomes)
{
    outcomes_close(*outcomes);
}

/* Whether they were found: then outcomes_next gives those of all subjects that are not live, in no particular order, and
 * outcomes_rows the rows of the live ones. Else all rows are to be read. `outcomes` may be NULL. */
bool outcomes_are_kept(const struct outcomes *outcomes);
bool outcomes_next(struct outcomes *outcomes, uint32_t *ret_subject, struct str *ret_bytes);
/* Whose rows are to be looked at: false of who has a kept outcome, or none. */
bool outcomes_are_due(const struct outcomes *outcomes, uint32_t subject);
/* Of those that were put as a set, how many are not live. */
uint64_t outcomes_count_set(const struct outcomes *outcomes);
/* What was given to outcomes_keep beside them. */
struct str outcomes_tail(const struct outcomes *outcomes);
/* By source of the task; NULL: all rows. */
const struct journey_rows *outcomes_rows(const struct outcomes *outcomes);

/* Where they were not found: one of the subject's outcomes (it may have several), and at the end keep them all. Both do
 * nothing where there is nothing to be done; nothing is kept where one is too long. */
void outcomes_put(struct outcomes *outcomes, uint32_t subject, struct str bytes);
/* Subjects that all have the same outcome, of which nothing need be said: bits from the task's first subject on, which must
 * stay until the end. Once at most. */
void outcomes_put_set(struct outcomes *outcomes, const uint64_t *words);
void outcomes_keep(struct outcomes *outcomes, struct str tail);
/* One could not be said: nothing will be kept. */
void outcomes_stop(struct outcomes *outcomes);
