/* storage/dataset.c - opening a data set, its versions and snapshots, and its facts.
 *
 * Opening: catalog row -> columns -> id directory cut to its mark -> segments (files that the catalog
 * does not name are orphans of an unfinished flush or compaction, and go) -> event ids of all
 * segments into the dedup set -> the log, whose records pass through the same set, so a record that
 * a flush had already written (its catalog transaction came, the log's removal did not) adds nothing.
 */
#include "storage/dataset_int.h"

#include "storage/dataset_record.h"

#include "storage/base/clock.h"
#include "storage/base/size.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define LATE_MS (5 * 60 * 1000LL)

static enum err_code no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "no memory for a data set");
}

/* ---- paths ---- */

void dataset_shard_path(const struct dataset *dataset, uint32_t shard,
                        char out[DATASET_PATH_BYTES + 64])
{
    snprintf(out, DATASET_PATH_BYTES + 64, "%s/shard-%02u", dataset->dir, shard);
}

void dataset_segment_path(const struct dataset *dataset, uint32_t shard, uint64_t number,
                          char out[DATASET_PATH_BYTES + 64])
{
    snprintf(out, DATASET_PATH_BYTES + 64, "%s/shard-%02u/%06" PRIu64 ".seg", dataset->dir, shard,
             number);
}

/* "000017.seg", or with something after it: what segment_write may leave behind under a temporary name. */
static bool segment_number(const char *name, uint64_t *ret, bool *ret_is_whole)
{
    uint64_t number = 0;
    size_t digits = 0;
    for (; name[digits] >= '0' && name[digits] <= '9'; digits++) {
        if (digits == 18) {
            return false;
        }
        number = number * 10 + (uint64_t)(name[digits] - '0');
    }
    if (digits < 6 || strncmp(name + digits, ".seg", 4) != 0) {
        return false;
    }
    const char *rest = name + digits + 4;
    if (rest[0] != '\0' && strcmp(rest, ".tmp") != 0) {
        return false;
    }
    *ret = number;
    *ret_is_whole = rest[0] == '\0';
    return true;
}

/* ---- versions ---- */

void seg_ref_unref(struct seg_ref *ref)
{
    if (ref != NULL && atomic_fetch_sub_explicit(&ref->refs, 1, memory_order_acq_rel) == 1) {
        segment_close(ref->segment);
        free(ref);
    }
}

enum err_code seg_ref_open(struct dataset *dataset, struct io *io,
                           const struct catalog_segment *meta, struct seg_ref **ret,
                           struct err *err)
{
    char path[DATASET_PATH_BYTES + 64];
    dataset_segment_path(dataset, meta->shard, meta->number, path);
    struct seg_ref *ref = calloc(1, sizeof(*ref));
    if (ref == NULL) {
        return no_memory(err);
    }
    atomic_init(&ref->refs, 1);
    ref->meta = *meta;
    enum err_code code = segment_open(io, path, dataset->schema, dataset->store->cache,
                                      meta->number, &ref->segment, err);
    if (code == ERR_OK) {
        const struct source *source = segment_source(ref->segment);
        if (source->shard != meta->shard || source->row_count != meta->row_count) {
            code = err_set(err, ERR_CORRUPT,
                           "segment \"%s\": %" PRIu32 " rows of shard %" PRIu32
                           ", the catalog says %" PRIu32 " of %" PRIu32,
                           path, source->row_count, source->shard, meta->row_count, meta->shard);
        }
    }
    if (code != ERR_OK) {
        seg_ref_unref(ref);
        return code;
    }
    *ret = ref;
    return ERR_OK;
}

static void mask_unref(struct mask_ref *mask)
{
    if (mask != NULL && atomic_fetch_sub_explicit(&mask->refs, 1, memory_order_acq_rel) == 1) {
        roaring_bitmap_free(mask->bits);
        free(mask);
    }
}

void version_unref(struct version *version)
{
    if (version == NULL ||
        atomic_fetch_sub_explicit(&version->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    for (uint32_t i = 0; i < version->seg_count; i++) {
        seg_ref_unref(version->segs[i]);
    }
    for (uint32_t i = 0; i < SHARD_COUNT; i++) {
        mask_unref(version->deleted[i]);
    }
    free(version);
}

static struct version *version_create(uint32_t seg_cap, const struct version *masks_of)
{
    struct version *version =
        calloc(1, sizeof(*version) + (size_t)seg_cap * sizeof(version->segs[0]));
    if (version == NULL) {
        return NULL;
    }
    atomic_init(&version->refs, 1);
    for (uint32_t i = 0; masks_of != NULL && i < SHARD_COUNT; i++) {
        version->deleted[i] = masks_of->deleted[i];
        if (version->deleted[i] != NULL) {
            atomic_fetch_add_explicit(&version->deleted[i]->refs, 1, memory_order_relaxed);
        }
    }
    return version;
}

struct version *version_pin(struct dataset *dataset)
{
    pthread_mutex_lock(&dataset->state_lock);
    struct version *version = dataset->version;
    atomic_fetch_add_explicit(&version->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&dataset->state_lock);
    return version;
}

static int seg_cmp(const void *a, const void *b)
{
    const struct catalog_segment *x = &(*(struct seg_ref *const *)a)->meta;
    const struct catalog_segment *y = &(*(struct seg_ref *const *)b)->meta;
    if (x->shard != y->shard) {
        return x->shard < y->shard ? -1 : 1;
    }
    if (x->time_min_ms != y->time_min_ms) {
        return x->time_min_ms < y->time_min_ms ? -1 : 1;
    }
    return (x->number > y->number) - (x->number < y->number);
}

static bool is_dropped(const struct version_change *change, const struct seg_ref *ref)
{
    for (uint32_t i = 0; i < change->dropped_count; i++) {
        if (change->dropped[i] == ref) {
            return true;
        }
    }
    return false;
}

/* The next version; the caller holds catalog_lock, so dataset->version stays. */
static struct version *version_next(struct dataset *dataset, const struct version_change *change)
{
    const struct version *now = dataset->version;
    struct version *next = version_create(now->seg_count + change->added_count, now);
    if (next == NULL) {
        return NULL;
    }
    for (uint32_t i = 0; i < now->seg_count; i++) {
        if (!is_dropped(change, now->segs[i])) {
            next->segs[next->seg_count++] = now->segs[i];
            atomic_fetch_add_explicit(&now->segs[i]->refs, 1, memory_order_relaxed);
        }
    }
    for (uint32_t i = 0; i < change->added_count; i++) {
        next->segs[next->seg_count++] = change->added[i];
        atomic_fetch_add_explicit(&change->added[i]->refs, 1, memory_order_relaxed);
    }
    qsort(next->segs, next->seg_count, sizeof(struct seg_ref *), seg_cmp);
    return next;
}

static enum err_code change_catalog(struct dataset *dataset, const struct version_change *change,
                                    struct err *err)
{
    struct catalog_change row = {.dataset = &dataset->row, .ret_is_unsure = change->ret_is_unsure};
    struct catalog_segment *added = calloc((size_t)change->added_count + 1, sizeof(*added));
    uint64_t *dropped = calloc((size_t)change->dropped_count + 1, sizeof(*dropped));
    enum err_code code = ERR_OK;
    if (added == NULL || dropped == NULL) {
        code = no_memory(err);
    } else {
        for (uint32_t i = 0; i < change->added_count; i++) {
            added[i] = change->added[i]->meta;
        }
        for (uint32_t i = 0; i < change->dropped_count; i++) {
            dropped[i] = change->dropped[i]->meta.number;
        }
        row.added = added;
        row.added_count = change->added_count;
        row.dropped = dropped;
        row.dropped_count = change->dropped_count;
        if (change->flushed != NULL) {
            row.schema = dataset->schema;
            row.value_counts = change->flushed->value_counts;
            row.column_count = change->flushed->column_count;
        }
        code = catalog_apply(dataset->store->catalog, &row, err);
    }
    free(added);
    free(dropped);
    return code;
}

enum err_code dataset_apply(struct dataset *dataset, const struct version_change *change,
                            struct err *err)
{
    struct version *next = version_next(dataset, change); /* before the point of no return */
    if (next == NULL) {
        return no_memory(err);
    }
    enum err_code code = change_catalog(dataset, change, err);
    if (code != ERR_OK) {
        version_unref(next);
        return code;
    }
    struct frozen gone = {0};
    pthread_mutex_lock(&dataset->state_lock);
    struct version *old = dataset->version;
    dataset->version = next;
    if (change->flushed != NULL) {
        gone = dataset->frozen[0];
        dataset->frozen_count--;
        memmove(&dataset->frozen[0], &dataset->frozen[1],
                dataset->frozen_count * sizeof(dataset->frozen[0]));
    }
    pthread_mutex_unlock(&dataset->state_lock);
    version_unref(old);
    memtable_unref(gone.memtable);
    free(gone.value_counts);
    for (uint32_t i = 0; i < change->added_count; i++) {
        seg_ref_unref(change->added[i]);
    }
    dataset_count_memtables(dataset);
    return ERR_OK;
}

uint64_t dataset_next_segment(struct dataset *dataset)
{
    pthread_mutex_lock(&dataset->catalog_lock);
    uint64_t number = dataset->row.next_segment++;
    pthread_mutex_unlock(&dataset->catalog_lock);
    return number;
}

void dataset_note_error(struct dataset *dataset, const struct err *err)
{
    pthread_mutex_lock(&dataset->state_lock);
    dataset->last_error_ms = clock_wall_ms();
    snprintf(dataset->last_error, sizeof(dataset->last_error), "%.*s",
             (int)sizeof(dataset->last_error) - 1, err->message);
    pthread_mutex_unlock(&dataset->state_lock);
}

/* ---- opening ---- */

struct opening {
    struct dataset *dataset;
    struct io *io;
    struct recovery_report *report;
    struct arena *arena;
    struct seg_ref **segs;
    uint32_t seg_count, seg_cap;
    uint64_t rows_skipped;
};

static enum err_code load_column(void *arg, uint32_t prop, struct str name, enum col_type type,
                                 uint64_t value_count, struct err *err)
{
    struct opening *opening = arg;
    uint32_t got = 0;
    ERR_TRY(schema_add(opening->dataset->schema, name, type, &got, err));
    if (got != prop) {
        return err_set(err, ERR_CORRUPT, "catalog: column %" PRIu32 " follows column %" PRIu32,
                       prop, got);
    }
    schema_count_values(opening->dataset->schema, prop, value_count);
    return ERR_OK;
}

static enum err_code load_segment(void *arg, const struct catalog_segment *meta, struct err *err)
{
    struct opening *opening = arg;
    if (opening->seg_count == opening->seg_cap) {
        uint32_t cap = opening->seg_cap == 0 ? 64 : opening->seg_cap * 2;
        struct seg_ref **grown = realloc(opening->segs, cap * sizeof(*grown));
        if (grown == NULL) {
            return no_memory(err);
        }
        opening->segs = grown;
        opening->seg_cap = cap;
    }
    ERR_TRY(
        seg_ref_open(opening->dataset, opening->io, meta, &opening->segs[opening->seg_count], err));
    opening->seg_count++;
    return ERR_OK;
}

static enum err_code load_deleted(void *arg, uint32_t shard, uint32_t subject, struct err *err)
{
    struct opening *opening = arg;
    struct mask_ref **mask = &opening->dataset->version->deleted[shard];
    if (*mask == NULL) {
        struct mask_ref *made = calloc(1, sizeof(*made));
        roaring_bitmap_t *bits = made == NULL ? NULL : roaring_bitmap_create();
        if (bits == NULL) {
            free(made);
            return no_memory(err);
        }
        atomic_init(&made->refs, 1);
        made->bits = bits;
        *mask = made;
    }
    roaring_bitmap_add((*mask)->bits, subject);
    return ERR_OK;
}

static bool is_live(const struct version *version, uint32_t shard, uint64_t number)
{
    for (uint32_t i = 0; i < version->seg_count; i++) {
        if (version->segs[i]->meta.shard == shard && version->segs[i]->meta.number == number) {
            return true;
        }
    }
    return false;
}

static enum err_code remove_orphans(struct opening *opening, uint32_t shard, struct err *err)
{
    char dir[DATASET_PATH_BYTES + 64];
    CLEANUP(buf_freep) struct buf names = {0};
    uint32_t count = 0;
    uint32_t removed = 0;
    dataset_shard_path(opening->dataset, shard, dir);
    ERR_TRY(io_list(opening->io, dir, &names, &count, err));
    const char *name = (const char *)names.ptr;
    for (uint32_t i = 0; i < count; i++, name += strlen(name) + 1) {
        uint64_t number = 0;
        bool is_whole = false;
        if (!segment_number(name, &number, &is_whole) ||
            (is_whole && is_live(opening->dataset->version, shard, number))) {
            continue;
        }
        char path[DATASET_PATH_BYTES + 64 + 256];
        snprintf(path, sizeof(path), "%s/%s", dir, name);
        ERR_TRY(io_unlink(opening->io, path, err));
        removed++;
    }
    opening->report->orphan_files += removed;
    return removed == 0 ? ERR_OK : io_sync_dir(opening->io, dir, err);
}

static enum err_code dedup_block(struct opening *opening, const struct source *source,
                                 uint32_t block, struct err *err)
{
    struct dedup *dedup = opening->dataset->dedup;
    struct read_ctx ctx = {.arena = opening->arena, .io = opening->io};
    struct vec vec;
    ERR_TRY(source_read(source, &ctx, COL_EVENT_ID, block, &vec, err));
    enum { AHEAD = 16 };
    struct hash128 hashes[AHEAD];
    for (uint32_t begin = 0; begin < vec.value_count; begin += AHEAD) {
        uint32_t count = MIN_OF((uint32_t)AHEAD, vec.value_count - begin);
        for (uint32_t i = 0; i < count; i++) {
            hashes[i] = dedup_hash(dedup, vec_str(&vec, begin + i));
            dedup_prefetch(dedup, hashes[i]);
        }
        for (uint32_t i = 0; i < count; i++) {
            bool is_new = false;
            ERR_TRY(dedup_add(dedup, hashes[i], &is_new, err));
        }
    }
    return ERR_OK;
}

static enum err_code load_dedup(struct opening *opening, struct err *err)
{
    const struct version *version = opening->dataset->version;
    for (uint32_t i = 0; i < version->seg_count; i++) {
        const struct source *source = segment_source(version->segs[i]->segment);
        for (uint32_t block = 0; block < source->block_count; block++) {
            struct arena_mark mark = arena_mark(opening->arena);
            ERR_TRY(dedup_block(opening, source, block, err));
            arena_rewind(opening->arena, mark);
        }
    }
    return ERR_OK;
}

enum err_code frozen_describe(struct dataset *dataset, uint64_t wal_floor, struct frozen *ret,
                              struct err *err)
{
    uint32_t column_count = schema_count(dataset->schema);
    uint64_t *counts = calloc((size_t)column_count + 1, sizeof(*counts));
    if (counts == NULL) {
        return no_memory(err);
    }
    for (uint32_t i = 0; i < column_count; i++) {
        counts[i] = atomic_load_explicit(&schema_col(dataset->schema, i)->value_count,
                                         memory_order_relaxed);
    }
    *ret = (struct frozen){
        .memtable = dataset->active,
        .wal_floor = wal_floor,
        .ids_count = ids_seal(dataset->ids),
        .epoch = dataset->epoch,
        .watermark_ms = dataset->watermark_ms,
        .value_counts = counts,
        .column_count = column_count,
    };
    return ERR_OK;
}

static enum err_code make_room(struct dataset *dataset, uint64_t more, struct err *err)
{
    if (memtable_rows(dataset->active) + more <= MEMTABLE_ROWS_MAX) {
        return ERR_OK;
    }
    if (dataset->frozen_count == FROZEN_MAX) {
        return err_set(err, ERR_LIMIT, "the log holds more rows than %u memtables", FROZEN_MAX);
    }
    struct memtable *fresh = NULL;
    ERR_TRY(memtable_create(dataset->schema, dataset->identity_version, &fresh, err));
    /* Its log files stay until a later memtable goes: what is replayed twice is known by its event id. */
    enum err_code code = frozen_describe(dataset, dataset->row.wal_floor,
                                         &dataset->frozen[dataset->frozen_count], err);
    if (code != ERR_OK) {
        memtable_unref(fresh);
        return code;
    }
    dataset->frozen_count++;
    dataset->active = fresh;
    return ERR_OK;
}

static void note_row(struct dataset *dataset, int64_t time_ms, int64_t arrival_ms)
{
    dataset->watermark_ms = MAX_OF(dataset->watermark_ms, MIN_OF(time_ms, arrival_ms));
}

static enum err_code replay_record(void *arg, uint64_t seq, struct str payload, struct err *err)
{
    struct opening *opening = arg;
    struct dataset *dataset = opening->dataset;
    struct arena_mark mark = arena_mark(opening->arena);
    struct record_events events;
    ERR_TRY(record_decode(payload, dataset->ids, dataset->schema, opening->arena, &events, err));
    ERR_TRY(make_room(dataset, events.batch.event_count, err));
    for (uint32_t i = 0; i < events.batch.event_count; i++) {
        const struct event *event = &events.batch.events[i];
        bool is_new = false;
        ERR_TRY(
            dedup_add(dataset->dedup, dedup_hash(dataset->dedup, event->event_id), &is_new, err));
        if (!is_new) {
            opening->rows_skipped++;
            continue;
        }
        const uint32_t *cols = events.prop_cols + event->prop_first;
        ERR_TRY(memtable_append(dataset->active, events.places[i].shard, events.places[i].subject,
                                &events.batch, event, events.batch.arrival_ms, cols, err));
        for (uint32_t k = 0; k < event->prop_count; k++) {
            schema_count_values(dataset->schema, cols[k], 1);
        }
        note_row(dataset, event->time_ms, events.batch.arrival_ms);
        opening->report->wal_events++;
    }
    memtable_publish(dataset->active);
    dataset->epoch = seq;
    arena_rewind(opening->arena, mark);
    return ERR_OK;
}

static enum err_code open_log(struct opening *opening, struct err *err)
{
    struct dataset *dataset = opening->dataset;
    char dir[DATASET_PATH_BYTES + 64];
    struct wal_replay_report report = {0};
    snprintf(dir, sizeof(dir), "%s/wal", dataset->dir);
    ERR_TRY(memtable_create(dataset->schema, dataset->identity_version, &dataset->active, err));
    dataset->epoch = dataset->row.epoch;
    dataset->watermark_ms = dataset->row.watermark_ms;
    if (dataset->store->opts.is_read_only) {
        ERR_TRY(wal_read(opening->io, dir, dataset->row.wal_floor, replay_record, opening, &report,
                         err));
    } else {
        ERR_TRY(wal_open(opening->io, dir, dataset->row.wal_floor, replay_record, opening,
                         &dataset->wal, &report, err));
        atomic_store(&dataset->wal_bytes, wal_bytes(dataset->wal));
    }
    opening->report->wal_records += report.records;
    opening->report->torn_bytes += report.torn_bytes;
    dataset->logged.ids = ids_count(dataset->ids);
    dataset->logged.cols = 0; /* a fresh file: it says all of them */
    for (uint32_t i = 0; i < SHARD_COUNT; i++) {
        dataset->logged.subjects[i] = ids_subjects(dataset->ids, i);
    }
    memcpy(dataset->subjects, dataset->logged.subjects, sizeof(dataset->subjects));
    if (memtable_rows(dataset->active) > 0) {
        dataset->active_since_us = clock_mono_us();
    }
    atomic_store(&dataset->wants_flush, dataset->frozen_count > 0);
    dataset_count_memtables(dataset);
    return ERR_OK;
}

static enum err_code make_dirs(struct dataset *dataset, struct io *io, struct err *err)
{
    char path[DATASET_PATH_BYTES + 64];
    ERR_TRY(io_mkdir(io, dataset->dir, err));
    for (uint32_t i = 0; i < SHARD_COUNT; i++) {
        dataset_shard_path(dataset, i, path);
        ERR_TRY(io_mkdir(io, path, err));
    }
    snprintf(path, sizeof(path), "%s/wal", dataset->dir);
    ERR_TRY(io_mkdir(io, path, err));
    return io_sync_dir(io, dataset->store->dir, err);
}

static enum err_code open_segments(struct opening *opening, struct err *err)
{
    struct dataset *dataset = opening->dataset;
    struct catalog *catalog = dataset->store->catalog;
    int64_t id = dataset->row.id;
    ERR_TRY(catalog_columns(catalog, id, load_column, opening, err));
    ERR_TRY(catalog_segments(catalog, id, load_segment, opening, err));
    dataset->version = version_create(opening->seg_count, NULL);
    if (dataset->version == NULL) {
        return no_memory(err);
    }
    for (uint32_t i = 0; i < opening->seg_count; i++) {
        dataset->version->segs[i] = TAKE(opening->segs[i]);
    }
    dataset->version->seg_count = opening->seg_count;
    opening->report->segments += opening->seg_count;
    opening->seg_count = 0;
    ERR_TRY(catalog_deleted(catalog, id, load_deleted, opening, err));
    for (uint32_t i = 0; i < SHARD_COUNT && !dataset->store->opts.is_read_only; i++) {
        ERR_TRY(remove_orphans(opening, i, err));
    }
    return load_dedup(opening, err);
}

static enum err_code open_parts(struct opening *opening, struct err *err)
{
    struct dataset *dataset = opening->dataset;
    bool is_read_only = dataset->store->opts.is_read_only;
    char path[DATASET_PATH_BYTES + 64];
    uint64_t cut_bytes = 0;
    if (!is_read_only) {
        ERR_TRY(make_dirs(dataset, opening->io, err));
    }
    ERR_TRY(schema_create(&dataset->schema, err));
    ERR_TRY(dedup_create(dataset->row.seed, &dataset->dedup, err));
    snprintf(path, sizeof(path), "%s/ids.log", dataset->dir);
    ERR_TRY(ids_open(opening->io, path, dataset->row.seed, dataset->row.ids, is_read_only,
                     &dataset->ids, &cut_bytes, err));
    opening->report->ids_cut += cut_bytes;
    if (!is_read_only) { /* the folders just made and ids.log: nothing below may outlive its name */
        ERR_TRY(io_sync_dir(opening->io, dataset->dir, err));
    }
    ERR_TRY(open_segments(opening, err));
    return open_log(opening, err);
}

static struct dataset *dataset_create(struct store *store, const struct catalog_dataset *row)
{
    struct dataset *dataset = calloc(1, sizeof(*dataset));
    if (dataset == NULL) {
        return NULL;
    }
    pthread_mutex_init(&dataset->queue_lock, NULL);
    pthread_cond_init(&dataset->writer_free, NULL);
    pthread_mutex_init(&dataset->state_lock, NULL);
    pthread_mutex_init(&dataset->flush_lock, NULL);
    pthread_mutex_init(&dataset->compact_lock, NULL);
    pthread_mutex_init(&dataset->catalog_lock, NULL);
    dataset->store = store;
    dataset->row = *row;
    dataset->identity_version = row->identity_version;
    dataset->limits = compact_limits_default();
    dataset->watermark_ms = INT64_MIN;
    snprintf(dataset->name, sizeof(dataset->name), "%s", row->name);
    snprintf(dataset->zone, sizeof(dataset->zone), "%s", row->zone);
    return dataset;
}

enum err_code dataset_open(struct store *store, const struct catalog_dataset *row, struct io *io,
                           struct dataset **ret, struct recovery_report *report, struct err *err)
{
    CLEANUP(dataset_freep) struct dataset *dataset = dataset_create(store, row);
    CLEANUP(arena_freep) struct arena *arena = NULL;
    if (dataset == NULL) {
        return no_memory(err);
    }
    if (snprintf(dataset->dir, sizeof(dataset->dir), "%s/%s", store->dir, row->name) >=
        (int)sizeof(dataset->dir)) {
        return err_set(err, ERR_INVALID, "path of data set \"%s\" is too long", row->name);
    }
    uint64_t seed = 0;
    ERR_TRY(rng_system(&seed, sizeof(seed), err));
    dataset->rng = rng_init(seed);
    ERR_TRY(rng_system(dataset->rng.s, sizeof(dataset->rng.s), err));
    arena = arena_create(NULL);
    struct opening opening = {.dataset = dataset, .io = io, .report = report, .arena = arena};
    enum err_code code = open_parts(&opening, err);
    for (uint32_t i = 0; i < opening.seg_count; i++) {
        seg_ref_unref(opening.segs[i]);
    }
    free(opening.segs);
    if (code != ERR_OK) {
        return err_context(err, "data set \"%s\"", row->name);
    }
    report->datasets++;
    *ret = TAKE(dataset);
    return ERR_OK;
}

void dataset_free(struct dataset *dataset)
{
    if (dataset == NULL) {
        return;
    }
    ASSERT(dataset->queue_head == NULL);
    atomic_fetch_sub(&dataset->store->memtable_bytes, atomic_load(&dataset->memtable_bytes));
    memtable_unref(dataset->active);
    for (uint32_t i = 0; i < dataset->frozen_count; i++) {
        memtable_unref(dataset->frozen[i].memtable);
        free(dataset->frozen[i].value_counts);
    }
    version_unref(dataset->version);
    wal_close(dataset->wal);
    dedup_free(dataset->dedup);
    ids_close(dataset->ids);
    schema_free(dataset->schema);
    buf_done(&dataset->scratch.places);
    buf_done(&dataset->scratch.cols);
    buf_done(&dataset->scratch.cells);
    buf_done(&dataset->scratch.hashes);
    buf_done(&dataset->scratch.record);
    pthread_mutex_destroy(&dataset->queue_lock);
    pthread_cond_destroy(&dataset->writer_free);
    pthread_mutex_destroy(&dataset->state_lock);
    pthread_mutex_destroy(&dataset->flush_lock);
    pthread_mutex_destroy(&dataset->compact_lock);
    pthread_mutex_destroy(&dataset->catalog_lock);
    free(dataset);
}

/* ---- snapshots ---- */

struct snapshot_pin {
    struct snapshot snapshot; /* first: unpin casts back */
    struct version *version;
    struct memtable_view *views[(FROZEN_MAX + 1) * SHARD_COUNT];
    uint32_t view_count;
};

struct moment { /* what is copied under the lock; views are made after it */
    struct memtable *memtables[FROZEN_MAX + 1];
    uint32_t rows[FROZEN_MAX + 1][SHARD_COUNT];
    uint32_t count;
};

static void take_moment(struct dataset *dataset, struct snapshot_pin *pin, struct moment *moment)
{
    struct snapshot *snapshot = &pin->snapshot;
    pthread_mutex_lock(&dataset->state_lock);
    for (uint32_t i = 0; i < dataset->frozen_count; i++) {
        moment->memtables[moment->count++] = memtable_ref(dataset->frozen[i].memtable);
    }
    moment->memtables[moment->count++] = memtable_ref(dataset->active);
    for (uint32_t i = 0; i < moment->count; i++) {
        memtable_counts(moment->memtables[i], moment->rows[i]);
    }
    pin->version = dataset->version;
    atomic_fetch_add_explicit(&pin->version->refs, 1, memory_order_relaxed);
    snapshot->epoch = dataset->epoch;
    snapshot->watermark_ms =
        dataset->watermark_ms == INT64_MIN ? INT64_MIN : dataset->watermark_ms - LATE_MS;
    memcpy(snapshot->subject_count, dataset->subjects, sizeof(snapshot->subject_count));
    pthread_mutex_unlock(&dataset->state_lock);
}

static void add_source(struct snapshot *snapshot, const struct source *source)
{
    snapshot->sources[snapshot->source_count++] = source;
    snapshot->row_count += source->row_count;
    snapshot->time_min_ms = MIN_OF(snapshot->time_min_ms, source->time_min_ms);
    snapshot->time_max_ms = MAX_OF(snapshot->time_max_ms, source->time_max_ms);
}

static enum err_code add_views(struct snapshot_pin *pin, const struct moment *moment,
                               uint32_t shard, struct err *err)
{
    for (uint32_t i = 0; i < moment->count; i++) {
        struct memtable_view *view = NULL;
        ERR_TRY(memtable_view_at(moment->memtables[i], shard, moment->rows[i][shard], &view, err));
        if (view != NULL) {
            pin->views[pin->view_count++] = view;
            add_source(&pin->snapshot, memtable_view_source(view));
        }
    }
    return ERR_OK;
}

static enum err_code fill_snapshot(struct snapshot_pin *pin, const struct moment *moment,
                                   struct err *err)
{
    struct snapshot *snapshot = &pin->snapshot;
    const struct version *version = pin->version;
    size_t cap = (size_t)version->seg_count + (size_t)moment->count * SHARD_COUNT;
    snapshot->sources = calloc(cap, sizeof(const struct source *));
    if (snapshot->sources == NULL) {
        return no_memory(err);
    }
    uint32_t seg = 0;
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        snapshot->shard_begin[shard] = snapshot->source_count;
        for (; seg < version->seg_count && version->segs[seg]->meta.shard == shard; seg++) {
            add_source(snapshot, segment_source(version->segs[seg]->segment));
        }
        ERR_TRY(add_views(pin, moment, shard, err));
        if (version->deleted[shard] != NULL) {
            snapshot->deleted[shard] = version->deleted[shard]->bits;
        }
    }
    snapshot->shard_begin[SHARD_COUNT] = snapshot->source_count;
    return ERR_OK;
}

enum err_code dataset_snapshot(struct dataset *dataset, struct snapshot **ret, struct err *err)
{
    struct snapshot_pin *pin = calloc(1, sizeof(*pin));
    if (pin == NULL) {
        return no_memory(err);
    }
    struct moment moment = {.count = 0};
    pin->snapshot.dataset = dataset;
    pin->snapshot.schema = dataset->schema;
    pin->snapshot.identity_version = dataset->identity_version;
    pin->snapshot.time_min_ms = INT64_MAX;
    pin->snapshot.time_max_ms = INT64_MIN;
    take_moment(dataset, pin, &moment);
    enum err_code code = fill_snapshot(pin, &moment, err);
    for (uint32_t i = 0; i < moment.count; i++) {
        memtable_unref(moment.memtables[i]);
    }
    if (code != ERR_OK) {
        snapshot_unpin(&pin->snapshot);
        return code;
    }
    *ret = &pin->snapshot;
    return ERR_OK;
}

void snapshot_unpin(struct snapshot *snapshot)
{
    struct snapshot_pin *pin = (struct snapshot_pin *)snapshot;
    for (uint32_t i = 0; i < pin->view_count; i++) {
        memtable_view_unref(pin->views[i]);
    }
    version_unref(pin->version);
    free(pin->snapshot.sources);
    free(pin);
}

/* ---- facts ---- */

const char *dataset_name(const struct dataset *dataset)
{
    return dataset->name;
}

const char *dataset_zone(const struct dataset *dataset)
{
    return dataset->zone;
}

/* ids_subjects would not do: a number whose record is not in the log may go to somebody else yet. */
static bool is_known_subject(struct dataset *dataset, uint32_t shard, uint32_t subject)
{
    pthread_mutex_lock(&dataset->state_lock);
    bool is_known = shard < SHARD_COUNT && subject < dataset->subjects[shard];
    pthread_mutex_unlock(&dataset->state_lock);
    return is_known;
}

bool dataset_find_subject(struct dataset *dataset, struct str user_id, struct str anonymous_id,
                          uint32_t *ret_shard, uint32_t *ret_subject)
{
    bool is_user = !event_id_is_sentinel(user_id);
    struct str id = is_user ? user_id : anonymous_id;
    uint32_t shard = 0;
    uint32_t subject = 0;
    if (event_id_is_sentinel(id) ||
        !ids_find(dataset->ids, is_user ? ID_USER : ID_ANONYMOUS, id, &shard, &subject) ||
        !is_known_subject(dataset, shard, subject)) {
        return false;
    }
    *ret_shard = shard;
    *ret_subject = subject;
    return true;
}

static enum err_code mask_with(const struct mask_ref *old, uint32_t subject, struct mask_ref **ret,
                               struct err *err)
{
    struct mask_ref *mask = calloc(1, sizeof(*mask));
    if (mask == NULL) {
        return no_memory(err);
    }
    atomic_init(&mask->refs, 1);
    mask->bits = old == NULL ? roaring_bitmap_create() : roaring_bitmap_copy(old->bits);
    if (mask->bits == NULL) {
        free(mask);
        return no_memory(err);
    }
    roaring_bitmap_add(mask->bits, subject);
    *ret = mask;
    return ERR_OK;
}

enum err_code dataset_save_ids(struct dataset *dataset, struct io *io, struct err *err)
{
    if (ids_save(dataset->ids, io, err) != ERR_OK) {
        return err_context(err, "data set \"%s\": saving the id table", dataset->name);
    }
    return ERR_OK;
}

/* Under catalog_lock. */
static enum err_code delete_subject(struct dataset *dataset, uint32_t shard, uint32_t subject,
                                    struct err *err)
{
    struct mask_ref *mask = NULL;
    struct version *next = version_next(dataset, &(struct version_change){0});
    if (next == NULL) {
        return no_memory(err);
    }
    enum err_code code = mask_with(dataset->version->deleted[shard], subject, &mask, err);
    if (code == ERR_OK) {
        mask_unref(next->deleted[shard]);
        next->deleted[shard] = mask;
        code =
            catalog_delete_subject(dataset->store->catalog, dataset->row.id, shard, subject, err);
    }
    if (code != ERR_OK) {
        version_unref(next);
        return code;
    }
    pthread_mutex_lock(&dataset->state_lock);
    struct version *old = dataset->version;
    dataset->version = next;
    pthread_mutex_unlock(&dataset->state_lock);
    version_unref(old);
    return ERR_OK;
}

enum err_code dataset_delete_subject(struct dataset *dataset, uint32_t shard, uint32_t subject,
                                     struct err *err)
{
    if (dataset->store->opts.is_read_only) {
        return err_set(err, ERR_INVALID, "the store was opened read-only");
    }
    if (!is_known_subject(dataset, shard, subject)) {
        return err_set(err, ERR_NOT_FOUND, "subject %" PRIu32 " of shard %" PRIu32, subject, shard);
    }
    pthread_mutex_lock(&dataset->catalog_lock);
    enum err_code code = delete_subject(dataset, shard, subject, err);
    pthread_mutex_unlock(&dataset->catalog_lock);
    return code;
}

struct dataset_stats dataset_stats(struct dataset *dataset)
{
    struct dataset_stats stats = {
        .accepted = atomic_load(&dataset->accepted),
        .duplicates = atomic_load(&dataset->duplicates),
        .rejected = atomic_load(&dataset->rejected),
        .commits = atomic_load(&dataset->commits),
        .flushes = atomic_load(&dataset->flushes),
        .compactions = atomic_load(&dataset->compactions),
        .compacted_bytes = atomic_load(&dataset->compacted_bytes),
        .wal_bytes = atomic_load(&dataset->wal_bytes),
        .memtable_bytes = atomic_load(&dataset->memtable_bytes),
    };
    pthread_mutex_lock(&dataset->queue_lock);
    stats.queue_bytes = dataset->queue_bytes;
    pthread_mutex_unlock(&dataset->queue_lock);
    pthread_mutex_lock(&dataset->state_lock);
    stats.memtable_rows = memtable_rows(dataset->active);
    for (uint32_t i = 0; i < dataset->frozen_count; i++) {
        stats.memtable_rows += memtable_rows(dataset->frozen[i].memtable);
    }
    stats.rows = stats.memtable_rows;
    stats.segments = dataset->version->seg_count;
    for (uint32_t i = 0; i < dataset->version->seg_count; i++) {
        stats.rows += dataset->version->segs[i]->meta.row_count;
        stats.segment_bytes += dataset->version->segs[i]->meta.bytes;
    }
    for (uint32_t i = 0; i < SHARD_COUNT; i++) {
        stats.subjects += dataset->subjects[i];
    }
    stats.epoch = dataset->epoch;
    stats.last_error_ms = dataset->last_error_ms;
    memcpy(stats.last_error, dataset->last_error, sizeof(stats.last_error));
    pthread_mutex_unlock(&dataset->state_lock);
    return stats;
}
