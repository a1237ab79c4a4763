/* storage/dataset.c - opening a data set, its versions and snapshots, and its facts.
 *
 * Opening: catalog row -> columns -> id directory cut to its mark -> segments (files that the catalog
 * does not name are orphans of an unfinished flush or compaction, and go) -> runs of known event ids
 * -> the log, whose events are looked for like arriving ones, so what a flush had already written
 * (its catalog transaction came, the log's removal did not) adds nothing.
 */
#include "storage/cold_owner.h"
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

void dataset_segment_file(const struct dataset *dataset, const struct catalog_segment *meta,
                          char out[DATASET_PATH_BYTES + 64])
{
    if (meta->is_first_times) {
        snprintf(out, DATASET_PATH_BYTES + 64, "%s/shard-%02u/%06" PRIu64 ".first", dataset->dir,
                 meta->shard, meta->number);
    } else if (meta->tier == TIER_HOT) {
        dataset_segment_path(dataset, meta->shard, meta->number, out);
    } else {
        snprintf(out, DATASET_PATH_BYTES + 64, "%s/shard-%02u/%06" PRIu64 ".seg", dataset->cold_dir,
                 meta->shard, meta->number);
    }
}

void dataset_cold_shard_path(const struct dataset *dataset, uint32_t shard,
                             char out[DATASET_PATH_BYTES + 64])
{
    snprintf(out, DATASET_PATH_BYTES + 64, "%s/shard-%02u", dataset->cold_dir, shard);
}

/* "000017.seg" or "000017.first", or with something after it: what segment_write may leave behind under a temporary name. */
static bool segment_number(const char *name, uint64_t *ret, bool *ret_is_whole, bool *ret_is_first)
{
    uint64_t number = 0;
    size_t digits = 0;
    for (; name[digits] >= '0' && name[digits] <= '9'; digits++) {
        if (digits == 18) {
            return false;
        }
        number = number * 10 + (uint64_t)(name[digits] - '0');
    }
    *ret_is_first = strncmp(name + digits, ".first", 6) == 0;
    if (digits < 6 || (!*ret_is_first && strncmp(name + digits, ".seg", 4) != 0)) {
        return false;
    }
    const char *rest = name + digits + (*ret_is_first ? 6 : 4);
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
    if (meta->tier == TIER_COLD && dataset->cold_dir[0] == '\0') {
        return err_set(err, ERR_NOT_FOUND,
                       "segment %" PRIu64 " of shard %" PRIu32
                       " was moved to a cold directory, and the option \"cold-dir\" names none",
                       meta->number, meta->shard);
    }
    dataset_segment_file(dataset, meta, path);
    struct seg_ref *ref = calloc(1, sizeof(*ref));
    if (ref == NULL) {
        return no_memory(err);
    }
    atomic_init(&ref->refs, 1);
    ref->meta = *meta;
    ref->looked_at_ms = INT64_MIN;
    enum err_code code = segment_open(io, path, dataset->schema, dataset->store->cache,
                                      meta->number, &ref->segment, err);
    if (code == ERR_OK) {
        const struct source *source = segment_source(ref->segment);
        if (source->is_first_times != meta->is_first_times) {
            code = err_set(err, ERR_CORRUPT, "segment \"%s\": it is %sof first times", path,
                           source->is_first_times ? "" : "not ");
        } else if (source->shard != meta->shard || source->row_count != meta->row_count) {
            code = err_set(err, ERR_CORRUPT,
                           "segment \"%s\": %" PRIu32 " rows of shard %" PRIu32
                           ", the catalog says %" PRIu32 " of %" PRIu32,
                           path, source->row_count, source->shard, meta->row_count, meta->shard);
        }
    }
    if (code != ERR_OK) {
        seg_ref_unref(ref);
        return code == ERR_NOT_FOUND && meta->tier == TIER_COLD
                   ? err_context(err, "option \"cold-dir\" is not the directory that a segment was "
                                      "moved to")
                   : code;
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
    for (uint32_t i = 0; i < version->run_count; i++) {
        known_run_unref(version->runs[i]);
    }
    for (uint32_t i = 0; i < version->first_count; i++) {
        seg_ref_unref(version->firsts[i]);
    }
    free(version->firsts);
    free(version->runs);
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

uint64_t version_number(struct dataset *dataset)
{
    pthread_mutex_lock(&dataset->state_lock);
    uint64_t number = dataset->version->number;
    pthread_mutex_unlock(&dataset->state_lock);
    return number;
}

struct seg_ref *const *version_shard(const struct version *version, uint32_t shard,
                                     uint32_t *ret_count)
{
    uint32_t first = 0;
    while (first < version->seg_count && version->segs[first]->meta.shard < shard) {
        first++;
    }
    uint32_t end = first;
    while (end < version->seg_count && version->segs[end]->meta.shard == shard) {
        end++;
    }
    *ret_count = end - first;
    return version->segs + first;
}

struct seg_ref *const *version_firsts(const struct version *version, uint32_t shard,
                                      uint32_t *ret_count)
{
    uint32_t first = 0;
    while (first < version->first_count && version->firsts[first]->meta.shard < shard) {
        first++;
    }
    uint32_t end = first;
    while (end < version->first_count && version->firsts[end]->meta.shard == shard) {
        end++;
    }
    *ret_count = end - first;
    return version->firsts + first;
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

static int run_cmp(const void *a, const void *b)
{
    const struct known_run *x = *(struct known_run *const *)a;
    const struct known_run *y = *(struct known_run *const *)b;
    int64_t x_ms = known_run_info(x).arrival_min_ms;
    int64_t y_ms = known_run_info(y).arrival_min_ms;
    if (x_ms != y_ms) {
        return x_ms < y_ms ? -1 : 1;
    }
    return (known_run_number(x) > known_run_number(y)) -
           (known_run_number(x) < known_run_number(y));
}

static bool is_dropped_run(const struct version_change *change, const struct known_run *run)
{
    for (uint32_t i = 0; i < change->runs_dropped_count; i++) {
        if (change->runs_dropped[i] == known_run_number(run)) {
            return true;
        }
    }
    return false;
}

static bool version_take_runs(struct version *next, const struct version *now,
                              const struct version_change *change)
{
    size_t cap = (size_t)now->run_count + change->runs_added_count;
    next->runs = calloc(cap + 1, sizeof(struct known_run *));
    if (next->runs == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < now->run_count; i++) {
        if (!is_dropped_run(change, now->runs[i])) {
            next->runs[next->run_count++] = known_run_ref(now->runs[i]);
        }
    }
    for (uint32_t i = 0; i < change->runs_added_count; i++) {
        next->runs[next->run_count++] = known_run_ref(change->runs_added[i]);
    }
    qsort(next->runs, next->run_count, sizeof(struct known_run *), run_cmp);
    return true;
}

static bool version_take_firsts(struct version *next, const struct version *now,
                                const struct version_change *change)
{
    size_t cap = (size_t)now->first_count + change->added_count;
    next->firsts = calloc(cap + 1, sizeof(struct seg_ref *));
    if (next->firsts == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < now->first_count; i++) {
        if (!is_dropped(change, now->firsts[i])) {
            next->firsts[next->first_count++] = now->firsts[i];
        }
    }
    for (uint32_t i = 0; i < change->added_count; i++) {
        if (change->added[i]->meta.is_first_times) {
            next->firsts[next->first_count++] = change->added[i];
        }
    }
    for (uint32_t i = 0; i < next->first_count; i++) {
        atomic_fetch_add_explicit(&next->firsts[i]->refs, 1, memory_order_relaxed);
    }
    qsort(next->firsts, next->first_count, sizeof(struct seg_ref *), seg_cmp);
    return true;
}

/* The next version; the caller holds catalog_lock, so dataset->version stays. */
static struct version *version_next(struct dataset *dataset, const struct version_change *change)
{
    const struct version *now = dataset->version;
    struct version *next = version_create(now->seg_count + change->added_count, now);
    if (next == NULL || !version_take_runs(next, now, change) ||
        !version_take_firsts(next, now, change)) {
        version_unref(next);
        return NULL;
    }
    for (uint32_t i = 0; i < now->seg_count; i++) {
        if (!is_dropped(change, now->segs[i])) {
            next->segs[next->seg_count++] = now->segs[i];
            atomic_fetch_add_explicit(&now->segs[i]->refs, 1, memory_order_relaxed);
        }
    }
    for (uint32_t i = 0; i < change->added_count; i++) {
        if (!change->added[i]->meta.is_first_times) {
            next->segs[next->seg_count++] = change->added[i];
            atomic_fetch_add_explicit(&change->added[i]->refs, 1, memory_order_relaxed);
        }
    }
    qsort(next->segs, next->seg_count, sizeof(struct seg_ref *), seg_cmp);
    next->number = now->number + 1;
    next->waiting = compaction_waiting(next, &dataset->limits);
    return next;
}

static enum err_code change_catalog(struct dataset *dataset, const struct version_change *change,
                                    struct err *err)
{
    struct catalog_change row = {.dataset = &dataset->row, .ret_is_unsure = change->ret_is_unsure};
    struct catalog_segment *added = calloc((size_t)change->added_count + 1, sizeof(*added));
    uint64_t *dropped = calloc((size_t)change->dropped_count + 1, sizeof(*dropped));
    struct catalog_run *runs = calloc((size_t)change->runs_added_count + 1, sizeof(*runs));
    enum err_code code = ERR_OK;
    if (added == NULL || dropped == NULL || runs == NULL) {
        code = no_memory(err);
    } else {
        for (uint32_t i = 0; i < change->runs_added_count; i++) {
            struct known_run_info info = known_run_info(change->runs_added[i]);
            runs[i] = (struct catalog_run){known_run_number(change->runs_added[i]), info.count,
                                           info.bytes, info.arrival_min_ms, info.arrival_max_ms};
        }
        row.runs_added = runs;
        row.runs_added_count = change->runs_added_count;
        row.runs_dropped = change->runs_dropped;
        row.runs_dropped_count = change->runs_dropped_count;
        for (uint32_t i = 0; i < change->added_count; i++) {
            added[i] = change->added[i]->meta;
        }
        for (uint32_t i = 0; i < change->dropped_count; i++) {
            dropped[i] = change->dropped[i]->meta.number;
        }
        if (change->is_move) {
            row.moved = added;
            row.moved_count = change->added_count;
        } else {
            row.added = added;
            row.added_count = change->added_count;
            row.dropped = dropped;
            row.dropped_count = change->dropped_count;
        }
        if (change->flushed != NULL) {
            row.schema = dataset->schema;
            row.value_counts = change->flushed->value_counts;
            row.column_count = change->flushed->column_count;
        }
        code = catalog_apply(dataset->store->catalog, &row, err);
    }
    free(added);
    free(dropped);
    free(runs);
    return code;
}

enum err_code dataset_apply(struct dataset *dataset, const struct version_change *change,
                            struct err *err)
{
    struct version *next = version_next(dataset, change); /* before the point of no return */
    if (next == NULL) {
        return no_memory(err);
    }
    int64_t gone_before_ms = dataset->row.gone_before_ms;
    if (change->has_expired) {
        dataset->row.gone_before_ms = MAX_OF(gone_before_ms, change->expired_before_ms);
    }
    enum err_code code = change_catalog(dataset, change, err);
    if (code != ERR_OK) {
        dataset->row.gone_before_ms = gone_before_ms;
        version_unref(next);
        return code;
    }
    atomic_store_explicit(&dataset->gone_before_ms, dataset->row.gone_before_ms,
                          memory_order_relaxed);
    struct frozen gone = {0};
    pthread_mutex_lock(&dataset->state_lock);
    struct version *old = dataset->version;
    dataset->version = next;
    atomic_store_explicit(&dataset->waiting, next->waiting, memory_order_relaxed);
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
    for (uint32_t i = 0; i < change->runs_added_count; i++) {
        known_run_unref(change->runs_added[i]);
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

static bool is_live(const struct version *version, uint32_t shard, uint64_t number, uint32_t tier,
                    bool is_first)
{
    struct seg_ref *const *refs = is_first ? version->firsts : version->segs;
    uint32_t count = is_first ? version->first_count : version->seg_count;
    for (uint32_t i = 0; i < count; i++) {
        const struct catalog_segment *meta = &refs[i]->meta;
        if (meta->shard == shard && meta->number == number && meta->tier == tier) {
            return true;
        }
    }
    return false;
}

static enum err_code remove_orphans(struct opening *opening, uint32_t shard, uint32_t tier,
                                    struct err *err)
{
    char dir[DATASET_PATH_BYTES + 64];
    CLEANUP(buf_freep) struct buf names = {0};
    uint32_t count = 0;
    uint32_t removed = 0;
    if (tier == TIER_HOT) {
        dataset_shard_path(opening->dataset, shard, dir);
    } else {
        dataset_cold_shard_path(opening->dataset, shard, dir);
    }
    enum err_code code = io_list(opening->io, dir, &names, &count, err);
    if (code == ERR_NOT_FOUND && tier == TIER_COLD) {
        return ERR_OK; /* nothing of this shard was ever moved */
    }
    ERR_TRY(code);
    const char *name = (const char *)names.ptr;
    for (uint32_t i = 0; i < count; i++, name += strlen(name) + 1) {
        uint64_t number = 0;
        bool is_whole = false;
        bool is_first = false;
        if (!segment_number(name, &number, &is_whole, &is_first) ||
            (is_whole && is_live(opening->dataset->version, shard, number, tier, is_first))) {
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
        .commit_ms = dataset->commit_ms,
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

/* Which of a record's events are in segments or memtables already. */
static enum err_code find_known(struct opening *opening, struct record_events *events,
                                bool *is_known, struct err *err)
{
    struct dataset *dataset = opening->dataset;
    struct known_scope scope;
    CLEANUP(buf_freep) struct buf gathered = {0};
    enum err_code code = ERR_OK;
    known_scope_pin(dataset, &scope);
    for (uint32_t i = 0; code == ERR_OK && i < events->batch.event_count; i++) {
        const struct event *event = &events->batch.events[i];
        uint64_t key = known_key(event->event_id, dataset->row.seed);
        struct mem_place place;
        events->places[i].key = key;
        for (uint32_t k = 0; k < scope.memtable_count && !is_known[i]; k++) {
            is_known[i] = memtable_find_id(scope.memtables[k], key, event->event_id, &place);
        }
        uint32_t is_hit = 0;
        if (!is_known[i]) {
            code = known_probe(dataset, &scope, &key, 1, &is_hit, err);
        }
        if (code == ERR_OK && is_hit != 0) {
            struct suspect suspect = {.event = event, .idx = i};
            code = known_places(dataset, &scope, key, &suspect, err);
            if (code == ERR_OK) {
                buf_append(&gathered, &suspect, sizeof(suspect));
                code = buf_check(&gathered, err);
            }
        }
    }
    struct suspect *suspects = (struct suspect *)(void *)gathered.ptr;
    uint32_t count = (uint32_t)(gathered.len / sizeof(*suspects));
    if (code == ERR_OK && count > 0) {
        code = known_resolve(dataset, &scope, suspects, count, opening->io, err);
    }
    for (uint32_t i = 0; code == ERR_OK && i < count; i++) {
        is_known[suspects[i].idx] = suspects[i].is_found;
    }
    known_scope_unpin(&scope);
    return code;
}

static enum err_code replay_record(void *arg, uint64_t seq, struct str payload, struct err *err)
{
    struct opening *opening = arg;
    struct dataset *dataset = opening->dataset;
    struct arena_mark mark = arena_mark(opening->arena);
    struct record_events events;
    bool *is_known = NULL;
    ERR_TRY(record_decode(payload, dataset->ids, dataset->schema, opening->arena, &events, err));
    ERR_TRY(make_room(dataset, events.batch.event_count, err));
    ERR_TRY(ARENA_NEW(opening->arena, events.batch.event_count, &is_known, err));
    enum err_code code = find_known(opening, &events, is_known, err);
    if (code == ERR_CORRUPT && atomic_load(&dataset->wants_runs) &&
        !dataset->store->opts.is_read_only) { /* a run's damage, which shows when it is touched */
        ERR_TRY(runs_remake(dataset, opening->io, err));
        code = find_known(opening, &events, is_known, err);
    }
    ERR_TRY(code);
    for (uint32_t i = 0; i < events.batch.event_count; i++) {
        const struct event *event = &events.batch.events[i];
        const struct event_place *place = &events.places[i];
        if (is_known[i]) {
            opening->rows_skipped++;
            continue;
        }
        const uint32_t *cols = events.prop_cols + event->prop_first;
        ERR_TRY(memtable_append(dataset->active, place->shard, place->subject, &events.batch, event,
                                events.batch.arrival_ms, cols, err));
        ERR_TRY(memtable_know(dataset->active, place->shard, place->key, err));
        for (uint32_t k = 0; k < event->prop_count; k++) {
            schema_count_values(dataset->schema, cols[k], 1);
        }
        note_row(dataset, event->time_ms, events.batch.arrival_ms);
        opening->report->wal_events++;
    }
    memtable_publish(dataset->active);
    dataset->epoch = seq;
    dataset->commit_ms = MAX_OF(dataset->commit_ms, events.batch.arrival_ms);
    arena_rewind(opening->arena, mark);
    return ERR_OK;
}

/* Of all rows in segments, as their zones tell: of what was written before the catalog kept the clock. */
static int64_t newest_arrival(const struct version *version)
{
    int64_t newest_ms = 0;
    for (uint32_t i = 0; i < version->seg_count; i++) {
        const struct source *source = segment_source(version->segs[i]->segment);
        for (uint32_t block = 0; block < source->block_count; block++) {
            int64_t min_ms = 0;
            int64_t max_ms = 0;
            if (source_zone(source, COL_ARRIVAL, block, &min_ms, &max_ms)) {
                newest_ms = MAX_OF(newest_ms, max_ms);
            }
        }
    }
    return newest_ms;
}

static enum err_code open_log(struct opening *opening, struct err *err)
{
    struct dataset *dataset = opening->dataset;
    char dir[DATASET_PATH_BYTES + 64];
    struct wal_replay_report report = {0};
    snprintf(dir, sizeof(dir), "%s/wal", dataset->dir);
    dataset->epoch = dataset->row.epoch;
    dataset->commit_ms = MAX_OF(dataset->row.commit_ms, newest_arrival(dataset->version));
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
    dataset->clock_ms = dataset->commit_ms;
    dataset->logged.ids = dataset->ids_seen = ids_count(dataset->ids);
    dataset->logged.facts = dataset->facts_seen = ids_facts(dataset->ids);
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
    snprintf(path, sizeof(path), "%s/event-ids", dataset->dir);
    ERR_TRY(io_mkdir(io, path, err));
    return io_sync_dir(io, dataset->store->dir, err);
}

static enum err_code remove_all_orphans(struct opening *opening, struct err *err)
{
    const struct dataset *dataset = opening->dataset;
    enum cold_owner owner = COLD_NOBODYS;
    if (dataset->store->opts.is_read_only) {
        return ERR_OK;
    }
    if (dataset->cold_dir[0] != '\0') {
        ERR_TRY(cold_owner_read(opening->io, dataset->cold_dir, catalog_cold_owner(&dataset->row),
                                &owner, NULL, err));
    }
    opening->report->cold_anothers += owner == COLD_ANOTHERS;
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        ERR_TRY(remove_orphans(opening, shard, TIER_HOT, err));
        if (owner == COLD_OURS) { /* what is another's is not ours to remove */
            ERR_TRY(remove_orphans(opening, shard, TIER_COLD, err));
        }
    }
    return ERR_OK;
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
    dataset->version->firsts = calloc((size_t)opening->seg_count + 1, sizeof(struct seg_ref *));
    if (dataset->version->firsts == NULL) {
        return no_memory(err);
    }
    for (uint32_t i = 0; i < opening->seg_count; i++) {
        struct seg_ref *ref = TAKE(opening->segs[i]);
        if (ref->meta.is_first_times) {
            dataset->version->firsts[dataset->version->first_count++] = ref;
        } else {
            dataset->version->segs[dataset->version->seg_count++] = ref;
        }
    }
    dataset->version->number = 1;
    dataset->version->waiting = compaction_waiting(dataset->version, &dataset->limits);
    atomic_init(&dataset->waiting, dataset->version->waiting);
    opening->report->segments += dataset->version->seg_count;
    opening->seg_count = 0;
    ERR_TRY(catalog_deleted(catalog, id, load_deleted, opening, err));
    ERR_TRY(runs_open(dataset, opening->io, err));
    ERR_TRY(remove_all_orphans(opening, err));
    if (dataset->store->opts.is_read_only) {
        return ERR_OK; /* nothing is removed or made again */
    }
    uint64_t removed = 0;
    ERR_TRY(runs_open_finish(dataset, opening->io, err));
    ERR_TRY(runs_remove_orphans(dataset, opening->io, &removed, err));
    opening->report->orphan_files += (uint32_t)removed;
    return ERR_OK;
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
    for (uint32_t i = 0; i < COUNT_OF(dataset->groups); i++) {
        ERR_TRY(known_set_create(&dataset->groups[i].known, err));
    }
    ERR_TRY(memtable_create(dataset->schema, dataset->identity_version, &dataset->active, err));
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

static _Atomic uint64_t last_uid; /* of this process */

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
    pthread_mutex_init(&dataset->identity_lock, NULL);
    dataset->store = store;
    dataset->uid = atomic_fetch_add_explicit(&last_uid, 1, memory_order_relaxed) + 1;
    dataset->row = *row;
    dataset->identity_version = row->identity_version;
    atomic_init(&dataset->gone_before_ms, row->gone_before_ms);
    dataset_settings_apply(dataset);
    dataset->limits = compact_limits_default();
    dataset->first_rows_max = (uint64_t)SEG_BLOCKS_MAX * BLOCK_ROWS;
    dataset->group_start_bytes = GROUP_START_BYTES;
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
    if (store->cold_dir[0] != '\0' &&
        snprintf(dataset->cold_dir, sizeof(dataset->cold_dir), "%s/%s", store->cold_dir,
                 row->name) >= (int)sizeof(dataset->cold_dir)) {
        return err_set(err, ERR_INVALID, "cold path of data set \"%s\" is too long", row->name);
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
    identity_free(dataset->identity);
    memtable_unref(dataset->active);
    for (uint32_t i = 0; i < dataset->frozen_count; i++) {
        memtable_unref(dataset->frozen[i].memtable);
        free(dataset->frozen[i].value_counts);
    }
    version_unref(dataset->version);
    wal_close(dataset->wal);
    ids_close(dataset->ids);
    schema_free(dataset->schema);
    for (uint32_t i = 0; i < COUNT_OF(dataset->groups); i++) {
        struct group *group = &dataset->groups[i];
        buf_done(&group->places);
        buf_done(&group->cols);
        buf_done(&group->cells);
        buf_done(&group->placed);
        known_set_free(group->known);
    }
    buf_done(&dataset->record);
    pthread_mutex_destroy(&dataset->queue_lock);
    pthread_cond_destroy(&dataset->writer_free);
    pthread_mutex_destroy(&dataset->state_lock);
    pthread_mutex_destroy(&dataset->flush_lock);
    pthread_mutex_destroy(&dataset->compact_lock);
    pthread_mutex_destroy(&dataset->catalog_lock);
    pthread_mutex_destroy(&dataset->identity_lock);
    free(dataset);
}

/* ---- snapshots ---- */

struct moment { /* what is copied under the lock; views are made after it */
    struct memtable *memtables[FROZEN_MAX + 1];
    uint32_t rows[FROZEN_MAX + 1][SHARD_COUNT];
    uint32_t count;
    uint64_t ids_count, facts;
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
    snapshot->commit_ms = dataset->commit_ms;
    snapshot->watermark_ms =
        dataset->watermark_ms == INT64_MIN ? INT64_MIN : dataset->watermark_ms - LATE_MS;
    memcpy(snapshot->subject_count, dataset->subjects, sizeof(snapshot->subject_count));
    moment->ids_count = pin->ids_count = dataset->ids_seen;
    moment->facts = dataset->facts_seen;
    pthread_mutex_unlock(&dataset->state_lock);
}

/* What lies before the expiry as a whole says no more than who was there first. */
static void add_source(struct snapshot *snapshot, const struct source *source)
{
    if (source->time_max_ms < snapshot->expired_before_ms || source->is_first_times) {
        snapshot->history[snapshot->history_count++] = source;
        return;
    }
    snapshot->sources[snapshot->source_count++] = source;
    snapshot->row_count += source->row_count;
    snapshot->time_min_ms =
        MIN_OF(snapshot->time_min_ms, MAX_OF(source->time_min_ms, snapshot->expired_before_ms));
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
    snapshot->sources = calloc(cap + 1, sizeof(const struct source *));
    snapshot->history = calloc(cap + version->first_count + 1, sizeof(const struct source *));
    if (snapshot->sources == NULL || snapshot->history == NULL) {
        return no_memory(err);
    }
    uint32_t seg = 0;
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        uint32_t first_count = 0;
        struct seg_ref *const *firsts = version_firsts(version, shard, &first_count);
        snapshot->shard_begin[shard] = snapshot->source_count;
        snapshot->history_begin[shard] = snapshot->history_count;
        for (uint32_t i = 0; i < first_count; i++) {
            add_source(snapshot, segment_source(firsts[i]->segment));
        }
        for (; seg < version->seg_count && version->segs[seg]->meta.shard == shard; seg++) {
            add_source(snapshot, segment_source(version->segs[seg]->segment));
        }
        ERR_TRY(add_views(pin, moment, shard, err));
        if (version->deleted[shard] != NULL) {
            snapshot->deleted[shard] = version->deleted[shard]->bits;
            snapshot->hidden[shard] = version->deleted[shard]->bits;
            snapshot->has_erased |= !roaring_bitmap_is_empty(version->deleted[shard]->bits);
        }
    }
    snapshot->shard_begin[SHARD_COUNT] = snapshot->source_count;
    snapshot->history_begin[SHARD_COUNT] = snapshot->history_count;
    return ERR_OK;
}

/* `shows_identity`: under identity_lock. *ret_facts: of the moment; where there are some and they are not shown, the
 * snapshot is of no use. */
static enum err_code snapshot_once(struct dataset *dataset, bool shows_identity,
                                   struct snapshot **ret, uint64_t *ret_facts, struct err *err)
{
    struct snapshot_pin *pin = calloc(1, sizeof(*pin));
    if (pin == NULL) {
        return no_memory(err);
    }
    struct moment moment = {.count = 0};
    pin->snapshot.dataset = dataset;
    pin->snapshot.schema = dataset->schema;
    pin->snapshot.time_min_ms = INT64_MAX;
    pin->snapshot.time_max_ms = INT64_MIN;
    take_moment(dataset, pin, &moment);
    pin->snapshot.identity_version = dataset->identity_version + moment.facts;
    pin->snapshot.has_facts = moment.facts > 0;
    /* After the version is pinned: whatever expiry has taken out of it is older than this. */
    pin->snapshot.expired_before_ms = dataset_expired_before(dataset);
    pin->snapshot.history_from_ms =
        MAX_OF(pin->snapshot.expired_before_ms,
               atomic_load_explicit(&dataset->gone_before_ms, memory_order_relaxed));
    enum err_code code = fill_snapshot(pin, &moment, err);
    if (code == ERR_OK && shows_identity) {
        const struct identity_moment seen = {
            .memtables = moment.memtables,
            .rows = (const uint32_t(*)[SHARD_COUNT])moment.rows,
            .count = moment.count,
            .ids_count = moment.ids_count,
        };
        code = dataset_show_identity(dataset, &pin->snapshot, &seen, &pin->overlay, err);
    }
    for (uint32_t i = 0; i < moment.count; i++) {
        memtable_unref(moment.memtables[i]);
    }
    if (code != ERR_OK) {
        snapshot_unpin(&pin->snapshot);
        return code;
    }
    *ret = &pin->snapshot;
    *ret_facts = moment.facts;
    return ERR_OK;
}

enum err_code dataset_snapshot(struct dataset *dataset, struct snapshot **ret, struct err *err)
{
    struct snapshot *snapshot = NULL;
    uint64_t facts = 0;
    if (!dataset_has_facts(dataset)) {
        ERR_TRY(snapshot_once(dataset, false, &snapshot, &facts, err));
        if (facts == 0) {
            *ret = snapshot;
            return ERR_OK;
        }
        snapshot_unpin(snapshot); /* the first ones came in between */
    }
    pthread_mutex_lock(&dataset->identity_lock);
    enum err_code code = snapshot_once(dataset, true, ret, &facts, err);
    pthread_mutex_unlock(&dataset->identity_lock);
    return code;
}

enum err_code dataset_snapshot_stored(struct dataset *dataset, struct snapshot **ret,
                                      uint64_t *ret_ids_count, struct err *err)
{
    uint64_t facts = 0;
    ERR_TRY(snapshot_once(dataset, false, ret, &facts, err));
    *ret_ids_count = ((const struct snapshot_pin *)*ret)->ids_count;
    return ERR_OK;
}

void snapshot_unpin(struct snapshot *snapshot)
{
    struct snapshot_pin *pin = (struct snapshot_pin *)snapshot;
    for (uint32_t i = 0; i < pin->view_count; i++) {
        memtable_view_unref(pin->views[i]);
    }
    identity_overlay_done(&pin->overlay);
    identity_free(pin->snapshot.own_identity);
    free(pin->cuts);
    version_unref(pin->version);
    free(pin->snapshot.sources);
    free(pin->snapshot.history);
    free(pin);
}

/* ---- facts ---- */

const char *dataset_name(const struct dataset *dataset)
{
    return dataset->name;
}

uint64_t dataset_uid(const struct dataset *dataset)
{
    return dataset->uid;
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

static bool find_stored(struct dataset *dataset, enum id_kind kind, struct str id,
                        uint32_t *ret_shard, uint32_t *ret_subject)
{
    uint32_t shard = 0;
    uint32_t subject = 0;
    if (event_id_is_sentinel(id) || !ids_find(dataset->ids, kind, id, &shard, &subject) ||
        !is_known_subject(dataset, shard, subject)) {
        return false;
    }
    *ret_shard = shard;
    *ret_subject = subject;
    return true;
}

bool dataset_find_stored(struct dataset *dataset, struct str user_id, uint32_t *ret_shard,
                         uint32_t *ret_subject)
{
    return find_stored(dataset, ID_USER, user_id, ret_shard, ret_subject);
}

bool dataset_find_subject(struct dataset *dataset, struct str user_id, struct str anonymous_id,
                          uint32_t *ret_shard, uint32_t *ret_subject)
{
    bool is_user = !event_id_is_sentinel(user_id);
    if (!find_stored(dataset, is_user ? ID_USER : ID_ANONYMOUS, is_user ? user_id : anonymous_id,
                     ret_shard, ret_subject)) {
        return false;
    }
    dataset_owner(dataset, INT64_MAX, ret_shard, ret_subject);
    return true;
}

bool snapshot_find_subject(const struct snapshot *snapshot, struct str user_id,
                           struct str anonymous_id, uint32_t *ret_shard, uint32_t *ret_subject)
{
    bool is_user = !event_id_is_sentinel(user_id);
    if (!snapshot->is_own) {
        return dataset_find_subject(snapshot->dataset, user_id, anonymous_id, ret_shard,
                                    ret_subject);
    }
    if (!find_stored(snapshot->dataset, is_user ? ID_USER : ID_ANONYMOUS,
                     is_user ? user_id : anonymous_id, ret_shard, ret_subject)) {
        return false;
    }
    if (snapshot->is_past && *ret_subject >= snapshot->known_count[*ret_shard] &&
        (snapshot->own_identity == NULL ||
         !identity_knows(snapshot->own_identity, identity_place(*ret_shard, *ret_subject)))) {
        return false; /* it came later */
    }
    identity_find_owner(snapshot->own_identity, INT64_MAX, ret_shard, ret_subject);
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

/* As the writer and under catalog_lock: no other commit is under way, so that the clock's order is that of what snapshots
 * show. */
static enum err_code delete_subject(struct dataset *dataset, uint32_t shard, uint32_t subject,
                                    struct err *err)
{
    int64_t commit_ms = dataset_next_clock(dataset, store_wall_ms(dataset->store));
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
            catalog_delete_subject(dataset->store->catalog, dataset->row.id, shard, subject,
                                   commit_ms, err);
    }
    if (code != ERR_OK) {
        version_unref(next);
        return code;
    }
    dataset->row.commit_ms = commit_ms;
    pthread_mutex_lock(&dataset->state_lock);
    struct version *old = dataset->version;
    dataset->version = next;
    dataset->commit_ms = commit_ms;
    pthread_mutex_unlock(&dataset->state_lock);
    version_unref(old);
    return ERR_OK;
}

enum err_code dataset_delete_subject(struct dataset *dataset, uint32_t shard, uint32_t subject,
                                     struct err *err)
{
    CLEANUP(io_freep) struct io *io = NULL;
    if (dataset->store->opts.is_read_only) {
        return err_set(err, ERR_INVALID, "the store was opened read-only");
    }
    if (!is_known_subject(dataset, shard, subject)) {
        return err_set(err, ERR_NOT_FOUND, "subject %" PRIu32 " of shard %" PRIu32, subject, shard);
    }
    ERR_TRY(io_create(dataset->store->opts.io_kind, &io, err));
    dataset_writer_acquire(dataset);
    pthread_mutex_lock(&dataset->catalog_lock);
    enum err_code code = delete_subject(dataset, shard, subject, err);
    pthread_mutex_unlock(&dataset->catalog_lock);
    dataset_writer_release(dataset, io);
    return code;
}

struct dataset_stats dataset_stats(struct dataset *dataset)
{
    struct dataset_stats stats = {
        .accepted = atomic_load(&dataset->accepted),
        .duplicates = atomic_load(&dataset->duplicates),
        .conflicts = atomic_load(&dataset->conflicts),
        .known_hits = atomic_load(&dataset->known_hits),
        .known_misses = atomic_load(&dataset->known_misses),
        .rejected = atomic_load(&dataset->rejected),
        .commits = atomic_load(&dataset->commits),
        .flushes = atomic_load(&dataset->flushes),
        .compactions = atomic_load(&dataset->compactions),
        .compacted_bytes = atomic_load(&dataset->compacted_bytes),
        .waiting_segments = atomic_load(&dataset->waiting),
        .behind = atomic_load(&dataset->behind),
        .flushed_bytes = atomic_load(&dataset->flushed_bytes),
        .rewritten_bytes = atomic_load(&dataset->rewritten_bytes),
        .expired_rows = atomic_load(&dataset->expired_rows),
        .expired_segments = atomic_load(&dataset->expired_segments),
        .moved_segments = atomic_load(&dataset->moved_segments),
        .moved_bytes = atomic_load(&dataset->moved_bytes),
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
        if (dataset->version->segs[i]->meta.tier == TIER_COLD) {
            stats.cold_segments++;
            stats.cold_bytes += dataset->version->segs[i]->meta.bytes;
        }
    }
    stats.first_files = dataset->version->first_count;
    for (uint32_t i = 0; i < dataset->version->first_count; i++) {
        stats.first_times += dataset->version->firsts[i]->meta.row_count;
        stats.first_bytes += dataset->version->firsts[i]->meta.bytes;
    }
    stats.id_runs = dataset->version->run_count;
    for (uint32_t i = 0; i < dataset->version->run_count; i++) {
        stats.id_run_bytes += known_run_info(dataset->version->runs[i]).bytes;
    }
    for (uint32_t i = 0; i < SHARD_COUNT; i++) {
        stats.subjects += dataset->subjects[i];
    }
    stats.subjects -= dataset->facts_seen; /* numbers that are nobody's */
    stats.epoch = dataset->epoch;
    stats.commit_ms = dataset->commit_ms;
    stats.last_error_ms = dataset->last_error_ms;
    memcpy(stats.last_error, dataset->last_error, sizeof(stats.last_error));
    pthread_mutex_unlock(&dataset->state_lock);
    return stats;
}
