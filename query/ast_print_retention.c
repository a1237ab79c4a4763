/* query/ast_print_retention.c - the canonical text of retention, ltv and churn. */
#include "query/ast_print_int.h"

#include "storage/base/buf.h"

#include <inttypes.h>

static void print_mode(const struct ast_retention *retention, struct buf *out)
{
    static const char *const modes[] = {[AST_RETURN_EXACT] = "",
                                        [AST_RETURN_UNBOUNDED] = " unbounded",
                                        [AST_RETURN_STREAK] = " streak",
                                        [AST_RETURN_BRACKET] = "",
                                        [AST_RETURN_UNTIL] = " until"};
    buf_z(out, modes[retention->mode]);
    for (uint32_t i = 0; i < retention->bracket_count; i++) {
        const struct ast_bracket *bracket = &retention->brackets[i];
        buf_printf(out, "%s%" PRIu64, i == 0 ? " bracket (" : ", ", bracket->first);
        if (bracket->last != bracket->first) {
            buf_printf(out, "-%" PRIu64, bracket->last);
        }
    }
    buf_z(out, retention->bracket_count > 0 ? ")" : "");
}

static void print_value(const struct ast_retention *retention, struct buf *out)
{
    if (retention->value.place.line == 0) {
        return;
    }
    buf_z(out, retention->is_value_mean ? " value avg(" : " value sum(");
    ast_print_field(retention->value.text, out);
    if (retention->has_value_selector) {
        buf_z(out, " of ");
        ast_print_selector(&retention->value_selector, out);
    }
    buf_u8(out, ')');
}

void ast_print_retention(const struct ast_query *query, struct buf *out)
{
    static const char *const starts[] = {"", " first_ever unfiltered", " first", " recurring"};
    const struct ast_retention *retention = &query->retention;
    buf_u8(out, ' ');
    ast_print_selector(&retention->start, out);
    if (query->verb == AST_RETENTION || retention->has_back) {
        buf_z(out, " -> ");
        ast_print_selector(&retention->back, out);
    }
    print_value(retention, out);
    ast_print_each("each", &query->clauses.each, out);
    ast_print_count("for", retention->periods, out);
    buf_z(out, starts[retention->from]);
    buf_z(out, retention->is_rolling ? " rolling" : "");
    print_mode(retention, out);
    ast_print_count("at least", retention->at_least, out);
    buf_z(out, retention->is_average ? " average" : "");
    if (retention->discount_place.line != 0) {
        buf_z(out, " discount ");
        num_format(retention->discount, out);
    }
}

void ast_print_churn(const struct ast_churn *churn, struct buf *out)
{
    buf_u8(out, ' ');
    ast_print_duration(churn->silence.duration, out);
    buf_z(out, " of ");
    ast_print_selector(&churn->selector, out);
    buf_z(out, churn->is_last_seen ? " last_seen" : "");
}
