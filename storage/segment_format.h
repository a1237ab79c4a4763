/* storage/segment_format.h - the segment file, version 1, byte by byte.
 *
 * HOW TO READ A SEGMENT. Read the 32 bytes of the header and the 32 of the trailer; check their
 * magics and checksums. Read the footer that the trailer points at; check it. It is a list of
 * tagged entries; COLUMN entries name each column and say where its blocks and its dictionary lie,
 * each as a span (offset, length, checksum). To read column c of rows
 * [65536 b, 65536 (b + 1)): take the span of block b (no span: no row of the block has a value),
 * read it, check it, read the block head, then which rows have a value, then the values. Codes are
 * looked up in the column's dictionary. Everything is little-endian; checksums are XXH3-64 with
 * seed 0; every section starts at a multiple of 8 and the bytes between sections are zero, so that
 * a reader may round outward to whole pages for direct I/O.
 *
 *    +--------+----------------------------------------------------+--------+---------+
 *    | header | per column: dictionary, blocks                     | footer | trailer |
 *    |        | ... subject sets                                    |        |         |
 *    +--------+----------------------------------------------------+--------+---------+
 *
 * HEADER
 *    offset  bytes  field             rule
 *         0      8  magic             "TWSEGMT1", or of first times "TWFIRST1"
 *         8      4  version           1; a reader refuses others with ERR_UNSUPPORTED
 *        12      4  shard             0 .. 15, as in the footer
 *        16      8  zero              0
 *        24      8  checksum          of the 24 bytes before it
 *
 * TRAILER, the last 32 bytes
 *         0      8  footer_off        a multiple of 8
 *         8      8  footer_bytes      the footer ends where the trailer starts, but for padding to 8
 *        16      8  footer_checksum
 *        24      8  magic             "TWSEGEND"
 *
 * FOOTER: entries until its end, each
 *         0      2  kind              enum footer_kind
 *         2      2  flags             bit 0: a reader that does not know the kind must refuse the file
 *         4      4  body_bytes        so that unknown kinds can be skipped
 *         8      -  body              fields as below; a reader that knows the kind reads all of it
 *
 * In bodies, `v` is an unsigned LEB128 integer, `z` a zigzag one, `blob` v length and bytes, and `span` is
 * { v offset / 8, v length, u64 checksum }.
 *
 *    SEGMENT   first, once:
 *              u32 shard, u32 row_count (1 .. 64 x 65536), i64 time_min_ms, i64 time_max_ms,
 *              u32 subject_first, u32 subject_last, u64 identity_version, blob created_by
 *    COLUMN    builtins first, by number; then properties:
 *              u8 builtin (enum builtin_col, 255: property), u8 type (enum col_type), blob name, v value_count,
 *              u8 flags: bit 0 dictionary
 *                dictionary: span, v count
 *              u64 present: bit b: block b has values; for each block that has:
 *                u8 shape (enum block_shape), u8 kind (of its main stream), u8 flags: bit 0 LZ4, bit 1 zone;
 *                span; v value_count; zone: z min, v max - min
 *    SETS      v set count, v group count, for each group in order of (event, begin):
 *                v event (0: any, else code + 1), span, v count of its sets (1 or more), for each:
 *                  z begin_ms less the end_ms of the set before it in the group (0 at the first),
 *                  v end_ms - begin_ms, v bytes, v members
 *    RANGES    v first (subject_first >> 16), v count,
 *              for each range of 65,536 subjects: v its first row less that of the range before
 *
 * DICTIONARY section: a strings stream (codec_str.h) of `count` values, strictly ascending by bytes.
 *
 * BLOCK section
 *    offset  bytes  field             rule
 *         0      1  shape             as in the footer
 *         1      1  presence          enum presence_kind
 *         2      1  scale             of INTS in a number column: value = mantissa / 10^scale, 0 .. 18; else 0
 *         3      1  flags             bit 0: INTS are less the row's event_time (arrival only)
 *         4      4  value_count       1 .. rows of the block, as in the footer
 *         8      4  presence_bytes
 *        12      4  zero              0
 *        16      -  presence          ALL: none, each row has a value
 *                                     BITSET: u64 per 64 rows
 *                                     ROWS: u16 each
 *                                     RUNS: { u16 first, u16 length - 1 } each
 *                                     EVENTS: u32 event codes, ascending: the rows of these events, as the
 *                                     block of event_name has them
 *                   padding           zeroes to a multiple of 8
 *                   values            one for each present row, in row order:
 *        INTS     integer stream (codec_int.h): codes where the column has a dictionary; subject numbers;
 *                 milliseconds; bools as 0 and 1; mantissas
 *        STRS     strings stream (codec_str.h): string columns without a dictionary
 *        DOUBLES  box of f64 bits, 8 bytes each
 *        MIXED    box of one scale per value (255: a double, its bits in place of the mantissa), then an
 *                 integer stream of mantissas: numbers that no one scale can hold
 *        LISTS    integer stream of lengths, u32 item count, u32 zero, integer stream of items' codes
 *
 * A box is u8 is_lz4, 3 zeroes, u32 raw_bytes, u32 stored_bytes, payload.
 *
 * A property that all rows of certain events carry and no others do, as most do, costs no presence
 * at all beyond their codes (EVENTS). LZ4 is used over strings and doubles where it saves 5 %,
 * never over integer streams: those stay random-access by mini-blocks of 128.
 *
 * Rows by value are not stored: the codes of a block say it already, and are sorted when asked for
 * (segment_postings.c). Stored bitmaps of event_name took 1.15 bytes a row beside 0.63 of its codes.
 *
 * SUBJECT SETS: sets of subject numbers (codec_set.h), those of a group one after another in one
 * section. For an event (or any), the sets are disjoint in time, each as tight as its rows
 * [first, last + 1 ms), never wider than an hour of a civil day (any), a civil day, or, where these
 * would take more than a twentieth of the file, a day (any), or the segment; together they cover all of
 * its rows. A group is sets of about 32 KiB, so that one set costs no more than that to read.
 *
 * A FILE OF FIRST TIMES (first_times.h; 000017.first) is laid out alike, under a magic of its own, "TWFIRST1", version
 * FIRST_TIMES_VERSION. Its rows have subject, event_time, arrival, event_name and, of rows that came under a user id, the
 * anonymous_id; every event_id is empty, which costs a byte or two a block; there is no other column.
 *
 * The file is written under a temporary name, synced, renamed, and its directory synced.
 */
#pragma once

#include "storage/source.h"

#define SEGMENT_MAGIC         "TWSEGMT1"
#define FIRST_TIMES_MAGIC     "TWFIRST1"
#define SEGMENT_END_MAGIC     "TWSEGEND"
#define SEGMENT_VERSION       1u
#define FIRST_TIMES_VERSION   1u
#define SEGMENT_HEADER_BYTES  32u
#define SEGMENT_TRAILER_BYTES 32u
#define SEGMENT_ALIGN         8u
#define SEGMENT_ROWS_MAX      (SEG_BLOCKS_MAX * BLOCK_ROWS)
#define SEGMENT_FOOTER_MAX    (UINT64_C(1) << 30)
#define SEGMENT_SECTION_MAX   (UINT32_C(3) << 30)
#define SEGMENT_ITEMS_MAX     (UINT32_C(1) << 28) /* of all lists of a block */
#define SEGMENT_CREATED_BY    "trackway 0.1.0"

enum footer_kind { FOOTER_SEGMENT = 1, FOOTER_COLUMN, FOOTER_SETS, FOOTER_RANGES };
#define FOOTER_FLAG_REQUIRED 1u
#define FOOTER_ENTRY_BYTES   8u

#define FOOTER_PROPERTY   255u /* in place of a builtin's number */
#define FOOTER_COL_DICT   1u
#define FOOTER_BLOCK_LZ4  1u
#define FOOTER_BLOCK_ZONE 2u

enum block_shape { SHAPE_INTS = 1, SHAPE_STRS, SHAPE_DOUBLES, SHAPE_MIXED, SHAPE_LISTS };
enum presence_kind {
    PRESENCE_ALL = 0,
    PRESENCE_BITSET,
    PRESENCE_ROWS,
    PRESENCE_RUNS,
    PRESENCE_EVENTS,
};
#define BLOCK_HEAD_BYTES     16u
#define BLOCK_FLAG_LESS_TIME 1u
#define BOX_HEAD_BYTES       12u
#define PRESENCE_EVENTS_MAX  256u
#define VALUE_ROWS_CODES_MAX                                                                       \
    1024u /* a column of more values has no rows by value, but for event_name */

/* The built-in columns as the footer names and types them. */
struct builtin_col_def {
    const char *name;
    enum col_type type;
    bool is_required; /* every row has a value */
};
extern const struct builtin_col_def builtin_col_defs[COL_FIRST_PROP];
