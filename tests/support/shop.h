/* tests/support/shop.h - a data set of random events, and questions of all verbs about it.
 *
 * Answers are compared as text: columns, rows and totals as JSON, without `meta`, which says what an
 * answer stands on and may differ. Events have ids of their own, so that two data sets of the same events give
 * the same answers whatever their layout. Programs that link this need query/.
 *
 * Thread: one owner for a struct shop; shop_ask from any thread, with its own io.
 */
#pragma once

#include "query/query.h"
#include "storage/base/rng.h"
#include "storage/store.h"

#define SHOP_DAY_MS INT64_C(86400000)

struct shop_event {
    uint32_t number; /* its event id */
    int64_t time_ms;
    uint32_t user, name, channel;
    int64_t cents;
};
/* `count` events numbered from `first`, of few users, with times in [begin_ms, end_ms), many of them equal. */
void shop_random(struct rng *rng, uint32_t first, uint32_t count, int64_t begin_ms, int64_t end_ms,
                 struct shop_event *out);
/* Submit and wait; ERR_INVALID where one is not accepted. */
enum err_code shop_put(struct dataset *dataset, const struct shop_event *events, uint32_t count,
                       int64_t arrival_ms, struct io *io, struct err *err) ERR_MUST_CHECK;

uint32_t shop_question_count(void);
/* Question `idx`; those with a range get one that begins at `from` and ends before `to` (dates). */
const char *shop_question(uint32_t idx, const char *from, const char *to, char out[512]);
/* The answer's columns, rows and totals, or its error, in place of what is in `out`; NUL-terminated. */
const char *shop_ask(struct snapshot *snapshot, const char *question, int64_t now_ms,
                     bool is_reference, struct pool *pool, struct io *io, struct buf *out);
/* "2024-05-01" of a time. */
void shop_date(int64_t time_ms, char out[16]);
/* The rows of the answer of now, or its error; in `out` until it is used again. */
const char *shop_rows(struct dataset *dataset, const char *text, int64_t now_ms, struct io *io,
                      struct buf *out);
