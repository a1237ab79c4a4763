/* storage/dataset_acts.c - the acts of identity of a span of commits: marks of the directory say which facts came with which
 * (identity.h). A login is told only where it can have moved something: its anonymous id has rows without a user, and they
 * are masked where they lie because they stand under somebody. */
#include "storage/dataset_int.h"

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
            (fact.is_binding && !is_moved(snapshot, fact.from))) {
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
