/* storage/identity.c - see identity.h: facts, who is moved, and whose a row is. */
#include "storage/identity_int.h"

#include "storage/base/hash.h"
#include "storage/base/rd.h"

#include <inttypes.h>
#include <stdlib.h>

#define TABLE_FIRST 64u

/* ---- facts ---- */

static void put_place(uint8_t *at, uint64_t place)
{
    at[0] = (uint8_t)(place >> 32);
    wr_u32(at + 1, (uint32_t)place);
}

static uint64_t rd_place(struct rd *rd)
{
    uint32_t shard = rd_u8(rd);
    return identity_place(shard % SHARD_COUNT, rd_u32(rd));
}

void identity_binding_key(uint64_t weak, uint64_t user, uint8_t out[IDENTITY_BINDING_BYTES])
{
    put_place(out, weak);
    put_place(out + 5, user);
}

void identity_merge_key(const struct identity_merge *merge, uint8_t out[IDENTITY_MERGE_BYTES])
{
    wr_u32(out, merge->number);
    out[4] = (uint8_t)merge->act;
    put_place(out + 5, merge->from);
    put_place(out + 10, merge->into);
    wr_u64(out + 15, (uint64_t)merge->at_ms);
}

/* ---- moved subjects ---- */

enum err_code identity_no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "no memory for bound ids");
}

enum err_code identity_grow(void **items, uint32_t count, uint32_t *cap, size_t item_bytes,
                            struct err *err)
{
    if (count < *cap) {
        return ERR_OK;
    }
    uint32_t more = *cap == 0 ? 4 : *cap * 2;
    size_t bytes = 0;
    void *grown = more > *cap && size_mul(more, item_bytes, &bytes) ? realloc(*items, bytes) : NULL;
    if (grown == NULL) {
        return identity_no_memory(err);
    }
    *items = grown;
    *cap = more;
    return ERR_OK;
}

static uint32_t *slot_of(uint32_t *table, uint32_t size, const struct moved *moved, uint64_t place)
{
    uint32_t at = (uint32_t)hash64(&place, sizeof(place), 0) & (size - 1);
    while (table[at] != 0 && moved[table[at] - 1].place != place) {
        at = (at + 1) & (size - 1);
    }
    return &table[at];
}

struct moved *identity_find(const struct identity *identity, uint64_t place)
{
    if (identity->table_size == 0) {
        return NULL;
    }
    uint32_t idx = *slot_of(identity->table, identity->table_size, identity->moved, place);
    return idx == 0 ? NULL : &identity->moved[idx - 1];
}

static enum err_code table_room(struct identity *identity, struct err *err)
{
    if ((identity->moved_count + 1) * (uint64_t)2 <= identity->table_size) {
        return ERR_OK;
    }
    uint32_t size = identity->table_size == 0 ? TABLE_FIRST : identity->table_size * 2;
    uint32_t *table = size == 0 ? NULL : calloc(size, sizeof(*table));
    if (table == NULL) {
        return identity_no_memory(err);
    }
    for (uint32_t i = 0; i < identity->moved_count; i++) {
        *slot_of(table, size, identity->moved, identity->moved[i].place) = i + 1;
    }
    free(identity->table);
    identity->table = table;
    identity->table_size = size;
    return ERR_OK;
}

static void touch_nobodies(struct identity *identity)
{
    for (uint32_t i = 0; i < identity->chunk_count; i++) {
        identity->chunks[i].is_stale =
            identity->chunks[i].is_stale || identity->chunks[i].has_nobody;
    }
}

static void set_active(struct identity *identity, struct moved *moved, bool is_active)
{
    uint32_t shard = (uint32_t)(moved->place >> 32);
    moved->is_active = is_active;
    if (is_active && moved->has_rows) {
        roaring_bitmap_add(identity->masks[shard], (uint32_t)moved->place);
    } else {
        roaring_bitmap_remove(identity->masks[shard], (uint32_t)moved->place);
    }
}

void identity_note_row(struct identity *identity, uint32_t moved_idx)
{
    struct moved *moved = &identity->moved[moved_idx];
    if (!moved->has_rows) {
        moved->has_rows = true;
        set_active(identity, moved, moved->is_active);
    }
}

/* *ret NULL where the place is of no such id: a directory that was repaired may name who is lost. */
static enum err_code find_or_add(struct identity *identity, uint64_t place, enum id_kind kind,
                                 uint64_t owner, struct moved **ret, struct err *err)
{
    struct id_entry entry;
    *ret = identity_find(identity, place);
    if (*ret != NULL) {
        return ERR_OK;
    }
    uint32_t shard = (uint32_t)(place >> 32);
    if (!ids_find_key(identity->ids, shard, (uint32_t)place, &entry) || entry.kind != kind) {
        return ERR_OK;
    }
    if (identity->masks[shard] == NULL) {
        identity->masks[shard] = roaring_bitmap_create();
        if (identity->masks[shard] == NULL) {
            return identity_no_memory(err);
        }
    }
    ERR_TRY(table_room(identity, err));
    void *items = identity->moved;
    ERR_TRY(identity_grow(&items, identity->moved_count, &identity->moved_cap,
                          sizeof(*identity->moved), err));
    identity->moved = items;
    struct moved *moved = &identity->moved[identity->moved_count++];
    *moved = (struct moved){.place = place,
                            .key = entry.key,
                            .kind = kind,
                            .is_new = true,
                            .chunk_shard = (uint32_t)(owner >> 32),
                            .stand_in = STAND_IN_NONE};
    identity->new_count++;
    touch_nobodies(identity);
    *slot_of(identity->table, identity->table_size, identity->moved, place) = identity->moved_count;
    *ret = moved;
    return ERR_OK;
}

void identity_touch(struct identity *identity, uint32_t moved_idx)
{
    touch_nobodies(identity);
    for (uint32_t i = 0; i < identity->chunk_count; i++) {
        struct chunk *chunk = &identity->chunks[i];
        chunk->is_stale = chunk->is_stale || roaring_bitmap_contains(chunk->moved, moved_idx);
    }
}

/* ---- forgetting ---- */

static void forget_seen(struct identity *identity)
{
    for (uint32_t i = 0; i < identity->seen_count; i++) {
        memtable_unref(identity->seen[i].memtable);
    }
    identity->seen_count = 0;
}

static void forget(struct identity *identity)
{
    struct identity fresh = {
        .ids = identity->ids,
        .schema = identity->schema,
        .bytes_max = identity->bytes_max,
        .is_by_arrival = identity->is_by_arrival,
        .is_facts_alone = identity->is_facts_alone,
        .commit_ms = INT64_MIN,
    };
    for (uint32_t i = 0; i < identity->moved_count; i++) {
        free(identity->moved[i].users);
        free(identity->moved[i].logins);
        identity_then_done(&identity->moved[i]);
    }
    for (uint32_t i = 0; i < identity->chunk_count; i++) {
        identity_chunk_done(&identity->chunks[i]);
    }
    for (uint32_t i = 0; i < SHARD_COUNT; i++) {
        if (identity->masks[i] != NULL) {
            roaring_bitmap_free(identity->masks[i]);
        }
        fresh.stand_ins[i].first = identity->stand_ins[i].first;
        free(identity->stand_ins[i].subjects);
    }
    forget_seen(identity);
    free(identity->moved);
    free(identity->table);
    free(identity->searches);
    free(identity->chunks);
    free(identity->seen);
    *identity = fresh;
}

/* ---- taking facts ---- */

static enum err_code add_search(struct identity *identity, const struct moved *moved, uint64_t user,
                                struct err *err)
{
    void *items = identity->searches;
    ERR_TRY(identity_grow(&items, identity->search_count, &identity->search_cap,
                          sizeof(*identity->searches), err));
    identity->searches = items;
    identity->searches[identity->search_count++] =
        (struct search){user, (uint32_t)(moved - identity->moved)};
    return ERR_OK;
}

static enum err_code take_binding(struct identity *identity, uint64_t weak, uint64_t user,
                                  struct err *err)
{
    struct moved *moved = NULL;
    if (identity_is_nobody(identity, user)) { /* by arrival nobody is so from the start */
        return ERR_OK;
    }
    ERR_TRY(find_or_add(identity, weak, ID_ANONYMOUS, user, &moved, err));
    if (moved == NULL) {
        return ERR_OK;
    }
    if (!moved->is_active) {
        set_active(identity, moved, true);
    }
    void *users = moved->users;
    ERR_TRY(identity_grow(&users, moved->user_count, &moved->user_cap, sizeof(*moved->users), err));
    moved->users = users;
    moved->users[moved->user_count++] = (struct bound_user){user, identity->commit_ms};
    if (moved->user_count == 1) {
        return ERR_OK;
    }
    identity_touch(identity, (uint32_t)(moved - identity->moved));
    if (moved->user_count == 2) {
        identity->shared_count++;
        ERR_TRY(add_search(identity, moved, moved->users[0].place, err));
    }
    return add_search(identity, moved, user, err);
}

bool identity_knows(const struct identity *identity, uint64_t place)
{
    return identity_find(identity, place) != NULL;
}

bool identity_is_nobody(const struct identity *identity, uint64_t place)
{
    const struct moved *moved = identity_find(identity, place);
    return moved != NULL && moved->is_nobody;
}

static bool is_merged(const struct moved *moved)
{
    if (moved != NULL && moved->turn_count > 0) { /* by arrival */
        return moved->turns[moved->turn_count - 1].is_merged;
    }
    return moved != NULL && moved->kind == ID_USER && moved->is_active && !moved->is_nobody;
}

static uint64_t root_of(const struct identity *identity, uint64_t user)
{
    const struct moved *moved = identity_find(identity, user);
    while (is_merged(moved)) {
        user = moved->into;
        moved = identity_find(identity, user);
    }
    return user;
}

/* What would make a circle is no merge, whoever wrote it: following merges always ends. */
static enum err_code take_merge(struct identity *identity, bool is_undone, uint64_t from,
                                uint64_t into, struct err *err)
{
    struct moved *moved = NULL;
    if (identity_is_nobody(identity, from) || (!is_undone && root_of(identity, into) == from)) {
        return ERR_OK;
    }
    ERR_TRY(find_or_add(identity, from, ID_USER, into, &moved, err));
    if (moved == NULL || moved->kind != ID_USER) {
        return ERR_OK;
    }
    moved->into = into;
    set_active(identity, moved, !is_undone);
    for (uint32_t i = 0; i < identity->chunk_count; i++) {
        identity->chunks[i].is_stale = true; /* of whose rows `from` was the owner is not listed */
    }
    return ERR_OK;
}

/* Of an identity by arrival, in the order of commits. Whatever is written, following merges ends as of every commit. */
static enum err_code take_act(struct identity *identity, const struct id_entry *entry,
                              struct err *err)
{
    struct identity_fact act;
    struct moved *user = NULL;
    if (!identity_fact(entry, &act)) {
        return err_set(err, ERR_CORRUPT, "a merge in the id directory is malformed");
    }
    if (act.act == IDENTITY_COMMIT) {
        identity->commit_ms = act.at_ms;
    }
    if (act.act >= IDENTITY_COMMIT) {
        return ERR_OK;
    }
    bool is_merge = act.act == IDENTITY_MERGE;
    if (is_merge && identity_root_then(identity, act.into, INT64_MAX) == act.from) {
        return ERR_OK;
    }
    ERR_TRY(find_or_add(identity, act.from, ID_USER, is_merge ? act.into : act.from, &user, err));
    if (user == NULL || user->kind != ID_USER ||
        (is_merge && (identity_turn_at(user, INT64_MAX).is_nobody ||
                      identity_turn_at(user, INT64_MAX).is_merged))) {
        return ERR_OK;
    }
    set_active(identity, user, true);
    user->into = act.into;
    return identity_take_turn(user,
                              (struct user_turn){.commit_ms = identity->commit_ms,
                                                 .is_merged = is_merge,
                                                 .is_nobody = act.act == IDENTITY_NOBODY,
                                                 .into = act.into},
                              err);
}

static enum err_code take_fact(struct identity *identity, const struct id_entry *entry,
                               struct err *err)
{
    if (identity->is_by_arrival && entry->kind != ID_BINDING) {
        return take_act(identity, entry, err);
    }
    struct rd rd = rd_init(entry->key);
    if (entry->kind == ID_BINDING) {
        uint64_t weak = rd_place(&rd);
        uint64_t user = rd_place(&rd);
        return rd.is_bad ? err_set(err, ERR_CORRUPT, "a binding in the id directory is malformed")
                         : take_binding(identity, weak, user, err);
    }
    (void)rd_u32(&rd);
    uint8_t act = rd_u8(&rd);
    uint64_t from = rd_place(&rd);
    uint64_t into = rd_place(&rd);
    if (rd.is_bad) {
        return err_set(err, ERR_CORRUPT, "a merge in the id directory is malformed");
    }
    return act > IDENTITY_MERGE ? ERR_OK /* taken before all else, or a mark */
                                : take_merge(identity, act == IDENTITY_UNMERGE, from, into, err);
}

static bool is_about_nobody(const struct id_entry *entry)
{
    return entry->kind == ID_MERGE && entry->key.len == IDENTITY_MERGE_BYTES &&
           ((uint8_t)entry->key.ptr[4] == IDENTITY_NOBODY ||
            (uint8_t)entry->key.ptr[4] == IDENTITY_SOMEBODY);
}

/* Who is nobody binds nothing, so that has to be known before the first binding is taken. */
static enum err_code take_nobodies(struct identity *identity, uint64_t ids_count, struct err *err)
{
    struct id_cursor cursor = ids_cursor(identity->ids, 0);
    struct id_entry entry;
    for (uint64_t i = 0; i < ids_count && id_cursor_next(&cursor, &entry); i++) {
        struct moved *moved = NULL;
        if (!is_about_nobody(&entry)) {
            continue;
        }
        struct rd rd = rd_init(entry.key);
        (void)rd_u32(&rd);
        bool is_nobody = rd_u8(&rd) == IDENTITY_NOBODY;
        uint64_t place = rd_place(&rd);
        ERR_TRY(find_or_add(identity, place, ID_USER, place, &moved, err));
        if (moved != NULL) {
            moved->is_nobody = is_nobody;
            set_active(identity, moved, is_nobody);
        }
    }
    return ERR_OK;
}

bool identity_fact(const struct id_entry *entry, struct identity_fact *ret)
{
    struct rd rd = rd_init(entry->key);
    *ret = (struct identity_fact){.is_binding = entry->kind == ID_BINDING};
    if (!id_kind_is_fact(entry->kind)) {
        return false;
    }
    if (!ret->is_binding) {
        (void)rd_u32(&rd);
        ret->act = (enum identity_act)rd_u8(&rd);
    }
    ret->from = rd_place(&rd);
    ret->into = rd_place(&rd);
    ret->at_ms = ret->is_binding ? 0 : (int64_t)rd_u64(&rd);
    return !rd.is_bad;
}

/* A mark: the clock of the commit that the facts behind it came with. */
static bool is_mark(const struct id_entry *entry, int64_t *ret_ms)
{
    struct rd rd = rd_init(entry->key);
    (void)rd_u32(&rd);
    bool is_its = entry->kind == ID_MERGE && rd_u8(&rd) == IDENTITY_COMMIT;
    (void)rd_place(&rd);
    (void)rd_place(&rd);
    *ret_ms = (int64_t)rd_u64(&rd);
    return is_its && !rd.is_bad;
}

uint64_t identity_facts_until(const struct ids *ids, uint64_t ids_count, int64_t until_ms,
                              bool *ret_has_facts)
{
    struct id_cursor cursor = ids_cursor(ids, 0);
    struct id_entry entry;
    int64_t commit_ms = 0;
    *ret_has_facts = false;
    for (uint64_t i = 0; i < ids_count && id_cursor_next(&cursor, &entry); i++) {
        if (!id_kind_is_fact(entry.kind)) {
            continue;
        }
        if (!is_mark(&entry, &commit_ms)) {
            *ret_has_facts = true;
        } else if (commit_ms > until_ms) {
            return i;
        }
    }
    return ids_count;
}

static bool has_news_of_nobody(const struct identity *identity, uint64_t ids_count)
{
    struct id_cursor cursor = ids_cursor(identity->ids, identity->next_id);
    struct id_entry entry;
    bool has_news = false;
    for (uint64_t i = identity->next_id; i < ids_count && id_cursor_next(&cursor, &entry); i++) {
        has_news = has_news || is_about_nobody(&entry);
    }
    return has_news;
}

static enum err_code take_facts(struct identity *identity, uint64_t ids_count, struct err *err)
{
    if (!identity->is_by_arrival && has_news_of_nobody(identity, ids_count)) {
        forget(identity);
        ERR_TRY(take_nobodies(identity, ids_count, err));
    }
    struct id_cursor cursor = ids_cursor(identity->ids, identity->next_id);
    struct id_entry entry;
    for (; identity->next_id < ids_count && id_cursor_next(&cursor, &entry); identity->next_id++) {
        if (id_kind_is_fact(entry.kind)) {
            ERR_TRY(take_fact(identity, &entry, err));
        }
    }
    return ERR_OK;
}

/* ---- whose a row is ---- */

enum err_code identity_add_login(struct moved *moved, struct login login, struct err *err)
{
    void *items = moved->logins;
    ERR_TRY(
        identity_grow(&items, moved->login_count, &moved->login_cap, sizeof(*moved->logins), err));
    moved->logins = items;
    moved->logins[moved->login_count++] = login;
    moved->is_unsorted = true;
    return ERR_OK;
}

/* By the ids' bytes: numbers tell in which order users came. */
int identity_user_cmp(const struct identity *identity, uint64_t a, uint64_t b)
{
    struct id_entry x = {0};
    struct id_entry y = {0};
    if (a == b) {
        return 0;
    }
    (void)ids_find_key(identity->ids, (uint32_t)(a >> 32), (uint32_t)a, &x);
    (void)ids_find_key(identity->ids, (uint32_t)(b >> 32), (uint32_t)b, &y);
    return str_cmp(x.key, y.key);
}

static int login_cmp(const void *a, const void *b, void *identity)
{
    const struct login *x = a;
    const struct login *y = b;
    int order = x->time_ms != y->time_ms ? (x->time_ms > y->time_ms ? 1 : -1)
                                         : identity_user_cmp(identity, x->user, y->user);
    return order != 0 ? order : (x->arrival_ms > y->arrival_ms) - (x->arrival_ms < y->arrival_ms);
}

void identity_sort_logins(struct identity *identity, struct moved *moved)
{
    uint32_t kept = 0;
    qsort_r(moved->logins, moved->login_count, sizeof(*moved->logins), login_cmp, identity);
    for (uint32_t i = 0; i < moved->login_count; i++) {
        const struct login *login = &moved->logins[i];
        const struct login *last = kept == 0 ? NULL : &moved->logins[kept - 1];
        if (last == NULL || last->time_ms != login->time_ms || last->user != login->user) {
            moved->logins[kept++] = *login;
        }
    }
    moved->login_count = kept;
    moved->is_unsorted = false;
}

/* How many logins are at or before at_ms, of sorted ones. */
static uint32_t logins_until(const struct moved *moved, int64_t at_ms)
{
    uint32_t low = 0;
    uint32_t high = moved->login_count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (moved->logins[mid].time_ms <= at_ms) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

static uint64_t user_at(struct identity *identity, struct moved *moved, int64_t at_ms)
{
    if (moved->user_count == 1) {
        return moved->users[0].place;
    }
    if (moved->is_unsorted) {
        identity_sort_logins(identity, moved);
    }
    if (moved->login_count == 0) { /* they are expired: what is left is that they were */
        uint64_t first = moved->users[0].place;
        for (uint32_t i = 1; i < moved->user_count; i++) {
            uint64_t other = moved->users[i].place;
            first = identity_user_cmp(identity, other, first) < 0 ? other : first;
        }
        return first;
    }
    uint32_t low = logins_until(moved, at_ms);
    return moved->logins[low == 0 ? 0 : low - 1].user;
}

bool identity_turn(struct identity *identity, uint64_t weak, int64_t at_ms, int64_t *ret_since_ms)
{
    struct moved *moved = identity_find(identity, weak);
    if (moved == NULL || moved->kind != ID_ANONYMOUS || moved->user_count < 2) {
        return false;
    }
    if (moved->is_unsorted) {
        identity_sort_logins(identity, moved);
    }
    uint32_t end = logins_until(moved, at_ms);
    if (end == 0) {
        return false;
    }
    uint32_t first = end - 1;
    while (first > 0 && moved->logins[first - 1].user == moved->logins[end - 1].user) {
        first--;
    }
    *ret_since_ms = moved->logins[first].time_ms;
    return true;
}

uint64_t identity_owner(struct identity *identity, uint64_t place, int64_t at_ms)
{
    struct moved *moved = identity_find(identity, place);
    if (moved == NULL || !moved->is_active || moved->is_nobody) {
        return place;
    }
    return root_of(identity,
                   moved->kind == ID_USER ? moved->into : user_at(identity, moved, at_ms));
}

bool identity_merged(const struct identity *identity, uint64_t place, uint64_t *ret_into)
{
    const struct moved *moved = identity_find(identity, place);
    if (!is_merged(moved)) {
        return false;
    }
    *ret_into = root_of(identity, place);
    return true;
}

/* ---- refreshing ---- */

static bool moment_has(const struct identity_moment *moment, const struct memtable *memtable)
{
    for (uint32_t i = 0; i < moment->count; i++) {
        if (moment->memtables[i] == memtable) {
            return true;
        }
    }
    return false;
}

static enum err_code follow(struct identity *identity, const struct memtable *memtable,
                            const uint32_t *begin, const uint32_t *end, struct err *err)
{
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        uint32_t from = begin == NULL ? 0 : begin[shard];
        ERR_TRY(identity_follow(identity, memtable, shard, from, end[shard], err));
    }
    return ERR_OK;
}

/* What memtables got since they were last seen, also those that are in segments by now. */
static enum err_code follow_all(struct identity *identity, const struct identity_moment *moment,
                                struct err *err)
{
    if (identity->moved_count == identity->new_count && identity->shared_count == 0) {
        return ERR_OK;
    }
    for (uint32_t i = 0; i < identity->seen_count; i++) {
        const struct seen *seen = &identity->seen[i];
        uint32_t rows[SHARD_COUNT];
        if (!moment_has(moment, seen->memtable)) {
            memtable_counts(seen->memtable, rows);
            ERR_TRY(follow(identity, seen->memtable, seen->rows, rows, err));
        }
    }
    for (uint32_t i = 0; i < moment->count; i++) {
        const uint32_t *begin = NULL;
        for (uint32_t k = 0; k < identity->seen_count; k++) {
            if (identity->seen[k].memtable == moment->memtables[i]) {
                begin = identity->seen[k].rows;
            }
        }
        ERR_TRY(follow(identity, moment->memtables[i], begin, moment->rows[i], err));
    }
    return ERR_OK;
}

static enum err_code note_seen(struct identity *identity, const struct identity_moment *moment,
                               struct err *err)
{
    forget_seen(identity);
    for (uint32_t i = 0; i < moment->count; i++) {
        void *items = identity->seen;
        ERR_TRY(identity_grow(&items, identity->seen_count, &identity->seen_cap,
                              sizeof(*identity->seen), err));
        identity->seen = items;
        struct seen *seen = &identity->seen[identity->seen_count++];
        seen->memtable = memtable_ref(moment->memtables[i]);
        memcpy(seen->rows, moment->rows[i], sizeof(seen->rows));
    }
    return ERR_OK;
}

static enum err_code refresh(struct identity *identity, const struct snapshot *base,
                             const struct identity_moment *moment, enum io_kind io_kind,
                             struct err *err)
{
    ERR_TRY(take_facts(identity, moment->ids_count, err));
    ERR_TRY(follow_all(identity, moment, err));
    if (identity->new_count > 0 || identity->search_count > 0) {
        CLEANUP(io_freep) struct io *io = NULL;
        ERR_TRY(io_create(io_kind, &io, err));
        ERR_TRY(identity_gather(identity, base, io, err));
        for (uint32_t i = 0; i < identity->moved_count && identity->new_count > 0; i++) {
            identity->moved[i].is_new = false;
        }
        identity->new_count = identity->search_count = 0;
    }
    ERR_TRY(note_seen(identity, moment, err));
    return identity_make_views(identity, base, err);
}

enum err_code identity_refresh(struct identity *identity, const struct snapshot *base,
                               const struct identity_moment *moment, enum io_kind io_kind,
                               struct err *err)
{
    if (refresh(identity, base, moment, io_kind, err) != ERR_OK) {
        forget(identity);
        return err_context(err, "bound ids");
    }
    return ERR_OK;
}

/* ---- life, facts about it ---- */

enum err_code identity_create(const struct ids *ids, const struct schema *schema,
                              uint64_t bytes_max, struct identity **ret, struct err *err)
{
    struct identity *identity = calloc(1, sizeof(*identity));
    if (identity == NULL) {
        return identity_no_memory(err);
    }
    identity->ids = ids;
    identity->schema = schema;
    identity->bytes_max = bytes_max;
    identity->commit_ms = INT64_MIN;
    *ret = identity;
    return ERR_OK;
}

enum err_code identity_create_by_arrival(const struct ids *ids, const struct schema *schema,
                                         uint64_t bytes_max, const uint32_t *first,
                                         struct identity **ret, struct err *err)
{
    struct identity *identity = NULL;
    ERR_TRY(identity_create(ids, schema, bytes_max, &identity, err));
    identity->is_by_arrival = true;
    identity->is_facts_alone = first == NULL;
    for (uint32_t shard = 0; shard < SHARD_COUNT && first != NULL; shard++) {
        identity->stand_ins[shard].first = first[shard];
    }
    *ret = identity;
    return ERR_OK;
}

bool identity_is_by_arrival(const struct identity *identity)
{
    return identity->is_by_arrival;
}

const struct stand_ins *identity_stand_ins(const struct identity *identity, uint32_t shard)
{
    return &identity->stand_ins[shard];
}

void identity_free(struct identity *identity)
{
    if (identity != NULL) {
        forget(identity);
        free(identity);
    }
}

const roaring_bitmap_t *identity_moved(const struct identity *identity, uint32_t shard)
{
    return identity->masks[shard];
}

uint32_t identity_view_count(const struct identity *identity)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < identity->chunk_count; i++) {
        count += identity->chunks[i].view_count;
    }
    return count;
}

struct memtable_view *identity_view(const struct identity *identity, uint32_t idx,
                                    bool *ret_is_first_times)
{
    const struct chunk *chunk = identity->chunks;
    for (; idx >= chunk->view_count; chunk++) {
        idx -= chunk->view_count;
    }
    *ret_is_first_times = chunk->is_first_times;
    return chunk->views[idx];
}

struct identity_stats identity_stats(const struct identity *identity)
{
    struct identity_stats stats = {.shared = identity->shared_count};
    for (uint32_t i = 0; i < identity->moved_count; i++) {
        stats.bound += identity->moved[i].kind == ID_ANONYMOUS;
        stats.merged += is_merged(&identity->moved[i]);
        stats.nobodies += identity->moved[i].is_nobody;
    }
    for (uint32_t i = 0; i < identity->chunk_count; i++) {
        stats.rows += memtable_rows(identity->chunks[i].rows);
        stats.bytes += memtable_bytes(identity->chunks[i].rows);
    }
    return stats;
}
