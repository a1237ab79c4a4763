#include "query/trend_print.h"

static bool print_field(const struct field *field, struct buf *out)
{
    switch (field->kind) {
    case FIELD_PROP:
    case FIELD_UNKNOWN:
    case FIELD_EVENT_ID:
    case FIELD_EVENT_NAME:
    case FIELD_EVENT_TIME:
    case FIELD_USER_ID:
    case FIELD_OWNER_ID:
    case FIELD_ANONYMOUS_ID:
    case FIELD_RECEIVED_AT:
        buf_u8(out, (uint8_t)field->kind);
        buf_u8(out, (uint8_t)field->type);
        buf_u32(out, field->col);
        return true;
    case FIELD_SUBJECT: /* who is in a cohort changes without the segment, */
    case FIELD_TRAIT: break; /* and so does what profiles say */
    }
    return false;
}

static void print_num(struct num n, struct buf *out)
{
    buf_i64(out, n.m);
    buf_u8(out, n.scale);
}

static void print_literal(const struct literal *value, struct buf *out)
{
    buf_u8(out, (uint8_t)value->type);
    switch (value->type) {
    case COL_NUMBER: print_num(value->number, out); break;
    case COL_BOOL: buf_u8(out, value->boolean ? 1 : 0); break;
    case COL_TIME: buf_i64(out, value->ts_ms); break;
    default: buf_blob(out, value->string); break;
    }
}

static bool print_pred(const struct pred *pred, struct buf *out)
{
    bool is_known = true;
    if (pred == NULL) {
        buf_u8(out, UINT8_MAX);
        return true;
    }
    buf_u8(out, (uint8_t)pred->kind);
    switch (pred->kind) {
    case PRED_AND:
    case PRED_OR:
    case PRED_NOT:
        buf_u32(out, pred->kid_count);
        for (uint32_t i = 0; is_known && i < pred->kid_count; i++) {
            is_known = print_pred(pred->kids[i], out);
        }
        return is_known;
    case PRED_TRUE:
    case PRED_FALSE: return true;
    case PRED_EQ:
    case PRED_NE:
    case PRED_LT:
    case PRED_LE:
    case PRED_GT:
    case PRED_GE:
    case PRED_IN:
    case PRED_NOT_IN:
    case PRED_BETWEEN:
    case PRED_CONTAINS:
    case PRED_STARTS:
    case PRED_ENDS:
    case PRED_MATCHES: /* its expression is a value */
    case PRED_IS_SET:
    case PRED_IS_NOT_SET:
        buf_u32(out, pred->value_count);
        for (uint32_t i = 0; i < pred->value_count; i++) {
            print_literal(&pred->values[i], out);
        }
        return print_field(&pred->field, out);
    case PRED_IN_PEOPLE: return false; /* who they are is not in the row */
    }
    return false;
}

static bool print_selector(const struct selector *selector, struct buf *out)
{
    bool is_known = true;
    buf_u32(out, selector->alt_count);
    for (uint32_t i = 0; is_known && i < selector->alt_count; i++) {
        const struct alt *alt = &selector->alts[i];
        buf_u8(out, (uint8_t)alt->kind);
        if (alt->kind == ALT_NAMED) {
            buf_blob(out, alt->event);
        }
        is_known = print_pred(alt->pred, out);
    }
    return is_known;
}

static bool print_key(const struct by_key *key, struct buf *out)
{
    buf_u32(out, key->edges == NULL ? UINT32_MAX : key->edge_count);
    for (uint32_t i = 0; key->edges != NULL && i < key->edge_count; i++) {
        print_num(key->edges[i], out);
    }
    return print_field(&key->field, out);
}

static bool print_lane(const struct trend_plan *plan, const struct trend_lane *lane,
                       struct buf *out)
{
    bool has_field = lane->kind != ACC_COUNT && lane->kind != ACC_USERS;
    buf_u8(out, (uint8_t)lane->kind);
    buf_u32(out, lane->grid);
    buf_u8(out, (uint8_t)(lane->is_indexed ? 1 : 0) | (uint8_t)(lane->is_split ? 2 : 0));
    buf_u32(out, lane->selector);
    return print_selector(&plan->query->selectors[lane->selector], out) &&
           (!has_field || print_field(&lane->field, out));
}

bool trend_print(const struct trend_plan *plan, struct buf *out)
{
    const struct bound_query *query = plan->query;
    bool is_known = query->per == NULL && !query->is_beyond_snapshot;
    buf_u8(out, plan->is_from_open || plan->is_to_open ? 1 : 0);
    buf_u32(out, query->key_count);
    for (uint32_t k = 0; is_known && k < query->key_count; k++) {
        is_known = print_key(&query->keys[k], out);
    }
    buf_u32(out, plan->lane_count);
    for (uint32_t l = 0; is_known && l < plan->lane_count; l++) {
        is_known = print_lane(plan, &plan->lanes[l], out);
    }
    return is_known && print_pred(query->where, out) && !out->is_bad;
}
