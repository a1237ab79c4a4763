/* query/subject_bits.h - sets of a task's subjects as plain words, one bit a subject.
 *
 * Where a task's subjects are few thousand, a set of them is some hundred words, and union, difference and count are
 * loops that the processor runs at the speed of its cache: faster than any container, at a density of one in a hundred
 * and more. Bit i is subject `base` + i.
 *
 * Thread: pure functions over the caller's words.
 */
#pragma once

#include "storage/subject_members.h"

#include <roaring/roaring.h>
#include <stddef.h>

/* into |= from. */
void bits_or(uint64_t *restrict into, const uint64_t *restrict from, size_t words);
/* into &= ~from. */
void bits_andnot(uint64_t *restrict into, const uint64_t *restrict from, size_t words);
/* into &= from. */
void bits_and(uint64_t *restrict into, const uint64_t *restrict from, size_t words);
/* How many are in both. */
uint64_t bits_and_count(const uint64_t *a, const uint64_t *b, size_t words);
/* How many are in one or the other. */
uint64_t bits_or_count(const uint64_t *a, const uint64_t *b, size_t words);
uint64_t bits_count(const uint64_t *bits, size_t words);
bool bits_any(const uint64_t *bits, size_t words);
/* into |= a & b. */
void bits_or_and(uint64_t *restrict into, const uint64_t *restrict a, const uint64_t *restrict b,
                 size_t words);
/* Set the bits of ascending subjects; those outside [base, base + 64 * words) are left out. */
void bits_add(uint64_t *bits, uint32_t base, size_t words, const uint32_t *subjects, size_t count);
/* The same of a stored set, which may be NULL. */
void bits_add_set(uint64_t *bits, uint32_t base, size_t words, const roaring_bitmap_t *set);
/* Set the bits of the members in [base, end). */
void bits_add_members(uint64_t *bits, uint32_t base, uint32_t end,
                      const struct subject_members *members);
/* And the bits in `twice` of those that were set before. */
void bits_add_members_twice(uint64_t *bits, uint64_t *twice, uint32_t base, uint32_t end,
                            const struct subject_members *members);
/* The same of members that are in `of` as well; `twice` may be NULL. */
void bits_add_members_of(uint64_t *bits, uint64_t *twice, const uint64_t *of, uint32_t base,
                         uint32_t end, const struct subject_members *members);

/* ---- how often ---- */

/* Numbers of all subjects as bits: plane k has bit k of each, `words` words a plane. Adds 1 to those in `bits`, which is
 * spent; a number beyond the planes starts again from 0. */
void planes_add(uint64_t *planes, uint32_t plane_count, uint64_t *bits, size_t words);
/* counts[n] += how many subjects have the number n, for all n <= most; none has more. `scratch`: words of 2 * plane_count + 1 sets. */
void planes_tally(const uint64_t *planes, uint32_t plane_count, size_t words, uint64_t *scratch,
                  uint64_t *counts, uint32_t most);
