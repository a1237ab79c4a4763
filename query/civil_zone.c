/* query/civil_zone.c - zones by name: the cache of the process, look-up in a zone, suggestions.
 *
 * A name reaches the file system only when it is made of letters, digits and _ + - in parts split
 * by single slashes, so no path leads out of the folder, and the cache cannot grow beyond the files
 * that are there. Files are read without the io table: they are the system's, small, read once, and
 * not part of any data folder.
 */
#include "query/civil_int.h"
#include "query/names.h"

#include "storage/base/buf.h"
#include "storage/base/size.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ZONE_FOLDER          "/usr/share/zoneinfo"
#define ZONE_INDEX_BYTES_MAX (4u << 20)
#define SUGGEST_NAMES_MAX    4096u
#define SPAN_TS_MAX          INT64_C(1000000000000000000) /* year 31 million */

static int64_t utc_begin_ms[] = {INT64_MIN};
static int64_t utc_hour_number[] = {CIVIL_TS_MIN / CIVIL_HOUR_MS};
static int32_t utc_offset_ms[] = {0};
static const struct zone utc = {
    .name = "UTC",
    .is_utc = true,
    .span_count = 1,
    .begin_ms = utc_begin_ms,
    .hour_number = utc_hour_number,
    .offset_ms = utc_offset_ms,
};

/* -- look-up
 * --------------------------------------------------------------------------------------- */

/* Bring an instant beyond the expanded rule back into it; returns by how much. */
static int64_t cycle_shift(const struct zone *zone, int64_t ts_ms)
{
    if (!zone->has_cycle || ts_ms < zone->cycle_end_ms) {
        return 0;
    }
    return ((ts_ms - zone->cycle_end_ms) / CIVIL_CYCLE_MS + 1) * CIVIL_CYCLE_MS;
}

/* The last span that begins at or before ts_ms. */
static uint32_t span_idx(const struct zone *zone, int64_t ts_ms)
{
    const int64_t *base = zone->begin_ms;
    uint32_t count = zone->span_count;
    while (count > 1) { /* branch-free halving: base[0] <= ts_ms always holds */
        uint32_t half = count / 2;
        base += base[half] <= ts_ms ? half : 0;
        count -= half;
    }
    return (uint32_t)(base - zone->begin_ms);
}

int32_t zone_offset_ms(const struct zone *zone, int64_t ts_ms)
{
    int64_t ts = civil_clamp(ts_ms);
    return zone->offset_ms[span_idx(zone, ts - cycle_shift(zone, ts))];
}

struct zone_span zone_span_of(const struct zone *zone, int64_t ts_ms)
{
    /* Wider than civil_clamp: the end of the last bucket, or a date that was moved, lies beyond. */
    int64_t ts = ts_ms < -SPAN_TS_MAX ? -SPAN_TS_MAX : ts_ms > SPAN_TS_MAX ? SPAN_TS_MAX : ts_ms;
    int64_t shift_ms = cycle_shift(zone, ts);
    uint32_t i = span_idx(zone, ts - shift_ms);
    struct zone_span span = {zone->begin_ms[i], INT64_MAX, zone->offset_ms[i]};
    if (i > 0) {
        span.begin_ms += shift_ms;
    }
    if (i + 1 < zone->span_count) {
        span.end_ms = zone->begin_ms[i + 1] + shift_ms;
    }
    return span;
}

int64_t zone_hour_number(const struct zone *zone, int64_t ts_ms)
{
    int64_t ts = civil_clamp(ts_ms);
    int64_t shift_ms = cycle_shift(zone, ts);
    ts -= shift_ms;
    uint32_t i = span_idx(zone, ts);
    int64_t begin_ms = i == 0 ? CIVIL_TS_MIN : zone->begin_ms[i];
    int64_t offset_ms = zone->offset_ms[i];
    return zone->hour_number[i] + civil_div(ts + offset_ms, CIVIL_HOUR_MS) -
           civil_div(begin_ms + offset_ms, CIVIL_HOUR_MS) +
           shift_ms / CIVIL_CYCLE_MS * zone->cycle_hours;
}

const struct zone *zone_utc(void)
{
    return &utc;
}

struct str zone_name(const struct zone *zone)
{
    return str_of(zone->name);
}

/* -- files
 * ------------------------------------------------------------------------------------------ */

static void fd_closep(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
}

/* The whole of a file below the zone folder, at most bytes_max of it. */
static enum err_code read_system_file(const char *name, size_t bytes_max, struct buf *out,
                                      struct err *err)
{
    char path[sizeof(ZONE_FOLDER) + 1 + ZONE_NAME_BYTES_MAX + 1];
    snprintf(path, sizeof(path), ZONE_FOLDER "/%.*s", ZONE_NAME_BYTES_MAX, name);
    CLEANUP(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return err_set_errno(err, errno == ENOTDIR ? ENOENT : errno, "open \"%s\"", path);
    }
    for (;;) {
        size_t want = MIN_OF(bytes_max + 1 - out->len, (size_t)64 << 10);
        uint8_t *at = buf_reserve(out, want);
        if (at == NULL) {
            return buf_check(out, err);
        }
        ssize_t got = read(fd, at, want);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return err_set_errno(err, errno == EISDIR ? ENOENT : errno, "read \"%s\"", path);
        }
        if (got == 0) {
            return ERR_OK;
        }
        out->len += (size_t)got;
        if (out->len > bytes_max) {
            return err_set(err, ERR_CORRUPT, "\"%s\": more than %zu bytes", path, bytes_max);
        }
    }
}

static bool is_alnum(char c)
{
    return ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || (c >= '0' && c <= '9');
}

static bool name_is_sound(struct str name)
{
    if (name.len == 0 || name.len > ZONE_NAME_BYTES_MAX) {
        return false;
    }
    char before = '/';
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (c == '/' ? before == '/' : !is_alnum(c) && c != '_' && c != '+' && c != '-') {
            return false;
        }
        before = c;
    }
    /* Files of the folder that are no zone of the database, or are copies of one with leap seconds.
     */
    return before != '/' && !str_starts(name, STR("posix/")) && !str_starts(name, STR("right/")) &&
           !str_eq(name, STR("localtime")) && !str_eq(name, STR("posixrules"));
}

/* -- the index of names and the version
 * --------------------------------------------------------------- */

static pthread_once_t index_once = PTHREAD_ONCE_INIT;
static struct {
    struct buf text; /* tzdata.zi, else zone1970.tab; empty when neither can be read */
    struct str *names;
    uint32_t name_count;
    char version[32];
} zone_index; /* written once under index_once, then constant */

static struct str cut_field(struct str *line, const char *separators)
{
    size_t skip = 0;
    while (skip < line->len && strchr(separators, line->ptr[skip]) != NULL) {
        skip++;
    }
    size_t end = skip;
    while (end < line->len && strchr(separators, line->ptr[end]) == NULL) {
        end++;
    }
    struct str field = {line->ptr + skip, end - skip};
    line->ptr += end;
    line->len -= end;
    return field;
}

/* "Z name ..." and "L target name" lines in tzdata.zi; the third column of zone1970.tab. */
static void index_names(struct str text, bool is_tab)
{
    zone_index.names = calloc(SUGGEST_NAMES_MAX, sizeof(*zone_index.names));
    while (zone_index.names != NULL && text.len > 0 && zone_index.name_count < SUGGEST_NAMES_MAX) {
        struct str line = cut_field(&text, "\n");
        struct str name = {0};
        if (is_tab && !str_starts(line, STR("#"))) {
            cut_field(&line, "\t");
            cut_field(&line, "\t");
            name = cut_field(&line, "\t");
        } else if (!is_tab && str_starts(line, STR("Z "))) {
            cut_field(&line, " ");
            name = cut_field(&line, " ");
        } else if (!is_tab && str_starts(line, STR("L "))) {
            cut_field(&line, " ");
            cut_field(&line, " ");
            name = cut_field(&line, " ");
        }
        if (name_is_sound(name)) {
            zone_index.names[zone_index.name_count++] = name;
        }
    }
}

static void index_version(void)
{
    struct str text = buf_as_str(&zone_index.text);
    struct str version = {0};
    CLEANUP(buf_freep) struct buf file = {0};
    struct err err;
    if (str_starts(text, STR("# version "))) {
        version = cut_field(&text, "\n");
        version.ptr += sizeof("# version ") - 1;
        version.len -= sizeof("# version ") - 1;
    } else if (read_system_file("+VERSION", 64, &file, &err) == ERR_OK) {
        text = buf_as_str(&file);
        version = cut_field(&text, "\n ");
    }
    bool is_sound = version.len > 0 && version.len < sizeof(zone_index.version);
    for (size_t i = 0; i < version.len; i++) {
        is_sound = is_sound && (is_alnum(version.ptr[i]) || strchr(".-_", version.ptr[i]) != NULL);
    }
    snprintf(zone_index.version, sizeof(zone_index.version), "%.*s",
             is_sound ? (int)version.len : 7, is_sound ? version.ptr : "unknown");
}

static void index_load(void)
{
    struct err err;
    bool is_tab = false;
    if (read_system_file("tzdata.zi", ZONE_INDEX_BYTES_MAX, &zone_index.text, &err) != ERR_OK) {
        buf_clear(&zone_index.text);
        is_tab = true;
        if (read_system_file("zone1970.tab", ZONE_INDEX_BYTES_MAX, &zone_index.text, &err) !=
            ERR_OK) {
            buf_clear(&zone_index.text);
        }
    }
    index_names(buf_as_str(&zone_index.text), is_tab);
    index_version();
}

const char *zone_db_version(void)
{
    pthread_once(&index_once, index_load);
    return zone_index.version;
}

/* -- suggestions
 * -------------------------------------------------------------------------------------- */

static struct str last_part(struct str name)
{
    size_t begin = name.len;
    while (begin > 0 && name.ptr[begin - 1] != '/') {
        begin--;
    }
    return (struct str){name.ptr + begin, name.len - begin};
}

/* The known name nearest to `name`, whole or by its last part ("shanghai"); empty when none is
 * near: within a third of the letters. */
static struct str suggest(struct str name)
{
    struct str best = {0};
    pthread_once(&index_once, index_load);
    if (name.len == 0 || name.len > ZONE_NAME_BYTES_MAX) {
        return best;
    }
    uint32_t max = (uint32_t)MAX_OF(name.len / 3, (size_t)1);
    uint32_t best_score = 2 * (max + 1);
    for (uint32_t i = 0; i < zone_index.name_count; i++) {
        struct str known = zone_index.names[i];
        uint32_t whole = 2 * names_distance(name, known, max);
        uint32_t part = 2 * names_distance(name, last_part(known), max) + 1; /* breaks ties */
        uint32_t score = MIN_OF(whole, part);
        if (score < best_score) {
            best_score = score;
            best = known;
        }
    }
    return best;
}

static enum err_code unknown_zone(struct str name, struct err *err)
{
    struct str near = suggest(name);
    if (zone_index.name_count == 0) {
        return err_set(err, ERR_NOT_FOUND,
                       "unknown time zone \"" STR_FMT "\": no time zone database in \"%s\"",
                       STR_ARG(name), ZONE_FOLDER);
    }
    if (near.len == 0) {
        return err_set(err, ERR_NOT_FOUND, "unknown time zone \"" STR_FMT "\"", STR_ARG(name));
    }
    return err_set(err, ERR_NOT_FOUND,
                   "unknown time zone \"" STR_FMT "\"; did you mean \"" STR_FMT "\"?",
                   STR_ARG(name), STR_ARG(near));
}

/* -- the cache
 * ---------------------------------------------------------------------------------------- */

static pthread_mutex_t cache_lock = PTHREAD_MUTEX_INITIALIZER; /* guards cache_head and the links */
static struct zone *cache_head;

static const struct zone *cache_find_locked(struct str name)
{
    for (const struct zone *zone = cache_head; zone != NULL; zone = zone->next) {
        if (str_eq(str_of(zone->name), name)) {
            return zone;
        }
    }
    return NULL;
}

static const struct zone *cache_find(struct str name)
{
    pthread_mutex_lock(&cache_lock);
    const struct zone *zone = cache_find_locked(name);
    pthread_mutex_unlock(&cache_lock);
    return zone;
}

/* Takes `zone`. Two threads may have read the same file: the first one's zone is everyone's. */
static const struct zone *cache_put(struct zone *zone)
{
    pthread_mutex_lock(&cache_lock);
    const struct zone *known = cache_find_locked(str_of(zone->name));
    if (known == NULL) {
        zone->next = cache_head;
        cache_head = zone;
    }
    pthread_mutex_unlock(&cache_lock);
    if (known == NULL) {
        return zone;
    }
    zone_free(zone);
    return known;
}

enum err_code zone_find(struct str name, const struct zone **ret, struct err *err)
{
    if (str_eq(name, STR("UTC"))) {
        *ret = &utc;
        return ERR_OK;
    }
    if (!name_is_sound(name)) {
        return unknown_zone(name, err);
    }
    const struct zone *known = cache_find(name);
    if (known != NULL) {
        *ret = known;
        return ERR_OK;
    }
    char z[ZONE_NAME_BYTES_MAX + 1] = {0};
    memcpy(z, name.ptr, name.len);
    CLEANUP(buf_freep) struct buf file = {0};
    enum err_code code = read_system_file(z, ZONE_FILE_BYTES_MAX, &file, err);
    /* A file that is no TZif file is another sort of file: leapseconds, the tables of zones. */
    bool is_zone = str_starts(buf_as_str(&file), STR("TZif"));
    if (code == ERR_NOT_FOUND || (code == ERR_OK && !is_zone)) {
        return unknown_zone(name, err);
    }
    if (code != ERR_OK) {
        return code;
    }
    struct zone *zone = NULL;
    ERR_TRY(zone_decode(name, buf_as_str(&file), &zone, err));
    zone->is_utc = str_eq(name, STR("Etc/UTC"));
    *ret = cache_put(zone);
    return ERR_OK;
}
