/* query/bind.h - from text to a bound query: lex, parse, resolve.
 *
 * Errors are ERR_INVALID with line and column; the message says what was expected there and, for
 * a misspelt word, the nearest known one. Words of the language that this version does not have yet are
 * ERR_UNSUPPORTED and name the word.
 */
#pragma once

#include "query/bound.h"
#include "query/query.h"

enum err_code query_bind(const struct query_request *request, const struct snapshot *snapshot,
                         struct io *io, struct arena *arena, const struct bound_query **ret,
                         struct err *err) ERR_MUST_CHECK;
/* Free what the arena cannot (compiled regular expressions). */
void query_unbind(const struct bound_query *query);
