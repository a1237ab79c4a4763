/* storage/base/io.h - the file-access table: everything that touches a disk goes through it.
 *
 * Two implementations of one table: io_uring (liburing) and plain pread/pwrite, chosen by io_create:
 * IO_AUTO takes a ring and falls back where one cannot be had (containers, seccomp). Tests add a third
 * that fails on purpose. A struct io belongs to one thread and owns one ring; a struct io_file may be
 * read by any number of threads, each passing its own struct io.
 *
 * Every call does all of what was asked or fails: short reads and writes are continued here. A read
 * past the end is ERR_CORRUPT ("file ends at ..."), for whoever asked believed the bytes were there.
 */
#pragma once

#include "storage/base/buf.h"
#include "storage/base/err.h"

enum io_kind { IO_AUTO, IO_URING, IO_POSIX };
enum io_mode {
    IO_READ,        /* must exist */
    IO_READ_PICKED, /* the same; reads pick their places, and the kernel is to read nothing beside them */
    IO_CREATE, /* create or truncate, read and write */
    IO_APPEND, /* create or open, read and write; the caller says where to write */
};

struct io;
struct io_file;
struct io_ops; /* io_int.h */

struct io_read_req {
    struct io_file *file;
    uint64_t off;
    size_t len;
    void *out;
};

/* IO_URING fails with ERR_UNSUPPORTED where no ring can be had; IO_AUTO never does. */
enum err_code io_create(enum io_kind kind, struct io **ret, struct err *err) ERR_MUST_CHECK;
void io_free(struct io *io);
static inline void io_freep(struct io **io)
{
    io_free(*io);
}
const char *io_name(const struct io *io); /* "io_uring" or "pread" */

enum err_code io_open(struct io *io, const char *path, enum io_mode mode, struct io_file **ret,
                      struct err *err) ERR_MUST_CHECK;
void io_close(struct io_file *file); /* NULL is fine; any thread */
static inline void io_closep(struct io_file **file)
{
    io_close(*file);
}
const char *io_path(const struct io_file *file);
enum err_code io_size(struct io *io, struct io_file *file, uint64_t *ret,
                      struct err *err) ERR_MUST_CHECK;
enum err_code io_read(struct io *io, struct io_file *file, uint64_t off, void *out, size_t len,
                      struct err *err) ERR_MUST_CHECK;
/* All requests in flight at once where the implementation can. */
enum err_code io_read_batch(struct io *io, const struct io_read_req *reqs, size_t count,
                            struct err *err) ERR_MUST_CHECK;
enum err_code io_write(struct io *io, struct io_file *file, uint64_t off, const void *bytes,
                       size_t len, struct err *err) ERR_MUST_CHECK;
enum err_code io_sync(struct io *io, struct io_file *file,
                      struct err *err) ERR_MUST_CHECK; /* fdatasync */
/* The same in two halves, so that the caller can work while the disk does: one at a time for each
 * struct io. io_sync_end waits and gives the outcome; until then the file is not written or closed.
 * Where the implementation has no such thing all is done by io_sync_end. */
enum err_code io_sync_begin(struct io *io, struct io_file *file, struct err *err) ERR_MUST_CHECK;
bool io_sync_is_done(struct io *io); /* io_sync_end would not wait, or there is no knowing */
enum err_code io_sync_end(struct io *io, struct err *err) ERR_MUST_CHECK;
enum err_code io_truncate(struct io *io, struct io_file *file, uint64_t len,
                          struct err *err) ERR_MUST_CHECK;
enum err_code io_rename(struct io *io, const char *from, const char *to,
                        struct err *err) ERR_MUST_CHECK;
/* A second name for a file. ERR_UNSUPPORTED where it cannot be had (another file system, one without links, a
 * file of somebody else's): copy instead. ERR_INVALID where `to` is there. */
enum err_code io_link(struct io *io, const char *from, const char *to,
                      struct err *err) ERR_MUST_CHECK;
enum err_code io_rmdir(struct io *io, const char *path, struct err *err) ERR_MUST_CHECK; /* empty */
enum err_code io_unlink(struct io *io, const char *path, struct err *err) ERR_MUST_CHECK;
enum err_code io_mkdir(struct io *io, const char *path,
                       struct err *err) ERR_MUST_CHECK; /* exists: fine */
/* A folder where there is none, whose name outlives a power loss: the folder above is synced. Where it was there
 * already and the one above may not be opened, that is left. */
enum err_code io_mkdir_synced(struct io *io, const char *path, struct err *err) ERR_MUST_CHECK;
enum err_code io_sync_dir(struct io *io, const char *path, struct err *err) ERR_MUST_CHECK;
/* The file's pages [off, off + len) as memory, whole pages. `at` = NULL: somewhere, else there, in place
 * of what is mapped there. Read-only and shared with the file, or is_private: writable, never written back.
 * The mapping outlives `file`; munmap ends it. A page that cannot be read later is SIGBUS. */
enum err_code io_map(struct io_file *file, uint64_t off, size_t len, bool is_private, void *at,
                     void **ret, struct err *err) ERR_MUST_CHECK;
/* The names in a directory, "." and ".." left out, sorted; each NUL-terminated in `names`, one after another. */
enum err_code io_list(struct io *io, const char *path, struct buf *names, uint32_t *ret_count,
                      struct err *err) ERR_MUST_CHECK;
/* The whole file appended to `out`; ERR_LIMIT above max_bytes. */
enum err_code io_read_file(struct io *io, const char *path, size_t max_bytes, struct buf *out,
                           struct err *err) ERR_MUST_CHECK;
