/* query/bind_cell.c - `users of (...) in`: which columns name the cells of a verb's answer.
 *
 *     trend, distinct   time, the keys, measure (its column; the only one that counts users where it is not said)
 *     funnel            time, the keys, step; dropped = true: who got to the step before and not there
 *     retention         cohort, the keys, period (without it: the members)
 *     sequence          time, the keys, next: who has a match, and with `next KEY` this value behind it
 *     sessions          time, the keys: who had a session
 *     paths             time, the keys, position, from, to of an edge; path, of whole paths
 *     attribution       time, the key: who converted with credit for it; "(none)": without a touch
 *     absence           time, the keys: who has one absent, a silence; measure = "subjects": whose silences are counted
 *     intervals         time, the keys: who was online
 *     segment           none
 *
 * What is left out is not asked about: the people of any of its values.
 */
#include "query/bind_int.h"

#include "query/journey_measures.h"
#include "query/result.h"
#include "storage/base/size.h"

struct cell_binder {
    struct binder *b;
    struct bound_cell cell;
    struct cell *keys;
    bool *has_key;
    bool has_measure;
};

static enum err_code fail_type(struct cell_binder *c, const struct ast_coordinate *ast,
                               const char *what)
{
    return bind_fail(c->b, ast->is_null ? ast->name.place : ast->value.place,
                     "\"" STR_FMT "\" takes %s", STR_ARG(ast->name.text), what);
}

static enum err_code coordinate_count(struct cell_binder *c, const struct ast_coordinate *ast,
                                      uint64_t min, uint64_t max, uint32_t *ret)
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

static enum err_code coordinate_time(struct cell_binder *c, const struct ast_coordinate *ast)
{
    if (ast->is_null || (ast->value.kind != AST_TIME && ast->value.kind != AST_STRING)) {
        return fail_type(c, ast, "a date or an instant, as the answer has it");
    }
    c->cell.has_time = true;
    return bind_time(c->b, &ast->value, &c->cell.time_ms);
}

/* A value of a key, in the form that groups have it in. */
static enum err_code coordinate_value(struct cell_binder *c, const struct ast_coordinate *ast,
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
        return value->kind == AST_NUMBER ? ERR_OK : fail_type(c, ast, "a number");
    case COL_BOOL:
        *cell = (struct cell){.kind = CELL_BOOL, .boolean = value->boolean};
        return value->kind == AST_BOOL ? ERR_OK : fail_type(c, ast, "true or false");
    case COL_TIME: {
        char text[CIVIL_TEXT_BYTES];
        int64_t ts_ms = 0;
        if (value->kind != AST_TIME && value->kind != AST_STRING) {
            return fail_type(c, ast, "an instant");
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
               : fail_type(c, ast, is_label ? "the label of a bucket in quotes" : "text in quotes");
}

static enum err_code coordinate_key(struct cell_binder *c, const struct ast_coordinate *ast,
                                    uint32_t k)
{
    c->has_key[k] = true;
    return coordinate_value(c, ast, &c->b->query->keys[k], &c->keys[k]);
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
            c->has_measure = true;
            return is_users_measure(query, c->b->aggs, m)
                       ? ERR_OK
                       : bind_fail(c->b, ast->value.place,
                                   "measure \"" STR_FMT "\" does not count users",
                                   STR_ARG(ast->value.text));
        }
    }
    return fail_type(c, ast, "the name of a measure in quotes");
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

/* ---- verbs over journeys ---- */

static bool is_over_journeys(enum verb verb)
{
    return verb == VERB_SEQUENCE || verb == VERB_SESSIONS || verb == VERB_PATHS ||
           verb == VERB_ATTRIBUTION || verb == VERB_ABSENCE || verb == VERB_INTERVALS;
}

static enum err_code coordinate_next(struct cell_binder *c, const struct ast_coordinate *ast)
{
    struct cell *next = NULL;
    ERR_TRY(ARENA_NEW(c->b->arena, 1, &next, c->b->err));
    c->cell.next = next;
    return coordinate_value(c, ast, &c->b->query->sequence.next, next);
}

static enum err_code coordinate_node(struct cell_binder *c, const struct ast_coordinate *ast,
                                     bool *ret_has, struct str *ret)
{
    *ret_has = true;
    *ret = ast->value.text;
    return !ast->is_null && ast->value.kind == AST_STRING ? ERR_OK
                                                          : fail_type(c, ast, "a node in quotes");
}

/* The nodes of a path: ("a", "b"), or "a" of a path of one. */
static enum err_code coordinate_path(struct cell_binder *c, const struct ast_coordinate *ast)
{
    const struct ast_value *values = ast->values != NULL ? ast->values : &ast->value;
    uint32_t count = ast->values != NULL ? ast->value_count : 1;
    struct str *nodes = NULL;
    ERR_TRY(ARENA_NEW(c->b->arena, count, &nodes, c->b->err));
    for (uint32_t i = 0; i < count; i++) {
        if (ast->is_null || values[i].kind != AST_STRING) {
            return bind_fail(c->b, ast->is_null ? ast->name.place : values[i].place,
                             "\"path\" takes the nodes of a path in quotes: (\"a\", \"b\")");
        }
        nodes[i] = values[i].text;
    }
    c->cell.path = nodes;
    c->cell.path_count = count;
    return ERR_OK;
}

/* The one answer of these verbs with two columns that count users. */
static enum err_code coordinate_silences(struct cell_binder *c, const struct ast_coordinate *ast)
{
    c->cell.is_of_subjects = str_eq(ast->value.text, STR("subjects"));
    bool is_one = c->cell.is_of_subjects || str_eq(ast->value.text, STR("users"));
    return !ast->is_null && ast->value.kind == AST_STRING && is_one
               ? ERR_OK
               : fail_type(c, ast, "\"users\" or \"subjects\"");
}

static enum err_code bind_journey_coordinate(struct cell_binder *c,
                                             const struct ast_coordinate *ast, bool *ret_is_known)
{
    const struct bound_query *query = c->b->query;
    const struct paths *paths = &query->paths;
    struct str name = ast->name.text;
    bool is_edge = query->verb == VERB_PATHS && paths->shape == PATHS_EDGES;
    bool is_path = query->verb == VERB_PATHS && !is_edge;
    bool is_next = query->verb == VERB_SEQUENCE && query->sequence.mode == SEQUENCE_NEXT;
    bool is_silence = query->verb == VERB_ABSENCE && !query->absence.has_second;
    *ret_is_known = true;
    if (str_eq(name, STR("time")) && query->has_each) {
        return coordinate_time(c, ast);
    }
    if (str_eq(name, STR("next")) && is_next) {
        return coordinate_next(c, ast);
    }
    if (str_eq(name, STR("position")) && is_edge) {
        c->cell.has_position = true;
        return coordinate_count(c, ast, 1, paths->depth - 1, &c->cell.position);
    }
    if (str_eq(name, STR("from")) && is_edge) {
        return coordinate_node(c, ast, &c->cell.has_from, &c->cell.from);
    }
    if (str_eq(name, STR("to")) && is_edge) {
        return coordinate_node(c, ast, &c->cell.has_to, &c->cell.to);
    }
    if (str_eq(name, STR("path")) && is_path) {
        return coordinate_path(c, ast);
    }
    if (str_eq(name, STR("measure")) && is_silence) {
        return coordinate_silences(c, ast);
    }
    *ret_is_known = false;
    return ERR_OK;
}

/* What names the cells of these verbs beside the keys and the time. */
static const char *journey_columns(const struct bound_query *query)
{
    switch (query->verb) {
    case VERB_PATHS:
        return query->paths.shape == PATHS_EDGES ? ", position, from, to, and time with \"each\""
                                                 : ", path, and time with \"each\"";
    case VERB_SEQUENCE:
        return query->sequence.mode == SEQUENCE_NEXT ? ", next, and time with \"each\""
                                                     : ", and time with \"each\"";
    case VERB_ABSENCE:
        return query->absence.has_second ? ", and time with \"each\""
                                         : ", measure, and time with \"each\"";
    default: return ", and time with \"each\"";
    }
}

static bool has_measure(const uint8_t *measures, uint32_t count, uint8_t wanted)
{
    for (uint32_t i = 0; i < count; i++) {
        if (measures[i] == wanted) {
            return true;
        }
    }
    return false;
}

static enum err_code check_journeys(struct cell_binder *c)
{
    const struct bound_query *query = c->b->query;
    const struct sessions *sessions = &query->sessions;
    const struct intervals *intervals = &query->intervals;
    bool has_users = true;
    if (query->per != NULL) {
        return bind_fail(c->b, c->b->ast->users_of,
                         "\"users of\" goes with users, not with the values of \"per KEY\"");
    }
    if (query->verb == VERB_SESSIONS) {
        has_users = has_measure(sessions->measures, sessions->measure_count, SESSION_USERS);
    } else if (query->verb == VERB_INTERVALS) {
        has_users = has_measure(intervals->measures, intervals->measure_count, INTERVAL_USERS);
    }
    return has_users ? ERR_OK
                     : bind_fail(c->b, c->b->ast->users_of,
                                 "no cell of this answer counts users; its measures have to have "
                                 "\"users\" among them");
}

/* Conversions without a touch have no value of the key, but a line. */
static bool is_untouched(const struct bound_query *query, const struct ast_coordinate *ast)
{
    return query->verb == VERB_ATTRIBUTION && !ast->is_null && ast->value.kind == AST_STRING &&
           str_eq(ast->value.text, ATTRIBUTION_NONE);
}

static enum err_code bind_coordinate(struct cell_binder *c, const struct ast_coordinate *ast)
{
    const struct bound_query *query = c->b->query;
    struct str name = ast->name.text;
    bool is_trend = query->verb == VERB_TREND || query->verb == VERB_DISTINCT;
    bool is_funnel = query->verb == VERB_FUNNEL;
    bool is_retention = query->verb == VERB_RETENTION;
    bool is_known = false;
    bool is_list = ast->values != NULL;
    if (is_list && (query->verb != VERB_PATHS || !str_eq(name, STR("path")))) {
        return fail_type(c, ast, "one value");
    }
    for (uint32_t k = 0; k < query->key_count; k++) {
        if (str_eq(query->keys[k].name, name) && !is_list) {
            if (is_untouched(query, ast)) {
                c->has_key[k] = true;
                c->keys[k] = (struct cell){.kind = CELL_STRING, .string = ATTRIBUTION_NONE};
                return ERR_OK;
            }
            return coordinate_key(c, ast, k);
        }
    }
    if (is_over_journeys(query->verb)) {
        ERR_TRY(bind_journey_coordinate(c, ast, &is_known));
        if (is_known) {
            return ERR_OK;
        }
    }
    if ((str_eq(name, STR("time")) && query->has_each && (is_trend || is_funnel)) ||
        (str_eq(name, STR("cohort")) && is_retention)) {
        return coordinate_time(c, ast);
    }
    if (str_eq(name, STR("measure")) && is_trend) {
        return coordinate_measure(c, ast);
    }
    if (str_eq(name, STR("step")) && is_funnel) {
        return coordinate_count(c, ast, 1, query->funnel.step_count, &c->cell.step);
    }
    if (str_eq(name, STR("dropped")) && is_funnel) {
        c->cell.is_dropped = ast->value.boolean;
        return !ast->is_null && ast->value.kind == AST_BOOL ? ERR_OK
                                                            : fail_type(c, ast, "true or false");
    }
    if (str_eq(name, STR("period")) && is_retention) {
        c->cell.has_period = true;
        return coordinate_count(c, ast, 0, query->retention.period_count - 1, &c->cell.period);
    }
    return bind_fail(c->b, ast->name.place,
                     "\"" STR_FMT "\" names no cells of this answer: there are its keys%s",
                     STR_ARG(name),
                     is_funnel                       ? ", step, dropped, and time with \"each\""
                     : is_retention                  ? ", cohort and period"
                     : is_trend                      ? ", measure, and time with \"each\""
                     : is_over_journeys(query->verb) ? journey_columns(query)
                                                     : "");
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
    case VERB_SEGMENT: return ERR_OK;
    case VERB_TREND:
    case VERB_DISTINCT: return c->has_measure ? ERR_OK : find_measure(c);
    case VERB_FUNNEL: return check_funnel(c);
    case VERB_RETENTION:
        return query->retention.mode == RETENTION_BRACKET || query->per != NULL ||
                       query->retention.is_average
                   ? bind_fail(c->b, place,
                               "\"users of\" goes with cohorts of users and periods: not with "
                               "brackets, \"per\" or \"average\"")
                   : ERR_OK;
    case VERB_SEQUENCE:
    case VERB_SESSIONS:
    case VERB_PATHS:
    case VERB_ATTRIBUTION:
    case VERB_ABSENCE:
    case VERB_INTERVALS: return check_journeys(c);
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
