/* storage/base/io_posix.c - file access by plain system calls: what is left where no ring can be
 * had, and the part of the work that a ring would not make faster. */
#include "storage/base/io_int.h"

#include "storage/base/size.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define IO_FILE_MODE 0640 /* people's data: not for everybody on the machine */
#define IO_DIR_MODE  0750

static void io_posix_free(struct io *io)
{
    (void)io;
}

static void io_dirp(DIR **dir)
{
    if (*dir != NULL) {
        closedir(*dir);
    }
}

/* open(2), again when a signal got in between; -1 with errno. */
static int io_open_fd(const char *path, int flags)
{
    int fd = -1;
    do {
        fd = open(path, flags | O_CLOEXEC, IO_FILE_MODE);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

void io_posix_close(struct io_file *file)
{
    if (file->fd >= 0) {
        /* Nothing to report: what had to last was synced, and Linux frees the descriptor anyway. */
        (void)close(file->fd);
    }
    free(file->path);
    free(file);
}

enum err_code io_posix_open(struct io *io, const char *path, enum io_mode mode,
                            struct io_file **ret, struct err *err)
{
    CLEANUP(io_closep) struct io_file *file = malloc(sizeof(*file));
    if (file == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory: file \"%s\"", path);
    }
    *file = (struct io_file){.close = io_posix_close, .path = strdup(path), .fd = -1};
    if (file->path == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory: file \"%s\"", path);
    }
    bool is_read = mode == IO_READ || mode == IO_READ_PICKED;
    int flags = is_read             ? O_RDONLY
                : mode == IO_CREATE ? O_RDWR | O_CREAT | O_TRUNC
                                    : O_RDWR | O_CREAT;
    file->fd = io_open_fd(path, flags);
    if (file->fd < 0) {
        return err_set_errno(err, errno, "file \"%s\": cannot %s", path,
                             is_read ? "open" : "open for writing");
    }
    if (mode == IO_READ_PICKED) {
        /* Advice only. Else a read of some hundred KiB fetches up to a window more (8 MiB here). */
        (void)posix_fadvise(file->fd, 0, 0, POSIX_FADV_RANDOM);
    }
    *ret = TAKE(file);
    return ERR_OK;
}

enum err_code io_posix_size(struct io *io, struct io_file *file, uint64_t *ret, struct err *err)
{
    struct stat stat;
    if (fstat(file->fd, &stat) != 0) {
        return err_set_errno(err, errno, "file \"%s\": cannot tell its size", file->path);
    }
    *ret = (uint64_t)stat.st_size;
    return ERR_OK;
}

enum err_code io_posix_read(struct io *io, struct io_file *file, uint64_t off, void *out,
                            size_t len, struct err *err)
{
    uint8_t *at = out;
    size_t done = 0;
    while (done < len) {
        ssize_t got =
            pread(file->fd, at + done, MIN_OF(len - done, IO_CALL_BYTES_MAX), (off_t)(off + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return err_set_errno(err, errno, "file \"%s\": cannot read %zu bytes at byte %" PRIu64,
                                 file->path, len, off);
        }
        if (got == 0) {
            return io_past_end(io, file, off, len, err);
        }
        done += (size_t)got;
    }
    return ERR_OK;
}

enum err_code io_posix_read_batch(struct io *io, const struct io_read_req *reqs, size_t count,
                                  struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        ERR_TRY(io_posix_read(io, reqs[i].file, reqs[i].off, reqs[i].out, reqs[i].len, err));
    }
    return ERR_OK;
}

enum err_code io_posix_write(struct io *io, struct io_file *file, uint64_t off, const void *bytes,
                             size_t len, struct err *err)
{
    const uint8_t *at = bytes;
    size_t done = 0;
    while (done < len) {
        ssize_t put =
            pwrite(file->fd, at + done, MIN_OF(len - done, IO_CALL_BYTES_MAX), (off_t)(off + done));
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put <= 0) { /* 0 cannot be for a regular file; without progress there is no going on */
            return err_set_errno(err, put < 0 ? errno : EIO,
                                 "file \"%s\": cannot write %zu bytes at byte %" PRIu64, file->path,
                                 len, off);
        }
        done += (size_t)put;
    }
    return ERR_OK;
}

/* Never repeated after an error: the kernel reports a lost page once and then calls it clean, so a
 * second, successful sync would be a lie. */
enum err_code io_posix_sync(struct io *io, struct io_file *file, struct err *err)
{
    if (fdatasync(file->fd) != 0) {
        return err_set_errno(err, errno, "file \"%s\": cannot sync", file->path);
    }
    return ERR_OK;
}

enum err_code io_posix_truncate(struct io *io, struct io_file *file, uint64_t len, struct err *err)
{
    int failed = 0;
    do {
        failed = ftruncate(file->fd, (off_t)len);
    } while (failed != 0 && errno == EINTR);
    if (failed != 0) {
        return err_set_errno(err, errno, "file \"%s\": cannot cut to %" PRIu64 " bytes", file->path,
                             len);
    }
    return ERR_OK;
}

enum err_code io_posix_rename(struct io *io, const char *from, const char *to, struct err *err)
{
    if (rename(from, to) != 0) {
        return err_set_errno(err, errno, "file \"%s\": cannot rename to \"%s\"", from, to);
    }
    return ERR_OK;
}

enum err_code io_posix_link(struct io *io, const char *from, const char *to, struct err *err)
{
    if (link(from, to) == 0) {
        return ERR_OK;
    }
    int failure = errno;
    (void)err_set_errno(err, failure, "file \"%s\": cannot link to \"%s\"", from, to);
    switch (failure) {
    case EXDEV:
    case EPERM:
    case EMLINK:
    case EOPNOTSUPP:
    case ENOSYS: err->code = ERR_UNSUPPORTED; break;
    case EEXIST: err->code = ERR_INVALID; break;
    default: break;
    }
    return err->code;
}

enum err_code io_posix_rmdir(struct io *io, const char *path, struct err *err)
{
    if (rmdir(path) != 0) {
        return err_set_errno(err, errno, "directory \"%s\": cannot delete", path);
    }
    return ERR_OK;
}

enum err_code io_posix_unlink(struct io *io, const char *path, struct err *err)
{
    if (unlink(path) != 0) {
        return err_set_errno(err, errno, "file \"%s\": cannot delete", path);
    }
    return ERR_OK;
}

enum err_code io_posix_mkdir(struct io *io, const char *path, struct err *err)
{
    if (mkdir(path, IO_DIR_MODE) == 0) {
        return ERR_OK;
    }
    int failure = errno;
    struct stat stat_buf;
    if (failure == EEXIST && stat(path, &stat_buf) == 0 && S_ISDIR(stat_buf.st_mode)) {
        return ERR_OK;
    }
    return err_set_errno(err, failure, "directory \"%s\": cannot create", path);
}

enum err_code io_posix_sync_dir(struct io *io, const char *path, struct err *err)
{
    int fd = io_open_fd(path, O_RDONLY | O_DIRECTORY);
    if (fd < 0) {
        return err_set_errno(err, errno, "directory \"%s\": cannot open", path);
    }
    int failure = fsync(fd) == 0 ? 0 : errno;
    (void)close(fd);
    if (failure != 0) {
        return err_set_errno(err, failure, "directory \"%s\": cannot sync", path);
    }
    return ERR_OK;
}

static int io_name_order(const void *a, const void *b)
{
    const char *const *left = a;
    const char *const *right = b;
    return strcmp(*left, *right);
}

/* The names in `dir`, each with its NUL, as the file system orders them. */
static enum err_code io_list_unsorted(DIR *dir, const char *path, struct buf *ret_names,
                                      uint32_t *ret_count, struct err *err)
{
    uint32_t count = 0;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL) {
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        if (count == UINT32_MAX) {
            return err_set(err, ERR_LIMIT, "directory \"%s\": more than %u names", path, count);
        }
        buf_append(ret_names, entry->d_name, strlen(entry->d_name) + 1);
        count++;
    }
    if (errno != 0) {
        return err_set_errno(err, errno, "directory \"%s\": cannot list", path);
    }
    ERR_TRY(buf_check(ret_names, err));
    *ret_count = count;
    return ERR_OK;
}

enum err_code io_posix_list(struct io *io, const char *path, struct buf *names, uint32_t *ret_count,
                            struct err *err)
{
    CLEANUP(io_dirp) DIR *dir = opendir(path); /* close-on-exec by specification */
    if (dir == NULL) {
        return err_set_errno(err, errno, "directory \"%s\": cannot open", path);
    }
    CLEANUP(buf_freep) struct buf unsorted = {0};
    uint32_t count = 0;
    ERR_TRY(io_list_unsorted(dir, path, &unsorted, &count, err));

    CLEANUP(buf_freep) struct buf order = {0}; /* const char *[count] into `unsorted` */
    const char *name = (const char *)unsorted.ptr;
    for (uint32_t i = 0; i < count; i++) {
        buf_append(&order, &name, sizeof(name));
        name += strlen(name) + 1;
    }
    ERR_TRY(buf_check(&order, err));
    const char **sorted = (const char **)(void *)order.ptr;
    if (count > 0) {
        qsort(sorted, count, sizeof(*sorted), io_name_order);
    }
    if (buf_reserve(names, unsorted.len) == NULL) {
        return buf_check(names, err);
    }
    for (uint32_t i = 0; i < count; i++) {
        buf_append(names, sorted[i], strlen(sorted[i]) + 1);
    }
    *ret_count = count;
    return ERR_OK;
}

const struct io_ops io_posix_ops = {
    .name = "pread",
    .free = io_posix_free,
    .open = io_posix_open,
    .size = io_posix_size,
    .read = io_posix_read,
    .read_batch = io_posix_read_batch,
    .write = io_posix_write,
    .sync = io_posix_sync,
    .truncate = io_posix_truncate,
    .rename = io_posix_rename,
    .link = io_posix_link,
    .unlink = io_posix_unlink,
    .rmdir = io_posix_rmdir,
    .mkdir = io_posix_mkdir,
    .sync_dir = io_posix_sync_dir,
    .list = io_posix_list,
};
