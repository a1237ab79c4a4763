#include "query/cell_taker.h"

#include "storage/base/size.h"

#include <stdlib.h>

#define PENDING_MAX 1024u

enum wanted { WANTED_UNKNOWN, WANTED_NO, WANTED_YES };

struct cell_taker {
    struct cell_taker *next; /* of the run */
    const struct bound_query *query;
    uint32_t shard;
    struct arena *arena;
    struct people_pool pool;
    struct people_set *set;
    uint32_t pending[PENDING_MAX]; /* subjects on their way into the set */
    uint32_t pending_count;
    uint8_t *wanted; /* enum wanted by group */
    uint32_t wanted_cap;
};

static void taker_free(struct cell_taker *taker)
{
    people_pool_done(&taker->pool);
    arena_free(taker->arena);
    free(taker);
}

enum err_code cell_taker_open(struct query_run_ctx *run, uint32_t shard, struct cell_taker **ret,
                              struct err *err)
{
    *ret = NULL;
    if (run->query->cell == NULL) {
        return ERR_OK;
    }
    struct cell_taker *taker = calloc(1, sizeof(*taker));
    if (taker == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory: no set of people");
    }
    taker->query = run->query;
    taker->shard = shard;
    taker->arena = arena_create(&run->budget);
    people_pool_init(&taker->pool, taker->arena);
    if (people_set_new(&taker->pool, &taker->set, err) != ERR_OK) {
        taker_free(taker);
        return err->code;
    }
    /* Read again only after all tasks have been joined. */
    taker->next = atomic_load_explicit(&run->cell_takers, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&run->cell_takers, &taker->next, taker,
                                                  memory_order_release, memory_order_relaxed)) {
    }
    *ret = taker;
    return ERR_OK;
}

bool cell_wants_null(const struct bound_query *query)
{
    const struct bound_cell *cell = query->cell;
    for (uint32_t k = 0; cell->has_key != NULL && k < query->key_count; k++) {
        if (cell->has_key[k] && cell->keys[k].kind != CELL_NULL) {
            return false;
        }
    }
    return true;
}

bool cell_has_group(const struct bound_query *query, const struct groups *groups, uint32_t group)
{
    const struct bound_cell *cell = query->cell;
    for (uint32_t k = 0; k < query->key_count; k++) {
        if (cell->has_key != NULL && cell->has_key[k]) {
            struct cell value = groups_cell(groups, group, k);
            if (cell_cmp(&value, &cell->keys[k]) != 0) {
                return false;
            }
        }
    }
    return true;
}

enum err_code cell_taker_wants(struct cell_taker *taker, const struct groups *groups,
                               uint32_t group, bool *ret, struct err *err)
{
    if (taker->query->key_count == 0) {
        *ret = true;
        return ERR_OK;
    }
    if (group >= taker->wanted_cap) {
        size_t cap = MAX_OF((size_t)group + 1, MAX_OF((size_t)taker->wanted_cap * 2, (size_t)64));
        uint8_t *more = NULL;
        ERR_TRY(ARENA_NEW(taker->arena, cap, &more, err));
        if (taker->wanted_cap > 0) {
            memcpy(more, taker->wanted, taker->wanted_cap);
        }
        taker->wanted = more;
        taker->wanted_cap = (uint32_t)MIN_OF(cap, (size_t)UINT32_MAX);
    }
    if (taker->wanted[group] == WANTED_UNKNOWN) {
        taker->wanted[group] = cell_has_group(taker->query, groups, group) ? WANTED_YES : WANTED_NO;
    }
    *ret = taker->wanted[group] == WANTED_YES;
    return ERR_OK;
}

static enum err_code taker_flush(struct cell_taker *taker, struct err *err)
{
    roaring_bitmap_add_many(taker->set->bits, taker->pending_count, taker->pending);
    taker->pending_count = 0;
    return people_charge(&taker->pool, taker->set, err);
}

enum err_code cell_take(struct cell_taker *taker, uint32_t subject, struct err *err)
{
    if (taker->pending_count > 0 && taker->pending[taker->pending_count - 1] == subject) {
        return ERR_OK;
    }
    if (taker->pending_count == PENDING_MAX) {
        ERR_TRY(taker_flush(taker, err));
    }
    taker->pending[taker->pending_count++] = subject;
    return ERR_OK;
}

enum err_code cell_take_part(struct cell_taker *taker, const struct groups *groups, uint32_t group,
                             uint32_t subject, struct err *err)
{
    bool is_wanted = false;
    ERR_TRY(cell_taker_wants(taker, groups, group, &is_wanted, err));
    return is_wanted ? cell_take(taker, subject, err) : ERR_OK;
}

enum err_code cell_take_bits(struct cell_taker *taker, const uint64_t *bits, size_t word_count,
                             uint32_t base, struct err *err)
{
    for (size_t w = 0; w < word_count; w++) {
        for (uint64_t rest = bits[w]; rest != 0; rest &= rest - 1) {
            uint32_t bit = (uint32_t)(w * 64) + (uint32_t)__builtin_ctzll(rest);
            ERR_TRY(cell_take(taker, base + bit, err));
        }
    }
    return ERR_OK;
}

void cell_takers_free(struct query_run_ctx *run)
{
    struct cell_taker *taker =
        atomic_exchange_explicit(&run->cell_takers, NULL, memory_order_acquire);
    while (taker != NULL) {
        struct cell_taker *next = taker->next;
        taker_free(taker);
        taker = next;
    }
}

enum err_code cell_takers_merge(struct query_run_ctx *run, struct people *ret, struct err *err)
{
    enum err_code code = ERR_OK;
    struct cell_taker *taker = atomic_load_explicit(&run->cell_takers, memory_order_acquire);
    for (; taker != NULL && code == ERR_OK; taker = taker->next) {
        code = taker_flush(taker, err);
        if (code == ERR_OK) {
            code = people_or(ret, taker->shard, taker->set->bits, err);
        }
    }
    cell_takers_free(run);
    return code;
}
