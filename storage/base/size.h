/* storage/base/size.h - arithmetic on sizes from outside: it either fits or says so. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool size_add(size_t a, size_t b, size_t *ret)
{
    return !__builtin_add_overflow(a, b, ret);
}

static inline bool size_mul(size_t a, size_t b, size_t *ret)
{
    return !__builtin_mul_overflow(a, b, ret);
}

/* Round up to a power of two `align`; false on overflow. */
static inline bool size_align(size_t n, size_t align, size_t *ret)
{
    size_t sum = 0;
    if (!size_add(n, align - 1, &sum)) {
        return false;
    }
    *ret = sum & ~(align - 1);
    return true;
}

#define MIN_OF(a, b) ((a) < (b) ? (a) : (b))
#define MAX_OF(a, b) ((a) > (b) ? (a) : (b))
