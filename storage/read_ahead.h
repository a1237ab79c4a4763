/* storage/read_ahead.h - what a reader had fetched before it reads it: sections of segments, pinned.
 *
 * A scan, a merge or a query over subject sets knows what it will read next. source_prefetch
 * (source.h) fetches it in one batch and leaves it here, and reading finds it here first. So a
 * block is fetched once even where the cache has no room for it, and none is evicted between being
 * fetched and being read. The reader clears it when it moves on.
 *
 * Memory: at most `bytes_max` are held, in the cache or beside it; what is beside it is paid for by
 * `budget`, and only while half of that is free: fetching ahead must not be what spends it.
 *
 * Thread: one reader.
 */
#pragma once

#include "storage/base/arena.h"

struct cache_block;

struct read_ahead_entry {
    struct cache_block *block; /* pinned */
    uint64_t uid, off;         /* its name */
    bool is_fresh;             /* from disk, and nobody has read it yet */
    size_t charged_bytes;      /* to the budget */
};

/* Start with the first two fields set and all else zero. */
struct read_ahead {
    size_t bytes_max;
    struct budget *budget; /* NULL: nobody pays */
    size_t bytes;
    uint32_t count, cap;
    struct read_ahead_entry *entries;
};

/* Let go of all that is held. */
void read_ahead_clear(struct read_ahead *ahead);
/* And of the memory. The struct is the caller's. */
void read_ahead_done(struct read_ahead *ahead);

/* ---- for segments; `ahead` may be NULL: nothing is held, and nothing will be ---- */

/* One more pin on a held block; NULL where it is not held. *ret_is_fresh is true for the first who
 * asks for a block that came from disk. */
struct cache_block *read_ahead_pin(struct read_ahead *ahead, uint64_t uid, uint64_t off,
                                   bool *ret_is_fresh);
/* Without a pin, and without being the first who asks. */
const struct cache_block *read_ahead_peek(const struct read_ahead *ahead, uint64_t uid,
                                          uint64_t off);
/* Hold the block by one more pin; false where there is no room. The caller keeps its own pin. */
bool read_ahead_hold(struct read_ahead *ahead, struct cache_block *block, bool is_fresh);
/* Take `bytes` out of the budget for a fetch under way; false where half of it is spent. */
bool read_ahead_take(struct read_ahead *ahead, size_t bytes);
void read_ahead_give(struct read_ahead *ahead, size_t bytes);
