/* bench/cmd_load.c - trackway-bench load: events in, questions, or both at once, over many connections.
 *
 * Events come from files (NDJSON, plain or packed; *.proto as `generate --format proto` writes them) or from
 * the generator, in memory, so that no disk is measured. Questions come one per line from a file; each
 * asking connection takes the next one, around and around. With events alone the run ends when they are
 * in; with questions it lasts --seconds, or --rounds of all questions.
 *
 *     reader thread -> uploader (client/uploader.h, N connections)   -\
 *     asker threads, M connections, each: next query, ask, note time  -+-> figures
 */
#include "bench/bench_command.h"
#include "bench/latencies.h"
#include "client/api.h"
#include "client/input.h"
#include "client/uploader.h"
#include "storage/base/clock.h"
#include "storage/base/json_text.h"
#include "storage/base/rd.h"
#include "storage/base/size.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CHUNK_BYTES     (256u * 1024)
#define MESSAGE_BYTES   (64u << 20) /* the longest EventBatch in a file */
#define QUERIES_MAX     1000u
#define RETRY_MS_MAX    (2u * 60 * 1000)
#define CONNECTIONS_MAX 256u

struct load {
    const char *server, *dataset, *form;
    uint64_t connections, askers, seconds, rounds, batch_lines;
    bool is_cache_on;
    bool is_proto; /* the generator's form */
    struct gen_args gen;
    bool has_gen;
    struct arg_list files;

    /* events: written by the reader and under the uploader's lock */
    struct latencies ingest_latencies;
    struct uploader_counts counts;
    uint64_t ingest_refusals; /* 429, 503 and lost connections; each was tried again */
    uint64_t ingest_us;
    struct err ingest_err;
    enum err_code ingest_code;

    /* questions */
    struct buf queries_text;
    struct str queries[QUERIES_MAX];
    uint32_t query_count;
    _Atomic uint64_t next_query;
    _Atomic bool has_ended;
    uint64_t deadline_us;
};

/* ---- events ---- */

static void on_answer(void *arg, int status, uint64_t elapsed_us)
{
    struct load *load = arg;
    latencies_add(&load->ingest_latencies, elapsed_us);
    load->ingest_refusals += status < 200 || status > 299;
}

static enum err_code send_lines(struct uploader *uploader, struct batcher *batcher,
                                struct str chunk, struct err *err)
{
    while (chunk.len > 0) {
        enum batcher_event event = batcher_feed(batcher, &chunk);
        struct batch batch = {0};
        if (event == BATCHER_BATCH) {
            ERR_TRY(batcher_take(batcher, &batch, err));
            ERR_TRY(uploader_put(uploader, &batch, 0, err));
        } else if (event == BATCHER_TOO_LONG) {
            return err_set(err, ERR_LIMIT, "line %" PRIu64 " is longer than %u bytes",
                           batcher->skipped_line, MESSAGE_BYTES);
        }
    }
    return ERR_OK;
}

static enum err_code send_last_lines(struct uploader *uploader, struct batcher *batcher,
                                     struct err *err)
{
    struct batch batch = {0};
    if (!batcher_end(batcher)) {
        return ERR_OK;
    }
    ERR_TRY(batcher_take(batcher, &batch, err));
    return uploader_put(uploader, &batch, 0, err);
}

/* Send the whole messages at the front of `bytes`, and keep the rest there. */
static enum err_code send_messages(struct uploader *uploader, struct buf *bytes, struct err *err)
{
    size_t used = 0;
    for (;;) {
        struct rd rd = rd_init((struct str){(const char *)bytes->ptr + used, bytes->len - used});
        uint64_t len = rd_varint(&rd);
        if (!rd.is_bad && len > MESSAGE_BYTES) {
            return err_set(err, ERR_INVALID, "a message of %" PRIu64 " bytes, the limit is %u", len,
                           MESSAGE_BYTES);
        }
        struct str message = rd_bytes(&rd, len);
        if (rd.is_bad) { /* not all of it is here yet */
            break;
        }
        struct batch batch = {.first_line = 1, .line_count = 1};
        buf_str(&batch.bytes, message);
        ERR_TRY(buf_check(&batch.bytes, err));
        ERR_TRY(uploader_put(uploader, &batch, 0, err));
        used += rd.off;
    }
    memmove(bytes->ptr, bytes->ptr + used, bytes->len - used);
    bytes->len -= used;
    return ERR_OK;
}

static enum err_code send_file(struct load *load, struct uploader *uploader,
                               struct batcher *batcher, const char *path, struct err *err)
{
    CLEANUP(input_closep) struct input *input = NULL;
    CLEANUP(buf_freep) struct buf bytes = {0};
    ERR_TRY(input_open(path, &input, err));
    for (;;) {
        size_t len = 0;
        char *at = (char *)buf_reserve(&bytes, CHUNK_BYTES);
        ERR_TRY(buf_check(&bytes, err));
        ERR_TRY(input_read(input, at, CHUNK_BYTES, &len, err));
        bytes.len += len;
        if (load->is_proto) {
            ERR_TRY(send_messages(uploader, &bytes, err));
        } else {
            ERR_TRY(send_lines(uploader, batcher, buf_as_str(&bytes), err));
            buf_clear(&bytes);
        }
        if (len == 0) {
            return load->is_proto && bytes.len > 0
                       ? err_set(err, ERR_CORRUPT, "\"%s\" ends inside a message", path)
                       : send_last_lines(uploader, batcher, err);
        }
    }
}

static enum err_code send_generated(struct load *load, struct uploader *uploader,
                                    struct batcher *batcher, struct err *err)
{
    CLEANUP(event_gen_freep) struct event_gen *gen = NULL;
    CLEANUP(event_writer_freep) struct event_writer *writer = NULL;
    CLEANUP(buf_freep) struct buf bytes = {0};
    struct gen_opts opts = gen_args_opts(&load->gen);
    size_t count = 1;
    ERR_TRY(event_gen_create(&opts, &gen, err));
    ERR_TRY(event_writer_create(gen, load->is_proto ? FORMAT_PROTO : FORMAT_NDJSON, &writer, err));
    while (count > 0) {
        const struct gen_event *rows = NULL;
        ERR_TRY(event_gen_next(gen, &rows, &count, err));
        event_writer_rows(writer, rows, count, &bytes);
        if (count == 0) {
            event_writer_end(writer, &bytes);
        }
        ERR_TRY(buf_check(&bytes, err));
        if (load->is_proto) {
            ERR_TRY(send_messages(uploader, &bytes, err));
        } else {
            ERR_TRY(send_lines(uploader, batcher, buf_as_str(&bytes), err));
            buf_clear(&bytes);
        }
    }
    return send_last_lines(uploader, batcher, err);
}

static enum err_code send_all(struct load *load, struct err *err)
{
    CLEANUP(uploader_freep) struct uploader *uploader = NULL;
    CLEANUP(batcher_done) struct batcher batcher;
    const struct batcher_opts batching = {
        .bytes_max = 8u << 20, .lines_max = load->batch_lines, .line_bytes_max = MESSAGE_BYTES};
    const struct uploader_opts opts = {
        .server_url = load->server,
        .dataset = load->dataset,
        .content_type = load->is_proto ? "application/x-protobuf" : "application/x-ndjson",
        .connections = (uint32_t)load->connections,
        .retry_ms_max = RETRY_MS_MAX,
        .arg = load,
        .on_answer = on_answer,
    };
    struct err sent;
    enum err_code code = ERR_OK;
    batcher_init(&batcher, &batching);
    ERR_TRY(uploader_create(&opts, &uploader, err));
    if (load->has_gen) {
        code = send_generated(load, uploader, &batcher, err);
    }
    for (uint32_t i = 0; i < load->files.count && code == ERR_OK; i++) {
        batcher_done(&batcher);
        batcher_init(&batcher, &batching);
        code = send_file(load, uploader, &batcher, load->files.items[i], err);
    }
    enum err_code sent_code = uploader_finish(uploader, &load->counts, &sent);
    if (code == ERR_OK && sent_code != ERR_OK) {
        *err = sent;
        code = sent_code;
    }
    return code;
}

static void *ingest_main(void *arg)
{
    struct load *load = arg;
    uint64_t begin_us = clock_mono_us();
    load->ingest_code = send_all(load, &load->ingest_err);
    load->ingest_us = clock_mono_us() - begin_us;
    return NULL;
}

/* ---- questions ---- */

struct asker {
    struct load *load;
    struct latencies *latencies; /* one for each query */
    uint64_t answers;
    uint64_t refused; /* 429, 503 */
    uint64_t failed;
    struct err first_err;
    pthread_t thread;
};

/* One query per line; empty lines and those that start with # are left out. */
static enum err_code queries_read(struct load *load, const char *path, struct err *err)
{
    CLEANUP(input_closep) struct input *input = NULL;
    size_t len = 1;
    ERR_TRY(input_open(path, &input, err));
    while (len > 0) {
        char *at = (char *)buf_reserve(&load->queries_text, CHUNK_BYTES);
        ERR_TRY(buf_check(&load->queries_text, err));
        ERR_TRY(input_read(input, at, CHUNK_BYTES, &len, err));
        load->queries_text.len += len;
    }
    struct str rest = buf_as_str(&load->queries_text);
    while (rest.len > 0) {
        const char *newline = memchr(rest.ptr, '\n', rest.len);
        size_t line = newline == NULL ? rest.len : (size_t)(newline - rest.ptr);
        if (line > 0 && rest.ptr[0] != '#') {
            if (load->query_count == QUERIES_MAX) {
                return err_set(err, ERR_LIMIT, "\"%s\": more than %u queries", path, QUERIES_MAX);
            }
            load->queries[load->query_count++] = (struct str){rest.ptr, line};
        }
        size_t used = line + (newline != NULL);
        rest = (struct str){rest.ptr + used, rest.len - used};
    }
    return load->query_count > 0 ? ERR_OK : err_set(err, ERR_INVALID, "\"%s\" has no query", path);
}

/* The next query to ask; false at the end of the run. */
static bool next_query(struct load *load, uint32_t *ret_idx)
{
    uint64_t n = atomic_fetch_add_explicit(&load->next_query, 1, memory_order_relaxed);
    bool is_over = load->rounds > 0 ? n >= load->rounds * load->query_count
                                    : clock_mono_us() >= load->deadline_us;
    *ret_idx = (uint32_t)(n % load->query_count);
    return !is_over && !atomic_load_explicit(&load->has_ended, memory_order_relaxed);
}

static void *asker_main(void *arg)
{
    struct asker *asker = arg;
    struct load *load = asker->load;
    struct err err;
    uint32_t idx = 0;
    CLEANUP(api_freep) struct api *api = NULL;
    if (api_create(load->server, &api, &err) != ERR_OK) {
        asker->failed++;
        asker->first_err = err;
        return NULL;
    }
    while (next_query(load, &idx)) {
        struct str body = {0};
        const struct api_query query = {
            .dataset = load->dataset,
            .format = load->form,
            .text = load->queries[idx],
            .is_cache_off = !load->is_cache_on,
        };
        uint64_t begin_us = clock_mono_us();
        enum err_code code = api_query(api, &query, &body, &err);
        uint64_t elapsed_us = clock_mono_us() - begin_us;
        if (code == ERR_OK) {
            latencies_add(&asker->latencies[idx], elapsed_us);
            asker->answers++;
        } else if (api_status(api) == 429 || api_status(api) == 503) {
            asker->refused++;
            usleep(10000); /* the server is full: a real client would wait longer */
        } else {
            if (asker->failed++ == 0) {
                asker->first_err = err;
            }
            if (api_status(api) == 0) { /* nobody there: no point in going on */
                atomic_store_explicit(&load->has_ended, true, memory_order_relaxed);
            }
        }
    }
    return NULL;
}

/* ---- figures ---- */

static void figures_print(const char *what, struct str label, struct latencies *latencies,
                          double per_second, bool is_json, struct buf *out)
{
    static const struct {
        const char *name;
        double percent;
    } PERCENTILES[] = {{"p50", 50}, {"p90", 90}, {"p95", 95}, {"p99", 99}, {"max", 100}};
    latencies_sort(latencies);
    if (is_json) {
        buf_printf(out, "{\"what\":\"%s\",\"name\":", what);
        json_text(label, out);
        buf_printf(out, ",\"requests\":%zu,\"per_second\":%.1f", latencies->count, per_second);
    } else {
        buf_printf(out, "%s,\"", what);
        for (size_t i = 0; i < label.len; i++) { /* RFC 4180 */
            buf_append(out, label.ptr + i, 1);
            buf_z(out, label.ptr[i] == '"' ? "\"" : "");
        }
        buf_printf(out, "\",%zu,%.1f", latencies->count, per_second);
    }
    for (size_t i = 0; i < COUNT_OF(PERCENTILES); i++) {
        double ms = (double)latencies_percentile(latencies, PERCENTILES[i].percent) / 1000;
        if (is_json) {
            buf_printf(out, ",\"%s_ms\":%.3f", PERCENTILES[i].name, ms);
        } else {
            buf_printf(out, ",%.3f", ms);
        }
    }
    buf_z(out, is_json ? "}\n" : "\n");
}

static int ingest_report(struct load *load, bool is_json, struct buf *out)
{
    const struct uploader_counts *counts = &load->counts;
    uint64_t events = counts->accepted + counts->duplicate + counts->rejected + counts->conflict;
    double seconds = (double)MAX_OF(load->ingest_us, UINT64_C(1)) / 1e6;
    figures_print("ingest", str_of(load->dataset), &load->ingest_latencies,
                  (double)load->ingest_latencies.count / seconds, is_json, out);
    fprintf(stderr,
            "events: %.0f/s (%" PRIu64 " in %.2f s over %" PRIu64
            " connections, %.1f MB/s): accepted "
            "%" PRIu64 ", duplicate %" PRIu64 ", rejected %" PRIu64 ", conflict %" PRIu64
            "; sent again %" PRIu64 "\n",
            (double)events / seconds, events, seconds, load->connections,
            (double)counts->bytes / 1e6 / seconds, counts->accepted, counts->duplicate,
            counts->rejected, counts->conflict, load->ingest_refusals);
    return load->ingest_code == ERR_OK ? 0 : bench_fail(&load->ingest_err, 1);
}

/* Is every connection served alike? The fewest and the most answers that one of them got. */
static void fairness_report(const struct load *load, const struct asker *askers, bool is_json,
                            struct buf *out)
{
    struct latencies answers = {
        0}; /* samples are counts here: it sorts them and finds the middle */
    for (uint64_t a = 0; a < load->askers; a++) {
        latencies_add(&answers, askers[a].answers);
    }
    latencies_sort(&answers);
    uint64_t fewest = latencies_percentile(&answers, 0);
    uint64_t middle = latencies_percentile(&answers, 50);
    uint64_t most = latencies_percentile(&answers, 100);
    fprintf(stderr, "answers of one connection: %" PRIu64 " to %" PRIu64 ", median %" PRIu64 "\n",
            fewest, most, middle);
    if (is_json) {
        buf_printf(out,
                   "{\"what\":\"connections\",\"count\":%" PRIu64 ",\"fewest\":%" PRIu64
                   ",\"median\":%" PRIu64 ",\"most\":%" PRIu64 "}\n",
                   load->askers, fewest, middle, most);
    }
    latencies_done(&answers);
}

static int query_report(struct load *load, struct asker *askers, double seconds, bool is_json,
                        struct buf *out)
{
    struct latencies all = {0};
    uint64_t refused = 0;
    uint64_t failed = 0;
    int exit = 0;
    for (uint32_t q = 0; q < load->query_count; q++) {
        struct latencies merged = {0};
        for (uint64_t a = 0; a < load->askers; a++) {
            latencies_merge(&merged, &askers[a].latencies[q]);
        }
        figures_print("query", load->queries[q], &merged, (double)merged.count / seconds, is_json,
                      out);
        latencies_merge(&all, &merged);
        latencies_done(&merged);
    }
    figures_print("queries", STR("all"), &all, (double)all.count / seconds, is_json, out);
    for (uint64_t a = 0; a < load->askers; a++) {
        refused += askers[a].refused;
        if (askers[a].failed > 0 && exit == 0) {
            exit = bench_fail(&askers[a].first_err, 1);
        }
        failed += askers[a].failed;
    }
    fprintf(stderr,
            "queries: %.1f/s (%zu in %.2f s over %" PRIu64 " connections); refused as busy %" PRIu64
            ", failed %" PRIu64 "\n",
            (double)all.count / seconds, all.count, seconds, load->askers, refused, failed);
    fairness_report(load, askers, is_json, out);
    latencies_done(&all);
    return exit;
}

/* Askers run; the events beside them, if there are any. */
static enum err_code run_askers(struct load *load, bool is_json, struct buf *out, int *ret_exit,
                                struct err *err)
{
    uint64_t begin_us = clock_mono_us();
    uint64_t started = 0;
    struct latencies *latencies = calloc(load->askers * load->query_count, sizeof(*latencies));
    struct asker *askers = calloc(load->askers, sizeof(*askers));
    enum err_code code = ERR_OK;
    if (latencies == NULL || askers == NULL) {
        code = err_set(err, ERR_NOMEM, "out of memory: %" PRIu64 " connections", load->askers);
    }
    load->deadline_us = begin_us + load->seconds * 1000000;
    for (; code == ERR_OK && started < load->askers; started++) {
        askers[started].load = load;
        askers[started].latencies = latencies + started * load->query_count;
        int errnum = pthread_create(&askers[started].thread, NULL, asker_main, &askers[started]);
        if (errnum != 0) {
            code = err_set_errno(err, errnum, "starting connection %" PRIu64, started + 1);
            break;
        }
    }
    if (code != ERR_OK) {
        atomic_store_explicit(&load->has_ended, true, memory_order_relaxed);
    }
    for (uint64_t i = 0; i < started; i++) {
        pthread_join(askers[i].thread, NULL);
    }
    if (code == ERR_OK) {
        double seconds = (double)(clock_mono_us() - begin_us) / 1e6;
        *ret_exit = query_report(load, askers, seconds, is_json, out);
    }
    for (uint64_t i = 0; latencies != NULL && i < load->askers * load->query_count; i++) {
        latencies_done(&latencies[i]);
    }
    free(latencies);
    free(askers);
    return code;
}

static enum err_code run(struct load *load, bool is_json, int *ret_exit, struct err *err)
{
    CLEANUP(buf_freep) struct buf out = {0};
    bool has_events = load->has_gen || load->files.count > 0;
    pthread_t ingest_thread;
    enum err_code code = ERR_OK;
    if (!is_json) {
        buf_z(&out, "what,name,requests,per_second,p50_ms,p90_ms,p95_ms,p99_ms,max_ms\n");
    }
    if (has_events) {
        int errnum = pthread_create(&ingest_thread, NULL, ingest_main, load);
        if (errnum != 0) {
            return err_set_errno(err, errnum, "starting the thread that sends");
        }
    }
    if (load->query_count > 0) {
        code = run_askers(load, is_json, &out, ret_exit, err);
    }
    if (has_events) {
        pthread_join(ingest_thread, NULL);
        *ret_exit |= ingest_report(load, is_json, &out);
    }
    if (code == ERR_OK) {
        code = buf_check(&out, err);
    }
    bench_write(STDOUT_FILENO, buf_as_str(&out));
    return code;
}

static int load_check(const struct load *load, const char *queries, struct err *err)
{
    if (!load->has_gen && load->files.count == 0 && queries == NULL) {
        err_set(err, ERR_INVALID, "nothing to do: --ingest FILE, --events N, or --queries FILE");
        return bench_fail(err, 2);
    }
    if (load->has_gen && load->files.count > 0) {
        err_set(err, ERR_INVALID, "--events and --ingest: events come from one of the two");
        return bench_fail(err, 2);
    }
    return 0;
}

static bool is_given(int argc, char *const *argv, const char *option)
{
    size_t len = strlen(option);
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], option, len) == 0 && (argv[i][len] == '\0' || argv[i][len] == '=')) {
            return true;
        }
    }
    return false;
}

int bench_load(int argc, char *const *argv)
{
    static struct load load; /* large, and one per process */
    static struct arg_list operands;
    const char *queries = NULL;
    const char *output = "csv";
    const char *format = "ndjson";
    struct err err;
    int exit = 0;
    load.server =
        getenv("TRACKWAY_SERVER") != NULL ? getenv("TRACKWAY_SERVER") : "http://127.0.0.1:7717";
    load.dataset = "bench";
    load.form = "json";
    load.connections = 2;
    load.askers = 1;
    load.seconds = 10;
    load.batch_lines = 10000;
    load.gen = gen_args_default();
    const struct arg_option options[] = {
        {.name = "server",
         .value_name = "URL",
         .sentence = "the server (http://127.0.0.1:7717)",
         .text = &load.server},
        {.name = "dataset",
         .value_name = "NAME",
         .sentence = "the data set (bench)",
         .text = &load.dataset},
        {.name = "ingest",
         .value_name = "FILE",
         .sentence = "send this file; again for more",
         .list = &load.files},
        {.name = "format",
         .value_name = "F",
         .sentence = "of the events: ndjson or proto (ndjson)",
         .text = &format},
        {.name = "connections",
         .value_name = "N",
         .sentence = "that send (2)",
         .count = &load.connections,
         .min = 1,
         .max = UPLOADER_CONNECTIONS_MAX},
        {.name = "batch-lines",
         .value_name = "N",
         .sentence = "lines per body (10000)",
         .count = &load.batch_lines,
         .min = 1,
         .max = 1e7},
        {.name = "queries",
         .value_name = "FILE",
         .sentence = "ask these, one per line",
         .text = &queries},
        {.name = "askers",
         .value_name = "N",
         .sentence = "connections that ask (1)",
         .count = &load.askers,
         .min = 1,
         .max = CONNECTIONS_MAX},
        {.name = "seconds",
         .value_name = "N",
         .sentence = "how long to ask (10)",
         .count = &load.seconds,
         .min = 1,
         .max = 1e6},
        {.name = "rounds",
         .value_name = "N",
         .sentence = "ask every query so often instead",
         .count = &load.rounds,
         .min = 1,
         .max = 1e9},
        {.name = "cache",
         .sentence = "let the server use its result caches",
         .flag = &load.is_cache_on},
        {.name = "output",
         .value_name = "F",
         .sentence = "csv or json lines (csv)",
         .text = &output},
        GEN_ARG_OPTIONS(&load.gen),
    };
    const struct arg_command command = {
        .name = "trackway-bench load",
        .sentence = "load on a server, and what it made of it; --events N sends generated events",
        .usage = "[--events N | --ingest FILE] [--queries FILE] [OPTIONS]",
        .options = options,
        .option_count = COUNT_OF(options),
        .examples =
            "Figures go to standard output, a summary to standard error.\n\n"
            "  trackway-bench load --dataset bench --events 100000 --connections 4\n"
            "  trackway-bench load --dataset bench --events 100000 --seed 2 --format proto\n"
            "  echo 'trend users(any) each day' | trackway-bench load --dataset bench --queries - "
            "--seconds 2\n",
    };
    if (!bench_parse(&command, argc, argv, &operands, &exit)) {
        return exit;
    }
    load.has_gen = is_given(argc, argv, "--events");
    load.is_proto = strcmp(format, "proto") == 0;
    if ((!load.is_proto && strcmp(format, "ndjson") != 0) || operands.count > 0 ||
        (strcmp(output, "csv") != 0 && strcmp(output, "json") != 0)) {
        err_set(&err, ERR_INVALID, "\"%.100s\": see trackway-bench load --help",
                operands.count > 0                                ? operands.items[0]
                : !load.is_proto && strcmp(format, "ndjson") != 0 ? format
                                                                  : output);
        return bench_fail(&err, 2);
    }
    exit = load_check(&load, queries, &err);
    if (exit != 0) {
        return exit;
    }
    if ((queries != NULL && queries_read(&load, queries, &err) != ERR_OK) ||
        run(&load, strcmp(output, "json") == 0, &exit, &err) != ERR_OK) {
        exit = bench_fail(&err, 1);
    }
    buf_done(&load.queries_text);
    latencies_done(&load.ingest_latencies);
    return exit;
}
