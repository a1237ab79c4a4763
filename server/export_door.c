/* server/export_door.c - lists of any length: POST /v1/export.
 *
 * A question as /v1/query takes it, and its list in pieces of STREAM_PIECE_BYTES (query/export.h has the forms). What fits
 * into one piece is an ordinary answer. A longer one is a stream: the job goes to and fro between the loop, which sends a
 * piece, and the pool, which makes the next one once h2o has taken it.
 *
 * Errors before the first piece are ordinary answers; after it the stream is cut, and has no trailer.
 */
#include "query/export.h"
#include "server/query_doors.h"
#include "storage/base/clock.h"
#include "storage/base/size.h"

/* In the job's arena: the request must live as long as the export. */
struct export_state {
    struct query_request request;
    struct query_export *export;
    uint64_t rows_counted;
};

static void export_close(struct job *job)
{
    struct export_state *state = job->stream_state;
    export_free(TAKE(state->export));
    (void)atomic_fetch_sub_explicit(&job->server->exports, 1, memory_order_relaxed);
}

static enum err_code export_piece(struct job *job, struct io *io, bool *ret_more, struct err *err)
{
    struct export_state *state = job->stream_state;
    ERR_TRY(job_check(job, err));
    state->request.deadline_us = job->deadline_us;
    ERR_TRY(export_next(state->export, STREAM_PIECE_BYTES, io, &job->response.body, ret_more, err));
    uint64_t rows = export_rows(state->export);
    metrics_add(job->server->metrics, COUNTER_EXPORT_ROWS, rows - state->rows_counted);
    state->rows_counted = rows;
    return ERR_OK;
}

static const struct job_stream export_stream = {.next = export_piece, .close = export_close};

static const struct {
    const char *name;
    enum result_format format;
    const char *content_type;
} forms[] = {
    {"ndjson", RESULT_NDJSON, "application/x-ndjson"},
    {"csv", RESULT_CSV, "text/csv; charset=utf-8"},
};

static enum err_code form_of(const struct job *job, size_t *ret, struct err *err)
{
    const struct str *format = url_param(&job->params, "format");
    *ret = 0;
    for (size_t i = 0; format != NULL && i < COUNT_OF(forms); i++) {
        if (str_eq(*format, str_of(forms[i].name))) {
            *ret = i;
            return ERR_OK;
        }
    }
    return format == NULL
               ? ERR_OK
               : err_set(err, ERR_INVALID, "format \"" STR_FMT "\": an export is ndjson or csv",
                         STR_ARG(*format));
}

/* A place among the exports of the process; given back by export_close. */
static enum err_code take_place(struct job *job, struct err *err)
{
    struct server *server = job->server;
    uint64_t before = atomic_fetch_add_explicit(&server->exports, 1, memory_order_relaxed);
    if (before >= server->config.exports_max) {
        (void)atomic_fetch_sub_explicit(&server->exports, 1, memory_order_relaxed);
        return err_set(err, ERR_BUSY, "%llu exports are in work, and no more may be",
                       (unsigned long long)before);
    }
    return ERR_OK;
}

static enum err_code export_begin(struct job *job, struct export_state *state, size_t form,
                                  struct io *io, struct err *err)
{
    struct server *server = job->server;
    struct dataset *dataset = NULL;
    CLEANUP(snapshot_unpinp) struct snapshot *snapshot = NULL;
    ERR_TRY(query_job_prepare(job, &state->request, err));
    state->request.answers = NULL; /* a list is made anew each time */
    ERR_TRY(store_dataset(server->store, job_dataset_name(job), false, &dataset, err));
    ERR_TRY(job_check(job, err));
    ERR_TRY(dataset_snapshot(dataset, &snapshot, err));
    ERR_TRY(export_open(&snapshot, server->query_pool, io, &state->request, forms[form].format,
                        EXPORT_PAGE_ROWS, &state->export, err));
    metrics_add(server->metrics, COUNTER_EXPORTS, 1);
    return ERR_OK;
}

/* The first piece is in the answer. From now on another time counts than that of finding the list. */
static void begin_stream(struct job *job)
{
    uint64_t timeout_ms = job->server->config.export_timeout_ms;
    job->stream = &export_stream;
    job->deadline_us = timeout_ms == 0 ? 0 : clock_mono_us() + timeout_ms * 1000;
}

/* With a place among the exports. */
static void run_export(struct job *job, struct export_state *state, size_t form, struct io *io)
{
    struct err err;
    bool has_more = false;
    job->stream_state = state;
    if (export_begin(job, state, form, io, &err) != ERR_OK) {
        job_fail_at(job, state->request.text, &err);
    } else if (export_piece(job, io, &has_more, &err) != ERR_OK) {
        job_fail(job, &err);
    } else if (!has_more) {
        job_answer(job, forms[form].content_type);
    } else {
        job->response.status = 200;
        job->response.content_type = forms[form].content_type;
        begin_stream(job);
        return;
    }
    export_close(job);
}

void door_export(struct job *job, struct io *io)
{
    static const char *const names[] = {"dataset", "format", "timeout_ms", "now"};
    struct err err;
    size_t form = 0;
    struct query_read read = {0};
    struct export_state *state = NULL;
    if (!job_open(job, names, COUNT_OF(names))) {
        job_finish(job);
        return;
    }
    if (ARENA_NEW(job->arena, 1, &state, &err) != ERR_OK || form_of(job, &form, &err) != ERR_OK ||
        query_request_read(job, &state->request, &read, &err) != ERR_OK) {
        query_read_fail(job, &read, &err);
    } else if (take_place(job, &err) != ERR_OK) {
        job_fail(job, &err);
    } else {
        run_export(job, state, form, io);
    }
    job_finish(job);
}
