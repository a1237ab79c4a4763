/* query/interns.h - byte strings, numbered in the order in which they are first met.
 *
 * What a question counts by is often such a string: a node's name, the numbers of a path's nodes, a pair (bucket,
 * group). The number is an index into the caller's own array of counts.
 *
 *     "/home" -> 0, "/cart" -> 1, "/home" -> 0
 *
 * The hash is seeded with a random number, so that nobody outside can prepare collisions; numbers do not
 * depend on it.
 *
 * Thread: one owner. Memory: the arena's; a string costs its bytes and about 40 more. A copy starts at a multiple
 * of 16, so words that were put in can be read as words.
 */
#pragma once

#include "storage/base/arena.h"

struct interns {
    struct arena *arena;
    uint64_t seed;
    struct str *items; /* by number */
    uint32_t *tags;    /* of their hashes: most strings that differ are told apart by these */
    uint32_t count, cap, tag_cap;
    uint32_t *slots; /* numbers, UINT32_MAX = free; a power of two of them */
    uint32_t slot_count;
};

enum err_code interns_init(struct interns *interns, struct arena *arena,
                           struct err *err) ERR_MUST_CHECK;
/* The number of the string, a new one where it is not known: then the string is copied. */
enum err_code interns_put(struct interns *interns, struct str bytes, uint32_t *ret_number,
                          struct err *err) ERR_MUST_CHECK;

/* The number of a string that may not be known: then false. */
bool interns_find(const struct interns *interns, struct str bytes, uint32_t *ret_number);

/* The same for words. */
static inline enum err_code interns_put_words(struct interns *interns, const uint32_t *words,
                                              uint32_t count, uint32_t *ret_number, struct err *err)
{
    struct str bytes = {(const char *)words, (size_t)count * sizeof(*words)};
    return interns_put(interns, bytes, ret_number, err);
}
static inline bool interns_find_words(const struct interns *interns, const uint32_t *words,
                                      uint32_t count, uint32_t *ret_number)
{
    struct str bytes = {(const char *)words, (size_t)count * sizeof(*words)};
    return interns_find(interns, bytes, ret_number);
}
const uint32_t *interns_words(const struct interns *interns, uint32_t number, uint32_t *ret_count);
