/* bench/ingest_stages.c - where the time of ingest goes: one thread, no network, made-up events.
 *
 *     ingest-stages --events 1000000 --batch 10000 --format ndjson --dir /tmp/stages
 *     ingest-stages --file events.ndjson --batch 1 --events 20000 --dir /tmp/stages
 *
 * Question: events per second and core, and which stage they are spent in. Bodies are made (or read) before
 * the clock starts. Stages:
 *
 *     parse      body -> batch of events
 *     write      event ids, subjects, columns, log record, write, fdatasync, memtable, publishing
 *     receipts   the answer, with one receipt for each event
 *     free       the batch
 *     flush      memtable -> segments, on this thread and the store's pool, after all batches
 *
 * Each with processor time of this thread and wall time; the difference is waiting for the disk or
 * for other programs. Memory is what the process holds beyond what it held with the bodies made.
 * `perf record -g` on it shows what is below the stages.
 */
#include "bench/event_format.h"
#include "server/ingest_parse.h"
#include "storage/store.h"

#include "storage/base/clock.h"
#include "storage/base/io.h"
#include "storage/base/size.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define FILE_BYTES_MAX ((size_t)8 << 30)

enum stage { STAGE_PARSE, STAGE_WRITE, STAGE_RECEIPTS, STAGE_FREE, STAGE_FLUSH, STAGES };
static const char *const STAGE_NAMES[STAGES] = {
    [STAGE_PARSE] = "parse", [STAGE_WRITE] = "write", [STAGE_RECEIPTS] = "receipts",
    [STAGE_FREE] = "free",   [STAGE_FLUSH] = "flush",
};

struct options {
    uint64_t events;
    uint32_t batch;
    const char *format, *dir, *file;
    bool is_parse_only;
    bool has_counts_only; /* receipts=counts */
    bool is_plain_io;     /* pwrite and fdatasync, not the ring */
};

struct body {
    size_t off, len;
};

struct bodies {
    struct buf bytes;
    struct body *list;
    size_t count, cap;
};

struct times {
    uint64_t cpu_ns[STAGES], wall_ns[STAGES];
    uint64_t events, accepted;
};

static uint64_t clock_ns(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void lap(struct times *times, enum stage stage, uint64_t *cpu_ns, uint64_t *wall_ns)
{
    uint64_t cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    uint64_t wall = clock_ns(CLOCK_MONOTONIC);
    times->cpu_ns[stage] += cpu - *cpu_ns;
    times->wall_ns[stage] += wall - *wall_ns;
    *cpu_ns = cpu;
    *wall_ns = wall;
}

static uint64_t rss_bytes(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file != NULL) {
        if (fscanf(file, "%*u %lu", &pages) != 1) {
            pages = 0;
        }
        fclose(file);
    }
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* ---- bodies ---- */

static enum err_code add_body(struct bodies *bodies, size_t off, size_t len, struct err *err)
{
    if (bodies->count == bodies->cap) {
        size_t cap = MAX_OF(bodies->cap * 2, (size_t)64);
        struct body *grown = realloc(bodies->list, cap * sizeof(*grown));
        if (grown == NULL) {
            return err_set(err, ERR_NOMEM, "no memory for %zu bodies", cap);
        }
        bodies->list = grown;
        bodies->cap = cap;
    }
    bodies->list[bodies->count++] = (struct body){off, len};
    return ERR_OK;
}

/* NDJSON cut into bodies of `batch` lines. */
static enum err_code cut_lines(struct bodies *bodies, const struct options *options,
                               struct err *err)
{
    const char *text = (const char *)bodies->bytes.ptr;
    size_t len = bodies->bytes.len;
    size_t begin = 0;
    uint64_t lines = 0;
    for (size_t at = 0; at < len && lines < options->events;) {
        const char *newline = memchr(text + at, '\n', len - at);
        at = newline == NULL ? len : (size_t)(newline - text) + 1;
        lines++;
        if (lines % options->batch == 0 || at == len || lines == options->events) {
            ERR_TRY(add_body(bodies, begin, at - begin, err));
            begin = at;
        }
    }
    return ERR_OK;
}

/* The writer's protobuf: each message after its length as a varint. */
static enum err_code cut_messages(struct bodies *bodies, struct err *err)
{
    const uint8_t *bytes = bodies->bytes.ptr;
    for (size_t at = 0; at < bodies->bytes.len;) {
        uint64_t len = 0;
        for (uint32_t shift = 0;; shift += 7) {
            uint8_t byte = bytes[at++];
            len |= (uint64_t)(byte & 0x7f) << shift;
            if (byte < 0x80) {
                break;
            }
        }
        ERR_TRY(add_body(bodies, at, (size_t)len, err));
        at += (size_t)len;
    }
    return ERR_OK;
}

static enum err_code make_bodies(const struct options *options, struct bodies *bodies,
                                 struct err *err)
{
    CLEANUP(event_gen_freep) struct event_gen *gen = NULL;
    CLEANUP(event_writer_freep) struct event_writer *writer = NULL;
    bool is_proto = strcmp(options->format, "proto") == 0;
    if (options->file != NULL) {
        CLEANUP(io_freep) struct io *io = NULL;
        ERR_TRY(io_create(IO_AUTO, &io, err));
        ERR_TRY(io_read_file(io, options->file, FILE_BYTES_MAX, &bodies->bytes, err));
        return is_proto ? cut_messages(bodies, err) : cut_lines(bodies, options, err);
    }
    struct gen_opts opts = gen_opts_default();
    opts.events = options->events;
    opts.users = (uint32_t)MAX_OF(options->events / 33, (uint64_t)10);
    ERR_TRY(event_gen_create(&opts, &gen, err));
    ERR_TRY(event_writer_create(gen, is_proto ? FORMAT_PROTO : FORMAT_NDJSON, &writer, err));
    for (size_t count = 1; count > 0;) {
        const struct gen_event *rows = NULL;
        ERR_TRY(event_gen_next(gen, &rows, &count, err));
        if (count > 0) {
            event_writer_rows(writer, rows, count, &bodies->bytes);
        }
    }
    event_writer_end(writer, &bodies->bytes);
    ERR_TRY(buf_check(&bodies->bytes, err));
    return is_proto ? cut_messages(bodies, err) : cut_lines(bodies, options, err);
}

/* ---- the run ---- */

static enum err_code one_body(const struct options *options, struct str body,
                              struct dataset *dataset, struct io *io, struct buf *answer,
                              struct times *times, struct err *err)
{
    struct ingest_opts opts = {.now_ms = clock_wall_ms(), .event_bytes_max = 1u << 20};
    enum ingest_shape shape =
        strcmp(options->format, "proto") == 0 ? INGEST_PROTOBUF : INGEST_NDJSON;
    struct event_batch *batch = NULL;
    uint64_t cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    uint64_t wall_ns = clock_ns(CLOCK_MONOTONIC);
    ERR_TRY(ingest_parse(shape, body, &opts, &batch, err));
    lap(times, STAGE_PARSE, &cpu_ns, &wall_ns);
    times->events += batch->event_count;
    if (dataset != NULL) {
        enum err_code code = dataset_ingest(dataset, batch, io, err);
        lap(times, STAGE_WRITE, &cpu_ns, &wall_ns);
        if (code != ERR_OK) {
            event_batch_free(batch);
            return code;
        }
        times->accepted += ingest_counts(batch).accepted;
    }
    buf_clear(answer);
    ingest_receipts_json(batch, shape, options->has_counts_only ? RECEIPTS_COUNTS : RECEIPTS_ALL,
                         (struct str){"", 0}, answer);
    lap(times, STAGE_RECEIPTS, &cpu_ns, &wall_ns);
    event_batch_free(batch);
    lap(times, STAGE_FREE, &cpu_ns, &wall_ns);
    return buf_check(answer, err);
}

static void print_times(const struct options *options, const struct times *times, uint64_t bytes)
{
    double events = (double)times->events;
    double cpu = 0, wall = 0;
    printf("%s, %" PRIu32 " events per body, %" PRIu64 " events of %.0f bytes, %" PRIu64
           " accepted\n\n",
           options->format, options->batch, times->events, (double)bytes / events, times->accepted);
    printf("%-10s %14s %14s %18s\n", "stage", "cpu ns/event", "wall ns/event", "events/s/core");
    for (int i = 0; i < STAGES; i++) {
        double c = (double)times->cpu_ns[i] / events, w = (double)times->wall_ns[i] / events;
        if (i == STAGE_FLUSH) {
            printf("%-10s %14.0f %14.0f %18.0f  (parse to free)\n", "all", cpu, wall, 1e9 / cpu);
        }
        printf("%-10s %14.0f %14.0f %18.0f\n", STAGE_NAMES[i], c, w, c > 0 ? 1e9 / c : 0);
        cpu += c;
        wall += w;
    }
}

static enum err_code run(const struct options *options, struct err *err)
{
    CLEANUP(io_freep) struct io *io = NULL;
    CLEANUP(buf_freep) struct buf answer = {0};
    struct bodies bodies = {0};
    struct times times = {0};
    struct store *store = NULL;
    struct dataset *dataset = NULL;
    ERR_TRY(make_bodies(options, &bodies, err));
    ERR_TRY(io_create(options->is_plain_io ? IO_POSIX : IO_AUTO, &io, err));
    uint64_t before = rss_bytes();
    if (!options->is_parse_only) {
        struct store_opts opts;
        struct recovery_report report;
        store_opts_default(&opts);
        opts.flush_rows = UINT64_MAX; /* one flush, timed, at the end */
        opts.flush_bytes = opts.memtable_bytes_max = UINT64_MAX;
        opts.compact_in_background = false;
        ERR_TRY(store_open(options->dir, &opts, &store, &report, err));
        ERR_TRY(store_dataset(store, STR("stages"), true, &dataset, err));
    }
    uint64_t bytes = 0;
    enum err_code code = ERR_OK;
    for (size_t i = 0; i < bodies.count && code == ERR_OK; i++) {
        struct str body = {(const char *)bodies.bytes.ptr + bodies.list[i].off, bodies.list[i].len};
        bytes += body.len;
        code = one_body(options, body, dataset, io, &answer, &times, err);
    }
    uint64_t loaded = rss_bytes();
    uint64_t memtable_bytes = 0;
    if (code == ERR_OK && dataset != NULL) {
        struct snapshot *snapshot = NULL;
        memtable_bytes = dataset_stats(dataset).memtable_bytes;
        uint64_t wall_ns = clock_ns(CLOCK_MONOTONIC);
        code = dataset_snapshot(dataset, &snapshot, err);
        if (code == ERR_OK) {
            printf("first snapshot %.1f ms\n", (double)(clock_ns(CLOCK_MONOTONIC) - wall_ns) / 1e6);
            snapshot_unpin(snapshot);
            uint64_t cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
            wall_ns = clock_ns(CLOCK_MONOTONIC);
            code = dataset_flush(dataset, err);
            times.cpu_ns[STAGE_FLUSH] = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_ns;
            times.wall_ns[STAGE_FLUSH] = clock_ns(CLOCK_MONOTONIC) - wall_ns;
        }
    }
    if (code == ERR_OK) {
        double events = (double)times.events;
        print_times(options, &times, bytes);
        printf("\nmemory: %.0f bytes/event held after loading (memtable counts %.0f), %.0f after "
               "the flush\n",
               ((double)loaded - (double)before) / events, (double)memtable_bytes / events,
               ((double)rss_bytes() - (double)before) / events);
    }
    if (store != NULL) {
        struct err closing;
        if (store_close(store, &closing) != ERR_OK && code == ERR_OK) {
            *err = closing;
            code = closing.code;
        }
    }
    free(bodies.list);
    buf_done(&bodies.bytes);
    return code;
}

static bool read_options(int argc, char *const *argv, struct options *ret)
{
    struct options options = {.events = 1000000, .batch = 10000, .format = "ndjson"};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--parse-only") == 0) {
            options.is_parse_only = true;
        } else if (strcmp(argv[i], "--counts") == 0) {
            options.has_counts_only = true;
        } else if (strcmp(argv[i], "--plain-io") == 0) {
            options.is_plain_io = true;
        } else if (value == NULL) {
            return false;
        } else if (strcmp(argv[i], "--events") == 0) {
            options.events = strtoull(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--batch") == 0) {
            options.batch = (uint32_t)strtoul(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--format") == 0) {
            options.format = argv[++i];
        } else if (strcmp(argv[i], "--file") == 0) {
            options.file = argv[++i];
        } else if (strcmp(argv[i], "--dir") == 0) {
            options.dir = argv[++i];
        } else {
            return false;
        }
    }
    if (strcmp(options.format, "proto") == 0) {
        options.batch = FORMAT_PROTO_EVENTS;
    }
    *ret = options;
    return options.batch > 0 && options.events > 0 &&
           (options.dir != NULL || options.is_parse_only);
}

int main(int argc, char **argv)
{
    struct options options;
    struct err err = {0};
    if (!read_options(argc, argv, &options)) {
        fprintf(stderr,
                "usage: ingest-stages (--dir NEW_DIR | --parse-only) [--events N] [--batch N]"
                " [--format ndjson|proto] [--file F] [--counts] [--plain-io]\n");
        return 2;
    }
    if (run(&options, &err) != ERR_OK) {
        fprintf(stderr, "ingest-stages: %s\n", err.message);
        return 1;
    }
    return 0;
}
