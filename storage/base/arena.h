/* storage/base/arena.h - allocation that ends all at once, within a budget.
 *
 * A budget is a number of bytes shared by any number of arenas (one query has one budget and one
 * arena per worker). An arena hands out zeroed, 16-byte-aligned memory and frees it whole; a mark
 * and a rewind give back what came after the mark, for scratch memory inside a loop over blocks.
 *
 * Thread: a budget is safe from any thread; an arena belongs to one thread at a time.
 * Errors: a spent budget is ERR_LIMIT and says the budget's size; a failed malloc is ERR_NOMEM.
 */
#pragma once

#include "storage/base/err.h"
#include "storage/base/str.h"

#include <stdatomic.h>

struct budget {
    _Atomic size_t used_bytes;
    size_t max_bytes; /* 0 = no bound */
    const char *what; /* for the message: "query memory" */
    struct budget *outer; /* pays as well; NULL = none */
};

void budget_init(struct budget *budget, size_t max_bytes, const char *what);
/* A share of `outer`, which outlives it: what it takes, `outer` gives as well. Where only that is
 * spent the error is ERR_BUSY, for it passes when others end. budget_end gives back what was left. */
void budget_init_within(struct budget *budget, size_t max_bytes, const char *what,
                        struct budget *outer);
void budget_end(struct budget *budget);
static inline void budget_endp(struct budget **budget)
{
    budget_end(*budget);
}
/* Take or return bytes that are allocated outside of an arena (bitmaps, hash tables). */
enum err_code budget_take(struct budget *budget, size_t bytes, struct err *err) ERR_MUST_CHECK;
void budget_give(struct budget *budget, size_t bytes);

struct arena;
struct arena_mark {
    void *chunk;
    size_t used;
};

/* `budget` may be NULL (no bound) and must outlive the arena. Never fails: memory comes later. */
struct arena *arena_create(struct budget *budget);
void arena_free(struct arena *arena); /* NULL is fine */
static inline void arena_freep(struct arena **arena)
{
    arena_free(*arena);
}

/* `ret` gets `bytes` zeroed bytes, aligned to 16; bytes == 0 gives a valid pointer. */
enum err_code arena_alloc(struct arena *arena, size_t bytes, void **ret,
                          struct err *err) ERR_MUST_CHECK;
/* As arena_alloc, aligned to 64 and NOT zeroed: for vectors that are written before they are read. */
enum err_code arena_alloc_raw(struct arena *arena, size_t bytes, void **ret,
                              struct err *err) ERR_MUST_CHECK;
/* Typed: ERR_TRY(ARENA_NEW(arena, count, &pointer, err)); overflow of the product is ERR_LIMIT. */
#define ARENA_NEW(arena, count, ret, err)                                                          \
    arena_alloc_array((arena), (count), sizeof(**(ret)), (void **)(ret), (err))
enum err_code arena_alloc_array(struct arena *arena, size_t count, size_t size, void **ret,
                                struct err *err) ERR_MUST_CHECK;
/* Copy of the bytes, with a NUL after them that is not counted. */
enum err_code arena_str(struct arena *arena, struct str s, struct str *ret,
                        struct err *err) ERR_MUST_CHECK;
/* printf into the arena. */
enum err_code arena_printf(struct arena *arena, struct str *ret, struct err *err,
                           const char *format, ...) ERR_MUST_CHECK
    __attribute__((format(printf, 4, 5)));

struct arena_mark arena_mark(const struct arena *arena);
void arena_rewind(struct arena *arena, struct arena_mark mark);
size_t arena_bytes(const struct arena *arena); /* handed out and not rewound */
struct budget *arena_budget(const struct arena *arena);
