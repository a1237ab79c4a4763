/* query/scan.c - from a source's blocks to the rows that a query is about.
 *
 *     source: time range, names in the dictionary         no alternative left: pruned
 *       block: zone of event_time                         none overlaps:        pruned by time
 *         posting lists of the named events, or all rows    none:                 pruned by index
 *           subject, time: ranges, deleted subjects    )
 *           `where`                                    )  each on the rows that the one before left
 *           predicates of the alternatives             )
 *             rows, subjects, times, masks
 *
 * An alternative is one (want, event) of a selector. Events that the query names get slots 1, 2,
 * ...; slot 0 is any other event. Where more than one event takes part, each candidate row carries
 * its slot, found from the posting lists, so that the column of event names is never read.
 *
 * The reference path (no_index) takes none of the shortcuts: all rows of all blocks, names compared
 * as text, subjects by value. Both must give the same rows.
 */
#include "query/scan.h"

#include "query/pred_eval.h"
#include "query/run.h"
#include "storage/base/size.h"
#include "storage/read_ahead.h"

#define SLOT_OTHER 0u
#define SLOT_ANY   UINT16_MAX

#define AHEAD_BYTES_MAX  (4u << 20) /* fetched and not yet read; journeys have a scan per source */
#define AHEAD_BLOCKS_MAX 8u /* that names are fetched of: then it is known what else is needed */

struct scan_alt {
    uint64_t bit;
    int64_t begin_ms, end_ms;
    uint16_t slot; /* or SLOT_ANY */
    const struct pred *pred;
    bool is_active; /* may match in the current block */
    bool is_whole;  /* the current block lies within [begin, end) */
};

struct scan_slot {
    struct str event;
    uint32_t code;
};

struct scan_col {
    uint32_t col;
    struct vec vec;
};

/* What is fetched ahead: of the blocks before `end`, those that have candidates. */
struct scan_ahead {
    struct read_ahead held;
    uint32_t end;         /* the first block not looked at */
    uint64_t candidates;  /* bit b: block b, of those since the last look, has some */
    uint64_t with_fields; /* bit b: and what scan_field will ask for is fetched */
    bool is_field_likely; /* in the last block a row passed its predicates */
    uint32_t cols_max;    /* of one block */
};

/* The rows that are still in question; parallel arrays. */
struct candidates {
    uint32_t count;
    uint16_t *rows;
    uint16_t *slots; /* NULL: all rows are of the one event in question */
    const uint32_t *subjects;
    const int64_t *times;
    uint64_t *masks;
};

struct scan {
    const struct source *source;
    const struct scan_spec *spec;
    struct query_run_ctx *run;
    struct arena *keep;
    struct arena *scratch;
    struct arena_mark mark;
    struct read_ctx read;
    struct pred_env env;

    struct scan_alt *alts;
    uint32_t alt_count;
    struct scan_slot *slots; /* slot s is slots[s - 1] */
    uint32_t slot_count;
    uint32_t row_begin, row_end; /* of the subject range */
    uint32_t block, block_end;   /* next block to look at */

    struct scan_ahead ahead;

    uint32_t block_now;
    struct scan_col *cols; /* of the current block, as asked for */
    uint32_t col_count, col_cap;
    struct scan_block now;
    struct scan_counters counters;
};

/* ---- columns of the current block ---- */

static enum err_code scan_raw(struct scan *scan, size_t count, size_t size, void **ret,
                              struct err *err)
{
    return arena_alloc_raw(scan->scratch, count * size, ret, err);
}

static enum err_code scan_col(struct scan *scan, uint32_t col, struct vec *ret, struct err *err)
{
    for (uint32_t i = 0; i < scan->col_count; i++) {
        if (scan->cols[i].col == col) {
            *ret = scan->cols[i].vec;
            return ERR_OK;
        }
    }
    struct vec vec = {.kind = VEC_ABSENT, .rows = source_block_rows(scan->source, scan->block_now)};
    if (col != UINT32_MAX) {
        ERR_TRY(source_read(scan->source, &scan->read, col, scan->block_now, &vec, err));
    }
    if (scan->col_count == scan->col_cap) {
        uint32_t cap = scan->col_cap == 0 ? 16 : scan->col_cap * 2;
        struct scan_col *more = NULL;
        ERR_TRY(ARENA_NEW(scan->keep, cap, &more, err));
        if (scan->col_count > 0) {
            memcpy(more, scan->cols, scan->col_count * sizeof(*more));
        }
        scan->cols = more;
        scan->col_cap = cap;
    }
    scan->cols[scan->col_count++] = (struct scan_col){.col = col, .vec = vec};
    *ret = vec;
    return ERR_OK;
}

static enum err_code scan_env_vec(void *ctx, const struct field *field, struct vec *ret,
                                  struct err *err)
{
    return scan_col(ctx, pred_field_col(field), ret, err);
}

enum err_code scan_field(struct scan *scan, const struct field *field, struct vec *ret_vec,
                         const uint32_t **ret_places, struct err *err)
{
    struct vec vec = {0};
    ERR_TRY(scan_col(scan, pred_field_col(field), &vec, err));
    void *memory = NULL;
    ERR_TRY(scan_raw(scan, scan->now.count, sizeof(uint32_t), &memory, err));
    uint32_t *places = memory;
    if (vec.kind == VEC_ABSENT) {
        memset(places, 0xff, scan->now.count * sizeof(uint32_t));
    } else {
        vec_places(&vec, scan->now.rows, scan->now.count, places);
    }
    *ret_vec = vec;
    *ret_places = places;
    return ERR_OK;
}

/* ---- opening ---- */

/* The slot of an event name, added when new; *ret_found false where the source has no such event.
 */
static enum err_code scan_slot_of(struct scan *scan, struct str event, bool *ret_found,
                                  uint16_t *ret_slot, struct err *err)
{
    for (uint32_t i = 0; i < scan->slot_count; i++) {
        if (str_eq(scan->slots[i].event, event)) {
            *ret_found = true;
            *ret_slot = (uint16_t)(i + 1);
            return ERR_OK;
        }
    }
    uint32_t code = 0;
    bool is_found = scan->spec->no_index;
    if (!is_found) {
        ERR_TRY(
            source_code(scan->source, &scan->read, COL_EVENT_NAME, event, &is_found, &code, err));
    }
    *ret_found = is_found;
    if (is_found) {
        if (scan->slot_count + 1 >= SLOT_ANY) {
            return err_set(err, ERR_LIMIT, "a query names at most %u events", SLOT_ANY - 2u);
        }
        scan->slots[scan->slot_count++] = (struct scan_slot){.event = event, .code = code};
        *ret_slot = (uint16_t)scan->slot_count;
    }
    return ERR_OK;
}

static enum err_code scan_compile_want(struct scan *scan, const struct scan_want *want,
                                       struct err *err)
{
    const struct source *source = scan->source;
    const struct selector *selector = &scan->spec->query->selectors[want->selector];
    /* The one place where rows that are expired and still in the source leave every question. */
    int64_t begin_ms = MAX_OF(want->begin_ms, scan->run->snapshot->expired_before_ms);
    if (begin_ms >= want->end_ms ||
        (!scan->spec->no_index &&
         (source->time_max_ms < begin_ms || source->time_min_ms >= want->end_ms))) {
        return ERR_OK;
    }
    for (uint32_t i = 0; i < selector->alt_count; i++) {
        const struct alt *alt = &selector->alts[i];
        if (alt->pred != NULL && alt->pred->kind == PRED_FALSE && !scan->spec->no_index) {
            continue;
        }
        uint16_t slot = SLOT_ANY;
        bool is_found = true;
        if (alt->kind == ALT_NAMED) {
            ERR_TRY(scan_slot_of(scan, alt->event, &is_found, &slot, err));
        }
        if (is_found) {
            scan->alts[scan->alt_count++] = (struct scan_alt){
                .bit = UINT64_C(1) << want->selector,
                .begin_ms = begin_ms,
                .end_ms = want->end_ms,
                .slot = slot,
                .pred = alt->pred,
            };
        }
    }
    return ERR_OK;
}

static enum err_code scan_compile(struct scan *scan, struct err *err)
{
    const struct scan_spec *spec = scan->spec;
    size_t alt_max = 0;
    for (uint32_t i = 0; i < spec->want_count; i++) {
        ASSERT(spec->wants[i].selector < QUERY_SELECTORS_MAX);
        alt_max += spec->query->selectors[spec->wants[i].selector].alt_count;
    }
    ERR_TRY(ARENA_NEW(scan->keep, alt_max, &scan->alts, err));
    ERR_TRY(ARENA_NEW(scan->keep, alt_max, &scan->slots, err));
    const struct pred *where = spec->query->where;
    if (where == NULL || where->kind != PRED_FALSE || spec->no_index) {
        for (uint32_t i = 0; i < spec->want_count; i++) {
            ERR_TRY(scan_compile_want(scan, &spec->wants[i], err));
        }
    }
    scan->counters.is_source_pruned = scan->alt_count == 0;
    return ERR_OK;
}

static enum err_code scan_compile_rows(struct scan *scan, struct err *err)
{
    const struct source *source = scan->source;
    const struct scan_spec *spec = scan->spec;
    scan->row_begin = 0;
    scan->row_end = source->row_count;
    if (!spec->no_index && spec->subject_begin > 0) {
        ERR_TRY(
            source_subject_row(source, &scan->read, spec->subject_begin, &scan->row_begin, err));
    }
    if (!spec->no_index && spec->subject_end != UINT32_MAX) {
        ERR_TRY(source_subject_row(source, &scan->read, spec->subject_end, &scan->row_end, err));
    }
    if (scan->row_begin < scan->row_end) {
        scan->block = scan->row_begin / BLOCK_ROWS;
        scan->block_end = (scan->row_end - 1) / BLOCK_ROWS + 1;
        scan->counters.blocks_total = scan->block_end - scan->block;
    }
    return ERR_OK;
}

static uint32_t scan_pred_size(const struct pred *pred)
{
    uint32_t size = pred == NULL ? 0 : 1;
    for (uint32_t i = 0; pred != NULL && i < pred->kid_count; i++) {
        size += scan_pred_size(pred->kids[i]);
    }
    return size;
}

static void scan_start_ahead(struct scan *scan)
{
    const struct scan_spec *spec = scan->spec;
    struct scan_ahead *ahead = &scan->ahead;
    bool has_pred = spec->query->where != NULL;
    ahead->cols_max = 2 + spec->col_count + scan_pred_size(spec->query->where);
    for (uint32_t i = 0; i < scan->alt_count; i++) {
        ahead->cols_max += scan_pred_size(scan->alts[i].pred);
        has_pred |= scan->alts[i].pred != NULL;
    }
    ahead->is_field_likely = !has_pred;
    ahead->end = scan->block;
    ahead->held =
        (struct read_ahead){.bytes_max = AHEAD_BYTES_MAX, .budget = arena_budget(scan->keep)};
    scan->read.ahead = &ahead->held;
}

static enum err_code scan_start(struct scan *scan, struct err *err)
{
    ERR_TRY(scan_compile(scan, err));
    if (!scan->counters.is_source_pruned) {
        run_mark_source(scan->run, scan->source);
        ERR_TRY(scan_compile_rows(scan, err));
        if (!scan->spec->no_index && !scan->source->is_memory) {
            scan_start_ahead(scan);
        }
    }
    scan->mark = arena_mark(scan->scratch);
    return ERR_OK;
}

enum err_code scan_open(const struct source *source, const struct scan_spec *spec,
                        struct query_run_ctx *run, struct arena *arena, struct io *io,
                        struct scan **ret, struct err *err)
{
    /* Two arenas of its own, on the same budget: what the caller allocates while it walks the
     * blocks must survive the rewind of each block. */
    struct arena *keep = arena_create(arena_budget(arena));
    struct scan *scan = NULL;
    if (ARENA_NEW(keep, 1, &scan, err) != ERR_OK) {
        arena_free(keep);
        return err->code;
    }
    scan->source = source;
    scan->spec = spec;
    scan->run = run;
    scan->keep = keep;
    scan->scratch = arena_create(arena_budget(arena));
    scan->read = (struct read_ctx){.arena = scan->scratch, .io = io};
    scan->env =
        (struct pred_env){.vec = scan_env_vec, .ctx = scan, .keep = keep, .scratch = scan->scratch};
    if (scan_start(scan, err) != ERR_OK) {
        scan_close(scan);
        return err->code;
    }
    *ret = scan;
    return ERR_OK;
}

void scan_close(struct scan *scan)
{
    if (scan == NULL) {
        return;
    }
    run_count(scan->run, scan->counters.rows_read, &scan->read);
    read_ahead_done(&scan->ahead.held);
    arena_free(scan->scratch);
    arena_free(scan->keep); /* and the scan with it */
}

struct scan_counters scan_counters(const struct scan *scan)
{
    return scan->counters;
}

struct read_ctx *scan_read_ctx(struct scan *scan)
{
    return &scan->read;
}

/* ---- candidates of a block ---- */

/* Which alternatives can match in the block by its times; false when none. */
static bool scan_activate(struct scan *scan, uint32_t block)
{
    int64_t min_ms = scan->source->time_min_ms;
    int64_t max_ms = scan->source->time_max_ms;
    bool is_any = false;
    if (!scan->spec->no_index) {
        int64_t zone_min = 0;
        int64_t zone_max = 0;
        if (source_zone(scan->source, COL_EVENT_TIME, block, &zone_min, &zone_max)) {
            min_ms = zone_min;
            max_ms = zone_max;
        }
    }
    for (uint32_t i = 0; i < scan->alt_count; i++) {
        struct scan_alt *alt = &scan->alts[i];
        alt->is_active = scan->spec->no_index || (alt->begin_ms <= max_ms && alt->end_ms > min_ms);
        alt->is_whole = !scan->spec->no_index && alt->begin_ms <= min_ms && alt->end_ms > max_ms;
        is_any |= alt->is_active;
    }
    return is_any;
}

/* Every row of the block within the subject range. */
static enum err_code scan_all_rows(struct scan *scan, struct candidates *cand, struct err *err)
{
    uint32_t block_begin = scan->block_now * BLOCK_ROWS;
    uint32_t block_rows = source_block_rows(scan->source, scan->block_now);
    uint32_t begin = scan->row_begin > block_begin ? scan->row_begin - block_begin : 0;
    uint32_t end = MIN_OF(block_rows, scan->row_end - block_begin);
    void *memory = NULL;
    ERR_TRY(scan_raw(scan, end - begin, sizeof(uint16_t), &memory, err));
    cand->rows = memory;
    cand->count = end - begin;
    for (uint32_t i = 0; i < cand->count; i++) {
        cand->rows[i] = (uint16_t)(begin + i);
    }
    return ERR_OK;
}

/* The rows of one event, by its posting list, within the subject range. */
static enum err_code scan_event_rows(struct scan *scan, uint32_t slot, uint16_t *out_rows,
                                     uint32_t *ret_first, uint32_t *ret_end, struct err *err)
{
    uint32_t count = 0;
    ERR_TRY(source_value_rows(scan->source, &scan->read, COL_EVENT_NAME, scan->slots[slot - 1].code,
                              scan->block_now, out_rows, &count, err));
    uint32_t block_begin = scan->block_now * BLOCK_ROWS;
    uint32_t first = 0;
    while (first < count && block_begin + out_rows[first] < scan->row_begin) {
        first++;
    }
    while (count > first && block_begin + out_rows[count - 1] >= scan->row_end) {
        count--;
    }
    *ret_first = first;
    *ret_end = count;
    return ERR_OK;
}

/* Several events: their rows in order, each with its slot. */
static enum err_code scan_merge_events(struct scan *scan, const bool *is_wanted, bool with_others,
                                       struct candidates *cand, struct err *err)
{
    void *memory = NULL;
    ERR_TRY(scan_raw(scan, BLOCK_ROWS, sizeof(uint16_t), &memory, err));
    uint16_t *slot_of = memory;
    ERR_TRY(scan_raw(scan, BLOCK_ROWS, sizeof(uint16_t), &memory, err));
    uint16_t *rows = memory;
    memset(slot_of, 0, BLOCK_ROWS * sizeof(uint16_t)); /* SLOT_OTHER */
    uint32_t total = 0;
    for (uint32_t slot = 1; slot <= scan->slot_count; slot++) {
        if (!is_wanted[slot]) {
            continue;
        }
        uint32_t first = 0;
        uint32_t end = 0;
        ERR_TRY(scan_event_rows(scan, slot, rows, &first, &end, err));
        for (uint32_t i = first; i < end; i++) {
            slot_of[rows[i]] = (uint16_t)slot;
        }
        total += end - first;
    }
    if (with_others) {
        ERR_TRY(scan_all_rows(scan, cand, err));
    } else {
        cand->rows = rows;
        cand->count = 0;
        uint32_t block_rows = source_block_rows(scan->source, scan->block_now);
        for (uint32_t row = 0; total > 0 && row < block_rows; row++) {
            rows[cand->count] = (uint16_t)row;
            cand->count += slot_of[row] != SLOT_OTHER;
            if (cand->count == total) {
                break;
            }
        }
    }
    ERR_TRY(scan_raw(scan, cand->count, sizeof(uint16_t), &memory, err));
    cand->slots = memory;
    for (uint32_t i = 0; i < cand->count; i++) {
        cand->slots[i] = slot_of[cand->rows[i]];
    }
    return ERR_OK;
}

/* The reference path: slots from the names themselves. */
static enum err_code scan_read_names(struct scan *scan, struct candidates *cand, struct err *err)
{
    struct vec names = {0};
    void *memory = NULL;
    ERR_TRY(scan_col(scan, COL_EVENT_NAME, &names, err));
    ERR_TRY(scan_raw(scan, cand->count, sizeof(uint32_t), &memory, err));
    uint32_t *places = memory;
    ERR_TRY(scan_raw(scan, cand->count, sizeof(uint16_t), &memory, err));
    cand->slots = memory;
    vec_places(&names, cand->rows, cand->count, places);
    for (uint32_t i = 0; i < cand->count; i++) {
        cand->slots[i] = SLOT_OTHER;
        for (uint32_t s = 0; s < scan->slot_count; s++) {
            if (str_eq(vec_str(&names, places[i]), scan->slots[s].event)) {
                cand->slots[i] = (uint16_t)(s + 1);
            }
        }
    }
    return ERR_OK;
}

static enum err_code scan_candidates(struct scan *scan, struct candidates *cand, struct err *err)
{
    if (scan->spec->no_index) {
        ERR_TRY(scan_all_rows(scan, cand, err));
        return scan_read_names(scan, cand, err);
    }
    bool *is_wanted = NULL;
    ERR_TRY(ARENA_NEW(scan->scratch, scan->slot_count + 1, &is_wanted, err));
    bool with_others = false;
    uint32_t wanted_count = 0;
    uint32_t wanted_slot = 0;
    for (uint32_t i = 0; i < scan->alt_count; i++) {
        const struct scan_alt *alt = &scan->alts[i];
        if (!alt->is_active) {
            continue;
        }
        if (alt->slot == SLOT_ANY) {
            with_others = true;
        } else if (!is_wanted[alt->slot]) {
            is_wanted[alt->slot] = true;
            wanted_slot = alt->slot;
            wanted_count++;
        }
    }
    if (wanted_count == 0) {
        return scan_all_rows(scan, cand, err);
    }
    if (wanted_count == 1 && !with_others) {
        void *memory = NULL;
        uint32_t first = 0;
        uint32_t end = 0;
        ERR_TRY(scan_raw(scan, BLOCK_ROWS, sizeof(uint16_t), &memory, err));
        uint16_t *rows = memory;
        ERR_TRY(scan_event_rows(scan, wanted_slot, rows, &first, &end, err));
        cand->rows = rows + first;
        cand->count = end - first;
        return ERR_OK;
    }
    return scan_merge_events(scan, is_wanted, with_others, cand, err);
}

/* ---- filters ---- */

/* Subject and time of the candidates. */
static enum err_code scan_gather(struct scan *scan, struct candidates *cand, struct err *err)
{
    struct vec subjects = {0};
    struct vec times = {0};
    ERR_TRY(scan_col(scan, COL_SUBJECT, &subjects, err));
    ERR_TRY(scan_col(scan, COL_EVENT_TIME, &times, err));
    ASSERT(subjects.kind == VEC_U32 && subjects.present == NULL);
    ASSERT(times.kind == VEC_I64 && times.present == NULL);
    void *memory = NULL;
    ERR_TRY(arena_alloc(scan->scratch, cand->count * sizeof(uint64_t), &memory, err));
    cand->masks = memory;
    if (cand->count == subjects.rows) { /* ascending and as many as there are: all of them */
        cand->subjects = subjects.u32;
        cand->times = times.i64;
        return ERR_OK;
    }
    ERR_TRY(scan_raw(scan, cand->count, sizeof(uint32_t), &memory, err));
    uint32_t *out_subjects = memory;
    ERR_TRY(scan_raw(scan, cand->count, sizeof(int64_t), &memory, err));
    int64_t *out_times = memory;
    for (uint32_t i = 0; i < cand->count; i++) {
        out_subjects[i] = subjects.u32[cand->rows[i]];
        out_times[i] = times.i64[cand->rows[i]];
    }
    cand->subjects = out_subjects;
    cand->times = out_times;
    return ERR_OK;
}

/* hits[i] = 1 where row i is of the alternative's event and time, whatever its predicate. */
static void scan_alt_hits(const struct scan_alt *alt, const struct candidates *cand, uint8_t *hits)
{
    if (alt->slot == SLOT_ANY || cand->slots == NULL) {
        memset(hits, 1, cand->count);
    } else {
        for (uint32_t i = 0; i < cand->count; i++) {
            hits[i] = cand->slots[i] == alt->slot;
        }
    }
    if (!alt->is_whole) {
        for (uint32_t i = 0; i < cand->count; i++) {
            hits[i] &= (cand->times[i] >= alt->begin_ms) & (cand->times[i] < alt->end_ms);
        }
    }
}

/* Clear keep[i] of deleted subjects; on the reference path also of those outside the range. */
static void scan_drop_subjects(const struct scan *scan, const struct candidates *cand,
                               uint8_t *keep)
{
    const struct scan_spec *spec = scan->spec;
    if (spec->deleted != NULL) {
        bool is_deleted = false;
        for (uint32_t i = 0; i < cand->count; i++) {
            if (i == 0 || cand->subjects[i] != cand->subjects[i - 1]) {
                is_deleted = roaring_bitmap_contains(spec->deleted, cand->subjects[i]);
            }
            keep[i] &= !is_deleted;
        }
    }
    if (spec->no_index) {
        for (uint32_t i = 0; i < cand->count; i++) {
            keep[i] &= (cand->subjects[i] >= spec->subject_begin) &
                       (spec->subject_end == UINT32_MAX || cand->subjects[i] < spec->subject_end);
        }
    }
}

/* Keep the rows with keep[i] != 0. The arrays may be a source's own, so they are copied. */
static enum err_code scan_compress(struct scan *scan, struct candidates *cand, const uint8_t *keep,
                                   struct err *err)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < cand->count; i++) {
        count += keep[i] != 0;
    }
    if (count == cand->count) {
        return ERR_OK;
    }
    struct candidates out = {.count = count};
    void *memory = NULL;
    ERR_TRY(scan_raw(scan, count, sizeof(uint16_t), &memory, err));
    out.rows = memory;
    if (cand->slots != NULL) {
        ERR_TRY(scan_raw(scan, count, sizeof(uint16_t), &memory, err));
        out.slots = memory;
    }
    ERR_TRY(scan_raw(scan, count, sizeof(uint32_t), &memory, err));
    uint32_t *subjects = memory;
    ERR_TRY(scan_raw(scan, count, sizeof(int64_t), &memory, err));
    int64_t *times = memory;
    ERR_TRY(scan_raw(scan, count, sizeof(uint64_t), &memory, err));
    out.masks = memory;
    for (uint32_t i = 0, k = 0; i < cand->count; i++) {
        if (keep[i] == 0) {
            continue;
        }
        out.rows[k] = cand->rows[i];
        if (out.slots != NULL) {
            out.slots[k] = cand->slots[i];
        }
        subjects[k] = cand->subjects[i];
        times[k] = cand->times[i];
        out.masks[k] = cand->masks[i];
        k++;
    }
    out.subjects = subjects;
    out.times = times;
    *cand = out;
    return ERR_OK;
}

/* Event, time and subject: sets the masks of alternatives without a predicate, and drops rows that
 * no alternative can take. */
static enum err_code scan_filter_plain(struct scan *scan, struct candidates *cand, struct err *err)
{
    void *memory = NULL;
    ERR_TRY(scan_raw(scan, cand->count, 1, &memory, err));
    uint8_t *hits = memory;
    ERR_TRY(arena_alloc(scan->scratch, cand->count, &memory, err));
    uint8_t *keep = memory;
    for (uint32_t a = 0; a < scan->alt_count; a++) {
        const struct scan_alt *alt = &scan->alts[a];
        if (!alt->is_active) {
            continue;
        }
        scan_alt_hits(alt, cand, hits);
        uint64_t bit = alt->pred == NULL ? alt->bit : 0;
        for (uint32_t i = 0; i < cand->count; i++) {
            keep[i] |= hits[i];
            cand->masks[i] |= hits[i] != 0 ? bit : 0;
        }
    }
    scan_drop_subjects(scan, cand, keep);
    return scan_compress(scan, cand, keep, err);
}

static enum err_code scan_filter_where(struct scan *scan, struct candidates *cand, struct err *err)
{
    const struct pred *where = scan->spec->query->where;
    if (where == NULL || cand->count == 0) {
        return ERR_OK;
    }
    void *memory = NULL;
    ERR_TRY(scan_raw(scan, cand->count, 1, &memory, err));
    uint8_t *keep = memory;
    ERR_TRY(pred_eval(&scan->env, where, cand->rows, cand->count, keep, err));
    return scan_compress(scan, cand, keep, err);
}

/* The predicate of one alternative, on the rows that are its own and not yet taken for its bit. */
static enum err_code scan_filter_alt(struct scan *scan, const struct scan_alt *alt,
                                     struct candidates *cand, struct err *err)
{
    void *memory = NULL;
    ERR_TRY(scan_raw(scan, cand->count, 1, &memory, err));
    uint8_t *hits = memory;
    ERR_TRY(scan_raw(scan, cand->count, 1, &memory, err));
    uint8_t *holds = memory;
    ERR_TRY(scan_raw(scan, cand->count, sizeof(uint16_t), &memory, err));
    uint16_t *rows = memory;
    ERR_TRY(scan_raw(scan, cand->count, sizeof(uint32_t), &memory, err));
    uint32_t *idx = memory;
    scan_alt_hits(alt, cand, hits);
    uint32_t count = 0;
    for (uint32_t i = 0; i < cand->count; i++) {
        rows[count] = cand->rows[i];
        idx[count] = i;
        count += hits[i] != 0 && (cand->masks[i] & alt->bit) == 0;
    }
    if (count == 0) {
        return ERR_OK;
    }
    ERR_TRY(pred_eval(&scan->env, alt->pred, rows, count, holds, err));
    for (uint32_t k = 0; k < count; k++) {
        cand->masks[idx[k]] |= holds[k] != 0 ? alt->bit : 0;
    }
    return ERR_OK;
}

static enum err_code scan_filter_alts(struct scan *scan, struct candidates *cand, struct err *err)
{
    bool has_pred = false;
    for (uint32_t a = 0; a < scan->alt_count && cand->count > 0; a++) {
        if (scan->alts[a].is_active && scan->alts[a].pred != NULL) {
            has_pred = true;
            ERR_TRY(scan_filter_alt(scan, &scan->alts[a], cand, err));
        }
    }
    if (!has_pred) {
        return ERR_OK;
    }
    void *memory = NULL;
    ERR_TRY(scan_raw(scan, cand->count, 1, &memory, err));
    uint8_t *keep = memory;
    for (uint32_t i = 0; i < cand->count; i++) {
        keep[i] = cand->masks[i] != 0;
    }
    return scan_compress(scan, cand, keep, err);
}

/* ---- looking ahead ---- */

static void scan_add_item(struct read_item *items, uint32_t *count, uint32_t first, uint32_t col,
                          uint32_t block)
{
    bool is_new = col != UINT32_MAX;
    for (uint32_t i = first; i < *count; i++) {
        is_new &= items[i].col != col;
    }
    if (is_new) {
        items[(*count)++] = (struct read_item){.col = col, .block = block};
    }
}

static void scan_add_pred(struct read_item *items, uint32_t *count, uint32_t first,
                          const struct pred *pred, uint32_t block)
{
    for (uint32_t i = 0; pred != NULL && i < pred->kid_count; i++) {
        scan_add_pred(items, count, first, pred->kids[i], block);
    }
    if (pred != NULL && pred->kind >= PRED_EQ) {
        scan_add_item(items, count, first, pred_field_col(&pred->field), block);
    }
}

static void scan_add_fields(const struct scan *scan, struct read_item *items, uint32_t *count,
                            uint32_t first, uint32_t block)
{
    for (uint32_t c = 0; c < scan->spec->col_count; c++) {
        scan_add_item(items, count, first, scan->spec->cols[c], block);
    }
}

/* Whether a row of the block is of the alternative's event. Looking counts for nothing: the block
 * is counted when its rows are taken. */
static enum err_code scan_alt_has_rows(struct scan *scan, const struct scan_alt *alt,
                                       uint32_t block, bool *ret, struct err *err)
{
    uint32_t count = 1;
    if (alt->slot != SLOT_ANY) {
        uint64_t bytes_read = scan->read.bytes_read;
        uint64_t blocks_read = scan->read.blocks_read;
        ERR_TRY(source_value_rows(scan->source, &scan->read, COL_EVENT_NAME,
                                  scan->slots[alt->slot - 1].code, block, NULL, &count, err));
        scan->read.bytes_read = bytes_read;
        scan->read.blocks_read = blocks_read;
    }
    *ret = count > 0;
    return ERR_OK;
}

/* What the block needs, where it has candidates, is appended to `items`. The last terms of an `and`
 * may turn out not to be asked for: hardly ever, of 65,536 rows. */
static enum err_code scan_add_block(struct scan *scan, uint32_t block, struct read_item *items,
                                    uint32_t *count, struct err *err)
{
    uint32_t first = *count;
    bool has_any = false;
    (void)scan_activate(scan, block);
    for (uint32_t i = 0; i < scan->alt_count; i++) {
        const struct scan_alt *alt = &scan->alts[i];
        bool has_rows = false;
        if (alt->is_active) {
            ERR_TRY(scan_alt_has_rows(scan, alt, block, &has_rows, err));
        }
        if (has_rows) {
            has_any = true;
            scan_add_pred(items, count, first, alt->pred, block);
        }
    }
    if (has_any) {
        scan_add_item(items, count, first, COL_SUBJECT, block);
        scan_add_item(items, count, first, COL_EVENT_TIME, block);
        scan_add_pred(items, count, first, scan->spec->query->where, block);
        scan->ahead.candidates |= UINT64_C(1) << block;
        if (scan->ahead.is_field_likely) {
            scan_add_fields(scan, items, count, first, block);
        }
    }
    return ERR_OK;
}

/* Names of the next blocks that pruning by time leaves, so that it can be told which of them have
 * candidates. Returns where these blocks end. */
static uint32_t scan_fetch_names(struct scan *scan, uint64_t *ret_blocks)
{
    struct read_item items[AHEAD_BLOCKS_MAX];
    uint32_t named = 0;
    uint32_t count = 0;
    uint32_t block = scan->ahead.end;
    *ret_blocks = 0;
    for (; block < scan->block_end && count < AHEAD_BLOCKS_MAX; block++) {
        bool is_named = false;
        if (!scan_activate(scan, block)) {
            continue;
        }
        for (uint32_t i = 0; i < scan->alt_count; i++) {
            is_named |= scan->alts[i].is_active && scan->alts[i].slot != SLOT_ANY;
        }
        *ret_blocks |= UINT64_C(1) << block;
        count++;
        if (is_named) {
            items[named++] =
                (struct read_item){.col = COL_EVENT_NAME, .block = block, .is_by_value = true};
        }
    }
    /* Those that there was no room for are read one by one: they are small. */
    (void)source_prefetch(scan->source, &scan->read, items, named);
    return block;
}

/* Look at the next blocks, and fetch what they need. */
static enum err_code scan_look_ahead(struct scan *scan, struct err *err)
{
    struct scan_ahead *ahead = &scan->ahead;
    struct arena_mark mark = arena_mark(scan->scratch);
    struct read_item *items = NULL;
    uint32_t count = 0;
    uint64_t blocks = 0;
    read_ahead_clear(&ahead->held);
    uint32_t first = ahead->end;
    ahead->end = scan_fetch_names(scan, &blocks);
    ahead->candidates = 0;
    ERR_TRY(ARENA_NEW(scan->scratch, (size_t)AHEAD_BLOCKS_MAX * ahead->cols_max, &items, err));
    for (uint64_t bits = blocks; bits != 0; bits &= bits - 1) {
        ERR_TRY(scan_add_block(scan, (uint32_t)__builtin_ctzll(bits), items, &count, err));
    }
    uint32_t done = source_prefetch(scan->source, &scan->read, items, count);
    if (done < count) { /* the rest next time; but the first block now, read one by one */
        ahead->end = MAX_OF(items[done].block, first + 1);
    }
    ahead->with_fields = ahead->is_field_likely ? ahead->candidates : 0;
    arena_rewind(scan->scratch, mark);
    return ERR_OK;
}

/* The block at hand has rows left, which scan_field will be asked about: fetch its columns, and
 * those of the blocks after it, which are likely to have some as well. */
static enum err_code scan_fetch_fields(struct scan *scan, struct err *err)
{
    struct scan_ahead *ahead = &scan->ahead;
    struct read_item *items = NULL;
    uint32_t count = 0;
    uint64_t now = UINT64_C(1) << scan->block_now;
    if (scan->read.ahead == NULL || scan->spec->col_count == 0 || (ahead->with_fields & now) != 0) {
        return ERR_OK;
    }
    struct arena_mark mark = arena_mark(scan->scratch);
    ERR_TRY(
        ARENA_NEW(scan->scratch, (size_t)AHEAD_BLOCKS_MAX * scan->spec->col_count, &items, err));
    for (uint64_t bits = ahead->candidates & ~(now - 1); bits != 0; bits &= bits - 1) {
        uint32_t block = (uint32_t)__builtin_ctzll(bits);
        if (block < ahead->end) {
            scan_add_fields(scan, items, &count, count, block);
        }
    }
    uint32_t done = source_prefetch(scan->source, &scan->read, items, count);
    uint32_t end = done < count ? items[done].block : ahead->end;
    for (uint32_t i = 0; i < done; i++) {
        ahead->with_fields |= items[i].block < end ? UINT64_C(1) << items[i].block : 0;
    }
    arena_rewind(scan->scratch, mark);
    return ERR_OK;
}

/* ---- walking ---- */

static enum err_code scan_one_block(struct scan *scan, struct candidates *cand, struct err *err)
{
    if (!scan_activate(scan, scan->block_now)) {
        scan->counters.blocks_pruned_time++;
        return ERR_OK;
    }
    ERR_TRY(scan_candidates(scan, cand, err));
    if (cand->count == 0) {
        scan->counters.blocks_pruned_index++;
        return ERR_OK;
    }
    scan->counters.blocks_scanned++;
    scan->counters.rows_read += cand->count;
    ERR_TRY(scan_gather(scan, cand, err));
    ERR_TRY(scan_filter_plain(scan, cand, err));
    ERR_TRY(scan_filter_where(scan, cand, err));
    ERR_TRY(scan_filter_alts(scan, cand, err));
    scan->counters.rows_matched += cand->count;
    scan->ahead.is_field_likely = cand->count > 0;
    return cand->count > 0 ? scan_fetch_fields(scan, err) : ERR_OK;
}

enum err_code scan_next(struct scan *scan, struct scan_block *ret, bool *ret_more, struct err *err)
{
    while (scan->block < scan->block_end) {
        ERR_TRY(run_check(scan->run, err));
        arena_rewind(scan->scratch, scan->mark);
        scan->col_count = 0;
        scan->block_now = scan->block++;
        if (scan->read.ahead != NULL && scan->block_now >= scan->ahead.end) {
            ERR_TRY(scan_look_ahead(scan, err));
        }
        struct candidates cand = {0};
        ERR_TRY(scan_one_block(scan, &cand, err));
        if (cand.count > 0) {
            scan->now = (struct scan_block){
                .block = scan->block_now,
                .count = cand.count,
                .rows = cand.rows,
                .subjects = cand.subjects,
                .times = cand.times,
                .masks = cand.masks,
            };
            *ret = scan->now;
            *ret_more = true;
            return ERR_OK;
        }
    }
    *ret_more = false;
    return ERR_OK;
}
