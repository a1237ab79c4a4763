/* client/draw.c - see draw.h. */
#include "client/draw.h"

#include "client/sheet.h"
#include "client/term.h"
#include "storage/base/size.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define BAR_COLUMNS        28u
#define BAR_COLUMNS_MIN    4u  /* a narrower bar says nothing */
#define FRACTION_DIGITS    6u  /* longer fractions are rounded */
#define WHOLE_DIGITS_MAX   11u /* a double holds these and four more */
#define GRID_WIDE_PERIODS  14u /* with more periods than this a grid shows whole percents */
#define TABLE_CELLS_BARRED 1000u

/* ---- pieces ---- */

void draw_share(double share, struct buf *out)
{
    buf_printf(out, "%.1f%%", share * 100);
}

void draw_duration_ms(double ms, struct buf *out)
{
    static const struct {
        double ms;
        const char *unit;
        double part_ms;
        const char *part_unit;
    } LARGE[] = {
        {86400000, "d", 3600000, "h"}, {3600000, "h", 60000, "m"}, {60000, "m", 1000, "s"}};
    if (ms < 1000) {
        buf_printf(out, "%.0fms", ms);
        return;
    }
    if (ms < 59950) {
        buf_printf(out, "%.1fs", ms / 1000);
        return;
    }
    for (size_t i = 0; i < COUNT_OF(LARGE); i++) {
        /* Rounded in the smaller unit first, so that 59.6 minutes are 1h 00m and not 60m. */
        double parts = round(ms / LARGE[i].part_ms);
        double per_unit = LARGE[i].ms / LARGE[i].part_ms;
        if (parts >= per_unit) {
            buf_printf(out, "%.0f%s %02.0f%s", floor(parts / per_unit), LARGE[i].unit,
                       fmod(parts, per_unit), LARGE[i].part_unit);
            return;
        }
    }
}

void draw_number(struct str text, struct buf *out)
{
    const char *point = memchr(text.ptr, '.', text.len);
    bool has_exponent =
        memchr(text.ptr, 'e', text.len) != NULL || memchr(text.ptr, 'E', text.len) != NULL;
    size_t whole = point == NULL ? text.len : (size_t)(point - text.ptr);
    size_t fraction = point == NULL ? 0 : text.len - whole - 1;
    char z[64];
    if (has_exponent || fraction <= FRACTION_DIGITS || whole > WHOLE_DIGITS_MAX ||
        text.len >= sizeof(z)) {
        buf_str(out, text);
        return;
    }
    memcpy(z, text.ptr, text.len);
    z[text.len] = '\0';
    double v = strtod(z, NULL);
    /* Small numbers keep four digits that say something. */
    buf_printf(out, fabs(v) >= 0.1 ? "%.4f" : "%.4g", v);
}

void draw_bytes(uint64_t bytes, struct buf *out)
{
    static const char *const UNITS[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double v = (double)bytes;
    size_t unit = 0;
    while (v >= 999.95 && unit + 1 < COUNT_OF(UNITS)) {
        v /= 1000;
        unit++;
    }
    buf_printf(out, unit == 0 ? "%.0f %s" : "%.1f %s", v, UNITS[unit]);
}

void draw_bar(double share, uint32_t columns, struct buf *out)
{
    static const char *const EIGHTHS[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    double clamped = share < 0 || isnan(share) ? 0 : share > 1 ? 1 : share;
    uint32_t eighths = (uint32_t)lround(clamped * columns * 8);
    if (eighths == 0 && clamped > 0) {
        eighths = 1; /* something is not nothing */
    }
    for (uint32_t i = 0; i < eighths / 8; i++) {
        buf_z(out, "█");
    }
    buf_z(out, EIGHTHS[eighths % 8]);
}

const char *draw_shade(double share)
{
    return share >= 0.75   ? "█"
           : share >= 0.5  ? "▓"
           : share >= 0.25 ? "▒"
           : share >= 0.05 ? "░"
                           : " ";
}

/* ---- cells ---- */

enum cell_look { LOOK_PLAIN, LOOK_SHARE, LOOK_DURATION };

static void cell_draw(const struct json_tree *tree, uint32_t node_idx, enum cell_look look,
                      struct buf *out)
{
    const struct json_node *node = &tree->nodes[node_idx];
    switch (node->kind) {
    case JSON_TREE_NULL: return;
    case JSON_TREE_TRUE: buf_z(out, "true"); return;
    case JSON_TREE_FALSE: buf_z(out, "false"); return;
    case JSON_TREE_STRING: buf_str(out, node->text); return;
    case JSON_TREE_NUMBER:
        if (look == LOOK_SHARE) {
            draw_share(result_table_real(node), out);
        } else if (look == LOOK_DURATION) {
            draw_duration_ms(result_table_real(node), out);
        } else {
            draw_number(node->text, out);
        }
        return;
    case JSON_TREE_ARRAY:
    case JSON_TREE_OBJECT: break;
    }
    for (uint32_t at = node_idx + 1; at < node->end; at = tree->nodes[at].end) {
        buf_z(out, at > node_idx + 1 ? ", " : "");
        cell_draw(tree, at, LOOK_PLAIN, out);
    }
}

/* How many leading columns name the row: time bucket and `by` keys. The answer does not say so of a trend;
 * a measure there has a total, or counts, or still has the text of its call as its name. */
static uint32_t key_col_count(const struct result_table *table)
{
    static const struct {
        const char *verb;
        const char *first_measure;
    } FIXED[] = {{"funnel", "step"}, {"retention", "period"}};
    for (size_t i = 0; i < COUNT_OF(FIXED); i++) {
        if (str_eq(table->verb, str_of(FIXED[i].verb))) {
            uint32_t col = result_table_col(table, FIXED[i].first_measure);
            return col == UINT32_MAX ? 0 : col;
        }
    }
    if (!str_eq(table->verb, STR("trend")) && !str_eq(table->verb, STR("distinct"))) {
        return 0;
    }
    uint32_t col = 0;
    for (; col < table->col_count; col++) {
        bool has_totals = table->totals != NULL;
        bool has_total = has_totals && table->tree.nodes[table->totals[col]].kind != JSON_TREE_NULL;
        bool may_be_key = has_totals ? !str_eq(table->types[col], STR("int64"))
                                     : !result_table_is_number(table, col);
        if (has_total || !may_be_key || str_ends(table->names[col], STR(")"))) {
            break;
        }
    }
    return col;
}

static enum err_code sheet_set_node(struct sheet *sheet, uint32_t col,
                                    const struct result_table *table, uint32_t node,
                                    enum cell_look look, struct err *err)
{
    CLEANUP(buf_freep) struct buf text = {0};
    cell_draw(&table->tree, node, look, &text);
    ERR_TRY(buf_check(&text, err));
    return sheet_set(sheet, col, buf_as_str(&text), NULL, err);
}

/* A cell that names its row: what is missing is told from what is empty. */
static enum err_code sheet_set_key(struct sheet *sheet, uint32_t at,
                                   const struct result_table *table, uint64_t row, uint32_t col,
                                   struct err *err)
{
    uint32_t node = table->cells[row * table->col_count + col];
    return table->tree.nodes[node].kind == JSON_TREE_NULL
               ? sheet_set(sheet, at, STR("(none)"), TERM_DIM, err)
               : sheet_set_node(sheet, at, table, node, LOOK_PLAIN, err);
}

/* ---- tables, with a bar where one figure stands for the row ---- */

/* The column a bar shows, or UINT32_MAX: the last one, if no other is a number. */
static uint32_t barred_col(const struct result_table *table)
{
    bool is_series = str_eq(table->verb, STR("trend")) || str_eq(table->verb, STR("distinct"));
    uint32_t last = table->col_count - 1;
    if (!is_series || table->col_count < 2 || table->row_count < 2 ||
        table->row_count > TABLE_CELLS_BARRED || !result_table_is_number(table, last)) {
        return UINT32_MAX;
    }
    for (uint32_t col = 0; col < last; col++) {
        if (result_table_is_number(table, col)) {
            return UINT32_MAX;
        }
    }
    return last;
}

static double col_max(const struct result_table *table, uint32_t col)
{
    double max = 0;
    for (uint64_t row = 0; row < table->row_count; row++) {
        max = fmax(max, result_table_real(result_table_cell(table, row, col)));
    }
    return max;
}

/* How the columns of the verbs are shown: by name, and for funnels and retentions only. */
static enum cell_look col_look(const struct result_table *table, uint32_t col)
{
    static const char *const SHARES[] = {"from_first", "from_previous", "rate"};
    bool is_funnel = str_eq(table->verb, STR("funnel"));
    if (!is_funnel && !str_eq(table->verb, STR("retention"))) {
        return LOOK_PLAIN;
    }
    for (size_t i = 0; i < COUNT_OF(SHARES); i++) {
        if (str_eq(table->names[col], str_of(SHARES[i]))) {
            return LOOK_SHARE;
        }
    }
    bool is_time =
        is_funnel && result_table_is_number(table, col) && str_ends(table->names[col], STR("_ms"));
    return is_time ? LOOK_DURATION : LOOK_PLAIN;
}

static struct str col_header(const struct result_table *table, uint32_t col)
{
    struct str name = table->names[col];
    name.len -= col_look(table, col) == LOOK_DURATION ? 3 : 0; /* "_ms": the cells say their unit */
    return name;
}

/* What a table shows besides the columns of the answer. */
struct table_look {
    uint32_t bar_col;     /* behind this column stands a bar; UINT32_MAX: nowhere */
    uint32_t share_col;   /* the share it shows; UINT32_MAX: that of bar_col in its largest */
    uint32_t bar_columns; /* its width */
    uint32_t key_count;
};

static enum err_code table_row(struct sheet *sheet, const struct result_table *table,
                               const struct table_look *look, uint64_t row, double max,
                               struct err *err)
{
    CLEANUP(buf_freep) struct buf bar = {0};
    uint32_t at = 0;
    ERR_TRY(sheet_row(sheet, err));
    for (uint32_t col = 0; col < table->col_count; col++) {
        ERR_TRY(col < look->key_count
                    ? sheet_set_key(sheet, at++, table, row, col, err)
                    : sheet_set_node(sheet, at++, table, table->cells[row * table->col_count + col],
                                     col_look(table, col), err));
        if (col == look->bar_col) {
            uint32_t from = look->share_col != UINT32_MAX ? look->share_col : col;
            double v = result_table_real(result_table_cell(table, row, from));
            draw_bar(max > 0 ? v / max : 0, look->bar_columns, &bar);
            ERR_TRY(sheet_set(sheet, at++, buf_as_str(&bar), "\x1b[36m", err));
        }
    }
    return ERR_OK;
}

static enum err_code table_fill(struct sheet *sheet, const struct result_table *table,
                                const struct table_look *look, struct err *err)
{
    for (uint32_t col = 0; col < table->col_count; col++) {
        ERR_TRY(sheet_col(sheet, col_header(table, col), result_table_is_number(table, col), err));
        if (col == look->bar_col) {
            ERR_TRY(sheet_col(sheet, STR(""), false, err));
        }
    }
    double max = look->bar_col != UINT32_MAX && look->share_col == UINT32_MAX
                     ? col_max(table, look->bar_col)
                     : 1;
    for (uint64_t row = 0; row < table->row_count; row++) {
        ERR_TRY(table_row(sheet, table, look, row, max, err));
    }
    /* Totals under what they are the totals of; one row needs none, and a funnel's is its last step. */
    if (table->totals != NULL && table->row_count > 1 && look->share_col == UINT32_MAX) {
        uint32_t at = 0;
        sheet->rule_row = sheet->row_count;
        ERR_TRY(sheet_row(sheet, err));
        for (uint32_t col = 0; col < table->col_count; col++) {
            uint32_t node = table->totals[col];
            bool is_label = col == 0 && table->tree.nodes[node].kind == JSON_TREE_NULL;
            ERR_TRY(is_label ? sheet_set(sheet, at, STR("total"), NULL, err)
                             : sheet_set_node(sheet, at, table, node, col_look(table, col), err));
            at += col == look->bar_col ? 2 : 1;
        }
    }
    return ERR_OK;
}

/* Draw; a terminal breaks the lines of what is too wide for it, which is said and not hidden by cuts. */
static enum err_code sheet_finish(const struct sheet *sheet, bool has_colour, size_t columns,
                                  struct buf *out, struct err *err)
{
    ERR_TRY(sheet_draw(sheet, has_colour, out, err));
    size_t width = sheet_width(sheet);
    if (columns > 0 && width > columns) {
        buf_printf(out, "%s%zu columns on a terminal of %zu; | less -S shows lines whole%s\n",
                   has_colour ? TERM_DIM : "", width, columns, has_colour ? TERM_RESET : "");
    }
    return buf_check(out, err);
}

/* All columns as they are, and the bar in what a terminal of `columns` (0: no limit) leaves to it. */
static enum err_code draw_table(const struct result_table *table, struct table_look look,
                                bool has_colour, size_t columns, struct buf *out, struct err *err)
{
    look.bar_columns = BAR_COLUMNS;
    look.key_count = key_col_count(table);
    for (;;) {
        CLEANUP(sheet_done) struct sheet sheet;
        sheet_init(&sheet);
        ERR_TRY(table_fill(&sheet, table, &look, err));
        size_t width = sheet_width(&sheet);
        if (columns == 0 || width <= columns || look.bar_col == UINT32_MAX) {
            return sheet_finish(&sheet, has_colour, columns, out, err);
        }
        size_t over = width - columns;
        if (look.bar_columns == BAR_COLUMNS && over + BAR_COLUMNS_MIN <= BAR_COLUMNS) {
            look.bar_columns -= (uint32_t)over;
        } else {
            look.bar_col = UINT32_MAX;
        }
    }
}

/* ---- the retention grid: cohorts down, periods across ---- */

/* 256-colour backgrounds from pale to strong, with a foreground that can be read on them. */
static const char *grid_style(double share)
{
    static const char *const STYLES[] = {"\x1b[48;5;255;38;5;16m", "\x1b[48;5;195;38;5;16m",
                                         "\x1b[48;5;153;38;5;16m", "\x1b[48;5;111;38;5;16m",
                                         "\x1b[48;5;69;38;5;231m", "\x1b[48;5;26;38;5;231m"};
    static const double FROM[] = {0.05, 0.15, 0.30, 0.50, 0.75};
    size_t style = 0;
    while (style < COUNT_OF(FROM) && share >= FROM[style]) {
        style++;
    }
    return STYLES[style];
}

struct grid {
    const struct result_table *table;
    uint32_t period, size, users, rate, complete; /* columns; those before `period` name a line */
    uint64_t period_count;
    bool has_running; /* some period is not over */
    bool has_shades;  /* as characters before the share */
    bool has_tenths;  /* of a percent */
};

static bool grid_find(const struct result_table *table, struct grid *ret)
{
    *ret = (struct grid){
        .table = table,
        .period = result_table_col(table, "period"),
        .size = result_table_col(table, "size"),
        .users = result_table_col(table, "users"),
        .rate = result_table_col(table, "rate"),
        .complete = result_table_col(table, "complete"),
    };
    if (ret->period == UINT32_MAX || ret->size == UINT32_MAX || ret->users == UINT32_MAX ||
        ret->rate == UINT32_MAX || ret->complete == UINT32_MAX) {
        return false;
    }
    for (uint64_t row = 0; row < table->row_count; row++) {
        double period = result_table_real(result_table_cell(table, row, ret->period));
        if (!(period >= 0 && period < 1000)) {
            return false; /* not a grid one can draw: the plain table shows it */
        }
        ret->period_count = MAX_OF(ret->period_count, (uint64_t)period + 1);
        ret->has_running = ret->has_running ||
                           result_table_cell(table, row, ret->complete)->kind == JSON_TREE_FALSE;
    }
    return true;
}

/* Does this row start a new line: another cohort, or another key? */
static bool grid_is_new_line(const struct grid *grid, uint64_t row)
{
    const struct result_table *table = grid->table;
    for (uint32_t col = 0; row > 0 && col < grid->period; col++) {
        const struct json_node *a = result_table_cell(table, row - 1, col);
        const struct json_node *b = result_table_cell(table, row, col);
        if (a->kind != b->kind || !str_eq(a->text, b->text)) {
            return true;
        }
    }
    return row == 0;
}

static uint64_t grid_line_count(const struct grid *grid)
{
    uint64_t lines = 0;
    for (uint64_t row = 0; row < grid->table->row_count; row++) {
        lines += grid_is_new_line(grid, row);
    }
    return lines;
}

static enum err_code grid_set(struct sheet *sheet, const struct grid *grid, uint64_t row,
                              struct err *err)
{
    CLEANUP(buf_freep) struct buf text = {0};
    const struct result_table *table = grid->table;
    const struct json_node *rate = result_table_cell(table, row, grid->rate);
    bool is_running = result_table_cell(table, row, grid->complete)->kind == JSON_TREE_FALSE;
    double share = result_table_real(rate);
    double period = result_table_real(result_table_cell(table, row, grid->period));
    uint32_t col = grid->period + 1 + (uint32_t)period;
    if (rate->kind != JSON_TREE_NUMBER) {
        return sheet_set(sheet, col, STR("-"), NULL, err);
    }
    if (is_running && share <= 0) {
        return sheet_set(sheet, col, STR("·"), NULL, err);
    }
    if (grid->has_shades) {
        buf_printf(&text, "%s ", draw_shade(share));
    }
    if (grid->has_tenths) {
        buf_printf(&text, "%5.1f%%", share * 100);
    } else {
        buf_printf(&text, "%3.0f%%", share * 100);
    }
    buf_z(&text, is_running ? "*" : grid->has_running ? " " : "");
    ERR_TRY(buf_check(&text, err));
    return sheet_set(sheet, col, buf_as_str(&text), grid_style(share), err);
}

static enum err_code grid_fill(struct sheet *sheet, const struct grid *grid, struct err *err)
{
    const struct result_table *table = grid->table;
    for (uint32_t col = 0; col < grid->period; col++) {
        ERR_TRY(sheet_col(sheet, table->names[col], result_table_is_number(table, col), err));
    }
    ERR_TRY(sheet_col(sheet, STR("size"), true, err));
    for (uint64_t period = 0; period < grid->period_count; period++) {
        char header[24];
        snprintf(header, sizeof(header), grid->has_running ? "%" PRIu64 " " : "%" PRIu64, period);
        ERR_TRY(sheet_col(sheet, str_of(header), true, err));
    }
    for (uint64_t row = 0; row < table->row_count; row++) {
        if (grid_is_new_line(grid, row)) {
            ERR_TRY(sheet_row(sheet, err));
            for (uint32_t col = 0; col < grid->period; col++) {
                ERR_TRY(sheet_set_key(sheet, col, table, row, col, err));
            }
            ERR_TRY(sheet_set_node(sheet, grid->period, table,
                                   table->cells[row * table->col_count + grid->size], LOOK_PLAIN,
                                   err));
        }
        ERR_TRY(grid_set(sheet, grid, row, err));
    }
    return ERR_OK;
}

/* On a terminal of `columns` (0: no limit) that is too narrow the shades go first, then the tenths. */
static enum err_code draw_grid(struct grid *grid, bool has_colour, size_t columns, struct buf *out,
                               struct err *err)
{
    grid->has_shades = !has_colour; /* with colours the background is the shade */
    grid->has_tenths = grid->period_count <= GRID_WIDE_PERIODS;
    for (;;) {
        CLEANUP(sheet_done) struct sheet sheet;
        sheet_init(&sheet);
        ERR_TRY(grid_fill(&sheet, grid, err));
        bool can_shrink = grid->has_shades || grid->has_tenths;
        if (columns == 0 || sheet_width(&sheet) <= columns || !can_shrink) {
            ERR_TRY(sheet_finish(&sheet, has_colour, columns, out, err));
            break;
        }
        grid->has_tenths = grid->has_tenths && grid->has_shades;
        grid->has_shades = false;
    }
    if (grid->has_running) {
        buf_z(out, "* this period still runs; · it has not begun, or nobody came back yet\n");
    }
    return buf_check(out, err);
}

/* ---- */

enum err_code draw_result(const struct result_table *table, bool has_colour, size_t columns,
                          struct buf *out, struct err *err)
{
    struct grid grid;
    if (table->col_count == 0) {
        return ERR_OK;
    }
    if (str_eq(table->verb, STR("retention")) && grid_find(table, &grid)) {
        return draw_grid(&grid, has_colour, columns, out, err);
    }
    uint32_t users = result_table_col(table, "users");
    uint32_t share = result_table_col(table, "from_first");
    if (str_eq(table->verb, STR("funnel")) && users != UINT32_MAX && share != UINT32_MAX) {
        struct table_look look = {.bar_col = users, .share_col = share};
        return draw_table(table, look, has_colour, columns, out, err);
    }
    struct table_look look = {.bar_col = barred_col(table), .share_col = UINT32_MAX};
    return draw_table(table, look, has_colour, columns, out, err);
}

void draw_meta(const struct result_table *table, bool has_colour, struct buf *out)
{
    const struct json_tree *tree = &table->tree;
    uint32_t meta = table->meta;
    uint64_t left_out = json_tree_count(tree, meta, "rows_left_out", 0);
    uint32_t partial = json_tree_member(tree, meta, "partial");
    uint32_t exact = json_tree_member(tree, meta, "exact");
    struct grid grid;
    buf_z(out, has_colour ? TERM_DIM : "");
    if (table->row_count > 0 && str_eq(table->verb, STR("retention")) && grid_find(table, &grid)) {
        uint64_t lines = grid_line_count(&grid);
        buf_printf(out, "%" PRIu64 " cohort%s, ", lines, lines == 1 ? "" : "s");
    }
    buf_printf(out, "%" PRIu64 " row%s", table->row_count, table->row_count == 1 ? "" : "s");
    if (left_out > 0) {
        buf_printf(out, " (%" PRIu64 " left out)", left_out);
    }
    buf_printf(out, " · %.1f ms · read %" PRIu64 " rows, ",
               (double)json_tree_count(tree, meta, "elapsed_us", 0) / 1000,
               json_tree_count(tree, meta, "rows_read", 0));
    draw_bytes(json_tree_count(tree, meta, "bytes_read", 0), out);
    buf_printf(out, " · %" PRIu64 " segments (%" PRIu64 " skipped)",
               json_tree_count(tree, meta, "segments", 0),
               json_tree_count(tree, meta, "segments_pruned", 0));
    if (exact != JSON_TREE_NONE && tree->nodes[exact].kind == JSON_TREE_FALSE) {
        buf_z(out, " · approximate");
    }
    if (partial != JSON_TREE_NONE && tree->nodes[partial].kind == JSON_TREE_TRUE) {
        buf_z(out, " · the last bucket still runs");
    }
    struct str zone = json_tree_text(tree, meta, "time_zone");
    if (zone.len > 0 && !str_eq(zone, STR("UTC"))) {
        buf_z(out, " · ");
        term_text(zone, false, out);
    }
    buf_z(out, has_colour ? TERM_RESET "\n" : "\n");
}
