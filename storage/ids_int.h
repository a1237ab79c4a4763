/* storage/ids_int.h - what the files of the id directory share.
 *
 *    ids.c         the public functions; numbers; opening
 *    ids_log.c     ids.log: entries, frames, the memory they lie in
 *    ids_table.c   the hash table: grows by small parts, is read without a lock
 *    ids_hash.c    ids.hash: the table at a clean stop
 *    ids_verify.c  holding one against the other
 */
#pragma once

#include "storage/base/hash.h"
#include "storage/base/size.h"
#include "storage/ids.h"

#include <stdatomic.h>

/* -- the log -- */

#define IDS_LOG_BITS          36u /* bytes of a log that can be addressed: 64 GiB */
#define IDS_EXTENT_BITS       26u
#define IDS_EXTENT_BYTES      ((uint64_t)1 << IDS_EXTENT_BITS)
#define IDS_EXTENTS           (1u << (IDS_LOG_BITS - IDS_EXTENT_BITS))
#define IDS_FRAME_HEAD_BYTES  24u
#define IDS_FRAME_BYTES       (64u << 10) /* of entries in a frame, at most */
#define IDS_FRAME_TOTAL_BYTES (IDS_FRAME_HEAD_BYTES + IDS_FRAME_BYTES)
#define IDS_ENTRY_HEAD_BYTES  6u
#define IDS_PAGE_BYTES        4096u
#define IDS_NONE              UINT64_MAX

/* An end of a frame: a part of the log that can stand alone. */
struct ids_seal {
    struct ids_mark mark;
    uint64_t chain; /* the checksum of the last frame, 0 before the first */
};

struct ids_log {
    struct io_file *file;          /* NULL: read-only, and there is none */
    uint8_t *extents[IDS_EXTENTS]; /* memory of the log's bytes, 64 MiB each, at a fixed address */
    uint64_t end;                  /* writer: where the next entry goes */
    uint64_t frame_off;            /* writer: the open frame, when it has entries */
    uint32_t frame_count;
    struct ids_seal sealed;  /* writer */
    struct ids_seal durable; /* flusher: what the catalog says */
    struct ids_seal flushed; /* flusher: written and synced, not yet confirmed */
    uint64_t mapped_bytes;   /* flusher: this much is the file's pages */
};

/* -- the table -- */

#define IDS_SLOTS_PER_PAGE (IDS_PAGE_BYTES / sizeof(uint64_t))
#define IDS_SUB_PAGES_MAX  255u
#define IDS_SUB_CHUNKS     24u
#define IDS_SUB_BASE_BITS  4u

struct ids_sub {
    _Atomic uint64_t place; /* address / 4096: 36 bits; pages: 8; generation: 20 */
    uint32_t used;          /* writer */
};

struct ids_free_blocks {
    uint8_t **blocks;
    uint32_t count, cap;
};

struct ids_table {
    struct ids_sub *chunks[IDS_SUB_CHUNKS]; /* chunk c has 16 << c */
    _Atomic uint32_t sub_count;
    uint64_t used, page_count; /* writer */
    /* Blocks of pages for sub-tables; given back to the system when freed, the address kept. */
    struct ids_free_blocks free_blocks[IDS_SUB_PAGES_MAX + 1];
    uint8_t *block_next;
    size_t block_left;
    uint8_t **regions; /* mappings, to be unmapped at the end */
    uint32_t region_count;
    uint8_t *file_map; /* ids.hash, copy-on-write; NULL = none */
    size_t file_bytes;
};

/* -- finding by number: where every 256th entry is -- */

#define IDS_SAMPLE_BITS   8u
#define IDS_SAMPLE_CHUNKS 26u

struct ids_sample {
    uint64_t off;
    uint32_t subjects[SHARD_COUNT]; /* taken before it */
};

struct ids {
    char *path;
    uint64_t seed;
    _Atomic uint64_t count;
    _Atomic uint64_t facts; /* of these, bindings and merges */
    _Atomic uint32_t subjects[SHARD_COUNT];
    struct ids_log log;
    struct ids_table table;
    struct ids_sample *samples[IDS_SAMPLE_CHUNKS]; /* chunk c has 16 << c */
    uint64_t hashed_count;
    bool is_hash_ignored;
    uint64_t saved_bytes; /* of the log, that ids.hash stands for; IDS_NONE = no such file */
};

static inline uint64_t ids_hash(const struct ids *ids, enum id_kind kind, struct str key)
{
    return hash_str(key, ids->seed ^ ((uint64_t)kind << 56));
}

/* Item `idx` of an array in chunks of base, 2 x base, 4 x base …: it grows and nothing moves. */
static inline uint32_t ids_chunk_of(uint64_t idx, uint32_t base_bits, uint64_t *ret_at)
{
    uint64_t group = (idx >> base_bits) + 1;
    uint32_t chunk = 63u - (uint32_t)__builtin_clzll(group);
    *ret_at = idx - ((((uint64_t)1 << chunk) - 1) << base_bits);
    return chunk;
}

/* ids_open, with or without the help of NAME.hash. */
enum err_code ids_open_as(struct io *io, const char *path, uint64_t seed, struct ids_mark mark,
                          bool is_read_only, bool is_hash_ignored, struct ids **ret,
                          uint64_t *ret_cut, struct err *err) ERR_MUST_CHECK;
enum err_code ids_no_memory(struct err *err);
/* ids.log's path with its ending replaced; the caller frees it. NULL: no memory. */
char *ids_path_beside(const struct ids *ids, const char *ending);
struct ids_sample *ids_sample_at(const struct ids *ids, uint64_t idx);
enum err_code ids_sample_room(struct ids *ids, uint64_t idx, struct err *err) ERR_MUST_CHECK;

/* ids_log.c */

/* The entry at `off`, which must be one. */
struct id_entry ids_log_entry(const struct ids_log *log, uint64_t off);
/* Is the entry at `off`, a value from ids.hash, this key? */
bool ids_log_holds(const struct ids_log *log, uint64_t off, enum id_kind kind, struct str key);
/* Where the entry behind the one at `off` is; frame heads and gaps are stepped over. */
uint64_t ids_log_after(const struct ids_log *log, uint64_t off);
uint64_t ids_log_first(const struct ids_log *log, uint64_t off); /* the entry at or behind `off` */
/* ret_off is where it lies; readable at once, in the file after a flush. */
enum err_code ids_log_append(struct ids_log *log, const struct id_entry *entry, uint64_t *ret_off,
                             struct err *err) ERR_MUST_CHECK;
/* Called with each entry of a verified frame that begins at or behind `from` of ids_log_load, and
 * with NULL at the end of the frame: the keys live until then. */
typedef enum err_code (*ids_entry_fn)(struct ids *ids, void *arg, uint64_t off,
                                      const struct id_entry *entry, struct err *err);
/* Map the first `bytes` of the file. */
enum err_code ids_log_map(struct ids_log *log, struct io *io, uint64_t bytes,
                          struct err *err) ERR_MUST_CHECK;
/* Verify every frame before mark; those from `from` on are given to `fn`. *ret_fits is false, and
 * nothing else done, where the log up to `from` is not what ids.hash says it is. */
enum err_code ids_log_load(struct ids *ids, struct io *io, struct ids_mark mark,
                           const struct ids_seal *from, ids_entry_fn fn, void *arg, bool *ret_fits,
                           struct err *err) ERR_MUST_CHECK;
/* Frames from the start that are whole and sound, in the first `bytes` of the file; *ret_why: what is wrong
 * with the next, its code ERR_OK where there is none. */
enum err_code ids_log_measure(struct ids *ids, struct io *io, uint64_t bytes, struct ids_mark *ret,
                              struct err *ret_why, struct err *err) ERR_MUST_CHECK;
void ids_log_done(struct ids_log *log);

/* ids_table.c */

uint64_t ids_table_find(const struct ids *ids, enum id_kind kind, struct str key, uint64_t hash);
void ids_table_prefetch(const struct ids *ids, uint64_t hash);
/* Make room for one more key with this hash: before the key is added anywhere. */
enum err_code ids_table_room(struct ids *ids, uint64_t hash, struct err *err) ERR_MUST_CHECK;
void ids_table_insert(struct ids *ids, uint64_t hash, uint64_t off);
/* Sub-tables for `count` keys, all at once; the table must be new. */
enum err_code ids_table_reserve(struct ids *ids, uint64_t count, struct err *err) ERR_MUST_CHECK;
struct ids_sub *ids_sub_at(const struct ids_table *table, uint32_t idx);
enum err_code ids_sub_room(struct ids_table *table, uint32_t idx, struct err *err) ERR_MUST_CHECK;
/* The slots of a sub-table that lie before `end_off`, put into `out` (as many pages, zeroed). */
uint32_t ids_sub_copy(const struct ids_table *table, uint32_t idx, uint64_t end_off, uint64_t *out);
uint32_t ids_sub_pages(const struct ids_table *table, uint32_t idx);
void ids_sub_place(struct ids_table *table, uint32_t idx, uint8_t *at, uint32_t pages,
                   uint32_t used);
uint64_t ids_slot_off(uint64_t slot);
void ids_table_done(struct ids_table *table);

/* ids_hash.c */

/* The table, the samples and the numbers from ids.hash; *ret is what it stands for. Where there is
 * none, or it is damaged, or for another directory or a longer log: *ret is zero and the table new.
 */
enum err_code ids_hash_load(struct ids *ids, struct io *io, struct ids_mark mark,
                            struct ids_seal *ret, struct err *err) ERR_MUST_CHECK;
