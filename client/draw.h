/* client/draw.h - an answer as a person reads it: a table; bars for a funnel; a shaded grid for a
 * retention; a bar beside the one figure of a trend; and a line about what the answer stands on.
 *
 * Figures are rounded for the eye (shares to a tenth of a percent, long fractions to four digits);
 * json, csv and ndjson have every digit. Where a terminal is narrower than a drawing, its bar shrinks or
 * goes, a grid goes without shades and then without tenths; what is still wider says so, and is not cut.
 * In the columns that name a row a value that is missing is "(none)", and an empty text is empty.
 *
 * Thread: pure functions.
 */
#pragma once

#include "client/result_table.h"
#include "storage/base/buf.h"

/* `columns` of the terminal; 0: none, nothing is made narrower. */
enum err_code draw_result(const struct result_table *table, bool has_colour, size_t columns,
                          struct buf *out, struct err *err) ERR_MUST_CHECK;
/* "17 rows · 12.3 ms · read 812345 rows, 4.5 MB · ..."; a retention has "10 cohorts, 70 rows". */
void draw_meta(const struct result_table *table, bool has_colour, struct buf *out);

/* Pieces, for tests and for `inspect`. */
void draw_share(double share, struct buf *out);     /* 0.4123 -> 41.2% */
void draw_duration_ms(double ms, struct buf *out);  /* 850ms, 12.3s, 4m 05s, 3h 20m, 2d 4h */
void draw_number(struct str text, struct buf *out); /* a JSON number, long fractions rounded */
void draw_bytes(uint64_t bytes, struct buf *out);   /* 999 B, 12.3 kB, 4.5 MB */
/* `share` of `columns` columns in eighths: "██▌". */
void draw_bar(double share, uint32_t columns, struct buf *out);
/* The shade of a share: " " below 5 %, then ░ ▒ ▓ █ from 5, 25, 50, 75 %. */
const char *draw_shade(double share);
