/* query/verb_segment.c - the people that a condition says; segment_task.c finds those of a task. */
#include "query/verb_segment.h"

#include "query/pred_eval.h"
#include "query/run_people.h"
#include "storage/base/rng.h"

/* ---- plan ---- */

static void plan_leaves(struct segment_plan *plan, const struct cond *cond)
{
    for (uint32_t k = 0; k < cond->kid_count; k++) {
        plan_leaves(plan, cond->kids[k]);
    }
    if (cond->kind != COND_DID && cond->kind != COND_MEASURE) {
        return;
    }
    plan->leaves[cond->leaf] = cond;
    if (cond->kind == COND_MEASURE && cond->agg != AGG_COUNT) {
        plan->cols[plan->col_count++] = pred_field_col(&cond->field);
    }
}

/* The subjects of listed ids: each a user's, else a device's. */
static enum err_code plan_ids(struct query_run_ctx *run, struct segment_plan *plan,
                              const struct cond *cond, struct err *err)
{
    for (uint32_t k = 0; k < cond->kid_count; k++) {
        ERR_TRY(plan_ids(run, plan, cond->kids[k], err));
    }
    if (cond->kind != COND_IDS) {
        return ERR_OK;
    }
    struct people *people = &plan->ids[cond->leaf];
    for (uint32_t i = 0; i < cond->id_count; i++) {
        uint32_t shard = 0;
        uint32_t subject = 0;
        if (run_find_subject(run, cond->ids[i], &shard, &subject)) {
            ERR_TRY(people_add(people, shard, subject, err));
        }
    }
    return ERR_OK;
}

static enum err_code plan_make(struct query_run_ctx *run, struct segment_plan *plan,
                               struct err *err)
{
    const struct bound_query *query = run->query;
    const struct people_segment *segment = &query->segment;
    uint32_t leaf_count = segment->leaf_count + (segment->has_universe ? 1 : 0);
    plan->root = segment->cond;
    plan->leaf_count = leaf_count;
    ERR_TRY(rng_system(&plan->hash_seed, sizeof(plan->hash_seed), err));
    ERR_TRY(ARENA_NEW(run->arena, leaf_count, &plan->leaves, err));
    ERR_TRY(ARENA_NEW(run->arena, leaf_count, &plan->cols, err));
    ERR_TRY(ARENA_NEW(run->arena, leaf_count, &plan->ids, err));
    for (uint32_t i = 0; i < leaf_count; i++) {
        people_init(&plan->ids[i], run->arena);
    }
    if (segment->has_universe) {
        struct cond *universe = NULL;
        ERR_TRY(ARENA_NEW(run->arena, 1, &universe, err));
        *universe = (struct cond){
            .kind = COND_DID,
            .leaf = segment->leaf_count,
            .selector = segment->universe_selector,
            .begin_ms = query->from_ms,
            .end_ms = query->to_ms,
        };
        plan->universe = universe;
        plan->leaves[universe->leaf] = universe;
    }
    plan_leaves(plan, plan->root);
    return plan_ids(run, plan, plan->root, err);
}

static void plan_done(struct segment_plan *plan)
{
    for (uint32_t i = 0; plan->ids != NULL && i < plan->leaf_count; i++) {
        people_done(&plan->ids[i]);
    }
}

static void parts_free(struct run_tasks *tasks)
{
    struct segment_part *parts = tasks->slots;
    for (uint32_t t = 0; t < tasks->count; t++) {
        if (parts[t].pool.arena != NULL) { /* the task was begun */
            people_pool_done(&parts[t].pool);
        }
    }
    run_tasks_free(tasks);
}

enum err_code segment_people(struct query_run_ctx *run, struct people *ret, struct err *err)
{
    CLEANUP(plan_done) struct segment_plan plan = {0};
    CLEANUP(parts_free) struct run_tasks tasks = {0};
    ERR_TRY(plan_make(run, &plan, err));
    run->verb_plan = &plan;
    ERR_TRY(run_all_tasks(run, segment_task, sizeof(struct segment_part), &tasks, err));
    const struct segment_part *parts = tasks.slots;
    for (uint32_t t = 0; t < tasks.count; t++) {
        if (parts[t].set != NULL) {
            ERR_TRY(people_or(ret, parts[t].shard, parts[t].set->bits, err));
        }
    }
    return ERR_OK;
}
