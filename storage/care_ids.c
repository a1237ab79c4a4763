/* storage/care_ids.c - a new ids.log, where a part of the old one is damaged.
 *
 * The frames before the damage stand. Behind it a subject's id is what its events carry: the user id, else
 * the anonymous id, of any row in a segment or in the log; and the log names the ids that it was the first to use. A
 * number that neither names belongs to somebody without an event that is left: it must not go to anybody else
 * while a deleted subject may be masked by it, and gets an id that nobody has, "trackway-lost-3-17". Bindings of ids are
 * found again where both ids stand in one row; merges of users that the damage took and the log does not name are lost. */
#include "storage/care_int.h"

#include "storage/dataset_record.h"
#include "storage/identity.h"

#include "storage/base/rd.h"
#include "storage/base/size.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUBJECTS_MAX (UINT32_C(1) << 30) /* of a shard, in numbers to be found again */

struct finding_ids {
    struct care_set *set;
    struct ids *fresh;
    struct arena *arena;
    uint32_t begin[SHARD_COUNT], end[SHARD_COUNT]; /* numbers to find */
    struct id_entry *found[SHARD_COUNT];           /* by number - begin; key.ptr NULL: not yet */
    uint64_t lost;
    struct ids *scratch; /* the log can be decoded by it */
};

#define LOST_PREFIX "trackway-lost-"

static struct str lost_key(uint32_t shard, uint32_t subject, char text[64])
{
    int len = snprintf(text, 64, LOST_PREFIX "%" PRIu32 "-%" PRIu32, shard, subject);
    return (struct str){text, (size_t)len};
}

bool care_id_is_lost(struct str key)
{
    return str_starts(key, STR(LOST_PREFIX));
}

/* ---- what numbers there are ---- */

static void want(struct finding_ids *finding, uint32_t shard, uint64_t end)
{
    finding->end[shard] =
        (uint32_t)MAX_OF((uint64_t)finding->end[shard], MIN_OF(end, (uint64_t)UINT32_MAX));
}

static enum err_code want_of_segments(struct finding_ids *finding, const bool *skips,
                                      struct err *err)
{
    size_t count = 0;
    const struct catalog_segment *segments = care_set_segments(finding->set, &count);
    for (size_t i = 0; i < count; i++) {
        CLEANUP(segment_closep) struct segment *segment = NULL;
        char path[CARE_PATH_BYTES];
        if (skips[i]) {
            continue;
        }
        care_set_segment_path(finding->set, &segments[i], path);
        ERR_TRY(care_segment_open(finding->set, path, NULL, &segment, err));
        want(finding, segments[i].shard, (uint64_t)segment_source(segment)->subject_last + 1);
    }
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        want(finding, shard, finding->set->deleted_end[shard]);
    }
    return ERR_OK;
}

/* The ids of a record, which come before anything that needs a schema. */
static void each_record_id(struct str payload, void (*fn)(void *arg, const struct id_entry *entry),
                           void *arg)
{
    struct rd rd = rd_init(payload);
    (void)rd_u8(&rd);
    (void)rd_zigzag(&rd);
    uint64_t count = rd_varint(&rd);
    for (uint64_t i = 0; i < count && !rd.is_bad; i++) {
        struct id_entry entry = {.kind = (enum id_kind)rd_u8(&rd), .shard = rd_u8(&rd)};
        uint64_t subject = rd_varint(&rd);
        entry.key = rd_blob(&rd);
        entry.subject = (uint32_t)subject;
        if (!rd.is_bad && subject < UINT32_MAX && entry.shard < SHARD_COUNT) {
            fn(arg, &entry);
        }
    }
}

struct first_ids {
    uint32_t first[SHARD_COUNT];
    uint64_t end[SHARD_COUNT];
};

static void note_first(void *arg, const struct id_entry *entry)
{
    struct first_ids *ids = arg;
    ids->first[entry->shard] = MIN_OF(ids->first[entry->shard], entry->subject);
    ids->end[entry->shard] = MAX_OF(ids->end[entry->shard], (uint64_t)entry->subject + 1);
}

static enum err_code first_of_record(void *arg, uint64_t seq, struct str payload, struct err *err)
{
    (void)seq;
    (void)err;
    each_record_id(payload, note_first, arg);
    return ERR_OK;
}

static void keep_key(struct finding_ids *finding, const struct id_entry *entry)
{
    struct err ignored;
    struct id_entry *found =
        &finding->found[entry->shard][entry->subject - finding->begin[entry->shard]];
    if (found->key.ptr == NULL && entry->key.len > 0 && entry->key.len <= USER_ID_BYTES_MAX &&
        arena_str(finding->arena, entry->key, &found->key, &ignored) == ERR_OK) {
        found->kind = entry->kind;
        found->shard = entry->shard;
        found->subject = entry->subject;
    }
}

static void take_id(void *arg, const struct id_entry *entry)
{
    struct finding_ids *finding = arg;
    if (entry->subject >= finding->begin[entry->shard] &&
        entry->subject < finding->end[entry->shard] &&
        (entry->kind == ID_USER || entry->kind == ID_ANONYMOUS || id_kind_is_fact(entry->kind))) {
        keep_key(finding, entry);
    }
}

static enum err_code take_of_record(void *arg, uint64_t seq, struct str payload, struct err *err)
{
    (void)seq;
    (void)err;
    each_record_id(payload, take_id, arg);
    return ERR_OK;
}

/* Damage in the log ends the reading of it here too; what to do about that is decided elsewhere. */
static enum err_code read_log(struct finding_ids *finding, wal_replay_fn fn, void *arg,
                              struct err *err)
{
    struct wal_replay_report report = {0};
    char dir[CARE_PATH_BYTES];
    if (!care_path(dir, finding->set->dir, "wal")) {
        return care_path_too_long(finding->set->dir, err);
    }
    enum err_code code = ERR_IO;
    for (uint32_t look = 0; look < 2 && code == ERR_IO;
         look++) { /* a disk that failed once is no damage */
        code = wal_read(finding->set->care->io, dir, finding->set->row.wal_floor, fn, arg, &report,
                        err);
    }
    return code == ERR_NOMEM ? code : ERR_OK;
}

/* A directory by which the log can be decoded: it names everybody below the first number that the log gives,
 * by any name. */
static enum err_code make_scratch(struct finding_ids *finding, const struct first_ids *first,
                                  struct ids **ret, struct err *err)
{
    CLEANUP(ids_closep) struct ids *scratch = NULL;
    char path[CARE_PATH_BYTES];
    uint64_t ignored = 0;
    if (!care_path(path, finding->set->dir, "ids.log.none")) {
        return care_path_too_long(finding->set->dir, err);
    }
    ERR_TRY(ids_open(finding->set->care->io, path, finding->set->row.seed, (struct ids_mark){0, 0},
                     true, &scratch, &ignored, err));
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        for (uint32_t subject = 0;
             first->first[shard] != UINT32_MAX && subject < first->first[shard]; subject++) {
            char text[64];
            ERR_TRY(ids_restore(
                scratch,
                &(struct id_entry){lost_key(shard, subject, text), ID_ANONYMOUS, shard, subject},
                err));
        }
    }
    *ret = TAKE(scratch);
    return ERR_OK;
}

static enum err_code want_of_events(void *arg, uint64_t seq, const struct event_batch *batch,
                                    const struct event_place *places, struct err *err)
{
    (void)seq;
    (void)err;
    for (uint32_t i = 0; i < batch->event_count; i++) {
        want(arg, places[i].shard, (uint64_t)places[i].subject + 1);
    }
    return ERR_OK;
}

static enum err_code take_of_events(void *arg, uint64_t seq, const struct event_batch *batch,
                                    const struct event_place *places, struct err *err)
{
    (void)seq;
    (void)err;
    for (uint32_t i = 0; i < batch->event_count; i++) {
        const struct event *event = &batch->events[i];
        bool has_user = event->user_id.len > 0;
        take_id(arg, &(struct id_entry){has_user ? event->user_id : event->anonymous_id,
                                        has_user ? ID_USER : ID_ANONYMOUS, places[i].shard,
                                        places[i].subject});
    }
    return ERR_OK;
}

/* The log's events, as far as they can be decoded. */
static enum err_code read_events(struct finding_ids *finding, care_record_fn fn, struct err *err)
{
    struct care_set *set = finding->set;
    struct err what = {0};
    ASSERT(set->ids == NULL);
    set->ids = finding->scratch;
    set->is_ids_partial = true;
    enum err_code code = care_log_read(set, fn, finding, &what, err);
    if (code == ERR_OK && what.code == ERR_IO) {
        code = care_log_read(set, fn, finding, &what, err);
    }
    set->ids = NULL;
    set->is_ids_partial = false;
    return code;
}

/* ---- whose they are ---- */

static bool has_value(const struct vec *vec, uint32_t row)
{
    return vec->value_count > 0 &&
           (vec->present == NULL || (vec->present[row / 64] >> (row % 64) & 1) != 0);
}

/* Where the k-th row's value is in the vector. */
static void each_of_block(uint32_t shard, const struct vec *subjects, const struct vec *users,
                          const struct vec *anonymous, care_id_fn fn, void *arg)
{
    uint32_t user = 0;
    uint32_t other = 0;
    for (uint32_t row = 0; row < subjects->rows; row++) {
        bool has_user = has_value(users, row);
        bool has_other = has_value(anonymous, row);
        struct id_entry entry = {.shard = shard, .subject = subjects->u32[row]};
        if (has_user) {
            entry.kind = ID_USER;
            entry.key = vec_str(users, user);
        } else if (has_other) {
            entry.kind = ID_ANONYMOUS;
            entry.key = vec_str(anonymous, other);
        }
        user += has_user;
        other += has_other;
        if (has_user || has_other) {
            fn(arg, &entry);
        }
    }
}

/* The columns of ids, block by block; users or anonymous may be absent. */
struct id_columns {
    uint32_t shard;
    struct vec subjects, users, anonymous;
};
typedef enum err_code (*id_block_fn)(void *arg, const struct id_columns *block, struct err *err);

static enum err_code each_id_block(const struct care_set *set, const char *path, id_block_fn fn,
                                   void *arg, struct err *err)
{
    CLEANUP(segment_closep) struct segment *segment = NULL;
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    struct read_ctx ctx = {.arena = arena, .io = set->care->io};
    ERR_TRY(care_segment_open(set, path, NULL, &segment, err));
    const struct source *source = segment_source(segment);
    for (uint32_t b = 0; b < source->block_count; b++) {
        struct arena_mark mark = arena_mark(arena);
        struct id_columns block = {.shard = source->shard};
        ERR_TRY(source_read(source, &ctx, COL_SUBJECT, b, &block.subjects, err));
        ERR_TRY(source_read(source, &ctx, COL_USER_ID, b, &block.users, err));
        ERR_TRY(source_read(source, &ctx, COL_ANONYMOUS_ID, b, &block.anonymous, err));
        ERR_TRY(fn(arg, &block, err));
        arena_rewind(arena, mark);
    }
    return ERR_OK;
}

struct id_taker {
    care_id_fn fn;
    void *arg;
};

static enum err_code take_ids(void *arg, const struct id_columns *block, struct err *err)
{
    const struct id_taker *taker = arg;
    (void)err;
    each_of_block(block->shard, &block->subjects, &block->users, &block->anonymous, taker->fn,
                  taker->arg);
    return ERR_OK;
}

enum err_code care_segment_ids(const struct care_set *set, const char *path, care_id_fn fn,
                               void *arg, struct err *err)
{
    struct id_taker taker = {fn, arg};
    return each_id_block(set, path, take_ids, &taker, err);
}

/* ---- writing ---- */

static enum err_code put_number(struct finding_ids *finding, uint32_t shard, uint32_t subject,
                                struct err *err)
{
    const struct id_entry *found = &finding->found[shard][subject - finding->begin[shard]];
    char text[64];
    if (found->key.ptr != NULL && ids_restore(finding->fresh, found, err) == ERR_OK) {
        return ERR_OK;
    }
    if (found->key.ptr != NULL && err->code != ERR_CORRUPT) {
        return err->code;
    }
    /* Nobody's, or (bytes that somebody forged) the id of another. */
    struct id_entry entry = {lost_key(shard, subject, text), ID_ANONYMOUS, shard, subject};
    finding->lost++;
    return ids_restore(finding->fresh, &entry, err);
}

static enum err_code put_whole_part(struct finding_ids *finding, const struct ids *whole,
                                    struct err *err)
{
    struct id_cursor cursor = ids_cursor(whole, 0);
    struct id_entry entry;
    while (id_cursor_next(&cursor, &entry)) {
        ERR_TRY(ids_restore(finding->fresh, &entry, err));
    }
    return ERR_OK;
}

static enum err_code find_all(struct finding_ids *finding, const bool *skips, struct err *err)
{
    struct first_ids first = {.end = {0}};
    size_t count = 0;
    const struct catalog_segment *segments = care_set_segments(finding->set, &count);
    memset(first.first, 0xff, sizeof(first.first));
    ERR_TRY(want_of_segments(finding, skips, err));
    ERR_TRY(read_log(finding, first_of_record, &first, err));
    ERR_TRY(make_scratch(finding, &first, &finding->scratch, err));
    ERR_TRY(read_events(finding, want_of_events, err));
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        if (first.first[shard] != UINT32_MAX) {
            want(finding, shard, first.first[shard]);
            want(finding, shard, first.end[shard]); /* whether an event has them or not */
        }
        finding->begin[shard] = ids_subjects(finding->fresh, shard);
        uint32_t missing = finding->end[shard] - MIN_OF(finding->end[shard], finding->begin[shard]);
        if (missing > SUBJECTS_MAX) {
            return err_set(err, ERR_LIMIT, "shard %" PRIu32 ": %" PRIu32 " ids to find again",
                           shard, missing);
        }
        finding->found[shard] = calloc((size_t)missing + 1, sizeof(struct id_entry));
        if (finding->found[shard] == NULL) {
            return err_set(err, ERR_NOMEM, "no memory for %" PRIu32 " ids", missing);
        }
    }
    ERR_TRY(read_log(finding, take_of_record, finding, err));
    ERR_TRY(read_events(finding, take_of_events, err));
    for (size_t i = 0; i < count; i++) {
        if (!skips[i]) {
            char path[CARE_PATH_BYTES];
            care_set_segment_path(finding->set, &segments[i], path);
            ERR_TRY(care_segment_ids(finding->set, path, take_id, finding, err));
        }
    }
    return ERR_OK;
}

/* ---- which ids belong together ---- */

static enum err_code put_binding(struct ids *fresh, struct str anonymous_id, uint64_t user,
                                 struct err *err)
{
    uint8_t key[IDENTITY_BINDING_BYTES];
    uint32_t shard = 0;
    uint32_t subject = 0;
    ERR_TRY(ids_add(fresh, ID_ANONYMOUS, anonymous_id, &shard, &subject, err));
    identity_binding_key(identity_place(shard, subject), user, key);
    return ids_add(fresh, ID_BINDING, (struct str){(const char *)key, sizeof(key)}, &shard,
                   &subject, err);
}

static enum err_code bind_of_events(void *arg, uint64_t seq, const struct event_batch *batch,
                                    const struct event_place *places, struct err *err)
{
    struct finding_ids *finding = arg;
    (void)seq;
    for (uint32_t i = 0; i < batch->event_count; i++) {
        const struct event *event = &batch->events[i];
        if (event->user_id.len > 0 && event->anonymous_id.len > 0) {
            ERR_TRY(put_binding(finding->fresh, event->anonymous_id,
                                identity_place(places[i].shard, places[i].subject), err));
        }
    }
    return ERR_OK;
}

static enum err_code bind_of_block(void *arg, const struct id_columns *block, struct err *err)
{
    struct ids *fresh = arg;
    uint32_t other = 0; /* place of the row's anonymous id */
    for (uint32_t row = 0; row < block->subjects.rows; row++) {
        bool has_other = has_value(&block->anonymous, row);
        if (has_other && has_value(&block->users, row)) {
            ERR_TRY(put_binding(fresh, vec_str(&block->anonymous, other),
                                identity_place(block->shard, block->subjects.u32[row]), err));
        }
        other += has_other;
    }
    return ERR_OK;
}

static enum err_code put_bindings(struct finding_ids *finding, const bool *skips, struct err *err)
{
    size_t count = 0;
    const struct catalog_segment *segments = care_set_segments(finding->set, &count);
    for (size_t i = 0; i < count; i++) {
        char path[CARE_PATH_BYTES];
        if (!skips[i]) {
            care_set_segment_path(finding->set, &segments[i], path);
            ERR_TRY(each_id_block(finding->set, path, bind_of_block, finding->fresh, err));
        }
    }
    return read_events(finding, bind_of_events, err);
}

static enum err_code make(struct finding_ids *finding, const struct ids *whole, const bool *skips,
                          struct ids_mark *ret, struct err *err)
{
    ERR_TRY(put_whole_part(finding, whole, err));
    ERR_TRY(find_all(finding, skips, err));
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        for (uint32_t subject = finding->begin[shard]; subject < finding->end[shard]; subject++) {
            ERR_TRY(put_number(finding, shard, subject, err));
        }
    }
    ERR_TRY(put_bindings(finding, skips, err));
    return ids_flush(finding->fresh, finding->set->care->io, ids_seal(finding->fresh), ret, err);
}

enum err_code care_ids_whole(const struct care_set *set, struct ids **ret, struct err *err)
{
    struct io *io = set->care->io;
    char path[CARE_PATH_BYTES];
    struct ids_mark mark = {0};
    struct err why = {0};
    uint64_t bytes = 0;
    uint64_t ignored = 0;
    enum ids_hash_state hash = IDS_HASH_NONE;
    if (!care_path(path, set->dir, "ids.log")) {
        return care_path_too_long(set->dir, err);
    }
    ERR_TRY(ids_measure(io, path, &mark, &bytes, &why, err));
    enum err_code code = ids_verify(io, path, set->row.seed, mark, ret, &ignored, &hash, err);
    if (code == ERR_CORRUPT) {
        code =
            ids_verify(io, path, set->row.seed, (struct ids_mark){0, 0}, ret, &ignored, &hash, err);
    }
    return code;
}

enum err_code care_ids_make(struct care_set *set, const bool *skips, const char *path,
                            struct ids_mark *ret, uint64_t *ret_lost, struct err *err)
{
    CLEANUP(ids_closep) struct ids *whole = NULL;
    CLEANUP(ids_closep) struct ids *fresh = NULL;
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    struct io *io = set->care->io;
    struct err ignored_err;
    uint64_t ignored = 0;
    (void)!io_unlink(io, path, &ignored_err); /* of an earlier try */
    ERR_TRY(care_ids_whole(set, &whole, err));
    ERR_TRY(
        ids_open(io, path, set->row.seed, (struct ids_mark){0, 0}, false, &fresh, &ignored, err));
    struct finding_ids finding = {.set = set, .fresh = fresh, .arena = arena};
    enum err_code code = make(&finding, whole, skips, ret, err);
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        free(finding.found[shard]);
    }
    ids_close(finding.scratch);
    *ret_lost = finding.lost;
    return code;
}
