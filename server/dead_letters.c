/* server/dead_letters.c - see dead_letters.h.
 *
 * The only thing here that grows beside the letters' arena is the line in hand. References of protobuf can
 * make it much larger than the body was, so it is charged to the budget before it grows.
 */
#include "server/dead_letters.h"

#include "query/civil.h"
#include "storage/base/hash.h"
#include "storage/base/json_text.h"
#include "storage/base/size.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define DEAD_SUFFIX        ".dead"
#define LONG_NAME_KEPT     42 /* bytes of a name that is too long for the suffix */
#define JSON_EXPANSION_MAX 6u /* a byte as \u0001 */
#define VALUE_BYTES_SPARE  64u
#define LETTER_BYTES       256u /* of a letter beside its line, about */

static const char *const LETTER_NAMES[] = {"reason", "original_event_id", "original_event_name",
                                           "original_event_time", "event_json"};
enum letter_prop {
    LETTER_REASON,
    LETTER_ID,
    LETTER_NAME,
    LETTER_TIME,
    LETTER_JSON,
    LETTER_PROP_COUNT,
};
_Static_assert(COUNT_OF(LETTER_NAMES) == LETTER_PROP_COUNT, "a name for each");

struct letter_writer {
    const struct event_batch *from;
    struct batch_builder builder;
    uint32_t names[LETTER_PROP_COUNT];
    struct budget *budget;
    size_t charged_bytes; /* to the budget, for `line` */
    struct buf line;      /* event_json of the event in hand */
    struct buf hashes;    /* what it says: struct said of its id and name, then of each property */
    struct buf items;     /* struct hash128 of a list's items */
};

static void letter_writer_done(struct letter_writer *writer)
{
    event_batch_free(TAKE(writer->builder.batch));
    buf_done(&writer->line);
    buf_done(&writer->hashes);
    buf_done(&writer->items);
    budget_give(writer->budget, writer->charged_bytes);
    writer->charged_bytes = 0;
}

bool dead_letters_dataset(struct str dataset, char out[DATASET_NAME_BYTES_MAX + 1])
{
    size_t suffix_bytes = sizeof(DEAD_SUFFIX) - 1;
    out[0] = '\0';
    if (str_ends(dataset, STR(DEAD_SUFFIX))) {
        return false;
    }
    ASSERT(dataset.len <= DATASET_NAME_BYTES_MAX);
    if (dataset.len + suffix_bytes <= DATASET_NAME_BYTES_MAX) {
        snprintf(out, DATASET_NAME_BYTES_MAX + 1, "%.*s" DEAD_SUFFIX, (int)dataset.len,
                 dataset.ptr);
    } else { /* a seed of 0: the same name at every start */
        snprintf(out, DATASET_NAME_BYTES_MAX + 1, "%.*s-%016" PRIx64 DEAD_SUFFIX, LONG_NAME_KEPT,
                 dataset.ptr, hash_str(dataset, 0));
    }
    return true;
}

/* ---- what an event says, as a hash ---- */

struct said {
    struct hash128 name, value;
};

static struct hash128 hash_of(struct str s, uint64_t seed)
{
    return hash128(s.ptr, s.len, seed);
}

/* The type is the seed: the text "1" and the number 1 are different values. */
static struct hash128 hash_value(struct letter_writer *writer, const struct prop *prop)
{
    uint8_t bytes[9];
    uint64_t type = (uint64_t)prop->type;
    switch (prop->type) {
    case COL_STRING: return hash_of(prop->string, type);
    case COL_NUMBER: /* equal numbers have one form (num.h) */
        wr_u64(bytes, (uint64_t)prop->number.m);
        bytes[8] = prop->number.scale;
        return hash128(bytes, 9, type);
    case COL_BOOL: bytes[0] = prop->boolean; return hash128(bytes, 1, type);
    case COL_TIME: wr_u64(bytes, (uint64_t)prop->ts_ms); return hash128(bytes, 8, type);
    case COL_LIST:
        buf_clear(&writer->items);
        for (uint32_t i = 0; i < prop->list.count; i++) {
            struct hash128 item = hash_of(writer->from->list_items[prop->list.first + i], type);
            buf_u64(&writer->items, item.lo);
            buf_u64(&writer->items, item.hi);
        }
        return hash_of(buf_as_str(&writer->items), type);
    }
    ASSERT(!"unknown type");
}

static int said_cmp(const void *a, const void *b)
{
    const struct hash128 *x = &((const struct said *)a)->name;
    const struct hash128 *y = &((const struct said *)b)->name;
    if (x->hi != y->hi) {
        return x->hi < y->hi ? -1 : 1;
    }
    return (x->lo > y->lo) - (x->lo < y->lo);
}

/* The letter's id. Properties have no order. The seed is 0, as the id must be the same after a restart: who
 * prepares two events with one hash has one letter for them, and nobody else is concerned. */
static enum err_code letter_id(struct letter_writer *writer, const struct event *event,
                               struct str *ret, struct err *err)
{
    const struct event_batch *from = writer->from;
    struct said whole = {hash_of(event->event_id, 0), hash_of(event->name, 0)};
    buf_clear(&writer->hashes);
    buf_append(&writer->hashes, &whole, sizeof(whole));
    for (uint32_t i = 0; i < event->prop_count; i++) {
        const struct prop *prop = &from->props[event->prop_first + i];
        struct said said = {hash_of(from->names[prop->name_idx], 0), hash_value(writer, prop)};
        buf_append(&writer->hashes, &said, sizeof(said));
    }
    ERR_TRY(buf_check(&writer->items, err));
    ERR_TRY(buf_check(&writer->hashes, err));
    qsort(writer->hashes.ptr + sizeof(whole), event->prop_count, sizeof(struct said), said_cmp);
    struct hash128 hash = hash_of(buf_as_str(&writer->hashes), 0);
    return arena_printf(writer->builder.batch->arena, ret, err,
                        "conflict:%016" PRIx64 "%016" PRIx64, hash.hi, hash.lo);
}

/* ---- the event as a line ---- */

/* Before texts of so many bytes go into the line. */
static enum err_code line_charge(struct letter_writer *writer, size_t text_bytes, struct err *err)
{
    size_t need = 0;
    if (!size_mul(text_bytes, JSON_EXPANSION_MAX, &need) ||
        !size_add(need, writer->line.len + VALUE_BYTES_SPARE, &need)) {
        return err_set(err, ERR_LIMIT, "an event of more than %zu bytes", text_bytes);
    }
    if (need > writer->charged_bytes) {
        ERR_TRY(budget_take(writer->budget, need - writer->charged_bytes, err));
        writer->charged_bytes = need;
    }
    return ERR_OK;
}

static enum err_code put_key(struct letter_writer *writer, struct str key, struct err *err)
{
    struct buf *line = &writer->line;
    ERR_TRY(line_charge(writer, key.len, err));
    if (line->len > 0 && line->ptr[line->len - 1] != '{') {
        buf_u8(line, ',');
    }
    json_text(key, line);
    buf_u8(line, ':');
    return ERR_OK;
}

static enum err_code put_text(struct letter_writer *writer, struct str text, struct err *err)
{
    ERR_TRY(line_charge(writer, text.len, err));
    json_text(text, &writer->line);
    return ERR_OK;
}

static void put_time(struct letter_writer *writer, int64_t ts_ms)
{
    char text[CIVIL_TEXT_BYTES];
    buf_u8(&writer->line, '"');
    if (ts_ms < CIVIL_TS_MIN || ts_ms > CIVIL_TS_MAX) {
        buf_printf(&writer->line, "%" PRId64, ts_ms);
    } else {
        buf_str(&writer->line, civil_format_instant(zone_utc(), ts_ms, text));
    }
    buf_u8(&writer->line, '"');
}

static enum err_code put_list(struct letter_writer *writer, const struct prop *prop,
                              struct err *err)
{
    buf_u8(&writer->line, '[');
    for (uint32_t i = 0; i < prop->list.count; i++) {
        if (i > 0) {
            buf_u8(&writer->line, ',');
        }
        ERR_TRY(put_text(writer, writer->from->list_items[prop->list.first + i], err));
    }
    buf_u8(&writer->line, ']');
    return ERR_OK;
}

static enum err_code put_prop(struct letter_writer *writer, const struct prop *prop,
                              struct err *err)
{
    ERR_TRY(put_key(writer, writer->from->names[prop->name_idx], err));
    ERR_TRY(line_charge(writer, 0, err));
    switch (prop->type) {
    case COL_STRING: return put_text(writer, prop->string, err);
    case COL_NUMBER: num_format(prop->number, &writer->line); return ERR_OK;
    case COL_BOOL: buf_z(&writer->line, prop->boolean ? "true" : "false"); return ERR_OK;
    case COL_TIME: put_time(writer, prop->ts_ms); return ERR_OK;
    case COL_LIST: return put_list(writer, prop, err);
    }
    ASSERT(!"unknown type");
}

/* All properties stand under "properties", with the names they have: none of them is a name that the
 * language has taken, for the parser has renamed those. The time is text, because small numbers are
 * taken for seconds. */
static enum err_code put_line(struct letter_writer *writer, const struct event *event,
                              struct err *err)
{
    struct buf *line = &writer->line;
    buf_clear(line);
    buf_u8(line, '{');
    ERR_TRY(put_key(writer, STR("event_id"), err));
    ERR_TRY(put_text(writer, event->event_id, err));
    ERR_TRY(put_key(writer, STR("event_time"), err));
    put_time(writer, event->time_ms);
    ERR_TRY(put_key(writer, STR("event_name"), err));
    ERR_TRY(put_text(writer, event->name, err));
    if (event->user_id.len > 0) {
        ERR_TRY(put_key(writer, STR("user_id"), err));
        ERR_TRY(put_text(writer, event->user_id, err));
    }
    if (event->anonymous_id.len > 0) {
        ERR_TRY(put_key(writer, STR("anonymous_id"), err));
        ERR_TRY(put_text(writer, event->anonymous_id, err));
    }
    ERR_TRY(put_key(writer, STR("properties"), err));
    buf_u8(line, '{');
    for (uint32_t i = 0; i < event->prop_count; i++) {
        ERR_TRY(put_prop(writer, &writer->from->props[event->prop_first + i], err));
    }
    buf_z(line, "}}");
    return buf_check(line, err);
}

/* ---- letters ---- */

static enum err_code add_text(struct letter_writer *writer, enum letter_prop which, struct str text,
                              struct err *err)
{
    struct prop prop = {.name_idx = writer->names[which], .type = COL_STRING, .string = text};
    return batch_prop(&writer->builder, &prop, err);
}

static enum err_code add_letter(struct letter_writer *writer, const struct event *event,
                                struct err *err)
{
    struct event *letter = NULL;
    struct str json;
    ERR_TRY(batch_event(&writer->builder, &letter, err));
    struct event_batch *letters = writer->builder.batch;
    letter->name = STR("conflict");
    letter->user_id = event->user_id;
    letter->anonymous_id = event->anonymous_id;
    letter->time_ms = letters->arrival_ms;
    letter->line = event->line;
    ERR_TRY(letter_id(writer, event, &letter->event_id, err));
    ERR_TRY(add_text(writer, LETTER_REASON, event->reason, err));
    ERR_TRY(add_text(writer, LETTER_ID, event->event_id, err));
    ERR_TRY(add_text(writer, LETTER_NAME, event->name, err));
    struct prop time = {
        .name_idx = writer->names[LETTER_TIME], .type = COL_TIME, .ts_ms = event->time_ms};
    ERR_TRY(batch_prop(&writer->builder, &time, err));
    ERR_TRY(put_line(writer, event, err));
    ERR_TRY(arena_str(letters->arena, buf_as_str(&writer->line), &json, err));
    letters->bytes += json.len + LETTER_BYTES;
    return add_text(writer, LETTER_JSON, json, err);
}

enum err_code dead_letters_build(const struct event_batch *batch, struct budget *budget,
                                 struct event_batch **ret, struct err *err)
{
    CLEANUP(letter_writer_done)
    struct letter_writer writer = {.from = batch, .budget = budget};
    ERR_TRY(batch_begin(budget, batch->arrival_ms, &writer.builder, err));
    for (uint32_t i = 0; i < LETTER_PROP_COUNT; i++) {
        ERR_TRY(batch_name(&writer.builder, str_of(LETTER_NAMES[i]), &writer.names[i], err));
    }
    for (uint32_t i = 0; i < batch->event_count; i++) {
        if (batch->events[i].status == RECEIPT_CONFLICT) {
            ERR_TRY(add_letter(&writer, &batch->events[i], err));
        }
    }
    ASSERT(writer.builder.batch->event_count > 0);
    *ret = TAKE(writer.builder.batch);
    return ERR_OK;
}

enum err_code dead_letters_check(const struct event_batch *letters, struct err *err)
{
    for (uint32_t i = 0; i < letters->event_count; i++) {
        const struct event *letter = &letters->events[i];
        ASSERT(letter->status != RECEIPT_PENDING);
        if (letter->status == RECEIPT_REJECTED) {
            return err_set(err, ERR_LIMIT, "the letter of line %u was refused: " STR_FMT,
                           letter->line, STR_ARG(letter->reason));
        }
    }
    return ERR_OK;
}
