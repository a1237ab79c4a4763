/* query/bind_pred.c - predicates.
 *
 * A name may be several columns, one for each type it was seen with, and a row has a value in at
 * most one of them. A comparison means the columns that its literal can be compared with: where
 * that is more than one (a string literal against a string column and a list column) it becomes an
 * `or` over them. */
#include "query/bind_int.h"

/* ---- literals ---- */

static enum col_type value_type(const struct ast_value *value)
{
    switch (value->kind) {
    case AST_STRING: return COL_STRING;
    case AST_NUMBER: return COL_NUMBER;
    case AST_BOOL: return COL_BOOL;
    case AST_TIME:
    case AST_NOW: break;
    }
    return COL_TIME;
}

/* The value as a literal of `type`: its own, or a string read as a time. */
static enum err_code bind_literal(struct binder *b, const struct ast_value *value,
                                  enum col_type type, struct literal *ret)
{
    struct literal literal = {.type = type};
    switch (type) {
    case COL_NUMBER: literal.number = value->number; break;
    case COL_BOOL: literal.boolean = value->boolean; break;
    case COL_TIME: ERR_TRY(bind_time(b, value, &literal.ts_ms)); break;
    case COL_STRING:
    case COL_LIST:
        literal.type = COL_STRING;
        literal.string = value->text;
        break;
    }
    *ret = literal;
    return ERR_OK;
}

/* ---- tests of one field ---- */

static bool is_text_test(enum ast_pred_kind kind)
{
    return kind == AST_CONTAINS || kind == AST_STARTS || kind == AST_ENDS || kind == AST_MATCHES;
}

static const char *test_word(enum ast_pred_kind kind)
{
    switch (kind) {
    case AST_CONTAINS: return "contains";
    case AST_STARTS: return "starts with";
    case AST_ENDS: return "ends with";
    case AST_MATCHES: return "matches";
    case AST_BETWEEN: return "between";
    default: return "in";
    }
}

static enum pred_kind test_kind(enum ast_pred_kind kind)
{
    static const enum pred_kind kinds[] = {
        [AST_AND] = PRED_AND,
        [AST_OR] = PRED_OR,
        [AST_NOT] = PRED_NOT,
        [AST_EQ] = PRED_EQ,
        [AST_NE] = PRED_NE,
        [AST_LT] = PRED_LT,
        [AST_LE] = PRED_LE,
        [AST_GT] = PRED_GT,
        [AST_GE] = PRED_GE,
        [AST_IN] = PRED_IN,
        [AST_NOT_IN] = PRED_NOT_IN,
        [AST_BETWEEN] = PRED_BETWEEN,
        [AST_CONTAINS] = PRED_CONTAINS,
        [AST_STARTS] = PRED_STARTS,
        [AST_ENDS] = PRED_ENDS,
        [AST_MATCHES] = PRED_MATCHES,
        [AST_IS_SET] = PRED_IS_SET,
        [AST_IS_NOT_SET] = PRED_IS_NOT_SET,
        [AST_IN_COHORT] = PRED_IN_PEOPLE,
    };
    return kinds[kind];
}

/* All values of a test have one type, and the test can be asked of it. */
static enum err_code check_values(struct binder *b, const struct ast_pred *ast)
{
    enum col_type type = value_type(&ast->values[0]);
    if (is_text_test(ast->kind) && type != COL_STRING) {
        return bind_fail(b, ast->values[0].place, "\"%s\" takes text in quotes, not a %s",
                         test_word(ast->kind), col_type_name(type));
    }
    bool is_order = ast->kind == AST_LT || ast->kind == AST_LE || ast->kind == AST_GT ||
                    ast->kind == AST_GE || ast->kind == AST_BETWEEN;
    if (is_order && type == COL_BOOL) {
        return bind_fail(b, ast->values[0].place,
                         "true and false have no order; compare by = or !=");
    }
    for (uint32_t i = 1; i < ast->value_count; i++) {
        if (value_type(&ast->values[i]) != type) {
            return bind_fail(b, ast->values[i].place,
                             "the values of \"%s\" have one type: this is a %s, the first a %s",
                             test_word(ast->kind), col_type_name(value_type(&ast->values[i])),
                             col_type_name(type));
        }
    }
    return ERR_OK;
}

/* Of the columns of a name, those that can be compared with a literal of `type`. */
static void keep_fitting(struct bind_fields *fields, enum col_type type, bool is_text)
{
    struct bind_fields fit = {.count = 0};
    const struct field *time = NULL;
    for (uint32_t i = 0; i < fields->count; i++) {
        const struct field *field = &fields->items[i];
        if (field->type == type || (field->type == COL_LIST && type == COL_STRING)) {
            fit.items[fit.count++] = *field;
        } else if (field->type == COL_TIME && type == COL_STRING && !is_text) {
            time = field; /* "2025-05-01", where nothing takes it as text */
        }
    }
    if (fit.count == 0 && time != NULL) {
        fit.items[fit.count++] = *time;
    }
    *fields = fit;
}

static enum err_code bind_test_of(struct binder *b, const struct ast_pred *ast, struct field field,
                                  const struct pred **ret)
{
    struct pred *pred = NULL;
    struct literal *values = NULL;
    ERR_TRY(ARENA_NEW(b->arena, 1, &pred, b->err));
    ERR_TRY(ARENA_NEW(b->arena, ast->value_count, &values, b->err));
    for (uint32_t i = 0; i < ast->value_count; i++) {
        ERR_TRY(bind_literal(b, &ast->values[i], field.type, &values[i]));
    }
    *pred = (struct pred){.kind = test_kind(ast->kind),
                          .field = field,
                          .values = values,
                          .value_count = ast->value_count};
    if (ast->kind == AST_MATCHES) {
        ERR_TRY(bind_regex(b, &ast->values[0], &pred->regex));
    }
    *ret = pred;
    return ERR_OK;
}

/* The test over each of the columns, joined by `kind`. */
static enum err_code bind_over(struct binder *b, const struct ast_pred *ast,
                               const struct bind_fields *fields, enum pred_kind kind,
                               const struct pred **ret)
{
    ASSERT(fields->count > 0);
    if (fields->count == 1) {
        return bind_test_of(b, ast, fields->items[0], ret);
    }
    struct pred *pred = NULL;
    const struct pred **kids = NULL;
    ERR_TRY(ARENA_NEW(b->arena, 1, &pred, b->err));
    ERR_TRY(ARENA_NEW(b->arena, fields->count, &kids, b->err));
    for (uint32_t i = 0; i < fields->count; i++) {
        ERR_TRY(bind_test_of(b, ast, fields->items[i], &kids[i]));
    }
    *pred = (struct pred){.kind = kind, .kids = kids, .kid_count = fields->count};
    *ret = pred;
    return ERR_OK;
}

static enum err_code bind_columns_test(struct binder *b, const struct ast_pred *ast,
                                       const struct pred **ret)
{
    struct bind_fields fields;
    ERR_TRY(bind_fields(b, ast->field, &fields));
    if (ast->value_count == 0) { /* is set, is not set */
        if (fields.count == 0) {
            fields.items[fields.count++] = bind_unknown(ast->field.text, COL_STRING);
        }
        return bind_over(b, ast, &fields, ast->kind == AST_IS_SET ? PRED_OR : PRED_AND, ret);
    }
    ERR_TRY(check_values(b, ast));
    enum col_type type = value_type(&ast->values[0]);
    struct bind_fields fit = fields;
    keep_fitting(&fit, type, is_text_test(ast->kind));
    if (fields.count == 0) {
        fit.items[fit.count++] = bind_unknown(ast->field.text, type);
    }
    if (fit.count == 0) {
        struct str types = {0};
        ERR_TRY(bind_types_text(b, &fields, &types));
        return bind_fail(
            b, ast->values[0].place,
            "property \"" STR_FMT "\" is a " STR_FMT " and cannot be compared with a %s%s",
            STR_ARG(ast->field.text), STR_ARG(types), col_type_name(type),
            type == COL_TIME && fields.items[0].type == COL_STRING ? "; as text it stands in quotes"
                                                                   : "");
    }
    return bind_over(b, ast, &fit, PRED_OR, ret);
}

enum err_code bind_profile_test(struct binder *b, const struct ast_pred *ast,
                                const struct people_use **ret, bool *ret_is_without)
{
    struct ast_pred test = *ast;
    const struct pred *pred = NULL;
    *ret_is_without = ast->kind == AST_IS_NOT_SET; /* true of people who have no profile at all */
    test.kind = *ret_is_without ? AST_IS_SET : ast->kind;
    ERR_TRY(bind_columns_test(b, &test, &pred));
    return bind_profile_use(b, pred, ret);
}

/* As of now a profile is the subject's, whatever the row. */
static enum err_code bind_profile_now(struct binder *b, const struct ast_pred *ast,
                                      const struct pred **ret)
{
    bool is_without = false;
    struct pred *nodes = NULL;
    const struct pred **kids = NULL;
    ERR_TRY(ARENA_NEW(b->arena, 2, &nodes, b->err));
    ERR_TRY(ARENA_NEW(b->arena, 1, &kids, b->err));
    nodes[0] = (struct pred){.kind = PRED_IN_PEOPLE, .field = {.kind = FIELD_SUBJECT}};
    ERR_TRY(bind_profile_test(b, ast, &nodes[0].people, &is_without));
    kids[0] = &nodes[0];
    nodes[1] = (struct pred){.kind = PRED_NOT, .kids = kids, .kid_count = 1};
    *ret = is_without ? &nodes[1] : &nodes[0];
    return ERR_OK;
}

static enum err_code bind_test(struct binder *b, const struct ast_pred *ast,
                               const struct pred **ret)
{
    return ast->field.profile == AST_PROFILE_NOW ? bind_profile_now(b, ast, ret)
                                                 : bind_columns_test(b, ast, ret);
}

static enum err_code bind_in_cohort(struct binder *b, const struct ast_pred *ast,
                                    const struct pred **ret)
{
    struct pred *pred = NULL;
    ERR_TRY(ARENA_NEW(b->arena, 1, &pred, b->err));
    *pred = (struct pred){.kind = PRED_IN_PEOPLE, .field = {.kind = FIELD_SUBJECT}};
    *ret = pred;
    return bind_cohort(b, ast->field, &pred->people);
}

enum err_code bind_pred(struct binder *b, const struct ast_pred *ast, const struct pred **ret)
{
    if (ast->kind == AST_IN_COHORT) {
        return bind_in_cohort(b, ast, ret);
    }
    if (ast->kind != AST_AND && ast->kind != AST_OR && ast->kind != AST_NOT) {
        return bind_test(b, ast, ret);
    }
    struct pred *pred = NULL;
    const struct pred **kids = NULL;
    ERR_TRY(ARENA_NEW(b->arena, 1, &pred, b->err));
    ERR_TRY(ARENA_NEW(b->arena, ast->kid_count, &kids, b->err));
    for (uint32_t i = 0; i < ast->kid_count; i++) {
        ERR_TRY(bind_pred(b, ast->kids[i], &kids[i]));
    }
    *pred = (struct pred){.kind = test_kind(ast->kind), .kids = kids, .kid_count = ast->kid_count};
    *ret = pred;
    return ERR_OK;
}
