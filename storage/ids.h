/* storage/ids.h - the id directory of a data set: id -> (shard, subject number), and back.
 *
 * A key is a name space ('u' user id, 'a' anonymous id) and the bytes of the id. What is known about ids belonging
 * together are entries as well ('b' a binding, 'm' a merge or its undoing; identity.h says what is in them): so they
 * are logged, flushed, backed up and verified with the ids that they name. Their numbers are taken and have no events. A new key goes to
 * shard hash(key, seed) mod 16 and takes the next number there. Entries are numbered in the order
 * of their arrival; that order is also the order of the file ids.log, of which the catalog knows
 * how many bytes count: opening verifies just those and cuts the rest, which comes back from the
 * WAL, where each record carries the entries that it was the first to use.
 *
 * Beside it lies ids.hash, the hash table as it was at the last clean stop, mapped copy-on-write.
 * It is never changed in place and says which part of ids.log it stands for, so what lies beyond
 * that part is hashed again; without it, or where a bit of it is wrong, everything is.
 *
 * Thread: ids_add, ids_restore, ids_seal by the data set's writer. ids_find, ids_find_key,
 * ids_count, ids_subjects, ids_entry and cursors from any thread without a lock: entries never
 * move, and a part of the table that is remade stays readable (ids_table.c says how). ids_flush and
 * ids_confirm by one thread at a time, beside the writer. ids_save when nothing else runs.
 *
 * Cost per key: about 8 bytes beside the key in ids.log and 10 in ids.hash; in memory at most 11
 * for the table and 0.3 for finding keys by number. Keys are read through a mapping of ids.log;
 * those not yet flushed lie in memory too. An insert remakes at most two small parts of the table,
 * whatever its size. A mapped page that the disk fails to read ends the process (SIGBUS): opening
 * has read all of it through `io` just before.
 */
#pragma once

#include "storage/base/io.h"
#include "storage/source.h"

enum id_kind { ID_USER = 'u', ID_ANONYMOUS = 'a', ID_BINDING = 'b', ID_MERGE = 'm' };
#define IDS_FACT_BYTES_MAX 64u /* of the key of a binding or a merge */
static inline bool id_kind_is_fact(enum id_kind kind)
{
    return kind == ID_BINDING || kind == ID_MERGE;
}

struct ids;
struct id_entry {
    struct str key; /* valid until ids_close */
    enum id_kind kind;
    uint32_t shard;
    uint32_t subject;
};
/* How much of ids.log counts. */
struct ids_mark {
    uint64_t count;
    uint64_t bytes;
};

/* Open (or make) the log at `path`, NAME.log, with NAME.hash beside it, up to `mark`. *ret_cut:
 * bytes cut off behind it. With is_read_only nothing is made or cut. ERR_CORRUPT where the log does
 * not hold the mark, with the byte; damage in NAME.hash costs time and is no error. */
enum err_code ids_open(struct io *io, const char *path, uint64_t seed, struct ids_mark mark,
                       bool is_read_only, struct ids **ret, uint64_t *ret_cut,
                       struct err *err) ERR_MUST_CHECK;
void ids_close(struct ids *ids);
static inline void ids_closep(struct ids **ids)
{
    ids_close(*ids);
}

bool ids_find(const struct ids *ids, enum id_kind kind, struct str key, uint32_t *ret_shard,
              uint32_t *ret_subject);
/* Find or add. ERR_LIMIT where the directory is full: 64 GiB of log. */
enum err_code ids_add(struct ids *ids, enum id_kind kind, struct str key, uint32_t *ret_shard,
                      uint32_t *ret_subject, struct err *err) ERR_MUST_CHECK;
/* Replay: the entry must get just this place (or have it already): else ERR_CORRUPT. */
enum err_code ids_restore(struct ids *ids, const struct id_entry *entry,
                          struct err *err) ERR_MUST_CHECK;
uint64_t ids_count(const struct ids *ids);
/* How many of them are bindings and merges. */
uint64_t ids_facts(const struct ids *ids);
uint32_t ids_subjects(const struct ids *ids, uint32_t shard); /* numbers below this are taken */

/* The key of a subject; false where the number is not taken. Cost: a walk over at most 256 entries.
 */
bool ids_find_key(const struct ids *ids, uint32_t shard, uint32_t subject, struct id_entry *ret);
/* Entry by number, below ids_count; the same cost. */
struct id_entry ids_entry(const struct ids *ids, uint64_t idx);
/* Entries [first, ids_count at this moment) one after another. */
struct id_cursor {
    const struct ids *ids;
    uint64_t idx, end_idx;
    uint64_t off;
};
struct id_cursor ids_cursor(const struct ids *ids, uint64_t first);
bool id_cursor_next(struct id_cursor *cursor, struct id_entry *ret);

/* End a frame of the log here; returns ids_count. Only such counts may be flushed. */
uint64_t ids_seal(struct ids *ids);
/* Append entries [durable, count) to the file and sync it; the mark is what the catalog must
 * publish. Without ids_confirm the next flush writes them again in the same place. */
enum err_code ids_flush(struct ids *ids, struct io *io, uint64_t count, struct ids_mark *ret,
                        struct err *err) ERR_MUST_CHECK;
/* The catalog has published the mark. From here on the keys are read from the file. */
void ids_confirm(struct ids *ids, struct ids_mark mark);
/* A clean stop: write NAME.hash for the confirmed mark, unless it stands for that already. After an
 * error the old one is in place. */
enum err_code ids_save(struct ids *ids, struct io *io, struct err *err) ERR_MUST_CHECK;

/* For whoever looks after a folder; nothing is made or cut. As ids_open read-only, with every entry read from the
 * log whatever NAME.hash says. *ret_hash says what is to be held of NAME.hash. */
enum ids_hash_state {
    IDS_HASH_NONE,    /* there is no such file */
    IDS_HASH_AGREES,  /* every key of its part of the log is found through it, with its number */
    IDS_HASH_REFUSED, /* damaged, of another version, or of another log: opening makes it anew */
};
enum err_code ids_verify(struct io *io, const char *path, uint64_t seed, struct ids_mark mark,
                         struct ids **ret, uint64_t *ret_behind, enum ids_hash_state *ret_hash,
                         struct err *err) ERR_MUST_CHECK;
/* How much of a log whose mark is lost is whole: frames from the first to the last sound one. *ret_bytes: of
 * the file. *ret_why: what ended it, ERR_OK at the file's end. */
enum err_code ids_measure(struct io *io, const char *path, struct ids_mark *ret,
                          uint64_t *ret_bytes, struct err *ret_why, struct err *err) ERR_MUST_CHECK;

struct ids_stats {
    uint64_t hashed_count;  /* keys that opening had to hash: 0 after a clean stop */
    uint64_t table_bytes;   /* of the hash table, whether in memory or in NAME.hash */
    uint64_t sampled_bytes; /* of what finds keys by number */
};
struct ids_stats ids_stats(const struct ids *ids);
