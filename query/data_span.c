/* query/data_span.c - see data_span.h. */
#include "query/data_span.h"

#include "storage/base/size.h"
#include "storage/read_held.h"

#include <stdlib.h>

/* A source some of whose rows may not count, and how far they reach at one end. */
struct doubtful {
    const struct source *source;
    int64_t reach_ms;
    bool is_looked_at;
};

struct span_work {
    struct query_run_ctx *run;
    const struct snapshot *snapshot;
    struct doubtful *doubtful;
    uint32_t doubtful_count;
    struct data_span span; /* so far */
};

/* Of whom rows do not count; NULL: of nobody. Rows of who is moved count under another, so as long as nobody is deleted that
 * says nothing of from when to when there are any. */
static const roaring_bitmap_t *hidden_of(const struct snapshot *snapshot,
                                         const struct source *source)
{
    return snapshot->has_erased ? snapshot->hidden[source->shard] : NULL;
}

static bool has_hidden(const struct snapshot *snapshot, const struct source *source)
{
    const roaring_bitmap_t *hidden = hidden_of(snapshot, source);
    return hidden != NULL &&
           roaring_bitmap_range_cardinality(hidden, source->subject_first,
                                            (uint64_t)source->subject_last + 1) > 0;
}

static void span_add(struct data_span *span, int64_t first_ms, int64_t last_ms)
{
    span->first_ms = span->has_data ? MIN_OF(span->first_ms, first_ms) : first_ms;
    span->last_ms = span->has_data ? MAX_OF(span->last_ms, last_ms) : last_ms;
    span->has_data = true;
}

/* Sources all of whose rows count are added; the others are noted. */
static enum err_code sort_sources(struct span_work *work, struct err *err)
{
    const struct snapshot *snapshot = work->snapshot;
    ERR_TRY(ARENA_NEW(work->run->arena, snapshot->source_count, &work->doubtful, err));
    for (uint32_t i = 0; i < snapshot->source_count; i++) {
        const struct source *source = snapshot->sources[i];
        if (source->row_count == 0) {
            continue;
        }
        if (source->time_min_ms < snapshot->expired_before_ms || has_hidden(snapshot, source)) {
            work->doubtful[work->doubtful_count++].source = source;
        } else {
            span_add(&work->span, source->time_min_ms, source->time_max_ms);
        }
    }
    return ERR_OK;
}

/* The nearest row of one that is not hidden; false where the list does not tell. */
static bool end_of(const struct source_end *list, uint32_t count, uint32_t subject_count,
                   const roaring_bitmap_t *hidden, const struct source_end **ret)
{
    *ret = NULL;
    for (uint32_t i = 0; i < count && *ret == NULL; i++) {
        if (hidden == NULL || !roaring_bitmap_contains(hidden, list[i].subject)) {
            *ret = &list[i];
        }
    }
    return *ret != NULL || count == subject_count;
}

/* What the source keeps of both of its ends; *ret_is_told false where rows must be looked at. */
static enum err_code add_ends(struct span_work *work, const struct source *source,
                              struct read_ctx *read, bool *ret_is_told, struct err *err)
{
    const roaring_bitmap_t *hidden = hidden_of(work->snapshot, source);
    const struct source_end *first = NULL;
    const struct source_end *last = NULL;
    struct source_ends ends;
    bool is_past = source->time_min_ms >= work->snapshot->expired_before_ms;
    int64_t from_ms = is_past ? INT64_MIN : work->snapshot->expired_before_ms;
    ERR_TRY(source_ends(source, read, from_ms, &ends, ret_is_told, err));
    *ret_is_told = *ret_is_told &&
                   end_of(ends.first, ends.first_count, ends.subject_count, hidden, &first) &&
                   end_of(ends.last, ends.last_count, ends.subject_count, hidden, &last);
    if (*ret_is_told && first != NULL) {
        span_add(&work->span, first->time_ms, last->time_ms);
    }
    return ERR_OK;
}

static enum err_code look_at_block(struct span_work *work, const struct source *source,
                                   uint32_t block, struct read_ctx *read, struct err *err)
{
    const struct snapshot *snapshot = work->snapshot;
    const roaring_bitmap_t *hidden = hidden_of(snapshot, source);
    struct vec times = {0};
    struct vec subjects = {0};
    struct vec arrivals = {0};
    ERR_TRY(source_read(source, read, COL_EVENT_TIME, block, &times, err));
    ERR_TRY(source_read(source, read, COL_SUBJECT, block, &subjects, err));
    if (source->cut != NULL) {
        ERR_TRY(source_read(source, read, COL_ARRIVAL, block, &arrivals, err));
    }
    bool is_hidden = false;
    for (uint32_t row = 0; row < times.rows; row++) {
        int64_t time_ms = times.i64[row];
        if (row == 0 || subjects.u32[row] != subjects.u32[row - 1]) {
            is_hidden = hidden != NULL && roaring_bitmap_contains(hidden, subjects.u32[row]);
        }
        if (!is_hidden && time_ms >= snapshot->expired_before_ms &&
            (source->cut == NULL || row_cut_shows(source->cut, time_ms, arrivals.i64[row]))) {
            span_add(&work->span, time_ms, time_ms);
        }
    }
    return ERR_OK;
}

static enum err_code look_at_source(struct span_work *work, struct doubtful *one, struct err *err)
{
    const struct source *source = one->source;
    CLEANUP(arena_freep) struct arena *scratch = arena_create(arena_budget(work->run->arena));
    CLEANUP(read_held_done) struct read_held held = {0};
    struct read_ctx read = {.arena = scratch, .io = work->run->io, .held = &held};
    bool is_told = false;
    one->is_looked_at = true;
    run_mark_source(work->run, source);
    ERR_TRY(add_ends(work, source, &read, &is_told, err));
    for (uint32_t block = 0; !is_told && block < source->block_count; block++) {
        ERR_TRY(run_check(work->run, err));
        ERR_TRY(look_at_block(work, source, block, &read, err));
        read_held_clear(&held);
        arena_rewind(scratch, (struct arena_mark){0});
    }
    run_count(work->run, 0, &read);
    return ERR_OK;
}

static int compare_reach(const void *a, const void *b)
{
    const struct doubtful *x = a;
    const struct doubtful *y = b;
    return (x->reach_ms > y->reach_ms) - (x->reach_ms < y->reach_ms);
}

/* Those that reach furthest first: behind one that reaches no further than what is known, none does. */
static enum err_code look_back(struct span_work *work, struct err *err)
{
    const struct snapshot *snapshot = work->snapshot;
    for (uint32_t i = 0; i < work->doubtful_count; i++) {
        struct doubtful *one = &work->doubtful[i];
        one->reach_ms = MAX_OF(one->source->time_min_ms, snapshot->expired_before_ms);
    }
    qsort(work->doubtful, work->doubtful_count, sizeof(*work->doubtful), compare_reach);
    for (uint32_t i = 0; i < work->doubtful_count; i++) {
        if (work->span.has_data && work->doubtful[i].reach_ms >= work->span.first_ms) {
            return ERR_OK;
        }
        ERR_TRY(look_at_source(work, &work->doubtful[i], err));
    }
    return ERR_OK;
}

static enum err_code look_ahead(struct span_work *work, struct err *err)
{
    for (uint32_t i = 0; i < work->doubtful_count; i++) {
        work->doubtful[i].reach_ms = work->doubtful[i].source->time_max_ms;
    }
    qsort(work->doubtful, work->doubtful_count, sizeof(*work->doubtful), compare_reach);
    for (uint32_t i = work->doubtful_count; i-- > 0;) {
        if (work->span.has_data && work->doubtful[i].reach_ms <= work->span.last_ms) {
            return ERR_OK;
        }
        if (!work->doubtful[i].is_looked_at) {
            ERR_TRY(look_at_source(work, &work->doubtful[i], err));
        }
    }
    return ERR_OK;
}

enum err_code data_span(struct query_run_ctx *run, struct data_span *ret, struct err *err)
{
    struct span_work work = {.run = run,
                             .snapshot = run->unmasked == NULL ? run->snapshot : run->unmasked};
    ERR_TRY(sort_sources(&work, err));
    if (work.doubtful_count > 0) {
        ERR_TRY(look_back(&work, err));
        ERR_TRY(look_ahead(&work, err));
    }
    *ret = work.span;
    return ERR_OK;
}
