/* query/verb_trend.c - trend and distinct: measures over time and breakdowns.
 *
 * Tasks leave cells (trend_int.h); here their groups are matched by value, the `top` ones chosen by
 * the first measure over the whole range, and each row of the answer is the union of its cells
 * (trend_value.h).
 *
 * With `each`, every group has a row in every bucket: over the range, or, where the query gives
 * none, from the first bucket with a row to the last. */
#include "query/cell_taker.h"
#include "query/trend_large.h"
#include "query/trend_top.h"
#include "query/trend_value.h"

#include "query/grow.h"
#include "query/heap.h"
#include "storage/base/size.h"

#include <stdlib.h>

#define NONE            UINT32_MAX
#define ROWS_MANY       8u /* from here on, rows of many values are made in parts */
#define RANKS_PER_CHECK 4096u
#define GROUPS_MANY     8192u /* of all tasks: from here on, they are ranked in parts */

struct trend_answer {
    struct query_run_ctx *run;
    const struct trend_plan *plan;
    struct result *result;
    const struct run_tasks *tasks;
    struct arena *arena;   /* lives as long as the answer is made */
    struct groups *groups; /* of all tasks */
    uint32_t **global;     /* [task][number in the task]: the group */
    uint8_t *is_shown;     /* of each group: has a row of its own */
    uint32_t *order;       /* the groups with rows, in canonical order */
    uint32_t group_count;
    uint32_t all_group_count; /* with those that were never put together */
    struct trend_group *rows;
    uint32_t row_group_count;
    uint32_t bucket_begin, bucket_end; /* that are shown */
    struct trend_values values;        /* of the calling thread */
};

/* ---- matching the groups of tasks ---- */

static const struct trend_slot *answer_slot(const struct trend_answer *answer, uint32_t task)
{
    return (const struct trend_slot *)answer->tasks->slots + task;
}

/* A task's group, and its number among all. */
struct group_entry {
    struct group_part part;
    uint32_t group;
};

/* The parts of each group, by counting: tasks come in order, so a group's parts do. */
static enum err_code answer_parts(struct trend_answer *answer, const struct group_entry *entries,
                                  uint32_t count, struct err *err)
{
    uint32_t *begins = NULL;
    struct group_part *parts = NULL;
    ERR_TRY(ARENA_NEW(answer->arena, (size_t)answer->group_count + 1, &begins, err));
    ERR_TRY(ARENA_NEW(answer->arena, count, &parts, err));
    uint32_t *ends = begins + 1; /* counts, then ends */
    for (uint32_t i = 0; i < count; i++) {
        ends[entries[i].group]++;
    }
    uint32_t begin = 0;
    for (uint32_t g = 0; g < answer->group_count; g++) { /* each end is for now the begin */
        uint32_t of_group = ends[g];
        ends[g] = begin;
        begin += of_group;
    }
    for (uint32_t i = 0; i < count; i++) {
        parts[ends[entries[i].group]++] = entries[i].part;
    }
    answer->values.part_begins = begins;
    answer->values.parts = parts;
    return ERR_OK;
}

static enum err_code count_entries(const struct trend_answer *answer, uint32_t *ret,
                                   struct err *err)
{
    uint64_t count = 0;
    for (uint32_t t = 0; t < answer->tasks->count; t++) {
        count += groups_count(answer_slot(answer, t)->groups);
    }
    *ret = (uint32_t)count;
    return count < UINT32_MAX
               ? ERR_OK
               : err_set(err, ERR_LIMIT, "more groups than %u, tasks counted apart", UINT32_MAX);
}

static enum err_code answer_match_groups(struct trend_answer *answer, struct err *err)
{
    struct arena *arena = answer->arena;
    uint32_t task_count = answer->tasks->count;
    struct group_entry *entries = NULL;
    uint32_t entry_count = 0;
    ERR_TRY(count_entries(answer, &entry_count, err));
    ERR_TRY(groups_create(answer->plan->query, arena, &answer->groups, err));
    ERR_TRY(ARENA_NEW(arena, task_count, &answer->global, err));
    ERR_TRY(ARENA_NEW(arena, entry_count, &entries, err));
    uint32_t at = 0;
    for (uint32_t t = 0; t < task_count; t++) {
        const struct groups *groups = answer_slot(answer, t)->groups;
        uint32_t count = groups_count(groups);
        ERR_TRY(run_check(answer->run, err));
        ERR_TRY(ARENA_NEW(arena, count, &answer->global[t], err));
        ERR_TRY(groups_adopt(answer->groups, groups, NULL, count, answer->global[t], err));
        for (uint32_t g = 0; g < count; g++) {
            entries[at++] = (struct group_entry){{t, g}, answer->global[t][g]};
        }
    }
    answer->group_count = answer->all_group_count = groups_count(answer->groups);
    return answer_parts(answer, entries, entry_count, err);
}

static int compare_groups(const void *a, const void *b, void *groups)
{
    return groups_cmp(groups, *(const uint32_t *)a, *(const uint32_t *)b);
}

/* ---- which rows ---- */

struct ranked_group {
    uint32_t group;
    struct cell value;
};

struct ranking {
    const struct trend_answer *answer;
    struct ranked_group *ranked;
};

/* Largest first; ties by the groups' own order. */
static bool ranks_behind(const void *arg, uint32_t x, uint32_t y)
{
    const struct ranking *ranking = arg;
    const struct ranked_group *a = &ranking->ranked[x];
    const struct ranked_group *b = &ranking->ranked[y];
    int order = cell_cmp(&a->value, &b->value);
    return order != 0 ? order < 0 : groups_cmp(ranking->answer->groups, a->group, b->group) > 0;
}

/* Whether the group counts fewer rows than the last of those on top. */
static bool counts_less(const struct trend_answer *answer, uint32_t lane, uint32_t g,
                        const struct ranked_group *last)
{
    const struct trend_group group = {.reach = GROUP_ONE, .group = g};
    return last->value.kind == CELL_I64 &&
           trend_rows(&answer->values, lane, &group) < (uint64_t)last->value.i64;
}

/* The first measure of a group over the whole range. */
static enum err_code group_rank(struct trend_answer *answer, uint32_t g, struct ranked_group *ret,
                                struct err *err)
{
    struct arena_mark mark = arena_mark(answer->values.scratch);
    const struct trend_group group = {.reach = GROUP_ONE, .group = g};
    struct expr_value value = {0};
    ERR_TRY(trend_measure(&answer->values, 0, &group, TREND_WHOLE_RANGE, &value, err));
    *ret = (struct ranked_group){.group = g, .value = expr_cell(&value)};
    arena_rewind(answer->values.scratch, mark);
    return ERR_OK;
}

/* The `top` groups into answer->order, in no order. */
static enum err_code answer_rank(struct trend_answer *answer, uint32_t top, struct err *err)
{
    struct ranking ranking = {.answer = answer};
    uint32_t *heap = NULL;                    /* places in `ranked` */
    uint32_t spare = top;                     /* the place that is not in the heap */
    uint32_t lane = answer->plan->count_lane; /* is compared before anything is made of it */
    ERR_TRY(ARENA_NEW(answer->arena, top, &heap, err));
    ERR_TRY(ARENA_NEW(answer->arena, (size_t)top + 1, &ranking.ranked, err));
    for (uint32_t g = 0; g < top; g++) {
        heap[g] = g;
        ERR_TRY(group_rank(answer, g, &ranking.ranked[g], err));
    }
    heap_make(heap, top, ranks_behind, &ranking);
    for (uint32_t g = top; top > 0 && g < answer->group_count; g++) {
        if (g % RANKS_PER_CHECK == 0) {
            ERR_TRY(run_check(answer->run, err));
        }
        if (lane != NONE && counts_less(answer, lane, g, &ranking.ranked[heap[0]])) {
            continue;
        }
        ERR_TRY(group_rank(answer, g, &ranking.ranked[spare], err));
        if (ranks_behind(&ranking, heap[0], spare)) {
            uint32_t last = heap[0];
            heap[0] = spare;
            spare = last;
            heap_sink(heap, top, 0, ranks_behind, &ranking);
        }
    }
    for (uint32_t i = 0; i < top; i++) {
        answer->order[i] = ranking.ranked[heap[i]].group;
    }
    return ERR_OK;
}

/* ---- many groups, of which the first are shown ---- */

/* A group of a part. */
struct top_head {
    const struct trend_top *top;
    uint32_t head;
};

static int compare_heads(const void *a, const void *b)
{
    const struct top_head *x = a;
    const struct top_head *y = b;
    return trend_top_cmp(x->top, x->head, y->top, y->head);
}

/* The first groups of all parts, in order. */
static enum err_code first_heads(struct trend_answer *answer, const struct run_tasks *tops,
                                 struct top_head **ret, uint32_t *ret_count, struct err *err)
{
    struct top_head *heads = NULL;
    size_t count = 0;
    for (uint32_t p = 0; p < TREND_PARTS; p++) {
        count += ((const struct trend_top *)run_slot(tops, p))->top_count;
    }
    ERR_TRY(ARENA_NEW(answer->arena, count, &heads, err));
    count = 0;
    for (uint32_t p = 0; p < TREND_PARTS; p++) {
        const struct trend_top *top = run_slot(tops, p);
        for (uint32_t i = 0; i < top->top_count; i++) {
            heads[count++] = (struct top_head){top, top->tops[i]};
        }
        answer->all_group_count += top->head_count;
    }
    qsort(heads, count, sizeof(*heads), compare_heads);
    *ret = heads;
    *ret_count = (uint32_t)MIN_OF(count, (size_t)answer->plan->query->top);
    return ERR_OK;
}

/* As answer_match_groups, but of groups that are not shown none is put together. */
static enum err_code answer_match_tops(struct trend_answer *answer, struct err *err)
{
    CLEANUP(run_tasks_free) struct run_tasks tops = {0};
    struct top_head *heads = NULL;
    struct group_entry *entries = NULL;
    uint32_t head_count = 0;
    uint32_t entry_count = 0;
    ERR_TRY(trend_tops(answer->run, answer->plan, answer->tasks, &tops, err));
    ERR_TRY(first_heads(answer, &tops, &heads, &head_count, err));
    ERR_TRY(groups_create(answer->plan->query, answer->arena, &answer->groups, err));
    ERR_TRY(ARENA_NEW(answer->arena, (size_t)head_count * answer->tasks->count, &entries, err));
    for (uint32_t h = 0; h < head_count; h++) {
        const struct trend_top *top = heads[h].top;
        uint32_t head = heads[h].head;
        uint32_t group = 0;
        ERR_TRY(groups_import(answer->groups, trend_top_groups(top, head), top->entries[head].local,
                              &group, err));
        for (uint32_t k = head; k != TREND_TOP_NONE; k = top->next[k]) {
            const struct trend_entry *entry = &top->entries[k];
            entries[entry_count++] = (struct group_entry){{entry->task, entry->local}, group};
        }
    }
    answer->group_count = groups_count(answer->groups);
    return answer_parts(answer, entries, entry_count, err);
}

/* Whether the first groups are found in parts: there are many, or each takes a look at many values. */
static bool are_in_parts(const struct trend_answer *answer, uint32_t entry_count)
{
    const struct trend_plan *plan = answer->plan;
    return plan->is_ranked &&
           (entry_count >= GROUPS_MANY ||
            (plan->count_lane == NONE && !plan->is_rank_cheap && entry_count >= ROWS_MANY &&
             trend_weight(plan, answer->tasks) >= TREND_LARGE));
}

static enum err_code answer_match(struct trend_answer *answer, struct err *err)
{
    uint32_t entry_count = 0;
    ERR_TRY(count_entries(answer, &entry_count, err));
    return are_in_parts(answer, entry_count) ? answer_match_tops(answer, err)
                                             : answer_match_groups(answer, err);
}

static enum err_code group_keys(struct trend_answer *answer, struct trend_group *group,
                                struct err *err)
{
    const struct bound_query *query = answer->plan->query;
    ERR_TRY(ARENA_NEW(answer->arena, query->key_count, &group->keys, err));
    for (uint32_t k = 0; k < query->key_count; k++) {
        struct cell cell = {.kind = CELL_NULL};
        if (group->reach == GROUP_OTHERS && k == 0) {
            cell = (struct cell){.kind = CELL_STRING, .string = STR("other")};
        } else if (group->reach == GROUP_ONE) {
            cell = groups_cell(answer->groups, group->group, k);
        }
        if (cell.kind == CELL_STRING) {
            ERR_TRY(arena_str(answer->result->arena, cell.string, &cell.string, err));
        }
        group->keys[k] = cell;
    }
    return ERR_OK;
}

/* The groups that get rows, and how many rows the cut by `top` takes away. */
static enum err_code answer_choose(struct trend_answer *answer, struct err *err)
{
    const struct bound_query *query = answer->plan->query;
    struct arena *arena = answer->arena;
    uint32_t shown = answer->group_count;
    bool is_cut = query->has_top && query->key_count > 0 && query->top < shown;
    shown = is_cut ? query->top : shown;
    ERR_TRY(ARENA_NEW(arena, shown, &answer->order, err));
    ERR_TRY(ARENA_NEW(arena, answer->group_count, &answer->is_shown, err));
    answer->values.global = answer->global;
    answer->values.is_shown = answer->is_shown;
    if (is_cut) {
        ERR_TRY(answer_rank(answer, shown, err));
    } else {
        for (uint32_t g = 0; g < shown; g++) {
            answer->order[g] = g;
        }
    }
    qsort_r(answer->order, shown, sizeof(uint32_t), compare_groups, answer->groups);
    ERR_TRY(ARENA_NEW(arena, (size_t)shown + 1, &answer->rows, err));
    for (uint32_t i = 0; i < shown; i++) {
        answer->rows[i] = (struct trend_group){.reach = GROUP_ONE, .group = answer->order[i]};
        answer->is_shown[answer->order[i]] = 1;
    }
    answer->row_group_count = shown;
    if (is_cut && query->has_other) {
        answer->rows[answer->row_group_count++] = (struct trend_group){.reach = GROUP_OTHERS};
    }
    for (uint32_t i = 0; i < answer->row_group_count; i++) {
        ERR_TRY(group_keys(answer, &answer->rows[i], err));
    }
    return ERR_OK;
}

/* Where the range is open, the data say where the buckets begin or end. */
static void answer_trim(struct trend_answer *answer)
{
    const struct trend_plan *plan = answer->plan;
    answer->bucket_begin = 0;
    answer->bucket_end = plan->bucket_count;
    if ((!plan->is_from_open && !plan->is_to_open) || !plan->query->has_each) {
        return;
    }
    int64_t min_ms = INT64_MAX;
    int64_t max_ms = INT64_MIN;
    for (uint32_t t = 0; t < answer->tasks->count; t++) {
        const struct trend_slot *slot = answer_slot(answer, t);
        min_ms = MIN_OF(min_ms, slot->row_min_ms);
        max_ms = MAX_OF(max_ms, slot->row_max_ms);
        for (uint32_t l = 0; l < plan->lane_count; l++) {
            const struct trend_grid *grid = &plan->grids[plan->lanes[l].grid];
            const struct trend_people *people = slot->people == NULL ? NULL : slot->people[l];
            if (people != NULL && people->atom_begin < people->atom_end) {
                min_ms = MIN_OF(min_ms, grid->edges[people->atom_begin]);
                max_ms = MAX_OF(max_ms, grid->edges[people->atom_end] - 1);
            }
            for (uint32_t g = 0; plan->lanes[l].is_indexed && g < slot->group_cap; g++) {
                const union acc_cell *cells = slot->cells[l][g];
                for (uint32_t a = 0; cells != NULL && a < grid->atom_count; a++) {
                    if (acc_has_users(&slot->pool, &cells[a])) {
                        min_ms = MIN_OF(min_ms, grid->edges[a]);
                        max_ms = MAX_OF(max_ms, grid->edges[a + 1] - 1);
                    }
                }
            }
        }
    }
    if (min_ms > max_ms) {
        answer->bucket_end = 0;
        return;
    }
    min_ms = MAX_OF(min_ms, plan->begins[0]);
    max_ms = MIN_OF(max_ms, plan->begins[plan->bucket_count] - 1);
    if (plan->is_from_open) {
        answer->bucket_begin = civil_bucket_idx(plan->begins, plan->bucket_count, min_ms);
    }
    if (plan->is_to_open) {
        answer->bucket_end = civil_bucket_idx(plan->begins, plan->bucket_count, max_ms) + 1;
    }
}

/* ---- the table ---- */

static enum result_type key_type(const struct by_key *key, bool has_other)
{
    if (key->edges != NULL || key->field.kind == FIELD_UNKNOWN) {
        return RESULT_STRING;
    }
    switch (key->field.type) {
    case COL_NUMBER: return has_other ? RESULT_ANY : RESULT_NUMBER;
    case COL_BOOL: return has_other ? RESULT_ANY : RESULT_BOOL;
    case COL_TIME: return has_other ? RESULT_ANY : RESULT_TIME;
    default: return RESULT_STRING;
    }
}

static enum result_type measure_type(const struct bound_query *query, const struct expr *expr)
{
    if (expr_is_whole(expr, query->aggs)) {
        return RESULT_INT64;
    }
    if (expr->kind == EXPR_AGG) {
        const struct agg *agg = &query->aggs[expr->agg];
        bool is_value = agg->kind == AGG_FIRST || agg->kind == AGG_LAST || agg->kind == AGG_MIN ||
                        agg->kind == AGG_MAX;
        if (is_value && agg->field.kind != FIELD_UNKNOWN) {
            switch (agg->field.type) {
            case COL_STRING: return RESULT_STRING;
            case COL_BOOL: return RESULT_BOOL;
            case COL_TIME: return RESULT_TIME;
            default: break;
            }
        }
    }
    return RESULT_NUMBER;
}

static bool each_is_date(const struct bound_query *query)
{
    return query->each_unit >= CIVIL_DAY;
}

static enum err_code answer_columns(struct trend_answer *answer, struct err *err)
{
    const struct bound_query *query = answer->plan->query;
    struct arena *arena = answer->result->arena;
    uint32_t count = (query->has_each ? 1 : 0) + query->key_count + query->measure_count;
    struct result_col *cols = NULL;
    ERR_TRY(ARENA_NEW(arena, count, &cols, err));
    uint32_t c = 0;
    if (query->has_each) {
        cols[c++] =
            (struct result_col){STR("time"), each_is_date(query) ? RESULT_DATE : RESULT_TIME};
    }
    bool has_other = answer->row_group_count > 0 &&
                     answer->rows[answer->row_group_count - 1].reach == GROUP_OTHERS;
    for (uint32_t k = 0; k < query->key_count; k++, c++) {
        cols[c].type = key_type(&query->keys[k], has_other && k == 0);
        ERR_TRY(arena_str(arena, query->keys[k].name, &cols[c].name, err));
    }
    for (uint32_t m = 0; m < query->measure_count; m++, c++) {
        cols[c].type = measure_type(query, query->measures[m].expr);
        ERR_TRY(arena_str(arena, query->measures[m].name, &cols[c].name, err));
    }
    answer->result->cols = cols;
    answer->result->col_count = count;
    return ERR_OK;
}

static enum err_code answer_time(struct trend_answer *answer, uint32_t b, struct cell *ret,
                                 struct err *err)
{
    const struct bound_query *query = answer->plan->query;
    int64_t begin = answer->plan->begins[b];
    char text[CIVIL_TEXT_BYTES];
    struct str time = each_is_date(query) ? civil_format_date(query->zone, begin, text)
                                          : civil_format_instant(query->zone, begin, text);
    ret->kind = CELL_STRING;
    return arena_str(answer->result->arena, time, &ret->string, err);
}

/* Times and keys of all rows. */
static enum err_code answer_labels(struct trend_answer *answer, struct cell *cells, struct err *err)
{
    const struct bound_query *query = answer->plan->query;
    for (uint32_t b = answer->bucket_begin; b < answer->bucket_end; b++) {
        struct cell time = {.kind = CELL_NULL};
        if (query->has_each) {
            ERR_TRY(answer_time(answer, b, &time, err));
        }
        for (uint32_t g = 0; g < answer->row_group_count; g++) {
            if (query->has_each) {
                *cells++ = time;
            }
            for (uint32_t k = 0; k < query->key_count; k++) {
                *cells++ = answer->rows[g].keys[k];
            }
            cells += query->measure_count;
        }
    }
    return ERR_OK;
}

/* Many values in many rows: each row on some thread. Few rows are made here one by one, of as many values as they
 * may be (trend_large.h). */
static bool are_rows_large(const struct trend_answer *answer, uint64_t row_count)
{
    return row_count >= ROWS_MANY && !run_is_reference(answer->run) &&
           trend_weight(answer->plan, answer->tasks) >= TREND_LARGE;
}

static enum err_code answer_measures(struct trend_answer *answer, struct cell *cells,
                                     struct err *err)
{
    const struct bound_query *query = answer->plan->query;
    const struct trend_row_range rows = {
        .groups = answer->rows,
        .group_count = answer->row_group_count,
        .bucket_begin = answer->bucket_begin,
        .bucket_end = answer->bucket_end,
        .cells = cells + (query->has_each ? 1 : 0) + query->key_count,
        .stride = answer->result->col_count,
    };
    uint64_t buckets = rows.bucket_end - rows.bucket_begin;
    if (are_rows_large(answer, buckets * rows.group_count)) {
        return trend_large_rows(answer->run, &answer->values, &rows, err);
    }
    struct cell *out = rows.cells;
    for (uint32_t b = rows.bucket_begin; b < rows.bucket_end; b++) {
        ERR_TRY(run_check(answer->run, err));
        for (uint32_t g = 0; g < rows.group_count; g++, out += rows.stride) {
            ERR_TRY(trend_measures(&answer->values, &answer->rows[g], b, out, err));
        }
    }
    return ERR_OK;
}

static enum err_code answer_rows(struct trend_answer *answer, struct err *err)
{
    const struct bound_query *query = answer->plan->query;
    struct result *result = answer->result;
    uint64_t buckets = answer->bucket_end - answer->bucket_begin;
    struct cell *cells = NULL;
    ERR_TRY(run_result_rows(answer->run, result, buckets * answer->row_group_count, &cells, err));
    ERR_TRY(answer_labels(answer, cells, err));
    ERR_TRY(answer_measures(answer, cells, err));
    uint64_t shown = answer->row_group_count;
    uint64_t left_out =
        query->has_other || shown >= answer->all_group_count ? 0 : answer->all_group_count - shown;
    result->meta.rows_total = buckets * MAX_OF(shown, (uint64_t)answer->all_group_count);
    result->meta.rows_left_out = buckets * left_out;
    return ERR_OK;
}

static enum err_code answer_totals(struct trend_answer *answer, struct err *err)
{
    struct result *result = answer->result;
    const struct trend_group everything = {.reach = GROUP_ALL};
    ERR_TRY(ARENA_NEW(result->arena, result->col_count, &result->totals, err));
    uint32_t first = result->col_count - answer->plan->query->measure_count;
    return trend_measures(&answer->values, &everything, TREND_WHOLE_RANGE, result->totals + first,
                          err);
}

/* ---- who is in a cell ---- */

/* The run of atoms that the cell stands for; false where the answer has no such bucket. */
static bool people_atoms(const struct trend_answer *answer, uint32_t lane, struct trend_bucket *ret)
{
    const struct trend_plan *plan = answer->plan;
    const struct trend_grid *grid = &plan->grids[plan->lanes[lane].grid];
    const struct bound_cell *cell = plan->query->cell;
    *ret = grid->total;
    for (uint32_t b = answer->bucket_begin; cell->has_time && b < answer->bucket_end; b++) {
        if (plan->begins[b] == cell->time_ms) {
            *ret = grid->buckets[b];
            return true;
        }
    }
    return !cell->has_time;
}

/* The union of the sets that the number of the cell is counted from. */
static enum err_code trend_people(struct trend_answer *answer, struct err *err)
{
    const struct trend_plan *plan = answer->plan;
    const struct bound_query *query = plan->query;
    struct people *people = answer->run->cell_people;
    uint32_t m = query->cell->measure;
    uint32_t lane = plan->lane_of[(size_t)m * query->agg_count + query->measures[m].expr->agg];
    struct trend_bucket atoms = {0};
    if (!people_atoms(answer, lane, &atoms)) {
        return ERR_OK;
    }
    for (uint32_t g = 0; g < answer->group_count; g++) {
        if (!cell_has_group(query, answer->groups, g)) {
            continue;
        }
        const struct trend_group group = {.reach = GROUP_ONE, .group = g};
        struct trend_walk walk = trend_walk_begin(&answer->values, lane, &group);
        for (union acc_cell *cells = NULL; (cells = trend_walk_next(&walk)) != NULL;) {
            uint32_t t = walk.task;
            uint32_t shard = answer->tasks->tasks[t].shard;
            for (uint32_t a = atoms.atom_begin; a < atoms.atom_end; a++) {
                roaring_bitmap_t *into = NULL;
                if (cells[a].users == NULL) {
                    continue;
                }
                ERR_TRY(people_bits(people, shard, &into, err));
                acc_put_users(&answer_slot(answer, t)->pool, &cells[a], into);
            }
            ERR_TRY(people_settle(people, shard, err));
        }
    }
    return ERR_OK;
}

static enum err_code trend_answer(struct trend_answer *answer, struct err *err)
{
    ERR_TRY(answer_match(answer, err));
    ERR_TRY(answer_choose(answer, err));
    answer_trim(answer);
    if (answer->plan->query->cell != NULL) {
        return trend_people(answer, err);
    }
    ERR_TRY(answer_columns(answer, err));
    ERR_TRY(answer_rows(answer, err));
    return answer_totals(answer, err);
}

/* A task that failed, or never began, has an empty slot. */
static void trend_free(struct run_tasks *tasks)
{
    for (uint32_t t = 0; t < tasks->count; t++) {
        acc_pool_done(&((struct trend_slot *)tasks->slots + t)->pool);
    }
    run_tasks_free(tasks);
}

enum err_code verb_trend(struct query_run_ctx *run, struct result *result, struct err *err)
{
    struct trend_plan plan = {0};
    CLEANUP(trend_free) struct run_tasks tasks = {0};
    ERR_TRY(trend_plan_make(run, &plan, err));
    run->verb_plan = &plan;
    ERR_TRY(run_all_tasks(run, trend_task, sizeof(struct trend_slot), &tasks, err));

    CLEANUP(arena_freep) struct arena *scratch = arena_create(&run->budget);
    struct trend_answer answer = {.run = run,
                                  .plan = &plan,
                                  .result = result,
                                  .tasks = &tasks,
                                  .arena = run->arena,
                                  .values = {.run = run_is_reference(run) ? NULL : run,
                                             .plan = &plan,
                                             .tasks = &tasks,
                                             .strings = result->arena,
                                             .arena = run->arena,
                                             .scratch = scratch}};
    return trend_answer(&answer, err);
}
