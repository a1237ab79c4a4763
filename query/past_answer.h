/* query/past_answer.h - a question asked again of other states of the data, and its numbers side by side: what `diff` and
 * `restatements` are made of.
 *
 * Thread: that of the query.
 */
#pragma once

#include "query/ast.h"
#include "query/run.h"

/* The answer of `ast` of this state, bound anew with the run's request. The snapshot and its memory are given back. */
enum err_code past_answer(struct query_run_ctx *run, const struct ast_query *ast,
                          const struct snapshot *present, const struct snapshot_past *past,
                          struct result *result, struct err *err) ERR_MUST_CHECK;
/* The same of the run's own query and snapshot. */
enum err_code past_answer_here(struct query_run_ctx *run, struct result *result,
                               struct err *err) ERR_MUST_CHECK;

/* How many of the answer's first columns are keys: a line's place, and no number that may move. */
uint32_t past_key_columns(const struct bound_query *query);
/* The keys of two lines, in order of columns. */
int past_keys_cmp(const struct cell *a, const struct cell *b, uint32_t key_count);
bool past_is_number(const struct result_col *col);
/* Later less earlier; what is null or not there (NULL) counts as 0. Exact between decimals, as far as 38 digits go. */
struct cell past_minus(const struct cell *later, const struct cell *earlier);
