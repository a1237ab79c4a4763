/* storage/folder_lock.c - see folder_lock.h. */
#include "storage/folder_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#define PATH_BYTES 4200

static void closep(const int *fd)
{
    if (*fd >= 0) {
        (void)close(*fd);
    }
}

static enum err_code in_use(const char *what, const char *dir, int fd, int failure, struct err *err)
{
    char text[32] = {0};
    if (failure != EWOULDBLOCK) {
        return err_set_errno(err, failure, "%s \"%s\" cannot be locked", what, dir);
    }
    ssize_t len = pread(fd, text, sizeof(text) - 1, 0);
    long pid = len > 0 ? strtol(text, NULL, 10) : 0;
    return err_set(err, ERR_BUSY, "%s \"%s\" is in use by process %ld", what, dir, pid);
}

static enum err_code write_pid(const char *what, const char *dir, int fd, struct err *err)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)len, 0) != len) {
        return err_set_errno(err, errno, "%s \"%s\" cannot be written", what, dir);
    }
    return ERR_OK;
}

enum err_code folder_lock_as(const char *what, const char *dir, enum folder_lock_mode mode,
                             int *ret_fd, struct err *err)
{
    char path[PATH_BYTES];
    bool is_alone = mode == FOLDER_ALONE;
    if (snprintf(path, sizeof(path), "%s/LOCK", dir) >= (int)sizeof(path)) {
        return err_set(err, ERR_INVALID, "path of %s \"%s\" is too long", what, dir);
    }
    CLEANUP(closep) int fd =
        open(path, is_alone ? O_RDWR | O_CREAT | O_CLOEXEC : O_RDONLY | O_CLOEXEC, 0644);
    if (fd < 0 && errno == ENOENT && !is_alone) {
        *ret_fd = -1;
        return ERR_OK;
    }
    if (fd < 0) {
        return err_set_errno(err, errno, "%s \"%s\" cannot be %s", what, dir,
                             is_alone ? "written" : "read");
    }
    if (flock(fd, (is_alone ? LOCK_EX : LOCK_SH) | LOCK_NB) != 0) {
        return in_use(what, dir, fd, errno, err);
    }
    if (is_alone) {
        ERR_TRY(write_pid(what, dir, fd, err));
    }
    *ret_fd = fd;
    fd = -1;
    return ERR_OK;
}

enum err_code folder_lock(const char *dir, enum folder_lock_mode mode, int *ret_fd, struct err *err)
{
    return folder_lock_as("data folder", dir, mode, ret_fd, err);
}
