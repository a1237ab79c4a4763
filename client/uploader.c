/* client/uploader.c - see uploader.h. */
#include "client/uploader.h"

#include "client/api.h"
#include "client/json_tree.h"
#include "storage/base/clock.h"
#include "storage/base/size.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define PAUSE_MS_MIN 100u
#define PAUSE_MS_MAX 5000u

struct parcel {
    struct batch batch;
    uint32_t source;
};

struct uploader {
    struct uploader_opts opts;
    char *server_url, *dataset, *content_type; /* copies behind opts */
    bool is_ndjson;

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t has_room, has_work;
    struct parcel *queue; /* ring */
    uint32_t queue_cap, queue_first, queue_count;
    bool is_closed; /* no more parcels come */
    bool has_failed;
    bool has_answered;       /* the server, at least once */
    bool is_out;             /* it cannot be reached, and on_outage knows */
    uint64_t out_changed_us; /* is_out is what it is since then */
    struct err failure;
    struct uploader_counts counts;

    pthread_t *threads;
    uint32_t thread_count;
};

static void *connection_main(void *arg);

static enum err_code opts_copy(struct uploader *uploader, const struct uploader_opts *opts,
                               struct err *err)
{
    uploader->opts = *opts;
    uploader->server_url = strdup(opts->server_url);
    uploader->dataset = strdup(opts->dataset);
    uploader->content_type = strdup(opts->content_type);
    uploader->queue_cap = opts->connections + 1;
    uploader->queue = calloc(uploader->queue_cap, sizeof(*uploader->queue));
    uploader->threads = calloc(opts->connections, sizeof(*uploader->threads));
    if (uploader->server_url == NULL || uploader->dataset == NULL ||
        uploader->content_type == NULL || uploader->queue == NULL || uploader->threads == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory: %u connections", opts->connections);
    }
    uploader->opts.server_url = uploader->server_url;
    uploader->opts.dataset = uploader->dataset;
    uploader->opts.content_type = uploader->content_type;
    uploader->is_ndjson = strstr(opts->content_type, "ndjson") != NULL;
    return ERR_OK;
}

enum err_code uploader_create(const struct uploader_opts *opts, struct uploader **ret,
                              struct err *err)
{
    ASSERT(opts->connections >= 1);
    ASSERT(opts->connections <= UPLOADER_CONNECTIONS_MAX);
    CLEANUP(uploader_freep) struct uploader *uploader = calloc(1, sizeof(*uploader));
    if (uploader == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory: the uploader");
    }
    pthread_mutex_init(&uploader->lock, NULL);
    pthread_cond_init(&uploader->has_room, NULL);
    pthread_cond_init(&uploader->has_work, NULL);
    ERR_TRY(opts_copy(uploader, opts, err));
    for (uint32_t i = 0; i < opts->connections; i++) {
        int errnum = pthread_create(&uploader->threads[i], NULL, connection_main, uploader);
        if (errnum != 0) {
            return err_set_errno(err, errnum, "starting the thread of connection %u", i + 1);
        }
        uploader->thread_count++;
    }
    *ret = TAKE(uploader);
    return ERR_OK;
}

/* Close the queue and wait for the threads. */
static void threads_join(struct uploader *uploader)
{
    pthread_mutex_lock(&uploader->lock);
    uploader->is_closed = true;
    pthread_cond_broadcast(&uploader->has_work);
    pthread_mutex_unlock(&uploader->lock);
    for (uint32_t i = 0; i < uploader->thread_count; i++) {
        pthread_join(uploader->threads[i], NULL);
    }
    uploader->thread_count = 0;
}

void uploader_free(struct uploader *uploader)
{
    if (uploader == NULL) {
        return;
    }
    pthread_mutex_lock(&uploader->lock);
    uploader->has_failed = uploader->has_failed || uploader->queue_count > 0;
    pthread_mutex_unlock(&uploader->lock);
    threads_join(uploader);
    for (uint32_t i = 0; i < uploader->queue_count; i++) {
        uint32_t at = (uploader->queue_first + i) % uploader->queue_cap;
        buf_done(&uploader->queue[at].batch.bytes);
    }
    pthread_cond_destroy(&uploader->has_room);
    pthread_cond_destroy(&uploader->has_work);
    pthread_mutex_destroy(&uploader->lock);
    free(uploader->server_url);
    free(uploader->dataset);
    free(uploader->content_type);
    free(uploader->queue);
    free(uploader->threads);
    free(uploader);
}

enum err_code uploader_put(struct uploader *uploader, struct batch *batch, uint32_t source,
                           struct err *err)
{
    enum err_code code = ERR_OK;
    pthread_mutex_lock(&uploader->lock);
    while (uploader->queue_count == uploader->queue_cap && !uploader->has_failed) {
        pthread_cond_wait(&uploader->has_room, &uploader->lock);
    }
    if (uploader->has_failed) {
        *err = uploader->failure;
        code = err->code;
        buf_done(&batch->bytes);
    } else {
        uint32_t at = (uploader->queue_first + uploader->queue_count) % uploader->queue_cap;
        uploader->queue[at] = (struct parcel){*batch, source};
        uploader->queue_count++;
        pthread_cond_signal(&uploader->has_work);
    }
    pthread_mutex_unlock(&uploader->lock);
    *batch = (struct batch){0};
    return code;
}

enum err_code uploader_finish(struct uploader *uploader, struct uploader_counts *ret,
                              struct err *err)
{
    threads_join(uploader);
    *ret = uploader->counts; /* nobody else is left */
    if (uploader->has_failed) {
        *err = uploader->failure;
        return err->code;
    }
    return ERR_OK;
}

struct uploader_counts uploader_counts(struct uploader *uploader)
{
    pthread_mutex_lock(&uploader->lock);
    struct uploader_counts counts = uploader->counts;
    pthread_mutex_unlock(&uploader->lock);
    return counts;
}

/* ---- a connection's thread ---- */

static bool parcel_next(struct uploader *uploader, struct parcel *ret)
{
    pthread_mutex_lock(&uploader->lock);
    while (uploader->queue_count == 0 && !uploader->is_closed && !uploader->has_failed) {
        pthread_cond_wait(&uploader->has_work, &uploader->lock);
    }
    bool has_one = uploader->queue_count > 0 && !uploader->has_failed;
    if (has_one) {
        *ret = uploader->queue[uploader->queue_first];
        uploader->queue_first = (uploader->queue_first + 1) % uploader->queue_cap;
        uploader->queue_count--;
        pthread_cond_signal(&uploader->has_room);
    }
    pthread_mutex_unlock(&uploader->lock);
    return has_one;
}

static void fail(struct uploader *uploader, const struct err *err)
{
    pthread_mutex_lock(&uploader->lock);
    if (!uploader->has_failed) {
        uploader->has_failed = true;
        uploader->failure = *err;
    }
    pthread_cond_broadcast(&uploader->has_room);
    pthread_cond_broadcast(&uploader->has_work);
    pthread_mutex_unlock(&uploader->lock);
}

static bool is_blank(struct str line)
{
    for (size_t i = 0; i < line.len; i++) {
        if (strchr(" \t\r\n", line.ptr[i]) == NULL || line.ptr[i] == '\0') {
            return false;
        }
    }
    return true;
}

/* Lines of the body that do not mention event_id and were not refused; `receipts` is in order of lines. */
static uint64_t lines_without_id(struct str body, const struct json_tree *tree, uint32_t receipts)
{
    static const char name[] = "\"event_id\"";
    bool has_receipts = receipts != JSON_TREE_NONE;
    uint32_t at = has_receipts ? receipts + 1 : 0;
    uint32_t end = has_receipts ? tree->nodes[receipts].end : 0;
    uint64_t count = 0;
    for (uint64_t number = 1; body.len > 0; number++) {
        const char *newline = memchr(body.ptr, '\n', body.len);
        size_t len = newline == NULL ? body.len : (size_t)(newline + 1 - body.ptr);
        struct str line = {body.ptr, len};
        while (at < end && json_tree_count(tree, at, "line", 0) < number) {
            at = tree->nodes[at].end;
        }
        bool is_refused = at < end && json_tree_count(tree, at, "line", 0) == number &&
                          str_eq(json_tree_text(tree, at, "status"), STR("rejected"));
        if (memmem(line.ptr, line.len, name, sizeof(name) - 1) == NULL && !is_refused &&
            !is_blank(line)) {
            count++;
        }
        body = (struct str){body.ptr + len, body.len - len};
    }
    return count;
}

/* Add up what the server says of a body; the lines it refused or kept out go to the callback. */
static enum err_code receipts_take(struct uploader *uploader, const struct parcel *parcel,
                                   struct str answer, struct err *err)
{
    CLEANUP(json_tree_done) struct json_tree tree = {0};
    if (json_tree_parse(&tree, answer, err) != ERR_OK) {
        return err_context(err, "receipts of %s", uploader->opts.server_url);
    }
    uint64_t missing = UINT64_MAX;
    uint64_t accepted = json_tree_count(&tree, 0, "accepted", missing);
    uint64_t duplicate = json_tree_count(&tree, 0, "duplicate", missing);
    uint64_t rejected = json_tree_count(&tree, 0, "rejected", missing);
    uint64_t conflict = json_tree_count(&tree, 0, "conflict", 0);
    struct str dead_letters = json_tree_text(&tree, 0, "dead_letters");
    if (accepted == missing || duplicate == missing || rejected == missing) {
        return err_set(err, ERR_INVALID, "receipts of %s without counts; is it a trackwayd?",
                       uploader->opts.server_url);
    }
    uint32_t list = json_tree_member(&tree, 0, "receipts");
    uint64_t without_id =
        uploader->is_ndjson ? lines_without_id(buf_as_str(&parcel->batch.bytes), &tree, list) : 0;
    pthread_mutex_lock(&uploader->lock);
    uploader->counts.accepted += accepted;
    uploader->counts.duplicate += duplicate;
    uploader->counts.rejected += rejected;
    uploader->counts.conflict += conflict;
    if (dead_letters.len > 0) {
        snprintf(uploader->counts.dead_letters, sizeof(uploader->counts.dead_letters), STR_FMT,
                 STR_ARG(dead_letters));
    }
    uploader->counts.bodies++;
    uploader->counts.bytes += parcel->batch.bytes.len;
    uploader->counts.lines_without_id += without_id;
    if (list != JSON_TREE_NONE && rejected + conflict > 0 && uploader->opts.on_rejected != NULL) {
        for (uint32_t at = list + 1; at < tree.nodes[list].end; at = tree.nodes[at].end) {
            uint64_t line = json_tree_count(&tree, at, "line", 0);
            struct str status = json_tree_text(&tree, at, "status");
            bool is_out = str_eq(status, STR("rejected")) || str_eq(status, STR("conflict"));
            if (is_out && line > 0) {
                uploader->opts.on_rejected(uploader->opts.arg, parcel->source,
                                           parcel->batch.first_line + line - 1,
                                           json_tree_text(&tree, at, "reason"));
            }
        }
    }
    pthread_mutex_unlock(&uploader->lock);
    return ERR_OK;
}

/* A request sent at `sent_us` met no server (`why`), or one that answers (NULL). What was under way on
 * another connection when that changed says nothing new, and is not to make it change back. */
static void note_outage(struct uploader *uploader, uint64_t sent_us, const struct err *why)
{
    bool is_out = why != NULL;
    pthread_mutex_lock(&uploader->lock);
    if (uploader->is_out != is_out && sent_us >= uploader->out_changed_us &&
        !uploader->has_failed) {
        uploader->is_out = is_out;
        uploader->out_changed_us = clock_mono_us();
        if (uploader->opts.on_outage != NULL) {
            uploader->opts.on_outage(uploader->opts.arg, why);
        }
    }
    pthread_mutex_unlock(&uploader->lock);
}

static void note_answer(struct uploader *uploader, int status, uint64_t elapsed_us)
{
    pthread_mutex_lock(&uploader->lock);
    uploader->has_answered = uploader->has_answered || status != 0;
    uploader->counts.retries += status == 0 || status == 429 || status == 503;
    if (uploader->opts.on_answer != NULL) {
        uploader->opts.on_answer(uploader->opts.arg, status, elapsed_us);
    }
    pthread_mutex_unlock(&uploader->lock);
}

static bool may_retry(struct uploader *uploader, int status, enum err_code code)
{
    pthread_mutex_lock(&uploader->lock);
    bool has_answered = uploader->has_answered && !uploader->has_failed;
    pthread_mutex_unlock(&uploader->lock);
    bool is_lost = status == 0 && (code == ERR_IO || code == ERR_TIMEOUT);
    return has_answered && (is_lost || status == 429 || status == 503);
}

/* Send until dealt with. *ret_is_too_large true (and ERR_LIMIT) where the server wants smaller bodies. */
static enum err_code parcel_send(struct uploader *uploader, struct api *api,
                                 const struct parcel *parcel, bool *ret_is_too_large,
                                 struct err *err)
{
    const struct uploader_opts *opts = &uploader->opts;
    uint64_t begin_us = clock_mono_us();
    uint64_t pause_ms = PAUSE_MS_MIN;
    for (;;) {
        struct str answer = {0};
        uint32_t retry_after_s = 0;
        uint64_t sent_us = clock_mono_us();
        enum err_code code =
            api_ingest(api, opts->dataset, opts->content_type, buf_as_str(&parcel->batch.bytes),
                       &answer, &retry_after_s, err);
        int status = api_status(api);
        note_answer(uploader, status, clock_mono_us() - sent_us);
        if (status != 0) {
            note_outage(uploader, sent_us, NULL);
        }
        if (code == ERR_OK) {
            return receipts_take(uploader, parcel, answer, err);
        }
        *ret_is_too_large = status == 413;
        uint64_t wait_ms = MAX_OF(pause_ms, (uint64_t)retry_after_s * 1000);
        uint64_t elapsed_ms = (clock_mono_us() - begin_us) / 1000;
        if (!may_retry(uploader, status, code)) {
            return code;
        }
        if (elapsed_ms + wait_ms > opts->retry_ms_max) {
            return err_context(err, "gave up after %" PRIu64 " s", elapsed_ms / 1000);
        }
        if (status == 0) {
            note_outage(uploader, sent_us, err);
        }
        struct timespec pause = {(time_t)(wait_ms / 1000), (long)(wait_ms % 1000) * 1000000};
        nanosleep(&pause, NULL);
        pause_ms = MIN_OF(pause_ms * 2, PAUSE_MS_MAX);
    }
}

/* The first half of the lines in `*parcel`, which keeps the rest. */
static enum err_code parcel_split(struct parcel *parcel, struct parcel *ret_first, struct err *err)
{
    struct buf *bytes = &parcel->batch.bytes;
    uint64_t lines = parcel->batch.line_count / 2;
    size_t at = 0;
    for (uint64_t i = 0; i < lines; i++) {
        const uint8_t *newline = memchr(bytes->ptr + at, '\n', bytes->len - at);
        ASSERT(newline != NULL); /* the batcher counted them */
        at = (size_t)(newline + 1 - bytes->ptr);
    }
    struct parcel first = {.batch = {.first_line = parcel->batch.first_line, .line_count = lines},
                           .source = parcel->source};
    buf_append(&first.batch.bytes, bytes->ptr, at);
    ERR_TRY(buf_check(&first.batch.bytes, err));
    memmove(bytes->ptr, bytes->ptr + at, bytes->len - at);
    bytes->len -= at;
    parcel->batch.first_line += lines;
    parcel->batch.line_count -= lines;
    *ret_first = first;
    return ERR_OK;
}

static void reject_line(struct uploader *uploader, const struct parcel *parcel, uint64_t line,
                        struct str reason)
{
    pthread_mutex_lock(&uploader->lock);
    uploader->counts.rejected++;
    if (uploader->opts.on_rejected != NULL) {
        uploader->opts.on_rejected(uploader->opts.arg, parcel->source, line, reason);
    }
    pthread_mutex_unlock(&uploader->lock);
}

static void reject_all_lines(struct uploader *uploader, const struct parcel *parcel)
{
    struct str rest = buf_as_str(&parcel->batch.bytes);
    for (uint64_t line = parcel->batch.first_line; rest.len > 0; line++) {
        const char *newline = memchr(rest.ptr, '\n', rest.len);
        size_t len = newline == NULL ? rest.len : (size_t)(newline + 1 - rest.ptr);
        if (!is_blank((struct str){rest.ptr, len})) {
            reject_line(uploader, parcel, line, STR("not a JSON object"));
        }
        rest = (struct str){rest.ptr + len, rest.len - len};
    }
}

static uint64_t filled_line_count(struct str body)
{
    uint64_t count = 0;
    while (body.len > 0) {
        const char *newline = memchr(body.ptr, '\n', body.len);
        size_t len = newline == NULL ? body.len : (size_t)(newline + 1 - body.ptr);
        count += !is_blank((struct str){body.ptr, len});
        body = (struct str){body.ptr + len, body.len - len};
    }
    return count;
}

/* Is a body that was refused whole the head of something else than NDJSON? A line alone may be broken. */
static bool is_wrong_file(const struct batch *batch)
{
    struct str body = buf_as_str(&batch->bytes);
    return batch->first_line == 1 &&
           (memchr(body.ptr, '\0', body.len) != NULL || filled_line_count(body) > 1);
}

/* As parcel_send, but for what concerns lines alone:
 * - too large a body is sent in halves; one line that still is too large is rejected;
 * - a body without one JSON object is refused whole, and the refusal names a line. At the head of a file
 *   that can mean a wrong file, which is a failure; else it means broken lines;
 * - a body of blank lines has nothing to send. */
static enum err_code parcel_deliver(struct uploader *uploader, struct api *api,
                                    struct parcel *parcel, struct err *err)
{
    struct parcel pieces[64]; /* what is still to send, the next one last; halving makes few */
    uint32_t piece_count = 1;
    enum err_code code = ERR_OK;
    pieces[0] = *parcel;
    while (piece_count > 0 && code == ERR_OK) {
        bool is_too_large = false;
        struct parcel *piece = &pieces[piece_count - 1];
        bool is_ndjson = uploader->is_ndjson;
        if (!is_ndjson || !is_blank(buf_as_str(&piece->batch.bytes))) {
            code = parcel_send(uploader, api, piece, &is_too_large, err);
        }
        if (is_too_large && is_ndjson && piece->batch.line_count > 1 &&
            piece_count < COUNT_OF(pieces)) {
            code = parcel_split(piece, &pieces[piece_count], err);
            piece_count += code == ERR_OK;
            continue;
        }
        if (is_too_large && is_ndjson) {
            reject_line(uploader, piece, piece->batch.first_line, str_of(err->message));
            code = ERR_OK;
        } else if (code == ERR_INVALID && is_ndjson && api_status(api) == 400 && err->line > 0 &&
                   !is_wrong_file(&piece->batch)) {
            reject_all_lines(uploader, piece);
            code = ERR_OK;
        }
        if (code == ERR_OK) {
            buf_done(&piece->batch.bytes);
            piece_count--;
        }
    }
    for (uint32_t i = 0; i < piece_count; i++) {
        buf_done(&pieces[i].batch.bytes);
    }
    return code;
}

static void *connection_main(void *arg)
{
    struct uploader *uploader = arg;
    struct parcel parcel;
    struct err err;
    CLEANUP(api_freep) struct api *api = NULL;
    if (api_create(uploader->opts.server_url, &api, &err) != ERR_OK) {
        fail(uploader, &err);
        return NULL;
    }
    while (parcel_next(uploader, &parcel)) {
        if (parcel_deliver(uploader, api, &parcel, &err) != ERR_OK) {
            fail(uploader, &err);
        }
    }
    return NULL;
}
