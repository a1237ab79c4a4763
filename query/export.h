/* query/export.h - an answer of any length, piece by piece: what an export sends.
 *
 *     ndjson   {"columns":[{"name":"user_id","type":"string"}],"dataset":"shop","epoch":8123,"warnings":[]}
 *              ["u_1"]
 *              ["u_2"]
 *              {"rows":2,"epoch":8123}              the trailer: a list without it is cut
 *     csv      user_id                              lines end with CRLF
 *              u_1
 *              u_2
 *              # rows=2 epoch=8123                  the same; a field that begins with # stands in quotes
 *
 *     of people   segment ..., users of (...) in ...: everybody, by the bytes of their ids
 *     of events   events SEL [columns (...)]: rows by (event_time, event_id), a page of them in memory (export_events.c); without
 *                 `columns` those that some row has, which are looked for before the first is sent
 *
 * People are found once, when the export is opened. Of them 16 bytes each are kept; their ids are readable as long as the
 * data set, so no snapshot is held while somebody reads slowly. Rows of events are read page by page from the snapshot,
 * which is pinned until the end.
 *
 * Memory: out of the query's budget, within that of all queries, until export_free.
 * Thread: one at a time.
 */
#pragma once

#include "query/query.h"

struct query_export;

/* Rows of events in a page; an answer hangs on it in nothing. */
#define EXPORT_PAGE_ROWS 16384u

/* Ask. ERR_INVALID for what is no list (and as query_run). *snapshot is the export's, and NULL, on success; it may be so after an error. The request,
 * and what it points to, must live as long as the export. */
enum err_code export_open(struct snapshot **snapshot, struct pool *pool, struct io *io,
                          const struct query_request *request, enum result_format format,
                          uint32_t page_rows, struct query_export **ret,
                          struct err *err) ERR_MUST_CHECK;
/* Append the next piece, of `bytes` or little more; *ret_more false with the last one, which ends with the trailer.
 * Errors as query_run; `io` is the calling thread's. */
enum err_code export_next(struct query_export *export, size_t bytes, struct io *io, struct buf *out,
                          bool *ret_more, struct err *err) ERR_MUST_CHECK;
/* Rows written so far. */
uint64_t export_rows(const struct query_export *export);
void export_free(struct query_export *export);
static inline void export_freep(struct query_export **export)
{
    export_free(*export);
}
