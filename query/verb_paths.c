/* query/verb_paths.c - the paths verb, from the tasks' counts and logs on (paths_int.h). */
#include "query/paths_int.h"

#include "query/answer_journeys.h"
#include "query/grow.h"
#include "storage/base/size.h"

#include <stdlib.h>

#define COLUMNS     (PATHS_DEPTH_MAX + 1) /* positions are below it */
#define EDGE_WORDS  3u /* that an edge is counted by: column_of_head of the position, from, to */
#define OTHER       UINT32_MAX /* in the place of a rank: the nodes of a column that are not shown */
#define OTHER_LABEL "(other)"

/* Nodes of all tasks, ranked by their labels' bytes. */
struct path_ranks {
    struct str *labels; /* by rank */
    uint32_t count;
    uint32_t **rank_of; /* [task][its node] */
};

/* Which nodes of a column, of one head, are shown; with `top` only. */
struct path_shown {
    struct interns nodes; /* (column_of_head, rank) */
    uint64_t *visits;
    uint8_t *is_shown;
};

/* What the second round needs. */
struct edges_plan {
    const struct bound_query *query;
    const struct paths_part *parts;
    const struct path_ranks *ranks;
    const struct row_ranks *heads;
    const struct path_shown *shown; /* NULL = all */
    const bool *is_head_wanted;     /* by rank; NULL: a table is asked for */
};

/* ---- ranks ---- */

static int by_label(const void *a, const void *b, void *labels)
{
    const struct str *all = labels;
    return str_cmp(all[*(const uint32_t *)a], all[*(const uint32_t *)b]);
}

static enum err_code rank_nodes(struct query_run_ctx *run, const struct run_tasks *tasks,
                                struct path_ranks *ranks, struct err *err)
{
    const struct paths_part *parts = tasks->slots;
    struct interns labels;
    uint32_t *order = NULL;
    uint32_t *rank_of = NULL;

    ERR_TRY(interns_init(&labels, run->arena, err));
    ERR_TRY(ARENA_NEW(run->arena, tasks->count, &ranks->rank_of, err));
    for (uint32_t t = 0; t < tasks->count; t++) {
        const struct interns *own = &parts[t].nodes.labels;
        ERR_TRY(ARENA_NEW(run->arena, own->count, &ranks->rank_of[t], err));
        for (uint32_t n = 0; n < own->count; n++) {
            ERR_TRY(interns_put(&labels, own->items[n], &ranks->rank_of[t][n], err));
        }
    }
    ranks->count = labels.count;
    ERR_TRY(ARENA_NEW(run->arena, labels.count, &order, err));
    ERR_TRY(ARENA_NEW(run->arena, labels.count, &rank_of, err));
    ERR_TRY(ARENA_NEW(run->arena, labels.count, &ranks->labels, err));
    for (uint32_t n = 0; n < labels.count; n++) {
        order[n] = n;
    }
    qsort_r(order, labels.count, sizeof(*order), by_label, labels.items);
    for (uint32_t r = 0; r < labels.count; r++) {
        rank_of[order[r]] = r;
        ranks->labels[r] = labels.items[order[r]];
    }
    for (uint32_t t = 0; t < tasks->count; t++) {
        for (uint32_t n = 0; n < parts[t].nodes.labels.count; n++) {
            ranks->rank_of[t][n] = rank_of[ranks->rank_of[t][n]];
        }
    }
    return ERR_OK;
}

static int words_cmp(const uint32_t *a, uint32_t a_count, const uint32_t *b, uint32_t b_count)
{
    for (uint32_t i = 0; i < a_count && i < b_count; i++) {
        if (a[i] != b[i]) {
            return a[i] < b[i] ? -1 : 1;
        }
    }
    return (a_count > b_count) - (a_count < b_count);
}

/* Numbers of `counts`, by head and sequence, */
static int by_words(const void *a, const void *b, void *ctx)
{
    const struct path_counts *counts = ctx;
    uint32_t a_count = 0;
    uint32_t b_count = 0;
    const uint32_t *x = interns_words(&counts->keys, *(const uint32_t *)a, &a_count);
    const uint32_t *y = interns_words(&counts->keys, *(const uint32_t *)b, &b_count);
    return words_cmp(x, a_count, y, b_count);
}

/* or of one head by count first, */
static int by_count(const void *a, const void *b, void *ctx)
{
    const struct path_counts *counts = ctx;
    uint32_t i = *(const uint32_t *)a;
    uint32_t j = *(const uint32_t *)b;
    uint32_t words = 0;
    uint32_t x_head = interns_words(&counts->keys, i, &words)[0];
    uint32_t y_head = interns_words(&counts->keys, j, &words)[0];
    uint64_t x = counts->items[i].count;
    uint64_t y = counts->items[j].count;
    if (x_head != y_head) {
        return x_head < y_head ? -1 : 1;
    }
    return x != y ? (x > y ? -1 : 1) : by_words(a, b, ctx);
}

/* or with the fewest nodes first, and of those the most frequent. */
static int by_length(const void *a, const void *b, void *ctx)
{
    const struct path_counts *counts = ctx;
    uint32_t x = 0;
    uint32_t y = 0;
    uint32_t x_head = interns_words(&counts->keys, *(const uint32_t *)a, &x)[0];
    uint32_t y_head = interns_words(&counts->keys, *(const uint32_t *)b, &y)[0];
    if (x_head != y_head) {
        return x_head < y_head ? -1 : 1;
    }
    return x != y ? (x < y ? -1 : 1) : by_count(a, b, ctx);
}

static enum err_code numbers(struct arena *arena, uint32_t count, uint32_t **ret, struct err *err)
{
    ERR_TRY(ARENA_NEW(arena, count, ret, err));
    for (uint32_t i = 0; i < count; i++) {
        (*ret)[i] = i;
    }
    return ERR_OK;
}

static struct path_count all_of(const struct run_tasks *tasks)
{
    const struct paths_part *parts = tasks->slots;
    struct path_count all = {0};
    for (uint32_t t = 0; t < tasks->count; t++) {
        all.count += parts[t].all.count;
        all.users += parts[t].all.users;
    }
    return all;
}

/* ---- windows and variants ---- */

/* The tasks' sequences as sequences of ranks, the head's first, added up. */
static enum err_code merge_counts(struct query_run_ctx *run, const struct run_tasks *tasks,
                                  const struct path_ranks *ranks, const struct row_ranks *heads,
                                  struct path_counts *ret, struct err *err)
{
    const struct paths_part *parts = tasks->slots;
    uint32_t *words = NULL;
    uint32_t cap = 0;

    ERR_TRY(path_counts_init(ret, run->arena, err));
    for (uint32_t t = 0; t < tasks->count; t++) {
        const struct path_counts *from = &parts[t].counts;
        ERR_TRY(run_check(run, err));
        for (uint32_t i = 0; i < from->keys.count; i++) {
            uint32_t count = 0;
            const uint32_t *nodes = interns_words(&from->keys, i, &count);
            struct path_count *into = NULL;
            if (count > cap) {
                cap = count;
                ERR_TRY(ARENA_NEW(run->arena, cap, &words, err));
            }
            uint32_t head = heads->rank_of[t][nodes[0]];
            for (uint32_t k = 1; k < count; k++) {
                words[k] = ranks->rank_of[t][nodes[k]];
            }
            ERR_TRY(path_counts_of(ret, head, words, count, &into, err));
            into->count += from->items[i].count;
            into->users += from->items[i].users;
        }
    }
    return ERR_OK;
}

static enum err_code path_cell(const struct path_ranks *ranks, const uint32_t *words,
                               uint32_t count, struct str *shared, struct arena *arena,
                               struct cell *ret, struct err *err)
{
    struct str *items = NULL;
    ERR_TRY(ARENA_NEW(arena, count, &items, err));
    for (uint32_t i = 0; i < count; i++) {
        struct str *label = &shared[words[i]];
        if (label->ptr == NULL) { /* one copy of a label serves all rows */
            ERR_TRY(arena_str(arena, ranks->labels[words[i]], label, err));
        }
        items[i] = *label;
    }
    *ret = (struct cell){.kind = CELL_LIST, .list = {.items = items, .count = count}};
    return ERR_OK;
}

/* Put what is shown of each head into the order of the rows; returns how much that is. */
static uint32_t choose_paths(const struct bound_query *query, struct path_counts *counts,
                             uint32_t *order)
{
    bool is_shortest = query->paths.shape == PATHS_SHORTEST;
    uint32_t wanted = query->has_top ? query->top : is_shortest ? 1 : UINT32_MAX;
    uint32_t count = counts->keys.count;
    uint32_t shown = 0;
    uint32_t head = UINT32_MAX;
    uint32_t of_head = 0;

    if (wanted < count || is_shortest) {
        qsort_r(order, count, sizeof(*order), is_shortest ? by_length : by_count, counts);
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t words = 0;
        uint32_t own = interns_words(&counts->keys, order[i], &words)[0];
        of_head = own == head ? of_head + 1 : 0;
        head = own;
        if (wanted >= count || of_head < wanted) {
            order[shown++] = order[i];
        }
    }
    if (!is_shortest) { /* the shortest comes first */
        qsort_r(order, shown, sizeof(*order), by_words, counts);
    }
    return shown;
}

static enum err_code answer_paths(struct query_run_ctx *run, const struct run_tasks *tasks,
                                  const struct path_ranks *ranks, const struct row_ranks *heads,
                                  struct result *result, struct err *err)
{
    static const struct result_col cols[] = {
        {STR("path"), RESULT_LIST}, {STR("count"), RESULT_INT64}, {STR("users"), RESULT_INT64}};
    const struct bound_query *query = run->query;
    const struct paths_plan *plan = run->verb_plan;
    uint32_t width = row_head_width(query);
    struct path_counts counts;
    struct str *shared = NULL;
    uint32_t *order = NULL;
    struct cell *cells = NULL;

    ERR_TRY(merge_counts(run, tasks, ranks, heads, &counts, err));
    ERR_TRY(numbers(run->arena, counts.keys.count, &order, err));
    uint32_t shown = choose_paths(query, &counts, order);
    ERR_TRY(row_head_cols(query, cols, COUNT_OF(cols), result, err));
    ERR_TRY(ARENA_NEW(run->arena, ranks->count, &shared, err));
    ERR_TRY(run_result_rows(run, result, shown, &cells, err));
    for (uint32_t i = 0; i < shown; i++, cells += result->col_count) {
        uint32_t count = 0;
        const uint32_t *words = interns_words(&counts.keys, order[i], &count);
        struct cell *own = cells + width;
        ERR_TRY(row_head_cells(query, heads, &plan->buckets, words[0], result->arena, cells, err));
        ERR_TRY(path_cell(ranks, words + 1, count - 1, shared, result->arena, &own[0], err));
        own[1] = answer_count_cell(counts.items[order[i]].count);
        own[2] = answer_count_cell(counts.items[order[i]].users);
    }
    answer_left_out(result, counts.keys.count - shown);
    struct path_count all = all_of(tasks);
    ERR_TRY(ARENA_NEW(result->arena, result->col_count, &result->totals, err));
    result->totals[width + 1] = answer_count_cell(all.count);
    result->totals[width + 2] = answer_count_cell(all.users);
    return ERR_OK;
}

/* ---- edges: what is shown of each column ---- */

/* The paths of a log, one after another. */
struct log_reader {
    const struct path_chunk *chunk;
    uint32_t at;
};
struct logged_path {
    uint32_t count;
    bool is_new_subject;
    uint32_t head;
    uint32_t subject; /* where it is a new one */
    const uint32_t *nodes;
    const uint32_t *times; /* pairs of words, high first */
};

static bool log_next(struct log_reader *reader, bool has_times, struct logged_path *ret)
{
    while (reader->chunk != NULL && reader->at == reader->chunk->used) {
        reader->chunk = reader->chunk->next;
        reader->at = 0;
    }
    if (reader->chunk == NULL) {
        return false;
    }
    const uint32_t *words = reader->chunk->words + reader->at;
    ret->count = words[0] & ~PATH_NEW_SUBJECT;
    ret->is_new_subject = (words[0] & PATH_NEW_SUBJECT) != 0;
    uint32_t first = ret->is_new_subject ? 3 : 2;
    ret->head = words[1];
    ret->subject = ret->is_new_subject ? words[2] : 0;
    ret->nodes = words + first;
    ret->times = ret->nodes + ret->count;
    reader->at += first + ret->count + (has_times ? 2 * (ret->count - 1) : 0);
    return true;
}

/* Paths that end at their anchor are aligned at their ends: all have the anchor in the last column. */
static uint32_t first_column(const struct paths *paths, uint32_t count)
{
    return paths->from == PATHS_ENDING ? paths->depth - count : 0;
}

/* A head and a column of its table, in the order of the rows. */
static uint32_t column_of_head(uint32_t head, uint32_t column)
{
    return head * COLUMNS + column;
}

static enum err_code count_visits(struct query_run_ctx *run, const struct run_tasks *tasks,
                                  const struct edges_plan *plan, struct path_shown *shown,
                                  struct err *err)
{
    const struct path_ranks *ranks = plan->ranks;
    const struct paths *paths = &run->query->paths;
    const struct paths_part *parts = tasks->slots;
    uint32_t cap = 0;

    ERR_TRY(interns_init(&shown->nodes, run->arena, err));
    for (uint32_t t = 0; t < tasks->count; t++) {
        struct log_reader reader = {.chunk = parts[t].log_first};
        struct logged_path path;
        ERR_TRY(run_check(run, err));
        while (log_next(&reader, paths->has_times, &path)) {
            for (uint32_t i = 0; i < path.count; i++) {
                uint32_t key[2] = {column_of_head(plan->heads->rank_of[t][path.head],
                                                  first_column(paths, path.count) + i),
                                   ranks->rank_of[t][path.nodes[i] & ~PATH_BACK]};
                uint32_t number = 0;
                ERR_TRY(interns_put_words(&shown->nodes, key, 2, &number, err));
                ERR_TRY(GROW(run->arena, &shown->visits, number, &cap, err));
                shown->visits[number]++;
            }
        }
    }
    return ERR_OK;
}

static int by_visits(const void *a, const void *b, void *ctx)
{
    const struct path_shown *shown = ctx;
    uint32_t i = *(const uint32_t *)a;
    uint32_t j = *(const uint32_t *)b;
    uint32_t words = 0;
    const uint32_t *x = interns_words(&shown->nodes, i, &words);
    const uint32_t *y = interns_words(&shown->nodes, j, &words);
    if (x[0] != y[0]) {
        return x[0] < y[0] ? -1 : 1;
    }
    if (shown->visits[i] != shown->visits[j]) {
        return shown->visits[i] > shown->visits[j] ? -1 : 1;
    }
    return (x[1] > y[1]) - (x[1] < y[1]);
}

/* The `top` nodes of each column of a head by visits; ties go by label. */
static enum err_code choose_shown(struct query_run_ctx *run, struct path_shown *shown,
                                  struct err *err)
{
    uint32_t *order = NULL;
    uint32_t column = UINT32_MAX;
    uint32_t in_column = 0;

    ERR_TRY(numbers(run->arena, shown->nodes.count, &order, err));
    ERR_TRY(ARENA_NEW(run->arena, shown->nodes.count, &shown->is_shown, err));
    qsort_r(order, shown->nodes.count, sizeof(*order), by_visits, shown);
    for (uint32_t i = 0; i < shown->nodes.count; i++) {
        uint32_t words = 0;
        uint32_t own = interns_words(&shown->nodes, order[i], &words)[0];
        in_column = own == column ? in_column + 1 : 0;
        column = own;
        shown->is_shown[order[i]] = in_column < run->query->top;
    }
    return ERR_OK;
}

/* ---- edges: the second round ---- */

static uint32_t shown_rank(const struct edges_plan *plan, uint32_t head, uint32_t column,
                           uint32_t rank)
{
    uint32_t key[2] = {column_of_head(head, column), rank};
    uint32_t number = 0;
    if (plan->shown == NULL) {
        return rank;
    }
    bool is_known = interns_find_words(&plan->shown->nodes, key, 2, &number);
    return is_known && plan->shown->is_shown[number] ? rank : OTHER;
}

static struct str label_of(const struct path_ranks *ranks, uint32_t rank)
{
    return rank == OTHER ? STR(OTHER_LABEL) : ranks->labels[rank];
}

/* Whether the edge is of the cell that is asked for. */
static bool is_edge_wanted(const struct edges_plan *plan, const uint32_t key[EDGE_WORDS])
{
    const struct bound_cell *cell = plan->query->cell;
    return plan->is_head_wanted[key[0] / COLUMNS] &&
           (!cell->has_position || cell->position == key[0] % COLUMNS) &&
           (!cell->has_from || str_eq(cell->from, label_of(plan->ranks, key[1]))) &&
           (!cell->has_to || str_eq(cell->to, label_of(plan->ranks, key[2])));
}

/* What the second round has of a task. */
struct edges_work {
    const struct edges_plan *plan;
    uint32_t part;
    struct path_counts *counts;
    struct cell_taker *taker;
    uint64_t subjects; /* met so far */
    uint32_t subject;  /* the last of them */
};

static enum err_code count_edges(struct edges_work *work, const struct logged_path *path,
                                 struct err *err)
{
    const struct edges_plan *plan = work->plan;
    const struct paths *paths = &plan->query->paths;
    const uint32_t *rank_of = plan->ranks->rank_of[work->part];
    uint32_t head = plan->heads->rank_of[work->part][path->head];
    uint32_t column = first_column(paths, path->count);

    for (uint32_t i = 0; i + 1 < path->count; i++) {
        uint32_t from = rank_of[path->nodes[i] & ~PATH_BACK];
        uint32_t to = rank_of[path->nodes[i + 1] & ~PATH_BACK];
        uint32_t key[EDGE_WORDS] = {column_of_head(head, column + i + 1),
                                    shown_rank(plan, head, column + i, from),
                                    shown_rank(plan, head, column + i + 1, to)};
        struct path_count *edge = NULL;
        ERR_TRY(path_counts_of(work->counts, key[0], key, EDGE_WORDS, &edge, err));
        path_count_add(edge, work->subjects);
        edge->back += (path->nodes[i + 1] & PATH_BACK) != 0;
        if (paths->has_times) {
            edge->ms += (uint64_t)path->times[2 * i] << 32 | path->times[2 * i + 1];
        }
        if (work->taker != NULL && is_edge_wanted(plan, key)) {
            ERR_TRY(cell_take(work->taker, work->subject, err));
        }
    }
    return ERR_OK;
}

static enum err_code edges_part(struct query_run_ctx *run, uint32_t part, const void *arg,
                                struct arena *arena, struct io *io, void *slot, struct err *err)
{
    const struct edges_plan *plan = arg;
    struct log_reader reader = {.chunk = plan->parts[part].log_first};
    struct edges_work work = {.plan = plan, .part = part, .counts = slot};
    struct logged_path path;
    (void)io;

    ERR_TRY(path_counts_init(work.counts, arena, err));
    ERR_TRY(cell_taker_open(run, plan->parts[part].shard, &work.taker, err));
    while (log_next(&reader, plan->query->paths.has_times, &path)) {
        if (path.is_new_subject) {
            work.subject = path.subject;
            work.subjects++;
            if (work.subjects % 65536 == 0) {
                ERR_TRY(run_check(run, err));
            }
        }
        ERR_TRY(count_edges(&work, &path, err));
    }
    return ERR_OK;
}

static enum err_code merge_edges(struct query_run_ctx *run, const struct run_tasks *tasks,
                                 struct path_counts *ret, struct err *err)
{
    const struct path_counts *parts = tasks->slots;
    ERR_TRY(path_counts_init(ret, run->arena, err));
    for (uint32_t t = 0; t < tasks->count; t++) {
        for (uint32_t i = 0; i < parts[t].keys.count; i++) {
            uint32_t count = 0;
            uint32_t key[EDGE_WORDS];
            memcpy(key, interns_words(&parts[t].keys, i, &count), sizeof(key));
            struct path_count *into = NULL;
            ERR_TRY(path_counts_of(ret, key[0], key, EDGE_WORDS, &into, err));
            into->count += parts[t].items[i].count;
            into->users += parts[t].items[i].users;
            into->ms += parts[t].items[i].ms;
            into->back += parts[t].items[i].back;
        }
    }
    return ERR_OK;
}

static enum err_code node_cell(const struct path_ranks *ranks, uint32_t rank, struct arena *arena,
                               struct cell *ret, struct err *err)
{
    ret->kind = CELL_STRING;
    return arena_str(arena, label_of(ranks, rank), &ret->string, err);
}

static enum err_code edge_rows(struct query_run_ctx *run, const struct path_counts *edges,
                               const struct edges_plan *plan, struct result *result,
                               struct err *err)
{
    const struct bound_query *query = run->query;
    const struct paths_plan *walked = run->verb_plan;
    const struct path_ranks *ranks = plan->ranks;
    const struct paths *paths = &query->paths;
    uint32_t width = row_head_width(query);
    struct result_col cols[7] = {{STR("position"), RESULT_INT64},
                                 {STR("from"), RESULT_STRING},
                                 {STR("to"), RESULT_STRING},
                                 {STR("count"), RESULT_INT64},
                                 {STR("users"), RESULT_INT64}};
    uint32_t col_count = 5;
    uint32_t *order = NULL;
    struct cell *cells = NULL;
    union {
        const struct path_counts *in;
        void *out;
    } ctx = {.in = edges}; /* qsort_r wants a pointer without const */

    ERR_TRY(numbers(run->arena, edges->keys.count, &order, err));
    qsort_r(order, edges->keys.count, sizeof(*order), by_words, ctx.out);
    if (paths->has_times) {
        cols[col_count++] = (struct result_col){STR("avg_ms"), RESULT_NUMBER};
    }
    if (paths->has_loops) {
        cols[col_count++] = (struct result_col){STR("back"), RESULT_INT64};
    }
    ERR_TRY(row_head_cols(query, cols, col_count, result, err));
    ERR_TRY(run_result_rows(run, result, edges->keys.count, &cells, err));
    for (uint32_t i = 0; i < edges->keys.count; i++, cells += result->col_count) {
        const struct path_count *edge = &edges->items[order[i]];
        uint32_t count = 0;
        const uint32_t *key = interns_words(&edges->keys, order[i], &count);
        struct cell *own = cells + width;
        ERR_TRY(row_head_cells(query, plan->heads, &walked->buckets, key[0] / COLUMNS,
                               result->arena, cells, err));
        own[0] = answer_count_cell(key[0] % COLUMNS);
        ERR_TRY(node_cell(ranks, key[1], result->arena, &own[1], err));
        ERR_TRY(node_cell(ranks, key[2], result->arena, &own[2], err));
        own[3] = answer_count_cell(edge->count);
        own[4] = answer_count_cell(edge->users);
        if (paths->has_times) {
            own[5] = answer_mean_cell(edge->ms, edge->count);
        }
        if (paths->has_loops) {
            own[col_count - 1] = answer_count_cell(edge->back);
        }
    }
    return ERR_OK;
}

/* Which heads the cell that is asked for may have. */
static enum err_code choose_heads(struct query_run_ctx *run, const struct row_ranks *heads,
                                  const bool **ret, struct err *err)
{
    const struct paths_plan *walked = run->verb_plan;
    const struct bound_cell *cell = run->query->cell;
    bool *is_wanted = NULL;
    *ret = NULL;
    if (cell == NULL) {
        return ERR_OK;
    }
    ERR_TRY(ARENA_NEW(run->arena, heads->count, &is_wanted, err));
    for (uint32_t r = 0; r < heads->count; r++) {
        const struct row_head *head = &heads->heads[r];
        is_wanted[r] = (!cell->has_time || walked->buckets.begins[head->bucket] == cell->time_ms) &&
                       cell_has_group(run->query, heads->groups, head->group);
    }
    *ret = is_wanted;
    return ERR_OK;
}

static enum err_code answer_edges(struct query_run_ctx *run, const struct run_tasks *tasks,
                                  const struct path_ranks *ranks, const struct row_ranks *heads,
                                  struct result *result, struct err *err)
{
    CLEANUP(run_tasks_free) struct run_tasks edge_tasks = {0};
    struct path_shown shown = {0};
    struct edges_plan plan = {
        .query = run->query, .parts = tasks->slots, .ranks = ranks, .heads = heads};
    struct path_counts edges;

    if (heads->count > UINT32_MAX / COLUMNS) {
        return err_set(err, ERR_LIMIT, "%u groups and buckets are too many for paths",
                       heads->count);
    }
    if (run->query->has_top) {
        ERR_TRY(count_visits(run, tasks, &plan, &shown, err));
        ERR_TRY(choose_shown(run, &shown, err));
        plan.shown = &shown;
    }
    ERR_TRY(choose_heads(run, heads, &plan.is_head_wanted, err));
    ERR_TRY(run_all_parts(run, tasks->count, edges_part, &plan, sizeof(struct path_counts),
                          &edge_tasks, err));
    if (run->query->cell != NULL) {
        return ERR_OK; /* the takers have who is asked for */
    }
    ERR_TRY(merge_edges(run, &edge_tasks, &edges, err));
    ERR_TRY(edge_rows(run, &edges, &plan, result, err));
    struct path_count all = all_of(tasks);
    uint32_t width = row_head_width(run->query);
    ERR_TRY(ARENA_NEW(result->arena, result->col_count, &result->totals, err));
    result->totals[width + 3] = answer_count_cell(all.count);
    result->totals[width + 4] = answer_count_cell(all.users);
    return ERR_OK;
}

/* ---- the verb ---- */

static enum err_code walk_paths(struct query_run_ctx *run, struct paths_plan *plan,
                                struct run_tasks *tasks, struct err *err)
{
    const struct bound_query *query = run->query;
    const struct paths *paths = &query->paths;
    struct walk_spec spec = {
        .query = query,
        .lanes[0] = {.keys = paths->node_keys, .key_count = paths->node_key_count},
        .lane_count = 1,
        .is_ordered = true,
        .subject = query->per,
    };
    struct scan_want *wants = NULL;

    if (query->key_count > 0) {
        spec.lanes[PATHS_LANE_KEYS] =
            (struct walk_lane){.keys = query->keys, .key_count = query->key_count};
        spec.lane_count = PATHS_LANE_KEYS + 1;
    }
    if (paths->is_session) {
        return session_walk_all(run, &spec, &plan->rule, &plan->walk, paths_task,
                                sizeof(struct paths_part), tasks, err);
    }
    ERR_TRY(ARENA_NEW(run->arena, query->selector_count, &wants, err));
    for (uint32_t i = 0; i < query->selector_count; i++) {
        wants[i] = (struct scan_want){i, query->from_ms, query->to_ms};
    }
    spec.wants = wants;
    spec.want_count = query->selector_count;
    return walk_all(run, &spec, paths_task, sizeof(struct paths_part), tasks, err);
}

enum err_code verb_paths(struct query_run_ctx *run, struct result *result, struct err *err)
{
    CLEANUP(run_tasks_free) struct run_tasks tasks = {0};
    struct paths_plan plan = {0};
    struct path_ranks ranks = {0};
    struct row_ranks heads = {0};
    struct civil_grid day;
    bool is_edges = run->query->paths.shape == PATHS_EDGES;

    ERR_TRY(session_rule_of(run->query, &run->query->paths.cut, &day, &plan.rule, err));
    ERR_TRY(answer_buckets(run, &plan.buckets, err));
    run->verb_plan = &plan;
    ERR_TRY(walk_paths(run, &plan, &tasks, err));
    if (run->query->cell != NULL && !is_edges) {
        return ERR_OK; /* the takers have who is asked for */
    }
    ERR_TRY(rank_nodes(run, &tasks, &ranks, err));
    ERR_TRY(row_heads_rank(run, &tasks, offsetof(struct paths_part, heads), &heads, err));
    return is_edges ? answer_edges(run, &tasks, &ranks, &heads, result, err)
                    : answer_paths(run, &tasks, &ranks, &heads, result, err);
}
