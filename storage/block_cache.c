/* storage/block_cache.c - raw blocks of segments, checked when they were loaded, bounded, and not to
 * be flushed by a scan.
 *
 *    offered, unknown ---> SMALL, a tenth of the bytes  -- at its end, used twice or more --> MAIN
 *                            |                                                               |  ^
 *                            | at its end, not used                          at its end, used|__| a use less
 *                            v                                                               v
 *                          GHOSTS, names without bytes                               not used: gone
 *                            |
 *    offered, a ghost --------------------------------------------------------------------> MAIN
 *
 * What is read once passes through SMALL and leaves it without having touched MAIN, so that a scan
 * of more than the cache holds costs the hot blocks nothing but that tenth. What comes back soon
 * after it left is known by its ghost and goes to MAIN at once. Both queues are first in, first
 * out; a use only counts (up to 3), so that a hit moves nothing.
 *
 * Sixteen stripes by hash of (segment, offset), each with its own lock, hash table and queues. The
 * lock guards lookups and evictions, never a read: on a miss the caller loads the block without any
 * lock and offers it. Two that miss at once both load; the second keeps its copy to itself until it
 * is done.
 *
 * A block is pinned while it is decoded, and while it is held for a reader that will decode it.
 * Pins rise under the stripe's lock, or by who has one already; so a block that is found without
 * pins, under that lock, stays without them and is freed. Where SMALL holds nothing but pinned
 * blocks a new one is not kept: evicting from MAIN instead would let a scan that reads far ahead
 * push out hot blocks after all.
 *
 * Source: J. Yang et al., "FIFO Queues are All You Need for Cache Eviction", SOSP 2023 (S3-FIFO),
 * with its ghosts as a table of fingerprints that forgets by age.
 */
#include "storage/base/hash.h"
#include "storage/base/size.h"
#include "storage/base/slabs.h"
#include "storage/codec_bits.h"
#include "storage/segment_int.h"

#include <pthread.h>
#include <stdlib.h>

#define STRIPES       BLOCK_CACHE_PARTS
#define BUCKETS_LEAST 64u
#define SMALL_PARTS   10u /* SMALL is one part of so many */
#define USES_MAX      3u
#define USES_TO_STAY  2u /* the first use may be the same question's, as of a block at a border */
#define GHOSTS        2048u /* of a stripe; a power of two */
#define GHOST_AGE_MIN 32u   /* evictions that a ghost outlives at least */

struct queue {
    struct cache_block *first, *last; /* the first leaves next */
    uint32_t count;
    size_t bytes;
};

struct ghost {
    uint32_t mark; /* of the name's hash; 0: none */
    uint32_t age;  /* the stripe's count of ghosts when it became one */
};

struct stripe {
    pthread_mutex_t lock; /* guards all below */
    struct cache_block **buckets;
    uint32_t bucket_count; /* a power of two */
    struct queue small, main;
    struct ghost *ghosts;
    uint32_t ghost_count; /* ever made; wraps */
    uint64_t hits, misses, evictions;
};

struct block_cache {
    size_t bytes_max; /* of all stripes */
    struct stripe stripes[STRIPES];
};

static size_t asked_bytes(size_t len)
{
    return sizeof(struct cache_block) + len + BITS_SLACK;
}

static void block_free(struct cache_block *block)
{
    slabs_free(block, asked_bytes(block->len));
}

/* What it takes of the cache's bytes. */
static size_t block_bytes(const struct cache_block *block)
{
    return slabs_size(asked_bytes(block->len));
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
        stripe->ghosts = calloc(GHOSTS, sizeof(*stripe->ghosts));
        if (stripe->buckets == NULL || stripe->ghosts == NULL) {
            block_cache_free(cache);
            return err_set(err, ERR_NOMEM, "out of memory for the block cache");
        }
    }
    *ret = cache;
    return ERR_OK;
}

static void queue_free(struct queue *queue)
{
    while (queue->first != NULL) {
        struct cache_block *block = queue->first;
        queue->first = block->after;
        block_free(block);
    }
}

void block_cache_free(struct block_cache *cache)
{
    if (cache == NULL) {
        return;
    }
    for (uint32_t i = 0; i < STRIPES; i++) {
        struct stripe *stripe = &cache->stripes[i];
        queue_free(&stripe->small);
        queue_free(&stripe->main);
        free(stripe->buckets);
        free(stripe->ghosts);
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
        stats.bytes += stripe->small.bytes + stripe->main.bytes;
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
    struct cache_block *block = slabs_alloc(asked_bytes(len));
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

/* ---- lookup ---- */

static struct cache_block **find_link(struct stripe *stripe, uint64_t hash, uint64_t uid,
                                      uint64_t off)
{
    struct cache_block **link = &stripe->buckets[(hash / STRIPES) & (stripe->bucket_count - 1)];
    while (*link != NULL && ((*link)->uid != uid || (*link)->off != off)) {
        link = &(*link)->next;
    }
    return link;
}

struct cache_block *block_cache_pin(struct block_cache *cache, uint64_t uid, uint64_t off,
                                    bool is_use)
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
        block->uses = (uint8_t)MIN_OF(block->uses + (is_use ? 1u : 0u), USES_MAX);
        stripe->hits++;
    } else {
        stripe->misses++;
    }
    pthread_mutex_unlock(&stripe->lock);
    return block;
}

/* ---- ghosts ---- */

static struct ghost *ghost_slot(struct stripe *stripe, uint64_t hash, uint32_t *ret_mark)
{
    *ret_mark = (uint32_t)(hash >> 32) | 1;
    return &stripe->ghosts[(hash / STRIPES) & (GHOSTS - 1)];
}

static void ghost_put(struct stripe *stripe, uint64_t hash)
{
    uint32_t mark = 0;
    struct ghost *ghost = ghost_slot(stripe, hash, &mark);
    *ghost = (struct ghost){.mark = mark, .age = ++stripe->ghost_count};
}

/* As many ghosts are believed as there are blocks. Another name may have the same mark: then a
 * block comes to MAIN that did not earn it. */
static bool ghost_take(struct stripe *stripe, uint64_t hash)
{
    uint32_t mark = 0;
    struct ghost *ghost = ghost_slot(stripe, hash, &mark);
    uint32_t age_max = MAX_OF(stripe->small.count + stripe->main.count, GHOST_AGE_MIN);
    bool is_known = ghost->mark == mark && stripe->ghost_count - ghost->age < age_max;
    if (is_known) {
        ghost->mark = 0;
    }
    return is_known;
}

/* ---- queues ---- */

static void queue_put(struct queue *queue, struct cache_block *block)
{
    block->after = NULL;
    if (queue->last == NULL) {
        queue->first = block;
    } else {
        queue->last->after = block;
    }
    queue->last = block;
    queue->count++;
    queue->bytes += block_bytes(block);
}

static struct cache_block *queue_take(struct queue *queue)
{
    struct cache_block *block = queue->first;
    queue->first = block->after;
    queue->last = queue->first == NULL ? NULL : queue->last;
    queue->count--;
    queue->bytes -= block_bytes(block);
    return block;
}

static void evict(struct stripe *stripe, struct cache_block *block, uint64_t hash)
{
    struct cache_block **link = find_link(stripe, hash, block->uid, block->off);
    ASSERT(*link == block);
    *link = block->next;
    stripe->evictions++;
    block_free(block);
}

static bool is_pinned(const struct cache_block *block)
{
    /* acquire: pairs with cache_block_unpin */
    return atomic_load_explicit(&block->pins, memory_order_acquire) != 0;
}

/* Look at the first of SMALL: on to MAIN, out, or, pinned, to its end. */
static void step_small(struct stripe *stripe)
{
    struct cache_block *block = queue_take(&stripe->small);
    if (block->uses >= USES_TO_STAY) {
        block->uses = 0;
        queue_put(&stripe->main, block);
    } else if (is_pinned(block)) {
        queue_put(&stripe->small, block);
    } else {
        uint64_t hash = key_hash(block->uid, block->off);
        ghost_put(stripe, hash);
        evict(stripe, block, hash);
    }
}

/* Look at the first of MAIN: out, or to its end. */
static void step_main(struct stripe *stripe)
{
    struct cache_block *block = queue_take(&stripe->main);
    if (is_pinned(block)) {
        queue_put(&stripe->main, block);
    } else if (block->uses > 0) {
        block->uses--;
        queue_put(&stripe->main, block);
    } else {
        evict(stripe, block, key_hash(block->uid, block->off));
    }
}

/* Evict until `more` bytes fit into the stripe's share; false where too much is pinned. */
static bool make_room(struct stripe *stripe, size_t more, size_t bytes_max)
{
    if (more > bytes_max) {
        return false; /* evicting all the rest would not help */
    }
    /* Each look at SMALL takes one out of it but for pinned blocks, each look at MAIN takes a use
     * away: with so many looks all has been seen that may leave. */
    uint64_t small_looks = 2 * (uint64_t)stripe->small.count;
    uint64_t main_looks =
        (USES_MAX + 2) * ((uint64_t)stripe->main.count + (uint64_t)stripe->small.count);
    while (stripe->small.bytes + stripe->main.bytes + more > bytes_max) {
        bool is_small_full = stripe->small.bytes + more > bytes_max / SMALL_PARTS;
        if (stripe->small.count > 0 && (is_small_full || stripe->main.count == 0)) {
            if (small_looks-- == 0) {
                return false;
            }
            step_small(stripe);
        } else {
            if (main_looks-- == 0 || stripe->main.count == 0) {
                return false;
            }
            step_main(stripe);
        }
    }
    return true;
}

/* Keep buckets at least as many as blocks. */
static void grow(struct stripe *stripe)
{
    if (stripe->small.count + stripe->main.count < stripe->bucket_count) {
        return;
    }
    uint32_t bucket_count = 2 * stripe->bucket_count;
    struct cache_block **buckets = calloc(bucket_count, sizeof(struct cache_block *));
    if (buckets == NULL) {
        return; /* chains grow longer, that is all */
    }
    free(stripe->buckets);
    stripe->buckets = buckets;
    stripe->bucket_count = bucket_count;
    struct queue *queues[] = {&stripe->small, &stripe->main};
    for (uint32_t i = 0; i < COUNT_OF(queues); i++) {
        for (struct cache_block *block = queues[i]->first; block != NULL; block = block->after) {
            uint64_t hash = key_hash(block->uid, block->off);
            struct cache_block **head = &buckets[(hash / STRIPES) & (bucket_count - 1)];
            block->next = *head;
            *head = block;
        }
    }
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
        make_room(stripe, block_bytes(block), cache->bytes_max / STRIPES)) {
        grow(stripe);
        struct cache_block **link = find_link(stripe, hash, block->uid, block->off);
        block->next = NULL;
        *link = block;
        queue_put(ghost_take(stripe, hash) ? &stripe->main : &stripe->small, block);
        block->is_cached = true;
    }
    pthread_mutex_unlock(&stripe->lock);
}

void cache_block_unpin(struct cache_block *block)
{
    if (block == NULL) {
        return;
    }
    if (!block->is_cached) { /* never shared: all pins are one thread's */
        if (atomic_fetch_sub_explicit(&block->pins, 1, memory_order_relaxed) == 1) {
            block_free(block);
        }
        return;
    }
    /* release: what was read is read before an eviction may free it */
    atomic_fetch_sub_explicit(&block->pins, 1, memory_order_release);
}

bool block_cache_has_room(struct block_cache *cache, uint64_t uid, uint64_t off, size_t len)
{
    if (cache == NULL) {
        return false;
    }
    struct stripe *stripe = &cache->stripes[key_hash(uid, off) % STRIPES];
    pthread_mutex_lock(&stripe->lock);
    size_t used = stripe->small.bytes + stripe->main.bytes;
    pthread_mutex_unlock(&stripe->lock);
    size_t bytes_max = cache->bytes_max / STRIPES;
    return used <= bytes_max && slabs_size(asked_bytes(len)) <= bytes_max - used;
}
