/* query/parse_verbs.c - the verbs: what stands between the verb and its clauses. */
#include "query/parse_int.h"

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
    static const char *const words[] = {"events",   "properties", "values",
                                        "segments", "cohorts",    "metrics", "profiles"};
    struct ast_show_what *show = &p->query->show;
    uint32_t kind = 0;
    while (kind < COUNT_OF(words) && !parse_accept_word(p, words[kind])) {
        kind++;
    }
    if (kind == COUNT_OF(words)) {
        return parse_expected_of(p, "events, properties, values, segments, cohorts, metrics or profiles",
                                 words, COUNT_OF(words));
    }
    show->kind = (enum ast_show)kind;
    if (show->kind == AST_SHOW_VALUES) {
        ERR_TRY(parse_need_word(p, "of"));
        return parse_subject_field(p, &show->name);
    }
    if (show->kind == AST_SHOW_PROPERTIES && parse_accept_word(p, "of")) {
        return parse_event(p, &show->name);
    }
    if (show->kind == AST_SHOW_METRICS && parse_accept_word(p, "of")) {
        return parse_string(p, "the name of a metric in quotes", &show->name);
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
    [AST_SEGMENT] = verb_segment_parse,
    [AST_DROP] = verb_drop_parse,
};

/* `diff EPOCH, EPOCH in` */
static enum err_code parse_diff(struct parser *p, struct place place)
{
    if (p->query->is_explain || p->query->is_profile) {
        return parse_fail(p, place,
                          "\"diff\" is four questions: ask %s of the one, \"as of\" an epoch",
                          p->query->is_explain ? "explain" : "profile");
    }
    ERR_TRY(parse_epoch(p, &p->query->diff_from));
    ERR_TRY(parse_need(p, TOK_COMMA, "\",\" and the later epoch"));
    ERR_TRY(parse_epoch(p, &p->query->diff_to));
    return parse_need_word(p, "in");
}

/* `why "u_42" in` */
static enum err_code parse_why(struct parser *p)
{
    ERR_TRY(parse_string(p, "the id of a user in quotes", &p->query->why));
    return parse_need_word(p, "in");
}

bool parse_is_verb(const struct token *token)
{
    for (uint32_t i = 0; i < COUNT_OF(verbs); i++) {
        if (parse_is_word(token, ast_verb_name((enum ast_verb)i))) {
            return true;
        }
    }
    return false;
}

enum err_code parse_verb(struct parser *p)
{
    p->query->is_explain = parse_accept_word(p, "explain");
    p->query->is_profile = !p->query->is_explain && parse_accept_word(p, "profile");
    struct place place = p->cur.place;
    bool is_whole = false;
    if (parse_accept_word(p, "diff")) {
        ERR_TRY(parse_diff(p, place));
    } else if (parse_accept_word(p, "restatements")) {
        ERR_TRY(parse_restatements(p, place, &is_whole));
    }
    if (is_whole) {
        return ERR_OK;
    }
    if (parse_accept_word(p, "why")) {
        ERR_TRY(parse_why(p));
    } else if (parse_is_word(&p->cur, "users")) {
        ERR_TRY(parse_users_of(p));
    }
    p->query->place = p->cur.place;
    return parse_is_metric(p) ? parse_metric_query(p) : parse_verb_alone(p);
}

enum err_code parse_verb_alone(struct parser *p)
{
    const char *words[COUNT_OF(verbs) + 5];
    p->query->place = p->cur.place;
    for (uint32_t i = 0; i < COUNT_OF(verbs); i++) {
        words[i] = ast_verb_name((enum ast_verb)i);
        if (parse_accept_word(p, words[i])) {
            p->query->verb = (enum ast_verb)i;
            return verbs[i](p);
        }
    }
    words[COUNT_OF(verbs)] = "explain";
    words[COUNT_OF(verbs) + 1] = "profile";
    words[COUNT_OF(verbs) + 2] = "why";
    words[COUNT_OF(verbs) + 3] = "diff";
    words[COUNT_OF(verbs) + 4] = "restatements";
    return parse_expected_of(
        p, "a verb (trend, distinct, funnel, retention, paths, events, show, ...)", words,
        COUNT_OF(words));
}
