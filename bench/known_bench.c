/* bench/known_bench.c - known event ids alone: what telling a new event from a retry costs.
 *
 *     known-bench [IDS] [DIR]       default 10,000,000 ids, runs in a folder of its own under /tmp
 *
 * Question: nanoseconds of the processor to find a new id in no run, with one run of all ids and with the dozen runs
 * of rising size that steady ingest keeps; hits for ids that are new (each costs a read); bytes per
 * id, and how long opening takes. Keys are made up: the hash of an id is spread evenly whatever the
 * id. Look-ups go sixteen at a time, as the writer makes them.
 */
#include "storage/known_run.h"

#include "storage/base/clock.h"
#include "storage/base/rng.h"
#include "storage/base/size.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define AHEAD    16u
#define LOOKUPS  (4u << 20)
#define RUNS_MAX 12u

static void die(const struct err *err)
{
    fprintf(stderr, "known-bench: %s\n", err->message);
    exit(1);
}

/* Of this thread: what other programs on the machine take does not count. */
static uint64_t cpu_us(void)
{
    struct timespec at;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
    return (uint64_t)at.tv_sec * 1000000 + (uint64_t)at.tv_nsec / 1000;
}

/* Keys that ascend, `count` of them over all there are: i-th of evenly cut stretches, shaken. */
static struct known_run *make_run(struct io *io, const char *path, uint64_t number, uint64_t count,
                                  struct rng *rng)
{
    struct err err = {0};
    struct known_run_writer *writer = NULL;
    struct known_run_info info;
    struct known_run *run = NULL;
    uint64_t stretch = (UINT64_C(1) << KNOWN_KEY_BITS) / count;
    uint32_t subject_max = (uint32_t)(count / 500);
    if (known_run_create(io, path, count, subject_max, 0, &writer, &err) != ERR_OK) {
        die(&err);
    }
    for (uint64_t i = 0; i < count; i++) {
        uint32_t subject = (uint32_t)rng_below(rng, (uint64_t)subject_max + 1);
        struct known_entry entry = {.key = i * stretch + rng_below(rng, stretch),
                                    .place = {(uint32_t)(i % 16), subject, subject}};
        if (known_run_add(writer, &entry, &err) != ERR_OK) {
            die(&err);
        }
    }
    if (known_run_finish(writer, 0, 0, &info, &err) != ERR_OK ||
        known_run_open(io, path, number, &run, &err) != ERR_OK) {
        die(&err);
    }
    known_run_abandon(writer);
    return run;
}

static double look_up(struct known_run *const *runs, uint32_t count, struct rng *rng,
                      uint64_t *ret_hits)
{
    struct err err = {0};
    uint64_t keys[AHEAD];
    uint64_t hits = 0;
    uint64_t begin_us = cpu_us();
    for (uint32_t at = 0; at < LOOKUPS; at += AHEAD) {
        for (uint32_t i = 0; i < AHEAD; i++) {
            keys[i] = rng_next(rng) >> (64 - KNOWN_KEY_BITS);
        }
        for (uint32_t k = 0; k < count; k++) {
            uint32_t bits = 0;
            if (known_run_probe(runs[k], keys, AHEAD, &bits, &err) != ERR_OK) {
                die(&err);
            }
            hits += (uint32_t)__builtin_popcount(bits);
        }
    }
    *ret_hits += hits;
    return (double)(cpu_us() - begin_us) * 1000 / LOOKUPS;
}

static void report(struct io *io, const char *dir, const uint64_t *counts, uint32_t count,
                   const char *name)
{
    struct err err = {0};
    struct rng rng = rng_init(1);
    struct known_run *runs[RUNS_MAX];
    char paths[RUNS_MAX][256];
    uint64_t bytes = 0, ids = 0, hits = 0, open_us = 0;
    for (uint32_t i = 0; i < count; i++) {
        snprintf(paths[i], sizeof(paths[i]), "%s/%06u.run", dir, i + 1);
        runs[i] = make_run(io, paths[i], i + 1, counts[i], &rng);
        known_run_unref(runs[i]);
        uint64_t begin_us = clock_mono_us();
        if (known_run_open(io, paths[i], i + 1, &runs[i], &err) != ERR_OK) {
            die(&err);
        }
        open_us += clock_mono_us() - begin_us;
        bytes += known_run_info(runs[i]).bytes;
        ids += counts[i];
    }
    double first_ns = look_up(runs, count, &rng, &hits); /* pages are checked as they are met */
    double ns = look_up(runs, count, &rng, &hits);
    for (uint32_t i = 0; i < 2; i++) {
        ns = MIN_OF(ns, look_up(runs, count, &rng, &hits));
    }
    printf("%-28s %10" PRIu64 " ids %6.2f bytes/id  open %6.2f ms  new id %6.0f ns (first %6.0f)  "
           "hits %" PRIu64 " of %u, %.1f to be expected\n",
           name, ids, (double)bytes / (double)ids, (double)open_us / 1000, ns, first_ns, hits,
           4 * LOOKUPS, 4.0 * LOOKUPS * (double)ids / (double)(UINT64_C(1) << KNOWN_KEY_BITS));
    for (uint32_t i = 0; i < count; i++) {
        known_run_unref(runs[i]);
        (void)!io_unlink(io, paths[i], &err);
    }
}

int main(int argc, char **argv)
{
    struct err err = {0};
    struct io *io = NULL;
    char made[] = "/tmp/known-bench-XXXXXX";
    uint64_t ids = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000000;
    const char *dir = argc > 2 ? argv[2] : mkdtemp(made);
    if (ids < 100000 || dir == NULL) {
        fputs("usage: known-bench [IDS, at least 100000] [DIR]\n", stderr);
        return 2;
    }
    if (io_create(IO_AUTO, &io, &err) != ERR_OK) {
        die(&err);
    }
    report(io, dir, &ids, 1, "one run");
    /* Three of each size class, a quarter of the class above: what tiers hold at the most. */
    uint64_t counts[RUNS_MAX];
    uint64_t size = ids / 4;
    for (uint32_t i = 0; i < RUNS_MAX; i++) {
        counts[i] = MAX_OF(size, UINT64_C(1000));
        size /= i % 3 == 2 ? 4 : 1;
    }
    report(io, dir, counts, RUNS_MAX, "twelve runs, four sizes");
    io_free(io);
    if (argc <= 2) {
        rmdir(dir);
    }
    return 0;
}
