/* storage/wal.h - the write-ahead log of a data set: what is in it after a sync is acknowledged.
 *
 * A log is a run of files wal/00000001.log, ...; a record is a length, a checksum, a sequence
 * number and opaque bytes (dataset_record.h says what the data set puts in). Recovery reads records
 * in order and stops at the first that is torn or wrong IN THE LAST FILE (the file is cut there);
 * the same in an earlier file is ERR_CORRUPT. A failed write is cut back and the log goes on; after
 * a failed sync, or where the cut fails, it is broken: every later append fails until reopened. The format is documented at the top of storage/wal.c.
 *
 * Thread: the data set's writer.
 */
#pragma once

#include "storage/base/io.h"

struct wal;
#define WAL_RECORD_BYTES_MAX  (256u << 20)
#define WAL_HEADER_BYTES      32u /* of a file; one without records has this size */
#define WAL_RECORD_HEAD_BYTES 20u

struct wal_replay_report {
    uint64_t records, bytes;
    uint64_t torn_bytes;        /* cut off the end of the last file */
    uint64_t at_file;           /* the last one that was opened; 0: none was */
    uint64_t end_file, end_off; /* behind the last whole record that was read; 0: none was */
};
typedef enum err_code (*wal_replay_fn)(void *arg, uint64_t seq, struct str payload,
                                       struct err *err);

/* Open the log in directory `dir` (made if missing), replay records of files >= first_file in order
 * through `fn`, and continue in a fresh file. */
enum err_code wal_open(struct io *io, const char *dir, uint64_t first_file, wal_replay_fn fn,
                       void *arg, struct wal **ret, struct wal_replay_report *report,
                       struct err *err) ERR_MUST_CHECK;
/* Replay only: no file is made, cut or removed (read-only stores). The report is filled after an error too. */
enum err_code wal_read(struct io *io, const char *dir, uint64_t first_file, wal_replay_fn fn,
                       void *arg, struct wal_replay_report *report, struct err *err) ERR_MUST_CHECK;
/* "00000012.log"; false for names that are not a log file's. */
bool wal_file_number(const char *name, uint64_t *ret);
/* A log file without records, durable: for whoever rebuilds a log. */
enum err_code wal_make_file(struct io *io, const char *dir, uint64_t number, uint64_t first_seq,
                            struct err *err) ERR_MUST_CHECK;
/* Records that were appended and not committed are dropped. NULL is fine. */
void wal_close(struct wal *wal);
static inline void wal_closep(struct wal **wal)
{
    wal_close(*wal);
}
/* Forget the records gathered since the last commit, or the last wal_commit_begin. */
void wal_discard(struct wal *wal);
/* Add a record to the group being gathered; nothing is written yet. Its number is returned. */
enum err_code wal_append(struct wal *wal, struct str payload, uint64_t *ret_seq,
                         struct err *err) ERR_MUST_CHECK;
/* Write the gathered records and fdatasync: when it returns ERR_OK they are durable. When it fails
 * and the log is not broken, they are surely not in it, and forgotten. */
enum err_code wal_commit(struct wal *wal, struct io *io, struct err *err) ERR_MUST_CHECK;
/* The same in two halves, so that the next group is gathered while the disk syncs this one: one group
 * at a time is between them, with one struct io for both. When wal_commit_begin fails and the log is
 * not broken, the group is surely not in it; when wal_commit_end fails the log is broken. */
enum err_code wal_commit_begin(struct wal *wal, struct io *io, struct err *err) ERR_MUST_CHECK;
bool wal_commit_is_done(const struct wal *wal, struct io *io); /* wal_commit_end would not wait */
enum err_code wal_commit_end(struct wal *wal, struct io *io, struct err *err) ERR_MUST_CHECK;
bool wal_is_broken(const struct wal *wal);
/* Can it be written to? Tries with a quarter MiB, which it takes back. */
enum err_code wal_probe(struct wal *wal, struct io *io, struct err *err) ERR_MUST_CHECK;
/* Start a new file; returns its number. Records before it can be dropped once flushed. */
enum err_code wal_rotate(struct wal *wal, struct io *io, uint64_t *ret_file,
                         struct err *err) ERR_MUST_CHECK;
/* Unlink all files below `file`. */
enum err_code wal_drop_before(struct wal *wal, struct io *io, uint64_t file,
                              struct err *err) ERR_MUST_CHECK;
uint64_t wal_bytes(const struct wal *wal); /* in all live files */
uint64_t wal_last_seq(const struct wal *wal);
/* The file being written, and the end of what is committed in it. */
uint64_t wal_last_file(const struct wal *wal, uint64_t *ret_off);
