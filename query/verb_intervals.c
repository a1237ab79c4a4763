/* query/verb_intervals.c - the intervals verb.
 *
 *     starts and ends     s1    s2       e    e              of one subject; the k-th start that is still open
 *     intervals           [s1 ........... e)                 is closed by the next end
 *                               [s2 .......... e)
 *     online              [s1 ................ e)            their union, clipped to buckets
 *
 * A start that no end closes within `longest` was lost: it counts for nothing. One that is not that old yet at the
 * query's `now` runs until then. Of one instant starts come first.
 *
 * `utilisation` divides by the time that the bucket, the range and now have in common, and by the subjects that
 * have a start or end in what is read: from `longest` before the range to its end. `peak` is found by
 * sweeping over the borders of all subjects' online times.
 */
#include "query/answer_journeys.h"
#include "query/journey_measures.h"

#include "query/grow.h"
#include "query/saturating.h"
#include "storage/base/size.h"

#include <stdlib.h>

#define START_BIT UINT64_C(1)
#define END_BIT   UINT64_C(2)

struct span {
    int64_t begin_ms, end_ms; /* [begin, end) */
};

struct intervals_count {
    unsigned __int128 online_ms;
    uint64_t users, intervals;
    uint64_t last_subject; /* + 1 */
};

struct intervals_plan {
    struct answer_buckets buckets;
    int64_t from_ms, to_ms; /* online time is clipped to these */
};

struct intervals_part {
    struct intervals_count *buckets; /* of each bucket */
    struct intervals_count all;
    uint64_t subjects;
    struct span *spans; /* online, of all subjects, clipped */
    uint32_t span_count, span_cap;

    struct span *scratch; /* intervals of the subject at hand */
    int64_t *open;        /* its starts that are not closed: [open_begin, open_end) */
    size_t cap;
};

/* ---- a subject ---- */

static enum err_code scratch_fit(struct intervals_part *part, size_t count, struct arena *arena,
                                 struct err *err)
{
    if (part->cap >= count) {
        return ERR_OK;
    }
    size_t cap = MAX_OF(count, 2 * part->cap);
    ERR_TRY(ARENA_NEW(arena, cap, &part->scratch, err));
    ERR_TRY(ARENA_NEW(arena, cap, &part->open, err));
    part->cap = cap;
    return ERR_OK;
}

static bool is_within(int64_t begin_ms, int64_t end_ms, uint64_t longest_ms)
{
    return (uint64_t)end_ms - (uint64_t)begin_ms <= longest_ms;
}

/* A start that nothing closes: it still runs, or it was lost. */
static void add_unclosed(const struct bound_query *query, struct intervals_part *part,
                         int64_t begin_ms, size_t *count)
{
    if (begin_ms < query->now_ms &&
        is_within(begin_ms, query->now_ms, query->intervals.longest_ms)) {
        part->scratch[(*count)++] = (struct span){begin_ms, query->now_ms};
    }
}

/* The subject's intervals, by their begins, into the scratch. */
static size_t pair_up(const struct bound_query *query, const struct journey *journey,
                      struct intervals_part *part)
{
    uint64_t longest_ms = query->intervals.longest_ms;
    size_t open_begin = 0;
    size_t open_end = 0;
    size_t count = 0;

    for (size_t i = 0; i < journey->count;) {
        int64_t now_ms = journey->times[i];
        size_t end = i;
        for (; end < journey->count && journey->times[end] == now_ms; end++) {
            if ((journey->masks[end] & START_BIT) != 0) {
                part->open[open_end++] = now_ms;
            }
        }
        for (; i < end; i++) {
            while (open_begin < open_end &&
                   !is_within(part->open[open_begin], now_ms, longest_ms)) {
                add_unclosed(query, part, part->open[open_begin++], &count);
            }
            if ((journey->masks[i] & END_BIT) != 0 && open_begin < open_end) {
                part->scratch[count++] = (struct span){part->open[open_begin++], now_ms};
            }
        }
    }
    while (open_begin < open_end) {
        add_unclosed(query, part, part->open[open_begin++], &count);
    }
    return count;
}

static void count_online(const struct intervals_plan *plan, struct intervals_part *part,
                         struct span span, uint64_t subject)
{
    const struct answer_buckets *buckets = &plan->buckets;
    uint32_t b = answer_bucket_of(buckets, span.begin_ms);

    part->all.online_ms += (uint64_t)span.end_ms - (uint64_t)span.begin_ms;
    part->all.users += part->all.last_subject != subject + 1;
    part->all.last_subject = subject + 1;
    for (; b < buckets->count && buckets->begins[b] < span.end_ms; b++) {
        struct intervals_count *count = &part->buckets[b];
        int64_t begin_ms = MAX_OF(span.begin_ms, buckets->begins[b]);
        int64_t end_ms = MIN_OF(span.end_ms, buckets->begins[b + 1]);
        count->online_ms += (uint64_t)end_ms - (uint64_t)begin_ms;
        count->users += count->last_subject != subject + 1;
        count->last_subject = subject + 1;
    }
}

/* A span of online time, not yet clipped. */
static enum err_code add_span(const struct intervals_plan *plan, struct intervals_part *part,
                              struct span span, uint64_t subject, struct arena *arena,
                              struct err *err)
{
    span.begin_ms = MAX_OF(span.begin_ms, plan->from_ms);
    span.end_ms = MIN_OF(span.end_ms, plan->to_ms);
    if (span.begin_ms >= span.end_ms) {
        return ERR_OK;
    }
    count_online(plan, part, span, subject);
    ERR_TRY(GROW(arena, &part->spans, part->span_count, &part->span_cap, err));
    part->spans[part->span_count++] = span;
    return ERR_OK;
}

static enum err_code count_subject(struct query_run_ctx *run, struct intervals_part *part,
                                   const struct journey *journey, struct arena *arena,
                                   struct err *err)
{
    const struct intervals_plan *plan = run->verb_plan;
    uint64_t subject = journey->subject;
    struct span online = {0};

    ERR_TRY(scratch_fit(part, journey->count, arena, err));
    size_t count = pair_up(run->query, journey, part);
    part->subjects += journey->times[0] < plan->to_ms;
    for (size_t i = 0; i < count; i++) {
        struct span span = part->scratch[i];
        if (span.begin_ms >= plan->from_ms && span.begin_ms < plan->to_ms) {
            part->all.intervals++;
            part->buckets[answer_bucket_of(&plan->buckets, span.begin_ms)].intervals++;
        }
        if (i > 0 && span.begin_ms <= online.end_ms) {
            online.end_ms = MAX_OF(online.end_ms, span.end_ms);
            continue;
        }
        if (i > 0) {
            ERR_TRY(add_span(plan, part, online, subject, arena, err));
        }
        online = span;
    }
    return count > 0 ? add_span(plan, part, online, subject, arena, err) : ERR_OK;
}

static enum err_code intervals_task(struct query_run_ctx *run, struct walk *walk,
                                    struct arena *arena, void *slot, struct err *err)
{
    const struct intervals_plan *plan = run->verb_plan;
    struct intervals_part *part = slot;
    struct journey journey;
    bool has_more = false;

    ERR_TRY(ARENA_NEW(arena, plan->buckets.count, &part->buckets, err));
    ERR_TRY(walk_next(walk, &journey, &has_more, err));
    while (has_more) {
        ERR_TRY(count_subject(run, part, &journey, arena, err));
        ERR_TRY(walk_next(walk, &journey, &has_more, err));
    }
    return ERR_OK;
}

/* ---- the answer ---- */

struct border {
    int64_t time_ms;
    int32_t change; /* +1 or -1 */
};

struct intervals_merge {
    const struct intervals_plan *plan;
    int64_t now_ms;
    struct intervals_count *buckets;
    uint64_t *peaks;
    struct intervals_count all;
    uint64_t peak_all;
    uint64_t subjects;
    struct border *borders; /* by time; of one instant, ends come first */
    uint64_t border_count;
};

static int by_time(const void *a, const void *b)
{
    const struct border *x = a;
    const struct border *y = b;
    if (x->time_ms != y->time_ms) {
        return x->time_ms < y->time_ms ? -1 : 1;
    }
    return (x->change > y->change) - (x->change < y->change);
}

static void count_merge(struct intervals_count *into, const struct intervals_count *from)
{
    into->online_ms += from->online_ms;
    into->users += from->users;
    into->intervals += from->intervals;
}

static enum err_code merge_parts(struct query_run_ctx *run, const struct run_tasks *tasks,
                                 struct intervals_merge *m, struct err *err)
{
    const struct intervals_part *parts = tasks->slots;
    uint32_t bucket_count = m->plan->buckets.count;
    uint64_t spans = 0;

    ERR_TRY(ARENA_NEW(run->arena, bucket_count, &m->buckets, err));
    ERR_TRY(ARENA_NEW(run->arena, bucket_count, &m->peaks, err));
    for (uint32_t t = 0; t < tasks->count; t++) {
        for (uint32_t b = 0; b < bucket_count; b++) {
            count_merge(&m->buckets[b], &parts[t].buckets[b]);
        }
        count_merge(&m->all, &parts[t].all);
        m->subjects += parts[t].subjects;
        spans += parts[t].span_count;
    }
    ERR_TRY(ARENA_NEW(run->arena, 2 * spans, &m->borders, err));
    for (uint32_t t = 0; t < tasks->count; t++) {
        for (uint32_t i = 0; i < parts[t].span_count; i++) {
            m->borders[m->border_count++] = (struct border){parts[t].spans[i].begin_ms, 1};
            m->borders[m->border_count++] = (struct border){parts[t].spans[i].end_ms, -1};
        }
    }
    return ERR_OK;
}

/* How many were online at most, in each bucket: what it begins with, and after each start inside of it. */
static void sweep(struct intervals_merge *m)
{
    const struct answer_buckets *buckets = &m->plan->buckets;
    uint64_t online = 0;
    uint64_t at = 0;

    qsort(m->borders, m->border_count, sizeof(*m->borders), by_time);
    for (uint32_t b = 0; b < buckets->count; b++) {
        while (at < m->border_count && m->borders[at].change < 0 &&
               m->borders[at].time_ms <= buckets->begins[b]) {
            online--; /* who leaves as the bucket begins is not in it */
            at++;
        }
        m->peaks[b] = online;
        for (; at < m->border_count && m->borders[at].time_ms < buckets->begins[b + 1]; at++) {
            online = m->borders[at].change > 0 ? online + 1 : online - 1;
            m->peaks[b] = MAX_OF(m->peaks[b], online);
        }
        m->peak_all = MAX_OF(m->peak_all, m->peaks[b]);
    }
}

/* Time that [begin, end), the range and the past have in common. Open ends are those of what was online. */
static uint64_t length_ms(const struct intervals_merge *m, int64_t begin_ms, int64_t end_ms)
{
    const struct answer_buckets *buckets = &m->plan->buckets;
    bool has_any = m->border_count > 0;
    int64_t from_ms = buckets->has_from || !has_any ? m->plan->from_ms : m->borders[0].time_ms;
    int64_t to_ms =
        buckets->has_to || !has_any ? m->plan->to_ms : m->borders[m->border_count - 1].time_ms;
    begin_ms = MAX_OF(begin_ms, from_ms);
    end_ms = MIN_OF(MIN_OF(end_ms, to_ms), m->now_ms);
    return begin_ms < end_ms ? (uint64_t)end_ms - (uint64_t)begin_ms : 0;
}

static struct cell utilisation_cell(const struct intervals_merge *m, unsigned __int128 online_ms,
                                    uint64_t length)
{
    if (length == 0 || m->subjects == 0) {
        return (struct cell){.kind = CELL_NULL};
    }
    double share = (double)online_ms / ((double)length * (double)m->subjects);
    return (struct cell){.kind = CELL_F64, .f64 = share};
}

static void measure_cells(const struct bound_query *query, const struct intervals_merge *m,
                          const struct intervals_count *count, uint64_t peak, uint64_t length,
                          struct cell *out)
{
    for (uint32_t i = 0; i < query->intervals.measure_count; i++) {
        switch ((enum interval_measure)query->intervals.measures[i]) {
        case INTERVAL_UTILISATION: out[i] = utilisation_cell(m, count->online_ms, length); break;
        case INTERVAL_PEAK: out[i] = answer_count_cell(peak); break;
        case INTERVAL_ONLINE_MS: out[i] = answer_sum_cell(count->online_ms); break;
        case INTERVAL_USERS: out[i] = answer_count_cell(count->users); break;
        case INTERVAL_COUNT: out[i] = answer_count_cell(count->intervals); break;
        case INTERVAL_MEASURES: break;
        }
    }
}

static enum err_code make_columns(const struct bound_query *query, struct result *result,
                                  struct err *err)
{
    struct result_col *cols = NULL;
    uint32_t count = 0;
    ERR_TRY(ARENA_NEW(result->arena, 1 + query->intervals.measure_count, &cols, err));
    if (query->has_each) {
        cols[count++] = answer_bucket_col(query);
    }
    for (uint32_t i = 0; i < query->intervals.measure_count; i++) {
        enum interval_measure measure = (enum interval_measure)query->intervals.measures[i];
        bool is_whole = measure != INTERVAL_UTILISATION && measure != INTERVAL_ONLINE_MS;
        cols[count++] = (struct result_col){str_of(interval_measure_words[measure]),
                                            is_whole ? RESULT_INT64 : RESULT_NUMBER};
    }
    result->cols = cols;
    result->col_count = count;
    return ERR_OK;
}

/* An open end of the range shows buckets from the first to the last in which something was online or began. */
static void trim(const struct intervals_merge *m, uint32_t *ret_begin, uint32_t *ret_end)
{
    const struct answer_buckets *buckets = &m->plan->buckets;
    uint32_t first = buckets->count;
    uint32_t end = 0;
    for (uint32_t b = 0; b < buckets->count; b++) {
        if (m->buckets[b].users > 0 || m->buckets[b].intervals > 0) {
            first = MIN_OF(first, b);
            end = b + 1;
        }
    }
    *ret_end = buckets->has_to ? buckets->count : end;
    *ret_begin = buckets->has_from ? 0 : MIN_OF(first, *ret_end);
}

static enum err_code make_answer(struct query_run_ctx *run, const struct run_tasks *tasks,
                                 const struct intervals_plan *plan, struct result *result,
                                 struct err *err)
{
    const struct bound_query *query = run->query;
    const struct answer_buckets *buckets = &plan->buckets;
    struct intervals_merge m = {.plan = plan, .now_ms = query->now_ms};
    struct cell *cells = NULL;
    uint32_t begin = 0;
    uint32_t end = buckets->count;

    ERR_TRY(merge_parts(run, tasks, &m, err));
    sweep(&m);
    if (query->has_each) {
        trim(&m, &begin, &end);
    }
    ERR_TRY(make_columns(query, result, err));
    ERR_TRY(run_result_rows(run, result, end - begin, &cells, err));
    for (uint32_t b = begin; b < end; b++, cells += result->col_count) {
        if (query->has_each) {
            ERR_TRY(answer_bucket_cell(query, buckets->begins[b], result->arena, cells, err));
        }
        measure_cells(query, &m, &m.buckets[b], m.peaks[b],
                      length_ms(&m, buckets->begins[b], buckets->begins[b + 1]),
                      cells + (query->has_each ? 1 : 0));
    }
    ERR_TRY(ARENA_NEW(result->arena, result->col_count, &result->totals, err));
    measure_cells(query, &m, &m.all, m.peak_all, length_ms(&m, INT64_MIN, INT64_MAX),
                  result->totals + (query->has_each ? 1 : 0));
    return ERR_OK;
}

enum err_code verb_intervals(struct query_run_ctx *run, struct result *result, struct err *err)
{
    CLEANUP(run_tasks_free) struct run_tasks tasks = {0};
    const struct bound_query *query = run->query;
    uint64_t longest_ms = query->intervals.longest_ms;
    int64_t seen_from_ms = ms_sub_saturating(query->from_ms, longest_ms);
    int64_t seen_to_ms = ms_add_saturating(query->to_ms, longest_ms);
    /* The first selector is the start, the second the end. */
    struct scan_want wants[2] = {{0, seen_from_ms, seen_to_ms}, {1, seen_from_ms, seen_to_ms}};
    struct walk_spec spec = {
        .query = query, .wants = wants, .want_count = 2, .subject = query->per};
    struct intervals_plan plan = {.from_ms = query->from_ms, .to_ms = query->to_ms};

    ERR_TRY(answer_buckets(run, &plan.buckets, err));
    if (query->has_each) {
        /* Nothing is counted beyond the buckets there are: of an open range, those of the data. */
        plan.from_ms = MAX_OF(plan.from_ms, plan.buckets.begins[0]);
        plan.to_ms = MIN_OF(plan.to_ms, plan.buckets.begins[plan.buckets.count]);
    }
    run->verb_plan = &plan;
    ERR_TRY(walk_all(run, &spec, intervals_task, sizeof(struct intervals_part), &tasks, err));
    return make_answer(run, &tasks, &plan, result, err);
}
