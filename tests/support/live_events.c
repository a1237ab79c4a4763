/* tests/support/live_events.c - making events from numbers, and reading the numbers back. */
#include "tests/support/live_events.h"

#include "storage/dataset_int.h"

#include "storage/base/hash.h"

#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define USERS  53u
#define DAY_MS 86400000LL

static uint64_t mix(uint32_t k)
{
    return hash_mix(k + 0x9e3779b97f4a7c15ULL);
}

static int64_t time_of(uint32_t k)
{
    /* Ties are common; a hundred days before the arrival. */
    return LIVE_ARRIVAL_MS - 100 * DAY_MS + (int64_t)(mix(k) % 5000) * 1000000;
}

int64_t live_time(uint32_t k)
{
    return time_of(k);
}

static const char *const names[] = {"page_view", "pay_success", "sign up", "place_order", "x"};
const char *live_name(uint32_t k)
{
    return names[mix(k) % 5];
}

static const char *const channels[] = {"ads", "", "organic", "\xe7\xbd\x91\xe7\xab\x99", "mail"};

void live_user(uint32_t k, char user[32], char anonymous[32])
{
    uint32_t who = (uint32_t)(mix(k) >> 32) % USERS;
    user[0] = '\0';
    anonymous[0] = '\0';
    if (who % 5 != 4) {
        snprintf(user, 32, "user-%u", who);
    }
    if (who % 5 == 4 || k % 5 == 0) {
        snprintf(anonymous, 32, "user-%u", who);
    }
}

static void event_id_of(uint32_t k, char out[48])
{
    snprintf(out, 48, k % 2 == 0 ? "ev-%u" : "00000000-0000-4000-8000-%012x", k);
}

bool live_number(struct str event_id, uint32_t *ret)
{
    char text[48];
    char again[48];
    if (event_id.len == 0 || event_id.len >= sizeof(text)) {
        return false;
    }
    memcpy(text, event_id.ptr, event_id.len);
    text[event_id.len] = '\0';
    bool is_uuid = event_id.len == 36;
    *ret = (uint32_t)strtoul(text + (is_uuid ? 24 : 3), NULL, is_uuid ? 16 : 10);
    event_id_of(*ret, again);
    return strcmp(text, again) == 0;
}

/* The properties of event k, in a fixed order; strings live in `text`. */
struct live_prop {
    const char *name;
    struct prop prop;
    struct str items[3];
    char text[40];
    char item_text[3][16];
};

static uint32_t props_of(uint32_t k, struct live_prop out[9])
{
    uint32_t count = 0;
    struct live_prop *p = &out[count++];
    *p = (struct live_prop){.name = "channel"};
    p->prop.type = COL_STRING;
    p->prop.string = str_of(channels[mix(k) % 5]);
    p = &out[count++];
    *p = (struct live_prop){.name = "amount"};
    p->prop.type = COL_NUMBER;
    p->prop.number = num_decimal((int64_t)k * 125 - 1000, 2);
    if (k % 2 == 0) {
        p = &out[count++];
        *p = (struct live_prop){.name = "url"};
        snprintf(p->text, sizeof(p->text), "/p/%u?q=%08x", k, (uint32_t)mix(k));
        p->prop.type = COL_STRING;
        p->prop.string = str_of(p->text);
    }
    if (k % 3 == 0) {
        p = &out[count++];
        *p = (struct live_prop){.name = "vip"};
        p->prop.type = COL_BOOL;
        p->prop.boolean = k % 2 == 0;
        p = &out[count++];
        *p = (struct live_prop){.name = "seen_at"};
        p->prop.type = COL_TIME;
        p->prop.ts_ms = time_of(k) - k;
    }
    if (k % 4 == 1) {
        p = &out[count++];
        *p = (struct live_prop){.name = "tags"};
        p->prop.type = COL_LIST;
        p->prop.list.count = k / 4 % 4;
        for (uint32_t i = 0; i < p->prop.list.count; i++) {
            snprintf(p->item_text[i], sizeof(p->item_text[i]), "t%u", (k + i) % 11);
            p->items[i] = str_of(p->item_text[i]);
        }
    }
    if (k % 7 == 0) {
        p = &out[count++];
        *p = (struct live_prop){.name = "ratio"};
        p->prop.type = COL_NUMBER;
        if (!num_double((double)k / 3.0, &p->prop.number)) {
            abort();
        }
    }
    p = &out[count++];
    *p = (struct live_prop){.name = "mixed"};
    if (k % 2 == 0) {
        p->prop.type = COL_STRING;
        p->prop.string = STR("even");
    } else {
        p->prop.type = COL_NUMBER;
        p->prop.number = num_int(k);
    }
    if (k % 97 == 0) {
        p = &out[count++];
        *p = (struct live_prop){.name = k % 194 == 0 ? "rare.a" : "rare.b"};
        p->prop.type = COL_BOOL;
        p->prop.boolean = true;
    }
    return count;
}

enum err_code live_add(struct batch_builder *builder, uint32_t k, bool is_retry, struct err *err)
{
    struct arena *arena = builder->batch->arena;
    struct event *event = NULL;
    struct live_prop props[9];
    char id[48];
    char user[32];
    char anonymous[32];
    event_id_of(k, id);
    live_user(is_retry ? k + 1 : k, user, anonymous);
    ERR_TRY(batch_event(builder, &event, err));
    ERR_TRY(arena_str(arena, str_of(id), &event->event_id, err));
    ERR_TRY(arena_str(arena, str_of(user), &event->user_id, err));
    ERR_TRY(arena_str(arena, str_of(anonymous), &event->anonymous_id, err));
    event->name = str_of(names[mix(k) % 5]);
    event->time_ms = is_retry ? LIVE_ARRIVAL_MS : time_of(k);
    uint32_t count = props_of(k, props);
    for (uint32_t i = 0; i < count; i++) {
        struct prop prop = props[i].prop;
        ERR_TRY(batch_name(builder, str_of(props[i].name), &prop.name_idx, err));
        if (prop.type == COL_STRING) {
            ERR_TRY(arena_str(arena, props[i].prop.string, &prop.string, err));
        }
        for (uint32_t n = 0; prop.type == COL_LIST && n < prop.list.count; n++) {
            struct str item;
            uint32_t idx = 0;
            ERR_TRY(arena_str(arena, props[i].items[n], &item, err));
            ERR_TRY(batch_list_item(builder, item, &idx, err));
            prop.list.first = n == 0 ? idx : prop.list.first;
        }
        ERR_TRY(batch_prop(builder, &prop, err));
    }
    batch_check_event(builder, LIVE_ARRIVAL_MS);
    return ERR_OK;
}

enum err_code live_batch(uint32_t first, uint32_t count, struct event_batch **ret, struct err *err)
{
    struct batch_builder builder;
    ERR_TRY(batch_begin(NULL, LIVE_ARRIVAL_MS, &builder, err));
    for (uint32_t i = 0; i < count; i++) {
        enum err_code code = live_add(&builder, first + i, false, err);
        if (code != ERR_OK) {
            event_batch_free(builder.batch);
            return code;
        }
    }
    builder.batch->bytes = count * (size_t)300;
    *ret = builder.batch;
    return ERR_OK;
}

enum err_code live_ingest_batch(struct dataset *dataset, struct event_batch *batch, struct io *io,
                                struct err *err)
{
    batch->bytes =
        batch->bytes == 0 ? 1000 : batch->bytes; /* that a body has some is all that matters */
    enum err_code code = dataset_ingest(dataset, batch, io, err);
    for (uint32_t i = 0; code == ERR_OK && i < batch->event_count; i++) {
        const struct event *event = &batch->events[i];
        if (event->status != RECEIPT_ACCEPTED) {
            code = err_set(err, ERR_INVALID, "event \"" STR_FMT "\" has status %d: " STR_FMT,
                           STR_ARG(event->event_id), (int)event->status, STR_ARG(event->reason));
        }
    }
    event_batch_free(batch);
    return code;
}

enum err_code live_ingest(struct dataset *dataset, uint32_t first, uint32_t count, struct io *io,
                          struct err *err)
{
    struct event_batch *batch = NULL;
    ERR_TRY(live_batch(first, count, &batch, err));
    return live_ingest_batch(dataset, batch, io, err);
}

struct burst_end {
    enum err_code *code;
    struct err *err;
    _Atomic bool is_done; /* release: code and err come before it */
};

static void burst_done(void *arg, struct event_batch *batch, enum err_code code,
                       const struct err *err)
{
    (void)batch;
    struct burst_end *end = arg;
    ASSERT(!end->is_done);
    *end->code = code;
    *end->err = *err;
    end->is_done = true;
}

void live_burst(struct dataset *dataset, struct event_batch *const *batches, uint32_t count,
                struct io *io, enum err_code *codes, struct err *errs)
{
    struct burst_end ends[LIVE_BURST_MAX];
    ASSERT(count <= LIVE_BURST_MAX);
    uint64_t start_bytes = dataset->group_start_bytes;
    dataset_writer_acquire(dataset);
    dataset->group_start_bytes = 0; /* no two in one group for want of a sync to wait for */
    for (uint32_t i = 0; i < count; i++) {
        ends[i].code = &codes[i];
        ends[i].err = &errs[i];
        ends[i].is_done = false;
        errs[i] = (struct err){0};
        struct err err = {0};
        enum err_code code = dataset_submit(dataset, batches[i], burst_done, &ends[i], io, &err);
        if (code != ERR_OK) { /* else the callback says it, perhaps already */
            codes[i] = code;
            errs[i] = err;
            ends[i].is_done = true;
        }
    }
    dataset_writer_release(dataset, io);
    for (uint32_t i = 0; i < count; i++) {
        while (!ends[i].is_done) { /* a background job came between: it serves what is left */
            dataset_writer_acquire(dataset);
            dataset_writer_release(dataset, io);
        }
    }
    dataset_writer_acquire(dataset);
    dataset->group_start_bytes = start_bytes;
    dataset_writer_release(dataset, io);
}

/* ---- checking ---- */

struct check {
    const struct snapshot *snapshot;
    struct read_ctx ctx;
    const struct source *source;
    uint8_t *seen;
    uint32_t *owner; /* subject number + 1 of each user of each shard */
    uint32_t k_count;
    struct vec builtin[COL_FIRST_PROP];
    struct vec *props;
    bool has_last;
    uint32_t last_subject;
    int64_t last_time_ms;
    struct str last_id;
};

static uint32_t place_of(const struct vec *vec, uint32_t row)
{
    uint32_t place = 0;
    if (vec->kind == VEC_ABSENT) {
        return UINT32_MAX;
    }
    if (vec->present == NULL) {
        return row;
    }
    if ((vec->present[row / 64] >> (row % 64) & 1) == 0) {
        return UINT32_MAX;
    }
    for (uint32_t w = 0; w < row / 64; w++) {
        place += (uint32_t)__builtin_popcountll(vec->present[w]);
    }
    uint64_t below = row % 64 == 0 ? 0 : vec->present[row / 64] << (64 - row % 64);
    return place + (uint32_t)__builtin_popcountll(below);
}

static struct str text_at(const struct vec *vec, uint32_t row)
{
    uint32_t place = place_of(vec, row);
    return place == UINT32_MAX ? (struct str){0} : vec_str(vec, place);
}

static bool value_is(const struct vec *vec, uint32_t place, const struct live_prop *want)
{
    switch (want->prop.type) {
    case COL_STRING: return str_eq(vec_str(vec, place), want->prop.string);
    case COL_NUMBER: return num_cmp(vec_num(vec, place), want->prop.number) == 0;
    case COL_BOOL: return vec->kind == VEC_BOOL && vec->u8[place] == want->prop.boolean;
    case COL_TIME: return vec->kind == VEC_I64 && vec->i64[place] == want->prop.ts_ms;
    case COL_LIST: break;
    }
    if (vec->kind != VEC_LIST || vec->offs[place + 1] - vec->offs[place] != want->prop.list.count) {
        return false;
    }
    for (uint32_t i = 0; i < want->prop.list.count; i++) {
        uint32_t code = vec->u32[vec->offs[place] + i];
        if (code >= vec->dict->count || !str_eq(dict_value(vec->dict, code), want->items[i])) {
            return false;
        }
    }
    return true;
}

static enum err_code check_props(struct check *check, uint32_t k, uint32_t row, struct err *err)
{
    struct live_prop props[9];
    uint32_t count = props_of(k, props);
    uint32_t found = 0;
    for (uint32_t i = 0; i < schema_count(check->snapshot->schema); i++) {
        found += place_of(&check->props[i], row) != UINT32_MAX;
    }
    if (found != count) {
        return err_set(err, ERR_INVALID,
                       "event %" PRIu32 " has %" PRIu32 " properties, wanted %" PRIu32, k, found,
                       count);
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t prop =
            schema_find(check->snapshot->schema, str_of(props[i].name), props[i].prop.type);
        uint32_t place = prop == UINT32_MAX ? prop : place_of(&check->props[prop], row);
        if (place == UINT32_MAX || !value_is(&check->props[prop], place, &props[i])) {
            return err_set(err, ERR_INVALID, "event %" PRIu32 ": property \"%s\" is wrong", k,
                           props[i].name);
        }
    }
    return ERR_OK;
}

static enum err_code check_order(struct check *check, uint32_t k, uint32_t subject, int64_t time_ms,
                                 struct str id, struct err *err)
{
    bool is_after = !check->has_last || subject > check->last_subject ||
                    (subject == check->last_subject &&
                     (time_ms > check->last_time_ms ||
                      (time_ms == check->last_time_ms && str_cmp(id, check->last_id) > 0)));
    if (!is_after) {
        return err_set(err, ERR_INVALID, "event %" PRIu32 " is out of order", k);
    }
    check->has_last = true;
    check->last_subject = subject;
    check->last_time_ms = time_ms;
    return arena_str(check->ctx.arena, id, &check->last_id, err);
}

static enum err_code check_row(struct check *check, uint32_t row, struct err *err)
{
    struct str id = text_at(&check->builtin[COL_EVENT_ID], row);
    uint32_t subject = check->builtin[COL_SUBJECT].u32[row];
    int64_t time_ms = check->builtin[COL_EVENT_TIME].i64[row];
    uint32_t k = 0;
    char user[32];
    char anonymous[32];
    if (!live_number(id, &k) || k >= check->k_count) {
        return err_set(err, ERR_INVALID, "foreign event id \"" STR_FMT "\"", STR_ARG(id));
    }
    ERR_TRY(check_order(check, k, subject, time_ms, id, err));
    const roaring_bitmap_t *deleted = check->snapshot->deleted[check->source->shard];
    if ((deleted != NULL && roaring_bitmap_contains(deleted, subject)) ||
        time_ms < check->snapshot->expired_before_ms) {
        return ERR_OK;
    }
    check->seen[k]++;
    live_user(k, user, anonymous);
    if (time_ms != time_of(k) || check->builtin[COL_ARRIVAL].i64[row] < LIVE_ARRIVAL_MS ||
        !str_eq(text_at(&check->builtin[COL_EVENT_NAME], row), str_of(names[mix(k) % 5])) ||
        !str_eq(text_at(&check->builtin[COL_USER_ID], row), str_of(user)) ||
        !str_eq(text_at(&check->builtin[COL_ANONYMOUS_ID], row), str_of(anonymous))) {
        return err_set(err, ERR_INVALID, "event %" PRIu32 ": a built-in column is wrong", k);
    }
    uint32_t who = (uint32_t)(mix(k) >> 32) % USERS;
    uint32_t owner = (check->source->shard << 24 | subject) + 1;
    if (check->owner[who] != 0 && check->owner[who] != owner) {
        return err_set(err, ERR_INVALID, "event %" PRIu32 ": another subject", k);
    }
    check->owner[who] = owner;
    if (subject >= check->snapshot->subject_count[check->source->shard]) {
        return err_set(err, ERR_INVALID,
                       "event %" PRIu32 ": subject %" PRIu32 " is above the count", k, subject);
    }
    return check_props(check, k, row, err);
}

static enum err_code check_source(struct check *check, struct err *err)
{
    const struct source *source = check->source;
    check->has_last = false;
    for (uint32_t block = 0; block < source->block_count; block++) {
        for (uint32_t col = 0; col < COL_FIRST_PROP; col++) {
            ERR_TRY(source_read(source, &check->ctx, col, block, &check->builtin[col], err));
        }
        for (uint32_t i = 0; i < schema_count(check->snapshot->schema); i++) {
            ERR_TRY(
                source_read(source, &check->ctx, COL_FIRST_PROP + i, block, &check->props[i], err));
        }
        for (uint32_t row = 0; row < source_block_rows(source, block); row++) {
            ERR_TRY(check_row(check, row, err));
        }
    }
    return ERR_OK;
}

static enum err_code check_all(struct check *check, struct err *err)
{
    const struct snapshot *snapshot = check->snapshot;
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        for (uint32_t i = snapshot->shard_begin[shard]; i < snapshot->shard_begin[shard + 1]; i++) {
            check->source = snapshot->sources[i];
            if (check->source->shard != shard) {
                return err_set(err, ERR_INVALID, "source %" PRIu32 " is of another shard", i);
            }
            ERR_TRY(check_source(check, err));
        }
    }
    return ERR_OK;
}

enum err_code live_look(const struct snapshot *snapshot, uint8_t *seen, uint32_t k_count,
                        struct io *io, struct err *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    struct check check = {.snapshot = snapshot, .seen = seen, .k_count = k_count};
    check.ctx = (struct read_ctx){.arena = arena, .io = io};
    memset(seen, 0, k_count);
    ERR_TRY(ARENA_NEW(arena, USERS, &check.owner, err));
    ERR_TRY(ARENA_NEW(arena, (size_t)schema_count(snapshot->schema) + 1, &check.props, err));
    return check_all(&check, err);
}

enum err_code live_check(const struct snapshot *snapshot, const uint8_t *counts, uint32_t k_count,
                         struct io *io, struct err *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    uint8_t *seen = NULL;
    ERR_TRY(ARENA_NEW(arena, (size_t)k_count + 1, &seen, err));
    ERR_TRY(live_look(snapshot, seen, k_count, io, err));
    for (uint32_t k = 0; k < k_count; k++) {
        if (seen[k] != counts[k]) {
            return err_set(err, ERR_INVALID, "event %" PRIu32 " is there %u times, wanted %u", k,
                           seen[k], counts[k]);
        }
    }
    return ERR_OK;
}

enum err_code live_check_dataset(struct dataset *dataset, const uint8_t *counts, uint32_t k_count,
                                 struct io *io, struct err *err)
{
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    ERR_TRY(dataset_snapshot(dataset, &snapshot, err));
    return live_check(snapshot, counts, k_count, io, err);
}

/* ---- folders ---- */

void live_dir_make(char dir[64])
{
    snprintf(dir, 64, "/tmp/trackway-live-XXXXXX");
    if (mkdtemp(dir) == NULL) {
        abort();
    }
}

static int remove_one(const char *path, const struct stat *stat, int flag, struct FTW *ftw)
{
    (void)stat;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static int remove_below(const char *path, const struct stat *stat, int flag, struct FTW *ftw)
{
    return ftw->level == 0 ? 0 : remove_one(path, stat, flag, ftw);
}

void live_dir_clear(const char *dir)
{
    nftw(dir, remove_below, 16, FTW_DEPTH | FTW_PHYS);
}

void live_dir_remove(const char *dir)
{
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

enum err_code live_store_make(struct live_store *live, struct err *err)
{
    live_dir_make(live->dir);
    store_opts_default(&live->opts);
    live->opts.io_kind = IO_POSIX;
    live->opts.block_cache_bytes = 16u << 20;
    live->opts.compact_in_background = false;
    return io_create(IO_POSIX, &live->io, err);
}

enum err_code live_store_open(struct live_store *live, struct err *err)
{
    struct recovery_report report;
    ERR_TRY(store_open(live->dir, &live->opts, &live->store, &report, err));
    return store_dataset(live->store, STR("shop"), true, &live->dataset, err);
}

void live_store_end(struct live_store *live)
{
    store_abandon(live->store);
    io_free(live->io);
    live_dir_remove(live->dir);
}
