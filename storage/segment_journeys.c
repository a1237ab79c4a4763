/* storage/segment_journeys.c - the rows of a block subject by subject: when, and which event.
 *
 * A question that walks journeys of frequent events looks at nearly every row of a block, and what it then waits for is memory:
 * times of eight bytes, codes and subjects of four. Here a row is six bytes, and a subject is said once for all of its rows. They
 * are made when they are first asked for, kept in the block cache, and only where nothing has to leave for them.
 *
 *    in memory:   i64 base_ms, u32 run_count, u32 zero
 *                 u32 subjects[run_count]   of each run of rows of one subject
 *                 u32 since_ms[rows]        event_time - base_ms
 *                 u16 codes[rows]           of event_name
 *                 u16 lasts[run_count]      the last row of each run
 */
#include "storage/base/size.h"
#include "storage/read_held.h"
#include "storage/segment_int.h"

struct head {
    int64_t base_ms;
    uint32_t run_count, zero;
};

static size_t journeys_bytes(uint32_t run_count, uint32_t rows)
{
    return sizeof(struct head) + run_count * (sizeof(uint32_t) + sizeof(uint16_t)) +
           rows * (sizeof(uint32_t) + sizeof(uint16_t));
}

static struct block_journeys journeys_in(const struct cache_block *block, uint32_t rows)
{
    struct head head = {0};
    memcpy(&head, block->data, sizeof(head));
    const uint32_t *subjects = (const uint32_t *)(const void *)(block->data + sizeof(head));
    const uint32_t *since_ms = subjects + head.run_count;
    const uint16_t *codes = (const uint16_t *)(const void *)(since_ms + rows);
    return (struct block_journeys){
        .run_count = head.run_count,
        .subjects = subjects,
        .lasts = codes + rows,
        .base_ms = head.base_ms,
        .since_ms = since_ms,
        .codes = codes,
    };
}

static uint32_t count_runs(const uint32_t *subjects, uint32_t rows)
{
    uint32_t count = 1;
    for (uint32_t i = 1; i < rows; i++) {
        count += subjects[i] != subjects[i - 1];
    }
    return count;
}

static void journeys_fill(struct cache_block *block, const struct head *head, uint32_t rows,
                          const struct vec *names, const struct vec *times,
                          const struct vec *subjects)
{
    memcpy(block->data, head, sizeof(*head));
    uint32_t *of_runs = (uint32_t *)(void *)(block->data + sizeof(*head));
    uint32_t *since_ms = of_runs + head->run_count;
    uint16_t *codes = (uint16_t *)(void *)(since_ms + rows);
    uint16_t *lasts = codes + rows;
    uint32_t run = 0;
    for (uint32_t i = 0; i < rows; i++) {
        since_ms[i] = (uint32_t)((uint64_t)times->i64[i] - (uint64_t)head->base_ms);
        codes[i] = (uint16_t)names->u32[i];
        if (i + 1 == rows || subjects->u32[i] != subjects->u32[i + 1]) {
            of_runs[run] = subjects->u32[i];
            lasts[run++] = (uint16_t)i;
        }
    }
}

/* *ret NULL where there is no room to keep them, or numbers do not fit. */
static enum err_code journeys_make(const struct segment *segment, struct read_ctx *ctx,
                                   uint32_t block, const struct seg_block *said,
                                   struct cache_block **ret, struct err *err)
{
    const struct seg_col *name_col = segment_find_col(segment, COL_EVENT_NAME);
    uint32_t rows = source_block_rows(&segment->source, block);
    struct vec names = {0};
    struct vec times = {0};
    struct vec subjects = {0};
    struct head head = {0};
    int64_t min_ms = 0;
    int64_t max_ms = 0;
    *ret = NULL;
    if (!source_zone(&segment->source, COL_EVENT_TIME, block, &min_ms, &max_ms) ||
        (uint64_t)max_ms - (uint64_t)min_ms > UINT32_MAX || name_col->dict_count > UINT16_MAX ||
        !block_cache_has_room(segment->cache, segment->uid, journeys_off(said),
                              journeys_bytes(rows, rows))) {
        return ERR_OK;
    }
    ERR_TRY(segment_block_read_once(segment, ctx, segment_find_col(segment, COL_EVENT_TIME), block,
                                    &times, err));
    ERR_TRY(segment_block_read_once(segment, ctx, segment_find_col(segment, COL_SUBJECT), block,
                                    &subjects, err));
    ERR_TRY(segment_block_read_once(segment, ctx, name_col, block, &names, err));
    for (uint32_t i = 0; i < rows; i++) {
        if (times.i64[i] < min_ms || times.i64[i] > max_ms) {
            return err_set(err, ERR_CORRUPT, "block %u: a time outside of its zone", block);
        }
    }
    ASSERT(names.kind == VEC_CODE && names.present == NULL); /* as decoding makes sure */
    head.base_ms = min_ms;
    head.run_count = count_runs(subjects.u32, rows);
    ERR_TRY(cache_block_create(segment->uid, journeys_off(said),
                               (uint32_t)journeys_bytes(head.run_count, rows), ret, err));
    journeys_fill(*ret, &head, rows, &names, &times, &subjects);
    block_cache_offer(segment->cache, *ret);
    return ERR_OK;
}

static enum err_code journeys_pin(const struct segment *segment, struct read_ctx *ctx,
                                  uint32_t block, const struct seg_block *said,
                                  struct cache_block **ret, struct err *err)
{
    *ret = block_cache_pin(segment->cache, segment->uid, journeys_off(said), true);
    if (*ret != NULL || ctx->is_once) {
        return ERR_OK;
    }
    struct arena_mark mark = arena_mark(ctx->arena);
    ERR_TRY(journeys_make(segment, ctx, block, said, ret, err));
    arena_rewind(ctx->arena, mark);
    return ERR_OK;
}

enum err_code segment_block_journeys(const struct source *source, struct read_ctx *ctx,
                                     uint32_t block, struct block_journeys *ret, bool *ret_found,
                                     struct err *err)
{
    static const uint32_t cols[] = {COL_EVENT_NAME, COL_EVENT_TIME, COL_SUBJECT};
    const struct segment *segment = (const struct segment *)(const void *)source;
    const struct seg_col *names = segment_find_col(segment, COL_EVENT_NAME);
    const struct seg_block *said = names == NULL ? NULL : seg_col_block(names, block);
    struct cache_block *kept = NULL;
    *ret_found = false;
    if (said == NULL) {
        return ERR_OK;
    }
    uint64_t blocks_read = ctx->blocks_read;
    uint64_t bytes_read = ctx->bytes_read;
    if (journeys_pin(segment, ctx, block, said, &kept, err) != ERR_OK) {
        return segment_fail(segment, err);
    }
    /* Whether they had to be made or not, it is these columns that they stand for. */
    ctx->blocks_read = blocks_read;
    ctx->bytes_read = bytes_read;
    if (kept == NULL || !read_held_add(ctx->held, kept)) {
        cache_block_unpin(kept);
        return ERR_OK;
    }
    for (uint32_t i = 0; i < COUNT_OF(cols); i++) {
        const struct seg_block *col = seg_col_block(segment_find_col(segment, cols[i]), block);
        ctx->blocks_read++;
        ctx->bytes_read += col->span.bytes;
    }
    *ret = journeys_in(kept, source_block_rows(source, block));
    *ret_found = true;
    return ERR_OK;
}
