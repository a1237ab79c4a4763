/* query/retention_firsts.c - see retention_firsts.h. */
#include "query/retention_firsts.h"

#include "query/grow.h"
#include "query/index_sets.h"
#include "query/retention_beside.h"
#include "query/subject_bits.h"
#include "storage/base/cpu.h"

#define LOOK_WORDS 4u /* that are intersected and counted in the time of a look at a member */

/* A word that has members of a cohort. */
struct cohort_word {
    uint64_t members;
    uint64_t actives; /* members that are back in the cohort's own slot */
    uint64_t olds;    /* members whose start is expired, so none of the rows that are kept */
    uint32_t at;      /* in the task's words */
};

/* Words of the task's subjects from `at` on; those that are not shown are 0. */
struct words_view {
    const uint64_t *words;
    uint32_t at, count;
};

struct firsts {
    struct query_run_ctx *run;
    const struct retention_spec *spec;
    struct arena *arena;
    uint32_t base; /* the subject of bit 0: a multiple of 64 */
    uint32_t word_count;
    struct cohort_word *words; /* cohort by cohort, ascending */
    uint32_t *ends;            /* of cohorts, in `words` */
    uint32_t word_end, word_cap;
    /* Returns, of one or the other: */
    const struct index_gathered *gathered;
    const struct slot_bits *bits;
    uint64_t *united, *twice; /* scratch, word_count each */
};

static enum err_code firsts_make(struct firsts *f, struct err *err)
{
    ERR_TRY(ARENA_NEW(f->arena, f->spec->cohort_count, &f->ends, err));
    ERR_TRY(ARENA_NEW(f->arena, f->word_count, &f->united, err));
    return ARENA_NEW(f->arena, f->word_count, &f->twice, err);
}

static struct cohort_word *cohort_begin(const struct firsts *f, uint32_t cohort)
{
    return f->words + (cohort == 0 ? 0 : f->ends[cohort - 1]);
}

static struct cohort_word *cohort_end(const struct firsts *f, uint32_t cohort)
{
    return f->words + f->ends[cohort];
}

static uint64_t view_at(const struct words_view *view, uint32_t at)
{
    uint32_t place = at - view->at; /* one before the view is far behind it */
    return place < view->count ? view->words[place] : 0;
}

/* The subject behind the last of so many words. */
static uint32_t word_end_of(const struct firsts *f, uint32_t words)
{
    return (uint32_t)MIN_OF(f->base + (uint64_t)words * 64, UINT32_MAX);
}

/* ---- sets of a slot ---- */

/* The words of the task that a set reaches over; false where it has none. */
static bool set_reach(const struct firsts *f, const struct subject_members *members,
                      uint32_t *ret_first, uint32_t *ret_last)
{
    uint64_t first = 0;
    uint64_t last = 0;
    if (members->list == NULL) {
        first = members->base / 64;
        last = first + members->word_count;
    } else if (members->count > 0) {
        first = members->list[0] / 64;
        last = (uint64_t)members->list[members->count - 1] / 64 + 1;
    }
    first = MAX_OF(first, f->base / 64);
    last = MIN_OF(last, (uint64_t)f->base / 64 + f->word_count);
    *ret_first = (uint32_t)(first - f->base / 64);
    *ret_last = (uint32_t)(last - f->base / 64);
    return first < last;
}

/* All of them; with several, *ret_twice has those that two of them have. It lies in the sets or in scratch. */
static struct words_view unite(const struct firsts *f, const struct index_members *chain,
                               struct words_view *ret_twice)
{
    uint32_t first = UINT32_MAX;
    uint32_t last = 0;
    uint32_t end = word_end_of(f, f->word_count);
    *ret_twice = (struct words_view){0};
    for (const struct index_members *set = chain; set != NULL; set = set->next) {
        uint32_t set_first = 0;
        uint32_t set_last = 0;
        if (set_reach(f, &set->members, &set_first, &set_last)) {
            first = MIN_OF(first, set_first);
            last = MAX_OF(last, set_last);
        }
    }
    if (first >= last) {
        return (struct words_view){0};
    }
    if (chain->next == NULL && chain->members.list == NULL) {
        const uint64_t *words = chain->members.words;
        return (struct words_view){words + (f->base / 64 + first - chain->members.base / 64), first,
                                   last - first};
    }
    memset(f->united + first, 0, (last - first) * sizeof(uint64_t));
    memset(f->twice + first, 0, (last - first) * sizeof(uint64_t));
    for (const struct index_members *set = chain; set != NULL; set = set->next) {
        if (chain->next == NULL) {
            bits_add_members(f->united, f->base, end, &set->members);
        } else {
            bits_add_members_twice(f->united, f->twice, f->base, end, &set->members);
        }
    }
    *ret_twice =
        (struct words_view){f->twice + first, first, chain->next == NULL ? 0 : last - first};
    return (struct words_view){f->united + first, first, last - first};
}

static struct words_view returns_of(const struct firsts *f, uint32_t slot,
                                    struct words_view *ret_twice)
{
    if (f->gathered != NULL) {
        return unite(f, f->gathered->atoms[slot], ret_twice);
    }
    *ret_twice = (struct words_view){0};
    return (struct words_view){slot_bits_of(f->bits, slot), 0, f->word_count};
}

/* ---- cohorts ---- */

/* The slot's starts become members, but those that are in `seen`, which they join. Slots ascend. */
static enum err_code add_cohort(struct firsts *f, uint32_t slot, const struct words_view *starts,
                                uint64_t *seen, struct err *err)
{
    for (uint32_t i = 0; i < starts->count; i++) {
        uint32_t at = starts->at + i;
        uint64_t members = starts->words[i] & ~seen[at];
        if (members == 0) {
            continue;
        }
        seen[at] |= members;
        ERR_TRY(GROW(f->arena, &f->words, f->word_end, &f->word_cap, err));
        f->words[f->word_end++] = (struct cohort_word){.members = members, .at = at};
    }
    f->ends[slot] = f->word_end;
    return ERR_OK;
}

static enum err_code make_rows(const struct firsts *f, struct retention_part *part, uint64_t **rows,
                               struct err *err)
{
    for (uint32_t c = 0; c < f->spec->cohort_count; c++) {
        uint64_t size = 0;
        for (const struct cohort_word *w = cohort_begin(f, c); w < cohort_end(f, c); w++) {
            size += (uint64_t)__builtin_popcountll(w->members);
        }
        if (size > 0) {
            ERR_TRY(retention_row(part, f->spec, 0, c, f->arena, &rows[c], err));
            rows[c][0] += size;
        }
    }
    return ERR_OK;
}

/* ---- counting: words of cohorts ---- */

CPU_CLONES static uint64_t count_in(const struct cohort_word *begin, const struct cohort_word *end,
                                    const struct words_view *returns)
{
    uint64_t count = 0;
    for (const struct cohort_word *w = begin; w < end; w++) {
        count += (uint64_t)__builtin_popcountll(w->members & view_at(returns, w->at));
    }
    return count;
}

/* The first cohort that has a period in the slot. */
static uint32_t first_cohort(const struct retention_spec *spec, uint32_t slot)
{
    return slot + 1 > spec->period_count ? slot + 1 - spec->period_count : 0;
}

static void count_slot(const struct firsts *f, uint32_t slot, const struct words_view *returns,
                       uint64_t **rows)
{
    for (uint32_t c = first_cohort(f->spec, slot); c < MIN_OF(slot, f->spec->cohort_count); c++) {
        if (rows[c] != NULL) {
            rows[c][1 + slot - c] += count_in(cohort_begin(f, c), cohort_end(f, c), returns);
        }
    }
}

static enum err_code count_exact(const struct firsts *f, uint64_t **rows, struct err *err)
{
    for (uint32_t t = 1; t < f->spec->slot_count; t++) {
        struct words_view twice;
        const struct words_view returns = returns_of(f, t, &twice);
        ERR_TRY(run_check(f->run, err));
        count_slot(f, t, &returns, rows);
    }
    return ERR_OK;
}

/* Period n or later: who is back in that slot or one behind it, and so from the last slot on. */
static enum err_code count_unbounded(const struct firsts *f, uint64_t **rows, struct err *err)
{
    const struct retention_spec *spec = f->spec;
    uint64_t *later = NULL;
    ERR_TRY(ARENA_NEW(f->arena, f->word_count, &later, err));
    const struct words_view all = {later, 0, f->word_count};
    for (uint32_t t = spec->slot_count; t-- > 0;) {
        struct words_view twice;
        ERR_TRY(run_check(f->run, err));
        if (t < spec->cohort_count && rows[t] != NULL) {
            for (const struct cohort_word *w = cohort_begin(f, t); w < cohort_end(f, t); w++) {
                uint64_t back = w->actives | (w->members & later[w->at]);
                rows[t][1] += (uint64_t)__builtin_popcountll(back);
            }
        }
        const struct words_view returns = returns_of(f, t, &twice);
        for (uint32_t i = 0; i < returns.count; i++) {
            later[returns.at + i] |= returns.words[i];
        }
        count_slot(f, t, &all, rows);
    }
    return ERR_OK;
}

/* ---- counting: a look at each return ---- */

/* row[cohort of a member]++ */
static void look_at(const struct words_view *returns, const uint32_t *cohorts, uint32_t *row)
{
    for (uint32_t i = 0; i < returns->count; i++) {
        const uint32_t *of_word = cohorts + (size_t)(returns->at + i) * 64;
        for (uint64_t bits = returns->words[i]; bits != 0; bits &= bits - 1) {
            row[of_word[__builtin_ctzll(bits)]]++;
        }
    }
}

static enum err_code count_by_looks(const struct firsts *f, uint64_t **rows, struct err *err)
{
    const struct retention_spec *spec = f->spec;
    uint32_t *cohorts = NULL; /* by subject; 0: in none, c + 1: in cohort c */
    uint32_t *row = NULL;
    ERR_TRY(ARENA_NEW(f->arena, (size_t)f->word_count * 64, &cohorts, err));
    ERR_TRY(ARENA_NEW(f->arena, (size_t)spec->cohort_count + 1, &row, err));
    for (uint32_t c = 0; c < spec->cohort_count; c++) {
        for (const struct cohort_word *w = cohort_begin(f, c); w < cohort_end(f, c); w++) {
            for (uint64_t bits = w->members; bits != 0; bits &= bits - 1) {
                cohorts[(size_t)w->at * 64 + (uint32_t)__builtin_ctzll(bits)] = c + 1;
            }
        }
    }
    for (uint32_t t = 1; t < spec->slot_count; t++) {
        struct words_view twice;
        const struct words_view returns = returns_of(f, t, &twice);
        ERR_TRY(run_check(f->run, err));
        look_at(&returns, cohorts, row);
        for (uint32_t c = first_cohort(spec, t); c < MIN_OF(t, spec->cohort_count); c++) {
            if (rows[c] != NULL) {
                rows[c][1 + t - c] += row[c + 1];
            }
        }
        memset(row, 0, ((size_t)spec->cohort_count + 1) * sizeof(*row));
    }
    return ERR_OK;
}

/* Whether the words of cohorts, for all periods, cost less than a look at each return. */
static bool are_words_few(const struct firsts *f, uint64_t return_count)
{
    const struct retention_spec *spec = f->spec;
    uint64_t words = 0;
    for (uint32_t c = 0; c < spec->cohort_count; c++) {
        uint64_t periods = MIN_OF(spec->slot_count - c, spec->period_count);
        words += periods * (uint64_t)(cohort_end(f, c) - cohort_begin(f, c));
    }
    return words <= return_count * LOOK_WORDS;
}

/* Periods from 1 on. */
static enum err_code count_periods(const struct firsts *f, uint64_t return_count, uint64_t **rows,
                                   struct err *err)
{
    return are_words_few(f, return_count) ? count_exact(f, rows, err)
                                          : count_by_looks(f, rows, err);
}

enum err_code firsts_count_bits(struct query_run_ctx *run, const struct retention_spec *spec,
                                const struct slot_bits *starts, const struct slot_bits *returns,
                                uint64_t **rows, struct arena *arena, struct err *err)
{
    struct firsts f = {
        .run = run,
        .spec = spec,
        .arena = arena,
        .base = starts->base,
        .word_count = (uint32_t)starts->word_count,
        .bits = returns,
    };
    uint64_t *seen = NULL;
    uint64_t return_count = 0;
    ERR_TRY(firsts_make(&f, err));
    ERR_TRY(ARENA_NEW(arena, f.word_count, &seen, err));
    for (uint32_t c = 0; c < spec->cohort_count; c++) {
        const struct words_view members = {slot_bits_of(starts, c), 0, f.word_count};
        ERR_TRY(add_cohort(&f, c, &members, seen, err));
    }
    for (uint32_t t = 1; t < spec->slot_count; t++) {
        return_count += bits_count(slot_bits_of(returns, t), f.word_count);
    }
    return count_periods(&f, return_count, rows, err);
}

/* ---- a task ---- */

struct firsts_task {
    const struct run_task *task;
    struct io *io;
    bool is_any_return;
    struct firsts firsts;
    uint64_t *seen; /* who is in a cohort by now, or in none for good */
    struct first_events expired;
    uint32_t *expired_order; /* by slot of their time */
    uint32_t *expired_ends;  /* by slot, in that order */
    bool has_olds;
};

static bool is_ever(enum retention_start start)
{
    return start == RETENTION_FIRST_EVER || start == RETENTION_FIRST_EVER_UNFILTERED;
}

static void see(struct firsts_task *work, uint32_t subject)
{
    uint64_t bit = (uint64_t)subject - work->firsts.base;
    if (subject >= work->firsts.base && bit / 64 < work->firsts.word_count) {
        work->seen[bit / 64] |= UINT64_C(1) << (bit % 64);
    }
}

static bool see_one(uint32_t subject, void *arg)
{
    see(arg, subject);
    return true;
}

/* Of other tasks' subjects, and of deleted ones, no start counts. */
static void see_others(struct firsts_task *work)
{
    const struct firsts *f = &work->firsts;
    const roaring_bitmap_t *deleted = f->run->snapshot->deleted[work->task->shard];
    uint32_t end = word_end_of(f, f->word_count);
    for (uint32_t subject = f->base; subject < work->task->subject_begin; subject++) {
        see(work, subject);
    }
    for (uint32_t subject = MAX_OF(run_task_end(f->run, work->task), f->base); subject < end;
         subject++) {
        see(work, subject);
    }
    if (deleted != NULL) {
        (void)roaring_iterate(deleted, see_one, work);
    }
}

static uint32_t slot_of(const struct retention_spec *spec, int64_t time_ms)
{
    return civil_bucket_idx(spec->begins, spec->slot_count, time_ms);
}

/* First starts that are expired, by slot; those before all slots are seen. */
static enum err_code find_expired(struct firsts_task *work, struct err *err)
{
    struct firsts *f = &work->firsts;
    const struct retention_spec *spec = f->spec;
    const struct bound_query *query = f->run->query;
    const struct scan_want want = {query->retention.start_selector, INT64_MIN, spec->to_ms};
    const struct first_ask ask = {
        .query = query, .wants = &want, .want_count = 1, .firsts = UINT64_C(1) << want.selector};
    struct first_events *expired = &work->expired;
    if (!is_ever(spec->start)) {
        return ERR_OK;
    }
    ERR_TRY(first_ever_gather(f->run, work->task, &ask, f->arena, work->io, expired, err));
    if (expired->count == 0) {
        return ERR_OK;
    }
    ERR_TRY(ARENA_NEW(f->arena, expired->count, &work->expired_order, err));
    ERR_TRY(ARENA_NEW(f->arena, (size_t)spec->cohort_count + 1, &work->expired_ends, err));
    for (uint32_t i = 0; i < expired->count; i++) {
        if (expired->times[i] >= spec->from_ms) {
            work->expired_ends[slot_of(spec, expired->times[i]) + 1]++;
        }
    }
    for (uint32_t c = 0; c < spec->cohort_count; c++) {
        work->expired_ends[c + 1] += work->expired_ends[c];
    }
    for (uint32_t i = 0; i < expired->count; i++) {
        if (expired->times[i] >= spec->from_ms) {
            work->expired_order[work->expired_ends[slot_of(spec, expired->times[i])]++] = i;
        }
    }
    return ERR_OK;
}

/* Who had its first start before all slots is in no cohort. */
static void see_before(struct firsts_task *work)
{
    for (uint32_t i = 0; i < work->expired.count; i++) {
        if (work->expired.times[i] < work->firsts.spec->from_ms) {
            see(work, work->expired.subjects[i]);
        }
    }
}

/* The slot's expired starts; the cohort's members among them are old. */
static enum err_code add_slot(struct firsts_task *work, uint32_t slot, struct index_members *chain,
                              struct err *err)
{
    struct firsts *f = &work->firsts;
    struct words_view twice;
    if (work->expired_ends == NULL) {
        const struct words_view starts = unite(f, chain, &twice);
        return add_cohort(f, slot, &starts, work->seen, err);
    }
    uint32_t *subjects = NULL;
    uint32_t begin = slot == 0 ? 0 : work->expired_ends[slot - 1];
    uint32_t count = work->expired_ends[slot] - begin;
    ERR_TRY(ARENA_NEW(f->arena, (size_t)count + 1, &subjects, err));
    for (uint32_t i = 0; i < count; i++) {
        subjects[i] = work->expired.subjects[work->expired_order[begin + i]];
    }
    const struct index_members olds = {.members = members_of_list(subjects, count)};
    const struct index_members both = {.next = chain, .members = olds.members};
    const struct words_view starts = unite(f, count == 0 ? chain : &both, &twice);
    ERR_TRY(add_cohort(f, slot, &starts, work->seen, err));
    const struct words_view old = unite(f, &olds, &twice);
    for (struct cohort_word *w = cohort_begin(f, slot); w < cohort_end(f, slot); w++) {
        w->olds = w->members & view_at(&old, w->at);
        work->has_olds |= w->olds != 0;
    }
    return ERR_OK;
}

/* Starts lie in [from, to): the first and the last cohort's slots are cut to it. Before them, for first ever starts, the
 * time that the data reach back. */
static enum err_code find_cohorts(struct firsts_task *work, struct err *err)
{
    struct firsts *f = &work->firsts;
    const struct retention_spec *spec = f->spec;
    int64_t begin_ms = f->run->snapshot->time_min_ms;
    uint32_t before = is_ever(spec->start) && begin_ms < spec->from_ms ? 1 : 0;
    int64_t *edges = NULL;
    CLEANUP(index_gathered_done) struct index_gathered starts = {0};
    ERR_TRY(ARENA_NEW(f->arena, (size_t)spec->cohort_count + 2, &edges, err));
    edges[0] = begin_ms;
    for (uint32_t s = 0; s <= spec->cohort_count; s++) {
        edges[before + s] = MIN_OF(MAX_OF(spec->begins[s], spec->from_ms), spec->to_ms);
    }
    const struct index_ask ask = {.query = f->run->query,
                                  .selector = f->run->query->retention.start_selector,
                                  .edges = edges,
                                  .atom_count = spec->cohort_count + before};
    ERR_TRY(index_gather(f->run, work->task, &ask, work->io, &starts, f->arena, err));
    see_others(work);
    ERR_TRY(find_expired(work, err));
    see_before(work);
    if (before == 1) {
        struct words_view twice;
        const struct words_view early = unite(f, starts.atoms[0], &twice);
        for (uint32_t i = 0; i < early.count; i++) {
            work->seen[early.at + i] |= early.words[i];
        }
    }
    for (uint32_t c = 0; c < spec->cohort_count; c++) {
        ERR_TRY(add_slot(work, c, starts.atoms[before + c], err));
    }
    return ERR_OK;
}

/* ---- period 0 ---- */

static void take_repeats(void *arg, uint32_t slot, const uint32_t *subjects, uint32_t count)
{
    struct firsts *f = &((struct firsts_task *)arg)->firsts;
    struct cohort_word *begin = cohort_begin(f, slot);
    struct cohort_word *end = cohort_end(f, slot);
    if (begin == end) {
        return;
    }
    const struct index_members near = {
        .members = members_between(subjects, count, f->base + begin->at * 64,
                                   word_end_of(f, end[-1].at + 1)),
    };
    struct words_view twice;
    const struct words_view repeats = unite(f, &near, &twice);
    for (struct cohort_word *w = begin; w < end; w++) {
        w->actives |= w->members & view_at(&repeats, w->at);
    }
}

/* Of a subject that has a start in the slot, whether it is a member and not known to be active. */
static bool is_asked(void *arg, uint32_t slot, uint32_t subject)
{
    const struct firsts *f = &((const struct firsts_task *)arg)->firsts;
    const struct cohort_word *low = cohort_begin(f, slot);
    const struct cohort_word *high = cohort_end(f, slot);
    uint32_t bit = subject - f->base;
    while (high - low > 1) {
        const struct cohort_word *mid = low + (high - low) / 2;
        bool is_behind = mid->at > bit / 64;
        high = is_behind ? mid : high;
        low = is_behind ? low : mid;
    }
    return low < high && low->at == bit / 64 &&
           ((low->members & ~low->actives) >> (bit % 64) & 1) != 0;
}

/* Who is back in its own slot: by a return that is no start; or, where every event is one, by two events there, which two
 * sources have or one; or by one, where the start is none of the rows that are kept. */
static enum err_code find_actives(struct firsts_task *work, struct err *err)
{
    struct firsts *f = &work->firsts;
    for (uint32_t c = 0; c < f->spec->cohort_count; c++) {
        struct words_view twice;
        const struct words_view returns = returns_of(f, c, &twice);
        for (struct cohort_word *w = cohort_begin(f, c); w < cohort_end(f, c); w++) {
            uint64_t back = view_at(&returns, w->at);
            w->actives = w->members &
                         (work->is_any_return ? view_at(&twice, w->at) | (w->olds & back) : back);
        }
    }
    const struct beside_ask ask = {
        .run = f->run,
        .task = work->task,
        .spec = f->spec,
        .arena = f->arena,
        .io = work->io,
        .arg = work,
        .take = take_repeats,
        .is_asked = is_asked,
    };
    return work->is_any_return ? retention_beside(&ask, err) : ERR_OK;
}

static void count_actives(const struct firsts *f, uint64_t **rows)
{
    for (uint32_t c = 0; c < f->spec->cohort_count; c++) {
        for (const struct cohort_word *w = cohort_begin(f, c); w < cohort_end(f, c); w++) {
            rows[c][1] += (uint64_t)__builtin_popcountll(w->actives);
        }
    }
}

static enum err_code count_returns(struct firsts_task *work, uint64_t **rows, struct err *err)
{
    struct firsts *f = &work->firsts;
    CLEANUP(index_gathered_done) struct index_gathered returns = {0};
    const struct index_ask ask = {.query = f->run->query,
                                  .selector = f->run->query->retention.return_selector,
                                  .edges = f->spec->begins,
                                  .atom_count = f->spec->slot_count};
    ERR_TRY(index_gather(f->run, work->task, &ask, work->io, &returns, f->arena, err));
    f->gathered = &returns;
    ERR_TRY(find_actives(work, err));
    if (f->spec->mode == RETENTION_UNBOUNDED) {
        return count_unbounded(f, rows, err);
    }
    count_actives(f, rows);
    return count_periods(f, returns.member_count, rows, err);
}

enum err_code retention_firsts_task(struct query_run_ctx *run, const struct run_task *task,
                                    struct retention_part *part, struct arena *arena, struct io *io,
                                    struct err *err)
{
    const struct retention_plan *plan = run->verb_plan;
    uint32_t base = task->subject_begin / 64 * 64;
    uint32_t end = MAX_OF(run_task_end(run, task), base);
    struct firsts_task work = {
        .task = task,
        .io = io,
        .is_any_return =
            selector_has_any(&run->query->selectors[run->query->retention.return_selector]),
        .firsts =
            {
                .run = run,
                .spec = &plan->spec,
                .arena = arena,
                .base = base,
                .word_count = (end - base + 63) / 64,
            },
    };
    uint64_t **rows = NULL;
    ERR_TRY(firsts_make(&work.firsts, err));
    ERR_TRY(ARENA_NEW(arena, work.firsts.word_count, &work.seen, err));
    ERR_TRY(ARENA_NEW(arena, plan->spec.cohort_count, &rows, err));
    ERR_TRY(find_cohorts(&work, err));
    ERR_TRY(make_rows(&work.firsts, part, rows, err));
    return count_returns(&work, rows, err);
}
