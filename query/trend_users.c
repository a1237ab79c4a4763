/* query/trend_users.c - rows into sets of users, one set after the other.
 *
 * A block's rows come by subject, and their cells as they like: each row would touch a set that lies elsewhere. Sorted by cell,
 * by counting, the subjects of a cell come in a row, ascending, and its set is filled while it is in the processor's cache.
 */
#include "query/trend_int.h"

#include "storage/base/size.h"

#define CELL_ROWS 4u /* rows of a block for each cell there is, that sorting is worth */

struct cell_rows {
    uint32_t atom_count, cell_count; /* cell = group * atom_count + atom */
    uint32_t *cells, *subjects;      /* of the rows that count */
    uint32_t count;
};

bool trend_sorts_users(const struct trend_work *work, uint32_t lane, uint32_t row_count)
{
    const struct trend_plan *plan = work->plan;
    uint64_t cells =
        (uint64_t)groups_count(work->slot->groups) * plan->grids[plan->lanes[lane].grid].atom_count;
    return cells > 1 && cells * CELL_ROWS <= row_count;
}

/* One after the other of a subject's rows in one cell would be the same member: the last one stands for them. */
static void find_cells(const struct trend_rows *rows, struct cell_rows *ret)
{
    uint32_t last = UINT32_MAX;
    uint32_t subject = UINT32_MAX;
    uint32_t count = 0;
    for (uint32_t i = 0; i < rows->count; i++) {
        uint32_t atom = rows->atoms == NULL ? 0 : rows->atoms[i];
        uint32_t cell = rows->groups[i] * ret->atom_count + atom;
        bool is_row = (rows->masks[i] & rows->bit) != 0 && atom != UINT32_MAX;
        bool is_new = cell != last || rows->subjects[i] != subject;
        ret->cells[count] = cell;
        ret->subjects[count] = rows->subjects[i];
        count += is_row && is_new;
        last = is_row ? cell : last;
        subject = is_row ? rows->subjects[i] : subject;
    }
    ret->count = count;
}

/* ends[c + 1] = how many rows cell c has; then ends[c] = where they begin, and after the scatter where they end. */
static void sort_by_cell(const struct cell_rows *rows, uint32_t *ends, uint32_t *sorted)
{
    for (uint32_t i = 0; i < rows->count; i++) {
        ends[rows->cells[i] + 1]++;
    }
    for (uint32_t c = 0; c < rows->cell_count; c++) {
        ends[c + 1] += ends[c];
    }
    for (uint32_t i = 0; i < rows->count; i++) {
        sorted[ends[rows->cells[i]]++] = rows->subjects[i];
    }
}

static enum err_code rows_alloc(struct arena *scratch, uint32_t count, uint32_t **ret,
                                struct err *err)
{
    void *memory = NULL;
    ERR_TRY(arena_alloc_raw(scratch, ((size_t)count + 1) * sizeof(**ret), &memory, err));
    *ret = memory;
    return ERR_OK;
}

enum err_code trend_sort_users(struct trend_work *work, uint32_t lane,
                               const struct trend_rows *rows, struct arena *scratch,
                               struct err *err)
{
    const struct trend_plan *plan = work->plan;
    struct cell_rows found = {.atom_count = plan->grids[plan->lanes[lane].grid].atom_count};
    uint32_t *ends = NULL;
    uint32_t *sorted = NULL;
    uint32_t begin = 0;
    found.cell_count = groups_count(work->slot->groups) * found.atom_count;
    ERR_TRY(rows_alloc(scratch, rows->count, &found.cells, err));
    ERR_TRY(rows_alloc(scratch, rows->count, &found.subjects, err));
    ERR_TRY(rows_alloc(scratch, rows->count, &sorted, err));
    ERR_TRY(ARENA_NEW(scratch, (size_t)found.cell_count + 1, &ends, err));
    find_cells(rows, &found);
    sort_by_cell(&found, ends, sorted);
    for (uint32_t c = 0; c < found.cell_count; c++) {
        union acc_cell *cells = NULL;
        if (ends[c] > begin) {
            ERR_TRY(trend_cells(work, lane, c / found.atom_count, &cells, err));
            ERR_TRY(acc_add_users(&work->slot->pool, &cells[c % found.atom_count], sorted + begin,
                                  ends[c] - begin, err));
        }
        begin = ends[c];
    }
    return ERR_OK;
}
