/* storage/care_repair.c - a damaged folder becomes one that opens.
 *
 * Looked at twice: once without changing anything, so that what stops a repair (a newer version, a file that may not be
 * opened) stops it before the first change, then in earnest. Everything is moved or made first and the catalog is
 * told last, so a repair that was cut off is repeated as it stands: a file that is in quarantine
 * already is a missing one. A damaged log is cut where the damage is, for a record can be read only
 * when all before it are known; the damaged file and those behind it are kept in quarantine.
 *
 * What looks damaged is read a second time before anything is done about it: a disk that failed once is
 * no reason to take rows from answers. When all is done the folder is verified, and what is still wrong is said. */
#include "storage/care_int.h"
#include "storage/cold_owner.h"

#include "storage/folder_lock.h"

#include "storage/base/clock.h"
#include "storage/base/rng.h"
#include "storage/base/size.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES     1600
#define NAME_BYTES     320
#define SAME_NAMES_MAX 1000u
#define LOOKS          2u /* before a file counts as damaged */
#define LOG_CUTS_MAX   100000u

/* ---- saying ---- */

__attribute__((format(printf, 2, 0))) static void say(struct repair *repair, const char *format,
                                                      va_list args)
{
    char line[LINE_BYTES];
    vsnprintf(line, sizeof(line), format, args);
    buf_z(&repair->text, line);
    buf_u8(&repair->text, '\n');
    if (repair->fn != NULL) {
        repair->fn(repair->arg, line);
    }
}

void repair_say(struct repair *repair, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(repair, format, args);
    va_end(args);
}

void repair_change(struct repair *repair, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    repair->sums.changes++;
    say(repair, format, args);
    va_end(args);
}

void repair_lost_segment(struct repair *repair, const struct care_set *set, const char *name,
                         const struct catalog_segment *meta, const char *why)
{
    char span[96];
    care_span(meta->time_min_ms, meta->time_max_ms, span);
    repair->sums.rows_lost += meta->row_count;
    repair_change(repair, "%s/%s: %s: taken out, %" PRIu32 " rows %s are taken from answers",
                  care_set_label(set, meta->tier), name, why, meta->row_count, span);
}

enum err_code repair_is_damage(struct repair *repair, const char *path, const struct err *what,
                               struct err *err)
{
    CLEANUP(io_closep) struct io_file *file = NULL;
    if (what->code == ERR_NOMEM || what->code == ERR_UNSUPPORTED) {
        *err = *what;
        return err->code;
    }
    enum err_code code = io_open(repair->care.io, path, IO_READ, &file, err);
    return code == ERR_NOT_FOUND ? ERR_OK
                                 : code; /* what may not be opened is not known to be damaged */
}

/* ---- moving ---- */

static enum err_code is_there(struct repair *repair, const char *path, bool *ret, struct err *err)
{
    CLEANUP(io_closep) struct io_file *file = NULL;
    enum err_code code = io_open(repair->care.io, path, IO_READ, &file, err);
    *ret = code == ERR_OK;
    return code == ERR_NOT_FOUND ? ERR_OK : code;
}

/* A free name in the quarantine below `set_dir`, which is made. */
static enum err_code quarantine_path(struct repair *repair, const char *set_dir, const char *name,
                                     char out[CARE_PATH_BYTES], struct err *err)
{
    char dir[CARE_PATH_BYTES];
    char flat[NAME_BYTES];
    if (!care_path(dir, set_dir, "quarantine")) {
        return care_path_too_long(set_dir, err);
    }
    ERR_TRY(io_mkdir(repair->care.io, dir, err));
    ERR_TRY(io_sync_dir(repair->care.io, set_dir, err));
    snprintf(flat, sizeof(flat), "%s", name);
    for (char *at = flat; *at != '\0'; at++) {
        *at = *at == '/' ? '-' : *at;
    }
    for (uint32_t i = 1; i < SAME_NAMES_MAX; i++) {
        char numbered[NAME_BYTES + 16];
        bool is_taken = false;
        snprintf(numbered, sizeof(numbered), i == 1 ? "%s" : "%s.%" PRIu32, flat, i);
        if (!care_path(out, dir, numbered)) {
            return care_path_too_long(dir, err);
        }
        ERR_TRY(is_there(repair, out, &is_taken, err));
        if (!is_taken) {
            return ERR_OK;
        }
    }
    return err_set(err, ERR_LIMIT, "\"%s\" has %u files \"%s\"", dir, SAME_NAMES_MAX, flat);
}

static enum err_code sync_parent(struct repair *repair, const char *path, struct err *err)
{
    char dir[CARE_PATH_BYTES];
    snprintf(dir, sizeof(dir), "%.*s", (int)sizeof(dir) - 1, path);
    char *slash = strrchr(dir, '/');
    ASSERT(slash != NULL);
    *slash = '\0';
    return io_sync_dir(repair->care.io, dir, err);
}

enum err_code repair_quarantine(struct repair *repair, const struct care_set *set, uint32_t tier,
                                const char *name, struct err *err)
{
    const char *dir = care_set_dir(set, tier);
    char from[CARE_PATH_BYTES];
    char to[CARE_PATH_BYTES];
    bool has_file = false;
    if (repair->is_dry) {
        return ERR_OK;
    }
    if (!care_path(from, dir, name)) {
        return care_path_too_long(dir, err);
    }
    ERR_TRY(is_there(repair, from, &has_file, err));
    if (!has_file) {
        return ERR_OK;
    }
    ERR_TRY(quarantine_path(repair, dir, name, to, err));
    ERR_TRY(io_rename(repair->care.io, from, to, err));
    ERR_TRY(sync_parent(repair, to, err));
    return sync_parent(repair, from, err);
}

enum err_code repair_remove(struct repair *repair, const struct care_set *set, const char *name,
                            struct err *err)
{
    char path[CARE_PATH_BYTES];
    if (repair->is_dry) {
        return ERR_OK;
    }
    if (!care_path(path, set->dir, name)) {
        return care_path_too_long(set->dir, err);
    }
    enum err_code code = io_unlink(repair->care.io, path, err);
    if (code == ERR_NOT_FOUND) {
        return ERR_OK;
    }
    ERR_TRY(code);
    return sync_parent(repair, path, err);
}

/* ---- files that nothing names ---- */

/* A place where only what the lists name may lie. */
struct folder {
    uint32_t tier;
    const char *name;
    uint32_t shard; /* of a segments' folder */
};

static bool is_listed(const struct care_set *set, const struct folder *folder, const char *name)
{
    uint64_t number = 0;
    size_t count = 0;
    if (strcmp(folder->name, "wal") == 0) {
        return wal_file_number(name, &number) && number >= set->row.wal_floor;
    }
    if (strcmp(folder->name, "event-ids") == 0) {
        const struct catalog_run *runs = care_set_runs(set, &count);
        bool is_run = care_file_number(name, ".run", &number);
        for (size_t i = 0; is_run && i < count; i++) {
            if (runs[i].number == number) {
                return true;
            }
        }
        return false;
    }
    if (folder->tier == TIER_HOT && care_file_number(name, ".first", &number)) {
        return care_is_first_named(set, folder->shard, number);
    }
    const struct catalog_segment *segments = care_set_segments(set, &count);
    bool is_segment = care_file_number(name, ".seg", &number);
    for (size_t i = 0; is_segment && i < count; i++) {
        if (segments[i].tier == folder->tier && segments[i].shard == folder->shard &&
            care_set_file_number(set, &segments[i]) == number) {
            return true;
        }
    }
    return false;
}

static enum err_code left_overs_of(struct repair *repair, const struct care_set *set,
                                   const struct folder *folder, struct err *err)
{
    CLEANUP(buf_freep) struct buf names = {0};
    const char *dir = care_set_dir(set, folder->tier);
    char path[CARE_PATH_BYTES];
    uint32_t count = 0;
    if (!care_path(path, dir, folder->name)) {
        return care_path_too_long(dir, err);
    }
    enum err_code code = io_list(repair->care.io, path, &names, &count, err);
    if (code == ERR_NOT_FOUND) {
        return ERR_OK;
    }
    ERR_TRY(code);
    const char *name = (const char *)names.ptr;
    for (uint32_t i = 0; i < count; i++, name += strlen(name) + 1) {
        char below[NAME_BYTES];
        snprintf(below, sizeof(below), "%s/%.280s", folder->name, name);
        if (!is_listed(set, folder, name)) {
            repair_change(repair, "%s/%s: nothing names it: moved to quarantine",
                          care_set_label(set, folder->tier), below);
            ERR_TRY(repair_quarantine(repair, set, folder->tier, below, err));
        }
    }
    return ERR_OK;
}

enum err_code repair_left_overs(struct repair *repair, const struct care_set *set, struct err *err)
{
    char name[16];
    char path[CARE_PATH_BYTES];
    uint64_t bytes = 0;
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        snprintf(name, sizeof(name), "shard-%02" PRIu32, shard);
        ERR_TRY(left_overs_of(repair, set, &(struct folder){TIER_HOT, name, shard}, err));
        if (set->is_cold_ours) {
            ERR_TRY(left_overs_of(repair, set, &(struct folder){TIER_COLD, name, shard}, err));
        }
    }
    ERR_TRY(left_overs_of(repair, set, &(struct folder){TIER_HOT, "event-ids", 0}, err));
    ERR_TRY(left_overs_of(repair, set, &(struct folder){TIER_HOT, "wal", 0}, err));
    if (!care_path(path, set->dir, "ids.hash.new")) {
        return care_path_too_long(set->dir, err);
    }
    ERR_TRY(care_file_bytes(repair->care.io, path, &bytes, err));
    if (bytes > 0) {
        repair_change(repair, "%s/ids.hash.new: left over by a stop that was cut off: removed",
                      set->row.name);
        ERR_TRY(repair_remove(repair, set, "ids.hash.new", err));
    }
    return ERR_OK;
}

/* ---- the log ---- */

struct last_record {
    uint64_t records;
    int64_t arrival_ms;
};

static enum err_code note_record(void *arg, uint64_t seq, const struct event_batch *batch,
                                 const struct event_place *places, struct err *err)
{
    (void)places;
    struct last_record *last = arg;
    (void)seq;
    (void)err;
    last->records++;
    last->arrival_ms = batch->arrival_ms;
    return ERR_OK;
}

static void say_log(struct repair *repair, const struct care_set *set, const char *file,
                    const char *problem, const char *done, const struct last_record *last)
{
    char since[40];
    repair->sums.is_rows_lost_known = false;
    if (last->records > 0) {
        care_time(last->arrival_ms, since);
        repair_change(repair,
                      "%s/%s: %s: %s; events that arrived after %s and are in no segment yet are "
                      "taken from answers",
                      set->row.name, file, problem, done, since);
    } else {
        repair_change(repair,
                      "%s/%s: %s: %s; events that are in no segment yet are taken from answers",
                      set->row.name, file, problem, done);
    }
}

/* Log files with numbers >= first to quarantine; *ret_kept: those that stand in a row from the floor on, below it. */
static enum err_code quarantine_logs(struct repair *repair, const struct care_set *set,
                                     uint64_t first, struct err *err)
{
    CLEANUP(buf_freep) struct buf names = {0};
    char dir[CARE_PATH_BYTES];
    uint32_t count = 0;
    if (!care_path(dir, set->dir, "wal")) {
        return care_path_too_long(set->dir, err);
    }
    ERR_TRY(io_mkdir(repair->care.io, dir, err));
    ERR_TRY(io_list(repair->care.io, dir, &names, &count, err));
    const char *name = (const char *)names.ptr;
    for (uint32_t i = 0; i < count; i++, name += strlen(name) + 1) {
        uint64_t number = 0;
        char below[NAME_BYTES];
        snprintf(below, sizeof(below), "wal/%.300s", name);
        if (wal_file_number(name, &number) && number >= first) {
            repair_say(repair, "%s/%s: moved to quarantine", set->row.name, below);
            ERR_TRY(repair_quarantine(repair, set, TIER_HOT, below, err));
        }
    }
    if (first <= set->row.wal_floor) { /* the log must have its first file */
        ERR_TRY(wal_make_file(repair->care.io, dir, set->row.wal_floor, set->row.epoch + 1, err));
        ERR_TRY(io_sync_dir(repair->care.io, set->dir, err));
    }
    return ERR_OK;
}

/* The first number from the floor on that has no file. */
static enum err_code first_gap(struct repair *repair, const struct care_set *set, uint64_t *ret,
                               struct err *err)
{
    for (*ret = set->row.wal_floor;; ++*ret) {
        char name[48];
        char path[CARE_PATH_BYTES];
        bool has_file = false;
        snprintf(name, sizeof(name), "wal/%08" PRIu64 ".log", *ret);
        if (!care_path(path, set->dir, name)) {
            return care_path_too_long(set->dir, err);
        }
        ERR_TRY(is_there(repair, path, &has_file, err));
        if (!has_file) {
            return ERR_OK;
        }
    }
}

/* Keep a copy of the file, and cut it behind its last whole record. */
static enum err_code cut_file(struct repair *repair, const struct care_set *set, const char *name,
                              uint64_t off, struct err *err)
{
    CLEANUP(io_closep) struct io_file *file = NULL;
    struct io *io = repair->care.io;
    char path[CARE_PATH_BYTES];
    char to[CARE_PATH_BYTES];
    uint64_t bytes = 0;
    if (!care_path(path, set->dir, name)) {
        return care_path_too_long(set->dir, err);
    }
    ERR_TRY(quarantine_path(repair, set->dir, name, to, err));
    ERR_TRY(io_open(io, path, IO_APPEND, &file, err));
    ERR_TRY(io_size(io, file, &bytes, err));
    ERR_TRY(care_copy(io, file, bytes, to, NULL, err));
    ERR_TRY(sync_parent(repair, to, err));
    ERR_TRY(io_truncate(io, file, off, err));
    return io_sync(io, file, err);
}

/* One thing that is wrong with the log. */
static enum err_code cut_log(struct repair *repair, struct care_set *set, const struct err *what,
                             const struct last_record *last, struct err *err)
{
    char name[48];
    char problem[ERR_MESSAGE_BYTES];
    uint64_t file = set->log.at_file;
    if (file == 0) {
        ERR_TRY(first_gap(repair, set, &file, err));
        snprintf(name, sizeof(name), "wal/%08" PRIu64 ".log", file);
        say_log(repair, set, name, "missing", "the log ends before it", last);
        return repair->is_dry ? ERR_OK : quarantine_logs(repair, set, file, err);
    }
    bool has_header = set->log.end_file == file;
    snprintf(name, sizeof(name), "wal/%08" PRIu64 ".log", file);
    if (what->code == ERR_OK) {
        snprintf(problem, sizeof(problem), "the last %" PRIu64 " bytes are no whole record",
                 set->log.torn_bytes);
    } else {
        snprintf(problem, sizeof(problem), "%s", care_behind(what->message, name));
    }
    if (!has_header) {
        say_log(repair, set, name, problem, "the log ends before it", last);
        return repair->is_dry ? ERR_OK : quarantine_logs(repair, set, file, err);
    }
    say_log(repair, set, name, problem, "cut there, a copy is in quarantine", last);
    if (repair->is_dry) {
        return ERR_OK;
    }
    ERR_TRY(cut_file(repair, set, name, set->log.end_off, err));
    return quarantine_logs(repair, set, file + 1, err);
}

enum err_code repair_log(struct repair *repair, struct care_set *set, struct err *err)
{
    char path[CARE_PATH_BYTES];
    for (uint32_t i = 0; i < LOG_CUTS_MAX; i++) {
        struct last_record last = {0};
        struct err what = {0};
        char name[48];
        ERR_TRY(care_log_read(set, note_record, &last, &what, err));
        if (what.code != ERR_OK || set->log.torn_bytes > 0) {
            last = (struct last_record){0};
            ERR_TRY(care_log_read(set, note_record, &last, &what, err));
        }
        if (what.code == ERR_OK && set->log.torn_bytes == 0) {
            return ERR_OK;
        }
        snprintf(name, sizeof(name), "wal/%08" PRIu64 ".log", set->log.at_file);
        if (!care_path(path, set->dir, name)) {
            return care_path_too_long(set->dir, err);
        }
        if (what.code != ERR_OK) {
            ERR_TRY(repair_is_damage(repair, path, &what, err));
        }
        ERR_TRY(cut_log(repair, set, &what, &last, err));
        if (repair->is_dry) {
            return ERR_OK; /* what lies behind is seen when this is done */
        }
    }
    return err_set(err, ERR_CORRUPT, "data set \"%s\": its log cannot be cut", set->row.name);
}

/* ---- ids ---- */

static enum err_code open_ids(struct repair *repair, struct care_set *set, struct err *err)
{
    char path[CARE_PATH_BYTES];
    uint64_t behind = 0;
    enum ids_hash_state hash = IDS_HASH_NONE;
    if (!care_path(path, set->dir, "ids.log")) {
        return care_path_too_long(set->dir, err);
    }
    return ids_verify(repair->care.io, path, set->row.seed, set->row.ids, &set->ids, &behind, &hash,
                      err);
}

/* The old ids.log in quarantine, and where it was. */
static enum err_code keep_ids(struct repair *repair, const struct care_set *set, const char *path,
                              struct err *err)
{
    char to[CARE_PATH_BYTES];
    bool has_file = false;
    bool is_linked = false;
    uint64_t bytes = 0;
    ERR_TRY(is_there(repair, path, &has_file, err));
    if (!has_file) {
        return ERR_OK;
    }
    ERR_TRY(quarantine_path(repair, set->dir, "ids.log", to, err));
    ERR_TRY(care_link_or_copy(repair->care.io, path, to, &is_linked, &bytes, err));
    return sync_parent(repair, to, err);
}

enum err_code repair_ids(struct repair *repair, struct care_set *set, const bool *skips,
                         const char *why, struct err *err)
{
    struct io *io = repair->care.io;
    char fresh[CARE_PATH_BYTES];
    char path[CARE_PATH_BYTES];
    struct ids_mark mark = {0};
    uint64_t lost = 0;
    repair_change(repair, "%s/ids.log: %s: made again from the segments and the log", set->row.name,
                  why);
    if (repair->is_dry) {
        return ERR_OK;
    }
    if (!care_path(fresh, set->dir, "ids.log.new") || !care_path(path, set->dir, "ids.log")) {
        return care_path_too_long(set->dir, err);
    }
    ERR_TRY(care_ids_make(set, skips, fresh, &mark, &lost, err));
    ERR_TRY(repair_remove(repair, set, "ids.hash", err));
    ERR_TRY(keep_ids(repair, set, path, err));
    ERR_TRY(io_rename(io, fresh, path, err)); /* over the old one: there is one at any moment */
    ERR_TRY(io_sync_dir(io, set->dir, err));
    if (lost > 0) {
        repair_say(repair,
                   "%s/ids.log: %" PRIu64
                   " numbers of the id directory without an event that is left have lost what they stood for",
                   set->row.name, lost);
    }
    set->row.ids = mark;
    return open_ids(repair, set, err);
}

/* Keep set->row.ids; *ret_why: "" where the directory stands. */
static enum err_code check_ids(struct repair *repair, struct care_set *set,
                               char ret_why[ERR_MESSAGE_BYTES], struct err *err)
{
    CLEANUP(io_closep) struct io_file *file = NULL;
    char path[CARE_PATH_BYTES];
    struct err what = {0};
    uint64_t behind = 0;
    enum ids_hash_state hash = IDS_HASH_NONE;
    ret_why[0] = '\0';
    if (!care_path(path, set->dir, "ids.log")) {
        return care_path_too_long(set->dir, err);
    }
    bool is_sound = false;
    for (uint32_t look = 0; look < LOOKS && !is_sound; look++) {
        is_sound = ids_verify(repair->care.io, path, set->row.seed, set->row.ids, &set->ids,
                              &behind, &hash, &what) == ERR_OK;
    }
    if (!is_sound) {
        ERR_TRY(repair_is_damage(repair, path, &what, err));
        snprintf(ret_why, ERR_MESSAGE_BYTES, "%s", care_behind(what.message, "ids.log"));
        return ERR_OK;
    }
    if (hash == IDS_HASH_REFUSED) {
        repair_change(repair, "%s/ids.hash: damaged: removed, the next stop makes it again",
                      set->row.name);
        ERR_TRY(repair_remove(repair, set, "ids.hash", err));
    }
    if (behind > 0) {
        repair_change(repair, "%s/ids.log: %" PRIu64 " bytes of a flush that was cut off: cut",
                      set->row.name, behind);
    }
    if (behind > 0 && !repair->is_dry) {
        ERR_TRY(io_open(repair->care.io, path, IO_APPEND, &file, err));
        ERR_TRY(io_truncate(repair->care.io, file, set->row.ids.bytes, err));
        ERR_TRY(io_sync(repair->care.io, file, err));
    }
    return ERR_OK;
}

/* ---- one data set, with a sound catalog ---- */

struct set_repair {
    struct care_set set;
    bool *skips;             /* segments that go */
    size_t named_count;      /* segments that the catalog names: the first of the list */
    bool has_lost_cold;      /* segments that went with the cold directory */
    bool is_owner_to_write;  /* OWNER of the cold directory, once the catalog names what is there */
    struct buf dropped;      /* u64 */
    struct buf runs_dropped; /* u64 */
};

static enum err_code check_segments(struct repair *repair, struct set_repair *one, struct err *err)
{
    size_t count = 0;
    const struct catalog_segment *segments = care_set_segments(&one->set, &count);
    for (size_t i = 0; i < count; i++) {
        struct err what = {0};
        char path[CARE_PATH_BYTES];
        char name[64];
        if (repair->is_cold_lost && segments[i].tier == TIER_COLD) {
            care_set_segment_name(&one->set, &segments[i], name);
            repair_lost_segment(repair, &one->set, name, &segments[i],
                                "lost with the cold directory");
            one->skips[i] = true;
            one->has_lost_cold = true;
            continue;
        }
        if (care_segment_check(&one->set, &segments[i], &what) == ERR_OK ||
            care_segment_check(&one->set, &segments[i], &what) == ERR_OK) {
            continue;
        }
        care_set_segment_path(&one->set, &segments[i], path);
        care_set_segment_name(&one->set, &segments[i], name);
        ERR_TRY(repair_is_damage(repair, path, &what, err));
        one->skips[i] = true;
        repair_lost_segment(repair, &one->set, name, &segments[i], care_behind(what.message, path));
        ERR_TRY(repair_quarantine(repair, &one->set, segments[i].tier, name, err));
    }
    return ERR_OK;
}

/* Segments all of whose rows others hold. */
static enum err_code check_copies(struct repair *repair, struct set_repair *one, struct err *err)
{
    size_t count = 0;
    const struct catalog_segment *segments = care_set_segments(&one->set, &count);
    bool *chosen = calloc(count + 1, sizeof(*chosen));
    uint64_t lost = 0;
    if (chosen == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for %zu segments", count);
    }
    memcpy(chosen, one->skips, count * sizeof(*chosen));
    enum err_code code = care_choose(&one->set, chosen, &lost, err);
    for (size_t i = 0; code == ERR_OK && lost == 0 && i < count; i++) {
        char name[64];
        if (!chosen[i] || one->skips[i]) {
            continue;
        }
        care_set_segment_name(&one->set, &segments[i], name);
        one->skips[i] = true;
        repair_change(repair,
                      "%s/%s: all of its rows are in other segments as well: moved to quarantine",
                      care_set_label(&one->set, segments[i].tier), name);
        code = repair_quarantine(repair, &one->set, segments[i].tier, name, err);
    }
    free(chosen);
    return code;
}

static enum err_code check_runs(struct repair *repair, struct set_repair *one, struct err *err)
{
    size_t count = 0;
    const struct catalog_run *runs = care_set_runs(&one->set, &count);
    for (size_t i = 0; i < count; i++) {
        struct err what = {0};
        char path[CARE_PATH_BYTES];
        char name[64];
        if (care_run_check(&one->set, &runs[i], &what) == ERR_OK) {
            continue;
        }
        care_run_path(one->set.dir, runs[i].number, path);
        ERR_TRY(repair_is_damage(repair, path, &what, err));
        snprintf(name, sizeof(name), "event-ids/%06" PRIu64 ".run", runs[i].number);
        repair_change(repair, "%s/%s: %s: dropped, the next start makes it again from the segments",
                      one->set.row.name, name, care_behind(what.message, path));
        buf_append(&one->runs_dropped, &runs[i].number, sizeof(runs[i].number));
        ERR_TRY(repair_remove(repair, &one->set, name, err));
    }
    return buf_check(&one->runs_dropped, err);
}

/* What goes is no longer in the lists. */
static enum err_code drop_skipped(struct set_repair *one, struct err *err)
{
    size_t count = 0;
    struct catalog_segment *segments = care_set_segments(&one->set, &count);
    size_t kept = 0;
    size_t kept_named = 0;
    for (size_t i = 0; i < count; i++) {
        bool is_named = i < one->named_count;
        if (!one->skips[i]) {
            kept_named += is_named;
            segments[kept++] = segments[i];
        } else if (is_named) {
            buf_append(&one->dropped, &segments[i].number, sizeof(segments[i].number));
        }
    }
    one->named_count = kept_named;
    one->set.segments.len = kept * sizeof(*segments);
    memset(one->skips, 0, count * sizeof(*one->skips));
    return buf_check(&one->dropped, err);
}

/* ---- the cold directory ---- */

/* Of the segments that the catalog says are there: how many, and is one there and whole? */
static enum err_code look_at_cold(struct set_repair *one, uint64_t *ret_count, bool *ret_is_there,
                                  struct err *err)
{
    size_t count = 0;
    const struct catalog_segment *segments = care_set_segments(&one->set, &count);
    *ret_count = 0;
    *ret_is_there = false;
    for (size_t i = 0; i < count; i++) {
        struct err what = {0};
        if (segments[i].tier != TIER_COLD) {
            continue;
        }
        ++*ret_count;
        enum err_code code =
            *ret_is_there ? ERR_CORRUPT : care_segment_check(&one->set, &segments[i], &what);
        *ret_is_there = *ret_is_there || code == ERR_OK;
        if (code == ERR_NOMEM) {
            *err = what;
            return code;
        }
    }
    return ERR_OK;
}

static enum err_code take_strangers(struct repair *repair, struct set_repair *one, bool has_named,
                                    struct err *err)
{
    CLEANUP(ids_closep) struct ids *ids = NULL;
    struct care_set *set = &one->set;
    if (set->ids == NULL) {
        ERR_TRY(care_ids_whole(set, &ids, err));
    }
    struct cold_take take = {.ids = set->ids == NULL ? ids : set->ids, .is_ours_anyway = has_named};
    ERR_TRY(repair_take_cold(repair, set, &take, err));
    return take.taken == 0 ? ERR_OK : care_set_take_columns(set, one->named_count, err);
}

/* Is what lies in the cold directory this data set's? A segment of it that is whole says so, whatever OWNER says: the
 * wrong directory must not cost what is safe in the right one. */
static enum err_code check_cold(struct repair *repair, struct set_repair *one, struct err *err)
{
    struct care_set *set = &one->set;
    enum cold_owner owner = COLD_NOBODYS;
    uint64_t named = 0;
    bool is_there = false;
    if (set->cold[0] == '\0') {
        return ERR_OK;
    }
    ERR_TRY(cold_owner_read(repair->care.io, set->cold, catalog_cold_owner(&set->row), &owner, NULL,
                            err));
    set->is_cold_ours = owner == COLD_OURS;
    if (set->is_cold_ours) {
        return ERR_OK;
    }
    ERR_TRY(look_at_cold(one, &named, &is_there, err));
    if (named > 0 && !is_there) {
        return err_set(err, ERR_INVALID,
                       "\"%s\" is not where its %" PRIu64 " cold segments were moved to: option "
                       "--cold-dir; or --cold-lost, where that is gone for good",
                       set->cold, named);
    }
    ERR_TRY(take_strangers(repair, one, named > 0, err));
    one->is_owner_to_write = set->is_cold_ours;
    if (set->is_cold_ours) {
        repair_change(repair, "%s/" COLD_OWNER ": %s: written again", set->cold,
                      owner == COLD_NOBODYS ? "missing" : "it names another data set");
    }
    return ERR_OK;
}

/* Segments that were taken in may have subjects that ids.log does not name. */
static void check_subjects(const struct set_repair *one, char why[ERR_MESSAGE_BYTES])
{
    const struct care_set *set = &one->set;
    size_t count = 0;
    const struct catalog_segment *segments = care_set_segments(set, &count);
    for (size_t i = one->named_count; i < count && why[0] == '\0'; i++) {
        CLEANUP(segment_closep) struct segment *segment = NULL;
        char path[CARE_PATH_BYTES];
        struct err ignored;
        care_set_segment_path(set, &segments[i], path);
        if (care_segment_open(set, path, NULL, &segment, &ignored) == ERR_OK &&
            segment_source(segment)->subject_last >= ids_subjects(set->ids, segments[i].shard)) {
            snprintf(why, ERR_MESSAGE_BYTES,
                     "segments of the cold directory have subjects that it does not name");
        }
    }
}

/* Tell the catalog, then OWNER: while that names another, nothing in the cold directory is an orphan. */
static enum err_code commit(struct repair *repair, struct set_repair *one,
                            const struct ids_mark *mark, struct catalog *catalog, struct err *err)
{
    struct care_set *set = &one->set;
    CLEANUP(buf_freep) struct buf counts = {0};
    size_t count = 0;
    const struct catalog_segment *segments = care_set_segments(set, &count);
    struct catalog_change change = {
        .dataset = &set->row,
        .added = segments + one->named_count,
        .added_count = (uint32_t)(count - one->named_count),
        .dropped = (const uint64_t *)(const void *)one->dropped.ptr,
        .dropped_count = (uint32_t)(one->dropped.len / sizeof(uint64_t)),
        .runs_dropped = (const uint64_t *)(const void *)one->runs_dropped.ptr,
        .runs_dropped_count = (uint32_t)(one->runs_dropped.len / sizeof(uint64_t)),
    };
    if (change.added_count > 0) {
        ERR_TRY(care_set_value_counts(set, &counts, err));
        change.schema = set->schema;
        change.value_counts = (const uint64_t *)(const void *)counts.ptr;
        change.column_count = schema_count(set->schema);
    }
    if (change.added_count + change.dropped_count + change.runs_dropped_count > 0 ||
        mark->count != set->row.ids.count || mark->bytes != set->row.ids.bytes) {
        ERR_TRY(catalog_apply(catalog, &change, err));
    }
    return one->is_owner_to_write
               ? cold_owner_write(repair->care.io, set->cold, catalog_cold_owner(&set->row), err)
               : ERR_OK;
}

static enum err_code make_skips(struct set_repair *one, struct err *err)
{
    size_t count = 0;
    (void)care_set_segments(&one->set, &count);
    one->skips = calloc(count + 1, sizeof(*one->skips));
    return one->skips != NULL ? ERR_OK
                              : err_set(err, ERR_NOMEM, "no memory for %zu segments", count);
}

static enum err_code repair_parts(struct repair *repair, struct set_repair *one,
                                  struct catalog *catalog, struct err *err)
{
    struct care_set *set = &one->set;
    char why[ERR_MESSAGE_BYTES];
    ERR_TRY(care_set_load(set, catalog, err));
    (void)care_set_segments(set, &one->named_count);
    if (!repair->is_dry) {
        ERR_TRY(io_mkdir(repair->care.io, set->dir, err)); /* it may be missing altogether */
        ERR_TRY(io_sync_dir(repair->care.io, repair->care.dir, err));
    }
    const struct ids_mark mark = set->row.ids;
    ERR_TRY(check_ids(repair, set, why, err));
    ERR_TRY(check_cold(repair, one, err));
    if (set->ids != NULL) {
        check_subjects(one, why);
    }
    if (why[0] != '\0') { /* what is made again below has them all */
        ids_close(TAKE(set->ids));
    }
    ERR_TRY(make_skips(one, err));
    ERR_TRY(check_segments(repair, one, err));
    ERR_TRY(check_copies(repair, one, err));
    if (why[0] != '\0') {
        ERR_TRY(repair_ids(repair, set, one->skips, why, err));
    }
    ERR_TRY(drop_skipped(one, err));
    ERR_TRY(repair_firsts(repair, set, &one->dropped, err));
    ERR_TRY(repair_log(repair, set, err));
    ERR_TRY(check_runs(repair, one, err));
    ERR_TRY(repair_left_overs(repair, set, err));
    if (repair->is_dry) {
        return ERR_OK;
    }
    if (one->has_lost_cold) { /* found again, what is in it must not be an orphan */
        ERR_TRY(rng_system(&set->row.cold_owner_id, sizeof(set->row.cold_owner_id), err));
    }
    ERR_TRY(repair_rename_cold(repair, set, err));
    return commit(repair, one, &mark, catalog, err);
}

static enum err_code repair_set(struct repair *repair, const struct catalog_dataset *row,
                                struct catalog *catalog, struct err *err)
{
    struct set_repair one = {.skips = NULL};
    uint64_t changes = repair->sums.changes;
    uint64_t rows_lost = repair->sums.rows_lost;
    enum err_code code = care_set_init(&one.set, &repair->care, row, err);
    code = code == ERR_OK ? repair_parts(repair, &one, catalog, err) : code;
    care_set_done(&one.set);
    free(one.skips);
    buf_done(&one.dropped);
    buf_done(&one.runs_dropped);
    if (code != ERR_OK) {
        return err_context(err, "data set \"%s\"", row->name);
    }
    if (repair->sums.changes > changes) {
        repair_say(repair,
                   "data set \"%s\": %" PRIu64 " changes, %" PRIu64
                   " rows of segments taken from answers",
                   row->name, repair->sums.changes - changes, repair->sums.rows_lost - rows_lost);
    }
    return ERR_OK;
}

/* ---- the folder ---- */

static enum err_code take_row(void *arg, const struct catalog_dataset *row, struct err *err)
{
    struct buf *rows = arg;
    buf_append(rows, row, sizeof(*row));
    return buf_check(rows, err);
}

static enum err_code first_complaint(void *arg, const char *complaint, struct err *err)
{
    (void)arg;
    return err_set(err, ERR_CORRUPT, "%s", complaint);
}

/* The rows of a catalog that can be believed: ERR_CORRUPT where it cannot. */
static enum err_code read_catalog(struct repair *repair, struct catalog *catalog, struct buf *rows,
                                  struct err *err)
{
    ERR_TRY(care_catalog_head(&repair->care, err));
    ERR_TRY(catalog_check(catalog, first_complaint, NULL, err));
    ERR_TRY(catalog_datasets(catalog, take_row, rows, err));
    const struct catalog_dataset *row = (const struct catalog_dataset *)(const void *)rows->ptr;
    for (size_t i = 0; i < rows->len / sizeof(*row); i++) {
        struct care_set set = {.care = NULL};
        enum err_code code = care_set_init(&set, &repair->care, &row[i], err);
        code = code == ERR_OK ? care_set_load(&set, catalog, err) : code;
        care_set_done(&set);
        ERR_TRY(code);
    }
    return ERR_OK;
}

/* Folders of data sets that no row names: the catalog is of another time, or a name in it is damaged. */
static enum err_code adopt_strays(struct repair *repair, const struct buf *rows,
                                  struct catalog *catalog, struct err *err)
{
    CLEANUP(buf_freep) struct buf names = {0};
    const struct catalog_dataset *row = (const struct catalog_dataset *)(const void *)rows->ptr;
    struct care *care = &repair->care;
    uint32_t count = 0;
    ERR_TRY(io_list(care->io, care->dir, &names, &count, err));
    const char *name = (const char *)names.ptr;
    for (uint32_t i = 0; i < count; i++, name += strlen(name) + 1) {
        bool is_known = false;
        for (size_t k = 0; k < rows->len / sizeof(*row); k++) {
            is_known = is_known || strcmp(row[k].name, name) == 0;
        }
        if (!is_known && care_is_dataset(care->io, care->dir, name)) {
            ERR_TRY(repair_adopt(repair, repair->is_dry ? NULL : catalog, name, err));
        }
    }
    return ERR_OK;
}

static enum err_code repair_sets(struct repair *repair, const struct buf *rows,
                                 struct catalog *catalog, struct err *err)
{
    const struct catalog_dataset *row = (const struct catalog_dataset *)(const void *)rows->ptr;
    for (size_t i = 0; i < rows->len / sizeof(*row); i++) {
        ERR_TRY(repair_set(repair, &row[i], catalog, err));
    }
    return adopt_strays(repair, rows, catalog, err);
}

static enum err_code repair_with(struct repair *repair, struct catalog *looked_at,
                                 const struct buf *rows, struct err *err)
{
    CLEANUP(catalog_closep) struct catalog *catalog = NULL;
    char path[CARE_PATH_BYTES];
    if (repair->is_dry) {
        return repair_sets(repair, rows, looked_at, err);
    }
    if (!care_path(path, repair->care.dir, "catalog.db")) {
        return care_path_too_long(repair->care.dir, err);
    }
    ERR_TRY(catalog_open(path, false, &catalog, err)); /* takes back what was cut off */
    return repair_sets(repair, rows, catalog, err);
}

/* With the catalog as it is, or a new one. */
static enum err_code repair_folder(struct repair *repair, struct err *err)
{
    struct catalog *catalog = NULL;
    char copy[CARE_COPY_BYTES] = "";
    CLEANUP(buf_freep) struct buf rows = {0};
    struct err what = {0};
    char path[CARE_PATH_BYTES];
    if (!care_path(path, repair->care.dir, "catalog.db")) {
        return care_path_too_long(repair->care.dir, err);
    }
    enum err_code code = ERR_CORRUPT;
    for (uint32_t look = 0; look < LOOKS && code != ERR_OK; look++) {
        care_catalog_close(&repair->care, TAKE(catalog), copy);
        buf_clear(&rows);
        code = care_catalog_open(&repair->care, &catalog, copy, &what);
        code = code == ERR_OK ? read_catalog(repair, catalog, &rows, &what) : code;
    }
    if (code == ERR_OK) {
        if (copy[0] != '\0') {
            repair_change(repair, "catalog.db-journal: a transaction that was cut off: taken back");
        }
        code = repair_with(repair, catalog, &rows, err);
        care_catalog_close(&repair->care, catalog, copy);
        return code;
    }
    care_catalog_close(&repair->care, catalog, copy);
    ERR_TRY(repair_is_damage(repair, path, &what, err));
    return repair_rebuild(repair, care_behind(what.message, path), err);
}

/* A backup whose files are no longer those of its manifest is a data folder. */
static enum err_code drop_manifest(struct repair *repair, struct err *err)
{
    char path[CARE_PATH_BYTES];
    uint64_t bytes = 0;
    struct care care = {.dir = repair->care.dir, .io = repair->care.io};
    if (!care_path(path, repair->care.dir, CARE_MANIFEST)) {
        return care_path_too_long(repair->care.dir, err);
    }
    ERR_TRY(care_file_bytes(repair->care.io, path, &bytes, err));
    ERR_TRY(care_look_at_manifest(&care, err));
    if (bytes == 0 || (repair->sums.changes == 0 && care.sums.damaged == 0)) {
        return ERR_OK;
    }
    repair_change(repair,
                  CARE_MANIFEST ": removed: the folder is no longer the backup that it names");
    if (repair->is_dry) {
        return ERR_OK;
    }
    ERR_TRY(io_unlink(repair->care.io, path, err));
    return io_sync_dir(repair->care.io, repair->care.dir, err);
}

static enum err_code run(struct repair *repair, struct err *err)
{
    ERR_TRY(repair_folder(repair, err));
    return drop_manifest(repair, err);
}

/* ---- the report ---- */

static void say_finding(void *arg, const struct care_finding *finding)
{
    repair_say(arg, "still wrong: %.200s: %.400s - %.400s", finding->file, finding->problem,
               finding->meaning);
}

static enum err_code write_report(struct repair *repair, struct err *err)
{
    CLEANUP(io_closep) struct io_file *file = NULL;
    char path[CARE_PATH_BYTES];
    time_t seconds = (time_t)(repair->now_ms / 1000);
    struct tm tm;
    char stamp[32] = "";
    if (gmtime_r(&seconds, &tm) != NULL) {
        (void)!strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm);
    }
    snprintf(repair->sums.report, sizeof(repair->sums.report), "_repair-%s.txt", stamp);
    if (!care_path(path, repair->care.dir, repair->sums.report)) {
        return care_path_too_long(repair->care.dir, err);
    }
    ERR_TRY(buf_check(&repair->text, err));
    ERR_TRY(io_open(repair->care.io, path, IO_CREATE, &file, err));
    ERR_TRY(io_write(repair->care.io, file, 0, repair->text.ptr, repair->text.len, err));
    ERR_TRY(io_sync(repair->care.io, file, err));
    return io_sync_dir(repair->care.io, repair->care.dir, err);
}

static void begin(struct repair *repair, bool is_dry, care_line_fn fn, void *arg)
{
    repair->is_dry = is_dry;
    repair->fn = fn;
    repair->arg = arg;
    repair->sums = (struct repair_sums){.is_rows_lost_known = true};
    buf_clear(&repair->text);
}

static enum err_code repair_locked(struct repair *repair, const struct repair_opts *opts,
                                   care_line_fn fn, void *arg, struct err *err)
{
    repair->is_cold_lost = opts->is_cold_lost;
    begin(repair, true, opts->is_dry_run ? fn : NULL, arg);
    ERR_TRY(run(repair, err));
    if (opts->is_dry_run || repair->sums.changes == 0) {
        return ERR_OK;
    }
    char now[40];
    care_time(repair->now_ms, now);
    begin(repair, false, fn, arg);
    buf_printf(&repair->text, "trackway repair of %s at %s\n", repair->care.dir, now);
    ERR_TRY(run(repair, err));
    repair->care.fn = say_finding;
    repair->care.arg = repair;
    ERR_TRY(care_verify_folder(&repair->care, err));
    repair->care.fn = NULL;
    return write_report(repair, err);
}

/* Nothing is put into a folder that is none of ours. */
static enum err_code check_ours(struct io *io, const char *dir, struct err *err)
{
    CLEANUP(buf_freep) struct buf names = {0};
    uint32_t count = 0;
    bool is_ours = false;
    ERR_TRY(io_list(io, dir, &names, &count, err));
    const char *name = (const char *)names.ptr;
    for (uint32_t i = 0; i < count; i++, name += strlen(name) + 1) {
        is_ours = is_ours || strcmp(name, "catalog.db") == 0 || care_is_dataset(io, dir, name);
    }
    return is_ours
               ? ERR_OK
               : err_set(err, ERR_NOT_FOUND,
                         "\"%s\" is no data folder: it has neither catalog.db nor a data set", dir);
}

static enum err_code lock_and_repair(struct repair *repair, int locks[2],
                                     const struct repair_opts *opts, care_line_fn fn, void *arg,
                                     struct err *err)
{
    enum folder_lock_mode mode = opts->is_dry_run ? FOLDER_SHARED : FOLDER_ALONE;
    const struct care *care = &repair->care;
    ERR_TRY(folder_lock(care->dir, mode, &locks[0], err));
    if (care->cold_dir != NULL) {
        ERR_TRY(cold_lock(care->cold_dir, care->dir, mode, &locks[1], err));
    }
    return repair_locked(repair, opts, fn, arg, err);
}

enum err_code care_repair(const char *dir, const struct repair_opts *opts, struct io *io,
                          care_line_fn fn, void *arg, struct repair_sums *ret, struct err *err)
{
    struct repair repair = {.now_ms = clock_wall_ms()};
    CLEANUP(buf_freep) struct buf text = {0};
    int locks[2] = {-1, -1};
    if (opts->is_cold_lost && opts->cold_dir != NULL) {
        return err_set(err, ERR_INVALID, "a cold directory that is lost cannot be looked into");
    }
    ERR_TRY(check_ours(io, dir, err));
    enum err_code code = care_init(&repair.care, dir, opts->cold_dir, io, NULL, NULL, err);
    code = code == ERR_OK ? lock_and_repair(&repair, locks, opts, fn, arg, err) : code;
    text = repair.text; /* freed with this scope */
    for (size_t i = 0; i < COUNT_OF(locks); i++) {
        if (locks[i] >= 0) {
            (void)close(locks[i]);
        }
    }
    *ret = repair.sums;
    care_done(&repair.care);
    return code;
}
