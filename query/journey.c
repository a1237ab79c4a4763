/* query/journey.c
 *
 *    source 0   | 7 7 7 | 9 9 ...      a cursor per source: its scan's block, and a place in it
 *    source 1   | 7 | 8 8 | 9 ...      heads[] holds each cursor's next subject, UINT32_MAX at its end
 *    source 2   | 8 ...
 *
 * The smallest head is the next subject. If one cursor has it and its run ends inside the block,
 * the journey is the block's own arrays, unless the block came as journeys (scan.h): then its wanted
 * rows are picked out of it. Else the runs (one per source, over as many blocks as it takes) are put
 * one after the other; when they follow each other in time, as segments mostly do,
 * that is all, and if not, neighbours are merged until one run is left.
 */
#include "query/journey.h"

#include "query/pred_eval.h"
#include "query/query.h"
#include "query/subject_bits.h"
#include "storage/base/cpu.h"
#include "storage/base/size.h"
#include "storage/read_held.h"

/* The end of a range of subjects is exclusive, so no subject has this number. */
#define NO_SUBJECT UINT32_MAX

/* Late groups: an event carries its cursor and its place in the cursor's block, or, once that has gone, its group. */
#define LATE_PLACE_BITS 16u
#define LATE_CURSORS    (1u << 15)
#define LATE_KNOWN      (1u << 31)
#define RUNS_AHEAD      16u

#define ROWS_AHEAD 512u /* of journeys */
#define LINE_CODES 32u  /* of a cache line; and twice as many bytes of times */
#define ROWS_FEW   8u

_Static_assert(BLOCK_ROWS <= 1u << LATE_PLACE_BITS, "a place fits its bits");

struct cursor {
    struct scan *scan; /* NULL: at its end, or of first events, which come in portions like blocks: */
    struct scan_spec scan_spec;
    struct first_events firsts;
    uint32_t firsts_next;
    const uint32_t *first_lanes[JOURNEY_LANES_MAX]; /* of all of them */
    struct scan_block block;
    const uint32_t *lanes[JOURNEY_LANES_MAX]; /* in the scan's scratch, as the block's arrays */
    struct groups_look look;                  /* late groups: of the block */
    const uint16_t *lasts; /* of the block: the last row of each run, that is, of each subject, */
    uint16_t *lasts_room;
    uint32_t lasts_cap;
    uint32_t run_count;
    uint32_t fetched; /* as journeys: rows before it are near, or on their way */
    uint32_t run; /* and whose rows begin at `pos` */
    uint32_t pos;
    uint64_t taken;   /* rows out of journeys, of which the scan has not been told */
    bool has_ids;     /* its rows may have to be told from others' of their instant by event_id */
    bool is_id_block; /* `ids` and `id_places` are those of the block */
    struct vec ids;
    const uint32_t *id_places;
};

struct rows {
    int64_t *times;
    uint64_t *masks;
    uint32_t *lanes[JOURNEY_LANES_MAX];
    struct str *ids; /* with is_ordered */
    size_t cap;
};

struct journeys {
    struct arena *arena;
    struct groups *lanes[JOURNEY_LANES_MAX];
    uint32_t lane_count;
    bool has_groups; /* they are the first lane */
    bool has_late_groups;
    bool is_ordered;
    bool needs_ids;         /* the journey at hand lies in several sources */
    bool is_deleted;        /* its subject: blocks that come as journeys have their rows */
    struct arena *id_arena; /* its ids */
    struct scan_spec scan_spec;
    struct cursor *cursors;
    uint32_t *heads;
    uint32_t cursor_count;
    size_t *run_ends; /* of the journey at hand, one per source */
    struct rows rows, spare;
};

/* Bit i: byte i of the eight is 1. */
static inline uint64_t bits_of_bytes(const uint8_t *bytes)
{
    uint64_t word = 0;
    memcpy(&word, bytes, sizeof(word));
    return word * UINT64_C(0x0102040810204080) >> 56;
}

/* The last row of each run of equal subjects; returns how many there are. Most rows are like the next one, which is found out of
 * sixty-four at once. */
CPU_CLONES static uint32_t runs_of(const uint32_t *restrict subjects, uint32_t rows,
                                   uint16_t *restrict lasts)
{
    uint32_t count = 0;
    uint32_t begin = 0;
    for (; begin + 64 < rows; begin += 64) {
        const uint32_t *these = subjects + begin;
        uint8_t is_last[64];
        uint64_t word = 0;
        for (size_t i = 0; i < 64; i++) { /* a vector's load, where indexes do not wrap around */
            is_last[i] = these[i] != these[i + 1];
        }
        for (size_t i = 0; i < 64; i += 8) {
            word |= bits_of_bytes(is_last + i) << i;
        }
        for (; word != 0; word &= word - 1) {
            lasts[count++] = (uint16_t)(begin + (uint32_t)__builtin_ctzll(word));
        }
    }
    for (; begin + 1 < rows; begin++) {
        lasts[count] = (uint16_t)begin;
        count += subjects[begin] != subjects[begin + 1];
    }
    lasts[count++] = (uint16_t)(rows - 1);
    return count;
}

/* Where the subjects' rows end: once for the block, since at each end a branch would be a guess. */
static enum err_code cursor_runs(struct cursor *cursor, struct arena *arena, struct err *err)
{
    const uint32_t *subjects = cursor->block.subjects;
    uint32_t rows = cursor->block.count;
    if (cursor->lasts_cap < rows) {
        void *memory = NULL;
        uint32_t cap = MAX_OF(rows, 2 * cursor->lasts_cap);
        ERR_TRY(arena_alloc_raw(arena, cap * sizeof(uint16_t), &memory, err));
        cursor->lasts_room = memory;
        cursor->lasts_cap = cap;
    }
    cursor->lasts = cursor->lasts_room;
    cursor->run_count = runs_of(subjects, rows, cursor->lasts_room);
    cursor->run = 0;
    return ERR_OK;
}

/* The first of the runs that ends at `row` or after it. */
static uint32_t run_at(const struct block_journeys *journeys, uint32_t row)
{
    uint32_t begin = 0;
    uint32_t end = journeys->run_count;
    while (begin < end) {
        uint32_t mid = begin + (end - begin) / 2;
        bool is_before = journeys->lasts[mid] < row;
        begin = is_before ? mid + 1 : begin;
        end = is_before ? end : mid;
    }
    return begin;
}

/* A range of subjects begins and ends with runs. */
static void cursor_journeys(struct cursor *cursor)
{
    const struct block_journeys *journeys = cursor->block.journeys;
    cursor->lasts = journeys->lasts;
    cursor->run = run_at(journeys, cursor->block.first);
    cursor->run_count = run_at(journeys, cursor->block.count - 1) + 1;
    cursor->pos = cursor->block.first;
    cursor->fetched = cursor->pos / LINE_CODES * LINE_CODES;
}

/* Whose rows begin at `pos`, which is in the block. */
static inline uint32_t cursor_subject(const struct cursor *cursor)
{
    return cursor->block.journeys != NULL ? cursor->block.journeys->subjects[cursor->run]
                                          : cursor->block.subjects[cursor->pos];
}

/* The next first events. */
static enum err_code firsts_load(struct journeys *j, uint32_t idx, struct err *err)
{
    struct cursor *cursor = &j->cursors[idx];
    uint32_t begin = cursor->firsts_next;
    uint32_t count = MIN_OF(cursor->firsts.count - begin, BLOCK_ROWS);
    if (count == 0) {
        return ERR_OK;
    }
    cursor->block = (struct scan_block){.count = count,
                                        .subjects = cursor->firsts.subjects + begin,
                                        .times = cursor->firsts.times + begin,
                                        .masks = cursor->firsts.masks + begin};
    cursor->firsts_next = begin + count;
    cursor->pos = 0;
    for (uint32_t k = 0; k < j->lane_count; k++) {
        cursor->lanes[k] = cursor->first_lanes[k] + begin;
    }
    cursor->look.numbers = cursor->lanes[0]; /* late or not, they are known */
    j->heads[idx] = cursor->block.subjects[0];
    return cursor_runs(cursor, j->arena, err);
}

static enum err_code cursor_load(struct journeys *j, uint32_t idx, struct err *err)
{
    struct cursor *cursor = &j->cursors[idx];
    bool has_more = false;

    j->heads[idx] = NO_SUBJECT;
    if (cursor->scan == NULL) {
        return firsts_load(j, idx, err);
    }
    scan_count_matched(cursor->scan, cursor->taken);
    cursor->taken = 0;
    ERR_TRY(scan_next(cursor->scan, &cursor->block, &has_more, err));
    if (!has_more) {
        scan_close(TAKE(cursor->scan));
        return ERR_OK;
    }
    ASSERT(cursor->block.count > 0);
    cursor->pos = 0;
    cursor->is_id_block = false;
    if (cursor->block.journeys != NULL) {
        cursor_journeys(cursor);
    } else {
        ERR_TRY(cursor_runs(cursor, j->arena, err));
    }
    uint32_t k = 0;
    if (j->has_late_groups) {
        ERR_TRY(groups_look_open(j->lanes[k++], cursor->scan, &cursor->block, &cursor->look, err));
    }
    for (; k < j->lane_count; k++) {
        ERR_TRY(groups_of_block(j->lanes[k], cursor->scan, &cursor->block, &cursor->lanes[k], err));
    }
    j->heads[idx] = cursor_subject(cursor);
    return ERR_OK;
}

/* The columns of the lanes' keys, which groups_of_block asks for. */
static enum err_code journeys_cols(struct journeys *j, struct err *err)
{
    uint32_t *cols = NULL;
    uint32_t count = 0;
    ERR_TRY(ARENA_NEW(j->arena, (size_t)j->lane_count * QUERY_KEYS_MAX, &cols, err));
    for (uint32_t l = 0; l < j->lane_count; l++) {
        const struct bound_query *query = groups_query(j->lanes[l]);
        for (uint32_t k = 0; k < query->key_count; k++) {
            cols[count++] = pred_field_col(&query->keys[k].field);
        }
    }
    j->scan_spec.cols = cols;
    j->scan_spec.col_count = count;
    return ERR_OK;
}

static bool overlaps_another(const struct run_task *task, uint32_t idx)
{
    const struct source *source = task->sources[idx];
    for (uint32_t i = 0; i < task->source_count; i++) {
        const struct source *other = task->sources[i];
        if (i != idx && other->time_min_ms <= source->time_max_ms &&
            source->time_min_ms <= other->time_max_ms) {
            return true;
        }
    }
    return false;
}

static void journeys_lanes(struct journeys *j, const struct journeys_spec *spec)
{
    ASSERT(spec->lane_count <= COUNT_OF(spec->lanes));
    j->has_groups = spec->groups != NULL;
    j->has_late_groups = j->has_groups && spec->has_late_groups;
    if (j->has_groups) {
        j->lanes[j->lane_count++] = spec->groups;
    }
    for (uint32_t i = 0; i < spec->lane_count; i++) {
        j->lanes[j->lane_count++] = spec->lanes[i];
    }
}

/* Rows may come as the source keeps them by subject where no more is carried along than late groups, if these can be looked up. */
static void ask_journeys(struct journeys *j)
{
    uint32_t lanes = 0;
    bool can_look = true;
    if (j->has_late_groups) {
        j->scan_spec.journeys_field = groups_look_field(j->lanes[0]);
        can_look = j->scan_spec.journeys_field != NULL;
        lanes = 1;
    }
    j->scan_spec.wants_journeys = !j->is_ordered && can_look && j->lane_count == lanes;
}

/* First events that are expired stand in a cursor of their own, behind those of the sources. */
static enum err_code open_firsts(struct journeys *j, struct query_run_ctx *run,
                                 const struct run_task *task, const struct first_ask *ask,
                                 struct arena *arena, struct io *io, struct err *err)
{
    struct cursor *cursor = &j->cursors[j->cursor_count];
    if (ask == NULL) {
        return ERR_OK;
    }
    ERR_TRY(first_ever_gather(run, task, ask, arena, io, &cursor->firsts, err));
    uint32_t count = cursor->firsts.count;
    if (count == 0) {
        return ERR_OK;
    }
    for (uint32_t k = 0; k < j->lane_count; k++) {
        uint32_t *lane = NULL;
        uint32_t none = 0;
        ERR_TRY(groups_null(j->lanes[k], &none, err));
        ERR_TRY(ARENA_NEW(arena, count, &lane, err));
        for (uint32_t i = 0; i < count; i++) {
            lane[i] = none;
        }
        cursor->first_lanes[k] = lane;
    }
    return cursor_load(j, j->cursor_count++, err);
}

/* Of a source without wanted rows nothing is opened. */
static enum err_code open_cursor(struct journeys *j, struct query_run_ctx *run,
                                 const struct run_task *task, uint32_t idx,
                                 const struct journey_rows *rows, struct io *io, struct err *err)
{
    struct cursor *cursor = &j->cursors[idx];
    cursor->has_ids = j->is_ordered && overlaps_another(task, idx);
    cursor->scan_spec = j->scan_spec;
    if (rows != NULL && !rows[idx].is_all) {
        cursor->scan_spec.ranges = rows[idx].ranges;
        cursor->scan_spec.range_count = rows[idx].count;
        if (rows[idx].count == 0) {
            j->heads[idx] = NO_SUBJECT;
            return ERR_OK;
        }
    }
    ERR_TRY(scan_open(task->sources[idx], &cursor->scan_spec, run, j->arena, io, &cursor->scan,
                      err));
    return cursor_load(j, idx, err);
}

enum err_code journeys_open(struct query_run_ctx *run, const struct run_task *task,
                            const struct journeys_spec *spec, struct arena *arena, struct io *io,
                            struct journeys **ret, struct err *err)
{
    CLEANUP(journeys_closep) struct journeys *j = NULL;

    ERR_TRY(ARENA_NEW(arena, 1, &j, err));
    j->arena = arena;
    j->is_ordered = spec->is_ordered && task->source_count > 1;
    if (j->is_ordered) {
        j->id_arena = arena_create(arena_budget(arena));
    }
    journeys_lanes(j, spec);
    j->scan_spec = (struct scan_spec){
        .query = spec->query,
        .wants = spec->wants,
        .want_count = spec->want_count,
        .subject_begin = task->subject_begin,
        .subject_end = task->subject_end,
        .deleted = run->snapshot->deleted[task->shard],
        .keep = spec->keep,
        .no_index = run_is_reference(run),
    };
    ask_journeys(j);
    ERR_TRY(journeys_cols(j, err));
    ERR_TRY(ARENA_NEW(arena, (size_t)task->source_count + 1, &j->cursors, err));
    ERR_TRY(ARENA_NEW(arena, (size_t)task->source_count + 1, &j->heads, err));
    ERR_TRY(ARENA_NEW(arena, (size_t)task->source_count + 1, &j->run_ends, err));
    j->cursor_count = task->source_count;
    if (j->has_late_groups && j->cursor_count >= LATE_CURSORS) {
        return err_set(err, ERR_LIMIT, "a shard of %u segments: too many", j->cursor_count);
    }
    for (uint32_t i = 0; i < j->cursor_count; i++) {
        ERR_TRY(open_cursor(j, run, task, i, spec->rows, io, err));
    }
    ERR_TRY(open_firsts(j, run, task, spec->firsts, arena, io, err));
    *ret = TAKE(j);
    return ERR_OK;
}

/* A place in a source's column of subjects, which only moves on. */
struct subject_cursor {
    const struct source *source;
    struct read_ctx *read;
    uint32_t block;
    const uint32_t *subjects; /* of the block; NULL: none is read yet */
    uint32_t rows, row;       /* of the block; the place */
};

static enum err_code cursor_block(struct subject_cursor *c, uint32_t block, struct err *err)
{
    struct vec vec = {0};
    read_held_clear(c->read->held);
    arena_rewind(c->read->arena, (struct arena_mark){0});
    ERR_TRY(source_read(c->source, c->read, COL_SUBJECT, block, &vec, err));
    ASSERT(vec.kind == VEC_U32 && vec.present == NULL && vec.rows > 0);
    c->block = block;
    c->subjects = vec.u32;
    c->rows = vec.rows;
    c->row = 0;
    return ERR_OK;
}

/* The first row from `from` on whose subject is not before `subject`: near by, mostly. */
static uint32_t gallop(const uint32_t *subjects, uint32_t from, uint32_t count, uint32_t subject)
{
    uint32_t step = 1;
    uint32_t low = from;
    while (low + step < count && subjects[low + step] < subject) {
        low += step;
        step *= 2;
    }
    uint32_t high = MIN_OF(low + step, count);
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        bool is_before = subjects[mid] < subject;
        low = is_before ? mid + 1 : low;
        high = is_before ? high : mid;
    }
    return low;
}

/* Move on to the first row whose subject is not before `subject`; *ret_row counts from the source's first. */
static enum err_code cursor_seek(struct subject_cursor *c, uint32_t subject, uint32_t *ret_row,
                                 struct err *err)
{
    uint32_t block = c->block;
    int64_t min = 0;
    int64_t max = 0;
    bool is_here = c->subjects != NULL && c->subjects[c->rows - 1] >= subject;
    while (!is_here && block < c->source->block_count) {
        bool is_next = c->subjects != NULL && block == c->block; /* its last row is before */
        bool is_past = is_next || (source_zone(c->source, COL_SUBJECT, block, &min, &max) &&
                                   max < (int64_t)subject);
        if (!is_past) {
            ERR_TRY(cursor_block(c, block, err));
            is_here = c->subjects[c->rows - 1] >= subject;
        }
        block += is_here ? 0 : 1;
    }
    if (is_here) {
        c->row = gallop(c->subjects, c->row, c->rows, subject);
    }
    *ret_row = is_here ? c->block * BLOCK_ROWS + c->row : c->source->row_count;
    return ERR_OK;
}

enum err_code journey_rows_of(struct query_run_ctx *run, const struct source *source,
                              const uint32_t *subjects, uint32_t count, struct arena *arena,
                              struct io *io, struct journey_rows *ret, struct err *err)
{
    CLEANUP(arena_freep) struct arena *scratch = arena_create(arena_budget(arena));
    CLEANUP(read_held_done) struct read_held held = {0};
    struct read_ctx read = {.arena = scratch, .io = io, .held = &held};
    struct subject_cursor cursor = {.source = source, .read = &read};
    struct scan_range *ranges = NULL;
    uint32_t range_count = 0;
    ERR_TRY(ARENA_NEW(arena, count, &ranges, err));
    for (uint32_t i = 0; i < count; i++) {
        uint32_t subject = subjects[i];
        struct scan_range range = {.end = source->row_count};
        ERR_TRY(i % 4096 == 0 ? run_check(run, err) : ERR_OK);
        if (subject < source->subject_first || subject > source->subject_last) {
            continue;
        }
        ERR_TRY(cursor_seek(&cursor, subject, &range.begin, err));
        if (subject < source->subject_last) {
            ERR_TRY(cursor_seek(&cursor, subject + 1, &range.end, err));
        }
        if (range_count > 0 && ranges[range_count - 1].end == range.begin) {
            ranges[range_count - 1].end = range.end;
        } else if (range.begin < range.end) {
            ranges[range_count++] = range;
        }
    }
    run_count(run, 0, &read);
    *ret = (struct journey_rows){.ranges = ranges, .count = range_count};
    return ERR_OK;
}

enum err_code journey_rows_of_bits(struct query_run_ctx *run, const struct source *source,
                                   uint32_t base, const uint64_t *words, size_t word_count,
                                   struct arena *arena, struct io *io, struct journey_rows *ret,
                                   struct err *err)
{
    uint32_t *subjects = NULL;
    uint32_t count = 0;
    ERR_TRY(ARENA_NEW(arena, bits_count(words, word_count), &subjects, err));
    for (size_t w = 0; w < word_count; w++) {
        for (uint64_t bits = words[w]; bits != 0; bits &= bits - 1) {
            subjects[count++] = base + (uint32_t)(w * 64) + (uint32_t)__builtin_ctzll(bits);
        }
    }
    return journey_rows_of(run, source, subjects, count, arena, io, ret, err);
}

void journeys_close(struct journeys *journeys)
{
    for (uint32_t i = 0; i < journeys->cursor_count; i++) {
        struct cursor *cursor = &journeys->cursors[i];
        if (cursor->scan != NULL) {
            scan_count_matched(cursor->scan, cursor->taken);
            scan_close(TAKE(cursor->scan));
        }
    }
    arena_free(TAKE(journeys->id_arena));
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
    for (uint32_t k = 0; k < j->lane_count; k++) {
        ERR_TRY(arena_alloc_raw(j->arena, bytes / 2, (void **)&fresh.lanes[k], err));
    }
    if (j->is_ordered) {
        ERR_TRY(arena_alloc_array(j->arena, cap, sizeof(*fresh.ids), (void **)&fresh.ids, err));
    }
    *rows = fresh;
    return ERR_OK;
}

static void rows_copy(struct rows *to, size_t at, const int64_t *times, const uint64_t *masks,
                      const uint32_t *const *lanes, uint32_t pos, size_t count)
{
    if (count <= ROWS_FEW) { /* a call costs more */
        int64_t *restrict to_times = to->times + at;
        uint64_t *restrict to_masks = to->masks + at;
        for (size_t i = 0; i < count; i++) {
            to_times[i] = times[pos + i];
            to_masks[i] = masks[pos + i];
        }
    } else {
        memcpy(to->times + at, times + pos, count * sizeof(*times));
        memcpy(to->masks + at, masks + pos, count * sizeof(*masks));
    }
    for (uint32_t k = 0; k < JOURNEY_LANES_MAX && to->lanes[k] != NULL; k++) {
        if (lanes[k] != NULL) {
            memcpy(to->lanes[k] + at, lanes[k] + pos, count * sizeof(**lanes));
        }
    }
}

/* Where the rows at `at` and after it are, places from `pos` on of the cursor's block. */
static void rows_late(struct journeys *j, size_t at, const struct cursor *cursor, uint32_t count)
{
    uint32_t *out = j->rows.lanes[0] + at;
    uint32_t first = (uint32_t)(cursor - j->cursors) << LATE_PLACE_BITS | cursor->pos;
    for (uint32_t i = 0; i < count; i++) {
        out[i] = first + i;
    }
}

/* The block goes: rows [at, end) are given their groups. */
static enum err_code rows_known(struct journeys *j, size_t at, size_t end, struct cursor *cursor,
                                struct err *err)
{
    uint32_t *late = j->rows.lanes[0];
    for (; at < end; at++) {
        uint32_t place = late[at] & ((1u << LATE_PLACE_BITS) - 1);
        ERR_TRY(groups_look_at(j->lanes[0], &cursor->look, place, &late[at], err));
        ASSERT_DEBUG(late[at] < LATE_KNOWN);
        late[at] |= LATE_KNOWN;
    }
    return ERR_OK;
}

/* A row's bits, of several spans. */
static inline uint64_t mask_of_row(const struct scan_block *block, uint32_t row)
{
    uint64_t since_ms = block->journeys->since_ms[row];
    uint16_t code = block->journeys->codes[row];
    uint64_t mask = 0;
    for (uint32_t s = 0; s < block->span_count; s++) {
        const struct scan_time_span *span = &block->spans[s];
        bool is_in = span->is_whole | ((since_ms >= span->begin) & (since_ms < span->end));
        mask |= span->mask_of_code[code] & -(uint64_t)is_in;
    }
    return mask;
}

/* Called with constants, so that the loop asks about neither. */
static inline __attribute__((always_inline)) size_t
rows_pick_of(const struct scan_block *block, uint32_t begin, uint32_t end, int64_t *restrict times,
             uint64_t *restrict masks, uint32_t *restrict late, uint32_t place, bool is_simple,
             bool has_late)
{
    const uint32_t *restrict since_ms = block->journeys->since_ms;
    const uint16_t *restrict codes = block->journeys->codes;
    const uint64_t *restrict mask_of_code = block->spans[0].mask_of_code;
    uint64_t base_ms = (uint64_t)block->journeys->base_ms;
    size_t count = 0;
    for (size_t i = begin; i < end; i++) {
        uint64_t mask = is_simple ? mask_of_code[codes[i]] : mask_of_row(block, (uint32_t)i);
        times[count] = (int64_t)(base_ms + since_ms[i]);
        masks[count] = mask;
        if (has_late) {
            late[count] = place | (uint32_t)i;
        }
        count += mask != 0;
    }
    return count;
}

/* The wanted rows among [pos, end) of journeys; there is room for all. Returns how many. */
static size_t rows_pick(struct journeys *j, size_t at, const struct cursor *cursor, uint32_t end)
{
    const struct scan_block *block = &cursor->block;
    int64_t *times = j->rows.times + at;
    uint64_t *masks = j->rows.masks + at;
    uint32_t begin = cursor->pos;
    bool is_simple = block->span_count == 1 && block->spans[0].is_whole;
    if (!j->has_late_groups) {
        return is_simple
                   ? rows_pick_of(block, begin, end, times, masks, NULL, 0, true, false)
                   : rows_pick_of(block, begin, end, times, masks, NULL, 0, false, false);
    }
    uint32_t *late = j->rows.lanes[0] + at;
    uint32_t place = (uint32_t)(cursor - j->cursors) << LATE_PLACE_BITS;
    return is_simple ? rows_pick_of(block, begin, end, times, masks, late, place, true, true)
                     : rows_pick_of(block, begin, end, times, masks, late, place, false, true);
}

/* Copy the ids of rows [pos, end) of the cursor's block, whose vectors do not outlive it. */
static enum err_code rows_ids(struct journeys *j, size_t at, struct cursor *cursor, uint32_t end,
                              struct err *err)
{
    static const struct field event_id = {
        .kind = FIELD_EVENT_ID, .type = COL_STRING, .col = COL_EVENT_ID};
    if (!cursor->is_id_block) {
        ERR_TRY(scan_field(cursor->scan, &event_id, &cursor->ids, &cursor->id_places, err));
        cursor->is_id_block = true;
    }
    for (uint32_t i = cursor->pos; i < end; i++) {
        struct str *id = &j->rows.ids[at + i - cursor->pos];
        *id = (struct str){0};
        if (cursor->id_places[i] != UINT32_MAX) {
            ERR_TRY(arena_str(j->id_arena, vec_str(&cursor->ids, cursor->id_places[i]), id, err));
        }
    }
    return ERR_OK;
}

static enum err_code rows_grow(struct journeys *j, size_t count, size_t more, struct err *err)
{
    struct rows old = j->rows;
    const uint32_t *lanes[JOURNEY_LANES_MAX];
    if (old.cap - count >= more) {
        return ERR_OK;
    }
    ERR_TRY(rows_alloc(j, &j->rows, MAX_OF(count + more, MAX_OF(2 * old.cap, (size_t)1024)), err));
    for (uint32_t k = 0; k < JOURNEY_LANES_MAX; k++) {
        lanes[k] = old.lanes[k];
    }
    if (count > 0) {
        rows_copy(&j->rows, 0, old.times, old.masks, lanes, 0, count);
    }
    if (count > 0 && j->is_ordered) {
        memcpy(j->rows.ids, old.ids, count * sizeof(*old.ids));
    }
    return ERR_OK;
}

/* Put the wanted rows among [pos, end) of the cursor's block behind *count of j->rows, which grows by doubling. */
static enum err_code rows_append(struct journeys *j, size_t *count, struct cursor *cursor,
                                 uint32_t end, struct err *err)
{
    size_t at = *count;
    size_t more = end - cursor->pos;

    ERR_TRY(rows_grow(j, at, more, err));
    if (cursor->block.journeys != NULL) {
        *count += j->is_deleted ? 0 : rows_pick(j, at, cursor, end);
        cursor->taken += *count - at;
    } else {
        rows_copy(&j->rows, at, cursor->block.times, cursor->block.masks, cursor->lanes,
                  cursor->pos, more);
        if (j->has_late_groups) {
            rows_late(j, at, cursor, (uint32_t)more);
        }
        *count += more;
    }
    if (j->has_late_groups && end == cursor->block.count) {
        ERR_TRY(rows_known(j, at, *count, cursor, err));
    }
    if (j->is_ordered && !cursor->has_ids) {
        memset(j->rows.ids + at, 0, more * sizeof(*j->rows.ids));
    }
    return cursor->has_ids && j->needs_ids ? rows_ids(j, at, cursor, end, err) : ERR_OK;
}

/* Of the subject at `pos`. */
static uint32_t run_end(const struct cursor *cursor)
{
    return (uint32_t)cursor->lasts[cursor->run] + 1;
}

/* What comes some way ahead is brought near: rows of journeys; and, with late groups, the codes of a subject's first and last row,
 * for one of its rows will be asked about, and each subject's are somewhere else. (A function of prefetches alone is one that gcc
 * leaves out.) */
static inline void run_leave(struct cursor *cursor, uint32_t end)
{
    const struct block_journeys *journeys = cursor->block.journeys;
    uint32_t near = MIN_OF(end + ROWS_AHEAD, cursor->block.count);
    for (; journeys != NULL && cursor->fetched < near; cursor->fetched += LINE_CODES) {
        __builtin_prefetch(&journeys->codes[cursor->fetched]);
        __builtin_prefetch(&journeys->since_ms[cursor->fetched]);
        __builtin_prefetch(&journeys->since_ms[cursor->fetched + LINE_CODES / 2]);
    }
    const struct groups_look *look = &cursor->look;
    uint32_t ahead = cursor->run + RUNS_AHEAD;
    if (look->numbers == NULL && look->codes != NULL && ahead < cursor->run_count) {
        uint32_t first = cursor->lasts[ahead - 1] + 1u;
        uint32_t last = cursor->lasts[ahead];
        __builtin_prefetch(&look->codes[look->rows == NULL ? first : look->rows[first]]);
        __builtin_prefetch(&look->codes[look->rows == NULL ? last : look->rows[last]]);
    }
    cursor->pos = end;
    cursor->run++;
}

/* Row b may not stand in front of row a. Rows of one instant are in any order where there are no
 * ids. */
static bool row_is_first(const struct rows *rows, size_t a, size_t b)
{
    if (rows->times[a] != rows->times[b] || rows->ids == NULL) {
        return rows->times[a] <= rows->times[b];
    }
    return str_cmp(rows->ids[a], rows->ids[b]) <= 0;
}

/* Merge the sorted runs from[begin, mid) and from[mid, end) into `to`. */
static void merge_two(const struct rows *from, struct rows *to, size_t begin, size_t mid,
                      size_t end)
{
    size_t a = begin;
    size_t b = mid;
    for (size_t out = begin; out < end; out++) {
        bool takes_a = b == end || (a < mid && row_is_first(from, a, b));
        size_t src = takes_a ? a++ : b++;
        to->times[out] = from->times[src];
        to->masks[out] = from->masks[src];
        for (uint32_t k = 0; k < JOURNEY_LANES_MAX && from->lanes[k] != NULL; k++) {
            to->lanes[k][out] = from->lanes[k][src];
        }
        if (from->ids != NULL) {
            to->ids[out] = from->ids[src];
        }
    }
}

static enum err_code merge_runs(struct journeys *j, uint32_t run_count, struct err *err)
{
    size_t *ends = j->run_ends;
    size_t count = ends[run_count - 1];
    bool is_sorted = true;

    for (uint32_t r = 0; r + 1 < run_count; r++) {
        is_sorted = is_sorted && row_is_first(&j->rows, ends[r] - 1, ends[r]);
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

static void journey_lanes(const struct journeys *j, struct journey *journey, uint32_t *const *lanes,
                          const uint32_t *const *block_lanes, uint32_t pos)
{
    for (uint32_t k = lanes == NULL && j->has_late_groups ? 1 : 0; k < j->lane_count; k++) {
        const uint32_t *lane = lanes != NULL ? lanes[k] : block_lanes[k] + pos;
        if (k == 0 && j->has_groups) {
            journey->groups = lane;
        } else {
            journey->lanes[k - (j->has_groups ? 1 : 0)] = lane;
        }
    }
}

/* The journey of a subject that crosses blocks or sources. */
static enum err_code gather(struct journeys *j, uint32_t subject, struct journey *ret,
                            struct err *err)
{
    size_t count = 0;
    size_t before = 0;
    uint32_t run_count = 0;

    if (j->id_arena != NULL) {
        arena_rewind(j->id_arena, (struct arena_mark){0});
    }
    for (uint32_t i = 0; i < j->cursor_count; i++) {
        struct cursor *cursor = &j->cursors[i];
        if (j->heads[i] != subject) {
            continue;
        }
        while (j->heads[i] == subject) {
            uint32_t end = run_end(cursor);
            ERR_TRY(rows_append(j, &count, cursor, end, err));
            run_leave(cursor, end);
            if (end < cursor->block.count) {
                j->heads[i] = cursor_subject(cursor);
            } else {
                ERR_TRY(cursor_load(j, i, err));
            }
        }
        j->run_ends[run_count] = count;
        run_count += count > before;
        before = count;
    }
    ERR_TRY(run_count > 1 ? merge_runs(j, run_count, err) : ERR_OK);
    *ret = (struct journey){
        .subject = subject, .count = count, .times = j->rows.times, .masks = j->rows.masks};
    journey_lanes(j, ret, j->rows.lanes, NULL, 0);
    return ERR_OK;
}

/* The next subject's journey; without events where it has none of the wanted, or is deleted. */
static enum err_code journeys_step(struct journeys *j, struct journey *ret, bool *ret_more,
                                   struct err *err)
{
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
    j->is_deleted = j->scan_spec.wants_journeys && j->scan_spec.deleted != NULL &&
                    roaring_bitmap_contains(j->scan_spec.deleted, subject);
    j->needs_ids = holders > 1;
    if (holders == 1 && cursor->block.journeys == NULL) {
        uint32_t end = run_end(cursor);
        if (end < cursor->block.count) {
            uint32_t pos = cursor->pos;
            run_leave(cursor, end);
            j->heads[first] = cursor_subject(cursor);
            *ret = (struct journey){
                .subject = subject,
                .count = end - pos,
                .times = cursor->block.times + pos,
                .masks = cursor->block.masks + pos,
                .place = first << LATE_PLACE_BITS | pos,
            };
            journey_lanes(j, ret, NULL, cursor->lanes, pos);
            return ERR_OK;
        }
    }
    return gather(j, subject, ret, err);
}

enum err_code journeys_next(struct journeys *journeys, struct journey *ret, bool *ret_more,
                            struct err *err)
{
    ERR_TRY(journeys_step(journeys, ret, ret_more, err));
    while (*ret_more && ret->count == 0) {
        ERR_TRY(journeys_step(journeys, ret, ret_more, err));
    }
    return ERR_OK;
}

enum err_code journey_group(struct journeys *journeys, const struct journey *journey, size_t i,
                            uint32_t *ret, struct err *err)
{
    uint32_t late = journey->groups == NULL ? journey->place + (uint32_t)i : journey->groups[i];
    if (late >= LATE_KNOWN) {
        *ret = late - LATE_KNOWN;
        return ERR_OK;
    }
    struct cursor *cursor = &journeys->cursors[late >> LATE_PLACE_BITS];
    return groups_look_at(journeys->lanes[0], &cursor->look,
                          late & ((1u << LATE_PLACE_BITS) - 1), ret, err);
}
