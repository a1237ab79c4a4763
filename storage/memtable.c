/* storage/memtable.c - rows and sparse columns in chunks that never move.
 *
 * What every row has (subject, time, arrival, event name, ids) is one record of 40 bytes in its
 * shard's row vector: one cache line to append and to gather, and the ids of a row lie behind one
 * pointer. A property is a vector of entries (row, value) per shard, in order of rows, so a rare
 * property costs only its values. Vectors are geometric: chunk c has base << c elements, elements
 * never move, and a directory of a few pointers is all there is to grow.
 *
 *    shard --> rows     [r0 r1 r2 ...]                       published: a count, stored with
 * release
 *          --> columns  prop 7:  (row 0, v) (row 2, v) ...   entry count, stored with release
 *    memtable --> dictionaries, one per string column, shared by the shards; a byte arena
 *
 * Strings are codes of an insertion-ordered dictionary. A property whose dictionary grows past
 * DICT_VALUES_MAX while most of its values are new is not worth one: from that entry on the values
 * are plain bytes (`raw_from`), and a view that reaches that far shows the column as bytes.
 *
 * A view is a permutation: (subject, time, row) sorted by (subject, time, event_id bytes, row),
 * with both keys beside the row number, so that extending it by new rows is a merge over sequential
 * memory. The newest permutation of a shard is kept; the next view sorts only the rows since and
 * merges.
 *
 * Everything of an event is appended before its row is published, so a reader that has acquired a
 * row count finds all entries of those rows, and finds their end by binary search for the count.
 */
#include "storage/memtable.h"

#include "storage/base/hash.h"
#include "storage/base/size.h"

#include <pthread.h>
#include <stdlib.h>

#define ROW_BASE_BITS   8u /* first chunk of rows: 256 */
#define ENTRY_BASE_BITS 5u /* first chunk of a property's entries: 32 */
#define COL_BASE_BITS   6u
#define CVEC_CHUNKS     22u
#define ARENA_FIRST     (16u << 10)
#define ARENA_CHUNK     (1u << 20)
#define DICT_VALUES_MAX 16384u /* beyond this a column must earn its dictionary */
#define NO_ENTRY        UINT32_MAX

/* ---- chunked vector ---- */

struct cvec {
    /* Written once each by the writer. Readers reach a chunk only through a count they acquired. */
    void *chunks[CVEC_CHUNKS];
    uint32_t elem_bytes;
    uint32_t base_bits;
};

static uint32_t cvec_chunk_of(uint32_t idx, uint32_t base_bits, uint32_t *ret_off)
{
    uint32_t group = (idx >> base_bits) + 1;
    uint32_t chunk = 31u - (uint32_t)__builtin_clz(group);
    *ret_off = idx - (((1u << chunk) - 1u) << base_bits);
    return chunk;
}

static void *cvec_at(const struct cvec *vec, uint32_t idx)
{
    uint32_t off = 0;
    uint32_t chunk = cvec_chunk_of(idx, vec->base_bits, &off);
    return (char *)vec->chunks[chunk] + (size_t)off * vec->elem_bytes;
}

/* Elements from idx to the end of its chunk, for loops over contiguous runs. */
static uint32_t cvec_run(const struct cvec *vec, uint32_t idx)
{
    uint32_t off = 0;
    uint32_t chunk = cvec_chunk_of(idx, vec->base_bits, &off);
    return (1u << (chunk + vec->base_bits)) - off;
}

/* Place of element idx, where idx is the next one or was reached before; NULL without memory. */
static void *cvec_grow(struct cvec *vec, uint32_t idx)
{
    uint32_t off = 0;
    uint32_t chunk = cvec_chunk_of(idx, vec->base_bits, &off);
    ASSERT(chunk < CVEC_CHUNKS);
    if (vec->chunks[chunk] == NULL) {
        vec->chunks[chunk] = malloc((size_t)vec->elem_bytes << (chunk + vec->base_bits));
        if (vec->chunks[chunk] == NULL) {
            return NULL;
        }
    }
    return (char *)vec->chunks[chunk] + (size_t)off * vec->elem_bytes;
}

static void cvec_done(struct cvec *vec)
{
    for (uint32_t i = 0; i < CVEC_CHUNKS; i++) {
        free(vec->chunks[i]);
    }
}

/* ---- dictionary of insertion order ---- */

struct mem_values {
    struct mem_values *older; /* readers may still hold it */
    uint32_t cap;
    struct str strs[];
};

struct mem_dict {
    _Atomic uint32_t count;
    struct mem_values *_Atomic values;
    uint32_t *slots;  /* writer only: code + 1 */
    uint32_t *hashes; /* writer only, by code */
    uint32_t slot_count;
    uint64_t adds; /* values asked for: what the dictionary serves */
};

static void mem_dict_free(struct mem_dict *dict)
{
    if (dict == NULL) {
        return;
    }
    struct mem_values *values = atomic_load(&dict->values);
    while (values != NULL) {
        struct mem_values *older = values->older;
        free(values);
        values = older;
    }
    free(dict->slots);
    free(dict->hashes);
    free(dict);
}

/* ---- the memtable ---- */

struct mem_row {
    int64_t time_ms;
    int64_t arrival_ms;
    uint32_t subject;
    uint32_t name_code;
    const char *ids; /* event_id, user_id, anonymous_id, one after another */
    uint16_t event_id_len, user_id_len, anonymous_id_len;
};

struct mem_entry {
    uint32_t row;
    uint32_t aux; /* string: code, or length; number: scale; list: count */
    union {
        int64_t i64;      /* number, bool, timestamp */
        const char *text; /* string from raw_from on */
        uint64_t first;   /* list: first of its codes in items */
    };
};

struct mem_col {
    _Atomic uint32_t count;    /* entries; release after the entry is written */
    _Atomic uint32_t raw_from; /* first entry that is plain bytes; NO_ENTRY */
    struct cvec entries;
    struct cvec items; /* u32 codes of lists */
    uint32_t item_count;
};

struct perm_entry {
    int64_t time_ms;
    uint32_t subject;
    uint32_t row;
};

struct perm {
    _Atomic uint32_t refs;
    uint32_t count;
    int64_t time_min_ms, time_max_ms;
    int64_t *zones;           /* min, max of each block */
    uint32_t *_Atomic places; /* row -> place in the permutation, made when first needed */
    struct perm_entry entries[];
};

struct mem_shard {
    _Atomic uint32_t published;
    uint32_t rows; /* writer only */
    struct cvec row_vec;
    struct cvec cols; /* struct mem_col *_Atomic, by property */
    uint32_t col_cap; /* writer only: columns below it have a place */
    _Atomic uint32_t col_limit;
    pthread_mutex_t perm_lock; /* guards perm, and the sorting of the next one */
    struct perm *perm;
};

struct mem_arena_chunk {
    struct mem_arena_chunk *older;
    char bytes[];
};

struct memtable {
    _Atomic uint32_t refs;
    const struct schema *schema;
    uint64_t identity_version;
    _Atomic uint64_t bytes;
    _Atomic uint64_t rows_published;
    uint64_t rows;
    struct mem_arena_chunk *arena;
    char *arena_next;
    size_t arena_left;
    size_t arena_chunk_bytes;
    struct mem_dict *names;
    struct cvec dicts; /* struct mem_dict *_Atomic, by property */
    uint32_t dict_cap;
    _Atomic uint32_t dict_limit;
    struct mem_shard shards[SHARD_COUNT];
};

static void add_bytes(struct memtable *memtable, uint64_t more)
{
    /* One writer: a plain add, readable from anywhere. */
    uint64_t now = atomic_load_explicit(&memtable->bytes, memory_order_relaxed);
    atomic_store_explicit(&memtable->bytes, now + more, memory_order_relaxed);
}

static enum err_code no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "no memory for a memtable");
}

static char *arena_take(struct memtable *memtable, size_t len)
{
    if (len > memtable->arena_left) {
        size_t want = MAX_OF(len, memtable->arena_chunk_bytes);
        struct mem_arena_chunk *chunk = malloc(sizeof(*chunk) + want);
        if (chunk == NULL) {
            return NULL;
        }
        chunk->older = memtable->arena;
        memtable->arena = chunk;
        memtable->arena_next = chunk->bytes;
        memtable->arena_left = want;
        memtable->arena_chunk_bytes = MIN_OF(memtable->arena_chunk_bytes * 2, ARENA_CHUNK);
    }
    char *at = memtable->arena_next;
    memtable->arena_next += len;
    memtable->arena_left -= len;
    add_bytes(memtable, len);
    return at;
}

static struct mem_dict *mem_dict_create(void)
{
    return calloc(1, sizeof(struct mem_dict));
}

static enum err_code mem_dict_room(struct mem_dict *dict, struct err *err)
{
    uint32_t count = atomic_load_explicit(&dict->count, memory_order_relaxed);
    struct mem_values *values = atomic_load_explicit(&dict->values, memory_order_relaxed);
    if (values != NULL && count < values->cap) {
        return ERR_OK;
    }
    uint32_t cap = values == NULL ? 16 : values->cap * 2;
    struct mem_values *grown = malloc(sizeof(*grown) + cap * sizeof(grown->strs[0]));
    uint32_t *slots = calloc((size_t)cap * 2, sizeof(*slots));
    uint32_t *hashes = realloc(dict->hashes, cap * sizeof(*hashes));
    if (hashes != NULL) {
        dict->hashes = hashes;
    }
    if (grown == NULL || slots == NULL || hashes == NULL) {
        free(grown);
        free(slots);
        return no_memory(err);
    }
    uint32_t mask = cap * 2 - 1;
    for (uint32_t code = 0; code < count; code++) {
        uint32_t slot = hashes[code] & mask;
        while (slots[slot] != 0) {
            slot = (slot + 1) & mask;
        }
        slots[slot] = code + 1;
    }
    if (count > 0) {
        memcpy(grown->strs, values->strs, count * sizeof(grown->strs[0]));
    }
    grown->older = values;
    grown->cap = cap;
    free(dict->slots);
    dict->slots = slots;
    dict->slot_count = cap * 2;
    /* release: pairs with the acquire in view_dict, before any count that needs the new array */
    atomic_store_explicit(&dict->values, grown, memory_order_release);
    return ERR_OK;
}

/* Code of a value, added when new. */
static enum err_code mem_dict_code(struct memtable *memtable, struct mem_dict *dict,
                                   struct str value, uint32_t *ret_code, struct err *err)
{
    dict->adds++;
    uint32_t hash = (uint32_t)hash_str(value, 0);
    struct mem_values *values = atomic_load_explicit(&dict->values, memory_order_relaxed);
    if (dict->slot_count > 0) {
        uint32_t mask = dict->slot_count - 1;
        for (uint32_t slot = hash & mask; dict->slots[slot] != 0; slot = (slot + 1) & mask) {
            uint32_t code = dict->slots[slot] - 1;
            if (dict->hashes[code] == hash && str_eq(values->strs[code], value)) {
                *ret_code = code;
                return ERR_OK;
            }
        }
    }
    ERR_TRY(mem_dict_room(dict, err));
    char *copy = arena_take(memtable, value.len);
    if (copy == NULL) {
        return no_memory(err);
    }
    if (value.len > 0) {
        memcpy(copy, value.ptr, value.len);
    }
    values = atomic_load_explicit(&dict->values, memory_order_relaxed);
    uint32_t code = atomic_load_explicit(&dict->count, memory_order_relaxed);
    values->strs[code] = (struct str){copy, value.len};
    dict->hashes[code] = hash;
    uint32_t mask = dict->slot_count - 1;
    uint32_t slot = hash & mask;
    while (dict->slots[slot] != 0) {
        slot = (slot + 1) & mask;
    }
    dict->slots[slot] = code + 1;
    atomic_store_explicit(&dict->count, code + 1, memory_order_release);
    add_bytes(memtable, sizeof(struct str) + 16);
    *ret_code = code;
    return ERR_OK;
}

/* ---- life ---- */

enum err_code memtable_create(const struct schema *schema, uint64_t identity_version,
                              struct memtable **ret, struct err *err)
{
    struct memtable *memtable = calloc(1, sizeof(*memtable));
    struct mem_dict *names = memtable == NULL ? NULL : mem_dict_create();
    if (names == NULL) {
        free(memtable);
        return no_memory(err);
    }
    atomic_init(&memtable->refs, 1);
    memtable->schema = schema;
    memtable->identity_version = identity_version;
    memtable->names = names;
    memtable->arena_chunk_bytes = ARENA_FIRST;
    memtable->dicts.elem_bytes = sizeof(struct mem_dict * _Atomic);
    memtable->dicts.base_bits = COL_BASE_BITS;
    for (uint32_t i = 0; i < SHARD_COUNT; i++) {
        struct mem_shard *shard = &memtable->shards[i];
        shard->row_vec.elem_bytes = sizeof(struct mem_row);
        shard->row_vec.base_bits = ROW_BASE_BITS;
        shard->cols.elem_bytes = sizeof(struct mem_col * _Atomic);
        shard->cols.base_bits = COL_BASE_BITS;
        pthread_mutex_init(&shard->perm_lock, NULL);
    }
    *ret = memtable;
    return ERR_OK;
}

struct memtable *memtable_ref(struct memtable *memtable)
{
    atomic_fetch_add_explicit(&memtable->refs, 1, memory_order_relaxed);
    return memtable;
}

static void perm_unref(struct perm *perm)
{
    if (perm != NULL && atomic_fetch_sub_explicit(&perm->refs, 1, memory_order_acq_rel) == 1) {
        free(atomic_load(&perm->places));
        free(perm->zones);
        free(perm);
    }
}

static void shard_done(struct mem_shard *shard)
{
    for (uint32_t prop = 0; prop < shard->col_cap; prop++) {
        struct mem_col *_Atomic *at = cvec_at(&shard->cols, prop);
        struct mem_col *col = atomic_load(at);
        if (col != NULL) {
            cvec_done(&col->entries);
            cvec_done(&col->items);
            free(col);
        }
    }
    cvec_done(&shard->cols);
    cvec_done(&shard->row_vec);
    perm_unref(shard->perm);
    pthread_mutex_destroy(&shard->perm_lock);
}

void memtable_unref(struct memtable *memtable)
{
    if (memtable == NULL ||
        atomic_fetch_sub_explicit(&memtable->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    for (uint32_t i = 0; i < SHARD_COUNT; i++) {
        shard_done(&memtable->shards[i]);
    }
    for (uint32_t prop = 0; prop < memtable->dict_cap; prop++) {
        struct mem_dict *_Atomic *at = cvec_at(&memtable->dicts, prop);
        mem_dict_free(atomic_load(at));
    }
    cvec_done(&memtable->dicts);
    mem_dict_free(memtable->names);
    while (memtable->arena != NULL) {
        struct mem_arena_chunk *older = memtable->arena->older;
        free(memtable->arena);
        memtable->arena = older;
    }
    free(memtable);
}

/* ---- appending ---- */

/* Make places for pointers up to and including idx, all NULL; the limit is what readers may look
 * at. */
static enum err_code pointers_grow(struct cvec *vec, uint32_t idx, uint32_t *cap,
                                   _Atomic uint32_t *limit, struct err *err)
{
    while (*cap <= idx) {
        uint32_t run = cvec_run(vec, *cap);
        void *at = cvec_grow(vec, *cap);
        if (at == NULL) {
            return no_memory(err);
        }
        memset(at, 0, (size_t)run * vec->elem_bytes);
        *cap += run;
        atomic_store_explicit(limit, *cap, memory_order_release);
    }
    return ERR_OK;
}

static enum err_code shard_col(struct memtable *memtable, struct mem_shard *shard, uint32_t prop,
                               struct mem_col **ret, struct err *err)
{
    if (prop >= shard->col_cap) {
        ERR_TRY(pointers_grow(&shard->cols, prop, &shard->col_cap, &shard->col_limit, err));
    }
    struct mem_col *_Atomic *at = cvec_at(&shard->cols, prop);
    struct mem_col *col = atomic_load_explicit(at, memory_order_relaxed);
    if (col == NULL) {
        col = calloc(1, sizeof(*col));
        if (col == NULL) {
            return no_memory(err);
        }
        atomic_init(&col->raw_from, NO_ENTRY);
        col->entries.elem_bytes = sizeof(struct mem_entry);
        col->entries.base_bits = ENTRY_BASE_BITS;
        col->items.elem_bytes = sizeof(uint32_t);
        col->items.base_bits = ENTRY_BASE_BITS;
        add_bytes(memtable, sizeof(*col));
        atomic_store_explicit(at, col, memory_order_release);
    }
    *ret = col;
    return ERR_OK;
}

static enum err_code prop_dict(struct memtable *memtable, uint32_t prop, struct mem_dict **ret,
                               struct err *err)
{
    if (prop >= memtable->dict_cap) {
        ERR_TRY(
            pointers_grow(&memtable->dicts, prop, &memtable->dict_cap, &memtable->dict_limit, err));
    }
    struct mem_dict *_Atomic *at = cvec_at(&memtable->dicts, prop);
    struct mem_dict *dict = atomic_load_explicit(at, memory_order_relaxed);
    if (dict == NULL) {
        dict = mem_dict_create();
        if (dict == NULL) {
            return no_memory(err);
        }
        atomic_store_explicit(at, dict, memory_order_release);
    }
    *ret = dict;
    return ERR_OK;
}

static bool dict_is_wasteful(const struct mem_dict *dict)
{
    uint32_t count = atomic_load_explicit(&dict->count, memory_order_relaxed);
    return count >= DICT_VALUES_MAX && (uint64_t)count * 2 > dict->adds;
}

static enum err_code put_string(struct memtable *memtable, struct mem_col *col, uint32_t prop,
                                struct str value, struct mem_entry *entry, struct err *err)
{
    struct mem_dict *dict = NULL;
    ERR_TRY(prop_dict(memtable, prop, &dict, err));
    bool is_raw = atomic_load_explicit(&col->raw_from, memory_order_relaxed) != NO_ENTRY;
    if (!is_raw && !dict_is_wasteful(dict)) {
        return mem_dict_code(memtable, dict, value, &entry->aux, err);
    }
    if (!is_raw) {
        atomic_store_explicit(&col->raw_from,
                              atomic_load_explicit(&col->count, memory_order_relaxed),
                              memory_order_relaxed); /* published by the entry's count */
    }
    char *copy = arena_take(memtable, value.len);
    if (copy == NULL || value.len > UINT32_MAX) {
        return no_memory(err);
    }
    if (value.len > 0) {
        memcpy(copy, value.ptr, value.len);
    }
    entry->aux = (uint32_t)value.len;
    entry->text = copy;
    return ERR_OK;
}

static enum err_code put_list(struct memtable *memtable, struct mem_col *col, uint32_t prop,
                              const struct event_batch *batch, const struct prop *value,
                              struct mem_entry *entry, struct err *err)
{
    struct mem_dict *dict = NULL;
    ERR_TRY(prop_dict(memtable, prop, &dict, err));
    entry->first = col->item_count;
    entry->aux = value->list.count;
    for (uint32_t i = 0; i < value->list.count; i++) {
        uint32_t *item = cvec_grow(&col->items, col->item_count);
        if (item == NULL) {
            return no_memory(err);
        }
        ERR_TRY(mem_dict_code(memtable, dict, batch->list_items[value->list.first + i], item, err));
        col->item_count++;
    }
    add_bytes(memtable, value->list.count * sizeof(uint32_t));
    return ERR_OK;
}

static enum err_code put_prop(struct memtable *memtable, struct mem_shard *shard, uint32_t row,
                              const struct event_batch *batch, const struct prop *value,
                              uint32_t prop, struct err *err)
{
    struct mem_col *col = NULL;
    ERR_TRY(shard_col(memtable, shard, prop, &col, err));
    uint32_t idx = atomic_load_explicit(&col->count, memory_order_relaxed);
    struct mem_entry *entry = cvec_grow(&col->entries, idx);
    if (entry == NULL) {
        return no_memory(err);
    }
    *entry = (struct mem_entry){.row = row};
    switch (value->type) {
    case COL_STRING: ERR_TRY(put_string(memtable, col, prop, value->string, entry, err)); break;
    case COL_NUMBER:
        entry->i64 = value->number.m;
        entry->aux = value->number.scale;
        break;
    case COL_BOOL: entry->i64 = value->boolean ? 1 : 0; break;
    case COL_TIME: entry->i64 = value->ts_ms; break;
    case COL_LIST: ERR_TRY(put_list(memtable, col, prop, batch, value, entry, err)); break;
    }
    atomic_store_explicit(&col->count, idx + 1, memory_order_release);
    return ERR_OK;
}

enum err_code memtable_append(struct memtable *memtable, uint32_t shard_idx, uint32_t subject,
                              const struct event_batch *batch, const struct event *event,
                              int64_t arrival_ms, const uint32_t *prop_cols, struct err *err)
{
    ASSERT(shard_idx < SHARD_COUNT);
    ASSERT(memtable->rows < MEMTABLE_ROWS_MAX);
    ASSERT(event->event_id.len <= EVENT_ID_BYTES_MAX && event->user_id.len <= USER_ID_BYTES_MAX &&
           event->anonymous_id.len <= USER_ID_BYTES_MAX);
    struct mem_shard *shard = &memtable->shards[shard_idx];
    struct mem_row *row = cvec_grow(&shard->row_vec, shard->rows);
    char *ids =
        arena_take(memtable, event->event_id.len + event->user_id.len + event->anonymous_id.len);
    if (row == NULL || ids == NULL) {
        return no_memory(err);
    }
    *row = (struct mem_row){.time_ms = event->time_ms,
                            .arrival_ms = arrival_ms,
                            .subject = subject,
                            .ids = ids,
                            .event_id_len = (uint16_t)event->event_id.len,
                            .user_id_len = (uint16_t)event->user_id.len,
                            .anonymous_id_len = (uint16_t)event->anonymous_id.len};
    struct str parts[3] = {event->event_id, event->user_id, event->anonymous_id};
    for (uint32_t i = 0; i < 3; i++) {
        if (parts[i].len > 0) {
            memcpy(ids, parts[i].ptr, parts[i].len);
            ids += parts[i].len;
        }
    }
    ERR_TRY(mem_dict_code(memtable, memtable->names, event->name, &row->name_code, err));
    for (uint32_t i = 0; i < event->prop_count; i++) {
        const struct prop *prop = &batch->props[event->prop_first + i];
        ERR_TRY(put_prop(memtable, shard, shard->rows, batch, prop, prop_cols[i], err));
    }
    add_bytes(memtable, sizeof(*row) + event->prop_count * sizeof(struct mem_entry));
    shard->rows++;
    memtable->rows++;
    return ERR_OK;
}

void memtable_publish(struct memtable *memtable)
{
    for (uint32_t i = 0; i < SHARD_COUNT; i++) {
        struct mem_shard *shard = &memtable->shards[i];
        /* release: pairs with memtable_counts; the rows and all their entries come before it */
        atomic_store_explicit(&shard->published, shard->rows, memory_order_release);
    }
    atomic_store_explicit(&memtable->rows_published, memtable->rows, memory_order_release);
}

uint64_t memtable_rows(const struct memtable *memtable)
{
    return atomic_load_explicit(&memtable->rows_published, memory_order_acquire);
}

uint64_t memtable_bytes(const struct memtable *memtable)
{
    return atomic_load_explicit(&memtable->bytes, memory_order_relaxed);
}

void memtable_counts(const struct memtable *memtable, uint32_t out_rows[SHARD_COUNT])
{
    for (uint32_t i = 0; i < SHARD_COUNT; i++) {
        out_rows[i] = atomic_load_explicit(&memtable->shards[i].published, memory_order_acquire);
    }
}

/* ---- the permutation ---- */

static const struct mem_row *row_at(const struct mem_shard *shard, uint32_t row)
{
    return cvec_at(&shard->row_vec, row);
}

static int perm_cmp(const struct perm_entry *a, const struct perm_entry *b,
                    const struct mem_shard *shard)
{
    if (a->subject != b->subject) {
        return a->subject < b->subject ? -1 : 1;
    }
    if (a->time_ms != b->time_ms) {
        return a->time_ms < b->time_ms ? -1 : 1;
    }
    const struct mem_row *x = row_at(shard, a->row);
    const struct mem_row *y = row_at(shard, b->row);
    int order =
        str_cmp((struct str){x->ids, x->event_id_len}, (struct str){y->ids, y->event_id_len});
    return order != 0 ? order : (a->row > b->row) - (a->row < b->row);
}

static int perm_cmp_qsort(const void *a, const void *b, void *shard)
{
    return perm_cmp(a, b, shard);
}

/* First place in run[begin, end) whose entry is greater than `key`, looked for in growing steps. */
static uint32_t gallop(const struct perm_entry *run, uint32_t begin, uint32_t end,
                       const struct perm_entry *key, const struct mem_shard *shard)
{
    uint32_t step = 1;
    uint32_t low = begin;
    while (step < end - low && perm_cmp(&run[low + step - 1], key, shard) < 0) {
        low += step;
        step *= 2;
    }
    uint32_t high = MIN_OF(end, low + step);
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (perm_cmp(&run[mid], key, shard) < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

static void merge_tail(const struct perm_entry *old, uint32_t old_count,
                       const struct perm_entry *tail, uint32_t tail_count, struct perm_entry *out,
                       const struct mem_shard *shard)
{
    uint32_t taken = 0;
    for (uint32_t i = 0; i < tail_count; i++) {
        uint32_t until = gallop(old, taken, old_count, &tail[i], shard);
        memcpy(out, old + taken, (until - taken) * sizeof(*out));
        out += until - taken;
        taken = until;
        *out++ = tail[i];
    }
    memcpy(out, old + taken, (old_count - taken) * sizeof(*out));
}

static struct perm *perm_create(uint32_t count)
{
    uint32_t blocks = (count + BLOCK_ROWS - 1) / BLOCK_ROWS;
    struct perm *perm = malloc(sizeof(*perm) + (size_t)count * sizeof(perm->entries[0]));
    int64_t *zones = malloc(blocks * 2 * sizeof(*zones));
    if (perm == NULL || zones == NULL) {
        free(perm);
        free(zones);
        return NULL;
    }
    atomic_init(&perm->refs, 1);
    atomic_init(&perm->places, NULL);
    perm->count = count;
    perm->zones = zones;
    return perm;
}

static void perm_zones(struct perm *perm)
{
    perm->time_min_ms = INT64_MAX;
    perm->time_max_ms = INT64_MIN;
    for (uint32_t begin = 0; begin < perm->count; begin += BLOCK_ROWS) {
        uint32_t end = MIN_OF(perm->count, begin + BLOCK_ROWS);
        int64_t low = INT64_MAX, high = INT64_MIN;
        for (uint32_t i = begin; i < end; i++) {
            low = MIN_OF(low, perm->entries[i].time_ms);
            high = MAX_OF(high, perm->entries[i].time_ms);
        }
        perm->zones[begin / BLOCK_ROWS * 2] = low;
        perm->zones[begin / BLOCK_ROWS * 2 + 1] = high;
        perm->time_min_ms = MIN_OF(perm->time_min_ms, low);
        perm->time_max_ms = MAX_OF(perm->time_max_ms, high);
    }
}

/* The permutation of rows [0, count), from `known` (of some other count, may be NULL). */
static struct perm *perm_build(struct mem_shard *shard, const struct perm *known, uint32_t count)
{
    struct perm *perm = perm_create(count);
    if (perm == NULL) {
        return NULL;
    }
    if (known != NULL && known->count > count) {
        uint32_t kept = 0; /* an older moment: leave out what came later */
        for (uint32_t i = 0; i < known->count; i++) {
            if (known->entries[i].row < count) {
                perm->entries[kept++] = known->entries[i];
            }
        }
        ASSERT(kept == count);
        perm_zones(perm);
        return perm;
    }
    uint32_t old_count = known == NULL ? 0 : known->count;
    uint32_t tail_count = count - old_count;
    struct perm_entry *tail = perm->entries;
    if (old_count > 0) {
        tail = malloc((size_t)tail_count * sizeof(*tail));
        if (tail == NULL) {
            perm_unref(perm);
            return NULL;
        }
    }
    for (uint32_t i = 0; i < tail_count; i++) {
        const struct mem_row *row = row_at(shard, old_count + i);
        tail[i] = (struct perm_entry){row->time_ms, row->subject, old_count + i};
    }
    qsort_r(tail, tail_count, sizeof(*tail), perm_cmp_qsort, shard);
    if (old_count > 0) {
        merge_tail(known->entries, old_count, tail, tail_count, perm->entries, shard);
        free(tail);
    }
    perm_zones(perm);
    return perm;
}

/* ---- views ---- */

struct view_dict {
    struct view_dict *next;
    uint32_t col;
    struct dict dict;
};

struct memtable_view {
    struct source source; /* first: ops cast back */
    struct memtable *memtable;
    struct mem_shard *shard;
    struct perm *perm;
    struct view_dict *_Atomic dicts; /* handed out once per column, so pointers stay equal */
};

static const struct memtable_view *view_of(const struct source *source)
{
    return (const struct memtable_view *)source;
}

static const struct source_ops view_ops;

enum err_code memtable_view_at(struct memtable *memtable, uint32_t shard_idx, uint32_t row_count,
                               struct memtable_view **ret, struct err *err)
{
    struct mem_shard *shard = &memtable->shards[shard_idx];
    /* acquire: pairs with memtable_publish */
    ASSERT(row_count <= atomic_load_explicit(&shard->published, memory_order_acquire));
    if (row_count == 0) {
        *ret = NULL;
        return ERR_OK;
    }
    struct memtable_view *view = calloc(1, sizeof(*view));
    if (view == NULL) {
        return no_memory(err);
    }
    pthread_mutex_lock(&shard->perm_lock);
    struct perm *perm = shard->perm;
    if (perm == NULL || perm->count != row_count) {
        perm = perm_build(shard, shard->perm, row_count);
        if (perm != NULL && (shard->perm == NULL || shard->perm->count < row_count)) {
            perm_unref(shard->perm);
            shard->perm = perm;
        }
    }
    if (perm != NULL && perm == shard->perm) {
        atomic_fetch_add_explicit(&perm->refs, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&shard->perm_lock);
    if (perm == NULL) {
        free(view);
        return no_memory(err);
    }
    view->memtable = memtable_ref(memtable);
    view->shard = shard;
    view->perm = perm;
    view->source = (struct source){
        .ops = &view_ops,
        .shard = shard_idx,
        .row_count = row_count,
        .block_count = (row_count + BLOCK_ROWS - 1) / BLOCK_ROWS,
        .time_min_ms = perm->time_min_ms,
        .time_max_ms = perm->time_max_ms,
        .subject_first = perm->entries[0].subject,
        .subject_last = perm->entries[row_count - 1].subject,
        .is_memory = true,
        .identity_version = memtable->identity_version,
        .bytes = row_count * (uint64_t)sizeof(struct mem_row),
    };
    *ret = view;
    return ERR_OK;
}

enum err_code memtable_view(struct memtable *memtable, uint32_t shard, struct memtable_view **ret,
                            struct err *err)
{
    uint32_t rows = atomic_load_explicit(&memtable->shards[shard].published, memory_order_acquire);
    return memtable_view_at(memtable, shard, rows, ret, err);
}

void memtable_view_unref(struct memtable_view *view)
{
    if (view == NULL) {
        return;
    }
    struct view_dict *dict = atomic_load(&view->dicts);
    while (dict != NULL) {
        struct view_dict *next = dict->next;
        free(dict);
        dict = next;
    }
    perm_unref(view->perm);
    memtable_unref(view->memtable);
    free(view);
}

const struct source *memtable_view_source(const struct memtable_view *view)
{
    return &view->source;
}

/* ---- reading through a view ---- */

static const struct mem_col *view_col(const struct memtable_view *view, uint32_t prop)
{
    const struct mem_shard *shard = view->shard;
    if (prop >= atomic_load_explicit(&shard->col_limit, memory_order_acquire)) {
        return NULL;
    }
    struct mem_col *_Atomic *at = cvec_at(&shard->cols, prop);
    return atomic_load_explicit(at, memory_order_acquire);
}

/* Entries of the view's rows: those in order of rows come first. */
static uint32_t col_entries(const struct memtable_view *view, const struct mem_col *col)
{
    uint32_t low = 0;
    /* acquire: pairs with the release in put_prop */
    uint32_t high = atomic_load_explicit(&col->count, memory_order_acquire);
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        const struct mem_entry *entry = cvec_at(&col->entries, mid);
        if (entry->row < view->source.row_count) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

/* Whether the view shows a string column as bytes: depends on the view's rows only. */
static bool col_is_raw(const struct mem_col *col, uint32_t entry_count)
{
    return atomic_load_explicit(&col->raw_from, memory_order_relaxed) < entry_count;
}

static const struct mem_dict *col_mem_dict(const struct memtable_view *view, uint32_t col)
{
    const struct memtable *memtable = view->memtable;
    if (col == COL_EVENT_NAME) {
        return memtable->names;
    }
    uint32_t prop = col - COL_FIRST_PROP;
    if (col < COL_FIRST_PROP ||
        prop >= atomic_load_explicit(&memtable->dict_limit, memory_order_acquire)) {
        return NULL;
    }
    struct mem_dict *_Atomic *at = cvec_at(&memtable->dicts, prop);
    return atomic_load_explicit(at, memory_order_acquire);
}

/* The dictionary as this view shows it: fixed when first asked for, the same pointer ever after. */
static enum err_code view_dict(const struct memtable_view *const_view, uint32_t col,
                               const struct dict **ret, struct err *err)
{
    struct memtable_view *view = (struct memtable_view *)(uintptr_t)const_view; /* a cache in it */
    const struct mem_dict *mem_dict = col_mem_dict(view, col);
    if (mem_dict == NULL) {
        *ret = NULL;
        return ERR_OK;
    }
    struct view_dict *head = atomic_load_explicit(&view->dicts, memory_order_acquire);
    struct view_dict *made = NULL;
    for (;;) {
        for (struct view_dict *held = head; held != NULL; held = held->next) {
            if (held->col == col) {
                free(made);
                *ret = &held->dict;
                return ERR_OK;
            }
        }
        if (made == NULL) {
            made = calloc(1, sizeof(*made));
            if (made == NULL) {
                return no_memory(err);
            }
            made->col = col;
            /* Count before array: whichever array is seen then holds that many. */
            made->dict.count = atomic_load_explicit(&mem_dict->count, memory_order_acquire);
            struct mem_values *values =
                atomic_load_explicit(&mem_dict->values, memory_order_acquire);
            made->dict.values = values == NULL ? NULL : values->strs;
        }
        made->next = head;
        if (atomic_compare_exchange_weak_explicit(&view->dicts, &head, made, memory_order_acq_rel,
                                                  memory_order_acquire)) {
            *ret = &made->dict;
            return ERR_OK;
        }
    }
}

static enum err_code op_dict(const struct source *source, struct read_ctx *ctx, uint32_t col,
                             const struct dict **ret, struct err *err)
{
    const struct memtable_view *view = view_of(source);
    if (col >= COL_FIRST_PROP) {
        const struct mem_col *mem_col = view_col(view, col - COL_FIRST_PROP);
        uint32_t entries = mem_col == NULL ? 0 : col_entries(view, mem_col);
        if (entries == 0 || col_is_raw(mem_col, entries)) {
            *ret = NULL;
            return ERR_OK;
        }
    }
    return view_dict(view, col, ret, err);
}

static enum err_code read_ids(const struct memtable_view *view, struct read_ctx *ctx, uint32_t col,
                              uint32_t block, struct vec *vec, struct err *err)
{
    const struct perm_entry *entries = view->perm->entries + (size_t)block * BLOCK_ROWS;
    uint64_t *present = NULL;
    uint32_t *offs = NULL;
    char *bytes = NULL;
    size_t total = 0;
    ERR_TRY(ARENA_NEW(ctx->arena, (vec->rows + 63) / 64, &present, err));
    ERR_TRY(ARENA_NEW(ctx->arena, (size_t)vec->rows + 1, &offs, err));
    for (uint32_t i = 0; i < vec->rows; i++) {
        const struct mem_row *row = row_at(view->shard, entries[i].row);
        total += col == COL_EVENT_ID  ? row->event_id_len
                 : col == COL_USER_ID ? row->user_id_len
                                      : row->anonymous_id_len;
    }
    ERR_TRY(arena_alloc_raw(ctx->arena, total, (void **)&bytes, err));
    uint32_t count = 0;
    uint32_t off = 0;
    for (uint32_t i = 0; i < vec->rows; i++) {
        const struct mem_row *row = row_at(view->shard, entries[i].row);
        struct str id = {row->ids, row->event_id_len};
        if (col != COL_EVENT_ID) {
            id = (struct str){row->ids + row->event_id_len, row->user_id_len};
        }
        if (col == COL_ANONYMOUS_ID) {
            id = (struct str){id.ptr + id.len, row->anonymous_id_len};
        }
        if (id.len == 0) {
            continue;
        }
        memcpy(bytes + off, id.ptr, id.len);
        off += (uint32_t)id.len;
        present[i / 64] |= 1ULL << (i % 64);
        offs[++count] = off;
    }
    vec->kind = count == 0 ? VEC_ABSENT : VEC_BYTES;
    vec->value_count = count;
    vec->present = count == vec->rows ? NULL : present;
    vec->offs = offs;
    vec->bytes = bytes;
    return ERR_OK;
}

static enum err_code read_builtin(const struct memtable_view *view, struct read_ctx *ctx,
                                  uint32_t col, uint32_t block, struct vec *vec, struct err *err)
{
    const struct perm_entry *entries = view->perm->entries + (size_t)block * BLOCK_ROWS;
    if (col == COL_EVENT_ID || col == COL_USER_ID || col == COL_ANONYMOUS_ID) {
        return read_ids(view, ctx, col, block, vec, err);
    }
    vec->value_count = vec->rows;
    if (col == COL_SUBJECT || col == COL_EVENT_NAME) {
        uint32_t *out = NULL;
        ERR_TRY(arena_alloc_raw(ctx->arena, vec->rows * sizeof(*out), (void **)&out, err));
        for (uint32_t i = 0; i < vec->rows; i++) {
            out[i] = col == COL_SUBJECT ? entries[i].subject
                                        : row_at(view->shard, entries[i].row)->name_code;
        }
        vec->u32 = out;
        vec->kind = col == COL_SUBJECT ? VEC_U32 : VEC_CODE;
        return col == COL_SUBJECT ? ERR_OK : view_dict(view, col, &vec->dict, err);
    }
    int64_t *out = NULL;
    ERR_TRY(arena_alloc_raw(ctx->arena, vec->rows * sizeof(*out), (void **)&out, err));
    for (uint32_t i = 0; i < vec->rows; i++) {
        out[i] = col == COL_EVENT_TIME ? entries[i].time_ms
                                       : row_at(view->shard, entries[i].row)->arrival_ms;
    }
    vec->i64 = out;
    vec->kind = VEC_I64;
    return ERR_OK;
}

/* Row -> place in the permutation; made by whoever needs it first. */
static const uint32_t *perm_places(struct perm *perm)
{
    uint32_t *places = atomic_load_explicit(&perm->places, memory_order_acquire);
    if (places != NULL) {
        return places;
    }
    uint32_t *made = malloc((size_t)perm->count * sizeof(*made));
    if (made == NULL) {
        return NULL;
    }
    for (uint32_t i = 0; i < perm->count; i++) {
        made[perm->entries[i].row] = i;
    }
    if (atomic_compare_exchange_strong_explicit(&perm->places, &places, made, memory_order_acq_rel,
                                                memory_order_acquire)) {
        return made;
    }
    free(made);
    return places;
}

/* The entries of a block in the order of its rows: out[0 .. *ret_count), and which rows have one.
 */
static enum err_code gather_entries(const struct memtable_view *view, struct read_ctx *ctx,
                                    const struct mem_col *col, uint32_t entry_count, uint32_t block,
                                    uint32_t rows, const struct mem_entry ***ret_entries,
                                    uint32_t **ret_idx, uint64_t **ret_present, uint32_t *ret_count,
                                    struct err *err)
{
    const uint32_t *places = perm_places(view->perm);
    if (places == NULL) {
        return no_memory(err);
    }
    const struct mem_entry **found = NULL;
    uint32_t *idx = NULL;
    uint64_t *present = NULL;
    ERR_TRY(ARENA_NEW(ctx->arena, rows, &found, err));
    ERR_TRY(arena_alloc_raw(ctx->arena, rows * sizeof(*idx), (void **)&idx, err));
    ERR_TRY(ARENA_NEW(ctx->arena, (rows + 63) / 64, &present, err));
    uint32_t begin = block * BLOCK_ROWS;
    for (uint32_t i = 0; i < entry_count;) {
        uint32_t run = MIN_OF(cvec_run(&col->entries, i), entry_count - i);
        const struct mem_entry *entry = cvec_at(&col->entries, i);
        for (uint32_t k = 0; k < run; k++) {
            uint32_t place = places[entry[k].row] - begin;
            if (place < rows) {
                found[place] = &entry[k];
                idx[place] = i + k;
                present[place / 64] |= 1ULL << (place % 64);
            }
        }
        i += run;
    }
    uint32_t count = 0;
    for (uint32_t i = 0; i < rows; i++) {
        if (found[i] != NULL) {
            found[count] = found[i];
            idx[count++] = idx[i];
        }
    }
    *ret_entries = found;
    *ret_idx = idx;
    *ret_present = present;
    *ret_count = count;
    return ERR_OK;
}

static enum err_code fill_bytes(const struct memtable_view *view, struct read_ctx *ctx,
                                uint32_t col, const struct mem_entry *const *entries,
                                const uint32_t *idx, uint32_t raw_from, struct vec *vec,
                                struct err *err)
{
    const struct dict *dict = NULL;
    struct str *strs = NULL;
    uint32_t *offs = NULL;
    char *bytes = NULL;
    size_t total = 0;
    ERR_TRY(view_dict(view, col, &dict, err));
    ERR_TRY(ARENA_NEW(ctx->arena, vec->value_count, &strs, err));
    ERR_TRY(ARENA_NEW(ctx->arena, (size_t)vec->value_count + 1, &offs, err));
    for (uint32_t i = 0; i < vec->value_count; i++) {
        strs[i] = idx[i] < raw_from ? dict_value(dict, entries[i]->aux)
                                    : (struct str){entries[i]->text, entries[i]->aux};
        total += strs[i].len;
        if (total > UINT32_MAX) {
            return err_set(err, ERR_LIMIT, "a block of strings has more than 4 GiB");
        }
        offs[i + 1] = (uint32_t)total;
    }
    ERR_TRY(arena_alloc_raw(ctx->arena, total, (void **)&bytes, err));
    for (uint32_t i = 0; i < vec->value_count; i++) {
        if (strs[i].len > 0) {
            memcpy(bytes + offs[i], strs[i].ptr, strs[i].len);
        }
    }
    vec->kind = VEC_BYTES;
    vec->offs = offs;
    vec->bytes = bytes;
    return ERR_OK;
}

static enum err_code fill_numbers(struct read_ctx *ctx, const struct mem_entry *const *entries,
                                  struct vec *vec, struct err *err)
{
    int64_t *out = NULL;
    uint8_t *scales = NULL;
    bool is_uniform = true;
    uint32_t doubles = 0;
    ERR_TRY(arena_alloc_raw(ctx->arena, vec->value_count * sizeof(*out), (void **)&out, err));
    ERR_TRY(arena_alloc_raw(ctx->arena, vec->value_count, (void **)&scales, err));
    for (uint32_t i = 0; i < vec->value_count; i++) {
        out[i] = entries[i]->i64;
        scales[i] = (uint8_t)entries[i]->aux;
        is_uniform = is_uniform && scales[i] == scales[0];
        doubles += scales[i] == NUM_DOUBLE;
    }
    if (doubles == vec->value_count) {
        double *f64 = NULL;
        ERR_TRY(arena_alloc_raw(ctx->arena, vec->value_count * sizeof(*f64), (void **)&f64, err));
        memcpy(f64, out, vec->value_count * sizeof(*f64));
        vec->kind = VEC_F64;
        vec->f64 = f64;
        return ERR_OK;
    }
    vec->kind = VEC_NUM;
    vec->i64 = out;
    vec->scale = is_uniform ? scales[0] : 0;
    vec->scales = is_uniform ? NULL : scales;
    return ERR_OK;
}

static enum err_code fill_list(const struct memtable_view *view, struct read_ctx *ctx, uint32_t col,
                               const struct mem_col *mem_col,
                               const struct mem_entry *const *entries, struct vec *vec,
                               struct err *err)
{
    uint32_t *offs = NULL;
    uint32_t *codes = NULL;
    size_t total = 0;
    ERR_TRY(view_dict(view, col, &vec->dict, err));
    ERR_TRY(ARENA_NEW(ctx->arena, (size_t)vec->value_count + 1, &offs, err));
    for (uint32_t i = 0; i < vec->value_count; i++) {
        total += entries[i]->aux;
        if (total > UINT32_MAX) {
            return err_set(err, ERR_LIMIT, "a block of lists has more than 2^32 items");
        }
        offs[i + 1] = (uint32_t)total;
    }
    ERR_TRY(arena_alloc_raw(ctx->arena, total * sizeof(*codes), (void **)&codes, err));
    for (uint32_t i = 0; i < vec->value_count; i++) {
        for (uint32_t k = 0; k < entries[i]->aux; k++) {
            const uint32_t *code = cvec_at(&mem_col->items, (uint32_t)entries[i]->first + k);
            codes[offs[i] + k] = *code;
        }
    }
    vec->kind = VEC_LIST;
    vec->offs = offs;
    vec->u32 = codes;
    return ERR_OK;
}

static enum err_code fill_values(const struct memtable_view *view, struct read_ctx *ctx,
                                 uint32_t col, enum col_type type, const struct mem_col *mem_col,
                                 uint32_t entry_count, const struct mem_entry *const *entries,
                                 const uint32_t *idx, struct vec *vec, struct err *err)
{
    uint32_t raw_from = atomic_load_explicit(&mem_col->raw_from, memory_order_relaxed);
    switch (type) {
    case COL_STRING:
        if (raw_from < entry_count) {
            return fill_bytes(view, ctx, col, entries, idx, raw_from, vec, err);
        } else {
            uint32_t *codes = NULL;
            ERR_TRY(arena_alloc_raw(ctx->arena, vec->value_count * sizeof(*codes), (void **)&codes,
                                    err));
            for (uint32_t i = 0; i < vec->value_count; i++) {
                codes[i] = entries[i]->aux;
            }
            vec->kind = VEC_CODE;
            vec->u32 = codes;
            return view_dict(view, col, &vec->dict, err);
        }
    case COL_NUMBER: return fill_numbers(ctx, entries, vec, err);
    case COL_BOOL: {
        uint8_t *out = NULL;
        ERR_TRY(arena_alloc_raw(ctx->arena, vec->value_count, (void **)&out, err));
        for (uint32_t i = 0; i < vec->value_count; i++) {
            out[i] = entries[i]->i64 != 0;
        }
        vec->kind = VEC_BOOL;
        vec->u8 = out;
        return ERR_OK;
    }
    case COL_TIME: {
        int64_t *out = NULL;
        ERR_TRY(arena_alloc_raw(ctx->arena, vec->value_count * sizeof(*out), (void **)&out, err));
        for (uint32_t i = 0; i < vec->value_count; i++) {
            out[i] = entries[i]->i64;
        }
        vec->kind = VEC_I64;
        vec->i64 = out;
        return ERR_OK;
    }
    case COL_LIST: return fill_list(view, ctx, col, mem_col, entries, vec, err);
    }
    return ERR_OK;
}

static enum err_code op_read(const struct source *source, struct read_ctx *ctx, uint32_t col,
                             uint32_t block, struct vec *ret, struct err *err)
{
    const struct memtable_view *view = view_of(source);
    ASSERT(block < source->block_count);
    struct vec vec = {.kind = VEC_ABSENT, .rows = source_block_rows(source, block)};
    ctx->blocks_read++;
    if (col < COL_FIRST_PROP) {
        ERR_TRY(read_builtin(view, ctx, col, block, &vec, err));
        *ret = vec;
        return ERR_OK;
    }
    uint32_t prop = col - COL_FIRST_PROP;
    const struct mem_col *mem_col = view_col(view, prop);
    uint32_t entry_count = mem_col == NULL ? 0 : col_entries(view, mem_col);
    if (entry_count > 0) {
        const struct mem_entry **entries = NULL;
        uint32_t *idx = NULL;
        uint64_t *present = NULL;
        ERR_TRY(gather_entries(view, ctx, mem_col, entry_count, block, vec.rows, &entries, &idx,
                               &present, &vec.value_count, err));
        if (vec.value_count > 0) {
            vec.present = vec.value_count == vec.rows ? NULL : present;
            ctx->bytes_read += vec.value_count * sizeof(struct mem_entry);
            ERR_TRY(fill_values(view, ctx, col, schema_col(view->memtable->schema, prop)->type,
                                mem_col, entry_count, entries, idx, &vec, err));
        }
    }
    *ret = vec;
    return ERR_OK;
}

static bool op_zone(const struct source *source, uint32_t col, uint32_t block, int64_t *ret_min,
                    int64_t *ret_max)
{
    if (col != COL_EVENT_TIME) {
        return false;
    }
    const struct perm *perm = view_of(source)->perm;
    *ret_min = perm->zones[block * 2];
    *ret_max = perm->zones[block * 2 + 1];
    return true;
}

static bool op_has_value_rows(const struct source *source, uint32_t col)
{
    return col == COL_EVENT_NAME;
}

static enum err_code op_value_rows(const struct source *source, struct read_ctx *ctx, uint32_t col,
                                   uint32_t code, uint32_t block, uint16_t *out_rows,
                                   uint32_t *ret_count, struct err *err)
{
    ASSERT(col == COL_EVENT_NAME);
    const struct memtable_view *view = view_of(source);
    const struct perm_entry *entries = view->perm->entries + (size_t)block * BLOCK_ROWS;
    uint32_t rows = source_block_rows(source, block);
    uint32_t count = 0;
    for (uint32_t i = 0; i < rows; i++) {
        if (row_at(view->shard, entries[i].row)->name_code == code) {
            out_rows[count++] = (uint16_t)i;
        }
    }
    *ret_count = count;
    return ERR_OK;
}

static enum err_code op_subject_sets(const struct source *source, struct read_ctx *ctx,
                                     uint32_t event, const struct subject_set **ret,
                                     uint32_t *ret_count, struct err *err)
{
    *ret = NULL;
    *ret_count = 0;
    return ERR_OK;
}

static enum err_code op_subject_set(const struct source *source, struct read_ctx *ctx,
                                    uint32_t set_idx, const roaring_bitmap_t **ret, struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, "a memtable keeps no subject sets");
}

static enum err_code op_subject_row(const struct source *source, struct read_ctx *ctx,
                                    uint32_t subject, uint32_t *ret_row, struct err *err)
{
    const struct perm *perm = view_of(source)->perm;
    uint32_t low = 0;
    uint32_t high = perm->count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (perm->entries[mid].subject < subject) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    *ret_row = low;
    return ERR_OK;
}

static const struct source_ops view_ops = {
    .read = op_read,
    .dict = op_dict,
    .zone = op_zone,
    .value_rows = op_value_rows,
    .has_value_rows = op_has_value_rows,
    .subject_sets = op_subject_sets,
    .subject_set = op_subject_set,
    .subject_row = op_subject_row,
};
