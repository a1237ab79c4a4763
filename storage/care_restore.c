/* storage/care_restore.c - from a backup to a new data folder.
 *
 * The files of the manifest, and no others. Segments and runs of event ids are never changed in place, so
 * they may be hard links of the backup's; the catalog, ids.log and the log are, and are copied. Written
 * under another name, synced, renamed: there is a whole data folder or none. */
#include "storage/care_int.h"

#include "storage/folder_lock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct restoring {
    struct care care; /* of the backup */
    struct care_target target;
    struct care_manifest manifest;
    bool is_verifying;
    uint64_t linked_bytes, copied_bytes, files;
};

/* The folder of a file below `root`, and those above it; each is synced later. */
static enum err_code make_folders(struct restoring *restoring, const char *path, struct err *err)
{
    char dir[CARE_PATH_BYTES];
    for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        int len = snprintf(dir, sizeof(dir), "%s/%.*s", restoring->target.partial,
                           (int)(slash - path), path);
        if (len >= (int)sizeof(dir)) {
            return care_path_too_long(restoring->target.partial, err);
        }
        ERR_TRY(io_mkdir(restoring->care.io, dir, err));
    }
    return ERR_OK;
}

static enum err_code sync_folders(struct restoring *restoring, const char *path, struct err *err)
{
    char dir[CARE_PATH_BYTES];
    if (!care_path(dir, restoring->target.partial, path)) {
        return care_path_too_long(restoring->target.partial, err);
    }
    for (char *slash = strrchr(dir, '/'); slash != NULL; slash = strrchr(dir, '/')) {
        *slash = '\0';
        if (strlen(dir) <= strlen(restoring->target.partial)) {
            return ERR_OK; /* the folder itself is synced when it is whole */
        }
        ERR_TRY(io_sync_dir(restoring->care.io, dir, err));
    }
    return ERR_OK;
}

static bool never_changes(const char *path)
{
    return str_ends(str_of(path), STR(".seg")) || str_ends(str_of(path), STR(".first")) ||
           str_ends(str_of(path), STR(".run"));
}

static enum err_code put_file(struct restoring *restoring, const struct care_file *file,
                              struct err *err)
{
    struct io *io = restoring->care.io;
    CLEANUP(io_closep) struct io_file *opened = NULL;
    char from[CARE_PATH_BYTES];
    char to[CARE_PATH_BYTES];
    bool is_linked = false;
    uint64_t bytes = 0;
    if (!care_path(from, restoring->care.dir, file->path) ||
        !care_path(to, restoring->target.partial, file->path)) {
        return care_path_too_long(restoring->target.partial, err);
    }
    enum err_code code = io_open(io, from, IO_READ, &opened, err);
    if (code == ERR_NOT_FOUND && !restoring->is_verifying) {
        care_say(&restoring->care, CARE_DAMAGE, file->path, "missing", "it is not restored");
        return ERR_OK;
    }
    ERR_TRY(code);
    ERR_TRY(make_folders(restoring, file->path, err));
    if (never_changes(file->path)) {
        ERR_TRY(care_link_or_copy(io, from, to, &is_linked, &bytes, err));
    } else {
        ERR_TRY(io_size(io, opened, &bytes, err));
        ERR_TRY(care_copy(io, opened, bytes, to, NULL, err));
    }
    *(is_linked ? &restoring->linked_bytes : &restoring->copied_bytes) += bytes;
    restoring->files++;
    return ERR_OK;
}

static enum err_code put_files(struct restoring *restoring, struct err *err)
{
    size_t count = 0;
    const struct care_file *files = care_manifest_files(&restoring->manifest, &count);
    ERR_TRY(io_mkdir(restoring->care.io, restoring->target.partial, err));
    for (size_t i = 0; i < count; i++) {
        ERR_TRY(put_file(restoring, &files[i], err));
    }
    for (size_t i = 0; i < count; i++) {
        const char *slash = strrchr(files[i].path, '/');
        size_t len = slash == NULL ? 0 : (size_t)(slash - files[i].path);
        bool is_last = i + 1 == count || strncmp(files[i].path, files[i + 1].path, len + 1) != 0;
        if (len > 0 && is_last) {
            ERR_TRY(sync_folders(restoring, files[i].path, err));
        }
    }
    return care_target_finish(restoring->care.io, &restoring->target, err);
}

static enum err_code check_backup(struct restoring *restoring, struct err *err)
{
    char path[CARE_PATH_BYTES];
    if (!care_path(path, restoring->care.dir, CARE_MANIFEST)) {
        return care_path_too_long(restoring->care.dir, err);
    }
    enum err_code code = care_manifest_read(restoring->care.io, path, &restoring->manifest, err);
    if (code == ERR_NOT_FOUND) {
        return err_set(err, ERR_INVALID,
                       "\"%s\" is no backup: it has no file " CARE_MANIFEST
                       "; a server can be started in a data folder as it is",
                       restoring->care.dir);
    }
    ERR_TRY(code);
    if (!restoring->is_verifying) {
        return ERR_OK;
    }
    ERR_TRY(care_verify_folder(&restoring->care, err));
    if (restoring->care.sums.damaged > 0) {
        return err_set(err, ERR_CORRUPT,
                       "backup \"%s\" is damaged in %" PRIu64
                       " places, and nothing was restored; --no-verify restores it all the same, "
                       "for trackway repair to look at",
                       restoring->care.dir, restoring->care.sums.damaged);
    }
    return ERR_OK;
}

static enum err_code restore(struct restoring *restoring, const char *to, struct err *err)
{
    ERR_TRY(care_target(restoring->care.io, to, &restoring->target, err));
    ERR_TRY(check_backup(restoring, err));
    enum err_code code = put_files(restoring, err);
    if (code != ERR_OK) {
        care_remove_tree(restoring->care.io, restoring->target.partial);
        return err_context(err, "restoring to \"%s\"", restoring->target.path);
    }
    return ERR_OK;
}

static void fill_report(struct restoring *restoring, struct backup_report *ret)
{
    *ret = (struct backup_report){
        .datasets = (struct backup_dataset *)(void *)restoring->manifest.datasets.ptr,
        .dataset_count =
            (uint32_t)(restoring->manifest.datasets.len / sizeof(struct backup_dataset)),
        .files = restoring->files,
        .linked_bytes = restoring->linked_bytes,
        .copied_bytes = restoring->copied_bytes,
    };
    restoring->manifest.datasets = (struct buf){0}; /* the caller's from here on */
    for (uint32_t i = 0; i < ret->dataset_count; i++) {
        ret->rows += ret->datasets[i].rows;
    }
}

enum err_code care_restore(const char *from, const char *to, bool is_verifying, struct io *io,
                           care_finding_fn fn, void *arg, struct backup_report *ret,
                           struct err *err)
{
    struct restoring *restoring = calloc(1, sizeof(*restoring));
    int lock = -1;
    if (restoring == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for restoring");
    }
    restoring->is_verifying = is_verifying;
    enum err_code code = folder_lock(from, FOLDER_SHARED, &lock, err);
    code = code == ERR_OK ? care_init(&restoring->care, from, NULL, io, fn, arg, err) : code;
    code = code == ERR_OK ? restore(restoring, to, err) : code;
    if (code == ERR_OK) {
        fill_report(restoring, ret);
    }
    if (lock >= 0) {
        (void)close(lock);
    }
    care_manifest_done(&restoring->manifest);
    care_done(&restoring->care);
    free(restoring);
    return code;
}
