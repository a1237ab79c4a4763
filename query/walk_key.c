/* query/walk_key.c - walks per KEY.
 *
 *     round 1, a task per (shard, subjects)      round 2, a task per partition     round 3, a task per partition
 *     rows -> runs of one KEY -> partition       runs of all tasks by KEY          -> journeys
 *             p of 64 by its hash
 *             lanes numbered by the task                                           lanes renumbered for all
 *
 * The order of subjects hangs on a hash with a random seed: answers cannot depend on it. Within a partition runs are put
 * together by counting; what a subject then has is mostly one run, or runs one after the other, and in order of time
 * already. Else its rows are sorted. Rows of one source and one person are in order as they lie; only where others have
 * a row at the same time do event ids decide, and between rounds 2 and 3 those are read, of these rows alone. */
#include "query/key_runs.h"
#include "query/walk_int.h"

#include "query/grow.h"
#include "storage/base/rng.h"
#include "storage/base/size.h"
#include "storage/read_held.h"

#include <stdlib.h>

#define PARTITIONS     64u
#define LANES          KEY_LANES
#define NONE           UINT32_MAX
#define RUNS_PER_CHECK 65536u
#define SOON           4u
#define RUN_LINES      4u
#define CACHE_LINE     64u
#define RUNS_AHEAD     32u /* of a block, or of journeys, whose texts or rows are on their way */

/* What a task of round 1 has gathered. */
struct key_slot {
    struct run_log logs[PARTITIONS];
    struct groups *lanes[LANES];
    const struct source *const *sources;
    uint32_t source_count;
};

struct key_plan {
    const struct walk_spec *spec;
    const struct bound_query *lane_queries[LANES];
    uint64_t seed;
    walk_fn fn;
    const struct key_slot *slots; /* of round 1 */
    uint32_t slot_count;
    const struct run_tasks *parts; /* of round 2: slots are struct key_part */
    struct groups *lanes[LANES];   /* of all tasks */
    uint32_t **numbers[LANES];     /* [lane][task][its number] -> number here */
};

/* ---- round 1 ---- */

/* The KEY of a row; false where it has none. */
static bool row_key(const struct vec *vec, uint32_t place, uint64_t seed, struct hash128 *ret)
{
    if (place == UINT32_MAX) {
        return false;
    }
    if (vec->kind == VEC_CODE || vec->kind == VEC_BYTES) {
        struct str s = vec_str(vec, place);
        *ret = hash128(s.ptr, s.len, seed);
        return !event_id_is_sentinel(s);
    }
    int64_t words[2] = {0, 0};
    if (vec->kind == VEC_NUM || vec->kind == VEC_F64) {
        struct num n = vec_num(vec, place);
        words[0] = n.m;
        words[1] = n.scale;
    } else {
        words[0] = vec->kind == VEC_BOOL ? vec->u8[place] != 0 : vec->i64[place];
    }
    *ret = hash128(words, sizeof(words), seed);
    return true;
}

static bool is_same_text(const struct vec *vec, uint32_t a, uint32_t b)
{
    return vec->kind == VEC_CODE    ? vec->u32[a] == vec->u32[b]
           : vec->kind == VEC_BYTES ? str_eq(vec_str(vec, a), vec_str(vec, b))
                                    : false;
}

/* A block's KEYs. */
struct block_keys {
    struct vec vec;
    const uint32_t *places;
    uint64_t seed;
};

/* The end of the run that row `begin` begins. */
static uint32_t run_end(const struct block_keys *keys, const struct scan_block *block,
                        uint32_t begin)
{
    uint32_t place = keys->places[begin];
    uint32_t subject = block->subjects[begin];
    uint32_t end = begin + 1;
    for (; end < block->count && block->subjects[end] == subject; end++) {
        uint32_t next = keys->places[end];
        if (place == NONE || next == NONE ? place != next
                                          : !is_same_text(&keys->vec, place, next)) {
            break;
        }
    }
    return end;
}

/* Put some runs into the logs of their partitions: the texts of their KEYs have been asked for. */
static enum err_code log_runs(struct key_run_at *runs, uint32_t count,
                              const struct block_keys *keys, struct arena *arena,
                              struct key_slot *slot, struct err *err)
{
    for (uint32_t i = 0; i < count; i++) {
        struct key_run_at *run = &runs[i];
        if (row_key(&keys->vec, keys->places[run->begin], keys->seed, &run->key)) {
            ERR_TRY(run_log_append(&slot->logs[run->key.hi % PARTITIONS], run, arena, err));
        }
    }
    return ERR_OK;
}

static enum err_code gather_block(const struct key_plan *plan, struct scan *scan,
                                  const struct scan_block *block, uint32_t source,
                                  struct arena *arena, struct key_slot *slot, struct err *err)
{
    const struct walk_spec *spec = plan->spec;
    const uint32_t *lanes[LANES] = {NULL};
    struct block_keys keys = {.seed = plan->seed};
    struct key_run_at runs[RUNS_AHEAD];
    uint32_t count = 0;
    uint32_t end = 0;

    ERR_TRY(scan_field(scan, spec->subject, &keys.vec, &keys.places, err));
    for (uint32_t k = 0; k < spec->lane_count; k++) {
        ERR_TRY(groups_of_block(slot->lanes[k], scan, block, &lanes[k], err));
    }
    for (uint32_t begin = 0; begin < block->count; begin = end) {
        end = run_end(&keys, block, begin);
        if (keys.places[begin] == NONE) {
            continue;
        }
        if (keys.vec.kind == VEC_CODE) {
            __builtin_prefetch(vec_str(&keys.vec, keys.places[begin]).ptr);
        }
        runs[count++] = (struct key_run_at){.source = source,
                                            .block = block,
                                            .lanes = lanes,
                                            .lane_count = spec->lane_count,
                                            .begin = begin,
                                            .end = end};
        if (count == RUNS_AHEAD) {
            ERR_TRY(log_runs(runs, count, &keys, arena, slot, err));
            count = 0;
        }
    }
    return log_runs(runs, count, &keys, arena, slot, err);
}

static enum err_code gather_source(struct query_run_ctx *run, const struct key_plan *plan,
                                   const struct run_task *task, uint32_t source,
                                   struct arena *arena, struct io *io, struct key_slot *slot,
                                   struct err *err)
{
    const struct walk_spec *spec = plan->spec;
    uint32_t cols[1 + LANES * QUERY_KEYS_MAX];
    struct scan_spec scan_spec = {
        .query = spec->query,
        .wants = spec->wants,
        .want_count = spec->want_count,
        .subject_begin = task->subject_begin,
        .subject_end = task->subject_end,
        .deleted = run->snapshot->deleted[task->shard],
        .no_index = run_is_reference(run),
        .cols = cols,
    };
    CLEANUP(scan_closep) struct scan *scan = NULL;
    struct scan_block block = {0};
    bool has_more = false;

    cols[scan_spec.col_count++] = spec->subject->col;
    for (uint32_t l = 0; l < spec->lane_count; l++) {
        for (uint32_t k = 0; k < spec->lanes[l].key_count; k++) {
            cols[scan_spec.col_count++] = spec->lanes[l].keys[k].field.col;
        }
    }
    ERR_TRY(scan_open(task->sources[source], &scan_spec, run, arena, io, &scan, err));
    ERR_TRY(scan_next(scan, &block, &has_more, err));
    while (has_more) {
        ERR_TRY(gather_block(plan, scan, &block, source, arena, slot, err));
        ERR_TRY(scan_next(scan, &block, &has_more, err));
    }
    return ERR_OK;
}

static enum err_code gather_task(struct query_run_ctx *run, const struct run_task *task,
                                 struct arena *arena, struct io *io, void *slot, struct err *err)
{
    const struct key_plan *plan = run->walk_plan;
    struct key_slot *own = slot;

    own->sources = task->sources;
    own->source_count = task->source_count;
    for (uint32_t k = 0; k < plan->spec->lane_count; k++) {
        ERR_TRY(groups_create(plan->lane_queries[k], arena, &own->lanes[k], err));
    }
    for (uint32_t i = 0; i < task->source_count; i++) {
        ERR_TRY(gather_source(run, plan, task, i, arena, io, own, err));
    }
    return ERR_OK;
}

/* ---- between the rounds: the tasks' lanes become one ---- */

static enum err_code merge_lane(struct query_run_ctx *run, struct key_plan *plan, uint32_t lane,
                                struct err *err)
{
    ERR_TRY(groups_create(plan->lane_queries[lane], run->arena, &plan->lanes[lane], err));
    ERR_TRY(ARENA_NEW(run->arena, plan->slot_count, &plan->numbers[lane], err));
    for (uint32_t t = 0; t < plan->slot_count; t++) {
        const struct groups *from = plan->slots[t].lanes[lane];
        uint32_t count = from == NULL ? 0 : groups_count(from);
        uint32_t *numbers = NULL;
        ERR_TRY(ARENA_NEW(run->arena, count, &numbers, err));
        for (uint32_t g = 0; g < count; g++) {
            ERR_TRY(groups_import(plan->lanes[lane], from, g, &numbers[g], err));
        }
        plan->numbers[lane][t] = numbers;
    }
    return ERR_OK;
}

/* ---- round 2 ---- */

/* A row of a subject whose runs are not one after the other. */
struct key_row {
    int64_t time_ms;
    const struct key_run *run;
    uint32_t idx;  /* in the run */
    bool has_ties; /* others have rows of this time: */
    struct str event_id;
};

struct key_subject {
    uint32_t run_begin, run_end;
    uint64_t row_begin, row_end; /* of key_part.rows; empty: the runs are one after the other */
};

struct key_part {
    const struct key_run **runs; /* by subject */
    uint32_t run_count;
    struct key_subject *subjects;
    uint32_t subject_count;
    struct key_row *rows; /* of subjects whose runs are not one after the other, by time */
    uint64_t row_count;
    struct key_row **ties; /* rows with ties, by task, source, block and row */
    uint64_t tie_count;
    /* in round 3 */
    const struct key_plan *plan;
    uint32_t next_subject;
    int64_t *times; /* of the longest journey of several runs */
    uint64_t *masks;
    uint32_t *lanes[LANES];
};

static bool is_one_key(const struct key_run *a, const struct key_run *b)
{
    return a->key.hi == b->key.hi && a->key.lo == b->key.lo;
}

static enum err_code part_collect(struct query_run_ctx *run_ctx, const struct key_plan *plan,
                                  uint32_t part_idx, struct arena *arena, struct key_part *part,
                                  struct err *err)
{
    uint64_t runs = 0;
    uint64_t rows = 0;
    for (uint32_t t = 0; t < plan->slot_count; t++) {
        runs += plan->slots[t].logs[part_idx].run_count;
        rows += plan->slots[t].logs[part_idx].row_count;
    }
    if (rows >= UINT32_MAX) {
        return err_set(err, ERR_LIMIT, "more than %u rows for \"per\" in one of %u parts",
                       UINT32_MAX, PARTITIONS);
    }
    ERR_TRY(ARENA_NEW(arena, runs, &part->runs, err));
    for (uint32_t t = 0; t < plan->slot_count; t++) {
        const struct run_log *log = &plan->slots[t].logs[part_idx];
        struct run_log_cursor cursor = {0};
        ERR_TRY(run_check(run_ctx, err));
        for (struct key_run *run = NULL; (run = run_log_next(log, &cursor)) != NULL;) {
            run->task = t; /* this task alone has the partition */
            part->runs[part->run_count++] = run;
        }
    }
    ASSERT(part->run_count == runs);
    return ERR_OK;
}

/* Number the subjects of the runs as they come; returns how many there are. `slots` has a power of two, twice the runs and
 * more, each the run that a subject came with first, or NONE. */
static uint32_t number_subjects(const struct key_part *part, uint32_t *slots, uint64_t slot_count,
                                uint32_t *out_subjects)
{
    uint32_t count = 0;
    memset(slots, 0xff, slot_count * sizeof(*slots));
    for (uint32_t i = 0; i < part->run_count; i++) {
        const struct key_run *run = part->runs[i];
        uint64_t at = run->key.lo & (slot_count - 1);
        while (slots[at] != NONE && !is_one_key(part->runs[slots[at]], run)) {
            at = (at + 1) & (slot_count - 1);
        }
        if (slots[at] == NONE) {
            slots[at] = i;
            out_subjects[i] = count++;
        } else {
            out_subjects[i] = out_subjects[slots[at]];
        }
    }
    return count;
}

/* Runs of one subject together, in the order they came in. */
static enum err_code part_group(struct key_part *part, struct arena *arena, struct err *err)
{
    CLEANUP(arena_freep) struct arena *scratch = arena_create(arena_budget(arena));
    uint64_t slot_count = 16;
    uint32_t *slots = NULL;
    uint32_t *subjects = NULL;
    const struct key_run **grouped = NULL;
    while (slot_count < 2 * (uint64_t)part->run_count) {
        slot_count *= 2;
    }
    ERR_TRY(ARENA_NEW(scratch, slot_count, &slots, err));
    ERR_TRY(ARENA_NEW(scratch, part->run_count, &subjects, err));
    ERR_TRY(ARENA_NEW(arena, part->run_count, &grouped, err));
    part->subject_count = number_subjects(part, slots, slot_count, subjects);
    ERR_TRY(ARENA_NEW(arena, part->subject_count, &part->subjects, err));
    for (uint32_t i = 0; i < part->run_count; i++) {
        part->subjects[subjects[i]].run_end++; /* for now how many */
    }
    uint32_t begin = 0;
    for (uint32_t u = 0; u < part->subject_count; u++) {
        struct key_subject *subject = &part->subjects[u];
        uint32_t count = subject->run_end;
        *subject = (struct key_subject){.run_begin = begin, .run_end = begin};
        begin += count;
    }
    for (uint32_t i = 0; i < part->run_count; i++) {
        grouped[part->subjects[subjects[i]].run_end++] = part->runs[i];
    }
    part->runs = grouped;
    return ERR_OK;
}

/* Whether all rows of run a stand before those of run b without a look at event ids. */
static bool run_is_before(const struct key_run *a, const struct key_run *b)
{
    int64_t last = key_run_times(a)[a->count - 1];
    int64_t first = key_run_times(b)[0];
    if (last != first || !key_run_is_beside(a, b)) {
        return last < first;
    }
    return a->block != b->block ? a->block < b->block
                                : key_run_rows(a)[a->count - 1] < key_run_rows(b)[0];
}

/* By where they lie: in one source and of one subject that is by time and event_id. */
static int place_cmp(const struct key_row *a, const struct key_row *b)
{
    const struct key_run *x = a->run;
    const struct key_run *y = b->run;
    if (x->task != y->task) {
        return x->task < y->task ? -1 : 1;
    }
    if (x->source != y->source) {
        return x->source < y->source ? -1 : 1;
    }
    if (x->block != y->block) {
        return x->block < y->block ? -1 : 1;
    }
    return (int)key_run_rows(x)[a->idx] - (int)key_run_rows(y)[b->idx];
}

static int row_cmp(const void *a, const void *b)
{
    const struct key_row *x = a;
    const struct key_row *y = b;
    int order = (x->time_ms > y->time_ms) - (x->time_ms < y->time_ms);
    if (order == 0) {
        order = str_cmp(x->event_id, y->event_id); /* empty before they are read */
    }
    return order != 0 ? order : place_cmp(x, y);
}

static int tie_cmp(const void *a, const void *b)
{
    return place_cmp(*(struct key_row *const *)a, *(struct key_row *const *)b);
}

/* Count the rows of subjects whose runs are not one after the other. */
static void find_unordered(struct key_part *part)
{
    for (uint32_t u = 0; u < part->subject_count; u++) {
        struct key_subject *subject = &part->subjects[u];
        bool is_ordered = true;
        uint64_t rows = 0;
        for (uint32_t r = subject->run_begin; r < subject->run_end; r++) {
            is_ordered = is_ordered && (r == subject->run_begin ||
                                        run_is_before(part->runs[r - 1], part->runs[r]));
            rows += part->runs[r]->count;
        }
        subject->row_begin = part->row_count;
        part->row_count += is_ordered ? 0 : rows;
        subject->row_end = part->row_count;
    }
}

/* The rows of the subject, by time; and those with ties that only event ids decide, marked. Returns how many. */
static uint64_t sort_subject(struct key_part *part, const struct key_subject *subject)
{
    uint64_t at = subject->row_begin;
    uint64_t ties = 0;
    for (uint32_t r = subject->run_begin; r < subject->run_end; r++) {
        const struct key_run *run = part->runs[r];
        for (uint32_t i = 0; i < run->count; i++) {
            part->rows[at++] =
                (struct key_row){.time_ms = key_run_times(run)[i], .run = run, .idx = i};
        }
    }
    struct key_row *rows = part->rows + subject->row_begin;
    uint64_t count = subject->row_end - subject->row_begin;
    qsort(rows, count, sizeof(*rows), row_cmp);
    uint64_t end = 0;
    for (uint64_t begin = 0; begin < count; begin = end) {
        bool has_ties = false;
        for (end = begin + 1; end < count && rows[end].time_ms == rows[begin].time_ms; end++) {
            has_ties = has_ties || !key_run_is_beside(rows[begin].run, rows[end].run);
        }
        for (uint64_t i = begin; has_ties && i < end; i++) {
            rows[i].has_ties = true;
            ties++;
        }
    }
    return ties;
}

static enum err_code part_sort(struct query_run_ctx *run, bool is_ordered, struct arena *arena,
                               struct key_part *part, struct err *err)
{
    uint64_t ties = 0;
    find_unordered(part);
    ERR_TRY(ARENA_NEW(arena, part->row_count, &part->rows, err));
    for (uint32_t u = 0; u < part->subject_count; u++) {
        const struct key_subject *subject = &part->subjects[u];
        if (u % RUNS_PER_CHECK == 0) {
            ERR_TRY(run_check(run, err));
        }
        if (subject->row_begin < subject->row_end) {
            ties += sort_subject(part, subject);
        }
    }
    if (!is_ordered || ties == 0) {
        return ERR_OK;
    }
    ERR_TRY(ARENA_NEW(arena, ties, &part->ties, err));
    for (uint64_t i = 0; i < part->row_count; i++) {
        if (part->rows[i].has_ties) {
            part->ties[part->tie_count++] = &part->rows[i];
        }
    }
    qsort(part->ties, part->tie_count, sizeof(*part->ties), tie_cmp);
    return ERR_OK;
}

static enum err_code part_prepare(struct query_run_ctx *run, uint32_t part_idx, const void *arg,
                                  struct arena *arena, struct io *io, void *slot, struct err *err)
{
    const struct key_plan *plan = arg;
    struct key_part *part = slot;
    (void)io;
    ERR_TRY(part_collect(run, plan, part_idx, arena, part, err));
    ERR_TRY(part_group(part, arena, err));
    return part_sort(run, plan->spec->is_ordered, arena, part, err);
}

/* ---- between the rounds: event ids of rows with ties ---- */

/* Rows with ties of one task, as yet without their ids; of each part those before at[part] are done. */
struct tie_walk {
    const struct key_plan *plan;
    uint32_t task;
    uint64_t at[PARTITIONS];
};

static struct key_part *tie_part(const struct tie_walk *walk, uint32_t part)
{
    return run_slot(walk->plan->parts, part);
}

/* The part's next row of the task; NULL where there is none. */
static struct key_row *tie_next(const struct tie_walk *walk, uint32_t part)
{
    const struct key_part *of = tie_part(walk, part);
    struct key_row *row = walk->at[part] < of->tie_count ? of->ties[walk->at[part]] : NULL;
    return row != NULL && row->run->task == walk->task ? row : NULL;
}

static void ties_begin(struct tie_walk *walk)
{
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        const struct key_part *part = tie_part(walk, p);
        uint64_t low = 0;
        uint64_t high = part->tie_count;
        while (low < high) { /* ties[0 .. low) are of tasks before */
            uint64_t mid = low + (high - low) / 2;
            if (part->ties[mid]->run->task < walk->task) {
                low = mid + 1;
            } else {
                high = mid;
            }
        }
        walk->at[p] = low;
    }
}

/* The first block, of the first source, that some row lies in; false where no row is left. */
static bool ties_block(const struct tie_walk *walk, uint32_t *ret_source, uint32_t *ret_block)
{
    bool is_found = false;
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        const struct key_row *row = tie_next(walk, p);
        if (row != NULL && (!is_found || row->run->source < *ret_source ||
                            (row->run->source == *ret_source && row->run->block < *ret_block))) {
            *ret_source = row->run->source;
            *ret_block = row->run->block;
            is_found = true;
        }
    }
    return is_found;
}

/* The ids of all rows that lie in the block. */
static enum err_code ties_fill(struct tie_walk *walk, uint32_t source, uint32_t block,
                               struct read_ctx *read, struct arena *arena, struct err *err)
{
    const struct key_slot *slot = &walk->plan->slots[walk->task];
    struct vec ids = {0};
    ERR_TRY(source_read(slot->sources[source], read, COL_EVENT_ID, block, &ids, err));
    for (uint32_t p = 0; p < PARTITIONS; p++) {
        struct key_row *row = NULL;
        while ((row = tie_next(walk, p)) != NULL && row->run->source == source &&
               row->run->block == block) {
            uint32_t place = NONE;
            vec_places(&ids, key_run_rows(row->run) + row->idx, 1, &place);
            if (place != NONE) {
                ERR_TRY(arena_str(arena, vec_str(&ids, place), &row->event_id, err));
            }
            walk->at[p]++;
        }
    }
    return ERR_OK;
}

static void read_held_end(struct read_held *held)
{
    read_held_clear(held);
    read_held_done(held);
}

/* Of one task of round 1, which read the sources: no row is of two. */
static enum err_code ties_task(struct query_run_ctx *run, uint32_t task, const void *arg,
                               struct arena *arena, struct io *io, void *slot, struct err *err)
{
    CLEANUP(arena_freep) struct arena *scratch = arena_create(&run->budget);
    CLEANUP(read_held_end) struct read_held held = {0};
    struct read_ctx read = {.arena = scratch, .io = io, .held = &held};
    struct tie_walk walk = {.plan = arg, .task = task};
    uint32_t source = 0;
    uint32_t block = 0;
    (void)slot;
    ties_begin(&walk);
    while (ties_block(&walk, &source, &block)) {
        struct arena_mark mark = arena_mark(scratch);
        ERR_TRY(run_check(run, err));
        ERR_TRY(ties_fill(&walk, source, block, &read, arena, err));
        read_held_clear(&held);
        arena_rewind(scratch, mark);
    }
    run_count(run, 0, &read);
    return ERR_OK;
}

static bool has_ties(const struct run_tasks *parts)
{
    for (uint32_t p = 0; p < parts->count; p++) {
        if (((const struct key_part *)run_slot(parts, p))->tie_count > 0) {
            return true;
        }
    }
    return false;
}

/* ---- round 3 ---- */

/* With ids at hand, rows of one time get their order. */
static void sort_ties(struct key_part *part)
{
    for (uint32_t u = 0; part->tie_count > 0 && u < part->subject_count; u++) {
        struct key_row *rows = part->rows + part->subjects[u].row_begin;
        uint64_t count = part->subjects[u].row_end - part->subjects[u].row_begin;
        uint64_t end = 0;
        for (uint64_t begin = 0; begin < count; begin = end) {
            for (end = begin + 1; end < count && rows[end].time_ms == rows[begin].time_ms;) {
                end++;
            }
            if (rows[begin].has_ties) {
                qsort(rows + begin, end - begin, sizeof(*rows), row_cmp);
            }
        }
    }
}

/* Room for the journeys that are put together of several runs. */
static enum err_code part_room(const struct key_plan *plan, struct arena *arena,
                               struct key_part *part, struct err *err)
{
    uint64_t longest = 0;
    for (uint32_t u = 0; u < part->subject_count; u++) {
        const struct key_subject *subject = &part->subjects[u];
        uint64_t rows = 0;
        for (uint32_t r = subject->run_begin; r < subject->run_end; r++) {
            rows += part->runs[r]->count;
        }
        longest = subject->run_end - subject->run_begin > 1 ? MAX_OF(longest, rows) : longest;
    }
    ERR_TRY(ARENA_NEW(arena, longest, &part->times, err));
    ERR_TRY(ARENA_NEW(arena, longest, &part->masks, err));
    for (uint32_t k = 0; k < plan->spec->lane_count; k++) {
        ERR_TRY(ARENA_NEW(arena, longest, &part->lanes[k], err));
    }
    return ERR_OK;
}

/* The only run of a subject, where it lies. */
static void take_run(const struct key_part *part, const struct key_run *run, struct journey *ret)
{
    ret->count = run->count;
    ret->times = key_run_times(run);
    ret->masks = key_run_masks(run);
    for (uint32_t k = 0; k < run->lane_count; k++) {
        const uint32_t *numbers = part->plan->numbers[k][run->task];
        uint32_t *lane = key_run_lane(run, k);
        for (uint32_t i = 0; i < run->count; i++) {
            lane[i] = numbers[lane[i]]; /* once: a journey is walked over once */
        }
        ret->lanes[k] = lane;
    }
}

/* Put a run's rows [begin, end) behind the `at` rows that are there. */
static void put_rows(struct key_part *part, const struct key_run *run, uint32_t begin, uint32_t end,
                     size_t at)
{
    memcpy(part->times + at, key_run_times(run) + begin, (end - begin) * sizeof(*part->times));
    memcpy(part->masks + at, key_run_masks(run) + begin, (end - begin) * sizeof(*part->masks));
    for (uint32_t k = 0; k < run->lane_count; k++) {
        const uint32_t *numbers = part->plan->numbers[k][run->task];
        const uint32_t *lane = key_run_lane(run, k) + begin;
        for (uint32_t i = 0; i < end - begin; i++) {
            part->lanes[k][at + i] = numbers[lane[i]];
        }
    }
}

/* Journeys mostly come as their runs lie, but these are long: the beginnings of those that come soon. */
static void expect_runs(const struct key_part *part, const struct key_subject *subject)
{
    uint32_t run = subject->run_end + SOON;
    if (run < part->run_count) {
        const char *bytes = (const char *)part->runs[run];
        for (uint32_t line = 0; line < RUN_LINES; line++) {
            __builtin_prefetch(bytes + (size_t)line * CACHE_LINE);
        }
    }
}

enum err_code key_part_next(struct key_part *part, struct journey *ret, bool *ret_more,
                            struct err *err)
{
    (void)err; /* all was allocated before */
    *ret_more = part->next_subject < part->subject_count;
    if (!*ret_more) {
        return ERR_OK;
    }
    const struct key_subject *subject = &part->subjects[part->next_subject];
    expect_runs(part, subject);
    struct journey journey = {
        .subject = part->next_subject++, .times = part->times, .masks = part->masks};
    for (uint32_t k = 0; k < part->plan->spec->lane_count; k++) {
        journey.lanes[k] = part->lanes[k];
    }
    if (subject->run_end - subject->run_begin == 1) {
        take_run(part, part->runs[subject->run_begin], &journey);
    } else if (subject->row_begin < subject->row_end) {
        for (uint64_t i = subject->row_begin; i < subject->row_end; i++) {
            const struct key_row *row = &part->rows[i];
            put_rows(part, row->run, row->idx, row->idx + 1, journey.count++);
        }
    } else {
        for (uint32_t r = subject->run_begin; r < subject->run_end; r++) {
            put_rows(part, part->runs[r], 0, part->runs[r]->count, journey.count);
            journey.count += part->runs[r]->count;
        }
    }
    *ret = journey;
    return ERR_OK;
}

static enum err_code part_task(struct query_run_ctx *run, uint32_t part_idx, const void *arg,
                               struct arena *arena, struct io *io, void *slot, struct err *err)
{
    const struct key_plan *plan = arg;
    struct key_part *part = run_slot(plan->parts, part_idx);
    struct walk walk = {.part = part};
    (void)io;

    part->plan = plan;
    sort_ties(part);
    ERR_TRY(part_room(plan, arena, part, err));
    for (uint32_t k = 0; k < plan->spec->lane_count; k++) {
        walk.lanes[k] = plan->lanes[k];
    }
    return plan->fn(run, &walk, arena, slot, err);
}

enum err_code walk_all_keys(struct query_run_ctx *run, const struct walk_spec *spec, walk_fn fn,
                            size_t slot_bytes, struct run_tasks *ret, struct err *err)
{
    CLEANUP(run_tasks_free) struct run_tasks gathered = {0};
    CLEANUP(run_tasks_free) struct run_tasks parts = {0};
    CLEANUP(run_tasks_free) struct run_tasks ids = {0};
    struct key_plan plan = {.spec = spec, .fn = fn, .parts = &parts};

    ERR_TRY(rng_system(&plan.seed, sizeof(plan.seed), err));
    for (uint32_t k = 0; k < spec->lane_count; k++) {
        ERR_TRY(walk_lane_query(spec, k, run->arena, &plan.lane_queries[k], err));
    }
    run->walk_plan = &plan;
    enum err_code code = run_all_tasks(run, gather_task, sizeof(struct key_slot), &gathered, err);
    run->walk_plan = NULL;
    ERR_TRY(code);
    plan.slots = gathered.slots;
    plan.slot_count = gathered.count;
    for (uint32_t k = 0; k < spec->lane_count; k++) {
        ERR_TRY(merge_lane(run, &plan, k, err));
    }
    ERR_TRY(
        run_all_parts(run, PARTITIONS, part_prepare, &plan, sizeof(struct key_part), &parts, err));
    if (has_ties(&parts)) {
        ERR_TRY(run_all_parts(run, plan.slot_count, ties_task, &plan, 1, &ids, err));
    }
    return run_all_parts(run, PARTITIONS, part_task, &plan, slot_bytes, ret, err);
}
