/* bench/ids_bench.c - ids-bench [KEYS] [DIR]: what the id directory costs.
 *
 * Data: KEYS (10,000,000) different ids, 16 bytes each ("user-" and eleven digits), all new, in a
 * directory of its own under DIR (/tmp), sealed, flushed and confirmed every 100,000 as a data set
 * does. Question: keys per second, the worst single insert, bytes per key on disk beside the key,
 * memory per key that is the process's own (RssAnon), and how long opening takes after a clean stop
 * and after none. Look-ups: random ones of ids that are there, and of ids that are not. */
#include "storage/base/clock.h"
#include "storage/base/rng.h"
#include "storage/ids.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FLUSH_EVERY 100000u
#define KEY_BYTES   16u
#define LOOKUPS     2000000u
#define OPENINGS    5u
#define BUCKETS     40u

static _Noreturn void die(const struct err *err)
{
    fprintf(stderr, "ids-bench: %s\n", err->message);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Of this process: pages that are no file's. */
static uint64_t anonymous_bytes(void)
{
    char line[256];
    uint64_t kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "RssAnon: %" SCNu64, &kib) == 1) {
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return kib * 1024;
}

static uint64_t disk_bytes(const char *path)
{
    struct stat stat_of;
    return stat(path, &stat_of) == 0 ? (uint64_t)stat_of.st_blocks * 512 : 0;
}

static struct str key_of(uint64_t i, char out[32])
{
    snprintf(out, 32, "user-%011" PRIu64, i);
    return (struct str){out, KEY_BYTES};
}

struct slowness {
    uint64_t worst_ns;
    uint64_t counts[BUCKETS]; /* by the power of two of the nanoseconds */
};

static void insert_all(struct ids *ids, struct io *io, uint64_t count, struct ids_mark *ret_mark)
{
    struct slowness slow = {.worst_ns = 0};
    struct err err;
    char bytes[32];
    uint64_t all_ns = 0;
    uint64_t flush_ns = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint32_t shard;
        uint32_t subject;
        struct str key = key_of(i * 7919 % count, bytes);
        uint64_t begin_ns = now_ns();
        if (ids_add(ids, ID_USER, key, &shard, &subject, &err) != ERR_OK) {
            die(&err);
        }
        uint64_t ns = now_ns() - begin_ns;
        all_ns += ns;
        slow.worst_ns = ns > slow.worst_ns ? ns : slow.worst_ns;
        slow.counts[63 - __builtin_clzll(ns | 1)]++;
        if ((i + 1) % FLUSH_EVERY == 0 || i + 1 == count) {
            begin_ns = now_ns();
            if (ids_flush(ids, io, ids_seal(ids), ret_mark, &err) != ERR_OK) {
                die(&err);
            }
            ids_confirm(ids, *ret_mark);
            flush_ns += now_ns() - begin_ns;
        }
    }
    printf("inserts            %8.0f keys/s (%.0f ns each); flushes took %.2f s\n",
           (double)count * 1e9 / (double)all_ns, (double)all_ns / (double)count,
           (double)flush_ns / 1e9);
    printf("worst insert       %8.1f us; slower than", (double)slow.worst_ns / 1e3);
    uint64_t slower = 0;
    for (uint32_t i = BUCKETS; i-- > 14;) {
        slower += slow.counts[i];
        if (i % 2 == 0 && slower > 0) {
            printf("  %.0f us: %" PRIu64, (double)(1u << i) / 1e3, slower);
        }
    }
    printf("\n");
}

static void look_up(const struct ids *ids, uint64_t count)
{
    struct rng rng = rng_init(1);
    char bytes[32];
    for (uint32_t pass = 0; pass < 2; pass++) {
        uint64_t found = 0;
        uint64_t begin_ns = now_ns();
        for (uint32_t i = 0; i < LOOKUPS; i++) {
            uint32_t shard;
            uint32_t subject;
            struct str key = key_of(rng_below(&rng, count) + (pass == 0 ? 0 : count), bytes);
            found += ids_find(ids, ID_USER, key, &shard, &subject);
        }
        printf("look-ups, %s  %8.0f ns each, the making of the key included\n",
               found == LOOKUPS ? "there  " : "missing", (double)(now_ns() - begin_ns) / LOOKUPS);
    }
}

static int by_size(const void *a, const void *b)
{
    const uint64_t *x = a;
    const uint64_t *y = b;
    return (*x > *y) - (*x < *y);
}

static void open_often(struct io *io, const char *path, struct ids_mark mark, const char *what)
{
    uint64_t times[OPENINGS];
    struct err err;
    uint64_t hashed = 0;
    uint64_t own = 0;
    for (uint32_t i = 0; i < OPENINGS; i++) {
        struct ids *ids = NULL;
        uint64_t cut;
        uint64_t before = anonymous_bytes();
        uint64_t begin_us = clock_mono_us();
        if (ids_open(io, path, 1, mark, false, &ids, &cut, &err) != ERR_OK) {
            die(&err);
        }
        times[i] = clock_mono_us() - begin_us;
        hashed = ids_stats(ids).hashed_count;
        own = anonymous_bytes() - before;
        ids_close(ids);
    }
    qsort(times, OPENINGS, sizeof(times[0]), by_size);
    printf("open, %-12s %8.1f ms (median of %u), %" PRIu64 " keys hashed, %.2f bytes/key of own "
           "memory\n",
           what, (double)times[OPENINGS / 2] / 1e3, OPENINGS, hashed,
           (double)own / (double)mark.count);
}

static void run(const char *dir, uint64_t count)
{
    char log[256];
    char hash[256];
    struct io *io = NULL;
    struct ids *ids = NULL;
    struct ids_mark mark = {0};
    struct err err;
    uint64_t cut;
    snprintf(log, sizeof(log), "%s/ids.log", dir);
    snprintf(hash, sizeof(hash), "%s/ids.hash", dir);
    if (io_create(IO_AUTO, &io, &err) != ERR_OK ||
        ids_open(io, log, 1, mark, false, &ids, &cut, &err) != ERR_OK) {
        die(&err);
    }
    uint64_t before = anonymous_bytes();
    insert_all(ids, io, count, &mark);
    double per_key = 1.0 / (double)count;
    struct ids_stats stats = ids_stats(ids);
    printf("own memory         %8.2f bytes/key (table %.2f, samples %.2f)\n",
           (double)(anonymous_bytes() - before) * per_key, (double)stats.table_bytes * per_key,
           (double)stats.sampled_bytes * per_key);
    look_up(ids, count);
    ids_close(ids);
    open_often(io, log, mark, "unclean");

    if (ids_open(io, log, 1, mark, false, &ids, &cut, &err) != ERR_OK) {
        die(&err);
    }
    uint64_t begin_us = clock_mono_us();
    if (ids_save(ids, io, &err) != ERR_OK) {
        die(&err);
    }
    printf("clean stop         %8.1f ms\n", (double)(clock_mono_us() - begin_us) / 1e3);
    ids_close(ids);
    open_often(io, log, mark, "clean");
    double log_per_key = (double)disk_bytes(log) * per_key;
    double hash_per_key = (double)disk_bytes(hash) * per_key;
    printf("on disk            %8.2f bytes/key: %u of the key, %.2f beside it in ids.log, %.2f in "
           "ids.hash\n",
           log_per_key + hash_per_key, KEY_BYTES, log_per_key - KEY_BYTES, hash_per_key);
    io_free(io);
    unlink(log);
    unlink(hash);
}

int main(int argc, char **argv)
{
    char dir[200];
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000000;
    snprintf(dir, sizeof(dir), "%s/ids-bench-XXXXXX", argc > 2 ? argv[2] : "/tmp");
    if (count < 1000 || count > 99999999999 || argc > 3 || mkdtemp(dir) == NULL) {
        fprintf(stderr, "usage: ids-bench [KEYS (1000 and more)] [DIR]\n");
        return 2;
    }
    run(dir, count);
    rmdir(dir);
    return 0;
}
