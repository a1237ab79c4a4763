/* storage/segment_ends.c - whose rows are a segment's first and last.
 *
 * Rows lie by subject, so nobody knows when the first one is that counts, where some are expired and some subjects deleted. One
 * pass over all times finds the subjects whose first rows are earliest, and those whose last ones are latest: some of each, for
 * that of a deleted one says nothing. Kept in the block cache.
 *
 *    in memory:   struct source_ends
 */
#include "storage/base/size.h"
#include "storage/segment_int.h"

/* Beside the offsets of segment_values.c and segment_days.c; the lower half is the day that rows are asked from. */
static bool ends_off(int64_t from_ms, uint64_t *ret)
{
    int64_t day = from_ms == INT64_MIN ? INT32_MIN : source_day(from_ms);
    *ret = UINT64_C(1) << 62 | UINT64_C(2) << 32 | (uint32_t)day;
    return from_ms == INT64_MIN ||
           (day > INT32_MIN && day <= INT32_MAX && day * SOURCE_DAY_MS == from_ms);
}

/* Of two times the one nearer to the end. */
static bool is_nearer(int64_t a, int64_t b, bool is_first)
{
    return is_first ? a < b : a > b;
}

/* Into a list by nearness, of which as many are kept as there is room for. */
static void list_add(struct source_end *list, uint32_t *count, struct source_end one, bool is_first)
{
    if (*count == SOURCE_ENDS_MAX) {
        if (!is_nearer(one.time_ms, list[*count - 1].time_ms, is_first)) {
            return;
        }
        (*count)--;
    }
    uint32_t at = (*count)++;
    for (; at > 0 && is_nearer(one.time_ms, list[at - 1].time_ms, is_first); at--) {
        list[at] = list[at - 1];
    }
    list[at] = one;
}

struct ends_pass {
    int64_t from_ms;
    struct source_ends *ends;
    uint32_t subject;          /* of the rows at hand */
    int64_t first_ms, last_ms; /* of these, from from_ms on; first > last: none yet */
};

static void end_subject(struct ends_pass *pass)
{
    struct source_ends *ends = pass->ends;
    if (pass->first_ms <= pass->last_ms) {
        ends->subject_count++;
        list_add(ends->first, &ends->first_count,
                 (struct source_end){pass->first_ms, pass->subject}, true);
        list_add(ends->last, &ends->last_count, (struct source_end){pass->last_ms, pass->subject},
                 false);
    }
    pass->first_ms = INT64_MAX;
    pass->last_ms = INT64_MIN;
}

static enum err_code pass_block(const struct segment *segment, struct read_ctx *ctx, uint32_t block,
                                struct ends_pass *pass, struct err *err)
{
    struct vec times = {0};
    struct vec subjects = {0};
    ERR_TRY(segment_block_read_once(segment, ctx, segment_find_col(segment, COL_EVENT_TIME), block,
                                    &times, err));
    ERR_TRY(segment_block_read_once(segment, ctx, segment_find_col(segment, COL_SUBJECT), block,
                                    &subjects, err));
    for (uint32_t row = 0; row < times.rows; row++) {
        int64_t time_ms = times.i64[row];
        if (subjects.u32[row] != pass->subject) {
            end_subject(pass);
            pass->subject = subjects.u32[row];
        }
        if (time_ms >= pass->from_ms) {
            pass->first_ms = MIN_OF(pass->first_ms, time_ms);
            pass->last_ms = MAX_OF(pass->last_ms, time_ms);
        }
    }
    return ERR_OK;
}

static enum err_code ends_make(const struct segment *segment, struct read_ctx *ctx, int64_t from_ms,
                               uint64_t off, struct cache_block **ret, struct err *err)
{
    struct source_ends ends = {0};
    struct ends_pass pass = {
        .from_ms = from_ms, .ends = &ends, .first_ms = INT64_MAX, .last_ms = INT64_MIN};
    for (uint32_t b = 0; b < segment->source.block_count; b++) {
        struct arena_mark mark = arena_mark(ctx->arena);
        ERR_TRY(pass_block(segment, ctx, b, &pass, err));
        arena_rewind(ctx->arena, mark);
    }
    end_subject(&pass);
    ERR_TRY(cache_block_create(segment->uid, off, sizeof(ends), ret, err));
    memcpy((*ret)->data, &ends, sizeof(ends));
    block_cache_offer(segment->cache, *ret);
    return ERR_OK;
}

enum err_code segment_ends(const struct source *source, struct read_ctx *ctx, int64_t from_ms,
                           struct source_ends *ret, bool *ret_found, struct err *err)
{
    const struct segment *segment = (const struct segment *)(const void *)source;
    uint64_t off = 0;
    *ret_found = ends_off(from_ms, &off);
    if (!*ret_found) {
        return ERR_OK;
    }
    struct cache_block *block = block_cache_pin(segment->cache, segment->uid, off, !ctx->is_once);
    if (block == NULL && ends_make(segment, ctx, from_ms, off, &block, err) != ERR_OK) {
        return segment_fail(segment, err);
    }
    memcpy(ret, block->data, sizeof(*ret));
    cache_block_unpin(block);
    return ERR_OK;
}
