/* storage/segment_write_int.h - the parts of the segment writer.
 *
 *    segment_merge.c     in which order the rows of the sources come, and feeding a column in that
 * order segment_encode.c    the dense values of one block -> block bytes segment_intern.c    the
 * dictionary of a column segment_sets.c      subject sets segment_write.c     the
 * file: sections, columns, footer
 *
 * A segment is written column after column. Only the order of the rows, and each row's subject,
 * time and event, are held for all rows (22 bytes a row, at most 92 MB); of a column, one block per
 * source.
 *
 * Thread: one writer each; plain memory, no budget.
 */
#pragma once

#include "storage/codec_str.h"
#include "storage/segment_int.h"

/* ---- segment_merge.c ---- */

struct merge {
    struct io *io;
    const struct source *const *sources;
    uint32_t source_count;
    uint32_t row_count;
    uint16_t *source_of; /* of each row of the result */
    uint32_t *row_of;    /* in that source */
    uint32_t *subjects;
    int64_t *times_ms;
    int64_t time_min_ms, time_max_ms;
};
struct merge_opts {
    int64_t time_begin_ms, time_end_ms;
    const roaring_bitmap_t *deleted;
    uint32_t subject_begin, subject_end; /* [begin, end); an end of UINT32_MAX is behind all */
};
enum err_code merge_plan(struct io *io, const struct source *const *sources, uint32_t source_count,
                         const struct merge_opts *opts, struct merge *ret,
                         struct err *err) ERR_MUST_CHECK;
void merge_done(struct merge *merge);

/* The values of one column in the order of the merge; rows are asked for in ascending order. */
struct feed;
enum err_code feed_create(const struct merge *merge, struct feed **ret,
                          struct err *err) ERR_MUST_CHECK;
void feed_free(struct feed *feed);
static inline void feed_freep(struct feed **feed)
{
    feed_free(*feed);
}
void feed_start(struct feed *feed, uint32_t col);
/* The row's value: a place in *ret_vec (valid until the next call), or UINT32_MAX for none. */
enum err_code feed_value(struct feed *feed, uint32_t row, const struct vec **ret_vec,
                         uint32_t *ret_place, struct err *err) ERR_MUST_CHECK;

/* ---- segment_firsts.c ---- */

/* Leave of the merge the rows that are first times. *ret_weak is malloc'd: bit i: row i, of those that are left, keeps its
 * anonymous id. */
enum err_code merge_keep_firsts(struct merge *merge, const struct segment_company *company,
                                uint64_t **ret_weak, struct err *err) ERR_MUST_CHECK;

/* ---- segment_intern.c ---- */

struct intern; /* the different values of a column */
enum err_code intern_create(uint32_t source_count, struct intern **ret,
                            struct err *err) ERR_MUST_CHECK;
void intern_free(struct intern *intern);
static inline void intern_freep(struct intern **intern)
{
    intern_free(*intern);
}
uint32_t intern_count(const struct intern *intern);
size_t intern_bytes(const struct intern *intern);
/* Number of the value, in order of arrival until intern_sort, by rank after it; new values only
 * before. */
enum err_code intern_str(struct intern *intern, struct str value, uint32_t *ret,
                         struct err *err) ERR_MUST_CHECK;
/* As intern_str for code `code` of the dictionary of source `source`: hashed once per code. */
enum err_code intern_code(struct intern *intern, uint32_t source, const struct dict *dict,
                          uint32_t code, uint32_t *ret, struct err *err) ERR_MUST_CHECK;
enum err_code intern_sort(struct intern *intern, struct err *err) ERR_MUST_CHECK;
/* After intern_sort: the dictionary's section. */
enum err_code intern_encode(const struct intern *intern, struct buf *out,
                            struct err *err) ERR_MUST_CHECK;

/* ---- segment_encode.c ---- */

/* The dense values of one block; which arrays are filled depends on the column. */
struct gather {
    uint32_t first_row, rows, value_count;
    uint64_t present[BLOCK_WORDS];
    uint64_t *ints;   /* [BLOCK_ROWS] codes, subjects, ms, bools; mantissas while encoding */
    struct num *nums; /* [BLOCK_ROWS] */
    uint64_t *lens;   /* [BLOCK_ROWS] of strings and lists */
    struct buf bytes; /* of strings */
    struct buf items; /* of lists: uint64_t codes, in this machine's order */
};
enum err_code gather_init(struct gather *gather, struct err *err) ERR_MUST_CHECK;
void gather_done(struct gather *gather);
void gather_begin(struct gather *gather, uint32_t first_row, uint32_t rows);

/* What the rows' events are, for PRESENCE_EVENTS; codes NULL while they are not known. */
struct encode_events {
    const uint32_t *codes; /* of every row of the segment */
    uint32_t count;
    uint32_t *scratch; /* 2 x count zeroes; left as they were */
};
/* Append the block of a column of `type` to `out`; `is_coded`: strings come as codes in ints.
 * `less` where not NULL are the rows' event times, for the arrival column. */
enum err_code block_encode(struct gather *gather, enum col_type type, bool is_subject,
                           bool is_coded, const int64_t *less, const struct encode_events *events,
                           struct buf *out, struct seg_block *ret, struct err *err) ERR_MUST_CHECK;

/* ---- segment_sets.c ---- */

struct set_out {
    uint64_t event_key; /* 0: any, else code + 1 */
    int64_t begin_ms, end_ms;
    uint32_t members;
    size_t bytes; /* in the bytes given along, one set after another */
};
struct sets_in {
    uint32_t row_count;
    const uint32_t *subjects;
    const int64_t *times_ms;
    const uint32_t *events; /* codes */
    uint32_t event_count;
    int64_t time_min_ms, time_max_ms;
    const int64_t *day_begins_ms; /* day_count and the end of the last, or NULL */
    uint32_t day_count;
};
/* Sets by (event, begin) in `out_sets` (struct set_out), their bytes in `out_bytes`. */
enum err_code subject_sets_build(const struct sets_in *in, size_t bytes_max, struct buf *out_sets,
                                 struct buf *out_bytes, struct err *err) ERR_MUST_CHECK;
