/* storage/wal.c - the write-ahead log: files of checksummed records.
 *
 * A file is wal/NNNNNNNN.log, at least 8 decimal digits, numbered without gaps:
 *
 *    offset   bytes   field         rule
 *         0       4   magic         "TWAL"
 *         4       4   version       1; a reader refuses others with ERR_UNSUPPORTED
 *         8       8   file          the number in the file's name
 *        16       8   first_seq     sequence number of the first record, or of the next one to come
 *        24       8   checksum      XXH3-64 of bytes 0 .. 24
 *        32           records, one after another
 *
 * and a record:
 *
 *         0       4   len           of the payload, 1 .. WAL_RECORD_BYTES_MAX
 *         4       8   checksum      XXH3-64 of seq and payload
 *        12       8   seq           one more than the record before
 *        20     len   payload
 *
 * Integers are little-endian. A group of records is one write and one fdatasync. A new file is made
 * durable (header synced, then the directory) before its first record. So a record can be
 * incomplete only behind the last sync, that is at the end of the last file: there the log is cut,
 * and whatever a crash left (part of a record, pages of zeroes, later pages without earlier ones)
 * goes. In an earlier file the same can only be damage, and is reported. Opening always continues
 * in a fresh file, so a tail that was cut once is never written over.
 *
 * A failed write (a full disk) is cut back: the file is truncated to its last commit and synced, and
 * the log is as if the group had never been. A failed sync breaks the log for good, that after the
 * cut included: the kernel may have dropped the dirty pages, and a retry that succeeds proves
 * nothing.
 */
#include "storage/wal.h"

#include "storage/base/hash.h"
#include "storage/base/rd.h"
#include "storage/base/size.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define WAL_MAGIC          0x4c415754u /* "TWAL" */
#define WAL_VERSION        1u
#define WAL_FILE_BYTES_MAX ((size_t)1 << 36)
#define WAL_PATH_BYTES     4096
#define WAL_FILES_MAX      1000000u
#define READ_BYTES         (1u << 20)
#define PROBE_BYTES        (256u << 10)

struct wal {
    char dir[WAL_PATH_BYTES];
    struct io_file *file;
    uint64_t first_file;  /* oldest live file */
    uint64_t last_file;   /* the one being written */
    uint64_t file_off;    /* end of what is committed in it */
    uint64_t older_bytes; /* of the files before it */
    uint64_t last_seq;    /* of the last record appended */
    uint64_t committed_seq;
    struct buf group;
    bool
        is_flying; /* between wal_commit_begin and wal_commit_end: written and not yet synced are */
    uint64_t flying_bytes, flying_seq; /* so many bytes behind file_off, up to this record */
    bool is_broken;
    struct err why;
};

static enum err_code file_path(const char *dir, uint64_t file, char *out, struct err *err)
{
    int len = snprintf(out, WAL_PATH_BYTES, "%s/%08" PRIu64 ".log", dir, file);
    if (len < 0 || len >= WAL_PATH_BYTES) {
        return err_set(err, ERR_INVALID, "log path \"%s\" is too long", dir);
    }
    return ERR_OK;
}

/* Number of "00000012.log"; false for names that are not ours. */
bool wal_file_number(const char *name, uint64_t *ret)
{
    uint64_t number = 0;
    size_t digits = 0;
    for (; name[digits] >= '0' && name[digits] <= '9'; digits++) {
        if (digits == 18) {
            return false;
        }
        number = number * 10 + (uint64_t)(name[digits] - '0');
    }
    if (digits < 8 || strcmp(name + digits, ".log") != 0 || (digits > 8 && name[0] == '0')) {
        return false;
    }
    *ret = number;
    return true;
}

/* ---- reading ---- */

/* One log file read front to back through a window, so that replay needs memory for the largest
 * record and not for the file. */
struct log_reader {
    struct io *io;
    struct io_file *file;
    uint64_t size;
    uint64_t buf_off; /* of buf.ptr[0] in the file */
    struct buf buf;
};

/* `len` bytes at `off` (the caller has checked them against size); valid until the next call. */
static enum err_code reader_bytes(struct log_reader *reader, uint64_t off, size_t len,
                                  const uint8_t **ret, struct err *err)
{
    bool is_inside = off >= reader->buf_off && off - reader->buf_off <= reader->buf.len &&
                     reader->buf.len - (off - reader->buf_off) >= len;
    if (!is_inside) {
        uint64_t left = reader->size - off;
        size_t want = len > READ_BYTES ? len : READ_BYTES;
        want = want > left ? (size_t)left : want;
        buf_clear(&reader->buf);
        uint8_t *at = buf_reserve(&reader->buf, want);
        if (at == NULL) {
            return err_set(err, ERR_NOMEM, "no memory for %zu bytes of log", want);
        }
        ERR_TRY(io_read(reader->io, reader->file, off, at, want, err));
        reader->buf.len = want;
        reader->buf_off = off;
    }
    *ret = reader->buf.ptr + (off - reader->buf_off);
    return ERR_OK;
}

struct replay {
    struct io *io;
    const char *dir;
    wal_replay_fn fn;
    void *arg;
    bool is_read_only;
    uint64_t next_seq; /* 0: not known yet */
    struct wal_replay_report report;
};

/* What stopped the reading of a file, NULL at its proper end. */
struct file_end {
    uint64_t off;
    const char *what;
};

static enum err_code read_header(struct log_reader *reader, uint64_t file, struct replay *replay,
                                 struct file_end *ret_end, struct err *err)
{
    const uint8_t *at = NULL;
    if (reader->size < WAL_HEADER_BYTES) {
        *ret_end = (struct file_end){0, "no whole header"};
        return ERR_OK;
    }
    ERR_TRY(reader_bytes(reader, 0, WAL_HEADER_BYTES, &at, err));
    struct rd rd = rd_init((struct str){(const char *)at, WAL_HEADER_BYTES});
    uint32_t magic = rd_u32(&rd);
    uint32_t version = rd_u32(&rd);
    uint64_t number = rd_u64(&rd);
    uint64_t first_seq = rd_u64(&rd);
    if (rd_u64(&rd) != checksum64(at, WAL_HEADER_BYTES - 8) || magic != WAL_MAGIC) {
        *ret_end = (struct file_end){0, "header: wrong magic or checksum"};
        return ERR_OK;
    }
    if (version != WAL_VERSION) {
        return err_set_newer(err, version, WAL_VERSION);
    }
    if (number != file || first_seq == 0 ||
        (replay->next_seq != 0 && first_seq != replay->next_seq)) {
        return err_set(err, ERR_CORRUPT,
                       "header: file %" PRIu64 " from record %" PRIu64 ", expected %" PRIu64
                       " from %" PRIu64,
                       number, first_seq, file, replay->next_seq);
    }
    replay->next_seq = first_seq;
    *ret_end = (struct file_end){WAL_HEADER_BYTES, NULL};
    return ERR_OK;
}

static enum err_code read_records(struct log_reader *reader, struct replay *replay,
                                  struct file_end *ret_end, struct err *err)
{
    uint64_t off = WAL_HEADER_BYTES;
    const char *what = NULL;
    while (off < reader->size) {
        uint64_t left = reader->size - off;
        const uint8_t *at = NULL;
        if (left < WAL_RECORD_HEAD_BYTES) {
            what = "the file ends inside a record's head";
            break;
        }
        ERR_TRY(reader_bytes(reader, off, WAL_RECORD_HEAD_BYTES, &at, err));
        struct rd rd = rd_init((struct str){(const char *)at, WAL_RECORD_HEAD_BYTES});
        uint32_t len = rd_u32(&rd);
        uint64_t checksum = rd_u64(&rd);
        uint64_t seq = rd_u64(&rd);
        if (len == 0 || len > WAL_RECORD_BYTES_MAX || seq != replay->next_seq) {
            what = "a record's head is wrong";
            break;
        }
        if (len > left - WAL_RECORD_HEAD_BYTES) {
            what = "the file ends inside a record";
            break;
        }
        ERR_TRY(reader_bytes(reader, off, WAL_RECORD_HEAD_BYTES + len, &at, err));
        if (checksum64(at + 12, 8 + (size_t)len) != checksum) {
            what = "checksum mismatch";
            break;
        }
        struct str payload = {(const char *)at + WAL_RECORD_HEAD_BYTES, len};
        if (replay->fn(replay->arg, seq, payload, err) != ERR_OK) {
            return err_context(err, "record %" PRIu64, seq);
        }
        replay->next_seq = seq + 1;
        replay->report.records++;
        replay->report.bytes += WAL_RECORD_HEAD_BYTES + len;
        off += WAL_RECORD_HEAD_BYTES + len;
        replay->report.end_off = off;
    }
    *ret_end = (struct file_end){off, what};
    return ERR_OK;
}

/* Cut the last file at the end of its last whole record; a file without a header goes altogether.
 */
static enum err_code cut_tail(struct replay *replay, struct io_file *file, const char *path,
                              struct file_end end, struct err *err)
{
    if (replay->is_read_only) {
        return ERR_OK;
    }
    if (end.off < WAL_HEADER_BYTES) {
        ERR_TRY(io_unlink(replay->io, path, err));
        return io_sync_dir(replay->io, replay->dir, err);
    }
    ERR_TRY(io_truncate(replay->io, file, end.off, err));
    return io_sync(replay->io, file, err);
}

static enum err_code replay_file(struct replay *replay, uint64_t file, bool is_last,
                                 uint64_t *ret_bytes, struct err *err)
{
    char path[WAL_PATH_BYTES];
    CLEANUP(io_closep) struct io_file *opened = NULL;
    CLEANUP(buf_freep) struct buf window = {0};
    replay->report.at_file = file;
    ERR_TRY(file_path(replay->dir, file, path, err));
    ERR_TRY(io_open(replay->io, path, replay->is_read_only || !is_last ? IO_READ : IO_APPEND,
                    &opened, err));
    struct log_reader reader = {.io = replay->io, .file = opened};
    ERR_TRY(io_size(replay->io, opened, &reader.size, err));
    struct file_end end = {0};
    enum err_code code = read_header(&reader, file, replay, &end, err);
    if (code == ERR_OK && end.what == NULL) {
        replay->report.end_file = file;
        replay->report.end_off = end.off;
        code = read_records(&reader, replay, &end, err);
    }
    window = reader.buf; /* freed with this scope */
    if (code != ERR_OK) {
        return err_context(err, "log \"%s\"", path);
    }
    if (end.what != NULL && !is_last) {
        return err_set(err, ERR_CORRUPT,
                       "log \"%s\": at byte %" PRIu64 ": %s, and later files exist", path, end.off,
                       end.what);
    }
    if (end.what != NULL) {
        replay->report.torn_bytes += reader.size - end.off;
        ERR_TRY(cut_tail(replay, opened, path, end, err));
    }
    *ret_bytes = end.off;
    return ERR_OK;
}

/* Oldest and newest file >= first_file; *ret_count 0 where there is none. Older ones were flushed.
 */
static enum err_code find_files(struct io *io, const char *dir, uint64_t first_file,
                                uint64_t *ret_first, uint64_t *ret_last, uint32_t *ret_count,
                                struct err *err)
{
    CLEANUP(buf_freep) struct buf names = {0};
    uint32_t name_count = 0;
    ERR_TRY(io_list(io, dir, &names, &name_count, err));
    uint64_t first = UINT64_MAX, last = 0;
    uint32_t count = 0;
    const char *name = (const char *)names.ptr;
    for (uint32_t i = 0; i < name_count; i++, name += strlen(name) + 1) {
        uint64_t number = 0;
        if (!wal_file_number(name, &number) || number < first_file) {
            continue;
        }
        first = MIN_OF(first, number);
        last = MAX_OF(last, number);
        count++;
    }
    if (count > 0 && (first != first_file || last - first + 1 != count)) {
        return err_set(err, ERR_CORRUPT,
                       "log \"%s\": %" PRIu32 " files from %" PRIu64 " to %" PRIu64
                       ", expected all from %" PRIu64,
                       dir, count, first, last, first_file);
    }
    if (count == 0 && first_file > 1) {
        return err_set(err, ERR_CORRUPT, "log \"%s\": file %" PRIu64 " is missing", dir,
                       first_file);
    }
    *ret_first = first;
    *ret_last = last;
    *ret_count = count;
    return ERR_OK;
}

static enum err_code replay_all(struct replay *replay, uint64_t first_file, uint64_t *ret_next_file,
                                uint64_t *ret_bytes, struct err *err)
{
    uint64_t first = 0, last = 0, bytes = 0;
    uint32_t count = 0;
    ERR_TRY(find_files(replay->io, replay->dir, first_file, &first, &last, &count, err));
    *ret_next_file = first_file;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t file_bytes = 0;
        ERR_TRY(replay_file(replay, first + i, i + 1 == count, &file_bytes, err));
        bytes += file_bytes;
        if (file_bytes >= WAL_HEADER_BYTES) {
            *ret_next_file = first + i + 1;
        }
    }
    *ret_bytes = bytes;
    return ERR_OK;
}

enum err_code wal_read(struct io *io, const char *dir, uint64_t first_file, wal_replay_fn fn,
                       void *arg, struct wal_replay_report *report, struct err *err)
{
    struct replay replay = {.io = io, .dir = dir, .fn = fn, .arg = arg, .is_read_only = true};
    uint64_t next_file = 0, bytes = 0;
    enum err_code code = replay_all(&replay, first_file, &next_file, &bytes, err);
    *report = replay.report;
    return code;
}

/* ---- writing ---- */

static enum err_code make_file(struct io *io, const char *dir, uint64_t number, uint64_t first_seq,
                               struct io_file **ret, struct err *err)
{
    char path[WAL_PATH_BYTES];
    CLEANUP(io_closep) struct io_file *file = NULL;
    uint8_t header[WAL_HEADER_BYTES];
    wr_u32(header, WAL_MAGIC);
    wr_u32(header + 4, WAL_VERSION);
    wr_u64(header + 8, number);
    wr_u64(header + 16, first_seq);
    wr_u64(header + 24, checksum64(header, WAL_HEADER_BYTES - 8));
    ERR_TRY(file_path(dir, number, path, err));
    ERR_TRY(io_open(io, path, IO_CREATE, &file, err));
    ERR_TRY(io_write(io, file, 0, header, sizeof(header), err));
    ERR_TRY(io_sync(io, file, err));
    ERR_TRY(io_sync_dir(io, dir, err));
    *ret = TAKE(file);
    return ERR_OK;
}

enum err_code wal_make_file(struct io *io, const char *dir, uint64_t number, uint64_t first_seq,
                            struct err *err)
{
    CLEANUP(io_closep) struct io_file *file = NULL;
    return make_file(io, dir, number, first_seq, &file, err);
}

static enum err_code start_file(struct wal *wal, struct io *io, uint64_t number, struct err *err)
{
    CLEANUP(io_closep) struct io_file *file = NULL;
    ERR_TRY(make_file(io, wal->dir, number, wal->last_seq + 1, &file, err));
    if (wal->file != NULL) {
        wal->older_bytes += wal->file_off;
        io_close(wal->file);
    }
    wal->file = TAKE(file);
    wal->last_file = number;
    wal->file_off = WAL_HEADER_BYTES;
    return ERR_OK;
}

enum err_code wal_open(struct io *io, const char *dir, uint64_t first_file, wal_replay_fn fn,
                       void *arg, struct wal **ret, struct wal_replay_report *report,
                       struct err *err)
{
    ASSERT(first_file >= 1);
    CLEANUP(wal_closep) struct wal *wal = calloc(1, sizeof(*wal));
    if (wal == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for a log");
    }
    if (snprintf(wal->dir, sizeof(wal->dir), "%s", dir) >= (int)sizeof(wal->dir)) {
        return err_set(err, ERR_INVALID, "log path \"%s\" is too long", dir);
    }
    ERR_TRY(io_mkdir(io, dir, err));
    struct replay replay = {.io = io, .dir = dir, .fn = fn, .arg = arg};
    uint64_t next_file = 0;
    ERR_TRY(replay_all(&replay, first_file, &next_file, &wal->older_bytes, err));
    wal->first_file = first_file;
    wal->last_seq = replay.next_seq == 0 ? 0 : replay.next_seq - 1;
    wal->committed_seq = wal->last_seq;
    ERR_TRY(start_file(wal, io, next_file, err));
    /* Files below first_file were flushed before the last stop; their unlinking did not make it. */
    ERR_TRY(wal_drop_before(wal, io, first_file, err));
    *report = replay.report;
    *ret = TAKE(wal);
    return ERR_OK;
}

void wal_close(struct wal *wal)
{
    if (wal != NULL) {
        io_close(wal->file);
        buf_done(&wal->group);
        free(wal);
    }
}

static enum err_code check_whole(const struct wal *wal, struct err *err)
{
    if (wal->is_broken) {
        *err = wal->why;
        return err_context(err, "the log is broken until reopened");
    }
    return ERR_OK;
}

static enum err_code break_log(struct wal *wal, struct err *err)
{
    wal->is_broken = true;
    wal->why = *err;
    return err->code;
}

enum err_code wal_append(struct wal *wal, struct str payload, uint64_t *ret_seq, struct err *err)
{
    ERR_TRY(check_whole(wal, err));
    if (payload.len == 0 || payload.len > WAL_RECORD_BYTES_MAX) {
        return err_set(err, ERR_LIMIT, "log record of %zu bytes, at most %u", payload.len,
                       WAL_RECORD_BYTES_MAX);
    }
    uint8_t *at = buf_reserve(&wal->group, WAL_RECORD_HEAD_BYTES + payload.len);
    if (at == NULL) {
        wal->group.is_bad = false; /* the records gathered so far are still in it, whole */
        return err_set(err, ERR_NOMEM, "no memory for a log record of %zu bytes", payload.len);
    }
    uint64_t seq = wal->last_seq + 1;
    wr_u32(at, (uint32_t)payload.len);
    wr_u64(at + 12, seq);
    memcpy(at + WAL_RECORD_HEAD_BYTES, payload.ptr, payload.len);
    wr_u64(at + 4, checksum64(at + 12, 8 + payload.len));
    wal->group.len += WAL_RECORD_HEAD_BYTES + payload.len;
    wal->last_seq = seq;
    *ret_seq = seq;
    return ERR_OK;
}

void wal_discard(struct wal *wal)
{
    buf_clear(&wal->group);
    wal->last_seq = wal->is_flying ? wal->flying_seq : wal->committed_seq;
}

/* A write behind the last commit failed, as `err` says: make it as if it had not been tried. */
static enum err_code cut_back(struct wal *wal, struct io *io, struct err *err)
{
    struct err undo = {0};
    if (io_truncate(io, wal->file, wal->file_off, &undo) != ERR_OK ||
        io_sync(io, wal->file, &undo) != ERR_OK) {
        return break_log(wal, err);
    }
    wal_discard(wal);
    return err->code;
}

enum err_code wal_commit_begin(struct wal *wal, struct io *io, struct err *err)
{
    ERR_TRY(check_whole(wal, err));
    ASSERT(!wal->is_flying);
    if (wal->group.len == 0) {
        return ERR_OK;
    }
    if (io_write(io, wal->file, wal->file_off, wal->group.ptr, wal->group.len, err) != ERR_OK) {
        return cut_back(wal, io, err);
    }
    if (io_sync_begin(io, wal->file, err) != ERR_OK) {
        return break_log(wal, err);
    }
    wal->is_flying = true;
    wal->flying_bytes = wal->group.len;
    wal->flying_seq = wal->last_seq;
    buf_clear(&wal->group);
    return ERR_OK;
}

bool wal_commit_is_done(const struct wal *wal, struct io *io)
{
    return !wal->is_flying || io_sync_is_done(io);
}

enum err_code wal_commit_end(struct wal *wal, struct io *io, struct err *err)
{
    if (!wal->is_flying) {
        return check_whole(wal, err);
    }
    wal->is_flying = false;
    if (io_sync_end(io, err) != ERR_OK) {
        return break_log(wal, err);
    }
    wal->file_off += wal->flying_bytes;
    wal->committed_seq = wal->flying_seq;
    return ERR_OK;
}

enum err_code wal_commit(struct wal *wal, struct io *io, struct err *err)
{
    ERR_TRY(wal_commit_begin(wal, io, err));
    return wal_commit_end(wal, io, err);
}

enum err_code wal_probe(struct wal *wal, struct io *io, struct err *err)
{
    ERR_TRY(check_whole(wal, err));
    ASSERT(wal->group.len == 0 && !wal->is_flying);
    uint8_t *zeroes = calloc(1, PROBE_BYTES);
    if (zeroes == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for %u bytes of log", PROBE_BYTES);
    }
    enum err_code code = io_write(io, wal->file, wal->file_off, zeroes, PROBE_BYTES, err);
    free(zeroes);
    if (code != ERR_OK) {
        return cut_back(wal, io, err);
    }
    if (io_truncate(io, wal->file, wal->file_off, err) != ERR_OK ||
        io_sync(io, wal->file, err) != ERR_OK) {
        return break_log(wal, err);
    }
    return ERR_OK;
}

bool wal_is_broken(const struct wal *wal)
{
    return wal->is_broken;
}

enum err_code wal_rotate(struct wal *wal, struct io *io, uint64_t *ret_file, struct err *err)
{
    ERR_TRY(check_whole(wal, err));
    ASSERT(wal->group.len == 0 && !wal->is_flying);
    if (start_file(wal, io, wal->last_file + 1, err) != ERR_OK) {
        /* A half-made next file would make the one in hand an earlier file, where a torn tail is
         * damage. Where it can be taken back (a full disk), the log goes on as it was. */
        char path[WAL_PATH_BYTES];
        struct err undo = {0};
        enum err_code code = file_path(wal->dir, wal->last_file + 1, path, &undo);
        if (code == ERR_OK) {
            code = io_unlink(io, path, &undo);
        }
        return code == ERR_OK || code == ERR_NOT_FOUND ? err->code : break_log(wal, err);
    }
    *ret_file = wal->last_file;
    return ERR_OK;
}

enum err_code wal_drop_before(struct wal *wal, struct io *io, uint64_t file, struct err *err)
{
    ASSERT(file <= wal->last_file);
    CLEANUP(buf_freep) struct buf names = {0};
    uint32_t name_count = 0;
    ERR_TRY(io_list(io, wal->dir, &names, &name_count, err));
    const char *name = (const char *)names.ptr;
    bool has_dropped = false;
    for (uint32_t i = 0; i < name_count; i++, name += strlen(name) + 1) {
        uint64_t number = 0;
        if (!wal_file_number(name, &number) || number >= file) {
            continue;
        }
        char path[WAL_PATH_BYTES];
        ERR_TRY(file_path(wal->dir, number, path, err));
        ERR_TRY(io_unlink(io, path, err));
        has_dropped = true;
    }
    if (has_dropped) {
        ERR_TRY(io_sync_dir(io, wal->dir, err));
    }
    if (file > wal->first_file) {
        wal->first_file = file;
        wal->older_bytes = 0;
        for (uint64_t number = file; number < wal->last_file; number++) {
            char path[WAL_PATH_BYTES];
            CLEANUP(io_closep) struct io_file *older = NULL;
            uint64_t bytes = 0;
            ERR_TRY(file_path(wal->dir, number, path, err));
            ERR_TRY(io_open(io, path, IO_READ, &older, err));
            ERR_TRY(io_size(io, older, &bytes, err));
            wal->older_bytes += bytes;
        }
    }
    return ERR_OK;
}

uint64_t wal_bytes(const struct wal *wal)
{
    return wal->older_bytes + wal->file_off;
}

uint64_t wal_last_file(const struct wal *wal, uint64_t *ret_off)
{
    *ret_off = wal->file_off;
    return wal->last_file;
}

uint64_t wal_last_seq(const struct wal *wal)
{
    return wal->committed_seq;
}
