/* tests/support/ref_traits.c - see ref_traits.h. */
#include "tests/support/ref_traits.h"

#include <string.h>

static int is_later(const struct ref_traits_call *a, const struct ref_traits_call *b)
{
    return a->time_ms != b->time_ms ? a->time_ms > b->time_ms : strcmp(a->id, b->id) > 0;
}

int ref_traits_value(const struct ref_traits_call *calls, int count, int owner, int key,
                     int64_t until_ms)
{
    const struct ref_traits_call *last = 0;
    for (int i = 0; i < count; i++) {
        const struct ref_traits_call *call = &calls[i];
        if (call->owner != owner || call->values[key] < 0 || call->time_ms > until_ms) {
            continue;
        }
        if (last == 0 || is_later(call, last)) {
            last = call;
        }
    }
    return last == 0 ? -1 : last->values[key];
}
