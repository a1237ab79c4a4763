/* query/answer_cache.c - see answer_cache.h.
 *
 * A block is the key's length, the key, and from the next multiple of 16 on the answer. It is found by a hash of 128 bits
 * with a seed of this cache, and taken for the answer only where the keys are equal.
 *
 * Blocks are never changed, so what comes again under its name is another block: of the name and a number, its edition. A table
 * says which edition of a name is the newest; a name that has lost its place there to another is not found again. */
#include "query/answer_cache.h"

#include "storage/base/hash.h"
#include "storage/base/rng.h"
#include "storage/base/size.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define ITEM_PARTS 64u
#define EDITIONS   4096u /* places for names whose newest edition is known, */
#define WAYS       2u    /* two in each */
#define BODY_ALIGN 16u

_Static_assert(ITEM_PARTS > BLOCK_CACHE_PARTS, "an answer fits into a part of the block cache");

struct edition {
    struct hash128 name;
    uint64_t number; /* 0: none */
};

struct answer_cache {
    struct block_cache *blocks;
    size_t item_max;
    uint64_t name_seed, value_seed;
    _Atomic uint64_t hits[ANSWER_KINDS], misses[ANSWER_KINDS];
    pthread_mutex_t editions_lock;
    uint64_t last_edition; /* under the lock, as: */
    struct edition editions[EDITIONS][WAYS];
};

enum err_code answer_cache_create(size_t bytes_max, struct answer_cache **ret, struct err *err)
{
    CLEANUP(answer_cache_freep) struct answer_cache *cache = calloc(1, sizeof(*cache));
    if (cache == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for the cache of answers");
    }
    pthread_mutex_init(&cache->editions_lock, NULL);
    cache->item_max = bytes_max / ITEM_PARTS;
    ERR_TRY(rng_system(&cache->name_seed, sizeof(cache->name_seed), err));
    ERR_TRY(rng_system(&cache->value_seed, sizeof(cache->value_seed), err));
    ERR_TRY(block_cache_create(bytes_max, &cache->blocks, err));
    *ret = TAKE(cache);
    return ERR_OK;
}

void answer_cache_free(struct answer_cache *cache)
{
    if (cache != NULL) {
        block_cache_free(cache->blocks);
        pthread_mutex_destroy(&cache->editions_lock);
        free(cache);
    }
}

size_t answer_cache_item_max(const struct answer_cache *cache)
{
    return cache->item_max;
}

uint64_t answer_cache_seed(const struct answer_cache *cache)
{
    return cache->value_seed;
}

static struct hash128 name_of(const struct answer_cache *cache, enum answer_kind kind,
                              struct str key)
{
    return hash128(key.ptr, key.len, cache->name_seed + kind);
}

static size_t body_off(size_t key_len)
{
    size_t head = sizeof(uint32_t) + key_len;
    return (head + BODY_ALIGN - 1) / BODY_ALIGN * BODY_ALIGN;
}

static bool has_key(const struct cache_block *block, struct str key)
{
    uint32_t len = 0;
    memcpy(&len, block->data, sizeof(len));
    return len == key.len && memcmp(block->data + sizeof(len), key.ptr, len) == 0;
}

static bool find_named(struct answer_cache *cache, enum answer_kind kind, struct hash128 name,
                       struct str key, struct answer_hit *ret)
{
    struct cache_block *block = block_cache_pin(cache->blocks, name.lo, name.hi, true);
    bool is_hit = block != NULL && has_key(block, key);
    /* relaxed: counters, nothing is read because of them */
    atomic_fetch_add_explicit(is_hit ? &cache->hits[kind] : &cache->misses[kind], 1,
                              memory_order_relaxed);
    if (!is_hit) {
        cache_block_unpin(block);
        return false;
    }
    size_t off = body_off(key.len);
    *ret = (struct answer_hit){.bytes = {(const char *)block->data + off, block->len - off},
                               .block = block};
    return true;
}

bool answer_cache_find(struct answer_cache *cache, enum answer_kind kind, struct str key,
                       struct answer_hit *ret)
{
    return find_named(cache, kind, name_of(cache, kind, key), key, ret);
}

void answer_hit_done(struct answer_hit *hit)
{
    cache_block_unpin(hit->block);
    *hit = (struct answer_hit){.block = NULL};
}

static void keep_named(struct answer_cache *cache, struct hash128 name, struct str key,
                       struct str bytes)
{
    struct err err;
    struct cache_block *block = NULL;
    if (key.len > ANSWER_KEY_BYTES_MAX || bytes.len > cache->item_max ||
        body_off(key.len) > cache->item_max - bytes.len) {
        return;
    }
    size_t off = body_off(key.len);
    if (cache_block_create(name.lo, name.hi, (uint32_t)(off + bytes.len), &block, &err) != ERR_OK) {
        return; /* an answer is not the worse for not being kept */
    }
    uint32_t len = (uint32_t)key.len;
    memset(block->data, 0, off);
    memcpy(block->data, &len, sizeof(len));
    memcpy(block->data + sizeof(len), key.ptr, key.len);
    if (bytes.len > 0) {
        memcpy(block->data + off, bytes.ptr, bytes.len);
    }
    block_cache_offer(cache->blocks, block);
    cache_block_unpin(block);
}

void answer_cache_keep(struct answer_cache *cache, enum answer_kind kind, struct str key,
                       struct str bytes)
{
    keep_named(cache, name_of(cache, kind, key), key, bytes);
}

/* ---- names that come again ---- */

/* The name of an edition's block. */
static struct hash128 name_of_edition(struct hash128 name, uint64_t number)
{
    name.lo ^= number;
    return name;
}

/* The name's place, or the one that it is to have: of those there, the older one's. Under the lock. */
static struct edition *edition_of(struct answer_cache *cache, struct hash128 name, bool *ret_is_its)
{
    struct edition *ways = cache->editions[name.hi % EDITIONS];
    struct edition *oldest = ways;
    *ret_is_its = true;
    for (uint32_t i = 0; i < WAYS; i++) {
        if (ways[i].number != 0 && ways[i].name.lo == name.lo && ways[i].name.hi == name.hi) {
            return &ways[i];
        }
        oldest = ways[i].number < oldest->number ? &ways[i] : oldest;
    }
    *ret_is_its = false;
    return oldest;
}

bool answer_cache_find_newest(struct answer_cache *cache, enum answer_kind kind, struct str key,
                              struct answer_hit *ret)
{
    struct hash128 name = name_of(cache, kind, key);
    bool is_its = false;
    pthread_mutex_lock(&cache->editions_lock);
    const struct edition *edition = edition_of(cache, name, &is_its);
    uint64_t number = is_its ? edition->number : 0; /* no block has this one */
    pthread_mutex_unlock(&cache->editions_lock);
    return find_named(cache, kind, name_of_edition(name, number), key, ret);
}

void answer_cache_keep_newest(struct answer_cache *cache, enum answer_kind kind, struct str key,
                              struct str bytes)
{
    struct hash128 name = name_of(cache, kind, key);
    bool is_its = false;
    pthread_mutex_lock(&cache->editions_lock);
    uint64_t number = ++cache->last_edition;
    *edition_of(cache, name, &is_its) = (struct edition){name, number};
    pthread_mutex_unlock(&cache->editions_lock);
    keep_named(cache, name_of_edition(name, number), key, bytes);
}

struct answer_cache_stats answer_cache_stats(const struct answer_cache *cache)
{
    struct block_cache_stats blocks = block_cache_stats(cache->blocks);
    struct answer_cache_stats stats = {
        .bytes = blocks.bytes, .bytes_max = blocks.bytes_max, .evictions = blocks.evictions};
    for (uint32_t i = 0; i < ANSWER_KINDS; i++) {
        stats.hits[i] = atomic_load_explicit(&cache->hits[i], memory_order_relaxed);
        stats.misses[i] = atomic_load_explicit(&cache->misses[i], memory_order_relaxed);
    }
    return stats;
}
