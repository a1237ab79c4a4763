/* client/inspect_segment.h - what a segment file tells of itself, as text or JSON. */
#pragma once

#include "storage/base/buf.h"
#include "storage/segment.h"

/* Bytes of one column, in one segment or summed over many. */
struct inspect_col {
    struct str name;
    enum col_type type;
    bool is_builtin;
    uint64_t value_count, bytes, dict_bytes;
    uint64_t block_count;
};
struct inspect_opts {
    uint64_t rows;      /* show this many of the first */
    const char *column; /* show its blocks; NULL: of none */
    bool is_json;
    bool has_colour;
};

/* "const 3, dict+bits 61": the encodings of a column's blocks and how often each occurs. */
void inspect_encodings(const struct segment *segment, uint32_t idx, struct buf *out);
/* Milliseconds since the epoch in ISO 8601, UTC. */
void inspect_time(int64_t ts_ms, struct buf *out);
uint64_t inspect_col_bytes(const struct inspect_col *col);
struct inspect_col inspect_col_of(const struct segment *segment, uint32_t idx);

/* One segment. ERR_NOT_FOUND where there is no column `opts->column`; ERR_CORRUPT while reading rows. */
enum err_code inspect_segment(const struct segment *segment, struct io *io,
                              const struct inspect_opts *opts, struct buf *out,
                              struct err *err) ERR_MUST_CHECK;
/* The columns as a table; shares of `total_bytes` and bytes per one of `rows`. `encodings` may be NULL. */
enum err_code inspect_cols_draw(const struct inspect_col *cols, uint32_t count,
                                const struct segment *encodings_of, uint64_t rows,
                                uint64_t total_bytes, bool has_colour, struct buf *out,
                                struct err *err) ERR_MUST_CHECK;
void inspect_cols_json(const struct inspect_col *cols, uint32_t count,
                       const struct segment *encodings_of, struct buf *out);
