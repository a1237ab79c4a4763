/* storage/cold_owner.h - whose a cold directory is.
 *
 *    COLD/LOCK             one process at a time, as DATA/LOCK (folder_lock.h)
 *    COLD/<dataset>/OWNER  "trackway data set 0123456789abcdef": as whom its catalog says it owns this, in
 *                          hexadecimal (catalog_cold_owner)
 *
 * That number is drawn when a data set is made, when its catalog is made again without a look at OWNER, when a
 * cold directory is given up for lost, and for a backup: of two folders with a data set of one name, one at most is
 * the owner. What lies in a directory of another owner is never removed and never written over.
 *
 * Thread: any; `io` is the calling thread's.
 */
#pragma once

#include "storage/folder_lock.h"

#include "storage/base/io.h"

#define COLD_OWNER "OWNER"

/* Take hold of a cold directory that is there, for the data folder `data_dir`. ERR_INVALID where both are one
 * folder; ERR_BUSY; ERR_NOT_FOUND, ERR_IO. *ret_fd as folder_lock's. */
enum err_code cold_lock(const char *cold_dir, const char *data_dir, enum folder_lock_mode mode,
                        int *ret_fd, struct err *err) ERR_MUST_CHECK;

enum cold_owner {
    COLD_NOBODYS,  /* no OWNER */
    COLD_OURS,     /* it names this one */
    COLD_ANOTHERS, /* it names another, or its text is none of ours */
};
/* `dir`: COLD/<dataset>. *ret_named (may be NULL): the number that it names; 0 where it names none. */
enum err_code cold_owner_read(struct io *io, const char *dir, uint64_t owner_id,
                              enum cold_owner *ret, uint64_t *ret_named,
                              struct err *err) ERR_MUST_CHECK;
/* Durable; in place of an older one. */
enum err_code cold_owner_write(struct io *io, const char *dir, uint64_t owner_id,
                               struct err *err) ERR_MUST_CHECK;
