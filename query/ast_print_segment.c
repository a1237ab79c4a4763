/* query/ast_print_segment.c - the canonical text of conditions on people. */
#include "query/ast_print_int.h"

#include "storage/base/buf.h"

static void print_did(const struct ast_cond *cond, const char *word, struct buf *out)
{
    buf_printf(out, "%s(", word);
    ast_print_selector(&cond->selector, out);
    ast_print_range(&cond->range, out);
    buf_u8(out, ')');
}

static void print_number_test(const struct ast_cond *cond, struct buf *out)
{
    static const char *const ops[] = {
        [AST_EQ] = "=",  [AST_NE] = "!=",           [AST_LT] = "<", [AST_LE] = "<=", [AST_GT] = ">",
        [AST_GE] = ">=", [AST_BETWEEN] = "between",
    };
    const struct ast_expr measure = {.kind = AST_EXPR_AGG,
                                     .agg = cond->agg,
                                     .key = cond->key,
                                     .has_selector = cond->has_selector,
                                     .selector = cond->selector,
                                     .range = &cond->range};
    ast_print_expr(cond->expr != NULL ? cond->expr : &measure, out);
    buf_printf(out, " %s ", ops[cond->op]);
    num_format(cond->values[0].number, out);
    if (cond->op == AST_BETWEEN) {
        buf_z(out, " and ");
        num_format(cond->values[1].number, out);
    }
}

static void print_ids(const struct ast_cond *cond, struct buf *out)
{
    for (uint32_t i = 0; i < cond->id_count; i++) {
        buf_z(out, i == 0 ? "user in (" : ", ");
        ast_print_string(cond->ids[i].text, out);
    }
    buf_u8(out, ')');
}

/* `context`: how tightly the surroundings bind: 0 or, 1 and, 2 not. */
static void print_cond(const struct ast_cond *cond, uint32_t context, struct buf *out)
{
    uint32_t own = cond->kind == AST_COND_OR ? 0 : 1;
    switch (cond->kind) {
    case AST_COND_AND:
    case AST_COND_OR:
        buf_z(out, own < context ? "(" : "");
        for (uint32_t i = 0; i < cond->kid_count; i++) {
            buf_z(out, i == 0 ? "" : own == 0 ? " or " : " and ");
            print_cond(cond->kids[i], own + 1, out);
        }
        buf_z(out, own < context ? ")" : "");
        break;
    case AST_COND_NOT:
        buf_z(out, "not ");
        print_cond(cond->kids[0], 2, out);
        break;
    case AST_COND_DID: print_did(cond, "did", out); break;
    case AST_COND_FIRST: print_did(cond, "first", out); break;
    case AST_COND_LAST: print_did(cond, "last", out); break;
    case AST_COND_MEASURE:
    case AST_COND_FORMULA: print_number_test(cond, out); break;
    case AST_COND_REACHED:
        buf_z(out, "reached(");
        ast_print(cond->funnel, out);
        buf_printf(out, ", %u)", (unsigned)cond->step.value);
        break;
    case AST_COND_COHORT:
        buf_z(out, "in cohort ");
        ast_print_string(cond->cohort.text, out);
        break;
    case AST_COND_IDS: print_ids(cond, out); break;
    case AST_COND_PROFILE: ast_print_test(cond->profile, out); break;
    }
}

void ast_print_cond(const struct ast_cond *cond, struct buf *out)
{
    print_cond(cond, 0, out);
}

void ast_print_segment(const struct ast_segment *segment, struct buf *out)
{
    buf_u8(out, ' ');
    print_cond(segment->cond, 0, out);
}

void ast_print_people(const struct ast_clauses *clauses, struct buf *out)
{
    for (uint32_t i = 0; i < clauses->excluded_count; i++) {
        buf_z(out, i == 0 ? " exclude cohort " : ", ");
        ast_print_string(clauses->excluded[i].text, out);
    }
    if (clauses->compare == AST_COMPARE_COHORT) {
        buf_z(out, " compare cohort ");
        ast_print_string(clauses->compare_cohort.text, out);
    } else if (clauses->compare != AST_COMPARE_NONE) {
        buf_printf(out, " compare previous %s",
                   clauses->compare == AST_COMPARE_PERIOD ? "period" : "year");
    }
    if (clauses->save.place.line != 0) {
        buf_z(out, " save cohort ");
        ast_print_string(clauses->save.text, out);
        buf_z(out, clauses->is_static ? " static" : "");
    }
}
