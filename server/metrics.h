/* server/metrics.h - what the server counts, and its Prometheus text.
 *
 * Counters are relaxed atomics: each is exact by itself, two of them may be read a moment apart.
 *
 * Thread: any. */
#pragma once

#include "storage/base/buf.h"

#include <stdatomic.h>

struct server;

#define METRICS_ROUTES_MAX 32u

enum counter {
    COUNTER_CONNECTIONS, /* accepted */
    COUNTER_ACCEPT_ERRORS,
    COUNTER_REQUEST_BYTES,  /* bodies, as received */
    COUNTER_RESPONSE_BYTES, /* bodies, as sent */
    COUNTER_BUSY,           /* requests refused with 429 */
    COUNTER_HANGUPS,        /* requests whose client left before the answer */
    COUNTER_CANCELLED,      /* jobs that ended by it */
    COUNTER_SERVER_ERRORS,  /* jobs that met damaged data, a failing disk, or no memory */
    COUNTER_TIMEOUTS,       /* jobs that ended at their deadline */
    COUNTER_ABUSE_CLOSED,   /* connections closed for resetting request after request */
    COUNTER_WRITE_TIMEOUTS, /* connections closed because the client did not read on */
    COUNTER_EVENTS_ACCEPTED,
    COUNTER_EVENTS_DUPLICATE,
    COUNTER_EVENTS_REJECTED,
    COUNTER_EVENTS_CONFLICT,
    COUNTER_QUERY_ROWS_READ,
    COUNTER_QUERY_BYTES_READ,
    COUNTER_COMPACT_REQUESTS,
    COUNTER_EXPORTS,     /* lists that were found, and began to be sent */
    COUNTER_EXPORT_ROWS, /* rows of them */
    COUNTER_EXPORTS_CUT, /* of those in pieces: ended without their end */
    COUNTER_COUNT,
};
enum gauge { GAUGE_CONNECTIONS, GAUGE_JOBS, GAUGE_COUNT };

#define HISTOGRAM_BUCKETS 17u
struct histogram {
    _Atomic uint64_t buckets[HISTOGRAM_BUCKETS + 1]; /* the last: above all bounds */
    _Atomic uint64_t sum_us;
};
#define METRICS_STATUSES 17u
struct metrics {
    _Atomic uint64_t counters[COUNTER_COUNT];
    _Atomic int64_t gauges[GAUGE_COUNT];
    _Atomic uint64_t requests[METRICS_ROUTES_MAX][METRICS_STATUSES];
    struct histogram latency[METRICS_ROUTES_MAX];
};

static inline void metrics_add(struct metrics *metrics, enum counter counter, uint64_t more)
{
    atomic_fetch_add_explicit(&metrics->counters[counter], more, memory_order_relaxed);
}
static inline void metrics_gauge(struct metrics *metrics, enum gauge gauge, int64_t change)
{
    atomic_fetch_add_explicit(&metrics->gauges[gauge], change, memory_order_relaxed);
}
/* An answered request: `route_idx` as in routes.h, time from its last byte to its answer. */
void metrics_request(struct metrics *metrics, uint32_t route_idx, int status, uint64_t elapsed_us);
/* Prometheus text format 0.0.4, data sets and caches included. */
void metrics_write(struct server *server, struct buf *out);
