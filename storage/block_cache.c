/* storage/block_cache.c - raw blocks of segments, checked when they were loaded, bounded, evicted
 * by CLOCK.
 *
 * Sixteen stripes by hash of (segment, offset), each with its own lock, hash table and ring. The
 * lock guards lookups and evictions, never a read: on a miss the caller loads the block without any
 * lock and offers it. Two that miss at once both load; the second keeps its copy to itself until it
 * is done.
 *
 * A block is pinned while it is decoded. Pins rise only under the stripe's lock, so a block that
 * the hand finds without pins, under that lock, stays without them and is freed.
 *
 * Source: F. Corbato, "A Paging Experiment with the Multics System", 1968 (CLOCK).
 */
#include "storage/base/hash.h"
#include "storage/codec_bits.h"
#include "storage/segment_int.h"

#include <pthread.h>
#include <stdlib.h>

#define STRIPES       16u
#define BUCKETS_LEAST 64u

struct stripe {
    pthread_mutex_t lock; /* guards all below */
    struct cache_block **buckets;
    uint32_t bucket_count; /* a power of two */
    struct cache_block **ring;
    uint32_t count, ring_cap, hand;
    size_t bytes;
    uint64_t hits, misses, evictions;
};

struct block_cache {
    size_t bytes_max; /* of all stripes */
    struct stripe stripes[STRIPES];
};

static size_t block_bytes(const struct cache_block *block)
{
    return sizeof(*block) + block->len + BITS_SLACK;
}

static uint64_t key_hash(uint64_t uid, uint64_t off)
{
    return hash_mix(hash_mix(uid) ^ off);
}

enum err_code block_cache_create(size_t max_bytes, struct block_cache **ret, struct err *err)
{
    struct block_cache *cache = calloc(1, sizeof(*cache));
    if (cache == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for the block cache");
    }
    cache->bytes_max = max_bytes;
    for (uint32_t i = 0; i < STRIPES; i++) {
        struct stripe *stripe = &cache->stripes[i];
        pthread_mutex_init(&stripe->lock, NULL);
        stripe->bucket_count = BUCKETS_LEAST;
        stripe->buckets = calloc(stripe->bucket_count, sizeof(struct cache_block *));
        if (stripe->buckets == NULL) {
            block_cache_free(cache);
            return err_set(err, ERR_NOMEM, "out of memory for the block cache");
        }
    }
    *ret = cache;
    return ERR_OK;
}

void block_cache_free(struct block_cache *cache)
{
    if (cache == NULL) {
        return;
    }
    for (uint32_t i = 0; i < STRIPES; i++) {
        struct stripe *stripe = &cache->stripes[i];
        for (uint32_t k = 0; k < stripe->count; k++) {
            free(stripe->ring[k]);
        }
        free(stripe->ring);
        free(stripe->buckets);
        if (stripe->bucket_count != 0) {
            pthread_mutex_destroy(&stripe->lock);
        }
    }
    free(cache);
}

struct block_cache_stats block_cache_stats(const struct block_cache *cache)
{
    struct block_cache_stats stats = {.bytes_max = cache->bytes_max};
    for (uint32_t i = 0; i < STRIPES; i++) {
        /* The lock is not part of the value that callers see as constant. */
        struct stripe *stripe = (struct stripe *)(uintptr_t)&cache->stripes[i];
        pthread_mutex_lock(&stripe->lock);
        stats.bytes += stripe->bytes;
        stats.hits += stripe->hits;
        stats.misses += stripe->misses;
        stats.evictions += stripe->evictions;
        pthread_mutex_unlock(&stripe->lock);
    }
    return stats;
}

enum err_code cache_block_create(uint64_t uid, uint64_t off, uint32_t len, struct cache_block **ret,
                                 struct err *err)
{
    struct cache_block *block = malloc(sizeof(*block) + len + BITS_SLACK);
    if (block == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for a block of %u bytes", len);
    }
    memset(block, 0, sizeof(*block));
    block->uid = uid;
    block->off = off;
    block->len = len;
    atomic_init(&block->pins, 1);
    memset(block->data + len, 0, BITS_SLACK);
    *ret = block;
    return ERR_OK;
}

static struct cache_block **find_link(struct stripe *stripe, uint64_t hash, uint64_t uid,
                                      uint64_t off)
{
    struct cache_block **link = &stripe->buckets[(hash / STRIPES) & (stripe->bucket_count - 1)];
    while (*link != NULL && ((*link)->uid != uid || (*link)->off != off)) {
        link = &(*link)->next;
    }
    return link;
}

struct cache_block *block_cache_pin(struct block_cache *cache, uint64_t uid, uint64_t off)
{
    if (cache == NULL) {
        return NULL;
    }
    uint64_t hash = key_hash(uid, off);
    struct stripe *stripe = &cache->stripes[hash % STRIPES];
    pthread_mutex_lock(&stripe->lock);
    struct cache_block *block = *find_link(stripe, hash, uid, off);
    if (block != NULL) {
        atomic_fetch_add_explicit(&block->pins, 1, memory_order_relaxed);
        atomic_store_explicit(&block->is_used, true, memory_order_relaxed);
        stripe->hits++;
    } else {
        stripe->misses++;
    }
    pthread_mutex_unlock(&stripe->lock);
    return block;
}

static void evict(struct stripe *stripe, struct cache_block *block)
{
    struct cache_block **link =
        find_link(stripe, key_hash(block->uid, block->off), block->uid, block->off);
    ASSERT(*link == block);
    *link = block->next;
    stripe->count--;
    stripe->ring[block->slot] = stripe->ring[stripe->count];
    stripe->ring[block->slot]->slot = block->slot;
    stripe->bytes -= block_bytes(block);
    stripe->evictions++;
    free(block);
}

/* Evict until `more` bytes fit into the stripe's share; false where too much is pinned. */
static bool make_room(struct stripe *stripe, size_t more, size_t bytes_max)
{
    /* Twice round: the first may only clear the marks. */
    for (uint64_t looks = 2 * (uint64_t)stripe->count; stripe->bytes + more > bytes_max; looks--) {
        if (looks == 0 || stripe->count == 0) {
            return false;
        }
        stripe->hand = stripe->hand >= stripe->count ? 0 : stripe->hand;
        struct cache_block *block = stripe->ring[stripe->hand];
        if (atomic_exchange_explicit(&block->is_used, false, memory_order_relaxed)) {
            stripe->hand++;
        } else if (atomic_load_explicit(&block->pins, memory_order_acquire) != 0) {
            stripe->hand++; /* acquire above: pairs with cache_block_unpin */
        } else {
            evict(stripe, block); /* the last of the ring takes its place under the hand */
        }
    }
    return true;
}

/* Keep buckets at least as many as blocks, and room for one more in the ring. */
static bool grow(struct stripe *stripe)
{
    if (stripe->count == stripe->ring_cap) {
        uint32_t cap = stripe->ring_cap == 0 ? BUCKETS_LEAST : 2 * stripe->ring_cap;
        struct cache_block **ring = reallocarray(stripe->ring, cap, sizeof(struct cache_block *));
        if (ring == NULL) {
            return false;
        }
        stripe->ring = ring;
        stripe->ring_cap = cap;
    }
    if (stripe->count >= stripe->bucket_count) {
        uint32_t bucket_count = 2 * stripe->bucket_count;
        struct cache_block **buckets = calloc(bucket_count, sizeof(struct cache_block *));
        if (buckets == NULL) {
            return true; /* chains grow longer, that is all */
        }
        free(stripe->buckets);
        stripe->buckets = buckets;
        stripe->bucket_count = bucket_count;
        for (uint32_t i = 0; i < stripe->count; i++) {
            struct cache_block *block = stripe->ring[i];
            uint64_t hash = key_hash(block->uid, block->off);
            struct cache_block **head = &buckets[(hash / STRIPES) & (bucket_count - 1)];
            block->next = *head;
            *head = block;
        }
    }
    return true;
}

void block_cache_offer(struct block_cache *cache, struct cache_block *block)
{
    if (cache == NULL) {
        return;
    }
    uint64_t hash = key_hash(block->uid, block->off);
    struct stripe *stripe = &cache->stripes[hash % STRIPES];
    pthread_mutex_lock(&stripe->lock);
    if (*find_link(stripe, hash, block->uid, block->off) == NULL &&
        make_room(stripe, block_bytes(block), cache->bytes_max / STRIPES) && grow(stripe)) {
        struct cache_block **link = find_link(stripe, hash, block->uid, block->off);
        *link = block;
        block->slot = stripe->count;
        stripe->ring[stripe->count++] = block;
        stripe->bytes += block_bytes(block);
        block->is_cached = true;
        atomic_store_explicit(&block->is_used, true, memory_order_relaxed);
    }
    pthread_mutex_unlock(&stripe->lock);
}

void cache_block_unpin(struct cache_block *block)
{
    if (block == NULL) {
        return;
    }
    if (!block->is_cached) {
        free(block); /* never shared: the caller's pin is the only one */
        return;
    }
    /* release: what was read is read before the hand may free it */
    atomic_fetch_sub_explicit(&block->pins, 1, memory_order_release);
}
