/* tests/support/ref_attribution.c */
#include "tests/support/ref_attribution.h"

#include <math.h>

#define UNIT 1000000

static bool is_repeat(const struct ref_touch *touches, int i)
{
    for (int k = 0; k < i; k++) {
        if (touches[k].channel == touches[i].channel && touches[k].session == touches[i].session) {
            return true;
        }
    }
    return false;
}

static double weight(enum ref_model model, int64_t half_life_ms, int64_t age_ms, int i, int count)
{
    switch (model) {
    case REF_LINEAR: return 1;
    case REF_TIME_DECAY: return pow(2, -(double)age_ms / (double)half_life_ms);
    case REF_POSITION:
        if (count <= 2) {
            return 1;
        }
        return i == 0 || i == count - 1 ? 0.4 : 0.2 / (count - 2);
    default: return 0;
    }
}

static void share_out(enum ref_model model, int64_t half_life_ms, int64_t conversion_ms,
                      const struct ref_touch *touches, const int *kept, int kept_count,
                      int64_t *out)
{
    double total = 0;
    int64_t given = 0;
    for (int i = 0; i < kept_count; i++) {
        total +=
            weight(model, half_life_ms, conversion_ms - touches[kept[i]].time_ms, i, kept_count);
    }
    for (int i = 0; i + 1 < kept_count; i++) {
        double w =
            weight(model, half_life_ms, conversion_ms - touches[kept[i]].time_ms, i, kept_count);
        out[kept[i]] = (int64_t)floor(w / total * UNIT + 1e-6); /* 0.4 is not 0.4 */
        given += out[kept[i]];
    }
    out[kept[kept_count - 1]] = UNIT - given;
}

void ref_attribution(enum ref_model model, bool keeps_repeats, int64_t half_life_ms,
                     int64_t conversion_ms, const struct ref_touch *touches, int count,
                     int64_t *out)
{
    int kept[64];
    int kept_count = 0;
    int last = count - 1;

    for (int i = 0; i < count; i++) {
        out[i] = 0;
        if (keeps_repeats || !is_repeat(touches, i)) {
            kept[kept_count++] = i;
        }
    }
    for (int i = 0; i < count && model == REF_LAST_NON_DIRECT; i++) {
        last = touches[i].is_direct ? last : i;
    }
    switch (model) {
    case REF_FIRST_TOUCH: out[0] = UNIT; break;
    case REF_LAST_TOUCH:
    case REF_LAST_NON_DIRECT: out[last] = UNIT; break;
    default: share_out(model, half_life_ms, conversion_ms, touches, kept, kept_count, out); break;
    }
}
