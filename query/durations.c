/* query/durations.c
 *
 * Ranks are found by radix selection: a histogram of the highest digit says which digit the wanted
 * rank has; the values with that digit are brought to the front, and the rest is forgotten. The
 * cost does not depend on how the values are arranged, so nobody can send data that makes it
 * quadratic. */
#include "query/durations.h"

#define DIGIT_BITS  8u
#define DIGIT_COUNT (1u << DIGIT_BITS)

/* The value of rank `rank` (from 0) among ms[0 .. count). Digits start at the highest bit that any value has. */
static uint64_t select_rank(uint64_t *ms, size_t count, size_t rank)
{
    uint64_t all = 0;
    for (size_t i = 0; i < count; i++) {
        all |= ms[i];
    }
    uint32_t bits = all == 0 ? 0 : 64 - (uint32_t)__builtin_clzll(all);
    uint32_t shift = bits > DIGIT_BITS ? bits - DIGIT_BITS : 0;
    while (count > 1) {
        size_t histogram[DIGIT_COUNT] = {0};
        for (size_t i = 0; i < count; i++) {
            histogram[ms[i] >> shift & (DIGIT_COUNT - 1)]++;
        }
        uint32_t digit = 0;
        while (rank >= histogram[digit]) {
            rank -= histogram[digit];
            digit++;
        }
        if (histogram[digit] < count) {
            size_t front = 0;
            for (size_t i = 0; i < count; i++) {
                uint64_t value = ms[i];
                if ((value >> shift & (DIGIT_COUNT - 1)) == digit) {
                    ms[i] = ms[front];
                    ms[front++] = value;
                }
            }
            count = front;
        }
        if (shift == 0) { /* all that are left are equal */
            break;
        }
        shift = shift > DIGIT_BITS ? shift - DIGIT_BITS : 0; /* bits above are alike by now */
    }
    return ms[0];
}

/* The value of rank `rank` + 1, given that `low` is that of `rank`. */
static uint64_t select_next(const uint64_t *ms, size_t count, size_t rank, uint64_t low)
{
    uint64_t next = UINT64_MAX;
    size_t upto = 0; /* values that are not above low */
    for (size_t i = 0; i < count; i++) {
        upto += ms[i] <= low;
        next = ms[i] > low && ms[i] < next ? ms[i] : next;
    }
    return upto > rank + 1 ? low : next;
}

/* total / parts, exact where it is whole. */
static struct cell quotient(unsigned __int128 total, uint64_t parts)
{
    unsigned __int128 whole = total / parts;
    uint64_t rest = (uint64_t)(total % parts);

    if (rest == 0 && whole <= INT64_MAX) {
        return (struct cell){.kind = CELL_I64, .i64 = (int64_t)whole};
    }
    return (struct cell){.kind = CELL_F64, .f64 = (double)whole + (double)rest / (double)parts};
}

struct cell durations_mean(const uint64_t *ms, size_t count)
{
    unsigned __int128 total = 0;

    if (count == 0) {
        return (struct cell){.kind = CELL_NULL};
    }
    for (size_t i = 0; i < count; i++) {
        total += ms[i];
    }
    return quotient(total, count);
}

struct cell durations_quantile(uint64_t *ms, size_t count, uint32_t numerator, uint32_t denominator)
{
    ASSERT(denominator > 0 && numerator <= denominator);
    if (count == 0) {
        return (struct cell){.kind = CELL_NULL};
    }
    unsigned __int128 place = (unsigned __int128)(count - 1) * numerator;
    size_t rank = (size_t)(place / denominator);
    uint32_t rest = (uint32_t)(place % denominator);
    uint64_t low = select_rank(ms, count, rank);
    uint64_t high = rest == 0 ? low : select_next(ms, count, rank, low);
    return quotient((unsigned __int128)low * denominator + (unsigned __int128)(high - low) * rest,
                    denominator);
}
