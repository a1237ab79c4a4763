/* query/bind_cell_int.h - what the parts of the binder of `users of (...) in` share.
 *
 *     bind_cell.c          coordinates and their types; trend, distinct, funnel, retention, ltv
 *     bind_cell_habits.c   lifecycle, stickiness, conditions, churn
 */
#pragma once

#include "query/bind_int.h"
#include "query/result.h"

struct cell_binder {
    struct binder *b;
    struct bound_cell cell;
    struct cell *keys;
    bool *has_key;
};

/* A whole number in [min, max]. */
enum err_code cell_count(struct cell_binder *c, const struct ast_coordinate *ast, uint64_t min,
                         uint64_t max, uint32_t *ret) ERR_MUST_CHECK;
/* The begin of a bucket, of `time` or `cohort`. */
enum err_code cell_time(struct cell_binder *c, const struct ast_coordinate *ast) ERR_MUST_CHECK;

/* ---- bind_cell_habits.c ---- */
/* A column of one of its verbs' answers; *ret_is_taken false where it is none. */
enum err_code cell_habit(struct cell_binder *c, const struct ast_coordinate *ast,
                         bool *ret_is_taken) ERR_MUST_CHECK;
/* Which there are beside the keys, for messages: ", time and measure". */
const char *cell_habit_words(const struct bound_query *query);
