/* query/parse_absence.c - what did not happen, and for how long what was going on went on.
 *
 *     absence SEL -> SEL within 5m   |   absence SEL gap 10m             [ list users ]
 *     intervals SEL -> SEL  [ measure utilisation, peak ]  [ longest 24h ]
 */
#include "query/parse_int.h"

#include "query/journey_measures.h"

enum err_code verb_absence_parse(struct parser *p)
{
    struct ast_absence *absence = &p->query->absence;
    ERR_TRY(parse_selector(p, &absence->first));
    absence->has_second = parse_accept(p, TOK_ARROW);
    return absence->has_second ? parse_selector(p, &absence->second) : ERR_OK;
}

enum err_code clause_absence_within(struct parser *p)
{
    return parse_window(p, "\"within\"", &p->query->absence.within);
}

enum err_code parse_check_absence(struct parser *p)
{
    const struct ast_absence *absence = &p->query->absence;
    if (absence->has_second && absence->within.place.line == 0) {
        return parse_fail(p, p->query->place,
                          "absence needs to know when it is one: \"within 5m\"");
    }
    if (!absence->has_second && absence->gap.place.line == 0) {
        return parse_fail(p, p->query->place,
                          "absence needs what does not follow, \"-> SEL within 5m\", or how long a "
                          "silence is one, \"gap 10m\"");
    }
    const struct ast_duration *other = absence->has_second ? &absence->gap : &absence->within;
    if (other->place.line != 0) {
        return parse_fail(p, other->place,
                          absence->has_second
                              ? "\"gap\" goes with one event, \"within\" with two"
                              : "\"within\" goes with two events, \"gap\" with one");
    }
    return ERR_OK;
}

enum err_code verb_intervals_parse(struct parser *p)
{
    ERR_TRY(parse_selector(p, &p->query->intervals.start));
    ERR_TRY(parse_need(p, TOK_ARROW, "\"->\" and the event that ends an interval"));
    return parse_selector(p, &p->query->intervals.end);
}

enum err_code clause_measure(struct parser *p)
{
    struct ast_intervals *intervals = &p->query->intervals;
    return parse_words(p, "a measure of intervals (utilisation, peak, online_ms, ...)",
                       interval_measure_words, INTERVAL_MEASURES, &intervals->measures,
                       &intervals->measure_count);
}

enum err_code clause_longest(struct parser *p)
{
    return parse_window(p, "\"longest\"", &p->query->intervals.longest);
}
