/* query/trend_people.c - numbers of people in buckets, from who was there in each atom of time: one look at each.
 *
 * Where buckets are atoms of their own, and one source has an atom, its number is the length of a list. Else the atoms are taken
 * in order, and of each subject the atom that it was seen in before is kept: it is new in just the buckets that hold
 * this atom and not that one. Buckets begin and end in order, so these are neighbours, and a bucket's number is a sum of
 * differences. So a rolling window costs no more than a day: each subject and atom is touched once, not once a bucket.
 *
 * Sets that are dense are united faster as words (agg.h), and are left to it.
 */
#include "query/index_sets.h"
#include "query/subject_bits.h"
#include "query/trend_int.h"
#include "storage/base/size.h"

#define ATOMS_MAX    (UINT16_MAX - 1u)
#define WORDS_A_STEP 4u /* words that are united in the time of one look at a subject */

struct count {
    const struct trend_work *work;
    const struct trend_grid *grid;
    const struct index_gathered *gathered;
    struct trend_people *people;
    struct arena *arena;
    uint32_t base, end, word_count; /* subjects of the task */
    uint64_t *deleted;              /* NULL: nobody is */
};

bool trend_can_count(const struct query_run_ctx *run, const struct trend_plan *plan, uint32_t lane)
{
    const struct trend_lane *l = &plan->lanes[lane];
    uint32_t atom_count = plan->grids[l->grid].atom_count;
    return l->kind == ACC_USERS && l->is_indexed && !l->is_split && run->query->cell == NULL &&
           atom_count > 0 && atom_count <= ATOMS_MAX;
}

static bool set_deleted(uint32_t subject, void *arg)
{
    struct count *count = arg;
    if (subject >= count->base && subject < count->end) {
        uint32_t bit = subject - count->base;
        count->deleted[bit / 64] |= UINT64_C(1) << (bit % 64);
    }
    return true;
}

/* Stored sets know nothing of deleted subjects. */
static enum err_code find_deleted(struct count *count, struct err *err)
{
    const roaring_bitmap_t *deleted = count->work->run->snapshot->deleted[count->work->task->shard];
    if (deleted == NULL || roaring_bitmap_is_empty(deleted)) {
        return ERR_OK;
    }
    ERR_TRY(ARENA_NEW(count->arena, count->word_count, &count->deleted, err));
    roaring_iterate(deleted, set_deleted, count);
    return ERR_OK;
}

/* ---- buckets of one atom ---- */

static bool are_single_atoms(const struct trend_grid *grid, uint32_t bucket_count)
{
    if (grid->total.atom_begin != 0 || grid->total.atom_end != grid->atom_count) {
        return false;
    }
    for (uint32_t b = 0; b < bucket_count; b++) {
        if (grid->buckets[b].atom_end > grid->buckets[b].atom_begin + 1) {
            return false;
        }
    }
    return true;
}

static uint64_t count_scratch(const struct count *count, uint64_t *scratch)
{
    if (count->deleted != NULL) {
        bits_andnot(scratch, count->deleted, count->word_count);
    }
    return bits_count(scratch, count->word_count);
}

/* Different subjects of an atom, the task's own. */
static uint64_t count_atom(const struct count *count, uint32_t atom, uint64_t *scratch)
{
    const struct index_members *chain = count->gathered->atoms[atom];
    const struct run_task *task = count->work->task;
    bool is_all = task->subject_begin == 0 && task->subject_end == UINT32_MAX;
    if (chain != NULL && chain->next == NULL && is_all && count->deleted == NULL) {
        return chain->members.count;
    }
    memset(scratch, 0, count->word_count * sizeof(*scratch));
    for (; chain != NULL; chain = chain->next) {
        bits_add_members(scratch, count->base, count->end, &chain->members);
    }
    return count_scratch(count, scratch);
}

static void note_atom(struct count *count, uint32_t atom)
{
    struct trend_people *people = count->people;
    people->atom_begin = people->atom_begin == people->atom_end ? atom : people->atom_begin;
    people->atom_end = atom + 1;
}

/* Everybody who is there at all: what sources have united already, and what they have not. */
static uint64_t count_total(const struct count *count, uint64_t *scratch)
{
    const struct index_gathered *gathered = count->gathered;
    memset(scratch, 0, count->word_count * sizeof(*scratch));
    for (const struct index_members *at = gathered->united; at != NULL; at = at->next) {
        bits_add_members(scratch, count->base, count->end, &at->members);
    }
    for (uint32_t a = 0; a < count->grid->atom_count; a++) {
        for (const struct index_members *at = gathered->atoms[a]; at != NULL; at = at->next) {
            if (!at->is_united) {
                bits_add_members(scratch, count->base, count->end, &at->members);
            }
        }
    }
    return count_scratch(count, scratch);
}

static enum err_code count_single_atoms(struct count *count, struct err *err)
{
    const struct trend_grid *grid = count->grid;
    struct trend_people *people = count->people;
    uint64_t *scratch = NULL;
    ERR_TRY(ARENA_NEW(count->arena, count->word_count, &scratch, err));
    for (uint32_t b = 0; b < count->work->plan->bucket_count; b++) {
        uint32_t atom = grid->buckets[b].atom_begin;
        if (grid->buckets[b].atom_end > atom && count->gathered->atoms[atom] != NULL) {
            people->buckets[b] = count_atom(count, atom, scratch);
            if (people->buckets[b] > 0) {
                note_atom(count, atom);
            }
        }
    }
    people->total = count_total(count, scratch);
    return ERR_OK;
}

/* ---- buckets that overlap ---- */

/* The buckets that hold an atom: [begin, end), neighbours. */
struct holders {
    uint32_t begin, end;
};

static enum err_code find_holders(const struct count *count, struct holders **ret, struct err *err)
{
    const struct trend_bucket *buckets = count->grid->buckets;
    uint32_t bucket_count = count->work->plan->bucket_count;
    struct holders *holders = NULL;
    uint32_t begin = 0;
    uint32_t end = 0;
    ERR_TRY(ARENA_NEW(count->arena, count->grid->atom_count, &holders, err));
    for (uint32_t a = 0; a < count->grid->atom_count; a++) {
        while (begin < bucket_count && buckets[begin].atom_end <= a) {
            begin++;
        }
        while (end < bucket_count && buckets[end].atom_begin <= a) {
            end++;
        }
        holders[a] = (struct holders){begin, MAX_OF(begin, end)};
    }
    *ret = holders;
    return ERR_OK;
}

/* Subjects of one set, in an atom. `seen`: by subject, the last atom it was seen in and 1. */
static uint64_t pass_subjects(struct count *count, const struct holders *holders, uint32_t atom,
                              const uint32_t *subjects, uint32_t subject_count, uint16_t *seen,
                              int64_t *differences)
{
    const struct trend_bucket total = count->grid->total;
    const struct holders own = holders[atom];
    bool is_in_total = atom >= total.atom_begin && atom < total.atom_end;
    uint64_t added = 0;
    for (uint32_t i = 0; i < subject_count; i++) {
        uint32_t at = subjects[i] - count->base;
        if (subjects[i] < count->base || subjects[i] >= count->end ||
            (count->deleted != NULL && (count->deleted[at / 64] >> (at % 64) & 1) != 0)) {
            continue;
        }
        uint32_t before = seen[at];
        uint32_t first = before == 0 ? own.begin : MAX_OF(own.begin, holders[before - 1].end);
        seen[at] = (uint16_t)(atom + 1);
        if (before == atom + 1) {
            continue;
        }
        added++;
        differences[MIN_OF(first, own.end)]++;
        count->people->total += is_in_total && before <= total.atom_begin;
    }
    return added;
}

static enum err_code count_pass(struct count *count, struct err *err)
{
    uint32_t bucket_count = count->work->plan->bucket_count;
    struct holders *holders = NULL;
    uint16_t *seen = NULL;
    int64_t *differences = NULL;
    ERR_TRY(find_holders(count, &holders, err));
    ERR_TRY(ARENA_NEW(count->arena, count->end - count->base, &seen, err));
    ERR_TRY(ARENA_NEW(count->arena, (size_t)bucket_count + 1, &differences, err));
    for (uint32_t a = 0; a < count->grid->atom_count; a++) {
        uint64_t added = 0;
        ERR_TRY(run_check(count->work->run, err));
        for (const struct index_members *at = count->gathered->atoms[a]; at != NULL;
             at = at->next) {
            struct members_cursor cursor = {0};
            uint32_t buffer[MEMBERS_PORTION];
            const uint32_t *subjects = NULL;
            uint32_t some = 0;
            while ((some = members_next(&at->members, &cursor, buffer, MEMBERS_PORTION,
                                        &subjects)) > 0) {
                added += pass_subjects(count, holders, a, subjects, some, seen, differences);
            }
        }
        differences[holders[a].end] -= (int64_t)added;
        if (added > 0) {
            note_atom(count, a);
        }
    }
    int64_t people = 0;
    for (uint32_t b = 0; b < bucket_count; b++) {
        people += differences[b];
        count->people->buckets[b] = (uint64_t)people;
    }
    return ERR_OK;
}

/* Whether a look at each subject and atom is less than uniting each bucket's sets as words. */
static bool pass_pays(const struct count *count)
{
    uint64_t words = 0;
    for (uint32_t b = 0; b < count->work->plan->bucket_count; b++) {
        const struct trend_bucket *bucket = &count->grid->buckets[b];
        words += (uint64_t)(bucket->atom_end - bucket->atom_begin) * count->word_count;
    }
    return count->gathered->member_count <= words / WORDS_A_STEP;
}

/* ---- a lane ---- */

static enum err_code add_cells(struct trend_work *work, uint32_t lane,
                               const struct index_gathered *gathered, struct err *err)
{
    uint32_t atom_count = work->plan->grids[work->plan->lanes[lane].grid].atom_count;
    union acc_cell *cells = NULL;
    ERR_TRY(trend_cells(work, lane, 0, &cells, err));
    for (uint32_t a = 0; a < atom_count; a++) {
        for (const struct index_members *at = gathered->atoms[a]; at != NULL; at = at->next) {
            ERR_TRY(acc_add_members(&work->slot->pool, &cells[a], &at->members, err));
        }
    }
    return ERR_OK;
}

static enum err_code count_lane(struct trend_work *work, uint32_t lane,
                                const struct index_gathered *gathered, struct arena *scratch,
                                struct err *err)
{
    const struct acc_pool *pool = &work->slot->pool;
    struct count count = {
        .work = work,
        .grid = &work->plan->grids[work->plan->lanes[lane].grid],
        .gathered = gathered,
        .arena = scratch,
        .base = pool->subject_base,
        .end = pool->subject_end,
        .word_count = (pool->subject_end - pool->subject_base + 63) / 64,
    };
    bool is_single = are_single_atoms(count.grid, work->plan->bucket_count);
    if (!is_single && !pass_pays(&count)) {
        return add_cells(work, lane, gathered, err);
    }
    ERR_TRY(ARENA_NEW(work->arena, 1, &count.people, err));
    ERR_TRY(ARENA_NEW(work->arena, work->plan->bucket_count, &count.people->buckets, err));
    count.people->lane = lane;
    work->slot->people[lane] = count.people;
    ERR_TRY(find_deleted(&count, err));
    return is_single ? count_single_atoms(&count, err) : count_pass(&count, err);
}

enum err_code trend_count_lane(struct trend_work *work, uint32_t lane, struct err *err)
{
    const struct trend_lane *l = &work->plan->lanes[lane];
    const struct trend_grid *grid = &work->plan->grids[l->grid];
    const struct index_ask ask = {.query = work->plan->query,
                                  .selector = l->selector,
                                  .edges = grid->edges,
                                  .atom_count = grid->atom_count};
    if (work->slot->pool.subject_end <= work->slot->pool.subject_base) {
        return ERR_OK;
    }
    CLEANUP(arena_freep) struct arena *scratch = arena_create(arena_budget(work->arena));
    struct index_gathered gathered;
    enum err_code code =
        index_gather(work->run, work->task, &ask, work->io, &gathered, work->arena, err);
    if (code == ERR_OK) {
        code = count_lane(work, lane, &gathered, scratch, err);
    }
    index_gathered_done(&gathered);
    return code;
}
