/* storage/expiry.c - see expiry.h. */
#include "storage/expiry.h"

#include "storage/dataset_int.h"
#include "storage/first_times.h"

#include "storage/base/clock.h"
#include "storage/base/size.h"

#include <inttypes.h>
#include <stdlib.h>

#define REWRITE_SHARE   3u /* one of so many rows must be expired */
#define EXPIRY_RETRY_US 60000000ULL

enum err_code expiry_count(const struct source *source, int64_t expired_before_ms, struct io *io,
                           uint64_t *ret, struct err *err)
{
    uint64_t count = 0;
    if (source->time_min_ms >= expired_before_ms || source->time_max_ms < expired_before_ms) {
        *ret = source->time_max_ms < expired_before_ms ? source->row_count : 0;
        return ERR_OK;
    }
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    struct read_ctx ctx = {.arena = arena, .io = io};
    for (uint32_t block = 0; block < source->block_count; block++) {
        struct arena_mark mark = arena_mark(arena);
        struct vec vec;
        int64_t min_ms = source->time_min_ms;
        int64_t max_ms = source->time_max_ms;
        (void)source_zone(source, COL_EVENT_TIME, block, &min_ms, &max_ms);
        if (min_ms >= expired_before_ms) {
            continue;
        }
        ERR_TRY(source_read(source, &ctx, COL_EVENT_TIME, block, &vec, err));
        for (uint32_t row = 0; row < vec.value_count; row++) {
            count += vec.i64[row] < expired_before_ms;
        }
        arena_rewind(arena, mark);
    }
    *ret = count;
    return ERR_OK;
}

/* ---- whole segments ---- */

static void note_dropped(struct dataset *dataset, struct seg_ref *const *dropped, uint32_t count,
                         struct io *io)
{
    char path[DATASET_PATH_BYTES + 64];
    for (uint32_t i = 0; i < count; i++) {
        struct err ignored;
        dataset_segment_file(dataset, &dropped[i]->meta, path);
        (void)!io_unlink(io, path, &ignored); /* what fails is an orphan */
        atomic_fetch_add(&dataset->expired_rows, dropped[i]->meta.row_count);
        atomic_fetch_add(&dataset->expired_segments, 1);
    }
}

/* What is dropped in one transaction, and what is made of it. */
struct dropping {
    struct dataset *dataset;
    const struct version *version;
    int64_t expired_before_ms;
    struct io *io;
    struct seg_ref **dropped;
    struct seg_ref **firsts; /* one for each at most */
    uint64_t *numbers;       /* of the files of firsts; 0: none */
    uint32_t count, first_count;
    bool is_unsure; /* the catalog may name the firsts, though it says it failed */
};

static void dropping_done(struct dropping *dropping)
{
    free(dropping->dropped);
    free(dropping->firsts);
    free(dropping->numbers);
}

static enum err_code choose_dropped(struct dropping *dropping, struct err *err)
{
    const struct version *version = dropping->version;
    size_t cap = (size_t)version->seg_count + 1;
    dropping->dropped = calloc(cap, sizeof(struct seg_ref *));
    dropping->firsts = calloc(cap, sizeof(struct seg_ref *));
    dropping->numbers = calloc(cap, sizeof(*dropping->numbers));
    if (dropping->dropped == NULL || dropping->firsts == NULL || dropping->numbers == NULL) {
        return err_set(err, ERR_NOMEM, "no memory for an expiry of %" PRIu32 " segments",
                       version->seg_count);
    }
    for (uint32_t i = 0; i < version->seg_count; i++) {
        if (version->segs[i]->meta.time_max_ms < dropping->expired_before_ms) {
            dropping->dropped[dropping->count++] = version->segs[i];
        }
    }
    return ERR_OK;
}

/* Of each segment by itself: merged they are later, as files of first times are. */
static enum err_code write_first_times(struct dropping *dropping, struct err *err)
{
    CLEANUP(first_times_facts_done) struct first_times_facts facts = {.then = NULL};
    for (uint32_t i = 0; i < dropping->count; i++) {
        const struct source *source = segment_source(dropping->dropped[i]->segment);
        struct seg_ref *made = NULL;
        ERR_TRY(first_times_write(dropping->dataset, dropping->version, source->shard, &source, 1,
                                  dropping->expired_before_ms, &facts, dropping->io, &made,
                                  &dropping->numbers[i], err));
        if (made != NULL) {
            dropping->firsts[dropping->first_count++] = made;
        }
    }
    return ERR_OK;
}

static enum err_code publish_drop(struct dropping *dropping, struct err *err)
{
    struct dataset *dataset = dropping->dataset;
    const struct version_change change = {
        .added = dropping->firsts,
        .added_count = dropping->first_count,
        .dropped = dropping->dropped,
        .dropped_count = dropping->count,
        .has_expired = true,
        .expired_before_ms = dropping->expired_before_ms,
        .ret_is_unsure = &dropping->is_unsure,
    };
    pthread_mutex_lock(&dataset->catalog_lock);
    enum err_code code = dataset_apply(dataset, &change, err);
    pthread_mutex_unlock(&dataset->catalog_lock);
    return code;
}

static void undo_drop(struct dropping *dropping)
{
    for (uint32_t i = 0; i < dropping->first_count; i++) {
        seg_ref_unref(dropping->firsts[i]);
    }
    for (uint32_t i = 0; i < dropping->count && !dropping->is_unsure; i++) {
        if (dropping->numbers[i] != 0) {
            first_times_undo(dropping->dataset, dropping->dropped[i]->meta.shard,
                             dropping->numbers[i], dropping->io);
        }
    }
}

static enum err_code drop_whole(struct dataset *dataset, const struct version *version,
                                int64_t expired_before_ms, struct io *io, bool *ret_did,
                                struct err *err)
{
    CLEANUP(dropping_done)
    struct dropping dropping = {.dataset = dataset,
                                .version = version,
                                .expired_before_ms = expired_before_ms,
                                .io = io};
    ERR_TRY(choose_dropped(&dropping, err));
    *ret_did = dropping.count > 0;
    if (dropping.count == 0) {
        return ERR_OK;
    }
    enum err_code code = write_first_times(&dropping, err);
    if (code == ERR_OK) {
        code = publish_drop(&dropping, err);
    }
    if (code != ERR_OK) {
        undo_drop(&dropping);
        return code;
    }
    note_dropped(dataset, dropping.dropped, dropping.count, io); /* `version` still holds them */
    return ERR_OK;
}

/* ---- segments that straddle the border ---- */

static enum err_code rewrite_one(struct dataset *dataset, const struct version *version,
                                 int64_t expired_before_ms, bool is_full, struct io *io,
                                 bool *ret_did, struct err *err)
{
    *ret_did = false;
    for (uint32_t i = 0; i < version->seg_count && !*ret_did; i++) {
        struct seg_ref *ref = version->segs[i];
        bool straddles = ref->meta.time_min_ms < expired_before_ms;
        if (!straddles || (!is_full && ref->looked_at_ms == expired_before_ms)) {
            continue;
        }
        uint64_t expired = 0;
        ref->looked_at_ms = expired_before_ms; /* damaged or not, it does not hold up the others */
        ERR_TRY(expiry_count(segment_source(ref->segment), expired_before_ms, io, &expired, err));
        if (is_full ? expired > 0 : expired * REWRITE_SHARE >= ref->meta.row_count) {
            ERR_TRY(compaction_merge(dataset, version, &ref, 1, false, io, err));
            *ret_did = true;
        }
    }
    return ERR_OK;
}

enum err_code expiry_step(struct dataset *dataset, bool is_full, struct io *io, bool *ret_did,
                          struct err *err)
{
    *ret_did = false;
    pthread_mutex_lock(&dataset->compact_lock);
    int64_t expired_before_ms = dataset_expired_before(dataset);
    enum err_code code = ERR_OK;
    if (expired_before_ms != INT64_MIN) {
        struct version *version = version_pin(dataset);
        code = drop_whole(dataset, version, expired_before_ms, io, ret_did, err);
        if (code == ERR_OK && !*ret_did) {
            code = rewrite_one(dataset, version, expired_before_ms, is_full, io, ret_did, err);
        }
        version_unref(version);
    }
    pthread_mutex_unlock(&dataset->compact_lock);
    return code == ERR_OK ? ERR_OK : err_context(err, "data set \"%s\": expiry", dataset->name);
}

void expiry_if_due(struct dataset *dataset, struct io *io)
{
    if (clock_mono_us() < dataset->expiry_retry_us) {
        return;
    }
    bool did = true;
    while (did) {
        struct err err;
        enum err_code code = expiry_step(dataset, false, io, &did, &err);
        if (code == ERR_CANCELLED) {
            return;
        }
        if (code != ERR_OK) {
            dataset_note_error(dataset, &err);
            dataset->expiry_retry_us = clock_mono_us() + EXPIRY_RETRY_US;
            return;
        }
    }
}
