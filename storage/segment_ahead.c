/* storage/segment_ahead.c - fetching what will be read: many sections, one batch.
 *
 *    items of the reader: (column, block), ...
 *      held or in the cache        pinned, done
 *      neither                     missing, and the column's dictionary where it was never loaded
 *    missing, by offset     [====] [==]      [===]              [======]
 *    runs, read at once     [=========+------====]              [======]
 *      checksum right              offered to the cache, held
 *      wrong, or not read          forgotten: who asks for it reads it again, and names what is wrong
 *
 * Neighbours become one run where reading what lies between them costs less than another request
 * would: a column's blocks lie one after the other, so that a column of a whole segment is a run.
 *
 * Two kinds of block cannot be decoded without another one: where the presence is "the rows of
 * these events", the names are needed, and an arrival time may be relative to the event time. The
 * fetched bytes say so, and what they name is fetched in a second batch.
 */
#include "storage/base/hash.h"
#include "storage/base/size.h"
#include "storage/segment_int.h"

#include <stdlib.h>

#define GAP_BYTES_MAX (16u << 10) /* read for nothing sooner than with a request of its own */
#define RUN_BYTES_MAX (1u << 20)  /* several in flight are faster than one long one */

/* Of segment_format.h's block head. */
#define HEAD_AT_PRESENCE 1u
#define HEAD_AT_FLAGS    3u

struct fetch {
    const struct segment *segment;
    struct read_ctx *ctx;
    struct seg_span *missing; /* in the arena of ctx */
    uint32_t count, cap;
    size_t bytes; /* of the missing */
};

/* Consecutive missing spans that are read at once. */
struct run {
    uint32_t first, count;
    uint64_t off, end;
    uint8_t *bytes; /* of its own where it has more than one; freed by fetch_load */
};

/* Hold the section where it is in memory, else note it as missing. False: no room. */
static bool fetch_span(struct fetch *fetch, const struct seg_span *span)
{
    struct read_ahead *ahead = fetch->ctx->ahead;
    const struct segment *segment = fetch->segment;
    if (read_ahead_peek(ahead, segment->uid, span->off) != NULL) {
        return true;
    }
    struct cache_block *block =
        block_cache_pin(segment->cache, segment->uid, span->off, !fetch->ctx->is_once);
    if (block != NULL) {
        bool is_held = read_ahead_hold(ahead, block, false);
        cache_block_unpin(block);
        return is_held;
    }
    size_t room = ahead->bytes_max - MIN_OF(ahead->bytes_max, ahead->bytes);
    if (fetch->count == fetch->cap || fetch->bytes >= room || span->bytes > room - fetch->bytes) {
        return false;
    }
    fetch->missing[fetch->count++] = *span;
    fetch->bytes += span->bytes;
    return true;
}

/* As fetch_span for a column's block, its dictionary with it. */
static bool fetch_block(struct fetch *fetch, const struct seg_col *col, uint32_t block)
{
    const struct seg_block *said = col == NULL ? NULL : seg_col_block(col, block);
    if (said == NULL) {
        return true;
    }
    /* relaxed: whether it is there at all; whoever uses it loads it again */
    if (col->has_dict && atomic_load_explicit(&col->dict, memory_order_relaxed) == NULL &&
        !fetch_span(fetch, &col->dict_span)) {
        return false;
    }
    return segment_decoded_is_kept(fetch->segment, fetch->ctx, said) ||
           fetch_span(fetch, &said->span);
}

/* Rows by value: where they have been made before, the block itself is not needed. */
static bool fetch_rows(struct fetch *fetch, const struct seg_col *col, uint32_t block)
{
    struct read_ahead *ahead = fetch->ctx->ahead;
    const struct segment *segment = fetch->segment;
    const struct seg_block *said = col == NULL ? NULL : seg_col_block(col, block);
    if (said == NULL || read_ahead_peek(ahead, segment->uid, postings_off(said)) != NULL) {
        return true;
    }
    struct cache_block *made =
        block_cache_pin(segment->cache, segment->uid, postings_off(said), !fetch->ctx->is_once);
    if (made == NULL) {
        return fetch_block(fetch, col, block);
    }
    bool is_held = read_ahead_hold(ahead, made, false);
    cache_block_unpin(made);
    return is_held;
}

/* The block is in the cache in the form that would be read instead. */
static bool is_kept_instead(const struct fetch *fetch, const struct read_item *item)
{
    const struct segment *segment = fetch->segment;
    const struct seg_col *names = segment_find_col(segment, COL_EVENT_NAME);
    const struct seg_block *said = names == NULL ? NULL : seg_col_block(names, item->block);
    if (item->unless == READ_ALWAYS || said == NULL) {
        return false;
    }
    uint64_t off = item->unless == READ_UNLESS_JOURNEYS ? journeys_off(said) : streams_off(said);
    struct cache_block *kept = block_cache_pin(segment->cache, segment->uid, off, false);
    cache_block_unpin(kept);
    return kept != NULL;
}

/* ---- loading ---- */

static int compare_spans(const void *a, const void *b)
{
    const struct seg_span *x = a;
    const struct seg_span *y = b;
    return (x->off > y->off) - (x->off < y->off);
}

/* Spans in order of the file, each place once; runs of them. Returns how many runs. */
static uint32_t fetch_runs(struct fetch *fetch, struct run *out_runs)
{
    uint32_t span_count = 0;
    uint32_t run_count = 0;
    qsort(fetch->missing, fetch->count, sizeof(*fetch->missing), compare_spans);
    for (uint32_t i = 0; i < fetch->count; i++) {
        struct seg_span span = fetch->missing[i];
        if (span_count > 0 && fetch->missing[span_count - 1].off == span.off) {
            continue; /* a dictionary of several blocks; in a forged footer, anything */
        }
        uint64_t end = span.off + span.bytes;
        struct run *run = run_count == 0 ? NULL : &out_runs[run_count - 1];
        if (run != NULL && span.off <= run->end + GAP_BYTES_MAX && end - run->off <= RUN_BYTES_MAX) {
            run->count++;
            run->end = MAX_OF(run->end, end);
        } else {
            out_runs[run_count++] =
                (struct run){.first = span_count, .count = 1, .off = span.off, .end = end};
        }
        fetch->missing[span_count++] = span;
    }
    fetch->count = span_count;
    return run_count;
}

/* The sections' blocks, and one request per run. False: out of memory. */
static bool fetch_requests(struct fetch *fetch, struct run *runs, uint32_t run_count,
                           struct cache_block **blocks, struct io_read_req *out_reqs)
{
    const struct segment *segment = fetch->segment;
    struct err err = {0};
    for (uint32_t i = 0; i < fetch->count; i++) {
        const struct seg_span *span = &fetch->missing[i];
        if (cache_block_create(segment->uid, span->off, span->bytes, &blocks[i], &err) != ERR_OK) {
            return false;
        }
    }
    for (uint32_t r = 0; r < run_count; r++) {
        struct run *run = &runs[r];
        size_t len = (size_t)(run->end - run->off);
        if (run->count > 1 && (run->bytes = malloc(len)) == NULL) {
            return false;
        }
        out_reqs[r] = (struct io_read_req){
            .file = segment->file,
            .off = run->off,
            .len = len,
            .out = run->count > 1 ? run->bytes : blocks[run->first]->data,
        };
    }
    return true;
}

/* Check a section, and keep it. One that is not what its checksum says is read again by who asks
 * for it: the message is theirs. */
static void fetch_keep(struct fetch *fetch, const struct seg_span *span, struct cache_block *block)
{
    if (checksum64(block->data, span->bytes) != span->checksum) {
        return;
    }
    if (!fetch->ctx->is_once) {
        block_cache_offer(fetch->segment->cache, block);
    }
    (void)read_ahead_hold(fetch->ctx->ahead, block, true);
}

static void fetch_read(struct fetch *fetch, struct run *runs, struct cache_block **blocks,
                       struct io_read_req *reqs)
{
    struct err err = {0};
    uint32_t run_count = fetch_runs(fetch, runs);
    if (!fetch_requests(fetch, runs, run_count, blocks, reqs) ||
        io_read_batch(fetch->ctx->io, reqs, run_count, &err) != ERR_OK) {
        return; /* read one by one, the error is met by the section that it is about */
    }
    for (uint32_t r = 0; r < run_count; r++) {
        const struct run *run = &runs[r];
        for (uint32_t i = run->first; i < run->first + run->count; i++) {
            const struct seg_span *span = &fetch->missing[i];
            if (run->bytes != NULL) {
                memcpy(blocks[i]->data, run->bytes + (span->off - run->off), span->bytes);
            }
            fetch_keep(fetch, span, blocks[i]);
        }
    }
}

/* Read what is missing, and hold it. */
static void fetch_load(struct fetch *fetch)
{
    struct arena *arena = fetch->ctx->arena;
    struct run *runs = NULL;
    struct cache_block **blocks = NULL;
    struct io_read_req *reqs = NULL;
    struct err err = {0};
    /* Each byte is there twice for a moment: in its run and in its block. */
    size_t bytes = 2 * fetch->bytes;
    if (fetch->count == 0 || !read_ahead_take(fetch->ctx->ahead, bytes)) {
        return;
    }
    if (ARENA_NEW(arena, fetch->count, &runs, &err) == ERR_OK &&
        ARENA_NEW(arena, fetch->count, &blocks, &err) == ERR_OK &&
        ARENA_NEW(arena, fetch->count, &reqs, &err) == ERR_OK) {
        uint32_t count = fetch->count;
        fetch_read(fetch, runs, blocks, reqs);
        for (uint32_t i = 0; i < count; i++) {
            free(runs[i].bytes);
            cache_block_unpin(blocks[i]);
        }
    }
    read_ahead_give(fetch->ctx->ahead, bytes);
    fetch->count = 0;
    fetch->bytes = 0;
}

/* ---- what blocks need of other blocks ---- */

static void fetch_needs(struct fetch *fetch, const struct read_item *item)
{
    const struct segment *segment = fetch->segment;
    const struct seg_col *col = segment_find_col(segment, item->col);
    const struct seg_block *said = col == NULL ? NULL : seg_col_block(col, item->block);
    const struct cache_block *block =
        said == NULL ? NULL : read_ahead_peek(fetch->ctx->ahead, segment->uid, said->span.off);
    if (block == NULL) {
        return;
    }
    if (block->len < BLOCK_HEAD_BYTES) {
        return; /* damaged; decoding it will say so */
    }
    if (block->data[HEAD_AT_PRESENCE] == PRESENCE_EVENTS) {
        (void)fetch_rows(fetch, segment_find_col(segment, COL_EVENT_NAME), item->block);
    }
    if ((block->data[HEAD_AT_FLAGS] & BLOCK_FLAG_LESS_TIME) != 0) {
        (void)fetch_block(fetch, segment_find_col(segment, COL_EVENT_TIME), item->block);
    }
}

/* ---- the operations ---- */

static bool fetch_init(struct fetch *fetch, uint32_t span_max)
{
    struct err err = {0};
    fetch->cap = span_max;
    return ARENA_NEW(fetch->ctx->arena, span_max, &fetch->missing, &err) == ERR_OK;
}

uint32_t segment_prefetch(const struct source *source, struct read_ctx *ctx,
                          const struct read_item *items, uint32_t count)
{
    const struct segment *segment = (const struct segment *)(const void *)source;
    struct arena_mark mark = arena_mark(ctx->arena);
    struct fetch fetch = {.segment = segment, .ctx = ctx};
    uint32_t done = 0;
    if (!fetch_init(&fetch, 2 * count)) { /* a block, and a dictionary or what the block needs */
        return count;
    }
    while (done < count) {
        const struct read_item *item = &items[done];
        const struct seg_col *col = segment_find_col(segment, item->col);
        bool is_done = true;
        if (!is_kept_instead(&fetch, item)) {
            is_done = item->is_by_value ? fetch_rows(&fetch, col, item->block)
                                        : fetch_block(&fetch, col, item->block);
        }
        if (!is_done) {
            break;
        }
        done++;
    }
    fetch_load(&fetch);
    for (uint32_t i = 0; i < done; i++) {
        fetch_needs(&fetch, &items[i]);
    }
    fetch_load(&fetch);
    arena_rewind(ctx->arena, mark);
    return done;
}

uint32_t segment_prefetch_sets(const struct source *source, struct read_ctx *ctx,
                               const struct subject_set *sets, uint32_t count)
{
    const struct segment *segment = (const struct segment *)(const void *)source;
    struct arena_mark mark = arena_mark(ctx->arena);
    struct fetch fetch = {.segment = segment, .ctx = ctx};
    uint32_t done = 0;
    uint32_t group = UINT32_MAX; /* noted last */
    if (!fetch_init(&fetch, count)) {
        return count;
    }
    for (; done < count; done++) {
        const struct seg_set *set = &segment->sets[sets[done].set_idx];
        /* relaxed: whether it is there at all; whoever uses it loads it again */
        if (set->group == group ||
            atomic_load_explicit(&set->bitmap, memory_order_relaxed) != NULL) {
            continue;
        }
        if (!fetch_span(&fetch, &segment->set_groups[set->group])) {
            break;
        }
        group = set->group;
    }
    fetch_load(&fetch);
    arena_rewind(ctx->arena, mark);
    return done;
}
