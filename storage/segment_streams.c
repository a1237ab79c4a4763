/* storage/segment_streams.c - the rows of a block in order of their events, with when and whose each is.
 *
 * A question about rare events would else pick their times and subjects out of columns that it touches in few places: a
 * cache line, often a miss, for each. Side by side they are three short arrays. They are made from blocks that are in
 * the cache already, kept there, and only where nothing has to leave for them: they are 14 bytes a row and say nothing new.
 *
 *    in memory:   u32 count, u32 codes[count] (ascending), u32 starts[count + 1]
 *                 i64 times[rows], u32 subjects[rows], u16 rows[rows]        slice i: of codes[i]
 */
#include "storage/base/size.h"
#include "storage/read_held.h"
#include "storage/segment_int.h"

#define ALIGN 16u

struct streams {
    uint32_t count;
    uint32_t *codes, *starts;
    int64_t *times;
    uint32_t *subjects;
    uint16_t *rows;
};

static size_t head_bytes(uint32_t count)
{
    size_t bytes = (2 + 2 * (size_t)count) * sizeof(uint32_t);
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static size_t streams_bytes(uint32_t count, uint32_t rows)
{
    return head_bytes(count) +
           (size_t)rows * (sizeof(int64_t) + sizeof(uint32_t) + sizeof(uint16_t));
}

static struct streams streams_in(struct cache_block *block, uint32_t count, uint32_t rows)
{
    uint32_t *words = (uint32_t *)(void *)block->data;
    uint8_t *at = block->data + head_bytes(count);
    return (struct streams){
        .count = count,
        .codes = words + 1,
        .starts = words + 1 + count,
        .times = (int64_t *)(void *)at,
        .subjects = (uint32_t *)(void *)(at + (size_t)rows * sizeof(int64_t)),
        .rows = (uint16_t *)(void *)(at + (size_t)rows * (sizeof(int64_t) + sizeof(uint32_t))),
    };
}

static void streams_fill(struct streams *streams, const struct postings *postings, uint32_t rows,
                         const int64_t *times, const uint32_t *subjects)
{
    memcpy(streams->codes, postings->codes, postings->count * sizeof(uint32_t));
    memcpy(streams->starts, postings->starts, (postings->count + (size_t)1) * sizeof(uint32_t));
    memcpy(streams->rows, postings->rows, rows * sizeof(uint16_t));
    for (uint32_t i = 0; i < rows; i++) {
        streams->times[i] = times[postings->rows[i]];
        streams->subjects[i] = subjects[postings->rows[i]];
    }
}

/* *ret NULL where there is no room to keep them. */
static enum err_code streams_make(const struct segment *segment, struct read_ctx *ctx,
                                  uint32_t block, const struct seg_block *said,
                                  struct cache_block **ret, struct err *err)
{
    const struct seg_col *names = segment_find_col(segment, COL_EVENT_NAME);
    uint32_t rows = source_block_rows(&segment->source, block);
    struct vec times = {0};
    struct vec subjects = {0};
    CLEANUP(postings_done) struct postings postings = {0};
    *ret = NULL;
    ERR_TRY(segment_postings_pin(segment, ctx, names, block, &postings, err));
    size_t len = streams_bytes(postings.count, rows);
    if (!block_cache_has_room(segment->cache, segment->uid, streams_off(said), len)) {
        return ERR_OK;
    }
    ERR_TRY(segment_block_read_once(segment, ctx, segment_find_col(segment, COL_EVENT_TIME), block,
                                    &times, err));
    ERR_TRY(segment_block_read_once(segment, ctx, segment_find_col(segment, COL_SUBJECT), block,
                                    &subjects, err));
    ERR_TRY(cache_block_create(segment->uid, streams_off(said), (uint32_t)len, ret, err));
    memcpy((*ret)->data, &postings.count, sizeof(postings.count));
    struct streams streams = streams_in(*ret, postings.count, rows);
    streams_fill(&streams, &postings, rows, times.i64, subjects.u32);
    block_cache_offer(segment->cache, *ret);
    return ERR_OK;
}

static enum err_code streams_pin(const struct segment *segment, struct read_ctx *ctx,
                                 uint32_t block, const struct seg_block *said,
                                 struct cache_block **ret, struct err *err)
{
    *ret = block_cache_pin(segment->cache, segment->uid, streams_off(said), true);
    if (*ret != NULL || ctx->is_once) {
        return ERR_OK;
    }
    struct arena_mark mark = arena_mark(ctx->arena);
    ERR_TRY(streams_make(segment, ctx, block, said, ret, err));
    arena_rewind(ctx->arena, mark);
    return ERR_OK;
}

static void slice(const struct streams *streams, uint32_t code, struct event_rows *ret)
{
    uint32_t begin = 0;
    uint32_t end = streams->count;
    while (begin < end) {
        uint32_t mid = begin + (end - begin) / 2;
        bool is_before = streams->codes[mid] < code;
        begin = is_before ? mid + 1 : begin;
        end = is_before ? end : mid;
    }
    *ret = (struct event_rows){0};
    if (begin < streams->count && streams->codes[begin] == code) {
        uint32_t at = streams->starts[begin];
        *ret = (struct event_rows){
            .count = streams->starts[begin + 1] - at,
            .rows = streams->rows + at,
            .times = streams->times + at,
            .subjects = streams->subjects + at,
        };
    }
}

enum err_code segment_event_rows(const struct source *source, struct read_ctx *ctx, uint32_t code,
                                 uint32_t block, struct event_rows *ret, bool *ret_found,
                                 struct err *err)
{
    const struct segment *segment = (const struct segment *)(const void *)source;
    const struct seg_col *names = segment_find_col(segment, COL_EVENT_NAME);
    const struct seg_block *said = names == NULL ? NULL : seg_col_block(names, block);
    struct cache_block *kept = NULL;
    uint32_t count = 0;
    *ret_found = false;
    if (said == NULL) {
        return ERR_OK;
    }
    /* They may be held already, for another event of the block. */
    kept = read_held_find(ctx->held, segment->uid, streams_off(said));
    if (kept == NULL) {
        if (streams_pin(segment, ctx, block, said, &kept, err) != ERR_OK) {
            return segment_fail(segment, err);
        }
        if (kept == NULL || !read_held_add(ctx->held, kept)) {
            cache_block_unpin(kept);
            return ERR_OK;
        }
    }
    ctx->blocks_read++; /* as the block of names that they stand for */
    ctx->bytes_read += said->span.bytes;
    memcpy(&count, kept->data, sizeof(count));
    struct streams streams = streams_in(kept, count, source_block_rows(source, block));
    slice(&streams, code, ret);
    *ret_found = true;
    return ERR_OK;
}
