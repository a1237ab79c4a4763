#include "query/result_int.h"

#include "storage/base/double_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Length of the UTF-8 character at s[0 .. len), 0 where there is none. Overlong forms, surrogates
 * and what lies above U+10FFFF are none. */
static size_t utf8_len(const uint8_t *s, size_t len)
{
    if (s[0] < 0x80) {
        return 1;
    }
    size_t want = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || want > len) {
        return 0;
    }
    uint8_t low = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80;
    uint8_t high = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;
    if (s[1] < low || s[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < want; i++) {
        if (s[i] < 0x80 || s[i] > 0xbf) {
            return 0;
        }
    }
    return want;
}

static bool is_plain(uint8_t c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

static void json_escape(uint8_t c, struct buf *out)
{
    switch (c) {
    case '"': buf_z(out, "\\\""); return;
    case '\\': buf_z(out, "\\\\"); return;
    case '\n': buf_z(out, "\\n"); return;
    case '\r': buf_z(out, "\\r"); return;
    case '\t': buf_z(out, "\\t"); return;
    default: buf_printf(out, "\\u%04x", c); return;
    }
}

void result_json_string(struct str s, struct buf *out)
{
    const uint8_t *bytes = (const uint8_t *)s.ptr;
    size_t begin = 0; /* of a run that is copied as it is */
    buf_u8(out, '"');
    for (size_t i = 0; i < s.len;) {
        size_t len = is_plain(bytes[i]) ? 1 : utf8_len(bytes + i, s.len - i);
        if (len > 1 || (len == 1 && is_plain(bytes[i]))) {
            i += len;
            continue;
        }
        buf_append(out, bytes + begin, i - begin);
        if (len == 0) {
            buf_z(out, "\xef\xbf\xbd");
        } else {
            json_escape(bytes[i], out);
        }
        begin = ++i;
    }
    if (s.len > begin) {
        buf_append(out, bytes + begin, s.len - begin);
    }
    buf_u8(out, '"');
}

void result_double(double v, struct buf *out)
{
    char text[DOUBLE_TEXT_BYTES];
    if (v == 0.0) { /* "-0" is not told apart */
        buf_z(out, "0");
        return;
    }
    buf_append(out, text, double_text(v, text));
}

static void json_list(const struct cell *cell, struct buf *out)
{
    buf_u8(out, '[');
    for (uint32_t i = 0; i < cell->list.count; i++) {
        if (i > 0) {
            buf_u8(out, ',');
        }
        result_json_string(cell->list.items[i], out);
    }
    buf_u8(out, ']');
}

void result_json_cell(const struct cell *cell, struct buf *out)
{
    switch (cell->kind) {
    case CELL_NULL: buf_z(out, "null"); return;
    case CELL_I64: buf_int(out, cell->i64); return;
    case CELL_F64: result_double(cell->f64, out); return;
    case CELL_DECIMAL: num_total_format(cell->decimal, out); return;
    case CELL_STRING: result_json_string(cell->string, out); return;
    case CELL_BOOL: buf_z(out, cell->boolean ? "true" : "false"); return;
    case CELL_LIST: json_list(cell, out); return;
    }
}

void result_json_row(const struct cell *cells, uint32_t count, struct buf *out)
{
    buf_u8(out, '[');
    for (uint32_t c = 0; c < count; c++) {
        if (c > 0) {
            buf_u8(out, ',');
        }
        result_json_cell(&cells[c], out);
    }
    buf_u8(out, ']');
}

void result_json_columns(const struct result *result, struct buf *out)
{
    buf_z(out, "{\"columns\":[");
    for (uint32_t c = 0; c < result->col_count; c++) {
        buf_z(out, c > 0 ? ",{\"name\":" : "{\"name\":");
        result_json_string(result->cols[c].name, out);
        buf_printf(out, ",\"type\":\"%s\"}", result_type_name(result->cols[c].type));
    }
    buf_z(out, "]");
}

static void json_member(const char *name, struct str value, struct buf *out)
{
    buf_printf(out, "\"%s\":", name);
    result_json_string(value, out);
    buf_u8(out, ',');
}

static void json_meta(const struct result_meta *meta, struct buf *out)
{
    buf_z(out, "\"meta\":{");
    json_member("dataset", meta->dataset, out);
    buf_printf(out, "\"epoch\":%" PRIu64 ",", meta->epoch);
    if (meta->watermark.len > 0) {
        json_member("watermark", meta->watermark, out);
    } else {
        buf_z(out, "\"watermark\":null,");
    }
    if (meta->history_from.len > 0) {
        json_member("history_from", meta->history_from, out);
    }
    buf_printf(out, "\"exact\":%s,\"partial\":%s,", meta->exact ? "true" : "false",
               meta->partial ? "true" : "false");
    json_member("time_zone", meta->time_zone, out);
    json_member("time_zone_version", meta->zone_version, out);
    json_member("verb", meta->verb, out);
    buf_printf(
        out,
        "\"elapsed_us\":%" PRIu64 ",\"rows_read\":%" PRIu64 ",\"bytes_read\":%" PRIu64
        ",\"blocks_loaded\":%" PRIu64 ",\"segments\":%" PRIu64 ",\"segments_pruned\":%" PRIu64
        ",\"cached\":%" PRIu64 ",\"rows_total\":%" PRIu64 ",\"rows_left_out\":%" PRIu64,
        meta->elapsed_us, meta->rows_read, meta->bytes_read, meta->blocks_loaded, meta->segments,
        meta->segments_pruned, meta->cached, meta->rows_total, meta->rows_left_out);
    if (meta->has_entries) {
        buf_printf(out, ",\"entered\":%" PRIu64 ",\"mature\":%" PRIu64, meta->entered,
                   meta->mature);
    }
    buf_z(out, ",\"warnings\":[");
    for (uint32_t i = 0; i < meta->warning_count; i++) {
        if (i > 0) {
            buf_u8(out, ',');
        }
        result_json_string(meta->warnings[i], out);
    }
    buf_z(out, "]}");
}

void result_write_json(const struct result *result, struct buf *out)
{
    result_json_columns(result, out);
    buf_z(out, ",\"rows\":[");
    for (uint64_t r = 0; r < result->row_count; r++) {
        if (r > 0) {
            buf_u8(out, ',');
        }
        result_json_row(result->cells + r * result->col_count, result->col_count, out);
    }
    buf_z(out, "],\"totals\":");
    if (result->totals != NULL) {
        result_json_row(result->totals, result->col_count, out);
    } else {
        buf_z(out, "null");
    }
    buf_u8(out, ',');
    json_meta(&result->meta, out);
    buf_z(out, "}\n");
}

void result_write_ndjson(const struct result *result, struct buf *out)
{
    for (uint64_t r = 0; r < result->row_count; r++) {
        const struct cell *cells = result->cells + r * result->col_count;
        buf_u8(out, '{');
        for (uint32_t c = 0; c < result->col_count; c++) {
            if (c > 0) {
                buf_u8(out, ',');
            }
            result_json_string(result->cols[c].name, out);
            buf_u8(out, ':');
            result_json_cell(&cells[c], out);
        }
        buf_z(out, "}\n");
    }
}
