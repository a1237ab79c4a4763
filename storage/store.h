/* storage/store.h - a data folder: its catalog, its data sets, and the thread that looks after them.
 *
 * DATA/catalog.db, DATA/<dataset>/wal/, DATA/<dataset>/ids.log, DATA/<dataset>/shard-03/000017.seg,
 * DATA/LOCK (flock: one process at a time).
 *
 * Acknowledged = durable = visible: dataset_submit calls back after the batch's record is synced and
 * its rows are published. A snapshot taken after that sees them.
 *
 * Thread: everything here may be called from any thread.
 */
#pragma once

#include "storage/base/pool.h"
#include "storage/metric.h"
#include "storage/schema.h"
#include "storage/segment.h"
#include "storage/settings.h"

struct store;
struct dataset;
struct identity;
struct stand_ins;

struct store_opts {
    enum io_kind io_kind;
    size_t block_cache_bytes; /* default 1 GiB */
    uint64_t flush_rows;      /* of one data set's memtable; default 1 Mi rows */
    uint64_t flush_bytes;     /* of one data set's memtable; default 512 MiB */
    uint64_t
        memtable_bytes_max; /* of all memtables, frozen ones included: above it submits are ERR_BUSY; default 2 GiB */
    uint64_t
        identity_bytes_max; /* of the rows of bound ids, per data set: above it snapshots are ERR_LIMIT; default 2 GiB */
    uint64_t queue_bytes_max;   /* submitted and not yet written, per data set; default 256 MiB */
    uint64_t flush_age_ms;      /* a memtable older than this is flushed; default 10 min */
    bool compact_in_background; /* default true */
    struct dataset_settings fresh; /* what a new data set begins with */
    uint32_t backlog_max; /* segments of one shard that wait to be merged: above it submits are
                                   ERR_BUSY, where compaction runs in the background; default 512. Below
                                   some thirty it may never be reached again: so many wait at rest */
    const char *cold_dir; /* for segments that are cold, on a slower disk; copied; NULL = none */
    int64_t (*wall_ms)(void); /* tests bring a clock of their own; NULL = the system's */
    bool is_read_only;        /* inspect */
};
void store_opts_default(struct store_opts *opts);

struct recovery_report { /* what opening found, for the log; sums over data sets */
    uint32_t datasets;
    uint64_t segments, wal_records, wal_events, torn_bytes, ids_cut, orphan_files;
    uint32_t
        cold_anothers; /* data sets whose place in the cold directory another data set owns, or they
                               themselves did before their catalog was lost: nothing there is touched */
    uint32_t refused;  /* data sets that could not be opened: damaged, or of a newer version */
    struct err refused_err; /* of the first of them */
};

enum err_code store_open(const char *dir, const struct store_opts *opts, struct store **ret,
                         struct recovery_report *report, struct err *err) ERR_MUST_CHECK;
/* Flush everything, leave empty logs, close. Errors are returned after all was tried. */
enum err_code store_close(struct store *store, struct err *err) ERR_MUST_CHECK;
/* Close without flushing, as a crash would (tests). */
void store_abandon(struct store *store);

#define COHORT_NAME_BYTES_MAX  200u
#define DATASET_NAME_BYTES_MAX 64u /* [A-Za-z0-9][A-Za-z0-9._-]* */
bool dataset_name_is_valid(struct str name);
/* A data set that is damaged does not keep the others from opening: asking for it gives the error that opening
 * it met (ERR_CORRUPT with the file's name), and nothing is written to it. */
/* ERR_NOT_FOUND where it does not exist and `create` is false; ERR_INVALID for a bad name. Data sets live as
 * long as the store: no release. */
enum err_code store_dataset(struct store *store, struct str name, bool create, struct dataset **ret,
                            struct err *err) ERR_MUST_CHECK;
/* All data sets, by name; `out` has room for `cap`; returns how many there are. */
uint32_t store_datasets(struct store *store, struct dataset **out, uint32_t cap);

/* What its owner has decided. A change is one catalog transaction and holds from the next snapshot on;
 * ERR_INVALID says which span cannot be, or that there is no cold directory. An expiry that is made
 * longer brings back what was masked, not what has left the disk. */
struct dataset_settings dataset_settings(struct dataset *dataset);
struct settings_change {
    bool has_dedup_window, has_expire_after, has_cold_after; /* the others stay */
    struct dataset_settings to;
};
enum err_code dataset_configure(struct dataset *dataset, const struct settings_change *change,
                                struct err *err) ERR_MUST_CHECK;

const char *dataset_name(const struct dataset *dataset);
/* Of this data set as it was opened: no other one of this process, and not the same one opened again, has this number. */
uint64_t dataset_uid(const struct dataset *dataset);
const char *dataset_zone(const struct dataset *dataset); /* IANA name; "UTC" until told otherwise */

typedef void (*dataset_done_fn)(void *arg, struct event_batch *batch, enum err_code code,
                                const struct err *err);
/* Hand a batch to the writer. ERR_BUSY when the queue or the memtables are full (the batch stays the
 * caller's); ERR_OK means `done` runs exactly once, on this or another thread, perhaps before this returns: with
 * ERR_OK every event has its status (ACCEPTED, DUPLICATE, CONFLICT, REJECTED) and is durable and visible; with an error
 * none of the batch was acknowledged. `done` gets the batch back. It must not block. `io` is the calling thread's: the
 * caller may become the writer for a while (group commit: whoever comes first writes for all who wait). */
enum err_code dataset_submit(struct dataset *dataset, struct event_batch *batch,
                             dataset_done_fn done, void *arg, struct io *io,
                             struct err *err) ERR_MUST_CHECK;
/* Submit and wait, for tests and tools. */
enum err_code dataset_ingest(struct dataset *dataset, struct event_batch *batch, struct io *io,
                             struct err *err) ERR_MUST_CHECK;

/* What of a data set a snapshot of the past shows, by the commit clock. As of epoch e all four are e (late_before_ms is of no
 * matter then). Deleted subjects and expired rows are left out in every epoch. */
struct snapshot_past {
    int64_t rows_ms;        /* rows that arrived until then, */
    int64_t late_ms;        /* and of those that arrived until then */
    int64_t late_before_ms; /* the ones that happened before this */
    int64_t facts_ms;       /* bindings, merges and nobodies of commits until then */
    bool
        is_by_arrival; /* and of these for each row the ones of commits until its own (identity.h) */
};

/* A consistent, immutable view: sources stay readable until it is unpinned. */
struct snapshot {
    struct dataset *dataset;
    const struct schema *schema;
    uint64_t epoch; /* number of the last commit it contains */
    int64_t commit_ms; /* the clock of that commit: what every answer names as its epoch; 0: there was none */
    uint64_t identity_version;
    bool has_facts; /* something was said of who is who: else identity by arrival is that of now */
    int64_t
        watermark_ms; /* largest event_time seen, at most its arrival, minus 5 min; INT64_MIN when empty */
    int64_t time_min_ms, time_max_ms; /* over all rows; min > max when empty */
    int64_t
        expired_before_ms; /* older rows, where sources still have some, count in no answer; INT64_MIN: all do */
    int64_t history_from_ms; /* older events may be missing; INT64_MIN: none are */
    uint64_t row_count;      /* that are shown */
    const struct source **sources; /* by shard, then segments by (time_min, id), memtables last */
    uint32_t source_count;
    uint32_t
        shard_begin[SHARD_COUNT + 1]; /* sources of shard s: [shard_begin[s], shard_begin[s+1]) */
    /* Who did what first before expired_before_ms is in rows of `sources` that are masked, and in these, by shard: sources
     * whose rows are expired as a whole, and the first times of rows that are gone. No answer counts their rows. */
    const struct source **history;
    uint32_t history_count;
    uint32_t history_begin[SHARD_COUNT + 1];
    uint32_t subject_count[SHARD_COUNT]; /* subject numbers of shard s are below this */
    const roaring_bitmap_t *deleted
        [SHARD_COUNT]; /* subjects masked from every answer, deleted, or moved: their rows then stand
                                under others in sources of their own (identity.h); NULL = none */
    const roaring_bitmap_t *hidden[SHARD_COUNT]; /* the same, whomever a query leaves out of `deleted` besides */
    bool has_erased; /* some are deleted, and not moved */
    /* of snapshot_of_past: */
    bool is_own;  /* who is who is its own to say, not the data set's */
    bool is_past; /* something has come since */
    struct snapshot_past past;
    uint32_t later_count; /* sources that are left out, for all of their rows came later */
    uint32_t cut_count;   /* sources of which some rows did */
    uint32_t known_count[SHARD_COUNT]; /* subjects below it had come, or had been bound (own_identity knows them) */
    uint64_t bytes;       /* of memory that it takes by itself, for the rows of who is moved */
    uint64_t erased;      /* subjects that were deleted after past.rows_ms: they are left out all the same */
    struct identity *own_identity; /* who was who then; NULL: everybody was who they came as. Its snapshot's owner's thread */
    const struct stand_ins *stand_ins
        [SHARD_COUNT]; /* who is shown under another number (stand_ins.h); NULL: nobody is */
};
enum err_code dataset_snapshot(struct dataset *dataset, struct snapshot **ret,
                               struct err *err) ERR_MUST_CHECK;
void snapshot_unpin(struct snapshot *snapshot);
static inline void snapshot_unpinp(struct snapshot **snapshot)
{
    if (*snapshot != NULL) {
        snapshot_unpin(*snapshot);
    }
}
/* What `present` shows, as of then (which may be now, where is_by_arrival): a snapshot of its own. It reads arrivals and times of the sources that have rows from both
 * sides of rows_ms, and where there are facts the rows of who they move (identity.h): its cost and its memory are those of the
 * first snapshot after opening; ERR_LIMIT where it needs more than bytes_max. */
enum err_code snapshot_of_past(const struct snapshot *present, const struct snapshot_past *past,
                               uint64_t bytes_max, struct io *io, struct snapshot **ret,
                               struct err *err) ERR_MUST_CHECK;
/* What moved rows from one person to another: facts of identity, by the commits that they came with. */
enum snapshot_act_kind {
    ACT_LOGIN,    /* an anonymous id met a user: only where that can have moved rows of the id */
    ACT_MERGE,    /* a user into another */
    ACT_UNMERGE,
    ACT_NOBODY,   /* a user id stands for nobody */
    ACT_SOMEBODY,
    ACT_KINDS,
};
struct snapshot_act {
    int64_t commit_ms;
    enum snapshot_act_kind kind;
    struct str from, into; /* ids, readable as long as the data set; into: of a login and of merges */
};
/* Call `fn` for the acts of commits in (after_ms, until_ms], in their order. Cost: a walk over the id directory. */
typedef enum err_code (*snapshot_act_fn)(void *arg, const struct snapshot_act *act,
                                         struct err *err);
enum err_code snapshot_acts(const struct snapshot *snapshot, int64_t after_ms, int64_t until_ms,
                            snapshot_act_fn fn, void *arg, struct err *err) ERR_MUST_CHECK;
/* The same for the commits in that span that erased ids, and how many: not which, and none of who is left. */
typedef enum err_code (*snapshot_erasure_fn)(void *arg, int64_t commit_ms, uint64_t ids,
                                             struct err *err);
enum err_code snapshot_erasures(const struct snapshot *snapshot, int64_t after_ms, int64_t until_ms,
                                snapshot_erasure_fn fn, void *arg, struct err *err) ERR_MUST_CHECK;
/* dataset_find_subject and dataset_cohort below, by who was who in the snapshot where it is one of the past, and of who had
 * come by then. */
struct saved_cohort;
bool snapshot_find_subject(const struct snapshot *snapshot, struct str user_id,
                           struct str anonymous_id, uint32_t *ret_shard, uint32_t *ret_subject);
enum err_code snapshot_cohort(const struct snapshot *snapshot, struct str name, struct arena *arena,
                              struct saved_cohort *ret, roaring_bitmap_t *out_sets[SHARD_COUNT],
                              struct err *err) ERR_MUST_CHECK;
/* Whose events an id's are, by now: of a user that is merged, who it is merged into; of a bound weak id its user, of several
 * the last one. User ids and anonymous ids are separate name spaces. */
bool dataset_find_subject(struct dataset *dataset, struct str user_id, struct str anonymous_id,
                          uint32_t *ret_shard, uint32_t *ret_subject);
/* Under which subject the rows of a user id are stored, whoever they belong to by now (identity.h). */
bool dataset_find_stored(struct dataset *dataset, struct str user_id, uint32_t *ret_shard,
                         uint32_t *ret_subject);
/* The ids of subjects, each once, in no particular order: a user's id, or of who never had one a device's. Of
 * subjects that are in `sets` (by shard; NULL: nobody). An id is readable as long as the data set. */
typedef enum err_code (*dataset_id_fn)(void *arg, struct str id, struct err *err);
enum err_code dataset_ids_of(struct dataset *dataset,
                             const roaring_bitmap_t *const sets[SHARD_COUNT], dataset_id_fn fn,
                             void *arg, struct err *err) ERR_MUST_CHECK;
/* The same of sets of a snapshot, of whom some may be stand-ins. */
enum err_code snapshot_ids_of(const struct snapshot *snapshot,
                              const roaring_bitmap_t *const sets[SHARD_COUNT], dataset_id_fn fn,
                              void *arg, struct err *err) ERR_MUST_CHECK;
/* Save a set of a snapshot's people (dataset_save_cohort). */
enum err_code snapshot_save_cohort(const struct snapshot *snapshot,
                                   const struct saved_cohort *cohort,
                                   const roaring_bitmap_t *const sets[SHARD_COUNT],
                                   struct err *err) ERR_MUST_CHECK;
/* Make one person of two users: from the next snapshot on all events of `user_id` are those of `into`, until it is undone.
 * One durable commit. Nothing else ever makes one of two users. ERR_NOT_FOUND: no such user; ERR_INVALID: it is merged
 * already (unmerge: it is not), would be merged into itself, one of the two is nobody; read-only. Blocks while batches are
 * written. */
enum err_code dataset_merge_user(struct dataset *dataset, struct str user_id, struct str into,
                                 struct err *err) ERR_MUST_CHECK;
enum err_code dataset_unmerge_user(struct dataset *dataset, struct str user_id,
                                   struct err *err) ERR_MUST_CHECK;
/* A user id that stands for nobody ("-1"): what came under it is of the anonymous id that came with it, and is left out where
 * there was none. It may be taken back. Errors as above. */
enum err_code dataset_declare_nobody(struct dataset *dataset, struct str user_id, bool is_nobody,
                                     struct err *err) ERR_MUST_CHECK;
struct identity_stats;
/* As the last snapshot saw it (identity.h). */
struct identity_stats dataset_identity_stats(struct dataset *dataset);
/* Take a subject out of every answer (a catalog transaction; rows go at the next compaction). */
enum err_code dataset_delete_subject(struct dataset *dataset, uint32_t shard, uint32_t subject,
                                     struct err *err) ERR_MUST_CHECK;

/* Saved sets of people. A live one is its question, asked anew whenever it is used; a static one is also who they were. */
#define COHORTS_MAX 10000u /* of a data set */
struct saved_cohort {
    struct str name;
    struct str definition; /* a query in canonical words */
    bool is_static;
    uint64_t epoch; /* commit_ms of the snapshot that it was saved from */
    int64_t saved_ms;
    uint64_t users; /* then */
};
/* By name, in the arena. */
enum err_code dataset_cohorts(struct dataset *dataset, struct arena *arena,
                              struct saved_cohort **ret, uint32_t *ret_count,
                              struct err *err) ERR_MUST_CHECK;
/* ERR_NOT_FOUND. Of a static one out_sets (by shard, NULL at first) gets bitmaps, also after an error: the caller's to
 * free. */
enum err_code dataset_cohort(struct dataset *dataset, struct str name, struct arena *arena,
                             struct saved_cohort *ret, roaring_bitmap_t *out_sets[SHARD_COUNT],
                             struct err *err) ERR_MUST_CHECK;
/* One catalog transaction; takes the place of a cohort of the same name. `sets`: of a static one. */
enum err_code dataset_save_cohort(struct dataset *dataset, const struct saved_cohort *cohort,
                                  const roaring_bitmap_t *const sets[SHARD_COUNT],
                                  struct err *err) ERR_MUST_CHECK;
enum err_code dataset_drop_cohort(struct dataset *dataset, struct str name,
                                  struct err *err) ERR_MUST_CHECK;
/* Grows with every change of the cohorts: answers that hang on some may differ between two numbers. */
uint64_t dataset_cohorts_version(const struct dataset *dataset);

/* Metrics (storage/metric.h). All versions, by (name, version), in the arena. */
enum err_code dataset_metrics(struct dataset *dataset, struct arena *arena, struct metric **ret,
                              uint32_t *ret_count, struct err *err) ERR_MUST_CHECK;
/* One version, or with version 0 the newest, in the arena. ERR_NOT_FOUND. */
enum err_code dataset_metric(struct dataset *dataset, struct str name, uint32_t version,
                             struct arena *arena, struct metric *ret,
                             struct err *err) ERR_MUST_CHECK;
/* Store what differs from the newest version of its name as the next version (the first is 1), all in one catalog
 * transaction. The names are different ones; the texts are within their bounds. Fills the versions: new ones, or those
 * that say the same already. ERR_LIMIT above METRICS_MAX. */
struct metrics_defined {
    uint32_t added, changed, same;
};
enum err_code dataset_define_metrics(struct dataset *dataset, struct metric *metrics, uint32_t count,
                                     struct metrics_defined *ret, struct err *err) ERR_MUST_CHECK;

/* Forget all versions of these metrics, in one catalog transaction; *ret_versions is how many. Whether others are made of them
 * is for the caller to know. */
enum err_code dataset_drop_metrics(struct dataset *dataset, const struct str *names, uint32_t count,
                                   uint32_t *ret_versions, struct err *err) ERR_MUST_CHECK;

/* Write all memtable rows to segments now, and wait. */
enum err_code dataset_flush(struct dataset *dataset, struct err *err) ERR_MUST_CHECK;
/* Merge all there is to merge (flushing first), take what is expired from the disk, move what is cold, and wait; `cancel` may be NULL. */
enum err_code dataset_compact(struct dataset *dataset, const _Atomic bool *cancel,
                              struct err *err) ERR_MUST_CHECK;

struct dataset_stats {
    uint64_t rows, memtable_rows, memtable_bytes, segments, segment_bytes, wal_bytes, subjects;
    uint64_t first_times, first_files, first_bytes; /* of what is expired (first_times.h): rows, files */
    uint64_t id_runs, id_run_bytes; /* files of known event ids */
    uint64_t known_hits,
        known_misses; /* look-ups in segments they led to; those that found nothing */
    uint64_t conflicts;
    uint64_t accepted, duplicates, rejected, commits, flushes, compactions, compacted_bytes;
    uint64_t queue_bytes, epoch;
    int64_t commit_ms;         /* the clock of the last commit; 0: there was none */
    uint64_t waiting_segments; /* the most of one shard that wait to be merged */
    uint64_t behind;           /* batches refused because those were too many */
    uint64_t flushed_bytes;    /* of segments, written by flushes: the rows' first time on disk */
    uint64_t rewritten_bytes;  /* of segments, written by merges and by expiry */
    uint64_t expired_rows, expired_segments; /* that have left the disk; segments as wholes */
    uint64_t cold_segments, cold_bytes;   /* of segments and segment_bytes, in the cold directory */
    uint64_t moved_segments, moved_bytes; /* to it, since opening */
    int64_t last_error_ms;
    char last_error[256]; /* of the background: flush or compaction */
};
struct dataset_stats dataset_stats(struct dataset *dataset);
struct store_stats {
    struct block_cache_stats cache;
    uint64_t memtable_bytes;
};
struct store_stats store_stats(struct store *store);
/* ERR_OK while the store can accept; else why not (a broken log, a full disk): for /readyz. */
enum err_code store_health(struct store *store, struct err *err) ERR_MUST_CHECK;
