/* query/people.h - sets of people: subjects by shard, as roaring bitmaps out of a query's budget.
 *
 * A pool owns bitmaps and frees them all at its end. A set is its bitmap and how much of the budget it has taken: who
 * has changed the bitmap says so with people_charge, once per block of rows or so.
 *
 * Thread: a pool and its sets belong to one task. A `struct people` that is finished is only read, by anybody.
 */
#pragma once

#include "storage/base/arena.h"
#include "storage/source.h"

struct people_set {
    struct people_set *next; /* of the pool */
    roaring_bitmap_t *bits;
    size_t taken_bytes;
};
struct people_pool {
    struct arena *arena;
    struct people_set *sets;
};
void people_pool_init(struct people_pool *pool, struct arena *arena);
void people_pool_done(struct people_pool *pool);
/* An empty set. */
enum err_code people_set_new(struct people_pool *pool, struct people_set **ret,
                             struct err *err) ERR_MUST_CHECK;
/* Take what the bitmap has grown by from the budget. */
enum err_code people_charge(struct people_pool *pool, struct people_set *set,
                            struct err *err) ERR_MUST_CHECK;

struct people {
    struct people_pool pool;
    struct people_set *of[SHARD_COUNT]; /* NULL: nobody */
};
void people_init(struct people *people, struct arena *arena);
void people_done(struct people *people);
enum err_code people_add(struct people *people, uint32_t shard, uint32_t subject,
                         struct err *err) ERR_MUST_CHECK;
/* The set of a shard, made when there is none, to be added to; after that, people_settle. */
enum err_code people_bits(struct people *people, uint32_t shard, roaring_bitmap_t **ret,
                          struct err *err) ERR_MUST_CHECK;
enum err_code people_settle(struct people *people, uint32_t shard, struct err *err) ERR_MUST_CHECK;
/* Put more people of a shard in; `more` may be NULL. */
enum err_code people_or(struct people *people, uint32_t shard, const roaring_bitmap_t *more,
                        struct err *err) ERR_MUST_CHECK;
/* Put `bits`, which become the pool's, in the place of the shard's set, of which there is none yet. */
enum err_code people_adopt(struct people *people, uint32_t shard, roaring_bitmap_t *bits,
                           struct err *err) ERR_MUST_CHECK;
uint64_t people_count(const struct people *people);
/* The set of a shard, or NULL where nobody is in it. */
const roaring_bitmap_t *people_of(const struct people *people, uint32_t shard);
