/* query/verb_events.c - events and timeline: rows as they are, in order, up to a limit.
 *
 * Each task keeps the best `limit` rows in a heap, the worst of them on top, as references (source,
 * block, row) with what they are ordered by. Only the rows that are left after merging the tasks are
 * read as wholes. The order is that of the `order by` column, if any, then (event_time, event_id).
 *
 * Without `columns`, properties follow by name, those that some shown row has; a name that was
 * seen with several types is one column, for a row has at most one of them. */
#include "query/events_page.h"
#include "query/pred_eval.h"

#include "query/grow.h"
#include "storage/read_ahead.h"

#include <stdlib.h>

#define NONE                 UINT32_MAX
#define ROWS_AHEAD_BYTES_MAX (8u << 20) /* all columns of a block, but for very long strings */

struct row_ref {
    struct cell order; /* null without `order by` */
    int64_t time_ms;
    struct str event_id;
    const struct source *source;
    uint32_t block;
    uint16_t row;
};

struct row_heap {
    struct row_ref *rows;
    uint32_t count, cap;
    uint64_t total; /* rows that matched */
};

struct events_plan {
    uint64_t limit;
    const struct field *order; /* NULL: (event_time, event_id) alone */
    bool is_descending;
    bool has_subject; /* a timeline */
    uint32_t shard, subject;
    const struct events_place *after; /* NULL: from the first on; only without `order` */
};

/* ---- order ---- */

static int row_cmp(const struct events_plan *plan, const struct row_ref *a, const struct row_ref *b)
{
    int order = plan->order == NULL ? 0 : cell_cmp(&a->order, &b->order);
    if (order != 0) {
        return plan->is_descending ? -order : order;
    }
    if (a->time_ms != b->time_ms) {
        return a->time_ms < b->time_ms ? -1 : 1;
    }
    return str_cmp(a->event_id, b->event_id);
}

static int compare_rows(const void *a, const void *b, void *plan)
{
    return row_cmp(plan, a, b);
}

static void heap_down(const struct events_plan *plan, struct row_heap *heap)
{
    uint32_t at = 0;
    while (true) {
        uint32_t worst = at;
        for (uint32_t kid = 2 * at + 1; kid <= 2 * at + 2 && kid < heap->count; kid++) {
            if (row_cmp(plan, &heap->rows[kid], &heap->rows[worst]) > 0) {
                worst = kid;
            }
        }
        if (worst == at) {
            return;
        }
        struct row_ref t = heap->rows[at];
        heap->rows[at] = heap->rows[worst];
        heap->rows[worst] = t;
        at = worst;
    }
}

static void heap_up(const struct events_plan *plan, struct row_heap *heap)
{
    uint32_t at = heap->count - 1;
    while (at > 0 && row_cmp(plan, &heap->rows[at], &heap->rows[(at - 1) / 2]) > 0) {
        struct row_ref t = heap->rows[at];
        heap->rows[at] = heap->rows[(at - 1) / 2];
        heap->rows[(at - 1) / 2] = t;
        at = (at - 1) / 2;
    }
}

/* Whether the row was of an earlier page. */
static bool is_shown(const struct events_plan *plan, const struct row_ref *row)
{
    const struct events_place *after = plan->after;
    return after != NULL &&
           (row->time_ms < after->time_ms ||
            (row->time_ms == after->time_ms && str_cmp(row->event_id, after->event_id) <= 0));
}

/* True where the row is among the best so far. */
static bool heap_takes(const struct events_plan *plan, const struct row_heap *heap,
                       const struct row_ref *row)
{
    return heap->count < plan->limit || (heap->count > 0 && row_cmp(plan, row, &heap->rows[0]) < 0);
}

static enum err_code heap_put(const struct events_plan *plan, struct row_heap *heap,
                              const struct row_ref *row, struct arena *arena, struct err *err)
{
    struct row_ref own = *row;
    ERR_TRY(arena_str(arena, row->event_id, &own.event_id, err));
    if (row->order.kind == CELL_STRING) {
        ERR_TRY(arena_str(arena, row->order.string, &own.order.string, err));
    }
    if (heap->count < plan->limit) {
        ERR_TRY(GROW(arena, &heap->rows, heap->count, &heap->cap, err));
        heap->rows[heap->count++] = own;
        heap_up(plan, heap);
    } else {
        heap->rows[0] = own;
        heap_down(plan, heap);
    }
    return ERR_OK;
}

/* ---- reading ---- */

/* A value as it is ordered by: times as milliseconds; lists are not ordered. */
static struct cell order_cell(const struct vec *vec, uint32_t place)
{
    if (place == NONE) {
        return (struct cell){.kind = CELL_NULL};
    }
    switch (vec->kind) {
    case VEC_NUM:
    case VEC_F64: return cell_of_num(vec_num(vec, place));
    case VEC_BOOL: return (struct cell){.kind = CELL_BOOL, .boolean = vec->u8[place] != 0};
    case VEC_I64: return (struct cell){.kind = CELL_I64, .i64 = vec->i64[place]};
    case VEC_CODE:
    case VEC_BYTES: return (struct cell){.kind = CELL_STRING, .string = vec_str(vec, place)};
    default: return (struct cell){.kind = CELL_NULL};
    }
}

static enum err_code events_add_block(const struct events_plan *plan, const struct source *source,
                                      struct scan *scan, const struct scan_block *block,
                                      struct row_heap *heap, struct arena *arena, struct err *err)
{
    const struct field event_id = {.kind = FIELD_EVENT_ID, .type = COL_STRING};
    struct vec ids = {0};
    struct vec orders = {0};
    const uint32_t *id_places = NULL;
    const uint32_t *order_places = NULL;
    ERR_TRY(scan_field(scan, &event_id, &ids, &id_places, err));
    if (plan->order != NULL) {
        ERR_TRY(scan_field(scan, plan->order, &orders, &order_places, err));
    }
    for (uint32_t i = 0; i < block->count; i++) {
        struct row_ref row = {
            .time_ms = block->times[i],
            .source = source,
            .block = block->block,
            .row = block->rows[i],
        };
        if (plan->order != NULL) {
            row.order = order_cell(&orders, order_places[i]);
        }
        if (id_places[i] != NONE) {
            row.event_id = vec_str(&ids, id_places[i]);
        }
        if (is_shown(plan, &row)) {
            continue;
        }
        heap->total++;
        if (heap_takes(plan, heap, &row)) {
            ERR_TRY(heap_put(plan, heap, &row, arena, err));
        }
    }
    return ERR_OK;
}

static enum err_code events_scan(struct query_run_ctx *run, const struct run_task *task,
                                 const struct source *source, struct arena *arena, struct io *io,
                                 struct row_heap *heap, struct err *err)
{
    const struct events_plan *plan = run->verb_plan;
    const struct scan_want want = {
        .selector = 0, .begin_ms = run->query->from_ms, .end_ms = run->query->to_ms};
    const uint32_t cols[] = {COL_EVENT_ID,
                             plan->order == NULL ? COL_EVENT_ID : pred_field_col(plan->order)};
    const struct scan_spec spec = {
        .query = run->query,
        .wants = &want,
        .want_count = 1,
        .subject_begin = plan->has_subject ? plan->subject : task->subject_begin,
        .subject_end = plan->has_subject ? plan->subject + 1 : task->subject_end,
        .deleted = run->snapshot->deleted[task->shard],
        .no_index = run_is_reference(run),
        .cols = cols,
        .col_count = COUNT_OF(cols),
    };
    CLEANUP(scan_closep) struct scan *scan = NULL;
    ERR_TRY(scan_open(source, &spec, run, arena, io, &scan, err));
    while (true) {
        struct scan_block block = {0};
        bool has_more = false;
        ERR_TRY(scan_next(scan, &block, &has_more, err));
        if (!has_more) {
            return ERR_OK;
        }
        ERR_TRY(events_add_block(plan, source, scan, &block, heap, arena, err));
    }
}

static enum err_code events_task(struct query_run_ctx *run, const struct run_task *task,
                                 struct arena *arena, struct io *io, void *slot, struct err *err)
{
    const struct events_plan *plan = run->verb_plan;
    if (plan->has_subject && (plan->shard != task->shard || plan->subject < task->subject_begin ||
                              plan->subject >= task->subject_end)) {
        return ERR_OK;
    }
    for (uint32_t s = 0; s < task->source_count; s++) {
        ERR_TRY(events_scan(run, task, task->sources[s], arena, io, slot, err));
    }
    return ERR_OK;
}

/* ---- whole rows ---- */

/* A column of the answer; of properties, all columns of one name. */
struct out_col {
    struct str name;
    enum result_type type;
    uint32_t cols[8]; /* of the sources: at most one per type */
    uint32_t col_count;
    bool is_used;
};

struct out_cols {
    struct out_col *items;
    uint32_t count, cap;
};

static enum result_type result_type_of(enum col_type type)
{
    switch (type) {
    case COL_STRING: return RESULT_STRING;
    case COL_NUMBER: return RESULT_NUMBER;
    case COL_BOOL: return RESULT_BOOL;
    case COL_TIME: return RESULT_TIME;
    case COL_LIST: return RESULT_LIST;
    }
    return RESULT_ANY;
}

static enum err_code out_add(struct out_cols *cols, struct arena *arena, struct str name,
                             enum result_type type, uint32_t col, bool is_used, struct err *err)
{
    ERR_TRY(GROW(arena, &cols->items, cols->count, &cols->cap, err));
    cols->items[cols->count++] = (struct out_col){
        .name = name, .type = type, .cols = {col}, .col_count = 1, .is_used = is_used};
    return ERR_OK;
}

static int compare_out(const void *a, const void *b)
{
    const struct out_col *x = a;
    const struct out_col *y = b;
    int order = str_cmp(x->name, y->name);
    return order != 0 ? order : (x->type > y->type) - (x->type < y->type);
}

/* All properties, by name; those of one name become one column. */
static enum err_code out_properties(struct query_run_ctx *run, struct out_cols *cols,
                                    struct err *err)
{
    struct out_cols props = {0};
    uint32_t count = schema_count(run->snapshot->schema);
    for (uint32_t p = 0; p < count; p++) {
        const struct schema_col *col = schema_col(run->snapshot->schema, p);
        ERR_TRY(out_add(&props, run->arena, col->name, result_type_of(col->type),
                        COL_FIRST_PROP + p, false, err));
    }
    if (props.count > 0) {
        qsort(props.items, props.count, sizeof(*props.items), compare_out);
    }
    for (uint32_t p = 0; p < props.count; p++) {
        struct out_col *last = cols->count > 0 ? &cols->items[cols->count - 1] : NULL;
        if (p > 0 && str_eq(last->name, props.items[p].name) &&
            last->col_count < COUNT_OF(last->cols)) {
            last->cols[last->col_count++] = props.items[p].cols[0];
            last->type = RESULT_ANY;
            continue;
        }
        ERR_TRY(GROW(run->arena, &cols->items, cols->count, &cols->cap, err));
        cols->items[cols->count++] = props.items[p];
    }
    return ERR_OK;
}

static enum err_code out_columns(struct query_run_ctx *run, struct out_cols *cols, struct err *err)
{
    const struct bound_query *query = run->query;
    for (uint32_t i = 0; i < query->column_count; i++) {
        const struct field *field = &query->columns[i];
        bool is_time = field->kind == FIELD_EVENT_TIME || field->kind == FIELD_RECEIVED_AT;
        enum result_type type = is_time                        ? RESULT_TIME
                                : field->kind == FIELD_PROP    ? result_type_of(field->type)
                                : field->kind == FIELD_UNKNOWN ? RESULT_ANY
                                                               : RESULT_STRING;
        ERR_TRY(out_add(cols, run->arena, field->name, type, pred_field_col(field), true, err));
    }
    if (query->column_count > 0) {
        return ERR_OK;
    }
    ERR_TRY(out_add(cols, run->arena, STR("event_time"), RESULT_TIME, COL_EVENT_TIME, true, err));
    ERR_TRY(out_add(cols, run->arena, STR("event_name"), RESULT_STRING, COL_EVENT_NAME, true, err));
    if (query->verb == VERB_EVENTS) {
        ERR_TRY(out_add(cols, run->arena, STR("user_id"), RESULT_STRING, COL_USER_ID, true, err));
        ERR_TRY(out_add(cols, run->arena, STR("anonymous_id"), RESULT_STRING, COL_ANONYMOUS_ID,
                        true, err));
    }
    ERR_TRY(out_add(cols, run->arena, STR("event_id"), RESULT_STRING, COL_EVENT_ID, true, err));
    return out_properties(run, cols, err);
}

static enum err_code list_cell(const struct vec *vec, uint32_t place, struct arena *arena,
                               struct cell *ret, struct err *err)
{
    struct str *items = NULL;
    uint32_t begin = vec->offs[place];
    uint32_t count = vec->offs[place + 1] - begin;
    ERR_TRY(ARENA_NEW(arena, count, &items, err));
    for (uint32_t i = 0; i < count; i++) {
        ERR_TRY(arena_str(arena, dict_value(vec->dict, vec->u32[begin + i]), &items[i], err));
    }
    *ret = (struct cell){.kind = CELL_LIST, .list = {items, count}};
    return ERR_OK;
}

/* A value as the answer shows it, owned by the arena of the result. */
static enum err_code value_cell(const struct vec *vec, uint32_t place, const struct zone *zone,
                                struct arena *arena, struct cell *ret, struct err *err)
{
    if (vec->kind == VEC_LIST) {
        return list_cell(vec, place, arena, ret, err);
    }
    struct cell cell = order_cell(vec, place);
    char text[CIVIL_TEXT_BYTES];
    if (vec->kind == VEC_I64) {
        cell.kind = CELL_STRING;
        cell.string = civil_format_instant(zone, vec->i64[place], text);
    }
    if (cell.kind == CELL_STRING) {
        ERR_TRY(arena_str(arena, cell.string, &cell.string, err));
    }
    *ret = cell;
    return ERR_OK;
}

/* Fetch the columns of a block together. */
static enum err_code fetch_block_cols(struct read_ctx *read, const struct out_cols *cols,
                                      const struct row_ref *ref, struct err *err)
{
    struct read_item *items = NULL;
    uint32_t count = 0;
    ERR_TRY(ARENA_NEW(read->arena, cols->count * COUNT_OF(cols->items->cols), &items, err));
    for (uint32_t c = 0; c < cols->count; c++) {
        const struct out_col *col = &cols->items[c];
        for (uint32_t k = 0; k < col->col_count; k++) {
            if (col->cols[k] != NONE) {
                items[count++] = (struct read_item){.col = col->cols[k], .block = ref->block};
            }
        }
    }
    read_ahead_clear(read->ahead);
    (void)source_prefetch(ref->source, read, items, count);
    return ERR_OK;
}

/* Rows of one block of one source: `refs[i]` says which, `cells` where row i's cells begin. */
static enum err_code read_block_rows(struct query_run_ctx *run, struct read_ctx *read,
                                     struct out_cols *cols, const struct row_ref *const *refs,
                                     uint32_t count, struct cell *const *cells,
                                     struct arena *result_arena, struct err *err)
{
    ERR_TRY(fetch_block_cols(read, cols, refs[0], err));
    for (uint32_t c = 0; c < cols->count; c++) {
        struct out_col *col = &cols->items[c];
        for (uint32_t k = 0; k < col->col_count; k++) {
            struct vec vec = {.kind = VEC_ABSENT};
            if (col->cols[k] != NONE) {
                ERR_TRY(
                    source_read(refs[0]->source, read, col->cols[k], refs[0]->block, &vec, err));
            }
            for (uint32_t i = 0; vec.kind != VEC_ABSENT && i < count; i++) {
                uint32_t place = NONE;
                vec_places(&vec, &refs[i]->row, 1, &place);
                if (place != NONE) {
                    col->is_used = true;
                    ERR_TRY(
                        value_cell(&vec, place, run->query->zone, result_arena, &cells[i][c], err));
                }
            }
        }
    }
    return ERR_OK;
}

struct placed_row {
    const struct row_ref *ref;
    uint32_t place; /* in the answer */
};

static int compare_placed(const void *a, const void *b)
{
    const struct row_ref *x = ((const struct placed_row *)a)->ref;
    const struct row_ref *y = ((const struct placed_row *)b)->ref;
    if (x->source != y->source) {
        return (uintptr_t)x->source < (uintptr_t)y->source ? -1 : 1;
    }
    if (x->block != y->block) {
        return x->block < y->block ? -1 : 1;
    }
    return (x->row > y->row) - (x->row < y->row);
}

/* Fill cells[row * cols->count + col] for all rows, one block after the other. */
static enum err_code read_rows(struct query_run_ctx *run, struct out_cols *cols,
                               const struct row_ref *rows, uint32_t count, struct cell *cells,
                               struct arena *result_arena, struct err *err)
{
    CLEANUP(arena_freep) struct arena *scratch = arena_create(&run->budget);
    CLEANUP(read_ahead_done)
    struct read_ahead ahead = {.bytes_max = ROWS_AHEAD_BYTES_MAX, .budget = &run->budget};
    struct read_ctx read = {.arena = scratch, .io = run->io, .ahead = &ahead};
    struct placed_row *placed = NULL;
    const struct row_ref **refs = NULL;
    struct cell **places = NULL;
    ERR_TRY(ARENA_NEW(run->arena, count, &placed, err));
    ERR_TRY(ARENA_NEW(run->arena, count, &refs, err));
    ERR_TRY(ARENA_NEW(run->arena, count, &places, err));
    for (uint32_t i = 0; i < count; i++) {
        placed[i] = (struct placed_row){&rows[i], i};
    }
    qsort(placed, count, sizeof(*placed), compare_placed);
    for (uint32_t begin = 0, end = 0; begin < count; begin = end) {
        ERR_TRY(run_check(run, err));
        while (end < count && placed[end].ref->source == placed[begin].ref->source &&
               placed[end].ref->block == placed[begin].ref->block) {
            refs[end] = placed[end].ref;
            places[end] = cells + (size_t)placed[end].place * cols->count;
            end++;
        }
        struct arena_mark mark = arena_mark(scratch);
        ERR_TRY(read_block_rows(run, &read, cols, refs + begin, end - begin, places + begin,
                                result_arena, err));
        arena_rewind(scratch, mark);
    }
    run_count(run, 0, &read);
    return ERR_OK;
}

/* ---- the answer ---- */

/* The rows of all tasks in order, cut to the limit. */
static enum err_code merge_heaps(struct query_run_ctx *run, const struct run_tasks *tasks,
                                 struct row_ref **ret_rows, uint32_t *ret_count,
                                 uint64_t *ret_total, struct err *err)
{
    struct events_plan plan = *(const struct events_plan *)run->verb_plan;
    const struct row_heap *heaps = tasks->slots;
    size_t count = 0;
    uint64_t total = 0;
    for (uint32_t t = 0; t < tasks->count; t++) {
        count += heaps[t].count;
        total += heaps[t].total;
    }
    struct row_ref *rows = NULL;
    ERR_TRY(ARENA_NEW(run->arena, count, &rows, err));
    size_t next = 0;
    for (uint32_t t = 0; t < tasks->count; t++) {
        if (heaps[t].count > 0) {
            memcpy(rows + next, heaps[t].rows, heaps[t].count * sizeof(*rows));
            next += heaps[t].count;
        }
    }
    qsort_r(rows, count, sizeof(*rows), compare_rows, &plan);
    uint64_t kept = count < plan.limit ? count : plan.limit;
    if (kept > UINT32_MAX) {
        return err_set(err, ERR_LIMIT, "an answer has at most %u rows", UINT32_MAX);
    }
    *ret_rows = rows;
    *ret_count = (uint32_t)kept;
    *ret_total = total;
    return ERR_OK;
}

/* Of the columns that are known by name: the others are left out, like those that no shown row has. */
static void choose_columns(struct out_cols *cols, const struct events_columns *shown)
{
    for (uint32_t c = 0; shown != NULL && c < cols->count; c++) {
        cols->items[c].is_used = false;
        for (uint32_t i = 0; i < shown->count && !cols->items[c].is_used; i++) {
            cols->items[c].is_used = str_eq(shown->names[i], cols->items[c].name);
        }
    }
}

/* Leave out the columns that no shown row has. */
static enum err_code fill_result(struct query_run_ctx *run, struct result *result,
                                 const struct out_cols *cols, const struct cell *wide,
                                 uint32_t row_count, struct err *err)
{
    struct result_col *result_cols = NULL;
    struct cell *cells = NULL;
    uint32_t used = 0;
    ERR_TRY(ARENA_NEW(result->arena, cols->count, &result_cols, err));
    for (uint32_t c = 0; c < cols->count; c++) {
        if (cols->items[c].is_used) {
            ERR_TRY(arena_str(result->arena, cols->items[c].name, &result_cols[used].name, err));
            result_cols[used++].type = cols->items[c].type;
        }
    }
    result->cols = result_cols;
    result->col_count = used;
    ERR_TRY(run_result_rows(run, result, row_count, &cells, err));
    for (uint32_t r = 0; r < row_count; r++) {
        for (uint32_t c = 0; c < cols->count; c++) {
            if (cols->items[c].is_used) {
                *cells++ = wide[(size_t)r * cols->count + c];
            }
        }
    }
    return ERR_OK;
}

static enum err_code events_answer(struct query_run_ctx *run, const struct run_tasks *tasks,
                                   const struct events_columns *shown, struct result *result,
                                   struct events_place *ret_last, struct err *err)
{
    struct row_ref *rows = NULL;
    struct out_cols cols = {0};
    struct cell *wide = NULL;
    uint32_t count = 0;
    uint64_t total = 0;
    size_t cell_count = 0;
    ERR_TRY(merge_heaps(run, tasks, &rows, &count, &total, err));
    ERR_TRY(out_columns(run, &cols, err));
    if (!size_mul(count, cols.count, &cell_count)) {
        return err_set(err, ERR_LIMIT, "an answer of %u rows is larger than memory", count);
    }
    ERR_TRY(ARENA_NEW(run->arena, cell_count, &wide, err));
    ERR_TRY(read_rows(run, &cols, rows, count, wide, result->arena, err));
    choose_columns(&cols, shown);
    ERR_TRY(fill_result(run, result, &cols, wide, count, err));
    result->meta.rows_total = total;
    result->meta.rows_left_out = total - count;
    if (count > 0 && ret_last != NULL) {
        *ret_last = (struct events_place){.time_ms = rows[count - 1].time_ms};
        return arena_str(run->arena, rows[count - 1].event_id, &ret_last->event_id, err);
    }
    return ERR_OK;
}

/* Whose timeline: a user id, or else an anonymous id. */
static enum err_code find_subject(struct query_run_ctx *run, struct events_plan *plan,
                                  struct result *result, bool *ret_found, struct err *err)
{
    const struct str none = {0};
    const struct snapshot *snapshot = run->snapshot;
    struct str id = run->query->subject_id;
    plan->has_subject = true;
    *ret_found = snapshot_find_subject(snapshot, id, none, &plan->shard, &plan->subject) ||
                 snapshot_find_subject(snapshot, none, id, &plan->shard, &plan->subject);
    if (*ret_found) {
        return ERR_OK;
    }
    struct str *warning = NULL;
    ERR_TRY(ARENA_NEW(result->arena, 1, &warning, err));
    ERR_TRY(arena_printf(result->arena, warning, err, "no user or device \"" STR_FMT "\" was seen",
                         STR_ARG(id)));
    result->meta.warnings = warning;
    result->meta.warning_count = 1;
    return ERR_OK;
}

enum err_code verb_events(struct query_run_ctx *run, struct result *result, struct err *err)
{
    const struct bound_query *query = run->query;
    struct events_plan plan = {.limit = query->has_limit ? query->limit : UINT32_MAX};
    CLEANUP(run_tasks_free) struct run_tasks tasks = {0};
    bool is_known = true;
    if (query->has_order) {
        plan.order = &query->order_field;
        plan.is_descending = query->order.is_descending;
    }
    if (query->verb == VERB_TIMELINE) {
        ERR_TRY(find_subject(run, &plan, result, &is_known, err));
    }
    run->verb_plan = &plan;
    if (is_known) {
        ERR_TRY(run_all_tasks(run, events_task, sizeof(struct row_heap), &tasks, err));
    }
    return events_answer(run, &tasks, NULL, result, NULL, err);
}

enum err_code events_page(struct query_run_ctx *run, const struct events_place *after,
                          const struct events_columns *shown, struct result *result,
                          struct events_place *ret_last, struct err *err)
{
    const struct bound_query *query = run->query;
    struct events_plan plan = {.limit = query->limit, .after = after};
    CLEANUP(run_tasks_free) struct run_tasks tasks = {0};
    ASSERT(query->verb == VERB_EVENTS && !query->has_order);
    run->verb_plan = &plan;
    if (query->from_ms < query->to_ms) {
        ERR_TRY(run_all_tasks(run, events_task, sizeof(struct row_heap), &tasks, err));
    }
    return events_answer(run, &tasks, shown, result, ret_last, err);
}
