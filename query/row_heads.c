/* query/row_heads.c */
#include "query/row_heads.h"

#include "storage/base/size.h"

#include <stdlib.h>

enum err_code row_heads_init(struct row_heads *heads, const struct groups *groups,
                             struct arena *arena, struct err *err)
{
    *heads = (struct row_heads){.groups = groups};
    return interns_init(&heads->pairs, arena, err);
}

enum err_code row_heads_of(struct row_heads *heads, uint32_t bucket, uint32_t group, uint32_t *ret,
                           struct err *err)
{
    uint32_t pair[2] = {bucket, group};
    bool is_last =
        heads->pairs.count > 0 && heads->last_pair[0] == bucket && heads->last_pair[1] == group;
    if (!is_last) {
        ERR_TRY(interns_put_words(&heads->pairs, pair, 2, &heads->last, err));
        memcpy(heads->last_pair, pair, sizeof(pair));
    }
    *ret = heads->last;
    return ERR_OK;
}

/* ---- ranks ---- */

static const struct row_heads *heads_of(const struct run_tasks *tasks, uint32_t task,
                                        size_t heads_off)
{
    return (const void *)((const char *)run_slot(tasks, task) + heads_off);
}

struct head_order {
    const struct groups *groups;
    const struct row_head *heads;
};

static int by_head(const void *a, const void *b, void *ctx)
{
    const struct head_order *order = ctx;
    const struct row_head *x = &order->heads[*(const uint32_t *)a];
    const struct row_head *y = &order->heads[*(const uint32_t *)b];
    if (x->bucket != y->bucket) {
        return x->bucket < y->bucket ? -1 : 1;
    }
    return x->group == y->group ? 0 : groups_cmp(order->groups, x->group, y->group);
}

/* All heads, numbered as they are met: rank_of has these numbers until they are ranked. */
static enum err_code collect(struct query_run_ctx *run, const struct run_tasks *tasks,
                             size_t heads_off, struct interns *all, struct row_ranks *ret,
                             struct err *err)
{
    ERR_TRY(groups_create(run->query, run->arena, &ret->groups, err));
    ERR_TRY(interns_init(all, run->arena, err));
    ERR_TRY(ARENA_NEW(run->arena, tasks->count, &ret->rank_of, err));
    for (uint32_t t = 0; t < tasks->count; t++) {
        const struct row_heads *heads = heads_of(tasks, t, heads_off);
        ERR_TRY(ARENA_NEW(run->arena, heads->pairs.count, &ret->rank_of[t], err));
        for (uint32_t h = 0; h < heads->pairs.count; h++) {
            uint32_t words = 0;
            uint32_t pair[2];
            memcpy(pair, interns_words(&heads->pairs, h, &words), sizeof(pair));
            if (heads->groups != NULL) {
                ERR_TRY(groups_import(ret->groups, heads->groups, pair[1], &pair[1], err));
            }
            ERR_TRY(interns_put_words(all, pair, 2, &ret->rank_of[t][h], err));
        }
    }
    return ERR_OK;
}

enum err_code row_heads_rank(struct query_run_ctx *run, const struct run_tasks *tasks,
                             size_t heads_off, struct row_ranks *ret, struct err *err)
{
    struct interns all;
    struct row_head *heads = NULL;
    uint32_t *order = NULL;
    uint32_t *rank = NULL;

    ERR_TRY(collect(run, tasks, heads_off, &all, ret, err));
    ret->count = all.count;
    ERR_TRY(ARENA_NEW(run->arena, all.count, &heads, err));
    ERR_TRY(ARENA_NEW(run->arena, all.count, &order, err));
    ERR_TRY(ARENA_NEW(run->arena, all.count, &rank, err));
    ERR_TRY(ARENA_NEW(run->arena, all.count, &ret->heads, err));
    for (uint32_t h = 0; h < all.count; h++) {
        uint32_t words = 0;
        const uint32_t *pair = interns_words(&all, h, &words);
        heads[h] = (struct row_head){pair[0], pair[1]};
        order[h] = h;
    }
    struct head_order ctx = {ret->groups, heads};
    qsort_r(order, all.count, sizeof(*order), by_head, &ctx);
    for (uint32_t r = 0; r < all.count; r++) {
        ret->heads[r] = heads[order[r]];
        rank[order[r]] = r;
    }
    for (uint32_t t = 0; t < tasks->count; t++) {
        for (uint32_t h = 0; h < heads_of(tasks, t, heads_off)->pairs.count; h++) {
            ret->rank_of[t][h] = rank[ret->rank_of[t][h]];
        }
    }
    return ERR_OK;
}

/* ---- columns and cells ---- */

uint32_t row_head_width(const struct bound_query *query)
{
    return (query->has_each ? 1 : 0) + query->key_count;
}

enum err_code row_head_cols(const struct bound_query *query, const struct result_col *own,
                            uint32_t own_count, struct result *result, struct err *err)
{
    struct result_col *cols = NULL;
    uint32_t count = 0;

    ERR_TRY(ARENA_NEW(result->arena, (size_t)row_head_width(query) + own_count, &cols, err));
    if (query->has_each) {
        cols[count++] = answer_bucket_col(query);
    }
    for (uint32_t k = 0; k < query->key_count; k++) {
        ERR_TRY(answer_key_col(query, k, false, result->arena, &cols[count++], err));
    }
    memcpy(cols + count, own, own_count * sizeof(*cols));
    result->cols = cols;
    result->col_count = count + own_count;
    return ERR_OK;
}

enum err_code row_head_cells(const struct bound_query *query, const struct row_ranks *ranks,
                             const struct answer_buckets *buckets, uint32_t rank,
                             struct arena *arena, struct cell *out, struct err *err)
{
    const struct row_head *head = &ranks->heads[rank];
    if (query->has_each) {
        ERR_TRY(answer_bucket_cell(query, buckets->begins[head->bucket], arena, out++, err));
    }
    return answer_key_cells(ranks->groups, query->key_count, head->group, false, arena, out, err);
}
