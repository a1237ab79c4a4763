/* query/bind_compare.c - the second series of `compare`.
 *
 * The period before a range of whole civil days, weeks or months is as many of these, whatever hours they have; before any
 * other range it is as many milliseconds. A year before moves both ends by their civil date.
 */
#include "query/bind_int.h"

static bool is_midnight(const struct binder *b, int64_t ts_ms)
{
    struct civil_grid day;
    struct err ignored;
    return civil_grid_init(b->query->zone, CIVIL_DAY, 1, CIVIL_MONDAY, &day, &ignored) == ERR_OK &&
           civil_floor(&day, ts_ms) == ts_ms;
}

/* Whole civil days between two midnights. */
static int64_t days_between(const struct binder *b, int64_t from_ms, int64_t to_ms)
{
    int64_t days = (to_ms - from_ms) / 86400000;
    while (civil_add(b->query->zone, CIVIL_DAY, days, from_ms) < to_ms) {
        days++;
    }
    while (civil_add(b->query->zone, CIVIL_DAY, days, from_ms) > to_ms) {
        days--;
    }
    return days;
}

static void previous_period(struct binder *b, struct compare *compare)
{
    const struct ast_range *range = &b->ast->clauses.range;
    const struct bound_query *query = b->query;
    enum duration_unit unit = range->last.duration.unit;
    compare->to_ms = query->from_ms;
    if (range->kind == AST_RANGE_LAST && unit == UNIT_MO) {
        int64_t months = (int64_t)range->last.duration.count + (range->is_including_today ? 1 : 0);
        compare->from_ms = civil_add(query->zone, CIVIL_MONTH, -months, query->from_ms);
    } else if (is_midnight(b, query->from_ms) && is_midnight(b, query->to_ms)) {
        compare->from_ms = civil_add(
            query->zone, CIVIL_DAY, -days_between(b, query->from_ms, query->to_ms), query->from_ms);
    } else {
        compare->from_ms = query->from_ms - (query->to_ms - query->from_ms);
    }
}

enum err_code bind_compare(struct binder *b)
{
    const struct ast_clauses *clauses = &b->ast->clauses;
    struct bound_query *query = b->query;
    struct compare *compare = &query->compare;
    if (clauses->compare == AST_COMPARE_NONE) {
        return ERR_OK;
    }
    if (query->cell != NULL) {
        return bind_fail(b, clauses->compare_place, "\"users of\" asks about one series");
    }
    if (clauses->compare == AST_COMPARE_COHORT) {
        compare->name = clauses->compare_cohort.text;
        return bind_cohort(b, clauses->compare_cohort, &compare->people);
    }
    /* what lies between them is moved as well, and must stay in the calendar */
    bool has_room = query->from_ms > CIVIL_TS_MIN && query->to_ms < CIVIL_TS_MAX &&
                    query->from_ms - CIVIL_TS_MIN > query->to_ms - query->from_ms &&
                    query->from_ms - CIVIL_TS_MIN > INT64_C(366) * 86400000;
    if (!query->has_range || !has_room) {
        return bind_fail(b, clauses->compare_place,
                         "\"compare previous\" needs a range with a begin and an end");
    }
    compare->has_range = true;
    if (clauses->compare == AST_COMPARE_PERIOD) {
        compare->name = STR("previous period");
        previous_period(b, compare);
    } else {
        compare->name = STR("previous year");
        compare->from_ms = civil_add(query->zone, CIVIL_YEAR, -1, query->from_ms);
        compare->to_ms = civil_add(query->zone, CIVIL_YEAR, -1, query->to_ms);
    }
    return ERR_OK;
}
