/* storage/dataset_people.c - from sets of subjects back to ids. */
#include "storage/dataset_int.h"

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
