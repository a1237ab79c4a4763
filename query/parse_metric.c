/* query/parse_metric.c - metrics: text that has a name is read where the name stands.
 *
 *     use        = "metric" "(" STRING [ "," VERSION ] ")"
 *     definition = [ "rolling" DURATION ] expr | question
 *
 * A measure's expression becomes a part of the tree at hand. A question becomes the query at hand; clauses behind the
 * name stand for those of the definition, but conditions come together and cohorts are left out beside the others.
 * The definition is read by a parser of its own whose tokens all stand at the name, in no text of the query's own
 * (empty spans): so what is wrong about them is told at the name, and their labels are canonical. */
#include "query/parse_int.h"

#include "query/bound.h"

struct metric_use {
    struct ast_name name;
    struct ast_count version; /* 0: the newest */
};

bool parse_is_metric(const struct parser *p)
{
    return parse_is_word(&p->cur, "metric") && p->peek.kind == TOK_LPAREN;
}

static enum err_code parse_use(struct parser *p, struct metric_use *ret)
{
    struct place place = p->cur.place;
    parse_advance(p);
    parse_advance(p); /* the parenthesis that was peeked at */
    ERR_TRY(parse_string(p, "the name of a metric in quotes", &ret->name));
    ret->name.place = place;
    if (parse_accept(p, TOK_COMMA)) {
        ERR_TRY(parse_count(p, "metric", 1, METRICS_MAX, &ret->version));
    }
    return parse_need(p, TOK_RPAREN, ret->version.place.line == 0 ? "\",\" or \")\"" : "\")\"");
}

/* That the metric is not one of those that it is read for. */
static enum err_code check_circle(struct parser *p, const struct metric_use *use)
{
    uint32_t depth = 0;
    for (const struct parse_metric_link *link = p->metrics; link != NULL; link = link->outer) {
        if (str_eq(link->name, use->name.text)) {
            return parse_fail(p, use->name.place, "metric \"" STR_FMT "\" would be made of itself",
                              STR_ARG(use->name.text));
        }
        depth++;
    }
    return depth < PARSE_METRICS_MAX
               ? ERR_OK
               : parse_limit(p, use->name.place, "metrics made of metrics, deeper than %u",
                             PARSE_METRICS_MAX);
}

/* The definition's text, with a parser at its first token. `link` is the caller's. */
static enum err_code open_definition(struct parser *p, const struct metric_use *use,
                                     struct parse_metric_link *link, struct parser *inner)
{
    const struct metric_finder *finder = p->request->metrics;
    struct query_request *request = NULL;
    ERR_TRY(check_circle(p, use));
    ERR_TRY(ARENA_NEW(p->arena, 1, &request, p->err));
    *request = *p->request;
    request->params = NULL;
    request->param_count = 0;
    enum err_code code =
        finder == NULL ? err_set(p->err, ERR_NOT_FOUND, "no metric \"" STR_FMT "\" is defined",
                                 STR_ARG(use->name.text))
                       : finder->find(finder->arg, use->name.text, (uint32_t)use->version.value,
                                      p->arena, &request->text, p->err);
    if (code != ERR_OK) {
        p->err->line = use->name.place.line;
        p->err->column = use->name.place.column;
        return code;
    }
    *link = (struct parse_metric_link){use->name.text, p->metrics};
    *inner = (struct parser){.request = request,
                             .arena = p->arena,
                             .err = p->err,
                             .depth = p->depth,
                             .operator_count = p->operator_count,
                             .query = p->query,
                             .metrics = link,
                             .standing = use->name.place};
    ERR_TRY(lex_init(&inner->lex, request->text, p->arena, p->err));
    parse_advance(inner);
    parse_advance(inner);
    p->query->has_metrics = true;
    return ERR_OK;
}

/* An error in the definition, told at the name of the metric. */
static enum err_code in_metric(struct parser *p, const struct metric_use *use)
{
    p->err->line = use->name.place.line;
    p->err->column = use->name.place.column;
    return err_context(p->err, "metric \"" STR_FMT "\"", STR_ARG(use->name.text));
}

/* ---- measures ---- */

static enum err_code read_measure(struct parser *inner, struct ast_measure *ret)
{
    ERR_TRY(parse_measure_alone(inner, ret));
    return inner->cur.kind == TOK_END
               ? ERR_OK
               : parse_expected(inner, "an operator or the end of the metric");
}

static enum err_code fail_question(struct parser *p, const struct metric_use *use, struct str verb)
{
    if (p->takes_ranges) {
        return parse_fail(p, use->name.place,
                          "metric \"" STR_FMT "\" is a question of its own (" STR_FMT
                          "), and a condition compares a measure; a funnel may stand in "
                          "reached(metric(\"...\"), 2), people that are saved in \"in cohort\"",
                          STR_ARG(use->name.text), STR_ARG(verb));
    }
    return parse_fail(p, use->name.place,
                      "metric \"" STR_FMT "\" is a question of its own (" STR_FMT
                      "), and no measure: it stands alone, as in metric(\"" STR_FMT "\") last 30d",
                      STR_ARG(use->name.text), STR_ARG(verb), STR_ARG(use->name.text));
}

/* What a metric that is a measure stands for. */
static enum err_code expand_measure(struct parser *p, const struct metric_use *use,
                                    struct ast_measure *ret)
{
    struct parse_metric_link link;
    struct parser inner;
    ERR_TRY(open_definition(p, use, &link, &inner));
    if (parse_is_question(&inner)) {
        return fail_question(p, use, inner.cur.value);
    }
    if (read_measure(&inner, ret) != ERR_OK) {
        return in_metric(p, use);
    }
    p->operator_count = inner.operator_count;
    return ERR_OK;
}

/* A copy of the tree in which each AGG is of this range. */
static enum err_code in_range(struct parser *p, const struct ast_expr *expr,
                              const struct ast_range *range, const struct ast_expr **ret)
{
    struct ast_expr *own = NULL;
    ERR_TRY(ARENA_NEW(p->arena, 1, &own, p->err));
    *own = *expr;
    own->range = expr->kind == AST_EXPR_AGG ? range : NULL;
    if (expr->left != NULL) {
        ERR_TRY(in_range(p, expr->left, range, &own->left));
    }
    if (expr->right != NULL) {
        ERR_TRY(in_range(p, expr->right, range, &own->right));
    }
    *ret = own;
    return ERR_OK;
}

/* `metric("gmv") last 7d`: all of what it is made of. */
static enum err_code parse_metric_range(struct parser *p, const struct ast_expr **expr)
{
    struct ast_range *range = NULL;
    ERR_TRY(ARENA_NEW(p->arena, 1, &range, p->err));
    ERR_TRY(parse_range(p, range));
    return range->kind == AST_RANGE_NONE ? ERR_OK : in_range(p, *expr, range, expr);
}

enum err_code parse_metric_measure(struct parser *p, const struct ast_expr **ret)
{
    struct metric_use use = {0};
    struct ast_measure measure = {0};
    ERR_TRY(parse_use(p, &use));
    ERR_TRY(expand_measure(p, &use, &measure));
    if (measure.rolling.place.line != 0) {
        p->rolling_metric = measure;
    }
    *ret = measure.expr;
    return p->takes_ranges ? parse_metric_range(p, ret) : ERR_OK;
}

/* ---- questions ---- */

bool parse_is_question(const struct parser *p)
{
    return parse_is_verb(&p->cur);
}

static bool is_analysis(enum ast_verb verb)
{
    return verb != AST_SHOW && verb != AST_DROP && verb != AST_EVENTS && verb != AST_TIMELINE;
}

/* The definition becomes the query at hand: its verb, and its clauses put aside. */
static enum err_code read_question(struct parser *inner, struct ast_clauses *ret)
{
    ERR_TRY(parse_verb_alone(inner));
    if (!is_analysis(inner->query->verb)) {
        return parse_fail(inner, inner->query->place, "\"%s\" is no question that makes a metric",
                          ast_verb_name(inner->query->verb));
    }
    ERR_TRY(parse_clauses(inner));
    if (inner->query->clauses.save.place.line != 0) {
        return parse_fail(inner, inner->query->clauses.save.place,
                          "a metric is asked, and saves no cohort");
    }
    *ret = inner->query->clauses;
    inner->query->clauses = (struct ast_clauses){0};
    return ERR_OK;
}

/* A measure that is asked by its name alone: a trend of it. */
static enum err_code trend_of(struct parser *p, const struct metric_use *use, struct ast_span span,
                              struct parser *inner)
{
    struct ast_measure *measure = NULL;
    ERR_TRY(ARENA_NEW(p->arena, 1, &measure, p->err));
    if (read_measure(inner, measure) != ERR_OK) {
        return in_metric(p, use);
    }
    measure->place = use->name.place;
    measure->span = span;
    p->query->verb = AST_TREND;
    p->query->trend = (struct ast_trend){measure, 1};
    return ERR_OK;
}

enum err_code parse_metric_query(struct parser *p)
{
    struct metric_use use = {0};
    struct parse_metric_link link;
    struct parser inner;
    struct ast_clauses *clauses = NULL;
    struct ast_span span = {p->cur.begin_off, 0};
    ERR_TRY(parse_use(p, &use));
    span.end_off = p->prev_end_off;
    ERR_TRY(open_definition(p, &use, &link, &inner));
    if (!parse_is_question(&inner)) {
        return trend_of(p, &use, span, &inner);
    }
    ERR_TRY(ARENA_NEW(p->arena, 1, &clauses, p->err));
    if (read_question(&inner, clauses) != ERR_OK) {
        return in_metric(p, &use);
    }
    p->metric_clauses = clauses;
    return ERR_OK;
}

enum err_code parse_metric_definition(struct parser *p)
{
    struct ast_clauses clauses;
    struct ast_measure measure;
    return parse_is_question(p) ? read_question(p, &clauses) : read_measure(p, &measure);
}

/* ---- clauses ---- */

static enum err_code both_conditions(struct parser *p, const struct ast_pred *first,
                                     const struct ast_pred *second, const struct ast_pred **ret)
{
    const struct ast_pred *const sides[] = {first, second};
    const struct ast_pred **kids = NULL;
    struct ast_pred *both = NULL;
    uint32_t count = 0;
    for (size_t i = 0; i < COUNT_OF(sides); i++) {
        count += sides[i]->kind == AST_AND ? sides[i]->kid_count : 1;
    }
    ERR_TRY(ARENA_NEW(p->arena, count, &kids, p->err));
    ERR_TRY(ARENA_NEW(p->arena, 1, &both, p->err));
    *both = (struct ast_pred){.kind = AST_AND, .place = first->place, .kids = kids};
    for (size_t i = 0; i < COUNT_OF(sides); i++) { /* kids of an AND are none */
        if (sides[i]->kind != AST_AND) {
            kids[both->kid_count++] = sides[i];
            continue;
        }
        for (uint32_t k = 0; k < sides[i]->kid_count; k++) {
            kids[both->kid_count++] = sides[i]->kids[k];
        }
    }
    *ret = both;
    return ERR_OK;
}

static enum err_code all_excluded(struct parser *p, const struct ast_clauses *defined,
                                  struct ast_clauses *clauses)
{
    struct ast_name *names = NULL;
    uint32_t count = defined->excluded_count + clauses->excluded_count;
    if (count > QUERY_COHORTS_MAX) {
        return parse_limit(p, p->query->place, "more than %u cohorts", QUERY_COHORTS_MAX);
    }
    ERR_TRY(ARENA_NEW(p->arena, count, &names, p->err));
    for (uint32_t i = 0; i < count; i++) {
        names[i] = i < defined->excluded_count ? defined->excluded[i]
                                               : clauses->excluded[i - defined->excluded_count];
    }
    clauses->excluded = names;
    clauses->excluded_count = count;
    return ERR_OK;
}

/* Of `top`, `order by`, `limit`, `by` and their kin: the definition's, where the asker gave none. */
static void take_absent(const struct ast_clauses *defined, struct ast_clauses *clauses)
{
    if (clauses->range.kind == AST_RANGE_NONE) {
        bool is_including_today = clauses->range.is_including_today;
        clauses->range = defined->range;
        clauses->range.is_including_today |= is_including_today;
    }
    if (clauses->key_count == 0) {
        clauses->keys = defined->keys;
        clauses->key_count = defined->key_count;
        clauses->by = defined->by;
    }
    if (clauses->each.place.line == 0) {
        clauses->each = defined->each;
    }
    if (clauses->top.place.line == 0) {
        clauses->top = defined->top;
        clauses->has_other = defined->has_other;
    }
    if (clauses->order.column.place.line == 0) {
        clauses->order = defined->order;
    }
    if (clauses->limit.place.line == 0) {
        clauses->limit = defined->limit;
    }
    if (clauses->zone.place.line == 0) {
        clauses->zone = defined->zone;
    }
    if (!clauses->has_week_start) {
        clauses->has_week_start = defined->has_week_start;
        clauses->week_start = defined->week_start;
    }
    if (clauses->per.place.line == 0) {
        clauses->per = defined->per;
    }
    if (clauses->identity.line == 0) {
        clauses->identity = defined->identity;
        clauses->is_event_time = defined->is_event_time;
    }
    clauses->is_list |= defined->is_list;
    if (clauses->compare == AST_COMPARE_NONE) {
        clauses->compare = defined->compare;
        clauses->compare_place = defined->compare_place;
        clauses->compare_cohort = defined->compare_cohort;
    }
}

enum err_code parse_metric_clauses(struct parser *p)
{
    const struct ast_clauses *defined = p->metric_clauses;
    struct ast_clauses *clauses = &p->query->clauses;
    p->metric_clauses = NULL;
    take_absent(defined, clauses);
    if (defined->where != NULL && clauses->where != NULL) {
        ERR_TRY(both_conditions(p, defined->where, clauses->where, &clauses->where));
    } else if (defined->where != NULL) {
        clauses->where = defined->where;
    }
    return all_excluded(p, defined, clauses);
}
