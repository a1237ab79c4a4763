/* query/bind_cell_journeys.c - which cells of the verbs over journeys `users of (...) in` names.
 *
 *     sequence       time, the keys, next: who has a match, and with `next KEY` this value behind it
 *     sessions       time, the keys: who had a session
 *     paths          time, the keys, position, from, to of an edge; path, of whole paths
 *     attribution    time, the key: who converted with credit for it; "(none)": without a touch
 *     absence        time, the keys: who has one absent, a silence; measure = "subjects": whose silences are counted
 *     intervals      time, the keys: who was online
 */
#include "query/bind_cell_int.h"

#include "query/journey_measures.h"

bool cell_is_of_journeys(enum verb verb)
{
    return verb == VERB_SEQUENCE || verb == VERB_SESSIONS || verb == VERB_PATHS ||
           verb == VERB_ATTRIBUTION || verb == VERB_ABSENCE || verb == VERB_INTERVALS;
}

static enum err_code coordinate_next(struct cell_binder *c, const struct ast_coordinate *ast)
{
    struct cell *next = NULL;
    ERR_TRY(ARENA_NEW(c->b->arena, 1, &next, c->b->err));
    c->cell.next = next;
    return cell_value(c, ast, &c->b->query->sequence.next, next);
}

static enum err_code coordinate_node(struct cell_binder *c, const struct ast_coordinate *ast,
                                     bool *ret_has, struct str *ret)
{
    *ret_has = true;
    *ret = ast->value.text;
    return !ast->is_null && ast->value.kind == AST_STRING
               ? ERR_OK
               : cell_fail_type(c, ast, "a node in quotes");
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
               : cell_fail_type(c, ast, "\"users\" or \"subjects\"");
}

enum err_code cell_journey(struct cell_binder *c, const struct ast_coordinate *ast,
                           bool *ret_is_taken)
{
    const struct bound_query *query = c->b->query;
    const struct paths *paths = &query->paths;
    struct str name = ast->name.text;
    bool is_edge = query->verb == VERB_PATHS && paths->shape == PATHS_EDGES;
    bool is_path = query->verb == VERB_PATHS && !is_edge;
    bool is_next = query->verb == VERB_SEQUENCE && query->sequence.mode == SEQUENCE_NEXT;
    bool is_silence = query->verb == VERB_ABSENCE && !query->absence.has_second;
    *ret_is_taken = true;
    if (str_eq(name, STR("time")) && query->has_each) {
        return cell_time(c, ast);
    }
    if (str_eq(name, STR("next")) && is_next) {
        return coordinate_next(c, ast);
    }
    if (str_eq(name, STR("position")) && is_edge) {
        c->cell.has_position = true;
        return cell_count(c, ast, 1, paths->depth - 1, &c->cell.position);
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
    *ret_is_taken = false;
    return ERR_OK;
}

const char *cell_journey_words(const struct bound_query *query)
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

enum err_code cell_check_journeys(struct cell_binder *c)
{
    const struct bound_query *query = c->b->query;
    const struct sessions *sessions = &query->sessions;
    const struct intervals *intervals = &query->intervals;
    bool has_users = true;
    ERR_TRY(cell_check_per(c));
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

bool cell_is_untouched(const struct bound_query *query, const struct ast_coordinate *ast)
{
    return query->verb == VERB_ATTRIBUTION && !ast->is_null && ast->value.kind == AST_STRING &&
           str_eq(ast->value.text, ATTRIBUTION_NONE);
}
