/* storage/dataset_int.h - a data set from inside: dataset.c (opening, snapshots, facts),
 * dataset_write.c (the writer), dataset_identity.c (bound ids), dataset_known.c (telling retries), dataset_runs.c, dataset_flush.c and
 * compaction.c (background), store.c.
 *
 * Four things change, each under its own lock, taken in this order and never held over I/O unless
 * said:
 *   job tokens    flush_lock, compact_lock: one flush, one compaction at a time; held over their I/O
 *   catalog_lock  the catalog row, and the publishing of new versions after a catalog transaction;
 *                 held over that transaction, and taken by background jobs only
 *   queue_lock    batches waiting, and who is the writer
 *   identity_lock what is known of bound ids, where there are any; held over reading their rows, and asked for by whoever
 *                 takes a snapshot then
 *   state_lock    what a snapshot copies: memtables, version, epoch; held for a few dozen instructions
 *
 * The writer is whoever has set has_writer: it alone touches wal, ids (adding), schema (adding),
 * and appends to the active memtable.
 *
 * After a failed commit that left the log broken nothing in memory may be trusted to equal it (the
 * record may or may not be on disk), so the data set is broken: every submit fails with the cause until
 * the store is opened again, reading goes on. Where the log could be cut back (a full disk) the group
 * has not happened, and the next may succeed. Ids and columns of a batch that failed before its commit,
 * or with it, stay in memory and travel in the next record; its events are as if they had not come.
 */
#pragma once

#include "storage/catalog.h"
#include "storage/identity.h"
#include "storage/known_run.h"
#include "storage/memtable.h"
#include "storage/store.h"
#include "storage/wal.h"

#include "storage/base/rng.h"
#include "storage/compaction.h"

#include <pthread.h>
#include <stdatomic.h>

#define DATASET_PATH_BYTES 4096
#define FROZEN_MAX         8u /* slots; replay may fill them all */
#define GROUP_START_BYTES  ((uint64_t)1 << 20)
#define FROZEN_BUSY        4u /* the writer freezes no more than this many */

/* An open segment. Shared: reference counted by versions. */
struct seg_ref {
    _Atomic uint32_t refs;
    struct segment *segment;
    struct catalog_segment meta;
    int64_t looked_at_ms; /* the expiry that its rows were last counted for; under compact_lock */
};

struct mask_ref {
    _Atomic uint32_t refs;
    roaring_bitmap_t *bits;
};

/* The immutable list of what is on disk; one pointer swap makes a new one current. */
struct version {
    _Atomic uint32_t refs;
    uint64_t number;  /* counted from opening: another list has another number */
    uint32_t waiting; /* the most segments of one shard that wait to be merged */
    struct mask_ref *deleted[SHARD_COUNT];
    struct known_run **runs; /* of all flushed event ids in the window, by (arrival_min, number) */
    uint32_t run_count;
    struct seg_ref **firsts; /* first times of what is expired (first_times.h), by (shard, time_min, number) */
    uint32_t first_count;
    uint32_t seg_count;
    struct seg_ref *segs[]; /* by (shard, time_min, number) */
};

/* A memtable that takes no more rows, and what the catalog may say once it is in segments. */
struct frozen {
    struct memtable *memtable;
    uint64_t wal_floor;
    uint64_t ids_count;
    uint64_t epoch;
    int64_t commit_ms;
    int64_t watermark_ms;
    uint64_t *value_counts; /* of columns [0, column_count) */
    uint32_t column_count;
};

struct group;

struct pending { /* a batch in the queue, then in a group */
    struct pending *next;
    struct event_batch *batch;
    dataset_done_fn done;
    void *arg;
    enum err_code code; /* of preparing it */
    struct err err;
    struct group *group;
    uint32_t accepted, duplicates, conflicts, rejected;
    size_t place_first, col_first, count_first; /* into the group's arrays */
    bool is_placed;
};

struct placed {
    struct pending *pending;
    uint32_t event;
};

/* What records of the log have given: later ones need not say it again. */
struct logged {
    uint64_t ids, facts; /* facts: of the ids, bindings and merges */
    uint32_t cols;
    uint32_t subjects[SHARD_COUNT];
};

/* Where event ids are known, pinned: the memtables (the active one last) and the runs with the
 * segments that they stand for, of one moment. */
struct known_scope {
    struct memtable *memtables[FROZEN_MAX + 1];
    uint32_t memtable_count;
    struct version *version;
};

/* Batches that are committed together. Two take turns: one is gathered while the other is synced. */
struct group {
    struct pending *head, *tail;
    uint64_t events, bytes;
    int64_t commit_ms;           /* its clock: all of its rows arrived then */
    struct logged before, after; /* what the log has given without it, and with it */
    struct known_scope scope;    /* pinned while it is gathered */
    struct buf places;           /* struct event_place, by event */
    struct buf cols;             /* u32, by property */
    struct buf cells;            /* struct col_cell, by (name, type) of one batch */
    struct buf placed;           /* struct placed, by number in `known` */
    struct known_set *known;     /* its event ids; those of a failed batch are dead */
};

struct dataset {
    struct store *store;
    uint64_t uid; /* of this opening, in this process */
    char dir[DATASET_PATH_BYTES];
    char cold_dir[DATASET_PATH_BYTES]; /* "" where the store has none */
    char name[DATASET_NAME_BYTES_MAX + 8];
    char zone[72];
    _Atomic uint64_t cohorts_version;
    uint64_t identity_version;
    struct schema *schema;
    struct ids *ids;
    struct wal *wal; /* NULL in a read-only store */

    pthread_mutex_t queue_lock;
    pthread_cond_t writer_free;
    struct pending *queue_head, *queue_tail;
    uint64_t queue_bytes;
    uint32_t writers_waiting; /* background jobs that want to be the writer next */
    bool has_writer;

    /* writer only */
    struct group groups[2];
    uint64_t
        group_start_bytes; /* so much is gathered before a sync begins when none is under way */
    struct buf record;
    struct rng rng;
    struct logged logged;
    int64_t clock_ms; /* the last one that a commit was given, whether it came to be or not */

    pthread_mutex_t state_lock;
    struct memtable *active;
    struct frozen frozen[FROZEN_MAX];
    uint32_t frozen_count;
    struct version *version;
    uint64_t epoch;
    int64_t commit_ms;    /* of the last commit: what a snapshot taken now shows; 0: there was none */
    int64_t watermark_ms; /* before the 5 minutes are taken off */
    uint32_t subjects[SHARD_COUNT];
    uint64_t ids_seen, facts_seen; /* of the directory, what the last commit and those before it gave */
    bool is_broken;
    bool is_refusing;         /* the last commit failed and was cut back */
    struct err why;           /* of either */
    uint64_t active_since_us; /* first row of the active memtable; 0 = empty */
    int64_t last_error_ms;
    char last_error[256];
    bool is_flush_failing;

    pthread_mutex_t identity_lock;
    struct identity *identity; /* NULL until a snapshot has facts to show */
    _Atomic uint64_t acts_refused;

    pthread_mutex_t flush_lock, compact_lock, catalog_lock;
    struct catalog_dataset row; /* under catalog_lock */
    struct compact_limits limits;
    uint64_t first_rows_max; /* of a file of first times that is merged of others */
    uint64_t flush_retry_us, compact_retry_us; /* not before; under flush_lock, compact_lock */
    uint64_t expiry_retry_us;                  /* likewise, under compact_lock */
    uint64_t move_retry_us;                    /* the background thread's */
    uint64_t settled_version; /* the background thread's: in this version nothing is to be merged */
    uint32_t flush_failures;

    _Atomic uint64_t expire_after_ms, cold_after_ms, dedup_window_ms; /* row.settings, lock-free */
    _Atomic int64_t gone_before_ms;                                   /* likewise */

    _Atomic bool wants_flush;
    _Atomic bool wants_runs; /* a run of event ids is damaged: they are to be made again */
    _Atomic uint64_t known_hits, known_misses; /* candidates in runs; those that were none */
    _Atomic uint64_t accepted, duplicates, conflicts, rejected, commits, flushes, compactions,
        compacted_bytes;
    _Atomic uint32_t waiting;                        /* of the current version */
    _Atomic uint64_t behind;                         /* batches that were refused because of it */
    _Atomic uint64_t flushed_bytes, rewritten_bytes; /* written by flushes; by merges and expiry */
    _Atomic uint64_t expired_rows, expired_segments, moved_segments, moved_bytes;
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
    char cold_dir[DATASET_PATH_BYTES]; /* "" = none */
    int lock_fd, cold_lock_fd;
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
void dataset_cold_shard_path(const struct dataset *dataset, uint32_t shard,
                             char out[DATASET_PATH_BYTES + 64]);
/* Where a segment that the catalog names lies; the first two are of the hot directory, where all are written. */
void dataset_segment_file(const struct dataset *dataset, const struct catalog_segment *meta,
                          char out[DATASET_PATH_BYTES + 64]);
/* Describe the active memtable as it is now: its columns with their counts, ids, epoch. */
enum err_code frozen_describe(struct dataset *dataset, uint64_t wal_floor, struct frozen *ret,
                              struct err *err) ERR_MUST_CHECK;
struct version *version_pin(struct dataset *dataset);
uint64_t version_number(struct dataset *dataset); /* of the current one */
/* The first times of one shard. */
struct seg_ref *const *version_firsts(const struct version *version, uint32_t shard,
                                      uint32_t *ret_count);
/* The segments of one shard. */
struct seg_ref *const *version_shard(const struct version *version, uint32_t shard,
                                     uint32_t *ret_count);
void version_unref(struct version *version);
enum err_code seg_ref_open(struct dataset *dataset, struct io *io,
                           const struct catalog_segment *meta, struct seg_ref **ret,
                           struct err *err) ERR_MUST_CHECK;
void seg_ref_unref(struct seg_ref *ref);

/* One change of what is on disk: catalog transaction, then the new version. catalog_lock is held by the
 * caller, who has set what changes in dataset->row (and puts it back on failure). Takes over the references
 * of `added` on success. With `flushed` the oldest frozen memtable goes in the same swap. */
struct version_change {
    struct seg_ref **added; /* segments, and first times */
    uint32_t added_count;
    struct seg_ref *const *dropped;
    uint32_t dropped_count;
    struct known_run **runs_added; /* taken over, too */
    uint32_t runs_added_count;
    const uint64_t *runs_dropped; /* by number */
    uint32_t runs_dropped_count;
    const struct frozen *flushed;
    bool is_move;     /* added[i] is dropped[i] in the other directory */
    bool has_expired; /* rows from before expired_before_ms are left out of what is added */
    int64_t expired_before_ms;
    bool *ret_is_unsure; /* as in struct catalog_change: the added files must stay */
};
enum err_code dataset_apply(struct dataset *dataset, const struct version_change *change,
                            struct err *err) ERR_MUST_CHECK;
uint64_t dataset_next_segment(struct dataset *dataset); /* takes catalog_lock */
/* Remember a failure of the background for stats and health; NULL clears the flush's part. */
void dataset_note_error(struct dataset *dataset, const struct err *err);

/* Rows under whom they are stored, whoever they belong to; and how much of the id directory there is. */
enum err_code dataset_snapshot_stored(struct dataset *dataset, struct snapshot **ret,
                                      uint64_t *ret_ids_count, struct err *err) ERR_MUST_CHECK;

/* ---- settings.c ---- */

int64_t store_wall_ms(const struct store *store);
/* Events before it count in no answer any more; INT64_MIN: all do. */
int64_t dataset_expired_before(const struct dataset *dataset);
/* Make row.settings hold. Under catalog_lock, or while opening. */
void dataset_settings_apply(struct dataset *dataset);

/* ---- dataset_identity.c ---- */

/* What a snapshot shows of bindings and merges; its own. */
struct identity_overlay {
    roaring_bitmap_t *masks[SHARD_COUNT]; /* deleted and moved subjects; NULL where the snapshot's own say it */
    struct memtable_view **views;
    bool *is_first_times; /* of each view: its rows are no events (first_times.h) */
    uint32_t view_count;
};
/* Is there a fact in any commit so far? */
bool dataset_has_facts(struct dataset *dataset);
/* Add to a snapshot, of this moment, what it shows. Under identity_lock, which was taken before the moment. *ret is
 * filled after an error too, as far as it came: identity_overlay_done in any case. */
enum err_code dataset_show_identity(struct dataset *dataset, struct snapshot *snapshot,
                                    const struct identity_moment *moment,
                                    struct identity_overlay *ret, struct err *err) ERR_MUST_CHECK;
void identity_overlay_done(struct identity_overlay *overlay);
/* Look at the memtables' newest rows, before they are flushed. */
enum err_code dataset_follow_identity(struct dataset *dataset, struct err *err) ERR_MUST_CHECK;
/* From a subject as ids give it to whose its rows of that time are. */
void dataset_owner(struct dataset *dataset, int64_t at_ms, uint32_t *shard, uint32_t *subject);
/* The same for sets of subjects, as of before the first login. */
enum err_code dataset_move_sets(struct dataset *dataset, roaring_bitmap_t *sets[SHARD_COUNT],
                                struct err *err) ERR_MUST_CHECK;

/* A source of a snapshot of the past, some of whose rows came later: another's, with the same rows under the same numbers. */
struct cut_source {
    struct source source; /* first: its calls cast back */
    const struct source *inner;
};

/* A snapshot and what it holds. */
struct snapshot_pin {
    struct snapshot snapshot; /* first: unpin casts back */
    struct version *version;
    struct memtable_view *views[(FROZEN_MAX + 1) * SHARD_COUNT];
    uint32_t view_count;
    uint64_t ids_count; /* of the directory, then */
    struct identity_overlay overlay;
    struct row_cut cut;      /* of a snapshot of the past */
    uint32_t cut_made;       /* of cuts */
    struct cut_source *cuts; /* likewise */
};

/* ---- dataset_identity.c, for snapshots of the past ---- */

/* Who a subject of `identity` (NULL: nobody is moved) is; by arrival, of no time (identity_find_own). */
void identity_find_owner(struct identity *identity, int64_t at_ms, uint32_t *shard,
                         uint32_t *subject);
enum err_code identity_move_sets(struct identity *identity, roaring_bitmap_t *sets[SHARD_COUNT],
                                 struct err *err) ERR_MUST_CHECK;
/* Whose a row was when it came, of all commits so far: an identity by arrival, of facts alone. The caller's. */
enum err_code dataset_facts_by_arrival(struct dataset *dataset, struct identity **ret,
                                       struct err *err) ERR_MUST_CHECK;
/* As dataset_show_identity, by `identity`. */
enum err_code identity_show(struct identity *identity, struct snapshot *snapshot,
                            const struct identity_moment *moment, enum io_kind io_kind,
                            struct identity_overlay *ret, struct err *err) ERR_MUST_CHECK;

/* ---- dataset_write.c ---- */

/* As the writer: the clock of the next commit, of what came at `arrival_ms`. No two commits of a data set have the same, and
 * it only grows, over restarts too: so what arrived until a snapshot's clock is what that snapshot showed. It may be up to
 * COMMIT_LEAD_MS ahead of the time of day, where commits come faster than one a millisecond for a while; then this waits
 * a millisecond. */
#define COMMIT_LEAD_MS 1000
int64_t dataset_next_clock(struct dataset *dataset, int64_t arrival_ms);
/* As the writer, in front of facts that the directory does not have: which commit they come with. */
enum err_code dataset_mark_clock(struct dataset *dataset, int64_t commit_ms,
                                 struct err *err) ERR_MUST_CHECK;
/* As the writer, after a commit: all ids and columns are in the log. */
void dataset_note_logged(struct dataset *dataset);

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

/* ---- dataset_known.c ---- */

void known_scope_pin(struct dataset *dataset, struct known_scope *ret);
void known_scope_unpin(struct known_scope *scope);

/* An event whose key is in a run: it is known if its id is in a segment, which known_resolve finds out. */
#define KNOWN_PLACES_MAX 16u
struct suspect {
    const struct event *event;
    uint32_t idx; /* of the event in its batch */
    struct payload
        payload; /* what it says; a name of length 0: only whether it is known is asked */
    struct known_place places[KNOWN_PLACES_MAX];
    struct {
        int64_t min_ms, max_ms;
    } arrivals[KNOWN_PLACES_MAX]; /* of the run that each place is from */
    uint32_t place_count;
    bool is_found, is_same; /* the answers */
};
/* Which of some keys (at most KNOWN_PROBE_MAX) are in a run: bit i for keys[i]. */
enum err_code known_probe(struct dataset *dataset, const struct known_scope *scope,
                          const uint64_t *keys, uint32_t count, uint32_t *ret_bits,
                          struct err *err) ERR_MUST_CHECK;
/* Fills the places of `ret`. ERR_CORRUPT: a run is damaged (or has more equal keys than there are
 * places, left by rows that are gone), and all will be made again. */
enum err_code known_places(struct dataset *dataset, const struct known_scope *scope, uint64_t key,
                           struct suspect *ret, struct err *err) ERR_MUST_CHECK;
/* Reads the segments at the suspects' places: those that hold the event's time first. */
enum err_code known_resolve(struct dataset *dataset, const struct known_scope *scope,
                            struct suspect *suspects, uint32_t count, struct io *io,
                            struct err *err) ERR_MUST_CHECK;

/* ---- dataset_runs.c ---- */

void dataset_run_path(const struct dataset *dataset, uint64_t number,
                      char out[DATASET_PATH_BYTES + 64]);
/* Open what the catalog lists; a run that is missing or damaged makes wants_runs true. */
enum err_code runs_open(struct dataset *dataset, struct io *io, struct err *err) ERR_MUST_CHECK;
/* At the end of opening: make the runs where they are wanted, or where there are segments and none. */
enum err_code runs_open_finish(struct dataset *dataset, struct io *io,
                               struct err *err) ERR_MUST_CHECK;
/* Make all runs again from the segments. Under compact_lock, or while opening. */
enum err_code runs_remake(struct dataset *dataset, struct io *io, struct err *err) ERR_MUST_CHECK;
enum err_code runs_remove_orphans(struct dataset *dataset, struct io *io, uint64_t *ret_removed,
                                  struct err *err) ERR_MUST_CHECK;
/* The run of a memtable's event ids, written and opened; *ret NULL where it has none. *ret_number is
 * set as soon as there may be a file. */
enum err_code runs_write_memtable(struct dataset *dataset, const struct memtable *memtable,
                                  struct io *io, uint64_t *ret_number, struct known_run **ret,
                                  struct err *err) ERR_MUST_CHECK;
/* Which neighbours to merge, of runs by arrival: how many from *ret_first on, or 0. Pure. */
uint32_t runs_plan(const struct known_run_info *infos, uint32_t count, uint64_t window_ms,
                   bool is_full, uint32_t *ret_first);
/* One step of upkeep: damaged runs made again, old ones dropped, small ones merged. */
enum err_code runs_step(struct dataset *dataset, bool is_full, struct io *io, bool *ret_did,
                        struct err *err) ERR_MUST_CHECK;

/* ---- dataset_flush.c ---- */

/* At a clean stop, when nothing else uses the data set: the next start need not hash every id. */
enum err_code dataset_save_ids(struct dataset *dataset, struct io *io,
                               struct err *err) ERR_MUST_CHECK;
/* Freeze what is there and write all frozen memtables. */
enum err_code dataset_flush_io(struct dataset *dataset, struct io *io,
                               struct err *err) ERR_MUST_CHECK;
/* Flush if it is time to: full, old, or a failed flush whose pause is over. */
void dataset_flush_if_due(struct dataset *dataset, struct io *io);
