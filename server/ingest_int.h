/* server/ingest_int.h - what the shapes of ingest share: turning JSON values into properties of an
 * event. */
#pragma once

#include "server/ingest_parse.h"
#include "server/json_tokens.h"
#include "storage/base/size.h"

/* What a key is, remembered by its bytes: bodies repeat the same keys event after event. */
enum ingest_reserved {
    KEY_EVENT_ID,
    KEY_EVENT_TIME,
    KEY_EVENT_NAME,
    KEY_USER_ID,
    KEY_ANONYMOUS_ID,
    KEY_PROPERTIES,
    KEY_OTHER, /* no reserved key of an NDJSON line */
};
struct ingest_key {
    struct str key; /* in the batch's arena; ptr NULL = an empty slot */
    enum ingest_reserved reserved;
    bool is_taken;     /* by the language: no property's name */
    uint32_t name_idx; /* in the batch; KEY_NO_NAME until a property has it */
};
#define KEY_NO_NAME UINT32_MAX
#define INGEST_KEYS 256u

/* One body being read. Tokens point into the batch's own copy of the body or into the parser;
 * `keep` makes the latter the batch's as well. */
struct ingest_reader {
    struct batch_builder builder;
    const struct ingest_opts *opts;
    const struct json_token *tokens;
    uint32_t token_count;
    /* name_event[n] == number of the event that has names[n] at its top: for names that occur twice
     */
    uint32_t *top_of;
    uint32_t top_cap;
    struct ingest_key *keys; /* INGEST_KEYS slots, each for the last key that fell on it */
};

void ingest_reader_done(struct ingest_reader *reader);
static inline void ingest_reader_donep(struct ingest_reader *reader)
{
    ingest_reader_done(reader);
}

/* A copy in the batch's arena of what does not point into the body. */
enum err_code ingest_keep(struct ingest_reader *reader, struct str text, bool is_in_body,
                          struct str *ret, struct err *err) ERR_MUST_CHECK;

enum ingest_place { INGEST_TOP, INGEST_INNER };
/* What is known of this key; valid until the next call. */
enum err_code ingest_key(struct ingest_reader *reader, struct str key, struct ingest_key **ret,
                         struct err *err) ERR_MUST_CHECK;
/* Add the value at token `idx` as a property called `name` (flattened below it). An INNER name that
 * the event has at its top, or that the language has taken, becomes `properties.NAME`. */
enum err_code ingest_property(struct ingest_reader *reader, struct str name, uint32_t idx,
                              enum ingest_place place, struct err *err) ERR_MUST_CHECK;
/* Every member of the object at `idx` as a property, its name after `prefix` ("" or "context."). */
enum err_code ingest_members(struct ingest_reader *reader, struct str prefix, uint32_t idx,
                             enum ingest_place place, struct err *err) ERR_MUST_CHECK;
/* As ingest_property, for a key that was looked up just now. */
enum err_code ingest_property_of(struct ingest_reader *reader, struct ingest_key *key,
                                 struct str name, uint32_t idx, enum ingest_place place,
                                 struct err *err) ERR_MUST_CHECK;
/* The number of a property name in the batch, after a clash with the event's top was settled. */
enum err_code ingest_name(struct ingest_reader *reader, struct str name, enum ingest_place place,
                          uint32_t *ret_idx, struct err *err) ERR_MUST_CHECK;
/* The token after the value at `idx`. */
static inline uint32_t ingest_next(const struct ingest_reader *reader, uint32_t idx)
{
    const struct json_token *token = &reader->tokens[idx];
    bool is_container = token->kind == JSON_OBJECT || token->kind == JSON_ARRAY;
    return is_container ? token->end_idx + 1 : idx + 1;
}

/* An id as text: strings as they are, integers as their digits, null as absent; false for other
 * kinds. */
bool ingest_id_text(const struct json_token *token, struct str *ret);
/* An event_time: ms, s (below 1e11) or ISO 8601; null is `now`. False where it is none. */
bool ingest_time(const struct json_token *token, int64_t now_ms, int64_t *ret_ms);
/* Mark the event opened last as rejected. */
enum err_code ingest_reject(struct ingest_reader *reader, struct event *event, struct err *err,
                            const char *format, ...) ERR_MUST_CHECK
    __attribute__((format(printf, 4, 5)));

enum err_code ingest_parse_segment(struct str body, bool is_batch, const struct ingest_opts *opts,
                                   struct event_batch **ret, struct err *err) ERR_MUST_CHECK;
enum err_code ingest_parse_protobuf(struct str body, const struct ingest_opts *opts,
                                    struct event_batch **ret, struct err *err) ERR_MUST_CHECK;
/* Called when `read_bytes` of the body's `body_bytes` are read: tells the batch how many events to
 * expect, once a few have been seen. */
static inline enum err_code ingest_expect(struct ingest_reader *reader, size_t read_bytes,
                                          size_t body_bytes, struct err *err)
{
    uint64_t events = reader->builder.batch->event_count;
    if (reader->builder.is_expected || events < BATCH_EXPECT_AFTER || read_bytes == 0) {
        return ERR_OK;
    }
    return batch_expect(&reader->builder, events * body_bytes / read_bytes, err);
}
/* A copy of the body in the batch's arena, with the padding that the JSON parser wants after it. */
enum err_code ingest_copy_body(struct ingest_reader *reader, struct str body, struct str *ret,
                               struct err *err) ERR_MUST_CHECK;
