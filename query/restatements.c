/* query/restatements.c */
#include "query/restatements.h"

#include "query/answer_journeys.h"
#include "query/bind.h"
#include "query/grow.h"
#include "query/past.h"
#include "query/past_answer.h"
#include "storage/base/size.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- opening ---- */

enum err_code restatements_open(const struct query_request *request, const struct ast_query *ast,
                                const struct snapshot *present, struct arena *arena,
                                struct restatements *ret, struct err *err)
{
    struct restatements restatements = {.ast = ast, .present = present};
    ERR_TRY(query_bind_restatements(request, ast, present, arena, &restatements.after_ms,
                                    &restatements.until_ms, err));
    *ret = restatements;
    return ERR_OK;
}

static struct snapshot_past past_at(const struct restatements *restatements, int64_t rows_ms,
                                    int64_t facts_ms)
{
    return (struct snapshot_past){
        .rows_ms = rows_ms,
        .late_ms = rows_ms,
        .late_before_ms = INT64_MIN,
        .facts_ms = facts_ms,
        .is_by_arrival = past_is_by_arrival(restatements->ast, restatements->present),
    };
}

enum err_code restatements_end(const struct restatements *restatements, struct budget *budget,
                               struct io *io, struct snapshot **ret, struct err *err)
{
    const struct snapshot_past past =
        past_at(restatements, restatements->until_ms, restatements->until_ms);
    *ret = NULL;
    return past_is_present(restatements->present, &past)
               ? ERR_OK
               : past_snapshot(restatements->present, &past, budget, io, ret, err);
}

/* ---- acts ---- */

/* All acts of a commit, or its erasures. */
struct moment {
    int64_t epoch_ms;
    uint64_t erased; /* ids; then there are no acts */
    uint64_t count;
    uint32_t kinds;            /* bit k: one of kind k */
    struct snapshot_act first; /* of them */
};
struct moments {
    struct query_run_ctx *run;
    struct moment *items;
    uint32_t count, cap;
};

static enum err_code take_act(void *arg, const struct snapshot_act *act, struct err *err)
{
    struct moments *moments = arg;
    struct query_run_ctx *run = moments->run;
    if (moments->count == 0 || moments->items[moments->count - 1].epoch_ms != act->commit_ms) {
        if (moments->count == RESTATEMENTS_MAX) {
            struct place place = run->restatements->ast->restatements.place;
            return err_set_at(err, ERR_LIMIT, place.line, place.column,
                              "more than %u commits moved rows between people; ask for a shorter "
                              "time: \"restatements last 1d\", \"restatements from ... to ...\"",
                              RESTATEMENTS_MAX);
        }
        ERR_TRY(GROW(run->arena, &moments->items, moments->count, &moments->cap, err));
        moments->items[moments->count++] =
            (struct moment){.epoch_ms = act->commit_ms, .first = *act};
    }
    struct moment *moment = &moments->items[moments->count - 1];
    moment->count++;
    moment->kinds |= 1u << act->kind;
    return ERR_OK;
}

/* No more than a line each: of these there may be any number. */
static enum err_code take_erasure(void *arg, int64_t commit_ms, uint64_t ids, struct err *err)
{
    struct moments *moments = arg;
    ERR_TRY(GROW(moments->run->arena, &moments->items, moments->count, &moments->cap, err));
    moments->items[moments->count++] = (struct moment){.epoch_ms = commit_ms, .erased = ids};
    return ERR_OK;
}

static int moment_cmp(const void *a, const void *b)
{
    const struct moment *x = a;
    const struct moment *y = b;
    return (x->epoch_ms > y->epoch_ms) - (x->epoch_ms < y->epoch_ms);
}

static enum err_code list_moments(struct moments *moments, struct err *err)
{
    const struct query_run_ctx *run = moments->run;
    const struct restatements *restatements = run->restatements;
    const struct snapshot *snapshot = run->unmasked == NULL ? run->snapshot : run->unmasked;
    int64_t after_ms = restatements->after_ms;
    int64_t until_ms = restatements->until_ms;
    ERR_TRY(snapshot_acts(snapshot, after_ms, until_ms, take_act, moments, err));
    ERR_TRY(snapshot_erasures(snapshot, after_ms, until_ms, take_erasure, moments, err));
    if (moments->count > 0) {
        qsort(moments->items, moments->count, sizeof(*moments->items), moment_cmp);
    }
    return ERR_OK;
}

static struct str act_word(const struct moment *moment)
{
    static const char *const words[ACT_KINDS] = {
        [ACT_LOGIN] = "login",   [ACT_MERGE] = "merge",       [ACT_UNMERGE] = "unmerge",
        [ACT_NOBODY] = "nobody", [ACT_SOMEBODY] = "somebody",
    };
    bool is_one_kind = (moment->kinds & (moment->kinds - 1)) == 0;
    return is_one_kind ? str_of(words[moment->first.kind]) : STR("several");
}

/* "tablet -> u_1, and 3 more" */
static enum err_code act_text(const struct moment *moment, struct arena *arena, struct str *ret,
                              struct err *err)
{
    const struct snapshot_act *act = &moment->first;
    CLEANUP(buf_freep) struct buf text = {0};
    buf_str(&text, act->from);
    if (act->into.len > 0) {
        buf_z(&text, " -> ");
        buf_str(&text, act->into);
    }
    if (moment->count > 1) {
        buf_printf(&text, ", and %" PRIu64 " more", moment->count - 1);
    }
    ERR_TRY(buf_check(&text, err));
    return arena_str(arena, buf_as_str(&text), ret, err);
}

/* ---- answers ---- */

/* An answer in an arena of its own. */
struct state {
    struct result answer;
};

static void state_done(struct state *state)
{
    arena_free(state->answer.arena);
    state->answer = (struct result){0};
}

static enum err_code state_ask(struct query_run_ctx *run, int64_t rows_ms, int64_t facts_ms,
                               struct state *ret, struct err *err)
{
    const struct restatements *restatements = run->restatements;
    const struct snapshot_past past = past_at(restatements, rows_ms, facts_ms);
    state_done(ret);
    ret->answer.arena = arena_create(&run->budget);
    return past_answer(run, restatements->ast, restatements->present, &past, &ret->answer, err);
}

static void state_move(struct state *from, struct state *to)
{
    state_done(to);
    *to = *from;
    from->answer = (struct result){0};
}

/* ---- the ledger ---- */

enum { HEAD_EPOCH, HEAD_AT, HEAD_ACT, HEAD_CONCERNED, HEADS };
enum { TAIL_NUMBER, TAIL_BEFORE, TAIL_AFTER, TAIL_CHANGE, TAILS };

struct ledger {
    struct query_run_ctx *run;
    struct result *result;
    uint32_t key_count;
    struct result_col *cols; /* made of the first answer */
    uint32_t col_count;
    struct cell **rows; /* col_count cells each */
    uint32_t row_count, row_cap;
    struct cell heads[HEADS]; /* of the rows that come next */
};

static enum err_code make_columns(struct ledger *ledger, const struct result *answer,
                                  struct err *err)
{
    static const struct result_col heads[HEADS] = {
        [HEAD_EPOCH] = {{"epoch", 5}, RESULT_INT64},
        [HEAD_AT] = {{"at", 2}, RESULT_TIME},
        [HEAD_ACT] = {{"act", 3}, RESULT_STRING},
        [HEAD_CONCERNED] = {{"concerned", 9}, RESULT_STRING},
    };
    static const struct result_col tails[TAILS] = {
        [TAIL_NUMBER] = {{"number", 6}, RESULT_STRING},
        [TAIL_BEFORE] = {{"before", 6}, RESULT_NUMBER},
        [TAIL_AFTER] = {{"after", 5}, RESULT_NUMBER},
        [TAIL_CHANGE] = {{"change", 6}, RESULT_NUMBER},
    };
    struct arena *arena = ledger->result->arena;
    ASSERT(answer->col_count >= ledger->key_count);
    ledger->col_count = HEADS + ledger->key_count + TAILS;
    ERR_TRY(ARENA_NEW(arena, ledger->col_count, &ledger->cols, err));
    memcpy(ledger->cols, heads, sizeof(heads));
    for (uint32_t k = 0; k < ledger->key_count; k++) {
        struct result_col *col = &ledger->cols[HEADS + k];
        *col = answer->cols[k];
        ERR_TRY(arena_str(arena, col->name, &col->name, err));
    }
    memcpy(ledger->cols + HEADS + ledger->key_count, tails, sizeof(tails));
    return ERR_OK;
}

static enum err_code keep_cell(struct ledger *ledger, const struct cell *from, struct cell *to,
                               struct err *err)
{
    *to = *from;
    return from->kind == CELL_STRING
               ? arena_str(ledger->result->arena, from->string, &to->string, err)
               : ERR_OK;
}

static enum err_code add_row(struct ledger *ledger, const struct cell *keys, struct str number,
                             const struct cell *before, const struct cell *after, struct err *err)
{
    const struct cell null = {.kind = CELL_NULL};
    struct cell *row = NULL;
    ERR_TRY(GROW(ledger->run->arena, &ledger->rows, ledger->row_count, &ledger->row_cap, err));
    ERR_TRY(ARENA_NEW(ledger->run->arena, ledger->col_count, &row, err));
    ledger->rows[ledger->row_count++] = row;
    memcpy(row, ledger->heads, sizeof(ledger->heads));
    row += HEADS;
    for (uint32_t k = 0; k < ledger->key_count; k++) {
        ERR_TRY(keep_cell(ledger, &keys[k], row++, err));
    }
    row[TAIL_NUMBER] = (struct cell){.kind = CELL_STRING, .string = number};
    ERR_TRY(keep_cell(ledger, &row[TAIL_NUMBER], &row[TAIL_NUMBER], err));
    row[TAIL_BEFORE] = before == NULL ? null : *before;
    row[TAIL_AFTER] = after == NULL ? null : *after;
    row[TAIL_CHANGE] = past_minus(after, before);
    return ERR_OK;
}

/* A line about no number. */
static enum err_code add_bare_row(struct ledger *ledger, struct err *err)
{
    struct cell *row = NULL;
    ERR_TRY(GROW(ledger->run->arena, &ledger->rows, ledger->row_count, &ledger->row_cap, err));
    ERR_TRY(ARENA_NEW(ledger->run->arena, ledger->col_count, &row, err));
    ledger->rows[ledger->row_count++] = row;
    for (uint32_t c = 0; c < ledger->col_count; c++) {
        row[c] = c < HEADS ? ledger->heads[c] : (struct cell){.kind = CELL_NULL};
    }
    return ERR_OK;
}

/* ---- two answers side by side ---- */

struct line {
    const struct cell *cells;
    bool is_after;
};

static int line_cmp(const void *a, const void *b, void *arg)
{
    const struct line *x = a;
    const struct line *y = b;
    int order = past_keys_cmp(x->cells, y->cells, *(const uint32_t *)arg);
    return order != 0 ? order : (int)x->is_after - (int)y->is_after;
}

/* The numbers of one key: of it before, after, or both. */
static enum err_code add_changes(struct ledger *ledger, const struct result *answer,
                                 const struct line *before, const struct line *after,
                                 struct err *err)
{
    static const struct cell null = {.kind = CELL_NULL};
    const struct line *some = before != NULL ? before : after;
    for (uint32_t c = ledger->key_count; c < answer->col_count; c++) {
        const struct cell *x = before == NULL ? NULL : &before->cells[c];
        const struct cell *y = after == NULL ? NULL : &after->cells[c];
        if (past_is_number(&answer->cols[c]) &&
            cell_cmp(x == NULL ? &null : x, y == NULL ? &null : y) != 0) {
            ERR_TRY(add_row(ledger, some->cells, answer->cols[c].name, x, y, err));
        }
    }
    return ERR_OK;
}

static void put_lines(const struct result *answer, bool is_after, struct line *out)
{
    for (uint64_t r = 0; r < answer->row_count; r++) {
        out[r] = (struct line){answer->cells + r * answer->col_count, is_after};
    }
}

static enum err_code compare(struct ledger *ledger, const struct state *before,
                             const struct state *after, struct err *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_create(&ledger->run->budget);
    const struct result *x = &before->answer;
    const struct result *y = &after->answer;
    struct line *lines = NULL;
    uint64_t count = x->row_count + y->row_count;
    ASSERT(x->col_count == y->col_count);
    ERR_TRY(ARENA_NEW(arena, count + 1, &lines, err));
    put_lines(x, false, lines);
    put_lines(y, true, lines + x->row_count);
    qsort_r(lines, count, sizeof(*lines), line_cmp, &ledger->key_count);
    for (uint64_t i = 0; i < count;) {
        bool is_pair = i + 1 < count && !lines[i].is_after && lines[i + 1].is_after &&
                       past_keys_cmp(lines[i].cells, lines[i + 1].cells, ledger->key_count) == 0;
        ERR_TRY(add_changes(ledger, y, lines[i].is_after ? NULL : &lines[i],
                            is_pair             ? &lines[i + 1]
                            : lines[i].is_after ? &lines[i]
                                                : NULL,
                            err));
        i += is_pair ? 2 : 1;
    }
    return ERR_OK;
}

/* ---- the whole ---- */

static enum err_code set_head(struct ledger *ledger, int64_t epoch_ms, struct str act,
                              struct str concerned, struct err *err)
{
    struct cell *heads = ledger->heads;
    heads[HEAD_EPOCH] = (struct cell){.kind = CELL_I64, .i64 = epoch_ms};
    ERR_TRY(answer_instant_cell(ledger->run->query, epoch_ms, ledger->result->arena,
                                &heads[HEAD_AT], err));
    heads[HEAD_ACT] = (struct cell){.kind = CELL_STRING, .string = act};
    heads[HEAD_CONCERNED] = (struct cell){.kind = CELL_NULL};
    if (concerned.len > 0) {
        heads[HEAD_CONCERNED] = (struct cell){.kind = CELL_STRING, .string = concerned};
    }
    return ERR_OK;
}

/* What came with events since `last`, up to the rows of `epoch_ms`; without them nothing is told. */
static enum err_code tell_events(struct ledger *ledger, int64_t epoch_ms, const struct state *last,
                                 const struct state *next, struct err *err)
{
    if (!ledger->run->restatements->ast->restatements.has_events) {
        return ERR_OK;
    }
    ERR_TRY(set_head(ledger, epoch_ms, STR("events"), STR(""), err));
    return compare(ledger, last, next, err);
}

/* Who is erased is in neither answer: of that there are no numbers. */
static enum err_code tell_erasure(struct ledger *ledger, const struct moment *moment,
                                  struct err *err)
{
    struct str ids = {0};
    ERR_TRY(arena_printf(ledger->result->arena, &ids, err, "%" PRIu64 " %s", moment->erased,
                         moment->erased == 1 ? "id" : "ids"));
    ERR_TRY(set_head(ledger, moment->epoch_ms, STR("erased"), ids, err));
    return add_bare_row(ledger, err);
}

static enum err_code tell_moment(struct ledger *ledger, const struct moment *moment,
                                 struct state *last, struct err *err)
{
    struct query_run_ctx *run = ledger->run;
    CLEANUP(state_done) struct state before = {0};
    CLEANUP(state_done) struct state after = {0};
    struct str concerned = {0};
    if (moment->erased > 0) {
        return tell_erasure(ledger, moment, err);
    }
    ERR_TRY(state_ask(run, moment->epoch_ms, moment->epoch_ms - 1, &before, err));
    ERR_TRY(tell_events(ledger, moment->epoch_ms, last, &before, err));
    ERR_TRY(state_ask(run, moment->epoch_ms, moment->epoch_ms, &after, err));
    ERR_TRY(act_text(moment, ledger->result->arena, &concerned, err));
    ERR_TRY(set_head(ledger, moment->epoch_ms, act_word(moment), concerned, err));
    ERR_TRY(compare(ledger, &before, &after, err));
    state_move(&after, last);
    return ERR_OK;
}

static enum err_code make_table(struct ledger *ledger, struct err *err)
{
    struct result *result = ledger->result;
    struct cell *cells = NULL;
    result->cols = ledger->cols;
    result->col_count = ledger->col_count;
    ERR_TRY(run_result_rows(ledger->run, result, ledger->row_count, &cells, err));
    for (uint32_t r = 0; r < ledger->row_count; r++) {
        memcpy(cells + (size_t)r * ledger->col_count, ledger->rows[r],
               ledger->col_count * sizeof(*cells));
    }
    return ERR_OK;
}

enum err_code verb_restatements(struct query_run_ctx *run, struct result *result, struct err *err)
{
    const struct restatements *restatements = run->restatements;
    bool has_events = restatements->ast->restatements.has_events;
    struct moments moments = {.run = run};
    struct ledger ledger = {
        .run = run, .result = result, .key_count = past_key_columns(run->query)};
    CLEANUP(state_done) struct state end = {0};
    CLEANUP(state_done) struct state last = {0};
    ERR_TRY(list_moments(&moments, err));
    /* the end, for the columns, and with events for what came last */
    ERR_TRY(state_ask(run, restatements->until_ms, restatements->until_ms, &end, err));
    ERR_TRY(make_columns(&ledger, &end.answer, err));
    if (has_events) {
        ERR_TRY(state_ask(run, restatements->after_ms, restatements->after_ms, &last, err));
    }
    for (uint32_t i = 0; i < moments.count; i++) {
        ERR_TRY(tell_moment(&ledger, &moments.items[i], &last, err));
    }
    ERR_TRY(tell_events(&ledger, restatements->until_ms, &last, &end, err));
    return make_table(&ledger, err);
}
