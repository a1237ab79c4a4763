/* client/batcher.h - cutting a stream of lines into bodies, always between lines.
 *
 * A batch ends at the line that fills it: `lines_max` lines, or before the line that would carry it
 * over `bytes_max` (a longer line travels alone). A line over `line_bytes_max` is never held in
 * memory: it is skipped to its end and reported.
 *
 * Thread: one owner.
 */
#pragma once

#include "storage/base/buf.h"

struct batcher_opts {
    size_t bytes_max;
    size_t lines_max;
    size_t line_bytes_max;
};
struct batch {
    struct buf bytes;    /* whole lines */
    uint64_t first_line; /* its number in the stream, from 1 */
    uint64_t line_count; /* the last may have no newline */
};
struct batcher {
    struct batcher_opts opts;
    struct batch batch;    /* under way */
    size_t whole_bytes;    /* of it, in whole lines */
    bool is_skipping;      /* inside a line that is too long */
    uint64_t skipped_line; /* its number; 0: none to report */
};

void batcher_init(struct batcher *batcher, const struct batcher_opts *opts);
void batcher_done(struct batcher *batcher);

enum batcher_event {
    BATCHER_MORE,     /* the chunk is used up: feed the next one */
    BATCHER_BATCH,    /* batcher_take, then feed the rest of the chunk */
    BATCHER_TOO_LONG, /* line batcher->skipped_line is being skipped; feed the rest of the chunk */
};
/* Uses bytes from the front of `chunk`. */
enum batcher_event batcher_feed(struct batcher *batcher, struct str *chunk);
/* The stream has ended: true when a last batch is there to take. */
bool batcher_end(struct batcher *batcher);
/* Hand out the whole lines; the caller ends the batch by buf_done(&batch.bytes). */
enum err_code batcher_take(struct batcher *batcher, struct batch *ret,
                           struct err *err) ERR_MUST_CHECK;
