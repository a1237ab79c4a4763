/* query/funnel_list.c */
#include "query/funnel_list.h"

#include "query/answer_journeys.h"
#include "query/grow.h"

#include <stdlib.h>

#define LIST_COLS 2u

enum err_code funnel_list_add(struct funnel_list *list, const uint32_t *keys, size_t count,
                              uint32_t level, struct arena *arena, struct err *err)
{
    uint32_t subject = keys[0];
    for (size_t i = 1; i < count; i++) { /* a user's events may name several anonymous ids */
        if (keys[i] != subject && groups_cmp(list->groups, keys[i], subject) > 0) {
            subject = keys[i];
        }
    }
    ERR_TRY(GROW(arena, &list->lines, list->count, &list->cap, err));
    list->lines[list->count++] = (struct funnel_list_line){subject, level};
    return ERR_OK;
}

static const struct funnel_list *list_of(const struct run_tasks *tasks, size_t list_off, uint32_t t)
{
    const char *slot = (const char *)tasks->slots + (size_t)t * tasks->slot_bytes;
    return (const struct funnel_list *)(const void *)(slot + list_off);
}

enum err_code funnel_list_table(struct query_run_ctx *run, const struct run_tasks *tasks,
                                size_t list_off, struct result *result, struct err *err)
{
    struct result_col *cols = NULL;
    struct cell *cells = NULL;
    uint64_t count = 0;
    uint32_t col_count = LIST_COLS;

    ERR_TRY(ARENA_NEW(result->arena, LIST_COLS, &cols, err));
    ERR_TRY(answer_subject_col(run->query, result->arena, &cols[0], err));
    cols[1] = (struct result_col){STR("level"), RESULT_INT64};
    result->cols = cols;
    result->col_count = LIST_COLS;
    for (uint32_t t = 0; t < tasks->count; t++) {
        count += list_of(tasks, list_off, t)->count;
    }
    ERR_TRY(run_result_rows(run, result, count, &cells, err));
    for (uint32_t t = 0; t < tasks->count; t++) {
        const struct funnel_list *list = list_of(tasks, list_off, t);
        for (uint32_t i = 0; i < list->count; i++, cells += LIST_COLS) {
            ERR_TRY(answer_subject_cell(list->groups, list->lines[i].subject, result->arena,
                                        &cells[0], err));
            cells[1] = answer_count_cell(list->lines[i].level);
        }
    }
    qsort_r(result->cells, count, LIST_COLS * sizeof(*cells), answer_rows_cmp, &col_count);
    return ARENA_NEW(result->arena, LIST_COLS, &result->totals, err); /* CELL_NULL = 0 */
}
