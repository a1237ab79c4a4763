/* query/export_columns.c - which properties some row of `events` has, without its rows being put together.
 *
 * A task goes through its rows, and asks of each block only for the properties that none of its rows has had so far: what is
 * common is found in the first block, and what a source has not costs nothing.
 *
 * Thread: a task writes its own slot; they are united by the calling thread.
 */
#include "query/export_int.h"

#include "query/scan.h"

struct columns_plan {
    const struct field *fields; /* of the properties, by number */
    uint32_t count;
};
struct columns_part {
    bool *is_used; /* by number */
};

static enum err_code look_at_block(const struct columns_plan *plan, struct scan *scan,
                                   const struct scan_block *block, struct columns_part *part,
                                   struct err *err)
{
    for (uint32_t p = 0; p < plan->count; p++) {
        struct vec vec = {.kind = VEC_ABSENT};
        const uint32_t *places = NULL;
        if (part->is_used[p]) {
            continue;
        }
        ERR_TRY(scan_field(scan, &plan->fields[p], &vec, &places, err));
        for (uint32_t i = 0; vec.kind != VEC_ABSENT && i < block->count && !part->is_used[p]; i++) {
            part->is_used[p] = places[i] != UINT32_MAX;
        }
    }
    return ERR_OK;
}

static enum err_code look_at_source(struct query_run_ctx *run, const struct run_task *task,
                                    const struct source *source, struct arena *arena, struct io *io,
                                    struct columns_part *part, struct err *err)
{
    const struct scan_want want = {
        .selector = 0, .begin_ms = run->query->from_ms, .end_ms = run->query->to_ms};
    const struct scan_spec spec = {
        .query = run->query,
        .wants = &want,
        .want_count = 1,
        .subject_begin = task->subject_begin,
        .subject_end = task->subject_end,
        .deleted = run->snapshot->deleted[task->shard],
        .no_subjects = true,
        .no_index = run_is_reference(run),
    };
    CLEANUP(scan_closep) struct scan *scan = NULL;
    ERR_TRY(scan_open(source, &spec, run, arena, io, &scan, err));
    while (true) {
        struct scan_block block = {0};
        bool has_more = false;
        ERR_TRY(scan_next(scan, &block, &has_more, err));
        if (!has_more) {
            return ERR_OK;
        }
        ERR_TRY(look_at_block(run->verb_plan, scan, &block, part, err));
    }
}

static enum err_code columns_task(struct query_run_ctx *run, const struct run_task *task,
                                  struct arena *arena, struct io *io, void *slot, struct err *err)
{
    const struct columns_plan *plan = run->verb_plan;
    struct columns_part *part = slot;
    ERR_TRY(ARENA_NEW(arena, plan->count, &part->is_used, err));
    for (uint32_t s = 0; s < task->source_count; s++) {
        ERR_TRY(look_at_source(run, task, task->sources[s], arena, io, part, err));
    }
    return ERR_OK;
}

enum err_code export_used_columns(struct query_run_ctx *run, export_column_fn take, void *arg,
                                  struct err *err)
{
    CLEANUP(run_tasks_free) struct run_tasks tasks = {0};
    const struct schema *schema = run->snapshot->schema;
    struct columns_plan plan = {.count = schema_count(schema)};
    struct field *fields = NULL;
    ERR_TRY(ARENA_NEW(run->arena, plan.count, &fields, err));
    for (uint32_t p = 0; p < plan.count; p++) {
        const struct schema_col *col = schema_col(schema, p);
        fields[p] = (struct field){FIELD_PROP, col->name, col->type, COL_FIRST_PROP + p};
    }
    plan.fields = fields;
    run->verb_plan = &plan;
    ERR_TRY(run_all_tasks(run, columns_task, sizeof(struct columns_part), &tasks, err));
    for (uint32_t t = 0; t < tasks.count; t++) {
        const struct columns_part *part = run_slot(&tasks, t);
        for (uint32_t p = 0; p < plan.count; p++) {
            if (part->is_used[p]) {
                ERR_TRY(take(arg, fields[p].name, err));
            }
        }
    }
    return ERR_OK;
}
