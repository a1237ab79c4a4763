/* query/journey.c
 *
 *    source 0   | 7 7 7 | 9 9 ...      a cursor per source: its scan's block, and a place in it
 *    source 1   | 7 | 8 8 | 9 ...      heads[] holds each cursor's next subject, and ends at
 * UINT32_MAX source 2   | 8 ...
 *
 * The smallest head is the next subject. If one cursor has it and its run ends inside the block,
 * the journey is the block's own arrays. Else the runs (one per source, over as many blocks as it
 * takes) are put one after the other; when they follow each other in time, as segments mostly do,
 * that is all, and if not, neighbours are merged until one run is left.
 */
#include "query/journey.h"

#include "query/pred_eval.h"
#include "query/query.h"
#include "storage/base/size.h"

/* The end of a range of subjects is exclusive, so no subject has this number. */
#define NO_SUBJECT UINT32_MAX

struct cursor {
    struct scan *scan; /* NULL: at its end */
    struct scan_block block;
    const uint32_t *groups; /* in the scan's scratch, as the block's arrays */
    uint32_t pos;
};

struct rows {
    int64_t *times;
    uint64_t *masks;
    uint32_t *groups;
    size_t cap;
};

struct journeys {
    struct arena *arena;
    struct groups *groups;
    struct scan_spec scan_spec;
    struct cursor *cursors;
    uint32_t *heads;
    uint32_t cursor_count;
    size_t *run_ends; /* of the journey at hand, one per source */
    struct rows rows, spare;
};

static enum err_code cursor_load(struct journeys *j, uint32_t idx, struct err *err)
{
    struct cursor *cursor = &j->cursors[idx];
    bool has_more = false;

    j->heads[idx] = NO_SUBJECT;
    ERR_TRY(scan_next(cursor->scan, &cursor->block, &has_more, err));
    if (!has_more) {
        scan_close(TAKE(cursor->scan));
        return ERR_OK;
    }
    ASSERT(cursor->block.count > 0);
    cursor->pos = 0;
    if (j->groups != NULL) {
        ERR_TRY(groups_of_block(j->groups, cursor->scan, &cursor->block, &cursor->groups, err));
    }
    j->heads[idx] = cursor->block.subjects[0];
    return ERR_OK;
}

/* The columns of the breakdown keys, which groups_of_block asks for. */
static enum err_code journeys_cols(struct journeys *j, struct err *err)
{
    const struct bound_query *query = j->scan_spec.query;
    uint32_t *cols = NULL;
    if (j->groups == NULL) {
        return ERR_OK;
    }
    ERR_TRY(ARENA_NEW(j->arena, query->key_count, &cols, err));
    for (uint32_t k = 0; k < query->key_count; k++) {
        cols[k] = pred_field_col(&query->keys[k].field);
    }
    j->scan_spec.cols = cols;
    j->scan_spec.col_count = query->key_count;
    return ERR_OK;
}

enum err_code journeys_open(struct query_run_ctx *run, const struct run_task *task,
                            const struct journeys_spec *spec, struct arena *arena, struct io *io,
                            struct journeys **ret, struct err *err)
{
    CLEANUP(journeys_closep) struct journeys *j = NULL;

    ERR_TRY(ARENA_NEW(arena, 1, &j, err));
    j->arena = arena;
    j->groups = spec->groups;
    j->scan_spec = (struct scan_spec){
        .query = spec->query,
        .wants = spec->wants,
        .want_count = spec->want_count,
        .subject_begin = task->subject_begin,
        .subject_end = task->subject_end,
        .deleted = run->snapshot->deleted[task->shard],
        .no_index = run->request != NULL && run->request->is_reference_path,
    };
    ERR_TRY(journeys_cols(j, err));
    ERR_TRY(ARENA_NEW(arena, task->source_count, &j->cursors, err));
    ERR_TRY(ARENA_NEW(arena, task->source_count, &j->heads, err));
    ERR_TRY(ARENA_NEW(arena, task->source_count, &j->run_ends, err));
    j->cursor_count = task->source_count;
    for (uint32_t i = 0; i < j->cursor_count; i++) {
        ERR_TRY(
            scan_open(task->sources[i], &j->scan_spec, run, arena, io, &j->cursors[i].scan, err));
        ERR_TRY(cursor_load(j, i, err));
    }
    *ret = TAKE(j);
    return ERR_OK;
}

void journeys_close(struct journeys *journeys)
{
    for (uint32_t i = 0; i < journeys->cursor_count; i++) {
        scan_closep(&journeys->cursors[i].scan);
    }
}

static enum err_code rows_alloc(struct journeys *j, struct rows *rows, size_t cap, struct err *err)
{
    struct rows fresh = {.cap = cap};
    size_t bytes = 0;

    if (!size_mul(cap, sizeof(int64_t), &bytes)) {
        return err_set(err, ERR_LIMIT, "a journey of %zu events: too long", cap);
    }
    ERR_TRY(arena_alloc_raw(j->arena, bytes, (void **)&fresh.times, err));
    ERR_TRY(arena_alloc_raw(j->arena, bytes, (void **)&fresh.masks, err));
    if (j->groups != NULL) {
        ERR_TRY(arena_alloc_raw(j->arena, bytes / 2, (void **)&fresh.groups, err));
    }
    *rows = fresh;
    return ERR_OK;
}

static void rows_copy(struct rows *to, size_t at, const int64_t *times, const uint64_t *masks,
                      const uint32_t *groups, size_t count)
{
    memcpy(to->times + at, times, count * sizeof(*times));
    memcpy(to->masks + at, masks, count * sizeof(*masks));
    if (groups != NULL) {
        memcpy(to->groups + at, groups, count * sizeof(*groups));
    }
}

/* Put rows [pos, end) of the cursor's block at `at` of j->rows, which grows by doubling. */
static enum err_code rows_append(struct journeys *j, size_t at, const struct cursor *cursor,
                                 uint32_t end, struct err *err)
{
    size_t more = end - cursor->pos;
    uint32_t pos = cursor->pos;

    if (j->rows.cap - at < more) {
        struct rows old = j->rows;
        size_t cap = MAX_OF(at + more, MAX_OF(2 * old.cap, (size_t)1024));
        ERR_TRY(rows_alloc(j, &j->rows, cap, err));
        if (at > 0) {
            rows_copy(&j->rows, 0, old.times, old.masks, old.groups, at);
        }
    }
    rows_copy(&j->rows, at, cursor->block.times + pos, cursor->block.masks + pos,
              j->groups == NULL ? NULL : cursor->groups + pos, more);
    return ERR_OK;
}

static uint32_t run_end(const struct cursor *cursor, uint32_t subject)
{
    uint32_t end = cursor->pos + 1;
    while (end < cursor->block.count && cursor->block.subjects[end] == subject) {
        end++;
    }
    return end;
}

/* Merge the sorted runs from[begin, mid) and from[mid, end) into `to`. */
static void merge_two(const struct rows *from, struct rows *to, size_t begin, size_t mid,
                      size_t end)
{
    size_t a = begin;
    size_t b = mid;
    for (size_t out = begin; out < end; out++) {
        bool takes_a = b == end || (a < mid && from->times[a] <= from->times[b]);
        size_t src = takes_a ? a++ : b++;
        to->times[out] = from->times[src];
        to->masks[out] = from->masks[src];
        if (from->groups != NULL) {
            to->groups[out] = from->groups[src];
        }
    }
}

static enum err_code merge_runs(struct journeys *j, uint32_t run_count, struct err *err)
{
    size_t *ends = j->run_ends;
    size_t count = ends[run_count - 1];
    bool is_sorted = true;

    for (uint32_t r = 0; r + 1 < run_count; r++) {
        is_sorted = is_sorted && j->rows.times[ends[r] - 1] <= j->rows.times[ends[r]];
    }
    if (is_sorted) {
        return ERR_OK;
    }
    if (j->spare.cap < count) {
        ERR_TRY(rows_alloc(j, &j->spare, j->rows.cap, err));
    }
    while (run_count > 1) {
        uint32_t out = 0;
        size_t begin = 0;
        for (uint32_t r = 0; r < run_count; r += 2) {
            size_t mid = ends[r];
            size_t end = r + 1 < run_count ? ends[r + 1] : mid;
            merge_two(&j->rows, &j->spare, begin, mid, end);
            ends[out++] = end;
            begin = end;
        }
        run_count = out;
        struct rows swap = j->rows;
        j->rows = j->spare;
        j->spare = swap;
    }
    return ERR_OK;
}

/* The journey of a subject that crosses blocks or sources. */
static enum err_code gather(struct journeys *j, uint32_t subject, struct journey *ret,
                            struct err *err)
{
    size_t count = 0;
    uint32_t run_count = 0;

    for (uint32_t i = 0; i < j->cursor_count; i++) {
        struct cursor *cursor = &j->cursors[i];
        if (j->heads[i] != subject) {
            continue;
        }
        while (j->heads[i] == subject) {
            uint32_t end = run_end(cursor, subject);
            ERR_TRY(rows_append(j, count, cursor, end, err));
            count += end - cursor->pos;
            cursor->pos = end;
            if (end < cursor->block.count) {
                j->heads[i] = cursor->block.subjects[end];
            } else {
                ERR_TRY(cursor_load(j, i, err));
            }
        }
        j->run_ends[run_count++] = count;
    }
    ERR_TRY(merge_runs(j, run_count, err));
    *ret = (struct journey){subject, count, j->rows.times, j->rows.masks, j->rows.groups};
    return ERR_OK;
}

enum err_code journeys_next(struct journeys *journeys, struct journey *ret, bool *ret_more,
                            struct err *err)
{
    struct journeys *j = journeys;
    uint32_t subject = NO_SUBJECT;
    uint32_t first = 0; /* the first cursor that has it */
    uint32_t holders = 0;

    for (uint32_t i = 0; i < j->cursor_count; i++) {
        if (j->heads[i] < subject) {
            subject = j->heads[i];
            first = i;
            holders = 0;
        }
        holders += j->heads[i] == subject ? 1 : 0;
    }
    *ret_more = subject != NO_SUBJECT;
    if (subject == NO_SUBJECT) {
        return ERR_OK;
    }
    struct cursor *cursor = &j->cursors[first];
    if (holders == 1) {
        uint32_t end = run_end(cursor, subject);
        if (end < cursor->block.count) {
            uint32_t pos = cursor->pos;
            cursor->pos = end;
            j->heads[first] = cursor->block.subjects[end];
            *ret = (struct journey){
                .subject = subject,
                .count = end - pos,
                .times = cursor->block.times + pos,
                .masks = cursor->block.masks + pos,
                .groups = j->groups == NULL ? NULL : cursor->groups + pos,
            };
            return ERR_OK;
        }
    }
    return gather(j, subject, ret, err);
}
