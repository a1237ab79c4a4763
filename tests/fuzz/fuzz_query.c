/* Every text a client can send as a query: parse, print, parse the print, bind against an empty data set. */
#include "query/bind.h"
#include "query/parse.h"
#include "storage/base/buf.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void bind_text(struct str text, struct arena *arena)
{
    struct schema *schema = NULL;
    struct err err;
    uint32_t prop = 0;
    if (schema_create(&schema, &err) != ERR_OK) {
        return;
    }
    if (schema_add(schema, STR("s"), COL_STRING, &prop, &err) == ERR_OK &&
        schema_add(schema, STR("n"), COL_NUMBER, &prop, &err) == ERR_OK) {
        struct snapshot snapshot = {.schema = schema, .row_count = 1};
        struct query_request request = {.text = text, .now_ms = 1748000000000};
        const struct bound_query *query = NULL;
        if (query_bind(&request, &snapshot, NULL, arena, &query, &err) == ERR_OK) {
            query_unbind(query);
        }
    }
    schema_free(schema);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct str text = {(const char *)data, len};
    struct query_request request = {.text = text};
    struct arena *arena = arena_create(NULL);
    struct buf once = {0};
    struct buf twice = {0};
    const struct ast_query *ast = NULL;
    struct err err;
    if (query_parse(&request, arena, &ast, &err) != ERR_OK) {
        query_error_show(text, &err, &once);
    } else {
        ast_print(ast, &once);
        request.text = buf_as_str(&once);
        if (query_parse(&request, arena, &ast, &err) == ERR_OK) {
            ast_print(ast, &twice);
            if (!str_eq(buf_as_str(&once), buf_as_str(&twice))) {
                abort();
            }
        } else if (err.code != ERR_LIMIT) { /* canonical text may be longer than the limit */
            abort();
        }
        bind_text(text, arena);
    }
    buf_done(&once);
    buf_done(&twice);
    arena_free(arena);
    return 0;
}
