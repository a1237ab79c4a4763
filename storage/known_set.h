/* storage/known_set.h - the event ids of one memtable, or of the batches in hand: key -> row.
 *
 * A key is the top KNOWN_KEY_BITS of the event id's hash under the data set's random seed; what a
 * key stands for is a number of the caller's (`ref`). Keys of different ids may be equal, so a hit
 * is only a candidate: the caller compares the ids themselves.
 *
 * Memory: 8 bytes a slot, at most 3/4 of them in use: 11 to 22 bytes an id.
 *
 * Thread: one owner; known_set_sorted and known_set_next may run elsewhere once nothing is added.
 */
#pragma once

#include "storage/base/err.h"
#include "storage/base/hash.h"

#define KNOWN_KEY_BITS 44u
#define KNOWN_REF_MAX  ((1u << 28) - 2)

static inline uint64_t known_key(struct str event_id, uint64_t seed)
{
    return hash_str(event_id, seed) >> (64 - KNOWN_KEY_BITS);
}

struct known_set;
enum err_code known_set_create(struct known_set **ret, struct err *err) ERR_MUST_CHECK;
void known_set_free(struct known_set *set);
static inline void known_set_freep(struct known_set **set)
{
    known_set_free(*set);
}
/* Empty it; its memory is kept for the next time. Cost: the parts that are in use. */
void known_set_clear(struct known_set *set);
enum err_code known_set_add(struct known_set *set, uint64_t key, uint32_t ref,
                            struct err *err) ERR_MUST_CHECK;
/* Ask for the memory that a look-up of the key will want. */
void known_set_prefetch(const struct known_set *set, uint64_t key);
/* The refs that were added under the key, one a call, in the order of adding; *at starts at 0. */
bool known_set_next(const struct known_set *set, uint64_t key, uint32_t *at, uint32_t *ret_ref);
uint64_t known_set_count(const struct known_set *set);
uint64_t known_set_bytes(const struct known_set *set);

/* All of it, by (key, ref). `fn` ends the walk by failing. Cost: sorting. */
typedef enum err_code (*known_set_fn)(void *arg, uint64_t key, uint32_t ref, struct err *err);
enum err_code known_set_sorted(const struct known_set *set, known_set_fn fn, void *arg,
                               struct err *err) ERR_MUST_CHECK;
