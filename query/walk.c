/* query/walk.c - walks by user, and the door to both kinds. */
#include "query/subject_bits.h"
#include "query/walk_int.h"
#include "storage/base/size.h"

#define MANY_PARTS 4u /* subjects are many when they are more than a fourth of the task's */

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

/* As the spec has it, with the lanes that the task has. */
static struct journeys_spec journeys_spec_of(const struct walk *walk)
{
    const struct walk_spec *spec = walk->spec;
    struct journeys_spec ret = {
        .query = spec->query,
        .wants = spec->wants,
        .want_count = spec->want_count,
        .lane_count = spec->lane_count,
        .is_ordered = spec->is_ordered,
        .firsts = spec->firsts,
    };
    for (uint32_t i = 0; i < spec->lane_count; i++) {
        ret.lanes[i] = walk->lanes[i];
    }
    return ret;
}

static void journeys_end(struct walk *walk)
{
    struct journeys *journeys = TAKE(walk->journeys);
    journeys_closep(&journeys);
    arena_free(TAKE(walk->again_arena));
}

static void walk_end(struct walk *walk)
{
    journeys_end(walk);
    outcomes_close(TAKE(walk->outcomes));
}

static enum err_code user_task(struct query_run_ctx *run, const struct run_task *task,
                               struct arena *arena, struct io *io, void *slot, struct err *err)
{
    const struct user_walk *plan = run->walk_plan;
    const struct walk_spec *spec = plan->spec;
    CLEANUP(walk_end)
    struct walk walk = {
        .run = run, .spec = spec, .task = task, .arena = arena, .io = io, .shard = task->shard};

    for (uint32_t i = 0; i < spec->lane_count; i++) {
        ERR_TRY(groups_create(plan->lane_queries[i], arena, &walk.lanes[i], err));
    }
    ERR_TRY(outcomes_open(run, spec->outcomes, task, arena, io, &walk.outcomes, err));
    struct journeys_spec journeys_spec = journeys_spec_of(&walk);
    journeys_spec.rows = outcomes_rows(walk.outcomes);
    ERR_TRY(journeys_open(run, task, &journeys_spec, arena, io, &walk.journeys, err));
    return plan->fn(run, &walk, arena, slot, err);
}

/* ---- again ---- */

enum err_code walk_subjects_make(const struct walk *walk, struct walk_subjects *ret,
                                 struct err *err)
{
    uint32_t begin = walk->task->subject_begin;
    uint32_t end = run_task_end(walk->run, walk->task);
    *ret = (struct walk_subjects){.word_count = end <= begin ? 0 : ((size_t)end - begin + 63) / 64,
                                  .base = begin};
    return ARENA_NEW(walk->arena, ret->word_count, &ret->words, err);
}

static bool is_of_again(const struct walk *walk, uint32_t subject)
{
    uint32_t bit = subject - walk->again->base;
    return (walk->again->words[bit / 64] >> (bit % 64) & 1) != 0;
}

/* The subjects' rows by source, none where a source has no row in [from_ms, to_ms); NULL: all, of which theirs are picked. */
static enum err_code rows_again(const struct walk *walk, int64_t from_ms, int64_t to_ms,
                                struct journey_rows **ret, struct err *err)
{
    const struct walk_subjects *subjects = walk->again;
    const struct run_task *task = walk->task;
    uint64_t all = run_task_end(walk->run, task) - task->subject_begin;
    *ret = NULL;
    if (bits_count(subjects->words, subjects->word_count) > all / MANY_PARTS) {
        return ERR_OK;
    }
    ERR_TRY(ARENA_NEW(walk->again_arena, task->source_count, ret, err));
    for (uint32_t s = 0; s < task->source_count; s++) {
        const struct source *source = task->sources[s];
        if (source->time_max_ms >= from_ms && source->time_min_ms < to_ms) {
            ERR_TRY(journey_rows_of_bits(walk->run, source, subjects->base, subjects->words,
                                         subjects->word_count, walk->again_arena, walk->io,
                                         &(*ret)[s], err));
        }
    }
    return ERR_OK;
}

enum err_code walk_again(struct walk *walk, const struct walk_subjects *subjects, int64_t from_ms,
                         struct err *err)
{
    struct journeys_spec spec = journeys_spec_of(walk);
    struct scan_want *wants = NULL;
    struct journey_rows *rows = NULL;
    int64_t to_ms = INT64_MIN;

    ASSERT(walk->part == NULL && spec.firsts == NULL && walk->outcomes == NULL);
    journeys_end(walk);
    walk->again_arena = arena_create(arena_budget(walk->arena));
    walk->again = subjects;
    ERR_TRY(ARENA_NEW(walk->again_arena, spec.want_count, &wants, err));
    for (uint32_t i = 0; i < spec.want_count; i++) {
        wants[i] = spec.wants[i];
        wants[i].begin_ms = from_ms;
        to_ms = MAX_OF(to_ms, wants[i].end_ms);
    }
    ERR_TRY(rows_again(walk, from_ms, to_ms, &rows, err));
    spec.wants = wants;
    spec.rows = rows;
    return journeys_open(walk->run, walk->task, &spec, walk->again_arena, walk->io, &walk->journeys,
                         err);
}

/* ---- all ---- */

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
    bool is_due = false;
    do { /* who has nothing but a first event that is expired may come along */
        ERR_TRY(journeys_next(walk->journeys, ret, ret_more, err));
        is_due = !*ret_more || (outcomes_are_due(walk->outcomes, ret->subject) &&
                                (walk->again == NULL || is_of_again(walk, ret->subject)));
    } while (!is_due);
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
