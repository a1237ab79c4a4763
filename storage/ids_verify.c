/* storage/ids_verify.c - all of ids.log without ids.hash, and ids.hash held against it. */
#include "storage/ids_int.h"

#include <stdlib.h>
#include <string.h>

/* Every key is found through the table of ids.hash where the log has it, and so is every number. */
static bool agree(const struct ids *log, const struct ids *hashed)
{
    uint64_t count = ids_count(log);
    uint64_t samples = (count + (1u << IDS_SAMPLE_BITS) - 1) >> IDS_SAMPLE_BITS;
    struct id_cursor cursor = ids_cursor(log, 0);
    struct id_entry entry;
    if (ids_count(hashed) != count) {
        return false;
    }
    while (id_cursor_next(&cursor, &entry)) {
        uint32_t shard = 0;
        uint32_t subject = 0;
        if (!ids_find(hashed, entry.kind, entry.key, &shard, &subject) || shard != entry.shard ||
            subject != entry.subject) {
            return false;
        }
    }
    for (uint64_t i = 0; i < samples; i++) {
        if (memcmp(ids_sample_at(log, i), ids_sample_at(hashed, i), sizeof(struct ids_sample)) !=
            0) {
            return false;
        }
    }
    for (uint32_t shard = 0; shard < SHARD_COUNT; shard++) {
        if (ids_subjects(log, shard) != ids_subjects(hashed, shard)) {
            return false;
        }
    }
    return ids_facts(log) == ids_facts(hashed);
}

static enum err_code compare(struct io *io, const struct ids *log, struct ids_mark mark,
                             enum ids_hash_state *ret, struct err *err)
{
    CLEANUP(io_closep) struct io_file *file = NULL;
    CLEANUP(ids_closep) struct ids *hashed = NULL;
    uint64_t ignored = 0;
    char *path = ids_path_beside(log, ".hash");
    if (path == NULL) {
        return ids_no_memory(err);
    }
    enum err_code code = io_open(io, path, IO_READ, &file, err);
    free(path);
    if (code == ERR_NOT_FOUND) {
        *ret = IDS_HASH_NONE;
        return ERR_OK;
    }
    ERR_TRY(code);
    ERR_TRY(ids_open(io, log->path, log->seed, mark, true, &hashed, &ignored, err));
    bool is_used = hashed->saved_bytes != IDS_NONE;
    *ret = is_used && agree(log, hashed) ? IDS_HASH_AGREES : IDS_HASH_REFUSED;
    return ERR_OK;
}

enum err_code ids_verify(struct io *io, const char *path, uint64_t seed, struct ids_mark mark,
                         struct ids **ret, uint64_t *ret_behind, enum ids_hash_state *ret_hash,
                         struct err *err)
{
    CLEANUP(ids_closep) struct ids *ids = NULL;
    ERR_TRY(ids_open_as(io, path, seed, mark, true, true, &ids, ret_behind, err));
    ERR_TRY(compare(io, ids, mark, ret_hash, err));
    *ret = TAKE(ids);
    return ERR_OK;
}

enum err_code ids_measure(struct io *io, const char *path, struct ids_mark *ret,
                          uint64_t *ret_bytes, struct err *ret_why, struct err *err)
{
    CLEANUP(ids_closep) struct ids *ids = NULL;
    uint64_t bytes = 0;
    /* Up to nothing: the file is opened, and not a byte of it believed. */
    ERR_TRY(ids_open_as(io, path, 0, (struct ids_mark){0, 0}, true, true, &ids, &bytes, err));
    *ret = (struct ids_mark){0, 0};
    *ret_why = (struct err){.code = ERR_OK};
    *ret_bytes = bytes;
    return bytes == 0 ? ERR_OK : ids_log_measure(ids, io, bytes, ret, ret_why, err);
}
