/* storage/segment_write.c - writing a segment file; format: segment_format.h, parts:
 * segment_write_int.h.
 *
 * Columns are written one after another, each in one pass over the sources, or two where a
 * dictionary is tried. The event name comes before the properties: presence and subject sets are
 * told by its codes.
 */
#include "storage/base/hash.h"
#include "storage/base/size.h"
#include "storage/segment_write_int.h"

#include <stdlib.h>

#define PENDING_BYTES   ((size_t)1 << 20)
#define DICT_COUNT_MAX  (4u << 20)
#define DICT_BYTES_MAX  ((size_t)256 << 20)
#define SET_GROUP_BYTES (32u << 10) /* a group of sets ends with the set that reaches this */
#define SETS_SHARE      20u         /* subject sets take at most one byte in so many */

struct writer {
    struct io *io;
    struct io_file *file;
    uint64_t off;       /* where `pending` will lie */
    struct buf pending; /* sections not yet written */
    struct merge *merge;
    struct feed *feed;
    struct gather gather;
    struct buf block;
    struct buf footer;
    struct encode_events events;
    uint32_t *event_codes; /* of every row; what `events` points at once it is whole */
    const uint64_t *weak;  /* of first times: bit i: row i keeps its anonymous id; else NULL */
};

static void writer_done(struct writer *writer)
{
    io_close(writer->file);
    buf_done(&writer->pending);
    feed_free(writer->feed);
    gather_done(&writer->gather);
    buf_done(&writer->block);
    buf_done(&writer->footer);
    free(writer->events.scratch);
    free(writer->event_codes);
}

/* ---- sections ---- */

static enum err_code flush_pending(struct writer *writer, struct err *err)
{
    ERR_TRY(buf_check(&writer->pending, err));
    if (writer->pending.len > 0) {
        ERR_TRY(io_write(writer->io, writer->file, writer->off, writer->pending.ptr,
                         writer->pending.len, err));
        writer->off += writer->pending.len;
        buf_clear(&writer->pending);
    }
    return ERR_OK;
}

static enum err_code put_section(struct writer *writer, struct str bytes, struct seg_span *ret,
                                 struct err *err)
{
    if (bytes.len > SEGMENT_SECTION_MAX) {
        return err_set(err, ERR_LIMIT, "section of %zu bytes, at most %u", bytes.len,
                       SEGMENT_SECTION_MAX);
    }
    *ret = (struct seg_span){
        .off = writer->off + writer->pending.len,
        .bytes = (uint32_t)bytes.len,
        .checksum = checksum64(bytes.ptr, bytes.len),
    };
    buf_str(&writer->pending, bytes);
    buf_align(&writer->pending, SEGMENT_ALIGN); /* `off` is always a multiple too */
    if (writer->pending.len >= PENDING_BYTES) {
        return flush_pending(writer, err);
    }
    return buf_check(&writer->pending, err);
}

static void footer_span(struct buf *footer, const struct seg_span *span)
{
    buf_varint(footer, span->off / SEGMENT_ALIGN);
    buf_varint(footer, span->bytes);
    buf_u64(footer, span->checksum);
}

static enum err_code footer_entry(struct writer *writer, enum footer_kind kind,
                                  const struct buf *body, struct err *err)
{
    ERR_TRY(buf_check(body, err));
    if (body->len > UINT32_MAX) {
        return err_set(err, ERR_LIMIT, "footer entry of %zu bytes", body->len);
    }
    buf_u16(&writer->footer, (uint16_t)kind);
    buf_u16(&writer->footer, 0);
    buf_u32(&writer->footer, (uint32_t)body->len);
    buf_append(&writer->footer, body->ptr, body->len);
    return buf_check(&writer->footer, err);
}

/* ---- one column ---- */

/* A row's value as it is written: of first times without what they do not keep. */
static enum err_code row_value(struct writer *writer, uint32_t col, uint32_t row,
                               const struct vec **ret_vec, uint32_t *ret_place, struct err *err)
{
    ERR_TRY(feed_value(writer->feed, row, ret_vec, ret_place, err));
    if (writer->weak != NULL && col == COL_ANONYMOUS_ID &&
        (writer->weak[row / 64] >> (row % 64) & 1) == 0) {
        *ret_place = UINT32_MAX;
    }
    return ERR_OK;
}

struct column {
    uint32_t col;
    struct str name;
    enum col_type type;
    bool is_builtin;
    struct intern *intern; /* NULL: strings without a dictionary, or no strings */
    uint64_t value_count;
    struct seg_span dict_span;
    uint64_t present;
    struct seg_block blocks[SEG_BLOCKS_MAX];
};

static void column_done(struct column *column)
{
    intern_free(column->intern);
}

static bool column_is_subject(const struct column *column)
{
    return column->is_builtin && column->col == COL_SUBJECT;
}

/* Lists and event names have a dictionary whatever it costs: nothing else stores them. */
static bool column_must_dict(const struct column *column)
{
    return column->type == COL_LIST || (column->is_builtin && column->col == COL_EVENT_NAME);
}

/* Number or code of a string value. */
static enum err_code value_code(struct intern *intern, uint32_t source, const struct vec *vec,
                                uint32_t place, uint32_t *ret, struct err *err)
{
    if (vec->kind == VEC_CODE) {
        return intern_code(intern, source, vec->dict, vec->u32[place], ret, err);
    }
    return intern_str(intern, vec_str(vec, place), ret, err);
}

static enum err_code collect_value(struct intern *intern, uint32_t source, const struct vec *vec,
                                   uint32_t place, struct err *err)
{
    uint32_t number = 0;
    if (vec->kind != VEC_LIST) {
        return value_code(intern, source, vec, place, &number, err);
    }
    for (uint32_t i = vec->offs[place]; i < vec->offs[place + 1]; i++) {
        ERR_TRY(intern_code(intern, source, vec->dict, vec->u32[i], &number, err));
    }
    return ERR_OK;
}

/* First pass over a string or list column: its dictionary, or none where it would not pay. */
static enum err_code column_dict(struct writer *writer, struct column *column, struct err *err)
{
    bool must = column_must_dict(column);
    if ((column->type != COL_STRING && column->type != COL_LIST) ||
        (column->is_builtin && column->col == COL_EVENT_ID)) { /* ids of events are all different */
        return ERR_OK;
    }
    CLEANUP(intern_freep) struct intern *intern = NULL;
    ERR_TRY(intern_create(writer->merge->source_count, &intern, err));
    feed_start(writer->feed, column->col);
    uint32_t row_count = writer->merge->row_count;
    uint32_t value_count = 0;
    for (uint32_t row = 0; row < row_count; row++) {
        const struct vec *vec = NULL;
        uint32_t place = 0;
        ERR_TRY(row_value(writer, column->col, row, &vec, &place, err));
        if (place == UINT32_MAX) {
            continue;
        }
        value_count++;
        ERR_TRY(collect_value(intern, writer->merge->source_of[row], vec, place, err));
        if (!must &&
            (intern_count(intern) > DICT_COUNT_MAX || intern_bytes(intern) > DICT_BYTES_MAX ||
             intern_count(intern) > row_count / 2 + 1)) {
            return ERR_OK;
        }
    }
    if (value_count == 0 || (!must && intern_count(intern) > value_count / 2 + 1)) {
        return ERR_OK;
    }
    ERR_TRY(intern_sort(intern, err));
    buf_clear(&writer->block);
    ERR_TRY(intern_encode(intern, &writer->block, err));
    ERR_TRY(put_section(writer, buf_as_str(&writer->block), &column->dict_span, err));
    column->intern = TAKE(intern);
    return ERR_OK;
}

static enum err_code gather_list(struct gather *gather, struct intern *intern, uint32_t source,
                                 const struct vec *vec, uint32_t place, struct err *err)
{
    uint32_t count = vec->offs[place + 1] - vec->offs[place];
    gather->lens[gather->value_count] = count;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t code = 0;
        ERR_TRY(intern_code(intern, source, vec->dict, vec->u32[vec->offs[place] + i], &code, err));
        uint64_t wide = code;
        buf_append(&gather->items, &wide, sizeof(wide));
    }
    return ERR_OK;
}

static enum err_code gather_value(struct writer *writer, const struct column *column,
                                  uint32_t source, const struct vec *vec, uint32_t place,
                                  struct err *err)
{
    struct gather *gather = &writer->gather;
    uint32_t at = gather->value_count;
    switch (column->type) {
    case COL_STRING:
        if (column->intern != NULL) {
            uint32_t code = 0;
            ERR_TRY(value_code(column->intern, source, vec, place, &code, err));
            gather->ints[at] = code;
        } else {
            bool is_left_out = writer->weak != NULL && column->col == COL_EVENT_ID;
            struct str value = is_left_out ? (struct str){0} : vec_str(vec, place);
            gather->lens[at] = value.len;
            buf_str(&gather->bytes, value);
        }
        break;
    case COL_NUMBER:
        if (column_is_subject(column)) {
            gather->ints[at] = vec->u32[place];
        } else {
            gather->nums[at] = vec_num(vec, place);
        }
        break;
    case COL_BOOL: gather->ints[at] = vec->u8[place] != 0; break;
    case COL_TIME: gather->ints[at] = (uint64_t)vec->i64[place]; break;
    case COL_LIST: ERR_TRY(gather_list(gather, column->intern, source, vec, place, err)); break;
    }
    gather->value_count++;
    return ERR_OK;
}

static enum err_code gather_block(struct writer *writer, const struct column *column,
                                  uint32_t block, struct err *err)
{
    struct gather *gather = &writer->gather;
    uint32_t first = block * BLOCK_ROWS;
    gather_begin(gather, first, MIN_OF(writer->merge->row_count - first, BLOCK_ROWS));
    for (uint32_t i = 0; i < gather->rows; i++) {
        const struct vec *vec = NULL;
        uint32_t place = 0;
        ERR_TRY(row_value(writer, column->col, first + i, &vec, &place, err));
        if (place != UINT32_MAX) {
            gather->present[i / 64] |= UINT64_C(1) << (i % 64);
            ERR_TRY(
                gather_value(writer, column, writer->merge->source_of[first + i], vec, place, err));
        }
    }
    bool is_required = column->is_builtin && builtin_col_defs[column->col].is_required;
    if (is_required && gather->value_count != gather->rows) {
        return err_set(err, ERR_CORRUPT, "block %u: %u of %u rows have a value", block,
                       gather->value_count, gather->rows);
    }
    ERR_TRY(buf_check(&gather->bytes, err));
    return buf_check(&gather->items, err);
}

static enum err_code write_block(struct writer *writer, struct column *column, uint32_t block,
                                 struct err *err)
{
    struct gather *gather = &writer->gather;
    bool is_coded = column->intern != NULL;
    if (column->is_builtin && column->col == COL_EVENT_NAME) {
        for (uint32_t i = 0; i < gather->rows; i++) {
            writer->event_codes[gather->first_row + i] = (uint32_t)gather->ints[i];
        }
    }
    const int64_t *less =
        column->is_builtin && column->col == COL_ARRIVAL ? writer->merge->times_ms : NULL;
    struct seg_block *out = &column->blocks[__builtin_popcountll(column->present)];
    buf_clear(&writer->block);
    ERR_TRY(block_encode(gather, column->type, column_is_subject(column), is_coded, less,
                         &writer->events, &writer->block, out, err));
    ERR_TRY(put_section(writer, buf_as_str(&writer->block), &out->span, err));
    column->present |= UINT64_C(1) << block;
    column->value_count += gather->value_count;
    return ERR_OK;
}

static enum err_code column_footer(struct writer *writer, struct column *column, struct err *err)
{
    CLEANUP(buf_freep) struct buf body = {0};
    buf_u8(&body, column->is_builtin ? (uint8_t)column->col : FOOTER_PROPERTY);
    buf_u8(&body, (uint8_t)column->type);
    buf_blob(&body, column->name);
    buf_varint(&body, column->value_count);
    buf_u8(&body, column->intern != NULL ? FOOTER_COL_DICT : 0);
    if (column->intern != NULL) {
        footer_span(&body, &column->dict_span);
        buf_varint(&body, intern_count(column->intern));
    }
    buf_u64(&body, column->present);
    for (int i = 0; i < __builtin_popcountll(column->present); i++) {
        const struct seg_block *block = &column->blocks[i];
        buf_u8(&body, block->shape);
        buf_u8(&body, block->kind);
        buf_u8(&body, (uint8_t)((block->is_lz4 ? FOOTER_BLOCK_LZ4 : 0) |
                                (block->has_zone ? FOOTER_BLOCK_ZONE : 0)));
        footer_span(&body, &block->span);
        buf_varint(&body, block->value_count);
        if (block->has_zone) {
            buf_zigzag(&body, block->zone_min);
            buf_varint(&body, (uint64_t)block->zone_max - (uint64_t)block->zone_min);
        }
    }
    return footer_entry(writer, FOOTER_COLUMN, &body, err);
}

static enum err_code column_write(struct writer *writer, struct column *column, struct err *err)
{
    uint32_t row_count = writer->merge->row_count;
    ERR_TRY(column_dict(writer, column, err));
    bool is_event = column->is_builtin && column->col == COL_EVENT_NAME;
    feed_start(writer->feed, column->col);
    for (uint32_t block = 0; block * BLOCK_ROWS < row_count; block++) {
        ERR_TRY(gather_block(writer, column, block, err));
        if (writer->gather.value_count > 0) {
            ERR_TRY(write_block(writer, column, block, err));
        }
    }
    if (column->value_count == 0) {
        return ERR_OK;
    }
    ERR_TRY(column_footer(writer, column, err));
    if (is_event) {
        writer->events.count = intern_count(column->intern);
        writer->events.codes = writer->event_codes;
        writer->events.scratch =
            calloc(2 * (size_t)writer->events.count, sizeof(*writer->events.scratch));
        if (writer->events.scratch == NULL) {
            return err_set(err, ERR_NOMEM, "out of memory for %u events", writer->events.count);
        }
    }
    return ERR_OK;
}

static enum err_code write_columns(struct writer *writer, const struct schema *schema,
                                   struct err *err)
{
    uint32_t col_count = COL_FIRST_PROP + (schema == NULL ? 0 : schema_count(schema));
    for (uint32_t col = 0; col < col_count; col++) {
        if (writer->weak != NULL && col == COL_USER_ID) {
            continue;
        }
        CLEANUP(column_done) struct column column = {.col = col};
        if (col < COL_FIRST_PROP) {
            column.is_builtin = true;
            column.name = str_of(builtin_col_defs[col].name);
            column.type = builtin_col_defs[col].type;
        } else {
            column.name = schema_col(schema, col - COL_FIRST_PROP)->name;
            column.type = schema_col(schema, col - COL_FIRST_PROP)->type;
        }
        if (column_write(writer, &column, err) != ERR_OK) {
            return err_context(err, "column \"" STR_FMT "\"", STR_ARG(column.name));
        }
    }
    return ERR_OK;
}

/* ---- the rest of the footer ---- */

/* Sets of one event, one after another in one section; what the footer says of them into `out`. */
static enum err_code put_set_group(struct writer *writer, const struct set_out *sets, size_t count,
                                   struct str bytes, struct buf *out, struct err *err)
{
    struct seg_span span = {0};
    ERR_TRY(put_section(writer, bytes, &span, err));
    buf_varint(out, sets[0].event_key);
    footer_span(out, &span);
    buf_varint(out, count);
    uint64_t before_ms = 0;
    for (size_t i = 0; i < count; i++) {
        buf_zigzag(out, (int64_t)((uint64_t)sets[i].begin_ms - before_ms));
        buf_varint(out, (uint64_t)sets[i].end_ms - (uint64_t)sets[i].begin_ms);
        buf_varint(out, sets[i].bytes);
        buf_varint(out, sets[i].members);
        before_ms = (uint64_t)sets[i].end_ms;
    }
    return ERR_OK;
}

static enum err_code write_sets(struct writer *writer, const struct segment_write_opts *opts,
                                struct err *err)
{
    const struct merge *merge = writer->merge;
    struct sets_in in = {
        .row_count = merge->row_count,
        .subjects = merge->subjects,
        .times_ms = merge->times_ms,
        .events = writer->event_codes,
        .event_count = writer->events.count,
        .time_min_ms = merge->time_min_ms,
        .time_max_ms = merge->time_max_ms,
        .day_begins_ms = opts->day_begins_ms,
        .day_count = opts->day_count,
    };
    if (in.day_begins_ms != NULL && (in.day_count == 0 || in.time_min_ms < in.day_begins_ms[0] ||
                                     in.time_max_ms >= in.day_begins_ms[in.day_count])) {
        return err_set(err, ERR_INVALID, "the days given do not cover all rows");
    }
    CLEANUP(buf_freep) struct buf sets = {0};
    CLEANUP(buf_freep) struct buf bytes = {0};
    CLEANUP(buf_freep) struct buf body = {0};
    size_t bytes_max = (writer->off + writer->pending.len) / SETS_SHARE;
    ERR_TRY(subject_sets_build(&in, bytes_max, &sets, &bytes, err));
    CLEANUP(buf_freep) struct buf groups = {0};
    const struct set_out *all = (const struct set_out *)(const void *)sets.ptr; /* from malloc */
    size_t count = sets.len / sizeof(*all);
    size_t off = 0;
    uint32_t group_count = 0;
    for (size_t begin = 0; begin < count; group_count++) {
        size_t end = begin;
        size_t group_bytes = 0;
        while (end < count && all[end].event_key == all[begin].event_key &&
               group_bytes < SET_GROUP_BYTES) {
            group_bytes += all[end++].bytes;
        }
        struct str group = {(const char *)bytes.ptr + off, group_bytes};
        ERR_TRY(put_set_group(writer, all + begin, end - begin, group, &groups, err));
        off += group_bytes;
        begin = end;
    }
    ERR_TRY(buf_check(&groups, err));
    buf_varint(&body, count);
    buf_varint(&body, group_count);
    buf_append(&body, groups.ptr, groups.len);
    return footer_entry(writer, FOOTER_SETS, &body, err);
}

static enum err_code write_ranges(struct writer *writer, struct err *err)
{
    CLEANUP(buf_freep) struct buf body = {0};
    const struct merge *merge = writer->merge;
    uint32_t first = merge->subjects[0] >> 16;
    uint32_t last = merge->subjects[merge->row_count - 1] >> 16;
    buf_varint(&body, first);
    buf_varint(&body, (uint64_t)last - first + 1);
    uint32_t row = 0;
    uint32_t before = 0;
    for (uint32_t range = first; range <= last; range++) {
        while (merge->subjects[row] >> 16 < range) {
            row++;
        }
        buf_varint(&body, row - before);
        before = row;
    }
    return footer_entry(writer, FOOTER_RANGES, &body, err);
}

static enum err_code write_segment_entry(struct writer *writer,
                                         const struct segment_write_opts *opts, struct err *err)
{
    CLEANUP(buf_freep) struct buf body = {0};
    const struct merge *merge = writer->merge;
    buf_u32(&body, opts->shard);
    buf_u32(&body, merge->row_count);
    buf_i64(&body, merge->time_min_ms);
    buf_i64(&body, merge->time_max_ms);
    buf_u32(&body, merge->subjects[0]);
    buf_u32(&body, merge->subjects[merge->row_count - 1]);
    buf_u64(&body, opts->identity_version);
    buf_blob(&body, STR(SEGMENT_CREATED_BY));
    return footer_entry(writer, FOOTER_SEGMENT, &body, err);
}

static void put_header(struct writer *writer, uint32_t shard)
{
    struct buf *out = &writer->pending;
    bool is_first_times = writer->weak != NULL;
    buf_str(out, is_first_times ? STR(FIRST_TIMES_MAGIC) : STR(SEGMENT_MAGIC));
    buf_u32(out, is_first_times ? FIRST_TIMES_VERSION : SEGMENT_VERSION);
    buf_u32(out, shard);
    buf_u64(out, 0);
    if (!out->is_bad) {
        buf_u64(out, checksum64(out->ptr, out->len));
    }
}

static void put_trailer(struct writer *writer, const struct seg_span *footer)
{
    struct buf *out = &writer->pending;
    buf_u64(out, footer->off);
    buf_u64(out, footer->bytes);
    buf_u64(out, footer->checksum);
    buf_str(out, STR(SEGMENT_END_MAGIC));
}

/* ---- the file ---- */

static enum err_code write_file(struct writer *writer, const char *path,
                                const struct schema *schema, const struct segment_write_opts *opts,
                                struct err *err)
{
    ERR_TRY(io_open(writer->io, path, IO_CREATE, &writer->file, err));
    ERR_TRY(gather_init(&writer->gather, err));
    ERR_TRY(feed_create(writer->merge, &writer->feed, err));
    writer->event_codes = calloc(writer->merge->row_count, sizeof(*writer->event_codes));
    if (writer->event_codes == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for %u rows", writer->merge->row_count);
    }
    put_header(writer, opts->shard);
    ERR_TRY(write_segment_entry(writer, opts, err));
    ERR_TRY(write_columns(writer, schema, err));
    ERR_TRY(write_sets(writer, opts, err));
    ERR_TRY(write_ranges(writer, err));
    struct seg_span footer = {0};
    ERR_TRY(put_section(writer, buf_as_str(&writer->footer), &footer, err));
    put_trailer(writer, &footer);
    ERR_TRY(flush_pending(writer, err));
    return io_sync(writer->io, writer->file, err);
}

/* `weak` is not NULL where these are first times. */
static enum err_code write_and_rename(struct io *io, const char *path, const char *tmp,
                                      const struct schema *schema, struct merge *merge,
                                      const uint64_t *weak, const struct segment_write_opts *opts,
                                      uint64_t *ret_bytes, struct err *err)
{
    {
        CLEANUP(writer_done) struct writer writer = {.io = io, .merge = merge, .weak = weak};
        ERR_TRY(write_file(&writer, tmp, schema, opts, err));
        *ret_bytes = writer.off;
    }
    return io_rename(io, tmp, path, err);
}

static enum err_code write_merge(struct io *io, const char *path, const struct schema *schema,
                                 struct merge *merge, const uint64_t *weak,
                                 const struct segment_write_opts *opts,
                                 struct segment_stats *ret_stats, struct err *err)
{
    CLEANUP(buf_freep) struct buf tmp = {0};
    uint64_t bytes = 0;
    if (merge->row_count == 0) {
        *ret_stats = (struct segment_stats){0};
        return ERR_OK;
    }
    buf_z(&tmp, path);
    buf_append(&tmp, ".tmp", sizeof(".tmp"));
    ERR_TRY(buf_check(&tmp, err));
    enum err_code code =
        write_and_rename(io, path, (const char *)tmp.ptr, schema, merge, weak, opts, &bytes, err);
    if (code != ERR_OK) {
        struct err ignored = {0}; /* the first error is the one to tell */
        (void)!io_unlink(io, (const char *)tmp.ptr, &ignored);
        return err_context(err, "writing segment \"%s\"", path);
    }
    *ret_stats = (struct segment_stats){
        .bytes = bytes,
        .row_count = merge->row_count,
        .time_min_ms = merge->time_min_ms,
        .time_max_ms = merge->time_max_ms,
    };
    return ERR_OK;
}

enum err_code segment_write(struct io *io, const char *path, const struct schema *schema,
                            const struct source *const *sources, uint32_t source_count,
                            int64_t time_begin_ms, int64_t time_end_ms,
                            const roaring_bitmap_t *deleted, const struct segment_write_opts *opts,
                            struct segment_stats *ret_stats, struct err *err)
{
    ASSERT(opts->shard < SHARD_COUNT);
    CLEANUP(merge_done) struct merge merge = {0};
    struct merge_opts merge_opts = {time_begin_ms, time_end_ms, deleted, 0, UINT32_MAX};
    ERR_TRY(merge_plan(io, sources, source_count, &merge_opts, &merge, err));
    return write_merge(io, path, schema, &merge, NULL, opts, ret_stats, err);
}

enum err_code segment_write_first_times(struct io *io, const char *path,
                                        const struct source *const *sources, uint32_t source_count,
                                        const struct first_times_of *of,
                                        const struct segment_write_opts *opts,
                                        struct segment_stats *ret_stats, struct err *err)
{
    ASSERT(opts->shard < SHARD_COUNT);
    CLEANUP(merge_done) struct merge merge = {0};
    struct merge_opts merge_opts = {INT64_MIN, of->before_ms, of->deleted, of->subject_begin,
                                    of->subject_end};
    uint64_t *weak = NULL;
    ERR_TRY(merge_plan(io, sources, source_count, &merge_opts, &merge, err));
    enum err_code code = merge_keep_firsts(&merge, of->company, &weak, err);
    if (code == ERR_OK) {
        code = write_merge(io, path, NULL, &merge, weak, opts, ret_stats, err);
    }
    free(weak);
    return code;
}
