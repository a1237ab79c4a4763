/* query/data_span.h - from the first row that counts to the last.
 *
 * What a query without a range is about. A snapshot knows from when to when its sources have rows, but some of these count in no
 * answer: expired ones, and those of deleted people, until the background has taken them from the disk. Where they may be the
 * first or the last, rows are looked at, so that no answer hangs on what the background has done.
 *
 * Cost: none where nothing is expired and nobody deleted; else, when first asked, the times of the sources whose rows reach
 * furthest: segments keep whose their first and last rows are (source_ends).
 *
 * Thread: the query's own.
 */
#pragma once

#include "query/run.h"

struct data_span {
    bool has_data;
    int64_t first_ms, last_ms; /* only where it has */
};
/* People that the query itself leaves out (`exclude`, `in cohort`) are in. */
enum err_code data_span(struct query_run_ctx *run, struct data_span *ret,
                        struct err *err) ERR_MUST_CHECK;
