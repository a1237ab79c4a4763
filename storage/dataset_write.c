/* storage/dataset_write.c - the writer: from a queue of batches to durable, visible rows.
 *
 * Group commit by leader and followers: whoever finds no writer becomes it and serves the queue until it is
 * empty; everybody else leaves the batch and goes. While the disk syncs one group the writer gathers the
 * next; a group is launched as soon as none is under way, so it holds what came in the time of a sync.
 *
 *    writer   gather A | launch A, gather B ........ | land A, launch B, gather A | ...
 *    disk              | sync A ..................... |            sync B ......... |
 *
 * One group is
 *
 *    prepare each batch   known event ids kept out, ids to subjects, properties to columns, one record
 *    one write, one fdatasync for all records
 *    append to the memtable, publish all of it at once (a snapshot sees the whole group or nothing)
 *    call back
 *
 * A group that is gathered while another is under way is prepared as if that one had landed: its event
 * ids are looked for in both. Should the sync fail, the log is broken and both fail.
 *
 * An event is looked for among those of the group, in the memtables, and in the runs of what was
 * flushed; the few whose key is in a run are resolved together after the others, in their order
 * (dataset_known.c). What is known with the same content is a duplicate, with another a conflict.
 *
 * What can be wrong with one event (no room for its column or its id) rejects that event; what goes
 * wrong with a batch before the commit fails that batch; a commit that the log could cut back fails
 * the group likewise; what else goes wrong from the commit on breaks
 * the data set (dataset_int.h says why).
 */
#include "storage/dataset_int.h"

#include "storage/dataset_record.h"

#include "storage/base/clock.h"
#include "storage/base/size.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define GROUP_BYTES_MAX (64u << 20)
#define AHEAD           16u

/* The column of a (name, type) of the batch in hand, and how many values it got. */
struct col_cell {
    uint32_t col; /* CELL_UNKNOWN until first asked, CELL_NONE where there is no room for it */
    uint32_t count;
};
#define CELL_UNKNOWN UINT32_MAX
#define CELL_NONE    (UINT32_MAX - 1)

static enum err_code no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "no memory for a batch");
}

void dataset_break(struct dataset *dataset, const struct err *why)
{
    pthread_mutex_lock(&dataset->state_lock);
    if (!dataset->is_broken) {
        dataset->is_broken = true;
        dataset->why = *why;
    }
    pthread_mutex_unlock(&dataset->state_lock);
}

/* The group was not written, or (NULL) one was. */
static void note_refusal(struct dataset *dataset, const struct err *why)
{
    pthread_mutex_lock(&dataset->state_lock);
    if (!dataset->is_broken) {
        dataset->is_refusing = why != NULL;
        if (why != NULL) {
            dataset->why = *why;
        }
    }
    pthread_mutex_unlock(&dataset->state_lock);
}

bool dataset_is_refusing(struct dataset *dataset, struct err *err)
{
    pthread_mutex_lock(&dataset->state_lock);
    bool is_refusing = dataset->is_refusing;
    if (is_refusing) {
        *err = dataset->why;
    }
    pthread_mutex_unlock(&dataset->state_lock);
    return is_refusing;
}

void dataset_probe_if_refusing(struct dataset *dataset, struct io *io)
{
    struct err err = {0};
    if (!dataset_is_refusing(dataset, &err)) {
        return;
    }
    dataset_writer_acquire(dataset);
    if (wal_probe(dataset->wal, io, &err) == ERR_OK) {
        note_refusal(dataset, NULL);
    } else if (wal_is_broken(dataset->wal)) {
        dataset_break(dataset, &err);
    } else {
        note_refusal(dataset, &err);
    }
    dataset_writer_release(dataset, io);
}

void dataset_count_memtables(struct dataset *dataset)
{
    pthread_mutex_lock(&dataset->state_lock);
    uint64_t bytes = memtable_bytes(dataset->active);
    for (uint32_t i = 0; i < dataset->frozen_count; i++) {
        bytes += memtable_bytes(dataset->frozen[i].memtable);
    }
    uint64_t before = atomic_exchange(&dataset->memtable_bytes, bytes);
    atomic_fetch_add(&dataset->store->memtable_bytes, bytes - before); /* modulo 2^64 */
    pthread_mutex_unlock(&dataset->state_lock);
}

/* ---- the commit clock ---- */

int64_t dataset_next_clock(struct dataset *dataset, int64_t arrival_ms)
{
    int64_t next_ms = dataset->clock_ms == INT64_MAX ? INT64_MAX : dataset->clock_ms + 1;
    next_ms = MAX_OF(next_ms, arrival_ms);
    if (dataset->store->opts.wall_ms == NULL && next_ms - COMMIT_LEAD_MS > clock_wall_ms()) {
        const struct timespec one_ms = {.tv_nsec = 1000000};
        nanosleep(&one_ms, NULL);
    }
    dataset->clock_ms = next_ms;
    return next_ms;
}

enum err_code dataset_mark_clock(struct dataset *dataset, int64_t commit_ms, struct err *err)
{
    uint8_t key[IDENTITY_MERGE_BYTES];
    uint32_t shard = 0;
    uint32_t subject = 0;
    const struct identity_merge mark = {.act = IDENTITY_COMMIT, .at_ms = commit_ms};
    identity_merge_key(&mark, key);
    return ids_add(dataset->ids, ID_MERGE, (struct str){(const char *)key, sizeof(key)}, &shard,
                   &subject, err);
}

/* ---- preparing ---- */

static void fresh_event_id(struct rng *rng, char out[36])
{
    static const char hex[] = "0123456789abcdef";
    uint64_t bits[2] = {rng_next(rng), rng_next(rng)};
    uint32_t digit = 0;
    for (uint32_t i = 0; i < 36; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            out[i] = '-';
            continue;
        }
        uint32_t value = (uint32_t)(bits[digit / 16] >> (digit % 16 * 4)) & 15;
        if (digit == 12) {
            value = 4; /* version: random */
        } else if (digit == 16) {
            value = 8 | (value & 3); /* variant */
        }
        out[i] = hex[value];
        digit++;
    }
}

static enum err_code give_event_ids(struct dataset *dataset, struct event_batch *batch,
                                    struct err *err)
{
    for (uint32_t i = 0; i < batch->event_count; i++) {
        struct event *event = &batch->events[i];
        if (event->status == RECEIPT_PENDING && event->event_id.len == 0) {
            char text[36];
            fresh_event_id(&dataset->rng, text);
            ERR_TRY(
                arena_str(batch->arena, (struct str){text, sizeof(text)}, &event->event_id, err));
        }
    }
    return ERR_OK;
}

static void reject(struct event_batch *batch, struct event *event, const struct err *why)
{
    struct err ignored;
    event->status = RECEIPT_REJECTED;
    if (arena_str(batch->arena, str_of(why->message), &event->reason, &ignored) != ERR_OK) {
        event->reason = STR("a limit of the data set is reached");
    }
}

/* Columns of the event's properties. ERR_LIMIT rejects the event. */
static enum err_code place_props(struct dataset *dataset, const struct event_batch *batch,
                                 const struct event *event, struct col_cell *cells, uint32_t *cols,
                                 struct err *err)
{
    for (uint32_t i = 0; i < event->prop_count; i++) {
        uint32_t idx = event->prop_first + i;
        const struct prop *prop = &batch->props[idx];
        struct col_cell *cell = &cells[prop->name_idx * 5 + (uint32_t)prop->type - 1];
        if (cell->col == CELL_UNKNOWN) {
            struct str name = batch->names[prop->name_idx];
            enum err_code code = schema_add(dataset->schema, name, prop->type, &cell->col, err);
            if (code == ERR_LIMIT) {
                cell->col = CELL_NONE;
            }
            ERR_TRY(code);
        }
        if (cell->col == CELL_NONE) {
            return err_set(err, ERR_LIMIT, "property \"" STR_FMT "\": no more than %u columns",
                           STR_ARG(batch->names[prop->name_idx]), SCHEMA_COLUMNS_MAX);
        }
        cols[idx] = cell->col;
    }
    return ERR_OK;
}

/* What preparing one batch works with. */
struct placing {
    struct dataset *dataset;
    struct pending *pending;
    struct event_batch *batch;
    const struct known_scope *scope;
    struct io *io;
    struct col_cell *cells;     /* by (name, type) */
    uint32_t *cols;             /* by property */
    struct event_place *places; /* by event */
    struct arena *arena;        /* made when a known id is met; else NULL */
    struct suspect *suspects;   /* in the arena, room for event_count; NULL likewise */
    uint32_t suspect_count;
};

static enum err_code check_event(const struct event *event, struct err *err)
{
    if (event->event_id.len > EVENT_ID_BYTES_MAX || event->user_id.len > USER_ID_BYTES_MAX ||
        event->anonymous_id.len > USER_ID_BYTES_MAX || event->name.len > EVENT_NAME_BYTES_MAX ||
        event->name.len == 0 || (event->user_id.len == 0 && event->anonymous_id.len == 0)) {
        return err_set(err, ERR_LIMIT, "not a valid event: no name, no id, or one too long");
    }
    return ERR_OK;
}

/* The two ids of one event belong together. Mostly that is known. */
static enum err_code bind(struct dataset *dataset, struct str anonymous_id,
                          const struct event_place *user, int64_t commit_ms, struct err *err)
{
    uint8_t key[IDENTITY_BINDING_BYTES];
    const struct str binding = {(const char *)key, sizeof(key)};
    uint32_t shard = 0;
    uint32_t subject = 0;
    ERR_TRY(ids_add(dataset->ids, ID_ANONYMOUS, anonymous_id, &shard, &subject, err));
    identity_binding_key(identity_place(shard, subject),
                         identity_place(user->shard, user->subject), key);
    if (ids_find(dataset->ids, ID_BINDING, binding, &shard, &subject)) {
        return ERR_OK;
    }
    ERR_TRY(dataset_mark_clock(dataset, commit_ms, err));
    return ids_add(dataset->ids, ID_BINDING, binding, &shard, &subject, err);
}

static enum err_code accept_event(struct placing *placing, uint32_t idx, struct err *err)
{
    struct dataset *dataset = placing->dataset;
    struct group *group = placing->pending->group;
    struct event_batch *batch = placing->batch;
    struct event *event = &batch->events[idx];
    struct event_place *place = &placing->places[idx];
    ERR_TRY(place_props(dataset, batch, event, placing->cells, placing->cols, err));
    bool has_user = event->user_id.len > 0;
    ERR_TRY(ids_add(dataset->ids, has_user ? ID_USER : ID_ANONYMOUS,
                    has_user ? event->user_id : event->anonymous_id, &place->shard, &place->subject,
                    err));
    if (has_user && event->anonymous_id.len > 0) {
        ERR_TRY(bind(dataset, event->anonymous_id, place, group->commit_ms, err));
    }
    struct placed placed = {.pending = placing->pending, .event = idx};
    uint32_t number = (uint32_t)(group->placed.len / sizeof(placed));
    buf_append(&group->placed, &placed, sizeof(placed));
    ERR_TRY(buf_check(&group->placed, err));
    ERR_TRY(known_set_add(group->known, place->key, number, err));
    for (uint32_t i = 0; i < event->prop_count; i++) {
        const struct prop *prop = &batch->props[event->prop_first + i];
        placing->cells[prop->name_idx * 5 + (uint32_t)prop->type - 1].count++;
    }
    event->status = RECEIPT_ACCEPTED;
    return ERR_OK;
}

/* ---- known events ---- */

static void keep_out(struct event *event, bool is_same)
{
    event->status = is_same ? RECEIPT_DUPLICATE : RECEIPT_CONFLICT;
    if (!is_same) {
        event->reason = STR("an event with this event_id, but with another name or other "
                            "properties, was accepted before");
    }
}

static struct arena *placing_arena(struct placing *placing)
{
    if (placing->arena == NULL) {
        placing->arena = arena_create(NULL);
    }
    return placing->arena;
}

/* What an arriving event says, in the data set's columns where it has them. Adds none. */
static enum err_code own_payload(struct placing *placing, const struct event *event,
                                 struct payload *ret, struct err *err)
{
    const struct event_batch *batch = placing->batch;
    struct arena *arena = placing_arena(placing);
    uint32_t *cols = NULL;
    ERR_TRY(ARENA_NEW(arena, event->prop_count, &cols, err));
    for (uint32_t i = 0; i < event->prop_count; i++) {
        const struct prop *prop = &batch->props[event->prop_first + i];
        cols[i] = schema_find(placing->dataset->schema, batch->names[prop->name_idx], prop->type);
    }
    return payload_of_event(arena, batch, event, cols, ret, err);
}

/* Accepted in the group in hand, this batch or an earlier one; not yet in the memtable. */
static const struct placed *find_in_group(const struct group *group, uint64_t key,
                                          struct str event_id)
{
    const struct placed *placed = (const struct placed *)(const void *)group->placed.ptr;
    uint32_t at = 0;
    uint32_t number = 0;
    while (known_set_next(group->known, key, &at, &number)) {
        const struct event *event = &placed[number].pending->batch->events[placed[number].event];
        if (event->status == RECEIPT_ACCEPTED && str_eq(event->event_id, event_id)) {
            return &placed[number];
        }
    }
    return NULL;
}

/* In either group: one that is not in use is empty. */
static const struct placed *find_in_groups(const struct dataset *dataset, uint64_t key,
                                           struct str event_id)
{
    const struct placed *placed = find_in_group(&dataset->groups[0], key, event_id);
    return placed != NULL ? placed : find_in_group(&dataset->groups[1], key, event_id);
}

static enum err_code judge_by_group(struct placing *placing, struct event *event,
                                    const struct placed *placed, struct err *err)
{
    const struct event_batch *batch = placed->pending->batch;
    const struct event *other = &batch->events[placed->event];
    const uint32_t *cols = (const uint32_t *)(const void *)placed->pending->group->cols.ptr +
                           placed->pending->col_first;
    struct payload own, theirs;
    ERR_TRY(own_payload(placing, event, &own, err));
    ERR_TRY(payload_of_event(placing->arena, batch, other, cols + other->prop_first, &theirs, err));
    keep_out(event, payload_equal(&own, &theirs));
    return ERR_OK;
}

/* In the group or a memtable: the event is kept out, and its status says so. */
static enum err_code judge_by_memory(struct placing *placing, uint32_t idx, struct err *err)
{
    struct event *event = &placing->batch->events[idx];
    uint64_t key = placing->places[idx].key;
    const struct placed *placed = find_in_groups(placing->dataset, key, event->event_id);
    if (placed != NULL) {
        return judge_by_group(placing, event, placed, err);
    }
    for (uint32_t i = 0; i < placing->scope->memtable_count; i++) {
        const struct memtable *memtable = placing->scope->memtables[i];
        struct mem_place place;
        if (memtable_find_id(memtable, key, event->event_id, &place)) {
            struct payload own, theirs;
            ERR_TRY(own_payload(placing, event, &own, err));
            ERR_TRY(memtable_payload(memtable, place, placing->arena, &theirs, err));
            keep_out(event, payload_equal(&own, &theirs));
            break;
        }
    }
    return ERR_OK;
}

static enum err_code add_suspect(struct placing *placing, uint32_t idx,
                                 const struct suspect *suspect, struct err *err)
{
    struct arena *arena = placing_arena(placing);
    if (placing->suspects == NULL) {
        ERR_TRY(ARENA_NEW(arena, placing->batch->event_count, &placing->suspects, err));
    }
    struct suspect *kept = &placing->suspects[placing->suspect_count++];
    *kept = *suspect;
    kept->event = &placing->batch->events[idx];
    kept->idx = idx;
    return own_payload(placing, kept->event, &kept->payload, err);
}

static enum err_code place_event(struct placing *placing, uint32_t idx, bool is_hit,
                                 struct err *err)
{
    struct event *event = &placing->batch->events[idx];
    struct suspect suspect;
    ERR_TRY(check_event(event, err));
    ERR_TRY(judge_by_memory(placing, idx, err));
    if (event->status != RECEIPT_PENDING) {
        return ERR_OK;
    }
    if (is_hit) {
        ERR_TRY(known_places(placing->dataset, placing->scope, placing->places[idx].key, &suspect,
                             err));
        suspect.is_found = suspect.is_same = false;
        return add_suspect(placing, idx, &suspect, err);
    }
    return accept_event(placing, idx, err);
}

/* A limit rejects the one event. */
static enum err_code settle(struct placing *placing, uint32_t idx, enum err_code code,
                            struct err *err)
{
    if (code == ERR_LIMIT) {
        reject(placing->batch, &placing->batch->events[idx], err);
        return ERR_OK;
    }
    return code;
}

static enum err_code place_suspects(struct placing *placing, struct err *err)
{
    if (placing->suspect_count == 0) {
        return ERR_OK;
    }
    ERR_TRY(known_resolve(placing->dataset, placing->scope, placing->suspects,
                          placing->suspect_count, placing->io, err));
    for (uint32_t i = 0; i < placing->suspect_count; i++) {
        const struct suspect *suspect = &placing->suspects[i];
        struct event *event = &placing->batch->events[suspect->idx];
        if (suspect->is_found) {
            keep_out(event, suspect->is_same);
            continue;
        }
        /* New, unless the batch has it twice. */
        ERR_TRY(judge_by_memory(placing, suspect->idx, err));
        if (event->status == RECEIPT_PENDING) {
            ERR_TRY(settle(placing, suspect->idx, accept_event(placing, suspect->idx, err), err));
        }
    }
    return ERR_OK;
}

/* Keys of a few events at once, so that their look-ups wait for memory together. Bit i of *ret_hits:
 * the i-th of them is in a run. */
static enum err_code hash_ahead(struct placing *placing, uint32_t begin, uint32_t end,
                                uint32_t *ret_hits, struct err *err)
{
    uint64_t seed = placing->dataset->row.seed;
    uint64_t keys[AHEAD];
    for (uint32_t i = begin; i < end; i++) {
        uint64_t key = known_key(placing->batch->events[i].event_id, seed);
        keys[i - begin] = placing->places[i].key = key;
        known_set_prefetch(placing->dataset->groups[0].known, key);
        known_set_prefetch(placing->dataset->groups[1].known, key);
        for (uint32_t k = 0; k < placing->scope->memtable_count; k++) {
            memtable_prefetch_id(placing->scope->memtables[k], key);
        }
    }
    return known_probe(placing->dataset, placing->scope, keys, end - begin, ret_hits, err);
}

/* Older than what the data set keeps: it would count in no answer. */
static bool reject_expired(struct dataset *dataset, struct event_batch *batch, struct event *event,
                           int64_t expired_before_ms)
{
    if (event->status != RECEIPT_PENDING || event->time_ms >= expired_before_ms) {
        return false;
    }
    struct err why;
    char span[SETTINGS_TEXT_BYTES];
    settings_span_text(atomic_load_explicit(&dataset->expire_after_ms, memory_order_relaxed), span);
    err_set(&why, ERR_LIMIT, "event_time is older than the data set keeps (%s)", span);
    reject(batch, event, &why);
    return true;
}

static enum err_code place_events(struct placing *placing, struct err *err)
{
    struct dataset *dataset = placing->dataset;
    int64_t expired_before_ms = dataset_expired_before(dataset);
    struct pending *pending = placing->pending;
    struct event_batch *batch = placing->batch;
    for (uint32_t begin = 0; begin < batch->event_count; begin += AHEAD) {
        uint32_t end = begin + MIN_OF(AHEAD, batch->event_count - begin);
        uint32_t hits = 0;
        ERR_TRY(hash_ahead(placing, begin, end, &hits, err));
        for (uint32_t i = begin; i < end; i++) {
            struct event *event = &batch->events[i];
            if (!reject_expired(dataset, batch, event, expired_before_ms) &&
                event->status == RECEIPT_PENDING) {
                ERR_TRY(settle(placing, i,
                               place_event(placing, i, (hits >> (i - begin) & 1) != 0, err), err));
            }
        }
    }
    ERR_TRY(place_suspects(placing, err));
    for (uint32_t i = 0; i < batch->event_count; i++) {
        enum receipt_status status = batch->events[i].status;
        pending->accepted += status == RECEIPT_ACCEPTED;
        pending->duplicates += status == RECEIPT_DUPLICATE;
        pending->conflicts += status == RECEIPT_CONFLICT;
        pending->rejected += status == RECEIPT_REJECTED;
    }
    return ERR_OK;
}

/* Room in a scratch array; returns its first byte, stable until the next call on the same buf. */
static void *scratch_take(struct buf *buf, size_t count, size_t size, size_t *ret_first)
{
    size_t bytes = 0;
    if (!size_mul(count, size, &bytes) || buf_reserve(buf, bytes + 1) == NULL) {
        return NULL;
    }
    *ret_first = buf->len / size;
    void *at = buf->ptr + buf->len;
    buf->len += bytes;
    return at;
}

void dataset_note_logged(struct dataset *dataset)
{
    dataset->logged.ids = ids_count(dataset->ids);
    dataset->logged.facts = ids_facts(dataset->ids);
    dataset->logged.cols = schema_count(dataset->schema);
    for (uint32_t i = 0; i < SHARD_COUNT; i++) {
        dataset->logged.subjects[i] = ids_subjects(dataset->ids, i);
    }
}

static enum err_code append_record(struct dataset *dataset, struct pending *pending,
                                   const uint32_t *cols, const struct event_place *places,
                                   struct err *err)
{
    if (pending->accepted == 0) {
        return ERR_OK;
    }
    struct record_source source = {
        .batch = pending->batch,
        .places = places,
        .prop_cols = cols,
        .ids = dataset->ids,
        .first_id = dataset->logged.ids,
        .schema = dataset->schema,
        .first_col = dataset->logged.cols,
    };
    struct buf *record = &dataset->record;
    uint64_t seq = 0;
    buf_clear(record);
    record_encode(record, &source);
    ERR_TRY(buf_check(record, err));
    ERR_TRY(wal_append(dataset->wal, buf_as_str(record), &seq, err));
    dataset_note_logged(dataset);
    return ERR_OK;
}

static enum err_code prepare(struct dataset *dataset, struct pending *pending, struct io *io,
                             struct err *err)
{
    struct event_batch *batch = pending->batch;
    struct group *group = pending->group;
    batch->arrival_ms = group->commit_ms;
    struct event_place *places =
        scratch_take(&group->places, batch->event_count, sizeof(*places), &pending->place_first);
    uint32_t *cols =
        scratch_take(&group->cols, batch->prop_count, sizeof(*cols), &pending->col_first);
    size_t cell_count = (size_t)batch->name_count * 5;
    struct col_cell *cells =
        scratch_take(&group->cells, cell_count, sizeof(*cells), &pending->count_first);
    if (places == NULL || cols == NULL || cells == NULL) {
        return no_memory(err);
    }
    for (size_t i = 0; i < cell_count; i++) {
        cells[i] = (struct col_cell){CELL_UNKNOWN, 0};
    }
    ERR_TRY(give_event_ids(dataset, batch, err));
    struct placing placing = {.dataset = dataset,
                              .pending = pending,
                              .batch = batch,
                              .scope = &group->scope,
                              .io = io,
                              .cells = cells,
                              .cols = cols,
                              .places = places};
    enum err_code code = place_events(&placing, err);
    arena_free(placing.arena);
    ERR_TRY(code);
    ERR_TRY(append_record(dataset, pending, cols, places, err));
    pending->is_placed = true;
    return ERR_OK;
}

/* The batch failed before its commit or with it: nothing of it was accepted. */
static void take_back(struct pending *pending)
{
    pending->accepted = 0;
    for (uint32_t i = 0; i < pending->batch->event_count; i++) {
        struct event *event = &pending->batch->events[i];
        if (event->status != RECEIPT_REJECTED) {
            event->status = RECEIPT_PENDING; /* what the group's set has of it is dead with this */
        }
    }
}

/* ---- publishing ---- */

static enum err_code append_rows(struct dataset *dataset, const struct pending *pending,
                                 int64_t *watermark_ms, struct err *err)
{
    const struct event_batch *batch = pending->batch;
    const struct event_place *places =
        (const struct event_place *)(const void *)pending->group->places.ptr + pending->place_first;
    const uint32_t *cols =
        (const uint32_t *)(const void *)pending->group->cols.ptr + pending->col_first;
    for (uint32_t i = 0; i < batch->event_count; i++) {
        const struct event *event = &batch->events[i];
        if (event->status != RECEIPT_ACCEPTED) {
            continue;
        }
        if (i + AHEAD < batch->event_count && batch->events[i + AHEAD].status == RECEIPT_ACCEPTED) {
            memtable_prefetch_id(dataset->active, places[i + AHEAD].key);
        }
        ERR_TRY(memtable_append(dataset->active, places[i].shard, places[i].subject, batch, event,
                                batch->arrival_ms, cols + event->prop_first, err));
        ERR_TRY(memtable_know(dataset->active, places[i].shard, places[i].key, err));
        *watermark_ms = MAX_OF(*watermark_ms, MIN_OF(event->time_ms, batch->arrival_ms));
    }
    const struct col_cell *cells =
        (const struct col_cell *)(const void *)pending->group->cells.ptr + pending->count_first;
    for (size_t i = 0; i < (size_t)batch->name_count * 5; i++) {
        if (cells[i].count > 0) {
            schema_count_values(dataset->schema, cells[i].col, cells[i].count);
        }
    }
    return ERR_OK;
}

static enum err_code append_group(struct dataset *dataset, const struct group *group,
                                  struct err *err)
{
    int64_t watermark_ms = INT64_MIN;
    int64_t commit_ms = 0; /* a group of retries alone is no commit */
    for (struct pending *pending = group->head; pending != NULL; pending = pending->next) {
        if (pending->is_placed && pending->accepted > 0) {
            ERR_TRY(append_rows(dataset, pending, &watermark_ms, err));
            commit_ms = group->commit_ms;
        }
    }
    pthread_mutex_lock(&dataset->state_lock);
    memtable_publish(dataset->active);
    dataset->epoch = wal_last_seq(dataset->wal);
    dataset->commit_ms = MAX_OF(dataset->commit_ms, commit_ms);
    dataset->watermark_ms = MAX_OF(dataset->watermark_ms, watermark_ms);
    memcpy(dataset->subjects, group->after.subjects, sizeof(dataset->subjects));
    dataset->ids_seen = group->after.ids;
    dataset->facts_seen = group->after.facts;
    if (dataset->active_since_us == 0 && memtable_rows(dataset->active) > 0) {
        dataset->active_since_us = clock_mono_us();
    }
    pthread_mutex_unlock(&dataset->state_lock);
    return ERR_OK;
}

enum err_code dataset_freeze(struct dataset *dataset, struct io *io, struct err *err)
{
    uint64_t file = 0;
    struct memtable *fresh = NULL;
    struct frozen frozen = {0};
    pthread_mutex_lock(&dataset->state_lock);
    uint32_t waiting = dataset->frozen_count; /* only the writer raises it */
    pthread_mutex_unlock(&dataset->state_lock);
    if (waiting >= FROZEN_BUSY) {
        return err_set(err, ERR_BUSY, "%" PRIu32 " memtables wait to be written", waiting);
    }
    ERR_TRY(memtable_create(dataset->schema, dataset->identity_version, &fresh, err));
    enum err_code code = wal_rotate(dataset->wal, io, &file, err);
    if (code == ERR_OK) {
        code = frozen_describe(dataset, file, &frozen, err);
    }
    if (code != ERR_OK) {
        memtable_unref(fresh);
        return code;
    }
    pthread_mutex_lock(&dataset->state_lock);
    dataset->frozen[dataset->frozen_count++] = frozen;
    dataset->active = fresh;
    dataset->logged.cols = 0; /* each log file says all columns: it can be read without the catalog */
    dataset->active_since_us = 0;
    pthread_mutex_unlock(&dataset->state_lock);
    atomic_store(&dataset->wal_bytes, wal_bytes(dataset->wal));
    return ERR_OK;
}

/* ---- groups ---- */

bool dataset_is_broken(struct dataset *dataset, struct err *err)
{
    pthread_mutex_lock(&dataset->state_lock);
    bool broken = dataset->is_broken;
    if (broken) {
        *err = dataset->why;
    }
    pthread_mutex_unlock(&dataset->state_lock);
    if (broken) {
        (void)err_context(err, "data set \"%s\" takes no events until it is opened again",
                          dataset->name);
    }
    return broken;
}

static void finish_pending(struct dataset *dataset, struct pending *pending)
{
    if (pending->code == ERR_OK) {
        atomic_fetch_add(&dataset->accepted, pending->accepted);
        atomic_fetch_add(&dataset->duplicates, pending->duplicates);
        atomic_fetch_add(&dataset->conflicts, pending->conflicts);
        atomic_fetch_add(&dataset->rejected, pending->rejected);
    }
    pending->done(pending->arg, pending->batch, pending->code, &pending->err);
    free(pending);
}

/* Give all batches back: with `code` those that nothing was wrong with so far. */
static void finish_group(struct dataset *dataset, struct group *group, enum err_code code,
                         const struct err *err)
{
    buf_clear(&group->placed);
    known_set_clear(group->known);
    struct pending *pending = TAKE(group->head);
    group->tail = NULL;
    group->events = group->bytes = 0;
    while (pending != NULL) {
        struct pending *next = pending->next;
        if (pending->code == ERR_OK && code != ERR_OK) {
            pending->code = code;
            pending->err = *err;
        }
        finish_pending(dataset, pending);
        pending = next;
    }
}

/* Nothing is under way when there is need for it: freezing takes what is published and no more. */
static enum err_code make_room(struct dataset *dataset, const struct event_batch *batch,
                               struct io *io, struct err *err)
{
    if (memtable_rows(dataset->active) + batch->event_count <= MEMTABLE_ROWS_MAX) {
        return ERR_OK;
    }
    atomic_store(&dataset->wants_flush, true);
    store_wake(dataset->store);
    return dataset_freeze(dataset, io, err);
}

static void group_begin(struct dataset *dataset, struct group *group, int64_t arrival_ms)
{
    buf_clear(&group->places);
    buf_clear(&group->cols);
    buf_clear(&group->cells);
    group->commit_ms = dataset_next_clock(dataset, arrival_ms);
    group->before = dataset->logged;
    known_scope_pin(dataset, &group->scope);
}

/* May the batch join the group, with `flying` under way? A batch too large for all bounds goes alone. */
static bool may_join(const struct dataset *dataset, const struct group *group,
                     const struct group *flying, const struct event_batch *batch, struct io *io)
{
    uint64_t events = group->events + (flying == NULL ? 0 : flying->events);
    bool is_full = memtable_rows(dataset->active) + events + batch->event_count > MEMTABLE_ROWS_MAX;
    if (group->head == NULL) {
        return flying == NULL || !is_full;
    }
    bool is_time = flying == NULL ? group->bytes >= dataset->group_start_bytes
                                  : wal_commit_is_done(dataset->wal, io);
    return !is_full && !is_time && group->bytes + batch->bytes <= GROUP_BYTES_MAX;
}

/* The next batch for the group; NULL where there is none, or it must wait. */
static struct pending *take_pending(struct dataset *dataset, const struct group *group,
                                    const struct group *flying, struct io *io)
{
    pthread_mutex_lock(&dataset->queue_lock);
    struct pending *pending = dataset->writers_waiting > 0 ? NULL : dataset->queue_head;
    if (pending != NULL && !may_join(dataset, group, flying, pending->batch, io)) {
        pending = NULL;
    }
    if (pending != NULL) {
        dataset->queue_head = pending->next;
        if (dataset->queue_head == NULL) {
            dataset->queue_tail = NULL;
        }
        dataset->queue_bytes -= pending->batch->bytes;
        pending->next = NULL;
    }
    pthread_mutex_unlock(&dataset->queue_lock);
    return pending;
}

static void group_add(struct group *group, struct pending *pending)
{
    if (group->tail == NULL) {
        group->head = pending;
    } else {
        group->tail->next = pending;
    }
    group->tail = pending;
    group->events += pending->batch->event_count;
    group->bytes += pending->batch->bytes;
    pending->group = group;
}

/* Prepare what waits. False: nothing did. */
static bool gather(struct dataset *dataset, struct group *group, const struct group *flying,
                   struct io *io)
{
    struct pending *pending = NULL;
    while ((pending = take_pending(dataset, group, flying, io)) != NULL) {
        if (group->head == NULL) {
            if (dataset_is_broken(dataset, &pending->err)) {
                pending->code = pending->err.code;
            } else {
                pending->code = make_room(dataset, pending->batch, io, &pending->err);
            }
            if (pending->code != ERR_OK) {
                finish_pending(dataset, pending);
                continue;
            }
            group_begin(dataset, group, pending->batch->arrival_ms);
        }
        group_add(group, pending);
        pending->code = prepare(dataset, pending, io, &pending->err);
        if (pending->code != ERR_OK) {
            take_back(pending);
        }
    }
    if (group->head == NULL) {
        return false;
    }
    group->after = dataset->logged;
    known_scope_unpin(&group->scope);
    return true;
}

/* Write the group and begin to sync it. False: it failed, and was given back. */
static bool launch(struct dataset *dataset, struct group *group, struct io *io)
{
    struct err err = {0};
    bool is_broken = dataset_is_broken(dataset, &err);
    enum err_code code = is_broken ? err.code : wal_commit_begin(dataset->wal, io, &err);
    if (code == ERR_OK) {
        return true;
    }
    if (is_broken) { /* the group before it came half into the memtable: to publish this one would publish that half */
        wal_discard(dataset->wal);
    }
    if (wal_is_broken(dataset->wal)) {
        dataset_break(dataset, &err);
    } else {
        for (struct pending *pending = group->head; pending != NULL; pending = pending->next) {
            take_back(pending);
        }
        dataset->logged = group->before;
        note_refusal(dataset, &err);
    }
    finish_group(dataset, group, code, &err);
    return false;
}

/* Make the group visible once it is durable. */
static void land(struct dataset *dataset, struct group *group, struct io *io)
{
    struct err err = {0};
    enum err_code code = wal_commit_end(dataset->wal, io, &err);
    if (code == ERR_OK) {
        code = append_group(dataset, group, &err);
    }
    if (code != ERR_OK) {
        dataset_break(dataset, &err);
    } else {
        note_refusal(dataset, NULL);
        atomic_fetch_add(&dataset->commits, 1);
        atomic_store(&dataset->wal_bytes, wal_bytes(dataset->wal));
        dataset_count_memtables(dataset);
        const struct store_opts *opts = &dataset->store->opts;
        if (memtable_rows(dataset->active) >= opts->flush_rows ||
            memtable_bytes(dataset->active) >= opts->flush_bytes) {
            atomic_store(&dataset->wants_flush, true);
            store_wake(dataset->store);
        }
    }
    finish_group(dataset, group, code, &err);
}

/* ---- the queue ---- */

/* Stop being the writer, unless there is something to do. */
static bool retire(struct dataset *dataset)
{
    pthread_mutex_lock(&dataset->queue_lock);
    bool is_idle = dataset->queue_head == NULL || dataset->writers_waiting > 0;
    if (is_idle) {
        dataset->has_writer = false;
        pthread_cond_broadcast(&dataset->writer_free);
    }
    pthread_mutex_unlock(&dataset->queue_lock);
    return is_idle;
}

/* Serve the queue as the writer, until it is empty or a background job asks for its turn. */
static void serve(struct dataset *dataset, struct io *io)
{
    struct group *flying = NULL;
    do {
        struct group *group = &dataset->groups[flying == &dataset->groups[0] ? 1 : 0];
        bool is_gathered = gather(dataset, group, flying, io);
        if (flying != NULL) {
            land(dataset, flying, io);
        }
        flying = is_gathered && launch(dataset, group, io) ? group : NULL;
    } while (flying != NULL || !retire(dataset));
}

void dataset_writer_acquire(struct dataset *dataset)
{
    pthread_mutex_lock(&dataset->queue_lock);
    dataset->writers_waiting++;
    while (dataset->has_writer) {
        pthread_cond_wait(&dataset->writer_free, &dataset->queue_lock);
    }
    dataset->writers_waiting--;
    dataset->has_writer = true;
    pthread_mutex_unlock(&dataset->queue_lock);
}

void dataset_writer_release(struct dataset *dataset, struct io *io)
{
    serve(dataset, io);
}

/* Segments that pile up make every question slower: whoever sends has to wait for the merges. Where none run
 * by themselves (tests, tools) there is nothing to wait for. */
static enum err_code check_backlog(struct dataset *dataset, struct err *err)
{
    const struct store_opts *opts = &dataset->store->opts;
    uint32_t waiting = atomic_load_explicit(&dataset->waiting, memory_order_relaxed);
    if (!opts->compact_in_background || waiting <= opts->backlog_max) {
        return ERR_OK;
    }
    atomic_fetch_add(&dataset->behind, 1);
    store_wake(dataset->store);
    return err_set(err, ERR_BUSY,
                   "compaction is behind: %" PRIu32 " segments of one shard wait to be merged, at "
                   "most %" PRIu32,
                   waiting, opts->backlog_max);
}

static enum err_code check_submit(struct dataset *dataset, struct err *err)
{
    struct store *store = dataset->store;
    if (store->opts.is_read_only) {
        return err_set(err, ERR_INVALID, "the store was opened read-only");
    }
    if (dataset_is_broken(dataset, err)) {
        return err->code;
    }
    uint64_t bytes = atomic_load(&store->memtable_bytes);
    if (bytes > store->opts.memtable_bytes_max) {
        atomic_store(&dataset->wants_flush, true);
        store_wake(store);
        return err_set(err, ERR_BUSY,
                       "memtables hold %" PRIu64 " bytes, at most %" PRIu64
                       ": they are being written",
                       bytes, store->opts.memtable_bytes_max);
    }
    return check_backlog(dataset, err);
}

enum err_code dataset_submit(struct dataset *dataset, struct event_batch *batch,
                             dataset_done_fn done, void *arg, struct io *io, struct err *err)
{
    ERR_TRY(check_submit(dataset, err));
    if (batch->event_count > MEMTABLE_ROWS_MAX) {
        return err_set(err, ERR_LIMIT, "a batch of %" PRIu32 " events, at most %u",
                       batch->event_count, MEMTABLE_ROWS_MAX);
    }
    struct pending *pending = calloc(1, sizeof(*pending));
    if (pending == NULL) {
        return no_memory(err);
    }
    pending->batch = batch;
    pending->done = done;
    pending->arg = arg;
    pthread_mutex_lock(&dataset->queue_lock);
    uint64_t max = dataset->store->opts.queue_bytes_max;
    /* A batch that is larger than the queue still gets through an empty one. */
    if (dataset->queue_head != NULL &&
        (batch->bytes > max || dataset->queue_bytes > max - batch->bytes)) {
        uint64_t waiting = dataset->queue_bytes;
        pthread_mutex_unlock(&dataset->queue_lock);
        free(pending);
        return err_set(err, ERR_BUSY, "%" PRIu64 " bytes wait to be written, at most %" PRIu64,
                       waiting, max);
    }
    if (dataset->queue_tail == NULL) {
        dataset->queue_head = pending;
    } else {
        dataset->queue_tail->next = pending;
    }
    dataset->queue_tail = pending;
    dataset->queue_bytes += batch->bytes;
    bool is_writer = !dataset->has_writer && dataset->writers_waiting == 0;
    dataset->has_writer = dataset->has_writer || is_writer;
    pthread_mutex_unlock(&dataset->queue_lock);
    if (is_writer) {
        serve(dataset, io);
    }
    return ERR_OK;
}

/* ---- submit and wait ---- */

struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool is_done;
    enum err_code code;
    struct err err;
};

static void wake_waiter(void *arg, struct event_batch *batch, enum err_code code,
                        const struct err *err)
{
    struct waiter *waiter = arg;
    pthread_mutex_lock(&waiter->lock);
    waiter->code = code;
    waiter->err = *err;
    waiter->is_done = true;
    pthread_cond_signal(&waiter->cond);
    pthread_mutex_unlock(&waiter->lock);
}

enum err_code dataset_ingest(struct dataset *dataset, struct event_batch *batch, struct io *io,
                             struct err *err)
{
    struct waiter waiter = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    ERR_TRY(dataset_submit(dataset, batch, wake_waiter, &waiter, io, err));
    pthread_mutex_lock(&waiter.lock);
    while (!waiter.is_done) {
        pthread_cond_wait(&waiter.cond, &waiter.lock);
    }
    pthread_mutex_unlock(&waiter.lock);
    if (waiter.code != ERR_OK) {
        *err = waiter.err;
    }
    return waiter.code;
}
