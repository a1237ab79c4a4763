/* query/why_segment.c - why a user is in a segment, or is not.
 *
 *     verdict     holds = in it; note: in, not in, no event (in the query's range: then nothing is asked)
 *     condition   the whole and each of its parts, in the order of the text: holds; note: its words; number: of a test what
 *                 was measured, or how many events it is about
 *     event       behind a test: the first of these events; more: how many others there are
 *     ...         behind a test of `reached` the rows of its funnel (why_funnel.c)
 *
 * What holds is what the segment's own task found for the user alone.
 */
#include "query/why_int.h"

#include "query/run_people.h"
#include "query/verb_segment.h"
#include "storage/base/size.h"

#define EVENTS_SHOWN 10u

/* ---- the segment's own answer ---- */

static void people_donep(struct people *people)
{
    people_done(people);
}

static enum err_code run_segment(struct query_run_ctx *run, struct err *err)
{
    CLEANUP(people_donep) struct people people;
    struct result none = {.arena = run->arena};
    people_init(&people, run->arena);
    if (run->query->per != NULL) {
        return segment_per_key(run, &none, err);
    }
    return segment_people(run, &people, err);
}

/* NULL: the task was not run, for there is nothing to be looked at. */
static const struct why_part *part_of(const struct why_notes *notes, const struct cond *cond)
{
    for (uint32_t i = 0; i < notes->part_count; i++) {
        if (notes->parts[i].cond == cond) {
            return &notes->parts[i];
        }
    }
    return NULL;
}

/* ---- the events that tests are about ---- */

struct event_wants {
    struct scan_want items[QUERY_SELECTORS_MAX];
    uint32_t count;
};

static bool looks_at_events(const struct cond *cond)
{
    return (cond->kind == COND_DID || cond->kind == COND_MEASURE) && cond->begin_ms < cond->end_ms;
}

/* One want per selector, over all the time that tests look at. */
static void add_wants(const struct cond *cond, struct event_wants *wants)
{
    for (uint32_t k = 0; k < cond->kid_count; k++) {
        add_wants(cond->kids[k], wants);
    }
    if (!looks_at_events(cond)) {
        return;
    }
    uint32_t w = 0;
    while (w < wants->count && wants->items[w].selector != cond->selector) {
        w++;
    }
    if (w == wants->count) {
        wants->items[wants->count++] =
            (struct scan_want){cond->selector, cond->begin_ms, cond->end_ms};
    }
    wants->items[w].begin_ms = MIN_OF(wants->items[w].begin_ms, cond->begin_ms);
    wants->items[w].end_ms = MAX_OF(wants->items[w].end_ms, cond->end_ms);
}

static enum err_code events_task(struct query_run_ctx *run, struct walk *walk, struct arena *arena,
                                 void *slot, struct err *err)
{
    (void)arena;
    (void)slot;
    struct journey journey;
    bool has_more = false;
    ERR_TRY(walk_next(walk, &journey, &has_more, err));
    return has_more ? why_note_journey(run->notes, journey.times, journey.masks, journey.lanes[0],
                                       journey.count, walk_groups(walk, 0), err)
                    : ERR_OK;
}

static enum err_code run_events(struct query_run_ctx *run, struct err *err)
{
    CLEANUP(run_tasks_free) struct run_tasks tasks = {0};
    struct event_wants wants = {.count = 0};
    struct by_key keys[2];
    add_wants(run->query->segment.cond, &wants);
    const struct walk_spec spec = {
        .query = run->query,
        .wants = wants.items,
        .want_count = wants.count,
        .lanes = {why_lane(keys)},
        .lane_count = 1,
        .is_ordered = true,
        .subject = run->query->per,
    };
    return wants.count == 0 ? ERR_OK : walk_all(run, &spec, events_task, 1, &tasks, err);
}

static bool is_about(const struct cond *cond, const struct why_event *event)
{
    for (uint32_t k = 0; k < cond->kid_count; k++) {
        if (is_about(cond->kids[k], event)) {
            return true;
        }
    }
    return looks_at_events(cond) && (event->mask >> cond->selector & 1) != 0 &&
           event->time_ms >= cond->begin_ms && event->time_ms < cond->end_ms;
}

static uint64_t count_events(const struct cond *cond, const struct why_notes *events)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < events->event_count; i++) {
        count += is_about(cond, &events->events[i]) ? 1 : 0;
    }
    return count;
}

/* ---- rows ---- */

static struct cell number_cell(uint64_t number)
{
    return (struct cell){.kind = CELL_I64, .i64 = (int64_t)number};
}

static enum err_code add_events(struct why *why, const struct cond *cond,
                                const struct why_notes *events, struct err *err)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < events->event_count; i++) {
        if (!is_about(cond, &events->events[i])) {
            continue;
        }
        if (count++ < EVENTS_SHOWN) {
            ERR_TRY(
                why_add(why, (struct why_row){.item = "event", .event = &events->events[i]}, err));
        }
    }
    return count <= EVENTS_SHOWN
               ? ERR_OK
               : why_add(
                     why,
                     (struct why_row){.item = "more", .number = number_cell(count - EVENTS_SHOWN)},
                     err);
}

/* The funnel of a `reached`. One that hangs on cohorts or profiles is not asked again: what it knew of them is gone by now. */
static enum err_code add_reached(struct why *why, const struct cond *cond, struct err *err)
{
    const struct bound_query *definition =
        cond->kind == COND_PEOPLE && cond->people->cohort.len == 0 ? cond->people->definition : NULL;
    if (definition == NULL || definition->use_count > 0 || definition->trait_count > 0) {
        return ERR_OK;
    }
    struct bound_query *funnel = NULL;
    ERR_TRY(ARENA_NEW(why->run->arena, 1, &funnel, err));
    *funnel = *definition;
    funnel->cell = NULL;
    return why_funnel(why, funnel, err);
}

static enum err_code add_condition(struct why *why, const struct cond_line *line,
                                   const struct why_notes *notes, const struct why_notes *events,
                                   struct err *err)
{
    const struct cond *cond = line->cond;
    const struct why_part *part = part_of(notes, cond);
    bool has_events = cond->kind != COND_PEOPLE && cond->kind != COND_IDS;
    struct why_row row = {
        .item = "condition",
        .holds = part != NULL && part->is_met ? WHY_YES : WHY_NO,
        .note = line->text,
    };
    if (cond->kind == COND_MEASURE || cond->kind == COND_FORMULA) {
        row.number = part == NULL ? row.number : part->value;
    } else if (line->is_test && has_events) {
        row.number = number_cell(count_events(cond, events));
    }
    ERR_TRY(why_add(why, row, err));
    if (!line->is_test) {
        return ERR_OK;
    }
    ERR_TRY(add_events(why, cond, events, err));
    return add_reached(why, cond, err);
}

enum err_code why_segment(struct why *why, const struct bound_query *query, struct err *err)
{
    const struct people_segment *segment = &query->segment;
    struct why_notes notes = {.arena = why->run->arena};
    struct why_notes events = {.arena = why->run->arena};
    ERR_TRY(why_run(why, query, run_segment, &notes, err));
    ERR_TRY(why_run(why, query, run_events, &events, err));
    const struct why_part *whole = part_of(&notes, segment->cond);
    bool is_in = whole != NULL && whole->is_met;
    ERR_TRY(why_say(why, "verdict", is_in,
                    is_in                  ? "in"
                    : notes.is_in_universe ? "not in"
                                           : "no event",
                    err));
    for (uint32_t i = 0; i < segment->line_count; i++) {
        ERR_TRY(add_condition(why, &segment->lines[i], &notes, &events, err));
    }
    return ERR_OK;
}
