/* server/admin_doors.c - health, metrics, the list of data sets, flush, compact and backup on request. */
#include "query/query.h"
#include "server/routes.h"
#include "storage/base/clock.h"
#include "storage/care.h"

#include <inttypes.h>
#include <stdlib.h>

void door_healthz(struct job *job, struct io *io)
{
    (void)io;
    buf_z(&job->response.body, "ok\n");
    job_answer(job, "text/plain; charset=utf-8");
}

void door_readyz(struct job *job, struct io *io)
{
    (void)io;
    struct err err;
    if (atomic_load_explicit(&job->server->is_draining, memory_order_relaxed)) {
        err_set(&err, ERR_BUSY, "the server is shutting down");
        job_fail_status(job, 503, &err);
    } else if (store_health(job->server->store, &err) != ERR_OK) {
        job_fail_status(job, 503, &err);
    } else {
        buf_z(&job->response.body, "ready\n");
        job_answer(job, "text/plain; charset=utf-8");
    }
}

void door_metrics(struct job *job, struct io *io)
{
    (void)io;
    metrics_write(job->server, &job->response.body);
    job_answer(job, "text/plain; version=0.0.4; charset=utf-8");
}

static void dataset_json(struct dataset *dataset, struct buf *out)
{
    struct dataset_stats stats = dataset_stats(dataset);
    const struct {
        const char *name;
        uint64_t value;
    } figures[] = {
        {"rows", stats.rows},
        {"segments", stats.segments},
        {"bytes", stats.segment_bytes},
        {"cold_segments", stats.cold_segments},
        {"cold_bytes", stats.cold_bytes},
        {"subjects", stats.subjects},
        {"memtable_rows", stats.memtable_rows},
        {"memtable_bytes", stats.memtable_bytes},
        {"wal_bytes", stats.wal_bytes},
        {"queue_bytes", stats.queue_bytes},
        {"epoch", (uint64_t)stats.commit_ms},
        {"accepted", stats.accepted},
        {"duplicates", stats.duplicates},
        {"rejected", stats.rejected},
        {"conflicts", stats.conflicts},
        {"commits", stats.commits},
        {"flushes", stats.flushes},
        {"compactions", stats.compactions},
        {"compacted_bytes", stats.compacted_bytes},
        {"waiting_segments", stats.waiting_segments},
        {"compaction_behind", stats.behind},
        {"flushed_bytes", stats.flushed_bytes},
        {"rewritten_bytes", stats.rewritten_bytes},
        {"expired_rows", stats.expired_rows},
        {"expired_segments", stats.expired_segments},
    };
    buf_z(out, "{\"name\":");
    json_quote(str_of(dataset_name(dataset)), out);
    buf_z(out, ",\"time_zone\":");
    json_quote(str_of(dataset_zone(dataset)), out);
    for (size_t i = 0; i < COUNT_OF(figures); i++) {
        buf_printf(out, ",\"%s\":%" PRIu64, figures[i].name, figures[i].value);
    }
    if (stats.flushed_bytes > 0) { /* bytes written to the disk for each that is new */
        buf_printf(out, ",\"write_amplification\":%.3f",
                   (double)(stats.flushed_bytes + stats.rewritten_bytes) /
                       (double)stats.flushed_bytes);
    }
    if (stats.last_error[0] != '\0') {
        buf_printf(out, ",\"last_error_ms\":%" PRId64 ",\"last_error\":", stats.last_error_ms);
        json_quote(str_of(stats.last_error), out);
    }
    buf_u8(out, '}');
}

void door_datasets(struct job *job, struct io *io)
{
    (void)io;
    struct buf *out = &job->response.body;
    struct err err;
    uint32_t count = store_datasets(job->server->store, NULL, 0);
    struct dataset **sets = calloc((size_t)count + 1, sizeof(struct dataset *));
    if (sets == NULL) {
        err_set(&err, ERR_NOMEM, "out of memory: list of %u data sets", count);
        job_fail(job, &err);
        return;
    }
    uint32_t present = store_datasets(job->server->store, sets, count);
    buf_z(out, "{\"datasets\":[");
    for (uint32_t i = 0; i < count && i < present;
         i++) { /* one made in between waits for the next call */
        buf_z(out, i == 0 ? "" : ",");
        dataset_json(sets[i], out);
    }
    buf_z(out, "]}\n");
    free(sets);
    job_answer(job, "application/json");
}

/* The data set an admin job names, which must exist. */
static enum err_code admin_dataset(struct job *job, struct dataset **ret, struct err *err)
{
    return store_dataset(job->server->store, job_dataset_name(job), false, ret, err);
}

void door_flush(struct job *job, struct io *io)
{
    (void)io;
    static const char *const params[] = {"dataset"};
    struct err err;
    struct dataset *dataset = NULL;
    if (job_open(job, params, COUNT_OF(params))) {
        if (admin_dataset(job, &dataset, &err) != ERR_OK ||
            dataset_flush(dataset, &err) != ERR_OK) {
            job_fail(job, &err);
        } else {
            dataset_json(dataset, &job->response.body);
            buf_u8(&job->response.body, '\n');
            job_answer(job, "application/json");
        }
    }
    job_finish(job);
}

/* A compaction that nobody waits for. */
struct compaction {
    struct server *server;
    struct dataset *dataset;
};

static void compact_in_background(void *arg, struct io *io)
{
    (void)io;
    struct compaction *compaction = arg;
    struct err err;
    if (dataset_compact(compaction->dataset, &compaction->server->is_cancelled, &err) != ERR_OK) {
        err_context(&err, "data set \"%s\"", dataset_name(compaction->dataset));
        log_err(LOG_WARN, "compaction failed", &err);
    }
    free(compaction);
}

static enum err_code compact_later(struct job *job, struct dataset *dataset, struct err *err)
{
    struct compaction *compaction = malloc(sizeof(*compaction));
    if (compaction == NULL) {
        return err_set(err, ERR_NOMEM, "out of memory: a compaction");
    }
    *compaction = (struct compaction){.server = job->server, .dataset = dataset};
    enum err_code code = pool_submit(job->server->admin_pool, compact_in_background, compaction,
                                     (uint32_t)job->server->config.queue_max, err);
    if (code != ERR_OK) {
        free(compaction);
    }
    return code;
}

void door_compact(struct job *job, struct io *io)
{
    (void)io;
    static const char *const params[] = {"dataset", "wait"};
    if (!job_open(job, params, COUNT_OF(params))) {
        job_finish(job);
        return;
    }
    struct err err;
    struct dataset *dataset = NULL;
    bool is_waiting = false;
    enum err_code code = url_param_bool(&job->params, "wait", &is_waiting, &err);
    if (code == ERR_OK) {
        code = admin_dataset(job, &dataset, &err);
    }
    if (code == ERR_OK) {
        metrics_add(job->server->metrics, COUNTER_COMPACT_REQUESTS, 1);
        code = is_waiting ? dataset_compact(dataset, &job->is_cancelled, &err)
                          : compact_later(job, dataset, &err);
    }
    if (code != ERR_OK) {
        job_fail(job, &err);
    } else {
        dataset_json(dataset, &job->response.body);
        buf_u8(&job->response.body, '\n');
        job_answer(job, "application/json");
        job->response.status = is_waiting ? 200 : 202;
    }
    job_finish(job);
}

static void backup_json(const char *path, const struct backup_report *report, uint64_t elapsed_us,
                        struct buf *out)
{
    buf_z(out, "{\"path\":");
    json_quote(str_of(path), out);
    buf_z(out, ",\"datasets\":[");
    for (uint32_t i = 0; i < report->dataset_count; i++) {
        const struct backup_dataset *set = &report->datasets[i];
        buf_z(out, i == 0 ? "{\"name\":" : ",{\"name\":");
        json_quote(str_of(set->name), out);
        buf_printf(out, ",\"rows\":%" PRIu64 ",\"epoch\":%" PRIu64 ",\"segments\":%" PRIu64 "}",
                   set->rows, set->epoch, set->segments);
    }
    buf_printf(out,
               "],\"rows\":%" PRIu64 ",\"files\":%" PRIu64 ",\"linked_bytes\":%" PRIu64
               ",\"copied_bytes\":%" PRIu64 ",\"elapsed_ms\":%" PRIu64 "}\n",
               report->rows, report->files, report->linked_bytes, report->copied_bytes,
               elapsed_us / 1000);
}

/* Where to write it: the parameter `to`, without a NUL (url_params_parse refuses one). */
static enum err_code backup_path(struct job *job, struct str *ret, struct err *err)
{
    const struct str *to = url_param(&job->params, "to");
    if (to == NULL || to->len == 0) {
        return err_set(err, ERR_INVALID,
                       "\"to\" is missing: an absolute path on the server's machine");
    }
    return arena_str(job->arena, *to, ret, err);
}

void door_backup(struct job *job, struct io *io)
{
    static const char *const params[] = {"to"};
    struct backup_report report = {0};
    struct str to = {0};
    struct err err;
    uint64_t begin_us = clock_mono_us();
    if (job_open(job, params, COUNT_OF(params))) {
        if (backup_path(job, &to, &err) != ERR_OK ||
            store_backup(job->server->store, to.ptr, &job->is_cancelled, io, &report, &err) !=
                ERR_OK) {
            job_fail(job, &err);
        } else {
            uint64_t elapsed_us = clock_mono_us() - begin_us;
            log_line(LOG_INFO, "backup written",
                     "path=\"%s\" datasets=%u rows=%" PRIu64 " linked_bytes=%" PRIu64
                     " copied_bytes=%" PRIu64 " elapsed_ms=%" PRIu64,
                     to.ptr, report.dataset_count, report.rows, report.linked_bytes,
                     report.copied_bytes, elapsed_us / 1000);
            backup_json(to.ptr, &report, elapsed_us, &job->response.body);
            job_answer(job, "application/json");
            free(report.datasets);
        }
    }
    job_finish(job);
}
