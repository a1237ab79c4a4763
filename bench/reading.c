/* bench/reading.c - reading, cold and hot: build/bench/reading queries FOLDER DATASET [ROUNDS [QUESTION]]
 *                                          build/bench/reading sections FILE [ROUNDS]
 *
 * queries: what a question costs when nothing of the data is in memory, when all is in the kernel's
 * page cache only (`paged`), and when it is in the block cache. In this process, over the segments of a
 * data folder that no server has open; before each cold question the segments are opened anew, over
 * an empty block cache, and the pages of all files are dropped. `device` is what the kernel fetched
 * for it, `touched` the sections that the question read, one that was read twice counted twice,
 * `loaded` its blocks that came from the file.
 *
 * sections: 4 KiB, 64 KiB, 256 KiB and 1 MiB at random places of one file (a few hundred MB; no
 * matter what), and 1 MiB one after the other, by every way there is: pread one by one, a batch on
 * the ring, mmap; through the page cache and past it (O_DIRECT); cold and hot.
 *
 * Medians of ROUNDS (5); of questions also the least, and the least CPU time of all threads: on a busy
 * machine these say more.
 */
#include "query/query.h"
#include "storage/base/clock.h"
#include "storage/base/io.h"
#include "storage/base/rng.h"
#include "storage/base/size.h"
#include "storage/segment.h"
#include "storage/store.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS_MAX   99u
#define BATCH        64u
#define SECTIONS_MAX 4096u
#define ALIGN        4096u
#define BYTES_EACH   (128u << 20) /* of a round over sections, at most */

static const struct {
    const char *name, *text;
} questions[] = {
    {"distinct users per day", "distinct user of any each day"},
    {"funnel of 5 steps",
     "funnel session_start -> view_item -> add_to_cart -> place_order -> pay_success within 7d"},
    {"sum(amount of pay_success) per day", "trend sum(amount of pay_success) each day"},
    {"count by platform per day, all rows", "trend count(any) each day by platform"},
    {"rows of one user", "events any where user_id = \"u_12345\" limit 100"},
};

static void die(const struct err *err)
{
    fprintf(stderr, "reading: %s\n", err->message);
    exit(1);
}

/* ---- what the kernel did ---- */

/* Bytes that this process made the kernel fetch from the device, read-ahead included. */
static uint64_t device_bytes(void)
{
    char line[128];
    uint64_t bytes = 0;
    FILE *file = fopen("/proc/self/io", "re");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "read_bytes: %" SCNu64, &bytes) == 1) {
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return bytes;
}

static void drop_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fdatasync(fd); /* dirty pages are not dropped */
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        (void)close(fd);
    }
}

static void warm_file(const char *path)
{
    static char bytes[1 << 20];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && read(fd, bytes, sizeof(bytes)) > 0) {
    }
    if (fd >= 0) {
        (void)close(fd);
    }
}

/* Every file below a folder. */
static void each_file(const char *folder, void (*fn)(const char *path))
{
    DIR *dir = opendir(folder);
    struct dirent *entry = NULL;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        char path[4096];
        if (entry->d_name[0] == '.' ||
            snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name) >= (int)sizeof(path)) {
            continue;
        }
        if (entry->d_type == DT_DIR) {
            each_file(path, fn);
        } else {
            fn(path);
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, uint32_t count)
{
    qsort(values, count, sizeof(*values), compare_doubles);
    return values[count / 2];
}

/* ---- queries ---- */

/* The store is opened once; for each cold question its segments are opened anew, over an empty
 * block cache. */
struct place {
    const char *folder;
    struct store *store;
    struct dataset *dataset;
    struct snapshot *whole; /* the data set's own */
    struct pool *pool;
    struct io *io;
    struct block_cache *cache;
    struct segment **segments;
    struct snapshot fresh; /* as `whole`, of `segments` */
};

static void place_open(struct place *place, const char *folder, const char *dataset)
{
    struct err err = {0};
    struct store_opts opts;
    struct recovery_report report;
    store_opts_default(&opts);
    opts.compact_in_background = false;
    opts.is_read_only = true;
    uint32_t threads = (uint32_t)MAX_OF(sysconf(_SC_NPROCESSORS_ONLN), 1);
    place->folder = folder;
    if (store_open(folder, &opts, &place->store, &report, &err) != ERR_OK ||
        store_dataset(place->store, str_of(dataset), false, &place->dataset, &err) != ERR_OK ||
        dataset_snapshot(place->dataset, &place->whole, &err) != ERR_OK ||
        io_create(IO_AUTO, &place->io, &err) != ERR_OK ||
        pool_create(threads, IO_AUTO, "query", &place->pool, &err) != ERR_OK) {
        die(&err);
    }
    uint32_t count = place->whole->source_count;
    place->segments = calloc((size_t)count + 1, sizeof(*place->segments));
    place->fresh = *place->whole;
    place->fresh.sources = calloc((size_t)count + 1, sizeof(*place->fresh.sources));
    if (place->segments == NULL || place->fresh.sources == NULL) {
        exit(1);
    }
    each_file(folder, drop_file); /* what is dirty is written now, and not beside a question */
}

/* Nothing of the segments in this process. */
static void place_forget(struct place *place)
{
    for (uint32_t i = 0; i < place->whole->source_count; i++) {
        segment_close(TAKE(place->segments[i]));
    }
    block_cache_free(TAKE(place->cache));
}

static void place_renew(struct place *place)
{
    struct err err = {0};
    place_forget(place);
    if (block_cache_create((size_t)1 << 30, &place->cache, &err) != ERR_OK) {
        die(&err);
    }
    for (uint32_t i = 0; i < place->whole->source_count; i++) {
        const struct source *source = place->whole->sources[i];
        if (source->is_memory) {
            place->fresh.sources[i] = source;
            continue;
        }
        const struct segment *segment = (const struct segment *)(const void *)source;
        if (segment_open(place->io, segment_path(segment), place->whole->schema, place->cache,
                         source->id, &place->segments[i], &err) != ERR_OK) {
            die(&err);
        }
        place->fresh.sources[i] = segment_source(place->segments[i]);
    }
}

static void place_close(struct place *place)
{
    place_forget(place);
    free(place->segments);
    free(place->fresh.sources);
    snapshot_unpin(place->whole);
    pool_free(place->pool);
    io_free(place->io);
    store_abandon(place->store);
}

struct cost {
    double ms, cpu_ms;
    uint64_t device_bytes, touched_bytes, blocks_loaded;
};

/* Of all threads of this process. */
static double cpu_ms(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static struct cost ask(struct place *place, const char *text)
{
    struct err err = {0};
    CLEANUP(result_freep) struct result *result = NULL;
    const struct query_request request = {.text = str_of(text), .now_ms = clock_wall_ms()};
    uint64_t device = device_bytes();
    double cpu = cpu_ms();
    uint64_t began_us = clock_mono_us();
    if (query_run(&place->fresh, place->pool, place->io, &request, &result, &err) != ERR_OK) {
        die(&err);
    }
    return (struct cost){
        .ms = (double)(clock_mono_us() - began_us) / 1000,
        .cpu_ms = cpu_ms() - cpu,
        .device_bytes = device_bytes() - device,
        .touched_bytes = result->meta.bytes_read,
        .blocks_loaded = result->meta.blocks_loaded,
    };
}

enum state { STATE_COLD, STATE_PAGED, STATE_HOT, STATES };

static void time_question(struct place *place, uint32_t which, uint32_t rounds)
{
    double ms[STATES][ROUNDS_MAX];
    double cpu[STATES][ROUNDS_MAX];
    const char *text = questions[which].text;
    struct cost cold = {0};
    for (uint32_t i = 0; i < rounds; i++) {
        for (enum state state = STATE_COLD; state < STATES; state++) {
            if (state != STATE_HOT) {
                place_renew(place);
                each_file(place->folder, state == STATE_COLD ? drop_file : warm_file);
            }
            struct cost cost = ask(place, text);
            ms[state][i] = cost.ms;
            cpu[state][i] = cost.cpu_ms;
            cold = state == STATE_COLD ? cost : cold;
        }
    }
    printf("%-34s", questions[which].name);
    for (enum state state = STATE_COLD; state < STATES; state++) {
        double middle = median(ms[state], rounds); /* and in order from now on */
        (void)median(cpu[state], rounds);
        printf(" %7.1f %6.1f %6.1f ", middle, ms[state][0], cpu[state][0]);
    }
    printf(" %7.1f %7.1f %7" PRIu64 "\n", (double)cold.device_bytes / 1e6,
           (double)cold.touched_bytes / 1e6, cold.blocks_loaded);
    fflush(stdout);
}

/* All questions, or the one numbered `only` from 1. */
static int bench_queries(const char *folder, const char *dataset, uint32_t rounds, uint32_t only)
{
    struct place place = {0};
    place_open(&place, folder, dataset);
    printf("%-34s %-23s %-23s %-23s %7s %7s %7s\n", "ms: median, least, least CPU", "cold", "paged",
           "hot", "device", "touched", "loaded");
    for (uint32_t i = 0; i < COUNT_OF(questions); i++) {
        if (only == 0 || only == i + 1) {
            time_question(&place, i, rounds);
        }
    }
    place_close(&place);
    return 0;
}

/* ---- sections ---- */

enum way { WAY_PREAD, WAY_RING, WAY_MMAP };

/* Past the page cache the server does not read, so struct io cannot: plain calls. */
struct direct {
    int fd; /* -1: not this */
    struct io_uring ring;
};

struct sections {
    const char *path;
    size_t bytes; /* of one */
    uint32_t count;
    uint64_t offs[SECTIONS_MAX];
    uint8_t *out; /* count x bytes, aligned */
};

static void sections_place(struct sections *s, uint64_t file_bytes, bool is_random)
{
    struct rng rng = rng_init(1);
    uint64_t slots = file_bytes / s->bytes;
    s->count = (uint32_t)MIN_OF(MIN_OF(slots, BYTES_EACH / s->bytes), SECTIONS_MAX);
    for (uint32_t i = 0; i < s->count; i++) {
        /* One out of each of `count` stretches of the file, and these shuffled: no place twice. */
        uint64_t begin = slots * i / s->count;
        uint64_t end = slots * (i + 1) / s->count;
        s->offs[i] = (is_random ? begin + rng_below(&rng, end - begin) : i) * s->bytes;
    }
    for (uint32_t i = s->count; is_random && i > 1; i--) {
        uint32_t k = (uint32_t)rng_below(&rng, i);
        uint64_t off = s->offs[k];
        s->offs[k] = s->offs[i - 1];
        s->offs[i - 1] = off;
    }
}

static void read_mapped(const struct sections *s, struct io_file *file, uint64_t file_bytes)
{
    struct err err = {0};
    void *map = NULL;
    if (io_map(file, 0, file_bytes, false, NULL, &map, &err) != ERR_OK) {
        die(&err);
    }
    for (uint32_t i = 0; i < s->count; i++) {
        memcpy(s->out + i * s->bytes, (const uint8_t *)map + s->offs[i], s->bytes);
    }
    (void)munmap(map, file_bytes);
}

static void direct_must(bool is_good)
{
    if (!is_good) {
        perror("reading: past the page cache");
        exit(1);
    }
}

static void read_direct(const struct sections *s, enum way way, struct direct *direct)
{
    if (way == WAY_PREAD) {
        for (uint32_t i = 0; i < s->count; i++) {
            direct_must(pread(direct->fd, s->out + i * s->bytes, s->bytes, (off_t)s->offs[i]) ==
                        (ssize_t)s->bytes);
        }
        return;
    }
    for (uint32_t next = 0, done = 0; done < s->count;) {
        for (; next < s->count && next < done + BATCH; next++) {
            struct io_uring_sqe *sqe = io_uring_get_sqe(&direct->ring);
            direct_must(sqe != NULL);
            io_uring_prep_read(sqe, direct->fd, s->out + next * s->bytes, (unsigned)s->bytes,
                               s->offs[next]);
        }
        direct_must(io_uring_submit_and_wait(&direct->ring, 1) >= 0);
        struct io_uring_cqe *cqe = NULL;
        while (io_uring_peek_cqe(&direct->ring, &cqe) == 0) {
            direct_must(cqe->res == (int)s->bytes);
            io_uring_cqe_seen(&direct->ring, cqe);
            done++;
        }
    }
}

static void read_by(const struct sections *s, enum way way, struct io *io, struct io_file *file,
                    uint64_t file_bytes)
{
    struct err err = {0};
    struct io_read_req reqs[BATCH];
    if (way == WAY_MMAP) {
        read_mapped(s, file, file_bytes);
        return;
    }
    for (uint32_t first = 0; first < s->count; first += BATCH) {
        uint32_t count = MIN_OF(BATCH, s->count - first);
        for (uint32_t i = 0; i < count; i++) {
            reqs[i] = (struct io_read_req){.file = file,
                                           .off = s->offs[first + i],
                                           .len = s->bytes,
                                           .out = s->out + (first + i) * s->bytes};
        }
        if (io_read_batch(io, reqs, count, &err) != ERR_OK) {
            die(&err);
        }
    }
}

/* `direct` NULL: by struct io, the file opened as `mode` says. */
static void time_way(struct sections *s, const char *label, enum way way, enum io_mode mode,
                     struct direct *direct, uint64_t file_bytes, uint32_t rounds)
{
    struct err err = {0};
    CLEANUP(io_freep) struct io *io = NULL;
    CLEANUP(io_closep) struct io_file *file = NULL;
    double cold[ROUNDS_MAX];
    double hot[ROUNDS_MAX];
    double device = 0;
    if (io_create(way == WAY_RING ? IO_AUTO : IO_POSIX, &io, &err) != ERR_OK ||
        io_open(io, s->path, mode, &file, &err) != ERR_OK) {
        die(&err);
    }
    double mb = (double)s->count * (double)s->bytes / 1e6;
    for (uint32_t i = 0; i < 2 * rounds; i++) {
        bool is_cold = i % 2 == 0;
        if (is_cold) {
            drop_file(s->path);
        } else {
            warm_file(s->path);
        }
        uint64_t bytes = device_bytes();
        uint64_t began_us = clock_mono_us();
        if (direct != NULL) {
            read_direct(s, way, direct);
        } else {
            read_by(s, way, io, file, file_bytes);
        }
        double speed = mb * 1e6 / (double)MAX_OF(clock_mono_us() - began_us, 1u);
        if (is_cold) {
            cold[i / 2] = speed;
            device = (double)(device_bytes() - bytes) / 1e6;
        } else {
            hot[i / 2] = speed;
        }
    }
    printf("  %-26s %8.0f %8.0f %10.1f %8.1f\n", label, median(cold, rounds), median(hot, rounds),
           device, mb);
    fflush(stdout);
}

static void time_sections(struct sections *s, const char *what, struct direct *direct,
                          uint64_t file_bytes, uint32_t rounds)
{
    printf("%s\n  %-26s %8s %8s %10s %8s\n", what, "MB/s", "cold", "paged", "device MB", "MB");
    time_way(s, "pread one by one", WAY_PREAD, IO_READ, NULL, file_bytes, rounds);
    time_way(s, "ring", WAY_RING, IO_READ, NULL, file_bytes, rounds);
    time_way(s, "ring, no read-ahead", WAY_RING, IO_READ_PICKED, NULL, file_bytes, rounds);
    time_way(s, "mmap", WAY_MMAP, IO_READ, NULL, file_bytes, rounds);
    if (direct->fd < 0) {
        printf("  no O_DIRECT on this file system, or no ring\n");
        return;
    }
    time_way(s, "pread, O_DIRECT", WAY_PREAD, IO_READ, direct, file_bytes, rounds);
    time_way(s, "ring, O_DIRECT", WAY_RING, IO_READ, direct, file_bytes, rounds);
}

static int bench_sections(const char *path, uint32_t rounds)
{
    static struct sections s;
    static const struct {
        const char *what;
        size_t bytes;
        bool is_random;
    } kinds[] = {
        {"4 KiB, random", 4096, true},
        {"64 KiB, random", 65536, true},
        {"256 KiB, random", 262144, true},
        {"1 MiB, random", 1u << 20, true},
        {"1 MiB, one after the other", 1u << 20, false},
    };
    struct err err = {0};
    CLEANUP(io_freep) struct io *io = NULL;
    CLEANUP(io_closep) struct io_file *file = NULL;
    uint64_t file_bytes = 0;
    if (io_create(IO_POSIX, &io, &err) != ERR_OK ||
        io_open(io, path, IO_READ, &file, &err) != ERR_OK ||
        io_size(io, file, &file_bytes, &err) != ERR_OK) {
        die(&err);
    }
    s.path = path;
    s.out = aligned_alloc(ALIGN, BYTES_EACH);
    if (s.out == NULL || file_bytes < (16u << 20)) {
        fprintf(stderr, "reading: no memory, or a file below 16 MiB\n");
        return 1;
    }
    memset(s.out, 0, BYTES_EACH); /* the pages are there before the clock runs */
    struct direct direct = {.fd = -1};
    bool has_ring = io_uring_queue_init(BATCH, &direct.ring, 0) == 0;
    direct.fd = has_ring ? open(path, O_RDONLY | O_CLOEXEC | O_DIRECT) : -1;
    for (uint32_t i = 0; i < COUNT_OF(kinds); i++) {
        s.bytes = kinds[i].bytes;
        sections_place(&s, file_bytes, kinds[i].is_random);
        time_sections(&s, kinds[i].what, &direct, file_bytes, rounds);
    }
    if (direct.fd >= 0) {
        (void)close(direct.fd);
    }
    if (has_ring) {
        io_uring_queue_exit(&direct.ring);
    }
    free(s.out);
    return 0;
}

int main(int argc, char **argv)
{
    bool is_queries = argc >= 4 && strcmp(argv[1], "queries") == 0;
    bool is_sections = argc >= 3 && strcmp(argv[1], "sections") == 0;
    int at = is_queries ? 4 : 3;
    uint32_t rounds = argc > at ? (uint32_t)strtoul(argv[at], NULL, 10) : 5;
    if ((!is_queries && !is_sections) || rounds == 0 || rounds > ROUNDS_MAX) {
        fprintf(stderr, "usage: reading queries FOLDER DATASET [ROUNDS [QUESTION]]\n"
                        "       reading sections FILE [ROUNDS]\n");
        return 2;
    }
    uint32_t only = argc > at + 1 ? (uint32_t)strtoul(argv[at + 1], NULL, 10) : 0;
    return is_queries ? bench_queries(argv[2], argv[3], rounds, only)
                      : bench_sections(argv[2], rounds);
}
