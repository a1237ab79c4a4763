/* storage/subject_members.c - see subject_members.h. */
#include "storage/subject_members.h"

#include <stddef.h>

uint32_t members_next(const struct subject_members *members, struct members_cursor *cursor,
                      uint32_t *buffer, uint32_t cap, const uint32_t **ret)
{
    if (members->list != NULL) {
        uint32_t count = members->count - cursor->at;
        *ret = members->list + cursor->at;
        cursor->at = members->count;
        return count;
    }
    uint32_t count = 0;
    for (; cursor->at < members->word_count && count + 64 <= cap; cursor->at++) {
        uint32_t base = members->base + cursor->at * 64;
        for (uint64_t bits = members->words[cursor->at]; bits != 0; bits &= bits - 1) {
            buffer[count++] = base + (uint32_t)__builtin_ctzll(bits);
        }
    }
    *ret = buffer;
    return count;
}

void members_to_words(const uint32_t *list, uint32_t count, uint32_t base, uint64_t *words)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t bit = list[i] - base;
        words[bit / 64] |= UINT64_C(1) << (bit % 64);
    }
}
