/* query/verb_sequence.c - the sequence verb.
 *
 *     count, match   events that meet no condition are not seen, so neighbours are neighbours among those
 *                    that do; matches of one subject do not overlap
 *     next KEY       every event is seen; one match per subject, from an anchor: its first (last) event
 *                    that the first element takes, or the journey's edge. Backward, the journey is read
 *                    from its end. What is counted is the KEY of the event behind the match.
 *
 * A pattern without elements matches anywhere and takes nothing: it is counted once per event.
 */
#include "query/answer_journeys.h"
#include "query/kernel_sequence.h"

#include "query/grow.h"
#include "storage/base/size.h"

#include <stdlib.h>

/* What all tasks share. */
struct sequence_plan {
    uint32_t lane_next, lane_subject; /* UINT32_MAX = not asked for */
};

/* A line of `list users`. */
struct sequence_line {
    uint32_t subject; /* number in the task's lane */
    uint32_t next;    /* of NEXT: number in the lane; UINT32_MAX = nothing follows */
    uint64_t matches;
    const int64_t *first_ms; /* times of the first match's events that conditions took */
    uint32_t first_count;
};

struct sequence_part {
    struct groups *next_groups;
    struct groups *subject_groups;
    uint64_t subjects; /* that have an event in sight */
    uint64_t users;    /* with a match */
    uint64_t matches;
    uint64_t *next_users; /* by number of the next lane */
    uint32_t next_cap;
    uint64_t nothing_users; /* matched, and nothing follows */
    struct sequence_line *lines;
    uint32_t line_count, line_cap;

    struct sequence_journey scratch;
    size_t scratch_cap;
    int64_t *times; /* of a journey read backward */
    uint64_t *masks;
};

/* ---- a journey ---- */

static enum err_code scratch_fit(struct sequence_part *part, size_t count, bool is_backward,
                                 struct arena *arena, struct err *err)
{
    if (count >= UINT32_MAX) {
        return err_set(err, ERR_LIMIT, "a journey of %zu events is too long for a pattern", count);
    }
    if (part->scratch_cap >= count) {
        return ERR_OK;
    }
    size_t cap = MAX_OF(count, 2 * part->scratch_cap);
    ERR_TRY(ARENA_NEW(arena, cap, &part->scratch.can, err));
    ERR_TRY(ARENA_NEW(arena, cap + 1, &part->scratch.next, err));
    if (is_backward) {
        ERR_TRY(ARENA_NEW(arena, cap, &part->times, err));
        ERR_TRY(ARENA_NEW(arena, cap, &part->masks, err));
    }
    part->scratch_cap = cap;
    return ERR_OK;
}

/* The journey as it is read: backward, time runs the other way. */
static void scratch_load(struct sequence_part *part, const struct journey *journey,
                         bool is_backward)
{
    part->scratch.times = journey->times;
    part->scratch.masks = journey->masks;
    part->scratch.count = journey->count;
    if (!is_backward) {
        return;
    }
    for (size_t i = 0; i < journey->count; i++) {
        size_t from = journey->count - 1 - i;
        part->times[i] = -1 - journey->times[from]; /* ~t: also of the smallest */
        part->masks[i] = journey->masks[from];
    }
    part->scratch.times = part->times;
    part->scratch.masks = part->masks;
}

/* Times of the match's events that conditions took, for `list users`. */
static enum err_code line_first(const struct sequence *sequence, const int64_t *times,
                                const size_t *events, struct arena *arena,
                                struct sequence_line *line, struct err *err)
{
    int64_t *first_ms = NULL;
    ERR_TRY(ARENA_NEW(arena, sequence->element_count, &first_ms, err));
    for (uint32_t k = 0; k < sequence->element_count; k++) {
        if (sequence->elements[k].take != UINT64_MAX) {
            first_ms[line->first_count++] = times[events[k]];
        }
    }
    line->first_ms = first_ms;
    return ERR_OK;
}

static enum err_code count_matches(const struct bound_query *query, struct sequence_part *part,
                                   struct arena *arena, struct sequence_line *line, struct err *err)
{
    const struct sequence *sequence = &query->sequence;
    const struct sequence_journey *journey = &part->scratch;
    size_t events[64];

    if (sequence->element_count == 0) {
        line->matches = journey->count;
        return ERR_OK;
    }
    kernel_sequence(sequence->elements, sequence->element_count, journey);
    for (size_t at = kernel_sequence_start(journey, 0); at != SEQUENCE_NONE;
         at = kernel_sequence_start(journey, at)) {
        at = kernel_sequence_events(sequence->elements, sequence->element_count, journey, at,
                                    events) +
             1;
        if (line->matches == 0 && query->is_list) {
            ERR_TRY(line_first(sequence, journey->times, events, arena, line, err));
        }
        line->matches++;
        if (sequence->mode == SEQUENCE_MATCH && !query->is_list) {
            break;
        }
    }
    return ERR_OK;
}

/* Where the one match of `next` starts, in the journey as it is read. */
static size_t anchor_of(const struct sequence *sequence, const struct sequence_journey *journey)
{
    uint64_t take = sequence->element_count == 0 ? UINT64_MAX : sequence->elements[0].take;
    size_t found = SEQUENCE_NONE;

    if (sequence->anchor == SEQUENCE_EDGE) {
        return (journey->masks[0] & take) != 0 ? 0 : SEQUENCE_NONE;
    }
    /* First and last are said of time, whichever way the journey is read. */
    bool is_lowest = (sequence->anchor == SEQUENCE_FIRST_MATCH) != sequence->is_backward;
    for (size_t i = 0; i < journey->count; i++) {
        if ((journey->masks[i] & take) != 0) {
            found = i;
            if (is_lowest) {
                break;
            }
        }
    }
    return found;
}

/* *ret: the event behind the match, in the journey as it is read; its count where nothing follows; SEQUENCE_NONE
 * without a match. */
static size_t next_event(const struct sequence *sequence, struct sequence_part *part)
{
    const struct sequence_journey *journey = &part->scratch;
    size_t events[64];
    size_t start = anchor_of(sequence, journey);

    if (start == SEQUENCE_NONE || sequence->element_count == 0) {
        return start;
    }
    kernel_sequence(sequence->elements, sequence->element_count, journey);
    if ((journey->can[start] & 1) == 0) {
        return SEQUENCE_NONE;
    }
    return kernel_sequence_events(sequence->elements, sequence->element_count, journey, start,
                                  events) +
           1;
}

static enum err_code count_next(const struct bound_query *query, struct sequence_part *part,
                                const uint32_t *values, struct arena *arena,
                                struct sequence_line *line, struct err *err)
{
    size_t count = part->scratch.count;
    size_t at = next_event(&query->sequence, part);

    if (at == SEQUENCE_NONE) {
        return ERR_OK;
    }
    line->matches = 1;
    if (at == count) {
        part->nothing_users++;
        return ERR_OK;
    }
    line->next = values[query->sequence.is_backward ? count - 1 - at : at];
    if (line->next >= part->next_cap) {
        uint32_t cap = MAX_OF(2 * part->next_cap, line->next + 16);
        uint64_t *users = NULL;
        ERR_TRY(ARENA_NEW(arena, cap, &users, err));
        if (part->next_cap > 0) {
            memcpy(users, part->next_users, part->next_cap * sizeof(*users));
        }
        part->next_users = users;
        part->next_cap = cap;
    }
    part->next_users[line->next]++;
    return ERR_OK;
}

static enum err_code sequence_task(struct query_run_ctx *run, struct walk *walk,
                                   struct arena *arena, void *slot, struct err *err)
{
    const struct sequence_plan *plan = run->verb_plan;
    const struct bound_query *query = run->query;
    const struct sequence *sequence = &query->sequence;
    struct sequence_part *part = slot;
    struct journey journey;
    bool has_more = false;

    part->next_groups = plan->lane_next == UINT32_MAX ? NULL : walk_groups(walk, plan->lane_next);
    part->subject_groups =
        plan->lane_subject == UINT32_MAX ? NULL : walk_groups(walk, plan->lane_subject);
    ERR_TRY(walk_next(walk, &journey, &has_more, err));
    while (has_more) {
        struct sequence_line line = {.next = UINT32_MAX};
        ERR_TRY(scratch_fit(part, journey.count, sequence->is_backward, arena, err));
        scratch_load(part, &journey, sequence->is_backward);
        ERR_TRY(sequence->mode == SEQUENCE_NEXT
                    ? count_next(query, part, journey.lanes[plan->lane_next], arena, &line, err)
                    : count_matches(query, part, arena, &line, err));
        part->subjects++;
        part->users += line.matches > 0;
        part->matches += line.matches;
        if (query->is_list) {
            line.subject = journey.lanes[plan->lane_subject][0];
            ERR_TRY(GROW(arena, &part->lines, part->line_count, &part->line_cap, err));
            part->lines[part->line_count++] = line;
        }
        ERR_TRY(walk_next(walk, &journey, &has_more, err));
    }
    return ERR_OK;
}

/* ---- the answer ---- */

/* The column of the KEY that follows. */
static enum err_code next_col(const struct bound_query *query, bool has_other, struct arena *arena,
                              struct result_col *ret, struct err *err)
{
    struct bound_query lane_query = *query;
    lane_query.keys = &query->sequence.next;
    lane_query.key_count = 1;
    ERR_TRY(answer_key_col(&lane_query, 0, has_other, arena, ret, err));
    ret->name = STR("next");
    return ERR_OK;
}

static enum err_code answer_counts(struct query_run_ctx *run, const struct run_tasks *tasks,
                                   struct result *result, struct err *err)
{
    static const struct result_col cols[] = {
        {STR("users"), RESULT_INT64}, {STR("matches"), RESULT_INT64}, {STR("rate"), RESULT_NUMBER}};
    static const struct result_col match_cols[] = {{STR("users"), RESULT_INT64},
                                                   {STR("rate"), RESULT_NUMBER}};
    const struct sequence_part *parts = tasks->slots;
    bool is_match = run->query->sequence.mode == SEQUENCE_MATCH;
    uint64_t subjects = 0;
    uint64_t users = 0;
    uint64_t matches = 0;
    struct cell *cells = NULL;

    for (uint32_t t = 0; t < tasks->count; t++) {
        subjects += parts[t].subjects;
        users += parts[t].users;
        matches += parts[t].matches;
    }
    ERR_TRY(answer_cols(result, is_match ? match_cols : cols, is_match ? 2 : 3, err));
    ERR_TRY(run_result_rows(run, result, 1, &cells, err));
    cells[0] = answer_count_cell(users);
    if (!is_match) {
        cells[1] = answer_count_cell(matches);
    }
    cells[is_match ? 1 : 2] = answer_ratio(users, subjects);
    return ERR_OK;
}

/* The users of every next value, of all tasks. */
struct next_merge {
    struct groups *groups;
    uint64_t *users;
    uint32_t cap;
    uint64_t all_users, nothing_users;
};

static enum err_code merge_next(struct query_run_ctx *run, const struct run_tasks *tasks,
                                const struct bound_query *lane_query, struct next_merge *m,
                                struct err *err)
{
    const struct sequence_part *parts = tasks->slots;
    uint64_t most = 0;

    ERR_TRY(groups_create(lane_query, run->arena, &m->groups, err));
    for (uint32_t t = 0; t < tasks->count; t++) {
        most += parts[t].next_cap;
    }
    ERR_TRY(ARENA_NEW(run->arena, most, &m->users, err));
    for (uint32_t t = 0; t < tasks->count; t++) {
        m->all_users += parts[t].users;
        m->nothing_users += parts[t].nothing_users;
        for (uint32_t g = 0; g < parts[t].next_cap; g++) {
            uint32_t number = 0;
            if (parts[t].next_users[g] > 0) {
                ERR_TRY(groups_import(m->groups, parts[t].next_groups, g, &number, err));
                m->users[number] += parts[t].next_users[g];
            }
        }
    }
    return ERR_OK;
}

/* A row per value; null is one more, of those who have nothing behind their match, or a value missing there. */
static enum err_code answer_next(struct query_run_ctx *run, const struct run_tasks *tasks,
                                 struct result *result, struct err *err)
{
    const struct bound_query *query = run->query;
    struct bound_query lane_query = *query;
    struct next_merge m = {0};
    struct answer_group *picked = NULL;
    struct cell *cells = NULL;
    uint64_t null_users = 0;
    uint32_t count = 0;

    lane_query.keys = &query->sequence.next;
    lane_query.key_count = 1;
    ERR_TRY(merge_next(run, tasks, &lane_query, &m, err));
    null_users = m.nothing_users;
    ERR_TRY(ARENA_NEW(run->arena, groups_count(m.groups), &picked, err));
    for (uint32_t g = 0; g < groups_count(m.groups); g++) {
        if (groups_cell(m.groups, g, 0).kind == CELL_NULL) {
            null_users += m.users[g];
        } else {
            picked[count++] = (struct answer_group){g, m.users[g]};
        }
    }
    uint32_t shown = answer_pick_groups(query, m.groups, picked, count);
    bool has_other = query->has_other && shown < count;
    struct result_col cols[] = {{STR("next"), RESULT_STRING}, {STR("users"), RESULT_INT64}};
    ERR_TRY(next_col(query, has_other, result->arena, &cols[0], err));
    ERR_TRY(answer_cols(result, cols, 2, err));
    ERR_TRY(run_result_rows(run, result,
                            (uint64_t)shown + (null_users > 0 ? 1 : 0) + (has_other ? 1 : 0),
                            &cells, err));
    if (null_users > 0) {
        cells[1] = answer_count_cell(null_users);
        cells += 2;
    }
    uint64_t other = m.all_users - null_users;
    for (uint32_t i = 0; i < shown; i++, cells += 2) {
        ERR_TRY(answer_key_cells(m.groups, 1, picked[i].number, false, result->arena, cells, err));
        cells[1] = answer_count_cell(picked[i].weight);
        other -= picked[i].weight;
    }
    if (has_other) {
        cells[0] = (struct cell){.kind = CELL_STRING, .string = STR("other")};
        cells[1] = answer_count_cell(other);
    }
    answer_left_out(result, has_other ? 0 : count - shown);
    ERR_TRY(ARENA_NEW(result->arena, 2, &result->totals, err));
    result->totals[1] = answer_count_cell(m.all_users);
    return ERR_OK;
}

static enum err_code first_cell(const struct bound_query *query, const struct sequence_line *line,
                                struct arena *arena, struct cell *ret, struct err *err)
{
    struct str *items = NULL;
    if (line->matches == 0) {
        return ERR_OK;
    }
    ERR_TRY(ARENA_NEW(arena, line->first_count, &items, err));
    for (uint32_t i = 0; i < line->first_count; i++) {
        struct cell at = {0};
        ERR_TRY(answer_instant_cell(query, line->first_ms[i], arena, &at, err));
        items[i] = at.string;
    }
    *ret = (struct cell){.kind = CELL_LIST, .list = {.items = items, .count = line->first_count}};
    return ERR_OK;
}

static uint32_t count_lines(const void *slot)
{
    return ((const struct sequence_part *)slot)->line_count;
}

static enum err_code put_line(struct query_run_ctx *run, const void *slot, uint32_t number,
                              struct arena *arena, struct cell *cells, struct err *err)
{
    const struct bound_query *query = run->query;
    const struct sequence_part *part = slot;
    const struct sequence_line *line = &part->lines[number];
    ERR_TRY(answer_subject_cell(part->subject_groups, line->subject, arena, &cells[0], err));
    if (query->sequence.mode != SEQUENCE_NEXT) {
        cells[1] = answer_count_cell(line->matches);
        return first_cell(query, line, arena, &cells[2], err);
    }
    if (line->next != UINT32_MAX) {
        return answer_key_cells(part->next_groups, 1, line->next, false, arena, &cells[1], err);
    }
    return ERR_OK;
}

static enum err_code answer_users(struct query_run_ctx *run, const struct run_tasks *tasks,
                                  struct result *result, struct err *err)
{
    static const struct answer_lines lines = {count_lines, put_line};
    const struct bound_query *query = run->query;
    bool is_next = query->sequence.mode == SEQUENCE_NEXT;
    struct result_col cols[3] = {{STR("user_id"), RESULT_STRING}};

    ERR_TRY(answer_subject_col(query, result->arena, &cols[0], err));
    cols[1] = (struct result_col){STR("matches"), RESULT_INT64};
    if (is_next) {
        ERR_TRY(next_col(query, false, result->arena, &cols[1], err));
    }
    cols[2] = (struct result_col){STR("first_match"), RESULT_LIST};
    ERR_TRY(answer_cols(result, cols, is_next ? 2 : 3, err));
    return answer_put_lines(run, tasks, &lines, result, err);
}

enum err_code verb_sequence(struct query_run_ctx *run, struct result *result, struct err *err)
{
    CLEANUP(run_tasks_free) struct run_tasks tasks = {0};
    const struct bound_query *query = run->query;
    struct sequence_plan plan = {.lane_next = UINT32_MAX, .lane_subject = UINT32_MAX};
    struct walk_spec spec = {.query = query, .is_ordered = true, .subject = query->per};
    struct by_key subject_keys[2];
    struct scan_want *wants = NULL;

    ERR_TRY(ARENA_NEW(run->arena, query->selector_count, &wants, err));
    for (uint32_t i = 0; i < query->selector_count; i++) {
        wants[i] = (struct scan_want){i, query->from_ms, query->to_ms};
    }
    spec.wants = wants;
    spec.want_count = query->selector_count;
    if (query->sequence.mode == SEQUENCE_NEXT) {
        plan.lane_next = spec.lane_count;
        spec.lanes[spec.lane_count++] =
            (struct walk_lane){.keys = &query->sequence.next, .key_count = 1};
    }
    if (query->is_list) {
        plan.lane_subject = spec.lane_count;
        spec.lanes[spec.lane_count++] = answer_subject_lane(query, subject_keys);
    }
    run->verb_plan = &plan;
    ERR_TRY(walk_all(run, &spec, sequence_task, sizeof(struct sequence_part), &tasks, err));
    if (query->is_list) {
        return answer_users(run, &tasks, result, err);
    }
    return query->sequence.mode == SEQUENCE_NEXT ? answer_next(run, &tasks, result, err)
                                                 : answer_counts(run, &tasks, result, err);
}
