/* query/habit_split.c */
#include "query/habit_split.h"

#include "storage/base/size.h"

#include <stdlib.h>

/* ---- a journey's parts ---- */

static enum err_code split_fit(struct habit_split *split, size_t count, struct err *err)
{
    if (split->cap >= count) {
        return ERR_OK;
    }
    size_t cap = MAX_OF(count, 2 * split->cap);
    ERR_TRY(ARENA_NEW(split->arena, cap, &split->order, err));
    ERR_TRY(ARENA_NEW(split->arena, cap, &split->times, err));
    ERR_TRY(ARENA_NEW(split->arena, cap, &split->masks, err));
    split->cap = cap;
    return ERR_OK;
}

static int event_cmp(const void *a, const void *b, void *ctx)
{
    const uint32_t *numbers = ctx;
    size_t x = *(const size_t *)a;
    size_t y = *(const size_t *)b;
    if (numbers[x] != numbers[y]) {
        return numbers[x] < numbers[y] ? -1 : 1;
    }
    return (x > y) - (x < y);
}

enum err_code habit_split_load(struct habit_split *split, const struct journey *journey,
                               struct err *err)
{
    split->journey = journey;
    split->next = 0;
    if (split->lane == HABIT_LANE_NONE) {
        return ERR_OK;
    }
    ERR_TRY(split_fit(split, journey->count, err));
    for (size_t i = 0; i < journey->count; i++) {
        split->order[i] = i;
    }
    /* qsort_r wants a pointer without const; event_cmp does not write through it. */
    union {
        const uint32_t *in;
        void *out;
    } numbers = {.in = journey->lanes[split->lane]};
    qsort_r(split->order, journey->count, sizeof(*split->order), event_cmp, numbers.out);
    return ERR_OK;
}

bool habit_split_next(struct habit_split *split, uint32_t *ret_group, struct journey *ret)
{
    const struct journey *journey = split->journey;
    if (split->next >= journey->count) {
        return false;
    }
    if (split->lane == HABIT_LANE_NONE) {
        split->next = journey->count;
        *ret_group = 0;
        *ret = *journey;
        return true;
    }
    const uint32_t *numbers = journey->lanes[split->lane];
    uint32_t group = numbers[split->order[split->next]];
    size_t count = 0;
    while (split->next < journey->count && numbers[split->order[split->next]] == group) {
        size_t event = split->order[split->next++];
        split->times[count] = journey->times[event];
        split->masks[count++] = journey->masks[event];
    }
    *ret_group = group;
    *ret = (struct journey){
        .subject = journey->subject, .count = count, .times = split->times, .masks = split->masks};
    return true;
}

/* ---- numbers per group ---- */

enum err_code habit_rows_of(struct habit_rows *rows, uint32_t group, struct arena *arena,
                            uint64_t **ret, struct err *err)
{
    if (group >= rows->cap) {
        size_t cap = MAX_OF(2 * (size_t)rows->cap, (size_t)group + 1);
        uint64_t **more = NULL;
        if (cap > UINT32_MAX) {
            return err_set(err, ERR_LIMIT, "more than %u groups", rows->cap);
        }
        ERR_TRY(ARENA_NEW(arena, cap, &more, err));
        if (rows->cap > 0) {
            memcpy(more, rows->rows, rows->cap * sizeof(*more));
        }
        rows->rows = more;
        rows->cap = (uint32_t)cap;
    }
    if (rows->rows[group] == NULL) {
        ERR_TRY(ARENA_NEW(arena, rows->len, &rows->rows[group], err));
    }
    *ret = rows->rows[group];
    return ERR_OK;
}

static enum err_code add_rows(struct query_run_ctx *run, const struct habit_rows *from,
                              struct groups *groups, struct habit_rows *into, struct err *err)
{
    for (uint32_t g = 0; g < from->cap; g++) {
        uint32_t number = 0;
        uint64_t *row = NULL;
        if (from->rows[g] == NULL) {
            continue;
        }
        ERR_TRY(from->groups == NULL ? ERR_OK
                                     : groups_import(groups, from->groups, g, &number, err));
        ERR_TRY(habit_rows_of(into, number, run->arena, &row, err));
        for (size_t i = 0; i < into->len; i++) {
            row[i] += from->rows[g][i];
        }
    }
    return ERR_OK;
}

enum err_code habit_rows_merge(struct query_run_ctx *run, const struct run_tasks *tasks,
                               size_t rows_off, struct habit_rows *ret, struct err *err)
{
    struct groups *groups = NULL;
    uint64_t *row = NULL;
    ERR_TRY(groups_create(run->query, run->arena, &groups, err));
    ret->groups = groups;
    for (uint32_t t = 0; t < tasks->count; t++) {
        const char *slot = (const char *)tasks->slots + (size_t)t * tasks->slot_bytes;
        const struct habit_rows *from = (const void *)(slot + rows_off);
        ERR_TRY(run_check(run, err));
        ERR_TRY(add_rows(run, from, groups, ret, err));
    }
    return run->query->key_count > 0 ? ERR_OK : habit_rows_of(ret, 0, run->arena, &row, err);
}

/* What `top` leaves out, added up in one row. */
static enum err_code pick_other(struct query_run_ctx *run, struct habit_rows *rows,
                                const struct answer_group *rest, uint32_t count, struct err *err)
{
    ERR_TRY(ARENA_NEW(run->arena, rows->len, &rows->other, err));
    for (uint32_t g = 0; g < count; g++) {
        for (size_t i = 0; i < rows->len; i++) {
            rows->other[i] += rows->rows[rest[g].number][i];
        }
    }
    return ERR_OK;
}

enum err_code habit_rows_pick(struct query_run_ctx *run, struct habit_rows *rows,
                              uint64_t (*weigh)(const uint64_t *row, size_t len),
                              struct answer_group **ret, uint32_t *ret_count,
                              uint32_t *ret_left_out, struct err *err)
{
    struct answer_group *picked = NULL;
    uint32_t count = 0;
    ERR_TRY(ARENA_NEW(run->arena, rows->cap, &picked, err));
    for (uint32_t g = 0; g < rows->cap; g++) {
        if (rows->rows[g] != NULL) {
            picked[count++] = (struct answer_group){g, weigh(rows->rows[g], rows->len)};
        }
    }
    *ret = picked;
    *ret_count = answer_pick_groups(run->query, rows->groups, picked, count);
    *ret_left_out = count - *ret_count;
    if (run->query->has_other && *ret_left_out > 0) {
        ERR_TRY(pick_other(run, rows, picked + *ret_count, *ret_left_out, err));
        picked[(*ret_count)++].number = HABIT_OTHER;
        *ret_left_out = 0;
    }
    return ERR_OK;
}

const uint64_t *habit_row(const struct habit_rows *rows, uint32_t group)
{
    return group == HABIT_OTHER ? rows->other : rows->rows[group];
}

enum err_code habit_key_cells(const struct habit_rows *rows, uint32_t key_count, uint32_t group,
                              struct arena *arena, struct cell *out, struct err *err)
{
    return answer_key_cells(rows->groups, key_count, group, group == HABIT_OTHER, arena, out, err);
}

enum err_code habit_key_cols(const struct bound_query *query, struct arena *arena,
                             struct result_col *cols, uint32_t *count, struct err *err)
{
    for (uint32_t k = 0; k < query->key_count; k++) {
        ERR_TRY(answer_key_col(query, k, query->has_other, arena, &cols[(*count)++], err));
    }
    return ERR_OK;
}
