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

/* The first of a list that is not before `subject`. */
static uint32_t first_not_before(const uint32_t *list, uint32_t count, uint32_t subject)
{
    uint32_t low = 0;
    uint32_t high = count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        bool is_before = list[mid] < subject;
        low = is_before ? mid + 1 : low;
        high = is_before ? high : mid;
    }
    return low;
}

struct subject_members members_between(const uint32_t *list, uint32_t count, uint32_t begin,
                                       uint32_t end)
{
    uint32_t first = first_not_before(list, count, begin);
    return members_of_list(list + first, first_not_before(list + first, count - first, end));
}

void members_to_words(const uint32_t *list, uint32_t count, uint32_t base, uint64_t *words)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t bit = list[i] - base;
        words[bit / 64] |= UINT64_C(1) << (bit % 64);
    }
}
