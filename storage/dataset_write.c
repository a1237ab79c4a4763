/* storage/dataset_write.c - the writer: from a queue of batches to durable, visible rows.
 *
 * Group commit by leader and followers: whoever finds no writer becomes it and serves the queue until it is
 * empty; everybody else leaves the batch and goes. One group is
 *
 *    prepare each batch   event ids into the dedup set, ids to subjects, properties to columns, one record
 *    one write, one fdatasync for all records
 *    append to the memtable, publish all of it at once (a snapshot sees the whole group or nothing)
 *    call back
 *
 * What can be wrong with one event (no room for its column or its id) rejects that event; what goes
 * wrong with a batch before the commit fails that batch and takes its event ids back; a commit that
 * the log could cut back fails the group likewise; what else goes wrong from the commit on breaks
 * the data set (dataset_int.h says why).
 */
#include "storage/dataset_int.h"

#include "storage/dataset_record.h"

#include "storage/base/clock.h"
#include "storage/base/size.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

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

static enum err_code place_event(struct dataset *dataset, struct event_batch *batch,
                                 struct event *event, struct hash128 hash, struct col_cell *cells,
                                 uint32_t *cols, struct event_place *place, struct err *err)
{
    if (event->event_id.len > EVENT_ID_BYTES_MAX || event->user_id.len > USER_ID_BYTES_MAX ||
        event->anonymous_id.len > USER_ID_BYTES_MAX || event->name.len > EVENT_NAME_BYTES_MAX ||
        event->name.len == 0 || (event->user_id.len == 0 && event->anonymous_id.len == 0)) {
        return err_set(err, ERR_LIMIT, "not a valid event: no name, no id, or one too long");
    }
    bool is_new = false;
    ERR_TRY(dedup_add(dataset->dedup, hash, &is_new, err));
    if (!is_new) {
        event->status = RECEIPT_DUPLICATE;
        return ERR_OK;
    }
    enum err_code code = place_props(dataset, batch, event, cells, cols, err);
    if (code == ERR_OK) {
        bool has_user = event->user_id.len > 0;
        code = ids_add(dataset->ids, has_user ? ID_USER : ID_ANONYMOUS,
                       has_user ? event->user_id : event->anonymous_id, &place->shard,
                       &place->subject, err);
    }
    if (code == ERR_OK) {
        struct buf *hashes = &dataset->scratch.hashes;
        buf_append(hashes, &hash, sizeof(hash));
        code = buf_check(hashes, err);
    }
    if (code != ERR_OK) {
        dedup_remove(dataset->dedup, hash);
        return code;
    }
    for (uint32_t i = 0; i < event->prop_count; i++) {
        const struct prop *prop = &batch->props[event->prop_first + i];
        cells[prop->name_idx * 5 + (uint32_t)prop->type - 1].count++;
    }
    event->status = RECEIPT_ACCEPTED;
    return ERR_OK;
}

static enum err_code place_events(struct dataset *dataset, struct pending *pending,
                                  struct col_cell *cells, uint32_t *cols,
                                  struct event_place *places, struct err *err)
{
    struct event_batch *batch = pending->batch;
    struct hash128 hashes[AHEAD];
    for (uint32_t begin = 0; begin < batch->event_count; begin += AHEAD) {
        uint32_t count = MIN_OF(AHEAD, batch->event_count - begin);
        for (uint32_t i = 0; i < count; i++) {
            hashes[i] = dedup_hash(dataset->dedup, batch->events[begin + i].event_id);
            dedup_prefetch(dataset->dedup, hashes[i]);
        }
        for (uint32_t i = 0; i < count; i++) {
            struct event *event = &batch->events[begin + i];
            if (event->status == RECEIPT_PENDING) {
                enum err_code code = place_event(dataset, batch, event, hashes[i], cells, cols,
                                                 &places[begin + i], err);
                if (code == ERR_LIMIT) {
                    reject(batch, event, err);
                } else if (code != ERR_OK) {
                    return code;
                }
            }
            pending->accepted += event->status == RECEIPT_ACCEPTED;
            pending->duplicates += event->status == RECEIPT_DUPLICATE;
            pending->rejected += event->status == RECEIPT_REJECTED;
        }
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
    struct buf *record = &dataset->scratch.record;
    uint64_t seq = 0;
    buf_clear(record);
    record_encode(record, &source);
    ERR_TRY(buf_check(record, err));
    ERR_TRY(wal_append(dataset->wal, buf_as_str(record), &seq, err));
    dataset->logged.ids = ids_count(dataset->ids);
    dataset->logged.cols = schema_count(dataset->schema);
    for (uint32_t i = 0; i < SHARD_COUNT; i++) {
        dataset->logged.subjects[i] = ids_subjects(dataset->ids, i);
    }
    return ERR_OK;
}

static enum err_code prepare(struct dataset *dataset, struct pending *pending, struct err *err)
{
    struct event_batch *batch = pending->batch;
    struct writer_scratch *scratch = &dataset->scratch;
    struct event_place *places =
        scratch_take(&scratch->places, batch->event_count, sizeof(*places), &pending->place_first);
    uint32_t *cols =
        scratch_take(&scratch->cols, batch->prop_count, sizeof(*cols), &pending->col_first);
    size_t cell_count = (size_t)batch->name_count * 5;
    struct col_cell *cells =
        scratch_take(&scratch->cells, cell_count, sizeof(*cells), &pending->count_first);
    if (places == NULL || cols == NULL || cells == NULL) {
        return no_memory(err);
    }
    for (size_t i = 0; i < cell_count; i++) {
        cells[i] = (struct col_cell){CELL_UNKNOWN, 0};
    }
    pending->hash_first = pending->hash_end = scratch->hashes.len;
    ERR_TRY(give_event_ids(dataset, batch, err));
    ERR_TRY(place_events(dataset, pending, cells, cols, places, err));
    ERR_TRY(append_record(dataset, pending, cols, places, err));
    pending->is_placed = true;
    return ERR_OK;
}

/* The batch failed before its commit or with it: nothing of it was accepted. */
static void take_back(struct dataset *dataset, struct pending *pending)
{
    const struct buf *hashes = &dataset->scratch.hashes;
    for (size_t at = pending->hash_first; at < pending->hash_end; at += sizeof(struct hash128)) {
        struct hash128 hash;
        memcpy(&hash, hashes->ptr + at, sizeof(hash));
        dedup_remove(dataset->dedup, hash);
    }
    pending->hash_end = pending->hash_first;
    pending->accepted = 0;
    for (uint32_t i = 0; i < pending->batch->event_count; i++) {
        struct event *event = &pending->batch->events[i];
        if (event->status != RECEIPT_REJECTED) {
            event->status = RECEIPT_PENDING;
        }
    }
}

/* ---- publishing ---- */

static enum err_code append_rows(struct dataset *dataset, const struct pending *pending,
                                 int64_t *watermark_ms, struct err *err)
{
    const struct event_batch *batch = pending->batch;
    const struct event_place *places =
        (const struct event_place *)(const void *)dataset->scratch.places.ptr +
        pending->place_first;
    const uint32_t *cols =
        (const uint32_t *)(const void *)dataset->scratch.cols.ptr + pending->col_first;
    for (uint32_t i = 0; i < batch->event_count; i++) {
        const struct event *event = &batch->events[i];
        if (event->status != RECEIPT_ACCEPTED) {
            continue;
        }
        ERR_TRY(memtable_append(dataset->active, places[i].shard, places[i].subject, batch, event,
                                batch->arrival_ms, cols + event->prop_first, err));
        *watermark_ms = MAX_OF(*watermark_ms, MIN_OF(event->time_ms, batch->arrival_ms));
    }
    const struct col_cell *cells =
        (const struct col_cell *)(const void *)dataset->scratch.cells.ptr + pending->count_first;
    for (size_t i = 0; i < (size_t)batch->name_count * 5; i++) {
        if (cells[i].count > 0) {
            schema_count_values(dataset->schema, cells[i].col, cells[i].count);
        }
    }
    return ERR_OK;
}

static enum err_code append_group(struct dataset *dataset, struct pending *group, struct err *err)
{
    int64_t watermark_ms = INT64_MIN;
    for (struct pending *pending = group; pending != NULL; pending = pending->next) {
        if (pending->is_placed && pending->accepted > 0) {
            ERR_TRY(append_rows(dataset, pending, &watermark_ms, err));
        }
    }
    pthread_mutex_lock(&dataset->state_lock);
    memtable_publish(dataset->active);
    dataset->epoch = wal_last_seq(dataset->wal);
    dataset->watermark_ms = MAX_OF(dataset->watermark_ms, watermark_ms);
    memcpy(dataset->subjects, dataset->logged.subjects, sizeof(dataset->subjects));
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

/* ---- one group ---- */

static enum err_code make_room(struct dataset *dataset, const struct pending *group, struct io *io,
                               struct err *err)
{
    uint64_t events = 0;
    for (; group != NULL; group = group->next) {
        events += group->batch->event_count;
    }
    if (memtable_rows(dataset->active) + events <= MEMTABLE_ROWS_MAX) {
        return ERR_OK;
    }
    if (events > MEMTABLE_ROWS_MAX) {
        return err_set(err, ERR_LIMIT, "%" PRIu64 " events at once, at most %u", events,
                       MEMTABLE_ROWS_MAX);
    }
    atomic_store(&dataset->wants_flush, true);
    store_wake(dataset->store);
    return dataset_freeze(dataset, io, err);
}

static void fail_group(struct pending *group, enum err_code code, const struct err *err)
{
    for (; group != NULL; group = group->next) {
        if (group->code == ERR_OK) {
            group->code = code;
            group->err = *err;
        }
    }
}

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

/* Make the prepared batches durable and visible. */
static enum err_code commit_group(struct dataset *dataset, struct pending *group, struct io *io,
                                  const struct logged *before, struct err *err)
{
    enum err_code code = wal_commit(dataset->wal, io, err);
    if (code != ERR_OK && !wal_is_broken(dataset->wal)) {
        for (struct pending *pending = group; pending != NULL; pending = pending->next) {
            take_back(dataset, pending);
        }
        dataset->logged = *before;
        note_refusal(dataset, err);
        return code;
    }
    if (code == ERR_OK) {
        code = append_group(dataset, group, err);
    }
    if (code != ERR_OK) {
        dataset_break(dataset, err);
        return code;
    }
    note_refusal(dataset, NULL);
    return ERR_OK;
}

static void write_group(struct dataset *dataset, struct pending *group, struct io *io)
{
    struct err err = {0};
    if (dataset_is_broken(dataset, &err)) {
        fail_group(group, err.code, &err);
        return;
    }
    enum err_code code = make_room(dataset, group, io, &err);
    if (code != ERR_OK) {
        fail_group(group, code, &err);
        return;
    }
    buf_clear(&dataset->scratch.places);
    buf_clear(&dataset->scratch.cols);
    buf_clear(&dataset->scratch.cells);
    buf_clear(&dataset->scratch.hashes);
    struct logged before = dataset->logged;
    for (struct pending *pending = group; pending != NULL; pending = pending->next) {
        pending->code = prepare(dataset, pending, &pending->err);
        pending->hash_end = dataset->scratch.hashes.len;
        if (pending->code != ERR_OK) {
            take_back(dataset, pending);
        }
    }
    code = commit_group(dataset, group, io, &before, &err);
    if (code != ERR_OK) {
        fail_group(group, code, &err);
        return;
    }
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

static void finish_group(struct dataset *dataset, struct pending *group)
{
    while (group != NULL) {
        struct pending *next = group->next;
        if (group->code == ERR_OK) {
            atomic_fetch_add(&dataset->accepted, group->accepted);
            atomic_fetch_add(&dataset->duplicates, group->duplicates);
            atomic_fetch_add(&dataset->rejected, group->rejected);
        }
        group->done(group->arg, group->batch, group->code, &group->err);
        free(group);
        group = next;
    }
}

/* ---- the queue ---- */

/* Take a group off the queue: batches in order, up to GROUP_BYTES_MAX and MEMTABLE_ROWS_MAX together. */
static struct pending *take_group(struct dataset *dataset)
{
    struct pending *first = dataset->queue_head;
    struct pending *last = NULL;
    uint64_t bytes = 0;
    uint64_t events = 0;
    for (struct pending *pending = first; pending != NULL; pending = pending->next) {
        bytes += pending->batch->bytes;
        events += pending->batch->event_count;
        if (last != NULL && (bytes > GROUP_BYTES_MAX || events > MEMTABLE_ROWS_MAX)) {
            bytes -= pending->batch->bytes;
            break;
        }
        last = pending;
    }
    if (last != NULL) {
        dataset->queue_head = last->next;
        last->next = NULL;
        if (dataset->queue_head == NULL) {
            dataset->queue_tail = NULL;
        }
        dataset->queue_bytes -= bytes;
    }
    return first;
}

/* Serve the queue as the writer, until it is empty or a background job asks for its turn. */
static void serve(struct dataset *dataset, struct io *io)
{
    for (;;) {
        pthread_mutex_lock(&dataset->queue_lock);
        struct pending *group = NULL;
        if (dataset->writers_waiting == 0) {
            group = take_group(dataset);
        }
        if (group == NULL) {
            dataset->has_writer = false;
            pthread_cond_broadcast(&dataset->writer_free);
            pthread_mutex_unlock(&dataset->queue_lock);
            return;
        }
        pthread_mutex_unlock(&dataset->queue_lock);
        write_group(dataset, group, io);
        finish_group(dataset, group);
    }
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
    return ERR_OK;
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
