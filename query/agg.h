/* query/agg.h - accumulators: what a trend keeps for one (group, span of time) until all is added
 * up.
 *
 * A cell is eight bytes that mean "nothing yet" when zero, so that a whole table of cells is one
 * zeroed allocation; everything larger is made when its first value comes. All kinds can be merged,
 * across spans, groups and tasks, and the outcome never depends on the order of adding:
 *
 *     COUNT    the number itself
 *     USERS    a set of subject numbers, as plain words where the task has few subjects, else as a
 *              roaring bitmap; of different shards only the counts add up
 *     UNIQUE   a set of 128-bit hashes (2^64 values collide with a chance of about one half; a
 *              billion with one in 10^20)
 *     SUM      decimals as a 128-bit integer at one scale; what does not fit, a num_sum
 *     MIN ...  one value; FIRST and LAST with the (event_time, event_id) that they stand at
 *     VALUES   all numbers, for exact quantiles
 *
 * Thread: a pool and its cells belong to one task. Ownership: bitmaps are the pool's.
 */
#pragma once

#include "query/bound.h"
#include "query/result.h"
#include "storage/base/hash.h"

enum acc_kind {
    ACC_COUNT,
    ACC_USERS,
    ACC_UNIQUE,
    ACC_SUM, /* of sum and avg */
    ACC_MIN,
    ACC_MAX,
    ACC_FIRST,
    ACC_LAST,
    ACC_VALUES, /* of all quantiles */
};
enum acc_kind acc_kind_of(enum agg_kind kind);

struct acc_users {
    struct acc_users *next; /* of the pool */
    uint64_t *words;        /* pool->word_count of them (subject_bits.h); or NULL: */
    roaring_bitmap_t *bitmap;
    uint32_t last; /* subject added last: rows come by subject, repeats are the rule */
};

struct acc_unique {
    struct hash128 *slots; /* {0, 0} = free */
    uint32_t size;         /* a power of two, or 0 */
    uint32_t count;
};

struct acc_sum {
    uint64_t count;
    __int128 m; /* m * 10^-scale, while `wide` is NULL */
    uint8_t scale;
    struct num_sum *wide;
};

struct acc_value {
    enum col_type type;
    struct num number;
    int64_t i64; /* time, bool */
    struct str string;
    int64_t at_ms; /* FIRST, LAST: where the value stands */
    struct str event_id;
};

struct acc_values {
    int64_t *whole;    /* mantissas at `scale`, while one scale holds all values exactly */
    struct num *items; /* else, and then not NULL: the numbers */
    uint32_t count, cap;
    uint8_t scale;
};

union acc_cell {
    uint64_t count;
    struct acc_users *users;
    struct acc_unique *unique;
    struct acc_sum *sum;
    struct acc_value *value;
    struct acc_values *values;
};

/* The memory of a task's cells. */
struct acc_pool {
    struct arena *arena;
    uint32_t subject_base, subject_end; /* of the task; bit 0 of words is the base */
    uint32_t word_count;
    size_t words_left; /* that user sets may still take; what comes after has bitmaps */
    struct acc_users *users;
    size_t taken_bytes;   /* of the budget, for bitmaps */
    size_t pending_bytes; /* grown and not yet taken */
};
void acc_pool_init(struct acc_pool *pool, struct arena *arena);
/* The subjects of the task: the pool decides how it keeps sets of them. */
void acc_pool_subjects(struct acc_pool *pool, uint32_t begin, uint32_t end);
void acc_pool_done(struct acc_pool *pool);

enum err_code acc_add_user(struct acc_pool *pool, union acc_cell *cell, uint32_t subject,
                           struct err *err) ERR_MUST_CHECK;
/* Ascending subjects; those outside the pool's are left out. */
enum err_code acc_add_users(struct acc_pool *pool, union acc_cell *cell, const uint32_t *subjects,
                            uint32_t count, struct err *err) ERR_MUST_CHECK;
enum err_code acc_add_members(struct acc_pool *pool, union acc_cell *cell,
                              const struct subject_members *members,
                              struct err *err) ERR_MUST_CHECK;
/* Take subjects out again; `gone` may be NULL. They are given as the pool's words as well. */
void acc_drop_users(const struct acc_pool *pool, union acc_cell *cell, const roaring_bitmap_t *gone,
                    const uint64_t *gone_words);
bool acc_has_users(const struct acc_pool *pool, const union acc_cell *cell);
/* Put the cell's subjects into a bitmap. */
void acc_put_users(const struct acc_pool *pool, const union acc_cell *cell, roaring_bitmap_t *into);
/* How many different subjects the cells have together; cells may be NULL pointers' worth (no users). ERR_NOMEM,
 * ERR_LIMIT. */
enum err_code acc_count_users(const struct acc_pool *pool, union acc_cell *const *cells,
                              size_t cell_count, struct arena *scratch, uint64_t *ret,
                              struct err *err) ERR_MUST_CHECK;
enum err_code acc_charge(struct acc_pool *pool, size_t bytes, struct err *err) ERR_MUST_CHECK;
enum err_code acc_add_hash(struct acc_pool *pool, union acc_cell *cell, struct hash128 hash,
                           struct err *err) ERR_MUST_CHECK;
/* The hash is about to be added: have its place fetched. */
static inline void acc_expect_hash(const union acc_cell *cell, struct hash128 hash)
{
    if (cell->unique != NULL && cell->unique->size > 0) {
        __builtin_prefetch(&cell->unique->slots[(uint32_t)hash.lo & (cell->unique->size - 1)]);
    }
}
static inline bool acc_is_hash(struct hash128 slot) /* of a set: not free */
{
    return (slot.lo | slot.hi) != 0;
}
/* How many different hashes the cells, which have some, have together. */
enum err_code acc_count_unique(union acc_cell *const *cells, size_t cell_count,
                               struct arena *scratch, uint64_t *ret,
                               struct err *err) ERR_MUST_CHECK;
/* m * 10^-scale, or a double's bits where scale is NUM_DOUBLE. */
enum err_code acc_add_sum(struct acc_pool *pool, union acc_cell *cell, int64_t m, uint8_t scale,
                          struct err *err) ERR_MUST_CHECK;
enum err_code acc_add_number(struct acc_pool *pool, union acc_cell *cell, struct num number,
                             struct err *err) ERR_MUST_CHECK; /* VALUES */
/* The same as m * 10^-scale, in lowest terms or not, or a double's bits where scale is NUM_DOUBLE. */
enum err_code acc_add_decimal(struct acc_pool *pool, union acc_cell *cell, int64_t m, uint8_t scale,
                              struct err *err) ERR_MUST_CHECK;
enum err_code acc_merge_values(struct acc_pool *pool, union acc_cell *into,
                               const struct acc_values *from, struct err *err) ERR_MUST_CHECK;
void acc_each_value(const struct acc_values *values, void (*fn)(void *arg, struct num number),
                    void *arg);
/* MIN, MAX, FIRST, LAST. The value's strings are copied when it is kept. */
enum err_code acc_add_value(struct acc_pool *pool, enum acc_kind kind, union acc_cell *cell,
                            const struct acc_value *value, struct err *err) ERR_MUST_CHECK;

/* Whether all numbers of these cells are mantissas at one scale, and then: */
bool acc_are_whole(union acc_cell *const *cells, size_t count);
/* the smallest and the largest of them; where there are none, the largest is smaller, */
void acc_bounds(union acc_cell *const *cells, size_t count, int64_t *ret_min, int64_t *ret_max);
/* and how many lie in each division of [min, min + span], which are 2^shift wide: added to `counts`. */
void acc_tally(union acc_cell *const *cells, size_t count, int64_t min, uint64_t span,
               uint32_t shift, uint64_t *counts);
/* The quantile at a place between two neighbours in order: `part` of the way from low to high. */
bool acc_between(struct num low, struct num high, double part, struct num *ret);

/* Put `from` into `into`; any kind but USERS, which must be counted per shard. */
enum err_code acc_merge(struct acc_pool *pool, enum acc_kind kind, union acc_cell *into,
                        const union acc_cell *from, struct err *err) ERR_MUST_CHECK;

/* The inclusive quantile of all values of cells that have some: linear between the closest ranks; exact where it falls on
 * one. *ret_is_there false where there are none. Without a copy where one scale holds all of them. */
enum err_code acc_quantile(union acc_cell *const *cells, size_t count, double quantile,
                           struct arena *scratch, bool *ret_is_there, struct num *ret,
                           struct err *err) ERR_MUST_CHECK;
