/* storage/settings.c - see settings.h; and dataset_settings, dataset_configure of store.h. */
#include "storage/settings.h"

#include "storage/dataset_int.h"

#include "storage/base/clock.h"

#include <inttypes.h>
#include <stdio.h>

#define DAY_MS ((int64_t)SETTINGS_DAY_MS)

/* ---- values ---- */

/* Largest first. */
static const struct unit {
    uint64_t ms;
    const char *letters;
    const char *name;
    bool is_printed;
} units[] = {
    {7 * SETTINGS_DAY_MS, "w", "week", false},
    {SETTINGS_DAY_MS, "d", "day", true},
    {3600000, "h", "hour", true},
    {60000, "m", "minute", true},
    {1000, "s", "second", true},
    {1, "ms", "ms", true},
};

static const struct unit *unit_of(uint64_t span_ms)
{
    for (size_t i = 0; i < COUNT_OF(units); i++) {
        if (units[i].is_printed && span_ms >= units[i].ms && span_ms % units[i].ms == 0) {
            return &units[i];
        }
    }
    return &units[COUNT_OF(units) - 1];
}

void settings_span_print(uint64_t span_ms, char out[SETTINGS_TEXT_BYTES])
{
    const struct unit *unit = unit_of(span_ms);
    if (span_ms == 0) {
        snprintf(out, SETTINGS_TEXT_BYTES, "off");
    } else {
        snprintf(out, SETTINGS_TEXT_BYTES, "%" PRIu64 "%s", span_ms / unit->ms, unit->letters);
    }
}

void settings_span_text(uint64_t span_ms, char out[SETTINGS_TEXT_BYTES])
{
    const struct unit *unit = unit_of(span_ms);
    uint64_t count = span_ms / unit->ms;
    snprintf(out, SETTINGS_TEXT_BYTES, "%" PRIu64 " %s%s", count, unit->name,
             count == 1 || unit->ms == 1 ? "" : "s");
}

enum err_code settings_span_parse(struct str text, uint64_t *ret_ms, struct err *err)
{
    uint64_t count = 0;
    size_t at = 0;
    bool fits = true;
    if (str_eq(text, STR("off"))) {
        *ret_ms = 0;
        return ERR_OK;
    }
    for (; at < text.len && text.ptr[at] >= '0' && text.ptr[at] <= '9'; at++) {
        uint64_t digit = (uint64_t)(text.ptr[at] - '0');
        fits = fits && !__builtin_mul_overflow(count, 10, &count) &&
               !__builtin_add_overflow(count, digit, &count);
    }
    struct str letters = {text.ptr + at, text.len - at};
    for (size_t i = 0; i < COUNT_OF(units) && at > 0 && count > 0 && fits; i++) {
        if (str_eq(letters, str_of(units[i].letters)) &&
            !__builtin_mul_overflow(count, units[i].ms, ret_ms)) {
            return ERR_OK;
        }
    }
    return err_set(err, ERR_INVALID,
                   "\"%.*s\" is no span: a number and w, d, h, m, s or ms, as in 90d, or off",
                   (int)(text.len < 100 ? text.len : 100), text.ptr);
}

static enum err_code check_span(const char *name, uint64_t span_ms, uint64_t min_ms,
                                struct err *err)
{
    char min[SETTINGS_TEXT_BYTES];
    char max[SETTINGS_TEXT_BYTES];
    char got[SETTINGS_TEXT_BYTES];
    if (span_ms == 0 || (span_ms >= min_ms && span_ms <= SETTINGS_SPAN_MS_MAX)) {
        return ERR_OK;
    }
    settings_span_text(min_ms, min);
    settings_span_text(SETTINGS_SPAN_MS_MAX, max);
    settings_span_text(span_ms, got);
    return err_set(err, ERR_INVALID, "%s: %s; it is off, or from %s to %s", name, got, min, max);
}

enum err_code settings_check(const struct dataset_settings *settings, struct err *err)
{
    ERR_TRY(check_span("dedup_window", settings->dedup_window_ms, 1000, err));
    ERR_TRY(check_span("expire_after", settings->expire_after_ms, SETTINGS_DAY_MS, err));
    ERR_TRY(check_span("cold_after", settings->cold_after_ms, 3600000, err));
    if (settings->expire_after_ms != 0 && settings->cold_after_ms >= settings->expire_after_ms) {
        char cold[SETTINGS_TEXT_BYTES];
        char expire[SETTINGS_TEXT_BYTES];
        settings_span_text(settings->cold_after_ms, cold);
        settings_span_text(settings->expire_after_ms, expire);
        return err_set(err, ERR_INVALID,
                       "cold_after: %s, but events expire after %s: nothing would get cold", cold,
                       expire);
    }
    return ERR_OK;
}

int64_t settings_expired_before(uint64_t expire_after_ms, int64_t now_ms)
{
    if (expire_after_ms == 0) {
        return INT64_MIN;
    }
    int64_t at_ms = now_ms - (int64_t)expire_after_ms; /* a century of ms: far from any border */
    int64_t day = at_ms / DAY_MS;
    return (day * DAY_MS > at_ms ? day - 1 : day) * DAY_MS;
}

/* ---- of a data set ---- */

int64_t store_wall_ms(const struct store *store)
{
    return store->opts.wall_ms == NULL ? clock_wall_ms() : store->opts.wall_ms();
}

int64_t dataset_expired_before(const struct dataset *dataset)
{
    /* relaxed: one number, whose change is seen at some later moment anyway */
    uint64_t span_ms = atomic_load_explicit(&dataset->expire_after_ms, memory_order_relaxed);
    return span_ms == 0 ? INT64_MIN
                        : settings_expired_before(span_ms, store_wall_ms(dataset->store));
}

void dataset_settings_apply(struct dataset *dataset)
{
    const struct dataset_settings *settings = &dataset->row.settings;
    atomic_store_explicit(&dataset->expire_after_ms, settings->expire_after_ms,
                          memory_order_relaxed);
    atomic_store_explicit(&dataset->cold_after_ms, settings->cold_after_ms, memory_order_relaxed);
    atomic_store_explicit(&dataset->dedup_window_ms, settings->dedup_window_ms, memory_order_relaxed);
}

struct dataset_settings dataset_settings(struct dataset *dataset)
{
    pthread_mutex_lock(&dataset->catalog_lock);
    struct dataset_settings settings = dataset->row.settings;
    pthread_mutex_unlock(&dataset->catalog_lock);
    return settings;
}

/* What is kept in memory of bound ids has rows that have left the disk. They are masked, but a longer expiry would show
 * them until the next opening: then all of it is read anew. */
static void forget_identity(struct dataset *dataset)
{
    identity_free(dataset->identity);
    dataset->identity = NULL;
}

static bool is_longer(uint64_t after_ms, uint64_t than_ms)
{
    return than_ms != 0 && (after_ms == 0 || after_ms > than_ms);
}

/* Under catalog_lock. */
static enum err_code configure(struct dataset *dataset, const struct dataset_settings *settings,
                               struct err *err)
{
    struct dataset_settings before = dataset->row.settings;
    dataset->row.settings = *settings;
    const struct catalog_change change = {.dataset = &dataset->row};
    enum err_code code = catalog_apply(dataset->store->catalog, &change, err);
    if (code != ERR_OK) {
        dataset->row.settings = before;
        return code;
    }
    pthread_mutex_lock(&dataset->identity_lock); /* no snapshot that shows identity is taken in between */
    dataset_settings_apply(dataset);
    if (is_longer(settings->expire_after_ms, before.expire_after_ms)) {
        forget_identity(dataset);
    }
    pthread_mutex_unlock(&dataset->identity_lock);
    return ERR_OK;
}

enum err_code dataset_configure(struct dataset *dataset, const struct settings_change *change,
                                struct err *err)
{
    if (dataset->store->opts.is_read_only) {
        return err_set(err, ERR_INVALID, "the store was opened read-only");
    }
    pthread_mutex_lock(&dataset->catalog_lock);
    struct dataset_settings next = dataset->row.settings;
    next.dedup_window_ms =
        change->has_dedup_window ? change->to.dedup_window_ms : next.dedup_window_ms;
    next.expire_after_ms =
        change->has_expire_after ? change->to.expire_after_ms : next.expire_after_ms;
    next.cold_after_ms = change->has_cold_after ? change->to.cold_after_ms : next.cold_after_ms;
    enum err_code code = settings_check(&next, err);
    if (code == ERR_OK && change->has_cold_after && next.cold_after_ms != 0 &&
        dataset->store->cold_dir[0] == '\0') {
        code = err_set(err, ERR_INVALID,
                       "cold_after needs a cold directory, and the server has none: option "
                       "\"cold-dir\"");
    }
    if (code == ERR_OK) {
        code = configure(dataset, &next, err);
    }
    pthread_mutex_unlock(&dataset->catalog_lock);
    ERR_TRY(code);
    store_wake(dataset->store);
    struct err ignored; /* the next question would do it as well, and tell */
    (void)!dataset_follow_identity(dataset, &ignored);
    return ERR_OK;
}
