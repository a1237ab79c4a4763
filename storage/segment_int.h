/* storage/segment_int.h - an open segment, as segment_*.c see it. */
#pragma once

#include "storage/block_cache.h"
#include "storage/read_ahead.h"
#include "storage/segment.h"
#include "storage/segment_format.h"

struct seg_span {
    uint64_t off;
    uint32_t bytes;
    uint64_t checksum;
};

struct seg_block {
    struct seg_span span;
    uint32_t value_count;
    uint8_t shape, kind;
    bool is_lz4, has_zone;
    int64_t zone_min, zone_max;
};

struct seg_dict {
    struct dict dict;
    struct arena *arena; /* owns this struct too */
};

struct seg_col {
    struct str name;
    enum col_type type;
    bool is_builtin, has_dict;
    uint32_t col; /* for source_read; UINT32_MAX: not in the schema */
    uint64_t value_count;
    struct seg_span dict_span;
    uint32_t dict_count;
    uint64_t present; /* bit b: blocks[popcount of the bits below] is block b */
    const struct seg_block *blocks;
    _Atomic(struct seg_dict *) dict; /* release: dict_load */
};

struct seg_set {
    uint32_t event;      /* SUBJECT_SET_ANY or a code */
    uint32_t group;      /* whose section it lies in */
    uint32_t off, bytes; /* in that section */
    uint32_t members;
    _Atomic(roaring_bitmap_t *) bitmap; /* release: segment_subject_set */
};

struct segment {
    struct source source; /* first: a struct source of a segment is a struct segment */
    uint64_t uid;         /* of this open segment in this process: names its blocks in the cache */
    struct arena *arena;  /* all that is below, but for what is loaded lazily */
    struct io_file *file;
    struct block_cache *cache;
    const char *path;
    struct str label; /* the last two parts of the path */
    struct str created_by;
    uint64_t file_bytes, footer_off, footer_bytes;
    uint32_t col_count;
    struct seg_col *cols;
    uint32_t builtin_idx[COL_FIRST_PROP]; /* into cols, or UINT32_MAX */
    uint32_t prop_count;                  /* of the schema when it was opened */
    uint32_t *prop_idx;                   /* likewise, for each property of the schema */
    uint32_t set_group_count;
    struct seg_span *set_groups;
    uint32_t set_count;
    struct seg_set *sets;          /* by (event with any first, begin) */
    struct subject_set *set_infos; /* as handed out, side by side with sets */
    uint32_t range_first, range_count;
    uint32_t *range_rows; /* first row of each range */
};

/* The segment's column for a column number of source_read, or NULL. */
const struct seg_col *segment_find_col(const struct segment *segment, uint32_t col);
/* The block of a column, or NULL where no row has a value. */
static inline const struct seg_block *seg_col_block(const struct seg_col *col, uint32_t block)
{
    uint64_t bit = UINT64_C(1) << block;
    if ((col->present & bit) == 0) {
        return NULL;
    }
    return &col->blocks[__builtin_popcountll(col->present & (bit - 1))];
}
/* Put `segment "dir/file": ` before the message. */
enum err_code segment_fail(const struct segment *segment, struct err *err);

/* Parse header, trailer and footer of segment->file into the segment (segment_open.c). */
enum err_code segment_load(struct segment *segment, struct io *io, const struct schema *schema,
                           struct err *err) ERR_MUST_CHECK;

/* ---- sections: read, checked, and held while they are decoded ---- */

/* BITS_SLACK zero bytes follow bytes.len. */
struct section {
    struct str bytes;
    struct cache_block *block; /* holds it */
    bool was_loaded;
};
/* From what ctx holds, from the cache, or from the file. */
enum err_code section_read(const struct segment *segment, struct read_ctx *ctx,
                           const struct seg_span *span, struct section *ret,
                           struct err *err) ERR_MUST_CHECK;
void section_done(struct section *section);

/* ---- lazily loaded parts; each is published once ---- */
enum err_code segment_dict_load(const struct segment *segment, struct read_ctx *ctx,
                                const struct seg_col *col, const struct dict **ret,
                                struct err *err) ERR_MUST_CHECK;
/* Decode one block (segment_block.c). */
enum err_code segment_block_read(const struct segment *segment, struct read_ctx *ctx,
                                 const struct seg_col *col, uint32_t block, struct vec *ret,
                                 struct err *err) ERR_MUST_CHECK;
/* The same to make something else of it that is kept: the block itself is not, where it is not kept already. */
enum err_code segment_block_read_once(const struct segment *segment, struct read_ctx *ctx,
                                      const struct seg_col *col, uint32_t block, struct vec *ret,
                                      struct err *err) ERR_MUST_CHECK;

/* ---- rows by value (segment_postings.c) ---- */

struct cache_block;
/* The rows of a block in order of their codes. */
struct postings {
    struct cache_block *block; /* holds them */
    uint32_t count;            /* of different codes */
    const uint32_t *codes;     /* ascending */
    const uint32_t *starts;    /* count + 1, into rows */
    const uint16_t *rows;
};
/* Of a string column with a dictionary, or of bools. Cost: where they are not in the cache, the
 * block is decoded and sorted, about 2 ns a row. */
enum err_code segment_postings_pin(const struct segment *segment, struct read_ctx *ctx,
                                   const struct seg_col *col, uint32_t block, struct postings *ret,
                                   struct err *err) ERR_MUST_CHECK;
void postings_done(struct postings *postings);
/* The rows of a code, ascending; NULL where it has none. */
const uint16_t *postings_rows(const struct postings *postings, uint32_t code, uint32_t *ret_count);

/* The name of a block's rows by value in the cache: sections start at multiples of 8, so this is
 * the place of none. */
static inline uint64_t postings_off(const struct seg_block *said)
{
    return said->span.off + 1;
}
/* Likewise of the rows of events with their times, and of rows by subject, by the block of names. */
static inline uint64_t streams_off(const struct seg_block *said)
{
    return said->span.off + 3;
}
static inline uint64_t journeys_off(const struct seg_block *said)
{
    return said->span.off + 4;
}

/* source_block_journeys of a segment (segment_journeys.c). */
enum err_code segment_block_journeys(const struct source *source, struct read_ctx *ctx,
                                     uint32_t block, struct block_journeys *ret, bool *ret_found,
                                     struct err *err) ERR_MUST_CHECK;
/* source_event_rows of a segment (segment_streams.c). */
enum err_code segment_event_rows(const struct source *source, struct read_ctx *ctx, uint32_t code,
                                 uint32_t block, struct event_rows *ret, bool *ret_found,
                                 struct err *err) ERR_MUST_CHECK;

/* source_repeats of a segment (segment_repeats.c). */
enum err_code segment_repeats(const struct source *source, struct read_ctx *ctx,
                              const int64_t *edges, uint32_t span_count,
                              const struct repeats_taker *taker, struct err *err) ERR_MUST_CHECK;
/* source_subject_values of a segment (segment_values.c). */
enum err_code segment_subject_values(const struct source *source, struct read_ctx *ctx,
                                     uint32_t col, struct subject_values *ret, bool *ret_found,
                                     struct err *err) ERR_MUST_CHECK;
/* source_ends of a segment (segment_ends.c). */
enum err_code segment_ends(const struct source *source, struct read_ctx *ctx, int64_t from_ms,
                           struct source_ends *ret, bool *ret_found,
                           struct err *err) ERR_MUST_CHECK;
/* source_subject_days of a segment (segment_days.c). */
enum err_code segment_subject_days(const struct source *source, struct read_ctx *ctx, uint32_t col,
                                   const struct subject_values *values, struct subject_days *ret,
                                   bool *ret_found, struct err *err) ERR_MUST_CHECK;

/* ---- blocks as they are after decoding (segment_decoded.c) ---- */

/* The vector of a block that is kept decoded, pinned by ctx->held; false where none is kept, or nothing may be
 * held. */
bool segment_decoded_find(const struct segment *segment, struct read_ctx *ctx,
                          const struct seg_block *said, const struct dict *dict, struct vec *ret);
/* Keep what was decoded, where it is of fixed width and the cache has room: *vec then lies there, pinned by
 * ctx->held, and its arena memory may go. Nothing happens otherwise. */
void segment_decoded_keep(const struct segment *segment, struct read_ctx *ctx,
                          const struct seg_block *said, struct vec *vec);
/* Whether it is in the cache: then the block itself need not be fetched. */
bool segment_decoded_is_kept(const struct segment *segment, struct read_ctx *ctx,
                             const struct seg_block *said);

/* Unions of stored sets, kept likewise: the operations of a source. */
bool segment_union_find(const struct source *source, struct read_ctx *ctx,
                        const struct subject_set *sets, uint32_t count,
                        struct subject_members *ret);
void segment_union_keep(const struct source *source, struct read_ctx *ctx,
                        const struct subject_set *sets, uint32_t count,
                        const struct subject_members *members);

/* ---- spans of a question (segment_spans.c) ---- */
bool segment_spans_find(const struct source *source, struct read_ctx *ctx,
                        const struct span_ask *ask, struct subject_spans *ret);
void segment_spans_keep(const struct source *source, struct read_ctx *ctx,
                        const struct span_ask *ask, const struct span_found *found,
                        const struct span_rows *rest, uint32_t rest_count, uint64_t set_bytes);

/* ---- read-ahead (segment_ahead.c): source_prefetch and source_prefetch_sets of a segment ---- */
uint32_t segment_prefetch(const struct source *source, struct read_ctx *ctx,
                          const struct read_item *items, uint32_t count);
uint32_t segment_prefetch_sets(const struct source *source, struct read_ctx *ctx,
                               const struct subject_set *sets, uint32_t count);
