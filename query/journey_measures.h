/* query/journey_measures.h - the measures of sessions and intervals: the words of the language, which are the
 * names of the answer's columns, and their numbers. */
#pragma once

#include <stdint.h>

enum session_measure {
    SESSION_COUNT,  /* sessions */
    SESSION_USERS,  /* people with one or more */
    SESSION_EVENTS, /* in them */
    SESSION_AVG_MS, /* durations: from the first event to the last */
    SESSION_MEDIAN_MS,
    SESSION_P90_MS,
    SESSION_P95_MS,
    SESSION_P99_MS,
    SESSION_MAX_MS,
    SESSION_TOTAL_MS,
    SESSION_BOUNCES,     /* sessions of one event */
    SESSION_BOUNCE_RATE, /* bounces / count */
    SESSION_EVENTS_PER,  /* events / count */
    SESSION_PER_USER,    /* count / users */
    SESSION_MEASURES,
};
extern const char *const session_measure_words[SESSION_MEASURES];

enum interval_measure {
    INTERVAL_UTILISATION, /* time online / (length of the bucket * subjects) */
    INTERVAL_PEAK,        /* most subjects online at one time */
    INTERVAL_ONLINE_MS,   /* added up over the subjects, each counted once at a time */
    INTERVAL_USERS,       /* subjects online at some time */
    INTERVAL_COUNT,       /* intervals that begin */
    INTERVAL_MEASURES,
};
extern const char *const interval_measure_words[INTERVAL_MEASURES];
