/* bench/bandwidth.c - how fast this machine reads memory: the limit that bench/peers holds questions against.
 *
 * Each thread sums its own quarter gigabyte, far larger than any cache, eight words at a time; the best of
 * several rounds counts, for a limit is what the machine can do, not what neighbours leave. Prints one line of JSON. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "storage/base/clock.h"

#define PART_BYTES  (256u << 20)
#define PART_WORDS  (PART_BYTES / sizeof(uint64_t))
#define ROUNDS      8
#define THREADS_MAX 256

struct part {
    uint64_t *words;
    uint64_t sum; /* read by main, so that the reading cannot be left out */
    pthread_barrier_t *barrier;
    pthread_t thread;
};

static uint64_t sum_words(const uint64_t *words)
{
    uint64_t sums[8] = {0};
    for (size_t i = 0; i < PART_WORDS; i += 8) {
        for (size_t k = 0; k < 8; k++) {
            sums[k] += words[i + k];
        }
    }
    uint64_t sum = 0;
    for (size_t k = 0; k < 8; k++) {
        sum += sums[k];
    }
    return sum;
}

static void *part_main(void *arg)
{
    struct part *part = arg;
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(part->barrier); /* all begin together */
        part->sum += sum_words(part->words);
        pthread_barrier_wait(part->barrier);
    }
    return NULL;
}

/* Bytes per second of `count` threads that read at once; 0 when memory or threads are short. */
static double bandwidth(struct part *parts, uint32_t count)
{
    pthread_barrier_t barrier;
    uint64_t least_us = UINT64_MAX;
    if (pthread_barrier_init(&barrier, NULL, count + 1) != 0) {
        return 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        parts[i].barrier = &barrier;
        if (pthread_create(&parts[i].thread, NULL, part_main, &parts[i]) != 0) {
            return 0;
        }
    }
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&barrier);
        uint64_t begin_us = clock_mono_us();
        pthread_barrier_wait(&barrier);
        uint64_t us = clock_mono_us() - begin_us;
        least_us = us < least_us ? us : least_us;
    }
    for (uint32_t i = 0; i < count; i++) {
        pthread_join(parts[i].thread, NULL);
    }
    pthread_barrier_destroy(&barrier);
    return (double)count * PART_BYTES * 1e6 / (double)(least_us > 0 ? least_us : 1);
}

int main(void)
{
    static struct part parts[THREADS_MAX];
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t count = cores < 1 ? 1 : cores > THREADS_MAX ? THREADS_MAX : (uint32_t)cores;
    for (uint32_t i = 0; i < count; i++) {
        parts[i].words = malloc(PART_BYTES);
        if (parts[i].words == NULL) {
            fprintf(stderr, "out of memory: %u MiB for each of %u threads\n", PART_BYTES >> 20,
                    count);
            return 1;
        }
        memset(parts[i].words, (int)i + 1, PART_BYTES); /* pages that are there */
    }
    double one = bandwidth(parts, 1);
    double all = bandwidth(parts, count);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        sum += parts[i].sum;
        free(parts[i].words);
    }
    if (one <= 0 || all <= 0 || sum == 0) {
        fprintf(stderr, "no thread could be started\n");
        return 1;
    }
    printf("{\"threads\":%u,\"one_thread_bytes_per_s\":%.0f,\"all_threads_bytes_per_s\":%.0f}\n",
           count, one, all);
    return 0;
}
