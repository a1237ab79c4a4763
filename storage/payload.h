/* storage/payload.h - what an event says: its name and its properties, wherever they lie.
 *
 * Two events with one event_id are one event sent twice where they say the same, else a conflict.
 * Time, user and arrival are no part of it: a retry may carry others (SEMANTICS, dedup).
 *
 * Thread: one owner. Strings are borrowed from the event, the memtable or the vectors.
 */
#pragma once

#include "storage/schema.h"
#include "storage/source.h"

struct payload_value {
    uint32_t prop; /* number in the schema; PAYLOAD_NO_COLUMN where no stored event has the like */
    enum col_type type;
    union {
        struct str string;
        struct num number;
        bool boolean;
        int64_t ts_ms;
        struct {
            const struct str *items;
            uint32_t count;
        } list;
    };
};
#define PAYLOAD_NO_COLUMN UINT32_MAX

struct payload {
    struct str name;
    struct payload_value *values; /* by prop */
    uint32_t count;
};

/* Of an event of a batch; prop_cols as for memtable_append, or PAYLOAD_NO_COLUMN. */
enum err_code payload_of_event(struct arena *arena, const struct event_batch *batch,
                               const struct event *event, const uint32_t *prop_cols,
                               struct payload *ret, struct err *err) ERR_MUST_CHECK;
/* Of `count` ascending rows of one block of a source; `out` has as many places. Everything that they
 * borrow from lives in ctx->arena. Cost: every column of the block is decoded once. */
enum err_code payload_of_rows(const struct source *source, struct read_ctx *ctx,
                              const struct schema *schema, uint32_t block, const uint16_t *rows,
                              uint32_t count, struct payload *out, struct err *err) ERR_MUST_CHECK;
bool payload_equal(const struct payload *a, const struct payload *b);
