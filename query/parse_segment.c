/* query/parse_segment.c - people by what they did.
 *
 *     cond    = conj { "or" conj }
 *     conj    = factor { "and" factor }
 *     factor  = "not" factor | "(" cond ")" | test
 *     test    = ( "did" | "first" | "last" ) "(" selector [ range ] ")"
 *             | measure ( op NUMBER | "between" NUMBER "and" NUMBER )
 *             | "reached" "(" ( "funnel" ... | metric ) "," STEP ")"
 *             | "in" "cohort" STRING
 *             | "user" "in" "(" STRING { "," STRING } ")"
 *             | a test of a property of the profile, as in a predicate
 *     measure = arithmetic (parse_expr.c) of numbers, metrics [ range ], and
 *               "count" "(" selector [ range ] ")"
 *             | ( "unique" | "sum" | "avg" | "min" | "max" ) "(" FIELD [ "of" selector ] [ range ] ")"
 *
 *     users   = "users" "of" "(" [ COLUMN ( "=" VALUE | "is" "not" "set" ) { "," ... } ] ")" "in" query
 *     range   = the range clauses of a query, or "rolling" DURATION
 */
#include "query/parse_int.h"

#include "query/bound.h"

static enum err_code parse_cond(struct parser *p, const struct ast_cond **ret);

/* ---- tests ---- */

static enum err_code parse_did(struct parser *p, struct ast_cond *cond)
{
    parse_advance(p); /* the parenthesis */
    ERR_TRY(parse_selector(p, &cond->selector));
    ERR_TRY(parse_range(p, &cond->range));
    return parse_need(p, TOK_RPAREN, "a range or \")\"");
}

static enum err_code parse_number_value(struct parser *p, struct ast_value *ret)
{
    struct place place = p->cur.place;
    ERR_TRY(parse_value(p, ret));
    return ret->kind == AST_NUMBER ? ERR_OK : parse_fail(p, place, "expected a number");
}

static enum err_code parse_comparison(struct parser *p, struct ast_cond *cond)
{
    static const struct {
        enum token_kind token;
        enum ast_pred_kind op;
    } ops[] = {{TOK_EQ, AST_EQ}, {TOK_NE, AST_NE}, {TOK_LT, AST_LT},
               {TOK_LE, AST_LE}, {TOK_GT, AST_GT}, {TOK_GE, AST_GE}};
    for (size_t i = 0; i < COUNT_OF(ops); i++) {
        if (parse_accept(p, ops[i].token)) {
            cond->op = ops[i].op;
            return parse_number_value(p, &cond->values[0]);
        }
    }
    if (!parse_accept_word(p, "between")) {
        return parse_expected(p, "a comparison with a number (=, !=, <, <=, >, >=, between)");
    }
    cond->op = AST_BETWEEN;
    ERR_TRY(parse_number_value(p, &cond->values[0]));
    ERR_TRY(parse_need_word(p, "and"));
    return parse_number_value(p, &cond->values[1]);
}

/* That each AGG is a number of one person's events, and that there is one. */
static enum err_code check_aggs(struct parser *p, const struct ast_expr *expr, bool *has_agg)
{
    if (expr->left != NULL) {
        ERR_TRY(check_aggs(p, expr->left, has_agg));
    }
    if (expr->right != NULL) {
        ERR_TRY(check_aggs(p, expr->right, has_agg));
    }
    if (expr->kind != AST_EXPR_AGG) {
        return ERR_OK;
    }
    *has_agg = true;
    switch (expr->agg) {
    case AST_AGG_COUNT:
    case AST_AGG_UNIQUE:
    case AST_AGG_SUM:
    case AST_AGG_AVG:
    case AST_AGG_MIN:
    case AST_AGG_MAX: return ERR_OK;
    case AST_AGG_USERS:
        return parse_fail(
            p, expr->place,
            "\"users\" counts people, and a condition is about one of them: did(...)");
    default: break;
    }
    return parse_fail(
        p, expr->place,
        "a condition compares count, unique, sum, avg, min and max; no other measure");
}

static enum err_code parse_number_test(struct parser *p, struct ast_cond *cond)
{
    const struct ast_expr *expr = NULL;
    bool has_agg = false;
    ERR_TRY(parse_expr_of_people(p, &expr));
    ERR_TRY(check_aggs(p, expr, &has_agg));
    if (!has_agg) {
        return parse_fail(p, cond->place, "nothing here is a number of somebody's events");
    }
    cond->kind = AST_COND_FORMULA;
    cond->expr = expr;
    if (expr->kind == AST_EXPR_AGG) {
        cond->kind = AST_COND_MEASURE;
        cond->expr = NULL;
        cond->agg = expr->agg;
        cond->key = expr->key;
        cond->has_selector = expr->has_selector;
        cond->selector = expr->selector;
        cond->range = expr->range == NULL ? (struct ast_range){0} : *expr->range;
    }
    return parse_comparison(p, cond);
}

/* `reached(funnel a -> b within 1d last 7d, 2)`: a funnel as it stands alone, but for what shapes its table. */
static enum err_code parse_reached(struct parser *p, struct ast_cond *cond)
{
    struct ast_query *outer = p->query;
    uint64_t outer_seen = p->clauses_seen;
    struct ast_query *funnel = NULL;
    parse_advance(p); /* the parenthesis */
    ERR_TRY(ARENA_NEW(p->arena, 1, &funnel, p->err));
    funnel->text = outer->text;
    funnel->place = p->cur.place;
    bool is_metric = parse_is_metric(p);
    if (!is_metric && !parse_is_word(&p->cur, "funnel")) {
        return parse_expected(p, "\"funnel\" and its steps");
    }
    p->query = funnel;
    p->clauses_seen = 0;
    p->nesting++;
    ERR_TRY(is_metric ? parse_metric_query(p) : parse_verb(p));
    ERR_TRY(parse_clauses(p));
    if (funnel->verb != AST_FUNNEL) {
        return parse_fail(p, funnel->place,
                          "the metric is no funnel, and \"reached\" asks for one");
    }
    outer->has_metrics |= is_metric;
    p->nesting--;
    p->query = outer;
    p->clauses_seen = outer_seen;
    const struct ast_clauses *clauses = &funnel->clauses;
    if (clauses->key_count > 0 || clauses->each.place.line != 0 || clauses->limit.place.line != 0 ||
        clauses->order.column.place.line != 0 || clauses->zone.place.line != 0 ||
        clauses->has_week_start || clauses->per.place.line != 0 || clauses->is_list ||
        clauses->excluded_count > 0 || clauses->compare != AST_COMPARE_NONE) {
        return parse_fail(p, cond->place,
                          "the funnel of \"reached\" takes steps, its own clauses, \"where\" and a "
                          "range; what shapes an answer has no place in it");
    }
    cond->funnel = funnel;
    ERR_TRY(parse_need(p, TOK_COMMA, "\",\" and the step that was reached"));
    ERR_TRY(parse_count(p, "reached", 1, QUERY_STEPS_MAX, &cond->step));
    if (cond->step.value > funnel->funnel.step_count) {
        return parse_fail(p, cond->step.place, "the funnel has %u steps",
                          funnel->funnel.step_count);
    }
    return parse_need(p, TOK_RPAREN, "\")\"");
}

static enum err_code parse_ids(struct parser *p, struct ast_cond *cond)
{
    struct ast_name *ids = NULL;
    uint32_t count = 0;
    uint32_t cap = 0;
    ERR_TRY(parse_need_word(p, "in"));
    ERR_TRY(parse_need(p, TOK_LPAREN, "\"(\" and the ids of users"));
    do {
        ERR_TRY(GROW(p->arena, &ids, count, &cap, p->err));
        ERR_TRY(parse_string(p, "the id of a user in quotes", &ids[count]));
        count++;
    } while (parse_accept(p, TOK_COMMA));
    cond->ids = ids;
    cond->id_count = count;
    return parse_need(p, TOK_RPAREN, "\",\" or \")\"");
}

enum err_code parse_cohort(struct parser *p, struct ast_name *ret)
{
    ERR_TRY(parse_need_word(p, "cohort"));
    ERR_TRY(parse_string(p, "the name of a cohort in quotes", ret));
    if (ret->text.len == 0 || ret->text.len > COHORT_NAME_BYTES_MAX) {
        return parse_fail(p, ret->place, "the name of a cohort has 1 to %u bytes",
                          COHORT_NAME_BYTES_MAX);
    }
    return ERR_OK;
}

/* What is compared begins here: a number, a sign, a parenthesis (is_formula), a metric, or a measure. */
static bool is_number_begin(const struct parser *p)
{
    static const char *const aggs[] = {"count", "users", "unique", "sum", "avg", "min", "max"};
    for (size_t i = 0; i < COUNT_OF(aggs); i++) {
        if (parse_is_word(&p->cur, aggs[i]) && p->peek.kind == TOK_LPAREN) {
            return true;
        }
    }
    return parse_is_metric(p) || p->cur.kind == TOK_NUMBER || p->cur.kind == TOK_MINUS ||
           p->cur.kind == TOK_LPAREN;
}

/* Of "(": whether arithmetic or a comparison follows the ")" that belongs to it; else it is around conditions. */
static bool is_formula(const struct parser *p)
{
    struct parser ahead = *p;
    uint32_t depth = 0;
    do {
        depth += ahead.cur.kind == TOK_LPAREN;
        depth -= ahead.cur.kind == TOK_RPAREN;
        parse_advance(&ahead);
    } while (depth > 0 && ahead.cur.kind != TOK_END && ahead.cur.kind != TOK_BAD);
    switch (ahead.cur.kind) {
    case TOK_PLUS:
    case TOK_MINUS:
    case TOK_STAR:
    case TOK_SLASH:
    case TOK_EQ:
    case TOK_NE:
    case TOK_LT:
    case TOK_LE:
    case TOK_GT:
    case TOK_GE: return true;
    default: return parse_is_word(&ahead.cur, "between");
    }
}

static enum err_code parse_cond_test(struct parser *p, const struct ast_cond **ret)
{
    static const struct {
        const char *word;
        enum ast_cond_kind kind;
        enum err_code (*parse)(struct parser *p, struct ast_cond *cond);
    } calls[] = {
        {"did", AST_COND_DID, parse_did},
        {"first", AST_COND_FIRST, parse_did},
        {"last", AST_COND_LAST, parse_did},
        {"reached", AST_COND_REACHED, parse_reached},
    };
    static const char *const words[] = {"did", "first", "last", "count",   "unique", "sum",
                                        "avg", "min",   "max",  "reached", "metric"};
    struct ast_cond *cond = NULL;
    ERR_TRY(ARENA_NEW(p->arena, 1, &cond, p->err));
    cond->place = p->cur.place;
    *ret = cond;
    if (parse_is_word(&p->cur, "in") && parse_is_word(&p->peek, "cohort")) {
        cond->kind = AST_COND_COHORT;
        parse_advance(p);
        return parse_cohort(p, &cond->cohort);
    }
    if (parse_is_word(&p->cur, "user") && parse_is_word(&p->peek, "in")) {
        cond->kind = AST_COND_IDS;
        parse_advance(p);
        return parse_ids(p, cond);
    }
    for (size_t i = 0; i < COUNT_OF(calls); i++) {
        if (parse_is_word(&p->cur, calls[i].word) && p->peek.kind == TOK_LPAREN) {
            cond->kind = calls[i].kind;
            parse_advance(p);
            return calls[i].parse(p, cond);
        }
    }
    if (is_number_begin(p)) {
        return parse_number_test(p, cond);
    }
    if (parse_is_profile(p)) {
        cond->kind = AST_COND_PROFILE;
        return parse_test(p, &cond->profile);
    }
    return parse_expected_of(
        p, "a condition (did(...), count(...) >= 2, reached(...), in cohort \"...\", not ...)",
        words, COUNT_OF(words));
}

/* ---- and, or, not ---- */

static enum err_code cond_node(struct parser *p, enum ast_cond_kind kind, struct place place,
                               const struct ast_cond *const *kids, uint32_t kid_count,
                               const struct ast_cond **ret)
{
    struct ast_cond *cond = NULL;
    ERR_TRY(ARENA_NEW(p->arena, 1, &cond, p->err));
    *cond = (struct ast_cond){.kind = kind, .place = place, .kids = kids, .kid_count = kid_count};
    *ret = cond;
    return ERR_OK;
}

static enum err_code parse_cond_factor(struct parser *p, const struct ast_cond **ret)
{
    struct place place = p->cur.place;
    bool is_not = parse_is_word(&p->cur, "not");
    if (!is_not && (p->cur.kind != TOK_LPAREN || is_formula(p))) {
        return parse_cond_test(p, ret);
    }
    ERR_TRY(parse_enter(p));
    parse_advance(p);
    if (is_not) {
        const struct ast_cond **kids = NULL;
        ERR_TRY(ARENA_NEW(p->arena, 1, &kids, p->err));
        ERR_TRY(parse_cond_factor(p, &kids[0]));
        ERR_TRY(cond_node(p, AST_COND_NOT, place, kids, 1, ret));
    } else {
        ERR_TRY(parse_cond(p, ret));
        ERR_TRY(parse_need(p, TOK_RPAREN, "\"and\", \"or\" or \")\""));
    }
    parse_leave(p);
    return ERR_OK;
}

/* Operands of a run of one operator; operands that are such a run themselves melt into it. */
struct cond_kids {
    const struct ast_cond **items;
    uint32_t count, cap;
};

static enum err_code cond_kids_add(struct parser *p, struct cond_kids *kids,
                                   enum ast_cond_kind kind, const struct ast_cond *cond)
{
    const struct ast_cond *const *items = cond->kind == kind ? cond->kids : &cond;
    uint32_t count = cond->kind == kind ? cond->kid_count : 1;
    for (uint32_t i = 0; i < count; i++) {
        ERR_TRY(GROW(p->arena, &kids->items, kids->count, &kids->cap, p->err));
        kids->items[kids->count++] = items[i];
    }
    return ERR_OK;
}

static enum err_code parse_cond_run(struct parser *p, enum ast_cond_kind kind,
                                    const struct ast_cond **ret)
{
    const char *word = kind == AST_COND_OR ? "or" : "and";
    struct cond_kids kids = {0};
    struct place place = p->cur.place;
    bool has_more = true;
    while (has_more) {
        const struct ast_cond *cond = NULL;
        ERR_TRY(kind == AST_COND_OR ? parse_cond_run(p, AST_COND_AND, &cond)
                                    : parse_cond_factor(p, &cond));
        has_more = parse_accept_word(p, word);
        if (kids.count == 0 && !has_more) {
            *ret = cond;
            return ERR_OK;
        }
        ERR_TRY(cond_kids_add(p, &kids, kind, cond));
    }
    return cond_node(p, kind, place, kids.items, kids.count, ret);
}

static enum err_code parse_cond(struct parser *p, const struct ast_cond **ret)
{
    return parse_cond_run(p, AST_COND_OR, ret);
}

enum err_code verb_segment_parse(struct parser *p)
{
    return parse_cond(p, &p->query->segment.cond);
}

/* ---- users of ---- */

/* The items of a list, as in path = ("home", "cart"). */
static enum err_code parse_coordinate_list(struct parser *p, struct ast_coordinate *ret)
{
    struct ast_value *values = NULL;
    uint32_t count = 0;
    uint32_t cap = 0;
    do {
        if (count == PARSE_PATH_MAX) {
            return parse_limit(p, p->cur.place, "a list of more than %u items", PARSE_PATH_MAX);
        }
        ERR_TRY(GROW(p->arena, &values, count, &cap, p->err));
        ERR_TRY(parse_value(p, &values[count++]));
    } while (parse_accept(p, TOK_COMMA));
    ret->value = values[0];
    ret->values = values;
    ret->value_count = count;
    return parse_need(p, TOK_RPAREN, "\",\" or \")\"");
}

static enum err_code parse_coordinate(struct parser *p, struct ast_coordinate *ret)
{
    ERR_TRY(parse_name(p, "a column of the answer", &ret->name));
    if (parse_accept_word(p, "is")) {
        ret->is_null = true;
        ERR_TRY(parse_need_word(p, "not"));
        return parse_need_word(p, "set");
    }
    ERR_TRY(parse_need(p, TOK_EQ, "\"=\" or \"is not set\""));
    return parse_accept(p, TOK_LPAREN) ? parse_coordinate_list(p, ret)
                                       : parse_value(p, &ret->value);
}

enum err_code parse_users_of(struct parser *p)
{
    struct ast_coordinate *items = NULL;
    uint32_t count = 0;
    uint32_t cap = 0;
    p->query->users_of = p->cur.place;
    parse_advance(p);
    ERR_TRY(parse_need_word(p, "of"));
    ERR_TRY(parse_need(p, TOK_LPAREN, "\"(\" and the cell: step = 2, platform = \"ios\""));
    while (p->cur.kind != TOK_RPAREN) {
        if (count == PARSE_COORDINATES_MAX) {
            return parse_limit(p, p->cur.place, "more than %u columns", PARSE_COORDINATES_MAX);
        }
        ERR_TRY(GROW(p->arena, &items, count, &cap, p->err));
        items[count] = (struct ast_coordinate){0};
        ERR_TRY(parse_coordinate(p, &items[count]));
        for (uint32_t i = 0; i < count; i++) {
            if (str_eq(items[i].name.text, items[count].name.text)) {
                return parse_fail(p, items[count].name.place,
                                  "column \"" STR_FMT "\" is given twice",
                                  STR_ARG(items[i].name.text));
            }
        }
        count++;
        if (!parse_accept(p, TOK_COMMA)) {
            break;
        }
    }
    ERR_TRY(parse_need(p, TOK_RPAREN, "\",\" or \")\""));
    p->query->coordinates = items;
    p->query->coordinate_count = count;
    return parse_need_word(p, "in");
}

enum err_code verb_drop_parse(struct parser *p)
{
    return parse_cohort(p, &p->query->drop.cohort);
}

/* ---- clauses ---- */

/* `save cohort "vip"`, and `static`: the people as they are now instead of the question. */
enum err_code clause_save(struct parser *p)
{
    struct ast_clauses *clauses = &p->query->clauses;
    ERR_TRY(parse_cohort(p, &clauses->save));
    clauses->is_static = parse_accept_word(p, "static");
    return ERR_OK;
}

/* `exclude cohort "bots", "staff"` */
enum err_code clause_exclude(struct parser *p)
{
    struct ast_clauses *clauses = &p->query->clauses;
    struct ast_name *names = NULL;
    uint32_t count = 0;
    ERR_TRY(ARENA_NEW(p->arena, QUERY_COHORTS_MAX, &names, p->err));
    ERR_TRY(parse_cohort(p, &names[count++]));
    while (parse_accept(p, TOK_COMMA)) {
        if (count == QUERY_COHORTS_MAX) {
            return parse_limit(p, p->cur.place, "more than %u cohorts", QUERY_COHORTS_MAX);
        }
        ERR_TRY(parse_string(p, "the name of a cohort in quotes", &names[count]));
        count++;
    }
    clauses->excluded = names;
    clauses->excluded_count = count;
    return ERR_OK;
}

/* `compare previous period`, `compare previous year`, `compare cohort "control"` */
enum err_code clause_compare(struct parser *p)
{
    static const char *const words[] = {"previous", "cohort"};
    static const char *const spans[] = {"period", "year"};
    struct ast_clauses *clauses = &p->query->clauses;
    clauses->compare_place = p->cur.place;
    if (parse_is_word(&p->cur, "cohort")) {
        clauses->compare = AST_COMPARE_COHORT;
        return parse_cohort(p, &clauses->compare_cohort);
    }
    if (!parse_accept_word(p, "previous")) {
        return parse_expected_of(p, "\"previous\" or \"cohort\"", words, COUNT_OF(words));
    }
    if (parse_accept_word(p, "period")) {
        clauses->compare = AST_COMPARE_PERIOD;
        return ERR_OK;
    }
    clauses->compare = AST_COMPARE_YEAR;
    return parse_accept_word(p, "year")
               ? ERR_OK
               : parse_expected_of(p, "\"period\" or \"year\"", spans, COUNT_OF(spans));
}
