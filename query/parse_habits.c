/* query/parse_habits.c
 *
 *     lifecycle of SEL  each week                                   [ at least N events ]
 *     stickiness of SEL each day  [ over month ]  [ cumulative ]    [ at least N events ]
 *     conditions SEL, SEL, ...                                      [ list users ]
 */
#include "query/parse_int.h"

#include "query/bound.h"

enum err_code verb_habits_parse(struct parser *p)
{
    ERR_TRY(parse_need_word(p, "of"));
    return parse_selector(p, &p->query->habits.selector);
}

enum err_code clause_habits_at_least(struct parser *p)
{
    ERR_TRY(parse_need_word(p, "least"));
    ERR_TRY(parse_count(p, "at least", 1, UINT32_MAX, &p->query->habits.at_least));
    (void)parse_accept_word(p, "events");
    return ERR_OK;
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
