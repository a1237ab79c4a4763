/* query/first_ever.c - see first_ever.h. */
#include "query/first_ever.h"

#include "query/profile.h"
#include "storage/base/size.h"

#include <stdlib.h>

/* The first event of a selector, by subject. */
struct best {
    int64_t *times; /* INT64_MAX: none */
    uint64_t *masks;
};

struct gathering {
    struct query_run_ctx *run;
    const struct run_task *task;
    const struct first_ask *ask;
    struct arena *arena;
    struct io *io;
    struct bound_query query; /* of the alternatives without filters alone */
    struct best best[QUERY_SELECTORS_MAX];
    uint32_t base, subject_count;
    int64_t border_ms; /* rows from here on, that are no first times, are retained */
    uint64_t source_count, row_count; /* that were read */
};

/* One event of a subject. */
struct found {
    uint32_t subject;
    int64_t time_ms;
    uint64_t row_mask, mask;
};

static int64_t history_max_ms(const struct query_run_ctx *run)
{
    const struct snapshot *snapshot = run->snapshot;
    int64_t max_ms = INT64_MIN;
    for (uint32_t i = 0; i < snapshot->history_count; i++) {
        max_ms = MAX_OF(max_ms, snapshot->history[i]->time_max_ms);
    }
    return max_ms;
}

bool first_ever_is_mixed(const struct query_run_ctx *run)
{
    return run->snapshot->history_count > 0 &&
           history_max_ms(run) >= run->snapshot->expired_before_ms;
}

bool first_ever_is_due(const struct query_run_ctx *run, uint32_t shard)
{
    const struct snapshot *snapshot = run->snapshot;
    bool is_due = snapshot->history_count > 0 &&
                  snapshot->history_begin[shard] < snapshot->history_begin[shard + 1];
    for (uint32_t i = snapshot->shard_begin[shard]; !is_due && i < snapshot->shard_begin[shard + 1];
         i++) {
        is_due = snapshot->sources[i]->time_min_ms < snapshot->expired_before_ms;
    }
    return is_due;
}

/* ---- reading ---- */

static enum err_code bare_selectors(struct gathering *g, struct err *err)
{
    const struct bound_query *query = g->ask->query;
    struct selector *selectors = NULL;
    ERR_TRY(ARENA_NEW(g->arena, query->selector_count, &selectors, err));
    for (uint32_t s = 0; s < query->selector_count; s++) {
        const struct selector *from = &query->selectors[s];
        struct alt *alts = NULL;
        uint32_t count = 0;
        ERR_TRY(ARENA_NEW(g->arena, (size_t)from->alt_count + 1, &alts, err));
        for (uint32_t a = 0; a < from->alt_count; a++) {
            if (from->alts[a].pred == NULL) {
                alts[count++] = from->alts[a];
            }
        }
        selectors[s] = *from;
        selectors[s].alts = alts;
        selectors[s].alt_count = count;
    }
    g->query = *query;
    g->query.selectors = selectors;
    return ERR_OK;
}

static bool is_plain(const struct bound_query *query, uint32_t selector)
{
    const struct selector *of = &query->selectors[selector];
    bool has_filter = false;
    for (uint32_t a = 0; a < of->alt_count; a++) {
        has_filter = has_filter || of->alts[a].pred != NULL;
    }
    return !has_filter;
}

/* What a filter is a part of is asked of retained rows as a whole. */
static uint64_t bits_without_filter(const struct first_ask *ask)
{
    uint64_t bits = 0;
    for (uint64_t left = ask->query->where == NULL ? ask->firsts : 0; left != 0; left &= left - 1) {
        uint32_t s = (uint32_t)__builtin_ctzll(left);
        bits |= is_plain(ask->query, s) ? UINT64_C(1) << s : 0;
    }
    return bits;
}

static bool is_asked_by_steps(const struct bound_query *query)
{
    bool is_asked = false;
    for (uint32_t i = 0; i < query->funnel.step_count; i++) {
        uint32_t first = query->funnel.steps[i].first_selector;
        is_asked = is_asked || (first != SELECTOR_NONE && is_plain(query, first));
    }
    return is_asked;
}

static bool is_asked_by_cond(const struct bound_query *query, const struct cond *cond)
{
    bool is_asked = cond->is_first && is_plain(query, cond->selector);
    for (uint32_t k = 0; k < cond->kid_count; k++) {
        is_asked = is_asked || is_asked_by_cond(query, cond->kids[k]);
    }
    return is_asked;
}

bool first_ever_is_asked(const struct bound_query *query)
{
    const struct retention *retention = &query->retention;
    if (query->where != NULL || query->per != NULL) {
        return false;
    }
    switch (query->verb) {
    case VERB_RETENTION:
    case VERB_LTV:
        return retention->start == RETENTION_FIRST_EVER_UNFILTERED ||
               (retention->start == RETENTION_FIRST_EVER &&
                is_plain(query, retention->start_selector));
    case VERB_LIFECYCLE: return query->key_count == 0 && is_plain(query, query->habits.selector);
    case VERB_FUNNEL: return is_asked_by_steps(query);
    case VERB_SEGMENT: return is_asked_by_cond(query, query->segment.cond);
    default: return false;
    }
}

/* Of several events of one instant the one that fewest selectors take: what is counted then is the same however many first
 * times there are of it. A retained row is in the journey anyway: there is nothing to add then. */
static void take_row(struct gathering *g, uint64_t bits, uint32_t subject, int64_t time_ms,
                     uint64_t mask, bool is_retained)
{
    for (uint64_t left = bits & mask; left != 0; left &= left - 1) {
        struct best *best = &g->best[__builtin_ctzll(left)];
        uint32_t i = subject - g->base;
        uint64_t value = is_retained ? 0 : mask;
        if (time_ms < best->times[i] || (time_ms == best->times[i] && value < best->masks[i])) {
            best->times[i] = time_ms;
            best->masks[i] = value;
        }
    }
}

static enum err_code read_source(struct gathering *g, const struct source *source,
                                 const struct scan_want *wants, uint64_t bits, bool is_history,
                                 struct err *err)
{
    const struct scan_spec spec = {
        .query = &g->query,
        .wants = wants,
        .want_count = g->ask->want_count,
        .subject_begin = g->task->subject_begin,
        .subject_end = g->task->subject_end,
        .deleted = g->run->snapshot->deleted[g->task->shard],
        .no_index = run_is_reference(g->run),
        .has_expired = true,
    };
    CLEANUP(scan_closep) struct scan *scan = NULL;
    ERR_TRY(scan_open(source, &spec, g->run, g->arena, g->io, &scan, err));
    g->source_count++;
    while (true) {
        struct scan_block block = {0};
        bool has_more = false;
        ERR_TRY(scan_next(scan, &block, &has_more, err));
        if (!has_more) {
            return ERR_OK;
        }
        g->row_count += block.count;
        for (uint32_t i = 0; i < block.count; i++) {
            bool is_retained = !is_history && block.times[i] >= g->border_ms;
            take_row(g, bits, block.subjects[i], block.times[i], block.masks[i], is_retained);
        }
    }
}

static enum err_code read_all(struct gathering *g, uint64_t bits, struct err *err)
{
    const struct snapshot *snapshot = g->run->snapshot;
    uint32_t shard = g->task->shard;
    int64_t end_ms = first_ever_is_mixed(g->run) ? INT64_MAX : g->border_ms;
    struct scan_want *wants = NULL;
    ERR_TRY(ARENA_NEW(g->arena, g->ask->want_count, &wants, err));
    memcpy(wants, g->ask->wants, g->ask->want_count * sizeof(*wants));
    for (uint32_t i = snapshot->history_begin[shard];
         snapshot->history_count > 0 && i < snapshot->history_begin[shard + 1]; i++) {
        ERR_TRY(read_source(g, snapshot->history[i], wants, bits, true, err));
    }
    for (uint32_t w = 0; w < g->ask->want_count; w++) {
        wants[w].end_ms = MIN_OF(wants[w].end_ms, end_ms);
    }
    for (uint32_t i = 0; i < g->task->source_count; i++) {
        if (g->task->sources[i]->time_min_ms < end_ms) {
            ERR_TRY(read_source(g, g->task->sources[i], wants, bits, false, err));
        }
    }
    return ERR_OK;
}

/* ---- what comes out ---- */

static int found_cmp(const void *a, const void *b)
{
    const struct found *x = a;
    const struct found *y = b;
    if (x->time_ms != y->time_ms) {
        return x->time_ms < y->time_ms ? -1 : 1;
    }
    return (x->row_mask > y->row_mask) - (x->row_mask < y->row_mask);
}

/* The events of one subject, in order. One that several selectors found is one event. */
static uint32_t events_of(const struct gathering *g, uint64_t bits, uint32_t idx, struct found *out)
{
    uint32_t count = 0;
    uint32_t kept = 0;
    for (uint64_t left = bits; left != 0; left &= left - 1) {
        uint32_t s = (uint32_t)__builtin_ctzll(left);
        const struct best *best = &g->best[s];
        if (best->times[idx] == INT64_MAX || best->masks[idx] == 0) {
            continue;
        }
        uint64_t beside = g->ask->beside == NULL ? UINT64_MAX : g->ask->beside[s];
        out[count++] = (struct found){g->base + idx, best->times[idx], best->masks[idx],
                                      best->masks[idx] & (beside | UINT64_C(1) << s)};
    }
    if (count > 1) {
        qsort(out, count, sizeof(*out), found_cmp);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (kept > 0 && found_cmp(&out[kept - 1], &out[i]) == 0) {
            out[kept - 1].mask |= out[i].mask;
        } else {
            out[kept++] = out[i];
        }
    }
    return kept;
}

static enum err_code list_events(struct gathering *g, uint64_t bits, struct first_events *ret,
                                 struct err *err)
{
    struct found found[QUERY_SELECTORS_MAX];
    uint32_t *subjects = NULL;
    int64_t *times = NULL;
    uint64_t *masks = NULL;
    size_t count = 0;
    for (uint32_t i = 0; i < g->subject_count; i++) {
        count += events_of(g, bits, i, found);
    }
    if (count > UINT32_MAX) {
        return err_set(err, ERR_LIMIT, "%zu first events are too many", count);
    }
    ERR_TRY(ARENA_NEW(g->arena, count + 1, &subjects, err));
    ERR_TRY(ARENA_NEW(g->arena, count + 1, &times, err));
    ERR_TRY(ARENA_NEW(g->arena, count + 1, &masks, err));
    *ret = (struct first_events){.subjects = subjects, .times = times, .masks = masks};
    for (uint32_t i = 0; i < g->subject_count; i++) {
        uint32_t own = events_of(g, bits, i, found);
        for (uint32_t k = 0; k < own; k++) {
            subjects[ret->count] = found[k].subject;
            times[ret->count] = found[k].time_ms;
            masks[ret->count++] = found[k].mask;
        }
    }
    return ERR_OK;
}

static uint32_t subjects_end(const struct query_run_ctx *run, const struct run_task *task)
{
    const struct snapshot *snapshot = run->snapshot;
    uint32_t shard = task->shard;
    uint64_t end = run_shard_subjects(snapshot, shard);
    for (uint32_t i = snapshot->history_begin[shard]; i < snapshot->history_begin[shard + 1]; i++) {
        end = MAX_OF(end, (uint64_t)snapshot->history[i]->subject_last + 1);
    }
    return (uint32_t)MIN_OF(end, (uint64_t)task->subject_end);
}

enum err_code first_ever_gather(struct query_run_ctx *run, const struct run_task *task,
                                const struct first_ask *ask, struct arena *arena, struct io *io,
                                struct first_events *ret, struct err *err)
{
    struct gathering *g = NULL;
    uint64_t bits = bits_without_filter(ask);
    *ret = (struct first_events){0};
    if (bits == 0 || !first_ever_is_due(run, task->shard)) {
        return ERR_OK;
    }
    ERR_TRY(ARENA_NEW(arena, 1, &g, err));
    uint32_t end = subjects_end(run, task);
    *g = (struct gathering){.run = run,
                            .task = task,
                            .ask = ask,
                            .arena = arena,
                            .io = io,
                            .base = task->subject_begin,
                            .subject_count =
                                end > task->subject_begin ? end - task->subject_begin : 0,
                            .border_ms = run->snapshot->expired_before_ms};
    for (uint64_t left = bits; left != 0; left &= left - 1) {
        struct best *best = &g->best[__builtin_ctzll(left)];
        ERR_TRY(ARENA_NEW(arena, (size_t)g->subject_count + 1, &best->times, err));
        ERR_TRY(ARENA_NEW(arena, (size_t)g->subject_count + 1, &best->masks, err));
        for (uint32_t i = 0; i < g->subject_count; i++) {
            best->times[i] = INT64_MAX;
        }
    }
    ERR_TRY(bare_selectors(g, err));
    ERR_TRY(read_all(g, bits, err));
    ERR_TRY(list_events(g, bits, ret, err));
    if (run->profile != NULL) {
        profile_add_firsts(run->profile, g->source_count, g->row_count, ret->count);
    }
    return ERR_OK;
}
