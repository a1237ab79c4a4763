/* query/subject_bits.c */
#include "query/subject_bits.h"

#include "storage/base/cpu.h"

CPU_CLONES void bits_or(uint64_t *restrict into, const uint64_t *restrict from, size_t words)
{
    for (size_t i = 0; i < words; i++) {
        into[i] |= from[i];
    }
}

CPU_CLONES void bits_andnot(uint64_t *restrict into, const uint64_t *restrict from, size_t words)
{
    for (size_t i = 0; i < words; i++) {
        into[i] &= ~from[i];
    }
}

CPU_CLONES void bits_and(uint64_t *restrict into, const uint64_t *restrict from, size_t words)
{
    for (size_t i = 0; i < words; i++) {
        into[i] &= from[i];
    }
}

CPU_CLONES uint64_t bits_and_count(const uint64_t *a, const uint64_t *b, size_t words)
{
    uint64_t count = 0;
    for (size_t i = 0; i < words; i++) {
        count += (uint64_t)__builtin_popcountll(a[i] & b[i]);
    }
    return count;
}

CPU_CLONES uint64_t bits_count(const uint64_t *bits, size_t words)
{
    uint64_t count = 0;
    for (size_t i = 0; i < words; i++) {
        count += (uint64_t)__builtin_popcountll(bits[i]);
    }
    return count;
}

void bits_add(uint64_t *bits, uint32_t base, size_t words, const uint32_t *subjects, size_t count)
{
    while (count > 0 && subjects[0] < base) {
        subjects++;
        count--;
    }
    while (count > 0 && (subjects[count - 1] - base) / 64 >= words) {
        count--;
    }
    for (size_t i = 0; i < count; i++) {
        uint32_t bit = subjects[i] - base;
        bits[bit / 64] |= UINT64_C(1) << (bit % 64);
    }
}

struct adding {
    uint64_t *bits;
    uint32_t base;
    size_t words;
};

static bool add_one(uint32_t subject, void *arg)
{
    const struct adding *adding = arg;
    if (subject >= adding->base && (subject - adding->base) / 64 < adding->words) {
        bits_add(adding->bits, adding->base, adding->words, &subject, 1);
    }
    return true;
}

void bits_add_set(uint64_t *bits, uint32_t base, size_t words, const roaring_bitmap_t *set)
{
    struct adding adding = {bits, base, words};
    if (set != NULL) {
        roaring_iterate(set, add_one, &adding);
    }
}
