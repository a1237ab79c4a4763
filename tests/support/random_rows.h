/* tests/support/random_rows.h - random rows of every shape that storage has to keep, and comparing a source
 * with them.
 *
 * Strings in several scripts and empty ones, ties in time, sparse properties, properties of one event,
 * numbers of every encoding, lists, UUIDs. Everything lives in an arena.
 */
#pragma once

#include "storage/base/rng.h"
#include "tests/support/mem_source.h"

struct random_shape {
    uint32_t row_count;
    uint32_t subjects;     /* numbers below this */
    uint32_t subject_step; /* between numbers; 0 means 1 */
    uint64_t span_ms;      /* of event times */
    uint32_t events;
    bool has_props;
};
/* The properties that random rows have, added to `schema`. */
enum err_code random_schema(struct schema *schema, struct err *err) ERR_MUST_CHECK;
enum err_code random_rows(struct arena *arena, struct rng *rng, const struct random_shape *shape,
                          struct mem_row **ret, struct err *err) ERR_MUST_CHECK;
/* Every value of every column through source_read, and row sets, zones, subject sets and subject rows,
 * against rows in order. ERR_INVALID says the first difference. */
enum err_code source_equals_rows(const struct source *source, const struct schema *schema,
                                 struct read_ctx *ctx, const struct mem_row *const *rows,
                                 uint32_t count, struct err *err) ERR_MUST_CHECK;
