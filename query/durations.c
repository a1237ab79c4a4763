/* query/durations.c
 *
 * Ranks are found in two steps. All durations are counted by their first binary digits (how long they are, and the six after
 * the highest), whatever lies within a sixty-fourth of each other together: durations of a funnel are minutes more often than
 * days, and digits of a fixed place would leave most of them in one class. The values of the class
 * in which the wanted rank is are brought to the front, and the rank is found among them by radix selection: a histogram of the
 * highest digit says which digit it has; the values with that digit are brought to the front, and the rest is forgotten. The
 * cost does not depend on how the values are arranged, so nobody can send data that makes it quadratic. */
#include "query/durations.h"

#define DIGIT_BITS  8u
#define DIGIT_COUNT (1u << DIGIT_BITS)

#define CLASS_BITS  6u /* behind the highest one */
#define CLASS_COUNT ((65u - CLASS_BITS) << CLASS_BITS)
#define FEW         512u /* up to these, all are one class */

/* Greater durations have no smaller class; each below 2^7 has one of its own. */
static inline uint32_t class_of(uint64_t ms)
{
    uint32_t shift = 63 - CLASS_BITS - (uint32_t)__builtin_clzll(ms | 1 << CLASS_BITS);
    return (shift << CLASS_BITS) + (uint32_t)(ms >> shift);
}

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

/* The values between which a quantile lies: of rank `rank` (from 0), and the next one. */
struct rank_range {
    uint64_t low, high;
};

/* Of values that are all of one class, or of two with none between. */
static struct rank_range range_within(uint64_t *ms, size_t count, size_t rank, bool needs_next)
{
    uint64_t low = select_rank(ms, count, rank);
    return (struct rank_range){low, needs_next ? select_next(ms, count, rank, low) : low};
}

/* `classes`: how many durations each has. */
static struct rank_range range_by_class(uint64_t *ms, size_t count, const size_t *classes,
                                        size_t rank, bool needs_next)
{
    size_t before = 0; /* in classes before `first` */
    uint32_t first = 0;
    while (before + classes[first] <= rank) {
        before += classes[first++];
    }
    size_t upto = before + classes[first];
    uint32_t last = first;
    while (needs_next && upto <= rank + 1) {
        upto += classes[++last];
    }
    size_t front = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t value = ms[i];
        ms[i] = ms[front];
        ms[front] = value;
        front += class_of(value) - first <= last - first;
    }
    return range_within(ms, front, rank - before, needs_next);
}

void durations_quantiles(uint64_t *ms, size_t count, const struct durations_quantile *quantiles,
                         uint32_t quantile_count, struct cell *out)
{
    size_t classes[CLASS_COUNT];
    bool has_classes = count > FEW;

    if (has_classes) {
        memset(classes, 0, sizeof(classes));
    }
    for (size_t i = 0; has_classes && i < count; i++) {
        classes[class_of(ms[i])]++;
    }
    for (uint32_t q = 0; q < quantile_count; q++) {
        struct durations_quantile ask = quantiles[q];
        ASSERT(ask.denominator > 0 && ask.numerator <= ask.denominator);
        if (count == 0) {
            out[q] = (struct cell){.kind = CELL_NULL};
            continue;
        }
        unsigned __int128 place = (unsigned __int128)(count - 1) * ask.numerator;
        size_t rank = (size_t)(place / ask.denominator);
        uint32_t rest = (uint32_t)(place % ask.denominator);
        struct rank_range range = has_classes ? range_by_class(ms, count, classes, rank, rest != 0)
                                              : range_within(ms, count, rank, rest != 0);
        out[q] = quotient((unsigned __int128)range.low * ask.denominator +
                              (unsigned __int128)(range.high - range.low) * rest,
                          ask.denominator);
    }
}
