/* server/ingest_parse.c - NDJSON bodies line by line, and the choice of the shape.
 *
 * Every line is a document of its own, so that a broken one costs one receipt. */
#include "server/ingest_parse.h"

#include "server/ingest_int.h"
#include "server/json_lines.h"

#include <string.h>

/* The reserved keys of a line: their tokens, or NULL where absent. The last one given wins. */
struct line_keys {
    const struct json_token *at[KEY_PROPERTIES];
    uint32_t properties_idx; /* 0: none or no object */
};

/* An id key of a line into `out`; a wrong type rejects the event. */
static enum err_code read_id(struct ingest_reader *reader, struct event *event,
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

static enum err_code read_keys(struct ingest_reader *reader, struct event *event,
                               const struct line_keys *keys, struct err *err)
{
    ERR_TRY(read_id(reader, event, keys->at[KEY_EVENT_ID], "event_id", &event->event_id, err));
    if (keys->at[KEY_EVENT_NAME] != NULL) {
        if (keys->at[KEY_EVENT_NAME]->kind != JSON_STRING) {
            return ingest_reject(reader, event, err, "\"event_name\" must be a string");
        }
        ERR_TRY(ingest_keep(reader, keys->at[KEY_EVENT_NAME]->text,
                            keys->at[KEY_EVENT_NAME]->is_in_text, &event->name, err));
    }
    ERR_TRY(read_id(reader, event, keys->at[KEY_USER_ID], "user_id", &event->user_id, err));
    ERR_TRY(read_id(reader, event, keys->at[KEY_ANONYMOUS_ID], "anonymous_id", &event->anonymous_id,
                    err));
    if (keys->at[KEY_EVENT_TIME] != NULL && event->status != RECEIPT_REJECTED &&
        !ingest_time(keys->at[KEY_EVENT_TIME], reader->opts->now_ms, &event->time_ms)) {
        struct str text = keys->at[KEY_EVENT_TIME]->text;
        return ingest_reject(reader, event, err,
                             "\"event_time\" must be milliseconds, seconds or an ISO 8601 time, "
                             "not \"%.*s\"",
                             (int)MIN_OF(text.len, 40u), text.ptr);
    }
    return ERR_OK;
}

/* The tokens of one line, an object, as an event. */
static enum err_code read_event(struct ingest_reader *reader, struct event *event, struct err *err)
{
    struct line_keys keys = {0};
    uint32_t end = reader->tokens[0].end_idx;
    for (uint32_t i = 1; i < end; i = ingest_next(reader, i)) {
        const struct json_token *token = &reader->tokens[i];
        struct ingest_key *key = NULL;
        ERR_TRY(ingest_key(reader, token->key, &key, err));
        if (key->reserved < KEY_PROPERTIES) {
            keys.at[key->reserved] = token;
        } else if (key->reserved == KEY_PROPERTIES && token->kind == JSON_OBJECT) {
            keys.properties_idx = i;
        } else {
            ERR_TRY(ingest_property_of(reader, key, token->key, i, INGEST_TOP, err));
        }
    }
    if (keys.properties_idx != 0) {
        ERR_TRY(ingest_members(reader, STR(""), keys.properties_idx, INGEST_INNER, err));
    }
    event->time_ms = reader->opts->now_ms;
    ERR_TRY(read_keys(reader, event, &keys, err));
    if (event->status != RECEIPT_REJECTED) {
        batch_check_event(&reader->builder, reader->opts->now_ms);
    }
    return ERR_OK;
}

/* The fast reader of plain lines, and the one that judges all others, made when it is first needed. */
struct line_parsers {
    struct json_lines *lines;
    struct json_parser *parser;
};

static void line_parsers_done(struct line_parsers *parsers)
{
    json_lines_free(parsers->lines);
    json_parser_free(parsers->parser);
}

static enum err_code parse_line(struct ingest_reader *reader, struct line_parsers *parsers,
                                struct str line, struct err *err)
{
    if (json_lines_parse(parsers->lines, line, &reader->tokens, &reader->token_count)) {
        return ERR_OK;
    }
    if (parsers->parser == NULL) {
        ERR_TRY(json_parser_create(&parsers->parser, err));
    }
    return json_parse(parsers->parser, line, &reader->tokens, &reader->token_count, err);
}

/* One line; *ret_is_object says whether it was a JSON object at all. */
static enum err_code read_line(struct ingest_reader *reader, struct line_parsers *parsers,
                               struct str line, uint32_t number, bool *ret_is_object,
                               struct err *err)
{
    struct event *event = NULL;
    struct err broken = {0};
    ERR_TRY(batch_event(&reader->builder, &event, err));
    event->line = number;
    *ret_is_object = false;
    if (line.len > reader->opts->event_bytes_max) {
        return ingest_reject(reader, event, err, "the event has %zu bytes, the limit is %zu",
                             line.len, reader->opts->event_bytes_max);
    }
    enum err_code code = parse_line(reader, parsers, line, &broken);
    if (code == ERR_NOMEM) {
        *err = broken;
        return code;
    }
    if (code != ERR_OK) {
        return ingest_reject(reader, event, err, "%.160s, at column %u", broken.message,
                             broken.column);
    }
    if (reader->tokens[0].kind != JSON_OBJECT) {
        return ingest_reject(reader, event, err, "a line must be a JSON object");
    }
    *ret_is_object = true;
    return read_event(reader, event, err);
}

/* The next run of whole lines, as many as the fast reader takes at once, at least one. */
static struct str next_run(const char *at, const char *end)
{
    size_t left = (size_t)(end - at);
    size_t len = MIN_OF(left, (size_t)JSON_LINES_BYTES_MAX);
    if (len < left) {
        const char *newline = memrchr(at, '\n', len);
        if (newline == NULL) {
            newline = memchr(at + len, '\n', left - len); /* one long line */
        }
        len = newline == NULL ? left : (size_t)(newline - at) + 1;
    }
    return (struct str){at, len};
}

static enum err_code read_run(struct ingest_reader *reader, struct line_parsers *parsers,
                              struct str text, struct str run, uint32_t *number, uint64_t *objects,
                              struct err *err)
{
    json_lines_begin(parsers->lines,
                     run.len <= JSON_LINES_BYTES_MAX ? run : (struct str){run.ptr, 0});
    for (const char *at = run.ptr, *end = run.ptr + run.len; at < end;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline == NULL ? end : newline;
        struct str line = {at, (size_t)(stop - at)};
        at = stop + 1;
        ++*number;
        while (line.len > 0 && (line.ptr[line.len - 1] == '\r' || line.ptr[line.len - 1] == ' ')) {
            line.len--;
        }
        if (line.len == 0) {
            continue;
        }
        bool is_object = false;
        ERR_TRY(read_line(reader, parsers, line, *number, &is_object, err));
        *objects += is_object;
        ERR_TRY(ingest_expect(reader, (size_t)(stop - text.ptr), text.len, err));
    }
    return ERR_OK;
}

static enum err_code read_body(struct ingest_reader *reader, struct line_parsers *parsers,
                               struct str body, struct event_batch **ret, struct err *err)
{
    const struct ingest_opts *opts = reader->opts;
    struct str text;
    uint32_t number = 0;
    uint64_t objects = 0;
    ERR_TRY(json_lines_create(body.len, &parsers->lines, err));
    ERR_TRY(batch_begin(opts->budget, opts->now_ms, &reader->builder, err));
    reader->builder.batch->bytes = body.len;
    ERR_TRY(ingest_copy_body(reader, body, &text, err));
    for (const char *at = text.ptr, *end = text.ptr + text.len; at < end;) {
        struct str run = next_run(at, end);
        ERR_TRY(read_run(reader, parsers, text, run, &number, &objects, err));
        at += run.len;
    }
    const struct event_batch *batch = reader->builder.batch;
    if (batch->event_count == 0) {
        return err_set(err, ERR_INVALID, "the body is empty: expected one JSON object per line");
    }
    bool was_too_long = text.len > opts->event_bytes_max && batch->event_count == 1;
    if (objects == 0 && !was_too_long) {
        const struct event *first = &batch->events[0];
        return err_set_at(err, ERR_INVALID, first->line, 1,
                          "the body is no NDJSON (one JSON object per line): line %u: " STR_FMT,
                          first->line, STR_ARG(first->reason));
    }
    *ret = TAKE(reader->builder.batch);
    return ERR_OK;
}

static enum err_code parse_ndjson(struct str body, const struct ingest_opts *opts,
                                  struct event_batch **ret, struct err *err)
{
    struct ingest_reader reader = {.opts = opts};
    struct line_parsers parsers = {0};
    enum err_code code = read_body(&reader, &parsers, body, ret, err);
    line_parsers_done(&parsers);
    ingest_reader_done(&reader);
    return code;
}

enum err_code ingest_parse(enum ingest_shape shape, struct str body, const struct ingest_opts *opts,
                           struct event_batch **ret, struct err *err)
{
    switch (shape) {
    case INGEST_NDJSON: return parse_ndjson(body, opts, ret, err);
    case INGEST_PROTOBUF: return ingest_parse_protobuf(body, opts, ret, err);
    case INGEST_SEGMENT_BATCH: return ingest_parse_segment(body, true, opts, ret, err);
    case INGEST_SEGMENT_SINGLE: return ingest_parse_segment(body, false, opts, ret, err);
    }
    ASSERT(!"unknown shape");
}
