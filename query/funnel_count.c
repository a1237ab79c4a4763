/* query/funnel_count.c */
#include "query/funnel_count.h"

#include "query/cell_taker.h"
#include "query/durations.h"
#include "query/funnel_outcome.h"
#include "storage/base/size.h"

/* A log's first chunk has so many durations; each is twice as long as the one before, up to the most. */
#define LOG_FIRST 8u
#define LOG_MOST  8192u
/* Durations are cut into so many portions, one more at most, of at least as many as are worth a thread's attention. */
#define PORTIONS    64u
#define PORTION_MIN 4096u
#define NONE        UINT32_MAX

struct log_chunk {
    struct log_chunk *next;
    uint32_t used, cap;
    uint64_t ms[];
};

/* Durations of a step, of a cell or of all. */
struct funnel_log {
    struct log_chunk *first, *last;
};

/* ---- a task ---- */

enum err_code funnel_part_init(struct funnel_part *part, const struct bound_query *query,
                               struct groups *groups, bool has_places, bool is_all_apart,
                               struct arena *arena, struct err *err)
{
    *part = (struct funnel_part){.groups = groups};
    if (has_places) {
        ERR_TRY(ARENA_NEW(arena, 1, &part->places, err));
        ERR_TRY(interns_init(part->places, arena, err));
    }
    if (is_all_apart) {
        ERR_TRY(ARENA_NEW(arena, query->funnel.step_count, &part->all_users, err));
        ERR_TRY(ARENA_NEW(arena, 1, &part->all_log, err));
    }
    return ERR_OK;
}

enum err_code funnel_part_cell(struct funnel_part *part, uint32_t bucket, uint32_t group,
                               uint32_t *ret_cell, struct err *err)
{
    const uint32_t words[2] = {bucket, group};
    return interns_put_words(part->places, words, COUNT_OF(words), ret_cell, err);
}

static enum err_code users_grow(uint64_t **users, uint32_t *cell_cap, struct arena *arena,
                                uint32_t cell, uint32_t step_count, struct err *err)
{
    size_t cap = MAX_OF(2 * (size_t)*cell_cap, (size_t)cell + 1);
    size_t counts = 0;
    uint64_t *more = NULL;

    if (cap > UINT32_MAX || !size_mul(cap, step_count, &counts)) {
        return err_set(err, ERR_LIMIT, "more than %u groups", *cell_cap);
    }
    ERR_TRY(ARENA_NEW(arena, counts, &more, err));
    if (*cell_cap > 0) {
        memcpy(more, *users, (size_t)*cell_cap * step_count * sizeof(*more));
    }
    *users = more;
    *cell_cap = (uint32_t)cap;
    return ERR_OK;
}

static enum err_code cells_grow(struct funnel_part *part, struct arena *arena, uint32_t cell,
                                uint32_t step_count, struct err *err)
{
    size_t old = (size_t)part->cell_cap * step_count;
    uint32_t reached_cap = part->cell_cap;
    struct funnel_log *logs = NULL;
    ERR_TRY(users_grow(&part->users, &part->cell_cap, arena, cell, step_count, err));
    ERR_TRY(users_grow(&part->reached, &reached_cap, arena, cell, step_count, err));
    ERR_TRY(ARENA_NEW(arena, (size_t)part->cell_cap * step_count, &logs, err));
    if (old > 0) {
        memcpy(logs, part->logs, old * sizeof(*logs));
    }
    part->logs = logs;
    return ERR_OK;
}

static enum err_code log_grow(struct funnel_log *log, struct arena *arena, struct err *err)
{
    uint32_t cap = log->last == NULL ? LOG_FIRST : MIN_OF(2 * log->last->cap, LOG_MOST);
    void *memory = NULL;
    ERR_TRY(
        arena_alloc_raw(arena, sizeof(struct log_chunk) + cap * sizeof(uint64_t), &memory, err));
    struct log_chunk *chunk = memory;
    chunk->next = NULL;
    chunk->used = 0;
    chunk->cap = cap;
    if (log->last == NULL) {
        log->first = chunk;
    } else {
        log->last->next = chunk;
    }
    log->last = chunk;
    return ERR_OK;
}

static inline enum err_code log_append(struct funnel_log *log, struct arena *arena,
                                       const struct funnel_counted *attempt, uint32_t step,
                                       struct err *err)
{
    if (log->last == NULL || log->last->used == log->last->cap) {
        ERR_TRY(log_grow(log, arena, err));
    }
    struct log_chunk *chunk = log->last;
    chunk->ms[chunk->used++] = (uint64_t)attempt->times[step] - (uint64_t)attempt->times[0];
    return ERR_OK;
}

/* How long the steps past the first took. */
static enum err_code logs_append(struct funnel_log *logs, struct arena *arena,
                                 const struct funnel_counted *attempt, struct err *err)
{
    for (uint32_t i = 1; i < attempt->level; i++) {
        if ((attempt->filled >> i & 1) != 0) {
            ERR_TRY(log_append(&logs[i], arena, attempt, i, err));
        }
    }
    return ERR_OK;
}

static void users_count(uint64_t *users, const struct funnel_counted *attempt)
{
    for (uint32_t i = 0; i < attempt->level; i++) {
        users[i] += attempt->filled >> i & 1;
    }
}

enum err_code funnel_part_watch(struct funnel_part *part, struct query_run_ctx *run, uint32_t shard,
                                const struct answer_buckets *buckets, struct err *err)
{
    const struct bound_cell *cell = run->query->cell;
    ERR_TRY(cell_taker_open(run, shard, &part->taker, err));
    part->taken_begin_ms = INT64_MIN;
    part->taken_end_ms = INT64_MAX;
    for (uint32_t b = 0; cell != NULL && cell->has_time && b < buckets->count; b++) {
        if (buckets->begins[b] == cell->time_ms) {
            part->taken_begin_ms = buckets->begins[b];
            part->taken_end_ms = buckets->begins[b + 1];
            return ERR_OK;
        }
    }
    if (cell != NULL && cell->has_time) { /* the answer has no such bucket */
        part->taken_end_ms = INT64_MIN;
    }
    return ERR_OK;
}

/* The taker sees whoever is added to users[cell]. */
static enum err_code part_take(struct funnel_part *part, const struct bound_query *query,
                               uint32_t cell, const struct funnel_counted *attempt, struct err *err)
{
    uint32_t step = query->cell->step - 1;
    bool is_done = attempt->filled >> step & 1 && attempt->level > step;
    uint32_t words[2] = {0, cell};
    bool is_wanted = false;
    if (query->cell->is_dropped) {
        is_done = !is_done && attempt->filled >> (step - 1) & 1 && attempt->level > step - 1;
    }
    if (!is_done || attempt->times[0] < part->taken_begin_ms ||
        attempt->times[0] >= part->taken_end_ms) {
        return ERR_OK;
    }
    if (part->places != NULL) {
        uint32_t count = 0;
        memcpy(words, interns_words(part->places, cell, &count), sizeof(words));
    }
    if (words[1] == FUNNEL_GROUP_NULL) {
        is_wanted = cell_wants_null(query);
    } else {
        ERR_TRY(cell_taker_wants(part->taker, part->groups, words[1], &is_wanted, err));
    }
    return is_wanted ? cell_take(part->taker, part->subject, err) : ERR_OK;
}

/* The attempt's group, whatever numbers the part's cells. */
static uint32_t group_of_cell(const struct funnel_part *part, uint32_t cell)
{
    uint32_t count = 0;
    return part->places == NULL ? cell : interns_words(part->places, cell, &count)[1];
}

enum err_code funnel_part_count(struct funnel_part *part, const struct bound_query *query,
                                struct arena *arena, uint32_t cell, uint32_t counts,
                                const struct funnel_counted *attempt, struct err *err)
{
    uint32_t step_count = query->funnel.step_count;

    if (part->outcomes != NULL && !outcomes_are_kept(part->outcomes)) {
        uint32_t group = (counts & FUNNEL_COUNTS_LINE) != 0 ? group_of_cell(part, cell) : 0;
        funnel_outcome_put(part->outcomes, query, part->subject, group, counts, attempt);
    }
    if ((counts & FUNNEL_COUNTS_LINE) != 0) {
        if (cell >= part->cell_cap) {
            ERR_TRY(cells_grow(part, arena, cell, step_count, err));
        }
        bool is_gapless = (attempt->filled & (attempt->filled + 1)) == 0;
        if (is_gapless) { /* as mostly: one number, and no guess how far */
            part->reached[(size_t)cell * step_count + attempt->level - 1]++;
        } else {
            users_count(part->users + (size_t)cell * step_count, attempt);
        }
        ERR_TRY(logs_append(part->logs + (size_t)cell * step_count, arena, attempt, err));
        ERR_TRY(part->taker == NULL ? ERR_OK : part_take(part, query, cell, attempt, err));
    }
    if ((counts & FUNNEL_COUNTS_ALL) != 0) {
        uint32_t last = step_count - 1;
        if (part->all_users != NULL) {
            users_count(part->all_users, attempt);
        }
        if (part->all_users != NULL && attempt->level == step_count &&
            (attempt->filled >> last & 1) != 0) {
            ERR_TRY(log_append(part->all_log, arena, attempt, last, err));
        }
        bool is_mature =
            query->now_ms > attempt->times[0] &&
            (uint64_t)query->now_ms - (uint64_t)attempt->times[0] > query->funnel.window_ms;
        part->mature += is_mature ? 1 : 0;
    }
    return ERR_OK;
}

enum err_code funnel_part_enter(struct funnel_part *part, const struct bound_query *query,
                                struct arena *arena, uint64_t count, uint64_t mature,
                                struct err *err)
{
    ASSERT(part->taker == NULL && part->places == NULL && part->all_users == NULL);
    if (count == 0) {
        return ERR_OK;
    }
    if (part->cell_cap == 0) {
        ERR_TRY(cells_grow(part, arena, 0, query->funnel.step_count, err));
    }
    part->reached[0] += count;
    part->mature += mature;
    return ERR_OK;
}

/* ---- all tasks together ---- */

/* A cell of some task. */
struct task_cell {
    const struct funnel_log *logs; /* by step */
    struct task_cell *next;
};

/* The durations of one step of one line. */
struct timing {
    struct funnel_durations *into;
    const struct task_cell *cells;
    uint32_t step;
    uint64_t count;
};

struct merging {
    struct query_run_ctx *run;
    const struct run_tasks *tasks;
    size_t part_off;
    struct funnel_merge *m;
    struct interns places; /* (bucket, group) of all tasks */
    uint64_t *users;       /* [place * step_count + step] */
    uint32_t place_cap;
    uint32_t **place_of;           /* [task][its cell]; NONE where nobody entered */
    uint32_t *line_of;             /* of a group: its place among those shown, or NONE */
    struct task_cell **line_cells; /* of a line: what makes it up */
    struct task_cell *all_cells;
    struct timing *timings;
    size_t timing_count;
    uint32_t lines_each; /* lines of one bucket */
    uint32_t bucket_begin, bucket_end;
};

static const struct funnel_part *part_of(const struct merging *g, uint32_t task)
{
    const char *slot = (const char *)g->tasks->slots + (size_t)task * g->tasks->slot_bytes;
    return (const struct funnel_part *)(const void *)(slot + g->part_off);
}

static void users_add(uint64_t *into, const uint64_t *from, uint32_t step_count)
{
    for (uint32_t i = 0; i < step_count; i++) {
        into[i] += from[i];
    }
}

/* The place of a task's cell, by value. */
static enum err_code import_cell(struct merging *g, const struct funnel_part *part, uint32_t cell,
                                 uint32_t *ret_place, struct err *err)
{
    uint32_t words[2] = {0, cell};
    if (part->places != NULL) {
        uint32_t count = 0;
        memcpy(words, interns_words(part->places, cell, &count), sizeof(words));
    }
    if (words[1] == FUNNEL_GROUP_NULL) {
        ERR_TRY(groups_null(g->m->groups, &words[1], err));
    } else if (part->groups != NULL) {
        ERR_TRY(groups_import(g->m->groups, part->groups, words[1], &words[1], err));
    }
    return interns_put_words(&g->places, words, COUNT_OF(words), ret_place, err);
}

/* How many did each step, of the task's cell. */
static void cell_users(const struct funnel_part *part, uint32_t cell, uint32_t step_count,
                       uint64_t *out)
{
    uint64_t upto = 0;
    for (uint32_t i = step_count; i-- > 0;) {
        upto += part->reached[(size_t)cell * step_count + i];
        out[i] = part->users[(size_t)cell * step_count + i] + upto;
    }
}

/* Match the tasks' cells by value, and add up their users. */
static enum err_code merge_users(struct merging *g, struct err *err)
{
    uint32_t step_count = g->m->step_count;
    struct arena *arena = g->run->arena;

    ERR_TRY(ARENA_NEW(arena, g->tasks->count, &g->place_of, err));
    for (uint32_t t = 0; t < g->tasks->count; t++) {
        const struct funnel_part *part = part_of(g, t);
        ERR_TRY(ARENA_NEW(arena, part->cell_cap, &g->place_of[t], err));
        for (uint32_t c = 0; c < part->cell_cap; c++) {
            uint64_t users[QUERY_STEPS_MAX];
            uint32_t place = NONE;
            cell_users(part, c, step_count, users);
            if (users[0] > 0) {
                ERR_TRY(import_cell(g, part, c, &place, err));
                if (place >= g->place_cap) {
                    ERR_TRY(users_grow(&g->users, &g->place_cap, arena, place, step_count, err));
                }
                users_add(g->users + (size_t)place * step_count, users, step_count);
            }
            g->place_of[t][c] = place;
        }
        if (part->all_users != NULL) {
            users_add(g->m->all.users, part->all_users, step_count);
        }
        g->m->mature += part->mature;
    }
    return ERR_OK;
}

/* Which buckets have rows: over an end that the query gives they are filled, else from the first to the last with
 * an entry. */
static void find_buckets(struct merging *g)
{
    const struct answer_buckets *buckets = &g->m->buckets;
    uint32_t first = NONE;
    uint32_t end = 0;

    for (uint32_t p = 0; p < g->places.count; p++) {
        uint32_t count = 0;
        uint32_t bucket = interns_words(&g->places, p, &count)[0];
        first = MIN_OF(first, bucket);
        end = MAX_OF(end, bucket + 1);
    }
    if (!g->run->query->has_each) {
        first = 0;
        end = 1;
    } else {
        first = buckets->has_from ? 0 : first;
        end = buckets->has_to ? buckets->count : end;
    }
    g->bucket_begin = MIN_OF(first, end);
    g->bucket_end = end;
}

/* Choose the groups that are shown; the rest may be one more line. */
static enum err_code choose_groups(struct merging *g, struct answer_group **ret_picked,
                                   uint32_t *ret_shown, struct err *err)
{
    const struct bound_query *query = g->run->query;
    struct funnel_merge *m = g->m;
    uint32_t count = groups_count(m->groups);
    struct answer_group *picked = NULL;

    ERR_TRY(ARENA_NEW(g->run->arena, count, &picked, err));
    ERR_TRY(ARENA_NEW(g->run->arena, count, &g->line_of, err));
    for (uint32_t i = 0; i < count; i++) {
        picked[i].number = i;
    }
    for (uint32_t p = 0; p < g->places.count; p++) {
        uint32_t words = 0;
        picked[interns_words(&g->places, p, &words)[1]].weight +=
            g->users[(size_t)p * m->step_count];
    }
    uint32_t shown = answer_pick_groups(query, m->groups, picked, count);
    m->has_other = query->has_other && shown < count;
    g->lines_each = shown + (m->has_other ? 1 : 0);
    m->left_out = m->has_other ? 0 : (uint64_t)(count - shown) * (g->bucket_end - g->bucket_begin);
    for (uint32_t i = 0; i < count; i++) {
        g->line_of[picked[i].number] = i < shown ? i : m->has_other ? shown : NONE;
    }
    *ret_picked = picked;
    *ret_shown = shown;
    return ERR_OK;
}

/* The line of a place, or NULL where it is not shown. */
static struct funnel_line *line_at(const struct merging *g, uint32_t place)
{
    uint32_t count = 0;
    const uint32_t *words = interns_words(&g->places, place, &count);
    uint32_t line = g->line_of[words[1]];
    if (line == NONE) {
        return NULL;
    }
    return &g->m->lines[(uint64_t)(words[0] - g->bucket_begin) * g->lines_each + line];
}

/* Room for the durations of a line whose users are known. */
static enum err_code line_alloc(struct funnel_line *line, uint32_t first_step, uint32_t step_count,
                                struct arena *arena, struct err *err)
{
    ERR_TRY(ARENA_NEW(arena, step_count, &line->steps, err));
    for (uint32_t i = first_step; i < step_count; i++) {
        void *memory = NULL;
        size_t bytes = 0;
        if (!size_mul(line->users[i], sizeof(*line->steps->ms), &bytes)) {
            return err_set(err, ERR_LIMIT, "more durations than memory");
        }
        ERR_TRY(arena_alloc_raw(arena, bytes, &memory, err));
        line->steps[i].ms = memory;
    }
    return ERR_OK;
}

static enum err_code make_lines(struct merging *g, struct err *err)
{
    struct funnel_merge *m = g->m;
    struct arena *arena = g->run->arena;
    struct answer_group *picked = NULL;
    uint32_t shown = 0;
    size_t count = 0;
    uint64_t *users = NULL;

    find_buckets(g);
    ERR_TRY(choose_groups(g, &picked, &shown, err));
    if (!size_mul(g->bucket_end - g->bucket_begin, g->lines_each, &count)) {
        return err_set(err, ERR_LIMIT, "more lines than memory");
    }
    ERR_TRY(ARENA_NEW(arena, count, &m->lines, err));
    ERR_TRY(arena_alloc_array(arena, count, m->step_count * sizeof(*users), (void **)&users, err));
    m->line_count = count;
    for (size_t i = 0; i < count; i++) {
        uint32_t line = (uint32_t)(i % g->lines_each);
        m->lines[i] = (struct funnel_line){
            .bucket = g->bucket_begin + (uint32_t)(i / g->lines_each),
            .group = line < shown ? picked[line].number : 0,
            .is_other = line == shown,
            .users = users + i * m->step_count,
        };
    }
    for (uint32_t p = 0; p < g->places.count; p++) {
        struct funnel_line *line = line_at(g, p);
        const uint64_t *from = g->users + (size_t)p * m->step_count;
        if (line != NULL) {
            users_add(line->users, from, m->step_count);
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (m->lines[i].users[0] > 0) {
            ERR_TRY(line_alloc(&m->lines[i], 1, m->step_count, arena, err));
        }
    }
    return ERR_OK;
}

static enum err_code cells_add(struct merging *g, struct task_cell **cells,
                               const struct funnel_log *logs, struct err *err)
{
    struct task_cell *cell = NULL;
    ERR_TRY(ARENA_NEW(g->run->arena, 1, &cell, err));
    *cell = (struct task_cell){.logs = logs, .next = *cells};
    *cells = cell;
    return ERR_OK;
}

/* Which cells make up which line, and all. */
static enum err_code find_cells(struct merging *g, struct err *err)
{
    ERR_TRY(ARENA_NEW(g->run->arena, g->m->line_count, &g->line_cells, err));
    for (uint32_t t = 0; t < g->tasks->count; t++) {
        const struct funnel_part *part = part_of(g, t);
        for (uint32_t c = 0; c < part->cell_cap; c++) {
            const struct funnel_log *logs = part->logs + (size_t)c * g->m->step_count;
            uint32_t place = g->place_of[t][c];
            struct funnel_line *line = place == NONE ? NULL : line_at(g, place);
            if (line != NULL) {
                ERR_TRY(cells_add(g, &g->line_cells[line - g->m->lines], logs, err));
            }
            if (place != NONE && part->all_users == NULL) {
                ERR_TRY(cells_add(g, &g->all_cells, logs, err));
            }
        }
    }
    return ERR_OK;
}

static void timing_copy(const struct timing *timing, const struct funnel_log *log)
{
    struct funnel_durations *d = timing->into;
    for (const struct log_chunk *c = log->first; c != NULL; c = c->next) {
        memcpy(d->ms + d->count, c->ms, c->used * sizeof(*c->ms));
        d->count += c->used;
    }
}

/* The tasks' durations into the line's array, and what is shown of them. */
static void timing_take(const struct merging *g, const struct timing *timing)
{
    static const struct durations_quantile quantiles[] = {{1, 2}, {9, 10}};
    struct funnel_durations *d = timing->into;
    struct cell cells[COUNT_OF(quantiles)];
    for (const struct task_cell *c = timing->cells; c != NULL; c = c->next) {
        timing_copy(timing, &c->logs[timing->step]);
    }
    bool is_all = timing->into == &g->m->all.steps[timing->step];
    for (uint32_t t = 0; is_all && t < g->tasks->count; t++) { /* that are counted apart */
        const struct funnel_log *log = part_of(g, t)->all_log;
        if (log != NULL) {
            timing_copy(timing, log);
        }
    }
    ASSERT(d->count == timing->count);
    d->mean = durations_mean(d->ms, d->count);
    durations_quantiles(d->ms, d->count, quantiles, COUNT_OF(quantiles), cells);
    d->median = cells[0];
    d->p90 = cells[1];
}

/* Timings in portions: where each begins, and the end of the last. */
struct portions {
    const struct merging *g;
    const size_t *begins;
};

/* No two timings write to the same arrays. */
static enum err_code portion_take(struct query_run_ctx *run, uint32_t p, const void *arg,
                                  struct arena *arena, struct io *io, void *slot, struct err *err)
{
    const struct portions *portions = arg;
    (void)arena;
    (void)io;
    (void)slot;
    for (size_t i = portions->begins[p]; i < portions->begins[p + 1]; i++) {
        ERR_TRY(run_check(run, err));
        timing_take(portions->g, &portions->g->timings[i]);
    }
    return ERR_OK;
}

static void timing_add(struct merging *g, struct funnel_line *line, const struct task_cell *cells,
                       uint32_t step)
{
    if (line->users[step] > 0) {
        g->timings[g->timing_count++] = (struct timing){
            .into = &line->steps[step], .cells = cells, .step = step, .count = line->users[step]};
    }
}

/* All is the only line, where there is no other and both count the same attempts. */
static bool is_all_one_line(const struct merging *g)
{
    return g->m->line_count == 1 && g->m->left_out == 0 && g->tasks->count > 0 &&
           part_of(g, 0)->all_users == NULL;
}

static enum err_code find_timings(struct merging *g, struct err *err)
{
    const struct funnel_merge *m = g->m;
    uint32_t last = m->step_count - 1;
    size_t most = 0;
    if (!size_mul(m->line_count, last, &most)) {
        return err_set(err, ERR_LIMIT, "more lines than memory");
    }
    ERR_TRY(ARENA_NEW(g->run->arena, most + 1, &g->timings, err));
    if (!is_all_one_line(g)) {
        timing_add(g, &g->m->all, g->all_cells, last);
    }
    for (uint64_t i = 0; i < m->line_count; i++) {
        for (uint32_t step = 1; m->lines[i].steps != NULL && step < m->step_count; step++) {
            timing_add(g, &m->lines[i], g->line_cells[i], step);
        }
    }
    return ERR_OK;
}

/* Portions of about the same number of durations. */
static enum err_code cut_portions(const struct merging *g, size_t **ret_begins, uint32_t *ret_count,
                                  struct err *err)
{
    uint64_t total = 0;
    uint64_t taken = 0;
    uint32_t count = 0;
    for (size_t i = 0; i < g->timing_count; i++) {
        total += g->timings[i].count;
    }
    uint64_t each = MAX_OF(total / PORTIONS, PORTION_MIN);
    ERR_TRY(ARENA_NEW(g->run->arena, (size_t)PORTIONS + 2, ret_begins, err));
    for (size_t i = 0; i < g->timing_count; i++) {
        if (taken == 0) {
            (*ret_begins)[count++] = i;
        }
        taken += g->timings[i].count;
        taken = taken < each ? taken : 0;
    }
    (*ret_begins)[count] = g->timing_count;
    *ret_count = count;
    return ERR_OK;
}

static enum err_code take_times(struct merging *g, struct err *err)
{
    CLEANUP(run_tasks_free) struct run_tasks tasks = {0};
    struct portions portions = {.g = g};
    size_t *begins = NULL;
    uint32_t count = 0;
    if (g->m->step_count == 1) {
        return ERR_OK;
    }
    ERR_TRY(find_cells(g, err));
    ERR_TRY(find_timings(g, err));
    ERR_TRY(cut_portions(g, &begins, &count, err));
    portions.begins = begins;
    ERR_TRY(run_all_parts(g->run, count, portion_take, &portions, 1, &tasks, err));
    if (is_all_one_line(g) && g->m->lines[0].steps != NULL) {
        uint32_t last = g->m->step_count - 1;
        g->m->all.steps[last] = g->m->lines[0].steps[last];
    }
    return ERR_OK;
}

enum err_code funnel_merge(struct query_run_ctx *run, const struct run_tasks *tasks,
                           size_t part_off, const struct answer_buckets *buckets,
                           struct funnel_merge *ret, struct err *err)
{
    struct merging g = {.run = run, .tasks = tasks, .part_off = part_off, .m = ret};
    uint32_t step_count = run->query->funnel.step_count;

    *ret = (struct funnel_merge){.step_count = step_count, .buckets = *buckets};
    ERR_TRY(groups_create(run->query, run->arena, &ret->groups, err));
    ERR_TRY(interns_init(&g.places, run->arena, err));
    ERR_TRY(ARENA_NEW(run->arena, step_count, &ret->all.users, err));
    ERR_TRY(merge_users(&g, err));
    ERR_TRY(make_lines(&g, err));
    bool is_all_apart = tasks->count > 0 && part_of(&g, 0)->all_users != NULL;
    for (uint32_t p = 0; !is_all_apart && p < g.places.count; p++) {
        users_add(ret->all.users, g.users + (size_t)p * step_count, step_count);
    }
    uint32_t first = is_all_one_line(&g) ? step_count : MAX_OF(step_count - 1, 1u);
    ERR_TRY(line_alloc(&ret->all, first, step_count, run->arena, err));
    return take_times(&g, err);
}
