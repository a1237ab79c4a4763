/* storage/read_held.h - what a reader uses in place: blocks of the cache, pinned until it moves on.
 *
 * A reader that brings one along (read_ctx.held) may get vectors that lie in the block cache and not in its arena. They
 * are readable until read_held_clear. Readers that walk blocks clear it once per block.
 *
 * Thread: one reader.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct cache_block;

/* Starts zeroed. */
struct read_held {
    uint32_t count, cap;
    struct cache_block **blocks;
};

/* Let go of all blocks. */
void read_held_clear(struct read_held *held);
/* And of the memory. The struct is the caller's. */
void read_held_done(struct read_held *held);
/* A block that is held already, or NULL. Cost: a look at each. */
struct cache_block *read_held_find(const struct read_held *held, uint64_t uid, uint64_t off);
/* Take over the caller's pin; false where memory is out: the pin is then still the caller's. */
bool read_held_add(struct read_held *held, struct cache_block *block);
