/* storage/ids.h - the id directory of a data set: id -> (shard, subject number).
 *
 * A key is a name space ('u' user id, 'a' anonymous id) and the bytes of the id. A new key goes to
 * shard hash(key, seed) mod 16 and takes the next number there. Entries are numbered in the order
 * of their arrival; that order is also the order of the file ids.log, of which the catalog knows
 * how many bytes count: opening reads just those and cuts the rest, which comes back from the WAL,
 * where each record carries the entries that it was the first to use.
 *
 * Thread: ids_add and ids_restore by the data set's writer. ids_find, ids_count and ids_subjects
 * from any thread without a lock: entries never move, and a grown table is swapped in with one
 * release store, the old one kept until ids_close. ids_flush by one thread at a time, beside the
 * writer. Cost: about 60 bytes and the key per id, all in memory.
 */
#pragma once

#include "storage/base/io.h"
#include "storage/source.h"

enum id_kind { ID_USER = 'u', ID_ANONYMOUS = 'a' };

struct ids;
struct id_entry {
    struct str key;
    enum id_kind kind;
    uint32_t shard;
    uint32_t subject;
};
/* How much of ids.log counts. */
struct ids_mark {
    uint64_t count;
    uint64_t bytes;
};

/* Open (or make) the file at `path` and load the first `mark` of it. *ret_cut: bytes cut off behind
 * it. With is_read_only nothing is made or cut. ERR_CORRUPT where the file does not hold the mark.
 */
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
/* Find or add. ERR_LIMIT where the shard has no numbers left. */
enum err_code ids_add(struct ids *ids, enum id_kind kind, struct str key, uint32_t *ret_shard,
                      uint32_t *ret_subject, struct err *err) ERR_MUST_CHECK;
/* Replay: the entry must get just this place (or have it already): else ERR_CORRUPT. */
enum err_code ids_restore(struct ids *ids, const struct id_entry *entry,
                          struct err *err) ERR_MUST_CHECK;
uint64_t ids_count(const struct ids *ids);
uint32_t ids_subjects(const struct ids *ids, uint32_t shard); /* numbers below this are taken */
/* Entry by number, below ids_count. */
struct id_entry ids_entry(const struct ids *ids, uint64_t idx);

/* Append entries [durable, count) to the file and sync it; the mark is what the catalog must
 * publish. Without ids_confirm the next flush writes them again in the same place. */
enum err_code ids_flush(struct ids *ids, struct io *io, uint64_t count, struct ids_mark *ret,
                        struct err *err) ERR_MUST_CHECK;
/* The catalog has published the mark. */
void ids_confirm(struct ids *ids, struct ids_mark mark);
