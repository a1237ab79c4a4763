/* query/segment_task.c - a task's half of a segment: which of its subjects meet the condition.
 *
 *     leaves    did(...)      the stored sets of subjects, or the matching rows     -> a set
 *               measures      rows, into a cell per subject; then the comparison    -> a set
 *               people, ids   known before                                          -> a set
 *     universe  who has an event in the query's range, like a did(any)
 *     tree      and, or, not over sets; not is the universe without
 *
 * A measure that holds for people without an event (count(a) < 3) is kept as those whom it does not hold for.
 *
 * Where the root is an `and`, tests of named events come first: of tests of any event only the rows of whom these leave are
 * read. What is then said of others is wrong, and falls out of the `and`.
 */
#include "query/verb_segment.h"

#include "query/agg.h"
#include "query/agg_expr.h"
#include "query/first_ever.h"
#include "query/index_sets.h"
#include "query/pred_eval.h"
#include "query/segment_cond.h"
#include "query/trend_int.h"
#include "query/why_notes.h"
#include "storage/base/size.h"
#include "storage/read_held.h"

#define ADDER_SUBJECTS 512u
#define FEW_AT_LEAST   4u
#define FEW_SHARE      16u /* candidates are few where at most this part of the subjects are */

struct leaf {
    const struct cond *cond; /* DID or MEASURE */
    struct people_set *set;
    bool is_indexed;
    bool is_wide; /* reads rows of any event */
    bool is_due;  /* in the scan that is on */
    uint64_t bit;
    union acc_cell *cells; /* MEASURE: by subject - base */
};

struct segment_work {
    struct query_run_ctx *run;
    const struct run_task *task;
    const struct segment_plan *plan;
    struct arena *arena;
    struct io *io;
    struct people_pool *pool;
    struct acc_pool accs;
    struct leaf *leaves; /* of the plan's conditions, and the universe */
    uint32_t base, subject_count;
    const roaring_bitmap_t *deleted;
    const roaring_bitmap_t *universe; /* NULL: the condition alone says who */
    uint32_t *candidates;             /* ascending: nobody else can meet the root; NULL: unknown */
    uint32_t candidate_count;
};

/* Ascending subjects on their way into a bitmap, which takes many at once far faster than one by one. */
struct adder {
    roaring_bitmap_t *bits;
    uint32_t count;
    uint32_t subjects[ADDER_SUBJECTS];
};

static void adder_flush(struct adder *adder)
{
    roaring_bitmap_add_many(adder->bits, adder->count, adder->subjects);
    adder->count = 0;
}

static void adder_add(struct adder *adder, uint32_t subject)
{
    if (adder->count == ADDER_SUBJECTS) {
        adder_flush(adder);
    }
    adder->subjects[adder->count++] = subject;
}

/* ---- rows ---- */

enum err_code cond_add_number(const struct cond *cond, struct acc_pool *pool, union acc_cell *cell,
                              struct num number, struct err *err)
{
    if (cond->agg == AGG_SUM || cond->agg == AGG_AVG) {
        return acc_add_sum(pool, cell, number.m, number.scale, err);
    }
    const struct acc_value value = {.type = COL_NUMBER, .number = number};
    return acc_add_value(pool, acc_kind_of(cond->agg), cell, &value, err);
}

static enum err_code add_values(struct segment_work *work, union acc_cell *cell,
                                const struct vec *vec, uint32_t place, struct err *err)
{
    uint64_t seed = work->plan->hash_seed;
    if (vec->kind != VEC_CODE && vec->kind != VEC_LIST) {
        return acc_add_hash(&work->accs, cell, trend_value_hash(vec, place, seed), err);
    }
    /* each item of a list is a value */
    uint32_t begin = vec->kind == VEC_LIST ? vec->offs[place] : place;
    uint32_t end = vec->kind == VEC_LIST ? vec->offs[place + 1] : place + 1;
    for (uint32_t i = begin; i < end; i++) {
        struct str s = dict_value(vec->dict, vec->u32[i]);
        ERR_TRY(acc_add_hash(&work->accs, cell, hash128(s.ptr, s.len, seed), err));
    }
    return ERR_OK;
}

static bool is_leaf_row(const struct leaf *leaf, const struct scan_block *block, uint32_t i)
{
    return (block->masks[i] & leaf->bit) != 0 && block->times[i] >= leaf->cond->begin_ms &&
           block->times[i] < leaf->cond->end_ms;
}

static enum err_code measure_block(struct segment_work *work, struct leaf *leaf, struct scan *scan,
                                   const struct scan_block *block, struct err *err)
{
    const struct cond *cond = leaf->cond;
    struct vec vec = {.kind = VEC_ABSENT};
    const uint32_t *places = NULL;
    if (cond->agg != AGG_COUNT) {
        ERR_TRY(scan_field(scan, &cond->field, &vec, &places, err));
    }
    for (uint32_t i = 0; i < block->count; i++) {
        if (!is_leaf_row(leaf, block, i)) {
            continue;
        }
        union acc_cell *cell = &leaf->cells[block->subjects[i] - work->base];
        if (cond->agg == AGG_COUNT) {
            cell->count++;
        } else if (places[i] != UINT32_MAX) {
            ERR_TRY(cond->agg == AGG_UNIQUE
                        ? add_values(work, cell, &vec, places[i], err)
                        : cond_add_number(cond, &work->accs, cell, vec_num(&vec, places[i]), err));
        }
    }
    return ERR_OK;
}

static enum err_code did_block(struct segment_work *work, struct leaf *leaf,
                               const struct scan_block *block, struct err *err)
{
    struct adder adder;
    uint32_t last = UINT32_MAX;
    adder.bits = leaf->set->bits;
    adder.count = 0;
    for (uint32_t i = 0; i < block->count; i++) {
        if (block->subjects[i] != last && is_leaf_row(leaf, block, i)) {
            last = block->subjects[i];
            adder_add(&adder, last);
        }
    }
    adder_flush(&adder);
    return people_charge(work->pool, leaf->set, err);
}

/* One want per selector that some leaf reads rows of, over all the time that these look at. */
static enum err_code row_wants(const struct segment_work *work, struct scan_want **ret,
                               uint32_t *ret_count, struct err *err)
{
    struct scan_want *wants = NULL;
    uint32_t count = 0;
    ERR_TRY(ARENA_NEW(work->arena, work->plan->leaf_count, &wants, err));
    for (uint32_t l = 0; l < work->plan->leaf_count; l++) {
        const struct cond *cond = work->leaves[l].cond;
        uint32_t w = 0;
        if (cond == NULL || !work->leaves[l].is_due) {
            continue;
        }
        while (w < count && wants[w].selector != cond->selector) {
            w++;
        }
        if (w == count) {
            wants[count++] = (struct scan_want){cond->selector, cond->begin_ms, cond->end_ms};
        }
        wants[w].begin_ms = MIN_OF(wants[w].begin_ms, cond->begin_ms);
        wants[w].end_ms = MAX_OF(wants[w].end_ms, cond->end_ms);
    }
    *ret = wants;
    *ret_count = count;
    return ERR_OK;
}

static enum err_code scan_source(struct segment_work *work, const struct source *source,
                                 const struct scan_want *wants, uint32_t want_count,
                                 struct err *err)
{
    struct journey_rows rows = {0};
    if (work->candidates != NULL) {
        ERR_TRY(journey_rows_of(work->run, source, work->candidates, work->candidate_count,
                                work->arena, work->io, &rows, err));
        if (rows.count == 0) {
            return ERR_OK;
        }
    }
    const struct segment_plan *plan = work->plan;
    const struct scan_spec spec = {
        .query = work->run->query,
        .wants = wants,
        .want_count = want_count,
        .subject_begin = work->task->subject_begin,
        .subject_end = work->task->subject_end,
        .deleted = work->deleted,
        .no_index = run_is_reference(work->run),
        .ranges = rows.ranges,
        .range_count = rows.count,
        .cols = plan->cols,
        .col_count = plan->col_count,
    };
    CLEANUP(scan_closep) struct scan *scan = NULL;
    ERR_TRY(scan_open(source, &spec, work->run, work->arena, work->io, &scan, err));
    while (true) {
        struct scan_block block = {0};
        bool has_more = false;
        ERR_TRY(scan_next(scan, &block, &has_more, err));
        if (!has_more) {
            return ERR_OK;
        }
        for (uint32_t l = 0; l < plan->leaf_count; l++) {
            struct leaf *leaf = &work->leaves[l];
            if (leaf->cond == NULL || !leaf->is_due) {
                continue;
            }
            ERR_TRY(leaf->cond->kind == COND_DID ? did_block(work, leaf, &block, err)
                                                 : measure_block(work, leaf, scan, &block, err));
        }
    }
}

/* ---- stored sets ---- */

struct set_taker {
    struct segment_work *work;
    struct people_set *set;
};

static enum err_code take_members(void *arg, const struct source *source, uint32_t atom,
                                  const struct subject_members *members, struct err *err)
{
    (void)source;
    (void)atom;
    struct set_taker *taker = arg;
    struct members_cursor cursor = {0};
    uint32_t buffer[MEMBERS_PORTION];
    const uint32_t *subjects = NULL;
    uint32_t count = 0;
    while ((count = members_next(members, &cursor, buffer, MEMBERS_PORTION, &subjects)) > 0) {
        roaring_bitmap_add_many(taker->set->bits, count, subjects);
    }
    return people_charge(taker->work->pool, taker->set, err);
}

/* Stored sets know nothing of this task's range of subjects, nor of deleted ones. */
static void mask_set(const struct segment_work *work, roaring_bitmap_t *bits)
{
    if (work->deleted != NULL) {
        roaring_bitmap_andnot_inplace(bits, work->deleted);
    }
    if (work->task->subject_begin > 0) {
        roaring_bitmap_remove_range_closed(bits, 0, work->task->subject_begin - 1);
    }
    if (work->task->subject_end < UINT32_MAX) {
        roaring_bitmap_remove_range_closed(bits, work->task->subject_end, UINT32_MAX);
    }
}

static enum err_code index_leaf(struct segment_work *work, struct leaf *leaf, struct err *err)
{
    const int64_t edges[2] = {leaf->cond->begin_ms, leaf->cond->end_ms};
    const struct index_ask ask = {.query = work->run->query,
                                  .selector = leaf->cond->selector,
                                  .edges = edges,
                                  .atom_count = 1};
    struct set_taker set_taker = {work, leaf->set};
    const struct index_taker taker = {.arg = &set_taker, .take = take_members};
    ERR_TRY(index_walk(work->run, work->task, &ask, &taker, work->arena, work->io, err));
    mask_set(work, leaf->set->bits);
    return ERR_OK;
}

/* ---- leaves ---- */

static enum err_code open_leaves(struct segment_work *work, struct err *err)
{
    const struct segment_plan *plan = work->plan;
    ERR_TRY(ARENA_NEW(work->arena, plan->leaf_count, &work->leaves, err));
    for (uint32_t l = 0; l < plan->leaf_count; l++) {
        struct leaf *leaf = &work->leaves[l];
        const struct cond *cond = plan->leaves[l];
        if (cond == NULL || cond->begin_ms >= cond->end_ms) {
            continue; /* people that are known, or no time at all */
        }
        const struct selector *selector = &work->run->query->selectors[cond->selector];
        leaf->cond = cond;
        leaf->bit = UINT64_C(1) << cond->selector;
        leaf->is_wide = selector_has_any(selector);
        if (cond->kind == COND_MEASURE) {
            ERR_TRY(ARENA_NEW(work->arena, work->subject_count, &leaf->cells, err));
            continue;
        }
        leaf->is_indexed = index_serves(work->run, selector);
        ERR_TRY(people_set_new(work->pool, &leaf->set, err));
    }
    return ERR_OK;
}

struct cell cond_value(const struct cond *cond, const union acc_cell *cell)
{
    struct expr_value value = {.kind = VALUE_MISSING};
    switch (cond->agg) {
    case AGG_COUNT: return (struct cell){.kind = CELL_I64, .i64 = (int64_t)cell->count};
    case AGG_UNIQUE:
        return (struct cell){.kind = CELL_I64,
                             .i64 = cell->unique == NULL ? 0 : (int64_t)cell->unique->count};
    case AGG_SUM:
    case AGG_AVG: value = expr_of_sum(cell->sum, cond->agg == AGG_AVG); break;
    default:
        if (cell->value != NULL) {
            value = expr_of_num(cell->value->number);
        }
        break;
    }
    return expr_cell(&value);
}

/* ---- the tree: every set is part of the universe, where there is one ---- */

static enum err_code set_copy(struct segment_work *work, const roaring_bitmap_t *from,
                              struct people_set **ret, struct err *err)
{
    ERR_TRY(people_set_new(work->pool, ret, err));
    if (from != NULL) {
        roaring_bitmap_or_inplace((*ret)->bits, from);
    }
    return people_charge(work->pool, *ret, err);
}

/* Whether some row of subject base + i says something to a MEASURE, or to one of a FORMULA's. */
static bool has_number(const struct segment_work *work, const struct cond *cond, uint32_t i)
{
    for (uint32_t k = 0; k < cond->kid_count; k++) {
        if (has_number(work, cond->kids[k], i)) {
            return true;
        }
    }
    const union acc_cell *cells =
        cond->kind == COND_MEASURE ? work->leaves[cond->leaf].cells : NULL;
    return cells != NULL && i < work->subject_count && cells[i].count != 0;
}

/* What it says of the subject. */
static struct cell number_of(const struct segment_work *work, const struct cond *cond, uint32_t i)
{
    struct cell kids[QUERY_FORMULA_MAX];
    if (cond->kind == COND_MEASURE) {
        return has_number(work, cond, i) ? cond_value(cond, &work->leaves[cond->leaf].cells[i])
                                         : cond_value_of_nothing(cond);
    }
    for (uint32_t k = 0; k < cond->kid_count; k++) {
        kids[k] = number_of(work, cond->kids[k], i);
    }
    return cond_formula_value(cond, kids);
}

static enum err_code eval_number(struct segment_work *work, const struct cond *cond,
                                 struct people_set **ret, struct err *err)
{
    bool is_nothing_in = cond_holds_for_nothing(cond);
    struct adder adder;
    struct people_set *set = NULL; /* whom it holds for; or, with is_nothing_in, whom it does not */
    ERR_TRY(people_set_new(work->pool, &set, err));
    adder.bits = set->bits;
    adder.count = 0;
    for (uint32_t i = 0; i < work->subject_count; i++) {
        if (!has_number(work, cond, i)) {
            continue;
        }
        struct cell value = number_of(work, cond, i);
        if (cond_number_holds(cond, &value) != is_nothing_in) {
            adder_add(&adder, work->base + i);
        }
    }
    adder_flush(&adder);
    ERR_TRY(people_charge(work->pool, set, err));
    if (!is_nothing_in) {
        *ret = set;
        return ERR_OK;
    }
    ERR_TRY(set_copy(work, work->universe, ret, err));
    roaring_bitmap_andnot_inplace((*ret)->bits, set->bits);
    return ERR_OK;
}

static enum err_code eval(struct segment_work *work, const struct cond *cond,
                          struct people_set **ret, struct err *err);

static enum err_code eval_kids(struct segment_work *work, const struct cond *cond,
                               struct people_set **ret, struct err *err)
{
    struct people_set *all = NULL;
    for (uint32_t k = 0; k < cond->kid_count; k++) {
        struct people_set *kid = NULL;
        ERR_TRY(eval(work, cond->kids[k], &kid, err));
        if (all == NULL) {
            all = kid;
        } else if (cond->kind == COND_AND) {
            roaring_bitmap_and_inplace(all->bits, kid->bits);
        } else {
            roaring_bitmap_or_inplace(all->bits, kid->bits);
        }
        ERR_TRY(people_charge(work->pool, all, err));
    }
    *ret = all;
    return ERR_OK;
}

/* What has come out for the only subject, for `why`. */
static enum err_code note_part(struct segment_work *work, const struct cond *cond,
                               const struct people_set *set, struct err *err)
{
    struct why_part part = {
        .cond = cond,
        .is_met = roaring_bitmap_contains(set->bits, work->base),
    };
    if (cond->kind == COND_MEASURE || cond->kind == COND_FORMULA) {
        part.value = number_of(work, cond, 0);
    }
    return why_note_part(work->run->notes, part, err);
}

static enum err_code eval_node(struct segment_work *work, const struct cond *cond,
                               struct people_set **ret, struct err *err);

/* A set of its own: who asks may change it. */
static enum err_code eval(struct segment_work *work, const struct cond *cond,
                          struct people_set **ret, struct err *err)
{
    ERR_TRY(eval_node(work, cond, ret, err));
    return work->run->notes == NULL ? ERR_OK : note_part(work, cond, *ret, err);
}

static enum err_code eval_node(struct segment_work *work, const struct cond *cond,
                               struct people_set **ret, struct err *err)
{
    struct people_set *kid = NULL;
    const struct people *people = NULL;
    ERR_TRY(run_check(work->run, err));
    switch (cond->kind) {
    case COND_AND:
    case COND_OR: return eval_kids(work, cond, ret, err);
    case COND_NOT:
        ERR_TRY(eval(work, cond->kids[0], &kid, err));
        ERR_TRY(set_copy(work, work->universe, ret, err));
        roaring_bitmap_andnot_inplace((*ret)->bits, kid->bits);
        return ERR_OK;
    case COND_DID: {
        const struct leaf *leaf = &work->leaves[cond->leaf];
        ERR_TRY(set_copy(work, leaf->set == NULL ? NULL : leaf->set->bits, ret, err));
        break;
    }
    case COND_MEASURE:
    case COND_FORMULA: ERR_TRY(eval_number(work, cond, ret, err)); break;
    case COND_PEOPLE: people = cond->people->people; break;
    case COND_IDS: people = &work->plan->ids[cond->leaf]; break;
    }
    if (people != NULL) {
        ERR_TRY(set_copy(work, people_of(people, work->task->shard), ret, err));
    }
    if (work->universe != NULL) {
        roaring_bitmap_and_inplace((*ret)->bits, work->universe);
    }
    return ERR_OK;
}

/* ---- reading ---- */

static enum err_code read_rows(struct segment_work *work, bool takes_wide, bool takes_narrow,
                               struct err *err)
{
    struct scan_want *wants = NULL;
    uint32_t want_count = 0;
    for (uint32_t l = 0; l < work->plan->leaf_count; l++) {
        struct leaf *leaf = &work->leaves[l];
        leaf->is_due = !leaf->is_indexed && (leaf->is_wide ? takes_wide : takes_narrow);
    }
    ERR_TRY(row_wants(work, &wants, &want_count, err));
    for (uint32_t s = 0; want_count > 0 && s < work->task->source_count; s++) {
        ERR_TRY(scan_source(work, work->task->sources[s], wants, want_count, err));
    }
    return ERR_OK;
}

/* A test that can be answered before the wide leaves are read, and takes people with an event only. */
static bool is_early(const struct segment_work *work, const struct cond *cond)
{
    bool is_test =
        cond->kind == COND_DID || (cond->kind == COND_MEASURE && !cond_holds_for_nothing(cond));
    if (!is_test) {
        return cond->kind == COND_PEOPLE || cond->kind == COND_IDS;
    }
    const struct leaf *leaf = &work->leaves[cond->leaf];
    return leaf->is_indexed || !leaf->is_wide;
}

/* Whom the early tests of the root leave, if these are few. */
static enum err_code find_candidates(struct segment_work *work, struct err *err)
{
    const struct cond *root = work->plan->root;
    struct people_set *left = NULL;
    bool has_wide = false;
    for (uint32_t l = 0; l < work->plan->leaf_count; l++) {
        const struct leaf *leaf = &work->leaves[l];
        has_wide |= leaf->cond != NULL && leaf->is_wide && !leaf->is_indexed;
    }
    for (uint32_t k = 0; has_wide && root->kind == COND_AND && k < root->kid_count; k++) {
        struct people_set *kid = NULL;
        if (!is_early(work, root->kids[k])) {
            continue;
        }
        ERR_TRY(eval(work, root->kids[k], &kid, err));
        if (left != NULL) {
            roaring_bitmap_and_inplace(kid->bits, left->bits);
        }
        left = kid;
    }
    if (left == NULL) {
        return ERR_OK;
    }
    uint64_t count = roaring_bitmap_get_cardinality(left->bits);
    if (count > MAX_OF(work->subject_count / FEW_SHARE, FEW_AT_LEAST)) {
        return ERR_OK;
    }
    ERR_TRY(ARENA_NEW(work->arena, (size_t)count + 1, &work->candidates, err));
    roaring_bitmap_to_uint32_array(left->bits, work->candidates);
    work->candidate_count = (uint32_t)count;
    return ERR_OK;
}

/* Whose first event is expired, and lies in the leaf's time. */
static enum err_code first_leaf(struct segment_work *work, struct leaf *leaf, struct err *err)
{
    const struct cond *cond = leaf->cond;
    const struct scan_want want = {cond->selector, INT64_MIN, cond->end_ms};
    const struct first_ask ask = {.query = work->run->query,
                                  .wants = &want,
                                  .want_count = 1,
                                  .firsts = leaf->bit};
    struct first_events firsts;
    ERR_TRY(first_ever_gather(work->run, work->task, &ask, work->arena, work->io, &firsts, err));
    for (uint32_t i = 0; i < firsts.count; i++) {
        if (firsts.times[i] >= cond->begin_ms) {
            roaring_bitmap_add(leaf->set->bits, firsts.subjects[i]);
        }
    }
    return people_charge(work->pool, leaf->set, err);
}

static enum err_code read_first_leaves(struct segment_work *work, struct err *err)
{
    for (uint32_t l = 0; l < work->plan->leaf_count; l++) {
        struct leaf *leaf = &work->leaves[l];
        if (leaf->cond != NULL && leaf->cond->is_first && leaf->set != NULL) {
            ERR_TRY(first_leaf(work, leaf, err));
        }
    }
    return ERR_OK;
}

static enum err_code read_leaves(struct segment_work *work, struct err *err)
{
    ERR_TRY(read_first_leaves(work, err));
    bool is_reference = run_is_reference(work->run);
    for (uint32_t l = 0; l < work->plan->leaf_count; l++) {
        if (work->leaves[l].cond != NULL && work->leaves[l].is_indexed) {
            ERR_TRY(index_leaf(work, &work->leaves[l], err));
        }
    }
    bool is_noted = work->run->notes != NULL; /* then every part is to be true to itself */
    if (is_reference || is_noted || work->plan->root->kind != COND_AND) {
        return read_rows(work, true, true, err);
    }
    ERR_TRY(read_rows(work, false, true, err));
    ERR_TRY(find_candidates(work, err));
    return read_rows(work, true, false, err);
}

enum err_code segment_task(struct query_run_ctx *run, const struct run_task *task,
                           struct arena *arena, struct io *io, void *slot, struct err *err)
{
    const struct segment_plan *plan = run->verb_plan;
    struct segment_part *part = slot;
    struct segment_work work = {
        .run = run,
        .task = task,
        .plan = plan,
        .arena = arena,
        .io = io,
        .pool = &part->pool,
        .base = task->subject_begin,
        .deleted = run->snapshot->deleted[task->shard],
    };
    uint32_t end = run_task_end(run, task);
    work.subject_count = end > work.base ? end - work.base : 0;
    part->shard = task->shard;
    people_pool_init(&part->pool, arena);
    acc_pool_init(&work.accs, arena);
    ERR_TRY(open_leaves(&work, err));
    ERR_TRY(read_leaves(&work, err));
    if (plan->universe != NULL) {
        const struct leaf *leaf = &work.leaves[plan->leaf_count - 1];
        struct people_set *nobody = NULL;
        ERR_TRY(people_set_new(work.pool, &nobody, err));
        work.universe = leaf->set == NULL ? nobody->bits : leaf->set->bits;
    }
    if (run->notes != NULL) {
        run->notes->is_in_universe =
            work.universe == NULL || roaring_bitmap_contains(work.universe, work.base);
    }
    return eval(&work, plan->root, &part->set, err);
}
