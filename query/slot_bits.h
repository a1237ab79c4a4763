/* query/slot_bits.h - a set of a task's subjects for each of some slots of time.
 *
 * A set is emptied when somebody first comes in, while the processor has it at hand, and those that nobody came into at the
 * end, when all are settled.
 *
 * Thread: one task. Memory: of the arena that they were made in.
 */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/size.h"

#include <string.h>

struct slot_bits {
    uint64_t *words;
    bool *is_touched; /* by slot; NULL: all are settled */
    uint32_t count;
    uint32_t base;     /* the subject of bit 0 */
    size_t word_count; /* of one set */
};

/* Empty sets of the subjects from `base` on, settled; or to be touched one by one. */
static inline enum err_code slot_bits_make(struct slot_bits *bits, uint32_t count, uint32_t base,
                                           size_t word_count, struct arena *arena, struct err *err)
{
    *bits = (struct slot_bits){.count = count, .base = base, .word_count = word_count};
    return arena_alloc_array(arena, count, word_count * sizeof(uint64_t), (void **)&bits->words,
                             err);
}
static inline enum err_code slot_bits_make_later(struct slot_bits *bits, uint32_t count,
                                                 uint32_t base, size_t word_count,
                                                 struct arena *arena, struct err *err)
{
    void *memory = NULL;
    size_t bytes = 0;
    *bits = (struct slot_bits){.count = count, .base = base, .word_count = word_count};
    if (!size_mul(count, word_count * sizeof(uint64_t), &bytes)) {
        return err_set(err, ERR_LIMIT, "%u sets of subjects are more than memory", count);
    }
    ERR_TRY(arena_alloc_raw(arena, bytes, &memory, err));
    bits->words = memory;
    return ARENA_NEW(arena, count, &bits->is_touched, err);
}

static inline uint64_t *slot_bits_of(const struct slot_bits *bits, uint32_t slot)
{
    return bits->words + slot * bits->word_count;
}
/* Of a slot that somebody comes into. */
static inline uint64_t *slot_bits_touch(const struct slot_bits *bits, uint32_t slot)
{
    uint64_t *words = slot_bits_of(bits, slot);
    if (bits->is_touched != NULL && !bits->is_touched[slot]) {
        memset(words, 0, bits->word_count * sizeof(*words));
        bits->is_touched[slot] = true;
    }
    return words;
}
static inline void slot_bits_settle(struct slot_bits *bits)
{
    for (uint32_t slot = 0; bits->is_touched != NULL && slot < bits->count; slot++) {
        slot_bits_touch(bits, slot);
    }
    bits->is_touched = NULL;
}
/* All empty again, to be touched. */
static inline void slot_bits_clear(struct slot_bits *bits)
{
    memset(bits->is_touched, 0, bits->count * sizeof(*bits->is_touched));
}
static inline bool slot_bits_has(const struct slot_bits *bits, uint32_t slot, uint32_t subject)
{
    uint32_t bit = subject - bits->base;
    return subject >= bits->base && bit / 64 < bits->word_count &&
           (bits->is_touched == NULL || bits->is_touched[slot]) &&
           (slot_bits_of(bits, slot)[bit / 64] >> (bit % 64) & 1) != 0;
}
/* The subject is of the sets'; whether it was in already. */
static inline bool slot_bits_add(const struct slot_bits *bits, uint32_t slot, uint32_t subject)
{
    uint32_t bit = subject - bits->base;
    uint64_t *word = slot_bits_touch(bits, slot) + bit / 64;
    uint64_t one = UINT64_C(1) << (bit % 64);
    bool was_in = (*word & one) != 0;
    *word |= one;
    return was_in;
}
/* Behind the last subject that the sets are of, and that is before `end`. */
static inline uint32_t slot_bits_end(const struct slot_bits *bits, uint32_t end)
{
    return (uint32_t)MIN_OF(end, bits->base + (uint64_t)bits->word_count * 64);
}
