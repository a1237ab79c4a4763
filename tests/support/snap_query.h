/* tests/support/snap_query.h - run query texts over a snap (tests/support/snap.h).
 *
 * Thread: one owner.
 */
#pragma once

#include "query/query.h"
#include "tests/support/snap.h"

#define SNAP_NOW_MS INT64_C(1747310400000) /* 2025-05-15T12:00Z, a Thursday */

struct snap_query_opts {
    bool is_reference_path;
    size_t memory_bytes_max;
    struct pool *pool; /* NULL: this thread alone */
};
enum err_code snap_query(struct snap *snap, const char *text, const struct snap_query_opts *opts,
                         struct result **ret, struct err *err);
/* The answer as JSON without its meta, or "error: ..."; the caller frees it. */
char *snap_query_json(struct snap *snap, const char *text, const struct snap_query_opts *opts);
