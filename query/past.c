#include "query/past.h"

#include "query/bind.h"

enum err_code past_snapshot(const struct snapshot *present, const struct snapshot_past *past,
                            struct budget *budget, struct io *io, struct snapshot **ret,
                            struct err *err)
{
    CLEANUP(snapshot_unpinp) struct snapshot *made = NULL;
    size_t used = atomic_load_explicit(&budget->used_bytes, memory_order_relaxed);
    uint64_t left = budget->max_bytes > used ? budget->max_bytes - used : 0;
    ERR_TRY(snapshot_of_past(present, past, budget->max_bytes == 0 ? UINT64_MAX : left, io, &made,
                             err));
    ERR_TRY(budget_take(budget, made->bytes, err));
    *ret = TAKE(made);
    return ERR_OK;
}

bool past_is_by_arrival(const struct ast_query *ast, const struct snapshot *present)
{
    return ast->clauses.is_event_time && present->has_facts;
}

bool past_is_present(const struct snapshot *present, const struct snapshot_past *past)
{
    return !past->is_by_arrival && past->rows_ms == present->commit_ms &&
           past->late_ms == present->commit_ms && past->facts_ms == present->commit_ms;
}

enum err_code past_of(const struct query_request *request, const struct ast_query *ast,
                      const struct snapshot *present, struct io *io, struct arena *arena,
                      struct snapshot **ret, int64_t *ret_now_ms, struct err *err)
{
    int64_t epoch_ms = present->commit_ms;
    if (ast->clauses.as_of.place.line != 0) {
        ERR_TRY(
            query_bind_epoch(request, ast, &ast->clauses.as_of, present, arena, &epoch_ms, err));
        *ret_now_ms = epoch_ms;
    }
    const struct snapshot_past past = {.rows_ms = epoch_ms,
                                       .late_ms = epoch_ms,
                                       .late_before_ms = INT64_MIN,
                                       .facts_ms = epoch_ms,
                                       .is_by_arrival = past_is_by_arrival(ast, present)};
    *ret = NULL;
    return past_is_present(present, &past)
               ? ERR_OK
               : past_snapshot(present, &past, arena_budget(arena), io, ret, err);
}
