/* server/main.c - trackwayd: start, serve, stop.
 *
 *     options -> listen -> open the store (recovery) -> pools -> loops -> wait for a signal
 *             -> drain the loops -> end the pools -> close the store (flush, empty logs)
 *
 * Signals are blocked in every thread; the main thread waits for them and does nothing else. The
 * port is bound before the store is opened, so that a second server says at once what is wrong.
 * Exit status: 0 after a clean stop, 1 when it could not start or stop cleanly, 2 for wrong
 * options.
 */
#include "query/answer_cache.h"
#include "server/http.h"
#include "server/metrics.h"
#include "storage/base/clock.h"
#include "storage/base/size.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXIT_USAGE      2
#define SPARE_FDS       512u /* for segments, logs, rings */
#define FDS_WANTED_MAX  1048576u
#define HEAPS_MIN       4
#define HEAP_MMAP_BYTES (8 << 20)
#define HEAP_KEPT_BYTES (32 << 20) /* free at a heap's end before it is given back */

/* Static: loops and their threads' last steps may refer to them until the process is gone. */
static struct server server;
static struct metrics metrics;
static struct http *http;

static void print(struct buf *text)
{
    fwrite(text->ptr, 1, text->len, stdout);
    fflush(stdout);
}

/* Options that print and stop; -1 to go on. */
static int act(const struct config *config, enum config_action action)
{
    CLEANUP(buf_freep) struct buf text = {0};
    switch (action) {
    case CONFIG_SERVE: return -1;
    case CONFIG_HELP: config_help(&text); break;
    case CONFIG_SAMPLE: config_sample(&text); break;
    case CONFIG_CHECK: config_print(config, &text); break;
    case CONFIG_VERSION: buf_z(&text, "trackwayd " TRACKWAY_VERSION "\n"); break;
    }
    print(&text);
    return EXIT_SUCCESS;
}

static void block_signals(sigset_t *ret_waited)
{
    sigset_t blocked;
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(ret_waited);
    sigaddset(ret_waited, SIGTERM);
    sigaddset(ret_waited, SIGINT);
    blocked = *ret_waited;
    sigaddset(&blocked, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &blocked, NULL);
}

/* As many files as the system lets us have, and no more connections than that carries. */
static void raise_file_limit(struct config *config)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return;
    }
    rlim_t wanted = MIN_OF(limit.rlim_max, (rlim_t)FDS_WANTED_MAX);
    if (limit.rlim_cur < wanted) {
        struct rlimit raised = {.rlim_cur = wanted, .rlim_max = limit.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0) {
            limit = raised;
        }
    }
    uint64_t room = limit.rlim_cur > 2 * SPARE_FDS ? limit.rlim_cur - SPARE_FDS
                                                   : MAX_OF((uint64_t)limit.rlim_cur / 2, 1);
    if (config->connections_max > room) {
        log_line(LOG_WARN, "fewer connections than configured",
                 "connections=%" PRIu64 " configured=%" PRIu64 " open_files_limit=%" PRIu64, room,
                 config->connections_max, (uint64_t)limit.rlim_cur);
        config->connections_max = room;
    }
}

static enum err_code open_store(const struct config *config, struct store **ret, struct err *err)
{
    struct store_opts opts;
    struct recovery_report report = {0};
    store_opts_default(&opts);
    opts.io_kind = config->io;
    opts.block_cache_bytes = (size_t)config->block_cache_bytes;
    opts.flush_rows = config->flush_rows;
    opts.flush_bytes = config->flush_bytes;
    opts.flush_age_ms = config->flush_age_ms;
    opts.memtable_bytes_max = config->memtable_bytes_max;
    opts.queue_bytes_max = config->dataset_queue_bytes_max;
    opts.identity_bytes_max = config->identity_memory_max;
    opts.backlog_max = (uint32_t)config->backlog_max;
    opts.cold_dir = config->cold_dir[0] == '\0' ? NULL : config->cold_dir;
    if (mkdir(config->data, 0777) != 0 && errno != EEXIST) {
        return err_set_errno(err, errno, "cannot make the data folder \"%s\"", config->data);
    }
    if (access(config->data, R_OK | W_OK | X_OK) != 0) {
        return err_set_errno(err, errno, "the data folder \"%s\" cannot be read and written",
                             config->data);
    }
    uint64_t begin_us = clock_mono_us();
    if (store_open(config->data, &opts, ret, &report, err) != ERR_OK) {
        return err_context(err, "data folder \"%s\"", config->data);
    }
    log_line(LOG_INFO, "store opened",
             "data=\"%s\" datasets=%u segments=%" PRIu64 " elapsed_ms=%" PRIu64, config->data,
             report.datasets, report.segments, (clock_mono_us() - begin_us) / 1000);
    if (report.wal_records > 0 || report.torn_bytes > 0) {
        log_line(LOG_INFO, "log replayed",
                 "records=%" PRIu64 " events=%" PRIu64 " torn_bytes=%" PRIu64, report.wal_records,
                 report.wal_events, report.torn_bytes);
    }
    if (report.refused > 0) {
        log_line(LOG_ERROR, "data sets refused", "count=%u", report.refused);
        log_err(LOG_ERROR, "the first of them", &report.refused_err);
    }
    if (report.ids_cut > 0) {
        log_line(LOG_INFO, "ids cut back", "ids=%" PRIu64, report.ids_cut);
    }
    if (report.orphan_files > 0) {
        log_line(LOG_INFO, "orphan files removed", "files=%" PRIu64, report.orphan_files);
    }
    if (report.cold_anothers > 0) {
        log_line(
            LOG_WARN,
            "files in the cold directory are another data set's of the same name, or this one's "
            "from before its catalog was lost: not touched; trackway repair --cold-dir can tell",
            "datasets=%u", report.cold_anothers);
    }
    return ERR_OK;
}

static enum err_code open_answers(const struct config *config, struct err *err)
{
    return config->answer_cache_bytes == 0
               ? ERR_OK
               : answer_cache_create((size_t)config->answer_cache_bytes, &server.answers, err);
}

static enum err_code start_pools(const struct config *config, struct err *err)
{
    ERR_TRY(
        pool_create((uint32_t)config->queries_max, config->io, "asker", &server.asker_pool, err));
    ERR_TRY(
        pool_create((uint32_t)config->query_threads, config->io, "query", &server.query_pool, err));
    ERR_TRY(pool_create((uint32_t)config->ingest_threads, config->io, "ingest", &server.ingest_pool,
                        err));
    return pool_create(1, config->io, "admin", &server.admin_pool, err);
}

static enum err_code start(const struct config *config, struct err *err)
{
    server.config = *config;
    server.metrics = &metrics;
    server.begin_us = clock_mono_us();
    budget_init(&server.bodies, (size_t)config->bodies_bytes_max, "request bodies");
    budget_init(&server.queries, (size_t)config->queries_memory_max, "memory of all queries");
    raise_file_limit(&server.config);
    ERR_TRY(http_listen(&server.config, &http, err));
    ERR_TRY(open_store(&server.config, &server.store, err));
    ERR_TRY(open_answers(&server.config, err));
    ERR_TRY(start_pools(&server.config, err));
    ERR_TRY(http_start(http, &server, err));
    log_line(LOG_INFO, "ready",
             "version=%s http_threads=%" PRIu64 " query_threads=%u ingest_threads=%u "
             "queue_max=%" PRIu64,
             TRACKWAY_VERSION, server.config.http_threads, pool_threads(server.query_pool),
             pool_threads(server.ingest_pool), server.config.queue_max);
    /* On stdout, for scripts that started it with port 0. */
    printf("listening on %s\n", http_address(http));
    fflush(stdout);
    log_line(LOG_INFO, "listening", "address=\"%s\"", http_address(http));
    return ERR_OK;
}

static enum err_code stop(struct err *err)
{
    uint64_t begin_us = clock_mono_us();
    atomic_store_explicit(&server.is_draining, true, memory_order_relaxed);
    atomic_store_explicit(&server.is_cancelled, true, memory_order_relaxed);
    http_drain(http);
    http_join(http);              /* no job is left in any pool after it */
    pool_free(server.asker_pool); /* before the pool that it runs tasks on */
    pool_free(server.query_pool);
    pool_free(server.ingest_pool);
    pool_free(server.admin_pool);
    answer_cache_free(server.answers);
    log_line(LOG_INFO, "requests drained", "elapsed_ms=%" PRIu64,
             (clock_mono_us() - begin_us) / 1000);
    ERR_TRY(store_close(server.store, err));
    log_line(LOG_INFO, "stopped", "elapsed_ms=%" PRIu64, (clock_mono_us() - begin_us) / 1000);
    return ERR_OK;
}

/* Threads that each fill a heap of their own hold twice the memory, and giving it back after each question costs pages. A heap keeps
 * at most HEAP_KEPT_BYTES that are free. */
static void share_heaps(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    mallopt(M_ARENA_MAX, cores < HEAPS_MIN ? HEAPS_MIN : (int)cores);
    mallopt(M_MMAP_THRESHOLD, HEAP_MMAP_BYTES);
    mallopt(M_TRIM_THRESHOLD, HEAP_KEPT_BYTES);
}

int main(int argc, char **argv)
{
    share_heaps();
    struct err err;
    struct config config;
    enum config_action action = CONFIG_SERVE;
    if (config_load(argc, argv, &config, &action, &err) != ERR_OK) {
        fprintf(stderr, "trackwayd: %s\n", err.message);
        return EXIT_USAGE;
    }
    int status = act(&config, action);
    if (status >= 0) {
        return status;
    }
    sigset_t waited;
    umask(0027); /* the data folder and all in it are the server's */
    block_signals(&waited);
    log_level_set(config.log_level);
    if (start(&config, &err) != ERR_OK) {
        log_err(LOG_ERROR, "cannot start", &err);
        fprintf(stderr, "trackwayd: %s\n", err.message);
        return EXIT_FAILURE;
    }
    int number = 0;
    while (sigwait(&waited, &number) != 0) { /* fails for a bad set only, but the type allows it */
    }
    log_line(LOG_INFO, "stopping", "signal=%s", number == SIGTERM ? "SIGTERM" : "SIGINT");
    /* A second interrupt ends the process at once, as a crash would: the log has all that was
     * promised. */
    signal(SIGINT, SIG_DFL);
    sigset_t interrupt;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    pthread_sigmask(SIG_UNBLOCK, &interrupt, NULL);
    if (stop(&err) != ERR_OK) {
        log_err(LOG_ERROR, "not everything could be written; the log will be replayed", &err);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
