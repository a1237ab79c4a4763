/* query/bind.h - from text to a bound query: lex, parse, resolve.
 *
 * Errors are ERR_INVALID with line and column; the message says what was expected there and, for
 * a misspelt word, the nearest known one. Words of the language that this version does not have yet are
 * ERR_UNSUPPORTED and name the word.
 */
#pragma once

#include "query/bound.h"
#include "query/query.h"

/* The same in two steps: the metrics are those of the snapshot's data set. What query_read gave is bound to this snapshot or to
 * another of the data set, with the same request but for `now`. */
struct ast_query;
enum err_code query_read(const struct query_request *request, const struct snapshot *snapshot,
                         struct arena *arena, const struct ast_query **ret,
                         struct err *err) ERR_MUST_CHECK;
enum err_code query_bind_read(const struct query_request *request, const struct ast_query *ast,
                              const struct snapshot *snapshot, struct io *io, struct arena *arena,
                              const struct bound_query **ret, struct err *err) ERR_MUST_CHECK;
/* The epoch that `value`, of a query's `as of` or `diff`, says: at most that of `present`. */
struct ast_value;
enum err_code query_bind_epoch(const struct query_request *request, const struct ast_query *ast,
                               const struct ast_value *value, const struct snapshot *present,
                               struct arena *arena, int64_t *ret, struct err *err) ERR_MUST_CHECK;
/* The commits that `restatements` is about: those in (after, until], at most until the present one. */
enum err_code query_bind_restatements(const struct query_request *request,
                                      const struct ast_query *ast, const struct snapshot *present,
                                      struct arena *arena, int64_t *ret_after_ms,
                                      int64_t *ret_until_ms, struct err *err) ERR_MUST_CHECK;
enum err_code query_bind(const struct query_request *request, const struct snapshot *snapshot,
                         struct io *io, struct arena *arena, const struct bound_query **ret,
                         struct err *err) ERR_MUST_CHECK;
/* Free what the arena cannot (compiled regular expressions). */
void query_unbind(const struct bound_query *query);
