/* tests/support/mem_source.c - see mem_source.h. */
#include "tests/support/mem_source.h"

#include "storage/base/size.h"

#include <stdlib.h>

struct mem_dict {
    struct dict dict;
    struct str *values;
};

struct mem_source {
    struct source source; /* first */
    const struct mem_row **rows;
    const struct schema *schema;
    uint32_t prop_count;
    struct mem_dict event_names;
    struct mem_dict *prop_dicts;
};

int mem_row_cmp(const void *a, const void *b)
{
    const struct mem_row *x = *(const struct mem_row *const *)a;
    const struct mem_row *y = *(const struct mem_row *const *)b;
    if (x->subject != y->subject) {
        return x->subject < y->subject ? -1 : 1;
    }
    if (x->time_ms != y->time_ms) {
        return x->time_ms < y->time_ms ? -1 : 1;
    }
    return str_cmp(x->event_id, y->event_id);
}

const struct mem_value *mem_row_value(const struct mem_row *row, uint32_t prop)
{
    for (uint32_t i = 0; i < row->value_count; i++) {
        if (row->values[i].prop == prop) {
            return &row->values[i];
        }
    }
    return NULL;
}

static void *must(void *ptr)
{
    ASSERT(ptr != NULL);
    return ptr;
}

static int str_ptr_cmp(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* The different values, sorted; is_sorted is not claimed, as memtables do not. */
static void dict_build(struct mem_dict *dict, struct str *all, uint32_t count)
{
    uint32_t kept = 0;
    if (count > 0) {
        qsort(all, count, sizeof(*all), str_ptr_cmp);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (kept == 0 || !str_eq(all[kept - 1], all[i])) {
            all[kept++] = all[i];
        }
    }
    for (uint32_t i = 0; i < kept / 2;
         i++) { /* falling: a reader that takes it for sorted will fail */
        struct str swap = all[i];
        all[i] = all[kept - 1 - i];
        all[kept - 1 - i] = swap;
    }
    dict->values = all;
    dict->dict = (struct dict){.count = kept, .values = all};
}

static uint32_t dict_code(const struct mem_dict *dict, struct str value)
{
    uint32_t begin = 0;
    uint32_t end = dict->dict.count;
    while (end - begin > 1) {
        uint32_t mid = begin + (end - begin) / 2;
        bool is_at = str_cmp(dict->values[mid], value) >= 0;
        begin = is_at ? mid : begin;
        end = is_at ? end : mid;
    }
    ASSERT(str_eq(dict->values[begin], value));
    return begin;
}

static void build_prop_dict(struct mem_source *mem, uint32_t prop)
{
    enum col_type type = schema_col(mem->schema, prop)->type;
    if (type != COL_STRING && type != COL_LIST) {
        return;
    }
    struct str *all = NULL;
    for (int pass = 0; pass < 2; pass++) {
        uint32_t count = 0;
        for (uint32_t row = 0; row < mem->source.row_count; row++) {
            const struct mem_value *value = mem_row_value(mem->rows[row], prop);
            uint32_t items = value == NULL ? 0 : type == COL_STRING ? 1 : value->list.count;
            for (uint32_t i = 0; i < items; i++, count++) {
                if (pass == 1) {
                    all[count] = type == COL_STRING ? value->string : value->list.items[i];
                }
            }
        }
        if (pass == 0) {
            all = must(calloc((size_t)count + 1, sizeof(*all)));
        } else {
            dict_build(&mem->prop_dicts[prop], all, count);
        }
    }
}

/* ---- operations ---- */

static const struct mem_source *of_source(const struct source *source)
{
    return (const struct mem_source *)(const void *)source;
}

/* Where the block's values of one column go as they are found. */
struct vec_out {
    uint64_t *present;
    uint32_t *u32;
    int64_t *i64;
    uint8_t *u8;
    uint8_t *scales;
    uint32_t *offs;
    struct buf *bytes;
};

static void put_str(struct vec *vec, struct vec_out *out, struct str value)
{
    buf_str(out->bytes, value);
    out->offs[vec->value_count + 1] = (uint32_t)out->bytes->len;
}

static bool put_builtin(const struct mem_source *mem, const struct mem_row *row, uint32_t col,
                        struct vec *vec, struct vec_out *out)
{
    uint32_t at = vec->value_count;
    switch (col) {
    case COL_SUBJECT:
        vec->kind = VEC_U32;
        out->u32[at] = row->subject;
        return true;
    case COL_EVENT_TIME:
        vec->kind = VEC_I64;
        out->i64[at] = row->time_ms;
        return true;
    case COL_ARRIVAL:
        vec->kind = VEC_I64;
        out->i64[at] = row->arrival_ms;
        return true;
    case COL_EVENT_NAME:
        vec->kind = VEC_CODE;
        vec->dict = &mem->event_names.dict;
        out->u32[at] = dict_code(&mem->event_names, row->name);
        return true;
    default: break;
    }
    struct str id = col == COL_EVENT_ID  ? row->event_id
                    : col == COL_USER_ID ? row->user_id
                                         : row->anonymous_id;
    vec->kind = VEC_BYTES;
    put_str(vec, out, id);
    return id.len > 0;
}

static bool put_prop(const struct mem_source *mem, const struct mem_row *row, uint32_t prop,
                     struct vec *vec, struct vec_out *out)
{
    const struct mem_value *value = mem_row_value(row, prop);
    if (value == NULL) {
        return false;
    }
    const struct mem_dict *dict = &mem->prop_dicts[prop];
    uint32_t at = vec->value_count;
    switch (schema_col(mem->schema, prop)->type) {
    case COL_STRING:
        vec->kind = VEC_CODE;
        vec->dict = &dict->dict;
        out->u32[at] = dict_code(dict, value->string);
        break;
    case COL_NUMBER:
        vec->kind = VEC_NUM;
        out->i64[at] = value->number.m;
        out->scales[at] = value->number.scale;
        break;
    case COL_BOOL:
        vec->kind = VEC_BOOL;
        out->u8[at] = value->boolean;
        break;
    case COL_TIME:
        vec->kind = VEC_I64;
        out->i64[at] = value->ts_ms;
        break;
    case COL_LIST:
        vec->kind = VEC_LIST;
        vec->dict = &dict->dict;
        for (uint32_t i = 0; i < value->list.count; i++) {
            uint32_t code = dict_code(dict, value->list.items[i]);
            buf_append(out->bytes, &code, sizeof(code));
        }
        out->offs[at + 1] = (uint32_t)(out->bytes->len / sizeof(uint32_t));
        break;
    }
    return true;
}

static enum err_code copy_bytes(struct arena *arena, const struct buf *bytes, void **ret,
                                struct err *err)
{
    ERR_TRY(buf_check(bytes, err));
    ERR_TRY(arena_alloc(arena, bytes->len + 8, ret, err));
    if (bytes->len > 0) {
        memcpy(*ret, bytes->ptr, bytes->len);
    }
    return ERR_OK;
}

static enum err_code op_read(const struct source *source, struct read_ctx *ctx, uint32_t col,
                             uint32_t block, struct vec *ret, struct err *err)
{
    const struct mem_source *mem = of_source(source);
    uint32_t rows = source_block_rows(source, block);
    struct vec vec = {.kind = VEC_ABSENT, .rows = rows};
    if (col >= COL_FIRST_PROP && col - COL_FIRST_PROP >= mem->prop_count) {
        *ret = vec;
        return ERR_OK;
    }
    CLEANUP(buf_freep) struct buf bytes = {0};
    struct vec_out out = {.bytes = &bytes};
    ERR_TRY(ARENA_NEW(ctx->arena, BLOCK_WORDS, &out.present, err));
    ERR_TRY(ARENA_NEW(ctx->arena, rows, &out.u32, err));
    ERR_TRY(ARENA_NEW(ctx->arena, rows, &out.i64, err));
    ERR_TRY(ARENA_NEW(ctx->arena, rows, &out.u8, err));
    ERR_TRY(ARENA_NEW(ctx->arena, rows, &out.scales, err));
    ERR_TRY(ARENA_NEW(ctx->arena, (size_t)rows + 1, &out.offs, err));
    for (uint32_t i = 0; i < rows; i++) {
        const struct mem_row *row = mem->rows[block * BLOCK_ROWS + i];
        bool has = col < COL_FIRST_PROP ? put_builtin(mem, row, col, &vec, &out)
                                        : put_prop(mem, row, col - COL_FIRST_PROP, &vec, &out);
        if (has) {
            out.present[i / 64] |= UINT64_C(1) << (i % 64);
            vec.value_count++;
        }
    }
    if (vec.value_count == 0) {
        *ret = (struct vec){.kind = VEC_ABSENT, .rows = rows};
        return ERR_OK;
    }
    void *copied = NULL;
    ERR_TRY(copy_bytes(ctx->arena, &bytes, &copied, err));
    vec.present = vec.value_count == rows ? NULL : out.present;
    vec.u32 = vec.kind == VEC_LIST ? copied : out.u32;
    vec.i64 = out.i64;
    vec.u8 = out.u8;
    vec.scales = vec.kind == VEC_NUM ? out.scales : NULL;
    vec.offs = out.offs;
    vec.bytes = copied;
    ctx->blocks_read++;
    *ret = vec;
    return ERR_OK;
}

static enum err_code op_dict(const struct source *source, struct read_ctx *ctx, uint32_t col,
                             const struct dict **ret, struct err *err)
{
    const struct mem_source *mem = of_source(source);
    *ret = NULL;
    if (col == COL_EVENT_NAME) {
        *ret = &mem->event_names.dict;
    } else if (col >= COL_FIRST_PROP && col - COL_FIRST_PROP < mem->prop_count &&
               mem->prop_dicts[col - COL_FIRST_PROP].values != NULL) {
        *ret = &mem->prop_dicts[col - COL_FIRST_PROP].dict;
    }
    return ERR_OK;
}

static bool op_zone(const struct source *source, uint32_t col, uint32_t block, int64_t *ret_min,
                    int64_t *ret_max)
{
    const struct mem_source *mem = of_source(source);
    if (col != COL_EVENT_TIME && col != COL_ARRIVAL) {
        return false;
    }
    *ret_min = INT64_MAX;
    *ret_max = INT64_MIN;
    for (uint32_t i = 0; i < source_block_rows(source, block); i++) {
        const struct mem_row *row = mem->rows[block * BLOCK_ROWS + i];
        int64_t v = col == COL_EVENT_TIME ? row->time_ms : row->arrival_ms;
        *ret_min = MIN_OF(*ret_min, v);
        *ret_max = MAX_OF(*ret_max, v);
    }
    return true;
}

static bool op_has_value_rows(const struct source *source, uint32_t col)
{
    return col == COL_EVENT_NAME;
}

static enum err_code op_value_rows(const struct source *source, struct read_ctx *ctx, uint32_t col,
                                   uint32_t code, uint32_t block, uint16_t *out_rows,
                                   uint32_t *ret_count, struct err *err)
{
    const struct mem_source *mem = of_source(source);
    ASSERT(col == COL_EVENT_NAME);
    uint32_t count = 0;
    for (uint32_t i = 0; i < source_block_rows(source, block); i++) {
        if (dict_code(&mem->event_names, mem->rows[block * BLOCK_ROWS + i]->name) == code) {
            if (out_rows != NULL) {
                out_rows[count] = (uint16_t)i;
            }
            count++;
        }
    }
    *ret_count = count;
    return ERR_OK;
}

/* Every second source has them, so that both ways to read a block are tried. */
static enum err_code op_block_journeys(const struct source *source, struct read_ctx *ctx,
                                       uint32_t block, struct block_journeys *ret, bool *ret_found,
                                       struct err *err)
{
    const struct mem_source *mem = of_source(source);
    const struct mem_row *const *rows = mem->rows + (size_t)block * BLOCK_ROWS;
    uint32_t count = source_block_rows(source, block);
    uint32_t *subjects = NULL;
    uint32_t *since_ms = NULL;
    uint16_t *lasts = NULL;
    uint16_t *codes = NULL;
    *ret_found = source->row_count % 2 == 0 &&
                 (uint64_t)source->time_max_ms - (uint64_t)source->time_min_ms <= UINT32_MAX;
    if (!*ret_found) {
        return ERR_OK;
    }
    ERR_TRY(ARENA_NEW(ctx->arena, count, &subjects, err));
    ERR_TRY(ARENA_NEW(ctx->arena, count, &since_ms, err));
    ERR_TRY(ARENA_NEW(ctx->arena, count, &lasts, err));
    ERR_TRY(ARENA_NEW(ctx->arena, count, &codes, err));
    *ret = (struct block_journeys){.subjects = subjects,
                                   .lasts = lasts,
                                   .base_ms = source->time_min_ms,
                                   .since_ms = since_ms,
                                   .codes = codes};
    for (uint32_t i = 0; i < count; i++) {
        since_ms[i] = (uint32_t)(rows[i]->time_ms - source->time_min_ms);
        codes[i] = (uint16_t)dict_code(&mem->event_names, rows[i]->name);
        if (i + 1 == count || rows[i]->subject != rows[i + 1]->subject) {
            subjects[ret->run_count] = rows[i]->subject;
            lasts[ret->run_count++] = (uint16_t)i;
        }
    }
    return ERR_OK;
}

static enum err_code op_subject_sets(const struct source *source, struct read_ctx *ctx,
                                     uint32_t event, const struct subject_set **ret,
                                     uint32_t *ret_count, struct err *err)
{
    *ret = NULL;
    *ret_count = 0;
    return ERR_OK;
}

static enum err_code op_subject_set(const struct source *source, struct read_ctx *ctx,
                                    uint32_t set_idx, const roaring_bitmap_t **ret, struct err *err)
{
    return err_set(err, ERR_INVALID, "no subject set %u: this source keeps none", set_idx);
}

static enum err_code op_subject_row(const struct source *source, struct read_ctx *ctx,
                                    uint32_t subject, uint32_t *ret_row, struct err *err)
{
    const struct mem_source *mem = of_source(source);
    uint32_t row = 0;
    while (row < source->row_count && mem->rows[row]->subject < subject) {
        row++;
    }
    *ret_row = row;
    return ERR_OK;
}

static const struct source_ops mem_ops = {
    .read = op_read,
    .dict = op_dict,
    .zone = op_zone,
    .value_rows = op_value_rows,
    .has_value_rows = op_has_value_rows,
    .block_journeys = op_block_journeys,
    .subject_sets = op_subject_sets,
    .subject_set = op_subject_set,
    .subject_row = op_subject_row,
};

/* ---- life ---- */

struct mem_source *mem_source_create(const struct mem_row *rows, uint32_t count,
                                     const struct schema *schema, uint32_t shard)
{
    ASSERT(count > 0);
    struct mem_source *mem = must(calloc(1, sizeof(*mem)));
    struct source *source = &mem->source;
    *source =
        (struct source){.ops = &mem_ops, .shard = shard, .row_count = count, .is_memory = true};
    source->block_count = (count + BLOCK_ROWS - 1) / BLOCK_ROWS;
    mem->schema = schema;
    mem->prop_count = schema_count(schema);
    mem->rows = must(calloc(count, sizeof(*mem->rows)));
    struct str *names = must(calloc(count, sizeof(*names)));
    for (uint32_t i = 0; i < count; i++) {
        mem->rows[i] = &rows[i];
        names[i] = rows[i].name;
    }
    qsort(mem->rows, count, sizeof(*mem->rows), mem_row_cmp);
    dict_build(&mem->event_names, names, count);
    mem->prop_dicts = must(calloc((size_t)mem->prop_count + 1, sizeof(*mem->prop_dicts)));
    for (uint32_t prop = 0; prop < mem->prop_count; prop++) {
        build_prop_dict(mem, prop);
    }
    source->subject_first = mem->rows[0]->subject;
    source->subject_last = mem->rows[count - 1]->subject;
    source->time_min_ms = source->time_max_ms = rows[0].time_ms;
    for (uint32_t i = 1; i < count; i++) {
        source->time_min_ms = MIN_OF(source->time_min_ms, rows[i].time_ms);
        source->time_max_ms = MAX_OF(source->time_max_ms, rows[i].time_ms);
    }
    return mem;
}

void mem_source_free(struct mem_source *mem)
{
    if (mem == NULL) {
        return;
    }
    for (uint32_t prop = 0; prop < mem->prop_count; prop++) {
        free(mem->prop_dicts[prop].values);
    }
    free(mem->prop_dicts);
    free(mem->event_names.values);
    free(mem->rows);
    free(mem);
}

const struct source *mem_source_of(const struct mem_source *mem)
{
    return &mem->source;
}

const struct mem_row *mem_source_row(const struct mem_source *mem, uint32_t row)
{
    return mem->rows[row];
}
