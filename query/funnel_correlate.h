/* query/funnel_correlate.h - `correlate`: what separates those who converted from those who were lost.
 *
 *     converted_with  converted_without  lost_with  lost_without
 *
 * For every event, or value of a property: how many of those who entered have it between their entry and
 * their conversion, or the end of their window. Events that are steps themselves say nothing and are left out.
 *
 * Thread: a correlation is its task's; the table is the calling thread's.
 */
#pragma once

#include "query/funnel_desk.h"

struct funnel_correlation {
    const struct groups *groups; /* number the values; NULL: nothing is correlated */
    uint64_t subjects[2];        /* lost, converted */
    uint64_t *with[2];           /* by number of the value */
    uint64_t *seen_by;           /* by number: the last subject that has it, counted from 1 */
    uint32_t cap;
};

/* `shown` is the attempt of the subject at the desk. */
enum err_code funnel_correlation_add(struct funnel_correlation *correlation,
                                     const struct bound_query *query,
                                     const struct funnel_desk *desk,
                                     const struct funnel_shown *shown, struct arena *arena,
                                     struct err *err) ERR_MUST_CHECK;
/* The columns of LANGUAGE.md; p by Fisher's exact test (two-sided) where a count of less than 5 is expected, by
 * chi-square (one degree of freedom) else; q by Benjamini and Hochberg over all rows. */
enum err_code funnel_correlation_table(struct query_run_ctx *run, const struct run_tasks *tasks,
                                       size_t correlation_off, struct result *result,
                                       struct err *err) ERR_MUST_CHECK;

/* ---- statistics, for tests as well ---- */
struct odds {
    uint64_t converted_with, converted_without, lost_with, lost_without;
};
bool odds_is_small(const struct odds *odds); /* Fisher's */
double odds_p(const struct odds *odds);
/* q[i] of p[i]; `order` and `q` have `count` entries. */
void odds_adjust(const double *p, size_t count, size_t *order, double *q);
