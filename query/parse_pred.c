/* query/parse_pred.c - predicates and selectors.
 *
 *     pred     = conj { "or" conj }
 *     conj     = factor { "and" factor }
 *     factor   = "not" factor | "(" pred ")" | test
 *     test     = "in" "cohort" STRING | ( FIELD | "profile." FIELD [ "as" "of" "event" ] ) ( op VALUE | ["not"] "in" "(" VALUE { "," VALUE } ")" | "between" VALUE
 * "and" VALUE | "contains" VALUE | "starts" "with" VALUE | "ends" "with" VALUE | "matches" VALUE |
 * "is" ["not"] "set" ) selector = alt | "(" alt { "|" alt } ")" alt      = ( "any" | "active" |
 * EVENT ) [ "[" pred "]" ]
 */
#include "query/parse_int.h"

static enum err_code parse_or(struct parser *p, const struct ast_pred **ret);

/* ---- tests of one field ---- */

static enum err_code parse_value_list(struct parser *p, struct ast_pred *pred)
{
    struct ast_value *values = NULL;
    uint32_t count = 0;
    uint32_t cap = 0;
    ERR_TRY(parse_need(p, TOK_LPAREN, "\"(\" and the values of \"in\""));
    do {
        ERR_TRY(GROW(p->arena, &values, count, &cap, p->err));
        ERR_TRY(parse_value(p, &values[count]));
        count++;
    } while (parse_accept(p, TOK_COMMA));
    pred->values = values;
    pred->value_count = count;
    return parse_need(p, TOK_RPAREN, "\",\" or \")\"");
}

static enum err_code parse_values(struct parser *p, struct ast_pred *pred, uint32_t count)
{
    struct ast_value *values = NULL;
    ERR_TRY(ARENA_NEW(p->arena, count, &values, p->err));
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) {
            ERR_TRY(parse_need_word(p, "and"));
        }
        ERR_TRY(parse_value(p, &values[i]));
    }
    pred->values = values;
    pred->value_count = count;
    return ERR_OK;
}

static enum err_code parse_is(struct parser *p, struct ast_pred *pred)
{
    pred->kind = parse_accept_word(p, "not") ? AST_IS_NOT_SET : AST_IS_SET;
    if (parse_is_word(&p->cur, "null")) {
        return parse_fail(p, p->cur.place, "\"null\" is no value; ask \"is %s\"",
                          pred->kind == AST_IS_SET ? "not set" : "set");
    }
    return parse_need_word(p, "set");
}

static enum err_code parse_word_test(struct parser *p, struct ast_pred *pred)
{
    static const char *const words[] = {"in",     "not in", "between", "contains",
                                        "starts", "ends",   "matches", "is"};
    if (parse_accept_word(p, "in")) {
        pred->kind = AST_IN;
        return parse_value_list(p, pred);
    }
    if (parse_accept_word(p, "not")) {
        pred->kind = AST_NOT_IN;
        ERR_TRY(parse_need_word(p, "in"));
        return parse_value_list(p, pred);
    }
    if (parse_accept_word(p, "is")) {
        return parse_is(p, pred);
    }
    if (parse_accept_word(p, "between")) {
        pred->kind = AST_BETWEEN;
        return parse_values(p, pred, 2);
    }
    if (parse_accept_word(p, "contains")) {
        pred->kind = AST_CONTAINS;
    } else if (parse_accept_word(p, "matches")) {
        pred->kind = AST_MATCHES;
    } else if (parse_is_word(&p->cur, "starts") || parse_is_word(&p->cur, "ends")) {
        pred->kind = parse_is_word(&p->cur, "starts") ? AST_STARTS : AST_ENDS;
        parse_advance(p);
        ERR_TRY(parse_need_word(p, "with"));
    } else {
        return parse_expected_of(
            p, "a comparison (=, !=, <, <=, >, >=, in, between, contains, is set, ...)", words,
            COUNT_OF(words));
    }
    return parse_values(p, pred, 1);
}

enum err_code parse_test(struct parser *p, const struct ast_pred **ret)
{
    struct ast_pred *pred = NULL;
    ERR_TRY(ARENA_NEW(p->arena, 1, &pred, p->err));
    pred->place = p->cur.place;
    if (parse_is_word(&p->cur, "in") && parse_is_word(&p->peek, "cohort")) {
        parse_advance(p);
        pred->kind = AST_IN_COHORT;
        *ret = pred;
        return parse_cohort(p, &pred->field);
    }
    ERR_TRY(parse_subject_field(p, &pred->field));
    switch (p->cur.kind) {
    case TOK_EQ: pred->kind = AST_EQ; break;
    case TOK_NE: pred->kind = AST_NE; break;
    case TOK_LT: pred->kind = AST_LT; break;
    case TOK_LE: pred->kind = AST_LE; break;
    case TOK_GT: pred->kind = AST_GT; break;
    case TOK_GE: pred->kind = AST_GE; break;
    default:
        ERR_TRY(parse_word_test(p, pred));
        *ret = pred;
        return ERR_OK;
    }
    parse_advance(p);
    ERR_TRY(parse_values(p, pred, 1));
    *ret = pred;
    return ERR_OK;
}

/* ---- and, or, not ---- */

static enum err_code parse_factor(struct parser *p, const struct ast_pred **ret)
{
    if (parse_is_word(&p->cur, "not")) {
        struct ast_pred *pred = NULL;
        const struct ast_pred **kids = NULL;
        ERR_TRY(parse_enter(p));
        ERR_TRY(ARENA_NEW(p->arena, 1, &pred, p->err));
        ERR_TRY(ARENA_NEW(p->arena, 1, &kids, p->err));
        *pred =
            (struct ast_pred){.kind = AST_NOT, .place = p->cur.place, .kids = kids, .kid_count = 1};
        parse_advance(p);
        ERR_TRY(parse_factor(p, &kids[0]));
        parse_leave(p);
        *ret = pred;
        return ERR_OK;
    }
    if (p->cur.kind == TOK_LPAREN) {
        ERR_TRY(parse_enter(p));
        parse_advance(p);
        ERR_TRY(parse_or(p, ret));
        parse_leave(p);
        return parse_need(p, TOK_RPAREN, "\")\"");
    }
    return parse_test(p, ret);
}

/* Operands of a run of one operator; operands that are such a run themselves melt into it. */
struct kids {
    const struct ast_pred **items;
    uint32_t count, cap;
};

static enum err_code kids_add(struct parser *p, struct kids *kids, enum ast_pred_kind kind,
                              const struct ast_pred *pred)
{
    const struct ast_pred *const *items = pred->kind == kind ? pred->kids : &pred;
    uint32_t count = pred->kind == kind ? pred->kid_count : 1;
    for (uint32_t i = 0; i < count; i++) {
        ERR_TRY(GROW(p->arena, &kids->items, kids->count, &kids->cap, p->err));
        kids->items[kids->count++] = items[i];
    }
    return ERR_OK;
}

static enum err_code parse_run(struct parser *p, enum ast_pred_kind kind,
                               const struct ast_pred **ret)
{
    const char *word = kind == AST_OR ? "or" : "and";
    struct kids kids = {0};
    struct place place = p->cur.place;
    const struct ast_pred *first = NULL;
    ERR_TRY(kind == AST_OR ? parse_run(p, AST_AND, &first) : parse_factor(p, &first));
    if (!parse_is_word(&p->cur, word)) {
        *ret = first;
        return ERR_OK;
    }
    ERR_TRY(kids_add(p, &kids, kind, first));
    while (parse_accept_word(p, word)) {
        const struct ast_pred *more = NULL;
        ERR_TRY(kind == AST_OR ? parse_run(p, AST_AND, &more) : parse_factor(p, &more));
        ERR_TRY(kids_add(p, &kids, kind, more));
    }
    struct ast_pred *pred = NULL;
    ERR_TRY(ARENA_NEW(p->arena, 1, &pred, p->err));
    *pred = (struct ast_pred){
        .kind = kind, .place = place, .kids = kids.items, .kid_count = kids.count};
    *ret = pred;
    return ERR_OK;
}

static enum err_code parse_or(struct parser *p, const struct ast_pred **ret)
{
    return parse_run(p, AST_OR, ret);
}

enum err_code parse_pred(struct parser *p, const struct ast_pred **ret)
{
    return parse_or(p, ret);
}

/* ---- selectors ---- */

enum err_code parse_event(struct parser *p, struct ast_name *ret)
{
    struct place place = p->cur.place;
    if (p->cur.kind != TOK_STRING && p->cur.kind != TOK_PARAM) {
        return parse_name(p, "an event", ret);
    }
    ERR_TRY(parse_string(p, "an event", ret));
    if (ret->text.len == 0) {
        return parse_fail(p, place, "the name of an event is not empty");
    }
    return ERR_OK;
}

static enum err_code parse_alt(struct parser *p, struct ast_alt *ret)
{
    *ret = (struct ast_alt){.kind = AST_EVENT, .event = {.place = p->cur.place}};
    if (parse_accept_word(p, "any")) {
        ret->kind = AST_ANY;
    } else if (parse_accept_word(p, "active")) {
        ret->kind = AST_ACTIVE;
    } else {
        ERR_TRY(parse_event(p, &ret->event));
    }
    if (parse_accept(p, TOK_LBRACKET)) {
        ERR_TRY(parse_pred(p, &ret->pred));
        return parse_need(p, TOK_RBRACKET, "\"and\", \"or\" or \"]\"");
    }
    return ERR_OK;
}

enum err_code parse_selector(struct parser *p, struct ast_selector *ret)
{
    struct ast_alt *alts = NULL;
    uint32_t count = 0;
    uint32_t cap = 0;
    struct place place = p->cur.place;
    uint32_t begin_off = p->cur.begin_off;
    bool is_group = parse_accept(p, TOK_LPAREN);
    do {
        if (count == PARSE_ALTS_MAX) {
            return parse_limit(p, p->cur.place, "more than %u alternatives", PARSE_ALTS_MAX);
        }
        ERR_TRY(GROW(p->arena, &alts, count, &cap, p->err));
        ERR_TRY(parse_alt(p, &alts[count]));
        count++;
    } while (is_group && parse_accept(p, TOK_PIPE));
    if (is_group) {
        ERR_TRY(parse_need(p, TOK_RPAREN, "\"|\" or \")\""));
    } else if (p->cur.kind == TOK_PIPE) {
        return parse_fail(p, p->cur.place, "alternatives stand in parentheses: (a | b)");
    }
    *ret = (struct ast_selector){
        .alts = alts, .alt_count = count, .place = place, .span = {begin_off, p->prev_end_off}};
    return ERR_OK;
}
