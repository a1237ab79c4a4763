/* query/bind_habits.c - lifecycle, stickiness, conditions. */
#include "query/bind_int.h"

enum err_code bind_habits(struct binder *b)
{
    const struct ast_habits *ast = &b->ast->habits;
    struct bound_query *query = b->query;
    struct habits *habits = &query->habits;

    ERR_TRY(bind_selector(b, &ast->selector, false, &habits->selector));
    habits->at_least = ast->at_least.place.line == 0 ? 1 : (uint32_t)ast->at_least.value;
    habits->is_cumulative = ast->is_cumulative;
    habits->has_over = ast->over.place.line != 0;
    if (habits->has_over) {
        ERR_TRY(bind_unit(b, &ast->over, &habits->over_unit, &habits->over_count));
    }
    query->has_each = true; /* days, unless `each` says otherwise */
    query->each_unit = CIVIL_DAY;
    query->each_count = 1;
    return ERR_OK;
}

/* Each its own bit, also where two are alike. */
enum err_code bind_conditions(struct binder *b)
{
    const struct ast_conditions *ast = &b->ast->conditions;
    for (uint32_t i = 0; i < ast->count; i++) {
        uint32_t selector = 0;
        ERR_TRY(bind_selector(b, &ast->items[i], false, &selector));
        ASSERT(selector == i);
    }
    b->query->is_list = b->ast->clauses.is_list;
    return ERR_OK;
}

uint32_t bind_habits_columns(const struct bound_query *query, struct str *items)
{
    static const char *const lifecycle[] = {"time", "new", "returning", "resurrecting", "dormant"};
    static const char *const stickiness[] = {"time", "periods", "users"};
    uint32_t count = 0;
    if (query->verb == VERB_LIFECYCLE) {
        for (; count < COUNT_OF(lifecycle); count++) {
            items[count] = str_of(lifecycle[count]);
        }
        return count;
    }
    for (uint32_t i = query->habits.has_over ? 0 : 1; i < COUNT_OF(stickiness); i++) {
        items[count++] = str_of(stickiness[i]);
    }
    return count;
}
