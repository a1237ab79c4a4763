/* tests/support/faultfs_io.c - struct io_ops that ask before they act and tell what they did. */
#include "tests/support/faultfs_int.h"

#include "storage/base/io_int.h"

enum err_code __real_io_create(enum io_kind kind, struct io **ret, struct err *err);
enum err_code __wrap_io_create(enum io_kind kind, struct io **ret, struct err *err);

static enum err_code struck(const struct fault_verdict *verdict, const char *path, struct err *err)
{
    return err_set_errno(err, verdict->errnum, "file \"%s\": injected fault", path);
}

static enum err_code fault_open(struct io *io, const char *path, enum io_mode mode,
                                struct io_file **ret, struct err *err)
{
    bool is_read = mode == IO_READ || mode == IO_READ_PICKED;
    struct fault_verdict verdict = fault_ask(is_read ? CALL_OPEN : CALL_MAKE, path);
    if (verdict.is_struck && !verdict.does_it) {
        return struck(&verdict, path, err);
    }
    struct io_file *file = NULL;
    ERR_TRY(io_open(io->inner, path, mode, &file, err));
    file->ctx = fault_note_open(path, !is_read, mode == IO_CREATE);
    if (verdict.is_struck) {
        io_close(file);
        return struck(&verdict, path, err);
    }
    *ret = file;
    return ERR_OK;
}

static enum err_code fault_size(struct io *io, struct io_file *file, uint64_t *ret, struct err *err)
{
    struct fault_verdict verdict = fault_ask(CALL_SIZE, io_path(file));
    if (verdict.is_struck) {
        return struck(&verdict, io_path(file), err);
    }
    return io_size(io->inner, file, ret, err);
}

static enum err_code fault_read(struct io *io, struct io_file *file, uint64_t off, void *out,
                                size_t len, struct err *err)
{
    struct fault_verdict verdict = fault_ask(CALL_READ, io_path(file));
    if (verdict.is_struck && verdict.kind == FAULT_READ_ENDS) {
        /* Some of the bytes came, as from a file that someone cut. */
        if (len > 1) {
            ERR_TRY(io_read(io->inner, file, off, out, (size_t)(verdict.fraction % len), err));
        }
        return io_past_end(io->inner, file, off, len, err);
    }
    if (verdict.is_struck && verdict.kind != FAULT_READ_FLIP) {
        return struck(&verdict, io_path(file), err);
    }
    ERR_TRY(io_read(io->inner, file, off, out, len, err));
    if (verdict.is_struck) {
        ((uint8_t *)out)[verdict.fraction / 8 % len] ^= (uint8_t)(1u << (verdict.fraction % 8));
    }
    return ERR_OK;
}

static enum err_code fault_read_batch(struct io *io, const struct io_read_req *reqs, size_t count,
                                      struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        if (reqs[i].len > 0) {
            ERR_TRY(fault_read(io, reqs[i].file, reqs[i].off, reqs[i].out, reqs[i].len, err));
        }
    }
    return ERR_OK;
}

static enum err_code fault_write(struct io *io, struct io_file *file, uint64_t off,
                                 const void *bytes, size_t len, struct err *err)
{
    struct fault_verdict verdict = fault_ask(CALL_WRITE, io_path(file));
    size_t part = !verdict.is_struck  ? len
                  : verdict.does_part ? (size_t)(verdict.fraction % len)
                                      : 0;
    ERR_TRY(io_write(io->inner, file, off, bytes, part, err));
    fault_note_write(file->ctx, off, bytes, part);
    return verdict.is_struck ? struck(&verdict, io_path(file), err) : ERR_OK;
}

static enum err_code fault_sync(struct io *io, struct io_file *file, struct err *err)
{
    (void)io; /* the disk is in memory */
    struct fault_verdict verdict = fault_ask(CALL_SYNC, io_path(file));
    if (verdict.is_struck && !verdict.does_it) {
        fault_note_sync(file->ctx, true);
        return struck(&verdict, io_path(file), err);
    }
    fault_note_sync(file->ctx, false);
    return verdict.is_struck ? struck(&verdict, io_path(file), err) : ERR_OK;
}

static enum err_code fault_truncate(struct io *io, struct io_file *file, uint64_t len,
                                    struct err *err)
{
    struct fault_verdict verdict = fault_ask(CALL_CUT, io_path(file));
    if (verdict.is_struck && !verdict.does_it) {
        return struck(&verdict, io_path(file), err);
    }
    ERR_TRY(io_truncate(io->inner, file, len, err));
    fault_note_cut(file->ctx, len);
    return verdict.is_struck ? struck(&verdict, io_path(file), err) : ERR_OK;
}

static enum err_code fault_rename(struct io *io, const char *from, const char *to, struct err *err)
{
    struct fault_verdict verdict = fault_ask(CALL_RENAME, to);
    if (verdict.is_struck && !verdict.does_it) {
        return struck(&verdict, to, err);
    }
    ERR_TRY(io_rename(io->inner, from, to, err));
    fault_note_rename(from, to);
    return verdict.is_struck ? struck(&verdict, to, err) : ERR_OK;
}

static enum err_code fault_link(struct io *io, const char *from, const char *to, struct err *err)
{
    struct fault_verdict verdict = fault_ask(CALL_LINK, to);
    if (verdict.is_struck && !verdict.does_it) {
        return struck(&verdict, to, err);
    }
    ERR_TRY(io_link(io->inner, from, to, err));
    fault_note_link(from, to);
    return verdict.is_struck ? struck(&verdict, to, err) : ERR_OK;
}

static enum err_code fault_rmdir(struct io *io, const char *path, struct err *err)
{
    struct fault_verdict verdict = fault_ask(CALL_RMDIR, path);
    if (verdict.is_struck && !verdict.does_it) {
        return struck(&verdict, path, err);
    }
    ERR_TRY(io_rmdir(io->inner, path, err));
    fault_note_unlink(path);
    return verdict.is_struck ? struck(&verdict, path, err) : ERR_OK;
}

static enum err_code fault_unlink(struct io *io, const char *path, struct err *err)
{
    struct fault_verdict verdict = fault_ask(CALL_UNLINK, path);
    if (verdict.is_struck && !verdict.does_it) {
        return struck(&verdict, path, err);
    }
    ERR_TRY(io_unlink(io->inner, path, err));
    fault_note_unlink(path);
    return verdict.is_struck ? struck(&verdict, path, err) : ERR_OK;
}

static enum err_code fault_mkdir(struct io *io, const char *path, struct err *err)
{
    struct fault_verdict verdict = fault_ask(CALL_MKDIR, path);
    if (verdict.is_struck && !verdict.does_it) {
        return struck(&verdict, path, err);
    }
    ERR_TRY(io_mkdir(io->inner, path, err));
    fault_note_mkdir(path);
    return verdict.is_struck ? struck(&verdict, path, err) : ERR_OK;
}

static enum err_code fault_sync_dir(struct io *io, const char *path, struct err *err)
{
    (void)io;
    struct fault_verdict verdict = fault_ask(CALL_SYNC_DIR, path);
    if (!verdict.is_struck || verdict.does_it) {
        fault_note_sync_dir(path);
    }
    return verdict.is_struck ? struck(&verdict, path, err) : ERR_OK;
}

static enum err_code fault_list(struct io *io, const char *path, struct buf *names,
                                uint32_t *ret_count, struct err *err)
{
    struct fault_verdict verdict = fault_ask(CALL_LIST, path);
    if (verdict.is_struck) {
        return struck(&verdict, path, err);
    }
    return io_list(io->inner, path, names, ret_count, err);
}

enum err_code __wrap_io_create(enum io_kind kind, struct io **ret, struct err *err)
{
    static struct io_ops ops;
    if (!fault_is_on()) {
        return __real_io_create(kind, ret, err);
    }
    ops = io_forward_ops;
    ops.name = "faults";
    ops.open = fault_open;
    ops.size = fault_size;
    ops.read = fault_read;
    ops.read_batch = fault_read_batch;
    ops.write = fault_write;
    ops.sync = fault_sync;
    ops.truncate = fault_truncate;
    ops.rename = fault_rename;
    ops.link = fault_link;
    ops.unlink = fault_unlink;
    ops.rmdir = fault_rmdir;
    ops.mkdir = fault_mkdir;
    ops.sync_dir = fault_sync_dir;
    ops.list = fault_list;
    struct io *inner = NULL;
    ERR_TRY(__real_io_create(IO_POSIX, &inner, err));
    enum err_code code = io_wrap(inner, &ops, NULL, ret, err);
    if (code != ERR_OK) {
        io_free(inner);
    }
    return code;
}
