/* query/profile.c */
#include "query/profile.h"

#include "storage/base/size.h"
#include "storage/source.h"

static void add(_Atomic uint64_t *counter, uint64_t more)
{
    if (more > 0) {
        /* relaxed: read after all tasks have been joined */
        atomic_fetch_add_explicit(counter, more, memory_order_relaxed);
    }
}

void profile_add_reads(struct profile_reads *reads, const struct read_ctx *read)
{
    add(&reads->blocks, read->blocks_read);
    add(&reads->blocks_loaded, read->blocks_loaded);
    add(&reads->bytes, read->bytes_read);
}

void profile_add_scan(struct query_profile *profile, const struct scan_counters *counters,
                      const struct read_ctx *read)
{
    struct profile_scans *scans = &profile->scans;
    add(&scans->count, 1);
    add(&scans->time_us, counters->time_us);
    add(&scans->pruned[counters->pruned], 1);
    add(&scans->rows_read, counters->rows_read);
    add(&scans->rows_matched, counters->rows_matched);
    add(&scans->blocks_scanned, counters->blocks_scanned);
    add(&scans->blocks_pruned_time, counters->blocks_pruned_time);
    add(&scans->blocks_pruned_index, counters->blocks_pruned_index);
    for (uint32_t p = 0; p < SCAN_PATHS; p++) {
        add(&scans->blocks_by[p], counters->blocks_by[p]);
    }
    profile_add_reads(&scans->reads, read);
}

void profile_add_sets(struct query_profile *profile, uint64_t sets, uint64_t members,
                      uint64_t time_us, const struct read_ctx *read)
{
    add(&profile->sets.sets, sets);
    add(&profile->sets.members, members);
    add(&profile->sets.time_us, time_us);
    profile_add_reads(&profile->sets.reads, read);
}

void profile_add_firsts(struct query_profile *profile, uint64_t sources, uint64_t rows,
                        uint64_t found)
{
    struct profile_firsts *firsts = &profile->firsts;
    atomic_fetch_add_explicit(&firsts->sources, sources, memory_order_relaxed);
    atomic_fetch_add_explicit(&firsts->rows, rows, memory_order_relaxed);
    atomic_fetch_add_explicit(&firsts->found, found, memory_order_relaxed);
}

struct profile_round *profile_begin_round(struct query_profile *profile, uint32_t tasks)
{
    if (profile->round_count < PROFILE_ROUNDS_MAX) {
        profile->round_count++;
    }
    struct profile_round *round = &profile->rounds[profile->round_count - 1];
    round->rounds++;
    round->tasks += tasks;
    return round;
}

void profile_add_task(struct query_profile *profile, struct profile_round *round, uint32_t thread,
                      uint64_t time_us)
{
    ASSERT(thread < profile->thread_count);
    add(&profile->threads[thread].tasks, 1);
    add(&profile->threads[thread].time_us, time_us);
    uint64_t longest = atomic_load_explicit(&round->longest_us, memory_order_relaxed);
    while (time_us > longest &&
           !atomic_compare_exchange_weak_explicit(&round->longest_us, &longest, time_us,
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
}
