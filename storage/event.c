/* storage/event.c - building a batch of events inside one arena, and judging each event.
 *
 * Arrays grow by doubling inside the arena; what they leave behind goes with the batch. Property
 * names are interned through an open-addressing table of positions in batch->names.
 */
#include "storage/event.h"

#include "storage/base/hash.h"
#include "storage/base/size.h"

#include <inttypes.h>

#define EVENT_FUTURE_MS_MAX (10 * 60 * 1000ULL)
#define EVENT_TIME_MS_MIN   (-2208988800000LL) /* 1900-01-01T00:00:00Z */
#define FIRST_EVENTS        64u
#define FIRST_PROPS         256u
#define FIRST_NAMES         64u
#define FIRST_LIST_ITEMS    64u
#define PROPS_SPARE         64u
#define EXPECT_EVENTS_MAX   (1u << 20)
#define FIRST_NAME_SLOTS    256u
#define NAME_SLOT_EMPTY     UINT32_MAX

const char *col_type_name(enum col_type type)
{
    switch (type) {
    case COL_STRING: return "string";
    case COL_NUMBER: return "number";
    case COL_BOOL: return "bool";
    case COL_TIME: return "timestamp";
    case COL_LIST: return "list";
    }
    return "unknown";
}

/* Move an array of `count` elements into room for `cap`. */
static enum err_code array_move(struct arena *arena, void **array, uint32_t *cap, uint32_t count,
                                size_t size, uint32_t new_cap, struct err *err)
{
    void *moved = NULL;
    size_t bytes = 0;
    if (!size_mul(new_cap, size, &bytes)) {
        return err_set(err, ERR_LIMIT, "batch has more than %" PRIu32 " elements", *cap);
    }
    /* Not zeroed: an element is written whole before it is counted. */
    ERR_TRY(arena_alloc_raw(arena, bytes, &moved, err));
    if (count > 0) {
        memcpy(moved, *array, count * size);
    }
    *array = moved;
    *cap = new_cap;
    return ERR_OK;
}

/* Room for one more element: *array has *cap elements of `size` bytes, `count` of them in use. */
static enum err_code array_grow(struct arena *arena, void **array, uint32_t *cap, uint32_t count,
                                size_t size, uint32_t first, struct err *err)
{
    if (count < *cap) {
        return ERR_OK;
    }
    if (*cap > UINT32_MAX / 2) {
        return err_set(err, ERR_LIMIT, "batch has more than %" PRIu32 " elements", *cap);
    }
    uint32_t more = *cap == 0 ? first : *cap * 2;
    return array_move(arena, array, cap, count, size, more, err);
}

enum err_code batch_begin(struct budget *budget, int64_t arrival_ms, struct batch_builder *ret,
                          struct err *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_create(budget);
    struct batch_builder builder = {0};
    ERR_TRY(ARENA_NEW(arena, 1, &builder.batch, err));
    ERR_TRY(ARENA_NEW(arena, FIRST_NAME_SLOTS, &builder.name_table, err));
    memset(builder.name_table, 0xff, FIRST_NAME_SLOTS * sizeof(uint32_t));
    builder.name_table_size = FIRST_NAME_SLOTS;
    builder.batch->arrival_ms = arrival_ms;
    builder.batch->arena = TAKE(arena);
    *ret = builder;
    return ERR_OK;
}

static void name_insert(uint32_t *table, uint32_t size, struct str name, uint32_t idx)
{
    uint32_t slot = (uint32_t)hash_str(name, 0) & (size - 1);
    while (table[slot] != NAME_SLOT_EMPTY) {
        slot = (slot + 1) & (size - 1);
    }
    table[slot] = idx;
}

static enum err_code name_table_grow(struct batch_builder *builder, struct err *err)
{
    struct event_batch *batch = builder->batch;
    if (batch->name_count < builder->name_table_size / 2) {
        return ERR_OK;
    }
    uint32_t size = builder->name_table_size * 2;
    uint32_t *table = NULL;
    ERR_TRY(ARENA_NEW(batch->arena, size, &table, err));
    memset(table, 0xff, size * sizeof(uint32_t));
    for (uint32_t i = 0; i < batch->name_count; i++) {
        name_insert(table, size, batch->names[i], i);
    }
    builder->name_table = table;
    builder->name_table_size = size;
    return ERR_OK;
}

static bool name_is_good(struct str name, size_t bytes_max)
{
    return name.len > 0 && name.len <= bytes_max && memchr(name.ptr, '\0', name.len) == NULL;
}

enum err_code batch_name(struct batch_builder *builder, struct str name, uint32_t *ret_idx,
                         struct err *err)
{
    struct event_batch *batch = builder->batch;
    uint32_t mask = builder->name_table_size - 1;
    for (uint32_t slot = (uint32_t)hash_str(name, 0) & mask;
         builder->name_table[slot] != NAME_SLOT_EMPTY; slot = (slot + 1) & mask) {
        uint32_t idx = builder->name_table[slot];
        if (str_eq(batch->names[idx], name)) {
            *ret_idx = idx;
            return ERR_OK;
        }
    }
    struct str copy;
    ERR_TRY(name_table_grow(builder, err));
    ERR_TRY(array_grow(batch->arena, (void **)&batch->names, &builder->name_cap, batch->name_count,
                       sizeof(*batch->names), FIRST_NAMES, err));
    ERR_TRY(array_grow(batch->arena, (void **)&builder->name_prop, &builder->name_prop_cap,
                       batch->name_count, sizeof(*builder->name_prop), FIRST_NAMES, err));
    ERR_TRY(arena_str(batch->arena, name, &copy, err));
    if (!name_is_good(copy, PROP_NAME_BYTES_MAX)) {
        builder->bad_name_count++;
    }
    uint32_t idx = batch->name_count++;
    batch->names[idx] = copy;
    builder->name_prop[idx] = 0;
    name_insert(builder->name_table, builder->name_table_size, copy, idx);
    *ret_idx = idx;
    return ERR_OK;
}

enum err_code batch_event(struct batch_builder *builder, struct event **ret, struct err *err)
{
    struct event_batch *batch = builder->batch;
    ERR_TRY(array_grow(batch->arena, (void **)&batch->events, &builder->event_cap,
                       batch->event_count, sizeof(*batch->events), FIRST_EVENTS, err));
    struct event *event = &batch->events[batch->event_count++];
    *event = (struct event){.prop_first = batch->prop_count};
    *ret = event;
    return ERR_OK;
}

enum err_code batch_expect(struct batch_builder *builder, uint64_t event_count, struct err *err)
{
    struct event_batch *batch = builder->batch;
    if (builder->is_expected || batch->event_count == 0) {
        return ERR_OK;
    }
    builder->is_expected = true;
    /* A sixteenth more than it looks like; what this is short of grows as ever. */
    event_count += event_count / 16;
    uint64_t prop_count = event_count * batch->prop_count / batch->event_count + PROPS_SPARE;
    if (event_count > builder->event_cap && event_count <= EXPECT_EVENTS_MAX) {
        ERR_TRY(array_move(batch->arena, (void **)&batch->events, &builder->event_cap,
                           batch->event_count, sizeof(*batch->events), (uint32_t)event_count, err));
    }
    if (event_count <= EXPECT_EVENTS_MAX && prop_count > builder->prop_cap &&
        prop_count <= UINT32_MAX / 2) {
        ERR_TRY(array_move(batch->arena, (void **)&batch->props, &builder->prop_cap,
                           batch->prop_count, sizeof(*batch->props), (uint32_t)prop_count, err));
    }
    return ERR_OK;
}

static void reject(struct event *event, struct str reason)
{
    event->status = RECEIPT_REJECTED;
    event->reason = reason;
}

enum err_code batch_prop(struct batch_builder *builder, const struct prop *prop, struct err *err)
{
    struct event_batch *batch = builder->batch;
    ASSERT(batch->event_count > 0);
    ASSERT(prop->name_idx < batch->name_count);
    struct event *event = &batch->events[batch->event_count - 1];
    uint32_t *last = &builder->name_prop[prop->name_idx];
    if (*last > event->prop_first) { /* it has one of this name already: the last one wins */
        batch->props[*last - 1] = *prop;
        return ERR_OK;
    }
    if (event->prop_count == PROPS_PER_EVENT_MAX) {
        if (event->status != RECEIPT_REJECTED) {
            reject(event, STR("more than 2000 properties"));
        }
        return ERR_OK;
    }
    ERR_TRY(array_grow(batch->arena, (void **)&batch->props, &builder->prop_cap, batch->prop_count,
                       sizeof(*batch->props), FIRST_PROPS, err));
    batch->props[batch->prop_count++] = *prop;
    *last = batch->prop_count;
    event->prop_count++;
    return ERR_OK;
}

enum err_code batch_list_item(struct batch_builder *builder, struct str item, uint32_t *ret_idx,
                              struct err *err)
{
    struct event_batch *batch = builder->batch;
    ERR_TRY(array_grow(batch->arena, (void **)&batch->list_items, &builder->list_cap,
                       batch->list_item_count, sizeof(*batch->list_items), FIRST_LIST_ITEMS, err));
    batch->list_items[batch->list_item_count] = item;
    *ret_idx = batch->list_item_count++;
    return ERR_OK;
}

/* A reason with a value in it; without memory for the text the bare one must do. */
#define REJECT(arena, event, bare, ...)                                                            \
    do {                                                                                           \
        struct err reject_err_;                                                                    \
        struct str reject_text_;                                                                   \
        if (arena_printf((arena), &reject_text_, &reject_err_, __VA_ARGS__) != ERR_OK) {           \
            reject_text_ = STR(bare);                                                              \
        }                                                                                          \
        reject((event), reject_text_);                                                             \
    } while (0)

static bool check_len(struct arena *arena, struct event *event, const char *what, struct str s,
                      size_t bytes_max)
{
    if (s.len <= bytes_max) {
        return true;
    }
    REJECT(arena, event, "a field is too long", "%s has %zu bytes, at most %zu", what, s.len,
           bytes_max);
    return false;
}

static void check_prop_names(struct batch_builder *builder, struct event *event)
{
    struct event_batch *batch = builder->batch;
    for (uint32_t i = 0; i < event->prop_count; i++) {
        struct str name = batch->names[batch->props[event->prop_first + i].name_idx];
        if (name.len == 0) {
            reject(event, STR("property name is empty"));
            return;
        }
        if (!check_len(batch->arena, event, "property name", name, PROP_NAME_BYTES_MAX)) {
            return;
        }
        if (memchr(name.ptr, '\0', name.len) != NULL) {
            reject(event, STR("property name contains a zero byte"));
            return;
        }
    }
}

void batch_check_event(struct batch_builder *builder, int64_t now_ms)
{
    struct event_batch *batch = builder->batch;
    ASSERT(batch->event_count > 0);
    struct arena *arena = batch->arena;
    struct event *event = &batch->events[batch->event_count - 1];
    if (event->status == RECEIPT_REJECTED) {
        return;
    }
    if (event->name.len == 0) {
        reject(event, STR("needs event_name"));
        return;
    }
    if (!check_len(arena, event, "event_name", event->name, EVENT_NAME_BYTES_MAX) ||
        !check_len(arena, event, "event_id", event->event_id, EVENT_ID_BYTES_MAX) ||
        !check_len(arena, event, "user_id", event->user_id, USER_ID_BYTES_MAX) ||
        !check_len(arena, event, "anonymous_id", event->anonymous_id, USER_ID_BYTES_MAX)) {
        return;
    }
    if (memchr(event->name.ptr, '\0', event->name.len) != NULL) {
        reject(event, STR("event_name contains a zero byte"));
        return;
    }
    if (event_id_is_sentinel(event->user_id)) {
        event->user_id = (struct str){0};
    }
    if (event_id_is_sentinel(event->anonymous_id)) {
        event->anonymous_id = (struct str){0};
    }
    if (event->user_id.len == 0 && event->anonymous_id.len == 0) {
        reject(event, STR("needs user_id or anonymous_id"));
        return;
    }
    if (event->time_ms < EVENT_TIME_MS_MIN) {
        REJECT(arena, event, "event_time lies before the year 1900",
               "event_time %" PRId64 " ms lies before the year 1900", event->time_ms);
        return;
    }
    uint64_t ahead_ms = (uint64_t)event->time_ms - (uint64_t)now_ms; /* where it is later */
    if (event->time_ms > now_ms && ahead_ms > EVENT_FUTURE_MS_MAX) {
        REJECT(arena, event, "event_time lies in the future",
               "event_time %" PRId64 " ms lies %" PRIu64 " s in the future, at most 600",
               event->time_ms, ahead_ms / 1000);
        return;
    }
    if (builder->bad_name_count > 0) {
        check_prop_names(builder, event);
    }
}

void event_batch_free(struct event_batch *batch)
{
    if (batch != NULL) {
        arena_free(batch->arena);
    }
}

const struct str event_sentinels[EVENT_SENTINELS] = {
    {"", 0},
    {"null", 4},
    {"undefined", 9},
    {"00000000-0000-0000-0000-000000000000", 36},
};

bool event_id_is_sentinel(struct str id)
{
    for (uint32_t i = 0; i < EVENT_SENTINELS; i++) {
        if (str_eq(id, event_sentinels[i])) {
            return true;
        }
    }
    return false;
}
