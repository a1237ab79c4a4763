/* query/bind_retention.c - retention, ltv, churn. */
#include "query/bind_int.h"

/* ---- retention ---- */

/* Elapsed time: a day is 24 hours, a week 7 days, a month 30, a quarter 90, a year 365. */
static uint64_t unit_ms(enum civil_unit unit)
{
    static const uint64_t hours[] = {
        [CIVIL_HOUR] = 1,        [CIVIL_DAY] = 24,          [CIVIL_WEEK] = 7 * 24,
        [CIVIL_MONTH] = 30 * 24, [CIVIL_QUARTER] = 90 * 24, [CIVIL_YEAR] = 365 * 24,
    };
    return hours[unit] * 3600000;
}

enum err_code bind_period(struct binder *b, enum civil_unit unit, uint32_t count)
{
    struct retention *retention = &b->query->retention;
    if (unit < CIVIL_HOUR) {
        return bind_fail(b, b->ast->clauses.each.place,
                         "a period of retention is an hour or longer");
    }
    retention->unit = unit;
    retention->unit_count = count;
    if (b->ast->retention.is_rolling) {
        retention->rolling_ms = unit_ms(unit) * count;
    }
    return ERR_OK;
}

/* `for N`, or as far as the brackets go. */
static enum err_code bind_periods(struct binder *b)
{
    const struct ast_retention *ast = &b->ast->retention;
    struct retention *retention = &b->query->retention;
    struct retention_bracket *brackets = NULL;
    uint64_t last = ast->periods.value;
    ERR_TRY(ARENA_NEW(b->arena, ast->bracket_count, &brackets, b->err));
    for (uint32_t i = 0; i < ast->bracket_count; i++) {
        brackets[i] = (struct retention_bracket){(uint32_t)ast->brackets[i].first,
                                                 (uint32_t)ast->brackets[i].last};
        last = ast->brackets[i].last > last ? ast->brackets[i].last : last;
    }
    retention->brackets = brackets;
    retention->bracket_count = ast->bracket_count;
    retention->period_count = (uint32_t)last + 1;
    return ERR_OK;
}

enum err_code retention_bracket_text(const struct retention_bracket *bracket, struct arena *arena,
                                     struct str *ret, struct err *err)
{
    return bracket->first == bracket->last
               ? arena_printf(arena, ret, err, "%u", bracket->first)
               : arena_printf(arena, ret, err, "%u-%u", bracket->first, bracket->last);
}

/* Whose property is summed up; without a selector, of any event. */
static enum err_code bind_value(struct binder *b)
{
    const struct ast_retention *ast = &b->ast->retention;
    struct retention *retention = &b->query->retention;
    if (ast->value.place.line == 0) {
        return ERR_OK;
    }
    retention->value = ast->is_value_mean ? RETENTION_MEAN : RETENTION_SUM;
    retention->value_key.name = ast->value.text;
    ERR_TRY(bind_number_field(b, ast->value, "\"value\"", &retention->value_key.field));
    return ast->has_value_selector
               ? bind_selector(b, &ast->value_selector, false, &retention->value_selector)
               : bind_plain_selector(b, (struct ast_name){0}, &retention->value_selector);
}

enum err_code bind_retention(struct binder *b)
{
    static const enum retention_start starts[] = {
        [AST_FIRST_EVER] = RETENTION_FIRST_EVER,
        [AST_FIRST_EVER_UNFILTERED] = RETENTION_FIRST_EVER_UNFILTERED,
        [AST_FIRST] = RETENTION_FIRST,
        [AST_RECURRING] = RETENTION_RECURRING,
    };
    static const enum retention_mode modes[] = {
        [AST_RETURN_EXACT] = RETENTION_EXACT,   [AST_RETURN_UNBOUNDED] = RETENTION_UNBOUNDED,
        [AST_RETURN_STREAK] = RETENTION_STREAK, [AST_RETURN_BRACKET] = RETENTION_BRACKET,
        [AST_RETURN_UNTIL] = RETENTION_UNTIL,
    };
    const struct ast_retention *ast = &b->ast->retention;
    struct retention *retention = &b->query->retention;
    ERR_TRY(bind_selector(b, &ast->start, false, &retention->start_selector));
    if (b->query->verb == VERB_LTV && !ast->has_back) {
        ERR_TRY(bind_plain_selector(b, (struct ast_name){0}, &retention->return_selector));
    } else {
        ERR_TRY(bind_selector(b, &ast->back, false, &retention->return_selector));
    }
    retention->start = starts[ast->from];
    retention->mode = modes[ast->mode];
    ERR_TRY(bind_periods(b));
    retention->at_least = ast->at_least.place.line != 0 ? (uint32_t)ast->at_least.value : 1;
    retention->is_average = ast->is_average;
    return bind_value(b);
}

enum err_code bind_ltv(struct binder *b)
{
    b->query->retention.discount = num_to_double(b->ast->retention.discount);
    return bind_retention(b);
}

/* ---- churn ---- */

/* The begin of the local day that is `days` before the one that begins at ts_ms. Days that never were do not count. */
static int64_t days_before(const struct civil_grid *day, int64_t ts_ms, uint32_t days)
{
    for (uint32_t i = 0; i < days && ts_ms > CIVIL_TS_MIN; i++) {
        ts_ms = civil_floor(day, ts_ms - 1);
    }
    return ts_ms;
}

static bool is_midnight(const struct civil_grid *day, int64_t ts_ms)
{
    return civil_floor(day, ts_ms) == ts_ms;
}

/* The window is whole civil days, and no fewer than the silence is long. */
static enum err_code bind_churn_window(struct binder *b, const struct civil_grid *day)
{
    const struct ast_range *range = &b->ast->clauses.range;
    const struct bound_query *query = b->query;
    struct place place = range->place.line != 0 ? range->place : b->ast->place;
    if (query->from_ms == INT64_MIN || query->to_ms == INT64_MAX) {
        return bind_fail(
            b, place, "churn needs its window, \"last 30d\" or from and to; or say \"last_seen\"");
    }
    if (!is_midnight(day, query->from_ms) || !is_midnight(day, query->to_ms)) {
        return bind_fail(b, place, "the window of churn begins and ends with a day");
    }
    if (query->churn.base_begin_ms <= CIVIL_TS_MIN) {
        return bind_fail(b, place, "the days before the window lie beyond the calendar");
    }
    int64_t first_end_ms = days_before(day, query->to_ms, query->churn.days);
    return first_end_ms >= query->from_ms
               ? ERR_OK
               : bind_fail(b, b->ast->churn.silence.place,
                           "the window is shorter than the %u days of silence that make churn",
                           query->churn.days);
}

enum err_code bind_churn(struct binder *b)
{
    const struct ast_churn *ast = &b->ast->churn;
    struct bound_query *query = b->query;
    struct churn *churn = &query->churn;
    struct civil_grid day;

    ERR_TRY(civil_grid_init(query->zone, CIVIL_DAY, 1, CIVIL_MONDAY, &day, b->err));
    ERR_TRY(bind_selector(b, &ast->selector, false, &churn->selector));
    churn->days =
        (uint32_t)ast->silence.duration.count * (ast->silence.duration.unit == UNIT_W ? 7 : 1);
    churn->is_last_seen = ast->is_last_seen;
    query->is_list = b->ast->clauses.is_list;
    ERR_TRY(bind_habit_keys(b));
    if (churn->is_last_seen) {
        /* N days ago or earlier: before the begin of the day that is N - 1 days ago */
        churn->seen_before_ms =
            days_before(&day, civil_floor(&day, query->now_ms), churn->days - 1);
        return ERR_OK;
    }
    if (query->from_ms != INT64_MIN) {
        churn->base_begin_ms = days_before(&day, query->from_ms, churn->days);
    }
    return bind_churn_window(b, &day);
}

/* With `each` every bucket is a window of its own. */
enum err_code bind_churn_end(struct binder *b)
{
    const struct bound_query *query = b->query;
    const struct ast_each *each = &b->ast->clauses.each;
    struct civil_grid day;
    struct civil_grid grid;
    int64_t *begins = NULL;
    uint32_t count = 0;
    if (query->verb != VERB_CHURN || !query->has_each) {
        return ERR_OK;
    }
    if (query->churn.is_last_seen || b->ast->clauses.is_list) {
        return bind_fail(b, each->place, "\"%s\" has no windows for \"each\" to tell apart",
                         query->churn.is_last_seen ? "last_seen" : "list users");
    }
    if (query->each_unit < CIVIL_DAY) {
        return bind_fail(b, each->place, "the windows of churn are whole days");
    }
    ERR_TRY(civil_grid_init(query->zone, CIVIL_DAY, 1, CIVIL_MONDAY, &day, b->err));
    ERR_TRY(civil_grid_init(query->zone, query->each_unit, query->each_count,
                            (enum civil_weekday)query->week_start, &grid, b->err));
    ERR_TRY(civil_buckets(&grid, query->from_ms, query->to_ms, QUERY_BUCKETS_MAX, b->arena, &begins,
                          &count, b->err));
    for (uint32_t w = 0; w < count; w++) {
        int64_t begin_ms = begins[w] > query->from_ms ? begins[w] : query->from_ms;
        int64_t end_ms = begins[w + 1] < query->to_ms ? begins[w + 1] : query->to_ms;
        if (days_before(&day, end_ms, query->churn.days) < begin_ms) {
            char text[CIVIL_TEXT_BYTES];
            return bind_fail(
                b, each->place,
                "the window from " STR_FMT " is shorter than the %u days of silence that "
                "make churn",
                STR_ARG(civil_format_date(query->zone, begin_ms, text)), query->churn.days);
        }
    }
    return ERR_OK;
}

/* ---- columns ---- */

static void add_all(struct str *items, uint32_t *count, const char *const *words, size_t word_count)
{
    for (size_t i = 0; i < word_count; i++) {
        items[(*count)++] = str_of(words[i]);
    }
}

static void add_cohort_columns(const struct bound_query *query, struct str *items, uint32_t *count)
{
    static const char *const users[] = {"users", "rate"};
    static const char *const money[] = {"active", "revenue", "arpu", "survival", "ltv"};
    const struct retention *retention = &query->retention;
    bool is_ltv = query->verb == VERB_LTV;
    if (!retention->is_average) {
        items[(*count)++] = STR("cohort");
    }
    for (uint32_t i = 0; i < query->key_count; i++) {
        items[(*count)++] = query->keys[i].name;
    }
    items[(*count)++] = STR("period");
    if (retention->is_average) {
        items[(*count)++] = STR("cohorts");
    }
    items[(*count)++] = STR("size");
    add_all(items, count, is_ltv ? money : users, is_ltv ? COUNT_OF(money) : COUNT_OF(users));
    if (!retention->is_average) {
        items[(*count)++] = STR("complete");
    }
    if (!is_ltv && retention->value != RETENTION_NO_VALUE) {
        items[(*count)++] = STR("value");
    }
}

uint32_t bind_retention_columns(const struct bound_query *query, struct str *items)
{
    static const char *const churn[] = {"base", "churned", "rate"};
    uint32_t count = 0;

    if (query->verb != VERB_CHURN) {
        add_cohort_columns(query, items, &count);
    } else if (query->is_list) {
        items[count++] = query->per != NULL ? query->per->name : STR("user_id");
        items[count++] = STR("last_seen");
    } else {
        if (query->has_each) {
            items[count++] = STR("time");
        }
        for (uint32_t i = 0; i < query->key_count; i++) {
            items[count++] = query->keys[i].name;
        }
        add_all(items, &count, churn, COUNT_OF(churn));
    }
    return count;
}
