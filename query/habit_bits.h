/* query/habit_bits.h - who was active in which span of time, as sets of a task's subjects: for lifecycle, stickiness and churn.
 *
 * Thread: one task. Ownership: the arena's.
 */
#pragma once

#include "query/walk.h"

struct habit_bits {
    uint64_t *words; /* atom_count sets of word_count words, one after the other */
    size_t word_count;
    uint32_t base; /* subject of bit 0 */
    uint32_t end;  /* bits of subjects from here on are not set */
};
static inline uint64_t *habit_bits_of(const struct habit_bits *bits, uint32_t atom)
{
    return bits->words + (size_t)atom * bits->word_count;
}

/* Whether stored sets say it: events without conditions, no `where`, one event makes active, users, no keys. */
bool habit_bits_serve(const struct query_run_ctx *run);
/* The same for churn, of one window or of last_seen. */
bool churn_bits_serve(const struct query_run_ctx *run);
/* Subjects with an event of the selector between neighbouring edges (atom_count + 1 of them, each after the one before), deleted ones left out. */
enum err_code habit_bits_make(struct query_run_ctx *run, const struct run_task *task,
                              uint32_t selector, const int64_t *edges, uint32_t atom_count,
                              struct arena *arena, struct io *io, struct habit_bits *ret,
                              struct err *err) ERR_MUST_CHECK;
/* Run `bits_task` over all tasks where stored sets serve, else `walk_task` over the journeys with an event of the selector in [from_ms, to_ms); slots as of walk_all.
 * is_ever: first events that are expired are in the journeys, too. */
enum err_code habit_run(struct query_run_ctx *run, int64_t from_ms, int64_t to_ms, bool is_ever,
                        run_task_fn bits_task, walk_fn walk_task, size_t slot_bytes,
                        struct run_tasks *ret, struct err *err) ERR_MUST_CHECK;
