/* storage/segment_values.c - which values of a column each subject has.
 *
 * Platform, country and their like hardly change within a subject: where all rows of a subject have one value, a condition
 * on it says of the subject what it says of each row, and sets of subjects answer in place of rows. Made by one pass over
 * the column's codes, kept in the block cache.
 *
 *    in memory:   u64 count   u64 words   u64 masks[count]   u64 having[codes + 1][words]   u64 several[words]
 *                 u32 subjects[count]   u32 rows[count + 1]   u32 places[words]
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
    ERR_TRY(segment_block_read_once(segment, ctx, segment_find_col(segment, COL_SUBJECT), block,
                                    &subjects, err));
    ERR_TRY(segment_block_read_once(segment, ctx, col, block, &codes, err));
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

/* Words that the subjects reach over, and 0 where `having` would take more memory than masks do, twice over. */
static uint64_t words_of(const struct gathered *gathered, uint64_t codes)
{
    uint32_t base = 0;
    if (gathered->count == 0) {
        return 0;
    }
    uint64_t words =
        members_words(gathered->subjects[0], gathered->subjects[gathered->count - 1], &base);
    return words * (codes + 2) <= 2 * (uint64_t)gathered->count + 64 ? words : 0;
}

/* Where the parts of a block's data begin. */
struct layout {
    size_t masks, having, several, subjects, rows, places, len;
};

static struct layout layout_of(uint64_t count, uint64_t words, uint64_t codes)
{
    struct layout at = {.masks = 2 * sizeof(uint64_t)};
    at.having = at.masks + count * sizeof(uint64_t);
    at.several = at.having + (codes + 1) * words * sizeof(uint64_t);
    at.subjects = at.several + words * sizeof(uint64_t);
    at.rows = at.subjects + count * sizeof(uint32_t);
    at.places = at.rows + (count + 1) * sizeof(uint32_t);
    at.len = at.places + words * sizeof(uint32_t);
    return at;
}

static uint64_t *u64_at(uint8_t *data, size_t off)
{
    return (uint64_t *)(void *)(data + off);
}

static uint32_t *u32_at(uint8_t *data, size_t off)
{
    return (uint32_t *)(void *)(data + off);
}

/* The words of all codes, from masks; they are zero. */
static void turn_over(const struct gathered *gathered, uint64_t words, uint64_t *having,
                      uint64_t *several, uint32_t *places)
{
    uint32_t base = gathered->subjects[0] / 64 * 64;
    uint32_t word = 0;
    places[0] = 0;
    for (uint32_t i = 0; i < gathered->count; i++) {
        uint32_t at = (gathered->subjects[i] - base) / 64;
        uint64_t bit = UINT64_C(1) << (gathered->subjects[i] % 64);
        uint64_t mask = gathered->masks[i];
        while (word < at) {
            places[++word] = i;
        }
        several[at] |= (mask & (mask - 1)) != 0 ? bit : 0;
        for (; mask != 0; mask &= mask - 1) {
            having[(uint64_t)__builtin_ctzll(mask) * words + at] |= bit;
        }
    }
}

static enum err_code values_make(const struct segment *segment, struct read_ctx *ctx,
                                 const struct seg_col *col, struct cache_block **ret,
                                 struct err *err)
{
    struct gathered gathered = {0};
    struct arena_mark mark = arena_mark(ctx->arena);
    ERR_TRY(gather(segment, ctx, col, &gathered, err));
    uint64_t count = gathered.count;
    uint64_t words = words_of(&gathered, col->dict_count);
    const uint64_t head[2] = {count, words};
    const struct layout at = layout_of(count, words, col->dict_count);
    ERR_TRY(cache_block_create(segment->uid, values_off(col->col), (uint32_t)at.len, ret, err));
    uint8_t *data = (*ret)->data;
    memcpy(data, head, sizeof(head));
    memcpy(data + at.masks, gathered.masks, count * sizeof(uint64_t));
    memcpy(data + at.subjects, gathered.subjects, count * sizeof(uint32_t));
    memcpy(data + at.rows, gathered.rows, (count + 1) * sizeof(uint32_t));
    if (words > 0) {
        memset(data + at.having, 0, at.subjects - at.having);
        turn_over(&gathered, words, u64_at(data, at.having), u64_at(data, at.several),
                  u32_at(data, at.places));
    }
    arena_rewind(ctx->arena, mark);
    return ERR_OK;
}

static struct subject_values values_in(struct cache_block *block, const struct dict *dict)
{
    uint64_t head[2];
    memcpy(head, block->data, sizeof(head));
    const struct layout at = layout_of(head[0], head[1], dict->count);
    const uint32_t *subjects = u32_at(block->data, at.subjects);
    return (struct subject_values){
        .count = (uint32_t)head[0],
        .subjects = subjects,
        .rows = u32_at(block->data, at.rows),
        .masks = u64_at(block->data, at.masks),
        .dict = dict,
        .base = head[0] == 0 ? 0 : subjects[0] / 64 * 64,
        .word_count = (uint32_t)head[1],
        .having = u64_at(block->data, at.having),
        .several = u64_at(block->data, at.several),
        .places = u32_at(block->data, at.places),
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
