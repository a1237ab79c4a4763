/* tests/support/faultfs.h - a file layer that fails on purpose and forgets what was not synced.
 *
 *     storage code          SQLite
 *          |                   |
 *     struct io_ops       sqlite3_vfs          each call is counted and may be struck: fail, do a
 *          +---------+---------+               part of the work, or do it and report failure
 *                    |
 *        +-----------+-----------+
 *        |                       |
 *     real files          the disk, in memory
 *   what the process    what a power loss leaves: for each file what was synced and the
 *        sees           changes since; for each folder the names that were synced and the
 *                       creations, renames and removals since
 *
 * The real files are never synced, so a run costs no disk time. After a run they are what a new
 * process would find if only the old one had died; faultfs_power_loss makes them what it could
 * find if the machine had: any subset of what was not synced, writes torn at any byte or with some
 * of their sectors missing.
 *
 * A program that links this with -Wl,--wrap=io_create has every struct io of the storage code on it.
 * After a failed sync the changes that it was to make durable count as lost: a later sync that
 * succeeds does not bring them back, as Linux does it.
 *
 * Thread: one layer per process; calls from several threads are counted in the order they come.
 */
#pragma once

#include "storage/base/err.h"

enum fault_kind {
    FAULT_NONE,      /* only count */
    FAULT_EIO,       /* the n-th call fails; nothing of it happens (a write: perhaps a part) */
    FAULT_NOSPC,     /* the n-th call that needs space finds none, the ones after it do */
    FAULT_NOSPC_ON,  /* and so on for ever */
    FAULT_SHORT,     /* a part of the n-th write lands, then ENOSPC */
    FAULT_SYNC,      /* the n-th sync of a file or folder fails; what it was for is lost in part */
    FAULT_POWER,     /* the n-th changing call happens, in part or not; nothing works after it */
    FAULT_READ_EIO,  /* the n-th read fails */
    FAULT_READ_ENDS, /* the n-th read meets the end of the file */
    FAULT_READ_FLIP, /* the n-th read gives a wrong bit */
};
enum fault_loss {
    LOSS_NONE, /* all that was written is there */
    LOSS_ALL,  /* nothing that was not synced is there */
    LOSS_ANY,  /* any subset, torn */
    LOSS_NAMES /* all writes are there, any subset of creations, renames and removals */
};

/* Start over a folder that exists and is empty. From here on what happens below it is kept. */
void faultfs_begin(const char *root);
/* Strike the n-th call (from 1) of those the kind is about; the count starts anew. */
void faultfs_arm(enum fault_kind kind, uint64_t nth, uint64_t seed);
/* No more strikes; what is done from here on is not part of what a power loss undoes. */
void faultfs_rest(void);
/* The number of the first of these calls that syncs a folder whose path has the text; 0 while there is none. */
void faultfs_seek(const char *sought);
uint64_t faultfs_found(void);
/* Calls of the armed kind since faultfs_arm, and whether one was struck. */
uint64_t faultfs_calls(void);
bool faultfs_has_struck(void);
/* What was struck, for messages: "write wal/00000001.log". */
const char *faultfs_what(void);
/* Make the folder what a power loss at the moment of faultfs_rest may leave. Can be called again
 * and again for other losses. No file below the folder may be open. */
void faultfs_power_loss(enum fault_loss loss, uint64_t seed);
/* Forget everything; io_create and SQLite give plain files again. */
void faultfs_end(void);
