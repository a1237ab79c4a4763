/* query/retention_index.c - unfiltered retention from the stored sets of subjects.
 *
 *     starts     per slot who had a start in it                    one bit a subject and slot
 *     members    of these, per cohort, who belongs to it: all, or whose first start it is
 *     returns    per slot who had a return in it
 *     period n   members of slot c that are in the returns of slot c + n
 *
 * Period 0 wants a return other than the start event. Where no start is a return, the returns of the slot say it; where
 * returns are `any`, a member is back when it has two events in the slot (retention_beside.h).
 *
 * Without a `where`, retention of first starts makes no set of the returns (retention_firsts.h).
 *
 * With a `where` that hardly changes within a subject the same sets tell of nearly all (retention_where.h); of the others
 * journeys are read.
 *
 * Where every start may be counted but no set tells apart (a named event that is its own return, `at least n`, other filters,
 * breakdowns), journeys are read instead.
 */
#include "query/index_sets.h"
#include "query/retention_beside.h"
#include "query/retention_firsts.h"
#include "query/retention_int.h"
#include "query/retention_where.h"
#include "query/slot_bits.h"
#include "query/subject_bits.h"
#include "query/subject_truth.h"

#define PAIR_WORDS     16u /* that are intersected and counted in the time of a look at a member */
#define BITS_BYTES_MAX (64u << 20) /* of a task's sets; beyond it journeys are read */

struct index_work {
    struct query_run_ctx *run;
    const struct run_task *task;
    const struct retention_plan *plan;
    struct arena *arena;
    struct io *io;
    bool is_any_return;
    struct retention_where *where; /* NULL: there is none */
    struct slot_bits starts;       /* cohort_count */
    struct slot_bits before;       /* one set: who had a start before the first cohort's starts */
    struct slot_bits returns;      /* slot_count */
    struct slot_bits
        actives; /* cohort_count: members that are back in period 0; before that, who has two returns in it */
};

static bool is_ever(enum retention_start start)
{
    return start == RETENTION_FIRST_EVER || start == RETENTION_FIRST_EVER_UNFILTERED;
}

/* ---- whether ---- */

/* No event can be a start and a return. */
static bool are_apart(const struct selector *a, const struct selector *b)
{
    if (selector_has_any(a) || selector_has_any(b)) {
        return false;
    }
    for (uint32_t i = 0; i < a->alt_count; i++) {
        for (uint32_t k = 0; k < b->alt_count; k++) {
            if (str_eq(a->alts[i].event, b->alts[k].event)) {
                return false;
            }
        }
    }
    return true;
}

static bool has_where(const struct query_run_ctx *run)
{
    return run->query->where != NULL && run->query->where->kind != PRED_TRUE;
}

/* Each return is looked at once, and no set is made of them (retention_firsts.h). */
static bool is_of_firsts(const struct query_run_ctx *run, const struct retention_spec *spec)
{
    return spec->start != RETENTION_RECURRING && !has_where(run);
}

static uint32_t words_of(const struct query_run_ctx *run, uint32_t shard)
{
    return (uint32_t)((run_shard_subjects(run->snapshot, shard) + 63) / 64);
}

bool retention_index_serves(const struct query_run_ctx *run, const struct retention_plan *plan)
{
    const struct bound_query *query = run->query;
    const struct retention_spec *spec = &plan->spec;
    const struct selector *start = &query->selectors[query->retention.start_selector];
    const struct selector *back = &query->selectors[query->retention.return_selector];
    uint64_t words = 0;
    bool is_plain = spec->rolling_ms == 0 && !spec->has_value && !spec->counts_start &&
                    query->per == NULL &&
                    (spec->mode == RETENTION_EXACT || spec->mode == RETENTION_UNBOUNDED);
    if (has_where(run) &&
        (!truth_serves(query->where) || spec->start == RETENTION_FIRST_EVER_UNFILTERED)) {
        return false;
    }
    if (!is_plain || spec->at_least != 1 || query->key_count > 0 || !index_has_sets(run, start) ||
        !index_has_sets(run, back) || (!selector_has_any(back) && !are_apart(start, back)) ||
        spec->from_ms >= spec->to_ms || run->snapshot->cut_count > 0 || run->has_only) {
        return false; /* of a cut source, the row beside another may be one that it does not show */
    }
    if (is_ever(spec->start) && first_ever_is_mixed(run)) {
        return false; /* within a slot, sets do not tell a first time from a row before it */
    }
    for (uint32_t s = 0; s < spec->slot_count; s++) {
        if (spec->begins[s] >= spec->begins[s + 1]) {
            return false; /* a period that never was */
        }
    }
    if (is_of_firsts(run, spec)) {
        return true;
    }
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        words = MAX_OF(words, (uint64_t)words_of(run, shard));
    }
    uint64_t sets = spec->slot_count + 4 * (uint64_t)spec->cohort_count;
    sets += has_where(run) ? 2 * (uint64_t)spec->slot_count : 0; /* raw ones */
    return words * sizeof(uint64_t) * sets <= BITS_BYTES_MAX;
}

/* ---- gathering ---- */

/* The task's subjects. */
static size_t bits_words(const struct index_work *work)
{
    uint32_t words = words_of(work->run, work->task->shard);
    uint32_t begin = work->task->subject_begin;
    uint32_t end = MIN_OF(work->task->subject_end, words * 64);
    return end <= begin ? 1 : (end - begin + 63) / 64;
}

static enum err_code bits_make(struct index_work *work, uint32_t count, struct slot_bits *ret,
                               struct err *err)
{
    return slot_bits_make(ret, count, work->task->subject_begin, bits_words(work), work->arena,
                          err);
}

static enum err_code bits_make_later(struct index_work *work, uint32_t count, struct slot_bits *ret,
                                     struct err *err)
{
    return slot_bits_make_later(ret, count, work->task->subject_begin, bits_words(work),
                                work->arena, err);
}

static uint32_t bits_end(const struct index_work *work, const struct slot_bits *bits)
{
    return slot_bits_end(bits, work->task->subject_end);
}

/* Atom 0 is the time before the first cohort's starts, where that matters. */
static enum err_code take_starts(void *arg, const struct source *source, uint32_t atom,
                                 const struct subject_members *members, struct err *err)
{
    (void)source;
    (void)err;
    struct index_work *work = arg;
    bool has_before = work->before.words != NULL;
    const struct slot_bits *bits = has_before && atom == 0 ? &work->before : &work->starts;
    uint32_t slot = has_before ? (atom == 0 ? 0 : atom - 1) : atom;
    bits_add_members(slot_bits_touch(bits, slot), bits->base, bits_end(work, bits), members);
    return ERR_OK;
}

static enum err_code take_returns(void *arg, const struct source *source, uint32_t slot,
                                  const struct subject_members *members, struct err *err)
{
    (void)source;
    (void)err;
    struct index_work *work = arg;
    const struct slot_bits *bits = &work->returns;
    uint32_t end = bits_end(work, bits);
    if (work->is_any_return && slot < work->plan->spec.cohort_count) {
        bits_add_members_twice(slot_bits_touch(bits, slot), slot_bits_touch(&work->actives, slot),
                               bits->base, end, members);
    } else {
        bits_add_members(slot_bits_touch(bits, slot), bits->base, end, members);
    }
    return ERR_OK;
}

/* Starts lie in [from, to): the first and the last cohort's slots are cut to it. Before them, for first ever starts, the
 * time that the data reach back. */
static enum err_code gather_starts(struct index_work *work, struct err *err)
{
    const struct retention_spec *spec = &work->plan->spec;
    int64_t begin_ms = work->run->snapshot->time_min_ms;
    bool has_before = is_ever(spec->start) && begin_ms < spec->from_ms;
    int64_t *edges = NULL;
    uint32_t count = 0;
    ERR_TRY(ARENA_NEW(work->arena, (size_t)spec->cohort_count + 2, &edges, err));
    if (has_before) {
        ERR_TRY(bits_make(work, 1, &work->before, err));
        edges[count++] = begin_ms;
    }
    for (uint32_t s = 0; s <= spec->cohort_count; s++) {
        edges[count++] = MIN_OF(MAX_OF(spec->begins[s], spec->from_ms), spec->to_ms);
    }
    const struct index_ask ask = {.query = work->run->query,
                                  .selector = work->run->query->retention.start_selector,
                                  .edges = edges,
                                  .atom_count = count - 1};
    if (work->where != NULL) {
        const struct where_sets into = {&work->starts, has_before ? &work->before : NULL, NULL};
        ERR_TRY(retention_where_gather(work->where, &ask, &into, err));
    } else {
        const struct index_taker taker = {.arg = work, .take = take_starts};
        ERR_TRY(index_walk(work->run, work->task, &ask, &taker, work->arena, work->io, err));
    }
    slot_bits_settle(&work->starts);
    return ERR_OK;
}

static enum err_code gather_returns(struct index_work *work, struct err *err)
{
    const struct retention_spec *spec = &work->plan->spec;
    const struct index_ask ask = {.query = work->run->query,
                                  .selector = work->run->query->retention.return_selector,
                                  .edges = spec->begins,
                                  .atom_count = spec->slot_count};
    if (work->where != NULL) {
        const struct where_sets into = {&work->returns, NULL,
                                        work->is_any_return ? &work->actives : NULL};
        ERR_TRY(retention_where_gather(work->where, &ask, &into, err));
    } else {
        const struct index_taker taker = {.arg = work, .take = take_returns};
        ERR_TRY(index_walk(work->run, work->task, &ask, &taker, work->arena, work->io, err));
    }
    slot_bits_settle(&work->returns);
    return ERR_OK;
}

static enum err_code drop_deleted(struct index_work *work, struct err *err)
{
    const roaring_bitmap_t *deleted = work->run->snapshot->deleted[work->task->shard];
    struct slot_bits gone = {0};
    size_t words = work->starts.word_count;
    if (deleted == NULL) {
        return ERR_OK;
    }
    ERR_TRY(bits_make(work, 1, &gone, err));
    bits_add_set(gone.words, work->starts.base, words, deleted);
    for (uint32_t s = 0; s < work->plan->spec.cohort_count; s++) {
        bits_andnot(slot_bits_of(&work->starts, s), gone.words, words);
    }
    return ERR_OK;
}

/* Starts become members: not of deleted subjects, and of first starts only the first. */
static enum err_code keep_members(struct index_work *work, struct err *err)
{
    const struct retention_spec *spec = &work->plan->spec;
    ERR_TRY(drop_deleted(work, err));
    if (spec->start == RETENTION_RECURRING) {
        return ERR_OK;
    }
    struct slot_bits seen = {0};
    size_t words = work->starts.word_count;
    ERR_TRY(bits_make(work, 1, &seen, err));
    if (work->before.words != NULL) {
        bits_or(seen.words, work->before.words, words);
    }
    for (uint32_t s = 0; s < spec->cohort_count; s++) {
        bits_andnot(slot_bits_of(&work->starts, s), seen.words, words);
        bits_or(seen.words, slot_bits_of(&work->starts, s), words);
    }
    return ERR_OK;
}

/* ---- period 0 ---- */

static void take_repeats(void *arg, uint32_t slot, const uint32_t *subjects, uint32_t count)
{
    struct index_work *work = arg;
    const struct subject_members members = members_of_list(subjects, count);
    bits_add_members(slot_bits_touch(&work->actives, slot), work->actives.base,
                     bits_end(work, &work->actives), &members);
}

static bool is_asked(void *arg, uint32_t slot, uint32_t subject)
{
    const struct index_work *work = arg;
    return slot_bits_has(&work->starts, slot, subject) &&
           !slot_bits_has(&work->actives, slot, subject);
}

/* Where every event is a return, a member is active in its slot if it has two events there: in two sources, or in one. */
static enum err_code find_repeats(struct index_work *work, struct err *err)
{
    const struct retention_spec *spec = &work->plan->spec;
    const struct beside_ask ask = {
        .run = work->run,
        .task = work->task,
        .spec = spec,
        .arena = work->arena,
        .io = work->io,
        .arg = work,
        .take = take_repeats,
        .is_asked = is_asked,
    };
    int64_t *edges = NULL;
    if (work->where == NULL) {
        ERR_TRY(retention_beside(&ask, err));
    } else {
        ERR_TRY(retention_beside_edges(work->run, spec, work->arena, &edges, err));
        ERR_TRY(retention_where_repeats(work->where, edges, spec->cohort_count, &work->starts,
                                        &work->actives, err));
    }
    slot_bits_settle(&work->actives);
    for (uint32_t c = 0; c < spec->cohort_count; c++) {
        size_t words = work->actives.word_count;
        bits_and(slot_bits_of(&work->actives, c), slot_bits_of(&work->starts, c), words);
    }
    return ERR_OK;
}

static enum err_code find_actives(struct index_work *work, struct err *err)
{
    uint32_t cohorts = work->plan->spec.cohort_count;
    if (work->is_any_return) {
        return find_repeats(work, err);
    }
    for (uint32_t c = 0; c < cohorts; c++) {
        size_t words = work->actives.word_count;
        bits_or(slot_bits_touch(&work->actives, c), slot_bits_of(&work->starts, c), words);
        bits_and(slot_bits_of(&work->actives, c), slot_bits_of(&work->returns, c), words);
    }
    return ERR_OK;
}

/* ---- counting ---- */

/* Exact periods: of each cohort, the members that are in the returns of a later slot. */
static enum err_code count_exact(struct index_work *work, uint64_t **rows, struct err *err)
{
    const struct retention_spec *spec = &work->plan->spec;
    size_t words = work->starts.word_count;
    for (uint32_t c = 0; c < spec->cohort_count; c++) {
        uint32_t end = MIN_OF(spec->slot_count - c, spec->period_count);
        ERR_TRY(run_check(work->run, err));
        for (uint32_t n = 1; rows[c] != NULL && n < end; n++) {
            rows[c][1 + n] += bits_and_count(slot_bits_of(&work->starts, c),
                                             slot_bits_of(&work->returns, c + n), words);
        }
    }
    return ERR_OK;
}

/* Whether an intersection for each cohort and period costs less than a look at each member. */
static bool are_few_pairs(const struct index_work *work, uint64_t *const *rows)
{
    const struct retention_spec *spec = &work->plan->spec;
    uint64_t pairs = (uint64_t)spec->cohort_count * MIN_OF(spec->slot_count, spec->period_count);
    uint64_t members = 0;
    for (uint32_t c = 0; c < spec->cohort_count; c++) {
        members += rows[c] == NULL ? 0 : rows[c][0];
    }
    return pairs * work->starts.word_count <= members * PAIR_WORDS;
}

/* Period n or later: up to the last slot that has a return. */
static enum err_code count_unbounded(struct index_work *work, uint64_t **rows, struct err *err)
{
    const struct retention_spec *spec = &work->plan->spec;
    size_t words = work->starts.word_count;
    uint32_t *last = NULL;
    ERR_TRY(ARENA_NEW(work->arena, words * 64, &last, err)); /* slot + 1; 0: none */
    for (uint32_t t = 0; t < spec->slot_count; t++) {
        const uint64_t *returns = slot_bits_of(&work->returns, t);
        for (size_t w = 0; w < words; w++) {
            for (uint64_t bits = returns[w]; bits != 0; bits &= bits - 1) {
                last[w * 64 + (uint32_t)__builtin_ctzll(bits)] = t + 1;
            }
        }
    }
    for (uint32_t c = 0; c < spec->cohort_count; c++) {
        const uint64_t *members = slot_bits_of(&work->starts, c);
        const uint64_t *actives = slot_bits_of(&work->actives, c);
        ERR_TRY(run_check(work->run, err));
        for (size_t w = 0; w < words; w++) {
            for (uint64_t bits = members[w]; bits != 0; bits &= bits - 1) {
                uint32_t bit = (uint32_t)__builtin_ctzll(bits);
                uint32_t later = last[w * 64 + bit];
                uint32_t upto = later > c + 1 ? later - c : (uint32_t)(actives[w] >> bit & 1);
                for (uint32_t n = 0; n < MIN_OF(upto, spec->period_count); n++) {
                    rows[c][1 + n]++;
                }
            }
        }
    }
    return ERR_OK;
}

static enum err_code count_all(struct index_work *work, struct retention_part *part,
                               struct err *err)
{
    const struct retention_spec *spec = &work->plan->spec;
    size_t words = work->starts.word_count;
    uint64_t **rows = NULL;
    ERR_TRY(ARENA_NEW(work->arena, spec->cohort_count, &rows, err));
    for (uint32_t c = 0; c < spec->cohort_count; c++) {
        uint64_t size = bits_count(slot_bits_of(&work->starts, c), words);
        if (size > 0) {
            ERR_TRY(retention_row(part, spec, 0, c, work->arena, &rows[c], err));
            rows[c][0] += size;
        }
    }
    if (spec->mode == RETENTION_UNBOUNDED) {
        return count_unbounded(work, rows, err);
    }
    for (uint32_t c = 0; c < spec->cohort_count; c++) {
        if (rows[c] != NULL) {
            rows[c][1] += bits_count(slot_bits_of(&work->actives, c), words);
        }
    }
    return spec->start == RETENTION_RECURRING || are_few_pairs(work, rows)
               ? count_exact(work, rows, err)
               : firsts_count_bits(work->run, spec, &work->starts, &work->returns, rows,
                                   work->arena, err);
}

/* Sets tell of all but the unsure, whose journeys are read. */
static enum err_code count_where(struct index_work *work, struct retention_part *part,
                                 struct err *err)
{
    const struct run_task *task = work->task;
    const uint64_t *unsure = retention_where_unsure(work->where);
    size_t words = work->starts.word_count;
    struct journey_rows *rows = NULL;
    if (unsure == NULL) {
        return retention_read(work->run, task, NULL, part, work->arena, work->io, err);
    }
    for (uint32_t c = 0; c < work->plan->spec.cohort_count; c++) {
        bits_andnot(slot_bits_of(&work->starts, c), unsure, words);
        bits_andnot(slot_bits_of(&work->actives, c), unsure, words);
    }
    ERR_TRY(count_all(work, part, err));
    if (bits_count(unsure, words) == 0) {
        return ERR_OK;
    }
    ERR_TRY(ARENA_NEW(work->arena, task->source_count, &rows, err));
    for (uint32_t s = 0; s < task->source_count; s++) {
        ERR_TRY(journey_rows_of_bits(work->run, task->sources[s], work->starts.base, unsure, words,
                                     work->arena, work->io, &rows[s], err));
    }
    return retention_read(work->run, task, rows, part, work->arena, work->io, err);
}

enum err_code retention_index_task(struct query_run_ctx *run, const struct run_task *task,
                                   struct arena *arena, struct io *io, void *slot, struct err *err)
{
    const struct retention_plan *plan = run->verb_plan;
    struct retention_part *part = slot;
    struct index_work work = {
        .run = run,
        .task = task,
        .plan = plan,
        .arena = arena,
        .io = io,
        .is_any_return =
            selector_has_any(&run->query->selectors[run->query->retention.return_selector]),
    };
    CLEANUP(retention_where_closep) struct retention_where *where = NULL;
    ERR_TRY(groups_create(run->query, arena, &part->groups, err));
    if (is_of_firsts(run, &plan->spec)) {
        return retention_firsts_task(run, task, part, arena, io, err);
    }
    if (has_where(run)) {
        ERR_TRY(retention_where_open(run, task, bits_words(&work), arena, io, &where, err));
        work.where = where;
    }
    ERR_TRY(bits_make_later(&work, plan->spec.cohort_count, &work.starts, err));
    ERR_TRY(bits_make_later(&work, plan->spec.slot_count, &work.returns, err));
    ERR_TRY(bits_make_later(&work, plan->spec.cohort_count, &work.actives, err));
    ERR_TRY(gather_starts(&work, err));
    ERR_TRY(keep_members(&work, err));
    ERR_TRY(gather_returns(&work, err));
    ERR_TRY(find_actives(&work, err));
    return where == NULL ? count_all(&work, part, err) : count_where(&work, part, err);
}
