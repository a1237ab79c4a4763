/* storage/dataset_int.h - a data set from inside: dataset.c (opening, snapshots, facts),
 * dataset_write.c (the writer), dataset_flush.c and compaction.c (background), store.c.
 *
 * Four things change, each under its own lock, taken in this order and never held over I/O unless
 * said:
 *   job tokens    flush_lock, compact_lock: one flush, one compaction at a time; held over their I/O
 *   catalog_lock  the catalog row, and the publishing of new versions after a catalog transaction;
 *                 held over that transaction, and taken by background jobs only
 *   queue_lock    batches waiting, and who is the writer
 *   state_lock    what a snapshot copies: memtables, version, epoch; held for a few dozen instructions
 *
 * The writer is whoever has set has_writer: it alone touches wal, ids (adding), schema (adding),
 * dedup, and appends to the active memtable.
 *
 * After a failed commit that left the log broken nothing in memory may be trusted to equal it (the
 * record may or may not be on disk), so the data set is broken: every submit fails with the cause until
 * the store is opened again, reading goes on. Where the log could be cut back (a full disk) the group
 * has not happened, and the next may succeed. Ids and columns of a batch that failed before its commit,
 * or with it, stay in memory and travel in the next record; its event ids are taken back.
 */
#pragma once

#include "storage/catalog.h"
#include "storage/dedup.h"
#include "storage/memtable.h"
#include "storage/store.h"
#include "storage/wal.h"

#include "storage/base/rng.h"
#include "storage/compaction.h"

#include <pthread.h>
#include <stdatomic.h>

#define DATASET_PATH_BYTES 4096
#define FROZEN_MAX         8u /* slots; replay may fill them all */
#define FROZEN_BUSY        4u /* the writer freezes no more than this many */

/* An open segment. Shared: reference counted by versions. */
struct seg_ref {
    _Atomic uint32_t refs;
    struct segment *segment;
    struct catalog_segment meta;
};

struct mask_ref {
    _Atomic uint32_t refs;
    roaring_bitmap_t *bits;
};

/* The immutable list of what is on disk; one pointer swap makes a new one current. */
struct version {
    _Atomic uint32_t refs;
    struct mask_ref *deleted[SHARD_COUNT];
    uint32_t seg_count;
    struct seg_ref *segs[]; /* by (shard, time_min, number) */
};

/* A memtable that takes no more rows, and what the catalog may say once it is in segments. */
struct frozen {
    struct memtable *memtable;
    uint64_t wal_floor;
    uint64_t ids_count;
    uint64_t epoch;
    int64_t watermark_ms;
    uint64_t *value_counts; /* of columns [0, column_count) */
    uint32_t column_count;
};

struct pending { /* a batch in the queue */
    struct pending *next;
    struct event_batch *batch;
    dataset_done_fn done;
    void *arg;
    enum err_code code; /* of preparing it */
    struct err err;
    uint32_t accepted, duplicates, rejected;
    size_t place_first, col_first, count_first; /* into the writer's scratch */
    size_t hash_first, hash_end;                /* what it has added, in scratch.hashes */
    bool is_placed;
};

struct writer_scratch {
    struct buf places; /* struct event_place, by event */
    struct buf cols;   /* u32, by property */
    struct buf cells;  /* struct col_cell, by (name, type) of one batch */
    struct buf hashes; /* struct hash128 that the group in hand has added */
    struct buf record;
};

/* What records of the log have given: later ones need not say it again. */
struct logged {
    uint64_t ids;
    uint32_t cols;
    uint32_t subjects[SHARD_COUNT];
};

struct dataset {
    struct store *store;
    char dir[DATASET_PATH_BYTES];
    char name[DATASET_NAME_BYTES_MAX + 8];
    char zone[72];
    uint64_t identity_version;
    struct schema *schema;
    struct ids *ids;
    struct dedup *dedup;
    struct wal *wal; /* NULL in a read-only store */

    pthread_mutex_t queue_lock;
    pthread_cond_t writer_free;
    struct pending *queue_head, *queue_tail;
    uint64_t queue_bytes;
    uint32_t writers_waiting; /* background jobs that want to be the writer next */
    bool has_writer;

    /* writer only */
    struct writer_scratch scratch;
    struct rng rng;
    struct logged logged;

    pthread_mutex_t state_lock;
    struct memtable *active;
    struct frozen frozen[FROZEN_MAX];
    uint32_t frozen_count;
    struct version *version;
    uint64_t epoch;
    int64_t watermark_ms; /* before the 5 minutes are taken off */
    uint32_t subjects[SHARD_COUNT];
    bool is_broken;
    bool is_refusing;         /* the last commit failed and was cut back */
    struct err why;           /* of either */
    uint64_t active_since_us; /* first row of the active memtable; 0 = empty */
    int64_t last_error_ms;
    char last_error[256];
    bool is_flush_failing;

    pthread_mutex_t flush_lock, compact_lock, catalog_lock;
    struct catalog_dataset row; /* under catalog_lock */
    struct compact_limits limits;
    uint64_t flush_retry_us, compact_retry_us; /* not before; under flush_lock, compact_lock */
    uint32_t flush_failures;

    _Atomic bool wants_flush;
    _Atomic uint64_t accepted, duplicates, rejected, commits, flushes, compactions, compacted_bytes;
    _Atomic uint64_t wal_bytes;
    _Atomic uint64_t memtable_bytes; /* active and frozen, as counted in the store's total */
};

struct refused_dataset {
    char name[72];
    struct err err;
};

struct store {
    struct store_opts opts;
    char dir[DATASET_PATH_BYTES];
    int lock_fd;
    struct catalog *catalog;
    struct block_cache *cache;
    _Atomic uint64_t memtable_bytes;
    _Atomic bool is_backing_up;

    pthread_mutex_t list_lock;   /* guards the list; data sets are only added */
    pthread_mutex_t create_lock; /* one creation at a time; held over its I/O, before list_lock */
    struct dataset **datasets;
    uint32_t dataset_count, dataset_cap;
    struct refused_dataset *refused; /* did not open; fixed from then on */
    uint32_t refused_count;

    pthread_mutex_t wake_lock;
    pthread_cond_t wake;
    bool is_stopping;
    _Atomic bool is_cancelled; /* compactions look at it */
    pthread_t flusher, compactor;
    bool has_flusher, has_compactor;
};

/* ---- dataset.c ---- */

/* Open what `row` describes. The directories are made where missing. */
enum err_code dataset_open(struct store *store, const struct catalog_dataset *row, struct io *io,
                           struct dataset **ret, struct recovery_report *report,
                           struct err *err) ERR_MUST_CHECK;
void dataset_free(struct dataset *dataset);
static inline void dataset_freep(struct dataset **dataset)
{
    dataset_free(*dataset);
}
void dataset_segment_path(const struct dataset *dataset, uint32_t shard, uint64_t number,
                          char out[DATASET_PATH_BYTES + 64]);
void dataset_shard_path(const struct dataset *dataset, uint32_t shard,
                        char out[DATASET_PATH_BYTES + 64]);
/* Describe the active memtable as it is now: its columns with their counts, ids, epoch. */
enum err_code frozen_describe(struct dataset *dataset, uint64_t wal_floor, struct frozen *ret,
                              struct err *err) ERR_MUST_CHECK;
struct version *version_pin(struct dataset *dataset);
void version_unref(struct version *version);
enum err_code seg_ref_open(struct dataset *dataset, struct io *io,
                           const struct catalog_segment *meta, struct seg_ref **ret,
                           struct err *err) ERR_MUST_CHECK;
void seg_ref_unref(struct seg_ref *ref);

/* One change of what is on disk: catalog transaction, then the new version. catalog_lock is held by the
 * caller, who has set what changes in dataset->row (and puts it back on failure). Takes over the references
 * of `added` on success. With `flushed` the oldest frozen memtable goes in the same swap. */
struct version_change {
    struct seg_ref **added;
    uint32_t added_count;
    struct seg_ref *const *dropped;
    uint32_t dropped_count;
    const struct frozen *flushed;
    bool *ret_is_unsure; /* as in struct catalog_change: the added files must stay */
};
enum err_code dataset_apply(struct dataset *dataset, const struct version_change *change,
                            struct err *err) ERR_MUST_CHECK;
uint64_t dataset_next_segment(struct dataset *dataset); /* takes catalog_lock */
/* Remember a failure of the background for stats and health; NULL clears the flush's part. */
void dataset_note_error(struct dataset *dataset, const struct err *err);

/* ---- dataset_write.c ---- */

/* Become the writer for a background job, and stop being it (which serves what waits meanwhile). */
void dataset_writer_acquire(struct dataset *dataset);
void dataset_writer_release(struct dataset *dataset, struct io *io);
/* As the writer: freeze the active memtable and start a new log file. ERR_BUSY when too many are frozen. */
enum err_code dataset_freeze(struct dataset *dataset, struct io *io,
                             struct err *err) ERR_MUST_CHECK;
/* True, with the cause, where a commit has failed. */
bool dataset_is_broken(struct dataset *dataset, struct err *err);
void dataset_break(struct dataset *dataset, const struct err *why);
/* True, with the cause, where the last commit failed and nothing has shown yet that the next will not. */
bool dataset_is_refusing(struct dataset *dataset, struct err *err);
/* For the background thread: where it is refusing, see whether the log can be written again. */
void dataset_probe_if_refusing(struct dataset *dataset, struct io *io);
void dataset_count_memtables(struct dataset *dataset);
void store_wake(struct store *store);

/* ---- dataset_flush.c ---- */

/* At a clean stop, when nothing else uses the data set: the next start need not hash every id. */
enum err_code dataset_save_ids(struct dataset *dataset, struct io *io,
                               struct err *err) ERR_MUST_CHECK;
/* Freeze what is there and write all frozen memtables. */
enum err_code dataset_flush_io(struct dataset *dataset, struct io *io,
                               struct err *err) ERR_MUST_CHECK;
/* Flush if it is time to: full, old, or a failed flush whose pause is over. */
void dataset_flush_if_due(struct dataset *dataset, struct io *io);
