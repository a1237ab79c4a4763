/* server/ingest_protobuf.c - an unpacked trackway.v1.EventBatch as a batch: for Connect calls, whose
 * messages come as JSON, too, and as what server/ingest_wire.c is tested against.
 *
 * protobuf-c unpacks into an allocator with a byte cap, because a hostile body can ask for fifty
 * times its size; its strings are not checked by the library, so UTF-8 and NUL are checked here. */
#include "server/ingest_proto.h"

#include "server/ingest_int.h"
#include "server/utf8.h"

#include <math.h>
#include <string.h>

/* Resolve a (text, reference) pair; a broken one rejects the event and gives *ret_ok false. */
static enum err_code text_of(struct ingest_reader *reader, const Trackway__V1__EventBatch *message,
                             struct event *event, const char *text, uint32_t ref, const char *what,
                             struct str *ret, bool *ret_ok, struct err *err)
{
    *ret_ok = false;
    struct str s = str_of(text == NULL ? "" : text);
    if (ref != 0) {
        if (s.len > 0) {
            return ingest_reject(reader, event, err, "%s is given twice, as text and as reference",
                                 what);
        }
        if (ref > message->n_strings) {
            return ingest_reject(reader, event, err, "%s: reference %u, the batch has %zu strings",
                                 what, ref, message->n_strings);
        }
        s = str_of(message->strings[ref - 1]);
    }
    if (!utf8_is_valid(s)) {
        return ingest_reject(reader, event, err, "%s is not UTF-8", what);
    }
    *ret_ok = true;
    return ingest_keep(reader, s, false, ret, err);
}

static enum err_code list_of(struct ingest_reader *reader, struct event *event,
                             const Trackway__V1__StringList *list, struct prop *prop, bool *ret_ok,
                             struct err *err)
{
    prop->type = COL_LIST;
    prop->list.first = reader->builder.batch->list_item_count;
    size_t count = list == NULL ? 0 : list->n_values;
    for (size_t i = 0; i < count; i++) {
        struct str item = str_of(list->values[i]);
        uint32_t at = 0;
        if (!utf8_is_valid(item)) {
            *ret_ok = false;
            return ingest_reject(reader, event, err, "a list item is not UTF-8");
        }
        ERR_TRY(ingest_keep(reader, item, false, &item, err));
        ERR_TRY(batch_list_item(&reader->builder, item, &at, err));
    }
    prop->list.count = (uint32_t)count;
    return ERR_OK;
}

/* The value of a property; *ret_ok false where the event was rejected, *ret_has false where it has
 * none. */
static enum err_code value_of(struct ingest_reader *reader, const Trackway__V1__EventBatch *message,
                              struct event *event, const Trackway__V1__Property *p,
                              struct prop *prop, bool *ret_ok, bool *ret_has, struct err *err)
{
    *ret_ok = true;
    *ret_has = true;
    switch (p->value_case) {
    case TRACKWAY__V1__PROPERTY__VALUE_STRING_VALUE:
        prop->type = COL_STRING;
        return text_of(reader, message, event, p->string_value, 0, "a value", &prop->string, ret_ok,
                       err);
    case TRACKWAY__V1__PROPERTY__VALUE_STRING_REF:
        prop->type = COL_STRING;
        return text_of(reader, message, event, NULL, p->string_ref, "a value", &prop->string,
                       ret_ok, err);
    case TRACKWAY__V1__PROPERTY__VALUE_NUMBER_VALUE:
        prop->type = COL_NUMBER;
        if (!num_double(p->number_value, &prop->number)) {
            *ret_ok = false;
            return ingest_reject(reader, event, err, "a number must be finite");
        }
        return ERR_OK;
    case TRACKWAY__V1__PROPERTY__VALUE_INT_VALUE:
        prop->type = COL_NUMBER;
        prop->number = num_int(p->int_value);
        return ERR_OK;
    case TRACKWAY__V1__PROPERTY__VALUE_DECIMAL_VALUE:
        prop->type = COL_NUMBER;
        if (!utf8_is_valid(str_of(p->decimal_value))) {
            *ret_ok = false;
            return ingest_reject(reader, event, err, "a decimal is not UTF-8");
        }
        if (!num_parse(str_of(p->decimal_value), &prop->number)) {
            *ret_ok = false;
            return ingest_reject(reader, event, err, "\"%.40s\" is no number", p->decimal_value);
        }
        return ERR_OK;
    case TRACKWAY__V1__PROPERTY__VALUE_BOOL_VALUE:
        prop->type = COL_BOOL;
        prop->boolean = p->bool_value;
        return ERR_OK;
    case TRACKWAY__V1__PROPERTY__VALUE_TIME_MS_VALUE:
        prop->type = COL_TIME;
        prop->ts_ms = p->time_ms_value;
        return ERR_OK;
    case TRACKWAY__V1__PROPERTY__VALUE_LIST_VALUE:
        return list_of(reader, event, p->list_value, prop, ret_ok, err);
    case TRACKWAY__V1__PROPERTY__VALUE__NOT_SET:
    default: *ret_has = false; return ERR_OK;
    }
}

static enum err_code read_message(struct ingest_reader *reader,
                                  const Trackway__V1__EventBatch *message,
                                  const Trackway__V1__Event *e, uint32_t number, struct err *err)
{
    struct event *event = NULL;
    bool ok = true;
    ERR_TRY(batch_event(&reader->builder, &event, err));
    event->line = number;
    const struct {
        const char *text;
        uint32_t ref;
        const char *what;
        struct str *out;
    } texts[] = {{e->event_id, 0, "event_id", &event->event_id},
                 {e->event_name, e->event_name_ref, "event_name", &event->name},
                 {e->user_id, e->user_id_ref, "user_id", &event->user_id},
                 {e->anonymous_id, e->anonymous_id_ref, "anonymous_id", &event->anonymous_id}};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        ERR_TRY(text_of(reader, message, event, texts[i].text, texts[i].ref, texts[i].what,
                        texts[i].out, &ok, err));
        if (!ok) {
            return ERR_OK;
        }
    }
    event->time_ms = e->event_time_ms == 0 ? reader->opts->now_ms : e->event_time_ms;
    for (size_t i = 0; i < e->n_properties; i++) {
        const Trackway__V1__Property *p = e->properties[i];
        struct prop prop = {0};
        struct str name;
        bool has = false;
        ERR_TRY(text_of(reader, message, event, p->name, p->name_ref, "a property's name", &name,
                        &ok, err));
        if (!ok) {
            return ERR_OK;
        }
        ERR_TRY(value_of(reader, message, event, p, &prop, &ok, &has, err));
        if (!ok) {
            return ERR_OK;
        }
        if (has) {
            ERR_TRY(ingest_name(reader, name, INGEST_INNER, &prop.name_idx, err));
            ERR_TRY(batch_prop(&reader->builder, &prop, err));
        }
    }
    batch_check_event(&reader->builder, reader->opts->now_ms);
    return ERR_OK;
}

enum err_code ingest_from_message(const Trackway__V1__EventBatch *message, size_t body_bytes,
                                  const struct ingest_opts *opts, struct event_batch **ret,
                                  struct err *err)
{
    CLEANUP(ingest_reader_donep) struct ingest_reader reader = {.opts = opts};
    ERR_TRY(batch_begin(opts->budget, opts->now_ms, &reader.builder, err));
    reader.builder.batch->bytes = body_bytes;
    for (size_t i = 0; message != NULL && i < message->n_events; i++) {
        ERR_TRY(read_message(&reader, message, message->events[i], (uint32_t)i + 1, err));
    }
    *ret = TAKE(reader.builder.batch);
    return ERR_OK;
}

/* ---- unpacking within a cap ---- */
static void *capped_alloc(void *data, size_t bytes)
{
    struct arena *arena = data;
    struct err ignored;
    void *got = NULL;
    return arena_alloc(arena, bytes, &got, &ignored) == ERR_OK ? got : NULL;
}

static void capped_free(void *data, void *pointer)
{
    (void)data; /* the arena goes as a whole */
    (void)pointer;
}

ProtobufCAllocator ingest_capped_allocator(struct arena *arena)
{
    return (ProtobufCAllocator){capped_alloc, capped_free, arena};
}
