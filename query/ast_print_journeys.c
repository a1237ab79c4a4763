/* query/ast_print_journeys.c - the canonical text of verbs over journeys. */
#include "query/ast_print_int.h"

#include "storage/base/buf.h"

static void print_names(const char *word, const struct ast_name *names, uint32_t count,
                        struct buf *out)
{
    for (uint32_t i = 0; i < count; i++) {
        buf_z(out, i == 0 ? word : ",");
        buf_u8(out, ' ');
        ast_print_field(names[i].text, out);
    }
}

static void print_selector(const char *word, const struct ast_selector *selector, struct buf *out)
{
    buf_printf(out, "%s ", word);
    ast_print_selector(selector, out);
}

void ast_print_sequence(const struct ast_sequence *sequence, struct buf *out)
{
    static const char *const anchors[] = {[AST_ANCHOR_FIRST_MATCH] = "",
                                          [AST_ANCHOR_LAST_MATCH] = " anchor last_match",
                                          [AST_ANCHOR_EDGE] = " anchor edge"};
    buf_u8(out, ' ');
    ast_print_string(sequence->pattern.text, out);
    for (uint32_t i = 0; i < sequence->over_count; i++) {
        print_selector(i == 0 ? " over" : ",", &sequence->over[i], out);
    }
    buf_z(out, sequence->mode == AST_SEQUENCE_MATCH ? " match" : "");
    if (sequence->mode == AST_SEQUENCE_NEXT) {
        buf_z(out, " next ");
        ast_print_field(sequence->next.text, out);
        buf_z(out, sequence->is_backward ? " backward" : "");
    }
    buf_z(out, anchors[sequence->anchor]);
}

void ast_print_sessions(const struct ast_sessions *sessions, struct buf *out)
{
    print_names("", sessions->measures, sessions->measure_count, out);
    if (sessions->has_selector) {
        print_selector(" of", &sessions->selector, out);
    }
    ast_print_duration_clause("idle", &sessions->idle, out);
    ast_print_duration_clause("cap", &sessions->cap, out);
    buf_z(out, sessions->is_uncapped ? " cap none" : "");
    buf_z(out, sessions->is_cut_at_midnight ? " cut midnight" : "");
}

static void print_paths_from(const struct ast_paths *paths, struct buf *out)
{
    switch (paths->from) {
    case AST_PATHS_ALL: break;
    case AST_PATHS_STARTING: print_selector(" starting at", &paths->start, out); break;
    case AST_PATHS_ENDING: print_selector(" ending at", &paths->end, out); break;
    case AST_PATHS_BETWEEN:
        print_selector(" between", &paths->start, out);
        print_selector(" and", &paths->end, out);
        break;
    }
}

void ast_print_paths(const struct ast_paths *paths, struct buf *out)
{
    print_paths_from(paths, out);
    ast_print_count("depth", paths->depth, out);
    ast_print_count("exactly", paths->exactly, out);
    buf_z(out, paths->is_variants ? " variants" : "");
    buf_z(out, paths->is_shortest ? " shortest" : "");
    buf_z(out, paths->unit == AST_UNIT_SESSION   ? " per session"
               : paths->unit == AST_UNIT_SUBJECT ? " per user"
                                                 : "");
    print_names(" over", paths->over, paths->over_count, out);
    if (paths->has_ignore) {
        print_selector(" ignore", &paths->ignore, out);
    }
    buf_z(out, paths->is_slash_ignored ? " ignore trailing slash" : "");
    for (uint32_t i = 0; i < paths->rule_count; i++) {
        buf_z(out, i == 0 ? " group " : ", ");
        ast_print_string(paths->rules[i].pattern.text, out);
        buf_z(out, " as ");
        ast_print_string(paths->rules[i].label.text, out);
    }
    ast_print_duration_clause("gap", &paths->gap, out);
    buf_z(out, paths->keeps_repeats ? " keep repeats" : "");
    buf_z(out, paths->has_times ? " times" : "");
    buf_z(out, paths->has_loops ? " loops" : "");
}

void ast_print_attribution(const struct ast_attribution *attribution, struct buf *out)
{
    static const char *const models[] = {
        [AST_MODEL_FIRST] = "first_touch",
        [AST_MODEL_LAST] = "last_touch",
        [AST_MODEL_LAST_NON_DIRECT] = "last_non_direct",
        [AST_MODEL_LINEAR] = "linear",
        [AST_MODEL_TIME_DECAY] = "time_decay",
        [AST_MODEL_POSITION] = "position",
    };
    print_selector(" of", &attribution->conversion, out);
    if (attribution->model != AST_MODEL_LAST) {
        buf_printf(out, " model %s", models[attribution->model]);
    }
    if (attribution->has_touches) {
        print_selector(" touches", &attribution->touches, out);
    }
    ast_print_duration_clause("lookback", &attribution->lookback, out);
    ast_print_duration_clause("half_life", &attribution->half_life, out);
    buf_z(out, attribution->is_consuming ? " consume" : "");
    buf_z(out, attribution->keeps_repeats ? " keep repeats" : "");
    if (attribution->value.place.line != 0) {
        buf_z(out, " value sum(");
        ast_print_field(attribution->value.text, out);
        if (attribution->has_value_selector) {
            print_selector(" of", &attribution->value_selector, out);
        }
        buf_u8(out, ')');
    }
}

void ast_print_absence(const struct ast_absence *absence, struct buf *out)
{
    print_selector("", &absence->first, out);
    if (absence->has_second) {
        print_selector(" ->", &absence->second, out);
    }
    ast_print_duration_clause("within", &absence->within, out);
    ast_print_duration_clause("gap", &absence->gap, out);
}

void ast_print_intervals(const struct ast_intervals *intervals, struct buf *out)
{
    print_selector("", &intervals->start, out);
    print_selector(" ->", &intervals->end, out);
    print_names(" measure", intervals->measures, intervals->measure_count, out);
    ast_print_duration_clause("longest", &intervals->longest, out);
}

void ast_print_habits(const struct ast_habits *habits, struct buf *out)
{
    static const char *const ops[] = {[AST_EVENTS_AT_LEAST] = "at least",
                                      [AST_EVENTS_AT_MOST] = "at most",
                                      [AST_EVENTS_EXACTLY] = "exactly"};
    buf_z(out, habits->is_dau_mau ? " dau_mau" : "");
    print_selector(" of", &habits->selector, out);
    ast_print_duration_clause("rolling", &habits->rolling, out);
    ast_print_each("over", &habits->over, out);
    buf_z(out, habits->is_cumulative ? " cumulative" : "");
    ast_print_count(ops[habits->events_op], habits->events, out);
}

void ast_print_conditions(const struct ast_conditions *conditions, struct buf *out)
{
    for (uint32_t i = 0; i < conditions->count; i++) {
        print_selector(i == 0 ? "" : ",", &conditions->items[i], out);
    }
}
