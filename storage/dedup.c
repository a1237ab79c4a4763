/* storage/dedup.c - 256 open-addressing tables of 128-bit hashes.
 *
 * The top byte of the hash picks the table, its low half the first slot; linear probing, at most
 * 3/4 full, doubled when fuller. Splitting bounds the pause of one doubling to a 256th of the set.
 * Removal shifts later entries of the run back, so there are no tombstones.
 */
#include "storage/dedup.h"

#include <pthread.h>
#include <stdlib.h>

#define PART_COUNT  256u
#define FIRST_SLOTS 32u

struct part {
    struct hash128 *slots; /* {0, 0} = empty */
    uint32_t size;
    uint32_t used;
    pthread_mutex_t lock; /* guards the part in dedup_add_shared; the writer alone needs none */
};

struct dedup {
    uint64_t seed;
    struct part parts[PART_COUNT];
};

enum err_code dedup_create(uint64_t seed, struct dedup **ret, struct err *err)
{
    struct dedup *dedup = calloc(1, sizeof(*dedup));
    if (dedup == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for the event id set");
    }
    dedup->seed = seed;
    for (uint32_t i = 0; i < PART_COUNT; i++) {
        pthread_mutex_init(&dedup->parts[i].lock, NULL);
    }
    *ret = dedup;
    return ERR_OK;
}

void dedup_free(struct dedup *dedup)
{
    if (dedup == NULL) {
        return;
    }
    for (uint32_t i = 0; i < PART_COUNT; i++) {
        free(dedup->parts[i].slots);
        pthread_mutex_destroy(&dedup->parts[i].lock);
    }
    free(dedup);
}

struct hash128 dedup_hash(const struct dedup *dedup, struct str event_id)
{
    struct hash128 hash = hash128(event_id.ptr, event_id.len, dedup->seed);
    if (hash.lo == 0 && hash.hi == 0) {
        hash.lo = 1; /* {0, 0} marks an empty slot */
    }
    return hash;
}

static bool is_empty(struct hash128 hash)
{
    return hash.lo == 0 && hash.hi == 0;
}

static bool is_same(struct hash128 a, struct hash128 b)
{
    return a.lo == b.lo && a.hi == b.hi;
}

void dedup_prefetch(const struct dedup *dedup, struct hash128 hash)
{
    const struct part *part = &dedup->parts[hash.hi >> 56];
    if (part->size > 0) {
        __builtin_prefetch(&part->slots[(uint32_t)hash.lo & (part->size - 1)]);
    }
}

/* Slot of the hash, or the empty one where it would go. */
static uint32_t probe(const struct part *part, struct hash128 hash)
{
    uint32_t slot = (uint32_t)hash.lo & (part->size - 1);
    while (!is_empty(part->slots[slot]) && !is_same(part->slots[slot], hash)) {
        slot = (slot + 1) & (part->size - 1);
    }
    return slot;
}

static enum err_code grow(struct part *part, struct err *err)
{
    if (part->used < part->size / 4 * 3) {
        return ERR_OK;
    }
    struct part bigger = {.size = part->size == 0 ? FIRST_SLOTS : part->size * 2};
    if (bigger.size != 0) {
        bigger.slots = calloc(bigger.size, sizeof(*bigger.slots));
    }
    if (bigger.slots == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for the event id set");
    }
    for (uint32_t i = 0; i < part->size; i++) {
        if (!is_empty(part->slots[i])) {
            bigger.slots[probe(&bigger, part->slots[i])] = part->slots[i];
        }
    }
    free(part->slots);
    part->slots = bigger.slots;
    part->size = bigger.size;
    return ERR_OK;
}

static enum err_code part_add(struct part *part, struct hash128 hash, bool *ret_is_new,
                              struct err *err)
{
    ERR_TRY(grow(part, err));
    uint32_t slot = probe(part, hash);
    *ret_is_new = is_empty(part->slots[slot]);
    if (*ret_is_new) {
        part->slots[slot] = hash;
        part->used++;
    }
    return ERR_OK;
}

enum err_code dedup_add(struct dedup *dedup, struct hash128 hash, bool *ret_is_new, struct err *err)
{
    return part_add(&dedup->parts[hash.hi >> 56], hash, ret_is_new, err);
}

enum err_code dedup_add_shared(struct dedup *dedup, struct hash128 hash, bool *ret_is_new,
                               struct err *err)
{
    struct part *part = &dedup->parts[hash.hi >> 56];
    pthread_mutex_lock(&part->lock);
    enum err_code code = part_add(part, hash, ret_is_new, err);
    pthread_mutex_unlock(&part->lock);
    return code;
}

void dedup_remove(struct dedup *dedup, struct hash128 hash)
{
    struct part *part = &dedup->parts[hash.hi >> 56];
    if (part->size == 0) {
        return;
    }
    uint32_t mask = part->size - 1;
    uint32_t hole = probe(part, hash);
    if (is_empty(part->slots[hole])) {
        return;
    }
    for (uint32_t slot = (hole + 1) & mask; !is_empty(part->slots[slot]);
         slot = (slot + 1) & mask) {
        uint32_t home = (uint32_t)part->slots[slot].lo & mask;
        /* It may move back into the hole unless its home lies after the hole. */
        if (((slot - home) & mask) >= ((slot - hole) & mask)) {
            part->slots[hole] = part->slots[slot];
            hole = slot;
        }
    }
    part->slots[hole] = (struct hash128){0};
    part->used--;
}

uint64_t dedup_count(const struct dedup *dedup)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < PART_COUNT; i++) {
        count += dedup->parts[i].used;
    }
    return count;
}
