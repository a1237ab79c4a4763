/* query/parse.c - the parser's floor: tokens, errors, parameters, values. */
#include "query/parse_int.h"

#include "query/names.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- tokens ---- */

void parse_advance(struct parser *p)
{
    p->prev_end_off = p->cur.end_off;
    p->cur = p->peek;
    p->peek = lex_next(&p->lex);
    if (p->standing.line != 0) {
        p->peek.place = p->standing;
        p->peek.begin_off = 0;
        p->peek.end_off = 0;
    }
}

bool parse_is_word(const struct token *token, const char *word)
{
    return token->kind == TOK_NAME && str_eq(token->value, str_of(word));
}

bool parse_accept_word(struct parser *p, const char *word)
{
    bool is_there = parse_is_word(&p->cur, word);
    if (is_there) {
        parse_advance(p);
    }
    return is_there;
}

bool parse_accept(struct parser *p, enum token_kind kind)
{
    bool is_there = p->cur.kind == kind;
    if (is_there) {
        parse_advance(p);
    }
    return is_there;
}

enum err_code parse_need(struct parser *p, enum token_kind kind, const char *what)
{
    return parse_accept(p, kind) ? ERR_OK : parse_expected(p, what);
}

enum err_code parse_need_word(struct parser *p, const char *word)
{
    char what[64];
    snprintf(what, sizeof(what), "\"%s\"", word);
    return parse_accept_word(p, word) ? ERR_OK : parse_expected_of(p, what, &word, 1);
}

/* ---- errors ---- */

/* A token as messages show it: long ones are cut, at a character. */
static void token_show(const struct token *token, char *out, size_t cap)
{
    if (token->kind == TOK_END) {
        snprintf(out, cap, "the end of the query");
        return;
    }
    size_t len = token->text.len;
    bool is_cut = len > 60;
    if (is_cut) {
        len = 60;
        while (len > 0 && ((uint8_t)token->text.ptr[len] & 0xc0) == 0x80) {
            len--;
        }
    }
    bool is_quoted = token->kind == TOK_STRING || token->kind == TOK_QUOTED_NAME;
    const char *quote = is_quoted ? "" : "\"";
    snprintf(out, cap, "%s%.*s%s%s", quote, (int)len, token->text.ptr, is_cut ? "..." : "", quote);
}

enum err_code parse_expected_of(struct parser *p, const char *what, const char *const *words,
                                size_t word_count)
{
    if (p->cur.kind == TOK_BAD) {
        *p->err = p->lex.bad;
        return p->err->code;
    }
    char found[80];
    token_show(&p->cur, found, sizeof(found));
    struct str best = {0};
    if (p->cur.kind == TOK_NAME) {
        struct str items[96];
        ASSERT(word_count <= COUNT_OF(items));
        for (size_t i = 0; i < word_count; i++) {
            items[i] = str_of(words[i]);
        }
        if (!names_nearest(items, (uint32_t)word_count, p->cur.value, &best) ||
            str_eq(best, p->cur.value)) { /* a known word, but not here */
            best.len = 0;
        }
    }
    if (best.len > 0) {
        return parse_fail(p, p->cur.place, "expected %s, found %s; did you mean \"" STR_FMT "\"?",
                          what, found, STR_ARG(best));
    }
    return parse_fail(p, p->cur.place, "expected %s, found %s", what, found);
}

enum err_code parse_expected(struct parser *p, const char *what)
{
    return parse_expected_of(p, what, NULL, 0);
}

enum err_code parse_enter(struct parser *p)
{
    if (p->depth == PARSE_DEPTH_MAX) {
        return parse_limit(p, p->cur.place, "nested deeper than %u levels", PARSE_DEPTH_MAX);
    }
    p->depth++;
    return ERR_OK;
}

void parse_leave(struct parser *p)
{
    ASSERT(p->depth > 0);
    p->depth--;
}

/* ---- names and parameters ---- */

enum err_code parse_name(struct parser *p, const char *what, struct ast_name *ret)
{
    if (p->cur.kind == TOK_NAME && lex_is_reserved(p->cur.value)) {
        return parse_fail(p, p->cur.place,
                          "expected %s, found the reserved word \"" STR_FMT
                          "\"; as a name it stands in backquotes",
                          what, STR_ARG(p->cur.value));
    }
    if (p->cur.kind == TOK_STRING) {
        return parse_fail(p, p->cur.place,
                          "expected %s, found a string; such a name stands bare or in backquotes",
                          what);
    }
    if (p->cur.kind != TOK_NAME && p->cur.kind != TOK_QUOTED_NAME) {
        return parse_expected(p, what);
    }
    *ret = (struct ast_name){.text = p->cur.value, .place = p->cur.place};
    parse_advance(p);
    return ERR_OK;
}

bool parse_is_profile(const struct parser *p)
{
    return p->cur.kind == TOK_NAME && str_starts(p->cur.value, AST_PROFILE_PREFIX);
}

/* Whether `as of event` is current: three words, of which the last tells it from the clause `as of EPOCH`. */
static bool is_as_of_event(const struct parser *p)
{
    if (!parse_is_word(&p->cur, "as") || !parse_is_word(&p->peek, "of")) {
        return false;
    }
    struct lex ahead = p->lex;
    const struct token third = lex_next(&ahead);
    return parse_is_word(&third, "event");
}

/* `profile.plan`, or with a name that needs them in backquotes: profile.`pricing plan`. */
static enum err_code parse_profile(struct parser *p, struct ast_name *ret)
{
    struct ast_name name = {
        .text = p->cur.value, .place = p->cur.place, .profile = AST_PROFILE_NOW};
    parse_advance(p);
    if (name.text.len == AST_PROFILE_PREFIX.len) {
        if (p->cur.kind != TOK_QUOTED_NAME || p->cur.begin_off != p->prev_end_off) {
            return parse_fail(p, name.place,
                              "expected a property right behind \"profile.\": profile.plan");
        }
        ERR_TRY(arena_printf(p->arena, &name.text, p->err, "profile.%.*s", (int)p->cur.value.len,
                             p->cur.value.ptr));
        parse_advance(p);
    }
    if (is_as_of_event(p)) {
        name.profile = AST_PROFILE_AT_EVENT;
        parse_advance(p);
        parse_advance(p);
        parse_advance(p);
    }
    *ret = name;
    return ERR_OK;
}

enum err_code parse_subject_field(struct parser *p, struct ast_name *ret)
{
    return parse_is_profile(p) ? parse_profile(p, ret) : parse_name(p, "a property", ret);
}

enum err_code parse_field(struct parser *p, struct ast_name *ret)
{
    if (parse_is_profile(p)) {
        return err_set_at(p->err, ERR_UNSUPPORTED, p->cur.place.line, p->cur.place.column,
                          "a property of the profile stands in conditions and behind \"by\", not "
                          "here; a property of the event with this name stands in backquotes");
    }
    return parse_name(p, "a property", ret);
}

/* The value of the current token, a parameter. */
static enum err_code parse_param(struct parser *p, const struct query_param **ret)
{
    const struct query_request *request = p->request;
    for (uint32_t i = 0; i < request->param_count; i++) {
        if (str_eq(request->params[i].name, p->cur.value)) {
            p->param_used[i] = true;
            *ret = &request->params[i];
            parse_advance(p);
            return ERR_OK;
        }
    }
    return parse_fail(p, p->cur.place, "parameter \":" STR_FMT "\" has no value",
                      STR_ARG(p->cur.value));
}

static const char *param_kind_name(const struct query_param *param)
{
    return param->kind == PARAM_STRING ? "string" : param->kind == PARAM_NUMBER ? "number" : "bool";
}

/* A parameter that must be a string. */
static enum err_code parse_param_string(struct parser *p, const char *what, struct str *ret)
{
    struct token token = p->cur;
    const struct query_param *param = NULL;
    ERR_TRY(parse_param(p, &param));
    if (param->kind != PARAM_STRING) {
        return parse_fail(p, token.place, "expected %s, but parameter \":" STR_FMT "\" is a %s",
                          what, STR_ARG(token.value), param_kind_name(param));
    }
    *ret = param->string;
    return ERR_OK;
}

enum err_code parse_string(struct parser *p, const char *what, struct ast_name *ret)
{
    struct ast_name name = {.place = p->cur.place};
    if (p->cur.kind == TOK_PARAM) {
        ERR_TRY(parse_param_string(p, what, &name.text));
    } else {
        name.text = p->cur.value;
        ERR_TRY(parse_need(p, TOK_STRING, what));
    }
    *ret = name;
    return ERR_OK;
}

/* ---- values ---- */

enum err_code parse_number(struct parser *p, const char *what, struct num *ret)
{
    if (p->cur.kind != TOK_MINUS) {
        struct num number = p->cur.number;
        ERR_TRY(parse_need(p, TOK_NUMBER, what));
        *ret = number;
        return ERR_OK;
    }
    parse_advance(p);
    if (p->cur.kind != TOK_NUMBER) {
        return parse_expected(p, "a number after \"-\"");
    }
    struct str text = {0}; /* -9223372036854775808 is a number that its digits alone are not */
    ERR_TRY(arena_printf(p->arena, &text, p->err, "-%.*s", (int)p->cur.text.len, p->cur.text.ptr));
    bool is_number = num_parse(text, ret);
    ASSERT(is_number);
    parse_advance(p);
    return ERR_OK;
}

/* `now` or `now - 6h`, the word `now` being current. */
static enum err_code parse_now(struct parser *p, struct ast_value *ret)
{
    struct ast_value value = {.kind = AST_NOW, .place = p->cur.place};
    parse_advance(p);
    if (p->cur.kind == TOK_PLUS) {
        return parse_fail(p, p->cur.place, "only the past is known: write now - 6h");
    }
    if (parse_accept(p, TOK_MINUS)) {
        ERR_TRY(parse_duration(p, "the time before now", &value.before));
    }
    *ret = value;
    return ERR_OK;
}

static enum err_code parse_param_value(struct parser *p, struct ast_value *ret)
{
    struct place place = p->cur.place;
    const struct query_param *param = NULL;
    ERR_TRY(parse_param(p, &param));
    *ret = (struct ast_value){
        .kind = param->kind == PARAM_STRING   ? AST_STRING
                : param->kind == PARAM_NUMBER ? AST_NUMBER
                                              : AST_BOOL,
        .place = place,
        .text = param->string,
        .number = param->number,
        .boolean = param->boolean,
    };
    return ERR_OK;
}

static enum err_code parse_value_word(struct parser *p, struct ast_value *ret)
{
    if (parse_is_word(&p->cur, "now")) {
        return parse_now(p, ret);
    }
    if (parse_is_word(&p->cur, "true") || parse_is_word(&p->cur, "false")) {
        *ret = (struct ast_value){
            .kind = AST_BOOL, .place = p->cur.place, .boolean = parse_is_word(&p->cur, "true")};
        parse_advance(p);
        return ERR_OK;
    }
    if (parse_is_word(&p->cur, "null")) {
        return parse_fail(p, p->cur.place,
                          "\"null\" is no value; ask \"is set\" or \"is not set\"");
    }
    return parse_fail(p, p->cur.place,
                      "expected a value, found the name \"" STR_FMT "\"; text stands in quotes",
                      STR_ARG(p->cur.value));
}

enum err_code parse_value(struct parser *p, struct ast_value *ret)
{
    struct ast_value value = {.place = p->cur.place, .text = p->cur.value};
    switch (p->cur.kind) {
    case TOK_NAME: return parse_value_word(p, ret);
    case TOK_PARAM: return parse_param_value(p, ret);
    case TOK_STRING: value.kind = AST_STRING; break;
    case TOK_TIME: value.kind = AST_TIME; break;
    case TOK_NUMBER:
    case TOK_MINUS:
        value.kind = AST_NUMBER;
        ERR_TRY(parse_number(p, "a number", &value.number));
        *ret = value;
        return ERR_OK;
    default: return parse_expected(p, "a value");
    }
    parse_advance(p);
    *ret = value;
    return ERR_OK;
}

enum err_code parse_time(struct parser *p, struct ast_value *ret)
{
    static const char what[] = "a date or an instant (2025-05-01, 2025-05-01T08:00, now - 6h)";
    struct ast_value value = {.kind = AST_TIME, .place = p->cur.place, .text = p->cur.value};
    if (parse_is_word(&p->cur, "now")) {
        return parse_now(p, ret);
    }
    if (p->cur.kind == TOK_PARAM) {
        struct lex lex;
        ERR_TRY(parse_param_string(p, what, &value.text));
        struct err ignored = {0};
        if (lex_init(&lex, value.text, p->arena, &ignored) != ERR_OK ||
            lex_next(&lex).kind != TOK_TIME || lex.off != value.text.len) {
            return parse_fail(p, value.place, "expected %s, but the parameter is \"" STR_FMT "\"",
                              what, STR_ARG(value.text));
        }
    } else {
        ERR_TRY(parse_need(p, TOK_TIME, what));
    }
    *ret = value;
    return ERR_OK;
}

enum err_code parse_epoch(struct parser *p, struct ast_value *ret)
{
    static const char what[] = "an epoch (the number in an answer's meta.epoch) or an instant";
    struct ast_value value = {0};
    bool is_number = p->cur.kind == TOK_NUMBER || p->cur.kind == TOK_MINUS;
    for (uint32_t i = 0; p->cur.kind == TOK_PARAM && i < p->request->param_count; i++) {
        is_number |= p->request->params[i].kind == PARAM_NUMBER &&
                     str_eq(p->request->params[i].name, p->cur.value);
    }
    if (!is_number && p->cur.kind != TOK_TIME && p->cur.kind != TOK_PARAM &&
        !parse_is_word(&p->cur, "now")) {
        return parse_expected(p, what);
    }
    if (!is_number) {
        return parse_time(p, ret);
    }
    ERR_TRY(parse_value(p, &value));
    if (value.number.scale != 0 || value.number.m < 0) {
        return parse_fail(p, value.place, "expected %s; an epoch is a whole number", what);
    }
    *ret = value;
    return ERR_OK;
}

enum err_code parse_count(struct parser *p, const char *clause, uint64_t min, uint64_t max,
                          struct ast_count *ret)
{
    struct ast_value value = {0};
    if (p->cur.kind != TOK_NUMBER && p->cur.kind != TOK_MINUS && p->cur.kind != TOK_PARAM) {
        char what[80];
        snprintf(what, sizeof(what), "a whole number after \"%s\"", clause);
        return parse_expected(p, what);
    }
    struct place place = p->cur.place;
    ERR_TRY(parse_value(p, &value));
    if (value.kind != AST_NUMBER || value.number.scale != 0 || value.number.m < 0 ||
        (uint64_t)value.number.m < min || (uint64_t)value.number.m > max) {
        return parse_fail(p, place, "\"%s\" takes a whole number from %" PRIu64 " to %" PRIu64,
                          clause, min, max);
    }
    *ret = (struct ast_count){(uint64_t)value.number.m, place};
    return ERR_OK;
}

enum err_code parse_duration(struct parser *p, const char *of, struct ast_duration *ret)
{
    if (p->cur.kind == TOK_MINUS) {
        return parse_fail(p, p->cur.place, "%s cannot be negative", of);
    }
    if (p->cur.kind == TOK_NUMBER) {
        return parse_fail(p, p->cur.place,
                          "%s lacks a unit (ms, s, m, h, d, w, mo); write for example " STR_FMT "m",
                          of, STR_ARG(p->cur.text));
    }
    if (p->cur.kind != TOK_DURATION) {
        char what[80];
        snprintf(what, sizeof(what), "a duration (30s, 10m, 1h, 7d) for %s", of);
        return parse_expected(p, what);
    }
    *ret = (struct ast_duration){p->cur.duration, p->cur.place};
    parse_advance(p);
    return ERR_OK;
}

enum err_code parse_window(struct parser *p, const char *of, struct ast_duration *ret)
{
    struct ast_duration duration = {0};
    ERR_TRY(parse_duration(p, of, &duration));
    if (duration.duration.unit == UNIT_MO) {
        return parse_fail(p, duration.place,
                          "%s is elapsed time, and months differ in length; write days, for "
                          "example %" PRIu64 "d",
                          of, MIN_OF(duration.duration.count, UINT32_MAX) * 30);
    }
    *ret = duration;
    return ERR_OK;
}

/* ---- the whole ---- */

static enum err_code parse_check_params(const struct parser *p)
{
    for (uint32_t i = 0; i < p->request->param_count; i++) {
        if (!p->param_used[i]) {
            return err_set(p->err, ERR_INVALID,
                           "parameter \":" STR_FMT "\" is given, but the query does not use it",
                           STR_ARG(p->request->params[i].name));
        }
    }
    return ERR_OK;
}

static enum err_code parser_init(struct parser *p)
{
    ERR_TRY(lex_init(&p->lex, p->request->text, p->arena, p->err));
    ERR_TRY(ARENA_NEW(p->arena, 1, &p->query, p->err));
    ERR_TRY(ARENA_NEW(p->arena, p->request->param_count, &p->param_used, p->err));
    p->query->text = p->request->text;
    p->cur = lex_next(&p->lex);
    p->peek = lex_next(&p->lex);
    return ERR_OK;
}

enum err_code query_parse(const struct query_request *request, struct arena *arena,
                          const struct ast_query **ret, struct err *err)
{
    struct parser p = {.request = request, .arena = arena, .err = err};
    ERR_TRY(parser_init(&p));
    ERR_TRY(parse_verb(&p));
    ERR_TRY(parse_clauses(&p));
    ERR_TRY(parse_check_params(&p));
    *ret = p.query;
    return ERR_OK;
}

enum err_code query_parse_metric(const struct query_request *request, struct str name,
                                 struct arena *arena, struct err *err)
{
    const struct parse_metric_link own = {.name = name};
    struct parser p = {.request = request, .arena = arena, .err = err, .metrics = &own};
    ERR_TRY(parser_init(&p));
    return parse_metric_definition(&p);
}

bool query_is_question(struct str definition, struct arena *arena)
{
    struct lex lex;
    struct err err;
    if (lex_init(&lex, definition, arena, &err) != ERR_OK) {
        return false;
    }
    struct token first = lex_next(&lex);
    return parse_is_verb(&first);
}
