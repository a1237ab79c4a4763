/* query/parse_verbs.c - the verbs: what stands between the verb and its clauses. */
#include "query/parse_int.h"

#include "query/bound.h"

static enum err_code verb_trend_parse(struct parser *p)
{
    return parse_measures(p, &p->query->trend);
}

static enum err_code verb_distinct_parse(struct parser *p)
{
    struct ast_distinct *distinct = &p->query->distinct;
    distinct->is_user = parse_is_word(&p->cur, "user");
    ERR_TRY(parse_field(p, &distinct->key));
    ERR_TRY(parse_need_word(p, "of"));
    return parse_selector(p, &distinct->selector);
}

/* ---- funnel ---- */

/* `first a` and `first matching a` are for a later version; an event may still be called `first`.
 */
static bool is_first_modifier(const struct parser *p)
{
    bool is_name_next = p->peek.kind == TOK_STRING || p->peek.kind == TOK_QUOTED_NAME ||
                        (p->peek.kind == TOK_NAME && !parse_is_clause_word(&p->peek) &&
                         !parse_is_word(&p->peek, "as"));
    return parse_is_word(&p->cur, "first") && is_name_next;
}

static enum err_code parse_step(struct parser *p, bool is_first, struct ast_step *ret)
{
    if (is_first_modifier(p)) {
        return parse_unsupported(p, p->cur.place, "first");
    }
    ERR_TRY(parse_selector(p, &ret->selector));
    if (p->cur.kind == TOK_LPAREN) {
        struct place place = p->cur.place;
        parse_advance(p);
        ERR_TRY(parse_window(p, "the limit of a step", &ret->limit));
        ERR_TRY(parse_need(p, TOK_RPAREN, "\")\""));
        if (is_first) {
            return parse_fail(p, place, "the first step has no step before it to be limited by");
        }
    }
    if (p->cur.kind == TOK_QUESTION || p->cur.kind == TOK_BANG) {
        return parse_unsupported(p, p->cur.place, p->cur.kind == TOK_QUESTION ? "?" : "!");
    }
    return ERR_OK;
}

static enum err_code verb_funnel_parse(struct parser *p)
{
    struct ast_step *steps = NULL;
    uint32_t count = 0;
    uint32_t cap = 0;
    struct place too_many = {0};
    do {
        if (count == QUERY_STEPS_MAX) {
            too_many = p->cur.place;
        }
        ERR_TRY(GROW(p->arena, &steps, count, &cap, p->err));
        ERR_TRY(parse_step(p, count == 0, &steps[count]));
        count++;
    } while (parse_accept(p, TOK_ARROW));
    if (count > QUERY_STEPS_MAX) {
        return parse_fail(p, too_many, "a funnel has 1 to %u steps, this one has %u",
                          QUERY_STEPS_MAX, count);
    }
    p->query->funnel.steps = steps;
    p->query->funnel.step_count = count;
    return ERR_OK;
}

static enum err_code verb_retention_parse(struct parser *p)
{
    struct ast_retention *retention = &p->query->retention;
    ERR_TRY(parse_selector(p, &retention->start));
    ERR_TRY(parse_need(p, TOK_ARROW, "\"->\" and the event that people return with"));
    return parse_selector(p, &retention->back);
}

/* ---- rows and the catalogue ---- */

static enum err_code verb_events_parse(struct parser *p)
{
    return parse_selector(p, &p->query->events.selector);
}

static enum err_code verb_timeline_parse(struct parser *p)
{
    return parse_string(p, "the id of a user in quotes", &p->query->timeline.subject);
}

static enum err_code verb_show_parse(struct parser *p)
{
    static const char *const words[] = {"events", "properties", "values", "segments"};
    struct ast_show_what *show = &p->query->show;
    if (parse_is_word(&p->cur, "cohorts") || parse_is_word(&p->cur, "metrics")) {
        return parse_unsupported(p, p->cur.place,
                                 parse_is_word(&p->cur, "cohorts") ? "cohorts" : "metrics");
    }
    uint32_t kind = 0;
    while (kind < COUNT_OF(words) && !parse_accept_word(p, words[kind])) {
        kind++;
    }
    if (kind == COUNT_OF(words)) {
        return parse_expected_of(p, "events, properties, values or segments", words,
                                 COUNT_OF(words));
    }
    show->kind = (enum ast_show)kind;
    if (show->kind == AST_SHOW_VALUES) {
        ERR_TRY(parse_need_word(p, "of"));
        return parse_field(p, &show->name);
    }
    if (show->kind == AST_SHOW_PROPERTIES && parse_accept_word(p, "of")) {
        return parse_event(p, &show->name);
    }
    return ERR_OK;
}

/* ---- the table ---- */

static enum err_code (*const verbs[])(struct parser *p) = {
    [AST_TREND] = verb_trend_parse,
    [AST_DISTINCT] = verb_distinct_parse,
    [AST_FUNNEL] = verb_funnel_parse,
    [AST_RETENTION] = verb_retention_parse,
    [AST_EVENTS] = verb_events_parse,
    [AST_TIMELINE] = verb_timeline_parse,
    [AST_SHOW] = verb_show_parse,
    [AST_SEQUENCE] = verb_sequence_parse,
    [AST_SESSIONS] = verb_sessions_parse,
    [AST_PATHS] = verb_paths_parse,
    [AST_ATTRIBUTION] = verb_attribution_parse,
    [AST_ABSENCE] = verb_absence_parse,
    [AST_INTERVALS] = verb_intervals_parse,
    [AST_LIFECYCLE] = verb_habits_parse,
    [AST_STICKINESS] = verb_stickiness_parse,
    [AST_CONDITIONS] = verb_conditions_parse,
    [AST_CHURN] = verb_churn_parse,
    [AST_LTV] = verb_ltv_parse,
};

static const char *const verbs_later[] = {
    "segment", "profile", "why", "users", "diff",
};

enum err_code parse_verb(struct parser *p)
{
    const char *words[COUNT_OF(verbs) + 1];
    p->query->is_explain = parse_accept_word(p, "explain");
    p->query->place = p->cur.place;
    for (uint32_t i = 0; i < COUNT_OF(verbs); i++) {
        words[i] = ast_verb_name((enum ast_verb)i);
        if (parse_accept_word(p, words[i])) {
            p->query->verb = (enum ast_verb)i;
            return verbs[i](p);
        }
    }
    for (size_t i = 0; i < COUNT_OF(verbs_later); i++) {
        if (parse_is_word(&p->cur, verbs_later[i])) {
            return parse_unsupported(p, p->cur.place, verbs_later[i]);
        }
    }
    words[COUNT_OF(verbs)] = "explain";
    return parse_expected_of(
        p, "a verb (trend, distinct, funnel, retention, paths, events, show, ...)", words,
        COUNT_OF(words));
}
