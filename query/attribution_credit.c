/* query/attribution_credit.c */
#include "query/attribution_credit.h"

#include <math.h>

/* Weights are taken relative to the last touch: ages then cancel out, and no weight is lost to an old conversion. */
static void decay_credits(uint64_t half_life_ms, const int64_t *times, size_t count, uint32_t *out)
{
    double total = 0;
    double half_life = (double)half_life_ms;

    for (size_t i = 0; i < count; i++) {
        total += exp2(-(double)((uint64_t)times[count - 1] - (uint64_t)times[i]) / half_life);
    }
    for (size_t i = 0; i < count; i++) {
        double age = (double)((uint64_t)times[count - 1] - (uint64_t)times[i]);
        out[i] = (uint32_t)(exp2(-age / half_life) / total * ATTRIBUTION_UNIT);
    }
}

static void position_credits(size_t count, uint32_t *out)
{
    uint32_t edge = count == 2 ? ATTRIBUTION_UNIT / 2 : ATTRIBUTION_UNIT / 5 * 2;
    for (size_t i = 0; i < count; i++) {
        out[i] = count > 2 ? (uint32_t)((ATTRIBUTION_UNIT - 2 * edge) / (count - 2)) : edge;
    }
    out[0] = edge;
    out[count - 1] = edge;
}

void attribution_credits(enum attribution_model model, uint64_t half_life_ms, const int64_t *times,
                         size_t count, uint32_t *out)
{
    uint32_t given = 0;

    switch (model) {
    case MODEL_FIRST:
    case MODEL_LAST:
    case MODEL_LAST_NON_DIRECT:
        for (size_t i = 0; i < count; i++) {
            out[i] = 0;
        }
        out[model == MODEL_FIRST ? 0 : count - 1] = ATTRIBUTION_UNIT;
        break;
    case MODEL_LINEAR:
        for (size_t i = 0; i < count; i++) {
            out[i] = (uint32_t)(ATTRIBUTION_UNIT / count);
        }
        break;
    case MODEL_TIME_DECAY: decay_credits(half_life_ms, times, count, out); break;
    case MODEL_POSITION: position_credits(count, out); break;
    }
    for (size_t i = 0; i + 1 < count; i++) {
        given += out[i];
    }
    out[count - 1] =
        ATTRIBUTION_UNIT - given; /* rounding goes down, so no more than all is given */
}
