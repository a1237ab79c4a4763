/* query/civil_tzif.c - from the bytes of a TZif file to spans of constant offset.
 *
 *    header, 44 bytes   "TZif", version ('\0', '2', '3', '4'), 15 unused, then six u32 counts:
 *                       isut, isstd, leap, time, type, char
 *    body               time x transition (4 or 8 bytes), time x u8 type index,
 *                       type x { i32 offset seconds, u8 is_dst, u8 designation index },
 *                       char x designations, leap x record, isstd x u8, isut x u8
 *    from version 2 on: the header and body again, with 8-byte times, then
 *    footer             '\n', a POSIX TZ string for the time after the table, '\n'
 *
 * Integers are big-endian. The body with 4-byte times is skipped where the second is there. The
 * footer's rule is expanded into the table for a little over 400 years, after which the Gregorian
 * calendar repeats itself to the weekday; that makes one binary search answer for all times.
 * Source: RFC 8536, "The Time Zone Information Format (TZif)", 2019.
 */
#include "query/civil_int.h"

#include "storage/base/iso8601.h"
#include "storage/base/rd.h"

#include <stdlib.h>

#define TZIF_HEADER_UNUSED 15
#define TZIF_TYPES_MAX     256u
#define RULE_NAME_MIN      3

/* The table grows by one span for each transition of the file and two for each year of the rule. */
#define RULE_YEARS 404
#define SPANS_MAX  (1 + ZONE_TRANSITIONS_MAX + 2 * RULE_YEARS)

static uint32_t be_u32(struct rd *rd)
{
    return __builtin_bswap32(rd_u32(rd));
}

static int64_t be_i64(struct rd *rd)
{
    return (int64_t)__builtin_bswap64(rd_u64(rd));
}

/* -- building the table -------------------------------------------------------------------------
 */

/* Spans with room for SPANS_MAX, cut to their size at the end. */
static struct zone *zone_create(struct str name)
{
    struct zone *zone = calloc(1, sizeof(*zone));
    if (zone == NULL) {
        return NULL;
    }
    zone->begin_ms = calloc(SPANS_MAX, sizeof(*zone->begin_ms));
    zone->hour_number = calloc(SPANS_MAX, sizeof(*zone->hour_number));
    zone->offset_ms = calloc(SPANS_MAX, sizeof(*zone->offset_ms));
    if (zone->begin_ms == NULL || zone->hour_number == NULL || zone->offset_ms == NULL) {
        zone_free(zone);
        return NULL;
    }
    ASSERT(name.len <= ZONE_NAME_BYTES_MAX);
    memcpy(zone->name, name.ptr, name.len);
    zone->begin_ms[0] = INT64_MIN;
    zone->span_count = 1;
    return zone;
}

void zone_free(struct zone *zone)
{
    if (zone != NULL) {
        free(zone->begin_ms);
        free(zone->hour_number);
        free(zone->offset_ms);
        free(zone);
    }
}

static void zone_shrink(struct zone *zone)
{
    /* A failed shrink leaves the larger block, which is as good. */
    size_t count = zone->span_count;
    void *begins = realloc(zone->begin_ms, count * sizeof(*zone->begin_ms));
    zone->begin_ms = begins != NULL ? begins : zone->begin_ms;
    void *hours = realloc(zone->hour_number, count * sizeof(*zone->hour_number));
    zone->hour_number = hours != NULL ? hours : zone->hour_number;
    void *offsets = realloc(zone->offset_ms, count * sizeof(*zone->offset_ms));
    zone->offset_ms = offsets != NULL ? offsets : zone->offset_ms;
}

/* From at_ms on the offset is offset_ms. A transition at the instant of the last one replaces it;
 * one that goes back in time (only a nonsensical rule can) is dropped. */
static void zone_append(struct zone *zone, int64_t at_ms, int32_t offset_ms)
{
    uint32_t last = zone->span_count - 1;
    if (at_ms < zone->begin_ms[last]) {
        return;
    }
    if (at_ms == zone->begin_ms[last]) {
        zone->offset_ms[last] = offset_ms;
        if (last > 0 && zone->offset_ms[last - 1] == offset_ms) {
            zone->span_count--;
        }
        return;
    }
    if (zone->offset_ms[last] == offset_ms) {
        return; /* only the name or the daylight saving flag changed */
    }
    ASSERT(zone->span_count < SPANS_MAX);
    zone->begin_ms[last + 1] = at_ms;
    zone->offset_ms[last + 1] = offset_ms;
    zone->span_count++;
}

/* Hour buckets are spans cut at the full hours of the local clock. Number them across the spans,
 * and shift the numbers so that the bucket that holds the epoch has 0. */
static void zone_number_hours(struct zone *zone)
{
    zone->hour_number[0] = civil_div(CIVIL_TS_MIN + zone->offset_ms[0], CIVIL_HOUR_MS);
    for (uint32_t i = 1; i < zone->span_count; i++) {
        int64_t begin_ms = i == 1 ? CIVIL_TS_MIN : zone->begin_ms[i - 1];
        int64_t first = civil_div(begin_ms + zone->offset_ms[i - 1], CIVIL_HOUR_MS);
        int64_t last = civil_div(zone->begin_ms[i] - 1 + zone->offset_ms[i - 1], CIVIL_HOUR_MS);
        zone->hour_number[i] = zone->hour_number[i - 1] + (last - first) + 1;
    }
    if (zone->has_cycle) {
        int64_t end = zone->cycle_end_ms;
        zone->has_cycle = false; /* both ends are inside the table */
        zone->cycle_hours =
            zone_hour_number(zone, end) - zone_hour_number(zone, end - CIVIL_CYCLE_MS);
        zone->has_cycle = true;
    }
    int64_t epoch_number = zone_hour_number(zone, 0);
    for (uint32_t i = 0; i < zone->span_count; i++) {
        zone->hour_number[i] -= epoch_number;
    }
}

/* -- the footer: a POSIX TZ string
 * ----------------------------------------------------------------- */

enum rule_kind {
    RULE_MONTH_WEEK_DAY, /* Mm.w.d: the w-th weekday d (0 = Sunday) of month m, 5 = the last */
    RULE_JULIAN,         /* Jn: 1 .. 365, February 29 is never counted */
    RULE_DAY,            /* n: 0 .. 365, it is */
};

struct rule_date {
    enum rule_kind kind;
    int32_t month, week, day;
    int64_t time_ms; /* after that day's midnight, by the clock as it was before the change */
};

struct rule {
    bool has_dst;
    int64_t std_ms, dst_ms; /* offsets, east positive */
    struct rule_date start, end;
};

struct text {
    const char *at;
    const char *end;
};

static bool text_take(struct text *text, char c)
{
    bool is_there = text->at < text->end && *text->at == c;
    text->at += is_there;
    return is_there;
}

static bool text_number(struct text *text, int32_t min, int32_t max, int32_t *ret)
{
    const char *begin = text->at;
    int32_t value = 0;
    while (text->at < text->end && *text->at >= '0' && *text->at <= '9' && value <= max) {
        value = value * 10 + (*text->at++ - '0');
    }
    *ret = value;
    return text->at > begin && value >= min && value <= max;
}

/* A name: three or more letters, or anything between < and >. Names are not kept. */
static bool text_designation(struct text *text)
{
    const char *begin = text->at;
    if (text_take(text, '<')) {
        while (text->at < text->end && *text->at != '>') {
            text->at++;
        }
        return text_take(text, '>');
    }
    while (text->at < text->end && ((*text->at | 0x20) >= 'a' && (*text->at | 0x20) <= 'z')) {
        text->at++;
    }
    return text->at - begin >= RULE_NAME_MIN;
}

/* [+-]hh[:mm[:ss]] */
static bool text_hms(struct text *text, int32_t hours_max, int64_t *ret_ms)
{
    int32_t hours = 0;
    int32_t minutes = 0;
    int32_t seconds = 0;
    bool is_negative = text_take(text, '-');
    if (!is_negative) {
        text_take(text, '+');
    }
    if (!text_number(text, 0, hours_max, &hours)) {
        return false;
    }
    if (text_take(text, ':')) {
        if (!text_number(text, 0, 59, &minutes) ||
            (text_take(text, ':') && !text_number(text, 0, 59, &seconds))) {
            return false;
        }
    }
    int64_t ms = hours * CIVIL_HOUR_MS + minutes * CIVIL_MINUTE_MS + seconds * CIVIL_SECOND_MS;
    *ret_ms = is_negative ? -ms : ms;
    return true;
}

static bool text_rule_date(struct text *text, struct rule_date *ret)
{
    struct rule_date date = {.time_ms = 2 * CIVIL_HOUR_MS};
    if (text_take(text, 'M')) {
        date.kind = RULE_MONTH_WEEK_DAY;
        if (!text_number(text, 1, 12, &date.month) || !text_take(text, '.') ||
            !text_number(text, 1, 5, &date.week) || !text_take(text, '.') ||
            !text_number(text, 0, 6, &date.day)) {
            return false;
        }
    } else if (text_take(text, 'J')) {
        date.kind = RULE_JULIAN;
        if (!text_number(text, 1, 365, &date.day)) {
            return false;
        }
    } else {
        date.kind = RULE_DAY;
        if (!text_number(text, 0, 365, &date.day)) {
            return false;
        }
    }
    if (text_take(text, '/') && !text_hms(text, 167, &date.time_ms)) {
        return false;
    }
    *ret = date;
    return true;
}

/* std offset [ dst [offset] , start , end ]; POSIX writes offsets west positive. */
static bool rule_parse(struct str footer, struct rule *ret)
{
    struct text text = {footer.ptr, footer.ptr + footer.len};
    struct rule rule = {0};
    int64_t west_ms = 0;
    if (!text_designation(&text) || !text_hms(&text, 24, &west_ms)) {
        return false;
    }
    rule.std_ms = -west_ms;
    rule.dst_ms = rule.std_ms + CIVIL_HOUR_MS;
    if (text.at < text.end) {
        rule.has_dst = true;
        if (!text_designation(&text)) {
            return false;
        }
        if (text.at < text.end && *text.at != ',') {
            if (!text_hms(&text, 24, &west_ms)) {
                return false;
            }
            rule.dst_ms = -west_ms;
        }
        if (!text_take(&text, ',') || !text_rule_date(&text, &rule.start) ||
            !text_take(&text, ',') || !text_rule_date(&text, &rule.end)) {
            return false;
        }
    }
    if (text.at != text.end) {
        return false;
    }
    *ret = rule;
    return true;
}

/* The local time of a change in `year`, in milliseconds of the local clock since 1970. */
static int64_t rule_local_ms(const struct rule_date *date, int64_t year)
{
    int64_t days = 0;
    if (date->kind == RULE_MONTH_WEEK_DAY) {
        int64_t first = iso8601_days(year, date->month, 1);
        int64_t weekday = (first % 7 + 7 + 4) % 7; /* 1970-01-01 was a Thursday; 0 = Sunday */
        int64_t day = (date->day - weekday + 7) % 7 + 7 * (date->week - 1);
        if (day >= iso8601_month_days(year, date->month)) {
            day -= 7; /* week 5 is the last, which may be the fourth */
        }
        days = first + day;
    } else {
        bool is_leap = iso8601_month_days(year, 2) == 29;
        days = iso8601_days(year, 1, 1) + date->day;
        if (date->kind == RULE_JULIAN) {
            days += is_leap && date->day >= 60 ? 0 : -1;
        }
    }
    return days * CIVIL_DAY_MS + date->time_ms;
}

/* Put the rule's changes after the table's. */
static void zone_append_rule(struct zone *zone, const struct rule *rule, int64_t last_ms,
                             bool has_table)
{
    if (!rule->has_dst) {
        if (!has_table) {
            zone->offset_ms[0] = (int32_t)rule->std_ms;
        }
        return; /* else the table's last offset is the rule's, RFC 8536 section 3.3 */
    }
    /* Without a table the rule holds always; before 1900 it makes no sense to anyone. */
    int64_t first_year = 1900;
    if (has_table) {
        first_year = civil_from_days(civil_div(last_ms, CIVIL_DAY_MS)).year;
    }
    uint32_t spans_before = zone->span_count;
    for (int64_t year = first_year; year < first_year + RULE_YEARS; year++) {
        int64_t start_ms = rule_local_ms(&rule->start, year) - rule->std_ms;
        int64_t end_ms = rule_local_ms(&rule->end, year) - rule->dst_ms;
        bool is_north = start_ms < end_ms; /* daylight saving lies inside the year */
        int64_t at_ms[2] = {is_north ? start_ms : end_ms, is_north ? end_ms : start_ms};
        int64_t offset_ms[2] = {is_north ? rule->dst_ms : rule->std_ms,
                                is_north ? rule->std_ms : rule->dst_ms};
        for (int i = 0; i < 2; i++) {
            if (at_ms[i] > last_ms) {
                zone_append(zone, at_ms[i], (int32_t)offset_ms[i]);
            }
        }
    }
    /* Two years on, nothing of the table's is near; the last year expanded closes the last span. */
    zone->cycle_end_ms = iso8601_days(first_year + RULE_YEARS - 2, 1, 1) * CIVIL_DAY_MS;
    zone->has_cycle = zone->span_count > spans_before + 2;
    if (!zone->has_cycle && zone->begin_ms[zone->span_count - 1] >= zone->cycle_end_ms) {
        zone->span_count--; /* summer all year: each end meets the next start, but for the last */
    }
}

/* -- the file
 * --------------------------------------------------------------------------------------- */

struct tzif_header {
    char version;
    uint32_t isut_count, isstd_count, leap_count, time_count, type_count, char_count;
};

static enum err_code read_header(struct rd *rd, struct tzif_header *ret, struct err *err)
{
    struct tzif_header h = {0};
    struct str magic = rd_bytes(rd, 4);
    h.version = (char)rd_u8(rd);
    rd_skip(rd, TZIF_HEADER_UNUSED);
    h.isut_count = be_u32(rd);
    h.isstd_count = be_u32(rd);
    h.leap_count = be_u32(rd);
    h.time_count = be_u32(rd);
    h.type_count = be_u32(rd);
    h.char_count = be_u32(rd);
    if (rd->is_bad || !str_eq(magic, STR("TZif"))) {
        return err_set(err, ERR_CORRUPT, "wrong magic or no header");
    }
    /* Bounded here, so that no sum of body sizes can overflow. */
    if (h.time_count > ZONE_TRANSITIONS_MAX || h.type_count == 0 || h.type_count > TZIF_TYPES_MAX ||
        h.char_count > ZONE_FILE_BYTES_MAX || h.leap_count > ZONE_FILE_BYTES_MAX ||
        h.isstd_count > h.type_count || h.isut_count > h.type_count) {
        return err_set(err, ERR_CORRUPT,
                       "%u transitions (at most %u) and %u types (1..%u) in its header",
                       h.time_count, ZONE_TRANSITIONS_MAX, h.type_count, TZIF_TYPES_MAX);
    }
    *ret = h;
    return ERR_OK;
}

static enum err_code read_offset(struct rd types, uint32_t type_idx, int32_t *ret_ms,
                                 struct err *err)
{
    rd_skip(&types, (size_t)type_idx * 6);
    int64_t seconds = (int32_t)be_u32(&types);
    int64_t offset_ms = seconds * CIVIL_SECOND_MS;
    if (types.is_bad || offset_ms > CIVIL_OFFSET_MS_MAX || offset_ms < -CIVIL_OFFSET_MS_MAX) {
        return err_set(err, ERR_CORRUPT, "type %u: offset of %lld s (within 26 h)", type_idx,
                       (long long)seconds);
    }
    *ret_ms = (int32_t)offset_ms;
    return ERR_OK;
}

/* The transitions of one body; `time_bytes` is 4 or 8. Leaves rd behind the body. */
static enum err_code read_body(struct rd *rd, const struct tzif_header *h, size_t time_bytes,
                               struct zone *zone, int64_t *ret_last_ms, struct err *err)
{
    struct rd times = rd_init(rd_bytes(rd, h->time_count * time_bytes));
    struct rd indexes = rd_init(rd_bytes(rd, h->time_count));
    struct rd types = rd_init(rd_bytes(rd, (size_t)h->type_count * 6));
    rd_skip(rd, h->char_count + h->leap_count * (time_bytes + 4) + h->isstd_count + h->isut_count);
    if (rd->is_bad) {
        return err_set(err, ERR_CORRUPT, "%zu bytes end inside the body", rd->len);
    }
    if (h->leap_count != 0) {
        return err_set(err, ERR_UNSUPPORTED, "counts leap seconds; our days have 86400");
    }
    ERR_TRY(read_offset(types, 0, &zone->offset_ms[0], err)); /* the time before the table */
    int64_t previous_s = INT64_MIN;
    int64_t last_ms = CIVIL_TS_MIN;
    for (uint32_t i = 0; i < h->time_count; i++) {
        int64_t at_s = time_bytes == 8 ? be_i64(&times) : (int64_t)(int32_t)be_u32(&times);
        uint32_t type_idx = rd_u8(&indexes);
        int32_t offset_ms = 0;
        if ((i > 0 && at_s <= previous_s) || type_idx >= h->type_count) {
            return err_set(err, ERR_CORRUPT, "transition %u: out of order, or of type %u of %u", i,
                           type_idx, h->type_count);
        }
        previous_s = at_s;
        ERR_TRY(read_offset(types, type_idx, &offset_ms, err));
        if (at_s <= CIVIL_TS_MIN / 1000) {
            zone->offset_ms[0] = offset_ms; /* "big bang" entries of old compilers */
        } else if (at_s <= CIVIL_TS_MAX / 1000) {
            last_ms = at_s * 1000;
            zone_append(zone, last_ms, offset_ms);
        }
    }
    *ret_last_ms = last_ms;
    return ERR_OK;
}

static enum err_code read_footer(struct rd *rd, const struct tzif_header *h, int64_t last_ms,
                                 struct zone *zone, struct err *err)
{
    struct str rest = rd_bytes(rd, rd_left(rd));
    const char *end = rest.len > 1 ? memchr(rest.ptr + 1, '\n', rest.len - 1) : NULL;
    if (end == NULL || rest.ptr[0] != '\n') {
        return err_set(err, ERR_CORRUPT, "no footer between line feeds");
    }
    struct str footer = {rest.ptr + 1, (size_t)(end - rest.ptr - 1)};
    if (footer.len == 0) {
        return ERR_OK; /* the last offset stays */
    }
    struct rule rule = {0};
    if (!rule_parse(footer, &rule)) {
        return err_set(err, ERR_CORRUPT, "footer \"" STR_FMT "\" is no TZ rule", STR_ARG(footer));
    }
    zone_append_rule(zone, &rule, last_ms, h->time_count > 0);
    return ERR_OK;
}

static enum err_code decode(struct rd *rd, struct zone *zone, struct err *err)
{
    struct tzif_header h = {0};
    int64_t last_ms = 0;
    ERR_TRY(read_header(rd, &h, err));
    if (h.version == '\0') {
        ERR_TRY(read_body(rd, &h, 4, zone, &last_ms, err));
    } else {
        rd_skip(rd, (size_t)h.time_count * 5 + (size_t)h.type_count * 6 + h.char_count +
                        (size_t)h.leap_count * 8 + h.isstd_count + h.isut_count);
        ERR_TRY(read_header(rd, &h, err));
        ERR_TRY(read_body(rd, &h, 8, zone, &last_ms, err));
        ERR_TRY(read_footer(rd, &h, last_ms, zone, err));
    }
    zone_number_hours(zone);
    zone_shrink(zone);
    return ERR_OK;
}

enum err_code zone_decode(struct str name, struct str bytes, struct zone **ret, struct err *err)
{
    CLEANUP(zone_freep) struct zone *zone = zone_create(name);
    if (zone == NULL) {
        return err_set(err, ERR_NOMEM, "time zone \"" STR_FMT "\": no memory", STR_ARG(name));
    }
    struct rd rd = rd_init(bytes);
    if (decode(&rd, zone, err) != ERR_OK) {
        return err_context(err, "time zone \"" STR_FMT "\"", STR_ARG(name));
    }
    *ret = TAKE(zone);
    return ERR_OK;
}
