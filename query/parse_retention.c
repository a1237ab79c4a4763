/* query/parse_retention.c
 *
 *     retention SEL -> SEL each day for 30 [ until ] [ value sum(NUMBER of SEL) ] [ average ] ...
 *     ltv SEL [ -> SEL ] value sum(NUMBER of SEL) each month for 12 [ discount 0.01 ] [ average ]
 *     churn 14d of SEL last 30d [ list users ]          churn 14d of SEL last_seen
 *
 * The words of retention that take nothing behind them are in parse_clauses.c. */
#include "query/parse_int.h"

/* ---- retention ---- */

enum err_code clause_until(struct parser *p)
{
    p->query->retention.mode = AST_RETURN_UNTIL;
    return ERR_OK;
}

enum err_code clause_average(struct parser *p)
{
    p->query->retention.is_average = true;
    return ERR_OK;
}

enum err_code clause_retention_value(struct parser *p)
{
    static const char *const words[] = {"sum", "avg"};
    struct ast_retention *retention = &p->query->retention;
    retention->is_value_mean = parse_is_word(&p->cur, "avg") && p->query->verb == AST_RETENTION;
    if (!retention->is_value_mean && !parse_is_word(&p->cur, "sum")) {
        bool is_ltv = p->query->verb == AST_LTV;
        return parse_expected_of(p, is_ltv ? "\"sum\"" : "\"sum\" or \"avg\"", words,
                                 is_ltv ? 1 : COUNT_OF(words));
    }
    parse_advance(p);
    ERR_TRY(parse_need(p, TOK_LPAREN, "\"(\""));
    ERR_TRY(parse_field(p, &retention->value));
    retention->has_value_selector = parse_accept_word(p, "of");
    if (retention->has_value_selector) {
        ERR_TRY(parse_selector(p, &retention->value_selector));
    }
    return parse_need(p, TOK_RPAREN, "\"of\" or \")\"");
}

enum err_code parse_check_retention(struct parser *p)
{
    const struct ast_query *query = p->query;
    const char *verb = ast_verb_name(query->verb);
    if (query->verb == AST_LTV && query->retention.value.place.line == 0) {
        return parse_fail(p, query->place,
                          "ltv needs the money: \"value sum(amount of pay_success)\"");
    }
    if (query->clauses.each.place.line == 0) {
        return parse_fail(p, query->place,
                          "%s needs its period: \"each day\", \"each week\", \"each month\"", verb);
    }
    if (query->retention.periods.place.line == 0 && query->retention.bracket_count == 0) {
        return parse_fail(p, query->place,
                          "%s needs the number of periods: \"for 30\" is periods 0 to 30", verb);
    }
    return ERR_OK;
}

/* ---- ltv ---- */

enum err_code verb_ltv_parse(struct parser *p)
{
    struct ast_retention *retention = &p->query->retention;
    ERR_TRY(parse_selector(p, &retention->start));
    retention->has_back = parse_accept(p, TOK_ARROW);
    return retention->has_back ? parse_selector(p, &retention->back) : ERR_OK;
}

enum err_code clause_discount(struct parser *p)
{
    struct ast_retention *retention = &p->query->retention;
    retention->discount_place = p->cur.place;
    ERR_TRY(parse_number(p, "a rate per period, such as 0.01", &retention->discount));
    bool is_rate = num_cmp(retention->discount, num_int(0)) >= 0 &&
                   num_cmp(retention->discount, num_int(1)) <= 0;
    return is_rate ? ERR_OK
                   : parse_fail(p, retention->discount_place,
                                "\"discount\" takes a rate per period from 0 to 1");
}

/* ---- churn ---- */

enum err_code verb_churn_parse(struct parser *p)
{
    struct ast_churn *churn = &p->query->churn;
    ERR_TRY(parse_duration(p, "churn", &churn->silence));
    enum duration_unit unit = churn->silence.duration.unit;
    uint64_t days = churn->silence.duration.count;
    bool is_days = unit == UNIT_D || unit == UNIT_W;
    if (!is_days || days == 0 || days > PARSE_CHURN_DAYS_MAX / (unit == UNIT_W ? 7 : 1)) {
        return parse_fail(p, churn->silence.place,
                          "churn takes whole civil days, 1d to %ud, as in \"churn 14d of active\"",
                          PARSE_CHURN_DAYS_MAX);
    }
    ERR_TRY(parse_need_word(p, "of"));
    return parse_selector(p, &churn->selector);
}

enum err_code clause_last_seen(struct parser *p)
{
    p->query->churn.is_last_seen = true;
    return ERR_OK;
}
