/* query/scan.h - the rows of one source that a query is about, block by block.
 *
 * A scan is given selectors, each with its own time range and its bit, and a `where`. For every block that
 * can hold a match it yields the matching rows in order, with subject, time and the mask of the selectors
 * that each row meets (mask != 0). Blocks are pruned by time zone maps and by the posting lists of the named events; predicates
 * are evaluated once per dictionary entry where the column has a dictionary; only blocks with candidates are read.
 *
 * A scan knows which blocks it will read, so it has them fetched in batches, a few MiB ahead and in two steps: the names
 * of the blocks that pruning by time leaves, then the other columns of those that have a row of a named event. What only
 * rows that pass their predicates are asked for is fetched ahead while the last block had such rows.
 *
 * Arrays live in the scan's scratch arena until the next scan_next.
 *
 * Thread: one worker.
 */
#pragma once

#include "query/bound.h"

struct scan_want {
    uint32_t selector; /* of the bound query: bit number in the masks */
    int64_t begin_ms, end_ms; /* event_time in [begin, end) */
};
struct scan_range { /* rows of the source */
    uint32_t begin, end;
};
/* Of which subjects the rows of an event are wanted: bit i is subject base + i. */
struct scan_keep {
    uint32_t base;
    size_t word_count;
    const uint64_t *words[QUERY_STEPS_MAX]; /* by selector; an event of several goes by the first. NULL: of all */
};
struct scan_spec {
    const struct bound_query *query;
    const struct scan_want *wants;
    uint32_t want_count;
    uint32_t subject_begin, subject_end; /* [begin, end); 0, UINT32_MAX = all */
    const roaring_bitmap_t *deleted;     /* subjects left out; NULL = none */
    const struct scan_keep *keep;        /* all of whose selectors name their events; NULL = all rows are wanted */
    const struct scan_range *ranges;     /* only these rows, ascending; NULL = all */
    uint32_t range_count;
    bool wants_journeys; /* blocks whose wanted rows are many may come as journeys (scan_block.journeys), */
    const struct field *journeys_field; /* where scan_vec_is_looked_up of this field; NULL: whatever fields say */
    bool no_subjects;                    /* scan_block.subjects is not looked at, and NULL */
    bool has_expired;                    /* rows that are expired count as well (first_ever.h) */
    bool no_index;                       /* read all rows, fetch nothing ahead: the reference path */
    const uint32_t *cols;                /* that scan_field will be asked for, to be fetched ahead; */
    uint32_t col_count;                  /* others are read when they are asked for */
};
struct scan_block {
    uint32_t block;
    uint32_t count;
    const uint16_t *rows;     /* within the block, ascending */
    const uint32_t *subjects;
    const int64_t *times;
    const uint64_t *masks;
    /* As journeys: the arrays above are NULL; [first, count) are all rows of the subject range, wanted or not, deleted subjects'
     * too. A row's mask, which may be 0, is made up of the spans that it lies in. */
    const struct block_journeys *journeys;
    uint32_t first;
    const struct scan_time_span *spans;
    uint32_t span_count; /* at least 1 */
};
/* Rows in [begin, end), of times since the journeys' base; is_whole: all of the block are. */
struct scan_time_span {
    uint64_t begin, end;
    bool is_whole;
    const uint64_t *mask_of_code;
};
/* How the rows of a block are found. */
enum scan_path {
    SCAN_ALL_ROWS,  /* of any event: all */
    SCAN_STREAMS,   /* of few events, whose rows are kept with times and subjects: merged */
    SCAN_ONE_EVENT, /* the rows of one event */
    SCAN_FEW_ROWS,  /* of several events: one bit a row */
    SCAN_CODES,     /* of several events, many rows: one pass over the names */
    SCAN_JOURNEYS,  /* likewise, where rows are kept by subject, and left so */
    SCAN_TERMS,     /* by the terms of `where`: one bit a row */
    SCAN_RANGES,    /* those of given subjects */
    SCAN_REFERENCE, /* all, names compared as text */
    SCAN_PATHS,
};
const char *scan_path_name(enum scan_path path); /* "streams of few events" */
enum scan_pruned { SCAN_NOT_PRUNED, SCAN_PRUNED_TIME, SCAN_PRUNED_NAME, SCAN_PRUNED_WHERE };
struct scan_counters {
    uint64_t rows_read;     /* candidates looked at */
    uint64_t rows_matched;
    uint64_t blocks_total, blocks_pruned_time, blocks_pruned_index, blocks_scanned;
    uint64_t blocks_by[SCAN_PATHS]; /* of those with candidates */
    uint64_t time_us;               /* within the scan; only where the query is profiled */
    enum scan_pruned pruned;        /* the source as a whole: why */
    bool is_source_pruned;
};
struct query_run_ctx; /* run.h: deadline, cancel flag, counters */
struct scan;

/* `arena` is the worker's; `io` its ring. The scan keeps pointers to both and to `spec`. */
enum err_code scan_open(const struct source *source, const struct scan_spec *spec,
                        struct query_run_ctx *run, struct arena *arena, struct io *io,
                        struct scan **ret, struct err *err) ERR_MUST_CHECK;
/* Next block with at least one match; *ret_more false at the end. ERR_TIMEOUT, ERR_CANCELLED between blocks. */
enum err_code scan_next(struct scan *scan, struct scan_block *ret, bool *ret_more,
                        struct err *err) ERR_MUST_CHECK;
/* Instead of scan_next: what a walk over all blocks would do, as far as times and lists of rows tell. In *ret
 * rows_read is how many there are of the named events. */
enum err_code scan_foresee(struct scan *scan, struct scan_counters *ret, struct err *err) ERR_MUST_CHECK;
/* Of blocks that came as journeys, `rows` matched: who walks them knows. */
void scan_count_matched(struct scan *scan, uint64_t rows);
/* Each row has a code, out of so few that a table of all of them is kept for each source. */
#define SCAN_LOOKED_UP_MAX 1024u
bool scan_vec_is_looked_up(const struct vec *vec);
/* A field's values for the rows of the current block: `ret_vec` is the block's vector and
 * ret_places[i] the place of row i's value in it, UINT32_MAX where it has none. */
enum err_code scan_field(struct scan *scan, const struct field *field, struct vec *ret_vec,
                         const uint32_t **ret_places, struct err *err) ERR_MUST_CHECK;
/* The block's vector alone. */
enum err_code scan_vec(struct scan *scan, const struct field *field, struct vec *ret,
                       struct err *err) ERR_MUST_CHECK;
/* The block's event names as codes of the source's dictionary, for labels. */
struct scan_counters scan_counters(const struct scan *scan);
struct read_ctx *scan_read_ctx(struct scan *scan);
void scan_close(struct scan *scan);
static inline void scan_closep(struct scan **scan)
{
    if (*scan != NULL) {
        scan_close(*scan);
    }
}
