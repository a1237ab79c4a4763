/* storage/known_set.c - 256 open-addressing tables of 64-bit slots.
 *
 *    slot    36 low bits of the key | 28 bits of ref + 1     0 = empty
 *
 * The top byte of the key picks the table (part), its low bits the first slot; linear probing, at
 * most 3/4 full, doubled when fuller. Splitting bounds the pause of one doubling to a 256th of the
 * set, and makes the parts, one after another, the order of the keys. Nothing is ever removed.
 */
#include "storage/known_set.h"

#include <stdlib.h>
#include <string.h>

#define PART_COUNT  256u
#define LOW_BITS    36u
#define REF_BITS    28u
#define REF_MASK    ((UINT64_C(1) << REF_BITS) - 1)
#define FIRST_SLOTS 32u

_Static_assert(LOW_BITS + 8 == KNOWN_KEY_BITS && LOW_BITS + REF_BITS == 64, "a slot is full");

struct part {
    uint64_t *slots;
    uint32_t size; /* 0, or a power of two */
    uint32_t used;
};

struct known_set {
    struct part parts[PART_COUNT];
};

enum err_code known_set_create(struct known_set **ret, struct err *err)
{
    struct known_set *set = calloc(1, sizeof(*set));
    if (set == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for a set of event ids");
    }
    *ret = set;
    return ERR_OK;
}

void known_set_free(struct known_set *set)
{
    if (set == NULL) {
        return;
    }
    for (uint32_t i = 0; i < PART_COUNT; i++) {
        free(set->parts[i].slots);
    }
    free(set);
}

void known_set_clear(struct known_set *set)
{
    for (uint32_t i = 0; i < PART_COUNT; i++) {
        struct part *part = &set->parts[i];
        if (part->used > 0) {
            memset(part->slots, 0, part->size * sizeof(*part->slots));
            part->used = 0;
        }
    }
}

static uint32_t part_of(uint64_t key)
{
    ASSERT(key >> KNOWN_KEY_BITS == 0);
    return (uint32_t)(key >> LOW_BITS);
}

/* The first slot of a key, from what its slot keeps of it. */
static uint32_t home_of(uint64_t slot, uint32_t size)
{
    return (uint32_t)(slot >> REF_BITS) & (size - 1);
}

static void put(struct part *part, uint64_t slot)
{
    uint32_t at = home_of(slot, part->size);
    while (part->slots[at] != 0) {
        at = (at + 1) & (part->size - 1);
    }
    part->slots[at] = slot;
    part->used++;
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
        return err_set(err, ERR_NOMEM, "no memory for a set of event ids");
    }
    /* From behind an empty slot on, so that those of one key keep their order. */
    uint32_t begin = 0;
    while (part->size > 0 && part->slots[begin] != 0) {
        begin++;
    }
    for (uint32_t i = 0; i < part->size; i++) {
        uint64_t slot = part->slots[(begin + i) & (part->size - 1)];
        if (slot != 0) {
            put(&bigger, slot);
        }
    }
    free(part->slots);
    *part = bigger;
    return ERR_OK;
}

enum err_code known_set_add(struct known_set *set, uint64_t key, uint32_t ref, struct err *err)
{
    ASSERT(ref <= KNOWN_REF_MAX);
    struct part *part = &set->parts[part_of(key)];
    ERR_TRY(grow(part, err));
    put(part, key << REF_BITS | (ref + 1));
    return ERR_OK;
}

void known_set_prefetch(const struct known_set *set, uint64_t key)
{
    const struct part *part = &set->parts[part_of(key)];
    if (part->size > 0) {
        __builtin_prefetch(&part->slots[(uint32_t)key & (part->size - 1)]);
    }
}

bool known_set_next(const struct known_set *set, uint64_t key, uint32_t *at, uint32_t *ret_ref)
{
    const struct part *part = &set->parts[part_of(key)];
    if (part->size == 0) {
        return false;
    }
    uint64_t want = key & ((UINT64_C(1) << LOW_BITS) - 1);
    uint32_t home = (uint32_t)key & (part->size - 1);
    for (;; ++*at) {
        uint64_t slot = part->slots[(home + *at) & (part->size - 1)];
        if (slot == 0) {
            return false;
        }
        if (slot >> REF_BITS == want) {
            *ret_ref = (uint32_t)(slot & REF_MASK) - 1;
            ++*at;
            return true;
        }
    }
}

uint64_t known_set_count(const struct known_set *set)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < PART_COUNT; i++) {
        count += set->parts[i].used;
    }
    return count;
}

uint64_t known_set_bytes(const struct known_set *set)
{
    uint64_t bytes = sizeof(*set);
    for (uint32_t i = 0; i < PART_COUNT; i++) {
        bytes += set->parts[i].size * sizeof(*set->parts[i].slots);
    }
    return bytes;
}

static int slot_cmp(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

enum err_code known_set_sorted(const struct known_set *set, known_set_fn fn, void *arg,
                               struct err *err)
{
    uint32_t used_max = 0;
    for (uint32_t i = 0; i < PART_COUNT; i++) {
        used_max = set->parts[i].used > used_max ? set->parts[i].used : used_max;
    }
    uint64_t *sorted = malloc(((size_t)used_max + 1) * sizeof(*sorted));
    if (sorted == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for sorting event ids");
    }
    enum err_code code = ERR_OK;
    for (uint32_t i = 0; i < PART_COUNT && code == ERR_OK; i++) {
        const struct part *part = &set->parts[i];
        uint32_t count = 0;
        for (uint32_t k = 0; k < part->size; k++) {
            sorted[count] = part->slots[k];
            count += part->slots[k] != 0;
        }
        ASSERT(count == part->used);
        qsort(sorted, count, sizeof(*sorted), slot_cmp);
        for (uint32_t k = 0; k < count && code == ERR_OK; k++) {
            uint64_t key = (uint64_t)i << LOW_BITS | sorted[k] >> REF_BITS;
            code = fn(arg, key, (uint32_t)(sorted[k] & REF_MASK) - 1, err);
        }
    }
    free(sorted);
    return code;
}
