/* tests/unit/base/test_io.c - storage/base/io*.c.
 *
 * Every test of behaviour runs over both implementations. The linker sends the system calls of the
 * modules through here, so that the rare ones happen: short and interrupted reads and writes, a
 * full and a read-only disk, a failed sync, a ring that cannot be had, one that stops working.
 */
#include "tests/support/claims.h"

#include "storage/base/io_int.h"
#include "storage/base/rng.h"
#include "storage/base/size.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

ssize_t __real_pread64(int fd, void *out, size_t len, off_t off);
ssize_t __wrap_pread64(int fd, void *out, size_t len, off_t off);
ssize_t __real_pwrite64(int fd, const void *bytes, size_t len, off_t off);
ssize_t __wrap_pwrite64(int fd, const void *bytes, size_t len, off_t off);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __real_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags);
int __real_io_uring_submit_and_wait(struct io_uring *ring, unsigned wait_count);
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned wait_count);

/* What goes wrong; all zero: nothing. */
static struct {
    bool is_short;       /* reads and writes move half of what is asked, at least one byte */
    int fail_errno;      /* what a failing call says */
    uint32_t fail_every; /* every n-th call fails; 0: none */
    uint32_t fail_after; /* from the n-th call on all fail; 0: none */
    int queue_init_errno;
    uint32_t calls;
} fault;

static bool fault_strikes(void)
{
    fault.calls++;
    return (fault.fail_every > 0 && fault.calls % fault.fail_every == 0) ||
           (fault.fail_after > 0 && fault.calls >= fault.fail_after);
}

static size_t fault_len(size_t len)
{
    return fault.is_short && len > 1 ? len / 2 : len;
}

ssize_t __wrap_pread64(int fd, void *out, size_t len, off_t off)
{
    if (fault_strikes()) {
        errno = fault.fail_errno;
        return -1;
    }
    return __real_pread64(fd, out, fault_len(len), off);
}

ssize_t __wrap_pwrite64(int fd, const void *bytes, size_t len, off_t off)
{
    if (fault_strikes()) {
        errno = fault.fail_errno;
        return -1;
    }
    return __real_pwrite64(fd, bytes, fault_len(len), off);
}

int __wrap_fdatasync(int fd)
{
    if (fault_strikes()) {
        errno = fault.fail_errno;
        return -1;
    }
    return __real_fdatasync(fd);
}

int __wrap_io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
    if (fault.queue_init_errno != 0) {
        return -fault.queue_init_errno;
    }
    return __real_io_uring_queue_init(entries, ring, flags);
}

/* A short read is made by asking the kernel for less: it is what a completion then tells. */
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned wait_count)
{
    if (fault_strikes()) {
        return -fault.fail_errno;
    }
    unsigned prepared = ring->sq.sqe_tail - io_uring_sq_ready(ring);
    for (unsigned i = prepared; fault.is_short && i != ring->sq.sqe_tail; i++) {
        struct io_uring_sqe *sqe = &ring->sq.sqes[i & *ring->sq.kring_mask];
        if (sqe->opcode == IORING_OP_READ) {
            sqe->len = (unsigned)fault_len(sqe->len);
        }
    }
    return __real_io_uring_submit_and_wait(ring, wait_count);
}

/* A fresh directory per test, and one io. */
struct fixture {
    struct io *io;
    char dir[64];
    char path[128];
};

static bool has_ring(void)
{
    struct err err;
    struct io *io = NULL;
    bool has = io_create(IO_URING, &io, &err) == ERR_OK;
    io_free(io);
    return has;
}

static int fixture_begin(void **state, enum io_kind kind)
{
    struct err err;
    memset(&fault, 0, sizeof(fault));
    struct fixture *fix = calloc(1, sizeof(*fix));
    strcpy(fix->dir, "/tmp/trackway-test-io-XXXXXX");
    assert_non_null(mkdtemp(fix->dir));
    snprintf(fix->path, sizeof(fix->path), "%s/file", fix->dir);
    assert_ok(io_create(kind, &fix->io, &err));
    *state = fix;
    return 0;
}

static int begin_uring(void **state)
{
    return fixture_begin(state, IO_URING);
}

static int begin_posix(void **state)
{
    return fixture_begin(state, IO_POSIX);
}

static int fixture_end(void **state)
{
    struct fixture *fix = *state;
    struct err err;
    memset(&fault, 0, sizeof(fault));
    struct buf names = {0};
    uint32_t count = 0;
    assert_ok(io_list(fix->io, fix->dir, &names, &count, &err));
    const char *name = (const char *)names.ptr;
    for (uint32_t i = 0; i < count; i++, name += strlen(name) + 1) {
        char path[400];
        snprintf(path, sizeof(path), "%s/%s", fix->dir, name);
        assert_int_equal(remove(path), 0);
    }
    buf_done(&names);
    assert_int_equal(rmdir(fix->dir), 0);
    io_free(fix->io);
    free(fix);
    return 0;
}

static struct io_file *file_of(struct fixture *fix, const char *name, const void *bytes, size_t len)
{
    struct err err;
    struct io_file *file = NULL;
    snprintf(fix->path, sizeof(fix->path), "%s/%s", fix->dir, name);
    assert_ok(io_open(fix->io, fix->path, IO_CREATE, &file, &err));
    assert_ok(io_write(fix->io, file, 0, bytes, len, &err));
    return file;
}

static void what_is_written_is_read(void **state)
{
    struct fixture *fix = *state;
    struct err err;
    struct io_file *file = file_of(fix, "file", "0123456789", 10);
    assert_string_equal(io_path(file), fix->path);
    uint64_t size = 0;
    assert_ok(io_size(fix->io, file, &size, &err));
    assert_int_equal(size, 10);
    char out[16] = {0};
    assert_ok(io_read(fix->io, file, 3, out, 4, &err));
    assert_string_equal(out, "3456");
    assert_ok(io_write(fix->io, file, 20, "x", 1, &err)); /* the gap reads as zeroes */
    assert_ok(io_read(fix->io, file, 9, out, 12, &err));
    assert_memory_equal(out, "9\0\0\0\0\0\0\0\0\0\0x", 12);
    assert_ok(io_sync(fix->io, file, &err));
    assert_ok(io_truncate(fix->io, file, 5, &err));
    assert_ok(io_size(fix->io, file, &size, &err));
    assert_int_equal(size, 5);
    io_close(file);
    io_close(NULL);
}

static void modes_create_truncate_or_keep(void **state)
{
    struct fixture *fix = *state;
    struct err err;
    struct io_file *file = NULL;
    assert_fails(io_open(fix->io, fix->path, IO_READ, &file, &err), ERR_NOT_FOUND, fix->path);
    assert_fails(io_open(fix->io, fix->path, IO_READ_PICKED, &file, &err), ERR_NOT_FOUND,
                 fix->path);
    assert_null(file);
    io_close(file_of(fix, "file", "abc", 3));
    uint64_t size = 0;
    assert_ok(io_open(fix->io, fix->path, IO_APPEND, &file, &err));
    assert_ok(io_size(fix->io, file, &size, &err));
    assert_int_equal(size, 3);
    assert_true((fcntl(file->fd, F_GETFD) & FD_CLOEXEC) != 0);
    io_close(TAKE(file));
    assert_ok(io_open(fix->io, fix->path, IO_READ, &file, &err));
    assert_fails(io_write(fix->io, file, 0, "x", 1, &err), ERR_IO, "Bad file descriptor");
    io_close(TAKE(file));
    char picked[3];
    assert_ok(io_open(fix->io, fix->path, IO_READ_PICKED, &file, &err));
    assert_ok(io_read(fix->io, file, 1, picked, 2, &err));
    assert_memory_equal(picked, "bc", 2);
    assert_fails(io_write(fix->io, file, 0, "x", 1, &err), ERR_IO, "Bad file descriptor");
    io_close(TAKE(file));
    assert_ok(io_open(fix->io, fix->path, IO_CREATE, &file, &err));
    assert_ok(io_size(fix->io, file, &size, &err));
    assert_int_equal(size, 0);
    struct stat stat_buf;
    assert_int_equal(fstat(file->fd, &stat_buf), 0);
    assert_int_equal(stat_buf.st_mode & 07, 0); /* people's data: nothing for others */
    io_close(file);
}

static void a_read_past_the_end_is_corrupt_and_tells_the_end(void **state)
{
    struct fixture *fix = *state;
    struct err err;
    struct io_file *file = file_of(fix, "file", "0123456789", 10);
    char out[32];
    assert_ok(io_read(fix->io, file, 10, out, 0, &err));
    assert_ok(io_read(fix->io, file, 0, out, 10, &err));
    const struct {
        uint64_t off;
        size_t len;
    } outside[] = {{0, 11},        {9, 2}, {10, 1}, {1000, 5}, {INT64_MAX, 1}, {INT64_MAX - 1, 1},
                   {UINT64_MAX, 2}};
    for (size_t i = 0; i < COUNT_OF(outside); i++) {
        assert_fails(io_read(fix->io, file, outside[i].off, out, outside[i].len, &err), ERR_CORRUPT,
                     "file ends at byte 10");
        struct io_read_req reqs[2] = {{file, 0, 10, out},
                                      {file, outside[i].off, outside[i].len, out + 10}};
        assert_fails(io_read_batch(fix->io, reqs, 2, &err), ERR_CORRUPT, "file ends at byte 10");
    }
    assert_non_null(strstr(err.message, fix->path));
    assert_fails(io_write(fix->io, file, INT64_MAX, "x", 1, &err), ERR_LIMIT, "too far");
    assert_fails(io_truncate(fix->io, file, UINT64_MAX, &err), ERR_LIMIT, "too large");
    io_close(file);
}

#define BATCH_FILES 3
#define BATCH_BYTES 300000
#define BATCH_COUNT 200
struct batch {
    struct io_file *files[BATCH_FILES];
    uint8_t *contents[BATCH_FILES];
    struct io_read_req reqs[BATCH_COUNT];
};

static struct batch batch_begin(struct fixture *fix, struct rng *rng)
{
    struct batch batch = {0};
    for (size_t f = 0; f < BATCH_FILES; f++) {
        batch.contents[f] = malloc(BATCH_BYTES);
        for (size_t i = 0; i < BATCH_BYTES; i += 8) {
            uint64_t word = rng_next(rng);
            memcpy(batch.contents[f] + i, &word, 8);
        }
        char name[8];
        snprintf(name, sizeof(name), "f%zu", f);
        batch.files[f] = file_of(fix, name, batch.contents[f], BATCH_BYTES);
    }
    for (size_t i = 0; i < BATCH_COUNT; i++) {
        uint64_t off = rng_below(rng, BATCH_BYTES);
        size_t len = i % 10 == 0 ? 0 : rng_below(rng, MIN_OF(BATCH_BYTES - off, 20000)) + 1;
        batch.reqs[i] =
            (struct io_read_req){batch.files[rng_below(rng, BATCH_FILES)], off, len, malloc(20000)};
    }
    return batch;
}

static void batch_check(const struct batch *batch)
{
    for (size_t i = 0; i < BATCH_COUNT; i++) {
        const struct io_read_req *req = &batch->reqs[i];
        size_t f = 0;
        while (batch->files[f] != req->file) {
            f++;
        }
        if (memcmp(req->out, batch->contents[f] + req->off, req->len) != 0) {
            fail_msg("seed %" PRIu64 ": request %zu read something else", test_seed(), i);
        }
        memset(req->out, 0xee, 20000);
    }
}

static void batch_end(struct batch *batch)
{
    for (size_t f = 0; f < BATCH_FILES; f++) {
        io_close(batch->files[f]);
        free(batch->contents[f]);
    }
    for (size_t i = 0; i < BATCH_COUNT; i++) {
        free(batch->reqs[i].out);
    }
}

static void a_batch_of_200_over_several_files(void **state)
{
    struct fixture *fix = *state;
    struct err err;
    struct rng rng = rng_init(test_seed());
    struct batch batch = batch_begin(fix, &rng);
    assert_ok(io_read_batch(fix->io, NULL, 0, &err));
    for (int round = 0; round < 3; round++) {
        assert_ok(io_read_batch(fix->io, batch.reqs, BATCH_COUNT, &err));
        batch_check(&batch);
    }
    for (size_t count = 1; count < 140; count++) { /* below, at and above one and two rings */
        assert_ok(io_read_batch(fix->io, batch.reqs + 1, count, &err));
        assert_memory_not_equal(batch.reqs[1].out, "\xee\xee\xee\xee", 1);
    }
    assert_ok(io_read_batch(fix->io, batch.reqs, BATCH_COUNT, &err));
    batch_check(&batch);
    batch_end(&batch);
}

/* Wherever the bad request stands: the error is its error, and the next batch is not disturbed. */
static void a_failed_batch_leaves_nothing_in_flight(void **state)
{
    struct fixture *fix = *state;
    struct err err;
    struct rng rng = rng_init(test_seed());
    struct batch batch = batch_begin(fix, &rng);
    for (size_t bad = 1; bad < BATCH_COUNT; bad += 17) {
        struct io_read_req good = batch.reqs[bad];
        batch.reqs[bad].off = BATCH_BYTES - 1;
        batch.reqs[bad].len = 2;
        assert_fails(io_read_batch(fix->io, batch.reqs, BATCH_COUNT, &err), ERR_CORRUPT,
                     "ends at byte 300000");
        int fd = good.file->fd;
        batch.reqs[bad] = good;
        struct io_file closed = {.path = good.file->path, .fd = -1};
        batch.reqs[bad].file = &closed;
        batch.reqs[bad].len = MAX_OF(good.len, (size_t)1);
        assert_fails(io_read_batch(fix->io, batch.reqs, BATCH_COUNT, &err), ERR_IO,
                     "Bad file descriptor");
        assert_int_equal(good.file->fd, fd);
        batch.reqs[bad] = good;
        assert_ok(io_read_batch(fix->io, batch.reqs, BATCH_COUNT, &err));
        batch_check(&batch);
    }
    batch_end(&batch);
}

static void short_and_interrupted_calls_are_continued(void **state)
{
    struct fixture *fix = *state;
    struct err err;
    struct rng rng = rng_init(test_seed());
    fault.is_short = true;
    fault.fail_every = 3;
    fault.fail_errno = EINTR;
    struct batch batch = batch_begin(fix, &rng); /* writes, too */
    assert_ok(io_read_batch(fix->io, batch.reqs, BATCH_COUNT, &err));
    batch_check(&batch);
    for (size_t i = 0; i < BATCH_COUNT; i++) {
        struct io_read_req *req = &batch.reqs[i];
        assert_ok(io_read(fix->io, req->file, req->off, req->out, req->len, &err));
    }
    batch_check(&batch);
    assert_true(fault.calls > 100);
    batch_end(&batch);
}

static void on_alarm(int signum)
{
    (void)signum;
}

static void signals_do_not_disturb(void **state)
{
    struct fixture *fix = *state;
    struct err err;
    struct sigaction action = {.sa_handler = on_alarm}; /* no SA_RESTART */
    struct sigaction before;
    sigaction(SIGALRM, &action, &before);
    struct itimerval often = {.it_interval.tv_usec = 300, .it_value.tv_usec = 300};
    setitimer(ITIMER_REAL, &often, NULL);
    struct rng rng = rng_init(test_seed());
    struct batch batch = batch_begin(fix, &rng);
    for (int round = 0; round < 30; round++) {
        assert_ok(io_read_batch(fix->io, batch.reqs, BATCH_COUNT, &err));
        batch_check(&batch);
        assert_ok(io_sync(fix->io, batch.files[0], &err));
    }
    batch_end(&batch);
    setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
    sigaction(SIGALRM, &before, NULL);
}

static void the_disk_s_refusals_are_io_errors_with_reason_and_path(void **state)
{
    struct fixture *fix = *state;
    struct err err;
    struct io_file *file = file_of(fix, "file", "abc", 3);
    char out[3];
    fault.fail_every = 1;
    fault.fail_errno = EIO;
    assert_fails(io_read(fix->io, file, 0, out, 3, &err), ERR_IO, "Input/output error");
    assert_non_null(strstr(err.message, fix->path));
    fault.fail_errno = EROFS;
    assert_fails(io_write(fix->io, file, 0, "x", 1, &err), ERR_IO, "Read-only file system");
    assert_non_null(strstr(err.message, fix->path));
    memset(&fault, 0, sizeof(fault));
    io_close(file);

    /* A full disk that Linux itself offers. */
    assert_ok(io_open(fix->io, "/dev/full", IO_APPEND, &file, &err));
    assert_fails(io_write(fix->io, file, 0, "x", 1, &err), ERR_IO, "No space left on device");
    assert_non_null(strstr(err.message, "\"/dev/full\""));
    assert_fails(io_sync(fix->io, file, &err), ERR_IO, "Invalid argument"); /* not a disk */
    io_close(file);
}

static void missing_directories_are_not_found(void **state)
{
    struct fixture *fix = *state;
    struct err err;
    struct io *io = fix->io;
    struct io_file *file = NULL;
    char inside[200];
    snprintf(inside, sizeof(inside), "%s/no/file", fix->dir);
    char missing[200];
    snprintf(missing, sizeof(missing), "%s/no", fix->dir);
    struct buf names = {0};
    uint32_t count = 77;
    assert_fails(io_open(io, inside, IO_CREATE, &file, &err), ERR_NOT_FOUND, inside);
    assert_fails(io_mkdir(io, inside, &err), ERR_NOT_FOUND, inside);
    assert_fails(io_list(io, missing, &names, &count, &err), ERR_NOT_FOUND, missing);
    assert_int_equal(count, 77);
    assert_fails(io_sync_dir(io, missing, &err), ERR_NOT_FOUND, missing);
    assert_fails(io_link(io, missing, inside, &err), ERR_NOT_FOUND, missing);
    assert_fails(io_rmdir(io, missing, &err), ERR_NOT_FOUND, missing);
    assert_fails(io_unlink(io, missing, &err), ERR_NOT_FOUND, missing);
    assert_fails(io_rename(io, missing, inside, &err), ERR_NOT_FOUND, missing);
    assert_fails(io_read_file(io, missing, 10, &names, &err), ERR_NOT_FOUND, missing);
    buf_done(&names);
}

/* Root may write anywhere: the test drops to another user for its calls. */
static void a_read_only_directory_is_an_io_error(void **state)
{
    struct fixture *fix = *state;
    struct err err;
    struct io_file *file = NULL;
    char other[200];
    snprintf(other, sizeof(other), "%s/other", fix->dir);
    io_close(file_of(fix, "file", "abc", 3));
    assert_int_equal(chmod(fix->path, 0644), 0);
    assert_int_equal(chmod(fix->dir, 0555), 0);
    bool is_root = geteuid() == 0;
    assert_true(!is_root || seteuid(65534) == 0);
    enum err_code codes[5];
    char message[ERR_MESSAGE_BYTES];
    codes[0] = io_open(fix->io, other, IO_CREATE, &file, &err);
    memcpy(message, err.message, sizeof(message));
    codes[1] = io_mkdir(fix->io, other, &err);
    codes[2] = io_unlink(fix->io, fix->path, &err);
    codes[3] = io_rename(fix->io, fix->path, other, &err);
    codes[4] = io_open(fix->io, fix->path, IO_READ, &file, &err);
    assert_true(!is_root || seteuid(0) == 0);
    assert_int_equal(chmod(fix->dir, 0755), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(codes[i], ERR_IO);
    }
    assert_int_equal(codes[4], ERR_OK); /* reading goes on */
    assert_non_null(strstr(message, "Permission denied"));
    assert_non_null(strstr(message, other));
    io_close(file);
}

static void directories_list_sorted(void **state)
{
    struct fixture *fix = *state;
    struct err err;
    struct buf names = {0};
    uint32_t count = 77;
    assert_ok(io_list(fix->io, fix->dir, &names, &count, &err));
    assert_int_equal(count, 0);
    assert_int_equal(names.len, 0);
    const char *made[] = {"b", "a", "\xc3\xa9", "B", "ab", ".hidden", "10", "9"};
    for (size_t i = 0; i < COUNT_OF(made); i++) {
        io_close(file_of(fix, made[i], "", 0));
    }
    assert_ok(io_list(fix->io, fix->dir, &names, &count, &err));
    assert_int_equal(count, COUNT_OF(made));
    const char want[] = ".hidden\0"
                        "10\0"
                        "9\0"
                        "B\0"
                        "a\0"
                        "ab\0"
                        "b\0"
                        "\xc3\xa9";
    assert_int_equal(names.len, sizeof(want));
    assert_memory_equal(names.ptr, want, sizeof(want));
    buf_done(&names);
}

static void directories_are_made_once_and_synced(void **state)
{
    struct fixture *fix = *state;
    struct err err;
    assert_ok(io_mkdir(fix->io, fix->path, &err));
    assert_ok(io_mkdir(fix->io, fix->path, &err));
    assert_ok(io_sync_dir(fix->io, fix->path, &err));
    struct io_file *file = file_of(fix, "plain", "x", 1);
    io_close(file);
    assert_fails(io_mkdir(fix->io, fix->path, &err), ERR_IO, "File exists");
    assert_fails(io_sync_dir(fix->io, fix->path, &err), ERR_IO, "Not a directory");
}

static void renaming_replaces_and_deleting_removes(void **state)
{
    struct fixture *fix = *state;
    struct err err;
    char from[128];
    io_close(file_of(fix, "to", "old", 3));
    io_close(file_of(fix, "from", "new", 3));
    memcpy(from, fix->path, sizeof(from));
    snprintf(fix->path, sizeof(fix->path), "%s/to", fix->dir);
    assert_ok(io_rename(fix->io, from, fix->path, &err));
    struct buf out = {0};
    assert_ok(io_read_file(fix->io, fix->path, 3, &out, &err));
    assert_memory_equal(out.ptr, "new", 3);
    assert_ok(io_link(fix->io, fix->path, from, &err));
    assert_fails(io_link(fix->io, fix->path, from, &err), ERR_INVALID, from);
    assert_ok(io_unlink(fix->io, from, &err));
    assert_ok(io_mkdir(fix->io, from, &err));
    assert_ok(io_rmdir(fix->io, from, &err));
    assert_fails(io_unlink(fix->io, from, &err), ERR_NOT_FOUND, from);
    assert_ok(io_unlink(fix->io, fix->path, &err));
    assert_int_equal(access(fix->path, F_OK), -1);
    buf_done(&out);
}

static void read_file_appends_the_whole_file_within_its_bound(void **state)
{
    struct fixture *fix = *state;
    struct err err;
    io_close(file_of(fix, "file", "abcdef", 6));
    struct buf out = {0};
    buf_z(&out, ">");
    assert_fails(io_read_file(fix->io, fix->path, 5, &out, &err), ERR_LIMIT, "6 bytes, the limit");
    assert_int_equal(out.len, 1);
    assert_ok(io_read_file(fix->io, fix->path, 6, &out, &err));
    assert_true(str_eq(buf_as_str(&out), STR(">abcdef")));
    io_close(file_of(fix, "file", "", 0));
    assert_ok(io_read_file(fix->io, fix->path, 0, &out, &err));
    assert_int_equal(out.len, 7);
    buf_done(&out);
}

static void without_a_ring_auto_falls_back_and_uring_is_unsupported(void **state)
{
    struct err err;
    struct io *io = NULL;
    const int reasons[] = {EPERM, ENOSYS, ENOMEM};
    for (size_t i = 0; i < COUNT_OF(reasons); i++) {
        memset(&fault, 0, sizeof(fault));
        fault.queue_init_errno = reasons[i];
        assert_fails(io_create(IO_URING, &io, &err), ERR_UNSUPPORTED, strerror(reasons[i]));
        assert_null(io);
        assert_ok(io_create(IO_AUTO, &io, &err));
        assert_string_equal(io_name(io), "pread");
        io_free(TAKE(io));
    }
    memset(&fault, 0, sizeof(fault));
    assert_ok(io_create(IO_POSIX, &io, &err));
    assert_string_equal(io_name(io), "pread");
    io_free(TAKE(io));
    io_free(NULL);
    if (has_ring()) {
        assert_ok(io_create(IO_AUTO, &io, &err));
        assert_string_equal(io_name(io), "io_uring");
        io_free(TAKE(io));
    }
}

/* A ring that says no at its n-th call, with requests of a batch in flight: for every n the batch
 * is read whole, and from then on the io is a plain one. */
static void a_ring_that_breaks_is_left_behind(void **state)
{
    struct fixture *fix = *state;
    struct err err;
    struct rng rng = rng_init(test_seed());
    struct batch batch = batch_begin(fix, &rng);
    const int reasons[] = {ENOMEM, EBADF, EAGAIN};
    uint32_t broken = 0;
    for (uint32_t n = 1; n < 6; n++) {
        for (size_t i = 0; i < COUNT_OF(reasons); i++) {
            struct io *io = NULL;
            assert_ok(io_create(IO_URING, &io, &err));
            memset(&fault, 0, sizeof(fault));
            fault.is_short = true; /* so that the batch takes several calls */
            fault.fail_errno = reasons[i];
            fault.fail_after = n;
            /* Only the ring fails: pread is asked after it. */
            struct io_read_req small[8];
            memcpy(small, batch.reqs + 1, sizeof(small));
            enum err_code code = io_read_batch(io, small, COUNT_OF(small), &err);
            broken += strcmp(io_name(io), "pread") == 0;
            memset(&fault, 0, sizeof(fault));
            assert_true(code == ERR_OK || code == ERR_IO);
            assert_ok(io_read_batch(io, batch.reqs, BATCH_COUNT, &err));
            batch_check(&batch);
            assert_ok(io_sync(io, batch.files[0], &err));
            io_free(io);
        }
    }
    assert_true(broken >= 3 * COUNT_OF(reasons));
    batch_end(&batch);
}

static void a_sync_whose_ring_breaks_is_not_claimed(void **state)
{
    struct fixture *fix = *state;
    struct err err;
    struct io_file *file = file_of(fix, "file", "abc", 3);
    bool is_ring = strcmp(io_name(fix->io), "io_uring") == 0;
    fault.fail_every = 1;
    fault.fail_errno = EIO;
    assert_fails(io_sync(fix->io, file, &err), ERR_IO,
                 is_ring ? "the ring broke" : "Input/output error");
    memset(&fault, 0, sizeof(fault));
    assert_ok(io_sync(fix->io, file, &err));
    io_close(file);
}

/* Goal: a sync that was begun ends once, whatever the same io does in between. */
static void reads_and_syncs_go_on_while_a_sync_is_under_way(void **state)
{
    struct fixture *fix = *state;
    struct err err;
    struct rng rng = rng_init(test_seed());
    struct batch batch = batch_begin(fix, &rng);
    struct io_file *file = file_of(fix, "log", "abc", 3);
    for (uint32_t round = 0; round < 50; round++) {
        assert_ok(io_write(fix->io, file, round * 4096, "0123456789", 10, &err));
        assert_ok(io_sync_begin(fix->io, file, &err));
        if (round % 4 == 1) {
            assert_ok(io_read_batch(fix->io, batch.reqs, BATCH_COUNT, &err));
            batch_check(&batch);
        } else if (round % 4 == 2) {
            assert_ok(io_sync(fix->io, batch.files[0], &err));
        } else if (round % 4 == 3) {
            while (!io_sync_is_done(fix->io)) {
            }
            assert_ok(io_read_batch(fix->io, batch.reqs, BATCH_COUNT, &err));
        }
        assert_ok(io_sync_end(fix->io, &err));
    }
    io_close(file);
    batch_end(&batch);
}

/* The ring breaks in a batch of reads: they are read all the same, but whether the sync that was
 * under way was done is not known, so it is not claimed. */
static void a_sync_under_way_in_a_ring_that_breaks_is_not_claimed(void **state)
{
    struct fixture *fix = *state;
    struct err err;
    struct rng rng = rng_init(test_seed());
    struct batch batch = batch_begin(fix, &rng);
    bool is_ring = strcmp(io_name(fix->io), "io_uring") == 0;
    struct io_file *file = file_of(fix, "log", "abc", 3);
    assert_ok(io_sync_begin(fix->io, file, &err));
    if (is_ring) {
        fault.fail_every = 1;
        fault.fail_errno = EBADF;
        (void)!io_read_batch(fix->io, batch.reqs + 1, 8, &err);
        memset(&fault, 0, sizeof(fault));
        assert_string_equal(io_name(fix->io), "pread");
        assert_true(io_sync_is_done(fix->io));
        assert_fails(io_sync_end(fix->io, &err), ERR_IO, "the ring broke");
    } else {
        fault.fail_every = 1;
        fault.fail_errno = EIO;
        assert_fails(io_sync_end(fix->io, &err), ERR_IO, "Input/output error");
        memset(&fault, 0, sizeof(fault));
    }
    assert_ok(io_sync_begin(fix->io, file, &err));
    assert_ok(io_sync_end(fix->io, &err));
    io_close(file);
    batch_end(&batch);
}

/* A table of a test's own: the second write fails, everything else is passed on. */
struct plan {
    uint32_t writes;
    bool is_freed;
};

static enum err_code second_write_fails(struct io *io, struct io_file *file, uint64_t off,
                                        const void *bytes, size_t len, struct err *err)
{
    struct plan *plan = io->ctx;
    if (++plan->writes == 2) {
        return err_set_errno(err, ENOSPC, "file \"%s\"", io_path(file));
    }
    return io_write(io->inner, file, off, bytes, len, err);
}

static void plan_free(struct io *io)
{
    struct plan *plan = io->ctx;
    plan->is_freed = true;
}

static void a_wrapper_can_fail_one_call_and_pass_the_rest(void **state)
{
    struct fixture *fix = *state;
    struct err err;
    struct plan plan = {0};
    struct io_ops ops = io_forward_ops;
    ops.name = "faulty";
    ops.write = second_write_fails;
    ops.free = plan_free;
    struct io *inner = TAKE(fix->io);
    assert_ok(io_wrap(inner, &ops, &plan, &fix->io, &err));
    struct io *io = fix->io;
    assert_string_equal(io_name(io), "faulty");

    struct io_file *file = file_of(fix, "file", "abcd", 4);
    assert_fails(io_write(io, file, 4, "ef", 2, &err), ERR_IO, "No space left");
    assert_ok(io_write(io, file, 4, "gh", 2, &err));
    char out[6];
    struct io_read_req reqs[2] = {{file, 0, 3, out}, {file, 3, 3, out + 3}};
    assert_ok(io_read_batch(io, reqs, 2, &err));
    assert_memory_equal(out, "abcdgh", 6);
    assert_ok(io_read(io, file, 1, out, 2, &err));
    assert_ok(io_sync(io, file, &err));
    assert_ok(io_truncate(io, file, 2, &err));
    uint64_t size = 0;
    assert_ok(io_size(io, file, &size, &err));
    assert_int_equal(size, 2);
    io_close(file);
    char moved[128];
    snprintf(moved, sizeof(moved), "%s/moved", fix->dir);
    assert_ok(io_rename(io, fix->path, moved, &err));
    assert_ok(io_unlink(io, moved, &err));
    assert_ok(io_mkdir(io, moved, &err));
    assert_ok(io_sync_dir(io, moved, &err));

    assert_ok(io_create(IO_POSIX, &inner, &err)); /* for fixture_end, which comes after plan ends */
    io_free(fix->io);
    fix->io = inner;
    assert_true(plan.is_freed);
}

#define CASE(test, kind, begin)                                                                    \
    {                                                                                              \
#test "/" kind, test, begin, fixture_end, NULL                                             \
    }
#define ALL_CASES(kind, begin)                                                                     \
    CASE(what_is_written_is_read, kind, begin), CASE(modes_create_truncate_or_keep, kind, begin),  \
        CASE(a_read_past_the_end_is_corrupt_and_tells_the_end, kind, begin),                       \
        CASE(a_batch_of_200_over_several_files, kind, begin),                                      \
        CASE(a_failed_batch_leaves_nothing_in_flight, kind, begin),                                \
        CASE(short_and_interrupted_calls_are_continued, kind, begin),                              \
        CASE(signals_do_not_disturb, kind, begin),                                                 \
        CASE(the_disk_s_refusals_are_io_errors_with_reason_and_path, kind, begin),                 \
        CASE(missing_directories_are_not_found, kind, begin),                                      \
        CASE(a_read_only_directory_is_an_io_error, kind, begin),                                   \
        CASE(directories_list_sorted, kind, begin),                                                \
        CASE(directories_are_made_once_and_synced, kind, begin),                                   \
        CASE(renaming_replaces_and_deleting_removes, kind, begin),                                 \
        CASE(read_file_appends_the_whole_file_within_its_bound, kind, begin),                      \
        CASE(a_sync_whose_ring_breaks_is_not_claimed, kind, begin),                                \
        CASE(reads_and_syncs_go_on_while_a_sync_is_under_way, kind, begin),                        \
        CASE(a_sync_under_way_in_a_ring_that_breaks_is_not_claimed, kind, begin),                  \
        CASE(a_wrapper_can_fail_one_call_and_pass_the_rest, kind, begin)

int main(void)
{
    const struct CMUnitTest over_posix[] = {
        ALL_CASES("pread", begin_posix),
        cmocka_unit_test(without_a_ring_auto_falls_back_and_uring_is_unsupported),
    };
    const struct CMUnitTest over_uring[] = {
        ALL_CASES("io_uring", begin_uring),
        cmocka_unit_test_setup_teardown(a_ring_that_breaks_is_left_behind, begin_uring,
                                        fixture_end),
    };
    int failed = cmocka_run_group_tests(over_posix, NULL, NULL);
    if (!has_ring()) {
        fprintf(stderr, "skipped %zu tests: no io_uring can be had here\n", COUNT_OF(over_uring));
        return failed;
    }
    return failed + cmocka_run_group_tests(over_uring, NULL, NULL);
}
