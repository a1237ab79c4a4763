/* client/sheet.c - see sheet.h. */
#include "client/sheet.h"

#include "client/term.h"
#include "storage/base/size.h"

#include <stdlib.h>

#define SHEET_COLS_MAX 4096u

void sheet_init(struct sheet *sheet)
{
    *sheet = (struct sheet){.arena = arena_create(NULL), .rule_row = SIZE_MAX};
}

void sheet_done(struct sheet *sheet)
{
    arena_free(sheet->arena);
    free(sheet->cols);
    free(sheet->cells);
    *sheet = (struct sheet){0};
}

/* A harmless copy that lives as long as the sheet. */
static enum err_code text_keep(struct sheet *sheet, struct str text, struct str *ret,
                               struct err *err)
{
    CLEANUP(buf_freep) struct buf harmless = {0};
    term_text(text, false, &harmless);
    ERR_TRY(buf_check(&harmless, err));
    return arena_str(sheet->arena, buf_as_str(&harmless), ret, err);
}

static void widen(struct sheet_col *col, struct str text)
{
    size_t width = MIN_OF(term_width(text), (size_t)SHEET_CELL_COLUMNS_MAX);
    col->width = MAX_OF(col->width, width);
}

enum err_code sheet_col(struct sheet *sheet, struct str header, bool is_right, struct err *err)
{
    ASSERT(sheet->row_count == 0);
    if (sheet->col_count == SHEET_COLS_MAX) {
        return err_set(err, ERR_LIMIT, "a table of more than %u columns; take another --format",
                       SHEET_COLS_MAX);
    }
    if (sheet->col_count == sheet->col_cap) {
        uint32_t cap = sheet->col_cap == 0 ? 16 : sheet->col_cap * 2;
        struct sheet_col *cols = realloc(sheet->cols, cap * sizeof(*cols));
        if (cols == NULL) {
            return err_set(err, ERR_NOMEM, "out of memory: a table of %u columns", cap);
        }
        sheet->cols = cols;
        sheet->col_cap = cap;
    }
    struct sheet_col *col = &sheet->cols[sheet->col_count];
    *col = (struct sheet_col){.is_right = is_right};
    ERR_TRY(text_keep(sheet, header, &col->header, err));
    widen(col, col->header);
    sheet->col_count++;
    return ERR_OK;
}

enum err_code sheet_row(struct sheet *sheet, struct err *err)
{
    if (sheet->row_count == sheet->row_cap) {
        size_t cap = sheet->row_cap == 0 ? 64 : sheet->row_cap * 2;
        size_t bytes = 0;
        struct sheet_cell *cells = NULL;
        if (size_mul(cap, sheet->col_count * sizeof(*cells), &bytes)) {
            cells = realloc(sheet->cells, MAX_OF(bytes, (size_t)1));
        }
        if (cells == NULL) {
            return err_set(err, ERR_NOMEM, "out of memory: a table of %zu rows", cap);
        }
        sheet->cells = cells;
        sheet->row_cap = cap;
    }
    for (uint32_t col = 0; col < sheet->col_count; col++) {
        sheet->cells[sheet->row_count * sheet->col_count + col] =
            (struct sheet_cell){.text = {"", 0}};
    }
    sheet->row_count++;
    return ERR_OK;
}

enum err_code sheet_set(struct sheet *sheet, uint32_t col, struct str text, const char *style,
                        struct err *err)
{
    ASSERT(sheet->row_count > 0);
    ASSERT(col < sheet->col_count);
    struct sheet_cell *cell = &sheet->cells[(sheet->row_count - 1) * sheet->col_count + col];
    cell->style = style;
    ERR_TRY(text_keep(sheet, text, &cell->text, err));
    widen(&sheet->cols[col], cell->text);
    return ERR_OK;
}

size_t sheet_width(const struct sheet *sheet)
{
    size_t width = 0;
    for (uint32_t col = 0; col < sheet->col_count; col++) {
        width += sheet->cols[col].width + (col > 0 ? 2 : 0);
    }
    return width;
}

static void draw_cell(const struct sheet_col *col, struct str text, const char *style, bool is_last,
                      struct buf *out)
{
    /* No spaces at the end of a line, but where a style paints them. */
    size_t width = is_last && !col->is_right && style == NULL ? MIN_OF(term_width(text), col->width)
                                                              : col->width;
    buf_z(out, style != NULL ? style : "");
    term_pad(text, width, col->is_right, out);
    buf_z(out, style != NULL ? TERM_RESET : "");
}

static void draw_rule(const struct sheet *sheet, bool has_colour, struct buf *out)
{
    buf_z(out, has_colour ? TERM_DIM : "");
    for (uint32_t col = 0; col < sheet->col_count; col++) {
        buf_z(out, col > 0 ? "  " : "");
        for (size_t i = 0; i < sheet->cols[col].width; i++) {
            buf_z(out, "─");
        }
    }
    buf_z(out, has_colour ? TERM_RESET "\n" : "\n");
}

/* A line of cells; those at its end that are empty need no padding before them. */
static void draw_line(const struct sheet *sheet, const struct sheet_cell *cells, bool has_colour,
                      struct buf *out)
{
    uint32_t used = sheet->col_count;
    while (used > 1 && cells[used - 1].text.len == 0) {
        used--;
    }
    for (uint32_t col = 0; col < used; col++) {
        buf_z(out, col > 0 ? "  " : "");
        draw_cell(&sheet->cols[col], cells[col].text, has_colour ? cells[col].style : NULL,
                  col + 1 == used, out);
    }
    buf_u8(out, '\n');
}

enum err_code sheet_draw(const struct sheet *sheet, bool has_colour, struct buf *out,
                         struct err *err)
{
    struct sheet_cell *headers = NULL;
    ERR_TRY(ARENA_NEW(sheet->arena, sheet->col_count, &headers, err));
    for (uint32_t col = 0; col < sheet->col_count; col++) {
        headers[col] = (struct sheet_cell){sheet->cols[col].header, TERM_BOLD};
    }
    draw_line(sheet, headers, has_colour, out);
    draw_rule(sheet, has_colour, out);
    for (size_t row = 0; row < sheet->row_count; row++) {
        if (row == sheet->rule_row) {
            draw_rule(sheet, has_colour, out);
        }
        draw_line(sheet, sheet->cells + row * sheet->col_count, has_colour, out);
    }
    return buf_check(out, err);
}
