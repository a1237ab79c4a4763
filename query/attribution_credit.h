/* query/attribution_credit.h - how one conversion's credit is dealt out to the touches before it.
 *
 * Credit is counted in millionths, in whole numbers; what rounding leaves over goes to the last touch, so that
 * credits sum to the conversion exactly.
 *
 *     first, last      all to one            linear      to each the same
 *     position         40 %, 20 % shared by those in between, 40 %; of two touches half to each
 *     time_decay       by 2^-(age / half-life), age up to the conversion
 *
 * Thread: pure.
 */
#pragma once

#include "query/bound.h"

#define ATTRIBUTION_UNIT 1000000u /* of one conversion */

/* `times` of `count` >= 1 touches, ascending; `out` gets their credits. last_non_direct has chosen its touch before:
 * here it is as last. */
void attribution_credits(enum attribution_model model, uint64_t half_life_ms, const int64_t *times,
                         size_t count, uint32_t *out);
