/* bench/latencies.c - see latencies.h. */
#include "bench/latencies.h"

#include <math.h>
#include <stdlib.h>

void latencies_add(struct latencies *latencies, uint64_t us)
{
    if (latencies->count == latencies->cap) {
        size_t cap = latencies->cap == 0 ? 1024 : latencies->cap * 2;
        uint64_t *grown = realloc(latencies->us, cap * sizeof(*grown));
        if (grown == NULL) {
            latencies->is_bad = true;
            return;
        }
        latencies->us = grown;
        latencies->cap = cap;
    }
    latencies->us[latencies->count++] = us;
}

void latencies_merge(struct latencies *into, const struct latencies *from)
{
    for (size_t i = 0; i < from->count; i++) {
        latencies_add(into, from->us[i]);
    }
    into->is_bad = into->is_bad || from->is_bad;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

void latencies_sort(struct latencies *latencies)
{
    if (latencies->count > 1) {
        qsort(latencies->us, latencies->count, sizeof(*latencies->us), compare);
    }
}

uint64_t latencies_percentile(const struct latencies *latencies, double percent)
{
    if (latencies->count == 0) {
        return 0;
    }
    double rank = ceil(percent / 100 * (double)latencies->count);
    size_t idx = rank < 1 ? 0 : (size_t)rank - 1;
    return latencies->us[idx < latencies->count ? idx : latencies->count - 1];
}

void latencies_done(struct latencies *latencies)
{
    free(latencies->us);
    *latencies = (struct latencies){0};
}
