/* query/parse_restatements.c - `restatements [from EPOCH to EPOCH | last 7d] [with events] [of QUESTION]`.
 *
 * What stands before `of` is about commits, what stands behind it about the question, which has its own range. */
#include "query/parse_int.h"

static enum err_code parse_span(struct parser *p, struct ast_restatements *ret)
{
    if (!parse_is_word(&p->cur, "from")) {
        return parse_range(p, &ret->range);
    }
    parse_advance(p);
    ERR_TRY(parse_epoch(p, &ret->from));
    ERR_TRY(parse_need_word(p, "to"));
    return parse_epoch(p, &ret->to);
}

/* distinct user of any each day */
static void usual_question(struct parser *p, struct ast_alt *any)
{
    struct ast_query *query = p->query;
    struct place place = query->restatements.place;
    *any = (struct ast_alt){.kind = AST_ANY};
    query->verb = AST_DISTINCT;
    query->place = place;
    query->distinct.is_user = true;
    query->distinct.key = (struct ast_name){.text = STR("user"), .place = place};
    query->distinct.selector = (struct ast_selector){.alts = any, .alt_count = 1, .place = place};
    query->clauses.each = (struct ast_each){.unit = AST_EACH_DAY, .place = place};
}

enum err_code parse_restatements(struct parser *p, struct place place, bool *ret_is_whole)
{
    struct ast_restatements *restatements = &p->query->restatements;
    struct ast_alt *any = NULL;
    if (p->query->is_explain || p->query->is_profile) {
        return parse_fail(
            p, place, "\"restatements\" is many questions: ask %s of the one, \"as of\" an epoch",
            p->query->is_explain ? "explain" : "profile");
    }
    restatements->place = place;
    ERR_TRY(parse_span(p, restatements));
    if (parse_accept_word(p, "with")) {
        ERR_TRY(parse_need_word(p, "events"));
        restatements->has_events = true;
    }
    *ret_is_whole = p->cur.kind == TOK_END;
    if (!*ret_is_whole) {
        return parse_need_word(p, "of");
    }
    ERR_TRY(ARENA_NEW(p->arena, 1, &any, p->err));
    usual_question(p, any);
    return ERR_OK;
}
