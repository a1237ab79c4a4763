/* query/result.h - a table of answers and what it stands on.
 *
 * Cells are row-major, in the order of the columns. Times are already text (ISO 8601 in the query's
 * zone, or a civil date), because their form is part of the answer. Same events, same query, same `now`
 * and time-zone database: columns, rows and totals are the same bytes in every output form.
 *
 * Ownership: everything lives in the result's arena; result_free frees it whole.
 */
#pragma once

#include "storage/base/arena.h"
#include "storage/num.h"

enum cell_kind { CELL_NULL, CELL_I64, CELL_F64, CELL_DECIMAL, CELL_STRING, CELL_BOOL, CELL_LIST };
struct cell {
    enum cell_kind kind;
    union {
        int64_t i64;
        double f64;               /* finite */
        struct num_total decimal; /* exact */
        struct str string;
        bool boolean;
        struct {
            const struct str *items;
            uint32_t count;
        } list;
    };
};
/* The cell of a number: int64 where it is whole and fits, exact decimal, or double. */
struct cell cell_of_num(struct num n);
struct cell cell_of_total(struct num_total total);
/* An order over all cells: null, false, true, numbers by value, strings by bytes, lists. */
int cell_cmp(const struct cell *a, const struct cell *b);

enum result_type { RESULT_INT64, RESULT_NUMBER, RESULT_STRING, RESULT_BOOL, RESULT_TIME, RESULT_DATE, RESULT_LIST, RESULT_ANY };
const char *result_type_name(enum result_type type); /* "int64", "number", "string", "bool", "timestamp", "date", "list", "any" */
struct result_col {
    struct str name;
    enum result_type type;
};
struct result_meta {
    struct str dataset;
    uint64_t epoch;
    struct str watermark; /* ISO 8601, empty = no data */
    struct str history_from; /* ISO 8601: older events may have expired; empty = none have */
    bool exact;
    bool partial; /* the last bucket still runs */
    struct str time_zone, zone_version;
    struct str verb; /* "funnel": clients choose a drawing by it */
    uint64_t elapsed_us, rows_read, bytes_read, blocks_loaded, segments, segments_pruned, cached;
    uint64_t rows_cached, bytes_cached; /* of those read: what cached answers stand for; for metrics, not shown */
    uint64_t rows_total;   /* before top/limit cut */
    uint64_t rows_left_out;
    bool has_entries;         /* of a funnel with a window: */
    uint64_t entered, mature; /* attempts that began; those whose window was over at `now` */
    const struct str *warnings;
    uint32_t warning_count;
};
struct result {
    struct arena *arena;
    const struct result_col *cols;
    uint32_t col_count;
    struct cell *cells;
    uint64_t row_count;
    struct cell *totals; /* col_count cells, CELL_NULL where a column has none; NULL = the verb has no totals */
    struct result_meta meta;
};
void result_free(struct result *result);
static inline void result_freep(struct result **result)
{
    result_free(*result);
}

enum result_format { RESULT_JSON, RESULT_CSV, RESULT_NDJSON };
/* JSON: {"columns", "rows", "totals", "meta"}; CSV: RFC 4180 with a header line; NDJSON: one object per row. */
enum err_code result_write(const struct result *result, enum result_format format, struct buf *out,
                           struct err *err) ERR_MUST_CHECK;
