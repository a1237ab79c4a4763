/* query/row_heads.h - what rows of an answer begin with: the bucket of `each` and the group of `by`.
 *
 * Verbs whose rows have more to their names than these two (an edge, a path, what came next) count by the number of such a
 * head and something of their own. A task numbers the heads it meets; after the tasks all of them are ranked in the order of
 * the rows: by bucket, and in it by group.
 *
 *     task 0: (day 2, ios) -> 0, (day 1, web) -> 1        ranks: (day 1, web) = 0
 *     task 1: (day 2, ios) -> 0, (day 2, null) -> 1              (day 2, null) = 1, (day 2, ios) = 2
 *
 * A question with neither clause has one head.
 *
 * Thread: a task's; row_heads_rank and what takes a struct row_ranks are the calling thread's.
 */
#pragma once

#include "query/answer_journeys.h"
#include "query/interns.h"

struct row_heads {
    const struct groups *groups; /* NULL: no keys, then all groups are 0 */
    struct interns pairs;        /* (bucket, group) */
    uint32_t last_pair[2], last; /* neighbours mostly have the same */
};
enum err_code row_heads_init(struct row_heads *heads, const struct groups *groups,
                             struct arena *arena, struct err *err) ERR_MUST_CHECK;
/* The number of a head, a new one where it has not been met. */
enum err_code row_heads_of(struct row_heads *heads, uint32_t bucket, uint32_t group, uint32_t *ret,
                           struct err *err) ERR_MUST_CHECK;

struct row_head {
    uint32_t bucket, group; /* the group is one of `groups` */
};
struct row_ranks {
    struct groups *groups;  /* of all tasks */
    struct row_head *heads; /* by rank */
    uint32_t count;
    uint32_t **rank_of; /* [task][its head] */
};
/* Rank the heads of all tasks; a slot has its struct row_heads at `heads_off`. */
enum err_code row_heads_rank(struct query_run_ctx *run, const struct run_tasks *tasks,
                             size_t heads_off, struct row_ranks *ret,
                             struct err *err) ERR_MUST_CHECK;

/* How many columns a head takes: none, the bucket's, the keys'. */
uint32_t row_head_width(const struct bound_query *query);
/* Put the head's columns, and behind them the verb's own, into the result. */
enum err_code row_head_cols(const struct bound_query *query, const struct result_col *own,
                            uint32_t own_count, struct result *result,
                            struct err *err) ERR_MUST_CHECK;
/* The cells of a head, copied into the arena. */
enum err_code row_head_cells(const struct bound_query *query, const struct row_ranks *ranks,
                             const struct answer_buckets *buckets, uint32_t rank,
                             struct arena *arena, struct cell *out, struct err *err) ERR_MUST_CHECK;
