/* query/journey_measures.c */
#include "query/journey_measures.h"

const char *const session_measure_words[SESSION_MEASURES] = {
    [SESSION_COUNT] = "count",
    [SESSION_USERS] = "users",
    [SESSION_EVENTS] = "events",
    [SESSION_AVG_MS] = "avg_duration_ms",
    [SESSION_MEDIAN_MS] = "median_duration_ms",
    [SESSION_P90_MS] = "p90_duration_ms",
    [SESSION_P95_MS] = "p95_duration_ms",
    [SESSION_P99_MS] = "p99_duration_ms",
    [SESSION_MAX_MS] = "max_duration_ms",
    [SESSION_TOTAL_MS] = "total_duration_ms",
    [SESSION_BOUNCES] = "bounces",
    [SESSION_BOUNCE_RATE] = "bounce_rate",
    [SESSION_EVENTS_PER] = "events_per_session",
    [SESSION_PER_USER] = "sessions_per_user",
};

const char *const interval_measure_words[INTERVAL_MEASURES] = {
    [INTERVAL_UTILISATION] = "utilisation", [INTERVAL_PEAK] = "peak",
    [INTERVAL_ONLINE_MS] = "online_ms",     [INTERVAL_USERS] = "users",
    [INTERVAL_COUNT] = "intervals",
};
