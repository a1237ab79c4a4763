/* client/result_table.c - see result_table.h. */
#include "client/result_table.h"

#include "storage/base/size.h"

#include <inttypes.h>
#include <stdlib.h>

static enum err_code not_ours(struct err *err, const char *what)
{
    return err_set(err, ERR_INVALID, "the answer has no %s; is the server a trackwayd?", what);
}

static bool is_array(const struct json_tree *tree, uint32_t node)
{
    return node != JSON_TREE_NONE && tree->nodes[node].kind == JSON_TREE_ARRAY;
}

static uint32_t item_count(const struct json_tree *tree, uint32_t array)
{
    uint32_t count = 0;
    for (uint32_t at = array + 1; at < tree->nodes[array].end; at = tree->nodes[at].end) {
        count++;
    }
    return count;
}

static enum err_code columns_read(struct result_table *table, struct err *err)
{
    struct json_tree *tree = &table->tree;
    uint32_t columns = json_tree_member(tree, 0, "columns");
    if (!is_array(tree, columns)) {
        return not_ours(err, "columns");
    }
    table->col_count = item_count(tree, columns);
    ERR_TRY(ARENA_NEW(tree->arena, table->col_count, &table->names, err));
    ERR_TRY(ARENA_NEW(tree->arena, table->col_count, &table->types, err));
    uint32_t col = 0;
    for (uint32_t at = columns + 1; at < tree->nodes[columns].end; at = tree->nodes[at].end) {
        table->names[col] = json_tree_text(tree, at, "name");
        table->types[col] = json_tree_text(tree, at, "type");
        col++;
    }
    return ERR_OK;
}

/* The nodes of one row's cells into `out`. */
static enum err_code row_read(const struct result_table *table, uint32_t row, uint32_t *out,
                              struct err *err)
{
    const struct json_tree *tree = &table->tree;
    if (!is_array(tree, row) || item_count(tree, row) != table->col_count) {
        return not_ours(err, "rows as wide as its columns");
    }
    for (uint32_t at = row + 1; at < tree->nodes[row].end; at = tree->nodes[at].end) {
        *out++ = at;
    }
    return ERR_OK;
}

enum err_code result_table_parse(struct result_table *table, struct str body, struct err *err)
{
    struct json_tree *tree = &table->tree;
    if (json_tree_parse(tree, body, err) != ERR_OK) {
        return err_context(err, "answer");
    }
    ERR_TRY(columns_read(table, err));
    uint32_t rows = json_tree_member(tree, 0, "rows");
    if (!is_array(tree, rows)) {
        return not_ours(err, "rows");
    }
    table->row_count = item_count(tree, rows);
    size_t cell_count = 0;
    if (!size_mul(table->row_count, table->col_count, &cell_count)) {
        return err_set(err, ERR_LIMIT, "an answer of %u columns and %" PRIu64 " rows",
                       table->col_count, table->row_count);
    }
    ERR_TRY(ARENA_NEW(tree->arena, cell_count, &table->cells, err));
    uint32_t *out = table->cells;
    for (uint32_t at = rows + 1; at < tree->nodes[rows].end; at = tree->nodes[at].end) {
        ERR_TRY(row_read(table, at, out, err));
        out += table->col_count;
    }
    uint32_t totals = json_tree_member(tree, 0, "totals");
    if (is_array(tree, totals)) {
        ERR_TRY(ARENA_NEW(tree->arena, table->col_count, &table->totals, err));
        ERR_TRY(row_read(table, totals, table->totals, err));
    }
    table->meta = json_tree_member(tree, 0, "meta");
    table->verb = json_tree_text(tree, table->meta, "verb");
    return ERR_OK;
}

void result_table_done(struct result_table *table)
{
    json_tree_done(&table->tree);
    *table = (struct result_table){0};
}

uint32_t result_table_col(const struct result_table *table, const char *name)
{
    for (uint32_t col = 0; col < table->col_count; col++) {
        if (str_eq(table->names[col], str_of(name))) {
            return col;
        }
    }
    return UINT32_MAX;
}

bool result_table_is_number(const struct result_table *table, uint32_t col)
{
    return str_eq(table->types[col], STR("int64")) || str_eq(table->types[col], STR("number"));
}

double result_table_real(const struct json_node *cell)
{
    char text[64];
    if (cell->kind != JSON_TREE_NUMBER || cell->text.len >= sizeof(text)) {
        return 0;
    }
    memcpy(text, cell->text.ptr, cell->text.len);
    text[cell->text.len] = '\0';
    return strtod(text, NULL);
}
