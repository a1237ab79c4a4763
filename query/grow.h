/* query/grow.h - arrays that grow inside an arena while a list is read.
 *
 * Doubling leaves the old copies in the arena: at most as many bytes again as the array has. */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/size.h"

/* Room for item `count` in the array *items of *cap items of `size` bytes. */
static inline enum err_code grow_bytes(struct arena *arena, void **items, uint32_t count,
                                       uint32_t *cap, size_t size, struct err *err)
{
    if (count < *cap) {
        return ERR_OK;
    }
    uint32_t more = *cap == 0 ? 4 : *cap * 2;
    if (more <= *cap) {
        return err_set(err, ERR_LIMIT, "a list has more than %u items", *cap);
    }
    void *grown = NULL;
    ERR_TRY(arena_alloc_array(arena, more, size, &grown, err));
    if (count > 0) {
        memcpy(grown, *items, count * size);
    }
    *items = grown;
    *cap = more;
    return ERR_OK;
}

/* Typed: ERR_TRY(GROW(arena, &items, count, &cap, err)); items[count++] = ...; */
#define GROW(arena, items, count, cap, err)                                                        \
    grow_bytes((arena), (void **)(items), (count), (cap), sizeof(**(items)), (err))
