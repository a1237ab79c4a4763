/* query/retention_beside.c - see retention_beside.h. */
#include "query/retention_beside.h"

#include "storage/base/size.h"
#include "storage/read_held.h"

#define PREFETCH_ROWS 16u

/* A source's rows of one block: whose, and when. */
struct row_block {
    const struct source *source;
    struct read_ctx *read;
    uint32_t block;
    const uint32_t *subjects;
    const int64_t *times;
    uint32_t rows;
};

static enum err_code row_block_read(struct row_block *rows, uint32_t block, struct err *err)
{
    struct vec subjects = {0};
    struct vec times = {0};
    ERR_TRY(source_read(rows->source, rows->read, COL_SUBJECT, block, &subjects, err));
    ERR_TRY(source_read(rows->source, rows->read, COL_EVENT_TIME, block, &times, err));
    rows->block = block;
    rows->subjects = subjects.u32;
    rows->times = times.i64;
    rows->rows = times.rows;
    return ERR_OK;
}

/* Whether row `row` of the block is of the subject and in the slot. */
static bool is_neighbour(const struct beside_ask *ask, const struct row_block *rows, uint32_t row,
                         uint32_t subject, uint32_t slot)
{
    const int64_t *begins = ask->spec->begins;
    int64_t begin_ms = MAX_OF(begins[slot], ask->run->snapshot->expired_before_ms);
    return rows->subjects[row] == subject && rows->times[row] >= begin_ms &&
           rows->times[row] < begins[slot + 1];
}

/* The row before the block's first, or behind its last: in the next block. */
static enum err_code is_neighbour_beyond(const struct beside_ask *ask, struct row_block rows,
                                         bool is_before, uint32_t subject, uint32_t slot, bool *ret,
                                         struct err *err)
{
    *ret = false;
    if (is_before ? rows.block == 0 : rows.block + 1 == rows.source->block_count) {
        return ERR_OK;
    }
    struct arena_mark mark = arena_mark(rows.read->arena);
    ERR_TRY(row_block_read(&rows, is_before ? rows.block - 1 : rows.block + 1, err));
    *ret = is_neighbour(ask, &rows, is_before ? rows.rows - 1 : 0, subject, slot);
    arena_rewind(rows.read->arena, mark);
    return ERR_OK;
}

static enum err_code look_beside(const struct beside_ask *ask, const struct row_block *rows,
                                 uint32_t row, uint32_t subject, uint32_t slot, struct err *err)
{
    bool is_found = false;
    if (row > 0) {
        is_found = is_neighbour(ask, rows, row - 1, subject, slot);
    } else {
        ERR_TRY(is_neighbour_beyond(ask, *rows, true, subject, slot, &is_found, err));
    }
    if (!is_found && row + 1 < rows->rows) {
        is_found = is_neighbour(ask, rows, row + 1, subject, slot);
    } else if (!is_found) {
        ERR_TRY(is_neighbour_beyond(ask, *rows, false, subject, slot, &is_found, err));
    }
    if (is_found) {
        ask->take(ask->arg, slot, &subject, 1);
    }
    return ERR_OK;
}

/* The start rows of a block. */
static enum err_code look_in_block(const struct beside_ask *ask, struct row_block *rows,
                                   const struct scan_block *block, struct err *err)
{
    const struct retention_spec *spec = ask->spec;
    uint32_t slot = 0;
    ERR_TRY(row_block_read(rows, block->block, err));
    for (uint32_t i = 0; i < block->count; i++) {
        uint32_t subject = block->subjects[i];
        int64_t ts = block->times[i];
        if (i + PREFETCH_ROWS < block->count) { /* rows of one event lie far apart */
            __builtin_prefetch(&rows->times[block->rows[i + PREFETCH_ROWS]]);
            __builtin_prefetch(&rows->subjects[block->rows[i + PREFETCH_ROWS]]);
        }
        if (ts < spec->begins[slot] || ts >= spec->begins[slot + 1]) {
            slot = civil_bucket_idx(spec->begins, spec->slot_count, ts);
        }
        if (ask->is_asked(ask->arg, slot, subject)) {
            ERR_TRY(look_beside(ask, rows, block->rows[i], subject, slot, err));
        }
    }
    return ERR_OK;
}

static enum err_code look_in_source(const struct beside_ask *ask, const struct source *source,
                                    struct err *err)
{
    const struct run_task *task = ask->task;
    const struct scan_want want = {ask->run->query->retention.start_selector, ask->spec->from_ms,
                                   ask->spec->to_ms};
    const struct scan_spec scan_spec = {
        .query = ask->run->query,
        .wants = &want,
        .want_count = 1,
        .subject_begin = task->subject_begin,
        .subject_end = task->subject_end,
        .deleted = ask->run->snapshot->deleted[task->shard],
    };
    CLEANUP(arena_freep) struct arena *scratch = arena_create(arena_budget(ask->arena));
    CLEANUP(read_held_done) struct read_held held = {0};
    CLEANUP(scan_closep) struct scan *scan = NULL;
    struct read_ctx read = {.arena = scratch, .io = ask->io, .held = &held};
    struct row_block rows = {.source = source, .read = &read};
    ERR_TRY(scan_open(source, &scan_spec, ask->run, ask->arena, ask->io, &scan, err));
    struct arena_mark mark = arena_mark(scratch);
    while (true) {
        struct scan_block block = {0};
        bool has_more = false;
        ERR_TRY(scan_next(scan, &block, &has_more, err));
        if (!has_more) {
            return ERR_OK;
        }
        ERR_TRY(look_in_block(ask, &rows, &block, err));
        read_held_clear(&held);
        arena_rewind(scratch, mark);
    }
}

enum err_code retention_beside_edges(const struct query_run_ctx *run,
                                     const struct retention_spec *spec, struct arena *arena,
                                     int64_t **ret, struct err *err)
{
    ERR_TRY(ARENA_NEW(arena, (size_t)spec->cohort_count + 1, ret, err));
    for (uint32_t s = 0; s <= spec->cohort_count; s++) {
        (*ret)[s] = MAX_OF(spec->begins[s], run->snapshot->expired_before_ms);
    }
    return ERR_OK;
}

enum err_code retention_beside(const struct beside_ask *ask, struct err *err)
{
    const struct repeats_taker taker = {.arg = ask->arg, .take = ask->take};
    CLEANUP(arena_freep) struct arena *scratch = arena_create(arena_budget(ask->arena));
    CLEANUP(read_held_done) struct read_held held = {0};
    struct read_ctx read = {.arena = scratch, .io = ask->io, .held = &held};
    int64_t *edges = NULL;
    ERR_TRY(retention_beside_edges(ask->run, ask->spec, ask->arena, &edges, err));
    for (uint32_t s = 0; s < ask->task->source_count; s++) {
        const struct source *source = ask->task->sources[s];
        bool is_told = false;
        ERR_TRY(
            source_repeats(source, &read, edges, ask->spec->cohort_count, &taker, &is_told, err));
        read_held_clear(&held);
        if (!is_told) {
            ERR_TRY(look_in_source(ask, source, err));
        }
    }
    return ERR_OK;
}
