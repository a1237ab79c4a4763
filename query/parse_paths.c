/* query/parse_paths.c
 *
 *     paths  [ starting at SEL | ending at SEL | between SEL and SEL ]
 *            [ depth N | exactly N | variants | shortest ]  [ per session | per user ]  [ gap 30m ]
 *            [ over KEY, KEY ]  [ ignore SEL ]  [ ignore trailing slash ]
 *            [ group "PATTERN" as "NAME", ... ]  [ keep repeats ]  [ times ]  [ loops ]
 */
#include "query/parse_int.h"

#include "query/bound.h"

enum err_code verb_paths_parse(struct parser *p)
{
    (void)p; /* all that paths have are clauses */
    return ERR_OK;
}

enum err_code clause_starting(struct parser *p)
{
    p->query->paths.from = AST_PATHS_STARTING;
    ERR_TRY(parse_need_word(p, "at"));
    return parse_selector(p, &p->query->paths.start);
}

enum err_code clause_ending(struct parser *p)
{
    p->query->paths.from = AST_PATHS_ENDING;
    ERR_TRY(parse_need_word(p, "at"));
    return parse_selector(p, &p->query->paths.end);
}

enum err_code clause_between(struct parser *p)
{
    p->query->paths.from = AST_PATHS_BETWEEN;
    ERR_TRY(parse_selector(p, &p->query->paths.start));
    ERR_TRY(parse_need_word(p, "and"));
    return parse_selector(p, &p->query->paths.end);
}

enum err_code clause_depth(struct parser *p)
{
    return parse_count(p, "depth", 2, PATHS_DEPTH_MAX, &p->query->paths.depth);
}

enum err_code clause_exactly(struct parser *p)
{
    return parse_count(p, "exactly", 1, PATHS_DEPTH_MAX, &p->query->paths.exactly);
}

enum err_code clause_variants(struct parser *p)
{
    p->query->paths.is_variants = true;
    return ERR_OK;
}

enum err_code clause_per_session(struct parser *p)
{
    ERR_TRY(parse_need_word(p, "session"));
    p->query->paths.unit = AST_UNIT_SESSION;
    return ERR_OK;
}

enum err_code clause_per_subject(struct parser *p)
{
    ERR_TRY(parse_need_word(p, "user"));
    p->query->paths.unit = AST_UNIT_SUBJECT;
    return ERR_OK;
}

enum err_code clause_over(struct parser *p)
{
    struct ast_name *keys = NULL;
    uint32_t count = 0;
    ERR_TRY(ARENA_NEW(p->arena, QUERY_KEYS_MAX, &keys, p->err));
    do {
        if (count == QUERY_KEYS_MAX) {
            return parse_limit(p, p->cur.place, "a node is made of at most %u keys",
                               QUERY_KEYS_MAX);
        }
        ERR_TRY(parse_field(p, &keys[count]));
        count++;
    } while (parse_accept(p, TOK_COMMA));
    p->query->paths.over = keys;
    p->query->paths.over_count = count;
    return ERR_OK;
}

enum err_code clause_ignore(struct parser *p)
{
    p->query->paths.has_ignore = true;
    return parse_selector(p, &p->query->paths.ignore);
}

enum err_code clause_ignore_trailing(struct parser *p)
{
    ERR_TRY(parse_need_word(p, "trailing"));
    p->query->paths.is_slash_ignored = true;
    return parse_need_word(p, "slash");
}

enum err_code clause_group(struct parser *p)
{
    struct ast_path_rule *rules = NULL;
    uint32_t count = 0;
    uint32_t cap = 0;
    do {
        if (count == PATHS_RULES_MAX) {
            return parse_limit(p, p->cur.place, "more than %u rules of \"group\"", PATHS_RULES_MAX);
        }
        ERR_TRY(GROW(p->arena, &rules, count, &cap, p->err));
        ERR_TRY(parse_string(p, "a pattern in quotes, such as \"/p/*\"", &rules[count].pattern));
        ERR_TRY(parse_need_word(p, "as"));
        ERR_TRY(parse_string(p, "the name of the group in quotes", &rules[count].label));
        count++;
    } while (parse_accept(p, TOK_COMMA));
    p->query->paths.rules = rules;
    p->query->paths.rule_count = count;
    return ERR_OK;
}

enum err_code clause_gap(struct parser *p)
{
    return parse_window(
        p, "\"gap\"", p->query->verb == AST_PATHS ? &p->query->paths.gap : &p->query->absence.gap);
}

enum err_code clause_keep(struct parser *p)
{
    p->query->paths.keeps_repeats = true;
    p->query->attribution.keeps_repeats = true;
    return parse_need_word(p, "repeats");
}

enum err_code clause_path_times(struct parser *p)
{
    p->query->paths.has_times = true;
    return ERR_OK;
}

enum err_code clause_loops(struct parser *p)
{
    p->query->paths.has_loops = true;
    return ERR_OK;
}

enum err_code clause_shortest(struct parser *p)
{
    p->query->paths.is_shortest = true;
    return ERR_OK;
}

enum err_code parse_check_paths(struct parser *p)
{
    const struct ast_paths *paths = &p->query->paths;
    bool is_edges = paths->exactly.place.line == 0 && !paths->is_variants && !paths->is_shortest;
    if (!is_edges && p->query->clauses.has_other) {
        return parse_fail(p, p->query->clauses.top.place,
                          "\"with other\" goes with edges; whole paths are not added up");
    }
    if (!is_edges && (paths->has_times || paths->has_loops)) {
        return parse_fail(p, p->query->place, "\"%s\" goes with edges, not with whole paths",
                          paths->has_times ? "times" : "loops");
    }
    if (paths->is_shortest && paths->from != AST_PATHS_BETWEEN) {
        return parse_fail(p, p->query->place,
                          "\"shortest\" paths are those \"between SEL and SEL\"");
    }
    if (paths->is_variants && paths->from != AST_PATHS_ALL) {
        return parse_fail(p, p->query->place,
                          "\"variants\" are whole journeys: they start and end where these do");
    }
    return ERR_OK;
}
