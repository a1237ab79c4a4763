/* storage/settings.h - what the owner of a data set may decide; kept in the catalog's row of it. */
#pragma once

#include <stdint.h>

/* Spans in ms, at most INT64_MAX. */
struct dataset_settings {
    uint64_t dedup_window_ms; /* by arrival: within it an event id counts once; 0 = for ever */
    uint64_t retention_ms;    /* older events leave every answer, then the disk; 0 = kept for ever */
    uint64_t cold_after_ms;   /* older segments move to the cold directory; 0 = never */
};
#define DEDUP_WINDOW_MS_DEFAULT (7 * 86400000ULL)
