/* storage/memtable_known.c - the event ids of a memtable's rows, and what a row says: for telling
 * retries. The ids are read while rows are appended, by the writer alone, or when nothing is any more; what a
 * published row says, by anybody.
 */
#include "storage/memtable_int.h"

#include "storage/uuid.h"

#include "storage/base/size.h"

#define REF_SHARD_BITS 4u
_Static_assert(((uint64_t)MEMTABLE_ROWS_MAX << REF_SHARD_BITS) <= KNOWN_REF_MAX, "a ref fits");

static struct mem_place place_of_ref(uint32_t ref)
{
    return (struct mem_place){.shard = ref & ((1u << REF_SHARD_BITS) - 1),
                              .row = ref >> REF_SHARD_BITS};
}

static const struct mem_row *row_of(const struct memtable *memtable, struct mem_place place)
{
    return cvec_at(&memtable->shards[place.shard].row_vec, place.row);
}

enum err_code memtable_know(struct memtable *memtable, uint32_t shard, uint64_t key,
                            struct err *err)
{
    struct mem_place place = {.shard = shard, .row = memtable->shards[shard].rows - 1};
    const struct mem_row *row = row_of(memtable, place);
    struct mem_known *facts = &memtable->known_facts;
    ERR_TRY(known_set_add(memtable->known, key, place.row << REF_SHARD_BITS | shard, err));
    facts->count++;
    facts->arrival_min_ms = MIN_OF(facts->arrival_min_ms, row->arrival_ms);
    facts->arrival_max_ms = MAX_OF(facts->arrival_max_ms, row->arrival_ms);
    facts->subject_max = MAX_OF(facts->subject_max, row->subject);
    return ERR_OK;
}

void memtable_prefetch_id(const struct memtable *memtable, uint64_t key)
{
    known_set_prefetch(memtable->known, key);
}

bool memtable_find_id(const struct memtable *memtable, uint64_t key, struct str event_id,
                      struct mem_place *ret)
{
    uint8_t packed[UUID_PACKED_BYTES];
    uint32_t at = 0;
    uint32_t ref = 0;
    while (known_set_next(memtable->known, key, &at, &ref)) {
        struct mem_place place = place_of_ref(ref);
        const struct mem_row *row = row_of(memtable, place);
        struct str want = event_id;
        if (row->is_uuid) {
            if (!uuid_text_pack(event_id, packed)) {
                continue;
            }
            want = (struct str){(const char *)packed, sizeof(packed)};
        }
        if (str_eq(want, (struct str){row->ids, row->event_id_len})) {
            *ret = place;
            return true;
        }
    }
    return false;
}

struct mem_known memtable_known(const struct memtable *memtable)
{
    return memtable->known_facts;
}

struct known_walk {
    const struct memtable *memtable;
    mem_known_fn fn;
    void *arg;
};

static enum err_code walk_known(void *arg, uint64_t key, uint32_t ref, struct err *err)
{
    const struct known_walk *walk = arg;
    struct mem_place place = place_of_ref(ref);
    return walk->fn(walk->arg, key, place.shard, row_of(walk->memtable, place)->subject, err);
}

enum err_code memtable_known_sorted(const struct memtable *memtable, mem_known_fn fn, void *arg,
                                    struct err *err)
{
    struct known_walk walk = {memtable, fn, arg};
    return known_set_sorted(memtable->known, walk_known, &walk, err);
}

/* ---- what a row says ---- */

/* The entry of a row in a column: entries are in order of rows. */
static const struct mem_entry *entry_of_row(const struct mem_col *col, uint32_t row,
                                            uint32_t *ret_place)
{
    uint32_t begin = 0;
    uint32_t end = atomic_load_explicit(&col->count, memory_order_acquire);
    uint32_t count = end;
    while (begin < end) {
        uint32_t mid = begin + (end - begin) / 2;
        bool is_before = ((const struct mem_entry *)cvec_at(&col->entries, mid))->row < row;
        begin = is_before ? mid + 1 : begin;
        end = is_before ? end : mid;
    }
    const struct mem_entry *entry = begin < count ? cvec_at(&col->entries, begin) : NULL;
    *ret_place = begin;
    return entry != NULL && entry->row == row ? entry : NULL;
}

static struct str dict_str(const struct memtable *memtable, uint32_t prop, uint32_t code)
{
    struct mem_dict *_Atomic *at = cvec_at(&memtable->dicts, prop);
    struct mem_dict *dict = atomic_load_explicit(at, memory_order_acquire);
    return atomic_load_explicit(&dict->values, memory_order_acquire)->strs[code];
}

static struct str string_of(const struct memtable *memtable, const struct mem_col *col,
                            uint32_t prop, const struct mem_entry *entry, uint32_t place)
{
    /* NO_ENTRY is above every place. */
    if (place < atomic_load_explicit(&col->raw_from, memory_order_relaxed)) {
        return dict_str(memtable, prop, entry->aux);
    }
    const struct mem_raw *raw = *(const struct mem_raw **)cvec_at(&col->items, entry->aux);
    return (struct str){raw->bytes, raw->len};
}

static enum err_code value_of(const struct memtable *memtable, const struct mem_col *col,
                              const struct mem_entry *entry, uint32_t place, struct arena *arena,
                              struct payload_value *value, struct err *err)
{
    const struct mem_wide *wide = (const struct mem_wide *)(const void *)entry;
    struct str *items = NULL;
    switch (value->type) {
    case COL_STRING: value->string = string_of(memtable, col, value->prop, entry, place); break;
    case COL_NUMBER: value->number = (struct num){wide->i64, (uint8_t)entry->aux}; break;
    case COL_BOOL: value->boolean = entry->aux != 0; break;
    case COL_TIME: value->ts_ms = wide->i64; break;
    case COL_LIST:
        ERR_TRY(ARENA_NEW(arena, entry->aux, &items, err));
        for (uint32_t i = 0; i < entry->aux; i++) {
            uint32_t code = *(const uint32_t *)cvec_at(&col->items, (uint32_t)wide->first + i);
            items[i] = dict_str(memtable, value->prop, code);
        }
        value->list.items = items;
        value->list.count = entry->aux;
        break;
    }
    return ERR_OK;
}

enum err_code memtable_payload(const struct memtable *memtable, struct mem_place place,
                               struct arena *arena, struct payload *ret, struct err *err)
{
    const struct mem_shard *shard = &memtable->shards[place.shard];
    uint32_t prop_count = atomic_load_explicit(&shard->col_limit, memory_order_acquire);
    prop_count = MIN_OF(prop_count, schema_count(memtable->schema));
    struct payload payload = {0};
    ERR_TRY(ARENA_NEW(arena, prop_count, &payload.values, err));
    for (uint32_t prop = 0; prop < prop_count; prop++) {
        struct mem_col *_Atomic *at = cvec_at(&shard->cols, prop);
        const struct mem_col *col = atomic_load_explicit(at, memory_order_acquire);
        uint32_t at_place = 0;
        const struct mem_entry *entry =
            col == NULL ? NULL : entry_of_row(col, place.row, &at_place);
        if (entry == NULL) {
            continue;
        }
        struct payload_value *value = &payload.values[payload.count++];
        value->prop = prop;
        value->type = schema_col(memtable->schema, prop)->type;
        ERR_TRY(value_of(memtable, col, entry, at_place, arena, value, err));
    }
    payload.name = atomic_load_explicit(&memtable->names->values, memory_order_acquire)
                       ->strs[row_of(memtable, place)->name_code];
    *ret = payload;
    return ERR_OK;
}
