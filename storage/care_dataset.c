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

enum err_code care_init(struct care *care, const char *dir, struct io *io, care_finding_fn fn,
                        void *arg, struct err *err)
{
    *care = (struct care){.dir = dir, .io = io, .fn = fn, .arg = arg};
    if (dir[0] == '\0' || strlen(dir) > CARE_PATH_BYTES - 1024) {
        return err_set(err, ERR_INVALID, "a folder's path has %zu bytes", strlen(dir));
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
    return schema_create(&set->schema, err);
}

void care_set_done(struct care_set *set)
{
    buf_done(&set->segments);
    buf_done(&set->runs);
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
    buf_append(&set->segments, segment, sizeof(*segment));
    return buf_check(&set->segments, err);
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
    if (meta->tier == TIER_COLD) { /* no damage: repair must not take it for missing */
        return err_set(err, ERR_UNSUPPORTED,
                       "data set \"%s\": segment %" PRIu64
                       " is in the cold directory, which verify "
                       "and repair do not look at; a backup of the running server has all in one "
                       "folder",
                       set->row.name, meta->number);
    }
    care_segment_path(set->dir, meta, path);
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
