/* Every text a client can send as a query: parse, print, parse the print, bind against an empty data set. What stands
 * behind the first byte of value 1 is the definition of all metrics. */
#include "query/bind.h"
#include "query/parse.h"
#include "storage/base/buf.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static enum err_code find_metric(void *arg, struct str name, uint32_t version, struct arena *arena,
                                 struct str *ret, struct err *err)
{
    (void)name;
    (void)version;
    (void)arena;
    (void)err;
    *ret = *(const struct str *)arg;
    return ERR_OK;
}

static void bind_text(struct str text, const struct metric_finder *metrics, struct arena *arena)
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
        struct query_request request = {.text = text, .now_ms = 1748000000000, .metrics = metrics};
        const struct bound_query *query = NULL;
        if (query_bind(&request, &snapshot, NULL, arena, &query, &err) == ERR_OK) {
            query_unbind(query);
        }
    }
    schema_free(schema);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const uint8_t *split = memchr(data, 1, len);
    struct str text = {(const char *)data, split == NULL ? len : (size_t)(split - data)};
    struct str definition = {(const char *)data + text.len, len - text.len};
    if (definition.len > 0) {
        definition = (struct str){definition.ptr + 1, definition.len - 1};
    }
    const struct metric_finder metrics = {find_metric, &definition};
    struct query_request request = {.text = text, .metrics = &metrics};
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
        bind_text(text, &metrics, arena);
    }
    request.text = definition;
    if (query_parse_metric(&request, STR("m"), arena, &err) != ERR_OK) {
        query_error_show(definition, &err, &twice);
    }
    buf_done(&once);
    buf_done(&twice);
    arena_free(arena);
    return 0;
}
