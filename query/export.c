/* query/export.c - exports: what is asked, the list of people, and the forms of both kinds. */
#include "query/export_int.h"

#include "query/result_int.h"
#include "query/run_people.h"
#include "storage/base/size.h"

#include <inttypes.h>
#include <stdlib.h>

#define EXPORT_MEMORY_BYTES ((size_t)1 << 30)

/* ---- which questions ---- */

static enum err_code check_query(const struct query_run_ctx *run, struct err *err)
{
    const struct bound_query *query = run->query;
    const char *words = query->is_explain             ? "explain"
                        : query->is_profile           ? "profile"
                        : query->is_why               ? "why"
                        : run->restatements != NULL   ? "restatements"
                        : run->diff != NULL           ? "diff"
                        : query->compare.name.len > 0 ? "compare"
                        : query->save.len > 0         ? "save cohort"
                                                      : NULL;
    if (words != NULL) {
        return err_set(err, ERR_INVALID,
                       "an export is a list as it is: without \"%s\"; ask that as a query", words);
    }
    if (run_asks_people(query)) {
        return ERR_OK;
    }
    if (query->is_list) {
        return err_set(
            err, ERR_INVALID,
            "\"list users\" with columns of its own is put in order as a whole, in memory: ask it "
            "as a "
            "query; who they are is exported by \"users of (...) in ...\" or \"segment ...\"");
    }
    if (query->verb != VERB_EVENTS) {
        return err_set(
            err, ERR_INVALID,
            "an export is a list of people (\"segment ...\", \"users of (...) in ...\") or of "
            "rows (\"events ...\"); what gives a table is asked as a query");
    }
    if (query->has_order) {
        return err_set(
            err, ERR_INVALID,
            "an export of events is in the order of (event_time, event_id): without \"order by\"");
    }
    return ERR_OK;
}

/* ---- people ---- */

static void people_donep(struct people *people)
{
    people_done(people);
}

static enum err_code take_people(struct query_export *export, struct query_run_ctx *run,
                                 struct err *err)
{
    static const struct result_col cols[] = {{{"user_id", 7}, RESULT_STRING}};
    CLEANUP(people_donep) struct people people;
    people_init(&people, run->arena);
    ERR_TRY(run_people(run, &people, err));
    ERR_TRY(run_people_ids(run, &people, export->arena, &export->ids, &export->id_count, err));
    if (run->query->has_limit && run->query->limit < export->id_count) {
        export->id_count = run->query->limit;
    }
    export->cols = cols;
    export->col_count = COUNT_OF(cols);
    return ERR_OK;
}

/* ---- opening ---- */

static enum err_code keep_meta(struct query_export *export, const struct query_run_ctx *run,
                               struct err *err)
{
    const struct bound_query *query = run->query;
    struct str *warnings = NULL;
    export->epoch = (uint64_t)run->snapshot->commit_ms;
    if (run->snapshot->dataset != NULL) {
        ERR_TRY(arena_str(export->arena, str_of(dataset_name(run->snapshot->dataset)),
                          &export->dataset, err));
    }
    ERR_TRY(ARENA_NEW(export->arena, query->warning_count, &warnings, err));
    for (uint32_t i = 0; i < query->warning_count; i++) {
        ERR_TRY(arena_str(export->arena, query->warnings[i], &warnings[i], err));
    }
    export->warnings = warnings;
    export->warning_count = query->warning_count;
    return ERR_OK;
}

/* Of query_ask: what is kept of the query when it is done. */
static enum err_code take(struct query_run_ctx *run, void *arg, struct err *err)
{
    struct query_export *export = arg;
    ERR_TRY(check_query(run, err));
    ERR_TRY(run_check(run, err));
    ERR_TRY(keep_meta(export, run, err));
    if (run->query->verb == VERB_EVENTS && run->query->cell == NULL) {
        return events_pages_open(export, run, err);
    }
    ERR_TRY(run_uses(run, err));
    ERR_TRY(run_exclude(run, err));
    return take_people(export, run, err);
}

enum err_code export_open(struct snapshot **snapshot, struct pool *pool, struct io *io,
                          const struct query_request *request, enum result_format format,
                          uint32_t page_rows, struct query_export **ret, struct err *err)
{
    CLEANUP(export_freep) struct query_export *export = calloc(1, sizeof(*export));
    if (export == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory: an export");
    }
    budget_init_within(&export->budget,
                       request->memory_bytes_max != 0 ? request->memory_bytes_max
                                                      : EXPORT_MEMORY_BYTES,
                       "query memory", request->memory);
    export->arena = arena_create(&export->budget);
    export->format = format;
    export->page_rows = page_rows;
    ASSERT(page_rows > 0 && (format == RESULT_NDJSON || format == RESULT_CSV));
    ERR_TRY(query_ask(*snapshot, pool, io, request, take, export, err));
    if (export->pages != NULL) {
        events_pages_begin(export->pages, TAKE(*snapshot), pool, request);
        ERR_TRY(events_pages_columns(export, io, err));
    } else {
        snapshot_unpin(TAKE(*snapshot)); /* ids outlive it */
    }
    *ret = TAKE(export);
    return ERR_OK;
}

void export_free(struct query_export *export)
{
    if (export == NULL) {
        return;
    }
    events_pages_free(export->pages);
    arena_free(export->arena);
    budget_end(&export->budget);
    free(export);
}

uint64_t export_rows(const struct query_export *export)
{
    return export->rows;
}

/* ---- the forms ---- */

static void put_head(const struct query_export *export, struct buf *out)
{
    const struct result head = {.cols = export->cols, .col_count = export->col_count};
    if (export->format == RESULT_CSV) {
        result_csv_head(&head, out);
        return;
    }
    result_json_columns(&head, out);
    buf_z(out, ",\"dataset\":");
    result_json_string(export->dataset, out);
    buf_printf(out, ",\"epoch\":%" PRIu64 ",\"warnings\":[", export->epoch);
    for (uint32_t i = 0; i < export->warning_count; i++) {
        buf_z(out, i > 0 ? "," : "");
        result_json_string(export->warnings[i], out);
    }
    buf_z(out, "]}\n");
}

static void put_row(const struct query_export *export, const struct cell *cells, struct buf *out)
{
    if (export->format == RESULT_CSV) {
        result_csv_row(cells, export->col_count, out);
    } else {
        result_json_row(cells, export->col_count, out);
        buf_u8(out, '\n');
    }
}

static void put_trailer(const struct query_export *export, struct buf *out)
{
    if (export->format == RESULT_CSV) {
        buf_printf(out, "# rows=%" PRIu64 " epoch=%" PRIu64 "\r\n", export->rows, export->epoch);
    } else {
        buf_printf(out, "{\"rows\":%" PRIu64 ",\"epoch\":%" PRIu64 "}\n", export->rows,
                   export->epoch);
    }
}

/* NULL after the last. */
static enum err_code next_row(struct query_export *export, struct io *io, struct cell *person,
                              const struct cell **ret, struct err *err)
{
    if (export->pages != NULL) {
        return events_pages_next(export, io, ret, err);
    }
    *ret = NULL;
    if (export->rows < export->id_count) {
        *person = (struct cell){.kind = CELL_STRING, .string = export->ids[export->rows]};
        *ret = person;
    }
    return ERR_OK;
}

enum err_code export_next(struct query_export *export, size_t bytes, struct io *io, struct buf *out,
                          bool *ret_more, struct err *err)
{
    size_t end = out->len + bytes;
    if (!export->is_begun) {
        export->is_begun = true;
        put_head(export, out);
    }
    *ret_more = true;
    while (*ret_more && out->len < end) {
        struct cell person;
        const struct cell *row = NULL;
        ERR_TRY(next_row(export, io, &person, &row, err));
        if (row == NULL) {
            put_trailer(export, out);
            *ret_more = false;
        } else {
            put_row(export, row, out);
            export->rows++;
        }
        ERR_TRY(buf_check(out, err));
    }
    return ERR_OK;
}
