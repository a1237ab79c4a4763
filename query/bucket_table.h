/* query/bucket_table.h - what a verb counts per bucket of time and per group, from the tasks to the rows.
 *
 *     key                 what is counted there
 *     (bucket, group)     with `each`
 *     (all, group)        not the sum of its buckets: people are in several
 *     (all, all)          the totals
 *
 * An item is the verb's own struct of counts, all zero at first. A task puts what happened under all three keys; items of
 * tasks are merged by value, for a subject is in one task. Groups are shown in canonical order, or with `top N`
 * those with the most of the first column, and with `with other` the rest as one: for verbs whose items of different groups add
 * up. Buckets are filled with zeroes over a range that was asked for, else from the first to the last that has something.
 *
 * Thread: a table is one task's; bucket_answer is the calling thread's.
 */
#pragma once

#include "query/answer_journeys.h"
#include "query/interns.h"

#define BUCKET_ALL    UINT32_MAX
#define BUCKET_PLACES 3u

struct bucket_table {
    struct interns keys; /* (bucket, group) */
    char *items;         /* by number, item_bytes each */
    size_t item_bytes;
    uint32_t cap;
    uint32_t last_key[2], last_places[BUCKET_PLACES],
        last_count; /* neighbours are mostly of one place */
};
enum err_code bucket_table_init(struct bucket_table *table, size_t item_bytes, struct arena *arena,
                                struct err *err) ERR_MUST_CHECK;
/* Where something that happened in this bucket and group is counted: numbers of items, zeroed where they are new,
 * good for ever; the items themselves until the next new one. */
enum err_code bucket_table_places(struct bucket_table *table, bool has_each, uint32_t bucket,
                                  uint32_t group, uint32_t out[BUCKET_PLACES], uint32_t *ret_count,
                                  struct err *err) ERR_MUST_CHECK;
static inline void *bucket_table_item(const struct bucket_table *table, uint32_t number)
{
    return table->items + (size_t)number * table->item_bytes;
}

/* What a task's slot has for bucket_answer. */
struct bucket_part {
    struct groups *groups; /* NULL without keys: then all groups are 0 */
    struct bucket_table table;
};

struct bucket_ops {
    size_t item_bytes;
    enum err_code (*merge)(void *into, const void *from, struct arena *arena, struct err *err);
    /* The columns behind bucket and keys; `item` may be NULL: nothing was counted. */
    void (*cells)(const struct bound_query *query, void *item, struct cell *out);
    const struct result_col *cols;
    uint32_t col_count;
    size_t part_off; /* of the bucket_part in a slot */
};
/* Fill columns, rows and totals. */
enum err_code bucket_answer(struct query_run_ctx *run, const struct run_tasks *tasks,
                            const struct bucket_ops *ops, const struct answer_buckets *buckets,
                            struct result *result, struct err *err) ERR_MUST_CHECK;
