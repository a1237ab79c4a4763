/* storage/store.c - a data folder: lock, catalog, data sets, and two background threads.
 *
 * One thread flushes, one compacts, so that a long merge never delays a flush. Both wake when told
 * (a memtable is full, a segment was added) and once a second for what depends on time. */
#include "storage/store.h"

#include "storage/care_int.h"
#include "storage/dataset_int.h"
#include "storage/expiry.h"
#include "storage/tiers.h"
#include "storage/folder_lock.h"

#include "storage/base/clock.h"
#include "storage/base/size.h"
#include "storage/base/slabs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define TICK_MS        1000
#define COMPACTOR_NICE 10
#define SLABS_A_TICK   16u

void store_opts_default(struct store_opts *opts)
{
    *opts = (struct store_opts){
        .io_kind = IO_AUTO,
        .block_cache_bytes = (size_t)1 << 30,
        .flush_rows = 1u << 20,
        .flush_bytes = 512ULL << 20,
        .memtable_bytes_max = 2ULL << 30,
        .identity_bytes_max = 2ULL << 30,
        .queue_bytes_max = 256ULL << 20,
        .flush_age_ms = 10 * 60 * 1000,
        .compact_in_background = true,
        .fresh = {.dedup_window_ms = DEDUP_WINDOW_MS_DEFAULT},
        .backlog_max = 512,
    };
}

bool dataset_name_is_valid(struct str name)
{
    if (name.len == 0 || name.len > DATASET_NAME_BYTES_MAX) {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool is_word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!is_word && (i == 0 || (c != '.' && c != '_' && c != '-'))) {
            return false;
        }
    }
    return true;
}

/* ---- a folder that is not what it seems ---- */

/* A data folder whose catalog is lost looks like a new one, and opening a data set in it would take its
 * segments for orphans. */
static enum err_code refuse_lost_catalog(const char *dir, const char *catalog_path, struct io *io,
                                         struct err *err)
{
    CLEANUP(io_closep) struct io_file *file = NULL;
    CLEANUP(buf_freep) struct buf names = {0};
    uint32_t count = 0;
    uint64_t bytes = 0;
    enum err_code code = io_open(io, catalog_path, IO_READ, &file, err);
    if (code != ERR_NOT_FOUND) {
        ERR_TRY(code);
        ERR_TRY(io_size(io, file, &bytes, err));
    }
    if (bytes > 0) {
        return ERR_OK;
    }
    ERR_TRY(io_list(io, dir, &names, &count, err));
    const char *name = (const char *)names.ptr;
    for (uint32_t i = 0; i < count; i++, name += strlen(name) + 1) {
        if (care_is_dataset(io, dir, name)) {
            return err_set(err, ERR_CORRUPT,
                           "\"%s\" is missing or empty, and there is data set \"%s\": restore a "
                           "backup, or \"trackway repair\" makes a new one from the segments",
                           catalog_path, name);
        }
    }
    return ERR_OK;
}

/* A backup that a server is started in is a data folder from then on. */
static enum err_code forget_manifest(const char *dir, struct io *io, struct err *err)
{
    char path[DATASET_PATH_BYTES + 64];
    snprintf(path, sizeof(path), "%s/" CARE_MANIFEST, dir);
    enum err_code code = io_unlink(io, path, err);
    return code == ERR_NOT_FOUND ? ERR_OK : code;
}

/* ---- background ---- */

void store_wake(struct store *store)
{
    pthread_mutex_lock(&store->wake_lock);
    pthread_cond_broadcast(&store->wake);
    pthread_mutex_unlock(&store->wake_lock);
}

static bool is_stopping(struct store *store)
{
    pthread_mutex_lock(&store->wake_lock);
    bool stopping = store->is_stopping;
    pthread_mutex_unlock(&store->wake_lock);
    return stopping;
}

static struct dataset *dataset_at(struct store *store, uint32_t idx)
{
    pthread_mutex_lock(&store->list_lock);
    struct dataset *dataset = idx < store->dataset_count ? store->datasets[idx] : NULL;
    pthread_mutex_unlock(&store->list_lock);
    return dataset;
}

static bool any_wants_flush(struct store *store)
{
    struct dataset *dataset = NULL;
    for (uint32_t i = 0; (dataset = dataset_at(store, i)) != NULL; i++) {
        if (atomic_load(&dataset->wants_flush)) {
            return true;
        }
    }
    return false;
}

/* Sleep up to a tick, less when woken. */
static void rest(struct store *store)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += TICK_MS / 1000;
    pthread_mutex_lock(&store->wake_lock);
    if (!store->is_stopping) {
        pthread_cond_timedwait(&store->wake, &store->wake_lock, &until);
    }
    pthread_mutex_unlock(&store->wake_lock);
}

static void *run_flusher(void *arg)
{
    struct store *store = arg;
    struct io *io = NULL;
    struct err err;
    while (!is_stopping(store)) {
        if (io == NULL && io_create(store->opts.io_kind, &io, &err) != ERR_OK) {
            rest(store);
            continue;
        }
        struct dataset *dataset = NULL;
        for (uint32_t i = 0; (dataset = dataset_at(store, i)) != NULL && !is_stopping(store); i++) {
            dataset_probe_if_refusing(dataset, io);
            dataset_flush_if_due(dataset, io);
        }
        if (!any_wants_flush(store)) {
            rest(store);
        }
    }
    io_free(io);
    return NULL;
}

static void *run_compactor(void *arg)
{
    struct store *store = arg;
    struct io *io = NULL;
    struct err err;
    bool did_any = false;
    /* Of this thread alone, on Linux. Where questions want all cores, a merge then delays them less (bench/RESULTS.md);
     * what it gets of them is still enough to keep up, and if it is not, back-pressure says so. */
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), COMPACTOR_NICE);
    while (!is_stopping(store)) {
        if (!did_any) {
            (void)slabs_tend(SLABS_A_TICK); /* what the cache holds */
            rest(store);
        }
        did_any = false;
        if (io == NULL && io_create(store->opts.io_kind, &io, &err) != ERR_OK) {
            continue;
        }
        /* Round and round, a merge per shard at a time: none waits for the whole of another's work. */
        struct dataset *dataset = NULL;
        for (uint32_t i = 0; (dataset = dataset_at(store, i)) != NULL && !is_stopping(store); i++) {
            expiry_if_due(dataset, io);
            bool did = compaction_if_due(dataset, io) || tier_if_due(dataset, io);
            did_any = did || did_any;
        }
    }
    io_free(io);
    return NULL;
}

static enum err_code start_threads(struct store *store, struct err *err)
{
    int rc = pthread_create(&store->flusher, NULL, run_flusher, store);
    if (rc != 0) {
        return err_set_errno(err, rc, "the flush thread cannot start");
    }
    store->has_flusher = true;
    if (store->opts.compact_in_background) {
        rc = pthread_create(&store->compactor, NULL, run_compactor, store);
        if (rc != 0) {
            return err_set_errno(err, rc, "the compaction thread cannot start");
        }
        store->has_compactor = true;
    }
    return ERR_OK;
}

static void stop_threads(struct store *store)
{
    atomic_store(&store->is_cancelled, true);
    pthread_mutex_lock(&store->wake_lock);
    store->is_stopping = true;
    pthread_cond_broadcast(&store->wake);
    pthread_mutex_unlock(&store->wake_lock);
    if (store->has_flusher) {
        pthread_join(store->flusher, NULL);
        store->has_flusher = false;
    }
    if (store->has_compactor) {
        pthread_join(store->compactor, NULL);
        store->has_compactor = false;
    }
}

/* ---- opening and closing ---- */

static void store_free(struct store *store)
{
    if (store == NULL) {
        return;
    }
    stop_threads(store);
    for (uint32_t i = 0; i < store->dataset_count; i++) {
        dataset_free(store->datasets[i]);
    }
    free(store->refused);
    free(store->datasets);
    catalog_close(store->catalog);
    block_cache_free(store->cache);
    if (store->lock_fd >= 0) {
        close(store->lock_fd);
    }
    if (store->cold_lock_fd >= 0) {
        close(store->cold_lock_fd);
    }
    pthread_mutex_destroy(&store->list_lock);
    pthread_mutex_destroy(&store->create_lock);
    pthread_mutex_destroy(&store->wake_lock);
    pthread_cond_destroy(&store->wake);
    free(store);
}

static void store_freep(struct store **store)
{
    store_free(*store);
}

static struct store *store_create(const char *dir, const struct store_opts *opts)
{
    struct store *store = calloc(1, sizeof(*store));
    if (store == NULL) {
        return NULL;
    }
    store->opts = *opts;
    store->lock_fd = -1;
    store->cold_lock_fd = -1;
    snprintf(store->dir, sizeof(store->dir), "%s", dir);
    snprintf(store->cold_dir, sizeof(store->cold_dir), "%s",
             opts->cold_dir == NULL ? "" : opts->cold_dir);
    store->opts.cold_dir = NULL; /* the caller's */
    pthread_mutex_init(&store->list_lock, NULL);
    pthread_mutex_init(&store->create_lock, NULL);
    pthread_mutex_init(&store->wake_lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&store->wake, &attr);
    pthread_condattr_destroy(&attr);
    return store;
}

/* Keep the list by name. Under list_lock, or while nobody else knows the store. */
static enum err_code list_add(struct store *store, struct dataset *dataset, struct err *err)
{
    if (store->dataset_count == store->dataset_cap) {
        uint32_t cap = store->dataset_cap == 0 ? 16 : store->dataset_cap * 2;
        struct dataset **grown = realloc(store->datasets, cap * sizeof(struct dataset *));
        if (grown == NULL) {
            return err_set(err, ERR_NOMEM, "no memory for %" PRIu32 " data sets", cap);
        }
        store->datasets = grown;
        store->dataset_cap = cap;
    }
    uint32_t at = store->dataset_count++;
    for (; at > 0 && strcmp(store->datasets[at - 1]->name, dataset->name) > 0; at--) {
        store->datasets[at] = store->datasets[at - 1];
    }
    store->datasets[at] = dataset;
    return ERR_OK;
}

struct row_list {
    struct catalog_dataset *rows;
    uint32_t count, cap;
};

static enum err_code collect_row(void *arg, const struct catalog_dataset *row, struct err *err)
{
    struct row_list *list = arg;
    if (list->count == list->cap) {
        uint32_t cap = list->cap == 0 ? 16 : list->cap * 2;
        struct catalog_dataset *grown = realloc(list->rows, cap * sizeof(*grown));
        if (grown == NULL) {
            return err_set(err, ERR_NOMEM, "no memory for %" PRIu32 " data sets", cap);
        }
        list->rows = grown;
        list->cap = cap;
    }
    if (!dataset_name_is_valid(str_of(row->name))) {
        return err_set(err, ERR_CORRUPT, "catalog: a data set is named \"%s\"", row->name);
    }
    list->rows[list->count++] = *row;
    return ERR_OK;
}

/* Damage of one data set is that data set's alone: the others open, and it answers with its error. */
static enum err_code list_refused(struct store *store, const char *name,
                                  struct recovery_report *report, const struct err *why,
                                  struct err *err)
{
    struct refused_dataset *grown =
        realloc(store->refused, (store->refused_count + 1) * sizeof(*grown));
    if (grown == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for %" PRIu32 " data sets",
                       store->refused_count + 1);
    }
    store->refused = grown;
    struct refused_dataset *refused = &grown[store->refused_count++];
    snprintf(refused->name, sizeof(refused->name), "%s", name);
    refused->err = *why;
    if (why->code == ERR_NOT_FOUND) {
        refused->err.code = ERR_CORRUPT; /* it was there: its file is what is missing */
    }
    if (report->refused++ == 0) {
        report->refused_err = refused->err;
    }
    return ERR_OK;
}

static bool is_own_damage(enum err_code code)
{
    return code == ERR_CORRUPT || code == ERR_NOT_FOUND || code == ERR_UNSUPPORTED;
}

static enum err_code open_datasets(struct store *store, struct io *io,
                                   struct recovery_report *report, struct err *err)
{
    struct row_list list = {0};
    enum err_code code = catalog_datasets(store->catalog, collect_row, &list, err);
    for (uint32_t i = 0; code == ERR_OK && i < list.count; i++) {
        struct dataset *dataset = NULL;
        code = dataset_open(store, &list.rows[i], io, &dataset, report, err);
        if (code == ERR_OK) {
            code = list_add(store, dataset, err);
            if (code != ERR_OK) {
                dataset_free(dataset);
            }
        } else if (is_own_damage(code)) {
            struct err why = *err;
            code = list_refused(store, list.rows[i].name, report, &why, err);
        }
    }
    free(list.rows);
    return code;
}

enum err_code store_open(const char *dir, const struct store_opts *opts, struct store **ret,
                         struct recovery_report *report, struct err *err)
{
    if (dir[0] == '\0' || strlen(dir) >= DATASET_PATH_BYTES - 128) {
        return err_set(err, ERR_INVALID, "data folder's path has %zu bytes", strlen(dir));
    }
    if (opts->cold_dir != NULL && strlen(opts->cold_dir) >= DATASET_PATH_BYTES - 128) {
        return err_set(err, ERR_INVALID, "cold directory's path has %zu bytes",
                       strlen(opts->cold_dir));
    }
    CLEANUP(store_freep) struct store *store = store_create(dir, opts);
    CLEANUP(io_freep) struct io *io = NULL;
    char path[DATASET_PATH_BYTES + 64];
    if (store == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for a store");
    }
    *report = (struct recovery_report){0};
    ERR_TRY(io_create(opts->io_kind, &io, err));
    if (!opts->is_read_only) {
        ERR_TRY(io_mkdir_synced(io, dir, err));
        ERR_TRY(folder_lock(dir, FOLDER_ALONE, &store->lock_fd, err));
        if (store->cold_dir[0] != '\0') {
            ERR_TRY(tier_open(store, io, err));
        }
    }
    ERR_TRY(block_cache_create(opts->block_cache_bytes, &store->cache, err));
    snprintf(path, sizeof(path), "%s/catalog.db", dir);
    ERR_TRY(refuse_lost_catalog(dir, path, io, err));
    ERR_TRY(catalog_open(path, opts->is_read_only, &store->catalog, err));
    if (!opts->is_read_only) {
        ERR_TRY(forget_manifest(dir, io, err));
        /* The removal of a journal whose sync failed: what the catalog says now shall stay said
         * before log files go because of it. */
        ERR_TRY(io_sync_dir(io, dir, err));
    }
    ERR_TRY(open_datasets(store, io, report, err));
    if (!opts->is_read_only) {
        ERR_TRY(start_threads(store, err));
    }
    *ret = TAKE(store);
    return ERR_OK;
}

enum err_code store_close(struct store *store, struct err *err)
{
    enum err_code code = ERR_OK;
    CLEANUP(io_freep) struct io *io = NULL;
    stop_threads(store);
    if (!store->opts.is_read_only) {
        code = io_create(store->opts.io_kind, &io, err);
    }
    for (uint32_t i = 0; io != NULL && i < store->dataset_count; i++) {
        struct err one;
        enum err_code one_code = dataset_flush_io(store->datasets[i], io, &one);
        if (one_code == ERR_OK) {
            one_code = dataset_save_ids(store->datasets[i], io, &one);
        }
        if (one_code != ERR_OK && code == ERR_OK) {
            *err = one;
            code = one_code;
        }
    }
    store_free(store);
    return code;
}

void store_abandon(struct store *store)
{
    store_free(store);
}

/* ---- data sets ---- */

static struct dataset *find(struct store *store, struct str name)
{
    struct dataset *found = NULL;
    pthread_mutex_lock(&store->list_lock);
    for (uint32_t i = 0; i < store->dataset_count && found == NULL; i++) {
        if (str_eq(str_of(store->datasets[i]->name), name)) {
            found = store->datasets[i];
        }
    }
    pthread_mutex_unlock(&store->list_lock);
    return found;
}

/* The row of a data set whose creation stopped half way. */
static enum err_code find_row(struct store *store, struct str name, struct catalog_dataset *ret,
                              bool *ret_found, struct err *err)
{
    struct row_list list = {0};
    enum err_code code = catalog_datasets(store->catalog, collect_row, &list, err);
    for (uint32_t i = 0; code == ERR_OK && i < list.count; i++) {
        if (str_eq(str_of(list.rows[i].name), name)) {
            *ret = list.rows[i];
            *ret_found = true;
        }
    }
    free(list.rows);
    return code;
}

/* Under create_lock. */
static enum err_code create(struct store *store, struct str name, struct dataset **ret,
                            struct err *err)
{
    CLEANUP(io_freep) struct io *io = NULL;
    CLEANUP(dataset_freep) struct dataset *dataset = NULL;
    struct recovery_report ignored = {0};
    struct catalog_dataset row = {.zone = "UTC",
                                  .identity_version = 1,
                                  .wal_floor = 1,
                                  .next_segment = 1,
                                  .watermark_ms = INT64_MIN,
                                  .settings = store->opts.fresh,
                                  .gone_before_ms = INT64_MIN};
    snprintf(row.name, sizeof(row.name), STR_FMT, STR_ARG(name));
    ERR_TRY(rng_system(&row.seed, sizeof(row.seed), err));
    ERR_TRY(io_create(store->opts.io_kind, &io, err));
    bool is_begun = false;
    ERR_TRY(find_row(store, name, &row, &is_begun, err));
    if (!is_begun) {
        ERR_TRY(catalog_add_dataset(store->catalog, &row, err));
    }
    ERR_TRY(dataset_open(store, &row, io, &dataset, &ignored, err));
    pthread_mutex_lock(&store->list_lock);
    enum err_code code = list_add(store, dataset, err);
    pthread_mutex_unlock(&store->list_lock);
    ERR_TRY(code);
    *ret = TAKE(dataset);
    return ERR_OK;
}

enum err_code store_dataset(struct store *store, struct str name, bool can_create,
                            struct dataset **ret, struct err *err)
{
    if (!dataset_name_is_valid(name)) {
        return err_set(err, ERR_INVALID,
                       "\"" STR_FMT "\" is no data set name: 1 to %u of A-Z a-z 0-9 . _ -, the "
                       "first a letter or digit",
                       STR_ARG(name), DATASET_NAME_BYTES_MAX);
    }
    for (uint32_t i = 0; i < store->refused_count; i++) { /* fixed since the store was opened */
        if (str_eq(str_of(store->refused[i].name), name)) {
            *err = store->refused[i].err;
            return err->code;
        }
    }
    struct dataset *found = find(store, name);
    if (found == NULL && (!can_create || store->opts.is_read_only)) {
        return err_set(err, ERR_NOT_FOUND, "no data set \"" STR_FMT "\"", STR_ARG(name));
    }
    if (found == NULL) {
        pthread_mutex_lock(&store->create_lock);
        found = find(store, name);
        enum err_code code = found == NULL ? create(store, name, &found, err) : ERR_OK;
        pthread_mutex_unlock(&store->create_lock);
        ERR_TRY(code);
    }
    *ret = found;
    return ERR_OK;
}

uint32_t store_datasets(struct store *store, struct dataset **out, uint32_t cap)
{
    pthread_mutex_lock(&store->list_lock);
    uint32_t count = store->dataset_count;
    for (uint32_t i = 0; i < count && i < cap; i++) {
        out[i] = store->datasets[i];
    }
    pthread_mutex_unlock(&store->list_lock);
    return count;
}

struct store_stats store_stats(struct store *store)
{
    return (struct store_stats){.cache = block_cache_stats(store->cache),
                                .memtable_bytes = atomic_load(&store->memtable_bytes)};
}

enum err_code store_health(struct store *store, struct err *err)
{
    struct dataset *dataset = NULL;
    for (uint32_t i = 0; (dataset = dataset_at(store, i)) != NULL; i++) {
        if (dataset_is_broken(dataset, err) || dataset_is_refusing(dataset, err)) {
            return err->code;
        }
        pthread_mutex_lock(&dataset->state_lock);
        bool is_failing = dataset->is_flush_failing;
        if (is_failing) {
            (void)err_set(err, ERR_IO, "%s", dataset->last_error);
        }
        pthread_mutex_unlock(&dataset->state_lock);
        if (is_failing) {
            return err->code;
        }
    }
    return ERR_OK;
}
