/* query/subject_bits.c */
#include "query/subject_bits.h"

#include "storage/base/cpu.h"
#include "storage/base/size.h"

#include <string.h>

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

CPU_CLONES void bits_or_and(uint64_t *restrict into, const uint64_t *restrict a,
                            const uint64_t *restrict b, size_t words)
{
    for (size_t i = 0; i < words; i++) {
        into[i] |= a[i] & b[i];
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

CPU_CLONES uint64_t bits_or_count(const uint64_t *a, const uint64_t *b, size_t words)
{
    uint64_t count = 0;
    for (size_t i = 0; i < words; i++) {
        count += (uint64_t)__builtin_popcountll(a[i] | b[i]);
    }
    return count;
}

bool bits_any(const uint64_t *bits, size_t words)
{
    uint64_t any = 0;
    for (size_t i = 0; i < words; i++) {
        any |= bits[i];
    }
    return any != 0;
}

CPU_CLONES uint64_t bits_count(const uint64_t *bits, size_t words)
{
    uint64_t count = 0;
    for (size_t i = 0; i < words; i++) {
        count += (uint64_t)__builtin_popcountll(bits[i]);
    }
    return count;
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

/* ---- members ---- */

/* The words of [base, end): whole ones, and the low bits of one more. */
struct members_span {
    const uint64_t *words;
    size_t into; /* the first one's place from `base` */
    size_t whole;
    uint64_t rest;
};

/* False where the members are no words, or their bits lie elsewhere within them. */
static bool members_span(const struct subject_members *members, uint32_t base, uint32_t end,
                         struct members_span *ret)
{
    if (members->list != NULL || base % 64 != 0) {
        return false;
    }
    uint64_t first = MAX_OF(members->base, base);
    uint64_t last = MIN_OF(members->base + (uint64_t)members->word_count * 64, end);
    *ret = (struct members_span){0};
    if (first < last) {
        ret->words = members->words + (first - members->base) / 64;
        ret->into = (first - base) / 64;
        ret->whole = (last - first) / 64;
        uint32_t bits = (last - first) % 64;
        ret->rest = bits == 0 ? 0 : ret->words[ret->whole] & ((UINT64_C(1) << bits) - 1);
    }
    return true;
}

static void clip(uint32_t base, uint32_t end, const uint32_t **subjects, uint32_t *count)
{
    for (; *count > 0 && (*subjects)[0] < base; (*count)--) {
        (*subjects)++;
    }
    while (*count > 0 && (*subjects)[*count - 1] >= end) {
        (*count)--;
    }
}

CPU_CLONES static void or_of(uint64_t *restrict into, const uint64_t *restrict from,
                             const uint64_t *restrict of, size_t words)
{
    for (size_t i = 0; i < words; i++) {
        into[i] |= from[i] & of[i];
    }
}

CPU_CLONES static void or_of_twice(uint64_t *restrict into, uint64_t *restrict twice,
                                   const uint64_t *restrict from, const uint64_t *restrict of,
                                   size_t words)
{
    for (size_t i = 0; i < words; i++) {
        uint64_t more = from[i] & of[i];
        twice[i] |= into[i] & more;
        into[i] |= more;
    }
}

/* Who is added, and where: `twice` and `of` may be NULL. */
struct member_bits {
    uint64_t *bits, *twice;
    const uint64_t *of;
    uint32_t base;
};

static void set_words(const struct member_bits *m, const struct members_span *span)
{
    uint64_t *bits = m->bits + span->into;
    uint64_t *twice = m->twice == NULL ? NULL : m->twice + span->into;
    if (m->of != NULL && twice != NULL) {
        or_of_twice(bits, twice, span->words, m->of + span->into, span->whole);
    } else if (m->of != NULL) {
        or_of(bits, span->words, m->of + span->into, span->whole);
    } else {
        if (twice != NULL) {
            bits_or_and(twice, bits, span->words, span->whole);
        }
        bits_or(bits, span->words, span->whole);
    }
    if (span->rest != 0) {
        size_t last = span->into + span->whole;
        uint64_t more = span->rest & (m->of == NULL ? UINT64_MAX : m->of[last]);
        if (twice != NULL) {
            m->twice[last] |= m->bits[last] & more;
        }
        m->bits[last] |= more;
    }
}

/* Called with constants, so that the loop asks about neither. */
static inline __attribute__((always_inline)) void set_list(const struct member_bits *m,
                                                           const uint32_t *subjects, uint32_t count,
                                                           bool has_twice, bool has_of)
{
    uint64_t *bits = m->bits;
    uint64_t *twice = m->twice;
    const uint64_t *of = m->of;
    uint32_t base = m->base;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t bit = subjects[i] - base;
        uint64_t one = UINT64_C(1) << (bit % 64);
        one &= has_of ? of[bit / 64] : UINT64_MAX;
        if (has_twice) {
            twice[bit / 64] |= bits[bit / 64] & one;
        }
        bits[bit / 64] |= one;
    }
}

static void set_bits(const struct member_bits *m, const uint32_t *subjects, uint32_t count)
{
    if (m->twice == NULL && m->of == NULL) {
        set_list(m, subjects, count, false, false);
    } else if (m->of == NULL) {
        set_list(m, subjects, count, true, false);
    } else if (m->twice == NULL) {
        set_list(m, subjects, count, false, true);
    } else {
        set_list(m, subjects, count, true, true);
    }
}

static void add_members(const struct member_bits *m, uint32_t end,
                        const struct subject_members *members)
{
    struct members_span span;
    if (members_span(members, m->base, end, &span)) {
        set_words(m, &span);
        return;
    }
    struct members_cursor cursor = {0};
    uint32_t buffer[MEMBERS_PORTION];
    const uint32_t *subjects = NULL;
    uint32_t count = 0;
    while ((count = members_next(members, &cursor, buffer, MEMBERS_PORTION, &subjects)) > 0) {
        clip(m->base, end, &subjects, &count);
        set_bits(m, subjects, count);
    }
}

void bits_add_members(uint64_t *bits, uint32_t base, uint32_t end,
                      const struct subject_members *members)
{
    const struct member_bits m = {.bits = bits, .base = base};
    add_members(&m, end, members);
}

void bits_add(uint64_t *bits, uint32_t base, size_t words, const uint32_t *subjects, size_t count)
{
    const struct subject_members members = members_of_list(subjects, (uint32_t)count);
    uint64_t end = base + (uint64_t)words * 64;
    bits_add_members(bits, base, (uint32_t)MIN_OF(end, UINT32_MAX), &members);
}

void bits_add_members_twice(uint64_t *bits, uint64_t *twice, uint32_t base, uint32_t end,
                            const struct subject_members *members)
{
    const struct member_bits m = {.bits = bits, .twice = twice, .base = base};
    add_members(&m, end, members);
}

void bits_add_members_of(uint64_t *bits, uint64_t *twice, const uint64_t *of, uint32_t base,
                         uint32_t end, const struct subject_members *members)
{
    const struct member_bits m = {.bits = bits, .twice = twice, .of = of, .base = base};
    add_members(&m, end, members);
}

/* ---- how often ---- */

/* plane ^= carry; carry &= what plane was. Whether anything is carried on. */
CPU_CLONES static uint64_t add_plane(uint64_t *restrict plane, uint64_t *restrict carry,
                                     size_t words)
{
    uint64_t any = 0;
    for (size_t i = 0; i < words; i++) {
        uint64_t before = plane[i];
        plane[i] ^= carry[i];
        carry[i] &= before;
        any |= carry[i];
    }
    return any;
}

void planes_add(uint64_t *planes, uint32_t plane_count, uint64_t *bits, size_t words)
{
    for (uint32_t k = 0; k < plane_count && add_plane(planes + k * words, bits, words) != 0; k++) {
    }
}

CPU_CLONES static void split_set(const uint64_t *restrict set, const uint64_t *restrict plane,
                                 uint64_t *restrict ones, uint64_t *restrict zeros, size_t words)
{
    for (size_t i = 0; i < words; i++) {
        ones[i] = set[i] & plane[i];
        zeros[i] = set[i] & ~plane[i];
    }
}

struct tally {
    const uint64_t *planes;
    size_t words;
    uint64_t *counts;
    uint32_t most;
};

/* Subjects of `set`, whose numbers begin with the bits of `number` and have `left` bits more. */
static void tally_set(const struct tally *tally, uint32_t left, uint32_t number,
                      const uint64_t *set, uint64_t *scratch)
{
    size_t words = tally->words;
    uint64_t *ones = scratch;
    uint64_t *zeros = scratch + words;
    if (number > tally->most) {
        return;
    }
    if (left == 0) {
        tally->counts[number] += bits_count(set, words);
        return;
    }
    split_set(set, tally->planes + (left - 1) * words, ones, zeros, words);
    tally_set(tally, left - 1, number, zeros, scratch + 2 * words);
    tally_set(tally, left - 1, number | 1u << (left - 1), ones, scratch + 2 * words);
}

void planes_tally(const uint64_t *planes, uint32_t plane_count, size_t words, uint64_t *scratch,
                  uint64_t *counts, uint32_t most)
{
    const struct tally tally = {planes, words, counts, most};
    memset(scratch, 0xff, words * sizeof(*scratch));
    tally_set(&tally, plane_count, 0, scratch, scratch + words);
}
