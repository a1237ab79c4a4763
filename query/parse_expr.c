/* query/parse_expr.c - measures.
 *
 *     measure = [ "rolling" DURATION ] expr [ "as" NAME ]
 *     expr    = term { ("+" | "-") term }
 *     term    = unary { ("*" | "/") unary }
 *     unary   = "-" unary | NUMBER | "(" expr ")" | metric | agg
 *     agg     = ("count" | "users") "(" selector ")" | NAME "(" FIELD [ "of" selector ] ")"
 *
 * In conditions on people (parse_segment.c) a range may stand before the ")" of an agg, and behind a metric.
 */
#include "query/parse_int.h"

static const char *const agg_words[] = {
    [AST_AGG_COUNT] = "count",   [AST_AGG_USERS] = "users", [AST_AGG_UNIQUE] = "unique",
    [AST_AGG_SUM] = "sum",       [AST_AGG_AVG] = "avg",     [AST_AGG_MIN] = "min",
    [AST_AGG_MAX] = "max",       [AST_AGG_FIRST] = "first", [AST_AGG_LAST] = "last",
    [AST_AGG_MEDIAN] = "median",
};

static const char measure_what[] =
    "a measure (count, users, unique, sum, avg, min, max, first, last, median, p95)";

/* p95, p99.9: the digits behind the p, or an empty string. */
static struct str percentile_of(struct str name)
{
    struct str none = {0};
    bool has_dot = false;
    if (name.len < 2 || name.ptr[0] != 'p' || name.ptr[name.len - 1] == '.' || name.ptr[1] == '.' ||
        name.len > 20) {
        return none;
    }
    for (size_t i = 1; i < name.len; i++) {
        bool is_dot = name.ptr[i] == '.';
        if ((is_dot && has_dot) || (!is_dot && (name.ptr[i] < '0' || name.ptr[i] > '9'))) {
            return none;
        }
        has_dot = has_dot || is_dot;
    }
    return (struct str){name.ptr + 1, name.len - 1};
}

static enum err_code parse_agg_name(struct parser *p, struct ast_expr *expr)
{
    struct str name = p->cur.value;
    for (uint32_t i = 0; i < COUNT_OF(agg_words); i++) {
        if (str_eq(name, str_of(agg_words[i]))) {
            expr->agg = (enum ast_agg)i;
            parse_advance(p);
            return ERR_OK;
        }
    }
    expr->agg = AST_AGG_PERCENTILE;
    expr->percentile = percentile_of(name);
    if (expr->percentile.len == 0) {
        return parse_expected_of(p, measure_what, agg_words, COUNT_OF(agg_words));
    }
    struct num number = {0};
    struct num zero = num_int(0);
    struct num hundred = num_int(100);
    struct str digits = expr->percentile; /* JSON's numbers have no leading zeros */
    while (digits.len > 1 && digits.ptr[0] == '0' && digits.ptr[1] != '.') {
        digits = (struct str){digits.ptr + 1, digits.len - 1};
    }
    if (!num_parse(digits, &number) || num_cmp(number, zero) <= 0 ||
        num_cmp(number, hundred) >= 0) {
        return parse_fail(p, p->cur.place,
                          "percentile \"" STR_FMT "\" is not between 0 and 100; both excluded",
                          STR_ARG(name));
    }
    expr->percentile = digits;
    parse_advance(p);
    return ERR_OK;
}

static enum err_code parse_agg_end(struct parser *p, struct ast_expr *expr)
{
    struct ast_range *range = NULL;
    if (!p->takes_ranges) {
        return parse_need(p, TOK_RPAREN, expr->has_selector ? "\")\"" : "\"of\" or \")\"");
    }
    ERR_TRY(ARENA_NEW(p->arena, 1, &range, p->err));
    ERR_TRY(parse_range(p, range));
    expr->range = range->kind == AST_RANGE_NONE ? NULL : range;
    return parse_need(p, TOK_RPAREN,
                      expr->has_selector ? "a range or \")\"" : "\"of\", a range or \")\"");
}

static enum err_code parse_agg(struct parser *p, struct ast_expr *expr)
{
    if (p->cur.kind != TOK_NAME || p->peek.kind != TOK_LPAREN) {
        return p->cur.kind == TOK_NAME
                   ? parse_expected_of(p, measure_what, agg_words, COUNT_OF(agg_words))
                   : parse_expected(p, measure_what);
    }
    expr->kind = AST_EXPR_AGG;
    ERR_TRY(parse_agg_name(p, expr));
    parse_advance(p); /* the parenthesis that was peeked at */
    bool has_key = expr->agg != AST_AGG_COUNT && expr->agg != AST_AGG_USERS;
    if (has_key) {
        ERR_TRY(parse_field(p, &expr->key));
    }
    expr->has_selector = !has_key || parse_accept_word(p, "of");
    if (expr->has_selector) {
        ERR_TRY(parse_selector(p, &expr->selector));
    }
    return parse_agg_end(p, expr);
}

static enum err_code parse_sum(struct parser *p, const struct ast_expr **ret);

static enum err_code parse_unary(struct parser *p, const struct ast_expr **ret)
{
    struct ast_expr *expr = NULL;
    if (parse_is_metric(p)) {
        return parse_metric_measure(p, ret);
    }
    if (p->cur.kind == TOK_LPAREN) {
        ERR_TRY(parse_enter(p));
        parse_advance(p);
        ERR_TRY(parse_sum(p, ret));
        parse_leave(p);
        return parse_need(p, TOK_RPAREN, "an operator or \")\"");
    }
    ERR_TRY(ARENA_NEW(p->arena, 1, &expr, p->err));
    expr->place = p->cur.place;
    if (p->cur.kind == TOK_MINUS) {
        expr->kind = AST_EXPR_NEG;
        ERR_TRY(parse_enter(p));
        parse_advance(p);
        ERR_TRY(parse_unary(p, &expr->left));
        parse_leave(p);
    } else if (p->cur.kind == TOK_NUMBER) {
        expr->kind = AST_EXPR_NUM;
        expr->number = p->cur.number;
        parse_advance(p);
    } else {
        ERR_TRY(parse_agg(p, expr));
    }
    *ret = expr;
    return ERR_OK;
}

/* Operators of one rank group to the left, so each makes the tree one deeper: they are counted. */
static enum err_code parse_binary(struct parser *p, bool is_sum, const struct ast_expr **ret)
{
    const struct ast_expr *left = NULL;
    enum token_kind first = is_sum ? TOK_PLUS : TOK_STAR;
    enum token_kind second = is_sum ? TOK_MINUS : TOK_SLASH;
    ERR_TRY(is_sum ? parse_binary(p, false, &left) : parse_unary(p, &left));
    while (p->cur.kind == first || p->cur.kind == second) {
        struct ast_expr *expr = NULL;
        if (p->operator_count == PARSE_OPERATORS_MAX) {
            return parse_limit(p, p->cur.place, "more than %u operators in one measure",
                               PARSE_OPERATORS_MAX);
        }
        p->operator_count++;
        ERR_TRY(ARENA_NEW(p->arena, 1, &expr, p->err));
        bool is_first = p->cur.kind == first;
        expr->kind = is_sum ? (is_first ? AST_EXPR_ADD : AST_EXPR_SUB)
                            : (is_first ? AST_EXPR_MUL : AST_EXPR_DIV);
        expr->place = p->cur.place;
        expr->left = left;
        parse_advance(p);
        ERR_TRY(is_sum ? parse_binary(p, false, &expr->right) : parse_unary(p, &expr->right));
        left = expr;
    }
    *ret = left;
    return ERR_OK;
}

static enum err_code parse_sum(struct parser *p, const struct ast_expr **ret)
{
    return parse_binary(p, true, ret);
}

enum err_code parse_expr(struct parser *p, const struct ast_expr **ret)
{
    if (p->metrics == NULL) {
        p->operator_count = 0; /* those of a definition count with the measure that it is put into */
    }
    return parse_sum(p, ret);
}

enum err_code parse_expr_of_people(struct parser *p, const struct ast_expr **ret)
{
    p->takes_ranges = true;
    p->rolling_metric = (struct ast_measure){0};
    ERR_TRY(parse_expr(p, ret));
    p->takes_ranges = false;
    return p->rolling_metric.expr == NULL
               ? ERR_OK
               : parse_fail(
                     p, p->rolling_metric.place,
                     "the metric looks back by itself (\"rolling\"); in a condition the range "
                     "says how far: metric(\"...\") rolling 7d");
}

/* A metric that looks back by itself is the whole measure, and gives it its window. */
static enum err_code take_rolling_metric(struct parser *p, struct ast_measure *measure)
{
    const struct ast_measure *metric = &p->rolling_metric;
    if (metric->expr == NULL) {
        return ERR_OK;
    }
    if (measure->expr != metric->expr || measure->rolling.place.line != 0) {
        return parse_fail(p, metric->place,
                          "the metric looks back by itself (\"rolling\"): it is a measure alone, and "
                          "no part of one");
    }
    measure->rolling = metric->rolling;
    return ERR_OK;
}

enum err_code parse_measure_alone(struct parser *p, struct ast_measure *ret)
{
    struct ast_measure measure = {.place = p->cur.place};
    if (parse_is_word(&p->cur, "rolling") && p->peek.kind != TOK_LPAREN) {
        parse_advance(p);
        ERR_TRY(parse_window(p, "\"rolling\"", &measure.rolling));
        if (measure.rolling.duration.count == 0) {
            return parse_fail(p, measure.rolling.place, "a rolling window is longer than 0");
        }
    }
    p->rolling_metric = (struct ast_measure){0};
    measure.span.begin_off = p->cur.begin_off;
    ERR_TRY(parse_expr(p, &measure.expr));
    measure.span.end_off = p->prev_end_off;
    ERR_TRY(take_rolling_metric(p, &measure));
    *ret = measure;
    return ERR_OK;
}

static enum err_code parse_measure(struct parser *p, struct ast_measure *ret)
{
    struct ast_measure measure = {0};
    ERR_TRY(parse_measure_alone(p, &measure));
    if (parse_is_word(&p->cur, "as") && !parse_is_word(&p->peek, "of")) {
        parse_advance(p);
        ERR_TRY(parse_name(p, "a name", &measure.as));
    }
    *ret = measure;
    return ERR_OK;
}

enum err_code parse_measures(struct parser *p, struct ast_trend *ret)
{
    struct ast_measure *measures = NULL;
    uint32_t count = 0;
    uint32_t cap = 0;
    do {
        if (count == PARSE_MEASURES_MAX) {
            return parse_limit(p, p->cur.place, "more than %u measures", PARSE_MEASURES_MAX);
        }
        ERR_TRY(GROW(p->arena, &measures, count, &cap, p->err));
        ERR_TRY(parse_measure(p, &measures[count]));
        count++;
    } while (parse_accept(p, TOK_COMMA));
    ret->measures = measures;
    ret->measure_count = count;
    return ERR_OK;
}
