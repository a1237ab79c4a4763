/* query/bind_measure.c - selectors, aggregates and measures.
 *
 * Equal selectors of a trend share a number, and equal aggregates a slot: `sum(a of b) /
 * users(any)` beside `users(any)` counts users once. Equality is that of the canonical text. */
#include "query/bind_int.h"

#include "query/pred_eval.h"
#include "storage/base/buf.h"
#include "storage/event.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- selectors ---- */

static enum err_code add_selector(struct binder *b, struct selector selector, struct str text,
                                  struct place place, uint32_t *ret)
{
    if (b->selector_count == QUERY_SELECTORS_MAX) {
        return bind_limit(b, place, "a query has at most %u different selectors",
                          QUERY_SELECTORS_MAX);
    }
    ERR_TRY(GROW(b->arena, &b->selectors, b->selector_count, &b->selector_cap, b->err));
    ERR_TRY(GROW(b->arena, &b->selector_texts, b->selector_count, &b->selector_text_cap, b->err));
    b->selectors[b->selector_count] = selector;
    b->selector_texts[b->selector_count] = text;
    *ret = b->selector_count++;
    return ERR_OK;
}

static enum err_code canonical_text(struct binder *b, const struct ast_selector *ast,
                                    struct str *ret)
{
    CLEANUP(buf_freep) struct buf buf = {0};
    ast_print_selector(ast, &buf);
    ERR_TRY(buf_check(&buf, b->err));
    return arena_str(b->arena, buf_as_str(&buf), ret, b->err);
}

enum err_code bind_selector(struct binder *b, const struct ast_selector *ast, bool is_shared,
                            uint32_t *ret)
{
    struct str canonical = {0};
    ERR_TRY(canonical_text(b, ast, &canonical));
    for (uint32_t i = 0; is_shared && i < b->selector_count; i++) {
        if (str_eq(b->selector_texts[i], canonical)) {
            *ret = i;
            return ERR_OK;
        }
    }
    struct selector selector = {.alt_count = ast->alt_count};
    struct alt *alts = NULL;
    ERR_TRY(ARENA_NEW(b->arena, ast->alt_count, &alts, b->err));
    for (uint32_t i = 0; i < ast->alt_count; i++) {
        const struct ast_alt *alt = &ast->alts[i];
        if (alt->kind == AST_EVENT) {
            ERR_TRY(bind_event(b, alt->event));
            alts[i] = (struct alt){.kind = ALT_NAMED, .event = alt->event.text};
        }
        if (alt->pred != NULL) {
            ERR_TRY(bind_pred(b, alt->pred, &alts[i].pred));
        }
    }
    selector.alts = alts;
    selector.text = canonical;
    if (ast->span.end_off > 0) {
        ERR_TRY(lex_label(b->ast->text, ast->span.begin_off, ast->span.end_off, b->arena,
                          &selector.text, b->err));
    }
    return add_selector(b, selector, canonical, ast->place, ret);
}

enum err_code bind_named_selector(struct binder *b, struct str event, struct place place,
                                  uint32_t *ret)
{
    struct alt *alt = NULL;
    ERR_TRY(ARENA_NEW(b->arena, 1, &alt, b->err));
    *alt = (struct alt){.kind = ALT_NAMED, .event = event};
    return add_selector(b, (struct selector){.alts = alt, .alt_count = 1, .text = event}, event,
                        place, ret);
}

enum err_code bind_plain_selector(struct binder *b, struct ast_name event, uint32_t *ret)
{
    struct alt *any = NULL;
    if (event.place.line != 0) {
        ERR_TRY(bind_event(b, event));
        return bind_named_selector(b, event.text, event.place, ret);
    }
    ERR_TRY(ARENA_NEW(b->arena, 1, &any, b->err));
    return add_selector(b, (struct selector){.alts = any, .alt_count = 1, .text = STR("any")},
                        STR("any"), event.place, ret);
}

/* ---- users of a trend `per KEY`: the different values of KEY ---- */

/* What stands for nobody in place of a user id does so in place of any other subject. */
static enum err_code pred_of_somebody(struct binder *b, const struct field *field,
                                      const struct pred **ret)
{
    struct literal *nobody = NULL;
    struct pred *pred = NULL;
    ERR_TRY(ARENA_NEW(b->arena, EVENT_SENTINELS, &nobody, b->err));
    ERR_TRY(ARENA_NEW(b->arena, 1, &pred, b->err));
    for (uint32_t i = 0; i < EVENT_SENTINELS; i++) {
        nobody[i] = (struct literal){.type = COL_STRING, .string = event_sentinels[i]};
    }
    *pred = (struct pred){
        .kind = PRED_NOT_IN, .field = *field, .values = nobody, .value_count = EVENT_SENTINELS};
    *ret = pred;
    return ERR_OK;
}

/* The events of a selector that have a subject of their own. */
static enum err_code bind_somebody(struct binder *b, const struct field *field, struct place place,
                                   uint32_t *selector)
{
    const struct pred *somebody = NULL;
    struct selector own = b->selectors[*selector];
    struct alt *alts = NULL;
    struct str text = {0};
    CLEANUP(buf_freep) struct buf canonical = {0};
    if (field->type != COL_STRING) {
        return ERR_OK;
    }
    buf_printf(&canonical, STR_FMT " per " STR_FMT, STR_ARG(b->selector_texts[*selector]),
               STR_ARG(field->name));
    ERR_TRY(buf_check(&canonical, b->err));
    for (uint32_t i = 0; i < b->selector_count; i++) {
        if (str_eq(b->selector_texts[i], buf_as_str(&canonical))) {
            *selector = i;
            return ERR_OK;
        }
    }
    ERR_TRY(arena_str(b->arena, buf_as_str(&canonical), &text, b->err));
    ERR_TRY(pred_of_somebody(b, field, &somebody));
    ERR_TRY(ARENA_NEW(b->arena, own.alt_count, &alts, b->err));
    for (uint32_t i = 0; i < own.alt_count; i++) {
        alts[i] = own.alts[i];
        ERR_TRY(pred_and(b->arena, own.alts[i].pred, somebody, &alts[i].pred, b->err));
    }
    own.alts = alts;
    return add_selector(b, own, text, place, selector);
}

/* `users(SEL)` becomes `unique(KEY of SEL)` where the query says `per KEY`. */
static enum err_code bind_users_per(struct binder *b, struct place place, struct agg *agg)
{
    const struct ast_name *per = &b->ast->clauses.per;
    struct by_key key = {0};
    if (per->place.line == 0) {
        return ERR_OK;
    }
    ERR_TRY(bind_carried(b, *per, "\"per\"", &key));
    ERR_TRY(bind_somebody(b, &key.field, place, &agg->selector));
    agg->kind = AGG_UNIQUE;
    agg->field = key.field;
    return ERR_OK;
}

/* `per` says whom `users(...)` counts. */
static enum err_code check_per(struct binder *b, bool has_users)
{
    const struct ast_name *per = &b->ast->clauses.per;
    return per->place.line == 0 || has_users
               ? ERR_OK
               : bind_fail(
                     b, per->place,
                     "\"per\" says whose number \"users(...)\" is, and nothing here counts users");
}

/* ---- aggregates ---- */

static enum agg_kind agg_kind_of(enum ast_agg agg)
{
    static const enum agg_kind kinds[] = {
        [AST_AGG_COUNT] = AGG_COUNT,
        [AST_AGG_USERS] = AGG_USERS,
        [AST_AGG_UNIQUE] = AGG_UNIQUE,
        [AST_AGG_SUM] = AGG_SUM,
        [AST_AGG_AVG] = AGG_AVG,
        [AST_AGG_MIN] = AGG_MIN,
        [AST_AGG_MAX] = AGG_MAX,
        [AST_AGG_FIRST] = AGG_FIRST,
        [AST_AGG_LAST] = AGG_LAST,
        [AST_AGG_MEDIAN] = AGG_QUANTILE,
        [AST_AGG_PERCENTILE] = AGG_QUANTILE,
    };
    return kinds[agg];
}

static const char *agg_name(enum ast_agg agg)
{
    static const char *const names[] = {"count", "users", "unique", "sum",    "avg",         "min",
                                        "max",   "first", "last",   "median", "a percentile"};
    return names[agg];
}

static bool agg_eq(const struct agg *a, const struct agg *b)
{
    return a->kind == b->kind && a->selector == b->selector && a->field.kind == b->field.kind &&
           a->field.col == b->field.col && str_eq(a->field.name, b->field.name) &&
           a->quantile >= b->quantile && a->quantile <= b->quantile;
}

static enum err_code add_agg(struct binder *b, struct agg agg, uint32_t *ret)
{
    for (uint32_t i = 0; i < b->agg_count; i++) {
        if (agg_eq(&b->aggs[i], &agg)) {
            *ret = i;
            return ERR_OK;
        }
    }
    ERR_TRY(GROW(b->arena, &b->aggs, b->agg_count, &b->agg_cap, b->err));
    b->aggs[b->agg_count] = agg;
    *ret = b->agg_count++;
    return ERR_OK;
}

/* "99.9" -> the double nearest to 0.999, which 99.9 / 100 is not. */
static double quantile_of(struct str percent)
{
    char text[40];
    ASSERT(percent.len < 24);
    snprintf(text, sizeof(text), "%.*se-2", (int)percent.len, percent.ptr);
    return strtod(text, NULL);
}

static enum err_code bind_agg(struct binder *b, const struct ast_expr *ast, uint32_t *ret)
{
    static const struct ast_alt any = {.kind = AST_ANY};
    struct ast_selector of_any = {.alts = &any, .alt_count = 1, .place = ast->place};
    struct agg agg = {.kind = agg_kind_of(ast->agg)};
    if (ast->agg == AST_AGG_UNIQUE) {
        ERR_TRY(bind_one_field(b, ast->key, "unique", &agg.field));
    } else if (ast->key.place.line != 0) {
        ERR_TRY(bind_number_field(b, ast->key, agg_name(ast->agg), &agg.field));
    }
    if (agg.kind == AGG_QUANTILE) {
        agg.quantile = ast->agg == AST_AGG_MEDIAN ? 0.5 : quantile_of(ast->percentile);
    }
    uint32_t selector = 0;
    ERR_TRY(bind_selector(b, ast->has_selector ? &ast->selector : &of_any, true, &selector));
    agg.selector = selector;
    if (agg.kind == AGG_USERS) {
        b->has_users = true;
        ERR_TRY(bind_users_per(b, ast->place, &agg));
    }
    return add_agg(b, agg, ret);
}

/* ---- expressions and measures ---- */

static enum err_code bind_expr(struct binder *b, const struct ast_expr *ast,
                               const struct expr **ret)
{
    static const enum expr_kind kinds[] = {
        [AST_EXPR_AGG] = EXPR_AGG, [AST_EXPR_NUM] = EXPR_NUM, [AST_EXPR_ADD] = EXPR_ADD,
        [AST_EXPR_SUB] = EXPR_SUB, [AST_EXPR_MUL] = EXPR_MUL, [AST_EXPR_DIV] = EXPR_DIV,
        [AST_EXPR_NEG] = EXPR_NEG,
    };
    struct expr *expr = NULL;
    ERR_TRY(ARENA_NEW(b->arena, 1, &expr, b->err));
    expr->kind = kinds[ast->kind];
    if (ast->kind == AST_EXPR_AGG) {
        ERR_TRY(bind_agg(b, ast, &expr->agg));
    } else if (ast->kind == AST_EXPR_NUM) {
        expr->num = ast->number;
    } else {
        ERR_TRY(bind_expr(b, ast->left, &expr->left));
        if (ast->right != NULL) {
            ERR_TRY(bind_expr(b, ast->right, &expr->right));
        }
    }
    *ret = expr;
    return ERR_OK;
}

static bool has_agg(const struct ast_expr *ast)
{
    return ast != NULL && (ast->kind == AST_EXPR_AGG || has_agg(ast->left) || has_agg(ast->right));
}

static enum err_code measure_name(struct binder *b, const struct ast_measure *ast, struct str *ret)
{
    CLEANUP(buf_freep) struct buf text = {0};
    if (ast->as.place.line != 0) {
        *ret = ast->as.text;
        return ERR_OK;
    }
    if (ast->span.end_off > 0) {
        return lex_label(b->ast->text, ast->span.begin_off, ast->span.end_off, b->arena, ret,
                         b->err);
    }
    ast_print_expr(ast->expr, &text);
    ERR_TRY(buf_check(&text, b->err));
    return arena_str(b->arena, buf_as_str(&text), ret, b->err);
}

static enum err_code bind_measure(struct binder *b, const struct ast_measure *ast,
                                  struct measure *ret)
{
    if (!has_agg(ast->expr)) {
        return bind_fail(b, ast->place,
                         "a measure is made of count, users, sum and their kin, "
                         "and this one has none");
    }
    if (ast->rolling.place.line != 0) {
        if (b->ast->clauses.each.place.line == 0) {
            return bind_fail(b, ast->place,
                             "\"rolling\" looks back from the end of each bucket: "
                             "it needs \"each\"");
        }
        ret->rolling_ms = duration_ms(ast->rolling.duration);
    }
    ERR_TRY(measure_name(b, ast, &ret->name));
    return bind_expr(b, ast->expr, &ret->expr);
}

enum err_code bind_trend(struct binder *b)
{
    const struct ast_trend *trend = &b->ast->trend;
    struct measure *measures = NULL;
    ERR_TRY(ARENA_NEW(b->arena, trend->measure_count, &measures, b->err));
    for (uint32_t i = 0; i < trend->measure_count; i++) {
        const struct ast_measure *ast = &trend->measures[i];
        ERR_TRY(bind_measure(b, ast, &measures[i]));
        for (uint32_t k = 0; k < i; k++) {
            if (str_eq(measures[k].name, measures[i].name)) {
                return bind_fail(b, ast->as.place.line != 0 ? ast->as.place : ast->place,
                                 "two measures are called \"" STR_FMT "\"; name one with \"as\"",
                                 STR_ARG(measures[i].name));
            }
        }
    }
    b->query->measures = measures;
    b->query->measure_count = trend->measure_count;
    return check_per(b, b->has_users);
}

enum err_code bind_distinct(struct binder *b)
{
    const struct ast_distinct *distinct = &b->ast->distinct;
    struct measure *measure = NULL;
    struct expr *expr = NULL;
    struct agg agg = {.kind = distinct->is_user ? AGG_USERS : AGG_UNIQUE};
    if (!distinct->is_user) {
        ERR_TRY(bind_one_field(b, distinct->key, "distinct", &agg.field));
    }
    ERR_TRY(ARENA_NEW(b->arena, 1, &measure, b->err));
    ERR_TRY(ARENA_NEW(b->arena, 1, &expr, b->err));
    ERR_TRY(bind_selector(b, &distinct->selector, true, &agg.selector));
    ERR_TRY(check_per(b, distinct->is_user));
    if (distinct->is_user) {
        ERR_TRY(bind_users_per(b, distinct->selector.place, &agg));
    }
    ERR_TRY(add_agg(b, agg, &expr->agg));
    expr->kind = EXPR_AGG;
    *measure = (struct measure){.name = STR("distinct"), .expr = expr};
    b->query->measures = measure;
    b->query->measure_count = 1;
    return ERR_OK;
}
