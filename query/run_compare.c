/* query/run_compare.c - a second series beside the first: the verb is run twice, and a column `series` says which row is of
 * which. Totals are those of the first. */
#include "query/run_people.h"

#include "storage/base/size.h"

/* A snapshot in which everybody else is masked, like the deleted. */
static enum err_code only_people(struct query_run_ctx *run, const struct people *people,
                                 struct snapshot **ret, struct err *err)
{
    struct snapshot *masked = NULL;
    people_init(&run->uncompared, run->arena);
    ERR_TRY(ARENA_NEW(run->arena, 1, &masked, err));
    *masked = *run->snapshot;
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        ERR_TRY(run_others(run, people, shard, &run->uncompared, err));
        ERR_TRY(people_or(&run->uncompared, shard, run->snapshot->deleted[shard], err));
        masked->deleted[shard] = people_of(&run->uncompared, shard);
    }
    *ret = masked;
    return ERR_OK;
}

static enum err_code run_second(struct query_run_ctx *run, run_table_fn fn, struct result *result,
                                struct err *err)
{
    const struct bound_query *own = run->query;
    struct snapshot *own_snapshot = run->snapshot;
    struct bound_query second = *own;
    if (own->compare.has_range) {
        second.from_ms = own->compare.from_ms;
        second.to_ms = own->compare.to_ms;
    }
    if (own->compare.people != NULL) {
        ERR_TRY(only_people(run, own->compare.people->people, &run->snapshot, err));
    }
    run->query = &second;
    enum err_code code = fn(run, result, err);
    run->query = own;
    run->snapshot = own_snapshot;
    return code;
}

/* The rows of a series, each behind its name. */
static struct cell *put_rows(const struct result *from, struct str series, struct cell *out)
{
    for (uint64_t r = 0; r < from->row_count; r++) {
        *out++ = (struct cell){.kind = CELL_STRING, .string = series};
        memcpy(out, from->cells + r * from->col_count, from->col_count * sizeof(*out));
        out += from->col_count;
    }
    return out;
}

static enum err_code put_together(struct query_run_ctx *run, const struct result *first,
                                  const struct result *second, struct result *result,
                                  struct err *err)
{
    struct result_col *cols = NULL;
    struct cell *cells = NULL;
    struct cell *totals = NULL;
    struct str name = {0};
    uint32_t col_count = first->col_count + 1;
    ASSERT(first->col_count == second->col_count);
    ERR_TRY(ARENA_NEW(result->arena, col_count, &cols, err));
    ERR_TRY(ARENA_NEW(result->arena, col_count, &totals, err));
    ERR_TRY(arena_str(result->arena, run->query->compare.name, &name, err));
    cols[0] = (struct result_col){STR("series"), RESULT_STRING};
    for (uint32_t c = 0; c < first->col_count; c++) {
        cols[c + 1] = first->cols[c];
        if (first->cols[c].type != second->cols[c].type) {
            cols[c + 1].type = RESULT_ANY; /* one of them has a line "other" */
        }
        if (first->totals != NULL) {
            totals[c + 1] = first->totals[c];
        }
    }
    result->cols = cols;
    result->col_count = col_count;
    result->totals = first->totals == NULL ? NULL : totals;
    ERR_TRY(run_result_rows(run, result, first->row_count + second->row_count, &cells, err));
    cells = put_rows(first, STR("current"), cells);
    (void)put_rows(second, name, cells);
    result->meta.rows_left_out = first->meta.rows_left_out + second->meta.rows_left_out;
    result->meta.rows_total = result->row_count + result->meta.rows_left_out;
    return ERR_OK;
}

enum err_code run_compared(struct query_run_ctx *run, run_table_fn fn, struct result *result,
                           struct err *err)
{
    struct result first = {.arena = result->arena};
    struct result second = {.arena = result->arena};
    ERR_TRY(fn(run, &first, err));
    ERR_TRY(run_second(run, fn, &second, err));
    result->meta = first.meta; /* what the verb says there: warnings, entries */
    return put_together(run, &first, &second, result, err);
}
