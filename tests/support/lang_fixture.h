/* tests/support/lang_fixture.h - a snapshot to bind queries against: a schema and event names, no
 * rows to read.
 *
 *     events       register, place_order, pay_success, page_view, sign up, first
 *     properties   channel, platform, country, feature, task_id: string;  amount, latency_ms:
 * number;  vip: bool; tags: list;  seen_at: timestamp;  mixed: string, number, bool;  label:
 * string, list
 */
#pragma once

#include "query/bind.h"
#include "storage/base/arena.h"

#define LANG_NOW_MS INT64_C(1747310400000) /* 2025-05-15T12:00Z, a Thursday */

struct lang_fixture {
    struct schema *schema;
    struct snapshot snapshot;
    struct arena *arena;
};

/* `is_empty`: a snapshot without rows. Exits where there is no memory. */
void lang_fixture_open(struct lang_fixture *fixture, bool is_empty);
void lang_fixture_close(struct lang_fixture *fixture);

/* Bind `text` at LANG_NOW_MS. The result lives until lang_fixture_close; pass it to query_unbind.
 */
enum err_code lang_bind(struct lang_fixture *fixture, const char *text,
                        const struct bound_query **ret, struct err *err);
/* The canonical text, or the error as "line:column: message". NUL-terminated, in the fixture's
 * arena. */
const char *lang_canonical(struct lang_fixture *fixture, const char *text);
/* Bound, the error as "CODE line:column: message", or the warnings joined by newlines, or "". */
const char *lang_outcome(struct lang_fixture *fixture, const char *text);
