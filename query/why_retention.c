/* query/why_retention.c - why a user is where it is in a retention.
 *
 *     verdict   number = in how many cohorts; note: member, no member
 *     start     of each: the event that it starts with
 *     period    of each: holds = back, and counted; by which event first; note: how many returns it has, or that it is not
 *               over (of `average`: for the whole cohort)
 *     ended     of no member: for each rule without which, alone, it would have been one; note: the rule. The event is the
 *               start that it would have had
 *
 * A period's number and whether the user was back in it are the kernel's; the events are those of the journey that lie in
 * the times which the mode takes the period for: itself, what follows it, what is before it, the periods of a bracket.
 */
#include "query/why_int.h"

#include "query/retention_int.h"
#include "query/saturating.h"
#include "storage/base/size.h"

enum rule { RULE_FIRST, RULE_WHERE, RULE_RANGE, RULE_COUNT };
static const char *const rule_names[RULE_COUNT] = {
    [RULE_FIRST] = "first", [RULE_WHERE] = "where", [RULE_RANGE] = "range"};

static enum err_code run_retention(struct query_run_ctx *run, struct err *err)
{
    struct result none = {.arena = run->arena}; /* the verb returns before its table */
    return verb_retention(run, &none, err);
}

/* ---- periods ---- */

/* Times that a column is about: [begin, end). */
struct span {
    int64_t begin_ms, end_ms;
};

static int64_t period_begin(const struct retention_spec *spec, uint32_t slot, int64_t start_ms,
                            uint32_t period)
{
    if (spec->rolling_ms == 0) {
        return spec->begins[MIN_OF(slot + period, spec->slot_count)];
    }
    uint64_t after_ms = 0;
    bool is_beyond = __builtin_mul_overflow(spec->rolling_ms, (uint64_t)period, &after_ms);
    return is_beyond ? INT64_MAX : ms_add_saturating(start_ms, after_ms);
}

static struct span column_span(const struct retention_spec *spec, uint32_t slot, int64_t start_ms,
                               uint32_t column)
{
    uint32_t first = column;
    uint32_t last = column;
    if (spec->mode == RETENTION_BRACKET) {
        first = spec->brackets[column].first;
        last = spec->brackets[column].last;
    } else if (spec->mode == RETENTION_UNTIL) {
        first = 0;
    }
    struct span span = {period_begin(spec, slot, start_ms, first),
                        period_begin(spec, slot, start_ms, last + 1)};
    if (spec->mode == RETENTION_UNBOUNDED) {
        span.end_ms = INT64_MAX;
    }
    return span;
}

/* The returns of a column; *ret_first NULL where there is none. */
static uint64_t returns_in(const struct why_notes *notes, const struct why_line *line,
                           struct span span, const struct why_event **ret_first)
{
    uint64_t count = 0;
    *ret_first = NULL;
    for (uint32_t i = 0; i < notes->event_count; i++) {
        const struct why_event *event = &notes->events[i];
        bool is_start = i == line->start && line->is_start_return;
        if ((event->mask & RETENTION_RETURN) != 0 && !is_start && event->time_ms >= span.begin_ms &&
            event->time_ms < span.end_ms) {
            *ret_first = count == 0 ? event : *ret_first;
            count++;
        }
    }
    return count;
}

/* ---- rows ---- */

static struct why_row line_row(const struct why_line *line, const char *item)
{
    return (struct why_row){
        .item = item, .has_begin = true, .begin_ms = line->begin_ms, .keys = line->keys};
}

static enum err_code add_period(struct why *why, const struct retention_plan *plan,
                                const struct why_notes *notes, const struct why_line *line,
                                uint32_t column, struct err *err)
{
    const struct retention_spec *spec = &plan->spec;
    struct why_row row = line_row(line, spec->mode == RETENTION_BRACKET ? "bracket" : "period");
    int64_t start_ms = notes->events[line->start].time_ms;
    struct span span = column_span(spec, line->slot, start_ms, column);
    uint64_t count = returns_in(notes, line, span, &row.event);
    /* an average counts complete cells only */
    bool is_counted = !why->run->query->retention.is_average ||
                      retention_is_complete(why->run, plan, line->slot, column);
    bool is_back = line->users[column] > 0 && is_counted;
    row.number = (struct cell){.kind = CELL_I64, .i64 = column};
    row.holds = is_back ? WHY_YES : WHY_NO;
    if (!is_back && (!is_counted || span.end_ms > why->run->query->now_ms)) {
        row.note = STR("not over");
    } else {
        ERR_TRY(arena_printf(why->run->arena, &row.note, err, "%llu %s", (unsigned long long)count,
                             count == 1 ? "return" : "returns"));
    }
    return why_add(why, row, err);
}

static enum err_code add_member(struct why *why, const struct retention_plan *plan,
                                const struct why_notes *notes, const struct why_line *line,
                                struct err *err)
{
    struct why_row row = line_row(line, "start");
    ASSERT(line->start != WHY_NO_EVENT);
    row.holds = WHY_YES;
    row.event = &notes->events[line->start];
    ERR_TRY(why_add(why, row, err));
    for (uint32_t column = 0; column < plan->spec.column_count; column++) {
        ERR_TRY(add_period(why, plan, notes, line, column, err));
    }
    return ERR_OK;
}

/* ---- no member ---- */

static bool drop_rule(struct bound_query *query, enum rule rule)
{
    struct retention *retention = &query->retention;
    bool was = false;
    switch (rule) {
    case RULE_FIRST:
        was = retention->start == RETENTION_FIRST_EVER_UNFILTERED ||
              retention->start == RETENTION_FIRST_EVER;
        retention->start = was ? RETENTION_FIRST : retention->start;
        break;
    case RULE_WHERE:
        was = query->where != NULL;
        query->where = NULL;
        break;
    case RULE_RANGE:
        was = query->has_range;
        query->has_range = false;
        query->from_ms = INT64_MIN;
        query->to_ms = INT64_MAX;
        break;
    case RULE_COUNT: break;
    }
    return was;
}

/* The start that the user would have without some rules; NULL: none, or there are no such rules. */
static enum err_code start_without(struct why *why, const struct bound_query *query, uint32_t rules,
                                   const struct why_event **ret, struct err *err)
{
    CLEANUP(arena_freep) struct arena *arena = arena_create(&why->run->budget);
    struct bound_query other = *query;
    struct why_notes notes = {.arena = arena};
    bool was = false;
    *ret = NULL;
    for (uint32_t rule = 0; rule < RULE_COUNT; rule++) {
        was = ((rules >> rule & 1) != 0 && drop_rule(&other, (enum rule)rule)) || was;
    }
    if (!was) {
        return ERR_OK;
    }
    ERR_TRY(why_run(why, &other, run_retention, &notes, err));
    return notes.line_count == 0
               ? ERR_OK
               : why_keep_event(why, &notes.events[notes.lines[0].start], ret, err);
}

static enum err_code add_ended(struct why *why, const char *note, const struct why_event *event,
                               struct err *err)
{
    return why_add(why, (struct why_row){.item = "ended", .event = event, .note = str_of(note)},
                   err);
}

static enum err_code add_reasons(struct why *why, const struct bound_query *query, struct err *err)
{
    const struct why_event *event = NULL;
    bool is_told = false;
    for (uint32_t rule = 0; rule < RULE_COUNT; rule++) {
        ERR_TRY(start_without(why, query, 1u << rule, &event, err));
        if (event != NULL) {
            is_told = true;
            ERR_TRY(add_ended(why, rule_names[rule], event, err));
        }
    }
    if (is_told) {
        return ERR_OK;
    }
    ERR_TRY(start_without(why, query, (1u << RULE_COUNT) - 1, &event, err));
    return add_ended(why, event != NULL ? "several rules" : "no event", event, err);
}

/* ---- the whole ---- */

/* The plan that the verb makes of the query, for its periods. */
static enum err_code add_members(struct why *why, const struct bound_query *query,
                                 const struct why_notes *notes, struct err *err)
{
    struct query_run_ctx *run = why->run;
    const struct bound_query *own = run->query;
    struct retention_plan *plan = NULL;
    run->query = query;
    enum err_code code = retention_plan_make(run, &plan, err);
    run->query = own;
    ERR_TRY(code);
    ASSERT(plan != NULL); /* there are members */
    for (uint32_t i = 0; i < notes->line_count; i++) {
        ERR_TRY(add_member(why, plan, notes, &notes->lines[i], err));
    }
    return ERR_OK;
}

enum err_code why_retention(struct why *why, const struct bound_query *query, struct err *err)
{
    struct why_notes notes = {.arena = why->run->arena};
    ERR_TRY(why_run(why, query, run_retention, &notes, err));
    struct why_row row = {
        .item = "verdict",
        .number = {.kind = CELL_I64, .i64 = notes.line_count},
        .holds = notes.line_count > 0 ? WHY_YES : WHY_NO,
        .note = notes.line_count > 0 ? STR("member") : STR("no member"),
    };
    ERR_TRY(why_add(why, row, err));
    return notes.line_count == 0 ? add_reasons(why, query, err)
                                 : add_members(why, query, &notes, err);
}
