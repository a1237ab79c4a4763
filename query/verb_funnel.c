/* query/verb_funnel.c - the funnel verb: the plain funnel, and the door to funnels with rules.
 *
 *     plain    journeys -> kernel_funnel (level, start, end) -> funnel_attempt (times of the steps)
 *     rules    journeys -> funnel_task.c, where every rule of the language is known
 *     both     -> funnel_count (users and durations per line) -> funnel_table
 *
 * Every step is a selector of its own in the scan, even when two are the same: only step 1 is bound
 * to the query's range, the later ones may lie beyond its end by the window.
 */
#include "query/funnel_attempt.h"
#include "query/funnel_outcome.h"
#include "query/funnel_prune.h"
#include "query/funnel_table.h"
#include "query/funnel_task.h"
#include "query/journey.h"
#include "storage/base/size.h"

/* What all tasks share; immutable while they run. */
struct funnel_plan {
    struct scan_want wants[QUERY_STEPS_MAX];
    struct funnel_spec spec;
    bool is_pruned; /* by stored sets: funnel_prune.h */
    struct outcomes_plan *outcomes;
};

/* ---- plan ---- */

struct funnel_spec funnel_plain_spec(const struct funnel *funnel)
{
    struct funnel_spec spec = {
        .step_count = funnel->step_count,
        .window_ms = funnel->window_ms,
        .is_strict_ties = funnel->is_strict_ties,
    };
    for (uint32_t i = 0; i < funnel->step_count; i++) {
        const struct funnel_step *step = &funnel->steps[i];
        bool has_limit = i > 0 && step->has_limit;
        spec.limits_ms[i] = has_limit ? step->limit_ms : FUNNEL_NO_LIMIT;
        spec.has_limits = spec.has_limits || has_limit;
    }
    return spec;
}

static enum err_code plan_make(const struct bound_query *query, struct arena *arena,
                               struct funnel_plan **ret, struct err *err)
{
    const struct funnel *funnel = &query->funnel;
    struct funnel_plan *plan = NULL;

    ASSERT(funnel->step_count >= 1 && funnel->step_count <= QUERY_STEPS_MAX);
    ERR_TRY(ARENA_NEW(arena, 1, &plan, err));
    plan->spec = funnel_plain_spec(funnel);
    for (uint32_t i = 0; i < funnel->step_count; i++) {
        plan->wants[i] = (struct scan_want){
            .selector = i,
            .begin_ms = query->from_ms,
            .end_ms = i == 0 ? query->to_ms : funnel_end_ms(query),
        };
    }
    *ret = plan;
    return ERR_OK;
}

/* ---- a task ---- */

/* The group of the attempt's entry. Where several events of the first instant could be the entry,
 * the one with the smallest key: the answer must not hang on ids or on who came first. */
static enum err_code smallest_entry_group(const struct groups *groups, struct journeys *journeys,
                                          const struct journey *journey, size_t begin,
                                          uint32_t first_steps, uint32_t *ret, struct err *err)
{
    struct funnel_journey steps = {journey->times, journey->masks, journey->count};
    struct funnel_instant start = funnel_instant_from(&steps, begin);
    uint32_t entries = 0;
    uint32_t group = 0;
    bool is_one_group = true;

    for (size_t i = start.begin; i < start.end; i++) {
        if ((steps.masks[i] & 1) != 0) {
            ERR_TRY(journey_group(journeys, journey, i, &group, err));
            *ret = entries++ == 0 ? group : *ret;
            is_one_group = is_one_group && group == *ret;
        }
    }
    ASSERT(entries > 0);
    bool is_found = is_one_group;
    for (size_t i = start.begin; !is_one_group && i < start.end; i++) {
        if ((steps.masks[i] & 1) == 0) {
            continue;
        }
        ERR_TRY(journey_group(journeys, journey, i, &group, err));
        bool is_smaller = !is_found || groups_cmp(groups, group, *ret) < 0;
        if (is_smaller && funnel_attempt_is_entry(&steps, start, first_steps, i)) {
            *ret = group;
            is_found = true;
        }
    }
    ASSERT(is_found);
    return ERR_OK;
}

static enum err_code entry_group(const struct groups *groups, struct journeys *journeys,
                                 const struct journey *journey, size_t start, uint32_t first_steps,
                                 uint32_t *ret, struct err *err)
{
    bool is_alone =
        start + 1 == journey->count || journey->times[start + 1] != journey->times[start];
    return is_alone ? journey_group(journeys, journey, start, ret, err)
                    : smallest_entry_group(groups, journeys, journey, start, first_steps, ret, err);
}

/* Scratch for funnel_attempt, as long as the journey. */
struct attempt_scratch {
    uint64_t *words;
    size_t cap;
};

static enum err_code count_subject(const struct bound_query *query, const struct funnel_spec *spec,
                                   struct journeys *journeys, const struct journey *journey,
                                   struct funnel_part *part, struct attempt_scratch *scratch,
                                   struct arena *arena, struct err *err)
{
    struct funnel_journey steps = {journey->times, journey->masks, journey->count};
    int64_t times[QUERY_STEPS_MAX];
    uint32_t first_steps = 1;
    uint32_t group = 0;
    size_t start = 0;
    struct funnel_reach reach = kernel_funnel(spec, steps.times, steps.masks, steps.count);

    if (reach.level == 0) {
        return ERR_OK;
    }
    times[0] = reach.start_ms;
    if (reach.level > 2 || query->key_count > 0) {
        start = funnel_attempt_start(&steps, reach.start_ms);
    }
    if (reach.level == 2) { /* start and end say it all */
        times[1] = reach.end_ms;
        first_steps = reach.start_ms == reach.end_ms ? 2 : 1;
    } else if (reach.level > 2) {
        if (spec->has_limits && scratch->cap < journey->count) {
            size_t cap = MAX_OF(2 * scratch->cap, journey->count);
            ERR_TRY(ARENA_NEW(arena, cap, &scratch->words, err));
            scratch->cap = cap;
        }
        first_steps = funnel_attempt(spec, &steps, &reach, start, scratch->words, times);
    }
    if (query->key_count > 0) {
        ERR_TRY(entry_group(part->groups, journeys, journey, start, first_steps, &group, err));
    }
    struct funnel_counted counted = {reach.level, ~UINT64_C(0), times};
    return funnel_part_count(part, query, arena, group, FUNNEL_COUNTS_LINE | FUNNEL_COUNTS_ALL,
                             &counted, err);
}

static enum err_code funnel_task(struct query_run_ctx *run, const struct run_task *task,
                                 struct arena *arena, struct io *io, void *slot, struct err *err)
{
    const struct funnel_plan *plan = run->verb_plan;
    struct funnel_part *part = slot;
    struct attempt_scratch scratch = {0};
    struct groups *groups = NULL;
    CLEANUP(outcomes_closep) struct outcomes *outcomes = NULL;
    CLEANUP(journeys_closep) struct journeys *journeys = NULL;
    struct funnel_prune prune = {0};
    struct journey journey;
    bool has_more = false;

    ERR_TRY(groups_create(run->query, arena, &groups, err));
    ERR_TRY(funnel_part_init(part, run->query, groups, false, false, arena, err));
    ERR_TRY(funnel_part_watch(part, run, task->shard, NULL, err));
    ERR_TRY(outcomes_open(run, plan->outcomes, task, arena, io, &outcomes, err));
    ERR_TRY(funnel_outcomes_count(outcomes, part, run->query, NULL, arena, err));
    part->outcomes = outcomes;
    if (plan->is_pruned && !outcomes_are_kept(outcomes)) {
        ERR_TRY(funnel_prune(run, task, arena, io, &prune, err));
        ERR_TRY(funnel_part_enter(part, run->query, arena, prune.entered, prune.mature, err));
        outcomes_put_set(outcomes, prune.counted); /* who is counted without a row of its own */
    }
    struct journeys_spec spec = {
        .query = run->query,
        .keep = prune.keep,
        .rows = outcomes_rows(outcomes),
        .wants = plan->wants,
        .want_count = plan->spec.step_count,
        .groups = run->query->key_count > 0 ? part->groups : NULL,
        .has_late_groups = true,
    };
    ERR_TRY(journeys_open(run, task, &spec, arena, io, &journeys, err));
    ERR_TRY(journeys_next(journeys, &journey, &has_more, err));
    while (has_more) {
        part->subject = journey.subject;
        ERR_TRY(
            count_subject(run->query, &plan->spec, journeys, &journey, part, &scratch, arena, err));
        ERR_TRY(journeys_next(journeys, &journey, &has_more, err));
    }
    part->outcomes = NULL;
    funnel_outcomes_keep(outcomes, part, run->query);
    return ERR_OK;
}

/* ---- the verb ---- */

static enum err_code plain_funnel(struct query_run_ctx *run, struct result *result, struct err *err)
{
    CLEANUP(run_tasks_free) struct run_tasks tasks = {0};
    struct funnel_plan *plan = NULL;
    struct answer_buckets buckets = {0};
    struct funnel_merge merge;

    ERR_TRY(plan_make(run->query, run->arena, &plan, err));
    ERR_TRY(answer_buckets(run, &buckets, err));
    plan->is_pruned = funnel_prune_serves(run);
    ERR_TRY(funnel_outcomes_plan_make(run, run->query->from_ms, run->query->from_ms, false,
                                      &plan->outcomes, err));
    run->verb_plan = plan;
    ERR_TRY(run_all_tasks(run, funnel_task, sizeof(struct funnel_part), &tasks, err));
    if (run->query->cell != NULL) {
        return ERR_OK; /* who was counted is asked for, not the table */
    }
    ERR_TRY(funnel_merge(run, &tasks, 0, &buckets, &merge, err));
    return funnel_table(run, &merge, result, err);
}

enum err_code verb_funnel(struct query_run_ctx *run, struct result *result, struct err *err)
{
    bool is_noted = run->notes != NULL; /* which events they were, the plain way does not say */
    return run->query->funnel.is_plain && !is_noted ? plain_funnel(run, result, err)
                                                    : funnel_with_rules(run, result, err);
}
