/* query/verb_funnel.c - the funnel verb: scans, kernel, counting, table.
 *
 *     task: journeys -> kernel_funnel (level, start, end) -> funnel_attempt (times of the steps)
 *             users[group][step] += 1, and for who got past step 1 a record in a log:
 *             | group, level | t2 - t1 | t3 - t1 | ... |
 *     all:  groups of tasks matched by value; users added; logs dealt out into one array of
 *           durations per (group, step), which percentiles are read from
 *
 * Every step is a selector of its own in the scan, even when two are the same: only step 1 is bound
 * to the query's range, the later ones may lie beyond its end by the window.
 */
#include "query/answer.h"
#include "query/durations.h"
#include "query/funnel_attempt.h"
#include "query/journey.h"
#include "storage/base/size.h"

#define LOG_CHUNK_WORDS 4096u /* a record is at most QUERY_STEPS_MAX words */
#define FIXED_COLS      9u    /* after the keys */

/* What all tasks share; immutable while they run. */
struct funnel_plan {
    struct bound_query scan_query; /* the query with one selector per step */
    struct scan_want wants[QUERY_STEPS_MAX];
    struct funnel_spec spec;
};

struct log_chunk {
    struct log_chunk *next;
    uint32_t used;
    uint64_t words[LOG_CHUNK_WORDS];
};

/* One task's counts. */
struct funnel_part {
    struct groups *groups;
    uint64_t *users; /* [group * step_count + step]: who reached it */
    uint32_t group_cap;
    struct log_chunk *log_first;
    struct log_chunk *log_last;
};

/* ---- plan ---- */

static int64_t ms_add_saturating(int64_t t, uint64_t more)
{
    return more > (uint64_t)INT64_MAX - (uint64_t)t ? INT64_MAX : (int64_t)((uint64_t)t + more);
}

static enum err_code plan_make(const struct bound_query *query, struct arena *arena,
                               struct funnel_plan **ret, struct err *err)
{
    const struct funnel *funnel = &query->funnel;
    struct funnel_plan *plan = NULL;
    struct selector *selectors = NULL;

    ASSERT(funnel->step_count >= 1 && funnel->step_count <= QUERY_STEPS_MAX);
    ERR_TRY(ARENA_NEW(arena, 1, &plan, err));
    ERR_TRY(ARENA_NEW(arena, funnel->step_count, &selectors, err));
    plan->spec = (struct funnel_spec){
        .step_count = funnel->step_count,
        .window_ms = funnel->window_ms,
        .is_strict_ties = funnel->is_strict_ties,
    };
    int64_t later_end_ms =
        funnel->is_closed ? query->to_ms : ms_add_saturating(query->to_ms, funnel->window_ms);
    for (uint32_t i = 0; i < funnel->step_count; i++) {
        const struct funnel_step *step = &funnel->steps[i];
        bool has_limit = i > 0 && step->has_limit;
        selectors[i] = query->selectors[step->selector];
        plan->wants[i] = (struct scan_want){
            .selector = i,
            .begin_ms = query->from_ms,
            .end_ms = i == 0 ? query->to_ms : later_end_ms,
        };
        plan->spec.limits_ms[i] = has_limit ? step->limit_ms : FUNNEL_NO_LIMIT;
        plan->spec.has_limits = plan->spec.has_limits || has_limit;
    }
    plan->scan_query = *query;
    plan->scan_query.selectors = selectors;
    plan->scan_query.selector_count = funnel->step_count;
    *ret = plan;
    return ERR_OK;
}

/* ---- a task ---- */

static enum err_code log_append(struct funnel_part *part, struct arena *arena, uint32_t group,
                                uint32_t level, const int64_t *times, struct err *err)
{
    struct log_chunk *chunk = part->log_last;

    if (chunk == NULL || LOG_CHUNK_WORDS - chunk->used < level) {
        void *memory = NULL;
        ERR_TRY(arena_alloc_raw(arena, sizeof(*chunk), &memory, err));
        chunk = memory;
        chunk->next = NULL;
        chunk->used = 0;
        if (part->log_last == NULL) {
            part->log_first = chunk;
        } else {
            part->log_last->next = chunk;
        }
        part->log_last = chunk;
    }
    uint64_t *record = chunk->words + chunk->used;
    record[0] = (uint64_t)level << 32 | group;
    for (uint32_t i = 1; i < level; i++) {
        record[i] = (uint64_t)times[i] - (uint64_t)times[0];
    }
    chunk->used += level;
    return ERR_OK;
}

static enum err_code users_grow(struct funnel_part *part, struct arena *arena, uint32_t group,
                                uint32_t step_count, struct err *err)
{
    size_t cap = MAX_OF(2 * (size_t)part->group_cap, (size_t)group + 1);
    size_t cells = 0;
    uint64_t *users = NULL;

    if (cap > UINT32_MAX || !size_mul(cap, step_count, &cells)) {
        return err_set(err, ERR_LIMIT, "more than %u groups", part->group_cap);
    }
    ERR_TRY(ARENA_NEW(arena, cells, &users, err));
    if (part->group_cap > 0) {
        memcpy(users, part->users, (size_t)part->group_cap * step_count * sizeof(*users));
    }
    part->users = users;
    part->group_cap = (uint32_t)cap;
    return ERR_OK;
}

/* The group of the attempt's entry. Where several events of the first instant could be the entry,
 * the one with the smallest key: the answer must not hang on ids or on who came first. */
static uint32_t entry_group(const struct groups *groups, const struct journey *journey,
                            const struct funnel_journey *steps, int64_t start_ms,
                            uint32_t first_steps)
{
    size_t begin = 0;
    size_t end = 0;
    size_t best = SIZE_MAX;
    bool is_one_group = true;

    funnel_attempt_start(steps, start_ms, &begin, &end);
    for (size_t i = begin; i < end; i++) {
        if ((steps->masks[i] & 1) != 0) {
            best = best == SIZE_MAX ? i : best;
            is_one_group = is_one_group && journey->groups[i] == journey->groups[best];
        }
    }
    ASSERT(best != SIZE_MAX);
    if (is_one_group) {
        return journey->groups[best];
    }
    best = SIZE_MAX;
    for (size_t i = begin; i < end; i++) {
        bool is_smaller =
            best == SIZE_MAX || groups_cmp(groups, journey->groups[i], journey->groups[best]) < 0;
        if (is_smaller && funnel_attempt_is_entry(steps, begin, end, first_steps, i)) {
            best = i;
        }
    }
    ASSERT(best != SIZE_MAX);
    return journey->groups[best];
}

/* Scratch for funnel_attempt, as long as the journey. */
struct attempt_scratch {
    uint64_t *words;
    size_t cap;
};

static enum err_code count_subject(const struct funnel_spec *spec, const struct journey *journey,
                                   struct funnel_part *part, struct attempt_scratch *scratch,
                                   struct arena *arena, struct err *err)
{
    struct funnel_journey steps = {journey->times, journey->masks, journey->count};
    int64_t times[QUERY_STEPS_MAX];
    uint32_t first_steps = 1;
    uint32_t group = 0;
    struct funnel_reach reach = kernel_funnel(spec, steps.times, steps.masks, steps.count);

    if (reach.level == 0) {
        return ERR_OK;
    }
    times[0] = reach.start_ms;
    if (reach.level == 2) { /* start and end say it all */
        times[1] = reach.end_ms;
        first_steps = reach.start_ms == reach.end_ms ? 2 : 1;
    } else if (reach.level > 2) {
        if (spec->has_limits && scratch->cap < journey->count) {
            size_t cap = MAX_OF(2 * scratch->cap, journey->count);
            ERR_TRY(ARENA_NEW(arena, cap, &scratch->words, err));
            scratch->cap = cap;
        }
        first_steps = funnel_attempt(spec, &steps, &reach, scratch->words, times);
    }
    if (journey->groups != NULL) {
        group = entry_group(part->groups, journey, &steps, reach.start_ms, first_steps);
    }
    if (group >= part->group_cap) {
        ERR_TRY(users_grow(part, arena, group, spec->step_count, err));
    }
    uint64_t *users = part->users + (size_t)group * spec->step_count;
    for (uint32_t i = 0; i < reach.level; i++) {
        users[i]++;
    }
    return reach.level == 1 ? ERR_OK : log_append(part, arena, group, reach.level, times, err);
}

static enum err_code funnel_task(struct query_run_ctx *run, const struct run_task *task,
                                 struct arena *arena, struct io *io, void *slot, struct err *err)
{
    const struct funnel_plan *plan = run->verb_plan;
    struct funnel_part *part = slot;
    struct attempt_scratch scratch = {0};
    CLEANUP(journeys_closep) struct journeys *journeys = NULL;
    struct journey journey;
    bool has_more = false;

    ERR_TRY(groups_create(run->query, arena, &part->groups, err));
    struct journeys_spec spec = {
        .query = &plan->scan_query,
        .wants = plan->wants,
        .want_count = plan->spec.step_count,
        .groups = run->query->key_count > 0 ? part->groups : NULL,
    };
    ERR_TRY(journeys_open(run, task, &spec, arena, io, &journeys, err));
    ERR_TRY(journeys_next(journeys, &journey, &has_more, err));
    while (has_more) {
        ERR_TRY(count_subject(&plan->spec, &journey, part, &scratch, arena, err));
        ERR_TRY(journeys_next(journeys, &journey, &has_more, err));
    }
    return ERR_OK;
}

/* ---- all tasks together ---- */

/* A line of the answer: a group, the groups beyond `top`, or all. */
struct funnel_line {
    uint32_t group;
    bool is_other;
    uint64_t *users; /* per step */
    uint64_t **ms;   /* per step but the first: durations, users[step] of them */
    size_t *filled;  /* how many of these are dealt out */
};

struct funnel_merge {
    uint32_t step_count;
    struct groups *groups;
    uint64_t *users; /* [group * step_count + step] */
    uint32_t group_count;
    uint32_t *
        *group_of; /* [task][its group]: the number here, UINT32_MAX for groups nobody entered in */
    struct funnel_line *lines;
    uint32_t line_count;
    uint32_t *line_of; /* per group; UINT32_MAX: left out */
    struct funnel_line all;
};

/* Match the tasks' groups by value, and add up their users. */
static enum err_code merge_users(const struct run_tasks *tasks, struct arena *arena,
                                 struct funnel_merge *m, struct err *err)
{
    const struct funnel_part *parts = tasks->slots;
    struct funnel_part sum = {.groups = m->groups};

    ERR_TRY(ARENA_NEW(arena, tasks->count, &m->group_of, err));
    for (uint32_t t = 0; t < tasks->count; t++) {
        ERR_TRY(ARENA_NEW(arena, parts[t].group_cap, &m->group_of[t], err));
        for (uint32_t g = 0; g < parts[t].group_cap; g++) {
            const uint64_t *users = parts[t].users + (size_t)g * m->step_count;
            uint32_t number = UINT32_MAX;
            if (users[0] > 0) {
                ERR_TRY(groups_import(m->groups, parts[t].groups, g, &number, err));
                if (number >= sum.group_cap) {
                    ERR_TRY(users_grow(&sum, arena, number, m->step_count, err));
                }
                for (uint32_t i = 0; i < m->step_count; i++) {
                    sum.users[(size_t)number * m->step_count + i] += users[i];
                }
            }
            m->group_of[t][g] = number;
        }
    }
    m->group_count = groups_count(m->groups);
    if (m->group_count > sum.group_cap) { /* no keys, and nobody entered */
        ERR_TRY(users_grow(&sum, arena, m->group_count - 1, m->step_count, err));
    }
    m->users = sum.users;
    return ERR_OK;
}

/* Room for the durations of a line whose users are known; those of the last step only when
 * `is_total`. */
static enum err_code line_alloc(struct funnel_line *line, uint32_t step_count, bool is_total,
                                struct arena *arena, struct err *err)
{
    ERR_TRY(ARENA_NEW(arena, step_count, &line->ms, err));
    ERR_TRY(ARENA_NEW(arena, step_count, &line->filled, err));
    for (uint32_t i = is_total ? MAX_OF(step_count - 1, 1u) : 1; i < step_count; i++) {
        ERR_TRY(ARENA_NEW(arena, line->users[i], &line->ms[i], err));
    }
    return ERR_OK;
}

static void users_add(uint64_t *into, const uint64_t *from, uint32_t step_count)
{
    for (uint32_t i = 0; i < step_count; i++) {
        into[i] += from[i];
    }
}

/* Choose the groups that are shown, each a line; the rest may be one more. */
static enum err_code make_lines(const struct bound_query *query, struct arena *arena,
                                struct funnel_merge *m, uint64_t *ret_left_out, struct err *err)
{
    struct answer_group *picked = NULL;
    uint32_t count = m->group_count;

    ERR_TRY(ARENA_NEW(arena, count, &picked, err));
    ERR_TRY(ARENA_NEW(arena, (size_t)count + 1, &m->lines, err));
    ERR_TRY(ARENA_NEW(arena, count, &m->line_of, err));
    ERR_TRY(ARENA_NEW(arena, m->step_count, &m->all.users, err));
    for (uint32_t g = 0; g < count; g++) {
        picked[g] = (struct answer_group){g, m->users[(size_t)g * m->step_count]};
        users_add(m->all.users, m->users + (size_t)g * m->step_count, m->step_count);
    }
    uint32_t shown = answer_pick_groups(query, m->groups, picked, count);
    bool has_other = query->has_other && shown < count;
    m->line_count = shown + (has_other ? 1 : 0);
    *ret_left_out = has_other ? 0 : count - shown;
    for (uint32_t i = 0; i < m->line_count; i++) {
        m->lines[i] =
            (struct funnel_line){.group = i < shown ? picked[i].number : 0, .is_other = i == shown};
        ERR_TRY(ARENA_NEW(arena, m->step_count, &m->lines[i].users, err));
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t line = i < shown ? i : has_other ? shown : UINT32_MAX;
        m->line_of[picked[i].number] = line;
        if (line != UINT32_MAX) {
            users_add(m->lines[line].users, m->users + (size_t)picked[i].number * m->step_count,
                      m->step_count);
        }
    }
    for (uint32_t i = 0; i < m->line_count; i++) {
        ERR_TRY(line_alloc(&m->lines[i], m->step_count, false, arena, err));
    }
    return line_alloc(&m->all, m->step_count, true, arena, err);
}

/* Read the tasks' logs into the lines' arrays. */
static void deal_durations(const struct run_tasks *tasks, struct funnel_merge *m)
{
    const struct funnel_part *parts = tasks->slots;
    uint32_t last = m->step_count - 1;

    for (uint32_t t = 0; t < tasks->count; t++) {
        for (const struct log_chunk *c = parts[t].log_first; c != NULL; c = c->next) {
            for (uint32_t at = 0; at < c->used;) {
                uint32_t level = (uint32_t)(c->words[at] >> 32);
                uint32_t group = m->group_of[t][(uint32_t)c->words[at]];
                uint32_t line_idx = m->line_of[group];
                if (level == m->step_count) {
                    m->all.ms[last][m->all.filled[last]++] = c->words[at + last];
                }
                if (line_idx != UINT32_MAX) {
                    struct funnel_line *line = &m->lines[line_idx];
                    for (uint32_t i = 1; i < level; i++) {
                        line->ms[i][line->filled[i]++] = c->words[at + i];
                    }
                }
                at += level;
            }
        }
    }
}

/* ---- the table ---- */

static enum err_code make_columns(const struct bound_query *query, bool has_other,
                                  struct result *result, struct err *err)
{
    static const struct result_col fixed[FIXED_COLS] = {
        {STR("step"), RESULT_INT64},           {STR("event"), RESULT_STRING},
        {STR("users"), RESULT_INT64},          {STR("from_first"), RESULT_NUMBER},
        {STR("from_previous"), RESULT_NUMBER}, {STR("dropped"), RESULT_INT64},
        {STR("median_ms"), RESULT_NUMBER},     {STR("avg_ms"), RESULT_NUMBER},
        {STR("p90_ms"), RESULT_NUMBER},
    };
    struct result_col *cols = NULL;

    ERR_TRY(ARENA_NEW(result->arena, query->key_count + FIXED_COLS, &cols, err));
    for (uint32_t k = 0; k < query->key_count; k++) {
        ERR_TRY(answer_key_col(query, k, has_other, result->arena, &cols[k], err));
    }
    memcpy(cols + query->key_count, fixed, sizeof(fixed));
    result->cols = cols;
    result->col_count = query->key_count + FIXED_COLS;
    return ERR_OK;
}

static struct cell cell_count(uint64_t count)
{
    return (struct cell){.kind = CELL_I64, .i64 = (int64_t)count};
}

/* median, avg, p90 of the step. */
static void time_cells(struct funnel_line *line, uint32_t step, struct cell *out)
{
    if (step == 0) {
        out[0] = out[1] = out[2] = (struct cell){.kind = CELL_NULL};
        return;
    }
    ASSERT(line->filled[step] == line->users[step]);
    out[0] = durations_quantile(line->ms[step], line->filled[step], 1, 2);
    out[1] = durations_mean(line->ms[step], line->filled[step]);
    out[2] = durations_quantile(line->ms[step], line->filled[step], 9, 10);
}

static enum err_code line_rows(const struct bound_query *query, const struct funnel_merge *m,
                               struct funnel_line *line, struct arena *arena, struct cell *out,
                               struct err *err)
{
    uint32_t col_count = query->key_count + FIXED_COLS;

    for (uint32_t i = 0; i < m->step_count; i++, out += col_count) {
        uint64_t users = line->users[i];
        uint64_t before = i == 0 ? users : line->users[i - 1];
        struct cell *cells = out + query->key_count;
        struct str label = {0};
        ERR_TRY(answer_key_cells(m->groups, query->key_count, line->group, line->is_other, arena,
                                 out, err));
        ERR_TRY(arena_str(arena, query->funnel.steps[i].label, &label, err));
        cells[0] = cell_count(i + 1);
        cells[1] = (struct cell){.kind = CELL_STRING, .string = label};
        cells[2] = cell_count(users);
        cells[3] = answer_ratio(users, line->users[0]);
        cells[4] = i == 0 ? (struct cell){.kind = CELL_NULL} : answer_ratio(users, before);
        cells[5] = cell_count(before - users);
        time_cells(line, i, &cells[6]);
    }
    return ERR_OK;
}

static enum err_code make_totals(const struct bound_query *query, struct funnel_merge *m,
                                 struct result *result, struct err *err)
{
    uint32_t last = m->step_count - 1;
    uint64_t entered = m->all.users[0];
    uint64_t converted = m->all.users[last];

    ERR_TRY(ARENA_NEW(result->arena, result->col_count, &result->totals, err)); /* CELL_NULL = 0 */
    struct cell *cells = result->totals + query->key_count;
    cells[2] = cell_count(converted);
    cells[3] = answer_ratio(converted, entered);
    cells[5] = cell_count(entered - converted);
    time_cells(&m->all, last, &cells[6]);
    return ERR_OK;
}

static enum err_code make_answer(struct query_run_ctx *run, const struct run_tasks *tasks,
                                 struct result *result, struct err *err)
{
    const struct bound_query *query = run->query;
    struct funnel_merge m = {.step_count = query->funnel.step_count};
    uint64_t left_out = 0;

    ERR_TRY(groups_create(query, run->arena, &m.groups, err));
    ERR_TRY(merge_users(tasks, run->arena, &m, err));
    ERR_TRY(make_lines(query, run->arena, &m, &left_out, err));
    deal_durations(tasks, &m);

    bool has_other = m.line_count > 0 && m.lines[m.line_count - 1].is_other;
    struct cell *cells = NULL;
    ERR_TRY(make_columns(query, has_other, result, err));
    ERR_TRY(run_result_rows(run, result, (uint64_t)m.line_count * m.step_count, &cells, err));
    for (uint32_t i = 0; i < m.line_count; i++) {
        ERR_TRY(run_check(run, err));
        ERR_TRY(line_rows(query, &m, &m.lines[i], result->arena, cells, err));
        cells += (size_t)m.step_count * result->col_count;
    }
    answer_left_out(result, left_out * m.step_count);
    return make_totals(query, &m, result, err);
}

enum err_code verb_funnel(struct query_run_ctx *run, struct result *result, struct err *err)
{
    CLEANUP(run_tasks_free) struct run_tasks tasks = {0};
    struct funnel_plan *plan = NULL;

    if (run->query->has_each) {
        return err_set(err, ERR_UNSUPPORTED, "a funnel with \"each\" is not part of this version");
    }
    ERR_TRY(plan_make(run->query, run->arena, &plan, err));
    run->verb_plan = plan;
    ERR_TRY(run_all_tasks(run, funnel_task, sizeof(struct funnel_part), &tasks, err));
    return make_answer(run, &tasks, result, err);
}
