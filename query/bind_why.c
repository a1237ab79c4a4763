/* query/bind_why.c - `why "u_42" in`: of which questions it can be asked, and of whom.
 *
 * Of those that count subjects by lines which a subject is in or not: a funnel by its steps, a retention by its periods, a
 * segment. Its rows are the subject's, in an order of their own: how many rows the question's own table would show (`top`,
 * `limit`) and whether it lists subjects says nothing here. With `per KEY` the subject is the events of one value of KEY. */
#include "query/bind_int.h"

static enum err_code check_clauses(struct binder *b)
{
    const struct ast_clauses *clauses = &b->ast->clauses;
    const struct {
        bool is_given;
        const char *word;
    } foreign[] = {
        {clauses->order.column.place.line != 0, "order by"},
        {clauses->save.place.line != 0, "save cohort"},
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

/* The id as a value of KEY's type. */
static enum err_code read_value(struct binder *b, const struct field *per, struct literal *ret)
{
    const struct ast_name *id = &b->ast->why;
    *ret = (struct literal){.type = per->type, .string = id->text};
    switch (per->type) {
    case COL_NUMBER:
        if (!num_parse(id->text, &ret->number)) {
            return bind_fail(b, id->place, "\"" STR_FMT "\" is one by its number, and this is none",
                             STR_ARG(per->name));
        }
        return ERR_OK;
    case COL_BOOL:
        ret->boolean = str_eq(id->text, STR("true"));
        if (!ret->boolean && !str_eq(id->text, STR("false"))) {
            return bind_fail(b, id->place, "\"" STR_FMT "\" is \"true\" or \"false\"",
                             STR_ARG(per->name));
        }
        return ERR_OK;
    case COL_TIME: {
        const struct ast_value value = {.kind = AST_STRING, .text = id->text, .place = id->place};
        return bind_time(b, &value, &ret->ts_ms);
    }
    case COL_STRING:
    case COL_LIST: ret->type = COL_STRING; return ERR_OK;
    }
    return ERR_OK;
}

/* With `per KEY`: the rows of whose KEY is this. */
static enum err_code bind_why_key(struct binder *b)
{
    struct literal *value = NULL;
    struct pred *pred = NULL;
    if (b->query->per == NULL) {
        return ERR_OK;
    }
    ERR_TRY(ARENA_NEW(b->arena, 1, &value, b->err));
    ERR_TRY(ARENA_NEW(b->arena, 1, &pred, b->err));
    ERR_TRY(read_value(b, b->query->per, value));
    *pred =
        (struct pred){.kind = PRED_EQ, .field = *b->query->per, .values = value, .value_count = 1};
    if (pred->field.kind == FIELD_UNKNOWN) {
        pred->kind = PRED_FALSE;
    }
    b->query->why_key = pred;
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
    case VERB_SEGMENT:
    case VERB_RETENTION: return bind_why_key(b);
    case VERB_FUNNEL:
        return query->funnel.table != FUNNEL_CORRELATION
                   ? bind_why_key(b)
                   : bind_fail(b, place,
                               "\"why\" tells how far a user got; \"correlate\" counts what else "
                               "many did: leave it out");
    default: break;
    }
    return err_set_at(b->err, ERR_UNSUPPORTED, place.line, place.column,
                      "\"why\" goes with funnel, retention and segment; %s is not in this version",
                      ast_verb_name(b->ast->verb));
}
