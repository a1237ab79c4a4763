/* query/index_sets.c - see index_sets.h.
 *
 * Neighbouring sets of an event that one atom holds are a run. The union of a run is what a source keeps in the block
 * cache, so that a day of hours is read as one list the next time; sets of runs that are not kept are fetched in batches.
 * The unions of all atoms of a question are kept once more, together: a dashboard asks for the same ones again.
 */
#include "query/index_sets.h"

#include "query/subject_bits.h"
#include "storage/base/size.h"
#include "storage/read_ahead.h"
#include "storage/read_held.h"

#include <stdlib.h>

#define NONE                 UINT32_MAX
#define SETS_AHEAD_BYTES_MAX (4u << 20)        /* stored sets fetched and not yet taken */
#define SPANS_BYTES_MAX      ((size_t)8 << 20) /* members of a source's atoms that are kept together */
#define SPANS_MAX            4096u

struct walk {
    struct query_run_ctx *run;
    const struct run_task *task;
    const struct index_ask *ask;
    const struct index_taker *taker;
    struct arena *arena;
    struct read_ctx read;
    uint64_t sets, members, time_us; /* taken; the time only where the query is profiled */
    struct index_gathered *gathered; /* or NULL. What is gathered is read later: it is not let go */
};

/* Sets of a source by atom, from the cache or to be kept there. */
struct spans {
    struct span_ask ask;
    uint32_t first_atom;
    struct span_found *found; /* by span; NULL: not kept */
    size_t bytes;             /* of members */
};

/* What a source's sets leave to rows. */
struct left {
    struct scan_want *wants; /* where sets cross a border */
    uint32_t want_count, want_cap;
    struct scan_want *taken; /* where they were taken; only where the taker asks for their rows */
    uint32_t taken_count, taken_cap;
};

/* Neighbouring sets that one atom holds all of. */
struct set_run {
    const struct subject_set *sets;
    uint32_t count;
    uint32_t atom;
};

bool index_has_sets(const struct query_run_ctx *run, const struct selector *selector)
{
    if (run_is_reference(run)) {
        return false;
    }
    for (uint32_t i = 0; i < selector->alt_count; i++) {
        if (selector->alts[i].pred != NULL) {
            return false;
        }
    }
    return true;
}

bool index_serves(const struct query_run_ctx *run, const struct selector *selector)
{
    const struct pred *where = run->query->where;
    return (where == NULL || where->kind == PRED_TRUE) && index_has_sets(run, selector);
}

/* ---- rows at the borders ---- */

/* Subjects of neighbouring rows that share an atom. */
struct pending {
    uint32_t *subjects;
    uint32_t count;
    uint32_t atom;
};

static enum err_code flush(struct walk *walk, const struct source *source, struct pending *pending,
                           struct err *err)
{
    struct subject_members members = members_of_list(pending->subjects, pending->count);
    pending->count = 0;
    if (members.count == 0) {
        return ERR_OK;
    }
    if (walk->gathered != NULL) {
        void *memory = NULL;
        ERR_TRY(arena_alloc_raw(walk->read.arena, members.count * sizeof(uint32_t), &memory, err));
        memcpy(memory, members.list, members.count * sizeof(uint32_t));
        members.list = memory;
    }
    return walk->taker->take(walk->taker->arg, source, pending->atom, &members, err);
}

static enum err_code take_block(struct walk *walk, const struct source *source,
                                const struct scan_block *block, struct arena *scratch,
                                struct err *err)
{
    const struct index_ask *ask = walk->ask;
    struct pending pending = {.atom = NONE};
    void *memory = NULL;
    ERR_TRY(arena_alloc_raw(scratch, block->count * sizeof(uint32_t), &memory, err));
    pending.subjects = memory;
    for (uint32_t i = 0; i < block->count; i++) {
        int64_t ts = block->times[i];
        uint32_t atom = pending.atom;
        if (atom == NONE || ts < ask->edges[atom] || ts >= ask->edges[atom + 1]) {
            atom = civil_bucket_idx(ask->edges, ask->atom_count, ts);
        }
        if (atom != pending.atom) {
            ERR_TRY(flush(walk, source, &pending, err));
            pending.atom = atom;
        }
        if (pending.count == 0 || pending.subjects[pending.count - 1] != block->subjects[i]) {
            pending.subjects[pending.count++] = block->subjects[i];
        }
    }
    return flush(walk, source, &pending, err);
}

static enum err_code take_rows(struct walk *walk, const struct source *source,
                               const struct scan_want *wants, uint32_t want_count, struct err *err)
{
    const struct run_task *task = walk->task;
    if (walk->taker->rows != NULL) {
        return walk->taker->rows(walk->taker->arg, source, wants, want_count, false, err);
    }
    const struct scan_spec spec = {
        .query = walk->ask->query,
        .wants = wants,
        .want_count = want_count,
        .subject_begin = task->subject_begin,
        .subject_end = task->subject_end,
        .deleted = walk->run->snapshot->deleted[task->shard],
    };
    CLEANUP(scan_closep) struct scan *scan = NULL;
    ERR_TRY(scan_open(source, &spec, walk->run, walk->arena, walk->read.io, &scan, err));
    while (true) {
        struct scan_block block = {0};
        bool has_more = false;
        ERR_TRY(scan_next(scan, &block, &has_more, err));
        if (!has_more) {
            return ERR_OK;
        }
        ERR_TRY(take_block(walk, source, &block, scan_read_ctx(scan)->arena, err));
    }
}

static int compare_wants(const void *a, const void *b)
{
    const struct scan_want *x = a;
    const struct scan_want *y = b;
    return (x->begin_ms > y->begin_ms) - (x->begin_ms < y->begin_ms);
}

/* Different events leave the same spans over: one want for what touches. */
static uint32_t merge_wants(struct scan_want *wants, uint32_t count)
{
    if (count > 0) {
        qsort(wants, count, sizeof(*wants), compare_wants);
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (kept > 0 && wants[i].begin_ms <= wants[kept - 1].end_ms) {
            wants[kept - 1].end_ms = MAX_OF(wants[kept - 1].end_ms, wants[i].end_ms);
        } else {
            wants[kept++] = wants[i];
        }
    }
    return kept;
}

/* ---- stored sets ---- */

/* The atom that holds all of a set; NONE where it crosses a border (of the atoms, or of what has
 * expired), or lies outside (*ret_span is then empty). */
static uint32_t set_atom(const struct walk *walk, const struct source *source,
                         const struct subject_set *set, struct scan_want *ret_span)
{
    const int64_t *edges = walk->ask->edges;
    uint32_t atom_count = walk->ask->atom_count;
    int64_t expired_before_ms = walk->run->snapshot->expired_before_ms;
    /* Within a source, a set has no event outside the source's own time. */
    int64_t begin = MAX_OF(set->begin_ms, source->time_min_ms);
    int64_t end = MIN_OF(set->end_ms, source->time_max_ms + 1);
    *ret_span = (struct scan_want){.selector = walk->ask->selector};
    if (begin >= end || end <= edges[0] || begin >= edges[atom_count] || end <= expired_before_ms) {
        return NONE;
    }
    if (begin >= edges[0] && end <= edges[atom_count] && begin >= expired_before_ms) {
        uint32_t atom = civil_bucket_idx(edges, atom_count, begin);
        if (atom != NONE && end <= edges[atom + 1]) {
            return atom;
        }
    }
    ret_span->begin_ms = MAX_OF(begin, edges[0]);
    ret_span->end_ms = MIN_OF(end, edges[atom_count]);
    return NONE;
}

/* Cut an event's sets into runs; what crosses a border is appended to `wants`. */
static enum err_code cut_runs(struct walk *walk, const struct source *source,
                              const struct subject_set *sets, uint32_t set_count,
                              struct set_run **ret_runs, uint32_t *ret_count,
                              struct scan_want *wants, uint32_t *want_count, struct err *err)
{
    struct set_run *runs = NULL;
    uint32_t count = 0;
    ERR_TRY(ARENA_NEW(walk->read.arena, set_count, &runs, err));
    for (uint32_t s = 0; s < set_count; s++) {
        struct scan_want want = {0};
        uint32_t atom = set_atom(walk, source, &sets[s], &want);
        if (atom == NONE) {
            wants[*want_count] = want;
            *want_count += want.begin_ms < want.end_ms;
        } else if (count > 0 && runs[count - 1].atom == atom &&
                   runs[count - 1].sets + runs[count - 1].count == &sets[s]) {
            runs[count - 1].count++;
        } else {
            runs[count++] = (struct set_run){.sets = &sets[s], .count = 1, .atom = atom};
        }
    }
    *ret_runs = runs;
    *ret_count = count;
    return ERR_OK;
}

/* Fetch the sets of the runs whose unions are not kept, as many as there is room for. Returns where those runs end. */
static uint32_t fetch_runs(struct walk *walk, const struct source *source,
                           const struct set_run *runs, uint32_t begin, uint32_t count)
{
    struct read_ctx *read = &walk->read;
    uint64_t bytes_read = read->bytes_read; /* looking counts for nothing */
    read_ahead_clear(read->ahead);
    for (uint32_t r = begin; r < count; r++) {
        struct subject_members members = {0};
        if (!source_union_find(source, read, runs[r].sets, runs[r].count, &members) &&
            source_prefetch_sets(source, read, runs[r].sets, runs[r].count) < runs[r].count) {
            count = MAX_OF(r, begin + 1);
        }
    }
    read->bytes_read = bytes_read;
    return count;
}

/* The members of a run of sets; `fetched` is where the runs that are fetched end. */
static enum err_code run_members(struct walk *walk, const struct source *source,
                                 const struct set_run *runs, uint32_t r, uint32_t count,
                                 uint32_t *fetched, struct subject_members *ret, struct err *err)
{
    bool is_timed = walk->run->profile != NULL;
    uint64_t begin_us = is_timed ? pool_own_us() : 0;
    if (r == *fetched) {
        *fetched = fetch_runs(walk, source, runs, r, count);
    }
    ERR_TRY(source_union(source, &walk->read, runs[r].sets, runs[r].count, ret, err));
    walk->sets += runs[r].count;
    walk->members += ret->count;
    walk->time_us += is_timed ? pool_own_us() - begin_us : 0;
    return ERR_OK;
}

/* ---- what is kept by atom ---- */

static enum err_code wants_grow(struct arena *arena, struct scan_want **wants, uint32_t count,
                                uint32_t *cap, uint32_t more, struct err *err)
{
    struct scan_want *grown = NULL;
    if (more <= *cap - count) {
        return ERR_OK;
    }
    ERR_TRY(ARENA_NEW(arena, (size_t)count + more, &grown, err));
    if (count > 0) {
        memcpy(grown, *wants, count * sizeof(*grown));
    }
    *wants = grown;
    *cap = count + more;
    return ERR_OK;
}

static enum err_code left_grow(struct walk *walk, struct left *left, uint32_t wants, uint32_t taken,
                               struct err *err)
{
    struct arena *arena = walk->read.arena;
    ERR_TRY(wants_grow(arena, &left->wants, left->want_count, &left->want_cap, wants, err));
    return walk->taker->rows == NULL
               ? ERR_OK
               : wants_grow(arena, &left->taken, left->taken_count, &left->taken_cap, taken, err);
}

/* The atoms that the source's time touches, as a question to its cache. False where none is kept: the border of what has
 * expired moves. */
static bool spans_ask(const struct walk *walk, const struct source *source, uint32_t event,
                      struct spans *ret)
{
    const int64_t *edges = walk->ask->edges;
    uint32_t first = 0;
    uint32_t end = walk->ask->atom_count;
    if (source->time_min_ms > edges[0]) {
        first = civil_bucket_idx(edges, end, source->time_min_ms);
    }
    if (source->time_max_ms < edges[end]) {
        end = civil_bucket_idx(edges, end, source->time_max_ms) + 1;
    }
    *ret = (struct spans){.ask = {event, edges + first, end - first}, .first_atom = first};
    return source->time_min_ms >= walk->run->snapshot->expired_before_ms &&
           end - first <= SPANS_MAX;
}

static enum err_code take_found(struct walk *walk, const struct source *source, uint32_t atom,
                                const struct span_found *found, struct left *left, struct err *err)
{
    ERR_TRY(walk->taker->take(walk->taker->arg, source, atom, &found->members, err));
    if (walk->taker->rows != NULL) {
        left->taken[left->taken_count++] =
            (struct scan_want){walk->ask->selector, found->begin_ms, found->end_ms};
    }
    return ERR_OK;
}

/* The sets that follow are parts of this one. */
static enum err_code gather_united(struct index_gathered *gathered,
                                   const struct subject_members *members, struct err *err)
{
    struct index_members *link = NULL;
    ERR_TRY(ARENA_NEW(gathered->arena, 1, &link, err));
    *link = (struct index_members){gathered->united, *members, true};
    gathered->united = link;
    gathered->is_united = true;
    return ERR_OK;
}

/* The atoms of an event that the source has kept; *ret_found false where it has not. */
static enum err_code take_kept(struct walk *walk, const struct source *source,
                               const struct spans *spans, struct left *left, bool *ret_found,
                               struct err *err)
{
    struct subject_spans kept;
    *ret_found = source_spans_find(source, &walk->read, &spans->ask, &kept);
    if (!*ret_found) {
        return ERR_OK;
    }
    ERR_TRY(left_grow(walk, left, kept.rest_count, spans->ask.span_count, err));
    for (uint32_t i = 0; i < kept.rest_count; i++) {
        left->wants[left->want_count++] =
            (struct scan_want){walk->ask->selector, kept.rest[i].begin_ms, kept.rest[i].end_ms};
    }
    if (walk->gathered != NULL) {
        const struct span_found all = subject_spans_at(&kept, spans->ask.span_count);
        ERR_TRY(gather_united(walk->gathered, &all.members, err));
    }
    for (uint32_t s = 0; s < spans->ask.span_count; s++) {
        const struct span_found found = subject_spans_at(&kept, s);
        if (found.members.count > 0) {
            walk->sets++;
            walk->members += found.members.count;
            ERR_TRY(take_found(walk, source, spans->first_atom + s, &found, left, err));
        }
    }
    if (walk->gathered == NULL) {
        read_held_clear(walk->read.held);
    } else {
        walk->gathered->is_united = false;
    }
    return ERR_OK;
}

/* One more run of what is to be kept; too much of it, or two runs in one atom, and nothing is. */
static void spans_note(struct spans *spans, uint32_t atom, const struct span_found *found)
{
    if (spans->found == NULL) {
        return;
    }
    struct span_found *place = &spans->found[atom - spans->first_atom];
    spans->bytes += found->members.list != NULL ? found->members.count * sizeof(uint32_t)
                                                : found->members.word_count * sizeof(uint64_t);
    if (place->members.count > 0 || spans->bytes > SPANS_BYTES_MAX) {
        spans->found = NULL;
        return;
    }
    *place = *found;
}

/* Behind the spans, their union. */
static enum err_code unite_spans(const struct spans *spans, const struct source *source,
                                 struct arena *arena, struct err *err)
{
    struct subject_members *all = &spans->found[spans->ask.span_count].members;
    uint32_t base = 0;
    uint32_t word_count = members_words(source->subject_first, source->subject_last, &base);
    uint64_t *words = NULL;
    uint32_t *list = NULL;
    ERR_TRY(ARENA_NEW(arena, word_count, &words, err));
    for (uint32_t s = 0; s < spans->ask.span_count; s++) {
        bits_add_members(words, base, UINT32_MAX, &spans->found[s].members);
    }
    *all = (struct subject_members){.count = (uint32_t)bits_count(words, word_count),
                                    .words = words,
                                    .base = base,
                                    .word_count = word_count};
    if (!members_are_dense(all->count, word_count)) {
        struct members_cursor cursor = {0};
        const uint32_t *unused = NULL;
        ERR_TRY(ARENA_NEW(arena, (size_t)all->count + 64, &list, err));
        uint32_t count = members_next(all, &cursor, list, all->count + 64, &unused);
        *all = members_of_list(list, count);
    }
    return ERR_OK;
}

static enum err_code spans_keep(struct walk *walk, const struct source *source,
                                const struct spans *spans, const struct scan_want *wants,
                                uint32_t want_count, uint64_t set_bytes, struct err *err)
{
    struct span_rows *rest = NULL;
    if (spans->found == NULL) {
        return ERR_OK;
    }
    ERR_TRY(ARENA_NEW(walk->read.arena, want_count, &rest, err));
    for (uint32_t i = 0; i < want_count; i++) {
        rest[i] = (struct span_rows){wants[i].begin_ms, wants[i].end_ms};
    }
    ERR_TRY(unite_spans(spans, source, walk->read.arena, err));
    source_spans_keep(source, &walk->read, &spans->ask, spans->found, rest, want_count, set_bytes);
    return ERR_OK;
}

static enum err_code take_runs(struct walk *walk, const struct source *source,
                               const struct set_run *runs, uint32_t count, struct spans *spans,
                               struct left *left, struct err *err)
{
    struct read_ctx *read = &walk->read;
    const int64_t *edges = walk->ask->edges;
    uint32_t fetched = 0;
    for (uint32_t r = 0; r < count; r++) {
        const struct set_run *run = &runs[r];
        struct arena_mark mark = arena_mark(read->arena);
        struct span_found found = {
            .begin_ms = MAX_OF(run->sets[0].begin_ms, edges[run->atom]),
            .end_ms = MIN_OF(run->sets[run->count - 1].end_ms, edges[run->atom + 1]),
        };
        ERR_TRY(run_members(walk, source, runs, r, count, &fetched, &found.members, err));
        ERR_TRY(take_found(walk, source, run->atom, &found, left, err));
        spans_note(spans, run->atom, &found);
        if (spans->found == NULL && walk->gathered == NULL) {
            arena_rewind(read->arena, mark);
        }
    }
    return ERR_OK;
}

/* The events of the selector as codes of the source; one SUBJECT_SET_ANY where it takes any. */
static enum err_code find_events(struct walk *walk, const struct source *source,
                                 uint32_t **ret_codes, uint32_t *ret_count, struct err *err)
{
    const struct selector *selector = &walk->ask->query->selectors[walk->ask->selector];
    uint32_t *codes = NULL;
    uint32_t count = 0;
    ERR_TRY(ARENA_NEW(walk->read.arena, selector->alt_count, &codes, err));
    for (uint32_t i = 0; i < selector->alt_count; i++) {
        if (selector->alts[i].kind == ALT_ANY) {
            codes[0] = SUBJECT_SET_ANY;
            count = 1;
            break;
        }
        bool is_found = false;
        ERR_TRY(source_code(source, &walk->read, COL_EVENT_NAME, selector->alts[i].event, &is_found,
                            &codes[count], err));
        for (uint32_t k = 0; is_found && k < count; k++) {
            is_found = codes[k] != codes[count]; /* named twice */
        }
        count += is_found;
    }
    *ret_codes = codes;
    *ret_count = count;
    return ERR_OK;
}

/* The sets of one event; *ret_has_sets false where the source keeps none. */
static enum err_code take_event(struct walk *walk, const struct source *source, uint32_t event,
                                struct left *left, bool *ret_has_sets, struct err *err)
{
    struct read_ctx *read = &walk->read;
    const struct subject_set *sets = NULL;
    uint32_t set_count = 0;
    struct set_run *runs = NULL;
    uint32_t run_count = 0;
    struct spans spans;
    bool is_kept = false;
    bool is_keeping = spans_ask(walk, source, event, &spans);
    if (is_keeping) {
        ERR_TRY(take_kept(walk, source, &spans, left, &is_kept, err));
    }
    *ret_has_sets = true;
    if (is_kept) {
        return ERR_OK;
    }
    ERR_TRY(source_subject_sets(source, read, event, &sets, &set_count, err));
    *ret_has_sets = set_count > 0;
    ERR_TRY(left_grow(walk, left, set_count, set_count, err));
    uint32_t want_begin = left->want_count;
    ERR_TRY(cut_runs(walk, source, sets, set_count, &runs, &run_count, left->wants,
                     &left->want_count, err));
    struct arena_mark mark = arena_mark(read->arena);
    uint64_t bytes_before = read->bytes_read;
    if (is_keeping && set_count > 0) {
        ERR_TRY(ARENA_NEW(read->arena, (size_t)spans.ask.span_count + 1, &spans.found, err));
    }
    ERR_TRY(take_runs(walk, source, runs, run_count, &spans, left, err));
    ERR_TRY(spans_keep(walk, source, &spans, left->wants + want_begin,
                       left->want_count - want_begin, read->bytes_read - bytes_before, err));
    if (walk->gathered == NULL) {
        arena_rewind(read->arena, mark);
        read_held_clear(read->held);
    }
    return ERR_OK;
}

static enum err_code walk_source(struct walk *walk, const struct source *source, struct err *err)
{
    const struct index_ask *ask = walk->ask;
    int64_t begin_ms = ask->edges[0];
    int64_t end_ms = ask->edges[ask->atom_count];
    uint32_t *codes = NULL;
    uint32_t code_count = 0;
    if (source->time_max_ms < begin_ms || source->time_min_ms >= end_ms) {
        return ERR_OK;
    }
    ERR_TRY(find_events(walk, source, &codes, &code_count, err));
    if (code_count == 0) {
        return ERR_OK;
    }
    run_mark_source(walk->run, source);
    const struct scan_want whole = {ask->selector, begin_ms, end_ms};
    bool wants_sets = true;
    if (walk->taker->begin != NULL) {
        ERR_TRY(walk->taker->begin(walk->taker->arg, source, &wants_sets, err));
    }
    if (!wants_sets) {
        return take_rows(walk, source, &whole, 1, err);
    }
    struct left left = {0};
    for (uint32_t c = 0; c < code_count; c++) {
        bool has_sets = true;
        ERR_TRY(take_event(walk, source, codes[c], &left, &has_sets, err));
        if (!has_sets) { /* a memtable: rows only */
            return take_rows(walk, source, &whole, 1, err);
        }
    }
    if (left.taken_count > 0) {
        left.taken_count = merge_wants(left.taken, left.taken_count);
        ERR_TRY(
            walk->taker->rows(walk->taker->arg, source, left.taken, left.taken_count, true, err));
    }
    left.want_count = merge_wants(left.wants, left.want_count);
    return left.want_count == 0 ? ERR_OK
                                : take_rows(walk, source, left.wants, left.want_count, err);
}

/* All sources; sets lie in read.arena or are held by read.held. */
static enum err_code walk_all_sources(struct walk *walk, struct err *err)
{
    const struct run_task *task = walk->task;
    enum err_code code = ERR_OK;
    for (uint32_t s = 0; s < task->source_count && code == ERR_OK; s++) {
        code = run_check(walk->run, err);
        if (code == ERR_OK) {
            code = walk_source(walk, task->sources[s], err);
        }
    }
    run_count_sets(walk->run, walk->sets, walk->members, walk->time_us, &walk->read);
    return code;
}

enum err_code index_walk(struct query_run_ctx *run, const struct run_task *task,
                         const struct index_ask *ask, const struct index_taker *taker,
                         struct arena *arena, struct io *io, struct err *err)
{
    CLEANUP(arena_freep) struct arena *scratch = arena_create(arena_budget(arena));
    CLEANUP(read_ahead_done)
    struct read_ahead ahead = {.bytes_max = SETS_AHEAD_BYTES_MAX, .budget = arena_budget(arena)};
    CLEANUP(read_held_done) struct read_held held = {0};
    struct walk walk = {
        .run = run,
        .task = task,
        .ask = ask,
        .taker = taker,
        .arena = arena,
        .read = {.arena = scratch, .io = io, .ahead = &ahead, .held = &held},
    };
    return walk_all_sources(&walk, err);
}

static enum err_code gather_take(void *arg, const struct source *source, uint32_t atom,
                                 const struct subject_members *members, struct err *err)
{
    (void)source;
    struct index_gathered *gathered = arg;
    struct index_members *link = NULL;
    ERR_TRY(ARENA_NEW(gathered->arena, 1, &link, err));
    *link = (struct index_members){gathered->atoms[atom], *members, gathered->is_united};
    gathered->atoms[atom] = link;
    gathered->member_count += members->count;
    return ERR_OK;
}

enum err_code index_gather(struct query_run_ctx *run, const struct run_task *task,
                           const struct index_ask *ask, struct io *io, struct index_gathered *ret,
                           struct arena *arena, struct err *err)
{
    *ret = (struct index_gathered){.arena = arena_create(arena_budget(arena))};
    CLEANUP(read_ahead_done)
    struct read_ahead ahead = {.bytes_max = SETS_AHEAD_BYTES_MAX, .budget = arena_budget(arena)};
    const struct index_taker taker = {.arg = ret, .take = gather_take};
    struct walk walk = {
        .run = run,
        .task = task,
        .ask = ask,
        .taker = &taker,
        .arena = arena,
        .read = {.arena = ret->arena, .io = io, .ahead = &ahead, .held = &ret->held},
        .gathered = ret,
    };
    ERR_TRY(ARENA_NEW(ret->arena, ask->atom_count, &ret->atoms, err));
    return walk_all_sources(&walk, err);
}

void index_gathered_done(struct index_gathered *gathered)
{
    read_held_done(&gathered->held);
    arena_free(gathered->arena);
    *gathered = (struct index_gathered){0};
}
