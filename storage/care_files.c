/* storage/care_files.c - paths, copies and links, destinations that appear whole, times for people. */
#include "storage/care_int.h"

#include "storage/base/clock.h"
#include "storage/base/rng.h"
#include "storage/base/size.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define TREE_DEPTH_MAX 6u /* of what we make: folder, data set, shard */

void care_segment_path(const char *dataset_dir, const struct catalog_segment *meta,
                       char out[CARE_PATH_BYTES])
{
    snprintf(out, CARE_PATH_BYTES, "%s/shard-%02" PRIu32 "/%06" PRIu64 "%s", dataset_dir,
             meta->shard, meta->number, meta->is_first_times ? ".first" : ".seg");
}

void care_run_path(const char *dataset_dir, uint64_t number, char out[CARE_PATH_BYTES])
{
    snprintf(out, CARE_PATH_BYTES, "%s/event-ids/%06" PRIu64 ".run", dataset_dir, number);
}

bool care_file_number(const char *name, const char *ending, uint64_t *ret)
{
    uint64_t number = 0;
    size_t digits = 0;
    for (; name[digits] >= '0' && name[digits] <= '9'; digits++) {
        if (digits == 18) {
            return false;
        }
        number = number * 10 + (uint64_t)(name[digits] - '0');
    }
    if (digits < 6 || strcmp(name + digits, ending) != 0 || (digits > 6 && name[0] == '0')) {
        return false;
    }
    *ret = number;
    return true;
}

bool care_path(char out[CARE_PATH_BYTES], const char *dir, const char *name)
{
    return snprintf(out, CARE_PATH_BYTES, "%s/%s", dir, name) < CARE_PATH_BYTES;
}

enum err_code care_path_too_long(const char *dir, struct err *err)
{
    return err_set(err, ERR_INVALID, "a path below \"%.200s\" is too long", dir);
}

/* ---- bytes ---- */

/* Through a window, with the chained checksum; `to` may be NULL. */
static enum err_code pass(struct io *io, struct io_file *from, uint64_t bytes, struct io_file *to,
                          uint64_t *ret_checksum, struct err *err)
{
    CLEANUP(buf_freep) struct buf window = {0};
    uint64_t checksum = 0;
    uint8_t *at = buf_reserve(&window, (size_t)MIN_OF(bytes, CARE_CHECK_BYTES) + 1);
    ERR_TRY(buf_check(&window, err));
    for (uint64_t off = 0; off < bytes;) {
        size_t len = (size_t)MIN_OF(bytes - off, CARE_CHECK_BYTES);
        ERR_TRY(io_read(io, from, off, at, len, err));
        checksum = hash64(at, len, checksum);
        if (to != NULL) {
            ERR_TRY(io_write(io, to, off, at, len, err));
        }
        off += len;
    }
    if (ret_checksum != NULL) {
        *ret_checksum = checksum;
    }
    return ERR_OK;
}

enum err_code care_checksum(struct io *io, const char *path, uint64_t bytes, uint64_t *ret,
                            struct err *err)
{
    CLEANUP(io_closep) struct io_file *file = NULL;
    ERR_TRY(io_open(io, path, IO_READ, &file, err));
    return pass(io, file, bytes, NULL, ret, err);
}

enum err_code care_copy(struct io *io, struct io_file *from, uint64_t bytes, const char *to,
                        uint64_t *ret_checksum, struct err *err)
{
    CLEANUP(io_closep) struct io_file *file = NULL;
    ERR_TRY(io_open(io, to, IO_CREATE, &file, err));
    ERR_TRY(pass(io, from, bytes, file, ret_checksum, err));
    return io_sync(io, file, err);
}

enum err_code care_link_or_copy(struct io *io, const char *from, const char *to,
                                bool *ret_is_linked, uint64_t *ret_bytes, struct err *err)
{
    CLEANUP(io_closep) struct io_file *file = NULL;
    ERR_TRY(io_open(io, from, IO_READ, &file, err));
    ERR_TRY(io_size(io, file, ret_bytes, err));
    enum err_code code = io_link(io, from, to, err);
    *ret_is_linked = code == ERR_OK;
    if (code != ERR_UNSUPPORTED) {
        return code;
    }
    return care_copy(io, file, *ret_bytes, to, NULL, err);
}

enum err_code care_file_bytes(struct io *io, const char *path, uint64_t *ret, struct err *err)
{
    CLEANUP(io_closep) struct io_file *file = NULL;
    enum err_code code = io_open(io, path, IO_READ, &file, err);
    if (code == ERR_NOT_FOUND) {
        *ret = 0;
        return ERR_OK;
    }
    ERR_TRY(code);
    return io_size(io, file, ret, err);
}

/* ---- folders ---- */

bool care_is_dataset(struct io *io, const char *dir, const char *name)
{
    static const char *const parts[] = {"ids.log", "wal", "shard-00"};
    bool is_one = false;
    for (size_t i = 0; dataset_name_is_valid(str_of(name)) && !is_one && i < COUNT_OF(parts); i++) {
        CLEANUP(io_closep) struct io_file *file = NULL;
        CLEANUP(buf_freep) struct buf names = {0};
        char path[CARE_PATH_BYTES];
        struct err ignored;
        uint32_t count = 0;
        if (snprintf(path, sizeof(path), "%s/%s/%s", dir, name, parts[i]) < (int)sizeof(path)) {
            is_one = i == 0 ? io_open(io, path, IO_READ, &file, &ignored) == ERR_OK
                            : io_list(io, path, &names, &count, &ignored) == ERR_OK;
        }
    }
    return is_one;
}

static void remove_tree(struct io *io, const char *path, uint32_t depth)
{
    CLEANUP(buf_freep) struct buf names = {0};
    struct err ignored;
    uint32_t count = 0;
    if (depth > TREE_DEPTH_MAX || io_list(io, path, &names, &count, &ignored) != ERR_OK) {
        return;
    }
    const char *name = (const char *)names.ptr;
    for (uint32_t i = 0; i < count; i++, name += strlen(name) + 1) {
        char below[CARE_PATH_BYTES];
        if (care_path(below, path, name) && io_unlink(io, below, &ignored) != ERR_OK) {
            remove_tree(io, below, depth + 1); /* it is a folder */
        }
    }
    (void)!io_rmdir(io, path, &ignored);
}

void care_remove_tree(struct io *io, const char *path)
{
    remove_tree(io, path, 0);
}

static enum err_code check_free(struct io *io, const char *path, struct err *err)
{
    CLEANUP(buf_freep) struct buf names = {0};
    CLEANUP(io_closep) struct io_file *file = NULL;
    struct err why;
    uint32_t count = 0;
    enum err_code code = io_list(io, path, &names, &count, &why);
    if (code == ERR_NOT_FOUND) {
        return ERR_OK;
    }
    if (code != ERR_OK && io_open(io, path, IO_READ, &file, err) == ERR_OK) {
        return err_set(err, ERR_BUSY, "\"%s\" is there already, and no folder", path);
    }
    if (code != ERR_OK) {
        *err = why;
        return code;
    }
    if (count > 0) {
        return err_set(err, ERR_BUSY, "folder \"%s\" is there already, and not empty", path);
    }
    return ERR_OK;
}

enum err_code care_target(struct io *io, const char *path, struct care_target *ret, struct err *err)
{
    CLEANUP(buf_freep) struct buf names = {0};
    size_t len = strlen(path);
    uint32_t count = 0;
    uint32_t salt = 0;
    while (len > 1 && path[len - 1] == '/') {
        len--;
    }
    if (len == 0 || len > CARE_PATH_BYTES - 512) {
        return err_set(err, ERR_INVALID, "a path of %zu bytes", len);
    }
    snprintf(ret->path, sizeof(ret->path), "%.*s", (int)len, path);
    const char *slash = strrchr(ret->path, '/');
    const char *base = slash == NULL ? ret->path : slash + 1;
    if (base[0] == '\0' || strcmp(base, ".") == 0 || strcmp(base, "..") == 0) {
        return err_set(err, ERR_INVALID, "\"%s\" does not name a new folder", ret->path);
    }
    snprintf(ret->parent, sizeof(ret->parent), "%.*s",
             slash == NULL        ? 1
             : slash == ret->path ? 1
                                  : (int)(slash - ret->path),
             slash == NULL ? "." : ret->path);
    ERR_TRY(check_free(io, ret->path, err));
    if (io_list(io, ret->parent, &names, &count, err) != ERR_OK) {
        return err_context(err, "the folder that \"%s\" is to be in", ret->path);
    }
    ERR_TRY(rng_system(&salt, sizeof(salt), err));
    snprintf(ret->partial, sizeof(ret->partial), "%.*s/%.200s.partial-%08" PRIx32,
             (int)strlen(ret->parent), ret->parent, base, salt);
    return ERR_OK;
}

enum err_code care_target_finish(struct io *io, const struct care_target *target, struct err *err)
{
    ERR_TRY(io_sync_dir(io, target->partial, err));
    ERR_TRY(io_rename(io, target->partial, target->path, err));
    return io_sync_dir(io, target->parent, err);
}

/* ---- for people ---- */

void care_time(int64_t time_ms, char out[40])
{
    int64_t ms = ((time_ms % 1000) + 1000) % 1000;
    time_t seconds = (time_t)((time_ms - ms) / 1000);
    struct tm tm;
    char text[32];
    if (gmtime_r(&seconds, &tm) == NULL ||
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm) == 0) {
        snprintf(out, 40, "%" PRId64 " ms", time_ms);
        return;
    }
    snprintf(out, 40, "%s.%03dZ", text, (int)ms);
}

void care_span(int64_t min_ms, int64_t max_ms, char out[96])
{
    char min[40];
    char max[40];
    care_time(min_ms, min);
    care_time(max_ms, max);
    snprintf(out, 96, "from %s to %s", min, max);
}
