/* query/parse_attribution.c
 *
 *     attribution of SEL by KEY  [ model linear ]  [ touches SEL ]  [ lookback 30d ]  [ half_life 7d ]
 *                 [ consume ]  [ keep repeats ]  [ value sum(NUMBER of SEL) ]
 */
#include "query/parse_int.h"

enum err_code verb_attribution_parse(struct parser *p)
{
    ERR_TRY(parse_need_word(p, "of"));
    return parse_selector(p, &p->query->attribution.conversion);
}

enum err_code clause_model(struct parser *p)
{
    static const char *const words[] = {
        [AST_MODEL_FIRST] = "first_touch",
        [AST_MODEL_LAST] = "last_touch",
        [AST_MODEL_LAST_NON_DIRECT] = "last_non_direct",
        [AST_MODEL_LINEAR] = "linear",
        [AST_MODEL_TIME_DECAY] = "time_decay",
        [AST_MODEL_POSITION] = "position",
    };
    for (uint32_t i = 0; i < COUNT_OF(words); i++) {
        if (parse_accept_word(p, words[i])) {
            p->query->attribution.model = (enum ast_model)i;
            return ERR_OK;
        }
    }
    return parse_expected_of(p,
                             "a model (first_touch, last_touch, last_non_direct, linear, "
                             "time_decay, position)",
                             words, COUNT_OF(words));
}

enum err_code clause_touches(struct parser *p)
{
    p->query->attribution.has_touches = true;
    return parse_selector(p, &p->query->attribution.touches);
}

enum err_code clause_lookback(struct parser *p)
{
    return parse_window(p, "\"lookback\"", &p->query->attribution.lookback);
}

enum err_code clause_half_life(struct parser *p)
{
    struct ast_duration *half_life = &p->query->attribution.half_life;
    ERR_TRY(parse_window(p, "\"half_life\"", half_life));
    return half_life->duration.count > 0
               ? ERR_OK
               : parse_fail(p, half_life->place, "a half-life is longer than 0");
}

enum err_code clause_consume(struct parser *p)
{
    p->query->attribution.is_consuming = true;
    return ERR_OK;
}

enum err_code clause_value(struct parser *p)
{
    struct ast_attribution *attribution = &p->query->attribution;
    ERR_TRY(parse_need_word(p, "sum"));
    ERR_TRY(parse_need(p, TOK_LPAREN, "\"(\""));
    ERR_TRY(parse_field(p, &attribution->value));
    attribution->has_value_selector = parse_accept_word(p, "of");
    if (attribution->has_value_selector) {
        ERR_TRY(parse_selector(p, &attribution->value_selector));
    }
    return parse_need(p, TOK_RPAREN, "\"of\" or \")\"");
}

enum err_code parse_check_attribution(struct parser *p)
{
    const struct ast_query *query = p->query;
    if (query->clauses.key_count != 1) {
        return parse_fail(p, query->clauses.key_count == 0 ? query->place : query->clauses.by,
                          "attribution gives credit to the values of one key: \"by channel\"");
    }
    if (query->attribution.half_life.place.line != 0 &&
        query->attribution.model != AST_MODEL_TIME_DECAY) {
        return parse_fail(p, query->attribution.half_life.place,
                          "\"half_life\" goes with \"model time_decay\"");
    }
    return ERR_OK;
}
