/* client/batcher.c - see batcher.h.
 *
 *     batch.bytes   | line \n line \n line \n | part of a line ... |
 *                   0                         whole_bytes          len
 */
#include "client/batcher.h"

#include "storage/base/size.h"

void batcher_init(struct batcher *batcher, const struct batcher_opts *opts)
{
    ASSERT(opts->lines_max >= 1);
    *batcher = (struct batcher){.opts = *opts, .batch = {.first_line = 1}};
}

void batcher_done(struct batcher *batcher)
{
    buf_done(&batcher->batch.bytes);
}

static uint64_t line_number(const struct batcher *batcher)
{
    return batcher->batch.first_line + batcher->batch.line_count;
}

/* The rest of the line that is too long; BATCHER_MORE while it has no end. */
static bool skip_on(struct batcher *batcher, struct str *chunk)
{
    const char *newline = memchr(chunk->ptr, '\n', chunk->len);
    if (newline == NULL) {
        chunk->len = 0;
        return false;
    }
    size_t used = (size_t)(newline + 1 - chunk->ptr);
    *chunk = (struct str){chunk->ptr + used, chunk->len - used};
    batcher->is_skipping = false;
    batcher->batch.first_line = batcher->skipped_line + 1;
    return true;
}

enum batcher_event batcher_feed(struct batcher *batcher, struct str *chunk)
{
    struct batch *batch = &batcher->batch;
    const struct batcher_opts *opts = &batcher->opts;
    while (chunk->len > 0) {
        if (batcher->is_skipping) {
            if (batcher->whole_bytes > 0) {
                return BATCHER_BATCH; /* line numbers in a batch have no gap */
            }
            if (!skip_on(batcher, chunk)) {
                return BATCHER_MORE;
            }
            continue;
        }
        const char *newline = memchr(chunk->ptr, '\n', chunk->len);
        size_t piece = newline == NULL ? chunk->len : (size_t)(newline + 1 - chunk->ptr);
        size_t line_bytes = batch->bytes.len - batcher->whole_bytes + piece;
        if (line_bytes > opts->line_bytes_max) {
            batch->bytes.len = batcher->whole_bytes;
            batcher->is_skipping = true;
            batcher->skipped_line = line_number(batcher);
            return BATCHER_TOO_LONG;
        }
        if (batcher->whole_bytes > 0 && batcher->whole_bytes + line_bytes > opts->bytes_max) {
            return BATCHER_BATCH;
        }
        buf_append(&batch->bytes, chunk->ptr, piece);
        *chunk = (struct str){chunk->ptr + piece, chunk->len - piece};
        if (newline != NULL) {
            batcher->whole_bytes = batch->bytes.len;
            batch->line_count++;
            if (batch->line_count >= opts->lines_max || batch->bytes.len >= opts->bytes_max) {
                return BATCHER_BATCH;
            }
        }
    }
    return BATCHER_MORE;
}

bool batcher_end(struct batcher *batcher)
{
    if (batcher->batch.bytes.len > batcher->whole_bytes) { /* a last line without a newline */
        batcher->whole_bytes = batcher->batch.bytes.len;
        batcher->batch.line_count++;
    }
    return batcher->whole_bytes > 0;
}

enum err_code batcher_take(struct batcher *batcher, struct batch *ret, struct err *err)
{
    CLEANUP(buf_freep) struct buf rest = {0};
    struct batch *batch = &batcher->batch;
    ERR_TRY(buf_check(&batch->bytes, err));
    buf_append(&rest, batch->bytes.ptr + batcher->whole_bytes,
               batch->bytes.len - batcher->whole_bytes);
    ERR_TRY(buf_check(&rest, err));
    *ret = *batch;
    ret->bytes.len = batcher->whole_bytes;
    *batch = (struct batch){.bytes = rest, .first_line = ret->first_line + ret->line_count};
    rest = (struct buf){0};
    batcher->whole_bytes = 0;
    return ERR_OK;
}
