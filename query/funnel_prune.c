/* query/funnel_prune.c */
#include "query/funnel_prune.h"

#include "query/funnel_task.h"
#include "query/index_sets.h"
#include "query/subject_bits.h"

#define DAY_MS     INT64_C(86400000)
#define GAIN_PARTS 8u /* worth it where an eighth of those that entered can be left out */

struct pruning {
    struct query_run_ctx *run;
    const struct run_task *task;
    struct arena *arena;
    struct io *io;
    uint32_t base, end; /* the task's subjects */
    size_t words;       /* of a set of them */
};

bool funnel_prune_serves(const struct query_run_ctx *run)
{
    const struct bound_query *query = run->query;
    const struct funnel *funnel = &query->funnel;
    if (!funnel->is_plain || funnel->step_count < 2 || query->per != NULL || query->key_count > 0 ||
        query->has_each || query->cell != NULL || run->notes != NULL || run->has_only ||
        run->snapshot->cut_count > 0 || query->from_ms >= query->to_ms) {
        return false;
    }
    for (uint32_t i = 0; i < funnel->step_count; i++) {
        if (!index_serves(run, &query->selectors[i]) || selector_has_any(&query->selectors[i])) {
            return false;
        }
    }
    return true;
}

static void find_subjects(struct pruning *p)
{
    p->base = p->task->subject_begin;
    p->end = run_task_end(p->run, p->task);
    p->words = p->end <= p->base ? 0 : ((size_t)p->end - p->base + 63) / 64;
}

static void bits_add_chain(const struct pruning *p, const struct index_members *chain,
                           uint64_t *bits)
{
    for (; chain != NULL; chain = chain->next) {
        bits_add_members(bits, p->base, p->end, &chain->members);
    }
}

/* atoms[a] |= who did the step's event in atom a. */
static enum err_code step_bits(const struct pruning *p, uint32_t step, const int64_t *edges,
                               uint32_t atom_count, uint64_t *const *atoms, struct err *err)
{
    const struct index_ask ask = {
        .query = p->run->query, .selector = step, .edges = edges, .atom_count = atom_count};
    struct index_gathered gathered;
    enum err_code code = index_gather(p->run, p->task, &ask, p->io, &gathered, p->arena, err);
    for (uint32_t a = 0; code == ERR_OK && a < atom_count; a++) {
        bits_add_chain(p, gathered.atoms[a], atoms[a]);
    }
    index_gathered_done(&gathered);
    return code;
}

int64_t funnel_mature_before(const struct bound_query *query)
{
    uint64_t window_ms = query->funnel.window_ms;
    int64_t end_ms = 0;
    if (window_ms > INT64_MAX ||
        __builtin_sub_overflow(query->now_ms, (int64_t)window_ms, &end_ms)) {
        return INT64_MIN; /* none is */
    }
    int64_t into_day = ((end_ms % DAY_MS) + DAY_MS) % DAY_MS;
    return end_ms < INT64_MIN + DAY_MS ? INT64_MIN : end_ms - into_day;
}

/* Who entered when it is mature by now, and who entered at all. */
static enum err_code entry_bits(const struct pruning *p, uint64_t *old, uint64_t *all,
                                struct err *err)
{
    const struct bound_query *query = p->run->query;
    int64_t border = funnel_mature_before(query);
    if (border <= query->from_ms || border >= query->to_ms) {
        const int64_t edges[2] = {query->from_ms, query->to_ms};
        ERR_TRY(step_bits(p, 0, edges, 1, &all, err));
        if (border >= query->to_ms) {
            memcpy(old, all, p->words * sizeof(*old));
        }
        return ERR_OK;
    }
    const int64_t edges[3] = {query->from_ms, border, query->to_ms};
    uint64_t *const atoms[2] = {old, all};
    ERR_TRY(step_bits(p, 0, edges, 2, atoms, err));
    bits_or(all, old, p->words);
    return ERR_OK;
}

/* Deleted subjects are in the stored sets. */
static void leave_out_deleted(const struct pruning *p, uint64_t *bits, uint64_t *scratch)
{
    const roaring_bitmap_t *deleted = p->run->snapshot->deleted[p->task->shard];
    if (deleted != NULL) {
        memset(scratch, 0, p->words * sizeof(*scratch));
        bits_add_set(scratch, p->base, p->words, deleted);
        bits_andnot(bits, scratch, p->words);
    }
}

static enum err_code prune_steps(struct pruning *p, uint64_t *entered, uint64_t *old,
                                 uint64_t *scratch, struct funnel_prune *ret, struct err *err)
{
    const struct bound_query *query = p->run->query;
    const int64_t edges[2] = {query->from_ms, funnel_end_ms(query)};
    struct scan_keep *keep = NULL;
    uint64_t *before = entered;
    uint64_t *counted = NULL;

    ERR_TRY(ARENA_NEW(p->arena, 1, &keep, err));
    *keep = (struct scan_keep){.base = p->base, .word_count = p->words};
    for (uint32_t i = 1; i < query->funnel.step_count; i++) {
        uint64_t *words = NULL;
        ERR_TRY(ARENA_NEW(p->arena, p->words, &words, err));
        ERR_TRY(step_bits(p, i, edges, 1, &words, err));
        bits_and(words, before, p->words);
        if (i == 1) {
            uint64_t all = bits_count(entered, p->words);
            uint64_t kept = bits_count(words, p->words);
            if (all - kept < all / GAIN_PARTS || all == kept) {
                return ERR_OK;
            }
            /* Whoever went no further is counted here, or keeps its rows. */
            memcpy(scratch, entered, p->words * sizeof(*scratch));
            bits_andnot(scratch, words, p->words);
            ret->mature = bits_and_count(scratch, old, p->words);
            ret->entered = ret->mature;
            ERR_TRY(ARENA_NEW(p->arena, p->words, &counted, err));
            memcpy(counted, scratch, p->words * sizeof(*counted));
            bits_and(counted, old, p->words);
            bits_andnot(scratch, old, p->words);
            bits_or(words, scratch, p->words);
            keep->words[0] = words;
        }
        keep->words[i] = words;
        before = words;
    }
    ret->keep = keep;
    ret->counted = counted;
    return ERR_OK;
}

enum err_code funnel_prune(struct query_run_ctx *run, const struct run_task *task,
                           struct arena *arena, struct io *io, struct funnel_prune *ret,
                           struct err *err)
{
    struct pruning p = {.run = run, .task = task, .arena = arena, .io = io};
    uint64_t *entered = NULL;
    uint64_t *old = NULL;
    uint64_t *scratch = NULL;

    *ret = (struct funnel_prune){0};
    find_subjects(&p);
    if (p.words == 0) {
        return ERR_OK;
    }
    ERR_TRY(ARENA_NEW(arena, p.words, &entered, err));
    ERR_TRY(ARENA_NEW(arena, p.words, &old, err));
    ERR_TRY(ARENA_NEW(arena, p.words, &scratch, err));
    ERR_TRY(entry_bits(&p, old, entered, err));
    leave_out_deleted(&p, entered, scratch);
    return prune_steps(&p, entered, old, scratch, ret, err);
}
