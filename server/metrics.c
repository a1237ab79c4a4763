/* server/metrics.c - see metrics.h. */
#include "server/metrics.h"

#include "query/answer_cache.h"
#include "server/routes.h"
#include "storage/base/clock.h"
#include "storage/base/slabs.h"

#include <inttypes.h>
#include <stdlib.h>

#define METRICS_DATASETS_MAX                                                                       \
    4096u /* labelled; beyond that a scrape would be larger than it is useful */

static const uint64_t bounds_us[HISTOGRAM_BUCKETS] = {
    100,    250,    500,    1000,    2500,    5000,    10000,    25000,   50000,
    100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000, 60000000};

/* The last place counts all others. */
static const int statuses[METRICS_STATUSES - 1] = {200, 202, 304, 400, 401, 404, 405, 408,
                                                   413, 415, 422, 429, 499, 500, 503, 504};

static const struct {
    const char *name;
    const char *help;
} counter_names[COUNTER_COUNT] = {
    [COUNTER_CONNECTIONS] = {"connections_total", "connections accepted"},
    [COUNTER_ACCEPT_ERRORS] = {"accept_errors_total", "failed accepts"},
    [COUNTER_REQUEST_BYTES] = {"request_body_bytes_total", "bytes of request bodies as received"},
    [COUNTER_RESPONSE_BYTES] = {"response_body_bytes_total", "bytes of response bodies as sent"},
    [COUNTER_BUSY] = {"requests_busy_total", "requests refused because a queue or budget was full"},
    [COUNTER_HANGUPS] = {"client_hangups_total", "requests whose client left before the answer"},
    [COUNTER_CANCELLED] = {"jobs_cancelled_total", "jobs that ended because their client had left"},
    [COUNTER_SERVER_ERRORS] = {"jobs_failed_total",
                               "jobs that met damaged data, a failing disk, or no memory"},
    [COUNTER_TIMEOUTS] = {"jobs_timed_out_total", "jobs that ended at their deadline"},
    [COUNTER_ABUSE_CLOSED] = {"connections_abuse_closed_total",
                              "connections closed for resetting request after request"},
    [COUNTER_WRITE_TIMEOUTS] = {"connections_write_timeout_total",
                                "connections closed because the client did not read on"},
    [COUNTER_EVENTS_ACCEPTED] = {"events_accepted_total", "events acknowledged as new"},
    [COUNTER_EVENTS_DUPLICATE] = {"events_duplicate_total", "events recognised as duplicates"},
    [COUNTER_EVENTS_REJECTED] = {"events_rejected_total", "events refused in their receipt"},
    [COUNTER_EVENTS_CONFLICT] = {"events_conflict_total",
                                 "events kept out because their id is known with another content"},
    [COUNTER_QUERY_ROWS_READ] = {"query_rows_read_total", "rows that queries read"},
    [COUNTER_QUERY_BYTES_READ] = {"query_bytes_read_total", "bytes that queries read"},
    [COUNTER_COMPACT_REQUESTS] = {"compact_requests_total", "compactions asked for over HTTP"},
    [COUNTER_EXPORTS] = {"exports_total", "exports that began to be sent"},
    [COUNTER_EXPORT_ROWS] = {"export_rows_total", "rows of exports"},
    [COUNTER_EXPORTS_CUT] = {"exports_cut_total",
                             "exports that ended without their end: hung up, too slow, failed"},
};

void metrics_request(struct metrics *metrics, uint32_t idx, int status, uint64_t elapsed_us)
{
    uint32_t slot = 0;
    while (slot < METRICS_STATUSES - 1 && statuses[slot] != status) {
        slot++;
    }
    uint32_t bucket = 0;
    while (bucket < HISTOGRAM_BUCKETS && elapsed_us > bounds_us[bucket]) {
        bucket++;
    }
    struct histogram *latency = &metrics->latency[idx];
    atomic_fetch_add_explicit(&metrics->requests[idx][slot], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&latency->buckets[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&latency->sum_us, elapsed_us, memory_order_relaxed);
}

static void write_head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP trackway_%s %s\n# TYPE trackway_%s %s\n", name, help, name, type);
}

static void write_gauge(struct buf *out, const char *name, const char *help, uint64_t value)
{
    write_head(out, name, "gauge", help);
    buf_printf(out, "trackway_%s %" PRIu64 "\n", name, value);
}

static void write_counter(struct buf *out, const char *name, const char *help, uint64_t value)
{
    write_head(out, name, "counter", help);
    buf_printf(out, "trackway_%s %" PRIu64 "\n", name, value);
}

static uint64_t load(const _Atomic uint64_t *at)
{
    return atomic_load_explicit(at, memory_order_relaxed);
}

static void write_requests(const struct metrics *metrics, struct buf *out)
{
    write_head(out, "http_requests_total", "counter", "answered requests by route and status");
    for (uint32_t r = 0; r <= route_count(); r++) {
        for (uint32_t s = 0; s < METRICS_STATUSES; s++) {
            uint64_t count = load(&metrics->requests[r][s]);
            if (count == 0) {
                continue;
            }
            buf_printf(out, "trackway_http_requests_total{route=\"%s\",status=\"", route_label(r));
            if (s == METRICS_STATUSES - 1) {
                buf_z(out, "other");
            } else {
                buf_printf(out, "%d", statuses[s]);
            }
            buf_printf(out, "\"} %" PRIu64 "\n", count);
        }
    }
}

static void write_latencies(const struct metrics *metrics, struct buf *out)
{
    write_head(out, "http_request_seconds", "histogram",
               "time from the last byte of a request to its answer");
    for (uint32_t r = 0; r <= route_count(); r++) {
        const struct histogram *latency = &metrics->latency[r];
        uint64_t total = 0;
        for (uint32_t b = 0; b <= HISTOGRAM_BUCKETS; b++) {
            total += load(&latency->buckets[b]);
        }
        if (total == 0) {
            continue;
        }
        uint64_t below = 0;
        const char *label = route_label(r);
        for (uint32_t b = 0; b < HISTOGRAM_BUCKETS; b++) {
            below += load(&latency->buckets[b]);
            buf_printf(out,
                       "trackway_http_request_seconds_bucket{route=\"%s\",le=\"%g\"} %" PRIu64 "\n",
                       label, (double)bounds_us[b] / 1e6, below);
        }
        below += load(&latency->buckets[HISTOGRAM_BUCKETS]);
        buf_printf(out,
                   "trackway_http_request_seconds_bucket{route=\"%s\",le=\"+Inf\"} %" PRIu64 "\n"
                   "trackway_http_request_seconds_sum{route=\"%s\"} %.6f\n"
                   "trackway_http_request_seconds_count{route=\"%s\"} %" PRIu64 "\n",
                   label, below, label, (double)load(&latency->sum_us) / 1e6, label, below);
    }
}

/* One row per figure of a data set; gauges and counters have all their samples together, as the
 * format asks. */
static const struct {
    const char *name;
    const char *type;
    const char *help;
    size_t off;
} dataset_figures[] = {
    {"dataset_rows", "gauge", "rows, in memory and in segments",
     offsetof(struct dataset_stats, rows)},
    {"dataset_memtable_rows", "gauge", "rows in memory",
     offsetof(struct dataset_stats, memtable_rows)},
    {"dataset_memtable_bytes", "gauge", "bytes of the rows in memory",
     offsetof(struct dataset_stats, memtable_bytes)},
    {"dataset_segments", "gauge", "live segments", offsetof(struct dataset_stats, segments)},
    {"dataset_segment_bytes", "gauge", "bytes of the live segments",
     offsetof(struct dataset_stats, segment_bytes)},
    {"dataset_wal_bytes", "gauge", "bytes of the write-ahead log",
     offsetof(struct dataset_stats, wal_bytes)},
    {"dataset_subjects", "gauge", "subjects", offsetof(struct dataset_stats, subjects)},
    {"dataset_first_times", "gauge", "first times of expired events that are kept",
     offsetof(struct dataset_stats, first_times)},
    {"dataset_first_time_files", "gauge", "files of first times",
     offsetof(struct dataset_stats, first_files)},
    {"dataset_first_time_bytes", "gauge", "bytes of the files of first times",
     offsetof(struct dataset_stats, first_bytes)},
    {"dataset_id_runs", "gauge", "files of known event ids",
     offsetof(struct dataset_stats, id_runs)},
    {"dataset_id_run_bytes", "gauge", "bytes of the files of known event ids",
     offsetof(struct dataset_stats, id_run_bytes)},
    {"dataset_queue_bytes", "gauge", "bytes of events that wait for the writer",
     offsetof(struct dataset_stats, queue_bytes)},
    {"dataset_epoch", "gauge", "number of the last commit in the log; its clock is meta.epoch", offsetof(struct dataset_stats, epoch)},
    {"dataset_events_accepted_total", "counter", "events accepted since start",
     offsetof(struct dataset_stats, accepted)},
    {"dataset_events_duplicate_total", "counter", "duplicates since start",
     offsetof(struct dataset_stats, duplicates)},
    {"dataset_events_rejected_total", "counter", "rejected events since start",
     offsetof(struct dataset_stats, rejected)},
    {"dataset_events_conflict_total", "counter",
     "events kept out since start because their id is known with another content",
     offsetof(struct dataset_stats, conflicts)},
    {"dataset_known_hits_total", "counter",
     "event ids looked up in segments since start, because a file of known ids has their hash",
     offsetof(struct dataset_stats, known_hits)},
    {"dataset_known_misses_total", "counter",
     "of those, the ones that no segment had: two hashes were equal",
     offsetof(struct dataset_stats, known_misses)},
    {"dataset_commits_total", "counter", "syncs of the log since start",
     offsetof(struct dataset_stats, commits)},
    {"dataset_flushes_total", "counter", "flushes since start",
     offsetof(struct dataset_stats, flushes)},
    {"dataset_compactions_total", "counter", "compactions since start",
     offsetof(struct dataset_stats, compactions)},
    {"dataset_compacted_bytes_total", "counter", "bytes of segments that were merged since start",
     offsetof(struct dataset_stats, compacted_bytes)},
    {"dataset_cold_segments", "gauge", "live segments in the cold directory",
     offsetof(struct dataset_stats, cold_segments)},
    {"dataset_cold_segment_bytes", "gauge", "bytes of the live segments in the cold directory",
     offsetof(struct dataset_stats, cold_bytes)},
    {"dataset_moved_bytes_total", "counter", "bytes moved to the cold directory since start",
     offsetof(struct dataset_stats, moved_bytes)},
    {"dataset_waiting_segments", "gauge", "segments that wait to be merged, in the shard with most",
     offsetof(struct dataset_stats, waiting_segments)},
    {"dataset_compaction_behind_total", "counter",
     "batches of events refused with 429 because compaction is behind, since start",
     offsetof(struct dataset_stats, behind)},
    {"dataset_flushed_bytes_total", "counter", "bytes that flushes wrote since start",
     offsetof(struct dataset_stats, flushed_bytes)},
    {"dataset_rewritten_bytes_total", "counter",
     "bytes that merges, and expiry, wrote since start; over flushed bytes: write amplification",
     offsetof(struct dataset_stats, rewritten_bytes)},
    {"dataset_expired_rows_total", "counter", "rows that have expired from the disk since start",
     offsetof(struct dataset_stats, expired_rows)},
    {"dataset_expired_segments_total", "counter", "segments that have expired whole since start",
     offsetof(struct dataset_stats, expired_segments)},
};

static void write_datasets(struct store *store, struct buf *out)
{
    uint32_t count = store_datasets(store, NULL, 0);
    count = count > METRICS_DATASETS_MAX ? METRICS_DATASETS_MAX : count;
    struct dataset **sets = calloc((size_t)count + 1, sizeof(struct dataset *));
    struct dataset_stats *stats = calloc((size_t)count + 1, sizeof(*stats));
    if (sets == NULL || stats == NULL) {
        out->is_bad = true;
        count = 0;
    } else {
        uint32_t present = store_datasets(store, sets, count);
        count = present < count ? present : count;
    }
    for (uint32_t d = 0; d < count; d++) {
        stats[d] = dataset_stats(sets[d]);
    }
    for (size_t f = 0; f < COUNT_OF(dataset_figures); f++) {
        write_head(out, dataset_figures[f].name, dataset_figures[f].type, dataset_figures[f].help);
        for (uint32_t d = 0; d < count; d++) {
            uint64_t value = 0;
            memcpy(&value, (const char *)&stats[d] + dataset_figures[f].off, sizeof(value));
            buf_printf(out, "trackway_%s{dataset=\"%s\"} %" PRIu64 "\n", dataset_figures[f].name,
                       dataset_name(sets[d]), value);
        }
    }
    free(sets);
    free(stats);
}

static void write_pools(struct server *server, struct buf *out)
{
    const struct {
        const char *name;
        struct pool *pool;
    } pools[] = {{"asker", server->asker_pool},
                 {"query", server->query_pool},
                 {"ingest", server->ingest_pool},
                 {"admin", server->admin_pool}};
    write_head(out, "pool_waiting", "gauge", "requests that wait for a thread");
    for (size_t i = 0; i < COUNT_OF(pools); i++) {
        buf_printf(out, "trackway_pool_waiting{pool=\"%s\"} %u\n", pools[i].name,
                   pool_waiting(pools[i].pool));
    }
    write_head(out, "pool_threads", "gauge", "threads");
    for (size_t i = 0; i < COUNT_OF(pools); i++) {
        buf_printf(out, "trackway_pool_threads{pool=\"%s\"} %u\n", pools[i].name,
                   pool_threads(pools[i].pool));
    }
    /* What a query waits for is the others' tasks: seconds waited per round say how crowded it is. */
    struct pool_stats stats = pool_stats(server->query_pool);
    write_counter(out, "query_tasks_total", "tasks of queries that began", stats.tasks);
    write_counter(out, "query_rounds_total", "rounds of tasks that queries began", stats.groups);
    write_head(out, "query_task_seconds_total", "counter",
               "time that the tasks of queries took, of all threads");
    buf_printf(out, "trackway_query_task_seconds_total %.6f\n", (double)stats.served_us / 1e6);
    write_head(out, "query_wait_seconds_total", "counter",
               "time that rounds of tasks waited for their first task to begin");
    buf_printf(out, "trackway_query_wait_seconds_total %.6f\n", (double)stats.waited_us / 1e6);
    write_gauge(out, "queries_bytes", "memory of the queries in work",
                atomic_load_explicit(&server->queries.used_bytes, memory_order_relaxed));
}

static void write_answers(const struct answer_cache *answers, struct buf *out)
{
    static const char *const kinds[ANSWER_KINDS] = {"whole", "partial", "outcomes"};
    struct answer_cache_stats stats = {0};
    if (answers != NULL) {
        stats = answer_cache_stats(answers);
    }
    write_gauge(out, "answer_cache_bytes", "kept answers in memory", stats.bytes);
    write_gauge(out, "answer_cache_bytes_max", "bound of the kept answers", stats.bytes_max);
    write_head(out, "answer_cache_hits_total", "counter",
               "whole answers, contributions of segments, and of subjects, found kept");
    for (uint32_t i = 0; i < ANSWER_KINDS; i++) {
        buf_printf(out, "trackway_answer_cache_hits_total{kind=\"%s\"} %" PRIu64 "\n", kinds[i],
                   stats.hits[i]);
    }
    write_head(out, "answer_cache_misses_total", "counter", "of these, asked for and not found");
    for (uint32_t i = 0; i < ANSWER_KINDS; i++) {
        buf_printf(out, "trackway_answer_cache_misses_total{kind=\"%s\"} %" PRIu64 "\n", kinds[i],
                   stats.misses[i]);
    }
    write_counter(out, "answer_cache_evictions_total", "kept answers put out", stats.evictions);
}

void metrics_write(struct server *server, struct buf *out)
{
    const struct metrics *metrics = server->metrics;
    write_head(out, "build_info", "gauge", "version of the server");
    buf_printf(out, "trackway_build_info{version=\"%s\"} 1\n", TRACKWAY_VERSION);
    write_gauge(out, "uptime_seconds", "time since start",
                (clock_mono_us() - server->begin_us) / 1000000);
    write_gauge(out, "draining", "1 after SIGTERM",
                atomic_load_explicit(&server->is_draining, memory_order_relaxed));
    int64_t connections =
        atomic_load_explicit(&metrics->gauges[GAUGE_CONNECTIONS], memory_order_relaxed);
    int64_t jobs = atomic_load_explicit(&metrics->gauges[GAUGE_JOBS], memory_order_relaxed);
    write_gauge(out, "exports_in_work", "exports between admission and end",
                atomic_load_explicit(&server->exports, memory_order_relaxed));
    write_gauge(out, "connections", "open connections",
                connections < 0 ? 0 : (uint64_t)connections);
    write_gauge(out, "requests_in_work", "requests between admission and answer",
                jobs < 0 ? 0 : (uint64_t)jobs);
    write_gauge(out, "bodies_bytes", "bodies of the requests in work",
                atomic_load_explicit(&server->bodies.used_bytes, memory_order_relaxed));
    for (size_t i = 0; i < COUNTER_COUNT; i++) {
        write_counter(out, counter_names[i].name, counter_names[i].help,
                      load(&metrics->counters[i]));
    }
    write_requests(metrics, out);
    write_latencies(metrics, out);
    write_pools(server, out);
    struct store_stats stats = store_stats(server->store);
    write_gauge(out, "block_cache_bytes", "decoded blocks in memory", stats.cache.bytes);
    write_gauge(out, "block_cache_bytes_max", "bound of the block cache", stats.cache.bytes_max);
    const struct slabs_stats slabs = slabs_stats();
    write_gauge(out, "block_cache_slab_bytes", "memory that holds most of the caches' blocks",
                slabs.slabs * slabs.slab_bytes);
    write_gauge(out, "block_cache_large_page_bytes", "of it, what has been put into large pages",
                slabs.large * slabs.slab_bytes);
    write_counter(out, "block_cache_hits_total", "blocks found in the cache", stats.cache.hits);
    write_counter(out, "block_cache_misses_total", "blocks not found in the cache",
                  stats.cache.misses);
    write_counter(out, "block_cache_evictions_total", "blocks put out of the cache",
                  stats.cache.evictions);
    write_answers(server->answers, out);
    write_gauge(out, "memtable_bytes", "rows in memory of all data sets", stats.memtable_bytes);
    write_datasets(server->store, out);
}
