/* storage/memtable.c - rows and sparse columns in chunks that never move.
 *
 * What every row has (subject, time, arrival, event name, ids) is one record of 40 bytes in its
 * shard's row vector: one cache line to append and to gather, and the ids of a row lie behind one
 * pointer (an event_id that is a UUID as its 16 bytes). A property is a vector of entries (row,
 * value) per shard, in order of rows, so a rare property costs only its values: 8 bytes for a string
 * or a bool, 16 for the others. Vectors are geometric: chunk c has base << c elements, elements
 * never move, and a directory of a few pointers is all there is to grow.
 *
 *    shard --> rows     [r0 r1 r2 ...]                       published: a count, stored with
 * release
 *          --> columns  prop 7:  (row 0, v) (row 2, v) ...   entry count, stored with release
 *    memtable --> dictionaries, one per string column, shared by the shards; a byte arena
 *
 * Strings are codes of an insertion-ordered dictionary. A property whose dictionary grows past
 * DICT_VALUES_MAX while most of its values are new is not worth one: from that entry on the values
 * are plain bytes (`raw_from`), each behind its length, found through a pointer in `items`, and a view that reaches that far shows the column as bytes.
 *
 * A view is a permutation: (subject, time, row) sorted by (subject, time, event_id bytes, row),
 * with both keys beside the row number, so that extending it by new rows is a merge over sequential
 * memory. The newest permutation of a shard is kept; the next view sorts only the rows since and
 * merges.
 *
 * Everything of an event is appended before its row is published, so a reader that has acquired a
 * row count finds all entries of those rows, and finds their end by binary search for the count.
 */
#include "storage/memtable_int.h"

#include "storage/uuid.h"

#include "storage/base/hash.h"
#include "storage/base/rng.h"
#include "storage/base/size.h"

#include <stdlib.h>
#include <sys/mman.h>

#define ROW_BASE_BITS   8u /* first chunk of rows: 256 */
#define ENTRY_BASE_BITS 5u /* first chunk of a property's entries: 32 */
#define COL_BASE_BITS   6u
#define ARENA_FIRST     (16u << 10)
#define ARENA_CHUNK     (1u << 20)
#define DICT_VALUES_MAX 16384u /* beyond this a column must earn its dictionary */
#define TEXTS_AHEAD     32u

/* ---- memory ---- */

void *mem_alloc(size_t bytes)
{
    if (bytes < MEM_MAP_BYTES) {
        return malloc(bytes);
    }
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return at == MAP_FAILED ? NULL : at;
}

void mem_free(void *at, size_t bytes)
{
    if (at == NULL) {
        return;
    }
    if (bytes < MEM_MAP_BYTES) {
        free(at);
        return;
    }
    int failed = munmap(at, bytes);
    ASSERT(failed == 0);
}

/* ---- chunked vector: growing ---- */

/* Place of element idx, where idx is the next one or was reached before; NULL without memory. */
static void *cvec_grow(struct cvec *vec, uint32_t idx)
{
    uint32_t off = 0;
    uint32_t chunk = cvec_chunk_of(idx, vec->base_bits, &off);
    ASSERT(chunk < CVEC_CHUNKS);
    if (vec->chunks[chunk] == NULL) {
        vec->chunks[chunk] = mem_alloc((size_t)vec->elem_bytes << (chunk + vec->base_bits));
        if (vec->chunks[chunk] == NULL) {
            return NULL;
        }
    }
    return (char *)vec->chunks[chunk] + (size_t)off * vec->elem_bytes;
}

static void cvec_done(struct cvec *vec)
{
    for (uint32_t i = 0; i < CVEC_CHUNKS; i++) {
        mem_free(vec->chunks[i], (size_t)vec->elem_bytes << (i + vec->base_bits));
    }
}

/* ---- dictionary of insertion order ---- */

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
    free(dict);
}

static void add_bytes(struct memtable *memtable, uint64_t more)
{
    /* One writer: a plain add, readable from anywhere. */
    uint64_t now = atomic_load_explicit(&memtable->bytes, memory_order_relaxed);
    atomic_store_explicit(&memtable->bytes, now + more, memory_order_relaxed);
}

static char *arena_take(struct memtable *memtable, size_t len)
{
    if (len > memtable->arena_left) {
        size_t want = MAX_OF(len, memtable->arena_chunk_bytes);
        size_t total = sizeof(struct mem_arena_chunk) + want;
        struct mem_arena_chunk *chunk = mem_alloc(total);
        if (chunk == NULL) {
            return NULL;
        }
        chunk->bytes_total = total;
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

/* As arena_take, for a struct mem_raw. */
static char *arena_take_aligned(struct memtable *memtable, size_t len)
{
    size_t over = (uintptr_t)memtable->arena_next % _Alignof(struct mem_raw);
    size_t pad = over == 0 ? 0 : _Alignof(struct mem_raw) - over;
    if (pad <= memtable->arena_left) {
        memtable->arena_next += pad;
        memtable->arena_left -= pad;
    }
    char *at = arena_take(memtable, len); /* a fresh chunk is aligned */
    ASSERT((uintptr_t)at % _Alignof(struct mem_raw) == 0);
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
    struct mem_slot *slots = calloc((size_t)cap * 2, sizeof(*slots));
    if (grown == NULL || slots == NULL) {
        free(grown);
        free(slots);
        return mem_no_memory(err);
    }
    uint32_t mask = cap * 2 - 1;
    for (uint32_t i = 0; i < dict->slot_count; i++) {
        if (dict->slots[i].code1 == 0) {
            continue;
        }
        uint32_t slot = dict->slots[i].hash & mask;
        while (slots[slot].code1 != 0) {
            slot = (slot + 1) & mask;
        }
        slots[slot] = dict->slots[i];
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

static uint64_t load_bytes(const char *at, size_t bytes)
{
    uint64_t v = 0;
    memcpy(&v, at, bytes);
    return v;
}

/* Most values are short: two words, one multiplication, folded; under a secret seed. */
static uint32_t value_hash(struct str value, uint64_t seed)
{
    if (value.len > 16) {
        return (uint32_t)hash_str(value, seed);
    }
    uint64_t a = 0;
    uint64_t b = 0;
    if (value.len >= 8) {
        a = load_bytes(value.ptr, 8);
        b = load_bytes(value.ptr + value.len - 8, 8);
    } else if (value.len >= 4) {
        a = load_bytes(value.ptr, 4);
        b = load_bytes(value.ptr + value.len - 4, 4);
    } else {
        for (size_t i = 0; i < value.len; i++) {
            a = a << 8 | (unsigned char)value.ptr[i];
        }
    }
    __uint128_t product = (__uint128_t)(a ^ seed) * (b ^ hash_mix(seed + value.len));
    return (uint32_t)hash_mix((uint64_t)product ^ (uint64_t)(product >> 64));
}

/* Code of a value, added when new; `hash` is its value_hash. */
static enum err_code mem_dict_code(struct memtable *memtable, struct mem_dict *dict,
                                   struct str value, uint32_t hash, uint32_t *ret_code,
                                   struct err *err)
{
    dict->adds++;
    struct mem_values *values = atomic_load_explicit(&dict->values, memory_order_relaxed);
    if (dict->slot_count > 0) {
        uint32_t mask = dict->slot_count - 1;
        for (uint32_t slot = hash & mask; dict->slots[slot].code1 != 0; slot = (slot + 1) & mask) {
            uint32_t code = dict->slots[slot].code1 - 1;
            if (dict->slots[slot].hash == hash && str_eq(values->strs[code], value)) {
                *ret_code = code;
                return ERR_OK;
            }
        }
    }
    ERR_TRY(mem_dict_room(dict, err));
    char *copy = arena_take(memtable, value.len);
    if (copy == NULL) {
        return mem_no_memory(err);
    }
    if (value.len > 0) {
        memcpy(copy, value.ptr, value.len);
    }
    values = atomic_load_explicit(&dict->values, memory_order_relaxed);
    uint32_t code = atomic_load_explicit(&dict->count, memory_order_relaxed);
    values->strs[code] = (struct str){copy, value.len};
    uint32_t mask = dict->slot_count - 1;
    uint32_t slot = hash & mask;
    while (dict->slots[slot].code1 != 0) {
        slot = (slot + 1) & mask;
    }
    dict->slots[slot] = (struct mem_slot){.code1 = code + 1, .hash = hash};
    atomic_store_explicit(&dict->count, code + 1, memory_order_release);
    add_bytes(memtable, sizeof(struct str) + 2 * sizeof(struct mem_slot));
    *ret_code = code;
    return ERR_OK;
}

/* ---- life ---- */

enum err_code memtable_create(const struct schema *schema, uint64_t identity_version,
                              struct memtable **ret, struct err *err)
{
    uint64_t seed = 0;
    ERR_TRY(rng_system(&seed, sizeof(seed), err));
    struct memtable *memtable = calloc(1, sizeof(*memtable));
    struct mem_dict *names = memtable == NULL ? NULL : mem_dict_create();
    if (names == NULL || known_set_create(&memtable->known, err) != ERR_OK) {
        mem_dict_free(names);
        free(memtable);
        return mem_no_memory(err);
    }
    memtable->known_facts.arrival_min_ms = INT64_MAX;
    memtable->known_facts.arrival_max_ms = INT64_MIN;
    atomic_init(&memtable->refs, 1);
    memtable->schema = schema;
    memtable->seed = seed;
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
    mem_perm_unref(shard->perm);
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
    known_set_free(memtable->known);
    while (memtable->arena != NULL) {
        struct mem_arena_chunk *older = memtable->arena->older;
        mem_free(memtable->arena, memtable->arena->bytes_total);
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
            return mem_no_memory(err);
        }
        memset(at, 0, (size_t)run * vec->elem_bytes);
        *cap += run;
        atomic_store_explicit(limit, *cap, memory_order_release);
    }
    return ERR_OK;
}

static enum err_code shard_col(struct memtable *memtable, struct mem_shard *shard, uint32_t prop,
                               enum col_type type, struct mem_col **ret, struct err *err)
{
    if (prop >= shard->col_cap) {
        ERR_TRY(pointers_grow(&shard->cols, prop, &shard->col_cap, &shard->col_limit, err));
    }
    struct mem_col *_Atomic *at = cvec_at(&shard->cols, prop);
    struct mem_col *col = atomic_load_explicit(at, memory_order_relaxed);
    if (col == NULL) {
        col = calloc(1, sizeof(*col));
        if (col == NULL) {
            return mem_no_memory(err);
        }
        atomic_init(&col->raw_from, NO_ENTRY);
        bool is_wide = type != COL_STRING && type != COL_BOOL;
        col->entries.elem_bytes = is_wide ? sizeof(struct mem_wide) : sizeof(struct mem_entry);
        col->entries.base_bits = ENTRY_BASE_BITS;
        col->items.elem_bytes =
            type == COL_STRING ? sizeof(const struct mem_raw *) : sizeof(uint32_t);
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
            return mem_no_memory(err);
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
                                struct str value, uint32_t hash, struct mem_entry *entry,
                                struct err *err)
{
    struct mem_dict *dict = NULL;
    ERR_TRY(prop_dict(memtable, prop, &dict, err));
    bool is_raw = atomic_load_explicit(&col->raw_from, memory_order_relaxed) != NO_ENTRY;
    if (!is_raw && !dict_is_wasteful(dict)) {
        return mem_dict_code(memtable, dict, value, hash, &entry->aux, err);
    }
    if (!is_raw) {
        atomic_store_explicit(&col->raw_from,
                              atomic_load_explicit(&col->count, memory_order_relaxed),
                              memory_order_relaxed); /* published by the entry's count */
    }
    const struct mem_raw **place = cvec_grow(&col->items, col->item_count);
    struct mem_raw *raw = value.len > UINT32_MAX
                              ? NULL
                              : (void *)arena_take_aligned(memtable, sizeof(*raw) + value.len);
    if (place == NULL || raw == NULL) {
        return mem_no_memory(err);
    }
    raw->len = (uint32_t)value.len;
    if (value.len > 0) {
        memcpy(raw->bytes, value.ptr, value.len);
    }
    *place = raw;
    entry->aux = col->item_count++;
    add_bytes(memtable, sizeof(*place));
    return ERR_OK;
}

static enum err_code put_list(struct memtable *memtable, struct mem_col *col, uint32_t prop,
                              const struct event_batch *batch, const struct prop *value,
                              struct mem_wide *wide, struct err *err)
{
    struct mem_dict *dict = NULL;
    ERR_TRY(prop_dict(memtable, prop, &dict, err));
    wide->first = col->item_count;
    wide->entry.aux = value->list.count;
    for (uint32_t i = 0; i < value->list.count; i++) {
        uint32_t *item = cvec_grow(&col->items, col->item_count);
        if (item == NULL) {
            return mem_no_memory(err);
        }
        struct str text = batch->list_items[value->list.first + i];
        ERR_TRY(mem_dict_code(memtable, dict, text, value_hash(text, memtable->seed), item, err));
        col->item_count++;
    }
    add_bytes(memtable, value->list.count * sizeof(uint32_t));
    return ERR_OK;
}

static enum err_code put_prop(struct memtable *memtable, struct mem_shard *shard, uint32_t row,
                              const struct event_batch *batch, const struct prop *value,
                              uint32_t hash, uint32_t prop, struct err *err)
{
    struct mem_col *col = NULL;
    ERR_TRY(shard_col(memtable, shard, prop, value->type, &col, err));
    uint32_t idx = atomic_load_explicit(&col->count, memory_order_relaxed);
    struct mem_entry *entry = cvec_grow(&col->entries, idx);
    if (entry == NULL) {
        return mem_no_memory(err);
    }
    struct mem_wide *wide = (struct mem_wide *)(void *)entry; /* of the wide types only */
    entry->row = row;
    switch (value->type) {
    case COL_STRING:
        ERR_TRY(put_string(memtable, col, prop, value->string, hash, entry, err));
        break;
    case COL_NUMBER:
        wide->i64 = value->number.m;
        entry->aux = value->number.scale;
        break;
    case COL_BOOL: entry->aux = value->boolean ? 1 : 0; break;
    case COL_TIME:
        wide->i64 = value->ts_ms;
        entry->aux = 0;
        break;
    case COL_LIST: ERR_TRY(put_list(memtable, col, prop, batch, value, wide, err)); break;
    }
    add_bytes(memtable, col->entries.elem_bytes);
    atomic_store_explicit(&col->count, idx + 1, memory_order_release);
    return ERR_OK;
}

/* Hashes of an event's texts, all of them before the first is looked up: so the look-ups wait for memory together. Other props' hashes are 0. */
static void hash_texts(const struct memtable *memtable, const struct prop *props, uint32_t count,
                       const uint32_t *prop_cols, uint32_t *hashes)
{
    for (uint32_t i = 0; i < count; i++) {
        hashes[i] = 0;
        if (props[i].type != COL_STRING) {
            continue;
        }
        hashes[i] = value_hash(props[i].string, memtable->seed);
        struct mem_dict *_Atomic *at =
            prop_cols[i] < memtable->dict_cap ? cvec_at(&memtable->dicts, prop_cols[i]) : NULL;
        const struct mem_dict *dict =
            at == NULL ? NULL : atomic_load_explicit(at, memory_order_relaxed);
        if (dict != NULL && dict->slot_count > 0) {
            __builtin_prefetch(&dict->slots[hashes[i] & (dict->slot_count - 1)]);
        }
    }
}

static enum err_code put_props(struct memtable *memtable, struct mem_shard *shard,
                               const struct event_batch *batch, const struct event *event,
                               const uint32_t *prop_cols, struct err *err)
{
    uint32_t hashes[TEXTS_AHEAD];
    for (uint32_t begin = 0; begin < event->prop_count; begin += TEXTS_AHEAD) {
        const struct prop *props = &batch->props[event->prop_first + begin];
        uint32_t count = MIN_OF(TEXTS_AHEAD, event->prop_count - begin);
        hash_texts(memtable, props, count, prop_cols + begin, hashes);
        for (uint32_t i = 0; i < count; i++) {
            ERR_TRY(put_prop(memtable, shard, shard->rows, batch, &props[i], hashes[i],
                             prop_cols[begin + i], err));
        }
    }
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
    uint8_t packed[UUID_PACKED_BYTES];
    bool is_uuid = uuid_text_pack(event->event_id, packed);
    struct str parts[3] = {event->event_id, event->user_id, event->anonymous_id};
    if (is_uuid) {
        parts[0] = (struct str){(const char *)packed, sizeof(packed)};
    }
    size_t ids_len = parts[0].len + parts[1].len + parts[2].len;
    char *ids = arena_take(memtable, MAX_OF(ids_len, (size_t)1)); /* of first times it may be 0 */
    if (row == NULL || ids == NULL) {
        return mem_no_memory(err);
    }
    *row = (struct mem_row){.time_ms = event->time_ms,
                            .arrival_ms = arrival_ms,
                            .subject = subject,
                            .ids = ids,
                            .event_id_len = (uint16_t)parts[0].len,
                            .user_id_len = (uint16_t)parts[1].len,
                            .anonymous_id_len = (uint16_t)parts[2].len,
                            .is_uuid = is_uuid};
    for (uint32_t i = 0; i < 3; i++) {
        if (parts[i].len > 0) {
            memcpy(ids, parts[i].ptr, parts[i].len);
            ids += parts[i].len;
        }
    }
    ERR_TRY(mem_dict_code(memtable, memtable->names, event->name,
                          value_hash(event->name, memtable->seed), &row->name_code, err));
    ERR_TRY(put_props(memtable, shard, batch, event, prop_cols, err));
    add_bytes(memtable, sizeof(*row));
    shard->rows++;
    memtable->rows++;
    return ERR_OK;
}

void memtable_publish(struct memtable *memtable)
{
    /* The ids' memory is counted a group at a time: counting it is a walk over its parts. */
    uint64_t known_bytes = known_set_bytes(memtable->known);
    add_bytes(memtable, known_bytes - memtable->known_bytes);
    memtable->known_bytes = known_bytes;
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
