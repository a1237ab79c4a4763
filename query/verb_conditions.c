/* query/verb_conditions.c - the conditions verb: who met the first condition, and which of the others as well.
 *
 * What ClickHouse's function retention(cond1, cond2, ...) says of each user, whenever the events were. Counts: of those
 * who met condition 1, how many met condition k; `by` a key, of the events of each value by themselves (habit_split.h). `list
 * users`: of everybody who met any, the numbers of the conditions that count, none where condition 1 is missing.
 */
#include "query/answer_journeys.h"
#include "query/cell_taker.h"
#include "query/grow.h"
#include "query/habit_split.h"
#include "storage/base/size.h"

struct condition_line {
    uint32_t subject; /* number in the task's groups */
    uint64_t met;
};

/* Numbers of a group: who met condition k, and the first. */
struct condition_part {
    struct habit_rows rows;
    struct cell_taker *taker; /* NULL: numbers are asked for */
    struct groups *subject_groups;
    struct condition_line *lines;
    uint32_t line_count, line_cap;
};

/* ---- counting ---- */

/* The conditions that count: none without the first. */
static uint64_t met_of(const struct journey *journey)
{
    uint64_t met = 0;
    for (size_t i = 0; i < journey->count; i++) {
        met |= journey->masks[i];
    }
    return (met & 1) != 0 ? met : 0;
}

static enum err_code count_part(const struct bound_query *query, const struct journey *own,
                                uint32_t group, struct condition_part *part, struct arena *arena,
                                struct err *err)
{
    uint64_t met = met_of(own);
    uint64_t *row = NULL;
    if (part->taker != NULL) {
        uint32_t first = MAX_OF(query->cell->number, 1u) - 1;
        return (met >> first & 1) == 0
                   ? ERR_OK
                   : cell_take_part(part->taker, part->rows.groups, group, own->subject, err);
    }
    if (met == 0) {
        return ERR_OK; /* a value has a line where somebody is counted */
    }
    ERR_TRY(habit_rows_of(&part->rows, group, arena, &row, err));
    for (uint64_t bits = met; bits != 0; bits &= bits - 1) {
        row[__builtin_ctzll(bits)]++;
    }
    return ERR_OK;
}

static enum err_code list_journey(const struct journey *journey, struct condition_part *part,
                                  struct arena *arena, struct err *err)
{
    ERR_TRY(GROW(arena, &part->lines, part->line_count, &part->line_cap, err));
    part->lines[part->line_count++] =
        (struct condition_line){journey->lanes[0][0], met_of(journey)};
    return ERR_OK;
}

static enum err_code count_journey(const struct bound_query *query, struct habit_split *split,
                                   const struct journey *journey, struct condition_part *part,
                                   struct arena *arena, struct err *err)
{
    struct journey own;
    uint32_t group = 0;
    if (answer_is_list(query)) {
        return list_journey(journey, part, arena, err);
    }
    ERR_TRY(habit_split_load(split, journey, err));
    while (habit_split_next(split, &group, &own)) {
        ERR_TRY(count_part(query, &own, group, part, arena, err));
    }
    return ERR_OK;
}

static enum err_code conditions_task(struct query_run_ctx *run, struct walk *walk,
                                     struct arena *arena, void *slot, struct err *err)
{
    const struct bound_query *query = run->query;
    struct condition_part *part = slot;
    struct habit_split split = {.lane = HABIT_LANE_NONE, .arena = arena};
    struct journey journey;
    bool has_more = false;
    part->subject_groups = answer_is_list(query) ? walk_groups(walk, 0) : NULL;
    part->rows.len = query->selector_count;
    if (query->cell != NULL) {
        ERR_TRY(cell_taker_open(run, walk_shard(walk), &part->taker, err));
    }
    if (query->key_count > 0) {
        split.lane = 0;
        part->rows.groups = walk_groups(walk, 0);
    }
    ERR_TRY(walk_next(walk, &journey, &has_more, err));
    while (has_more) {
        ERR_TRY(count_journey(query, &split, &journey, part, arena, err));
        ERR_TRY(walk_next(walk, &journey, &has_more, err));
    }
    return ERR_OK;
}

/* ---- the answer ---- */

static enum err_code make_columns(const struct bound_query *query, struct result *result,
                                  struct err *err)
{
    struct result_col *cols = NULL;
    uint32_t count = 0;
    ERR_TRY(ARENA_NEW(result->arena, (size_t)query->key_count + 4, &cols, err));
    ERR_TRY(habit_key_cols(query, result->arena, cols, &count, err));
    cols[count++] = (struct result_col){STR("condition"), RESULT_INT64};
    cols[count++] = (struct result_col){STR("event"), RESULT_STRING};
    cols[count++] = (struct result_col){STR("users"), RESULT_INT64};
    cols[count++] = (struct result_col){STR("rate"), RESULT_NUMBER};
    result->cols = cols;
    result->col_count = count;
    return ERR_OK;
}

static uint64_t first_met(const uint64_t *row, size_t len)
{
    (void)len;
    return row[0];
}

/* The rows of one group. */
static enum err_code group_rows(const struct bound_query *query, const struct habit_rows *rows,
                                uint32_t group, struct result *result, struct cell *cells,
                                struct err *err)
{
    const uint64_t *sums = habit_row(rows, group);
    uint32_t keys = query->key_count;
    for (uint32_t i = 0; i < query->selector_count; i++, cells += result->col_count) {
        ERR_TRY(habit_key_cells(rows, keys, group, result->arena, cells, err));
        cells[keys] = answer_count_cell(i + 1);
        cells[keys + 1].kind = CELL_STRING;
        ERR_TRY(arena_str(result->arena, query->selectors[i].text, &cells[keys + 1].string, err));
        cells[keys + 2] = answer_count_cell(sums[i]);
        cells[keys + 3] = answer_ratio(sums[i], sums[0]);
    }
    return ERR_OK;
}

static enum err_code answer_counts(struct query_run_ctx *run, const struct run_tasks *tasks,
                                   struct result *result, struct err *err)
{
    const struct bound_query *query = run->query;
    struct habit_rows rows = {.len = query->selector_count};
    struct answer_group *groups = NULL;
    struct cell *cells = NULL;
    uint32_t count = 0;
    uint32_t left_out = 0;
    ERR_TRY(make_columns(query, result, err));
    ERR_TRY(habit_rows_merge(run, tasks, offsetof(struct condition_part, rows), &rows, err));
    ERR_TRY(habit_rows_pick(run, &rows, first_met, &groups, &count, &left_out, err));
    ERR_TRY(run_result_rows(run, result, (uint64_t)count * rows.len, &cells, err));
    for (uint32_t i = 0; i < count; i++, cells += rows.len * result->col_count) {
        ERR_TRY(run_check(run, err));
        ERR_TRY(group_rows(query, &rows, groups[i].number, result, cells, err));
    }
    if (left_out > 0) {
        answer_left_out(result, (uint64_t)left_out * rows.len);
    }
    return ERR_OK;
}

static enum err_code met_cell(uint64_t met, struct arena *arena, struct cell *ret, struct err *err)
{
    struct str *items = NULL;
    uint32_t count = 0;
    ERR_TRY(ARENA_NEW(arena, (size_t)__builtin_popcountll(met), &items, err));
    for (uint64_t bits = met; bits != 0; bits &= bits - 1) {
        ERR_TRY(arena_printf(arena, &items[count], err, "%d", __builtin_ctzll(bits) + 1));
        count++;
    }
    *ret = (struct cell){.kind = CELL_LIST, .list = {.items = items, .count = count}};
    return ERR_OK;
}

static uint32_t count_lines(const void *slot)
{
    return ((const struct condition_part *)slot)->line_count;
}

static enum err_code put_line(struct query_run_ctx *run, const void *slot, uint32_t line,
                              struct arena *arena, struct cell *out, struct err *err)
{
    const struct condition_part *part = slot;
    (void)run;
    ERR_TRY(
        answer_subject_cell(part->subject_groups, part->lines[line].subject, arena, &out[0], err));
    return met_cell(part->lines[line].met, arena, &out[1], err);
}

static enum err_code answer_users(struct query_run_ctx *run, const struct run_tasks *tasks,
                                  struct result *result, struct err *err)
{
    static const struct answer_lines lines = {count_lines, put_line};
    struct result_col cols[2] = {{STR("user_id"), RESULT_STRING}, {STR("met"), RESULT_LIST}};
    ERR_TRY(answer_subject_col(run->query, result->arena, &cols[0], err));
    ERR_TRY(answer_cols(result, cols, COUNT_OF(cols), err));
    return answer_put_lines(run, tasks, &lines, result, err);
}

enum err_code verb_conditions(struct query_run_ctx *run, struct result *result, struct err *err)
{
    CLEANUP(run_tasks_free) struct run_tasks tasks = {0};
    const struct bound_query *query = run->query;
    struct scan_want wants[QUERY_STEPS_MAX];
    struct by_key subject_keys[2];
    struct walk_spec spec = {
        .query = query, .wants = wants, .want_count = query->selector_count, .subject = query->per};
    for (uint32_t i = 0; i < query->selector_count; i++) {
        wants[i] = (struct scan_want){i, query->from_ms, query->to_ms};
    }
    if (answer_is_list(query)) {
        spec.lanes[spec.lane_count++] = answer_subject_lane(query, subject_keys);
    } else if (query->key_count > 0) {
        spec.lanes[spec.lane_count++] = (struct walk_lane){query->keys, query->key_count};
    }
    ERR_TRY(walk_all(run, &spec, conditions_task, sizeof(struct condition_part), &tasks, err));
    if (query->cell != NULL) {
        return ERR_OK;
    }
    return answer_is_list(query) ? answer_users(run, &tasks, result, err)
                                 : answer_counts(run, &tasks, result, err);
}
