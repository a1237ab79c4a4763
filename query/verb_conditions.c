/* query/verb_conditions.c - the conditions verb: who met the first condition, and which of the others as well.
 *
 * What ClickHouse's function retention(cond1, cond2, ...) says of each user, whenever the events were. Counts: of those
 * who met condition 1, how many met condition k. `list users`: of everybody who met any, the numbers of the conditions
 * that count, none where condition 1 is missing.
 */
#include "query/answer_journeys.h"
#include "storage/base/size.h"

struct condition_line {
    uint32_t subject; /* number in the task's groups */
    uint64_t met;
};

struct condition_part {
    uint64_t counts[QUERY_STEPS_MAX];
    struct groups *subject_groups;
    struct condition_line *lines;
    uint32_t line_count, line_cap;
};

static enum err_code count_journey(const struct bound_query *query, const struct journey *journey,
                                   struct condition_part *part, struct arena *arena,
                                   struct err *err)
{
    uint64_t met = 0;
    for (size_t i = 0; i < journey->count; i++) {
        met |= journey->masks[i];
    }
    met = (met & 1) != 0 ? met : 0;
    for (uint64_t bits = met; bits != 0; bits &= bits - 1) {
        part->counts[__builtin_ctzll(bits)]++;
    }
    if (!query->is_list) {
        return ERR_OK;
    }
    if (part->line_count == part->line_cap) {
        uint32_t cap = part->line_cap == 0 ? 64 : 2 * part->line_cap;
        struct condition_line *more = NULL;
        ERR_TRY(ARENA_NEW(arena, cap, &more, err));
        if (part->line_count > 0) {
            memcpy(more, part->lines, part->line_count * sizeof(*more));
        }
        part->lines = more;
        part->line_cap = cap;
    }
    part->lines[part->line_count++] = (struct condition_line){journey->lanes[0][0], met};
    return ERR_OK;
}

static enum err_code conditions_task(struct query_run_ctx *run, struct walk *walk,
                                     struct arena *arena, void *slot, struct err *err)
{
    struct condition_part *part = slot;
    struct journey journey;
    bool has_more = false;
    part->subject_groups = run->query->is_list ? walk_groups(walk, 0) : NULL;
    ERR_TRY(walk_next(walk, &journey, &has_more, err));
    while (has_more) {
        ERR_TRY(count_journey(run->query, &journey, part, arena, err));
        ERR_TRY(walk_next(walk, &journey, &has_more, err));
    }
    return ERR_OK;
}

/* ---- the answer ---- */

static enum err_code answer_counts(struct query_run_ctx *run, const struct run_tasks *tasks,
                                   struct result *result, struct err *err)
{
    static const struct result_col cols[] = {
        {STR("condition"), RESULT_INT64},
        {STR("event"), RESULT_STRING},
        {STR("users"), RESULT_INT64},
        {STR("rate"), RESULT_NUMBER},
    };
    const struct bound_query *query = run->query;
    const struct condition_part *parts = tasks->slots;
    uint64_t sums[QUERY_STEPS_MAX] = {0};
    struct cell *cells = NULL;
    for (uint32_t t = 0; t < tasks->count; t++) {
        for (uint32_t i = 0; i < query->selector_count; i++) {
            sums[i] += parts[t].counts[i];
        }
    }
    ERR_TRY(answer_cols(result, cols, COUNT_OF(cols), err));
    ERR_TRY(run_result_rows(run, result, query->selector_count, &cells, err));
    for (uint32_t i = 0; i < query->selector_count; i++, cells += COUNT_OF(cols)) {
        cells[0] = answer_count_cell(i + 1);
        cells[1].kind = CELL_STRING;
        ERR_TRY(arena_str(result->arena, query->selectors[i].text, &cells[1].string, err));
        cells[2] = answer_count_cell(sums[i]);
        cells[3] = answer_ratio(sums[i], sums[0]);
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
    if (query->is_list) {
        spec.lanes[spec.lane_count++] = answer_subject_lane(query, subject_keys);
    }
    ERR_TRY(walk_all(run, &spec, conditions_task, sizeof(struct condition_part), &tasks, err));
    return query->is_list ? answer_users(run, &tasks, result, err)
                          : answer_counts(run, &tasks, result, err);
}
