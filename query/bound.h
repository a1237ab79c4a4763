/* query/bound.h - a query after binding: names resolved against a snapshot, times turned into
 * milliseconds, everything that execution needs and nothing of the text but labels.
 *
 * The binder (bind.c) makes it from the AST; the verbs (verb_*.c) run it. All of it lives in the query's arena and
 * is immutable while the query runs, so any worker reads it.
 */
#pragma once

#include "query/civil.h"
#include "storage/store.h"

#define QUERY_STEPS_MAX     64u
#define QUERY_SELECTORS_MAX 64u /* of one query: one bit each in a row's mask */
#define QUERY_KEYS_MAX      16u
#define QUERY_BUCKETS_MAX   100000u
#define QUERY_PERIODS_MAX   10000u
#define QUERY_COHORTS_MAX   64u   /* of one `exclude` */
#define QUERY_CONDS_MAX     1000u /* tests of one segment */
#define QUERY_FORMULA_MAX   32u   /* measures of one test */

/* ---- fields, literals, predicates ---- */
enum field_kind {
    FIELD_PROP,         /* column `col` of the sources (COL_FIRST_PROP + schema number) */
    FIELD_UNKNOWN,      /* a property never seen: absent on every row (the answer carries a warning) */
    FIELD_EVENT_ID,
    FIELD_EVENT_NAME,
    FIELD_EVENT_TIME,
    FIELD_USER_ID,
    FIELD_OWNER_ID,     /* the id of whose the row is, where it is known to be another's; else the user id */
    FIELD_ANONYMOUS_ID,
    FIELD_RECEIVED_AT,
    FIELD_SUBJECT,      /* whose the row is; only of PRED_IN_PEOPLE */
    FIELD_TRAIT,        /* a property of the profile of whose the row is; column `col` is made up (traits.h) */
};
struct field {
    enum field_kind kind;
    struct str name;
    enum col_type type;
    uint32_t col; /* for source_read; of FIELD_UNKNOWN: UINT32_MAX */
};

struct people;
struct bound_query;
/* A set of people that is known before the query itself runs: a saved cohort, or who got to a step of a funnel inside
 * of a condition. */
struct people_use {
    const struct bound_query *definition; /* that says who; NULL: a static cohort */
    struct people *people;                /* filled by run_uses (run_people.h), then only read */
    struct str cohort;                    /* for messages; empty: no saved one */
    const struct pred *profile;           /* that their profile meets, as of now; NULL: it is not about profiles */
};

struct literal {
    enum col_type type; /* STRING, NUMBER, BOOL, TIME */
    struct str string;
    struct num number;
    bool boolean;
    int64_t ts_ms;
};

enum pred_kind {
    PRED_AND, PRED_OR, PRED_NOT, /* kids */
    PRED_TRUE, PRED_FALSE,
    PRED_EQ, PRED_NE, PRED_LT, PRED_LE, PRED_GT, PRED_GE, /* field, values[0] */
    PRED_IN, PRED_NOT_IN,        /* field, values */
    PRED_BETWEEN,                /* field, values[0] <= x <= values[1] */
    PRED_CONTAINS, PRED_STARTS, PRED_ENDS, /* field, values[0]; contains takes ASCII letters in either case, the others are exact */
    PRED_MATCHES,                /* field, regex (POSIX extended, compiled by the binder) */
    PRED_IS_SET, PRED_IS_NOT_SET,
    PRED_IN_PEOPLE, /* the row's subject is one of `people` */
};
/* Two-valued: a comparison with a missing value is false, whatever the comparison but IS_NOT_SET; so `x != 1` is
 * false where x is missing and `not (x = 1)` is true. Lists: a string comparison holds where some item meets it. */
struct pred {
    enum pred_kind kind;
    const struct pred *const *kids;
    uint32_t kid_count;
    struct field field;
    const struct literal *values;
    uint32_t value_count;
    const void *regex; /* regex_t of the binder; regexec is safe from any thread */
    const struct people_use *people;
};

/* ---- selectors ---- */
enum alt_kind { ALT_ANY, ALT_NAMED };
struct alt {
    enum alt_kind kind; /* ANY also stands for `active` while no tracking plan marks events */
    struct str event;   /* of NAMED */
    const struct pred *pred; /* NULL = none */
};
struct selector {
    const struct alt *alts;
    uint32_t alt_count;
    struct str text; /* as the query wrote it, for labels */
};
/* Whether some alternative takes events of every name. */
static inline bool selector_has_any(const struct selector *selector)
{
    for (uint32_t i = 0; i < selector->alt_count; i++) {
        if (selector->alts[i].kind == ALT_ANY) {
            return true;
        }
    }
    return false;
}

/* ---- measures ---- */
enum agg_kind {
    AGG_COUNT, AGG_USERS, AGG_UNIQUE, AGG_SUM, AGG_AVG, AGG_MIN, AGG_MAX,
    AGG_FIRST, AGG_LAST, /* value of the subject-independent first/last event by (event_time, event_id) */
    AGG_QUANTILE,        /* median, p95, p99.9: quantile in (0, 1) */
};
struct agg {
    enum agg_kind kind;
    uint32_t selector; /* into bound_query.selectors */
    struct field field; /* of UNIQUE, SUM ... QUANTILE */
    double quantile;
};
enum expr_kind { EXPR_AGG, EXPR_NUM, EXPR_ADD, EXPR_SUB, EXPR_MUL, EXPR_DIV, EXPR_NEG };
struct expr {
    enum expr_kind kind;
    uint32_t agg; /* into bound_query.aggs */
    struct num num;
    const struct expr *left, *right; /* NEG: left */
};
struct measure {
    struct str name; /* its `as`, or its text */
    const struct expr *expr;
    uint64_t rolling_ms; /* 0 = none: else every bucket looks back this far from its end */
};

/* ---- breakdowns ---- */
struct by_key {
    struct str name; /* column name */
    struct field field;
    const struct num *edges; /* bucket(field, e0, e1, ...): NULL = the value itself */
    uint32_t edge_count;
};

/* ---- verbs ---- */
enum verb {
    VERB_TREND, VERB_DISTINCT, VERB_FUNNEL, VERB_RETENTION, VERB_EVENTS, VERB_TIMELINE,
    VERB_SHOW_EVENTS, VERB_SHOW_PROPERTIES, VERB_SHOW_VALUES, VERB_SHOW_SEGMENTS,
    VERB_SEQUENCE, VERB_SESSIONS, VERB_PATHS, VERB_ATTRIBUTION, VERB_ABSENCE, VERB_INTERVALS,
    VERB_LIFECYCLE, VERB_STICKINESS, VERB_CONDITIONS, VERB_CHURN, VERB_LTV,
    VERB_SEGMENT, VERB_SHOW_COHORTS, VERB_DROP_COHORT, VERB_SHOW_METRICS, VERB_SHOW_PROFILES,
};
#define SELECTOR_NONE UINT32_MAX
struct funnel_step {
    uint32_t selector; /* the step's number, so that bit i of a mask is step i + 1 */
    bool has_limit;
    uint64_t limit_ms; /* since the step before; inclusive */
    struct str label;  /* column `event` */
    bool is_optional;
    bool is_anchored;        /* FUNNEL_ANY: keeps its place */
    uint32_t first_selector; /* the event must be the subject's first ever of these; or SELECTOR_NONE */
};
/* `without`, `dropping`: no such event strictly between the steps `begin` and `end`, counted from 1. */
struct funnel_ban {
    uint32_t selector;
    uint32_t begin, end;
    bool is_dropping;
};
enum funnel_order { FUNNEL_ORDERED, FUNNEL_STRICT, FUNNEL_ANY };
enum funnel_show { FUNNEL_SHOW_FIRST, FUNNEL_SHOW_EARLIEST, FUNNEL_SHOW_LATEST }; /* which attempt */
enum funnel_count { FUNNEL_USERS, FUNNEL_TOTALS, FUNNEL_SESSIONS };
enum funnel_at { FUNNEL_AT_STEP, FUNNEL_AT_FIRST_SET, FUNNEL_AT_LAST_SET, FUNNEL_AT_ALL_STEPS };
enum funnel_table { FUNNEL_STEPS, FUNNEL_TIMES, FUNNEL_LIST, FUNNEL_CORRELATION };
struct funnel {
    const struct funnel_step *steps;
    uint32_t step_count;
    uint64_t window_ms; /* inclusive, from the first step; UINT64_MAX where the query gives none */
    bool is_strict_ties;
    bool is_closed; /* only events before the range's end fill steps */
    bool has_reuse; /* one event may fill several steps */
    bool stops_on_repeat, stops_on_foreign; /* the modes of ClickHouse */
    bool is_entry_first;
    enum funnel_order order;
    uint32_t considering; /* what strict order looks at; SELECTOR_NONE where nothing asks */
    uint32_t session;     /* FUNNEL_SESSIONS: every event; else SELECTOR_NONE */
    const struct funnel_ban *bans;
    uint32_t ban_count;
    const struct by_key *holding;
    uint32_t holding_count;
    enum funnel_show show;
    enum funnel_count count;
    bool is_trend_single; /* `each` divides the attempts of one funnel; else each bucket is a funnel of its own */
    enum funnel_at at;
    uint32_t at_step; /* of FUNNEL_AT_STEP, from 0 */
    enum funnel_table table;
    const uint64_t *edges_ms; /* of FUNNEL_TIMES; none: found from the data */
    uint32_t edge_count;
    uint32_t correlate_any;         /* FUNNEL_CORRELATION: every event */
    const struct by_key *correlate; /* of it: one key */
    bool is_plain;                  /* nothing but limits, ties and keys of step 1: the fast path */
};
enum retention_start { RETENTION_FIRST_EVER, RETENTION_FIRST_EVER_UNFILTERED, RETENTION_FIRST, RETENTION_RECURRING };
enum retention_mode { RETENTION_EXACT, RETENTION_UNBOUNDED, RETENTION_STREAK, RETENTION_BRACKET, RETENTION_UNTIL };
enum retention_value { RETENTION_NO_VALUE, RETENTION_SUM, RETENTION_MEAN };
struct retention_bracket { /* periods, both included */
    uint32_t first, last;
};
/* As answers show it: "2-7", or "3"; of the arena. */
enum err_code retention_bracket_text(const struct retention_bracket *bracket, struct arena *arena,
                                     struct str *ret, struct err *err) ERR_MUST_CHECK;
struct retention {
    uint32_t start_selector, return_selector;
    enum retention_start start;
    enum retention_mode mode;
    enum civil_unit unit; /* day, week, month (hour, quarter, year work too) */
    uint32_t unit_count;
    uint32_t period_count; /* `for N`: periods 0 .. N, so N + 1 of them */
    uint32_t at_least;     /* events in a period that make it count; 1 unless `at least n` */
    uint64_t rolling_ms;   /* periods of so long from the subject's own start; 0 = civil periods */
    const struct retention_bracket *brackets; /* of BRACKET */
    uint32_t bracket_count;
    enum retention_value value; /* of the property `value_key` of events of `value_selector` */
    uint32_t value_selector;
    struct by_key value_key;
    bool is_average; /* one curve of all cohorts whose periods are complete */
    double discount; /* of ltv, per period */
};

struct churn {
    uint32_t selector;
    uint32_t days;           /* civil days of silence */
    int64_t base_begin_ms;   /* the base was active in [this, from) */
    bool is_last_seen;       /* the base is who was active in the range; churned, who was seen last before: */
    int64_t seen_before_ms;
};

/* ---- verbs over journeys: selector numbers are bits of the rows' masks ---- */
#define PATHS_DEPTH_MAX 50u
#define PATHS_RULES_MAX 64u

/* Where an element's event may lie behind the one taken before it. */
struct sequence_element {
    uint64_t take;   /* events with a bit of these are taken; UINT64_MAX: any */
    bool is_free;    /* other events may lie between; else it is the very next */
    uint64_t min_ms; /* time between the two, both bounds included; of a free one */
    uint64_t max_ms;
};
enum sequence_mode { SEQUENCE_COUNT, SEQUENCE_MATCH, SEQUENCE_NEXT };
enum sequence_anchor { SEQUENCE_FIRST_MATCH, SEQUENCE_LAST_MATCH, SEQUENCE_EDGE };
struct sequence {
    const struct sequence_element *elements;
    uint32_t element_count;
    enum sequence_mode mode;
    struct by_key next; /* of NEXT */
    bool is_backward;
    enum sequence_anchor anchor;
};

/* How sessions are cut (session_cut.h has the rule). */
struct session_spec {
    uint64_t idle_ms;
    uint64_t cap_ms;
    bool is_cut_at_midnight;
};
/* lifecycle and stickiness: in which buckets of `each` somebody was active. */
struct habits {
    uint32_t selector;
    uint32_t events_min, events_max; /* events that make a bucket active, both included */
    bool is_dau_mau;       /* of stickiness: the ratio, not the histogram */
    uint32_t rolling_days; /* of dau_mau; 0 = civil months */
    bool has_over;     /* of stickiness: counted within these; else within the whole range */
    enum civil_unit over_unit;
    uint32_t over_count;
    bool is_cumulative;
};
struct sessions {
    struct session_spec cut;
    const uint8_t *measures; /* enum session_measure, in the order of the columns */
    uint32_t measure_count;
};

enum paths_from { PATHS_ALL, PATHS_STARTING, PATHS_ENDING, PATHS_BETWEEN };
enum paths_shape { PATHS_EDGES, PATHS_EXACTLY, PATHS_VARIANTS, PATHS_SHORTEST };
struct path_rule {
    struct str pattern; /* `*` stands for any bytes */
    struct str label;
};
struct paths {
    enum paths_from from;
    uint64_t start_bit, end_bit, ignore_bit; /* 0 = none */
    enum paths_shape shape;
    uint32_t depth; /* nodes: of EDGES at most, of EXACTLY just so many */
    bool is_session; /* a unit is a session; else all of a subject */
    bool is_cut;     /* by `cut`; false: a subject is one unit */
    struct session_spec cut;
    const struct by_key *node_keys;
    uint32_t node_key_count;
    const struct path_rule *rules;
    uint32_t rule_count;
    bool is_slash_ignored;
    bool keeps_repeats;
    bool has_times;
    bool has_loops;
};

enum attribution_model {
    MODEL_FIRST, MODEL_LAST, MODEL_LAST_NON_DIRECT, MODEL_LINEAR, MODEL_TIME_DECAY, MODEL_POSITION,
};
#define ATTRIBUTION_NONE STR("(none)") /* the line of conversions without a touch */
struct attribution {
    uint64_t conversion_bit, touch_bit, value_bit, any_bit; /* value_bit 0: all conversions have one */
    enum attribution_model model;
    uint64_t lookback_ms, half_life_ms;
    bool is_consuming;
    bool keeps_repeats;
    bool has_value;
    struct by_key value;
};

struct absence {
    bool has_second;
    uint64_t span_ms; /* `within`, or `gap` */
};

struct intervals {
    const uint8_t *measures; /* enum interval_measure */
    uint32_t measure_count;
    uint64_t longest_ms;
};

/* ---- people ---- */
/* Which cell of an answer: `users of (...) in`. What is absent is not asked about. */
struct cell;
struct bound_cell {
    const struct cell *keys; /* by key of the query, where */
    const bool *has_key;     /* says so; both NULL: no key */
    bool has_time;           /* the bucket, or the cohort, that begins at */
    int64_t time_ms;
    uint32_t measure; /* of trend and distinct: one that counts users; of lifecycle, churn: */
    bool has_measure; /* a column of people, as bind_cell_habits.c numbers them; without: any */
    uint32_t step;    /* of a funnel, from 1: who did it */
    bool is_dropped;  /* or who did the step before, and not this one */
    bool has_period;  /* of retention and ltv: who was back in it; else the members */
    uint32_t period;  /* or the bracket's number, from 0 */
    uint32_t number;  /* of stickiness: in how many periods; of conditions: which one; 0: any */
    const struct cell *next; /* of a sequence: the value behind the match; NULL: any */
    bool has_position, has_from, has_to; /* of paths: the edge, */
    uint32_t position;
    struct str from, to;
    const struct str *path; /* or the nodes of a whole path; NULL: any */
    uint32_t path_count;
    bool is_of_subjects; /* of silences: who was seen, not who had one */
};
/* Of lifecycle and churn: the columns that a cell's measure says. */
enum { LIFE_NEW, LIFE_RETURNING, LIFE_RESURRECTING, LIFE_DORMANT, LIFE_KINDS };
enum { CHURN_BASE, CHURN_CHURNED, CHURN_KINDS };

enum cond_kind {
    COND_AND,
    COND_OR,
    COND_NOT, /* kids */
    COND_DID,
    COND_MEASURE,
    COND_FORMULA, /* of its kids, which are MEASUREs that nothing is compared with */
    COND_PEOPLE,
    COND_IDS,
};
/* True or false of each person of the universe: those with an event in the query's range that meets its `where`. */
struct cond {
    enum cond_kind kind;
    const struct cond *const *kids;
    uint32_t kid_count;
    uint32_t leaf; /* DID, MEASURE, IDS: number among all leaves */
    uint32_t selector; /* DID, MEASURE */
    int64_t begin_ms, end_ms;
    enum agg_kind agg; /* MEASURE: COUNT, UNIQUE, SUM, AVG, MIN or MAX */
    struct field field;
    const struct expr *expr; /* FORMULA: its aggs are the kids */
    enum pred_kind op;       /* MEASURE, FORMULA: EQ .. GE, BETWEEN */
    struct num values[2];
    bool is_first; /* DID: of first(...): a first event that is expired counts as well (first_ever.h) */
    const struct people_use *people; /* PEOPLE */
    const struct str *ids;           /* IDS */
    uint32_t id_count;
};
/* A condition as the query words it. */
struct cond_line {
    const struct cond *cond; /* what became of it */
    struct str text;
    bool is_test; /* it has no parts */
};
struct people_segment {
    const struct cond *cond;
    uint32_t leaf_count;
    const struct cond_line *lines; /* of `why`: the conditions as they were written, each before its parts */
    uint32_t line_count;
    bool has_universe;          /* the answer hangs on it; else the condition alone says who */
    uint32_t universe_selector; /* any active event */
};

/* A second series beside the first: the same question of another time, or of other people. */
struct compare {
    struct str name; /* of the second series; empty: nothing is compared */
    bool has_range;
    int64_t from_ms, to_ms;
    const struct people_use *people; /* NULL: the same people */
};

/* A term of `where` that holds of all events of a subject or of none: the others are left out of the question. */
struct people_term {
    const struct people_use *people;
    bool is_without; /* it holds of whom is not among them */
};

/* A property of profiles that the query asks for: what identify calls say of a subject (traits.h). */
#define TRAIT_CALLS 2u /* how the events of identify calls are named */
struct trait {
    struct str key;
    bool is_at_event;           /* as of each row's event_time; else as of now */
    uint32_t keys[TRAIT_CALLS]; /* bit k: key k of trait_keys holds it, of an event of that name */
};

struct order_by {
    uint32_t column; /* of the result */
    bool is_descending;
};

struct bound_query {
    enum verb verb;
    bool is_explain;
    bool is_profile;
    struct str text;
    const struct zone *zone;
    uint32_t week_start; /* 0 = Monday .. 6 = Sunday */
    int64_t now_ms;

    bool has_range; /* false: all data; from/to are then INT64_MIN / INT64_MAX */
    int64_t from_ms, to_ms; /* [from, to) */
    bool has_partial; /* `including today`: the last civil unit still runs */
    bool has_each;
    enum civil_unit each_unit;
    uint32_t each_count;

    const struct pred *where; /* NULL = none; applies to every event the verb looks at */
    const struct people_term *people_terms; /* what `where` says beside it, of subjects as a whole */
    uint32_t people_term_count;
    const struct by_key *keys;
    uint32_t key_count;
    bool has_top;
    uint32_t top;
    bool has_other; /* `with other` */
    bool has_order;
    struct order_by order;      /* of events and timeline only its direction: they go by order_field */
    struct field order_field;
    bool has_limit;
    bool is_limit_given; /* by the query; else it is the verb's own */
    uint64_t limit;

    const struct selector *selectors; /* all of the query's, numbered */
    uint32_t selector_count;
    const struct agg *aggs; /* all aggregates of all measures, without repeats */
    uint32_t agg_count;
    const struct measure *measures; /* trend, distinct (one, named "distinct") */
    uint32_t measure_count;

    struct funnel funnel;
    struct retention retention;
    struct sequence sequence;
    struct sessions sessions;
    struct habits habits;
    struct churn churn;
    struct paths paths;
    struct attribution attribution;
    struct absence absence;
    struct intervals intervals;
    struct people_segment segment;
    struct compare compare;
    bool is_why;          /* the query asks why this user is counted as it is, */
    struct str why_id;    /* or is not; not for its table */
    const struct pred *why_key; /* of it with `per`: KEY is `why_id`; else NULL */
    const struct bound_cell *cell; /* the query asks for the people behind it; NULL: for its table */
    const struct trait *traits; /* of profiles, that it asks for, */
    uint32_t trait_count;
    const struct by_key *trait_keys; /* and the columns that they are in, at most QUERY_KEYS_MAX */
    uint32_t trait_key_count;
    struct people_use *const *uses; /* sets of people that the query hangs on */
    uint32_t use_count;
    const struct people_use *const *excluded; /* of these: whose people are left out */
    uint32_t excluded_count;
    struct str save; /* `save cohort`: its name; empty: none */
    bool is_static;
    struct str definition; /* of `save cohort`: the question, in canonical words */
    const struct field *per; /* the subject is a value of this field; NULL = the user */
    bool is_list;            /* `list users` */
    const struct field *columns; /* of `events ... columns (...)`; none: all that occur */
    uint32_t column_count;
    struct str subject_id;  /* of timeline */
    struct field show_field; /* of show values */
    struct str drop;         /* of drop cohort */
    struct str show_metric;  /* of show metrics: all versions of this one; empty: the newest of each */
    struct str expansion;    /* the question in canonical words, where metrics are put into it; else empty */

    bool is_now_read;        /* a condition compares with `now`: the answer depends on it to the millisecond */
    bool
        is_event_time; /* `identity event_time`: the snapshot is made for it, where anything was ever bound (query/past.h) */
    bool is_beyond_snapshot; /* the answer stands on more than text, now and snapshot, or asking does something: not kept */

    const struct str *warnings; /* "line 1, column 8: no event \"pay_sucess\" ...; did you mean \"pay_success\"?" */
    uint32_t warning_count;
};
