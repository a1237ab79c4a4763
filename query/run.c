/* query/run.c - cutting a query into tasks, and running them.
 *
 * Shards answer for themselves and their answers add up, so a task never spans two. A shard of many
 * rows is cut further by subject: subjects are whole within a task too. Cuts fall on multiples of
 * 65,536 subjects, which is where segments can be entered without a search, and where a roaring
 * bitmap of subjects has its container borders. Tasks are cut for the number of cores, not for
 * fairness: one of a dear question lasts a second, but gives way between any two blocks (run_check). */
#include "query/run.h"

#include "query/profile.h"
#include "storage/base/clock.h"
#include "storage/base/size.h"

#include <inttypes.h>
#include <stdlib.h>

#define RUN_TASK_ROWS     (1u << 20) /* a shard with more is cut */
#define RUN_SUBJECT_ALIGN (1u << 16)
#define RUN_ONE_ALIGN     64u /* words of subjects begin there */

enum err_code run_check(struct query_run_ctx *run, struct err *err)
{
    pool_yield(); /* others first, where this task has run for long and they have had less */
    /* relaxed: both flags only ask to stop, they publish nothing that is read because of them */
    if (atomic_load_explicit(&run->is_failed, memory_order_relaxed)) {
        return err_set(err, ERR_CANCELLED, "another part of the query failed");
    }
    const struct query_request *request = run->request;
    if (request == NULL) {
        return ERR_OK;
    }
    if (request->cancel != NULL && atomic_load_explicit(request->cancel, memory_order_relaxed)) {
        return err_set(err, ERR_CANCELLED, "the query was cancelled");
    }
    if (request->deadline_us != 0 && clock_mono_us() > request->deadline_us) {
        return err_set(err, ERR_TIMEOUT, "the query's time is over");
    }
    return ERR_OK;
}

void run_mark_source(struct query_run_ctx *run, const struct source *source)
{
    if (run->is_source_used == NULL) {
        return;
    }
    const struct snapshot *snapshot = run->snapshot;
    for (uint32_t i = snapshot->shard_begin[source->shard];
         i < snapshot->shard_begin[source->shard + 1]; i++) {
        if (snapshot->sources[i] == source) {
            atomic_store_explicit(&run->is_source_used[i], true, memory_order_relaxed);
        }
    }
}

static void count_all(struct query_run_ctx *run, uint64_t rows, const struct read_ctx *read)
{
    /* relaxed: read after all tasks have been joined */
    atomic_fetch_add_explicit(&run->rows_read, rows, memory_order_relaxed);
    atomic_fetch_add_explicit(&run->bytes_read, read->bytes_read, memory_order_relaxed);
    atomic_fetch_add_explicit(&run->blocks_loaded, read->blocks_loaded, memory_order_relaxed);
}

void run_count(struct query_run_ctx *run, uint64_t rows, const struct read_ctx *read)
{
    count_all(run, rows, read);
    if (run->profile != NULL) {
        profile_add_reads(&run->profile->others, read);
    }
}

void run_count_scan(struct query_run_ctx *run, const struct scan_counters *counters,
                    const struct read_ctx *read)
{
    count_all(run, counters->rows_read, read);
    if (run->profile != NULL) {
        profile_add_scan(run->profile, counters, read);
    }
}

void run_count_sets(struct query_run_ctx *run, uint64_t sets, uint64_t members, uint64_t time_us,
                    const struct read_ctx *read)
{
    count_all(run, 0, read);
    if (run->profile != NULL) {
        profile_add_sets(run->profile, sets, members, time_us, read);
    }
}

/* ---- tasks ---- */

struct run_job {
    struct query_run_ctx *run;
    struct profile_round *round; /* NULL: not profiled */
    run_part_fn fn;
    const void *arg;
    struct run_tasks *results;
};

static void run_one_task(void *arg, uint32_t task, uint32_t worker, struct io *io)
{
    struct run_job *job = arg;
    struct query_run_ctx *run = job->run;
    void *slot = run_slot(job->results, task);
    uint64_t begin_us = job->round == NULL ? 0 : pool_own_us();
    struct err err = {0};
    if (run_check(run, &err) == ERR_OK) {
        (void)job->fn(run, task, job->arg, job->results->arenas[task], io, slot, &err);
    }
    if (err.code != ERR_OK &&
        !atomic_exchange_explicit(&run->is_failed, true, memory_order_acq_rel)) {
        run->first_err = err; /* read by the waiting thread once all tasks have been joined */
    }
    if (job->round != NULL) {
        profile_add_task(run->profile, job->round, worker, pool_own_us() - begin_us);
    }
}

/* ---- a query within another ---- */

void run_inner_begin(const struct query_run_ctx *run, const struct bound_query *query,
                     struct query_run_ctx *ret)
{
    *ret = (struct query_run_ctx){
        .query = query,
        .is_inner = true,
        .request = run->request,
        .snapshot = run->snapshot,
        .unmasked = run->unmasked,
        .pool = run->pool,
        .io = run->io,
        .account = run->account,
        .profile = run->profile,
        .is_source_used = run->is_source_used,
        .traits = run->traits, /* of the same question; another one loads its own */
    };
    /* Not within the outer one's: what passes that is a limit of the query, and no sign that others take too much. */
    size_t used = atomic_load_explicit(&run->budget.used_bytes, memory_order_relaxed);
    size_t left = run->budget.max_bytes > used ? run->budget.max_bytes - used : 1;
    budget_init_within(&ret->budget, run->budget.max_bytes == 0 ? 0 : left, run->budget.what,
                       run->budget.outer);
    ret->arena = arena_create(&ret->budget);
}

void run_inner_count(struct query_run_ctx *run, const struct query_run_ctx *inner)
{
    atomic_fetch_add(&run->rows_read, atomic_load(&inner->rows_read));
    atomic_fetch_add(&run->bytes_read, atomic_load(&inner->bytes_read));
    atomic_fetch_add(&run->blocks_loaded, atomic_load(&inner->blocks_loaded));
}

void run_inner_done(struct query_run_ctx *inner)
{
    arena_free(inner->arena);
    budget_end(&inner->budget);
}

/* ---- tasks ---- */

/* Somebody may be known there by what is expired alone (first_ever.h). */
static bool has_history(const struct snapshot *snapshot, uint32_t shard)
{
    return snapshot->history_count > 0 &&
           snapshot->history_begin[shard] < snapshot->history_begin[shard + 1];
}

uint64_t run_shard_subjects(const struct snapshot *snapshot, uint32_t shard)
{
    uint64_t subjects = snapshot->subject_count[shard];
    for (uint32_t i = snapshot->shard_begin[shard]; i < snapshot->shard_begin[shard + 1]; i++) {
        subjects = MAX_OF(subjects, (uint64_t)snapshot->sources[i]->subject_last + 1);
    }
    return subjects;
}

uint32_t run_task_end(const struct query_run_ctx *run, const struct run_task *task)
{
    return (uint32_t)MIN_OF(run_shard_subjects(run->snapshot, task->shard),
                            (uint64_t)task->subject_end);
}

/* How many subject ranges a shard is cut into, and the subjects of each. */
static uint32_t run_shard_cuts(const struct snapshot *snapshot, uint32_t shard,
                               uint32_t *ret_subjects)
{
    uint64_t rows = 0;
    uint64_t subjects = run_shard_subjects(snapshot, shard);
    for (uint32_t i = snapshot->shard_begin[shard]; i < snapshot->shard_begin[shard + 1]; i++) {
        rows += snapshot->sources[i]->row_count;
    }
    *ret_subjects = UINT32_MAX;
    uint64_t parts = (rows + RUN_TASK_ROWS - 1) / RUN_TASK_ROWS;
    if (parts <= 1) {
        return parts == 0 && !has_history(snapshot, shard) ? 0 : 1;
    }
    uint64_t each = (subjects + parts - 1) / parts;
    each = (each + RUN_SUBJECT_ALIGN - 1) / RUN_SUBJECT_ALIGN * RUN_SUBJECT_ALIGN;
    if (each >= subjects) {
        return 1;
    }
    *ret_subjects = (uint32_t)each;
    return (uint32_t)((subjects + each - 1) / each);
}

/* Whether rows of the subject lie where it has its number, and not under whom they belong to (storage/identity.h). */
static bool is_in_place(const struct query_run_ctx *run, uint32_t shard, uint32_t subject)
{
    const struct snapshot *snapshot = run->unmasked == NULL ? run->snapshot : run->unmasked;
    const roaring_bitmap_t *masked = snapshot->deleted[shard];
    return masked == NULL || !roaring_bitmap_contains(masked, subject);
}

/* Whether `where` says that all rows are of one user: its shard and number. Of an id that was never seen, or that is
 * nobody's (a sentinel, whose rows are of their devices), nothing is known. */
static bool where_has_one_user(const struct query_run_ctx *run, const struct pred *where,
                               uint32_t *ret_shard, uint32_t *ret_subject)
{
    struct dataset *dataset = run->snapshot->dataset;
    if (where == NULL || dataset == NULL) {
        return false;
    }
    for (uint32_t k = 0; where->kind == PRED_AND && k < where->kid_count; k++) {
        if (where_has_one_user(run, where->kids[k], ret_shard, ret_subject)) {
            return true;
        }
    }
    return where->kind == PRED_EQ && where->field.kind == FIELD_USER_ID &&
           where->value_count == 1 && where->values[0].type == COL_STRING &&
           dataset_find_stored(dataset, where->values[0].string, ret_shard, ret_subject) &&
           is_in_place(run, *ret_shard, *ret_subject);
}

/* The subjects that the query can be about, where these are few: of `why`, or of a `where` that names a user. */
static bool run_has_few_subjects(const struct query_run_ctx *run, struct run_task *ret)
{
    uint32_t subject = run->only_subject;
    ret->shard = run->only_shard;
    if (run->has_only) {
        ret->subject_begin = subject;
        ret->subject_end = subject + 1;
        return true;
    }
    if (run->query == NULL || run_is_reference(run) ||
        !where_has_one_user(run, run->query->where, &ret->shard, &subject)) {
        return false;
    }
    ret->subject_begin = subject / RUN_ONE_ALIGN * RUN_ONE_ALIGN;
    ret->subject_end = ret->subject_begin > UINT32_MAX - RUN_ONE_ALIGN
                           ? UINT32_MAX
                           : ret->subject_begin + RUN_ONE_ALIGN;
    return true;
}

static enum err_code run_make_one_task(struct query_run_ctx *run, struct run_task task,
                                       struct run_task **ret_tasks, uint32_t *ret_count,
                                       struct err *err)
{
    const struct snapshot *snapshot = run->snapshot;
    uint32_t first = snapshot->shard_begin[task.shard];
    task.sources = snapshot->sources + first;
    task.source_count = snapshot->shard_begin[task.shard + 1] - first;
    ERR_TRY(ARENA_NEW(run->arena, 1, ret_tasks, err));
    **ret_tasks = task;
    *ret_count = task.source_count > 0 || has_history(snapshot, task.shard) ? 1 : 0;
    return ERR_OK;
}

static enum err_code run_make_tasks(struct query_run_ctx *run, struct run_task **ret_tasks,
                                    uint32_t *ret_count, struct err *err)
{
    const struct snapshot *snapshot = run->snapshot;
    uint32_t count = 0;
    struct run_task few = {0};
    if (run_has_few_subjects(run, &few)) {
        return run_make_one_task(run, few, ret_tasks, ret_count, err);
    }
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        uint32_t subjects = 0;
        count += run_shard_cuts(snapshot, shard, &subjects);
    }
    struct run_task *tasks = NULL;
    ERR_TRY(ARENA_NEW(run->arena, count, &tasks, err));
    uint32_t next = 0;
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        uint32_t subjects = 0;
        uint32_t cuts = run_shard_cuts(snapshot, shard, &subjects);
        uint32_t first = snapshot->shard_begin[shard];
        for (uint32_t c = 0; c < cuts; c++) {
            tasks[next++] = (struct run_task){
                .shard = shard,
                .subject_begin = c == 0 ? 0 : c * subjects,
                .subject_end = c + 1 == cuts ? UINT32_MAX : (c + 1) * subjects,
                .sources = snapshot->sources + first,
                .source_count = snapshot->shard_begin[shard + 1] - first,
            };
        }
    }
    *ret_tasks = tasks;
    *ret_count = count;
    return ERR_OK;
}

static enum err_code run_on_pool(struct query_run_ctx *run, struct run_job *job, struct err *err)
{
    struct run_tasks *results = job->results;
    if (run->pool != NULL) {
        return pool_run(run->pool, run->account, results->count, run_one_task, job, run->io, err);
    }
    for (uint32_t i = 0; i < results->count; i++) { /* this thread alone (tests, tools) */
        run_one_task(job, i, 0, run->io);
    }
    return ERR_OK;
}

static enum err_code run_profiled(struct query_run_ctx *run, struct run_job *job, struct err *err)
{
    uint64_t begin_us = clock_mono_us();
    uint64_t waited_us = run->account == NULL ? 0 : run->account->waited_us;
    struct profile_round *round = profile_begin_round(run->profile, job->results->count);
    job->round = round;
    ERR_TRY(run_on_pool(run, job, err));
    round->elapsed_us += clock_mono_us() - begin_us;
    round->waited_us += run->account == NULL ? 0 : run->account->waited_us - waited_us;
    return ERR_OK;
}

static enum err_code run_start_tasks(struct query_run_ctx *run, struct run_job *job,
                                     struct err *err)
{
    ERR_TRY(run->profile == NULL ? run_on_pool(run, job, err) : run_profiled(run, job, err));
    if (atomic_load_explicit(&run->is_failed, memory_order_acquire)) {
        *err = run->first_err;
        return err->code;
    }
    return ERR_OK;
}

enum err_code run_all_parts(struct query_run_ctx *run, uint32_t count, run_part_fn fn,
                            const void *arg, size_t slot_bytes, struct run_tasks *ret,
                            struct err *err)
{
    struct run_tasks results = {.slot_bytes = slot_bytes};
    ERR_TRY(arena_alloc_array(run->arena, count, slot_bytes, &results.slots, err));
    ERR_TRY(ARENA_NEW(run->arena, count, &results.arenas, err));
    for (uint32_t i = 0; i < count; i++) {
        results.arenas[i] = arena_create(&run->budget);
    }
    results.count = count;
    struct run_job job = {.run = run, .fn = fn, .arg = arg, .results = &results};
    enum err_code code = run_start_tasks(run, &job, err);
    /* Handed over even after a failure: a slot may own what its arena does not. */
    *ret = results;
    return code;
}

struct run_task_list {
    run_task_fn fn;
    const struct run_task *tasks;
};

static enum err_code run_task_part(struct query_run_ctx *run, uint32_t part, const void *arg,
                                   struct arena *arena, struct io *io, void *slot, struct err *err)
{
    const struct run_task_list *list = arg;
    return list->fn(run, &list->tasks[part], arena, io, slot, err);
}

enum err_code run_all_tasks(struct query_run_ctx *run, run_task_fn fn, size_t slot_bytes,
                            struct run_tasks *ret, struct err *err)
{
    struct run_task *tasks = NULL;
    uint32_t count = 0;
    ERR_TRY(run_make_tasks(run, &tasks, &count, err));
    struct run_task_list list = {.fn = fn, .tasks = tasks};
    enum err_code code = run_all_parts(run, count, run_task_part, &list, slot_bytes, ret, err);
    ret->tasks = tasks;
    return code;
}

enum err_code run_task_count(struct query_run_ctx *run, uint32_t *ret, struct err *err)
{
    struct run_task *tasks = NULL;
    return run_make_tasks(run, &tasks, ret, err);
}

void run_tasks_free(struct run_tasks *tasks)
{
    for (uint32_t i = 0; i < tasks->count; i++) {
        arena_free(tasks->arenas[i]);
    }
    *tasks = (struct run_tasks){0};
}

/* ---- rows of the answer ---- */

enum err_code run_result_rows(struct query_run_ctx *run, struct result *result, uint64_t row_count,
                              struct cell **ret_cells, struct err *err)
{
    size_t cell_count = 0;
    size_t bytes = 0;
    if (!size_mul(row_count, result->col_count, &cell_count) ||
        !size_mul(cell_count, sizeof(struct cell), &bytes)) {
        return err_set(err, ERR_LIMIT, "an answer of %" PRIu64 " rows is larger than memory",
                       row_count);
    }
    /* The result outlives the query and its budget; until then it counts as memory of the query. */
    ERR_TRY(budget_take(&run->budget, bytes, err));
    ERR_TRY(ARENA_NEW(result->arena, cell_count, &result->cells, err));
    result->row_count = row_count;
    *ret_cells = result->cells;
    return ERR_OK;
}

struct shaping {
    const struct result *result;
    const struct order_by *order;
};

static int compare_rows(const void *a, const void *b, void *ctx)
{
    const struct shaping *shaping = ctx;
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    uint32_t cols = shaping->result->col_count;
    const struct cell *cells = shaping->result->cells + shaping->order->column;
    int order = cell_cmp(&cells[x * cols], &cells[y * cols]);
    if (order != 0) {
        return shaping->order->is_descending ? -order : order;
    }
    return (x > y) - (x < y); /* rows that tie stay in column order */
}

static enum err_code shape_order(struct query_run_ctx *run, struct result *result, struct err *err)
{
    uint64_t *rows = NULL;
    struct cell *cells = NULL;
    struct cell *unsorted = result->cells;
    uint64_t row_count = result->row_count;
    size_t row_bytes = result->col_count * sizeof(*cells);
    struct shaping shaping = {.result = result, .order = &run->query->order};
    ERR_TRY(ARENA_NEW(run->arena, row_count, &rows, err));
    for (uint64_t i = 0; i < row_count; i++) {
        rows[i] = i;
    }
    qsort_r(rows, row_count, sizeof(*rows), compare_rows, &shaping);
    ERR_TRY(run_result_rows(run, result, row_count, &cells, err));
    for (uint64_t i = 0; i < row_count; i++) {
        memcpy(cells + i * result->col_count, unsorted + rows[i] * result->col_count, row_bytes);
    }
    return ERR_OK;
}

enum err_code run_shape(struct query_run_ctx *run, struct result *result, struct err *err)
{
    const struct bound_query *query = run->query;
    if (result->meta.rows_total == 0) { /* the verb itself has cut nothing */
        result->meta.rows_total = result->row_count;
    }
    if (query->has_order && query->order.column < result->col_count && result->row_count > 1) {
        ERR_TRY(shape_order(run, result, err));
    }
    if (query->has_limit && query->limit < result->row_count) {
        result->meta.rows_left_out += result->row_count - query->limit;
        result->row_count = query->limit;
    }
    return ERR_OK;
}
