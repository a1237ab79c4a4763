/* storage/segment_repeats.c - who has more than one row in a span of time.
 *
 * A stored set says that a subject was there, not whether it came again: retention asks this of the period of a start. Made
 * by one pass over subjects and times for all spans of a question, kept in the block cache.
 *
 *    in memory:   u32 span_count, 0   i64 edges[span_count + 1]   u32 ends[span_count]   u32 subjects[...]
 */
#include "storage/base/hash.h"
#include "storage/base/size.h"
#include "storage/read_held.h"
#include "storage/segment_int.h"

/* No section, union of sets, nor values of subjects have such a name. Different edges may share one: they are compared. */
static uint64_t repeats_off(const int64_t *edges, uint32_t span_count)
{
    uint64_t hash = hash_str(
        (struct str){(const char *)(const void *)edges, ((size_t)span_count + 1) * sizeof(*edges)},
        0);
    return UINT64_C(3) << 61 | hash >> 4;
}

/* The spans that rows of the segment may lie in: edges[*ret_first] and `*ret_count` spans from there. */
static void find_spans(const struct segment *segment, const int64_t *edges, uint32_t span_count,
                       uint32_t *ret_first, uint32_t *ret_count)
{
    uint32_t first = 0;
    uint32_t end = span_count;
    while (first < end && edges[first + 1] <= segment->source.time_min_ms) {
        first++;
    }
    while (end > first && edges[end - 1] > segment->source.time_max_ms) {
        end--;
    }
    *ret_first = first;
    *ret_count = end - first;
}

/* ---- the pass ---- */

struct repeat {
    uint32_t span, subject;
};

struct pass {
    const int64_t *edges;
    uint32_t span_count;
    uint32_t subject, span; /* of the row before; span_count: outside of all */
    bool is_told;           /* that it came again */
    struct repeat *repeats;
    uint32_t count;
};

static uint32_t span_of(const struct pass *pass, int64_t time_ms)
{
    if (time_ms < pass->edges[0] || time_ms >= pass->edges[pass->span_count]) {
        return pass->span_count;
    }
    uint32_t low = 0;
    uint32_t high = pass->span_count; /* edges[low] <= time < edges[high] */
    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;
        bool is_before = time_ms < pass->edges[mid];
        low = is_before ? low : mid;
        high = is_before ? mid : high;
    }
    return low;
}

/* Rows come by subject, and by time within one. */
static void pass_rows(struct pass *pass, const uint32_t *subjects, const int64_t *times,
                      uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        bool is_same = subjects[i] == pass->subject && pass->span < pass->span_count &&
                       times[i] < pass->edges[pass->span + 1];
        if (!is_same) {
            pass->subject = subjects[i];
            pass->span = span_of(pass, times[i]);
            pass->is_told = false;
        } else if (!pass->is_told) {
            pass->repeats[pass->count++] = (struct repeat){pass->span, subjects[i]};
            pass->is_told = true;
        }
    }
}

static enum err_code pass_blocks(const struct segment *segment, struct read_ctx *ctx,
                                 struct pass *pass, struct err *err)
{
    for (uint32_t b = 0; b < segment->source.block_count; b++) {
        struct vec subjects = {0};
        struct vec times = {0};
        struct arena_mark mark = arena_mark(ctx->arena);
        ERR_TRY(segment_block_read_once(segment, ctx, segment_find_col(segment, COL_SUBJECT), b,
                                        &subjects, err));
        ERR_TRY(segment_block_read_once(segment, ctx, segment_find_col(segment, COL_EVENT_TIME), b,
                                        &times, err));
        pass_rows(pass, subjects.u32, times.i64, subjects.rows);
        arena_rewind(ctx->arena, mark);
    }
    return ERR_OK;
}

/* ---- the kept form ---- */

static size_t head_bytes(uint32_t span_count)
{
    return 2 * sizeof(uint32_t) + ((size_t)span_count + 1) * sizeof(int64_t) +
           (size_t)span_count * sizeof(uint32_t);
}

static const uint32_t *ends_in(const struct cache_block *block, uint32_t span_count)
{
    return (const uint32_t *)(const void *)(block->data + 2 * sizeof(uint32_t) +
                                            ((size_t)span_count + 1) * sizeof(int64_t));
}

/* Sort the pairs by span: they come by subject, so that each span's subjects ascend. */
static void fill(struct cache_block *block, const struct pass *pass)
{
    uint32_t head[2] = {pass->span_count, 0};
    uint8_t *at = block->data;
    memcpy(at, head, sizeof(head));
    memcpy(at + sizeof(head), pass->edges, ((size_t)pass->span_count + 1) * sizeof(int64_t));
    uint32_t *ends =
        (uint32_t *)(void *)(at + sizeof(head) + ((size_t)pass->span_count + 1) * sizeof(int64_t));
    uint32_t *subjects = ends + pass->span_count;
    memset(ends, 0, pass->span_count * sizeof(*ends));
    for (uint32_t i = 0; i < pass->count; i++) {
        ends[pass->repeats[i].span]++;
    }
    uint32_t begin = 0;
    for (uint32_t s = 0; s < pass->span_count; s++) { /* for now where each begins */
        uint32_t count = ends[s];
        ends[s] = begin;
        begin += count;
    }
    for (uint32_t i = 0; i < pass->count; i++) {
        subjects[ends[pass->repeats[i].span]++] = pass->repeats[i].subject;
    }
}

static enum err_code repeats_make(const struct segment *segment, struct read_ctx *ctx,
                                  const int64_t *edges, uint32_t span_count,
                                  struct cache_block **ret, struct err *err)
{
    struct pass pass = {
        .edges = edges, .span_count = span_count, .subject = UINT32_MAX, .span = span_count};
    struct arena_mark mark = arena_mark(ctx->arena);
    void *memory = NULL;
    ERR_TRY(arena_alloc_raw(ctx->arena, segment->source.row_count / 2 * sizeof(struct repeat) + 1,
                            &memory, err)); /* each takes two rows */
    pass.repeats = memory;
    ERR_TRY(pass_blocks(segment, ctx, &pass, err));
    size_t len = head_bytes(span_count) + pass.count * sizeof(uint32_t);
    ERR_TRY(
        cache_block_create(segment->uid, repeats_off(edges, span_count), (uint32_t)len, ret, err));
    fill(*ret, &pass);
    arena_rewind(ctx->arena, mark);
    return ERR_OK;
}

static bool is_of(const struct cache_block *block, const int64_t *edges, uint32_t span_count)
{
    uint32_t count = 0;
    memcpy(&count, block->data, sizeof(count));
    return count == span_count && memcmp(block->data + 2 * sizeof(uint32_t), edges,
                                         ((size_t)count + 1) * sizeof(int64_t)) == 0;
}

static enum err_code repeats_pin(const struct segment *segment, struct read_ctx *ctx,
                                 const int64_t *edges, uint32_t span_count,
                                 struct cache_block **ret, struct err *err)
{
    *ret = block_cache_pin(segment->cache, segment->uid, repeats_off(edges, span_count),
                           !ctx->is_once);
    if (*ret != NULL && !is_of(*ret, edges, span_count)) {
        cache_block_unpin(*ret);
        return repeats_make(segment, ctx, edges, span_count, ret, err); /* not kept */
    }
    if (*ret == NULL) {
        ERR_TRY(repeats_make(segment, ctx, edges, span_count, ret, err));
        block_cache_offer(segment->cache, *ret);
    }
    return ERR_OK;
}

enum err_code segment_repeats(const struct source *source, struct read_ctx *ctx,
                              const int64_t *edges, uint32_t span_count,
                              const struct repeats_taker *taker, struct err *err)
{
    const struct segment *segment = (const struct segment *)(const void *)source;
    struct cache_block *block = NULL;
    uint32_t first = 0;
    uint32_t count = 0;
    find_spans(segment, edges, span_count, &first, &count);
    if (count == 0) {
        return ERR_OK;
    }
    if (repeats_pin(segment, ctx, edges + first, count, &block, err) != ERR_OK) {
        return segment_fail(segment, err);
    }
    const uint32_t *ends = ends_in(block, count);
    const uint32_t *subjects = ends + count;
    for (uint32_t s = 0; s < count; s++) {
        uint32_t begin = s == 0 ? 0 : ends[s - 1];
        taker->take(taker->arg, first + s, subjects + begin, ends[s] - begin);
    }
    cache_block_unpin(block);
    return ERR_OK;
}
