/* client/sheet.h - text in columns: what every drawing of an answer ends as.
 *
 *     step  event        users
 *     ────  ───────────  ─────
 *        1  register     48210
 *
 * Thread: one owner. Ownership: texts are copied, harmless (term.h), into the sheet's arena.
 */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/buf.h"

struct sheet_cell {
    struct str text;
    const char *style; /* an escape sequence, or NULL; used only with colours */
};
struct sheet_col {
    struct str header;
    bool is_right;
    size_t width;
};
struct sheet {
    struct arena *arena;
    struct sheet_col *cols;
    uint32_t col_count, col_cap;
    struct sheet_cell *cells; /* row by row */
    size_t row_count, row_cap;
    size_t rule_row; /* a rule above this row (totals); SIZE_MAX: none */
};

#define SHEET_CELL_COLUMNS_MAX 120u /* longer texts are cut with … */

void sheet_init(struct sheet *sheet);
void sheet_done(struct sheet *sheet);
/* Columns come before the first row. */
enum err_code sheet_col(struct sheet *sheet, struct str header, bool is_right,
                        struct err *err) ERR_MUST_CHECK;
enum err_code sheet_row(struct sheet *sheet, struct err *err) ERR_MUST_CHECK; /* of empty cells */
/* Set a cell of the last row. */
enum err_code sheet_set(struct sheet *sheet, uint32_t col, struct str text, const char *style,
                        struct err *err) ERR_MUST_CHECK;
/* Columns of a terminal that the drawing takes. */
size_t sheet_width(const struct sheet *sheet);
enum err_code sheet_draw(const struct sheet *sheet, bool has_colour, struct buf *out,
                         struct err *err) ERR_MUST_CHECK;
