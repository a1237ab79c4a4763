/* storage/segment_decoded.c - blocks after decoding, and unions of stored sets, kept in the block cache.
 *
 * A hot question would else spend most of its time on decoding the same blocks again. What is kept are vectors whose
 * values have a fixed width; strings that are no codes, and lists, are decoded each time. They compete for room with the
 * raw blocks under the same rules: where a decoded block is hit, its raw one is not asked for any more and leaves.
 *
 *    in memory:   struct head
 *                 u64 present[(rows + 63) / 64]   only where some rows have no value
 *                 values[value_count]             aligned to 16
 */
#include "storage/read_held.h"
#include "storage/segment_int.h"

#include <stdlib.h>

#define ALIGN 16u

struct head {
    uint32_t kind, rows, value_count;
    uint8_t scale;
    bool has_present;
};

/* ---- what a reader holds ---- */

void read_held_clear(struct read_held *held)
{
    for (uint32_t i = 0; i < held->count; i++) {
        cache_block_unpin(held->blocks[i]);
    }
    held->count = 0;
}

void read_held_done(struct read_held *held)
{
    read_held_clear(held);
    free(held->blocks);
    *held = (struct read_held){0};
}

struct cache_block *read_held_find(const struct read_held *held, uint64_t uid, uint64_t off)
{
    for (uint32_t i = 0; i < held->count; i++) {
        if (held->blocks[i]->uid == uid && held->blocks[i]->off == off) {
            return held->blocks[i];
        }
    }
    return NULL;
}

bool read_held_add(struct read_held *held, struct cache_block *block)
{
    if (held->count == held->cap) {
        uint32_t cap = held->cap == 0 ? 16 : 2 * held->cap;
        struct cache_block **more = reallocarray(held->blocks, cap, sizeof(struct cache_block *));
        if (more == NULL) {
            return false;
        }
        held->blocks = more;
        held->cap = cap;
    }
    held->blocks[held->count++] = block;
    return true;
}

/* ---- the kept form ---- */

/* The name of a decoded block in the cache: beside that of its rows by value. */
static uint64_t decoded_off(const struct seg_block *said)
{
    return said->span.off + 2;
}

static size_t align_up(size_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* Bytes of one value; 0 where vectors of this kind are not kept. */
static size_t value_bytes(const struct vec *vec)
{
    switch (vec->kind) {
    case VEC_U32:
    case VEC_CODE: return sizeof(uint32_t);
    case VEC_I64: return sizeof(int64_t);
    case VEC_NUM: return vec->scales == NULL ? sizeof(int64_t) : 0;
    case VEC_F64: return sizeof(double);
    case VEC_BOOL: return sizeof(uint8_t);
    case VEC_ABSENT:
    case VEC_BYTES:
    case VEC_LIST: return 0;
    }
    return 0;
}

static const void *vec_values(const struct vec *vec)
{
    switch (vec->kind) {
    case VEC_U32:
    case VEC_CODE: return vec->u32;
    case VEC_I64:
    case VEC_NUM: return vec->i64;
    case VEC_F64: return vec->f64;
    case VEC_BOOL: return vec->u8;
    default: return NULL;
    }
}

static size_t present_bytes(const struct vec *vec)
{
    return vec->present == NULL ? 0 : (vec->rows + 63) / 64 * sizeof(uint64_t);
}

static void put(struct cache_block *block, const struct vec *vec)
{
    struct head head = {.kind = vec->kind,
                        .rows = vec->rows,
                        .value_count = vec->value_count,
                        .scale = vec->scale,
                        .has_present = vec->present != NULL};
    uint8_t *at = block->data;
    memcpy(at, &head, sizeof(head));
    at += align_up(sizeof(head));
    if (vec->present != NULL) {
        memcpy(at, vec->present, present_bytes(vec));
        at += align_up(present_bytes(vec));
    }
    memcpy(at, vec_values(vec), vec->value_count * value_bytes(vec));
}

static struct vec get(const struct cache_block *block, const struct dict *dict)
{
    struct head head;
    const uint8_t *at = block->data;
    memcpy(&head, at, sizeof(head));
    at += align_up(sizeof(head));
    struct vec vec = {
        .kind = head.kind, .rows = head.rows, .value_count = head.value_count, .scale = head.scale};
    if (head.has_present) {
        vec.present = (const uint64_t *)(const void *)at;
        at += align_up(present_bytes(&vec));
    }
    switch (vec.kind) {
    case VEC_CODE: vec.dict = dict; /* fall through */
    case VEC_U32: vec.u32 = (const uint32_t *)(const void *)at; break;
    case VEC_F64: vec.f64 = (const double *)(const void *)at; break;
    case VEC_BOOL: vec.u8 = at; break;
    default: vec.i64 = (const int64_t *)(const void *)at; break;
    }
    return vec;
}

/* ---- finding and keeping ---- */

bool segment_decoded_find(const struct segment *segment, struct read_ctx *ctx,
                          const struct seg_block *said, const struct dict *dict, struct vec *ret)
{
    if (ctx->held == NULL) {
        return false;
    }
    struct cache_block *block =
        block_cache_pin(segment->cache, segment->uid, decoded_off(said), !ctx->is_once);
    if (block == NULL) {
        return false;
    }
    if (!read_held_add(ctx->held, block)) {
        cache_block_unpin(block);
        return false;
    }
    *ret = get(block, dict);
    return true;
}

bool segment_decoded_is_kept(const struct segment *segment, struct read_ctx *ctx,
                             const struct seg_block *said)
{
    struct cache_block *block =
        ctx->held == NULL ? NULL
                          : block_cache_pin(segment->cache, segment->uid, decoded_off(said), false);
    cache_block_unpin(block);
    return block != NULL;
}

void segment_decoded_keep(const struct segment *segment, struct read_ctx *ctx,
                          const struct seg_block *said, struct vec *vec)
{
    if (ctx->held == NULL || ctx->is_once || segment->cache == NULL || value_bytes(vec) == 0) {
        return;
    }
    size_t len = align_up(sizeof(struct head)) + align_up(present_bytes(vec)) +
                 vec->value_count * value_bytes(vec);
    struct cache_block *block = NULL;
    struct err ignored = {0}; /* without memory it is decoded again next time */
    if (cache_block_create(segment->uid, decoded_off(said), (uint32_t)len, &block, &ignored) !=
        ERR_OK) {
        return;
    }
    put(block, vec);
    block_cache_offer(segment->cache, block);
    if (!block->is_cached || !read_held_add(ctx->held, block)) {
        cache_block_unpin(block);
        return;
    }
    *vec = get(block, vec->dict);
}

/* ---- unions of stored sets ---- */

struct kept_union {
    uint32_t count;
    uint32_t base, word_count; /* word_count 0: items are `count` subjects, 32 bits each */
    uint32_t unused;
    uint64_t items[];
};

/* No section lies at such an offset. */
static uint64_t union_off(const struct subject_set *sets, uint32_t count)
{
    return UINT64_C(1) << 63 | (uint64_t)sets[0].set_idx << 31 | (count & 0x7fffffffu);
}

bool segment_union_find(const struct source *source, struct read_ctx *ctx,
                        const struct subject_set *sets, uint32_t count, struct subject_members *ret)
{
    const struct segment *segment = (const struct segment *)(const void *)source;
    struct cache_block *block =
        ctx->held == NULL
            ? NULL
            : block_cache_pin(segment->cache, segment->uid, union_off(sets, count), !ctx->is_once);
    if (block == NULL) {
        return false;
    }
    if (!read_held_add(ctx->held, block)) {
        cache_block_unpin(block);
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        ctx->bytes_read += segment->sets[sets[0].set_idx + i].bytes;
    }
    const struct kept_union *kept = (const struct kept_union *)(const void *)block->data;
    *ret = (struct subject_members){
        .count = kept->count, .base = kept->base, .word_count = kept->word_count};
    if (kept->word_count > 0) {
        ret->words = kept->items;
    } else {
        ret->list = (const uint32_t *)(const void *)kept->items;
    }
    return true;
}

void segment_union_keep(const struct source *source, struct read_ctx *ctx,
                        const struct subject_set *sets, uint32_t count,
                        const struct subject_members *members)
{
    const struct segment *segment = (const struct segment *)(const void *)source;
    struct cache_block *block = NULL;
    struct err ignored = {0}; /* without memory it is made again next time */
    uint32_t bytes = members->list != NULL ? members->count * (uint32_t)sizeof(uint32_t)
                                           : members->word_count * (uint32_t)sizeof(uint64_t);
    if (ctx->held == NULL || ctx->is_once || segment->cache == NULL ||
        cache_block_create(segment->uid, union_off(sets, count),
                           (uint32_t)sizeof(struct kept_union) + bytes, &block,
                           &ignored) != ERR_OK) {
        return;
    }
    struct kept_union *kept = (struct kept_union *)(void *)block->data;
    *kept = (struct kept_union){
        .count = members->count, .base = members->base, .word_count = members->word_count};
    if (bytes > 0) {
        memcpy(kept->items, members->list != NULL ? (const void *)members->list : members->words,
               bytes);
    }
    block_cache_offer(segment->cache, block);
    cache_block_unpin(block);
}
