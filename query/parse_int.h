/* query/parse_int.h - what the parts of the parser share.
 *
 *     parse.c          tokens, errors, parameters, values; query_parse
 *     parse_pred.c     predicates and selectors
 *     parse_expr.c     measures
 *     parse_clauses.c  the clauses, by one table
 *     parse_verbs.c    the verbs, by one table
 *     parse_funnel.c   the funnel, with its own clauses
 *     parse_segment.c  conditions on people
 *     parse_metric.c   definitions that have a name
 *     parse_sequence.c, parse_sessions.c, parse_paths.c, parse_attribution.c, parse_absence.c
 *                      verbs with their own clauses
 *
 * A parser function reads what its name says from the current token on and leaves the token behind
 * it current. The error is the parser's: functions here take no struct err.
 */
#pragma once

#include "query/grow.h"
#include "query/parse.h"

struct parser {
    struct lex lex;
    struct token cur;
    struct token peek;
    uint32_t prev_end_off; /* end of the token before `cur` */
    const struct query_request *request;
    bool *param_used;
    struct arena *arena;
    struct err *err;
    uint32_t depth;
    uint32_t operator_count; /* of the current measure */
    struct ast_query *query;
    uint64_t clauses_seen; /* a bit for each group of clauses */
    struct ast_query *range_query; /* of parse_range */
    bool
        takes_ranges; /* a measure is one of a condition on people: each AGG, and each metric, may have a range */
    uint32_t nesting;      /* above 0: a query inside of another ends at "," or ")" */
    /* ---- metrics ---- */
    const struct parse_metric_link *metrics; /* whose definitions are read, from the inside out; NULL: none */
    struct place standing; /* where all tokens of a definition stand; line 0: where they are */
    struct ast_measure rolling_metric;        /* the last of this measure that looks back by itself */
    const struct ast_clauses *metric_clauses; /* of the question that a metric is; NULL: it is none */
};

/* A metric whose definition is being read because another one, or the query, names it. */
struct parse_metric_link {
    struct str name;
    const struct parse_metric_link *outer;
};

/* ---- parse.c ---- */
void parse_advance(struct parser *p);
bool parse_is_word(const struct token *token, const char *word); /* a bare name with this text */
bool parse_accept_word(struct parser *p, const char *word);
bool parse_accept(struct parser *p, enum token_kind kind);
/* Take a token of this kind, or fail with `expected <what>, found ...`. */
enum err_code parse_need(struct parser *p, enum token_kind kind, const char *what) ERR_MUST_CHECK;
enum err_code parse_need_word(struct parser *p, const char *word) ERR_MUST_CHECK;

/* `expected <what>, found "..."`; with words, `; did you mean "..."?` when one is near. */
enum err_code parse_expected(struct parser *p, const char *what);
enum err_code parse_expected_of(struct parser *p, const char *what, const char *const *words,
                                size_t word_count);
#define parse_fail(p, at, ...)                                                                     \
    err_set_at((p)->err, ERR_INVALID, (at).line, (at).column, __VA_ARGS__)
#define parse_limit(p, at, ...) err_set_at((p)->err, ERR_LIMIT, (at).line, (at).column, __VA_ARGS__)
/* Into and out of a level of nesting. */
enum err_code parse_enter(struct parser *p) ERR_MUST_CHECK;
void parse_leave(struct parser *p);

/* A name that is no reserved word, bare or in backquotes. */
enum err_code parse_name(struct parser *p, const char *what, struct ast_name *ret) ERR_MUST_CHECK;
/* A property of the event: as parse_name, but `profile.x` is none. */
enum err_code parse_field(struct parser *p, struct ast_name *ret) ERR_MUST_CHECK;
/* The same, or `profile.x [as of event]`, a property of whom the event is of. */
enum err_code parse_subject_field(struct parser *p, struct ast_name *ret) ERR_MUST_CHECK;
bool parse_is_profile(const struct parser *p); /* `profile.x` is current */
enum err_code parse_string(struct parser *p, const char *what, struct ast_name *ret) ERR_MUST_CHECK;
enum err_code parse_value(struct parser *p, struct ast_value *ret) ERR_MUST_CHECK;
enum err_code parse_time(struct parser *p, struct ast_value *ret) ERR_MUST_CHECK;
/* An epoch, as answers name it, or an instant. */
enum err_code parse_epoch(struct parser *p, struct ast_value *ret) ERR_MUST_CHECK;
/* A whole number in [min, max]; `clause` names it in messages. */
enum err_code parse_count(struct parser *p, const char *clause, uint64_t min, uint64_t max,
                          struct ast_count *ret) ERR_MUST_CHECK;
/* A duration; `of` says in messages whose: "\"within\"", "the limit of a step". */
enum err_code parse_duration(struct parser *p, const char *of,
                             struct ast_duration *ret) ERR_MUST_CHECK;
/* Elapsed time: no months. */
enum err_code parse_window(struct parser *p, const char *of,
                           struct ast_duration *ret) ERR_MUST_CHECK;
/* A number with or without a minus sign. */
enum err_code parse_number(struct parser *p, const char *what, struct num *ret) ERR_MUST_CHECK;

/* ---- parse_pred.c ---- */
enum err_code parse_pred(struct parser *p, const struct ast_pred **ret) ERR_MUST_CHECK;
/* One test, without `and`, `or` and `not` around it. */
enum err_code parse_test(struct parser *p, const struct ast_pred **ret) ERR_MUST_CHECK;
enum err_code parse_event(struct parser *p, struct ast_name *ret) ERR_MUST_CHECK;
enum err_code parse_selector(struct parser *p, struct ast_selector *ret) ERR_MUST_CHECK;

/* ---- parse_expr.c ---- */
enum err_code parse_expr(struct parser *p, const struct ast_expr **ret) ERR_MUST_CHECK;
/* The same of a condition on people. */
enum err_code parse_expr_of_people(struct parser *p, const struct ast_expr **ret) ERR_MUST_CHECK;
enum err_code parse_measures(struct parser *p, struct ast_trend *ret) ERR_MUST_CHECK;
/* One without `as`: rolling and expression. */
enum err_code parse_measure_alone(struct parser *p, struct ast_measure *ret) ERR_MUST_CHECK;

/* ---- parse_metric.c ---- */
bool parse_is_metric(const struct parser *p);   /* `metric(` is current */
bool parse_is_question(const struct parser *p); /* a definition that begins here is one; else a measure */
/* All of a definition, to see whether it is one. */
enum err_code parse_metric_definition(struct parser *p) ERR_MUST_CHECK;
/* `metric("gmv")` in a measure. */
enum err_code parse_metric_measure(struct parser *p, const struct ast_expr **ret) ERR_MUST_CHECK;
/* `metric("d7")` in the place of the verb. */
enum err_code parse_metric_query(struct parser *p) ERR_MUST_CHECK;
/* Behind it, once its clauses are read: put those of the definition with them. */
enum err_code parse_metric_clauses(struct parser *p) ERR_MUST_CHECK;

/* ---- parse_clauses.c ---- */
bool parse_is_clause_word(const struct token *token);
enum err_code parse_clauses(struct parser *p) ERR_MUST_CHECK;
/* A range inside of something else than a query; kind NONE where none stands there. */
enum err_code parse_range(struct parser *p, struct ast_range *ret) ERR_MUST_CHECK;
/* Behind `restatements`, up to and with `of`. *ret_is_whole true where no question follows: the usual one is put there. */
enum err_code parse_restatements(struct parser *p, struct place place,
                                 bool *ret_is_whole) ERR_MUST_CHECK;

/* ---- parse_funnel.c ---- */
enum err_code verb_funnel_parse(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_order(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_considering(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_within(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_ties(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_closed(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_reuse(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_entry(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_attempt(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_holding(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_mode(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_without(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_dropping(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_count(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_trend(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_at_step(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_funnel_times(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_correlate(struct parser *p) ERR_MUST_CHECK;
enum err_code parse_check_funnel(struct parser *p) ERR_MUST_CHECK; /* what the clauses say together */

/* ---- parse_sequence.c ---- */
enum err_code verb_sequence_parse(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_sequence_count(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_match(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_next(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_anchor(struct parser *p) ERR_MUST_CHECK;

/* ---- parse_sessions.c ---- */
enum err_code verb_conditions_parse(struct parser *p) ERR_MUST_CHECK;
enum err_code verb_habits_parse(struct parser *p) ERR_MUST_CHECK;
enum err_code verb_stickiness_parse(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_habits_at_least(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_habits_at_most(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_habits_exactly(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_habits_rolling(struct parser *p) ERR_MUST_CHECK;
enum err_code parse_check_stickiness(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_over_unit(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_cumulative(struct parser *p) ERR_MUST_CHECK;
enum err_code verb_sessions_parse(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_idle(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_cap(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_cut(struct parser *p) ERR_MUST_CHECK;
/* Names, separated by commas, each one of `words`; `what` they are. */
enum err_code parse_words(struct parser *p, const char *what, const char *const *words,
                          size_t word_count, const struct ast_name **ret,
                          uint32_t *ret_count) ERR_MUST_CHECK;

/* ---- parse_paths.c ---- */
enum err_code verb_paths_parse(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_starting(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_ending(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_between(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_depth(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_exactly(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_variants(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_per_session(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_per_subject(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_over(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_ignore(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_ignore_trailing(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_group(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_gap(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_keep(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_shortest(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_path_times(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_loops(struct parser *p) ERR_MUST_CHECK;
enum err_code
parse_check_paths(struct parser *p) ERR_MUST_CHECK; /* what the clauses say together */

/* ---- parse_attribution.c ---- */
enum err_code verb_attribution_parse(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_model(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_touches(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_lookback(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_half_life(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_consume(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_value(struct parser *p) ERR_MUST_CHECK;
enum err_code parse_check_attribution(struct parser *p) ERR_MUST_CHECK;

/* ---- parse_absence.c ---- */
enum err_code verb_absence_parse(struct parser *p) ERR_MUST_CHECK;
enum err_code verb_intervals_parse(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_absence_within(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_measure(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_longest(struct parser *p) ERR_MUST_CHECK;
enum err_code parse_check_absence(struct parser *p) ERR_MUST_CHECK;

/* A bucket of time: a unit's name, or a duration. */
enum err_code parse_each(struct parser *p, struct ast_each *ret) ERR_MUST_CHECK;

/* ---- parse_retention.c ---- */
enum err_code clause_until(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_average(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_retention_value(struct parser *p) ERR_MUST_CHECK;
enum err_code parse_check_retention(struct parser *p) ERR_MUST_CHECK;
enum err_code verb_ltv_parse(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_discount(struct parser *p) ERR_MUST_CHECK;
enum err_code verb_churn_parse(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_last_seen(struct parser *p) ERR_MUST_CHECK;

/* ---- parse_segment.c ---- */
enum err_code verb_drop_parse(struct parser *p) ERR_MUST_CHECK;
enum err_code verb_segment_parse(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_save(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_exclude(struct parser *p) ERR_MUST_CHECK;
enum err_code clause_compare(struct parser *p) ERR_MUST_CHECK;
/* `users of (step = 2, platform = "ios") in`, the word `users` being current. */
enum err_code parse_users_of(struct parser *p) ERR_MUST_CHECK;
/* `cohort "NAME"`, the word `cohort` being current. */
enum err_code parse_cohort(struct parser *p, struct ast_name *ret) ERR_MUST_CHECK;

/* ---- parse_verbs.c ---- */
enum err_code parse_verb(struct parser *p) ERR_MUST_CHECK;
/* Without the words before a verb. */
enum err_code parse_verb_alone(struct parser *p) ERR_MUST_CHECK;
bool parse_is_verb(const struct token *token);
