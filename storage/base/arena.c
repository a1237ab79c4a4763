/* storage/base/arena.c - a list of chunks, filled one after the other.
 *
 *     first                    current                      kept for reuse
 *    +--------+-----------+   +--------+-----------+-----+   +--------+--------------+
 *    | header | handed out|-->| header | handed out| free|-->| header | free         |--> NULL
 *    +--------+-----------+   +--------+-----------+-----+   +--------+--------------+
 *
 * A rewind moves `current` back; the chunks behind it stay, and stay drawn from the budget, until
 * they are used again, the arena ends, or the budget runs short. Chunks start small, because most
 * queries need little, and double up to 1 MiB. What the budget is charged is what malloc is asked
 * for, headers and unused ends included: the budget bounds memory, not requests. */
#include "storage/base/arena.h"

#include "storage/base/size.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define ARENA_POISON(at, bytes)   __asan_poison_memory_region((at), (bytes))
#define ARENA_UNPOISON(at, bytes) __asan_unpoison_memory_region((at), (bytes))
#else
#define ARENA_POISON(at, bytes)   ((void)0)
#define ARENA_UNPOISON(at, bytes) ((void)0)
#endif

#define ARENA_ALIGN           16
#define ARENA_RAW_ALIGN       64
#define ARENA_CHUNK_BYTES_MIN ((size_t)4 << 10)
#define ARENA_CHUNK_BYTES_MAX ((size_t)1 << 20)

struct arena_chunk {
    struct arena_chunk *next;
    size_t total_bytes;  /* as malloc'd and drawn from the budget */
    size_t cap;          /* bytes behind the header */
    size_t used;         /* of them handed out */
    size_t before_bytes; /* handed out in the chunks before this one */
};

/* The header takes one raw alignment, so that a chunk's bytes begin aligned. */
#define ARENA_HEADER_BYTES ARENA_RAW_ALIGN
_Static_assert(sizeof(struct arena_chunk) <= ARENA_HEADER_BYTES, "the header fits its place");

struct arena {
    struct budget *budget;
    struct arena_chunk *first;
    struct arena_chunk *current; /* NULL: nothing handed out; `first` may still have kept chunks */
    size_t chunk_bytes;          /* of the next chunk, header included */
};

/* What arena_create gives when there is no memory even for the arena: every allocation from it
 * fails, so the caller learns it at the first place that can fail. It is never written to. */
static struct arena arena_none;

void budget_init(struct budget *budget, size_t max_bytes, const char *what)
{
    atomic_init(&budget->used_bytes, 0);
    budget->max_bytes = max_bytes;
    budget->what = what;
    budget->outer = NULL;
}

void budget_init_within(struct budget *budget, size_t max_bytes, const char *what,
                        struct budget *outer)
{
    budget_init(budget, max_bytes, what);
    budget->outer = outer;
}

void budget_end(struct budget *budget)
{
    if (budget != NULL) {
        size_t used = atomic_load_explicit(&budget->used_bytes, memory_order_relaxed);
        budget_give(budget, used);
    }
}

/* Relaxed throughout: the counter publishes no other memory. */
static void budget_give_own(struct budget *budget, size_t bytes)
{
    size_t before = atomic_fetch_sub_explicit(&budget->used_bytes, bytes, memory_order_relaxed);
    ASSERT(before >= bytes);
}

static enum err_code budget_take_own(struct budget *budget, size_t bytes, struct err *err)
{
    size_t max_bytes = budget->max_bytes == 0 ? SIZE_MAX : budget->max_bytes;
    size_t used = atomic_load_explicit(&budget->used_bytes, memory_order_relaxed);
    do {
        if (used > max_bytes || bytes > max_bytes - used) {
            return err_set(err, ERR_LIMIT,
                           "%s: %zu bytes more would pass the limit of %zu bytes, of which %zu "
                           "are in use",
                           budget->what, bytes, max_bytes, used);
        }
    } while (!atomic_compare_exchange_weak_explicit(&budget->used_bytes, &used, used + bytes,
                                                    memory_order_relaxed, memory_order_relaxed));
    return ERR_OK;
}

enum err_code budget_take(struct budget *budget, size_t bytes, struct err *err)
{
    if (budget == NULL) {
        return ERR_OK;
    }
    ERR_TRY(budget_take_own(budget, bytes, err));
    if (budget_take(budget->outer, bytes, err) != ERR_OK) {
        budget_give_own(budget, bytes);
        err->code = ERR_BUSY;
        return ERR_BUSY;
    }
    return ERR_OK;
}

void budget_give(struct budget *budget, size_t bytes)
{
    for (; budget != NULL; budget = budget->outer) {
        budget_give_own(budget, bytes);
    }
}

struct arena *arena_create(struct budget *budget)
{
    struct arena *arena = malloc(sizeof(*arena));
    if (arena == NULL) {
        return &arena_none;
    }
    *arena = (struct arena){.budget = budget, .chunk_bytes = ARENA_CHUNK_BYTES_MIN};
    return arena;
}

static uint8_t *arena_chunk_bytes(struct arena_chunk *chunk)
{
    return (uint8_t *)chunk + ARENA_HEADER_BYTES;
}

static void arena_free_chunks(struct arena *arena, struct arena_chunk *chunk)
{
    while (chunk != NULL) {
        struct arena_chunk *next = chunk->next;
        budget_give(arena->budget, chunk->total_bytes);
        ARENA_UNPOISON(arena_chunk_bytes(chunk), chunk->cap);
        free(chunk);
        chunk = next;
    }
}

void arena_free(struct arena *arena)
{
    if (arena == NULL || arena == &arena_none) {
        return;
    }
    arena_free_chunks(arena, arena->first);
    free(arena);
}

/* The link that holds the first chunk after the current one. */
static struct arena_chunk **arena_kept(struct arena *arena)
{
    return arena->current == NULL ? &arena->first : &arena->current->next;
}

/* Make `chunk`, which is in no list, the current one. */
static void arena_enter(struct arena *arena, struct arena_chunk *chunk)
{
    struct arena_chunk **link = arena_kept(arena);
    chunk->next = *link;
    chunk->used = 0;
    chunk->before_bytes = arena_bytes(arena);
    *link = chunk;
    arena->current = chunk;
}

/* A kept chunk of at least `bytes`, out of the list, or NULL. Loops ask for the same sizes in the
 * same order again and again, so it is nearly always the first. */
static struct arena_chunk *arena_take_kept(struct arena *arena, size_t bytes)
{
    for (struct arena_chunk **link = arena_kept(arena); *link != NULL; link = &(*link)->next) {
        struct arena_chunk *chunk = *link;
        if (chunk->cap >= bytes) {
            *link = chunk->next;
            return chunk;
        }
    }
    return NULL;
}

/* Enter a chunk with room for `bytes`. */
static enum err_code arena_grow(struct arena *arena, size_t bytes, struct err *err)
{
    struct arena_chunk *chunk = arena_take_kept(arena, bytes);
    if (chunk != NULL) {
        arena_enter(arena, chunk);
        return ERR_OK;
    }

    /* A large request gets a chunk made to measure, with a little room for what follows it. */
    size_t total_bytes = arena->chunk_bytes;
    size_t exact_bytes = 0;
    if (!size_add(bytes, ARENA_HEADER_BYTES + ARENA_CHUNK_BYTES_MIN, &exact_bytes) ||
        !size_align(exact_bytes, ARENA_RAW_ALIGN, &exact_bytes)) {
        return err_set(err, ERR_LIMIT, "an allocation of %zu bytes is larger than memory", bytes);
    }
    bool is_large = bytes > (total_bytes - ARENA_HEADER_BYTES) / 2;
    if (is_large) {
        total_bytes = exact_bytes;
    }
    if (budget_take(arena->budget, total_bytes, err) != ERR_OK) {
        /* Chunks kept for reuse did not fit this request: their bytes may be what is missing. */
        arena_free_chunks(arena, TAKE(*arena_kept(arena)));
        ERR_TRY(budget_take(arena->budget, total_bytes, err));
    }
    chunk = aligned_alloc(ARENA_RAW_ALIGN, total_bytes);
    if (chunk == NULL) {
        budget_give(arena->budget, total_bytes);
        return err_set(err, ERR_NOMEM, "out of memory: %zu bytes", total_bytes);
    }
    chunk->total_bytes = total_bytes;
    chunk->cap = total_bytes - ARENA_HEADER_BYTES;
    ARENA_POISON(arena_chunk_bytes(chunk), chunk->cap);
    arena_enter(arena, chunk);
    if (!is_large && arena->chunk_bytes < ARENA_CHUNK_BYTES_MAX) {
        arena->chunk_bytes *= 2;
    }
    return ERR_OK;
}

static enum err_code arena_take(struct arena *arena, size_t bytes, size_t align, void **ret,
                                struct err *err)
{
    if (arena == &arena_none) {
        return err_set(err, ERR_NOMEM, "out of memory: no arena for %zu bytes", bytes);
    }
    size_t need = MAX_OF(bytes, (size_t)1); /* so that zero bytes have an address of their own */
    struct arena_chunk *chunk = arena->current;
    /* used <= cap < SIZE_MAX - align: the rounding cannot overflow, but may pass the capacity */
    size_t begin = chunk == NULL ? 0 : (chunk->used + align - 1) & ~(align - 1);
    if (chunk == NULL || begin > chunk->cap || need > chunk->cap - begin) {
        ERR_TRY(arena_grow(arena, need, err));
        chunk = arena->current;
        begin = 0;
    }
    chunk->used = begin + need;
    uint8_t *at = arena_chunk_bytes(chunk) + begin;
    ARENA_UNPOISON(at, need);
    *ret = at;
    return ERR_OK;
}

enum err_code arena_alloc(struct arena *arena, size_t bytes, void **ret, struct err *err)
{
    ERR_TRY(arena_take(arena, bytes, ARENA_ALIGN, ret, err));
    memset(*ret, 0, bytes);
    return ERR_OK;
}

enum err_code arena_alloc_raw(struct arena *arena, size_t bytes, void **ret, struct err *err)
{
    return arena_take(arena, bytes, ARENA_RAW_ALIGN, ret, err);
}

enum err_code arena_alloc_array(struct arena *arena, size_t count, size_t size, void **ret,
                                struct err *err)
{
    size_t bytes = 0;
    if (!size_mul(count, size, &bytes)) {
        return err_set(err, ERR_LIMIT, "an array of %zu times %zu bytes is larger than memory",
                       count, size);
    }
    return arena_alloc(arena, bytes, ret, err);
}

enum err_code arena_str(struct arena *arena, struct str s, struct str *ret, struct err *err)
{
    size_t bytes = 0;
    if (!size_add(s.len, 1, &bytes)) {
        return err_set(err, ERR_LIMIT, "a string of %zu bytes is larger than memory", s.len);
    }
    void *at = NULL;
    ERR_TRY(arena_take(arena, bytes, ARENA_ALIGN, &at, err));
    char *copy = at;
    if (s.len > 0) {
        memcpy(copy, s.ptr, s.len);
    }
    copy[s.len] = '\0';
    *ret = (struct str){copy, s.len};
    return ERR_OK;
}

enum err_code arena_printf(struct arena *arena, struct str *ret, struct err *err,
                           const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int wanted = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (wanted < 0) {
        return err_set(err, ERR_LIMIT, "a formatted text is longer than 2 GiB");
    }
    void *at = NULL;
    ERR_TRY(arena_take(arena, (size_t)wanted + 1, ARENA_ALIGN, &at, err));
    va_start(args, format);
    vsnprintf(at, (size_t)wanted + 1, format, args);
    va_end(args);
    *ret = (struct str){at, (size_t)wanted};
    return ERR_OK;
}

struct arena_mark arena_mark(const struct arena *arena)
{
    struct arena_chunk *chunk = arena->current;
    return (struct arena_mark){.chunk = chunk, .used = chunk == NULL ? 0 : chunk->used};
}

void arena_rewind(struct arena *arena, struct arena_mark mark)
{
    if (arena == &arena_none) {
        return;
    }
#if defined(__SANITIZE_ADDRESS__)
    /* Everything given back becomes a fault to touch, until it is handed out again. */
    struct arena_chunk *back = mark.chunk == NULL ? arena->first : mark.chunk;
    size_t keep = mark.used;
    for (bool is_last = arena->current == NULL; !is_last; back = back->next, keep = 0) {
        ARENA_POISON(arena_chunk_bytes(back) + keep, back->cap - keep);
        is_last = back == arena->current;
    }
#endif
    arena->current = mark.chunk;
    if (arena->current != NULL) {
        ASSERT(mark.used <= arena->current->used);
        arena->current->used = mark.used;
    }
}

size_t arena_bytes(const struct arena *arena)
{
    const struct arena_chunk *chunk = arena->current;
    return chunk == NULL ? 0 : chunk->before_bytes + chunk->used;
}

struct budget *arena_budget(const struct arena *arena)
{
    return arena->budget;
}
