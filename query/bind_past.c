/* query/bind_past.c - which epochs `as of`, `diff` and `restatements` say, and what an answer as of one cannot show any more. */
#include "query/bind_int.h"

#include "storage/base/size.h"

#include <inttypes.h>

enum err_code query_bind_epoch(const struct query_request *request, const struct ast_query *ast,
                               const struct ast_value *value, const struct snapshot *present,
                               struct arena *arena, int64_t *ret, struct err *err)
{
    struct binder b = {
        .request = request, .ast = ast, .snapshot = present, .arena = arena, .err = err};
    int64_t epoch_ms = value->number.m;
    if (present->dataset == NULL) {
        return err_set_at(err, ERR_UNSUPPORTED, value->place.line, value->place.column,
                          "epochs are of a data set, and this snapshot has none");
    }
    ERR_TRY(ARENA_NEW(arena, 1, &b.query, err));
    b.query->now_ms = request->now_ms;
    if (value->kind != AST_NUMBER) {
        ERR_TRY(bind_zone(&b));
        ERR_TRY(bind_time(&b, value, &epoch_ms));
    }
    if (epoch_ms > present->commit_ms) {
        return bind_fail(&b, value->place,
                         "epoch %" PRId64 " has not come: the data set is at epoch %" PRId64,
                         epoch_ms, present->commit_ms);
    }
    *ret = MAX_OF(epoch_ms, 0);
    return ERR_OK;
}

/* A number is an epoch, and must have come; a time may lie ahead. */
static enum err_code bind_until(struct binder *b, const struct ast_value *value, int64_t *ret)
{
    int64_t present_ms = b->snapshot->commit_ms;
    if (value->kind == AST_NUMBER) {
        return query_bind_epoch(b->request, b->ast, value, b->snapshot, b->arena, ret, b->err);
    }
    ERR_TRY(bind_time(b, value, ret));
    *ret = MAX_OF(MIN_OF(*ret, present_ms), 0);
    return ERR_OK;
}

enum err_code query_bind_restatements(const struct query_request *request,
                                      const struct ast_query *ast, const struct snapshot *present,
                                      struct arena *arena, int64_t *ret_after_ms,
                                      int64_t *ret_until_ms, struct err *err)
{
    const struct ast_restatements *restatements = &ast->restatements;
    struct binder b = {
        .request = request, .ast = ast, .snapshot = present, .arena = arena, .err = err};
    int64_t from_ms = 0;
    int64_t to_ms = 0;
    if (present->dataset == NULL) {
        return err_set_at(err, ERR_UNSUPPORTED, restatements->place.line,
                          restatements->place.column,
                          "epochs are of a data set, and this snapshot has none");
    }
    ERR_TRY(ARENA_NEW(arena, 1, &b.query, err));
    b.query->now_ms = request->now_ms;
    ERR_TRY(bind_zone(&b));
    *ret_after_ms = 0;
    *ret_until_ms = present->commit_ms;
    if (restatements->from.place.line != 0) {
        ERR_TRY(bind_until(&b, &restatements->from, ret_after_ms));
        ERR_TRY(bind_until(&b, &restatements->to, ret_until_ms));
    } else if (restatements->range.kind != AST_RANGE_NONE) {
        ERR_TRY(bind_span(&b, &restatements->range, &from_ms, &to_ms)); /* half open */
        *ret_after_ms = from_ms > 0 ? MIN_OF(from_ms - 1, present->commit_ms) : 0;
        *ret_until_ms = to_ms > 0 ? MIN_OF(to_ms - 1, present->commit_ms) : 0;
    }
    if (*ret_after_ms > *ret_until_ms) {
        return bind_fail(&b, restatements->to.place,
                         "the later epoch stands behind the earlier one");
    }
    return ERR_OK;
}

/* What is about nobody's events. */
static bool is_about_catalogue(const struct ast_query *ast)
{
    return ast->verb == AST_SHOW &&
           (ast->show.kind == AST_SHOW_SEGMENTS || ast->show.kind == AST_SHOW_COHORTS ||
            ast->show.kind == AST_SHOW_METRICS);
}

/* Who is who by arrival is a snapshot's own matter: a cohort's question has that of the question that names it. */
static enum err_code check_identity(struct binder *b)
{
    const struct ast_clauses *clauses = &b->ast->clauses;
    if (!clauses->is_event_time) {
        return ERR_OK;
    }
    b->query->is_event_time = true;
    if (is_about_catalogue(b->ast) || b->ast->verb == AST_DROP) {
        return bind_fail(b, clauses->identity,
                         "\"identity\" is of questions about events: segments, cohorts and metrics "
                         "are what they are");
    }
    if (clauses->save.place.line != 0 && !clauses->is_static) {
        return bind_fail(b, clauses->save.place,
                         "a live cohort is asked with the identity of the question that names it; "
                         "save it without \"identity\", or \"static\"");
    }
    if (b->snapshot->has_facts && !b->snapshot->past.is_by_arrival) {
        return bind_fail(b, clauses->identity,
                         "what stands inside of another question is asked with that one's "
                         "identity: say it there");
    }
    return ERR_OK;
}

/* What there is of now alone. */
static enum err_code check_has_past(struct binder *b)
{
    const struct ast_query *ast = b->ast;
    const struct ast_clauses *clauses = &ast->clauses;
    if (clauses->as_of.place.line == 0) {
        return ERR_OK;
    }
    if (is_about_catalogue(ast)) {
        return bind_fail(b, clauses->as_of.place,
                         "segments, cohorts and metrics are shown as they are now, as of no epoch");
    }
    if (clauses->save.place.line != 0 && !clauses->is_static) {
        return bind_fail(b, clauses->save.place,
                         "a live cohort is asked anew whenever it is used; as of an epoch save it "
                         "\"static\"");
    }
    return ERR_OK;
}

/* What has no numbers to compare, or not all of them. */
static enum err_code check_compared(struct binder *b)
{
    const struct bound_query *query = b->query;
    const struct ast_clauses *clauses = &b->ast->clauses;
    bool is_diff = b->ast->diff_from.place.line != 0;
    const char *word = is_diff ? "diff" : "restatements";
    const struct place place = is_diff ? b->ast->diff_from.place : b->ast->restatements.place;
    if (place.line == 0) {
        return ERR_OK;
    }
    switch (b->ast->verb) {
    case AST_EVENTS:
    case AST_TIMELINE:
    case AST_SHOW:
    case AST_DROP:
        return bind_fail(b, b->ast->place, "\"%s\" compares numbers, and %s gives none", word,
                         ast_verb_name(b->ast->verb));
    default: break;
    }
    if (query->is_list || query->is_why || clauses->save.place.line != 0 ||
        (query->verb == VERB_FUNNEL && query->funnel.table == FUNNEL_LIST)) {
        return bind_fail(b, place, "\"%s\" compares numbers: ask how many, without the list", word);
    }
    if (query->compare.name.len > 0) {
        return bind_fail(b, clauses->compare_place,
                         "\"%s\" compares epochs, and nothing beside them", word);
    }
    const struct place cuts[] = {clauses->top.place, clauses->limit.place,
                                 clauses->order.column.place};
    for (size_t i = 0; i < COUNT_OF(cuts); i++) {
        if (cuts[i].line != 0) {
            return bind_fail(
                b, cuts[i],
                "\"%s\" compares whole answers, line by line, in the order of their keys", word);
        }
    }
    return ERR_OK;
}

enum err_code bind_past(struct binder *b)
{
    const struct snapshot *snapshot = b->snapshot;
    struct str text = {0};
    ERR_TRY(check_identity(b));
    ERR_TRY(check_has_past(b));
    ERR_TRY(check_compared(b));
    if (!snapshot->is_past) {
        return ERR_OK;
    }
    if (snapshot->erased > 0) {
        ERR_TRY(arena_printf(b->arena, &text, b->err,
                             "%" PRIu64 " ids were erased after epoch %" PRId64
                             ": what is erased is left out as of every epoch",
                             snapshot->erased, snapshot->past.rows_ms));
        ERR_TRY(bind_warn(b, text));
    }
    if (snapshot->history_from_ms != INT64_MIN) {
        char instant[CIVIL_TEXT_BYTES];
        struct str from = civil_format_instant(b->query->zone, snapshot->history_from_ms, instant);
        ERR_TRY(arena_printf(b->arena, &text, b->err,
                             "events from before " STR_FMT
                             " are expired: they are left out as of every epoch",
                             STR_ARG(from)));
        ERR_TRY(bind_warn(b, text));
    }
    return ERR_OK;
}
