#include "query/people.h"

void people_pool_init(struct people_pool *pool, struct arena *arena)
{
    *pool = (struct people_pool){.arena = arena};
}

void people_pool_done(struct people_pool *pool)
{
    for (struct people_set *set = pool->sets; set != NULL; set = set->next) {
        roaring_bitmap_free(set->bits);
        budget_give(arena_budget(pool->arena), set->taken_bytes);
    }
    pool->sets = NULL;
}

enum err_code people_set_new(struct people_pool *pool, struct people_set **ret, struct err *err)
{
    struct people_set *set = NULL;
    ERR_TRY(ARENA_NEW(pool->arena, 1, &set, err));
    set->bits = roaring_bitmap_create();
    if (set->bits == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory: no set of people");
    }
    set->next = pool->sets;
    pool->sets = set;
    *ret = set;
    return ERR_OK;
}

enum err_code people_charge(struct people_pool *pool, struct people_set *set, struct err *err)
{
    size_t bytes = roaring_bitmap_size_in_bytes(set->bits);
    if (bytes > set->taken_bytes) {
        ERR_TRY(budget_take(arena_budget(pool->arena), bytes - set->taken_bytes, err));
        set->taken_bytes = bytes;
    }
    return ERR_OK;
}

/* ---- of all shards ---- */

void people_init(struct people *people, struct arena *arena)
{
    *people = (struct people){0};
    people_pool_init(&people->pool, arena);
}

void people_done(struct people *people)
{
    people_pool_done(&people->pool);
    memset(people->of, 0, sizeof(people->of));
}

static enum err_code people_shard(struct people *people, uint32_t shard, struct err *err)
{
    ASSERT(shard < SHARD_COUNT);
    return people->of[shard] != NULL ? ERR_OK
                                     : people_set_new(&people->pool, &people->of[shard], err);
}

enum err_code people_add(struct people *people, uint32_t shard, uint32_t subject, struct err *err)
{
    ERR_TRY(people_shard(people, shard, err));
    roaring_bitmap_add(people->of[shard]->bits, subject);
    return ERR_OK;
}

enum err_code people_bits(struct people *people, uint32_t shard, roaring_bitmap_t **ret,
                          struct err *err)
{
    ERR_TRY(people_shard(people, shard, err));
    *ret = people->of[shard]->bits;
    return ERR_OK;
}

enum err_code people_settle(struct people *people, uint32_t shard, struct err *err)
{
    return people->of[shard] == NULL ? ERR_OK
                                     : people_charge(&people->pool, people->of[shard], err);
}

enum err_code people_or(struct people *people, uint32_t shard, const roaring_bitmap_t *more,
                        struct err *err)
{
    if (more == NULL) {
        return ERR_OK;
    }
    ERR_TRY(people_shard(people, shard, err));
    roaring_bitmap_or_inplace(people->of[shard]->bits, more);
    return people_charge(&people->pool, people->of[shard], err);
}

enum err_code people_adopt(struct people *people, uint32_t shard, roaring_bitmap_t *bits,
                           struct err *err)
{
    struct people_set *set = NULL;
    ASSERT(people->of[shard] == NULL);
    if (ARENA_NEW(people->pool.arena, 1, &set, err) != ERR_OK) {
        roaring_bitmap_free(bits);
        return err->code;
    }
    *set = (struct people_set){.next = people->pool.sets, .bits = bits};
    people->pool.sets = set;
    people->of[shard] = set;
    return people_charge(&people->pool, set, err);
}

uint64_t people_count(const struct people *people)
{
    uint64_t count = 0;
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        const roaring_bitmap_t *bits = people_of(people, shard);
        count += bits == NULL ? 0 : roaring_bitmap_get_cardinality(bits);
    }
    return count;
}

const roaring_bitmap_t *people_of(const struct people *people, uint32_t shard)
{
    return people->of[shard] == NULL ? NULL : people->of[shard]->bits;
}
