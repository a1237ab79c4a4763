/* query/bucket_table.c */
#include "query/bucket_table.h"

#include "query/grow.h"
#include "storage/base/size.h"

#include <stdlib.h>

/* ---- the table ---- */

enum err_code bucket_table_init(struct bucket_table *table, size_t item_bytes, struct arena *arena,
                                struct err *err)
{
    *table = (struct bucket_table){.item_bytes = item_bytes};
    return interns_init(&table->keys, arena, err);
}

static enum err_code place_of(struct bucket_table *table, uint32_t bucket, uint32_t group,
                              uint32_t *ret, struct err *err)
{
    uint32_t key[2] = {bucket, group};
    uint32_t before = table->keys.count;
    void *items = table->items;
    ERR_TRY(interns_put_words(&table->keys, key, 2, ret, err));
    if (*ret == before) {
        ERR_TRY(grow_bytes(table->keys.arena, &items, before, &table->cap, table->item_bytes, err));
        table->items = items;
        memset(bucket_table_item(table, before), 0, table->item_bytes);
    }
    return ERR_OK;
}

enum err_code bucket_table_places(struct bucket_table *table, bool has_each, uint32_t bucket,
                                  uint32_t group, uint32_t out[BUCKET_PLACES], uint32_t *ret_count,
                                  struct err *err)
{
    if (table->last_count == 0 || table->last_key[0] != bucket || table->last_key[1] != group) {
        uint32_t count = 0;
        table->last_count = 0;
        if (has_each) {
            ERR_TRY(place_of(table, bucket, group, &table->last_places[count++], err));
        }
        ERR_TRY(place_of(table, BUCKET_ALL, group, &table->last_places[count++], err));
        ERR_TRY(place_of(table, BUCKET_ALL, BUCKET_ALL, &table->last_places[count++], err));
        table->last_key[0] = bucket;
        table->last_key[1] = group;
        table->last_count = count;
    }
    memcpy(out, table->last_places, table->last_count * sizeof(*out));
    *ret_count = table->last_count;
    return ERR_OK;
}

static void *find(const struct bucket_table *table, uint32_t bucket, uint32_t group)
{
    uint32_t key[2] = {bucket, group};
    uint32_t number = 0;
    return interns_find_words(&table->keys, key, 2, &number) ? bucket_table_item(table, number)
                                                             : NULL;
}

/* ---- the answer ---- */

struct bucket_merge {
    struct query_run_ctx *run;
    const struct bucket_ops *ops;
    const struct answer_buckets *buckets;
    struct groups *groups;
    struct bucket_table table;
    uint32_t *order; /* groups: those that are shown, and behind them the rest */
    uint32_t shown, group_count;
    bool has_other; /* the rest is one more line */
    uint32_t bucket_begin, bucket_end;
};

static enum err_code merge_parts(struct bucket_merge *m, const struct run_tasks *tasks,
                                 struct err *err)
{
    struct arena *arena = m->run->arena;

    ERR_TRY(groups_create(m->run->query, arena, &m->groups, err));
    ERR_TRY(bucket_table_init(&m->table, m->ops->item_bytes, arena, err));
    for (uint32_t t = 0; t < tasks->count; t++) {
        const char *slot = (const char *)tasks->slots + (size_t)t * tasks->slot_bytes;
        const struct bucket_part *part = (const void *)(slot + m->ops->part_off);
        for (uint32_t i = 0; i < part->table.keys.count; i++) {
            uint32_t words = 0;
            const uint32_t *key = interns_words(&part->table.keys, i, &words);
            uint32_t group = key[1];
            uint32_t place = 0;
            if (group != BUCKET_ALL && part->groups != NULL) {
                ERR_TRY(groups_import(m->groups, part->groups, group, &group, err));
            }
            ERR_TRY(place_of(&m->table, key[0], group, &place, err));
            ERR_TRY(m->ops->merge(bucket_table_item(&m->table, place),
                                  bucket_table_item(&part->table, i), arena, err));
        }
    }
    return ERR_OK;
}

struct ranked {
    uint32_t group;
    struct cell value;
};

static int by_value(const void *a, const void *b, void *groups)
{
    const struct ranked *x = a;
    const struct ranked *y = b;
    int order = cell_cmp(&y->value, &x->value);
    return order != 0 ? order : groups_cmp(groups, x->group, y->group);
}

static int by_group(const void *a, const void *b, void *groups)
{
    return groups_cmp(groups, *(const uint32_t *)a, *(const uint32_t *)b);
}

static enum err_code choose_groups(struct bucket_merge *m, struct err *err)
{
    const struct bound_query *query = m->run->query;
    struct ranked *ranked = NULL;
    struct cell *cells = NULL;
    uint32_t count = groups_count(m->groups);

    m->group_count = count;
    m->shown = query->has_top ? MIN_OF(query->top, count) : count;
    ERR_TRY(ARENA_NEW(m->run->arena, count, &ranked, err));
    ERR_TRY(ARENA_NEW(m->run->arena, count, &m->order, err));
    ERR_TRY(ARENA_NEW(m->run->arena, m->ops->col_count, &cells, err));
    for (uint32_t g = 0; g < count; g++) {
        ranked[g].group = g;
        if (m->shown < count) {
            m->ops->cells(query, find(&m->table, BUCKET_ALL, g), cells);
            ranked[g].value = cells[0];
        }
    }
    if (m->shown < count) {
        qsort_r(ranked, count, sizeof(*ranked), by_value, m->groups);
    }
    for (uint32_t g = 0; g < count; g++) {
        m->order[g] = ranked[g].group;
    }
    m->has_other = query->has_other && m->shown < count;
    if (query->key_count > 0) {
        qsort_r(m->order, m->shown, sizeof(*m->order), by_group, m->groups);
    }
    return ERR_OK;
}

static void choose_buckets(struct bucket_merge *m)
{
    uint32_t first = UINT32_MAX;
    uint32_t end = 0;

    m->bucket_begin = 0;
    m->bucket_end = m->buckets->count;
    if (!m->run->query->has_each) {
        return;
    }
    for (uint32_t i = 0; i < m->table.keys.count; i++) {
        uint32_t words = 0;
        uint32_t bucket = interns_words(&m->table.keys, i, &words)[0];
        if (bucket != BUCKET_ALL) {
            first = MIN_OF(first, bucket);
            end = MAX_OF(end, bucket + 1);
        }
    }
    if (!m->buckets->has_to) {
        m->bucket_end = end;
    }
    if (!m->buckets->has_from) {
        m->bucket_begin = MIN_OF(first, m->bucket_end);
    }
}

static enum err_code make_columns(const struct bucket_merge *m, struct result *result,
                                  struct err *err)
{
    const struct bound_query *query = m->run->query;
    const struct bucket_ops *ops = m->ops;
    struct result_col *cols = NULL;
    uint32_t count = 0;

    ERR_TRY(ARENA_NEW(result->arena, 1 + query->key_count + ops->col_count, &cols, err));
    if (query->has_each) {
        cols[count++] = answer_bucket_col(query);
    }
    for (uint32_t k = 0; k < query->key_count; k++) {
        ERR_TRY(answer_key_col(query, k, m->has_other, result->arena, &cols[count++], err));
    }
    memcpy(cols + count, ops->cols, ops->col_count * sizeof(*cols));
    result->cols = cols;
    result->col_count = count + ops->col_count;
    return ERR_OK;
}

static enum err_code fill_row(struct bucket_merge *m, uint32_t bucket, uint32_t group,
                              struct arena *arena, struct cell *out, struct err *err)
{
    const struct bound_query *query = m->run->query;
    if (query->has_each) {
        ERR_TRY(answer_bucket_cell(query, m->buckets->begins[bucket], arena, out++, err));
    }
    ERR_TRY(answer_key_cells(m->groups, query->key_count, group, false, arena, out, err));
    m->ops->cells(query, find(&m->table, query->has_each ? bucket : BUCKET_ALL, group),
                  out + query->key_count);
    return ERR_OK;
}

/* The groups that are not shown, in this bucket, as one. */
static enum err_code fill_other(struct bucket_merge *m, uint32_t bucket, struct arena *arena,
                                struct cell *out, struct err *err)
{
    const struct bound_query *query = m->run->query;
    void *item = NULL;
    ERR_TRY(arena_alloc_array(m->run->arena, 1, m->ops->item_bytes, &item, err));
    for (uint32_t g = m->shown; g < m->group_count; g++) {
        const void *from = find(&m->table, query->has_each ? bucket : BUCKET_ALL, m->order[g]);
        if (from != NULL) {
            ERR_TRY(m->ops->merge(item, from, m->run->arena, err));
        }
    }
    if (query->has_each) {
        ERR_TRY(answer_bucket_cell(query, m->buckets->begins[bucket], arena, out++, err));
    }
    ERR_TRY(answer_key_cells(m->groups, query->key_count, 0, true, arena, out, err));
    m->ops->cells(query, item, out + query->key_count);
    return ERR_OK;
}

static enum err_code fill_rows(struct bucket_merge *m, struct result *result, struct err *err)
{
    uint64_t buckets = m->bucket_end - m->bucket_begin;
    struct cell *cells = NULL;

    ERR_TRY(run_result_rows(m->run, result, buckets * (m->shown + (m->has_other ? 1 : 0)), &cells,
                            err));
    for (uint32_t b = m->bucket_begin; b < m->bucket_end; b++) {
        ERR_TRY(run_check(m->run, err));
        for (uint32_t g = 0; g < m->shown; g++, cells += result->col_count) {
            ERR_TRY(fill_row(m, b, m->order[g], result->arena, cells, err));
        }
        if (m->has_other) {
            ERR_TRY(fill_other(m, b, result->arena, cells, err));
            cells += result->col_count;
        }
    }
    answer_left_out(result, m->has_other ? 0 : buckets * (m->group_count - m->shown));
    ERR_TRY(ARENA_NEW(result->arena, result->col_count, &result->totals, err));
    m->ops->cells(m->run->query, find(&m->table, BUCKET_ALL, BUCKET_ALL),
                  result->totals + result->col_count - m->ops->col_count);
    return ERR_OK;
}

enum err_code bucket_answer(struct query_run_ctx *run, const struct run_tasks *tasks,
                            const struct bucket_ops *ops, const struct answer_buckets *buckets,
                            struct result *result, struct err *err)
{
    struct bucket_merge m = {.run = run, .ops = ops, .buckets = buckets};
    ERR_TRY(merge_parts(&m, tasks, err));
    ERR_TRY(choose_groups(&m, err));
    choose_buckets(&m);
    ERR_TRY(make_columns(&m, result, err));
    return fill_rows(&m, result, err);
}
