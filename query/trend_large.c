/* query/trend_large.c - see trend_large.h. */
#include "query/trend_large.h"

#include "storage/base/size.h"

#include <math.h>

#define CELL_PARTS   16u
#define DIVISIONS    (1u << 14)
#define CUTS         64u /* of hashes, by their upper bits */
#define CUT_SHIFT    58u
#define ROW_PARTS    64u
#define HASHES_AHEAD 16u

/* ---- parts of cells ---- */

/* Cells [begins[p], begins[p + 1]) are of part p: of about as many values each. */
struct cell_parts {
    union acc_cell *const *cells;
    size_t begins[CELL_PARTS + 1];
    /* what a pass is about */
    int64_t min;
    uint64_t span;
    uint32_t shift;
    uint32_t divisions;
};

typedef uint64_t (*cell_weight_fn)(const union acc_cell *cell);

static uint64_t value_count(const union acc_cell *cell)
{
    return cell->values->count;
}

static uint64_t hash_count(const union acc_cell *cell)
{
    return cell->unique->count;
}

static uint64_t total_weight(union acc_cell *const *cells, size_t count, cell_weight_fn weight)
{
    uint64_t total = 0;
    for (size_t c = 0; c < count; c++) {
        total += weight(cells[c]);
    }
    return total;
}

static void cut_cells(struct cell_parts *parts, union acc_cell *const *cells, size_t count,
                      cell_weight_fn weight)
{
    uint64_t total = total_weight(cells, count, weight);
    uint64_t before = 0;
    uint32_t p = 1;
    parts->cells = cells;
    for (size_t c = 0; c < count; c++) {
        before += weight(cells[c]);
        for (; p < CELL_PARTS && before >= total / CELL_PARTS * p; p++) {
            parts->begins[p] = c + 1;
        }
    }
    for (; p <= CELL_PARTS; p++) {
        parts->begins[p] = count;
    }
}

static union acc_cell *const *part_cells(const struct cell_parts *parts, uint32_t part,
                                         size_t *ret_count)
{
    *ret_count = parts->begins[part + 1] - parts->begins[part];
    return parts->cells + parts->begins[part];
}

/* ---- quantiles ---- */

struct bounds {
    int64_t min, max;
};

static enum err_code bounds_part(struct query_run_ctx *run, uint32_t part, const void *arg,
                                 struct arena *arena, struct io *io, void *slot, struct err *err)
{
    struct bounds *bounds = slot;
    size_t count = 0;
    union acc_cell *const *cells = part_cells(arg, part, &count);
    (void)arena;
    (void)io;
    ERR_TRY(run_check(run, err));
    acc_bounds(cells, count, &bounds->min, &bounds->max);
    return ERR_OK;
}

static enum err_code tally_part(struct query_run_ctx *run, uint32_t part, const void *arg,
                                struct arena *arena, struct io *io, void *slot, struct err *err)
{
    const struct cell_parts *parts = arg;
    uint64_t **counts = slot;
    size_t count = 0;
    union acc_cell *const *cells = part_cells(parts, part, &count);
    (void)io;
    ERR_TRY(run_check(run, err));
    ERR_TRY(ARENA_NEW(arena, parts->divisions, counts, err));
    acc_tally(cells, count, parts->min, parts->span, parts->shift, *counts);
    return ERR_OK;
}

/* The least value of a part that is above parts->min. */
static enum err_code above_part(struct query_run_ctx *run, uint32_t part, const void *arg,
                                struct arena *arena, struct io *io, void *slot, struct err *err)
{
    const struct cell_parts *parts = arg;
    int64_t *above = slot;
    size_t count = 0;
    union acc_cell *const *cells = part_cells(parts, part, &count);
    (void)arena;
    (void)io;
    ERR_TRY(run_check(run, err));
    *above = INT64_MAX;
    for (size_t c = 0; c < count; c++) {
        const struct acc_values *values = cells[c]->values;
        for (uint32_t i = 0; i < values->count; i++) {
            if (values->whole[i] > parts->min) {
                *above = MIN_OF(*above, values->whole[i]);
            }
        }
    }
    return ERR_OK;
}

static enum err_code find_bounds(struct query_run_ctx *run, struct cell_parts *parts,
                                 struct err *err)
{
    CLEANUP(run_tasks_free) struct run_tasks rounds = {0};
    int64_t min = INT64_MAX;
    int64_t max = INT64_MIN;
    ERR_TRY(
        run_all_parts(run, CELL_PARTS, bounds_part, parts, sizeof(struct bounds), &rounds, err));
    for (uint32_t p = 0; p < CELL_PARTS; p++) {
        const struct bounds *bounds = run_slot(&rounds, p);
        min = MIN_OF(min, bounds->min);
        max = MAX_OF(max, bounds->max);
    }
    parts->min = min;
    parts->span = (uint64_t)max - (uint64_t)min;
    return ERR_OK;
}

static enum err_code find_above(struct query_run_ctx *run, const struct cell_parts *parts,
                                int64_t *ret, struct err *err)
{
    CLEANUP(run_tasks_free) struct run_tasks rounds = {0};
    *ret = INT64_MAX;
    ERR_TRY(run_all_parts(run, CELL_PARTS, above_part, parts, sizeof(int64_t), &rounds, err));
    for (uint32_t p = 0; p < CELL_PARTS; p++) {
        *ret = MIN_OF(*ret, *(const int64_t *)run_slot(&rounds, p));
    }
    return ERR_OK;
}

/* The counts of all parts in those of the first. */
static uint64_t *add_counts(const struct cell_parts *parts, struct run_tasks *rounds)
{
    uint64_t *all = *(uint64_t **)run_slot(rounds, 0);
    for (uint32_t p = 1; p < CELL_PARTS; p++) {
        const uint64_t *counts = *(uint64_t **)run_slot(rounds, p);
        for (uint32_t d = 0; d < parts->divisions; d++) {
            all[d] += counts[d];
        }
    }
    return all;
}

/* Keep the division that has the value at *rank, which becomes a rank within it. *ret_has_next: the value behind it is
 * known as well, because divisions are one value wide. */
static enum err_code narrow(struct query_run_ctx *run, struct cell_parts *parts, uint64_t *rank,
                            bool *ret_has_next, int64_t *ret_next, struct err *err)
{
    CLEANUP(run_tasks_free) struct run_tasks rounds = {0};
    parts->shift = 0;
    while (parts->span >> parts->shift >= DIVISIONS) {
        parts->shift++;
    }
    parts->divisions = (uint32_t)(parts->span >> parts->shift) + 1;
    ERR_TRY(run_all_parts(run, CELL_PARTS, tally_part, parts, sizeof(uint64_t *), &rounds, err));
    const uint64_t *counts = add_counts(parts, &rounds);
    uint32_t d = 0;
    while (*rank >= counts[d]) {
        *rank -= counts[d++];
    }
    uint32_t next = d;
    if (*rank + 1 >= counts[d]) { /* else it is there twice */
        next++;
        while (next < parts->divisions && counts[next] == 0) {
            next++;
        }
    }
    *ret_has_next = parts->shift == 0 && next < parts->divisions;
    *ret_next = (int64_t)((uint64_t)parts->min + next);
    uint64_t begin = (uint64_t)d << parts->shift;
    parts->span = MIN_OF(parts->span - begin, (UINT64_C(1) << parts->shift) - 1);
    parts->min = (int64_t)((uint64_t)parts->min + begin);
    return ERR_OK;
}

bool trend_is_large_quantile(union acc_cell *const *cells, size_t count)
{
    return total_weight(cells, count, value_count) >= TREND_LARGE && acc_are_whole(cells, count);
}

enum err_code trend_large_quantile(struct query_run_ctx *run, union acc_cell *const *cells,
                                   size_t count, double quantile, bool *ret_is_there,
                                   struct num *ret, struct err *err)
{
    struct cell_parts parts = {0};
    uint64_t total = total_weight(cells, count, value_count);
    bool has_next = false;
    int64_t next = 0;
    double position = quantile * (double)(total - 1);
    uint64_t rank = (uint64_t)floor(position);
    double part = position - (double)rank;
    bool is_last = rank + 1 >= total;
    ASSERT(total > 0);
    cut_cells(&parts, cells, count, value_count);
    ERR_TRY(find_bounds(run, &parts, err));
    do {
        ERR_TRY(narrow(run, &parts, &rank, &has_next, &next, err));
    } while (parts.shift > 0);
    if (is_last) {
        next = parts.min;
    } else if (!has_next) {
        ERR_TRY(find_above(run, &parts, &next, err));
    }
    uint8_t scale = cells[0]->values->scale;
    *ret_is_there = acc_between(num_decimal(parts.min, scale), num_decimal(next, scale), part, ret);
    return ERR_OK;
}

/* ---- unions ---- */

/* Hashes of a part of the cells, by cut. */
struct cut_hashes {
    struct hash128 *hashes;
    uint64_t begins[CUTS + 1];
};

static uint32_t cut_of(struct hash128 hash)
{
    return (uint32_t)(hash.hi >> CUT_SHIFT);
}

static enum err_code cut_part(struct query_run_ctx *run, uint32_t part, const void *arg,
                              struct arena *arena, struct io *io, void *slot, struct err *err)
{
    struct cut_hashes *cut = slot;
    size_t count = 0;
    union acc_cell *const *cells = part_cells(arg, part, &count);
    uint64_t next[CUTS];
    (void)io;
    for (size_t c = 0; c < count; c++) {
        const struct acc_unique *set = cells[c]->unique;
        for (uint32_t i = 0; i < set->size; i++) {
            if (acc_is_hash(set->slots[i])) {
                cut->begins[cut_of(set->slots[i]) + 1]++;
            }
        }
    }
    for (uint32_t k = 0; k < CUTS; k++) {
        cut->begins[k + 1] += cut->begins[k];
        next[k] = cut->begins[k];
    }
    void *memory = NULL;
    ERR_TRY(run_check(run, err));
    ERR_TRY(
        arena_alloc_raw(arena, (size_t)cut->begins[CUTS] * sizeof(struct hash128), &memory, err));
    cut->hashes = memory;
    for (size_t c = 0; c < count; c++) {
        const struct acc_unique *set = cells[c]->unique;
        for (uint32_t i = 0; i < set->size; i++) {
            if (acc_is_hash(set->slots[i])) {
                cut->hashes[next[cut_of(set->slots[i])]++] = set->slots[i];
            }
        }
    }
    return ERR_OK;
}

static enum err_code unite_cut(struct query_run_ctx *run, uint32_t cut, const void *arg,
                               struct arena *arena, struct io *io, void *slot, struct err *err)
{
    const struct run_tasks *parts = arg;
    uint64_t *ret = slot;
    struct acc_pool pool = {.arena = arena};
    union acc_cell all = {0};
    (void)io;
    for (uint32_t p = 0; p < parts->count; p++) {
        const struct cut_hashes *from = run_slot(parts, p);
        ERR_TRY(run_check(run, err));
        for (uint64_t i = from->begins[cut]; i < from->begins[cut + 1]; i++) {
            if (i + HASHES_AHEAD < from->begins[cut + 1]) {
                acc_expect_hash(&all, from->hashes[i + HASHES_AHEAD]);
            }
            ERR_TRY(acc_add_hash(&pool, &all, from->hashes[i], err));
        }
    }
    *ret = all.unique == NULL ? 0 : all.unique->count;
    return ERR_OK;
}

bool trend_is_large_union(const struct query_run_ctx *run, union acc_cell *const *cells,
                          size_t count)
{
    uint64_t total = total_weight(cells, count, hash_count);
    size_t used = atomic_load_explicit(&run->budget.used_bytes, memory_order_relaxed);
    bool is_roomy = run->budget.max_bytes == 0 ||
                    (used < run->budget.max_bytes &&
                     total <= (run->budget.max_bytes - used) / (8 * sizeof(struct hash128)));
    return count > 1 && total >= TREND_LARGE && is_roomy;
}

enum err_code trend_large_union(struct query_run_ctx *run, union acc_cell *const *cells,
                                size_t count, uint64_t *ret, struct err *err)
{
    CLEANUP(run_tasks_free) struct run_tasks cut = {0};
    CLEANUP(run_tasks_free) struct run_tasks united = {0};
    struct cell_parts parts = {0};
    cut_cells(&parts, cells, count, hash_count);
    ERR_TRY(run_all_parts(run, CELL_PARTS, cut_part, &parts, sizeof(struct cut_hashes), &cut, err));
    ERR_TRY(run_all_parts(run, CUTS, unite_cut, &cut, sizeof(uint64_t), &united, err));
    *ret = 0;
    for (uint32_t k = 0; k < CUTS; k++) {
        *ret += *(const uint64_t *)run_slot(&united, k);
    }
    return ERR_OK;
}

/* ---- rows ---- */

uint64_t trend_weight(const struct trend_plan *plan, const struct run_tasks *tasks)
{
    uint64_t weight = 0;
    for (uint32_t t = 0; t < tasks->count; t++) {
        const struct trend_slot *slot = run_slot(tasks, t);
        for (uint32_t l = 0; l < plan->lane_count; l++) {
            bool is_unique = plan->lanes[l].kind == ACC_UNIQUE;
            uint32_t atom_count = plan->grids[plan->lanes[l].grid].atom_count;
            if (!is_unique && plan->lanes[l].kind != ACC_VALUES) {
                continue;
            }
            for (uint32_t g = 0; g < slot->group_cap; g++) {
                const union acc_cell *cells = slot->cells[l][g];
                for (uint32_t a = 0; cells != NULL && a < atom_count; a++) {
                    weight += cells[a].count == 0 ? 0
                              : is_unique         ? cells[a].unique->count
                                                  : cells[a].values->count;
                }
            }
        }
    }
    return weight;
}

struct rows_job {
    const struct trend_values *values;
    const struct trend_row_range *rows;
    uint64_t row_count;
    uint32_t part_count;
};

/* The one row of all groups without one is left to the calling thread: its measures are large themselves. */
static bool is_left(const struct trend_row_range *rows, uint64_t row)
{
    return rows->bucket_end - rows->bucket_begin == 1 &&
           rows->groups[row % rows->group_count].reach == GROUP_OTHERS;
}

/* Some rows, by a reader of their own; text stays in the part's arena. */
static enum err_code rows_part(struct query_run_ctx *run, uint32_t part, const void *arg,
                               struct arena *arena, struct io *io, void *slot, struct err *err)
{
    const struct rows_job *job = arg;
    const struct trend_row_range *rows = job->rows;
    CLEANUP(arena_freep) struct arena *scratch = arena_create(&run->budget);
    struct trend_values values = *job->values;
    uint64_t end = job->row_count * (part + 1) / job->part_count;
    (void)io;
    (void)slot;
    values.run = NULL;
    values.strings = values.arena = arena;
    values.scratch = scratch;
    values.sets = NULL;
    values.set_cap = 0;
    for (uint64_t r = job->row_count * part / job->part_count; r < end; r++) {
        ERR_TRY(run_check(run, err));
        if (is_left(rows, r)) {
            continue;
        }
        ERR_TRY(trend_measures(&values, &rows->groups[r % rows->group_count],
                               rows->bucket_begin + (uint32_t)(r / rows->group_count),
                               rows->cells + r * rows->stride, err));
    }
    return ERR_OK;
}

enum err_code trend_large_rows(struct query_run_ctx *run, struct trend_values *values,
                               const struct trend_row_range *rows, struct err *err)
{
    CLEANUP(run_tasks_free) struct run_tasks parts = {0};
    uint64_t buckets = rows->bucket_end - rows->bucket_begin;
    struct rows_job job = {.values = values, .rows = rows};
    job.row_count = buckets * rows->group_count;
    job.part_count = (uint32_t)MIN_OF(job.row_count, (uint64_t)ROW_PARTS);
    ERR_TRY(run_all_parts(run, job.part_count, rows_part, &job, 1, &parts, err));
    for (uint64_t r = 0; r < job.row_count; r++) {
        struct cell *cells = rows->cells + r * rows->stride;
        if (is_left(rows, r)) {
            ERR_TRY(trend_measures(values, &rows->groups[r], rows->bucket_begin, cells, err));
            continue;
        }
        for (uint32_t m = 0; m < values->plan->query->measure_count; m++) {
            if (cells[m].kind == CELL_STRING) {
                ERR_TRY(arena_str(values->strings, cells[m].string, &cells[m].string, err));
            }
        }
    }
    return ERR_OK;
}
