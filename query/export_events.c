/* query/export_events.c - rows of events for an export, page by page.
 *
 *     [from ................................................ to)     what is left
 *     [ window )                                                     what a page looks at: its first rows
 *
 * Segments are in the order of subjects, so a page is found by looking at all rows of a window of time and keeping the first.
 * A window that had more is entered again behind the last row, and the next one is made as much shorter; where a window had
 * few, the next is twice as long. So a row is looked at a few times, whatever there is in memory or on disk, and the pages
 * together are the order of (event_time, event_id), wherever they are cut.
 *
 * Without `columns` the columns are those that some row has, as the verb shows them. They stand before the rows, so they are
 * looked for before (export_columns.c); with a limit, by reading its pages twice. */
#include "query/export_int.h"

#include "query/events_page.h"
#include "query/grow.h"
#include "query/run_people.h"
#include "query/saturating.h"
#include "storage/base/size.h"

#include <stdlib.h>

#define FIRST_WINDOWS 64u /* parts of the range that the first window is one of */

struct events_pages {
    struct snapshot *snapshot;
    struct pool *pool;
    const struct query_request *request;
    uint64_t page_rows;

    int64_t from_ms, to_ms;
    uint64_t window_ms; /* 1 and more */
    bool has_limit;
    uint64_t limit_left;
    bool has_after;
    struct events_place after;
    struct buf after_id; /* its id */

    bool has_columns; /* the query says which */
    bool is_first;    /* while names are gathered */
    struct str *names;
    uint32_t name_count, name_cap;

    struct result *page; /* of the export's budget */
    uint64_t at;         /* its next row */
};

/* ---- opening ---- */

/* What pages show: NULL where the query says it, and while it is found out. */
static const struct events_columns *shown_columns(const struct events_pages *pages,
                                                  struct events_columns *storage)
{
    *storage = (struct events_columns){pages->names, pages->name_count};
    return pages->has_columns || pages->is_first ? NULL : storage;
}

static enum err_code take_columns(struct query_export *export, struct query_run_ctx *run,
                                  struct err *err)
{
    struct bound_query none = *run->query;
    const struct bound_query *own = run->query;
    struct result empty = {.arena = export->arena};
    struct events_place last = {0};
    struct events_columns shown;
    none.from_ms = 0;
    none.to_ms = 0;
    run->query = &none;
    enum err_code code =
        events_page(run, NULL, shown_columns(export->pages, &shown), &empty, &last, err);
    run->query = own;
    export->cols = empty.cols;
    export->col_count = empty.col_count;
    return code;
}

enum err_code events_pages_open(struct query_export *export, struct query_run_ctx *run,
                                struct err *err)
{
    const struct bound_query *query = run->query;
    const struct snapshot *snapshot = run->snapshot;
    struct events_pages *pages = NULL;
    ERR_TRY(ARENA_NEW(export->arena, 1, &pages, err));
    export->pages = pages;
    pages->has_columns = query->column_count > 0;
    if (pages->has_columns) {
        ERR_TRY(take_columns(export, run, err));
    }
    pages->from_ms = MAX_OF(query->from_ms, snapshot->time_min_ms);
    pages->to_ms = query->to_ms;
    if (snapshot->time_max_ms < query->to_ms) {
        pages->to_ms = snapshot->time_max_ms == INT64_MAX ? INT64_MAX : snapshot->time_max_ms + 1;
    }
    if (pages->from_ms < pages->to_ms) {
        uint64_t span_ms = (uint64_t)pages->to_ms - (uint64_t)pages->from_ms;
        pages->window_ms = span_ms / FIRST_WINDOWS + 1;
    }
    /* "events" has a limit of its own where the query gives none; an export has not */
    pages->has_limit = query->is_limit_given;
    pages->page_rows = export->page_rows;
    pages->limit_left = query->limit;
    return ERR_OK;
}

void events_pages_begin(struct events_pages *pages, struct snapshot *snapshot, struct pool *pool,
                        const struct query_request *request)
{
    pages->snapshot = snapshot;
    pages->pool = pool;
    pages->request = request;
}

void events_pages_free(struct events_pages *pages)
{
    if (pages == NULL) {
        return;
    }
    if (pages->page != NULL) {
        result_free(pages->page);
    }
    if (pages->snapshot != NULL) {
        snapshot_unpin(pages->snapshot);
    }
    buf_done(&pages->after_id);
}

/* ---- a page ---- */

struct page_ask {
    struct events_pages *pages;
    struct result *page;
    int64_t end_ms;
    struct events_place last;
};

static enum err_code keep_place(struct events_pages *pages, struct events_place last,
                                struct err *err)
{
    buf_clear(&pages->after_id);
    buf_str(&pages->after_id, last.event_id);
    ERR_TRY(buf_check(&pages->after_id, err));
    pages->after = (struct events_place){last.time_ms, buf_as_str(&pages->after_id)};
    pages->has_after = true;
    return ERR_OK;
}

/* Go on behind the page: in the window, where it has more rows, else behind the window. */
static enum err_code go_on(const struct page_ask *ask, struct err *err)
{
    struct events_pages *pages = ask->pages;
    uint64_t found = ask->page->row_count;
    uint64_t total = ask->page->meta.rows_total;
    pages->limit_left -= pages->has_limit ? found : 0;
    if (total > found) {
        ERR_TRY(keep_place(pages, ask->last, err));
        pages->from_ms = ask->last.time_ms;
        pages->window_ms = MAX_OF(pages->window_ms / (total / pages->page_rows + 1), UINT64_C(1));
        return ERR_OK;
    }
    pages->has_after = false;
    pages->from_ms = ask->end_ms;
    if (total <= pages->page_rows / 4 && pages->window_ms <= UINT64_MAX / 2) {
        pages->window_ms *= 2;
    }
    return ERR_OK;
}

/* Of query_ask. */
static enum err_code read_page(struct query_run_ctx *run, void *arg, struct err *err)
{
    struct page_ask *ask = arg;
    struct events_pages *pages = ask->pages;
    struct bound_query query = *run->query;
    const struct bound_query *own = run->query;
    ERR_TRY(run_uses(run, err));
    ERR_TRY(run_exclude(run, err));
    query.from_ms = pages->from_ms;
    query.to_ms = ask->end_ms;
    query.has_limit = true;
    query.limit = pages->has_limit ? MIN_OF(pages->limit_left, pages->page_rows) : pages->page_rows;
    run->query = &query;
    struct events_columns shown;
    enum err_code code = events_page(run, pages->has_after ? &pages->after : NULL,
                                     shown_columns(pages, &shown), ask->page, &ask->last, err);
    run->query = own;
    ERR_TRY(code);
    return go_on(ask, err);
}

static enum err_code page_create(struct query_export *export, struct result **ret, struct err *err)
{
    struct arena *arena = arena_create(&export->budget);
    struct result *page = NULL;
    if (ARENA_NEW(arena, 1, &page, err) != ERR_OK) {
        arena_free(arena);
        return err->code;
    }
    page->arena = arena;
    *ret = page;
    return ERR_OK;
}

/* Rows in pages->page, or none left. */
static enum err_code next_page(struct query_export *export, struct io *io, struct err *err)
{
    struct events_pages *pages = export->pages;
    bool has_rows = false;
    while (!has_rows && pages->from_ms < pages->to_ms &&
           (!pages->has_limit || pages->limit_left > 0)) {
        if (pages->page != NULL) {
            result_free(TAKE(pages->page));
        }
        ERR_TRY(page_create(export, &pages->page, err));
        int64_t end_ms = ms_add_saturating(pages->from_ms, pages->window_ms);
        struct page_ask ask = {
            .pages = pages, .page = pages->page, .end_ms = MIN_OF(end_ms, pages->to_ms)};
        ERR_TRY(query_ask(pages->snapshot, pages->pool, io, pages->request, read_page, &ask, err));
        pages->at = 0;
        has_rows = pages->page->row_count > 0;
        ASSERT(pages->is_first || pages->page->col_count == export->col_count);
    }
    return ERR_OK;
}

/* ---- which columns ---- */

static enum err_code add_name(void *arg, struct str name, struct err *err)
{
    struct query_export *export = arg;
    struct events_pages *pages = export->pages;
    for (uint32_t i = 0; i < pages->name_count; i++) {
        if (str_eq(pages->names[i], name)) {
            return ERR_OK;
        }
    }
    ERR_TRY(GROW(export->arena, &pages->names, pages->name_count, &pages->name_cap, err));
    return arena_str(export->arena, name, &pages->names[pages->name_count++], err);
}

static enum err_code gather_names(struct query_export *export, struct io *io, struct err *err)
{
    struct events_pages *pages = export->pages;
    while (true) {
        ERR_TRY(next_page(export, io, err));
        if (pages->page == NULL || pages->at == pages->page->row_count) {
            return ERR_OK;
        }
        for (uint32_t c = 0; c < pages->page->col_count; c++) {
            ERR_TRY(add_name(export, pages->page->cols[c].name, err));
        }
        pages->at = pages->page->row_count;
    }
}

/* Of query_ask: those of no row at all, to begin with, or those that are known by now, in order. */
static enum err_code ask_columns(struct query_run_ctx *run, void *arg, struct err *err)
{
    struct query_export *export = arg;
    ERR_TRY(take_columns(export, run, err));
    for (uint32_t c = 0; c < export->col_count; c++) {
        ERR_TRY(add_name(export, export->cols[c].name, err));
    }
    return ERR_OK;
}

/* Of query_ask. */
static enum err_code ask_used(struct query_run_ctx *run, void *arg, struct err *err)
{
    struct query_export *export = arg;
    struct bound_query query = *run->query;
    const struct bound_query *own = run->query;
    ERR_TRY(run_uses(run, err));
    ERR_TRY(run_exclude(run, err));
    query.from_ms = export->pages->from_ms;
    query.to_ms = export->pages->to_ms;
    run->query = &query;
    enum err_code code = export_used_columns(run, add_name, export, err);
    run->query = own;
    return code;
}

enum err_code events_pages_columns(struct query_export *export, struct io *io, struct err *err)
{
    struct events_pages *pages = export->pages;
    const struct events_pages start = *pages;
    if (pages->has_columns) {
        return ERR_OK;
    }
    pages->is_first = true;
    ERR_TRY(query_ask(pages->snapshot, pages->pool, io, pages->request, ask_columns, export, err));
    if (pages->has_limit) {
        ERR_TRY(gather_names(export, io, err));
    } else if (pages->from_ms < pages->to_ms) {
        ERR_TRY(query_ask(pages->snapshot, pages->pool, io, pages->request, ask_used, export, err));
    }
    pages->is_first = false;
    pages->from_ms = start.from_ms;
    pages->window_ms = start.window_ms;
    pages->limit_left = start.limit_left;
    pages->has_after = false;
    if (pages->page != NULL) {
        result_free(TAKE(pages->page));
    }
    return query_ask(pages->snapshot, pages->pool, io, pages->request, ask_columns, export, err);
}

/* ---- rows ---- */

enum err_code events_pages_next(struct query_export *export, struct io *io, const struct cell **ret,
                                struct err *err)
{
    struct events_pages *pages = export->pages;
    *ret = NULL;
    if (pages->page == NULL || pages->at == pages->page->row_count) {
        ERR_TRY(next_page(export, io, err));
    }
    if (pages->page != NULL && pages->at < pages->page->row_count) {
        *ret = pages->page->cells + pages->at * pages->page->col_count;
        pages->at++;
    }
    return ERR_OK;
}
