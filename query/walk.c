/* query/walk.c - walks by user, and the door to both kinds. */
#include "query/walk_int.h"

struct user_walk {
    const struct walk_spec *spec;
    const struct bound_query *lane_queries[JOURNEY_LANES_MAX - 1];
    walk_fn fn;
};

enum err_code walk_lane_query(const struct walk_spec *spec, uint32_t lane, struct arena *arena,
                              const struct bound_query **ret, struct err *err)
{
    struct bound_query *query = NULL;
    ERR_TRY(ARENA_NEW(arena, 1, &query, err));
    *query = *spec->query;
    query->keys = spec->lanes[lane].keys;
    query->key_count = spec->lanes[lane].key_count;
    *ret = query;
    return ERR_OK;
}

static enum err_code user_task(struct query_run_ctx *run, const struct run_task *task,
                               struct arena *arena, struct io *io, void *slot, struct err *err)
{
    const struct user_walk *plan = run->walk_plan;
    const struct walk_spec *spec = plan->spec;
    struct walk walk = {.shard = task->shard};
    CLEANUP(outcomes_closep) struct outcomes *outcomes = NULL;
    CLEANUP(journeys_closep) struct journeys *journeys = NULL;
    struct journeys_spec journeys_spec = {
        .query = spec->query,
        .wants = spec->wants,
        .want_count = spec->want_count,
        .lane_count = spec->lane_count,
        .is_ordered = spec->is_ordered,
        .firsts = spec->firsts,
    };

    for (uint32_t i = 0; i < spec->lane_count; i++) {
        ERR_TRY(groups_create(plan->lane_queries[i], arena, &walk.lanes[i], err));
        journeys_spec.lanes[i] = walk.lanes[i];
    }
    ERR_TRY(outcomes_open(run, spec->outcomes, task, arena, io, &outcomes, err));
    journeys_spec.rows = outcomes_rows(outcomes);
    ERR_TRY(journeys_open(run, task, &journeys_spec, arena, io, &journeys, err));
    walk.journeys = journeys;
    walk.outcomes = outcomes;
    return plan->fn(run, &walk, arena, slot, err);
}

enum err_code walk_all(struct query_run_ctx *run, const struct walk_spec *spec, walk_fn fn,
                       size_t slot_bytes, struct run_tasks *ret, struct err *err)
{
    struct user_walk plan = {.spec = spec, .fn = fn};

    if (spec->subject != NULL) {
        return walk_all_keys(run, spec, fn, slot_bytes, ret, err);
    }
    for (uint32_t i = 0; i < spec->lane_count; i++) {
        ERR_TRY(walk_lane_query(spec, i, run->arena, &plan.lane_queries[i], err));
    }
    run->walk_plan = &plan;
    enum err_code code = run_all_tasks(run, user_task, slot_bytes, ret, err);
    run->walk_plan = NULL;
    return code;
}

enum err_code walk_next(struct walk *walk, struct journey *ret, bool *ret_more, struct err *err)
{
    if (walk->part != NULL) {
        return key_part_next(walk->part, ret, ret_more, err);
    }
    do { /* who has nothing but a first event that is expired may come along */
        ERR_TRY(journeys_next(walk->journeys, ret, ret_more, err));
    } while (*ret_more && !outcomes_are_due(walk->outcomes, ret->subject));
    return ERR_OK;
}

struct groups *walk_groups(const struct walk *walk, uint32_t lane)
{
    return walk->lanes[lane];
}

struct outcomes *walk_outcomes(const struct walk *walk)
{
    return walk->outcomes;
}

uint32_t walk_shard(const struct walk *walk)
{
    return walk->shard;
}
