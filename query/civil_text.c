/* query/civil_text.c - civil times as text, and back. */
#include "query/civil_int.h"

#include "storage/base/iso8601.h"

#include <stdio.h>
#include <stdlib.h>

static struct str text_of(char out[CIVIL_TEXT_BYTES], int len)
{
    ASSERT(len > 0 && len < CIVIL_TEXT_BYTES);
    return (struct str){out, (size_t)len};
}

/* Years before 0000 get a sign, as ISO 8601 has it for years that do not fit four digits. */
static int put_date(char *out, size_t room, struct civil c)
{
    return snprintf(out, room, "%s%04d-%02d-%02d", c.year < 0 ? "-" : "", abs(c.year), c.month,
                    c.day);
}

static int put_offset(char *out, size_t room, const struct zone *zone, int32_t offset_ms)
{
    if (zone->is_utc) {
        return snprintf(out, room, "Z");
    }
    int32_t seconds = abs(offset_ms) / 1000;
    char sign = offset_ms < 0 ? '-' : '+';
    int len = snprintf(out, room, "%c%02d:%02d", sign, seconds / 3600, seconds / 60 % 60);
    if (seconds % 60 != 0) { /* local mean time, before standard time came */
        len += snprintf(out + len, room - (size_t)len, ":%02d", seconds % 60);
    }
    return len;
}

struct str civil_format_instant(const struct zone *zone, int64_t ts_ms, char out[CIVIL_TEXT_BYTES])
{
    struct civil c = civil_from_ms(zone, ts_ms);
    int len = put_date(out, CIVIL_TEXT_BYTES, c);
    len += snprintf(out + len, CIVIL_TEXT_BYTES - (size_t)len, "T%02d:%02d:%02d", c.hour, c.minute,
                    c.second);
    if (c.ms != 0) {
        len += snprintf(out + len, CIVIL_TEXT_BYTES - (size_t)len, ".%03d", c.ms);
    }
    len += put_offset(out + len, CIVIL_TEXT_BYTES - (size_t)len, zone, c.offset_ms);
    return text_of(out, len);
}

struct str civil_format_date(const struct zone *zone, int64_t ts_ms, char out[CIVIL_TEXT_BYTES])
{
    /* Not civil_from_ms: after a fold over midnight the clock shows the day before. */
    struct civil_grid by_day = {.zone = zone, .n = 1, .unit = CIVIL_DAY};
    struct civil c = civil_from_days(civil_number(&by_day, ts_ms));
    return text_of(out, put_date(out, CIVIL_TEXT_BYTES, c));
}

enum err_code civil_parse(struct str text, const struct zone *zone, int64_t *ret_ms,
                          enum civil_precision *ret_precision, struct err *err)
{
    struct iso8601 t = {0};
    const char *problem = iso8601_scan(text, &t);
    if (problem != NULL) {
        return err_set(err, ERR_INVALID, "\"" STR_FMT "\" is no date or time: %s", STR_ARG(text),
                       problem);
    }
    int64_t local_ms = iso8601_days(t.year, t.month, t.day) * CIVIL_DAY_MS +
                       t.hour * CIVIL_HOUR_MS + t.minute * CIVIL_MINUTE_MS +
                       t.second * CIVIL_SECOND_MS + t.ms;
    *ret_ms =
        civil_clamp(t.has_offset ? local_ms - t.offset_ms : civil_first_instant(zone, local_ms));
    *ret_precision = !t.has_time       ? CIVIL_PRECISION_DATE
                     : !t.has_second   ? CIVIL_PRECISION_MINUTE
                     : !t.has_fraction ? CIVIL_PRECISION_SECOND
                                       : CIVIL_PRECISION_MS;
    return ERR_OK;
}
