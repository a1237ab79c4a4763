/* storage/dedup.h - the event ids of a data set: has this event been accepted before?
 *
 * A set of 128-bit XXH3 hashes under the data set's secret random seed. Two different ids are taken
 * for one with probability about n^2 / 2^129 over n events (10^9 events: 10^-21), and nobody
 * without the seed can prepare such a pair. The set follows from segments and WAL alone, so it is
 * not stored; opening a data set rebuilds it.
 *
 * Thread: the data set's writer; while a data set is opened, dedup_add_shared from many.
 * Cost: 16 bytes per hash at 37 to 75 percent load: 22 to 43 bytes per event.
 */
#pragma once

#include "storage/base/err.h"
#include "storage/base/hash.h"

struct dedup;

enum err_code dedup_create(uint64_t seed, struct dedup **ret, struct err *err) ERR_MUST_CHECK;
void dedup_free(struct dedup *dedup);
static inline void dedup_freep(struct dedup **dedup)
{
    dedup_free(*dedup);
}
struct hash128 dedup_hash(const struct dedup *dedup, struct str event_id);
/* Bring the place of this hash into the cache: call it some events ahead. */
void dedup_prefetch(const struct dedup *dedup, struct hash128 hash);
/* *ret_is_new false: it was there. */
enum err_code dedup_add(struct dedup *dedup, struct hash128 hash, bool *ret_is_new,
                        struct err *err) ERR_MUST_CHECK;
/* As dedup_add, from any number of threads at once. */
enum err_code dedup_add_shared(struct dedup *dedup, struct hash128 hash, bool *ret_is_new,
                               struct err *err) ERR_MUST_CHECK;
/* Take back an add: the event was not accepted after all. */
void dedup_remove(struct dedup *dedup, struct hash128 hash);
uint64_t dedup_count(const struct dedup *dedup);
