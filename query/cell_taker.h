/* query/cell_taker.h - the people behind a cell of an answer, picked up where the cell is counted.
 *
 *     users of (step = 2, platform = "ios") in funnel ...
 *
 * The verb runs as it always does. Where it counts a subject for a cell, it shows the subject to the task's taker, which
 * keeps it if the cell is the one that was asked for: so the list and the number come from the same line of code.
 * After the tasks the verb stops, and run_people (run_people.h) puts together what the takers kept.
 *
 * A verb is wired by opening a taker in its task, telling it of each subject where it counts one, and returning before
 * its table. bind_cell.c says which columns name its cells.
 *
 * Thread: a taker belongs to its task; all are merged by the calling thread. Sets are unions: order does not matter.
 */
#pragma once

#include "query/keys.h"
#include "query/people.h"
#include "query/run.h"

struct cell_taker;
/* The taker of a task; *ret NULL where the query asks for a table. The run owns it. */
enum err_code cell_taker_open(struct query_run_ctx *run, uint32_t shard, struct cell_taker **ret,
                              struct err *err) ERR_MUST_CHECK;
/* Whether a group of the breakdown is the one that was asked for; remembered by number, so always of one numbering. */
enum err_code cell_taker_wants(struct cell_taker *taker, const struct groups *groups,
                               uint32_t group, bool *ret, struct err *err) ERR_MUST_CHECK;
enum err_code cell_take(struct cell_taker *taker, uint32_t subject, struct err *err) ERR_MUST_CHECK;
/* Of a verb that cuts journeys by groups: take the subject of a part that is counted for the cell, if its group is the one.
 * `groups` NULL: there is one. */
enum err_code cell_take_part(struct cell_taker *taker, const struct groups *groups, uint32_t group,
                             uint32_t subject, struct err *err) ERR_MUST_CHECK;
/* Take the subjects of a set of words (subject_bits.h), bit 0 being subject `base`. */
enum err_code cell_take_bits(struct cell_taker *taker, const uint64_t *bits, size_t word_count,
                             uint32_t base, struct err *err) ERR_MUST_CHECK;

/* The same for verbs that keep sets anyway. */
/* Whether it is the group of missing keys. */
bool cell_wants_null(const struct bound_query *query);
bool cell_has_group(const struct bound_query *query, const struct groups *groups, uint32_t group);

/* Put what the takers kept into `ret`, and free them; after an error, only free them (ret NULL). */
enum err_code cell_takers_merge(struct query_run_ctx *run, struct people *ret,
                                struct err *err) ERR_MUST_CHECK;
void cell_takers_free(struct query_run_ctx *run);
