#include "tests/support/snap_query.h"

#include <stdio.h>
#include <stdlib.h>

enum err_code snap_query(struct snap *snap, const char *text, const struct snap_query_opts *opts,
                         struct result **ret, struct err *err)
{
    const struct query_request request = {
        .text = str_of(text),
        .now_ms = SNAP_NOW_MS,
        .is_reference_path = opts != NULL && opts->is_reference_path,
        .memory_bytes_max = opts != NULL ? opts->memory_bytes_max : 0,
    };
    return query_run(snap_snapshot(snap), opts != NULL ? opts->pool : NULL, snap_io(snap), &request,
                     ret, err);
}

char *snap_query_json(struct snap *snap, const char *text, const struct snap_query_opts *opts)
{
    CLEANUP(result_freep) struct result *result = NULL;
    CLEANUP(buf_freep) struct buf json = {0};
    struct err err = {0};
    char *out = NULL;
    if (snap_query(snap, text, opts, &result, &err) != ERR_OK ||
        result_write(result, RESULT_JSON, &json, &err) != ERR_OK) {
        ASSERT(asprintf(&out, "error: %s", err.message) >= 0);
        return out;
    }
    buf_u8(&json, 0);
    ASSERT(buf_check(&json, &err) == ERR_OK);
    char *meta = strstr((char *)json.ptr, ",\"meta\":{");
    ASSERT(meta != NULL);
    *meta = '\0';
    out = strdup((const char *)json.ptr);
    ASSERT(out != NULL);
    return out;
}
