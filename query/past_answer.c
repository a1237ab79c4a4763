/* query/past_answer.c */
#include "query/past_answer.h"

#include "query/bind.h"
#include "query/past.h"
#include "query/run_people.h"

/* ---- asking ---- */

enum err_code past_answer_here(struct query_run_ctx *run, struct result *result, struct err *err)
{
    return run_asks_people(run->query) ? verb_people(run, result, err)
                                       : run_table(run, result, err);
}

static void inner_done(struct query_run_ctx *inner)
{
    if (inner->arena != NULL) {
        run_uses_done(inner);
        run_inner_done(inner);
    }
}

static void unbindp(const struct bound_query **query)
{
    if (*query != NULL) {
        query_unbind(*query);
    }
}

enum err_code past_answer(struct query_run_ctx *run, const struct ast_query *ast,
                          const struct snapshot *present, const struct snapshot_past *past,
                          struct result *result, struct err *err)
{
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    CLEANUP(unbindp) const struct bound_query *query = NULL;
    CLEANUP(inner_done) struct query_run_ctx inner = {.arena = NULL};
    ERR_TRY(run_check(run, err));
    ERR_TRY(past_snapshot(present, past, &run->budget, run->io, &snapshot, err));
    ERR_TRY(query_bind_read(run->request, ast, snapshot, run->io, run->arena, &query, err));
    run_inner_begin(run, query, &inner);
    inner.snapshot = snapshot;
    inner.is_source_used = NULL; /* those of another snapshot */
    ERR_TRY(run_uses(&inner, err));
    ERR_TRY(run_exclude(&inner, err));
    ERR_TRY(past_answer_here(&inner, result, err));
    run_inner_count(run, &inner);
    budget_give(&run->budget, snapshot->bytes); /* it goes here */
    return ERR_OK;
}

/* ---- its columns ---- */

uint32_t past_key_columns(const struct bound_query *query)
{
    uint32_t keys = query->key_count;
    uint32_t head = keys + (query->has_each ? 1 : 0);
    if (run_asks_people(query)) {
        return 0; /* how many there are */
    }
    switch (query->verb) {
    case VERB_RETENTION:
    case VERB_LTV: return keys + (query->retention.is_average ? 1 : 2);
    case VERB_LIFECYCLE: return keys + 1;
    case VERB_STICKINESS:
        return query->habits.is_dau_mau ? keys + 1 : keys + 1 + (query->habits.has_over ? 1 : 0);
    case VERB_FUNNEL:
        return query->funnel.table == FUNNEL_CORRELATION ? 1 : keys + 2 + (query->has_each ? 1 : 0);
    case VERB_CONDITIONS: return keys + 2;
    case VERB_PATHS: return head + (query->paths.shape == PATHS_EDGES ? 3 : 1);
    case VERB_SEQUENCE: return head + (query->sequence.mode == SEQUENCE_NEXT ? 1 : 0);
    case VERB_SEGMENT: return 0;
    default: return head;
    }
}

int past_keys_cmp(const struct cell *a, const struct cell *b, uint32_t key_count)
{
    for (uint32_t k = 0; k < key_count; k++) {
        int order = cell_cmp(&a[k], &b[k]);
        if (order != 0) {
            return order;
        }
    }
    return 0;
}

bool past_is_number(const struct result_col *col)
{
    return col->type == RESULT_INT64 || col->type == RESULT_NUMBER;
}

/* ---- its numbers ---- */

/* What is not there, or null, counts as 0. */
static struct num_total total_of(const struct cell *cell)
{
    switch (cell == NULL ? CELL_NULL : cell->kind) {
    case CELL_I64:
        return (struct num_total){.is_decimal = true, .m = cell->i64, .approx = (double)cell->i64};
    case CELL_F64: return (struct num_total){.approx = cell->f64};
    case CELL_DECIMAL: return cell->decimal;
    default: return (struct num_total){.is_decimal = true};
    }
}

struct cell past_minus(const struct cell *later, const struct cell *earlier)
{
    struct num_total a = total_of(later);
    struct num_total b = total_of(earlier);
    struct num_total sum = {.is_decimal = a.is_decimal && b.is_decimal,
                            .approx = a.approx - b.approx};
    while (sum.is_decimal && a.scale != b.scale) {
        struct num_total *lower = a.scale < b.scale ? &a : &b;
        sum.is_decimal = !__builtin_mul_overflow(lower->m, 10, &lower->m);
        lower->scale++;
    }
    sum.scale = a.scale;
    if (sum.is_decimal && __builtin_sub_overflow(a.m, b.m, &sum.m)) {
        sum.is_decimal = false;
    }
    return cell_of_total(sum);
}
