/* storage/care_rows.c - rows of a data set that are equal, in bounded memory.
 *
 * A row is a 128-bit hash under the data set's seed, which is what the server takes an event id for as
 * well (two different ids have the same with probability n^2 / 2^129). As many rows as memory holds are
 * gathered at a time, those whose hash falls into the part in hand; they are sorted, and equal
 * ones stand side by side. The columns are read once for each part: 8 Mi rows a part. */
#include "storage/care_int.h"

#include "storage/base/size.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_AT_ONCE ((size_t)8 << 20)

struct gathering {
    struct care_set *set;
    const struct care_rows_opts *opts;
    uint32_t part, part_count;
    struct care_row *rows;
    size_t count, cap, max;
    struct arena *arena;
    uint32_t log_row;
};

static enum err_code add(struct gathering *gathering, struct str id, int64_t arrival_ms,
                         uint32_t source, uint32_t row, struct err *err)
{
    struct hash128 hash = hash128(id.ptr, id.len, gathering->set->row.seed);
    if (gathering->opts->is_copies) {
        hash.lo ^= hash_mix((uint64_t)arrival_ms);
    }
    /* Far more rows than fall into a part by chance are copies of few: enough of them are in hand. */
    if (hash.hi % gathering->part_count != gathering->part || gathering->count == gathering->max) {
        return ERR_OK;
    }
    if (gathering->count == gathering->cap) {
        size_t cap = MIN_OF(gathering->cap * 2 + 1024, gathering->max);
        struct care_row *grown = realloc(gathering->rows, cap * sizeof(*grown));
        if (grown == NULL) {
            return err_set(err, ERR_NOMEM, "no memory for %zu event ids", cap);
        }
        gathering->rows = grown;
        gathering->cap = cap;
    }
    gathering->rows[gathering->count++] = (struct care_row){hash, arrival_ms, source, row};
    return ERR_OK;
}

static enum err_code gather_block(struct gathering *gathering, const struct source *source,
                                  uint32_t place, uint32_t block, struct err *err)
{
    struct read_ctx ctx = {.arena = gathering->arena, .io = gathering->set->care->io};
    struct vec id = {0};
    struct vec arrival = {0};
    ERR_TRY(source_read(source, &ctx, COL_EVENT_ID, block, &id, err));
    ERR_TRY(source_read(source, &ctx, COL_ARRIVAL, block, &arrival, err));
    for (uint32_t i = 0; i < id.value_count; i++) {
        ERR_TRY(
            add(gathering, vec_str(&id, i), arrival.i64[i], place, block * BLOCK_ROWS + i, err));
    }
    return ERR_OK;
}

static enum err_code gather_segment(struct gathering *gathering, uint32_t place, struct err *err)
{
    CLEANUP(segment_closep) struct segment *segment = NULL;
    struct care_set *set = gathering->set;
    size_t count = 0;
    char path[CARE_PATH_BYTES];
    care_set_segment_path(set, &care_set_segments(set, &count)[place], path);
    ERR_TRY(care_segment_open(set, path, set->schema, &segment, err));
    const struct source *source = segment_source(segment);
    for (uint32_t block = 0; block < source->block_count; block++) {
        struct arena_mark mark = arena_mark(gathering->arena);
        ERR_TRY(gather_block(gathering, source, place, block, err));
        arena_rewind(gathering->arena, mark);
    }
    return ERR_OK;
}

/* Records up to the catalog's epoch are in segments, and stay in the log until its file goes. */
static enum err_code gather_record(void *arg, uint64_t seq, const struct event_batch *batch,
                                   const struct event_place *places, struct err *err)
{
    (void)places;
    struct gathering *gathering = arg;
    for (uint32_t i = 0; seq > gathering->set->row.epoch && i < batch->event_count; i++) {
        ERR_TRY(add(gathering, batch->events[i].event_id, batch->arrival_ms, CARE_LOG_SOURCE,
                    gathering->log_row++, err));
    }
    return ERR_OK;
}

static int row_cmp(const void *a, const void *b)
{
    const struct care_row *x = a;
    const struct care_row *y = b;
    if (x->hash.hi != y->hash.hi) {
        return x->hash.hi < y->hash.hi ? -1 : 1;
    }
    if (x->hash.lo != y->hash.lo) {
        return x->hash.lo < y->hash.lo ? -1 : 1;
    }
    if (x->arrival_ms != y->arrival_ms) {
        return x->arrival_ms < y->arrival_ms ? -1 : 1;
    }
    if (x->source != y->source) {
        return x->source < y->source ? -1 : 1;
    }
    return (x->row > y->row) - (x->row < y->row);
}

static enum err_code give_groups(struct gathering *gathering, care_group_fn fn, void *arg,
                                 struct err *err)
{
    const struct care_row *rows = gathering->rows;
    if (gathering->count > 1) {
        qsort(gathering->rows, gathering->count, sizeof(*gathering->rows), row_cmp);
    }
    for (size_t begin = 0, end = 0; begin < gathering->count; begin = end) {
        end = begin + 1;
        while (end < gathering->count && rows[end].hash.lo == rows[begin].hash.lo &&
               rows[end].hash.hi == rows[begin].hash.hi) {
            end++;
        }
        if (end - begin > 1) {
            ERR_TRY(fn(arg, rows + begin, (uint32_t)(end - begin), err));
        }
    }
    return ERR_OK;
}

static enum err_code gather(struct gathering *gathering, struct err *err)
{
    size_t count = 0;
    (void)care_set_segments(gathering->set, &count);
    gathering->count = 0;
    gathering->log_row = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (gathering->opts->skips == NULL || !gathering->opts->skips[i]) {
            ERR_TRY(gather_segment(gathering, i, err));
        }
    }
    if (gathering->opts->has_log) {
        struct err what = {0};
        ERR_TRY(care_log_read(gathering->set, gather_record, gathering, &what, err));
    }
    return ERR_OK;
}

enum err_code care_rows_equal(struct care_set *set, const struct care_rows_opts *opts,
                              care_group_fn fn, void *arg, struct err *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    struct gathering gathering = {.set = set, .opts = opts, .arena = arena};
    size_t count = 0;
    const struct catalog_segment *segments = care_set_segments(set, &count);
    uint64_t rows = opts->has_log ? set->log_events : 0;
    for (size_t i = 0; i < count; i++) {
        rows += segments[i].row_count;
    }
    size_t at_once = opts->rows_at_once == 0 ? ROWS_AT_ONCE : opts->rows_at_once;
    gathering.part_count = (uint32_t)MIN_OF(rows / at_once + 1, (uint64_t)UINT32_MAX);
    gathering.max = 2 * at_once;
    enum err_code code = ERR_OK;
    for (; code == ERR_OK && gathering.part < gathering.part_count; gathering.part++) {
        code = gather(&gathering, err);
        code = code == ERR_OK ? give_groups(&gathering, fn, arg, err) : code;
    }
    free(gathering.rows);
    return code;
}

enum err_code care_row_id(struct care_set *set, const struct care_row *row, char out[128],
                          struct err *err)
{
    CLEANUP(segment_closep) struct segment *segment = NULL;
    CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
    struct read_ctx ctx = {.arena = arena, .io = set->care->io};
    struct vec id = {0};
    size_t count = 0;
    char path[CARE_PATH_BYTES];
    ASSERT(row->source != CARE_LOG_SOURCE);
    care_set_segment_path(set, &care_set_segments(set, &count)[row->source], path);
    ERR_TRY(care_segment_open(set, path, set->schema, &segment, err));
    ERR_TRY(
        source_read(segment_source(segment), &ctx, COL_EVENT_ID, row->row / BLOCK_ROWS, &id, err));
    struct str text = vec_str(&id, row->row % BLOCK_ROWS);
    snprintf(out, 128, "%.*s", (int)MIN_OF(text.len, (size_t)100), text.ptr);
    return ERR_OK;
}
