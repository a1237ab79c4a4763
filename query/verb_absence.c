/* query/verb_absence.c - the absence verb: what should have followed and did not, and silences.
 *
 *     A -> B within W    each A of the range is followed (a B no earlier and at most W later), absent (none, and
 *                        A + W has passed), or pending (A + W is not over at the query's `now`)
 *     A gap W            each time that a subject's next A of the range came more than W later, or has not come:
 *                        up to the end of the range or to now, whichever is first
 *
 * A and B of one instant may be in either order. One B may follow several A.
 */
#include "query/bucket_table.h"
#include "query/cell_watch.h"

#include "query/grow.h"
#include "query/saturating.h"
#include "storage/base/size.h"

#include <stdlib.h>

#define FIRST_BIT  UINT64_C(1)
#define SECOND_BIT UINT64_C(2)

struct absence_count {
    uint64_t count, followed, absent, pending; /* A -> B */
    uint64_t subjects, gaps, silent;           /* gap */
    uint64_t longest_ms;
    unsigned __int128 total_ms;
    uint64_t users;                   /* with something absent, or a gap */
    uint64_t last_subject, last_user; /* + 1: whom these have counted last */
};

struct absence_line {
    uint32_t subject; /* number in the task's lane */
    int64_t begin_ms;
    int64_t end_ms;
    bool is_open; /* nothing has come yet */
};

struct absence_plan {
    struct answer_buckets buckets;
    uint32_t lane_keys, lane_subject; /* UINT32_MAX = not asked for */
    int64_t end_ms;                   /* up to here is known what came */
};

struct absence_part {
    struct bucket_part counts;
    struct groups *subject_groups;
    struct absence_line *lines;
    uint32_t line_count, line_cap;
    struct cell_watch watch;
};

/* ---- a task ---- */

struct absence_task {
    struct query_run_ctx *run;
    const struct absence_plan *plan;
    struct absence_part *part;
    struct arena *arena;
};

static void count_add(struct absence_count *into, const struct absence_count *one, uint64_t subject)
{
    into->count += one->count;
    into->followed += one->followed;
    into->absent += one->absent;
    into->pending += one->pending;
    into->gaps += one->gaps;
    into->silent += one->silent;
    into->total_ms += one->total_ms;
    into->longest_ms = MAX_OF(into->longest_ms, one->longest_ms);
    into->subjects += into->last_subject != subject + 1;
    into->last_subject = subject + 1;
    if (one->absent + one->gaps > 0) {
        into->users += into->last_user != subject + 1;
        into->last_user = subject + 1;
    }
}

static enum err_code count_one(const struct absence_task *task, const struct journey *journey,
                               size_t at, const struct absence_count *one, struct err *err)
{
    const struct absence_plan *plan = task->plan;
    struct bucket_table *table = &task->part->counts.table;
    uint32_t group = plan->lane_keys == UINT32_MAX ? 0 : journey->lanes[plan->lane_keys][at];
    uint32_t bucket = answer_bucket_of(&plan->buckets, journey->times[at]);
    uint32_t places[BUCKET_PLACES];
    uint32_t count = 0;

    ERR_TRY(
        bucket_table_places(table, task->run->query->has_each, bucket, group, places, &count, err));
    for (uint32_t i = 0; i < count; i++) {
        count_add(bucket_table_item(table, places[i]), one, journey->subject);
    }
    bool is_user = one->absent + one->gaps > 0;
    return is_user || (task->run->query->cell != NULL && task->run->query->cell->is_of_subjects)
               ? cell_watch_see(&task->part->watch, journey->times[at], group, journey->subject,
                                err)
               : ERR_OK;
}

static enum err_code list_one(const struct absence_task *task, const struct journey *journey,
                              size_t at, int64_t end_ms, bool is_open, struct err *err)
{
    struct absence_part *part = task->part;
    if (task->plan->lane_subject == UINT32_MAX) {
        return ERR_OK;
    }
    ERR_TRY(GROW(task->arena, &part->lines, part->line_count, &part->line_cap, err));
    part->lines[part->line_count++] =
        (struct absence_line){.subject = journey->lanes[task->plan->lane_subject][at],
                              .begin_ms = journey->times[at],
                              .end_ms = end_ms,
                              .is_open = is_open};
    return ERR_OK;
}

/* The first event at or behind `from` with the bit. */
static size_t next_with(const struct journey *journey, size_t from, uint64_t bit)
{
    while (from < journey->count && (journey->masks[from] & bit) == 0) {
        from++;
    }
    return from;
}

static enum err_code count_follow_ups(const struct absence_task *task,
                                      const struct journey *journey, struct err *err)
{
    const struct bound_query *query = task->run->query;
    uint64_t within_ms = query->absence.span_ms;
    size_t follower = 0; /* the first B no earlier than A, but for A itself */

    for (size_t i = 0; i < journey->count; i++) {
        struct absence_count one = {.count = 1};
        int64_t time_ms = journey->times[i];
        if ((journey->masks[i] & FIRST_BIT) == 0) {
            continue;
        }
        follower = next_with(journey, follower, SECOND_BIT);
        while (follower < journey->count && journey->times[follower] < time_ms) {
            follower = next_with(journey, follower + 1, SECOND_BIT);
        }
        size_t other = follower == i ? next_with(journey, i + 1, SECOND_BIT) : follower;
        one.followed = other < journey->count &&
                       (uint64_t)journey->times[other] - (uint64_t)time_ms <= within_ms;
        bool is_over =
            query->now_ms > time_ms && (uint64_t)query->now_ms - (uint64_t)time_ms > within_ms;
        one.absent = one.followed == 0 && is_over;
        one.pending = one.followed == 0 && !is_over;
        ERR_TRY(count_one(task, journey, i, &one, err));
        if (one.absent > 0) {
            ERR_TRY(list_one(task, journey, i, time_ms, true, err));
        }
    }
    return ERR_OK;
}

static enum err_code count_silences(const struct absence_task *task, const struct journey *journey,
                                    struct err *err)
{
    uint64_t gap_ms = task->run->query->absence.span_ms;

    for (size_t i = 0; i < journey->count; i++) {
        bool is_open = i + 1 == journey->count;
        int64_t begin_ms = journey->times[i];
        int64_t end_ms = is_open ? task->plan->end_ms : journey->times[i + 1];
        struct absence_count one = {.count = 1};
        if (end_ms > begin_ms && (uint64_t)end_ms - (uint64_t)begin_ms > gap_ms) {
            one.gaps = 1;
            one.silent = is_open;
            one.longest_ms = (uint64_t)end_ms - (uint64_t)begin_ms;
            one.total_ms = one.longest_ms;
            ERR_TRY(list_one(task, journey, i, end_ms, is_open, err));
        }
        ERR_TRY(count_one(task, journey, i, &one, err));
    }
    return ERR_OK;
}

static enum err_code absence_task(struct query_run_ctx *run, struct walk *walk, struct arena *arena,
                                  void *slot, struct err *err)
{
    const struct absence_plan *plan = run->verb_plan;
    struct absence_part *part = slot;
    struct absence_task task = {run, plan, part, arena};
    struct journey journey;
    bool has_more = false;

    ERR_TRY(bucket_table_init(&part->counts.table, sizeof(struct absence_count), arena, err));
    if (plan->lane_keys != UINT32_MAX) {
        part->counts.groups = walk_groups(walk, plan->lane_keys);
    }
    if (plan->lane_subject != UINT32_MAX) {
        part->subject_groups = walk_groups(walk, plan->lane_subject);
    }
    ERR_TRY(cell_watch_open(run, walk_shard(walk), &plan->buckets, part->counts.groups,
                            &part->watch, err));
    ERR_TRY(walk_next(walk, &journey, &has_more, err));
    while (has_more) {
        ERR_TRY(run->query->absence.has_second ? count_follow_ups(&task, &journey, err)
                                               : count_silences(&task, &journey, err));
        ERR_TRY(walk_next(walk, &journey, &has_more, err));
    }
    return ERR_OK;
}

/* ---- the answer ---- */

static enum err_code merge_counts(void *into_item, const void *from_item, struct arena *arena,
                                  struct err *err)
{
    struct absence_count *into = into_item;
    const struct absence_count *from = from_item;
    uint64_t subjects = into->subjects + from->subjects;
    uint64_t users = into->users + from->users;
    (void)arena;
    (void)err;

    count_add(into, from, 0);
    into->subjects = subjects;
    into->users = users;
    return ERR_OK;
}

static const struct result_col follow_cols[] = {
    {STR("count"), RESULT_INT64},   {STR("followed"), RESULT_INT64}, {STR("absent"), RESULT_INT64},
    {STR("pending"), RESULT_INT64}, {STR("users"), RESULT_INT64},    {STR("rate"), RESULT_NUMBER}};
static const struct result_col silence_cols[] = {
    {STR("subjects"), RESULT_INT64},   {STR("users"), RESULT_INT64},
    {STR("gaps"), RESULT_INT64},       {STR("silent"), RESULT_INT64},
    {STR("longest_ms"), RESULT_INT64}, {STR("total_ms"), RESULT_NUMBER}};

static void absence_cells(const struct bound_query *query, void *item, struct cell *out)
{
    static const struct absence_count none = {0};
    const struct absence_count *count = item == NULL ? &none : item;
    if (query->absence.has_second) {
        out[0] = answer_count_cell(count->count);
        out[1] = answer_count_cell(count->followed);
        out[2] = answer_count_cell(count->absent);
        out[3] = answer_count_cell(count->pending);
        out[4] = answer_count_cell(count->users);
        out[5] = answer_ratio(count->absent, count->followed + count->absent);
        return;
    }
    out[0] = answer_count_cell(count->subjects);
    out[1] = answer_count_cell(count->users);
    out[2] = answer_count_cell(count->gaps);
    out[3] = answer_count_cell(count->silent);
    out[4] = answer_count_cell(count->longest_ms);
    out[5] = answer_sum_cell(count->total_ms);
}

/* Instants as cells sort by their text: in one zone that is not always their order, so lines are sorted first. */
struct listed {
    struct cell subject;
    const struct absence_line *line;
};

static int by_subject_and_time(const void *a, const void *b)
{
    const struct listed *x = a;
    const struct listed *y = b;
    int order = cell_cmp(&x->subject, &y->subject);
    if (order != 0) {
        return order;
    }
    if (x->line->begin_ms != y->line->begin_ms) {
        return x->line->begin_ms < y->line->begin_ms ? -1 : 1;
    }
    if (x->line->end_ms != y->line->end_ms) { /* of a user and a device with the same id */
        return x->line->end_ms < y->line->end_ms ? -1 : 1;
    }
    return (int)x->line->is_open - (int)y->line->is_open;
}

static enum err_code collect_lines(struct query_run_ctx *run, const struct run_tasks *tasks,
                                   struct arena *arena, struct listed **ret, uint64_t *ret_count,
                                   struct err *err)
{
    const struct absence_part *parts = tasks->slots;
    struct listed *listed = NULL;
    uint64_t count = 0;

    for (uint32_t t = 0; t < tasks->count; t++) {
        count += parts[t].line_count;
    }
    ERR_TRY(ARENA_NEW(run->arena, count, &listed, err));
    uint64_t filled = 0;
    for (uint32_t t = 0; t < tasks->count; t++) {
        for (uint32_t i = 0; i < parts[t].line_count; i++, filled++) {
            listed[filled].line = &parts[t].lines[i];
            ERR_TRY(answer_subject_cell(parts[t].subject_groups, parts[t].lines[i].subject, arena,
                                        &listed[filled].subject, err));
        }
    }
    qsort(listed, count, sizeof(*listed), by_subject_and_time);
    *ret = listed;
    *ret_count = count;
    return ERR_OK;
}

static enum err_code answer_list(struct query_run_ctx *run, const struct run_tasks *tasks,
                                 struct result *result, struct err *err)
{
    const struct bound_query *query = run->query;
    struct listed *listed = NULL;
    uint64_t count = 0;
    struct result_col cols[4] = {{STR("user_id"), RESULT_STRING},
                                 {STR("time"), RESULT_TIME},
                                 {STR("end"), RESULT_TIME},
                                 {STR("length_ms"), RESULT_INT64}};
    struct cell *cells = NULL;

    ERR_TRY(collect_lines(run, tasks, result->arena, &listed, &count, err));
    ERR_TRY(answer_subject_col(query, result->arena, &cols[0], err));
    ERR_TRY(answer_cols(result, cols, query->absence.has_second ? 2 : 4, err));
    ERR_TRY(run_result_rows(run, result, count, &cells, err));
    for (uint64_t i = 0; i < count; i++, cells += result->col_count) {
        const struct absence_line *line = listed[i].line;
        cells[0] = listed[i].subject;
        ERR_TRY(answer_instant_cell(query, line->begin_ms, result->arena, &cells[1], err));
        if (query->absence.has_second) {
            continue;
        }
        if (!line->is_open) {
            ERR_TRY(answer_instant_cell(query, line->end_ms, result->arena, &cells[2], err));
        }
        cells[3] = answer_count_cell((uint64_t)line->end_ms - (uint64_t)line->begin_ms);
    }
    return ERR_OK;
}

enum err_code verb_absence(struct query_run_ctx *run, struct result *result, struct err *err)
{
    CLEANUP(run_tasks_free) struct run_tasks tasks = {0};
    const struct bound_query *query = run->query;
    const struct absence *absence = &query->absence;
    struct absence_plan plan = {.lane_keys = UINT32_MAX,
                                .lane_subject = UINT32_MAX,
                                .end_ms = MIN_OF(query->to_ms, query->now_ms)};
    struct by_key subject_keys[2];
    /* The first selector is A, the second B. */
    struct scan_want wants[2] = {
        {0, query->from_ms, query->to_ms},
        {1, query->from_ms, ms_add_saturating(query->to_ms, absence->span_ms)}};
    struct walk_spec spec = {.query = query,
                             .wants = wants,
                             .want_count = absence->has_second ? 2 : 1,
                             .subject = query->per,
                             .is_ordered = query->key_count > 0};

    ERR_TRY(answer_buckets(run, &plan.buckets, err));
    if (query->key_count > 0) {
        plan.lane_keys = spec.lane_count;
        spec.lanes[spec.lane_count++] =
            (struct walk_lane){.keys = query->keys, .key_count = query->key_count};
    }
    if (query->is_list && query->cell == NULL) {
        plan.lane_subject = spec.lane_count;
        spec.lanes[spec.lane_count++] = answer_subject_lane(query, subject_keys);
    }
    run->verb_plan = &plan;
    ERR_TRY(walk_all(run, &spec, absence_task, sizeof(struct absence_part), &tasks, err));
    if (query->cell != NULL) {
        return ERR_OK; /* the takers have who is asked for */
    }
    if (query->is_list) {
        return answer_list(run, &tasks, result, err);
    }
    struct bucket_ops ops = {
        .item_bytes = sizeof(struct absence_count),
        .merge = merge_counts,
        .cells = absence_cells,
        .cols = absence->has_second ? follow_cols : silence_cols,
        .col_count = COUNT_OF(follow_cols),
        .part_off = offsetof(struct absence_part, counts),
    };
    return bucket_answer(run, &tasks, &ops, &plan.buckets, result, err);
}
