/* bench/event_format.c - see event_format.h. A row is written by copying pieces behind one pointer: a
 * generator that is slower than the server would measure itself. */
#include "bench/event_format.h"

#include "storage/base/size.h"

#include <stdlib.h>

#define ROW_BYTES_MAX 1024u /* of text; the longest possible row has about 620 */

struct event_writer {
    const struct event_gen *gen;
    enum event_format format;
    char hex[256][2];
    struct str texts[GEN_VALUE_LISTS][300];
    struct str names[GEN_EVENT_NAMES];
    struct str list_names[GEN_VALUE_LISTS];

    /* proto: the batch being filled */
    uint32_t batch_events;
    struct buf strings, events, event, prop;
    uint32_t string_count;
    uint32_t batch_number;
    struct proto_ref {
        uint32_t batch; /* the number of the batch that has it; 0: none */
        uint32_t ref;
    } value_refs[GEN_VALUE_LISTS][300], name_refs[GEN_EVENT_NAMES], list_refs[GEN_VALUE_LISTS],
        other_refs[4];
};

enum other_name { OTHER_DEVICE_ID, OTHER_SESSION_ID, OTHER_LATENCY_MS, OTHER_AMOUNT };

enum err_code event_writer_create(const struct event_gen *gen, enum event_format format,
                                  struct event_writer **ret, struct err *err)
{
    static const char digits[] = "0123456789abcdef";
    struct event_writer *writer = calloc(1, sizeof(*writer));
    if (writer == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory: the event writer");
    }
    writer->gen = gen;
    writer->format = format;
    writer->batch_number = 1;
    for (uint32_t i = 0; i < 256; i++) {
        writer->hex[i][0] = digits[i >> 4];
        writer->hex[i][1] = digits[i & 15];
    }
    for (uint32_t list = 0; list < GEN_VALUE_LISTS; list++) {
        writer->list_names[list] = gen_list_name((enum gen_value_list)list);
        for (uint32_t i = 0; i < gen_list_count((enum gen_value_list)list); i++) {
            writer->texts[list][i] = gen_list_value(gen, (enum gen_value_list)list, i);
        }
    }
    for (uint32_t i = 0; i < GEN_EVENT_NAMES; i++) {
        writer->names[i] = gen_event_name((enum gen_event_name)i);
    }
    *ret = writer;
    return ERR_OK;
}

void event_writer_free(struct event_writer *writer)
{
    if (writer != NULL) {
        buf_done(&writer->strings);
        buf_done(&writer->events);
        buf_done(&writer->event);
        buf_done(&writer->prop);
        free(writer);
    }
}

/* ---- pieces of text: each returns where the next one goes ---- */

static inline char *put(char *at, struct str s)
{
    memcpy(at, s.ptr, s.len);
    return at + s.len;
}

static inline char *put_uint(char *at, uint64_t v)
{
    char digits[20];
    size_t count = 0;
    do {
        digits[sizeof(digits) - ++count] = (char)('0' + v % 10);
        v /= 10;
    } while (v != 0);
    memcpy(at, digits + sizeof(digits) - count, count);
    return at + count;
}

static inline char *put_hex(const struct event_writer *writer, char *at, uint64_t v, int bytes)
{
    for (int i = bytes - 1; i >= 0; i--) {
        memcpy(at, writer->hex[(v >> (8 * i)) & 255], 2);
        at += 2;
    }
    return at;
}

static inline char *put_amount(char *at, uint32_t cents)
{
    at = put_uint(at, cents / 100);
    *at++ = '.';
    *at++ = (char)('0' + cents / 10 % 10);
    *at++ = (char)('0' + cents % 10);
    return at;
}

static char *put_event_id(const struct event_writer *writer, char *at, const struct gen_event *row)
{
    uint64_t id[2];
    gen_event_id(writer->gen, row, id);
    at = put_hex(writer, at, id[0] >> 32, 4);
    *at++ = '-';
    at = put_hex(writer, at, id[0] >> 16, 2);
    *at++ = '-';
    at = put_hex(writer, at, id[0], 2);
    *at++ = '-';
    at = put_hex(writer, at, id[1] >> 48, 2);
    *at++ = '-';
    return put_hex(writer, at, id[1], 6);
}

static struct str row_value(const struct event_writer *writer, const struct gen_event *row,
                            enum gen_value_list list)
{
    uint16_t value = row->values[list];
    return value == GEN_NO_VALUE ? (struct str){"", 0} : writer->texts[list][value];
}

/* ---- tsv ---- */

static char *write_tsv(const struct event_writer *writer, const struct gen_event *row, char *at)
{
    static const enum gen_value_list ORDER[] = {
        GEN_PLATFORM, GEN_APP_VERSION, GEN_COUNTRY,  GEN_CITY, GEN_CHANNEL,
        GEN_FEATURE,  GEN_NETWORK,     GEN_REFERRER, GEN_PAGE, GEN_ERROR_CODE};
    at = put_event_id(writer, at, row);
    *at++ = '\t';
    at = put_uint(at, (uint64_t)row->time_ms);
    *at++ = '\t';
    at = put(at, writer->names[row->name]);
    at = put(at, STR("\tu_"));
    at = put_uint(at, row->user);
    at = put(at, STR("\td_"));
    at = put_hex(writer, at, gen_device(writer->gen, row), 8);
    at = put(at, STR("\ts_"));
    at = put_hex(writer, at, row->session, 8);
    for (size_t i = 0; i < COUNT_OF(ORDER); i++) {
        *at++ = '\t';
        at = put(at, row_value(writer, row, ORDER[i]));
    }
    *at++ = '\t';
    at = put_uint(at, row->latency_ms);
    *at++ = '\t';
    at = row->amount_cents == 0 ? put(at, STR("0")) : put_amount(at, row->amount_cents);
    *at++ = '\n';
    return at;
}

/* ---- ndjson ---- */

/* ,"name":"value" for a value that is there; none of the values needs escaping. */
static char *put_member(const struct event_writer *writer, char *at, const struct gen_event *row,
                        enum gen_value_list list, bool is_first)
{
    if (row->values[list] == GEN_NO_VALUE) {
        return at;
    }
    at = is_first ? put(at, STR("\"")) : put(at, STR(",\""));
    at = put(at, writer->list_names[list]);
    at = put(at, STR("\":\""));
    at = put(at, row_value(writer, row, list));
    *at++ = '"';
    return at;
}

static char *write_ndjson(const struct event_writer *writer, const struct gen_event *row, char *at)
{
    at = put(at, STR("{\"event_id\":\""));
    at = put_event_id(writer, at, row);
    at = put(at, STR("\",\"event_time\":"));
    at = put_uint(at, (uint64_t)row->time_ms);
    at = put(at, STR(",\"event_name\":\""));
    at = put(at, writer->names[row->name]);
    at = put(at, STR("\",\"user_id\":\"u_"));
    at = put_uint(at, row->user);
    at = put(at, STR("\",\"device_id\":\"d_"));
    at = put_hex(writer, at, gen_device(writer->gen, row), 8);
    at = put(at, STR("\",\"session_id\":\"s_"));
    at = put_hex(writer, at, row->session, 8);
    *at++ = '"';
    for (uint32_t list = GEN_PLATFORM; list <= GEN_NETWORK; list++) {
        at = put_member(writer, at, row, (enum gen_value_list)list, false);
    }
    at = put(at, STR(",\"properties\":{"));
    for (uint32_t list = GEN_PAGE; list <= GEN_ERROR_CODE; list++) {
        at = put_member(writer, at, row, (enum gen_value_list)list, list == GEN_PAGE);
    }
    if (row->latency_ms != 0) {
        at = put_uint(put(at, STR(",\"latency_ms\":")), row->latency_ms);
    }
    if (row->amount_cents != 0) {
        at = put_amount(put(at, STR(",\"amount\":")), row->amount_cents);
    }
    return put(at, STR("}}\n"));
}

/* ---- proto: field numbers are those of proto/trackway/v1/ingest.proto ---- */

enum wire_type { WIRE_VARINT = 0, WIRE_BYTES = 2 };

static void wire_uint(struct buf *out, uint32_t field, uint64_t v)
{
    buf_varint(out, (field << 3) | WIRE_VARINT);
    buf_varint(out, v);
}

static void wire_bytes(struct buf *out, uint32_t field, struct str bytes)
{
    buf_varint(out, (field << 3) | WIRE_BYTES);
    buf_blob(out, bytes);
}

/* 1 + the string's place in the batch's table; it is added when this batch first needs it. */
static uint32_t wire_ref(struct event_writer *writer, struct proto_ref *ref, struct str text)
{
    if (ref->batch != writer->batch_number) {
        wire_bytes(&writer->strings, 1, text);
        *ref = (struct proto_ref){writer->batch_number, ++writer->string_count};
    }
    return ref->ref;
}

static size_t varint_bytes(uint64_t v)
{
    size_t bytes = 1;
    for (; v >= 128; v >>= 7) {
        bytes++;
    }
    return bytes;
}

/* Event.properties = 9: Property.name_ref = 2 and one value, which is in writer->prop already. */
static void wire_prop(struct event_writer *writer, uint32_t name_ref)
{
    buf_varint(&writer->event, (9 << 3) | WIRE_BYTES);
    buf_varint(&writer->event, 1 + varint_bytes(name_ref) + writer->prop.len);
    wire_uint(&writer->event, 2, name_ref);
    buf_str(&writer->event, buf_as_str(&writer->prop));
    buf_clear(&writer->prop);
}

static uint32_t wire_other(struct event_writer *writer, enum other_name other)
{
    static const char *const NAMES[] = {"device_id", "session_id", "latency_ms", "amount"};
    return wire_ref(writer, &writer->other_refs[other], str_of(NAMES[other]));
}

static void wire_id_prop(struct event_writer *writer, enum other_name other, const char *prefix,
                         uint64_t id)
{
    char text[24];
    char *end = put_hex(writer, put(text, str_of(prefix)), id, 8);
    wire_bytes(&writer->prop, 3, (struct str){text, (size_t)(end - text)}); /* string_value */
    wire_prop(writer, wire_other(writer, other));
}

static void write_proto_event(struct event_writer *writer, const struct gen_event *row)
{
    char text[64];
    struct buf *event = &writer->event;
    char *end = put_event_id(writer, text, row);
    buf_clear(event);
    wire_bytes(event, 1, (struct str){text, (size_t)(end - text)});
    wire_uint(event, 2, (uint64_t)row->time_ms);
    wire_uint(event, 4, wire_ref(writer, &writer->name_refs[row->name], writer->names[row->name]));
    end = put_uint(put(text, STR("u_")), row->user);
    wire_bytes(event, 5, (struct str){text, (size_t)(end - text)});
    wire_id_prop(writer, OTHER_DEVICE_ID, "d_", gen_device(writer->gen, row));
    wire_id_prop(writer, OTHER_SESSION_ID, "s_", row->session);
    for (uint32_t list = 0; list < GEN_VALUE_LISTS; list++) {
        uint16_t value = row->values[list];
        if (value != GEN_NO_VALUE) {
            wire_uint(
                &writer->prop, 4, /* string_ref */
                wire_ref(writer, &writer->value_refs[list][value], writer->texts[list][value]));
            wire_prop(writer, wire_ref(writer, &writer->list_refs[list], writer->list_names[list]));
        }
    }
    if (row->latency_ms != 0) {
        wire_uint(&writer->prop, 6, (uint64_t)row->latency_ms << 1); /* int_value: zigzag */
        wire_prop(writer, wire_other(writer, OTHER_LATENCY_MS));
    }
    if (row->amount_cents != 0) {
        end = put_amount(text, row->amount_cents);
        wire_bytes(&writer->prop, 7, (struct str){text, (size_t)(end - text)}); /* decimal_value */
        wire_prop(writer, wire_other(writer, OTHER_AMOUNT));
    }
    wire_bytes(&writer->events, 2, buf_as_str(event));
}

static void write_proto_batch(struct event_writer *writer, struct buf *out)
{
    buf_varint(out, writer->strings.len + writer->events.len);
    buf_str(out, buf_as_str(&writer->strings));
    buf_str(out, buf_as_str(&writer->events));
    buf_clear(&writer->strings);
    buf_clear(&writer->events);
    writer->string_count = 0;
    writer->batch_events = 0;
    writer->batch_number++;
}

/* ---- */

void event_writer_rows(struct event_writer *writer, const struct gen_event *rows, size_t count,
                       struct buf *out)
{
    if (writer->format == FORMAT_PROTO) {
        for (size_t i = 0; i < count; i++) {
            write_proto_event(writer, &rows[i]);
            if (++writer->batch_events == FORMAT_PROTO_EVENTS) {
                write_proto_batch(writer, out);
            }
        }
        return;
    }
    for (size_t i = 0; i < count; i++) {
        char *begin = (char *)buf_reserve(out, ROW_BYTES_MAX);
        if (begin == NULL) {
            return; /* out is bad, and says so */
        }
        char *end = writer->format == FORMAT_TSV ? write_tsv(writer, &rows[i], begin)
                                                 : write_ndjson(writer, &rows[i], begin);
        out->len += (size_t)(end - begin);
    }
}

void event_writer_end(struct event_writer *writer, struct buf *out)
{
    if (writer->batch_events > 0) {
        write_proto_batch(writer, out);
    }
}
