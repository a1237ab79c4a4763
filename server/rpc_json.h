/* server/rpc_json.h - any protobuf-c message as JSON and back, driven by its descriptor.
 *
 * Source: protobuf.dev, "ProtoJSON Format": lowerCamelCase names out, both spellings in; 64-bit
 * integers are strings out, strings or numbers in; bytes base64; enums by name, numbers accepted;
 * maps are objects; default values are left out; NaN and infinities are strings; null is absent; an
 * unknown field is an error.
 *
 * Reading allocates from an arena and never frees: the arena goes as a whole.
 */
#pragma once

#include "storage/base/arena.h"
#include "storage/base/buf.h"

#include <protobuf-c/protobuf-c.h>

enum err_code rpc_json_read(const ProtobufCMessageDescriptor *descriptor, struct str text,
                            struct arena *arena, ProtobufCMessage **ret,
                            struct err *err) ERR_MUST_CHECK;
void rpc_json_write(const ProtobufCMessage *message, struct buf *out);
