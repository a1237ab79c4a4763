/* query/ast.h - the tree of a query: what was asked, before any name is looked up.
 *
 *     ast_query ── verb: measures | steps | selectors | columns ...
 *        │             selector ── alternatives ── predicate
 *        └─────── clauses: where, range, by, each, top, order by, limit, tz ...
 *
 * Every door makes this tree and the binder reads nothing else, so a JSON or protobuf form of a
 * query only has to build it. Each node has its place, for messages, and what labels a column has
 * its span of the text. A parameter's value stands in the tree where its name stood in the text.
 *
 * A further verb is one more struct beside ast_funnel, its row in the parser's verb table and its
 * lines in ast_print.c; a further clause is a member and a row of the clause table. Absent clauses
 * have line 0.
 *
 * Thread: immutable once parsed.  Ownership: everything lives in the arena of the parse.
 */
#pragma once

#include "query/lex.h"

struct buf;

struct ast_span { /* bytes of the text; none: it is a metric's, its canonical text labels it */
    uint32_t begin_off;
    uint32_t end_off;
};

/* Whose property a name is: the event's own, or that of the profile of the event's subject. */
enum ast_profile {
    AST_NO_PROFILE,
    AST_PROFILE_NOW,      /* `profile.plan`: as of now */
    AST_PROFILE_AT_EVENT, /* `profile.plan as of event` */
};
struct ast_name {
    struct str text; /* without quotes */
    struct place place;
    enum ast_profile profile; /* of a property; its text then begins with AST_PROFILE_PREFIX */
};
#define AST_PROFILE_PREFIX STR("profile.")

struct ast_duration {
    struct duration duration;
    struct place place; /* line 0: absent */
};

struct ast_count { /* a whole number */
    uint64_t value;
    struct place place; /* line 0: absent */
};

/* ---- values ---- */
enum ast_value_kind {
    AST_STRING,
    AST_NUMBER,
    AST_BOOL,
    AST_TIME, /* `text`: a date or an instant as written */
    AST_NOW,  /* now - before */
};
struct ast_value {
    enum ast_value_kind kind;
    struct place place; /* line 0: absent */
    struct str text;    /* STRING, TIME */
    struct num number;
    bool boolean;
    struct ast_duration before; /* NOW */
};

/* ---- predicates ---- */
enum ast_pred_kind {
    AST_AND, /* kids: two or more, none of them AND */
    AST_OR,  /* kids: two or more, none of them OR */
    AST_NOT, /* one kid */
    AST_EQ,
    AST_NE,
    AST_LT,
    AST_LE,
    AST_GT,
    AST_GE,
    AST_IN,
    AST_NOT_IN,
    AST_BETWEEN,
    AST_CONTAINS, /* ASCII letters match in either case; other characters exactly */
    AST_STARTS,
    AST_ENDS,
    AST_MATCHES,
    AST_IS_SET,
    AST_IS_NOT_SET,
    AST_IN_COHORT, /* said of the subject: cohort `field.text`, no values */
};
struct ast_pred {
    enum ast_pred_kind kind;
    struct place place;
    const struct ast_pred *const *kids;
    uint32_t kid_count;
    struct ast_name field;
    const struct ast_value *values;
    uint32_t value_count;
};

/* ---- selectors ---- */
enum ast_alt_kind { AST_ANY, AST_ACTIVE, AST_EVENT };
struct ast_alt {
    enum ast_alt_kind kind;
    struct ast_name event;
    const struct ast_pred *pred; /* NULL = none */
};
struct ast_selector {
    const struct ast_alt *alts;
    uint32_t alt_count;
    struct place place;
    struct ast_span span;
};

/* ---- measures ---- */
enum ast_agg {
    AST_AGG_COUNT,
    AST_AGG_USERS,
    AST_AGG_UNIQUE,
    AST_AGG_SUM,
    AST_AGG_AVG,
    AST_AGG_MIN,
    AST_AGG_MAX,
    AST_AGG_FIRST,
    AST_AGG_LAST,
    AST_AGG_MEDIAN,
    AST_AGG_PERCENTILE,
};
struct ast_range;
enum ast_expr_kind {
    AST_EXPR_AGG,
    AST_EXPR_NUM,
    AST_EXPR_ADD,
    AST_EXPR_SUB,
    AST_EXPR_MUL,
    AST_EXPR_DIV,
    AST_EXPR_NEG,
};
struct ast_expr {
    enum ast_expr_kind kind;
    struct place place;
    const struct ast_expr *left;
    const struct ast_expr *right; /* NEG: NULL */
    struct num number;
    enum ast_agg agg;
    struct str percentile; /* "99.9" of p99.9 */
    struct ast_name key;   /* of what takes a KEY or NUMBER */
    bool has_selector;     /* `sum(amount)` has none: of any */
    struct ast_selector selector;
    const struct ast_range
        *range; /* of AGG in a condition on people: its own; NULL: none is given */
};
struct ast_measure {
    struct ast_duration rolling;
    const struct ast_expr *expr;
    struct ast_name as; /* line 0: absent */
    struct place place;
    struct ast_span span; /* of the expression */
};

/* ---- clauses ---- */
enum ast_range_kind {
    AST_RANGE_NONE,
    AST_RANGE_LAST,
    AST_RANGE_TODAY,
    AST_RANGE_ON,
    AST_RANGE_FROM_TO,
    AST_RANGE_ROLLING, /* `last`: elapsed time up to now */
};
struct ast_range {
    enum ast_range_kind kind;
    struct place place;
    struct ast_duration last;
    bool is_including_today;
    struct ast_value from, to; /* ON: from; FROM_TO: one of them may be absent */
};

enum ast_each_unit {
    AST_EACH_DURATION,
    AST_EACH_SECOND,
    AST_EACH_MINUTE,
    AST_EACH_HOUR,
    AST_EACH_DAY,
    AST_EACH_WEEK,
    AST_EACH_MONTH,
    AST_EACH_QUARTER,
    AST_EACH_YEAR,
};
struct ast_each {
    enum ast_each_unit unit;
    struct duration duration;
    struct place place; /* line 0: absent */
};

struct ast_key {
    struct ast_name field;
    bool is_bucket;
    const struct num *edges;
    const struct place *edge_places;
    uint32_t edge_count;
    struct ast_span span;
};

struct ast_order {
    struct ast_name column;
    bool is_descending;
};

enum ast_compare {
    AST_COMPARE_NONE,
    AST_COMPARE_PERIOD, /* with the time just before the range, as long as it */
    AST_COMPARE_YEAR,   /* with the same dates a year before */
    AST_COMPARE_COHORT, /* with the people of a cohort */
};

struct ast_clauses {
    const struct ast_pred *where; /* NULL = none */
    struct ast_range range;
    const struct ast_key *keys;
    uint32_t key_count;
    struct place by;
    struct ast_each each;
    struct ast_count top;
    bool has_other;
    struct ast_order order; /* column.place.line 0: absent */
    struct ast_count limit;
    struct ast_name zone; /* line 0: absent */
    bool has_week_start;
    uint32_t week_start; /* 0 = Monday */
    struct ast_name per; /* the subject's key; line 0: the user */
    bool is_list;        /* `list users` */
    const struct ast_name *excluded; /* cohorts left out */
    uint32_t excluded_count;
    struct ast_name save; /* the cohort that a set of people becomes; line 0: absent */
    bool is_static;       /* of `save` */
    enum ast_compare compare;
    struct place compare_place;
    struct ast_name compare_cohort;
    struct ast_value as_of; /* NUMBER: an epoch; TIME, NOW: an instant; line 0: absent */
    struct place identity;  /* line 0: absent, and `now` */
    bool is_event_time;     /* of `identity` */
};

/* ---- verbs ---- */
enum ast_verb {
    AST_TREND,
    AST_DISTINCT,
    AST_FUNNEL,
    AST_RETENTION,
    AST_EVENTS,
    AST_TIMELINE,
    AST_SHOW,
    AST_SEQUENCE,
    AST_SESSIONS,
    AST_PATHS,
    AST_ATTRIBUTION,
    AST_ABSENCE,
    AST_INTERVALS,
    AST_LIFECYCLE,
    AST_STICKINESS,
    AST_CONDITIONS,
    AST_CHURN,
    AST_LTV,
    AST_SEGMENT,
    AST_DROP,
};
const char *ast_verb_name(enum ast_verb verb);

struct ast_trend {
    const struct ast_measure *measures;
    uint32_t measure_count;
};
struct ast_distinct {
    bool is_user; /* `distinct user of`; `user` in backquotes is a property */
    struct ast_name key;
    struct ast_selector selector;
};
enum ast_first { AST_FIRST_NONE, AST_FIRST_OF_NAME, AST_FIRST_MATCHING };
struct ast_step {
    struct ast_selector selector;
    enum ast_first first;      /* `first a`, `first matching a` */
    struct ast_duration limit; /* since the step before */
    bool is_optional;          /* `a?` */
    bool is_anchored;          /* `a!` */
    struct place mark;         /* of `?` or `!` */
};
struct ast_ban { /* `without SEL between i and j`, `dropping users with SEL between i and j` */
    bool is_dropping;
    struct place place;
    struct ast_selector selector;
    struct ast_count begin, end; /* line 0: the whole funnel */
};
enum ast_order_mode { AST_ORDERED, AST_ORDER_STRICT, AST_ORDER_ANY };
enum ast_attempt { AST_ATTEMPT_DEFAULT, AST_ATTEMPT_EARLIEST, AST_ATTEMPT_LATEST };
enum ast_count_what { AST_COUNT_USERS, AST_COUNT_TOTALS, AST_COUNT_SESSIONS };
enum ast_at { AST_AT_STEP, AST_AT_FIRST_SET, AST_AT_LAST_SET, AST_AT_ALL_STEPS };
enum ast_correlate { AST_CORRELATE_NONE, AST_CORRELATE_EVENTS, AST_CORRELATE_KEY };
struct ast_funnel {
    const struct ast_step *steps;
    uint32_t step_count;
    struct ast_duration within;
    bool is_strict_ties;
    bool is_closed;
    bool has_reuse;
    bool is_entry_first;
    enum ast_order_mode order;
    struct ast_selector considering; /* place.line 0: absent */
    struct ast_ban *bans;
    uint32_t ban_count, ban_cap;
    const struct ast_name *holding;
    uint32_t holding_count;
    bool stops_on_repeat;  /* mode "clickhouse:strict_deduplication" */
    bool stops_on_foreign; /* mode "clickhouse:strict_order" */
    bool is_once;          /* mode "clickhouse:strict_once": no reuse, as without it */
    struct ast_name mode;  /* as given; strict_increase is is_strict_ties */
    enum ast_attempt attempt;
    enum ast_count_what count;
    struct place count_place;
    struct place trend_single; /* `trend single`, at its second word; line 0: absent */
    enum ast_at at;
    struct ast_count at_step; /* of AST_AT_STEP; line 0: the first */
    struct place at_place;
    bool has_times;
    const struct ast_duration *edges; /* `times (10s, 1m)`; none: found from the data */
    uint32_t edge_count;
    enum ast_correlate correlate;
    struct ast_name correlate_key; /* place: of the word behind `correlate`, for events too */
};
enum ast_start { AST_FIRST_EVER, AST_FIRST_EVER_UNFILTERED, AST_FIRST, AST_RECURRING };
enum ast_return_mode {
    AST_RETURN_EXACT,
    AST_RETURN_UNBOUNDED,
    AST_RETURN_STREAK,
    AST_RETURN_BRACKET,
    AST_RETURN_UNTIL,
};
struct ast_bracket { /* `2-7`: both included */
    uint64_t first, last;
};
struct ast_retention { /* of ltv as well */
    struct ast_selector start, back;
    bool has_back;            /* ltv: `-> SEL` says who is active; else any event does */
    struct ast_count periods; /* `for N` */
    enum ast_start from;
    enum ast_return_mode mode;
    const struct ast_bracket *brackets;
    uint32_t bracket_count;
    bool is_rolling;
    struct ast_count at_least;
    struct ast_name value; /* line 0: absent */
    bool is_value_mean;    /* `value avg`, else `value sum` */
    bool has_value_selector;
    struct ast_selector value_selector;
    bool is_average; /* one curve of all cohorts */
    struct num discount;
    struct place discount_place; /* line 0: absent */
};
struct ast_events {
    struct ast_selector selector;
    const struct ast_name *columns;
    uint32_t column_count;
};
struct ast_timeline {
    struct ast_name subject;
};
enum ast_show {
    AST_SHOW_EVENTS,
    AST_SHOW_PROPERTIES,
    AST_SHOW_VALUES,
    AST_SHOW_SEGMENTS,
    AST_SHOW_COHORTS,
    AST_SHOW_METRICS,
    AST_SHOW_PROFILES,
};
struct ast_show_what {
    enum ast_show kind;
    struct ast_name name; /* PROPERTIES: the event, METRICS: which, or line 0; VALUES: the key */
};

/* An element of a sequence's pattern takes one event: (?2) one that meets condition 2, `.` any one. What stands
 * before it says where that event may lie after the event taken last. */
enum ast_gap_op { AST_GAP_LT, AST_GAP_LE, AST_GAP_EQ, AST_GAP_GE, AST_GAP_GT };
struct ast_gap {
    enum ast_gap_op op;
    uint64_t ms;
};
struct ast_pattern_element {
    uint32_t condition; /* from 1; 0 = any one event */
    bool is_free;       /* other events may lie before it: `.*` or a gap stands there */
    const struct ast_gap *gaps;
    uint32_t gap_count;
};
enum ast_sequence_mode { AST_SEQUENCE_COUNT, AST_SEQUENCE_MATCH, AST_SEQUENCE_NEXT };
enum ast_anchor { AST_ANCHOR_FIRST_MATCH, AST_ANCHOR_LAST_MATCH, AST_ANCHOR_EDGE };
struct ast_sequence {
    struct ast_name pattern; /* as written; the elements are what it says */
    const struct ast_pattern_element *elements;
    uint32_t element_count;
    const struct ast_selector *over;
    uint32_t over_count;
    enum ast_sequence_mode mode;
    struct ast_name next; /* of NEXT: whose value */
    bool is_backward;
    enum ast_anchor anchor;
    struct place anchor_place; /* line 0: absent */
};

struct ast_sessions {
    const struct ast_name *measures; /* none: the usual ones */
    uint32_t measure_count;
    bool has_selector; /* `of SEL`; else of active events */
    struct ast_selector selector;
    struct ast_duration idle, cap;
    bool is_uncapped, is_cut_at_midnight;
};

enum ast_events_op { AST_EVENTS_AT_LEAST, AST_EVENTS_AT_MOST, AST_EVENTS_EXACTLY };
struct ast_habits { /* lifecycle, stickiness */
    struct ast_selector selector;
    struct ast_each over; /* line 0: the whole range is one */
    bool is_cumulative;
    enum ast_events_op events_op;
    struct ast_count events;     /* in a period that counts; line 0: at least 1 */
    bool is_dau_mau;             /* `stickiness dau_mau of` */
    struct ast_duration rolling; /* of dau_mau; line 0: civil months */
};

struct ast_churn {
    struct ast_selector selector;
    struct ast_duration silence; /* days or weeks */
    bool is_last_seen;
};

struct ast_conditions {
    const struct ast_selector *items;
    uint32_t count;
};

enum ast_paths_from { AST_PATHS_ALL, AST_PATHS_STARTING, AST_PATHS_ENDING, AST_PATHS_BETWEEN };
enum ast_paths_unit { AST_UNIT_DEFAULT, AST_UNIT_SESSION, AST_UNIT_SUBJECT };
struct ast_path_rule { /* group "/p/" with a star as "product" */
    struct ast_name pattern, label;
};
struct ast_paths {
    enum ast_paths_from from;
    struct ast_selector start, end; /* of STARTING and ENDING only one of them */
    struct ast_count depth;
    struct ast_count exactly;
    bool is_variants;
    bool is_shortest; /* of `between`: whole paths of the fewest nodes */
    enum ast_paths_unit unit;
    const struct ast_name *over; /* none: event_name */
    uint32_t over_count;
    bool has_ignore;
    struct ast_selector ignore;
    bool is_slash_ignored; /* `ignore trailing slash` */
    const struct ast_path_rule *rules;
    uint32_t rule_count;
    struct ast_duration gap;
    bool keeps_repeats;
    bool has_times;
    bool has_loops;
};

enum ast_model {
    AST_MODEL_LAST, /* the default */
    AST_MODEL_FIRST,
    AST_MODEL_LAST_NON_DIRECT,
    AST_MODEL_LINEAR,
    AST_MODEL_TIME_DECAY,
    AST_MODEL_POSITION,
};
struct ast_attribution {
    struct ast_selector conversion;
    enum ast_model model;
    bool has_touches;
    struct ast_selector touches;
    struct ast_duration lookback, half_life;
    bool is_consuming;
    bool keeps_repeats;
    struct ast_name value; /* line 0: absent */
    bool has_value_selector;
    struct ast_selector value_selector;
};

struct ast_absence {
    struct ast_selector first;
    bool has_second; /* `A -> B within`; else the silences of A longer than `gap` */
    struct ast_selector second;
    struct ast_duration within, gap;
};

struct ast_intervals {
    struct ast_selector start, end;
    const struct ast_name *measures; /* none: the usual ones */
    uint32_t measure_count;
    struct ast_duration longest;
};

/* ---- conditions on people ---- */
struct ast_query;
enum ast_cond_kind {
    AST_COND_AND, /* kids: two or more, none of them AND */
    AST_COND_OR,  /* kids: two or more, none of them OR */
    AST_COND_NOT, /* one kid */
    AST_COND_DID,
    AST_COND_FIRST, /* the first event of all that the selector takes lies in the range */
    AST_COND_LAST,
    AST_COND_MEASURE, /* a number made of the subject's own events, compared */
    AST_COND_FORMULA, /* arithmetic of such numbers, compared */
    AST_COND_REACHED, /* got to a step of a funnel */
    AST_COND_COHORT,
    AST_COND_IDS,
    AST_COND_PROFILE, /* what the subject's profile says now */
};
struct ast_cond {
    enum ast_cond_kind kind;
    struct place place;
    const struct ast_cond *const *kids;
    uint32_t kid_count;
    struct ast_selector selector; /* DID, FIRST, LAST, MEASURE */
    struct ast_range range;       /* of these; NONE: that of the query */
    enum ast_agg agg;             /* MEASURE: COUNT, UNIQUE, SUM, AVG, MIN or MAX */
    struct ast_name key;          /* what is unique, or the number; of COUNT: line 0 */
    bool has_selector;            /* `sum(amount)` has none: of any */
    const struct ast_expr *expr;  /* FORMULA: its AGGs are of the kinds of MEASURE */
    enum ast_pred_kind op;        /* MEASURE, FORMULA: EQ .. GE, BETWEEN */
    struct ast_value values[2];   /* BETWEEN: both */
    const struct ast_query *funnel; /* REACHED */
    struct ast_count step;
    struct ast_name cohort;
    const struct ast_name *ids;
    uint32_t id_count;
    const struct ast_pred *profile; /* PROFILE: a test of one of its properties */
};
struct ast_segment {
    const struct ast_cond *cond;
};
struct ast_drop {
    struct ast_name cohort;
};

/* One of the words between the parentheses of `users of (...) in`. */
struct ast_coordinate {
    struct ast_name name;
    bool is_null;           /* NAME is not set */
    struct ast_value value; /* else NAME = value, */
    const struct ast_value *values; /* or NAME = (value, value): a list; its first is `value`; NULL: it is none */
    uint32_t value_count;
};

/* `restatements [from EPOCH to EPOCH | last 7d] [with events] [of QUESTION]`. */
struct ast_restatements {
    struct place place;        /* line 0: it does not stand there */
    struct ast_value from, to; /* place.line 0: */
    struct ast_range range;    /* of time, or none: all */
    bool has_events;
};

struct ast_query {
    struct str text; /* as it was given */
    bool is_explain;
    bool is_profile; /* at most one of the two */
    struct ast_name why; /* `why "u_42" in` stands before the verb: whose verdict; place.line 0: it does not */
    struct ast_value diff_from, diff_to; /* `diff EPOCH, EPOCH in` stands before the verb; place.line 0: it does not */
    struct ast_restatements restatements; /* stands before the verb */
    struct place users_of; /* `users of (coordinates) in` stands before the verb; line 0: it does not */
    const struct ast_coordinate *coordinates;
    uint32_t coordinate_count;
    bool is_people_list; /* `list users` is said of these users, not of the verb */
    bool has_metrics;    /* parts of the tree are definitions of metrics: their places are those of the names */
    enum ast_verb verb;
    struct place place; /* of the verb */
    struct ast_clauses clauses;
    struct ast_trend trend;
    struct ast_distinct distinct;
    struct ast_funnel funnel;
    struct ast_retention retention;
    struct ast_events events;
    struct ast_timeline timeline;
    struct ast_show_what show;
    struct ast_sequence sequence;
    struct ast_sessions sessions;
    struct ast_habits habits;
    struct ast_conditions conditions;
    struct ast_churn churn;
    struct ast_paths paths;
    struct ast_attribution attribution;
    struct ast_absence absence;
    struct ast_intervals intervals;
    struct ast_segment segment;
    struct ast_drop drop;
};

/* Append the query's canonical text: one line, defaults left out, clauses in one order, as few
 * parentheses as keep the tree. Parsing it gives the same tree. */
void ast_print(const struct ast_query *query, struct buf *out);
void ast_print_selector(const struct ast_selector *selector, struct buf *out);
void ast_print_cond(const struct ast_cond *cond, struct buf *out);
void ast_print_expr(const struct ast_expr *expr, struct buf *out);
void ast_print_key(const struct ast_key *key, struct buf *out); /* of `by` */
