/* query/parse_habits.c
 *
 *     lifecycle of SEL  each week
 *     stickiness of SEL each day  [ over month ]  [ cumulative ]    [ at least N events | at most N events | exactly N events ]
 *     stickiness dau_mau of SEL   [ rolling 28d ]
 *     conditions SEL, SEL, ...                                      [ list users ]
 */
#include "query/parse_int.h"

#include "query/bound.h"

enum err_code verb_habits_parse(struct parser *p)
{
    ERR_TRY(parse_need_word(p, "of"));
    return parse_selector(p, &p->query->habits.selector);
}

enum err_code verb_stickiness_parse(struct parser *p)
{
    p->query->habits.is_dau_mau = parse_accept_word(p, "dau_mau");
    return verb_habits_parse(p);
}

static enum err_code parse_events(struct parser *p, enum ast_events_op op, const char *clause)
{
    p->query->habits.events_op = op;
    ERR_TRY(parse_count(p, clause, 1, PARSE_LIMIT_MAX, &p->query->habits.events));
    (void)parse_accept_word(p, "events");
    return ERR_OK;
}

enum err_code clause_habits_at_least(struct parser *p)
{
    ERR_TRY(parse_need_word(p, "least"));
    return parse_events(p, AST_EVENTS_AT_LEAST, "at least");
}

enum err_code clause_habits_at_most(struct parser *p)
{
    ERR_TRY(parse_need_word(p, "most"));
    return parse_events(p, AST_EVENTS_AT_MOST, "at most");
}

enum err_code clause_habits_exactly(struct parser *p)
{
    return parse_events(p, AST_EVENTS_EXACTLY, "exactly");
}

enum err_code clause_habits_rolling(struct parser *p)
{
    struct ast_duration *rolling = &p->query->habits.rolling;
    ERR_TRY(parse_duration(p, "\"rolling\"", rolling));
    bool is_days = rolling->duration.unit == UNIT_D && rolling->duration.count >= 1 &&
                   rolling->duration.count <= PARSE_ROLLING_DAYS_MAX;
    return is_days ? ERR_OK
                   : parse_fail(p, rolling->place,
                                "\"rolling\" of dau_mau takes 1d to %ud, as in \"rolling 28d\"",
                                PARSE_ROLLING_DAYS_MAX);
}

/* dau_mau is of users, days and months: none of the histogram's words go with it. */
enum err_code parse_check_stickiness(struct parser *p)
{
    const struct ast_habits *habits = &p->query->habits;
    const struct ast_clauses *clauses = &p->query->clauses;
    if (!habits->is_dau_mau) {
        return habits->rolling.place.line == 0
                   ? ERR_OK
                   : parse_fail(p, habits->rolling.place,
                                "\"rolling\" goes with \"stickiness dau_mau of\"");
    }
    if (clauses->each.place.line != 0 || habits->over.place.line != 0) {
        return parse_fail(p,
                          clauses->each.place.line != 0 ? clauses->each.place : habits->over.place,
                          "dau_mau is of days over civil months, or \"rolling 28d\"");
    }
    if (habits->is_cumulative || habits->events.place.line != 0) {
        return parse_fail(p, p->query->place,
                          "\"cumulative\" and numbers of events go with the histogram, "
                          "\"stickiness of\"");
    }
    if (clauses->key_count > 0) {
        return parse_fail(p, clauses->by, "\"by\" goes with the histogram, \"stickiness of\"");
    }
    return clauses->per.place.line == 0 ? ERR_OK
                                        : parse_fail(p, clauses->per.place, "dau_mau is of users");
}

enum err_code clause_over_unit(struct parser *p)
{
    return parse_each(p, &p->query->habits.over);
}

enum err_code clause_cumulative(struct parser *p)
{
    p->query->habits.is_cumulative = true;
    return ERR_OK;
}

enum err_code verb_conditions_parse(struct parser *p)
{
    struct ast_selector *items = NULL;
    uint32_t count = 0;
    uint32_t cap = 0;
    do {
        if (count == QUERY_STEPS_MAX) {
            return parse_limit(p, p->cur.place, "more than %u conditions", QUERY_STEPS_MAX);
        }
        ERR_TRY(GROW(p->arena, &items, count, &cap, p->err));
        ERR_TRY(parse_selector(p, &items[count]));
        count++;
    } while (parse_accept(p, TOK_COMMA));
    p->query->conditions = (struct ast_conditions){items, count};
    return ERR_OK;
}
