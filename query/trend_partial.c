/* query/trend_partial.c - what one sealed segment contributes to a trend, kept in the cache of answers.
 *
 *     name     what the plan asks of rows (trend_print.h), the segment, the task's subjects, the borders of time within the
 *              segment, the deleted subjects of the shard, and the expiry's border where it lies within the segment
 *     bytes    the rows' span of time and the counters of the reading; then, per group, its key's values and per lane
 *              the cells that hold anything, by atom
 *
 * A segment never changes, and all else that its cells depend on is in the name: so they are exact under late events (which
 * come in other sources) and merges (whose outcome is another segment). Borders are taken within the segment's own time, so that
 * tomorrow's `last 90d` finds what today's has left, for all segments but those at the ends.
 *
 * On a miss the segment is read into cells of its own, which are packed, kept, and taken into the task's. Cells that are
 * too long to be kept leave an empty answer: next time the segment is read straight into the task's cells. After the
 * first such segment a task makes no more of them.
 */
#include "query/agg_pack.h"
#include "query/answer_cache.h"
#include "query/answer_key.h"
#include "query/trend_int.h"
#include "query/trend_print.h"
#include "storage/base/size.h"

#include <stdlib.h>

#define NONE UINT32_MAX

/* The atoms of a grid that a segment's time touches; none: begin == end. */
struct part_span {
    uint32_t begin, end;
};

struct part {
    struct trend_work *work;
    uint32_t source_idx; /* in the task */
    const struct source *source;
    struct part_span *spans; /* by grid */
    struct buf key;
};

/* ---- the plan ---- */

enum err_code trend_plan_partials(struct query_run_ctx *run, struct trend_plan *plan,
                                  struct err *err)
{
    CLEANUP(buf_freep) struct buf print = {0};
    CLEANUP(buf_freep) struct buf scratch = {0};
    struct answer_cache *answers = run_answers(run);
    if (answers == NULL || run->is_source_used == NULL || run->snapshot->dataset == NULL ||
        !trend_print(plan, &print)) {
        return ERR_OK;
    }
    uint64_t seed = answer_cache_seed(answers);
    struct trend_partials *partials = NULL;
    ERR_TRY(ARENA_NEW(run->arena, 1, &partials, err));
    partials->answers = answers;
    partials->print = hash128(print.ptr, print.len, seed);
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        partials->masks[shard] = answer_mask_hash(run->snapshot, shard, seed, &scratch);
    }
    ERR_TRY(buf_check(&scratch, err));
    plan->partials = partials;
    plan->hash_seed = seed; /* different values of different queries are one set */
    return ERR_OK;
}

/* ---- names ---- */

static struct part_span span_of(const struct trend_grid *grid, int64_t begin_ms, int64_t end_ms)
{
    const int64_t *edges = grid->edges;
    uint32_t count = grid->atom_count;
    if (count == 0 || begin_ms >= end_ms || end_ms <= edges[0] || begin_ms >= edges[count]) {
        return (struct part_span){0, 0};
    }
    uint32_t begin = begin_ms <= edges[0] ? 0 : civil_bucket_idx(edges, count, begin_ms);
    uint32_t last = end_ms > edges[count] ? count - 1 : civil_bucket_idx(edges, count, end_ms - 1);
    return (struct part_span){begin, last + 1};
}

static void key_hash(struct hash128 hash, struct buf *out)
{
    buf_u64(out, hash.lo);
    buf_u64(out, hash.hi);
}

/* The borders of the atoms as far as the segment's rows can tell them apart. */
static void key_span(const struct part *part, const struct trend_grid *grid, struct part_span span,
                     int64_t begin_ms, int64_t end_ms, struct buf *scratch, struct buf *out)
{
    buf_clear(scratch);
    for (uint32_t a = span.begin; span.begin < span.end && a <= span.end; a++) {
        buf_i64(scratch, MIN_OF(MAX_OF(grid->edges[a], begin_ms), end_ms));
    }
    buf_u32(out, span.end - span.begin);
    key_hash(
        hash128(scratch->ptr, scratch->len, answer_cache_seed(part->work->plan->partials->answers)),
        out);
}

/* *ret_is_any false where no row of the segment can count, or it has nobody of the task. */
static enum err_code part_key(struct part *part, bool *ret_is_any, struct err *err)
{
    CLEANUP(buf_freep) struct buf scratch = {0};
    const struct trend_work *work = part->work;
    const struct trend_plan *plan = work->plan;
    const struct run_task *task = work->task;
    const struct source *source = part->source;
    const struct snapshot *snapshot = work->run->snapshot;
    int64_t begin_ms = MAX_OF(source->time_min_ms, snapshot->expired_before_ms);
    int64_t end_ms = source->time_max_ms + 1;
    struct buf *key = &part->key;
    *ret_is_any = false;
    if (source->subject_last < task->subject_begin || source->subject_first >= task->subject_end) {
        return ERR_OK;
    }
    key_hash(plan->partials->print, key);
    key_hash(plan->partials->masks[task->shard], key);
    buf_u64(key, dataset_uid(snapshot->dataset));
    buf_u64(key, snapshot->identity_version);
    buf_u64(key, source->id);
    buf_u32(key, task->shard);
    buf_u32(key, task->subject_begin);
    buf_u32(key, task->subject_end);
    buf_i64(key, begin_ms);
    ERR_TRY(ARENA_NEW(work->part_arena, plan->grid_count, &part->spans, err));
    for (uint32_t g = 0; g < plan->grid_count; g++) {
        part->spans[g] = span_of(&plan->grids[g], begin_ms, end_ms);
        key_span(part, &plan->grids[g], part->spans[g], begin_ms, end_ms, &scratch, key);
        *ret_is_any |= part->spans[g].begin < part->spans[g].end;
    }
    ERR_TRY(buf_check(&scratch, err));
    return buf_check(key, err);
}

/* ---- bytes ---- */

struct part_head {
    int64_t row_min_ms, row_max_ms;
    uint64_t rows_read, bytes_read;
    bool is_used; /* the segment was opened */
};

static struct part_span lane_span(const struct part *part, uint32_t lane)
{
    return part->spans[part->work->plan->lanes[lane].grid];
}

static void pack_cells(const struct part *part, const struct trend_slot *slot, uint32_t lane,
                       uint32_t group, struct buf *out)
{
    enum acc_kind kind = part->work->plan->lanes[lane].kind;
    const union acc_cell *cells = group < slot->group_cap ? slot->cells[lane][group] : NULL;
    struct part_span span = lane_span(part, lane);
    uint32_t count = 0;
    for (uint32_t a = span.begin; cells != NULL && a < span.end; a++) {
        count += acc_has_any(&slot->pool, kind, &cells[a]);
    }
    buf_varint(out, count);
    for (uint32_t a = span.begin; count > 0 && a < span.end; a++) {
        if (acc_has_any(&slot->pool, kind, &cells[a])) {
            buf_varint(out, a - span.begin);
            acc_pack(&slot->pool, kind, &cells[a], out);
        }
    }
}

/* False where it is longer than `bytes_max`. */
static bool pack_part(const struct part *part, const struct part_head *head,
                      const struct trend_slot *slot, size_t bytes_max, struct buf *out)
{
    uint32_t group_count = groups_count(slot->groups);
    buf_zigzag(out, head->row_min_ms);
    buf_zigzag(out, head->row_max_ms);
    buf_varint(out, head->rows_read);
    buf_varint(out, head->bytes_read);
    buf_u8(out, head->is_used ? 1 : 0);
    buf_varint(out, group_count);
    for (uint32_t g = 0; g < group_count && out->len <= bytes_max; g++) {
        groups_pack(slot->groups, g, out);
        for (uint32_t l = 0; l < part->work->plan->lane_count && out->len <= bytes_max; l++) {
            pack_cells(part, slot, l, g, out);
        }
    }
    return out->len <= bytes_max && !out->is_bad;
}

static enum err_code unpack_cells(const struct part *part, uint32_t lane, uint32_t group,
                                  struct rd *rd, struct err *err)
{
    struct trend_work *work = part->work;
    enum acc_kind kind = work->plan->lanes[lane].kind;
    struct part_span span = lane_span(part, lane);
    union acc_cell *cells = NULL;
    uint32_t count = (uint32_t)rd_varint(rd);
    if (count > 0) {
        ERR_TRY(trend_cells(work, lane, group, &cells, err));
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t atom = span.begin + (uint32_t)rd_varint(rd);
        ASSERT(atom < span.end);
        ERR_TRY(acc_unpack(&work->slot->pool, kind, &cells[atom], rd, err));
    }
    return ERR_OK;
}

static void note_rows(struct trend_slot *slot, int64_t row_min_ms, int64_t row_max_ms)
{
    slot->row_min_ms = MIN_OF(slot->row_min_ms, row_min_ms);
    slot->row_max_ms = MAX_OF(slot->row_max_ms, row_max_ms);
}

static enum err_code unpack_part(const struct part *part, struct str bytes,
                                 struct part_head *ret_head, struct err *err)
{
    struct trend_work *work = part->work;
    struct rd rd = rd_init(bytes);
    struct part_head head = {.row_min_ms = rd_zigzag(&rd)};
    head.row_max_ms = rd_zigzag(&rd);
    head.rows_read = rd_varint(&rd);
    head.bytes_read = rd_varint(&rd);
    head.is_used = rd_u8(&rd) != 0;
    uint64_t group_count = rd_varint(&rd);
    for (uint64_t g = 0; g < group_count; g++) {
        uint32_t group = 0;
        ERR_TRY(groups_unpack(work->slot->groups, &rd, &group, err));
        ERR_TRY(trend_grow_groups(work, group + 1, err));
        for (uint32_t l = 0; l < work->plan->lane_count; l++) {
            ERR_TRY(unpack_cells(part, l, group, &rd, err));
        }
    }
    ASSERT(rd_at_end(&rd)); /* the bytes are our own */
    note_rows(work->slot, head.row_min_ms, head.row_max_ms);
    *ret_head = head;
    return ERR_OK;
}

/* ---- a hit ---- */

/* *ret_is_added false where it is not kept, *ret_is_long true where it is known to be too long for that. */
static enum err_code part_find(const struct part *part, bool *ret_is_added, bool *ret_is_long,
                               struct err *err)
{
    CLEANUP(answer_hit_done) struct answer_hit hit = {.block = NULL};
    struct query_run_ctx *run = part->work->run;
    struct part_head head = {0};
    *ret_is_added = false;
    *ret_is_long = false;
    if (!answer_cache_find(part->work->plan->partials->answers, ANSWER_PARTIAL,
                           buf_as_str(&part->key), &hit)) {
        return ERR_OK;
    }
    if (hit.bytes.len == 0) {
        *ret_is_long = true;
        return ERR_OK;
    }
    ERR_TRY(unpack_part(part, hit.bytes, &head, err));
    if (head.is_used) {
        run_mark_source(run, part->source);
    }
    /* relaxed: read after all tasks have been joined */
    atomic_fetch_add_explicit(&run->cached, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&run->rows_read, head.rows_read, memory_order_relaxed);
    atomic_fetch_add_explicit(&run->bytes_read, head.bytes_read, memory_order_relaxed);
    atomic_fetch_add_explicit(&run->rows_cached, head.rows_read, memory_order_relaxed);
    atomic_fetch_add_explicit(&run->bytes_cached, head.bytes_read, memory_order_relaxed);
    *ret_is_added = true;
    return ERR_OK;
}

/* ---- a miss ---- */

/* The cells of the segment into those of the task. */
static enum err_code take_part(const struct part *part, const struct trend_slot *from,
                               struct err *err)
{
    struct trend_work *work = part->work;
    uint32_t group_count = groups_count(from->groups);
    for (uint32_t g = 0; g < group_count; g++) {
        uint32_t group = 0;
        ERR_TRY(groups_import(work->slot->groups, from->groups, g, &group, err));
        ERR_TRY(trend_grow_groups(work, group + 1, err));
        for (uint32_t l = 0; l < work->plan->lane_count; l++) {
            enum acc_kind kind = work->plan->lanes[l].kind;
            const union acc_cell *own = g < from->group_cap ? from->cells[l][g] : NULL;
            struct part_span span = lane_span(part, l);
            union acc_cell *cells = NULL;
            for (uint32_t a = span.begin; own != NULL && a < span.end; a++) {
                if (!acc_has_any(&from->pool, kind, &own[a])) {
                    continue;
                }
                if (cells == NULL) {
                    ERR_TRY(trend_cells(work, l, group, &cells, err));
                }
                ERR_TRY(acc_take(&work->slot->pool, kind, &cells[a], &from->pool, &own[a], err));
            }
        }
    }
    note_rows(work->slot, from->row_min_ms, from->row_max_ms);
    return ERR_OK;
}

static void keep_part(const struct part *part, const struct part_head *head,
                      const struct trend_slot *slot)
{
    CLEANUP(buf_freep) struct buf packed = {0};
    struct trend_work *work = part->work;
    struct answer_cache *answers = work->plan->partials->answers;
    size_t bytes_max = answer_cache_item_max(answers);
    bool is_short =
        pack_part(part, head, slot, bytes_max - MIN_OF(bytes_max, part->key.len + 64), &packed);
    work->is_past_partials = !is_short;
    if (!packed.is_bad) {
        answer_cache_keep(answers, ANSWER_PARTIAL, buf_as_str(&part->key),
                          is_short ? buf_as_str(&packed) : STR(""));
    }
}

static void slot_done(struct trend_slot *slot)
{
    acc_pool_done(&slot->pool);
}

/* A segment's cells are there twice for a while: not where memory is short. */
static bool is_roomy(const struct trend_work *work)
{
    const struct budget *budget = arena_budget(work->arena);
    if (budget == NULL || budget->max_bytes == 0) {
        return true;
    }
    return atomic_load_explicit(&budget->used_bytes, memory_order_relaxed) <=
               budget->max_bytes / 2 &&
           arena_bytes(work->part_arena) <= budget->max_bytes / 8;
}

/* *ret_is_added false where there was no room for the segment's own cells. */
static enum err_code part_read(const struct part *part, struct query_run_ctx *alone,
                               bool *ret_is_added, struct err *err)
{
    struct trend_work *work = part->work;
    const struct source *source = part->source;
    CLEANUP(slot_done) struct trend_slot slot = {.groups = NULL};
    const struct run_task task = {
        .shard = work->task->shard,
        .subject_begin = work->task->subject_begin,
        .subject_end = work->task->subject_end,
        .sources = work->task->sources + part->source_idx,
        .source_count = 1,
    };
    struct trend_work own = {
        .run = alone,
        .task = &task,
        .plan = work->plan,
        .slot = &slot,
        .arena = work->part_arena,
        .io = work->io,
    };
    /* a word of a set is 64 subjects */
    uint32_t begin = MAX_OF(task.subject_begin, source->subject_first / 64 * 64);
    uint32_t end = MIN_OF(work->slot->pool.subject_end, source->subject_last + 1);
    *ret_is_added = false;
    ERR_TRY(trend_work_begin(&own, begin, MAX_OF(begin, end), err));
    enum err_code code = trend_work_read(&own, err);
    *ret_is_added = code == ERR_OK && is_roomy(work);
    if (!*ret_is_added) {
        work->is_past_partials = true;
        return code == ERR_LIMIT ? ERR_OK : code;
    }
    const size_t snapshot_idx = (size_t)(task.sources - work->run->snapshot->sources);
    const struct part_head head = {
        .row_min_ms = slot.row_min_ms,
        .row_max_ms = slot.row_max_ms,
        .rows_read = atomic_load_explicit(&alone->rows_read, memory_order_relaxed),
        .bytes_read = atomic_load_explicit(&alone->bytes_read, memory_order_relaxed),
        .is_used =
            atomic_load_explicit(&work->run->is_source_used[snapshot_idx], memory_order_relaxed),
    };
    keep_part(part, &head, &slot);
    return take_part(part, &slot, err);
}

/* Read the segment with counters of its own, which are then added to the query's. */
static enum err_code part_make(const struct part *part, bool *ret_is_added, struct err *err)
{
    struct query_run_ctx *run = part->work->run;
    struct query_run_ctx alone = {
        .query = run->query,
        .request = run->request,
        .snapshot = run->snapshot,
        .io = part->work->io,
        .verb_plan = run->verb_plan,
        .is_source_used = run->is_source_used,
    };
    ERR_TRY(run_check(run, err));
    enum err_code code = part_read(part, &alone, ret_is_added, err);
    if (!*ret_is_added) {
        return code;
    }
    /* relaxed: read after all tasks have been joined */
    atomic_fetch_add_explicit(&run->rows_read, alone.rows_read, memory_order_relaxed);
    atomic_fetch_add_explicit(&run->bytes_read, alone.bytes_read, memory_order_relaxed);
    atomic_fetch_add_explicit(&run->blocks_loaded, alone.blocks_loaded, memory_order_relaxed);
    return code;
}

/* ---- the door ---- */

static enum err_code part_add(struct part *part, bool *ret_is_added, struct err *err)
{
    bool is_any = false;
    bool is_long = false;
    *ret_is_added = false;
    ERR_TRY(part_key(part, &is_any, err));
    if (!is_any) {
        return ERR_OK;
    }
    ERR_TRY(part_find(part, ret_is_added, &is_long, err));
    if (*ret_is_added || is_long || part->work->is_past_partials || !is_roomy(part->work)) {
        return ERR_OK;
    }
    return part_make(part, ret_is_added, err);
}

enum err_code trend_add_partial(struct trend_work *work, uint32_t source_idx, bool *ret_is_added,
                                struct err *err)
{
    struct part part = {
        .work = work,
        .source_idx = source_idx,
        .source = work->task->sources[source_idx],
    };
    *ret_is_added = false;
    if (work->plan->partials == NULL || part.source->is_memory || part.source->cut != NULL) {
        return ERR_OK;
    }
    struct arena_mark mark = arena_mark(work->part_arena);
    enum err_code code = part_add(&part, ret_is_added, err);
    arena_rewind(work->part_arena, mark);
    buf_done(&part.key);
    return code;
}
