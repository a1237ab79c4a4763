/* storage/dataset_people.c - sets of subjects: from them back to ids, and those that are saved. */
#include "storage/dataset_int.h"

#include "storage/stand_ins.h"

#include <inttypes.h>

/* Finding a key by its number walks over up to 256 entries, of which half are looked at. */
#define ENTRIES_PER_LOOK_UP 128u

struct each_subject {
    const struct ids *ids;
    uint32_t shard;
    dataset_id_fn fn;
    void *arg;
    struct err *err;
    enum err_code code;
};

static bool take_subject(uint32_t subject, void *arg)
{
    struct each_subject *each = arg;
    struct id_entry entry;
    if (ids_find_key(each->ids, each->shard, subject, &entry)) {
        each->code = each->fn(each->arg, entry.key, each->err);
    }
    return each->code == ERR_OK;
}

static enum err_code walk_ids(const struct ids *ids, const roaring_bitmap_t *const *sets,
                              dataset_id_fn fn, void *arg, struct err *err)
{
    struct id_cursor cursor = ids_cursor(ids, 0);
    struct id_entry entry;
    while (id_cursor_next(&cursor, &entry)) {
        const roaring_bitmap_t *set = sets[entry.shard];
        if (set != NULL && roaring_bitmap_contains(set, entry.subject)) {
            ERR_TRY(fn(arg, entry.key, err));
        }
    }
    return ERR_OK;
}

enum err_code dataset_ids_of(struct dataset *dataset,
                             const roaring_bitmap_t *const sets[SHARD_COUNT], dataset_id_fn fn,
                             void *arg, struct err *err)
{
    uint64_t count = 0;
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        count += sets[shard] == NULL ? 0 : roaring_bitmap_get_cardinality(sets[shard]);
    }
    if (count > ids_count(dataset->ids) / ENTRIES_PER_LOOK_UP) {
        return walk_ids(dataset->ids, sets, fn, arg, err);
    }
    struct each_subject each = {.ids = dataset->ids, .fn = fn, .arg = arg, .err = err};
    for (uint32_t shard = 0; shard < SHARD_COUNT && each.code == ERR_OK; shard++) {
        each.shard = shard;
        if (sets[shard] != NULL) {
            (void)roaring_iterate(sets[shard], take_subject, &each);
        }
    }
    return each.code;
}

/* ---- stand-ins ---- */

/* Sets of a snapshot, as subjects of the data set: those that have stand-ins are copies. */
struct stored_sets {
    const roaring_bitmap_t *sets[SHARD_COUNT];
    roaring_bitmap_t *copies[SHARD_COUNT]; /* NULL: as it was */
};

static void stored_sets_done(struct stored_sets *stored)
{
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        if (stored->copies[shard] != NULL) {
            roaring_bitmap_free(stored->copies[shard]);
        }
    }
}

/* *ret is filled after a failure as well, as far as it came. */
static enum err_code store_sets(const struct snapshot *snapshot,
                                const roaring_bitmap_t *const sets[SHARD_COUNT],
                                struct stored_sets *ret, struct err *err)
{
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        const struct stand_ins *stand_ins = snapshot->stand_ins[shard];
        ret->sets[shard] = sets[shard];
        if (sets[shard] == NULL || stand_ins == NULL || roaring_bitmap_is_empty(sets[shard]) ||
            roaring_bitmap_maximum(sets[shard]) < stand_ins->first) {
            continue;
        }
        roaring_bitmap_t *copy = roaring_bitmap_copy(sets[shard]);
        if (copy == NULL) {
            return err_set(err, ERR_NOMEM, "no memory for a set of people");
        }
        ret->sets[shard] = ret->copies[shard] = copy;
        for (uint32_t i = 0; i < stand_ins->count; i++) {
            if (roaring_bitmap_remove_checked(copy, stand_ins->first + i)) {
                roaring_bitmap_add(copy, stand_ins->subjects[i]);
            }
        }
    }
    return ERR_OK;
}

enum err_code snapshot_ids_of(const struct snapshot *snapshot,
                              const roaring_bitmap_t *const sets[SHARD_COUNT], dataset_id_fn fn,
                              void *arg, struct err *err)
{
    CLEANUP(stored_sets_done) struct stored_sets stored = {.sets = {NULL}};
    ERR_TRY(store_sets(snapshot, sets, &stored, err));
    return dataset_ids_of(snapshot->dataset, stored.sets, fn, arg, err);
}

enum err_code snapshot_save_cohort(const struct snapshot *snapshot,
                                   const struct saved_cohort *cohort,
                                   const roaring_bitmap_t *const sets[SHARD_COUNT], struct err *err)
{
    CLEANUP(stored_sets_done) struct stored_sets stored = {.sets = {NULL}};
    ERR_TRY(store_sets(snapshot, sets, &stored, err));
    return dataset_save_cohort(snapshot->dataset, cohort, stored.sets, err);
}

/* ---- cohorts ---- */

struct cohort_list {
    struct arena *arena;
    struct saved_cohort *items;
    uint32_t count, cap;
    const struct str *only; /* NULL = all */
};

static enum err_code take_cohort(void *arg, const struct catalog_cohort *cohort, struct err *err)
{
    struct cohort_list *list = arg;
    if (list->only != NULL && !str_eq(*list->only, cohort->name)) {
        return ERR_OK;
    }
    if (list->count == list->cap) {
        uint32_t cap = list->cap == 0 ? 8 : list->cap * 2;
        struct saved_cohort *more = NULL;
        ERR_TRY(ARENA_NEW(list->arena, cap, &more, err));
        if (list->count > 0) {
            memcpy(more, list->items, list->count * sizeof(*more));
        }
        list->items = more;
        list->cap = cap;
    }
    struct saved_cohort *saved = &list->items[list->count];
    *saved = (struct saved_cohort){
        .is_static = cohort->is_static,
        .epoch = cohort->epoch,
        .saved_ms = cohort->saved_ms,
        .users = cohort->users,
    };
    ERR_TRY(arena_str(list->arena, cohort->name, &saved->name, err));
    ERR_TRY(arena_str(list->arena, cohort->definition, &saved->definition, err));
    list->count++;
    return ERR_OK;
}

enum err_code dataset_cohorts(struct dataset *dataset, struct arena *arena,
                              struct saved_cohort **ret, uint32_t *ret_count, struct err *err)
{
    struct cohort_list list = {.arena = arena};
    ERR_TRY(catalog_cohorts(dataset->store->catalog, dataset->row.id, take_cohort, &list, err));
    *ret = list.items;
    *ret_count = list.count;
    return ERR_OK;
}

struct set_taker {
    struct str name;
    roaring_bitmap_t **sets;
};

static enum err_code take_set(void *arg, const struct catalog_cohort_set *set, struct err *err)
{
    const struct set_taker *taker = arg;
    roaring_bitmap_t *bits = roaring_bitmap_portable_deserialize_safe(set->bits.ptr, set->bits.len);
    if (bits == NULL || taker->sets[set->shard] != NULL) {
        if (bits != NULL) {
            roaring_bitmap_free(bits);
        }
        return err_set(err, ERR_CORRUPT,
                       "catalog: cohort \"" STR_FMT "\": the set of shard %" PRIu32 " is none",
                       STR_ARG(taker->name), set->shard);
    }
    taker->sets[set->shard] = bits;
    return ERR_OK;
}

/* As it was saved. */
static enum err_code read_cohort(struct dataset *dataset, struct str name, struct arena *arena,
                                 struct saved_cohort *ret, roaring_bitmap_t *out_sets[SHARD_COUNT],
                                 struct err *err)
{
    struct catalog *catalog = dataset->store->catalog;
    struct cohort_list list = {.arena = arena, .only = &name};
    ERR_TRY(catalog_cohorts(catalog, dataset->row.id, take_cohort, &list, err));
    if (list.count == 0) {
        return err_set(err, ERR_NOT_FOUND, "no cohort \"" STR_FMT "\" is saved", STR_ARG(name));
    }
    *ret = list.items[0];
    if (!ret->is_static) {
        return ERR_OK;
    }
    struct set_taker taker = {name, out_sets};
    return catalog_cohort_sets(catalog, dataset->row.id, name, take_set, &taker, err);
}

enum err_code dataset_cohort(struct dataset *dataset, struct str name, struct arena *arena,
                             struct saved_cohort *ret, roaring_bitmap_t *out_sets[SHARD_COUNT],
                             struct err *err)
{
    ERR_TRY(read_cohort(dataset, name, arena, ret, out_sets, err));
    return dataset_move_sets(dataset, out_sets, err); /* who was a device then may be a user by now */
}

enum err_code snapshot_cohort(const struct snapshot *snapshot, struct str name, struct arena *arena,
                              struct saved_cohort *ret, roaring_bitmap_t *out_sets[SHARD_COUNT],
                              struct err *err)
{
    if (!snapshot->is_own) {
        return dataset_cohort(snapshot->dataset, name, arena, ret, out_sets, err);
    }
    ERR_TRY(read_cohort(snapshot->dataset, name, arena, ret, out_sets, err));
    return identity_move_sets(snapshot->own_identity, out_sets, err);
}

/* The portable bytes of each set, in the arena. */
static enum err_code pack_sets(const roaring_bitmap_t *const *sets, struct arena *arena,
                               struct catalog_cohort_set *out, uint32_t *ret_count, struct err *err)
{
    uint32_t count = 0;
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        void *bytes = NULL;
        if (sets[shard] == NULL) {
            continue;
        }
        size_t size = roaring_bitmap_portable_size_in_bytes(sets[shard]);
        ERR_TRY(arena_alloc_raw(arena, size, &bytes, err));
        size_t written = roaring_bitmap_portable_serialize(sets[shard], bytes);
        ASSERT(written == size);
        out[count++] = (struct catalog_cohort_set){shard, {bytes, size}};
    }
    *ret_count = count;
    return ERR_OK;
}

static enum err_code check_writable(const struct dataset *dataset, struct err *err)
{
    return dataset->store->opts.is_read_only
               ? err_set(err, ERR_INVALID, "the store was opened read-only")
               : ERR_OK;
}

enum err_code dataset_save_cohort(struct dataset *dataset, const struct saved_cohort *cohort,
                                  const roaring_bitmap_t *const sets[SHARD_COUNT], struct err *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    struct catalog_cohort_set packed[SHARD_COUNT];
    struct cohort_list list = {.arena = arena};
    uint32_t set_count = 0;
    bool is_new = true;
    ASSERT(cohort->name.len > 0 && cohort->name.len <= COHORT_NAME_BYTES_MAX);
    ERR_TRY(check_writable(dataset, err));
    if (cohort->is_static) {
        ERR_TRY(pack_sets(sets, arena, packed, &set_count, err));
    }
    const struct catalog_cohort row = {
        .name = cohort->name,
        .definition = cohort->definition,
        .is_static = cohort->is_static,
        .epoch = cohort->epoch,
        .saved_ms = cohort->saved_ms,
        .users = cohort->users,
    };
    struct catalog *catalog = dataset->store->catalog;
    pthread_mutex_lock(&dataset->catalog_lock);
    enum err_code code = catalog_cohorts(catalog, dataset->row.id, take_cohort, &list, err);
    for (uint32_t i = 0; i < list.count; i++) {
        is_new = is_new && !str_eq(list.items[i].name, cohort->name);
    }
    if (code == ERR_OK && is_new && list.count >= COHORTS_MAX) {
        code = err_set(err, ERR_LIMIT, "a data set has at most %u cohorts", COHORTS_MAX);
    }
    if (code == ERR_OK) {
        code = catalog_put_cohort(catalog, dataset->row.id, &row, packed, set_count, err);
    }
    atomic_fetch_add_explicit(&dataset->cohorts_version, 1, memory_order_release);
    pthread_mutex_unlock(&dataset->catalog_lock);
    return code;
}

enum err_code dataset_drop_cohort(struct dataset *dataset, struct str name, struct err *err)
{
    ERR_TRY(check_writable(dataset, err));
    pthread_mutex_lock(&dataset->catalog_lock);
    enum err_code code = catalog_drop_cohort(dataset->store->catalog, dataset->row.id, name, err);
    atomic_fetch_add_explicit(&dataset->cohorts_version, 1, memory_order_release);
    pthread_mutex_unlock(&dataset->catalog_lock);
    return code;
}

uint64_t dataset_cohorts_version(const struct dataset *dataset)
{
    /* acquire: pairs with the change's release, so that who sees the number sees the change */
    return atomic_load_explicit(&dataset->cohorts_version, memory_order_acquire);
}
