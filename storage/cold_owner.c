/* storage/cold_owner.c - see cold_owner.h. */
#include "storage/cold_owner.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define PATH_BYTES      5120
#define OWNER_BYTES     64u
#define OWNER_BYTES_MAX 4096u

static enum err_code check_apart(const char *cold_dir, const char *data_dir, struct err *err)
{
    struct stat data;
    struct stat cold;
    if (stat(cold_dir, &cold) != 0) {
        return err_set_errno(err, errno, "cold directory \"%s\"", cold_dir);
    }
    if (stat(data_dir, &data) != 0) {
        return err_set_errno(err, errno, "data folder \"%s\"", data_dir);
    }
    if (data.st_dev == cold.st_dev && data.st_ino == cold.st_ino) {
        return err_set(err, ERR_INVALID, "the cold directory \"%s\" is the data folder itself",
                       cold_dir);
    }
    return ERR_OK;
}

enum err_code cold_lock(const char *cold_dir, const char *data_dir, enum folder_lock_mode mode,
                        int *ret_fd, struct err *err)
{
    ERR_TRY(check_apart(cold_dir, data_dir, err));
    return folder_lock_as("cold directory", cold_dir, mode, ret_fd, err);
}

static void owner_text(uint64_t owner_id, char out[OWNER_BYTES])
{
    snprintf(out, OWNER_BYTES, "trackway data set %016" PRIx64 "\n", owner_id);
}

static enum err_code owner_path(const char *dir, const char *ending, char out[PATH_BYTES],
                                struct err *err)
{
    return snprintf(out, PATH_BYTES, "%s/" COLD_OWNER "%s", dir, ending) < PATH_BYTES
               ? ERR_OK
               : err_set(err, ERR_INVALID, "a path below \"%.200s\" is too long", dir);
}

/* The number that the text names: 0 where it is not what owner_text writes. */
static uint64_t named_by(struct str text)
{
    char copy[OWNER_BYTES] = {0};
    char same[OWNER_BYTES];
    uint64_t owner_id = 0;
    if (text.len >= sizeof(copy)) {
        return 0;
    }
    memcpy(copy, text.ptr, text.len);
    if (sscanf(copy, "trackway data set %16" SCNx64, &owner_id) != 1) {
        return 0;
    }
    owner_text(owner_id, same);
    return str_eq(text, str_of(same)) ? owner_id : 0;
}

enum err_code cold_owner_read(struct io *io, const char *dir, uint64_t owner_id,
                              enum cold_owner *ret, uint64_t *ret_named, struct err *err)
{
    CLEANUP(buf_freep) struct buf text = {0};
    char path[PATH_BYTES];
    char want[OWNER_BYTES];
    uint64_t named = 0;
    ERR_TRY(owner_path(dir, "", path, err));
    enum err_code code = io_read_file(io, path, OWNER_BYTES_MAX, &text, err);
    if (code == ERR_NOT_FOUND) {
        *ret = COLD_NOBODYS;
    } else if (code == ERR_LIMIT) {
        *ret = COLD_ANOTHERS; /* far too long to be an OWNER */
    } else {
        ERR_TRY(code);
        owner_text(owner_id, want);
        *ret = str_eq(buf_as_str(&text), str_of(want)) ? COLD_OURS : COLD_ANOTHERS;
        named = named_by(buf_as_str(&text));
    }
    if (ret_named != NULL) {
        *ret_named = named;
    }
    return ERR_OK;
}

enum err_code cold_owner_write(struct io *io, const char *dir, uint64_t owner_id, struct err *err)
{
    CLEANUP(io_closep) struct io_file *file = NULL;
    char path[PATH_BYTES];
    char temporary[PATH_BYTES];
    char text[OWNER_BYTES];
    ERR_TRY(owner_path(dir, "", path, err));
    ERR_TRY(owner_path(dir, ".tmp", temporary, err));
    owner_text(owner_id, text);
    ERR_TRY(io_open(io, temporary, IO_CREATE, &file, err));
    ERR_TRY(io_write(io, file, 0, text, strlen(text), err));
    ERR_TRY(io_sync(io, file, err));
    ERR_TRY(io_rename(io, temporary, path, err));
    return io_sync_dir(io, dir, err);
}
