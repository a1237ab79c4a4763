/* storage/base/io.c - the front of the file-access table: checks, dispatch, and what needs no
 * implementation of its own. */
#include "storage/base/io_int.h"

#include "storage/base/size.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#ifdef __SANITIZE_THREAD__
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* off_t is a signed 64-bit number: what lies beyond is in no file. */
static bool io_range_fits(uint64_t off, size_t len)
{
    return off <= INT64_MAX && len <= (uint64_t)INT64_MAX - off;
}

static enum err_code io_new(const struct io_ops *ops, struct io *inner, void *ctx, struct io **ret,
                            struct err *err)
{
    struct io *io = malloc(sizeof(*io));
    if (io == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory: file access");
    }
    *io = (struct io){.ops = ops, .inner = inner, .ctx = ctx};
    *ret = io;
    return ERR_OK;
}

enum err_code io_create(enum io_kind kind, struct io **ret, struct err *err)
{
    CLEANUP(io_freep) struct io *io = NULL;
    ERR_TRY(io_new(&io_posix_ops, NULL, NULL, &io, err));
    if (kind != IO_POSIX) {
        enum err_code code = io_uring_attach(io, err);
        if (code != ERR_OK && kind == IO_URING) {
            return code;
        }
    }
    *ret = TAKE(io);
    return ERR_OK;
}

enum err_code io_wrap(struct io *inner, const struct io_ops *ops, void *ctx, struct io **ret,
                      struct err *err)
{
    ASSERT(inner != NULL);
    return io_new(ops, inner, ctx, ret, err);
}

void io_free(struct io *io)
{
    if (io == NULL) {
        return;
    }
    io->ops->free(io);
    io_free(io->inner);
    free(io);
}

const char *io_name(const struct io *io)
{
    return io->ops->name;
}

const char *io_path(const struct io_file *file)
{
    return file->path;
}

enum err_code io_open(struct io *io, const char *path, enum io_mode mode, struct io_file **ret,
                      struct err *err)
{
    return io->ops->open(io, path, mode, ret, err);
}

void io_close(struct io_file *file)
{
    if (file != NULL) {
        file->close(file);
    }
}

enum err_code io_size(struct io *io, struct io_file *file, uint64_t *ret, struct err *err)
{
    return io->ops->size(io, file, ret, err);
}

enum err_code io_past_end(struct io *io, struct io_file *file, uint64_t off, size_t len,
                          struct err *err)
{
    uint64_t size = 0;
    ERR_TRY(io->ops->size(io, file, &size, err));
    return err_set(err, ERR_CORRUPT,
                   "file \"%s\": %zu bytes wanted at byte %" PRIu64 ", file ends at byte %" PRIu64,
                   file->path, len, off, size);
}

enum err_code io_read(struct io *io, struct io_file *file, uint64_t off, void *out, size_t len,
                      struct err *err)
{
    if (!io_range_fits(off, len)) {
        return io_past_end(io, file, off, len, err);
    }
    return len == 0 ? ERR_OK : io->ops->read(io, file, off, out, len, err);
}

enum err_code io_read_batch(struct io *io, const struct io_read_req *reqs, size_t count,
                            struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        if (!io_range_fits(reqs[i].off, reqs[i].len)) {
            return io_past_end(io, reqs[i].file, reqs[i].off, reqs[i].len, err);
        }
    }
    return count == 0 ? ERR_OK : io->ops->read_batch(io, reqs, count, err);
}

enum err_code io_write(struct io *io, struct io_file *file, uint64_t off, const void *bytes,
                       size_t len, struct err *err)
{
    if (!io_range_fits(off, len)) {
        return err_set(err, ERR_LIMIT,
                       "file \"%s\": a write of %zu bytes at byte %" PRIu64 " is too far",
                       file->path, len, off);
    }
    return len == 0 ? ERR_OK : io->ops->write(io, file, off, bytes, len, err);
}

enum err_code io_sync(struct io *io, struct io_file *file, struct err *err)
{
    return io->ops->sync(io, file, err);
}

enum err_code io_sync_begin(struct io *io, struct io_file *file, struct err *err)
{
    ASSERT(io->syncing == NULL);
    io->is_sync_deferred = io->ops->sync_begin == NULL;
    if (!io->is_sync_deferred) {
        ERR_TRY(io->ops->sync_begin(io, file, err));
    }
    io->syncing = file;
    return ERR_OK;
}

bool io_sync_is_done(struct io *io)
{
    ASSERT(io->syncing != NULL);
    return io->is_sync_deferred || io->is_sync_lost || io->ops->sync_is_done(io);
}

enum err_code io_sync_end(struct io *io, struct err *err)
{
    ASSERT(io->syncing != NULL);
    struct io_file *file = TAKE(io->syncing);
    if (io->is_sync_lost) {
        io->is_sync_lost = false;
        return err_set(err, ERR_IO, "file \"%s\": cannot sync: the ring broke on the way",
                       file->path);
    }
    return io->is_sync_deferred ? io->ops->sync(io, file, err) : io->ops->sync_end(io, file, err);
}

enum err_code io_truncate(struct io *io, struct io_file *file, uint64_t len, struct err *err)
{
    if (!io_range_fits(len, 0)) {
        return err_set(err, ERR_LIMIT, "file \"%s\": a length of %" PRIu64 " bytes is too large",
                       file->path, len);
    }
    return io->ops->truncate(io, file, len, err);
}

enum err_code io_rename(struct io *io, const char *from, const char *to, struct err *err)
{
    return io->ops->rename(io, from, to, err);
}

enum err_code io_link(struct io *io, const char *from, const char *to, struct err *err)
{
    return io->ops->link(io, from, to, err);
}

enum err_code io_rmdir(struct io *io, const char *path, struct err *err)
{
    return io->ops->rmdir(io, path, err);
}

enum err_code io_unlink(struct io *io, const char *path, struct err *err)
{
    return io->ops->unlink(io, path, err);
}

enum err_code io_mkdir(struct io *io, const char *path, struct err *err)
{
    return io->ops->mkdir(io, path, err);
}

/* How much of a path names the folder above: 0 where that is the working folder. */
static size_t above_len(const char *path)
{
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/') {
        len--;
    }
    while (len > 0 && path[len - 1] != '/') {
        len--;
    }
    while (len > 1 && path[len - 1] == '/') {
        len--;
    }
    return len;
}

enum err_code io_mkdir_synced(struct io *io, const char *path, struct err *err)
{
    struct stat at;
    struct err why;
    char above[PATH_MAX];
    bool was_there = stat(path, &at) == 0;
    size_t len = above_len(path);
    if (len >= sizeof(above)) {
        return err_set(err, ERR_INVALID, "a path of %zu bytes", strlen(path));
    }
    snprintf(above, sizeof(above), "%.*s", len == 0 ? 1 : (int)len, len == 0 ? "." : path);
    ERR_TRY(io_mkdir(io, path, err));
    if (io_sync_dir(io, above, &why) != ERR_OK && !was_there) {
        *err = why;
        return why.code;
    }
    return ERR_OK;
}

enum err_code io_sync_dir(struct io *io, const char *path, struct err *err)
{
    return io->ops->sync_dir(io, path, err);
}

enum err_code io_list(struct io *io, const char *path, struct buf *names, uint32_t *ret_count,
                      struct err *err)
{
    return io->ops->list(io, path, names, ret_count, err);
}

enum err_code io_read_file(struct io *io, const char *path, size_t max_bytes, struct buf *out,
                           struct err *err)
{
    CLEANUP(io_closep) struct io_file *file = NULL;
    ERR_TRY(io_open(io, path, IO_READ, &file, err));
    uint64_t size = 0;
    ERR_TRY(io_size(io, file, &size, err));
    if (size > max_bytes) {
        return err_set(err, ERR_LIMIT, "file \"%s\": %" PRIu64 " bytes, the limit is %zu", path,
                       size, max_bytes);
    }
    uint8_t *at = buf_reserve(out, (size_t)size);
    if (at == NULL) {
        return buf_check(out, err);
    }
    ERR_TRY(io_read(io, file, 0, at, (size_t)size, err));
    out->len += (size_t)size;
    return ERR_OK;
}

static void forward_free(struct io *io)
{
    (void)io; /* the context is not ours, and io_free frees io->inner */
}

static enum err_code forward_open(struct io *io, const char *path, enum io_mode mode,
                                  struct io_file **ret, struct err *err)
{
    return io_open(io->inner, path, mode, ret, err);
}

static enum err_code forward_size(struct io *io, struct io_file *file, uint64_t *ret,
                                  struct err *err)
{
    return io_size(io->inner, file, ret, err);
}

static enum err_code forward_read(struct io *io, struct io_file *file, uint64_t off, void *out,
                                  size_t len, struct err *err)
{
    return io_read(io->inner, file, off, out, len, err);
}

static enum err_code forward_read_batch(struct io *io, const struct io_read_req *reqs, size_t count,
                                        struct err *err)
{
    return io_read_batch(io->inner, reqs, count, err);
}

static enum err_code forward_write(struct io *io, struct io_file *file, uint64_t off,
                                   const void *bytes, size_t len, struct err *err)
{
    return io_write(io->inner, file, off, bytes, len, err);
}

static enum err_code forward_sync(struct io *io, struct io_file *file, struct err *err)
{
    return io_sync(io->inner, file, err);
}

static enum err_code forward_truncate(struct io *io, struct io_file *file, uint64_t len,
                                      struct err *err)
{
    return io_truncate(io->inner, file, len, err);
}

static enum err_code forward_rename(struct io *io, const char *from, const char *to,
                                    struct err *err)
{
    return io_rename(io->inner, from, to, err);
}

static enum err_code forward_link(struct io *io, const char *from, const char *to, struct err *err)
{
    return io_link(io->inner, from, to, err);
}

static enum err_code forward_rmdir(struct io *io, const char *path, struct err *err)
{
    return io_rmdir(io->inner, path, err);
}

static enum err_code forward_unlink(struct io *io, const char *path, struct err *err)
{
    return io_unlink(io->inner, path, err);
}

static enum err_code forward_mkdir(struct io *io, const char *path, struct err *err)
{
    return io_mkdir(io->inner, path, err);
}

static enum err_code forward_sync_dir(struct io *io, const char *path, struct err *err)
{
    return io_sync_dir(io->inner, path, err);
}

static enum err_code forward_list(struct io *io, const char *path, struct buf *names,
                                  uint32_t *ret_count, struct err *err)
{
    return io_list(io->inner, path, names, ret_count, err);
}

const struct io_ops io_forward_ops = {
    .name = "forward",
    .free = forward_free,
    .open = forward_open,
    .size = forward_size,
    .read = forward_read,
    .read_batch = forward_read_batch,
    .write = forward_write,
    .sync = forward_sync,
    .truncate = forward_truncate,
    .rename = forward_rename,
    .link = forward_link,
    .unlink = forward_unlink,
    .rmdir = forward_rmdir,
    .mkdir = forward_mkdir,
    .sync_dir = forward_sync_dir,
    .list = forward_list,
};

enum err_code io_map(struct io_file *file, uint64_t off, size_t len, bool is_private, void *at,
                     void **ret, struct err *err)
{
    ASSERT(len > 0 && io_range_fits(off, len));
    int prot = is_private ? PROT_READ | PROT_WRITE : PROT_READ;
    int flags =
        (is_private ? MAP_PRIVATE | MAP_NORESERVE : MAP_SHARED) | (at != NULL ? MAP_FIXED : 0);
#ifdef __SANITIZE_THREAD__
    /* Its mmap counts as a write of the whole range; pages with the same content are none. */
    void *got = (void *)syscall(SYS_mmap, at, len, prot, flags, file->fd, (off_t)off);
#else
    void *got = mmap(at, len, prot, flags, file->fd, (off_t)off);
#endif
    if (got == MAP_FAILED) {
        return err_set_errno(err, errno, "file \"%s\": cannot map %zu bytes at byte %" PRIu64,
                             file->path, len, off);
    }
    *ret = got;
    return ERR_OK;
}
