/* query/bind_segment.c - conditions on people.
 *
 * What can be said by whether an event happened at all is said so, because stored sets of subjects answer that: `count(a)
 * >= 1` is did(a), `count(a) = 0` is not did(a), and the first ever event lies in a range where there is one in the range
 * and none before it. */
#include "query/agg_expr.h"
#include "query/bind_int.h"
#include "query/segment_cond.h"
#include "storage/base/buf.h"

/* What is known of the segment while its tests are bound. */
struct segment_binder {
    struct binder *b;
    struct people_segment segment;
    struct cond_line *lines; /* of `why` */
    uint32_t line_count, line_cap;
    bool needs_universe; /* some test can hold for people that no event leads to */
};

static enum err_code bind_cond(struct segment_binder *s, const struct ast_cond *ast,
                               const struct cond **ret);

/* With `per KEY` the condition is said of a value, which is no person. */
static enum err_code check_people(struct segment_binder *s, struct place place, const char *what)
{
    const struct ast_name *per = &s->b->ast->clauses.per;
    return per->place.line == 0
               ? ERR_OK
               : bind_fail(s->b, place,
                           "%s is said of people, and the segment is one of values of \"" STR_FMT
                           "\": people may be meant by \"where\", or inside of did(any[...])",
                           what, STR_ARG(per->text));
}

static enum err_code cond_new(struct segment_binder *s, struct cond cond, struct cond **ret)
{
    ERR_TRY(ARENA_NEW(s->b->arena, 1, ret, s->b->err));
    **ret = cond;
    return ERR_OK;
}

static enum err_code cond_node(struct segment_binder *s, enum cond_kind kind,
                               const struct cond *first, const struct cond *second,
                               const struct cond **ret)
{
    const struct cond **kids = NULL;
    struct cond *cond = NULL;
    ERR_TRY(ARENA_NEW(s->b->arena, 2, &kids, s->b->err));
    kids[0] = first;
    kids[1] = second;
    s->needs_universe |= kind == COND_NOT;
    ERR_TRY(cond_new(
        s, (struct cond){.kind = kind, .kids = kids, .kid_count = second == NULL ? 1 : 2}, &cond));
    *ret = cond;
    return ERR_OK;
}

/* A test that looks at events gets a number of its own. */
static enum err_code leaf_new(struct segment_binder *s, struct place place, struct cond leaf,
                              struct cond **ret)
{
    if (s->segment.leaf_count == QUERY_CONDS_MAX) {
        return bind_limit(s->b, place, "a segment has at most %u tests", QUERY_CONDS_MAX);
    }
    leaf.leaf = s->segment.leaf_count++;
    return cond_new(s, leaf, ret);
}

/* ---- tests ---- */

/* The time that a test looks at: its own range, or that of the query. */
static enum err_code bind_cond_range(struct segment_binder *s, const struct ast_range *range,
                                     struct cond *cond)
{
    cond->begin_ms = s->b->query->from_ms;
    cond->end_ms = s->b->query->to_ms;
    return range->kind == AST_RANGE_NONE ? ERR_OK
                                         : bind_span(s->b, range, &cond->begin_ms, &cond->end_ms);
}

static enum err_code bind_did(struct segment_binder *s, const struct ast_cond *ast,
                              struct cond **ret)
{
    struct cond cond = {.kind = COND_DID};
    ERR_TRY(bind_selector(s->b, &ast->selector, true, &cond.selector));
    ERR_TRY(bind_cond_range(s, &ast->range, &cond));
    return leaf_new(s, ast->place, cond, ret);
}

/* The first, or the last, of all: an event in the range, and none beyond it. */
static enum err_code bind_edge(struct segment_binder *s, const struct ast_cond *ast,
                               const struct cond **ret)
{
    bool is_first = ast->kind == AST_COND_FIRST;
    const struct cond *without = NULL;
    struct cond *in = NULL;
    struct cond *beyond = NULL;
    if (ast->range.kind == AST_RANGE_NONE && !s->b->query->has_range) {
        return bind_fail(s->b, ast->place,
                         "\"%s\" asks whether that event lies in a range, and there is none; "
                         "without one it is did(...)",
                         is_first ? "first" : "last");
    }
    ERR_TRY(bind_did(s, ast, &in));
    in->is_first = is_first;
    struct cond cond = *in;
    cond.begin_ms = is_first ? INT64_MIN : in->end_ms;
    cond.end_ms = is_first ? in->begin_ms : INT64_MAX;
    *ret = in;
    if (cond.begin_ms >= cond.end_ms) {
        return ERR_OK;
    }
    ERR_TRY(leaf_new(s, ast->place, cond, &beyond));
    ERR_TRY(cond_node(s, COND_NOT, beyond, NULL, &without));
    return cond_node(s, COND_AND, in, without, ret);
}

static enum pred_kind op_of(enum ast_pred_kind op)
{
    switch (op) {
    case AST_EQ: return PRED_EQ;
    case AST_NE: return PRED_NE;
    case AST_LT: return PRED_LT;
    case AST_LE: return PRED_LE;
    case AST_GT: return PRED_GT;
    case AST_GE: return PRED_GE;
    default: return PRED_BETWEEN;
    }
}

/* A comparison of a count that only asks whether there is any; *ret_any says which way. */
static bool is_any_test(const struct ast_cond *ast, bool *ret_any)
{
    struct num value = ast->values[0].number;
    int to_zero = num_cmp(value, num_int(0));
    int to_one = num_cmp(value, num_int(1));
    bool is_none = (ast->op == AST_EQ && to_zero == 0) || (ast->op == AST_LE && to_zero == 0) ||
                   (ast->op == AST_LT && to_one == 0);
    *ret_any = (ast->op == AST_NE && to_zero == 0) || (ast->op == AST_GT && to_zero == 0) ||
               (ast->op == AST_GE && to_one == 0);
    return ast->agg == AST_AGG_COUNT && (is_none || *ret_any);
}

/* What a measure looks at, without the comparison. */
static enum err_code bind_measure(struct segment_binder *s, const struct ast_cond *ast,
                                  struct cond **ret)
{
    static const struct ast_alt any = {.kind = AST_ANY};
    static const enum agg_kind aggs[] = {
        [AST_AGG_COUNT] = AGG_COUNT, [AST_AGG_UNIQUE] = AGG_UNIQUE, [AST_AGG_SUM] = AGG_SUM,
        [AST_AGG_AVG] = AGG_AVG,     [AST_AGG_MIN] = AGG_MIN,       [AST_AGG_MAX] = AGG_MAX,
    };
    struct ast_selector of_any = {.alts = &any, .alt_count = 1, .place = ast->place};
    struct cond cond = {.kind = COND_MEASURE, .agg = aggs[ast->agg]};
    if (ast->agg == AST_AGG_UNIQUE) {
        struct by_key carried = {0}; /* with `per KEY` values are carried along */
        bool is_per = s->b->ast->clauses.per.place.line != 0;
        ERR_TRY(is_per ? bind_carried(s->b, ast->key, "\"unique\" with \"per\"", &carried)
                       : bind_one_field(s->b, ast->key, "unique", &cond.field));
        cond.field = is_per ? carried.field : cond.field;
    } else if (ast->agg != AST_AGG_COUNT) {
        ERR_TRY(bind_number_field(s->b, ast->key, "a sum, mean, smallest or largest value",
                                  &cond.field));
    }
    const struct ast_selector *selector = ast->has_selector ? &ast->selector : &of_any;
    ERR_TRY(bind_selector(s->b, selector, true, &cond.selector));
    ERR_TRY(bind_cond_range(s, &ast->range, &cond));
    return leaf_new(s, ast->place, cond, ret);
}

static void bind_comparison(struct segment_binder *s, const struct ast_cond *ast, struct cond *cond)
{
    cond->op = op_of(ast->op);
    cond->values[0] = ast->values[0].number;
    cond->values[1] = ast->values[1].number;
    s->needs_universe |= cond_holds_for_nothing(cond);
}

static enum err_code bind_measure_cond(struct segment_binder *s, const struct ast_cond *ast,
                                       const struct cond **ret)
{
    struct cond *leaf = NULL;
    bool is_any = false;
    if (is_any_test(ast, &is_any)) {
        ERR_TRY(bind_did(s, ast, &leaf));
        *ret = leaf;
        return is_any ? ERR_OK : cond_node(s, COND_NOT, leaf, NULL, ret);
    }
    ERR_TRY(bind_measure(s, ast, &leaf));
    bind_comparison(s, ast, leaf);
    *ret = leaf;
    return ERR_OK;
}

/* ---- arithmetic ---- */

static enum err_code bind_part(struct segment_binder *s, const struct ast_expr *ast,
                               const struct cond **kids, uint32_t *kid_count, struct expr *ret)
{
    const struct ast_cond part = {
        .kind = AST_COND_MEASURE,
        .place = ast->place,
        .agg = ast->agg,
        .key = ast->key,
        .has_selector = ast->has_selector,
        .selector = ast->selector,
        .range = ast->range == NULL ? (struct ast_range){0} : *ast->range,
    };
    struct cond *leaf = NULL;
    if (*kid_count == QUERY_FORMULA_MAX) {
        return bind_limit(s->b, ast->place, "a condition compares at most %u measures at a time",
                          QUERY_FORMULA_MAX);
    }
    ERR_TRY(bind_measure(s, &part, &leaf));
    ret->agg = *kid_count;
    kids[(*kid_count)++] = leaf;
    return ERR_OK;
}

static enum err_code bind_formula(struct segment_binder *s, const struct ast_expr *ast,
                                  const struct cond **kids, uint32_t *kid_count,
                                  const struct expr **ret)
{
    static const enum expr_kind kinds[] = {
        [AST_EXPR_AGG] = EXPR_AGG, [AST_EXPR_NUM] = EXPR_NUM, [AST_EXPR_ADD] = EXPR_ADD,
        [AST_EXPR_SUB] = EXPR_SUB, [AST_EXPR_MUL] = EXPR_MUL, [AST_EXPR_DIV] = EXPR_DIV,
        [AST_EXPR_NEG] = EXPR_NEG,
    };
    struct expr *expr = NULL;
    ERR_TRY(ARENA_NEW(s->b->arena, 1, &expr, s->b->err));
    *expr = (struct expr){.kind = kinds[ast->kind], .num = ast->number};
    *ret = expr;
    if (ast->kind == AST_EXPR_AGG) {
        return bind_part(s, ast, kids, kid_count, expr);
    }
    if (ast->left != NULL) {
        ERR_TRY(bind_formula(s, ast->left, kids, kid_count, &expr->left));
    }
    return ast->right == NULL ? ERR_OK : bind_formula(s, ast->right, kids, kid_count, &expr->right);
}

static enum err_code bind_formula_cond(struct segment_binder *s, const struct ast_cond *ast,
                                       const struct cond **ret)
{
    const struct cond **kids = NULL;
    struct cond *cond = NULL;
    ERR_TRY(ARENA_NEW(s->b->arena, QUERY_FORMULA_MAX, &kids, s->b->err));
    ERR_TRY(cond_new(s, (struct cond){.kind = COND_FORMULA, .kids = kids}, &cond));
    ERR_TRY(bind_formula(s, ast->expr, kids, &cond->kid_count, &cond->expr));
    bind_comparison(s, ast, cond);
    *ret = cond;
    return ERR_OK;
}

/* The funnel inside of a condition lives in the query's time and zone, and under its `where`. */
static enum err_code bind_reached(struct segment_binder *s, const struct ast_cond *ast,
                                  struct cond *cond)
{
    struct binder *b = s->b;
    struct ast_query *funnel = NULL;
    const struct ast_clauses *outer = &b->ast->clauses;
    ERR_TRY(ARENA_NEW(b->arena, 1, &funnel, b->err));
    *funnel = *ast->funnel;
    struct ast_clauses *clauses = &funnel->clauses;
    clauses->zone = outer->zone;
    clauses->has_week_start = outer->has_week_start;
    clauses->week_start = outer->week_start;
    if (clauses->range.kind == AST_RANGE_NONE) {
        clauses->range = outer->range;
    }
    if (clauses->where == NULL || outer->where == NULL) {
        clauses->where = clauses->where == NULL ? outer->where : clauses->where;
    } else {
        struct ast_pred *both = NULL;
        const struct ast_pred **kids = NULL;
        ERR_TRY(ARENA_NEW(b->arena, 1, &both, b->err));
        ERR_TRY(ARENA_NEW(b->arena, 2, &kids, b->err));
        kids[0] = outer->where;
        kids[1] = clauses->where;
        *both =
            (struct ast_pred){.kind = AST_AND, .place = ast->place, .kids = kids, .kid_count = 2};
        clauses->where = both;
    }
    struct bound_cell *cell = NULL;
    struct bound_query *bound = NULL;
    ERR_TRY(ARENA_NEW(b->arena, 1, &cell, b->err));
    ERR_TRY(bind_inner(b, b->request, funnel, &bound));
    if (bound->funnel.count != FUNNEL_USERS || bound->funnel.table != FUNNEL_STEPS) {
        return bind_fail(b, ast->place,
                         "the funnel of \"reached\" is one that counts users, by its steps");
    }
    cell->step = (uint32_t)ast->step.value;
    bound->cell = cell;
    return bind_use(b, (struct people_use){.definition = bound}, &cond->people);
}

static enum err_code bind_ids(struct segment_binder *s, const struct ast_cond *ast,
                              struct cond *cond)
{
    struct str *ids = NULL;
    ERR_TRY(ARENA_NEW(s->b->arena, ast->id_count, &ids, s->b->err));
    for (uint32_t i = 0; i < ast->id_count; i++) {
        ids[i] = ast->ids[i].text;
    }
    cond->ids = ids;
    cond->id_count = ast->id_count;
    return ERR_OK;
}

/* A property of the profile: of a person, so as of now. */
static enum err_code bind_profile_cond(struct segment_binder *s, const struct ast_cond *ast,
                                       const struct cond **ret)
{
    struct cond cond = {.kind = COND_PEOPLE};
    struct cond *leaf = NULL;
    bool is_without = false;
    s->needs_universe = true;
    ERR_TRY(check_people(s, ast->place, "a property of the profile"));
    if (ast->profile->field.profile == AST_PROFILE_AT_EVENT) {
        return bind_fail(s->b, ast->place,
                         "a person is of no event: \"as of event\" stands in the conditions of "
                         "events, did(any[...])");
    }
    ERR_TRY(bind_profile_test(s->b, ast->profile, &cond.people, &is_without));
    ERR_TRY(leaf_new(s, ast->place, cond, &leaf));
    *ret = leaf;
    return is_without ? cond_node(s, COND_NOT, leaf, NULL, ret) : ERR_OK;
}

static enum err_code bind_people_cond(struct segment_binder *s, const struct ast_cond *ast,
                                      const struct cond **ret)
{
    struct cond cond = {.kind = COND_PEOPLE};
    struct cond *leaf = NULL;
    s->needs_universe = true; /* whoever they are, the query is about people of its own range */
    ERR_TRY(check_people(s, ast->place,
                         ast->kind == AST_COND_IDS      ? "\"user in\""
                         : ast->kind == AST_COND_COHORT ? "\"in cohort\""
                                                        : "\"reached\""));
    if (ast->kind == AST_COND_IDS) {
        cond.kind = COND_IDS;
        ERR_TRY(bind_ids(s, ast, &cond));
    } else if (ast->kind == AST_COND_COHORT) {
        ERR_TRY(bind_cohort(s->b, ast->cohort, &cond.people));
    } else {
        ERR_TRY(bind_reached(s, ast, &cond));
    }
    ERR_TRY(leaf_new(s, ast->place, cond, &leaf));
    *ret = leaf;
    return ERR_OK;
}

/* ---- the tree ---- */

static enum err_code bind_kids(struct segment_binder *s, const struct ast_cond *ast,
                               const struct cond **ret)
{
    const struct cond **kids = NULL;
    struct cond *cond = NULL;
    ERR_TRY(ARENA_NEW(s->b->arena, ast->kid_count, &kids, s->b->err));
    for (uint32_t i = 0; i < ast->kid_count; i++) {
        ERR_TRY(bind_cond(s, ast->kids[i], &kids[i]));
    }
    enum cond_kind kind = ast->kind == AST_COND_AND ? COND_AND : COND_OR;
    ERR_TRY(
        cond_new(s, (struct cond){.kind = kind, .kids = kids, .kid_count = ast->kid_count}, &cond));
    *ret = cond;
    return ERR_OK;
}

/* A line for the condition, before those of its parts; what becomes of it is said when it is bound. */
static enum err_code line_new(struct segment_binder *s, const struct ast_cond *ast)
{
    CLEANUP(buf_freep) struct buf text = {0};
    struct binder *b = s->b;
    ERR_TRY(GROW(b->arena, &s->lines, s->line_count, &s->line_cap, b->err));
    struct cond_line *line = &s->lines[s->line_count++];
    *line = (struct cond_line){.is_test = ast->kid_count == 0};
    ast_print_cond(ast, &text);
    ERR_TRY(buf_check(&text, b->err));
    return arena_str(b->arena, buf_as_str(&text), &line->text, b->err);
}

static enum err_code bind_cond_node(struct segment_binder *s, const struct ast_cond *ast,
                                    const struct cond **ret);

static enum err_code bind_cond(struct segment_binder *s, const struct ast_cond *ast,
                               const struct cond **ret)
{
    uint32_t line = s->line_count;
    if (s->b->ast->why.place.line == 0) {
        return bind_cond_node(s, ast, ret);
    }
    ERR_TRY(line_new(s, ast));
    ERR_TRY(bind_cond_node(s, ast, ret));
    s->lines[line].cond = *ret;
    return ERR_OK;
}

static enum err_code bind_cond_node(struct segment_binder *s, const struct ast_cond *ast,
                                    const struct cond **ret)
{
    struct cond *leaf = NULL;
    switch (ast->kind) {
    case AST_COND_AND:
    case AST_COND_OR: return bind_kids(s, ast, ret);
    case AST_COND_NOT: {
        const struct cond *kid = NULL;
        ERR_TRY(bind_cond(s, ast->kids[0], &kid));
        return cond_node(s, COND_NOT, kid, NULL, ret);
    }
    case AST_COND_DID:
        ERR_TRY(bind_did(s, ast, &leaf));
        *ret = leaf;
        return ERR_OK;
    case AST_COND_FIRST:
    case AST_COND_LAST: return bind_edge(s, ast, ret);
    case AST_COND_MEASURE: return bind_measure_cond(s, ast, ret);
    case AST_COND_FORMULA: return bind_formula_cond(s, ast, ret);
    case AST_COND_PROFILE: return bind_profile_cond(s, ast, ret);
    case AST_COND_REACHED:
    case AST_COND_COHORT:
    case AST_COND_IDS: break;
    }
    return bind_people_cond(s, ast, ret);
}

/* ---- what tests of numbers say ---- */

bool cond_number_holds(const struct cond *cond, const struct cell *value)
{
    struct cell literal = cell_of_num(cond->values[0]);
    int order = cell_cmp(value, &literal);
    if (value->kind == CELL_NULL) {
        return false;
    }
    switch (cond->op) {
    case PRED_EQ: return order == 0;
    case PRED_NE: return order != 0;
    case PRED_LT: return order < 0;
    case PRED_LE: return order <= 0;
    case PRED_GT: return order > 0;
    case PRED_GE: return order >= 0;
    default: break;
    }
    literal = cell_of_num(cond->values[1]);
    return order >= 0 && cell_cmp(value, &literal) <= 0;
}

struct cell cond_value_of_nothing(const struct cond *cond)
{
    bool is_zero = cond->agg == AGG_COUNT || cond->agg == AGG_UNIQUE || cond->agg == AGG_SUM;
    return (struct cell){.kind = is_zero ? CELL_I64 : CELL_NULL};
}

static struct expr_value value_of(const struct cell *cell)
{
    switch (cell->kind) {
    case CELL_I64: return expr_exact(cell->i64, 0);
    case CELL_F64: return expr_double(cell->f64);
    case CELL_DECIMAL: return expr_of_total(cell->decimal);
    default: return (struct expr_value){.kind = VALUE_MISSING};
    }
}

struct cell cond_formula_value(const struct cond *cond, const struct cell *kids)
{
    struct expr_value values[QUERY_FORMULA_MAX];
    for (uint32_t k = 0; k < cond->kid_count; k++) {
        values[k] = value_of(&kids[k]);
    }
    struct expr_value value = expr_eval(cond->expr, values);
    return expr_cell(&value);
}

bool cond_holds_for_nothing(const struct cond *cond)
{
    struct cell kids[QUERY_FORMULA_MAX];
    if (cond->kind == COND_MEASURE) {
        const struct cell nothing = cond_value_of_nothing(cond);
        return cond_number_holds(cond, &nothing);
    }
    for (uint32_t k = 0; k < cond->kid_count; k++) {
        kids[k] = cond_value_of_nothing(cond->kids[k]);
    }
    const struct cell value = cond_formula_value(cond, kids);
    return cond_number_holds(cond, &value);
}

enum err_code bind_segment(struct binder *b)
{
    static const struct ast_alt active = {.kind = AST_ACTIVE};
    const struct ast_selector everyone = {.alts = &active, .alt_count = 1};
    struct segment_binder s = {.b = b};
    const struct ast_clauses *clauses = &b->ast->clauses;
    if (clauses->per.place.line != 0 && clauses->save.place.line != 0) {
        return bind_fail(b, clauses->save.place,
                         "a cohort is of people, and \"per " STR_FMT "\" tells values",
                         STR_ARG(clauses->per.text));
    }
    ERR_TRY(bind_cond(&s, b->ast->segment.cond, &s.segment.cond));
    s.segment.has_universe = s.needs_universe || b->query->has_range;
    if (s.segment.has_universe) {
        ERR_TRY(bind_selector(b, &everyone, true, &s.segment.universe_selector));
    }
    s.segment.lines = s.lines;
    s.segment.line_count = s.line_count;
    b->query->segment = s.segment;
    return ERR_OK;
}
