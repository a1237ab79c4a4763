/* query/trend_top.c - see trend_top.h. */
#include "query/trend_top.h"

#include "query/heap.h"
#include "query/trend_value.h"
#include "storage/base/size.h"

#define NONE          TREND_TOP_NONE
#define ENTRIES_AHEAD 16u /* whose places in the table are on their way */

#define GROUPS_PER_CHECK 4096u

struct tops_plan {
    const struct run_tasks *tasks;
    const struct trend_plan *trend;
    uint32_t top;
};

static const struct trend_slot *slot_of(const struct run_tasks *tasks, uint32_t task)
{
    return run_slot(tasks, task);
}

const struct groups *trend_top_groups(const struct trend_top *top, uint32_t entry)
{
    return slot_of(top->tasks, top->entries[entry].task)->groups;
}

/* ---- a task's half ---- */

static uint32_t part_of(uint64_t hash)
{
    return (uint32_t)(hash >> 32) % TREND_PARTS;
}

static uint64_t count_group(const struct trend_plan *plan, const struct trend_slot *slot,
                            uint32_t group)
{
    const struct trend_grid *grid = &plan->grids[plan->lanes[plan->count_lane].grid];
    const union acc_cell *cells = slot->cells[plan->count_lane][group];
    uint64_t rows = 0;
    for (uint32_t a = grid->total.atom_begin; cells != NULL && a < grid->total.atom_end; a++) {
        rows += cells[a].count;
    }
    return rows;
}

/* The first measure of each of the reader's groups into out[place of the group]. */
static enum err_code measure_groups(struct query_run_ctx *run, struct trend_values *values,
                                    uint32_t count, const uint32_t *places, struct cell *out,
                                    struct err *err)
{
    for (uint32_t g = 0; g < count; g++) {
        const struct trend_group group = {.reach = GROUP_ONE, .group = g};
        struct arena_mark mark = arena_mark(values->scratch);
        struct expr_value value = {0};
        if (g % GROUPS_PER_CHECK == 0) {
            ERR_TRY(run_check(run, err));
        }
        ERR_TRY(trend_measure(values, 0, &group, TREND_WHOLE_RANGE, &value, err));
        out[places[g]] = expr_cell(&value);
        arena_rewind(values->scratch, mark);
    }
    return ERR_OK;
}

/* The first measure of the task's groups, as if there were no other task. */
static enum err_code rank_own(struct query_run_ctx *run, const struct trend_plan *plan,
                              struct trend_slot *slot, const uint32_t *places, struct arena *arena,
                              struct err *err)
{
    CLEANUP(arena_freep) struct arena *scratch = arena_create(&run->budget);
    CLEANUP(arena_freep) struct arena *reader = arena_create(&run->budget);
    const struct run_tasks alone = {.slots = slot, .slot_bytes = sizeof(*slot), .count = 1};
    uint32_t count = groups_count(slot->groups);
    uint32_t *begins = NULL;
    struct group_part *parts = NULL;
    ERR_TRY(ARENA_NEW(reader, (size_t)count + 1, &begins, err));
    ERR_TRY(ARENA_NEW(reader, count, &parts, err));
    ERR_TRY(ARENA_NEW(arena, count, &slot->ranks, err));
    for (uint32_t g = 0; g < count; g++) {
        begins[g + 1] = g + 1;
        parts[g].local = g;
    }
    struct trend_values values = {.plan = plan,
                                  .tasks = &alone,
                                  .part_begins = begins,
                                  .parts = parts,
                                  .strings = arena,
                                  .arena = reader,
                                  .scratch = scratch};
    return measure_groups(run, &values, count, places, slot->ranks, err);
}

/* A pass for the hashes, and one that puts each group in its place. */
enum err_code trend_top_entries(struct query_run_ctx *run, const struct trend_plan *plan,
                                struct trend_slot *slot, struct arena *arena, struct err *err)
{
    uint32_t count = groups_count(slot->groups);
    uint32_t next[TREND_PARTS];
    uint64_t *hashes = NULL;
    uint32_t *places = NULL; /* of each group among the entries */
    ERR_TRY(ARENA_NEW(arena, count, &hashes, err));
    ERR_TRY(ARENA_NEW(arena, count, &places, err));
    ERR_TRY(ARENA_NEW(arena, count, &slot->entries, err));
    for (uint32_t g = 0; g < count; g++) {
        hashes[g] = groups_hash(slot->groups, g);
        slot->part_begins[part_of(hashes[g]) + 1]++;
    }
    for (uint32_t p = 0; p < TREND_PARTS; p++) {
        slot->part_begins[p + 1] += slot->part_begins[p];
        next[p] = slot->part_begins[p];
    }
    bool is_counted = plan->count_lane != UINT32_MAX;
    for (uint32_t g = 0; g < count; g++) {
        places[g] = next[part_of(hashes[g])]++;
        slot->entries[places[g]] = (struct trend_entry){
            .hash = hashes[g], .rows = is_counted ? count_group(plan, slot, g) : 0, .local = g};
    }
    return plan->is_rank_cheap ? rank_own(run, plan, slot, places, arena, err) : ERR_OK;
}

/* ---- a part ---- */

static int compare_entries(const struct trend_top *top, uint32_t x, uint32_t y)
{
    return groups_cmp_with(trend_top_groups(top, x), top->entries[x].local,
                           trend_top_groups(top, y), top->entries[y].local);
}

static enum err_code gather_entries(struct trend_top *top, uint32_t part, struct arena *arena,
                                    struct err *err)
{
    uint32_t count = 0;
    for (uint32_t t = 0; t < top->tasks->count; t++) {
        const uint32_t *begins = slot_of(top->tasks, t)->part_begins;
        count += begins[part + 1] - begins[part];
    }
    ERR_TRY(ARENA_NEW(arena, count, &top->entries, err));
    ERR_TRY(ARENA_NEW(arena, count, &top->next, err));
    ERR_TRY(ARENA_NEW(arena, count, &top->heads, err));
    ERR_TRY(ARENA_NEW(arena, top->is_counted ? 0 : count, &top->values, err));
    for (uint32_t t = 0; t < top->tasks->count; t++) {
        const struct trend_slot *slot = slot_of(top->tasks, t);
        for (uint32_t i = slot->part_begins[part]; i < slot->part_begins[part + 1]; i++) {
            if (slot->ranks != NULL) {
                top->values[top->count] = slot->ranks[i];
            }
            top->entries[top->count] = slot->entries[i];
            top->entries[top->count++].task = t;
        }
    }
    return ERR_OK;
}

/* The head of entry i's group: itself where it is the first of it. */
static uint32_t find_head(const struct trend_top *top, uint32_t *slots, uint32_t mask, uint32_t i)
{
    uint64_t hash = top->entries[i].hash;
    uint32_t at = (uint32_t)hash & mask;
    for (; slots[at] != NONE; at = (at + 1) & mask) {
        uint32_t head = slots[at];
        if (top->entries[head].hash == hash && compare_entries(top, head, i) == 0) {
            return head;
        }
    }
    slots[at] = i;
    return i;
}

static enum err_code chain_entries(struct trend_top *top, struct arena *arena, struct err *err)
{
    uint32_t size = 64;
    void *memory = NULL;
    uint32_t *last = NULL; /* by head: the last entry of its group */
    while (size < UINT32_MAX / 4 && size / 2 < top->count) {
        size *= 2;
    }
    ERR_TRY(ARENA_NEW(arena, top->count, &last, err));
    ERR_TRY(arena_alloc_raw(arena, (size_t)size * sizeof(uint32_t), &memory, err));
    uint32_t *slots = memory;
    memset(slots, 0xff, (size_t)size * sizeof(*slots));
    for (uint32_t i = 0; i < top->count; i++) {
        if (i + ENTRIES_AHEAD < top->count) {
            __builtin_prefetch(&slots[(uint32_t)top->entries[i + ENTRIES_AHEAD].hash & (size - 1)]);
        }
        uint32_t head = find_head(top, slots, size - 1, i);
        top->next[i] = NONE;
        if (head == i) {
            top->heads[top->head_count++] = i;
        } else {
            top->next[last[head]] = i;
            top->entries[head].rows += top->entries[i].rows;
        }
        last[head] = i;
    }
    return ERR_OK;
}

/* The chains that have no value yet as the groups of a reader, each by its head. */
static enum err_code read_chains(const struct trend_top *top, bool has_ranks, struct arena *arena,
                                 struct trend_values *values, uint32_t **ret_heads,
                                 uint32_t *ret_count, struct err *err)
{
    uint32_t *begins = NULL;
    struct group_part *parts = NULL;
    uint32_t at = 0;
    uint32_t count = 0;
    ERR_TRY(ARENA_NEW(arena, (size_t)top->head_count + 1, &begins, err));
    ERR_TRY(ARENA_NEW(arena, top->head_count, ret_heads, err));
    ERR_TRY(ARENA_NEW(arena, top->count, &parts, err));
    for (uint32_t h = 0; h < top->head_count; h++) {
        uint32_t head = top->heads[h];
        if (has_ranks && top->next[head] == NONE) {
            continue; /* of one task, which has ranked it */
        }
        for (uint32_t k = head; k != NONE; k = top->next[k]) {
            parts[at++] = (struct group_part){top->entries[k].task, top->entries[k].local};
        }
        (*ret_heads)[count++] = head;
        begins[count] = at;
    }
    values->part_begins = begins;
    values->parts = parts;
    *ret_count = count;
    return ERR_OK;
}

/* What groups are ranked by, where that is not the number of their rows. */
static enum err_code measure_heads(struct query_run_ctx *run, const struct trend_plan *plan,
                                   struct trend_top *top, struct arena *arena, struct err *err)
{
    CLEANUP(arena_freep) struct arena *scratch = arena_create(&run->budget);
    struct trend_values values = {
        .plan = plan, .tasks = top->tasks, .strings = arena, .arena = arena, .scratch = scratch};
    uint32_t *heads = NULL;
    uint32_t count = 0;
    ERR_TRY(read_chains(top, plan->is_rank_cheap, arena, &values, &heads, &count, err));
    return measure_groups(run, &values, count, heads, top->values, err);
}

/* Most rows, or the largest value, first; ties by the groups' own order. */
int trend_top_cmp(const struct trend_top *a, uint32_t x, const struct trend_top *b, uint32_t y)
{
    const struct trend_entry *p = &a->entries[x];
    const struct trend_entry *q = &b->entries[y];
    int order = a->is_counted ? (p->rows < q->rows) - (p->rows > q->rows)
                              : cell_cmp(&b->values[y], &a->values[x]);
    return order != 0 ? order
                      : groups_cmp_with(trend_top_groups(a, x), p->local, trend_top_groups(b, y),
                                        q->local);
}

static bool is_behind(const void *arg, uint32_t x, uint32_t y)
{
    return trend_top_cmp(arg, x, arg, y) > 0;
}

static enum err_code rank_heads(struct trend_top *top, uint32_t most, struct arena *arena,
                                struct err *err)
{
    top->top_count = MIN_OF(most, top->head_count);
    ERR_TRY(ARENA_NEW(arena, top->top_count, &top->tops, err));
    for (uint32_t i = 0; i < top->top_count; i++) {
        top->tops[i] = top->heads[i];
    }
    heap_make(top->tops, top->top_count, is_behind, top);
    for (uint32_t i = top->top_count; top->top_count > 0 && i < top->head_count; i++) {
        if (is_behind(top, top->tops[0], top->heads[i])) {
            top->tops[0] = top->heads[i];
            heap_sink(top->tops, top->top_count, 0, is_behind, top);
        }
    }
    return ERR_OK;
}

static enum err_code rank_part(struct query_run_ctx *run, uint32_t part, const void *arg,
                               struct arena *arena, struct io *io, void *slot, struct err *err)
{
    (void)io;
    const struct tops_plan *plan = arg;
    struct trend_top *top = slot;
    top->tasks = plan->tasks;
    ERR_TRY(run_check(run, err));
    top->is_counted = plan->trend->count_lane != UINT32_MAX;
    ERR_TRY(gather_entries(top, part, arena, err));
    ERR_TRY(chain_entries(top, arena, err));
    if (!top->is_counted) {
        ERR_TRY(measure_heads(run, plan->trend, top, arena, err));
    }
    return rank_heads(top, plan->top, arena, err);
}

enum err_code trend_tops(struct query_run_ctx *run, const struct trend_plan *plan,
                         const struct run_tasks *tasks, struct run_tasks *ret, struct err *err)
{
    const struct tops_plan tops = {tasks, plan, plan->query->top};
    return run_all_parts(run, TREND_PARTS, rank_part, &tops, sizeof(struct trend_top), ret, err);
}
