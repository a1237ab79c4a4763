/* storage/dataset_record.h - what a data set writes into one WAL record: the accepted events of a
 * batch.
 *
 * A record also carries the ids and columns that the log does not know yet, with the numbers they
 * were given, so replaying the log in order rebuilds the same directory and the same schema. The
 * format is documented at the top of dataset_record.c.
 *
 * Thread: the data set's writer, or whoever opens it.
 */
#pragma once

#include "storage/ids.h"
#include "storage/schema.h"

struct event_place {
    uint32_t shard;
    uint32_t subject;
    uint64_t key; /* of its event id (known_set.h); not in the record */
};

struct record_source {
    const struct event_batch *batch;  /* events that are not ACCEPTED are left out */
    const struct event_place *places; /* by event */
    const uint32_t *prop_cols; /* by place in batch->props; those of accepted events are valid */
    const struct ids *ids;
    uint64_t first_id; /* ids [first_id, ids_count) go in */
    const struct schema *schema;
    uint32_t first_col; /* columns [first_col, schema_count) go in */
};
/* Appended to `out`; the caller looks at buf_check. */
void record_encode(struct buf *out, const struct record_source *source);

struct record_events {
    struct event_batch
        batch; /* no builder behind it; strings point into the payload or the arena */
    struct event_place *places;
    uint32_t *prop_cols;
};
/* Adds the record's ids and columns to `ids` and `schema`, and decodes its events. The result lives
 * in `arena` and borrows from `payload`. ERR_CORRUPT for anything that record_encode does not
 * write. */
enum err_code record_decode(struct str payload, struct ids *ids, struct schema *schema,
                            struct arena *arena, struct record_events *ret,
                            struct err *err) ERR_MUST_CHECK;
