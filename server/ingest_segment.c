/* server/ingest_segment.c - the Segment HTTP tracking API's bodies, as its official SDKs send them.
 *
 * Source: Segment's public "HTTP Tracking API" documentation. A `track` call is the event it names;
 * identify, page, screen, group and alias calls are events named after the call. `properties` are
 * the event's properties under their own names; traits and context keep their prefix
 * (`traits.plan`, `context.ip`); the call's other keys that carry data (name, category, groupId,
 * previousId, channel ...) are properties as they are. Delivery instructions (integrations,
 * _metadata, writeKey, sentAt) are not data. */
#include "server/ingest_int.h"

#include <string.h>

static const char *const CALL_TYPES[] = {"track", "identify", "page", "screen", "group", "alias"};
static const char *const NOT_DATA[] = {"integrations", "_metadata", "writeKey",
                                       "sentAt",       "type",      "version"};

struct call_keys {
    const struct json_token *message_id, *timestamp, *event, *user_id, *anonymous_id, *type;
    const struct json_token *previous_id; /* a property as well */
    uint32_t properties_idx, traits_idx, context_idx;
};

static bool is_one_of(struct str key, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (str_eq(key, str_of(names[i]))) {
            return true;
        }
    }
    return false;
}

/* True where the key is one that the event itself takes. */
static bool take_key(struct call_keys *keys, const struct json_token *token, uint32_t idx)
{
    struct str key = token->key;
    const struct {
        const char *name;
        const struct json_token **slot;
    } scalars[] = {{"messageId", &keys->message_id},
                   {"timestamp", &keys->timestamp},
                   {"event", &keys->event},
                   {"userId", &keys->user_id},
                   {"type", &keys->type},
                   {"anonymousId", &keys->anonymous_id}};
    for (size_t i = 0; i < COUNT_OF(scalars); i++) {
        if (str_eq(key, str_of(scalars[i].name))) {
            *scalars[i].slot = token;
            return true;
        }
    }
    const struct {
        const char *name;
        uint32_t *slot;
    } objects[] = {{"properties", &keys->properties_idx},
                   {"traits", &keys->traits_idx},
                   {"context", &keys->context_idx}};
    for (size_t i = 0; i < COUNT_OF(objects); i++) {
        if (str_eq(key, str_of(objects[i].name)) && token->kind == JSON_OBJECT) {
            *objects[i].slot = idx;
            return true;
        }
    }
    return is_one_of(key, NOT_DATA, COUNT_OF(NOT_DATA));
}

static enum err_code call_id(struct ingest_reader *reader, struct event *event,
                             const struct json_token *token, const char *key, struct str *out,
                             struct err *err)
{
    struct str text;
    if (token == NULL || event->status == RECEIPT_REJECTED) {
        return ERR_OK;
    }
    if (!ingest_id_text(token, &text)) {
        return ingest_reject(reader, event, err, "\"%s\" must be a string", key);
    }
    return ingest_keep(reader, text, token->is_in_text, out, err);
}

static bool is_alias(const struct ingest_reader *reader, const struct call_keys *keys)
{
    const char *fixed = reader->opts->segment_type;
    return keys->type != NULL ? keys->type->kind == JSON_STRING &&
                                    str_eq(keys->type->text, STR("alias"))
                              : fixed != NULL && str_eq(str_of(fixed), STR("alias"));
}

/* An alias call says of an earlier id whose it was: without an anonymous id of its own it comes under that one, and so the
 * two are bound. */
static enum err_code call_weak_id(struct ingest_reader *reader, struct event *event,
                                  const struct call_keys *keys, struct err *err)
{
    bool is_previous = keys->anonymous_id == NULL && is_alias(reader, keys);
    return call_id(reader, event, is_previous ? keys->previous_id : keys->anonymous_id,
                   is_previous ? "previousId" : "anonymousId", &event->anonymous_id, err);
}

/* What the event is called: a track call says so itself, the others are named after their type. */
static enum err_code call_name(struct ingest_reader *reader, struct event *event,
                               const struct call_keys *keys, struct err *err)
{
    const char *fixed = reader->opts->segment_type == NULL ? "track" : reader->opts->segment_type;
    struct str type = str_of(fixed);
    if (keys->type != NULL) {
        if (keys->type->kind != JSON_STRING ||
            !is_one_of(keys->type->text, CALL_TYPES, COUNT_OF(CALL_TYPES))) {
            return ingest_reject(reader, event, err,
                                 "\"type\" must be track, identify, page, screen, group or alias");
        }
        type = keys->type->text;
    }
    if (!str_eq(type, STR("track"))) {
        return ingest_keep(reader, type, false, &event->name, err);
    }
    if (keys->event == NULL || keys->event->kind != JSON_STRING || keys->event->text.len == 0) {
        return ingest_reject(reader, event, err, "a track call needs \"event\", the event's name");
    }
    return ingest_keep(reader, keys->event->text, keys->event->is_in_text, &event->name, err);
}

static enum err_code call_members(struct ingest_reader *reader, const struct call_keys *keys,
                                  struct err *err)
{
    if (keys->properties_idx != 0) {
        ERR_TRY(ingest_members(reader, STR(""), keys->properties_idx, INGEST_INNER, err));
    }
    if (keys->traits_idx != 0) {
        ERR_TRY(ingest_members(reader, STR("traits."), keys->traits_idx, INGEST_INNER, err));
    }
    if (keys->context_idx != 0) {
        ERR_TRY(ingest_members(reader, STR("context."), keys->context_idx, INGEST_INNER, err));
    }
    return ERR_OK;
}

/* The object at `idx` is one call. */
static enum err_code read_call(struct ingest_reader *reader, uint32_t idx, uint32_t number,
                               struct err *err)
{
    struct event *event = NULL;
    struct call_keys keys = {0};
    ERR_TRY(batch_event(&reader->builder, &event, err));
    event->line = number;
    if (reader->tokens[idx].kind != JSON_OBJECT) {
        return ingest_reject(reader, event, err, "a call must be a JSON object");
    }
    uint32_t end = reader->tokens[idx].end_idx;
    for (uint32_t i = idx + 1; i < end; i = ingest_next(reader, i)) {
        const struct json_token *token = &reader->tokens[i];
        if (str_eq(token->key, STR("previousId"))) {
            keys.previous_id = token;
        }
        if (!take_key(&keys, token, i)) {
            ERR_TRY(ingest_property(reader, token->key, i, INGEST_TOP, err));
        }
    }
    ERR_TRY(call_members(reader, &keys, err));
    event->time_ms = reader->opts->now_ms;
    ERR_TRY(call_id(reader, event, keys.message_id, "messageId", &event->event_id, err));
    ERR_TRY(call_id(reader, event, keys.user_id, "userId", &event->user_id, err));
    ERR_TRY(call_weak_id(reader, event, &keys, err));
    if (event->status != RECEIPT_REJECTED) {
        ERR_TRY(call_name(reader, event, &keys, err));
    }
    if (event->status != RECEIPT_REJECTED && keys.timestamp != NULL &&
        !ingest_time(keys.timestamp, reader->opts->now_ms, &event->time_ms)) {
        return ingest_reject(reader, event, err, "\"timestamp\" must be an ISO 8601 time");
    }
    if (event->status != RECEIPT_REJECTED) {
        batch_check_event(&reader->builder, reader->opts->now_ms);
    }
    return ERR_OK;
}

/* Where the calls of a batch body stand: the token of its "batch" array. */
static enum err_code find_calls(const struct ingest_reader *reader, uint32_t *ret_idx,
                                struct err *err)
{
    uint32_t end = reader->tokens[0].end_idx;
    for (uint32_t i = 1; i < end; i = ingest_next(reader, i)) {
        if (str_eq(reader->tokens[i].key, STR("batch"))) {
            if (reader->tokens[i].kind != JSON_ARRAY) {
                break;
            }
            *ret_idx = i;
            return ERR_OK;
        }
    }
    return err_set(err, ERR_INVALID, "expected {\"batch\": [...]}, an array of calls");
}

enum err_code ingest_parse_segment(struct str body, bool is_batch, const struct ingest_opts *opts,
                                   struct event_batch **ret, struct err *err)
{
    CLEANUP(ingest_reader_donep) struct ingest_reader reader = {.opts = opts};
    CLEANUP(json_parser_freep) struct json_parser *parser = NULL;
    struct str text;
    ERR_TRY(json_parser_create(&parser, err));
    ERR_TRY(batch_begin(opts->budget, opts->now_ms, &reader.builder, err));
    reader.builder.batch->bytes = body.len;
    ERR_TRY(ingest_copy_body(&reader, body, &text, err));
    ERR_TRY(json_parse(parser, text, &reader.tokens, &reader.token_count, err));
    if (reader.tokens[0].kind != JSON_OBJECT) {
        return err_set(err, ERR_INVALID, "the body must be a JSON object");
    }
    if (!is_batch) {
        ERR_TRY(read_call(&reader, 0, 1, err));
    } else {
        uint32_t calls = 0;
        uint32_t number = 0;
        ERR_TRY(find_calls(&reader, &calls, err));
        for (uint32_t i = calls + 1; i < reader.tokens[calls].end_idx;
             i = ingest_next(&reader, i)) {
            ERR_TRY(read_call(&reader, i, ++number, err));
        }
    }
    *ret = TAKE(reader.builder.batch);
    return ERR_OK;
}
