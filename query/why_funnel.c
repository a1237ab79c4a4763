/* query/why_funnel.c - why a user is where it is in a funnel.
 *
 *     verdict   number = how far, holds = all the way; note: converted, stopped, not entered
 *     attempt   with `count totals` and `count sessions` (session): one each that is counted, in order of time; the same, and
 *               by which event it began. The verdict is that of the first that got furthest
 *     step      of each: holds = done, and by which event; note: the step
 *     open      where more can come still: the window ends at event_time
 *     ended     for each rule without which, alone, the user would have got further; note: the rule. The event is the one
 *               that the next step would have had, or the one that stood in its way
 *
 * Without a rule the funnel is another funnel, so the question is asked again, of the same user. Where no rule alone is to
 * blame, all are left out together: what is still not reached is not there. Of several attempts the rules are those of the
 * furthest, and the question is whether any attempt would have got further than that.
 */
#include "query/why_int.h"

#include "query/run.h"
#include "query/saturating.h"
#include "storage/base/size.h"

#include <stdlib.h>

enum rule {
    RULE_WINDOW,
    RULE_LIMIT,
    RULE_WITHOUT,
    RULE_DROPPING,
    RULE_STRICT,
    RULE_ORDER,
    RULE_TIES,
    RULE_REUSE,
    RULE_HOLDING,
    RULE_FIRST,
    RULE_ENTRY,
    RULE_MODE,
    RULE_CLOSED,
    RULE_WHERE,
    RULE_RANGE,
    RULE_TOTALS,
    RULE_SESSIONS,
    RULE_COUNT,
};
static const char *const rule_names[RULE_COUNT] = {
    [RULE_WINDOW] = "window",     [RULE_LIMIT] = "limit",         [RULE_WITHOUT] = "without",
    [RULE_DROPPING] = "dropping", [RULE_STRICT] = "strict order", [RULE_ORDER] = "order",
    [RULE_TIES] = "ties",         [RULE_REUSE] = "reuse",         [RULE_HOLDING] = "holding",
    [RULE_FIRST] = "first",       [RULE_ENTRY] = "entry first",   [RULE_MODE] = "mode",
    [RULE_CLOSED] = "closed",     [RULE_WHERE] = "where",         [RULE_RANGE] = "range",
    [RULE_TOTALS] = "totals",     [RULE_SESSIONS] = "sessions",
};

/* ---- the question without a rule ---- */

/* Steps that are this query's own, to be changed. */
static enum err_code own_steps(struct bound_query *query, struct arena *arena,
                               struct funnel_step **ret, struct err *err)
{
    const struct funnel *funnel = &query->funnel;
    ERR_TRY(ARENA_NEW(arena, funnel->step_count, ret, err));
    memcpy(*ret, funnel->steps, funnel->step_count * sizeof(**ret));
    query->funnel.steps = *ret;
    return ERR_OK;
}

static enum err_code drop_bans(struct bound_query *query, bool is_dropping, struct arena *arena,
                               bool *ret_was, struct err *err)
{
    struct funnel *funnel = &query->funnel;
    struct funnel_ban *bans = NULL;
    uint32_t count = 0;
    ERR_TRY(ARENA_NEW(arena, funnel->ban_count, &bans, err));
    for (uint32_t b = 0; b < funnel->ban_count; b++) {
        if (funnel->bans[b].is_dropping != is_dropping) {
            bans[count++] = funnel->bans[b];
        }
    }
    *ret_was = count < funnel->ban_count;
    funnel->bans = bans;
    funnel->ban_count = count;
    return ERR_OK;
}

static enum err_code drop_of_steps(struct bound_query *query, enum rule rule, struct arena *arena,
                                   bool *ret_was, struct err *err)
{
    struct funnel_step *steps = NULL;
    ERR_TRY(own_steps(query, arena, &steps, err));
    for (uint32_t i = 0; i < query->funnel.step_count; i++) {
        bool is_given =
            rule == RULE_LIMIT ? steps[i].has_limit : steps[i].first_selector != SELECTOR_NONE;
        *ret_was = *ret_was || is_given;
        steps[i].has_limit = steps[i].has_limit && rule != RULE_LIMIT;
        steps[i].first_selector = rule == RULE_FIRST ? SELECTOR_NONE : steps[i].first_selector;
    }
    return ERR_OK;
}

/* Whether steps in any order can be held against steps in this one: the level is then how many there are. */
static bool can_be_any(const struct funnel *funnel)
{
    bool is_plain = funnel->order == FUNNEL_ORDERED && funnel->ban_count == 0 &&
                    !funnel->stops_on_repeat && !funnel->stops_on_foreign;
    for (uint32_t i = 0; i < funnel->step_count; i++) {
        const struct funnel_step *step = &funnel->steps[i];
        is_plain = is_plain && !step->is_optional && !step->has_limit;
    }
    return is_plain;
}

static void drop_range(struct bound_query *query)
{
    query->has_range = false;
    query->has_each = false;
    query->from_ms = INT64_MIN;
    query->to_ms = INT64_MAX;
}

/* Take a rule out of the query; *ret_was false where it has no such rule. */
static enum err_code drop_rule(struct bound_query *query, enum rule rule, struct arena *arena,
                               bool *ret_was, struct err *err)
{
    struct funnel *funnel = &query->funnel;
    *ret_was = false;
    switch (rule) {
    case RULE_WINDOW:
        *ret_was = funnel->window_ms != UINT64_MAX;
        funnel->window_ms = UINT64_MAX;
        break;
    case RULE_LIMIT:
    case RULE_FIRST: return drop_of_steps(query, rule, arena, ret_was, err);
    case RULE_WITHOUT:
    case RULE_DROPPING: return drop_bans(query, rule == RULE_DROPPING, arena, ret_was, err);
    case RULE_STRICT:
        *ret_was = funnel->order == FUNNEL_STRICT;
        funnel->order = *ret_was ? FUNNEL_ORDERED : funnel->order;
        break;
    case RULE_ORDER:
        *ret_was = can_be_any(funnel);
        funnel->order = *ret_was ? FUNNEL_ANY : funnel->order;
        break;
    case RULE_TIES:
        *ret_was = funnel->is_strict_ties;
        funnel->is_strict_ties = false;
        break;
    case RULE_REUSE:
        *ret_was = !funnel->has_reuse;
        funnel->has_reuse = true;
        break;
    case RULE_HOLDING:
        *ret_was = funnel->holding_count > 0;
        funnel->holding_count = 0;
        break;
    case RULE_ENTRY:
        *ret_was = funnel->is_entry_first;
        funnel->is_entry_first = false;
        break;
    case RULE_MODE:
        *ret_was = funnel->stops_on_repeat || funnel->stops_on_foreign;
        funnel->stops_on_repeat = false;
        funnel->stops_on_foreign = false;
        break;
    case RULE_CLOSED:
        *ret_was = funnel->is_closed;
        funnel->is_closed = false;
        break;
    case RULE_WHERE:
        *ret_was = query->where != NULL;
        query->where = NULL;
        break;
    case RULE_RANGE:
        *ret_was = query->has_range;
        drop_range(query);
        break;
    case RULE_TOTALS:   /* an event may be of any attempt */
    case RULE_SESSIONS: /* an attempt may go on in the next one */
        *ret_was = funnel->count == (rule == RULE_TOTALS ? FUNNEL_TOTALS : FUNNEL_SESSIONS);
        if (*ret_was) { /* the question is about the attempts of a bucket, so they are followed there */
            funnel->count = FUNNEL_USERS;
            funnel->is_trend_single = false;
        }
        break;
    case RULE_COUNT: break;
    }
    return ERR_OK;
}

static enum err_code run_funnel(struct query_run_ctx *run, struct err *err)
{
    struct result none = {.arena = run->arena}; /* the verb returns before its table */
    return verb_funnel(run, &none, err);
}

/* The query without the rules of `rules`; *ret_was false, and nothing is asked, where it has none of them. */
static enum err_code ask_without(struct why *why, const struct bound_query *query, uint32_t rules,
                                 struct arena *arena, struct why_notes *ret, bool *ret_was,
                                 struct err *err)
{
    struct bound_query *other = NULL;
    *ret_was = false;
    *ret = (struct why_notes){.arena = arena};
    ERR_TRY(ARENA_NEW(arena, 1, &other, err));
    *other = *query;
    other->funnel.is_plain = false;
    for (uint32_t rule = 0; rule < RULE_COUNT; rule++) {
        bool was = false;
        if ((rules >> rule & 1) != 0) {
            ERR_TRY(drop_rule(other, (enum rule)rule, arena, &was, err));
        }
        *ret_was = *ret_was || was;
    }
    return *ret_was ? why_run(why, other, run_funnel, ret, err) : ERR_OK;
}

/* ---- a line of the answer, and that of another question ---- */

/* How far it got, and (NULL: not in it) with which events. */
struct attempt {
    uint32_t level;
    const struct why_line *line;
    const struct why_notes *notes;
};

/* The one attempt of `trend single` is in another bucket where without a rule it is another attempt. */
static bool is_same_line(const struct bound_query *query, const struct why_line *a,
                         const struct why_line *b)
{
    const struct funnel *funnel = &query->funnel;
    bool has_keys = funnel->at == FUNNEL_AT_ALL_STEPS && a->keys != NULL && b->keys != NULL;
    bool has_buckets =
        query->has_each && !(funnel->is_trend_single && funnel->count == FUNNEL_USERS);
    if (a->begin_ms != b->begin_ms && has_buckets) {
        return false;
    }
    for (uint32_t k = 0; has_keys && k < query->key_count; k++) {
        if (cell_cmp(&a->keys[k], &b->keys[k]) != 0) {
            return false;
        }
    }
    return true;
}

/* The attempt of the same line (`line` NULL: of whichever gets furthest) in other notes. */
static struct attempt attempt_in(const struct bound_query *query, const struct why_line *line,
                                 const struct why_notes *notes)
{
    struct attempt best = {.notes = notes};
    for (uint32_t i = 0; i < notes->line_count; i++) {
        const struct why_line *other = &notes->lines[i];
        if (other->level > best.level && (line == NULL || is_same_line(query, line, other))) {
            best = (struct attempt){other->level, other, notes};
        }
    }
    return best;
}

static const struct why_event *event_of(const struct attempt *attempt, uint32_t step)
{
    bool is_done = attempt->line != NULL && (attempt->line->filled >> step & 1) != 0;
    return is_done ? &attempt->notes->events[attempt->line->events[step]] : NULL;
}

/* Its first event at a step beyond `level`. */
static const struct why_event *event_beyond(const struct attempt *attempt, uint32_t level)
{
    for (uint32_t step = level; step < attempt->level; step++) {
        if (event_of(attempt, step) != NULL) {
            return event_of(attempt, step);
        }
    }
    return NULL;
}

static const struct why_event *event_before(const struct attempt *attempt, uint32_t level)
{
    for (uint32_t step = level; step-- > 0;) {
        if (event_of(attempt, step) != NULL) {
            return event_of(attempt, step);
        }
    }
    return NULL;
}

/* The first event with one of these bits strictly after `after_ms` and before `before_ms`. */
static const struct why_event *event_between(const struct why_notes *notes, uint64_t bits,
                                             int64_t after_ms, int64_t before_ms)
{
    for (uint32_t i = 0; i < notes->event_count; i++) {
        const struct why_event *event = &notes->events[i];
        if ((event->mask & bits) != 0 && event->time_ms > after_ms && event->time_ms < before_ms) {
            return event;
        }
    }
    return NULL;
}

/* ---- what stood in the way ---- */

/* The exclusion that hits `without`, the attempt that would have got further if there were none; `notes` are of the
 * query itself, which looks at exclusions. */
static const struct why_event *ban_event(const struct bound_query *query, bool is_dropping,
                                         const struct why_notes *notes,
                                         const struct attempt *without)
{
    const struct why_event *first = NULL;
    for (uint32_t b = 0; b < query->funnel.ban_count; b++) {
        const struct funnel_ban *ban = &query->funnel.bans[b];
        const struct why_event *begin = event_before(without, ban->begin);
        const struct why_event *end = event_beyond(without, ban->end - 1);
        if (ban->is_dropping != is_dropping || begin == NULL) {
            continue;
        }
        const struct why_event *start = event_of(without, 0);
        int64_t before_ms =
            end != NULL     ? end->time_ms
            : start == NULL ? INT64_MAX
                            : ms_add_saturating(start->time_ms,
                                                span_add_saturating(query->funnel.window_ms, 1));
        const struct why_event *event =
            event_between(notes, UINT64_C(1) << ban->selector, begin->time_ms, before_ms);
        if (event != NULL && (first == NULL || event->time_ms < first->time_ms)) {
            first = event;
        }
    }
    return first;
}

static const struct why_event *ended_event(const struct bound_query *query, uint32_t rule,
                                           const struct attempt *own, const struct why_notes *notes,
                                           const struct attempt *without)
{
    const struct why_event *next = event_beyond(without, own->level);
    const struct why_event *last = own->line == NULL ? NULL : event_before(own, own->level);
    const struct why_event *in_the_way = NULL;
    if (rule == RULE_WITHOUT || rule == RULE_DROPPING) {
        in_the_way = ban_event(query, rule == RULE_DROPPING, notes, without);
    } else if (rule == RULE_STRICT && last != NULL && next != NULL) {
        in_the_way = event_between(notes, UINT64_C(1) << query->funnel.considering, last->time_ms,
                                   next->time_ms);
    }
    return in_the_way != NULL ? in_the_way : next;
}

/* ---- rows ---- */

static struct why_row line_row(const struct why_line *line, const char *item)
{
    struct why_row row = {.item = item};
    if (line != NULL) {
        row.has_begin = true;
        row.begin_ms = line->begin_ms;
        row.keys = line->keys;
    }
    return row;
}

static struct cell number_cell(uint64_t number)
{
    return (struct cell){.kind = CELL_I64, .i64 = (int64_t)number};
}

/* The last step that has to be done. */
static uint32_t goal_of(const struct funnel *funnel)
{
    uint32_t goal = funnel->step_count;
    while (goal > 1 && funnel->steps[goal - 1].is_optional && funnel->order != FUNNEL_ANY) {
        goal--;
    }
    return goal;
}

static enum err_code add_steps(struct why *why, const struct bound_query *query,
                               const struct attempt *own, struct err *err)
{
    for (uint32_t step = 0; step < query->funnel.step_count; step++) {
        struct why_row row = line_row(own->line, "step");
        row.number = number_cell(step + 1);
        row.event = event_of(own, step);
        row.holds = row.event != NULL ? WHY_YES : WHY_NO;
        if (query->funnel.order != FUNNEL_ANY) { /* there it is any one of them */
            row.note = query->funnel.steps[step].label;
        }
        ERR_TRY(why_add(why, row, err));
    }
    return ERR_OK;
}

static enum err_code add_open(struct why *why, const struct bound_query *query,
                              const struct attempt *own, struct err *err)
{
    const struct why_event *start = event_of(own, 0);
    if (start == NULL || query->funnel.window_ms == UINT64_MAX) {
        return ERR_OK;
    }
    int64_t end_ms = ms_add_saturating(start->time_ms, query->funnel.window_ms);
    if (end_ms < query->now_ms) {
        return ERR_OK;
    }
    struct why_row row = line_row(own->line, "open");
    row.number = number_cell(own->level + 1);
    row.has_time = true;
    row.time_ms = end_ms;
    row.note = STR("window");
    return why_add(why, row, err);
}

static enum err_code add_ended(struct why *why, const struct attempt *own, const char *note,
                               const struct why_event *event, struct err *err)
{
    struct why_row row = line_row(own->line, "ended");
    row.number = number_cell(own->level + 1);
    row.event = event;
    row.note = str_of(note);
    return why_add(why, row, err);
}

/* ---- attempts, by lines of the answer ---- */

#define ALL_RULES RULE_COUNT
struct blame {
    bool is_due;
    const struct why_event *event;
};
/* A line that the user is in (of who is in none: that): its attempts, the first of the furthest, and of each rule, and of all
 * rules together, whether the user would have got further without it, and the event that tells. */
struct told_line {
    uint32_t begin, end; /* of the attempts; none: not entered */
    struct attempt furthest;
    struct blame blames[RULE_COUNT + 1];
};
struct verdicts {
    struct why_notes notes;
    struct attempt *attempts; /* in the order that they are told in */
    uint32_t attempt_count;
    struct told_line *lines;
    uint32_t count;
};

static bool has_attempts(const struct funnel *funnel)
{
    return funnel->count != FUNNEL_USERS;
}

/* By lines, and there by time: values that are held, and sessions, come as they are counted. */
static int attempt_cmp(const void *a, const void *b, void *ctx)
{
    const struct bound_query *query = ctx;
    const struct attempt *x = a;
    const struct attempt *y = b;
    int order = query->has_each ? (x->line->begin_ms > y->line->begin_ms) -
                                      (x->line->begin_ms < y->line->begin_ms)
                                : 0;
    bool has_keys =
        query->funnel.at == FUNNEL_AT_ALL_STEPS && x->line->keys != NULL && y->line->keys != NULL;
    for (uint32_t k = 0; order == 0 && has_keys && k < query->key_count; k++) {
        order = cell_cmp(&x->line->keys[k], &y->line->keys[k]);
    }
    if (order == 0) {
        int64_t x_ms = event_of(x, 0)->time_ms;
        int64_t y_ms = event_of(y, 0)->time_ms;
        order = (x_ms > y_ms) - (x_ms < y_ms);
    }
    return order != 0 ? order : (x->line > y->line) - (x->line < y->line);
}

static enum err_code attempts_make(struct why *why, const struct bound_query *query,
                                   struct verdicts *v, struct err *err)
{
    v->attempt_count = v->notes.line_count;
    ERR_TRY(ARENA_NEW(why->run->arena, v->attempt_count, &v->attempts, err));
    for (uint32_t i = 0; i < v->attempt_count; i++) {
        const struct why_line *line = &v->notes.lines[i];
        v->attempts[i] = (struct attempt){line->level, line, &v->notes};
    }
    if (has_attempts(&query->funnel)) {
        struct bound_query by = *query; /* qsort_r takes nothing const */
        qsort_r(v->attempts, v->attempt_count, sizeof(*v->attempts), attempt_cmp, &by);
    }
    return ERR_OK;
}

static enum err_code verdicts_make(struct why *why, const struct bound_query *query,
                                   struct verdicts *v, struct err *err)
{
    v->notes.arena = why->run->arena;
    ERR_TRY(why_run(why, query, run_funnel, &v->notes, err));
    ERR_TRY(attempts_make(why, query, v, err));
    uint32_t count = 0;
    for (uint32_t i = 0; i < v->attempt_count; i++) {
        bool is_next = i == 0 || !has_attempts(&query->funnel) ||
                       !is_same_line(query, v->attempts[i - 1].line, v->attempts[i].line);
        count += is_next ? 1 : 0;
    }
    ERR_TRY(ARENA_NEW(why->run->arena, MAX_OF(count, 1u), &v->lines, err));
    v->lines[0].furthest.notes = &v->notes;
    v->count = 0;
    for (uint32_t i = 0; i < v->attempt_count; i++) {
        const struct attempt *attempt = &v->attempts[i];
        if (i == 0 || !has_attempts(&query->funnel) ||
            !is_same_line(query, v->attempts[i - 1].line, attempt->line)) {
            v->lines[v->count++] = (struct told_line){.begin = i, .furthest = *attempt};
        }
        struct told_line *line = &v->lines[v->count - 1];
        line->end = i + 1;
        line->furthest = attempt->level > line->furthest.level ? *attempt : line->furthest;
    }
    v->count = MAX_OF(v->count, 1u);
    return ERR_OK;
}

/* ---- what ended them ---- */

/* Ask without `rules`, and note what they are to blame for: as `number`, one of them or ALL_RULES. */
static enum err_code find_blame(struct why *why, const struct bound_query *query,
                                struct verdicts *v, uint32_t rules, uint32_t number,
                                struct err *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_create(&why->run->budget);
    struct why_notes notes = {0};
    bool was = false;
    ERR_TRY(ask_without(why, query, rules, arena, &notes, &was, err));
    for (uint32_t i = 0; was && i < v->count; i++) {
        const struct attempt *own = &v->lines[i].furthest;
        struct blame *blame = &v->lines[i].blames[number];
        ERR_TRY(run_check(why->run, err));
        struct attempt without = attempt_in(query, own->line, &notes);
        blame->is_due = without.level > own->level;
        if (blame->is_due) {
            ERR_TRY(why_keep_event(why, ended_event(query, number, own, &v->notes, &without),
                                   &blame->event, err));
        }
    }
    return ERR_OK;
}

/* Who has entered is not told of attempts at another time: the range is a rule for the others. */
static enum err_code blame_rules(struct why *why, const struct bound_query *query,
                                 struct verdicts *v, struct err *err)
{
    uint32_t all = (1u << RULE_COUNT) - 1;
    all &= v->notes.line_count > 0 ? ~(1u << RULE_RANGE) : ~0u;
    for (uint32_t rule = 0; rule < RULE_COUNT; rule++) {
        ERR_TRY(find_blame(why, query, v, all & 1u << rule, rule, err));
    }
    /* in any order the rules of order say nothing */
    return find_blame(why, query, v, all & ~(1u << RULE_ORDER), ALL_RULES, err);
}

/* ---- the whole ---- */

static enum err_code add_reasons(struct why *why, const struct told_line *line, struct err *err)
{
    bool is_told = false;
    for (uint32_t rule = 0; rule < RULE_COUNT; rule++) {
        const struct blame *blame = &line->blames[rule];
        if (blame->is_due) {
            is_told = true;
            ERR_TRY(add_ended(why, &line->furthest, rule_names[rule], blame->event, err));
        }
    }
    const struct blame *all = &line->blames[ALL_RULES];
    return is_told ? ERR_OK
                   : add_ended(why, &line->furthest, all->is_due ? "several rules" : "no event",
                               all->event, err);
}

static bool is_whole(const struct bound_query *query, const struct attempt *attempt)
{
    return attempt->level >= goal_of(&query->funnel);
}

/* How far it got, as `item`. */
static struct why_row level_row(const struct bound_query *query, const struct attempt *attempt,
                                const char *item)
{
    bool is_converted = is_whole(query, attempt);
    struct why_row row = line_row(attempt->line, item);
    row.number = number_cell(attempt->level);
    row.holds = is_converted ? WHY_YES : WHY_NO;
    row.note = is_converted         ? STR("converted")
               : attempt->level > 0 ? STR("stopped")
                                    : STR("not entered");
    return row;
}

/* The steps of an attempt, and behind those of the line's furthest what ended it. */
static enum err_code add_attempt(struct why *why, const struct bound_query *query,
                                 const struct told_line *line, const struct attempt *attempt,
                                 struct err *err)
{
    ERR_TRY(add_steps(why, query, attempt, err));
    if (attempt->line != line->furthest.line || is_whole(query, attempt)) {
        return ERR_OK;
    }
    ERR_TRY(add_open(why, query, attempt, err));
    return add_reasons(why, line, err);
}

static enum err_code add_line(struct why *why, const struct bound_query *query,
                              const struct verdicts *v, const struct told_line *line,
                              struct err *err)
{
    ERR_TRY(why_add(why, level_row(query, &line->furthest, "verdict"), err));
    if (!has_attempts(&query->funnel) || line->begin == line->end) {
        return add_attempt(why, query, line, &line->furthest, err);
    }
    const char *item = query->funnel.count == FUNNEL_SESSIONS ? "session" : "attempt";
    for (uint32_t i = line->begin; i < line->end; i++) {
        struct why_row row = level_row(query, &v->attempts[i], item);
        row.event = event_of(&v->attempts[i], 0);
        ERR_TRY(i % 64 == 0 ? run_check(why->run, err) : ERR_OK);
        ERR_TRY(why_add(why, row, err));
        ERR_TRY(add_attempt(why, query, line, &v->attempts[i], err));
    }
    return ERR_OK;
}

enum err_code why_funnel(struct why *why, const struct bound_query *query, struct err *err)
{
    struct verdicts *v = NULL; /* rows point into it */
    bool is_all_whole = true;
    ERR_TRY(ARENA_NEW(why->run->arena, 1, &v, err));
    ERR_TRY(verdicts_make(why, query, v, err));
    for (uint32_t i = 0; i < v->count; i++) {
        is_all_whole = is_all_whole && is_whole(query, &v->lines[i].furthest);
    }
    ERR_TRY(is_all_whole ? ERR_OK : blame_rules(why, query, v, err));
    for (uint32_t i = 0; i < v->count; i++) {
        ERR_TRY(add_line(why, query, v, &v->lines[i], err));
    }
    return ERR_OK;
}
