/* query/scan.c - from a source's blocks to the rows that a query is about.
 *
 *     source: time range, names in the dictionary         no alternative left: pruned
 *       block: zone of event_time                         none overlaps:        pruned by time
 *         rows (scan_rows.c)                              none:                 pruned by index
 *
 * The reference path (no_index) takes none of the shortcuts: all rows of all blocks, names compared
 * as text, subjects by value. Both must give the same rows.
 */
#include "query/scan_int.h"

#include "query/traits.h"
#include "storage/base/pool.h"
#include "storage/base/size.h"

/* ---- columns of the current block ---- */

/* What the profiles of the rows' subjects say. */
static enum err_code scan_trait(struct scan *scan, uint32_t col, struct vec *ret, struct err *err)
{
    struct vec subjects = {0};
    struct vec times = {0};
    ERR_TRY(scan_col(scan, COL_SUBJECT, &subjects, err));
    if (traits_needs_times(scan->run->traits, col)) {
        ERR_TRY(scan_col(scan, COL_EVENT_TIME, &times, err));
    }
    const struct traits_rows rows = {
        .shard = scan->source->shard,
        .count = subjects.rows,
        .subjects = subjects.u32,
        .times = times.i64,
    };
    return traits_column(scan->run->traits, col, &rows, scan->scratch, ret, err);
}

enum err_code scan_col(struct scan *scan, uint32_t col, struct vec *ret, struct err *err)
{
    for (uint32_t i = 0; i < scan->col_count; i++) {
        if (scan->cols[i].col == col) {
            *ret = scan->cols[i].vec;
            return ERR_OK;
        }
    }
    struct vec vec = {.kind = VEC_ABSENT, .rows = source_block_rows(scan->source, scan->block_now)};
    if (traits_is_col(col)) {
        ERR_TRY(scan_trait(scan, col, &vec, err));
    } else if (col != UINT32_MAX) {
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

static uint32_t scan_field_col(const struct scan *scan, const struct field *field)
{
    return field->kind == FIELD_OWNER_ID && scan->source->has_owner_ids ? COL_OWNER_ID
                                                                        : pred_field_col(field);
}

/* The clock where the query is profiled, else 0: two calls per block. */
static uint64_t scan_clock_us(const struct scan *scan)
{
    return scan->run->profile == NULL ? 0 : pool_own_us();
}

enum err_code scan_vec(struct scan *scan, const struct field *field, struct vec *ret,
                       struct err *err)
{
    uint64_t begin_us = scan_clock_us(scan);
    enum err_code code = scan_col(scan, scan_field_col(scan, field), ret, err);
    scan->counters.time_us += scan_clock_us(scan) - begin_us;
    return code;
}

static enum err_code scan_places(struct scan *scan, const struct field *field, struct vec *ret_vec,
                                 const uint32_t **ret_places, struct err *err)
{
    struct vec vec = {0};
    ERR_TRY(scan_col(scan, scan_field_col(scan, field), &vec, err));
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

enum err_code scan_field(struct scan *scan, const struct field *field, struct vec *ret_vec,
                         const uint32_t **ret_places, struct err *err)
{
    uint64_t begin_us = scan_clock_us(scan);
    enum err_code code = scan_places(scan, field, ret_vec, ret_places, err);
    scan->counters.time_us += scan_clock_us(scan) - begin_us;
    return code;
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
    /* The one place where rows that are expired and still in the source leave every question, but who was first. */
    int64_t begin_ms = scan->spec->has_expired
                           ? want->begin_ms
                           : MAX_OF(want->begin_ms, scan->run->snapshot->expired_before_ms);
    if (begin_ms >= want->end_ms ||
        (!scan->spec->no_index &&
         (source->time_max_ms < begin_ms || source->time_min_ms >= want->end_ms))) {
        return ERR_OK;
    }
    scan->counters.pruned = MAX_OF(scan->counters.pruned, SCAN_PRUNED_NAME);
    for (uint32_t i = 0; i < selector->alt_count; i++) {
        const struct alt *alt = &selector->alts[i];
        if (alt->pred != NULL && alt->pred->kind == PRED_FALSE && !scan->spec->no_index) {
            scan->counters.pruned = SCAN_PRUNED_WHERE;
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
    scan->counters.pruned = SCAN_PRUNED_TIME; /* until a want gets further */
    if (where == NULL || where->kind != PRED_FALSE || spec->no_index) {
        for (uint32_t i = 0; i < spec->want_count; i++) {
            ERR_TRY(scan_compile_want(scan, &spec->wants[i], err));
        }
    } else {
        scan->counters.pruned = SCAN_PRUNED_WHERE;
    }
    scan->counters.is_source_pruned = scan->alt_count == 0;
    if (scan->alt_count > 0) {
        scan->counters.pruned = SCAN_NOT_PRUNED;
    }
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

static enum err_code scan_start(struct scan *scan, struct err *err)
{
    ERR_TRY(scan_compile(scan, err));
    if (!scan->counters.is_source_pruned) {
        run_mark_source(scan->run, scan->source);
        ERR_TRY(scan_compile_rows(scan, err));
        ERR_TRY(scan_plan_rows(scan, err));
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
    scan->read = (struct read_ctx){.arena = scan->scratch, .io = io, .held = &scan->held};
    scan->env = (struct pred_env){.vec = scan_env_vec,
                                  .ctx = scan,
                                  .shard = source->shard,
                                  .keep = keep,
                                  .scratch = scan->scratch};
    uint64_t begin_us = scan_clock_us(scan);
    enum err_code code = scan_start(scan, err);
    scan->counters.time_us += scan_clock_us(scan) - begin_us;
    if (code != ERR_OK) {
        scan_close(scan);
        return code;
    }
    *ret = scan;
    return ERR_OK;
}

void scan_close(struct scan *scan)
{
    if (scan == NULL) {
        return;
    }
    run_count_scan(scan->run, &scan->counters, &scan->read);
    read_ahead_done(&scan->ahead.held);
    read_held_done(&scan->held);
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

void scan_count_matched(struct scan *scan, uint64_t rows)
{
    scan->counters.rows_matched += rows;
}

bool scan_vec_is_looked_up(const struct vec *vec)
{
    return vec->kind == VEC_CODE && vec->present == NULL && vec->dict->count <= SCAN_LOOKED_UP_MAX;
}

/* ---- blocks ---- */

/* Which alternatives can match in the block by its times; false when none. */
bool scan_activate(struct scan *scan, uint32_t block)
{
    int64_t min_ms = scan->source->time_min_ms;
    int64_t max_ms = scan->source->time_max_ms;
    bool is_any = false;
    if (!scan->spec->no_index) {
        int64_t zone_min = 0;
        int64_t zone_max = 0;
        const struct row_cut *cut = scan->source->cut;
        if (cut != NULL && source_zone(scan->source, COL_ARRIVAL, block, &zone_min, &zone_max) &&
            zone_min > MAX_OF(cut->arrived_ms, cut->late_arrived_ms)) {
            return false; /* all of it came later */
        }
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

/* ---- walking ---- */

static enum err_code scan_one_block(struct scan *scan, struct err *err)
{
    scan->now = (struct scan_block){0};
    if (!scan_activate(scan, scan->block_now)) {
        scan->counters.blocks_pruned_time++;
        return ERR_OK;
    }
    uint64_t scanned = scan->counters.blocks_scanned;
    ERR_TRY(scan_rows(scan, &scan->now, err));
    if (scan->counters.blocks_scanned == scanned) { /* pruned by index */
        return ERR_OK;
    }
    scan->counters.rows_matched += scan->now.journeys == NULL ? scan->now.count : 0;
    scan->ahead.is_field_likely = scan->now.count > 0;
    return scan->now.count > 0 ? scan_fetch_fields(scan, err) : ERR_OK;
}

static enum err_code scan_walk(struct scan *scan, struct scan_block *ret, bool *ret_more,
                               struct err *err)
{
    while (scan->block < scan->block_end) {
        ERR_TRY(run_check(scan->run, err));
        arena_rewind(scan->scratch, scan->mark);
        read_held_clear(&scan->held);
        scan->col_count = 0;
        scan->block_now = scan->block++;
        if (scan->read.ahead != NULL && scan->block_now >= scan->ahead.end) {
            ERR_TRY(scan_look_ahead(scan, err));
        }
        ERR_TRY(scan_one_block(scan, err));
        if (scan->now.count > 0) {
            *ret = scan->now;
            *ret_more = true;
            return ERR_OK;
        }
    }
    *ret_more = false;
    return ERR_OK;
}

enum err_code scan_next(struct scan *scan, struct scan_block *ret, bool *ret_more, struct err *err)
{
    uint64_t begin_us = scan_clock_us(scan);
    enum err_code code = scan_walk(scan, ret, ret_more, err);
    scan->counters.time_us += scan_clock_us(scan) - begin_us;
    return code;
}

/* ---- looking without reading ---- */

const char *scan_path_name(enum scan_path path)
{
    static const char *const names[SCAN_PATHS] = {
        [SCAN_ALL_ROWS] = "all rows",
        [SCAN_STREAMS] = "streams of few events",
        [SCAN_ONE_EVENT] = "rows of one event",
        [SCAN_FEW_ROWS] = "rows of several events",
        [SCAN_CODES] = "one pass over the event names",
        [SCAN_JOURNEYS] = "rows kept by subject",
        [SCAN_TERMS] = "rows by terms of where",
        [SCAN_RANGES] = "rows of given subjects",
        [SCAN_REFERENCE] = "all rows, names as text",
    };
    return names[path];
}

/* The names of the blocks that will be asked about, together. */
static void foresee_fetch(struct scan *scan)
{
    struct read_item items[SEG_BLOCKS_MAX];
    uint32_t count = 0;
    bool is_named = scan->slot_count > 0 && !scan->spec->no_index;
    for (uint32_t b = scan->block; is_named && b < scan->block_end && count < SEG_BLOCKS_MAX; b++) {
        if (scan_activate(scan, b)) {
            items[count++] =
                (struct read_item){.col = COL_EVENT_NAME, .block = b, .is_by_value = true};
        }
    }
    (void)source_prefetch(scan->source, &scan->read, items, count);
}

enum err_code scan_foresee(struct scan *scan, struct scan_counters *ret, struct err *err)
{
    struct scan_counters counters = scan->counters;
    foresee_fetch(scan);
    for (; scan->block < scan->block_end; scan->block++) {
        ERR_TRY(run_check(scan->run, err));
        arena_rewind(scan->scratch, scan->mark);
        read_held_clear(&scan->held);
        scan->col_count = 0;
        scan->block_now = scan->block;
        if (!scan_activate(scan, scan->block)) {
            counters.blocks_pruned_time++;
            continue;
        }
        enum scan_path path = SCAN_PATHS;
        uint32_t rows = 0;
        ERR_TRY(scan_choose_path(scan, &path, &rows, err));
        if (path == SCAN_PATHS) {
            counters.blocks_pruned_index++;
        } else {
            counters.blocks_scanned++;
            counters.blocks_by[path]++;
            counters.rows_read += rows;
        }
    }
    *ret = counters;
    return ERR_OK;
}
