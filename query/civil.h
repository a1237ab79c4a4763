/* query/civil.h - civil time: what a calendar and a wall clock say in any IANA time zone.
 *
 * Instants are int64 milliseconds since 1970-01-01T00:00Z (`ts_ms`). A zone is a list of spans of
 * constant offset; local time = instant + offset. Everything below follows from two rules.
 *
 * 1. From local to instant: a local time x stands for the FIRST instant whose local time is x or
 *    later. Where the clock jumps over x (a gap) that is the first instant after the jump; where x
 *    happens twice (a fold) it is the earlier one.
 * 2. A bucket is the time between two consecutive boundaries, half open. Boundaries that fall on
 *    the same instant have no bucket between them.
 *
 * So a civil day is [local midnight, next local midnight) and has 23, 24 or 25 hours; it starts at
 * 01:00 where midnight is skipped; and Pacific/Apia's 2011-12-30, which never was, is no bucket.
 * Buckets tile: every instant is in exactly one. After a clock goes back over midnight (St. John's
 * did, at 00:01) the repeated 23:01 .. 24:00 belongs to the day that has already begun.
 *
 * Boundaries of a grid {unit, n}:
 *
 *     CIVIL_MS                 every n ms from the epoch; no calendar, no zone
 *     SECOND MINUTE HOUR       of at most one hour (5m, 60m, 1h): every n units of the local clock
 *                              from local midnight, AND every change of the offset: instants are
 *                              grouped by (civil slot, offset). A repeated hour is two buckets, a
 *                              missing hour none, Lord_Howe's half hours are buckets of their own
 *     MINUTE HOUR              longer (90m, 6h; at most 24h): local midnight + k * n units, under
 *                              rule 1, as days are. 00:00 .. 06:00 then has 5, 6 or 7 hours
 *     DAY                      local midnight of each n-th day, counted from 1970-01-01
 *     WEEK                     of the first day of each n-th week from that which has 1970-01-01
 *     MONTH QUARTER YEAR       of the first of each n-th month (quarter, year) from 1970
 *
 * Slots that do not divide the day (7h) start again at local midnight: the last one is cut short.
 *
 * Instants outside [CIVIL_TS_MIN, CIVIL_TS_MAX] (years -9999 .. 9999) are taken as the nearer end.
 *
 * Thread: a zone is immutable and lives as long as the process; everything here is safe from any
 * thread, except that a struct civil_cursor has one owner. Cost: an offset is a binary search in
 * about a thousand spans (30 ns); floor and next some five of these. For many timestamps use
 * a cursor (a compare while they stay in one bucket) or civil_buckets with civil_bucket_idx.
 */
#pragma once

#include "storage/base/err.h"
#include "storage/base/str.h"

#define CIVIL_YEAR_MIN (-9999)
#define CIVIL_YEAR_MAX 9999
#define CIVIL_TS_MIN   INT64_C(-377705116800000) /* -9999-01-01T00:00Z */
#define CIVIL_TS_MAX   INT64_C(253402300799999)  /* 9999-12-31T23:59:59.999Z */

struct arena;
struct zone;

/* -- zones ------------------------------------------------------------------------------------ */

/* The zone of an IANA name, from the system's TZif files (/usr/share/zoneinfo); read once, then
 * cached. "UTC" needs no file. ERR_NOT_FOUND, with the nearest known name, for names unknown or
 * not made of [A-Za-z0-9_+-] in parts split by '/'; ERR_CORRUPT for a damaged file; ERR_IO. */
enum err_code zone_find(struct str name, const struct zone **ret, struct err *err) ERR_MUST_CHECK;
const struct zone *zone_utc(void);
struct str zone_name(const struct zone *zone);
/* Local time minus UTC at this instant, east positive. */
int32_t zone_offset_ms(const struct zone *zone, int64_t ts_ms);

/* The longest stretch around an instant that the offset is known to be constant in: [begin, end),
 * INT64_MIN and INT64_MAX where it has no end. */
struct zone_span {
    int64_t begin_ms;
    int64_t end_ms;
    int32_t offset_ms;
};
struct zone_span zone_span_of(const struct zone *zone, int64_t ts_ms);

/* The version of the system's time zone database, "2025b", or "unknown". */
const char *zone_db_version(void);

/* -- dates and local times ----------------------------------------------------------------------
 */

struct civil {
    int32_t year;
    uint8_t month;  /* 1 .. 12 */
    uint8_t day;    /* 1 .. 31 */
    uint8_t hour;   /* 0 .. 23 */
    uint8_t minute; /* 0 .. 59 */
    uint8_t second; /* 0 .. 59 */
    uint16_t ms;    /* 0 .. 999 */
    int32_t offset_ms;
};

/* Days since 1970-01-01, proleptic Gregorian; false for no date or a year outside the bounds. */
bool civil_days(int32_t year, uint32_t month, uint32_t day, int64_t *ret_days);
/* The date of a day number: sets year, month and day, leaves the time 0. */
struct civil civil_from_days(int64_t days);
struct civil civil_from_ms(const struct zone *zone, int64_t ts_ms);
/* Rule 1. `civil.offset_ms` is not looked at. False where the fields are no date and time. */
bool civil_to_ms(const struct zone *zone, struct civil civil, int64_t *ret_ms);

/* -- buckets ------------------------------------------------------------------------------------
 */

enum civil_unit {
    CIVIL_MS,
    CIVIL_SECOND,
    CIVIL_MINUTE,
    CIVIL_HOUR,
    CIVIL_DAY,
    CIVIL_WEEK,
    CIVIL_MONTH,
    CIVIL_QUARTER,
    CIVIL_YEAR,
};
#define CIVIL_UNITS 9

enum civil_weekday {
    CIVIL_MONDAY,
    CIVIL_TUESDAY,
    CIVIL_WEDNESDAY,
    CIVIL_THURSDAY,
    CIVIL_FRIDAY,
    CIVIL_SATURDAY,
    CIVIL_SUNDAY,
};

const char *civil_unit_name(enum civil_unit unit); /* "day" */

struct civil_grid {
    const struct zone *zone;
    int64_t n;
    enum civil_unit unit;
    enum civil_weekday week_start;
};

/* ERR_INVALID when n < 1, when slots of seconds, minutes or hours are longer than a day, or when
 * a bucket is longer than a thousand years. The functions below ASSERT a grid made here. */
enum err_code civil_grid_init(const struct zone *zone, enum civil_unit unit, int64_t n,
                              enum civil_weekday week_start, struct civil_grid *ret,
                              struct err *err) ERR_MUST_CHECK;

/* The begin of the bucket that holds ts_ms. */
int64_t civil_floor(const struct civil_grid *grid, int64_t ts_ms);
/* The end of the bucket that holds ts_ms = the begin of the next. */
int64_t civil_next(const struct civil_grid *grid, int64_t ts_ms);
/* The ordinal number of the bucket, for differences (retention): days, weeks, months, quarters,
 * years since 1970 (n > 1: divided, rounding down); bucket count for HOUR, n = 1, with 0 the bucket
 * that holds the epoch; floor(ts / length) for CIVIL_MS, SECOND and MINUTE of at most one hour;
 * local day number * slots per day + slot for the other sub-day grids. Numbers grow with time, but
 * a day that never was leaves a hole. */
int64_t civil_number(const struct civil_grid *grid, int64_t ts_ms);

/* Move by n units, either way. Up to HOUR that is n * unit of elapsed time. From DAY on the civil
 * date moves, the time of the day stays, the day is cut to the length of its month (January 31 + 1
 * month = the last of February), then rule 1. The first instant of a day goes to the first instant
 * of a day, whatever the clock shows then: bucket begins stay bucket begins. The result is clamped
 * to [CIVIL_TS_MIN, CIVIL_TS_MAX]. */
int64_t civil_add(const struct zone *zone, enum civil_unit unit, int64_t n, int64_t ts_ms);

/* The begins of all buckets that overlap [from_ms, to_ms), in order (the first may lie before
 * from_ms), and after them the end of the last: *ret_begins has *ret_count + 1 entries, owned by
 * the arena. An empty range gives no bucket and the one entry civil_floor(from_ms).
 * ERR_LIMIT when there are more than `max`, or the arena's budget is spent. */
enum err_code civil_buckets(const struct civil_grid *grid, int64_t from_ms, int64_t to_ms,
                            uint32_t max, struct arena *arena, int64_t **ret_begins,
                            uint32_t *ret_count, struct err *err) ERR_MUST_CHECK;

/* Which bucket of civil_buckets holds ts_ms; `begins` has count + 1 entries and
 * begins[0] <= ts_ms < begins[count]. Binary search. */
uint32_t civil_bucket_idx(const int64_t *begins, uint32_t count, int64_t ts_ms);

/* Remembers the bucket of the last timestamp. Thread: one owner. */
struct civil_cursor {
    struct civil_grid grid;
    int64_t begin_ms; /* [begin, end) holds the last timestamp; empty at first */
    int64_t end_ms;
};
static inline struct civil_cursor civil_cursor_init(const struct civil_grid *grid)
{
    return (struct civil_cursor){.grid = *grid};
}
static inline int64_t civil_cursor_floor(struct civil_cursor *cursor, int64_t ts_ms)
{
    if (ts_ms < cursor->begin_ms || ts_ms >= cursor->end_ms) {
        cursor->begin_ms = civil_floor(&cursor->grid, ts_ms);
        cursor->end_ms = civil_next(&cursor->grid, ts_ms);
    }
    return cursor->begin_ms;
}

/* -- text ---------------------------------------------------------------------------------------
 */

#define CIVIL_TEXT_BYTES 48

/* "2025-05-01T08:00:00+08:00", milliseconds only where not zero, "Z" in UTC. The str points into
 * `out`, which is NUL-terminated too. */
struct str civil_format_instant(const struct zone *zone, int64_t ts_ms, char out[CIVIL_TEXT_BYTES]);
/* "2025-05-01": the civil day that holds ts_ms (that of civil_floor by DAY). */
struct str civil_format_date(const struct zone *zone, int64_t ts_ms, char out[CIVIL_TEXT_BYTES]);

enum civil_precision {
    CIVIL_PRECISION_DATE, /* the text is a date; the instant is the begin of that day */
    CIVIL_PRECISION_MINUTE,
    CIVIL_PRECISION_SECOND,
    CIVIL_PRECISION_MS,
};
/* Read a date or instant as the language writes it (storage/base/iso8601.h has the grammar);
 * without an offset it is local time of `zone`, under rule 1. ERR_INVALID says what is wrong. */
enum err_code civil_parse(struct str text, const struct zone *zone, int64_t *ret_ms,
                          enum civil_precision *ret_precision, struct err *err) ERR_MUST_CHECK;
