/* query/retention_calendar.c
 *
 * Slots are numbered by the civil number of their period, so that a difference of slots is a
 * difference of numbers. A number that no period has becomes a slot that ends where it begins.
 * Where the calendar itself ends (year 9999) the slots that are left over are empty as well.
 */
#include "query/retention_calendar.h"

#define SLOTS_MAX (2 * QUERY_BUCKETS_MAX)

static enum err_code too_many(struct err *err)
{
    return err_set(err, ERR_LIMIT, "more than %u periods: take longer ones or a shorter range",
                   SLOTS_MAX);
}

enum err_code retention_calendar_make(const struct civil_grid *grid, int64_t from_ms, int64_t to_ms,
                                      uint32_t periods_after, int64_t horizon_ms,
                                      struct arena *arena, struct retention_calendar *ret,
                                      struct err *err)
{
    int64_t *buckets = NULL;
    uint32_t bucket_count = 0;

    ERR_TRY(civil_buckets(grid, from_ms, to_ms, QUERY_BUCKETS_MAX, arena, &buckets, &bucket_count,
                          err));
    if (bucket_count == 0) {
        *ret = (struct retention_calendar){.begins = buckets};
        return ERR_OK;
    }
    int64_t origin = civil_number(grid, buckets[0]);
    int64_t last_cohort = civil_number(grid, buckets[bucket_count - 1]);
    int64_t last = last_cohort + periods_after;
    if (horizon_ms >= buckets[bucket_count]) {
        int64_t horizon = civil_number(grid, horizon_ms);
        last = last > horizon ? last : horizon;
    }
    if (last - origin >= SLOTS_MAX) {
        return too_many(err);
    }
    uint32_t slot_count = (uint32_t)(last - origin) + 1;
    int64_t *begins = NULL;
    ERR_TRY(ARENA_NEW(arena, (size_t)slot_count + 1, &begins, err));

    uint32_t filled = 0; /* begins[0 .. filled) are known */
    int64_t begin_ms = buckets[0];
    while (filled <= slot_count) {
        int64_t number = civil_number(grid, begin_ms);
        /* Numbers that were left out begin where the next period does. */
        while (filled <= slot_count && origin + filled <= number) {
            begins[filled++] = begin_ms;
        }
        int64_t next_ms = civil_next(grid, begin_ms);
        if (next_ms <= begin_ms) { /* the calendar's end */
            while (filled <= slot_count) {
                begins[filled++] = next_ms;
            }
        }
        begin_ms = next_ms;
    }
    *ret = (struct retention_calendar){
        .begins = begins,
        .slot_count = slot_count,
        .cohort_count = (uint32_t)(last_cohort - origin) + 1,
    };
    return ERR_OK;
}
