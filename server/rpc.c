/* server/rpc.c - the two services' messages to and from the engine's own structs. */
#include "server/rpc.h"

#include "server/ingest_proto.h"
#include "server/rpc_json.h"
#include "server/utf8.h"
#include "storage/base/json_text.h"

#include "server/proto_api.h"

#include <math.h>
#include <string.h>

static const char *const PATHS[RPC_METHOD_COUNT] = {
    [RPC_QUERY] = "/trackway.v1.QueryService/Query",
    [RPC_INGEST] = "/trackway.v1.IngestService/Ingest",
};

bool rpc_find(struct str path, enum rpc_method *ret)
{
    for (int m = 0; m < RPC_METHOD_COUNT; m++) {
        if (str_eq(path, str_of(PATHS[m]))) {
            *ret = (enum rpc_method)m;
            return true;
        }
    }
    return false;
}

/* A body as a message in `arena`, whose budget caps what it may unpack to. */
static enum err_code decode(enum rpc_encoding encoding,
                            const ProtobufCMessageDescriptor *descriptor, struct str body,
                            struct arena *arena, ProtobufCMessage **ret, struct err *err)
{
    if (encoding == RPC_JSON) {
        return rpc_json_read(descriptor, body, arena, ret, err);
    }
    ProtobufCAllocator allocator = ingest_capped_allocator(arena);
    *ret = protobuf_c_message_unpack(descriptor, &allocator, body.len, (const uint8_t *)body.ptr);
    if (*ret == NULL) {
        return err_set(err, ERR_INVALID, "the body is no trackway.v1.%s", descriptor->short_name);
    }
    return ERR_OK;
}

static enum err_code encode(enum rpc_encoding encoding, const ProtobufCMessage *message,
                            struct buf *out, struct err *err)
{
    if (encoding == RPC_JSON) {
        rpc_json_write(message, out);
    } else {
        size_t bytes = protobuf_c_message_get_packed_size(message);
        uint8_t *to = buf_reserve(out, bytes);
        if (to != NULL) {
            out->len += protobuf_c_message_pack(message, to);
        }
    }
    return buf_check(out, err);
}

/* ---- queries ---- */

static enum err_code read_params(const Trackway__V1__QueryRequest *message, struct arena *arena,
                                 struct query_request *ret, struct err *err)
{
    struct query_param *params = NULL;
    ERR_TRY(ARENA_NEW(arena, message->n_params, &params, err));
    for (size_t i = 0; i < message->n_params; i++) {
        const Trackway__V1__QueryRequest__ParamsEntry *entry = message->params[i];
        const Trackway__V1__ParamValue *value = entry->value;
        struct query_param *param = &params[i];
        param->name = str_of(entry->key == NULL ? "" : entry->key);
        switch (value == NULL ? TRACKWAY__V1__PARAM_VALUE__VALUE__NOT_SET : value->value_case) {
        case TRACKWAY__V1__PARAM_VALUE__VALUE_STRING_VALUE:
            param->kind = PARAM_STRING;
            param->string = str_of(value->string_value);
            if (!utf8_is_valid(param->string)) {
                return err_set(err, ERR_INVALID, "parameter \"%s\" is not UTF-8", entry->key);
            }
            break;
        case TRACKWAY__V1__PARAM_VALUE__VALUE_NUMBER_VALUE:
            param->kind = PARAM_NUMBER;
            if (!num_double(value->number_value, &param->number)) {
                return err_set(err, ERR_INVALID, "parameter \"%s\" must be finite", entry->key);
            }
            break;
        case TRACKWAY__V1__PARAM_VALUE__VALUE_BOOL_VALUE:
            param->kind = PARAM_BOOL;
            param->boolean = value->bool_value;
            break;
        case TRACKWAY__V1__PARAM_VALUE__VALUE__NOT_SET:
        default: return err_set(err, ERR_INVALID, "parameter \"%s\" has no value", entry->key);
        }
    }
    ret->params = params;
    ret->param_count = (uint32_t)message->n_params;
    return ERR_OK;
}

enum err_code rpc_decode_query(enum rpc_encoding encoding, struct str body, struct arena *arena,
                               struct str *ret_dataset, struct query_request *ret, struct err *err)
{
    ProtobufCMessage *base = NULL;
    ERR_TRY(decode(encoding, &trackway__v1__query_request__descriptor, body, arena, &base, err));
    const Trackway__V1__QueryRequest *message = (const Trackway__V1__QueryRequest *)base;
    ERR_TRY(read_params(message, arena, ret, err));
    ret->text = str_of(message->query);
    ret->is_cache_off = message->cache_off;
    if (message->now_ms != 0) {
        ret->now_ms = message->now_ms;
    }
    *ret_dataset = str_of(message->dataset[0] == 0 ? "default" : message->dataset);
    return ERR_OK;
}

/* ---- tables by columns ---- */

struct column_out {
    struct arena *arena;
    const struct cell *cells; /* of the column's first row */
    size_t stride, rows;
};

static const struct cell *cell_at(const struct column_out *from, size_t row)
{
    return &from->cells[row * from->stride];
}

static enum err_code text_of_cell(struct arena *arena, const struct cell *cell, char **ret,
                                  struct err *err)
{
    CLEANUP(buf_freep) struct buf text = {0};
    switch (cell->kind) {
    case CELL_STRING: buf_str(&text, cell->string); break;
    case CELL_I64: buf_printf(&text, "%lld", (long long)cell->i64); break;
    case CELL_F64: json_double(cell->f64, &text); break;
    case CELL_DECIMAL: num_total_format(cell->decimal, &text); break;
    case CELL_BOOL: buf_z(&text, cell->boolean ? "true" : "false"); break;
    case CELL_NULL:
    case CELL_LIST: break;
    }
    ERR_TRY(buf_check(&text, err));
    struct str copy;
    ERR_TRY(arena_str(arena, buf_as_str(&text), &copy, err));
    *ret = (char *)(uintptr_t)copy.ptr;
    return ERR_OK;
}

static double number_of_cell(const struct cell *cell)
{
    switch (cell->kind) {
    case CELL_I64: return (double)cell->i64;
    case CELL_F64: return cell->f64;
    case CELL_DECIMAL: return cell->decimal.approx;
    default: return 0;
    }
}

static enum err_code list_of_cell(struct arena *arena, const struct cell *cell,
                                  Trackway__V1__StringRow **ret, struct err *err)
{
    ERR_TRY(ARENA_NEW(arena, 1, ret, err));
    trackway__v1__string_row__init(*ret);
    if (cell->kind != CELL_LIST) {
        return ERR_OK;
    }
    ERR_TRY(ARENA_NEW(arena, cell->list.count, &(*ret)->values, err));
    (*ret)->n_values = cell->list.count;
    for (uint32_t i = 0; i < cell->list.count; i++) {
        struct str copy;
        ERR_TRY(arena_str(arena, cell->list.items[i], &copy, err));
        (*ret)->values[i] = (char *)(uintptr_t)copy.ptr;
    }
    return ERR_OK;
}

/* Fill the one repeated field that fits the column's type. */
static enum err_code fill_values(const struct column_out *from, enum result_type type,
                                 Trackway__V1__Column *column, struct err *err)
{
    size_t rows = from->rows;
    bool needs_text = false;
    switch (type) {
    case RESULT_INT64:
        ERR_TRY(ARENA_NEW(from->arena, rows, &column->int_values, err));
        column->n_int_values = rows;
        for (size_t r = 0; r < rows; r++) {
            const struct cell *cell = cell_at(from, r);
            column->int_values[r] = cell->kind == CELL_I64 ? cell->i64 : 0;
        }
        return ERR_OK;
    case RESULT_NUMBER:
        ERR_TRY(ARENA_NEW(from->arena, rows, &column->number_values, err));
        column->n_number_values = rows;
        for (size_t r = 0; r < rows; r++) {
            const struct cell *cell = cell_at(from, r);
            column->number_values[r] = number_of_cell(cell);
            needs_text |= cell->kind == CELL_DECIMAL ||
                          (cell->kind == CELL_I64 && fabs((double)cell->i64) >= 0x1p53);
        }
        break;
    case RESULT_BOOL:
        ERR_TRY(ARENA_NEW(from->arena, rows, &column->bool_values, err));
        column->n_bool_values = rows;
        for (size_t r = 0; r < rows; r++) {
            column->bool_values[r] =
                cell_at(from, r)->kind == CELL_BOOL && cell_at(from, r)->boolean;
        }
        return ERR_OK;
    case RESULT_LIST:
        ERR_TRY(ARENA_NEW(from->arena, rows, &column->list_values, err));
        column->n_list_values = rows;
        for (size_t r = 0; r < rows; r++) {
            ERR_TRY(list_of_cell(from->arena, cell_at(from, r), &column->list_values[r], err));
        }
        return ERR_OK;
    case RESULT_STRING:
    case RESULT_TIME:
    case RESULT_DATE:
    case RESULT_ANY: needs_text = true; break;
    }
    if (!needs_text) {
        return ERR_OK;
    }
    ERR_TRY(ARENA_NEW(from->arena, rows, &column->string_values, err));
    column->n_string_values = rows;
    for (size_t r = 0; r < rows; r++) {
        ERR_TRY(text_of_cell(from->arena, cell_at(from, r), &column->string_values[r], err));
    }
    return ERR_OK;
}

static enum err_code column_of(const struct column_out *from, const struct result_col *col,
                               Trackway__V1__Column **ret, struct err *err)
{
    Trackway__V1__Column *column = NULL;
    struct str name;
    ERR_TRY(ARENA_NEW(from->arena, 1, &column, err));
    trackway__v1__column__init(column);
    ERR_TRY(arena_str(from->arena, col->name, &name, err));
    column->name = (char *)(uintptr_t)name.ptr;
    column->type = (char *)(uintptr_t)result_type_name(col->type);
    size_t null_count = 0;
    for (size_t r = 0; r < from->rows; r++) {
        null_count += cell_at(from, r)->kind == CELL_NULL;
    }
    ERR_TRY(ARENA_NEW(from->arena, null_count, &column->nulls, err));
    for (size_t r = 0; r < from->rows; r++) {
        if (cell_at(from, r)->kind == CELL_NULL) {
            column->nulls[column->n_nulls++] = r;
        }
    }
    ERR_TRY(fill_values(from, col->type, column, err));
    *ret = column;
    return ERR_OK;
}

static enum err_code z_of(struct arena *arena, struct str s, char **ret, struct err *err)
{
    struct str copy;
    ERR_TRY(arena_str(arena, s, &copy, err));
    *ret = (char *)(uintptr_t)copy.ptr;
    return ERR_OK;
}

static enum err_code meta_of(struct arena *arena, const struct result_meta *from,
                             Trackway__V1__Meta *meta, struct err *err)
{
    trackway__v1__meta__init(meta);
    ERR_TRY(z_of(arena, from->dataset, &meta->dataset, err));
    ERR_TRY(z_of(arena, from->watermark, &meta->watermark, err));
    ERR_TRY(z_of(arena, from->history_from, &meta->history_from, err));
    ERR_TRY(z_of(arena, from->time_zone, &meta->time_zone, err));
    ERR_TRY(z_of(arena, from->zone_version, &meta->time_zone_version, err));
    ERR_TRY(z_of(arena, from->verb, &meta->verb, err));
    meta->epoch = from->epoch;
    meta->exact = from->exact;
    meta->partial = from->partial;
    meta->elapsed_us = from->elapsed_us;
    meta->rows_read = from->rows_read;
    meta->bytes_read = from->bytes_read;
    meta->blocks_loaded = from->blocks_loaded;
    meta->segments = from->segments;
    meta->segments_pruned = from->segments_pruned;
    meta->cached = from->cached;
    meta->rows_total = from->rows_total;
    meta->rows_left_out = from->rows_left_out;
    meta->entered = from->has_entries ? from->entered : 0;
    meta->mature = from->has_entries ? from->mature : 0;
    ERR_TRY(ARENA_NEW(arena, from->warning_count, &meta->warnings, err));
    for (uint32_t i = 0; i < from->warning_count; i++) {
        ERR_TRY(z_of(arena, from->warnings[i], &meta->warnings[i], err));
    }
    meta->n_warnings = from->warning_count;
    return ERR_OK;
}

enum err_code rpc_encode_result(enum rpc_encoding encoding, const struct result *result,
                                struct buf *out, struct err *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    Trackway__V1__QueryResponse message = TRACKWAY__V1__QUERY_RESPONSE__INIT;
    Trackway__V1__Meta meta;
    if (arena == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for an answer");
    }
    message.row_count = result->row_count;
    ERR_TRY(ARENA_NEW(arena, result->col_count, &message.columns, err));
    ERR_TRY(ARENA_NEW(arena, result->col_count, &message.totals, err));
    message.n_columns = result->col_count;
    for (uint32_t c = 0; c < result->col_count; c++) {
        struct column_out rows = {arena, result->cells + c, result->col_count,
                                  (size_t)result->row_count};
        ERR_TRY(column_of(&rows, &result->cols[c], &message.columns[c], err));
        if (result->totals != NULL) {
            struct column_out total = {arena, result->totals + c, result->col_count, 1};
            ERR_TRY(column_of(&total, &result->cols[c], &message.totals[c], err));
        }
    }
    message.n_totals = result->totals == NULL ? 0 : result->col_count;
    ERR_TRY(meta_of(arena, &result->meta, &meta, err));
    message.meta = &meta;
    return encode(encoding, &message.base, out, err);
}

/* ---- ingest ---- */

enum err_code rpc_decode_ingest(enum rpc_encoding encoding, struct str body,
                                const struct ingest_opts *opts, struct str *ret_dataset,
                                struct event_batch **ret, struct err *err)
{
    struct budget budget;
    budget_init(&budget, INGEST_UNPACK_BYTES(body.len), "unpacking an ingest call");
    CLEANUP(arena_freep) struct arena *arena = arena_create(&budget);
    ProtobufCMessage *base = NULL;
    if (arena == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for an ingest call");
    }
    ERR_TRY(decode(encoding, &trackway__v1__ingest_request__descriptor, body, arena, &base, err));
    const Trackway__V1__IngestRequest *message = (const Trackway__V1__IngestRequest *)base;
    struct event_batch *batch = NULL;
    ERR_TRY(ingest_from_message(message->batch, body.len, opts, &batch, err));
    struct str name = str_of(message->dataset[0] == 0 ? "default" : message->dataset);
    enum err_code code = arena_str(batch->arena, name, ret_dataset, err);
    if (code != ERR_OK) {
        event_batch_free(batch);
        return code;
    }
    *ret = batch;
    return ERR_OK;
}

enum err_code rpc_encode_receipts(enum rpc_encoding encoding, const struct event_batch *batch,
                                  struct buf *out, struct err *err)
{
    static const Trackway__V1__ReceiptStatus STATUS[] = {
        [RECEIPT_PENDING] = TRACKWAY__V1__RECEIPT_STATUS__RECEIPT_STATUS_UNSPECIFIED,
        [RECEIPT_ACCEPTED] = TRACKWAY__V1__RECEIPT_STATUS__RECEIPT_STATUS_ACCEPTED,
        [RECEIPT_DUPLICATE] = TRACKWAY__V1__RECEIPT_STATUS__RECEIPT_STATUS_DUPLICATE,
        [RECEIPT_REJECTED] = TRACKWAY__V1__RECEIPT_STATUS__RECEIPT_STATUS_REJECTED,
        [RECEIPT_CONFLICT] = TRACKWAY__V1__RECEIPT_STATUS__RECEIPT_STATUS_CONFLICT,
    };
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    Trackway__V1__IngestResponse message = TRACKWAY__V1__INGEST_RESPONSE__INIT;
    Trackway__V1__Receipt *receipts = NULL;
    struct ingest_counts counts = ingest_counts(batch);
    if (arena == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for receipts");
    }
    message.accepted = counts.accepted;
    message.duplicate = counts.duplicate;
    message.rejected = counts.rejected;
    message.conflict = counts.conflict;
    ERR_TRY(ARENA_NEW(arena, batch->event_count, &receipts, err));
    ERR_TRY(ARENA_NEW(arena, batch->event_count, &message.receipts, err));
    message.n_receipts = batch->event_count;
    for (uint32_t i = 0; i < batch->event_count; i++) {
        const struct event *event = &batch->events[i];
        trackway__v1__receipt__init(&receipts[i]);
        receipts[i].status = STATUS[event->status];
        ERR_TRY(z_of(arena, event->event_id, &receipts[i].event_id, err));
        if (receipt_has_reason(event->status)) {
            ERR_TRY(z_of(arena, event->reason, &receipts[i].reason, err));
        }
        message.receipts[i] = &receipts[i];
    }
    return encode(encoding, &message.base, out, err);
}

/* ---- errors ---- */

static const struct {
    const char *name;
    int status;
} CODES[] = {
    [ERR_OK] = {"ok", 200},
    [ERR_INVALID] = {"invalid_argument", 400},
    [ERR_NOT_FOUND] = {"not_found", 404},
    [ERR_LIMIT] = {"resource_exhausted", 429},
    [ERR_BUSY] = {"unavailable", 503},
    [ERR_TIMEOUT] = {"deadline_exceeded", 504},
    [ERR_CANCELLED] = {"canceled", 499},
    [ERR_CORRUPT] = {"data_loss", 500},
    [ERR_UNSUPPORTED] = {"unimplemented", 501},
    [ERR_IO] = {"unavailable", 503},
    [ERR_NOMEM] = {"resource_exhausted", 429},
};

const char *rpc_code_name(enum err_code code)
{
    return CODES[code].name;
}

int rpc_http_status(enum err_code code)
{
    return CODES[code].status;
}

void rpc_encode_error(const struct err *err, struct buf *out)
{
    buf_printf(out, "{\"code\":\"%s\",\"message\":", rpc_code_name(err->code));
    CLEANUP(buf_freep) struct buf text = {0};
    buf_z(&text, err->message);
    if (err->line != 0) {
        buf_printf(&text, " (line %u, column %u)", err->line, err->column);
    }
    json_text(buf_as_str(&text), out);
    buf_u8(out, '}');
}
