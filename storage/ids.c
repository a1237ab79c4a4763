/* storage/ids.c - the id directory: numbers, and opening. The picture is in ids_int.h.
 *
 * An entry is written to the log's memory, then its slot to the table (release), then the counts
 * are raised (release): whoever finds the slot may read the entry, and whoever sees the count may
 * read the log up to it.
 */
#include "storage/ids_int.h"

#include <inttypes.h>
#include <stdlib.h>

#define SAMPLE_BASE_BITS 4u
#define AHEAD            16u /* keys whose places in the table are fetched together */

enum err_code ids_no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "no memory for the id directory");
}

char *ids_path_beside(const struct ids *ids, const char *ending)
{
    size_t len = strlen(ids->path);
    struct str path = {ids->path, len};
    size_t stem = str_ends(path, STR(".log")) ? len - 4 : len;
    char *beside = malloc(stem + strlen(ending) + 1);
    if (beside != NULL) {
        memcpy(beside, ids->path, stem);
        memcpy(beside + stem, ending, strlen(ending) + 1);
    }
    return beside;
}

struct ids_sample *ids_sample_at(const struct ids *ids, uint64_t idx)
{
    uint64_t at = 0;
    uint32_t chunk = ids_chunk_of(idx, SAMPLE_BASE_BITS, &at);
    return &ids->samples[chunk][at];
}

enum err_code ids_sample_room(struct ids *ids, uint64_t idx, struct err *err)
{
    uint64_t at = 0;
    uint32_t chunk = ids_chunk_of(idx, SAMPLE_BASE_BITS, &at);
    ASSERT(chunk < IDS_SAMPLE_CHUNKS);
    if (ids->samples[chunk] == NULL) {
        ids->samples[chunk] = malloc(sizeof(struct ids_sample) << (chunk + SAMPLE_BASE_BITS));
    }
    return ids->samples[chunk] == NULL ? ids_no_memory(err) : ERR_OK;
}

/* ---- finding and adding ---- */

bool ids_find(const struct ids *ids, enum id_kind kind, struct str key, uint32_t *ret_shard,
              uint32_t *ret_subject)
{
    uint64_t off = ids_table_find(ids, kind, key, ids_hash(ids, kind, key));
    if (off == IDS_NONE) {
        return false;
    }
    struct id_entry entry = ids_log_entry(&ids->log, off);
    *ret_shard = entry.shard;
    *ret_subject = entry.subject;
    return true;
}

/* The entry is at `off` of the log and its place in the table is free: count it. */
static void number(struct ids *ids, uint64_t hash, uint64_t off, const struct id_entry *entry)
{
    uint64_t idx = atomic_load_explicit(&ids->count, memory_order_relaxed);
    if (idx % (1u << IDS_SAMPLE_BITS) == 0) {
        struct ids_sample *sample = ids_sample_at(ids, idx >> IDS_SAMPLE_BITS);
        sample->off = off;
        for (uint32_t i = 0; i < SHARD_COUNT; i++) {
            sample->subjects[i] = atomic_load_explicit(&ids->subjects[i], memory_order_relaxed);
        }
    }
    ids_table_insert(ids, hash, off);
    if (id_kind_is_fact(entry->kind)) {
        atomic_fetch_add_explicit(&ids->facts, 1,
                                  memory_order_relaxed); /* published with the count */
    }
    atomic_store_explicit(&ids->subjects[entry->shard], entry->subject + 1, memory_order_release);
    atomic_store_explicit(&ids->count, idx + 1, memory_order_release);
}

static enum err_code number_room(struct ids *ids, uint64_t hash, struct err *err)
{
    uint64_t idx = atomic_load_explicit(&ids->count, memory_order_relaxed);
    ERR_TRY(ids_sample_room(ids, idx >> IDS_SAMPLE_BITS, err));
    return ids_table_room(ids, hash, err);
}

static enum err_code add_new(struct ids *ids, enum id_kind kind, struct str key, uint64_t hash,
                             uint32_t shard, struct id_entry *ret, struct err *err)
{
    uint32_t subject = atomic_load_explicit(&ids->subjects[shard], memory_order_relaxed);
    uint64_t off = 0;
    ASSERT(key.len > 0 && key.len <= USER_ID_BYTES_MAX);
    if (subject == UINT32_MAX) {
        return err_set(err, ERR_LIMIT, "the id directory is full: shard %" PRIu32, shard);
    }
    struct id_entry entry = {key, kind, shard, subject};
    ERR_TRY(number_room(ids, hash, err));
    ERR_TRY(ids_log_append(&ids->log, &entry, &off, err));
    number(ids, hash, off, &entry);
    *ret = entry;
    return ERR_OK;
}

static uint32_t shard_of(uint64_t hash)
{
    return (uint32_t)(hash >> 40) % SHARD_COUNT;
}

enum err_code ids_add(struct ids *ids, enum id_kind kind, struct str key, uint32_t *ret_shard,
                      uint32_t *ret_subject, struct err *err)
{
    struct id_entry entry;
    uint64_t hash = ids_hash(ids, kind, key);
    uint64_t off = ids_table_find(ids, kind, key, hash);
    if (off == IDS_NONE) {
        ERR_TRY(add_new(ids, kind, key, hash, shard_of(hash), &entry, err));
    } else {
        entry = ids_log_entry(&ids->log, off);
    }
    *ret_shard = entry.shard;
    *ret_subject = entry.subject;
    return ERR_OK;
}

static enum err_code check_entry(const struct id_entry *entry, struct err *err)
{
    bool is_fact = id_kind_is_fact(entry->kind);
    if (entry->key.len == 0 ||
        entry->key.len > (is_fact ? IDS_FACT_BYTES_MAX : USER_ID_BYTES_MAX) ||
        entry->shard >= SHARD_COUNT ||
        (entry->kind != ID_USER && entry->kind != ID_ANONYMOUS && !is_fact)) {
        return err_set(err, ERR_CORRUPT, "an id of %zu bytes in shard %" PRIu32, entry->key.len,
                       entry->shard);
    }
    return ERR_OK;
}

static enum err_code wrong_number(const struct id_entry *entry, uint32_t shard, uint32_t subject,
                                  struct err *err)
{
    return err_set(err, ERR_CORRUPT,
                   "id \"" STR_FMT "\" is subject %" PRIu32 "/%" PRIu32 ", expected %" PRIu32
                   "/%" PRIu32,
                   STR_ARG(entry->key), shard, subject, entry->shard, entry->subject);
}

enum err_code ids_restore(struct ids *ids, const struct id_entry *wanted, struct err *err)
{
    ERR_TRY(check_entry(wanted, err));
    struct id_entry entry;
    uint64_t hash = ids_hash(ids, wanted->kind, wanted->key);
    uint64_t off = ids_table_find(ids, wanted->kind, wanted->key, hash);
    if (off != IDS_NONE) {
        entry = ids_log_entry(&ids->log, off);
        return entry.shard == wanted->shard && entry.subject == wanted->subject
                   ? ERR_OK
                   : wrong_number(wanted, entry.shard, entry.subject, err);
    }
    uint32_t next = ids_subjects(ids, wanted->shard);
    if (next != wanted->subject) { /* before it is added: nothing wrong is kept */
        return wrong_number(wanted, wanted->shard, next, err);
    }
    return add_new(ids, wanted->kind, wanted->key, hash, wanted->shard, &entry, err);
}

uint64_t ids_count(const struct ids *ids)
{
    return atomic_load_explicit(&ids->count, memory_order_acquire);
}

uint64_t ids_facts(const struct ids *ids)
{
    return atomic_load_explicit(&ids->facts, memory_order_relaxed);
}

uint32_t ids_subjects(const struct ids *ids, uint32_t shard)
{
    return atomic_load_explicit(&ids->subjects[shard], memory_order_acquire);
}

/* ---- finding by number ---- */

struct id_cursor ids_cursor(const struct ids *ids, uint64_t first)
{
    struct id_cursor cursor = {.ids = ids, .idx = first, .end_idx = ids_count(ids)};
    if (first < cursor.end_idx) {
        cursor.off = ids_sample_at(ids, first >> IDS_SAMPLE_BITS)->off;
        for (uint64_t i = first & ~(uint64_t)((1u << IDS_SAMPLE_BITS) - 1); i < first; i++) {
            cursor.off = ids_log_after(&ids->log, cursor.off);
        }
    }
    return cursor;
}

bool id_cursor_next(struct id_cursor *cursor, struct id_entry *ret)
{
    if (cursor->idx >= cursor->end_idx) {
        return false;
    }
    *ret = ids_log_entry(&cursor->ids->log, cursor->off);
    if (++cursor->idx < cursor->end_idx) { /* behind the last one the writer may be writing */
        cursor->off = ids_log_after(&cursor->ids->log, cursor->off);
    }
    return true;
}

struct id_entry ids_entry(const struct ids *ids, uint64_t idx)
{
    struct id_entry entry;
    struct id_cursor cursor = ids_cursor(ids, idx);
    bool is_there = id_cursor_next(&cursor, &entry);
    ASSERT(is_there);
    return entry;
}

bool ids_find_key(const struct ids *ids, uint32_t shard, uint32_t subject, struct id_entry *ret)
{
    uint64_t count = ids_count(ids);
    uint64_t low = 0; /* the last sample before which the number was not taken */
    uint64_t high = (count + (1u << IDS_SAMPLE_BITS) - 1) >> IDS_SAMPLE_BITS;
    ASSERT(shard < SHARD_COUNT);
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if (ids_sample_at(ids, middle)->subjects[shard] <= subject) {
            low = middle;
        } else {
            high = middle;
        }
    }
    struct id_cursor cursor = ids_cursor(ids, low << IDS_SAMPLE_BITS);
    cursor.end_idx = MIN_OF(cursor.end_idx, (low + 1) << IDS_SAMPLE_BITS);
    struct id_entry entry;
    while (id_cursor_next(&cursor, &entry)) {
        if (entry.shard == shard && entry.subject == subject) {
            *ret = entry;
            return true;
        }
    }
    return false;
}

/* ---- opening ---- */

/* Keys of the log on their way into the table: some at a time, so that their places in it come from
 * memory side by side. They are the window's, so none waits beyond the end of its frame. */
struct ahead {
    uint32_t count;
    struct {
        struct id_entry entry;
        uint64_t hash, off;
    } waiting[AHEAD];
};

static enum err_code hash_waiting(struct ids *ids, struct ahead *ahead, struct err *err)
{
    for (uint32_t i = 0; i < ahead->count; i++) {
        const struct id_entry *entry = &ahead->waiting[i].entry;
        uint64_t hash = ahead->waiting[i].hash;
        uint32_t next = ids_subjects(ids, entry->shard);
        if (entry->subject != next) {
            return wrong_number(entry, entry->shard, next, err);
        }
        if (ids_table_find(ids, entry->kind, entry->key, hash) != IDS_NONE) {
            return err_set(err, ERR_CORRUPT, "id \"" STR_FMT "\" is there twice",
                           STR_ARG(entry->key));
        }
        ERR_TRY(number_room(ids, hash, err));
        number(ids, hash, ahead->waiting[i].off, entry);
        ids->hashed_count++;
    }
    ahead->count = 0;
    return ERR_OK;
}

static enum err_code hash_entry(struct ids *ids, void *arg, uint64_t off,
                                const struct id_entry *entry, struct err *err)
{
    struct ahead *ahead = arg;
    if (entry == NULL) {
        return hash_waiting(ids, ahead, err);
    }
    ERR_TRY(check_entry(entry, err));
    uint64_t hash = ids_hash(ids, entry->kind, entry->key);
    ids_table_prefetch(ids, hash);
    ahead->waiting[ahead->count].entry = *entry;
    ahead->waiting[ahead->count].hash = hash;
    ahead->waiting[ahead->count].off = off;
    return ++ahead->count == AHEAD ? hash_waiting(ids, ahead, err) : ERR_OK;
}

static void forget(struct ids *ids)
{
    ids_table_done(&ids->table);
    atomic_store(&ids->count, 0);
    atomic_store(&ids->facts, 0);
    for (uint32_t i = 0; i < SHARD_COUNT; i++) {
        atomic_store(&ids->subjects[i], 0);
    }
    ids->saved_bytes = IDS_NONE;
}

static enum err_code load(struct ids *ids, struct io *io, struct ids_mark mark, struct err *err)
{
    struct ids_seal from;
    bool fits = false;
    ERR_TRY(ids_log_map(&ids->log, io, mark.bytes, err));
    if (ids->is_hash_ignored) {
        from = (struct ids_seal){.chain = 0};
    } else {
        ERR_TRY(ids_hash_load(ids, io, mark, &from, err));
    }
    for (;;) {
        if (from.mark.count == 0 && mark.count > 0) {
            forget(ids);
            /* The count is the catalog's word: memory is taken for what the bytes can hold. */
            ERR_TRY(ids_table_reserve(ids, MIN_OF(mark.count, mark.bytes / 8), err));
        }
        struct ahead ahead = {.count = 0};
        ERR_TRY(ids_log_load(ids, io, mark, &from, hash_entry, &ahead, &fits, err));
        if (fits) {
            return ERR_OK;
        }
        from = (struct ids_seal){.chain = 0};
    }
}

static enum err_code open_file(struct ids *ids, struct io *io, struct ids_mark mark,
                               bool is_read_only, uint64_t *ret_cut, struct err *err)
{
    enum err_code code =
        io_open(io, ids->path, is_read_only ? IO_READ : IO_APPEND, &ids->log.file, err);
    if (code == ERR_NOT_FOUND && is_read_only && mark.bytes == 0) {
        return ERR_OK;
    }
    ERR_TRY(code);
    uint64_t size = 0;
    ERR_TRY(io_size(io, ids->log.file, &size, err));
    if (size < mark.bytes || mark.bytes >> IDS_LOG_BITS != 0) {
        return err_set(err, ERR_CORRUPT,
                       "id directory \"%s\": %" PRIu64 " bytes, the catalog says %" PRIu64,
                       ids->path, size, mark.bytes);
    }
    ERR_TRY(load(ids, io, mark, err));
    if (size > mark.bytes) {
        *ret_cut = size - mark.bytes;
        if (!is_read_only) {
            ERR_TRY(io_truncate(io, ids->log.file, mark.bytes, err));
            ERR_TRY(io_sync(io, ids->log.file, err));
        }
    }
    return ERR_OK;
}

enum err_code ids_open(struct io *io, const char *path, uint64_t seed, struct ids_mark mark,
                       bool is_read_only, struct ids **ret, uint64_t *ret_cut, struct err *err)
{
    return ids_open_as(io, path, seed, mark, is_read_only, false, ret, ret_cut, err);
}

enum err_code ids_open_as(struct io *io, const char *path, uint64_t seed, struct ids_mark mark,
                          bool is_read_only, bool is_hash_ignored, struct ids **ret,
                          uint64_t *ret_cut, struct err *err)
{
    CLEANUP(ids_closep) struct ids *ids = calloc(1, sizeof(*ids));
    if (ids == NULL) {
        return ids_no_memory(err);
    }
    ids->seed = seed;
    ids->is_hash_ignored = is_hash_ignored;
    ids->saved_bytes = IDS_NONE;
    ids->path = strdup(path);
    if (ids->path == NULL) {
        return ids_no_memory(err);
    }
    *ret_cut = 0;
    ERR_TRY(open_file(ids, io, mark, is_read_only, ret_cut, err));
    *ret = TAKE(ids);
    return ERR_OK;
}

void ids_close(struct ids *ids)
{
    if (ids == NULL) {
        return;
    }
    ids_table_done(&ids->table);
    ids_log_done(&ids->log);
    for (uint32_t i = 0; i < IDS_SAMPLE_CHUNKS; i++) {
        free(ids->samples[i]);
    }
    free(ids->path);
    free(ids);
}

struct ids_stats ids_stats(const struct ids *ids)
{
    struct ids_stats stats = {
        .hashed_count = ids->hashed_count,
        .table_bytes = ids->table.page_count * IDS_PAGE_BYTES,
        .sampled_bytes = ((ids_count(ids) >> IDS_SAMPLE_BITS) + 1) * sizeof(struct ids_sample),
    };
    return stats;
}
