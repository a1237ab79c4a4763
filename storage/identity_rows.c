/* storage/identity_rows.c - see identity.h: the rows of moved subjects, copied; logins; the views over the copies. */
#include "storage/identity_int.h"

#include "storage/payload.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- copying one row ---- */

void identity_chunk_done(struct chunk *chunk)
{
    for (uint32_t i = 0; i < chunk->view_count; i++) {
        memtable_view_unref(chunk->views[i]);
    }
    free(chunk->views);
    memtable_unref(chunk->rows);
    if (chunk->moved != NULL) {
        roaring_bitmap_free(chunk->moved);
    }
    *chunk = (struct chunk){0};
}

/* The chunk that takes the next row of its kind; the ones before it are full. */
static enum err_code open_chunk(struct identity *identity, bool is_first_times, struct chunk **ret,
                                struct err *err)
{
    uint32_t last = identity->chunk_count;
    while (last > 0 && identity->chunks[last - 1].is_first_times != is_first_times) {
        last--;
    }
    if (last > 0 && identity->chunks[last - 1].row_count < IDENTITY_CHUNK_ROWS) {
        *ret = &identity->chunks[last - 1];
        return ERR_OK;
    }
    void *items = identity->chunks;
    ERR_TRY(identity_grow(&items, identity->chunk_count, &identity->chunk_cap,
                          sizeof(*identity->chunks), err));
    identity->chunks = items;
    struct chunk *chunk = &identity->chunks[identity->chunk_count];
    *chunk = (struct chunk){.moved = roaring_bitmap_create(), .is_first_times = is_first_times};
    if (chunk->moved == NULL || memtable_create(identity->schema, 1, &chunk->rows, err) != ERR_OK) {
        identity_chunk_done(chunk);
        return identity_no_memory(err);
    }
    identity->chunk_count++;
    *ret = chunk;
    return ERR_OK;
}

static enum err_code check_bytes(const struct identity *identity, struct err *err)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < identity->chunk_count; i++) {
        bytes += memtable_bytes(identity->chunks[i].rows);
    }
    return bytes <= identity->bytes_max
               ? ERR_OK
               : err_set(err, ERR_LIMIT,
                         "the events of ids that were bound to users need %" PRIu64
                         " bytes of memory, at most %" PRIu64,
                         bytes, identity->bytes_max);
}

static enum err_code take_list(struct arena *arena, struct event_batch *batch,
                               const struct payload_value *value, struct prop *prop,
                               struct err *err)
{
    struct str *items = NULL;
    ERR_TRY(ARENA_NEW(arena, (size_t)batch->list_item_count + value->list.count, &items, err));
    if (batch->list_item_count > 0) {
        memcpy(items, batch->list_items, batch->list_item_count * sizeof(*items));
    }
    for (uint32_t i = 0; i < value->list.count; i++) {
        items[batch->list_item_count + i] = value->list.items[i];
    }
    prop->list.first = batch->list_item_count;
    prop->list.count = value->list.count;
    batch->list_items = items;
    batch->list_item_count += value->list.count;
    return ERR_OK;
}

/* `event` has all but its name and properties, which the payload has. */
static enum err_code copy_row(struct identity *identity, const struct moved *moved,
                              const struct payload *payload, struct event *event,
                              int64_t arrival_ms, bool is_first_times, struct arena *arena,
                              struct err *err)
{
    struct chunk *chunk = NULL;
    struct event_batch batch = {.prop_count = payload->count};
    uint32_t *cols = NULL;
    uint32_t moved_idx = (uint32_t)(moved - identity->moved);
    ERR_TRY(ARENA_NEW(arena, (size_t)payload->count + 1, &batch.props, err));
    ERR_TRY(ARENA_NEW(arena, (size_t)payload->count + 1, &cols, err));
    for (uint32_t i = 0; i < payload->count; i++) {
        const struct payload_value *value = &payload->values[i];
        struct prop *prop = &batch.props[i];
        prop->type = value->type;
        cols[i] = value->prop;
        switch (value->type) {
        case COL_STRING: prop->string = value->string; break;
        case COL_NUMBER: prop->number = value->number; break;
        case COL_BOOL: prop->boolean = value->boolean; break;
        case COL_TIME: prop->ts_ms = value->ts_ms; break;
        case COL_LIST: ERR_TRY(take_list(arena, &batch, value, prop, err)); break;
        }
    }
    event->name = payload->name;
    event->prop_count = payload->count;
    ERR_TRY(open_chunk(identity, is_first_times, &chunk, err));
    ERR_TRY(memtable_append(chunk->rows, moved->chunk_shard, moved_idx, &batch, event, arrival_ms,
                            cols, err));
    chunk->row_count++;
    identity_note_row(identity, moved_idx);
    roaring_bitmap_add(chunk->moved, moved_idx);
    chunk->has_nobody = chunk->has_nobody || moved->is_nobody;
    chunk->is_stale = true;
    return ERR_OK;
}

/* ---- out of sources ---- */

/* A subject of one shard whose rows are wanted. */
struct wanted {
    uint32_t subject;
    uint32_t moved_idx;
};

struct gathering {
    struct identity *identity;
    struct arena *arena;
    struct read_ctx ctx;
    struct wanted *rows[SHARD_COUNT];   /* new ones, by subject: their rows */
    struct wanted *logins[SHARD_COUNT]; /* users, by subject: their logins on moved_idx */
    uint32_t row_count[SHARD_COUNT], login_count[SHARD_COUNT];
};

static int wanted_cmp(const void *a, const void *b)
{
    const struct wanted *x = a;
    const struct wanted *y = b;
    return x->subject != y->subject ? (x->subject > y->subject) - (x->subject < y->subject)
                                    : (x->moved_idx > y->moved_idx) - (x->moved_idx < y->moved_idx);
}

static bool wants_rows(const struct identity *identity, uint32_t moved_idx)
{
    return identity->moved[moved_idx].is_new && !identity->is_facts_alone;
}

static enum err_code list_wanted(struct gathering *gathering, struct err *err)
{
    struct identity *identity = gathering->identity;
    for (uint32_t i = 0; i < identity->moved_count; i++) {
        gathering->row_count[identity->moved[i].place >> 32] += wants_rows(identity, i);
    }
    for (uint32_t i = 0; i < identity->search_count; i++) {
        gathering->login_count[identity->searches[i].user >> 32]++;
    }
    for (uint32_t s = 0; s < SHARD_COUNT; s++) {
        ERR_TRY(ARENA_NEW(gathering->arena, (size_t)gathering->row_count[s] + 1,
                          &gathering->rows[s], err));
        ERR_TRY(ARENA_NEW(gathering->arena, (size_t)gathering->login_count[s] + 1,
                          &gathering->logins[s], err));
        gathering->row_count[s] = gathering->login_count[s] = 0;
    }
    for (uint32_t i = 0; i < identity->moved_count; i++) {
        const struct moved *moved = &identity->moved[i];
        uint32_t shard = (uint32_t)(moved->place >> 32);
        if (wants_rows(identity, i)) {
            gathering->rows[shard][gathering->row_count[shard]++] =
                (struct wanted){(uint32_t)moved->place, i};
        }
    }
    for (uint32_t i = 0; i < identity->search_count; i++) {
        const struct search *search = &identity->searches[i];
        uint32_t shard = (uint32_t)(search->user >> 32);
        gathering->logins[shard][gathering->login_count[shard]++] =
            (struct wanted){(uint32_t)search->user, search->moved_idx};
    }
    for (uint32_t s = 0; s < SHARD_COUNT; s++) {
        qsort(gathering->rows[s], gathering->row_count[s], sizeof(struct wanted), wanted_cmp);
        qsort(gathering->logins[s], gathering->login_count[s], sizeof(struct wanted), wanted_cmp);
    }
    return ERR_OK;
}

/* Rows of one block that are wanted, ascending. */
struct picked {
    uint16_t rows[BLOCK_ROWS];
    uint32_t moved[BLOCK_ROWS];
    uint32_t places[BLOCK_ROWS];
    uint32_t count;
    uint32_t block;
};
typedef enum err_code (*picked_fn)(struct gathering *gathering, const struct source *source,
                                   struct picked *picked, struct err *err);

static enum err_code give_picked(struct gathering *gathering, const struct source *source,
                                 struct picked *picked, picked_fn fn, struct err *err)
{
    if (picked->count == 0) {
        return ERR_OK;
    }
    struct arena_mark mark = arena_mark(gathering->arena);
    enum err_code code = fn(gathering, source, picked, err);
    arena_rewind(gathering->arena, mark);
    picked->count = 0;
    return code;
}

/* Where subjects' rows begin in a source, for ascending subjects: a block is decoded once, however many are asked for. */
struct row_finder {
    const struct source *source;
    struct read_ctx ctx; /* with an arena of its own, for the block at hand */
    struct arena_mark empty;
    uint32_t block;      /* no subject asked for begins before it */
    struct vec subjects; /* of it, where is_read */
    bool is_read;
};

/* The subject of the block's last row is below this one. */
static enum err_code ends_before(struct row_finder *finder, uint32_t subject, bool *ret,
                                 struct err *err)
{
    int64_t min = 0;
    int64_t max = 0;
    if (!finder->is_read && source_zone(finder->source, COL_SUBJECT, finder->block, &min, &max) &&
        max < (int64_t)subject) {
        *ret = true;
        return ERR_OK;
    }
    if (!finder->is_read) {
        arena_rewind(finder->ctx.arena, finder->empty);
        ERR_TRY(source_read(finder->source, &finder->ctx, COL_SUBJECT, finder->block,
                            &finder->subjects, err));
        finder->is_read = true;
    }
    *ret = finder->subjects.u32[finder->subjects.rows - 1] < subject;
    return ERR_OK;
}

/* As source_subject_row. */
static enum err_code find_row(struct row_finder *finder, uint32_t subject, uint32_t *ret,
                              struct err *err)
{
    const struct source *source = finder->source;
    bool is_before = true;
    if (source->is_memory) {
        return source_subject_row(source, &finder->ctx, subject, ret, err);
    }
    while (finder->block < source->block_count) {
        ERR_TRY(ends_before(finder, subject, &is_before, err));
        if (!is_before) {
            break;
        }
        finder->block++;
        finder->is_read = false;
    }
    uint32_t low = 0;
    uint32_t high = finder->block < source->block_count ? finder->subjects.rows : 0;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (finder->subjects.u32[mid] < subject) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    *ret =
        finder->block < source->block_count ? finder->block * BLOCK_ROWS + low : source->row_count;
    return ERR_OK;
}

/* The rows of the wanted subjects in one source, block by block. A row may be wanted for several: it comes again. */
static enum err_code pick(struct gathering *gathering, const struct source *source,
                          const struct wanted *wanted, uint32_t count, struct picked *picked,
                          picked_fn fn, struct err *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    struct row_finder finder = {.source = source, .ctx = gathering->ctx};
    uint32_t begin = 0;
    uint32_t end = 0;
    finder.ctx.arena = arena;
    finder.empty = arena_mark(arena);
    picked->count = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t subject = wanted[i].subject;
        if (subject < source->subject_first || subject > source->subject_last) {
            continue;
        }
        bool is_again = i > 0 && wanted[i - 1].subject == subject;
        if (!is_again) {
            ERR_TRY(find_row(&finder, subject, &begin, err));
            ERR_TRY(find_row(&finder, subject + 1, &end, err));
        }
        for (uint32_t row = begin; row < end; row++) {
            if (row / BLOCK_ROWS != picked->block || (is_again && row == begin)) {
                ERR_TRY(give_picked(gathering, source, picked, fn, err));
                picked->block = row / BLOCK_ROWS;
            }
            picked->rows[picked->count] = (uint16_t)(row % BLOCK_ROWS);
            picked->moved[picked->count++] = wanted[i].moved_idx;
        }
    }
    return give_picked(gathering, source, picked, fn, err);
}

static enum err_code read_picked(struct gathering *gathering, const struct source *source,
                                 const struct picked *picked, uint32_t col, struct vec *ret_vec,
                                 uint32_t *places, struct err *err)
{
    ERR_TRY(source_read(source, &gathering->ctx, col, picked->block, ret_vec, err));
    vec_places(ret_vec, picked->rows, picked->count, places);
    return ERR_OK;
}

static enum err_code str_at(struct arena *arena, const struct vec *vec, uint32_t place,
                            struct str *ret, struct err *err)
{
    *ret = (struct str){0};
    return place == UINT32_MAX ? ERR_OK : arena_str(arena, vec_str(vec, place), ret, err);
}

/* A source of the past has rows that came later. */
static void keep_shown(const struct source *source, struct picked *picked, struct event *events,
                       int64_t *arrivals)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < picked->count; i++) {
        if (source->cut == NULL || row_cut_shows(source->cut, events[i].time_ms, arrivals[i])) {
            picked->rows[kept] = picked->rows[i];
            picked->moved[kept] = picked->moved[i];
            events[kept] = events[i];
            arrivals[kept++] = arrivals[i];
        }
    }
    picked->count = kept;
}

static enum err_code copy_picked(struct gathering *gathering, const struct source *source,
                                 struct picked *picked, struct err *err)
{
    static const uint32_t id_cols[] = {COL_EVENT_ID, COL_USER_ID, COL_ANONYMOUS_ID};
    struct arena *arena = gathering->arena;
    struct vec vec = {0};
    struct event *events = NULL;
    int64_t *arrivals = NULL;
    struct payload *payloads = NULL;
    ERR_TRY(ARENA_NEW(arena, picked->count, &events, err));
    ERR_TRY(ARENA_NEW(arena, picked->count, &arrivals, err));
    ERR_TRY(ARENA_NEW(arena, picked->count, &payloads, err));
    ERR_TRY(read_picked(gathering, source, picked, COL_EVENT_TIME, &vec, picked->places, err));
    for (uint32_t i = 0; i < picked->count; i++) {
        events[i].time_ms = vec.i64[picked->places[i]];
    }
    ERR_TRY(read_picked(gathering, source, picked, COL_ARRIVAL, &vec, picked->places, err));
    for (uint32_t i = 0; i < picked->count; i++) {
        arrivals[i] = vec.i64[picked->places[i]];
    }
    keep_shown(source, picked, events, arrivals);
    for (uint32_t c = 0; c < COUNT_OF(id_cols); c++) {
        ERR_TRY(read_picked(gathering, source, picked, id_cols[c], &vec, picked->places, err));
        for (uint32_t i = 0; i < picked->count; i++) {
            struct str *to = c == 0   ? &events[i].event_id
                             : c == 1 ? &events[i].user_id
                                      : &events[i].anonymous_id;
            ERR_TRY(str_at(arena, &vec, picked->places[i], to, err));
        }
    }
    ERR_TRY(payload_of_rows(source, &gathering->ctx, gathering->identity->schema, picked->block,
                            picked->rows, picked->count, payloads, err));
    for (uint32_t i = 0; i < picked->count; i++) {
        ERR_TRY(copy_row(gathering->identity, &gathering->identity->moved[picked->moved[i]],
                         &payloads[i], &events[i], arrivals[i], source->is_first_times, arena,
                         err));
    }
    return check_bytes(gathering->identity, err);
}

static enum err_code login_picked(struct gathering *gathering, const struct source *source,
                                  struct picked *picked, struct err *err)
{
    struct vec times = {0};
    struct vec vec = {0};
    struct vec arrivals = {0};
    ERR_TRY(source_read(source, &gathering->ctx, COL_EVENT_TIME, picked->block, &times, err));
    ERR_TRY(source_read(source, &gathering->ctx, COL_ARRIVAL, picked->block, &arrivals, err));
    uint32_t *time_places = NULL;
    struct vec subjects = {0};
    uint32_t *subject_places = NULL;
    ERR_TRY(ARENA_NEW(gathering->arena, picked->count, &time_places, err));
    ERR_TRY(ARENA_NEW(gathering->arena, picked->count, &subject_places, err));
    vec_places(&times, picked->rows, picked->count, time_places);
    ERR_TRY(read_picked(gathering, source, picked, COL_SUBJECT, &subjects, subject_places, err));
    ERR_TRY(read_picked(gathering, source, picked, COL_ANONYMOUS_ID, &vec, picked->places, err));
    for (uint32_t i = 0; i < picked->count; i++) {
        struct moved *moved = &gathering->identity->moved[picked->moved[i]];
        int64_t time_ms = times.i64[time_places[i]];
        bool is_shown = source->cut == NULL ||
                        row_cut_shows(source->cut, time_ms, arrivals.i64[picked->rows[i]]);
        if (is_shown && picked->places[i] != UINT32_MAX &&
            str_eq(vec_str(&vec, picked->places[i]), moved->key)) {
            uint64_t user = identity_place(source->shard, subjects.u32[subject_places[i]]);
            const struct login login = {time_ms, arrivals.i64[picked->rows[i]], user};
            ERR_TRY(identity_add_login(moved, login, err));
        }
    }
    return ERR_OK;
}

static enum err_code gather_source(struct gathering *gathering, const struct source *source,
                                   struct picked *picked, struct err *err)
{
    uint32_t shard = source->shard;
    ERR_TRY(pick(gathering, source, gathering->rows[shard], gathering->row_count[shard], picked,
                 copy_picked, err));
    return pick(gathering, source, gathering->logins[shard], gathering->login_count[shard], picked,
                login_picked, err);
}

enum err_code identity_gather(struct identity *identity, const struct snapshot *base, struct io *io,
                              struct err *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    struct gathering gathering = {
        .identity = identity, .arena = arena, .ctx = {.arena = arena, .io = io, .is_once = true}};
    struct picked *picked = NULL;
    ERR_TRY(ARENA_NEW(arena, 1, &picked, err));
    ERR_TRY(list_wanted(&gathering, err));
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        for (uint32_t i = base->shard_begin[shard]; i < base->shard_begin[shard + 1]; i++) {
            ERR_TRY(gather_source(&gathering, base->sources[i], picked, err));
        }
    }
    for (uint32_t i = 0; i < base->history_count; i++) {
        ERR_TRY(gather_source(&gathering, base->history[i], picked, err));
    }
    return ERR_OK;
}

/* ---- out of memtables ---- */

/* The event may be a login on an id that is shared. */
static enum err_code follow_login(struct identity *identity, const struct mem_row_facts *facts,
                                  uint32_t shard, struct err *err)
{
    uint32_t weak_shard = 0;
    uint32_t weak_subject = 0;
    if (!ids_find(identity->ids, ID_ANONYMOUS, facts->anonymous_id, &weak_shard, &weak_subject)) {
        return ERR_OK;
    }
    struct moved *moved = identity_find(identity, identity_place(weak_shard, weak_subject));
    if (moved == NULL || moved->user_count < 2 ||
        identity_is_nobody(identity, identity_place(shard, facts->subject))) {
        return ERR_OK;
    }
    const struct login login = {facts->time_ms, facts->arrival_ms,
                                identity_place(shard, facts->subject)};
    identity_touch(identity, (uint32_t)(moved - identity->moved));
    return identity_add_login(moved, login, err);
}

enum err_code identity_follow(struct identity *identity, const struct memtable *memtable,
                              uint32_t shard, uint32_t begin, uint32_t end, struct err *err)
{
    if (begin == end) {
        return ERR_OK;
    }
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    for (uint32_t row = begin; row < end; row++) {
        struct mem_row_facts facts;
        memtable_row(memtable, shard, row, &facts);
        const struct moved *moved = identity_find(identity, identity_place(shard, facts.subject));
        if (moved != NULL && !moved->is_new) {
            struct arena_mark mark = arena_mark(arena);
            struct payload payload;
            struct event event = {.event_id = facts.event_id,
                                  .user_id = facts.user_id,
                                  .anonymous_id = facts.anonymous_id,
                                  .time_ms = facts.time_ms};
            ERR_TRY(
                memtable_payload(memtable, (struct mem_place){shard, row}, arena, &payload, err));
            ERR_TRY(
                copy_row(identity, moved, &payload, &event, facts.arrival_ms, false, arena, err));
            arena_rewind(arena, mark);
        }
        if (identity->shared_count > 0 && facts.user_id.len > 0 && facts.anonymous_id.len > 0) {
            ERR_TRY(follow_login(identity, &facts, shard, err));
        }
    }
    return check_bytes(identity, err);
}

/* ---- views ---- */

struct homes { /* rows of one shard of a chunk, by the shard that they belong to */
    struct mem_home *items[SHARD_COUNT];
    uint32_t count[SHARD_COUNT];
};

static bool is_deleted(const struct snapshot *base, uint64_t place)
{
    const roaring_bitmap_t *deleted = base->deleted[place >> 32];
    return deleted != NULL && roaring_bitmap_contains(deleted, (uint32_t)place);
}

/* The weak id that a row came with. */
static bool weak_of_row(const struct identity *identity, const struct memtable *rows,
                        uint32_t shard, uint32_t row, uint64_t *ret)
{
    struct mem_row_facts facts;
    uint32_t weak_shard = 0;
    uint32_t weak_subject = 0;
    memtable_row(rows, shard, row, &facts);
    if (facts.anonymous_id.len == 0 ||
        !ids_find(identity->ids, ID_ANONYMOUS, facts.anonymous_id, &weak_shard, &weak_subject)) {
        return false;
    }
    *ret = identity_place(weak_shard, weak_subject);
    return true;
}

/* A row of a chunk. */
struct chunk_row {
    const struct memtable *rows;
    uint32_t shard, row;
};

/* Whose the row is, by now. False: nobody's. */
static bool owner_now(struct identity *identity, const struct moved *moved, struct chunk_row at,
                      int64_t time_ms, uint64_t *ret)
{
    uint64_t place = moved->place;
    if (!moved->is_active ||
        (moved->is_nobody && !weak_of_row(identity, at.rows, at.shard, at.row, &place))) {
        return false;
    }
    *ret = identity_owner(identity, place, time_ms);
    return true;
}

/* Whose it was when it arrived, as the number that it is shown under; nobody's, too, where its owner is deleted: stand-ins
 * are not masked. */
static enum err_code owner_then(struct identity *identity, const struct snapshot *base,
                                const struct moved *moved, struct chunk_row at, uint64_t *ret,
                                bool *ret_is_somebodys, struct err *err)
{
    struct mem_row_facts facts;
    uint32_t subject = 0;
    memtable_row(at.rows, at.shard, at.row, &facts);
    const struct identity_row row = {facts.time_ms, facts.arrival_ms, facts.anonymous_id};
    ERR_TRY(identity_owner_then(identity, moved->place, &row, ret, ret_is_somebodys, err));
    *ret_is_somebodys = *ret_is_somebodys && !is_deleted(base, *ret);
    if (*ret_is_somebodys && identity_knows(identity, *ret)) {
        ERR_TRY(identity_stand_in(identity, *ret, &subject, err));
        *ret = identity_place((uint32_t)(*ret >> 32), subject);
    }
    return ERR_OK;
}

/* Two passes: how many, then which. */
static enum err_code sort_into_homes(struct identity *identity, const struct snapshot *base,
                                     const struct chunk *chunk, uint32_t shard, uint32_t row_count,
                                     bool is_counting, struct homes *homes, struct err *err)
{
    memset(homes->count, 0, sizeof(homes->count));
    for (uint32_t row = 0; row < row_count; row++) {
        struct mem_home as_it_came = memtable_row_home(chunk->rows, shard, row);
        const struct moved *moved = &identity->moved[as_it_came.subject];
        struct chunk_row at = {chunk->rows, shard, row};
        int64_t time_ms = as_it_came.time_ms;
        uint64_t owner = 0;
        bool is_somebodys = !is_deleted(base, moved->place);
        if (is_somebodys && identity->is_by_arrival) {
            ERR_TRY(owner_then(identity, base, moved, at, &owner, &is_somebodys, err));
        } else if (is_somebodys) {
            is_somebodys = owner_now(identity, moved, at, time_ms, &owner);
        }
        if (!is_somebodys) {
            continue;
        }
        uint32_t home = (uint32_t)(owner >> 32);
        if (!is_counting) {
            homes->items[home][homes->count[home]] =
                (struct mem_home){time_ms, (uint32_t)owner, row};
        }
        homes->count[home]++;
    }
    return ERR_OK;
}

static enum err_code add_view(struct chunk *chunk, struct memtable_view *view, struct err *err)
{
    struct memtable_view **more =
        realloc(chunk->views, (chunk->view_count + 1) * sizeof(struct memtable_view *));
    if (more == NULL) {
        memtable_view_unref(view);
        return identity_no_memory(err);
    }
    chunk->views = more;
    chunk->views[chunk->view_count++] = view;
    return ERR_OK;
}

static enum err_code view_shard(struct identity *identity, const struct snapshot *base,
                                struct chunk *chunk, uint32_t shard, uint32_t row_count,
                                struct err *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    struct homes homes = {0};
    ERR_TRY(sort_into_homes(identity, base, chunk, shard, row_count, true, &homes, err));
    for (uint32_t home = 0; home < SHARD_COUNT; home++) {
        ERR_TRY(ARENA_NEW(arena, (size_t)homes.count[home] + 1, &homes.items[home], err));
    }
    ERR_TRY(sort_into_homes(identity, base, chunk, shard, row_count, false, &homes, err));
    for (uint32_t home = 0; home < SHARD_COUNT; home++) {
        struct memtable_view *view = NULL;
        if (homes.count[home] > 0) {
            ERR_TRY(memtable_view_rehomed(chunk->rows, shard, row_count, homes.items[home],
                                          homes.count[home], home, identity->ids,
                                          &identity->stand_ins[home], &view, err));
            ERR_TRY(add_view(chunk, view, err));
        }
    }
    return ERR_OK;
}

/* Who is deleted stays so. */
static void note_deleted(struct identity *identity, const struct snapshot *base)
{
    uint64_t count = 0;
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        const roaring_bitmap_t *deleted = base->deleted[shard];
        count += deleted == NULL ? 0 : roaring_bitmap_get_cardinality(deleted);
    }
    for (uint32_t i = 0; i < identity->chunk_count && count != identity->deleted_count; i++) {
        identity->chunks[i].is_stale = true;
    }
    identity->deleted_count = count;
}

enum err_code identity_make_views(struct identity *identity, const struct snapshot *base,
                                  struct err *err)
{
    note_deleted(identity, base);
    for (uint32_t i = 0; i < identity->chunk_count; i++) {
        struct chunk *chunk = &identity->chunks[i];
        uint32_t rows[SHARD_COUNT];
        if (!chunk->is_stale) {
            continue;
        }
        for (uint32_t k = 0; k < chunk->view_count; k++) {
            memtable_view_unref(chunk->views[k]);
        }
        chunk->view_count = 0;
        memtable_publish(chunk->rows);
        memtable_counts(chunk->rows, rows);
        for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
            if (rows[shard] > 0) {
                ERR_TRY(view_shard(identity, base, chunk, shard, rows[shard], err));
            }
        }
        chunk->is_stale = false;
    }
    return ERR_OK;
}
