/* storage/catalog.h - the one transactional record of what a data folder holds: DATA/catalog.db.
 *
 * SQLite through its own file layer: rollback journal (DELETE), synchronous=EXTRA, so a transaction
 * that returned survives power loss, the removal of the journal included. Transactions are rare
 * (one per flush or compaction), so their few syncs do not matter. Exclusive locking: one process.
 *
 * A change is one transaction: segments that appear and go, columns, runs of event ids, the mark of the
 * id directory, the log's first needed file. All of it happens or nothing.
 *
 * Thread: any; one mutex inside, held over SQLite's own I/O and over nothing else.
 */
#pragma once

#include "storage/ids.h"
#include "storage/metric.h"
#include "storage/schema.h"
#include "storage/settings.h"

#define CATALOG_VERSION 5 /* 1 has no cohorts, 2 no metrics, 3 no commit clock, 4 no first times; opening for writing makes a 5 of them */

struct catalog;

enum { TIER_HOT = 0, TIER_COLD = 1 }; /* which of a data set's directories holds a segment's file */

struct catalog_segment {
    uint64_t number;
    uint32_t shard;
    uint32_t row_count;
    uint64_t bytes;
    int64_t time_min_ms, time_max_ms;
    uint32_t tier;
    bool is_first_times; /* first times of what is expired (first_times.h); its tier is hot */
};

/* A file of event ids that are known (event_ids.h). Numbers are given like those of segments. */
struct catalog_run {
    uint64_t number;
    uint64_t count;
    uint64_t bytes;
    int64_t arrival_min_ms, arrival_max_ms;
};

/* What is stored of a data set beside its lists. */
struct catalog_dataset {
    int64_t id;
    char name[72];
    char zone[72];
    uint64_t seed;
    uint64_t identity_version;
    struct ids_mark ids;
    uint64_t epoch;        /* number of the last commit that is in segments */
    int64_t commit_ms;     /* the clock of that commit, or of a later erasure; 0: not known */
    uint64_t wal_floor;    /* first log file that is still needed */
    uint64_t next_segment; /* numbers below it were given */
    int64_t watermark_ms;  /* largest event_time seen, at most its arrival; INT64_MIN when none */
    struct dataset_settings settings;
    int64_t
        gone_before_ms; /* older events may have left the disk by expiry; INT64_MIN: none have */
    uint64_t cold_owner_id; /* as whom it owns its place in a cold directory; 0: by its seed */
};
static inline uint64_t catalog_cold_owner(const struct catalog_dataset *dataset)
{
    return dataset->cold_owner_id != 0 ? dataset->cold_owner_id : dataset->seed;
}

/* ERR_UNSUPPORTED for a newer version, ERR_CORRUPT where SQLite finds the file damaged. */
enum err_code catalog_open(const char *path, bool is_read_only, struct catalog **ret,
                           struct err *err) ERR_MUST_CHECK;
void catalog_close(struct catalog *catalog);
static inline void catalog_closep(struct catalog **catalog)
{
    catalog_close(*catalog);
}

/* SQLite's own check of the file: each complaint goes to `fn`; none where it is sound. Reads all of it. */
typedef enum err_code (*catalog_complaint_fn)(void *arg, const char *complaint, struct err *err);
enum err_code catalog_check(struct catalog *catalog, catalog_complaint_fn fn, void *arg,
                            struct err *err) ERR_MUST_CHECK;
/* All of it as of one moment, durable, as a new file at `path`. */
enum err_code catalog_copy(struct catalog *catalog, const char *path,
                           struct err *err) ERR_MUST_CHECK;

typedef enum err_code (*catalog_dataset_fn)(void *arg, const struct catalog_dataset *dataset,
                                            struct err *err);
typedef enum err_code (*catalog_segment_fn)(void *arg, const struct catalog_segment *segment,
                                            struct err *err);
typedef enum err_code (*catalog_column_fn)(void *arg, uint32_t prop, struct str name,
                                           enum col_type type, uint64_t value_count,
                                           struct err *err);
typedef enum err_code (*catalog_subject_fn)(void *arg, uint32_t shard, uint32_t subject,
                                            struct err *err);

typedef enum err_code (*catalog_run_fn)(void *arg, const struct catalog_run *run, struct err *err);

/* Lists, in order: by name; by (shard, time_min, number); by (arrival_min, number); by number; by
 * (shard, subject). The callback must not call the catalog. */
enum err_code catalog_datasets(struct catalog *catalog, catalog_dataset_fn fn, void *arg,
                               struct err *err) ERR_MUST_CHECK;
enum err_code catalog_segments(struct catalog *catalog, int64_t dataset, catalog_segment_fn fn,
                               void *arg, struct err *err) ERR_MUST_CHECK;
enum err_code catalog_runs(struct catalog *catalog, int64_t dataset, catalog_run_fn fn, void *arg,
                           struct err *err) ERR_MUST_CHECK;
enum err_code catalog_columns(struct catalog *catalog, int64_t dataset, catalog_column_fn fn,
                              void *arg, struct err *err) ERR_MUST_CHECK;
enum err_code catalog_deleted(struct catalog *catalog, int64_t dataset, catalog_subject_fn fn,
                              void *arg, struct err *err) ERR_MUST_CHECK;

/* Insert; fills dataset->id. */
enum err_code catalog_add_dataset(struct catalog *catalog, struct catalog_dataset *dataset,
                                  struct err *err) ERR_MUST_CHECK;

struct catalog_change {
    const struct catalog_dataset *dataset; /* its new row; always written */
    const struct catalog_segment *added;
    uint32_t added_count;
    const uint64_t *dropped; /* segment numbers; one that is not there is ERR_CORRUPT */
    uint32_t dropped_count;
    const struct catalog_segment *moved; /* by number: those that are there now have this tier */
    uint32_t moved_count;
    const struct catalog_run *runs_added;
    uint32_t runs_added_count;
    const uint64_t *runs_dropped; /* run numbers; one that is not there is ERR_CORRUPT */
    uint32_t runs_dropped_count;
    const struct schema *schema;  /* columns [0, column_count) are made to be there */
    const uint64_t *value_counts; /* of these columns, as of the rows that this change covers */
    uint32_t column_count;
    bool *ret_is_unsure; /* may be NULL; see below */
};
/* A commit that fails has not happened, with one exception: where the last step failed (the folder's
 * sync after the journal was removed), nobody can tell what a power loss would leave. Then
 * *ret_is_unsure is set to true: files that the change names must stay, and every later transaction
 * fails until the catalog is opened again. */
enum err_code catalog_apply(struct catalog *catalog, const struct catalog_change *change,
                            struct err *err) ERR_MUST_CHECK;
/* At this moment of the commit clock, which becomes the data set's. Who is deleted already stays so, as of then. */
enum err_code catalog_delete_subject(struct catalog *catalog, int64_t dataset, uint32_t shard,
                                     uint32_t subject, int64_t commit_ms,
                                     struct err *err) ERR_MUST_CHECK;
/* How many were deleted in (after_ms, until_ms] of the commit clock. */
enum err_code catalog_count_deleted(struct catalog *catalog, int64_t dataset, int64_t after_ms,
                                    int64_t until_ms, uint64_t *ret,
                                    struct err *err) ERR_MUST_CHECK;
/* Call `fn` for each commit in (after_ms, until_ms] that deleted some, and how many, in their order; under the catalog's lock. */
typedef enum err_code (*catalog_deletion_fn)(void *arg, int64_t commit_ms, uint64_t count,
                                             struct err *err);
enum err_code catalog_deletions(struct catalog *catalog, int64_t dataset, int64_t after_ms,
                                int64_t until_ms, catalog_deletion_fn fn, void *arg,
                                struct err *err) ERR_MUST_CHECK;

/* A saved set of people. A static one keeps who they were, by shard; a live one the question alone. */
struct catalog_cohort {
    struct str name;       /* bytes, unique in the data set */
    struct str definition; /* the question, in canonical words */
    bool is_static;
    uint64_t epoch; /* of the answer that it was saved from: its commit clock */
    int64_t saved_ms;
    uint64_t users; /* then */
};
struct catalog_cohort_set {
    uint32_t shard;
    struct str bits; /* a roaring bitmap in its portable form */
};
typedef enum err_code (*catalog_cohort_fn)(void *arg, const struct catalog_cohort *cohort,
                                           struct err *err);
typedef enum err_code (*catalog_cohort_set_fn)(void *arg, const struct catalog_cohort_set *set,
                                               struct err *err);
/* By name; by shard. What the callback is given lives while it runs. */
enum err_code catalog_cohorts(struct catalog *catalog, int64_t dataset, catalog_cohort_fn fn,
                              void *arg, struct err *err) ERR_MUST_CHECK;
enum err_code catalog_cohort_sets(struct catalog *catalog, int64_t dataset, struct str name,
                                  catalog_cohort_set_fn fn, void *arg,
                                  struct err *err) ERR_MUST_CHECK;
/* In one transaction, in the place of one of the same name. */
enum err_code catalog_put_cohort(struct catalog *catalog, int64_t dataset,
                                 const struct catalog_cohort *cohort,
                                 const struct catalog_cohort_set *sets, uint32_t set_count,
                                 struct err *err) ERR_MUST_CHECK;
/* ERR_NOT_FOUND where there is none. */
enum err_code catalog_drop_cohort(struct catalog *catalog, int64_t dataset, struct str name,
                                  struct err *err) ERR_MUST_CHECK;
/* Put all cohorts of a data set of one catalog into another, as far as they can be read; *ret_count is how many. */
enum err_code catalog_copy_cohorts(struct catalog *from, int64_t from_dataset, struct catalog *to,
                                   int64_t to_dataset, uint32_t *ret_count,
                                   struct err *err) ERR_MUST_CHECK;

/* ---- metrics ---- */
typedef enum err_code (*catalog_metric_fn)(void *arg, const struct metric *metric, struct err *err);
/* All versions of all metrics, by (name, version). What the callback is given lives while it runs. */
enum err_code catalog_metrics(struct catalog *catalog, int64_t dataset, catalog_metric_fn fn,
                              void *arg, struct err *err) ERR_MUST_CHECK;
/* This version of one, or with version 0 its newest; the callback does not run where there is none. */
enum err_code catalog_metric(struct catalog *catalog, int64_t dataset, struct str name,
                             uint32_t version, catalog_metric_fn fn, void *arg,
                             struct err *err) ERR_MUST_CHECK;
/* New versions, in one transaction. */
enum err_code catalog_add_metrics(struct catalog *catalog, int64_t dataset,
                                  const struct metric *metrics, uint32_t count,
                                  struct err *err) ERR_MUST_CHECK;
/* All versions of these, in one transaction; *ret_versions is how many went. */
enum err_code catalog_drop_metrics(struct catalog *catalog, int64_t dataset,
                                   const struct str *names, uint32_t count, uint32_t *ret_versions,
                                   struct err *err) ERR_MUST_CHECK;
/* Put all metrics of a data set of one catalog into another, as far as they can be read; *ret_count is how many versions. */
enum err_code catalog_copy_metrics(struct catalog *from, int64_t from_dataset, struct catalog *to,
                                   int64_t to_dataset, uint32_t *ret_count,
                                   struct err *err) ERR_MUST_CHECK;
