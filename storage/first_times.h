/* storage/first_times.h - when somebody did something first, of rows that have left the disk.
 *
 * "New" is who does something for the first time ever. Rows leave by expiry; that they were there may not, or whoever comes
 * back looks new. So of each row that leaves it is kept whose it was, which event, when, and when it arrived, if it was the
 * first of its kind: in a *file of first times*, DATA/<dataset>/shard-03/000017.first, immutable, laid out as a segment
 * (segment_format.h) under a magic of its own, without properties and event ids. A row is kept for each
 *
 *     subject that rows are stored under, event name, and company
 *         company: of a row under a user id the anonymous id that it came with, so that a login stays one, and what came
 *         under a user id that is declared to be nobody's later finds its owner; of a weak id that several users share,
 *         whose turn it was; whose the row was when it came, if it was another's. So whose a first time is follows from what is kept (identity.h), as it followed from the rows
 *
 * and where a row that is later in time had arrived earlier, for that one as well: what snapshots of the past show stays what
 * it was. Two files, or a file and the rows it was made of, may tell of one event twice: only the earliest counts, so that
 * nothing is lost and nothing is doubled, whatever a crash leaves.
 *
 *     expiry, flush, merge    the file is written and synced before the catalog transaction that takes the rows out, and
 *                             named by it: one transaction, all or nothing
 *     queries                 the sources of snapshot->history, beside rows that are masked and still there
 *     erasure                 the deleted mask, as of rows; gone with the next merge
 *     merging                 files of one size class of a shard that have the same subjects, or on request whatever
 *                             there is: into files of at most SEG_BLOCKS_MAX blocks, each of its own subjects
 *
 * Rows are first times for a whole shard: lying by subject, they are read, cached and masked as rows are.
 *
 * Thread: any; writing under compact_lock or flush_lock.
 */
#pragma once

#include "storage/source.h"

struct dataset;
struct identity;
struct seg_ref;
struct version;

/* What was said of who is who until the first file was written: read once for files that are written one behind the other.
 * Begins empty. */
struct first_times_facts {
    struct identity *then; /* by arrival; NULL: nothing was said */
};
void first_times_facts_done(struct first_times_facts *facts);
/* Write the first times of the rows from before before_ms of these sources of a shard; durable, its directory synced. *ret
 * NULL: there are none. *ret_number is the number of the file as soon as there may be one (first_times_undo), else 0. */
enum err_code first_times_write(struct dataset *dataset, const struct version *version,
                                uint32_t shard, const struct source *const *sources,
                                uint32_t source_count, int64_t before_ms,
                                struct first_times_facts *facts, struct io *io,
                                struct seg_ref **ret, uint64_t *ret_number,
                                struct err *err) ERR_MUST_CHECK;
/* Remove a file that no catalog names. */
void first_times_undo(struct dataset *dataset, uint32_t shard, uint64_t number, struct io *io);

/* Merge files of a shard where that is due, or on request (is_full) all of them, and those that have rows of erased
 * subjects. Under compact_lock. *ret_did false: nothing to do. */
enum err_code first_times_step(struct dataset *dataset, const struct version *version,
                               uint32_t shard, bool is_full, struct io *io, bool *ret_did,
                               struct err *err) ERR_MUST_CHECK;
