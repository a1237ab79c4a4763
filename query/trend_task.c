/* query/trend_task.c - a task's half of a trend: rows, or stored sets of subjects, into cells. */
#include "query/trend_int.h"

#include "query/index_sets.h"
#include "query/pred_eval.h"
#include "query/subject_bits.h"
#include "query/trend_top.h"
#include "storage/base/cpu.h"
#include "storage/base/hash.h"
#include "storage/base/size.h"

#include <stdlib.h>

#define NONE           UINT32_MAX
#define CODES_AHEAD    32u /* whose hashes are added together */
#define MEMO_CODES_MAX 4096u
#define VALUES_AHEAD                                                                               \
    8u /* of a cell, whose line is on its way: cells take turns, and none is met soon again */
#define TALLY_ROWS_MIN 4u /* of a block for each group, for a table of counts by group to pay */

/* What is known of a dictionary's entries. */
struct hash_memo {
    const struct dict *dict;
    struct hash128 *
        hashes; /* of a small one, made as they occur; of a large one each entry comes for few cells */
    uint8_t *is_known;
    const union acc_cell **last; /* by code: the cell that had it last */
};

/* What a lane takes of a block. */
struct lane_rows {
    struct trend_work *work;
    uint32_t lane;
    uint64_t bit; /* of rows that the lane takes */
    const struct scan_block *block;
    const uint32_t *groups;
    const uint32_t *atoms; /* of each row, NONE outside the grid; NULL: all are of atom 0 */
    union acc_cell **by_group;
};

/* ---- cells ---- */

enum err_code trend_grow_groups(struct trend_work *work, uint32_t group_count, struct err *err)
{
    struct trend_slot *slot = work->slot;
    if (group_count <= slot->group_cap) {
        return ERR_OK;
    }
    uint32_t cap = MAX_OF(group_count, slot->group_cap * 2);
    for (uint32_t l = 0; l < work->plan->lane_count; l++) {
        union acc_cell **more = NULL;
        ERR_TRY(ARENA_NEW(work->arena, cap, &more, err));
        if (slot->group_cap > 0) {
            memcpy(more, slot->cells[l], slot->group_cap * sizeof(*more));
        }
        slot->cells[l] = more;
    }
    slot->group_cap = cap;
    return ERR_OK;
}

enum err_code trend_cells(struct trend_work *work, uint32_t lane, uint32_t group,
                          union acc_cell **ret, struct err *err)
{
    ERR_TRY(trend_grow_groups(work, group + 1, err));
    union acc_cell **cells = &work->slot->cells[lane][group];
    if (*cells == NULL) {
        uint32_t atom_count = work->plan->grids[work->plan->lanes[lane].grid].atom_count;
        ERR_TRY(ARENA_NEW(work->arena, atom_count, cells, err));
    }
    *ret = *cells;
    return ERR_OK;
}

/* ---- rows ---- */

/* The atom of each row, NONE outside the grid: a table gives the first atom of the row's cell of time, from where it is
 * mostly none or one step on. */
static void grid_atoms(const struct trend_grid *grid, const int64_t *restrict times, uint32_t count,
                       uint32_t *restrict out_atoms)
{
    int64_t first = grid->edges[0];
    uint64_t span =
        grid->atom_count == 0 ? 0 : (uint64_t)grid->edges[grid->atom_count] - (uint64_t)first;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t since = (uint64_t)times[i] - (uint64_t)first;
        if (times[i] < first || since >= span) {
            out_atoms[i] = NONE;
            continue;
        }
        uint32_t atom = grid->table[since >> grid->table_shift];
        while (times[i] >= grid->edges[atom + 1]) {
            atom++;
        }
        out_atoms[i] = atom;
    }
}

/* Count the rows of a lane that are all of atom 0, by group. */
static enum err_code tally_rows(struct trend_work *work, uint32_t lane,
                                const struct scan_block *block, const uint32_t *groups,
                                uint32_t *tallies, struct err *err)
{
    uint32_t group_count = groups_count(work->slot->groups);
    uint32_t selector = work->plan->lanes[lane].selector;
    for (uint32_t i = 0; i < block->count; i++) {
        tallies[groups[i]] += (uint32_t)(block->masks[i] >> selector) & 1;
    }
    for (uint32_t g = 0; g < group_count; g++) {
        union acc_cell *cells = NULL;
        if (tallies[g] > 0) {
            ERR_TRY(trend_cells(work, lane, g, &cells, err));
            cells[0].count += tallies[g];
        }
    }
    return ERR_OK;
}

/* Count the rows of a lane: neighbours mostly share group and atom. Without `atoms` all rows are of atom 0. */
static enum err_code count_rows(struct trend_work *work, uint32_t lane,
                                const struct scan_block *block, const uint32_t *groups,
                                const uint32_t *atoms, struct err *err)
{
    uint64_t bit = UINT64_C(1) << work->plan->lanes[lane].selector;
    union acc_cell *cells = NULL; /* of the run's group */
    uint32_t group = NONE;
    uint32_t atom = NONE;
    uint64_t run = 0;
    for (uint32_t i = 0; i < block->count; i++) {
        uint32_t place = atoms == NULL ? 0 : atoms[i];
        uint32_t row_atom = (block->masks[i] & bit) != 0 ? place : NONE;
        if (row_atom == atom && groups[i] == group) {
            run++;
            continue;
        }
        if (atom != NONE) {
            cells[atom].count += run;
        }
        atom = row_atom;
        run = 1;
        if (atom == NONE || groups[i] == group) {
            continue;
        }
        group = groups[i];
        cells = work->slot->cells[lane][group];
        if (cells == NULL) {
            ERR_TRY(trend_cells(work, lane, group, &cells, err));
        }
    }
    if (atom != NONE) {
        cells[atom].count += run;
    }
    return ERR_OK;
}

static enum err_code count_lane_rows(struct trend_work *work, uint32_t lane,
                                     const struct scan_block *block, const uint32_t *groups,
                                     const uint32_t *atoms, struct arena *scratch, struct err *err)
{
    uint32_t group_count = groups_count(work->slot->groups);
    uint32_t *tallies = NULL;
    if (atoms != NULL || group_count == 1 || group_count > block->count / TALLY_ROWS_MIN) {
        return count_rows(work, lane, block, groups, atoms, err);
    }
    ERR_TRY(ARENA_NEW(scratch, group_count, &tallies, err));
    return tally_rows(work, lane, block, groups, tallies, err);
}

static enum err_code add_user_rows(struct trend_work *work, uint32_t lane,
                                   const struct scan_block *block, const uint32_t *groups,
                                   const uint32_t *atoms, struct arena *scratch, struct err *err)
{
    uint64_t bit = UINT64_C(1) << work->plan->lanes[lane].selector;
    if (trend_sorts_users(work, lane, block->count)) {
        const struct trend_rows rows = {block->count, block->subjects, groups,
                                        atoms,        block->masks,    bit};
        return trend_sort_users(work, lane, &rows, scratch, err);
    }
    uint32_t group = NONE;
    union acc_cell *cells = NULL;
    union acc_cell *cell = NULL; /* what was added last, and for whom */
    uint32_t subject = NONE;
    for (uint32_t i = 0; i < block->count; i++) {
        uint32_t atom = atoms == NULL ? 0 : atoms[i];
        if ((block->masks[i] & bit) == 0 || atom == NONE) {
            continue;
        }
        if (groups[i] != group) {
            group = groups[i];
            cells = work->slot->cells[lane][group];
            if (cells == NULL) {
                ERR_TRY(trend_cells(work, lane, group, &cells, err));
            }
        }
        if (&cells[atom] != cell || block->subjects[i] != subject) {
            cell = &cells[atom];
            subject = block->subjects[i];
            ERR_TRY(acc_add_user(&work->slot->pool, cell, subject, err));
        }
    }
    return ERR_OK;
}

/* The cell of row i, NULL where the lane does not take the row. */
static inline enum err_code row_cell(const struct lane_rows *rows, uint32_t i, union acc_cell **ret,
                                     struct err *err)
{
    uint32_t atom = rows->atoms == NULL ? 0 : rows->atoms[i];
    *ret = NULL;
    if ((rows->block->masks[i] & rows->bit) == 0 || atom == NONE) {
        return ERR_OK;
    }
    union acc_cell *cells = rows->by_group[rows->groups[i]];
    if (cells == NULL) {
        ERR_TRY(trend_cells(rows->work, rows->lane, rows->groups[i], &cells, err));
    }
    *ret = cells + atom;
    return ERR_OK;
}

struct hash128 trend_value_hash(const struct vec *vec, uint32_t place, uint64_t seed)
{
    if (vec->kind == VEC_BYTES) {
        struct str s = vec_str(vec, place);
        return hash128(s.ptr, s.len, seed);
    }
    int64_t words[2] = {0, 0};
    switch (vec->kind) {
    case VEC_NUM:
    case VEC_F64: {
        struct num n = vec_num(vec, place);
        words[0] = n.m;
        words[1] = n.scale;
        break;
    }
    case VEC_BOOL: words[0] = vec->u8[place] != 0; break;
    default: words[0] = vec->i64[place]; break;
    }
    return hash128(words, sizeof(words), seed);
}

static enum err_code memo_for(struct trend_work *work, struct hash_memo *memo,
                              const struct dict *dict, struct err *err)
{
    if (memo->dict == dict) {
        return ERR_OK;
    }
    *memo = (struct hash_memo){0};
    if (dict->count <= MEMO_CODES_MAX) {
        ERR_TRY(ARENA_NEW(work->arena, dict->count, &memo->hashes, err));
        ERR_TRY(ARENA_NEW(work->arena, dict->count, &memo->is_known, err));
    }
    ERR_TRY(ARENA_NEW(work->arena, dict->count, &memo->last, err));
    memo->dict = dict;
    return ERR_OK;
}

static struct hash128 code_hash(struct hash_memo *memo, uint32_t code, uint64_t seed)
{
    if (memo->hashes != NULL && memo->is_known[code]) {
        return memo->hashes[code];
    }
    struct str text = dict_value(memo->dict, code);
    struct hash128 hash = hash128(text.ptr, text.len, seed);
    if (memo->hashes != NULL) {
        memo->hashes[code] = hash;
        memo->is_known[code] = 1;
    }
    return hash;
}

/* A code that a cell does not have yet, as far as is known. */
struct cell_code {
    union acc_cell *cell;
    uint32_t code;
};

/* Add a few: their looks at texts and into sets wait for memory together. */
static enum err_code add_few_codes(struct trend_work *work, struct hash_memo *memo,
                                   const struct cell_code *few, uint32_t count, struct err *err)
{
    struct hash128 hashes[CODES_AHEAD];
    for (uint32_t i = 0; memo->hashes == NULL && i < count; i++) {
        __builtin_prefetch(dict_value(memo->dict, few[i].code).ptr);
    }
    for (uint32_t i = 0; i < count; i++) {
        hashes[i] = code_hash(memo, few[i].code, work->plan->hash_seed);
        acc_expect_hash(few[i].cell, hashes[i]);
    }
    for (uint32_t i = 0; i < count; i++) {
        ERR_TRY(acc_add_hash(&work->slot->pool, few[i].cell, hashes[i], err));
    }
    return ERR_OK;
}

/* What is asked of a code whose row comes soon, the cell that had it last, unless it was `expected` before. Returns what
 * now is. */
static inline uint32_t expect_code(const struct hash_memo *memo, const struct vec *vec,
                                   uint32_t place, uint32_t expected)
{
    if (place == NONE || vec->kind != VEC_CODE || vec->u32[place] == expected) {
        return expected;
    }
    __builtin_prefetch(&memo->last[vec->u32[place]]);
    return vec->u32[place];
}

/* Values as codes: one comes again and again along a journey, and mostly for the same cell. */
static enum err_code add_unique_codes(const struct lane_rows *rows, struct hash_memo *memo,
                                      const struct vec *vec, const uint32_t *places,
                                      struct err *err)
{
    struct cell_code few[CODES_AHEAD];
    uint32_t count = 0;
    uint32_t row_count = rows->block->count;
    uint32_t expected = NONE;
    ERR_TRY(memo_for(rows->work, memo, vec->dict, err));
    for (uint32_t i = 0; i < row_count; i++) {
        union acc_cell *cell = NULL;
        uint32_t place = places[i];
        expected = expect_code(memo, vec, places[MIN_OF(i + CODES_AHEAD, row_count - 1)], expected);
        ERR_TRY(row_cell(rows, i, &cell, err));
        if (cell == NULL || place == NONE) {
            continue;
        }
        /* each item of a list is a value */
        uint32_t begin = vec->kind == VEC_LIST ? vec->offs[place] : place;
        uint32_t end = vec->kind == VEC_LIST ? vec->offs[place + 1] : place + 1;
        for (uint32_t c = begin; c < end; c++) {
            uint32_t code = vec->u32[c];
            if (memo->last[code] == cell) {
                continue;
            }
            memo->last[code] = cell;
            if (vec->dict->offs != NULL) {
                __builtin_prefetch(&vec->dict->offs[code]);
            }
            few[count++] = (struct cell_code){cell, code};
            if (count == CODES_AHEAD) {
                ERR_TRY(add_few_codes(rows->work, memo, few, count, err));
                count = 0;
            }
        }
    }
    return add_few_codes(rows->work, memo, few, count, err);
}

static enum err_code add_unique(const struct lane_rows *rows, const struct vec *vec,
                                const uint32_t *places, struct err *err)
{
    struct trend_work *work = rows->work;
    if (vec->kind == VEC_CODE || vec->kind == VEC_LIST) {
        return add_unique_codes(rows, &work->memos[rows->lane], vec, places, err);
    }
    for (uint32_t i = 0; i < rows->block->count; i++) {
        union acc_cell *cell = NULL;
        ERR_TRY(row_cell(rows, i, &cell, err));
        if (cell != NULL && places[i] != NONE) {
            ERR_TRY(acc_add_hash(&work->slot->pool, cell,
                                 trend_value_hash(vec, places[i], work->plan->hash_seed), err));
        }
    }
    return ERR_OK;
}

/* In lowest terms or not, where all of the block have one scale. */
static struct num raw_number(const struct vec *vec, uint32_t place)
{
    return vec->kind == VEC_NUM && vec->scales == NULL
               ? (struct num){.m = vec->i64[place], .scale = vec->scale}
               : vec_num(vec, place);
}

static enum err_code add_sums(const struct lane_rows *rows, const struct vec *vec,
                              const uint32_t *places, struct err *err)
{
    for (uint32_t i = 0; i < rows->block->count; i++) {
        union acc_cell *cell = NULL;
        ERR_TRY(row_cell(rows, i, &cell, err));
        if (cell != NULL && places[i] != NONE) {
            struct num n = raw_number(vec, places[i]);
            ERR_TRY(acc_add_sum(&rows->work->slot->pool, cell, n.m, n.scale, err));
        }
    }
    return ERR_OK;
}

static struct acc_value value_at(const struct vec *vec, uint32_t place)
{
    switch (vec->kind) {
    case VEC_NUM:
    case VEC_F64: return (struct acc_value){.type = COL_NUMBER, .number = vec_num(vec, place)};
    case VEC_BOOL: return (struct acc_value){.type = COL_BOOL, .i64 = vec->u8[place] != 0};
    case VEC_I64: return (struct acc_value){.type = COL_TIME, .i64 = vec->i64[place]};
    default: return (struct acc_value){.type = COL_STRING, .string = vec_str(vec, place)};
    }
}

static enum err_code add_values(const struct lane_rows *rows, enum acc_kind kind, struct scan *scan,
                                const struct vec *vec, const uint32_t *places, struct err *err)
{
    struct vec ids = {0};
    const uint32_t *id_places = NULL;
    bool has_place = kind == ACC_FIRST || kind == ACC_LAST;
    if (has_place) {
        const struct field event_id = {.kind = FIELD_EVENT_ID, .type = COL_STRING};
        ERR_TRY(scan_field(scan, &event_id, &ids, &id_places, err));
    }
    for (uint32_t i = 0; i < rows->block->count; i++) {
        union acc_cell *cell = NULL;
        ERR_TRY(row_cell(rows, i, &cell, err));
        if (cell == NULL || places[i] == NONE) {
            continue;
        }
        struct acc_value value = value_at(vec, places[i]);
        if (has_place) {
            value.at_ms = rows->block->times[i];
            if (id_places[i] != NONE) {
                value.event_id = vec_str(&ids, id_places[i]);
            }
        }
        ERR_TRY(acc_add_value(&rows->work->slot->pool, kind, cell, &value, err));
    }
    return ERR_OK;
}

static enum err_code add_numbers(const struct lane_rows *rows, const struct vec *vec,
                                 const uint32_t *places, struct err *err)
{
    for (uint32_t i = 0; i < rows->block->count; i++) {
        union acc_cell *cell = NULL;
        ERR_TRY(row_cell(rows, i, &cell, err));
        if (cell == NULL || places[i] == NONE) {
            continue;
        }
        struct num n = raw_number(vec, places[i]);
        struct acc_values *values = cell->values;
        if (values != NULL && values->items == NULL && values->scale == n.scale &&
            values->count < values->cap) {
            values->whole[values->count++] = n.m;
            __builtin_prefetch(values->whole + values->count + VALUES_AHEAD, 1);
        } else {
            ERR_TRY(acc_add_decimal(&rows->work->slot->pool, cell, n.m, n.scale, err));
        }
    }
    return ERR_OK;
}

static enum err_code lane_add_rows(const struct lane_rows *rows, struct scan *scan, struct err *err)
{
    const struct trend_lane *lane = &rows->work->plan->lanes[rows->lane];
    struct vec vec = {0};
    const uint32_t *places = NULL;
    ERR_TRY(scan_field(scan, &lane->field, &vec, &places, err));
    bool is_number = vec.kind == VEC_NUM || vec.kind == VEC_F64;
    if (vec.kind == VEC_ABSENT) {
        return ERR_OK;
    }
    switch (lane->kind) {
    case ACC_UNIQUE: return add_unique(rows, &vec, places, err);
    case ACC_SUM: return is_number ? add_sums(rows, &vec, places, err) : ERR_OK;
    case ACC_VALUES: return is_number ? add_numbers(rows, &vec, places, err) : ERR_OK;
    default:
        return vec.kind == VEC_LIST ? ERR_OK
                                    : add_values(rows, lane->kind, scan, &vec, places, err);
    }
}

CPU_CLONES static void times_bounds(const int64_t *restrict times, uint32_t count, int64_t *min,
                                    int64_t *max)
{
    int64_t least = *min;
    int64_t most = *max;
    for (uint32_t i = 0; i < count; i++) {
        least = MIN_OF(least, times[i]);
        most = MAX_OF(most, times[i]);
    }
    *min = least;
    *max = most;
}

/* Where an open range begins and ends is in its buckets, and in what is kept of a segment for questions that have some. */
static void note_times(struct trend_work *work, const struct scan_block *block)
{
    const struct trend_plan *plan = work->plan;
    struct trend_slot *slot = work->slot;
    if ((plan->is_from_open || plan->is_to_open) &&
        (plan->query->has_each || plan->partials != NULL)) {
        times_bounds(block->times, block->count, &slot->row_min_ms, &slot->row_max_ms);
    }
}

static enum err_code add_counts(struct trend_work *work, const struct group_count *counts,
                                uint32_t count, struct err *err)
{
    ERR_TRY(trend_grow_groups(work, groups_count(work->slot->groups), err));
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t l = 0; l < work->plan->lane_count; l++) {
            union acc_cell *cells = NULL;
            ERR_TRY(trend_cells(work, l, counts[i].group, &cells, err));
            cells[0].count += counts[i].rows;
        }
    }
    return ERR_OK;
}

/* Rows that are only counted, by the codes of their keys. */
static enum err_code count_block(struct trend_work *work, struct scan *scan,
                                 const struct scan_block *block, bool *ret_done, struct err *err)
{
    struct group_count *counts = NULL;
    uint32_t count = 0;
    ERR_TRY(groups_count_block(work->slot->groups, scan, block, &counts, &count, ret_done, err));
    return add_counts(work, counts, count, err);
}

/* What was kept back of the source's rows. */
static enum err_code count_rest(struct trend_work *work, struct arena *scratch, struct err *err)
{
    struct group_count *counts = NULL;
    uint32_t count = 0;
    ERR_TRY(groups_count_rest(work->slot->groups, scratch, &counts, &count, err));
    return add_counts(work, counts, count, err);
}

/* Add a block to the lanes that take rows. */
static enum err_code task_add_block(struct trend_work *work, struct scan *scan,
                                    const struct scan_block *block, struct err *err)
{
    struct arena *scratch = scan_read_ctx(scan)->arena;
    const struct trend_plan *plan = work->plan;
    const uint32_t *groups = NULL;
    note_times(work, block);
    if (plan->is_count_only) {
        bool is_done = false;
        ERR_TRY(count_block(work, scan, block, &is_done, err));
        if (is_done) {
            return ERR_OK;
        }
    }
    ERR_TRY(groups_of_block(work->slot->groups, scan, block, &groups, err));
    ERR_TRY(trend_grow_groups(work, groups_count(work->slot->groups), err));
    /* Rows are taken from all the time that lanes of their selector look at: that of the only grid. */
    bool is_one_atom = plan->grid_count == 1 && plan->grids[0].atom_count == 1;
    for (uint32_t g = 0; g < plan->grid_count; g++) {
        uint32_t *atoms = NULL; /* of each row; NULL: atom 0 */
        for (uint32_t l = 0; l < plan->lane_count; l++) {
            const struct trend_lane *lane = &plan->lanes[l];
            if (lane->grid != g || lane->is_indexed) {
                continue;
            }
            if (atoms == NULL && !is_one_atom) {
                void *memory = NULL;
                ERR_TRY(arena_alloc_raw(scratch, block->count * sizeof(*atoms), &memory, err));
                atoms = memory;
                grid_atoms(&plan->grids[g], block->times, block->count, atoms);
            }
            if (lane->kind == ACC_COUNT || lane->kind == ACC_USERS) {
                ERR_TRY(lane->kind == ACC_COUNT
                            ? count_lane_rows(work, l, block, groups, atoms, scratch, err)
                            : add_user_rows(work, l, block, groups, atoms, scratch, err));
                continue;
            }
            const struct lane_rows rows = {.work = work,
                                           .lane = l,
                                           .bit = UINT64_C(1) << lane->selector,
                                           .block = block,
                                           .groups = groups,
                                           .atoms = atoms,
                                           .by_group = work->slot->cells[l]};
            ERR_TRY(lane_add_rows(&rows, scan, err));
        }
    }
    return ERR_OK;
}

/* The columns that task_add_block asks for. */
static enum err_code task_cols(struct trend_work *work, uint32_t **ret_cols, uint32_t *ret_count,
                               struct err *err)
{
    const struct trend_plan *plan = work->plan;
    uint32_t *cols = NULL;
    uint32_t count = 0;
    size_t max = (size_t)plan->query->key_count + 2 * (size_t)plan->lane_count;
    ERR_TRY(ARENA_NEW(work->arena, max, &cols, err));
    for (uint32_t k = 0; k < plan->query->key_count; k++) {
        cols[count++] = pred_field_col(&plan->query->keys[k].field);
    }
    for (uint32_t l = 0; l < plan->lane_count; l++) {
        const struct trend_lane *lane = &plan->lanes[l];
        if (lane->kind == ACC_COUNT || lane->kind == ACC_USERS || lane->is_indexed) {
            continue;
        }
        cols[count++] = pred_field_col(&lane->field);
        if (lane->kind == ACC_FIRST || lane->kind == ACC_LAST) {
            cols[count++] = COL_EVENT_ID;
        }
    }
    *ret_cols = cols;
    *ret_count = count;
    return ERR_OK;
}

/* Whether a lane that takes rows asks whose they are. */
static bool task_has_users(const struct trend_plan *plan)
{
    for (uint32_t l = 0; l < plan->lane_count; l++) {
        const struct trend_lane *lane = &plan->lanes[l];
        if (lane->kind == ACC_USERS && !lane->is_indexed) {
            return true;
        }
    }
    return false;
}

static enum err_code task_scan(struct trend_work *work, const struct source *source,
                               const struct scan_want *wants, uint32_t want_count, struct err *err)
{
    const struct run_task *task = work->task;
    uint32_t *cols = NULL;
    uint32_t col_count = 0;
    ERR_TRY(task_cols(work, &cols, &col_count, err));
    const struct scan_spec spec = {
        .query = work->plan->query,
        .wants = wants,
        .want_count = want_count,
        .subject_begin = task->subject_begin,
        .subject_end = task->subject_end,
        .deleted = work->run->snapshot->deleted[task->shard],
        .no_index = run_is_reference(work->run),
        .cols = cols,
        .col_count = col_count,
        .no_subjects = !task_has_users(work->plan),
    };
    CLEANUP(scan_closep) struct scan *scan = NULL;
    ERR_TRY(scan_open(source, &spec, work->run, work->arena, work->io, &scan, err));
    while (true) {
        struct scan_block block = {0};
        bool has_more = false;
        ERR_TRY(scan_next(scan, &block, &has_more, err));
        if (!has_more) {
            return count_rest(work, scan_read_ctx(scan)->arena, err);
        }
        ERR_TRY(task_add_block(work, scan, &block, err));
    }
}

/* One want per selector that some lane reads rows of, over all the time that these lanes look at.
 */
static enum err_code task_row_wants(struct trend_work *work, struct scan_want **ret_wants,
                                    uint32_t *ret_count, struct err *err)
{
    const struct trend_plan *plan = work->plan;
    struct scan_want *wants = NULL;
    uint32_t count = 0;
    ERR_TRY(ARENA_NEW(work->arena, plan->lane_count, &wants, err));
    for (uint32_t l = 0; l < plan->lane_count; l++) {
        const struct trend_lane *lane = &plan->lanes[l];
        const struct trend_grid *grid = &plan->grids[lane->grid];
        if (lane->is_indexed) {
            continue;
        }
        uint32_t w = 0;
        while (w < count && wants[w].selector != lane->selector) {
            w++;
        }
        int64_t begin = grid->edges[0];
        int64_t end = grid->edges[grid->atom_count];
        if (w == count) {
            wants[count++] =
                (struct scan_want){.selector = lane->selector, .begin_ms = begin, .end_ms = end};
        }
        wants[w].begin_ms = MIN_OF(wants[w].begin_ms, begin);
        wants[w].end_ms = MAX_OF(wants[w].end_ms, end);
    }
    *ret_wants = wants;
    *ret_count = count;
    return ERR_OK;
}

/* ---- stored sets ---- */

struct lane_taker {
    struct trend_work *work;
    union acc_cell *cells;
};

static enum err_code lane_take_members(void *arg, const struct source *source, uint32_t atom,
                                       const struct subject_members *members, struct err *err)
{
    (void)source;
    struct lane_taker *taker = arg;
    return acc_add_members(&taker->work->slot->pool, &taker->cells[atom], members, err);
}

static enum err_code index_lane(struct trend_work *work, uint32_t lane_idx, struct err *err)
{
    const struct trend_lane *lane = &work->plan->lanes[lane_idx];
    const struct trend_grid *grid = &work->plan->grids[lane->grid];
    struct lane_taker lane_taker = {.work = work};
    const struct index_taker taker = {.arg = &lane_taker, .take = lane_take_members};
    const struct index_ask ask = {.query = work->plan->query,
                                  .selector = lane->selector,
                                  .edges = grid->edges,
                                  .atom_count = grid->atom_count};
    ERR_TRY(trend_cells(work, lane_idx, 0, &lane_taker.cells, err));
    return index_walk(work->run, work->task, &ask, &taker, work->arena, work->io, err);
}

/* Stored sets know nothing of deleted subjects. */
static enum err_code drop_deleted(struct trend_work *work, uint32_t lane, struct err *err)
{
    const roaring_bitmap_t *deleted = work->run->snapshot->deleted[work->task->shard];
    uint32_t atom_count = work->plan->grids[work->plan->lanes[lane].grid].atom_count;
    const struct acc_pool *pool = &work->slot->pool;
    uint64_t *words = NULL;
    if (deleted == NULL) {
        return ERR_OK;
    }
    ERR_TRY(ARENA_NEW(work->arena, pool->word_count, &words, err));
    bits_add_set(words, pool->subject_base, pool->word_count, deleted);
    for (uint32_t g = 0; g < work->slot->group_cap; g++) {
        union acc_cell *cells = work->slot->cells[lane][g];
        for (uint32_t a = 0; cells != NULL && a < atom_count; a++) {
            acc_drop_users(pool, &cells[a], deleted, words);
        }
    }
    return ERR_OK;
}

enum err_code trend_scan_users(struct trend_work *work, uint32_t lane, const struct source *source,
                               const struct scan_want *wants, uint32_t want_count,
                               const struct scan_range *ranges, uint32_t range_count,
                               struct err *err)
{
    const struct run_task *task = work->task;
    const struct trend_plan *plan = work->plan;
    const struct trend_grid *grid = &plan->grids[plan->lanes[lane].grid];
    uint32_t col = plan->query->key_count == 0 ? 0 : pred_field_col(&plan->query->keys[0].field);
    const struct scan_spec spec = {
        .query = plan->query,
        .wants = wants,
        .want_count = want_count,
        .subject_begin = task->subject_begin,
        .subject_end = task->subject_end,
        .deleted = work->run->snapshot->deleted[task->shard],
        .ranges = ranges,
        .range_count = range_count,
        .cols = &col,
        .col_count = plan->query->key_count == 0 ? 0 : 1,
    };
    CLEANUP(scan_closep) struct scan *scan = NULL;
    ERR_TRY(scan_open(source, &spec, work->run, work->arena, work->io, &scan, err));
    while (true) {
        struct scan_block block = {0};
        const uint32_t *groups = NULL;
        void *memory = NULL;
        bool has_more = false;
        ERR_TRY(scan_next(scan, &block, &has_more, err));
        if (!has_more) {
            return ERR_OK;
        }
        ERR_TRY(groups_of_block(work->slot->groups, scan, &block, &groups, err));
        ERR_TRY(trend_grow_groups(work, groups_count(work->slot->groups), err));
        ERR_TRY(arena_alloc_raw(scan_read_ctx(scan)->arena, block.count * sizeof(uint32_t), &memory,
                                err));
        uint32_t *atoms = memory;
        grid_atoms(grid, block.times, block.count, atoms);
        ERR_TRY(add_user_rows(work, lane, &block, groups, atoms, scan_read_ctx(scan)->arena, err));
    }
}

/* ---- the task ---- */

enum err_code trend_work_begin(struct trend_work *work, uint32_t subject_begin,
                               uint32_t subject_end, struct err *err)
{
    const struct trend_plan *plan = work->plan;
    struct trend_slot *slot = work->slot;
    acc_pool_init(&slot->pool, work->arena);
    acc_pool_subjects(&slot->pool, subject_begin, subject_end);
    slot->row_min_ms = INT64_MAX;
    slot->row_max_ms = INT64_MIN;
    ERR_TRY(groups_create(plan->query, work->arena, &slot->groups, err));
    ERR_TRY(ARENA_NEW(work->arena, plan->lane_count, &slot->cells, err));
    ERR_TRY(ARENA_NEW(work->arena, plan->lane_count, &slot->people, err));
    ERR_TRY(ARENA_NEW(work->arena, plan->lane_count, &work->memos, err));
    return trend_grow_groups(work, 1, err);
}

enum err_code trend_work_read(struct trend_work *work, struct err *err)
{
    const struct trend_plan *plan = work->plan;
    const struct run_task *task = work->task;
    struct scan_want *wants = NULL;
    uint32_t want_count = 0;
    ERR_TRY(task_row_wants(work, &wants, &want_count, err));
    for (uint32_t s = 0; want_count > 0 && s < task->source_count; s++) {
        ERR_TRY(task_scan(work, task->sources[s], wants, want_count, err));
    }
    for (uint32_t l = 0; task->source_count > 0 && l < plan->lane_count; l++) {
        const struct trend_lane *lane = &plan->lanes[l];
        if (lane->is_indexed && plan->grids[lane->grid].atom_count > 0) {
            ERR_TRY(lane->is_split     ? trend_split_lane(work, l, err)
                    : lane->is_counted ? trend_count_lane(work, l, err)
                                       : index_lane(work, l, err));
            ERR_TRY(drop_deleted(work, l, err));
        }
    }
    return ERR_OK;
}

/* Add the sources that partial answers stand for; the others are left to be read. */
static enum err_code task_add_partials(struct trend_work *work, const struct source **out_rest,
                                       uint32_t *ret_count, struct err *err)
{
    CLEANUP(arena_freep) struct arena *part_arena = arena_create(arena_budget(work->arena));
    uint32_t count = 0;
    work->part_arena = part_arena;
    for (uint32_t s = 0; s < work->task->source_count; s++) {
        bool is_added = false;
        ERR_TRY(trend_add_partial(work, s, &is_added, err));
        if (!is_added) {
            out_rest[count++] = work->task->sources[s];
        }
    }
    work->part_arena = NULL;
    *ret_count = count;
    return ERR_OK;
}

static enum err_code task_read(struct trend_work *work, struct err *err)
{
    const struct run_task *task = work->task;
    const struct source **sources = NULL;
    struct run_task rest = *task;
    if (work->plan->partials == NULL) {
        return trend_work_read(work, err);
    }
    ERR_TRY(ARENA_NEW(work->arena, task->source_count, &sources, err));
    ERR_TRY(task_add_partials(work, sources, &rest.source_count, err));
    rest.sources = sources;
    work->task = &rest;
    enum err_code code = trend_work_read(work, err);
    work->task = task;
    return code;
}

/* What the task counts and sums of all groups, while its cells are at hand. */
static enum err_code task_totals(struct trend_work *work, struct err *err)
{
    const struct trend_plan *plan = work->plan;
    struct trend_slot *slot = work->slot;
    ERR_TRY(ARENA_NEW(work->arena, plan->lane_count, &slot->totals, err));
    for (uint32_t l = 0; l < plan->lane_count; l++) {
        enum acc_kind kind = plan->lanes[l].kind;
        struct trend_bucket total = plan->grids[plan->lanes[l].grid].total;
        for (uint32_t g = 0; (kind == ACC_COUNT || kind == ACC_SUM) && g < slot->group_cap; g++) {
            const union acc_cell *cells = slot->cells[l][g];
            for (uint32_t a = total.atom_begin; cells != NULL && a < total.atom_end; a++) {
                ERR_TRY(acc_merge(&slot->pool, kind, &slot->totals[l], &cells[a], err));
            }
        }
    }
    return ERR_OK;
}

enum err_code trend_task(struct query_run_ctx *run, const struct run_task *task,
                         struct arena *arena, struct io *io, void *slot, struct err *err)
{
    const struct trend_plan *plan = run->verb_plan;
    struct trend_work work = {
        .run = run, .task = task, .plan = plan, .slot = slot, .arena = arena, .io = io};
    ERR_TRY(trend_work_begin(&work, task->subject_begin, run_task_end(run, task), err));
    ERR_TRY(task_read(&work, err));
    ERR_TRY(trend_grow_groups(&work, groups_count(work.slot->groups), err));
    if (plan->has_task_totals) {
        ERR_TRY(task_totals(&work, err));
    }
    return plan->is_ranked ? trend_top_entries(run, plan, slot, arena, err) : ERR_OK;
}
