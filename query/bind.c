/* query/bind.c - the binder: time, breakdowns, columns, and query_bind itself. */
#include "query/bind_int.h"

#include "query/metric_define.h"
#include "storage/base/buf.h"

#include <inttypes.h>

/* ---- times ---- */

static enum civil_unit unit_civil(enum duration_unit unit)
{
    static const enum civil_unit units[] = {
        [UNIT_MS] = CIVIL_MS,    [UNIT_S] = CIVIL_SECOND, [UNIT_M] = CIVIL_MINUTE,
        [UNIT_H] = CIVIL_HOUR,   [UNIT_D] = CIVIL_DAY,    [UNIT_W] = CIVIL_WEEK,
        [UNIT_MO] = CIVIL_MONTH,
    };
    return units[unit];
}

/* `ts_ms` moved back; false where that leaves the calendar. Days and longer move the civil date. */
static bool move_back(const struct binder *b, int64_t ts_ms, struct duration duration, int64_t *ret)
{
    /* even in the shortest months the calendar has fewer milliseconds than this */
    uint64_t months_max = (uint64_t)(CIVIL_TS_MAX - CIVIL_TS_MIN) / (28 * 86400000ull);
    uint64_t room = (uint64_t)(ts_ms - CIVIL_TS_MIN);
    if (duration.unit == UNIT_MO ? duration.count > months_max : duration_ms(duration) > room) {
        return false;
    }
    *ret = civil_add(b->query->zone, unit_civil(duration.unit), -(int64_t)duration.count, ts_ms);
    return *ret > CIVIL_TS_MIN;
}

static enum err_code fail_too_far(struct binder *b, const struct ast_duration *duration)
{
    return bind_fail(b, duration->place,
                     "%" PRIu64 "%s reaches back beyond the calendar, which "
                     "begins in the year %d",
                     duration->duration.count, duration_unit_name(duration->duration.unit),
                     CIVIL_YEAR_MIN);
}

enum err_code bind_time(struct binder *b, const struct ast_value *value, int64_t *ret)
{
    if (value->kind == AST_NOW) {
        *ret = b->query->now_ms;
        b->query->is_now_read = true;
        if (value->before.place.line != 0 &&
            !move_back(b, b->query->now_ms, value->before.duration, ret)) {
            return fail_too_far(b, &value->before);
        }
        return ERR_OK;
    }
    enum civil_precision precision = CIVIL_PRECISION_DATE;
    if (civil_parse(value->text, b->query->zone, ret, &precision, b->err) != ERR_OK) {
        return err_set_at(b->err, ERR_INVALID, value->place.line, value->place.column, "%s",
                          b->err->message);
    }
    return ERR_OK;
}

enum err_code bind_zone(struct binder *b)
{
    const struct ast_name *zone = &b->ast->clauses.zone;
    if (zone->place.line != 0) {
        enum err_code code = zone_find(zone->text, &b->query->zone, b->err);
        return code == ERR_NOT_FOUND ? bind_fail(b, zone->place, "%s", b->err->message) : code;
    }
    if (b->snapshot->dataset == NULL) {
        b->query->zone = zone_utc();
        return ERR_OK;
    }
    return zone_find(str_of(dataset_zone(b->snapshot->dataset)), &b->query->zone, b->err);
}

static enum err_code grid_of(struct binder *b, enum civil_unit unit, struct civil_grid *ret)
{
    return civil_grid_init(b->query->zone, unit, 1, (enum civil_weekday)b->query->week_start, ret,
                           b->err);
}

/* ---- range ---- */

static enum err_code bind_last(struct binder *b, const struct ast_range *range)
{
    struct bound_query *query = b->query;
    struct duration last = range->last.duration;
    query->to_ms = query->now_ms;
    if (last.unit >= UNIT_D) {
        struct civil_grid grid;
        ERR_TRY(grid_of(b, unit_civil(last.unit), &grid));
        int64_t running_ms = civil_floor(&grid, query->now_ms);
        query->to_ms = range->is_including_today ? civil_next(&grid, query->now_ms) : running_ms;
        query->has_partial = range->is_including_today;
        return move_back(b, running_ms, last, &query->from_ms) ? ERR_OK
                                                               : fail_too_far(b, &range->last);
    }
    return move_back(b, query->now_ms, last, &query->from_ms) ? ERR_OK
                                                              : fail_too_far(b, &range->last);
}

/* From the local midnight of a date to that of the next: no time at all where the zone skipped the
 * date. */
static enum err_code bind_on(struct binder *b, const struct ast_value *date)
{
    struct bound_query *query = b->query;
    ERR_TRY(bind_time(b, date, &query->from_ms));
    int32_t fields[3] = {0};
    uint32_t field = 0;
    for (size_t i = 0; i < date->text.len; i++) {
        if (date->text.ptr[i] == '-') {
            field++;
            continue;
        }
        fields[field] = fields[field] * 10 + (date->text.ptr[i] - '0');
    }
    int64_t days = 0;
    bool is_date = civil_days(fields[0], (uint32_t)fields[1], (uint32_t)fields[2], &days);
    ASSERT(is_date); /* or bind_time had refused it */
    if (!civil_to_ms(query->zone, civil_from_days(days + 1), &query->to_ms)) {
        query->to_ms = CIVIL_TS_MAX; /* the last day of the calendar */
    }
    query->has_partial = query->from_ms <= query->now_ms && query->now_ms < query->to_ms;
    return ERR_OK;
}

static enum err_code bind_from_to(struct binder *b, const struct ast_range *range)
{
    struct bound_query *query = b->query;
    if (range->from.place.line != 0) {
        ERR_TRY(bind_time(b, &range->from, &query->from_ms));
    }
    if (range->to.place.line != 0) {
        ERR_TRY(bind_time(b, &range->to, &query->to_ms));
    }
    if (query->from_ms > query->to_ms) {
        return bind_fail(b, range->to.place, "the range ends before it begins");
    }
    return ERR_OK;
}

static enum err_code bind_range(struct binder *b, const struct ast_range *range)
{
    struct bound_query *query = b->query;
    struct civil_grid day;
    query->from_ms = INT64_MIN;
    query->to_ms = INT64_MAX;
    query->has_range = range->kind != AST_RANGE_NONE;
    switch (range->kind) {
    case AST_RANGE_NONE: return ERR_OK;
    case AST_RANGE_LAST: return bind_last(b, range);
    case AST_RANGE_ON: return bind_on(b, &range->from);
    case AST_RANGE_FROM_TO: return bind_from_to(b, range);
    case AST_RANGE_ROLLING:
        query->to_ms = query->now_ms;
        if (duration_ms(range->last.duration) > (uint64_t)(query->now_ms - CIVIL_TS_MIN)) {
            return fail_too_far(b, &range->last);
        }
        query->from_ms = query->now_ms - (int64_t)duration_ms(range->last.duration);
        return ERR_OK;
    case AST_RANGE_TODAY: break;
    }
    ERR_TRY(grid_of(b, CIVIL_DAY, &day));
    query->from_ms = civil_floor(&day, query->now_ms);
    query->to_ms = civil_next(&day, query->now_ms);
    query->has_partial = true;
    return ERR_OK;
}

enum err_code bind_span(struct binder *b, const struct ast_range *range, int64_t *ret_begin,
                        int64_t *ret_end)
{
    struct bound_query own = *b->query;
    enum err_code code = bind_range(b, range);
    *ret_begin = b->query->from_ms;
    *ret_end = b->query->to_ms;
    b->query->from_ms = own.from_ms;
    b->query->to_ms = own.to_ms;
    b->query->has_range = own.has_range;
    b->query->has_partial = own.has_partial;
    return code;
}

/* ---- each ---- */

/* About how many buckets; the length of months and longer is taken as the shortest. */
static uint64_t buckets_about(enum civil_unit unit, uint64_t n, uint64_t span_ms)
{
    static const uint64_t unit_ms[CIVIL_UNITS] = {
        [CIVIL_MS] = 1,
        [CIVIL_SECOND] = 1000,
        [CIVIL_MINUTE] = 60000,
        [CIVIL_HOUR] = 3600000,
        [CIVIL_DAY] = 86400000,
        [CIVIL_WEEK] = 7 * 86400000ull,
        [CIVIL_MONTH] = 28 * 86400000ull,
        [CIVIL_QUARTER] = 90 * 86400000ull,
        [CIVIL_YEAR] = 365 * 86400000ull,
    };
    uint64_t bucket_ms = 0;
    if (__builtin_mul_overflow(unit_ms[unit], n, &bucket_ms)) {
        return 1;
    }
    return span_ms / bucket_ms + (span_ms % bucket_ms != 0 ? 1 : 0);
}

enum err_code bind_unit(struct binder *b, const struct ast_each *each, enum civil_unit *ret_unit,
                        uint32_t *ret_count)
{
    static const enum civil_unit words[] = {
        [AST_EACH_SECOND] = CIVIL_SECOND,   [AST_EACH_MINUTE] = CIVIL_MINUTE,
        [AST_EACH_HOUR] = CIVIL_HOUR,       [AST_EACH_DAY] = CIVIL_DAY,
        [AST_EACH_WEEK] = CIVIL_WEEK,       [AST_EACH_MONTH] = CIVIL_MONTH,
        [AST_EACH_QUARTER] = CIVIL_QUARTER, [AST_EACH_YEAR] = CIVIL_YEAR,
    };
    const struct bound_query *query = b->query;
    bool is_word = each->unit != AST_EACH_DURATION;
    enum civil_unit unit = is_word ? words[each->unit] : unit_civil(each->duration.unit);
    uint64_t n = is_word ? 1 : each->duration.count;
    struct civil_grid grid;
    if (n > UINT32_MAX) {
        return bind_fail(b, each->place, "a bucket of %" PRIu64 "%s is too long", n,
                         duration_unit_name(each->duration.unit));
    }
    if (civil_grid_init(query->zone, unit, (int64_t)n, (enum civil_weekday)query->week_start, &grid,
                        b->err) != ERR_OK) {
        return err_set_at(b->err, b->err->code, each->place.line, each->place.column, "%s",
                          b->err->message);
    }
    *ret_unit = unit;
    *ret_count = (uint32_t)n;
    return ERR_OK;
}

static enum err_code bind_each(struct binder *b)
{
    const struct ast_each *each = &b->ast->clauses.each;
    struct bound_query *query = b->query;
    enum civil_unit unit = CIVIL_DAY;
    uint32_t n = 1;
    if (each->place.line == 0) {
        return ERR_OK;
    }
    ERR_TRY(bind_unit(b, each, &unit, &n));
    if (query->has_range && query->from_ms != INT64_MIN && query->to_ms != INT64_MAX) {
        uint64_t count = buckets_about(unit, n, (uint64_t)(query->to_ms - query->from_ms));
        if (count > QUERY_BUCKETS_MAX) {
            return bind_limit(b, each->place,
                              "the range has %" PRIu64 " such buckets, the limit is %u", count,
                              QUERY_BUCKETS_MAX);
        }
    }
    if (query->verb == VERB_RETENTION || query->verb == VERB_LTV) {
        return bind_period(b, unit, n);
    }
    query->has_each = true;
    query->each_unit = unit;
    query->each_count = n;
    return ERR_OK;
}

/* ---- by ---- */

static enum err_code bind_key_label(struct binder *b, const struct ast_key *ast, struct str *ret)
{
    CLEANUP(buf_freep) struct buf text = {0};
    if (ast->span.end_off > 0) {
        return lex_label(b->ast->text, ast->span.begin_off, ast->span.end_off, b->arena, ret,
                         b->err);
    }
    ast_print_key(ast, &text);
    ERR_TRY(buf_check(&text, b->err));
    return arena_str(b->arena, buf_as_str(&text), ret, b->err);
}

static enum err_code bind_key(struct binder *b, const struct ast_key *ast, struct by_key *ret)
{
    ret->name = ast->field.text;
    if (ast->field.profile == AST_PROFILE_AT_EVENT) {
        ERR_TRY(bind_key_label(b, ast, &ret->name));
    }
    if (ast->is_bucket) {
        ret->edges = ast->edges;
        ret->edge_count = ast->edge_count;
        ERR_TRY(bind_key_label(b, ast, &ret->name));
        return bind_number_field(b, ast->field, "bucket", &ret->field);
    }
    ERR_TRY(bind_one_field(b, ast->field, "a breakdown", &ret->field));
    if (ret->field.kind == FIELD_PROP && ret->field.type == COL_LIST) {
        return bind_fail(b, ast->field.place,
                         "property \"" STR_FMT "\" is a list, and a breakdown needs single values",
                         STR_ARG(ast->field.text));
    }
    return ERR_OK;
}

static enum err_code bind_keys(struct binder *b)
{
    const struct ast_clauses *clauses = &b->ast->clauses;
    struct by_key *keys = NULL;
    ERR_TRY(ARENA_NEW(b->arena, clauses->key_count, &keys, b->err));
    for (uint32_t i = 0; i < clauses->key_count; i++) {
        ERR_TRY(bind_key(b, &clauses->keys[i], &keys[i]));
        for (uint32_t k = 0; k < i; k++) {
            if (str_eq(keys[k].name, keys[i].name)) {
                return bind_fail(b, clauses->keys[i].field.place,
                                 "key \"" STR_FMT "\" is given twice", STR_ARG(keys[i].name));
            }
        }
    }
    b->query->keys = keys;
    b->query->key_count = clauses->key_count;
    return ERR_OK;
}

/* ---- verbs ---- */

static enum err_code bind_events(struct binder *b)
{
    const struct ast_events *ast = &b->ast->events;
    struct field *columns = NULL;
    uint32_t selector = 0;
    ERR_TRY(bind_selector(b, &ast->selector, false, &selector));
    ERR_TRY(ARENA_NEW(b->arena, ast->column_count, &columns, b->err));
    for (uint32_t i = 0; i < ast->column_count; i++) {
        ERR_TRY(bind_one_field(b, ast->columns[i], "a column", &columns[i]));
        for (uint32_t k = 0; k < i; k++) {
            if (str_eq(columns[k].name, columns[i].name)) {
                return bind_fail(b, ast->columns[i].place, "column \"" STR_FMT "\" is given twice",
                                 STR_ARG(columns[i].name));
            }
        }
    }
    b->query->columns = columns;
    b->query->column_count = ast->column_count;
    return ERR_OK;
}

static enum err_code bind_show(struct binder *b)
{
    const struct ast_show_what *show = &b->ast->show;
    uint32_t selector = 0;
    struct ast_name none = {0};
    if (show->kind == AST_SHOW_VALUES) {
        ERR_TRY(bind_one_field(b, show->name, "show values", &b->query->show_field));
    }
    if (show->kind == AST_SHOW_METRICS) {
        b->query->show_metric = show->name.text;
    }
    if (show->kind == AST_SHOW_PROFILES) {
        return bind_call_selectors(b);
    }
    return bind_plain_selector(b, show->kind == AST_SHOW_PROPERTIES ? show->name : none, &selector);
}

static enum err_code bind_verb(struct binder *b)
{
    struct ast_name none = {0};
    uint32_t selector = 0;
    switch (b->ast->verb) {
    case AST_TREND: return bind_trend(b);
    case AST_DISTINCT: return bind_distinct(b);
    case AST_FUNNEL: return bind_funnel(b);
    case AST_RETENTION: return bind_retention(b);
    case AST_EVENTS: return bind_events(b);
    case AST_TIMELINE:
        if (b->ast->timeline.subject.text.len == 0) {
            return bind_fail(b, b->ast->timeline.subject.place, "the id of a user is not empty");
        }
        b->query->subject_id = b->ast->timeline.subject.text;
        return bind_plain_selector(b, none, &selector);
    case AST_SHOW: return bind_show(b);
    case AST_SEQUENCE: return bind_sequence(b);
    case AST_SESSIONS: return bind_sessions(b);
    case AST_PATHS: return bind_paths(b);
    case AST_ATTRIBUTION: return bind_attribution(b);
    case AST_ABSENCE: return bind_absence(b);
    case AST_INTERVALS: return bind_intervals(b);
    case AST_CONDITIONS: return bind_conditions(b);
    case AST_LIFECYCLE:
    case AST_STICKINESS: return bind_habits(b);
    case AST_CHURN: return bind_churn(b);
    case AST_LTV: return bind_ltv(b);
    case AST_SEGMENT: return bind_segment(b);
    case AST_DROP: return bind_drop(b);
    }
    return ERR_OK;
}

static enum verb verb_of(const struct ast_query *ast)
{
    static const enum verb verbs[] = {
        [AST_TREND] = VERB_TREND,
        [AST_DISTINCT] = VERB_DISTINCT,
        [AST_FUNNEL] = VERB_FUNNEL,
        [AST_RETENTION] = VERB_RETENTION,
        [AST_EVENTS] = VERB_EVENTS,
        [AST_TIMELINE] = VERB_TIMELINE,
        [AST_SEQUENCE] = VERB_SEQUENCE,
        [AST_SESSIONS] = VERB_SESSIONS,
        [AST_PATHS] = VERB_PATHS,
        [AST_ATTRIBUTION] = VERB_ATTRIBUTION,
        [AST_ABSENCE] = VERB_ABSENCE,
        [AST_INTERVALS] = VERB_INTERVALS,
        [AST_LIFECYCLE] = VERB_LIFECYCLE,
        [AST_STICKINESS] = VERB_STICKINESS,
        [AST_CONDITIONS] = VERB_CONDITIONS,
        [AST_CHURN] = VERB_CHURN,
        [AST_LTV] = VERB_LTV,
        [AST_SEGMENT] = VERB_SEGMENT,       [AST_DROP] = VERB_DROP_COHORT,
    };
    static const enum verb shows[] = {
        [AST_SHOW_EVENTS] = VERB_SHOW_EVENTS,
        [AST_SHOW_PROPERTIES] = VERB_SHOW_PROPERTIES,
        [AST_SHOW_VALUES] = VERB_SHOW_VALUES,
        [AST_SHOW_SEGMENTS] = VERB_SHOW_SEGMENTS,
        [AST_SHOW_COHORTS] = VERB_SHOW_COHORTS,
        [AST_SHOW_METRICS] = VERB_SHOW_METRICS,
        [AST_SHOW_PROFILES] = VERB_SHOW_PROFILES,
    };
    return ast->verb == AST_SHOW ? shows[ast->show.kind] : verbs[ast->verb];
}

/* ---- order by, limits ---- */

struct column_names {
    struct str *items;
    uint32_t count;
};

static void add_words(struct column_names *names, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        names->items[names->count++] = str_of(words[i]);
    }
}

static void add_keys(struct column_names *names, const struct bound_query *query)
{
    for (uint32_t i = 0; i < query->key_count; i++) {
        names->items[names->count++] = query->keys[i].name;
    }
}

/* The columns of the answer, in order, as LANGUAGE.md lists them by verb. */
static enum err_code column_names(struct binder *b, struct column_names *ret)
{
    const struct bound_query *query = b->query;
    ret->count = 0;
    ERR_TRY(ARENA_NEW(b->arena, (size_t)query->key_count + query->measure_count + 16, &ret->items,
                      b->err));
    switch (query->verb) {
    case VERB_TREND:
    case VERB_DISTINCT:
        if (query->has_each) {
            ret->items[ret->count++] = STR("time");
        }
        add_keys(ret, query);
        for (uint32_t i = 0; i < query->measure_count; i++) {
            ret->items[ret->count++] = query->measures[i].name;
        }
        break;
    case VERB_FUNNEL: ret->count = bind_funnel_columns(query, ret->items); break;
    case VERB_RETENTION:
    case VERB_LTV:
    case VERB_CHURN: ret->count = bind_retention_columns(query, ret->items); break;
    case VERB_SEQUENCE:
    case VERB_SESSIONS:
    case VERB_PATHS:
    case VERB_ATTRIBUTION:
    case VERB_ABSENCE:
    case VERB_INTERVALS: ret->count = bind_journey_columns(query, ret->items); break;
    case VERB_CONDITIONS:
        if (query->is_list) {
            ret->items[ret->count++] = query->per != NULL ? query->per->name : STR("user_id");
            ret->items[ret->count++] = STR("met");
        } else {
            static const char *const counted[] = {"condition", "event", "users", "rate"};
            add_keys(ret, query);
            add_words(ret, counted, COUNT_OF(counted));
        }
        break;
    case VERB_LIFECYCLE:
    case VERB_STICKINESS: return bind_habits_columns(b, ret->items, &ret->count);
    default: break;
    }
    return ERR_OK;
}

/* Two columns of one name could not be told apart, least of all by `order by`. */
static enum err_code check_names(struct binder *b)
{
    struct column_names names;
    if (b->query->verb != VERB_TREND) {
        return ERR_OK;
    }
    ERR_TRY(column_names(b, &names));
    uint32_t first_measure = names.count - b->query->measure_count;
    for (uint32_t m = first_measure; m < names.count; m++) {
        for (uint32_t i = 0; i < first_measure; i++) {
            if (str_eq(names.items[i], names.items[m])) {
                return bind_fail(b, b->ast->trend.measures[m - first_measure].place,
                                 "the answer would have two columns \"" STR_FMT
                                 "\"; give the measure another name with `as`",
                                 STR_ARG(names.items[m]));
            }
        }
    }
    return ERR_OK;
}

static enum err_code bind_order(struct binder *b)
{
    const struct ast_order *order = &b->ast->clauses.order;
    struct column_names names;
    if (order->column.place.line == 0) {
        return ERR_OK;
    }
    if (b->query->verb == VERB_EVENTS || b->query->verb == VERB_TIMELINE) {
        /* rows are ordered by any field, shown or not */
        b->query->has_order = true;
        b->query->order.is_descending = order->is_descending;
        return bind_one_field(b, order->column, "\"order by\"", &b->query->order_field);
    }
    ERR_TRY(column_names(b, &names));
    for (uint32_t i = 0; i < names.count; i++) {
        if (str_eq(names.items[i], order->column.text)) {
            uint32_t first = b->query->compare.name.len > 0 ? 1 : 0; /* behind "series" */
            b->query->has_order = true;
            b->query->order = (struct order_by){first + i, order->is_descending};
            return ERR_OK;
        }
    }
    struct str list = {0};
    struct str near = {0};
    for (uint32_t i = 0; i < names.count && list.len < 150; i++) {
        ERR_TRY(arena_printf(b->arena, &list, b->err, STR_FMT "%s" STR_FMT, STR_ARG(list),
                             i == 0 ? "" : ", ", STR_ARG(names.items[i])));
    }
    if (names_nearest(names.items, names.count, order->column.text, &near)) {
        return bind_fail(b, order->column.place,
                         "the answer has no column \"" STR_FMT "\"; did you mean \"" STR_FMT "\"?",
                         STR_ARG(order->column.text), STR_ARG(near));
    }
    return bind_fail(b, order->column.place,
                     "the answer has no column \"" STR_FMT "\", it has " STR_FMT,
                     STR_ARG(order->column.text), STR_ARG(list));
}

static void bind_limits(struct binder *b)
{
    const struct ast_clauses *clauses = &b->ast->clauses;
    struct bound_query *query = b->query;
    bool is_rows = query->verb == VERB_EVENTS || query->verb == VERB_TIMELINE;
    bool is_why = query->is_why; /* its rows are not those that the clauses are about */
    query->has_top = clauses->top.place.line != 0 && !is_why;
    query->top = (uint32_t)clauses->top.value;
    query->has_other = clauses->has_other;
    query->has_limit = (clauses->limit.place.line != 0 && !is_why) || is_rows;
    query->is_limit_given = clauses->limit.place.line != 0;
    query->limit = clauses->limit.value;
    if (clauses->limit.place.line == 0 && is_rows) {
        query->limit = query->verb == VERB_EVENTS ? 100 : 1000;
    }
}

/* ---- the whole ---- */

static enum err_code bind_all(struct binder *b)
{
    struct bound_query *query = b->query;
    query->verb = verb_of(b->ast);
    query->is_explain = b->ast->is_explain;
    query->is_profile = b->ast->is_profile;
    query->text = b->request->text;
    query->now_ms = b->request->now_ms;
    query->week_start = b->ast->clauses.week_start;
    if (query->now_ms < CIVIL_TS_MIN || query->now_ms > CIVIL_TS_MAX) {
        return err_set(b->err, ERR_INVALID, "now = %" PRId64 " ms lies outside of the calendar",
                       query->now_ms);
    }
    struct bind_cohort_link own = {b->ast->clauses.save.text, b->cohorts};
    if (own.name.len > 0 && !b->ast->clauses.is_static) {
        b->cohorts = &own; /* what it will be made of cannot be made of it */
    }
    ERR_TRY(bind_zone(b)); /* first: all other times are read in it */
    ERR_TRY(bind_range(b, &b->ast->clauses.range));
    ERR_TRY(bind_verb(b));
    if (b->ast->clauses.where != NULL) {
        ERR_TRY(bind_pred(b, b->ast->clauses.where, &query->where));
        ERR_TRY(bind_people_terms(b));
    }
    ERR_TRY(bind_people_clauses(b));
    ERR_TRY(bind_keys(b));
    ERR_TRY(bind_each(b));
    ERR_TRY(bind_per(b));
    ERR_TRY(bind_churn_end(b));
    bind_funnel_end(b);
    ERR_TRY(bind_cell(b));
    ERR_TRY(bind_why(b));
    ERR_TRY(bind_compare(b));
    ERR_TRY(bind_past(b));
    ERR_TRY(check_names(b));
    ERR_TRY(bind_order(b));
    bind_limits(b);
    query->selectors = b->selectors;
    query->selector_count = b->selector_count;
    query->aggs = b->aggs;
    query->agg_count = b->agg_count;
    query->warnings = b->warnings;
    query->warning_count = b->warning_count;
    query->traits = b->traits;
    query->trait_count = b->trait_count;
    query->trait_keys = b->trait_keys;
    query->trait_key_count = b->trait_key_count;
    query->uses = b->uses;
    query->use_count = b->use_count;
    return ERR_OK;
}

/* Whether the inner query is bound or not: what the arena cannot free is the outer one's to free. */
static void take_owned(struct binder *b, struct bound_owner *inner)
{
    struct bound_regex **regex = &b->owner->regexes;
    struct bound_people **people = &b->owner->people;
    while (*regex != NULL) {
        regex = &(*regex)->next;
    }
    while (*people != NULL) {
        people = &(*people)->next;
    }
    *regex = TAKE(inner->regexes);
    *people = TAKE(inner->people);
}

enum err_code bind_inner(struct binder *b, const struct query_request *request,
                         const struct ast_query *ast, struct bound_query **ret)
{
    struct binder inner = {.request = request,
                           .ast = ast,
                           .snapshot = b->snapshot,
                           .io = b->io,
                           .arena = b->arena,
                           .err = b->err,
                           .cohorts = b->cohorts};
    ERR_TRY(ARENA_NEW(b->arena, 1, &inner.owner, b->err));
    inner.query = &inner.owner->query;
    enum err_code code = bind_all(&inner);
    take_owned(b, inner.owner);
    ERR_TRY(code);
    for (uint32_t i = 0; i < inner.warning_count && b->warning_count < BIND_WARNINGS_MAX; i++) {
        ERR_TRY(GROW(b->arena, &b->warnings, b->warning_count, &b->warning_cap, b->err));
        b->warnings[b->warning_count++] = inner.warnings[i];
    }
    *ret = inner.query;
    return ERR_OK;
}

/* What the names of metrics stood for when the question was asked: its name among kept answers. */
static enum err_code bind_expansion(struct binder *b)
{
    CLEANUP(buf_freep) struct buf text = {0};
    if (!b->ast->has_metrics) {
        return ERR_OK;
    }
    ast_print(b->ast, &text);
    ERR_TRY(buf_check(&text, b->err));
    return arena_str(b->arena, buf_as_str(&text), &b->query->expansion, b->err);
}

/* With the metrics of the data set, where it has none of its own. */
static enum err_code own_request(const struct query_request *request,
                                 const struct snapshot *snapshot, struct arena *arena,
                                 struct query_request **ret, struct err *err)
{
    struct query_request *own = NULL;
    struct metric_finder *finder = NULL;
    ERR_TRY(ARENA_NEW(arena, 1, &own, err));
    ERR_TRY(ARENA_NEW(arena, 1, &finder, err));
    *own = *request;
    if (own->metrics == NULL && snapshot->dataset != NULL) {
        *finder = metrics_of(snapshot->dataset);
        own->metrics = finder;
    }
    *ret = own;
    return ERR_OK;
}

enum err_code query_read(const struct query_request *request, const struct snapshot *snapshot,
                         struct arena *arena, const struct ast_query **ret, struct err *err)
{
    struct query_request *own = NULL;
    ERR_TRY(own_request(request, snapshot, arena, &own, err));
    return query_parse(own, arena, ret, err);
}

enum err_code query_bind(const struct query_request *request, const struct snapshot *snapshot,
                         struct io *io, struct arena *arena, const struct bound_query **ret,
                         struct err *err)
{
    const struct ast_query *ast = NULL;
    ERR_TRY(query_read(request, snapshot, arena, &ast, err));
    return query_bind_read(request, ast, snapshot, io, arena, ret, err);
}

enum err_code query_bind_read(const struct query_request *request, const struct ast_query *ast,
                              const struct snapshot *snapshot, struct io *io, struct arena *arena,
                              const struct bound_query **ret, struct err *err)
{
    struct query_request *own = NULL;
    ERR_TRY(own_request(request, snapshot, arena, &own, err));
    struct binder b = {
        .request = own, .ast = ast, .snapshot = snapshot, .io = io, .arena = arena, .err = err};
    ERR_TRY(ARENA_NEW(arena, 1, &b.owner, err));
    b.query = &b.owner->query;
    ERR_TRY(bind_expansion(&b));
    if (bind_all(&b) != ERR_OK) {
        query_unbind(b.query);
        return err->code;
    }
    *ret = b.query;
    return ERR_OK;
}

void query_unbind(const struct bound_query *query)
{
    if (query == NULL) {
        return;
    }
    /* query_bind made it: the query is the first member of its owner */
    const struct bound_owner *owner = (const struct bound_owner *)query;
    for (struct bound_regex *node = owner->regexes; node != NULL; node = node->next) {
        regfree(&node->regex);
    }
    for (struct bound_people *node = owner->people; node != NULL; node = node->next) {
        people_done(&node->people);
    }
}
