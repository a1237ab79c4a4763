#include "query/diff.h"

#include "query/bind.h"
#include "query/past.h"
#include "query/past_answer.h"

#include "storage/base/size.h"

#include <stdlib.h>

enum { STATE_BEFORE, STATE_LATE, STATE_NEW, STATE_AFTER, STATES };

/* ---- the four states ---- */

enum err_code diff_open(const struct query_request *request, const struct ast_query *ast,
                        const struct snapshot *present, struct arena *arena, struct diff *ret,
                        struct err *err)
{
    struct diff diff = {.ast = ast, .present = present};
    struct place place = ast->diff_to.place;
    ERR_TRY(query_bind_epoch(request, ast, &ast->diff_from, present, arena, &diff.from_ms, err));
    ERR_TRY(query_bind_epoch(request, ast, &ast->diff_to, present, arena, &diff.to_ms, err));
    if (diff.from_ms > diff.to_ms) {
        return err_set_at(err, ERR_INVALID, place.line, place.column,
                          "the later epoch stands behind the earlier one");
    }
    *ret = diff;
    return ERR_OK;
}

static struct snapshot_past past_of_state(const struct diff *diff, uint32_t state)
{
    bool has_new = state >= STATE_NEW;
    return (struct snapshot_past){
        .rows_ms = has_new ? diff->to_ms : diff->from_ms,
        .late_ms = state == STATE_BEFORE ? diff->from_ms : diff->to_ms,
        .late_before_ms = diff->from_ms == INT64_MAX ? INT64_MAX : diff->from_ms + 1,
        .facts_ms = state == STATE_AFTER ? diff->to_ms : diff->from_ms,
        .is_by_arrival = past_is_by_arrival(diff->ast, diff->present),
    };
}

enum err_code diff_before(const struct diff *diff, struct budget *budget, struct io *io,
                          struct snapshot **ret, struct err *err)
{
    const struct snapshot_past past = past_of_state(diff, STATE_BEFORE);
    *ret = NULL;
    return past_is_present(diff->present, &past)
               ? ERR_OK
               : past_snapshot(diff->present, &past, budget, io, ret, err);
}

static enum err_code answer_of(struct query_run_ctx *run, uint32_t state, struct result *result,
                               struct err *err)
{
    const struct snapshot_past past = past_of_state(run->diff, state);
    return past_answer(run, run->diff->ast, run->diff->present, &past, result, err);
}

/* ---- lines ---- */

/* A row of one of the four answers. */
struct line {
    const struct cell *cells;
    uint32_t state;
};

struct joining {
    const struct result *answers[STATES];
    uint32_t key_count;
    struct line *lines;
    uint64_t line_count;
};

static int line_cmp(const void *a, const void *b, void *arg)
{
    const struct line *x = a;
    const struct line *y = b;
    const struct joining *joining = arg;
    int order = past_keys_cmp(x->cells, y->cells, joining->key_count);
    return order != 0 ? order : (x->state > y->state) - (x->state < y->state);
}

static enum err_code list_lines(struct query_run_ctx *run, struct joining *joining, struct err *err)
{
    uint64_t count = 0;
    for (uint32_t state = 0; state < STATES; state++) {
        count += joining->answers[state]->row_count;
    }
    ERR_TRY(ARENA_NEW(run->arena, count + 1, &joining->lines, err));
    for (uint32_t state = 0; state < STATES; state++) {
        const struct result *answer = joining->answers[state];
        for (uint64_t row = 0; row < answer->row_count; row++) {
            joining->lines[joining->line_count++] =
                (struct line){answer->cells + row * answer->col_count, state};
        }
    }
    qsort_r(joining->lines, joining->line_count, sizeof(*joining->lines), line_cmp, joining);
    return ERR_OK;
}

/* How many lines from `first` on have its keys. */
static uint64_t group_at(struct joining *joining, uint64_t first)
{
    uint64_t end = first + 1;
    while (end < joining->line_count &&
           past_keys_cmp(joining->lines[first].cells, joining->lines[end].cells,
                         joining->key_count) == 0) {
        end++;
    }
    return end - first;
}

/* ---- numbers ---- */

static const struct cell *cell_or_null(const struct line *line, uint32_t col)
{
    return line == NULL ? NULL : &line->cells[col];
}

enum { OUT_BEFORE, OUT_AFTER, OUT_CHANGE, OUT_LATE, OUT_NEW, OUT_MERGED, OUTS };

static void put_numbers(const struct line *const states[STATES], uint32_t col, struct cell *out)
{
    const struct cell *cells[STATES];
    for (uint32_t state = 0; state < STATES; state++) {
        cells[state] = cell_or_null(states[state], col);
    }
    out[OUT_BEFORE] =
        cells[STATE_BEFORE] == NULL ? (struct cell){.kind = CELL_NULL} : *cells[STATE_BEFORE];
    out[OUT_AFTER] =
        cells[STATE_AFTER] == NULL ? (struct cell){.kind = CELL_NULL} : *cells[STATE_AFTER];
    out[OUT_CHANGE] = past_minus(cells[STATE_AFTER], cells[STATE_BEFORE]);
    out[OUT_LATE] = past_minus(cells[STATE_LATE], cells[STATE_BEFORE]);
    out[OUT_NEW] = past_minus(cells[STATE_NEW], cells[STATE_LATE]);
    out[OUT_MERGED] = past_minus(cells[STATE_AFTER], cells[STATE_NEW]);
}

/* ---- the answer ---- */

static enum err_code make_columns(const struct joining *joining, struct result *result,
                                  struct err *err)
{
    static const struct result_col numbers[] = {
        {{"number", 6}, RESULT_STRING}, {{"before", 6}, RESULT_NUMBER},
        {{"after", 5}, RESULT_NUMBER},  {{"change", 6}, RESULT_NUMBER},
        {{"late", 4}, RESULT_NUMBER},   {{"new", 3}, RESULT_NUMBER},
        {{"merged", 6}, RESULT_NUMBER},
    };
    struct result_col *cols = NULL;
    const struct result *after = joining->answers[STATE_AFTER];
    ERR_TRY(ARENA_NEW(result->arena, joining->key_count + COUNT_OF(numbers), &cols, err));
    for (uint32_t k = 0; k < joining->key_count; k++) {
        cols[k] = after->cols[k];
        for (uint32_t state = 0; state < STATES;
             state++) { /* one of them may have a value of another type */
            if (joining->answers[state]->cols[k].type != cols[k].type) {
                cols[k].type = RESULT_ANY;
            }
        }
    }
    memcpy(cols + joining->key_count, numbers, sizeof(numbers));
    result->cols = cols;
    result->col_count = joining->key_count + (uint32_t)COUNT_OF(numbers);
    return ERR_OK;
}

static uint32_t count_numbers(const struct joining *joining)
{
    const struct result *after = joining->answers[STATE_AFTER];
    uint32_t count = 0;
    for (uint32_t c = joining->key_count; c < after->col_count; c++) {
        count += past_is_number(&after->cols[c]);
    }
    return count;
}

/* The lines of one key. Returns where the next go. */
static struct cell *put_group(const struct joining *joining, const struct line *lines,
                              uint64_t count, struct cell *out)
{
    const struct result *after = joining->answers[STATE_AFTER];
    const struct line *states[STATES] = {NULL};
    for (uint64_t i = 0; i < count; i++) {
        states[lines[i].state] = &lines[i];
    }
    for (uint32_t c = joining->key_count; c < after->col_count; c++) {
        if (!past_is_number(&after->cols[c])) {
            continue;
        }
        memcpy(out, lines[0].cells, joining->key_count * sizeof(*out));
        out += joining->key_count;
        *out++ = (struct cell){.kind = CELL_STRING, .string = after->cols[c].name};
        put_numbers(states, c, out);
        out += OUTS;
    }
    return out;
}

static enum err_code join(struct query_run_ctx *run, struct joining *joining, struct result *result,
                          struct err *err)
{
    struct cell *cells = NULL;
    uint64_t groups = 0;
    ERR_TRY(list_lines(run, joining, err));
    for (uint64_t at = 0; at < joining->line_count; at += group_at(joining, at)) {
        groups++;
    }
    ERR_TRY(make_columns(joining, result, err));
    ERR_TRY(run_result_rows(run, result, groups * count_numbers(joining), &cells, err));
    for (uint64_t at = 0; at < joining->line_count;) {
        uint64_t count = group_at(joining, at);
        cells = put_group(joining, &joining->lines[at], count, cells);
        at += count;
    }
    return ERR_OK;
}

enum err_code verb_diff(struct query_run_ctx *run, struct result *result, struct err *err)
{
    struct result answers[STATES];
    struct joining joining = {.key_count = past_key_columns(run->query)};
    for (uint32_t state = 0; state < STATES; state++) {
        answers[state] = (struct result){.arena = result->arena};
        joining.answers[state] = &answers[state];
        ERR_TRY(state == STATE_BEFORE ? past_answer_here(run, &answers[state], err)
                                      : answer_of(run, state, &answers[state], err));
        ASSERT(answers[state].col_count >= joining.key_count);
        ASSERT(answers[state].col_count == answers[0].col_count);
    }
    return join(run, &joining, result, err);
}
