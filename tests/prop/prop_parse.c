/* tests/prop/prop_parse.c - Goal: no text breaks the lexer, parser or binder, every mistake has a place inside of the
 * text, and canonical text is a fixed point. Method: soups of the language's tokens, and valid queries with
 * bytes and words cut, doubled, swapped and replaced. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "query/parse.h"
#include "storage/base/buf.h"
#include "storage/base/rng.h"
#include "tests/support/lang_fixture.h"

#include <inttypes.h>
#include <stdlib.h>

#define TRIALS 20000u

static const char *const tokens[] = {
    "as",          "of",        "diff",
    "trend",       "distinct",  "funnel",      "retention",  "events",     "timeline",
    "show",        "explain",   "profile",   "where",       "from",       "to",         "last",
    "today",       "on",        "including",   "by",         "each",       "top",
    "order",       "limit",     "tz",          "week",       "starts",     "monday",
    "within",      "ties",      "strict",      "closed",     "count",      "users",
    "at",          "step",      "least",       "for",        "first_ever", "first",
    "recurring",   "unbounded", "columns",     "unfiltered", "with",       "other",
    "and",         "or",        "not",         "in",         "is",         "between",
    "of",          "any",       "active",      "set",        "contains",   "matches",
    "ends",        "as",        "rolling",     "sum",        "unique",     "p95",
    "median",      "bucket",    "user",        "day",        "now",        "true",
    "null",        "desc",      "without",     "cohort",     "->",         "(",
    ")",           "[",         "]",           ",",          "|",          "=",
    "!=",          "<",         ">=",          "+",          "-",          "*",
    "/",           "?",         "!",           "\"a b\"",    "'\\n'",      "`x y`",
    "`a``b`",      "1",         "0",           "12.50",      "1e30",       "30d",
    "10m",         "2w",        "3mo",         "0s",         "2025-05-01", "2025-05-01T08:00Z",
    "register",    "amount",    "channel",     "mixed",      "label",      "tags",
    "vip",         "seen_at",   "profile.x",   ":p",         "# c\n",      "\n",
    "\"",          "`",         "\"UTC\"",     "values",     "properties", "sequence",
    "matching",   "considering", "dropping", "holding",    "reuse",      "mode",
    "entry",      "attempt",   "latest",     "totals",     "steps",      "correlate",
    "\"clickhouse:strict_order\"",
    "sessions",    "paths",     "attribution", "absence",    "intervals",  "\"(?1)(?t<5)(?2)\"",
    "over",        "next",      "anchor",      "edge",       "match",      "list",
    "per",         "session",   "idle",        "cap",        "none",       "cut",
    "midnight",    "starting",  "ending",      "depth",      "exactly",    "variants",
    "ignore",      "trailing",  "slash",       "group",      "gap",        "keep",
    "repeats",     "times",     "model",       "linear",     "touches",    "lookback",
    "half_life",   "consume",   "value",       "measure",    "peak",       "longest",
    "bounce_rate", "shortest",  "loops",       "lifecycle",  "stickiness", "dau_mau",
    "cumulative",  "most",      "events",      "month",      "conditions", "churn",
    "ltv",         "discount",  "0.1",         "average",    "until",      "streak",
    "last_seen",   "avg",       "14d",
    "bounce_rate", "shortest",  "loops",       "segment",    "did",        "reached",
    "save",        "static",    "exclude",    "drop",       "cohorts",
    "single",      "why",         "profile.",  "profile.mixed", "profile.channel", "event",
};

static const char *const seeds_of_mutation[] = {
    "why \"u_42\" in funnel register -> place_order within 1d holding channel each day last 30d",
    "explain why \"u_42\" in segment reached(funnel register -> any, 2) or count(any) >= 2",
    "users of (step = 2, channel is not set, dropped = true) in funnel register -> place_order by "
    "channel each day list users save cohort \"stuck\"",
    "segment reached(funnel register -> place_order (1h) within 1d last 7d, 2) or did(any)",
    "segment in cohort \"a\" and did(any[not in cohort \"b\"]) exclude cohort \"c\", \"d\" last 2d "
    "save cohort "
    "\"e\" static",
    "segment (did(register last 7d) or not first(any[vip = true] rolling 2d)) and "
    "count(pay_success "
    "from 2025-01-01 to now) >= 2 and sum(amount of any last 6h) between -1 and 2.5 and user in "
    "(\"a\", \"b\") where channel = \"x\" last 30d list users limit 10",
    "funnel page_view -> (register[channel = \"x\"] | `a b`) (10m) -> \"sign up\" within 7d where "
    "country in (\"CN\", \"US\") by channel at step 1 last 30d tz \"Asia/Shanghai\"",
    "trend rolling 7d users(any) as wau, (sum(amount of pay_success) + 1) / -users(any) as arpu "
    "each day by bucket(amount, -10, 0, 10.5), channel top 5 with other order by wau desc",
    "retention pay_success[not (vip = true or mixed is not set)] -> any each week for 12 recurring "
    "unbounded at least 3 from 2025-01-01 to now - 2w week starts sunday",
    "diff 12, 2025-05-01T08:00 in trend users(any) as u each day by channel last 7d",
    "funnel a -> b within 1d by country last 7d as of 2025-05-01 tz \"Europe/Paris\"",
    "explain distinct task_id of any where event_time between 2025-05-01 and \"2025-05-02\" and "
    "channel matches \"^(a|b)+$\" each 5m last 6h limit 7",
    "funnel first a -> first matching (b | c[x = 1])? (5m) -> d within 1d order strict considering "
    "any "
    "without x between 1 and 2 dropping users with y holding amount, label ties strict closed "
    "reuse "
    "mode \"clickhouse:strict_increase\" entry first attempt latest count sessions by channel at "
    "step 2 "
    "times (1s, 2m) each week",
    "funnel a -> b within 1d count totals trend single by channel at all steps each week",
    "funnel a! -> b order any list users correlate events at first set at last set at all steps",
    "events (a | b[x not in (1, 2.5)]) columns (event_time, `x y`, amount) order by amount on "
    "2025-05-01",
    "timeline 'u\\u00e9' last 3mo including today limit 100",
    "show properties of \"sign up\" limit 5",
    "sequence \"(?1).*(?t<=3600)(?2).(?t>5m)(?1)\" over register, (a | b[amount > 1]) next channel "
    "backward anchor edge list users per task_id last 7d",
    "sessions count, avg_duration_ms, bounce_rate of any each day idle 30m cap none cut midnight "
    "by "
    "channel top 3",
    "paths between register and any[channel = \"x\"] depth 7 top 20 per session over event_name, "
    "channel ignore page_view ignore trailing slash group \"/p/*\" as \"p\", \"*\" as \"q\" gap "
    "10m "
    "keep repeats times",
    "paths exactly 3 per user order by users desc",
    "users of (path = (\"a\", \"b\"), channel is not set) in paths exactly 2 by channel each day",
    "sequence \"(?1)(?2)\" over register, any next channel by platform each day top 2 with other",
    "intervals register -> pay_success by channel, platform each hour top 3",
    "attribution of pay_success by channel model time_decay half_life 3d touches any lookback 2w "
    "consume keep repeats value sum(amount of pay_success) top 2 with other",
    "absence register -> pay_success within 5m per task_id by channel each hour last 1d",
    "lifecycle of (register | page_view[channel = \"x\"]) each week where vip = true per task_id "
    "last 12w",
    "stickiness of any each 2d over month cumulative at most 2 events last 90d order by users desc",
    "stickiness dau_mau of any rolling 28d last 30d",
    "conditions register, any[amount > 1], pay_success list users last 7d",
    "retention register -> any each day bracket (1, 2-7, 8-14) rolling value avg(amount of "
    "pay_success) average by channel top 2 with other per task_id",
    "ltv register -> any value sum(amount of pay_success) each month for 12 discount 0.01 last 2mo",
    "churn 14d of active last 30d list users per task_id",
    "churn 2w of any[vip = true] last_seen last 90d",
    "churn 14d of active by channel, bucket(amount, 0, 1) each month last 6mo top 3 order by "
    "churned",
    "conditions register, pay_success by profile.plan top 2 with other limit 7",
    "users of (time = 2025-05-01, measure = \"new\", channel is not set) in lifecycle of any each "
    "day by "
    "channel list users",
    "users of (periods = 3, time = 2025-05-01) in stickiness of any over month save cohort \"x\" "
    "static",
    "users of (period = \"2-7\") in retention register -> any each day bracket (1, 2-7)",
    "segment (sum(amount of pay_success last 7d) - 2 * sum(amount)) / -count(any rolling 3d) >= "
    "1.5 and "
    "not (did(register) or unique(channel of any) between 1 and 2) per task_id list users limit 3",
    "trend users(any[profile.mixed = 1]) by profile.channel as of event, bucket(profile.amount, 0, "
    "1) "
    "where profile.channel as of event in (\"a\", \"b\") and profile.`x y` is not set",
    "segment profile.channel = \"a\" and not (profile.vip is set or did(register)) last 7d",
    "intervals register -> pay_success measure utilisation, peak longest 8h per task_id each hour",
};

static uint64_t seed_of_run(void)
{
    const char *text = getenv("TEST_SEED");
    return text != NULL ? strtoull(text, NULL, 0) : 20252;
}

static void soup(struct rng *rng, struct buf *out)
{
    uint64_t count = rng_below(rng, 25);
    if (rng_below(rng, 2) == 0) { /* begin as a query does: the soup gets further in */
        buf_printf(out, "%s ", tokens[rng_below(rng, 7)]);
    }
    for (uint64_t i = 0; i < count; i++) {
        buf_z(out, tokens[rng_below(rng, COUNT_OF(tokens))]);
        buf_z(out, rng_below(rng, 8) == 0 ? "" : " ");
    }
}

static void mutate(struct rng *rng, struct buf *out)
{
    struct str text = str_of(seeds_of_mutation[rng_below(rng, COUNT_OF(seeds_of_mutation))]);
    uint64_t edits = 1 + rng_below(rng, 4);
    buf_str(out, text);
    for (uint64_t i = 0; i < edits && out->len > 0; i++) {
        size_t at = (size_t)rng_below(rng, out->len);
        size_t some = (size_t)rng_below(rng, 1 + (out->len - at < 12 ? out->len - at : 12));
        CLEANUP(buf_freep) struct buf tail = {0};
        switch (rng_below(rng, 5)) {
        case 0: /* cut */
            buf_append(&tail, out->ptr + at + some, out->len - at - some);
            out->len = at;
            break;
        case 1: /* double */
            buf_append(&tail, out->ptr + at, out->len - at);
            out->len = at + some;
            break;
        case 2: /* put a token in */
            buf_printf(&tail, " %s ", tokens[rng_below(rng, COUNT_OF(tokens))]);
            buf_append(&tail, out->ptr + at, out->len - at);
            out->len = at;
            break;
        case 3: out->ptr[at] = (uint8_t)rng_next(rng); break;
        default: out->len = at; break;
        }
        buf_append(out, tail.ptr, tail.len);
    }
}

static uint32_t lines_of(struct str text)
{
    uint32_t lines = 1;
    for (size_t i = 0; i < text.len; i++) {
        lines += text.ptr[i] == '\n' ? 1 : 0;
    }
    return lines;
}

/* The print of `text`; false where it is no query, whose error must then point into it. */
static bool print_of(struct lang_fixture *fixture, struct str text, uint64_t seed, struct buf *out)
{
    struct query_request request = {.text = text, .now_ms = LANG_NOW_MS};
    const struct ast_query *ast = NULL;
    const struct bound_query *query = NULL;
    struct err err = {0};
    enum err_code code = query_parse(&request, fixture->arena, &ast, &err);
    if (code != ERR_OK) {
        if (err.line < 1 || err.line > lines_of(text) || err.column < 1 ||
            err.column > text.len + 1 || err.message[0] == '\0') {
            fail_msg("seed %" PRIu64 ": \"%.*s\": error at %u:%u \"%s\"", seed, (int)text.len,
                     text.ptr, err.line, err.column, err.message);
        }
        query_error_show(text, &err, out);
        return false;
    }
    ast_print(ast, out);
    code = query_bind(&request, &fixture->snapshot, NULL, fixture->arena, &query, &err);
    if (code == ERR_OK) {
        query_unbind(query);
    } else if (code != ERR_INVALID && code != ERR_LIMIT && code != ERR_NOT_FOUND) {
        fail_msg("seed %" PRIu64 ": \"%.*s\": %s", seed, (int)text.len, text.ptr, err.message);
    }
    return true;
}

static uint64_t run_trials(void (*make)(struct rng *rng, struct buf *out))
{
    struct lang_fixture fixture;
    uint64_t seed = seed_of_run();
    uint64_t valid_count = 0;
    lang_fixture_open(&fixture, false);
    for (uint64_t trial = 0; trial < TRIALS; trial++) {
        struct rng rng = rng_init(seed + trial);
        struct arena_mark mark = arena_mark(fixture.arena);
        CLEANUP(buf_freep) struct buf text = {0};
        CLEANUP(buf_freep) struct buf once = {0};
        CLEANUP(buf_freep) struct buf twice = {0};
        make(&rng, &text);
        if (print_of(&fixture, buf_as_str(&text), seed + trial, &once)) {
            valid_count++;
            bool is_valid = print_of(&fixture, buf_as_str(&once), seed + trial, &twice);
            if (!is_valid || !str_eq(buf_as_str(&once), buf_as_str(&twice))) {
                fail_msg("seed %" PRIu64 ": \"%.*s\" prints as \"%.*s\", that as \"%.*s\"",
                         seed + trial, (int)text.len, (const char *)text.ptr, (int)once.len,
                         (const char *)once.ptr, (int)twice.len, (const char *)twice.ptr);
            }
        }
        arena_rewind(fixture.arena, mark);
    }
    lang_fixture_close(&fixture);
    return valid_count;
}

static void token_soup_is_refused_or_prints_to_itself(void **state)
{
    (void)state;
    assert_true(run_trials(soup) > 0);
}

static void mutated_queries_are_refused_or_print_to_themselves(void **state)
{
    (void)state;
    assert_true(run_trials(mutate) > TRIALS / 100);
}

/* ---- trees ---- */

/* Random predicates and measures with all the parentheses there can be: printing may drop only those
 * that do not matter, which shows in a value computed from the tree. */
static void put_pred(struct rng *rng, uint32_t depth, struct buf *out)
{
    uint64_t choice = depth == 0 ? 3 : rng_below(rng, 4);
    if (choice == 3) {
        buf_printf(out, "p%u = 1", (unsigned)rng_below(rng, 6));
        return;
    }
    buf_z(out, choice == 2 ? "not (" : "(");
    put_pred(rng, depth - 1, out);
    if (choice < 2) {
        buf_z(out, choice == 0 ? ") and (" : ") or (");
        put_pred(rng, depth - 1, out);
    }
    buf_z(out, ")");
}

static bool pred_value(const struct ast_pred *pred, uint32_t truths)
{
    if (pred->kind == AST_NOT) {
        return !pred_value(pred->kids[0], truths);
    }
    if (pred->kind != AST_AND && pred->kind != AST_OR) {
        return (truths >> (pred->field.text.ptr[1] - '0') & 1) != 0;
    }
    bool value = pred->kind == AST_AND;
    for (uint32_t i = 0; i < pred->kid_count; i++) {
        bool kid = pred_value(pred->kids[i], truths);
        value = pred->kind == AST_AND ? value && kid : value || kid;
    }
    return value;
}

static void put_expr(struct rng *rng, uint32_t depth, struct buf *out)
{
    static const char *const operators[] = {" + ", " - ", " * ", " / "};
    uint64_t choice = depth == 0 ? 5 : rng_below(rng, 6);
    if (choice == 5) {
        buf_printf(out, "%u", 1 + (unsigned)rng_below(rng, 9));
        return;
    }
    buf_z(out, choice == 4 ? "-(" : "(");
    put_expr(rng, depth - 1, out);
    if (choice < 4) {
        buf_printf(out, ")%s(", operators[choice]);
        put_expr(rng, depth - 1, out);
    }
    buf_z(out, ")");
}

static double expr_value(const struct ast_expr *expr)
{
    double left = expr->left == NULL ? 0 : expr_value(expr->left);
    double right = expr->right == NULL ? 0 : expr_value(expr->right);
    switch (expr->kind) {
    case AST_EXPR_ADD: return left + right;
    case AST_EXPR_SUB: return left - right;
    case AST_EXPR_MUL: return left * right;
    case AST_EXPR_DIV: return left / right;
    case AST_EXPR_NEG: return -left;
    default: return num_to_double(expr->number);
    }
}

static const struct ast_query *tree_of(struct arena *arena, struct str text, uint64_t seed)
{
    struct query_request request = {.text = text};
    const struct ast_query *ast = NULL;
    struct err err = {0};
    if (query_parse(&request, arena, &ast, &err) != ERR_OK) {
        fail_msg("seed %" PRIu64 ": \"%.*s\": %s", seed, (int)text.len, text.ptr, err.message);
    }
    return ast;
}

static void check_preds(const struct ast_query *before, const struct ast_query *after,
                        uint64_t seed)
{
    for (uint32_t truths = 0; truths < 64; truths++) {
        if (pred_value(before->clauses.where, truths) != pred_value(after->clauses.where, truths)) {
            fail_msg("seed %" PRIu64 ": \"%.*s\" prints as \"%.*s\"", seed, (int)before->text.len,
                     before->text.ptr, (int)after->text.len, after->text.ptr);
        }
    }
}

static void check_exprs(const struct ast_query *before, const struct ast_query *after,
                        uint64_t seed)
{
    double a = expr_value(before->trend.measures[0].expr);
    double b = expr_value(after->trend.measures[0].expr);
    if (memcmp(&a, &b, sizeof(a)) != 0) { /* the same operations in the same order: the same bits */
        fail_msg("seed %" PRIu64 ": \"%.*s\" prints as \"%.*s\"", seed, (int)before->text.len,
                 before->text.ptr, (int)after->text.len, after->text.ptr);
    }
}

static void printing_keeps_the_meaning_of_every_tree(void **state)
{
    (void)state;
    uint64_t seed = seed_of_run();
    for (uint64_t trial = 0; trial < TRIALS / 4; trial++) {
        struct rng rng = rng_init(seed + trial);
        CLEANUP(arena_freep) struct arena *arena = arena_create(NULL);
        CLEANUP(buf_freep) struct buf text = {0};
        CLEANUP(buf_freep) struct buf printed = {0};
        bool is_pred = trial % 2 == 0;
        buf_z(&text, is_pred ? "events any where " : "trend ");
        if (is_pred) {
            put_pred(&rng, 5, &text);
        } else {
            put_expr(&rng, 5, &text);
        }
        const struct ast_query *before = tree_of(arena, buf_as_str(&text), seed + trial);
        ast_print(before, &printed);
        const struct ast_query *after = tree_of(arena, buf_as_str(&printed), seed + trial);
        (is_pred ? check_preds : check_exprs)(before, after, seed + trial);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(token_soup_is_refused_or_prints_to_itself),
        cmocka_unit_test(mutated_queries_are_refused_or_print_to_themselves),
        cmocka_unit_test(printing_keeps_the_meaning_of_every_tree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
