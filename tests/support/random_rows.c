/* tests/support/random_rows.c - see random_rows.h. */
#include "tests/support/random_rows.h"

#include "storage/base/size.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

static const struct {
    const char *name;
    enum col_type type;
} props[] = {
    {"country", COL_STRING}, /* few values, all rows */
    {"url", COL_STRING},     /* all different, most rows */
    {"session", COL_STRING}, /* UUIDs, some rows */
    {"amount", COL_NUMBER},  /* decimals; only event 0 */
    {"score", COL_NUMBER},   /* decimals, integers and doubles mixed */
    {"ratio", COL_NUMBER},   /* doubles only */
    {"count", COL_NUMBER},   /* integers, extremes among them */
    {"is_new", COL_BOOL},    {"due", COL_TIME},
    {"tags", COL_LIST},      {"country", COL_NUMBER}, /* one name, two types; rare */
    {"never", COL_STRING},
};

enum err_code random_schema(struct schema *schema, struct err *err)
{
    for (size_t i = 0; i < COUNT_OF(props); i++) {
        uint32_t prop = 0;
        ERR_TRY(schema_add(schema, str_of(props[i].name), props[i].type, &prop, err));
    }
    return ERR_OK;
}

static enum err_code random_uuid(struct arena *arena, struct rng *rng, struct str *ret,
                                 struct err *err)
{
    uint64_t a = rng_next(rng);
    uint64_t b = rng_next(rng);
    return arena_printf(arena, ret, err, "%08x-%04x-%04x-%04x-%012" PRIx64, (unsigned)(a >> 32),
                        (unsigned)(a >> 16 & 0xffff), (unsigned)(a & 0xffff), (unsigned)(b >> 48),
                        b & UINT64_C(0xffffffffffff));
}

static struct num random_num(struct rng *rng, uint32_t prop)
{
    struct num n = {0};
    if (prop == 5 || (prop == 4 && rng_below(rng, 3) == 0)) {
        int64_t bits = 0;
        double v = (rng_unit(rng) - 0.5) * pow(10, (double)rng_below(rng, 40));
        memcpy(&bits, &v, sizeof(bits));
        return (struct num){bits, NUM_DOUBLE};
    }
    if (prop == 6) {
        uint64_t pick = rng_below(rng, 50);
        n = num_int(pick == 0   ? INT64_MIN
                    : pick == 1 ? INT64_MAX
                                : (int64_t)rng_below(rng, 1000) - 500);
    } else {
        n = num_decimal((int64_t)rng_below(rng, 100000) - 20000, (uint8_t)rng_below(rng, 4));
    }
    return n;
}

static const struct str words[] = {
    {"", 0},
    {"DE", 2},
    {"\xe4\xb8\xad\xe5\x9b\xbd", 6},
    {"\xf0\x9f\x98\x80", 4},
    {"a\0b", 3},
    {"US", 2},
    {"\xff\xfe", 2},
    {"a longer value, of which the first eight bytes are shared", 57},
    {"a longer value, of which the first eight bytes are equal", 56},
};

static enum err_code random_value(struct arena *arena, struct rng *rng, uint32_t prop, uint32_t row,
                                  struct mem_value *ret, struct err *err)
{
    ret->prop = prop;
    switch (props[prop].type) {
    case COL_STRING:
        if (prop == 1) {
            return arena_printf(arena, &ret->string, err, "/shop/item/%" PRIu64 "?row=%u",
                                rng_below(rng, 100), row);
        }
        if (prop == 2) {
            return random_uuid(arena, rng, &ret->string, err);
        }
        ret->string = words[rng_below(rng, COUNT_OF(words))];
        return ERR_OK;
    case COL_NUMBER: ret->number = random_num(rng, prop); return ERR_OK;
    case COL_BOOL: ret->boolean = rng_below(rng, 2) != 0; return ERR_OK;
    case COL_TIME: ret->ts_ms = (int64_t)rng_below(rng, 1000) * 1000 - 500000; return ERR_OK;
    case COL_LIST: break;
    }
    struct str *items = NULL;
    ret->list.count = (uint32_t)rng_below(rng, 4);
    ERR_TRY(ARENA_NEW(arena, ret->list.count, &items, err));
    for (uint32_t i = 0; i < ret->list.count; i++) {
        items[i] = words[rng_below(rng, COUNT_OF(words))];
    }
    ret->list.items = items;
    return ERR_OK;
}

static bool has_value(struct rng *rng, uint32_t prop, bool is_first_event)
{
    switch (prop) {
    case 0: return true;
    case 1: return rng_below(rng, 10) != 0;
    case 2: return rng_below(rng, 3) == 0;
    case 3: return is_first_event;
    case 10: return rng_below(rng, 40) == 0;
    case 11: return false;
    default: return rng_below(rng, 2) == 0;
    }
}

static enum err_code random_row(struct arena *arena, struct rng *rng,
                                const struct random_shape *shape, uint32_t i, struct mem_row *row,
                                struct err *err)
{
    uint32_t step = shape->subject_step == 0 ? 1 : shape->subject_step;
    uint64_t event = rng_below(rng, shape->events);
    row->subject = (uint32_t)rng_below(rng, shape->subjects) * step;
    row->time_ms = INT64_C(1700000000000) + (int64_t)rng_below(rng, shape->span_ms);
    row->arrival_ms = row->time_ms + (int64_t)rng_below(rng, 5000);
    ERR_TRY(arena_printf(arena, &row->name, err, "event %" PRIu64, event));
    if (shape->row_count % 2 == 0) {
        ERR_TRY(random_uuid(arena, rng, &row->event_id, err));
    } else {
        ERR_TRY(arena_printf(arena, &row->event_id, err, "e%u", i));
    }
    if (row->subject % 3 != 0) {
        ERR_TRY(arena_printf(arena, &row->user_id, err, "user-%u", row->subject));
    } else {
        ERR_TRY(random_uuid(arena, rng, &row->anonymous_id, err));
    }
    if (!shape->has_props) {
        return ERR_OK;
    }
    struct mem_value *values = NULL;
    ERR_TRY(ARENA_NEW(arena, COUNT_OF(props), &values, err));
    for (uint32_t prop = 0; prop < COUNT_OF(props); prop++) {
        if (has_value(rng, prop, event == 0)) {
            ERR_TRY(random_value(arena, rng, prop, i, &values[row->value_count++], err));
        }
    }
    row->values = values;
    return ERR_OK;
}

enum err_code random_rows(struct arena *arena, struct rng *rng, const struct random_shape *shape,
                          struct mem_row **ret, struct err *err)
{
    struct mem_row *rows = NULL;
    ERR_TRY(ARENA_NEW(arena, shape->row_count, &rows, err));
    for (uint32_t i = 0; i < shape->row_count; i++) {
        ERR_TRY(random_row(arena, rng, shape, i, &rows[i], err));
    }
    *ret = rows;
    return ERR_OK;
}

/* ---- comparing ---- */

static bool nums_equal(struct num a, struct num b)
{
    return a.m == b.m && a.scale == b.scale;
}

static bool list_equals(const struct vec *vec, uint32_t place, const struct mem_value *value)
{
    uint32_t begin = vec->offs[place];
    if (vec->offs[place + 1] - begin != value->list.count) {
        return false;
    }
    for (uint32_t i = 0; i < value->list.count; i++) {
        if (!str_eq(dict_value(vec->dict, vec->u32[begin + i]), value->list.items[i])) {
            return false;
        }
    }
    return true;
}

static bool prop_equals(const struct vec *vec, uint32_t place, enum col_type type,
                        const struct mem_value *value)
{
    if (place == UINT32_MAX || value == NULL) {
        return place == UINT32_MAX && value == NULL;
    }
    switch (type) {
    case COL_STRING: return str_eq(vec_str(vec, place), value->string);
    case COL_NUMBER: return nums_equal(vec_num(vec, place), value->number);
    case COL_BOOL: return vec->kind == VEC_BOOL && vec->u8[place] == value->boolean;
    case COL_TIME: return vec->kind == VEC_I64 && vec->i64[place] == value->ts_ms;
    case COL_LIST: return vec->kind == VEC_LIST && list_equals(vec, place, value);
    }
    return false;
}

static bool id_equals(const struct vec *vec, uint32_t place, struct str id)
{
    return place == UINT32_MAX ? id.len == 0 : id.len > 0 && str_eq(vec_str(vec, place), id);
}

static bool builtin_equals(const struct vec *vec, uint32_t place, uint32_t col,
                           const struct mem_row *row)
{
    switch (col) {
    case COL_SUBJECT: return vec->kind == VEC_U32 && vec->u32[place] == row->subject;
    case COL_EVENT_TIME: return vec->kind == VEC_I64 && vec->i64[place] == row->time_ms;
    case COL_ARRIVAL: return vec->kind == VEC_I64 && vec->i64[place] == row->arrival_ms;
    case COL_EVENT_NAME: return vec->kind == VEC_CODE && str_eq(vec_str(vec, place), row->name);
    case COL_EVENT_ID: return id_equals(vec, place, row->event_id);
    case COL_USER_ID: return id_equals(vec, place, row->user_id);
    default: return id_equals(vec, place, row->anonymous_id);
    }
}

static enum err_code block_equals(const struct source *source, const struct schema *schema,
                                  struct read_ctx *ctx, uint32_t col, uint32_t block,
                                  const struct mem_row *const *rows, struct err *err)
{
    struct vec vec = {0};
    ERR_TRY(source_read(source, ctx, col, block, &vec, err));
    int64_t min = 0;
    int64_t max = 0;
    bool has_zone = source_zone(source, col, block, &min, &max);
    uint32_t value_count = 0;
    for (uint32_t i = 0; i < vec.rows; i++) {
        uint16_t row = (uint16_t)i;
        uint32_t place = 0;
        if (vec.kind == VEC_ABSENT) {
            place = UINT32_MAX;
        } else if (vec.present == NULL) {
            place = i;
        } else {
            bool is_present = (vec.present[i / 64] >> (i % 64) & 1) != 0;
            place = is_present ? value_count : UINT32_MAX;
        }
        value_count += place != UINT32_MAX;
        bool is_equal =
            col < COL_FIRST_PROP
                ? builtin_equals(&vec, place, col, rows[block * BLOCK_ROWS + i])
                : prop_equals(&vec, place, schema_col(schema, col - COL_FIRST_PROP)->type,
                              mem_row_value(rows[block * BLOCK_ROWS + i], col - COL_FIRST_PROP));
        if (!is_equal) {
            return err_set(err, ERR_INVALID, "column %u: block %u: row %u differs", col, block,
                           row);
        }
        if (has_zone && place != UINT32_MAX && vec.kind == VEC_NUM) {
            double v = num_to_double(vec_num(&vec, place));
            if (v < (double)min || v > (double)max) {
                return err_set(err, ERR_INVALID, "column %u: block %u: row %u is out of the zone",
                               col, block, row);
            }
        }
        if (has_zone && place != UINT32_MAX && vec.kind == VEC_I64 &&
            (vec.i64[place] < min || vec.i64[place] > max)) {
            return err_set(err, ERR_INVALID, "column %u: block %u: row %u is out of the zone", col,
                           block, row);
        }
    }
    return value_count == vec.value_count
               ? ERR_OK
               : err_set(err, ERR_INVALID, "column %u: block %u: %u values where %u are said", col,
                         block, value_count, vec.value_count);
}

/* The row sets of all codes together are the block's values. */
static enum err_code row_sets_equal(const struct source *source, struct read_ctx *ctx, uint32_t col,
                                    uint32_t block, struct err *err)
{
    struct vec vec = {0};
    const struct dict *dict = NULL;
    uint16_t *rows = NULL;
    uint32_t *places = NULL;
    ERR_TRY(source_read(source, ctx, col, block, &vec, err));
    ERR_TRY(source_dict(source, ctx, col, &dict, err));
    ERR_TRY(ARENA_NEW(ctx->arena, BLOCK_ROWS, &rows, err));
    ERR_TRY(ARENA_NEW(ctx->arena, BLOCK_ROWS, &places, err));
    uint32_t codes = dict == NULL ? 2 : dict->count;
    uint32_t total = 0;
    for (uint32_t code = 0; code < codes; code++) {
        uint32_t count = 0;
        ERR_TRY(source_value_rows(source, ctx, col, code, block, rows, &count, err));
        vec_places(&vec, rows, count, places);
        for (uint32_t i = 0; i < count; i++) {
            if (places[i] == UINT32_MAX || (i > 0 && rows[i] <= rows[i - 1]) ||
                (vec.kind == VEC_BOOL ? vec.u8[places[i]] : vec.u32[places[i]]) != code) {
                return err_set(err, ERR_INVALID, "column %u: row set of code %u", col, code);
            }
        }
        total += count;
    }
    return total == vec.value_count
               ? ERR_OK
               : err_set(err, ERR_INVALID, "column %u: row sets miss rows", col);
}

static uint32_t first_row(const struct mem_row *const *rows, uint32_t count, uint32_t subject)
{
    uint32_t row = 0;
    while (row < count && rows[row]->subject < subject) {
        row++;
    }
    return row;
}

static enum err_code subject_rows_equal(const struct source *source, struct read_ctx *ctx,
                                        const struct mem_row *const *rows, uint32_t count,
                                        struct err *err)
{
    uint32_t last = rows[count - 1]->subject;
    const uint32_t asked[] = {0,
                              1,
                              rows[count / 2]->subject,
                              rows[count / 3]->subject + 1,
                              65536,
                              last,
                              last + 1,
                              131072,
                              last / 2,
                              UINT32_MAX};
    for (size_t i = 0; i < COUNT_OF(asked); i++) {
        uint32_t got = 0;
        uint32_t want = first_row(rows, count, asked[i]);
        ERR_TRY(source_subject_row(source, ctx, asked[i], &got, err));
        if (got != want) {
            return err_set(err, ERR_INVALID, "subject %u starts at row %u, not %u", asked[i], want,
                           got);
        }
    }
    return ERR_OK;
}

/* For `event` (empty: any): each set is exactly the subjects with a row in its span, and no row is in none. */
static enum err_code sets_equal(const struct source *source, struct read_ctx *ctx, uint32_t code,
                                struct str event, const struct mem_row *const *rows, uint32_t count,
                                struct err *err)
{
    const struct subject_set *sets = NULL;
    uint32_t set_count = 0;
    uint32_t covered = 0;
    ERR_TRY(source_subject_sets(source, ctx, code, &sets, &set_count, err));
    for (uint32_t i = 0; i < set_count; i++) {
        const roaring_bitmap_t *stored = NULL;
        ERR_TRY(source_subject_set(source, ctx, sets[i].set_idx, &stored, err));
        roaring_bitmap_t *want = roaring_bitmap_create();
        for (uint32_t r = 0; r < count; r++) {
            if ((event.len == 0 || str_eq(rows[r]->name, event)) &&
                rows[r]->time_ms >= sets[i].begin_ms && rows[r]->time_ms < sets[i].end_ms) {
                roaring_bitmap_add(want, rows[r]->subject);
                covered++;
            }
        }
        bool is_equal = roaring_bitmap_equals(want, stored);
        roaring_bitmap_free(want);
        if (!is_equal || (i > 0 && sets[i].begin_ms < sets[i - 1].end_ms)) {
            return err_set(err, ERR_INVALID, "subject set %u of event %u differs", i, code);
        }
    }
    uint32_t all = 0;
    for (uint32_t r = 0; r < count; r++) {
        all += event.len == 0 || str_eq(rows[r]->name, event);
    }
    return set_count == 0 || covered == all
               ? ERR_OK
               : err_set(err, ERR_INVALID, "subject sets of event %u miss rows", code);
}

enum err_code source_equals_rows(const struct source *source, const struct schema *schema,
                                 struct read_ctx *ctx, const struct mem_row *const *rows,
                                 uint32_t count, struct err *err)
{
    if (source->row_count != count) {
        return err_set(err, ERR_INVALID, "%u rows, not %u", source->row_count, count);
    }
    for (uint32_t col = 0; col < COL_FIRST_PROP + schema_count(schema); col++) {
        for (uint32_t block = 0; block < source->block_count; block++) {
            struct arena_mark mark = arena_mark(ctx->arena);
            ERR_TRY(block_equals(source, schema, ctx, col, block, rows, err));
            if (source_has_value_rows(source, col)) {
                ERR_TRY(row_sets_equal(source, ctx, col, block, err));
            }
            arena_rewind(ctx->arena, mark);
        }
    }
    ERR_TRY(subject_rows_equal(source, ctx, rows, count, err));
    const struct dict *events = NULL;
    ERR_TRY(source_dict(source, ctx, COL_EVENT_NAME, &events, err));
    ERR_TRY(sets_equal(source, ctx, SUBJECT_SET_ANY, (struct str){0}, rows, count, err));
    for (uint32_t code = 0; code < events->count; code++) {
        ERR_TRY(sets_equal(source, ctx, code, dict_value(events, code), rows, count, err));
    }
    return ERR_OK;
}
