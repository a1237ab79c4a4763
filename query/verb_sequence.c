/* query/verb_sequence.c - the sequence verb.
 *
 *     count, match   events that meet no condition are not seen, so neighbours are neighbours among those
 *                    that do; matches of one subject do not overlap
 *     next KEY       every event is seen; one match per subject, from an anchor: its first (last) event
 *                    that the first element takes, or the journey's edge. Backward, the journey is read
 *                    from its end. What is counted is the KEY of the event behind the match.
 *
 * A pattern without elements matches anywhere and takes nothing: it is counted once per event.
 *
 * With `by` a subject is of the group of its first event in sight, with all that it does: groups part subjects, and add up.
 * With `each` a match is of the bucket of the event that its first element takes, and the subjects of a bucket are those
 * with an event in sight there.
 */
#include "query/bucket_table.h"
#include "query/cell_watch.h"
#include "query/kernel_sequence.h"
#include "query/row_heads.h"

#include "query/grow.h"
#include "storage/base/size.h"

#include <stdlib.h>

#define NOTHING UINT32_MAX /* in the place of a next value: nothing follows, or it has none */

/* What all tasks share. */
struct sequence_plan {
    struct answer_buckets buckets;
    uint32_t lane_next, lane_subject, lane_keys; /* UINT32_MAX = not asked for */
};

/* Of a bucket and a group. */
struct sequence_count {
    uint64_t subjects; /* that have an event in sight */
    uint64_t users;    /* with a match */
    uint64_t matches;
    uint64_t last_subject, last_user; /* + 1: whom these have counted last */
};

/* A line of `list users`. */
struct sequence_line {
    uint32_t subject; /* number in the task's lane */
    uint32_t next;    /* of NEXT: number in the lane; NOTHING: nothing follows */
    uint64_t matches;
    const int64_t *first_ms; /* times of the first match's events that conditions took */
    uint32_t first_count;
};

struct sequence_part {
    struct bucket_part counts; /* COUNT, MATCH */
    struct row_heads heads;    /* NEXT: */
    struct interns nexts;      /* (head, number of the next lane or NOTHING), */
    uint64_t *next_users;      /* and of each how many */
    uint32_t next_cap;
    struct groups *next_groups;
    struct groups *subject_groups;
    struct sequence_line *lines;
    uint32_t line_count, line_cap;
    struct cell_watch watch;

    struct sequence_journey scratch;
    size_t scratch_cap;
    int64_t *times; /* of a journey read backward */
    uint64_t *masks;
};

/* A task, and the journey at hand. */
struct sequence_work {
    struct query_run_ctx *run;
    const struct sequence_plan *plan;
    struct sequence_part *part;
    struct arena *arena;
    const struct journey *journey;
    uint32_t group;
    struct sequence_line line;
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

/* The subject is in sight at this time, or has a match that begins then. */
static enum err_code count_at(struct sequence_work *work, int64_t ts_ms, bool is_match,
                              struct err *err)
{
    struct bucket_table *table = &work->part->counts.table;
    uint64_t subject = work->journey->subject;
    uint32_t bucket = answer_bucket_of(&work->plan->buckets, ts_ms);
    uint32_t places[BUCKET_PLACES];
    uint32_t count = 0;

    ERR_TRY(bucket_table_places(table, work->run->query->has_each, bucket, work->group, places,
                                &count, err));
    for (uint32_t i = 0; i < count; i++) {
        struct sequence_count *item = bucket_table_item(table, places[i]);
        item->subjects += item->last_subject != subject + 1;
        item->last_subject = subject + 1;
        if (is_match) {
            item->matches++;
            item->users += item->last_user != subject + 1;
            item->last_user = subject + 1;
        }
    }
    return ERR_OK;
}

static enum err_code count_match(struct sequence_work *work, int64_t begin_ms, struct err *err)
{
    work->line.matches++;
    ERR_TRY(count_at(work, begin_ms, true, err));
    return cell_watch_see(&work->part->watch, begin_ms, work->group, work->journey->subject, err);
}

static enum err_code count_matches(struct sequence_work *work, struct err *err)
{
    const struct bound_query *query = work->run->query;
    const struct sequence *sequence = &query->sequence;
    const struct sequence_journey *journey = &work->part->scratch;
    bool is_list = work->plan->lane_subject != UINT32_MAX;
    bool is_first_enough = sequence->mode == SEQUENCE_MATCH && !is_list && !query->has_each;
    size_t events[64];

    for (size_t i = 0; i < (query->has_each ? journey->count : 1); i++) {
        ERR_TRY(count_at(work, journey->times[i], false, err));
    }
    if (sequence->element_count == 0) {
        for (size_t i = 0; i < journey->count; i++) {
            ERR_TRY(count_match(work, journey->times[i], err));
        }
        return ERR_OK;
    }
    kernel_sequence(sequence->elements, sequence->element_count, journey);
    for (size_t at = kernel_sequence_start(journey, 0); at != SEQUENCE_NONE;
         at = kernel_sequence_start(journey, at)) {
        at = kernel_sequence_events(sequence->elements, sequence->element_count, journey, at,
                                    events) +
             1;
        if (work->line.matches == 0 && is_list) {
            ERR_TRY(line_first(sequence, journey->times, events, work->arena, &work->line, err));
        }
        ERR_TRY(count_match(work, journey->times[events[0]], err));
        if (is_first_enough) {
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

/* The event that the one match of `next` begins with, or SEQUENCE_NONE without a match; *ret_next: the one behind the
 * match, the journey's count where nothing follows. Both in the journey as it is read. */
static size_t next_event(const struct sequence *sequence, struct sequence_part *part,
                         size_t *ret_next)
{
    const struct sequence_journey *journey = &part->scratch;
    size_t events[64];
    size_t start = anchor_of(sequence, journey);

    *ret_next = start;
    if (start == SEQUENCE_NONE || sequence->element_count == 0) {
        return start;
    }
    kernel_sequence(sequence->elements, sequence->element_count, journey);
    if ((journey->can[start] & 1) == 0) {
        return SEQUENCE_NONE;
    }
    *ret_next = kernel_sequence_events(sequence->elements, sequence->element_count, journey, start,
                                       events) +
                1;
    return start;
}

/* Whether the value is the one of the cell that is asked for. */
static bool is_next_wanted(const struct sequence_part *part, const struct bound_cell *cell,
                           uint32_t value)
{
    struct cell own = {.kind = CELL_NULL};
    if (cell->next == NULL) {
        return true;
    }
    if (value != NOTHING) {
        own = groups_cell(part->next_groups, value, 0);
    }
    return cell_cmp(&own, cell->next) == 0;
}

static enum err_code count_next(struct sequence_work *work, struct err *err)
{
    const struct bound_query *query = work->run->query;
    const struct journey *journey = work->journey;
    struct sequence_part *part = work->part;
    bool is_backward = query->sequence.is_backward;
    size_t next = 0;
    size_t start = next_event(&query->sequence, part, &next);
    uint32_t words[2] = {0, NOTHING};
    uint32_t number = 0;

    if (start == SEQUENCE_NONE) {
        return ERR_OK;
    }
    work->line.matches = 1;
    if (next < journey->count) {
        size_t at = is_backward ? journey->count - 1 - next : next;
        words[1] = journey->lanes[work->plan->lane_next][at];
    }
    work->line.next = words[1];
    int64_t begin_ms = journey->times[is_backward ? journey->count - 1 - start : start];
    uint32_t bucket = answer_bucket_of(&work->plan->buckets, begin_ms);
    ERR_TRY(row_heads_of(&part->heads, bucket, work->group, &words[0], err));
    ERR_TRY(interns_put_words(&part->nexts, words, 2, &number, err));
    ERR_TRY(GROW(work->arena, &part->next_users, number, &part->next_cap, err));
    part->next_users[number]++;
    if (part->watch.taker == NULL || !is_next_wanted(part, query->cell, words[1])) {
        return ERR_OK;
    }
    return cell_watch_see(&part->watch, begin_ms, work->group, journey->subject, err);
}

static enum err_code part_open(struct query_run_ctx *run, const struct sequence_plan *plan,
                               struct walk *walk, struct sequence_part *part, struct arena *arena,
                               struct err *err)
{
    const struct groups *groups = NULL;
    part->next_groups = plan->lane_next == UINT32_MAX ? NULL : walk_groups(walk, plan->lane_next);
    part->subject_groups =
        plan->lane_subject == UINT32_MAX ? NULL : walk_groups(walk, plan->lane_subject);
    if (plan->lane_keys != UINT32_MAX) {
        part->counts.groups = walk_groups(walk, plan->lane_keys);
        groups = part->counts.groups;
    }
    ERR_TRY(bucket_table_init(&part->counts.table, sizeof(struct sequence_count), arena, err));
    ERR_TRY(row_heads_init(&part->heads, groups, arena, err));
    ERR_TRY(interns_init(&part->nexts, arena, err));
    return cell_watch_open(run, walk_shard(walk), &plan->buckets, groups, &part->watch, err);
}

static enum err_code sequence_task(struct query_run_ctx *run, struct walk *walk,
                                   struct arena *arena, void *slot, struct err *err)
{
    const struct sequence_plan *plan = run->verb_plan;
    const struct bound_query *query = run->query;
    const struct sequence *sequence = &query->sequence;
    struct sequence_part *part = slot;
    struct journey journey;
    struct sequence_work work = {
        .run = run, .plan = plan, .part = part, .arena = arena, .journey = &journey};
    bool has_more = false;

    ERR_TRY(part_open(run, plan, walk, part, arena, err));
    ERR_TRY(walk_next(walk, &journey, &has_more, err));
    while (has_more) {
        work.line = (struct sequence_line){.next = NOTHING};
        work.group = plan->lane_keys == UINT32_MAX ? 0 : journey.lanes[plan->lane_keys][0];
        ERR_TRY(scratch_fit(part, journey.count, sequence->is_backward, arena, err));
        scratch_load(part, &journey, sequence->is_backward);
        ERR_TRY(sequence->mode == SEQUENCE_NEXT ? count_next(&work, err)
                                                : count_matches(&work, err));
        if (plan->lane_subject != UINT32_MAX) {
            work.line.subject = journey.lanes[plan->lane_subject][0];
            ERR_TRY(GROW(arena, &part->lines, part->line_count, &part->line_cap, err));
            part->lines[part->line_count++] = work.line;
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

static enum err_code count_merge(void *into_item, const void *from_item, struct arena *arena,
                                 struct err *err)
{
    struct sequence_count *into = into_item;
    const struct sequence_count *from = from_item;
    (void)arena;
    (void)err;
    into->subjects += from->subjects;
    into->users += from->users;
    into->matches += from->matches;
    return ERR_OK;
}

static void count_cells(const struct bound_query *query, void *item, struct cell *out)
{
    static const struct sequence_count none = {0};
    const struct sequence_count *count = item == NULL ? &none : item;
    *out++ = answer_count_cell(count->users);
    if (query->sequence.mode == SEQUENCE_COUNT) {
        *out++ = answer_count_cell(count->matches);
    }
    *out = answer_ratio(count->users, count->subjects);
}

static enum err_code answer_counts(struct query_run_ctx *run, const struct run_tasks *tasks,
                                   const struct answer_buckets *buckets, struct result *result,
                                   struct err *err)
{
    static const struct result_col cols[] = {
        {STR("users"), RESULT_INT64}, {STR("matches"), RESULT_INT64}, {STR("rate"), RESULT_NUMBER}};
    static const struct result_col match_cols[] = {{STR("users"), RESULT_INT64},
                                                   {STR("rate"), RESULT_NUMBER}};
    bool is_match = run->query->sequence.mode == SEQUENCE_MATCH;
    struct bucket_ops ops = {
        .item_bytes = sizeof(struct sequence_count),
        .merge = count_merge,
        .cells = count_cells,
        .cols = is_match ? match_cols : cols,
        .col_count = is_match ? 2 : 3,
        .part_off = offsetof(struct sequence_part, counts),
    };
    ERR_TRY(bucket_answer(run, tasks, &ops, buckets, result, err));
    if (row_head_width(run->query) == 0) {
        result->totals = NULL; /* they are the only row */
    }
    return ERR_OK;
}

/* ---- what comes next ---- */

/* How many have this value behind their match, of a head. */
struct next_row {
    uint32_t head; /* its rank */
    uint32_t value;
    uint64_t users;
};

struct next_merge {
    struct groups *groups; /* of the values */
    struct row_ranks heads;
    struct interns pairs;  /* (rank of the head, value or NOTHING) */
    struct next_row *rows; /* by number */
    uint32_t row_cap;
    uint64_t users;
};

static enum err_code merge_next(struct query_run_ctx *run, const struct run_tasks *tasks,
                                const struct bound_query *lane_query, struct next_merge *m,
                                struct err *err)
{
    const struct sequence_part *parts = tasks->slots;

    ERR_TRY(groups_create(lane_query, run->arena, &m->groups, err));
    ERR_TRY(row_heads_rank(run, tasks, offsetof(struct sequence_part, heads), &m->heads, err));
    ERR_TRY(interns_init(&m->pairs, run->arena, err));
    for (uint32_t t = 0; t < tasks->count; t++) {
        for (uint32_t i = 0; i < parts[t].nexts.count; i++) {
            uint32_t count = 0;
            uint32_t number = 0;
            uint32_t pair[2];
            memcpy(pair, interns_words(&parts[t].nexts, i, &count), sizeof(pair));
            if (pair[1] != NOTHING) {
                ERR_TRY(groups_import(m->groups, parts[t].next_groups, pair[1], &pair[1], err));
                pair[1] = groups_cell(m->groups, pair[1], 0).kind == CELL_NULL ? NOTHING : pair[1];
            }
            pair[0] = m->heads.rank_of[t][pair[0]];
            ERR_TRY(interns_put_words(&m->pairs, pair, 2, &number, err));
            ERR_TRY(GROW(run->arena, &m->rows, number, &m->row_cap, err));
            m->rows[number].head = pair[0];
            m->rows[number].value = pair[1];
            m->rows[number].users += parts[t].next_users[i];
            m->users += parts[t].next_users[i];
        }
    }
    return ERR_OK;
}

/* By head; of one head, who has no value comes first, then the others, in no order. */
static int by_head(const void *a, const void *b)
{
    const struct next_row *x = a;
    const struct next_row *y = b;
    if (x->head != y->head) {
        return x->head < y->head ? -1 : 1;
    }
    return (y->value == NOTHING) - (x->value == NOTHING);
}

/* The rows of one head, as they are shown. */
struct next_head {
    uint32_t rank;
    uint64_t null_users;         /* 0: no such row */
    struct answer_group *picked; /* values; shown are the first of them */
    uint32_t count, shown;
    bool has_other;
};

/* Take the head that begins at *at of the sorted rows. */
static void take_head(const struct bound_query *query, const struct next_merge *m, uint32_t *at,
                      struct answer_group *picked, struct next_head *ret)
{
    *ret = (struct next_head){.rank = m->rows[*at].head, .picked = picked};
    for (; *at < m->pairs.count && m->rows[*at].head == ret->rank; (*at)++) {
        const struct next_row *row = &m->rows[*at];
        if (row->value == NOTHING) {
            ret->null_users = row->users;
        } else {
            picked[ret->count++] = (struct answer_group){row->value, row->users};
        }
    }
    ret->shown = answer_pick_groups(query, m->groups, picked, ret->count);
    ret->has_other = query->has_other && ret->shown < ret->count;
}

static enum err_code put_head(struct query_run_ctx *run, const struct next_merge *m,
                              const struct answer_buckets *buckets, const struct next_head *head,
                              struct result *result, struct cell **cells, struct err *err)
{
    const struct bound_query *query = run->query;
    uint32_t width = row_head_width(query);
    uint64_t other = 0;
    for (uint32_t i = head->shown; i < head->count; i++) {
        other += head->picked[i].weight;
    }
    uint32_t first = head->null_users > 0 ? 1 : 0;
    uint32_t end = first + head->shown + (head->has_other ? 1 : 0);
    for (uint32_t i = 0; i < end; i++, *cells += width + 2) {
        struct cell *own = *cells + width;
        uint32_t v = i - first;
        ERR_TRY(row_head_cells(query, &m->heads, buckets, head->rank, result->arena, *cells, err));
        if (i < first) {
            own[1] = answer_count_cell(head->null_users);
        } else if (v < head->shown) {
            ERR_TRY(answer_key_cells(m->groups, 1, head->picked[v].number, false, result->arena,
                                     own, err));
            own[1] = answer_count_cell(head->picked[v].weight);
        } else {
            own[0] = (struct cell){.kind = CELL_STRING, .string = STR("other")};
            own[1] = answer_count_cell(other);
        }
    }
    return ERR_OK;
}

/* Rows by head and value; null is one more, of those who have nothing behind their match, or a value missing there. `top`
 * picks the values of each head. */
static enum err_code answer_next(struct query_run_ctx *run, const struct run_tasks *tasks,
                                 const struct answer_buckets *buckets, struct result *result,
                                 struct err *err)
{
    const struct bound_query *query = run->query;
    struct bound_query lane_query = *query;
    struct next_merge m = {0};
    struct next_head *heads = NULL;
    struct answer_group *picked = NULL;
    struct cell *cells = NULL;
    uint64_t row_count = 0;
    uint64_t left_out = 0;
    bool has_other = false;

    lane_query.keys = &query->sequence.next;
    lane_query.key_count = 1;
    ERR_TRY(merge_next(run, tasks, &lane_query, &m, err));
    if (m.pairs.count > 1) {
        qsort(m.rows, m.pairs.count, sizeof(*m.rows), by_head);
    }
    ERR_TRY(ARENA_NEW(run->arena, m.pairs.count, &picked, err));
    ERR_TRY(ARENA_NEW(run->arena, m.heads.count, &heads, err));
    uint32_t at = 0;
    for (uint32_t h = 0; h < m.heads.count; h++) {
        take_head(query, &m, &at, picked + at, &heads[h]);
        has_other |= heads[h].has_other;
        row_count +=
            heads[h].shown + (heads[h].null_users > 0 ? 1u : 0u) + (heads[h].has_other ? 1u : 0u);
        left_out += heads[h].has_other ? 0 : heads[h].count - heads[h].shown;
    }
    struct result_col cols[] = {{STR("next"), RESULT_STRING}, {STR("users"), RESULT_INT64}};
    ERR_TRY(next_col(query, has_other, result->arena, &cols[0], err));
    ERR_TRY(row_head_cols(query, cols, 2, result, err));
    ERR_TRY(run_result_rows(run, result, row_count, &cells, err));
    for (uint32_t h = 0; h < m.heads.count; h++) {
        ERR_TRY(put_head(run, &m, buckets, &heads[h], result, &cells, err));
    }
    answer_left_out(result, left_out);
    ERR_TRY(ARENA_NEW(result->arena, result->col_count, &result->totals, err));
    result->totals[result->col_count - 1] = answer_count_cell(m.users);
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
    if (line->next != NOTHING) {
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

/* The lanes that the question needs. */
static void plan_lanes(const struct bound_query *query, struct by_key subject_keys[2],
                       struct sequence_plan *plan, struct walk_spec *spec)
{
    if (query->sequence.mode == SEQUENCE_NEXT) {
        plan->lane_next = spec->lane_count;
        spec->lanes[spec->lane_count++] =
            (struct walk_lane){.keys = &query->sequence.next, .key_count = 1};
    }
    if (query->is_list && query->cell == NULL) {
        plan->lane_subject = spec->lane_count;
        spec->lanes[spec->lane_count++] = answer_subject_lane(query, subject_keys);
    }
    if (query->key_count > 0) {
        plan->lane_keys = spec->lane_count;
        spec->lanes[spec->lane_count++] =
            (struct walk_lane){.keys = query->keys, .key_count = query->key_count};
    }
}

enum err_code verb_sequence(struct query_run_ctx *run, struct result *result, struct err *err)
{
    CLEANUP(run_tasks_free) struct run_tasks tasks = {0};
    const struct bound_query *query = run->query;
    struct sequence_plan plan = {
        .lane_next = UINT32_MAX, .lane_subject = UINT32_MAX, .lane_keys = UINT32_MAX};
    struct walk_spec spec = {.query = query, .is_ordered = true, .subject = query->per};
    struct by_key subject_keys[2];
    struct scan_want *wants = NULL;

    ERR_TRY(answer_buckets(run, &plan.buckets, err));
    ERR_TRY(ARENA_NEW(run->arena, query->selector_count, &wants, err));
    for (uint32_t i = 0; i < query->selector_count; i++) {
        wants[i] = (struct scan_want){i, query->from_ms, query->to_ms};
    }
    spec.wants = wants;
    spec.want_count = query->selector_count;
    plan_lanes(query, subject_keys, &plan, &spec);
    run->verb_plan = &plan;
    ERR_TRY(walk_all(run, &spec, sequence_task, sizeof(struct sequence_part), &tasks, err));
    if (query->cell != NULL) {
        return ERR_OK; /* the takers have who is asked for */
    }
    if (query->is_list) {
        return answer_users(run, &tasks, result, err);
    }
    return query->sequence.mode == SEQUENCE_NEXT
               ? answer_next(run, &tasks, &plan.buckets, result, err)
               : answer_counts(run, &tasks, &plan.buckets, result, err);
}
