/* storage/care_rebuild.c - a new catalog, from segments, ids.log and the log.
 *
 *    of the old one   what it still says, where it can be read: zones, settings, deleted subjects
 *    segments         every one that is whole, in the cold directory too where that is given; of
 *                     those that hold copies of each other's rows (a compaction was cut off) as many
 *                     as leave each row once, and none whose rows the log holds all of (a flush was
 *                     cut off: the log will be replayed)
 *    ids.log          all whole frames; what lies behind them is in the log
 *    log              the files that stand in a row up to the last: each names all columns with their
 *                     numbers in its first record, so that they can be read without the catalog
 *    columns          those of the log by their numbers, then those of the segments
 *
 * The new catalog is written as `_catalog.new`; then the old journal and the old catalog are moved
 * to `_catalog-damaged*`, and the new one gets its name. In between there is none, and a server that
 * finds none beside data sets does not start. */
#include "storage/care_int.h"
#include "storage/cold_owner.h"

#include "storage/base/rd.h"
#include "storage/base/rng.h"
#include "storage/base/size.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOKS       2u /* before a file counts as damaged */
#define NEW_CATALOG "_catalog.new"

struct rebuild {
    struct repair *repair;
    struct catalog *old;   /* NULL: it cannot be read at all */
    struct catalog *fresh; /* NULL in a dry run */
    struct buf old_rows;   /* struct catalog_dataset, as far as they could be read */
};

struct set_rebuild {
    struct rebuild *rebuild;
    struct care_set set;
    bool *skips;
    uint64_t number_max;
    uint32_t subject_end[SHARD_COUNT];
    struct buf deleted; /* struct event_place-like pairs: u32 shard, u32 subject */
    bool is_salvaged;
    uint64_t old_owner_id; /* of what was salvaged: of the cold directory */
    bool has_cold;         /* likewise: segments in the cold directory */
};

/* ---- what the old one still says ---- */

static enum err_code take_row(void *arg, const struct catalog_dataset *row, struct err *err)
{
    struct buf *rows = arg;
    buf_append(rows, row, sizeof(*row));
    return buf_check(rows, err);
}

static enum err_code take_deleted(void *arg, uint32_t shard, uint32_t subject, struct err *err)
{
    struct set_rebuild *one = arg;
    uint32_t pair[2] = {shard, subject};
    if (subject < UINT32_MAX) {
        buf_append(&one->deleted, pair, sizeof(pair));
        one->set.deleted_end[shard] = MAX_OF(one->set.deleted_end[shard], subject + 1);
    }
    return buf_check(&one->deleted, err);
}

static enum err_code note_tier(void *arg, const struct catalog_segment *segment, struct err *err)
{
    struct set_rebuild *one = arg;
    (void)err;
    one->has_cold = one->has_cold || segment->tier == TIER_COLD;
    return ERR_OK;
}

static void salvage_rows(struct rebuild *rebuild)
{
    struct err ignored;
    if (rebuild->old != NULL) { /* what was read before it met the damage stays */
        (void)!catalog_datasets(rebuild->old, take_row, &rebuild->old_rows, &ignored);
    }
}

static void salvage(struct set_rebuild *one, struct catalog_dataset *row)
{
    const struct rebuild *rebuild = one->rebuild;
    const struct catalog_dataset *old =
        (const struct catalog_dataset *)(const void *)rebuild->old_rows.ptr;
    struct err ignored;
    for (size_t i = 0; i < rebuild->old_rows.len / sizeof(*old); i++) {
        if (strcmp(old[i].name, row->name) == 0) {
            memcpy(row->zone, old[i].zone, sizeof(row->zone));
            row->settings = old[i].settings;
            row->identity_version = MAX_OF(old[i].identity_version, UINT64_C(1));
            row->id = old[i].id;
            one->old_owner_id = catalog_cold_owner(&old[i]);
            one->is_salvaged = true;
        }
    }
    if (one->is_salvaged) {
        (void)!catalog_deleted(rebuild->old, row->id, take_deleted, one, &ignored);
        (void)!catalog_segments(rebuild->old, row->id, note_tier, one, &ignored);
    }
}

/* ---- segments ---- */

static bool number_is_taken(const struct care_set *set, uint64_t number)
{
    size_t count = 0;
    const struct catalog_segment *segments = care_set_segments(set, &count);
    for (size_t i = 0; i < count; i++) {
        if (segments[i].number == number) {
            return true;
        }
    }
    const struct catalog_segment *firsts = care_set_firsts(set, &count);
    for (size_t i = 0; i < count; i++) {
        if (firsts[i].number == number) {
            return true;
        }
    }
    return false;
}

static enum err_code take_segment(struct set_rebuild *one, const char *name, uint32_t shard,
                                  uint64_t number, struct err *err)
{
    struct repair *repair = one->rebuild->repair;
    struct care_segment_facts facts = {
        .meta = {.number = number, .shard = shard, .tier = TIER_HOT}};
    struct err what = {0};
    char path[CARE_PATH_BYTES];
    if (!care_path(path, one->set.dir, name)) {
        return care_path_too_long(one->set.dir, err);
    }
    enum err_code code = err_set(&what, ERR_CORRUPT, "its number is another's");
    bool is_free = number != 0 && !number_is_taken(&one->set, number);
    for (uint32_t look = 0; look < LOOKS && is_free && code != ERR_OK; look++) {
        code = care_segment_read(&one->set, path, &facts, &what);
    }
    if (code == ERR_OK) {
        struct catalog_dataset *row = &one->set.row;
        row->watermark_ms = MAX_OF(row->watermark_ms, facts.watermark_ms);
        row->identity_version = MAX_OF(row->identity_version, facts.identity_version);
        buf_append(&one->set.segments, &facts.meta, sizeof(facts.meta));
        return buf_check(&one->set.segments, err);
    }
    ERR_TRY(repair_is_damage(repair, path, &what, err));
    if (facts.meta.row_count > 0) {
        repair_lost_segment(repair, &one->set, name, &facts.meta, care_behind(what.message, path));
    } else {
        repair->sums.is_rows_lost_known = false;
        repair_change(
            repair,
            "%s/%s: %s: taken out; how many rows it held, and of which time, cannot be told",
            one->set.row.name, name, care_behind(what.message, path));
    }
    return repair_quarantine(repair, &one->set, TIER_HOT, name, err);
}

/* The largest number in a folder's names, whatever follows it. */
static void note_number(struct set_rebuild *one, const char *name)
{
    uint64_t number = 0;
    if (strncmp(name, "shard-", 6) == 0 && strlen(name) > 9) {
        name += 9; /* as quarantine names them */
    }
    for (uint32_t digits = 0; name[digits] >= '0' && name[digits] <= '9' && digits < 18; digits++) {
        number = number * 10 + (uint64_t)(name[digits] - '0');
    }
    one->number_max = MAX_OF(one->number_max, number);
}

static enum err_code list(struct set_rebuild *one, const char *dir, const char *folder,
                          struct buf *names, uint32_t *ret_count, struct err *err)
{
    char path[CARE_PATH_BYTES];
    *ret_count = 0;
    if (!care_path(path, dir, folder)) {
        return care_path_too_long(dir, err);
    }
    enum err_code code = io_list(one->set.care->io, path, names, ret_count, err);
    return code == ERR_NOT_FOUND ? ERR_OK : code;
}

/* Numbers are never given again: not those of files in quarantine either. */
static enum err_code note_numbers(struct set_rebuild *one, const char *dir, const char *folder,
                                  struct err *err)
{
    CLEANUP(buf_freep) struct buf names = {0};
    uint32_t count = 0;
    ERR_TRY(list(one, dir, folder, &names, &count, err));
    const char *name = (const char *)names.ptr;
    for (uint32_t i = 0; i < count; i++, name += strlen(name) + 1) {
        note_number(one, name);
    }
    return ERR_OK;
}

static enum err_code take_segments_of(struct set_rebuild *one, const char *folder, uint32_t shard,
                                      struct err *err)
{
    CLEANUP(buf_freep) struct buf names = {0};
    uint32_t count = 0;
    ERR_TRY(list(one, one->set.dir, folder, &names, &count, err));
    const char *name = (const char *)names.ptr;
    for (uint32_t i = 0; i < count; i++, name += strlen(name) + 1) {
        uint64_t number = 0;
        char below[64];
        if (care_file_number(name, ".seg", &number)) {
            snprintf(below, sizeof(below), "%s/%.40s", folder, name);
            ERR_TRY(take_segment(one, below, shard, number, err));
        } else if (care_file_number(name, ".first", &number) && number != 0 &&
                   !number_is_taken(&one->set, number)) {
            ERR_TRY(rebuild_take_first(one->rebuild->repair, &one->set, shard, number, err));
        }
    }
    return note_numbers(one, one->set.dir, folder, err);
}

static int by_number(const void *a, const void *b)
{
    const struct catalog_segment *x = a;
    const struct catalog_segment *y = b;
    return (x->number > y->number) - (x->number < y->number);
}

/* Without a look into the cold directory: what may be there, and how it comes back. */
static void say_cold(struct set_rebuild *one)
{
    if (!one->is_salvaged || one->set.row.settings.cold_after_ms > 0 || one->has_cold) {
        repair_say(
            one->rebuild->repair,
            "data set \"%s\": segments in a cold directory, if it has any, were not looked "
            "at: they stay there and are in no answer until trackway repair --cold-dir takes "
            "them in",
            one->set.row.name);
    }
}

/* The segments in the cold directory. The data set takes the name of its owner, so that it is that at the very moment
 * when its catalog names them. */
static enum err_code take_cold(struct set_rebuild *one, struct err *err)
{
    CLEANUP(ids_closep) struct ids *ids = NULL;
    struct repair *repair = one->rebuild->repair;
    struct care_set *set = &one->set;
    enum cold_owner owner = COLD_NOBODYS;
    uint64_t owner_id = 0;
    if (set->cold[0] == '\0') {
        say_cold(one);
        return ERR_OK;
    }
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        char folder[16];
        snprintf(folder, sizeof(folder), "shard-%02" PRIu32, shard);
        ERR_TRY(note_numbers(one, set->cold, folder, err));
    }
    ERR_TRY(note_numbers(one, set->cold, "quarantine", err));
    set->row.next_segment = MAX_OF(set->row.next_segment, one->number_max + 1);
    ERR_TRY(cold_owner_read(repair->care.io, set->cold, 0, &owner, &owner_id, err));
    ERR_TRY(care_ids_whole(set, &ids, err));
    struct cold_take take = {
        .ids = ids,
        .is_ours_anyway = one->is_salvaged && owner_id != 0 && owner_id == one->old_owner_id,
        .is_catalog_lost = true,
    };
    ERR_TRY(repair_take_cold(repair, set, &take, err));
    if (!set->is_cold_ours) {
        return ERR_OK;
    }
    if (owner_id != 0) {
        set->row.cold_owner_id = owner_id;
    } else if (!repair
                    ->is_dry) { /* nobody else has that name: it may be there before the catalog */
        ERR_TRY(cold_owner_write(repair->care.io, set->cold, catalog_cold_owner(&set->row), err));
    }
    return ERR_OK;
}

static enum err_code take_segments(struct set_rebuild *one, struct err *err)
{
    char folder[16];
    size_t count = 0;
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        snprintf(folder, sizeof(folder), "shard-%02" PRIu32, shard);
        ERR_TRY(take_segments_of(one, folder, shard, err));
    }
    ERR_TRY(note_numbers(one, one->set.dir, "quarantine", err));
    ERR_TRY(note_numbers(one, one->set.dir, "event-ids", err));
    one->set.row.next_segment = one->number_max + 1;
    ERR_TRY(take_cold(one, err));
    struct catalog_segment *segments = care_set_segments(&one->set, &count);
    if (count > 1) {
        qsort(segments, count, sizeof(*segments), by_number);
    }
    one->skips = calloc(count + 1, sizeof(*one->skips));
    return one->skips == NULL ? err_set(err, ERR_NOMEM, "no memory for %zu segments", count)
                              : ERR_OK;
}

/* Take the segments to skip out of the list, and out of their folders. */
static enum err_code drop_skipped(struct set_rebuild *one, const char *why, struct err *err)
{
    size_t count = 0;
    size_t kept = 0;
    struct catalog_segment *segments = care_set_segments(&one->set, &count);
    for (size_t i = 0; i < count; i++) {
        char name[64];
        if (!one->skips[i]) {
            segments[kept++] = segments[i];
            continue;
        }
        care_set_segment_name(&one->set, &segments[i], name);
        repair_change(one->rebuild->repair, "%s/%s: %s: moved to quarantine",
                      care_set_label(&one->set, segments[i].tier), name, why);
        ERR_TRY(repair_quarantine(one->rebuild->repair, &one->set, segments[i].tier, name, err));
    }
    one->set.segments.len = kept * sizeof(*segments);
    memset(one->skips, 0, count * sizeof(*one->skips));
    return ERR_OK;
}

static enum err_code drop_copies(struct set_rebuild *one, struct err *err)
{
    struct repair *repair = one->rebuild->repair;
    uint64_t lost = 0;
    ERR_TRY(care_choose(&one->set, one->skips, &lost, err));
    if (lost > 0) {
        repair->sums.rows_lost += lost;
        repair_change(repair,
                      "data set \"%s\": %" PRIu64
                      " rows are only in segments that overlap larger ones: "
                      "taken from answers (rows of deleted subjects, if a compaction was cut off)",
                      one->set.row.name, lost);
    }
    return drop_skipped(one, "its rows are in other segments", err);
}

/* ---- the log ---- */

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The floor: from there to the last file none is missing. */
static enum err_code find_floor(struct set_rebuild *one, struct err *err)
{
    CLEANUP(buf_freep) struct buf names = {0};
    CLEANUP(buf_freep) struct buf numbers = {0};
    uint32_t count = 0;
    ERR_TRY(list(one, one->set.dir, "wal", &names, &count, err));
    const char *name = (const char *)names.ptr;
    for (uint32_t i = 0; i < count; i++, name += strlen(name) + 1) {
        uint64_t number = 0;
        if (wal_file_number(name, &number) && number > 0) {
            buf_append(&numbers, &number, sizeof(number));
        }
    }
    ERR_TRY(buf_check(&numbers, err));
    uint64_t *at = (uint64_t *)(void *)numbers.ptr;
    size_t file_count = numbers.len / sizeof(*at);
    if (file_count == 0) {
        return ERR_OK;
    }
    qsort(at, file_count, sizeof(*at), by_value);
    size_t first = file_count - 1;
    while (first > 0 && at[first - 1] + 1 == at[first]) {
        first--;
    }
    one->set.row.wal_floor = at[first];
    return ERR_OK;
}

/* The log begins behind the last commit that is surely in segments. */
static enum err_code find_epoch(struct set_rebuild *one, struct err *err)
{
    CLEANUP(io_closep) struct io_file *file = NULL;
    struct io *io = one->set.care->io;
    uint8_t head[WAL_HEADER_BYTES];
    char name[48];
    char path[CARE_PATH_BYTES];
    uint64_t bytes = 0;
    snprintf(name, sizeof(name), "wal/%08" PRIu64 ".log", one->set.row.wal_floor);
    if (!care_path(path, one->set.dir, name)) {
        return care_path_too_long(one->set.dir, err);
    }
    enum err_code code = io_open(io, path, IO_READ, &file, err);
    if (code == ERR_NOT_FOUND) {
        return ERR_OK;
    }
    ERR_TRY(code);
    ERR_TRY(io_size(io, file, &bytes, err));
    if (bytes < sizeof(head)) {
        return ERR_OK; /* repair_log tells */
    }
    ERR_TRY(io_read(io, file, 0, head, sizeof(head), err));
    struct rd rd = rd_init((struct str){(const char *)head, sizeof(head)});
    rd_skip(&rd, 16);
    uint64_t first_seq = rd_u64(&rd);
    if (rd_u64(&rd) == checksum64(head, WAL_HEADER_BYTES - 8) && first_seq > 0) {
        one->set.row.epoch = first_seq - 1;
    }
    return ERR_OK;
}

struct logged_rows {
    struct set_rebuild *one;
    uint8_t *is_stored; /* by row of the log: a segment has it */
    uint64_t *logged;   /* by segment: how many of its rows the log has */
    uint64_t row_count, row;
    bool is_over;
};

static enum err_code note_logged(void *arg, const struct care_row *rows, uint32_t count,
                                 struct err *err)
{
    struct logged_rows *logged = arg;
    (void)err;
    bool has_log = false;
    bool has_segment = false;
    for (uint32_t i = 0; i < count; i++) {
        has_log = has_log || rows[i].source == CARE_LOG_SOURCE;
        has_segment = has_segment || rows[i].source != CARE_LOG_SOURCE;
    }
    for (uint32_t i = 0; i < count && has_log && has_segment; i++) {
        if (rows[i].source != CARE_LOG_SOURCE) {
            logged->logged[rows[i].source]++;
        } else if (rows[i].row < logged->row_count) {
            logged->is_stored[rows[i].row] = 1;
        }
    }
    return ERR_OK;
}

/* Records all of whose events are in segments, up to the first that is not so. */
static enum err_code note_epoch(void *arg, uint64_t seq, const struct event_batch *batch,
                                const struct event_place *places, struct err *err)
{
    (void)places;
    struct logged_rows *logged = arg;
    (void)err;
    for (uint32_t i = 0; i < batch->event_count; i++, logged->row++) {
        logged->is_over = logged->is_over || logged->row >= logged->row_count ||
                          logged->is_stored[logged->row] == 0;
    }
    if (!logged->is_over) {
        logged->one->set.row.epoch = seq;
    }
    return ERR_OK;
}

/* One look at which rows the log and the segments share. */
static enum err_code look_at_logged(struct logged_rows *logged, struct err *err)
{
    struct care_set *set = &logged->one->set;
    struct care_rows_opts opts = {.is_copies = true, .has_log = true};
    size_t count = 0;
    (void)care_set_segments(set, &count);
    memset(logged->is_stored, 0, (size_t)logged->row_count + 1);
    memset(logged->logged, 0, (count + 1) * sizeof(*logged->logged));
    return care_rows_equal(set, &opts, note_logged, logged, err);
}

static enum err_code settle_logged(struct logged_rows *logged, struct err *err)
{
    struct set_rebuild *one = logged->one;
    struct err what = {0};
    size_t count = 0;
    bool has_dropped = false;
    const struct catalog_segment *segments = care_set_segments(&one->set, &count);
    ERR_TRY(look_at_logged(logged, err));
    for (size_t i = 0; i < count; i++) {
        one->skips[i] = logged->logged[i] == segments[i].row_count;
        has_dropped = has_dropped || one->skips[i];
    }
    ERR_TRY(drop_skipped(one, "the log has all of its events", err));
    if (has_dropped) {
        ERR_TRY(look_at_logged(logged, err));
    }
    return care_log_read(&one->set, note_epoch, logged, &what, err);
}

/* An event that is in a segment and in the log must not count twice: a segment that the log has whole goes, and records
 * that segments have whole are before the epoch. */
static enum err_code drop_logged(struct set_rebuild *one, struct err *err)
{
    size_t count = 0;
    (void)care_set_segments(&one->set, &count);
    struct logged_rows logged = {.one = one, .row_count = one->set.log_events};
    if (logged.row_count == 0 || one->set.ids == NULL) {
        return ERR_OK;
    }
    logged.is_stored = calloc((size_t)logged.row_count + 1, 1);
    logged.logged = calloc(count + 1, sizeof(*logged.logged));
    enum err_code code =
        logged.is_stored == NULL || logged.logged == NULL
            ? err_set(err, ERR_NOMEM, "no memory for %" PRIu64 " events of a log", logged.row_count)
            : settle_logged(&logged, err);
    free(logged.is_stored);
    free(logged.logged);
    return code;
}

/* ---- ids ---- */

static enum err_code note_subjects(struct set_rebuild *one, struct err *err)
{
    size_t count = 0;
    const struct catalog_segment *segments = care_set_segments(&one->set, &count);
    for (size_t i = 0; i < count; i++) {
        CLEANUP(segment_closep) struct segment *segment = NULL;
        char path[CARE_PATH_BYTES];
        care_set_segment_path(&one->set, &segments[i], path);
        ERR_TRY(care_segment_open(&one->set, path, NULL, &segment, err));
        uint32_t last = segment_source(segment)->subject_last;
        one->subject_end[segments[i].shard] =
            MAX_OF(one->subject_end[segments[i].shard], last == UINT32_MAX ? last : last + 1);
    }
    return ERR_OK;
}

/* The whole frames of ids.log, where they name every subject of the segments; else it is made again. */
static enum err_code take_ids(struct set_rebuild *one, struct err *err)
{
    struct repair *repair = one->rebuild->repair;
    struct care_set *set = &one->set;
    char path[CARE_PATH_BYTES];
    struct err why = {0};
    struct err what = {0};
    uint64_t bytes = 0;
    uint64_t behind = 0;
    enum ids_hash_state hash = IDS_HASH_NONE;
    bool is_enough = true;
    if (!care_path(path, set->dir, "ids.log")) {
        return care_path_too_long(set->dir, err);
    }
    ERR_TRY(note_subjects(one, err));
    ERR_TRY(ids_measure(repair->care.io, path, &set->row.ids, &bytes, &why, err));
    bool is_sound = false;
    for (uint32_t look = 0; look < LOOKS && !is_sound; look++) {
        is_sound = ids_verify(repair->care.io, path, set->row.seed, set->row.ids, &set->ids,
                              &behind, &hash, &what) == ERR_OK;
    }
    if (!is_sound) {
        ERR_TRY(repair_is_damage(repair, path, &what, err));
        return repair_ids(repair, set, one->skips, care_behind(what.message, "ids.log"), err);
    }
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        is_enough = is_enough && ids_subjects(set->ids, shard) >=
                                     MAX_OF(one->subject_end[shard], set->deleted_end[shard]);
    }
    if (!is_enough) {
        ids_close(TAKE(set->ids));
        return repair_ids(
            repair, set, one->skips,
            why.code == ERR_OK ? "segments have subjects that it does not name" : why.message, err);
    }
    if (behind > 0) {
        repair_change(repair,
                      "%s/ids.log: %s: the last %" PRIu64
                      " bytes are cut; the log has what they said",
                      set->row.name, why.message, behind);
    }
    if (behind > 0 && !repair->is_dry) {
        CLEANUP(io_closep) struct io_file *file = NULL;
        ERR_TRY(io_open(repair->care.io, path, IO_APPEND, &file, err));
        ERR_TRY(io_truncate(repair->care.io, file, set->row.ids.bytes, err));
        ERR_TRY(io_sync(repair->care.io, file, err));
    }
    /* Its keys are hashed under the old seed. */
    return repair_remove(repair, set, "ids.hash", err);
}

/* ---- the row ---- */

static enum err_code put_row(struct set_rebuild *one, struct err *err)
{
    struct catalog *fresh = one->rebuild->fresh;
    struct care_set *set = &one->set;
    size_t count = 0;
    const struct catalog_segment *segments = care_set_segments(set, &count);
    uint32_t column_count = schema_count(set->schema);
    CLEANUP(buf_freep) struct buf counts = {0};
    ERR_TRY(care_set_value_counts(set, &counts, err));
    struct catalog_dataset row = set->row;
    ERR_TRY(catalog_add_dataset(fresh, &row, err));
    struct catalog_change change = {
        .dataset = &row,
        .added = segments,
        .added_count = (uint32_t)count,
        .schema = set->schema,
        .value_counts = (const uint64_t *)(const void *)counts.ptr,
        .column_count = column_count,
    };
    ERR_TRY(catalog_apply(fresh, &change, err));
    const struct catalog_segment *firsts = care_set_firsts(set, &count);
    const struct catalog_change with_firsts = {
        .dataset = &row, .added = firsts, .added_count = (uint32_t)count};
    ERR_TRY(catalog_apply(fresh, &with_firsts, err));
    const uint32_t *pairs = (const uint32_t *)(const void *)one->deleted.ptr;
    for (size_t i = 0; i < one->deleted.len / sizeof(*pairs); i += 2) {
        ERR_TRY(catalog_delete_subject(fresh, row.id, pairs[i], pairs[i + 1], 0, err));
    }
    if (one->is_salvaged) {
        uint32_t cohorts = 0;
        ERR_TRY(catalog_copy_cohorts(one->rebuild->old, set->row.id, fresh, row.id, &cohorts, err));
        uint32_t metrics = 0;
        ERR_TRY(catalog_copy_metrics(one->rebuild->old, set->row.id, fresh, row.id, &metrics, err));
        repair_say(one->rebuild->repair,
                   "data set \"%s\": %" PRIu32 " saved cohorts, %" PRIu32 " versions of metrics",
                   row.name, cohorts, metrics);
    }
    return ERR_OK;
}

static void say_set(struct set_rebuild *one)
{
    struct repair *repair = one->rebuild->repair;
    const struct catalog_dataset *row = &one->set.row;
    size_t count = 0;
    uint64_t rows = 0;
    const struct catalog_segment *segments = care_set_segments(&one->set, &count);
    for (size_t i = 0; i < count; i++) {
        rows += segments[i].row_count;
    }
    repair_change(repair,
                  "data set \"%s\": %zu segments with %" PRIu64 " rows, %" PRIu64 " ids, %" PRIu64
                  " events in the log, from %" PRIu64 " on",
                  row->name, count, rows, row->ids.count, one->set.log_events, row->wal_floor);
    if (one->is_salvaged) {
        repair_say(repair,
                   "data set \"%s\": time zone \"%s\", the settings and %zu deleted subjects are "
                   "what the damaged "
                   "catalog still says: look whether they are right",
                   row->name, row->zone, one->deleted.len / (2 * sizeof(uint32_t)));
    } else {
        repair_say(repair,
                   "data set \"%s\": not recovered: its time zone (now UTC), its settings (now the "
                   "defaults), and "
                   "which subjects were deleted: delete them again; its saved cohorts; and its metrics",
                   row->name);
    }
}

static enum err_code rebuild_parts(struct set_rebuild *one, struct err *err)
{
    struct repair *repair = one->rebuild->repair;
    ERR_TRY(take_segments(one, err));
    ERR_TRY(drop_copies(one, err));
    ERR_TRY(find_floor(one, err));
    ERR_TRY(find_epoch(one, err));
    ERR_TRY(take_ids(one, err));
    CLEANUP(buf_freep) struct buf dropped = {0};
    ERR_TRY(repair_firsts(repair, &one->set, &dropped, err));
    ERR_TRY(repair_log(repair, &one->set, err));
    ERR_TRY(drop_logged(one, err));
    ERR_TRY(care_set_take_columns(&one->set, 0, err));
    ERR_TRY(repair_left_overs(repair, &one->set, err));
    say_set(one);
    if (repair->is_dry) {
        return ERR_OK;
    }
    ERR_TRY(repair_rename_cold(repair, &one->set, err));
    return put_row(one, err);
}

static enum err_code rebuild_set(struct rebuild *rebuild, const char *name, struct err *err)
{
    struct set_rebuild one = {.rebuild = rebuild};
    struct catalog_dataset row = {.zone = "UTC",
                                  .identity_version = 1,
                                  .wal_floor = 1,
                                  .next_segment = 1,
                                  .watermark_ms = INT64_MIN,
                                  .settings = {.dedup_window_ms = DEDUP_WINDOW_MS_DEFAULT}};
    snprintf(row.name, sizeof(row.name), "%.64s", name);
    ERR_TRY(rng_system(&row.seed, sizeof(row.seed), err));
    enum err_code code = care_set_init(&one.set, &rebuild->repair->care, &row, err);
    if (code == ERR_OK) {
        salvage(&one, &one.set.row);
        code = rebuild_parts(&one, err);
    }
    care_set_done(&one.set);
    free(one.skips);
    buf_done(&one.deleted);
    return code == ERR_OK ? ERR_OK : err_context(err, "data set \"%s\"", name);
}

/* ---- the folder ---- */

static enum err_code rebuild_sets(struct rebuild *rebuild, struct err *err)
{
    CLEANUP(buf_freep) struct buf names = {0};
    uint32_t count = 0;
    ERR_TRY(io_list(rebuild->repair->care.io, rebuild->repair->care.dir, &names, &count, err));
    const char *name = (const char *)names.ptr;
    for (uint32_t i = 0; i < count; i++, name += strlen(name) + 1) {
        if (care_is_dataset(rebuild->repair->care.io, rebuild->repair->care.dir, name)) {
            ERR_TRY(rebuild_set(rebuild, name, err));
        }
    }
    return ERR_OK;
}

static enum err_code move_away(struct repair *repair, const char *name, const char *kept,
                               struct err *err)
{
    char from[CARE_PATH_BYTES];
    char to[CARE_PATH_BYTES];
    if (!care_path(from, repair->care.dir, name) || !care_path(to, repair->care.dir, kept)) {
        return care_path_too_long(repair->care.dir, err);
    }
    enum err_code code = io_rename(repair->care.io, from, to, err);
    return code == ERR_NOT_FOUND ? ERR_OK : code;
}

/* The old journal goes first: SQLite would put its pages into the new catalog. */
static enum err_code put_in_place(struct repair *repair, struct err *err)
{
    char fresh[CARE_PATH_BYTES];
    char path[CARE_PATH_BYTES];
    if (!care_path(fresh, repair->care.dir, NEW_CATALOG) ||
        !care_path(path, repair->care.dir, "catalog.db")) {
        return care_path_too_long(repair->care.dir, err);
    }
    ERR_TRY(io_sync_dir(repair->care.io, repair->care.dir, err));
    ERR_TRY(move_away(repair, "catalog.db-journal", "_catalog-damaged.db-journal", err));
    ERR_TRY(io_sync_dir(repair->care.io, repair->care.dir, err));
    ERR_TRY(move_away(repair, "catalog.db", "_catalog-damaged.db", err));
    ERR_TRY(io_rename(repair->care.io, fresh, path, err));
    return io_sync_dir(repair->care.io, repair->care.dir, err);
}

static enum err_code make_catalog(struct rebuild *rebuild, struct err *err)
{
    struct repair *repair = rebuild->repair;
    char path[CARE_PATH_BYTES];
    struct err ignored;
    if (repair->is_dry) {
        return rebuild_sets(rebuild, err);
    }
    if (!care_path(path, repair->care.dir, NEW_CATALOG "-journal")) {
        return care_path_too_long(repair->care.dir, err);
    }
    (void)!io_unlink(repair->care.io, path, &ignored); /* of an earlier try */
    if (!care_path(path, repair->care.dir, NEW_CATALOG)) {
        return care_path_too_long(repair->care.dir, err);
    }
    (void)!io_unlink(repair->care.io, path, &ignored);
    ERR_TRY(catalog_open(path, false, &rebuild->fresh, err));
    enum err_code code = rebuild_sets(rebuild, err);
    catalog_close(TAKE(rebuild->fresh));
    ERR_TRY(code);
    return put_in_place(repair, err);
}

enum err_code repair_adopt(struct repair *repair, struct catalog *catalog, const char *name,
                           struct err *err)
{
    struct rebuild rebuild = {.repair = repair, .fresh = catalog};
    repair_change(repair, "%s: a data set's folder that the catalog does not name: taken in", name);
    return rebuild_set(&rebuild, name, err);
}

enum err_code repair_rebuild(struct repair *repair, const char *why, struct err *err)
{
    struct rebuild rebuild = {.repair = repair};
    char copy[CARE_COPY_BYTES] = "";
    struct err ignored;
    char reason[ERR_MESSAGE_BYTES];
    snprintf(reason, sizeof(reason), "%s", why);
    repair_change(repair, "catalog.db: %s: made again from the segments and the log", reason);
    (void)!care_catalog_open(&repair->care, &rebuild.old, copy, &ignored);
    salvage_rows(&rebuild);
    enum err_code code = make_catalog(&rebuild, err);
    care_catalog_close(&repair->care, rebuild.old, copy);
    buf_done(&rebuild.old_rows);
    return code;
}
