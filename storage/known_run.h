/* storage/known_run.h - a file of known event ids, by the hash: has this id been seen, and where?
 *
 * What the event ids of flushed rows leave behind for telling retries: of each id the
 * KNOWN_KEY_BITS of its hash (known_set.h), and of its row the shard and a range of subjects, which
 * tell where to look for the id itself: a hit is a candidate, never an answer. The place outlives
 * compaction, which moves rows but neither their shard nor their subject.
 *
 * Chance of a hit for a new id: ids in all runs / 2^44, so 6 in 10 million at 10 M ids, 6 in a
 * million at 100 M. Bytes per id: (44 - log2(ids) + 2 + 4 + subject bits) / 8, 3.9 at 10 M.
 *
 * Files are written whole and never change. Opening reads the header; pages are mapped, and each is
 * checked against its checksum when it is first touched. The format is at the top of known_run.c.
 *
 * Thread: a writer and a cursor have one owner; an open run is immutable and reference counted: any
 * thread. A mapped page that the disk fails to read ends the process (SIGBUS).
 */
#pragma once

#include "storage/base/io.h"
#include "storage/known_set.h"

#define KNOWN_RUN_COUNT_MAX (UINT64_C(1) << 40)

/* Where a row lies: its shard, and subjects [subject_first, subject_last]. */
struct known_place {
    uint32_t shard;
    uint32_t subject_first, subject_last;
};

struct known_entry {
    uint64_t key;
    struct known_place place; /* of one subject, or as an older run has it */
};

/* ---- writing ---- */

struct known_run_writer;
struct known_run_info {
    uint64_t count;
    uint64_t bytes;
    int64_t arrival_min_ms, arrival_max_ms; /* of the rows */
    uint32_t subject_max;                   /* no row's subject is above it */
    uint32_t subject_shift;                 /* a place is 2^subject_shift subjects */
};
/* Begin PATH (under PATH.tmp). `count` entries are to come, of subjects up to subject_max, in places
 * of at most 2^shift_min subjects: 0, or the largest subject_shift of the runs that are merged. */
enum err_code known_run_create(struct io *io, const char *path, uint64_t count,
                               uint32_t subject_max, uint32_t shift_min,
                               struct known_run_writer **ret, struct err *err) ERR_MUST_CHECK;
/* Keys ascend; equal ones are kept apart. */
enum err_code known_run_add(struct known_run_writer *writer, const struct known_entry *entry,
                            struct err *err) ERR_MUST_CHECK;
/* Write what is left, sync, rename; the caller syncs the directory. Exactly `count` were added. */
enum err_code known_run_finish(struct known_run_writer *writer, int64_t arrival_min_ms,
                               int64_t arrival_max_ms, struct known_run_info *ret,
                               struct err *err) ERR_MUST_CHECK;
/* Frees the writer; what was not finished is removed. NULL is fine. */
void known_run_abandon(struct known_run_writer *writer);
static inline void known_run_abandonp(struct known_run_writer **writer)
{
    known_run_abandon(*writer);
}

/* ---- reading ---- */

struct known_run;
/* ERR_CORRUPT where header or size are wrong, ERR_UNSUPPORTED for a newer version, ERR_NOT_FOUND. */
enum err_code known_run_open(struct io *io, const char *path, uint64_t number,
                             struct known_run **ret, struct err *err) ERR_MUST_CHECK;
struct known_run *known_run_ref(struct known_run *run);
void known_run_unref(struct known_run *run); /* NULL is fine */
static inline void known_run_unrefp(struct known_run **run)
{
    known_run_unref(*run);
}
uint64_t known_run_number(const struct known_run *run);
struct known_run_info known_run_info(const struct known_run *run);

/* Which of `count` keys (at most KNOWN_PROBE_MAX) are in the run: bit i for keys[i]. Many at once, for
 * so they wait for memory together. */
#define KNOWN_PROBE_MAX 32u
enum err_code known_run_probe(const struct known_run *run, const uint64_t *keys, uint32_t count,
                              uint32_t *ret_bits, struct err *err) ERR_MUST_CHECK;
/* The places under the key, at most `cap` of them (more equal keys than a few do not happen, and
 * are ERR_CORRUPT). */
enum err_code known_run_find(const struct known_run *run, uint64_t key, struct known_place *out,
                             uint32_t cap, uint32_t *ret_count, struct err *err) ERR_MUST_CHECK;

/* All entries in order; begin with {.run = run}. */
struct known_cursor {
    const struct known_run *run;
    uint64_t page;
    uint32_t idx;      /* of the next entry in the page */
    uint32_t high_bit; /* where its bit is looked for */
};
enum err_code known_cursor_next(struct known_cursor *cursor, struct known_entry *ret,
                                bool *ret_more, struct err *err) ERR_MUST_CHECK;
/* Every checksum and invariant. */
enum err_code known_run_verify(const struct known_run *run, struct err *err) ERR_MUST_CHECK;
