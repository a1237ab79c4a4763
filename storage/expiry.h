/* storage/expiry.h - what is older than the data set keeps leaves the disk.
 *
 * A snapshot masks it from the moment that its UTC day is over (settings.h), so nothing here changes an
 * answer. Segments that are older as a whole are dropped, all in one catalog transaction. One that
 * straddles the border is rewritten without its expired rows once these are a third of it: a row that stays
 * is then rewritten about twice while its segment grows old, however the border cuts, for each rewrite
 * takes at least half as many rows from the disk as it writes. Its rows are counted once per border, so that
 * a segment that stays costs one read of its times per day. Flushes and merges leave expired rows out anyway.
 *
 * Thread: any; one expiry or merge of a data set at a time (compact_lock).
 */
#pragma once

#include "storage/source.h"

struct dataset;

/* How many rows of the source are older. Cost: one read of its times, none where its zone says it all. */
enum err_code expiry_count(const struct source *source, int64_t expired_before_ms, struct io *io,
                           uint64_t *ret, struct err *err) ERR_MUST_CHECK;

/* Drop all that is wholly expired, or else rewrite one segment; on request (is_full) one that holds any
 * expired row. *ret_did false: nothing to do. */
enum err_code expiry_step(struct dataset *dataset, bool is_full, struct io *io, bool *ret_did,
                          struct err *err) ERR_MUST_CHECK;
/* For the background thread: all of today's, failures noted and paused. */
void expiry_if_due(struct dataset *dataset, struct io *io);
