/* storage/segment_values.c - which values of a column each subject has.
 *
 * Platform, country and their like hardly change within a subject: where all rows of a subject have one value, a condition
 * on it says of the subject what it says of each row, and sets of subjects answer in place of rows. Made by one pass over
 * the column's codes, kept in the block cache.
 *
 *    in memory:   u32 count, 0   u64 masks[count]   u32 subjects[count]   u32 rows[count + 1]
 */
#include "storage/base/size.h"
#include "storage/read_held.h"
#include "storage/segment_int.h"

/* No section, nor union of sets, has such a name. */
static uint64_t values_off(uint32_t col)
{
    return UINT64_C(1) << 62 | col;
}

struct gathered {
    uint64_t *masks;
    uint32_t *subjects;
    uint32_t *rows;
    uint32_t count;
};

/* The bit of each row's value, one block at a time. */
static enum err_code gather_block(const struct segment *segment, struct read_ctx *ctx,
                                  const struct seg_col *col, uint32_t block,
                                  struct gathered *gathered, struct err *err)
{
    struct vec subjects = {0};
    struct vec codes = {0};
    uint64_t none = UINT64_C(1) << col->dict_count;
    ERR_TRY(segment_block_read(segment, ctx, segment_find_col(segment, COL_SUBJECT), block,
                               &subjects, err));
    ERR_TRY(segment_block_read(segment, ctx, col, block, &codes, err));
    uint32_t place = 0;
    for (uint32_t row = 0; row < subjects.rows; row++) {
        bool has_value =
            codes.kind == VEC_CODE &&
            (codes.present == NULL || (codes.present[row / 64] >> (row % 64) & 1) != 0);
        uint64_t bit = has_value ? UINT64_C(1) << codes.u32[place] : none;
        place += has_value;
        uint32_t last = gathered->count;
        if (last == 0 || gathered->subjects[last - 1] != subjects.u32[row]) {
            gathered->subjects[last] = subjects.u32[row];
            gathered->rows[last] = block * BLOCK_ROWS + row;
            gathered->masks[last] = bit;
            gathered->count++;
        } else {
            gathered->masks[last - 1] |= bit;
        }
    }
    return ERR_OK;
}

static enum err_code gather(const struct segment *segment, struct read_ctx *ctx,
                            const struct seg_col *col, struct gathered *ret, struct err *err)
{
    const struct source *source = &segment->source;
    uint64_t range = (uint64_t)source->subject_last - source->subject_first + 1;
    size_t max = MIN_OF((size_t)source->row_count, (size_t)range);
    ERR_TRY(ARENA_NEW(ctx->arena, max, &ret->masks, err));
    ERR_TRY(ARENA_NEW(ctx->arena, max, &ret->subjects, err));
    ERR_TRY(ARENA_NEW(ctx->arena, max + 1, &ret->rows, err));
    for (uint32_t b = 0; b < source->block_count; b++) {
        struct arena_mark mark = arena_mark(ctx->arena);
        ERR_TRY(gather_block(segment, ctx, col, b, ret, err));
        arena_rewind(ctx->arena, mark);
    }
    ret->rows[ret->count] = source->row_count;
    return ERR_OK;
}

static enum err_code values_make(const struct segment *segment, struct read_ctx *ctx,
                                 const struct seg_col *col, struct cache_block **ret,
                                 struct err *err)
{
    struct gathered gathered = {0};
    struct arena_mark mark = arena_mark(ctx->arena);
    ERR_TRY(gather(segment, ctx, col, &gathered, err));
    uint64_t count = gathered.count;
    size_t len =
        sizeof(count) + count * (sizeof(uint64_t) + 2 * sizeof(uint32_t)) + sizeof(uint32_t);
    ERR_TRY(cache_block_create(segment->uid, values_off(col->col), (uint32_t)len, ret, err));
    uint8_t *at = (*ret)->data;
    memcpy(at, &count, sizeof(count));
    at += sizeof(count);
    memcpy(at, gathered.masks, count * sizeof(uint64_t));
    at += count * sizeof(uint64_t);
    memcpy(at, gathered.subjects, count * sizeof(uint32_t));
    at += count * sizeof(uint32_t);
    memcpy(at, gathered.rows, (count + 1) * sizeof(uint32_t));
    arena_rewind(ctx->arena, mark);
    return ERR_OK;
}

static struct subject_values values_in(const struct cache_block *block, const struct dict *dict)
{
    uint64_t count = 0;
    const uint8_t *at = block->data;
    memcpy(&count, at, sizeof(count));
    at += sizeof(count);
    return (struct subject_values){
        .count = (uint32_t)count,
        .masks = (const uint64_t *)(const void *)at,
        .subjects = (const uint32_t *)(const void *)(at + count * sizeof(uint64_t)),
        .rows =
            (const uint32_t *)(const void *)(at + count * (sizeof(uint64_t) + sizeof(uint32_t))),
        .dict = dict,
    };
}

static enum err_code values_pin(const struct segment *segment, struct read_ctx *ctx,
                                const struct seg_col *col, struct cache_block **ret,
                                struct err *err)
{
    *ret = block_cache_pin(segment->cache, segment->uid, values_off(col->col), !ctx->is_once);
    if (*ret == NULL) {
        ERR_TRY(values_make(segment, ctx, col, ret, err));
        block_cache_offer(segment->cache, *ret);
    }
    return ERR_OK;
}

enum err_code segment_subject_values(const struct source *source, struct read_ctx *ctx,
                                     uint32_t col, struct subject_values *ret, bool *ret_found,
                                     struct err *err)
{
    const struct segment *segment = (const struct segment *)(const void *)source;
    const struct seg_col *found = segment_find_col(segment, col);
    const struct dict *dict = NULL;
    struct cache_block *block = NULL;
    *ret_found = false;
    if (found == NULL || found->type != COL_STRING || !found->has_dict ||
        found->dict_count > SUBJECT_VALUES_MAX) {
        return ERR_OK;
    }
    if (segment_dict_load(segment, ctx, found, &dict, err) != ERR_OK ||
        values_pin(segment, ctx, found, &block, err) != ERR_OK) {
        return segment_fail(segment, err);
    }
    if (!read_held_add(ctx->held, block)) {
        cache_block_unpin(block);
        return ERR_OK;
    }
    *ret = values_in(block, dict);
    *ret_found = true;
    return ERR_OK;
}
