/* storage/settings.h - what the owner of a data set may decide; kept in the catalog's row of it. */
#pragma once

#include "storage/base/err.h"
#include "storage/base/str.h"

#include <stdint.h>

/* Spans in ms, at most SETTINGS_SPAN_MS_MAX. */
struct dataset_settings {
    uint64_t dedup_window_ms; /* by arrival: within it an event id counts once; 0 = for ever */
    uint64_t
        expire_after_ms;    /* older events leave every answer, then the disk; 0 = kept for ever */
    uint64_t cold_after_ms; /* older segments move to the cold directory; 0 = never */
};
#define SETTINGS_DAY_MS         86400000ULL
#define DEDUP_WINDOW_MS_DEFAULT (7 * SETTINGS_DAY_MS)
#define SETTINGS_SPAN_MS_MAX    (36500 * SETTINGS_DAY_MS)

/* ERR_INVALID for spans that nobody can mean: an expiry below a day, one that comes before the cold, ... */
enum err_code settings_check(const struct dataset_settings *settings,
                             struct err *err) ERR_MUST_CHECK;

/* Events before this are expired: the begin of the UTC day that `now_ms` less the span lies in, so that
 * answers change once a day. INT64_MIN where nothing expires. */
int64_t settings_expired_before(uint64_t expire_after_ms, int64_t now_ms);

/* As owners write it: a whole number and w, d, h, m, s or ms, or "off" for 0. ERR_INVALID with the text. */
enum err_code settings_span_parse(struct str text, uint64_t *ret_ms,
                                  struct err *err) ERR_MUST_CHECK;
/* The same back, in d, h, m, s or ms: "90d", "36h", "off". */
#define SETTINGS_TEXT_BYTES 40u
void settings_span_print(uint64_t span_ms, char out[SETTINGS_TEXT_BYTES]);
/* "90 days", "36 hours", "1500 ms": the largest unit that says it whole. */
void settings_span_text(uint64_t span_ms, char out[SETTINGS_TEXT_BYTES]);
