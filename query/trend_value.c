/* query/trend_value.c - see trend_value.h. */
#include "query/trend_value.h"

#include "query/trend_large.h"

static const struct trend_slot *slot_of(const struct run_tasks *tasks, uint32_t task)
{
    return run_slot(tasks, task);
}

/* The cells of a group as the task numbered it; NULL where it has none. */
static union acc_cell *slot_cells(const struct trend_slot *slot, uint32_t lane, uint32_t local)
{
    return local < slot->group_cap ? slot->cells[lane][local] : NULL;
}

struct trend_walk trend_walk_begin(const struct trend_values *values, uint32_t lane,
                                   const struct trend_group *group)
{
    return (struct trend_walk){
        .values = values,
        .group = group,
        .lane = lane,
        .next = group->reach == GROUP_ONE ? values->part_begins[group->group] : 0,
    };
}

/* The next cells of the one group; NULL at the end. */
static union acc_cell *cells_next_part(struct trend_walk *walk)
{
    const struct trend_values *values = walk->values;
    uint32_t end = values->part_begins[walk->group->group + 1];
    while (walk->next < end) {
        struct group_part part = values->parts[walk->next++];
        union acc_cell *cells =
            slot_cells(slot_of(values->tasks, part.task), walk->lane, part.local);
        if (cells != NULL) {
            walk->task = part.task;
            return cells;
        }
    }
    return NULL;
}

union acc_cell *trend_walk_next(struct trend_walk *walk)
{
    const struct trend_values *values = walk->values;
    bool is_all = walk->group->reach == GROUP_ALL;
    if (walk->group->reach == GROUP_ONE) {
        return cells_next_part(walk);
    }
    for (; walk->task < values->tasks->count; walk->task++, walk->next = 0) {
        const struct trend_slot *slot = slot_of(values->tasks, walk->task);
        uint32_t count = groups_count(slot->groups);
        while (walk->next < count) {
            uint32_t local = walk->next++;
            union acc_cell *cells = slot_cells(slot, walk->lane, local);
            if (cells != NULL && (is_all || !values->is_shown[values->global[walk->task][local]])) {
                return cells;
            }
        }
    }
    return NULL;
}

static enum err_code grow_sets(struct trend_values *values, struct err *err)
{
    size_t cap = values->set_cap == 0 ? 64 : values->set_cap * 2;
    union acc_cell **more = NULL;
    ERR_TRY(ARENA_NEW(values->arena, cap, &more, err));
    if (values->set_cap > 0) {
        memcpy(more, values->sets, values->set_cap * sizeof(union acc_cell *));
    }
    values->sets = more;
    values->set_cap = cap;
    return ERR_OK;
}

/* The atoms of bucket b, or of the whole range where b is TREND_WHOLE_RANGE. */
static struct trend_bucket lane_atoms(const struct trend_plan *plan, uint32_t lane, uint32_t b)
{
    const struct trend_grid *grid = &plan->grids[plan->lanes[lane].grid];
    return b == TREND_WHOLE_RANGE ? grid->total : grid->buckets[b];
}

/* The people of a lane that tasks have counted: there are no groups. */
static uint64_t counted_people(const struct trend_values *values, uint32_t lane, uint32_t b)
{
    uint64_t total = 0;
    for (uint32_t t = 0; t < values->tasks->count; t++) {
        const struct trend_slot *slot = slot_of(values->tasks, t);
        const struct trend_people *people = slot->people == NULL ? NULL : slot->people[lane];
        total += people == NULL ? 0 : b == TREND_WHOLE_RANGE ? people->total : people->buckets[b];
    }
    return total;
}

/* Different subjects of the members in a bucket: a union within each task, and a sum over
 * tasks, whose subjects differ. */
static enum err_code users_of(struct trend_values *values, uint32_t lane,
                              const struct trend_group *group, uint32_t b, uint64_t *ret,
                              struct err *err)
{
    struct trend_bucket atoms = lane_atoms(values->plan, lane, b);
    uint64_t total = values->plan->lanes[lane].is_counted && group->reach != GROUP_OTHERS
                         ? counted_people(values, lane, b)
                         : 0;
    size_t count = 0;
    uint32_t task = 0;
    struct trend_walk walk = trend_walk_begin(values, lane, group);
    while (true) {
        union acc_cell *cells = trend_walk_next(&walk);
        if (count > 0 && (cells == NULL || walk.task != task)) {
            uint64_t users = 0;
            ERR_TRY(acc_count_users(&slot_of(values->tasks, task)->pool, values->sets, count,
                                    values->scratch, &users, err));
            total += users;
            count = 0;
        }
        if (cells == NULL) {
            break;
        }
        task = walk.task;
        for (uint32_t a = atoms.atom_begin; a < atoms.atom_end; a++) {
            if (cells[a].users == NULL) {
                continue;
            }
            if (count == values->set_cap) {
                ERR_TRY(grow_sets(values, err));
            }
            values->sets[count++] = &cells[a];
        }
    }
    *ret = total;
    return ERR_OK;
}

/* How many rows the cells count together. */
static uint64_t rows_of(const struct trend_values *values, uint32_t lane,
                        const struct trend_group *group, struct trend_bucket atoms)
{
    uint64_t total = 0;
    struct trend_walk walk = trend_walk_begin(values, lane, group);
    for (const union acc_cell *cells = NULL; (cells = trend_walk_next(&walk)) != NULL;) {
        for (uint32_t a = atoms.atom_begin; a < atoms.atom_end; a++) {
            total += cells[a].count;
        }
    }
    return total;
}

/* The union of the other kinds. A single cell is taken as it is: sets are not copied for nothing.
 */
static enum err_code union_of(struct trend_values *values, uint32_t lane,
                              const struct trend_group *group, struct trend_bucket atoms,
                              union acc_cell *ret, struct err *err)
{
    enum acc_kind kind = values->plan->lanes[lane].kind;
    struct acc_pool pool = {.arena = values->scratch};
    const union acc_cell *only = NULL;
    union acc_cell sum = {0};
    bool is_copied = false;
    struct trend_walk walk = trend_walk_begin(values, lane, group);
    for (const union acc_cell *cells = NULL; (cells = trend_walk_next(&walk)) != NULL;) {
        for (uint32_t a = atoms.atom_begin; a < atoms.atom_end; a++) {
            if (cells[a].count == 0) {
                continue;
            }
            if (!is_copied && only == NULL) {
                only = &cells[a];
                continue;
            }
            if (!is_copied) {
                ERR_TRY(acc_merge(&pool, kind, &sum, only, err));
                is_copied = true;
            }
            ERR_TRY(acc_merge(&pool, kind, &sum, &cells[a], err));
        }
    }
    *ret = is_copied || only == NULL ? sum : *only;
    return ERR_OK;
}

static enum err_code value_of(struct trend_values *values, const struct acc_value *value,
                              struct expr_value *ret, struct err *err)
{
    struct cell cell = {.kind = CELL_NULL};
    char text[CIVIL_TEXT_BYTES];
    switch (value->type) {
    case COL_NUMBER: *ret = expr_of_num(value->number); return ERR_OK;
    case COL_BOOL: cell = (struct cell){.kind = CELL_BOOL, .boolean = value->i64 != 0}; break;
    case COL_TIME:
        cell.kind = CELL_STRING;
        ERR_TRY(arena_str(values->strings,
                          civil_format_instant(values->plan->query->zone, value->i64, text),
                          &cell.string, err));
        break;
    default:
        cell.kind = CELL_STRING;
        ERR_TRY(arena_str(values->strings, value->string, &cell.string, err));
        break;
    }
    *ret = (struct expr_value){.kind = VALUE_OTHER, .cell = cell};
    return ERR_OK;
}

/* The cells that hold anything, into values->sets. */
static enum err_code gather_sets(struct trend_values *values, uint32_t lane,
                                 const struct trend_group *group, struct trend_bucket atoms,
                                 size_t *ret_count, struct err *err)
{
    struct trend_walk walk = trend_walk_begin(values, lane, group);
    size_t count = 0;
    for (union acc_cell *cells = NULL; (cells = trend_walk_next(&walk)) != NULL;) {
        for (uint32_t a = atoms.atom_begin; a < atoms.atom_end; a++) {
            if (cells[a].count == 0) {
                continue;
            }
            if (count == values->set_cap) {
                ERR_TRY(grow_sets(values, err));
            }
            values->sets[count++] = &cells[a];
        }
    }
    *ret_count = count;
    return ERR_OK;
}

/* Of the values where they lie: nothing is put together. */
static enum err_code quantile_of(struct trend_values *values, const struct agg *agg, uint32_t lane,
                                 const struct trend_group *group, struct trend_bucket atoms,
                                 struct expr_value *ret, struct err *err)
{
    struct num n = {0};
    bool is_there = false;
    size_t count = 0;
    ERR_TRY(gather_sets(values, lane, group, atoms, &count, err));
    if (values->run != NULL && trend_is_large_quantile(values->sets, count)) {
        ERR_TRY(trend_large_quantile(values->run, values->sets, count, agg->quantile, &is_there, &n,
                                     err));
    } else {
        ERR_TRY(
            acc_quantile(values->sets, count, agg->quantile, values->scratch, &is_there, &n, err));
    }
    if (is_there) {
        *ret = expr_of_num(n);
    }
    return ERR_OK;
}

static enum err_code unique_of(struct trend_values *values, uint32_t lane,
                               const struct trend_group *group, struct trend_bucket atoms,
                               struct expr_value *ret, struct err *err)
{
    uint64_t unique = 0;
    size_t count = 0;
    ERR_TRY(gather_sets(values, lane, group, atoms, &count, err));
    if (values->run != NULL && trend_is_large_union(values->run, values->sets, count)) {
        ERR_TRY(trend_large_union(values->run, values->sets, count, &unique, err));
    } else {
        ERR_TRY(acc_count_unique(values->sets, count, values->scratch, &unique, err));
    }
    *ret = expr_exact((__int128)unique, 0);
    return ERR_OK;
}

/* Counts and sums of everything, which tasks have added up. */
static bool has_totals(const struct trend_values *values, uint32_t lane,
                       const struct trend_group *group, uint32_t b)
{
    enum acc_kind kind = values->plan->lanes[lane].kind;
    return values->plan->has_task_totals && group->reach == GROUP_ALL && b == TREND_WHOLE_RANGE &&
           (kind == ACC_COUNT || kind == ACC_SUM);
}

static enum err_code totals_of(struct trend_values *values, const struct agg *agg, uint32_t lane,
                               struct expr_value *ret, struct err *err)
{
    enum acc_kind kind = values->plan->lanes[lane].kind;
    struct acc_pool pool = {.arena = values->scratch};
    union acc_cell total = {0};
    for (uint32_t t = 0; t < values->tasks->count; t++) {
        ERR_TRY(acc_merge(&pool, kind, &total, &slot_of(values->tasks, t)->totals[lane], err));
    }
    *ret = kind == ACC_COUNT ? expr_exact((__int128)total.count, 0)
                             : expr_of_sum(total.sum, agg->kind == AGG_AVG);
    return ERR_OK;
}

static enum err_code agg_of(struct trend_values *values, const struct agg *agg, uint32_t lane,
                            const struct trend_group *group, uint32_t b, struct expr_value *ret,
                            struct err *err)
{
    struct trend_bucket atoms = lane_atoms(values->plan, lane, b);
    *ret = (struct expr_value){.kind = VALUE_MISSING};
    if (has_totals(values, lane, group, b)) {
        return totals_of(values, agg, lane, ret, err);
    }
    if (agg->kind == AGG_USERS) {
        uint64_t users = 0;
        ERR_TRY(users_of(values, lane, group, b, &users, err));
        *ret = expr_exact((__int128)users, 0);
        return ERR_OK;
    }
    if (values->plan->lanes[lane].kind == ACC_COUNT) {
        *ret = expr_exact((__int128)rows_of(values, lane, group, atoms), 0);
        return ERR_OK;
    }
    if (values->plan->lanes[lane].kind == ACC_VALUES) {
        return quantile_of(values, agg, lane, group, atoms, ret, err);
    }
    if (values->plan->lanes[lane].kind == ACC_UNIQUE) {
        return unique_of(values, lane, group, atoms, ret, err);
    }
    union acc_cell cell = {0};
    ERR_TRY(union_of(values, lane, group, atoms, &cell, err));
    switch (values->plan->lanes[lane].kind) {
    case ACC_SUM: *ret = expr_of_sum(cell.sum, agg->kind == AGG_AVG); return ERR_OK;
    default: return cell.value == NULL ? ERR_OK : value_of(values, cell.value, ret, err);
    }
}

enum err_code trend_measure(struct trend_values *values, uint32_t m,
                            const struct trend_group *group, uint32_t b, struct expr_value *ret,
                            struct err *err)
{
    const struct trend_plan *plan = values->plan;
    const struct bound_query *query = plan->query;
    const uint32_t *lane_of = plan->lane_of + (size_t)m * query->agg_count;
    const struct expr *expr = query->measures[m].expr;
    struct expr_value *aggs = NULL;
    if (expr->kind == EXPR_AGG && lane_of[expr->agg] != UINT32_MAX) {
        return agg_of(values, &query->aggs[expr->agg], lane_of[expr->agg], group, b, ret, err);
    }
    ERR_TRY(ARENA_NEW(values->scratch, query->agg_count, &aggs, err));
    for (uint32_t a = 0; a < query->agg_count; a++) {
        if (lane_of[a] == UINT32_MAX) {
            continue;
        }
        ERR_TRY(agg_of(values, &query->aggs[a], lane_of[a], group, b, &aggs[a], err));
    }
    *ret = expr_eval(expr, aggs);
    return ERR_OK;
}

enum err_code trend_measures(struct trend_values *values, const struct trend_group *group,
                             uint32_t b, struct cell *out, struct err *err)
{
    for (uint32_t m = 0; m < values->plan->query->measure_count; m++) {
        struct arena_mark mark = arena_mark(values->scratch);
        struct expr_value value = {0};
        ERR_TRY(trend_measure(values, m, group, b, &value, err));
        out[m] = expr_cell(&value);
        arena_rewind(values->scratch, mark);
    }
    return ERR_OK;
}

uint64_t trend_rows(const struct trend_values *values, uint32_t lane,
                    const struct trend_group *group)
{
    return rows_of(values, lane, group, lane_atoms(values->plan, lane, TREND_WHOLE_RANGE));
}
