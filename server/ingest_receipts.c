/* server/ingest_receipts.c - what became of each event, as JSON. */
#include "server/ingest_parse.h"

#include "storage/base/json_text.h"

const char *receipt_status_name(enum receipt_status status)
{
    switch (status) {
    case RECEIPT_ACCEPTED: return "accepted";
    case RECEIPT_DUPLICATE: return "duplicate";
    case RECEIPT_REJECTED: return "rejected";
    case RECEIPT_PENDING: break;
    }
    return "pending";
}

struct ingest_counts ingest_counts(const struct event_batch *batch)
{
    struct ingest_counts counts = {0};
    for (uint32_t i = 0; i < batch->event_count; i++) {
        enum receipt_status status = batch->events[i].status;
        counts.accepted += status == RECEIPT_ACCEPTED;
        counts.duplicate += status == RECEIPT_DUPLICATE;
        counts.rejected += status == RECEIPT_REJECTED;
    }
    return counts;
}

void ingest_receipts_json(const struct event_batch *batch, enum ingest_shape shape,
                          enum receipt_list list, struct buf *out)
{
    struct ingest_counts counts = ingest_counts(batch);
    bool is_segment = shape == INGEST_SEGMENT_BATCH || shape == INGEST_SEGMENT_SINGLE;
    buf_printf(out, "{%s\"accepted\":%llu,\"duplicate\":%llu,\"rejected\":%llu",
               is_segment ? "\"success\":true," : "", (unsigned long long)counts.accepted,
               (unsigned long long)counts.duplicate, (unsigned long long)counts.rejected);
    if (list != RECEIPTS_COUNTS) {
        bool is_first = true;
        buf_z(out, ",\"receipts\":[");
        for (uint32_t i = 0; i < batch->event_count; i++) {
            const struct event *event = &batch->events[i];
            if (list == RECEIPTS_REJECTED && event->status != RECEIPT_REJECTED) {
                continue;
            }
            buf_printf(out, "%s{\"line\":%u", is_first ? "" : ",", event->line);
            is_first = false;
            if (event->event_id.len > 0) {
                buf_z(out, ",\"event_id\":");
                json_text(event->event_id, out);
            }
            buf_printf(out, ",\"status\":\"%s\"", receipt_status_name(event->status));
            if (event->status == RECEIPT_REJECTED) {
                buf_z(out, ",\"reason\":");
                json_text(event->reason, out);
            }
            buf_u8(out, '}');
        }
        buf_u8(out, ']');
    }
    buf_u8(out, '}');
}
