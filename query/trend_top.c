/* query/trend_top.c - see trend_top.h. */
#include "query/trend_top.h"

#include "query/heap.h"
#include "storage/base/size.h"

#define NONE          TREND_TOP_NONE
#define ENTRIES_AHEAD 16u /* whose places in the table are on their way */

struct tops_plan {
    const struct run_tasks *tasks;
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
    for (uint32_t t = 0; t < top->tasks->count; t++) {
        const struct trend_slot *slot = slot_of(top->tasks, t);
        for (uint32_t i = slot->part_begins[part]; i < slot->part_begins[part + 1]; i++) {
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

/* Most rows first; ties by the groups' own order. */
static bool is_behind(const void *arg, uint32_t x, uint32_t y)
{
    const struct trend_top *top = arg;
    uint64_t a = top->entries[x].rows;
    uint64_t b = top->entries[y].rows;
    return a != b ? a < b : compare_entries(top, x, y) > 0;
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
    ERR_TRY(gather_entries(top, part, arena, err));
    ERR_TRY(chain_entries(top, arena, err));
    return rank_heads(top, plan->top, arena, err);
}

enum err_code trend_tops(struct query_run_ctx *run, const struct trend_plan *plan,
                         const struct run_tasks *tasks, struct run_tasks *ret, struct err *err)
{
    const struct tops_plan tops = {tasks, plan->query->top};
    return run_all_parts(run, TREND_PARTS, rank_part, &tops, sizeof(struct trend_top), ret, err);
}
