/* storage/source.c - see source.h: the calls through a source's table, and looking into vectors. */
#include "storage/source.h"

#include "storage/base/cpu.h"

#include "storage/num.h"

CPU_CLONES void vec_places(const struct vec *vec, const uint16_t *rows, uint32_t count,
                           uint32_t *out)
{
    if (vec->kind == VEC_ABSENT) {
        for (uint32_t i = 0; i < count; i++) {
            out[i] = UINT32_MAX;
        }
        return;
    }
    if (vec->present == NULL) {
        for (uint32_t i = 0; i < count; i++) {
            out[i] = rows[i];
        }
        return;
    }
    uint32_t word = 0;
    uint32_t before = 0; /* values in the words before `word`: rows ascend, so this only grows */
    for (uint32_t i = 0; i < count; i++) {
        uint32_t row = rows[i];
        for (; word < row / 64; word++) {
            before += (uint32_t)__builtin_popcountll(vec->present[word]);
        }
        uint64_t bit = UINT64_C(1) << (row % 64);
        uint64_t bits = vec->present[word];
        uint32_t place = before + (uint32_t)__builtin_popcountll(bits & (bit - 1));
        out[i] = (bits & bit) != 0 ? place : UINT32_MAX;
    }
}

struct num vec_num(const struct vec *vec, uint32_t place)
{
    ASSERT_DEBUG(place < vec->value_count);
    if (vec->kind == VEC_F64) {
        int64_t bits = 0;
        memcpy(&bits, &vec->f64[place], sizeof(bits));
        return (struct num){bits, NUM_DOUBLE};
    }
    ASSERT(vec->kind == VEC_NUM);
    uint8_t scale = vec->scales == NULL ? vec->scale : vec->scales[place];
    if (scale == NUM_DOUBLE) {
        return (struct num){vec->i64[place], NUM_DOUBLE};
    }
    return num_decimal(vec->i64[place], scale);
}

struct str vec_str(const struct vec *vec, uint32_t place)
{
    ASSERT_DEBUG(place < vec->value_count);
    if (vec->kind == VEC_CODE) {
        return dict_value(vec->dict, vec->u32[place]);
    }
    ASSERT(vec->kind == VEC_BYTES);
    return (struct str){vec->bytes + vec->offs[place], vec->offs[place + 1] - vec->offs[place]};
}

enum err_code source_read(const struct source *source, struct read_ctx *ctx, uint32_t col,
                          uint32_t block, struct vec *ret, struct err *err)
{
    ASSERT(block < source->block_count);
    return source->ops->read(source, ctx, col, block, ret, err);
}

enum err_code source_dict(const struct source *source, struct read_ctx *ctx, uint32_t col,
                          const struct dict **ret, struct err *err)
{
    return source->ops->dict(source, ctx, col, ret, err);
}

enum err_code source_code(const struct source *source, struct read_ctx *ctx, uint32_t col,
                          struct str value, bool *ret_found, uint32_t *ret_code, struct err *err)
{
    const struct dict *dict = NULL;
    ERR_TRY(source_dict(source, ctx, col, &dict, err));
    *ret_found = false;
    if (dict == NULL) {
        return ERR_OK;
    }
    if (!dict->is_sorted) { /* a memtable's: in order of arrival, and small */
        for (uint32_t code = 0; code < dict->count && !*ret_found; code++) {
            *ret_found = str_eq(dict_value(dict, code), value);
            *ret_code = *ret_found ? code : *ret_code;
        }
        return ERR_OK;
    }
    uint32_t begin = 0;
    uint32_t end = dict->count;
    while (begin < end) {
        uint32_t mid = begin + (end - begin) / 2;
        int order = str_cmp(dict_value(dict, mid), value);
        if (order == 0) {
            *ret_found = true;
            *ret_code = mid;
            return ERR_OK;
        }
        begin = order < 0 ? mid + 1 : begin;
        end = order < 0 ? end : mid;
    }
    return ERR_OK;
}

enum err_code source_event_rows(const struct source *source, struct read_ctx *ctx, uint32_t code,
                                uint32_t block, struct event_rows *ret, bool *ret_found,
                                struct err *err)
{
    *ret_found = false;
    return source->ops->event_rows == NULL || ctx->held == NULL
               ? ERR_OK
               : source->ops->event_rows(source, ctx, code, block, ret, ret_found, err);
}

enum err_code source_block_journeys(const struct source *source, struct read_ctx *ctx,
                                    uint32_t block, struct block_journeys *ret, bool *ret_found,
                                    struct err *err)
{
    *ret_found = false;
    return source->ops->block_journeys == NULL || ctx->held == NULL
               ? ERR_OK
               : source->ops->block_journeys(source, ctx, block, ret, ret_found, err);
}

enum err_code source_subject_values(const struct source *source, struct read_ctx *ctx, uint32_t col,
                                    struct subject_values *ret, bool *ret_found, struct err *err)
{
    *ret_found = false;
    return source->ops->subject_values == NULL || ctx->held == NULL
               ? ERR_OK
               : source->ops->subject_values(source, ctx, col, ret, ret_found, err);
}

enum err_code source_subject_days(const struct source *source, struct read_ctx *ctx, uint32_t col,
                                  const struct subject_values *values, struct subject_days *ret,
                                  bool *ret_found, struct err *err)
{
    *ret_found = false;
    return source->ops->subject_days == NULL || ctx->held == NULL
               ? ERR_OK
               : source->ops->subject_days(source, ctx, col, values, ret, ret_found, err);
}

enum err_code source_ends(const struct source *source, struct read_ctx *ctx, int64_t from_ms,
                          struct source_ends *ret, bool *ret_found, struct err *err)
{
    *ret_found = false;
    return source->ops->ends == NULL ? ERR_OK
                                     : source->ops->ends(source, ctx, from_ms, ret, ret_found, err);
}

enum err_code source_repeats(const struct source *source, struct read_ctx *ctx,
                             const int64_t *edges, uint32_t span_count,
                             const struct repeats_taker *taker, bool *ret_found, struct err *err)
{
    *ret_found = source->ops->repeats != NULL;
    return *ret_found ? source->ops->repeats(source, ctx, edges, span_count, taker, err) : ERR_OK;
}

/* ---- unions of stored sets ---- */

bool source_union_find(const struct source *source, struct read_ctx *ctx,
                       const struct subject_set *sets, uint32_t count, struct subject_members *ret)
{
    return source->ops->union_find != NULL &&
           source->ops->union_find(source, ctx, sets, count, ret);
}

static enum err_code union_make(const struct source *source, struct read_ctx *ctx,
                                const struct subject_set *sets, uint32_t count,
                                roaring_bitmap_t *all, struct err *err)
{
    for (uint32_t i = 0; i < count; i++) {
        const roaring_bitmap_t *one = NULL;
        ERR_TRY(source_subject_set(source, ctx, sets[i].set_idx, &one, err));
        roaring_bitmap_lazy_or_inplace(all, one, false);
    }
    roaring_bitmap_repair_after_lazy(all);
    return ERR_OK;
}

static enum err_code union_members(const roaring_bitmap_t *all, struct arena *arena,
                                   struct subject_members *ret, struct err *err)
{
    uint32_t count = (uint32_t)roaring_bitmap_get_cardinality(all);
    void *memory = NULL;
    ERR_TRY(arena_alloc_raw(arena, count * sizeof(uint32_t), &memory, err));
    const uint32_t *list = memory;
    roaring_bitmap_to_uint32_array(all, memory);
    *ret = members_of_list(list, count);
    if (count == 0) {
        return ERR_OK;
    }
    uint32_t base = 0;
    uint32_t word_count = members_words(list[0], list[count - 1], &base);
    if (members_are_dense(count, word_count)) {
        uint64_t *words = NULL;
        ERR_TRY(ARENA_NEW(arena, word_count, &words, err));
        members_to_words(list, count, base, words);
        *ret = (struct subject_members){
            .count = count, .words = words, .base = base, .word_count = word_count};
    }
    return ERR_OK;
}

enum err_code source_union(const struct source *source, struct read_ctx *ctx,
                           const struct subject_set *sets, uint32_t count,
                           struct subject_members *ret, struct err *err)
{
    if (source_union_find(source, ctx, sets, count, ret)) {
        return ERR_OK;
    }
    CLEANUP(bitmap_freep) roaring_bitmap_t *all = roaring_bitmap_create();
    if (all == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory: no union of %u sets", count);
    }
    ERR_TRY(union_make(source, ctx, sets, count, all, err));
    ERR_TRY(union_members(all, ctx->arena, ret, err));
    if (source->ops->union_keep != NULL) {
        source->ops->union_keep(source, ctx, sets, count, ret);
    }
    return ERR_OK;
}

bool source_spans_find(const struct source *source, struct read_ctx *ctx,
                       const struct span_ask *ask, struct subject_spans *ret)
{
    return source->ops->spans_find != NULL && source->ops->spans_find(source, ctx, ask, ret);
}

void source_spans_keep(const struct source *source, struct read_ctx *ctx,
                       const struct span_ask *ask, const struct span_found *found,
                       const struct span_rows *rest, uint32_t rest_count, uint64_t set_bytes)
{
    if (source->ops->spans_keep != NULL) {
        source->ops->spans_keep(source, ctx, ask, found, rest, rest_count, set_bytes);
    }
}

bool source_zone(const struct source *source, uint32_t col, uint32_t block, int64_t *ret_min,
                 int64_t *ret_max)
{
    return source->ops->zone(source, col, block, ret_min, ret_max);
}

bool source_has_value_rows(const struct source *source, uint32_t col)
{
    return source->ops->has_value_rows(source, col);
}

enum err_code source_value_rows(const struct source *source, struct read_ctx *ctx, uint32_t col,
                                uint32_t code, uint32_t block, uint16_t *out_rows,
                                uint32_t *ret_count, struct err *err)
{
    ASSERT(block < source->block_count);
    return source->ops->value_rows(source, ctx, col, code, block, out_rows, ret_count, err);
}

enum err_code source_subject_sets(const struct source *source, struct read_ctx *ctx, uint32_t event,
                                  const struct subject_set **ret, uint32_t *ret_count,
                                  struct err *err)
{
    return source->ops->subject_sets(source, ctx, event, ret, ret_count, err);
}

enum err_code source_subject_set(const struct source *source, struct read_ctx *ctx,
                                 uint32_t set_idx, const roaring_bitmap_t **ret, struct err *err)
{
    return source->ops->subject_set(source, ctx, set_idx, ret, err);
}

enum err_code source_subject_row(const struct source *source, struct read_ctx *ctx,
                                 uint32_t subject, uint32_t *ret_row, struct err *err)
{
    return source->ops->subject_row(source, ctx, subject, ret_row, err);
}

uint32_t source_prefetch(const struct source *source, struct read_ctx *ctx,
                         const struct read_item *items, uint32_t count)
{
    bool is_noop = source->ops->prefetch == NULL || ctx->ahead == NULL;
    return is_noop ? count : source->ops->prefetch(source, ctx, items, count);
}

uint32_t source_prefetch_sets(const struct source *source, struct read_ctx *ctx,
                              const struct subject_set *sets, uint32_t count)
{
    bool is_noop = source->ops->prefetch_sets == NULL || ctx->ahead == NULL;
    return is_noop ? count : source->ops->prefetch_sets(source, ctx, sets, count);
}
