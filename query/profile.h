/* query/profile.h - what a query did, gathered while it runs, for `profile`.
 *
 * Whoever does a piece of work adds to it when the piece ends: a scan, a walk over stored sets, a task, a round of tasks.
 * Nothing is counted per row, and nothing at all where the query is not profiled (run->profile is NULL).
 *
 * Times of tasks are of the task itself: what other queries' tasks took in between (pool_yield) is not in them.
 *
 * Thread: tasks add with relaxed atomics; rounds and stages are the calling thread's. Read once all tasks have been joined.
 */
#pragma once

#include "query/scan.h"

#define PROFILE_ROUNDS_MAX 32u

struct read_ctx;

/* What was read for one purpose. */
struct profile_reads {
    _Atomic uint64_t blocks, blocks_loaded, bytes;
};

struct profile_scans {
    _Atomic uint64_t count, time_us;
    _Atomic uint64_t pruned[SCAN_PRUNED_WHERE + 1]; /* by enum scan_pruned: scans of whole sources */
    _Atomic uint64_t rows_read, rows_matched;
    _Atomic uint64_t blocks_scanned, blocks_pruned_time, blocks_pruned_index;
    _Atomic uint64_t blocks_by[SCAN_PATHS];
    struct profile_reads reads;
};

struct profile_sets {
    _Atomic uint64_t sets, members, time_us; /* members of their unions, which came to the verb */
    struct profile_reads reads;
};

/* First events ever of expired data (first_ever.h). Their scans are among the others as well. */
struct profile_firsts {
    _Atomic uint64_t sources, rows, found;
};

/* Tasks that were started together. The last one of PROFILE_ROUNDS_MAX stands for all after it as well. */
struct profile_round {
    uint64_t rounds, tasks;
    uint64_t elapsed_us, waited_us; /* on the clock; of it before the first task began */
    _Atomic uint64_t longest_us;    /* of its tasks */
};

struct profile_thread {
    _Atomic uint64_t tasks, time_us;
};

struct query_profile {
    struct profile_scans scans;
    struct profile_sets sets;
    struct profile_firsts firsts;
    struct profile_reads others; /* read by neither */
    struct profile_round rounds[PROFILE_ROUNDS_MAX];
    uint32_t round_count;
    struct profile_thread *threads; /* by the pool's slot */
    uint32_t thread_count;
    uint64_t bind_us, verb_us, shape_us; /* on the clock */
    uint64_t rows_made;                  /* by the verb, before order and limit */
};

void profile_add_reads(struct profile_reads *reads, const struct read_ctx *read);
void profile_add_scan(struct query_profile *profile, const struct scan_counters *counters,
                      const struct read_ctx *read);
void profile_add_sets(struct query_profile *profile, uint64_t sets, uint64_t members,
                      uint64_t time_us, const struct read_ctx *read);
void profile_add_firsts(struct query_profile *profile, uint64_t sources, uint64_t rows,
                        uint64_t found);
/* The round that begins; its tasks add to it. */
struct profile_round *profile_begin_round(struct query_profile *profile, uint32_t tasks);
void profile_add_task(struct query_profile *profile, struct profile_round *round, uint32_t thread,
                      uint64_t time_us);
