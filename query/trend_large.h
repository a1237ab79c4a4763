/* query/trend_large.h - numbers of an answer that so much goes into that one thread is not left with it.
 *
 * A quantile takes passes over all values: bounds, then how many lie in each of a few thousand divisions, until these are
 * one value wide. Parts of the cells are passed over on all threads. A union of hashes goes in two rounds: parts of the cells
 * are cut by the hash, then each cut is united by itself. Rows of an answer are made by themselves, some in each part.
 *
 * Thread: the calling one, and the pool's for parts. Memory: the query's budget, until they return.
 */
#pragma once

#include "query/trend_value.h"

#define TREND_LARGE (1u << 15) /* values or hashes: from here on, parts pay */

/* Whether all values are mantissas at one scale, and many. */
bool trend_is_large_quantile(union acc_cell *const *cells, size_t count);
/* As acc_quantile. */
enum err_code trend_large_quantile(struct query_run_ctx *run, union acc_cell *const *cells,
                                   size_t count, double quantile, bool *ret_is_there,
                                   struct num *ret, struct err *err) ERR_MUST_CHECK;

/* Whether there are many hashes, and memory for a copy of them. */
bool trend_is_large_union(const struct query_run_ctx *run, union acc_cell *const *cells,
                          size_t count);
/* As acc_count_unique. */
enum err_code trend_large_union(struct query_run_ctx *run, union acc_cell *const *cells,
                                size_t count, uint64_t *ret, struct err *err) ERR_MUST_CHECK;

/* How many values and hashes the tasks' cells hold. */
uint64_t trend_weight(const struct trend_plan *plan, const struct run_tasks *tasks);

/* The rows of an answer, bucket by bucket and of each all groups. */
struct trend_row_range {
    const struct trend_group *groups;
    uint32_t group_count;
    uint32_t bucket_begin, bucket_end;
    struct cell *cells; /* the first measure of the first row, */
    uint32_t stride;    /* and how many cells further that of the next row is */
};
/* The measures of all rows, in parts. `values` is the calling thread's reader; text is put into values->strings. */
enum err_code trend_large_rows(struct query_run_ctx *run, struct trend_values *values,
                               const struct trend_row_range *rows, struct err *err) ERR_MUST_CHECK;
