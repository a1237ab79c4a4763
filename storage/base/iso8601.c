/* storage/base/iso8601.c - one pass over at most a few dozen bytes; see the header for the grammar.
 */
#include "storage/base/iso8601.h"

struct scan {
    const char *at;
    const char *end;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool scan_is(const struct scan *s, char c)
{
    return s->at < s->end && *s->at == c;
}

static bool scan_take(struct scan *s, char c)
{
    bool is_there = scan_is(s, c);
    s->at += is_there;
    return is_there;
}

/* Exactly `digits` digits. */
static bool scan_number(struct scan *s, int digits, int32_t *ret)
{
    if (s->end - s->at < digits) {
        return false;
    }
    int32_t value = 0;
    for (int i = 0; i < digits; i++) {
        if (!is_digit(s->at[i])) {
            return false;
        }
        value = value * 10 + (s->at[i] - '0');
    }
    s->at += digits;
    *ret = value;
    return true;
}

static const char *scan_date(struct scan *s, struct iso8601 *out)
{
    int32_t year = 0;
    int32_t month = 0;
    int32_t day = 0;
    if (!scan_number(s, 4, &year) || !scan_take(s, '-') || !scan_number(s, 2, &month) ||
        !scan_take(s, '-') || !scan_number(s, 2, &day)) {
        return "expected a date as in 2025-05-01";
    }
    if (month < 1 || month > 12) {
        return "month is not 01..12";
    }
    if (day < 1 || day > iso8601_month_days(year, month)) {
        return "the month has no such day";
    }
    out->year = year;
    out->month = (uint8_t)month;
    out->day = (uint8_t)day;
    return NULL;
}

static const char *scan_fraction(struct scan *s, struct iso8601 *out)
{
    if (s->at == s->end || !is_digit(*s->at)) {
        return "expected digits of a fraction";
    }
    uint32_t ms = 0;
    uint32_t weight = 100;
    for (; s->at < s->end && is_digit(*s->at); s->at++) {
        ms += weight * (uint32_t)(*s->at - '0'); /* 100, 10, 1, then 0: cut */
        weight /= 10;
    }
    out->ms = (uint16_t)ms;
    out->has_fraction = true;
    return NULL;
}

static const char *scan_time(struct scan *s, struct iso8601 *out)
{
    int32_t hour = 0;
    int32_t minute = 0;
    int32_t second = 0;
    if (!scan_number(s, 2, &hour) || !scan_take(s, ':') || !scan_number(s, 2, &minute)) {
        return "expected a time as in 08:00 or 08:00:30.123";
    }
    out->has_time = true;
    if (scan_take(s, ':')) {
        if (!scan_number(s, 2, &second)) {
            return "expected seconds of two digits";
        }
        out->has_second = true;
        if (scan_take(s, '.') || scan_take(s, ',')) {
            const char *problem = scan_fraction(s, out);
            if (problem != NULL) {
                return problem;
            }
        }
    }
    if (hour > 23) {
        return "hour is not 00..23";
    }
    if (minute > 59) {
        return "minute is not 00..59";
    }
    if (second > 60) {
        return "second is not 00..60";
    }
    if (second == 60) {
        second = 59;
        out->ms = 999;
    }
    out->hour = (uint8_t)hour;
    out->minute = (uint8_t)minute;
    out->second = (uint8_t)second;
    return NULL;
}

static const char *scan_offset(struct scan *s, struct iso8601 *out)
{
    static const char *const expected = "expected a zone as in Z or +08:00";
    bool had_space = scan_take(s, ' ');
    if (s->at == s->end) {
        return had_space ? expected : NULL;
    }
    if (scan_take(s, 'Z') || scan_take(s, 'z')) {
        out->has_offset = true;
        return NULL;
    }
    bool is_west = scan_is(s, '-');
    int32_t hours = 0;
    int32_t minutes = 0;
    int32_t seconds = 0;
    if ((!scan_take(s, '+') && !scan_take(s, '-')) || !scan_number(s, 2, &hours)) {
        return expected;
    }
    bool has_colon = scan_take(s, ':');
    if ((has_colon || s->at < s->end) && !scan_number(s, 2, &minutes)) {
        return expected;
    }
    if (has_colon && scan_take(s, ':') && !scan_number(s, 2, &seconds)) {
        return expected;
    }
    if (hours > 23 || minutes > 59 || seconds > 59) {
        return "offset is not within 23:59";
    }
    int32_t offset_ms = ((hours * 60 + minutes) * 60 + seconds) * 1000;
    out->offset_ms = is_west ? -offset_ms : offset_ms;
    out->has_offset = true;
    return NULL;
}

const char *iso8601_scan(struct str text, struct iso8601 *ret)
{
    if (text.len == 0) {
        return "expected a date as in 2025-05-01";
    }
    struct scan s = {text.ptr, text.ptr + text.len};
    struct iso8601 out = {0};
    const char *problem = scan_date(&s, &out);
    if (problem == NULL && s.at < s.end) {
        if (!scan_take(&s, 'T') && !scan_take(&s, 't') && !scan_take(&s, ' ')) {
            return "expected T and a time after the date";
        }
        problem = scan_time(&s, &out);
        if (problem == NULL) {
            problem = scan_offset(&s, &out);
        }
    }
    if (problem == NULL && s.at < s.end) {
        problem = "more text than a date and time";
    }
    if (problem == NULL) {
        *ret = out;
    }
    return problem;
}

bool iso8601_parse(struct str text, int64_t *ret_ms)
{
    struct iso8601 t = {0};
    if (iso8601_scan(text, &t) != NULL) {
        return false;
    }
    int64_t seconds = ((int64_t)t.hour * 60 + t.minute) * 60 + t.second;
    *ret_ms =
        iso8601_days(t.year, t.month, t.day) * ISO8601_DAY_MS + seconds * 1000 + t.ms - t.offset_ms;
    return true;
}
