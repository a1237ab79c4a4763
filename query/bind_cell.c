/* query/bind_cell.c - `users of (...) in`: which columns name the cells of a verb's answer.
 *
 *     trend, distinct   time, the keys, measure (its column; the only one that counts users where it is not said)
 *     funnel            time, the keys, step; dropped = true: who got to the step before and not there
 *     retention, ltv    cohort, the keys, period (without it: the members)
 *     segment           none
 *     lifecycle, stickiness, conditions, churn: bind_cell_habits.c; the verbs over journeys: bind_cell_journeys.c
 *
 * What is left out is not asked about: the people of any of its values.
 */
#include "query/bind_cell_int.h"

#include "storage/base/size.h"

enum err_code cell_fail_type(struct cell_binder *c, const struct ast_coordinate *ast,
                             const char *what)
{
    return bind_fail(c->b, ast->is_null ? ast->name.place : ast->value.place,
                     "\"" STR_FMT "\" takes %s", STR_ARG(ast->name.text), what);
}

enum err_code cell_count(struct cell_binder *c, const struct ast_coordinate *ast, uint64_t min,
                         uint64_t max, uint32_t *ret)
{
    const struct ast_value *value = &ast->value;
    if (ast->is_null || value->kind != AST_NUMBER || value->number.scale != 0 ||
        value->number.m < (int64_t)min || value->number.m > (int64_t)max) {
        return bind_fail(c->b, ast->is_null ? ast->name.place : value->place,
                         "\"" STR_FMT "\" takes a whole number from %u to %u",
                         STR_ARG(ast->name.text), (unsigned)min, (unsigned)max);
    }
    *ret = (uint32_t)value->number.m;
    return ERR_OK;
}

enum err_code cell_time(struct cell_binder *c, const struct ast_coordinate *ast)
{
    if (ast->is_null || (ast->value.kind != AST_TIME && ast->value.kind != AST_STRING)) {
        return cell_fail_type(c, ast, "a date or an instant, as the answer has it");
    }
    c->cell.has_time = true;
    return bind_time(c->b, &ast->value, &c->cell.time_ms);
}

/* A value of a key, in the form that groups have it in. */
enum err_code cell_value(struct cell_binder *c, const struct ast_coordinate *ast,
                         const struct by_key *key, struct cell *cell)
{
    const struct ast_value *value = &ast->value;
    bool is_label = key->edges != NULL || key->field.kind == FIELD_UNKNOWN;
    if (ast->is_null) {
        *cell = (struct cell){.kind = CELL_NULL};
        return ERR_OK;
    }
    switch (is_label ? COL_STRING : key->field.type) {
    case COL_NUMBER:
        *cell = cell_of_num(value->number);
        return value->kind == AST_NUMBER ? ERR_OK : cell_fail_type(c, ast, "a number");
    case COL_BOOL:
        *cell = (struct cell){.kind = CELL_BOOL, .boolean = value->boolean};
        return value->kind == AST_BOOL ? ERR_OK : cell_fail_type(c, ast, "true or false");
    case COL_TIME: {
        char text[CIVIL_TEXT_BYTES];
        int64_t ts_ms = 0;
        if (value->kind != AST_TIME && value->kind != AST_STRING) {
            return cell_fail_type(c, ast, "an instant");
        }
        ERR_TRY(bind_time(c->b, value, &ts_ms));
        cell->kind = CELL_STRING;
        return arena_str(c->b->arena, civil_format_instant(c->b->query->zone, ts_ms, text),
                         &cell->string, c->b->err);
    }
    case COL_STRING:
    case COL_LIST: break;
    }
    *cell = (struct cell){.kind = CELL_STRING, .string = value->text};
    return value->kind == AST_STRING
               ? ERR_OK
               : cell_fail_type(c, ast,
                                is_label ? "the label of a bucket in quotes" : "text in quotes");
}

static enum err_code coordinate_key(struct cell_binder *c, const struct ast_coordinate *ast,
                                    uint32_t k)
{
    c->has_key[k] = true;
    return cell_value(c, ast, &c->b->query->keys[k], &c->keys[k]);
}

static bool is_users_measure(const struct bound_query *query, const struct agg *aggs, uint32_t m)
{
    const struct expr *expr = query->measures[m].expr;
    return expr->kind == EXPR_AGG && aggs[expr->agg].kind == AGG_USERS;
}

static enum err_code coordinate_measure(struct cell_binder *c, const struct ast_coordinate *ast)
{
    const struct bound_query *query = c->b->query;
    for (uint32_t m = 0; !ast->is_null && m < query->measure_count; m++) {
        if (ast->value.kind == AST_STRING && str_eq(query->measures[m].name, ast->value.text)) {
            c->cell.measure = m;
            c->cell.has_measure = true;
            return is_users_measure(query, c->b->aggs, m)
                       ? ERR_OK
                       : bind_fail(c->b, ast->value.place,
                                   "measure \"" STR_FMT "\" does not count users",
                                   STR_ARG(ast->value.text));
        }
    }
    return cell_fail_type(c, ast, "the name of a measure in quotes");
}

/* One that is not said: the only measure that counts users. */
static enum err_code find_measure(struct cell_binder *c)
{
    const struct bound_query *query = c->b->query;
    uint32_t count = 0;
    for (uint32_t m = 0; m < query->measure_count; m++) {
        if (is_users_measure(query, c->b->aggs, m)) {
            c->cell.measure = m;
            count++;
        }
    }
    return count == 1 ? ERR_OK
                      : bind_fail(c->b, c->b->ast->users_of,
                                  "%u measures count users; say which: measure = \"...\"", count);
}

/* What `period` says of a bracket: "2-7", or "3", which may stand without quotes. */
static enum err_code coordinate_bracket(struct cell_binder *c, const struct ast_coordinate *ast)
{
    const struct retention *retention = &c->b->query->retention;
    const struct ast_value *value = &ast->value;
    bool is_number = !ast->is_null && value->kind == AST_NUMBER;
    if (!is_number && (ast->is_null || value->kind != AST_STRING)) {
        return cell_fail_type(c, ast, "a bracket as the answer has it, \"2-7\"");
    }
    for (uint32_t i = 0; i < retention->bracket_count; i++) {
        const struct retention_bracket *bracket = &retention->brackets[i];
        struct str text = {0};
        ERR_TRY(retention_bracket_text(bracket, c->b->arena, &text, c->b->err));
        bool is_it = is_number ? bracket->first == bracket->last &&
                                     num_cmp(value->number, num_int(bracket->first)) == 0
                               : str_eq(value->text, text);
        if (is_it) {
            c->cell.period = i;
            return ERR_OK;
        }
    }
    return bind_fail(c->b, value->place, "the answer has no such bracket");
}

static enum err_code coordinate_period(struct cell_binder *c, const struct ast_coordinate *ast)
{
    const struct retention *retention = &c->b->query->retention;
    c->cell.has_period = true;
    return retention->mode == RETENTION_BRACKET
               ? coordinate_bracket(c, ast)
               : cell_count(c, ast, 0, retention->period_count - 1, &c->cell.period);
}

static enum err_code bind_coordinate(struct cell_binder *c, const struct ast_coordinate *ast)
{
    const struct bound_query *query = c->b->query;
    struct str name = ast->name.text;
    bool is_trend = query->verb == VERB_TREND || query->verb == VERB_DISTINCT;
    bool is_funnel = query->verb == VERB_FUNNEL;
    bool is_retention = query->verb == VERB_RETENTION || query->verb == VERB_LTV;
    bool is_taken = false;
    bool is_list = ast->values != NULL;
    if (is_list && (query->verb != VERB_PATHS || !str_eq(name, STR("path")))) {
        return cell_fail_type(c, ast, "one value");
    }
    for (uint32_t k = 0; k < query->key_count; k++) {
        if (str_eq(query->keys[k].name, name) && !is_list) {
            if (cell_is_untouched(query, ast)) {
                c->has_key[k] = true;
                c->keys[k] = (struct cell){.kind = CELL_STRING, .string = ATTRIBUTION_NONE};
                return ERR_OK;
            }
            return coordinate_key(c, ast, k);
        }
    }
    if (cell_is_of_journeys(query->verb)) {
        ERR_TRY(cell_journey(c, ast, &is_taken));
        if (is_taken) {
            return ERR_OK;
        }
    }
    if ((str_eq(name, STR("time")) && query->has_each && (is_trend || is_funnel)) ||
        (str_eq(name, STR("cohort")) && is_retention)) {
        return cell_time(c, ast);
    }
    if (str_eq(name, STR("measure")) && is_trend) {
        return coordinate_measure(c, ast);
    }
    if (str_eq(name, STR("step")) && is_funnel) {
        return cell_count(c, ast, 1, query->funnel.step_count, &c->cell.step);
    }
    if (str_eq(name, STR("dropped")) && is_funnel) {
        c->cell.is_dropped = ast->value.boolean;
        return !ast->is_null && ast->value.kind == AST_BOOL
                   ? ERR_OK
                   : cell_fail_type(c, ast, "true or false");
    }
    if (str_eq(name, STR("period")) && is_retention) {
        return coordinate_period(c, ast);
    }
    ERR_TRY(cell_habit(c, ast, &is_taken));
    if (is_taken) {
        return ERR_OK;
    }
    return bind_fail(c->b, ast->name.place,
                     "\"" STR_FMT "\" names no cells of this answer: there are its keys%s",
                     STR_ARG(name),
                     is_funnel                          ? ", step, dropped, and time with \"each\""
                     : is_retention                     ? ", cohort and period"
                     : is_trend                         ? ", measure, and time with \"each\""
                     : cell_is_of_journeys(query->verb) ? cell_journey_words(query)
                                                        : cell_habit_words(query));
}

enum err_code cell_check_per(struct cell_binder *c)
{
    const struct field *per = c->b->query->per;
    return per == NULL
               ? ERR_OK
               : bind_fail(c->b, c->b->ast->users_of,
                           "\"users of\" tells people: a value of \"per " STR_FMT "\" is none",
                           STR_ARG(per->name));
}

static enum err_code check_funnel(struct cell_binder *c)
{
    const struct bound_query *query = c->b->query;
    const struct funnel *funnel = &query->funnel;
    struct place place = c->b->ast->users_of;
    c->cell.step = MAX_OF(c->cell.step, 1u);
    if (funnel->count != FUNNEL_USERS || query->per != NULL || funnel->table != FUNNEL_STEPS) {
        return bind_fail(c->b, place,
                         "\"users of\" goes with a funnel that counts users, by its steps");
    }
    for (uint32_t i = 0; c->cell.is_dropped && i < funnel->step_count; i++) {
        if (funnel->steps[i].is_optional || c->cell.step == 1) {
            return bind_fail(c->b, place,
                             "\"dropped\" is said of a step after the first, and of funnels "
                             "without optional steps");
        }
    }
    return ERR_OK;
}

static enum err_code check_verb(struct cell_binder *c)
{
    const struct bound_query *query = c->b->query;
    struct place place = c->b->ast->users_of;
    switch (query->verb) {
    case VERB_TREND:
    case VERB_DISTINCT: return c->cell.has_measure ? ERR_OK : find_measure(c);
    case VERB_FUNNEL: return check_funnel(c);
    case VERB_RETENTION:
    case VERB_LTV:
        return query->per != NULL || query->retention.is_average
                   ? bind_fail(c->b, place,
                               "\"users of\" goes with cohorts of users and periods: not with "
                               "\"per\" or \"average\"")
                   : ERR_OK;
    case VERB_SEQUENCE:
    case VERB_SESSIONS:
    case VERB_PATHS:
    case VERB_ATTRIBUTION:
    case VERB_ABSENCE:
    case VERB_INTERVALS: return cell_check_journeys(c);
    case VERB_SEGMENT:
    case VERB_LIFECYCLE:
    case VERB_STICKINESS:
    case VERB_CONDITIONS:
    case VERB_CHURN: return cell_check_per(c);
    default: break;
    }
    return err_set_at(c->b->err, ERR_UNSUPPORTED, place.line, place.column,
                      "\"users of\" %s is not in this version", ast_verb_name(c->b->ast->verb));
}

enum err_code bind_cell(struct binder *b)
{
    const struct ast_query *ast = b->ast;
    struct cell_binder c = {.b = b};
    struct bound_cell *cell = NULL;
    if (ast->users_of.line == 0) {
        return ERR_OK;
    }
    if (ast->clauses.has_other) {
        return bind_fail(b, ast->users_of,
                         "\"users of\" names one group, and \"with other\" is many");
    }
    ERR_TRY(ARENA_NEW(b->arena, b->query->key_count, &c.keys, b->err));
    ERR_TRY(ARENA_NEW(b->arena, b->query->key_count, &c.has_key, b->err));
    for (uint32_t i = 0; i < ast->coordinate_count; i++) {
        ERR_TRY(bind_coordinate(&c, &ast->coordinates[i]));
    }
    ERR_TRY(check_verb(&c));
    c.cell.keys = c.keys;
    c.cell.has_key = c.has_key;
    ERR_TRY(ARENA_NEW(b->arena, 1, &cell, b->err));
    *cell = c.cell;
    b->query->cell = cell;
    return ERR_OK;
}
