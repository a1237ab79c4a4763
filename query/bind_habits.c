/* query/bind_habits.c - lifecycle, stickiness, conditions; what they and churn say `by` a key. */
#include "query/bind_int.h"

/* Lines of values of events overlap. Those of a key of the people do not, unless the subject is another. */
enum err_code bind_habit_keys(struct binder *b)
{
    const struct ast_clauses *clauses = &b->ast->clauses;
    bool is_of_people = clauses->per.place.line == 0;
    for (uint32_t k = 0; k < clauses->key_count; k++) {
        is_of_people &= clauses->keys[k].field.profile == AST_PROFILE_NOW;
    }
    if (clauses->has_other && !is_of_people) {
        return bind_fail(
            b, clauses->top.place,
            "%s by a property of events has no \"with other\": people of several values "
            "would be in it twice; it goes with properties of profiles",
            ast_verb_name(b->ast->verb));
    }
    if (b->ast->clauses.is_list && clauses->key_count > 0) {
        return bind_fail(b, clauses->by,
                         "\"list users\" has no lines to put them in: leave \"by\" out, or ask for "
                         "\"users of (...) in\" this question");
    }
    return ERR_OK;
}

enum err_code bind_habits(struct binder *b)
{
    const struct ast_habits *ast = &b->ast->habits;
    struct bound_query *query = b->query;
    struct habits *habits = &query->habits;

    ERR_TRY(bind_selector(b, &ast->selector, false, &habits->selector));
    uint32_t events = ast->events.place.line == 0 ? 1 : (uint32_t)ast->events.value;
    habits->events_min = ast->events_op == AST_EVENTS_AT_MOST ? 1 : events;
    habits->events_max = ast->events_op == AST_EVENTS_AT_LEAST ? UINT32_MAX : events;
    habits->is_dau_mau = ast->is_dau_mau;
    habits->rolling_days = (uint32_t)ast->rolling.duration.count;
    habits->is_cumulative = ast->is_cumulative;
    habits->has_over = ast->over.place.line != 0;
    if (habits->has_over) {
        ERR_TRY(bind_unit(b, &ast->over, &habits->over_unit, &habits->over_count));
    }
    ERR_TRY(bind_habit_keys(b));
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
    return bind_habit_keys(b);
}

enum err_code bind_habits_columns(struct binder *b, struct str *items, uint32_t *ret_count)
{
    static const char *const lifecycle[] = {"time", "new", "returning", "resurrecting", "dormant"};
    static const char *const stickiness[] = {"time", "periods", "users"};
    static const char *const ratio[] = {"time", "days", "mean_dau", "mau", "dau_mau"};
    const struct habits *habits = &b->query->habits;
    bool is_lifecycle = b->query->verb == VERB_LIFECYCLE;
    const char *const *words = is_lifecycle ? lifecycle : habits->is_dau_mau ? ratio : stickiness;
    uint32_t word_count = is_lifecycle || habits->is_dau_mau ? 5 : 3;
    uint32_t count = 0;

    if (habits->is_dau_mau && habits->rolling_days > 0) { /* the number of days is in the names */
        items[count++] = STR("time");
        for (uint32_t i = 2; i < word_count; i++) {
            ERR_TRY(arena_printf(b->arena, &items[count++], b->err, "%s_%ud", ratio[i],
                                 habits->rolling_days));
        }
        *ret_count = count;
        return ERR_OK;
    }
    if (is_lifecycle || habits->is_dau_mau || habits->has_over) {
        items[count++] = str_of(words[0]);
    }
    for (uint32_t k = 0; k < b->query->key_count; k++) {
        items[count++] = b->query->keys[k].name;
    }
    for (uint32_t i = 1; i < word_count; i++) {
        items[count++] = str_of(words[i]);
    }
    *ret_count = count;
    return ERR_OK;
}
