/* query/retention_firsts.h - retention of first starts, from sets.
 *
 * Who counts from its first start is in one cohort at most. Subjects are numbered as they come, so those that start in one slot
 * mostly have numbers beside each other: a cohort is kept as the words that have members of it, which are few.
 *
 *     cohort 3:   word 17: 0110..  word 18: 1100..  word 240: 0001..
 *     period n    members in these words of the returns of slot 3 + n
 *
 * That costs, for each cohort, its words times its periods. Where cohorts are strewn over all words and periods are many, each
 * member of a slot's returns is looked at instead, with the number of a subject's cohort in a table.
 *
 * Thread: one task. Memory: of the arena.
 */
#pragma once

#include "query/retention_int.h"
#include "query/slot_bits.h"

/* Counts of periods from 1 on, of starts that have no subject in common. */
enum err_code firsts_count_bits(struct query_run_ctx *run, const struct retention_spec *spec,
                                const struct slot_bits *starts, const struct slot_bits *returns,
                                uint64_t **rows, struct arena *arena,
                                struct err *err) ERR_MUST_CHECK;
/* The whole of a task without `where`, of a spec that counts from first starts. */
enum err_code retention_firsts_task(struct query_run_ctx *run, const struct run_task *task,
                                    struct retention_part *part, struct arena *arena, struct io *io,
                                    struct err *err) ERR_MUST_CHECK;
