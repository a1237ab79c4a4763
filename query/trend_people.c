/* query/trend_people.c - numbers of people in buckets, from who was there in each atom of time.
 *
 * Where buckets are atoms of their own, and one source has an atom, its number is the length of a list. Where they overlap
 * (`rolling`), there are two ways, each of which takes as long for a window of a year as for one of a day:
 *
 *     words    Sets as words. Buckets begin and end in order, so their unions are those of a queue that is kept as two
 *              stacks: of the older atoms the unions from each to the newest of them, of the others the one of all. An atom is
 *              united twice, and a bucket's number is one pass over two sets.
 *     looks    Atoms are taken in order, and of each subject the atom that it was seen in before is kept: it is new in
 *              just the buckets that hold this atom and not that one. These are neighbours, and a bucket's number is a sum of
 *              differences. Each subject and atom is touched once: for sets that are sparse.
 */
#include "query/index_sets.h"
#include "query/subject_bits.h"
#include "query/trend_int.h"
#include "storage/base/size.h"

#define ATOMS_MAX       (UINT16_MAX - 1u)
#define WORDS_A_LOOK    16u /* words that are united in the time of one look at a subject */
#define WORDS_BYTES_MAX ((size_t)32 << 20) /* of the front of a queue */

struct count {
    const struct trend_work *work;
    const struct trend_grid *grid;
    const struct index_gathered *gathered;
    struct trend_people *people;
    struct arena *arena;
    uint32_t base, end, word_count; /* subjects of the task */
    uint64_t *deleted;              /* as words; NULL: nobody is */
    uint64_t *scratch;              /* word_count */
};

bool trend_can_count(const struct query_run_ctx *run, const struct trend_plan *plan, uint32_t lane)
{
    const struct trend_lane *l = &plan->lanes[lane];
    uint32_t atom_count = plan->grids[l->grid].atom_count;
    return l->kind == ACC_USERS && l->is_indexed && !l->is_split && run->query->cell == NULL &&
           atom_count > 0 && atom_count <= ATOMS_MAX;
}

/* Stored sets know nothing of deleted subjects. */
static enum err_code find_deleted(struct count *count, struct err *err)
{
    const roaring_bitmap_t *deleted = count->work->run->snapshot->deleted[count->work->task->shard];
    if (deleted == NULL || roaring_bitmap_is_empty(deleted)) {
        return ERR_OK;
    }
    ERR_TRY(ARENA_NEW(count->arena, count->word_count, &count->deleted, err));
    bits_add_set(count->deleted, count->base, count->word_count, deleted);
    return ERR_OK;
}

/* into |= who was there in the atom, deleted subjects left out of all of it. */
static void unite_atom(const struct count *count, uint32_t atom, uint64_t *into)
{
    for (const struct index_members *at = count->gathered->atoms[atom]; at != NULL; at = at->next) {
        bits_add_members(into, count->base, count->end, &at->members);
    }
    if (count->deleted != NULL) {
        bits_andnot(into, count->deleted, count->word_count);
    }
}

/* Different subjects of an atom, the task's own. */
static uint64_t count_atom(const struct count *count, uint32_t atom)
{
    const struct index_members *chain = count->gathered->atoms[atom];
    const struct run_task *task = count->work->task;
    bool is_all = task->subject_begin == 0 && task->subject_end == UINT32_MAX;
    if (chain == NULL) {
        return 0;
    }
    if (chain->next == NULL && is_all && count->deleted == NULL) {
        return chain->members.count;
    }
    memset(count->scratch, 0, count->word_count * sizeof(uint64_t));
    unite_atom(count, atom, count->scratch);
    return bits_count(count->scratch, count->word_count);
}

/* Different subjects of the whole range: where it is all atoms, of what sources have united already and what they have not. */
static uint64_t count_total(const struct count *count)
{
    const struct index_gathered *gathered = count->gathered;
    const struct trend_bucket total = count->grid->total;
    bool is_all = total.atom_begin == 0 && total.atom_end == count->grid->atom_count;
    memset(count->scratch, 0, count->word_count * sizeof(uint64_t));
    for (const struct index_members *at = gathered->united; is_all && at != NULL; at = at->next) {
        bits_add_members(count->scratch, count->base, count->end, &at->members);
    }
    for (uint32_t a = total.atom_begin; a < total.atom_end; a++) {
        for (const struct index_members *at = gathered->atoms[a]; at != NULL; at = at->next) {
            if (!is_all || !at->is_united) {
                bits_add_members(count->scratch, count->base, count->end, &at->members);
            }
        }
    }
    if (count->deleted != NULL) {
        bits_andnot(count->scratch, count->deleted, count->word_count);
    }
    return bits_count(count->scratch, count->word_count);
}

/* Where anybody is at all: an open range is shown from there to there. */
static void find_ends(const struct count *count)
{
    struct trend_people *people = count->people;
    people->atom_end = count->grid->atom_count;
    while (people->atom_begin < people->atom_end && count_atom(count, people->atom_begin) == 0) {
        people->atom_begin++;
    }
    while (people->atom_end > people->atom_begin && count_atom(count, people->atom_end - 1) == 0) {
        people->atom_end--;
    }
}

/* ---- buckets of one atom ---- */

static void count_single_atoms(const struct count *count)
{
    for (uint32_t b = 0; b < count->work->plan->bucket_count; b++) {
        const struct trend_bucket *bucket = &count->grid->buckets[b];
        if (bucket->atom_end > bucket->atom_begin) {
            count->people->buckets[b] = count_atom(count, bucket->atom_begin);
        }
    }
}

/* ---- overlapping buckets, in words ---- */

/* The queue of a bucket's atoms: [begin, mid) lie in the front, where the set of an atom is the union from it to mid; [mid, end)
 * in the back. */
struct queue {
    uint64_t *front; /* of atoms from `first` on */
    uint64_t *back;
    uint32_t first, mid, end;
};

static uint64_t *front_of(const struct count *count, const struct queue *queue, uint32_t atom)
{
    return queue->front + (size_t)(atom - queue->first) * count->word_count;
}

/* All atoms of [begin, end) to the front. */
static void turn_over(const struct count *count, struct queue *queue, uint32_t begin)
{
    size_t bytes = count->word_count * sizeof(uint64_t);
    queue->first = begin;
    queue->mid = queue->end;
    memset(queue->back, 0, bytes);
    for (uint32_t a = queue->end; a-- > begin;) {
        uint64_t *set = front_of(count, queue, a);
        if (a + 1 == queue->end) {
            memset(set, 0, bytes);
        } else {
            memcpy(set, front_of(count, queue, a + 1), bytes);
        }
        unite_atom(count, a, set);
    }
}

static uint64_t count_bucket(const struct count *count, struct queue *queue,
                             struct trend_bucket bucket)
{
    if (bucket.atom_begin >= bucket.atom_end) {
        return 0;
    }
    for (; queue->end < bucket.atom_end; queue->end++) {
        if (queue->end >= bucket.atom_begin) { /* no bucket looks back beyond that any more */
            unite_atom(count, queue->end, queue->back);
        }
    }
    if (bucket.atom_begin >= queue->mid) {
        turn_over(count, queue, bucket.atom_begin);
    }
    return bits_or_count(front_of(count, queue, bucket.atom_begin), queue->back, count->word_count);
}

static uint32_t longest_bucket(const struct count *count)
{
    uint32_t longest = 0;
    for (uint32_t b = 0; b < count->work->plan->bucket_count; b++) {
        const struct trend_bucket *bucket = &count->grid->buckets[b];
        if (bucket->atom_end > bucket->atom_begin) {
            longest = MAX_OF(longest, bucket->atom_end - bucket->atom_begin);
        }
    }
    return longest;
}

static enum err_code count_by_words(const struct count *count, struct err *err)
{
    struct queue queue = {0};
    size_t words = (size_t)longest_bucket(count) * count->word_count;
    ERR_TRY(ARENA_NEW(count->arena, words, &queue.front, err));
    ERR_TRY(ARENA_NEW(count->arena, count->word_count, &queue.back, err));
    for (uint32_t b = 0; b < count->work->plan->bucket_count; b++) {
        ERR_TRY(run_check(count->work->run, err));
        count->people->buckets[b] = count_bucket(count, &queue, count->grid->buckets[b]);
    }
    return ERR_OK;
}

/* ---- overlapping buckets, by looks ---- */

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

struct looks {
    const struct holders *holders;
    uint16_t *seen;       /* by subject: the last atom it was seen in and 1 */
    int64_t *differences; /* by bucket, and behind the last: people more than in the one before */
};

/* Subjects of one set in an atom; returns how many of them it has not had yet. */
static uint64_t look(const struct count *count, const struct looks *looks, uint32_t atom,
                     const uint32_t *subjects, uint32_t subject_count)
{
    const struct holders own = looks->holders[atom];
    uint64_t added = 0;
    for (uint32_t i = 0; i < subject_count; i++) {
        uint32_t at = subjects[i] - count->base;
        if (subjects[i] < count->base || subjects[i] >= count->end ||
            (count->deleted != NULL && (count->deleted[at / 64] >> (at % 64) & 1) != 0)) {
            continue;
        }
        uint32_t before = looks->seen[at];
        uint32_t first =
            before == 0 ? own.begin : MAX_OF(own.begin, looks->holders[before - 1].end);
        looks->seen[at] = (uint16_t)(atom + 1);
        if (before != atom + 1) {
            looks->differences[MIN_OF(first, own.end)]++;
            added++;
        }
    }
    return added;
}

static void look_at_atom(const struct count *count, const struct looks *looks, uint32_t atom)
{
    uint64_t added = 0;
    for (const struct index_members *at = count->gathered->atoms[atom]; at != NULL; at = at->next) {
        struct members_cursor cursor = {0};
        uint32_t buffer[MEMBERS_PORTION];
        const uint32_t *subjects = NULL;
        uint32_t some = 0;
        while ((some = members_next(&at->members, &cursor, buffer, MEMBERS_PORTION, &subjects)) >
               0) {
            added += look(count, looks, atom, subjects, some);
        }
    }
    looks->differences[looks->holders[atom].end] -= (int64_t)added;
}

static enum err_code count_by_looks(const struct count *count, struct err *err)
{
    uint32_t bucket_count = count->work->plan->bucket_count;
    struct holders *holders = NULL;
    struct looks looks = {0};
    int64_t people = 0;
    ERR_TRY(find_holders(count, &holders, err));
    looks.holders = holders;
    ERR_TRY(ARENA_NEW(count->arena, count->end - count->base, &looks.seen, err));
    ERR_TRY(ARENA_NEW(count->arena, (size_t)bucket_count + 1, &looks.differences, err));
    for (uint32_t a = 0; a < count->grid->atom_count; a++) {
        ERR_TRY(run_check(count->work->run, err));
        look_at_atom(count, &looks, a);
    }
    for (uint32_t b = 0; b < bucket_count; b++) {
        people += looks.differences[b];
        count->people->buckets[b] = (uint64_t)people;
    }
    return ERR_OK;
}

/* ---- a lane ---- */

static enum err_code count_buckets(const struct count *count, struct err *err)
{
    uint64_t longest = longest_bucket(count);
    uint64_t sets = 2 * (uint64_t)count->grid->atom_count + count->work->plan->bucket_count;
    if (longest <= 1) {
        count_single_atoms(count);
        return ERR_OK;
    }
    bool are_words_few = sets * count->word_count / WORDS_A_LOOK <= count->gathered->member_count &&
                         longest * count->word_count * sizeof(uint64_t) <= WORDS_BYTES_MAX;
    return are_words_few ? count_by_words(count, err) : count_by_looks(count, err);
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
    ERR_TRY(ARENA_NEW(work->arena, 1, &count.people, err));
    ERR_TRY(ARENA_NEW(work->arena, work->plan->bucket_count, &count.people->buckets, err));
    ERR_TRY(ARENA_NEW(scratch, count.word_count, &count.scratch, err));
    ERR_TRY(find_deleted(&count, err));
    ERR_TRY(count_buckets(&count, err));
    count.people->total = count_total(&count);
    find_ends(&count);
    work->slot->people[lane] = count.people;
    return ERR_OK;
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
