#include "query/past.h"

#include "query/bind.h"

enum err_code past_of(const struct query_request *request, const struct ast_query *ast,
                      const struct snapshot *present, struct io *io, struct arena *arena,
                      struct snapshot **ret, int64_t *ret_now_ms, struct err *err)
{
    int64_t epoch_ms = 0;
    ERR_TRY(query_bind_epoch(request, ast, &ast->clauses.as_of, present, arena, &epoch_ms, err));
    *ret_now_ms = epoch_ms;
    if (epoch_ms == present->commit_ms) {
        *ret = NULL;
        return ERR_OK;
    }
    const struct snapshot_past past = {.rows_ms = epoch_ms,
                                       .late_ms = epoch_ms,
                                       .late_before_ms = INT64_MIN,
                                       .facts_ms = epoch_ms};
    return snapshot_of_past(present, &past, io, ret, err);
}
