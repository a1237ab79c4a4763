/* query/kernel_sequence.c */
#include "query/kernel_sequence.h"

#include "storage/base/size.h"

/* Later minus earlier, which may be more than an int64_t holds. */
static uint64_t ms_between(int64_t earlier, int64_t later)
{
    return (uint64_t)later - (uint64_t)earlier;
}

/* The last element: whatever it takes completes the pattern. */
static void fill_last(const struct sequence_element *element, uint64_t bit,
                      const struct sequence_journey *journey)
{
    for (size_t i = 0; i < journey->count; i++) {
        journey->can[i] = (journey->masks[i] & element->take) != 0 ? bit : 0;
    }
}

/* An element whose follower, with bit `after`, is known. */
static void fill_one(const struct sequence_element *element,
                     const struct sequence_element *follower, uint64_t bit, uint64_t after,
                     const struct sequence_journey *journey)
{
    const int64_t *times = journey->times;
    uint32_t count = (uint32_t)journey->count;
    uint32_t *next = journey->next; /* [i]: the first event from i on that the follower can take */
    uint32_t far = count;           /* the first event that is far enough from event i */

    next[count] = count;
    for (uint32_t i = count; i-- > 0;) {
        if ((journey->masks[i] & element->take) != 0) {
            bool is_good = false;
            if (!follower->is_free) {
                is_good = i + 1 < count && (journey->can[i + 1] & after) != 0;
            } else {
                while (far > i + 1 && ms_between(times[i], times[far - 1]) >= follower->min_ms) {
                    far--;
                }
                uint32_t found = next[far];
                is_good = found < count && ms_between(times[i], times[found]) <= follower->max_ms;
            }
            journey->can[i] |= is_good ? bit : 0;
        }
        next[i] = (journey->can[i] & after) != 0 ? i : next[i + 1];
    }
}

void kernel_sequence(const struct sequence_element *elements, uint32_t element_count,
                     const struct sequence_journey *journey)
{
    ASSERT(element_count >= 1 && element_count <= 64);
    ASSERT(journey->count < UINT32_MAX);
    uint32_t k = element_count - 1;
    fill_last(&elements[k], UINT64_C(1) << k, journey);
    while (k-- > 0) {
        fill_one(&elements[k], &elements[k + 1], UINT64_C(1) << k, UINT64_C(1) << (k + 1), journey);
    }
}

size_t kernel_sequence_start(const struct sequence_journey *journey, size_t from)
{
    for (size_t i = from; i < journey->count; i++) {
        if ((journey->can[i] & 1) != 0) {
            return i;
        }
    }
    return SEQUENCE_NONE;
}

size_t kernel_sequence_events(const struct sequence_element *elements, uint32_t element_count,
                              const struct sequence_journey *journey, size_t start,
                              size_t *out_events)
{
    size_t at = start;
    out_events[0] = start;
    for (uint32_t k = 1; k < element_count; k++) {
        uint64_t bit = UINT64_C(1) << k;
        size_t i = at + 1;
        while (elements[k].is_free &&
               (ms_between(journey->times[at], journey->times[i]) < elements[k].min_ms ||
                (journey->can[i] & bit) == 0)) {
            i++; /* `can` has promised that there is one */
            ASSERT(i < journey->count);
        }
        at = i;
        out_events[k] = at;
    }
    return at;
}
