/* query/bind_cell_int.h - what the parts of the binder of `users of (...) in` share.
 *
 *     bind_cell.c          coordinates and their types; trend, distinct, funnel, retention, ltv
 *     bind_cell_habits.c   lifecycle, stickiness, conditions, churn
 *     bind_cell_journeys.c sequence, sessions, paths, attribution, absence, intervals
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

/* "NAME takes `what`". */
enum err_code cell_fail_type(struct cell_binder *c, const struct ast_coordinate *ast,
                             const char *what) ERR_MUST_CHECK;
/* A value of a key, in the form that groups have it in. */
enum err_code cell_value(struct cell_binder *c, const struct ast_coordinate *ast,
                         const struct by_key *key, struct cell *ret) ERR_MUST_CHECK;
/* An error where the subjects are values of `per KEY`, and no people. */
enum err_code cell_check_per(struct cell_binder *c) ERR_MUST_CHECK;
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

/* ---- bind_cell_journeys.c ---- */
bool cell_is_of_journeys(enum verb verb);
/* The same of one of these verbs. */
enum err_code cell_journey(struct cell_binder *c, const struct ast_coordinate *ast,
                           bool *ret_is_taken) ERR_MUST_CHECK;
const char *cell_journey_words(const struct bound_query *query);
/* Whether cells of its answer count people at all. */
enum err_code cell_check_journeys(struct cell_binder *c) ERR_MUST_CHECK;
/* Conversions without a touch have no value of the key, but a line. */
bool cell_is_untouched(const struct bound_query *query, const struct ast_coordinate *ast);
