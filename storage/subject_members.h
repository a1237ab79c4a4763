/* storage/subject_members.h - a set of subjects as it is kept for reading: listed, or as words where they are dense.
 *
 * A word of 64 bits costs what two listed subjects do, and is united, met and counted in one step.
 *
 * Thread: pure functions. Ownership: what the pointers show is its maker's.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct subject_members {
    uint32_t count;
    const uint32_t *list;  /* ascending; NULL: */
    const uint64_t *words; /* word_count of them, bit i is subject base + i */
    uint32_t base;         /* a multiple of 64 */
    uint32_t word_count;
};
static inline struct subject_members members_of_list(const uint32_t *list, uint32_t count)
{
    return (struct subject_members){.count = count, .list = list};
}

/* Words that members from `first` to `last` take, and their base. */
static inline uint32_t members_words(uint32_t first, uint32_t last, uint32_t *ret_base)
{
    *ret_base = first / 64 * 64;
    return last / 64 - first / 64 + 1;
}
/* Whether so many members are kept as so many words. */
static inline bool members_are_dense(uint32_t count, uint32_t words)
{
    return (uint64_t)words * 2 <= count;
}

#define MEMBERS_PORTION 1024u /* a fair size of buffers for members_next */
/* Members in ascending order, in portions. Starts zeroed. */
struct members_cursor {
    uint32_t at; /* in the list, or the words */
};
/* Up to `cap` (64 or more) next members; 0: there are no more. A list is shown in place. */
uint32_t members_next(const struct subject_members *members, struct members_cursor *cursor,
                      uint32_t *buffer, uint32_t cap, const uint32_t **ret);
/* Those of a list from `begin` on and before `end`; shown in place. */
struct subject_members members_between(const uint32_t *list, uint32_t count, uint32_t begin,
                                       uint32_t end);
/* The members as words; `words` are zero and of members_words of the first and the last. */
void members_to_words(const uint32_t *list, uint32_t count, uint32_t base, uint64_t *words);
