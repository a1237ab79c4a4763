/* storage/care.h - looking after a data folder: verify, back up, restore, repair.
 *
 *     care_verify    stopped folder or backup -> findings; reads every byte, changes nothing
 *     store_backup   running store -> a folder that is whole or is not there
 *     care_restore   backup -> a new data folder
 *     care_repair    stopped folder -> one that opens, and a report of what it cost
 *
 * A BACKUP is a data folder of its own (catalog.db, segments, ids.log, logs) with a file `_manifest` that
 * names every file of it: care_manifest.c has its format. Segments and runs of event ids never change, so
 * they are hard links of the server's where that can be; everything that is changed in place is copied.
 * A server that is started in a backup makes a data folder of it: the manifest goes.
 *
 * Names that begin with `_` cannot be data sets: `_manifest`, and `_repair-*.txt`, the reports.
 *
 * Thread: any; `io` is the calling thread's. Errors of a call mean that it could not do its work: what is
 * wrong with the folder is told through the callbacks.
 */
#pragma once

#include "storage/store.h"

#include "storage/base/io.h"

#define CARE_MANIFEST "_manifest"

/* ---- verify ---- */

enum care_level {
    CARE_DAMAGE, /* bytes are not what was written, or do not fit each other */
    CARE_LEFT_OVER, /* what a crash leaves: nothing is lost, and the next start of a server removes it */
};
struct care_finding {
    enum care_level level;
    const char *file;    /* below the folder */
    const char *problem; /* place and what is wrong there */
    const char *meaning; /* what follows from it */
};
typedef void (*care_finding_fn)(void *arg, const struct care_finding *finding);

struct care_sums { /* what was read, and what was found */
    uint64_t datasets, segments, segment_rows, ids, log_records, log_events, runs, bytes;
    uint64_t damaged, left_over;
};

/* Every checksum and invariant of a folder, and of what its data sets have in the cold directory `cold_dir`. NULL: a
 * segment there is told as not looked at. Files there are named by their whole path. ERR_BUSY where a process has
 * either open; ERR_NOT_FOUND, ERR_IO, ERR_NOMEM where it cannot be read at all; ERR_INVALID where both are one.
 * Memory: 256 MiB for event ids, and what one segment, the id directory and the log's largest record take. */
enum err_code care_verify(const char *dir, const char *cold_dir, struct io *io, care_finding_fn fn,
                          void *arg, struct care_sums *ret, struct err *err) ERR_MUST_CHECK;

/* ---- backup ---- */

struct backup_dataset {
    char name[72];
    uint64_t rows, epoch, segments;
};
struct backup_report {
    struct backup_dataset *datasets; /* by name; the caller frees it */
    uint32_t dataset_count;
    uint64_t rows, files, linked_bytes, copied_bytes;
};
/* Write a backup to `to`, an absolute path that is free or an empty folder, outside of the data folder. All that
 * was acknowledged before the call is in it; ingest, flushes, compactions and queries go on. Written beside
 * `to` under another name, synced and renamed. `cancel` may be NULL.
 * ERR_INVALID for the path; ERR_BUSY where it is taken or another backup runs; ERR_LIMIT where the disk has no
 * room; ERR_CORRUPT where a data set is damaged. */
enum err_code store_backup(struct store *store, const char *to, const _Atomic bool *cancel,
                           struct io *io, struct backup_report *ret,
                           struct err *err) ERR_MUST_CHECK;

/* ---- restore ---- */

/* Make `to` (free, or an empty folder) a data folder with what is in the backup `from`. The backup is verified
 * first, unless told otherwise; findings go to `fn`, and any damage is ERR_CORRUPT. Without verifying, files that are
 * missing are told and left out: repair may follow. */
enum err_code care_restore(const char *from, const char *to, bool is_verifying, struct io *io,
                           care_finding_fn fn, void *arg, struct backup_report *ret,
                           struct err *err) ERR_MUST_CHECK;

/* ---- repair ---- */

typedef void (*care_line_fn)(void *arg, const char *line);
struct repair_sums {
    uint64_t changes;   /* things done, or with a dry run: to be done */
    uint64_t rows_lost; /* rows that are taken from answers, as far as they can be counted */
    bool is_rows_lost_known;
    char report[128]; /* the report's name in the folder; "" where nothing was to do */
};
/* Make the folder one that opens and is clean. Nothing is deleted but what can be made again: damaged files are
 * moved to DATASET/quarantine/, those of the cold directory to COLD/DATASET/quarantine/. With `cold_dir`, segments there
 * that are a data set's and that its catalog does not name (it was lost, and made again without a look there) are taken
 * in; what is another's is left alone. ERR_UNSUPPORTED where something is of a newer version, or the catalog
 * names cold segments and `cold_dir` is NULL; ERR_INVALID where `cold_dir` is not the one they were moved to; ERR_BUSY
 * where a process has the folder open: then nothing is changed. */
struct repair_opts {
    const char *cold_dir; /* NULL: not looked into */
    bool
        is_cold_lost; /* it is gone: take out of the catalog what it held. Found again, it is another's until a
                             repair takes in what is there */
    bool is_dry_run; /* say, and change nothing */
};
enum err_code care_repair(const char *dir, const struct repair_opts *opts, struct io *io,
                          care_line_fn fn, void *arg, struct repair_sums *ret,
                          struct err *err) ERR_MUST_CHECK;
