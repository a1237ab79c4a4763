/* query/verb_show.c - the catalogue: events, properties, values, segments, and what profiles are made of.
 *
 * Events and values are trends in disguise (a breakdown by the event name, or by the property), so
 * their figures are those that a query would give, deleted subjects and `where` included. */
#include "query/run.h"
#include "query/traits.h"

#include <inttypes.h>
#include <stdlib.h>

#define SHOW_VALUES_LIMIT 100u
#define NONE              UINT32_MAX

/* ---- events, values ---- */

enum { SHOW_COUNT, SHOW_USERS, SHOW_FIRST, SHOW_LAST, SHOW_MEASURES };

/* `by` one key, with counts and users, and the first and last time where asked for. */
static enum err_code show_trend(struct query_run_ctx *run, const struct by_key *key,
                                uint32_t measure_count, struct result *result, struct err *err)
{
    static const struct str names[SHOW_MEASURES] = {
        {"count", 5}, {"users", 5}, {"first_time", 10}, {"last_time", 9}};
    const struct field time = {
        .kind = FIELD_EVENT_TIME, .name = STR("event_time"), .type = COL_TIME};
    const struct agg aggs[SHOW_MEASURES] = {
        [SHOW_COUNT] = {.kind = AGG_COUNT},
        [SHOW_USERS] = {.kind = AGG_USERS},
        [SHOW_FIRST] = {.kind = AGG_MIN, .field = time},
        [SHOW_LAST] = {.kind = AGG_MAX, .field = time},
    };
    struct expr exprs[SHOW_MEASURES] = {0};
    struct measure measures[SHOW_MEASURES] = {0};
    for (uint32_t i = 0; i < SHOW_MEASURES; i++) {
        exprs[i] = (struct expr){.kind = EXPR_AGG, .agg = i};
        measures[i] = (struct measure){.name = names[i], .expr = &exprs[i]};
    }
    struct bound_query query = *run->query;
    query.verb = VERB_TREND;
    query.has_each = false;
    query.keys = key;
    query.key_count = 1;
    query.aggs = aggs;
    query.agg_count = measure_count;
    query.measures = measures;
    query.measure_count = measure_count;

    const struct bound_query *own = run->query;
    run->query = &query;
    enum err_code code = verb_trend(run, result, err);
    run->query = own;
    result->totals = NULL;
    return code;
}

static enum err_code show_events(struct query_run_ctx *run, struct result *result, struct err *err)
{
    const struct by_key key = {
        .name = STR("event"),
        .field = {.kind = FIELD_EVENT_NAME, .name = STR("event_name"), .type = COL_STRING},
    };
    return show_trend(run, &key, SHOW_MEASURES, result, err);
}

/* Rows without a value are no value. */
static void drop_null_keys(struct result *result)
{
    uint64_t kept = 0;
    for (uint64_t r = 0; r < result->row_count; r++) {
        const struct cell *row = result->cells + r * result->col_count;
        if (row[0].kind != CELL_NULL) {
            memmove(result->cells + kept * result->col_count, row,
                    result->col_count * sizeof(*row));
            kept++;
        }
    }
    result->row_count = kept;
    result->meta.rows_total = kept;
}

static enum err_code show_values(struct query_run_ctx *run, struct result *result, struct err *err)
{
    const struct by_key key = {.name = STR("value"), .field = run->query->show_field};
    ERR_TRY(show_trend(run, &key, SHOW_USERS + 1, result, err));
    drop_null_keys(result);
    struct bound_query query = *run->query;
    if (!query.has_order) {
        query.has_order = true;
        query.order = (struct order_by){.column = 1 + SHOW_COUNT, .is_descending = true};
    }
    if (!query.has_limit) {
        query.has_limit = true;
        query.limit = SHOW_VALUES_LIMIT;
    }
    const struct bound_query *own = run->query;
    run->query = &query;
    enum err_code code = run_shape(run, result, err);
    run->query = own;
    return code;
}

/* ---- properties ---- */

struct property_counts {
    uint64_t rows;
    uint64_t *values; /* by selector and property: the query's first selector is the first of them */
};

static enum err_code count_block(struct scan *scan, const struct scan_block *block,
                                 uint32_t prop_count, struct property_counts *counts,
                                 struct err *err)
{
    counts->rows += block->count;
    for (uint32_t p = 0; p < prop_count; p++) {
        const struct field field = {.kind = FIELD_PROP, .col = COL_FIRST_PROP + p};
        struct vec vec = {0};
        const uint32_t *places = NULL;
        ERR_TRY(scan_field(scan, &field, &vec, &places, err));
        for (uint32_t i = 0; vec.kind != VEC_ABSENT && i < block->count; i++) {
            uint32_t selector = (uint32_t)__builtin_ctzll(block->masks[i]);
            counts->values[selector * prop_count + p] += places[i] != NONE;
        }
    }
    return ERR_OK;
}

static enum err_code properties_task(struct query_run_ctx *run, const struct run_task *task,
                                     struct arena *arena, struct io *io, void *slot,
                                     struct err *err)
{
    struct property_counts *counts = slot;
    const uint32_t *prop_count = run->verb_plan;
    uint32_t *cols = NULL;
    ERR_TRY(ARENA_NEW(arena, *prop_count, &cols, err));
    for (uint32_t p = 0; p < *prop_count; p++) {
        cols[p] = COL_FIRST_PROP + p;
    }
    uint32_t selector_count = run->query->selector_count;
    struct scan_want *wants = NULL;
    ERR_TRY(ARENA_NEW(arena, selector_count, &wants, err));
    for (uint32_t s = 0; s < selector_count; s++) {
        wants[s] = (struct scan_want){s, run->query->from_ms, run->query->to_ms};
    }
    const struct scan_spec spec = {
        .query = run->query,
        .wants = wants,
        .want_count = selector_count,
        .subject_begin = task->subject_begin,
        .subject_end = task->subject_end,
        .deleted = run->snapshot->deleted[task->shard],
        .no_index = run_is_reference(run),
        .cols = cols,
        .col_count = *prop_count,
    };
    ERR_TRY(ARENA_NEW(arena, (size_t)selector_count * *prop_count, &counts->values, err));
    for (uint32_t s = 0; s < task->source_count; s++) {
        CLEANUP(scan_closep) struct scan *scan = NULL;
        ERR_TRY(scan_open(task->sources[s], &spec, run, arena, io, &scan, err));
        struct scan_block block = {0};
        bool has_more = true;
        while (true) {
            ERR_TRY(scan_next(scan, &block, &has_more, err));
            if (!has_more) {
                break;
            }
            ERR_TRY(count_block(scan, &block, *prop_count, counts, err));
        }
    }
    return ERR_OK;
}

static int compare_props(const void *a, const void *b, void *schema)
{
    const struct schema_col *x = schema_col(schema, *(const uint32_t *)a);
    const struct schema_col *y = schema_col(schema, *(const uint32_t *)b);
    int order = str_cmp(x->name, y->name);
    return order != 0 ? order : (x->type > y->type) - (x->type < y->type);
}

static enum err_code set_columns(struct result *result, const struct result_col *cols,
                                 uint32_t count, struct err *err)
{
    struct result_col *own = NULL;
    ERR_TRY(ARENA_NEW(result->arena, count, &own, err));
    memcpy(own, cols, count * sizeof(*own)); /* the names are literals */
    result->cols = own;
    result->col_count = count;
    return ERR_OK;
}

static enum err_code properties_rows(struct query_run_ctx *run,
                                     const struct property_counts *totals, uint32_t prop_count,
                                     struct result *result, struct err *err)
{
    const struct schema *schema = run->snapshot->schema;
    uint32_t *props = NULL;
    uint32_t count = 0;
    struct cell *cells = NULL;
    ERR_TRY(ARENA_NEW(run->arena, prop_count, &props, err));
    for (uint32_t p = 0; p < prop_count; p++) {
        if (totals->values[p] > 0) {
            props[count++] = p;
        }
    }
    union {
        const struct schema *schema;
        void *ctx;
    } arg = {.schema = schema};
    qsort_r(props, count, sizeof(*props), compare_props, arg.ctx);
    ERR_TRY(run_result_rows(run, result, count, &cells, err));
    for (uint32_t i = 0; i < count; i++, cells += result->col_count) {
        const struct schema_col *col = schema_col(schema, props[i]);
        uint64_t values = totals->values[props[i]];
        cells[0].kind = CELL_STRING;
        ERR_TRY(arena_str(result->arena, col->name, &cells[0].string, err));
        cells[1] = (struct cell){.kind = CELL_STRING, .string = str_of(col_type_name(col->type))};
        cells[2] = (struct cell){.kind = CELL_I64, .i64 = (int64_t)values};
        cells[3] = (struct cell){.kind = CELL_F64, .f64 = (double)values / (double)totals->rows};
    }
    return ERR_OK;
}

static const struct result_col property_cols[] = {
    {{"property", 8}, RESULT_STRING},
    {{"type", 4}, RESULT_STRING},
    {{"count", 5}, RESULT_INT64},
    {{"share", 5}, RESULT_NUMBER},
};

static enum err_code count_properties(struct query_run_ctx *run, uint32_t prop_count,
                                      struct property_counts *ret, struct err *err)
{
    CLEANUP(run_tasks_free) struct run_tasks tasks = {0};
    uint32_t value_count = run->query->selector_count * prop_count;
    run->verb_plan = &prop_count;
    ERR_TRY(run_all_tasks(run, properties_task, sizeof(struct property_counts), &tasks, err));
    const struct property_counts *counts = tasks.slots;
    *ret = (struct property_counts){0};
    ERR_TRY(ARENA_NEW(run->arena, value_count, &ret->values, err));
    for (uint32_t t = 0; t < tasks.count; t++) {
        ret->rows += counts[t].rows;
        for (uint32_t v = 0; v < value_count; v++) {
            ret->values[v] += counts[t].values[v];
        }
    }
    return ERR_OK;
}

static enum err_code show_properties(struct query_run_ctx *run, struct result *result,
                                     struct err *err)
{
    uint32_t prop_count = schema_count(run->snapshot->schema);
    struct property_counts totals;
    ERR_TRY(count_properties(run, prop_count, &totals, err));
    ERR_TRY(set_columns(result, property_cols, COUNT_OF(property_cols), err));
    return properties_rows(run, &totals, prop_count, result, err);
}

/* ---- profiles ---- */

/* A property of profiles, of one type: how many calls say it. */
struct told {
    struct str key;
    enum col_type type;
    uint64_t count;
};

static int compare_told(const void *a, const void *b)
{
    const struct told *x = a;
    const struct told *y = b;
    int order = str_cmp(x->key, y->key);
    return order != 0 ? order : (x->type > y->type) - (x->type < y->type);
}

/* What calls of one kind say, behind the others; lists are no values. */
static uint32_t add_told(const struct schema *schema, uint32_t prop_count, uint32_t call,
                         const uint64_t *values, struct told *told, uint32_t count)
{
    struct str prefix = trait_calls[call].prefix;
    for (uint32_t p = 0; p < prop_count; p++) {
        const struct schema_col *col = schema_col(schema, p);
        bool is_trait = str_starts(col->name, prefix) && col->name.len > prefix.len;
        if (values[p] > 0 && is_trait && col->type != COL_LIST) {
            told[count++] = (struct told){
                .key = {col->name.ptr + prefix.len, col->name.len - prefix.len},
                .type = col->type,
                .count = values[p],
            };
        }
    }
    return count;
}

/* The same property said by calls of both kinds is one; `told` is sorted. */
static uint32_t unite_told(struct told *told, uint32_t count)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (kept > 0 && compare_told(&told[kept - 1], &told[i]) == 0) {
            told[kept - 1].count += told[i].count;
        } else {
            told[kept++] = told[i];
        }
    }
    return kept;
}

static enum err_code show_profiles(struct query_run_ctx *run, struct result *result,
                                   struct err *err)
{
    const struct schema *schema = run->snapshot->schema;
    uint32_t prop_count = schema_count(schema);
    uint32_t count = 0;
    struct property_counts totals;
    struct told *told = NULL;
    struct cell *cells = NULL;
    ERR_TRY(count_properties(run, prop_count, &totals, err));
    ERR_TRY(ARENA_NEW(run->arena, (size_t)TRAIT_CALLS * prop_count, &told, err));
    for (uint32_t call = 0; call < TRAIT_CALLS; call++) {
        count = add_told(schema, prop_count, call, totals.values + (size_t)call * prop_count, told,
                         count);
    }
    qsort(told, count, sizeof(*told), compare_told);
    count = unite_told(told, count);
    ERR_TRY(set_columns(result, property_cols, COUNT_OF(property_cols), err));
    ERR_TRY(run_result_rows(run, result, count, &cells, err));
    for (uint32_t i = 0; i < count; i++, cells += result->col_count) {
        cells[0].kind = CELL_STRING;
        ERR_TRY(arena_str(result->arena, told[i].key, &cells[0].string, err));
        cells[1] =
            (struct cell){.kind = CELL_STRING, .string = str_of(col_type_name(told[i].type))};
        cells[2] = (struct cell){.kind = CELL_I64, .i64 = (int64_t)told[i].count};
        cells[3] = (struct cell){.kind = CELL_F64,
                                 .f64 = (double)told[i].count / (double)totals.rows};
    }
    return ERR_OK;
}

/* ---- segments ---- */

static enum err_code instant_cell(const struct query_run_ctx *run, int64_t ts_ms,
                                  struct result *result, struct cell *ret, struct err *err)
{
    char text[CIVIL_TEXT_BYTES];
    struct str instant = civil_format_instant(run->query->zone, ts_ms, text);
    ret->kind = CELL_STRING;
    return arena_str(result->arena, instant, &ret->string, err);
}

static struct cell i64_cell(uint64_t v)
{
    return (struct cell){.kind = CELL_I64, .i64 = (int64_t)v};
}

static enum err_code show_segments(struct query_run_ctx *run, struct result *result,
                                   struct err *err)
{
    static const struct result_col cols[] = {
        {{"shard", 5}, RESULT_INT64},          {{"segment", 7}, RESULT_INT64},
        {{"kind", 4}, RESULT_STRING},          {{"rows", 4}, RESULT_INT64},
        {{"blocks", 6}, RESULT_INT64},         {{"bytes", 5}, RESULT_INT64},
        {{"time_min", 8}, RESULT_TIME},        {{"time_max", 8}, RESULT_TIME},
        {{"subject_first", 13}, RESULT_INT64}, {{"subject_last", 12}, RESULT_INT64},
    };
    const struct snapshot *snapshot = run->snapshot;
    struct cell *cells = NULL;
    ERR_TRY(set_columns(result, cols, COUNT_OF(cols), err));
    ERR_TRY(run_result_rows(run, result, snapshot->source_count, &cells, err));
    for (uint32_t i = 0; i < snapshot->source_count; i++, cells += COUNT_OF(cols)) {
        const struct source *source = snapshot->sources[i];
        cells[0] = i64_cell(source->shard);
        cells[1] = source->is_memory ? (struct cell){.kind = CELL_NULL} : i64_cell(source->id);
        cells[2] = (struct cell){.kind = CELL_STRING,
                                 .string = source->is_memory ? STR("memtable") : STR("segment")};
        cells[3] = i64_cell(source->row_count);
        cells[4] = i64_cell(source->block_count);
        cells[5] = i64_cell(source->bytes);
        ERR_TRY(instant_cell(run, source->time_min_ms, result, &cells[6], err));
        ERR_TRY(instant_cell(run, source->time_max_ms, result, &cells[7], err));
        cells[8] = i64_cell(source->subject_first);
        cells[9] = i64_cell(source->subject_last);
    }
    return ERR_OK;
}

enum err_code verb_show(struct query_run_ctx *run, struct result *result, struct err *err)
{
    switch (run->query->verb) {
    case VERB_SHOW_EVENTS: return show_events(run, result, err);
    case VERB_SHOW_PROPERTIES: return show_properties(run, result, err);
    case VERB_SHOW_VALUES: return show_values(run, result, err);
    case VERB_SHOW_SEGMENTS: return show_segments(run, result, err);
    case VERB_SHOW_PROFILES: return show_profiles(run, result, err);
    default: break;
    }
    return err_set(err, ERR_UNSUPPORTED, "nothing to show");
}
