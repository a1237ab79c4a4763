/* server/ingest_parse.h - from the body of a request to a batch of events, and from a written batch
 * to receipts.
 *
 * A broken event gets a rejected receipt and never takes others with it; only a body that is not
 * of its kind at all fails as a whole (ERR_INVALID).
 *
 * An NDJSON line: event_id, event_time (ms, s or ISO 8601; default now), event_name, user_id or
 * anonymous_id; every further key at the top and every key under `properties` is a property. Nested
 * objects flatten with dots; arrays are lists of strings (of scalars: their text; with objects or
 * arrays inside: one string, their JSON); null is absent. A name that occurs at the top and under
 * `properties` keeps both, the inner one as `properties.NAME`; so does an inner name that the
 * language has taken (event_id ...).
 *
 * Thread: any; everything is in the arguments.
 */
#pragma once

#include "storage/event.h"

enum ingest_shape {
    INGEST_NDJSON,
    INGEST_PROTOBUF,       /* trackway.v1.EventBatch */
    INGEST_SEGMENT_BATCH,  /* {"batch": [...]}: Segment's /v1/batch */
    INGEST_SEGMENT_SINGLE, /* one call object: /v1/track and its kin */
};
struct ingest_opts {
    int64_t now_ms;
    size_t event_bytes_max;   /* a larger event is rejected in its receipt */
    struct budget *budget;    /* of the batch's arena; NULL = none */
    const char *segment_type; /* of SEGMENT_SINGLE: "track", ... from the path; NULL = track */
};

/* The batch owns copies of all it needs. */
enum err_code ingest_parse(enum ingest_shape shape, struct str body, const struct ingest_opts *opts,
                           struct event_batch **ret, struct err *err) ERR_MUST_CHECK;

struct ingest_counts {
    uint64_t accepted, duplicate, rejected, conflict;
};
struct ingest_counts ingest_counts(const struct event_batch *batch);
enum receipt_list {
    RECEIPTS_ALL,
    RECEIPTS_REJECTED, /* only those and conflicts: a loader of files wants no more */
    RECEIPTS_COUNTS,   /* no list */
};
/* {"accepted":1,"duplicate":0,"rejected":1,"conflict":0,"receipts":[{"line":1,"event_id":"...",
 *  "status":"accepted"},{"line":2,"status":"rejected","reason":"..."}]}, listing what `list` asks for.
 * Segment shapes add "success":true. Where there are conflicts, "dead_letters":"NAME" after their number says
 * which data set keeps them; `dead_letters` is empty where none does. */
void ingest_receipts_json(const struct event_batch *batch, enum ingest_shape shape,
                          enum receipt_list list, struct str dead_letters, struct buf *out);
/* Does the receipt say why? */
bool receipt_has_reason(enum receipt_status status);
const char *receipt_status_name(enum receipt_status status);
