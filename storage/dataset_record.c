/* storage/dataset_record.c - the compact binary form of a batch in the log.
 *
 *    u8      version        1
 *    zigzag  arrival_ms
 *    varint  id_count       each: u8 kind, u8 shard, varint subject, blob key
 *    varint  col_count      each: varint number, u8 type, blob name
 *    varint  event_count    each:
 *              u8      flags        1 user_id, 2 anonymous_id, 4 event_id is a lower-case UUID
 *              16 bytes of the UUID, or blob event_id
 *              varint  name         number in this record's name table; the next free number is
 *                                   followed by blob name, which takes it
 *              zigzag  event_time - arrival
 *              u8      shard
 *              varint  subject
 *              blob    user_id      with flag 1
 *              blob    anonymous_id with flag 2
 *              varint  prop_count   each: varint column, then by its type
 *                        string blob | number u8 scale, zigzag m | bool u8 | timestamp zigzag
 *                        | list varint count, blobs
 *
 * varint is LEB128, zigzag its signed form, blob a varint length and bytes. The name table holds at
 * most NAMES_MAX names; a record with more repeats the later ones as number NAMES_MAX and a blob.
 */
#include "storage/dataset_record.h"

#include "storage/base/hash.h"
#include "storage/base/rd.h"
#include "storage/uuid.h"

#include <inttypes.h>

#define RECORD_VERSION 1
#define NAMES_MAX      1024u
#define NAME_SLOTS     2048u
#define VARINT_MAX     10u

enum { FLAG_USER = 1, FLAG_ANONYMOUS = 2, FLAG_UUID = 4, FLAGS_ALL = 7 };

/* ---- writing: straight into room that was reserved for the worst case ---- */

static uint8_t *put_varint(uint8_t *at, uint64_t v)
{
    while (v >= 0x80) {
        *at++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *at++ = (uint8_t)v;
    return at;
}

static uint8_t *put_zigzag(uint8_t *at, int64_t v)
{
    return put_varint(at, ((uint64_t)v << 1) ^ (uint64_t)(v >> 63));
}

static uint8_t *put_blob(uint8_t *at, struct str s)
{
    at = put_varint(at, s.len);
    if (s.len > 0) {
        memcpy(at, s.ptr, s.len);
    }
    return at + s.len;
}

struct name_table {
    uint32_t count;
    struct str names[NAMES_MAX];
    uint16_t slots[NAME_SLOTS]; /* number + 1 */
};

/* Number of a name; *ret_is_new where its bytes must follow. */
static uint32_t name_number(struct name_table *table, struct str name, bool *ret_is_new)
{
    uint32_t slot = (uint32_t)hash_str(name, 0) % NAME_SLOTS;
    for (; table->slots[slot] != 0; slot = (slot + 1) % NAME_SLOTS) {
        if (str_eq(table->names[table->slots[slot] - 1], name)) {
            *ret_is_new = false;
            return table->slots[slot] - 1u;
        }
    }
    *ret_is_new = true;
    if (table->count == NAMES_MAX) {
        return NAMES_MAX;
    }
    table->names[table->count] = name;
    table->slots[slot] = (uint16_t)(table->count + 1);
    return table->count++;
}

static size_t prop_bytes_max(const struct event_batch *batch, const struct prop *prop)
{
    size_t bytes = 2 * VARINT_MAX + 1;
    if (prop->type == COL_STRING) {
        bytes += prop->string.len;
    } else if (prop->type == COL_LIST) {
        for (uint32_t i = 0; i < prop->list.count; i++) {
            bytes += VARINT_MAX + batch->list_items[prop->list.first + i].len;
        }
    }
    return bytes;
}

static uint8_t *put_prop(uint8_t *at, const struct event_batch *batch, const struct prop *prop,
                         uint32_t col)
{
    at = put_varint(at, col);
    switch (prop->type) {
    case COL_STRING: return put_blob(at, prop->string);
    case COL_NUMBER: *at++ = prop->number.scale; return put_zigzag(at, prop->number.m);
    case COL_BOOL: *at++ = prop->boolean ? 1 : 0; return at;
    case COL_TIME: return put_zigzag(at, prop->ts_ms);
    case COL_LIST:
        at = put_varint(at, prop->list.count);
        for (uint32_t i = 0; i < prop->list.count; i++) {
            at = put_blob(at, batch->list_items[prop->list.first + i]);
        }
        return at;
    }
    return at;
}

static void encode_event(struct buf *out, const struct record_source *source, uint32_t idx,
                         struct name_table *names)
{
    const struct event_batch *batch = source->batch;
    const struct event *event = &batch->events[idx];
    size_t bytes = 2 + 8 * VARINT_MAX + UUID_PACKED_BYTES + event->event_id.len + event->name.len +
                   event->user_id.len + event->anonymous_id.len;
    for (uint32_t i = 0; i < event->prop_count; i++) {
        bytes += prop_bytes_max(batch, &batch->props[event->prop_first + i]);
    }
    uint8_t *begin = buf_reserve(out, bytes);
    if (begin == NULL) {
        return;
    }
    uint8_t *at = begin + 1;
    uint8_t flags = (uint8_t)((event->user_id.len > 0 ? FLAG_USER : 0) |
                              (event->anonymous_id.len > 0 ? FLAG_ANONYMOUS : 0));
    if (uuid_text_pack(event->event_id, at)) {
        flags |= FLAG_UUID;
        at += UUID_PACKED_BYTES;
    } else {
        at = put_blob(at, event->event_id);
    }
    *begin = flags;
    bool is_new = false;
    at = put_varint(at, name_number(names, event->name, &is_new));
    if (is_new) {
        at = put_blob(at, event->name);
    }
    at = put_zigzag(at, (int64_t)((uint64_t)event->time_ms - (uint64_t)batch->arrival_ms));
    *at++ = (uint8_t)source->places[idx].shard;
    at = put_varint(at, source->places[idx].subject);
    if (event->user_id.len > 0) {
        at = put_blob(at, event->user_id);
    }
    if (event->anonymous_id.len > 0) {
        at = put_blob(at, event->anonymous_id);
    }
    at = put_varint(at, event->prop_count);
    for (uint32_t i = 0; i < event->prop_count; i++) {
        uint32_t prop = event->prop_first + i;
        at = put_prop(at, batch, &batch->props[prop], source->prop_cols[prop]);
    }
    ASSERT((size_t)(at - begin) <= bytes);
    out->len += (size_t)(at - begin);
}

void record_encode(struct buf *out, const struct record_source *source)
{
    const struct event_batch *batch = source->batch;
    struct name_table names;
    names.count = 0;
    memset(names.slots, 0, sizeof(names.slots));
    buf_u8(out, RECORD_VERSION);
    buf_zigzag(out, batch->arrival_ms);
    struct id_cursor cursor = ids_cursor(source->ids, source->first_id);
    struct id_entry entry;
    buf_varint(out, cursor.end_idx - source->first_id);
    while (id_cursor_next(&cursor, &entry)) {
        buf_u8(out, (uint8_t)entry.kind);
        buf_u8(out, (uint8_t)entry.shard);
        buf_varint(out, entry.subject);
        buf_blob(out, entry.key);
    }
    uint32_t col_count = schema_count(source->schema);
    buf_varint(out, col_count - source->first_col);
    for (uint32_t i = source->first_col; i < col_count; i++) {
        const struct schema_col *col = schema_col(source->schema, i);
        buf_varint(out, i);
        buf_u8(out, (uint8_t)col->type);
        buf_blob(out, col->name);
    }
    uint32_t accepted = 0;
    for (uint32_t i = 0; i < batch->event_count; i++) {
        accepted += batch->events[i].status == RECEIPT_ACCEPTED;
    }
    buf_varint(out, accepted);
    for (uint32_t i = 0; i < batch->event_count; i++) {
        if (batch->events[i].status == RECEIPT_ACCEPTED) {
            encode_event(out, source, i, &names);
        }
    }
}

/* ---- reading ---- */

struct decoder {
    struct rd rd;
    struct schema *schema;
    struct arena *arena;
    int64_t arrival_ms;
    struct str *names;
    uint32_t name_count;
    struct buf props, cols, items; /* arrays that grow: struct prop, u32, struct str */
};

static enum err_code malformed(struct err *err, const char *what)
{
    return err_set(err, ERR_CORRUPT, "malformed record: %s", what);
}

static enum err_code decode_ids(struct rd *rd, struct ids *ids, struct err *err)
{
    uint64_t count = rd_varint(rd);
    for (uint64_t i = 0; i < count && !rd->is_bad; i++) {
        struct id_entry entry = {.kind = (enum id_kind)rd_u8(rd), .shard = rd_u8(rd)};
        uint64_t subject = rd_varint(rd);
        entry.key = rd_blob(rd);
        if (rd->is_bad || subject > UINT32_MAX) {
            break;
        }
        entry.subject = (uint32_t)subject;
        ERR_TRY(ids_restore(ids, &entry, err));
    }
    return rd->is_bad ? malformed(err, "ids") : ERR_OK;
}

static enum err_code decode_columns(struct rd *rd, struct schema *schema, struct err *err)
{
    uint64_t count = rd_varint(rd);
    for (uint64_t i = 0; i < count && !rd->is_bad; i++) {
        uint64_t number = rd_varint(rd);
        uint8_t type = rd_u8(rd);
        struct str name = rd_blob(rd);
        if (rd->is_bad || type < COL_STRING || type > COL_LIST || name.len == 0 ||
            name.len > PROP_NAME_BYTES_MAX) {
            return malformed(err, "columns");
        }
        uint32_t prop = 0;
        ERR_TRY(schema_add(schema, name, (enum col_type)type, &prop, err));
        if (prop != number) {
            return err_set(err, ERR_CORRUPT,
                           "column \"" STR_FMT "\" is number %" PRIu32 ", expected %" PRIu64,
                           STR_ARG(name), prop, number);
        }
    }
    return rd->is_bad ? malformed(err, "columns") : ERR_OK;
}

static enum err_code decode_list(struct decoder *decoder, struct prop *prop, struct err *err)
{
    uint64_t count = rd_varint(&decoder->rd);
    size_t first = decoder->items.len / sizeof(struct str);
    if (count > rd_left(&decoder->rd) || first + count > UINT32_MAX) {
        return malformed(err, "list");
    }
    prop->list.first = (uint32_t)first;
    prop->list.count = (uint32_t)count;
    for (uint64_t i = 0; i < count; i++) {
        struct str item = rd_blob(&decoder->rd);
        buf_append(&decoder->items, &item, sizeof(item));
    }
    return ERR_OK;
}

static enum err_code decode_prop(struct decoder *decoder, struct err *err)
{
    struct rd *rd = &decoder->rd;
    uint64_t col = rd_varint(rd);
    if (rd->is_bad || col >= schema_count(decoder->schema)) {
        return malformed(err, "property's column");
    }
    struct prop prop = {.type = schema_col(decoder->schema, (uint32_t)col)->type};
    switch (prop.type) {
    case COL_STRING: prop.string = rd_blob(rd); break;
    case COL_NUMBER:
        prop.number.scale = rd_u8(rd);
        prop.number.m = rd_zigzag(rd);
        if (prop.number.scale > NUM_SCALE_MAX && prop.number.scale != NUM_DOUBLE) {
            return malformed(err, "number");
        }
        break;
    case COL_BOOL: prop.boolean = rd_u8(rd) != 0; break;
    case COL_TIME: prop.ts_ms = rd_zigzag(rd); break;
    case COL_LIST: ERR_TRY(decode_list(decoder, &prop, err)); break;
    }
    uint32_t number = (uint32_t)col;
    buf_append(&decoder->props, &prop, sizeof(prop));
    buf_append(&decoder->cols, &number, sizeof(number));
    return ERR_OK;
}

static enum err_code decode_event_id(struct decoder *decoder, uint8_t flags, struct str *ret,
                                     struct err *err)
{
    if ((flags & FLAG_UUID) == 0) {
        *ret = rd_blob(&decoder->rd);
        return ERR_OK;
    }
    struct str packed = rd_bytes(&decoder->rd, UUID_PACKED_BYTES);
    char *text = NULL;
    ERR_TRY(ARENA_NEW(decoder->arena, UUID_TEXT_BYTES, &text, err));
    if (!decoder->rd.is_bad) {
        uuid_text_unpack((const uint8_t *)packed.ptr, text);
    }
    *ret = (struct str){text, UUID_TEXT_BYTES};
    return ERR_OK;
}

static enum err_code decode_name(struct decoder *decoder, struct str *ret, struct err *err)
{
    uint64_t number = rd_varint(&decoder->rd);
    if (number > decoder->name_count) {
        return malformed(err, "event name's number");
    }
    if (number < decoder->name_count && number < NAMES_MAX) {
        *ret = decoder->names[number];
        return ERR_OK;
    }
    *ret = rd_blob(&decoder->rd);
    if (decoder->name_count < NAMES_MAX) {
        decoder->names[decoder->name_count++] = *ret;
    }
    return ERR_OK;
}

static enum err_code decode_event(struct decoder *decoder, struct event *event,
                                  struct event_place *place, struct err *err)
{
    struct rd *rd = &decoder->rd;
    uint8_t flags = rd_u8(rd);
    ERR_TRY(decode_event_id(decoder, flags, &event->event_id, err));
    ERR_TRY(decode_name(decoder, &event->name, err));
    event->time_ms = (int64_t)((uint64_t)rd_zigzag(rd) + (uint64_t)decoder->arrival_ms);
    place->shard = rd_u8(rd);
    uint64_t subject = rd_varint(rd);
    if ((flags & FLAG_USER) != 0) {
        event->user_id = rd_blob(rd);
    }
    if ((flags & FLAG_ANONYMOUS) != 0) {
        event->anonymous_id = rd_blob(rd);
    }
    uint64_t prop_count = rd_varint(rd);
    if (rd->is_bad || flags > FLAGS_ALL || place->shard >= SHARD_COUNT || subject > UINT32_MAX ||
        event->event_id.len == 0 || event->event_id.len > EVENT_ID_BYTES_MAX ||
        event->user_id.len > USER_ID_BYTES_MAX || event->anonymous_id.len > USER_ID_BYTES_MAX ||
        prop_count > PROPS_PER_EVENT_MAX) {
        return malformed(err, "event");
    }
    place->subject = (uint32_t)subject;
    event->prop_first = (uint32_t)(decoder->cols.len / sizeof(uint32_t));
    event->prop_count = (uint32_t)prop_count;
    event->status = RECEIPT_ACCEPTED;
    for (uint64_t i = 0; i < prop_count; i++) {
        ERR_TRY(decode_prop(decoder, err));
    }
    return rd->is_bad ? malformed(err, "properties") : ERR_OK;
}

/* Move a grown array into the arena; *ret may stay NULL where it is empty. */
static enum err_code keep(struct arena *arena, const struct buf *from, void *ret_array,
                          struct err *err)
{
    void *copy = NULL;
    ERR_TRY(buf_check(from, err));
    ERR_TRY(arena_alloc(arena, from->len, &copy, err));
    if (from->len > 0) {
        memcpy(copy, from->ptr, from->len);
    }
    memcpy(ret_array, &copy, sizeof(copy));
    return ERR_OK;
}

static enum err_code decode_events(struct decoder *decoder, struct record_events *out,
                                   struct err *err)
{
    uint64_t count = rd_varint(&decoder->rd);
    if (decoder->rd.is_bad || count > rd_left(&decoder->rd)) {
        return malformed(err, "event count");
    }
    ERR_TRY(ARENA_NEW(decoder->arena, NAMES_MAX, &decoder->names, err));
    ERR_TRY(ARENA_NEW(decoder->arena, count, &out->batch.events, err));
    ERR_TRY(ARENA_NEW(decoder->arena, count, &out->places, err));
    for (uint64_t i = 0; i < count; i++) {
        if (decode_event(decoder, &out->batch.events[i], &out->places[i], err) != ERR_OK) {
            return err_context(err, "event %" PRIu64, i);
        }
    }
    if (!rd_at_end(&decoder->rd)) {
        return malformed(err, "bytes after the last event");
    }
    out->batch.event_count = (uint32_t)count;
    out->batch.prop_count = (uint32_t)(decoder->cols.len / sizeof(uint32_t));
    out->batch.list_item_count = (uint32_t)(decoder->items.len / sizeof(struct str));
    ERR_TRY(keep(decoder->arena, &decoder->props, &out->batch.props, err));
    ERR_TRY(keep(decoder->arena, &decoder->cols, &out->prop_cols, err));
    return keep(decoder->arena, &decoder->items, &out->batch.list_items, err);
}

enum err_code record_decode(struct str payload, struct ids *ids, struct schema *schema,
                            struct arena *arena, struct record_events *ret, struct err *err)
{
    struct decoder decoder = {.rd = rd_init(payload), .schema = schema, .arena = arena};
    uint8_t version = rd_u8(&decoder.rd);
    if (decoder.rd.is_bad || version != RECORD_VERSION) {
        return err_set_newer(err, version, RECORD_VERSION);
    }
    decoder.arrival_ms = rd_zigzag(&decoder.rd);
    ERR_TRY(decode_ids(&decoder.rd, ids, err));
    ERR_TRY(decode_columns(&decoder.rd, schema, err));
    struct record_events events = {.batch.arena = arena, .batch.arrival_ms = decoder.arrival_ms};
    enum err_code code = decode_events(&decoder, &events, err);
    buf_done(&decoder.props);
    buf_done(&decoder.cols);
    buf_done(&decoder.items);
    ERR_TRY(code);
    *ret = events;
    return ERR_OK;
}
