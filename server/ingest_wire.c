/* server/ingest_wire.c - trackway.v1.EventBatch as a batch, straight from the wire.
 *
 * Four messages are known here, field by field (proto/trackway/v1/ingest.proto); nothing is unpacked into
 * objects first. The body is copied once, and every text of the batch points into that copy.
 *
 *    pass 1   the string table: where each text lies, because an event may refer to one that follows it
 *    pass 2   events in order; of each, first its own fields, then its properties
 *
 * A text of the table is checked for UTF-8, and looked up as a property name, once per batch.
 *
 * What is accepted is what protobuf-c accepts, so that both doors agree: unknown fields are skipped, the
 * last of a field that is given twice counts, a known field of another wire type, a group or bytes that
 * end too early make the whole body invalid. (Three differences, all on purpose: a text with a zero byte in it is
 * kept whole, a bool must be a varint, and memory is bounded by the batch's budget only.)
 * tests/prop/prop_ingest_wire.c holds the two against each other.
 */
#include "server/ingest_int.h"
#include "server/utf8.h"

#include <limits.h>
#include <stdlib.h>

enum wire_type { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

/* One field: its number and, by wire type, its value or its bytes. */
struct wire_field {
    uint32_t number;
    enum wire_type type;
    uint64_t value;
    struct str bytes;
};

struct wire {
    const uint8_t *at, *end;
    bool is_bad;
};

/* What is known of a text of the string table. */
struct wire_string {
    struct str text;
    uint32_t name_idx; /* as a property name, NAME_UNKNOWN until asked */
    bool is_utf8;
};
#define NAME_UNKNOWN    UINT32_MAX
#define STRINGS_FIRST   256u
#define WIRE_VARINT_MAX 10
#define WIRE_LENGTH_MAX 5 /* bytes of a length or a tag */

struct wire_reader {
    struct ingest_reader reader;
    struct wire_string *strings;
    uint32_t string_count, string_cap;
    struct buf properties; /* struct str: those of the event in hand */
};

static void wire_reader_done(struct wire_reader *wire_reader)
{
    ingest_reader_done(&wire_reader->reader);
    buf_done(&wire_reader->properties);
}

static struct wire wire_of(struct str bytes)
{
    const uint8_t *at = (const uint8_t *)bytes.ptr;
    return (struct wire){.at = at, .end = at + bytes.len};
}

/* A varint of at most `bytes_max` bytes. */
static inline uint64_t wire_varint(struct wire *wire, int bytes_max)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes_max && wire->at < wire->end; i++) {
        uint8_t byte = *wire->at++;
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            return value;
        }
    }
    wire->is_bad = true;
    return 0;
}

/* The next field; false at the end of the bytes and where they are malformed (is_bad). */
static inline bool wire_next(struct wire *wire, struct wire_field *ret)
{
    if (wire->at == wire->end || wire->is_bad) {
        return false;
    }
    uint32_t tag = (uint32_t)wire_varint(wire, WIRE_LENGTH_MAX);
    size_t left = (size_t)(wire->end - wire->at);
    uint64_t fixed = 0;
    ret->number = tag >> 3;
    ret->value = 0;
    ret->bytes = (struct str){"", 0};
    ret->type = (enum wire_type)(tag & 7);
    if (wire->is_bad || ret->number == 0) { /* no field has number 0 */
        wire->is_bad = true;
        return false;
    }
    switch (ret->type) {
    case WIRE_VARINT: ret->value = wire_varint(wire, WIRE_VARINT_MAX); break;
    case WIRE_BYTES: {
        uint64_t len = wire_varint(wire, WIRE_LENGTH_MAX);
        if (wire->is_bad || len > INT_MAX || len > (size_t)(wire->end - wire->at)) {
            wire->is_bad = true;
            break;
        }
        ret->bytes = (struct str){(const char *)wire->at, (size_t)len};
        wire->at += len;
        break;
    }
    case WIRE_64:
    case WIRE_32: {
        size_t bytes = ret->type == WIRE_64 ? 8 : 4;
        if (left < bytes) {
            wire->is_bad = true;
            break;
        }
        for (size_t i = 0; i < bytes; i++) {
            fixed |= (uint64_t)wire->at[i] << (8 * i);
        }
        ret->value = fixed;
        wire->at += bytes;
        break;
    }
    default: wire->is_bad = true; break; /* groups, and what is no type at all */
    }
    return !wire->is_bad;
}

/* A known field must come as its declared type does. */
static inline bool wire_is(struct wire *wire, const struct wire_field *field, enum wire_type type)
{
    wire->is_bad = wire->is_bad || field->type != type;
    return !wire->is_bad;
}

static int64_t unzigzag(uint64_t v)
{
    return (int64_t)((v >> 1) ^ (0 - (v & 1)));
}

static enum err_code no_batch(struct err *err)
{
    return err_set(err, ERR_INVALID, "the body is no trackway.v1.EventBatch");
}

/* ---- texts ---- */

static enum err_code add_string(struct wire_reader *wire_reader, struct str text, struct err *err)
{
    if (wire_reader->string_count == wire_reader->string_cap) {
        uint32_t cap = MAX_OF(wire_reader->string_cap * 2, STRINGS_FIRST);
        struct wire_string *grown = NULL;
        if (wire_reader->string_cap > UINT32_MAX / 4) {
            return err_set(err, ERR_LIMIT, "the batch has more than %u strings", cap / 2);
        }
        ERR_TRY(ARENA_NEW(wire_reader->reader.builder.batch->arena, cap, &grown, err));
        if (wire_reader->string_count > 0) {
            memcpy(grown, wire_reader->strings, wire_reader->string_count * sizeof(*grown));
        }
        wire_reader->strings = grown;
        wire_reader->string_cap = cap;
    }
    wire_reader->strings[wire_reader->string_count++] = (struct wire_string){
        .text = text, .name_idx = NAME_UNKNOWN, .is_utf8 = utf8_is_valid(text)};
    return ERR_OK;
}

/* The text of a (text, reference) pair; false, and the event is rejected, where there is none. */
static bool text_of(struct wire_reader *wire_reader, struct event *event, struct str text,
                    uint32_t ref, const char *what, struct str *ret, enum err_code *code,
                    struct err *err)
{
    bool is_utf8 = true;
    if (ref != 0) {
        if (text.len > 0) {
            *code = ingest_reject(&wire_reader->reader, event, err,
                                  "%s is given twice, as text and as reference", what);
            return false;
        }
        if (ref > wire_reader->string_count) {
            *code = ingest_reject(&wire_reader->reader, event, err,
                                  "%s: reference %u, the batch has %u strings", what, ref,
                                  wire_reader->string_count);
            return false;
        }
        text = wire_reader->strings[ref - 1].text;
        is_utf8 = wire_reader->strings[ref - 1].is_utf8;
    } else {
        is_utf8 = utf8_is_valid(text);
    }
    if (!is_utf8) {
        *code = ingest_reject(&wire_reader->reader, event, err, "%s is not UTF-8", what);
        return false;
    }
    *ret = text;
    return true;
}

/* ---- properties ---- */

/* Property's fields, before any of them is judged. */
struct wire_property {
    struct str name;
    uint32_t name_ref;
    uint32_t value_field; /* 0: no value */
    struct str text;      /* string_value, decimal_value, list_value */
    uint64_t value;
};

enum property_field {
    PROPERTY_NAME = 1,
    PROPERTY_NAME_REF = 2,
    PROPERTY_STRING = 3,
    PROPERTY_STRING_REF = 4,
    PROPERTY_NUMBER = 5,
    PROPERTY_INT = 6,
    PROPERTY_DECIMAL = 7,
    PROPERTY_BOOL = 8,
    PROPERTY_TIME_MS = 9,
    PROPERTY_LIST = 10,
};

static bool list_is_well_formed(struct str bytes)
{
    struct wire wire = wire_of(bytes);
    struct wire_field field;
    while (wire_next(&wire, &field)) {
        if (field.number == 1) {
            (void)wire_is(&wire, &field, WIRE_BYTES);
        }
    }
    return !wire.is_bad;
}

static bool read_property(struct str bytes, struct wire_property *ret)
{
    static const uint8_t TYPES[PROPERTY_LIST + 1] = {
        [PROPERTY_NAME] = WIRE_BYTES,     [PROPERTY_NAME_REF] = WIRE_VARINT,
        [PROPERTY_STRING] = WIRE_BYTES,   [PROPERTY_STRING_REF] = WIRE_VARINT,
        [PROPERTY_NUMBER] = WIRE_64,      [PROPERTY_INT] = WIRE_VARINT,
        [PROPERTY_DECIMAL] = WIRE_BYTES,  [PROPERTY_BOOL] = WIRE_VARINT,
        [PROPERTY_TIME_MS] = WIRE_VARINT, [PROPERTY_LIST] = WIRE_BYTES,
    };
    struct wire wire = wire_of(bytes);
    struct wire_field field;
    *ret = (struct wire_property){0};
    while (wire_next(&wire, &field)) {
        if (field.number > PROPERTY_LIST) {
            continue;
        }
        if (!wire_is(&wire, &field, (enum wire_type)TYPES[field.number])) {
            return false;
        }
        if (field.number == PROPERTY_NAME) {
            ret->name = field.bytes;
        } else if (field.number == PROPERTY_NAME_REF) {
            ret->name_ref = (uint32_t)field.value;
        } else {
            ret->value_field = field.number;
            ret->text = field.bytes;
            ret->value = field.value;
            if (field.number == PROPERTY_LIST && !list_is_well_formed(field.bytes)) {
                return false;
            }
        }
    }
    return !wire.is_bad;
}

static enum err_code read_list(struct wire_reader *wire_reader, struct event *event,
                               struct str bytes, struct prop *prop, struct err *err)
{
    struct wire wire = wire_of(bytes);
    struct wire_field field;
    prop->type = COL_LIST;
    prop->list.first = wire_reader->reader.builder.batch->list_item_count;
    prop->list.count = 0;
    while (wire_next(&wire, &field)) {
        uint32_t at = 0;
        if (field.number != 1) {
            continue;
        }
        if (!utf8_is_valid(field.bytes)) {
            return ingest_reject(&wire_reader->reader, event, err, "a list item is not UTF-8");
        }
        ERR_TRY(batch_list_item(&wire_reader->reader.builder, field.bytes, &at, err));
        prop->list.count++;
    }
    return ERR_OK;
}

/* The value of a property that has one; the event may be rejected. */
static enum err_code read_value(struct wire_reader *wire_reader, struct event *event,
                                const struct wire_property *p, struct prop *prop, struct err *err)
{
    struct ingest_reader *reader = &wire_reader->reader;
    enum err_code code = ERR_OK;
    switch ((enum property_field)p->value_field) {
    case PROPERTY_STRING:
    case PROPERTY_STRING_REF: {
        bool is_ref = p->value_field == PROPERTY_STRING_REF;
        prop->type = COL_STRING;
        (void)text_of(wire_reader, event, is_ref ? (struct str){"", 0} : p->text,
                      is_ref ? (uint32_t)p->value : 0, "a value", &prop->string, &code, err);
        return code;
    }
    case PROPERTY_NUMBER: {
        double number = 0;
        memcpy(&number, &p->value, sizeof(number));
        prop->type = COL_NUMBER;
        return num_double(number, &prop->number)
                   ? ERR_OK
                   : ingest_reject(reader, event, err, "a number must be finite");
    }
    case PROPERTY_INT:
        prop->type = COL_NUMBER;
        prop->number = num_int(unzigzag(p->value));
        return ERR_OK;
    case PROPERTY_DECIMAL:
        prop->type = COL_NUMBER;
        if (!utf8_is_valid(p->text)) {
            return ingest_reject(reader, event, err, "a decimal is not UTF-8");
        }
        return num_parse(p->text, &prop->number)
                   ? ERR_OK
                   : ingest_reject(reader, event, err, "\"%.*s\" is no number",
                                   (int)MIN_OF(p->text.len, (size_t)40), p->text.ptr);
    case PROPERTY_BOOL:
        prop->type = COL_BOOL;
        prop->boolean = p->value != 0;
        return ERR_OK;
    case PROPERTY_TIME_MS:
        prop->type = COL_TIME;
        prop->ts_ms = unzigzag(p->value);
        return ERR_OK;
    case PROPERTY_LIST: return read_list(wire_reader, event, p->text, prop, err);
    case PROPERTY_NAME:
    case PROPERTY_NAME_REF: break;
    }
    ASSERT(!"no value's field");
}

static enum err_code add_property(struct wire_reader *wire_reader, struct event *event,
                                  const struct wire_property *p, struct err *err)
{
    struct prop prop = {0};
    struct str name;
    enum err_code code = ERR_OK;
    if (!text_of(wire_reader, event, p->name, p->name_ref, "a property's name", &name, &code,
                 err)) {
        return code;
    }
    if (p->value_field == 0) {
        return ERR_OK;
    }
    ERR_TRY(read_value(wire_reader, event, p, &prop, err));
    if (event->status == RECEIPT_REJECTED) {
        return ERR_OK;
    }
    uint32_t *known = p->name_ref == 0 ? NULL : &wire_reader->strings[p->name_ref - 1].name_idx;
    if (known != NULL && *known != NAME_UNKNOWN) {
        prop.name_idx = *known;
    } else {
        /* No event has names at its top here, so a name's number is the same in all of them. */
        ERR_TRY(ingest_name(&wire_reader->reader, name, INGEST_INNER, &prop.name_idx, err));
        if (known != NULL) {
            *known = prop.name_idx;
        }
    }
    return batch_prop(&wire_reader->reader.builder, &prop, err);
}

/* ---- events ---- */

enum event_field {
    EVENT_ID = 1,
    EVENT_TIME_MS = 2,
    EVENT_NAME = 3,
    EVENT_NAME_REF = 4,
    EVENT_USER_ID = 5,
    EVENT_USER_ID_REF = 6,
    EVENT_ANONYMOUS_ID = 7,
    EVENT_ANONYMOUS_ID_REF = 8,
    EVENT_PROPERTIES = 9,
};

/* The event's own fields, and where its properties lie. */
struct wire_event {
    struct str id, name, user_id, anonymous_id;
    uint32_t name_ref, user_id_ref, anonymous_id_ref;
    int64_t time_ms;
};

static bool read_event_fields(struct str bytes, struct wire_event *ret, struct buf *properties)
{
    struct wire wire = wire_of(bytes);
    struct wire_field field;
    *ret = (struct wire_event){0};
    buf_clear(properties);
    while (wire_next(&wire, &field)) {
        if (field.number > EVENT_PROPERTIES) {
            continue;
        }
        bool is_varint = field.number == EVENT_TIME_MS ||
                         (field.number % 2 == 0 && field.number >= EVENT_NAME_REF);
        if (!wire_is(&wire, &field, is_varint ? WIRE_VARINT : WIRE_BYTES)) {
            return false;
        }
        switch ((enum event_field)field.number) {
        case EVENT_ID: ret->id = field.bytes; break;
        case EVENT_TIME_MS: ret->time_ms = (int64_t)field.value; break;
        case EVENT_NAME: ret->name = field.bytes; break;
        case EVENT_NAME_REF: ret->name_ref = (uint32_t)field.value; break;
        case EVENT_USER_ID: ret->user_id = field.bytes; break;
        case EVENT_USER_ID_REF: ret->user_id_ref = (uint32_t)field.value; break;
        case EVENT_ANONYMOUS_ID: ret->anonymous_id = field.bytes; break;
        case EVENT_ANONYMOUS_ID_REF: ret->anonymous_id_ref = (uint32_t)field.value; break;
        case EVENT_PROPERTIES: buf_append(properties, &field.bytes, sizeof(field.bytes)); break;
        }
    }
    return !wire.is_bad;
}

static enum err_code read_texts(struct wire_reader *wire_reader, struct event *event,
                                const struct wire_event *e, struct err *err)
{
    enum err_code code = ERR_OK;
    (void)(text_of(wire_reader, event, e->id, 0, "event_id", &event->event_id, &code, err) &&
           text_of(wire_reader, event, e->name, e->name_ref, "event_name", &event->name, &code,
                   err) &&
           text_of(wire_reader, event, e->user_id, e->user_id_ref, "user_id", &event->user_id,
                   &code, err) &&
           text_of(wire_reader, event, e->anonymous_id, e->anonymous_id_ref, "anonymous_id",
                   &event->anonymous_id, &code, err));
    return code;
}

static enum err_code read_event(struct wire_reader *wire_reader, struct str bytes, uint32_t number,
                                struct err *err)
{
    struct ingest_reader *reader = &wire_reader->reader;
    struct buf *properties = &wire_reader->properties;
    struct event *event = NULL;
    struct wire_event fields;
    if (!read_event_fields(bytes, &fields, properties)) {
        return no_batch(err);
    }
    ERR_TRY(buf_check(properties, err));
    ERR_TRY(batch_event(&reader->builder, &event, err));
    event->line = number;
    ERR_TRY(read_texts(wire_reader, event, &fields, err));
    if (event->status != RECEIPT_REJECTED) {
        event->time_ms = fields.time_ms == 0 ? reader->opts->now_ms : fields.time_ms;
    }
    const struct str *spans = (const struct str *)(const void *)properties->ptr;
    for (size_t i = 0; i < properties->len / sizeof(*spans); i++) {
        struct wire_property property;
        /* Of a rejected event, too: bytes that are no message are no event's fault alone. */
        if (!read_property(spans[i], &property)) {
            return no_batch(err);
        }
        if (event->status != RECEIPT_REJECTED) {
            ERR_TRY(add_property(wire_reader, event, &property, err));
        }
    }
    batch_check_event(&reader->builder, reader->opts->now_ms);
    return ERR_OK;
}

/* ---- the body ---- */

enum batch_field { BATCH_STRINGS = 1, BATCH_EVENTS = 2 };

static enum err_code read_strings(struct wire_reader *wire_reader, struct str body, struct err *err)
{
    struct wire wire = wire_of(body);
    struct wire_field field;
    while (wire_next(&wire, &field)) {
        bool is_known = field.number == BATCH_STRINGS || field.number == BATCH_EVENTS;
        if (is_known && !wire_is(&wire, &field, WIRE_BYTES)) {
            break;
        }
        if (field.number == BATCH_STRINGS) {
            ERR_TRY(add_string(wire_reader, field.bytes, err));
        }
    }
    return wire.is_bad ? no_batch(err) : ERR_OK;
}

static enum err_code read_body(struct wire_reader *wire_reader, struct str body,
                               struct event_batch **ret, struct err *err)
{
    struct ingest_reader *reader = &wire_reader->reader;
    struct str copy;
    ERR_TRY(batch_begin(reader->opts->budget, reader->opts->now_ms, &reader->builder, err));
    reader->builder.batch->bytes = body.len;
    ERR_TRY(ingest_copy_body(reader, body, &copy, err));
    ERR_TRY(read_strings(wire_reader, copy, err));
    struct wire wire = wire_of(copy);
    struct wire_field field;
    uint32_t number = 0;
    while (wire_next(&wire, &field)) {
        if (field.number == BATCH_EVENTS) {
            ERR_TRY(read_event(wire_reader, field.bytes, ++number, err));
            ERR_TRY(
                ingest_expect(reader, (size_t)((const char *)wire.at - copy.ptr), copy.len, err));
        }
    }
    *ret = TAKE(reader->builder.batch);
    return ERR_OK;
}

enum err_code ingest_parse_protobuf(struct str body, const struct ingest_opts *opts,
                                    struct event_batch **ret, struct err *err)
{
    struct wire_reader wire_reader = {.reader.opts = opts};
    enum err_code code = read_body(&wire_reader, body, ret, err);
    wire_reader_done(&wire_reader);
    return code;
}
