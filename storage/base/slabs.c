/* storage/base/slabs.c
 *
 *    reserved      [ slab | slab | slab | ...                    ]   addresses alone, until a slab is taken
 *    a slab        [ head, bits of free pieces | piece | piece | ... ]   all of one size class
 *    a class       slabs with a free piece, in a ring; how much of its size malloc has given
 *    full          slabs that have had no free piece, to be put into large pages
 *
 * Eight classes to each doubling, so a piece is rounded up by an eighth at most; blocks of powers of two and a head, which most are,
 * hardly at all. The lowest free piece is given first: the end of a slab that is not needed is never touched, and takes no memory.
 * A slab that is empty goes, unless it is the only one of its class with a free piece, and takes no more memory than was written:
 * the next piece would have to take one again.
 */
#include "storage/base/slabs.h"

#include "storage/base/err.h"
#include "storage/base/size.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HEAD_ROOM   256u /* behind what is rounded: a power of two and a head is not the next class */
#define PIECE_MIN   ((size_t)4 << 10) /* shorter ones, and longer ones, are malloc's */
#define PIECE_MAX   (((size_t)1 << 20) + HEAD_ROOM)
#define CLASS_BITS  3u /* behind the highest */
#define FIRST_SHIFT 8u /* of the class of PIECE_MIN */
#define CLASS_COUNT 72u
#define MALLOC_MAX  ((size_t)1 << 20) /* of a class, before it has slabs */
#define SLAB_BYTES  ((size_t)8 << 20)
#define SLABS_MAX   ((size_t)1 << 17) /* 1 TiB of addresses */
#define HEAD_BYTES  512u
#define BITS_WORDS  32u /* of pieces: SLAB_BYTES / PIECE_MIN bits */

struct slab {
    struct slab *next, *prev; /* of the class, while a piece is free */
    uint32_t class, piece_count, free_count;
    uint64_t free[BITS_WORDS];
};
_Static_assert(sizeof(struct slab) <= HEAD_BYTES, "the head fits before the first piece");
_Static_assert(BITS_WORDS * 64 * PIECE_MIN == SLAB_BYTES, "a bit for each piece");

struct size_class {
    struct slab *slabs; /* that have a free piece */
    size_t malloc_bytes;
};

static struct {
    pthread_mutex_t lock; /* guards all below */
    bool is_tried;
    uint8_t *base;      /* of SLABS_MAX slabs; NULL: none could be reserved */
    size_t used;        /* slabs ever taken */
    size_t empty_count; /* in `empty` */
    struct size_class classes[CLASS_COUNT];
    size_t full_count; /* in `full` */
    size_t slab_count, piece_count, large_count;
} slabs = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Given back to the system: a list through them would be a page of each. */
static uint32_t empty[SLABS_MAX];
static uint32_t full[SLABS_MAX];
static uint8_t states[SLABS_MAX]; /* STATE_ bits by slab */
#define STATE_USED  1u
#define STATE_FULL  2u /* in `full`, once */
#define STATE_LARGE 4u

/* The address sanitizer watches over malloc's pieces, each by itself. */
#if defined(__SANITIZE_ADDRESS__)
#define ALL_BY_MALLOC true
#elif defined(__has_feature) /* clang's way to say it */
#define ALL_BY_MALLOC __has_feature(address_sanitizer)
#else
#define ALL_BY_MALLOC false
#endif

static bool is_malloc_size(size_t bytes)
{
    return ALL_BY_MALLOC || bytes < PIECE_MIN || bytes > PIECE_MAX;
}

static uint32_t class_of(size_t bytes)
{
    size_t last = bytes - HEAD_ROOM - 1;
    uint32_t shift = 63 - CLASS_BITS - (uint32_t)__builtin_clzll(last);
    return ((shift - FIRST_SHIFT) << CLASS_BITS) + (uint32_t)(last >> shift) - (1u << CLASS_BITS);
}

static size_t class_bytes(uint32_t class)
{
    size_t digits = (class & ((1u << CLASS_BITS) - 1)) + (1u << CLASS_BITS) + 1;
    return (digits << ((class >> CLASS_BITS) + FIRST_SHIFT)) + HEAD_ROOM;
}

size_t slabs_size(size_t bytes)
{
    return is_malloc_size(bytes) ? bytes : class_bytes(class_of(bytes));
}

/* ---- slabs ---- */

static void reserve(void)
{
    slabs.is_tried = true;
    void *memory = mmap(NULL, (SLABS_MAX + 1) * SLAB_BYTES, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory != MAP_FAILED) { /* a limit on addresses, say: then malloc does it all */
        uintptr_t first = ((uintptr_t)memory + SLAB_BYTES - 1) & ~(uintptr_t)(SLAB_BYTES - 1);
        slabs.base = (uint8_t *)memory + (first - (uintptr_t)memory);
    }
}

static bool is_in_slab(const void *piece)
{
    uintptr_t at = (uintptr_t)piece;
    uintptr_t base = (uintptr_t)slabs.base;
    return base != 0 && at >= base && at - base < SLABS_MAX * SLAB_BYTES;
}

static size_t slab_index(const void *piece)
{
    return ((uintptr_t)piece - (uintptr_t)slabs.base) / SLAB_BYTES;
}

static struct slab *slab_at(size_t index)
{
    return (struct slab *)(void *)(slabs.base + index * SLAB_BYTES);
}

static void ring_add(struct size_class *of, struct slab *slab)
{
    slab->prev = NULL;
    slab->next = of->slabs;
    if (of->slabs != NULL) {
        of->slabs->prev = slab;
    }
    of->slabs = slab;
}

static void ring_drop(struct size_class *of, struct slab *slab)
{
    if (slab->prev != NULL) {
        slab->prev->next = slab->next;
    } else {
        of->slabs = slab->next;
    }
    if (slab->next != NULL) {
        slab->next->prev = slab->prev;
    }
}

/* A slab of the class, all of it free; NULL where there is no memory. */
static struct slab *slab_take(uint32_t class)
{
    struct slab *slab = NULL;
    if (slabs.empty_count > 0) {
        slab = slab_at(empty[--slabs.empty_count]);
    } else if (slabs.used < SLABS_MAX) {
        void *memory = slab_at(slabs.used);
        if (mprotect(memory, SLAB_BYTES, PROT_READ | PROT_WRITE) != 0) {
            return NULL;
        }
        slabs.used++;
        slab = memory;
    } else {
        return NULL;
    }
    uint32_t count = (uint32_t)((SLAB_BYTES - HEAD_BYTES) / class_bytes(class));
    *slab = (struct slab){.class = class, .piece_count = count, .free_count = count};
    for (uint32_t i = 0; i < count; i++) {
        slab->free[i / 64] |= UINT64_C(1) << (i % 64);
    }
    ring_add(&slabs.classes[class], slab);
    states[slab_index(slab)] |= STATE_USED;
    slabs.slab_count++;
    return slab;
}

/* Out of its class; it is to be given to the system without the lock, and is among the empty ones only then. */
static void slab_leave(struct slab *slab)
{
    uint8_t *state = &states[slab_index(slab)];
    slabs.large_count -= (*state & STATE_LARGE) != 0;
    *state &= STATE_FULL; /* where it is in the list it stays, and is passed over */
    ring_drop(&slabs.classes[slab->class], slab);
    slabs.slab_count--;
}

static void *piece_take(struct slab *slab)
{
    uint32_t w = 0;
    while (slab->free[w] == 0) {
        w++;
    }
    uint32_t at = w * 64 + (uint32_t)__builtin_ctzll(slab->free[w]);
    slab->free[w] &= slab->free[w] - 1;
    if (--slab->free_count == 0) {
        uint8_t *state = &states[slab_index(slab)];
        ring_drop(&slabs.classes[slab->class], slab);
        if ((*state & (STATE_FULL | STATE_LARGE)) == 0) {
            *state |= STATE_FULL;
            full[slabs.full_count++] = (uint32_t)slab_index(slab);
        }
    }
    slabs.piece_count++;
    return (uint8_t *)slab + HEAD_BYTES + at * class_bytes(slab->class);
}

/* The slab, where it is to be given back to the system; else NULL. */
static struct slab *piece_give_back(void *piece)
{
    struct slab *slab = slab_at(slab_index(piece));
    struct size_class *of = &slabs.classes[slab->class];
    size_t off = (size_t)((uint8_t *)piece - (uint8_t *)slab) - HEAD_BYTES;
    uint32_t at = (uint32_t)(off / class_bytes(slab->class));
    uint64_t bit = UINT64_C(1) << (at % 64);
    ASSERT(off % class_bytes(slab->class) == 0 && at < slab->piece_count &&
           (slab->free[at / 64] & bit) == 0);
    slab->free[at / 64] |= bit;
    slabs.piece_count--;
    if (slab->free_count++ == 0) {
        ring_add(of, slab);
    }
    bool is_only = of->slabs == slab && slab->next == NULL;
    bool is_large = (states[slab_index(slab)] & STATE_LARGE) != 0;
    if (slab->free_count < slab->piece_count || (is_only && !is_large)) {
        return NULL;
    }
    slab_leave(slab);
    return slab;
}

/* ---- pieces ---- */

/* NULL where malloc is to give the piece, and has been counted. */
static void *alloc_locked(uint32_t class)
{
    struct size_class *of = &slabs.classes[class];
    if (!slabs.is_tried) {
        reserve();
    }
    if (slabs.base != NULL && of->malloc_bytes + class_bytes(class) > MALLOC_MAX) {
        struct slab *slab = of->slabs != NULL ? of->slabs : slab_take(class);
        if (slab != NULL) {
            return piece_take(slab);
        }
    }
    of->malloc_bytes += class_bytes(class);
    return NULL;
}

void *slabs_alloc(size_t bytes)
{
    if (is_malloc_size(bytes)) {
        return malloc(bytes);
    }
    uint32_t class = class_of(bytes);
    pthread_mutex_lock(&slabs.lock);
    void *piece = alloc_locked(class);
    pthread_mutex_unlock(&slabs.lock);
    if (piece != NULL) {
        return piece;
    }
    piece = malloc(bytes);
    if (piece == NULL) {
        pthread_mutex_lock(&slabs.lock);
        slabs.classes[class].malloc_bytes -= class_bytes(class);
        pthread_mutex_unlock(&slabs.lock);
    }
    return piece;
}

void slabs_free(void *piece, size_t bytes)
{
    if (piece == NULL || is_malloc_size(bytes)) {
        free(piece);
        return;
    }
    struct slab *leaving = NULL;
    pthread_mutex_lock(&slabs.lock);
    bool is_mallocs = !is_in_slab(piece);
    if (is_mallocs) {
        slabs.classes[class_of(bytes)].malloc_bytes -= class_bytes(class_of(bytes));
    } else {
        leaving = piece_give_back(piece);
    }
    pthread_mutex_unlock(&slabs.lock);
    if (is_mallocs) {
        free(piece);
    }
    if (leaving != NULL) {
        (void)madvise(leaving, SLAB_BYTES, MADV_DONTNEED);
        pthread_mutex_lock(&slabs.lock);
        empty[slabs.empty_count++] = (uint32_t)slab_index(leaving);
        pthread_mutex_unlock(&slabs.lock);
    }
}

/* ---- large pages ---- */

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/* A slab of the list that still is full; NULL: none is left. */
static struct slab *next_full(void)
{
    struct slab *found = NULL;
    pthread_mutex_lock(&slabs.lock);
    while (found == NULL && slabs.full_count > 0) {
        uint32_t index = full[--slabs.full_count];
        states[index] &= (uint8_t)~STATE_FULL;
        if ((states[index] & STATE_USED) != 0 && slab_at(index)->free_count == 0) {
            found = slab_at(index);
        }
    }
    pthread_mutex_unlock(&slabs.lock);
    return found;
}

/* What has been asked for of the slab: it is large now, or is to be asked for again, or neither. */
static void tended(const struct slab *slab, bool is_large, bool is_again)
{
    pthread_mutex_lock(&slabs.lock);
    uint8_t *state = &states[slab_index(slab)];
    bool is_used = (*state & STATE_USED) != 0; /* it may have gone in between */
    if (is_used && is_large && (*state & STATE_LARGE) == 0) {
        *state |= STATE_LARGE;
        slabs.large_count++;
    }
    if (is_used && is_again && (*state & STATE_FULL) == 0) {
        *state |= STATE_FULL;
        full[slabs.full_count++] = (uint32_t)slab_index(slab);
    }
    pthread_mutex_unlock(&slabs.lock);
}

/* Without the lock: a slab that is given back in between is filled with zeros and of nobody, until it is taken again. */
size_t slabs_tend(size_t most)
{
    size_t done = 0;
    struct slab *slab = NULL;
    while (done < most && (slab = next_full()) != NULL) {
        bool is_large = madvise(slab, SLAB_BYTES, MADV_COLLAPSE) == 0;
        bool is_unknown = !is_large && errno == EINVAL;
        if (is_unknown) { /* an older kernel: its own thread will come by */
            (void)madvise(slab, SLAB_BYTES, MADV_HUGEPAGE);
        }
        tended(slab, is_large, !is_large && !is_unknown);
        if (!is_large && !is_unknown) {
            break; /* no large page is to be had now */
        }
        done += is_large;
    }
    return done;
}

struct slabs_stats slabs_stats(void)
{
    pthread_mutex_lock(&slabs.lock);
    struct slabs_stats stats = {slabs.slab_count, SLAB_BYTES, slabs.piece_count, slabs.large_count};
    pthread_mutex_unlock(&slabs.lock);
    return stats;
}
