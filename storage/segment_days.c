/* storage/segment_days.c - which values of a column a subject has on each of its days, where it has several.
 *
 * Who changes platform once in a quarter has one value on nearly every day: by day, values say of such a subject what
 * segment_values.c says of the others. Made by one pass over the rows of subjects with several values when they are first asked
 * for, kept in the block cache.
 *
 *    in memory:   u32 count, entry_count   u64 masks[entry_count]   i32 days[entry_count]   u32 subjects[count]   u32 ends[count]
 */
#include "storage/base/size.h"
#include "storage/read_held.h"
#include "storage/segment_int.h"

#define DAYS_BYTES_MAX ((size_t)16 << 20)

/* Beside values_off of segment_values.c, whose lower half is the column. */
static uint64_t days_off(uint32_t col)
{
    return UINT64_C(1) << 62 | UINT64_C(1) << 32 | col;
}

struct day_pass {
    const struct segment *segment;
    struct read_ctx *ctx;
    const struct seg_col *col;
    const struct subject_values *values;
    uint64_t *masks;
    int32_t *days;
    uint32_t *subjects;
    uint32_t *ends;
    uint32_t count, entry_count;
};

static bool has_several(uint64_t mask)
{
    return (mask & (mask - 1)) != 0;
}

static void pass_row(struct day_pass *pass, uint32_t subject, int64_t time_ms, uint64_t bit)
{
    int32_t day = (int32_t)source_day(time_ms);
    if (pass->count == 0 || pass->subjects[pass->count - 1] != subject) {
        pass->ends[pass->count] = pass->entry_count;
        pass->subjects[pass->count++] = subject;
    }
    uint32_t begin = pass->count == 1 ? 0 : pass->ends[pass->count - 2];
    uint32_t last = pass->entry_count;
    if (last > begin && pass->days[last - 1] == day) { /* a subject's rows come by time */
        pass->masks[last - 1] |= bit;
    } else {
        pass->masks[last] = bit;
        pass->days[last] = day;
        pass->ends[pass->count - 1] = ++pass->entry_count;
    }
}

/* The rows of subjects with several values; `*at` is the first subject that may have rows in the block. */
static enum err_code pass_block(struct day_pass *pass, uint32_t block, uint32_t *at,
                                struct err *err)
{
    const struct subject_values *values = pass->values;
    struct vec times = {0};
    struct vec codes = {0};
    uint64_t none = UINT64_C(1) << pass->col->dict_count;
    uint32_t block_begin = block * BLOCK_ROWS;
    ERR_TRY(segment_block_read(pass->segment, pass->ctx,
                               segment_find_col(pass->segment, COL_EVENT_TIME), block, &times,
                               err));
    ERR_TRY(segment_block_read(pass->segment, pass->ctx, pass->col, block, &codes, err));
    uint32_t block_end = block_begin + times.rows;
    uint32_t place = 0; /* of the next value */
    uint32_t i = *at;
    for (uint32_t row = block_begin; row < block_end; row++) {
        while (values->rows[i + 1] <= row) {
            i++;
        }
        uint32_t in = row - block_begin;
        bool has_value = codes.kind == VEC_CODE &&
                         (codes.present == NULL || (codes.present[in / 64] >> (in % 64) & 1) != 0);
        uint64_t bit = has_value ? UINT64_C(1) << codes.u32[place] : none;
        place += has_value;
        if (has_several(values->masks[i])) {
            pass_row(pass, values->subjects[i], times.i64[in], bit);
        }
    }
    *at = i;
    return ERR_OK;
}

static enum err_code pass_alloc(struct day_pass *pass, struct err *err)
{
    const struct subject_values *values = pass->values;
    size_t rows = 0;
    size_t count = 0;
    void *memory = NULL;
    for (uint32_t i = 0; i < values->count; i++) {
        bool is_asked = has_several(values->masks[i]);
        count += is_asked;
        rows += is_asked ? values->rows[i + 1] - values->rows[i] : 0;
    }
    ERR_TRY(arena_alloc_raw(pass->ctx->arena, rows * sizeof(*pass->masks), &memory, err));
    pass->masks = memory;
    ERR_TRY(arena_alloc_raw(pass->ctx->arena, rows * sizeof(*pass->days), &memory, err));
    pass->days = memory;
    ERR_TRY(ARENA_NEW(pass->ctx->arena, count, &pass->subjects, err));
    return ARENA_NEW(pass->ctx->arena, count, &pass->ends, err);
}

static size_t days_bytes(uint32_t count, uint32_t entry_count)
{
    return 2 * sizeof(uint32_t) + entry_count * (sizeof(uint64_t) + sizeof(int32_t)) +
           count * 2 * sizeof(uint32_t);
}

static struct subject_days days_in(const struct cache_block *block)
{
    uint32_t head[2];
    const uint8_t *at = block->data;
    memcpy(head, at, sizeof(head));
    at += sizeof(head);
    const uint8_t *days = at + head[1] * sizeof(uint64_t);
    const uint8_t *subjects = days + head[1] * sizeof(int32_t);
    return (struct subject_days){
        .count = head[0],
        .masks = (const uint64_t *)(const void *)at,
        .days = (const int32_t *)(const void *)days,
        .subjects = (const uint32_t *)(const void *)subjects,
        .ends = (const uint32_t *)(const void *)(subjects + head[0] * sizeof(uint32_t)),
    };
}

static void days_write(const struct day_pass *pass, uint8_t *at)
{
    uint32_t head[2] = {pass->count, pass->entry_count};
    memcpy(at, head, sizeof(head));
    at += sizeof(head);
    if (pass->count == 0) {
        return;
    }
    memcpy(at, pass->masks, pass->entry_count * sizeof(uint64_t));
    at += pass->entry_count * sizeof(uint64_t);
    memcpy(at, pass->days, pass->entry_count * sizeof(int32_t));
    at += pass->entry_count * sizeof(int32_t);
    memcpy(at, pass->subjects, pass->count * sizeof(uint32_t));
    at += pass->count * sizeof(uint32_t);
    memcpy(at, pass->ends, pass->count * sizeof(uint32_t));
}

/* *ret stays NULL where they would take more than a fair share of the cache. */
static enum err_code days_make(struct day_pass *pass, struct cache_block **ret, struct err *err)
{
    const struct segment *segment = pass->segment;
    struct arena *arena = pass->ctx->arena;
    struct arena_mark mark = arena_mark(arena);
    uint32_t at = 0;
    ERR_TRY(pass_alloc(pass, err));
    for (uint32_t b = 0; b < segment->source.block_count; b++) {
        struct arena_mark block_mark = arena_mark(arena);
        ERR_TRY(pass_block(pass, b, &at, err));
        arena_rewind(arena, block_mark);
    }
    size_t bytes = days_bytes(pass->count, pass->entry_count);
    if (bytes <= DAYS_BYTES_MAX) {
        ERR_TRY(
            cache_block_create(segment->uid, days_off(pass->col->col), (uint32_t)bytes, ret, err));
        days_write(pass, (*ret)->data);
        block_cache_offer(segment->cache, *ret);
    }
    arena_rewind(arena, mark);
    return ERR_OK;
}

enum err_code segment_subject_days(const struct source *source, struct read_ctx *ctx, uint32_t col,
                                   const struct subject_values *values, struct subject_days *ret,
                                   bool *ret_found, struct err *err)
{
    const struct segment *segment = (const struct segment *)(const void *)source;
    struct cache_block *block =
        block_cache_pin(segment->cache, segment->uid, days_off(col), !ctx->is_once);
    *ret_found = false;
    if (block == NULL) {
        struct day_pass pass = {.segment = segment,
                                .ctx = ctx,
                                .col = segment_find_col(segment, col),
                                .values = values};
        if (days_make(&pass, &block, err) != ERR_OK) {
            return segment_fail(segment, err);
        }
    }
    if (block == NULL) {
        return ERR_OK;
    }
    if (!read_held_add(ctx->held, block)) {
        cache_block_unpin(block);
        return ERR_OK;
    }
    *ret = days_in(block);
    *ret_found = true;
    return ERR_OK;
}
