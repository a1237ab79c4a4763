/* query/bind_int.h - what the parts of the binder share.
 *
 *     bind.c          time zone, range, buckets, columns; query_bind
 *     bind_field.c    names of properties and events, and warnings about unknown ones
 *     bind_traits.c   properties of profiles
 *     bind_pred.c     predicates
 *     bind_regex.c    regular expressions
 *     bind_measure.c  selectors, aggregates, measures
 */
#pragma once

#include "query/bind.h"
#include "query/grow.h"
#include "query/names.h"
#include "query/people.h"
#include "query/parse.h"

#include <regex.h>

#define BIND_WARNINGS_MAX 32u
#define BIND_COHORTS_MAX  16u /* a cohort may be made of others, so deep */

struct bound_regex {
    regex_t regex;
    struct bound_regex *next;
};
struct bound_people { /* of a static cohort */
    struct people people;
    struct bound_people *next;
};
/* What query_bind hands out: the query, and behind it what the arena cannot free. */
struct bound_owner {
    struct bound_query query;
    struct bound_regex *regexes;
    struct bound_people *people;
};

/* A cohort that is being bound because the one behind it says `in cohort`. */
struct bind_cohort_link {
    struct str name;
    const struct bind_cohort_link *outer;
};

struct binder {
    const struct query_request *request;
    const struct ast_query *ast;
    const struct snapshot *snapshot;
    struct io *io;
    struct arena *arena;
    struct err *err;
    struct bound_owner *owner;
    struct bound_query *query; /* of the owner */

    bool has_events, has_fields; /* the lists below are made when first asked for */
    struct names events, fields;

    struct selector *selectors;
    bool has_users; /* some measure counts users */
    struct str *selector_texts; /* canonical, for finding equal ones */
    uint32_t selector_count, selector_cap, selector_text_cap;
    struct agg *aggs;
    uint32_t agg_count, agg_cap;
    struct str *warnings;
    uint32_t warning_count, warning_cap;
    struct people_use **uses;
    uint32_t use_count, use_cap;
    struct trait *traits;
    uint32_t trait_count, trait_cap;
    struct by_key *trait_keys;
    uint32_t trait_key_count, trait_key_cap;
    const struct bind_cohort_link *cohorts; /* whose definition is bound, from the inside out */
};

#define bind_fail(b, at, ...)  err_set_at((b)->err, ERR_INVALID, (at).line, (at).column, __VA_ARGS__)
#define bind_limit(b, at, ...) err_set_at((b)->err, ERR_LIMIT, (at).line, (at).column, __VA_ARGS__)

/* ---- bind_field.c ---- */
#define BIND_TYPES 5u
/* The columns of a name, one for each type it was seen with. None: count 0, and a warning. */
struct bind_fields {
    struct field items[BIND_TYPES];
    uint32_t count;
};
enum err_code bind_fields(struct binder *b, struct ast_name name,
                          struct bind_fields *ret) ERR_MUST_CHECK;
struct field bind_unknown(struct str name, enum col_type type);
/* The one column of a name where nothing else says which type is meant; unknown names are
 * FIELD_UNKNOWN. `what` needs it: "a breakdown". */
enum err_code bind_one_field(struct binder *b, struct ast_name name, const char *what,
                             struct field *ret) ERR_MUST_CHECK;
enum err_code bind_number_field(struct binder *b, struct ast_name name, const char *what,
                                struct field *ret) ERR_MUST_CHECK;
/* Warn where no event of this name was ever seen. */
enum err_code bind_event(struct binder *b, struct ast_name name) ERR_MUST_CHECK;
/* Warn of a property that was never seen. */
enum err_code bind_warn_field(struct binder *b, struct ast_name name) ERR_MUST_CHECK;
/* "string and number": the types of `fields`, in the arena. */
enum err_code bind_types_text(struct binder *b, const struct bind_fields *fields,
                              struct str *ret) ERR_MUST_CHECK;

/* One more warning, unless there are too many. */
enum err_code bind_warn(struct binder *b, struct str text) ERR_MUST_CHECK;

/* ---- bind_traits.c ---- */
/* bind_fields of `profile.x`. */
enum err_code bind_traits(struct binder *b, struct ast_name name,
                          struct bind_fields *ret) ERR_MUST_CHECK;
/* Selectors of all identify calls, numbered as trait_calls are. */
enum err_code bind_call_selectors(struct binder *b) ERR_MUST_CHECK;
/* The people whose profile meets `pred` now. */
enum err_code bind_profile_use(struct binder *b, const struct pred *pred,
                               const struct people_use **ret) ERR_MUST_CHECK;

/* ---- bind_pred.c ---- */
/* A test of the profile as of now: the people of whom it holds, or with *ret_is_without of whom it does not. */
enum err_code bind_profile_test(struct binder *b, const struct ast_pred *ast,
                                const struct people_use **ret,
                                bool *ret_is_without) ERR_MUST_CHECK;
enum err_code bind_pred(struct binder *b, const struct ast_pred *ast,
                        const struct pred **ret) ERR_MUST_CHECK;

/* ---- bind_regex.c ---- */
/* The compiled regex_t, owned by the bound query. ERR_INVALID, ERR_LIMIT. */
enum err_code bind_regex(struct binder *b, const struct ast_value *value,
                         const void **ret) ERR_MUST_CHECK;

/* ---- bind_measure.c ---- */
/* A new selector, or with `is_shared` an equal one that is there already. */
enum err_code bind_selector(struct binder *b, const struct ast_selector *ast, bool is_shared,
                            uint32_t *ret) ERR_MUST_CHECK;
/* The selector of every event, or of one. */
enum err_code bind_plain_selector(struct binder *b, struct ast_name event,
                                  uint32_t *ret) ERR_MUST_CHECK;
/* The same of an event that need not have been seen. */
enum err_code bind_named_selector(struct binder *b, struct str event, struct place place,
                                  uint32_t *ret) ERR_MUST_CHECK;
enum err_code bind_trend(struct binder *b) ERR_MUST_CHECK;
enum err_code bind_distinct(struct binder *b) ERR_MUST_CHECK;

/* ---- bind_funnel.c ---- */
enum err_code bind_funnel(struct binder *b) ERR_MUST_CHECK;
/* What can be told when the clauses of all verbs are bound. */
void bind_funnel_end(struct binder *b);
/* The columns of its answer; `items` has room for all keys and 16 more. */
uint32_t bind_funnel_columns(const struct bound_query *query, struct str *items);

/* ---- bind_journeys.c ---- */
/* A property whose values are carried along with events; `what` needs it. */
enum err_code bind_carried(struct binder *b, struct ast_name name, const char *what,
                           struct by_key *ret) ERR_MUST_CHECK;
enum err_code bind_sequence(struct binder *b) ERR_MUST_CHECK;
enum err_code bind_sessions(struct binder *b) ERR_MUST_CHECK;
enum err_code bind_conditions(struct binder *b) ERR_MUST_CHECK;
enum err_code bind_habits(struct binder *b) ERR_MUST_CHECK;
/* What `by` cannot do for lifecycle, stickiness, conditions and churn. */
enum err_code bind_habit_keys(struct binder *b) ERR_MUST_CHECK;
/* `each week`, `over month` as a unit and how many of them. */
enum err_code bind_unit(struct binder *b, const struct ast_each *each, enum civil_unit *ret_unit,
                        uint32_t *ret_count) ERR_MUST_CHECK;
/* Names of the answer's columns; returns how many. */
enum err_code bind_habits_columns(struct binder *b, struct str *items,
                                  uint32_t *ret_count) ERR_MUST_CHECK;
enum err_code bind_paths(struct binder *b) ERR_MUST_CHECK;
enum err_code bind_attribution(struct binder *b) ERR_MUST_CHECK;
enum err_code bind_absence(struct binder *b) ERR_MUST_CHECK;
enum err_code bind_intervals(struct binder *b) ERR_MUST_CHECK;
enum err_code bind_per(struct binder *b) ERR_MUST_CHECK;
/* The columns of one of these verbs' answers; `items` has room for all keys and BIND_JOURNEY_COLUMNS_MAX more. */
#define BIND_JOURNEY_COLUMNS_MAX 16u
uint32_t bind_journey_columns(const struct bound_query *query, struct str *items);

/* ---- bind_retention.c ---- */
enum err_code bind_retention(struct binder *b) ERR_MUST_CHECK;
enum err_code bind_ltv(struct binder *b) ERR_MUST_CHECK;
enum err_code bind_churn(struct binder *b) ERR_MUST_CHECK;
/* After `each`: its windows are long enough. */
enum err_code bind_churn_end(struct binder *b) ERR_MUST_CHECK;
/* `each` of retention and ltv. */
enum err_code bind_period(struct binder *b, enum civil_unit unit, uint32_t count) ERR_MUST_CHECK;
uint32_t bind_retention_columns(const struct bound_query *query, struct str *items);

/* ---- bind_segment.c ---- */
enum err_code bind_segment(struct binder *b) ERR_MUST_CHECK;

/* ---- bind_cell.c ---- */
/* `users of (...) in`; after the verb, its keys and its buckets. */
enum err_code bind_cell(struct binder *b) ERR_MUST_CHECK;

/* ---- bind_why.c ---- */
/* `why "u_42" in`; after everything that shapes the answer. */
enum err_code bind_why(struct binder *b) ERR_MUST_CHECK;

/* ---- bind_compare.c ---- */
/* `compare`; after the range, and before the columns are named. */
enum err_code bind_compare(struct binder *b) ERR_MUST_CHECK;

/* ---- bind_past.c ---- */
/* What an answer as of an epoch cannot show any more. */
enum err_code bind_past(struct binder *b) ERR_MUST_CHECK;

/* ---- bind_people.c ---- */
/* A set of people that the query hangs on. */
enum err_code bind_use(struct binder *b, struct people_use use,
                       const struct people_use **ret) ERR_MUST_CHECK;
/* The people of a saved cohort. */
enum err_code bind_cohort(struct binder *b, struct ast_name name,
                          const struct people_use **ret) ERR_MUST_CHECK;
enum err_code bind_drop(struct binder *b) ERR_MUST_CHECK;
/* Take the terms of the bound `where` that are about people out of it: instead of asking each row whose it is, the query is made
 * one about fewer people, and stored sets answer as they do without a condition. */
enum err_code bind_people_terms(struct binder *b) ERR_MUST_CHECK;
/* `exclude`, `save`. */
enum err_code bind_people_clauses(struct binder *b) ERR_MUST_CHECK;

/* ---- bind.c ---- */
/* A time value in milliseconds; errors have its place. */
enum err_code bind_time(struct binder *b, const struct ast_value *value,
                        int64_t *ret) ERR_MUST_CHECK;
enum err_code bind_zone(struct binder *b) ERR_MUST_CHECK;
/* The time of a range that is not the query's own. */
enum err_code bind_span(struct binder *b, const struct ast_range *range, int64_t *ret_begin,
                        int64_t *ret_end) ERR_MUST_CHECK;
/* A query inside of the query: what it borrows, and its warnings, are the outer one's. `request` has its text. */
enum err_code bind_inner(struct binder *b, const struct query_request *request,
                         const struct ast_query *ast, struct bound_query **ret) ERR_MUST_CHECK;
