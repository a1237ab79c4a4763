/* query/events_page.h - rows of `events`, a page at a time, in the order of (event_time, event_id).
 *
 * Thread: that of the query.
 */
#pragma once

#include "query/run.h"

/* A place in the order: behind the row with this time and id. */
struct events_place {
    int64_t time_ms;
    struct str event_id;
};
/* Columns that an answer without `columns` has, by name, whether some of its rows has them or not. */
struct events_columns {
    const struct str *names;
    uint32_t count;
};
/* The first rows of run->query behind `after` (NULL: from the begin), as many as its limit says. meta.rows_total is how many
 * there are behind it. *ret_last, with its id in the run's arena, is the last row's place; as it was where there is no row. `shown` NULL: the
 * columns that some row of the page has. */
enum err_code events_page(struct query_run_ctx *run, const struct events_place *after,
                          const struct events_columns *shown, struct result *result,
                          struct events_place *ret_last, struct err *err) ERR_MUST_CHECK;
