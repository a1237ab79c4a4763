/* storage/care_backup.c - a backup of a running store.
 *
 *    under locks, for as long as the catalog takes to copy:
 *       create_lock, every flush_lock, every catalog_lock: nothing is published, no log file goes
 *          the catalog is copied; each data set's version is pinned
 *       the catalog_locks go; of each data set, as its writer: how far the log is committed
 *          its files are opened, from the catalog's floor on
 *       the flush_locks go
 *    without: segments linked, log and ids.log copied up to those marks, the manifest; sync; rename
 *
 * What was acknowledged before the call is in the log before its mark or in a pinned segment. A
 * pinned segment stays readable whatever compaction does to its name: where it cannot be linked
 * any more it is copied from its descriptor. Run files of event ids are linked by name, and one that is gone
 * is left out of the copied catalog: it can be made again. Ingest waits for nothing but its turn as
 * a writer; flushes and the publishing of compactions wait for the copy of the catalog.
 *
 * Segments lie in the data set's own folder in a backup, whatever directory the server keeps them in. */
#include "storage/care_int.h"

#include "storage/dataset_int.h"
#include "storage/segment_int.h"

#include "storage/base/clock.h"
#include "storage/base/rng.h"
#include "storage/base/size.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#define ROOM_BYTES_MIN                                                                             \
    (UINT64_C(16) << 20) /* less free than this, and a failed write was for want of room */

struct log_file {
    uint64_t number, bytes;
    struct io_file *file;
};

struct backup_set {
    struct dataset *dataset;
    struct version *version;
    uint64_t wal_floor;
    struct buf logs; /* struct log_file */
    uint64_t rows, epoch;
};

struct backup {
    struct store *store;
    struct io *io;
    const _Atomic bool *cancel;
    struct care_target target;
    struct backup_set *sets;
    uint32_t set_count;
    struct care_manifest manifest;
    uint64_t linked_bytes, copied_bytes;
};

/* ---- where to ---- */

static bool is_below(const char *path, const char *dir)
{
    size_t len = strlen(dir);
    return strncmp(path, dir, len) == 0 && (path[len] == '/' || path[len] == '\0' || len == 1);
}

static enum err_code check_place(struct backup *backup, const char *to, struct err *err)
{
    if (to[0] != '/') {
        return err_set(err, ERR_INVALID, "\"%s\" is no absolute path on the server's machine", to);
    }
    ERR_TRY(care_target(backup->io, to, &backup->target, err));
    char *parent = realpath(backup->target.parent, NULL);
    char *data = realpath(backup->store->dir, NULL);
    enum err_code code = ERR_OK;
    if (parent == NULL || data == NULL) {
        code = err_set_errno(err, errno, "the folder that \"%s\" is to be in", to);
    } else if (is_below(parent, data)) {
        code = err_set(err, ERR_INVALID, "\"%s\" is inside of the data folder \"%s\"", to, data);
    }
    free(parent);
    free(data);
    return code;
}

/* A write that failed on a full disk is the caller's to know as such. */
static enum err_code tell_room(const struct backup *backup, struct err *err)
{
    struct statvfs room;
    if (err->code == ERR_IO && statvfs(backup->target.parent, &room) == 0 &&
        (uint64_t)room.f_bavail * room.f_frsize < ROOM_BYTES_MIN) {
        err->code = ERR_LIMIT;
        (void)err_context(err, "there is no room for the backup at \"%s\"", backup->target.path);
    }
    return err->code;
}

static enum err_code check_cancel(const struct backup *backup, struct err *err)
{
    if (backup->cancel != NULL && atomic_load_explicit(backup->cancel, memory_order_relaxed)) {
        return err_set(err, ERR_CANCELLED, "the backup was cancelled");
    }
    return ERR_OK;
}

/* ---- one moment ---- */

static uint64_t version_rows(const struct version *version)
{
    uint64_t rows = 0;
    for (uint32_t i = 0; i < version->seg_count; i++) {
        rows += version->segs[i]->meta.row_count;
    }
    return rows;
}

static enum err_code open_log(struct backup *backup, struct backup_set *set, uint64_t number,
                              uint64_t bytes, struct err *err)
{
    struct log_file log = {.number = number, .bytes = bytes};
    char path[DATASET_PATH_BYTES + 64];
    snprintf(path, sizeof(path), "%s/wal/%08" PRIu64 ".log", set->dataset->dir, number);
    ERR_TRY(io_open(backup->io, path, IO_READ, &log.file, err));
    enum err_code code = ERR_OK;
    if (bytes == UINT64_MAX) {
        code = io_size(backup->io, log.file, &log.bytes, err);
    }
    buf_append(&set->logs, &log, sizeof(log));
    if (code != ERR_OK || buf_check(&set->logs, err) != ERR_OK) {
        if (set->logs.is_bad) {
            io_close(log.file);
        }
        return err->code;
    }
    return ERR_OK;
}

/* Under flush_lock: no log file goes. All that is acknowledged by now is before the mark. */
static enum err_code take_log(struct backup *backup, struct backup_set *set, struct err *err)
{
    struct dataset *dataset = set->dataset;
    uint64_t last_bytes = 0;
    dataset_writer_acquire(dataset);
    uint64_t last = wal_last_file(dataset->wal, &last_bytes);
    pthread_mutex_lock(&dataset->state_lock);
    set->epoch = dataset->epoch;
    set->rows = version_rows(set->version) + memtable_rows(dataset->active);
    for (uint32_t i = 0; i < dataset->frozen_count; i++) {
        set->rows += memtable_rows(dataset->frozen[i].memtable);
    }
    pthread_mutex_unlock(&dataset->state_lock);
    dataset_writer_release(dataset, backup->io);
    for (uint64_t number = set->wal_floor; number <= last; number++) {
        ERR_TRY(open_log(backup, set, number, number == last ? last_bytes : UINT64_MAX, err));
    }
    return ERR_OK;
}

/* Under create_lock and all flush_locks. */
static enum err_code take_catalog(struct backup *backup, struct err *err)
{
    char path[CARE_PATH_BYTES];
    if (!care_path(path, backup->target.partial, "catalog.db")) {
        return care_path_too_long(backup->target.partial, err);
    }
    for (uint32_t i = 0; i < backup->set_count; i++) {
        pthread_mutex_lock(&backup->sets[i].dataset->catalog_lock);
    }
    enum err_code code = catalog_copy(backup->store->catalog, path, err);
    for (uint32_t i = 0; i < backup->set_count; i++) {
        struct backup_set *set = &backup->sets[i];
        set->version = version_pin(set->dataset);
        set->wal_floor = set->dataset->row.wal_floor;
        pthread_mutex_unlock(&set->dataset->catalog_lock);
    }
    return code;
}

static enum err_code take_moment(struct backup *backup, struct err *err)
{
    struct store *store = backup->store;
    if (store->refused_count > 0) {
        *err = store->refused[0].err;
        err->code = ERR_CORRUPT;
        return err_context(err, "data set \"%s\" did not open and cannot be backed up",
                           store->refused[0].name);
    }
    pthread_mutex_lock(&store->create_lock);
    uint32_t count = store_datasets(store, NULL, 0);
    struct dataset **datasets = calloc((size_t)count + 1, sizeof(struct dataset *));
    backup->sets = calloc((size_t)count + 1, sizeof(*backup->sets));
    enum err_code code = ERR_OK;
    if (datasets == NULL || backup->sets == NULL) {
        code = err_set(err, ERR_NOMEM, "no memory for %" PRIu32 " data sets", count);
    } else {
        backup->set_count = store_datasets(store, datasets, count);
        for (uint32_t i = 0; i < count; i++) {
            backup->sets[i].dataset = datasets[i];
            pthread_mutex_lock(&datasets[i]->flush_lock);
        }
        code = take_catalog(backup, err);
        for (uint32_t i = 0; i < count; i++) {
            code = code == ERR_OK ? take_log(backup, &backup->sets[i], err) : code;
            pthread_mutex_unlock(&datasets[i]->flush_lock);
        }
    }
    pthread_mutex_unlock(&store->create_lock);
    free(datasets);
    return code;
}

static void backup_done(struct backup *backup)
{
    for (uint32_t i = 0; i < backup->set_count; i++) {
        struct backup_set *set = &backup->sets[i];
        struct log_file *logs = (struct log_file *)(void *)set->logs.ptr;
        for (size_t k = 0; k < set->logs.len / sizeof(*logs); k++) {
            io_close(logs[k].file);
        }
        buf_done(&set->logs);
        version_unref(set->version);
    }
    free(backup->sets);
    care_manifest_done(&backup->manifest);
}

/* ---- files ---- */

static enum err_code make_folder(struct backup *backup, const char *dir, const char *name,
                                 char out[CARE_PATH_BYTES], struct err *err)
{
    if (!care_path(out, dir, name)) {
        return care_path_too_long(dir, err);
    }
    return io_mkdir(backup->io, out, err);
}

static const char *below(const struct backup *backup, const char *path)
{
    return path + strlen(backup->target.partial) + 1;
}

/* A copy, with its line in the manifest. */
static enum err_code copy_part(struct backup *backup, struct io_file *from, uint64_t bytes,
                               const char *to, struct err *err)
{
    uint64_t checksum = 0;
    ERR_TRY(check_cancel(backup, err));
    ERR_TRY(care_copy(backup->io, from, bytes, to, &checksum, err));
    backup->copied_bytes += bytes;
    return care_manifest_add(&backup->manifest, below(backup, to), bytes, &checksum, err);
}

static enum err_code put_segment(struct backup *backup, const struct backup_set *set,
                                 const struct seg_ref *ref, const char *dir, struct err *err)
{
    char from[DATASET_PATH_BYTES + 64];
    char to[CARE_PATH_BYTES];
    ERR_TRY(check_cancel(backup, err));
    dataset_segment_file(set->dataset, &ref->meta, from);
    care_segment_path(dir, &ref->meta, to);
    enum err_code code = io_link(backup->io, from, to, err);
    if (code == ERR_OK) {
        backup->linked_bytes += ref->meta.bytes;
    } else if (code == ERR_UNSUPPORTED || code == ERR_NOT_FOUND) {
        /* Another file system, or a merge or a move to the cold directory has taken the name since. */
        ERR_TRY(care_copy(backup->io, ref->segment->file, ref->meta.bytes, to, NULL, err));
        backup->copied_bytes += ref->meta.bytes;
    } else {
        return code;
    }
    return care_manifest_add(&backup->manifest, below(backup, to), ref->meta.bytes, NULL, err);
}

static const struct seg_ref *pinned(const struct backup_set *set, uint64_t number)
{
    for (uint32_t i = 0; i < set->version->seg_count; i++) {
        if (set->version->segs[i]->meta.number == number) {
            return set->version->segs[i];
        }
    }
    for (uint32_t i = 0; i < set->version->first_count; i++) {
        if (set->version->firsts[i]->meta.number == number) {
            return set->version->firsts[i];
        }
    }
    return NULL;
}

static int by_shard(const void *a, const void *b)
{
    const struct catalog_segment *x = a;
    const struct catalog_segment *y = b;
    return x->shard != y->shard ? (x->shard > y->shard) - (x->shard < y->shard)
                                : (x->number > y->number) - (x->number < y->number);
}

/* Segments and first times, by shard. */
static enum err_code list_all(const struct care_set *lists, struct buf *ret, struct err *err)
{
    buf_append(ret, lists->segments.ptr, lists->segments.len);
    buf_append(ret, lists->firsts.ptr, lists->firsts.len);
    ERR_TRY(buf_check(ret, err));
    size_t count = ret->len / sizeof(struct catalog_segment);
    if (count > 1) {
        qsort(ret->ptr, count, sizeof(struct catalog_segment), by_shard);
    }
    return ERR_OK;
}

static enum err_code put_segments(struct backup *backup, const struct backup_set *set,
                                  const struct care_set *lists, struct err *err)
{
    CLEANUP(buf_freep) struct buf all = {0};
    ERR_TRY(list_all(lists, &all, err));
    const struct catalog_segment *segments = (const struct catalog_segment *)(const void *)all.ptr;
    size_t count = all.len / sizeof(*segments);
    uint32_t in_use = set->version->seg_count + set->version->first_count;
    if (count != in_use) {
        return err_set(err, ERR_CORRUPT, "%zu segments in the catalog, %" PRIu32 " in use", count,
                       in_use);
    }
    for (size_t i = 0; i < count; i++) { /* by shard */
        char dir[CARE_PATH_BYTES];
        char name[32];
        bool is_first = i == 0 || segments[i].shard != segments[i - 1].shard;
        bool is_last = i + 1 == count || segments[i].shard != segments[i + 1].shard;
        const struct seg_ref *ref = pinned(set, segments[i].number);
        snprintf(name, sizeof(name), "shard-%02" PRIu32, segments[i].shard);
        if (ref == NULL) {
            return err_set(err, ERR_CORRUPT, "segment %" PRIu64 " is in the catalog and not in use",
                           segments[i].number);
        }
        if (is_first) {
            ERR_TRY(make_folder(backup, lists->dir, name, dir, err));
        } else if (!care_path(dir, lists->dir, name)) {
            return care_path_too_long(lists->dir, err);
        }
        ERR_TRY(put_segment(backup, set, ref, lists->dir, err));
        if (is_last) {
            ERR_TRY(io_sync_dir(backup->io, dir, err));
        }
    }
    return ERR_OK;
}

static enum err_code put_ids(struct backup *backup, const struct backup_set *set,
                             const struct care_set *lists, struct err *err)
{
    CLEANUP(io_closep) struct io_file *file = NULL;
    char from[CARE_PATH_BYTES];
    char to[CARE_PATH_BYTES];
    if (!care_path(from, set->dataset->dir, "ids.log") || !care_path(to, lists->dir, "ids.log")) {
        return care_path_too_long(lists->dir, err);
    }
    ERR_TRY(io_open(backup->io, from, IO_READ, &file, err));
    return copy_part(backup, file, lists->row.ids.bytes, to, err);
}

static enum err_code put_logs(struct backup *backup, const struct backup_set *set,
                              const struct care_set *lists, struct err *err)
{
    char dir[CARE_PATH_BYTES];
    const struct log_file *logs = (const struct log_file *)(const void *)set->logs.ptr;
    ERR_TRY(make_folder(backup, lists->dir, "wal", dir, err));
    for (size_t i = 0; i < set->logs.len / sizeof(*logs); i++) {
        char to[CARE_PATH_BYTES];
        char name[32];
        snprintf(name, sizeof(name), "%08" PRIu64 ".log", logs[i].number);
        if (!care_path(to, dir, name)) {
            return care_path_too_long(dir, err);
        }
        ERR_TRY(copy_part(backup, logs[i].file, logs[i].bytes, to, err));
    }
    return io_sync_dir(backup->io, dir, err);
}

/* Runs that are there; the numbers of those that are not, in `gone`. */
static enum err_code put_runs(struct backup *backup, const struct backup_set *set,
                              const struct care_set *lists, struct buf *gone, struct err *err)
{
    size_t count = 0;
    const struct catalog_run *runs = care_set_runs(lists, &count);
    char dir[CARE_PATH_BYTES];
    if (count == 0) {
        return ERR_OK;
    }
    ERR_TRY(make_folder(backup, lists->dir, "event-ids", dir, err));
    for (size_t i = 0; i < count; i++) {
        char from[CARE_PATH_BYTES];
        char to[CARE_PATH_BYTES];
        bool is_linked = false;
        uint64_t bytes = 0;
        ERR_TRY(check_cancel(backup, err));
        care_run_path(set->dataset->dir, runs[i].number, from);
        care_run_path(lists->dir, runs[i].number, to);
        enum err_code code = care_link_or_copy(backup->io, from, to, &is_linked, &bytes, err);
        if (code == ERR_NOT_FOUND) {
            buf_append(gone, &runs[i].number, sizeof(runs[i].number));
            continue;
        }
        ERR_TRY(code);
        *(is_linked ? &backup->linked_bytes : &backup->copied_bytes) += bytes;
        ERR_TRY(care_manifest_add(&backup->manifest, below(backup, to), bytes, NULL, err));
    }
    ERR_TRY(buf_check(gone, err));
    return io_sync_dir(backup->io, dir, err);
}

/* Say in the copied catalog where the backup's files are, and that the data set there owns nothing in a cold
 * directory: a server that is started in a restored folder beside the first one's must not take what lies there for
 * its own orphans. */
static enum err_code settle_catalog(const struct care_set *lists, struct catalog *catalog,
                                    const struct buf *gone, struct err *err)
{
    size_t count = 0;
    const struct catalog_segment *segments = care_set_segments(lists, &count);
    CLEANUP(buf_freep) struct buf moved = {0};
    for (size_t i = 0; i < count; i++) {
        if (segments[i].tier != TIER_HOT) {
            struct catalog_segment hot = segments[i];
            hot.tier = TIER_HOT;
            buf_append(&moved, &hot, sizeof(hot));
        }
    }
    ERR_TRY(buf_check(&moved, err));
    struct catalog_dataset row = lists->row;
    ERR_TRY(rng_system(&row.cold_owner_id, sizeof(row.cold_owner_id), err));
    struct catalog_change change = {
        .dataset = &row,
        .moved = (const struct catalog_segment *)(const void *)moved.ptr,
        .moved_count = (uint32_t)(moved.len / sizeof(struct catalog_segment)),
        .runs_dropped = (const uint64_t *)(const void *)gone->ptr,
        .runs_dropped_count = (uint32_t)(gone->len / sizeof(uint64_t)),
    };
    return catalog_apply(catalog, &change, err);
}

static enum err_code put_set_files(struct backup *backup, const struct backup_set *set,
                                   struct care_set *lists, struct catalog *catalog, struct err *err)
{
    CLEANUP(buf_freep) struct buf gone = {0};
    ERR_TRY(care_set_load(lists, catalog, err));
    ERR_TRY(put_segments(backup, set, lists, err));
    ERR_TRY(put_runs(backup, set, lists, &gone, err));
    ERR_TRY(put_ids(backup, set, lists, err));
    ERR_TRY(put_logs(backup, set, lists, err));
    ERR_TRY(io_sync_dir(backup->io, lists->dir, err));
    return settle_catalog(lists, catalog, &gone, err);
}

static enum err_code put_set(struct backup *backup, const struct catalog_dataset *row,
                             struct catalog *catalog, struct err *err)
{
    struct care care = {.dir = backup->target.partial, .io = backup->io};
    struct care_set lists = {.care = NULL};
    const struct backup_set *set = NULL;
    for (uint32_t i = 0; i < backup->set_count; i++) {
        if (strcmp(backup->sets[i].dataset->name, row->name) == 0) {
            set = &backup->sets[i];
        }
    }
    struct backup_dataset line = {.rows = set == NULL ? 0 : set->rows,
                                  .epoch = set == NULL ? 0 : set->epoch,
                                  .segments = set == NULL ? 0 : set->version->seg_count};
    memcpy(line.name, row->name, sizeof(line.name));
    buf_append(&backup->manifest.datasets, &line, sizeof(line));
    ERR_TRY(buf_check(&backup->manifest.datasets, err));
    if (set == NULL) {
        return ERR_OK; /* its making stopped behind the catalog's row: it has no file yet */
    }
    enum err_code code = care_set_init(&lists, &care, row, err);
    code = code == ERR_OK ? io_mkdir(backup->io, lists.dir, err) : code;
    code = code == ERR_OK ? put_set_files(backup, set, &lists, catalog, err) : code;
    care_set_done(&lists);
    return code == ERR_OK ? ERR_OK : err_context(err, "data set \"%s\"", row->name);
}

static enum err_code take_row(void *arg, const struct catalog_dataset *row, struct err *err)
{
    struct buf *rows = arg;
    buf_append(rows, row, sizeof(*row));
    return buf_check(rows, err);
}

static enum err_code put_sets(struct backup *backup, const char *catalog_path, struct err *err)
{
    CLEANUP(catalog_closep) struct catalog *catalog = NULL;
    CLEANUP(buf_freep) struct buf rows = {0};
    ERR_TRY(catalog_open(catalog_path, false, &catalog, err));
    ERR_TRY(catalog_datasets(catalog, take_row, &rows, err));
    const struct catalog_dataset *row = (const struct catalog_dataset *)(const void *)rows.ptr;
    for (size_t i = 0; i < rows.len / sizeof(*row); i++) {
        ERR_TRY(put_set(backup, &row[i], catalog, err));
    }
    return ERR_OK;
}

static enum err_code put_catalog_line(struct backup *backup, const char *path, struct err *err)
{
    CLEANUP(io_closep) struct io_file *file = NULL;
    uint64_t bytes = 0;
    uint64_t checksum = 0;
    ERR_TRY(io_open(backup->io, path, IO_READ, &file, err));
    ERR_TRY(io_size(backup->io, file, &bytes, err));
    ERR_TRY(care_checksum(backup->io, path, bytes, &checksum, err));
    backup->copied_bytes += bytes;
    return care_manifest_add(&backup->manifest, below(backup, path), bytes, &checksum, err);
}

static enum err_code write_backup(struct backup *backup, struct err *err)
{
    char path[CARE_PATH_BYTES];
    ERR_TRY(io_mkdir(backup->io, backup->target.partial, err));
    backup->manifest.made_ms = clock_wall_ms();
    ERR_TRY(take_moment(backup, err));
    if (!care_path(path, backup->target.partial, "catalog.db")) {
        return care_path_too_long(backup->target.partial, err);
    }
    ERR_TRY(put_sets(backup, path, err));
    ERR_TRY(put_catalog_line(backup, path, err));
    if (!care_path(path, backup->target.partial, CARE_MANIFEST)) {
        return care_path_too_long(backup->target.partial, err);
    }
    ERR_TRY(care_manifest_write(&backup->manifest, backup->io, path, err));
    ERR_TRY(check_cancel(backup, err));
    return care_target_finish(backup->io, &backup->target, err);
}

static void fill_report(struct backup *backup, struct backup_report *ret)
{
    size_t count = 0;
    (void)care_manifest_files(&backup->manifest, &count);
    *ret = (struct backup_report){
        .dataset_count = (uint32_t)(backup->manifest.datasets.len / sizeof(struct backup_dataset)),
        .files = count,
        .linked_bytes = backup->linked_bytes,
        .copied_bytes = backup->copied_bytes,
    };
    ret->datasets = (struct backup_dataset *)(void *)backup->manifest.datasets.ptr;
    backup->manifest.datasets = (struct buf){0}; /* the caller's from here on */
    for (uint32_t i = 0; i < ret->dataset_count; i++) {
        ret->rows += ret->datasets[i].rows;
    }
}

enum err_code store_backup(struct store *store, const char *to, const _Atomic bool *cancel,
                           struct io *io, struct backup_report *ret, struct err *err)
{
    struct backup backup = {.store = store, .io = io, .cancel = cancel};
    if (store->opts.is_read_only) {
        return err_set(err, ERR_INVALID, "the store was opened read-only");
    }
    ERR_TRY(check_place(&backup, to, err));
    if (atomic_exchange(&store->is_backing_up, true)) {
        return err_set(err, ERR_BUSY, "another backup is being written");
    }
    enum err_code code = write_backup(&backup, err);
    if (code != ERR_OK) {
        code = tell_room(&backup, err);
        care_remove_tree(io, backup.target.partial);
        (void)err_context(err, "backup \"%s\"", backup.target.path);
    } else {
        fill_report(&backup, ret);
    }
    backup_done(&backup);
    atomic_store(&store->is_backing_up, false);
    return code;
}
