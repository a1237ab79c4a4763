/* storage/segment_merge.c - the order of the rows of k sorted sources, and columns fed in that
 * order.
 *
 * A binary heap holds the sources by their next row's (subject, event_time, event_id). Its only
 * result is, for each row kept, which source and which row of it: every column is then written by
 * itself, each source read forward once per column. What is read forward is fetched ahead, some
 * blocks in one batch. A merge reads each block once or twice, and its inputs are soon deleted: it
 * takes from the block cache what is there, and puts nothing in.
 */
#include "storage/base/size.h"
#include "storage/segment_write_int.h"

#include <stdlib.h>

/* Fetched ahead, of all sources together: many at once would each hold a block or two anyway. */
#define MERGE_AHEAD_BYTES_MAX (32u << 20)
#define MERGE_AHEAD_BLOCKS    8u

/* ---- reading forward ---- */

/* Of one source, forward and once. */
struct forward {
    struct arena *arena;
    struct read_ctx ctx;
    struct read_ahead ahead;
    uint32_t ahead_end; /* the first block that was not fetched ahead */
};

/* Its ctx points into the struct: it stays where it is. */
static void forward_init(struct forward *forward, struct io *io, uint32_t source_count)
{
    forward->arena = arena_create(NULL);
    forward->ahead.bytes_max = MERGE_AHEAD_BYTES_MAX / MAX_OF(source_count, 1u);
    forward->ctx = (struct read_ctx){
        .arena = forward->arena, .io = io, .ahead = &forward->ahead, .is_once = true};
}

static void forward_done(struct forward *forward)
{
    read_ahead_done(&forward->ahead);
    arena_free(forward->arena);
}

/* On to `block`: fetch `cols` of it and of the next ones, unless an earlier call has. */
static void forward_fetch(struct forward *forward, const struct source *source,
                          const uint32_t *cols, uint32_t col_count, uint32_t block)
{
    struct read_item items[MERGE_AHEAD_BLOCKS * 3];
    uint32_t count = 0;
    ASSERT(col_count <= 3);
    if (block < forward->ahead_end) {
        return;
    }
    uint32_t end = MIN_OF(block + MERGE_AHEAD_BLOCKS, source->block_count);
    for (uint32_t b = block; b < end; b++) {
        for (uint32_t c = 0; c < col_count; c++) {
            items[count++] = (struct read_item){.col = cols[c], .block = b};
        }
    }
    read_ahead_clear(&forward->ahead);
    uint32_t done = source_prefetch(source, &forward->ctx, items, count);
    forward->ahead_end = done < count ? MAX_OF(items[done].block, block + 1) : end;
}

/* ---- the order ---- */

struct cursor {
    const struct source *source;
    uint32_t idx; /* of the source: equal keys keep the order of the sources */
    uint32_t row, end, block;
    struct forward forward;
    struct vec subject, time, event_id;
    /* of `row`: */
    uint32_t subject_now;
    int64_t time_now;
    struct str id_now;
};

struct planner {
    struct cursor *cursors;
    struct cursor **heap;
    uint32_t cursor_count, heap_count;
};

static void planner_done(struct planner *planner)
{
    for (uint32_t i = 0; i < planner->cursor_count; i++) {
        forward_done(&planner->cursors[i].forward);
    }
    free(planner->cursors);
    free(planner->heap);
}

void merge_done(struct merge *merge)
{
    free(merge->source_of);
    free(merge->row_of);
    free(merge->subjects);
    free(merge->times_ms);
    *merge = (struct merge){0};
}

static enum err_code cursor_block(struct cursor *cursor, struct err *err)
{
    const struct source *source = cursor->source;
    static const uint32_t cols[] = {COL_SUBJECT, COL_EVENT_TIME, COL_EVENT_ID};
    struct read_ctx *ctx = &cursor->forward.ctx;
    cursor->block = cursor->row / BLOCK_ROWS;
    arena_rewind(ctx->arena, (struct arena_mark){0});
    forward_fetch(&cursor->forward, source, cols, COUNT_OF(cols), cursor->block);
    ERR_TRY(source_read(source, ctx, COL_SUBJECT, cursor->block, &cursor->subject, err));
    ERR_TRY(source_read(source, ctx, COL_EVENT_TIME, cursor->block, &cursor->time, err));
    ERR_TRY(source_read(source, ctx, COL_EVENT_ID, cursor->block, &cursor->event_id, err));
    uint32_t rows = source_block_rows(source, cursor->block);
    if (cursor->subject.value_count != rows || cursor->time.value_count != rows ||
        cursor->event_id.value_count != rows) {
        return err_set(err, ERR_CORRUPT, "block %u: not every row has subject, time and event_id",
                       cursor->block);
    }
    return ERR_OK;
}

/* The rows of the subjects that are asked for lie behind one another. */
static enum err_code cursor_cut(struct cursor *cursor, const struct merge_opts *opts,
                                struct err *err)
{
    struct read_ctx *ctx = &cursor->forward.ctx;
    cursor->end = cursor->source->row_count;
    if (opts->subject_begin > 0) {
        ERR_TRY(source_subject_row(cursor->source, ctx, opts->subject_begin, &cursor->row, err));
    }
    if (opts->subject_end < UINT32_MAX) {
        ERR_TRY(source_subject_row(cursor->source, ctx, opts->subject_end, &cursor->end, err));
    }
    return ERR_OK;
}

/* Make the key of `row` current; false at the end. */
static enum err_code cursor_load(struct cursor *cursor, bool *ret_has_row, struct err *err)
{
    *ret_has_row = cursor->row < cursor->end;
    if (!*ret_has_row) {
        return ERR_OK;
    }
    if (cursor->row / BLOCK_ROWS != cursor->block) {
        ERR_TRY(cursor_block(cursor, err));
    }
    uint32_t at = cursor->row % BLOCK_ROWS;
    cursor->subject_now = cursor->subject.u32[at];
    cursor->time_now = cursor->time.i64[at];
    cursor->id_now = vec_str(&cursor->event_id, at);
    return ERR_OK;
}

static bool cursor_before(const struct cursor *a, const struct cursor *b)
{
    if (a->subject_now != b->subject_now) {
        return a->subject_now < b->subject_now;
    }
    if (a->time_now != b->time_now) {
        return a->time_now < b->time_now;
    }
    int order = str_cmp(a->id_now, b->id_now);
    return order != 0 ? order < 0 : a->idx < b->idx;
}

static void sift_down(struct planner *planner, uint32_t at)
{
    struct cursor *moving = planner->heap[at];
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= planner->heap_count) {
            break;
        }
        if (child + 1 < planner->heap_count &&
            cursor_before(planner->heap[child + 1], planner->heap[child])) {
            child++;
        }
        if (!cursor_before(planner->heap[child], moving)) {
            break;
        }
        planner->heap[at] = planner->heap[child];
        at = child;
    }
    planner->heap[at] = moving;
}

static enum err_code planner_open(struct planner *planner, struct io *io,
                                  const struct source *const *sources, uint32_t source_count,
                                  const struct merge_opts *opts, struct err *err)
{
    planner->cursors = calloc((size_t)source_count + 1, sizeof(*planner->cursors));
    planner->heap = calloc((size_t)source_count + 1, sizeof(struct cursor *));
    if (planner->cursors == NULL || planner->heap == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for a merge of %u sources", source_count);
    }
    for (uint32_t i = 0; i < source_count; i++) {
        struct cursor *cursor = &planner->cursors[i];
        *cursor = (struct cursor){.source = sources[i], .idx = i, .block = UINT32_MAX};
        forward_init(&cursor->forward, io, source_count);
        planner->cursor_count++;
        bool has_row = false;
        ERR_TRY(cursor_cut(cursor, opts, err));
        ERR_TRY(cursor_load(cursor, &has_row, err));
        if (has_row) {
            planner->heap[planner->heap_count++] = cursor;
        }
    }
    for (uint32_t i = planner->heap_count / 2; i-- > 0;) {
        sift_down(planner, i);
    }
    return ERR_OK;
}

static enum err_code merge_alloc(struct merge *merge, struct err *err)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < merge->source_count; i++) {
        sum += merge->sources[i]->row_count;
    }
    size_t rows = MIN_OF(sum, SEGMENT_ROWS_MAX) + 1;
    merge->source_of = malloc(rows * sizeof(*merge->source_of));
    merge->row_of = malloc(rows * sizeof(*merge->row_of));
    merge->subjects = malloc(rows * sizeof(*merge->subjects));
    merge->times_ms = malloc(rows * sizeof(*merge->times_ms));
    if (merge->source_of == NULL || merge->row_of == NULL || merge->subjects == NULL ||
        merge->times_ms == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for the order of %zu rows", rows);
    }
    return ERR_OK;
}

static enum err_code merge_take(struct merge *merge, const struct cursor *cursor, struct err *err)
{
    uint32_t at = merge->row_count;
    if (at == SEGMENT_ROWS_MAX) {
        return err_set(err, ERR_LIMIT, "more rows than a segment can hold, %u", SEGMENT_ROWS_MAX);
    }
    if (at > 0 && (merge->subjects[at - 1] > cursor->subject_now ||
                   (merge->subjects[at - 1] == cursor->subject_now &&
                    merge->times_ms[at - 1] > cursor->time_now))) {
        return err_set(err, ERR_CORRUPT, "source %u is out of order at row %u", cursor->idx,
                       cursor->row);
    }
    merge->source_of[at] = (uint16_t)cursor->idx;
    merge->row_of[at] = cursor->row;
    merge->subjects[at] = cursor->subject_now;
    merge->times_ms[at] = cursor->time_now;
    merge->time_min_ms = at == 0 ? cursor->time_now : MIN_OF(merge->time_min_ms, cursor->time_now);
    merge->time_max_ms = at == 0 ? cursor->time_now : MAX_OF(merge->time_max_ms, cursor->time_now);
    merge->row_count++;
    return ERR_OK;
}

static enum err_code plan_rows(struct planner *planner, const struct merge_opts *opts,
                               struct merge *merge, struct err *err)
{
    while (planner->heap_count > 0) {
        struct cursor *cursor = planner->heap[0];
        bool is_kept =
            cursor->time_now >= opts->time_begin_ms && cursor->time_now < opts->time_end_ms &&
            (opts->deleted == NULL || !roaring_bitmap_contains(opts->deleted, cursor->subject_now));
        if (is_kept) {
            ERR_TRY(merge_take(merge, cursor, err));
        }
        cursor->row++;
        bool has_row = false;
        ERR_TRY(cursor_load(cursor, &has_row, err));
        if (!has_row) {
            planner->heap[0] = planner->heap[--planner->heap_count];
        }
        if (planner->heap_count > 1) {
            sift_down(planner, 0);
        }
    }
    return ERR_OK;
}

enum err_code merge_plan(struct io *io, const struct source *const *sources, uint32_t source_count,
                         const struct merge_opts *opts, struct merge *ret, struct err *err)
{
    if (source_count > UINT16_MAX) {
        return err_set(err, ERR_LIMIT, "%u sources in one merge, at most %u", source_count,
                       UINT16_MAX);
    }
    CLEANUP(merge_done) struct merge merge = {
        .io = io, .sources = sources, .source_count = source_count};
    CLEANUP(planner_done) struct planner planner = {0};
    ERR_TRY(merge_alloc(&merge, err));
    ERR_TRY(planner_open(&planner, io, sources, source_count, opts, err));
    ERR_TRY(plan_rows(&planner, opts, &merge, err));
    *ret = merge;
    merge = (struct merge){0};
    return ERR_OK;
}

/* ---- columns in that order ---- */

struct feed_input {
    struct forward forward;
    struct vec vec;
    uint32_t block;              /* that `vec` holds; UINT32_MAX: none */
    uint32_t ranks[BLOCK_WORDS]; /* values before each word of vec.present */
};

struct feed {
    const struct merge *merge;
    uint32_t col;
    struct feed_input *inputs;
};

enum err_code feed_create(const struct merge *merge, struct feed **ret, struct err *err)
{
    CLEANUP(feed_freep) struct feed *feed = calloc(1, sizeof(*feed));
    if (feed == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for a merge");
    }
    feed->merge = merge;
    feed->inputs = calloc((size_t)merge->source_count + 1, sizeof(*feed->inputs));
    if (feed->inputs == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory for a merge of %u sources",
                       merge->source_count);
    }
    for (uint32_t i = 0; i < merge->source_count; i++) {
        forward_init(&feed->inputs[i].forward, merge->io, merge->source_count);
    }
    *ret = TAKE(feed);
    return ERR_OK;
}

void feed_free(struct feed *feed)
{
    if (feed == NULL) {
        return;
    }
    for (uint32_t i = 0; feed->inputs != NULL && i < feed->merge->source_count; i++) {
        forward_done(&feed->inputs[i].forward);
    }
    free(feed->inputs);
    free(feed);
}

void feed_start(struct feed *feed, uint32_t col)
{
    feed->col = col;
    for (uint32_t i = 0; i < feed->merge->source_count; i++) {
        feed->inputs[i].block = UINT32_MAX;
        feed->inputs[i].forward.ahead_end = 0; /* of another column */
    }
}

static enum err_code input_block(struct feed_input *input, const struct source *source,
                                 uint32_t col, uint32_t block, struct err *err)
{
    arena_rewind(input->forward.arena, (struct arena_mark){0});
    forward_fetch(&input->forward, source, &col, 1, block);
    ERR_TRY(source_read(source, &input->forward.ctx, col, block, &input->vec, err));
    input->block = block;
    if (input->vec.present != NULL) {
        uint32_t rank = 0;
        for (uint32_t w = 0; w < (input->vec.rows + 63) / 64; w++) {
            input->ranks[w] = rank;
            rank += (uint32_t)__builtin_popcountll(input->vec.present[w]);
        }
    }
    return ERR_OK;
}

enum err_code feed_value(struct feed *feed, uint32_t row, const struct vec **ret_vec,
                         uint32_t *ret_place, struct err *err)
{
    uint32_t source = feed->merge->source_of[row];
    uint32_t source_row = feed->merge->row_of[row];
    struct feed_input *input = &feed->inputs[source];
    uint32_t block = source_row / BLOCK_ROWS;
    uint32_t at = source_row % BLOCK_ROWS;
    if (input->block != block) {
        ERR_TRY(input_block(input, feed->merge->sources[source], feed->col, block, err));
    }
    *ret_vec = &input->vec;
    if (input->vec.kind == VEC_ABSENT) {
        *ret_place = UINT32_MAX;
    } else if (input->vec.present == NULL) {
        *ret_place = at;
    } else {
        uint64_t bits = input->vec.present[at / 64];
        uint64_t bit = UINT64_C(1) << (at % 64);
        *ret_place = (bits & bit) == 0
                         ? UINT32_MAX
                         : input->ranks[at / 64] + (uint32_t)__builtin_popcountll(bits & (bit - 1));
    }
    return ERR_OK;
}
