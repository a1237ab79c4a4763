/* storage/dataset_flush.c - from frozen memtables to segments.
 *
 * Freezing is the only step that needs the writer, and it is short. Then, beside it: one segment per
 * shard and a run of their event ids, directories synced, ids made durable up to the freeze, one catalog transaction, one swap of
 * the version (segments in, memtable out), old log files gone. A step that fails leaves the frozen
 * memtable where it is, readable, and its log files too; the files written so far are removed, and
 * what cannot be removed is an orphan for the next opening. */
#include "storage/dataset_int.h"

#include "storage/expiry.h"
#include "storage/first_times.h"

#include "storage/base/clock.h"
#include "storage/base/size.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define RETRY_US_FIRST 1000000ULL
#define RETRY_US_MAX   60000000ULL

struct flushing {
    struct dataset *dataset;
    struct io *io;
    struct seg_ref *added[2 * SHARD_COUNT]; /* segments, and first times of rows that are expired already */
    uint32_t added_count;
    struct first_times_facts facts;
    int64_t expired_before_ms; /* older rows are left out, so many: */
    uint64_t expired_rows;
    uint64_t bytes;                /* written */
    uint64_t numbers[SHARD_COUNT]; /* by shard; 0 = no file */
    uint64_t first_numbers[SHARD_COUNT]; /* likewise */
    struct known_run *run;         /* of all their event ids */
    uint64_t run_number;           /* 0 = no file */
    bool is_unsure;                /* the catalog may name the files, though it says it failed */
};

static enum err_code flush_shard(struct flushing *flushing, const struct frozen *frozen,
                                 const struct version *version, uint32_t shard, struct err *err)
{
    struct dataset *dataset = flushing->dataset;
    struct memtable_view *view = NULL;
    ERR_TRY(memtable_view(frozen->memtable, shard, &view, err));
    if (view == NULL) {
        return ERR_OK;
    }
    struct catalog_segment meta = {.number = dataset_next_segment(dataset), .shard = shard};
    struct segment_write_opts opts = {.shard = shard,
                                      .identity_version = dataset->identity_version};
    struct segment_stats stats = {0};
    char path[DATASET_PATH_BYTES + 64];
    dataset_segment_path(dataset, shard, meta.number, path);
    flushing->numbers[shard] = meta.number;
    const struct source *source = memtable_view_source(view);
    const roaring_bitmap_t *deleted =
        version->deleted[shard] == NULL ? NULL : version->deleted[shard]->bits;
    uint64_t expired = 0;
    enum err_code code =
        expiry_count(source, flushing->expired_before_ms, flushing->io, &expired, err);
    if (code == ERR_OK) {
        code = segment_write(flushing->io, path, dataset->schema, &source, 1,
                             flushing->expired_before_ms, INT64_MAX, deleted, &opts, &stats, err);
    }
    flushing->expired_rows += expired;
    struct seg_ref *first = NULL;
    if (code == ERR_OK && expired > 0) {
        code = first_times_write(dataset, version, shard, &source, 1, flushing->expired_before_ms,
                                 &flushing->facts, flushing->io, &first,
                                 &flushing->first_numbers[shard], err);
    }
    if (first != NULL) {
        flushing->added[flushing->added_count++] = first;
    }
    memtable_view_unref(view);
    ERR_TRY(code);
    if (stats.row_count == 0) {
        flushing->numbers[shard] = 0;
        return ERR_OK;
    }
    dataset_shard_path(dataset, shard, path);
    ERR_TRY(io_sync_dir(flushing->io, path, err));
    meta.row_count = stats.row_count;
    meta.bytes = stats.bytes;
    meta.time_min_ms = stats.time_min_ms;
    meta.time_max_ms = stats.time_max_ms;
    ERR_TRY(
        seg_ref_open(dataset, flushing->io, &meta, &flushing->added[flushing->added_count], err));
    flushing->added_count++;
    flushing->bytes += meta.bytes;
    return ERR_OK;
}

static void undo_files(struct flushing *flushing)
{
    struct err ignored;
    char path[DATASET_PATH_BYTES + 64];
    for (uint32_t i = 0; i < flushing->added_count; i++) {
        seg_ref_unref(flushing->added[i]);
    }
    for (uint32_t shard = 0; shard < SHARD_COUNT && !flushing->is_unsure; shard++) {
        if (flushing->numbers[shard] != 0) {
            dataset_segment_path(flushing->dataset, shard, flushing->numbers[shard], path);
            (void)!io_unlink(flushing->io, path, &ignored);
        }
        if (flushing->first_numbers[shard] != 0) {
            first_times_undo(flushing->dataset, shard, flushing->first_numbers[shard],
                             flushing->io);
        }
    }
    known_run_unref(flushing->run);
    if (flushing->run_number != 0 && !flushing->is_unsure) {
        dataset_run_path(flushing->dataset, flushing->run_number, path);
        (void)!io_unlink(flushing->io, path, &ignored);
    }
}

static enum err_code publish(struct flushing *flushing, const struct frozen *frozen,
                             struct err *err)
{
    struct dataset *dataset = flushing->dataset;
    struct ids_mark mark;
    ERR_TRY(ids_flush(dataset->ids, flushing->io, frozen->ids_count, &mark, err));
    pthread_mutex_lock(&dataset->catalog_lock);
    struct catalog_dataset before = dataset->row;
    dataset->row.ids = mark;
    dataset->row.epoch = MAX_OF(dataset->row.epoch, frozen->epoch);
    dataset->row.commit_ms = MAX_OF(dataset->row.commit_ms, frozen->commit_ms);
    dataset->row.wal_floor = frozen->wal_floor;
    dataset->row.watermark_ms = MAX_OF(dataset->row.watermark_ms, frozen->watermark_ms);
    struct version_change change = {
        .added = flushing->added,
        .added_count = flushing->added_count,
        .runs_added = &flushing->run,
        .runs_added_count = flushing->run != NULL,
        .flushed = frozen,
        .has_expired = flushing->expired_rows > 0,
        .expired_before_ms = flushing->expired_before_ms,
        .ret_is_unsure = &flushing->is_unsure,
    };
    enum err_code code = dataset_apply(dataset, &change, err);
    if (code != ERR_OK) {
        before.next_segment = dataset->row.next_segment;
        dataset->row = before;
    }
    pthread_mutex_unlock(&dataset->catalog_lock);
    if (code == ERR_OK) {
        ids_confirm(dataset->ids, mark);
    }
    return code;
}

/* The oldest frozen memtable. Under flush_lock. */
static enum err_code flush_one(struct dataset *dataset, struct io *io, struct err *err)
{
    struct flushing flushing = {
        .dataset = dataset, .io = io, .expired_before_ms = dataset_expired_before(dataset)};
    pthread_mutex_lock(&dataset->state_lock);
    struct frozen frozen = dataset->frozen[0]; /* stays: only we take frozen ones away */
    pthread_mutex_unlock(&dataset->state_lock);
    struct version *version = version_pin(dataset);
    /* While all its rows are in memory. Should it fail, all about bound ids is read anew with the next question. */
    struct err ignored;
    (void)!dataset_follow_identity(dataset, &ignored);
    enum err_code code = ERR_OK;
    for (uint32_t shard = 0; code == ERR_OK && shard < SHARD_COUNT; shard++) {
        code = flush_shard(&flushing, &frozen, version, shard, err);
    }
    if (code == ERR_OK) {
        code = runs_write_memtable(dataset, frozen.memtable, io, &flushing.run_number,
                                   &flushing.run, err);
    }
    if (code == ERR_OK) {
        code = publish(&flushing, &frozen, err);
    }
    version_unref(version);
    first_times_facts_done(&flushing.facts);
    if (code != ERR_OK) {
        undo_files(&flushing);
        return err_context(err, "data set \"%s\": flush", dataset->name);
    }
    atomic_fetch_add(&dataset->flushes, 1);
    atomic_fetch_add(&dataset->flushed_bytes, flushing.bytes);
    atomic_fetch_add(&dataset->expired_rows, flushing.expired_rows);
    dataset_writer_acquire(dataset);
    code = wal_drop_before(dataset->wal, io, frozen.wal_floor, err);
    atomic_store(&dataset->wal_bytes, wal_bytes(dataset->wal));
    dataset_writer_release(dataset, io);
    return code;
}

static enum err_code freeze_active(struct dataset *dataset, struct io *io, struct err *err)
{
    enum err_code code = ERR_OK;
    dataset_writer_acquire(dataset);
    if (memtable_rows(dataset->active) > 0) {
        code = dataset_freeze(dataset, io, err);
    }
    dataset_writer_release(dataset, io);
    return code;
}

static uint32_t frozen_count(struct dataset *dataset)
{
    pthread_mutex_lock(&dataset->state_lock);
    uint32_t count = dataset->frozen_count;
    pthread_mutex_unlock(&dataset->state_lock);
    return count;
}

/* Everything that is in memory now. Under flush_lock. */
static enum err_code flush_all(struct dataset *dataset, struct io *io, struct err *err)
{
    atomic_store(&dataset->wants_flush, false);
    enum err_code code = freeze_active(dataset, io, err);
    if (code == ERR_BUSY) { /* too many frozen: write one, then there is room */
        ERR_TRY(flush_one(dataset, io, err));
        code = freeze_active(dataset, io, err);
    }
    ERR_TRY(code);
    for (uint32_t left = frozen_count(dataset); left > 0; left--) {
        ERR_TRY(flush_one(dataset, io, err));
    }
    return ERR_OK;
}

static void note_outcome(struct dataset *dataset, enum err_code code, const struct err *err)
{
    if (code == ERR_OK) {
        dataset->flush_failures = 0;
        dataset->flush_retry_us = 0;
    } else {
        uint64_t pause_us = RETRY_US_FIRST << MIN_OF(dataset->flush_failures, 6u);
        dataset->flush_failures++;
        dataset->flush_retry_us = clock_mono_us() + MIN_OF(pause_us, RETRY_US_MAX);
        dataset_note_error(dataset, err);
    }
    pthread_mutex_lock(&dataset->state_lock);
    dataset->is_flush_failing = code != ERR_OK;
    pthread_mutex_unlock(&dataset->state_lock);
}

enum err_code dataset_flush_io(struct dataset *dataset, struct io *io, struct err *err)
{
    if (dataset->store->opts.is_read_only) {
        return err_set(err, ERR_INVALID, "the store was opened read-only");
    }
    if (dataset_is_broken(dataset, err)) {
        return err->code; /* memory may lack rows that the log has: opening again reads them */
    }
    pthread_mutex_lock(&dataset->flush_lock);
    enum err_code code = flush_all(dataset, io, err);
    note_outcome(dataset, code, err);
    pthread_mutex_unlock(&dataset->flush_lock);
    return code;
}

enum err_code dataset_flush(struct dataset *dataset, struct err *err)
{
    CLEANUP(io_freep) struct io *io = NULL;
    ERR_TRY(io_create(dataset->store->opts.io_kind, &io, err));
    return dataset_flush_io(dataset, io, err);
}

void dataset_flush_if_due(struct dataset *dataset, struct io *io)
{
    const struct store_opts *opts = &dataset->store->opts;
    uint64_t now_us = clock_mono_us();
    pthread_mutex_lock(&dataset->state_lock);
    uint64_t since_us = dataset->active_since_us;
    bool is_old = since_us != 0 && (now_us - since_us) / 1000 >= opts->flush_age_ms;
    bool is_left = dataset->frozen_count > 0;
    bool is_broken = dataset->is_broken;
    pthread_mutex_unlock(&dataset->state_lock);
    if (is_broken || !(is_old || is_left || atomic_load(&dataset->wants_flush))) {
        return;
    }
    pthread_mutex_lock(&dataset->flush_lock);
    struct err err;
    if (now_us >= dataset->flush_retry_us) {
        enum err_code code = flush_all(dataset, io, &err);
        note_outcome(dataset, code, &err);
    }
    pthread_mutex_unlock(&dataset->flush_lock);
}
