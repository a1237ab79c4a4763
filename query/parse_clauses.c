/* query/parse_clauses.c - the clauses, in any order, each at most once.
 *
 * One table says which words open a clause, which verbs take it, and which words stand for the same
 * thing and so exclude each other (a group). */
#include "query/parse_int.h"

#include "query/bound.h"
#include "storage/base/buf.h"

#include <stdio.h>

#define V(verb)  (1u << (verb))
#define COHORTS  (V(AST_RETENTION) | V(AST_LTV))
#define ANALYSES (V(AST_TREND) | V(AST_DISTINCT) | V(AST_FUNNEL) | COHORTS)
#define JOURNEYS                                                                                   \
    (V(AST_SEQUENCE) | V(AST_SESSIONS) | V(AST_PATHS) | V(AST_ATTRIBUTION) | V(AST_ABSENCE) |      \
     V(AST_INTERVALS) | V(AST_LIFECYCLE) | V(AST_STICKINESS) | V(AST_CONDITIONS) | V(AST_CHURN))
#define PEOPLE V(AST_SEGMENT)
#define ROWS (V(AST_EVENTS) | V(AST_TIMELINE) | PEOPLE) /* what has a range and no table to shape */
#define ALL  (ANALYSES | JOURNEYS | ROWS | V(AST_SHOW))

enum group {
    GROUP_WHERE,
    GROUP_RANGE,
    GROUP_TO, /* `from` and `to` are one range but two words */
    GROUP_INCLUDING,
    GROUP_BY,
    GROUP_EACH,
    GROUP_TOP,
    GROUP_ORDER_BY,
    GROUP_ORDER,
    GROUP_LIMIT,
    GROUP_TZ,
    GROUP_WEEK,
    GROUP_WITHIN,
    GROUP_TIES,
    GROUP_CLOSED,
    GROUP_COUNT,
    GROUP_TREND,
    GROUP_AT_STEP,
    GROUP_AT_LEAST,
    GROUP_FOR,
    GROUP_START,
    GROUP_MODE,
    GROUP_CALENDAR,
    GROUP_COLUMNS,
    GROUP_UNIT,
    GROUP_PER,
    GROUP_LIST,
    GROUP_ANCHOR,
    GROUP_IDLE,
    GROUP_CAP,
    GROUP_CUT,
    GROUP_OVER,
    GROUP_IGNORE,
    GROUP_IGNORE_SLASH,
    GROUP_RULES,
    GROUP_GAP,
    GROUP_KEEP,
    GROUP_TIMES,
    GROUP_LOOPS,
    GROUP_TOUCHES,
    GROUP_LOOKBACK,
    GROUP_HALF_LIFE,
    GROUP_CONSUME,
    GROUP_VALUE,
    GROUP_MEASURE,
    GROUP_AVERAGE,
    GROUP_DISCOUNT,
    GROUP_CONSIDERING,
    GROUP_BAN, /* the one clause that may be given more than once */
    GROUP_HOLDING,
    GROUP_REUSE,
    GROUP_ENTRY,
    GROUP_ATTEMPT,
    GROUP_CORRELATE,
    GROUP_SAVE,
    GROUP_EXCLUDE,
    GROUP_COMPARE,
    GROUP_AS_OF,
    GROUP_IDENTITY,
};

/* ---- where, range ---- */

static enum err_code clause_where(struct parser *p)
{
    return parse_pred(p, &p->query->clauses.where);
}

static enum err_code clause_last(struct parser *p)
{
    struct ast_range *range = &p->query->clauses.range;
    range->kind = AST_RANGE_LAST;
    ERR_TRY(parse_duration(p, "\"last\"", &range->last));
    if (range->last.duration.count == 0) {
        return parse_fail(p, range->last.place, "\"last\" reaches back at least 1%s",
                          duration_unit_name(range->last.duration.unit));
    }
    return ERR_OK;
}

/* `rolling 7d`: 7 x 24 hours up to now, wherever midnight lies. */
static enum err_code clause_rolling_range(struct parser *p)
{
    struct ast_range *range = &p->query->clauses.range;
    range->kind = AST_RANGE_ROLLING;
    ERR_TRY(parse_window(p, "\"rolling\"", &range->last));
    if (range->last.duration.count == 0) {
        return parse_fail(p, range->last.place, "a rolling range is longer than 0");
    }
    return ERR_OK;
}

static enum err_code clause_today(struct parser *p)
{
    p->query->clauses.range.kind = AST_RANGE_TODAY;
    return ERR_OK;
}

static enum err_code clause_on(struct parser *p)
{
    struct ast_range *range = &p->query->clauses.range;
    range->kind = AST_RANGE_ON;
    ERR_TRY(parse_time(p, &range->from));
    if (range->from.kind != AST_TIME || range->from.text.len != strlen("2025-05-01")) {
        return parse_fail(p, range->from.place,
                          "\"on\" takes a date such as 2025-05-01; from and to take instants");
    }
    return ERR_OK;
}

static enum err_code clause_from(struct parser *p)
{
    p->query->clauses.range.kind = AST_RANGE_FROM_TO;
    return parse_time(p, &p->query->clauses.range.from);
}

static enum err_code clause_to(struct parser *p)
{
    p->query->clauses.range.kind = AST_RANGE_FROM_TO;
    return parse_time(p, &p->query->clauses.range.to);
}

static enum err_code clause_including(struct parser *p)
{
    ERR_TRY(parse_need_word(p, "today"));
    p->query->clauses.range.is_including_today = true;
    return ERR_OK;
}

/* ---- by, each ---- */

static enum err_code parse_bucket(struct parser *p, struct ast_key *key)
{
    struct num *edges = NULL;
    struct place *places = NULL;
    uint32_t count = 0;
    ERR_TRY(ARENA_NEW(p->arena, PARSE_EDGES_MAX, &edges, p->err));
    ERR_TRY(ARENA_NEW(p->arena, PARSE_EDGES_MAX, &places, p->err));
    key->is_bucket = true;
    ERR_TRY(parse_need(p, TOK_LPAREN, "\"(\""));
    ERR_TRY(parse_subject_field(p, &key->field));
    ERR_TRY(parse_need(p, TOK_COMMA, "\",\" and the edges of the buckets"));
    do {
        if (count == PARSE_EDGES_MAX) {
            return parse_limit(p, p->cur.place, "more than %u edges of buckets", PARSE_EDGES_MAX);
        }
        places[count] = p->cur.place;
        ERR_TRY(parse_number(p, "an edge of the buckets, a number", &edges[count]));
        if (count > 0 && num_cmp(edges[count - 1], edges[count]) >= 0) {
            return parse_fail(p, places[count], "the edges of buckets ascend");
        }
        count++;
    } while (parse_accept(p, TOK_COMMA));
    key->edges = edges;
    key->edge_places = places;
    key->edge_count = count;
    return parse_need(p, TOK_RPAREN, "\",\" or \")\"");
}

static enum err_code clause_by(struct parser *p)
{
    struct ast_clauses *clauses = &p->query->clauses;
    struct ast_key *keys = NULL;
    ERR_TRY(ARENA_NEW(p->arena, QUERY_KEYS_MAX, &keys, p->err));
    clauses->by = p->cur.place;
    do {
        if (clauses->key_count == QUERY_KEYS_MAX) {
            return parse_limit(p, p->cur.place, "a breakdown has at most %u keys", QUERY_KEYS_MAX);
        }
        struct ast_key *key = &keys[clauses->key_count];
        key->span.begin_off = p->cur.begin_off;
        if (parse_is_word(&p->cur, "bucket") && p->peek.kind == TOK_LPAREN) {
            parse_advance(p);
            ERR_TRY(parse_bucket(p, key));
        } else {
            ERR_TRY(parse_subject_field(p, &key->field));
        }
        key->span.end_off = p->prev_end_off;
        clauses->key_count++;
    } while (parse_accept(p, TOK_COMMA));
    clauses->keys = keys;
    return ERR_OK;
}

enum err_code parse_each(struct parser *p, struct ast_each *ret)
{
    static const char *const units[] = {"second", "minute", "hour",    "day",
                                        "week",   "month",  "quarter", "year"};
    struct ast_each each = {.place = p->cur.place};
    if (p->cur.kind == TOK_DURATION || p->cur.kind == TOK_NUMBER || p->cur.kind == TOK_MINUS) {
        struct ast_duration duration = {0};
        ERR_TRY(parse_duration(p, "\"each\"", &duration));
        if (duration.duration.count == 0) {
            return parse_fail(p, duration.place, "a bucket is longer than 0");
        }
        each.duration = duration.duration;
        *ret = each;
        return ERR_OK;
    }
    for (uint32_t i = 0; i < COUNT_OF(units); i++) {
        if (parse_accept_word(p, units[i])) {
            each.unit = (enum ast_each_unit)(AST_EACH_SECOND + i);
            *ret = each;
            return ERR_OK;
        }
    }
    return parse_expected_of(
        p, "a unit of time (second, minute, hour, day, week, month, quarter, year, 5m)", units,
        COUNT_OF(units));
}

static enum err_code clause_each(struct parser *p)
{
    return parse_each(p, &p->query->clauses.each);
}

/* ---- what is shown ---- */

static enum err_code clause_top(struct parser *p)
{
    struct ast_clauses *clauses = &p->query->clauses;
    ERR_TRY(parse_count(p, "top", 1, PARSE_TOP_MAX, &clauses->top));
    if (parse_accept_word(p, "with")) {
        ERR_TRY(parse_need_word(p, "other"));
        clauses->has_other = true;
    }
    return ERR_OK;
}

/* What the column of a measure is called; in a metric's definition it has no text of its own. */
static enum err_code parse_label(struct parser *p, const struct ast_expr *expr,
                                 struct ast_span span, struct str *ret)
{
    CLEANUP(buf_freep) struct buf text = {0};
    if (p->standing.line == 0) {
        return lex_label(p->lex.text, span.begin_off, span.end_off, p->arena, ret, p->err);
    }
    ast_print_expr(expr, &text);
    ERR_TRY(buf_check(&text, p->err));
    return arena_str(p->arena, buf_as_str(&text), ret, p->err);
}

static enum err_code clause_order_by(struct parser *p)
{
    struct ast_order *order = &p->query->clauses.order;
    ERR_TRY(parse_need_word(p, "by"));
    if (p->cur.kind == TOK_NAME && p->peek.kind == TOK_LPAREN) {
        /* a measure without a name: its column is called what the measure is written as */
        const struct ast_expr *expr = NULL;
        uint32_t begin_off = p->cur.begin_off;
        order->column.place = p->cur.place;
        ERR_TRY(parse_expr(p, &expr));
        ERR_TRY(parse_label(p, expr, (struct ast_span){begin_off, p->prev_end_off},
                            &order->column.text));
    } else if (p->cur.kind == TOK_STRING) {
        ERR_TRY(parse_string(p, "a column", &order->column));
    } else {
        ERR_TRY(parse_name(p, "a column", &order->column));
    }
    order->is_descending = parse_accept_word(p, "desc");
    if (!order->is_descending) {
        (void)parse_accept_word(p, "asc");
    }
    return ERR_OK;
}

static enum err_code clause_limit(struct parser *p)
{
    return parse_count(p, "limit", 1, PARSE_LIMIT_MAX, &p->query->clauses.limit);
}

static enum err_code clause_tz(struct parser *p)
{
    return parse_string(p, "a time zone in quotes, such as \"Europe/Paris\"",
                        &p->query->clauses.zone);
}

static enum err_code clause_week(struct parser *p)
{
    static const char *const days[] = {"monday", "tuesday",  "wednesday", "thursday",
                                       "friday", "saturday", "sunday"};
    ERR_TRY(parse_need_word(p, "starts"));
    for (uint32_t i = 0; i < COUNT_OF(days); i++) {
        if (parse_accept_word(p, days[i])) {
            p->query->clauses.has_week_start = true;
            p->query->clauses.week_start = i;
            return ERR_OK;
        }
    }
    return parse_expected_of(p, "a day of the week (monday, ..., sunday)", days, COUNT_OF(days));
}

/* ---- retention, events ---- */

static enum err_code clause_at_least(struct parser *p)
{
    ERR_TRY(parse_need_word(p, "least"));
    ERR_TRY(parse_count(p, "at least", 1, PARSE_LIMIT_MAX, &p->query->retention.at_least));
    (void)parse_accept_word(p, "events");
    return ERR_OK;
}

static enum err_code clause_for(struct parser *p)
{
    return parse_count(p, "for", 0, QUERY_PERIODS_MAX - 1, &p->query->retention.periods);
}

static enum err_code clause_first_ever(struct parser *p)
{
    p->query->retention.from =
        parse_accept_word(p, "unfiltered") ? AST_FIRST_EVER_UNFILTERED : AST_FIRST_EVER;
    return ERR_OK;
}

static enum err_code clause_first(struct parser *p)
{
    p->query->retention.from = AST_FIRST;
    return ERR_OK;
}

static enum err_code clause_recurring(struct parser *p)
{
    p->query->retention.from = AST_RECURRING;
    return ERR_OK;
}

static enum err_code clause_unbounded(struct parser *p)
{
    p->query->retention.mode = AST_RETURN_UNBOUNDED;
    return ERR_OK;
}

static enum err_code clause_streak(struct parser *p)
{
    p->query->retention.mode = AST_RETURN_STREAK;
    return ERR_OK;
}

static enum err_code clause_rolling(struct parser *p)
{
    p->query->retention.is_rolling = true;
    return ERR_OK;
}

static enum err_code bracket_item(struct parser *p, struct ast_bracket *ret)
{
    struct ast_count first = {0};
    struct ast_count last = {0};
    ERR_TRY(parse_count(p, "bracket", 0, QUERY_PERIODS_MAX - 1, &first));
    last = first;
    if (parse_accept(p, TOK_MINUS)) {
        ERR_TRY(parse_count(p, "bracket", 0, QUERY_PERIODS_MAX - 1, &last));
    }
    if (last.value < first.value) {
        return parse_fail(p, first.place, "a bracket goes from a period to a later one");
    }
    *ret = (struct ast_bracket){first.value, last.value};
    return ERR_OK;
}

/* bracket (1, 2-7, 8-14) */
static enum err_code clause_bracket(struct parser *p)
{
    struct ast_bracket *brackets = NULL;
    uint32_t count = 0;
    uint32_t cap = 0;
    ERR_TRY(parse_need(p, TOK_LPAREN, "\"(\" and periods, as in bracket (1, 2-7, 8-14)"));
    do {
        if (count == PARSE_COLUMNS_MAX) {
            return parse_limit(p, p->cur.place, "more than %u brackets", PARSE_COLUMNS_MAX);
        }
        ERR_TRY(GROW(p->arena, &brackets, count, &cap, p->err));
        ERR_TRY(bracket_item(p, &brackets[count]));
        count++;
    } while (parse_accept(p, TOK_COMMA));
    p->query->retention.mode = AST_RETURN_BRACKET;
    p->query->retention.brackets = brackets;
    p->query->retention.bracket_count = count;
    return parse_need(p, TOK_RPAREN, "\",\" or \")\"");
}

static enum err_code clause_default(struct parser *p)
{
    (void)p; /* `exact` and `calendar` say what is so without them */
    return ERR_OK;
}

static enum err_code clause_columns(struct parser *p)
{
    struct ast_name *columns = NULL;
    uint32_t count = 0;
    uint32_t cap = 0;
    ERR_TRY(parse_need(p, TOK_LPAREN, "\"(\" and the columns"));
    do {
        if (count == PARSE_COLUMNS_MAX) {
            return parse_limit(p, p->cur.place, "more than %u columns", PARSE_COLUMNS_MAX);
        }
        ERR_TRY(GROW(p->arena, &columns, count, &cap, p->err));
        ERR_TRY(parse_field(p, &columns[count]));
        count++;
    } while (parse_accept(p, TOK_COMMA));
    p->query->events.columns = columns;
    p->query->events.column_count = count;
    return parse_need(p, TOK_RPAREN, "\",\" or \")\"");
}

/* ---- whose journeys ---- */

static enum err_code clause_per(struct parser *p)
{
    return parse_field(p, &p->query->clauses.per);
}

static enum err_code clause_per_user(struct parser *p)
{
    return parse_need_word(p, "user"); /* so it is without the word */
}

static enum err_code clause_list(struct parser *p)
{
    p->query->clauses.is_list = true;
    return parse_need_word(p, "users");
}

/* Of the whole question: what stands in it is asked as of the same epoch. */
static enum err_code clause_as_of(struct parser *p)
{
    struct place place = p->cur.place;
    ERR_TRY(parse_need_word(p, "of"));
    if (p->nesting > 0 || p->metrics != NULL) {
        return parse_fail(p, place, "\"as of\" is said of the whole question, at its end");
    }
    if (p->query->diff_from.place.line != 0) {
        return parse_fail(p, place, "\"diff\" says which epochs already");
    }
    if (p->query->restatements.place.line != 0) {
        return parse_fail(p, place, "\"restatements\" asks as of many epochs; say which before \"of\"");
    }
    return parse_epoch(p, &p->query->clauses.as_of);
}

/* Of the whole question, too. A metric that is a question may say it of itself. */
static enum err_code clause_identity(struct parser *p)
{
    static const char *const modes[] = {"now", "event_time"};
    struct ast_clauses *clauses = &p->query->clauses;
    clauses->identity = p->cur.place;
    if (p->nesting > 0) {
        return parse_fail(p, p->cur.place,
                          "\"identity\" is said of the whole question, at its end");
    }
    for (uint32_t i = 0; i < COUNT_OF(modes); i++) {
        if (parse_accept_word(p, modes[i])) {
            clauses->is_event_time = i == 1;
            return ERR_OK;
        }
    }
    return parse_expected_of(p, "\"now\" or \"event_time\"", modes, COUNT_OF(modes));
}

/* ---- the tables ---- */

struct clause {
    const char *word;
    const char *second; /* tells clauses with one first word apart; NULL = the last of them */
    enum group group;
    uint32_t verbs;
    enum err_code (*parse)(struct parser *p);
};
static const struct clause clauses_known[] = {
    {"where", NULL, GROUP_WHERE, ANALYSES | JOURNEYS | ROWS, clause_where},
    {"from", NULL, GROUP_RANGE, ANALYSES | JOURNEYS | ROWS, clause_from},
    {"to", NULL, GROUP_TO, ANALYSES | JOURNEYS | ROWS, clause_to},
    {"last", NULL, GROUP_RANGE, ANALYSES | JOURNEYS | ROWS, clause_last},
    {"today", NULL, GROUP_RANGE, ANALYSES | JOURNEYS | ROWS, clause_today},
    {"on", NULL, GROUP_RANGE, ANALYSES | JOURNEYS | ROWS, clause_on},
    {"including", NULL, GROUP_INCLUDING, ANALYSES | JOURNEYS | ROWS, clause_including},
    {"by", NULL, GROUP_BY,
     ANALYSES | V(AST_SESSIONS) | V(AST_ATTRIBUTION) | V(AST_ABSENCE) | V(AST_LIFECYCLE) |
         V(AST_STICKINESS) | V(AST_CONDITIONS) | V(AST_CHURN) | V(AST_SEQUENCE) | V(AST_PATHS) |
         V(AST_INTERVALS),
     clause_by},
    {"each", NULL, GROUP_EACH,
     V(AST_TREND) | V(AST_DISTINCT) | V(AST_FUNNEL) | COHORTS | V(AST_SESSIONS) | V(AST_ABSENCE) |
         V(AST_INTERVALS) | V(AST_LIFECYCLE) | V(AST_STICKINESS) | V(AST_CHURN) | V(AST_SEQUENCE) |
         V(AST_PATHS) | V(AST_ATTRIBUTION),
     clause_each},
    {"top", NULL, GROUP_TOP,
     ANALYSES | V(AST_SEQUENCE) | V(AST_SESSIONS) | V(AST_PATHS) | V(AST_ATTRIBUTION) |
         V(AST_ABSENCE) | V(AST_LIFECYCLE) | V(AST_STICKINESS) | V(AST_CONDITIONS) | V(AST_CHURN) |
         V(AST_INTERVALS),
     clause_top},
    {"order", "by", GROUP_ORDER_BY, ANALYSES | JOURNEYS | V(AST_EVENTS), clause_order_by},
    {"order", NULL, GROUP_ORDER, V(AST_FUNNEL), clause_order},
    {"limit", NULL, GROUP_LIMIT, ALL, clause_limit},
    {"tz", NULL, GROUP_TZ, ALL, clause_tz},
    {"week", NULL, GROUP_WEEK, ALL, clause_week},
    {"within", NULL, GROUP_WITHIN, V(AST_FUNNEL), clause_within},
    {"ties", NULL, GROUP_TIES, V(AST_FUNNEL), clause_ties},
    {"closed", NULL, GROUP_CLOSED, V(AST_FUNNEL), clause_closed},
    {"count", NULL, GROUP_COUNT, V(AST_FUNNEL), clause_count},
    {"trend", NULL, GROUP_TREND, V(AST_FUNNEL), clause_trend},
    {"at", "least", GROUP_AT_LEAST, V(AST_RETENTION), clause_at_least},
    {"at", NULL, GROUP_AT_STEP, V(AST_FUNNEL), clause_at_step},
    {"at", "least", GROUP_AT_LEAST, V(AST_STICKINESS), clause_habits_at_least},
    {"at", "most", GROUP_AT_LEAST, V(AST_STICKINESS), clause_habits_at_most},
    {"exactly", NULL, GROUP_AT_LEAST, V(AST_STICKINESS), clause_habits_exactly},
    {"rolling", NULL, GROUP_CALENDAR, V(AST_STICKINESS), clause_habits_rolling},
    {"over", NULL, GROUP_OVER, V(AST_STICKINESS), clause_over_unit},
    {"cumulative", NULL, GROUP_MODE, V(AST_STICKINESS), clause_cumulative},
    {"considering", NULL, GROUP_CONSIDERING, V(AST_FUNNEL), clause_considering},
    {"without", NULL, GROUP_BAN, V(AST_FUNNEL), clause_without},
    {"dropping", NULL, GROUP_BAN, V(AST_FUNNEL), clause_dropping},
    {"holding", NULL, GROUP_HOLDING, V(AST_FUNNEL), clause_holding},
    {"reuse", NULL, GROUP_REUSE, V(AST_FUNNEL), clause_reuse},
    {"mode", NULL, GROUP_MODE, V(AST_FUNNEL), clause_mode},
    {"entry", NULL, GROUP_ENTRY, V(AST_FUNNEL), clause_entry},
    {"attempt", NULL, GROUP_ATTEMPT, V(AST_FUNNEL), clause_attempt},
    {"times", NULL, GROUP_TIMES, V(AST_FUNNEL), clause_funnel_times},
    {"correlate", NULL, GROUP_CORRELATE, V(AST_FUNNEL), clause_correlate},
    {"for", NULL, GROUP_FOR, COHORTS, clause_for},
    {"first_ever", NULL, GROUP_START, COHORTS, clause_first_ever},
    {"first", NULL, GROUP_START, COHORTS, clause_first},
    {"recurring", NULL, GROUP_START, COHORTS, clause_recurring},
    {"exact", NULL, GROUP_MODE, V(AST_RETENTION), clause_default},
    {"unbounded", NULL, GROUP_MODE, V(AST_RETENTION), clause_unbounded},
    {"streak", NULL, GROUP_MODE, V(AST_RETENTION), clause_streak},
    {"bracket", NULL, GROUP_MODE, V(AST_RETENTION), clause_bracket},
    {"rolling", NULL, GROUP_CALENDAR, COHORTS, clause_rolling},
    {"calendar", NULL, GROUP_CALENDAR, COHORTS, clause_default},
    {"columns", NULL, GROUP_COLUMNS, V(AST_EVENTS), clause_columns},
    {"per", "session", GROUP_UNIT, V(AST_PATHS), clause_per_session},
    {"per", "user", GROUP_UNIT, V(AST_PATHS), clause_per_subject},
    {"per", "user", GROUP_PER, JOURNEYS | ANALYSES | PEOPLE, clause_per_user},
    {"per", NULL, GROUP_PER, JOURNEYS | ANALYSES | PEOPLE, clause_per},
    {"list", NULL, GROUP_LIST,
     V(AST_FUNNEL) | V(AST_SEQUENCE) | V(AST_ABSENCE) | V(AST_CONDITIONS) | V(AST_CHURN) | PEOPLE,
     clause_list},
    {"count", NULL, GROUP_MODE, V(AST_SEQUENCE), clause_sequence_count},
    {"match", NULL, GROUP_MODE, V(AST_SEQUENCE), clause_match},
    {"next", NULL, GROUP_MODE, V(AST_SEQUENCE), clause_next},
    {"anchor", NULL, GROUP_ANCHOR, V(AST_SEQUENCE), clause_anchor},
    {"idle", NULL, GROUP_IDLE, V(AST_SESSIONS), clause_idle},
    {"cap", NULL, GROUP_CAP, V(AST_SESSIONS), clause_cap},
    {"cut", NULL, GROUP_CUT, V(AST_SESSIONS), clause_cut},
    {"starting", NULL, GROUP_START, V(AST_PATHS), clause_starting},
    {"ending", NULL, GROUP_START, V(AST_PATHS), clause_ending},
    {"between", NULL, GROUP_START, V(AST_PATHS), clause_between},
    {"depth", NULL, GROUP_MODE, V(AST_PATHS), clause_depth},
    {"exactly", NULL, GROUP_MODE, V(AST_PATHS), clause_exactly},
    {"variants", NULL, GROUP_MODE, V(AST_PATHS), clause_variants},
    {"over", NULL, GROUP_OVER, V(AST_PATHS), clause_over},
    {"ignore", "trailing", GROUP_IGNORE_SLASH, V(AST_PATHS), clause_ignore_trailing},
    {"ignore", NULL, GROUP_IGNORE, V(AST_PATHS), clause_ignore},
    {"group", NULL, GROUP_RULES, V(AST_PATHS), clause_group},
    {"gap", NULL, GROUP_GAP, V(AST_PATHS) | V(AST_ABSENCE), clause_gap},
    {"keep", NULL, GROUP_KEEP, V(AST_PATHS) | V(AST_ATTRIBUTION), clause_keep},
    {"shortest", NULL, GROUP_MODE, V(AST_PATHS), clause_shortest},
    {"times", NULL, GROUP_TIMES, V(AST_PATHS), clause_path_times},
    {"loops", NULL, GROUP_LOOPS, V(AST_PATHS), clause_loops},
    {"model", NULL, GROUP_MODE, V(AST_ATTRIBUTION), clause_model},
    {"touches", NULL, GROUP_TOUCHES, V(AST_ATTRIBUTION), clause_touches},
    {"lookback", NULL, GROUP_LOOKBACK, V(AST_ATTRIBUTION), clause_lookback},
    {"half_life", NULL, GROUP_HALF_LIFE, V(AST_ATTRIBUTION), clause_half_life},
    {"consume", NULL, GROUP_CONSUME, V(AST_ATTRIBUTION), clause_consume},
    {"value", NULL, GROUP_VALUE, V(AST_ATTRIBUTION), clause_value},
    {"within", NULL, GROUP_WITHIN, V(AST_ABSENCE), clause_absence_within},
    {"measure", NULL, GROUP_MEASURE, V(AST_INTERVALS), clause_measure},
    {"longest", NULL, GROUP_CAP, V(AST_INTERVALS), clause_longest},
    {"until", NULL, GROUP_MODE, V(AST_RETENTION), clause_until},
    {"value", NULL, GROUP_VALUE, COHORTS, clause_retention_value},
    {"average", NULL, GROUP_AVERAGE, COHORTS, clause_average},
    {"discount", NULL, GROUP_DISCOUNT, V(AST_LTV), clause_discount},
    {"last_seen", NULL, GROUP_MODE, V(AST_CHURN), clause_last_seen},
    {"rolling", NULL, GROUP_RANGE, PEOPLE, clause_rolling_range},
    {"save", NULL, GROUP_SAVE, PEOPLE, clause_save},
    {"compare", NULL, GROUP_COMPARE, ANALYSES, clause_compare},
    {"as", "of", GROUP_AS_OF, ALL, clause_as_of},
    {"identity", NULL, GROUP_IDENTITY, ALL, clause_identity},
    {"exclude", NULL, GROUP_EXCLUDE, ANALYSES | JOURNEYS | ROWS | V(AST_SHOW), clause_exclude},
};

bool parse_is_clause_word(const struct token *token)
{
    for (size_t i = 0; i < COUNT_OF(clauses_known); i++) {
        if (parse_is_word(token, clauses_known[i].word)) {
            return true;
        }
    }
    return false;
}

/* Whose clauses the query takes: its verb's, and behind `users of` those about people. */
static uint32_t verbs_of(const struct parser *p)
{
    return V(p->query->verb) | (p->query->users_of.line != 0 ? PEOPLE : 0);
}

/* The clause that the current tokens open: one of this verb's if there is one. */
static const struct clause *find_clause(const struct parser *p)
{
    const struct clause *other = NULL;
    for (size_t i = 0; i < COUNT_OF(clauses_known); i++) {
        const struct clause *clause = &clauses_known[i];
        if (!parse_is_word(&p->cur, clause->word)) {
            continue;
        }
        bool is_ours = (clause->verbs & verbs_of(p)) != 0;
        if (is_ours && (clause->second == NULL || parse_is_word(&p->peek, clause->second))) {
            return clause;
        }
        other = other == NULL || is_ours ? clause : other; /* it will say which word is missing */
    }
    return other;
}

/* Words that one looks for here, and what holds without them. */
static const struct {
    const char *word;
    uint32_t verbs;
    const char *instead;
} words_absent[] = {
    {"approx", ~0u, "answers are always exact"},
    {"grace", V(AST_FUNNEL),
     "events of one millisecond are taken in any order, and order between milliseconds is kept"},
};

static enum err_code no_clause(struct parser *p)
{
    static const char what[] = "a clause (where, from, last, by, each, ...)";
    for (size_t i = 0; i < COUNT_OF(words_absent); i++) {
        bool is_ours = (words_absent[i].verbs & verbs_of(p)) != 0;
        if (is_ours && parse_is_word(&p->cur, words_absent[i].word)) {
            return err_set_at(p->err, ERR_UNSUPPORTED, p->cur.place.line, p->cur.place.column,
                              "\"%s\" is not in this version: %s", words_absent[i].word,
                              words_absent[i].instead);
        }
    }
    const char *words[COUNT_OF(clauses_known)];
    size_t count = 0;
    for (size_t i = 0; i < COUNT_OF(clauses_known); i++) {
        if ((clauses_known[i].verbs & verbs_of(p)) != 0) {
            words[count++] = clauses_known[i].word;
        }
    }
    return parse_expected_of(p, what, words, count);
}

/* Of the clauses that all verbs share: what may stand behind a metric that is a question. */
static bool is_shared(enum group group)
{
    switch (group) {
    case GROUP_WHERE:
    case GROUP_RANGE:
    case GROUP_TO:
    case GROUP_INCLUDING:
    case GROUP_BY:
    case GROUP_EACH:
    case GROUP_TOP:
    case GROUP_ORDER_BY:
    case GROUP_LIMIT:
    case GROUP_TZ:
    case GROUP_WEEK:
    case GROUP_PER:
    case GROUP_LIST:
    case GROUP_SAVE:
    case GROUP_EXCLUDE:
    case GROUP_AS_OF:
    case GROUP_IDENTITY:
    case GROUP_COMPARE: return true;
    default: return false;
    }
}

static enum err_code check_use(struct parser *p, const struct clause *clause)
{
    if ((clause->verbs & verbs_of(p)) == 0) {
        return parse_fail(p, p->cur.place, "\"%s\" is no clause of %s", clause->word,
                          ast_verb_name(p->query->verb));
    }
    if (p->metric_clauses != NULL && !is_shared(clause->group)) {
        return parse_fail(p, p->cur.place,
                          "\"%s\" is for the metric's definition to say; a metric takes the clauses "
                          "that all verbs share (where, by, each, last, top, ...)",
                          clause->word);
    }
    uint64_t bit = 1ull << clause->group;
    bool is_range = clause->group == GROUP_RANGE || clause->group == GROUP_TO;
    bool is_from = clause->parse == clause_from;
    enum ast_range_kind range = p->query->clauses.range.kind;
    bool is_clash = is_range && range != AST_RANGE_NONE &&
                    (range != AST_RANGE_FROM_TO || (!is_from && clause->group != GROUP_TO));
    if (is_clash) {
        return parse_fail(p, p->cur.place, "a query has one range: \"%s\" comes on top of another",
                          clause->word);
    }
    if ((p->clauses_seen & bit) != 0 && clause->group != GROUP_BAN) {
        return clause->group == GROUP_START || clause->group == GROUP_MODE
                   ? parse_fail(p, p->cur.place, "\"%s\" comes on top of another word of its kind",
                                clause->word)
                   : parse_fail(p, p->cur.place, "clause \"%s\" is given twice", clause->word);
    }
    p->clauses_seen |= bit;
    return ERR_OK;
}

static enum err_code check_including(struct parser *p, struct place including)
{
    const struct ast_range *range = &p->query->clauses.range;
    if (including.line != 0 &&
        (range->kind != AST_RANGE_LAST || range->last.duration.unit < UNIT_D)) {
        return parse_fail(p, including,
                          "\"including today\" goes with \"last\" and whole days, weeks or months");
    }
    return ERR_OK;
}

/* What only the clauses together can tell. */
static enum err_code check_together(struct parser *p, struct place including)
{
    const struct ast_query *query = p->query;
    const struct ast_clauses *clauses = &query->clauses;
    ERR_TRY(check_including(p, including));
    if (query->users_of.line != 0 && query->verb != AST_SEGMENT) {
        p->query->is_people_list = clauses->is_list;
        p->query->clauses.is_list = false;
    }
    bool has_own_top = query->verb == AST_PATHS || query->verb == AST_SEQUENCE;
    if (clauses->top.place.line != 0 && clauses->key_count == 0 && !has_own_top) {
        return parse_fail(p, clauses->top.place, "\"top\" needs a breakdown: \"by KEY\"");
    }
    switch (query->verb) {
    case AST_FUNNEL: return parse_check_funnel(p);
    case AST_PATHS: return parse_check_paths(p);
    case AST_ATTRIBUTION: return parse_check_attribution(p);
    case AST_ABSENCE: return parse_check_absence(p);
    case AST_STICKINESS: return parse_check_stickiness(p);
    case AST_RETENTION:
    case AST_LTV: return parse_check_retention(p);
    default: return ERR_OK;
    }
}

/* The range clauses of a segment, put where those of the query at hand would be, and taken from there. */
enum err_code parse_range(struct parser *p, struct ast_range *ret)
{
    struct ast_query *outer = p->query;
    uint64_t outer_seen = p->clauses_seen;
    struct place including = {0};
    if (p->range_query == NULL) {
        ERR_TRY(ARENA_NEW(p->arena, 1, &p->range_query, p->err));
        p->range_query->verb = AST_SEGMENT;
    }
    struct ast_query *inner = p->range_query;
    inner->clauses.range = (struct ast_range){0};
    p->query = inner;
    p->clauses_seen = 0;
    while (p->cur.kind == TOK_NAME) {
        const struct clause *clause = find_clause(p);
        struct place place = p->cur.place;
        if (clause == NULL || (clause->group != GROUP_RANGE && clause->group != GROUP_TO &&
                               clause->group != GROUP_INCLUDING)) {
            break;
        }
        ERR_TRY(check_use(p, clause));
        parse_advance(p);
        ERR_TRY(clause->parse(p));
        if (clause->group == GROUP_INCLUDING) {
            including = place;
        } else {
            inner->clauses.range.place = place;
        }
    }
    ERR_TRY(check_including(p, including));
    *ret = inner->clauses.range;
    p->query = outer;
    p->clauses_seen = outer_seen;
    return ERR_OK;
}

/* The query ends here: with the text, or where what it stands in goes on. */
static bool is_query_end(const struct parser *p)
{
    bool is_inner_end = p->cur.kind == TOK_COMMA || p->cur.kind == TOK_RPAREN;
    return p->cur.kind == TOK_END || (p->nesting > 0 && is_inner_end);
}

enum err_code parse_clauses(struct parser *p)
{
    struct place including = {0};
    while (!is_query_end(p)) {
        const struct clause *clause = find_clause(p);
        if (clause == NULL) {
            return no_clause(p);
        }
        ERR_TRY(check_use(p, clause));
        struct place place = p->cur.place;
        parse_advance(p);
        ERR_TRY(clause->parse(p));
        including = clause->group == GROUP_INCLUDING ? place : including;
        if (clause->group == GROUP_RANGE || clause->group == GROUP_TO) {
            p->query->clauses.range.place = place;
        }
    }
    if (p->metric_clauses != NULL) {
        ERR_TRY(parse_metric_clauses(p));
    }
    return check_together(p, including);
}
