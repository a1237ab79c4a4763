/* storage/segment_open.c - header, trailer and footer of a segment file, read without trust.
 *
 * The footer's checksum tells damage; whoever forges a file can forge that too. So every count is
 * held against the bytes that are left before anything is allocated for it, every span against the
 * file.
 */
#include "storage/base/hash.h"
#include "storage/base/rd.h"
#include "storage/base/size.h"
#include "storage/segment_int.h"

#include <inttypes.h>
#include <stdlib.h>

const struct builtin_col_def builtin_col_defs[COL_FIRST_PROP] = {
    [COL_SUBJECT] = {"subject", COL_NUMBER, true},
    [COL_EVENT_TIME] = {"event_time", COL_TIME, true},
    [COL_ARRIVAL] = {"arrival", COL_TIME, true},
    [COL_EVENT_NAME] = {"event_name", COL_STRING, true},
    [COL_EVENT_ID] = {"event_id", COL_STRING, true},
    [COL_USER_ID] = {"user_id", COL_STRING, false},
    [COL_ANONYMOUS_ID] = {"anonymous_id", COL_STRING, false},
};

enum err_code segment_fail(const struct segment *segment, struct err *err)
{
    return err_context(err, "segment \"" STR_FMT "\"", STR_ARG(segment->label));
}

static enum err_code bad(struct err *err, const char *what)
{
    return err_set(err, ERR_CORRUPT, "%s", what);
}

/* ---- header and trailer ---- */

static enum err_code read_header(struct segment *segment, struct io *io, uint32_t *ret_shard,
                                 struct err *err)
{
    uint8_t bytes[SEGMENT_HEADER_BYTES];
    ERR_TRY(io_read(io, segment->file, 0, bytes, sizeof(bytes), err));
    struct rd rd = rd_init((struct str){(const char *)bytes, sizeof(bytes)});
    struct str magic = rd_bytes(&rd, 8);
    uint32_t version = rd_u32(&rd);
    uint32_t shard = rd_u32(&rd);
    uint64_t zero = rd_u64(&rd);
    uint64_t checksum = rd_u64(&rd);
    bool is_first_times = str_eq(magic, STR(FIRST_TIMES_MAGIC));
    uint32_t known_version = is_first_times ? FIRST_TIMES_VERSION : SEGMENT_VERSION;
    if (!is_first_times && !str_eq(magic, STR(SEGMENT_MAGIC))) {
        return bad(err, "header: wrong magic: not a segment");
    }
    if (checksum != checksum64(bytes, SEGMENT_HEADER_BYTES - 8)) {
        return bad(err, "header: checksum mismatch");
    }
    if (version != known_version) {
        return err_set_newer(err, version, known_version);
    }
    if (zero != 0) {
        return bad(err, "header: reserved bytes are not zero");
    }
    segment->source.is_first_times = is_first_times;
    *ret_shard = shard;
    return ERR_OK;
}

static enum err_code read_trailer(struct segment *segment, struct io *io, uint64_t *ret_checksum,
                                  struct err *err)
{
    uint8_t bytes[SEGMENT_TRAILER_BYTES];
    uint64_t trailer_off = segment->file_bytes - SEGMENT_TRAILER_BYTES;
    ERR_TRY(io_read(io, segment->file, trailer_off, bytes, sizeof(bytes), err));
    struct rd rd = rd_init((struct str){(const char *)bytes, sizeof(bytes)});
    segment->footer_off = rd_u64(&rd);
    segment->footer_bytes = rd_u64(&rd);
    *ret_checksum = rd_u64(&rd);
    if (!str_eq(rd_bytes(&rd, 8), STR(SEGMENT_END_MAGIC))) {
        return bad(err, "trailer: wrong magic: the file is cut short or damaged");
    }
    if (segment->footer_off < SEGMENT_HEADER_BYTES || segment->footer_off % SEGMENT_ALIGN != 0 ||
        segment->footer_off > trailer_off || segment->footer_bytes > SEGMENT_FOOTER_MAX ||
        trailer_off - segment->footer_off !=
            ((segment->footer_bytes + SEGMENT_ALIGN - 1) & ~(uint64_t)(SEGMENT_ALIGN - 1))) {
        return err_set(err, ERR_CORRUPT,
                       "trailer: footer of %" PRIu64 " bytes at %" PRIu64 " in a file of %" PRIu64,
                       segment->footer_bytes, segment->footer_off, segment->file_bytes);
    }
    return ERR_OK;
}

/* ---- footer ---- */

static struct seg_span rd_span(struct rd *rd, const struct segment *segment)
{
    uint64_t off = rd_varint(rd);
    uint64_t bytes = rd_varint(rd);
    uint64_t checksum = rd_u64(rd);
    if (off > UINT64_MAX / SEGMENT_ALIGN || bytes > SEGMENT_SECTION_MAX ||
        off * SEGMENT_ALIGN < SEGMENT_HEADER_BYTES || off * SEGMENT_ALIGN > segment->footer_off ||
        bytes > segment->footer_off - off * SEGMENT_ALIGN) {
        rd->is_bad = true;
        return (struct seg_span){0};
    }
    return (struct seg_span){off * SEGMENT_ALIGN, (uint32_t)bytes, checksum};
}

/* A varint that must not be above `max`. */
static uint64_t rd_upto(struct rd *rd, uint64_t max)
{
    uint64_t v = rd_varint(rd);
    if (v > max) {
        rd->is_bad = true;
        return 0;
    }
    return v;
}

static enum err_code parse_segment(struct segment *segment, struct rd *rd, uint32_t header_shard,
                                   struct err *err)
{
    struct source *source = &segment->source;
    source->shard = rd_u32(rd);
    source->row_count = rd_u32(rd);
    source->time_min_ms = rd_i64(rd);
    source->time_max_ms = rd_i64(rd);
    source->subject_first = rd_u32(rd);
    source->subject_last = rd_u32(rd);
    source->identity_version = rd_u64(rd);
    struct str created_by = rd_blob(rd);
    if (!rd_at_end(rd)) {
        return bad(err, "footer: segment entry: wrong length");
    }
    if (source->row_count == 0 || source->row_count > SEGMENT_ROWS_MAX) {
        return err_set(err, ERR_CORRUPT, "footer: %u rows, 1 to %u can be", source->row_count,
                       SEGMENT_ROWS_MAX);
    }
    if (source->shard >= SHARD_COUNT || source->shard != header_shard ||
        source->time_min_ms > source->time_max_ms || source->subject_first > source->subject_last) {
        return bad(err, "footer: segment entry: shard, times or subjects cannot be");
    }
    source->block_count = (source->row_count + BLOCK_ROWS - 1) / BLOCK_ROWS;
    return arena_str(segment->arena, created_by, &segment->created_by, err);
}

static void parse_block(const struct segment *segment, const struct seg_col *col, struct rd *rd,
                        uint32_t block, struct seg_block *ret)
{
    ret->shape = rd_u8(rd);
    ret->kind = rd_u8(rd);
    uint8_t flags = rd_u8(rd);
    ret->is_lz4 = (flags & FOOTER_BLOCK_LZ4) != 0;
    ret->has_zone = (flags & FOOTER_BLOCK_ZONE) != 0;
    ret->span = rd_span(rd, segment);
    uint32_t rows = source_block_rows(&segment->source, block);
    ret->value_count = (uint32_t)rd_upto(rd, rows);
    if (ret->has_zone) {
        ret->zone_min = rd_zigzag(rd);
        ret->zone_max = (int64_t)((uint64_t)ret->zone_min + rd_varint(rd));
    }
    bool is_whole =
        col->col < COL_FIRST_PROP && col->is_builtin && builtin_col_defs[col->col].is_required;
    if (ret->value_count == 0 || (is_whole && ret->value_count != rows) ||
        flags > (FOOTER_BLOCK_LZ4 | FOOTER_BLOCK_ZONE) || ret->zone_min > ret->zone_max) {
        rd->is_bad = true;
    }
}

static enum err_code parse_col_blocks(const struct segment *segment, struct seg_col *col,
                                      struct rd *rd, struct err *err)
{
    col->present = rd_u64(rd);
    uint32_t block_count = segment->source.block_count;
    if (block_count < 64 && col->present >> block_count != 0) {
        return bad(err, "more blocks than the segment has");
    }
    if (col->is_builtin && builtin_col_defs[col->col].is_required &&
        col->present != UINT64_MAX >> (64 - block_count)) {
        return bad(err, "a required column lacks blocks");
    }
    uint32_t count = (uint32_t)__builtin_popcountll(col->present);
    struct seg_block *blocks = NULL;
    ERR_TRY(ARENA_NEW(segment->arena, count, &blocks, err));
    uint64_t value_count = 0;
    uint32_t at = 0;
    for (uint32_t b = 0; b < block_count; b++) {
        if ((col->present >> b & 1) != 0) {
            parse_block(segment, col, rd, b, &blocks[at]);
            value_count += blocks[at++].value_count;
        }
    }
    if (!rd_at_end(rd) || value_count != col->value_count) {
        return bad(err, "its list of blocks is damaged");
    }
    col->blocks = blocks;
    return ERR_OK;
}

static bool col_type_is_valid(uint8_t type)
{
    return type >= COL_STRING && type <= COL_LIST;
}

/* Which column this is, by its builtin number; nothing is known of properties yet. */
static bool col_identify(struct seg_col *col, uint8_t builtin)
{
    if (builtin == FOOTER_PROPERTY) {
        col->col = UINT32_MAX;
        return true;
    }
    if (builtin >= COL_FIRST_PROP) {
        return false;
    }
    const struct builtin_col_def *def = &builtin_col_defs[builtin];
    col->is_builtin = true;
    col->col = builtin;
    return col->type == def->type && str_eq(col->name, str_of(def->name));
}

static enum err_code parse_col_head(struct segment *segment, struct seg_col *col, struct rd *rd,
                                    struct err *err)
{
    uint8_t builtin = rd_u8(rd);
    uint8_t type = rd_u8(rd);
    struct str name = rd_blob(rd);
    col->value_count = rd_upto(rd, segment->source.row_count);
    uint8_t flags = rd_u8(rd);
    if (rd->is_bad || !col_type_is_valid(type) || name.len > PROP_NAME_BYTES_MAX ||
        flags > FOOTER_COL_DICT || col->value_count == 0) {
        return bad(err, "footer: a column entry is damaged");
    }
    ERR_TRY(arena_str(segment->arena, name, &col->name, err));
    col->type = (enum col_type)type;
    if (!col_identify(col, builtin)) {
        return err_set(err, ERR_CORRUPT, "footer: column \"" STR_FMT "\" is not builtin %u",
                       STR_ARG(name), builtin);
    }
    col->has_dict = (flags & FOOTER_COL_DICT) != 0;
    if (col->has_dict) {
        col->dict_span = rd_span(rd, segment);
        /* every value is in use, by a row or by an item of a list */
        col->dict_count = (uint32_t)rd_upto(rd, UINT32_MAX - 1);
    }
    return ERR_OK;
}

static bool col_is_consistent(const struct seg_col *col)
{
    bool is_event = col->is_builtin && col->col == COL_EVENT_NAME;
    if (col->has_dict && col->type != COL_STRING && col->type != COL_LIST) {
        return false;
    }
    /* A list column whose lists are all empty has a dictionary without values. */
    if (col->has_dict && col->dict_count == 0 && col->type != COL_LIST) {
        return false;
    }
    return col->has_dict || (col->type != COL_LIST && !is_event);
}

static enum err_code parse_col(struct segment *segment, struct rd *rd, struct err *err)
{
    struct seg_col *col = &segment->cols[segment->col_count];
    ERR_TRY(parse_col_head(segment, col, rd, err));
    if (rd->is_bad || !col_is_consistent(col)) {
        return err_set(err, ERR_CORRUPT, "column \"" STR_FMT "\": footer entry is damaged",
                       STR_ARG(col->name));
    }
    if (parse_col_blocks(segment, col, rd, err) != ERR_OK) {
        return err_context(err, "column \"" STR_FMT "\"", STR_ARG(col->name));
    }
    if (col->is_builtin) {
        if (segment->builtin_idx[col->col] != UINT32_MAX) {
            return err_set(err, ERR_CORRUPT, "footer: column \"" STR_FMT "\" twice",
                           STR_ARG(col->name));
        }
        segment->builtin_idx[col->col] = segment->col_count;
    }
    segment->col_count++;
    return ERR_OK;
}

#define SET_GROUP_BYTES_LEAST 12u /* of a group's entry: event, span, count */
#define SET_BYTES_LEAST       4u  /* of a set's: begin, length, bytes, members */

/* One group of sets of one event; sets so far, and the one before, are in `segment`. */
static enum err_code parse_set_group(struct segment *segment, struct rd *rd, uint32_t set_cap,
                                     struct err *err)
{
    uint32_t group = segment->set_group_count;
    uint64_t event_key = rd_upto(rd, UINT32_MAX);
    segment->set_groups[group] = rd_span(rd, segment);
    uint64_t count = rd_varint(rd);
    if (rd->is_bad || count == 0 || count > set_cap - segment->set_count) {
        return bad(err, "footer: list of subject sets is damaged");
    }
    uint32_t event = event_key == 0 ? SUBJECT_SET_ANY : (uint32_t)(event_key - 1);
    uint64_t off = 0;
    uint64_t before_ms = 0;
    for (uint64_t i = 0; i < count && !rd->is_bad; i++) {
        uint32_t idx = segment->set_count++;
        struct seg_set *set = &segment->sets[idx];
        struct subject_set *info = &segment->set_infos[idx];
        info->begin_ms = (int64_t)(before_ms + (uint64_t)rd_zigzag(rd));
        info->end_ms = (int64_t)((uint64_t)info->begin_ms + rd_varint(rd));
        info->set_idx = idx;
        *set = (struct seg_set){.event = event, .group = group, .off = (uint32_t)off};
        set->bytes = (uint32_t)rd_upto(rd, segment->set_groups[group].bytes - off);
        set->members = (uint32_t)rd_upto(rd, segment->source.row_count);
        off += set->bytes;
        before_ms = (uint64_t)info->end_ms;
        uint64_t key_before =
            idx == 0 || set[-1].event == SUBJECT_SET_ANY ? 0 : (uint64_t)set[-1].event + 1;
        bool is_same = idx > 0 && set[-1].event == event;
        if (info->end_ms <= info->begin_ms || set->members == 0 || event_key < key_before ||
            (is_same && info->begin_ms < info[-1].end_ms)) {
            rd->is_bad = true;
        }
    }
    if (rd->is_bad || off != segment->set_groups[group].bytes) {
        return bad(err, "footer: list of subject sets is damaged");
    }
    segment->set_group_count++;
    return ERR_OK;
}

static enum err_code parse_sets(struct segment *segment, struct rd *rd, struct err *err)
{
    uint64_t count = rd_varint(rd);
    uint64_t group_count = rd_varint(rd);
    if (rd->is_bad || count > rd_left(rd) / SET_BYTES_LEAST ||
        group_count > rd_left(rd) / SET_GROUP_BYTES_LEAST) {
        return err_set(err, ERR_CORRUPT,
                       "footer: %" PRIu64 " subject sets in %" PRIu64 " groups in %zu bytes", count,
                       group_count, rd_left(rd));
    }
    ERR_TRY(ARENA_NEW(segment->arena, count, &segment->sets, err));
    ERR_TRY(ARENA_NEW(segment->arena, count, &segment->set_infos, err));
    ERR_TRY(ARENA_NEW(segment->arena, group_count, &segment->set_groups, err));
    for (uint64_t i = 0; i < group_count; i++) {
        ERR_TRY(parse_set_group(segment, rd, (uint32_t)count, err));
    }
    if (!rd_at_end(rd) || segment->set_count != count) {
        return bad(err, "footer: list of subject sets is damaged");
    }
    return ERR_OK;
}

static enum err_code parse_ranges(struct segment *segment, struct rd *rd, struct err *err)
{
    const struct source *source = &segment->source;
    uint64_t first = rd_varint(rd);
    uint64_t count = rd_varint(rd);
    if (rd->is_bad || first != source->subject_first >> 16 ||
        count != (source->subject_last >> 16) - first + 1 || count > rd_left(rd)) {
        return bad(err, "footer: table of subject ranges is damaged");
    }
    ERR_TRY(ARENA_NEW(segment->arena, count, &segment->range_rows, err));
    uint64_t row = 0;
    for (uint32_t i = 0; i < count; i++) {
        row += rd_upto(rd, source->row_count);
        if (row >= source->row_count || (i == 0 && row != 0)) {
            return bad(err, "footer: table of subject ranges is damaged");
        }
        segment->range_rows[i] = (uint32_t)row;
    }
    if (!rd_at_end(rd)) {
        return bad(err, "footer: table of subject ranges is damaged");
    }
    segment->range_first = (uint32_t)first;
    segment->range_count = (uint32_t)count;
    return ERR_OK;
}

/* Entries of this kind in the footer; a broken list ends the count, and the parse finds it again.
 */
static uint32_t count_entries(struct rd rd, enum footer_kind kind)
{
    uint32_t count = 0;
    while (rd_left(&rd) > 0) {
        count += rd_u16(&rd) == (uint16_t)kind;
        rd_u16(&rd);
        rd_skip(&rd, rd_u32(&rd));
    }
    return count;
}

static enum err_code parse_entry(struct segment *segment, uint16_t kind, uint16_t flags,
                                 struct rd *body, uint32_t header_shard, struct err *err)
{
    if (segment->source.row_count == 0 && kind != FOOTER_SEGMENT) {
        return bad(err, "footer: the segment entry is not the first");
    }
    switch (kind) {
    case FOOTER_SEGMENT:
        if (segment->source.row_count != 0) {
            return bad(err, "footer: two segment entries");
        }
        return parse_segment(segment, body, header_shard, err);
    case FOOTER_COLUMN: return parse_col(segment, body, err);
    case FOOTER_SETS:
        if (segment->sets != NULL) {
            return bad(err, "footer: two lists of subject sets");
        }
        return parse_sets(segment, body, err);
    case FOOTER_RANGES:
        if (segment->range_rows != NULL) {
            return bad(err, "footer: two tables of subject ranges");
        }
        return parse_ranges(segment, body, err);
    default:
        if ((flags & FOOTER_FLAG_REQUIRED) != 0) {
            return err_set(err, ERR_UNSUPPORTED,
                           "footer: entry of kind %u is newer than this program", kind);
        }
        return ERR_OK;
    }
}

static enum err_code parse_footer(struct segment *segment, struct str bytes, uint32_t header_shard,
                                  struct err *err)
{
    struct rd rd = rd_init(bytes);
    ERR_TRY(ARENA_NEW(segment->arena, count_entries(rd, FOOTER_COLUMN), &segment->cols, err));
    while (rd_left(&rd) > 0) {
        uint16_t kind = rd_u16(&rd);
        uint16_t flags = rd_u16(&rd);
        uint32_t body_bytes = rd_u32(&rd);
        struct str body = rd_bytes(&rd, body_bytes);
        if (rd.is_bad) {
            break;
        }
        struct rd body_rd = rd_init(body);
        ERR_TRY(parse_entry(segment, kind, flags, &body_rd, header_shard, err));
    }
    if (!rd_at_end(&rd)) {
        return bad(err, "footer: ends inside of an entry");
    }
    for (uint32_t i = 0; i < COL_FIRST_PROP; i++) {
        if (builtin_col_defs[i].is_required && segment->builtin_idx[i] == UINT32_MAX) {
            return err_set(err, ERR_CORRUPT, "footer: no column \"%s\"", builtin_col_defs[i].name);
        }
    }
    for (uint32_t i = 0; segment->source.is_first_times && i < segment->col_count; i++) {
        if (!segment->cols[i].is_builtin || segment->cols[i].col == COL_USER_ID) {
            return err_set(err, ERR_CORRUPT, "footer: first times have no column \"" STR_FMT "\"",
                           STR_ARG(segment->cols[i].name));
        }
    }
    if (segment->range_rows == NULL || segment->sets == NULL) {
        return bad(err, "footer: no subject sets or no subject ranges");
    }
    uint32_t events = segment->cols[segment->builtin_idx[COL_EVENT_NAME]].dict_count;
    for (uint32_t i = 0; i < segment->set_count; i++) {
        if (segment->sets[i].event != SUBJECT_SET_ANY && segment->sets[i].event >= events) {
            return bad(err, "footer: a subject set of an event that is not there");
        }
    }
    return ERR_OK;
}

/* ---- binding to the schema ---- */

static enum err_code bind_cols(struct segment *segment, const struct schema *schema,
                               struct err *err)
{
    segment->prop_count = segment->col_count;
    if (schema != NULL) {
        segment->prop_count = schema_count(schema);
    }
    ERR_TRY(ARENA_NEW(segment->arena, segment->prop_count, &segment->prop_idx, err));
    for (uint32_t i = 0; i < segment->prop_count; i++) {
        segment->prop_idx[i] = UINT32_MAX;
    }
    uint32_t next = 0;
    for (uint32_t i = 0; i < segment->col_count; i++) {
        struct seg_col *col = &segment->cols[i];
        if (col->is_builtin) {
            continue;
        }
        uint32_t prop = schema == NULL ? next++ : schema_find(schema, col->name, col->type);
        if (prop >= segment->prop_count) {
            continue; /* a property that the data set does not know: not to be read */
        }
        if (segment->prop_idx[prop] != UINT32_MAX) {
            return err_set(err, ERR_CORRUPT, "footer: column \"" STR_FMT "\" twice",
                           STR_ARG(col->name));
        }
        segment->prop_idx[prop] = i;
        col->col = COL_FIRST_PROP + prop;
    }
    return ERR_OK;
}

enum err_code segment_load(struct segment *segment, struct io *io, const struct schema *schema,
                           struct err *err)
{
    ERR_TRY(io_size(io, segment->file, &segment->file_bytes, err));
    if (segment->file_bytes < SEGMENT_HEADER_BYTES + SEGMENT_TRAILER_BYTES) {
        return err_set(err, ERR_CORRUPT, "%" PRIu64 " bytes: too short for a segment",
                       segment->file_bytes);
    }
    uint32_t shard = 0;
    uint64_t checksum = 0;
    ERR_TRY(read_header(segment, io, &shard, err));
    ERR_TRY(read_trailer(segment, io, &checksum, err));

    CLEANUP(buf_freep) struct buf footer = {0};
    uint8_t *bytes = buf_reserve(&footer, segment->footer_bytes + 1);
    ERR_TRY(buf_check(&footer, err));
    ERR_TRY(io_read(io, segment->file, segment->footer_off, bytes, segment->footer_bytes, err));
    if (checksum64(bytes, segment->footer_bytes) != checksum) {
        return bad(err, "footer: checksum mismatch");
    }
    struct str text = {(const char *)bytes, segment->footer_bytes};
    ERR_TRY(parse_footer(segment, text, shard, err));
    segment->source.bytes = segment->file_bytes;
    return bind_cols(segment, schema, err);
}
