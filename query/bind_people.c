/* query/bind_people.c - saved cohorts, and the clauses that name them. */
#include "query/bind_int.h"

enum err_code bind_use(struct binder *b, struct people_use use, const struct people_use **ret)
{
    struct people_use *own = NULL;
    ERR_TRY(ARENA_NEW(b->arena, 1, &own, b->err));
    ERR_TRY(GROW(b->arena, &b->uses, b->use_count, &b->use_cap, b->err));
    *own = use;
    b->uses[b->use_count++] = own;
    *ret = own;
    return ERR_OK;
}

static enum err_code no_cohorts(struct binder *b, struct ast_name name)
{
    return err_set_at(b->err, ERR_NOT_FOUND, name.place.line, name.place.column,
                      "no cohort \"" STR_FMT "\" is saved", STR_ARG(name.text));
}

enum err_code bind_cohort(struct binder *b, struct ast_name name, const struct people_use **ret)
{
    (void)ret;
    return no_cohorts(b, name);
}

enum err_code bind_people_clauses(struct binder *b)
{
    const struct ast_clauses *clauses = &b->ast->clauses;
    b->query->is_list = clauses->is_list;
    if (clauses->excluded_count > 0) {
        return no_cohorts(b, clauses->excluded[0]);
    }
    return clauses->save.place.line != 0 ? no_cohorts(b, clauses->save) : ERR_OK;
}
