/* query/civil_int.h - how a time zone looks inside, for civil_*.c and the tests that feed it bytes.
 */
#pragma once

#include "query/civil.h"

#define CIVIL_SECOND_MS     INT64_C(1000)
#define CIVIL_MINUTE_MS     INT64_C(60000)
#define CIVIL_HOUR_MS       INT64_C(3600000)
#define CIVIL_DAY_MS        INT64_C(86400000)
#define CIVIL_CYCLE_MS      (146097 * CIVIL_DAY_MS) /* 400 years: weekdays repeat, too */
#define CIVIL_OFFSET_MS_MAX (26 * CIVIL_HOUR_MS)    /* RFC 8536, 3.2 */

#define ZONE_NAME_BYTES_MAX  63
#define ZONE_FILE_BYTES_MAX  (256u << 10)
#define ZONE_TRANSITIONS_MAX 4096u

/* Span i is [begin_ms[i], begin_ms[i + 1]); the first begins at INT64_MIN, the last has no end, and
 * neighbours differ in their offset. Where a daylight saving rule goes on for ever, the table holds
 * it expanded past cycle_end_ms, and an instant from there on is looked up whole cycles earlier:
 * in [cycle_end_ms - CIVIL_CYCLE_MS, cycle_end_ms) the rule alone decides. */
struct zone {
    struct zone *next; /* in the cache of the process */
    char name[ZONE_NAME_BYTES_MAX + 1];
    bool is_utc; /* written as Z */
    bool has_cycle;
    int64_t cycle_end_ms;
    int64_t cycle_hours; /* hour buckets in one cycle */
    uint32_t span_count;
    int64_t *begin_ms;
    int64_t *hour_number; /* the hour bucket that begin_ms[i] is in, relative to the epoch's */
    int32_t *offset_ms;
};

/* Read the bytes of a TZif file (RFC 8536, versions 1 to 4), whatever they are. The zone is the
 * caller's, zone_free frees it. ERR_CORRUPT, ERR_UNSUPPORTED (leap seconds in it), ERR_NOMEM. */
enum err_code zone_decode(struct str name, struct str bytes, struct zone **ret,
                          struct err *err) ERR_MUST_CHECK;
void zone_free(struct zone *zone);
static inline void zone_freep(struct zone **zone)
{
    zone_free(*zone);
}

/* The number of the hour bucket that ts_ms is in (civil_number, HOUR, n = 1). */
int64_t zone_hour_number(const struct zone *zone, int64_t ts_ms);

/* As zone_span_of, but *span, where it holds ts_ms already, is kept: walks are linear. */
static inline void zone_span_move(const struct zone *zone, int64_t ts_ms, struct zone_span *span)
{
    if (ts_ms < span->begin_ms || ts_ms >= span->end_ms) {
        *span = zone_span_of(zone, ts_ms);
    }
}

/* Rule 1 of civil.h: the first instant whose local time is `local_ms` (milliseconds of the local
 * clock since its 1970-01-01T00:00) or later. */
int64_t civil_first_instant(const struct zone *zone, int64_t local_ms);

static inline int64_t civil_clamp(int64_t ts_ms)
{
    return ts_ms < CIVIL_TS_MIN ? CIVIL_TS_MIN : ts_ms > CIVIL_TS_MAX ? CIVIL_TS_MAX : ts_ms;
}

/* Division that rounds down; b > 0. */
static inline int64_t civil_div(int64_t a, int64_t b)
{
    int64_t quotient = a / b;
    return quotient - (a % b < 0);
}
