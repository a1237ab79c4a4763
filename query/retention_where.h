/* query/retention_where.h - who did what when, from stored sets, under a `where` that hardly changes within a subject.
 *
 * Of a subject whose rows in a source all meet `where` (subject_truth.h), the source's sets say when it was there, and one
 * of whom no row does is not there at all. Of the others its days of UTC are asked, where slots are cut between days:
 *
 *     any event       it was there in a slot if some row of one of its days meets `where`
 *     a named event   in a slot where it did it and where all rows of its days meet `where`
 *
 * Whom that does not tell, for instance who did the event on one of two days of which one meets `where`, is *unsure*. The verb
 * reads all rows of the unsure, and of nobody else. Where a source has no sets, or they cross a border of slots, rows say who
 * did it. So it is exact, whatever the data.
 *
 * Thread: one task.
 */
#pragma once

#include "query/index_sets.h"
#include "query/slot_bits.h"

struct retention_where;
/* Ask all sources of the task about its subjects; sets of them are `word_count` long. What is asked for later lives in the arena. */
enum err_code retention_where_open(struct query_run_ctx *run, const struct run_task *task,
                                   size_t word_count, struct arena *arena, struct io *io, struct retention_where **ret,
                                   struct err *err) ERR_MUST_CHECK;
void retention_where_close(struct retention_where *where); /* NULL is fine */
static inline void retention_where_closep(struct retention_where **where)
{
    retention_where_close(*where);
}

/* Where atoms of time go: atom 0 into the one set of `before`, if that is not NULL, and the others into slots from 0 on. */
struct where_sets {
    const struct slot_bits *slots;
    const struct slot_bits *before;
    const struct slot_bits
        *twice; /* and who comes into one of its slots by another row again; NULL: not asked */
};
/* Who did an event of the selector in each atom of `ask`. */
enum err_code retention_where_gather(struct retention_where *where, const struct index_ask *ask,
                                     const struct where_sets *into, struct err *err) ERR_MUST_CHECK;
/* Who of `starts` has two rows or more in one source in the start's slot, [edges[s], edges[s + 1]): into `actives`. */
enum err_code retention_where_repeats(struct retention_where *where, const int64_t *edges,
                                      uint32_t slot_count, const struct slot_bits *starts,
                                      const struct slot_bits *actives,
                                      struct err *err) ERR_MUST_CHECK;

/* The unsure, as bits from the task's first subject on; NULL where they are so many, or may be, that all rows are to be read. */
const uint64_t *retention_where_unsure(const struct retention_where *where);
