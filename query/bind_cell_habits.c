/* query/bind_cell_habits.c - `users of (...) in`: the cells of lifecycle, stickiness, conditions and churn.
 *
 *     lifecycle      time, the keys, measure: "new", "returning", "resurrecting", "dormant"
 *     stickiness     time with `over`, the keys, periods; with `cumulative`: in so many or more
 *       dau_mau      time, measure "mau" (or "mau_28d"), which need not be said: the others are no people
 *     conditions     the keys, condition: who met it, and the first
 *     churn          time with `each`, the keys, measure: "base", "churned"
 *
 * A measure that is not said is any of them: of lifecycle, who is in one of the four; of churn, the base.
 */
#include "query/bind_cell_int.h"

/* Columns of people, each by its number; `words` ends with NULL. */
static enum err_code measure_of(struct cell_binder *c, const struct ast_coordinate *ast,
                                const char *const *words)
{
    struct str list = {0};
    for (uint32_t m = 0; words[m] != NULL; m++) {
        if (!ast->is_null && ast->value.kind == AST_STRING &&
            str_eq(ast->value.text, str_of(words[m]))) {
            c->cell.measure = m;
            c->cell.has_measure = true;
            return ERR_OK;
        }
        ERR_TRY(arena_printf(c->b->arena, &list, c->b->err, STR_FMT "%s\"%s\"", STR_ARG(list),
                             m == 0 ? "" : ", ", words[m]));
    }
    return bind_fail(c->b, ast->is_null ? ast->name.place : ast->value.place,
                     "\"measure\" takes a column that counts people: " STR_FMT, STR_ARG(list));
}

static enum err_code ratio_measure(struct cell_binder *c, const struct ast_coordinate *ast)
{
    const char *words[] = {"mau", NULL};
    uint32_t days = c->b->query->habits.rolling_days;
    struct str text = {0};
    if (days > 0) {
        ERR_TRY(arena_printf(c->b->arena, &text, c->b->err, "mau_%ud", days));
        words[0] = text.ptr;
    }
    return measure_of(c, ast, words);
}

static enum err_code habit_measure(struct cell_binder *c, const struct ast_coordinate *ast,
                                   bool *ret_is_taken)
{
    static const char *const life[LIFE_KINDS + 1] = {
        [LIFE_NEW] = "new",
        [LIFE_RETURNING] = "returning",
        [LIFE_RESURRECTING] = "resurrecting",
        [LIFE_DORMANT] = "dormant",
    };
    static const char *const churn[CHURN_KINDS + 1] = {
        [CHURN_BASE] = "base",
        [CHURN_CHURNED] = "churned",
    };
    const struct bound_query *query = c->b->query;
    bool is_ratio = query->verb == VERB_STICKINESS && query->habits.is_dau_mau;
    *ret_is_taken = query->verb == VERB_LIFECYCLE || query->verb == VERB_CHURN || is_ratio;
    if (!*ret_is_taken) {
        return ERR_OK;
    }
    return is_ratio ? ratio_measure(c, ast)
                    : measure_of(c, ast, query->verb == VERB_CHURN ? churn : life);
}

static bool has_time(const struct bound_query *query)
{
    switch (query->verb) {
    case VERB_LIFECYCLE: return true;
    case VERB_STICKINESS: return query->habits.has_over || query->habits.is_dau_mau;
    default: return query->has_each; /* of churn */
    }
}

enum err_code cell_habit(struct cell_binder *c, const struct ast_coordinate *ast,
                         bool *ret_is_taken)
{
    const struct bound_query *query = c->b->query;
    struct str name = ast->name.text;
    bool is_histogram = query->verb == VERB_STICKINESS && !query->habits.is_dau_mau;
    *ret_is_taken = true;
    bool is_habit = query->verb == VERB_LIFECYCLE || query->verb == VERB_STICKINESS ||
                    query->verb == VERB_CONDITIONS || query->verb == VERB_CHURN;
    if (str_eq(name, STR("time")) && is_habit && has_time(query)) {
        return cell_time(c, ast);
    }
    if (str_eq(name, STR("periods")) && is_histogram) {
        return cell_count(c, ast, 1, QUERY_BUCKETS_MAX, &c->cell.number);
    }
    if (str_eq(name, STR("condition")) && query->verb == VERB_CONDITIONS) {
        return cell_count(c, ast, 1, c->b->ast->conditions.count, &c->cell.number);
    }
    *ret_is_taken = false;
    return str_eq(name, STR("measure")) ? habit_measure(c, ast, ret_is_taken) : ERR_OK;
}

const char *cell_habit_words(const struct bound_query *query)
{
    switch (query->verb) {
    case VERB_LIFECYCLE: return ", time and measure";
    case VERB_STICKINESS:
        return query->habits.is_dau_mau ? ", time and measure"
               : query->habits.has_over ? ", time and periods"
                                        : " and periods";
    case VERB_CONDITIONS: return " and condition";
    case VERB_CHURN: return query->has_each ? ", time and measure" : " and measure";
    default: return "";
    }
}
