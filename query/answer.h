/* query/answer.h - what verbs do to their rows at the end: choosing groups, copying cells into the
 * result, `order by`, `limit`.
 *
 * Thread: the calling thread's, after all tasks are merged.
 */
#pragma once

#include "query/keys.h"

/* Result type of the column of a `by` key. */
enum result_type answer_key_type(const struct by_key *key);

/* A group and the number that `top` ranks it by. */
struct answer_group {
    uint32_t number;
    uint64_t weight;
};
/* Bring the groups to be shown to the front, in canonical order, and return how many they are: all,
 * or with `top N` the N of greatest weight (ties: the first in canonical order). */
uint32_t answer_pick_groups(const struct bound_query *query, const struct groups *groups,
                            struct answer_group *picked, uint32_t count);

/* The cells of a group's keys, copied into the result; `is_other`: of the groups beyond `top`
 * instead. */
enum err_code answer_key_cells(const struct groups *groups, uint32_t key_count, uint32_t number,
                               bool is_other, struct arena *arena, struct cell *out,
                               struct err *err) ERR_MUST_CHECK;

/* Order over cells: null, then bools, numbers by value, strings by bytes, lists item by item. */
int cell_cmp(const struct cell *a, const struct cell *b);

/* Apply `order by` (rows that are equal by it stay as they are) and `limit`; adds to
 * meta.rows_total the rows there were, and to meta.rows_left_out those that the limit cut. */
enum err_code answer_finish(const struct bound_query *query, struct result *result,
                            struct arena *scratch, struct err *err) ERR_MUST_CHECK;

/* a / b as a cell, null where b is 0. */
struct cell answer_ratio(uint64_t a, uint64_t b);
