/* query/first_ever.h - first events ever that no retained row has.
 *
 * "First ever" asks about all history, and history reaches further back than the data that are kept: rows that are expired
 * and masked are there still, and of those that are gone the first times are (storage/first_times.h). Here both are read
 * for the selectors whose first event a verb asks for; what comes out is, per subject, that event, where no row that is kept
 * is earlier: an event without id and properties, of which only the time is known and which selectors take it.
 *
 * Selectors with a filter ask properties, so they look at retained rows alone, and with a `where` all of them do. Whether
 * the background has taken masked rows from the disk cannot be told from what comes out: of a masked row, too, only that it
 * was the first is used.
 *
 * Cost: none where nothing is expired; else the rows of the named events among first times and masked rows, and 16 bytes a
 * subject and selector.
 *
 * Thread: one task.
 */
#pragma once

#include "query/run.h"

struct first_ask {
    const struct bound_query *query; /* whose selectors the wants number */
    const struct scan_want *wants;   /* of the verb's walk; those of `firsts` from INT64_MIN on */
    uint32_t want_count;
    uint64_t firsts; /* bits of the selectors whose first events are asked for */
    /* By selector of `firsts`: which other bits such an event may have beside its own; NULL: all. */
    const uint64_t *beside;
};

struct first_events { /* ascending by (subject, time) */
    uint32_t count;
    const uint32_t *subjects;
    const int64_t *times;
    const uint64_t *masks; /* selectors that take the event, in their wants' ranges */
};

/* Whether anything can come out for the shard. */
bool first_ever_is_due(const struct query_run_ctx *run, uint32_t shard);
/* Whether first times may be later than rows that are kept: an expiry was made longer since. */
bool first_ever_is_mixed(const struct query_run_ctx *run);
/* Whether the query asks for first events that may be expired (explain). */
bool first_ever_is_asked(const struct bound_query *query);
/* In the arena. */
enum err_code first_ever_gather(struct query_run_ctx *run, const struct run_task *task,
                                const struct first_ask *ask, struct arena *arena, struct io *io,
                                struct first_events *ret, struct err *err) ERR_MUST_CHECK;
