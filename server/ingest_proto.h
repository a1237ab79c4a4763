/* server/ingest_proto.h - protobuf messages of ingest, for the bulk door and for Connect. */
#pragma once

#include "server/ingest_parse.h"

#include "server/proto_api.h"

/* What a body of this length may unpack to: enough for the densest honest batch, no more. */
#define INGEST_UNPACK_BYTES(len) ((size_t)(len)*40 + (1u << 20))

/* `message` may be NULL (no batch: no events). The batch copies what it needs. */
enum err_code ingest_from_message(const Trackway__V1__EventBatch *message, size_t body_bytes,
                                  const struct ingest_opts *opts, struct event_batch **ret,
                                  struct err *err) ERR_MUST_CHECK;
/* An allocator out of an arena: protobuf-c's unpack gives NULL when its budget is spent. */
ProtobufCAllocator ingest_capped_allocator(struct arena *arena);
