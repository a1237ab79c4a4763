/* query/export_int.h - what the two kinds of exports share. */
#pragma once

#include "query/export.h"
#include "query/run.h"

struct query_export {
    struct budget budget;
    struct arena *arena; /* of the budget */
    enum result_format format;
    struct str dataset;
    uint64_t epoch;
    const struct str *warnings;
    uint32_t warning_count;
    const struct result_col *cols;
    uint32_t col_count;
    uint32_t page_rows;
    bool is_begun;
    uint64_t rows; /* written */

    /* of people */
    const struct str *ids;
    uint64_t id_count;

    /* of events */
    struct events_pages *pages; /* NULL: of people */
};

/* ---- export_events.c ---- */

/* Rows to be read page by page; `run` has bound the query. The pages own what they need of it but the snapshot. */
enum err_code events_pages_open(struct query_export *export, struct query_run_ctx *run,
                                struct err *err) ERR_MUST_CHECK;
/* Which snapshot, and by whom: before the first page. */
void events_pages_begin(struct events_pages *pages, struct snapshot *snapshot, struct pool *pool,
                        const struct query_request *request);
/* Without `columns` in the query: find out which there are. Before the first page. */
enum err_code events_pages_columns(struct query_export *export, struct io *io,
                                   struct err *err) ERR_MUST_CHECK;
/* The next row, readable until the next call; NULL after the last. */
enum err_code events_pages_next(struct query_export *export, struct io *io, const struct cell **ret,
                                struct err *err) ERR_MUST_CHECK;
void events_pages_free(struct events_pages *pages);

/* ---- export_columns.c ---- */
/* Properties that some row of run->query, an `events`, has: each by its name, once for each type. */
typedef enum err_code (*export_column_fn)(void *arg, struct str name, struct err *err);
enum err_code export_used_columns(struct query_run_ctx *run, export_column_fn take, void *arg,
                                  struct err *err) ERR_MUST_CHECK;
