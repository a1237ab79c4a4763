/* storage/dataset_runs.c - the files of known event ids of a data set: DATA/<dataset>/event-ids/.
 *
 * A flush adds one run, in the transaction that adds its segments; so the runs of the catalog stand
 * for just the rows of its segments, less what is older (by arrival) than the dedup window. In the
 * background runs that neighbour in arrival are merged where the largest of them is at most three times
 * the others together, and a run whose newest row has left the window is dropped. With a window a merge spans
 * at most a quarter of it, so no run holds on to much more than the window.
 *
 * Runs can be made again from the segments, and are: where one is missing or damaged, or where there
 * are segments in the window and not one run (a repaired folder), all are. A run of rows that have
 * since been rewritten by compaction stays right, for shard and subject of a row do not change.
 */
#include "storage/dataset_int.h"

#include "storage/base/size.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define LARGEST_PARTS 3u /* a merge writes a run again for others of at least a third of it */
#define MERGE_MAX     64u
#define RUNS_MAX      12u /* above it neighbours are merged whatever their sizes */
#define REMAKE_ROWS   (8u << 20)
#define REMAKE_EACH   ((uint64_t)REMAKE_ROWS * sizeof(struct known_entry))
#define WINDOW_PARTS  4u

static void runs_dir(const struct dataset *dataset, char out[DATASET_PATH_BYTES + 64])
{
    snprintf(out, DATASET_PATH_BYTES + 64, "%s/event-ids", dataset->dir);
}

void dataset_run_path(const struct dataset *dataset, uint64_t number,
                      char out[DATASET_PATH_BYTES + 64])
{
    snprintf(out, DATASET_PATH_BYTES + 64, "%s/event-ids/%06" PRIu64 ".run", dataset->dir, number);
}

static void unlink_run(struct dataset *dataset, struct io *io, uint64_t number)
{
    struct err ignored; /* what cannot be removed is an orphan for the next opening */
    char path[DATASET_PATH_BYTES + 64];
    dataset_run_path(dataset, number, path);
    (void)!io_unlink(io, path, &ignored);
}

/* Arrivals before it are out of the window; INT64_MIN where there is no window. */
static int64_t window_begin(const struct dataset *dataset)
{
    uint64_t window_ms = atomic_load(&dataset->dedup_window_ms);
    int64_t now_ms = store_wall_ms(dataset->store);
    return window_ms == 0 || window_ms > (uint64_t)now_ms ? INT64_MIN : now_ms - (int64_t)window_ms;
}

/* ---- writing ---- */

struct run_target {
    struct dataset *dataset;
    struct io *io;
    uint64_t number;
    struct known_run_writer *writer;
};

static enum err_code target_begin(struct run_target *target, uint64_t count, uint32_t subject_max,
                                  uint32_t shift_min, struct err *err)
{
    char path[DATASET_PATH_BYTES + 64];
    dataset_run_path(target->dataset, target->number, path);
    return known_run_create(target->io, path, count, subject_max, shift_min, &target->writer, err);
}

static enum err_code target_end(struct run_target *target, int64_t arrival_min_ms,
                                int64_t arrival_max_ms, struct known_run **ret, struct err *err)
{
    char path[DATASET_PATH_BYTES + 64];
    struct known_run_info info;
    ERR_TRY(known_run_finish(target->writer, arrival_min_ms, arrival_max_ms, &info, err));
    runs_dir(target->dataset, path);
    ERR_TRY(io_sync_dir(target->io, path, err));
    dataset_run_path(target->dataset, target->number, path);
    return known_run_open(target->io, path, target->number, ret, err);
}

static enum err_code add_known(void *arg, uint64_t key, uint32_t shard, uint32_t subject,
                               struct err *err)
{
    struct run_target *target = arg;
    struct known_entry entry = {.key = key, .place = {shard, subject, subject}};
    return known_run_add(target->writer, &entry, err);
}

enum err_code runs_write_memtable(struct dataset *dataset, const struct memtable *memtable,
                                  struct io *io, uint64_t *ret_number, struct known_run **ret,
                                  struct err *err)
{
    struct mem_known facts = memtable_known(memtable);
    if (facts.count == 0) {
        *ret = NULL;
        return ERR_OK;
    }
    struct run_target target = {.dataset = dataset, .io = io};
    target.number = *ret_number = dataset_next_segment(dataset);
    enum err_code code = target_begin(&target, facts.count, facts.subject_max, 0, err);
    if (code == ERR_OK) {
        code = memtable_known_sorted(memtable, add_known, &target, err);
    }
    if (code == ERR_OK) {
        code = target_end(&target, facts.arrival_min_ms, facts.arrival_max_ms, ret, err);
    }
    known_run_abandon(target.writer);
    return code;
}

/* ---- a change ---- */

struct run_change {
    struct dataset *dataset;
    struct io *io;
    struct known_run **added; /* room for added_cap */
    uint64_t *added_numbers;
    uint32_t added_count, added_cap;
    const uint64_t *dropped;
    uint32_t dropped_count;
};

static enum err_code change_apply(struct run_change *change, struct err *err)
{
    struct dataset *dataset = change->dataset;
    bool is_unsure = false;
    struct version_change applied = {.runs_added = change->added,
                                     .runs_added_count = change->added_count,
                                     .runs_dropped = change->dropped,
                                     .runs_dropped_count = change->dropped_count,
                                     .ret_is_unsure = &is_unsure};
    pthread_mutex_lock(&dataset->catalog_lock);
    enum err_code code = dataset_apply(dataset, &applied, err);
    pthread_mutex_unlock(&dataset->catalog_lock);
    if (code == ERR_OK) {
        for (uint32_t i = 0; i < change->dropped_count; i++) {
            unlink_run(dataset, change->io, change->dropped[i]);
        }
        change->added_count = 0; /* the version's now */
    } else if (is_unsure) {
        for (uint32_t i = 0; i < change->added_count; i++) {
            known_run_unref(change->added[i]); /* but their files stay */
        }
        change->added_count = 0;
    }
    return code;
}

/* What a failed change leaves. */
static void change_undo(struct run_change *change)
{
    for (uint32_t i = 0; i < change->added_count; i++) {
        uint64_t number = known_run_number(change->added[i]);
        known_run_unref(change->added[i]);
        unlink_run(change->dataset, change->io, number);
    }
    change->added_count = 0;
}

/* ---- merging ---- */

struct merging {
    struct known_run *const *runs;
    struct known_cursor cursors[MERGE_MAX];
    struct known_entry heads[MERGE_MAX];
    bool is_more[MERGE_MAX];
    uint32_t count;
};

static enum err_code merge_step(struct merging *merging, struct known_run_writer *writer,
                                bool *ret_did, struct err *err)
{
    uint32_t least = UINT32_MAX;
    for (uint32_t i = 0; i < merging->count; i++) {
        if (merging->is_more[i] &&
            (least == UINT32_MAX || merging->heads[i].key < merging->heads[least].key)) {
            least = i;
        }
    }
    *ret_did = least != UINT32_MAX;
    if (!*ret_did) {
        return ERR_OK;
    }
    ERR_TRY(known_run_add(writer, &merging->heads[least], err));
    return known_cursor_next(&merging->cursors[least], &merging->heads[least],
                             &merging->is_more[least], err);
}

static enum err_code merge_into(struct merging *merging, struct known_run_writer *writer,
                                const _Atomic bool *is_cancelled, struct err *err)
{
    for (uint32_t i = 0; i < merging->count; i++) {
        merging->cursors[i] = (struct known_cursor){.run = merging->runs[i]};
        ERR_TRY(
            known_cursor_next(&merging->cursors[i], &merging->heads[i], &merging->is_more[i], err));
    }
    bool did = true;
    for (uint32_t k = 1; did; k++) {
        if (k % BLOCK_ROWS == 0 && atomic_load_explicit(is_cancelled, memory_order_relaxed)) {
            return err_set(err, ERR_CANCELLED, "the store is closing");
        }
        ERR_TRY(merge_step(merging, writer, &did, err));
    }
    return ERR_OK;
}

static enum err_code merge_runs(struct dataset *dataset, struct known_run *const *runs,
                                uint32_t count, struct io *io, struct err *err)
{
    struct merging merging = {.runs = runs, .count = count};
    uint64_t dropped[MERGE_MAX];
    struct known_run_info sum = {.arrival_min_ms = INT64_MAX, .arrival_max_ms = INT64_MIN};
    ASSERT(count <= MERGE_MAX);
    for (uint32_t i = 0; i < count; i++) {
        struct known_run_info info = known_run_info(runs[i]);
        dropped[i] = known_run_number(runs[i]);
        sum.count += info.count;
        sum.arrival_min_ms = MIN_OF(sum.arrival_min_ms, info.arrival_min_ms);
        sum.arrival_max_ms = MAX_OF(sum.arrival_max_ms, info.arrival_max_ms);
        sum.subject_max = MAX_OF(sum.subject_max, info.subject_max);
        sum.subject_shift = MAX_OF(sum.subject_shift, info.subject_shift);
    }
    struct known_run *merged = NULL;
    struct run_change change = {
        .dataset = dataset, .io = io, .added = &merged, .dropped = dropped, .dropped_count = count};
    struct run_target target = {.dataset = dataset, .io = io};
    target.number = dataset_next_segment(dataset);
    enum err_code code = target_begin(&target, sum.count, sum.subject_max, sum.subject_shift, err);
    if (code == ERR_OK) {
        code = merge_into(&merging, target.writer, &dataset->store->is_cancelled, err);
    }
    if (code == ERR_OK) {
        code = target_end(&target, sum.arrival_min_ms, sum.arrival_max_ms, &merged, err);
        change.added_count = code == ERR_OK;
    }
    if (code == ERR_OK) {
        code = change_apply(&change, err);
    } else {
        unlink_run(dataset, io, target.number);
    }
    change_undo(&change);
    known_run_abandon(target.writer);
    return code;
}

/* ---- choosing ---- */

/* How many runs from `first` on may be merged: within a quarter of the window. */
static uint32_t span_from(const struct known_run_info *infos, uint32_t count, uint32_t first,
                          uint64_t window_ms)
{
    int64_t max_ms = infos[first].arrival_max_ms;
    uint32_t end = first + 1;
    for (; end < count && end - first < MERGE_MAX; end++) {
        max_ms = MAX_OF(max_ms, infos[end].arrival_max_ms);
        uint64_t span_ms = (uint64_t)max_ms - (uint64_t)infos[first].arrival_min_ms;
        if (window_ms != 0 && span_ms > window_ms / WINDOW_PARTS) {
            break;
        }
    }
    return end - first;
}

/* The most of the first `span` runs whose largest is not too large to be written again for the others: 0 where
 * there are none. An id is written again as often as its run grows by a fair part, and runs in one span rise in size by
 * more than LARGEST_PARTS from the newest to the oldest: both are logarithms of how much there is. */
static uint32_t worth_merging(const struct known_run_info *infos, uint32_t span)
{
    uint64_t total = 0;
    uint64_t largest = 0;
    uint32_t found = 0;
    for (uint32_t i = 0; i < span; i++) {
        total += infos[i].count;
        largest = MAX_OF(largest, infos[i].count);
        found = i > 0 && largest <= LARGEST_PARTS * (total - largest) ? i + 1 : found;
    }
    return found;
}

uint32_t runs_plan(const struct known_run_info *infos, uint32_t count, uint64_t window_ms,
                   bool is_full, uint32_t *ret_first)
{
    if (is_full) {
        for (uint32_t first = 0; first + 1 < count; first++) {
            uint32_t span = span_from(infos, count, first, window_ms);
            if (span >= 2) {
                *ret_first = first;
                return span;
            }
        }
        return 0;
    }
    for (uint32_t first = 0; first < count; first++) {
        uint32_t found = worth_merging(infos + first, span_from(infos, count, first, window_ms));
        if (found >= 2) {
            *ret_first = first;
            return found;
        }
    }
    if (count <= RUNS_MAX) {
        return 0;
    }
    /* The cheapest two neighbours, whatever they span. */
    uint32_t least = 0;
    for (uint32_t i = 1; i + 1 < count; i++) {
        if (infos[i].count + infos[i + 1].count < infos[least].count + infos[least + 1].count) {
            least = i;
        }
    }
    *ret_first = least;
    return 2;
}

static enum err_code drop_old(struct dataset *dataset, const struct version *version, struct io *io,
                              bool *ret_did, struct err *err)
{
    int64_t begin_ms = window_begin(dataset);
    uint64_t dropped[MERGE_MAX];
    struct run_change change = {.dataset = dataset, .io = io, .dropped = dropped};
    for (uint32_t i = 0; i < version->run_count && change.dropped_count < MERGE_MAX; i++) {
        if (known_run_info(version->runs[i]).arrival_max_ms < begin_ms) {
            dropped[change.dropped_count++] = known_run_number(version->runs[i]);
        }
    }
    *ret_did = change.dropped_count > 0;
    return *ret_did ? change_apply(&change, err) : ERR_OK;
}

static enum err_code merge_some(struct dataset *dataset, const struct version *version,
                                bool is_full, struct io *io, bool *ret_did, struct err *err)
{
    *ret_did = false;
    if (version->run_count < 2) {
        return ERR_OK;
    }
    struct known_run_info *infos = calloc(version->run_count, sizeof(*infos));
    if (infos == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for %" PRIu32 " runs of event ids",
                       version->run_count);
    }
    for (uint32_t i = 0; i < version->run_count; i++) {
        infos[i] = known_run_info(version->runs[i]);
    }
    uint32_t first = 0;
    uint32_t count = runs_plan(infos, version->run_count, atomic_load(&dataset->dedup_window_ms),
                               is_full, &first);
    free(infos);
    if (count == 0) {
        return ERR_OK;
    }
    *ret_did = true;
    return merge_runs(dataset, version->runs + first, count, io, err);
}

/* ---- making them again ---- */

struct remaking {
    struct run_change change;
    struct known_entry *entries; /* room for REMAKE_ROWS */
    uint32_t count;
    uint32_t subject_max;
    int64_t arrival_min_ms, arrival_max_ms;
    int64_t window_begin_ms;
};

static int entry_cmp(const void *a, const void *b)
{
    uint64_t x = ((const struct known_entry *)a)->key;
    uint64_t y = ((const struct known_entry *)b)->key;
    return (x > y) - (x < y);
}

static enum err_code change_room(struct run_change *change, struct err *err)
{
    if (change->added_count < change->added_cap) {
        return ERR_OK;
    }
    uint32_t cap = change->added_cap == 0 ? 16 : change->added_cap * 2;
    struct known_run **grown = realloc(change->added, cap * sizeof(struct known_run *));
    if (grown == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for %" PRIu32 " runs of event ids", cap);
    }
    change->added = grown;
    change->added_cap = cap;
    return ERR_OK;
}

/* A run of the rows gathered so far. */
static enum err_code remake_flush(struct remaking *remaking, struct err *err)
{
    if (remaking->count == 0) {
        return ERR_OK;
    }
    struct run_target target = {.dataset = remaking->change.dataset, .io = remaking->change.io};
    ERR_TRY(change_room(&remaking->change, err));
    target.number = dataset_next_segment(target.dataset);
    qsort(remaking->entries, remaking->count, sizeof(struct known_entry), entry_cmp);
    enum err_code code = target_begin(&target, remaking->count, remaking->subject_max, 0, err);
    for (uint32_t i = 0; code == ERR_OK && i < remaking->count; i++) {
        code = known_run_add(target.writer, &remaking->entries[i], err);
    }
    struct known_run *run = NULL;
    if (code == ERR_OK) {
        code = target_end(&target, remaking->arrival_min_ms, remaking->arrival_max_ms, &run, err);
    }
    known_run_abandon(target.writer);
    if (code != ERR_OK) {
        unlink_run(target.dataset, target.io, target.number);
        return code;
    }
    remaking->change.added[remaking->change.added_count++] = run;
    remaking->count = 0;
    remaking->subject_max = 0;
    remaking->arrival_min_ms = INT64_MAX;
    remaking->arrival_max_ms = INT64_MIN;
    return ERR_OK;
}

static enum err_code remake_block(struct remaking *remaking, const struct source *source,
                                  uint32_t block, struct arena *arena, struct err *err)
{
    struct read_ctx ctx = {.arena = arena, .io = remaking->change.io};
    uint64_t seed = remaking->change.dataset->row.seed;
    int64_t zone_min = 0;
    int64_t zone_max = 0;
    if (source_zone(source, COL_ARRIVAL, block, &zone_min, &zone_max) &&
        zone_max < remaking->window_begin_ms) {
        return ERR_OK;
    }
    if (remaking->count > REMAKE_ROWS - BLOCK_ROWS) {
        ERR_TRY(remake_flush(remaking, err));
    }
    struct vec ids, subjects, arrivals;
    ERR_TRY(source_read(source, &ctx, COL_EVENT_ID, block, &ids, err));
    ERR_TRY(source_read(source, &ctx, COL_SUBJECT, block, &subjects, err));
    ERR_TRY(source_read(source, &ctx, COL_ARRIVAL, block, &arrivals, err));
    for (uint32_t row = 0; row < ids.rows; row++) {
        int64_t arrival_ms = arrivals.i64[row];
        uint32_t subject = subjects.u32[row];
        if (arrival_ms < remaking->window_begin_ms) {
            continue;
        }
        remaking->entries[remaking->count++] = (struct known_entry){
            .key = known_key(vec_str(&ids, row), seed), .place = {source->shard, subject, subject}};
        remaking->subject_max = MAX_OF(remaking->subject_max, subject);
        remaking->arrival_min_ms = MIN_OF(remaking->arrival_min_ms, arrival_ms);
        remaking->arrival_max_ms = MAX_OF(remaking->arrival_max_ms, arrival_ms);
    }
    return ERR_OK;
}

static enum err_code remake_from(struct remaking *remaking, const struct version *version,
                                 struct err *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    for (uint32_t i = 0; i < version->seg_count; i++) {
        const struct source *source = segment_source(version->segs[i]->segment);
        for (uint32_t block = 0; block < source->block_count; block++) {
            struct arena_mark mark = arena_mark(arena);
            ERR_TRY(remake_block(remaking, source, block, arena, err));
            arena_rewind(arena, mark);
        }
    }
    return remake_flush(remaking, err);
}

static enum err_code note_number(void *arg, const struct catalog_run *run, struct err *err)
{
    struct buf *numbers = arg;
    buf_append(numbers, &run->number, sizeof(run->number));
    return buf_check(numbers, err);
}

/* Of what the catalog lists now: runs that a flush adds meanwhile stand for segments that `version`
 * does not have, so they stay. */
enum err_code runs_remake(struct dataset *dataset, struct io *io, struct err *err)
{
    CLEANUP(buf_freep) struct buf dropped = {0};
    struct remaking remaking = {.change = {.dataset = dataset, .io = io},
                                .arrival_min_ms = INT64_MAX,
                                .arrival_max_ms = INT64_MIN,
                                .window_begin_ms = window_begin(dataset)};
    pthread_mutex_lock(&dataset->catalog_lock);
    struct version *version = version_pin(dataset);
    enum err_code code =
        catalog_runs(dataset->store->catalog, dataset->row.id, note_number, &dropped, err);
    pthread_mutex_unlock(&dataset->catalog_lock);
    remaking.entries = malloc(REMAKE_EACH);
    if (code == ERR_OK && remaking.entries == NULL) {
        code = err_set(err, ERR_NOMEM, "no memory for making runs of event ids");
    }
    if (code == ERR_OK) {
        code = remake_from(&remaking, version, err);
    }
    remaking.change.dropped = (const uint64_t *)(const void *)dropped.ptr;
    remaking.change.dropped_count = (uint32_t)(dropped.len / sizeof(uint64_t));
    if (code == ERR_OK && remaking.change.added_count + remaking.change.dropped_count > 0) {
        code = change_apply(&remaking.change, err);
    }
    change_undo(&remaking.change);
    free(remaking.change.added);
    free(remaking.entries);
    version_unref(version);
    if (code != ERR_OK) {
        return err_context(err, "making the runs of event ids again");
    }
    atomic_store(&dataset->wants_runs, false);
    return ERR_OK;
}

enum err_code runs_step(struct dataset *dataset, bool is_full, struct io *io, bool *ret_did,
                        struct err *err)
{
    pthread_mutex_lock(&dataset->compact_lock);
    enum err_code code = ERR_OK;
    *ret_did = atomic_load(&dataset->wants_runs);
    if (*ret_did) {
        code = runs_remake(dataset, io, err);
    } else {
        struct version *version = version_pin(dataset);
        code = drop_old(dataset, version, io, ret_did, err);
        if (code == ERR_OK && !*ret_did) {
            code = merge_some(dataset, version, is_full, io, ret_did, err);
            if (code == ERR_CORRUPT) {
                atomic_store(&dataset->wants_runs, true);
            }
        }
        version_unref(version);
    }
    pthread_mutex_unlock(&dataset->compact_lock);
    return code == ERR_OK ? ERR_OK : err_context(err, "data set \"%s\"", dataset->name);
}

/* ---- opening ---- */

struct run_list {
    struct dataset *dataset;
    struct io *io;
    struct run_change change;
};

static enum err_code load_run(void *arg, const struct catalog_run *listed, struct err *err)
{
    struct run_list *list = arg;
    char path[DATASET_PATH_BYTES + 64];
    struct known_run *run = NULL;
    ERR_TRY(change_room(&list->change, err));
    dataset_run_path(list->dataset, listed->number, path);
    enum err_code code = known_run_open(list->io, path, listed->number, &run, err);
    if (code == ERR_CORRUPT || code == ERR_NOT_FOUND ||
        (code == ERR_OK && known_run_info(run).count != listed->count)) {
        known_run_unref(run); /* it can be made again */
        atomic_store(&list->dataset->wants_runs, true);
        return ERR_OK;
    }
    ERR_TRY(code);
    list->change.added[list->change.added_count++] = run;
    return ERR_OK;
}

enum err_code runs_open(struct dataset *dataset, struct io *io, struct err *err)
{
    struct run_list list = {.dataset = dataset, .io = io};
    enum err_code code =
        catalog_runs(dataset->store->catalog, dataset->row.id, load_run, &list, err);
    if (code != ERR_OK) {
        for (uint32_t i = 0; i < list.change.added_count; i++) {
            known_run_unref(list.change.added[i]);
        }
        free(list.change.added);
        return code;
    }
    dataset->version->runs = list.change.added;
    dataset->version->run_count = list.change.added_count;
    return ERR_OK;
}

static bool has_rows_in_window(const struct dataset *dataset)
{
    int64_t begin_ms = window_begin(dataset);
    for (uint32_t i = 0; i < dataset->version->seg_count; i++) {
        const struct source *source = segment_source(dataset->version->segs[i]->segment);
        for (uint32_t block = 0; block < source->block_count; block++) {
            int64_t min = 0;
            int64_t max = 0;
            if (!source_zone(source, COL_ARRIVAL, block, &min, &max) || max >= begin_ms) {
                return true;
            }
        }
    }
    return false;
}

enum err_code runs_open_finish(struct dataset *dataset, struct io *io, struct err *err)
{
    if (dataset->version->run_count == 0 && has_rows_in_window(dataset)) {
        atomic_store(&dataset->wants_runs, true);
    }
    return atomic_load(&dataset->wants_runs) ? runs_remake(dataset, io, err) : ERR_OK;
}

static bool is_live_run(const struct version *version, const char *name)
{
    for (uint32_t i = 0; i < version->run_count; i++) {
        char live[32];
        snprintf(live, sizeof(live), "%06" PRIu64 ".run", known_run_number(version->runs[i]));
        if (strcmp(live, name) == 0) {
            return true;
        }
    }
    return false;
}

/* Is it a run's name, or what writing one may leave behind? Others' files are left alone. */
static bool is_run_name(const char *name)
{
    size_t digits = strspn(name, "0123456789");
    return digits >= 6 &&
           (strcmp(name + digits, ".run") == 0 || strcmp(name + digits, ".run.tmp") == 0);
}

enum err_code runs_remove_orphans(struct dataset *dataset, struct io *io, uint64_t *ret_removed,
                                  struct err *err)
{
    CLEANUP(buf_freep) struct buf names = {0};
    char dir[DATASET_PATH_BYTES + 64];
    uint32_t count = 0;
    uint64_t removed = 0;
    runs_dir(dataset, dir);
    ERR_TRY(io_list(io, dir, &names, &count, err));
    const char *name = (const char *)names.ptr;
    for (uint32_t i = 0; i < count; i++, name += strlen(name) + 1) {
        if (!is_run_name(name) || is_live_run(dataset->version, name)) {
            continue;
        }
        char path[DATASET_PATH_BYTES + 64 + 256];
        snprintf(path, sizeof(path), "%s/%s", dir, name);
        ERR_TRY(io_unlink(io, path, err));
        removed++;
    }
    *ret_removed = removed;
    return removed == 0 ? ERR_OK : io_sync_dir(io, dir, err);
}
