/* query/key_runs.c - see key_runs.h. */
#include "query/key_runs.h"

#include "storage/base/size.h"

#define CHUNK_BYTES_MIN ((size_t)1 << 10)
#define CHUNK_BYTES_MAX ((size_t)64 << 10)
#define BYTES_AHEAD     1536u /* of a walk over a log, which looks at the heads of runs alone */

static size_t run_bytes(uint32_t count, uint32_t lane_count)
{
    size_t row =
        sizeof(int64_t) + sizeof(uint64_t) + lane_count * sizeof(uint32_t) + sizeof(uint16_t);
    return (sizeof(struct key_run) + count * row + 7) / 8 * 8;
}

static enum err_code log_room(struct run_log *log, size_t bytes, struct arena *arena,
                              struct key_run **ret, struct err *err)
{
    struct run_chunk *chunk = log->last;
    if (chunk == NULL || chunk->cap - chunk->used < bytes) {
        size_t cap = chunk == NULL ? CHUNK_BYTES_MIN : MIN_OF(2 * chunk->cap, CHUNK_BYTES_MAX);
        void *memory = NULL;
        cap = MAX_OF(cap, bytes);
        ERR_TRY(arena_alloc_raw(arena, sizeof(*chunk) + cap, &memory, err));
        chunk = memory;
        *chunk = (struct run_chunk){.cap = cap};
        if (log->last == NULL) {
            log->first = chunk;
        } else {
            log->last->next = chunk;
        }
        log->last = chunk;
    }
    *ret = (struct key_run *)(void *)(chunk->bytes + chunk->used / 8);
    chunk->used += bytes;
    return ERR_OK;
}

enum err_code run_log_append(struct run_log *log, const struct key_run_at *at, struct arena *arena,
                             struct err *err)
{
    const struct scan_block *block = at->block;
    uint32_t count = at->end - at->begin;
    struct key_run *run = NULL;
    ERR_TRY(log_room(log, run_bytes(count, at->lane_count), arena, &run, err));
    *run = (struct key_run){
        .key = at->key,
        .source = at->source,
        .block = block->block,
        .subject = block->subjects[at->begin],
        .count = count,
        .lane_count = at->lane_count,
    };
    memcpy(key_run_times(run), block->times + at->begin, count * sizeof(*block->times));
    memcpy(key_run_masks(run), block->masks + at->begin, count * sizeof(*block->masks));
    for (uint32_t k = 0; k < at->lane_count; k++) {
        memcpy(key_run_lane(run, k), at->lanes[k] + at->begin, count * sizeof(uint32_t));
    }
    memcpy(key_run_rows(run), block->rows + at->begin, count * sizeof(*block->rows));
    log->run_count++;
    log->row_count += count;
    return ERR_OK;
}

struct key_run *run_log_next(const struct run_log *log, struct run_log_cursor *cursor)
{
    if (cursor->chunk == NULL) {
        cursor->chunk = log->first;
    }
    while (cursor->chunk != NULL && cursor->at == cursor->chunk->used) {
        if (cursor->chunk->next == NULL) {
            return NULL; /* and so again */
        }
        cursor->chunk = cursor->chunk->next;
        cursor->at = 0;
    }
    if (cursor->chunk == NULL) {
        return NULL;
    }
    struct key_run *run = (struct key_run *)(void *)(cursor->chunk->bytes + cursor->at / 8);
    cursor->at += run_bytes(run->count, run->lane_count);
    __builtin_prefetch((const char *)run + BYTES_AHEAD);
    return run;
}
