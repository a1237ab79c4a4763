/* query/bind_why.c - `why "u_42" in`: of which questions it can be asked.
 *
 * Of those that count users by lines which a user is in or not: a funnel by its steps, a retention by its periods, a
 * segment. Its rows are the user's, in an order of their own. */
#include "query/bind_int.h"

static enum err_code check_clauses(struct binder *b)
{
    const struct ast_clauses *clauses = &b->ast->clauses;
    const struct {
        bool is_given;
        const char *word;
    } foreign[] = {
        {clauses->top.place.line != 0, "top"},
        {clauses->order.column.place.line != 0, "order by"},
        {clauses->per.place.line != 0, "per"},
        {clauses->is_list, "list users"},
        {clauses->save.place.line != 0, "save cohort"},
        {clauses->compare != AST_COMPARE_NONE, "compare"},
    };
    for (size_t i = 0; i < COUNT_OF(foreign); i++) {
        if (foreign[i].is_given) {
            return bind_fail(b, b->ast->why.place,
                             "\"why\" asks about one user; \"%s\" has no place in it",
                             foreign[i].word);
        }
    }
    return ERR_OK;
}

enum err_code bind_why(struct binder *b)
{
    struct bound_query *query = b->query;
    struct place place = b->ast->why.place;
    if (place.line == 0) {
        return ERR_OK;
    }
    query->is_why = true;
    query->why_id = b->ast->why.text;
    ERR_TRY(check_clauses(b));
    switch (query->verb) {
    case VERB_SEGMENT: return ERR_OK;
    case VERB_FUNNEL:
        return query->funnel.count == FUNNEL_USERS && query->funnel.table == FUNNEL_STEPS
                   ? ERR_OK
                   : bind_fail(b, place,
                               "\"why\" goes with a funnel that counts users, by its steps");
    case VERB_RETENTION:
        return query->retention.is_average
                   ? bind_fail(b, place,
                               "\"why\" goes with cohorts and their periods: not with \"average\"")
                   : ERR_OK;
    default: break;
    }
    return err_set_at(b->err, ERR_UNSUPPORTED, place.line, place.column,
                      "\"why\" goes with funnel, retention and segment; %s is not in this version",
                      ast_verb_name(b->ast->verb));
}
