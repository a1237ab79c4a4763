/* query/parse_habits.c
 *
 *     lifecycle of SEL  each week                                   [ at least N events ]
 *     stickiness of SEL each day  [ over month ]  [ cumulative ]    [ at least N events ]
 */
#include "query/parse_int.h"

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
