/* query/traits.h - profiles: what identify calls say of a subject.
 *
 * An identify call is an event called `$identify`, whose properties are the subject's traits; or, as Segment's calls come in
 * (server/ingest_segment.c), an event called `identify` whose traits are named `traits.x`. It is an event like any other. Of
 * all calls that say something of `x`, whatever the range and the `where` of a question, `profile.x` is the value of
 *
 *    as of now        the last by (event_time, event_id) that is not later than the question's now
 *    as of event      the last whose event_time is at most that of the row
 *
 * A call without `x` changes nothing. Lists are no values. Whose a call is says the snapshot: those of a bound anonymous id
 * are its user's, those of a merged user the other's.
 *
 * Before the verb runs the calls are read once, by one task per (shard, subjects), as journeys in their order:
 *
 *    task    changes     (subject, event_time, code), ascending; as of now: (subject, code)
 *            codes       numbers of values, the task's own        -> those of the whole query
 *
 * Then there are two uses. A condition as of now is one on people: it is evaluated once per value, and becomes a set of
 * subjects. As a key, or as of event, it is a column: for each block of a scan the values of its rows are made from its subjects
 * and times, so that predicates and keys know of no difference.
 *
 * Memory: 8 bytes per subject and property as of now, 16 per change as of event, and the values; out of the query's budget.
 *
 * Thread: loaded by tasks, each into its own slot; then only read, by any thread.
 */
#pragma once

#include "query/run.h"

/* Columns of properties of profiles, beyond all that sources have: trait t as a value of one type. */
#define TRAITS_COL_FIRST 0xffff0000u
#define TRAITS_TYPES_MAX 8u  /* more than there are: enum col_type */
#define TRAITS_MAX       32u /* of one query */

static inline uint32_t traits_col(uint32_t trait, enum col_type type)
{
    return TRAITS_COL_FIRST + trait * TRAITS_TYPES_MAX + (uint32_t)type;
}
static inline bool traits_is_col(uint32_t col)
{
    return col >= TRAITS_COL_FIRST && col < TRAITS_COL_FIRST + TRAITS_MAX * TRAITS_TYPES_MAX;
}

/* How the events of identify calls are named, and what stands in front of the names of their traits. */
struct trait_call {
    struct str event, prefix;
};
extern const struct trait_call trait_calls[TRAIT_CALLS];

/* Read what run->query asks of profiles into run->traits; until traits_free. ERR_LIMIT where memory does not do. */
enum err_code traits_load(struct query_run_ctx *run, struct err *err) ERR_MUST_CHECK;
void traits_free(struct traits *traits); /* may be NULL */

/* The rows of a block: ascending by (subject, time). */
struct traits_rows {
    uint32_t shard, count;
    const uint32_t *subjects;
    const int64_t *times; /* NULL where traits_needs_times says no */
};
bool traits_needs_times(const struct traits *traits, uint32_t col);
/* The column of a block, as source_read would give it. The arena owns it. */
enum err_code traits_column(const struct traits *traits, uint32_t col,
                            const struct traits_rows *rows, struct arena *arena, struct vec *ret,
                            struct err *err) ERR_MUST_CHECK;
/* Put everybody whose profile meets `pred` into `ret`; it is about one property, as of now, and false of who has none. */
enum err_code traits_people(struct query_run_ctx *run, const struct pred *pred, struct people *ret,
                            struct err *err) ERR_MUST_CHECK;
