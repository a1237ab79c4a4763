/* Every body a client can send: the first byte chooses the shape. Every whole event becomes a dead letter, too. */
#include "server/dead_letters.h"
#include "server/ingest_parse.h"
#include "server/rpc_json.h"

#include "server/proto_api.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len == 0) {
        return 0;
    }
    struct err err;
    struct str body = {(const char *)data + 1, len - 1};
    struct ingest_opts opts = {.now_ms = 1748000000000, .event_bytes_max = 1 << 16};
    if (data[0] % 5 == 4) {
        struct arena *arena = arena_create(NULL);
        ProtobufCMessage *message = NULL;
        struct buf out = {0};
        if (rpc_json_read(&trackway__v1__ingest_request__descriptor, body, arena, &message, &err) == ERR_OK) {
            rpc_json_write(message, &out);
        }
        buf_done(&out);
        arena_free(arena);
        return 0;
    }
    struct event_batch *batch = NULL;
    if (ingest_parse((enum ingest_shape)(data[0] % 5), body, &opts, &batch, &err) == ERR_OK) {
        struct buf out = {0};
        ingest_receipts_json(batch, INGEST_NDJSON, RECEIPTS_ALL, STR("fuzz.dead"), &out);
        buf_done(&out);
        uint32_t conflicts = 0;
        for (uint32_t i = 0; i < batch->event_count; i++) {
            if (batch->events[i].status == RECEIPT_PENDING) {
                batch->events[i].status = RECEIPT_CONFLICT;
                conflicts++;
            }
        }
        struct event_batch *letters = NULL;
        if (conflicts > 0 && dead_letters_build(batch, NULL, &letters, &err) == ERR_OK) {
            event_batch_free(letters);
        }
        event_batch_free(batch);
    }
    return 0;
}
