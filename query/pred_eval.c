#include "query/pred_eval.h"

#include "query/people.h"
#include "query/regex_locale.h"

#include <regex.h>
#include <stdlib.h>

#define PLACE_NONE UINT32_MAX

/* What is known of a dictionary entry under one predicate. */
enum memo_truth { MEMO_UNKNOWN = 0, MEMO_FALSE, MEMO_TRUE };

struct pred_memo {
    struct pred_memo *next;
    const struct pred *pred;
    const struct dict *dict;
    uint8_t *truths; /* enum memo_truth by code */
    uint32_t count;
};

uint32_t pred_field_col(const struct field *field)
{
    switch (field->kind) {
    case FIELD_PROP:
    case FIELD_TRAIT: return field->col;
    case FIELD_UNKNOWN: return UINT32_MAX;
    case FIELD_EVENT_ID: return COL_EVENT_ID;
    case FIELD_EVENT_NAME: return COL_EVENT_NAME;
    case FIELD_EVENT_TIME: return COL_EVENT_TIME;
    case FIELD_USER_ID:
    case FIELD_OWNER_ID: return COL_USER_ID;
    case FIELD_ANONYMOUS_ID: return COL_ANONYMOUS_ID;
    case FIELD_RECEIVED_AT: return COL_ARRIVAL;
    case FIELD_SUBJECT: return COL_SUBJECT;
    }
    return UINT32_MAX;
}

/* ---- one value ---- */

/* `order` is the value compared with the literal: < 0, 0, > 0. */
static bool pred_order_holds(enum pred_kind kind, int order)
{
    switch (kind) {
    case PRED_EQ: return order == 0;
    case PRED_NE: return order != 0;
    case PRED_LT: return order < 0;
    case PRED_LE: return order <= 0;
    case PRED_GT: return order > 0;
    case PRED_GE: return order >= 0;
    default: return false;
    }
}

static unsigned char ascii_lower(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

/* ASCII letters in either case; other bytes as they are. */
static bool str_contains(struct str s, struct str part)
{
    for (size_t at = 0; at + part.len <= s.len; at++) {
        size_t same = 0;
        while (same < part.len && ascii_lower(s.ptr[at + same]) == ascii_lower(part.ptr[same])) {
            same++;
        }
        if (same == part.len) {
            return true;
        }
    }
    return false;
}

/* REG_STARTEND: the value is not NUL-terminated and may hold NUL bytes. */
static bool regex_holds(const regex_t *regex, const char *ptr, size_t len)
{
    regmatch_t range = {.rm_so = 0, .rm_eo = (regoff_t)len};
    locale_t before = regex_locale_enter();
    int code = regexec(regex, ptr, 1, &range, REG_STARTEND);
    regex_locale_leave(before);
    return code == 0;
}

static bool pred_matches(const struct pred *pred, struct str v)
{
    if (v.len == 0) {
        return regex_holds(pred->regex, "", 0);
    }
#if defined(__SANITIZE_ADDRESS__)
    /* Its wrapper of regexec does not know REG_STARTEND and looks for a NUL. */
    char *copy = calloc(v.len + 1, 1);
    ASSERT(copy != NULL);
    memcpy(copy, v.ptr, v.len);
    bool holds = regex_holds(pred->regex, copy, v.len);
    free(copy);
    return holds;
#else
    return regex_holds(pred->regex, v.ptr, v.len);
#endif
}

static bool pred_str_in(const struct pred *pred, struct str v)
{
    for (uint32_t i = 0; i < pred->value_count; i++) {
        if (pred->values[i].type == COL_STRING && str_eq(pred->values[i].string, v)) {
            return true;
        }
    }
    return false;
}

static bool pred_str_holds(const struct pred *pred, struct str v)
{
    switch (pred->kind) {
    case PRED_IN: return pred_str_in(pred, v);
    case PRED_NOT_IN: return !pred_str_in(pred, v);
    case PRED_MATCHES: return pred_matches(pred, v);
    default: break;
    }
    if (pred->value_count == 0 || pred->values[0].type != COL_STRING) {
        return false;
    }
    struct str literal = pred->values[0].string;
    switch (pred->kind) {
    case PRED_CONTAINS: return str_contains(v, literal);
    case PRED_STARTS: return str_starts(v, literal);
    case PRED_ENDS: return str_ends(v, literal);
    case PRED_BETWEEN: return str_cmp(v, literal) >= 0 && str_cmp(v, pred->values[1].string) <= 0;
    default: return pred_order_holds(pred->kind, str_cmp(v, literal));
    }
}

static int i64_cmp(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

/* Numbers, times and booleans share their shape: an order against each literal of the same type. */
struct scalar {
    enum col_type type;
    struct num number;
    int64_t i64; /* a time, or a boolean as 0 and 1 */
};

static int scalar_cmp(const struct scalar *v, const struct literal *literal)
{
    switch (v->type) {
    case COL_NUMBER: return num_cmp(v->number, literal->number);
    case COL_BOOL: return i64_cmp(v->i64, literal->boolean ? 1 : 0);
    default: return i64_cmp(v->i64, literal->ts_ms);
    }
}

static bool scalar_in(const struct pred *pred, const struct scalar *v)
{
    for (uint32_t i = 0; i < pred->value_count; i++) {
        if (pred->values[i].type == v->type && scalar_cmp(v, &pred->values[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool scalar_holds(const struct pred *pred, const struct scalar *v)
{
    switch (pred->kind) {
    case PRED_IN: return scalar_in(pred, v);
    case PRED_NOT_IN: return !scalar_in(pred, v);
    default: break;
    }
    if (pred->value_count == 0 || pred->values[0].type != v->type) {
        return false;
    }
    if (pred->kind == PRED_BETWEEN) {
        return scalar_cmp(v, &pred->values[0]) >= 0 && scalar_cmp(v, &pred->values[1]) <= 0;
    }
    return pred_order_holds(pred->kind, scalar_cmp(v, &pred->values[0]));
}

/* ---- columns of strings ---- */

static enum err_code pred_memo_of(struct pred_env *env, const struct pred *pred,
                                  const struct dict *dict, struct pred_memo **ret, struct err *err)
{
    for (struct pred_memo *memo = env->memos; memo != NULL; memo = memo->next) {
        if (memo->pred == pred && memo->dict == dict && memo->count >= dict->count) {
            *ret = memo;
            return ERR_OK;
        }
    }
    struct pred_memo *memo = NULL;
    ERR_TRY(ARENA_NEW(env->keep, 1, &memo, err));
    ERR_TRY(ARENA_NEW(env->keep, dict->count, &memo->truths, err));
    memo->pred = pred;
    memo->dict = dict;
    memo->count = dict->count;
    memo->next = env->memos;
    env->memos = memo;
    *ret = memo;
    return ERR_OK;
}

static bool pred_memo_holds(struct pred_memo *memo, uint32_t code)
{
    uint8_t truth = memo->truths[code];
    if (truth == MEMO_UNKNOWN) {
        bool holds = pred_str_holds(memo->pred, dict_value(memo->dict, code));
        truth = holds ? MEMO_TRUE : MEMO_FALSE;
        memo->truths[code] = truth;
    }
    return truth == MEMO_TRUE;
}

static enum err_code pred_eval_strings(struct pred_env *env, const struct pred *pred,
                                       const struct vec *vec, const uint32_t *places,
                                       uint32_t count, uint8_t *out, struct err *err)
{
    if (vec->kind == VEC_BYTES) {
        for (uint32_t i = 0; i < count; i++) {
            out[i] = places[i] != PLACE_NONE && pred_str_holds(pred, vec_str(vec, places[i]));
        }
        return ERR_OK;
    }
    struct pred_memo *memo = NULL;
    ERR_TRY(pred_memo_of(env, pred, vec->dict, &memo, err));
    if (vec->kind == VEC_CODE) {
        for (uint32_t i = 0; i < count; i++) {
            out[i] = places[i] != PLACE_NONE && pred_memo_holds(memo, vec->u32[places[i]]);
        }
        return ERR_OK;
    }
    for (uint32_t i = 0; i < count; i++) {
        out[i] = 0;
        if (places[i] == PLACE_NONE) {
            continue;
        }
        for (uint32_t k = vec->offs[places[i]]; k < vec->offs[places[i] + 1]; k++) {
            out[i] |= pred_memo_holds(memo, vec->u32[k]);
        }
    }
    return ERR_OK;
}

/* ---- columns of numbers ---- */

/* The literal as a mantissa at `scale`; false where it has none that is exact. */
static bool literal_mantissa(const struct literal *literal, uint8_t scale, int64_t *ret)
{
    struct num n = literal->number;
    if (literal->type != COL_NUMBER || n.scale > scale || scale > NUM_SCALE_MAX) {
        return false;
    }
    int64_t m = n.m;
    for (uint8_t s = n.scale; s < scale; s++) {
        if (__builtin_mul_overflow(m, 10, &m)) {
            return false;
        }
    }
    *ret = m;
    return true;
}

#define PRED_LOOP(condition)                                                                       \
    do {                                                                                           \
        for (uint32_t i = 0; i < count; i++) {                                                     \
            if (places[i] == PLACE_NONE) {                                                         \
                out[i] = 0;                                                                        \
            } else {                                                                               \
                int64_t v = values[places[i]];                                                     \
                out[i] = (condition);                                                              \
            }                                                                                      \
        }                                                                                          \
    } while (0)

/* Plain loops over int64 values against one or two bounds; false where the comparison is another.
 */
static bool pred_eval_i64s(enum pred_kind kind, const int64_t *values, const uint32_t *places,
                           uint32_t count, int64_t a, int64_t b, uint8_t *out)
{
    switch (kind) {
    case PRED_EQ: PRED_LOOP(v == a); return true;
    case PRED_NE: PRED_LOOP(v != a); return true;
    case PRED_LT: PRED_LOOP(v < a); return true;
    case PRED_LE: PRED_LOOP(v <= a); return true;
    case PRED_GT: PRED_LOOP(v > a); return true;
    case PRED_GE: PRED_LOOP(v >= a); return true;
    case PRED_BETWEEN: PRED_LOOP(v >= a && v <= b); return true;
    default: return false;
    }
}

static void pred_eval_numbers(const struct pred *pred, const struct vec *vec,
                              const uint32_t *places, uint32_t count, uint8_t *out)
{
    bool is_between = pred->kind == PRED_BETWEEN;
    int64_t a = 0;
    int64_t b = 0;
    if (vec->kind == VEC_NUM && vec->scales == NULL &&
        pred->value_count >= (is_between ? 2u : 1u) &&
        literal_mantissa(&pred->values[0], vec->scale, &a) &&
        (!is_between || literal_mantissa(&pred->values[1], vec->scale, &b)) &&
        pred_eval_i64s(pred->kind, vec->i64, places, count, a, b, out)) {
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct scalar v = {.type = COL_NUMBER};
        if (places[i] != PLACE_NONE) {
            v.number = vec_num(vec, places[i]);
        }
        out[i] = places[i] != PLACE_NONE && scalar_holds(pred, &v);
    }
}

static void pred_eval_times(const struct pred *pred, const struct vec *vec, const uint32_t *places,
                            uint32_t count, uint8_t *out)
{
    bool is_between = pred->kind == PRED_BETWEEN;
    if (pred->value_count >= (is_between ? 2u : 1u) && pred->values[0].type == COL_TIME &&
        pred_eval_i64s(pred->kind, vec->i64, places, count, pred->values[0].ts_ms,
                       is_between ? pred->values[1].ts_ms : 0, out)) {
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct scalar v = {.type = COL_TIME};
        if (places[i] != PLACE_NONE) {
            v.i64 = vec->i64[places[i]];
        }
        out[i] = places[i] != PLACE_NONE && scalar_holds(pred, &v);
    }
}

static void pred_eval_bools(const struct pred *pred, const struct vec *vec, const uint32_t *places,
                            uint32_t count, uint8_t *out)
{
    const struct scalar no = {.type = COL_BOOL, .i64 = 0};
    const struct scalar yes = {.type = COL_BOOL, .i64 = 1};
    const uint8_t holds[2] = {scalar_holds(pred, &no), scalar_holds(pred, &yes)};
    for (uint32_t i = 0; i < count; i++) {
        out[i] = places[i] != PLACE_NONE && holds[vec->u8[places[i]] != 0];
    }
}

/* Every row has a subject, and neighbours mostly share theirs. */
static void pred_eval_people(const struct pred_env *env, const struct pred *pred,
                             const struct vec *vec, const uint16_t *rows, uint32_t count,
                             uint8_t *out)
{
    const struct people *people = pred->people->people;
    const roaring_bitmap_t *bits = people == NULL ? NULL : people_of(people, env->shard);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t subject = vec->u32[rows[i]];
        out[i] = i > 0 && subject == vec->u32[rows[i - 1]]
                     ? out[i - 1]
                     : bits != NULL && roaring_bitmap_contains(bits, subject);
    }
}

/* ---- the tree ---- */

static enum err_code pred_eval_leaf(struct pred_env *env, const struct pred *pred,
                                    const uint16_t *rows, uint32_t count, uint8_t *out,
                                    struct err *err)
{
    struct vec vec = {.kind = VEC_ABSENT};
    ERR_TRY(env->vec(env->ctx, &pred->field, &vec, err));
    if (vec.kind == VEC_ABSENT) {
        memset(out, pred->kind == PRED_IS_NOT_SET, count);
        return ERR_OK;
    }
    if (pred->kind == PRED_IN_PEOPLE) {
        pred_eval_people(env, pred, &vec, rows, count, out);
        return ERR_OK;
    }
    void *memory = NULL;
    ERR_TRY(arena_alloc_raw(env->scratch, (size_t)count * sizeof(uint32_t), &memory, err));
    uint32_t *places = memory;
    vec_places(&vec, rows, count, places);
    if (pred->kind == PRED_IS_SET || pred->kind == PRED_IS_NOT_SET) {
        bool wants_value = pred->kind == PRED_IS_SET;
        for (uint32_t i = 0; i < count; i++) {
            out[i] = (places[i] != PLACE_NONE) == wants_value;
        }
        return ERR_OK;
    }
    switch (vec.kind) {
    case VEC_CODE:
    case VEC_BYTES:
    case VEC_LIST: return pred_eval_strings(env, pred, &vec, places, count, out, err);
    case VEC_NUM:
    case VEC_F64: pred_eval_numbers(pred, &vec, places, count, out); return ERR_OK;
    case VEC_I64: pred_eval_times(pred, &vec, places, count, out); return ERR_OK;
    case VEC_BOOL: pred_eval_bools(pred, &vec, places, count, out); return ERR_OK;
    default: memset(out, 0, count); return ERR_OK;
    }
}

/* `and` and `or`: kids are skipped once every row is decided. */
static enum err_code pred_eval_kids(struct pred_env *env, const struct pred *pred,
                                    const uint16_t *rows, uint32_t count, uint8_t *out,
                                    struct err *err)
{
    bool is_and = pred->kind == PRED_AND;
    uint8_t *kid_out = NULL;
    void *memory = NULL;
    ERR_TRY(arena_alloc_raw(env->scratch, count, &memory, err));
    kid_out = memory;
    memset(out, is_and, count);
    for (uint32_t k = 0; k < pred->kid_count; k++) {
        if (memchr(out, is_and, count) == NULL) {
            return ERR_OK;
        }
        ERR_TRY(pred_eval(env, pred->kids[k], rows, count, kid_out, err));
        for (uint32_t i = 0; i < count; i++) {
            out[i] = is_and ? out[i] & kid_out[i] : out[i] | kid_out[i];
        }
    }
    return ERR_OK;
}

enum err_code pred_eval(struct pred_env *env, const struct pred *pred, const uint16_t *rows,
                        uint32_t count, uint8_t *out, struct err *err)
{
    switch (pred->kind) {
    case PRED_TRUE: memset(out, 1, count); return ERR_OK;
    case PRED_FALSE: memset(out, 0, count); return ERR_OK;
    case PRED_AND:
    case PRED_OR: return pred_eval_kids(env, pred, rows, count, out, err);
    case PRED_NOT:
        ERR_TRY(pred_eval(env, pred->kids[0], rows, count, out, err));
        for (uint32_t i = 0; i < count; i++) {
            out[i] = !out[i];
        }
        return ERR_OK;
    default: return pred_eval_leaf(env, pred, rows, count, out, err);
    }
}

enum err_code pred_and(struct arena *arena, const struct pred *a, const struct pred *b,
                       const struct pred **ret, struct err *err)
{
    if (a == NULL || b == NULL) {
        *ret = a == NULL ? b : a;
        return ERR_OK;
    }
    struct pred *both = NULL;
    const struct pred **kids = NULL;
    ERR_TRY(ARENA_NEW(arena, 1, &both, err));
    ERR_TRY(ARENA_NEW(arena, 2, &kids, err));
    kids[0] = a;
    kids[1] = b;
    *both = (struct pred){.kind = PRED_AND, .kids = kids, .kid_count = 2};
    *ret = both;
    return ERR_OK;
}
