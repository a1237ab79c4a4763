/* tests/support/snap.h - a snapshot out of a list of events, without a store.
 *
 * Subjects go to shards by a hash of the user and get numbers in order of their first event in the
 * list. Each event goes to one of `source_count` sources at random; of these, the last
 * `memory_count` stay memtables, the others are written as segments to a folder of their own and
 * opened again. So one list of events can be had in many layouts, and answers must not differ.
 *
 * Whatever fails ends the test program with a message: nothing here is under test.
 *
 * Thread: one owner. Ownership: snap_free frees everything, the snapshot included.
 */
#pragma once

#include "storage/store.h"

struct snap_prop {
    const char *name;
    enum col_type type;
    const char *text; /* STRING; LIST: its items with '|' between them */
    struct num number;
    bool boolean;
    int64_t ts_ms;
};
struct snap_event {
    const char *event_id;
    const char *name;
    const char *user;
    int64_t time_ms;
    const struct snap_prop *props;
    uint32_t prop_count;
};
struct snap_opts {
    uint32_t source_count;        /* at least 1 */
    uint32_t memory_count;        /* at most source_count */
    uint32_t shard_count;         /* 1 .. SHARD_COUNT; 0 = SHARD_COUNT */
    uint64_t seed;                /* of the choice of sources */
    const int64_t *day_begins_ms; /* for the subject sets of segments; NULL = UTC days */
    uint32_t day_count;
};

struct snap;
struct snap *snap_build(const struct snap_event *events, uint32_t event_count,
                        const struct snap_opts *opts);
struct snapshot *snap_snapshot(struct snap *snap);
struct io *snap_io(struct snap *snap);
/* The subject of a user; false where no event has it. */
bool snap_subject(const struct snap *snap, const char *user, uint32_t *ret_shard,
                  uint32_t *ret_subject);
/* Mask the user's subject, as a deletion does. */
void snap_delete(struct snap *snap, const char *user);
struct schema *snap_schema(struct snap *snap);
void snap_free(struct snap *snap);
static inline void snap_freep(struct snap **snap)
{
    snap_free(*snap);
}
