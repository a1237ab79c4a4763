/* storage/folder_lock.h - DATA/LOCK: who may touch a data folder (flock; it ends with the process).
 *
 * A server and `repair` hold it alone; those that only read a stopped folder (`verify`, `restore`) share
 * it. The file holds the process id of whoever had it alone last, for the message.
 *
 * Thread: any; the descriptor is the caller's to close.
 */
#pragma once

#include "storage/base/err.h"

enum folder_lock_mode { FOLDER_ALONE, FOLDER_SHARED };

/* *ret_fd: close it to give the lock up; -1 where a shared one needs no lock, for the folder has no LOCK and
 * so no server ever ran in it. ERR_BUSY names the process; ERR_IO, ERR_NOT_FOUND. */
enum err_code folder_lock(const char *dir, enum folder_lock_mode mode, int *ret_fd,
                          struct err *err) ERR_MUST_CHECK;
/* The same of another folder with a LOCK; `what` it is, for messages. */
enum err_code folder_lock_as(const char *what, const char *dir, enum folder_lock_mode mode,
                             int *ret_fd, struct err *err) ERR_MUST_CHECK;
