/* server/proto_api.h - the generated protobuf types, kept out of our warnings. */
#pragma once

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wcast-qual"
#include "proto/ingest.pb-c.h"
#include "proto/query.pb-c.h"
#pragma GCC diagnostic pop
