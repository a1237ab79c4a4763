/* query/retention_calendar.h - the civil periods of a retention query as slots
 * (kernel_retention.h).
 *
 * Thread: immutable once made. Ownership: the arena's.
 */
#pragma once

#include "query/kernel_retention.h"
#include "storage/base/arena.h"

struct retention_calendar {
    int64_t *begins; /* slot_count + 1 */
    uint32_t slot_count;
    uint32_t cohort_count; /* slots that overlap the range; 0 where the range is empty */
};

/* Slots from the period of from_ms to `periods_after` periods after the last one that overlaps
 * [from_ms, to_ms), and on to the one that holds horizon_ms. ERR_LIMIT above QUERY_BUCKETS_MAX
 * cohorts or twice as many slots, or when the budget is spent. */
enum err_code retention_calendar_make(const struct civil_grid *grid, int64_t from_ms, int64_t to_ms,
                                      uint32_t periods_after, int64_t horizon_ms,
                                      struct arena *arena, struct retention_calendar *ret,
                                      struct err *err) ERR_MUST_CHECK;
