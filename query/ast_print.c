/* query/ast_print.c - the canonical text of a tree. */
#include "query/ast_print_int.h"

#include "storage/base/buf.h"

#include <inttypes.h>

const char *ast_verb_name(enum ast_verb verb)
{
    static const char *const names[] = {
        "trend",     "distinct",  "funnel",     "retention",  "events",      "timeline",
        "show",      "sequence",  "sessions",   "paths",      "attribution", "absence",
        "intervals", "lifecycle", "stickiness", "conditions", "churn",       "ltv",
        "segment",   "drop"};
    return names[verb];
}

/* ---- words ---- */

void ast_print_string(struct str s, struct buf *out)
{
    buf_u8(out, '"');
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (c == '"' || c == '\\') {
            buf_printf(out, "\\%c", c);
        } else if (c == '\n') {
            buf_z(out, "\\n");
        } else if (c == '\t') {
            buf_z(out, "\\t");
        } else if ((uint8_t)c < 0x20) {
            buf_printf(out, "\\u%04x", (unsigned)(uint8_t)c);
        } else {
            buf_u8(out, (uint8_t)c);
        }
    }
    buf_u8(out, '"');
}

static void print_backquoted(struct str s, struct buf *out)
{
    buf_u8(out, '`');
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '`') {
            buf_u8(out, '`');
        }
        buf_u8(out, (uint8_t)s.ptr[i]);
    }
    buf_u8(out, '`');
}

static bool is_plain(struct str name)
{
    return lex_is_name(name) && !lex_is_reserved(name);
}

/* A property. `profile.` before a name means the profile; in backquotes it is part of the name. */
void ast_print_field(struct str name, struct buf *out)
{
    if (is_plain(name) && !str_starts(name, STR("profile."))) {
        buf_str(out, name);
    } else {
        print_backquoted(name, out);
    }
}

/* Whether `profile.` and the name are one word. */
static bool is_profile_word(struct str name)
{
    return name.len > AST_PROFILE_PREFIX.len && lex_is_name(name);
}

void ast_print_subject_field(const struct ast_name *name, struct buf *out)
{
    if (name->profile == AST_NO_PROFILE) {
        ast_print_field(name->text, out);
        return;
    }
    if (is_profile_word(name->text)) {
        buf_str(out, name->text);
    } else {
        size_t prefix = AST_PROFILE_PREFIX.len;
        buf_str(out, AST_PROFILE_PREFIX);
        print_backquoted((struct str){name->text.ptr + prefix, name->text.len - prefix}, out);
    }
    buf_z(out, name->profile == AST_PROFILE_AT_EVENT ? " as of event" : "");
}

/* An event. `first` in front of another word would read as the step's modifier, and `matching`
 * behind it as part of that. */
static void print_event(struct str name, struct buf *out)
{
    if (is_plain(name) && !str_eq(name, STR("first")) && !str_eq(name, STR("matching"))) {
        buf_str(out, name);
    } else {
        ast_print_string(name, out);
    }
}

void ast_print_duration(struct duration duration, struct buf *out)
{
    buf_printf(out, "%" PRIu64 "%s", duration.count, duration_unit_name(duration.unit));
}

static void print_value(const struct ast_value *value, struct buf *out)
{
    switch (value->kind) {
    case AST_STRING: ast_print_string(value->text, out); break;
    case AST_NUMBER: num_format(value->number, out); break;
    case AST_BOOL: buf_z(out, value->boolean ? "true" : "false"); break;
    case AST_TIME: buf_str(out, value->text); break;
    case AST_NOW:
        buf_z(out, "now");
        if (value->before.place.line != 0) {
            buf_z(out, " - ");
            ast_print_duration(value->before.duration, out);
        }
        break;
    }
}

/* ---- predicates and selectors ---- */

static void print_pred(const struct ast_pred *pred, uint32_t context, struct buf *out);

static void print_values(const struct ast_value *values, uint32_t count, struct buf *out)
{
    buf_u8(out, '(');
    for (uint32_t i = 0; i < count; i++) {
        buf_z(out, i == 0 ? "" : ", ");
        print_value(&values[i], out);
    }
    buf_u8(out, ')');
}

void ast_print_test(const struct ast_pred *pred, struct buf *out)
{
    static const char *const words[] = {
        [AST_EQ] = "=",
        [AST_NE] = "!=",
        [AST_LT] = "<",
        [AST_LE] = "<=",
        [AST_GT] = ">",
        [AST_GE] = ">=",
        [AST_IN] = "in",
        [AST_NOT_IN] = "not in",
        [AST_BETWEEN] = "between",
        [AST_CONTAINS] = "contains",
        [AST_STARTS] = "starts with",
        [AST_ENDS] = "ends with",
        [AST_MATCHES] = "matches",
        [AST_IS_SET] = "is set",
        [AST_IS_NOT_SET] = "is not set",
    };
    if (pred->kind == AST_IN_COHORT) {
        buf_z(out, "in cohort ");
        ast_print_string(pred->field.text, out);
        return;
    }
    ast_print_subject_field(&pred->field, out);
    buf_printf(out, " %s", words[pred->kind]);
    if (pred->kind == AST_IN || pred->kind == AST_NOT_IN) {
        buf_u8(out, ' ');
        print_values(pred->values, pred->value_count, out);
        return;
    }
    for (uint32_t i = 0; i < pred->value_count; i++) {
        buf_z(out, i == 0 ? " " : " and ");
        print_value(&pred->values[i], out);
    }
}

/* `context`: how tightly the surroundings bind: 0 or, 1 and, 2 not. */
static void print_pred(const struct ast_pred *pred, uint32_t context, struct buf *out)
{
    switch (pred->kind) {
    case AST_AND:
    case AST_OR: {
        uint32_t own = pred->kind == AST_OR ? 0 : 1;
        bool needs_parens = own < context;
        buf_z(out, needs_parens ? "(" : "");
        for (uint32_t i = 0; i < pred->kid_count; i++) {
            buf_z(out, i == 0 ? "" : own == 0 ? " or " : " and ");
            print_pred(pred->kids[i], own + 1, out);
        }
        buf_z(out, needs_parens ? ")" : "");
        break;
    }
    case AST_NOT:
        buf_z(out, "not ");
        print_pred(pred->kids[0], 2, out);
        break;
    default: ast_print_test(pred, out); break;
    }
}

static void print_alt(const struct ast_alt *alt, struct buf *out)
{
    if (alt->kind == AST_EVENT) {
        print_event(alt->event.text, out);
    } else {
        buf_z(out, alt->kind == AST_ANY ? "any" : "active");
    }
    if (alt->pred != NULL) {
        buf_u8(out, '[');
        print_pred(alt->pred, 0, out);
        buf_u8(out, ']');
    }
}

void ast_print_selector(const struct ast_selector *selector, struct buf *out)
{
    if (selector->alt_count == 1) {
        print_alt(&selector->alts[0], out);
        return;
    }
    buf_u8(out, '(');
    for (uint32_t i = 0; i < selector->alt_count; i++) {
        buf_z(out, i == 0 ? "" : " | ");
        print_alt(&selector->alts[i], out);
    }
    buf_u8(out, ')');
}

/* ---- measures ---- */

static void print_agg(const struct ast_expr *expr, struct buf *out)
{
    static const char *const names[] = {"count", "users", "unique", "sum",    "avg", "min",
                                        "max",   "first", "last",   "median", "p"};
    buf_z(out, names[expr->agg]);
    if (expr->agg == AST_AGG_PERCENTILE) {
        buf_str(out, expr->percentile);
    }
    buf_u8(out, '(');
    if (expr->key.place.line != 0) {
        ast_print_field(expr->key.text, out);
        buf_z(out, expr->has_selector ? " of " : "");
    }
    if (expr->has_selector) {
        ast_print_selector(&expr->selector, out);
    }
    if (expr->range != NULL) {
        ast_print_range(expr->range, out);
    }
    buf_u8(out, ')');
}

/* `context`: 0 sum, 1 product, 2 a product's right side or a sign. */
static void print_expr(const struct ast_expr *expr, uint32_t context, struct buf *out)
{
    static const char *const signs[] = {
        [AST_EXPR_ADD] = "+", [AST_EXPR_SUB] = "-", [AST_EXPR_MUL] = "*", [AST_EXPR_DIV] = "/"};
    if (expr->kind == AST_EXPR_AGG) {
        print_agg(expr, out);
        return;
    }
    if (expr->kind == AST_EXPR_NUM) {
        num_format(expr->number, out);
        return;
    }
    if (expr->kind == AST_EXPR_NEG) {
        buf_u8(out, '-');
        print_expr(expr->left, 2, out);
        return;
    }
    uint32_t own = expr->kind == AST_EXPR_ADD || expr->kind == AST_EXPR_SUB ? 0 : 1;
    bool needs_parens = own < context;
    buf_z(out, needs_parens ? "(" : "");
    print_expr(expr->left, own, out);
    buf_printf(out, " %s ", signs[expr->kind]);
    print_expr(expr->right, own + 1, out); /* operators of one rank group to the left */
    buf_z(out, needs_parens ? ")" : "");
}

void ast_print_expr(const struct ast_expr *expr, struct buf *out)
{
    print_expr(expr, 0, out);
}

static void print_trend(const struct ast_trend *trend, struct buf *out)
{
    for (uint32_t i = 0; i < trend->measure_count; i++) {
        const struct ast_measure *measure = &trend->measures[i];
        buf_z(out, i == 0 ? " " : ", ");
        if (measure->rolling.place.line != 0) {
            buf_z(out, "rolling ");
            ast_print_duration(measure->rolling.duration, out);
            buf_u8(out, ' ');
        }
        ast_print_expr(measure->expr, out);
        if (measure->as.place.line != 0) {
            buf_z(out, " as ");
            ast_print_field(measure->as.text, out);
        }
    }
}

/* ---- clauses ---- */

void ast_print_each(const char *word, const struct ast_each *each, struct buf *out)
{
    static const char *const units[] = {
        [AST_EACH_SECOND] = "second",   [AST_EACH_MINUTE] = "minute", [AST_EACH_HOUR] = "hour",
        [AST_EACH_DAY] = "day",         [AST_EACH_WEEK] = "week",     [AST_EACH_MONTH] = "month",
        [AST_EACH_QUARTER] = "quarter", [AST_EACH_YEAR] = "year",
    };
    if (each->place.line == 0) {
        return;
    }
    buf_printf(out, " %s ", word);
    if (each->unit == AST_EACH_DURATION) {
        ast_print_duration(each->duration, out);
    } else {
        buf_z(out, units[each->unit]);
    }
}

void ast_print_range(const struct ast_range *range, struct buf *out)
{
    switch (range->kind) {
    case AST_RANGE_NONE: return;
    case AST_RANGE_LAST:
        buf_z(out, " last ");
        ast_print_duration(range->last.duration, out);
        break;
    case AST_RANGE_ROLLING:
        buf_z(out, " rolling ");
        ast_print_duration(range->last.duration, out);
        break;
    case AST_RANGE_TODAY: buf_z(out, " today"); break;
    case AST_RANGE_ON:
        buf_z(out, " on ");
        print_value(&range->from, out);
        break;
    case AST_RANGE_FROM_TO:
        if (range->from.place.line != 0) {
            buf_z(out, " from ");
            print_value(&range->from, out);
        }
        if (range->to.place.line != 0) {
            buf_z(out, " to ");
            print_value(&range->to, out);
        }
        break;
    }
    buf_z(out, range->is_including_today ? " including today" : "");
}

void ast_print_key(const struct ast_key *key, struct buf *out)
{
    if (!key->is_bucket) {
        ast_print_subject_field(&key->field, out);
        return;
    }
    buf_z(out, "bucket(");
    ast_print_subject_field(&key->field, out);
    for (uint32_t e = 0; e < key->edge_count; e++) {
        buf_z(out, ", ");
        num_format(key->edges[e], out);
    }
    buf_u8(out, ')');
}

static void print_keys(const struct ast_clauses *clauses, struct buf *out)
{
    for (uint32_t i = 0; i < clauses->key_count; i++) {
        buf_z(out, i == 0 ? " by " : ", ");
        ast_print_key(&clauses->keys[i], out);
    }
}

void ast_print_duration_clause(const char *word, const struct ast_duration *duration,
                               struct buf *out)
{
    if (duration->place.line != 0) {
        buf_printf(out, " %s ", word);
        ast_print_duration(duration->duration, out);
    }
}

void ast_print_count(const char *word, struct ast_count count, struct buf *out)
{
    if (count.place.line != 0) {
        buf_printf(out, " %s %" PRIu64, word, count.value);
    }
}

/* `user` and `session` are words behind `per`; as properties they stand in backquotes. */
static void print_per(struct str name, struct buf *out)
{
    if (str_eq(name, STR("user")) || str_eq(name, STR("session"))) {
        print_backquoted(name, out);
    } else {
        ast_print_field(name, out);
    }
}

static void print_clauses(const struct ast_clauses *clauses, struct buf *out)
{
    static const char *const weekdays[] = {"monday", "tuesday",  "wednesday", "thursday",
                                           "friday", "saturday", "sunday"};
    if (clauses->where != NULL) {
        buf_z(out, " where ");
        print_pred(clauses->where, 0, out);
    }
    print_keys(clauses, out);
    if (clauses->per.place.line != 0) {
        buf_z(out, " per ");
        print_per(clauses->per.text, out);
    }
    ast_print_each("each", &clauses->each, out);
    ast_print_range(&clauses->range, out);
    ast_print_count("top", clauses->top, out);
    buf_z(out, clauses->has_other ? " with other" : "");
    if (clauses->order.column.place.line != 0) {
        buf_z(out, " order by ");
        ast_print_field(clauses->order.column.text, out);
        buf_z(out, clauses->order.is_descending ? " desc" : "");
    }
    ast_print_count("limit", clauses->limit, out);
    if (clauses->zone.place.line != 0) {
        buf_z(out, " tz ");
        ast_print_string(clauses->zone.text, out);
    }
    if (clauses->has_week_start) {
        buf_printf(out, " week starts %s", weekdays[clauses->week_start]);
    }
    buf_z(out, clauses->is_list ? " list users" : "");
    if (clauses->as_of.place.line != 0) {
        buf_z(out, " as of ");
        print_value(&clauses->as_of, out);
    }
    buf_z(out, clauses->is_event_time ? " identity event_time" : "");
    ast_print_people(clauses, out);
}

/* ---- verbs ---- */

static void print_events(const struct ast_events *events, struct buf *out)
{
    buf_u8(out, ' ');
    ast_print_selector(&events->selector, out);
    for (uint32_t i = 0; i < events->column_count; i++) {
        buf_z(out, i == 0 ? " columns (" : ", ");
        ast_print_field(events->columns[i].text, out);
    }
    buf_z(out, events->column_count > 0 ? ")" : "");
}

static void print_show(const struct ast_show_what *show, struct buf *out)
{
    static const char *const words[] = {" events", " properties", " values of ", " segments",
                                        " cohorts", " metrics", " profiles"};
    buf_z(out, words[show->kind]);
    if (show->kind == AST_SHOW_VALUES) {
        ast_print_subject_field(&show->name, out);
    } else if (show->name.place.line != 0) {
        buf_z(out, " of ");
        if (show->kind == AST_SHOW_METRICS) {
            ast_print_string(show->name.text, out);
        } else {
            print_event(show->name.text, out);
        }
    }
}

static void print_diff(const struct ast_query *query, struct buf *out)
{
    if (query->diff_from.place.line != 0) {
        buf_z(out, "diff ");
        print_value(&query->diff_from, out);
        buf_z(out, ", ");
        print_value(&query->diff_to, out);
        buf_z(out, " in ");
    }
}

static void print_why(const struct ast_query *query, struct buf *out)
{
    if (query->why.place.line != 0) {
        buf_z(out, "why ");
        ast_print_string(query->why.text, out);
        buf_z(out, " in ");
    }
}

static void print_restatements(const struct ast_restatements *restatements, struct buf *out)
{
    if (restatements->place.line == 0) {
        return;
    }
    buf_z(out, "restatements");
    if (restatements->from.place.line != 0) {
        buf_z(out, " from ");
        print_value(&restatements->from, out);
        buf_z(out, " to ");
        print_value(&restatements->to, out);
    } else {
        ast_print_range(&restatements->range, out);
    }
    buf_z(out, restatements->has_events ? " with events of " : " of ");
}

static void print_users_of(const struct ast_query *query, struct buf *out)
{
    if (query->users_of.line == 0) {
        return;
    }
    buf_z(out, "users of (");
    for (uint32_t i = 0; i < query->coordinate_count; i++) {
        const struct ast_coordinate *coordinate = &query->coordinates[i];
        buf_z(out, i == 0 ? "" : ", ");
        ast_print_field(coordinate->name.text, out);
        if (coordinate->is_null) {
            buf_z(out, " is not set");
            continue;
        }
        buf_z(out, " = ");
        if (coordinate->values != NULL) {
            print_values(coordinate->values, coordinate->value_count, out);
        } else {
            print_value(&coordinate->value, out);
        }
    }
    buf_z(out, ") in ");
}

void ast_print(const struct ast_query *query, struct buf *out)
{
    struct ast_clauses clauses = query->clauses;
    const char *before = query->is_explain ? "explain " : query->is_profile ? "profile " : "";
    clauses.is_list |= query->is_people_list;
    buf_z(out, before);
    print_diff(query, out);
    print_restatements(&query->restatements, out);
    print_why(query, out);
    print_users_of(query, out);
    buf_z(out, ast_verb_name(query->verb));
    switch (query->verb) {
    case AST_TREND: print_trend(&query->trend, out); break;
    case AST_DISTINCT:
        buf_u8(out, ' ');
        if (query->distinct.is_user) {
            buf_z(out, "user");
        } else if (str_eq(query->distinct.key.text, STR("user"))) {
            buf_z(out, "`user`");
        } else {
            ast_print_field(query->distinct.key.text, out);
        }
        buf_z(out, " of ");
        ast_print_selector(&query->distinct.selector, out);
        break;
    case AST_FUNNEL: ast_print_funnel(&query->funnel, clauses.key_count > 0, out); break;
    case AST_RETENTION:
    case AST_LTV:
        ast_print_retention(query, out);
        clauses.each = (struct ast_each){0}; /* stands with the verb */
        break;
    case AST_CHURN: ast_print_churn(&query->churn, out); break;
    case AST_EVENTS: print_events(&query->events, out); break;
    case AST_TIMELINE:
        buf_u8(out, ' ');
        ast_print_string(query->timeline.subject.text, out);
        break;
    case AST_SHOW: print_show(&query->show, out); break;
    case AST_SEQUENCE: ast_print_sequence(&query->sequence, out); break;
    case AST_SESSIONS: ast_print_sessions(&query->sessions, out); break;
    case AST_PATHS: ast_print_paths(&query->paths, out); break;
    case AST_ATTRIBUTION: ast_print_attribution(&query->attribution, out); break;
    case AST_ABSENCE: ast_print_absence(&query->absence, out); break;
    case AST_INTERVALS: ast_print_intervals(&query->intervals, out); break;
    case AST_CONDITIONS: ast_print_conditions(&query->conditions, out); break;
    case AST_LIFECYCLE:
    case AST_STICKINESS: ast_print_habits(&query->habits, out); break;
    case AST_SEGMENT: ast_print_segment(&query->segment, out); break;
    case AST_DROP:
        buf_z(out, " cohort ");
        ast_print_string(query->drop.cohort.text, out);
        break;
    }
    print_clauses(&clauses, out);
}
