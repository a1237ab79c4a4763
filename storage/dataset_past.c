/* storage/dataset_past.c - a snapshot of the past: what a snapshot showed when its clock was e.
 *
 * No two commits have the same clock, and every row keeps that of its commit as its arrival. So what a snapshot of clock e
 * showed are the rows that arrived until e, whatever has flushed, merged or moved them since:
 *
 *    all rows of a source arrived until e    it is shown as it is, with its stored sets
 *    none did                                it is left out
 *    some did                                a *cut* source: the same rows under the same numbers, no stored sets; who reads
 *                                            rows leaves out those that its cut does not show
 *
 * Facts of identity lie in the order of their commits, with marks of the clock between them (identity.h): who was who at e is
 * an identity of its own, made of the facts until the first mark after e and of the rows that are shown. Subjects get their
 * numbers in the order of commits too: whoever has a number at most that of a shown row had come.
 *
 * An identity by arrival is made in the same way, also for the present: then all sources are shown as they are.
 */
#include "storage/dataset_int.h"

#include "storage/stand_ins.h"

#include "storage/base/size.h"

#include <stdlib.h>

static enum err_code no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "no memory for a snapshot of the past");
}

/* ---- cut sources ---- */

static const struct source *inner_of(const struct source *source)
{
    return ((const struct cut_source *)source)->inner;
}

static enum err_code cut_read(const struct source *source, struct read_ctx *ctx, uint32_t col,
                              uint32_t block, struct vec *ret, struct err *err)
{
    return source_read(inner_of(source), ctx, col, block, ret, err);
}

static enum err_code cut_dict(const struct source *source, struct read_ctx *ctx, uint32_t col,
                              const struct dict **ret, struct err *err)
{
    return source_dict(inner_of(source), ctx, col, ret, err);
}

static bool cut_zone(const struct source *source, uint32_t col, uint32_t block, int64_t *ret_min,
                     int64_t *ret_max)
{
    return source_zone(inner_of(source), col, block, ret_min, ret_max);
}

static enum err_code cut_value_rows(const struct source *source, struct read_ctx *ctx, uint32_t col,
                                    uint32_t code, uint32_t block, uint16_t *out_rows,
                                    uint32_t *ret_count, struct err *err)
{
    return source_value_rows(inner_of(source), ctx, col, code, block, out_rows, ret_count, err);
}

static bool cut_has_value_rows(const struct source *source, uint32_t col)
{
    return source_has_value_rows(inner_of(source), col);
}

static enum err_code cut_subject_sets(const struct source *source, struct read_ctx *ctx,
                                      uint32_t event, const struct subject_set **ret,
                                      uint32_t *ret_count, struct err *err)
{
    (void)source;
    (void)ctx;
    (void)event;
    (void)err;
    *ret = NULL;
    *ret_count = 0;
    return ERR_OK;
}

static enum err_code cut_subject_set(const struct source *source, struct read_ctx *ctx,
                                     uint32_t set_idx, const roaring_bitmap_t **ret,
                                     struct err *err)
{
    return source_subject_set(inner_of(source), ctx, set_idx, ret, err);
}

static enum err_code cut_subject_row(const struct source *source, struct read_ctx *ctx,
                                     uint32_t subject, uint32_t *ret_row, struct err *err)
{
    return source_subject_row(inner_of(source), ctx, subject, ret_row, err);
}

static uint32_t cut_prefetch(const struct source *source, struct read_ctx *ctx,
                             const struct read_item *items, uint32_t count)
{
    return source_prefetch(inner_of(source), ctx, items, count);
}

/* What is kept of all rows tells nothing of some: those calls are not there. */
static const struct source_ops cut_ops = {
    .read = cut_read,
    .dict = cut_dict,
    .zone = cut_zone,
    .value_rows = cut_value_rows,
    .has_value_rows = cut_has_value_rows,
    .subject_sets = cut_subject_sets,
    .subject_set = cut_subject_set,
    .subject_row = cut_subject_row,
    .prefetch = cut_prefetch,
};

/* ---- which rows ---- */

/* What is shown of a source. */
struct shown {
    uint64_t rows;
    int64_t time_min_ms, time_max_ms;
    uint32_t last_row; /* of the source: the last that is shown, whose subject is the greatest */
};

static void show_span(struct shown *shown, uint64_t rows, uint32_t last_row, int64_t min_ms,
                      int64_t max_ms)
{
    shown->rows += rows;
    shown->last_row = last_row;
    shown->time_min_ms = MIN_OF(shown->time_min_ms, min_ms);
    shown->time_max_ms = MAX_OF(shown->time_max_ms, max_ms);
}

static enum err_code look_at_rows(const struct source *source, const struct row_cut *cut,
                                  uint32_t block, struct read_ctx *ctx, struct shown *shown,
                                  struct err *err)
{
    struct vec times = {0};
    struct vec arrivals = {0};
    struct arena_mark mark = arena_mark(ctx->arena);
    ERR_TRY(source_read(source, ctx, COL_EVENT_TIME, block, &times, err));
    ERR_TRY(source_read(source, ctx, COL_ARRIVAL, block, &arrivals, err));
    for (uint32_t row = 0; row < times.rows; row++) {
        int64_t time_ms = times.i64[row];
        if (row_cut_shows(cut, time_ms, arrivals.i64[row])) {
            show_span(shown, 1, block * BLOCK_ROWS + row, time_ms, time_ms);
        }
    }
    arena_rewind(ctx->arena, mark);
    return ERR_OK;
}

/* Zones tell of most blocks, of segments alone. */
static enum err_code look_at_block(const struct source *source, const struct row_cut *cut,
                                   uint32_t block, struct read_ctx *ctx, struct shown *shown,
                                   struct err *err)
{
    int64_t min_ms = 0;
    int64_t max_ms = 0;
    int64_t time_min_ms = 0;
    int64_t time_max_ms = 0;
    bool is_told = source_zone(source, COL_ARRIVAL, block, &min_ms, &max_ms) &&
                   source_zone(source, COL_EVENT_TIME, block, &time_min_ms, &time_max_ms);
    if (is_told && min_ms > MAX_OF(cut->arrived_ms, cut->late_arrived_ms)) {
        return ERR_OK;
    }
    if (is_told && max_ms <= cut->arrived_ms) {
        uint32_t rows = source_block_rows(source, block);
        show_span(shown, rows, block * BLOCK_ROWS + rows - 1, time_min_ms, time_max_ms);
        return ERR_OK;
    }
    return look_at_rows(source, cut, block, ctx, shown, err);
}

/* Whoever has a number up to that of the last shown row had come. */
static enum err_code know_subjects(struct snapshot *snapshot, const struct source *source,
                                   uint32_t last_row, struct read_ctx *ctx, struct err *err)
{
    uint32_t *count = &snapshot->known_count[source->shard];
    struct vec subjects = {0};
    struct arena_mark mark = arena_mark(ctx->arena);
    if (last_row + 1 == source->row_count) {
        *count = MAX_OF(*count, source->subject_last + 1);
        return ERR_OK;
    }
    ERR_TRY(source_read(source, ctx, COL_SUBJECT, last_row / BLOCK_ROWS, &subjects, err));
    *count = MAX_OF(*count, subjects.u32[last_row % BLOCK_ROWS] + 1);
    arena_rewind(ctx->arena, mark);
    return ERR_OK;
}

static void add_shown(struct snapshot *snapshot, const struct source *source, uint64_t rows)
{
    snapshot->sources[snapshot->source_count++] = source;
    snapshot->row_count += rows;
    snapshot->time_min_ms =
        MIN_OF(snapshot->time_min_ms, MAX_OF(source->time_min_ms, snapshot->expired_before_ms));
    snapshot->time_max_ms = MAX_OF(snapshot->time_max_ms, source->time_max_ms);
}

static enum err_code look_at(const struct snapshot_pin *pin, const struct source *source,
                             struct read_ctx *ctx, struct shown *shown, struct err *err)
{
    if (!pin->snapshot.is_past) {
        shown->rows = source->row_count;
        return ERR_OK;
    }
    for (uint32_t block = 0; block < source->block_count; block++) {
        ERR_TRY(look_at_block(source, &pin->cut, block, ctx, shown, err));
    }
    return ERR_OK;
}

static enum err_code add_source(struct snapshot_pin *pin, const struct source *source,
                                struct read_ctx *ctx, struct err *err)
{
    struct snapshot *snapshot = &pin->snapshot;
    struct shown shown = {.time_min_ms = INT64_MAX, .time_max_ms = INT64_MIN};
    bool is_history =
        source->is_first_times || source->time_max_ms < snapshot->expired_before_ms;
    ERR_TRY(look_at(pin, source, ctx, &shown, err));
    if (shown.rows == 0) {
        snapshot->later_count += !is_history;
        return ERR_OK;
    }
    if (snapshot->is_past) {
        ERR_TRY(know_subjects(snapshot, source, shown.last_row, ctx, err));
    }
    if (shown.rows < source->row_count) {
        struct cut_source *cut = &pin->cuts[pin->cut_made++];
        snapshot->cut_count += !is_history;
        *cut = (struct cut_source){*source, source};
        cut->source.ops = &cut_ops;
        cut->source.cut = &pin->cut;
        cut->source.time_min_ms = shown.time_min_ms;
        cut->source.time_max_ms = shown.time_max_ms;
        source = &cut->source;
    }
    if (is_history || source->time_max_ms < snapshot->expired_before_ms) {
        snapshot->history[snapshot->history_count++] = source;
    } else {
        add_shown(snapshot, source, shown.rows);
    }
    return ERR_OK;
}

/* Segments, then memtables, as fill_snapshot of dataset.c has them: without what identity added. */
static enum err_code add_sources(struct snapshot_pin *pin, struct io *io, struct err *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    struct read_ctx ctx = {.arena = arena, .io = io, .is_once = true};
    struct snapshot *snapshot = &pin->snapshot;
    const struct version *version = pin->version;
    size_t cap = (size_t)version->seg_count + version->first_count + pin->view_count;
    snapshot->sources = calloc(cap + 1, sizeof(const struct source *));
    snapshot->history = calloc(cap + 1, sizeof(const struct source *));
    pin->cuts = calloc(cap + 1, sizeof(*pin->cuts));
    if (snapshot->sources == NULL || snapshot->history == NULL || pin->cuts == NULL) {
        return no_memory(err);
    }
    uint32_t seg = 0;
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        uint32_t first_count = 0;
        struct seg_ref *const *firsts = version_firsts(version, shard, &first_count);
        snapshot->shard_begin[shard] = snapshot->source_count;
        snapshot->history_begin[shard] = snapshot->history_count;
        for (uint32_t i = 0; i < first_count; i++) {
            ERR_TRY(add_source(pin, segment_source(firsts[i]->segment), &ctx, err));
        }
        for (; seg < version->seg_count && version->segs[seg]->meta.shard == shard; seg++) {
            ERR_TRY(add_source(pin, segment_source(version->segs[seg]->segment), &ctx, err));
        }
        for (uint32_t i = 0; i < pin->view_count; i++) {
            const struct source *view = memtable_view_source(pin->views[i]);
            if (view->shard == shard) {
                ERR_TRY(add_source(pin, view, &ctx, err));
            }
        }
        if (version->deleted[shard] != NULL) {
            snapshot->deleted[shard] = version->deleted[shard]->bits;
        }
    }
    snapshot->shard_begin[SHARD_COUNT] = snapshot->source_count;
    snapshot->history_begin[SHARD_COUNT] = snapshot->history_count;
    return ERR_OK;
}

/* ---- who was who ---- */

/* Stand-ins begin behind every number that the directory has given and any row is of. */
static enum err_code make_by_arrival(struct snapshot *snapshot, uint64_t bytes_max, struct err *err)
{
    struct dataset *dataset = snapshot->dataset;
    uint32_t first[SHARD_COUNT];
    memcpy(first, snapshot->subject_count, sizeof(first));
    for (uint32_t i = 0; i < snapshot->source_count; i++) {
        const struct source *source = snapshot->sources[i];
        first[source->shard] = MAX_OF(first[source->shard], source->subject_last + 1);
    }
    for (uint32_t i = 0; i < snapshot->history_count; i++) {
        const struct source *source = snapshot->history[i];
        first[source->shard] = MAX_OF(first[source->shard], source->subject_last + 1);
    }
    return identity_create_by_arrival(dataset->ids, dataset->schema, bytes_max, first,
                                      &snapshot->own_identity, err);
}

static void show_stand_ins(struct snapshot *snapshot)
{
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        const struct stand_ins *stand_ins = identity_stand_ins(snapshot->own_identity, shard);
        if (stand_ins->count > 0) {
            snapshot->stand_ins[shard] = stand_ins;
            snapshot->subject_count[shard] = stand_ins->first + stand_ins->count;
        }
    }
}

static enum err_code show_identity(struct snapshot_pin *pin, uint64_t bytes_max, struct err *err)
{
    struct snapshot *snapshot = &pin->snapshot;
    struct dataset *dataset = snapshot->dataset;
    const struct store_opts *opts = &dataset->store->opts;
    bool has_facts = false;
    /* No memtables: the rows of who is moved are read out of the sources, all of them. */
    const struct identity_moment moment = {
        .ids_count =
            identity_facts_until(dataset->ids, pin->ids_count, snapshot->past.facts_ms, &has_facts),
    };
    if (!has_facts) {
        return ERR_OK;
    }
    uint64_t cap = MIN_OF(bytes_max, opts->identity_bytes_max);
    ERR_TRY(snapshot->past.is_by_arrival ? make_by_arrival(snapshot, cap, err)
                                         : identity_create(dataset->ids, dataset->schema, cap,
                                                           &snapshot->own_identity, err));
    ERR_TRY(identity_show(snapshot->own_identity, snapshot, &moment, opts->io_kind, &pin->overlay,
                          err));
    show_stand_ins(snapshot);
    snapshot->bytes = identity_stats(snapshot->own_identity).bytes;
    return ERR_OK;
}

/* ---- the whole ---- */

static void pin_what(const struct snapshot_pin *from, struct snapshot_pin *pin)
{
    pin->version = from->version;
    atomic_fetch_add_explicit(&pin->version->refs, 1, memory_order_relaxed);
    for (uint32_t i = 0; i < from->view_count; i++) {
        pin->views[pin->view_count++] = memtable_view_ref(from->views[i]);
    }
    pin->ids_count = from->ids_count;
}

/* The largest time that is at most its arrival cannot be told without reading all rows; it is no later than this. */
static int64_t watermark_of(const struct snapshot *snapshot, int64_t present_ms)
{
    return !snapshot->is_past ? present_ms
           : snapshot->source_count == 0
               ? INT64_MIN
               : MIN_OF(present_ms, MIN_OF(snapshot->time_max_ms, snapshot->past.rows_ms));
}

static enum err_code fill(struct snapshot_pin *pin, const struct snapshot *present,
                          uint64_t bytes_max, struct io *io, struct err *err)
{
    struct snapshot *snapshot = &pin->snapshot;
    struct dataset *dataset = snapshot->dataset;
    ERR_TRY(add_sources(pin, io, err));
    snapshot->watermark_ms = watermark_of(snapshot, present->watermark_ms);
    ERR_TRY(show_identity(pin, bytes_max, err));
    return catalog_count_deleted(dataset->store->catalog, dataset->row.id, snapshot->past.rows_ms,
                                 present->commit_ms, &snapshot->erased, err);
}

enum err_code snapshot_of_past(const struct snapshot *present, const struct snapshot_past *past,
                               uint64_t bytes_max, struct io *io, struct snapshot **ret,
                               struct err *err)
{
    const struct snapshot_pin *from = (const struct snapshot_pin *)present;
    bool is_past = past->rows_ms < present->commit_ms || past->late_ms < present->commit_ms ||
                   past->facts_ms < present->commit_ms;
    struct snapshot_pin *pin = calloc(1, sizeof(*pin));
    if (pin == NULL) {
        return no_memory(err);
    }
    pin->snapshot = (struct snapshot){
        .dataset = present->dataset,
        .schema = present->schema,
        .epoch = is_past ? 0 : present->epoch,
        .commit_ms = past->rows_ms,
        .identity_version = present->identity_version,
        .has_facts = present->has_facts,
        .time_min_ms = INT64_MAX,
        .time_max_ms = INT64_MIN,
        .expired_before_ms = present->expired_before_ms,
        .history_from_ms = present->history_from_ms,
        .is_own = true,
        .is_past = is_past,
        .past = *past,
    };
    memcpy(pin->snapshot.subject_count, present->subject_count,
           sizeof(pin->snapshot.subject_count));
    pin->cut = (struct row_cut){past->rows_ms, past->late_ms, past->late_before_ms};
    pin_what(from, pin);
    if (fill(pin, present, bytes_max, io, err) != ERR_OK) {
        snapshot_unpin(&pin->snapshot);
        return err_context(err, "the past of data set \"%s\"", dataset_name(present->dataset));
    }
    *ret = &pin->snapshot;
    return ERR_OK;
}
