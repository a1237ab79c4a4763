/* query/keys.c - numbering the values of each key, and the tuples of these numbers.
 *
 *     row's value -> value number of key k         by dictionary code, else by a hash of the value
 *     (number of key 0, of key 1, ...) -> group    one key: an array; several: a hash of the tuple
 *
 * Value number 0 of every key is null. A dictionary code is looked up once per dictionary: the map
 * from codes to value numbers is kept as long as blocks of the same dictionary follow each other.
 * Strings out of dictionaries are borrowed (sources outlive the query), all others are copied. */
#include "query/keys.h"

#include "query/grow.h"
#include "query/pred_eval.h"
#include "storage/base/cpu.h"
#include "storage/base/hash.h"
#include "storage/base/rd.h"
#include "storage/base/size.h"

#define VALUE_NULL        0u
#define NONE              UINT32_MAX
#define GROUP_PENDING     (UINT32_MAX - 1) /* more than there are groups */
#define CODE_TUPLES_MAX   (1u << 14)
#define ROWS_AHEAD        64u  /* of a block, whose codes are on their way where rows are sparse */
#define DENSE_PARTS       8u   /* rows are dense where they are an eighth of the block and more: nothing need be fetched ahead */
#define ADOPT_AHEAD       16u  /* groups whose places in the table are on their way */
#define CODES_AHEAD       32u  /* of a dictionary, that are numbered together */
#define TALLY_CODES_A_ROW 2u   /* of a dictionary, for each row of a block, at most */
#define BUCKET_NONE       (-1) /* below the first edge */

enum value_tag { TAG_NULL, TAG_BOOL, TAG_NUMBER, TAG_TIME, TAG_STRING, TAG_BUCKET };
struct key_value {
    enum value_tag tag;
    union {
        int64_t i64; /* bool, time, bucket number */
        struct num number;
        struct str string;
    };
    struct str text; /* of times and buckets, once they have a number */
    uint64_t hash;   /* likewise */
};

/* Open addressing over numbers, each beside the upper half of its hash, so that others are told apart unread. */
struct table_slot {
    uint32_t number; /* NONE: free */
    uint32_t print;
};
struct table {
    struct table_slot *slots;
    uint32_t size; /* a power of two, more than 4/3 of what it holds */
};

struct key_state {
    const struct by_key *key;
    struct key_value *values;
    uint32_t value_count, value_cap;
    struct table table;

    const struct dict *dict; /* the one that by_code is for */
    uint32_t *by_code;       /* value number, or NONE */
    uint32_t by_code_cap;
    uint32_t *group_of; /* one key only: group by value number, or NONE */
    uint32_t group_of_cap;
};

/* Rows by code of a large dictionary, until the source ends. */
struct code_tally {
    const struct dict *dict; /* NULL: none are kept back */
    uint32_t *counts;        /* by code; 0 between sources */
    uint32_t cap;
};

struct groups {
    const struct bound_query *query;
    struct arena *arena;
    uint32_t key_count;
    bool has_long_values; /* none is too long */
    struct key_state *keys;
    uint32_t *tuples; /* key_count value numbers per group */
    uint32_t count, cap;
    struct table table;
    const struct dict *group_dict; /* of one key: that `of_code` is for */
    uint32_t *of_code;             /* the group of each code, or NONE */
    uint32_t of_code_count, of_code_cap;
    struct code_tally tally;                        /* of one key */
    const struct dict *tuple_dicts[QUERY_KEYS_MAX]; /* that `of_codes` is for */
    uint32_t *of_codes; /* the group of code 0 * count of dictionary 1 + code 1 ..., or NONE */
};

/* ---- values ---- */

static uint64_t value_hash(const struct key_value *v)
{
    switch (v->tag) {
    case TAG_NUMBER: return hash_mix((uint64_t)v->number.m) ^ v->number.scale;
    case TAG_STRING: return hash_str(v->string, 0);
    default: return hash_mix((uint64_t)v->i64 + v->tag);
    }
}

static int i64_cmp(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static int value_cmp(const struct key_value *a, const struct key_value *b)
{
    if (a->tag != b->tag) {
        return a->tag < b->tag ? -1 : 1;
    }
    switch (a->tag) {
    case TAG_NULL: return 0;
    case TAG_NUMBER: return num_cmp(a->number, b->number);
    case TAG_STRING: return str_cmp(a->string, b->string);
    default: return i64_cmp(a->i64, b->i64);
    }
}

static bool value_eq(const struct key_value *a, const struct key_value *b)
{
    if (a->tag == TAG_NUMBER && b->tag == TAG_NUMBER) { /* numbers are in lowest terms */
        return a->number.m == b->number.m && a->number.scale == b->number.scale;
    }
    if (a->tag == TAG_STRING && b->tag == TAG_STRING) {
        return str_eq(a->string, b->string);
    }
    return value_cmp(a, b) == 0;
}

/* ---- tables ---- */

static enum err_code table_resize(struct arena *arena, struct table *table, uint32_t size,
                                  struct err *err)
{
    void *memory = NULL;
    ERR_TRY(arena_alloc_raw(arena, (size_t)size * sizeof(struct table_slot), &memory, err));
    table->slots = memory;
    table->size = size;
    memset(table->slots, 0xff, (size_t)size * sizeof(struct table_slot));
    return ERR_OK;
}

static bool table_is_full(const struct table *table, uint32_t count)
{
    return (uint64_t)(count + 1) * 4 > (uint64_t)table->size * 3;
}

static uint32_t table_print(uint64_t hash)
{
    return (uint32_t)(hash >> 32);
}

static void table_put(struct table *table, uint64_t hash, uint32_t number)
{
    uint32_t at = (uint32_t)hash & (table->size - 1);
    while (table->slots[at].number != NONE) {
        at = (at + 1) & (table->size - 1);
    }
    table->slots[at] = (struct table_slot){.number = number, .print = table_print(hash)};
}

/* The next place at or behind `at` with a number that may be of `hash`; its number is NONE where none is left. */
static const struct table_slot *table_seek(const struct table *table, uint64_t hash, uint32_t at)
{
    uint32_t print = table_print(hash);
    const struct table_slot *slot = &table->slots[at & (table->size - 1)];
    while (slot->number != NONE && slot->print != print) {
        slot = &table->slots[++at & (table->size - 1)];
    }
    return slot;
}

/* "[10, 100)"; the numbers below the first edge and from the last one on are buckets too. */
static enum err_code bucket_text(struct arena *arena, const struct by_key *key, int64_t bucket,
                                 struct str *ret, struct err *err)
{
    CLEANUP(buf_freep) struct buf text = {0};
    buf_z(&text, bucket == BUCKET_NONE ? "(-inf" : "[");
    if (bucket != BUCKET_NONE) {
        num_format(key->edges[bucket], &text);
    }
    buf_z(&text, ", ");
    if (bucket + 1 < (int64_t)key->edge_count) {
        num_format(key->edges[bucket + 1], &text);
    } else {
        buf_z(&text, "inf");
    }
    buf_z(&text, ")");
    ERR_TRY(buf_check(&text, err));
    return arena_str(arena, buf_as_str(&text), ret, err);
}

static enum err_code key_value_text(struct groups *groups, const struct by_key *key,
                                    struct key_value *v, struct err *err)
{
    if (v->tag == TAG_BUCKET) {
        return bucket_text(groups->arena, key, v->i64, &v->text, err);
    }
    if (v->tag == TAG_TIME) {
        char text[CIVIL_TEXT_BYTES];
        struct str instant = civil_format_instant(groups->query->zone, v->i64, text);
        return arena_str(groups->arena, instant, &v->text, err);
    }
    return ERR_OK;
}

/* The number of a value whose hash is known. */
static enum err_code key_number_hashed(struct groups *groups, struct key_state *state,
                                       const struct key_value *v, uint64_t hash, bool is_borrowed,
                                       uint32_t *ret, struct err *err)
{
    const struct table_slot *slots = state->table.slots;
    const struct table_slot *slot = table_seek(&state->table, hash, (uint32_t)hash);
    while (slot->number != NONE) {
        if (value_eq(&state->values[slot->number], v)) {
            *ret = slot->number;
            return ERR_OK;
        }
        slot = table_seek(&state->table, hash, (uint32_t)(slot - slots) + 1);
    }
    struct key_value own = *v;
    own.hash = hash;
    if (v->tag == TAG_STRING) {
        if (v->string.len > GROUP_KEYS_BYTES_MAX && !groups->has_long_values) {
            return err_set(err, ERR_LIMIT,
                           "a value of \"" STR_FMT "\" has %zu bytes: at most %u "
                           "can be grouped by",
                           STR_ARG(state->key->name), v->string.len, GROUP_KEYS_BYTES_MAX);
        }
        if (!is_borrowed) {
            ERR_TRY(arena_str(groups->arena, v->string, &own.string, err));
        }
    }
    ERR_TRY(key_value_text(groups, state->key, &own, err));
    if (table_is_full(&state->table, state->value_count)) {
        ERR_TRY(table_resize(groups->arena, &state->table, state->table.size * 2, err));
        for (uint32_t i = 1; i < state->value_count; i++) {
            table_put(&state->table, state->values[i].hash, i);
        }
    }
    ERR_TRY(GROW(groups->arena, &state->values, state->value_count, &state->value_cap, err));
    uint32_t number = state->value_count++;
    state->values[number] = own;
    table_put(&state->table, hash, number);
    *ret = number;
    return ERR_OK;
}

/* The number of a value of key k, added when new. `is_borrowed`: its bytes outlive the query. */
static enum err_code key_number(struct groups *groups, struct key_state *state,
                                const struct key_value *v, bool is_borrowed, uint32_t *ret,
                                struct err *err)
{
    if (v->tag == TAG_NULL) {
        *ret = VALUE_NULL;
        return ERR_OK;
    }
    return key_number_hashed(groups, state, v, value_hash(v), is_borrowed, ret, err);
}

/* ---- groups ---- */

static uint64_t tuple_hash(const uint32_t *tuple, uint32_t count)
{
    uint64_t hash = 0;
    for (uint32_t k = 0; k < count; k++) {
        hash = hash_mix(hash * 31 + tuple[k] + 1);
    }
    return hash;
}

static const uint32_t *groups_tuple(const struct groups *groups, uint32_t number)
{
    return groups->tuples + (size_t)number * groups->key_count;
}

static enum err_code groups_add(struct groups *groups, const uint32_t *tuple, uint32_t *ret,
                                struct err *err)
{
    if (groups->count == groups->cap) {
        uint32_t cap = groups->cap == 0 ? 64 : groups->cap * 2;
        size_t cells = 0;
        uint32_t *more = NULL;
        if (cap < groups->cap || !size_mul(cap, groups->key_count, &cells)) {
            return err_set(err, ERR_LIMIT, "more than %u groups", groups->cap);
        }
        ERR_TRY(ARENA_NEW(groups->arena, cells, &more, err));
        if (groups->count > 0) {
            memcpy(more, groups->tuples, (size_t)groups->count * groups->key_count * sizeof(*more));
        }
        groups->tuples = more;
        groups->cap = cap;
    }
    memcpy(groups->tuples + (size_t)groups->count * groups->key_count, tuple,
           groups->key_count * sizeof(*tuple));
    *ret = groups->count++;
    return ERR_OK;
}

/* One key: the group is found by the value's number. */
static enum err_code groups_of_value(struct groups *groups, uint32_t value, uint32_t *ret,
                                     struct err *err)
{
    struct key_state *state = &groups->keys[0];
    if (value >= state->group_of_cap) {
        uint32_t cap = MAX_OF(state->group_of_cap * 2, value + 64);
        void *memory = NULL;
        ERR_TRY(arena_alloc_raw(groups->arena, (size_t)cap * sizeof(uint32_t), &memory, err));
        memset(memory, 0xff, (size_t)cap * sizeof(uint32_t));
        if (state->group_of_cap > 0) {
            memcpy(memory, state->group_of, (size_t)state->group_of_cap * sizeof(uint32_t));
        }
        state->group_of = memory;
        state->group_of_cap = cap;
    }
    if (state->group_of[value] == NONE) {
        ERR_TRY(groups_add(groups, &value, &state->group_of[value], err));
    }
    *ret = state->group_of[value];
    return ERR_OK;
}

static enum err_code groups_of_tuple(struct groups *groups, const uint32_t *tuple, uint32_t *ret,
                                     struct err *err)
{
    if (groups->key_count == 1) {
        return groups_of_value(groups, tuple[0], ret, err);
    }
    size_t bytes = groups->key_count * sizeof(*tuple);
    uint64_t hash = tuple_hash(tuple, groups->key_count);
    const struct table_slot *slots = groups->table.slots;
    const struct table_slot *slot = table_seek(&groups->table, hash, (uint32_t)hash);
    while (slot->number != NONE) {
        if (memcmp(groups_tuple(groups, slot->number), tuple, bytes) == 0) {
            *ret = slot->number;
            return ERR_OK;
        }
        slot = table_seek(&groups->table, hash, (uint32_t)(slot - slots) + 1);
    }
    if (table_is_full(&groups->table, groups->count)) {
        ERR_TRY(table_resize(groups->arena, &groups->table, groups->table.size * 2, err));
        for (uint32_t i = 0; i < groups->count; i++) {
            table_put(&groups->table, tuple_hash(groups_tuple(groups, i), groups->key_count), i);
        }
    }
    ERR_TRY(groups_add(groups, tuple, ret, err));
    table_put(&groups->table, hash, *ret);
    return ERR_OK;
}

enum err_code groups_create(const struct bound_query *query, struct arena *arena,
                            struct groups **ret, struct err *err)
{
    struct groups *groups = NULL;
    ERR_TRY(ARENA_NEW(arena, 1, &groups, err));
    groups->query = query;
    groups->arena = arena;
    groups->key_count = query->key_count;
    ERR_TRY(ARENA_NEW(arena, query->key_count, &groups->keys, err));
    ERR_TRY(table_resize(arena, &groups->table, 64, err));
    for (uint32_t k = 0; k < query->key_count; k++) {
        struct key_state *state = &groups->keys[k];
        const struct by_key *key = &query->keys[k];
        if (key->field.kind != FIELD_UNKNOWN && key->field.type == COL_LIST) {
            return err_set(err, ERR_UNSUPPORTED, "\"" STR_FMT "\" is a list: no breakdown by lists",
                           STR_ARG(key->field.name));
        }
        state->key = key;
        ERR_TRY(table_resize(arena, &state->table, 64, err));
        ERR_TRY(GROW(arena, &state->values, 0, &state->value_cap, err));
        state->values[VALUE_NULL] = (struct key_value){.tag = TAG_NULL};
        state->value_count = 1;
    }
    *ret = groups;
    return ERR_OK;
}

void groups_take_long_values(struct groups *groups)
{
    groups->has_long_values = true;
}

const struct bound_query *groups_query(const struct groups *groups)
{
    return groups->query;
}

uint32_t groups_count(const struct groups *groups)
{
    return groups->key_count == 0 ? 1 : groups->count;
}

/* ---- numbering a block ---- */

/* The last edge that is not above v, or BUCKET_NONE. */
static int64_t bucket_of(const struct by_key *key, struct num v)
{
    uint32_t low = 0;
    uint32_t high = key->edge_count;
    while (low < high) { /* edges[0 .. low) <= v */
        uint32_t mid = low + (high - low) / 2;
        if (num_cmp(key->edges[mid], v) <= 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return (int64_t)low - 1;
}

static struct key_value key_value_at(const struct by_key *key, const struct vec *vec,
                                     uint32_t place)
{
    switch (vec->kind) {
    case VEC_NUM:
    case VEC_F64:
        if (key->edges != NULL) {
            return (struct key_value){.tag = TAG_BUCKET,
                                      .i64 = bucket_of(key, vec_num(vec, place))};
        }
        return (struct key_value){.tag = TAG_NUMBER, .number = vec_num(vec, place)};
    case VEC_BOOL: return (struct key_value){.tag = TAG_BOOL, .i64 = vec->u8[place] != 0};
    case VEC_I64: return (struct key_value){.tag = TAG_TIME, .i64 = vec->i64[place]};
    case VEC_CODE:
    case VEC_BYTES: return (struct key_value){.tag = TAG_STRING, .string = vec_str(vec, place)};
    default: return (struct key_value){.tag = TAG_NULL};
    }
}

static enum err_code key_forget_dict(struct groups *groups, struct key_state *state,
                                     const struct dict *dict, struct err *err)
{
    if (dict->count > state->by_code_cap) {
        void *memory = NULL;
        ERR_TRY(
            arena_alloc_raw(groups->arena, (size_t)dict->count * sizeof(uint32_t), &memory, err));
        state->by_code = memory;
        state->by_code_cap = dict->count;
    }
    memset(state->by_code, 0xff, (size_t)dict->count * sizeof(uint32_t));
    state->dict = dict;
    return ERR_OK;
}

static enum err_code key_number_codes(struct groups *groups, struct key_state *state,
                                      const struct vec *vec, const uint32_t *places, uint32_t count,
                                      uint32_t *out, struct err *err)
{
    if (state->dict != vec->dict || vec->dict->count > state->by_code_cap) {
        ERR_TRY(key_forget_dict(groups, state, vec->dict, err));
    }
    for (uint32_t i = 0; i < count; i++) {
        if (places[i] == NONE) {
            out[i] = VALUE_NULL;
            continue;
        }
        uint32_t code = vec->u32[places[i]];
        if (state->by_code[code] == NONE) {
            struct key_value v = {.tag = TAG_STRING, .string = dict_value(vec->dict, code)};
            ERR_TRY(key_number(groups, state, &v, true, &state->by_code[code], err));
        }
        out[i] = state->by_code[code];
    }
    return ERR_OK;
}

/* Value numbers of key k for the rows of the block. */
static enum err_code key_number_block(struct groups *groups, struct key_state *state,
                                      struct scan *scan, uint32_t count, uint32_t *out,
                                      struct err *err)
{
    struct vec vec = {0};
    const uint32_t *places = NULL;
    ERR_TRY(scan_field(scan, &state->key->field, &vec, &places, err));
    if (vec.kind == VEC_ABSENT) {
        memset(out, 0, (size_t)count * sizeof(*out)); /* VALUE_NULL */
        return ERR_OK;
    }
    if (vec.kind == VEC_CODE) {
        return key_number_codes(groups, state, &vec, places, count, out, err);
    }
    struct key_value last = {.tag = TAG_NULL}; /* neighbours are mostly of one journey, and alike */
    uint32_t last_number = VALUE_NULL;
    for (uint32_t i = 0; i < count; i++) {
        struct key_value v = {.tag = TAG_NULL};
        if (places[i] != NONE) {
            v = key_value_at(state->key, &vec, places[i]);
        }
        if (!value_eq(&v, &last)) {
            ERR_TRY(key_number(groups, state, &v, false, &last_number, err));
            last = v;
        }
        out[i] = last_number;
    }
    return ERR_OK;
}

enum err_code groups_of_code(struct groups *groups, const struct dict *dict, uint32_t code,
                             uint32_t *ret_number, struct err *err)
{
    struct key_value v = {.tag = TAG_NULL};
    uint32_t value = 0;
    ASSERT(groups->key_count == 1);
    if (code < dict->count) {
        v = (struct key_value){.tag = TAG_STRING, .string = dict_value(dict, code)};
    }
    ERR_TRY(key_number(groups, &groups->keys[0], &v, true, &value, err));
    return groups_of_tuple(groups, &value, ret_number, err);
}

enum err_code groups_of_literal(struct groups *groups, const struct literal *value,
                                uint32_t *ret_number, struct err *err)
{
    struct key_value v = {.tag = TAG_NULL};
    uint32_t number = 0;
    ASSERT(groups->key_count == 1);
    switch (value->type) {
    case COL_STRING: v = (struct key_value){.tag = TAG_STRING, .string = value->string}; break;
    case COL_NUMBER: v = (struct key_value){.tag = TAG_NUMBER, .number = value->number}; break;
    case COL_BOOL: v = (struct key_value){.tag = TAG_BOOL, .i64 = value->boolean}; break;
    case COL_TIME: v = (struct key_value){.tag = TAG_TIME, .i64 = value->ts_ms}; break;
    case COL_LIST: break;
    }
    ERR_TRY(key_number(groups, &groups->keys[0], &v, true, &number, err));
    return groups_of_tuple(groups, &number, ret_number, err);
}

bool groups_literal(const struct groups *groups, uint32_t number, uint32_t key, struct literal *ret)
{
    const struct key_value *v = &groups->keys[key].values[groups_tuple(groups, number)[key]];
    switch (v->tag) {
    case TAG_STRING: *ret = (struct literal){.type = COL_STRING, .string = v->string}; break;
    case TAG_NUMBER: *ret = (struct literal){.type = COL_NUMBER, .number = v->number}; break;
    case TAG_BOOL: *ret = (struct literal){.type = COL_BOOL, .boolean = v->i64 != 0}; break;
    case TAG_TIME: *ret = (struct literal){.type = COL_TIME, .ts_ms = v->i64}; break;
    case TAG_NULL:
    case TAG_BUCKET: return false;
    }
    return true;
}

/* Groups of a few codes of one dictionary, whose looks at texts and into the table wait for memory together. */
static enum err_code groups_of_few(struct groups *groups, const struct dict *dict,
                                   const uint32_t *codes, uint32_t count, uint32_t *out,
                                   struct err *err)
{
    struct key_state *state = &groups->keys[0];
    const struct table *table = &state->table;
    struct key_value values[CODES_AHEAD];
    ASSERT_DEBUG(count <= CODES_AHEAD);
    for (uint32_t i = 0; i < count; i++) {
        values[i] = (struct key_value){.tag = TAG_STRING, .string = dict_value(dict, codes[i])};
        __builtin_prefetch(values[i].string.ptr);
    }
    for (uint32_t i = 0; i < count; i++) {
        values[i].hash = value_hash(&values[i]);
        __builtin_prefetch(&table->slots[(uint32_t)values[i].hash & (table->size - 1)]);
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = 0;
        ERR_TRY(key_number_hashed(groups, state, &values[i], values[i].hash, true, &number, err));
        ERR_TRY(groups_of_value(groups, number, &out[i], err));
    }
    return ERR_OK;
}

/* Groups of codes that have none yet. */
static enum err_code groups_of_new(struct groups *groups, const uint32_t *codes, uint32_t count,
                                   struct err *err)
{
    uint32_t numbers[CODES_AHEAD];
    for (uint32_t i = 0; i < count; i += CODES_AHEAD) {
        uint32_t few = MIN_OF(count - i, CODES_AHEAD);
        ERR_TRY(groups_of_few(groups, groups->group_dict, codes + i, few, numbers, err));
        for (uint32_t k = 0; k < few; k++) {
            groups->of_code[codes[i + k]] = numbers[k];
        }
    }
    return ERR_OK;
}

static enum err_code group_codes_of(struct groups *groups, const struct dict *dict, struct err *err)
{
    if (groups->group_dict == dict && dict->count <= groups->of_code_count) {
        return ERR_OK;
    }
    if (dict->count > groups->of_code_cap) {
        void *memory = NULL;
        ERR_TRY(
            arena_alloc_raw(groups->arena, (size_t)dict->count * sizeof(uint32_t), &memory, err));
        groups->of_code = memory;
        groups->of_code_cap = dict->count;
    }
    memset(groups->of_code, 0xff, (size_t)dict->count * sizeof(uint32_t));
    groups->group_dict = dict;
    groups->of_code_count = dict->count;
    return ERR_OK;
}

/* numbers[i] = of_code[codes[rows[i]]]; whether one of them is at least GROUP_PENDING: a code without a group. */
CPU_CLONES static bool numbers_of_codes(const uint32_t *restrict codes, const uint16_t *restrict rows,
                                        uint32_t count, const uint32_t *restrict of_code,
                                        uint32_t *restrict numbers)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = of_code[codes[rows[i]]];
        numbers[i] = number;
        most = number > most ? number : most;
    }
    return most >= GROUP_PENDING;
}

/* One key, whose values are codes that every row has: the group of each code, looked up once. *ret_done false where the
 * block is not like that. `scratch` is not rewound before the numbers are looked at. */
static enum err_code groups_of_codes(struct groups *groups, struct scan *scan,
                                     const struct scan_block *block, struct arena *scratch,
                                     uint32_t *numbers, bool *ret_done, struct err *err)
{
    struct vec vec = {0};
    void *memory = NULL;
    uint32_t new_count = 0;
    ERR_TRY(scan_vec(scan, &groups->keys[0].key->field, &vec, err));
    *ret_done = vec.kind == VEC_CODE && vec.present == NULL;
    if (!*ret_done) {
        return ERR_OK;
    }
    ERR_TRY(group_codes_of(groups, vec.dict, err));
    ERR_TRY(arena_alloc_raw(scratch, MIN_OF(vec.dict->count, block->count) * sizeof(uint32_t),
                            &memory, err));
    uint32_t *new_codes = memory;
    uint32_t *of_code = groups->of_code;
    uint32_t last = block->count - 1; /* a block has rows */
    bool is_dense = block->count >= vec.rows / DENSE_PARTS;
    if (is_dense && !numbers_of_codes(vec.u32, block->rows, block->count, of_code, numbers)) {
        return ERR_OK;
    }
    for (uint32_t i = 0; i < block->count; i++) {
        uint32_t code = vec.u32[block->rows[i]];
        __builtin_prefetch(&vec.u32[block->rows[MIN_OF(i + ROWS_AHEAD, last)]]);
        numbers[i] = of_code[code];
        if (numbers[i] == NONE) {
            of_code[code] = GROUP_PENDING; /* each is once among the new ones */
            new_codes[new_count++] = code;
        }
    }
    ERR_TRY(groups_of_new(groups, new_codes, new_count, err));
    for (uint32_t i = 0; new_count > 0 && i < block->count; i++) {
        if (numbers[i] >= GROUP_PENDING) {
            numbers[i] = of_code[vec.u32[block->rows[i]]];
        }
    }
    return ERR_OK;
}

/* ---- several keys with few codes ---- */

struct code_keys {
    struct vec vecs[QUERY_KEYS_MAX];
    uint32_t tuple_count; /* that the dictionaries make */
};

/* Whether every row has a code for each key, and their dictionaries make few tuples. */
static enum err_code code_keys_of(struct groups *groups, struct scan *scan, struct code_keys *ret,
                                  bool *ret_can, struct err *err)
{
    uint64_t count = 1;
    *ret_can = true;
    for (uint32_t k = 0; k < groups->key_count && *ret_can; k++) {
        struct vec *vec = &ret->vecs[k];
        if (groups->keys[k].key->edges != NULL) {
            *ret_can = false;
            break;
        }
        ERR_TRY(scan_vec(scan, &groups->keys[k].key->field, vec, err));
        *ret_can = vec->kind == VEC_CODE && vec->present == NULL &&
                   (count *= vec->dict->count) <= CODE_TUPLES_MAX;
    }
    ret->tuple_count = (uint32_t)count;
    return ERR_OK;
}

static enum err_code code_keys_table(struct groups *groups, const struct code_keys *keys,
                                     struct err *err)
{
    bool is_same = groups->of_codes != NULL;
    for (uint32_t k = 0; k < groups->key_count; k++) {
        is_same = is_same && groups->tuple_dicts[k] == keys->vecs[k].dict;
        groups->tuple_dicts[k] = keys->vecs[k].dict;
    }
    if (is_same) {
        return ERR_OK;
    }
    if (groups->of_codes == NULL) {
        ERR_TRY(ARENA_NEW(groups->arena, CODE_TUPLES_MAX, &groups->of_codes, err));
    }
    memset(groups->of_codes, 0xff, (size_t)keys->tuple_count * sizeof(uint32_t));
    return ERR_OK;
}

/* The group of a tuple, whose codes its number is made of. */
static enum err_code code_keys_group(struct groups *groups, const struct code_keys *keys,
                                     uint32_t number, uint32_t *ret, struct err *err)
{
    uint32_t tuple[QUERY_KEYS_MAX];
    for (uint32_t k = groups->key_count; k-- > 0;) {
        const struct dict *dict = keys->vecs[k].dict;
        struct key_value v = {.tag = TAG_STRING, .string = dict_value(dict, number % dict->count)};
        number /= dict->count;
        ERR_TRY(key_number(groups, &groups->keys[k], &v, true, &tuple[k], err));
    }
    return groups_of_tuple(groups, tuple, ret, err);
}

CPU_CLONES static void widen_tuples(uint32_t *restrict out, const uint32_t *restrict codes,
                                    uint32_t count, uint32_t rows)
{
    for (uint32_t i = 0; i < rows; i++) {
        out[i] = out[i] * count + codes[i];
    }
}

/* The tuples of a block's rows, as numbers. */
static void code_tuples(const struct groups *groups, const struct code_keys *keys,
                        const struct scan_block *block, uint32_t *restrict out)
{
    bool is_whole = block->count == keys->vecs[0].rows; /* row i is the block's row i */
    for (uint32_t k = 0; k < groups->key_count; k++) {
        const uint32_t *codes = keys->vecs[k].u32;
        uint32_t count = keys->vecs[k].dict->count;
        if (is_whole && k == 0) {
            memcpy(out, codes, block->count * sizeof(*out));
        } else if (is_whole) {
            widen_tuples(out, codes, count, block->count);
        } else {
            for (uint32_t i = 0; i < block->count; i++) {
                out[i] = (k == 0 ? 0 : out[i] * count) + codes[block->rows[i]];
            }
        }
    }
}

static enum err_code groups_of_code_tuples(struct groups *groups, const struct code_keys *keys,
                                           const struct scan_block *block, uint32_t *numbers,
                                           struct err *err)
{
    ERR_TRY(code_keys_table(groups, keys, err));
    code_tuples(groups, keys, block, numbers);
    for (uint32_t i = 0; i < block->count; i++) {
        uint32_t *group = &groups->of_codes[numbers[i]];
        if (*group == NONE) {
            ERR_TRY(code_keys_group(groups, keys, numbers[i], group, err));
        }
        numbers[i] = *group;
    }
    return ERR_OK;
}

/* ---- rows by group, counted ---- */

/* Rows of one tuple follow one another, and an increment that waits for the one before costs as much as four: so there
 * are four tables, and neighbours take different ones. */
static void tally_tuples(const uint32_t *tuples, uint32_t count, uint32_t *tallies,
                         uint32_t tuple_count)
{
    uint32_t *second = tallies + tuple_count;
    uint32_t *third = second + tuple_count;
    uint32_t *fourth = third + tuple_count;
    uint32_t i = 0;
    for (; i + 4 <= count; i += 4) {
        tallies[tuples[i]]++;
        second[tuples[i + 1]]++;
        third[tuples[i + 2]]++;
        fourth[tuples[i + 3]]++;
    }
    for (; i < count; i++) {
        tallies[tuples[i]]++;
    }
    for (uint32_t t = 0; t < tuple_count; t++) {
        tallies[t] += second[t] + third[t] + fourth[t];
    }
}

/* ---- rows by code, until the source ends ---- */

static bool tally_pays(const struct vec *vec, const struct scan_block *block)
{
    return vec->kind == VEC_CODE && vec->present == NULL && vec->dict->count > CODE_TUPLES_MAX &&
           vec->dict->count <= block->count * TALLY_CODES_A_ROW;
}

static enum err_code tally_begin(struct groups *groups, const struct dict *dict, struct err *err)
{
    struct code_tally *tally = &groups->tally;
    if (dict->count > tally->cap) {
        ERR_TRY(ARENA_NEW(groups->arena, dict->count, &tally->counts, err));
        tally->cap = dict->count;
    }
    tally->dict = dict;
    return ERR_OK;
}

static void tally_add(struct code_tally *tally, const struct vec *vec,
                      const struct scan_block *block)
{
    for (uint32_t i = 0; i < block->count; i++) {
        tally->counts[vec->u32[block->rows[i]]]++;
    }
}

static enum err_code tally_take(struct groups *groups, const uint32_t *codes, uint32_t count,
                                struct group_count *out, struct err *err)
{
    uint32_t numbers[CODES_AHEAD];
    ERR_TRY(groups_of_few(groups, groups->tally.dict, codes, count, numbers, err));
    for (uint32_t i = 0; i < count; i++) {
        out[i] = (struct group_count){numbers[i], groups->tally.counts[codes[i]]};
        groups->tally.counts[codes[i]] = 0;
    }
    return ERR_OK;
}

enum err_code groups_count_rest(struct groups *groups, struct arena *arena,
                                struct group_count **ret, uint32_t *ret_count, struct err *err)
{
    struct code_tally *tally = &groups->tally;
    uint32_t codes[CODES_AHEAD];
    uint32_t ahead = 0;
    *ret_count = 0;
    if (tally->dict == NULL) {
        return ERR_OK;
    }
    uint32_t code_count = tally->dict->count;
    ERR_TRY(ARENA_NEW(arena, code_count, ret, err));
    for (uint32_t code = 0; code <= code_count; code++) {
        if (code < code_count && tally->counts[code] > 0) {
            codes[ahead++] = code;
        }
        if (ahead == CODES_AHEAD || (ahead > 0 && code == code_count)) {
            ERR_TRY(tally_take(groups, codes, ahead, *ret + *ret_count, err));
            *ret_count += ahead;
            ahead = 0;
        }
    }
    tally->dict = NULL;
    return ERR_OK;
}

/* One key with a large dictionary: the rows are kept back; what is returned is of the dictionary before. */
static enum err_code count_by_tally(struct groups *groups, struct scan *scan,
                                    const struct scan_block *block, struct group_count **ret,
                                    uint32_t *ret_count, bool *ret_done, struct err *err)
{
    struct vec vec = {0};
    ERR_TRY(scan_vec(scan, &groups->keys[0].key->field, &vec, err));
    *ret_done = tally_pays(&vec, block);
    if (*ret_done && groups->tally.dict != vec.dict) {
        ERR_TRY(groups_count_rest(groups, scan_read_ctx(scan)->arena, ret, ret_count, err));
        ERR_TRY(tally_begin(groups, vec.dict, err));
    }
    if (*ret_done) {
        tally_add(&groups->tally, &vec, block);
    }
    return ERR_OK;
}

enum err_code groups_count_block(struct groups *groups, struct scan *scan,
                                 const struct scan_block *block, struct group_count **ret,
                                 uint32_t *ret_count, bool *ret_done, struct err *err)
{
    struct arena *scratch = scan_read_ctx(scan)->arena;
    struct code_keys keys = {0};
    uint32_t *tallies = NULL;
    void *memory = NULL;
    *ret_count = 0;
    *ret_done = false;
    if (groups->key_count == 0) {
        return ERR_OK;
    }
    if (groups->key_count == 1 && groups->keys[0].key->edges == NULL) {
        ERR_TRY(count_by_tally(groups, scan, block, ret, ret_count, ret_done, err));
        if (*ret_done) {
            return ERR_OK;
        }
    }
    ERR_TRY(code_keys_of(groups, scan, &keys, ret_done, err));
    *ret_done = *ret_done && keys.tuple_count <= block->count;
    if (!*ret_done) {
        return ERR_OK;
    }
    ERR_TRY(code_keys_table(groups, &keys, err));
    ERR_TRY(arena_alloc_raw(scratch, block->count * sizeof(uint32_t), &memory, err));
    uint32_t *tuples = memory;
    ERR_TRY(ARENA_NEW(scratch, 4 * (size_t)keys.tuple_count, &tallies, err));
    ERR_TRY(ARENA_NEW(scratch, keys.tuple_count, ret, err));
    code_tuples(groups, &keys, block, tuples);
    tally_tuples(tuples, block->count, tallies, keys.tuple_count);
    for (uint32_t t = 0; t < keys.tuple_count; t++) {
        if (tallies[t] == 0) {
            continue;
        }
        if (groups->of_codes[t] == NONE) {
            ERR_TRY(code_keys_group(groups, &keys, t, &groups->of_codes[t], err));
        }
        (*ret)[(*ret_count)++] = (struct group_count){groups->of_codes[t], tallies[t]};
    }
    return ERR_OK;
}

enum err_code groups_of_block(struct groups *groups, struct scan *scan,
                              const struct scan_block *block, const uint32_t **ret_numbers,
                              struct err *err)
{
    struct arena *scratch = scan_read_ctx(scan)->arena;
    void *memory = NULL;
    ERR_TRY(arena_alloc_raw(scratch, block->count * sizeof(uint32_t), &memory, err));
    uint32_t *numbers = memory;
    *ret_numbers = numbers;
    if (groups->key_count == 0) {
        memset(numbers, 0, block->count * sizeof(*numbers));
        return ERR_OK;
    }
    if (groups->key_count == 1 && groups->keys[0].key->edges == NULL) {
        bool is_done = false;
        ERR_TRY(groups_of_codes(groups, scan, block, scratch, numbers, &is_done, err));
        if (is_done) {
            return ERR_OK;
        }
    }
    uint32_t *values[QUERY_KEYS_MAX] = {0};
    ASSERT(groups->key_count <= QUERY_KEYS_MAX);
    if (groups->key_count > 1) {
        struct code_keys keys = {0};
        bool can = false;
        ERR_TRY(code_keys_of(groups, scan, &keys, &can, err));
        if (can) {
            return groups_of_code_tuples(groups, &keys, block, numbers, err);
        }
    }
    for (uint32_t k = 0; k < groups->key_count; k++) {
        ERR_TRY(arena_alloc_raw(scratch, block->count * sizeof(uint32_t), &memory, err));
        values[k] = memory;
        ERR_TRY(key_number_block(groups, &groups->keys[k], scan, block->count, values[k], err));
    }
    if (groups->key_count == 1) {
        for (uint32_t i = 0; i < block->count; i++) {
            ERR_TRY(groups_of_value(groups, values[0][i], &numbers[i], err));
        }
        return ERR_OK;
    }
    uint32_t tuple[QUERY_KEYS_MAX];
    uint32_t group = 0;
    for (uint32_t i = 0; i < block->count; i++) {
        bool is_same = i > 0; /* neighbours are mostly of one subject, and alike */
        for (uint32_t k = 0; k < groups->key_count; k++) {
            is_same = is_same && tuple[k] == values[k][i];
            tuple[k] = values[k][i];
        }
        if (!is_same) {
            ERR_TRY(groups_of_tuple(groups, tuple, &group, err));
        }
        numbers[i] = group;
    }
    return ERR_OK;
}

const struct field *groups_look_field(const struct groups *groups)
{
    const struct by_key *key = groups->keys[0].key;
    bool is_one = groups->key_count == 1 && key->edges == NULL && key->field.type == COL_STRING;
    return is_one ? &key->field : NULL;
}

/* A source has one dictionary, which may grow. */
enum err_code groups_look_open(struct groups *groups, struct scan *scan,
                               const struct scan_block *block, struct groups_look *ret,
                               struct err *err)
{
    const struct field *field = groups_look_field(groups);
    struct vec vec = {0};
    if (field != NULL) {
        ERR_TRY(scan_vec(scan, field, &vec, err));
    }
    if (field == NULL || !scan_vec_is_looked_up(&vec)) {
        ASSERT(block->journeys == NULL);
        return groups_of_block(groups, scan, block, &ret->numbers, err);
    }
    uint32_t count = vec.dict->count;
    if (ret->dict != vec.dict || count > ret->code_cap) {
        void *memory = ret->of_code;
        if (count > ret->code_cap) {
            ERR_TRY(
                arena_alloc_raw(groups->arena, (size_t)count * sizeof(uint32_t), &memory, err));
            ret->code_cap = count;
        }
        memset(memory, 0xff, (size_t)ret->code_cap * sizeof(uint32_t));
        ret->of_code = memory;
        ret->dict = vec.dict;
    }
    ret->numbers = NULL;
    ret->codes = vec.u32;
    ret->rows = block->rows;
    return ERR_OK;
}

enum err_code groups_look_new(struct groups *groups, struct groups_look *look, uint32_t code,
                              struct err *err)
{
    return groups_of_code(groups, look->dict, code, &look->of_code[code], err);
}

void groups_pack_all(const struct groups *groups, struct buf *out)
{
    uint32_t count = groups_count(groups);
    buf_varint(out, count);
    for (uint32_t g = 0; g < count; g++) {
        groups_pack(groups, g, out);
    }
}

enum err_code groups_unpack_all(struct groups *groups, struct rd *rd, struct arena *arena,
                                uint32_t **ret_numbers, struct err *err)
{
    uint64_t count = rd_varint(rd);
    ERR_TRY(ARENA_NEW(arena, count, ret_numbers, err));
    for (uint64_t g = 0; g < count; g++) {
        ERR_TRY(groups_unpack(groups, rd, &(*ret_numbers)[g], err));
    }
    return ERR_OK;
}

static enum err_code group_import(struct groups *into, const struct groups *from, uint32_t number,
                                  bool is_borrowed, uint32_t *ret_number, struct err *err)
{
    ASSERT(into->key_count == from->key_count);
    if (into->key_count == 0) {
        *ret_number = 0;
        return ERR_OK;
    }
    const uint32_t *theirs = groups_tuple(from, number);
    uint32_t tuple[QUERY_KEYS_MAX];
    for (uint32_t k = 0; k < from->key_count; k++) {
        const struct key_value *v = &from->keys[k].values[theirs[k]];
        tuple[k] = VALUE_NULL;
        if (v->tag != TAG_NULL) {
            ERR_TRY(
                key_number_hashed(into, &into->keys[k], v, v->hash, is_borrowed, &tuple[k], err));
        }
    }
    return groups_of_tuple(into, tuple, ret_number, err);
}

enum err_code groups_import(struct groups *into, const struct groups *from, uint32_t number,
                            uint32_t *ret_number, struct err *err)
{
    return group_import(into, from, number, false, ret_number, err);
}

/* Room for `count` more values of the only key, so that nothing is moved while they come. */
static enum err_code reserve_values(struct groups *groups, uint32_t count, struct err *err)
{
    struct key_state *state = &groups->keys[0];
    uint64_t wanted = (uint64_t)state->value_count + count + 1;
    uint32_t size = state->table.size;
    while (wanted * 4 > (uint64_t)size * 3 && size <= UINT32_MAX / 4) {
        size *= 2;
    }
    if (size != state->table.size) {
        ERR_TRY(table_resize(groups->arena, &state->table, size, err));
        for (uint32_t i = 1; i < state->value_count; i++) {
            table_put(&state->table, state->values[i].hash, i);
        }
    }
    return ERR_OK;
}

static uint32_t nth_group(const uint32_t *numbers, uint32_t i)
{
    return numbers == NULL ? i : numbers[i];
}

enum err_code groups_adopt(struct groups *into, const struct groups *from, const uint32_t *numbers,
                           uint32_t count, uint32_t *out_numbers, struct err *err)
{
    const struct table *table = NULL; /* of the only key */
    if (into->key_count == 1) {
        ERR_TRY(reserve_values(into, count, err));
        table = &into->keys[0].table;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (table != NULL && i + ADOPT_AHEAD < count) {
            uint32_t value = from->tuples[nth_group(numbers, i + ADOPT_AHEAD)];
            uint64_t hash = from->keys[0].values[value].hash;
            __builtin_prefetch(&table->slots[(uint32_t)hash & (table->size - 1)]);
        }
        ERR_TRY(group_import(into, from, nth_group(numbers, i), true, &out_numbers[i], err));
    }
    return ERR_OK;
}

uint64_t groups_hash(const struct groups *groups, uint32_t number)
{
    const uint32_t *tuple = groups_tuple(groups, number);
    uint64_t hash = 0;
    for (uint32_t k = 0; k < groups->key_count; k++) {
        hash = hash_mix(hash * 31 + groups->keys[k].values[tuple[k]].hash);
    }
    return hash;
}

/* ---- bytes ---- */

void groups_pack(const struct groups *groups, uint32_t number, struct buf *out)
{
    for (uint32_t k = 0; k < groups->key_count; k++) {
        const struct key_value *v = &groups->keys[k].values[groups_tuple(groups, number)[k]];
        buf_u8(out, (uint8_t)v->tag);
        switch (v->tag) {
        case TAG_NULL: break;
        case TAG_NUMBER:
            buf_zigzag(out, v->number.m);
            buf_u8(out, v->number.scale);
            break;
        case TAG_STRING: buf_blob(out, v->string); break;
        case TAG_BOOL:
        case TAG_TIME:
        case TAG_BUCKET: buf_zigzag(out, v->i64); break;
        }
    }
}

static struct key_value key_value_unpack(struct rd *rd)
{
    struct key_value v = {.tag = (enum value_tag)rd_u8(rd)};
    switch (v.tag) {
    case TAG_NULL: break;
    case TAG_NUMBER:
        v.number.m = rd_zigzag(rd);
        v.number.scale = rd_u8(rd);
        break;
    case TAG_STRING: v.string = rd_blob(rd); break;
    case TAG_BOOL:
    case TAG_TIME:
    case TAG_BUCKET: v.i64 = rd_zigzag(rd); break;
    }
    return v;
}

enum err_code groups_unpack(struct groups *groups, struct rd *rd, uint32_t *ret_number,
                            struct err *err)
{
    uint32_t tuple[QUERY_KEYS_MAX];
    for (uint32_t k = 0; k < groups->key_count; k++) {
        struct key_value v = key_value_unpack(rd);
        ERR_TRY(key_number(groups, &groups->keys[k], &v, false, &tuple[k], err));
    }
    if (groups->key_count == 0) {
        *ret_number = 0;
        return ERR_OK;
    }
    return groups_of_tuple(groups, tuple, ret_number, err);
}

enum err_code groups_null(struct groups *groups, uint32_t *ret_number, struct err *err)
{
    static const uint32_t tuple[QUERY_KEYS_MAX] = {VALUE_NULL};
    if (groups->key_count == 0) {
        *ret_number = 0;
        return ERR_OK;
    }
    return groups_of_tuple(groups, tuple, ret_number, err);
}

/* ---- order and text ---- */

int groups_cmp_with(const struct groups *x, uint32_t a, const struct groups *y, uint32_t b)
{
    for (uint32_t k = 0; k < x->key_count; k++) {
        int order = value_cmp(&x->keys[k].values[groups_tuple(x, a)[k]],
                              &y->keys[k].values[groups_tuple(y, b)[k]]);
        if (order != 0) {
            return order;
        }
    }
    return 0;
}

int groups_cmp(const struct groups *groups, uint32_t a, uint32_t b)
{
    return groups_cmp_with(groups, a, groups, b);
}

struct cell groups_cell(const struct groups *groups, uint32_t number, uint32_t key)
{
    const struct key_value *v = &groups->keys[key].values[groups_tuple(groups, number)[key]];
    switch (v->tag) {
    case TAG_NULL: return (struct cell){.kind = CELL_NULL};
    case TAG_BOOL: return (struct cell){.kind = CELL_BOOL, .boolean = v->i64 != 0};
    case TAG_NUMBER: return cell_of_num(v->number);
    case TAG_STRING: return (struct cell){.kind = CELL_STRING, .string = v->string};
    case TAG_TIME:
    case TAG_BUCKET: return (struct cell){.kind = CELL_STRING, .string = v->text};
    }
    return (struct cell){.kind = CELL_NULL};
}
