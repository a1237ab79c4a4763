/* storage/first_times.c - see first_times.h. */
#include "storage/first_times.h"

#include "storage/dataset_int.h"

#include "storage/base/hash.h"
#include "storage/base/size.h"

#include <inttypes.h>
#include <stdlib.h>

#define MERGE_FILES_MIN 4u /* of one size class */
#define MERGE_FILES_MAX 64u
#define ROWS_MAX        ((uint64_t)SEG_BLOCKS_MAX * BLOCK_ROWS)

/* ---- company ---- */

struct company {
    struct dataset *dataset;
    uint32_t shard;
};

/* Of a user's row on a shared weak id: the turn of logins that it lies in, so that the first of each turn stays; of a
 * weak id's row: whose it is. Under identity_lock. */
static uint64_t company_of(struct dataset *dataset, uint64_t place, int64_t time_ms,
                           const struct str *weak)
{
    uint32_t shard = 0;
    uint32_t subject = 0;
    int64_t since_ms = 0;
    if (dataset->identity == NULL) {
        return 0;
    }
    if (weak == NULL) {
        uint64_t owner = identity_owner(dataset->identity, place, time_ms);
        return owner == place ? 0 : hash_mix(owner + 1);
    }
    if (!ids_find(dataset->ids, ID_ANONYMOUS, *weak, &shard, &subject) ||
        !identity_turn(dataset->identity, identity_place(shard, subject), time_ms, &since_ms)) {
        return 0;
    }
    return hash_mix((uint64_t)since_ms);
}

static uint64_t company_of_row(void *arg, uint32_t subject, int64_t time_ms, const struct str *weak)
{
    const struct company *company = arg;
    struct dataset *dataset = company->dataset;
    pthread_mutex_lock(&dataset->identity_lock);
    uint64_t number =
        company_of(dataset, identity_place(company->shard, subject), time_ms, weak);
    pthread_mutex_unlock(&dataset->identity_lock);
    return number;
}

/* ---- writing ---- */

static struct catalog_segment meta_of(uint32_t shard, uint64_t number)
{
    return (struct catalog_segment){
        .number = number, .shard = shard, .tier = TIER_HOT, .is_first_times = true};
}

void first_times_undo(struct dataset *dataset, uint32_t shard, uint64_t number, struct io *io)
{
    struct err ignored;
    char path[DATASET_PATH_BYTES + 64];
    const struct catalog_segment meta = meta_of(shard, number);
    dataset_segment_file(dataset, &meta, path);
    (void)!io_unlink(io, path, &ignored); /* what fails is an orphan */
}

enum err_code first_times_write(struct dataset *dataset, const struct version *version,
                                uint32_t shard, const struct source *const *sources,
                                uint32_t source_count, int64_t before_ms, struct io *io,
                                struct seg_ref **ret, uint64_t *ret_number, struct err *err)
{
    struct company company = {dataset, shard};
    const struct segment_company by_identity = {&company, company_of_row};
    const struct segment_write_opts opts = {.shard = shard,
                                            .identity_version = dataset->identity_version};
    const struct mask_ref *deleted = version->deleted[shard];
    struct segment_stats stats = {0};
    char path[DATASET_PATH_BYTES + 64];
    *ret = NULL;
    *ret_number = dataset_next_segment(dataset);
    struct catalog_segment meta = meta_of(shard, *ret_number);
    dataset_segment_file(dataset, &meta, path);
    bool has_company = dataset_has_facts(dataset);
    /* Whose a row is, logins say that may be leaving, too. Should it fail, the next question reads all of it anew. */
    struct err ignored;
    (void)!dataset_follow_identity(dataset, &ignored);
    ERR_TRY(segment_write_first_times(io, path, sources, source_count, before_ms,
                                      deleted == NULL ? NULL : deleted->bits,
                                      has_company ? &by_identity : NULL, &opts, &stats, err));
    if (stats.row_count == 0) {
        *ret_number = 0;
        return ERR_OK;
    }
    meta.row_count = stats.row_count;
    meta.bytes = stats.bytes;
    meta.time_min_ms = stats.time_min_ms;
    meta.time_max_ms = stats.time_max_ms;
    dataset_shard_path(dataset, shard, path);
    ERR_TRY(io_sync_dir(io, path, err));
    return seg_ref_open(dataset, io, &meta, ret, err);
}

/* ---- merging ---- */

/* Powers of four. */
static uint32_t size_class(uint64_t rows)
{
    uint32_t class = 0;
    for (uint64_t bound = BLOCK_ROWS / 16; rows >= bound; bound *= 4) {
        class ++;
    }
    return class;
}

static bool fits(uint64_t rows, const struct seg_ref *ref)
{
    return rows + ref->meta.row_count <= ROWS_MAX;
}

/* The files of the smallest class that has enough, or on request all that fit one file. */
static uint32_t choose(struct seg_ref *const *refs, uint32_t count, bool is_full,
                       struct seg_ref **out)
{
    uint32_t class_max = size_class(ROWS_MAX);
    for (uint32_t class = 0; class <= class_max; class ++) {
        uint32_t found = 0;
        uint64_t rows = 0;
        for (uint32_t i = 0; i < count && found < MERGE_FILES_MAX; i++) {
            if ((is_full || size_class(refs[i]->meta.row_count) == class) && fits(rows, refs[i])) {
                rows += refs[i]->meta.row_count;
                out[found++] = refs[i];
            }
        }
        if (found >= (is_full ? 2 : MERGE_FILES_MIN)) {
            return found;
        }
    }
    return 0;
}

/* A file that has a row of who was erased. */
static enum err_code choose_deleted(const struct version *version, uint32_t shard,
                                    struct seg_ref *const *refs, uint32_t count, struct io *io,
                                    struct seg_ref **out, uint32_t *ret_count, struct err *err)
{
    const struct mask_ref *deleted = version->deleted[shard];
    *ret_count = 0;
    for (uint32_t i = 0; deleted != NULL && i < count && *ret_count == 0; i++) {
        bool found = false;
        ERR_TRY(compaction_has_deleted(refs[i], deleted, io, &found, err));
        if (found) {
            out[0] = refs[i];
            *ret_count = 1;
        }
    }
    return ERR_OK;
}

static enum err_code publish(struct dataset *dataset, struct seg_ref *made,
                             struct seg_ref *const *inputs, uint32_t count, bool *ret_is_unsure,
                             struct err *err)
{
    const struct version_change change = {
        .added = &made,
        .added_count = made != NULL,
        .dropped = inputs,
        .dropped_count = count,
        .ret_is_unsure = ret_is_unsure,
    };
    pthread_mutex_lock(&dataset->catalog_lock);
    enum err_code code = dataset_apply(dataset, &change, err);
    pthread_mutex_unlock(&dataset->catalog_lock);
    return code;
}

static enum err_code merge_files(struct dataset *dataset, const struct version *version,
                                 uint32_t shard, struct seg_ref *const *inputs, uint32_t count,
                                 struct io *io, struct err *err)
{
    const struct source *sources[MERGE_FILES_MAX];
    struct seg_ref *made = NULL;
    uint64_t number = 0;
    bool is_unsure = false;
    for (uint32_t i = 0; i < count; i++) {
        sources[i] = segment_source(inputs[i]->segment);
    }
    enum err_code code = first_times_write(dataset, version, shard, sources, count, INT64_MAX, io,
                                           &made, &number, err);
    if (code == ERR_OK) {
        code = publish(dataset, made, inputs, count, &is_unsure, err);
    }
    if (code != ERR_OK) {
        seg_ref_unref(made);
        if (number != 0 && !is_unsure) {
            first_times_undo(dataset, shard, number, io);
        }
        return code;
    }
    for (uint32_t i = 0; i < count; i++) { /* `version` still holds them */
        first_times_undo(dataset, shard, inputs[i]->meta.number, io);
    }
    return ERR_OK;
}

enum err_code first_times_step(struct dataset *dataset, const struct version *version,
                               uint32_t shard, bool is_full, struct io *io, bool *ret_did,
                               struct err *err)
{
    struct seg_ref *inputs[MERGE_FILES_MAX];
    uint32_t count = 0;
    struct seg_ref *const *refs = version_firsts(version, shard, &count);
    uint32_t chosen = choose(refs, count, is_full, inputs);
    if (chosen == 0 && is_full) {
        ERR_TRY(choose_deleted(version, shard, refs, count, io, inputs, &chosen, err));
    }
    *ret_did = chosen > 0;
    if (chosen > 0 &&
        merge_files(dataset, version, shard, inputs, chosen, io, err) != ERR_OK) {
        return err_context(err, "data set \"%s\": first times of shard %" PRIu32, dataset->name,
                           shard);
    }
    return ERR_OK;
}
