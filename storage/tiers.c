/* storage/tiers.c - see tiers.h. */
#include "storage/tiers.h"

#include "storage/cold_owner.h"
#include "storage/dataset_int.h"

#include "storage/base/clock.h"
#include "storage/base/hash.h"
#include "storage/base/size.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define COPY_BYTES    (1u << 20)
#define MOVE_RETRY_US 60000000ULL

/* ---- the directory ---- */

enum err_code tier_open(struct store *store, struct io *io, struct err *err)
{
    ERR_TRY(io_mkdir_synced(io, store->cold_dir, err));
    return cold_lock(store->cold_dir, store->dir, FOLDER_ALONE, &store->cold_lock_fd, err);
}

/* The data set's directories there, durable, and its own. */
static enum err_code make_dirs(const struct dataset *dataset, uint32_t shard, struct io *io,
                               struct err *err)
{
    char path[DATASET_PATH_BYTES + 64];
    enum cold_owner owner = COLD_NOBODYS;
    ERR_TRY(io_mkdir(io, dataset->cold_dir, err));
    ERR_TRY(cold_owner_read(io, dataset->cold_dir, catalog_cold_owner(&dataset->row), &owner, NULL,
                            err));
    if (owner == COLD_ANOTHERS) {
        return err_set(err, ERR_INVALID,
                       "\"%s\" belongs to another data folder's data set of this name, or to this "
                       "one before its catalog was lost: give another option \"cold-dir\", or stop "
                       "the server and run trackway repair --cold-dir",
                       dataset->cold_dir);
    }
    if (owner == COLD_NOBODYS) {
        ERR_TRY(cold_owner_write(io, dataset->cold_dir, catalog_cold_owner(&dataset->row), err));
    }
    /* Each time: that OWNER is there says not that the directory was synced when it came, in this process or another. */
    ERR_TRY(io_sync_dir(io, dataset->store->cold_dir, err));
    dataset_cold_shard_path(dataset, shard, path);
    ERR_TRY(io_mkdir(io, path, err));
    return io_sync_dir(io, dataset->cold_dir, err);
}

/* ---- one move ---- */

struct move {
    struct dataset *dataset;
    struct io *io;
    struct seg_ref *from;
    struct catalog_segment meta; /* as it will be */
    char path[DATASET_PATH_BYTES + 64];
    char temporary[DATASET_PATH_BYTES + 72];
    void *chunk;
    bool is_unsure; /* the catalog may name the copy, though it says it failed */
};

/* Hash of the file's bytes, which are also written to `to` where it is not NULL. */
static enum err_code pass_bytes(struct move *move, struct io_file *file, struct io_file *to,
                                struct hash128 *ret, struct err *err)
{
    uint64_t bytes = 0;
    struct hash128 hash = {0, 0};
    ERR_TRY(io_size(move->io, file, &bytes, err));
    for (uint64_t off = 0; off < bytes; off += COPY_BYTES) {
        size_t len = (size_t)MIN_OF(bytes - off, (uint64_t)COPY_BYTES);
        if (atomic_load_explicit(&move->dataset->store->is_cancelled, memory_order_relaxed)) {
            return err_set(err, ERR_CANCELLED, "the store is closing");
        }
        ERR_TRY(io_read(move->io, file, off, move->chunk, len, err));
        struct hash128 part = hash128(move->chunk, len, hash.lo);
        hash = (struct hash128){hash_mix(hash.hi) ^ part.lo, part.hi};
        if (to != NULL) {
            ERR_TRY(io_write(move->io, to, off, move->chunk, len, err));
        }
    }
    *ret = hash;
    return ERR_OK;
}

static enum err_code copy_file(struct move *move, struct err *err)
{
    CLEANUP(io_closep) struct io_file *from = NULL;
    CLEANUP(io_closep) struct io_file *to = NULL;
    struct hash128 wanted;
    struct hash128 found;
    char path[DATASET_PATH_BYTES + 64];
    dataset_segment_file(move->dataset, &move->from->meta, path);
    ERR_TRY(io_open(move->io, path, IO_READ, &from, err));
    ERR_TRY(io_open(move->io, move->temporary, IO_CREATE, &to, err));
    ERR_TRY(pass_bytes(move, from, to, &wanted, err));
    ERR_TRY(io_sync(move->io, to, err));
    ERR_TRY(pass_bytes(move, to, NULL, &found, err));
    if (wanted.lo != found.lo || wanted.hi != found.hi) {
        return err_set(err, ERR_IO, "\"%s\" reads otherwise than it was written", move->temporary);
    }
    ERR_TRY(io_rename(move->io, move->temporary, move->path, err));
    dataset_cold_shard_path(move->dataset, move->meta.shard, path);
    return io_sync_dir(move->io, path, err);
}

static enum err_code publish(struct move *move, struct seg_ref **copy, struct err *err)
{
    struct dataset *dataset = move->dataset;
    char path[DATASET_PATH_BYTES + 64];
    struct err ignored;
    const struct version_change change = {.added = copy,
                                          .added_count = 1,
                                          .dropped = &move->from,
                                          .dropped_count = 1,
                                          .is_move = true,
                                          .ret_is_unsure = &move->is_unsure};
    pthread_mutex_lock(&dataset->catalog_lock);
    enum err_code code = dataset_apply(dataset, &change, err);
    pthread_mutex_unlock(&dataset->catalog_lock);
    ERR_TRY(code);
    dataset_segment_file(dataset, &move->from->meta, path);
    (void)!io_unlink(move->io, path, &ignored); /* what fails is an orphan */
    atomic_fetch_add(&dataset->moved_segments, 1);
    atomic_fetch_add(&dataset->moved_bytes, move->meta.bytes);
    return ERR_OK;
}

static enum err_code move_segment(struct dataset *dataset, struct seg_ref *ref, struct io *io,
                                  struct err *err)
{
    struct move move = {.dataset = dataset, .io = io, .from = ref, .meta = ref->meta};
    struct seg_ref *copy = NULL;
    struct err ignored;
    move.meta.tier = TIER_COLD;
    dataset_segment_file(dataset, &move.meta, move.path);
    snprintf(move.temporary, sizeof(move.temporary), "%s.tmp", move.path);
    move.chunk = malloc(COPY_BYTES);
    if (move.chunk == NULL) {
        return err_set(err, ERR_NOMEM, "no memory to move a segment");
    }
    enum err_code code = make_dirs(dataset, ref->meta.shard, io, err);
    bool is_made = code == ERR_OK;
    if (code == ERR_OK) {
        code = copy_file(&move, err);
    }
    free(move.chunk);
    if (code == ERR_OK) {
        code = seg_ref_open(dataset, io, &move.meta, &copy, err);
    }
    if (code == ERR_OK) {
        code = publish(&move, &copy, err);
    }
    if (code != ERR_OK) {
        seg_ref_unref(copy);
        if (is_made && !move.is_unsure) {
            (void)!io_unlink(io, move.temporary, &ignored);
            (void)!io_unlink(io, move.path, &ignored);
        }
        return err_context(err, "data set \"%s\": moving segment %" PRIu64 " of shard %" PRIu32,
                           dataset->name, ref->meta.number, ref->meta.shard);
    }
    return ERR_OK;
}

enum err_code tier_step(struct dataset *dataset, struct io *io, bool *ret_did, struct err *err)
{
    uint64_t after_ms = atomic_load_explicit(&dataset->cold_after_ms, memory_order_relaxed);
    *ret_did = false;
    if (after_ms == 0 || dataset->store->cold_dir[0] == '\0') {
        return ERR_OK;
    }
    int64_t cold_before_ms = store_wall_ms(dataset->store) - (int64_t)after_ms;
    enum err_code code = ERR_OK;
    pthread_mutex_lock(&dataset->compact_lock);
    struct version *version = version_pin(dataset);
    for (uint32_t i = 0; i < version->seg_count && code == ERR_OK && !*ret_did; i++) {
        struct seg_ref *ref = version->segs[i];
        if (ref->meta.tier == TIER_HOT && ref->meta.time_max_ms < cold_before_ms) {
            code = move_segment(dataset, ref, io, err);
            *ret_did = code == ERR_OK;
        }
    }
    version_unref(version);
    pthread_mutex_unlock(&dataset->compact_lock);
    return code;
}

bool tier_if_due(struct dataset *dataset, struct io *io)
{
    struct err err;
    bool did = false;
    if (clock_mono_us() < dataset->move_retry_us) {
        return false;
    }
    enum err_code code = tier_step(dataset, io, &did, &err);
    if (code != ERR_OK && code != ERR_CANCELLED) {
        dataset_note_error(dataset, &err);
        dataset->move_retry_us = clock_mono_us() + MOVE_RETRY_US;
    }
    return did;
}
