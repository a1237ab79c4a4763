/* storage/read_ahead.c - see read_ahead.h. Some hundred entries at most: they are looked through one
 * by one. */
#include "storage/read_ahead.h"

#include "storage/segment_int.h"

#include <stdlib.h>

#define ENTRIES_LEAST 32u

void read_ahead_clear(struct read_ahead *ahead)
{
    for (uint32_t i = 0; i < ahead->count; i++) {
        cache_block_unpin(ahead->entries[i].block);
        budget_give(ahead->budget, ahead->entries[i].charged_bytes);
    }
    ahead->count = 0;
    ahead->bytes = 0;
}

void read_ahead_done(struct read_ahead *ahead)
{
    read_ahead_clear(ahead);
    free(ahead->entries);
    ahead->entries = NULL;
    ahead->cap = 0;
}

static struct read_ahead_entry *entry_find(const struct read_ahead *ahead, uint64_t uid,
                                           uint64_t off)
{
    for (uint32_t i = 0; ahead != NULL && i < ahead->count; i++) {
        if (ahead->entries[i].off == off && ahead->entries[i].uid == uid) {
            return &ahead->entries[i];
        }
    }
    return NULL;
}

const struct cache_block *read_ahead_peek(const struct read_ahead *ahead, uint64_t uid,
                                          uint64_t off)
{
    const struct read_ahead_entry *entry = entry_find(ahead, uid, off);
    return entry == NULL ? NULL : entry->block;
}

struct cache_block *read_ahead_pin(struct read_ahead *ahead, uint64_t uid, uint64_t off,
                                   bool *ret_is_fresh)
{
    struct read_ahead_entry *entry = entry_find(ahead, uid, off);
    if (entry == NULL) {
        return NULL;
    }
    *ret_is_fresh = entry->is_fresh;
    entry->is_fresh = false;
    /* Not under the stripe's lock, and need not be: the pin held here keeps the block. */
    atomic_fetch_add_explicit(&entry->block->pins, 1, memory_order_relaxed);
    return entry->block;
}

static bool grow(struct read_ahead *ahead)
{
    if (ahead->count < ahead->cap) {
        return true;
    }
    uint32_t cap = ahead->cap == 0 ? ENTRIES_LEAST : 2 * ahead->cap;
    struct read_ahead_entry *entries = reallocarray(ahead->entries, cap, sizeof(*entries));
    if (entries == NULL) {
        return false;
    }
    ahead->entries = entries;
    ahead->cap = cap;
    return true;
}

bool read_ahead_take(struct read_ahead *ahead, size_t bytes)
{
    struct budget *budget = ahead->budget;
    struct err err = {0};
    if (budget == NULL) {
        return true;
    }
    /* relaxed: a rule of thumb, and budget_take has the last word */
    size_t used = atomic_load_explicit(&budget->used_bytes, memory_order_relaxed);
    bool is_scarce = budget->max_bytes != 0 &&
                     (used > budget->max_bytes / 2 || bytes > budget->max_bytes / 2 - used);
    return !is_scarce && budget_take(budget, bytes, &err) == ERR_OK;
}

void read_ahead_give(struct read_ahead *ahead, size_t bytes)
{
    budget_give(ahead->budget, bytes);
}

bool read_ahead_hold(struct read_ahead *ahead, struct cache_block *block, bool is_fresh)
{
    if (ahead == NULL || ahead->bytes >= ahead->bytes_max ||
        block->len > ahead->bytes_max - ahead->bytes || !grow(ahead)) {
        return false;
    }
    size_t charged_bytes = block->is_cached ? 0 : block->len;
    if (charged_bytes > 0 && !read_ahead_take(ahead, charged_bytes)) {
        return false;
    }
    atomic_fetch_add_explicit(&block->pins, 1, memory_order_relaxed); /* beside the caller's own */
    ahead->entries[ahead->count++] = (struct read_ahead_entry){
        .block = block,
        .uid = block->uid,
        .off = block->off,
        .is_fresh = is_fresh,
        .charged_bytes = charged_bytes,
    };
    ahead->bytes += block->len;
    return true;
}
