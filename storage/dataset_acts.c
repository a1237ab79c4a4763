/* storage/dataset_acts.c - the acts of identity of a span of commits, and its erasures: marks of the directory say which facts came with which
 * (identity.h). A login is told only where it can have moved something: its anonymous id has rows without a user, and they
 * are masked where they lie because they stand under somebody. Those of a user that was ever declared to be nobody's may have
 * done so before, or after, and are all told. */
#include "storage/dataset_int.h"

#include <stdlib.h>

/* Users that were ever declared to be nobody's, ascending. */
struct nobodies {
    uint64_t *places;
    uint32_t count, cap;
};

static void nobodies_done(struct nobodies *nobodies)
{
    free(nobodies->places);
}

static int place_cmp(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static enum err_code find_nobodies(const struct ids *ids, uint64_t ids_count, struct nobodies *ret,
                                   struct err *err)
{
    struct id_cursor cursor = ids_cursor(ids, 0);
    struct id_entry entry;
    struct identity_fact fact;
    for (uint64_t i = 0; i < ids_count && id_cursor_next(&cursor, &entry); i++) {
        if (!identity_fact(&entry, &fact) || fact.is_binding || fact.act != IDENTITY_NOBODY) {
            continue;
        }
        if (ret->count == ret->cap) {
            uint32_t cap = ret->cap == 0 ? 16 : ret->cap * 2;
            uint64_t *grown = realloc(ret->places, cap * sizeof(*grown));
            if (grown == NULL) {
                return err_set(err, ERR_NOMEM, "no memory for ids that are nobody's");
            }
            ret->places = grown;
            ret->cap = cap;
        }
        ret->places[ret->count++] = fact.from;
    }
    if (ret->count > 0) {
        qsort(ret->places, ret->count, sizeof(*ret->places), place_cmp);
    }
    return ERR_OK;
}

static bool was_nobody(const struct nobodies *nobodies, uint64_t place)
{
    return nobodies->count > 0 && bsearch(&place, nobodies->places, nobodies->count,
                                          sizeof(*nobodies->places), place_cmp) != NULL;
}

static bool is_moved(const struct snapshot *snapshot, uint64_t place)
{
    const roaring_bitmap_t *masked = snapshot->deleted[place >> 32];
    return masked != NULL && roaring_bitmap_contains(masked, (uint32_t)place);
}

static struct str id_of(const struct ids *ids, uint64_t place)
{
    struct id_entry entry;
    bool is_known = ids_find_key(ids, (uint32_t)(place >> 32), (uint32_t)place, &entry);
    return is_known ? entry.key : STR("");
}

static enum snapshot_act_kind kind_of(const struct identity_fact *fact)
{
    static const enum snapshot_act_kind kinds[] = {
        [IDENTITY_UNMERGE] = ACT_UNMERGE,
        [IDENTITY_MERGE] = ACT_MERGE,
        [IDENTITY_NOBODY] = ACT_NOBODY,
        [IDENTITY_SOMEBODY] = ACT_SOMEBODY,
    };
    return fact->is_binding ? ACT_LOGIN : kinds[fact->act];
}

enum err_code snapshot_acts(const struct snapshot *snapshot, int64_t after_ms, int64_t until_ms,
                            snapshot_act_fn fn, void *arg, struct err *err)
{
    const struct snapshot_pin *pin = (const struct snapshot_pin *)snapshot;
    const struct ids *ids = snapshot->dataset->ids;
    struct id_cursor cursor = ids_cursor(ids, 0);
    struct id_entry entry;
    struct identity_fact fact;
    CLEANUP(nobodies_done) struct nobodies nobodies = {0};
    ERR_TRY(find_nobodies(ids, pin->ids_count, &nobodies, err));
    int64_t commit_ms = INT64_MIN; /* facts before the first mark hold in every epoch */
    for (uint64_t i = 0; i < pin->ids_count && id_cursor_next(&cursor, &entry); i++) {
        if (!identity_fact(&entry, &fact)) {
            continue;
        }
        bool is_mark = !fact.is_binding && fact.act == IDENTITY_COMMIT;
        if (is_mark) {
            commit_ms = fact.at_ms;
        } else if (!fact.is_binding && fact.act > IDENTITY_COMMIT) {
            continue;
        }
        if (commit_ms > until_ms) {
            return ERR_OK;
        }
        if (is_mark || commit_ms <= after_ms ||
            (fact.is_binding && !is_moved(snapshot, fact.from) &&
             !was_nobody(&nobodies, fact.into))) {
            continue;
        }
        struct snapshot_act act = {
            .commit_ms = commit_ms, .kind = kind_of(&fact), .from = id_of(ids, fact.from)};
        bool has_into = act.kind <= ACT_UNMERGE;
        act.into = has_into ? id_of(ids, fact.into) : STR("");
        ERR_TRY(fn(arg, &act, err));
    }
    return ERR_OK;
}

enum err_code snapshot_erasures(const struct snapshot *snapshot, int64_t after_ms, int64_t until_ms,
                                snapshot_erasure_fn fn, void *arg, struct err *err)
{
    const struct dataset *dataset = snapshot->dataset;
    return catalog_deletions(dataset->store->catalog, dataset->row.id, after_ms, until_ms, fn, arg,
                             err);
}
