/* tests/support/verb_run.h - a query over a snap, its answer as text: what tests of verbs compare.
 *
 * Binds the text, runs the verb on this thread, orders and cuts the rows, and prints them: a line per row,
 * cells between bars, null as "-", doubles in 17 digits; then a line "= " with the totals.
 */
#pragma once

#include "storage/base/buf.h"
#include "tests/support/snap.h"

enum verb_run_path { VERB_RUN_INDEXED, VERB_RUN_REFERENCE };

/* The answer, or "error: CODE: message". Replaces what is in `out`; NUL-terminated. */
const char *verb_run(struct snap *snap, const char *text, int64_t now_ms, enum verb_run_path path,
                     struct buf *out);
