/* storage/care_dataset.c - one data set of a stopped folder, without trust: every byte may be anything. */
#include "storage/care_int.h"
#include "storage/known_run.h"

#include "storage/dataset_record.h"

#include "storage/base/size.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CACHE_BYTES ((size_t)64 << 20)

/* ---- the look ---- */

static enum err_code check_path(const char *dir, struct err *err)
{
    return dir[0] == '\0' || strlen(dir) > CARE_PATH_BYTES - 1024
               ? err_set(err, ERR_INVALID, "a folder's path has %zu bytes", strlen(dir))
               : ERR_OK;
}

enum err_code care_init(struct care *care, const char *dir, const char *cold_dir, struct io *io,
                        care_finding_fn fn, void *arg, struct err *err)
{
    *care = (struct care){.dir = dir, .cold_dir = cold_dir, .io = io, .fn = fn, .arg = arg};
    ERR_TRY(check_path(dir, err));
    if (cold_dir != NULL) {
        ERR_TRY(check_path(cold_dir, err));
    }
    return block_cache_create(CACHE_BYTES, &care->cache, err);
}

void care_done(struct care *care)
{
    block_cache_free(care->cache);
}

void care_say(struct care *care, enum care_level level, const char *file, const char *problem,
              const char *meaning)
{
    care->sums.damaged += level == CARE_DAMAGE;
    care->sums.left_over += level == CARE_LEFT_OVER;
    if (care->fn != NULL) {
        care->fn(care->arg, &(struct care_finding){level, file, problem, meaning});
    }
}

const char *care_behind(const char *message, const char *file)
{
    const char *slash = strrchr(file, '/');
    const char *base = slash == NULL ? file : slash + 1;
    size_t len = strlen(base);
    const char *behind = message;
    for (const char *at = strstr(message, base); at != NULL; at = strstr(at + 1, base)) {
        if (strncmp(at + len, "\": ", 3) == 0) {
            behind = at + len + 3;
        }
    }
    return behind;
}

enum err_code care_found(struct care *care, const char *file, const struct err *what,
                         const char *meaning, struct err *err)
{
    if (what->code == ERR_NOMEM) {
        *err = *what;
        return err->code;
    }
    care_say(care, CARE_DAMAGE, file, care_behind(what->message, file), meaning);
    return ERR_OK;
}

const char *care_below(const struct care *care, const char *path)
{
    size_t len = strlen(care->dir);
    if (strncmp(path, care->dir, len) != 0) {
        return path;
    }
    path += len;
    while (*path == '/') {
        path++;
    }
    return path;
}

/* ---- the lists ---- */

enum err_code care_set_init(struct care_set *set, struct care *care,
                            const struct catalog_dataset *row, struct err *err)
{
    *set = (struct care_set){.care = care, .row = *row};
    if (!dataset_name_is_valid(str_of(row->name))) {
        return err_set(err, ERR_CORRUPT, "a data set is named \"%s\"", row->name);
    }
    if (!care_path(set->dir, care->dir, row->name)) {
        return care_path_too_long(care->dir, err);
    }
    if (care->cold_dir != NULL && !care_path(set->cold, care->cold_dir, row->name)) {
        return care_path_too_long(care->cold_dir, err);
    }
    return schema_create(&set->schema, err);
}

void care_set_done(struct care_set *set)
{
    buf_done(&set->segments);
    buf_done(&set->firsts);
    buf_done(&set->runs);
    buf_done(&set->renamed);
    ids_close(set->ids);
    if (set->schema != NULL) {
        schema_free(set->schema);
    }
    *set = (struct care_set){0};
}

static enum err_code take_column(void *arg, uint32_t prop, struct str name, enum col_type type,
                                 uint64_t value_count, struct err *err)
{
    struct care_set *set = arg;
    uint32_t got = 0;
    if (name.len == 0 || name.len > PROP_NAME_BYTES_MAX) {
        return err_set(err, ERR_CORRUPT, "column %" PRIu32 ": a name of %zu bytes", prop, name.len);
    }
    ERR_TRY(schema_add(set->schema, name, type, &got, err));
    if (got != prop) {
        return err_set(err, ERR_CORRUPT, "column %" PRIu32 " stands where %" PRIu32 " belongs",
                       prop, got);
    }
    schema_count_values(set->schema, prop, value_count);
    return ERR_OK;
}

static enum err_code take_segment(void *arg, const struct catalog_segment *segment, struct err *err)
{
    struct care_set *set = arg;
    if (segment->number == 0 || segment->number >= set->row.next_segment) {
        return err_set(err, ERR_CORRUPT,
                       "segment %" PRIu64 ", and numbers below %" PRIu64 " were given",
                       segment->number, set->row.next_segment);
    }
    struct buf *list = segment->is_first_times ? &set->firsts : &set->segments;
    buf_append(list, segment, sizeof(*segment));
    return buf_check(list, err);
}

static enum err_code take_run(void *arg, const struct catalog_run *run, struct err *err)
{
    struct care_set *set = arg;
    buf_append(&set->runs, run, sizeof(*run));
    return buf_check(&set->runs, err);
}

static enum err_code take_deleted(void *arg, uint32_t shard, uint32_t subject, struct err *err)
{
    struct care_set *set = arg;
    if (subject == UINT32_MAX) {
        return err_set(err, ERR_CORRUPT, "deleted subject %" PRIu32, subject);
    }
    set->deleted_end[shard] = MAX_OF(set->deleted_end[shard], subject + 1);
    set->deleted_count++;
    return ERR_OK;
}

enum err_code care_set_load(struct care_set *set, struct catalog *catalog, struct err *err)
{
    int64_t id = set->row.id;
    ERR_TRY(catalog_columns(catalog, id, take_column, set, err));
    ERR_TRY(catalog_segments(catalog, id, take_segment, set, err));
    ERR_TRY(catalog_runs(catalog, id, take_run, set, err));
    return catalog_deleted(catalog, id, take_deleted, set, err);
}

/* ---- segments ---- */

uint64_t care_set_file_number(const struct care_set *set, const struct catalog_segment *meta)
{
    const struct care_renamed *renamed =
        (const struct care_renamed *)(const void *)set->renamed.ptr;
    for (size_t i = 0; i < set->renamed.len / sizeof(*renamed) && meta->tier == TIER_COLD; i++) {
        if (renamed[i].number == meta->number) {
            return renamed[i].file_number;
        }
    }
    return meta->number;
}

const char *care_set_dir(const struct care_set *set, uint32_t tier)
{
    return tier == TIER_COLD ? set->cold : set->dir;
}

const char *care_set_label(const struct care_set *set, uint32_t tier)
{
    return tier == TIER_COLD && set->cold[0] != '\0' ? set->cold : set->row.name;
}

void care_set_segment_path(const struct care_set *set, const struct catalog_segment *meta,
                           char out[CARE_PATH_BYTES])
{
    struct catalog_segment file = *meta;
    file.number = care_set_file_number(set, meta);
    care_segment_path(care_set_dir(set, meta->tier), &file, out);
}

void care_set_segment_name(const struct care_set *set, const struct catalog_segment *meta,
                           char out[64])
{
    struct catalog_segment file = *meta;
    char path[CARE_PATH_BYTES];
    file.number = care_set_file_number(set, meta);
    care_segment_path("", &file, path);
    snprintf(out, 64, "%.60s", path + 1);
}

enum err_code care_segment_open(const struct care_set *set, const char *path,
                                const struct schema *schema, struct segment **ret, struct err *err)
{
    struct care *care = set->care;
    return segment_open(care->io, path, schema, care->cache, ++care->next_id, ret, err);
}

static enum err_code check_meta(const struct segment *segment, const struct catalog_segment *meta,
                                struct err *err)
{
    const struct source *source = segment_source(segment);
    uint64_t bytes = segment_info(segment).file_bytes;
    if (source->is_first_times != meta->is_first_times) {
        return err_set(err, ERR_CORRUPT, "it is %sof first times, the catalog says otherwise",
                       source->is_first_times ? "" : "not ");
    }
    if (bytes != meta->bytes || source->row_count != meta->row_count ||
        source->shard != meta->shard || source->time_min_ms != meta->time_min_ms ||
        source->time_max_ms != meta->time_max_ms) {
        return err_set(err, ERR_CORRUPT,
                       "%" PRIu64 " bytes, %" PRIu32 " rows of shard %" PRIu32 ", times %" PRId64
                       " .. %" PRId64 "; the catalog says %" PRIu64 " bytes, %" PRIu32
                       " rows of shard %" PRIu32 ", times %" PRId64 " .. %" PRId64,
                       bytes, source->row_count, source->shard, source->time_min_ms,
                       source->time_max_ms, meta->bytes, meta->row_count, meta->shard,
                       meta->time_min_ms, meta->time_max_ms);
    }
    return ERR_OK;
}

static enum err_code check_columns(const struct segment *segment, struct err *err)
{
    uint32_t count = segment_info(segment).col_count;
    for (uint32_t i = 0; i < count; i++) {
        struct segment_col_info col = segment_col_info(segment, i);
        if (col.col == UINT32_MAX) {
            return err_set(err, ERR_CORRUPT, "column \"" STR_FMT "\" (%s) is not in the catalog",
                           STR_ARG(col.name), col_type_name(col.type));
        }
    }
    return ERR_OK;
}

enum err_code care_segment_check(const struct care_set *set, const struct catalog_segment *meta,
                                 struct err *err)
{
    CLEANUP(segment_closep) struct segment *segment = NULL;
    char path[CARE_PATH_BYTES];
    if (meta->tier == TIER_COLD && set->cold[0] == '\0') { /* no damage: it is not missing */
        return err_set(err, ERR_UNSUPPORTED,
                       "data set \"%s\": segment %" PRIu64
                       " is in the cold directory, which verify and repair look into where "
                       "--cold-dir names it; a backup of the running server has all in one folder",
                       set->row.name, meta->number);
    }
    care_set_segment_path(set, meta, path);
    ERR_TRY(care_segment_open(set, path, set->schema, &segment, err));
    ERR_TRY(check_meta(segment, meta, err));
    ERR_TRY(check_columns(segment, err));
    ERR_TRY(segment_verify(segment, set->care->io, err));
    const struct source *source = segment_source(segment);
    if (source->identity_version > set->row.identity_version) {
        return err_set(err, ERR_CORRUPT, "identity version %" PRIu64 ", the catalog knows %" PRIu64,
                       source->identity_version, set->row.identity_version);
    }
    if (set->ids != NULL && source->subject_last >= ids_subjects(set->ids, meta->shard)) {
        return err_set(err, ERR_CORRUPT,
                       "rows of subject %" PRIu32 ", and ids.log gives shard %" PRIu32
                       " numbers below %" PRIu32,
                       source->subject_last, meta->shard, ids_subjects(set->ids, meta->shard));
    }
    return ERR_OK;
}

/* The largest time that is at most its arrival. */
static enum err_code note_times(const struct care_set *set, const struct source *source,
                                int64_t *ret, struct err *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    struct read_ctx ctx = {.arena = arena, .io = set->care->io};
    for (uint32_t block = 0; block < source->block_count; block++) {
        struct arena_mark mark = arena_mark(arena);
        struct vec time = {0};
        struct vec arrival = {0};
        ERR_TRY(source_read(source, &ctx, COL_EVENT_TIME, block, &time, err));
        ERR_TRY(source_read(source, &ctx, COL_ARRIVAL, block, &arrival, err));
        for (uint32_t i = 0; i < time.rows; i++) {
            *ret = MAX_OF(*ret, MIN_OF(time.i64[i], arrival.i64[i]));
        }
        arena_rewind(arena, mark);
    }
    return ERR_OK;
}

enum err_code care_segment_read(const struct care_set *set, const char *path,
                                struct care_segment_facts *facts, struct err *err)
{
    CLEANUP(segment_closep) struct segment *segment = NULL;
    const struct catalog_segment named = facts->meta;
    *facts = (struct care_segment_facts){.meta = named, .watermark_ms = INT64_MIN};
    facts->meta.row_count = 0;
    ERR_TRY(care_segment_open(set, path, NULL, &segment, err));
    const struct source *source = segment_source(segment);
    facts->meta = (struct catalog_segment){.number = named.number,
                                           .shard = source->shard,
                                           .row_count = source->row_count,
                                           .bytes = segment_info(segment).file_bytes,
                                           .time_min_ms = source->time_min_ms,
                                           .time_max_ms = source->time_max_ms,
                                           .tier = named.tier,
                                           .is_first_times = named.is_first_times};
    if (source->shard != named.shard) {
        facts->meta.shard = named.shard;
        return err_set(err, ERR_CORRUPT, "a segment of shard %" PRIu32, source->shard);
    }
    if (source->is_first_times != named.is_first_times) {
        return err_set(err, ERR_CORRUPT, "its name is not that of %s",
                       source->is_first_times ? "first times" : "a segment");
    }
    ERR_TRY(segment_verify(segment, set->care->io, err));
    facts->identity_version = source->identity_version;
    facts->subject_last = source->subject_last;
    return note_times(set, source, &facts->watermark_ms, err);
}

enum err_code care_set_take_columns(struct care_set *set, size_t first, struct err *err)
{
    size_t count = 0;
    const struct catalog_segment *segments = care_set_segments(set, &count);
    for (size_t i = first; i < count; i++) {
        CLEANUP(segment_closep) struct segment *segment = NULL;
        char path[CARE_PATH_BYTES];
        care_set_segment_path(set, &segments[i], path);
        ERR_TRY(care_segment_open(set, path, NULL, &segment, err));
        for (uint32_t k = 0; k < segment_info(segment).col_count; k++) {
            struct segment_col_info col = segment_col_info(segment, k);
            uint32_t prop = 0;
            if (!col.is_builtin) {
                ERR_TRY(schema_add(set->schema, col.name, col.type, &prop, err));
                schema_count_values(set->schema, prop, col.value_count);
            }
        }
    }
    return ERR_OK;
}

enum err_code care_set_value_counts(const struct care_set *set, struct buf *ret, struct err *err)
{
    for (uint32_t i = 0; i < schema_count(set->schema); i++) {
        uint64_t values = atomic_load(&schema_col(set->schema, i)->value_count);
        buf_append(ret, &values, sizeof(values));
    }
    return buf_check(ret, err);
}

enum err_code care_run_check(const struct care_set *set, const struct catalog_run *run,
                             struct err *err)
{
    char path[CARE_PATH_BYTES];
    uint64_t bytes = 0;
    care_run_path(set->dir, run->number, path);
    ERR_TRY(care_file_bytes(set->care->io, path, &bytes, err));
    if (bytes == 0) {
        return err_set(err, ERR_CORRUPT, "missing or empty");
    }
    if (bytes != run->bytes) {
        return err_set(err, ERR_CORRUPT, "%" PRIu64 " bytes, the catalog says %" PRIu64, bytes,
                       run->bytes);
    }
    CLEANUP(known_run_unrefp) struct known_run *opened = NULL;
    ERR_TRY(known_run_open(set->care->io, path, run->number, &opened, err));
    if (known_run_info(opened).count != run->count) {
        return err_set(err, ERR_CORRUPT, "%" PRIu64 " ids, the catalog says %" PRIu64,
                       known_run_info(opened).count, run->count);
    }
    return known_run_verify(opened, err);
}

/* ---- the log ---- */

struct log_look {
    struct care_set *set;
    care_record_fn fn;
    void *arg;
    struct arena *arena;
    bool is_stopped; /* by fn */
};

static enum err_code check_places(const struct care_set *set, const struct record_events *events,
                                  struct err *err)
{
    for (uint32_t i = 0; i < events->batch.event_count; i++) {
        const struct event_place *place = &events->places[i];
        if (place->subject >= ids_subjects(set->ids, place->shard)) {
            return err_set(err, ERR_CORRUPT,
                           "event %" PRIu32 ": subject %" PRIu32 " of shard %" PRIu32 " has no id",
                           i, place->subject, place->shard);
        }
    }
    return ERR_OK;
}

static enum err_code look_at_record(void *arg, uint64_t seq, struct str payload, struct err *err)
{
    struct log_look *look = arg;
    struct care_set *set = look->set;
    if (set->ids == NULL) {
        return ERR_OK;
    }
    struct arena_mark mark = arena_mark(look->arena);
    struct record_events events;
    ERR_TRY(record_decode(payload, set->ids, set->schema, look->arena, &events, err));
    if (!set->is_ids_partial) {
        ERR_TRY(check_places(set, &events, err));
    }
    set->log_events += events.batch.event_count;
    if (look->fn != NULL && look->fn(look->arg, seq, &events.batch, events.places, err) != ERR_OK) {
        look->is_stopped = true;
        return err->code;
    }
    arena_rewind(look->arena, mark);
    return ERR_OK;
}

enum err_code care_log_read(struct care_set *set, care_record_fn fn, void *arg,
                            struct err *ret_what, struct err *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    struct log_look look = {.set = set, .fn = fn, .arg = arg, .arena = arena};
    char dir[CARE_PATH_BYTES];
    if (!care_path(dir, set->dir, "wal")) {
        return care_path_too_long(set->dir, err);
    }
    set->log = (struct wal_replay_report){0};
    set->log_events = 0;
    *ret_what = (struct err){.code = ERR_OK};
    enum err_code code =
        wal_read(set->care->io, dir, set->row.wal_floor, look_at_record, &look, &set->log, err);
    if (code != ERR_OK && (look.is_stopped || code == ERR_NOMEM)) {
        return code;
    }
    if (code != ERR_OK) {
        *ret_what = *err;
    }
    return ERR_OK;
}
