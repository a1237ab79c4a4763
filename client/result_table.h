/* client/result_table.h - the JSON answer of a query, checked and addressable as rows and columns.
 *
 * Thread: one owner. Ownership: texts point into the answer's body, which must outlive the table.
 */
#pragma once

#include "client/json_tree.h"

struct result_table {
    struct json_tree tree;
    struct str *names; /* of the columns */
    struct str *types; /* "int64", "number", "string", "bool", "timestamp", "date", "list", "any" */
    uint32_t col_count;
    uint64_t row_count;
    uint32_t *cells;  /* nodes, row by row */
    uint32_t *totals; /* nodes, or NULL */
    uint32_t meta;    /* node */
    struct str verb;
};

/* `table` starts zeroed. ERR_INVALID where the body is no answer of ours. */
enum err_code result_table_parse(struct result_table *table, struct str body,
                                 struct err *err) ERR_MUST_CHECK;
void result_table_done(struct result_table *table);

static inline const struct json_node *result_table_cell(const struct result_table *table,
                                                        uint64_t row, uint32_t col)
{
    return &table->tree.nodes[table->cells[row * table->col_count + col]];
}
/* The column of this name, or UINT32_MAX. */
uint32_t result_table_col(const struct result_table *table, const char *name);
bool result_table_is_number(const struct result_table *table, uint32_t col);
/* The number of a cell; 0 where it is none. */
double result_table_real(const struct json_node *cell);
