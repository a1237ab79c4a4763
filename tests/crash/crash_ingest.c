/* tests/crash/crash_ingest.c - kill -9 while events come in.
 *
 * Goal: after SIGKILL at any instant every acknowledged event is there, exactly once. Method: a child
 * opens the folder, ingests batches (with retries of old events among them), flushes and compacts
 * in the background, and writes one byte into a pipe for each acknowledged batch; the parent kills it at
 * a random moment, opens the folder itself, and looks. Unacknowledged batches may be there or not,
 * but whole. Each round continues in the folder that the last one left behind.
 * CRASH_ROUNDS sets the number of rounds (12), TEST_SEED the moments.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/base/rng.h"
#include "storage/dataset_int.h"
#include "tests/support/live_events.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define BATCH  25u
#define K_MAX  400000u
#define MS_MAX 120u

static void options(struct store_opts *opts)
{
    store_opts_default(opts);
    opts->fresh.dedup_window_ms = 0; /* arrivals are of long ago */
    opts->io_kind = IO_POSIX;
    opts->block_cache_bytes = 16u << 20;
    opts->flush_rows = 700; /* so that kills hit flushes */
}

/* In the child: ingest [first, first + BATCH) and so on, for ever. Never returns. */
static _Noreturn void run_child(const char *dir, uint32_t first, uint64_t seed, int out)
{
    struct err err = {0};
    struct store_opts opts;
    struct store *store = NULL;
    struct dataset *dataset = NULL;
    struct io *io = NULL;
    struct recovery_report report;
    struct rng rng = rng_init(seed);
    options(&opts);
    if (store_open(dir, &opts, &store, &report, &err) != ERR_OK ||
        store_dataset(store, STR("shop"), true, &dataset, &err) != ERR_OK ||
        io_create(IO_POSIX, &io, &err) != ERR_OK) {
        fprintf(stderr, "child: %s\n", err.message);
        _exit(2);
    }
    dataset->limits.block_rows = 64;
    for (uint32_t k = first;; k += BATCH) {
        struct batch_builder builder;
        enum err_code code = batch_begin(NULL, LIVE_ARRIVAL_MS, &builder, &err);
        for (uint32_t i = 0; code == ERR_OK && i < BATCH; i++) {
            code = live_add(&builder, k + i, false, &err);
            if (code == ERR_OK && k > 0 && i % 8 == 0) {
                code = live_add(&builder, (uint32_t)rng_below(&rng, k), true, &err);
            }
        }
        if (code == ERR_OK) {
            code = dataset_ingest(dataset, builder.batch, io, &err);
        }
        if (code != ERR_OK) {
            fprintf(stderr, "child: %s\n", err.message);
            _exit(3);
        }
        event_batch_free(builder.batch);
        if (write(out, "+", 1) != 1) {
            _exit(4);
        }
    }
}

/* Let a child run for `ms` and kill it; returns how many batches it had acknowledged. */
static uint32_t run_and_kill(const char *dir, uint32_t first, uint64_t seed, uint32_t ms)
{
    int pipe_fds[2];
    assert_int_equal(pipe(pipe_fds), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(pipe_fds[0]);
        run_child(dir, first, seed, pipe_fds[1]);
    }
    close(pipe_fds[1]);
    char bytes[4096];
    uint32_t acknowledged = 0;
    /* The clock starts at the first acknowledgement: opening has rounds of its own below. */
    ssize_t got = read(pipe_fds[0], bytes, ms < 10 ? 0 : 1);
    acknowledged += got > 0 ? (uint32_t)got : 0;
    usleep(ms * 1000);
    assert_int_equal(kill(child, SIGKILL), 0);
    while ((got = read(pipe_fds[0], bytes, sizeof(bytes))) > 0) {
        acknowledged += (uint32_t)got;
    }
    close(pipe_fds[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    return acknowledged;
}

/* Open, check, and say up to which event the folder holds all. */
static uint32_t look(const char *dir, uint32_t acknowledged_end, uint32_t round, uint64_t seed)
{
    struct err err = {0};
    struct store_opts opts;
    struct store *store = NULL;
    struct dataset *dataset = NULL;
    struct io *io = NULL;
    struct recovery_report report;
    options(&opts);
    opts.compact_in_background = false;
    if (io_create(IO_POSIX, &io, &err) != ERR_OK ||
        store_open(dir, &opts, &store, &report, &err) != ERR_OK ||
        store_dataset(store, STR("shop"), true, &dataset, &err) != ERR_OK) {
        fail_msg("seed %" PRIu64 ", round %u: %s", seed, round, err.message);
    }
    /* One batch at most was on its way: it is there whole, or not at all. */
    uint64_t rows = dataset_stats(dataset).rows;
    uint8_t *counts = calloc(K_MAX, 1);
    assert_true(rows == acknowledged_end || rows == acknowledged_end + BATCH);
    memset(counts, 1, (size_t)rows);
    if (live_check_dataset(dataset, counts, (uint32_t)rows, io, &err) != ERR_OK) {
        fail_msg("seed %" PRIu64 ", round %u: %s", seed, round, err.message);
    }
    free(counts);
    store_abandon(store);
    io_free(io);
    return (uint32_t)rows;
}

static void every_acknowledged_event_survives_kill_9_once(void **state)
{
    (void)state;
    const char *rounds_text = getenv("CRASH_ROUNDS");
    const char *seed_text = getenv("TEST_SEED");
    uint32_t rounds = rounds_text == NULL ? 12 : (uint32_t)strtoul(rounds_text, NULL, 10);
    uint64_t seed = seed_text == NULL ? 1 : strtoull(seed_text, NULL, 10);
    struct rng rng = rng_init(seed);
    char dir[64];
    uint32_t end = 0;
    live_dir_make(dir);
    for (uint32_t round = 0; round < rounds && end < K_MAX / 2; round++) {
        uint32_t ms = (uint32_t)rng_below(&rng, MS_MAX);
        uint32_t batches = run_and_kill(dir, end, seed + round, ms);
        end = look(dir, end + batches * BATCH, round, seed);
    }
    assert_true(end > 0);
    live_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_acknowledged_event_survives_kill_9_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
