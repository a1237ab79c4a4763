/* storage/care_verify.c - every byte of a stopped folder: does it say what was written, and do the
 * parts fit each other?
 *
 * In this order, so that what is damaged is told of its own file: the manifest of a backup; the catalog by
 * SQLite's own check; then of each data set its lists, ids.log (without ids.hash, which is held
 * against it), the segments one by one, the log record by record, the runs of event ids, the
 * event ids of all of these against each other; last the files that nothing names. */
#include "storage/care_int.h"
#include "storage/cold_owner.h"

#include "storage/folder_lock.h"

#include "storage/base/size.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CATALOG_BYTES_MAX ((size_t)1 << 30)
#define SQLITE_HEAD_BYTES 100u
#define TWICE_SHOWN       10u /* event ids; the others are counted */

static const char *const refuses =
    "the data set does not open: trackway repair, or restore a backup";

/* ---- the catalog ---- */

static enum err_code copy_file(struct io *io, const char *from, const char *to, struct err *err)
{
    CLEANUP(buf_freep) struct buf bytes = {0};
    CLEANUP(io_closep) struct io_file *file = NULL;
    ERR_TRY(io_read_file(io, from, CATALOG_BYTES_MAX, &bytes, err));
    ERR_TRY(io_open(io, to, IO_CREATE, &file, err));
    return io_write(io, file, 0, bytes.ptr, bytes.len, err);
}

static enum err_code copy_catalog(struct care *care, const char *path, const char *journal,
                                  char ret_copy[CARE_COPY_BYTES], struct err *err)
{
    const char *temporary = getenv("TMPDIR");
    char dir[CARE_COPY_BYTES];
    char to[CARE_COPY_BYTES + 32];
    if (temporary == NULL || temporary[0] == '\0' || strlen(temporary) > 128) {
        temporary = "/tmp";
    }
    snprintf(dir, sizeof(dir), "%s/trackway-verify-XXXXXX", temporary);
    if (mkdtemp(dir) == NULL) {
        return err_set(err, ERR_IO, "no folder can be made in \"%s\"", temporary);
    }
    snprintf(ret_copy, CARE_COPY_BYTES, "%s", dir);
    snprintf(to, sizeof(to), "%s/catalog.db", dir);
    ERR_TRY(copy_file(care->io, path, to, err));
    snprintf(to, sizeof(to), "%s/catalog.db-journal", dir);
    return copy_file(care->io, journal, to, err);
}

enum err_code care_catalog_open(struct care *care, struct catalog **ret,
                                char ret_copy[CARE_COPY_BYTES], struct err *err)
{
    char path[CARE_PATH_BYTES];
    char journal[CARE_PATH_BYTES];
    char copied[CARE_COPY_BYTES + 32];
    uint64_t bytes = 0;
    uint64_t journal_bytes = 0;
    ret_copy[0] = '\0';
    if (!care_path(path, care->dir, "catalog.db") ||
        !care_path(journal, care->dir, "catalog.db-journal")) {
        return care_path_too_long(care->dir, err);
    }
    ERR_TRY(care_file_bytes(care->io, path, &bytes, err));
    ERR_TRY(care_file_bytes(care->io, journal, &journal_bytes, err));
    if (bytes == 0) {
        return err_set(err, ERR_NOT_FOUND, "\"%s\": missing or empty", path);
    }
    care->sums.bytes += bytes;
    if (journal_bytes == 0) {
        return catalog_open(path, true, ret, err);
    }
    enum err_code code = copy_catalog(care, path, journal, ret_copy, err);
    if (code == ERR_OK) {
        snprintf(copied, sizeof(copied), "%s/catalog.db", ret_copy);
        code = catalog_open(copied, false, ret, err);
    }
    if (code != ERR_OK) {
        care_catalog_close(care, NULL, ret_copy);
    }
    return code;
}

enum err_code care_catalog_head(struct care *care, struct err *err)
{
    CLEANUP(io_closep) struct io_file *file = NULL;
    char path[CARE_PATH_BYTES];
    uint8_t head[SQLITE_HEAD_BYTES];
    if (!care_path(path, care->dir, "catalog.db")) {
        return care_path_too_long(care->dir, err);
    }
    ERR_TRY(io_open(care->io, path, IO_READ, &file, err));
    ERR_TRY(io_read(care->io, file, 0, head, sizeof(head), err));
    if (memcmp(head, "SQLite format 3", 16) != 0) {
        return err_set(err, ERR_CORRUPT, "header: it is no SQLite database");
    }
    if (head[18] != 1 || head[19] != 1) { /* 1: with a rollback journal, as we write it */
        return err_set(err, ERR_CORRUPT,
                       "header: versions %u and %u for writing and reading, not 1", head[18],
                       head[19]);
    }
    return ERR_OK;
}

void care_catalog_close(struct care *care, struct catalog *catalog,
                        const char copy[CARE_COPY_BYTES])
{
    catalog_close(catalog);
    if (copy[0] != '\0') {
        care_remove_tree(care->io, copy);
    }
}

static enum err_code complain(void *arg, const char *complaint, struct err *err)
{
    (void)err;
    care_say(arg, CARE_DAMAGE, "catalog.db", complaint,
             "the catalog cannot be trusted: trackway repair makes a new one, or restore a backup");
    return ERR_OK;
}

/* ---- one data set ---- */

struct set_look {
    struct care_set set;
    struct care *care;
    bool *bad; /* by segment: not to be read again */
    uint64_t twice;
};

static void say_in(struct set_look *look, uint32_t tier, enum care_level level, const char *name,
                   const char *problem, const char *meaning)
{
    char file[CARE_PATH_BYTES + 640];
    snprintf(file, sizeof(file), "%s/%s", care_set_label(&look->set, tier), name);
    care_say(look->care, level, file, problem, meaning);
}

static void say_of(struct set_look *look, enum care_level level, const char *name,
                   const char *problem, const char *meaning)
{
    say_in(look, TIER_HOT, level, name, problem, meaning);
}

static enum err_code found_of(struct set_look *look, const char *name, const struct err *what,
                              const char *meaning, struct err *err)
{
    char file[640];
    snprintf(file, sizeof(file), "%s/%s", look->set.row.name, name);
    return care_found(look->care, file, what, meaning, err);
}

static enum err_code look_at_ids(struct set_look *look, struct err *err)
{
    struct care_set *set = &look->set;
    char path[CARE_PATH_BYTES];
    char problem[128];
    struct err what = {0};
    uint64_t behind = 0;
    enum ids_hash_state hash = IDS_HASH_NONE;
    if (!care_path(path, set->dir, "ids.log")) {
        return care_path_too_long(set->dir, err);
    }
    if (ids_verify(look->care->io, path, set->row.seed, set->row.ids, &set->ids, &behind, &hash,
                   &what) != ERR_OK) {
        return found_of(look, "ids.log", &what, refuses, err);
    }
    look->care->sums.ids += ids_count(set->ids);
    look->care->sums.bytes += set->row.ids.bytes;
    if (behind > 0) {
        snprintf(problem, sizeof(problem), "%" PRIu64 " bytes behind the %" PRIu64 " that count",
                 behind, set->row.ids.bytes);
        say_of(look, CARE_LEFT_OVER, "ids.log", problem,
               "a flush was cut off: the next start takes them from the log instead");
    }
    if (hash == IDS_HASH_REFUSED) {
        say_of(look, CARE_DAMAGE, "ids.hash", "damaged, of another version, or not of this ids.log",
               "nothing is lost: the next start makes it again from ids.log");
    }
    return ERR_OK;
}

static enum err_code look_at_segment(struct set_look *look, size_t place, struct err *err)
{
    struct err what = {0};
    size_t count = 0;
    const struct catalog_segment *meta = &care_set_segments(&look->set, &count)[place];
    char path[CARE_PATH_BYTES];
    char meaning[256];
    char span[96];
    look->care->sums.segments++;
    look->care->sums.segment_rows += meta->row_count;
    look->care->sums.bytes += meta->bytes;
    if (care_segment_check(&look->set, meta, &what) == ERR_OK) {
        return ERR_OK;
    }
    look->bad[place] = true;
    care_set_segment_path(&look->set, meta, path);
    care_span(meta->time_min_ms, meta->time_max_ms, span);
    snprintf(meaning, sizeof(meaning),
             "%" PRIu32 " rows %s cannot be trusted: trackway repair, or restore a backup",
             meta->row_count, span);
    return care_found(look->care, care_below(look->care, path), &what, meaning, err);
}

static enum err_code look_at_log(struct set_look *look, struct err *err)
{
    struct care_set *set = &look->set;
    struct err what = {0};
    char name[64];
    char problem[96];
    ERR_TRY(care_log_read(set, NULL, NULL, &what, err));
    look->care->sums.log_records += set->log.records;
    look->care->sums.log_events += set->log_events;
    look->care->sums.bytes += set->log.bytes;
    if (set->log.at_file == 0) {
        snprintf(name, sizeof(name), "wal");
    } else {
        snprintf(name, sizeof(name), "wal/%08" PRIu64 ".log", set->log.at_file);
    }
    if (what.code != ERR_OK) {
        return found_of(look, name, &what, refuses, err);
    }
    if (set->log.torn_bytes > 0) {
        snprintf(problem, sizeof(problem),
                 "at byte %" PRIu64 ": the last %" PRIu64 " bytes are no whole record",
                 set->log.end_file == set->log.at_file ? set->log.end_off : 0, set->log.torn_bytes);
        say_of(
            look, CARE_LEFT_OVER, name, problem,
            "a crash while it was written, and then nothing was acknowledged of it; else damage. "
            "The next start cuts it off");
    }
    return ERR_OK;
}

static enum err_code look_at_runs(struct set_look *look, struct err *err)
{
    size_t count = 0;
    const struct catalog_run *runs = care_set_runs(&look->set, &count);
    for (size_t i = 0; i < count; i++) {
        char path[CARE_PATH_BYTES];
        struct err what = {0};
        care_run_path(look->set.dir, runs[i].number, path);
        look->care->sums.runs++;
        look->care->sums.bytes += runs[i].bytes;
        if (care_run_check(&look->set, &runs[i], &what) != ERR_OK) {
            ERR_TRY(care_found(look->care, care_below(look->care, path), &what,
                               "nothing is lost: it can be made again from the segments", err));
        }
    }
    return ERR_OK;
}

static enum err_code say_twice(struct set_look *look, const struct care_row *a,
                               const struct care_row *b, struct err *err)
{
    const struct care_row *stored = a->source == CARE_LOG_SOURCE ? b : a;
    const struct care_row *other = stored == a ? b : a;
    char id[128] = "an event id";
    char path[CARE_PATH_BYTES];
    char problem[400];
    char name[64];
    char where[128] = "the log";
    size_t count = 0;
    const struct catalog_segment *segments = care_set_segments(&look->set, &count);
    if (other->source != CARE_LOG_SOURCE) {
        care_set_segment_name(&look->set, &segments[other->source], name);
        snprintf(where, sizeof(where), "row %" PRIu32 " of %s", other->row, name);
    }
    if (stored->source == CARE_LOG_SOURCE) {
        say_of(look, CARE_DAMAGE, "wal", "an event id is there twice",
               "its event is counted once at the next start");
        return ERR_OK;
    }
    ERR_TRY(care_row_id(&look->set, stored, id, err));
    care_set_segment_path(&look->set, &segments[stored->source], path);
    snprintf(problem, sizeof(problem), "row %" PRIu32 ": event id \"%s\" is in %s as well",
             stored->row, id, where);
    care_say(look->care, CARE_DAMAGE, care_below(look->care, path), problem,
             "its event is counted twice");
    return ERR_OK;
}

static enum err_code look_at_equal(void *arg, const struct care_row *rows, uint32_t count,
                                   struct err *err)
{
    struct set_look *look = arg;
    uint64_t window_ms = look->set.row.settings.dedup_window_ms;
    for (uint32_t i = 1; i < count; i++) {
        uint64_t apart = (uint64_t)rows[i].arrival_ms - (uint64_t)rows[i - 1].arrival_ms;
        if (window_ms != 0 && apart > window_ms) {
            continue; /* it may come again by then */
        }
        if (look->twice++ < TWICE_SHOWN) {
            ERR_TRY(say_twice(look, &rows[i - 1], &rows[i], err));
        }
    }
    return ERR_OK;
}

static enum err_code look_at_event_ids(struct set_look *look, struct err *err)
{
    struct care_rows_opts opts = {.has_log = look->set.ids != NULL, .skips = look->bad};
    char problem[96];
    ERR_TRY(care_rows_equal(&look->set, &opts, look_at_equal, look, err));
    if (look->twice > TWICE_SHOWN) {
        snprintf(problem, sizeof(problem), "%" PRIu64 " more event ids are there twice",
                 look->twice - TWICE_SHOWN);
        say_of(look, CARE_DAMAGE, "", problem, "their events are counted twice");
    }
    return ERR_OK;
}

/* ---- files that nothing names ---- */

static bool is_segment_named(const struct care_set *set, uint32_t tier, uint32_t shard,
                             uint64_t number)
{
    size_t count = 0;
    const struct catalog_segment *segments = care_set_segments(set, &count);
    for (size_t i = 0; i < count; i++) {
        if (segments[i].tier == tier && segments[i].shard == shard &&
            segments[i].number == number) {
            return true;
        }
    }
    return false;
}

static bool is_run_named(const struct care_set *set, uint64_t number)
{
    size_t count = 0;
    const struct catalog_run *runs = care_set_runs(set, &count);
    for (size_t i = 0; i < count; i++) {
        if (runs[i].number == number) {
            return true;
        }
    }
    return false;
}

/* `shard`: UINT32_MAX for the runs' folder. */
static bool is_named(const struct care_set *set, uint32_t tier, const char *name, uint32_t shard)
{
    uint64_t number = 0;
    if (shard == UINT32_MAX) {
        return care_file_number(name, ".run", &number) && is_run_named(set, number);
    }
    if (tier == TIER_HOT && care_file_number(name, ".first", &number)) {
        return care_is_first_named(set, shard, number);
    }
    return care_file_number(name, ".seg", &number) && is_segment_named(set, tier, shard, number);
}

static enum err_code look_for_orphans(struct set_look *look, uint32_t tier, const char *folder,
                                      uint32_t shard, struct err *err)
{
    CLEANUP(buf_freep) struct buf names = {0};
    const char *dir = care_set_dir(&look->set, tier);
    char path[CARE_PATH_BYTES];
    uint32_t count = 0;
    if (!care_path(path, dir, folder)) {
        return care_path_too_long(dir, err);
    }
    enum err_code code = io_list(look->care->io, path, &names, &count, err);
    if (code == ERR_NOT_FOUND) {
        return ERR_OK; /* what should have been in it is told by its own name */
    }
    ERR_TRY(code);
    const char *name = (const char *)names.ptr;
    for (uint32_t i = 0; i < count; i++, name += strlen(name) + 1) {
        char file[512];
        if (!is_named(&look->set, tier, name, shard)) {
            snprintf(file, sizeof(file), "%s/%.300s", folder, name);
            say_in(look, tier, CARE_LEFT_OVER, file, "the catalog does not name it",
                   "left over by a crash: the next start removes it");
        }
    }
    return ERR_OK;
}

static enum err_code look_for_old_logs(struct set_look *look, struct err *err)
{
    CLEANUP(buf_freep) struct buf names = {0};
    char path[CARE_PATH_BYTES];
    uint32_t count = 0;
    if (!care_path(path, look->set.dir, "wal")) {
        return care_path_too_long(look->set.dir, err);
    }
    if (io_list(look->care->io, path, &names, &count, err) != ERR_OK) {
        return err->code == ERR_NOT_FOUND ? ERR_OK : err->code; /* told by look_at_log */
    }
    const char *name = (const char *)names.ptr;
    for (uint32_t i = 0; i < count; i++, name += strlen(name) + 1) {
        uint64_t number = 0;
        char file[320];
        snprintf(file, sizeof(file), "wal/%.300s", name);
        if (wal_file_number(name, &number) && number < look->set.row.wal_floor) {
            say_of(look, CARE_LEFT_OVER, file, "its events are in segments",
                   "the next start removes it");
        }
    }
    return ERR_OK;
}

static enum err_code look_for_left_overs(struct set_look *look, struct err *err)
{
    char folder[32];
    char path[CARE_PATH_BYTES];
    uint64_t bytes = 0;
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        snprintf(folder, sizeof(folder), "shard-%02" PRIu32, shard);
        ERR_TRY(look_for_orphans(look, TIER_HOT, folder, shard, err));
        if (look->set.is_cold_ours) {
            ERR_TRY(look_for_orphans(look, TIER_COLD, folder, shard, err));
        }
    }
    ERR_TRY(look_for_orphans(look, TIER_HOT, "event-ids", UINT32_MAX, err));
    ERR_TRY(look_for_old_logs(look, err));
    if (!care_path(path, look->set.dir, "ids.hash.new")) {
        return care_path_too_long(look->set.dir, err);
    }
    ERR_TRY(care_file_bytes(look->care->io, path, &bytes, err));
    if (bytes > 0) {
        say_of(look, CARE_LEFT_OVER, "ids.hash.new", "a stop was cut off",
               "the next stop replaces it");
    }
    return ERR_OK;
}

/* ---- the cold directory ---- */

static enum err_code say_stranger(struct set_look *look, const struct cold_stranger *stranger,
                                  struct err *err)
{
    char path[CARE_PATH_BYTES];
    char span[96];
    char meaning[320];
    const struct catalog_segment *meta = &stranger->facts.meta;
    care_segment_path(look->set.cold, meta, path);
    if (stranger->fit == COLD_FIT_DAMAGED) {
        return care_found(look->care, path, &stranger->what,
                          "the catalog does not name it: trackway repair --cold-dir takes it out",
                          err);
    }
    if (stranger->fit == COLD_FIT_CONTRADICTS) {
        care_say(look->care, CARE_DAMAGE, path, "rows of ids that ids.log gives to others",
                 "they are in no answer: trackway repair --cold-dir takes it out");
        return ERR_OK;
    }
    care_span(meta->time_min_ms, meta->time_max_ms, span);
    snprintf(meaning, sizeof(meaning),
             "%" PRIu32 " rows %s are in no answer: trackway repair --cold-dir takes them in",
             meta->row_count, span);
    care_say(look->care, CARE_DAMAGE, path,
             "a segment of this data set that the catalog does not name", meaning);
    return ERR_OK;
}

/* Segments that OWNER does not say are ours: told where they are, for the catalog was lost then. */
static enum err_code look_for_strangers(struct set_look *look, bool is_ours_anyway, struct err *err)
{
    CLEANUP(cold_strangers_done) struct cold_strangers strangers = {0};
    size_t count = 0;
    ERR_TRY(care_cold_strangers(&look->set, look->set.ids, &strangers, err));
    const struct cold_stranger *list = cold_strangers_of(&strangers, &count);
    if (!is_ours_anyway && !cold_strangers_are_ours(&strangers)) {
        return ERR_OK; /* another's, and none of our concern */
    }
    for (size_t i = 0; i < count; i++) {
        ERR_TRY(say_stranger(look, &list[i], err));
    }
    return ERR_OK;
}

static enum err_code look_at_cold(struct set_look *look, struct err *err)
{
    struct care_set *set = &look->set;
    enum cold_owner owner = COLD_NOBODYS;
    size_t count = 0;
    bool has_cold = false;
    if (set->cold[0] == '\0') {
        return ERR_OK;
    }
    const struct catalog_segment *segments = care_set_segments(set, &count);
    for (size_t i = 0; i < count; i++) {
        has_cold = has_cold || segments[i].tier == TIER_COLD;
    }
    ERR_TRY(cold_owner_read(look->care->io, set->cold, catalog_cold_owner(&set->row), &owner, NULL,
                            err));
    set->is_cold_ours = owner == COLD_OURS;
    if (set->is_cold_ours || (set->ids == NULL && !has_cold)) {
        return ERR_OK;
    }
    if (has_cold) {
        say_in(
            look, TIER_COLD, CARE_DAMAGE, COLD_OWNER,
            owner == COLD_NOBODYS ? "missing" : "it names another data set",
            owner == COLD_NOBODYS
                ? "the next move there writes it; or trackway repair --cold-dir"
                : "nothing can be moved there: trackway repair --cold-dir, or another directory");
    }
    return set->ids == NULL ? ERR_OK : look_for_strangers(look, has_cold, err);
}

static enum err_code look_at_set(struct set_look *look, struct catalog *catalog, struct err *err)
{
    struct err what = {0};
    size_t count = 0;
    if (care_set_load(&look->set, catalog, &what) != ERR_OK) {
        (void)err_context(&what, "data set \"%s\"", look->set.row.name);
        return care_found(look->care, "catalog.db", &what, refuses, err);
    }
    (void)care_set_segments(&look->set, &count);
    look->bad = calloc(count + 1, sizeof(*look->bad));
    if (look->bad == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for %zu segments", count);
    }
    ERR_TRY(look_at_ids(look, err));
    for (uint32_t shard = 0; look->set.ids != NULL && shard < SHARD_COUNT; shard++) {
        if (look->set.deleted_end[shard] > ids_subjects(look->set.ids, shard)) {
            care_say(look->care, CARE_DAMAGE, "catalog.db",
                     "a deleted subject that ids.log does not know",
                     "a later subject of that number would be left out of answers");
        }
    }
    for (size_t i = 0; i < count; i++) {
        ERR_TRY(look_at_segment(look, i, err));
    }
    ERR_TRY(care_verify_firsts(&look->set, err));
    ERR_TRY(look_at_cold(look, err));
    ERR_TRY(look_at_log(look, err));
    ERR_TRY(look_at_runs(look, err));
    ERR_TRY(look_at_event_ids(look, err));
    return look_for_left_overs(look, err);
}

/* ---- the folder ---- */

struct rows {
    struct buf rows; /* struct catalog_dataset */
};

static enum err_code take_row(void *arg, const struct catalog_dataset *row, struct err *err)
{
    struct rows *rows = arg;
    buf_append(&rows->rows, row, sizeof(*row));
    return buf_check(&rows->rows, err);
}

static enum err_code look_at_row(struct care *care, struct catalog *catalog,
                                 const struct catalog_dataset *row, struct err *err)
{
    struct set_look look = {.care = care};
    struct err what = {0};
    care->sums.datasets++;
    enum err_code code = care_set_init(&look.set, care, row, &what);
    code = code != ERR_OK ? care_found(care, "catalog.db", &what, refuses, err)
                          : look_at_set(&look, catalog, err);
    free(look.bad);
    care_set_done(&look.set);
    return code;
}

/* A folder that looks like a data set's and is in no row. */
static enum err_code look_for_strays(struct care *care, const struct buf *rows, struct err *err)
{
    CLEANUP(buf_freep) struct buf names = {0};
    const struct catalog_dataset *known = (const struct catalog_dataset *)(const void *)rows->ptr;
    uint32_t count = 0;
    ERR_TRY(io_list(care->io, care->dir, &names, &count, err));
    const char *name = (const char *)names.ptr;
    for (uint32_t i = 0; i < count; i++, name += strlen(name) + 1) {
        bool is_known = false;
        for (size_t k = 0; k < rows->len / sizeof(*known); k++) {
            is_known = is_known || strcmp(known[k].name, name) == 0;
        }
        if (!is_known && care_is_dataset(care->io, care->dir, name)) {
            care_say(care, CARE_DAMAGE, name, "a data set's folder that the catalog does not name",
                     "its events are in no answer; was the catalog replaced by another?");
        }
    }
    return ERR_OK;
}

static enum err_code look_at_catalog(struct care *care, struct catalog *catalog, struct err *err)
{
    CLEANUP(buf_freep) struct buf list = {0};
    struct rows rows = {.rows = {0}};
    struct err what = {0};
    if (care_catalog_head(care, &what) != ERR_OK ||
        catalog_check(catalog, complain, care, &what) != ERR_OK) {
        ERR_TRY(care_found(care, "catalog.db", &what,
                           "the catalog cannot be trusted: trackway repair makes a new one", err));
    }
    enum err_code code = catalog_datasets(catalog, take_row, &rows, &what);
    list = rows.rows; /* freed with this scope */
    if (code != ERR_OK) {
        return care_found(care, "catalog.db", &what,
                          "the catalog cannot be trusted: trackway repair makes a new one", err);
    }
    const struct catalog_dataset *row = (const struct catalog_dataset *)(const void *)list.ptr;
    for (size_t i = 0; i < list.len / sizeof(*row); i++) {
        ERR_TRY(look_at_row(care, catalog, &row[i], err));
    }
    return look_for_strays(care, &list, err);
}

static enum err_code look_at_file(struct care *care, const struct care_file *file, struct err *err)
{
    char path[CARE_PATH_BYTES];
    struct err what = {0};
    uint64_t checksum = 0;
    CLEANUP(io_closep) struct io_file *opened = NULL;
    uint64_t bytes = 0;
    if (!care_path(path, care->dir, file->path)) {
        return care_path_too_long(care->dir, err);
    }
    enum err_code code = io_open(care->io, path, IO_READ, &opened, &what);
    code = code == ERR_OK ? io_size(care->io, opened, &bytes, &what) : code;
    if (code == ERR_OK && bytes != file->bytes) {
        code = err_set(&what, ERR_CORRUPT, "%" PRIu64 " bytes, the manifest says %" PRIu64, bytes,
                       file->bytes);
    }
    if (code == ERR_OK && file->has_checksum) {
        code = care_checksum(care->io, path, bytes, &checksum, &what);
        if (code == ERR_OK && checksum != file->checksum) {
            code = err_set(&what, ERR_CORRUPT,
                           "checksum mismatch: it is not the file that the backup wrote");
        }
    }
    return code == ERR_OK ? ERR_OK
                          : care_found(care, file->path, &what, "the backup is damaged", err);
}

enum err_code care_look_at_manifest(struct care *care, struct err *err)
{
    CLEANUP(care_manifest_done) struct care_manifest manifest = {0};
    char path[CARE_PATH_BYTES];
    struct err what = {0};
    if (!care_path(path, care->dir, CARE_MANIFEST)) {
        return care_path_too_long(care->dir, err);
    }
    enum err_code code = care_manifest_read(care->io, path, &manifest, &what);
    if (code == ERR_NOT_FOUND) {
        return ERR_OK; /* no backup, but a server's own folder */
    }
    if (code != ERR_OK) {
        return care_found(care, CARE_MANIFEST, &what, "what the backup should hold is not known",
                          err);
    }
    size_t count = 0;
    const struct care_file *files = care_manifest_files(&manifest, &count);
    for (size_t i = 0; i < count; i++) {
        ERR_TRY(look_at_file(care, &files[i], err));
    }
    return ERR_OK;
}

enum err_code care_verify_folder(struct care *care, struct err *err)
{
    CLEANUP(buf_freep) struct buf names = {0};
    struct catalog *catalog = NULL;
    struct err what = {0};
    char copy[CARE_COPY_BYTES] = "";
    uint32_t count = 0;
    ERR_TRY(io_list(care->io, care->dir, &names, &count, err)); /* a folder that can be read */
    ERR_TRY(care_look_at_manifest(care, err));
    if (care_catalog_open(care, &catalog, copy, &what) != ERR_OK) {
        return care_found(care, "catalog.db", &what,
                          what.code == ERR_UNSUPPORTED
                              ? "nothing in the folder can be read without it"
                              : "nothing can be read without it: trackway repair makes a new one, "
                                "or restore a backup",
                          err);
    }
    if (copy[0] != '\0') {
        care_say(
            care, CARE_LEFT_OVER, "catalog.db-journal", "a transaction was cut off",
            "the next start takes it back; a copy of the catalog was looked at as it will be then");
    }
    enum err_code code = look_at_catalog(care, catalog, err);
    care_catalog_close(care, catalog, copy);
    return code;
}

static enum err_code verify_locked(struct care *care, int locks[2], struct err *err)
{
    if (folder_lock(care->dir, FOLDER_SHARED, &locks[0], err) != ERR_OK) {
        return err->code == ERR_BUSY
                   ? err_set(err, ERR_BUSY, "%s: stop it, or verify a backup", err->message)
                   : err->code;
    }
    if (care->cold_dir != NULL) {
        ERR_TRY(cold_lock(care->cold_dir, care->dir, FOLDER_SHARED, &locks[1], err));
    }
    return care_verify_folder(care, err);
}

enum err_code care_verify(const char *dir, const char *cold_dir, struct io *io, care_finding_fn fn,
                          void *arg, struct care_sums *ret, struct err *err)
{
    struct care care = {0};
    int locks[2] = {-1, -1};
    enum err_code code = care_init(&care, dir, cold_dir, io, fn, arg, err);
    code = code == ERR_OK ? verify_locked(&care, locks, err) : code;
    for (size_t i = 0; i < COUNT_OF(locks); i++) {
        if (locks[i] >= 0) {
            (void)close(locks[i]);
        }
    }
    *ret = care.sums;
    care_done(&care);
    return code;
}
