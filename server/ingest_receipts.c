/* server/ingest_receipts.c - what became of each event, as JSON. */
#include "server/ingest_parse.h"

#include "storage/base/json_text.h"

const char *receipt_status_name(enum receipt_status status)
{
    switch (status) {
    case RECEIPT_ACCEPTED: return "accepted";
    case RECEIPT_DUPLICATE: return "duplicate";
    case RECEIPT_REJECTED: return "rejected";
    case RECEIPT_CONFLICT: return "conflict";
    case RECEIPT_PENDING: break;
    }
    return "pending";
}

bool receipt_has_reason(enum receipt_status status)
{
    return status == RECEIPT_REJECTED || status == RECEIPT_CONFLICT;
}

struct ingest_counts ingest_counts(const struct event_batch *batch)
{
    struct ingest_counts counts = {0};
    for (uint32_t i = 0; i < batch->event_count; i++) {
        enum receipt_status status = batch->events[i].status;
        counts.accepted += status == RECEIPT_ACCEPTED;
        counts.duplicate += status == RECEIPT_DUPLICATE;
        counts.rejected += status == RECEIPT_REJECTED;
        counts.conflict += status == RECEIPT_CONFLICT;
    }
    return counts;
}

/* One receipt up to its reason. Straight into reserved room: a body of 10,000 events has as many. */
static void put_receipt(const struct event *event, bool is_first, struct buf *out)
{
    static const char line[] = "{\"line\":", id[] = ",\"event_id\":", status[] = ",\"status\":\"";
    char digits[10];
    size_t digit = sizeof(digits);
    uint32_t number = event->line;
    do {
        digits[--digit] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    if (!is_first) {
        buf_u8(out, ',');
    }
    buf_append(out, line, sizeof(line) - 1);
    buf_append(out, digits + digit, sizeof(digits) - digit);
    if (event->event_id.len > 0) {
        buf_append(out, id, sizeof(id) - 1);
        json_text(event->event_id, out);
    }
    buf_append(out, status, sizeof(status) - 1);
    buf_z(out, receipt_status_name(event->status));
    buf_u8(out, '"');
}

void ingest_receipts_json(const struct event_batch *batch, enum ingest_shape shape,
                          enum receipt_list list, struct str dead_letters, struct buf *out)
{
    struct ingest_counts counts = ingest_counts(batch);
    bool is_segment = shape == INGEST_SEGMENT_BATCH || shape == INGEST_SEGMENT_SINGLE;
    buf_printf(out, "{%s\"accepted\":%llu,\"duplicate\":%llu,\"rejected\":%llu,\"conflict\":%llu",
               is_segment ? "\"success\":true," : "", (unsigned long long)counts.accepted,
               (unsigned long long)counts.duplicate, (unsigned long long)counts.rejected,
               (unsigned long long)counts.conflict);
    if (counts.conflict > 0 && dead_letters.len > 0) {
        buf_z(out, ",\"dead_letters\":");
        json_text(dead_letters, out);
    }
    if (list != RECEIPTS_COUNTS) {
        bool is_first = true;
        buf_z(out, ",\"receipts\":[");
        for (uint32_t i = 0; i < batch->event_count; i++) {
            const struct event *event = &batch->events[i];
            bool has_reason = receipt_has_reason(event->status);
            if (list == RECEIPTS_REJECTED && !has_reason) {
                continue;
            }
            put_receipt(event, is_first, out);
            is_first = false;
            if (has_reason) {
                buf_z(out, ",\"reason\":");
                json_text(event->reason, out);
            }
            buf_u8(out, '}');
        }
        buf_u8(out, ']');
    }
    buf_u8(out, '}');
}
