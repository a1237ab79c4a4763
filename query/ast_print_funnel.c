/* query/ast_print_funnel.c - the canonical text of a funnel: steps and its own clauses. */
#include "query/ast_print_int.h"

#include "storage/base/buf.h"

#include <inttypes.h>

static void print_step(const struct ast_step *step, struct buf *out)
{
    static const char *const firsts[] = {"", "first ", "first matching "};
    buf_z(out, firsts[step->first]);
    ast_print_selector(&step->selector, out);
    buf_z(out, step->is_optional ? "?" : step->is_anchored ? "!" : "");
    if (step->limit.place.line != 0) {
        buf_z(out, " (");
        ast_print_duration(step->limit.duration, out);
        buf_u8(out, ')');
    }
}

static void print_ban(const struct ast_ban *ban, struct buf *out)
{
    buf_z(out, ban->is_dropping ? " dropping users with " : " without ");
    ast_print_selector(&ban->selector, out);
    if (ban->begin.place.line != 0) {
        buf_printf(out, " between %" PRIu64 " and %" PRIu64, ban->begin.value, ban->end.value);
    }
}

/* How an attempt goes. */
static void print_rules(const struct ast_funnel *funnel, struct buf *out)
{
    static const char *const orders[] = {"", " order strict", " order any"};
    buf_z(out, orders[funnel->order]);
    if (funnel->considering.place.line != 0) {
        buf_z(out, " considering ");
        ast_print_selector(&funnel->considering, out);
    }
    for (uint32_t i = 0; i < funnel->ban_count; i++) {
        print_ban(&funnel->bans[i], out);
    }
    for (uint32_t i = 0; i < funnel->holding_count; i++) {
        buf_z(out, i == 0 ? " holding " : ", ");
        ast_print_field(funnel->holding[i].text, out);
    }
    buf_z(out, funnel->is_strict_ties ? " ties strict" : "");
    buf_z(out, funnel->is_closed ? " closed" : "");
    buf_z(out, funnel->has_reuse ? " reuse" : "");
    if (funnel->stops_on_repeat || funnel->stops_on_foreign) {
        bool is_both = funnel->stops_on_repeat && funnel->stops_on_foreign;
        buf_printf(out, " mode \"clickhouse:%s%s%s\"",
                   funnel->stops_on_repeat ? "strict_deduplication" : "", is_both ? "," : "",
                   funnel->stops_on_foreign ? "strict_order" : "");
    }
    buf_z(out, funnel->is_entry_first ? " entry first" : "");
}

/* What is reported of it. */
static void print_report(const struct ast_funnel *funnel, bool has_keys, struct buf *out)
{
    static const char *const attempts[] = {"", " attempt earliest", " attempt latest"};
    static const char *const counts[] = {"", " count totals", " count sessions"};
    static const char *const ats[] = {" at step", " at first set", " at last set", " at all steps"};
    buf_z(out, attempts[funnel->attempt]);
    buf_z(out, counts[funnel->count]);
    buf_z(out, funnel->trend_single.line != 0 ? " trend single" : "");
    bool is_default = funnel->at == AST_AT_STEP && funnel->at_step.value <= 1;
    if (has_keys && !is_default) {
        buf_z(out, ats[funnel->at]);
        if (funnel->at == AST_AT_STEP) {
            buf_printf(out, " %" PRIu64, funnel->at_step.value);
        }
    }
    buf_z(out, funnel->has_times ? " times" : "");
    for (uint32_t i = 0; i < funnel->edge_count; i++) {
        buf_z(out, i == 0 ? " (" : ", ");
        ast_print_duration(funnel->edges[i].duration, out);
    }
    buf_z(out, funnel->edge_count > 0 ? ")" : "");
    if (funnel->correlate == AST_CORRELATE_EVENTS) {
        buf_z(out, " correlate events");
    } else if (funnel->correlate == AST_CORRELATE_KEY) {
        buf_z(out, " correlate ");
        if (str_eq(funnel->correlate_key.text, STR("events"))) {
            buf_z(out, "`events`"); /* without quotes it is the word */
        } else {
            ast_print_field(funnel->correlate_key.text, out);
        }
    }
}

void ast_print_funnel(const struct ast_funnel *funnel, bool has_keys, struct buf *out)
{
    for (uint32_t i = 0; i < funnel->step_count; i++) {
        buf_z(out, i == 0 ? " " : " -> ");
        print_step(&funnel->steps[i], out);
    }
    ast_print_duration_clause("within", &funnel->within, out);
    print_rules(funnel, out);
    print_report(funnel, has_keys, out);
}
