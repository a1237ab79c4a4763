/* storage/tiers.h - old segments move to a directory on a slower disk, and are queried all the same.
 *
 * COLD/<dataset>/shard-03/000017.seg, laid out like the data folder; whose they are: cold_owner.h.
 *
 *     copy to 000017.seg.tmp, sync -> read it back, compare -> rename, sync the directory
 *       -> one catalog transaction (tier), new version -> unlink the hot file
 *
 * Whatever stops it, the catalog names one whole copy; the other is an orphan for the next opening. Snapshots
 * that were pinned before keep the hot file's descriptor. Merges write to the hot directory, and what they
 * made of cold segments moves again when nothing is to be merged.
 *
 * Thread: any; one move, merge or expiry of a data set at a time (compact_lock).
 */
#pragma once

#include "storage/base/err.h"
#include "storage/base/io.h"

struct dataset;
struct store;

/* Take hold of the store's cold directory, made where missing. ERR_INVALID where it is the data folder, ERR_BUSY where
 * another process has it. */
enum err_code tier_open(struct store *store, struct io *io, struct err *err) ERR_MUST_CHECK;
/* Move one segment that is cold. *ret_did false: there is none, or no cold directory. */
enum err_code tier_step(struct dataset *dataset, struct io *io, bool *ret_did,
                        struct err *err) ERR_MUST_CHECK;
/* For the background thread: one segment, failures noted and paused. False: nothing was to do. */
bool tier_if_due(struct dataset *dataset, struct io *io);
