/* storage/block_cache.h - runs of bytes by name, bounded, and not to be flushed by what is used once (S3-FIFO, block_cache.c).
 *
 * A name is two numbers. The cache of segments holds raw blocks, checked when they were loaded, and what is made of
 * them, by (open segment, offset); query/answer_cache.c holds answers, by a hash of 128 bits.
 *
 * Thread: any. A block's bytes are written before it is offered and never after.
 */
#pragma once

#include "storage/base/err.h"

#include <stdatomic.h>

#define BLOCK_CACHE_PARTS                                                                          \
    16u /* that share the bytes evenly: what is longer than one is never kept */

struct block_cache;
enum err_code block_cache_create(size_t max_bytes, struct block_cache **ret,
                                 struct err *err) ERR_MUST_CHECK;
void block_cache_free(struct block_cache *cache);
struct block_cache_stats {
    uint64_t bytes, bytes_max, hits, misses, evictions;
};
struct block_cache_stats block_cache_stats(const struct block_cache *cache);

struct cache_block {
    uint64_t uid, off;
    struct cache_block *next;  /* in its bucket; under the stripe's lock */
    struct cache_block *after; /* in its queue; likewise */
    _Atomic uint32_t pins;     /* rises from 0 under the lock only */
    uint8_t uses;              /* since it was offered; under the lock */
    bool is_cached;            /* set once, before it is shared */
    uint32_t len;
    _Alignas(16) uint8_t data[]; /* len, then BITS_SLACK zero bytes */
};
/* A block with one pin, not yet in the cache. */
enum err_code cache_block_create(uint64_t uid, uint64_t off, uint32_t len, struct cache_block **ret,
                                 struct err *err) ERR_MUST_CHECK;
/* Pin the block, or NULL where it is not there. `cache` may be NULL: never there. Not `is_use`: it
 * is none the dearer to the cache for it (a merge, which reads everything once). */
struct cache_block *block_cache_pin(struct block_cache *cache, uint64_t uid, uint64_t off,
                                    bool is_use);
/* Offer a loaded and checked block to the cache. It stays pinned for the caller whether it is kept
 * or not. */
void block_cache_offer(struct block_cache *cache, struct cache_block *block);
void cache_block_unpin(struct cache_block *block); /* NULL is fine */
/* Whether a block of that name and length would be kept without anything leaving for it. */
bool block_cache_has_room(struct block_cache *cache, uint64_t uid, uint64_t off, size_t len);
