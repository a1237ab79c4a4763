/* query/habit_bits.c */
#include "query/habit_bits.h"

#include "query/index_sets.h"
#include "query/subject_bits.h"
#include "storage/base/size.h"

bool habit_bits_serve(const struct query_run_ctx *run)
{
    const struct bound_query *query = run->query;
    return query->per == NULL && query->key_count == 0 && query->habits.events_min == 1 &&
           query->habits.events_max == UINT32_MAX &&
           index_serves(run, &query->selectors[query->habits.selector]);
}

bool churn_bits_serve(const struct query_run_ctx *run)
{
    const struct bound_query *query = run->query;
    bool is_list = query->is_list && query->cell == NULL;
    return !is_list && query->per == NULL && query->key_count == 0 && !query->has_each &&
           index_serves(run, &query->selectors[query->churn.selector]);
}

static enum err_code take(void *arg, const struct source *source, uint32_t atom,
                          const struct subject_members *members, struct err *err)
{
    (void)source;
    (void)err;
    const struct habit_bits *bits = arg;
    bits_add_members(habit_bits_of(bits, atom), bits->base, bits->end, members);
    return ERR_OK;
}

static enum err_code drop_deleted(struct habit_bits *bits, uint32_t atom_count,
                                  const roaring_bitmap_t *deleted, struct arena *arena,
                                  struct err *err)
{
    uint64_t *gone = NULL;
    if (deleted == NULL) {
        return ERR_OK;
    }
    ERR_TRY(ARENA_NEW(arena, bits->word_count, &gone, err));
    bits_add_set(gone, bits->base, bits->word_count, deleted);
    for (uint32_t a = 0; a < atom_count; a++) {
        bits_andnot(habit_bits_of(bits, a), gone, bits->word_count);
    }
    return ERR_OK;
}

enum err_code habit_bits_make(struct query_run_ctx *run, const struct run_task *task,
                              uint32_t selector, const int64_t *edges, uint32_t atom_count,
                              struct arena *arena, struct io *io, struct habit_bits *ret,
                              struct err *err)
{
    const struct index_ask ask = {
        .query = run->query, .selector = selector, .edges = edges, .atom_count = atom_count};
    const struct index_taker taker = {.arg = ret, .take = take};
    uint32_t end = run_task_end(run, task);
    *ret = (struct habit_bits){.base = task->subject_begin};
    ret->end = MAX_OF(end, ret->base);
    ret->word_count = end <= ret->base ? 1 : (end - ret->base + 63) / 64;
    size_t words = 0;
    if (!size_mul(atom_count, ret->word_count, &words)) {
        return err_set(err, ERR_LIMIT, "%u spans of time are too many", atom_count);
    }
    ERR_TRY(ARENA_NEW(arena, words, &ret->words, err));
    ERR_TRY(index_walk(run, task, &ask, &taker, arena, io, err));
    return drop_deleted(ret, atom_count, run->snapshot->deleted[task->shard], arena, err);
}

enum err_code habit_run(struct query_run_ctx *run, int64_t from_ms, int64_t to_ms, bool is_ever,
                        run_task_fn bits_task, walk_fn walk_task, size_t slot_bytes,
                        struct run_tasks *ret, struct err *err)
{
    if (habit_bits_serve(run) && !(is_ever && first_ever_is_mixed(run))) {
        return run_all_tasks(run, bits_task, slot_bytes, ret, err);
    }
    const struct bound_query *query = run->query;
    const struct scan_want want = {query->habits.selector, from_ms, to_ms};
    const struct first_ask firsts = {.query = query,
                                     .wants = &want,
                                     .want_count = 1,
                                     .firsts = UINT64_C(1) << want.selector};
    const struct walk_spec spec = {
        .query = query,
        .wants = &want,
        .want_count = 1,
        .firsts = is_ever && query->key_count == 0 ? &firsts : NULL,
        .lanes = {{query->keys, query->key_count}},
        .lane_count = query->key_count > 0 ? 1 : 0,
        .subject = query->per,
    };
    return walk_all(run, &spec, walk_task, slot_bytes, ret, err);
}
