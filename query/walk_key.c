/* query/walk_key.c - walks per KEY.
 *
 *     round 1, a task per (shard, subjects)      round 2, a task per partition
 *     rows -> hash of KEY -> partition p of 64   partition p of all tasks -> by KEY -> journeys
 *             lanes numbered by the task                  lanes renumbered for all
 *
 * The order of subjects hangs on a hash with a random seed: answers cannot depend on it. Within a partition rows are put
 * together by counting; what a subject then has is mostly in order of time already. */
#include "query/walk_int.h"

#include "query/pred_eval.h"
#include "storage/base/hash.h"
#include "storage/base/rng.h"
#include "storage/base/size.h"

#include <stdlib.h>

#define PARTITIONS     64u
#define CHUNK_ROWS_MIN 16u
#define CHUNK_ROWS_MAX 1024u
#define LANES          (JOURNEY_LANES_MAX - 1)

struct key_row {
    struct hash128 key;
    int64_t time_ms;
    uint64_t mask;
    struct str event_id; /* only where order is asked for */
    uint32_t lanes[LANES];
};
struct row_chunk {
    struct row_chunk *next;
    uint32_t count, cap;
    struct key_row rows[];
};
/* What a task of round 1 has gathered. */
struct key_slot {
    struct row_chunk *chunks[PARTITIONS];
    uint64_t row_counts[PARTITIONS];
    struct groups *lanes[LANES];
};

struct key_plan {
    const struct walk_spec *spec;
    struct bound_query query; /* of the spec; of `why`, about the rows of one KEY */
    const struct bound_query *lane_queries[LANES];
    uint64_t seed;
    walk_fn fn;
    const struct key_slot *slots; /* of round 1 */
    uint32_t slot_count;
    struct groups *lanes[LANES]; /* of all tasks */
    uint32_t **numbers[LANES];   /* [lane][task][its number] -> number here */
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

static enum err_code slot_row(struct key_slot *slot, uint32_t part, struct arena *arena,
                              struct key_row **ret, struct err *err)
{
    struct row_chunk *chunk = slot->chunks[part];
    if (chunk == NULL || chunk->count == chunk->cap) {
        uint32_t cap = chunk == NULL ? CHUNK_ROWS_MIN : MIN_OF(2 * chunk->cap, CHUNK_ROWS_MAX);
        void *memory = NULL;
        ERR_TRY(
            arena_alloc_raw(arena, sizeof(*chunk) + cap * sizeof(struct key_row), &memory, err));
        chunk = memory;
        *chunk = (struct row_chunk){.next = slot->chunks[part], .cap = cap};
        slot->chunks[part] = chunk;
    }
    *ret = &chunk->rows[chunk->count++];
    slot->row_counts[part]++;
    return ERR_OK;
}

static enum err_code gather_block(const struct key_plan *plan, struct scan *scan,
                                  const struct scan_block *block, struct arena *arena,
                                  struct key_slot *slot, struct err *err)
{
    static const struct field event_id = {
        .kind = FIELD_EVENT_ID, .type = COL_STRING, .col = COL_EVENT_ID};
    const struct walk_spec *spec = plan->spec;
    const uint32_t *lanes[LANES] = {NULL};
    const uint32_t *places = NULL;
    const uint32_t *id_places = NULL;
    struct vec keys = {0};
    struct vec ids = {0};

    ERR_TRY(scan_field(scan, spec->subject, &keys, &places, err));
    if (spec->is_ordered) {
        ERR_TRY(scan_field(scan, &event_id, &ids, &id_places, err));
    }
    for (uint32_t k = 0; k < spec->lane_count; k++) {
        ERR_TRY(groups_of_block(slot->lanes[k], scan, block, &lanes[k], err));
    }
    uint32_t last = UINT32_MAX; /* the place that `key` is of: neighbours mostly have one KEY */
    struct hash128 key = {0};
    bool has_key = false;
    for (uint32_t i = 0; i < block->count; i++) {
        struct key_row *row = NULL;
        if (last == UINT32_MAX || places[i] == UINT32_MAX ||
            !is_same_text(&keys, last, places[i])) {
            has_key = row_key(&keys, places[i], plan->seed, &key);
            last = places[i];
        }
        if (!has_key) {
            continue;
        }
        ERR_TRY(slot_row(slot, (uint32_t)(key.hi % PARTITIONS), arena, &row, err));
        *row = (struct key_row){.key = key, .time_ms = block->times[i], .mask = block->masks[i]};
        for (uint32_t k = 0; k < spec->lane_count; k++) {
            row->lanes[k] = lanes[k][i];
        }
        if (spec->is_ordered && id_places[i] != UINT32_MAX) {
            ERR_TRY(arena_str(arena, vec_str(&ids, id_places[i]), &row->event_id, err));
        }
    }
    return ERR_OK;
}

static enum err_code gather_source(struct query_run_ctx *run, const struct key_plan *plan,
                                   const struct run_task *task, const struct source *source,
                                   struct arena *arena, struct io *io, struct key_slot *slot,
                                   struct err *err)
{
    const struct walk_spec *spec = plan->spec;
    uint32_t cols[1 + LANES * QUERY_KEYS_MAX];
    struct scan_spec scan_spec = {
        .query = &plan->query,
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
    ERR_TRY(scan_open(source, &scan_spec, run, arena, io, &scan, err));
    ERR_TRY(scan_next(scan, &block, &has_more, err));
    while (has_more) {
        ERR_TRY(gather_block(plan, scan, &block, arena, slot, err));
        ERR_TRY(scan_next(scan, &block, &has_more, err));
    }
    return ERR_OK;
}

static enum err_code gather_task(struct query_run_ctx *run, const struct run_task *task,
                                 struct arena *arena, struct io *io, void *slot, struct err *err)
{
    const struct key_plan *plan = run->walk_plan;
    struct key_slot *own = slot;

    for (uint32_t k = 0; k < plan->spec->lane_count; k++) {
        ERR_TRY(groups_create(plan->lane_queries[k], arena, &own->lanes[k], err));
    }
    for (uint32_t i = 0; i < task->source_count; i++) {
        ERR_TRY(gather_source(run, plan, task, task->sources[i], arena, io, own, err));
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

struct key_part {
    const struct key_row **rows; /* by subject, and in order */
    uint64_t count, at;
    uint32_t next_subject;
    uint32_t lane_count;
    int64_t *times; /* of the longest journey */
    uint64_t *masks;
    uint32_t *lanes[LANES];
};

/* Of one subject. */
static int row_cmp(const void *a, const void *b)
{
    const struct key_row *x = *(const struct key_row *const *)a;
    const struct key_row *y = *(const struct key_row *const *)b;
    int order = (x->time_ms > y->time_ms) - (x->time_ms < y->time_ms);
    return order != 0 ? order : str_cmp(x->event_id, y->event_id);
}

static bool is_one_subject(const struct key_row *a, const struct key_row *b)
{
    return a->key.hi == b->key.hi && a->key.lo == b->key.lo;
}

/* Collect the partition's rows from all tasks, with lanes renumbered. */
static enum err_code part_collect(const struct key_plan *plan, uint32_t part_idx,
                                  struct arena *arena, struct key_part *part, struct err *err)
{
    for (uint32_t t = 0; t < plan->slot_count; t++) {
        part->count += plan->slots[t].row_counts[part_idx];
    }
    ERR_TRY(ARENA_NEW(arena, part->count, &part->rows, err));
    uint64_t filled = 0;
    for (uint32_t t = 0; t < plan->slot_count; t++) {
        filled += plan->slots[t].row_counts[part_idx];
        uint64_t at = filled; /* the newest chunk comes first */
        for (struct row_chunk *c = plan->slots[t].chunks[part_idx]; c != NULL; c = c->next) {
            at -= c->count;
            for (uint32_t i = 0; i < c->count; i++) {
                struct key_row *row = &c->rows[i]; /* this task alone has the partition */
                for (uint32_t k = 0; k < plan->spec->lane_count; k++) {
                    row->lanes[k] = plan->numbers[k][t][row->lanes[k]];
                }
                part->rows[at + i] = row;
            }
        }
    }
    ASSERT(filled == part->count);
    return ERR_OK;
}

/* Number the subjects of the rows as they come; returns how many there are. `slots` has a power of two, twice the rows and
 * more, each the row that a subject came with first, or UINT32_MAX. */
static uint32_t number_subjects(const struct key_part *part, uint32_t *slots, uint64_t slot_count,
                                uint32_t *out_subjects)
{
    uint32_t count = 0;
    memset(slots, 0xff, slot_count * sizeof(*slots));
    for (uint32_t i = 0; i < part->count; i++) {
        const struct key_row *row = part->rows[i];
        uint64_t at = row->key.lo & (slot_count - 1);
        while (slots[at] != UINT32_MAX && !is_one_subject(part->rows[slots[at]], row)) {
            at = (at + 1) & (slot_count - 1);
        }
        if (slots[at] == UINT32_MAX) {
            slots[at] = i;
            out_subjects[i] = count++;
        } else {
            out_subjects[i] = out_subjects[slots[at]];
        }
    }
    return count;
}

/* Rows of one subject together, in the order they came in. `ends` are then where each subject's rows end. */
static enum err_code part_group(struct key_part *part, struct arena *arena, uint32_t **ret_ends,
                                uint32_t *ret_subjects, struct err *err)
{
    uint64_t slot_count = 16;
    uint32_t *slots = NULL;
    uint32_t *subjects = NULL;
    uint32_t *ends = NULL;
    const struct key_row **grouped = NULL;
    while (slot_count < 2 * part->count) {
        slot_count *= 2;
    }
    ERR_TRY(ARENA_NEW(arena, slot_count, &slots, err));
    ERR_TRY(ARENA_NEW(arena, part->count, &subjects, err));
    ERR_TRY(ARENA_NEW(arena, part->count, &grouped, err));
    uint32_t count = number_subjects(part, slots, slot_count, subjects);
    ERR_TRY(ARENA_NEW(arena, (size_t)count + 1, &ends, err));
    for (uint64_t i = 0; i < part->count; i++) {
        ends[subjects[i] + 1]++; /* the count of the one before: begins, once added up */
    }
    for (uint32_t u = 1; u < count; u++) {
        ends[u] += ends[u - 1];
    }
    for (uint64_t i = 0; i < part->count; i++) {
        grouped[ends[subjects[i]]++] = part->rows[i];
    }
    part->rows = grouped;
    *ret_ends = ends;
    *ret_subjects = count;
    return ERR_OK;
}

static void sort_rows(const struct key_row **rows, uint64_t count)
{
    for (uint64_t i = 1; i < count; i++) {
        if (row_cmp(&rows[i - 1], &rows[i]) > 0) {
            qsort(rows, count, sizeof(*rows), row_cmp);
            return;
        }
    }
}

static enum err_code part_prepare(const struct key_plan *plan, struct arena *arena,
                                  struct key_part *part, struct err *err)
{
    uint64_t longest = 0;
    uint64_t begin = 0;
    uint32_t *ends = NULL;
    uint32_t subject_count = 0;

    if (part->count >= UINT32_MAX) {
        return err_set(err, ERR_LIMIT, "more than %u rows for \"per\" in one of %u parts",
                       UINT32_MAX, PARTITIONS);
    }
    ERR_TRY(part_group(part, arena, &ends, &subject_count, err));
    for (uint32_t u = 0; u < subject_count; u++) {
        sort_rows(part->rows + begin, ends[u] - begin);
        longest = MAX_OF(longest, ends[u] - begin);
        begin = ends[u];
    }
    part->lane_count = plan->spec->lane_count;
    ERR_TRY(ARENA_NEW(arena, longest, &part->times, err));
    ERR_TRY(ARENA_NEW(arena, longest, &part->masks, err));
    for (uint32_t k = 0; k < part->lane_count; k++) {
        ERR_TRY(ARENA_NEW(arena, longest, &part->lanes[k], err));
    }
    return ERR_OK;
}

enum err_code key_part_next(struct key_part *part, struct journey *ret, bool *ret_more,
                            struct err *err)
{
    size_t count = 0;
    (void)err; /* all was allocated when the partition was prepared */

    *ret_more = part->at < part->count;
    if (!*ret_more) {
        return ERR_OK;
    }
    const struct key_row *first = part->rows[part->at];
    while (part->at < part->count && is_one_subject(first, part->rows[part->at])) {
        const struct key_row *row = part->rows[part->at++];
        part->times[count] = row->time_ms;
        part->masks[count] = row->mask;
        for (uint32_t k = 0; k < part->lane_count; k++) {
            part->lanes[k][count] = row->lanes[k];
        }
        count++;
    }
    *ret = (struct journey){.subject = part->next_subject++,
                            .count = count,
                            .times = part->times,
                            .masks = part->masks};
    for (uint32_t k = 0; k < part->lane_count; k++) {
        ret->lanes[k] = part->lanes[k];
    }
    return ERR_OK;
}

static enum err_code part_task(struct query_run_ctx *run, uint32_t part_idx, const void *arg,
                               struct arena *arena, struct io *io, void *slot, struct err *err)
{
    const struct key_plan *plan = arg;
    struct key_part part = {0};
    struct walk walk = {.part = &part};
    (void)io;

    ERR_TRY(part_collect(plan, part_idx, arena, &part, err));
    ERR_TRY(part_prepare(plan, arena, &part, err));
    for (uint32_t k = 0; k < plan->spec->lane_count; k++) {
        walk.lanes[k] = plan->lanes[k];
    }
    return plan->fn(run, &walk, arena, slot, err);
}

enum err_code walk_all_keys(struct query_run_ctx *run, const struct walk_spec *spec, walk_fn fn,
                            size_t slot_bytes, struct run_tasks *ret, struct err *err)
{
    CLEANUP(run_tasks_free) struct run_tasks gathered = {0};
    struct key_plan plan = {.spec = spec, .query = *spec->query, .fn = fn};

    ERR_TRY(pred_and(run->arena, spec->query->why_key, spec->query->where, &plan.query.where, err));
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
    return run_all_parts(run, PARTITIONS, part_task, &plan, slot_bytes, ret, err);
}
