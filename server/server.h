/* server/server.h - what the whole process shares: configuration, store, pools, counters.
 *
 * Thread: filled at start, read-only afterwards but for the atomics. Lifetime: the process. */
#pragma once

#include "server/config.h"
#include "storage/base/arena.h"
#include "storage/base/pool.h"
#include "storage/store.h"

#include <stdatomic.h>

struct answer_cache;
struct metrics;
struct server {
    struct config config;
    struct store *store;
    struct pool *asker_pool;  /* a thread for each query in work: binds, waits for tasks, merges */
    struct pool *query_pool;  /* the tasks of all queries */
    struct pool *ingest_pool; /* parses bodies, renders receipts; its threads become writers */
    struct pool *admin_pool;  /* one thread: flush and compact on request */
    struct answer_cache *answers; /* NULL: none are kept */
    struct metrics *metrics;
    struct budget bodies; /* of all requests in work */
    struct budget queries; /* memory of all queries */
    _Atomic uint64_t exports; /* in work */
    uint64_t begin_us;
    _Atomic bool is_draining;  /* SIGTERM came: not ready, no new work */
    _Atomic bool is_cancelled; /* background work asked for over HTTP stops */
};
