/* server/rpc_json.c - a walk over the descriptor, once for writing and once for reading. */
#include "server/rpc_json.h"

#include "server/json_tokens.h"
#include "storage/base/json_text.h"
#include "storage/num.h"

#include <ctype.h>
#include <math.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

/* ---- writing ---- */

static void write_name(const char *name, struct buf *out)
{
    buf_u8(out, '"');
    for (const char *p = name; *p != 0; p++) {
        if (*p == '_' && p[1] != 0) {
            p++;
            buf_u8(out, (uint8_t)toupper((unsigned char)*p));
        } else {
            buf_u8(out, (uint8_t)*p);
        }
    }
    buf_z(out, "\":");
}

static size_t element_bytes(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_ENUM: return 4;
    case PROTOBUF_C_TYPE_BOOL: return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_BYTES: return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE: return sizeof(void *);
    default: return 8;
    }
}

static void write_double(double v, struct buf *out)
{
    if (isnan(v)) {
        buf_z(out, "\"NaN\"");
    } else if (isinf(v)) {
        buf_z(out, v > 0 ? "\"Infinity\"" : "\"-Infinity\"");
    } else {
        json_double(v, out);
    }
}

static void write_value(const ProtobufCFieldDescriptor *field, const void *at, struct buf *out)
{
    int64_t i64 = 0;
    uint64_t u64 = 0;
    int32_t i32 = 0;
    uint32_t u32 = 0;
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        memcpy(&i32, at, 4);
        buf_printf(out, "%d", i32);
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        memcpy(&u32, at, 4);
        buf_printf(out, "%u", u32);
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        memcpy(&i64, at, 8);
        buf_printf(out, "\"%lld\"", (long long)i64);
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        memcpy(&u64, at, 8);
        buf_printf(out, "\"%llu\"", (unsigned long long)u64);
        break;
    case PROTOBUF_C_TYPE_FLOAT: {
        float f = 0;
        memcpy(&f, at, 4);
        write_double((double)f, out);
        break;
    }
    case PROTOBUF_C_TYPE_DOUBLE: {
        double d = 0;
        memcpy(&d, at, 8);
        write_double(d, out);
        break;
    }
    case PROTOBUF_C_TYPE_BOOL:
        buf_z(out, *(const protobuf_c_boolean *)at ? "true" : "false");
        break;
    case PROTOBUF_C_TYPE_ENUM: {
        memcpy(&i32, at, 4);
        const ProtobufCEnumValue *value =
            protobuf_c_enum_descriptor_get_value(field->descriptor, i32);
        if (value == NULL) {
            buf_printf(out, "%d", i32);
        } else {
            json_text(str_of(value->name), out);
        }
        break;
    }
    case PROTOBUF_C_TYPE_STRING: {
        const char *z = *(char *const *)at;
        json_text(str_of(z == NULL ? "" : z), out);
        break;
    }
    case PROTOBUF_C_TYPE_BYTES: {
        const ProtobufCBinaryData *data = at;
        size_t room = (data->len + 2) / 3 * 4 + 1;
        buf_u8(out, '"');
        uint8_t *to = data->len < INT32_MAX / 2 ? buf_reserve(out, room) : NULL;
        if (to != NULL) {
            out->len += (size_t)EVP_EncodeBlock(to, data->data, (int)data->len);
        }
        buf_u8(out, '"');
        break;
    }
    case PROTOBUF_C_TYPE_MESSAGE: rpc_json_write(*(ProtobufCMessage *const *)at, out); break;
    }
}

static bool is_map_entry(const ProtobufCFieldDescriptor *field)
{
    if (field->type != PROTOBUF_C_TYPE_MESSAGE || field->label != PROTOBUF_C_LABEL_REPEATED) {
        return false;
    }
    const ProtobufCMessageDescriptor *entry = field->descriptor;
    size_t len = strlen(entry->short_name);
    return entry->n_fields == 2 && len > 5 && strcmp(entry->short_name + len - 5, "Entry") == 0 &&
           strcmp(entry->fields[0].name, "key") == 0 && strcmp(entry->fields[1].name, "value") == 0;
}

/* Of a field that is not repeated: does it hold its default, which is left out? */
static bool is_default(const ProtobufCFieldDescriptor *field, const void *at)
{
    static const uint8_t zeroes[sizeof(ProtobufCBinaryData)];
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        const char *z = *(char *const *)at;
        return z == NULL || *z == 0;
    }
    if (field->type == PROTOBUF_C_TYPE_BYTES) {
        return ((const ProtobufCBinaryData *)at)->len == 0;
    }
    return memcmp(at, zeroes, element_bytes(field->type)) == 0;
}

static void write_repeated(const ProtobufCFieldDescriptor *field, const void *elements,
                           size_t count, struct buf *out)
{
    bool is_map = is_map_entry(field);
    buf_u8(out, is_map ? '{' : '[');
    for (size_t i = 0; i < count; i++) {
        const uint8_t *at = (const uint8_t *)elements + i * element_bytes(field->type);
        if (i > 0) {
            buf_u8(out, ',');
        }
        if (!is_map) {
            write_value(field, at, out);
            continue;
        }
        const ProtobufCMessage *entry = *(ProtobufCMessage *const *)(const void *)at;
        const ProtobufCFieldDescriptor *fields = entry->descriptor->fields;
        write_value(&fields[0], (const uint8_t *)entry + fields[0].offset, out);
        buf_u8(out, ':');
        write_value(&fields[1], (const uint8_t *)entry + fields[1].offset, out);
    }
    buf_u8(out, is_map ? '}' : ']');
}

void rpc_json_write(const ProtobufCMessage *message, struct buf *out)
{
    bool is_first = true;
    buf_u8(out, '{');
    for (unsigned f = 0; message != NULL && f < message->descriptor->n_fields; f++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[f];
        const uint8_t *at = (const uint8_t *)message + field->offset;
        const uint8_t *quantifier = (const uint8_t *)message + field->quantifier_offset;
        size_t count = 0;
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            memcpy(&count, quantifier, sizeof(count));
            if (count == 0) {
                continue;
            }
        } else if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
            uint32_t which = 0;
            memcpy(&which, quantifier, sizeof(which));
            if (which != field->id) {
                continue;
            }
        } else if (is_default(field, at)) {
            continue;
        }
        if (!is_first) {
            buf_u8(out, ',');
        }
        is_first = false;
        write_name(field->name, out);
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            write_repeated(field, *(void *const *)(const void *)at, count, out);
        } else {
            write_value(field, at, out);
        }
    }
    buf_u8(out, '}');
}

/* ---- reading ---- */

struct json_in {
    const struct json_token *tokens;
    struct arena *arena;
};

static enum err_code read_message(struct json_in *in, const ProtobufCMessageDescriptor *descriptor,
                                  uint32_t idx, ProtobufCMessage **ret, struct err *err);

static uint32_t next_of(const struct json_in *in, uint32_t idx)
{
    const struct json_token *token = &in->tokens[idx];
    return token->kind == JSON_OBJECT || token->kind == JSON_ARRAY ? token->end_idx + 1 : idx + 1;
}

/* "fooBar" or "foo_bar" names the field foo_bar. */
static bool is_field_name(const char *name, struct str key)
{
    size_t k = 0;
    for (const char *p = name; *p != 0; p++) {
        if (k < key.len && key.ptr[k] == *p) {
            k++;
            continue;
        }
        if (*p == '_' && p[1] != 0 && k < key.len && key.ptr[k] == toupper((unsigned char)p[1])) {
            p++;
            k++;
            continue;
        }
        return false;
    }
    return k == key.len;
}

static enum err_code wrong(const ProtobufCFieldDescriptor *field, const char *expected,
                           struct err *err)
{
    return err_set(err, ERR_INVALID, "field \"%s\": expected %s", field->name, expected);
}

/* An integer from a number or a string of digits, within [min, max]. */
static enum err_code read_integer(const ProtobufCFieldDescriptor *field,
                                  const struct json_token *token, bool is_unsigned, int bits,
                                  void *at, struct err *err)
{
    struct num n = {0};
    bool is_text = token->kind == JSON_NUMBER || token->kind == JSON_STRING;
    unsigned long long u = 0;
    long long i = 0;
    if (is_text && num_parse(token->text, &n) && n.scale == 0) {
        i = n.m;
        u = (unsigned long long)n.m;
        if (is_unsigned && n.m < 0) {
            return wrong(field, "a whole number that is not negative", err);
        }
    } else if (is_text && is_unsigned && bits == 64 && token->text.len > 0 &&
               token->text.len <= 20) {
        char digits[24] = {0};
        char *end = NULL;
        memcpy(digits, token->text.ptr, token->text.len);
        u = strtoull(digits, &end, 10);
        if (*end != 0 || !isdigit((unsigned char)digits[0])) {
            return wrong(field, "a whole number", err);
        }
        i = 0;
    } else {
        return wrong(field, "a whole number", err);
    }
    if (bits == 64) {
        memcpy(at, is_unsigned ? (void *)&u : (void *)&i, 8);
        return ERR_OK;
    }
    if (is_unsigned ? u > UINT32_MAX : (i > INT32_MAX || i < INT32_MIN)) {
        return wrong(field, "a 32-bit whole number", err);
    }
    uint32_t low = is_unsigned ? (uint32_t)u : (uint32_t)(int32_t)i;
    memcpy(at, &low, 4);
    return ERR_OK;
}

static enum err_code read_float(const ProtobufCFieldDescriptor *field,
                                const struct json_token *token, double *ret, struct err *err)
{
    struct num n;
    if ((token->kind == JSON_NUMBER || token->kind == JSON_STRING) && num_parse(token->text, &n)) {
        *ret = num_to_double(n);
        return ERR_OK;
    }
    if (token->kind == JSON_STRING && str_eq(token->text, STR("NaN"))) {
        *ret = (double)NAN;
        return ERR_OK;
    }
    if (token->kind == JSON_STRING && str_eq(token->text, STR("Infinity"))) {
        *ret = (double)INFINITY;
        return ERR_OK;
    }
    if (token->kind == JSON_STRING && str_eq(token->text, STR("-Infinity"))) {
        *ret = -(double)INFINITY;
        return ERR_OK;
    }
    return wrong(field, "a number", err);
}

static enum err_code read_enum(const ProtobufCFieldDescriptor *field,
                               const struct json_token *token, void *at, struct err *err)
{
    if (token->kind == JSON_STRING) {
        struct str name = {0};
        char z[128];
        if (token->text.len < sizeof(z)) {
            memcpy(z, token->text.ptr, token->text.len);
            z[token->text.len] = 0;
            const ProtobufCEnumValue *value =
                protobuf_c_enum_descriptor_get_value_by_name(field->descriptor, z);
            if (value != NULL) {
                memcpy(at, &value->value, sizeof(int));
                return ERR_OK;
            }
        }
        (void)name;
        return wrong(field, "a name of its enum", err);
    }
    return read_integer(field, token, false, 32, at, err);
}

static enum err_code read_bytes(struct json_in *in, const ProtobufCFieldDescriptor *field,
                                const struct json_token *token, ProtobufCBinaryData *at,
                                struct err *err)
{
    size_t len = token->text.len;
    if (token->kind != JSON_STRING || len % 4 != 0 || len > INT32_MAX / 2) {
        return wrong(field, "base64", err);
    }
    void *out = NULL;
    ERR_TRY(arena_alloc(in->arena, len / 4 * 3 + 1, &out, err));
    int got = EVP_DecodeBlock(out, (const unsigned char *)token->text.ptr, (int)len);
    if (got < 0) {
        return wrong(field, "base64", err);
    }
    size_t padding = len > 0 ? (size_t)(token->text.ptr[len - 1] == '=') +
                                   (size_t)(token->text.ptr[len - 2] == '=')
                             : 0;
    at->data = out;
    at->len = (size_t)got - padding;
    return ERR_OK;
}

static enum err_code read_value(struct json_in *in, const ProtobufCFieldDescriptor *field,
                                uint32_t idx, void *at, struct err *err)
{
    const struct json_token *token = &in->tokens[idx];
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32: return read_integer(field, token, false, 32, at, err);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32: return read_integer(field, token, true, 32, at, err);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64: return read_integer(field, token, false, 64, at, err);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64: return read_integer(field, token, true, 64, at, err);
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE: {
        double d = 0;
        ERR_TRY(read_float(field, token, &d, err));
        if (field->type == PROTOBUF_C_TYPE_DOUBLE) {
            memcpy(at, &d, 8);
        } else {
            float f = (float)d;
            memcpy(at, &f, 4);
        }
        return ERR_OK;
    }
    case PROTOBUF_C_TYPE_BOOL:
        if (token->kind != JSON_TRUE && token->kind != JSON_FALSE) {
            return wrong(field, "true or false", err);
        }
        *(protobuf_c_boolean *)at = token->kind == JSON_TRUE;
        return ERR_OK;
    case PROTOBUF_C_TYPE_ENUM: return read_enum(field, token, at, err);
    case PROTOBUF_C_TYPE_STRING: {
        struct str copy;
        if (token->kind != JSON_STRING) {
            return wrong(field, "a string", err);
        }
        ERR_TRY(arena_str(in->arena, token->text, &copy, err));
        *(const char **)at = copy.ptr;
        return ERR_OK;
    }
    case PROTOBUF_C_TYPE_BYTES: return read_bytes(in, field, token, at, err);
    case PROTOBUF_C_TYPE_MESSAGE:
        if (token->kind != JSON_OBJECT) {
            return wrong(field, "an object", err);
        }
        return read_message(in, field->descriptor, idx, at, err);
    }
    return wrong(field, "a known type", err);
}

/* One member of a map object as an entry message. */
static enum err_code read_entry(struct json_in *in, const ProtobufCFieldDescriptor *field,
                                uint32_t idx, ProtobufCMessage **ret, struct err *err)
{
    const ProtobufCMessageDescriptor *entry = field->descriptor;
    void *message = NULL;
    struct str key;
    ERR_TRY(arena_alloc(in->arena, entry->sizeof_message, &message, err));
    protobuf_c_message_init(entry, message);
    if (entry->fields[0].type != PROTOBUF_C_TYPE_STRING) {
        return wrong(field, "a map with string keys", err);
    }
    ERR_TRY(arena_str(in->arena, in->tokens[idx].key, &key, err));
    memcpy((uint8_t *)message + entry->fields[0].offset, &key.ptr, sizeof(key.ptr));
    ERR_TRY(
        read_value(in, &entry->fields[1], idx, (uint8_t *)message + entry->fields[1].offset, err));
    *ret = message;
    return ERR_OK;
}

static enum err_code read_repeated(struct json_in *in, const ProtobufCFieldDescriptor *field,
                                   uint32_t idx, ProtobufCMessage *message, struct err *err)
{
    bool is_map = is_map_entry(field);
    const struct json_token *token = &in->tokens[idx];
    if (token->kind != (is_map ? JSON_OBJECT : JSON_ARRAY)) {
        return wrong(field, is_map ? "an object" : "an array", err);
    }
    size_t count = 0;
    for (uint32_t i = idx + 1; i < token->end_idx; i = next_of(in, i)) {
        count++;
    }
    void *elements = NULL;
    size_t size = element_bytes(field->type);
    ERR_TRY(arena_alloc_array(in->arena, count, size, &elements, err));
    uint8_t *at = elements;
    for (uint32_t i = idx + 1; i < token->end_idx; i = next_of(in, i), at += size) {
        if (is_map) {
            ERR_TRY(read_entry(in, field, i, (ProtobufCMessage **)(void *)at, err));
        } else {
            ERR_TRY(read_value(in, field, i, at, err));
        }
    }
    memcpy((uint8_t *)message + field->offset, &elements, sizeof(elements));
    memcpy((uint8_t *)message + field->quantifier_offset, &count, sizeof(count));
    return ERR_OK;
}

static enum err_code read_message(struct json_in *in, const ProtobufCMessageDescriptor *descriptor,
                                  uint32_t idx, ProtobufCMessage **ret, struct err *err)
{
    void *memory = NULL;
    ERR_TRY(arena_alloc(in->arena, descriptor->sizeof_message, &memory, err));
    ProtobufCMessage *message = memory;
    protobuf_c_message_init(descriptor, message);
    uint32_t end = in->tokens[idx].end_idx;
    for (uint32_t i = idx + 1; i < end; i = next_of(in, i)) {
        const struct json_token *token = &in->tokens[i];
        const ProtobufCFieldDescriptor *field = NULL;
        for (unsigned f = 0; f < descriptor->n_fields && field == NULL; f++) {
            if (is_field_name(descriptor->fields[f].name, token->key)) {
                field = &descriptor->fields[f];
            }
        }
        if (field == NULL) {
            return err_set(err, ERR_INVALID, "message %s has no field \"" STR_FMT "\"",
                           descriptor->short_name, STR_ARG(token->key));
        }
        if (token->kind == JSON_NULL) {
            continue;
        }
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            ERR_TRY(read_repeated(in, field, i, message, err));
            continue;
        }
        ERR_TRY(read_value(in, field, i, (uint8_t *)message + field->offset, err));
        if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0) {
            uint32_t which = field->id;
            memcpy((uint8_t *)message + field->quantifier_offset, &which, sizeof(which));
        }
    }
    *ret = message;
    return ERR_OK;
}

enum err_code rpc_json_read(const ProtobufCMessageDescriptor *descriptor, struct str text,
                            struct arena *arena, ProtobufCMessage **ret, struct err *err)
{
    CLEANUP(json_parser_freep) struct json_parser *parser = NULL;
    void *copy = NULL;
    uint32_t count = 0;
    struct json_in in = {.arena = arena};
    ERR_TRY(json_parser_create(&parser, err));
    ERR_TRY(arena_alloc(arena, text.len + JSON_PADDING_BYTES, &copy, err));
    memcpy(copy, text.ptr, text.len);
    ERR_TRY(json_parse(parser, (struct str){copy, text.len}, &in.tokens, &count, err));
    if (in.tokens[0].kind != JSON_OBJECT) {
        return err_set(err, ERR_INVALID, "the body must be a JSON object");
    }
    return read_message(&in, descriptor, 0, ret, err);
}
