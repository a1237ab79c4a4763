/* storage/ids_table.c - the hash table of the id directory.
 *
 * Linear hashing (Litwin, 1980) over small open-addressing tables instead of single buckets. With n
 * sub-tables and L = the largest power of two <= n, a key with tag t is in sub-table t mod 2L, or
 * t mod L where there is no such one yet. The next to be split is n - L, and one is whenever there
 * are more than 4,096 keys per sub-table. A sub-table is a run of pages that is remade a little
 * larger when it is 86 % full, so it is 74 to 86 % full whether it was split just now or long ago
 * (plain linear hashing with open addressing could not be). The most that one insert does is one
 * split and one growth: some ten thousand slots, however many keys there are.
 *
 *    slot:   bits 0-33    where the entry is in the log, in units of 4 bytes; the slot is 0 if empty
 *            bits 34-63   tag: the upper 30 bits of the hash
 *
 * The tag alone says where a slot goes, so remaking a sub-table never touches a key. Home is
 * tag * slots / 2^30, hence mostly of its upper bits, and the sub-table of its lower bits.
 *
 * Reading without a lock. A slot, once filled, names an entry that never moves, and an entry has
 * one right answer: so whoever finds the key in any memory that ever held slots has the right
 * answer. Freed sub-tables go back to the system by MADV_DONTNEED but their addresses stay mapped
 * until the end, for sub-tables only: a reader that was left behind there sees zeroes, or slots of
 * others. Not finding is believed only if, after the last slot was read, n and the sub-table's
 * place are as they were before the first one; else the reader starts again. A split publishes the
 * new sub-table, then n, then the lesser old one: with any mixture of these a key is found or n has
 * changed. The generation in the place makes a re-used address different.
 */
#include "storage/ids_int.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>

#define TAG_BITS     30u
#define OFF_BITS     34u
#define OFF_MASK     (((uint64_t)1 << OFF_BITS) - 1)
#define KEYS_PER_SUB 4096u
#define ADDRESS_BITS 36u
#define PAGES_BITS   8u
#define REGION_BYTES ((size_t)16 << 20)
#define REGIONS_STEP 16u

_Static_assert(OFF_BITS + 2 == IDS_LOG_BITS, "a slot addresses the whole log");
_Static_assert((OFF_MASK << 2) / IDS_EXTENT_BYTES < IDS_EXTENTS, "and nothing else");

uint64_t ids_slot_off(uint64_t slot)
{
    return (slot & OFF_MASK) << 2;
}

static uint32_t tag_of(uint64_t slot_or_hash)
{
    return (uint32_t)(slot_or_hash >> OFF_BITS);
}

static uint32_t keys_max(uint32_t pages)
{
    return pages * (uint32_t)IDS_SLOTS_PER_PAGE * 86 / 100;
}

/* Pages for this many keys, about 80 % full. */
static uint32_t pages_for(uint64_t keys)
{
    uint64_t tenths = IDS_SLOTS_PER_PAGE * 8;
    return (uint32_t)((keys * 10 + tenths) / tenths);
}

static uint32_t level_of(uint32_t sub_count)
{
    return 31u - (uint32_t)__builtin_clz(sub_count);
}

static uint32_t sub_idx(uint32_t tag, uint32_t sub_count)
{
    uint32_t level_size = 1u << level_of(sub_count);
    uint32_t idx = tag & (2 * level_size - 1);
    return idx < sub_count ? idx : idx - level_size;
}

/* ---- places ---- */

static uintptr_t place_address(uint64_t place)
{
    return (uintptr_t)((place & (((uint64_t)1 << ADDRESS_BITS) - 1)) * IDS_PAGE_BYTES);
}

static _Atomic uint64_t *place_slots(uint64_t place)
{
    return (_Atomic uint64_t *)place_address(place);
}

static uint32_t place_pages(uint64_t place)
{
    return (uint32_t)(place >> ADDRESS_BITS) & ((1u << PAGES_BITS) - 1);
}

static uint32_t place_slot_count(uint64_t place)
{
    return place_pages(place) * (uint32_t)IDS_SLOTS_PER_PAGE;
}

static uint64_t place_make(const uint8_t *at, uint32_t pages, uint64_t older)
{
    uint64_t address = (uint64_t)(uintptr_t)at / IDS_PAGE_BYTES;
    uint64_t generation = (older >> (ADDRESS_BITS + PAGES_BITS)) + 1;
    ASSERT(address < (uint64_t)1 << ADDRESS_BITS);
    return address | (uint64_t)pages << ADDRESS_BITS | generation << (ADDRESS_BITS + PAGES_BITS);
}

struct ids_sub *ids_sub_at(const struct ids_table *table, uint32_t idx)
{
    uint64_t at = 0;
    uint32_t chunk = ids_chunk_of(idx, IDS_SUB_BASE_BITS, &at);
    return &table->chunks[chunk][at];
}

enum err_code ids_sub_room(struct ids_table *table, uint32_t idx, struct err *err)
{
    uint64_t at = 0;
    uint32_t chunk = ids_chunk_of(idx, IDS_SUB_BASE_BITS, &at);
    ASSERT(chunk < IDS_SUB_CHUNKS);
    if (table->chunks[chunk] == NULL) {
        table->chunks[chunk] =
            calloc((size_t)1 << (chunk + IDS_SUB_BASE_BITS), sizeof(struct ids_sub));
    }
    return table->chunks[chunk] == NULL ? ids_no_memory(err) : ERR_OK;
}

uint32_t ids_sub_pages(const struct ids_table *table, uint32_t idx)
{
    return place_pages(atomic_load_explicit(&ids_sub_at(table, idx)->place, memory_order_relaxed));
}

void ids_sub_place(struct ids_table *table, uint32_t idx, uint8_t *at, uint32_t pages,
                   uint32_t used)
{
    struct ids_sub *sub = ids_sub_at(table, idx);
    uint64_t older = atomic_load_explicit(&sub->place, memory_order_relaxed);
    sub->used = used;
    /* release: pairs with ids_table_find; the slots are written */
    atomic_store_explicit(&sub->place, place_make(at, pages, older), memory_order_release);
    table->page_count += pages;
    table->page_count -= place_pages(older);
}

/* ---- memory of sub-tables ---- */

static enum err_code region_add(struct ids_table *table, struct err *err)
{
    if (table->region_count % REGIONS_STEP == 0) {
        uint8_t **grown =
            realloc(table->regions, (table->region_count + REGIONS_STEP) * sizeof(uint8_t *));
        if (grown == NULL) {
            return ids_no_memory(err);
        }
        table->regions = grown;
    }
    void *region = mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region == MAP_FAILED) {
        return ids_no_memory(err);
    }
    /* A freed block is a few small pages: it could not be given back out of a huge one. */
    (void)madvise(region, REGION_BYTES, MADV_NOHUGEPAGE);
    table->regions[table->region_count++] = region;
    table->block_next = region; /* what was left of the last one is address space only */
    table->block_left = REGION_BYTES;
    return ERR_OK;
}

/* Pages full of zeroes. */
static enum err_code block_take(struct ids_table *table, uint32_t pages, uint8_t **ret,
                                struct err *err)
{
    if (pages > IDS_SUB_PAGES_MAX) {
        return err_set(err, ERR_LIMIT, "%" PRIu32 " pages for one part of the id table", pages);
    }
    struct ids_free_blocks *free_blocks = &table->free_blocks[pages];
    if (free_blocks->count > 0) {
        *ret = free_blocks->blocks[--free_blocks->count];
        return ERR_OK;
    }
    size_t bytes = (size_t)pages * IDS_PAGE_BYTES;
    if (bytes > table->block_left) {
        ERR_TRY(region_add(table, err));
    }
    *ret = table->block_next;
    table->block_next += bytes;
    table->block_left -= bytes;
    return ERR_OK;
}

/* Nobody finds the block any more, some may still read it: see the top. */
static void block_give(struct ids_table *table, uint64_t place)
{
    uint8_t *at = (uint8_t *)place_address(place);
    uint32_t pages = place_pages(place);
    size_t bytes = (size_t)pages * IDS_PAGE_BYTES;
    bool is_zero = madvise(at, bytes, MADV_DONTNEED) == 0;
    bool is_file = table->file_map != NULL && at >= table->file_map &&
                   at < table->file_map + table->file_bytes;
    struct ids_free_blocks *free_blocks = &table->free_blocks[pages];
    if (!is_zero || is_file) {
        return; /* its content is there again, or still: the address is spent */
    }
    if (free_blocks->count == free_blocks->cap) {
        uint32_t cap = free_blocks->cap * 2 + 8;
        uint8_t **grown = realloc(free_blocks->blocks, cap * sizeof(uint8_t *));
        if (grown == NULL) {
            return;
        }
        free_blocks->blocks = grown;
        free_blocks->cap = cap;
    }
    free_blocks->blocks[free_blocks->count++] = at;
}

/* ---- finding ---- */

static uint32_t slot_home(uint32_t tag, uint32_t slot_count)
{
    return (uint32_t)((uint64_t)tag * slot_count >> TAG_BITS);
}

static uint64_t sub_find(const struct ids *ids, uint64_t place, enum id_kind kind, struct str key,
                         uint32_t tag)
{
    const _Atomic uint64_t *slots = place_slots(place);
    uint32_t slot_count = place_slot_count(place);
    uint32_t slot = slot_home(tag, slot_count);
    for (uint32_t i = 0; i < slot_count; i++) {
        /* acquire: pairs with slot_put, so the entry can be read */
        uint64_t held = atomic_load_explicit(&slots[slot], memory_order_acquire);
        if (held == 0) {
            break;
        }
        if (tag_of(held) == tag && ids_log_holds(&ids->log, ids_slot_off(held), kind, key)) {
            return ids_slot_off(held);
        }
        slot = slot + 1 == slot_count ? 0 : slot + 1;
    }
    return IDS_NONE;
}

uint64_t ids_table_find(const struct ids *ids, enum id_kind kind, struct str key, uint64_t hash)
{
    const struct ids_table *table = &ids->table;
    uint32_t tag = tag_of(hash);
    for (;;) {
        /* acquire: pairs with sub_split */
        uint32_t sub_count = atomic_load_explicit(&table->sub_count, memory_order_acquire);
        if (sub_count == 0) {
            return IDS_NONE;
        }
        const struct ids_sub *sub = ids_sub_at(table, sub_idx(tag, sub_count));
        /* acquire: pairs with ids_sub_place */
        uint64_t place = atomic_load_explicit(&sub->place, memory_order_acquire);
        uint64_t off = sub_find(ids, place, kind, key, tag);
        /* The slots were read with acquire: what is read here is at least as new as they are. */
        if (off != IDS_NONE ||
            (atomic_load_explicit(&sub->place, memory_order_acquire) == place &&
             atomic_load_explicit(&table->sub_count, memory_order_acquire) == sub_count)) {
            return off;
        }
    }
}

void ids_table_prefetch(const struct ids *ids, uint64_t hash)
{
    const struct ids_table *table = &ids->table;
    uint32_t sub_count = atomic_load_explicit(&table->sub_count, memory_order_relaxed);
    const struct ids_sub *sub = ids_sub_at(table, sub_idx(tag_of(hash), sub_count));
    uint64_t place = atomic_load_explicit(&sub->place, memory_order_relaxed);
    uint32_t home = slot_home(tag_of(hash), place_slot_count(place));
    __builtin_prefetch((const void *)(place_address(place) + home * sizeof(uint64_t)));
}

/* ---- growing ---- */

static void slot_put(_Atomic uint64_t *slots, uint32_t slot_count, uint64_t value)
{
    uint32_t slot = slot_home(tag_of(value), slot_count);
    while (atomic_load_explicit(&slots[slot], memory_order_relaxed) != 0) {
        slot = slot + 1 == slot_count ? 0 : slot + 1;
    }
    /* release: the entry is written, and the memory is a sub-table's again */
    atomic_store_explicit(&slots[slot], value, memory_order_release);
}

static enum err_code sub_grow(struct ids_table *table, uint32_t idx, struct err *err)
{
    struct ids_sub *sub = ids_sub_at(table, idx);
    uint64_t older = atomic_load_explicit(&sub->place, memory_order_relaxed);
    uint32_t pages = MAX_OF(pages_for(sub->used + 1), place_pages(older) + 1);
    uint8_t *block = NULL;
    ERR_TRY(block_take(table, pages, &block, err));
    uint32_t slot_count = pages * (uint32_t)IDS_SLOTS_PER_PAGE;
    const _Atomic uint64_t *slots = place_slots(older);
    for (uint32_t i = 0; i < place_slot_count(older); i++) {
        uint64_t held = atomic_load_explicit(&slots[i], memory_order_relaxed);
        if (held != 0) {
            slot_put((_Atomic uint64_t *)block, slot_count, held);
        }
    }
    ids_sub_place(table, idx, block, pages, sub->used);
    block_give(table, older);
    return ERR_OK;
}

/* Split the next one in turn. */
static enum err_code sub_split(struct ids_table *table, struct err *err)
{
    uint32_t sub_count = atomic_load_explicit(&table->sub_count, memory_order_relaxed);
    uint32_t bit = 1u << level_of(sub_count);
    uint32_t low_idx = sub_count - bit;
    ERR_TRY(ids_sub_room(table, sub_count, err));
    uint64_t older = atomic_load_explicit(&ids_sub_at(table, low_idx)->place, memory_order_relaxed);
    const _Atomic uint64_t *slots = place_slots(older);
    uint32_t used[2] = {0, 0};
    for (uint32_t i = 0; i < place_slot_count(older); i++) {
        uint64_t held = atomic_load_explicit(&slots[i], memory_order_relaxed);
        if (held != 0) {
            used[(tag_of(held) & bit) != 0]++;
        }
    }
    uint32_t pages[2] = {pages_for(used[0] + 1), pages_for(used[1] + 1)};
    uint8_t *blocks[2] = {NULL, NULL};
    ERR_TRY(block_take(table, pages[0], &blocks[0], err));
    /* Should this one fail, the first is address space lost. */
    ERR_TRY(block_take(table, pages[1], &blocks[1], err));
    for (uint32_t i = 0; i < place_slot_count(older); i++) {
        uint64_t held = atomic_load_explicit(&slots[i], memory_order_relaxed);
        if (held != 0) {
            uint32_t half = (tag_of(held) & bit) != 0;
            slot_put((_Atomic uint64_t *)blocks[half], pages[half] * (uint32_t)IDS_SLOTS_PER_PAGE,
                     held);
        }
    }
    ids_sub_place(table, sub_count, blocks[1], pages[1], used[1]);
    atomic_store_explicit(&table->sub_count, sub_count + 1, memory_order_release);
    ids_sub_place(table, low_idx, blocks[0], pages[0], used[0]);
    block_give(table, older);
    return ERR_OK;
}

static enum err_code sub_add(struct ids_table *table, uint32_t idx, uint32_t pages, struct err *err)
{
    uint8_t *block = NULL;
    ERR_TRY(ids_sub_room(table, idx, err));
    ERR_TRY(block_take(table, pages, &block, err));
    ids_sub_place(table, idx, block, pages, 0);
    atomic_store_explicit(&table->sub_count, idx + 1, memory_order_release);
    return ERR_OK;
}

enum err_code ids_table_reserve(struct ids *ids, uint64_t count, struct err *err)
{
    struct ids_table *table = &ids->table;
    ASSERT(atomic_load(&table->sub_count) == 0);
    uint32_t sub_count = (uint32_t)((count + KEYS_PER_SUB - 1) / KEYS_PER_SUB);
    sub_count = MAX_OF(sub_count, 1u);
    uint32_t level_size = 1u << level_of(sub_count);
    for (uint32_t i = 0; i < sub_count; i++) {
        bool is_split = i >= level_size || i + level_size < sub_count;
        ERR_TRY(sub_add(table, i, pages_for(count / level_size / (is_split ? 2 : 1)), err));
    }
    return ERR_OK;
}

enum err_code ids_table_room(struct ids *ids, uint64_t hash, struct err *err)
{
    struct ids_table *table = &ids->table;
    uint32_t sub_count = atomic_load_explicit(&table->sub_count, memory_order_relaxed);
    if (sub_count == 0) {
        return sub_add(table, 0, 1, err);
    }
    if (table->used >= (uint64_t)sub_count * KEYS_PER_SUB) {
        ERR_TRY(sub_split(table, err));
        sub_count++;
    }
    uint32_t idx = sub_idx(tag_of(hash), sub_count);
    if (ids_sub_at(table, idx)->used >= keys_max(ids_sub_pages(table, idx))) {
        return sub_grow(table, idx, err);
    }
    return ERR_OK;
}

void ids_table_insert(struct ids *ids, uint64_t hash, uint64_t off)
{
    struct ids_table *table = &ids->table;
    uint32_t sub_count = atomic_load_explicit(&table->sub_count, memory_order_relaxed);
    struct ids_sub *sub = ids_sub_at(table, sub_idx(tag_of(hash), sub_count));
    uint64_t place = atomic_load_explicit(&sub->place, memory_order_relaxed);
    ASSERT(off % 4 == 0 && off >> IDS_LOG_BITS == 0);
    slot_put(place_slots(place), place_slot_count(place),
             (uint64_t)tag_of(hash) << OFF_BITS | off >> 2);
    sub->used++;
    table->used++;
}

uint32_t ids_sub_copy(const struct ids_table *table, uint32_t idx, uint64_t end_off, uint64_t *out)
{
    uint64_t place = atomic_load_explicit(&ids_sub_at(table, idx)->place, memory_order_relaxed);
    uint32_t slot_count = place_slot_count(place);
    uint32_t used = 0;
    for (uint32_t i = 0; i < slot_count; i++) {
        uint64_t held = atomic_load_explicit(&place_slots(place)[i], memory_order_relaxed);
        if (held == 0 || ids_slot_off(held) >= end_off) {
            continue;
        }
        uint32_t slot = slot_home(tag_of(held), slot_count);
        while (out[slot] != 0) {
            slot = slot + 1 == slot_count ? 0 : slot + 1;
        }
        out[slot] = held;
        used++;
    }
    return used;
}

void ids_table_done(struct ids_table *table)
{
    for (uint32_t i = 0; i < table->region_count; i++) {
        (void)munmap(table->regions[i], REGION_BYTES);
    }
    if (table->file_map != NULL) {
        (void)munmap(table->file_map, table->file_bytes);
    }
    free(table->regions);
    for (uint32_t i = 0; i <= IDS_SUB_PAGES_MAX; i++) {
        free(table->free_blocks[i].blocks);
    }
    for (uint32_t i = 0; i < IDS_SUB_CHUNKS; i++) {
        free(table->chunks[i]);
    }
    *table = (struct ids_table){.used = 0};
}
