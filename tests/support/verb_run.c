/* tests/support/verb_run.c */
#include "tests/support/verb_run.h"

#include "query/bind.h"
#include "query/run.h"

#include <inttypes.h>

static void print_cell(const struct cell *cell, struct buf *out)
{
    switch (cell->kind) {
    case CELL_NULL: buf_z(out, "-"); return;
    case CELL_I64: buf_printf(out, "%" PRId64, cell->i64); return;
    case CELL_F64: buf_printf(out, "%.17g", cell->f64); return;
    case CELL_DECIMAL: num_total_format(cell->decimal, out); return;
    case CELL_STRING: buf_str(out, cell->string); return;
    case CELL_BOOL: buf_z(out, cell->boolean ? "true" : "false"); return;
    case CELL_LIST: buf_printf(out, "[%u]", cell->list.count); return;
    }
}

static void print_row(const struct result *result, const struct cell *cells, struct buf *out)
{
    for (uint32_t c = 0; c < result->col_count; c++) {
        buf_z(out, c == 0 ? "" : "|");
        print_cell(&cells[c], out);
    }
    buf_z(out, "\n");
}

static enum err_code run_verb(struct query_run_ctx *run, struct result *result, struct err *err)
{
    switch (run->query->verb) {
    case VERB_FUNNEL: ERR_TRY(verb_funnel(run, result, err)); break;
    case VERB_RETENTION: ERR_TRY(verb_retention(run, result, err)); break;
    default: return err_set(err, ERR_UNSUPPORTED, "not a verb of these tests");
    }
    return run_shape(run, result, err);
}

static enum err_code answer(struct snap *snap, const struct query_request *request, struct buf *out,
                            struct err *err)
{
    struct query_run_ctx run = {.snapshot = snap_snapshot(snap), .request = request};
    struct result result = {0};

    budget_init(&run.budget, (size_t)1 << 30, "query memory");
    CLEANUP(arena_freep) struct arena *arena = arena_create(&run.budget);
    CLEANUP(arena_freep) struct arena *result_arena = arena_create(NULL);
    run.arena = arena;
    run.io = snap_io(snap);
    result.arena = result_arena;
    ERR_TRY(query_bind(request, run.snapshot, run.io, arena, &run.query, err));
    enum err_code code = run_verb(&run, &result, err);
    query_unbind(run.query);
    ERR_TRY(code);
    for (uint64_t r = 0; r < result.row_count; r++) {
        print_row(&result, result.cells + r * result.col_count, out);
    }
    buf_z(out, "= ");
    print_row(&result, result.totals, out);
    return ERR_OK;
}

const char *verb_run(struct snap *snap, const char *text, int64_t now_ms, enum verb_run_path path,
                     struct buf *out)
{
    struct err err = {0};
    struct query_request request = {
        .text = str_of(text),
        .now_ms = now_ms,
        .is_reference_path = path == VERB_RUN_REFERENCE,
    };

    buf_clear(out);
    if (answer(snap, &request, out, &err) != ERR_OK) {
        buf_clear(out);
        buf_printf(out, "error: %s: %s", err_code_name(err.code), err.message);
    }
    buf_u8(out, 0);
    ASSERT(!out->is_bad);
    return (const char *)out->ptr;
}
