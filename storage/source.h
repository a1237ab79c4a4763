/* storage/source.h - rows as queries, flushes and compactions see them: one interface over segments
 * and memtables.
 *
 * A source is an immutable run of rows of one shard, sorted by (subject, event_time, event_id bytes), cut into
 * blocks of BLOCK_ROWS rows (the last one shorter). Row r lies in block r / BLOCK_ROWS. Columns are
 * read a block at a time into vectors that live in the caller's arena. Dictionaries are the source's
 * own: a code means nothing in another source.
 *
 * Column numbers: 0 .. COL_FIRST_PROP-1 are the built-in ones below; from COL_FIRST_PROP on they are
 * the data set's (schema.h): property p of the schema is column COL_FIRST_PROP + p.
 *
 * Thread: immutable; any thread, each with its own read_ctx.
 */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/io.h"
#include "storage/event.h"
#include "storage/subject_members.h"

#include <roaring/roaring.h>

#define BLOCK_ROWS     65536u
#define BLOCK_WORDS    (BLOCK_ROWS / 64)
#define SHARD_COUNT    16u
#define SEG_BLOCKS_MAX 64u /* rows of one source fit 32 bits with room to spare */

enum builtin_col {
    COL_SUBJECT = 0,  /* VEC_U32: subject number in the shard */
    COL_EVENT_TIME,   /* VEC_I64 */
    COL_ARRIVAL,      /* VEC_I64: received_at, server time */
    COL_EVENT_NAME,   /* VEC_CODE */
    COL_EVENT_ID,     /* VEC_BYTES or VEC_CODE */
    COL_USER_ID,      /* VEC_BYTES or VEC_CODE, sparse */
    COL_ANONYMOUS_ID, /* VEC_BYTES or VEC_CODE, sparse */
    COL_FIRST_PROP,
};

/* The id of whose a row is, VEC_BYTES, of a source with has_owner_ids alone: there it may be neither of the ids that
 * the row came with. */
#define COL_OWNER_ID (UINT32_MAX - 1)

/* A source's string dictionary. Segments sort theirs by bytes (is_sorted), memtables do not. */
struct dict {
    uint32_t count;
    bool is_sorted;
    const uint32_t *offs; /* count + 1 */
    const char *bytes;
    const struct str *values; /* or, where offs is NULL: count strings */
};
static inline struct str dict_value(const struct dict *dict, uint32_t code)
{
    if (dict->offs == NULL) {
        return dict->values[code];
    }
    return (struct str){dict->bytes + dict->offs[code], dict->offs[code + 1] - dict->offs[code]};
}

enum vec_kind {
    VEC_ABSENT, /* no row of the block has a value; value_count == 0 */
    VEC_U32,    /* u32[value_count] */
    VEC_I64,    /* i64[value_count] */
    VEC_NUM, /* i64[value_count] mantissas with one `scale`, or with scales[value_count] where not NULL */
    VEC_F64,   /* f64[value_count] */
    VEC_BOOL,  /* u8[value_count], 0 or 1 */
    VEC_CODE,  /* u32[value_count] into dict */
    VEC_BYTES, /* offs[value_count + 1] into bytes */
    VEC_LIST,  /* offs[value_count + 1] into u32 (codes of the items) and dict */
};

/* One column of one block. Values are dense: value k belongs to the k-th row whose `present` bit is
 * set; with present == NULL every row has one and value k is row k. */
struct vec {
    enum vec_kind kind;
    uint32_t rows;
    uint32_t value_count;
    const uint64_t *present; /* (rows + 63) / 64 words, or NULL */
    const uint32_t *u32;
    const int64_t *i64;
    const double *f64;
    const uint8_t *u8;
    const uint8_t *scales; /* VEC_NUM: one per value; NUM_DOUBLE marks a double's bits */
    uint8_t scale;
    const uint32_t *offs;
    const char *bytes;
    const struct dict *dict;
};

/* For each of `count` ascending rows its value's place in `vec`, or UINT32_MAX where it has none. */
void vec_places(const struct vec *vec, const uint16_t *rows, uint32_t count, uint32_t *out);
struct num vec_num(const struct vec *vec, uint32_t place); /* VEC_NUM, VEC_F64 */
struct str vec_str(const struct vec *vec, uint32_t place); /* VEC_CODE, VEC_BYTES */

/* For CLEANUP of a set that may not have been made. */
static inline void bitmap_freep(roaring_bitmap_t **bitmap)
{
    if (*bitmap != NULL) {
        roaring_bitmap_free(*bitmap);
    }
}

struct read_ahead;
struct read_held;

/* What a reader brings along: its memory, its ring, its counters. */
struct read_ctx {
    struct arena *arena;
    struct io *io;
    struct read_ahead
        *ahead; /* for source_prefetch (read_ahead.h); NULL: nothing is fetched ahead */
    struct read_held *
        held; /* (read_held.h) vectors may lie in the cache, until it is cleared; NULL: all in the arena */
    bool is_once;        /* what it reads it reads once: not worth room in the cache */
    uint64_t bytes_read; /* of blocks touched, cached or not */
    uint64_t blocks_read;
    uint64_t blocks_loaded; /* of these, from disk */
};

/* A column of a block that will be read, or (is_by_value) whose rows by value will be asked for; unless the block is kept in a form
 * that says the same. */
enum read_unless { READ_ALWAYS, READ_UNLESS_EVENT_ROWS, READ_UNLESS_JOURNEYS };
struct read_item {
    uint32_t col, block;
    bool is_by_value;
    enum read_unless unless;
};

/* The rows of one event in a block, ascending, and of each when and whose it is. */
struct event_rows {
    uint32_t count;
    const uint16_t *rows;
    const int64_t *times;
    const uint32_t *subjects;
};

/* The rows of a block by subject: run i is of subjects[i], and ends with row lasts[i]. */
struct block_journeys {
    uint32_t run_count;
    const uint32_t *subjects;
    const uint16_t *lasts;
    int64_t base_ms;
    const uint32_t *since_ms; /* by row: event_time - base_ms */
    const uint16_t *codes;    /* by row: of event_name */
};

/* Which values of a column of few values each subject has, over all of its rows in the source: bit c for the value of
 * code c, bit dict->count for a row without one. Its rows are [rows[i], rows[i + 1]). */
#define SUBJECT_VALUES_MAX 63u
struct subject_values {
    uint32_t count;
    const uint32_t *subjects; /* ascending: every subject of the source */
    const uint32_t *rows;     /* count + 1 */
    const uint64_t *masks;
    const struct dict *dict;
    /* The same turned over: who has a value, as words (bit i is subject `base` + i, a multiple of 64). word_count is 0
     * where subjects lie so far apart that words would be larger than masks. */
    uint32_t base, word_count;
    const uint64_t *having;  /* of code c: word_count words from c * word_count on, c <= dict->count */
    const uint64_t *several; /* who has more than one */
    const uint32_t *places;  /* by word: how many subjects lie before it */
};

#define SOURCE_DAY_MS INT64_C(86400000)
/* The day of UTC, since 1970. */
static inline int64_t source_day(int64_t time_ms)
{
    int64_t day = time_ms / SOURCE_DAY_MS;
    return day * SOURCE_DAY_MS > time_ms ? day - 1 : day;
}

/* The same by day of UTC (source_day) for subjects that have several values: each day on which one has rows, in order. */
struct subject_days {
    uint32_t count;
    const uint32_t *subjects; /* ascending; those with several bits in subject_values */
    const uint32_t *ends;     /* subject i has days[ends[i - 1]] .. days[ends[i] - 1], the first from 0 */
    const int32_t *days;
    const uint64_t *masks;
    /* The same turned over: the days on which some of them have rows, and who has which value there. turned_count is 0 where
     * days or values are so many that the table of ends would be large beside the rest. */
    uint32_t turned_count;
    const int32_t *turned_days;      /* ascending */
    const uint32_t *turned_ends;     /* of (day n, code c), c <= dict->count, in turned_subjects: [n * (dict->count + 1) + c] */
    const uint32_t *turned_subjects; /* ascending for each day and code */
};

/* Whose rows are a source's first and last, of those from some time on: of each subject its first row and its last, and of these
 * the nearest to either end, nearest first. Where subject_count is larger than a list, there are others, no nearer. */
#define SOURCE_ENDS_MAX 16u
struct source_end {
    int64_t time_ms;
    uint32_t subject;
};
struct source_ends {
    uint32_t subject_count, first_count, last_count;
    struct source_end first[SOURCE_ENDS_MAX];
    struct source_end last[SOURCE_ENDS_MAX];
};

/* What is told of the spans of time that a source has rows in: ascending subjects with two rows or more in the span, valid
 * until `take` returns. */
struct repeats_taker {
    void *arg;
    void (*take)(void *arg, uint32_t span, const uint32_t *subjects, uint32_t count);
};

/* Subjects with at least one event of `event` (a code, or SUBJECT_SET_ANY) in [begin_ms, end_ms). */
#define SUBJECT_SET_ANY UINT32_MAX
struct subject_set {
    int64_t begin_ms;
    int64_t end_ms;
    uint32_t set_idx; /* for source_subject_set */
};

/* Who did an event in each of some spans of time that follow one another, by a source's stored sets. */
struct span_ask {
    uint32_t event;       /* as of source_subject_sets */
    const int64_t *edges; /* span_count + 1, each after the one before */
    uint32_t span_count;
};
struct span_found {
    struct subject_members members;
    int64_t begin_ms, end_ms; /* what their sets cover of the span */
};
struct span_rows { /* sets cross a span's border here: its rows say more */
    int64_t begin_ms, end_ms;
};
struct span_place {
    int64_t begin_ms, end_ms;
    uint32_t count, base, word_count, item;
};
struct subject_spans {
    const struct span_place *places; /* by span */
    const uint64_t *items;
    const struct span_rows *rest;
    uint32_t rest_count;
};
static inline struct span_found subject_spans_at(const struct subject_spans *spans, uint32_t span)
{
    const struct span_place *place = &spans->places[span];
    const uint64_t *items = spans->items + place->item;
    struct span_found found = {.begin_ms = place->begin_ms, .end_ms = place->end_ms};
    if (place->word_count > 0) {
        found.members = (struct subject_members){.count = place->count,
                                                 .words = items,
                                                 .base = place->base,
                                                 .word_count = place->word_count};
    } else {
        found.members = members_of_list((const uint32_t *)(const void *)items, place->count);
    }
    return found;
}

struct source;
struct source_ops {
    enum err_code (*read)(const struct source *source, struct read_ctx *ctx, uint32_t col,
                          uint32_t block, struct vec *ret, struct err *err);
    enum err_code (*dict)(const struct source *source, struct read_ctx *ctx, uint32_t col,
                          const struct dict **ret, struct err *err);
    bool (*zone)(const struct source *source, uint32_t col, uint32_t block, int64_t *ret_min,
                 int64_t *ret_max);
    enum err_code (*value_rows)(const struct source *source, struct read_ctx *ctx, uint32_t col,
                                uint32_t code, uint32_t block, uint16_t *out_rows,
                                uint32_t *ret_count, struct err *err);
    bool (*has_value_rows)(const struct source *source, uint32_t col);
    /* NULL: they are gathered each time. *ret_found false where they are not kept side by side. */
    enum err_code (*event_rows)(const struct source *source, struct read_ctx *ctx, uint32_t code,
                                uint32_t block, struct event_rows *ret, bool *ret_found,
                                struct err *err);
    /* NULL: none are kept. */
    enum err_code (*block_journeys)(const struct source *source, struct read_ctx *ctx,
                                    uint32_t block, struct block_journeys *ret, bool *ret_found,
                                    struct err *err);
    /* NULL: none are kept. */
    enum err_code (*subject_values)(const struct source *source, struct read_ctx *ctx, uint32_t col,
                                    struct subject_values *ret, bool *ret_found, struct err *err);
    /* NULL: none are kept. */
    enum err_code (*subject_days)(const struct source *source, struct read_ctx *ctx, uint32_t col,
                                  const struct subject_values *values, struct subject_days *ret,
                                  bool *ret_found, struct err *err);
    /* NULL: none are kept. */
    enum err_code (*ends)(const struct source *source, struct read_ctx *ctx, int64_t from_ms,
                          struct source_ends *ret, bool *ret_found, struct err *err);
    /* NULL: none are kept. */
    enum err_code (*repeats)(const struct source *source, struct read_ctx *ctx,
                             const int64_t *edges, uint32_t span_count,
                             const struct repeats_taker *taker, struct err *err);
    enum err_code (*subject_sets)(const struct source *source, struct read_ctx *ctx, uint32_t event,
                                  const struct subject_set **ret, uint32_t *ret_count,
                                  struct err *err);
    enum err_code (*subject_set)(const struct source *source, struct read_ctx *ctx,
                                 uint32_t set_idx, const roaring_bitmap_t **ret, struct err *err);
    /* NULL: unions are made each time, and none is kept. */
    bool (*union_find)(const struct source *source, struct read_ctx *ctx,
                       const struct subject_set *sets, uint32_t count, struct subject_members *ret);
    void (*union_keep)(const struct source *source, struct read_ctx *ctx,
                       const struct subject_set *sets, uint32_t count,
                       const struct subject_members *members);
    bool (*spans_find)(const struct source *source, struct read_ctx *ctx,
                       const struct span_ask *ask, struct subject_spans *ret);
    void (*spans_keep)(const struct source *source, struct read_ctx *ctx,
                       const struct span_ask *ask, const struct span_found *found,
                       const struct span_rows *rest, uint32_t rest_count, uint64_t set_bytes);
    enum err_code (*subject_row)(const struct source *source, struct read_ctx *ctx,
                                 uint32_t subject, uint32_t *ret_row, struct err *err);
    /* NULL where all is in memory. */
    uint32_t (*prefetch)(const struct source *source, struct read_ctx *ctx,
                         const struct read_item *items, uint32_t count);
    uint32_t (*prefetch_sets)(const struct source *source, struct read_ctx *ctx,
                              const struct subject_set *sets, uint32_t count);
};

/* Which rows a snapshot of the past shows (store.h): those that arrived until arrived_ms; and, of what arrived later but until
 * late_arrived_ms, those that happened before late_before_ms. */
struct row_cut {
    int64_t arrived_ms, late_arrived_ms, late_before_ms;
};
static inline bool row_cut_shows(const struct row_cut *cut, int64_t time_ms, int64_t arrival_ms)
{
    return arrival_ms <= cut->arrived_ms ||
           (arrival_ms <= cut->late_arrived_ms && time_ms < cut->late_before_ms);
}

struct source {
    const struct source_ops *ops;
    uint32_t shard;
    uint32_t row_count;
    uint32_t block_count;
    int64_t time_min_ms, time_max_ms; /* of event_time, both included */
    uint32_t subject_first, subject_last;
    bool is_memory;            /* a memtable's view */
    bool is_first_times;       /* rows without properties, of what is expired (first_times.h): no events to count */
    bool has_owner_ids;        /* of rows that belong to others than they came under (identity.h) */
    uint64_t id;               /* unique in the data set; 0 for memtables */
    uint64_t identity_version; /* the binding version its subject numbers were given under */
    uint64_t bytes;            /* on disk, or in memory */
    const struct row_cut *cut; /* NULL: all rows are shown. Else readers leave out those that it does not show, and no set is kept */
};

static inline uint32_t source_block_rows(const struct source *source, uint32_t block)
{
    uint32_t left = source->row_count - block * BLOCK_ROWS;
    return left < BLOCK_ROWS ? left : BLOCK_ROWS;
}

/* The column of a block. A column that the source does not have is VEC_ABSENT, never an error. */
enum err_code source_read(const struct source *source, struct read_ctx *ctx, uint32_t col,
                          uint32_t block, struct vec *ret, struct err *err) ERR_MUST_CHECK;
/* The dictionary of a string or list column; *ret NULL where it has none (VEC_BYTES, absent). Lives as long as the source. */
enum err_code source_dict(const struct source *source, struct read_ctx *ctx, uint32_t col,
                          const struct dict **ret, struct err *err) ERR_MUST_CHECK;
/* Code of a value in the column's dictionary; *ret_found false where it is not in it. */
enum err_code source_code(const struct source *source, struct read_ctx *ctx, uint32_t col,
                          struct str value, bool *ret_found, uint32_t *ret_code,
                          struct err *err) ERR_MUST_CHECK;
/* Smallest and largest value of a time or decimal column in a block, where known: for COL_EVENT_TIME and
 * COL_ARRIVAL ms; for numbers the floor of the smallest and the ceiling of the largest value. */
bool source_zone(const struct source *source, uint32_t col, uint32_t block, int64_t *ret_min,
                 int64_t *ret_max);
/* Rows of the block (ascending, numbered within the block) whose value has this code, from the row
 * bitmap. Only where source_has_value_rows; it always holds for COL_EVENT_NAME. out_rows: BLOCK_ROWS long,
 * or NULL where only their number is wanted. */
bool source_has_value_rows(const struct source *source, uint32_t col);
enum err_code source_value_rows(const struct source *source, struct read_ctx *ctx, uint32_t col,
                                uint32_t code, uint32_t block, uint16_t *out_rows,
                                uint32_t *ret_count, struct err *err) ERR_MUST_CHECK;
/* The same for an event (a code of COL_EVENT_NAME), with times and subjects beside the rows, as often as sealed sources
 * keep them so in the block cache, held by ctx->held. *ret_found false where they do not: gather them. */
enum err_code source_event_rows(const struct source *source, struct read_ctx *ctx, uint32_t code,
                                uint32_t block, struct event_rows *ret, bool *ret_found,
                                struct err *err) ERR_MUST_CHECK;
/* Names, times and subjects of a block, kept in the block cache, held by ctx->held. *ret_found false where the source keeps none
 * (memtables; no room; times further apart than 32 bits of ms; more event names than 16 bits): read the columns. */
enum err_code source_block_journeys(const struct source *source, struct read_ctx *ctx,
                                    uint32_t block, struct block_journeys *ret, bool *ret_found,
                                    struct err *err) ERR_MUST_CHECK;
/* The values of each subject, made of the column when they are first asked for and kept in the block cache, held by
 * ctx->held. *ret_found false where the source keeps none (memtables), or the column is not one of at most
 * SUBJECT_VALUES_MAX strings. */
enum err_code source_subject_values(const struct source *source, struct read_ctx *ctx, uint32_t col,
                                    struct subject_values *ret, bool *ret_found,
                                    struct err *err) ERR_MUST_CHECK;
/* Of a column whose `values` are those at hand. *ret_found false where they are not kept: look at rows. */
enum err_code source_subject_days(const struct source *source, struct read_ctx *ctx, uint32_t col,
                                  const struct subject_values *values, struct subject_days *ret,
                                  bool *ret_found, struct err *err) ERR_MUST_CHECK;
/* Of the rows from from_ms on. Made by one pass over all times when first asked for, kept in the block cache. *ret_found false
 * where the source keeps none (memtables), or where from_ms is not a day's begin, nor INT64_MIN: then look at rows. */
enum err_code source_ends(const struct source *source, struct read_ctx *ctx, int64_t from_ms,
                          struct source_ends *ret, bool *ret_found,
                          struct err *err) ERR_MUST_CHECK;
/* Who has two rows or more, of whatever event, in span s = [edges[s], edges[s + 1]); edges ascend. Made by one pass over all
 * rows when these edges are first asked for, kept in the block cache. *ret_found false where the source keeps none
 * (memtables): then look at rows. */
enum err_code source_repeats(const struct source *source, struct read_ctx *ctx,
                             const int64_t *edges, uint32_t span_count,
                             const struct repeats_taker *taker, bool *ret_found,
                             struct err *err) ERR_MUST_CHECK;
/* The stored subject sets of an event, by begin_ms, disjoint in time and together covering all of its rows;
 * count 0 where the source keeps none (memtables): then read rows. */
enum err_code source_subject_sets(const struct source *source, struct read_ctx *ctx, uint32_t event,
                                  const struct subject_set **ret, uint32_t *ret_count,
                                  struct err *err) ERR_MUST_CHECK;
enum err_code source_subject_set(const struct source *source, struct read_ctx *ctx,
                                 uint32_t set_idx, const roaring_bitmap_t **ret,
                                 struct err *err) ERR_MUST_CHECK;
/* The union of neighbouring stored sets of one event (`sets` is a part of what source_subject_sets gave). Sealed sources keep unions in the block cache: source_union_find gives one that is there, held by ctx->held.
 * source_union makes it where need be; then it lies there or in the arena. */
bool source_union_find(const struct source *source, struct read_ctx *ctx,
                       const struct subject_set *sets, uint32_t count, struct subject_members *ret);
enum err_code source_union(const struct source *source, struct read_ctx *ctx,
                           const struct subject_set *sets, uint32_t count,
                           struct subject_members *ret, struct err *err) ERR_MUST_CHECK;
/* What source_spans_keep was given for this very question, if the source keeps it still, held by ctx->held. `found` is by
 * span, behind them one of all spans' members; `rest` what is left to rows; set_bytes of stored sets are in it. A source may keep it or not. */
bool source_spans_find(const struct source *source, struct read_ctx *ctx,
                       const struct span_ask *ask, struct subject_spans *ret);
void source_spans_keep(const struct source *source, struct read_ctx *ctx,
                       const struct span_ask *ask, const struct span_found *found,
                       const struct span_rows *rest, uint32_t rest_count, uint64_t set_bytes);
/* First row whose subject is >= `subject` (row_count where there is none): where a range of subjects starts. */
enum err_code source_subject_row(const struct source *source, struct read_ctx *ctx,
                                 uint32_t subject, uint32_t *ret_row,
                                 struct err *err) ERR_MUST_CHECK;

/* Fetch ahead: what the items need and is not in memory is read in one batch and held in ctx->ahead until
 * that is cleared, so that reading them finds it. Returns how many items, from the first, were seen to: fewer than
 * `count` where ctx->ahead is full. It is a hint and never fails: what could not be fetched is read when it is
 * asked for, and what is wrong with it is said there. */
uint32_t source_prefetch(const struct source *source, struct read_ctx *ctx,
                         const struct read_item *items, uint32_t count);
/* The same for subject sets of the source. */
uint32_t source_prefetch_sets(const struct source *source, struct read_ctx *ctx,
                              const struct subject_set *sets, uint32_t count);
