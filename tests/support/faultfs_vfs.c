/* tests/support/faultfs_vfs.c - the same faults for SQLite: a VFS over the one for Unix.
 *
 * It does what that one does, but for syncs, which go to the disk in memory only. In particular a
 * new journal's folder is synced with the journal's first sync, and a deletion syncs the folder when
 * SQLite asks for it. Version 1 of the methods: no shared memory, hence no write-ahead mode. */
#include "tests/support/faultfs_int.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct vfs_file {
    sqlite3_file base;
    struct fault_node *node;
    bool wants_dir_sync;
    char path[1024];
    sqlite3_file *real; /* behind this struct */
};

static sqlite3_vfs *unix_vfs;
static sqlite3_vfs fault_vfs;

static int rc_of(const struct fault_verdict *verdict, int otherwise)
{
    return verdict->errnum == ENOSPC ? SQLITE_FULL : otherwise;
}

static int sync_dir_of(const char *path)
{
    char dir[1024];
    snprintf(dir, sizeof(dir), "%s", path);
    char *slash = strrchr(dir, '/');
    if (slash != NULL) {
        *slash = '\0';
    }
    struct fault_verdict verdict = fault_ask(CALL_SYNC_DIR, dir);
    if (!verdict.is_struck || verdict.does_it) {
        fault_note_sync_dir(dir);
    }
    return verdict.is_struck ? rc_of(&verdict, SQLITE_IOERR_DIR_FSYNC) : SQLITE_OK;
}

static int file_close(sqlite3_file *base)
{
    struct vfs_file *file = (struct vfs_file *)base;
    return file->real->pMethods->xClose(file->real);
}

static int file_read(sqlite3_file *base, void *out, int len, sqlite3_int64 off)
{
    struct vfs_file *file = (struct vfs_file *)base;
    struct fault_verdict verdict = fault_ask(CALL_READ, file->path);
    if (verdict.is_struck && verdict.kind != FAULT_READ_FLIP) {
        return SQLITE_IOERR_READ;
    }
    return file->real->pMethods->xRead(file->real, out, len, off);
}

static int file_write(sqlite3_file *base, const void *bytes, int len, sqlite3_int64 off)
{
    struct vfs_file *file = (struct vfs_file *)base;
    struct fault_verdict verdict = fault_ask(CALL_WRITE, file->path);
    int part = !verdict.is_struck ? len : 0;
    if (verdict.does_part && len > 0) {
        part = (int)(verdict.fraction % (uint64_t)len);
    }
    if (part > 0) {
        int rc = file->real->pMethods->xWrite(file->real, bytes, part, off);
        if (rc != SQLITE_OK) {
            return rc;
        }
        fault_note_write(file->node, (uint64_t)off, bytes, (size_t)part);
    }
    return verdict.is_struck ? rc_of(&verdict, SQLITE_IOERR_WRITE) : SQLITE_OK;
}

static int file_truncate(sqlite3_file *base, sqlite3_int64 len)
{
    struct vfs_file *file = (struct vfs_file *)base;
    struct fault_verdict verdict = fault_ask(CALL_CUT, file->path);
    if (verdict.is_struck && !verdict.does_it) {
        return SQLITE_IOERR_TRUNCATE;
    }
    int rc = file->real->pMethods->xTruncate(file->real, len);
    if (rc != SQLITE_OK) {
        return rc;
    }
    fault_note_cut(file->node, (uint64_t)len);
    return verdict.is_struck ? SQLITE_IOERR_TRUNCATE : SQLITE_OK;
}

static int file_sync(sqlite3_file *base, int flags)
{
    struct vfs_file *file = (struct vfs_file *)base;
    (void)flags;
    struct fault_verdict verdict = fault_ask(CALL_SYNC, file->path);
    bool is_lost = verdict.is_struck && !verdict.does_it;
    fault_note_sync(file->node, is_lost);
    if (verdict.is_struck) {
        return rc_of(&verdict, SQLITE_IOERR_FSYNC);
    }
    if (file->wants_dir_sync) {
        file->wants_dir_sync = false;
        return sync_dir_of(file->path);
    }
    return SQLITE_OK;
}

static int file_size(sqlite3_file *base, sqlite3_int64 *ret)
{
    struct vfs_file *file = (struct vfs_file *)base;
    struct fault_verdict verdict = fault_ask(CALL_SIZE, file->path);
    if (verdict.is_struck) {
        return SQLITE_IOERR_FSTAT;
    }
    return file->real->pMethods->xFileSize(file->real, ret);
}

static int file_lock(sqlite3_file *base, int level)
{
    struct vfs_file *file = (struct vfs_file *)base;
    return file->real->pMethods->xLock(file->real, level);
}

static int file_unlock(sqlite3_file *base, int level)
{
    struct vfs_file *file = (struct vfs_file *)base;
    return file->real->pMethods->xUnlock(file->real, level);
}

static int file_check_lock(sqlite3_file *base, int *ret)
{
    struct vfs_file *file = (struct vfs_file *)base;
    return file->real->pMethods->xCheckReservedLock(file->real, ret);
}

static int file_control(sqlite3_file *base, int op, void *arg)
{
    struct vfs_file *file = (struct vfs_file *)base;
    if (op == SQLITE_FCNTL_SIZE_HINT || op == SQLITE_FCNTL_CHUNK_SIZE) {
        return SQLITE_NOTFOUND; /* a file would grow behind our back */
    }
    return file->real->pMethods->xFileControl(file->real, op, arg);
}

static int file_sector_size(sqlite3_file *base)
{
    struct vfs_file *file = (struct vfs_file *)base;
    return file->real->pMethods->xSectorSize(file->real);
}

static int file_device(sqlite3_file *base)
{
    struct vfs_file *file = (struct vfs_file *)base;
    /* What a disk may not do here: keep other bytes of a sector, or write a page as one. */
    return file->real->pMethods->xDeviceCharacteristics(file->real) &
           SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static const sqlite3_io_methods file_methods = {
    .iVersion = 1,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_check_lock,
    .xFileControl = file_control,
    .xSectorSize = file_sector_size,
    .xDeviceCharacteristics = file_device,
};

static int vfs_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *base, int flags,
                    int *ret_flags)
{
    (void)vfs;
    struct vfs_file *file = (struct vfs_file *)base;
    *file = (struct vfs_file){.real = (sqlite3_file *)(file + 1)};
    if (name == NULL || !fault_is_on() ||
        (size_t)snprintf(file->path, sizeof(file->path), "%s", name) >= sizeof(file->path)) {
        file->path[0] = '\0';
    }
    bool can_make = (flags & SQLITE_OPEN_CREATE) != 0;
    struct fault_verdict verdict = {0};
    if (file->path[0] != '\0') {
        verdict = fault_ask(can_make ? CALL_MAKE : CALL_OPEN, file->path);
    }
    if (verdict.is_struck && !verdict.does_it) {
        return SQLITE_CANTOPEN;
    }
    int rc = unix_vfs->xOpen(unix_vfs, name, file->real, flags, ret_flags);
    if (rc != SQLITE_OK) {
        return rc;
    }
    if (file->path[0] != '\0') {
        file->node = fault_note_open(file->path, can_make, false);
    }
    if (verdict.is_struck) {
        (void)file->real->pMethods->xClose(file->real);
        return SQLITE_CANTOPEN;
    }
    file->wants_dir_sync =
        can_make && (flags & (SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL)) != 0;
    file->base.pMethods = &file_methods;
    return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int wants_dir_sync)
{
    (void)vfs;
    struct fault_verdict verdict = fault_ask(CALL_UNLINK, name);
    if (verdict.is_struck && !verdict.does_it) {
        return SQLITE_IOERR_DELETE;
    }
    int rc = unix_vfs->xDelete(unix_vfs, name, fault_is_on() ? 0 : wants_dir_sync);
    if (rc != SQLITE_OK) {
        return rc;
    }
    fault_note_unlink(name);
    if (verdict.is_struck) {
        return SQLITE_IOERR_DELETE;
    }
    return wants_dir_sync ? sync_dir_of(name) : SQLITE_OK;
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *ret)
{
    (void)vfs;
    return unix_vfs->xAccess(unix_vfs, name, flags, ret);
}

void fault_vfs_install(void)
{
    if (unix_vfs != NULL) {
        return;
    }
    unix_vfs = sqlite3_vfs_find("unix");
    if (unix_vfs == NULL) {
        fprintf(stderr, "faultfs: SQLite has no VFS for Unix\n");
        abort();
    }
    fault_vfs = *unix_vfs; /* what is not replaced takes no file, or does its own look-up */
    fault_vfs.pNext = NULL;
    fault_vfs.zName = "faults";
    fault_vfs.szOsFile = (int)sizeof(struct vfs_file) + unix_vfs->szOsFile;
    fault_vfs.xOpen = vfs_open;
    fault_vfs.xDelete = vfs_delete;
    fault_vfs.xAccess = vfs_access;
    if (sqlite3_vfs_register(&fault_vfs, 1) != SQLITE_OK) {
        abort();
    }
}
