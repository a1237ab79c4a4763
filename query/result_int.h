/* query/result_int.h - the output forms of a result, one file each. They append and never fail: a
 * buffer that ran out of memory says so at the end. */
#pragma once

#include "query/result.h"

void result_write_json(const struct result *result, struct buf *out);
void result_write_ndjson(const struct result *result, struct buf *out);
void result_write_csv(const struct result *result, struct buf *out);

/* Parts of these: `{"columns":[...]` without its end, a row as an array, a header line, a row as a line. */
void result_json_columns(const struct result *result, struct buf *out);
void result_json_row(const struct cell *cells, uint32_t count, struct buf *out);
void result_csv_head(const struct result *result, struct buf *out);
void result_csv_row(const struct cell *cells, uint32_t count, struct buf *out);

/* A string in quotes, escaped. Bytes that are no UTF-8 become U+FFFD: the output is JSON always. */
void result_json_string(struct str s, struct buf *out);
void result_json_cell(const struct cell *cell, struct buf *out);
/* Shortest text that reads back as the same double. */
void result_double(double v, struct buf *out);
