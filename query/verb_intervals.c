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
 * Which start an end closes may hang on a chain of starts that were open together, and so on events of any age:
 *
 *     longest           |----------------|
 *     starts and ends   s1            s2 | e1           e2      with s1, e1 closes it and e2 closes s2; of who reads from
 *     read from here                  ^                         s2 on, e1 closes s2, and e2 nothing
 *
 * So events are read from `longest` before the range, and of each subject it is looked at what the starts that were not
 * read could do: take ends to themselves, as long as they are not too old. A subject is settled if the same starts are
 * open when the range begins, whether all such ends go to starts that were not read or none does (what really happened lies between:
 * the open starts are the last so many, and an end that goes to another start makes them more, never fewer). Those who
 * are not settled are walked again, from longer and longer ago, in the end from the first event.
 *
 * `utilisation` divides by the time that the bucket, the range and now have in common, and by the subjects that
 * have a start or end from `longest` before the range to its end. `peak` is found by
 * sweeping over the borders of all subjects' online times.
 *
 * With `by` an interval is of the group of its start. A group is a line of its own: the union of a subject's intervals of
 * that group is online, and the subjects are those with such a start in that time. Intervals that begin add up over
 * groups; time online and people do where no subject is online in two of them.
 */
#include "query/cell_watch.h"
#include "query/journey_measures.h"
#include "query/row_heads.h"

#include "query/grow.h"
#include "query/saturating.h"
#include "storage/base/size.h"

#include <stdlib.h>

#define START_BIT UINT64_C(1)
#define END_BIT   UINT64_C(2)

#define BACK_GROWS 8u /* each time that subjects are walked again */

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
    int64_t seen_ms;        /* who has something from here to to_ms is a subject */
    uint64_t
        back_ms; /* events are read from so long before the range at first; see history_begin */
};

/* What is counted of a group, or of all. */
struct intervals_line {
    struct intervals_count *buckets; /* of each bucket; NULL: nothing yet */
    struct intervals_count all;
    uint64_t subjects, last_subject; /* + 1 */
    struct span *spans;              /* online, of all subjects, clipped */
    uint32_t span_count, span_cap;
    struct span online; /* of the subject at hand, from its intervals so far */
    bool is_online;     /* there is one */
};

/* An interval, and the group of its start. */
struct interval {
    struct span span;
    uint32_t group;
};
struct open_start {
    int64_t time_ms;
    uint32_t group;
};

struct intervals_part {
    bool is_unsettled; /* per KEY: the slot is of no use */
    struct intervals_line all;
    struct groups *groups;        /* NULL: no keys */
    struct intervals_line *lines; /* by group */
    uint32_t line_cap;
    struct cell_watch watch;

    struct interval *scratch; /* intervals of the subject at hand */
    struct open_start *open;  /* its starts that are not closed: [open_begin, open_end) */
    size_t cap;
};

/* A task, and the subject at hand. */
struct intervals_work {
    struct query_run_ctx *run;
    const struct intervals_plan *plan;
    struct intervals_part *part;
    struct arena *arena;
    uint32_t subject;
    int64_t read_ms; /* events are read from here on; INT64_MIN: all */
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
                         struct open_start start, size_t *count)
{
    if (start.time_ms < query->now_ms &&
        is_within(start.time_ms, query->now_ms, query->intervals.longest_ms)) {
        part->scratch[(*count)++] = (struct interval){{start.time_ms, query->now_ms}, start.group};
    }
}

/* Where a subject's starts and ends have been paired up to. */
struct pairing {
    size_t open_begin, open_end; /* of the part's open starts */
    size_t count;                /* intervals in the scratch */
};

/* What is too old at `now_ms` for an end. */
static void drop_old(const struct bound_query *query, struct intervals_part *part, int64_t now_ms,
                     struct pairing *pairing)
{
    while (
        pairing->open_begin < pairing->open_end &&
        !is_within(part->open[pairing->open_begin].time_ms, now_ms, query->intervals.longest_ms)) {
        add_unclosed(query, part, part->open[pairing->open_begin++], &pairing->count);
    }
}

/* Pair up what is before `until_ms`: intervals, by their begins, into the scratch. Ends before `ends_from_ms` go to starts that
 * were not read. */
static struct pairing pair_until(const struct bound_query *query, const struct journey *journey,
                                 int64_t ends_from_ms, int64_t until_ms,
                                 struct intervals_part *part)
{
    struct pairing pairing = {0};
    for (size_t i = 0; i < journey->count && journey->times[i] < until_ms;) {
        int64_t now_ms = journey->times[i];
        size_t end = i;
        for (; end < journey->count && journey->times[end] == now_ms; end++) {
            if ((journey->masks[end] & START_BIT) != 0) {
                part->open[pairing.open_end++] =
                    (struct open_start){now_ms, part->groups == NULL ? 0 : journey->lanes[0][end]};
            }
        }
        drop_old(query, part, now_ms, &pairing);
        for (; i < end; i++) {
            if ((journey->masks[i] & END_BIT) != 0 && now_ms >= ends_from_ms &&
                pairing.open_begin < pairing.open_end) {
                struct open_start start = part->open[pairing.open_begin++];
                part->scratch[pairing.count++] =
                    (struct interval){{start.time_ms, now_ms}, start.group};
            }
        }
    }
    return pairing;
}

/* The subject's intervals, by their begins, into the scratch. */
static size_t pair_up(const struct bound_query *query, const struct journey *journey,
                      struct intervals_part *part)
{
    struct pairing pairing = pair_until(query, journey, INT64_MIN, INT64_MAX, part);
    while (pairing.open_begin < pairing.open_end) {
        add_unclosed(query, part, part->open[pairing.open_begin++], &pairing.count);
    }
    return pairing.count;
}

/* How many of the starts before the range are no longer open when it begins. */
static size_t gone_before_range(const struct bound_query *query, const struct journey *journey,
                                int64_t ends_from_ms, struct intervals_part *part)
{
    struct pairing pairing = pair_until(query, journey, ends_from_ms, query->from_ms, part);
    drop_old(query, part, query->from_ms, &pairing);
    return pairing.open_begin;
}

/* Whether what was not read makes no difference within the range. */
static bool is_settled(const struct bound_query *query, const struct journey *journey,
                       int64_t read_ms, struct intervals_part *part)
{
    if (read_ms == INT64_MIN || journey->times[0] >= query->from_ms) {
        return true;
    }
    int64_t ends_from_ms = ms_add_saturating(read_ms, query->intervals.longest_ms);
    return gone_before_range(query, journey, INT64_MIN, part) ==
           gone_before_range(query, journey, ends_from_ms, part);
}

/* ---- a line ---- */

static void count_online(const struct intervals_plan *plan, struct intervals_line *line,
                         struct span span, uint64_t subject)
{
    const struct answer_buckets *buckets = &plan->buckets;
    uint32_t b = answer_bucket_of(buckets, span.begin_ms);

    line->all.online_ms += (uint64_t)span.end_ms - (uint64_t)span.begin_ms;
    line->all.users += line->all.last_subject != subject + 1;
    line->all.last_subject = subject + 1;
    for (; b < buckets->count && buckets->begins[b] < span.end_ms; b++) {
        struct intervals_count *count = &line->buckets[b];
        int64_t begin_ms = MAX_OF(span.begin_ms, buckets->begins[b]);
        int64_t end_ms = MIN_OF(span.end_ms, buckets->begins[b + 1]);
        count->online_ms += (uint64_t)end_ms - (uint64_t)begin_ms;
        count->users += count->last_subject != subject + 1;
        count->last_subject = subject + 1;
    }
}

/* Whether people are shown to the taker where they are counted in this line. */
static bool is_watched(const struct intervals_part *part, const struct intervals_line *line)
{
    return part->watch.taker != NULL && (part->groups == NULL) == (line == &part->all);
}

/* The subject was online in `span`, which is not yet clipped. */
static enum err_code add_span(struct intervals_work *work, struct intervals_line *line,
                              uint32_t group, struct span span, struct err *err)
{
    const struct intervals_plan *plan = work->plan;
    struct intervals_part *part = work->part;
    span.begin_ms = MAX_OF(span.begin_ms, plan->from_ms);
    span.end_ms = MIN_OF(span.end_ms, plan->to_ms);
    if (span.begin_ms >= span.end_ms) {
        return ERR_OK;
    }
    count_online(plan, line, span, work->subject);
    ERR_TRY(GROW(work->arena, &line->spans, line->span_count, &line->span_cap, err));
    line->spans[line->span_count++] = span;
    return is_watched(part, line) && cell_watch_meets(&part->watch, span.begin_ms, span.end_ms)
               ? cell_watch_take(&part->watch, group, work->subject, err)
               : ERR_OK;
}

/* The subject's next interval of the line; they come in the order of their begins. */
static enum err_code line_add(struct intervals_work *work, struct intervals_line *line,
                              const struct interval *interval, struct err *err)
{
    const struct intervals_plan *plan = work->plan;
    struct span span = interval->span;
    if (span.begin_ms >= plan->from_ms && span.begin_ms < plan->to_ms) {
        line->all.intervals++;
        line->buckets[answer_bucket_of(&plan->buckets, span.begin_ms)].intervals++;
    }
    if (line->is_online && span.begin_ms <= line->online.end_ms) {
        line->online.end_ms = MAX_OF(line->online.end_ms, span.end_ms);
        return ERR_OK;
    }
    if (line->is_online) {
        ERR_TRY(add_span(work, line, interval->group, line->online, err));
    }
    line->online = span;
    line->is_online = true;
    return ERR_OK;
}

static enum err_code line_end(struct intervals_work *work, struct intervals_line *line,
                              uint32_t group, struct err *err)
{
    bool is_online = line->is_online;
    line->is_online = false;
    return is_online ? add_span(work, line, group, line->online, err) : ERR_OK;
}

static enum err_code line_init(const struct intervals_plan *plan, struct intervals_line *line,
                               struct arena *arena, struct err *err)
{
    return line->buckets != NULL ? ERR_OK
                                 : ARENA_NEW(arena, plan->buckets.count, &line->buckets, err);
}

static enum err_code line_of(struct intervals_work *work, uint32_t group,
                             struct intervals_line **ret, struct err *err)
{
    struct intervals_part *part = work->part;
    if (group >= part->line_cap) {
        uint32_t cap = MAX_OF(2 * part->line_cap, group + 16);
        struct intervals_line *lines = NULL;
        ERR_TRY(ARENA_NEW(work->arena, cap, &lines, err));
        if (part->line_cap > 0) {
            memcpy(lines, part->lines, part->line_cap * sizeof(*lines));
        }
        part->lines = lines;
        part->line_cap = cap;
    }
    *ret = &part->lines[group];
    return line_init(work->plan, *ret, work->arena, err);
}

static bool is_seen(const struct intervals_plan *plan, int64_t time_ms)
{
    return time_ms >= plan->seen_ms && time_ms < plan->to_ms;
}

static bool has_seen(const struct intervals_plan *plan, const struct journey *journey)
{
    size_t i = 0;
    while (i < journey->count && journey->times[i] < plan->seen_ms) {
        i++;
    }
    return i < journey->count && is_seen(plan, journey->times[i]);
}

/* The groups that the subject has a start of. */
static enum err_code count_groups(struct intervals_work *work, const struct journey *journey,
                                  struct err *err)
{
    uint64_t subject = journey->subject;
    for (size_t i = 0; i < journey->count; i++) {
        struct intervals_line *line = NULL;
        if ((journey->masks[i] & START_BIT) == 0 || !is_seen(work->plan, journey->times[i])) {
            continue;
        }
        ERR_TRY(line_of(work, journey->lanes[0][i], &line, err));
        line->subjects += line->last_subject != subject + 1;
        line->last_subject = subject + 1;
    }
    return ERR_OK;
}

static enum err_code count_subject(struct intervals_work *work, const struct journey *journey,
                                   struct err *err)
{
    struct intervals_part *part = work->part;
    struct intervals_line *line = NULL;
    size_t first = 0;

    work->subject = journey->subject;
    size_t count = pair_up(work->run->query, journey, part);
    part->all.subjects += has_seen(work->plan, journey);
    while (first < count && part->scratch[first].span.begin_ms < work->plan->seen_ms) {
        first++; /* over before the range */
    }
    for (size_t i = first; i < count; i++) {
        ERR_TRY(line_add(work, &part->all, &part->scratch[i], err));
    }
    ERR_TRY(line_end(work, &part->all, 0, err));
    if (part->groups == NULL) {
        return ERR_OK;
    }
    ERR_TRY(count_groups(work, journey, err));
    while (count > first && part->scratch[count - 1].span.begin_ms >= work->plan->to_ms) {
        count--; /* of no bucket, and perhaps of a group that has none */
    }
    for (size_t i = first; i < count; i++) {
        ERR_TRY(line_of(work, part->scratch[i].group, &line, err));
        ERR_TRY(line_add(work, line, &part->scratch[i], err));
    }
    for (size_t i = first; i < count; i++) {
        ERR_TRY(line_end(work, &part->lines[part->scratch[i].group], part->scratch[i].group, err));
    }
    return ERR_OK;
}

/* ---- a task ---- */

/* From where on events are read, `back_ms` before the range; INT64_MIN where that is all there is. */
static int64_t history_begin(const struct query_run_ctx *run, uint64_t back_ms)
{
    int64_t read_ms = ms_sub_saturating(run->query->from_ms, back_ms);
    return run_is_reference(run) || read_ms <= run->snapshot->time_min_ms ? INT64_MIN : read_ms;
}

static uint64_t further_back(uint64_t back_ms)
{
    /* `longest` may be 0 */
    return back_ms > UINT64_MAX / BACK_GROWS ? UINT64_MAX : MAX_OF(back_ms, 1u) * BACK_GROWS;
}

/* Count all that are settled. The others are put into `left`; per KEY (NULL) the first one ends the walk. */
static enum err_code count_settled(struct intervals_work *work, struct walk *walk,
                                   const struct walk_subjects *left, bool *ret_has_left,
                                   struct err *err)
{
    struct journey journey;
    bool has_more = false;

    *ret_has_left = false;
    ERR_TRY(walk_next(walk, &journey, &has_more, err));
    while (has_more) {
        ERR_TRY(scratch_fit(work->part, journey.count, work->arena, err));
        if (is_settled(work->run->query, &journey, work->read_ms, work->part)) {
            ERR_TRY(count_subject(work, &journey, err));
        } else {
            *ret_has_left = true;
            if (left == NULL) {
                return ERR_OK;
            }
            walk_subjects_add(left, journey.subject);
        }
        ERR_TRY(walk_next(walk, &journey, &has_more, err));
    }
    return ERR_OK;
}

/* Walk on over those that are left, each time from further back. */
static enum err_code count_by_user(struct intervals_work *work, struct walk *walk, struct err *err)
{
    uint64_t back_ms = work->plan->back_ms;
    struct walk_subjects left = {0};
    struct walk_subjects again = {0};
    bool has_left = false;

    ERR_TRY(walk_subjects_make(walk, &left, err));
    ERR_TRY(walk_subjects_make(walk, &again, err));
    ERR_TRY(count_settled(work, walk, &left, &has_left, err));
    while (has_left) {
        struct walk_subjects swap = again;
        again = left;
        left = swap;
        memset(left.words, 0, left.word_count * sizeof(*left.words));
        ASSERT(work->read_ms != INT64_MIN);
        back_ms = further_back(back_ms);
        work->read_ms = history_begin(work->run, back_ms);
        ERR_TRY(walk_again(walk, &again, work->read_ms, err));
        ERR_TRY(count_settled(work, walk, &left, &has_left, err));
    }
    return ERR_OK;
}

static enum err_code intervals_task(struct query_run_ctx *run, struct walk *walk,
                                    struct arena *arena, void *slot, struct err *err)
{
    const struct intervals_plan *plan = run->verb_plan;
    struct intervals_part *part = slot;
    struct intervals_work work = {.run = run,
                                  .plan = plan,
                                  .part = part,
                                  .arena = arena,
                                  .read_ms = history_begin(run, plan->back_ms)};

    part->groups = run->query->key_count == 0 ? NULL : walk_groups(walk, 0);
    ERR_TRY(line_init(plan, &part->all, arena, err));
    if (run->query->per != NULL) {
        return count_settled(&work, walk, NULL, &part->is_unsettled, err);
    }
    ERR_TRY(
        cell_watch_open(run, walk_shard(walk), &plan->buckets, part->groups, &part->watch, err));
    return count_by_user(&work, walk, err);
}

/* ---- the answer ---- */

struct border {
    int64_t time_ms;
    int32_t change; /* +1 or -1 */
};

/* A line of all tasks. */
struct merged_line {
    struct intervals_count *buckets;
    struct intervals_count all;
    uint64_t *peaks; /* of each bucket */
    uint64_t peak;
    uint64_t subjects;
    struct border *borders; /* by time; of one instant, ends come first */
    uint64_t border_count, border_cap;
};

struct intervals_merge {
    const struct intervals_plan *plan;
    int64_t now_ms;
    struct merged_line all;
    struct groups *groups;
    struct merged_line *lines; /* by group; without keys none */
    uint32_t line_count, line_cap;
    uint32_t *shown; /* groups, in the order of the rows */
    uint32_t shown_count;
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

static enum err_code merged_init(const struct intervals_merge *m, struct merged_line *line,
                                 struct arena *arena, struct err *err)
{
    if (line->buckets == NULL) {
        ERR_TRY(ARENA_NEW(arena, m->plan->buckets.count, &line->buckets, err));
        ERR_TRY(ARENA_NEW(arena, m->plan->buckets.count, &line->peaks, err));
    }
    return ERR_OK;
}

/* Add what a task counted; its spans only once there is room for them. */
static void line_merge(const struct intervals_merge *m, struct merged_line *into,
                       const struct intervals_line *from)
{
    for (uint32_t b = 0; b < m->plan->buckets.count; b++) {
        count_merge(&into->buckets[b], &from->buckets[b]);
    }
    count_merge(&into->all, &from->all);
    into->subjects += from->subjects;
    into->border_cap += 2 * (uint64_t)from->span_count;
}

static void borders_merge(struct merged_line *into, const struct intervals_line *from)
{
    for (uint32_t i = 0; i < from->span_count; i++) {
        into->borders[into->border_count++] = (struct border){from->spans[i].begin_ms, 1};
        into->borders[into->border_count++] = (struct border){from->spans[i].end_ms, -1};
    }
}

/* The line of a task's group. */
static enum err_code merged_of(struct query_run_ctx *run, struct intervals_merge *m,
                               const struct intervals_part *part, uint32_t group,
                               struct merged_line **ret, struct err *err)
{
    uint32_t number = 0;
    ERR_TRY(groups_import(m->groups, part->groups, group, &number, err));
    ERR_TRY(GROW(run->arena, &m->lines, number, &m->line_cap, err));
    *ret = &m->lines[number];
    return merged_init(m, *ret, run->arena, err);
}

static enum err_code merge_parts(struct query_run_ctx *run, const struct run_tasks *tasks,
                                 struct intervals_merge *m, struct err *err)
{
    const struct intervals_part *parts = tasks->slots;
    struct merged_line *line = NULL;

    ERR_TRY(groups_create(run->query, run->arena, &m->groups, err));
    ERR_TRY(merged_init(m, &m->all, run->arena, err));
    for (uint32_t t = 0; t < tasks->count; t++) {
        ERR_TRY(run_check(run, err));
        line_merge(m, &m->all, &parts[t].all);
        for (uint32_t g = 0; g < parts[t].line_cap; g++) {
            if (parts[t].lines[g].buckets != NULL) {
                ERR_TRY(merged_of(run, m, &parts[t], g, &line, err));
                line_merge(m, line, &parts[t].lines[g]);
            }
        }
    }
    m->line_count = run->query->key_count == 0 ? 0 : groups_count(m->groups);
    ERR_TRY(ARENA_NEW(run->arena, m->all.border_cap, &m->all.borders, err));
    for (uint32_t g = 0; g < m->line_count; g++) {
        ERR_TRY(ARENA_NEW(run->arena, m->lines[g].border_cap, &m->lines[g].borders, err));
    }
    for (uint32_t t = 0; t < tasks->count; t++) {
        borders_merge(&m->all, &parts[t].all);
        for (uint32_t g = 0; g < parts[t].line_cap; g++) {
            if (parts[t].lines[g].buckets != NULL) {
                ERR_TRY(merged_of(run, m, &parts[t], g, &line, err));
                borders_merge(line, &parts[t].lines[g]);
            }
        }
    }
    return ERR_OK;
}

/* How many were online at most, in each bucket: what it begins with, and after each start inside of it. */
static void sweep(const struct answer_buckets *buckets, struct merged_line *line)
{
    uint64_t online = 0;
    uint64_t at = 0;

    qsort(line->borders, line->border_count, sizeof(*line->borders), by_time);
    for (uint32_t b = 0; b < buckets->count; b++) {
        while (at < line->border_count && line->borders[at].change < 0 &&
               line->borders[at].time_ms <= buckets->begins[b]) {
            online--; /* who leaves as the bucket begins is not in it */
            at++;
        }
        line->peaks[b] = online;
        for (; at < line->border_count && line->borders[at].time_ms < buckets->begins[b + 1];
             at++) {
            online = line->borders[at].change > 0 ? online + 1 : online - 1;
            line->peaks[b] = MAX_OF(line->peaks[b], online);
        }
        line->peak = MAX_OF(line->peak, line->peaks[b]);
    }
}

/* Time that [begin, end), the range and the past have in common. Open ends are those of what was online in any group. */
static uint64_t length_ms(const struct intervals_merge *m, int64_t begin_ms, int64_t end_ms)
{
    const struct answer_buckets *buckets = &m->plan->buckets;
    const struct merged_line *all = &m->all;
    bool has_any = all->border_count > 0;
    int64_t from_ms = buckets->has_from || !has_any ? m->plan->from_ms : all->borders[0].time_ms;
    int64_t to_ms =
        buckets->has_to || !has_any ? m->plan->to_ms : all->borders[all->border_count - 1].time_ms;
    begin_ms = MAX_OF(begin_ms, from_ms);
    end_ms = MIN_OF(MIN_OF(end_ms, to_ms), m->now_ms);
    return begin_ms < end_ms ? (uint64_t)end_ms - (uint64_t)begin_ms : 0;
}

static struct cell utilisation_cell(unsigned __int128 online_ms, uint64_t length, uint64_t subjects)
{
    if (length == 0 || subjects == 0) {
        return (struct cell){.kind = CELL_NULL};
    }
    double share = (double)online_ms / ((double)length * (double)subjects);
    return (struct cell){.kind = CELL_F64, .f64 = share};
}

/* The measures of a line in a bucket, which is `length` long, or in all of the range. */
static void measure_cells(const struct bound_query *query, const struct intervals_count *count,
                          uint64_t peak, uint64_t length, uint64_t subjects, struct cell *out)
{
    for (uint32_t i = 0; i < query->intervals.measure_count; i++) {
        switch ((enum interval_measure)query->intervals.measures[i]) {
        case INTERVAL_UTILISATION:
            out[i] = utilisation_cell(count->online_ms, length, subjects);
            break;
        case INTERVAL_PEAK: out[i] = answer_count_cell(peak); break;
        case INTERVAL_ONLINE_MS: out[i] = answer_sum_cell(count->online_ms); break;
        case INTERVAL_USERS: out[i] = answer_count_cell(count->users); break;
        case INTERVAL_COUNT: out[i] = answer_count_cell(count->intervals); break;
        case INTERVAL_MEASURES: break;
        }
    }
}

static void all_cells(const struct bound_query *query, const struct intervals_merge *m,
                      const struct merged_line *line, struct cell *out)
{
    measure_cells(query, &line->all, line->peak, length_ms(m, INT64_MIN, INT64_MAX), line->subjects,
                  out);
}

/* ---- what is shown ---- */

struct ranked_line {
    uint32_t group;
    struct cell value;
};

static int by_value(const void *a, const void *b, void *groups)
{
    const struct ranked_line *x = a;
    const struct ranked_line *y = b;
    int order = cell_cmp(&y->value, &x->value);
    return order != 0 ? order : groups_cmp(groups, x->group, y->group);
}

static int by_group(const void *a, const void *b, void *groups)
{
    return groups_cmp(groups, *(const uint32_t *)a, *(const uint32_t *)b);
}

/* All groups, or with `top N` those with the most of the first measure over the range. */
static enum err_code choose_lines(struct query_run_ctx *run, struct intervals_merge *m,
                                  struct err *err)
{
    const struct bound_query *query = run->query;
    struct ranked_line *ranked = NULL;
    struct cell cells[INTERVAL_MEASURES];

    m->shown_count = query->has_top ? MIN_OF(query->top, m->line_count) : m->line_count;
    ERR_TRY(ARENA_NEW(run->arena, m->line_count, &ranked, err));
    ERR_TRY(ARENA_NEW(run->arena, m->line_count, &m->shown, err));
    for (uint32_t g = 0; g < m->line_count; g++) {
        all_cells(query, m, &m->lines[g], cells);
        ranked[g] = (struct ranked_line){g, cells[0]};
    }
    if (m->shown_count < m->line_count) {
        qsort_r(ranked, m->line_count, sizeof(*ranked), by_value, m->groups);
    }
    for (uint32_t i = 0; i < m->shown_count; i++) {
        m->shown[i] = ranked[i].group;
    }
    qsort_r(m->shown, m->shown_count, sizeof(*m->shown), by_group, m->groups);
    return ERR_OK;
}

static enum err_code make_columns(const struct bound_query *query, struct result *result,
                                  struct err *err)
{
    struct result_col cols[INTERVAL_MEASURES];
    for (uint32_t i = 0; i < query->intervals.measure_count; i++) {
        enum interval_measure measure = (enum interval_measure)query->intervals.measures[i];
        bool is_whole = measure != INTERVAL_UTILISATION && measure != INTERVAL_ONLINE_MS;
        cols[i] = (struct result_col){str_of(interval_measure_words[measure]),
                                      is_whole ? RESULT_INT64 : RESULT_NUMBER};
    }
    return row_head_cols(query, cols, query->intervals.measure_count, result, err);
}

/* An open end of the range shows buckets from the first to the last in which something was online or began. */
static void trim(const struct intervals_merge *m, uint32_t *ret_begin, uint32_t *ret_end)
{
    const struct answer_buckets *buckets = &m->plan->buckets;
    uint32_t first = buckets->count;
    uint32_t end = 0;
    for (uint32_t b = 0; b < buckets->count; b++) {
        if (m->all.buckets[b].users > 0 || m->all.buckets[b].intervals > 0) {
            first = MIN_OF(first, b);
            end = b + 1;
        }
    }
    *ret_end = buckets->has_to ? buckets->count : end;
    *ret_begin = buckets->has_from ? 0 : MIN_OF(first, *ret_end);
}

static enum err_code put_row(const struct bound_query *query, const struct intervals_merge *m,
                             uint32_t bucket, const struct merged_line *line, uint32_t group,
                             struct arena *arena, struct cell *out, struct err *err)
{
    const struct answer_buckets *buckets = &m->plan->buckets;
    if (query->has_each) {
        ERR_TRY(answer_bucket_cell(query, buckets->begins[bucket], arena, out++, err));
    }
    ERR_TRY(answer_key_cells(m->groups, query->key_count, group, false, arena, out, err));
    measure_cells(query, &line->buckets[bucket], line->peaks[bucket],
                  length_ms(m, buckets->begins[bucket], buckets->begins[bucket + 1]),
                  line->subjects, out + query->key_count);
    return ERR_OK;
}

static enum err_code put_rows(struct query_run_ctx *run, const struct intervals_merge *m,
                              struct result *result, struct err *err)
{
    const struct bound_query *query = run->query;
    struct cell *cells = NULL;
    uint32_t begin = 0;
    uint32_t end = m->plan->buckets.count;
    uint32_t lines = query->key_count == 0 ? 1 : m->shown_count;

    if (query->has_each) {
        trim(m, &begin, &end);
    }
    ERR_TRY(run_result_rows(run, result, (uint64_t)(end - begin) * lines, &cells, err));
    for (uint32_t b = begin; b < end; b++) {
        ERR_TRY(run_check(run, err));
        for (uint32_t i = 0; i < lines; i++, cells += result->col_count) {
            uint32_t group = query->key_count == 0 ? 0 : m->shown[i];
            const struct merged_line *line = query->key_count == 0 ? &m->all : &m->lines[group];
            ERR_TRY(put_row(query, m, b, line, group, result->arena, cells, err));
        }
    }
    answer_left_out(result, (uint64_t)(end - begin) * (m->line_count - m->shown_count));
    return ERR_OK;
}

static enum err_code make_answer(struct query_run_ctx *run, const struct run_tasks *tasks,
                                 const struct intervals_plan *plan, struct result *result,
                                 struct err *err)
{
    const struct bound_query *query = run->query;
    struct intervals_merge m = {.plan = plan, .now_ms = query->now_ms};

    ERR_TRY(merge_parts(run, tasks, &m, err));
    sweep(&plan->buckets, &m.all);
    for (uint32_t g = 0; g < m.line_count; g++) {
        sweep(&plan->buckets, &m.lines[g]);
    }
    ERR_TRY(choose_lines(run, &m, err));
    ERR_TRY(make_columns(query, result, err));
    ERR_TRY(put_rows(run, &m, result, err));
    ERR_TRY(ARENA_NEW(result->arena, result->col_count, &result->totals, err));
    all_cells(query, &m, &m.all, result->totals + row_head_width(query));
    return ERR_OK;
}

static bool has_unsettled(const struct run_tasks *tasks)
{
    const struct intervals_part *parts = tasks->slots;
    for (uint32_t t = 0; t < tasks->count; t++) {
        if (parts[t].is_unsettled) {
            return true;
        }
    }
    return false;
}

/* Per KEY rows are dealt out anew for each walk, so that all are walked again. */
static enum err_code walk_parts(struct query_run_ctx *run, struct walk_spec *spec,
                                struct intervals_plan *plan, struct run_tasks *ret, struct err *err)
{
    const struct bound_query *query = run->query;
    struct scan_want wants[2]; /* the first selector is the start, the second the end */

    spec->wants = wants;
    spec->want_count = COUNT_OF(wants);
    run->verb_plan = plan;
    while (true) {
        for (uint32_t i = 0; i < COUNT_OF(wants); i++) {
            wants[i] =
                (struct scan_want){i, history_begin(run, plan->back_ms),
                                   ms_add_saturating(query->to_ms, query->intervals.longest_ms)};
        }
        ERR_TRY(walk_all(run, spec, intervals_task, sizeof(struct intervals_part), ret, err));
        if (!has_unsettled(ret)) {
            return ERR_OK;
        }
        run_tasks_free(ret);
        plan->back_ms = further_back(plan->back_ms);
    }
}

enum err_code verb_intervals(struct query_run_ctx *run, struct result *result, struct err *err)
{
    CLEANUP(run_tasks_free) struct run_tasks tasks = {0};
    const struct bound_query *query = run->query;
    uint64_t longest_ms = query->intervals.longest_ms;
    struct walk_spec spec = {.query = query,
                             .subject = query->per,
                             .is_ordered = query->key_count > 0}; /* which start an end closes */
    /* A KEY of which all is over within `longest` (a session) is settled if twice that is read. */
    struct intervals_plan plan = {
        .from_ms = query->from_ms,
        .to_ms = query->to_ms,
        .seen_ms = ms_sub_saturating(query->from_ms, longest_ms),
        .back_ms = query->per == NULL ? longest_ms : span_add_saturating(longest_ms, longest_ms),
    };

    ERR_TRY(answer_buckets(run, &plan.buckets, err));
    if (query->has_each) {
        /* Nothing is counted beyond the buckets there are: of an open range, those of the data. */
        plan.from_ms = MAX_OF(plan.from_ms, plan.buckets.begins[0]);
        plan.to_ms = MIN_OF(plan.to_ms, plan.buckets.begins[plan.buckets.count]);
    }
    if (query->key_count > 0) {
        spec.lanes[spec.lane_count++] =
            (struct walk_lane){.keys = query->keys, .key_count = query->key_count};
    }
    ERR_TRY(walk_parts(run, &spec, &plan, &tasks, err));
    if (query->cell != NULL) {
        return ERR_OK; /* the takers have who is asked for */
    }
    return make_answer(run, &tasks, &plan, result, err);
}
