/* client/term.h - text for a terminal: what came from outside is shown, never obeyed.
 *
 * Values can be anything that somebody once sent. Control characters, escape sequences, direction
 * overrides and bytes that are no UTF-8 are written as visible text: `\x1b`, `\u202e`, `\xff`.
 *
 * Thread: pure functions, but for term_style's look at the environment.
 */
#pragma once

#include "storage/base/buf.h"

/* Append `text` made harmless; newlines and tabs as well unless `keeps_lines`. */
void term_text(struct str text, bool keeps_lines, struct buf *out);
/* Columns that harmless text takes on a terminal: CJK and most emoji take two, combining marks none. */
size_t term_width(struct str text);
/* `text` in `width` columns: padded on the left or right; longer text is cut, with "…" as its last column. */
void term_pad(struct str text, size_t width, bool is_right, struct buf *out);

/* May colours be used on this descriptor: a terminal, no NO_COLOR, TERM is not dumb. */
bool term_has_colour(int fd);
/* Columns of the terminal on this descriptor; 0 where it is none. */
size_t term_columns(int fd);

#define TERM_BOLD  "\x1b[1m"
#define TERM_DIM   "\x1b[2m"
#define TERM_RED   "\x1b[31m"
#define TERM_RESET "\x1b[0m"
