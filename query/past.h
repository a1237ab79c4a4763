/* query/past.h - the snapshot that a question as of an epoch, or with an identity of its own, is asked of.
 *
 * Thread: that of the query. Ownership: the snapshot is pinned, the caller unpins it.
 */
#pragma once

#include "query/ast.h"
#include "query/query.h"

/* A snapshot of the past within the budget of the query, which pays for it until it ends. */
enum err_code past_snapshot(const struct snapshot *present, const struct snapshot_past *past,
                            struct budget *budget, struct io *io, struct snapshot **ret,
                            struct err *err) ERR_MUST_CHECK;
/* Whether its rows count for whom they belonged to when they came (`identity event_time`). Where nothing was ever said of who
 * is who that is as now. */
bool past_is_by_arrival(const struct ast_query *ast, const struct snapshot *present);
/* Whether the present snapshot shows just that. */
bool past_is_present(const struct snapshot *present, const struct snapshot_past *past);
/* *ret_now_ms: when the question is asked, at the epoch's instant; left alone where it names none. *ret NULL where the present
 * snapshot will do. ERR_INVALID, with place, for an epoch that has not come. */
enum err_code past_of(const struct query_request *request, const struct ast_query *ast,
                      const struct snapshot *present, struct io *io, struct arena *arena,
                      struct snapshot **ret, int64_t *ret_now_ms, struct err *err) ERR_MUST_CHECK;
