/* storage/base/iso8601.h - dates and times as text (ISO 8601 / RFC 3339), without any time zone
 * rules.
 *
 * Accepted, and nothing else; the whole text must match:
 *
 *     2025-05-01
 *     2025-05-01T08:00[:30[.123456]]     then nothing, Z, +08, +0800, +08:00 (or -; seconds of an
 *                                        offset as in +08:05:43, which local mean times have)
 *
 * A space or `t` may stand for the T, a comma for the point, `z` for Z, and one space may precede
 * the zone. A fraction has any length and is cut (not rounded) to milliseconds. The leap second
 * hh:mm:60 is taken as the last millisecond before it, hh:mm:59.999: our clock, as POSIX's, has no
 * place for it. Month 13, February 30, hour 24 and the like are refused. Years are 0000 .. 9999.
 *
 * Thread: pure functions.
 */
#pragma once

#include "storage/base/str.h"

#define ISO8601_DAY_MS INT64_C(86400000)

struct iso8601 {
    int32_t year;
    uint8_t month; /* 1 .. 12 */
    uint8_t day;   /* 1 .. 31 */
    uint8_t hour;
    uint8_t minute;
    uint8_t second; /* 0 .. 59 */
    uint16_t ms;
    bool has_time; /* the text named at least hour and minute */
    bool has_second;
    bool has_fraction;
    bool has_offset;
    int32_t offset_ms; /* of the local time from UTC, east positive; 0 without has_offset */
};

/* Read `text`; NULL on success, else what is wrong with it, for a message: "month is not 01..12".
 * The fields are those of the text: the offset is not applied. Cost: tens of nanoseconds. */
const char *iso8601_scan(struct str text, struct iso8601 *ret);

/* Read an instant in milliseconds since the epoch; a text without a zone is UTC, a date is its
 * midnight. False where iso8601_scan refuses. This is the parser of event times at ingest. */
bool iso8601_parse(struct str text, int64_t *ret_ms);

/* Days from 1970-01-01 in the proleptic Gregorian calendar; month 1 .. 12, day may run over.
 * Source: H. Hinnant, "chrono-compatible low-level date algorithms", 2013. */
static inline int64_t iso8601_days(int64_t year, int64_t month, int64_t day)
{
    int64_t y = month <= 2 ? year - 1 : year; /* years that start in March: February is last */
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year -
           719468;
}

/* 28 .. 31. */
static inline int32_t iso8601_month_days(int64_t year, int32_t month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && is_leap);
}
