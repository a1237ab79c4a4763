/* query/result_csv.c - RFC 4180: a header, CRLF, quotes where a field needs them.
 *
 * Null is an empty field, the empty string a pair of quotes. Lists are JSON arrays. Totals are left
 * out, for a program that adds up a column would add them too. */
#include "query/result_int.h"

static bool csv_needs_quotes(struct str s)
{
    /* "#": no row is to look like the last line of an export (export.h) */
    if (s.len == 0 || s.ptr[0] == ' ' || s.ptr[0] == '#' || s.ptr[s.len - 1] == ' ') {
        return true;
    }
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (c == ',' || c == '"' || c == '\r' || c == '\n') {
            return true;
        }
    }
    return false;
}

static void csv_string(struct str s, struct buf *out)
{
    if (!csv_needs_quotes(s)) {
        buf_str(out, s);
        return;
    }
    buf_u8(out, '"');
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '"') {
            buf_u8(out, '"');
        }
        buf_u8(out, (uint8_t)s.ptr[i]);
    }
    buf_u8(out, '"');
}

static void csv_cell(const struct cell *cell, struct buf *out)
{
    if (cell->kind == CELL_NULL) {
        return;
    }
    if (cell->kind == CELL_STRING) {
        csv_string(cell->string, out);
    } else if (cell->kind == CELL_LIST) {
        CLEANUP(buf_freep) struct buf text = {0};
        result_json_cell(cell, &text);
        csv_string(buf_as_str(&text), out);
        out->is_bad |= text.is_bad;
    } else {
        result_json_cell(cell, out);
    }
}

void result_csv_head(const struct result *result, struct buf *out)
{
    for (uint32_t c = 0; c < result->col_count; c++) {
        if (c > 0) {
            buf_u8(out, ',');
        }
        csv_string(result->cols[c].name, out);
    }
    buf_z(out, "\r\n");
}

void result_csv_row(const struct cell *cells, uint32_t count, struct buf *out)
{
    for (uint32_t c = 0; c < count; c++) {
        if (c > 0) {
            buf_u8(out, ',');
        }
        csv_cell(&cells[c], out);
    }
    buf_z(out, "\r\n");
}

void result_write_csv(const struct result *result, struct buf *out)
{
    result_csv_head(result, out);
    for (uint64_t r = 0; r < result->row_count; r++) {
        result_csv_row(result->cells + r * result->col_count, result->col_count, out);
    }
}
