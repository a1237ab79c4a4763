/* query/parse_funnel.c - the funnel verb: its steps, and the clauses that only it has. */
#include "query/parse_int.h"

#include "query/bound.h"

#include <string.h>

/* ---- steps ---- */

/* `first a` and `first matching a`; an event may still be called `first`. */
static bool is_first_modifier(const struct parser *p)
{
    bool is_name_next = p->peek.kind == TOK_STRING || p->peek.kind == TOK_QUOTED_NAME ||
                        p->peek.kind == TOK_LPAREN ||
                        (p->peek.kind == TOK_NAME && !parse_is_clause_word(&p->peek) &&
                         !parse_is_word(&p->peek, "as"));
    return parse_is_word(&p->cur, "first") && is_name_next;
}

/* `first (10m)` is an event of that name with a limit, `first (a | b)` the first of either. */
static enum err_code parse_first(struct parser *p, struct ast_step *ret)
{
    if (!is_first_modifier(p)) {
        return ERR_OK;
    }
    if (p->peek.kind == TOK_LPAREN) {
        struct lex ahead = p->lex; /* a copy: the token behind the parenthesis decides */
        enum token_kind kind = lex_next(&ahead).kind;
        if (kind == TOK_DURATION || kind == TOK_NUMBER || kind == TOK_PARAM) {
            return ERR_OK;
        }
    }
    parse_advance(p);
    ret->first = AST_FIRST_OF_NAME;
    bool is_matching = parse_is_word(&p->cur, "matching") && p->peek.kind != TOK_ARROW &&
                       p->peek.kind != TOK_LBRACKET && p->peek.kind != TOK_END &&
                       (p->peek.kind != TOK_NAME || !parse_is_clause_word(&p->peek));
    if (is_matching) {
        parse_advance(p);
        ret->first = AST_FIRST_MATCHING;
    }
    return ERR_OK;
}

static enum err_code parse_step_limit(struct parser *p, bool is_first, struct ast_step *ret)
{
    struct place place = p->cur.place;
    if (ret->limit.place.line != 0) {
        return parse_fail(p, place, "a step has one limit");
    }
    parse_advance(p);
    ERR_TRY(parse_window(p, "the limit of a step", &ret->limit));
    ERR_TRY(parse_need(p, TOK_RPAREN, "\")\""));
    if (is_first) {
        return parse_fail(p, place, "the first step has no step before it to be limited by");
    }
    return ERR_OK;
}

static enum err_code parse_step(struct parser *p, bool is_first, struct ast_step *ret)
{
    ERR_TRY(parse_first(p, ret));
    ERR_TRY(parse_selector(p, &ret->selector));
    while (p->cur.kind == TOK_LPAREN || p->cur.kind == TOK_QUESTION || p->cur.kind == TOK_BANG) {
        if (p->cur.kind == TOK_LPAREN) {
            ERR_TRY(parse_step_limit(p, is_first, ret));
            continue;
        }
        bool *mark = p->cur.kind == TOK_QUESTION ? &ret->is_optional : &ret->is_anchored;
        if (ret->mark.line != 0) {
            return parse_fail(p, p->cur.place, "a step has one mark: \"?\" or \"!\"");
        }
        *mark = true;
        ret->mark = p->cur.place;
        parse_advance(p);
    }
    if (is_first && ret->is_optional) {
        return parse_fail(p, ret->mark, "the first step is the entry: it cannot be optional");
    }
    return ERR_OK;
}

enum err_code verb_funnel_parse(struct parser *p)
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

/* ---- how an attempt goes ---- */

/* One of the words, by its number. */
static enum err_code parse_one_of(struct parser *p, const char *what, const char *const *words,
                                  uint32_t word_count, uint32_t *ret)
{
    for (uint32_t i = 0; i < word_count; i++) {
        if (parse_accept_word(p, words[i])) {
            *ret = i;
            return ERR_OK;
        }
    }
    return parse_expected_of(p, what, words, word_count);
}

enum err_code clause_order(struct parser *p)
{
    static const char *const words[] = {"ordered", "strict", "any"};
    uint32_t order = 0;
    ERR_TRY(parse_one_of(p, "\"by\", \"ordered\", \"strict\" or \"any\"", words, COUNT_OF(words),
                         &order));
    p->query->funnel.order = (enum ast_order_mode)order;
    return ERR_OK;
}

enum err_code clause_considering(struct parser *p)
{
    return parse_selector(p, &p->query->funnel.considering);
}

enum err_code clause_within(struct parser *p)
{
    return parse_window(p, "\"within\"", &p->query->funnel.within);
}

enum err_code clause_ties(struct parser *p)
{
    p->query->funnel.is_strict_ties = true;
    return parse_need_word(p, "strict");
}

enum err_code clause_closed(struct parser *p)
{
    p->query->funnel.is_closed = true;
    return ERR_OK;
}

enum err_code clause_reuse(struct parser *p)
{
    p->query->funnel.has_reuse = true;
    return ERR_OK;
}

enum err_code clause_entry(struct parser *p)
{
    p->query->funnel.is_entry_first = true;
    return parse_need_word(p, "first");
}

enum err_code clause_attempt(struct parser *p)
{
    static const char *const words[] = {"earliest", "latest"};
    uint32_t which = 0;
    ERR_TRY(parse_one_of(p, "\"earliest\" or \"latest\"", words, COUNT_OF(words), &which));
    p->query->funnel.attempt = which == 0 ? AST_ATTEMPT_EARLIEST : AST_ATTEMPT_LATEST;
    return ERR_OK;
}

enum err_code clause_holding(struct parser *p)
{
    struct ast_funnel *funnel = &p->query->funnel;
    struct ast_name *names = NULL;
    ERR_TRY(ARENA_NEW(p->arena, QUERY_KEYS_MAX, &names, p->err));
    do {
        if (funnel->holding_count == QUERY_KEYS_MAX) {
            return parse_limit(p, p->cur.place, "\"holding\" takes at most %u properties",
                               QUERY_KEYS_MAX);
        }
        ERR_TRY(parse_field(p, &names[funnel->holding_count]));
        funnel->holding_count++;
    } while (parse_accept(p, TOK_COMMA));
    funnel->holding = names;
    return ERR_OK;
}

/* One word of `mode`, with or without "clickhouse:" before it. */
static enum err_code parse_mode_word(struct parser *p, struct str word)
{
    struct ast_funnel *funnel = &p->query->funnel;
    if (str_starts(word, STR("clickhouse:"))) {
        word.ptr += strlen("clickhouse:");
        word.len -= strlen("clickhouse:");
    }
    if (str_eq(word, STR("strict_order"))) {
        funnel->stops_on_foreign = true;
    } else if (str_eq(word, STR("strict_deduplication"))) {
        funnel->stops_on_repeat = true;
    } else if (str_eq(word, STR("strict_increase"))) {
        funnel->is_strict_ties = true;
    } else if (str_eq(word, STR("strict_once"))) {
        funnel->is_once = true;
    } else {
        return parse_fail(p, funnel->mode.place,
                          "no mode \"" STR_FMT "\": there are clickhouse:strict_order, "
                          "clickhouse:strict_deduplication, clickhouse:strict_increase and "
                          "clickhouse:strict_once",
                          STR_ARG(word));
    }
    return ERR_OK;
}

/* Several words in one string, with commas between them. */
enum err_code clause_mode(struct parser *p)
{
    struct ast_funnel *funnel = &p->query->funnel;
    ERR_TRY(
        parse_string(p, "a mode in quotes, such as \"clickhouse:strict_order\"", &funnel->mode));
    struct str rest = funnel->mode.text;
    if (!str_starts(rest, STR("clickhouse:"))) {
        return parse_fail(p, funnel->mode.place,
                          "a mode says whose it is: \"clickhouse:" STR_FMT "\"", STR_ARG(rest));
    }
    for (bool has_more = true; has_more;) {
        const char *comma = memchr(rest.ptr, ',', rest.len);
        has_more = comma != NULL;
        struct str word = {rest.ptr, has_more ? (size_t)(comma - rest.ptr) : rest.len};
        rest.ptr += word.len + (has_more ? 1 : 0);
        rest.len -= word.len + (has_more ? 1 : 0);
        while (word.len > 0 && word.ptr[0] == ' ') {
            word.ptr++;
            word.len--;
        }
        ERR_TRY(parse_mode_word(p, word));
    }
    return ERR_OK;
}

/* ---- what ends it ---- */

static enum err_code parse_ban(struct parser *p, bool is_dropping, struct place place)
{
    struct ast_funnel *funnel = &p->query->funnel;
    ERR_TRY(GROW(p->arena, &funnel->bans, funnel->ban_count, &funnel->ban_cap, p->err));
    struct ast_ban *ban = &funnel->bans[funnel->ban_count];
    *ban = (struct ast_ban){.is_dropping = is_dropping, .place = place};
    ERR_TRY(parse_selector(p, &ban->selector));
    funnel->ban_count++;
    if (!parse_accept_word(p, "between")) {
        return ERR_OK;
    }
    const char *clause = is_dropping ? "dropping" : "without";
    ERR_TRY(parse_count(p, clause, 1, funnel->step_count, &ban->begin));
    ERR_TRY(parse_need_word(p, "and"));
    ERR_TRY(parse_count(p, clause, 1, funnel->step_count, &ban->end));
    if (ban->begin.value >= ban->end.value) {
        return parse_fail(p, ban->end.place,
                          "\"%s ... between\" takes two steps of the funnel, the earlier one first",
                          clause);
    }
    return ERR_OK;
}

enum err_code clause_without(struct parser *p)
{
    return parse_ban(p, false, p->cur.place);
}

enum err_code clause_dropping(struct parser *p)
{
    struct place place = p->cur.place;
    ERR_TRY(parse_need_word(p, "users"));
    ERR_TRY(parse_need_word(p, "with"));
    return parse_ban(p, true, place);
}

/* ---- what is reported ---- */

enum err_code clause_count(struct parser *p)
{
    static const char *const words[] = {"users", "totals", "sessions"};
    uint32_t what = 0;
    p->query->funnel.count_place = p->cur.place;
    ERR_TRY(
        parse_one_of(p, "\"users\", \"totals\" or \"sessions\"", words, COUNT_OF(words), &what));
    p->query->funnel.count = (enum ast_count_what)what;
    return ERR_OK;
}

enum err_code clause_trend(struct parser *p)
{
    p->query->funnel.trend_single = p->cur.place;
    return parse_need_word(p, "single");
}

enum err_code clause_at_step(struct parser *p)
{
    static const char *const words[] = {"step", "first", "last", "all"};
    struct ast_funnel *funnel = &p->query->funnel;
    uint32_t at = 0;
    funnel->at_place = p->cur.place;
    ERR_TRY(parse_one_of(p, "\"step\" and its number, \"first set\", \"last set\" or \"all steps\"",
                         words, COUNT_OF(words), &at));
    funnel->at = (enum ast_at)at;
    switch (funnel->at) {
    case AST_AT_STEP: return parse_count(p, "at step", 1, funnel->step_count, &funnel->at_step);
    case AST_AT_FIRST_SET:
    case AST_AT_LAST_SET: return parse_need_word(p, "set");
    case AST_AT_ALL_STEPS: return parse_need_word(p, "steps");
    }
    return ERR_OK;
}

enum err_code clause_funnel_times(struct parser *p)
{
    struct ast_funnel *funnel = &p->query->funnel;
    struct ast_duration *edges = NULL;
    uint32_t cap = 0;
    funnel->has_times = true;
    if (!parse_accept(p, TOK_LPAREN)) {
        return ERR_OK;
    }
    do {
        if (funnel->edge_count == PARSE_EDGES_MAX) {
            return parse_limit(p, p->cur.place, "more than %u edges of times", PARSE_EDGES_MAX);
        }
        ERR_TRY(GROW(p->arena, &edges, funnel->edge_count, &cap, p->err));
        struct ast_duration *edge = &edges[funnel->edge_count];
        ERR_TRY(parse_window(p, "\"times\"", edge));
        if (funnel->edge_count > 0 &&
            duration_ms(edge[-1].duration) >= duration_ms(edge->duration)) {
            return parse_fail(p, edge->place, "the edges of times ascend");
        }
        funnel->edge_count++;
    } while (parse_accept(p, TOK_COMMA));
    funnel->edges = edges;
    return parse_need(p, TOK_RPAREN, "\",\" or \")\"");
}

enum err_code clause_correlate(struct parser *p)
{
    struct ast_funnel *funnel = &p->query->funnel;
    funnel->correlate_key.place = p->cur.place;
    if (parse_accept_word(p, "events")) { /* in backquotes it is a property */
        funnel->correlate = AST_CORRELATE_EVENTS;
        return ERR_OK;
    }
    funnel->correlate = AST_CORRELATE_KEY;
    return parse_field(p, &funnel->correlate_key);
}

/* ---- what the clauses say together ---- */

static enum err_code check_marks(struct parser *p)
{
    const struct ast_funnel *funnel = &p->query->funnel;
    for (uint32_t i = 0; i < funnel->step_count; i++) {
        const struct ast_step *step = &funnel->steps[i];
        if (step->is_anchored && funnel->order != AST_ORDER_ANY) {
            return parse_fail(p, step->mark, "\"!\" keeps a step's place under \"order any\"");
        }
        if (step->is_optional && funnel->order == AST_ORDER_ANY) {
            return parse_fail(p, step->mark,
                              "under \"order any\" no step has to be done: \"?\" says nothing");
        }
        if (step->limit.place.line != 0 && funnel->order == AST_ORDER_ANY) {
            return parse_fail(p, step->limit.place,
                              "the limit of a step counts from the step before it, and \"order "
                              "any\" has none");
        }
        if (step->is_optional && (funnel->stops_on_repeat || funnel->stops_on_foreign)) {
            return parse_fail(p, step->mark, "no step is optional in the modes of ClickHouse");
        }
    }
    return ERR_OK;
}

static enum err_code check_bans(struct parser *p)
{
    const struct ast_funnel *funnel = &p->query->funnel;
    for (uint32_t i = 0; i < funnel->ban_count; i++) {
        const struct ast_ban *ban = &funnel->bans[i];
        bool is_whole = ban->begin.place.line == 0 ||
                        (ban->begin.value == 1 && ban->end.value == funnel->step_count);
        if (funnel->order == AST_ORDER_ANY && !is_whole) {
            return parse_fail(p, ban->begin.place,
                              "under \"order any\" an exclusion spans the whole funnel: between 1 "
                              "and %u",
                              funnel->step_count);
        }
        if (funnel->step_count < 2) {
            return parse_fail(p, ban->place, "a funnel of one step has nothing between its steps");
        }
    }
    return ERR_OK;
}

/* The other tables say who, or what, or how long, of the one funnel. */
static enum err_code check_tables(struct parser *p)
{
    const struct ast_clauses *clauses = &p->query->clauses;
    const struct ast_funnel *funnel = &p->query->funnel;
    bool is_list = clauses->is_list;
    bool is_correlation = funnel->correlate != AST_CORRELATE_NONE;
    if ((is_list ? 1 : 0) + (is_correlation ? 1 : 0) + (funnel->has_times ? 1 : 0) > 1) {
        return parse_fail(p, p->query->place,
                          "\"times\", \"list users\" and \"correlate\" are answers of their own: "
                          "one at a time");
    }
    if (funnel->has_times && funnel->step_count == 1) {
        return parse_fail(p, p->query->place,
                          "\"times\" says how long the way to the last step takes: a funnel of two "
                          "steps or more");
    }
    const char *word = is_list ? "list users" : "correlate";
    if ((is_list || is_correlation) && clauses->key_count > 0) {
        return parse_fail(p, clauses->by, "\"%s\" does not go with \"by\"", word);
    }
    if ((is_list || is_correlation) && clauses->each.place.line != 0) {
        return parse_fail(p, clauses->each.place, "\"%s\" does not go with \"each\"", word);
    }
    if ((is_list || is_correlation) && funnel->count != AST_COUNT_USERS) {
        return parse_fail(p, funnel->count_place, "\"%s\" is about users", word);
    }
    return ERR_OK;
}

enum err_code parse_check_funnel(struct parser *p)
{
    const struct ast_clauses *clauses = &p->query->clauses;
    const struct ast_funnel *funnel = &p->query->funnel;
    if (funnel->at_place.line != 0 && clauses->key_count == 0) {
        return parse_fail(p, funnel->at_place,
                          "\"at step\" says where \"by\" is read, and there is none");
    }
    if (funnel->trend_single.line != 0 && clauses->each.place.line == 0) {
        return parse_fail(
            p, funnel->trend_single,
            "\"trend single\" says how \"each\" divides the funnel, and there is none");
    }
    bool stops = funnel->stops_on_repeat || funnel->stops_on_foreign;
    if (stops && funnel->order == AST_ORDER_ANY) {
        return parse_fail(p, funnel->mode.place, "the modes of ClickHouse go in order");
    }
    if (stops && funnel->ban_count > 0) {
        return parse_fail(p, funnel->mode.place,
                          "the modes of ClickHouse do not go with \"without\" and \"dropping\"");
    }
    if (funnel->is_entry_first && funnel->count == AST_COUNT_TOTALS) {
        return parse_fail(p, funnel->count_place,
                          "\"entry first\" follows one attempt, \"count totals\" all of them");
    }
    if (funnel->is_once && funnel->has_reuse) {
        return parse_fail(p, funnel->mode.place,
                          "\"clickhouse:strict_once\" is the opposite of \"reuse\"");
    }
    if (funnel->considering.place.line != 0 && funnel->order != AST_ORDER_STRICT &&
        !funnel->stops_on_foreign) {
        return parse_fail(p, funnel->considering.place,
                          "\"considering\" says which events \"order strict\" looks at");
    }
    ERR_TRY(check_marks(p));
    ERR_TRY(check_bans(p));
    return check_tables(p);
}
