/* storage/dataset_identity.c - bindings and merges of a data set: what snapshots show of them, and the owner's acts.
 *
 * A commit gives facts together with the ids that they are about. A snapshot looks whether there are any; if so it is
 * taken under identity_lock, so that what is kept of moved rows never runs ahead of the snapshot that is made. */
#include "storage/dataset_int.h"

#include "storage/dataset_record.h"
#include "storage/identity.h"

#include "storage/base/clock.h"
#include "storage/base/size.h"

#include <inttypes.h>
#include <stdlib.h>

static enum err_code no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "no memory for bound ids");
}

bool dataset_has_facts(struct dataset *dataset)
{
    pthread_mutex_lock(&dataset->state_lock);
    bool has_facts = dataset->facts_seen > 0;
    pthread_mutex_unlock(&dataset->state_lock);
    return has_facts;
}

/* ---- snapshots ---- */

/* Who is masked, where somebody moved: the deleted and the moved, as a set of the caller's; NULL where nobody did. */
static enum err_code masks_of(const roaring_bitmap_t *deleted, const roaring_bitmap_t *moved,
                              roaring_bitmap_t **ret_owned, struct err *err)
{
    if (moved == NULL || roaring_bitmap_is_empty(moved)) {
        return ERR_OK;
    }
    *ret_owned = deleted == NULL ? roaring_bitmap_copy(moved) : roaring_bitmap_or(deleted, moved);
    return *ret_owned == NULL ? no_memory(err) : ERR_OK;
}

/* Sources of a shard, or with is_history those of its history: the snapshot's own, and behind them the views. */
static void list_shard(const struct snapshot *snapshot, const struct identity_overlay *overlay,
                       uint32_t shard, bool is_history, const struct source **sources,
                       uint32_t *count)
{
    const struct source *const *own = is_history ? snapshot->history : snapshot->sources;
    const uint32_t *begin = is_history ? snapshot->history_begin : snapshot->shard_begin;
    for (uint32_t i = begin[shard]; i < begin[shard + 1]; i++) {
        sources[(*count)++] = own[i];
    }
    for (uint32_t i = 0; i < overlay->view_count; i++) {
        const struct source *source = memtable_view_source(overlay->views[i]);
        bool is_old =
            overlay->is_first_times[i] || source->time_max_ms < snapshot->expired_before_ms;
        if (source->shard == shard && is_old == is_history) {
            sources[(*count)++] = source;
        }
    }
}

/* The views beside the snapshot's sources. */
static enum err_code list_sources(struct snapshot *snapshot, const struct identity_overlay *overlay,
                                  struct err *err)
{
    size_t views = overlay->view_count;
    const struct source **sources =
        calloc(snapshot->source_count + views + 1, sizeof(const struct source *));
    const struct source **history =
        calloc(snapshot->history_count + views + 1, sizeof(const struct source *));
    uint32_t count = 0;
    uint32_t old_count = 0;
    if (sources == NULL || history == NULL) {
        free(sources);
        free(history);
        return no_memory(err);
    }
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        uint32_t begin = count;
        uint32_t old_begin = old_count;
        list_shard(snapshot, overlay, shard, false, sources, &count);
        list_shard(snapshot, overlay, shard, true, history, &old_count);
        snapshot->shard_begin[shard] = begin;
        snapshot->history_begin[shard] = old_begin;
    }
    free(snapshot->sources);
    free(snapshot->history);
    snapshot->sources = sources;
    snapshot->source_count = snapshot->shard_begin[SHARD_COUNT] = count;
    snapshot->history = history;
    snapshot->history_count = snapshot->history_begin[SHARD_COUNT] = old_count;
    return ERR_OK;
}

enum err_code identity_show(struct identity *identity, struct snapshot *snapshot,
                            const struct identity_moment *moment, enum io_kind io_kind,
                            struct identity_overlay *ret, struct err *err)
{
    ERR_TRY(identity_refresh(identity, snapshot, moment, io_kind, err));
    uint32_t views = identity_view_count(identity);
    ret->views = calloc((size_t)views + 1, sizeof(struct memtable_view *));
    ret->is_first_times = calloc((size_t)views + 1, sizeof(*ret->is_first_times));
    if (ret->views == NULL || ret->is_first_times == NULL) {
        return no_memory(err);
    }
    for (uint32_t i = 0; i < views; i++) {
        bool *is_first_times = &ret->is_first_times[ret->view_count];
        ret->views[ret->view_count++] =
            memtable_view_ref(identity_view(identity, i, is_first_times));
    }
    ERR_TRY(list_sources(snapshot, ret, err));
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        ERR_TRY(masks_of(snapshot->deleted[shard], identity_moved(identity, shard),
                         &ret->masks[shard], err));
        if (ret->masks[shard] != NULL) {
            snapshot->deleted[shard] = ret->masks[shard];
            snapshot->hidden[shard] = ret->masks[shard];
        }
    }
    return ERR_OK;
}

enum err_code dataset_show_identity(struct dataset *dataset, struct snapshot *snapshot,
                                    const struct identity_moment *moment,
                                    struct identity_overlay *ret, struct err *err)
{
    const struct store_opts *opts = &dataset->store->opts;
    if (dataset->identity == NULL) {
        ERR_TRY(identity_create(dataset->ids, dataset->schema, opts->identity_bytes_max,
                                &dataset->identity, err));
    }
    return identity_show(dataset->identity, snapshot, moment, opts->io_kind, ret, err);
}

enum err_code dataset_facts_by_arrival(struct dataset *dataset, struct identity **ret,
                                       struct err *err)
{
    CLEANUP(snapshot_unpinp) struct snapshot *stored = NULL;
    struct identity *identity = NULL;
    struct identity_moment moment = {.count = 0};
    ERR_TRY(dataset_snapshot_stored(dataset, &stored, &moment.ids_count, err));
    ERR_TRY(identity_create_by_arrival(dataset->ids, dataset->schema, UINT64_MAX, NULL, &identity,
                                       err));
    enum err_code code =
        identity_refresh(identity, stored, &moment, dataset->store->opts.io_kind, err);
    if (code != ERR_OK) {
        identity_free(identity);
        return code;
    }
    *ret = identity;
    return ERR_OK;
}

void identity_overlay_done(struct identity_overlay *overlay)
{
    for (uint32_t i = 0; i < overlay->view_count; i++) {
        memtable_view_unref(overlay->views[i]);
    }
    free(overlay->views);
    free(overlay->is_first_times);
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        if (overlay->masks[shard] != NULL) {
            roaring_bitmap_free(overlay->masks[shard]);
        }
    }
    *overlay = (struct identity_overlay){0};
}

enum err_code dataset_follow_identity(struct dataset *dataset, struct err *err)
{
    struct snapshot *snapshot = NULL;
    if (dataset_has_facts(dataset)) {
        ERR_TRY(dataset_snapshot(dataset, &snapshot, err));
        snapshot_unpin(snapshot);
    }
    return ERR_OK;
}

/* ---- who somebody is ---- */

void identity_find_owner(struct identity *identity, int64_t at_ms, uint32_t *shard,
                         uint32_t *subject)
{
    if (identity != NULL) {
        struct err ignored; /* out of memory: then it is itself */
        uint64_t place = identity_place(*shard, *subject);
        uint64_t owner = place;
        if (!identity_is_by_arrival(identity)) {
            owner = identity_owner(identity, place, at_ms);
        } else if (identity_find_own(identity, place, &owner, &ignored) != ERR_OK) {
            owner = place;
        }
        *shard = (uint32_t)(owner >> 32);
        *subject = (uint32_t)owner;
    }
}

void dataset_owner(struct dataset *dataset, int64_t at_ms, uint32_t *shard, uint32_t *subject)
{
    if (!dataset_has_facts(dataset)) {
        return;
    }
    pthread_mutex_lock(&dataset->identity_lock);
    identity_find_owner(dataset->identity, at_ms, shard, subject);
    pthread_mutex_unlock(&dataset->identity_lock);
}

static enum err_code move_set(struct identity *identity, uint32_t shard,
                              roaring_bitmap_t *sets[SHARD_COUNT], struct err *err)
{
    const roaring_bitmap_t *moved = identity_moved(identity, shard);
    if (sets[shard] == NULL || moved == NULL) {
        return ERR_OK;
    }
    roaring_bitmap_t *gone = roaring_bitmap_and(sets[shard], moved);
    if (gone == NULL) {
        return no_memory(err);
    }
    roaring_bitmap_andnot_inplace(sets[shard], gone);
    roaring_uint32_iterator_t at;
    roaring_init_iterator(gone, &at);
    enum err_code code = ERR_OK;
    for (; at.has_value && code == ERR_OK; (void)roaring_advance_uint32_iterator(&at)) {
        uint64_t place = identity_place(shard, at.current_value);
        uint64_t owner = place;
        if (!identity_is_by_arrival(identity)) {
            owner = identity_owner(identity, place, INT64_MIN);
        } else if (!identity_own_rows(identity, place, &owner)) {
            continue; /* all of its rows were another's when they came */
        }
        roaring_bitmap_t **home = &sets[owner >> 32];
        *home = *home == NULL ? roaring_bitmap_create() : *home;
        if (*home == NULL) {
            code = no_memory(err);
        } else {
            roaring_bitmap_add(*home, (uint32_t)owner);
        }
    }
    roaring_bitmap_free(gone);
    return code;
}

enum err_code identity_move_sets(struct identity *identity, roaring_bitmap_t *sets[SHARD_COUNT],
                                 struct err *err)
{
    for (uint32_t shard = 0; shard < SHARD_COUNT && identity != NULL; shard++) {
        ERR_TRY(move_set(identity, shard, sets, err));
    }
    return ERR_OK;
}

enum err_code dataset_move_sets(struct dataset *dataset, roaring_bitmap_t *sets[SHARD_COUNT],
                                struct err *err)
{
    if (!dataset_has_facts(dataset)) {
        return ERR_OK;
    }
    pthread_mutex_lock(&dataset->identity_lock);
    enum err_code code = identity_move_sets(dataset->identity, sets, err);
    pthread_mutex_unlock(&dataset->identity_lock);
    return code;
}

struct identity_stats dataset_identity_stats(struct dataset *dataset)
{
    struct identity_stats stats = {0};
    pthread_mutex_lock(&dataset->identity_lock);
    if (dataset->identity != NULL) {
        stats = identity_stats(dataset->identity);
    }
    pthread_mutex_unlock(&dataset->identity_lock);
    stats.refused = atomic_load_explicit(&dataset->acts_refused, memory_order_relaxed);
    return stats;
}

/* ---- merging ---- */

/* One record without events, as the writer. */
static enum err_code commit_facts(struct dataset *dataset, int64_t commit_ms, struct io *io,
                                  struct err *err)
{
    struct event_batch none = {.arrival_ms = commit_ms};
    struct record_source source = {
        .batch = &none,
        .ids = dataset->ids,
        .first_id = dataset->logged.ids,
        .schema = dataset->schema,
        .first_col = dataset->logged.cols,
    };
    uint64_t seq = 0;
    buf_clear(&dataset->record);
    record_encode(&dataset->record, &source);
    ERR_TRY(buf_check(&dataset->record, err));
    ERR_TRY(wal_append(dataset->wal, buf_as_str(&dataset->record), &seq, err));
    ERR_TRY(wal_commit(dataset->wal, io, err));
    dataset_note_logged(dataset);
    pthread_mutex_lock(&dataset->state_lock);
    dataset->epoch = wal_last_seq(dataset->wal);
    dataset->commit_ms = commit_ms;
    memcpy(dataset->subjects, dataset->logged.subjects, sizeof(dataset->subjects));
    dataset->ids_seen = dataset->logged.ids;
    dataset->facts_seen = dataset->logged.facts;
    pthread_mutex_unlock(&dataset->state_lock);
    return ERR_OK;
}

static enum err_code add_merge(struct dataset *dataset, struct identity_merge merge,
                               struct err *err)
{
    uint8_t key[IDENTITY_MERGE_BYTES];
    uint32_t shard = 0;
    uint32_t subject = 0;
    uint64_t before = ids_count(dataset->ids);
    merge.number = (uint32_t)ids_facts(dataset->ids);
    for (;;) { /* numbers of facts are given once; more than one may be tried after a repair */
        identity_merge_key(&merge, key);
        ERR_TRY(ids_add(dataset->ids, ID_MERGE, (struct str){(const char *)key, sizeof(key)},
                        &shard, &subject, err));
        if (ids_count(dataset->ids) > before) {
            return ERR_OK;
        }
        merge.number++;
    }
}

/* Where the commit fails the ids stay and travel in the next record: what undoes the act goes with them. */
static enum err_code act(struct dataset *dataset, struct identity_merge merge, struct io *io,
                         struct err *err)
{
    merge.at_ms = dataset_next_clock(dataset, store_wall_ms(dataset->store));
    ERR_TRY(dataset_mark_clock(dataset, merge.at_ms, err));
    ERR_TRY(add_merge(dataset, merge, err));
    enum err_code code = commit_facts(dataset, merge.at_ms, io, err);
    if (code == ERR_OK) {
        return ERR_OK;
    }
    struct err second;
    wal_discard(dataset->wal);
    merge.act = (enum identity_act)((uint32_t)merge.act ^ 1u); /* acts come in pairs */
    if (wal_is_broken(dataset->wal) || add_merge(dataset, merge, &second) != ERR_OK) {
        dataset_break(dataset, err);
    }
    return code;
}

static enum err_code user_place(struct dataset *dataset, struct str user_id, uint64_t *ret,
                                struct err *err)
{
    uint32_t shard = 0;
    uint32_t subject = 0;
    if (event_id_is_sentinel(user_id) ||
        !ids_find(dataset->ids, ID_USER, user_id, &shard, &subject)) {
        return err_set(err, ERR_NOT_FOUND, "no event has the user id \"" STR_FMT "\"",
                       STR_ARG(user_id));
    }
    *ret = identity_place(shard, subject);
    return ERR_OK;
}

/* What is known of a user, by a snapshot of all that is committed. Only the writer commits, and that is who asks. */
struct standing {
    uint64_t place, into;
    bool is_merged, is_nobody;
    uint64_t root;
};

static enum err_code look_at(struct dataset *dataset, struct str user_id, struct standing *ret,
                             struct err *err)
{
    *ret = (struct standing){0};
    ERR_TRY(user_place(dataset, user_id, &ret->place, err));
    ERR_TRY(dataset_follow_identity(dataset, err));
    ret->root = ret->place;
    pthread_mutex_lock(&dataset->identity_lock);
    struct identity *identity = dataset->identity;
    if (identity != NULL) {
        ret->is_nobody = identity_is_nobody(identity, ret->place);
        ret->is_merged = identity_merged(identity, ret->place, &ret->into);
        ret->root = identity_owner(identity, ret->place, INT64_MAX);
    }
    pthread_mutex_unlock(&dataset->identity_lock);
    return ERR_OK;
}

static enum err_code refuse(struct str user_id, const char *why, struct err *err)
{
    return err_set(err, ERR_INVALID, "user \"" STR_FMT "\" %s", STR_ARG(user_id), why);
}

static enum err_code judge(const struct standing *user, const struct standing *into,
                           struct str user_id, enum identity_act act, struct err *err)
{
    switch (act) {
    case IDENTITY_UNMERGE:
        return user->is_merged ? ERR_OK : refuse(user_id, "is merged into nobody", err);
    case IDENTITY_SOMEBODY:
        return user->is_nobody ? ERR_OK : refuse(user_id, "was not declared to be nobody", err);
    case IDENTITY_NOBODY:
        if (user->is_merged) {
            return refuse(user_id, "is merged into another: undo that first", err);
        }
        return user->is_nobody ? refuse(user_id, "is nobody already", err) : ERR_OK;
    case IDENTITY_COMMIT: /* no act */
    case IDENTITY_MERGE: break;
    }
    if (user->is_nobody || into->is_nobody) {
        return refuse(user_id, "cannot be merged: one of the two was declared to be nobody", err);
    }
    if (user->is_merged) {
        return refuse(user_id, "is merged already: undo that first", err);
    }
    return into->root == user->place ? refuse(user_id, "would be merged into itself", err) : ERR_OK;
}

static enum err_code act_as_writer(struct dataset *dataset, struct str user_id, struct str into_id,
                                   enum identity_act what, struct io *io, struct err *err)
{
    struct standing user;
    struct standing into;
    if (dataset_is_broken(dataset, err)) {
        return err->code;
    }
    ERR_TRY(look_at(dataset, user_id, &user, err));
    into = user;
    if (what == IDENTITY_MERGE) {
        ERR_TRY(look_at(dataset, into_id, &into, err));
    }
    ERR_TRY(judge(&user, &into, user_id, what, err));
    struct identity_merge merge = {.act = what, .from = user.place, .into = into.place};
    merge.into = what == IDENTITY_UNMERGE ? user.into : merge.into;
    return act(dataset, merge, io, err);
}

static enum err_code act_on(struct dataset *dataset, struct str user_id, struct str into,
                            enum identity_act what, struct err *err)
{
    CLEANUP(io_freep) struct io *io = NULL;
    if (dataset->store->opts.is_read_only) {
        return err_set(err, ERR_INVALID, "the store was opened read-only");
    }
    ERR_TRY(io_create(dataset->store->opts.io_kind, &io, err));
    dataset_writer_acquire(dataset);
    enum err_code code = act_as_writer(dataset, user_id, into, what, io, err);
    dataset_writer_release(dataset, io);
    if (code == ERR_INVALID || code == ERR_NOT_FOUND) {
        atomic_fetch_add_explicit(&dataset->acts_refused, 1, memory_order_relaxed);
    }
    return code;
}

enum err_code dataset_merge_user(struct dataset *dataset, struct str user_id, struct str into,
                                 struct err *err)
{
    return act_on(dataset, user_id, into, IDENTITY_MERGE, err);
}

enum err_code dataset_unmerge_user(struct dataset *dataset, struct str user_id, struct err *err)
{
    return act_on(dataset, user_id, (struct str){0}, IDENTITY_UNMERGE, err);
}

enum err_code dataset_declare_nobody(struct dataset *dataset, struct str user_id, bool is_nobody,
                                     struct err *err)
{
    return act_on(dataset, user_id, (struct str){0},
                  is_nobody ? IDENTITY_NOBODY : IDENTITY_SOMEBODY, err);
}
