/* query/answer.h - what funnel and retention do to their groups at the end: choosing those that are
 * shown, and their keys as cells of the result.
 *
 * Thread: the calling thread's, after all tasks are merged.
 */
#pragma once

#include "query/keys.h"

/* The column of key k; the line of the groups beyond `top` says "other" in the first one. */
enum err_code answer_key_col(const struct bound_query *query, uint32_t k, bool has_other,
                             struct arena *arena, struct result_col *ret,
                             struct err *err) ERR_MUST_CHECK;

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

/* Say in meta that `left_out` rows are missing from those that the result has now. */
void answer_left_out(struct result *result, uint64_t left_out);

/* a / b as a cell, null where b is 0. */
struct cell answer_ratio(uint64_t a, uint64_t b);
