/* storage/compaction.c - planning merges (pure), and doing one.
 *
 * A merge reads its inputs' times once to count rows by UTC day, chooses the cuts, writes one segment
 * for each part, and swaps all of it in one catalog transaction. Readers that pinned the old version
 * keep the old segments' descriptors; their files are unlinked right after the swap. */
#include "storage/compaction.h"

#include "storage/dataset_int.h"
#include "storage/expiry.h"
#include "storage/first_times.h"
#include "storage/tiers.h"

#include "storage/base/clock.h"
#include "storage/base/size.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define DAY_MS           86400000LL
#define DAYS_MAX         200000u /* five centuries: more than the range of accepted times */
#define PARTS_MAX        (SEG_BLOCKS_MAX / 2)
#define COMPACT_RETRY_US 60000000ULL
#define LATE_SHARE       10u /* a tenth of the rows at most are called late */
#define HEAP_WIDTHS      4 /* a heap is of segments that are at least a fourth as wide as the widest */
#define SWEEP_MAX        64u /* that many of one class over one moment are enough to know */

struct compact_limits compact_limits_default(void)
{
    return (struct compact_limits){.block_rows = BLOCK_ROWS,
                                   .blocks_max = SEG_BLOCKS_MAX,
                                   .part_blocks_min = 4,
                                   .tier_count = 4,
                                   .inputs_max = 64};
}

/* ---- planning ---- */

static uint64_t rows_max(const struct compact_limits *limits)
{
    return (uint64_t)limits->block_rows * limits->blocks_max;
}

static uint64_t settled_rows(const struct compact_limits *limits)
{
    return (uint64_t)limits->block_rows * limits->part_blocks_min;
}

static bool overlaps(const struct compact_seg *a, const struct compact_seg *b)
{
    return a->time_min_ms <= b->time_max_ms && b->time_min_ms <= a->time_max_ms;
}

/* Powers of four, everything below a 16th of a block in one class. */
static uint32_t size_class(uint64_t rows, const struct compact_limits *limits)
{
    uint32_t class = 0;
    for (uint64_t bound = limits->block_rows / 16 + 1; rows >= bound; bound *= 4) {
        class ++;
    }
    return class;
}

/* Runs of neighbours in time that fit one segment. A big segment joins only what it overlaps. */
static uint32_t plan_full(const struct compact_seg *segs, uint32_t count,
                          const struct compact_limits *limits, uint32_t *out_idx)
{
    for (uint32_t begin = 0; begin + 1 < count; begin++) {
        struct compact_seg run = segs[begin];
        uint32_t end = begin + 1;
        for (; end < count && end - begin < limits->inputs_max; end++) {
            bool is_settled_pair = run.rows >= settled_rows(limits) &&
                                   segs[end].rows >= settled_rows(limits) &&
                                   !overlaps(&run, &segs[end]);
            if (is_settled_pair || run.rows + segs[end].rows > rows_max(limits)) {
                break;
            }
            run.rows += segs[end].rows;
            run.time_max_ms = MAX_OF(run.time_max_ms, segs[end].time_max_ms);
        }
        if (end - begin >= 2) {
            for (uint32_t i = begin; i < end; i++) {
                out_idx[i - begin] = i;
            }
            return end - begin;
        }
    }
    return 0;
}

/* Settled sizes of a class by where they lie in time: swept in the order of their begins, `open` are those
 * over the place of the sweep. */
struct sweep {
    const struct compact_seg *segs;
    uint32_t count, next;
    uint32_t class;
    const struct compact_limits *limits;
    uint32_t open[SWEEP_MAX];
    uint32_t open_count;
};

static int64_t seg_span(const struct compact_seg *seg)
{
    return seg->time_max_ms - seg->time_min_ms; /* of accepted times: far from overflow */
}

/* Go to the next begin; false at the end. */
static bool sweep_next(struct sweep *sweep)
{
    const struct compact_seg *segs = sweep->segs;
    while (sweep->next < sweep->count &&
           (segs[sweep->next].rows < settled_rows(sweep->limits) ||
            size_class(segs[sweep->next].rows, sweep->limits) != sweep->class)) {
        sweep->next++;
    }
    if (sweep->next == sweep->count) {
        return false;
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < sweep->open_count; i++) {
        if (segs[sweep->open[i]].time_max_ms >= segs[sweep->next].time_min_ms) {
            sweep->open[kept++] = sweep->open[i];
        }
    }
    if (kept < SWEEP_MAX) {
        sweep->open[kept++] = sweep->next;
    }
    sweep->open_count = kept;
    sweep->next++;
    return true;
}

/* The heap at the place of the sweep: those over it that are as wide as the widest, more or less. Returns how
 * many; with `out_idx` also which, as far as they fit one merge. */
static uint32_t sweep_heap(const struct sweep *sweep, uint32_t *out_idx)
{
    int64_t widest = 0;
    uint32_t found = 0;
    uint64_t rows = 0;
    for (uint32_t i = 0; i < sweep->open_count; i++) {
        widest = MAX_OF(widest, seg_span(&sweep->segs[sweep->open[i]]));
    }
    for (uint32_t i = 0; i < sweep->open_count && found < sweep->limits->inputs_max; i++) {
        const struct compact_seg *seg = &sweep->segs[sweep->open[i]];
        if (seg_span(seg) >= widest / HEAP_WIDTHS && rows + seg->rows <= rows_max(sweep->limits)) {
            rows += seg->rows;
            if (out_idx != NULL) {
                out_idx[found] = sweep->open[i];
            }
            found++;
        }
    }
    return found;
}

/* Small segments: any of the class, wherever they lie. */
static uint32_t plan_small(const struct compact_seg *segs, uint32_t count, uint32_t class,
                           const struct compact_limits *limits, uint32_t *out_idx)
{
    uint32_t found = 0;
    uint64_t rows = 0;
    for (uint32_t i = 0; i < count && found < limits->inputs_max; i++) {
        if (size_class(segs[i].rows, limits) == class && segs[i].rows < settled_rows(limits) &&
            rows + segs[i].rows <= rows_max(limits)) {
            out_idx[found++] = i;
            rows += segs[i].rows;
        }
    }
    return found;
}

/* Big ones: the largest heap, where it is one. What is narrow beside it stays: a wide segment of late events is no
 * reason to rewrite the days that it passes over. */
static uint32_t plan_heap(const struct compact_seg *segs, uint32_t count, uint32_t class,
                          const struct compact_limits *limits, uint32_t *out_idx)
{
    struct sweep sweep = {.segs = segs, .count = count, .class = class, .limits = limits};
    uint32_t best = limits->tier_count - 1;
    uint32_t chosen = 0;
    while (sweep_next(&sweep)) {
        if (sweep_heap(&sweep, NULL) > best) {
            best = chosen = sweep_heap(&sweep, out_idx);
        }
    }
    return chosen;
}

static uint32_t plan_tier(const struct compact_seg *segs, uint32_t count,
                          const struct compact_limits *limits, uint32_t *out_idx)
{
    uint32_t class_max = size_class(rows_max(limits), limits);
    for (uint32_t class = 0; class <= class_max; class ++) {
        uint32_t found = plan_small(segs, count, class, limits, out_idx);
        if (found < limits->tier_count) {
            found = plan_heap(segs, count, class, limits, out_idx);
        }
        if (found >= limits->tier_count) {
            return found;
        }
    }
    return 0;
}

uint32_t compact_waiting(const struct compact_seg *segs, uint32_t count,
                         const struct compact_limits *limits)
{
    uint32_t waiting = 0;
    uint32_t class_max = size_class(rows_max(limits), limits);
    for (uint32_t i = 0; i < count; i++) {
        waiting += segs[i].rows < settled_rows(limits);
    }
    for (uint32_t class = size_class(settled_rows(limits), limits); class <= class_max; class ++) {
        struct sweep sweep = {.segs = segs, .count = count, .class = class, .limits = limits};
        while (sweep_next(&sweep)) {
            waiting += sweep_heap(&sweep, NULL) >= limits->tier_count;
        }
    }
    return waiting;
}

uint32_t compact_plan(const struct compact_seg *segs, uint32_t count,
                      const struct compact_limits *limits, bool is_full, uint32_t *out_idx)
{
    return is_full ? plan_full(segs, count, limits, out_idx)
                   : plan_tier(segs, count, limits, out_idx);
}

uint32_t compact_cuts(const uint32_t *rows_by_day, uint32_t day_count,
                      const struct compact_limits *limits, uint32_t *out_ends)
{
    uint64_t left = 0;
    for (uint32_t day = 0; day < day_count; day++) {
        left += rows_by_day[day];
    }
    uint32_t parts = 0;
    uint64_t part = 0;
    for (uint32_t day = 0; day < day_count; day++) {
        part += rows_by_day[day];
        left -= rows_by_day[day];
        bool may_cut = parts + 2 < PARTS_MAX; /* more only where the limits were others before */
        if (may_cut && part >= settled_rows(limits) && left >= settled_rows(limits)) {
            out_ends[parts++] = day + 1;
            part = 0;
        }
    }
    out_ends[parts++] = day_count;
    return parts;
}

uint32_t compact_late_days(const uint32_t *rows_by_day, uint32_t day_count,
                           const struct compact_limits *limits)
{
    uint64_t all = 0;
    for (uint32_t day = 0; day < day_count; day++) {
        all += rows_by_day[day];
    }
    uint64_t head = 0;
    uint32_t days = 0;
    while (days < day_count && (head + rows_by_day[days]) * LATE_SHARE <= all) {
        head += rows_by_day[days++];
    }
    return all >= settled_rows(limits) && days * 2 >= day_count ? days : 0;
}

/* ---- one merge ---- */

struct merge {
    struct dataset *dataset;
    struct io *io;
    const struct version *version;
    uint32_t shard;
    struct seg_ref **inputs;
    const struct source **sources;
    uint32_t input_count;
    bool keeps_late_apart;
    int64_t expired_before_ms; /* older rows are left out, so many: */
    uint64_t expired_rows;
    uint64_t bytes; /* written */
    struct seg_ref **outputs;
    uint32_t output_count;
    uint64_t *numbers; /* of files written, for undoing */
    uint32_t number_count;
    struct seg_ref *first; /* of the expired rows; NULL: none has left */
    uint64_t first_number; /* of its file; 0: there is none */
    bool is_unsure; /* the catalog may name the outputs, though it says it failed */
};

static int64_t day_of(int64_t time_ms)
{
    int64_t day = time_ms / DAY_MS;
    return day * DAY_MS > time_ms ? day - 1 : day;
}

static enum err_code count_days(struct merge *merge, int64_t first_day, uint32_t *rows_by_day,
                                struct err *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    for (uint32_t i = 0; i < merge->input_count; i++) {
        const struct source *source = merge->sources[i];
        for (uint32_t block = 0; block < source->block_count; block++) {
            struct read_ctx ctx = {.arena = arena, .io = merge->io, .is_once = true};
            struct arena_mark mark = arena_mark(arena);
            struct vec vec;
            ERR_TRY(source_read(source, &ctx, COL_EVENT_TIME, block, &vec, err));
            for (uint32_t row = 0; row < vec.value_count; row++) {
                int64_t day = day_of(vec.i64[row]) - first_day;
                if (day >= 0) { /* else it is expired */
                    rows_by_day[day]++;
                }
            }
            arena_rewind(arena, mark);
        }
    }
    return ERR_OK;
}

static enum err_code write_part(struct merge *merge, int64_t begin_ms, int64_t end_ms,
                                struct err *err)
{
    struct dataset *dataset = merge->dataset;
    if (atomic_load_explicit(&dataset->store->is_cancelled, memory_order_relaxed)) {
        return err_set(err, ERR_CANCELLED, "the store is closing");
    }
    struct catalog_segment meta = {.number = dataset_next_segment(dataset), .shard = merge->shard};
    struct segment_write_opts opts = {.shard = merge->shard,
                                      .identity_version = dataset->identity_version};
    struct segment_stats stats = {0};
    char path[DATASET_PATH_BYTES + 64];
    const struct mask_ref *deleted = merge->version->deleted[merge->shard];
    dataset_segment_path(dataset, merge->shard, meta.number, path);
    merge->numbers[merge->number_count++] = meta.number;
    ERR_TRY(segment_write(merge->io, path, dataset->schema, merge->sources, merge->input_count,
                          begin_ms, end_ms, deleted == NULL ? NULL : deleted->bits, &opts, &stats,
                          err));
    if (stats.row_count == 0) {
        merge->number_count--;
        return ERR_OK;
    }
    meta.row_count = stats.row_count;
    meta.bytes = stats.bytes;
    meta.time_min_ms = stats.time_min_ms;
    meta.time_max_ms = stats.time_max_ms;
    ERR_TRY(seg_ref_open(dataset, merge->io, &meta, &merge->outputs[merge->output_count], err));
    merge->output_count++;
    merge->bytes += meta.bytes;
    return ERR_OK;
}

/* A part for the late rows where they go apart, then whole days each. `ends` has room for the days. */
static enum err_code write_days(struct merge *merge, int64_t first_day, const uint32_t *rows_by_day,
                                uint32_t days, uint32_t *ends, struct err *err)
{
    const struct compact_limits *limits = &merge->dataset->limits;
    uint32_t late = merge->keeps_late_apart ? compact_late_days(rows_by_day, days, limits) : 0;
    int64_t begin_ms = merge->expired_before_ms;
    if (late > 0) {
        int64_t end_ms = (first_day + late) * DAY_MS;
        ERR_TRY(write_part(merge, begin_ms, end_ms, err));
        begin_ms = end_ms;
    }
    uint32_t parts = compact_cuts(rows_by_day + late, days - late, limits, ends);
    ASSERT(parts < PARTS_MAX);
    for (uint32_t i = 0; i < parts; i++) {
        int64_t end_ms = i + 1 == parts ? INT64_MAX : (first_day + late + ends[i]) * DAY_MS;
        ERR_TRY(write_part(merge, begin_ms, end_ms, err));
        begin_ms = end_ms;
    }
    return ERR_OK;
}

static enum err_code write_parts(struct merge *merge, struct err *err)
{
    int64_t low = INT64_MAX;
    int64_t high = INT64_MIN;
    uint64_t rows = 0;
    for (uint32_t i = 0; i < merge->input_count; i++) {
        low = MIN_OF(low, merge->sources[i]->time_min_ms);
        high = MAX_OF(high, merge->sources[i]->time_max_ms);
        rows += merge->sources[i]->row_count;
    }
    low = MAX_OF(low, merge->expired_before_ms); /* which is the begin of a day */
    if (low > high) {
        return ERR_OK; /* nothing is left */
    }
    int64_t first_day = day_of(low);
    uint64_t days = (uint64_t)(day_of(high) - first_day) + 1;
    uint64_t settled = settled_rows(&merge->dataset->limits);
    if (days > DAYS_MAX || rows < (merge->keeps_late_apart ? settled : 2 * settled)) {
        return write_part(merge, merge->expired_before_ms, INT64_MAX, err);
    }
    uint32_t *rows_by_day = calloc((size_t)days, sizeof(*rows_by_day));
    uint32_t *ends = calloc((size_t)days, sizeof(*ends));
    enum err_code code = ERR_OK;
    if (rows_by_day == NULL || ends == NULL) {
        code = err_set(err, ERR_NOMEM, "no memory for %" PRIu64 " days", days);
    } else {
        code = count_days(merge, first_day, rows_by_day, err);
    }
    if (code == ERR_OK) {
        code = write_days(merge, first_day, rows_by_day, (uint32_t)days, ends, err);
    }
    free(rows_by_day);
    free(ends);
    return code;
}

/* What went in must have come out, but for expired rows and deleted subjects. */
static enum err_code check_rows(struct merge *merge, struct err *err)
{
    uint64_t in = 0;
    uint64_t out = 0;
    for (uint32_t i = 0; i < merge->input_count; i++) {
        uint64_t expired = 0;
        ERR_TRY(
            expiry_count(merge->sources[i], merge->expired_before_ms, merge->io, &expired, err));
        in += merge->sources[i]->row_count - expired;
        merge->expired_rows += expired;
    }
    for (uint32_t i = 0; i < merge->output_count; i++) {
        out += merge->outputs[i]->meta.row_count;
    }
    if (out > in || (out < in && merge->version->deleted[merge->shard] == NULL)) {
        return err_set(err, ERR_CORRUPT,
                       "%" PRIu64 " rows went into the merge, %" PRIu64 " came out", in, out);
    }
    return ERR_OK;
}

static enum err_code publish(struct merge *merge, struct err *err)
{
    struct dataset *dataset = merge->dataset;
    char path[DATASET_PATH_BYTES + 64];
    dataset_shard_path(dataset, merge->shard, path);
    ERR_TRY(io_sync_dir(merge->io, path, err));
    uint32_t added_count = merge->output_count;
    if (merge->first != NULL) {
        merge->outputs[added_count++] = merge->first;
    }
    struct version_change change = {.added = merge->outputs,
                                    .added_count = added_count,
                                    .dropped = merge->inputs,
                                    .dropped_count = merge->input_count,
                                    .has_expired = merge->expired_rows > 0,
                                    .expired_before_ms = merge->expired_before_ms,
                                    .ret_is_unsure = &merge->is_unsure};
    pthread_mutex_lock(&dataset->catalog_lock);
    enum err_code code = dataset_apply(dataset, &change, err);
    pthread_mutex_unlock(&dataset->catalog_lock);
    ERR_TRY(code);
    /* merge->version still holds the inputs; their names may go now, what fails is an orphan. */
    for (uint32_t i = 0; i < merge->input_count; i++) {
        struct err ignored;
        const struct catalog_segment *meta = &merge->inputs[i]->meta;
        dataset_segment_file(dataset, meta, path);
        (void)!io_unlink(merge->io, path, &ignored);
        atomic_fetch_add(&dataset->compacted_bytes, meta->bytes);
    }
    atomic_fetch_add(&dataset->compactions, 1);
    atomic_fetch_add(&dataset->rewritten_bytes, merge->bytes);
    atomic_fetch_add(&dataset->expired_rows, merge->expired_rows);
    return ERR_OK;
}

static void undo(struct merge *merge)
{
    struct err ignored;
    char path[DATASET_PATH_BYTES + 64];
    for (uint32_t i = 0; i < merge->output_count; i++) {
        seg_ref_unref(merge->outputs[i]);
    }
    for (uint32_t i = 0; i < merge->number_count && !merge->is_unsure; i++) {
        dataset_segment_path(merge->dataset, merge->shard, merge->numbers[i], path);
        (void)!io_unlink(merge->io, path, &ignored);
    }
    seg_ref_unref(merge->first);
    if (merge->first_number != 0 && !merge->is_unsure) {
        first_times_undo(merge->dataset, merge->shard, merge->first_number, merge->io);
    }
}

/* Who was first among the rows that are left out. */
static enum err_code write_first_times(struct merge *merge, struct err *err)
{
    CLEANUP(first_times_facts_done) struct first_times_facts facts = {.then = NULL};
    return merge->expired_rows == 0
               ? ERR_OK
               : first_times_write(merge->dataset, merge->version, merge->shard, merge->sources,
                                   merge->input_count, merge->expired_before_ms, &facts, merge->io,
                                   &merge->first, &merge->first_number, err);
}

enum err_code compaction_merge(struct dataset *dataset, const struct version *version,
                               struct seg_ref **inputs, uint32_t input_count, bool keeps_late_apart,
                               struct io *io, struct err *err)
{
    uint32_t shard = inputs[0]->meta.shard;
    const struct source *sources[SEG_BLOCKS_MAX];
    struct seg_ref *outputs[PARTS_MAX + 1];
    uint64_t numbers[PARTS_MAX];
    ASSERT(input_count <= COUNT_OF(sources));
    for (uint32_t i = 0; i < input_count; i++) {
        sources[i] = segment_source(inputs[i]->segment);
    }
    struct merge merge = {.dataset = dataset,
                          .io = io,
                          .version = version,
                          .shard = shard,
                          .inputs = inputs,
                          .sources = sources,
                          .input_count = input_count,
                          .keeps_late_apart = keeps_late_apart,
                          .expired_before_ms = dataset_expired_before(dataset),
                          .outputs = outputs,
                          .numbers = numbers};
    enum err_code code = write_parts(&merge, err);
    if (code == ERR_OK) {
        code = check_rows(&merge, err);
    }
    if (code == ERR_OK) {
        code = write_first_times(&merge, err);
    }
    if (code == ERR_OK) {
        code = publish(&merge, err);
    }
    if (code != ERR_OK) {
        undo(&merge);
        return err_context(err, "data set \"%s\": compaction of shard %" PRIu32, dataset->name,
                           shard);
    }
    return ERR_OK;
}

/* ---- choosing ---- */

static void plan_segs(struct seg_ref *const *segs, uint32_t count, struct compact_seg *out)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct catalog_segment *meta = &segs[i]->meta;
        out[i] = (struct compact_seg){meta->row_count, meta->time_min_ms, meta->time_max_ms};
    }
}

uint32_t compaction_waiting(const struct version *version, const struct compact_limits *limits)
{
    uint32_t most = 0;
    struct compact_seg *plan = calloc((size_t)version->seg_count + 1, sizeof(*plan));
    for (uint32_t shard = 0; plan != NULL && shard < SHARD_COUNT; shard++) {
        uint32_t count = 0;
        struct seg_ref *const *segs = version_shard(version, shard, &count);
        plan_segs(segs, count, plan);
        most = MAX_OF(most, compact_waiting(plan, count, limits));
    }
    free(plan); /* without memory none is counted: the bound is no promise of ours */
    return most;
}

enum err_code compaction_has_deleted(const struct seg_ref *ref, const struct mask_ref *mask,
                                     struct io *io, bool *ret, struct err *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    const struct source *source = segment_source(ref->segment);
    struct read_ctx ctx = {.arena = arena, .io = io};
    roaring_uint32_iterator_t at;
    roaring_init_iterator(mask->bits, &at);
    *ret = false;
    for (; at.has_value && !*ret; roaring_advance_uint32_iterator(&at)) {
        uint32_t begin = 0;
        uint32_t end = source->row_count;
        ERR_TRY(source_subject_row(source, &ctx, at.current_value, &begin, err));
        if (at.current_value != UINT32_MAX) {
            ERR_TRY(source_subject_row(source, &ctx, at.current_value + 1, &end, err));
        }
        *ret = begin < end;
    }
    return ERR_OK;
}

/* On request, a segment that merges with nothing is still rewritten when it holds deleted rows. */
static enum err_code choose_deleted(const struct version *version, uint32_t shard,
                                    struct seg_ref *const *segs, uint32_t count, struct io *io,
                                    struct seg_ref **out, uint32_t *ret_count, struct err *err)
{
    *ret_count = 0;
    if (version->deleted[shard] == NULL) {
        return ERR_OK;
    }
    for (uint32_t i = 0; i < count; i++) {
        bool found = false;
        ERR_TRY(compaction_has_deleted(segs[i], version->deleted[shard], io, &found, err));
        if (found) {
            out[0] = segs[i];
            *ret_count = 1;
            return ERR_OK;
        }
    }
    return ERR_OK;
}

static enum err_code choose(struct dataset *dataset, const struct version *version, uint32_t shard,
                            bool is_full, struct io *io, struct seg_ref **out, uint32_t *ret_count,
                            struct err *err)
{
    uint32_t count = 0;
    struct seg_ref *const *segs = version_shard(version, shard, &count);
    struct compact_seg *plan = calloc((size_t)count + 1, sizeof(*plan));
    uint32_t *idx = calloc((size_t)count + 1, sizeof(*idx));
    if (plan == NULL || idx == NULL) {
        free(plan);
        free(idx);
        return err_set(err, ERR_NOMEM, "no memory for a compaction");
    }
    plan_segs(segs, count, plan);
    uint32_t chosen = compact_plan(plan, count, &dataset->limits, is_full, idx);
    for (uint32_t i = 0; i < chosen; i++) {
        out[i] = segs[idx[i]];
    }
    free(plan);
    free(idx);
    *ret_count = chosen;
    if (chosen == 0 && is_full) {
        return choose_deleted(version, shard, segs, count, io, out, ret_count, err);
    }
    return ERR_OK;
}

enum err_code compaction_step(struct dataset *dataset, uint32_t shard, bool is_full, struct io *io,
                              bool *ret_did, struct err *err)
{
    struct seg_ref *inputs[SEG_BLOCKS_MAX];
    uint32_t input_count = 0;
    ASSERT(dataset->limits.inputs_max <= COUNT_OF(inputs));
    bool did_firsts = false;
    pthread_mutex_lock(&dataset->compact_lock);
    struct version *version = version_pin(dataset);
    enum err_code code = choose(dataset, version, shard, is_full, io, inputs, &input_count, err);
    if (code == ERR_OK && input_count > 0) {
        code = compaction_merge(dataset, version, inputs, input_count, !is_full, io, err);
    } else if (code == ERR_OK) {
        code = first_times_step(dataset, version, shard, is_full, io, &did_firsts, err);
    }
    version_unref(version);
    pthread_mutex_unlock(&dataset->compact_lock);
    ERR_TRY(code);
    *ret_did = input_count > 0 || did_firsts;
    return ERR_OK;
}

bool compaction_if_due(struct dataset *dataset, struct io *io)
{
    struct err err;
    bool did_any = false;
    if (clock_mono_us() < dataset->compact_retry_us) {
        return false;
    }
    enum err_code code =
        runs_step(dataset, false, io, &did_any, &err); /* time alone makes it due */
    uint64_t number = version_number(dataset);
    bool is_settled = number == dataset->settled_version;
    for (uint32_t shard = 0; code == ERR_OK && !is_settled && shard < SHARD_COUNT; shard++) {
        bool did = false;
        code = compaction_step(dataset, shard, false, io, &did, &err);
        did_any = did_any || did;
    }
    if (code != ERR_OK) {
        if (code != ERR_CANCELLED) {
            dataset_note_error(dataset, &err);
            dataset->compact_retry_us = clock_mono_us() + COMPACT_RETRY_US;
        }
        return false;
    }
    if (!did_any) { /* and what has come meanwhile has another number */
        dataset->settled_version = number;
    }
    return did_any;
}

static enum err_code check_cancel(const _Atomic bool *cancel, struct err *err)
{
    if (cancel != NULL && atomic_load_explicit(cancel, memory_order_relaxed)) {
        return err_set(err, ERR_CANCELLED, "compaction was cancelled");
    }
    return ERR_OK;
}

enum err_code dataset_compact(struct dataset *dataset, const _Atomic bool *cancel, struct err *err)
{
    CLEANUP(io_freep) struct io *io = NULL;
    bool did = true;
    ERR_TRY(io_create(dataset->store->opts.io_kind, &io, err));
    ERR_TRY(dataset_flush_io(dataset, io, err));
    while (did) {
        ERR_TRY(check_cancel(cancel, err));
        ERR_TRY(expiry_step(dataset, true, io, &did, err));
    }
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        for (did = true; did;) {
            ERR_TRY(check_cancel(cancel, err));
            ERR_TRY(compaction_step(dataset, shard, true, io, &did, err));
        }
    }
    for (did = true; did;) {
        ERR_TRY(check_cancel(cancel, err));
        ERR_TRY(runs_step(dataset, true, io, &did, err));
    }
    for (did = true; did;) {
        ERR_TRY(check_cancel(cancel, err));
        ERR_TRY(tier_step(dataset, io, &did, err));
    }
    return ERR_OK;
}
