/* storage/segment_postings.c - which rows of a block have which value.
 *
 * Row bitmaps are not stored: the codes of a block say the same in fewer bytes (an event name of 25
 * takes 5 bits a row, its bitmaps took 9 more). They are made when first asked for, by one counting
 * sort of the block's codes, and kept in the block cache beside the blocks they come from; from
 * then on the rows of a value are a slice of an array.
 *
 *    in memory:   u32 count               different codes in the block, n
 *                 u32 codes[n]            ascending
 *                 u32 starts[n + 1]       rows of codes[i]: rows[starts[i]] .. rows[starts[i + 1]]
 *                 u16 rows[value_count]   ascending for each code
 */
#include "storage/base/size.h"
#include "storage/segment_int.h"

_Static_assert(offsetof(struct cache_block, data) % sizeof(uint32_t) == 0, "postings are aligned");

static void postings_of(struct cache_block *block, struct postings *ret)
{
    const uint32_t *words = (const uint32_t *)(const void *)block->data;
    *ret = (struct postings){
        .block = block,
        .count = words[0],
        .codes = words + 1,
        .starts = words + 1 + words[0],
        .rows = (const uint16_t *)(words + 2 + 2 * (size_t)words[0]),
    };
}

/* counts[c] rows of each code into the head of `block`; then counts[c] is where its rows begin. */
static uint16_t *put_head(struct cache_block *block, uint32_t *counts, uint32_t code_count,
                          uint32_t distinct)
{
    uint32_t *words = (uint32_t *)(void *)block->data;
    uint32_t *codes = words + 1;
    uint32_t *starts = codes + distinct;
    uint32_t at = 0;
    uint32_t begin = 0;
    words[0] = distinct;
    for (uint32_t code = 0; code < code_count; code++) {
        if (counts[code] != 0) {
            uint32_t count = counts[code];
            codes[at] = code;
            starts[at++] = begin;
            counts[code] = begin;
            begin += count;
        }
    }
    starts[at] = begin;
    return (uint16_t *)(starts + distinct + 1);
}

static void put_rows(const struct vec *vec, const uint32_t *codes, uint32_t *begins, uint16_t *rows)
{
    if (vec->present == NULL) {
        for (uint32_t row = 0; row < vec->rows; row++) {
            rows[begins[codes[row]]++] = (uint16_t)row;
        }
        return;
    }
    uint32_t place = 0;
    for (uint32_t w = 0; w < (vec->rows + 63) / 64; w++) {
        for (uint64_t bits = vec->present[w]; bits != 0; bits &= bits - 1) {
            uint32_t row = w * 64 + (uint32_t)__builtin_ctzll(bits);
            rows[begins[codes[place++]]++] = (uint16_t)row;
        }
    }
}

/* The codes of a vector: those of a dictionary, or bools as 0 and 1. */
static enum err_code vec_codes(const struct vec *vec, struct arena *arena, const uint32_t **ret,
                               struct err *err)
{
    if (vec->kind == VEC_CODE) {
        *ret = vec->u32;
        return ERR_OK;
    }
    ASSERT(vec->kind == VEC_BOOL);
    uint32_t *wide = NULL;
    ERR_TRY(ARENA_NEW(arena, vec->value_count, &wide, err));
    for (uint32_t i = 0; i < vec->value_count; i++) {
        wide[i] = vec->u8[i];
    }
    *ret = wide;
    return ERR_OK;
}

static enum err_code postings_make(const struct segment *segment, struct read_ctx *ctx,
                                   const struct seg_col *col, uint32_t block,
                                   struct cache_block **ret, struct err *err)
{
    const struct seg_block *said = seg_col_block(col, block);
    uint32_t code_count = col->type == COL_BOOL ? 2 : col->dict_count;
    struct vec vec = {0};
    const uint32_t *codes = NULL;
    uint32_t *counts = NULL;
    ERR_TRY(segment_block_read_once(segment, ctx, col, block, &vec, err));
    ERR_TRY(vec_codes(&vec, ctx->arena, &codes, err));
    ERR_TRY(ARENA_NEW(ctx->arena, code_count, &counts, err));
    uint32_t distinct = 0;
    for (uint32_t i = 0; i < vec.value_count; i++) {
        distinct += counts[codes[i]]++ == 0;
    }
    size_t len = (2 + 2 * (size_t)distinct) * sizeof(uint32_t) + vec.value_count * sizeof(uint16_t);
    ERR_TRY(cache_block_create(segment->uid, postings_off(said), (uint32_t)len, ret, err));
    put_rows(&vec, codes, counts, put_head(*ret, counts, code_count, distinct));
    return ERR_OK;
}

enum err_code segment_postings_pin(const struct segment *segment, struct read_ctx *ctx,
                                   const struct seg_col *col, uint32_t block, struct postings *ret,
                                   struct err *err)
{
    const struct seg_block *said = seg_col_block(col, block);
    if (said == NULL) {
        *ret = (struct postings){0};
        return ERR_OK;
    }
    struct cache_block *made =
        read_ahead_pin(ctx->ahead, segment->uid, postings_off(said), &(bool){false});
    if (made == NULL) {
        made = block_cache_pin(segment->cache, segment->uid, postings_off(said), !ctx->is_once);
    }
    if (made != NULL) {
        ctx->blocks_read++; /* as the block they stand for */
        ctx->bytes_read += said->span.bytes;
    } else {
        struct arena_mark mark = arena_mark(ctx->arena);
        ERR_TRY(postings_make(segment, ctx, col, block, &made, err));
        arena_rewind(ctx->arena, mark);
        /* Also where blocks are read once: a merge reads every column, and most lie over these. */
        block_cache_offer(segment->cache, made);
        read_ahead_hold(ctx->ahead, made, false);
    }
    postings_of(made, ret);
    return ERR_OK;
}

void postings_done(struct postings *postings)
{
    cache_block_unpin(postings->block);
    postings->block = NULL;
}

const uint16_t *postings_rows(const struct postings *postings, uint32_t code, uint32_t *ret_count)
{
    uint32_t begin = 0;
    uint32_t end = postings->count;
    while (begin < end) {
        uint32_t mid = begin + (end - begin) / 2;
        bool is_before = postings->codes[mid] < code;
        begin = is_before ? mid + 1 : begin;
        end = is_before ? end : mid;
    }
    if (begin == postings->count || postings->codes[begin] != code) {
        *ret_count = 0;
        return NULL;
    }
    *ret_count = postings->starts[begin + 1] - postings->starts[begin];
    return postings->rows + postings->starts[begin];
}
