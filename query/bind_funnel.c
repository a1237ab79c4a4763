/* query/bind_funnel.c - the funnel: its steps, rules and tables.
 *
 * The selectors of the steps come first, one each even where two are the same, so that a selector's
 * number is the step's; behind them stand those of exclusions, of first events, and of what strict
 * order, sessions and correlations look at.
 */
#include "query/bind_int.h"

/* ---- steps ---- */

/* `first a[x = 1]` asks for the first event called a, whatever its x. */
static enum err_code bind_first(struct binder *b, const struct ast_step *ast, uint32_t *ret)
{
    struct ast_selector selector = ast->selector;
    struct ast_alt *alts = NULL;
    *ret = SELECTOR_NONE;
    if (ast->first == AST_FIRST_NONE) {
        return ERR_OK;
    }
    ERR_TRY(ARENA_NEW(b->arena, selector.alt_count, &alts, b->err));
    for (uint32_t i = 0; i < selector.alt_count; i++) {
        alts[i] = selector.alts[i];
        if (ast->first == AST_FIRST_OF_NAME) {
            alts[i].pred = NULL;
        }
    }
    selector.alts = alts;
    return bind_selector(b, &selector, false, ret);
}

static enum err_code bind_steps(struct binder *b, const struct ast_funnel *ast,
                                struct funnel *funnel)
{
    struct funnel_step *steps = NULL;
    ERR_TRY(ARENA_NEW(b->arena, ast->step_count, &steps, b->err));
    for (uint32_t i = 0; i < ast->step_count; i++) {
        struct funnel_step *step = &steps[i];
        ERR_TRY(bind_selector(b, &ast->steps[i].selector, false, &step->selector));
        ASSERT(step->selector == i);
        step->label = b->selectors[step->selector].text;
        step->has_limit = ast->steps[i].limit.place.line != 0;
        step->limit_ms = step->has_limit ? duration_ms(ast->steps[i].limit.duration) : 0;
        step->is_optional = ast->steps[i].is_optional;
        step->is_anchored = ast->steps[i].is_anchored;
    }
    for (uint32_t i = 0; i < ast->step_count; i++) {
        ERR_TRY(bind_first(b, &ast->steps[i], &steps[i].first_selector));
    }
    funnel->steps = steps;
    funnel->step_count = ast->step_count;
    return ERR_OK;
}

/* ---- rules ---- */

static enum err_code bind_bans(struct binder *b, const struct ast_funnel *ast,
                               struct funnel *funnel)
{
    struct funnel_ban *bans = NULL;
    ERR_TRY(ARENA_NEW(b->arena, ast->ban_count, &bans, b->err));
    for (uint32_t i = 0; i < ast->ban_count; i++) {
        bool has_range = ast->bans[i].begin.place.line != 0;
        ERR_TRY(bind_selector(b, &ast->bans[i].selector, false, &bans[i].selector));
        bans[i].begin = has_range ? (uint32_t)ast->bans[i].begin.value : 1;
        bans[i].end = has_range ? (uint32_t)ast->bans[i].end.value : ast->step_count;
        bans[i].is_dropping = ast->bans[i].is_dropping;
    }
    funnel->bans = bans;
    funnel->ban_count = ast->ban_count;
    return ERR_OK;
}

static enum err_code bind_holding(struct binder *b, const struct ast_funnel *ast,
                                  struct funnel *funnel)
{
    struct by_key *holding = NULL;
    ERR_TRY(ARENA_NEW(b->arena, ast->holding_count, &holding, b->err));
    for (uint32_t i = 0; i < ast->holding_count; i++) {
        ERR_TRY(bind_carried(b, ast->holding[i], "\"holding\"", &holding[i]));
    }
    funnel->holding = holding;
    funnel->holding_count = ast->holding_count;
    return ERR_OK;
}

static enum err_code bind_looked_at(struct binder *b, const struct ast_funnel *ast,
                                    struct funnel *funnel)
{
    struct ast_name none = {0};
    funnel->considering = SELECTOR_NONE;
    funnel->session = SELECTOR_NONE;
    funnel->correlate_any = SELECTOR_NONE;
    if (ast->considering.place.line != 0) {
        ERR_TRY(bind_selector(b, &ast->considering, false, &funnel->considering));
    } else if (ast->order == AST_ORDER_STRICT || ast->stops_on_foreign) {
        ERR_TRY(bind_plain_selector(b, none, &funnel->considering));
    }
    if (ast->count == AST_COUNT_SESSIONS) {
        ERR_TRY(bind_plain_selector(b, none, &funnel->session));
    }
    return ast->correlate == AST_CORRELATE_NONE
               ? ERR_OK
               : bind_plain_selector(b, none, &funnel->correlate_any);
}

/* ---- tables ---- */

static enum err_code bind_table(struct binder *b, const struct ast_funnel *ast,
                                struct funnel *funnel)
{
    uint64_t *edges_ms = NULL;
    struct by_key *key = NULL;
    ERR_TRY(ARENA_NEW(b->arena, ast->edge_count, &edges_ms, b->err));
    for (uint32_t i = 0; i < ast->edge_count; i++) {
        edges_ms[i] = duration_ms(ast->edges[i].duration);
    }
    funnel->edges_ms = edges_ms;
    funnel->edge_count = ast->edge_count;
    if (b->ast->clauses.is_list) {
        funnel->table = FUNNEL_LIST;
    } else if (ast->has_times) {
        funnel->table = FUNNEL_TIMES;
    } else if (ast->correlate != AST_CORRELATE_NONE) {
        funnel->table = FUNNEL_CORRELATION;
        ERR_TRY(ARENA_NEW(b->arena, 1, &key, b->err));
        *key = (struct by_key){
            .name = STR("event"),
            .field = {FIELD_EVENT_NAME, STR("event_name"), COL_STRING, COL_EVENT_NAME},
        };
        if (ast->correlate == AST_CORRELATE_KEY) {
            ERR_TRY(bind_carried(b, ast->correlate_key, "\"correlate\"", key));
        }
        funnel->correlate = key;
    }
    return ERR_OK;
}

/* ---- the whole ---- */

enum err_code bind_funnel(struct binder *b)
{
    static const enum funnel_order orders[] = {FUNNEL_ORDERED, FUNNEL_STRICT, FUNNEL_ANY};
    static const enum funnel_show shows[] = {FUNNEL_SHOW_FIRST, FUNNEL_SHOW_EARLIEST,
                                             FUNNEL_SHOW_LATEST};
    static const enum funnel_count counts[] = {FUNNEL_USERS, FUNNEL_TOTALS, FUNNEL_SESSIONS};
    static const enum funnel_at ats[] = {FUNNEL_AT_STEP, FUNNEL_AT_FIRST_SET, FUNNEL_AT_LAST_SET,
                                         FUNNEL_AT_ALL_STEPS};
    const struct ast_funnel *ast = &b->ast->funnel;
    struct funnel *funnel = &b->query->funnel;
    *funnel = (struct funnel){
        .window_ms = ast->within.place.line != 0 ? duration_ms(ast->within.duration) : UINT64_MAX,
        .is_strict_ties = ast->is_strict_ties,
        .is_closed = ast->is_closed,
        .has_reuse = ast->has_reuse,
        .stops_on_repeat = ast->stops_on_repeat,
        .stops_on_foreign = ast->stops_on_foreign,
        .is_entry_first = ast->is_entry_first,
        .order = orders[ast->order],
        .show = shows[ast->attempt],
        .count = counts[ast->count],
        .is_trend_single = ast->trend_single.line != 0,
        .at = ats[ast->at],
        .at_step = ast->at_step.value > 0 ? (uint32_t)ast->at_step.value - 1 : 0,
    };
    ERR_TRY(bind_steps(b, ast, funnel));
    ERR_TRY(bind_bans(b, ast, funnel));
    ERR_TRY(bind_looked_at(b, ast, funnel));
    ERR_TRY(bind_holding(b, ast, funnel));
    return bind_table(b, ast, funnel);
}

void bind_funnel_end(struct binder *b)
{
    struct bound_query *query = b->query;
    struct funnel *funnel = &query->funnel;
    if (query->verb != VERB_FUNNEL) {
        return;
    }
    bool is_plain = funnel->order == FUNNEL_ORDERED && !funnel->has_reuse &&
                    !funnel->stops_on_repeat && !funnel->stops_on_foreign &&
                    !funnel->is_entry_first && funnel->ban_count == 0 &&
                    funnel->holding_count == 0 && funnel->show == FUNNEL_SHOW_FIRST &&
                    funnel->count == FUNNEL_USERS && funnel->at == FUNNEL_AT_STEP &&
                    funnel->at_step == 0 && !query->has_each && query->per == NULL &&
                    (funnel->table == FUNNEL_STEPS || funnel->table == FUNNEL_TIMES);
    for (uint32_t i = 0; i < funnel->step_count; i++) {
        const struct funnel_step *step = &funnel->steps[i];
        is_plain = is_plain && !step->is_optional && step->first_selector == SELECTOR_NONE;
    }
    funnel->is_plain = is_plain;
}

static uint32_t add_columns(struct str *items, uint32_t count, const char *const *words,
                            size_t word_count)
{
    for (size_t i = 0; i < word_count; i++) {
        items[count++] = str_of(words[i]);
    }
    return count;
}

uint32_t bind_funnel_columns(const struct bound_query *query, struct str *items)
{
    static const char *const steps[] = {"step",       "event",         "users",
                                        "from_first", "from_previous", "dropped",
                                        "median_ms",  "avg_ms",        "p90_ms"};
    static const char *const times[] = {"from_ms", "to_ms", "users"};
    static const char *const correlation[] = {"converted_with",
                                              "converted_without",
                                              "lost_with",
                                              "lost_without",
                                              "odds_ratio",
                                              "test",
                                              "p",
                                              "q"};
    uint32_t count = 0;
    if (query->funnel.table == FUNNEL_LIST) {
        items[count++] = query->per != NULL ? query->per->name : STR("user_id");
        items[count++] = STR("level");
        return count;
    }
    if (query->funnel.table == FUNNEL_CORRELATION) {
        items[count++] = query->funnel.correlate->name;
        return add_columns(items, count, correlation, COUNT_OF(correlation));
    }
    if (query->has_each) {
        items[count++] = STR("time");
    }
    for (uint32_t i = 0; i < query->key_count; i++) {
        items[count++] = query->keys[i].name;
    }
    return query->funnel.table == FUNNEL_TIMES ? add_columns(items, count, times, COUNT_OF(times))
                                               : add_columns(items, count, steps, COUNT_OF(steps));
}
