/* storage/segment.h - the immutable columnar file: writing one from sources, opening one as a source.
 *
 * The format, version 1, is documented byte by byte at the top of storage/segment_format.h.
 * Reading any damaged byte gives ERR_CORRUPT that names file, column and block.
 *
 * Thread: a writer belongs to one thread. An open segment is immutable; what it loads lazily
 * (dictionaries, bitmaps, blocks) is published with one atomic swap each, so any thread may read.
 */
#pragma once

#include "storage/block_cache.h"
#include "storage/schema.h"
#include "storage/source.h"

struct segment;

struct segment_write_opts {
    uint32_t shard;
    uint64_t identity_version;
    /* Civil days of the data set's zone for the subject sets of single events: begins of `day_count` days
     * and the end of the last, ascending, covering all rows' times. From civil_days in query/ the storage
     * must not include; the caller passes them. NULL: UTC days. */
    const int64_t *day_begins_ms;
    uint32_t day_count;
};
struct segment_stats {
    uint64_t bytes;
    uint32_t row_count;
    int64_t time_min_ms, time_max_ms;
};

/* Write the rows of `sources` (each sorted; merged here by (subject, event_time, event_id bytes)) whose
 * event_time lies in [time_begin_ms, time_end_ms) to `path`: written under a temporary name, synced,
 * renamed; the caller syncs the directory. Subjects in `deleted` (may be NULL) are left out. Columns by
 * `schema`. No rows: ret_stats->row_count is 0 and there is no file. ERR_LIMIT above SEG_BLOCKS_MAX blocks. */
enum err_code segment_write(struct io *io, const char *path, const struct schema *schema,
                            const struct source *const *sources, uint32_t source_count,
                            int64_t time_begin_ms, int64_t time_end_ms,
                            const roaring_bitmap_t *deleted, const struct segment_write_opts *opts,
                            struct segment_stats *ret_stats, struct err *err) ERR_MUST_CHECK;

/* Rows of one subject and event are told apart by the company that they keep, beside the anonymous id of a user's row
 * (`weak`; NULL: it has none, or came under no user id): of each company the first stays. */
struct segment_company {
    void *arg;
    enum err_code (*of_row)(void *arg, uint32_t subject, int64_t time_ms, int64_t arrival_ms,
                            const struct str *weak, uint64_t *ret, struct err *err);
};
/* Of which rows, and which of them are of one kind. */
struct first_times_of {
    int64_t before_ms;                   /* they happened before it; INT64_MAX of sources that are first times themselves */
    uint32_t subject_begin, subject_end; /* of subjects in [begin, end); an end of UINT32_MAX is behind all */
    const roaring_bitmap_t *deleted;        /* may be NULL */
    const struct segment_company *company;  /* likewise */
};
/* Write what is left of rows of `sources` when they expire (first_times.h). Else as segment_write. */
enum err_code segment_write_first_times(struct io *io, const char *path,
                                        const struct source *const *sources, uint32_t source_count,
                                        const struct first_times_of *of,
                                        const struct segment_write_opts *opts,
                                        struct segment_stats *ret_stats,
                                        struct err *err) ERR_MUST_CHECK;

/* Open: reads and verifies header and footer; the rest when asked for. Its columns are bound to
 * `schema` by name and type; with schema NULL (inspect) columns are numbered in file order.
 * The file's descriptor stays open, so unlinking it does not disturb readers. */
enum err_code segment_open(struct io *io, const char *path, const struct schema *schema,
                           struct block_cache *cache, uint64_t id, struct segment **ret,
                           struct err *err) ERR_MUST_CHECK;
void segment_close(struct segment *segment);
static inline void segment_closep(struct segment **segment)
{
    segment_close(*segment);
}
const struct source *segment_source(const struct segment *segment);
const char *segment_path(const struct segment *segment);

/* ---- for `trackway inspect` and tests ---- */
struct segment_col_info {
    struct str name;
    uint32_t col; /* for source_read: a builtin, or COL_FIRST_PROP + n */
    enum col_type type;
    bool is_builtin;
    uint64_t value_count;
    uint64_t bytes;      /* all blocks */
    uint64_t dict_bytes; /* on disk */
    uint32_t dict_count;
};
struct segment_block_info {
    uint64_t off, bytes;
    uint32_t rows, value_count;
    const char *encoding; /* "dict+bits", "for", "delta", "rle", "const", "raw", "lz4", "uuid", ... */
    bool has_zone;
    int64_t zone_min, zone_max;
    uint64_t checksum;
};
struct segment_info {
    uint32_t version;
    uint64_t file_bytes, footer_bytes;
    uint32_t col_count;
    uint32_t event_count; /* different event names */
    uint32_t set_count;   /* subject sets */
    uint64_t set_bytes;
    uint32_t subject_ranges;
};
struct segment_info segment_info(const struct segment *segment);
struct segment_col_info segment_col_info(const struct segment *segment, uint32_t idx);
struct segment_block_info segment_block_info(const struct segment *segment, uint32_t idx,
                                             uint32_t block);
/* Read everything and check every checksum and invariant: order of rows, codes below the dictionary's
 * size, bitmaps equal to the columns, zones, sets. First error found is returned. */
enum err_code segment_verify(struct segment *segment, struct io *io, struct err *err) ERR_MUST_CHECK;
