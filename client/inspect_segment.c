/* client/inspect_segment.c - see inspect_segment.h. */
#include "client/inspect_segment.h"

#include "client/draw.h"
#include "client/sheet.h"
#include "client/term.h"
#include "storage/base/json_text.h"
#include "storage/base/size.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ENCODINGS_MAX 64u

void inspect_time(int64_t ts_ms, struct buf *out)
{
    int64_t ms = ((ts_ms % 1000) + 1000) % 1000;
    time_t seconds = (time_t)((ts_ms - ms) / 1000);
    struct tm tm;
    char text[64];
    if (gmtime_r(&seconds, &tm) == NULL ||
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm) == 0) {
        buf_printf(out, "%" PRId64 "ms", ts_ms); /* past what a year can say */
        return;
    }
    buf_printf(out, "%s.%03uZ", text, (unsigned)ms);
}

uint64_t inspect_col_bytes(const struct inspect_col *col)
{
    return col->bytes + col->dict_bytes;
}

struct inspect_col inspect_col_of(const struct segment *segment, uint32_t idx)
{
    struct segment_col_info info = segment_col_info(segment, idx);
    return (struct inspect_col){
        .name = info.name,
        .type = info.type,
        .is_builtin = info.is_builtin,
        .value_count = info.value_count,
        .bytes = info.bytes,
        .dict_bytes = info.dict_bytes,
        .block_count = segment_source(segment)->block_count,
    };
}

void inspect_encodings(const struct segment *segment, uint32_t idx, struct buf *out)
{
    const char *names[ENCODINGS_MAX];
    uint32_t counts[ENCODINGS_MAX];
    uint32_t count = 0;
    for (uint32_t b = 0; b < segment_source(segment)->block_count; b++) {
        struct segment_block_info block = segment_block_info(segment, idx, b);
        uint32_t i = 0;
        if (block.value_count == 0) {
            continue;
        }
        while (i < count && strcmp(names[i], block.encoding) != 0) {
            i++;
        }
        if (i == count && count < ENCODINGS_MAX) {
            names[count] = block.encoding;
            counts[count++] = 0;
        }
        counts[MIN_OF(i, ENCODINGS_MAX - 1)]++;
    }
    for (uint32_t i = 0; i < count; i++) {
        buf_printf(out, "%s%s", i > 0 ? ", " : "", names[i]);
        if (count > 1 || counts[i] > 1) {
            buf_printf(out, " %u", counts[i]);
        }
    }
}

/* ---- columns ---- */

static enum err_code set_uint(struct sheet *sheet, uint32_t col, uint64_t v, struct err *err)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRIu64, v);
    return sheet_set(sheet, col, str_of(text), NULL, err);
}

static enum err_code set_real(struct sheet *sheet, uint32_t col, const char *format_2, double v,
                              struct err *err)
{
    char text[48];
    snprintf(text, sizeof(text), "%.2f%s", v, format_2);
    return sheet_set(sheet, col, str_of(text), NULL, err);
}

enum err_code inspect_cols_draw(const struct inspect_col *cols, uint32_t count,
                                const struct segment *encodings_of, uint64_t rows,
                                uint64_t total_bytes, bool has_colour, struct buf *out,
                                struct err *err)
{
    static const char *const HEADERS[] = {"column", "type",  "values",    "blocks",   "dictionary",
                                          "bytes",  "share", "per event", "encodings"};
    CLEANUP(sheet_done) struct sheet sheet;
    sheet_init(&sheet);
    for (uint32_t i = 0; i < COUNT_OF(HEADERS) - (encodings_of == NULL); i++) {
        ERR_TRY(sheet_col(&sheet, str_of(HEADERS[i]), i >= 2 && i <= 7, err));
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct inspect_col *col = &cols[i];
        uint64_t bytes = inspect_col_bytes(col);
        ERR_TRY(sheet_row(&sheet, err));
        ERR_TRY(sheet_set(&sheet, 0, col->name, col->is_builtin ? NULL : "\x1b[36m", err));
        ERR_TRY(sheet_set(&sheet, 1, str_of(col_type_name(col->type)), NULL, err));
        ERR_TRY(set_uint(&sheet, 2, col->value_count, err));
        ERR_TRY(set_uint(&sheet, 3, col->bytes, err));
        ERR_TRY(set_uint(&sheet, 4, col->dict_bytes, err));
        ERR_TRY(set_uint(&sheet, 5, bytes, err));
        ERR_TRY(set_real(&sheet, 6, "%",
                         total_bytes > 0 ? (double)bytes * 100 / (double)total_bytes : 0, err));
        ERR_TRY(set_real(&sheet, 7, "", rows > 0 ? (double)bytes / (double)rows : 0, err));
        if (encodings_of != NULL) {
            CLEANUP(buf_freep) struct buf names = {0};
            inspect_encodings(encodings_of, i, &names);
            ERR_TRY(buf_check(&names, err));
            ERR_TRY(sheet_set(&sheet, 8, buf_as_str(&names), NULL, err));
        }
    }
    return sheet_draw(&sheet, has_colour, out, err);
}

void inspect_cols_json(const struct inspect_col *cols, uint32_t count,
                       const struct segment *encodings_of, struct buf *out)
{
    buf_z(out, "\"columns\":[");
    for (uint32_t i = 0; i < count; i++) {
        const struct inspect_col *col = &cols[i];
        buf_z(out, i > 0 ? ",{\"name\":" : "{\"name\":");
        json_text(col->name, out);
        buf_printf(out,
                   ",\"type\":\"%s\",\"builtin\":%s,\"values\":%" PRIu64 ",\"block_bytes\":%" PRIu64
                   ",\"dictionary_bytes\":%" PRIu64 ",\"bytes\":%" PRIu64,
                   col_type_name(col->type), col->is_builtin ? "true" : "false", col->value_count,
                   col->bytes, col->dict_bytes, inspect_col_bytes(col));
        if (encodings_of != NULL) {
            CLEANUP(buf_freep) struct buf names = {0};
            inspect_encodings(encodings_of, i, &names);
            buf_z(out, ",\"encodings\":");
            json_text(buf_as_str(&names), out);
        }
        buf_u8(out, '}');
    }
    buf_u8(out, ']');
}

/* ---- blocks of one column ---- */

static void zone_draw(const struct segment_col_info *col, int64_t v, struct buf *out)
{
    if (col->type == COL_TIME) {
        inspect_time(v, out);
    } else {
        buf_printf(out, "%" PRId64, v);
    }
}

static enum err_code blocks_draw(const struct segment *segment, uint32_t idx, bool has_colour,
                                 struct buf *out, struct err *err)
{
    static const char *const HEADERS[] = {"block", "rows",     "values",   "offset",
                                          "bytes", "encoding", "checksum", "smallest .. largest"};
    struct segment_col_info col = segment_col_info(segment, idx);
    CLEANUP(sheet_done) struct sheet sheet;
    sheet_init(&sheet);
    for (uint32_t i = 0; i < COUNT_OF(HEADERS); i++) {
        ERR_TRY(sheet_col(&sheet, str_of(HEADERS[i]), i < 5, err));
    }
    for (uint32_t b = 0; b < segment_source(segment)->block_count; b++) {
        struct segment_block_info block = segment_block_info(segment, idx, b);
        CLEANUP(buf_freep) struct buf zone = {0};
        char checksum[20];
        ERR_TRY(sheet_row(&sheet, err));
        ERR_TRY(set_uint(&sheet, 0, b, err));
        ERR_TRY(set_uint(&sheet, 1, block.rows, err));
        ERR_TRY(set_uint(&sheet, 2, block.value_count, err));
        if (block.value_count == 0) {
            continue; /* nothing is stored for it */
        }
        snprintf(checksum, sizeof(checksum), "%016" PRIx64, block.checksum);
        ERR_TRY(set_uint(&sheet, 3, block.off, err));
        ERR_TRY(set_uint(&sheet, 4, block.bytes, err));
        ERR_TRY(sheet_set(&sheet, 5, str_of(block.encoding), NULL, err));
        ERR_TRY(sheet_set(&sheet, 6, str_of(checksum), NULL, err));
        if (block.has_zone) {
            zone_draw(&col, block.zone_min, &zone);
            buf_z(&zone, " .. ");
            zone_draw(&col, block.zone_max, &zone);
            ERR_TRY(buf_check(&zone, err));
            ERR_TRY(sheet_set(&sheet, 7, buf_as_str(&zone), NULL, err));
        }
    }
    buf_z(out, "\nblocks of ");
    term_text(col.name, false, out);
    buf_printf(out, " (%s; %u dictionary values)\n", col_type_name(col.type), col.dict_count);
    return sheet_draw(&sheet, has_colour, out, err);
}

static void blocks_json(const struct segment *segment, uint32_t idx, struct buf *out)
{
    buf_z(out, ",\"blocks\":[");
    for (uint32_t b = 0; b < segment_source(segment)->block_count; b++) {
        struct segment_block_info block = segment_block_info(segment, idx, b);
        buf_printf(out, "%s{\"block\":%u,\"rows\":%u,\"values\":%u", b > 0 ? "," : "", b,
                   block.rows, block.value_count);
        if (block.value_count > 0) {
            buf_printf(out,
                       ",\"offset\":%" PRIu64 ",\"bytes\":%" PRIu64
                       ",\"encoding\":\"%s\",\"checksum\":\"%016" PRIx64 "\"",
                       block.off, block.bytes, block.encoding, block.checksum);
        }
        if (block.value_count > 0 && block.has_zone) {
            buf_printf(out, ",\"smallest\":%" PRId64 ",\"largest\":%" PRId64, block.zone_min,
                       block.zone_max);
        }
        buf_u8(out, '}');
    }
    buf_u8(out, ']');
}

/* ---- rows ---- */

/* The value at `place` as text; true where it goes into quotes in JSON. */
static bool value_draw(const struct vec *vec, uint32_t place, bool is_time, struct buf *out)
{
    switch (vec->kind) {
    case VEC_U32: buf_printf(out, "%u", vec->u32[place]); return false;
    case VEC_I64:
        if (is_time) {
            inspect_time(vec->i64[place], out);
            return true;
        }
        buf_printf(out, "%" PRId64, vec->i64[place]);
        return false;
    case VEC_NUM:
    case VEC_F64: num_format(vec_num(vec, place), out); return false;
    case VEC_BOOL: buf_z(out, vec->u8[place] != 0 ? "true" : "false"); return false;
    case VEC_CODE:
    case VEC_BYTES: buf_str(out, vec_str(vec, place)); return true;
    case VEC_LIST:
        for (uint32_t i = vec->offs[place]; i < vec->offs[place + 1]; i++) {
            buf_z(out, i > vec->offs[place] ? ", " : "");
            buf_str(out, dict_value(vec->dict, vec->u32[i]));
        }
        return true;
    case VEC_ABSENT: break;
    }
    return true;
}

/* One block's values of one column, as text per row. */
struct col_texts {
    struct str *texts;
    bool *is_quoted;
    bool *is_there;
};

static enum err_code col_read(const struct segment *segment, struct read_ctx *ctx, uint32_t idx,
                              uint32_t block, uint32_t rows, struct arena *arena,
                              struct col_texts *ret, struct err *err)
{
    CLEANUP(buf_freep) struct buf text = {0};
    struct segment_col_info col = segment_col_info(segment, idx);
    struct vec vec = {0};
    uint16_t *row_numbers = NULL;
    uint32_t *places = NULL;
    struct arena_mark mark;
    ERR_TRY(ARENA_NEW(arena, rows, &ret->texts, err));
    ERR_TRY(ARENA_NEW(arena, rows, &ret->is_quoted, err));
    ERR_TRY(ARENA_NEW(arena, rows, &ret->is_there, err));
    mark = arena_mark(ctx->arena);
    ERR_TRY(ARENA_NEW(ctx->arena, rows, &row_numbers, err));
    ERR_TRY(ARENA_NEW(ctx->arena, rows, &places, err));
    for (uint32_t r = 0; r < rows; r++) {
        row_numbers[r] = (uint16_t)r; /* of a block: below 65,536 */
    }
    ERR_TRY(source_read(segment_source(segment), ctx, col.col, block, &vec, err));
    vec_places(&vec, row_numbers, rows, places);
    for (uint32_t r = 0; r < rows; r++) {
        if (vec.kind == VEC_ABSENT || places[r] == UINT32_MAX) {
            continue;
        }
        buf_clear(&text);
        ret->is_quoted[r] = value_draw(&vec, places[r], col.type == COL_TIME, &text);
        ret->is_there[r] = true;
        ERR_TRY(buf_check(&text, err));
        ERR_TRY(arena_str(arena, buf_as_str(&text), &ret->texts[r], err));
    }
    arena_rewind(ctx->arena, mark);
    return ERR_OK;
}

static enum err_code block_rows_draw(const struct segment *segment, const struct col_texts *cols,
                                     uint32_t rows, struct sheet *sheet, struct err *err)
{
    uint32_t col_count = segment_info(segment).col_count;
    for (uint32_t r = 0; r < rows; r++) {
        ERR_TRY(sheet_row(sheet, err));
        for (uint32_t c = 0; c < col_count; c++) {
            if (cols[c].is_there[r]) {
                ERR_TRY(sheet_set(sheet, c, cols[c].texts[r], NULL, err));
            }
        }
    }
    return ERR_OK;
}

static void block_rows_json(const struct segment *segment, const struct col_texts *cols,
                            uint32_t rows, bool is_first, struct buf *out)
{
    uint32_t col_count = segment_info(segment).col_count;
    for (uint32_t r = 0; r < rows; r++) {
        bool has_any = false;
        buf_z(out, is_first && r == 0 ? "{" : ",{");
        for (uint32_t c = 0; c < col_count; c++) {
            if (!cols[c].is_there[r]) {
                continue;
            }
            buf_z(out, has_any ? "," : "");
            has_any = true;
            json_text(segment_col_info(segment, c).name, out);
            buf_u8(out, ':');
            if (cols[c].is_quoted[r]) {
                json_text(cols[c].texts[r], out);
            } else {
                buf_str(out, cols[c].texts[r]);
            }
        }
        buf_u8(out, '}');
    }
}

static enum err_code rows_draw(const struct segment *segment, struct io *io,
                               const struct inspect_opts *opts, struct buf *out, struct err *err)
{
    const struct source *source = segment_source(segment);
    struct segment_info info = segment_info(segment);
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    CLEANUP(arena_freep) struct arena *scratch = arena_create(NULL);
    CLEANUP(sheet_done) struct sheet sheet;
    struct read_ctx ctx = {.arena = scratch, .io = io};
    uint64_t left = MIN_OF(opts->rows, (uint64_t)source->row_count);
    sheet_init(&sheet);
    for (uint32_t c = 0; c < info.col_count && !opts->is_json; c++) {
        struct segment_col_info col = segment_col_info(segment, c);
        ERR_TRY(sheet_col(&sheet, col.name, col.type == COL_NUMBER, err));
    }
    buf_z(out, opts->is_json ? ",\"rows\":[" : "\n");
    for (uint32_t b = 0; left > 0; b++) {
        struct col_texts *cols = NULL;
        uint32_t rows = (uint32_t)MIN_OF(left, (uint64_t)source_block_rows(source, b));
        struct arena_mark mark = arena_mark(arena);
        ERR_TRY(ARENA_NEW(arena, info.col_count, &cols, err));
        for (uint32_t c = 0; c < info.col_count; c++) {
            ERR_TRY(col_read(segment, &ctx, c, b, rows, arena, &cols[c], err));
        }
        if (opts->is_json) {
            block_rows_json(segment, cols, rows, b == 0, out);
        } else {
            ERR_TRY(block_rows_draw(segment, cols, rows, &sheet, err));
        }
        arena_rewind(arena, mark);
        left -= rows;
    }
    if (opts->is_json) {
        buf_u8(out, ']');
    } else {
        ERR_TRY(sheet_draw(&sheet, opts->has_colour, out, err));
    }
    return buf_check(out, err);
}

/* ---- the whole ---- */

static void head_draw(const struct segment *segment, struct buf *out)
{
    const struct source *source = segment_source(segment);
    struct segment_info info = segment_info(segment);
    buf_z(out, "segment ");
    term_text(str_of(segment_path(segment)), false, out);
    buf_printf(out, "\nformat %u · %u rows in %u blocks · ", info.version, source->row_count,
               source->block_count);
    draw_bytes(info.file_bytes, out);
    buf_printf(out, ", %.2f bytes per event\nshard %u · subjects %u .. %u in %u ranges · ",
               (double)info.file_bytes / (double)MAX_OF(source->row_count, 1u), source->shard,
               source->subject_first, source->subject_last, info.subject_ranges);
    inspect_time(source->time_min_ms, out);
    buf_z(out, " .. ");
    inspect_time(source->time_max_ms, out);
    buf_printf(out, " · identity version %" PRIu64 "\n%u event names · %u subject sets, ",
               source->identity_version, info.event_count, info.set_count);
    draw_bytes(info.set_bytes, out);
    buf_z(out, " · footer ");
    draw_bytes(info.footer_bytes, out);
    buf_z(out, "\n\n");
}

static void head_json(const struct segment *segment, struct buf *out)
{
    const struct source *source = segment_source(segment);
    struct segment_info info = segment_info(segment);
    buf_z(out, "{\"path\":");
    json_text(str_of(segment_path(segment)), out);
    buf_printf(out,
               ",\"version\":%u,\"bytes\":%" PRIu64 ",\"rows\":%u,\"blocks\":%u,\"shard\":%u"
               ",\"subject_first\":%u,\"subject_last\":%u,\"time_first_ms\":%" PRId64
               ",\"time_last_ms\":%" PRId64 ",\"identity_version\":%" PRIu64
               ",\"events\":%u,\"subject_sets\":%u,\"subject_set_bytes\":%" PRIu64
               ",\"footer_bytes\":%" PRIu64 ",\"subject_ranges\":%u,",
               info.version, info.file_bytes, source->row_count, source->block_count, source->shard,
               source->subject_first, source->subject_last, source->time_min_ms,
               source->time_max_ms, source->identity_version, info.event_count, info.set_count,
               info.set_bytes, info.footer_bytes, info.subject_ranges);
}

/* The column called `name`, for --column. */
static enum err_code col_find(const struct segment *segment, const char *name, uint32_t *ret,
                              struct err *err)
{
    uint32_t count = segment_info(segment).col_count;
    for (uint32_t i = 0; i < count; i++) {
        if (str_eq(segment_col_info(segment, i).name, str_of(name))) {
            *ret = i;
            return ERR_OK;
        }
    }
    return err_set(err, ERR_NOT_FOUND, "\"%s\" has no column \"%.200s\"", segment_path(segment),
                   name);
}

enum err_code inspect_segment(const struct segment *segment, struct io *io,
                              const struct inspect_opts *opts, struct buf *out, struct err *err)
{
    struct segment_info info = segment_info(segment);
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    struct inspect_col *cols = NULL;
    uint32_t column = 0;
    if (opts->column != NULL) {
        ERR_TRY(col_find(segment, opts->column, &column, err));
    }
    ERR_TRY(ARENA_NEW(arena, info.col_count, &cols, err));
    for (uint32_t i = 0; i < info.col_count; i++) {
        cols[i] = inspect_col_of(segment, i);
    }
    if (opts->is_json) {
        head_json(segment, out);
        inspect_cols_json(cols, info.col_count, segment, out);
        if (opts->column != NULL) {
            blocks_json(segment, column, out);
        }
        if (opts->rows > 0) {
            ERR_TRY(rows_draw(segment, io, opts, out, err));
        }
        buf_z(out, "}\n");
        return buf_check(out, err);
    }
    head_draw(segment, out);
    ERR_TRY(inspect_cols_draw(cols, info.col_count, segment, segment_source(segment)->row_count,
                              info.file_bytes, opts->has_colour, out, err));
    if (opts->column != NULL) {
        ERR_TRY(blocks_draw(segment, column, opts->has_colour, out, err));
    }
    return opts->rows > 0 ? rows_draw(segment, io, opts, out, err) : buf_check(out, err);
}
