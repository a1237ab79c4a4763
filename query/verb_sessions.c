/* query/verb_sessions.c - the sessions verb.
 *
 *     task: journeys -> sessions that begin in the range -> tallies by bucket and group (bucket_table.h)
 *
 * A session is of the bucket that it begins in and of the group of its first event.
 */
#include "query/bucket_table.h"
#include "query/cell_watch.h"
#include "query/durations.h"
#include "query/journey_measures.h"
#include "query/session_walk.h"
#include "storage/base/size.h"

struct tally {
    uint64_t count, users, events, bounces, max_ms;
    unsigned __int128 total_ms;
    uint64_t last_subject; /* + 1: whom `users` has counted last */
    uint64_t *durations;   /* count of them, where percentiles are asked for */
    uint64_t duration_cap;
};

struct sessions_plan {
    struct answer_buckets buckets;
    struct session_rule rule;
    struct session_walk walk;
    bool has_percentiles;
};

struct sessions_part {
    struct session_slot slot;
    struct bucket_part counts;
    struct cell_watch watch;
};

/* ---- tallies ---- */

/* Behind the durations of one, those of another; `count` stays as it is. */
static enum err_code durations_append(struct tally *into, const struct tally *from,
                                      struct arena *arena, struct err *err)
{
    uint64_t count = into->count + from->count;
    if (count > into->duration_cap) {
        uint64_t cap = MAX_OF(count, 2 * into->duration_cap);
        uint64_t *more = NULL;
        ERR_TRY(ARENA_NEW(arena, cap, &more, err));
        if (into->count > 0) {
            memcpy(more, into->durations, into->count * sizeof(*more));
        }
        into->durations = more;
        into->duration_cap = cap;
    }
    memcpy(into->durations + into->count, from->durations, from->count * sizeof(uint64_t));
    return ERR_OK;
}

static enum err_code tally_merge(void *into_item, const void *from_item, struct arena *arena,
                                 struct err *err)
{
    struct tally *into = into_item;
    const struct tally *from = from_item;
    if (from->durations != NULL) {
        ERR_TRY(durations_append(into, from, arena, err));
    }
    into->count += from->count;
    into->users += from->users;
    into->events += from->events;
    into->bounces += from->bounces;
    into->total_ms += from->total_ms;
    into->max_ms = MAX_OF(into->max_ms, from->max_ms);
    return ERR_OK;
}

static enum err_code tally_add(struct tally *tally, const struct tally *session, uint32_t subject,
                               bool has_percentiles, struct arena *arena, struct err *err)
{
    if (has_percentiles) {
        ERR_TRY(durations_append(tally, session, arena, err));
    }
    tally->users += tally->last_subject != (uint64_t)subject + 1;
    tally->last_subject = (uint64_t)subject + 1;
    tally->count++;
    tally->events += session->events;
    tally->bounces += session->events == 1;
    tally->total_ms += session->total_ms;
    tally->max_ms = MAX_OF(tally->max_ms, session->max_ms);
    return ERR_OK;
}

/* ---- a task ---- */

static enum err_code count_session(const struct bound_query *query,
                                   const struct sessions_plan *plan, struct sessions_part *part,
                                   const struct journey *journey, size_t begin, size_t end,
                                   struct err *err)
{
    struct bucket_table *table = &part->counts.table;
    uint64_t ms = (uint64_t)journey->times[end - 1] - (uint64_t)journey->times[begin];
    struct tally session = {
        .count = 1, .events = end - begin, .total_ms = ms, .max_ms = ms, .durations = &ms};
    uint32_t group = query->key_count == 0 ? 0 : journey->lanes[0][begin];
    uint32_t bucket = answer_bucket_of(&plan->buckets, journey->times[begin]);
    uint32_t places[BUCKET_PLACES];
    uint32_t count = 0;

    ERR_TRY(bucket_table_places(table, query->has_each, bucket, group, places, &count, err));
    for (uint32_t i = 0; i < count; i++) {
        ERR_TRY(tally_add(bucket_table_item(table, places[i]), &session, journey->subject,
                          plan->has_percentiles, table->keys.arena, err));
    }
    return cell_watch_see(&part->watch, journey->times[begin], group, journey->subject, err);
}

static enum err_code sessions_task(struct query_run_ctx *run, struct walk *walk,
                                   struct arena *arena, void *slot, struct err *err)
{
    const struct sessions_plan *plan = run->verb_plan;
    const struct bound_query *query = run->query;
    struct sessions_part *part = slot;
    struct journey journey;
    bool has_more = false;

    ERR_TRY(bucket_table_init(&part->counts.table, sizeof(struct tally), arena, err));
    part->counts.groups = query->key_count == 0 ? NULL : walk_groups(walk, 0);
    ERR_TRY(cell_watch_open(run, walk_shard(walk), &plan->buckets, part->counts.groups,
                            &part->watch, err));
    ERR_TRY(walk_next(walk, &journey, &has_more, err));
    while (has_more) {
        if (!session_journey(&plan->walk, journey.times, journey.count, &part->slot)) {
            return ERR_OK;
        }
        size_t end = 0;
        for (size_t begin = 0; begin < journey.count; begin = end) {
            end = session_end(&plan->rule, journey.times, journey.count, begin);
            if (journey.times[begin] >= query->from_ms && journey.times[begin] < query->to_ms) {
                ERR_TRY(count_session(query, plan, part, &journey, begin, end, err));
            }
        }
        ERR_TRY(walk_next(walk, &journey, &has_more, err));
    }
    return ERR_OK;
}

/* ---- the answer ---- */

static struct cell session_quantile(const struct tally *tally, uint32_t numerator,
                                    uint32_t denominator)
{
    struct durations_quantile quantile = {numerator, denominator};
    struct cell cell;
    durations_quantiles(tally->durations, tally->count, &quantile, 1, &cell);
    return cell;
}

static struct cell measure_cell(enum session_measure measure, const struct tally *tally)
{
    struct cell null = {.kind = CELL_NULL};
    switch (measure) {
    case SESSION_COUNT: return answer_count_cell(tally->count);
    case SESSION_USERS: return answer_count_cell(tally->users);
    case SESSION_EVENTS: return answer_count_cell(tally->events);
    case SESSION_AVG_MS: return answer_mean_cell(tally->total_ms, tally->count);
    case SESSION_MEDIAN_MS: return session_quantile(tally, 1, 2);
    case SESSION_P90_MS: return session_quantile(tally, 9, 10);
    case SESSION_P95_MS: return session_quantile(tally, 19, 20);
    case SESSION_P99_MS: return session_quantile(tally, 99, 100);
    case SESSION_MAX_MS: return tally->count == 0 ? null : answer_count_cell(tally->max_ms);
    case SESSION_TOTAL_MS: return answer_sum_cell(tally->total_ms);
    case SESSION_BOUNCES: return answer_count_cell(tally->bounces);
    case SESSION_BOUNCE_RATE: return answer_ratio(tally->bounces, tally->count);
    case SESSION_EVENTS_PER: return answer_ratio(tally->events, tally->count);
    case SESSION_PER_USER: return answer_ratio(tally->count, tally->users);
    case SESSION_MEASURES: break;
    }
    return null;
}

static enum result_type measure_type(enum session_measure measure)
{
    switch (measure) {
    case SESSION_COUNT:
    case SESSION_USERS:
    case SESSION_EVENTS:
    case SESSION_MAX_MS:
    case SESSION_BOUNCES: return RESULT_INT64;
    default: return RESULT_NUMBER;
    }
}

static void session_cells(const struct bound_query *query, void *item, struct cell *out)
{
    struct tally none = {0};
    struct tally *tally = item == NULL ? &none : item;
    for (uint32_t m = 0; m < query->sessions.measure_count; m++) {
        out[m] = measure_cell((enum session_measure)query->sessions.measures[m], tally);
    }
}

static enum err_code session_cols(const struct sessions *sessions, struct arena *arena,
                                  struct result_col **ret, struct err *err)
{
    ERR_TRY(ARENA_NEW(arena, sessions->measure_count, ret, err));
    for (uint32_t m = 0; m < sessions->measure_count; m++) {
        enum session_measure measure = (enum session_measure)sessions->measures[m];
        (*ret)[m] =
            (struct result_col){str_of(session_measure_words[measure]), measure_type(measure)};
    }
    return ERR_OK;
}

static bool has_percentiles(const struct sessions *sessions)
{
    for (uint32_t m = 0; m < sessions->measure_count; m++) {
        switch ((enum session_measure)sessions->measures[m]) {
        case SESSION_MEDIAN_MS:
        case SESSION_P90_MS:
        case SESSION_P95_MS:
        case SESSION_P99_MS: return true;
        default: break;
        }
    }
    return false;
}

enum err_code verb_sessions(struct query_run_ctx *run, struct result *result, struct err *err)
{
    CLEANUP(run_tasks_free) struct run_tasks tasks = {0};
    const struct bound_query *query = run->query;
    struct sessions_plan plan = {.has_percentiles = has_percentiles(&query->sessions)};
    struct walk_spec spec = {.query = query, .subject = query->per};
    struct civil_grid day;
    struct result_col *cols = NULL;

    ERR_TRY(answer_buckets(run, &plan.buckets, err));
    ERR_TRY(session_rule_of(query, &query->sessions.cut, &day, &plan.rule, err));
    if (query->key_count > 0) {
        spec.is_ordered = true; /* the group is that of the first event */
        spec.lanes[spec.lane_count++] =
            (struct walk_lane){.keys = query->keys, .key_count = query->key_count};
    }
    run->verb_plan = &plan;
    ERR_TRY(session_walk_all(run, &spec, &plan.rule, &plan.walk, sessions_task,
                             sizeof(struct sessions_part), &tasks, err));
    if (query->cell != NULL) {
        return ERR_OK; /* the takers have who is asked for */
    }
    ERR_TRY(session_cols(&query->sessions, run->arena, &cols, err));
    struct bucket_ops ops = {
        .item_bytes = sizeof(struct tally),
        .merge = tally_merge,
        .cells = session_cells,
        .cols = cols,
        .col_count = query->sessions.measure_count,
        .part_off = offsetof(struct sessions_part, counts),
    };
    return bucket_answer(run, &tasks, &ops, &plan.buckets, result, err);
}
