/* query/civil.c - from instants to civil time and back, and the buckets of a grid.
 *
 * Every grid but the short ones is an ascending list of local times (boundaries); rule 1 maps each
 * to its first instant, which keeps the order, so the bucket of an instant belongs to the last
 * boundary whose first instant is not after it. That boundary is the one below its local time, or,
 * where the clock has gone back over a boundary, a later one: hence the loop in boundary_of.
 */
#include "query/civil_int.h"

#include "storage/base/arena.h"
#include "storage/base/iso8601.h"

#define EPOCH_WEEKDAY CIVIL_THURSDAY /* of 1970-01-01 */

static const struct {
    const char *name;
    int64_t length_ms; /* exact up to week; of the shortest one from month on */
    int64_t n_max;     /* about a thousand years */
} units[CIVIL_UNITS] = {
    [CIVIL_MS] = {"millisecond", 1, 366000 * CIVIL_DAY_MS},
    [CIVIL_SECOND] = {"second", CIVIL_SECOND_MS, 86400},
    [CIVIL_MINUTE] = {"minute", CIVIL_MINUTE_MS, 1440},
    [CIVIL_HOUR] = {"hour", CIVIL_HOUR_MS, 24},
    [CIVIL_DAY] = {"day", CIVIL_DAY_MS, 366000},
    [CIVIL_WEEK] = {"week", 7 * CIVIL_DAY_MS, 52000},
    [CIVIL_MONTH] = {"month", 28 * CIVIL_DAY_MS, 12000},
    [CIVIL_QUARTER] = {"quarter", 90 * CIVIL_DAY_MS, 4000},
    [CIVIL_YEAR] = {"year", 365 * CIVIL_DAY_MS, 1000},
};

const char *civil_unit_name(enum civil_unit unit)
{
    ASSERT(unit < CIVIL_UNITS);
    return units[unit].name;
}

/* -- dates and local times -----------------------------------------------------------------------
 */

bool civil_days(int32_t year, uint32_t month, uint32_t day, int64_t *ret_days)
{
    if (year < CIVIL_YEAR_MIN || year > CIVIL_YEAR_MAX || month < 1 || month > 12 || day < 1 ||
        day > (uint32_t)iso8601_month_days(year, (int32_t)month)) {
        return false;
    }
    *ret_days = iso8601_days(year, month, day);
    return true;
}

struct civil civil_from_days(int64_t days)
{
    /* The inverse of iso8601_days, same source: count from 0000-03-01 in eras of 400 years. */
    int64_t shifted = days + 719468;
    int64_t era = civil_div(shifted, 146097);
    int64_t day_of_era = shifted - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t march_month = (5 * day_of_year + 2) / 153;
    int64_t month = march_month < 10 ? march_month + 3 : march_month - 9;
    return (struct civil){
        .year = (int32_t)(year_of_era + era * 400 + (month <= 2)),
        .month = (uint8_t)month,
        .day = (uint8_t)(day_of_year - (153 * march_month + 2) / 5 + 1),
    };
}

struct civil civil_from_ms(const struct zone *zone, int64_t ts_ms)
{
    int64_t ts = civil_clamp(ts_ms);
    int32_t offset_ms = zone_offset_ms(zone, ts);
    int64_t local_ms = ts + offset_ms;
    int64_t days = civil_div(local_ms, CIVIL_DAY_MS);
    int64_t rest_ms = local_ms - days * CIVIL_DAY_MS;
    struct civil civil = civil_from_days(days);
    civil.hour = (uint8_t)(rest_ms / CIVIL_HOUR_MS);
    civil.minute = (uint8_t)(rest_ms / CIVIL_MINUTE_MS % 60);
    civil.second = (uint8_t)(rest_ms / CIVIL_SECOND_MS % 60);
    civil.ms = (uint16_t)(rest_ms % CIVIL_SECOND_MS);
    civil.offset_ms = offset_ms;
    return civil;
}

int64_t civil_first_instant(const struct zone *zone, int64_t local_ms)
{
    /* No offset reaches 26 h, so whatever is earlier than this is earlier on the local clock. */
    struct zone_span span = zone_span_of(zone, local_ms - 2 * CIVIL_OFFSET_MS_MAX);
    while (span.end_ms != INT64_MAX && span.end_ms + span.offset_ms <= local_ms) {
        span = zone_span_of(zone, span.end_ms);
    }
    int64_t ts = local_ms - span.offset_ms;
    return ts < span.begin_ms ? span.begin_ms : ts;
}

bool civil_to_ms(const struct zone *zone, struct civil civil, int64_t *ret_ms)
{
    int64_t days = 0;
    if (!civil_days(civil.year, civil.month, civil.day, &days) || civil.hour > 23 ||
        civil.minute > 59 || civil.second > 59 || civil.ms > 999) {
        return false;
    }
    int64_t local_ms = days * CIVIL_DAY_MS + civil.hour * CIVIL_HOUR_MS +
                       civil.minute * CIVIL_MINUTE_MS + civil.second * CIVIL_SECOND_MS + civil.ms;
    *ret_ms = civil_clamp(civil_first_instant(zone, local_ms));
    return true;
}

/* -- grids: boundaries on the local clock
 * ---------------------------------------------------------- */

enum civil_grid_kind {
    GRID_FIXED, /* no calendar */
    GRID_SHORT, /* at most an hour: slots cut at changes of the offset */
    GRID_SLOTS, /* parts of a day */
    GRID_DATES, /* days and longer */
};

static enum civil_grid_kind grid_kind(const struct civil_grid *grid)
{
    if (grid->unit == CIVIL_MS) {
        return GRID_FIXED;
    }
    if (grid->unit >= CIVIL_DAY) {
        return GRID_DATES;
    }
    return grid->n * units[grid->unit].length_ms <= CIVIL_HOUR_MS ? GRID_SHORT : GRID_SLOTS;
}

enum err_code civil_grid_init(const struct zone *zone, enum civil_unit unit, int64_t n,
                              enum civil_weekday week_start, struct civil_grid *ret,
                              struct err *err)
{
    ASSERT(unit < CIVIL_UNITS);
    ASSERT(week_start <= CIVIL_SUNDAY);
    if (n < 1 || n > units[unit].n_max) {
        bool is_slot = unit == CIVIL_SECOND || unit == CIVIL_MINUTE || unit == CIVIL_HOUR;
        return err_set(err, ERR_INVALID, "a time bucket of %lld %ss: expected 1 .. %lld%s",
                       (long long)n, units[unit].name, (long long)units[unit].n_max,
                       is_slot && n > 1 ? " (from a day on, count in days)" : "");
    }
    *ret = (struct civil_grid){.zone = zone, .n = n, .unit = unit, .week_start = week_start};
    return ERR_OK;
}

/* The number of the period of n units that a day is in, from 1970. */
static int64_t period_of_day(const struct civil_grid *grid, int64_t days)
{
    int64_t number = days;
    if (grid->unit == CIVIL_WEEK) {
        int64_t into_week = (EPOCH_WEEKDAY - (int64_t)grid->week_start + 7) % 7;
        number = civil_div(days + into_week, 7);
    } else if (grid->unit > CIVIL_WEEK) {
        struct civil date = civil_from_days(days);
        int64_t months = (date.year - INT64_C(1970)) * 12 + date.month - 1;
        int64_t months_per_unit = grid->unit == CIVIL_MONTH     ? 1
                                  : grid->unit == CIVIL_QUARTER ? 3
                                                                : 12;
        number = civil_div(months, months_per_unit);
    }
    return civil_div(number, grid->n);
}

/* The first day of that period. */
static int64_t day_of_period(const struct civil_grid *grid, int64_t period)
{
    int64_t number = period * grid->n;
    switch (grid->unit) {
    case CIVIL_DAY: return number;
    case CIVIL_WEEK: return number * 7 - (EPOCH_WEEKDAY - (int64_t)grid->week_start + 7) % 7;
    case CIVIL_QUARTER: number *= 3; break;
    case CIVIL_YEAR: number *= 12; break;
    default: break;
    }
    int64_t year = civil_div(number, 12);
    return iso8601_days(1970 + year, number - year * 12 + 1, 1);
}

/* The last boundary at or before a local time, and the next one after it. */
struct boundary {
    int64_t local_ms;
    int64_t next_local_ms;
};

static struct boundary boundary_at(const struct civil_grid *grid, int64_t local_ms)
{
    int64_t days = civil_div(local_ms, CIVIL_DAY_MS);
    if (grid->unit >= CIVIL_DAY) {
        int64_t period = period_of_day(grid, days);
        return (struct boundary){day_of_period(grid, period) * CIVIL_DAY_MS,
                                 day_of_period(grid, period + 1) * CIVIL_DAY_MS};
    }
    int64_t slot_ms = grid->n * units[grid->unit].length_ms;
    int64_t midnight_ms = days * CIVIL_DAY_MS;
    int64_t begin_ms = midnight_ms + (local_ms - midnight_ms) / slot_ms * slot_ms;
    int64_t end_ms = begin_ms + slot_ms;
    bool is_cut = end_ms > midnight_ms + CIVIL_DAY_MS;
    return (struct boundary){begin_ms, is_cut ? midnight_ms + CIVIL_DAY_MS : end_ms};
}

/* The boundary whose bucket holds ts_ms, by rule 1. */
static struct boundary boundary_of(const struct civil_grid *grid, int64_t ts_ms)
{
    struct boundary b = boundary_at(grid, ts_ms + zone_offset_ms(grid->zone, ts_ms));
    while (civil_first_instant(grid->zone, b.next_local_ms) <= ts_ms) {
        b = boundary_at(grid, b.next_local_ms);
    }
    return b;
}

/* -- buckets
 * ----------------------------------------------------------------------------------------- */

struct bucket {
    int64_t begin_ms;
    int64_t end_ms;
};

/* `span` is a cache for walks: it need not hold ts_ms, but must be of this zone (or empty). */
static struct bucket bucket_of(const struct civil_grid *grid, int64_t ts_ms, struct zone_span *span)
{
    int64_t ts = civil_clamp(ts_ms);
    switch (grid_kind(grid)) {
    case GRID_FIXED: {
        int64_t begin_ms = civil_div(ts, grid->n) * grid->n;
        return (struct bucket){begin_ms, begin_ms + grid->n};
    }
    case GRID_SHORT: {
        zone_span_move(grid->zone, ts, span);
        struct boundary b = boundary_at(grid, ts + span->offset_ms);
        int64_t begin_ms = b.local_ms - span->offset_ms;
        int64_t end_ms = b.next_local_ms - span->offset_ms;
        return (struct bucket){begin_ms < span->begin_ms ? span->begin_ms : begin_ms,
                               end_ms > span->end_ms ? span->end_ms : end_ms};
    }
    case GRID_SLOTS:
    case GRID_DATES: break;
    }
    zone_span_move(grid->zone, ts, span);
    struct boundary b = boundary_at(grid, ts + span->offset_ms);
    struct bucket bucket = {b.local_ms - span->offset_ms, b.next_local_ms - span->offset_ms};
    /* Inside one span, and far enough from its edges that no other span can show these local times,
     * both ends are plain subtractions. That is nearly always. */
    if ((span->begin_ms == INT64_MIN ||
         bucket.begin_ms - span->begin_ms > 2 * CIVIL_OFFSET_MS_MAX) &&
        bucket.end_ms < span->end_ms) {
        return bucket;
    }
    b = boundary_of(grid, ts);
    return (struct bucket){civil_first_instant(grid->zone, b.local_ms),
                           civil_first_instant(grid->zone, b.next_local_ms)};
}

static void assert_grid(const struct civil_grid *grid)
{
    ASSERT(grid->zone != NULL);
    ASSERT(grid->unit < CIVIL_UNITS);
    ASSERT(grid->n >= 1);
    ASSERT(grid->n <= units[grid->unit].n_max);
}

int64_t civil_floor(const struct civil_grid *grid, int64_t ts_ms)
{
    assert_grid(grid);
    struct zone_span span = {0};
    return bucket_of(grid, ts_ms, &span).begin_ms;
}

int64_t civil_next(const struct civil_grid *grid, int64_t ts_ms)
{
    assert_grid(grid);
    struct zone_span span = {0};
    return bucket_of(grid, ts_ms, &span).end_ms;
}

int64_t civil_number(const struct civil_grid *grid, int64_t ts_ms)
{
    assert_grid(grid);
    int64_t ts = civil_clamp(ts_ms);
    int64_t length_ms = grid->n * units[grid->unit].length_ms;
    switch (grid_kind(grid)) {
    case GRID_FIXED: return civil_div(ts, length_ms);
    case GRID_SHORT:
        if (length_ms == CIVIL_HOUR_MS) {
            return zone_hour_number(grid->zone, ts);
        }
        return civil_div(ts, length_ms);
    case GRID_SLOTS: {
        int64_t local_ms = boundary_of(grid, ts).local_ms;
        int64_t days = civil_div(local_ms, CIVIL_DAY_MS);
        int64_t slots_per_day = (CIVIL_DAY_MS + length_ms - 1) / length_ms;
        return days * slots_per_day + (local_ms - days * CIVIL_DAY_MS) / length_ms;
    }
    case GRID_DATES: break;
    }
    int64_t local_ms = boundary_of(grid, ts).local_ms;
    return period_of_day(grid, civil_div(local_ms, CIVIL_DAY_MS));
}

enum err_code civil_buckets(const struct civil_grid *grid, int64_t from_ms, int64_t to_ms,
                            uint32_t max, struct arena *arena, int64_t **ret_begins,
                            uint32_t *ret_count, struct err *err)
{
    assert_grid(grid);
    ASSERT(max < UINT32_MAX);
    struct zone_span span = {0};
    int64_t to = to_ms > CIVIL_TS_MAX ? CIVIL_TS_MAX + 1 : to_ms;
    int64_t first_ms = bucket_of(grid, from_ms, &span).begin_ms;
    uint32_t count = 0;
    if (from_ms < to) {
        for (int64_t at = first_ms; at < to && count <= max; count++) {
            at = bucket_of(grid, at, &span).end_ms;
        }
    }
    if (count > max) {
        return err_set(
            err, ERR_LIMIT,
            "more than %u buckets of %lld %s%s: ask for a shorter range or longer buckets", max,
            (long long)grid->n, units[grid->unit].name, grid->n == 1 ? "" : "s");
    }
    int64_t *begins = NULL;
    ERR_TRY(ARENA_NEW(arena, (size_t)count + 1, &begins, err));
    begins[0] = first_ms;
    for (uint32_t i = 0; i < count; i++) {
        begins[i + 1] = bucket_of(grid, begins[i], &span).end_ms;
    }
    *ret_begins = begins;
    *ret_count = count;
    return ERR_OK;
}

uint32_t civil_bucket_idx(const int64_t *begins, uint32_t count, int64_t ts_ms)
{
    ASSERT_DEBUG(count >= 1 && ts_ms >= begins[0] && ts_ms < begins[count]);
    const int64_t *base = begins;
    while (count > 1) {
        uint32_t half = count / 2;
        base += base[half] <= ts_ms ? half : 0;
        count -= half;
    }
    return (uint32_t)(base - begins);
}

/* -- moving
 * ------------------------------------------------------------------------------------------- */

static int64_t add_elapsed(int64_t ts_ms, int64_t n, int64_t length_ms)
{
    int64_t by_ms = 0;
    int64_t sum_ms = 0;
    if (__builtin_mul_overflow(n, length_ms, &by_ms) ||
        __builtin_add_overflow(ts_ms, by_ms, &sum_ms)) {
        return n < 0 ? CIVIL_TS_MIN : CIVIL_TS_MAX;
    }
    return civil_clamp(sum_ms);
}

/* The day n months from another, cut to the length of its month. */
static int64_t add_months(int64_t days, int64_t n)
{
    struct civil date = civil_from_days(days);
    int64_t months = date.year * INT64_C(12) + date.month - 1 + n;
    int64_t year = civil_div(months, 12);
    int32_t month = (int32_t)(months - year * 12) + 1;
    int32_t last = iso8601_month_days(year, month);
    return iso8601_days(year, month, date.day > last ? last : date.day);
}

int64_t civil_add(const struct zone *zone, enum civil_unit unit, int64_t n, int64_t ts_ms)
{
    ASSERT(unit < CIVIL_UNITS);
    int64_t ts = civil_clamp(ts_ms);
    if (unit < CIVIL_DAY) {
        return add_elapsed(ts, n, units[unit].length_ms);
    }
    /* Beyond the calendar's own length any n is alike; and no product below overflows. */
    const int64_t n_most = 20000 * INT64_C(366);
    n = n > n_most ? n_most : n < -n_most ? -n_most : n;

    struct civil_grid by_day = {.zone = zone, .n = 1, .unit = CIVIL_DAY};
    int64_t day_local_ms = boundary_of(&by_day, ts).local_ms;
    int64_t local_ms = ts + zone_offset_ms(zone, ts);
    int64_t days = civil_div(local_ms, CIVIL_DAY_MS);
    int64_t time_ms = local_ms - days * CIVIL_DAY_MS;
    if (civil_first_instant(zone, day_local_ms) == ts) {
        days = day_local_ms / CIVIL_DAY_MS;
        time_ms = 0;
    }
    switch (unit) {
    case CIVIL_DAY: days += n; break;
    case CIVIL_WEEK: days += n * 7; break;
    case CIVIL_MONTH: days = add_months(days, n); break;
    case CIVIL_QUARTER: days = add_months(days, n * 3); break;
    default: days = add_months(days, n * 12); break;
    }
    return civil_clamp(civil_first_instant(zone, days * CIVIL_DAY_MS + time_ms));
}
