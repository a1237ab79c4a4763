/* tests/support/lang_fixture.c */
#include "tests/support/lang_fixture.h"

#include "query/parse.h"

#include <stdio.h>
#include <stdlib.h>

static void must(enum err_code code, const struct err *err)
{
    if (code != ERR_OK) {
        fprintf(stderr, "lang_fixture: %s\n", err->message);
        exit(1);
    }
}

static const struct str event_names[] = {
    {"register", 8},  {"place_order", 11}, {"pay_success", 11},
    {"page_view", 9}, {"sign up", 7},      {"first", 5},
};
static const struct dict event_dict = {.count = COUNT_OF(event_names), .values = event_names};

static enum err_code fixture_dict(const struct source *source, struct read_ctx *ctx, uint32_t col,
                                  const struct dict **ret, struct err *err)
{
    (void)source, (void)ctx, (void)err;
    *ret = col == COL_EVENT_NAME ? &event_dict : NULL;
    return ERR_OK;
}

static const struct source_ops fixture_ops = {.dict = fixture_dict};
static const struct source fixture_source = {.ops = &fixture_ops, .row_count = 1, .block_count = 1};
static const struct source *fixture_sources[] = {&fixture_source, &fixture_source};

void lang_fixture_open(struct lang_fixture *fixture, bool is_empty)
{
    static const struct {
        const char *name;
        enum col_type type;
    } cols[] = {
        {"channel", COL_STRING},    {"platform", COL_STRING}, {"country", COL_STRING},
        {"feature", COL_STRING},    {"task_id", COL_STRING},  {"amount", COL_NUMBER},
        {"latency_ms", COL_NUMBER}, {"vip", COL_BOOL},        {"tags", COL_LIST},
        {"seen_at", COL_TIME},      {"mixed", COL_STRING},    {"mixed", COL_NUMBER},
        {"mixed", COL_BOOL},        {"label", COL_STRING},    {"label", COL_LIST},
    };
    struct err err = {0};
    uint32_t prop = 0;
    *fixture = (struct lang_fixture){.arena = arena_create(NULL)};
    must(schema_create(&fixture->schema, &err), &err);
    for (size_t i = 0; i < COUNT_OF(cols); i++) {
        must(schema_add(fixture->schema, str_of(cols[i].name), cols[i].type, &prop, &err), &err);
    }
    fixture->snapshot.schema = fixture->schema;
    if (!is_empty) {
        fixture->snapshot.row_count = 2;
        fixture->snapshot.sources = fixture_sources;
        fixture->snapshot.source_count = COUNT_OF(fixture_sources);
    }
}

void lang_fixture_close(struct lang_fixture *fixture)
{
    arena_free(fixture->arena);
    schema_free(fixture->schema);
}

enum err_code lang_bind(struct lang_fixture *fixture, const char *text,
                        const struct bound_query **ret, struct err *err)
{
    struct query_request request = {.text = str_of(text), .now_ms = LANG_NOW_MS};
    return query_bind(&request, &fixture->snapshot, NULL, fixture->arena, ret, err);
}

static const char *keep(struct lang_fixture *fixture, struct str text)
{
    struct err err = {0};
    struct str kept = {0};
    must(arena_str(fixture->arena, text, &kept, &err), &err);
    return kept.ptr;
}

static const char *keep_error(struct lang_fixture *fixture, const struct err *why)
{
    CLEANUP(buf_freep) struct buf buf = {0};
    buf_printf(&buf, "%u:%u: %s", why->line, why->column, why->message);
    return keep(fixture, buf_as_str(&buf));
}

const char *lang_canonical(struct lang_fixture *fixture, const char *text)
{
    struct query_request request = {.text = str_of(text), .now_ms = LANG_NOW_MS};
    const struct ast_query *ast = NULL;
    struct err err = {0};
    if (query_parse(&request, fixture->arena, &ast, &err) != ERR_OK) {
        return keep_error(fixture, &err);
    }
    CLEANUP(buf_freep) struct buf buf = {0};
    ast_print(ast, &buf);
    return keep(fixture, buf_as_str(&buf));
}

const char *lang_outcome(struct lang_fixture *fixture, const char *text)
{
    const struct bound_query *query = NULL;
    struct err err = {0};
    enum err_code code = lang_bind(fixture, text, &query, &err);
    CLEANUP(buf_freep) struct buf buf = {0};
    if (code != ERR_OK) {
        buf_printf(&buf, "%s ", err_code_name(code));
        buf_z(&buf, keep_error(fixture, &err));
        return keep(fixture, buf_as_str(&buf));
    }
    for (uint32_t i = 0; i < query->warning_count; i++) {
        buf_z(&buf, i == 0 ? "" : "\n");
        buf_str(&buf, query->warnings[i]);
    }
    query_unbind(query);
    return keep(fixture, buf_as_str(&buf));
}
