/* storage/base/io_uring.c - file access through an io_uring of 64 entries (liburing).
 *
 * A batch keeps up to 64 reads in flight. Each has a slot, whose number travels as the entry's user
 * data:
 *
 *     free --- uring_prepare ---> in the ring --- completion ---> whole: free
 *                    ^                                  |-------> short, EINTR, EAGAIN: again
 *                    +----------------------------------+-------> error or end of file: free, and
 *                                                                 nothing new is started
 *
 * A sync that was begun has an entry of its own, told by SYNC_DATA: whoever takes completions next
 * puts its result aside for io_sync_end.
 *
 * The kernel writes into the caller's memory, so nothing here returns while an entry is in flight,
 * whatever went wrong. Where the ring itself stops working (io_uring_enter says no), what is in
 * flight is waited for, the ring is closed, and this struct io goes on with pread: a read may be
 * done twice. A sync may not, and fails.
 *
 * What goes through the ring is what a ring is better at: many reads at once (cold 4 KiB reads are
 * four times as fast), and the sync, whose cost is the disk's either way. A single read is cheaper
 * by pread. A write gains nothing, and one over old bytes is ten times dearer: where it would have
 * to wait it is handed to a kernel thread. The README has the figures. No SQPOLL: a kernel thread
 * spinning for every worker costs more than the calls it saves.
 */
#include "storage/base/io_int.h"

#include "storage/base/size.h"

#include <errno.h>
#include <inttypes.h>
#include <liburing.h>
#include <stdlib.h>

#define URING_ENTRIES 64
#define SYNC_DATA     UINT64_MAX

struct uring_slot {
    size_t req_idx;
    size_t done_bytes; /* of the request, read so far */
};

struct uring {
    struct io_uring ring;
    uint32_t in_flight; /* entries prepared or submitted whose completion was not yet taken */
    bool is_syncing;    /* one of these is a sync that was begun */
    int32_t sync_result;
    uint32_t free_count;
    uint32_t free[URING_ENTRIES]; /* free slots, a stack */
    struct uring_slot slots[URING_ENTRIES];
};

static void uring_free(struct io *io)
{
    struct uring *uring = io->ctx;
    ASSERT(uring->in_flight == 0);
    io_uring_queue_exit(&uring->ring);
    free(uring);
}

/* The ring takes no more entries: wait for those that the kernel has, and go on without it. */
static void uring_give_up(struct io *io)
{
    struct uring *uring = io->ctx;
    uint32_t submitted = uring->in_flight - io_uring_sq_ready(&uring->ring);
    while (submitted > 0) {
        struct io_uring_cqe *cqe = NULL;
        int failure = io_uring_wait_cqe(&uring->ring, &cqe);
        if (failure == -EINTR || failure == -EAGAIN) {
            continue;
        }
        ASSERT(failure == 0); /* else the kernel may write to memory that is no longer ours */
        io_uring_cqe_seen(&uring->ring, cqe);
        submitted--;
    }
    /* A sync that was begun may have run and failed: io_sync_end will say that it is not known. */
    io->is_sync_lost = io->syncing != NULL;
    uring->in_flight = 0;
    uring_free(io);
    io->ctx = NULL;
    io->ops = &io_posix_ops;
}

/* Submit what is prepared and wait for a completion. False: the ring is broken. */
static bool uring_enter(struct uring *uring)
{
    int result = io_uring_submit_and_wait(&uring->ring, 1);
    if (result >= 0 || result == -EINTR) {
        return true;
    }
    /* The kernel lacks memory, or room for completions, now. That passes while it holds entries of
     * ours that will complete; with none, asking again could go on for ever. */
    bool has_submitted = uring->in_flight > io_uring_sq_ready(&uring->ring);
    return has_submitted && (result == -EAGAIN || result == -EBUSY);
}

/* Take the completion of a sync that was begun off those of reads. */
static bool uring_take_sync(struct uring *uring, uint64_t data, int32_t result)
{
    if (data != SYNC_DATA) {
        return false;
    }
    uring->is_syncing = false;
    uring->sync_result = result;
    return true;
}

/* A free entry of the submission queue. The queue has as many entries as there are slots, so one is
 * free whenever a slot is, unless the kernel took fewer than it was given: then it is asked again.
 */
static struct io_uring_sqe *uring_sqe(struct uring *uring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
    if (sqe == NULL && io_uring_submit(&uring->ring) >= 0) {
        sqe = io_uring_get_sqe(&uring->ring);
    }
    return sqe;
}

/* Put the rest of the slot's request into the ring. False: the ring is broken. */
static bool uring_prepare(struct uring *uring, uint32_t slot_idx, const struct io_read_req *reqs)
{
    const struct uring_slot *slot = &uring->slots[slot_idx];
    const struct io_read_req *req = &reqs[slot->req_idx];
    struct io_uring_sqe *sqe = uring_sqe(uring);
    if (sqe == NULL) {
        return false;
    }
    size_t left = MIN_OF(req->len - slot->done_bytes, IO_CALL_BYTES_MAX);
    io_uring_prep_read(sqe, req->file->fd, (uint8_t *)req->out + slot->done_bytes, (unsigned)left,
                       req->off + slot->done_bytes);
    io_uring_sqe_set_data64(sqe, slot_idx);
    uring->in_flight++;
    return true;
}

/* One batch on its way. */
struct uring_batch {
    struct io *io;
    struct uring *uring;
    const struct io_read_req *reqs;
    size_t count;
    size_t next_idx;    /* the first request not started */
    enum err_code code; /* of the first failure */
};

/* Start requests while there are slots. False: the ring is broken. */
static bool batch_start(struct uring_batch *batch)
{
    struct uring *uring = batch->uring;
    while (batch->code == ERR_OK && uring->free_count > 0 && batch->next_idx < batch->count) {
        if (batch->reqs[batch->next_idx].len == 0) {
            batch->next_idx++;
            continue;
        }
        uint32_t slot_idx = uring->free[uring->free_count - 1];
        uring->slots[slot_idx] = (struct uring_slot){.req_idx = batch->next_idx};
        if (!uring_prepare(uring, slot_idx, batch->reqs)) {
            return false;
        }
        uring->free_count--;
        batch->next_idx++;
    }
    return true;
}

/* Take in one completion. False: the ring is broken. */
static bool batch_complete(struct uring_batch *batch, uint32_t slot_idx, int32_t result,
                           struct err *err)
{
    struct uring *uring = batch->uring;
    struct uring_slot *slot = &uring->slots[slot_idx];
    const struct io_read_req *req = &batch->reqs[slot->req_idx];
    if (result > 0) {
        slot->done_bytes += (size_t)result;
        ASSERT(slot->done_bytes <= req->len);
    }
    bool is_whole = slot->done_bytes == req->len;
    bool is_again = result > 0 || result == -EINTR || result == -EAGAIN;
    if (!is_whole && is_again && batch->code == ERR_OK) {
        return uring_prepare(uring, slot_idx, batch->reqs);
    }

    uring->free[uring->free_count++] = slot_idx;
    if (is_whole || batch->code != ERR_OK) {
        return true;
    }
    if (result == 0) {
        batch->code = io_past_end(batch->io, req->file, req->off, req->len, err);
    } else {
        batch->code =
            err_set_errno(err, -result, "file \"%s\": cannot read %zu bytes at byte %" PRIu64,
                          req->file->path, req->len, req->off);
    }
    return true;
}

/* Run the batch until nothing is in flight. False: the ring is broken. */
static bool batch_run(struct uring_batch *batch, struct err *err)
{
    struct uring *uring = batch->uring;
    for (;;) {
        if (!batch_start(batch)) {
            return false;
        }
        if (uring->in_flight == (uring->is_syncing ? 1u : 0u)) {
            return true;
        }
        if (!uring_enter(uring)) {
            return false;
        }
        struct io_uring_cqe *cqe = NULL;
        while (io_uring_peek_cqe(&uring->ring, &cqe) == 0) {
            uint64_t data = io_uring_cqe_get_data64(cqe);
            uint32_t slot_idx = (uint32_t)data;
            int32_t result = cqe->res;
            io_uring_cqe_seen(&uring->ring, cqe);
            uring->in_flight--;
            if (!uring_take_sync(uring, data, result) &&
                !batch_complete(batch, slot_idx, result, err)) {
                return false;
            }
        }
    }
}

static enum err_code uring_read_batch(struct io *io, const struct io_read_req *reqs, size_t count,
                                      struct err *err)
{
    if (count == 1) {
        return io_posix_read_batch(io, reqs, count, err);
    }
    struct uring *uring = io->ctx;
    uring->free_count = URING_ENTRIES;
    for (uint32_t i = 0; i < URING_ENTRIES; i++) {
        uring->free[i] = i;
    }
    struct uring_batch batch = {.io = io, .uring = uring, .reqs = reqs, .count = count};
    if (!batch_run(&batch, err)) {
        uring_give_up(io);
        return io_posix_read_batch(io, reqs, count, err);
    }
    return batch.code;
}

static enum err_code sync_lost(struct io_file *file, struct err *err)
{
    /* It may have run and failed, and only the first caller is told (see io_posix_sync). */
    return err_set(err, ERR_IO, "file \"%s\": cannot sync: the ring broke on the way", file->path);
}

static enum err_code sync_outcome(struct io_file *file, int32_t result, struct err *err)
{
    return result < 0 ? err_set_errno(err, -result, "file \"%s\": cannot sync", file->path)
                      : ERR_OK;
}

/* False: the ring is broken. */
static bool uring_prepare_sync(struct uring *uring, struct io_file *file)
{
    struct io_uring_sqe *sqe = uring_sqe(uring);
    if (sqe == NULL) {
        return false;
    }
    io_uring_prep_fsync(sqe, file->fd, IORING_FSYNC_DATASYNC);
    io_uring_sqe_set_data64(sqe, SYNC_DATA);
    uring->in_flight++;
    uring->is_syncing = true;
    return true;
}

/* Take what has completed, which is nothing or the sync: no reads are in flight between calls. */
static void uring_peek_sync(struct uring *uring)
{
    struct io_uring_cqe *cqe = NULL;
    while (uring->is_syncing && io_uring_peek_cqe(&uring->ring, &cqe) == 0) {
        bool is_sync = uring_take_sync(uring, io_uring_cqe_get_data64(cqe), cqe->res);
        ASSERT(is_sync);
        io_uring_cqe_seen(&uring->ring, cqe);
        uring->in_flight--;
    }
}

/* False: the ring is broken, and the sync may have run or not. */
static bool uring_wait_sync(struct uring *uring)
{
    uring_peek_sync(uring);
    while (uring->is_syncing) {
        if (!uring_enter(uring)) {
            return false;
        }
        uring_peek_sync(uring);
    }
    return true;
}

static enum err_code uring_sync(struct io *io, struct io_file *file, struct err *err)
{
    struct uring *uring = io->ctx;
    if (uring->is_syncing || io->syncing != NULL) { /* the entry is taken: rare, and no loss */
        return io_posix_sync(io, file, err);
    }
    if (!uring_prepare_sync(uring, file)) {
        uring_give_up(io);
        return io_posix_sync(io, file, err);
    }
    if (!uring_wait_sync(uring)) {
        uring_give_up(io);
        return sync_lost(file, err);
    }
    return sync_outcome(file, uring->sync_result, err);
}

static enum err_code uring_sync_begin(struct io *io, struct io_file *file, struct err *err)
{
    struct uring *uring = io->ctx;
    if (!uring_prepare_sync(uring, file)) {
        uring_give_up(io);
        io->is_sync_deferred = true; /* by the plain call, then */
        return ERR_OK;
    }
    int result = io_uring_submit(&uring->ring);
    if (result < 0 && result != -EAGAIN && result != -EBUSY && result != -EINTR) {
        uring_give_up(io);
        return sync_lost(file, err);
    }
    return ERR_OK; /* what was not taken yet goes with the next entering */
}

static bool uring_sync_is_done(struct io *io)
{
    struct uring *uring = io->ctx;
    uring_peek_sync(uring);
    return !uring->is_syncing;
}

static enum err_code uring_sync_end(struct io *io, struct io_file *file, struct err *err)
{
    struct uring *uring = io->ctx;
    if (!uring_wait_sync(uring)) {
        uring_give_up(io);
        return sync_lost(file, err);
    }
    return sync_outcome(file, uring->sync_result, err);
}

static const struct io_ops uring_ops = {
    .name = "io_uring",
    .free = uring_free,
    .open = io_posix_open,
    .size = io_posix_size,
    .read = io_posix_read,
    .read_batch = uring_read_batch,
    .write = io_posix_write,
    .sync = uring_sync,
    .sync_begin = uring_sync_begin,
    .sync_is_done = uring_sync_is_done,
    .sync_end = uring_sync_end,
    .truncate = io_posix_truncate,
    .rename = io_posix_rename,
    .link = io_posix_link,
    .unlink = io_posix_unlink,
    .rmdir = io_posix_rmdir,
    .mkdir = io_posix_mkdir,
    .sync_dir = io_posix_sync_dir,
    .list = io_posix_list,
};

/* A kernel before 5.6 has rings without plain reads. */
static bool uring_can_all(struct io_uring *ring)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
    bool can = probe != NULL && io_uring_opcode_supported(probe, IORING_OP_READ) != 0 &&
               io_uring_opcode_supported(probe, IORING_OP_FSYNC) != 0;
    io_uring_free_probe(probe);
    return can;
}

enum err_code io_uring_attach(struct io *io, struct err *err)
{
    struct uring *uring = calloc(1, sizeof(*uring));
    if (uring == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory: io_uring");
    }
    int failure = io_uring_queue_init(URING_ENTRIES, &uring->ring, 0);
    if (failure < 0) {
        free(uring);
        (void)err_set_errno(err, -failure, "io_uring: no ring can be had");
        err->code = ERR_UNSUPPORTED;
        return ERR_UNSUPPORTED;
    }
    if (!uring_can_all(&uring->ring)) {
        io_uring_queue_exit(&uring->ring);
        free(uring);
        return err_set(err, ERR_UNSUPPORTED, "io_uring: the kernel's rings cannot read and sync");
    }
    io->ctx = uring;
    io->ops = &uring_ops;
    return ERR_OK;
}
