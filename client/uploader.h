/* client/uploader.h - sending bodies of events over several connections, until each one is dealt with.
 *
 * A body that meets a full server (429, 503) or a broken connection is sent again after a pause:
 * the server knows events by their event_id, so nothing counts twice. Before the server has answered
 * at all, a failure is final: that is a wrong address, not a hiccup. A body the server finds too
 * large is sent in halves. A stream whose first body is no text, or several lines without one JSON
 * object, is a wrong file, and a failure too; a single broken line is a rejected line.
 *
 *     caller -> uploader_put -> queue (bounded) -> connection threads -> server
 *                                                          |-> on_rejected, ... (one at a time)
 *
 * Thread: one caller; the callbacks come from the connection threads, under the uploader's lock.
 */
#pragma once

#include "client/batcher.h"
#include "storage/base/err.h"

struct uploader;
struct uploader_opts {
    const char *server_url;
    const char *dataset;
    const char *content_type;
    uint32_t connections;  /* 1 .. UPLOADER_CONNECTIONS_MAX */
    uint64_t retry_ms_max; /* patience for one body */
    void *arg;             /* for the callbacks, each of which may be NULL */
    /* An event the server refused or kept out (a conflict): its line in the stream of `source`, and why. */
    void (*on_rejected)(void *arg, uint32_t source, uint64_t line, struct str reason);
    /* A request was answered (also by a refusal; 0: not at all) after this time. */
    void (*on_answer)(void *arg, int status, uint64_t elapsed_us);
    /* The server, which had answered before, cannot be reached and is tried again (`why`); or it is back
     * (NULL). Once per outage, not per connection or attempt. */
    void (*on_outage)(void *arg, const struct err *why);
};
#define UPLOADER_CONNECTIONS_MAX 256u

#define UPLOADER_DEAD_LETTERS_BYTES 65u
struct uploader_counts {
    uint64_t accepted, duplicate, rejected;
    uint64_t conflict; /* kept out: their event_id is known with another content */
    char dead_letters
        [UPLOADER_DEAD_LETTERS_BYTES]; /* the data set that keeps them; "" where none does */
    uint64_t bodies, bytes, retries;
    uint64_t lines_without_id; /* of NDJSON: lines that do not even mention event_id */
};

enum err_code uploader_create(const struct uploader_opts *opts, struct uploader **ret,
                              struct err *err) ERR_MUST_CHECK;
/* Queue a batch, whose bytes become the uploader's, and wait where the queue is full. Fails with the
 * first final failure of any connection. */
enum err_code uploader_put(struct uploader *uploader, struct batch *batch, uint32_t source,
                           struct err *err) ERR_MUST_CHECK;
/* Wait until all is sent; the counts are complete then. Also after a failure. */
enum err_code uploader_finish(struct uploader *uploader, struct uploader_counts *ret,
                              struct err *err) ERR_MUST_CHECK;
struct uploader_counts uploader_counts(struct uploader *uploader); /* so far */
void uploader_free(struct uploader *uploader); /* gives up what is still queued */
static inline void uploader_freep(struct uploader **uploader)
{
    uploader_free(*uploader);
}
