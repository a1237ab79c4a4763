/* server/ingest_value.c - JSON values as event properties: flattening, names that clash, ids,
 * times. */
#include "server/ingest_int.h"

#include "storage/base/iso8601.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Names that the language has as built-in columns: a property cannot take them. */
static const char *const TAKEN_NAMES[] = {"event_id", "event_name",   "event_time",
                                          "user_id",  "anonymous_id", "received_at"};

void ingest_reader_done(struct ingest_reader *reader)
{
    event_batch_free(TAKE(reader->builder.batch));
    free(TAKE(reader->top_of));
    free(TAKE(reader->keys));
}

enum err_code ingest_copy_body(struct ingest_reader *reader, struct str body, struct str *ret,
                               struct err *err)
{
    void *copy = NULL;
    ERR_TRY(
        arena_alloc_raw(reader->builder.batch->arena, body.len + JSON_PADDING_BYTES, &copy, err));
    memcpy(copy, body.ptr, body.len);
    memset((char *)copy + body.len, ' ', JSON_PADDING_BYTES);
    *ret = (struct str){copy, body.len};
    return ERR_OK;
}

enum err_code ingest_keep(struct ingest_reader *reader, struct str text, bool is_in_body,
                          struct str *ret, struct err *err)
{
    if (is_in_body) {
        *ret = text;
        return ERR_OK;
    }
    return arena_str(reader->builder.batch->arena, text, ret, err);
}

enum err_code ingest_reject(struct ingest_reader *reader, struct event *event, struct err *err,
                            const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    event->status = RECEIPT_REJECTED;
    return arena_str(reader->builder.batch->arena, str_of(text), &event->reason, err);
}

bool ingest_id_text(const struct json_token *token, struct str *ret)
{
    switch (token->kind) {
    case JSON_STRING: *ret = token->text; return true;
    case JSON_NULL: *ret = (struct str){"", 0}; return true;
    case JSON_NUMBER: /* 42 is the id "42"; 4.2e1 is no id */
        for (size_t i = 0; i < token->text.len; i++) {
            char c = token->text.ptr[i];
            if ((c < '0' || c > '9') && !(c == '-' && i == 0)) {
                return false;
            }
        }
        *ret = token->text;
        return true;
    default: return false;
    }
}

bool ingest_time(const struct json_token *token, int64_t now_ms, int64_t *ret_ms)
{
    if (token->kind == JSON_NULL) {
        *ret_ms = now_ms;
        return true;
    }
    if (token->kind == JSON_STRING) {
        return iso8601_parse(token->text, ret_ms);
    }
    struct num n;
    if (token->kind != JSON_NUMBER || !num_parse(token->text, &n)) {
        return false;
    }
    double v = num_to_double(n);
    if (fabs(v) < 1e11) {
        v *= 1000; /* seconds */
    } else if (n.scale == 0) {
        *ret_ms = n.m;
        return true;
    }
    if (fabs(v) > 9e15) {
        return false;
    }
    *ret_ms = llround(v);
    return true;
}

/* ---- values ---- */

/* Compact JSON of the value at `idx`, for what has no column type of its own. */
static void write_json(const struct ingest_reader *reader, uint32_t begin, uint32_t end,
                       struct buf *out)
{
    bool needs_comma = false;
    for (uint32_t i = begin; i < end; i++) {
        const struct json_token *token = &reader->tokens[i];
        bool is_end = token->kind == JSON_OBJECT_END || token->kind == JSON_ARRAY_END;
        if (needs_comma && !is_end) {
            buf_u8(out, ',');
        }
        needs_comma = true;
        struct str strings[2] = {token->key, token->text};
        for (int part = token->has_key ? 0 : 1; part < 2; part++) {
            if (part == 1 && token->kind != JSON_STRING) {
                break;
            }
            buf_u8(out, '"');
            for (size_t k = 0; k < strings[part].len; k++) {
                unsigned char c = (unsigned char)strings[part].ptr[k];
                if (c == '"' || c == '\\') {
                    buf_u8(out, '\\');
                    buf_u8(out, c);
                } else if (c < 0x20) {
                    buf_printf(out, "\\u%04x", c);
                } else {
                    buf_u8(out, c);
                }
            }
            buf_u8(out, '"');
            if (part == 0) {
                buf_u8(out, ':');
            }
        }
        switch (token->kind) {
        case JSON_OBJECT:
            buf_u8(out, '{');
            needs_comma = false;
            break;
        case JSON_OBJECT_END: buf_u8(out, '}'); break;
        case JSON_ARRAY:
            buf_u8(out, '[');
            needs_comma = false;
            break;
        case JSON_ARRAY_END: buf_u8(out, ']'); break;
        case JSON_NUMBER: buf_str(out, token->text); break;
        case JSON_TRUE: buf_z(out, "true"); break;
        case JSON_FALSE: buf_z(out, "false"); break;
        case JSON_NULL: buf_z(out, "null"); break;
        case JSON_STRING: break;
        }
    }
}

static enum err_code list_value(struct ingest_reader *reader, uint32_t idx, struct prop *prop,
                                struct err *err)
{
    uint32_t end = reader->tokens[idx].end_idx;
    for (uint32_t i = idx + 1; i < end; i++) {
        enum json_kind kind = reader->tokens[i].kind;
        if (kind == JSON_OBJECT || kind == JSON_ARRAY) {
            CLEANUP(buf_freep) struct buf text = {0};
            write_json(reader, idx, end + 1, &text);
            ERR_TRY(buf_check(&text, err));
            struct str json = buf_as_str(&text);
            const char *skip = memchr(json.ptr, '[', json.len); /* the key, where there is one */
            json.len -= (size_t)(skip - json.ptr);
            json.ptr = skip;
            prop->type = COL_STRING;
            return ingest_keep(reader, json, false, &prop->string, err);
        }
    }
    prop->type = COL_LIST;
    prop->list.first = reader->builder.batch->list_item_count;
    prop->list.count = 0;
    for (uint32_t i = idx + 1; i < end; i++) {
        const struct json_token *token = &reader->tokens[i];
        struct str item = token->text;
        bool is_in_body = token->is_in_text;
        if (token->kind == JSON_NULL) {
            continue;
        }
        if (token->kind == JSON_TRUE || token->kind == JSON_FALSE) {
            item = token->kind == JSON_TRUE ? STR("true") : STR("false");
            is_in_body = true;
        }
        uint32_t at = 0;
        ERR_TRY(ingest_keep(reader, item, is_in_body, &item, err));
        ERR_TRY(batch_list_item(&reader->builder, item, &at, err));
        prop->list.count++;
    }
    return ERR_OK;
}

static bool is_taken(struct str name)
{
    for (size_t i = 0; i < COUNT_OF(TAKEN_NAMES); i++) {
        if (str_eq(name, str_of(TAKEN_NAMES[i]))) {
            return true;
        }
    }
    return false;
}

/* ---- keys ---- */

static uint64_t load(const char *at, size_t bytes)
{
    uint64_t v = 0;
    memcpy(&v, at, bytes);
    return v;
}

/* A cheap slot: a collision costs a look-up by name, nothing else. */
static uint32_t key_slot(struct str key)
{
    uint64_t v = key.len;
    if (key.len >= 8) {
        v ^= load(key.ptr, 8) ^ (load(key.ptr + key.len - 8, 8) * 0x9e3779b97f4a7c15u);
    } else if (key.len >= 4) {
        v ^= load(key.ptr, 4) ^ (load(key.ptr + key.len - 4, 4) << 32);
    } else {
        for (size_t i = 0; i < key.len; i++) {
            v = v << 8 ^ (unsigned char)key.ptr[i];
        }
    }
    return (uint32_t)((v * 0xbf58476d1ce4e5b9u) >> 56) % INGEST_KEYS;
}

static enum ingest_reserved reserved_of(struct str key)
{
    static const char *const NAMES[] = {
        [KEY_EVENT_ID] = "event_id",         [KEY_EVENT_TIME] = "event_time",
        [KEY_EVENT_NAME] = "event_name",     [KEY_USER_ID] = "user_id",
        [KEY_ANONYMOUS_ID] = "anonymous_id", [KEY_PROPERTIES] = "properties"};
    for (size_t i = 0; i < COUNT_OF(NAMES); i++) {
        if (str_eq(key, str_of(NAMES[i]))) {
            return (enum ingest_reserved)i;
        }
    }
    return KEY_OTHER;
}

enum err_code ingest_key(struct ingest_reader *reader, struct str key, struct ingest_key **ret,
                         struct err *err)
{
    if (reader->keys == NULL) {
        reader->keys = calloc(INGEST_KEYS, sizeof(*reader->keys));
        if (reader->keys == NULL) {
            return err_set(err, ERR_NOMEM, "out of memory for the keys of a body");
        }
    }
    struct ingest_key *slot = &reader->keys[key_slot(key)];
    if (slot->key.ptr == NULL || !str_eq(slot->key, key)) {
        struct ingest_key made = {
            .reserved = reserved_of(key), .is_taken = is_taken(key), .name_idx = KEY_NO_NAME};
        ERR_TRY(arena_str(reader->builder.batch->arena, key, &made.key, err));
        *slot = made;
    }
    *ret = slot;
    return ERR_OK;
}

/* Note that event number `event_no` has the name at its top. */
static enum err_code note_top(struct ingest_reader *reader, uint32_t idx, struct err *err)
{
    if (idx >= reader->top_cap) {
        uint32_t cap = MAX_OF(64u, (idx + 1) * 2);
        uint32_t *grown = realloc(reader->top_of, cap * sizeof(*grown));
        if (grown == NULL) {
            return err_set(err, ERR_NOMEM, "out of memory for %u property names", cap);
        }
        memset(grown + reader->top_cap, 0, (cap - reader->top_cap) * sizeof(*grown));
        reader->top_of = grown;
        reader->top_cap = cap;
    }
    reader->top_of[idx] = reader->builder.batch->event_count;
    return ERR_OK;
}

static enum err_code name_of_key(struct ingest_reader *reader, struct ingest_key *key,
                                 struct str name, enum ingest_place place, uint32_t *ret_idx,
                                 struct err *err)
{
    uint32_t event_no = reader->builder.batch->event_count;
    if (!key->is_taken) {
        if (key->name_idx == KEY_NO_NAME) {
            ERR_TRY(batch_name(&reader->builder, name, &key->name_idx, err));
        }
        uint32_t idx = key->name_idx;
        if (place == INGEST_TOP) {
            ERR_TRY(note_top(reader, idx, err));
        }
        if (place == INGEST_TOP || idx >= reader->top_cap || reader->top_of[idx] != event_no) {
            *ret_idx = idx;
            return ERR_OK;
        }
    }
    CLEANUP(buf_freep) struct buf longer = {0};
    buf_z(&longer, "properties.");
    buf_str(&longer, name);
    ERR_TRY(buf_check(&longer, err));
    return batch_name(&reader->builder, buf_as_str(&longer), ret_idx, err);
}

enum err_code ingest_name(struct ingest_reader *reader, struct str name, enum ingest_place place,
                          uint32_t *ret_idx, struct err *err)
{
    struct ingest_key *key = NULL;
    ERR_TRY(ingest_key(reader, name, &key, err));
    return name_of_key(reader, key, name, place, ret_idx, err);
}

enum err_code ingest_property(struct ingest_reader *reader, struct str name, uint32_t idx,
                              enum ingest_place place, struct err *err)
{
    struct ingest_key *key = NULL;
    ERR_TRY(ingest_key(reader, name, &key, err));
    return ingest_property_of(reader, key, name, idx, place, err);
}

enum err_code ingest_property_of(struct ingest_reader *reader, struct ingest_key *key,
                                 struct str name, uint32_t idx, enum ingest_place place,
                                 struct err *err)
{
    const struct json_token *token = &reader->tokens[idx];
    struct prop prop = {0};
    switch (token->kind) {
    case JSON_NULL: return ERR_OK;
    case JSON_OBJECT: {
        CLEANUP(buf_freep) struct buf prefix = {0};
        buf_str(&prefix, name);
        buf_u8(&prefix, '.');
        ERR_TRY(buf_check(&prefix, err));
        return ingest_members(reader, buf_as_str(&prefix), idx, place, err);
    }
    case JSON_ARRAY: ERR_TRY(list_value(reader, idx, &prop, err)); break;
    case JSON_STRING:
        prop.type = COL_STRING;
        ERR_TRY(ingest_keep(reader, token->text, token->is_in_text, &prop.string, err));
        break;
    case JSON_NUMBER:
        prop.type = COL_NUMBER;
        if (!num_parse(token->text, &prop.number)) { /* 1e999: the text is all that can be kept */
            prop.type = COL_STRING;
            ERR_TRY(ingest_keep(reader, token->text, true, &prop.string, err));
        }
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        prop.type = COL_BOOL;
        prop.boolean = token->kind == JSON_TRUE;
        break;
    case JSON_OBJECT_END:
    case JSON_ARRAY_END: ASSERT(!"a value starts with no end token"); break;
    }
    ERR_TRY(name_of_key(reader, key, name, place, &prop.name_idx, err));
    return batch_prop(&reader->builder, &prop, err);
}

enum err_code ingest_members(struct ingest_reader *reader, struct str prefix, uint32_t idx,
                             enum ingest_place place, struct err *err)
{
    uint32_t end = reader->tokens[idx].end_idx;
    for (uint32_t i = idx + 1; i < end; i = ingest_next(reader, i)) {
        struct str key = reader->tokens[i].key;
        if (prefix.len == 0) {
            ERR_TRY(ingest_property(reader, key, i, place, err));
            continue;
        }
        CLEANUP(buf_freep) struct buf name = {0};
        buf_str(&name, prefix);
        buf_str(&name, key);
        ERR_TRY(buf_check(&name, err));
        ERR_TRY(ingest_property(reader, buf_as_str(&name), i, place, err));
    }
    return ERR_OK;
}
