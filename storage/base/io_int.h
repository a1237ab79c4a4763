/* storage/base/io_int.h - the table behind io.h, for its implementations and for tests that add
 * one.
 *
 * An implementation fills a struct io_ops; io.c checks arguments and calls through the table. The
 * ring shares every call but batches and syncing with the plain implementation, and both open plain
 * descriptors, so a file that one struct io opened may be read through another.
 *
 * A test that wants faults wraps a real struct io: it copies io_forward_ops, whose functions pass
 * every call on to the wrapped io, replaces the calls that should fail, and gives the table to
 * io_wrap. Its functions reach the wrapped io as io->inner and their own state as io->ctx.
 */
#pragma once

#include "storage/base/io.h"

/* Every function does all of what was asked or fails; `ret_x` is written only on success. Arguments
 * are checked before: paths and buffers are not NULL, off + len fits an off_t. */
struct io_ops {
    const char *name;
    void (*free)(struct io *io); /* what io->ctx holds; not io->inner, not `io` itself */
    enum err_code (*open)(struct io *io, const char *path, enum io_mode mode, struct io_file **ret,
                          struct err *err);
    enum err_code (*size)(struct io *io, struct io_file *file, uint64_t *ret, struct err *err);
    enum err_code (*read)(struct io *io, struct io_file *file, uint64_t off, void *out, size_t len,
                          struct err *err);
    enum err_code (*read_batch)(struct io *io, const struct io_read_req *reqs, size_t count,
                                struct err *err);
    enum err_code (*write)(struct io *io, struct io_file *file, uint64_t off, const void *bytes,
                           size_t len, struct err *err);
    enum err_code (*sync)(struct io *io, struct io_file *file, struct err *err);
    /* These three may be NULL: then `sync` is called in the second half. */
    enum err_code (*sync_begin)(struct io *io, struct io_file *file, struct err *err);
    bool (*sync_is_done)(struct io *io);
    enum err_code (*sync_end)(struct io *io, struct io_file *file, struct err *err);
    enum err_code (*truncate)(struct io *io, struct io_file *file, uint64_t len, struct err *err);
    enum err_code (*rename)(struct io *io, const char *from, const char *to, struct err *err);
    enum err_code (*link)(struct io *io, const char *from, const char *to, struct err *err);
    enum err_code (*unlink)(struct io *io, const char *path, struct err *err);
    enum err_code (*rmdir)(struct io *io, const char *path, struct err *err);
    enum err_code (*mkdir)(struct io *io, const char *path, struct err *err);
    enum err_code (*sync_dir)(struct io *io, const char *path, struct err *err);
    enum err_code (*list)(struct io *io, const char *path, struct buf *names, uint32_t *ret_count,
                          struct err *err);
};

struct io {
    const struct io_ops *ops;
    struct io *inner; /* the wrapped io, owned; NULL in the two real implementations */
    void *ctx;        /* the implementation's: the ring, a test's fault plan */
    struct io_file *syncing; /* between io_sync_begin and io_sync_end */
    bool is_sync_deferred;   /* the implementation has no halves */
    bool is_sync_lost;       /* the ring broke in between: whether it was synced is not known */
};

struct io_file {
    void (*close)(
        struct io_file *file); /* any thread; frees `file`. Here, for io_close has no io */
    char *path;                /* owned */
    int fd;
    void *ctx; /* a wrapper's; the real implementations leave it NULL */
};

/* A new struct io over `inner`, which it owns from then on (on failure `inner` stays the caller's).
 * `ops` must outlive it; so must `ctx`, unless ops->free frees it. */
enum err_code io_wrap(struct io *inner, const struct io_ops *ops, void *ctx, struct io **ret,
                      struct err *err) ERR_MUST_CHECK;
/* Passes every call on to io->inner. A file it opens is the inner implementation's. */
extern const struct io_ops io_forward_ops;

/* The most bytes that one system call or ring entry is asked to move: what Linux moves at once is
 * a little less than 2 GiB, and a ring entry counts in 32 bits. */
#define IO_CALL_BYTES_MAX ((size_t)1 << 30)

/* A read met the end of the file. */
enum err_code io_past_end(struct io *io, struct io_file *file, uint64_t off, size_t len,
                          struct err *err);

/* io_posix.c: the plain implementation, and the calls which the ring takes from it. */
extern const struct io_ops io_posix_ops;
enum err_code io_posix_open(struct io *io, const char *path, enum io_mode mode,
                            struct io_file **ret, struct err *err);
void io_posix_close(struct io_file *file);
enum err_code io_posix_size(struct io *io, struct io_file *file, uint64_t *ret, struct err *err);
enum err_code io_posix_read(struct io *io, struct io_file *file, uint64_t off, void *out,
                            size_t len, struct err *err);
enum err_code io_posix_read_batch(struct io *io, const struct io_read_req *reqs, size_t count,
                                  struct err *err);
enum err_code io_posix_write(struct io *io, struct io_file *file, uint64_t off, const void *bytes,
                             size_t len, struct err *err);
enum err_code io_posix_sync(struct io *io, struct io_file *file, struct err *err);
enum err_code io_posix_truncate(struct io *io, struct io_file *file, uint64_t len, struct err *err);
enum err_code io_posix_rename(struct io *io, const char *from, const char *to, struct err *err);
enum err_code io_posix_link(struct io *io, const char *from, const char *to, struct err *err);
enum err_code io_posix_rmdir(struct io *io, const char *path, struct err *err);
enum err_code io_posix_unlink(struct io *io, const char *path, struct err *err);
enum err_code io_posix_mkdir(struct io *io, const char *path, struct err *err);
enum err_code io_posix_sync_dir(struct io *io, const char *path, struct err *err);
enum err_code io_posix_list(struct io *io, const char *path, struct buf *names, uint32_t *ret_count,
                            struct err *err);

/* io_uring.c: make a ring and turn `io`, a fresh plain one, into its owner. ERR_UNSUPPORTED where
 * no ring can be had, and then `io` is as it was. */
enum err_code io_uring_attach(struct io *io, struct err *err) ERR_MUST_CHECK;
