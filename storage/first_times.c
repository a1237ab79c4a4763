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
    struct identity *then;
};

void first_times_facts_done(struct first_times_facts *facts)
{
    identity_free(facts->then);
    facts->then = NULL;
}

/* Whose a row is, logins say that may be leaving, too. Should it fail, the next question reads all of it anew. */
static void know_logins(struct dataset *dataset)
{
    struct err ignored;
    (void)!dataset_follow_identity(dataset, &ignored);
}

static enum err_code know_facts(struct dataset *dataset, struct first_times_facts *facts,
                                struct err *err)
{
    if (!dataset_has_facts(dataset)) {
        return ERR_OK;
    }
    know_logins(dataset);
    return facts->then != NULL ? ERR_OK : dataset_facts_by_arrival(dataset, &facts->then, err);
}

/* Of a weak id's row: whose it is. Under identity_lock. */
static uint64_t company_now(struct dataset *dataset, uint64_t place, int64_t time_ms)
{
    if (dataset->identity == NULL) {
        return 0;
    }
    uint64_t owner = identity_owner(dataset->identity, place, time_ms);
    return owner == place ? 0 : hash_mix(owner + 1);
}

/* Of a user's row on a weak id that several met: the turn of logins that it lies in, so that the first of each turn stays. */
static uint64_t company_of_turn(const struct company *company, const struct str *weak,
                                int64_t time_ms)
{
    uint32_t shard = 0;
    uint32_t subject = 0;
    int64_t since_ms = 0;
    bool is_turn = ids_find(company->dataset->ids, ID_ANONYMOUS, *weak, &shard, &subject) &&
                   identity_turn(company->then, identity_place(shard, subject), time_ms, &since_ms);
    return is_turn ? hash_mix((uint64_t)since_ms) : 0;
}

/* Whose it was when it came: that does not change any more. */
static enum err_code company_then(const struct company *company, uint64_t place,
                                  const struct identity_row *row, uint64_t *ret, struct err *err)
{
    uint64_t owner = 0;
    bool is_somebodys = false;
    ERR_TRY(identity_owner_then(company->then, place, row, &owner, &is_somebodys, err));
    *ret = !is_somebodys    ? hash_mix(UINT64_MAX)
           : owner == place ? 0
                            : hash_mix(hash_mix(owner + 1));
    return ERR_OK;
}

static enum err_code company_of_row(void *arg, uint32_t subject, int64_t time_ms,
                                    int64_t arrival_ms, const struct str *weak, uint64_t *ret,
                                    struct err *err)
{
    const struct company *company = arg;
    struct dataset *dataset = company->dataset;
    uint64_t place = identity_place(company->shard, subject);
    const struct identity_row row = {time_ms, arrival_ms, weak == NULL ? STR("") : *weak};
    uint64_t number = 0;
    ERR_TRY(company_then(company, place, &row, ret, err));
    if (weak != NULL) {
        number = company_of_turn(company, weak, time_ms);
    } else {
        pthread_mutex_lock(&dataset->identity_lock);
        number = company_now(dataset, place, time_ms);
        pthread_mutex_unlock(&dataset->identity_lock);
    }
    *ret ^= number;
    return ERR_OK;
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

/* Of subjects [subject_begin, subject_end). */
static enum err_code write_subjects(struct dataset *dataset, const struct version *version,
                                    uint32_t shard, const struct source *const *sources,
                                    uint32_t source_count, struct first_times_of of,
                                    const struct first_times_facts *facts, struct io *io,
                                    struct seg_ref **ret, uint64_t *ret_number, struct err *err)
{
    struct company company = {dataset, shard, facts->then};
    const struct segment_company by_identity = {&company, company_of_row};
    const struct segment_write_opts opts = {.shard = shard,
                                            .identity_version = dataset->identity_version};
    struct segment_stats stats = {0};
    char path[DATASET_PATH_BYTES + 64];
    *ret = NULL;
    *ret_number = dataset_next_segment(dataset);
    struct catalog_segment meta = meta_of(shard, *ret_number);
    dataset_segment_file(dataset, &meta, path);
    of.deleted = version->deleted[shard] == NULL ? NULL : version->deleted[shard]->bits;
    of.company = facts->then != NULL ? &by_identity : NULL;
    ERR_TRY(segment_write_first_times(io, path, sources, source_count, &of, &opts, &stats, err));
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

enum err_code first_times_write(struct dataset *dataset, const struct version *version,
                                uint32_t shard, const struct source *const *sources,
                                uint32_t source_count, int64_t before_ms,
                                struct first_times_facts *facts, struct io *io,
                                struct seg_ref **ret, uint64_t *ret_number, struct err *err)
{
    const struct first_times_of of = {.before_ms = before_ms, .subject_end = UINT32_MAX};
    *ret = NULL;
    *ret_number = 0;
    ERR_TRY(know_facts(dataset, facts, err));
    return write_subjects(dataset, version, shard, sources, source_count, of, facts, io, ret,
                          ret_number, err);
}

/* ---- merging ---- */

/* Files of a shard that are merged, and what comes of them: as many as it takes, each of its own subjects. */
struct merging {
    struct dataset *dataset;
    const struct version *version;
    struct io *io;
    uint32_t shard;
    struct seg_ref *inputs[MERGE_FILES_MAX];
    const struct source *sources[MERGE_FILES_MAX];
    uint32_t count;
    struct seg_ref *made[2 * MERGE_FILES_MAX];
    uint64_t numbers[2 * MERGE_FILES_MAX]; /* of files written */
    uint32_t made_count, number_count;
    bool is_unsure; /* the catalog may name the files, though it says it failed */
};

/* Powers of four. */
static uint32_t size_class(uint64_t rows)
{
    uint32_t class = 0;
    for (uint64_t bound = BLOCK_ROWS / 16; rows >= bound; bound *= 4) {
        class ++;
    }
    return class;
}

static bool covers(const struct seg_ref *ref, uint32_t subject)
{
    const struct source *source = segment_source(ref->segment);
    return source->subject_first <= subject && subject <= source->subject_last;
}

/* Files that have rows of one subject's number: of the smallest class that has enough of them; on request of any. What lies
 * side by side gains nothing. */
static uint32_t choose(struct seg_ref *const *refs, uint32_t count, bool is_full,
                       struct seg_ref **out)
{
    uint32_t class_max = size_class(ROWS_MAX);
    for (uint32_t class = 0; class <= class_max; class ++) {
        for (uint32_t at = 0; at < count; at++) {
            uint32_t subject = segment_source(refs[at]->segment)->subject_first;
            uint32_t found = 0;
            for (uint32_t i = 0; i < count && found < MERGE_FILES_MAX; i++) {
                if ((is_full || size_class(refs[i]->meta.row_count) == class) &&
                    covers(refs[i], subject)) {
                    out[found++] = refs[i];
                }
            }
            if (found >= (is_full ? 2 : MERGE_FILES_MIN)) {
                return found;
            }
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

/* How many rows of all inputs are of subjects below `subject`. */
static enum err_code rows_below(const struct merging *merging, uint64_t subject, uint64_t *ret,
                                struct err *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    struct read_ctx ctx = {.arena = arena, .io = merging->io, .is_once = true};
    *ret = 0;
    for (uint32_t i = 0; i < merging->count; i++) {
        uint32_t row = merging->sources[i]->row_count;
        if (subject <= merging->sources[i]->subject_last) {
            ERR_TRY(source_subject_row(merging->sources[i], &ctx, (uint32_t)subject, &row, err));
        }
        *ret += row;
    }
    return ERR_OK;
}

/* The end of the subjects, from `begin` on, whose rows fit one file whatever comes of them: at least one subject. */
static enum err_code find_end(const struct merging *merging, uint32_t begin, uint32_t *ret,
                              struct err *err)
{
    uint64_t before = 0;
    uint64_t low = (uint64_t)begin + 1;
    uint64_t high = UINT32_MAX;
    ERR_TRY(rows_below(merging, begin, &before, err));
    while (low < high) {
        uint64_t mid = low + (high - low + 1) / 2;
        uint64_t rows = 0;
        ERR_TRY(rows_below(merging, mid, &rows, err));
        if (rows - before <= merging->dataset->first_rows_max) {
            low = mid;
        } else {
            high = mid - 1;
        }
    }
    *ret = (uint32_t)low;
    return ERR_OK;
}

static enum err_code write_parts(struct merging *merging, struct err *err)
{
    CLEANUP(first_times_facts_done) struct first_times_facts facts = {.then = NULL};
    uint32_t begin = 0;
    ERR_TRY(know_facts(merging->dataset, &facts, err));
    while (begin < UINT32_MAX) {
        struct first_times_of of = {.before_ms = INT64_MAX, .subject_begin = begin};
        struct seg_ref *made = NULL;
        if (merging->number_count == COUNT_OF(merging->numbers)) {
            return err_set(err, ERR_LIMIT, "a merge of first times into more than %zu files",
                           COUNT_OF(merging->numbers));
        }
        if (atomic_load_explicit(&merging->dataset->store->is_cancelled, memory_order_relaxed)) {
            return err_set(err, ERR_CANCELLED, "the store is closing");
        }
        ERR_TRY(find_end(merging, begin, &of.subject_end, err));
        ERR_TRY(write_subjects(merging->dataset, merging->version, merging->shard, merging->sources,
                               merging->count, of, &facts, merging->io, &made,
                               &merging->numbers[merging->number_count], err));
        merging->number_count += made != NULL;
        if (made != NULL) {
            merging->made[merging->made_count++] = made;
        }
        begin = of.subject_end;
    }
    return ERR_OK;
}

static enum err_code publish(struct merging *merging, struct err *err)
{
    struct dataset *dataset = merging->dataset;
    const struct version_change change = {
        .added = merging->made,
        .added_count = merging->made_count,
        .dropped = merging->inputs,
        .dropped_count = merging->count,
        .ret_is_unsure = &merging->is_unsure,
    };
    pthread_mutex_lock(&dataset->catalog_lock);
    enum err_code code = dataset_apply(dataset, &change, err);
    pthread_mutex_unlock(&dataset->catalog_lock);
    return code;
}

static void undo(struct merging *merging)
{
    uint32_t tried = MIN_OF(merging->number_count + 1, (uint32_t)COUNT_OF(merging->numbers));
    for (uint32_t i = 0; i < merging->made_count; i++) {
        seg_ref_unref(merging->made[i]);
    }
    for (uint32_t i = 0; i < tried && !merging->is_unsure; i++) { /* the last may not be whole */
        if (merging->numbers[i] != 0) {
            first_times_undo(merging->dataset, merging->shard, merging->numbers[i], merging->io);
        }
    }
}

static enum err_code merge_files(struct merging *merging, struct err *err)
{
    for (uint32_t i = 0; i < merging->count; i++) {
        merging->sources[i] = segment_source(merging->inputs[i]->segment);
    }
    enum err_code code = write_parts(merging, err);
    if (code == ERR_OK) {
        code = publish(merging, err);
    }
    if (code != ERR_OK) {
        undo(merging);
        return code;
    }
    for (uint32_t i = 0; i < merging->count; i++) { /* the version still holds them */
        first_times_undo(merging->dataset, merging->shard, merging->inputs[i]->meta.number,
                         merging->io);
    }
    return ERR_OK;
}

enum err_code first_times_step(struct dataset *dataset, const struct version *version,
                               uint32_t shard, bool is_full, struct io *io, bool *ret_did,
                               struct err *err)
{
    struct merging merging = {.dataset = dataset, .version = version, .io = io, .shard = shard};
    uint32_t count = 0;
    struct seg_ref *const *refs = version_firsts(version, shard, &count);
    merging.count = choose(refs, count, is_full, merging.inputs);
    if (merging.count == 0 && is_full) {
        ERR_TRY(
            choose_deleted(version, shard, refs, count, io, merging.inputs, &merging.count, err));
    }
    *ret_did = merging.count > 0;
    if (merging.count > 0 && merge_files(&merging, err) != ERR_OK) {
        return err_context(err, "data set \"%s\": first times of shard %" PRIu32, dataset->name,
                           shard);
    }
    return ERR_OK;
}
