/* server/event_doors.c - events in: /v1/events and the Segment calls.
 *
 *     ingest thread              the writer's thread        ingest thread
 *     inflate, parse, submit --> write, sync, publish  -->  receipts, job_finish
 *                                                           or, with conflicts, their dead letters: submit --+
 *                                write, sync, publish  <-----------------------------------------------------+
 *                                                      -->  receipts, job_finish
 *
 * The writer is some ingest thread that came first (group commit). It only passes jobs on: receipts
 * of others would keep the next group waiting.
 *
 * A receipt that says "conflict" is sent after the dead letter is durable. There are two commits, and what
 * comes between them (a crash, a data set of dead letters that refuses) leaves a client without an answer or
 * with an error: it sends the body again, the accepted events of it are duplicates then, the conflicts are
 * conflicts again, and their letters, which have ids of their own, are written once.
 */
#include "server/dead_letters.h"
#include "server/ingest_parse.h"
#include "server/routes.h"
#include "storage/base/clock.h"

static void count_events(struct job *job)
{
    struct ingest_counts counts = ingest_counts(job->batch);
    struct metrics *metrics = job->server->metrics;
    metrics_add(metrics, COUNTER_EVENTS_ACCEPTED, counts.accepted);
    metrics_add(metrics, COUNTER_EVENTS_DUPLICATE, counts.duplicate);
    metrics_add(metrics, COUNTER_EVENTS_REJECTED, counts.rejected);
    metrics_add(metrics, COUNTER_EVENTS_CONFLICT, counts.conflict);
}

static void answer(struct job *job)
{
    count_events(job);
    job->render(job);
    event_batch_free(TAKE(job->batch));
    job_finish(job);
}

static void refuse(struct job *job, const struct err *err)
{
    event_batch_free(TAKE(job->batch));
    job_fail(job, err);
    job_finish(job);
}

/* The events are durable; what became of them is not said until their letters are. */
static void refuse_for_letters(struct job *job, const struct err *err)
{
    struct err whole = *err;
    (void)err_context(&whole, "dead letters of data set \"%s\"", dataset_name(job->dataset));
    refuse(job, &whole);
}

static void answer_on_pool(void *arg, struct io *io)
{
    (void)io;
    answer(arg);
}

/* On the thread of the dead letters' writer. */
static void letters_done(void *arg, struct event_batch *letters, enum err_code code,
                         const struct err *err)
{
    struct job *job = arg;
    struct err refused;
    if (code == ERR_OK) {
        code = dead_letters_check(letters, &refused);
        err = &refused;
    }
    event_batch_free(letters);
    if (code != ERR_OK) {
        refuse_for_letters(job, err);
        return;
    }
    /* Bounds and lack of memory: as in batch_done. */
    struct err ignored;
    if (pool_submit(job->server->ingest_pool, answer_on_pool, job, UINT32_MAX, &ignored) !=
        ERR_OK) {
        answer(job);
    }
}

/* Make letters of the batch's conflicts. Where it returns ERR_OK, letters_done has the job. */
static enum err_code letters_submit(struct job *job, struct str name, struct io *io,
                                    struct err *err)
{
    struct dataset *dataset = NULL;
    struct event_batch *letters = NULL;
    ERR_TRY(dead_letters_build(job->batch, &job->batch_budget, &letters, err));
    enum err_code code = store_dataset(job->server->store, name, true, &dataset, err);
    if (code == ERR_OK) {
        code = dataset_submit(dataset, letters, letters_done, job, io, err);
    }
    if (code != ERR_OK) {
        event_batch_free(letters);
    }
    return code;
}

static bool has_letters(const struct job *job, char out_name[DATASET_NAME_BYTES_MAX + 1])
{
    return ingest_counts(job->batch).conflict > 0 &&
           dead_letters_dataset(str_of(dataset_name(job->dataset)), out_name);
}

/* The second half of an ingest job: its batch is durable, and has its receipts. */
static void second_half_on_pool(void *arg, struct io *io)
{
    struct job *job = arg;
    struct err err;
    char name[DATASET_NAME_BYTES_MAX + 1];
    if (!has_letters(job, name)) {
        answer(job);
    } else if (letters_submit(job, str_of(name), io, &err) != ERR_OK) {
        refuse_for_letters(job, &err);
    }
}

static void batch_done(void *arg, struct event_batch *batch, enum err_code code,
                       const struct err *err)
{
    struct job *job = arg;
    job->batch = batch;
    if (code != ERR_OK) {
        refuse(job, err);
        return;
    }
    /* Not bounded: as many as there are admitted jobs. Without memory for the hop the receipts are
     * written here; letters are not, as a writer must not wait for another. */
    struct err hop;
    char name[DATASET_NAME_BYTES_MAX + 1];
    if (pool_submit(job->server->ingest_pool, second_half_on_pool, job, UINT32_MAX, &hop) ==
        ERR_OK) {
        return;
    }
    if (has_letters(job, name)) {
        refuse_for_letters(job, &hop);
    } else {
        answer(job);
    }
}

enum err_code ingest_submit(struct job *job, struct str name, void (*render)(struct job *job),
                            struct io *io, struct err *err)
{
    struct dataset *dataset = NULL;
    enum err_code code = store_dataset(job->server->store, name, true, &dataset, err);
    if (code == ERR_OK) {
        job->render = render;
        job->dataset = dataset;
        /* From here on the job may be finished by another thread at any moment. */
        struct event_batch *batch = job->batch;
        code = dataset_submit(dataset, batch, batch_done, job, io, err);
    }
    if (code != ERR_OK) {
        event_batch_free(TAKE(job->batch));
    }
    return code;
}

static void render_receipts(struct job *job)
{
    char letters[DATASET_NAME_BYTES_MAX + 1];
    (void)dead_letters_dataset(str_of(dataset_name(job->dataset)), letters);
    ingest_receipts_json(job->batch, (enum ingest_shape)job->shape,
                         (enum receipt_list)job->receipts, str_of(letters), &job->response.body);
    job_answer(job, "application/json");
}

void ingest_opts_of(struct job *job, struct ingest_opts *ret)
{
    budget_init(&job->batch_budget, (size_t)job->server->config.ingest_memory_max,
                "the events of one body");
    *ret = (struct ingest_opts){
        .now_ms = clock_wall_ms(),
        .event_bytes_max = (size_t)job->server->config.event_bytes_max,
        .budget = &job->batch_budget,
    };
}

/* Parse the opened body and submit it. Answers, or leaves the answer to the batch's end. */
static void ingest_body(struct job *job, enum ingest_shape shape, const char *segment_type,
                        struct io *io)
{
    struct err err;
    struct ingest_opts opts;
    struct str name = job_dataset_name(job);
    ingest_opts_of(job, &opts);
    opts.segment_type = segment_type;
    job->shape = (int)shape;
    enum err_code code = ERR_OK;
    if (!dataset_name_is_valid(name)) { /* before the work of parsing */
        code = err_set(&err, ERR_INVALID,
                       "\"" STR_FMT "\" is no name for a data set: 1 to %u of A-Z a-z 0-9 . _ -, a "
                       "letter or digit first",
                       STR_ARG(name), DATASET_NAME_BYTES_MAX);
    }
    if (code == ERR_OK) {
        code = ingest_parse(shape, job_body(job), &opts, &job->batch, &err);
    }
    if (code == ERR_OK) {
        code = job_check(job, &err); /* parsing takes time; nothing was promised yet */
        if (code != ERR_OK) {
            event_batch_free(TAKE(job->batch));
        }
    }
    if (code == ERR_OK) {
        code = ingest_submit(job, name, render_receipts, io, &err);
    }
    if (code != ERR_OK) {
        job_fail(job, &err);
        job_finish(job);
    }
}

static bool is_one_of(struct str type, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (str_eq_nocase(type, str_of(names[i]))) {
            return true;
        }
    }
    return false;
}

/* Which receipts the body's answer lists: &receipts=all (default), rejected or counts. */
static bool receipts_param(struct job *job, struct err *err)
{
    static const char *const names[] = {
        [RECEIPTS_ALL] = "all", [RECEIPTS_REJECTED] = "rejected", [RECEIPTS_COUNTS] = "counts"};
    const struct str *value = url_param(&job->params, "receipts");
    job->receipts = RECEIPTS_ALL;
    if (value == NULL) {
        return true;
    }
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (str_eq(*value, str_of(names[i]))) {
            job->receipts = (int)i;
            return true;
        }
    }
    err_set(err, ERR_INVALID, "receipts=" STR_FMT ": expected all, rejected or counts",
            STR_ARG(*value));
    return false;
}

void door_events(struct job *job, struct io *io)
{
    static const char *const params[] = {"dataset", "receipts"};
    /* curl -d sends the form type unless told otherwise; a body that is no NDJSON is still refused.
     */
    static const char *const json[] = {"application/x-ndjson",
                                       "application/ndjson",
                                       "application/json",
                                       "application/jsonl",
                                       "application/jsonlines",
                                       "text/plain",
                                       "application/x-www-form-urlencoded",
                                       ""};
    static const char *const proto[] = {"application/x-protobuf", "application/protobuf",
                                        "application/proto"};
    if (!job_open(job, params, COUNT_OF(params))) {
        job_finish(job);
        return;
    }
    struct err err;
    struct str type = media_type(job->request.headers[HEADER_CONTENT_TYPE]);
    if (!receipts_param(job, &err)) {
        job_fail(job, &err);
        job_finish(job);
        return;
    }
    if (is_one_of(type, json, COUNT_OF(json))) {
        ingest_body(job, INGEST_NDJSON, NULL, io);
    } else if (is_one_of(type, proto, COUNT_OF(proto))) {
        ingest_body(job, INGEST_PROTOBUF, NULL, io);
    } else {
        err_set(&err, ERR_INVALID,
                "content-type \"" STR_FMT
                "\"; events come as application/x-ndjson or application/x-protobuf",
                STR_ARG(type));
        job->response.accept_post = "application/x-ndjson, application/x-protobuf";
        job_fail_status(job, 415, &err);
        job_finish(job);
    }
}

/* Segment's SDKs send their own query parameters now and then, so none is refused. */
void door_segment_batch(struct job *job, struct io *io)
{
    if (!job_open(job, NULL, 0)) {
        job_finish(job);
        return;
    }
    job->receipts = RECEIPTS_ALL;
    ingest_body(job, INGEST_SEGMENT_BATCH, NULL, io);
}

void door_segment_single(struct job *job, struct io *io)
{
    if (!job_open(job, NULL, 0)) {
        job_finish(job);
        return;
    }
    job->receipts = RECEIPTS_ALL;
    ingest_body(job, INGEST_SEGMENT_SINGLE, job->route->label, io);
}
