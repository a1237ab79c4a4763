/* storage/payload.c - one form for what events say, to compare them. */
#include "storage/payload.h"

#include <stdlib.h>
#include <string.h>

static int value_cmp(const void *a, const void *b)
{
    uint32_t x = ((const struct payload_value *)a)->prop;
    uint32_t y = ((const struct payload_value *)b)->prop;
    return (x > y) - (x < y);
}

enum err_code payload_of_event(struct arena *arena, const struct event_batch *batch,
                               const struct event *event, const uint32_t *prop_cols,
                               struct payload *ret, struct err *err)
{
    struct payload_value *values = NULL;
    ERR_TRY(ARENA_NEW(arena, event->prop_count, &values, err));
    for (uint32_t i = 0; i < event->prop_count; i++) {
        const struct prop *prop = &batch->props[event->prop_first + i];
        struct payload_value *value = &values[i];
        value->prop = prop_cols[i];
        value->type = prop->type;
        switch (prop->type) {
        case COL_STRING: value->string = prop->string; break;
        case COL_NUMBER: value->number = prop->number; break;
        case COL_BOOL: value->boolean = prop->boolean; break;
        case COL_TIME: value->ts_ms = prop->ts_ms; break;
        case COL_LIST:
            value->list.items = &batch->list_items[prop->list.first];
            value->list.count = prop->list.count;
            break;
        }
    }
    if (event->prop_count > 1) {
        qsort(values, event->prop_count, sizeof(*values), value_cmp);
    }
    *ret = (struct payload){.name = event->name, .values = values, .count = event->prop_count};
    return ERR_OK;
}

static enum err_code list_items(struct arena *arena, const struct vec *vec, uint32_t place,
                                struct payload_value *value, struct err *err)
{
    struct str *items = NULL;
    uint32_t begin = vec->offs[place];
    uint32_t count = vec->offs[place + 1] - begin;
    ERR_TRY(ARENA_NEW(arena, count, &items, err));
    for (uint32_t i = 0; i < count; i++) {
        items[i] = dict_value(vec->dict, vec->u32[begin + i]);
    }
    value->list.items = items;
    value->list.count = count;
    return ERR_OK;
}

static enum err_code add_value(struct arena *arena, struct payload *payload, uint32_t prop,
                               enum col_type type, const struct vec *vec, uint32_t place,
                               struct err *err)
{
    struct payload_value *value = &payload->values[payload->count++];
    value->prop = prop;
    value->type = type;
    switch (type) {
    case COL_STRING: value->string = vec_str(vec, place); break;
    case COL_NUMBER: value->number = vec_num(vec, place); break;
    case COL_BOOL: value->boolean = vec->u8[place] != 0; break;
    case COL_TIME: value->ts_ms = vec->i64[place]; break;
    case COL_LIST: return list_items(arena, vec, place, value, err);
    }
    return ERR_OK;
}

enum err_code payload_of_rows(const struct source *source, struct read_ctx *ctx,
                              const struct schema *schema, uint32_t block, const uint16_t *rows,
                              uint32_t count, struct payload *out, struct err *err)
{
    uint32_t prop_count = schema_count(schema);
    struct vec *vecs = NULL;
    uint32_t *places = NULL;
    ERR_TRY(ARENA_NEW(ctx->arena, (size_t)prop_count + 1, &vecs, err));
    ERR_TRY(ARENA_NEW(ctx->arena, ((size_t)prop_count + 1) * count, &places, err));
    for (uint32_t i = 0; i <= prop_count; i++) {
        uint32_t col = i == prop_count ? (uint32_t)COL_EVENT_NAME : COL_FIRST_PROP + i;
        ERR_TRY(source_read(source, ctx, col, block, &vecs[i], err));
        vec_places(&vecs[i], rows, count, places + (size_t)i * count);
    }
    for (uint32_t row = 0; row < count; row++) {
        uint32_t value_count = 0;
        for (uint32_t prop = 0; prop < prop_count; prop++) {
            value_count += places[(size_t)prop * count + row] != UINT32_MAX;
        }
        out[row] = (struct payload){0};
        out[row].name = vec_str(&vecs[prop_count], places[(size_t)prop_count * count + row]);
        ERR_TRY(ARENA_NEW(ctx->arena, value_count, &out[row].values, err));
        for (uint32_t prop = 0; prop < prop_count; prop++) {
            uint32_t place = places[(size_t)prop * count + row];
            if (place != UINT32_MAX) {
                ERR_TRY(add_value(ctx->arena, &out[row], prop, schema_col(schema, prop)->type,
                                  &vecs[prop], place, err));
            }
        }
    }
    return ERR_OK;
}

static bool is_same_list(const struct payload_value *a, const struct payload_value *b)
{
    if (a->list.count != b->list.count) {
        return false;
    }
    for (uint32_t i = 0; i < a->list.count; i++) {
        if (!str_eq(a->list.items[i], b->list.items[i])) {
            return false;
        }
    }
    return true;
}

static bool is_same_value(const struct payload_value *a, const struct payload_value *b)
{
    if (a->prop != b->prop || a->prop == PAYLOAD_NO_COLUMN || a->type != b->type) {
        return false;
    }
    switch (a->type) {
    case COL_STRING: return str_eq(a->string, b->string);
    case COL_NUMBER: return num_cmp(a->number, b->number) == 0;
    case COL_BOOL: return a->boolean == b->boolean;
    case COL_TIME: return a->ts_ms == b->ts_ms;
    case COL_LIST: return is_same_list(a, b);
    }
    return false;
}

bool payload_equal(const struct payload *a, const struct payload *b)
{
    if (a->count != b->count || !str_eq(a->name, b->name)) {
        return false;
    }
    for (uint32_t i = 0; i < a->count; i++) {
        if (!is_same_value(&a->values[i], &b->values[i])) {
            return false;
        }
    }
    return true;
}
