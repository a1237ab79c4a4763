/* query/interns.c - open addressing over the numbers, at most three quarters full. */
#include "query/interns.h"

#include "query/grow.h"
#include "storage/base/hash.h"
#include "storage/base/rng.h"

#define FREE UINT32_MAX

enum err_code interns_init(struct interns *interns, struct arena *arena, struct err *err)
{
    *interns = (struct interns){.arena = arena};
    return rng_system(&interns->seed, sizeof(interns->seed), err);
}

static void slot_fill(struct interns *interns, uint64_t hash, uint32_t number)
{
    uint32_t at = (uint32_t)hash & (interns->slot_count - 1);
    while (interns->slots[at] != FREE) {
        at = (at + 1) & (interns->slot_count - 1);
    }
    interns->slots[at] = number;
}

static enum err_code slots_grow(struct interns *interns, struct err *err)
{
    uint32_t slot_count = interns->slot_count == 0 ? 64 : interns->slot_count * 2;
    void *memory = NULL;
    if (slot_count < interns->slot_count) {
        return err_set(err, ERR_LIMIT, "more than %u different things to count", interns->count);
    }
    ERR_TRY(arena_alloc_raw(interns->arena, (size_t)slot_count * sizeof(uint32_t), &memory, err));
    memset(memory, 0xff, (size_t)slot_count * sizeof(uint32_t));
    interns->slots = memory;
    interns->slot_count = slot_count;
    for (uint32_t i = 0; i < interns->count; i++) {
        slot_fill(interns, hash_str(interns->items[i], interns->seed), i);
    }
    return ERR_OK;
}

static enum err_code add(struct interns *interns, struct str bytes, uint64_t hash, struct err *err)
{
    uint32_t number = interns->count;
    if (((uint64_t)number + 1) * 4 > (uint64_t)interns->slot_count * 3) {
        ERR_TRY(slots_grow(interns, err));
    }
    ERR_TRY(GROW(interns->arena, &interns->items, number, &interns->cap, err));
    ERR_TRY(GROW(interns->arena, &interns->tags, number, &interns->tag_cap, err));
    ERR_TRY(arena_str(interns->arena, bytes, &interns->items[number], err));
    interns->tags[number] = (uint32_t)(hash >> 32);
    slot_fill(interns, hash, number);
    interns->count++;
    return ERR_OK;
}

static bool find(const struct interns *interns, struct str bytes, uint64_t hash, uint32_t *ret)
{
    if (interns->slot_count == 0) {
        return false;
    }
    for (uint32_t at = (uint32_t)hash & (interns->slot_count - 1); interns->slots[at] != FREE;
         at = (at + 1) & (interns->slot_count - 1)) {
        uint32_t number = interns->slots[at];
        if (interns->tags[number] == (uint32_t)(hash >> 32) &&
            str_eq(interns->items[number], bytes)) {
            *ret = number;
            return true;
        }
    }
    return false;
}

bool interns_find(const struct interns *interns, struct str bytes, uint32_t *ret_number)
{
    return find(interns, bytes, hash_str(bytes, interns->seed), ret_number);
}

enum err_code interns_put(struct interns *interns, struct str bytes, uint32_t *ret_number,
                          struct err *err)
{
    uint64_t hash = hash_str(bytes, interns->seed);
    if (!find(interns, bytes, hash, ret_number)) {
        ERR_TRY(add(interns, bytes, hash, err));
        *ret_number = interns->count - 1;
    }
    return ERR_OK;
}

const uint32_t *interns_words(const struct interns *interns, uint32_t number, uint32_t *ret_count)
{
    struct str bytes = interns->items[number];
    ASSERT(bytes.len % sizeof(uint32_t) == 0);
    *ret_count = (uint32_t)(bytes.len / sizeof(uint32_t));
    return (const uint32_t *)(const void *)bytes.ptr;
}
