/* query/answer_cache.h - finished answers, and parts of answers, kept in memory within a bound.
 *
 *     a whole answer      named by the question and by all that its snapshot has (answer_key.h)
 *     a partial answer    what one segment contributes, named by the plan, the segment, and what masks its rows (trend_partial.c)
 *     outcomes            what subjects contribute by themselves, named by the question; they say what they stand on (outcomes.h)
 *
 * Nothing is ever taken out because data change: what an answer depends on is part of its name, so that after a change it
 * is not asked for any more, and leaves as the queue moves on. The name's bytes are kept beside the answer and compared. Only
 * outcomes have the same name from one state of the data to the next: of these the newest are found.
 *
 * The bytes lie in a block cache (S3-FIFO): what is asked once does not push out what is asked again and again.
 *
 * Thread: any.
 */
#pragma once

#include "storage/base/str.h"
#include "storage/block_cache.h"

#define ANSWER_KEY_BYTES_MAX (64u << 10)

enum answer_kind { ANSWER_WHOLE, ANSWER_PARTIAL, ANSWER_OUTCOMES, ANSWER_KINDS };

struct answer_cache;
enum err_code answer_cache_create(size_t bytes_max, struct answer_cache **ret,
                                  struct err *err) ERR_MUST_CHECK;
void answer_cache_free(struct answer_cache *cache); /* NULL is fine; nothing of it may be held */
static inline void answer_cache_freep(struct answer_cache **cache)
{
    answer_cache_free(*cache);
}

/* Longest answer that is kept: a 64th of all bytes. */
size_t answer_cache_item_max(const struct answer_cache *cache);
/* Random, the same as long as the cache lives: what partial answers hash values with. */
uint64_t answer_cache_seed(const struct answer_cache *cache);

/* Bytes that were kept, aligned to 16; they stay until answer_hit_done. */
struct answer_hit {
    struct str bytes;
    struct cache_block *block;
};
bool answer_cache_find(struct answer_cache *cache, enum answer_kind kind, struct str key,
                       struct answer_hit *ret);
void answer_hit_done(struct answer_hit *hit);
/* Keep a copy, where it is not too long and there is memory for it. */
void answer_cache_keep(struct answer_cache *cache, enum answer_kind kind, struct str key,
                       struct str bytes);

/* The same of names that come again with other bytes: the last that were kept are found, as long as not too many other such names
 * were used since. */
bool answer_cache_find_newest(struct answer_cache *cache, enum answer_kind kind, struct str key,
                              struct answer_hit *ret);
void answer_cache_keep_newest(struct answer_cache *cache, enum answer_kind kind, struct str key,
                              struct str bytes);

struct answer_cache_stats {
    uint64_t bytes, bytes_max, evictions;
    uint64_t hits[ANSWER_KINDS], misses[ANSWER_KINDS];
};
struct answer_cache_stats answer_cache_stats(const struct answer_cache *cache);
