/* query/saturating.h - instants moved by spans that may lead beyond all of them: there they stay at the end. */
#pragma once

#include <stdint.h>

static inline int64_t ms_add_saturating(int64_t ts_ms, uint64_t more_ms)
{
    return more_ms > (uint64_t)INT64_MAX - (uint64_t)ts_ms ? INT64_MAX
                                                           : (int64_t)((uint64_t)ts_ms + more_ms);
}

static inline int64_t ms_sub_saturating(int64_t ts_ms, uint64_t less_ms)
{
    return less_ms > (uint64_t)ts_ms - (uint64_t)INT64_MIN ? INT64_MIN
                                                           : (int64_t)((uint64_t)ts_ms - less_ms);
}

static inline uint64_t span_add_saturating(uint64_t a_ms, uint64_t b_ms)
{
    return a_ms > UINT64_MAX - b_ms ? UINT64_MAX : a_ms + b_ms;
}
