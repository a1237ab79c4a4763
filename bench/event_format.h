/* bench/event_format.h - generated rows as text or bytes.
 *
 *     ndjson   as POST /v1/events takes it, one object per line
 *     tsv      event_id, event_time (ms), event_name, user_id, device_id, session_id, platform, app_version,
 *              country, city, channel, feature, network, referrer, page, error_code, latency_ms, amount;
 *              a missing string is empty, a missing number 0
 *     proto    trackway.v1.EventBatch messages of 1,000 events, each after its length as a varint;
 *              what repeats travels in the batch's string table
 *
 * Thread: one owner.
 */
#pragma once

#include "bench/event_gen.h"
#include "storage/base/buf.h"

enum event_format { FORMAT_NDJSON, FORMAT_TSV, FORMAT_PROTO };
#define FORMAT_PROTO_EVENTS 1000u

struct event_writer;
/* `gen` is borrowed. */
enum err_code event_writer_create(const struct event_gen *gen, enum event_format format,
                                  struct event_writer **ret, struct err *err) ERR_MUST_CHECK;
void event_writer_free(struct event_writer *writer);
static inline void event_writer_freep(struct event_writer **writer)
{
    event_writer_free(*writer);
}
void event_writer_rows(struct event_writer *writer, const struct gen_event *rows, size_t count,
                       struct buf *out);
/* The last batch, which may be short. */
void event_writer_end(struct event_writer *writer, struct buf *out);
