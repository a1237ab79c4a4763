/* query/past.h - the snapshot that a question as of an epoch is asked of.
 *
 * Thread: that of the query. Ownership: the snapshot is pinned, the caller unpins it.
 */
#pragma once

#include "query/ast.h"
#include "query/query.h"

/* *ret_now_ms: when the question is asked, at the epoch's instant. *ret NULL where the epoch is the present one: then that
 * snapshot will do. ERR_INVALID, with place, for an epoch that has not come. */
enum err_code past_of(const struct query_request *request, const struct ast_query *ast,
                      const struct snapshot *present, struct io *io, struct arena *arena,
                      struct snapshot **ret, int64_t *ret_now_ms, struct err *err) ERR_MUST_CHECK;
