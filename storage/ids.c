/* storage/ids.c - the id directory: chunked entries, a hash table split in 64, and the file.
 *
 * ids.log is a run of chunks, one for each flush that had new ids:
 *
 *    offset   bytes   field          rule
 *         0       4   magic          "TIDS"
 *         4       4   count          entries in this chunk, at least 1
 *         8       8   payload_bytes
 *        16       8   checksum       XXH3-64 of bytes 0 .. 16 and the payload, chained (see below)
 *        24           payload: count entries
 *                       u8 kind ('u' or 'a'), u8 shard, u16 len (1 .. 512), len bytes of the id
 *
 * Integers are little-endian. An entry's subject number is not stored: it is the number of entries
 * of its shard before it. The checksum of a chunk is seeded with the one before it (0 for the
 * first), so chunks cannot change places.
 *
 * Table: 64 open-addressing tables chosen by the top bits of the hash, so that growing one stops
 * the writer for a 64th of the whole. A slot holds 32 bits of hash and the entry's number + 1; the
 * place in the table comes from these same 32 bits, so growing never touches a key. Memory order:
 * an entry is written before its slot (release); a reader that acquires the slot may read the
 * entry.
 */
#include "storage/ids.h"

#include "storage/base/hash.h"
#include "storage/base/rd.h"
#include "storage/base/size.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>

#define IDS_MAGIC        0x53444954u /* "TIDS" */
#define CHUNK_HEAD_BYTES 24u
#define SUB_COUNT        64u
#define FIRST_SLOTS      64u
#define ENTRY_BASE_BITS  8u
#define ENTRY_CHUNKS     24u
#define ENTRIES_MAX      0xfffffffeULL
#define KEY_CHUNK_FIRST  (4u << 10)
#define KEY_CHUNK        (1u << 20)
#define FILE_BYTES_MAX   ((uint64_t)1 << 42)

struct entry {
    const char *key;
    uint32_t subject;
    uint16_t len;
    uint8_t shard;
    uint8_t kind;
};

struct sub_table {
    struct sub_table *older;
    uint32_t size;            /* a power of two */
    _Atomic uint64_t slots[]; /* hash in the upper half, entry number + 1 in the lower; 0 = empty */
};

struct key_chunk {
    struct key_chunk *older;
    char bytes[];
};

struct ids {
    struct io_file *file;
    char *path;
    uint64_t seed;
    _Atomic uint64_t count;
    _Atomic uint32_t subjects[SHARD_COUNT];
    struct entry *entries[ENTRY_CHUNKS]; /* chunk c has 256 << c */
    struct sub_table *_Atomic subs[SUB_COUNT];
    uint32_t sub_used[SUB_COUNT]; /* writer only */
    struct key_chunk *keys;
    char *key_next;
    size_t key_left, key_chunk_bytes;
    struct ids_mark durable; /* flusher only */
    uint64_t durable_checksum;
    struct ids_mark flushed; /* written and synced, not yet confirmed */
    uint64_t flushed_checksum;
};

static struct entry *entry_place(const struct ids *ids, uint64_t idx, uint32_t *ret_chunk)
{
    uint32_t group = (uint32_t)(idx >> ENTRY_BASE_BITS) + 1;
    uint32_t chunk = 31u - (uint32_t)__builtin_clz(group);
    *ret_chunk = chunk;
    if (ids->entries[chunk] == NULL) {
        return NULL;
    }
    return &ids->entries[chunk][idx - (((uint64_t)(1u << chunk) - 1) << ENTRY_BASE_BITS)];
}

static const struct entry *entry_at(const struct ids *ids, uint64_t idx)
{
    uint32_t chunk = 0;
    return entry_place(ids, idx, &chunk);
}

static uint64_t key_hash(const struct ids *ids, enum id_kind kind, struct str key)
{
    return hash_str(key, ids->seed ^ ((uint64_t)kind << 56));
}

static struct sub_table *sub_create(uint32_t size, struct sub_table *older)
{
    struct sub_table *sub = calloc(1, sizeof(*sub) + size * sizeof(sub->slots[0]));
    if (sub != NULL) {
        sub->size = size;
        sub->older = older;
    }
    return sub;
}

/* ---- finding and adding ---- */

static const struct entry *find(const struct ids *ids, enum id_kind kind, struct str key,
                                uint64_t hash)
{
    /* acquire: pairs with the release of a grown table */
    const struct sub_table *sub =
        atomic_load_explicit(&ids->subs[hash >> 58], memory_order_acquire);
    if (sub == NULL) {
        return NULL;
    }
    uint32_t tag = (uint32_t)hash;
    for (uint32_t slot = tag & (sub->size - 1);; slot = (slot + 1) & (sub->size - 1)) {
        /* acquire: pairs with slot_insert, so the entry can be read */
        uint64_t held = atomic_load_explicit(&sub->slots[slot], memory_order_acquire);
        if (held == 0) {
            return NULL;
        }
        if ((uint32_t)(held >> 32) != tag) {
            continue;
        }
        const struct entry *entry = entry_at(ids, (uint32_t)held - 1);
        if (entry->kind == (uint8_t)kind && str_eq((struct str){entry->key, entry->len}, key)) {
            return entry;
        }
    }
}

bool ids_find(const struct ids *ids, enum id_kind kind, struct str key, uint32_t *ret_shard,
              uint32_t *ret_subject)
{
    const struct entry *entry = find(ids, kind, key, key_hash(ids, kind, key));
    if (entry == NULL) {
        return false;
    }
    *ret_shard = entry->shard;
    *ret_subject = entry->subject;
    return true;
}

static void slot_insert(struct sub_table *sub, uint64_t value)
{
    uint32_t slot = (uint32_t)(value >> 32) & (sub->size - 1);
    while (atomic_load_explicit(&sub->slots[slot], memory_order_relaxed) != 0) {
        slot = (slot + 1) & (sub->size - 1);
    }
    atomic_store_explicit(&sub->slots[slot], value, memory_order_release);
}

static enum err_code no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "no memory for the id directory");
}

/* Room for one more in the sub-table: at most 3/4 full. */
static enum err_code sub_room(struct ids *ids, uint32_t idx, struct err *err)
{
    struct sub_table *sub = atomic_load_explicit(&ids->subs[idx], memory_order_relaxed);
    if (sub != NULL && ids->sub_used[idx] < sub->size / 4 * 3) {
        return ERR_OK;
    }
    struct sub_table *grown = sub_create(sub == NULL ? FIRST_SLOTS : sub->size * 2, sub);
    if (grown == NULL) {
        return no_memory(err);
    }
    for (uint32_t i = 0; sub != NULL && i < sub->size; i++) {
        uint64_t held = atomic_load_explicit(&sub->slots[i], memory_order_relaxed);
        if (held != 0) {
            slot_insert(grown, held);
        }
    }
    atomic_store_explicit(&ids->subs[idx], grown, memory_order_release);
    return ERR_OK;
}

static char *key_take(struct ids *ids, size_t len)
{
    if (len > ids->key_left) {
        size_t want = MAX_OF(len, ids->key_chunk_bytes);
        struct key_chunk *chunk = malloc(sizeof(*chunk) + want);
        if (chunk == NULL) {
            return NULL;
        }
        chunk->older = ids->keys;
        ids->keys = chunk;
        ids->key_next = chunk->bytes;
        ids->key_left = want;
        ids->key_chunk_bytes = MIN_OF(ids->key_chunk_bytes * 2, KEY_CHUNK);
    }
    char *at = ids->key_next;
    ids->key_next += len;
    ids->key_left -= len;
    return at;
}

static enum err_code add_new(struct ids *ids, enum id_kind kind, struct str key, uint64_t hash,
                             uint32_t shard, const struct entry **ret, struct err *err)
{
    uint64_t idx = atomic_load_explicit(&ids->count, memory_order_relaxed);
    uint32_t subject = atomic_load_explicit(&ids->subjects[shard], memory_order_relaxed);
    ASSERT(key.len > 0 && key.len <= USER_ID_BYTES_MAX);
    if (idx == ENTRIES_MAX || subject == UINT32_MAX) {
        return err_set(err, ERR_LIMIT, "the id directory is full: %" PRIu64 " ids", idx);
    }
    uint32_t chunk = 0;
    if (entry_place(ids, idx, &chunk) == NULL) {
        ASSERT(chunk < ENTRY_CHUNKS);
        ids->entries[chunk] = malloc(sizeof(struct entry) << (chunk + ENTRY_BASE_BITS));
    }
    struct entry *entry = entry_place(ids, idx, &chunk);
    char *copy = key_take(ids, key.len);
    if (entry == NULL || copy == NULL) {
        return no_memory(err);
    }
    ERR_TRY(sub_room(ids, (uint32_t)(hash >> 58), err));
    memcpy(copy, key.ptr, key.len);
    *entry = (struct entry){copy, subject, (uint16_t)key.len, (uint8_t)shard, (uint8_t)kind};
    slot_insert(atomic_load_explicit(&ids->subs[hash >> 58], memory_order_relaxed),
                (uint64_t)(uint32_t)hash << 32 | (uint32_t)(idx + 1));
    ids->sub_used[hash >> 58]++;
    atomic_store_explicit(&ids->subjects[shard], subject + 1, memory_order_release);
    atomic_store_explicit(&ids->count, idx + 1, memory_order_release);
    *ret = entry;
    return ERR_OK;
}

/* Bits of the hash that neither the sub-table nor the slot uses. */
static uint32_t shard_of(uint64_t hash)
{
    return (uint32_t)(hash >> 40) % SHARD_COUNT;
}

enum err_code ids_add(struct ids *ids, enum id_kind kind, struct str key, uint32_t *ret_shard,
                      uint32_t *ret_subject, struct err *err)
{
    uint64_t hash = key_hash(ids, kind, key);
    const struct entry *entry = find(ids, kind, key, hash);
    if (entry == NULL) {
        ERR_TRY(add_new(ids, kind, key, hash, shard_of(hash), &entry, err));
    }
    *ret_shard = entry->shard;
    *ret_subject = entry->subject;
    return ERR_OK;
}

enum err_code ids_restore(struct ids *ids, const struct id_entry *wanted, struct err *err)
{
    if (wanted->key.len == 0 || wanted->key.len > USER_ID_BYTES_MAX ||
        wanted->shard >= SHARD_COUNT || (wanted->kind != ID_USER && wanted->kind != ID_ANONYMOUS)) {
        return err_set(err, ERR_CORRUPT, "an id of %zu bytes in shard %" PRIu32, wanted->key.len,
                       wanted->shard);
    }
    uint64_t hash = key_hash(ids, wanted->kind, wanted->key);
    const struct entry *entry = find(ids, wanted->kind, wanted->key, hash);
    if (entry == NULL) {
        ERR_TRY(add_new(ids, wanted->kind, wanted->key, hash, wanted->shard, &entry, err));
    }
    if (entry->shard != wanted->shard || entry->subject != wanted->subject) {
        return err_set(
            err, ERR_CORRUPT,
            "id \"" STR_FMT "\" is subject %u/%" PRIu32 ", expected %" PRIu32 "/%" PRIu32,
            STR_ARG(wanted->key), entry->shard, entry->subject, wanted->shard, wanted->subject);
    }
    return ERR_OK;
}

uint64_t ids_count(const struct ids *ids)
{
    return atomic_load_explicit(&ids->count, memory_order_acquire);
}

uint32_t ids_subjects(const struct ids *ids, uint32_t shard)
{
    return atomic_load_explicit(&ids->subjects[shard], memory_order_acquire);
}

struct id_entry ids_entry(const struct ids *ids, uint64_t idx)
{
    ASSERT(idx < ids_count(ids));
    const struct entry *entry = entry_at(ids, idx);
    return (struct id_entry){
        {entry->key, entry->len}, (enum id_kind)entry->kind, entry->shard, entry->subject};
}

/* ---- the file ---- */

static uint64_t chunk_checksum(const uint8_t *head, struct str payload, uint64_t before)
{
    return hash_str(payload, hash64(head, 16, before));
}

static enum err_code load_entries(struct ids *ids, struct str payload, uint32_t count,
                                  struct err *err)
{
    struct rd rd = rd_init(payload);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t kind = rd_u8(&rd);
        uint8_t shard = rd_u8(&rd);
        struct str key = rd_bytes(&rd, rd_u16(&rd));
        if (rd.is_bad || shard >= SHARD_COUNT) {
            return err_set(err, ERR_CORRUPT, "entry %" PRIu32 " is malformed", i);
        }
        struct id_entry entry = {key, (enum id_kind)kind, shard, ids_subjects(ids, shard)};
        ERR_TRY(ids_restore(ids, &entry, err));
    }
    if (!rd_at_end(&rd)) {
        return err_set(err, ERR_CORRUPT, "%zu bytes follow the last entry", rd_left(&rd));
    }
    return ERR_OK;
}

static enum err_code load_chunk(struct ids *ids, struct io *io, uint64_t off, uint64_t end,
                                struct buf *payload, uint64_t *ret_end, struct err *err)
{
    uint8_t head[CHUNK_HEAD_BYTES];
    if (end - off < CHUNK_HEAD_BYTES) {
        return err_set(err, ERR_CORRUPT, "no whole header");
    }
    ERR_TRY(io_read(io, ids->file, off, head, sizeof(head), err));
    struct rd rd = rd_init((struct str){(const char *)head, sizeof(head)});
    uint32_t magic = rd_u32(&rd);
    uint32_t count = rd_u32(&rd);
    uint64_t bytes = rd_u64(&rd);
    uint64_t checksum = rd_u64(&rd);
    if (magic != IDS_MAGIC || bytes > end - off - CHUNK_HEAD_BYTES || count > bytes) {
        return err_set(err, ERR_CORRUPT, "wrong header");
    }
    buf_clear(payload);
    uint8_t *at = buf_reserve(payload, (size_t)bytes);
    if (at == NULL) {
        return no_memory(err);
    }
    ERR_TRY(io_read(io, ids->file, off + CHUNK_HEAD_BYTES, at, (size_t)bytes, err));
    struct str text = {(const char *)at, (size_t)bytes};
    if (chunk_checksum(head, text, ids->durable_checksum) != checksum) {
        return err_set(err, ERR_CORRUPT, "checksum mismatch");
    }
    ERR_TRY(load_entries(ids, text, count, err));
    ids->durable_checksum = checksum;
    *ret_end = off + CHUNK_HEAD_BYTES + bytes;
    return ERR_OK;
}

static enum err_code load(struct ids *ids, struct io *io, struct ids_mark mark, struct err *err)
{
    CLEANUP(buf_freep) struct buf payload = {0};
    uint64_t off = 0;
    while (off < mark.bytes) {
        if (load_chunk(ids, io, off, mark.bytes, &payload, &off, err) != ERR_OK) {
            return err_context(err, "id directory \"%s\": at byte %" PRIu64, ids->path, off);
        }
    }
    if (ids_count(ids) != mark.count) {
        return err_set(err, ERR_CORRUPT,
                       "id directory \"%s\": %" PRIu64 " ids in %" PRIu64
                       " bytes, the catalog says %" PRIu64,
                       ids->path, ids_count(ids), mark.bytes, mark.count);
    }
    ids->durable = mark;
    ids->flushed = mark;
    ids->flushed_checksum = ids->durable_checksum;
    return ERR_OK;
}

enum err_code ids_open(struct io *io, const char *path, uint64_t seed, struct ids_mark mark,
                       bool is_read_only, struct ids **ret, uint64_t *ret_cut, struct err *err)
{
    CLEANUP(ids_closep) struct ids *ids = calloc(1, sizeof(*ids));
    if (ids == NULL) {
        return no_memory(err);
    }
    ids->seed = seed;
    ids->key_chunk_bytes = KEY_CHUNK_FIRST;
    ids->path = strdup(path);
    if (ids->path == NULL) {
        return no_memory(err);
    }
    *ret_cut = 0;
    enum err_code code = io_open(io, path, is_read_only ? IO_READ : IO_APPEND, &ids->file, err);
    if (code == ERR_NOT_FOUND && is_read_only && mark.bytes == 0) {
        *ret = TAKE(ids);
        return ERR_OK;
    }
    ERR_TRY(code);
    uint64_t size = 0;
    ERR_TRY(io_size(io, ids->file, &size, err));
    if (size < mark.bytes) {
        return err_set(err, ERR_CORRUPT,
                       "id directory \"%s\": %" PRIu64 " bytes, the catalog says %" PRIu64, path,
                       size, mark.bytes);
    }
    ERR_TRY(load(ids, io, mark, err));
    if (size > mark.bytes) {
        *ret_cut = size - mark.bytes;
        if (!is_read_only) {
            ERR_TRY(io_truncate(io, ids->file, mark.bytes, err));
            ERR_TRY(io_sync(io, ids->file, err));
        }
    }
    *ret = TAKE(ids);
    return ERR_OK;
}

void ids_close(struct ids *ids)
{
    if (ids == NULL) {
        return;
    }
    io_close(ids->file);
    free(ids->path);
    for (uint32_t i = 0; i < ENTRY_CHUNKS; i++) {
        free(ids->entries[i]);
    }
    for (uint32_t i = 0; i < SUB_COUNT; i++) {
        struct sub_table *sub = atomic_load(&ids->subs[i]);
        while (sub != NULL) {
            struct sub_table *older = sub->older;
            free(sub);
            sub = older;
        }
    }
    while (ids->keys != NULL) {
        struct key_chunk *older = ids->keys->older;
        free(ids->keys);
        ids->keys = older;
    }
    free(ids);
}

enum err_code ids_flush(struct ids *ids, struct io *io, uint64_t count, struct ids_mark *ret,
                        struct err *err)
{
    ASSERT(count <= ids_count(ids));
    if (count <= ids->durable.count) {
        *ret = ids->durable;
        ids->flushed = ids->durable;
        ids->flushed_checksum = ids->durable_checksum;
        return ERR_OK;
    }
    CLEANUP(buf_freep) struct buf chunk = {0};
    uint64_t new_count = count - ids->durable.count;
    buf_u32(&chunk, IDS_MAGIC);
    buf_u32(&chunk, (uint32_t)new_count);
    buf_u64(&chunk, 0);
    buf_u64(&chunk, 0);
    for (uint64_t i = ids->durable.count; i < count; i++) {
        const struct entry *entry = entry_at(ids, i);
        buf_u8(&chunk, entry->kind);
        buf_u8(&chunk, entry->shard);
        buf_u16(&chunk, entry->len);
        buf_append(&chunk, entry->key, entry->len);
    }
    ERR_TRY(buf_check(&chunk, err));
    wr_u64(chunk.ptr + 8, chunk.len - CHUNK_HEAD_BYTES);
    struct str payload = {(const char *)chunk.ptr + CHUNK_HEAD_BYTES, chunk.len - CHUNK_HEAD_BYTES};
    uint64_t checksum = chunk_checksum(chunk.ptr, payload, ids->durable_checksum);
    wr_u64(chunk.ptr + 16, checksum);
    ERR_TRY(io_write(io, ids->file, ids->durable.bytes, chunk.ptr, chunk.len, err));
    ERR_TRY(io_sync(io, ids->file, err));
    ids->flushed = (struct ids_mark){count, ids->durable.bytes + chunk.len};
    ids->flushed_checksum = checksum;
    *ret = ids->flushed;
    return ERR_OK;
}

void ids_confirm(struct ids *ids, struct ids_mark mark)
{
    ASSERT(mark.count == ids->flushed.count && mark.bytes == ids->flushed.bytes);
    ids->durable = ids->flushed;
    ids->durable_checksum = ids->flushed_checksum;
}
